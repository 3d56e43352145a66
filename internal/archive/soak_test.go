//go:build soak && linux

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"chatmux/internal/pgtest"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// What the soak works on.
const (
	soakMessages = 1_000_000
	soakInThread = 10
	soakText     = 400       // bytes
	soakRSS      = 256 << 20 // what the process may have resident at most
)

// TestSoakAMillionMessagesGoOutAndInWithFlatMemory takes some minutes and 3 GB of disk.
func TestSoakAMillionMessagesGoOutAndInWithFlatMemory(t *testing.T) {
	debug.SetGCPercent(50) // so that what is resident is what is needed
	dir := t.TempDir()
	first := openAt(t, "sqlite:"+filepath.Join(dir, "first.db"))
	measure(t, "fill", func() int64 { return soakFill(t, first) })
	names := map[Format]string{}
	for _, format := range Formats {
		names[format] = filepath.Join(dir, "all."+string(format))
		measure(t, "export from SQLite as "+string(format), func() int64 { return soakExport(t, first, format, names[format]) })
	}
	want := soakHash(t, names[JSONL])
	for name, dsn := range map[string]string{"SQLite": "sqlite:" + filepath.Join(dir, "second.db"), "PostgreSQL": pgtest.Database(t)} {
		to := openAt(t, dsn)
		for _, again := range []string{"import into ", "the same again into "} {
			measure(t, again+name, func() int64 { return soakImport(t, to, names[JSONL]) })
		}
		file := filepath.Join(dir, "again.jsonl")
		measure(t, "export from "+name+" as jsonl", func() int64 { return soakExport(t, to, JSONL, file) })
		if !bytes.Equal(soakHash(t, file), want) {
			t.Errorf("%s gives another file than it got", name)
		}
	}
}

// measure runs work and tells how long it took and how much memory was resident.
func measure(t *testing.T, what string, work func() int64) {
	t.Helper()
	debug.FreeOSMemory()
	before := resident(t)
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, resident(t))
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	began := time.Now()
	size := work()
	took := time.Since(began)
	close(stop)
	most := <-peak
	t.Logf("%-32s %7.1f s  %8.0f messages/s  file %5d MiB  resident %3d MiB before, %3d MiB at most",
		what, took.Seconds(), soakMessages/took.Seconds(), size>>20, before>>20, most>>20)
	if most > soakRSS {
		t.Errorf("%s: %d MiB were resident", what, most>>20)
	}
}

func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	if err != nil {
		t.Error(err)
	}
	return pages * int64(os.Getpagesize())
}

func soakFill(t *testing.T, s *store.Store) int64 {
	seed := rand.NewChaCha8([32]byte{1})
	words := make([]byte, soakText*3/4)
	var batch []store.Arrival
	for i := range soakMessages / soakInThread {
		thread := newThread(fmt.Sprint("tenant-", i%3))
		thread.User.ID = fmt.Sprint("u-", i)
		thread.Bindings = []normalize.Binding{{Backend: "desk", Vendor: "altur", Remote: normalize.Remote{ThreadID: fmt.Sprint("r-", i)}, Since: t0}}
		a := store.Arrival{Thread: thread}
		for range soakInThread {
			_, _ = seed.Read(words)
			a.Messages = append(a.Messages, say(&thread, base64.StdEncoding.EncodeToString(words)))
		}
		if batch = append(batch, a); len(batch) == 50 {
			must(t, s.Import(context.Background(), batch))
			batch = batch[:0]
		}
	}
	return 0
}

func soakExport(t *testing.T, s *store.Store, format Format, name string) int64 {
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	counts, err := Export(context.Background(), s, Filter{}, format, f, nil)
	must(t, err)
	if counts.Messages != soakMessages {
		t.Fatalf("%d messages", counts.Messages)
	}
	info, err := f.Stat()
	must(t, err)
	return info.Size()
}

func soakImport(t *testing.T, s *store.Store, name string) int64 {
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	report, err := Import(context.Background(), s, f, Options{})
	must(t, err)
	if report.Imported.Threads+report.Unchanged != soakMessages/soakInThread || report.Mapped != 0 {
		t.Fatalf("%+v", report)
	}
	info, err := f.Stat()
	must(t, err)
	return info.Size()
}

func soakHash(t *testing.T, name string) []byte {
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	must(t, err)
	return sum.Sum(nil)
}
