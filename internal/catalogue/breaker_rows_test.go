//go:build linux

package catalogue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// breakerRows are breakers, second tries, fallback, and threads that stay.
var breakerRows = []row{
	{id: "R01", promise: "five_failures_open_and_nothing_is_asked", run: r01},
	{id: "R02", promise: "half_of_twenty_opens", run: r02},
	{id: "R03", promise: "a_slow_outage_opens", run: r03},
	{id: "R04", promise: "a_half_open_breaker_lets_its_probes_through_and_nobody_else", run: r04},
	{id: "R05", promise: "a_probe_that_hangs_wedges_nothing", tier: soak, run: r05},
	{id: "R06", promise: "a_probe_whose_client_leaves_gives_its_place_back", run: r06},
	{id: "R07", promise: "two_good_probes_close", run: r07},
	{id: "R08", promise: "a_stream_proves_health_at_its_first_content", run: r08},
	{id: "R09", promise: "a_chain_of_open_breakers_says_when_to_come_back", run: r09},
	{id: "R10", promise: "a_new_thread_takes_the_next_at_once", run: r10},
	{id: "R11", promise: "unknown_on_a_stateful_backend_stays_there", run: r11},
	{id: "R12", promise: "an_exhausted_chain_is_visited_once", run: r12},
	{id: "R13", promise: "a_total_outage_is_not_amplified", run: r13},
	{id: "R14", promise: "a_backend_that_cannot_take_the_message_is_skipped", run: r14},
	{id: "R15", promise: "a_bound_thread_waits_for_its_backend", run: r15},
	{id: "R16", promise: "a_bound_thread_moves_once_where_its_route_says_so", run: r16},
	{id: "R17", promise: "a_callers_key_goes_no_further", run: r17},
	{
		id: "R18", promise: "a_vendor_that_takes_a_key_is_asked_again_under_it", tier: inside,
		because: "internal/app TestR18_a_vendor_that_takes_a_key_is_asked_again_under_the_same_key",
	},
}

// opens lets a backend fail until its breaker is open.
func (h *house) opens(v *vendor) {
	h.scene.t.Helper()
	v.plays("always status 500")
	for range 5 {
		h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name}).problem(502, "backend_error")
	}
	h.breakerIs(v.name, "open")
	v.plays("always ok")
}

// halfOpens waits until a breaker that is open lets probes through.
func (h *house) halfOpens(name string) {
	h.scene.t.Helper()
	eventually(h.scene.t, "half open", func() bool { return h.backend(name).Breaker.State == "half_open" })
}

func r01(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].breaker = "failures: 5, open_for: 30s, probes: 2, interval: 60s"
	h := s.serve(c)
	began := time.Now()
	h.opens(s.a)
	a := h.first("solo", "hello")
	p := a.problem(503, "breaker_open")
	if n := a.retryAfter(); n < 1 || n > 36 {
		t.Errorf("Retry-After %d", n)
	}
	if p.Outcome != "none" {
		t.Errorf("outcome %q", p.Outcome)
	}
	h.stored(h.threadOf(p.MessageID), failed...)
	s.a.got(t, 5)
	b := h.backend("a").Breaker
	since, err := time.Parse(time.RFC3339, str(b.Since))
	if err != nil || since.Before(began.Add(-time.Second)) || since.After(time.Now().Add(time.Second)) || str(b.Cause) == "" || str(b.OpenUntil) == "" {
		t.Errorf("breaker %+v", b)
	}
}

func r02(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	ask := func(v *vendor, bad bool) {
		if bad {
			v.plays("1x status 500")
		}
		h.call("POST", "/v1/messages", object{"text": "hello", "backend": v.name})
	}
	for i := range 20 {
		ask(s.b, i%2 == 1)
		ask(s.c, i%2 == 1 && i != 1)
	}
	h.breakerIs("b", "open")
	h.breakerIs("c", "closed")
	h.counted("c", 9, 11)
}

