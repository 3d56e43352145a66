// Package pgtest starts a private PostgreSQL server for tests: in a temporary folder,
// on a port of its own, with the binaries of an installed package, and as a user
// without rights where the test runs as root. It ends with the test binary, also
// when that is killed.
//
// Without a server package, CHATMUX_TEST_DATABASE_URL may name a server whose user
// may create databases; without that too, tests are skipped, except in CI (where the
// variable CI is set): there a missing server is a failure.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// databaseURL names a server to use where there is none to start.
const databaseURL = "CHATMUX_TEST_DATABASE_URL"

const (
	startTimeout = 30 * time.Second
	adminTimeout = 20 * time.Second
)

// common is the server that the tests of a binary share.
var common struct {
	sync.Mutex
	server *Server
	err    error
	tried  bool
	url    string            // of a server that is not ours
	models map[string]string // names of databases to copy, by the name that their maker gave them
}

// Main runs the tests of a binary and stops the server that they shared:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main{M: m}.Run()) }
type Main struct{ M *testing.M }

// Run returns what the tests returned.
func (m Main) Run() int {
	code := m.M.Run()
	common.Lock()
	defer common.Unlock()
	if common.server != nil {
		if err := common.server.end(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			return max(code, 1)
		}
	}
	return code
}

// Database makes an empty database of the test's own, on the server that all tests
// of the binary share, and returns its address. It is dropped with the test's end.
func Database(tb testing.TB) string {
	tb.Helper()
	return database(tb, shared(tb), "template0")
}

// Copy is Database, except that the database is a copy of a model, which prepare
// fills when the name is met for the first time: for tests that would all begin with
// the same work.
func Copy(tb testing.TB, model string, prepare func(dsn string) error) string {
	tb.Helper()
	admin := shared(tb)
	common.Lock()
	defer common.Unlock()
	name, made := common.models[model]
	if !made {
		name = newName()
		if err := do(admin, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
			tb.Fatal("pgtest: ", err)
		}
		if err := prepare(onDatabase(admin, name)); err != nil {
			tb.Fatal("pgtest: preparing ", model, ": ", err)
		}
		if common.models == nil {
			common.models = make(map[string]string)
		}
		common.models[model] = name
	}
	return database(tb, admin, name)
}

// shared returns the address of the common server, for its administrator.
func shared(tb testing.TB) string {
	tb.Helper()
	common.Lock()
	defer common.Unlock()
	if !common.tried {
		common.tried = true
		common.server, common.err = start(nil)
		if errors.Is(common.err, errNotInstalled) {
			common.url = os.Getenv(databaseURL)
		}
	}
	if common.url != "" {
		return common.url
	}
	giveUp(tb, common.err)
	return common.server.dsn("postgres")
}

// giveUp ends a test for which there is no server.
func giveUp(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errNotInstalled) && os.Getenv("CI") == "":
		tb.Skip(err)
	default:
		tb.Fatal("pgtest: ", err)
	}
}

var databases atomic.Int64

// newName is unique among the test binaries that use one server.
func newName() string { return fmt.Sprintf("chatmux_%d_%d", os.Getpid(), databases.Add(1)) }

func database(tb testing.TB, admin, model string) string {
	tb.Helper()
	name := newName()
	if err := do(admin, "CREATE DATABASE "+name+" TEMPLATE "+model); err != nil {
		tb.Fatal("pgtest: ", err)
	}
	tb.Cleanup(func() {
		if err := do(admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Log("pgtest: ", err) // the server may have been stopped on purpose
		}
	})
	return onDatabase(admin, name)
}

// do runs one statement as the server's administrator.
func do(admin, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// onDatabase is an address with another database.
func onDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn // it has been connected to, so it is an address
	}
	u.Path = "/" + name
	return u.String()
}
