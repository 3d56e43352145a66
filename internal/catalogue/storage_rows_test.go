//go:build linux

package catalogue

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// storageRows are faults of what keeps the transcript.
var storageRows = []row{
	{id: "D01", promise: "a_lock_held_elsewhere_is_waited_for_and_not_for_ever", run: d01},
	{id: "D02", promise: "a_full_disk_refuses_and_heals", run: d02, stores: sqliteOnly},
	{id: "D03", promise: "an_io_error_is_no_success", tier: soak, run: d03, stores: sqliteOnly},
	{id: "D04", promise: "a_file_that_is_replaced_is_not_written", run: d04, stores: sqliteOnly},
	{id: "D05", promise: "listing_does_not_let_the_log_grow", tier: soak, run: d05, stores: sqliteOnly},
	{id: "D06", promise: "a_damaged_file_is_not_served", run: d06, stores: sqliteOnly},
	{id: "D07", promise: "a_migration_that_is_killed_is_completed", run: d07},
	{id: "D08", promise: "postgres_away_is_503_and_heals", run: d08, stores: postgresOnly},
	{id: "D09", promise: "an_ambiguous_commit_is_settled_by_id", run: d09, stores: postgresOnly},
	{id: "D10", promise: "an_exhausted_pool_is_503", run: d10, stores: postgresOnly},
	{id: "D11", promise: "a_serialization_failure_is_tried_again", tier: inside, because: "internal/store TestD11SerializationFailureIsUnseen"},
	{id: "D12", promise: "a_fail_over_sends_nothing_by_itself", run: d12, stores: postgresOnly},
	{id: "D13", promise: "long_threads_are_paged_fast", tier: bench, because: "a percentile over 10 million messages"},
	{id: "D14", promise: "both_stores_give_the_same", tier: inside, because: "internal/catalogue TestFaults"},
	{id: "D15", promise: "one_thread_id_makes_one_thread", run: d15},
}

func d01(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	release := s.db.lock(t)
	done := make(chan answer, 1)
	go func() { done <- h.first("solo", "hello") }()
	select {
	case a := <-done:
		t.Errorf("not waited: %d %s", a.status, a.body)
	case <-time.After(time.Second):
	}
	release()
	(<-done).turn()
	s.a.got(t, 1)
	size := s.size()
	release = s.db.lock(t)
	began := time.Now()
	h.first("solo", "hello").problem(503, "storage_unavailable")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("refused after %v", took)
	}
	release()
	s.a.got(t, 1)
	if now := s.size(); now != size {
		t.Errorf("the store holds %s, before %s", now, size)
	}
	h.first("solo", "hello").turn()
}

func d02(t testing.TB, s *scene) {
	if syscall.Geteuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skip("no file system can be mounted: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s.db = &sqliteFile{filepath.Join(disk, "chatmux.db")}
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, io.LimitReader(endless('x'), 1<<30))
	if f.Close(); err == nil {
		t.Fatal("the disk does not fill up")
	}
	var a answer
	eventually(t, "the store is full", func() bool {
		a = h.first("solo", strings.Repeat("long ", 1000))
		return a.status != 200
	})
	a.problem(503, "storage_unavailable")
	asked := len(s.a.sends())
	h.next(thread, "hello?").problem(503, "storage_unavailable")
	s.a.got(t, asked)
	h.transcript(thread)
	read[object](h.call("GET", "/v1/threads", nil), 200)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	h.next(thread, "and now?").turn()
	h.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
	s.db.intact(t)
}

// endless is a reader that repeats one byte.
type endless byte