func r03(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].timeouts = "connect: 1s, first_byte: 200ms, idle: 4s, total: 8s"
	c.backends["a"].breaker = "failures: 5, open_for: 30s, probes: 2, interval: 60s"
	h := s.serve(c)
	s.a.plays("always tarpit")
	for i := range 5 {
		h.breakerIs("a", "closed")
		p := h.first("solo", "hello").problem(504, "backend_timeout")
		h.stored(h.threadOf(p.MessageID), unknown...)
		s.a.got(t, i+1)
	}
	h.breakerIs("a", "open")
	h.first("solo", "hello").problem(503, "breaker_open")
	s.a.got(t, 5)
}

func r04(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.opens(s.a)
	release := s.a.holds()
	h.halfOpens("a")
	const n = 200
	var refused, good atomic.Int64
	together(n, func(int) {
		a := h.first("solo", "hello")
		if a.status == 200 {
			good.Add(1)
			return
		}
		a.problem(503, "breaker_open")
		if refused.Add(1) == n-2 {
			release()
		}
	})
	if good.Load() != 2 {
		t.Errorf("%d were answered, want the two probes", good.Load())
	}
	s.a.got(t, 5+2)
	h.breakerIs("a", "closed")
}

// r05 waits out the probe deadline, which no config can shorten.
func r05(t testing.TB, s *scene) {
	c := s.usual()
	c.limits = "timeout: 60s, drain: {delay: 0s, grace: 5s}"
	c.backends["a"].timeouts = "connect: 1s, first_byte: 50s, idle: 50s, total: 50s"
	c.backends["a"].breaker = "failures: 5, open_for: 1s, probes: 1, interval: 120s"
	h := s.serve(c)
	h.opens(s.a)
	for round := range 20 {
		h.halfOpens("a")
		s.a.plays("1x tarpit")
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.first("solo", "hello", "Chatmux-Timeout", "30")
		}()
		s.a.await(t, 5+round+1)
		eventuallyWithin(t, 40*time.Second, "open again", func() bool { return h.backend("a").Breaker.State != "half_open" })
		if took := time.Since(began); took < 15*time.Second || took > 29*time.Second {
			t.Errorf("round %d: the probe counted after %v, want 20s", round, took)
		}
		<-done
	}
	h.halfOpens("a")
	h.first("solo", "hello").turn()
	h.breakerIs("a", "closed")
}

func r06(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].breaker = "failures: 5, open_for: 1s, probes: 1, interval: 60s"
	h := s.serve(c)
	h.opens(s.a)
	h.halfOpens("a")
	s.a.plays("1x tarpit")
	ctx, leave := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.tryIn(ctx, "POST", "/v1/messages", object{"text": "hello", "route": "leaving"})
	}()
	s.a.await(t, 6)
	h.first("solo", "meanwhile").problem(503, "breaker_open")
	leave()
	<-done
	eventuallyWithin(t, 3*time.Second, "the vendor sees the close", func() bool { return s.a.sends()[5].PeerLeft })
	eventually(t, "the place is given back", func() bool { return h.backend("a").InFlight == 0 })
	h.breakerIs("a", "half_open")
	h.first("solo", "hello").turn()
	h.breakerIs("a", "closed")
}

func r07(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.opens(s.a)
	h.halfOpens("a")
	h.first("solo", "one").turn()
	h.breakerIs("a", "half_open")
	h.first("solo", "two").turn()
	h.breakerIs("a", "closed")
	h.first("solo", "three").turn()
	all := h.metrics()
	for _, state := range []string{"open", "half_open", "closed"} {
		if n := metricIn(all, fmt.Sprintf(`chatmux_breaker_transitions_total{backend="a",state=%q}`, state)); n != 1 {
			t.Errorf("the metrics count %d changes to %s", n, state)
		}
		if lines := h.log.awaits(t, fmt.Sprintf(`"breaker changed","backend":"a","state":%q`, state), 1); len(lines) != 1 {
			t.Errorf("the log has %d changes to %s", len(lines), state)
		}
	}
}

