//go:build linux

package catalogue

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatmux/adapters/altur"
	"chatmux/adapters/sitegpt"
)

// vendorRows are the faults of vendors, with plain replies.
var vendorRows = []row{
	{id: "U01", promise: "a_refused_connection_is_dialled_as_often_as_allowed", run: u01},
	{id: "U02", promise: "a_resolver_that_hangs_costs_the_connect_timeout", run: u02},
	{id: "U03", promise: "a_black_hole_costs_the_connect_timeout", run: u03},
	{id: "U04", promise: "a_bad_certificate_gets_no_request", run: u04},
	{id: "U05", promise: "a_connection_closed_inside_the_request_is_unknown", run: u05},
	{id: "U06", promise: "a_reset_send_goes_out_once", run: u06},
	{id: "U07", promise: "a_stale_connection_doubles_nothing", run: u07},
	{id: "U08", promise: "silence_ends_at_first_byte", run: u08},
	{id: "U09", promise: "a_500_is_unknown_and_shows_an_excerpt", run: u09},
	{id: "U10", promise: "a_503_with_retry_after_is_left_alone", run: u10},
	{id: "U11", promise: "retry_after_as_a_date", run: u11},
	{id: "U12", promise: "a_429_waits_or_goes_elsewhere", run: u12},
	{id: "U13", promise: "a_rejected_message_blames_nobody", run: u13},
	{id: "U14", promise: "our_credential_is_our_problem", run: u14},
	{id: "U15", promise: "out_of_quota_pauses_the_backend", run: u15},
	{id: "U16", promise: "a_forgotten_conversation_can_still_move", run: u16},
	{id: "U17", promise: "a_redirect_is_never_followed", run: u17},
	{id: "U18", promise: "html_is_no_reply", run: u18},
	{id: "U19", promise: "a_reply_without_its_text_is_no_reply", run: u19},
	{id: "U20", promise: "a_body_shorter_than_its_length_is_truncated", run: u20},
	{id: "U21", promise: "a_body_cut_inside_its_json_is_invalid", run: u21},
	{id: "U22", promise: "a_huge_body_is_not_read", run: u22},
	{id: "U23", promise: "what_is_no_http_is_invalid", run: u23},
	{id: "U24", promise: "text_is_cleaned_once", run: u24},
	{id: "U25", promise: "duplicate_names_give_one_value", run: u25},
	{id: "U26", promise: "a_reply_of_another_conversation_is_not_shown", run: u26},
	{id: "U27", promise: "a_key_that_is_echoed_goes_no_further", run: u27},
	{id: "U28", promise: "a_silent_h2_connection_is_dropped", tier: soak, run: u28},
	{
		id: "U29", promise: "a_panic_of_an_adapter_is_ours", tier: inside,
		because: "internal/backend TestAPanicOfAnAdapterIsAFaultOfOursAndIsLoggedWithItsStack",
	},
	{id: "U30", promise: "bad_weather_is_hardly_noticed", tier: soak, run: u30},
	{id: "U31", promise: "a_callers_deadline_blames_nobody", run: u31},
	{id: "U32", promise: "an_answer_and_its_webhook_are_one_reply", tier: notYet, because: "needs the vendors' webhooks"},
}

// plain is a fault of a's vendor that shows in one send.
type plain struct {
	script   string
	status   int
	code     string
	outcome  string
	failures int      // that the breaker counts
	stored   []string // the user's message, and what else there is
}

// plays runs the program, plays the fault to one send of a new thread, and checks
// everything that the table says.
func (s *scene) plays(p plain) (*house, problem) {
	s.t.Helper()
	h := s.serve(s.usual())
	s.a.plays(p.script)
	got := h.first("solo", "hello").problem(p.status, p.code)
	h.afterFault(got, p, 1)
	return h, got
}

// afterFault checks outcome, store, ledger and breaker after a fault of a's vendor.
func (h *house) afterFault(got problem, p plain, requests int) {
	t := h.scene.t
	t.Helper()
	if got.Outcome != p.outcome {
		t.Errorf("outcome %q, want %q", got.Outcome, p.outcome)
	}
	if str(got.Backend) != "a" {
		t.Errorf("the problem names backend %q", str(got.Backend))
	}
	h.scene.a.got(t, requests)
	h.counted("a", p.failures, 0)
	h.stored(h.threadOf(got.MessageID), p.stored...)
}

