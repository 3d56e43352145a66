package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"chatmux/internal/pgtest"
)

// patience is how long a test waits for what must happen; only one that fails
// waits so long.
const patience = 30 * time.Second

// TestMain puts this program into the PATH as chatmux, for scripts and for the
// tests that start a process.
func TestMain(m *testing.M) {
	testscript.Main(pgtest.Main{M: m}, map[string]func(){"chatmux": main})
}

// TestScripts runs the command lines of testdata/script. Beside what testscript
// knows there is `exits STATUS program args…`. Each script stands in a folder with
// the config.yaml of this repository, in which the port is a free one.
func TestScripts(t *testing.T) {
	shipped := shippedConfig(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			addr, err := freeAddr()
			if err != nil {
				return err
			}
			env.Setenv("ADDR", addr)
			return os.WriteFile(filepath.Join(env.WorkDir, "config.yaml"), []byte(strings.ReplaceAll(shipped, shippedAddr, addr)), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
	})
}

// exits runs a program and compares its exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS program args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var ended *exec.ExitError
	err = ts.Exec(args[1], args[2:]...)
	switch {
	case errors.As(err, &ended) && ended.ExitCode() == want, err == nil && want == 0:
	default:
		ts.Fatalf("ended with %v, want the status %d", err, want)
	}
}

// shippedAddr is where the config.yaml of this repository listens.
const shippedAddr = "127.0.0.1:8080"

func shippedConfig(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), shippedAddr) {
		t.Fatalf("config.yaml does not listen at %s", shippedAddr)
	}
	return string(b)
}

// freeAddr is a loopback address at which nobody listens now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// folder makes a folder with a config.yaml of this text.
func folder(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// environ is the environment of a started program: none of the variables that a
// config or chatmux itself might read.
func environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TERM=xterm"}
}

// result is how a command ended and what it said.
type result struct {
	status         int
	stdout, stderr string
}

// runHere runs a command of chatmux to its end.
func runHere(t *testing.T, dir, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chatmux", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, environ(), strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &ended) || ctx.Err() != nil) {
		t.Fatalf("chatmux %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// says fails the test where a text lacks one of these.
func says(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
}

// output collects what a program writes, for others to wait for.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write adds to the text.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return n, err
}

func (o *output) state() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// await waits until the text is as wanted, and returns it.
func (o *output) await(t *testing.T, what string, wanted func(text string) bool) string {
	t.Helper()
	late := time.After(patience)
	for {
		text, changed := o.state()
		if wanted(text) {
			return text
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s did not come:\n%s", what, text)
		}
	}
}

// contains is a condition for await.
func contains(part string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, part) }
}

// process is a chatmux that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	ended  chan struct{}
}

// start starts a command of chatmux, and kills it when the test ends.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startProgram(t, "chatmux", dir, args...)
}

func startProgram(t *testing.T, program, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, environ(), p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended stands in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	})
	return p
}

// listening waits until a server listens, and returns its URL.
func (p *process) listening() string {
	p.t.Helper()
	const mark = `"msg":"chatmux listens","addr":"`
	log := p.stderr.await(p.t, "the listener", func(text string) bool {
		_, after, _ := strings.Cut(text, mark)
		return strings.Contains(after, "\n")
	})
	_, after, _ := strings.Cut(log, mark)
	addr, _, _ := strings.Cut(after, `"`)
	return "http://" + addr
}

// signal sends a signal.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end and returns the state.
func (p *process) wait() *os.ProcessState {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState
	case <-time.After(patience):
		text, _ := p.stderr.state()
		p.t.Fatalf("it did not end:\n%s", text)
		return nil
	}
}

// fetch makes one request and returns status and body.
func fetch(method, url, body string, header ...string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// mustFetch is fetch of what has to succeed with a status.
func mustFetch(t *testing.T, status int, method, url, body string) string {
	t.Helper()
	got, answer, err := fetch(method, url, body)
	if err != nil || got != status {
		t.Fatalf("%s %s: status %d, want %d: %s (%v)", method, url, got, status, answer, err)
	}
	return answer
}

// eventually asks again and again until the answer is as wanted.
func eventually(t *testing.T, url string, wanted func(status int, body string) bool) {
	t.Helper()
	late := time.Now().Add(patience)
	for {
		status, body, err := fetch("GET", url, "")
		if err == nil && wanted(status, body) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s did not become as wanted: %d, %v\n%s", url, status, err, body)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// echoConfig is a small config; extra is put between its parts.
func echoConfig(addr, store, extra string) string {
	return fmt.Sprintf("listen: %s\nstore: %s\n%s\nbackends:\n  - {name: echo, adapter: echo}\n"+
		"  - {name: llm, adapter: openai, settings: {base_url: sandbox, api_key: canary-key-in-the-config, model: m}}\n"+
		"routes:\n  - {name: default, to: echo}\n", addr, store, extra)
}
