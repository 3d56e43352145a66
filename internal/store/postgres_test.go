package store

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"chatmux/internal/pgtest"
	"chatmux/normalize"
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

// onPostgres opens a patient store on a database of its own and returns its address
// too.
func onPostgres(t *testing.T) (*fixture, string) {
	t.Helper()
	dsn := patient(t, emptyPostgres(t))
	return &fixture{Store: mustOpen(t, dsn), t: t}, dsn
}

// with adds a parameter to an address.
func with(t *testing.T, dsn, name, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// patient is an address with deadlines for tests that are about something else, on a
// machine that may be slow.
func patient(t *testing.T, dsn string) string {
	t.Helper()
	return with(t, with(t, with(t, dsn, "connect_timeout", "20"), "statement_timeout", "20000"), "lock_timeout", "15000")
}

// run sends statements to the database as any program would.
func run(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn := connect(t, dsn)
	for _, statement := range statements {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn) // also at a test's end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestPostgres(t *testing.T) {
	testStore(t, func(t *testing.T) *Store {
		f, _ := onPostgres(t)
		return f.Store
	})
}

// What a database sorts and lower-cases by is not ours to choose: lists and searches
// are the same all the same.
func TestPostgresCollationIsOfNoConsequence(t *testing.T) {
	dsn := pgtest.Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/") + "_icu"
	run(t, dsn, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'")
	t.Cleanup(func() { run(t, dsn, "DROP DATABASE "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	f := &fixture{Store: mustOpen(t, u.String()), t: t}
	var want []string
	for _, id := range []string{"thr_A", "thr_B", "thr_Z", "thr_a", "thr_b", "thr_z", "thr_é", "thr_ı", "thr_\U0001f642"} { // by their bytes
		thread := newThread("order")
		thread.ID = id
		f.must(f.CreateThread(t.Context(), thread))
		want = append(want, id)
	}
	f.same("order", f.pages(ThreadFilter{Tenant: "order"}, Range{Limit: 2, Ascending: true}), want)
	thread := f.thread("acme")
	f.say(thread, "MIT Namen, Istanbul ÉCLAIR")
	for query, found := range map[string]bool{"mit namen": true, "ISTANBUL": true, "istanbul": true, "ÉCLAIR": true, "éclair": false} {
		if got := len(f.pages(ThreadFilter{Tenant: "acme", Query: query}, Range{Limit: 10})) == 1; got != found {
			t.Errorf("q=%s: found %v, want %v", query, got, found)
		}
	}
}

func TestPostgresThatIsNotOursIsRefusedUntouched(t *testing.T) {
	tables := func(t *testing.T, dsn string) (n int) {
		conn := connect(t, dsn)
		if err := conn.QueryRow(t.Context(), `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, dsn string) string
		want string
	}{
		"newer schema": {func(t *testing.T, dsn string) string {
			mustOpen(t, dsn).Close()
			run(t, dsn, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
			return dsn
		}, "has schema version 9999, and this program knows versions up to "},
		"another program's": {func(t *testing.T, dsn string) string {
			run(t, dsn, `CREATE TABLE threads (id TEXT)`)
			return dsn
		}, "holds the tables of another program"},
		"no schema": {func(t *testing.T, dsn string) string { return with(t, dsn, "search_path", "nowhere") }, "no schema to keep tables in"},
		"no database": {func(t *testing.T, dsn string) string {
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			u.Path += "_none"
			return u.String()
		}, "does not exist (SQLSTATE 3D000)"},
		"no rights": {func(t *testing.T, dsn string) string {
			role := "nobody_" + fmt.Sprint(lastID.Add(1))
			run(t, dsn, `CREATE ROLE `+role+` LOGIN`)
			t.Cleanup(func() { run(t, dsn, `DROP ROLE `+role) })
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword(role, "pgtest-password")
			return u.String()
		}, "permission denied for schema public"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			address := c.make(t, dsn)
			before := tables(t, dsn)
			_, err := Open(t.Context(), address, testOptions())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "pgtest-password") {
				t.Errorf("the error tells the password: %v", err)
			}
			if after := tables(t, dsn); after != before {
				t.Errorf("%d tables before, %d after", before, after)
			}
		})
	}
}

func TestPostgresOfAnotherEncodingIsRefused(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database()
	run(t, dsn, `CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/latin"
	if _, err := Open(t.Context(), u.String(), testOptions()); err == nil || !strings.Contains(err.Error(), "encoding is LATIN1") {
		t.Errorf("error %v", err)
	}
}

func TestInterruptedFirstMigrationOfPostgresIsCompleted(t *testing.T) {
	dsn := pgtest.Database(t)
	run(t, dsn, `CREATE TABLE `+goose.DefaultTablename+` (id SERIAL PRIMARY KEY, version_id BIGINT NOT NULL, is_applied BOOLEAN NOT NULL,
		tstamp TIMESTAMP NOT NULL DEFAULT now())`, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true)`)
	f := &fixture{Store: mustOpen(t, dsn), t: t}
	f.say(f.thread("acme"), "hello")
}

func TestReplicasThatStartTogetherMakeOneSchema(t *testing.T) {
	dsn := pgtest.Database(t)
	stores := make([]*Store, 5)
	var wait sync.WaitGroup
	for i := range stores {
		wait.Go(func() {
			s, err := Open(t.Context(), dsn, testOptions())
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	wait.Wait()
	for _, s := range stores {
		if s == nil {
			continue
		}
		f := &fixture{Store: s, t: t}
		f.say(f.thread("acme"), "hello")
		f.must(s.Close())
	}
	f := &fixture{Store: mustOpen(t, dsn), t: t}
	f.same("threads", f.count("SELECT COUNT(*) FROM threads"), len(stores))
	steps, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	f.must(err)
	f.same("steps", f.count("SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0"), len(steps))
}

// A schema of its own is enough: others may have theirs in the same database.
func TestPostgresKeepsToItsSchema(t *testing.T) {
	dsn := pgtest.Database(t)
	run(t, dsn, `CREATE TABLE threads (id TEXT)`, `CREATE TABLE goose_db_version (version_id BIGINT)`, `CREATE SCHEMA chat`)
	f := &fixture{Store: mustOpen(t, with(t, dsn, "search_path", "chat")), t: t}
	f.say(f.thread("acme"), "hello")
	f.same("theirs", f.count("SELECT COUNT(*) FROM public.threads"), 0)
}

// bounded calls what must answer within an outage's two seconds, with room for a
// slow machine.
func bounded(t *testing.T, what string, call func() error) error {
	t.Helper()
	began := time.Now()
	err := call()
	if took := time.Since(began); took > connectTimeout+workTimeout+2*time.Second {
		t.Errorf("%s took %v", what, took)
	}
	return err
}

// healed waits until the store serves again, at most the five seconds of its promise
// and as many for a slow machine.
func (f *fixture) healed() {
	f.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := bounded(f.t, "Ping", func() error { return f.Ping(f.t.Context()) })
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("it did not heal: ", err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func TestPostgresAwayAtOpenHealsByItself(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database()
	server.Stop()
	logs, seen := observer.New(zap.WarnLevel)
	s, err := Open(t.Context(), dsn, Options{Log: zap.New(logs)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := &fixture{Store: s, t: t}
	for what, call := range map[string]func() error{
		"Ping":         func() error { return f.Ping(t.Context()) },
		"CreateThread": func() error { return f.CreateThread(t.Context(), newThread("acme")) },
		"Recover":      func() error { _, err := f.Recover(t.Context(), t0); return err },
		"Threads":      func() error { _, _, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, Range{}); return err },
	} {
		f.wantErr(what, bounded(t, what, call), ErrUnavailable)
	}
	server.Start()
	f.healed()
	f.say(f.thread("acme"), "hello")
	if n := seen.FilterMessageSnippet("PostgreSQL is away").Len(); n != 1 {
		t.Errorf("the outage was told %d times", n)
	}
	for _, entry := range seen.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, "pgtest-password") {
			t.Errorf("the log tells the password: %s", text)
		}
	}
}

func TestNewerSchemaFoundLaterIsRefusedAndTold(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database()
	mustOpen(t, dsn).Close()
	run(t, dsn, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
	server.Stop()
	logs, seen := observer.New(zap.ErrorLevel)
	s, err := Open(t.Context(), dsn, Options{Log: zap.New(logs)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server.Start()
	f := &fixture{Store: s, t: t}
	f.eventually(func() bool { return strings.Contains(f.Ping(t.Context()).Error(), "has schema version 9999") })
	f.wantErr("CreateThread", f.CreateThread(t.Context(), newThread("acme")), ErrUnavailable)
	if n := seen.FilterMessageSnippet("PostgreSQL cannot be used").Len(); n < 1 {
		t.Error("the log does not tell why")
	}
	run(t, dsn, `DELETE FROM goose_db_version WHERE version_id = 9999`) // its newer program was rolled back
	f.healed()
}

func TestCloseDoesNotWaitForAServerThatIsAway(t *testing.T) {
	server := pgtest.Start(t)
	dsn := server.Database()
	server.Stop()
	s := mustOpen(t, dsn)
	if err := bounded(t, "Close", s.Close); err != nil {
		t.Error(err)
	}
}

// What one store hands back, another does byte for byte; and so do the databases
// themselves.
func TestTextIsTheSameOnEveryStore(t *testing.T) {
	torture := []string{
		strings.Repeat("🙂", 65536), strings.Repeat("שלום \u202eabc\u202c العربية ", 3000), strings.Repeat("a\u0301\u2028\r\n\t\\\"'", 4000),
		"nul \x00, half a character \xf0\x9f, a lone surrogate \xed\xa0\x80", "\x01\x7f\u0085\ufeff\ufffe\uffff\U0010ffff", `\u0000 %s $1 {now} {lock}`,
	}
	type row struct{ text, doc, raw, title string }
	dump := func(s *Store, hex string) (rows []row) {
		f := &fixture{Store: s, t: t}
		thread := newThread("acme")
		thread.ID, thread.Title = "thr_same", strings.Join(torture, "|")
		f.must(f.CreateThread(t.Context(), thread))
		for i, text := range torture {
			m := userMessage(thread.ID, text)
			m.ID, m.Metadata = fmt.Sprint("msg_", i), map[string]string{"text": text}
			f.begin(thread, m, "e")
			reply := replyTo(m, text)
			reply.ID, reply.Raw = fmt.Sprint("msg_reply_", i), []byte(`{"text": "`+text+`", "nul": "\u0000"}`)
			f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Replies = []normalize.Message{reply} })
		}
		of := func(column string) string { return strings.ReplaceAll(hex, "?", column) }
		text := `SELECT ` + of("m.text") + `, ` + of("m.doc") + `, ` + of("m.raw") + `, ` + of("t.title") + `
			FROM messages m JOIN threads t ON t.id = m.thread_id ORDER BY m.seq`
		f.must(f.db.read(t.Context(), func(tx *session) error {
			return tx.eachOf(text, nil, func(found scanner) error {
				var r row
				err := found.Scan(&r.text, &r.doc, &r.raw, &r.title)
				rows = append(rows, r)
				return err
			})
		}))
		return rows
	}
	onSQLite := dump(mustOpen(t, "sqlite::memory:"), "hex(?)")
	onPostgres := dump(mustOpen(t, emptyPostgres(t)), "upper(encode(convert_to(?, 'UTF8'), 'hex'))")
	if len(onSQLite) != 2*len(torture) || !cmp.Equal(onSQLite, onPostgres, cmp.AllowUnexported(row{})) {
		t.Errorf("the stores differ, %d and %d rows", len(onSQLite), len(onPostgres))
		for i := range min(len(onSQLite), len(onPostgres)) {
			if onSQLite[i] != onPostgres[i] {
				t.Errorf("row %d", i)
			}
		}
	}
}

func TestListsOfPostgresReadTheirIndex(t *testing.T) {
	f, _ := onPostgres(t)
	for index, filter := range map[string]ThreadFilter{
		"threads_by_update":  {},
		"threads_by_backend": {Backend: "desk"},
		"threads_by_route":   {Route: "vip"},
		"threads_by_user":    {User: "u"},
		"threads_by_status":  {Status: normalize.ThreadEnded},
		"threads_by_mode":    {Mode: normalize.ModeHuman},
	} {
		for _, ascending := range []bool{false, true} {
			filter.Tenant = "acme"
			text, args := threadsQuery(filter, Range{Limit: 50, Ascending: ascending, After: Position{Time: t0, ID: "thr"}})
			var plan []string
			f.must(f.db.write(t.Context(), func(tx *session) error {
				// Of an empty table any plan is as good: the others are forbidden.
				for _, other := range []string{"seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin"} {
					if err := tx.eachOf("SET LOCAL enable_"+other+" = off", nil, func(scanner) error { return nil }); err != nil {
						return err
					}
				}
				plan = nil
				return tx.eachOf("EXPLAIN "+text, args, func(row scanner) error {
					var line string
					err := row.Scan(&line)
					plan = append(plan, line)
					return err
				})
			}))
			got := strings.Join(plan, "\n")
			if !strings.Contains(got, " using "+index+" on threads t") || strings.Contains(got, "Sort") {
				t.Errorf("%s, ascending %v:\n%s", index, ascending, got)
			}
		}
	}
}

// A server that is left alone by a client that has stalled lets go by itself.
func TestServerKnowsTheDeadlines(t *testing.T) {
	f := &fixture{Store: mustOpen(t, with(t, emptyPostgres(t), "lock_timeout", "700")), t: t}
	for name, want := range map[string]string{
		"statement_timeout": "1800ms", "lock_timeout": "700ms", "idle_in_transaction_session_timeout": "5s",
	} {
		var got string
		f.must(f.db.read(t.Context(), func(tx *session) error {
			return tx.eachOf("SELECT current_setting($1)", []any{name}, func(row scanner) error { return row.Scan(&got) })
		}))
		f.same(name, got, want)
	}
}
