//go:build soak

package main

import (
	"path/filepath"
	"testing"

	"chatmux/internal/pgtest"
)

func TestSoakFiveHundredThreadsMoveBetweenAllVendors(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		testThreadsMoveBetweenAllVendors(t, "sqlite:"+filepath.Join(t.TempDir(), "chatmux.db"), 500)
	})
	t.Run("postgres", func(t *testing.T) { testThreadsMoveBetweenAllVendors(t, pgtest.Database(t), 500) })
}