var (
	failed  = []string{"user failed"}
	unknown = []string{"user unknown"}
	sent    = []string{"user sent"}
)

// closedPort is an address that nobody listens on.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

// unreachable sends one message to an a that cannot be reached, and checks the
// answer and how often it was tried: attempts, and their kind, phase and number in
// the store.
func (h *house) unreachable(attempts int) {
	t, s := h.scene.t, h.scene
	t.Helper()
	got := h.first("solo", "hello").problem(503, "backend_unavailable")
	if got.Outcome != "none" {
		t.Errorf("outcome %q", got.Outcome)
	}
	h.stored(h.threadOf(got.MessageID), failed...)
	rows := s.query("SELECT backend, kind, phase FROM attempts WHERE message_id = ?", str(got.MessageID))
	want := strings.TrimSpace(strings.Repeat("a unreachable 0, ", attempts))
	if strings.Join(rows, ", ")+"," != want {
		t.Errorf("attempts %v, want %d that did not reach a", rows, attempts)
	}
	h.counted("a", attempts, 0)
}

func u01(t testing.TB, s *scene) {
	for configured, attempts := range map[int]int{1: 1, 2: 2, 3: 3} {
		c := s.usual()
		c.backends["a"].base = "http://" + closedPort(t) + "/api"
		c.backends["a"].retry = fmt.Sprintf("attempts: %d, base: 5ms, cap: 20ms", configured)
		h := s.serve(c)
		h.unreachable(attempts)
		h.stop()
	}
}

func u02(t testing.TB, s *scene) {
	how := s.resolving(func(net.PacketConn) {}) // nobody reads what is asked
	c := s.usual()
	c.backends["a"].base = "https://vendor.invalid/api"
	c.backends["a"].timeouts = "connect: 300ms, first_byte: 4s, idle: 4s, total: 8s"
	h := s.serveWrapped(how, c)
	began := time.Now()
	h.unreachable(2)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("given up after %v: two connect timeouts are 600ms", took)
	}
}

func u03(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].base = "http://" + blackHole(t) + "/api"
	c.backends["a"].timeouts = "connect: 300ms, first_byte: 4s, idle: 4s, total: 8s"
	h := s.serve(c)
	began := time.Now()
	h.unreachable(2)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("given up after %v: two connect timeouts are 600ms", took)
	}
}

// blackHole is a listener whose backlog is full and who accepts nobody: the kernel
// drops every further SYN.
func blackHole(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the backlog does not fill up")
	return ""
}

func u04(t testing.TB, s *scene) {
	ca := newAuthority(t)
	roots := s.file("roots.pem", ca.pem)
	trusted := wrapped{"env", "SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=/nonexistent"}
	now := time.Now()
	for what, cert := range map[string]certificate{
		"untrusted":    newAuthority(t).issue(t, "127.0.0.1", now.Add(time.Hour)),
		"expired":      ca.issue(t, "127.0.0.1", now.Add(-time.Hour)),
		"another name": ca.issue(t, "vendor.example", now.Add(time.Hour)),
		"good":         ca.issue(t, "127.0.0.1", now.Add(time.Hour)),
	} {
		s.a.ResetLedger()
		s.b.ResetLedger()
		c := s.usual()
		c.backends["a"].base = strings.Replace(s.a.base, s.a.URL(), s.overTLS(s.a, cert), 1)
		h := s.serveWrapped(trusted, c)
		if what == "good" {
			h.first("solo", "hello").turn()
		} else {
			h.unreachable(2)
			if answer := h.first("chain", "hello").turn(); str(answer.Thread.Backend) != "b" {
				t.Errorf("%s: answered by %s", what, str(answer.Thread.Backend))
			} else {
				h.stored(answer.Thread.ID, "user sent", "assistant complete")
			}
			if n := s.a.Requests(); n != 0 {
				t.Errorf("%s: the vendor got %d requests, and our key with them", what, n)
			}
		}
		h.stop()
	}
}

func u05(_ testing.TB, s *scene) {
	s.plays(plain{"always read 1", 502, "backend_error", "unknown", 1, unknown})
}

func u06(_ testing.TB, s *scene) {
	s.plays(plain{"always reset", 502, "backend_error", "unknown", 1, unknown})
}

