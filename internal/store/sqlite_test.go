package store

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"go.uber.org/goleak"

	"chatmux/internal/pgtest"
	"chatmux/normalize"
)

// holdFile names a database for this test binary to open and hold, as another
// process would.
const holdFile = "CHATMUX_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdFile); path != "" {
		hold(path)
		return
	}
	goleak.VerifyTestMain(pgtest.Main{M: m}) // the server has ended when goroutines are counted
}

func hold(path string) {
	if _, err := Open(context.Background(), "sqlite:"+path, Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("open")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent kills us or is gone
}

func testOptions() Options { return Options{Now: func() time.Time { return t0 }} }

func mustOpen(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// onDisk opens a store in a file of its own and returns its path too.
func onDisk(t *testing.T) (*fixture, string) {
	path := filepath.Join(t.TempDir(), "chatmux.db")
	return &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}, path
}

func TestSQLiteFile(t *testing.T) {
	testStore(t, func(t *testing.T) *Store { return mustOpen(t, "sqlite:"+filepath.Join(t.TempDir(), "chatmux.db")) })
}

func TestSQLiteMemory(t *testing.T) {
	testStore(t, func(t *testing.T) *Store { return mustOpen(t, "sqlite::memory:") })
}

func TestMemoryStoresShareNothing(t *testing.T) {
	one := &fixture{Store: mustOpen(t, "sqlite::memory:"), t: t}
	two := &fixture{Store: mustOpen(t, "sqlite::memory:"), t: t}
	thread := one.thread("acme")
	_, err := two.Thread(t.Context(), "acme", thread.ID, false)
	one.wantErr("in the other store", err, ErrNotFound)
	one.say(thread, "still here")
}

func TestStoredIsThereAfterReopening(t *testing.T) {
	f, path := onDisk(t)
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	f.say(thread, "hello")
	st, text := f.read(thread), f.transcript(thread)
	f.must(f.Close())
	again := &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}
	again.same("thread", again.read(thread), st)
	again.same("transcript", again.transcript(thread), text)
	again.say(thread, "and on")
}

// A crash leaves the files as they are: no checkpoint, no close. What was answered
// is in them, and what was under way is settled.
func TestCrashLosesNothingThatWasAnswered(t *testing.T) {
	f, path := onDisk(t)
	said, waits, dialled := f.thread("acme"), f.thread("acme"), f.thread("acme")
	f.say(said, "all said")
	key := newKey("acme", "b")
	mWaits, mDialled := userMessage(waits.ID, "waits"), userMessage(dialled.ID, "dialled")
	f.begin(waits, mWaits, "e1", withKey(key))
	f.begin(dialled, mDialled, "e2", withAttempt(newAttempt(mDialled, "e2")))
	text := f.transcript(said)

	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		f.must(err)
		f.must(os.WriteFile(copied+suffix, b, 0o600))
	}
	after := &fixture{Store: mustOpen(t, "sqlite:"+copied), t: t}
	r, err := after.Recover(t.Context(), at(1))
	f.must(err)
	f.same("recovered", r, Recovered{Failed: 1, Unknown: 1})
	f.same("what was said", after.transcript(said), text)
	f.same("without an attempt", after.transcript(waits)[0].Status, normalize.StatusFailed)
	f.same("with an attempt", after.transcript(dialled)[0].Status, normalize.StatusUnknown)
	mWaits.Status = normalize.StatusPending
	if r := after.begin(waits, mWaits, "e3", withKey(key), func(a *Acceptance) { a.Resend = true }); !r.Accepted {
		t.Errorf("a repeat of the failed one: %+v", r)
	}
	var integrity string
	f.must(after.db.read(t.Context(), func(tx *session) error {
		return tx.eachOf("PRAGMA integrity_check", nil, func(row scanner) error { return row.Scan(&integrity) })
	}))
	if broken := after.count("SELECT COUNT(*) FROM pragma_foreign_key_check"); integrity != "ok" || broken != 0 {
		t.Errorf("integrity %s, %d rows without their thread", integrity, broken)
	}
}

