//go:build linux

package catalogue

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"chatmux/internal/pgtest"
)

// postgres is a database on a PostgreSQL server.
type postgres struct{ dsn string }

// newPostgres makes an empty database on the server that all rows share. Its
// password is one more secret; that server lets everybody in.
func newPostgres(t testing.TB, _ string) database {
	t.Helper()
	return postgresAt(pgtest.Database(t))
}

// postgresAt is a database at an address, with few connections, all of them open from
// the start: so that one too many shows.
func postgresAt(dsn string) *postgres {
	scheme, rest, _ := strings.Cut(dsn, "://")
	if user, host, ok := strings.Cut(rest, "@"); ok && !strings.Contains(user, ":") {
		rest = user + ":dsn-" + canary + "@" + host
	}
	separator := "?"
	if strings.Contains(rest, "?") {
		separator = "&"
	}
	return &postgres{scheme + "://" + rest + separator}
}

func (p *postgres) address() string { return p.dsn + "pool_max_conns=4&pool_min_conns=4" }

// host is the server's host and port.
func (p *postgres) host() string {
	_, rest, _ := strings.Cut(p.dsn, "@")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

func (p *postgres) connect(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", strings.TrimRight(p.dsn, "?&"))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// spelt numbers the arguments.
func (p *postgres) spelt(statement string) string {
	parts := strings.Split(statement, "?")
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			fmt.Fprintf(&b, "$%d", i)
		}
		b.WriteString(part)
	}
	return b.String()
}

// contents dumps every column of every table as text.
func (p *postgres) contents(t testing.TB) []byte {
	t.Helper()
	db := p.connect(t)
	defer db.Close()
	var all bytes.Buffer
	for _, column := range texts(t, db, `SELECT 'SELECT ' || CASE data_type WHEN 'bytea' THEN 'encode(' || quote_ident(column_name) || ', ''escape'')'
			ELSE quote_ident(column_name) || '::text' END || ' FROM ' || quote_ident(table_name)
			FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`) {
		for _, text := range texts(t, db, column) {
			fmt.Fprintln(&all, text)
		}
	}
	return all.Bytes()
}

// intact looks for rows that belong to nothing: pages are the server's business.
func (p *postgres) intact(t testing.TB) {
	t.Helper()
	db := p.connect(t)
	defer db.Close()
	for _, table := range []string{"messages", "bindings", "attempts", "sends", "idempotency_keys"} {
		if n := texts(t, db, "SELECT COUNT(*) FROM "+table+" WHERE thread_id NOT IN (SELECT id FROM threads)"); n[0] != "0" {
			t.Errorf("%s orphans in %s", n[0], table)
		}
	}
}

func (p *postgres) rest(testing.TB) {}

func (p *postgres) lock(t testing.TB) (release func()) {
	t.Helper()
	db := p.connect(t)
	tx, err := db.Begin()
	if err == nil {
		_, err = tx.Exec("LOCK TABLE threads, messages, sends, idempotency_keys IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return released(t, db, tx)
}