// Read implements io.Reader.
func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// d03 lets writes and syncs of the database fail from some moment on: from then on
// nothing is acknowledged, and what was is there after a restart.
func d03(t testing.TB, s *scene) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("calls are made to fail by strace: install it")
	}
	for _, calls := range []string{"fsync,fdatasync", "pwrite64"} {
		h := s.serve(s.usual())
		var kept []turn
		send := func() answer {
			a := h.first("solo", fmt.Sprintf("%s %d", calls, len(kept)))
			if a.status == 200 {
				kept = append(kept, a.turn())
			}
			return a
		}
		for range 10 {
			send()
		}
		fault := exec.Command("strace", "-f", "-q", "-o", "/dev/null", "-p", fmt.Sprint(h.cmd.Process.Pid), "-e", "trace="+calls, "-e", "inject="+calls+":error=EIO")
		if err := fault.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the fault is met", func() bool { return send().status != 200 })
		for range 20 {
			send().problem(503, "storage_unavailable")
		}
		if a := h.call("GET", "/readyz", nil); a.status != 503 {
			t.Errorf("%s fail, and /readyz says %d", calls, a.status)
		}
		h.kill()
		_ = fault.Wait() // it ends with what it watches
		again := s.serve(s.usual())
		for _, was := range kept {
			again.stored(was.Thread.ID, "user sent", "assistant complete")
		}
		again.first("solo", "and now?").turn()
		again.stop()
	}
	s.db.intact(t)
}

func d04(t testing.TB, s *scene) {
	for what, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".moved") },
		"replaced": func(path string) error {
			return os.Rename(s.file("another", ""), path)
		},
	} {
		h := s.serve(s.usual())
		thread := h.begin("solo", "hello")
		path := s.db.(*sqliteFile).path
		var files []*os.File
		for _, name := range []string{path, path + "-wal"} {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
		if err := replace(path); err != nil {
			t.Fatal(err)
		}
		before := digest(t, files)
		h.next(thread, "hello?").problem(503, "storage_unavailable")
		eventuallyWithin(t, 5*time.Second, "not ready", func() bool { return h.call("GET", "/readyz", nil).status == 503 })
		asked := len(s.a.sends())
		h.first("solo", "hello?").problem(503, "storage_unavailable")
		s.a.got(t, asked)
		if digest(t, files) != before {
			t.Errorf("%s: the old file was written to", what)
		}
		h.kill()
		for _, name := range []string{path, path + "-wal", path + "-shm", path + ".moved"} {
			_ = os.Remove(name)
		}
	}
}

// digest tells whether open files are as they were.
func digest(t testing.TB, files []*os.File) (sum [sha256.Size]byte) {
	t.Helper()
	hash := sha256.New()
	for _, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(hash, f); err != nil {
			t.Fatal(err)
		}
	}
	hash.Sum(sum[:0])
	return sum
}

func d05(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for range 200 {
		h.begin("solo", strings.Repeat("text ", 2000))
	}
	end := time.Now().Add(3 * time.Minute)
	var largest atomic.Int64
	together(10, func(n int) {
		for cursor := ""; time.Now().Before(end); {
			switch {
			case n == 0:
				if info, err := os.Stat(s.db.(*sqliteFile).path + "-wal"); err == nil && info.Size() > largest.Load() {
					largest.Store(info.Size())
				}
				time.Sleep(10 * time.Millisecond)
			case n < 5:
				h.first("solo", strings.Repeat("text ", 2000)).turn()
			default:
				page := read[struct {
					NextCursor *string `json:"next_cursor"`
				}](h.call("GET", "/v1/threads?limit=200&order=asc&q=text&cursor="+cursor, nil), 200)
				cursor = str(page.NextCursor)
			}
		}
	})
	t.Logf("the write-ahead log had at most %d bytes", largest.Load())
	if largest.Load() > 256<<20 {
		t.Errorf("the write-ahead log grew to %d bytes", largest.Load())
	}
}

