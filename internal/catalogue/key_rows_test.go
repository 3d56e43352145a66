//go:build linux

package catalogue

import (
	"fmt"
	"testing"
	"time"

	"chatmux/internal/sandbox"
)

// keyRows are the Idempotency-Key, and sending again.
var keyRows = []row{
	{id: "I01", promise: "a_repeat_gets_the_same_answer", run: i01},
	{id: "I02", promise: "a_key_stands_for_one_body", run: i02},
	{id: "I03", promise: "bodies_are_compared_by_their_bytes", run: i03},
	{id: "I04", promise: "a_key_belongs_to_its_tenant_and_path", run: i04},
	{id: "I05", promise: "a_repeat_after_failed_runs_the_same_message", run: i05},
	{id: "I06", promise: "a_repeat_after_unknown_sends_nothing", run: i06},
	{id: "I07", promise: "a_key_is_forgotten_after_its_retention", tier: soak, run: i07},
	{id: "I08", promise: "a_sweep_and_a_repeat_do_not_collide", tier: inside, because: "internal/store sweepRacesARepeat"},
	{id: "I09", promise: "a_crash_before_the_attempt_lets_the_repeat_run_once", run: i09},
	{id: "I10", promise: "a_crash_after_the_vendor_got_it_sends_nothing_again", run: i10},
	{id: "I11", promise: "an_owner_that_stalled_changes_nothing", run: i11, stores: postgresOnly},
	{id: "I12", promise: "a_million_keys_are_looked_up_fast", tier: bench, because: "a percentile: the store's benchmarks measure look-up and sweep"},
}

const key = "Idempotency-Key"

// replayed checks that an answer is an earlier one, byte for byte.
func (a answer) replayed(of answer) {
	a.t.Helper()
	if a.status != of.status || string(a.body) != string(of.body) {
		a.t.Errorf("the repeat is %d %s, the answer was %d %s", a.status, a.body, of.status, of.body)
	}
	if a.header.Get("Idempotency-Replayed") != "true" {
		a.t.Errorf("Idempotency-Replayed is %q", a.header.Get("Idempotency-Replayed"))
	}
}

func i01(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	one := h.first("solo", "hello", key, "k-1")
	if thread := one.turn().Thread.ID; one.header.Get("Idempotency-Replayed") == "true" {
		t.Error("the first answer says that it is a repeat")
	} else {
		for range 5 {
			h.first("solo", "hello", key, "k-1").replayed(one)
		}
		h.stored(thread, "user sent", "assistant complete")
		// The same on the path of a thread.
		two := h.next(thread, "and?", key, "k-2")
		two.turn()
		h.next(thread, "and?", key, "k-2").replayed(two)
		h.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
	}
	s.a.got(t, 2)
	if n := s.count("SELECT COUNT(*) FROM threads"); n != 1 {
		t.Errorf("%d threads", n)
	}
}

func i02(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	one := h.first("solo", "hello", key, "k")
	one.turn()
	s.refuses(func() { h.first("solo", "goodbye", key, "k").problem(422, "idempotency_key_reused") })
	h.first("solo", "hello", key, "k").replayed(one)
	s.a.got(t, 1)
}

func i03(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.call("POST", "/v1/messages", `{"route":"solo","text":"hello"}`, key, "k").turn()
	s.refuses(func() {
		for _, same := range []string{`{"route":"solo", "text":"hello"}`, `{"text":"hello","route":"solo"}`, `{"route":"solo","text":"\u0068ello"}`, `{"route":"solo","text":"hello"}` + "\n"} {
			h.call("POST", "/v1/messages", same, key, "k").problem(422, "idempotency_key_reused")
		}
	})
	s.a.got(t, 1)
}

func i04(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	one := h.first("solo", "hello", key, "k")
	mine := one.turn()
	theirs := h.as(keyOther).first("solo", "hello", key, "k")
	if got := theirs.turn(); got.Thread.ID == mine.Thread.ID || got.Message.ID == mine.Message.ID || theirs.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another tenant's repeat got %s", theirs.body)
	}
	s.refuses(func() {
		h.next(mine.Thread.ID, "hello", key, "k").problem(422, "idempotency_key_reused")
		h.as(keyOther).first("solo", "goodbye", key, "k").problem(422, "idempotency_key_reused")
	})
	h.first("solo", "hello", key, "k").replayed(one)
	s.a.got(t, 2)
}

// reopen lets a vendor listen at an address.
func (s *scene) reopen(v *vendor, addr string) {
	s.t.Helper()
	server, err := sandbox.Start(v, sandbox.Options{Name: v.name, Addr: addr})
	if err != nil {
		s.t.Fatal(err)
	}
	s.leave(func() { _ = server.Close() })
	v.Server = server
}

