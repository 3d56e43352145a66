package store

import (
	"context"
	"testing"

	"chatmux/internal/pgtest"
)

// emptyPostgres is the address of a database whose schema is up to date.
func emptyPostgres(tb testing.TB) string {
	tb.Helper()
	return pgtest.Copy(tb, "migrated", func(dsn string) error {
		s, err := Open(context.Background(), dsn, Options{})
		if err != nil {
			return err
		}
		return s.Close()
	})
}

func TestPostgres(t *testing.T) {
	testStore(t, func(t *testing.T) *Store { return mustOpen(t, emptyPostgres(t)) })
}
