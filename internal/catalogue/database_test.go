//go:build linux

package catalogue

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// database is a store as the rows see it from beside the program: made for one row,
// and gone with it.
type database interface {
	// address is the config's store.
	address() string
	// connect opens a connection of its own.
	connect(t testing.TB) *sql.DB
	// spelt is a statement, with ? for its arguments, as this database takes it.
	spelt(statement string) string
	// contents is all that the store holds, to be searched.
	contents(t testing.TB) []byte
	// intact reports damage: of pages, of references, of the schema.
	intact(t testing.TB)
	// rest brings what is in a journal to its place, so that contents stay the same.
	rest(t testing.TB)
	// lock makes everybody wait who wants to write, until it is released.
	lock(t testing.TB) (release func())
}

// storeKind makes databases.
type storeKind struct {
	name   string
	create func(t testing.TB, dir string) database
}

// stores are the kinds that every row is run on.
var stores = []storeKind{
	{"sqlite", func(_ testing.TB, dir string) database { return &sqliteFile{filepath.Join(dir, "chatmux.db")} }},
	{"postgres", newPostgres},
}

// sqliteOnly is for rows about files.
var sqliteOnly = []string{"sqlite"}

// sqliteFile is a SQLite database.
type sqliteFile struct{ path string }

func (f *sqliteFile) address() string { return "sqlite:" + f.path }

func (f *sqliteFile) connect(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+f.path+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (f *sqliteFile) spelt(statement string) string { return statement }

func (f *sqliteFile) lock(t testing.TB) (release func()) {
	t.Helper()
	db := f.connect(t)
	tx, err := db.Begin() // immediate: it takes the lock
	if err != nil {
		t.Fatal(err)
	}
	return released(t, db, tx)
}

// released ends a transaction that holds others up, at the row's end at the latest.
func released(t testing.TB, db *sql.DB, tx *sql.Tx) (release func()) {
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	t.Cleanup(release)
	return release
}

// contents reads the file and those that SQLite keeps beside it.
func (f *sqliteFile) contents(t testing.TB) []byte {
	t.Helper()
	files, err := filepath.Glob(f.path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.Bytes()
}

func (f *sqliteFile) intact(t testing.TB) {
	t.Helper()
	db := f.connect(t)
	defer db.Close()
	for pragma, want := range map[string]string{"integrity_check": "ok", "foreign_key_check": ""} {
		if got := strings.Join(texts(t, db, "PRAGMA "+pragma), "; "); got != want {
			t.Errorf("PRAGMA %s says %q, want %q", pragma, got, want)
		}
	}
}

func (f *sqliteFile) rest(t testing.TB) {
	t.Helper()
	db := f.connect(t)
	defer db.Close()
	texts(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
}

// texts runs a query and gives its rows, columns joined by a space.
func texts(t testing.TB, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = v.(*sql.NullString).String
		}
		list = append(list, strings.Join(words, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// query reads the store by SQL.
func (s *scene) query(query string, args ...any) []string {
	s.t.Helper()
	db := s.db.connect(s.t)
	defer db.Close()
	return texts(s.t, db, s.db.spelt(query), args...)
}

// change writes into the store, as only a test may.
func (s *scene) change(statement string, args ...any) {
	s.t.Helper()
	db := s.db.connect(s.t)
	defer db.Close()
	if _, err := db.Exec(s.db.spelt(statement), args...); err != nil {
		s.t.Fatalf("%v in %s", err, statement)
	}
}

// count reads one number.
func (s *scene) count(query string, args ...any) int {
	s.t.Helper()
	rows := s.query(query, args...)
	n := 0
	if len(rows) != 1 {
		s.t.Fatalf("%d rows of %s", len(rows), query)
	}
	if _, err := fmt.Sscan(rows[0], &n); err != nil {
		s.t.Fatalf("%v in %q of %s", err, rows[0], query)
	}
	return n
}