func TestWritesThatWaitShareACommit(t *testing.T) {
	f, _ := onDisk(t)
	const n = 40
	var calls []func() error
	for range n {
		thread := newThread("acme")
		calls = append(calls, func() error { return f.CreateThread(t.Context(), thread) })
	}
	inside, outside := -1, -1
	calls = append(calls, func() error {
		return f.writer().write(t.Context(), func(tx *session) error {
			outside = f.count("SELECT COUNT(*) FROM threads") // on another connection
			return tx.eachOf("SELECT COUNT(*) FROM threads", nil, func(row scanner) error { return row.Scan(&inside) })
		})
	})
	for _, err := range f.together(calls...) {
		f.must(err)
	}
	if inside != n || outside != 0 {
		t.Errorf("within the transaction %d threads, outside %d; want %d and 0", inside, outside, n)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	f, path := onDisk(t)
	link := filepath.Join(t.TempDir(), "link.db")
	f.must(os.Symlink(path, link))
	for _, name := range []string{path, link} {
		_, err := Open(t.Context(), "sqlite:"+name, testOptions())
		if err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("a second Open of %s: error %v", name, err)
		}
	}
	f.say(f.thread("acme"), "undisturbed")
	f.must(f.Close())
	mustOpen(t, "sqlite:"+path)
}

func TestLockEndsWithAKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatmux.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdFile+"="+path)
	stdin, err := cmd.StdinPipe() // it reads from it until it is killed
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open\n" {
		t.Fatalf("the other process says %q, error %v", line, err)
	}
	if _, err := Open(t.Context(), "sqlite:"+path, testOptions()); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("while another process has it: error %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	mustOpen(t, "sqlite:"+path)
}

// raw opens the file as any program would.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteURI(path, "_txlock=immediate"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exact(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFileThatIsNotOursIsRefusedUntouched(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"newer schema": {func(t *testing.T, path string) {
			mustOpen(t, "sqlite:"+path).Close()
			db := raw(t, path)
			if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
				t.Fatal(err)
			}
			db.Close()
		}, "has schema version 9999, and this program knows versions up to "},
		"another program's": {func(t *testing.T, path string) {
			db := raw(t, path)
			if _, err := db.Exec(`CREATE TABLE threads (id TEXT)`); err != nil {
				t.Fatal(err)
			}
			db.Close()
		}, "is a database of another program"},
		"no database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "cannot be read as a SQLite database"},
		"a damaged schema": {func(t *testing.T, path string) {
			mustOpen(t, "sqlite:"+path).Close()
			damage(t, path, "sqlite_schema")
		}, "restore the file from a backup"},
		"a damaged table": {func(t *testing.T, path string) {
			mustOpen(t, "sqlite:"+path).Close()
			damage(t, path, "messages")
		}, "restore the file from a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "chatmux.db")
			c.make(t, path)
			before := exact(t, path)
			_, err := Open(t.Context(), "sqlite:"+path, testOptions())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
			if exact(t, path) != before {
				t.Error("the file was changed")
			}
			if _, err := os.Stat(path + "-wal"); err == nil {
				t.Error("a log was left beside the file")
			}
		})
	}
}

func TestInterruptedFirstMigrationIsCompleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chatmux.db")
	steps, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, raw(t, path), steps)
	if err != nil {
		t.Fatal(err)
	}
	if version, err := provider.GetDBVersion(t.Context()); err != nil || version != 0 { // makes the version table, and no more
		t.Fatalf("version %d, error %v", version, err)
	}
	f := &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}
	f.say(f.thread("acme"), "hello")
}

