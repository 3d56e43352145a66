//go:build linux

package catalogue

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// trial runs a row and holds back its verdict, its clean-ups' included: a row that
// is known to fail has to fail.
type trial struct {
	*testing.T

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// runRow runs a row on a store of one kind.
func runRow(t *testing.T, r row, kind storeKind) {
	failures := (&trial{T: t}).try(func(t testing.TB) { r.run(t, newScene(t, kind)) })
	switch {
	case r.open == "" && len(failures) > 0:
		t.Error(strings.Join(failures, "\n"))
	case r.open != "" && len(failures) == 0:
		t.Errorf("%s is kept now: take its open off the table (it was: %s)", r.id, r.open)
	case r.open != "":
		t.Logf("open: %s\n%s", r.open, strings.Join(failures, "\n"))
	}
}

// try runs a function, then what it wants cleaned up, and returns what failed.
func (t *trial) try(run func(testing.TB)) []string {
	protect := func(f func()) {
		done := make(chan struct{})
		go func() { // Fatal ends a goroutine
			defer close(done)
			f()
		}()
		<-done
	}
	protect(func() { run(t) })
	for len(t.cleanups) > 0 {
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		protect(last)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failures
}

// Cleanup runs f when the row has ended, the last one first.
func (t *trial) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *trial) note(text string) {
	_, file, line, ok := runtime.Caller(2)
	if ok {
		text = fmt.Sprintf("%s:%d: %s", file[strings.LastIndexByte(file, '/')+1:], line, text)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, text)
}

// Failed reports whether something failed so far.
func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

// Fail notes a failure that nobody describes.
func (t *trial) Fail() { t.note("failed") }

// FailNow notes a failure and ends the row.
func (t *trial) FailNow() { t.note("failed"); runtime.Goexit() }

// Error notes a failure.
func (t *trial) Error(args ...any) { t.note(fmt.Sprint(args...)) }

// Errorf notes a failure.
func (t *trial) Errorf(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }

// Fatal notes a failure and ends the row.
func (t *trial) Fatal(args ...any) { t.note(fmt.Sprint(args...)); runtime.Goexit() }

// Fatalf notes a failure and ends the row.
func (t *trial) Fatalf(format string, args ...any) {
	t.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