// u07 lets the vendor close idle connections at the very moment in which they may
// be used again.
func u07(t testing.TB, s *scene) {
	var mu sync.Mutex
	received := make(map[string]int)
	addr := s.serveHTTP(&http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				text := textOf(r)
				mu.Lock()
				received[text]++
				mu.Unlock()
			}
			s.a.twin.ServeHTTP(w, r)
		}),
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				time.AfterFunc(rand.N(8*time.Millisecond), func() { _ = conn.Close() })
			}
		},
	})
	c := s.usual()
	c.backends["a"].base = "http://" + addr + "/api"
	c.backends["a"].breaker = "failures: 1000, min_requests: 1000, open_for: 1s, interval: 60s"
	h := s.serve(c)
	thread := h.begin("solo", "the first")
	good, bad := 0, 0
	for i := range times(200, 1000) {
		text := fmt.Sprintf("message %d", i)
		a := h.next(thread, text)
		switch a.status {
		case 200:
			good++
		case 502:
			bad++
			if p := a.problem(502, "backend_error"); p.Outcome != "unknown" {
				t.Errorf("outcome %q", p.Outcome)
			}
		default:
			t.Errorf("%s: %d %s", text, a.status, a.body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for text, n := range received {
		if n > 1 {
			t.Errorf("%q was sent %d times", text, n)
		}
	}
	b := h.backend("a").Breaker
	// A connection that is found dead before anything was written is a failure more, and
	// the message goes out on another.
	if b.Failures < bad || b.Successes != good+1 {
		t.Errorf("counted %d failures and %d successes, of %d bad and %d good answers", b.Failures, b.Successes, bad, good+1)
	}
	t.Logf("%d answered, %d closed in between", good, bad)
}

func u08(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].timeouts = "connect: 1s, first_byte: 300ms, idle: 4s, total: 8s"
	h := s.serve(c)
	s.a.plays("always tarpit")
	p := h.first("solo", "hello").problem(504, "backend_timeout")
	h.afterFault(p, plain{outcome: "unknown", failures: 1, stored: unknown}, 1)
	eventuallyWithin(t, 2*time.Second, "the vendor sees the close", func() bool { return s.a.Ledger()[0].PeerLeft })
}

func u09(t testing.TB, s *scene) {
	long := strings.Repeat("very bad ", 400)
	_, p := s.plays(plain{`always status 500 body={"detail":"<b>boom</b> ` + long + `"}`, 502, "backend_error", "unknown", 1, unknown})
	if p.Vendor == nil || p.Vendor.Status != 500 {
		t.Errorf("vendor is %+v", p.Vendor)
	}
	if len(p.Detail) > 400 {
		t.Errorf("%d bytes of the vendor's text are shown", len(p.Detail))
	}
	if strings.Contains(p.Detail, "<b>") {
		t.Errorf("HTML is shown: %s", p.Detail)
	}
}

func u10(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays("1x status 503 retry-after=2")
	a := h.first("solo", "hello", "Chatmux-Timeout", "1")
	asked := time.Now()
	p := a.problem(503, "backend_unavailable")
	if n := a.retryAfter(); n < 1 || n > 2 {
		t.Errorf("Retry-After %d", n)
	}
	h.afterFault(p, plain{outcome: "none", failures: 1, stored: failed}, 1)
	if until := h.backend("a").CoolDownUntil; until == nil {
		t.Error("no cool-down is shown")
	}
	for time.Since(asked) < 1500*time.Millisecond {
		h.as(keyOther).first("solo", "me too").problem(503, "backend_unavailable")
		s.a.got(t, 1)
		time.Sleep(50 * time.Millisecond)
	}
	h.counted("a", 1, 0)
	eventually(t, "the backend is asked again", func() bool { return h.first("solo", "again").status == 200 })
}

func u11(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().UTC().Add(20*time.Second).Format(http.TimeFormat))
		w.WriteHeader(503)
	})
	a := h.first("solo", "hello", "Chatmux-Timeout", "5")
	p := a.problem(503, "backend_unavailable")
	if n := a.retryAfter(); n < 18 || n > 20 {
		t.Errorf("Retry-After %d, want 18 to 20", n)
	}
	h.afterFault(p, plain{outcome: "none", failures: 1, stored: failed}, 1)
}