func r09(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].breaker = "failures: 5, open_for: 60s, probes: 2, interval: 60s"
	c.backends["b"].breaker = "failures: 5, open_for: 20s, probes: 2, interval: 60s"
	h := s.serve(c)
	h.opens(s.a)
	h.opens(s.b)
	a := h.first("chain", "hello")
	p := a.problem(503, "no_backend_available")
	until, err := time.Parse(time.RFC3339, str(h.backend("b").Breaker.OpenUntil))
	if err != nil {
		t.Fatal(err)
	}
	if rest := time.Until(until).Seconds(); float64(a.retryAfter()) < rest-1 || float64(a.retryAfter()) > rest+2 {
		t.Errorf("Retry-After %d, b opens in %.1f s", a.retryAfter(), rest)
	}
	if p.Outcome != "none" {
		t.Errorf("outcome %q", p.Outcome)
	}
	h.stored(h.threadOf(p.MessageID), failed...)
	s.a.got(t, 5)
	s.b.got(t, 5)
}

// attempts lists the attempts of a message as backend, kind and phase, a success
// without a kind.
func (s *scene) attempts(messageID string) string {
	s.t.Helper()
	return strings.Join(s.query("SELECT backend, kind, phase FROM attempts WHERE message_id = ? ORDER BY id", messageID), ", ")
}

func r10(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].base = "http://" + closedPort(t) + "/api"
	h := s.serve(c)
	answer := h.first("chain", "hello").turn()
	if str(answer.Thread.Backend) != "b" || answer.said() != answered("hello") {
		t.Errorf("answered by %s: %q", str(answer.Thread.Backend), answer.said())
	}
	if got := s.attempts(answer.Message.ID); got != "a unreachable 0, b  0" {
		t.Errorf("attempts %q", got)
	}
	h.counted("a", 1, 0)
	h.counted("b", 0, 1)
	h.stored(answer.Thread.ID, "user sent", "assistant complete")
	if n := len(answer.Thread.Bindings); n == 0 || answer.Thread.Bindings[n-1].Backend != "b" || answer.Thread.Bindings[n-1].Until != nil {
		t.Errorf("bindings %+v", answer.Thread.Bindings)
	}
	if next := h.next(answer.Thread.ID, "and?").turn(); str(next.Thread.Backend) != "b" {
		t.Errorf("the next was answered by %s", str(next.Thread.Backend))
	}
}

func r11(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays("always reset")
	p := h.first("chain", "hello").problem(502, "backend_error")
	h.afterFault(p, plain{outcome: "unknown", failures: 1, stored: unknown}, 1)
	s.b.got(t, 0)
	answer := h.first("bold", "hello").turn()
	if str(answer.Thread.Backend) != "b" {
		t.Errorf("answered by %s", str(answer.Thread.Backend))
	}
	h.stored(answer.Thread.ID, "user sent", "assistant complete")
	if got := s.attempts(answer.Message.ID); got != "a disconnected 1, b  0" {
		t.Errorf("attempts %q", got)
	}
	s.b.got(t, 1)
}

func r12(t testing.TB, s *scene) {
	c := s.usual()
	for _, name := range []string{"a", "b"} {
		c.backends[name].base = strings.Replace(c.backends[name].base, c.backends[name].base[:strings.LastIndex(c.backends[name].base, "/")], "http://"+closedPort(t), 1)
		c.backends[name].retry = "attempts: 3, base: 1ms, cap: 2ms"
	}
	c.backends["a"].breaker = "failures: 1000000, min_requests: 1000000, open_for: 1s, interval: 60s"
	h := s.serve(c)
	n := times(200, 10000)
	together(4, func(int) {
		for range n / 4 {
			if p := h.first("chain", "hello").problem(503, "no_backend_available"); p.Outcome != "none" {
				t.Errorf("outcome %q", p.Outcome)
			}
		}
	})
	if most := s.count("SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM attempts GROUP BY message_id) AS each"); most > 3 {
		t.Errorf("%d attempts for one message", most)
	}
	if rows := s.query("SELECT status, COUNT(*) FROM messages GROUP BY status"); len(rows) != 1 || rows[0] != fmt.Sprintf("failed %d", n) {
		t.Errorf("stored are %v", rows)
	}
}

