//go:build linux

package catalogue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// processRows are crash, drain and restart.
var processRows = []row{
	{id: "P01", promise: "killed_at_random_moments_nothing_is_lost_or_doubled", run: p01},
	{id: "P02", promise: "a_reply_is_stored_before_it_is_shown", run: p02},
	{id: "P03", promise: "accepted_and_never_tried_is_failed", run: p03},
	{id: "P04", promise: "tried_without_an_outcome_is_unknown_or_settled", run: p04},
	{id: "P05", promise: "a_delivery_that_was_cut_is_made_again", run: p05, stores: []string{"sqlite"}}, // of the other, whose lease has to end, W07
	{id: "P06", promise: "killed_in_a_reload_it_starts_with_the_file_as_it_is", run: p06},
	{id: "P07", promise: "sigterm_under_load_fails_no_accepted_send", run: p07},
	{id: "P08", promise: "killed_for_memory_nothing_is_lost", tier: soak, run: p08},
	{id: "P09", promise: "ten_thousand_open_sends_do_not_delay_the_start", run: p09},
	{id: "P10", promise: "a_panic_is_nobody_elses_business", tier: inside, because: "internal/httpapi TestAPanicIsA500AndNobodyElsesBusiness"},
	{id: "P11", promise: "power_loss_takes_nothing_acknowledged", tier: soak, run: p11, stores: sqliteOnly},
}

// p01 is the kill loop, as often as a check can wait for.
func p01(t testing.TB, s *scene) { killLoop(t, s, killRounds(8)) }

func p02(t testing.TB, s *scene) {
	thread := ""
	var said []string
	for round := range times(5, 100) {
		h := s.serve(s.usual())
		text := fmt.Sprintf("round %d", round)
		var a answer
		if thread == "" {
			a = h.first("solo", text)
		} else {
			a = h.next(thread, text)
		}
		h.kill()
		got := a.turn()
		thread = got.Thread.ID
		said = append(said, text, got.said())
		again := s.serve(s.usual())
		var stored []string
		for _, m := range again.transcript(thread) {
			if m.Status != "sent" && m.Status != "complete" {
				t.Errorf("round %d: %q is %s", round, str(m.Text), m.Status)
			}
			stored = append(stored, str(m.Text))
		}
		if fmt.Sprintf("%q", stored) != fmt.Sprintf("%q", said) {
			t.Fatalf("round %d: stored is %q, said was %q", round, stored, said)
		}
		again.kill()
	}
	s.db.intact(t)
}

func p03(t testing.TB, s *scene) {
	message, thread := s.crashed(s.serve(s.usual()))
	s.forgetAttempt()
	h := s.serve(s.usual())
	eventually(t, "the message is settled", func() bool { return s.count("SELECT COUNT(*) FROM messages WHERE status = 'pending'") == 0 })
	h.stored(thread, failed...)
	s.a.got(t, 1)
	h.call("POST", "/v1/threads/"+thread+"/messages/"+message+"/resend", nil).turn()
	s.a.got(t, 2)
	h.stored(thread, "user sent", "assistant complete")
}

// p04 kills while the vendor has the message: once with nothing that the vendor
// could be asked about, once in a conversation whose list has message and answer.
func p04(t testing.TB, s *scene) {
	message, alone := s.crashed(s.serve(s.usual()))
	h := s.serve(s.usual())
	eventually(t, "the message is settled", func() bool { return s.count("SELECT COUNT(*) FROM messages WHERE status = 'pending'") == 0 })
	h.stored(alone, unknown...)
	if m := h.transcript(alone); m[0].ID != message || str(m[0].Reason) == "" {
		t.Errorf("message %+v", m[0])
	}
	s.a.got(t, 1)

	thread := h.begin("solo", "hello")
	s.a.answers(func(_ http.ResponseWriter, r *http.Request) {
		s.a.twin.ServeHTTP(httptest.NewRecorder(), r) // the vendor has it, and nobody hears
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = h.try("POST", "/v1/threads/"+thread+"/messages", object{"text": "are you there?"}, key, "k-2")
	}()
	s.a.await(t, 3)
	h.kill()
	<-done
	s.a.front.Store(nil)
	again := s.serve(s.usual())
	eventually(t, "the vendor's list settles it", func() bool {
		rows := s.query("SELECT status FROM messages WHERE thread_id = ? AND text = ?", thread, "are you there?")
		return len(rows) == 1 && rows[0] == "sent"
	})
	again.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
	s.a.got(t, 3)
	if a := again.next(thread, "are you there?", key, "k-2"); a.status == 409 || len(s.a.sends()) != 3 {
		t.Errorf("the repeat: %d %s", a.status, a.body)
	}
	again.next(thread, "good").turn()
	again.stored(alone, unknown...)
}

func p06(t testing.TB, s *scene) {
	c := s.usual()
	h := s.serve(c)
	thread := h.begin("solo", "hello")
	for round := range times(8, 100) {
		good := round%2 == 0
		c.backends["b"].timeouts = fmt.Sprintf("connect: 1s, first_byte: 15s, idle: 15s, total: %dms", 20000+round)
		c.mark = nil
		if !good {
			c.mark = func(yaml string) string { return strings.Replace(yaml, "to: a}", "to: nobody}", 1) }
		}
		s.write(c)
		h.signal(syscall.SIGHUP)
		time.Sleep(rand.N(30 * time.Millisecond)) // anywhere in the reload
		h.kill()
		if !good {
			if out, status := s.run("serve", "--config", s.write(c)); status != 2 {
				t.Errorf("round %d: a bad file starts with %d: %s", round, status, out)
			}
			c.mark = nil
		}
		h = s.serve(c)
		h.next(thread, "still there?").turn()
	}
}

func p07(t testing.TB, s *scene) {
	c := s.usual()
	c.limits = "timeout: 30s, drain: {delay: 500ms, grace: 20s}"
	h := s.serve(c)
	s.a.plays("always delay 700ms")
	var good, draining, gone atomic.Int64
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			for i := 0; ; i++ {
				a, err := h.try("POST", "/v1/messages", object{"route": "solo", "text": fmt.Sprintf("%d of %d", i, n)})
				switch {
				case err != nil:
					gone.Add(1)
					return
				case a.status == 200:
					a.turn()
					good.Add(1)
				default:
					a.problem(503, "draining")
					draining.Add(1)
					return
				}
			}
		})
	}
	s.a.await(t, 16)
	h.signal(syscall.SIGTERM)
	eventually(t, "not ready", func() bool {
		a, err := h.try("GET", "/readyz", nil)
		return err == nil && a.status == 503
	})
	clients.Wait()
	if status := h.end(35 * time.Second); status != 0 {
		t.Errorf("it ends with %d: %s", status, tail(h.log.String()))
	}
	if draining.Load() == 0 {
		t.Error("nobody was told that it drains")
	}
	if n := s.count("SELECT COUNT(*) FROM messages WHERE role = 'user' AND status = 'sent'"); n != int(good.Load()) {
		t.Errorf("%d messages are sent, %d were answered", n, good.Load())
	}
	if n := s.count("SELECT COUNT(*) FROM messages WHERE role = 'user'"); n != int(good.Load()) {
		t.Errorf("%d messages were accepted, %d were answered", n, good.Load())
	}
	t.Logf("%d answered, %d told to go elsewhere, %d too late", good.Load(), draining.Load(), gone.Load())
}

