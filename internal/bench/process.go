//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The roles in which this program starts itself.
const (
	roleTwin  = "twin"
	roleProxy = "proxy"
	roleSlow  = "slow"
)

// maxIdle is how many connections a proxy keeps to the vendor: more than any run
// has, so that none is ever dialled twice.
const maxIdle = 1024

// serveTwin is the role of the vendor: its twin and nothing around it.
func serveTwin(name string) error {
	v, err := vendorNamed(name)
	if err != nil {
		return err
	}
	return serveUntilParentEnds(v.twin())
}

// serveSlow is the role of a vendor that takes its time: its twin behind a pause, or
// with pauses between the pieces of an answer that it streams.
func serveSlow(name string) error {
	v, err := vendorNamed(name)
	if err != nil {
		return err
	}
	twin := v.twin()
	return serveUntilParentEnds(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(`"isStreaming":true`)) {
			w = hesitant{w}
		} else {
			time.Sleep(thinking)
		}
		twin.ServeHTTP(w, r)
	}))
}

// How long a slow vendor takes for an answer, and for each piece of a streamed one.
const (
	thinking   = 100 * time.Millisecond
	hesitating = time.Second
)

// hesitant pauses with each flush.
type hesitant struct{ http.ResponseWriter }

// FlushError implements what http.ResponseController looks for.
func (h hesitant) FlushError() error {
	err := http.NewResponseController(h.ResponseWriter).Flush()
	time.Sleep(hesitating)
	return err
}

// Flush implements http.Flusher.
func (h hesitant) Flush() { _ = h.FlushError() }

// serveProxy is the role of the bare reverse proxy, as fast as net/http has one:
// connections and buffers are kept.
func serveProxy(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	return serveUntilParentEnds(&httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(u) },
		BufferPool: &bufferPool{},
		Transport: &http.Transport{
			MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: 5 * time.Minute, DisableCompression: true,
		},
	})
}

type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// serveUntilParentEnds prints its address and serves until standard input ends,
// which it does with the parent, however that dies.
func serveUntilParentEnds(h http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// process is a child that serves.
type process struct {
	cmd  *exec.Cmd
	pid  int
	addr string // host:port
}

// startRole starts this program in a role.
func startRole(ctx context.Context, role, argument string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, role, argument)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // closed when it is stopped
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("starting the %s: %w", role, err)
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// build makes the binary that is measured.
func build(ctx context.Context, dir string) (string, error) {
	file := filepath.Join(dir, "chatmux")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, "chatmux/cmd/chatmux")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building chatmux: %w", err)
	}
	return file, nil
}

// callerKey is the key of the one caller: a server that is used for earnest has
// callers, so finding them is part of its work.
const callerKey = "bench-key-0123456789abcdef0123456789abcdef"

// defaults is the rest of a config with one backend and no wishes.
func (v vendor) defaults(twin string) string {
	return fmt.Sprintf("backends:\n  - %s}\nroutes:\n  - {name: default, to: bot}\n", v.backend("bot", twin))
}

// backend is a backend of the config at an address, without the closing brace.
func (v vendor) backend(name, addr string) string {
	return fmt.Sprintf(`{name: %s, adapter: %s, settings: {base_url: "http://%s%s", %s}`, name, v.name, addr, v.path, v.settings)
}

// startChatmux starts the real binary: with a log that goes to a file at level info, and
// with the rest of the config as it is given.
func startChatmux(ctx context.Context, binary, dir, store, rest string) (p *process, admin string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	var addrs [2]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, "", err
		}
	}
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("listen: %s\nadmin: %s\nstore: %q\ncallers: [{name: bench, key: %s}]\n%s", addrs[0], addrs[1], store, callerKey, rest)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, binary, "-c", config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	p = &process{cmd: cmd, pid: cmd.Process.Pid, addr: addrs[0]}
	if err := waitReady(ctx, "http://"+p.addr+"/readyz"); err != nil {
		p.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, "", fmt.Errorf("chatmux does not start: %w\n%s", err, said)
	}
	return p, addrs[1], nil
}

// freeAddr finds an address that nobody listens on.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := new(http.Client).Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the child. What it had is thrown away, so nothing is waited for.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// cpu is CPU time that was used.
type cpu struct{ user, system time.Duration }

func (c cpu) total() time.Duration { return c.user + c.system }

func (c cpu) minus(d cpu) cpu { return cpu{c.user - d.user, c.system - d.system} }

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// cpuOf reads what all threads of a process have used, those that ended included.
func cpuOf(pid int) (cpu, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpu{}, err
	}
	return parseStat(string(stat))
}

// parseStat reads utime and stime, fields 14 and 15 of proc(5). The second field
// is the program's name in parentheses, and may hold anything.
func parseStat(stat string) (cpu, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return cpu{}, fmt.Errorf("/proc/PID/stat cannot be read: %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return cpu{time.Duration(user) * tick, time.Duration(system) * tick}, errors.Join(err1, err2)
}

// ownCPU is what this process has used.
func ownCPU() (cpu, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return cpu{time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())}, err
}

// memory is how much memory a process has now, and the most that it ever had, in
// bytes.
type memory struct{ now, peak int64 }

func memoryOf(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			m.now = kib << 10
		case "VmHWM":
			m.peak = kib << 10
		}
	}
	return m, nil
}

// sleep waits as exactly as the kernel can. The runtime's own timers are rounded up
// to a millisecond while the process idles, which is more than what is measured.
func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // woken early by a signal: the next wait is longer
}