func i05(t testing.TB, s *scene) {
	addr := closedPort(t)
	c := s.usual()
	c.backends["a"].base = "http://" + addr + "/api"
	h := s.serve(c)
	h.first("solo", "hello", key, "k").problem(503, "backend_unavailable")
	p := h.first("solo", "hello", key, "k").problem(503, "backend_unavailable")
	thread := h.threadOf(p.MessageID)
	h.stored(thread, failed...)
	s.reopen(s.a, addr)
	a := h.first("solo", "hello", key, "k")
	got := a.turn()
	if got.Message.ID != str(p.MessageID) || got.Thread.ID != thread || len(got.Replies) != 1 {
		t.Errorf("turn %+v, want message %s in thread %s", got, str(p.MessageID), thread)
	}
	h.stored(thread, "user sent", "assistant complete")
	h.first("solo", "hello", key, "k").replayed(a)
	s.a.got(t, 1)
}

func i06(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays("1x reset")
	one := h.first("solo", "hello", key, "k")
	p := one.problem(502, "backend_error")
	thread := h.threadOf(p.MessageID)
	for range 5 {
		h.first("solo", "hello", key, "k").replayed(one)
	}
	s.a.got(t, 1)
	h.stored(thread, unknown...)
	got := h.call("POST", "/v1/threads/"+thread+"/messages/"+str(p.MessageID)+"/resend", nil).turn()
	if got.Message.ID != str(p.MessageID) || got.Message.Status != "sent" {
		t.Errorf("sent again is %+v", got.Message)
	}
	s.a.got(t, 2)
	h.stored(thread, "user sent", "assistant complete")
	h.call("POST", "/v1/threads/"+thread+"/messages/"+str(p.MessageID)+"/resend", nil).problem(422, "invalid_request")
	s.a.got(t, 2)
}

// i07 makes a key as old as its retention, and waits for the sweep, which comes
// once a minute.
func i07(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	one := h.first("solo", "hello", key, "k").turn()
	h.first("solo", "young", key, "k-young").turn()
	s.change("UPDATE idempotency_keys SET created_at = created_at - 86400000 WHERE key = 'k'")
	eventuallyWithin(t, 2*time.Minute, "the old key is swept", func() bool { return s.count("SELECT COUNT(*) FROM idempotency_keys") == 1 })
	a := h.first("solo", "hello", key, "k")
	if got := a.turn(); got.Message.ID == one.Message.ID || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("a key that is over brings %s", a.body)
	}
	s.a.got(t, 3)
}

// crashed sends a message that the vendor receives and does not answer, and kills
// the program then.
func (s *scene) crashed(h *house) (messageID, thread string) {
	s.t.Helper()
	asked := len(s.a.sends())
	s.a.plays("1x tarpit")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.try("POST", "/v1/messages", object{"route": "solo", "text": "hello"}, key, "k")
	}()
	s.a.await(s.t, asked+1)
	h.kill()
	<-done
	rows := s.query("SELECT id, thread_id FROM messages WHERE status = 'pending'")
	if len(rows) != 1 {
		s.t.Fatalf("pending are %v", rows)
	}
	if _, err := fmt.Sscan(rows[0], &messageID, &thread); err != nil {
		s.t.Fatal(err)
	}
	return messageID, thread
}

// forgetAttempt makes the store what a crash between acceptance and attempt leaves.
func (s *scene) forgetAttempt() {
	s.t.Helper()
	s.change("DELETE FROM attempts")
	s.change("UPDATE sends SET attempt_id = ''")
}

func i09(t testing.TB, s *scene) {
	message, thread := s.crashed(s.serve(s.usual()))
	s.forgetAttempt()
	s.a.ResetLedger()
	h := s.serve(s.usual())
	var a answer
	eventually(t, "the repeat runs", func() bool {
		a = h.first("solo", "hello", key, "k")
		return a.status != 409
	})
	if got := a.turn(); got.Message.ID != message || got.Thread.ID != thread {
		t.Errorf("turn %+v, want message %s in thread %s", got, message, thread)
	}
	h.first("solo", "hello", key, "k").replayed(a)
	s.a.got(t, 1)
	h.stored(thread, "user sent", "assistant complete")
}

func i10(t testing.TB, s *scene) {
	message, thread := s.crashed(s.serve(s.usual()))
	h := s.serve(s.usual())
	var a answer
	eventually(t, "the repeat is answered", func() bool {
		a = h.first("solo", "hello", key, "k")
		return a.status != 409
	})
	if p := a.problem(502, "backend_error"); p.Outcome != "unknown" || str(p.MessageID) != message {
		t.Errorf("problem %s", a.body)
	}
	for range 5 {
		if p := h.first("solo", "hello", key, "k").problem(502, "backend_error"); p.Outcome != "unknown" {
			t.Errorf("outcome %q", p.Outcome)
		}
	}
	s.a.got(t, 1)
	h.stored(thread, unknown...)
}