// p08 lets the kernel end the program for the memory that large requests take, and
// has the loop's judge look at what is left.
func p08(t testing.TB, s *scene) {
	k := newKillLoop(t, s)
	k.how = s.confined(60 << 20)
	for range 20 {
		k.round(func(h *house) {
			long, spaces := strings.Repeat("a", 60000), strings.Repeat(" ", 900000)
			for alive := true; alive; {
				together(64, func(int) {
					_, _ = h.try("POST", "/v1/messages", fmt.Sprintf(`{"route":"solo","text":"%s %d","metadata":{%s}}`, long, rand.Uint64(), spaces))
				})
				select {
				case <-h.ended:
					alive = false
				default:
				}
			}
		})
	}
	k.finish()
}

// p09 fills the store with sends of a run that died.
func p09(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.begin("solo", "hello")
	h.kill()
	n := times(2000, 10000)
	s.copySends(n)
	began := time.Now()
	again := s.serve(s.usual())
	took := time.Since(began)
	t.Logf("ready after %v with %d open sends", took, n)
	if took > 15*time.Second {
		t.Errorf("ready after %v", took)
	}
	eventually(t, "all are settled", func() bool {
		return s.count("SELECT (SELECT COUNT(*) FROM sends) + (SELECT COUNT(*) FROM messages WHERE status = 'pending')") == 0
	})
	if got := s.count("SELECT COUNT(*) FROM messages WHERE status = 'unknown'"); got != n {
		t.Errorf("%d are unknown, want %d", got, n)
	}
	again.begin("solo", "hello")
	s.a.got(t, 2)
}

// copySends makes n threads like the one that is there, each with a message that is
// on its way.
func (s *scene) copySends(n int) {
	s.t.Helper()
	db := s.db.connect(s.t)
	defer db.Close()
	copyOf := func(table string, changed map[string]string) string {
		rows, err := db.Query("SELECT * FROM " + table + " LIMIT 0")
		if err != nil {
			s.t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err = errors.Join(err, rows.Err()); err != nil {
			s.t.Fatal(err)
		}
		values := make([]string, len(columns))
		for i, c := range columns {
			if values[i] = c; changed[c] != "" {
				values[i] = changed[c]
			}
		}
		return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") SELECT " + strings.Join(values, ", ") + " FROM " + table
	}
	const numbers = "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n) AS numbers"
	thread := "'thr_copy' || CAST(i AS TEXT)"
	tx, err := db.Begin()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, statement := range []string{
		copyOf("threads", map[string]string{"id": thread}) + ", " + numbers,
		copyOf("messages", map[string]string{"id": "'msg_copy' || CAST(i AS TEXT)", "thread_id": thread, "status": "'pending'"}) + ", " + numbers + " WHERE role = 'user'",
		copyOf("attempts", map[string]string{"id": "'att_copy' || CAST(i AS TEXT)", "thread_id": thread, "message_id": "'msg_copy' || CAST(i AS TEXT)", "ended_at": "0"}) + ", " + numbers,
		"INSERT INTO sends (thread_id, epoch, until, message_id, attempt_id) SELECT " + thread + ", 'run_copy', 0, 'msg_copy' || CAST(i AS TEXT), 'att_copy' || CAST(i AS TEXT) FROM " + numbers,
	} {
		if _, err := tx.Exec(s.db.spelt(statement), n); err != nil {
			s.t.Fatalf("%v in %s", err, statement)
		}
	}
	if err := tx.Commit(); err != nil {
		s.t.Fatal(err)
	}
}