func u12(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays("1x status 429 retry-after=1")
	answer := h.first("solo", "hello").turn()
	h.stored(answer.Thread.ID, "user sent", "assistant complete")
	h.counted("a", 0, 1)
	if sends := s.a.sends(); len(sends) != 2 {
		t.Fatalf("the vendor was asked %d times", len(sends))
	} else if gap := sends[1].Time.Sub(sends[0].Time); gap < 900*time.Millisecond {
		t.Errorf("asked again after %v", gap)
	}
	s.a.plays("1x status 429 retry-after=2")
	answer = h.first("chain", "hello").turn()
	if str(answer.Thread.Backend) != "b" {
		t.Errorf("answered by %s", str(answer.Thread.Backend))
	}
	h.stored(answer.Thread.ID, "user sent", "assistant complete")
	h.counted("a", 0, 1)
	h.counted("b", 0, 1)
	if h.backend("a").CoolDownUntil == nil {
		t.Error("no cool-down is shown")
	}
}

func u13(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	clients := 4
	each := times(25, 250)
	together(clients, func(n int) {
		for i := range each {
			text, bad := fmt.Sprintf("good %d %d", n, i), i%2 == 1
			if bad {
				text = fmt.Sprintf("bad %d %d [[status %d]]", n, i, []int{400, 422}[i/2%2])
			}
			a := h.first("solo", text)
			if !bad {
				a.turn()
				continue
			}
			if p := a.problem(422, "backend_rejected"); p.Outcome != "none" {
				t.Errorf("outcome %q", p.Outcome)
			}
		}
	})
	s.a.got(t, clients*each)
	bad := clients * (each / 2)
	h.counted("a", 0, clients*each-bad)
	if rows := s.query("SELECT status, COUNT(*) FROM messages WHERE role = 'user' GROUP BY status ORDER BY status"); fmt.Sprint(rows) !=
		fmt.Sprint([]string{fmt.Sprintf("failed %d", bad), fmt.Sprintf("sent %d", clients*each-bad)}) {
		t.Errorf("stored are %v", rows)
	}
}

func u14(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays("always status 401")
	for range 5 {
		p := h.first("solo", "hello").problem(502, "backend_unauthorized")
		if p.Outcome != "none" {
			t.Errorf("outcome %q", p.Outcome)
		}
		h.stored(h.threadOf(p.MessageID), failed...)
	}
	s.a.got(t, 5)
	h.breakerIs("a", "open")
	if answer := h.first("chain", "hello").turn(); str(answer.Thread.Backend) != "b" {
		t.Errorf("answered by %s", str(answer.Thread.Backend))
	}
	s.a.got(t, 5)
}

