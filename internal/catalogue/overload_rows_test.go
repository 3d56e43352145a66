//go:build linux

package catalogue

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// overloadRows are more than there is room for.
var overloadRows = []row{
	{id: "O01", promise: "goodput_stays_when_too_much_is_asked", tier: bench, because: "a share of the machine's own peak"},
	{id: "O02", promise: "a_backend_that_hangs_hurts_itself", run: o02},
	{id: "O03", promise: "two_thousand_streams_fit", tier: bench, because: "memory for each stream"},
	{id: "O04", promise: "idle_connections_hurt_nobody", tier: soak, run: o04},
	{id: "O05", promise: "out_of_descriptors_it_refuses_and_heals", run: o05},
	{id: "O06", promise: "large_bodies_are_refused_before_memory_ends", tier: soak, run: o06},
	{id: "O07", promise: "pending_deliveries_hurt_no_send", tier: notYet, because: "needs 100,000 deliveries that wait, and a quiet machine"},
	{id: "O08", promise: "a_blocked_log_stalls_nobody", run: o08},
	{id: "O09", promise: "a_starved_cpu_opens_no_breaker", tier: soak, run: o09},
	{id: "O10", promise: "a_refusal_touches_neither_store_nor_body", run: o10},
}

func o02(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].more = "    max_in_flight: 4\n"
	h := s.serve(c)
	release := s.a.holds()
	var held sync.WaitGroup
	for range 4 {
		held.Go(func() { h.first("solo", "hello").turn() })
	}
	s.a.await(t, 4)
	for range 10 {
		began := time.Now()
		p := h.first("solo", "one more").problem(503, "backend_unavailable")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("refused after %v", took)
		}
		h.stored(h.threadOf(p.MessageID), failed...)
		if got := h.first("chain", "one more").turn(); str(got.Thread.Backend) != "b" {
			t.Errorf("answered by %s", str(got.Thread.Backend))
		}
		h.first("pair", "somebody else").turn()
	}
	s.a.got(t, 4)
	h.counted("a", 0, 0)
	release()
	held.Wait()
	h.first("solo", "and now?").turn()
}