func TestAddressIsReadStrictly(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                   "of no kind that is known",
		"chatmux.db":                         "of no kind that is known",
		"mysql://root:hunter2@db":            "of no kind that is known",
		"sqlite:":                            "names no file",
		"postgres://me:hunter2@db:x/chatmux": "cannot be read",
		"postgresql://me:hun%ter2@db":        "cannot be read",
		"sqlite:/no/such/folder/chatmux.db":  "make the folder first",
	} {
		_, err := Open(t.Context(), dsn, testOptions())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", dsn, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells the password: %v", dsn, err)
		}
	}
	odd := filepath.Join(t.TempDir(), "ein & 100% #1?x=y.db")
	mustOpen(t, "sqlite:"+odd)
	info, err := os.Stat(odd)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v: others can read conversations", info.Mode())
	}
}

// damage makes the first page of a table one of a kind that does not exist.
func damage(t *testing.T, path, table string) {
	t.Helper()
	at := int64(100) // the schema's own page begins with the file's header
	if table != "sqlite_schema" {
		db := raw(t, path)
		var page, size int64
		err := db.QueryRow(`SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE type = 'table' AND name = $1`, table).Scan(&page, &size)
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		at = (page - 1) * size
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte{0x57}, at)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamageThatIsFoundInUseStopsAllWriting(t *testing.T) {
	f, path := onDisk(t)
	thread := f.thread("acme")
	f.say(thread, "hello")
	f.must(f.Close())
	f = &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}
	damage(t, path, "messages")
	f.must(f.Ping(t.Context())) // nobody has read it yet
	_, _, err := f.Messages(t.Context(), "acme", thread.ID, Range{Limit: 10})
	f.wantErr("Messages", err, ErrUnavailable)
	before := exact(t, path) + exact(t, path+"-wal")
	for what, err := range map[string]error{
		"Ping": f.Ping(t.Context()), "CreateThread": f.CreateThread(t.Context(), newThread("acme")),
	} {
		f.wantErr(what, err, ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), "restore the file from a backup") {
			t.Errorf("%s gives no advice: %v", what, err)
		}
	}
	if exact(t, path)+exact(t, path+"-wal") != before {
		t.Error("the damaged file was written to")
	}
	f.read(thread) // what is whole can still be read
}

func TestDamageThatIsFoundByAWriteStopsAllWriting(t *testing.T) {
	f, path := onDisk(t)
	thread := f.thread("acme")
	f.must(f.Close())
	f = &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}
	damage(t, path, "messages")
	_, err := f.Accept(t.Context(), Acceptance{Thread: thread, Version: 1, Message: userMessage(thread.ID, "hello"), Epoch: "e", Lease: time.Minute, Now: t0})
	f.wantErr("Accept", err, ErrUnavailable)
	f.wantErr("Ping", f.Ping(t.Context()), ErrUnavailable)
}

func TestReplacedFileIsNoticedAndNotWritten(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			if err := os.Rename(path, path+".away"); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, path := onDisk(t)
			f.must(f.Ping(t.Context()))
			kept := f.thread("acme")
			f.must(replace(path))
			f.wantErr("Ping", f.Ping(t.Context()), ErrUnavailable)
			f.wantErr("CreateThread", f.CreateThread(t.Context(), newThread("acme")), ErrUnavailable)
			if n := f.count("SELECT COUNT(*) FROM threads WHERE id <> $1", kept.ID); n != 0 {
				t.Errorf("%d threads were written to a file that is gone", n)
			}
		})
	}
}

func TestLockHeldElsewhereIsWaitedFor(t *testing.T) {
	f, path := onDisk(t)
	thread := f.thread("acme")
	other := raw(t, path)
	tx, err := other.BeginTx(t.Context(), nil)
	f.must(err)

	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = f.UpdateThread(short, "acme", thread.ID, at(1), func(st *StoredThread) error { st.Title = "given up"; return nil })
	f.wantErr("a caller with little time", err, ErrUnavailable)
	f.wantErr("a caller with little time", err, context.DeadlineExceeded)

	done := make(chan error, 1)
	go func() {
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(1), func(st *StoredThread) error { st.Route = "waited"; return nil })
		done <- err
	}()
	f.eventually(func() bool { return len(f.writer().ops) == 1 })
	f.must(tx.Rollback())
	f.must(<-done)
	st := f.read(thread)
	f.same("title and route", []string{st.Title, st.Route}, []string{"", "waited"})
}