func u15(t testing.TB, s *scene) {
	desk := s.hire("s", sitegpt.Spec)
	h := s.serve(s.usual())
	for v, script := range map[*vendor]string{
		s.a:  `always status 402`,
		s.b:  `always status 429 body={"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
		desk: "",
	} {
		if script != "" {
			v.plays(script)
		} else {
			v.answers(func(w http.ResponseWriter, r *http.Request) {
				writeJSON(w, object{"success": true, "data": object{"message": object{
					"id": "1", "threadId": memberOf(r, "threadId"), "question": object{"text": "hello"}, "answer": nil,
					"messageType": "SYSTEM_MESSAGE", "systemMessageType": "EXCEEDED_USAGE_LIMITS",
				}}})
			})
		}
		p := h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name}).problem(503, "backend_unavailable")
		if p.Outcome != "none" {
			t.Errorf("%s: outcome %q", v.name, p.Outcome)
		}
		h.stored(h.threadOf(p.MessageID), failed...)
		v.got(t, 1)
		h.call("POST", "/v1/messages", object{"text": "again", "backend": v.name}).problem(503, "backend_unavailable")
		v.got(t, 1)
		state := h.backend(v.name)
		until, err := time.Parse(time.RFC3339, str(state.CoolDownUntil))
		if rest := time.Until(until); err != nil || rest < 290*time.Second || rest > 301*time.Second {
			t.Errorf("%s: cool-down until %q", v.name, str(state.CoolDownUntil))
		}
		if state.Breaker.State != "closed" || state.Breaker.Failures != 0 {
			t.Errorf("%s: breaker %+v", v.name, state.Breaker)
		}
	}
}

func u16(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("chain", "hello")
	s.a.plays("always status 404")
	p := h.next(thread, "still there?").problem(422, "backend_rejected")
	if p.Outcome != "none" || p.Vendor == nil || p.Vendor.Status != 404 {
		t.Errorf("problem %+v", p)
	}
	h.stored(thread, "user sent", "assistant complete", "user failed")
	s.a.got(t, 2)
	s.b.got(t, 0)
	h.counted("a", 0, 1)
	moved := read[struct{ Backend string }](h.call("POST", "/v1/threads/"+thread+"/move", object{"backend": "b", "carry": "transcript"}), 200)
	if moved.Backend != "b" {
		t.Errorf("moved to %s", moved.Backend)
	}
	if answer := h.next(thread, "and now?").turn(); str(answer.Thread.Backend) != "b" {
		t.Errorf("answered by %s", str(answer.Thread.Backend))
	}
}

func u17(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	victim := s.hire("victim", altur.Spec)
	for i, status := range []int{301, 302, 307, 308} {
		s.a.plays(fmt.Sprintf("1x redirect %d %s/stolen", status, victim.URL()))
		p := h.first("solo", "hello").problem(502, "backend_invalid")
		h.afterFault(p, plain{outcome: "unknown", stored: unknown}, i+1)
	}
	if n := victim.Requests(); n != 0 {
		t.Errorf("the target got %d requests", n)
	}
}

func u18(_ testing.TB, s *scene) {
	s.plays(plain{"always html", 502, "backend_invalid", "done", 1, sent})
}

func u19(t testing.TB, s *scene) {
	desk, parcels := s.hire("s", sitegpt.Spec), s.hire("p", altur.Spec)
	c := s.usual()
	for _, b := range c.backends {
		b.breaker = "failures: 1000, min_requests: 1000, open_for: 1s, interval: 60s"
	}
	h := s.serve(c)
	failures := make(map[*vendor]int)
	for what, value := range map[string]any{"missing": nothing{}, "null": nil, "a number": 7, "an array": []any{}, "an object": object{}} {
		with := func(o object, name string) object {
			if _, missing := value.(nothing); !missing {
				o[name] = value
			}
			return o
		}
		s.a.answers(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, with(object{"conversationId": "0b8b1a52-3c0e-4c0a-9a55-0f6f0c1d2e30", "done": true}, "content"))
		})
		s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, object{"id": "x", "choices": []any{
				object{"index": 0, "message": with(object{"role": "assistant"}, "content"), "finish_reason": "stop"},
			}})
		})
		parcels.answers(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, object{"thread": object{"id": "t1"}, "messages": []any{with(object{"type": "text", "sent_by": "AI"}, "content")}})
		})
		desk.answers(func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, object{"success": true, "data": object{"message": object{
				"id": "1", "threadId": memberOf(r, "threadId"), "messageType": "NORMAL_MESSAGE", "answer": with(object{}, "text"),
			}}})
		})
		for _, v := range []*vendor{s.a, s.b, parcels, desk} {
			a := h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name})
			if a.status != 502 {
				t.Errorf("%s with a text that is %s: %d %s", v.name, what, a.status, a.body)
				continue
			}
			p := a.problem(502, "backend_invalid")
			if p.Outcome != "done" {
				t.Errorf("%s with a text that is %s: outcome %q", v.name, what, p.Outcome)
			}
			h.stored(h.threadOf(p.MessageID), sent...)
			failures[v]++
			h.counted(v.name, failures[v], 0)
		}
	}
	// What is no fault: nobody has anything to say.
	parcels.answers(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, object{"thread": object{"id": "t1"}, "messages": []any{}})
	})
	desk.answers(func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, object{"success": true, "data": object{"message": object{
			"id": "1", "threadId": memberOf(r, "threadId"), "messageType": "USER_MESSAGE", "answer": nil,
		}}})
	})
	for _, v := range []*vendor{parcels, desk} {
		answer := h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name}).turn()
		if answer.Replies == nil || len(answer.Replies) > 0 {
			t.Errorf("%s: replies are %+v", v.name, answer.Replies)
		}
		h.stored(answer.Thread.ID, sent...)
		h.counted(v.name, failures[v], 1)
	}
}

// nothing stands for a value that is left out.
type nothing struct{}

// writeJSON answers 200.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // it fails only where the client has left
}

// memberOf reads one text of a request's JSON body.
func memberOf(r *http.Request, name string) string {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	text, _ := body[name].(string)
	return text
}

func u20(_ testing.TB, s *scene) {
	s.plays(plain{"always cut 20", 502, "backend_truncated", "done", 1, sent})
}

func u21(_ testing.TB, s *scene) {
	s.plays(plain{"always cut 20 close", 502, "backend_invalid", "done", 1, sent})
}

func u22(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for i, script := range []string{"1x oversize 50MiB", "1x oversize 50MiB chunked"} {
		s.a.plays(script)
		p := h.first("solo", "hello").problem(502, "backend_invalid")
		h.afterFault(p, plain{outcome: "done", stored: sent}, i+1)
		eventually(t, "the vendor is told to stop", func() bool { return s.a.sends()[i].Done })
		if e := s.a.sends()[i]; e.Sent > 20<<20 {
			t.Errorf("%s: %d bytes were taken", script, e.Sent)
		}
	}
}

func u23(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].timeouts = "connect: 1s, first_byte: 500ms, idle: 4s, total: 8s"
	h := s.serve(c)
	s.a.plays("1x garbage")
	p := h.first("solo", "hello").problem(502, "backend_invalid")
	h.afterFault(p, plain{outcome: "unknown", failures: 1, stored: unknown}, 1)
	s.a.plays("1x 1xx")
	began := time.Now()
	a := h.first("solo", "hello")
	if a.status == 504 {
		p = a.problem(504, "backend_timeout")
	} else {
		p = a.problem(502, "backend_invalid")
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("endless 1xx was read for %v", took)
	}
	h.afterFault(p, plain{outcome: "unknown", failures: 2, stored: unknown}, 2)
}

func u24(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"conversationId":"0b8b1a52-3c0e-4c0a-9a55-0f6f0c1d2e30","content":"a\u0000b` + "\xff" + `c\ud800d é😀  ","done":true}`))
	})
	answer := h.first("solo", "hello").turn()
	const clean = "a\uFFFDb\uFFFDc\uFFFDd é😀  "
	if answer.said() != clean {
		t.Errorf("answered is %q, want %q", answer.said(), clean)
	}
	if m := h.transcript(answer.Thread.ID); len(m) != 2 || str(m[1].Text) != clean {
		t.Errorf("the transcript is %+v", m)
	}
	if rows := s.query("SELECT text FROM messages WHERE role = 'assistant'"); len(rows) != 1 || rows[0] != clean {
		t.Errorf("stored is %q", rows)
	}
	h.counted("a", 0, 1)
}