func o04(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(20000, int(limit.Cur)-1000)
	conns := make([]net.Conn, 0, n)
	for range n {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, conn)
	}
	for range 50 {
		began := time.Now()
		read[object](h.call("GET", "/healthz", nil), 200)
		h.first("solo", "hello").turn()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("beside %d idle connections a send takes %v", n, took)
		}
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// cpu is how much processor time the program has used.
func (h *house) cpu() time.Duration {
	h.scene.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		h.scene.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func o05(t testing.TB, s *scene) {
	h := s.serveWrapped(wrapped{"sh", "-c", `ulimit -n 96; exec "$0" "$@"`}, s.usual())
	thread := h.begin("solo", "hello")
	h.client.close()
	var conns []net.Conn
	for range 150 {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(h.url, "http://"), time.Second)
		if err != nil {
			break
		}
		conns = append(conns, conn)
	}
	eventually(t, "no descriptor is left", func() bool { return descriptors(t, h.cmd.Process.Pid) >= 95 })
	const watched = 2 * time.Second
	before := h.cpu()
	time.Sleep(watched)
	if used := h.cpu() - before; used > watched/2 {
		t.Errorf("out of descriptors it used %v of processor in %v", used, watched)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	eventually(t, "it serves again", func() bool {
		a, err := h.try("GET", "/readyz", nil)
		return err == nil && a.status == 200
	})
	h.next(thread, "and now?").turn()
	h.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
}

// descriptors counts the open files of a process.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// confined makes what starts a program within a limit of memory. It needs to be
// allowed to make control groups.
func (s *scene) confined(bytes int) wrapped {
	s.t.Helper()
	for _, try := range []struct{ root, limit string }{
		{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	} {
		group := filepath.Join(try.root, fmt.Sprintf("catalogue-%d-%s", os.Getpid(), filepath.Base(filepath.Dir(s.dir))))
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		s.t.Cleanup(func() { _ = os.Remove(group) })
		if os.WriteFile(filepath.Join(group, try.limit), []byte(strconv.Itoa(bytes)), 0o644) == nil {
			return wrapped{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(group, "cgroup.procs")}
		}
	}
	s.t.Skip("a limit of memory needs control groups that may be made")
	return nil
}

// lean is the program without the race detector, which needs many times the memory.
var lean = sync.OnceValues(func() (string, error) {
	if _, err := binary(); err != nil {
		return "", err
	}
	if built == "" {
		return binary()
	}
	file := filepath.Join(built, "lean")
	out, err := exec.Command("go", "build", "-o", file, "chatmux/cmd/chatmux").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return file, nil
})

func o06(t testing.TB, s *scene) {
	file, err := lean()
	if err != nil {
		t.Fatal(err)
	}
	c := s.usual()
	c.limits = "in_flight: 32, " + c.limits
	how := append(s.confined(128<<20), "sh", "-c", `shift; exec "`+file+`" "$@"`, "x")
	h := s.serveWrapped(how, c)
	s.a.plays("always delay 200ms")
	text := `{"route":"solo","text":"` + strings.Repeat("a", 1000) + `","metadata":{` + strings.Repeat(" ", 1<<20-1100) + `}}`
	var served, refused atomic.Int64
	together(200, func(int) {
		for range 10 {
			a, err := h.try("POST", "/v1/messages", text)
			switch {
			case err != nil:
				t.Errorf("%v", err)
			case a.status == 200:
				served.Add(1)
			case a.status == 503:
				refused.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	})
	t.Logf("%d served, %d refused", served.Load(), refused.Load())
	if served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were served and %d refused: the row proves nothing", served.Load(), refused.Load())
	}
	select {
	case <-h.ended:
		t.Errorf("the program was killed: %s", tail(h.log.String()))
	default:
	}
}

func o08(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.begin("solo", "hello")
	h.log.stalled.Lock()
	defer h.log.stalled.Unlock()
	sends := func(n int) {
		for i := range n {
			ctx, cancel := within(15 * time.Second)
			began := time.Now()
			a, err := h.tryIn(ctx, "POST", "/v1/messages", object{"route": "solo", "text": "hello"})
			if cancel(); err != nil || a.status != 200 {
				t.Fatalf("send %d with a log that nobody reads: %d %v", i, a.status, err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("send %d with a log that nobody reads took %v", i, took)
			}
		}
	}
	sends(times(100, 1000))
	eventually(t, "lines of the log are dropped", func() bool {
		together(16, func(int) {
			for range 20 {
				h.call("GET", "/v1/backends", nil)
			}
		})
		return h.metric("chatmux_log_lines_dropped_total") > 0
	})
	sends(times(100, 1000))
}

// o09 keeps every processor busy with something else for ten minutes.
func o09(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for range 8 {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = busy.Process.Kill()
			_ = busy.Wait()
		}()
	}
	end := time.Now().Add(10 * time.Minute)
	var sent atomic.Int64
	together(8, func(n int) {
		for i := 0; time.Now().Before(end); i++ {
			text := fmt.Sprintf("%d of %d", i, n)
			if a := h.first("solo", text); a.status == 200 {
				sent.Add(1)
				if got := a.turn(); got.said() != answered(text) {
					t.Errorf("answered is %q", got.said())
				}
			}
		}
	})
	opened := h.metric(`chatmux_breaker_transitions_total{backend="a",state="open"}`)
	t.Logf("%d sends, the breaker opened %d times", sent.Load(), opened)
	if opened > 1 {
		t.Errorf("the breaker opened %d times", opened)
	}
	if rows := s.query("SELECT text, COUNT(*) FROM messages WHERE role = 'user' GROUP BY text HAVING COUNT(*) > 1"); len(rows) > 0 {
		t.Errorf("stored twice are %v", rows)
	}
}

// o10 takes the store away while refusals go on, and sends none of the bodies.
func o10(t testing.TB, s *scene) {
	c := s.usual()
	c.limits = "in_flight: 1, " + c.limits
	c.callers += "  - {name: slow, key: slow-key-of-a-caller, tenant: acme, rate: 1/s}\n"
	h := s.serve(c)
	answers := s.a.holds()
	done := make(chan answer, 1)
	go func() { done <- h.first("solo", "hello") }()
	s.a.await(t, 1)
	release := s.db.lock(t)
	before := h.cpu()
	refusals := times(500, 50000)
	const clients = 25
	together(clients, func(int) {
		for range refusals / clients {
			w := h.dial()
			w.send(head("/v1/messages", "Content-Length: 100000"))
			a := w.read("POST")
			_ = w.conn.Close()
			a.always()
			a.problem(503, "overloaded")
			if n := a.retryAfter(); n < 1 || n > 5 {
				t.Errorf("Retry-After %d", n)
			}
		}
	})
	t.Logf("%v of processor for each refusal", (h.cpu()-before)/time.Duration(refusals))
	for range 5 {
		h.as("wrong").call("POST", "/v1/threads", object{"title": "x"}).problem(401, "unauthenticated")
	}
	limited := false
	for range 20 {
		a := h.as("slow-key-of-a-caller").call("GET", "/v1/backends", nil)
		if a.status == 429 {
			a.problem(429, "rate_limited")
			limited = true
		}
	}
	if !limited {
		t.Error("no rate was kept")
	}
	release()
	answers()
	(<-done).turn()
	if n := s.count("SELECT COUNT(*) FROM messages"); n != 2 {
		t.Errorf("%d messages are stored, want those of the one send", n)
	}
}