// r13 keeps the breaker closed: what bounds the dials is the budget for second
// tries alone.
func r13(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].base = "http://" + closedPort(t) + "/api"
	c.backends["a"].retry = "attempts: 3, base: 1ms, cap: 2ms"
	c.backends["a"].breaker = "failures: 1000000, min_requests: 1000000, open_for: 1s, interval: 60s"
	h := s.serve(c)
	began := time.Now()
	n := times(200, 12000)
	together(4, func(int) {
		for range n / 4 {
			h.first("solo", "hello").problem(503, "backend_unavailable")
		}
	})
	dials := s.count("SELECT COUNT(*) FROM attempts")
	allowed := n + n/10 + 3*(1+int(time.Since(began)/(10*time.Second)))
	t.Logf("%d dials for %d sends", dials, n)
	if dials > allowed || dials < n {
		t.Errorf("%d dials for %d sends, at most %d", dials, n, allowed)
	}
}

func r14(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].base = "http://" + closedPort(t) + "/api"
	c.rest = sharing
	h := s.serve(c)
	p := h.call("POST", "/v1/messages", object{
		"text": "look", "route": "chain", "attachments": []object{{"type": "image", "url": s.shelf(picture) + "/a.png"}},
	}).problem(503, "backend_unavailable")
	if str(p.Backend) != "a" || p.Outcome != "none" {
		t.Errorf("problem %+v", p)
	}
	h.stored(h.threadOf(p.MessageID), failed...)
	s.b.got(t, 0)
	h.counted("b", 0, 0)
}

func r15(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].breaker = "failures: 5, open_for: 30s, probes: 2, interval: 60s"
	h := s.serve(c)
	thread := h.begin("chain", "hello")
	h.opens(s.a)
	p := h.next(thread, "still there?").problem(503, "breaker_open")
	if p.Outcome != "none" {
		t.Errorf("outcome %q", p.Outcome)
	}
	h.stored(thread, "user sent", "assistant complete", "user failed")
	s.b.got(t, 0)
}

func r16(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("moving", "my name is Rosa")
	h.opens(s.a)
	answer := h.next(thread, "what is my name?").turn()
	if str(answer.Thread.Backend) != "b" || len(answer.Replies) != 1 {
		t.Fatalf("turn %+v", answer)
	}
	if request := s.b.sends(); len(request) != 1 || !strings.Contains(string(request[0].Body), "my name is Rosa") {
		t.Errorf("b was not told what was said before: %s", request[0].Body)
	}
	h.stored(thread, "user sent", "assistant complete", "user sent", "system complete", "assistant complete")
	notices := s.query("SELECT text FROM messages WHERE thread_id = ? AND role = 'system'", thread)
	if len(notices) != 1 {
		t.Errorf("notices %v", notices)
	}
	for _, m := range h.transcript(thread) {
		if m.Role == "system" && str(m.Notice) != "thread_moved" {
			t.Errorf("notice %q", str(m.Notice))
		}
	}
	eventually(t, "a is back", func() bool { return h.first("solo", "hello").status == 200 && h.backend("a").Breaker.State == "closed" })
	if next := h.next(thread, "and now?").turn(); str(next.Thread.Backend) != "b" || len(next.Thread.Bindings) != 2 {
		t.Errorf("thread %+v", next.Thread)
	}
}

func r17(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.first("solo", "hello", "Idempotency-Key", "key-of-the-first").turn()
	s.a.plays("always fin")
	p := h.first("solo", "hello", "Idempotency-Key", "key-of-the-second").problem(502, "backend_error")
	h.stored(h.threadOf(p.MessageID), unknown...)
	s.a.got(t, 2)
	for _, e := range s.a.Ledger() {
		if strings.Contains(fmt.Sprint(e.Header), "key-of-the") || strings.Contains(string(e.Body), "key-of-the") {
			t.Errorf("the vendor got the caller's key: %v %s", e.Header, e.Body)
		}
	}
	h.counted("a", 1, 1)
}