func TestFullDiskRefusesAndHeals(t *testing.T) {
	f, _ := onDisk(t)
	thread := f.thread("acme")
	f.say(thread, "hello")
	before, text := f.read(thread), f.transcript(thread)
	f.must(f.writer().write(t.Context(), func(tx *session) error { // SQLite's own way to be full
		return tx.eachOf("PRAGMA max_page_count = 1", nil, func(row scanner) error { var n int; return row.Scan(&n) })
	}))
	big := userMessage(thread.ID, strings.Repeat("x", 1<<20))
	_, err := f.Accept(t.Context(), Acceptance{
		Thread: thread, Version: before.Version, Message: big, Key: newKey("acme", "b"), Epoch: "e", Lease: time.Minute, Now: t0,
	})
	f.wantErr("on a full disk", err, ErrUnavailable)
	f.same("thread", f.read(thread), before)
	f.same("transcript", f.transcript(thread), text)
	if n := f.count("SELECT COUNT(*) FROM idempotency_keys"); n != 0 {
		t.Errorf("%d keys were stored", n)
	}
	f.must(f.writer().write(t.Context(), func(tx *session) error {
		return tx.eachOf("PRAGMA max_page_count = 1000000", nil, func(row scanner) error { var n int; return row.Scan(&n) })
	}))
	f.begin(thread, big, "e")
	f.end(thread, big, "e", normalize.StatusSent)
	f.same("messages", len(f.transcript(thread)), 4)
}

func TestConnectionInDoubtIsReplaced(t *testing.T) {
	f, _ := onDisk(t)
	thread := f.thread("acme")
	doubtful := f.writer().conn
	err := f.writer().write(t.Context(), func(tx *session) error {
		if _, err := tx.exec(rollback); err != nil { // as SQLite does it by itself now and then
			return err
		}
		return fmt.Errorf("%w: broken", ErrUnavailable)
	})
	f.wantErr("the write", err, ErrUnavailable)
	f.say(thread, "goes on")
	if f.writer().conn == doubtful {
		t.Error("the connection is still in use")
	}
}

func TestListsReadTheirIndex(t *testing.T) {
	f, _ := onDisk(t)
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
			f.must(f.db.read(t.Context(), func(tx *session) error {
				return tx.eachOf("EXPLAIN QUERY PLAN "+text, args, func(row scanner) error {
					var id, parent, unused int
					var detail string
					err := row.Scan(&id, &parent, &unused, &detail)
					plan = append(plan, detail)
					return err
				})
			}))
			got := strings.Join(plan, "; ")
			if !strings.Contains(got, "SEARCH t USING INDEX "+index+" ") || strings.Contains(got, "TEMP B-TREE") {
				t.Errorf("%s, ascending %v: %s", index, ascending, got)
			}
		}
	}
}

// SQLite for Go and its C library are one artefact in two modules: another version
// of the second than the first asks for is a database that nobody has tested.
func TestDriverHasTheLibraryItAsksFor(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.GoMod}}", "modernc.org/libc", "modernc.org/sqlite").Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out)) // libc's version and go.mod, then sqlite's
	if len(fields) != 4 {
		t.Fatalf("go list says %q", out)
	}
	asked := regexp.MustCompile(`modernc\.org/libc (v\S+)`).FindStringSubmatch(exact(t, fields[3]))
	if asked == nil {
		t.Fatalf("%s asks for no modernc.org/libc", fields[3])
	}
	if asked[1] != fields[0] {
		t.Errorf("go.mod has modernc.org/libc %s, and modernc.org/sqlite %s asks for %s: bring them to that", fields[0], fields[2], asked[1])
	}
}