func d06(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := ""
	for range 20 {
		thread = h.begin("solo", strings.Repeat("text ", 200))
	}
	h.stop()
	s.db.rest(t)
	path := s.db.(*sqliteFile).path
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pageSize := s.count("PRAGMA page_size")
	damaged := func(table string) []byte {
		at := 100 // the schema's own page begins after the file's header
		if table != "" {
			page := s.count("SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?", table)
			at = (page - 1) * pageSize
		}
		bad := bytes.Clone(good)
		bad[at] ^= 0x5a // a kind of page that does not exist
		return bad
	}
	write := func(file []byte) {
		t.Helper()
		for _, name := range []string{path + "-wal", path + "-shm"} {
			_ = os.Remove(name)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	untouched := func(what string, file []byte) {
		t.Helper()
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, file) {
			t.Errorf("%s: the file was written to: %v", what, err)
		}
	}
	for _, table := range []string{"", "goose_db_version", "sends", "threads", "messages"} {
		bad := damaged(table)
		write(bad)
		out, status := s.run("serve", "--config", s.write(s.usual()))
		if status != 1 || !strings.Contains(out, "backup") {
			t.Errorf("damage of %q ends the start with %d, and no advice: %s", table, status, out)
		}
		untouched(table, bad)
		write(good)
	}

	// Damage that comes later is found when it is read.
	again := s.launch(nil, "serve", "--config", s.write(s.usual()))
	t.Cleanup(again.settle)
	again.awaitReady()
	bad := damaged("messages")
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteAt(bad, 0)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	again.call("GET", "/v1/threads/"+thread+"/messages", nil).problem(503, "storage_unavailable")
	asked := len(s.a.sends())
	again.next(thread, "hello?").problem(503, "storage_unavailable")
	again.first("solo", "hello?").problem(503, "storage_unavailable")
	if a := again.call("GET", "/readyz", nil); a.status != 503 {
		t.Errorf("/readyz says %d", a.status)
	}
	s.a.got(t, asked)
	again.log.awaits(t, "restore the file from a backup", 1)
	again.kill()
	untouched("in use", bad)
	write(good)
	s.serve(s.usual()).next(thread, "and now?").turn()
}

func d07(t testing.TB, s *scene) {
	for range times(12, 200) {
		h := s.launch(nil, "serve", "--config", s.write(s.usual()))
		select {
		case <-h.ended:
			t.Fatalf("the start ended with %d: %s", h.exit, h.log)
		case <-h.log.listens:
		case <-time.After(rand.N(400 * time.Millisecond)):
		}
		h.kill()
	}
	h := s.serve(s.usual())
	h.begin("solo", "hello")
	s.db.intact(t)
	files, err := filepath.Glob("../store/migrations/sqlite/*.sql") // those of the other store have the same numbers
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0"} // goose's own
	for _, file := range files {
		number, _, _ := strings.Cut(filepath.Base(file), "_")
		want = append(want, strings.TrimLeft(number, "0"))
	}
	if got := s.query("SELECT version_id FROM goose_db_version WHERE is_applied ORDER BY version_id"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("schema versions %v, want %v", got, want)
	}
}

// d15 creates one thread many times at once, by the API in which a client names it.
func d15(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	const api = "/sitegpt/api/v0/chatbots/365062873485935184"
	names := times(2, 50)
	for n := range names {
		id := fmt.Sprintf("order-help-%d", n)
		together(64, func(int) {
			made := read[struct {
				Data struct{ Thread struct{ ThreadID string } }
			}](h.call("POST", api+"/threads", object{"threadId": id, "mode": "AI", "chatUserEmail": nil}), 200)
			if made.Data.Thread.ThreadID != id {
				t.Errorf("%s is made as %s", id, made.Data.Thread.ThreadID)
			}
		})
		if threads := s.count("SELECT COUNT(*) FROM threads"); threads != n+1 {
			t.Fatalf("%d threads of %d names", threads, n+1)
		}
		said := read[struct {
			Data struct {
				Message struct{ Answer struct{ Text string } }
			}
		}](h.call("POST", api+"/message", object{"message": "hello", "from": "USER", "threadId": id}), 200)
		if said.Data.Message.Answer.Text != answered("hello") {
			t.Errorf("%s answers %q", id, said.Data.Message.Answer.Text)
		}
	}
	s.db.intact(t)
}