func u25(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays(`always json {"conversationId":"0b8b1a52-3c0e-4c0a-9a55-0f6f0c1d2e30","content":"one","content":"two","done":true}`)
	answer := h.first("solo", "hello").turn()
	if text := answer.said(); text != "one" && text != "two" {
		t.Errorf("answered is %q", text)
	}
	if rows := s.query("SELECT text FROM messages WHERE role = 'assistant'"); len(rows) != 1 || rows[0] != answer.said() {
		t.Errorf("shown is %q, stored %q", answer.said(), rows)
	}
	h.counted("a", 0, 1)
}

func u26(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	const foreign = "the text of somebody else"
	s.a.plays(`always json {"conversationId":"99999999-3c0e-4c0a-9a55-0f6f0c1d2e30","content":"` + foreign + `","done":true}`)
	a := h.next(thread, "and?")
	if p := a.problem(502, "backend_invalid"); p.Outcome != "done" {
		t.Errorf("outcome %q", p.Outcome)
	}
	if strings.Contains(string(a.body), foreign) || strings.Contains(string(s.db.contents(t)), foreign) {
		t.Error("the foreign text is shown or stored")
	}
	h.stored(thread, "user sent", "assistant complete", "user sent")
	h.counted("a", 1, 1)
	h.log.awaits(t, "another conversation", 1)
}

// u27 relies on the search for secrets that follows every answer and every row.
func u27(t testing.TB, s *scene) {
	s.hire("s", sitegpt.Spec)
	s.hire("p", altur.Spec)
	h := s.serve(s.usual())
	for _, v := range s.vendors {
		for i, status := range []int{400, 401, 500} {
			v.plays(fmt.Sprintf("always echo_auth %d", status))
			a := h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name})
			p := a.problem([]int{422, 502, 502}[i], []string{"backend_rejected", "backend_unauthorized", "backend_error"}[i])
			if p.Vendor == nil || p.Vendor.Status != status {
				t.Errorf("%s with %d: %s", v.name, status, a.body)
			}
		}
		for _, e := range v.Ledger() {
			if !strings.Contains(fmt.Sprint(e.Header), canary) {
				t.Errorf("%s was asked without its key: the row proves nothing", v.name)
			}
		}
	}
}

