//go:build linux

package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the program once, with the race detector in it. CHATMUX_BINARY names
// one to be taken instead, as a release.
var binary = sync.OnceValues(func() (string, error) {
	if file := os.Getenv("CHATMUX_BINARY"); file != "" {
		return filepath.Abs(file)
	}
	dir, err := os.MkdirTemp("", "chatmux-catalogue-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "chatmux")
	build := exec.Command("go", "build", "-race", "-o", file, "chatmux/cmd/chatmux")
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	built = dir
	return file, nil
})

// built is the folder that the program was built into.
var built string

func removeBinary() {
	if built != "" {
		_ = os.RemoveAll(built)
	}
}

// within gives a context for one wait.
func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// patience bounds every wait for something that must come, on a busy machine.
const patience = 20 * time.Second

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	eventuallyWithin(t, patience, what, holds)
}

func eventuallyWithin(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	if !becomes(limit, holds) {
		t.Fatalf("after %v still not: %s", limit, what)
	}
}

// becomes waits until something holds; false where it does not in time.
func becomes(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// house is one running program.
type house struct {
	*client
	scene *scene
	cmd   *exec.Cmd
	log   *logbook
	admin string        // where the metrics are; empty: with the API
	ended chan struct{} // closed when the process has ended; then exit is set
	exit  int
	gone  bool // the row has ended it, or has seen it end
	base  gauges
}

// wrapped starts the program through another one: what goes before its name.
type wrapped []string

// launch starts the program with arguments, and does not wait.
func (s *scene) launch(how wrapped, args ...string) *house {
	s.t.Helper()
	file, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	line := append(append([]string{}, how...), append([]string{file}, args...)...)
	h := &house{scene: s, log: newLogbook(), ended: make(chan struct{}), cmd: exec.Command(line[0], line[1:]...)}
	h.cmd.Dir = s.dir
	h.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0", "CHATMUX_KEY=")
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	// Whatever happens to the test, the process does not outlive it.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.client = newClient(s.t, "", keyWeb)
	if err := h.start(); err != nil {
		s.t.Fatal(err)
	}
	return h
}

// starter gives the one thread that starts processes.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// start starts the process from a thread that lives as long as the test binary:
// the death signal comes when the thread that started a process ends.
func (h *house) start() error {
	started := make(chan error, 1)
	starter() <- func() {
		err := h.cmd.Start()
		started <- err
		if err == nil {
			go func() {
				err := h.cmd.Wait()
				h.exit = h.cmd.ProcessState.ExitCode()
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					h.exit = -2
				}
				close(h.ended)
			}()
		}
	}
	return <-started
}

// serve starts the program with a config, waits until it is ready, and checks at
// the end of the row that nothing is left over.
func (s *scene) serve(c *configuration) *house {
	s.t.Helper()
	return s.serveWrapped(nil, c)
}

func (s *scene) serveWrapped(how wrapped, c *configuration) *house {
	s.t.Helper()
	h := s.launch(how, "serve", "--config", s.write(c))
	h.admin = c.admin
	s.t.Cleanup(h.settle)
	h.awaitReady()
	h.warm()
	h.base = h.gauges()
	return h
}

// awaitReady waits for the address in the log, and then for /readyz.
func (h *house) awaitReady() {
	t := h.scene.t
	t.Helper()
	select {
	case addr := <-h.log.listens:
		h.client.at("http://" + addr)
	case <-h.ended:
		t.Fatalf("the program ended with status %d:\n%s", h.exit, h.log)
	case <-time.After(patience):
		t.Fatalf("the program does not say where it listens:\n%s", h.log)
	}
	eventually(t, "ready", func() bool {
		a, err := h.try("GET", "/readyz", nil)
		return err == nil && a.status == 200
	})
}

// kill ends the program as a crash does.
func (h *house) kill() {
	h.gone = true
	_ = h.cmd.Process.Kill()
	<-h.ended
	h.client.close()
}

// signal sends the program a signal.
func (h *house) signal(s syscall.Signal) {
	h.scene.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.scene.t.Fatal(err)
	}
}

// end waits for the program to end by itself, and returns its exit status.
func (h *house) end(limit time.Duration) int {
	h.scene.t.Helper()
	h.gone = true
	select {
	case <-h.ended:
		return h.exit
	case <-time.After(limit):
		h.kill()
		h.scene.t.Fatalf("the program did not end within %v:\n%s", limit, h.log)
		return -1
	}
}

// logbook is what the program has written.
type logbook struct {
	listens chan string // the address that it listens on

	stalled sync.RWMutex // held: nobody reads what is written

	mu   sync.Mutex
	text bytes.Buffer
	told bool
}

func newLogbook() *logbook { return &logbook{listens: make(chan string, 1)} }

// Write implements io.Writer.
func (l *logbook) Write(b []byte) (int, error) {
	l.stalled.RLock()
	defer l.stalled.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if !l.told {
		if _, after, ok := strings.Cut(l.text.String(), `"chatmux listens","addr":"`); ok {
			if addr, _, whole := strings.Cut(after, `"`); whole {
				l.told = true
				l.listens <- addr
			}
		}
	}
	return len(b), nil
}

// String is all of it.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines are the lines that hold a text.
func (l *logbook) lines(part string) (list []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) {
			list = append(list, line)
		}
	}
	return list
}

// awaits gives the lines that hold a text, once there are so many: the program writes
// its log in the background.
func (l *logbook) awaits(t testing.TB, part string, n int) (list []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q stands in the log", part), func() bool {
		list = l.lines(part)
		return len(list) >= n
	})
	return list
}

// forgive takes a text out that the row itself has provoked.
func (l *logbook) forgive(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := strings.ReplaceAll(l.text.String(), text, "")
	l.text.Reset()
	l.text.WriteString(rest)
}