// u28 lets the one connection to a vendor that speaks HTTP/2 fall silent. It is given up
// after 15s of silence and 10s for the answer to a ping.
func u28(t testing.TB, s *scene) {
	ca := newAuthority(t)
	roots := s.file("roots.pem", ca.pem)
	line, address := s.byLine(strings.TrimPrefix(s.overTLS(s.a, ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))), "https://"))
	c := s.usual()
	c.backends["a"].base = strings.Replace(s.a.base, s.a.URL(), "https://"+address, 1)
	c.backends["a"].timeouts = "connect: 1s, first_byte: 1s, idle: 4s, total: 8s"
	c.backends["a"].breaker = "failures: 1000, min_requests: 1000, open_for: 1s, interval: 60s"
	h := s.serveWrapped(wrapped{"env", "SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=/nonexistent"}, c)
	h.first("solo", "hello").turn()
	together(8, func(int) { h.first("solo", "hello").turn() })
	if n := line.count(); n != 1 {
		t.Fatalf("the vendor has %d connections, so it does not speak HTTP/2: the row proves nothing", n)
	}
	line.hush()
	began := time.Now()
	p := h.first("solo", "are you there?").problem(504, "backend_timeout")
	h.stored(h.threadOf(p.MessageID), unknown...)
	eventuallyWithin(t, 40*time.Second, "a send is answered", func() bool {
		a := h.first("solo", "and now?")
		switch a.status {
		case 200:
			return true
		case 502: // under way as the connection is given up
			a.problem(502, "backend_error")
		default:
			a.problem(504, "backend_timeout")
		}
		return false
	})
	t.Logf("healed after %v", time.Since(began))
	if n := line.count(); n != 2 {
		t.Errorf("the vendor has been connected to %d times, want twice", n)
	}
}

// u30 is ten minutes of ordinary bad weather.
func u30(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for _, v := range []*vendor{s.b, s.c} {
		twin := v.twin
		v.answers(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(rand.N(2 * time.Second))
			switch rand.IntN(100) {
			case 0:
				panic(http.ErrAbortHandler)
			case 1:
				w.WriteHeader(500)
			default:
				twin.ServeHTTP(w, r)
			}
		})
	}
	var mu sync.Mutex
	asked, good := 0, 0
	end := time.Now().Add(10 * time.Minute)
	together(16, func(n int) {
		for i := 0; time.Now().Before(end); i++ {
			a := h.first("pair", fmt.Sprintf("%d of %d", i, n))
			mu.Lock()
			if asked++; a.status == 200 {
				good++
			}
			mu.Unlock()
		}
	})
	attempts := s.count("SELECT COUNT(*) FROM attempts")
	t.Logf("%d sends, %d answered, %d attempts", asked, good, attempts)
	if good*1000 < asked*999 {
		t.Errorf("%d of %d were answered", good, asked)
	}
	if attempts*10 > asked*11 {
		t.Errorf("%d attempts for %d sends", attempts, asked)
	}
}

func u31(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].more = "    max_in_flight: 200\n"
	h := s.serve(c)
	s.a.answers(func(w http.ResponseWriter, r *http.Request) {
		if textOf(r) == "slow" {
			<-r.Context().Done()
			return
		}
		s.a.twin.ServeHTTP(w, r)
	})
	const n = 100
	together(n+4, func(i int) {
		if i >= n {
			h.first("solo", "quick").turn()
			return
		}
		if p := h.first("solo", "slow", "Chatmux-Timeout", "1").problem(504, "deadline_exceeded"); p.Outcome != "unknown" {
			t.Errorf("outcome %q", p.Outcome)
		}
	})
	h.counted("a", 0, 4)
	h.breakerIs("a", "closed")
	if rows := s.query("SELECT status, COUNT(*) FROM messages WHERE role = 'user' GROUP BY status ORDER BY status"); fmt.Sprint(rows) != "[sent 4 unknown 100]" {
		t.Errorf("stored are %v", rows)
	}
}
