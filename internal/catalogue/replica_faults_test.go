//go:build linux

package catalogue

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// m01 asks two programs with one key at one moment, for many keys.
func m01(t testing.TB, s *scene) {
	keys := times(400, 10000)
	vendor := s.a.records(5 * time.Millisecond)
	f := s.sail(s.usual(), 2)
	var running, replays atomic.Int64
	const lanes = 4 // as many as a program has connections
	together(lanes, func(lane int) {
		for i := lane; i < keys; i += lanes {
			text := fmt.Sprintf("key-%d", i)
			answers := make([]answer, 2)
			together(2, func(n int) {
				answers[n] = f.at(n).call("POST", "/v1/messages", object{"route": "solo", "text": text}, key, text)
			})
			if answers[0].status != 200 {
				answers[0], answers[1] = answers[1], answers[0]
			}
			if done := answers[0].turn(); done.said() != answered(text) {
				t.Errorf("%s is answered with %q", text, done.said())
			}
			if answers[1].status == 200 {
				replays.Add(1)
				if string(answers[0].body) != string(answers[1].body) {
					t.Errorf("%s has two answers: %s and %s", text, answers[0].body, answers[1].body)
				}
			} else {
				running.Add(1)
				answers[1].problem(409, "idempotency_in_progress")
			}
			f.at(i%2).call("POST", "/v1/messages", object{"route": "solo", "text": text}, key, text).replayed(answers[0])
			if sent, _ := vendor.of(text); sent != 1 {
				t.Errorf("%s was sent %d times", text, sent)
			}
		}
	})
	t.Logf("%d keys: the second was told %d times that it runs, and %d times the answer", keys, running.Load(), replays.Load())
	for what, query := range map[string]string{
		"threads": "SELECT COUNT(*) FROM threads", "messages": "SELECT COUNT(*) FROM messages WHERE role = 'user'",
		"replies": "SELECT COUNT(*) FROM messages WHERE role = 'assistant'", "keys": "SELECT COUNT(*) FROM idempotency_keys",
		"attempts": "SELECT COUNT(*) FROM attempts",
	} {
		if n := s.count(query); n != keys {
			t.Errorf("%d %s of %d keys", n, what, keys)
		}
	}
	s.db.intact(t)
}

// orphaned lets a vendor receive a message from the first program of a fleet and
// kills that program then. A repeat on the second is told that the message runs.
func (f *fleet) orphaned(text string) (message, thread string, since time.Time) {
	s := f.scene
	s.t.Helper()
	asked := len(s.a.sends())
	s.a.plays("1x tarpit")
	var gone sync.WaitGroup
	since = time.Now()
	gone.Go(func() {
		_, _ = f.at(0).try("POST", "/v1/messages", object{"route": "solo", "text": text}, key, text)
	})
	s.a.await(s.t, asked+1)
	f.at(0).kill()
	gone.Wait()
	p := f.at(1).first("solo", text, key, text).problem(409, "idempotency_in_progress")
	return str(p.MessageID), f.at(1).threadOf(p.MessageID), since
}

// inherited repeats a message on the second program until it does not run any more,
// and checks that its lease was waited for, which began since then.
func (f *fleet) inherited(text string, since time.Time, lease time.Duration) answer {
	s := f.scene
	s.t.Helper()
	var a answer
	eventually(s.t, "the lease ends", func() bool {
		a = f.at(1).first("solo", text, key, text)
		return a.status != 409
	})
	if waited := time.Since(since); waited < lease {
		s.t.Errorf("a lease of %v was over after %v", lease, waited)
	}
	return a
}

func m02(t testing.TB, s *scene) {
	const lease = 3 * time.Second
	c := s.usual()
	c.limits = fmt.Sprintf("timeout: 20s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: %v}", lease)
	f := s.sail(c, 2)
	// The vendor may have it: nobody says it again.
	message, thread, since := f.orphaned("possibly")
	a := f.inherited("possibly", since, lease)
	if p := a.problem(502, "backend_error"); p.Outcome != "unknown" || str(p.MessageID) != message {
		t.Errorf("problem %s", a.body)
	}
	s.a.got(t, 1)
	f.at(1).stored(thread, unknown...)
	// Nobody was asked: the repeat says it, once.
	f.replace(0)
	message, thread, since = f.orphaned("certainly-not")
	s.change("DELETE FROM attempts WHERE thread_id = ?", thread)
	s.change("UPDATE sends SET attempt_id = '' WHERE thread_id = ?", thread)
	s.a.ResetLedger()
	a = f.inherited("certainly-not", since, lease)
	if got := a.turn(); got.Message.ID != message || got.Thread.ID != thread {
		t.Errorf("turn %s, want message %s in thread %s", a.body, message, thread)
	}
	f.replace(0)
	f.at(0).first("solo", "certainly-not", key, "certainly-not").replayed(a)
	s.a.got(t, 1)
	f.at(0).stored(thread, "user sent", "assistant complete")
	f.scuttle()
	// And at any moment.
	fleetKilled(t, s, 2, 3)
}

// m03 restarts two programs in turn under load. Clients ask the one that is ready,
// as behind a load balancer.
func m03(t testing.TB, s *scene) {
	c := s.usual()
	c.limits = "timeout: 20s, drain: {delay: 500ms, grace: 10s}, idempotency: {lease: 2s}"
	vendor := s.a.records(20 * time.Millisecond)
	f := s.sail(c, 2)
	var ready [2]atomic.Bool
	ready[0].Store(true)
	ready[1].Store(true)
	crowd := newCrowd(f)
	over := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				w := crowd.wish(fmt.Sprintf("rolling-%d-of-%d", i, n), "solo", "", true)
				for {
					one := i % 2
					if !ready[one].Load() {
						one = 1 - one
					}
					if v, _ := crowd.ask(f.at(one), w); v == settled {
						break
					}
					time.Sleep(tryAgain)
				}
				if w.unknown {
					t.Errorf("nobody knows what became of %s", w.text)
				}
			}
		})
	}
	for round := range times(4, 40) {
		one := round % 2
		h := f.at(one)
		crowd.hears("200", 20)
		h.signal(syscall.SIGTERM)
		eventually(t, "not ready", func() bool {
			a, err := h.try("GET", "/readyz", nil)
			return err != nil || a.status == 503
		})
		ready[one].Store(false)
		if status := h.end(patience); status != 0 {
			t.Errorf("SIGTERM ended the program with status %d: %s", status, tail(h.log.String()))
		}
		crowd.hears("200", 20)
		f.replace(one)
		ready[one].Store(true)
	}
	close(over)
	clients.Wait()
	t.Logf("answers: %v", crowd.counts)
	for what, n := range crowd.counts {
		if what != "200" && what != "503 draining" {
			t.Errorf("%d times: %s", n, what)
		}
	}
	if b := crowd.audit("rolling-", vendor); b.unknown > 0 || b.acknowledged == 0 {
		t.Errorf("%+v", b)
	}
	s.free(t, 5*time.Second)
	s.db.intact(t)
}

// m06 asks two programs as fast as it can.
func m06(t testing.TB, s *scene) {
	c := s.usual()
	const rate, burst = 2, 4
	c.callers += "  - {name: slow, key: slow-key-of-a-caller, tenant: acme, rate: 2/s}\n"
	f := s.sail(c, 2)
	began := time.Now()
	var served, refused atomic.Int64
	together(2, func(n int) {
		slow := f.at(n).as("slow-key-of-a-caller")
		for range 60 {
			switch a := slow.call("GET", "/v1/threads", nil); a.status {
			case http.StatusOK:
				served.Add(1)
			default:
				a.problem(429, "rate_limited")
				refused.Add(1)
			}
		}
	})
	if most := 2 * (burst + int64(rate*time.Since(began).Seconds()) + 1); served.Load() > most || refused.Load() == 0 {
		t.Errorf("two programs served %d requests, want at most %d; %d were refused", served.Load(), most, refused.Load())
	}
}

// stall makes the program stand still, and returns when all of it does.
func (h *house) stall() {
	t := h.scene.t
	t.Helper()
	h.signal(syscall.SIGSTOP)
	eventually(t, "every thread stands still", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", h.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("no threads are seen: %v", err)
		}
		for _, file := range threads {
			stat, err := os.ReadFile(file)
			if err != nil {
				continue // it has ended
			}
			// pid (name) state: the name may hold anything.
			if rest := stat[bytes.LastIndexByte(stat, ')')+1:]; !bytes.HasPrefix(rest, []byte(" T")) {
				return false
			}
		}
		return true
	})
}

// i11 lets a program stand still for longer than its lease while the vendor answers,
// and another one take over.
func i11(t testing.TB, s *scene) {
	f := s.sail(s.usual(), 2)
	release := make(chan struct{})
	s.a.answers(func(w http.ResponseWriter, r *http.Request) {
		<-release
		s.a.twin.ServeHTTP(w, r)
	})
	owner, other := f.at(0), f.at(1)
	late := make(chan answer, 1)
	go func() { late <- owner.first("solo", "hello", key, "k") }()
	s.a.await(t, 1)
	owner.stall()
	defer func() { _ = owner.cmd.Process.Signal(syscall.SIGCONT) }()
	close(release)
	other.first("solo", "hello", key, "k").problem(409, "idempotency_in_progress")
	var taken answer
	eventually(t, "the other takes over", func() bool {
		taken = other.first("solo", "hello", key, "k")
		return taken.status != 409
	})
	p := taken.problem(502, "backend_error")
	thread := other.threadOf(p.MessageID)
	other.stored(thread, unknown...)
	what := func() string {
		return fmt.Sprint(s.query("SELECT id, status, text FROM messages ORDER BY id"), s.query("SELECT status, message_id FROM idempotency_keys"))
	}
	told := what()
	owner.signal(syscall.SIGCONT)
	a := <-late
	if late := read[problem](a, a.status); a.status < 500 || late.Outcome != "unknown" {
		t.Errorf("it is stored as unknown, and its owner says %d %s", a.status, a.body)
	}
	if now := what(); now != told {
		t.Errorf("stored is %s, before it was %s", now, told)
	}
	for _, h := range f.up {
		if p := h.first("solo", "hello", key, "k").problem(502, "backend_error"); p.Outcome != "unknown" {
			t.Errorf("outcome %q", p.Outcome)
		}
		h.next(thread, "and now?").turn()
	}
	s.a.got(t, 3)
	s.free(t, 5*time.Second)
	s.db.intact(t)
}

// m07 watches a thread on one program and speaks in it on the other, and cuts every
// connection to the database before each answer.
func m07(t testing.TB, s *scene) {
	f := s.sail(s.usual(), 2)
	speaking, watching := f.at(0), f.at(1)
	thread := speaking.begin("solo", "hello")
	seen := watching.follow("/v1/threads/"+thread+"/events", nil, "Last-Event-ID", "0")
	told := func() event {
		for {
			e, ok := seen.next()
			if !ok {
				t.Fatal("who watches is told of no end")
			}
			if e.name == "done" || e.name == "error" {
				return e
			}
		}
	}
	told()
	for round := range times(3, 100) {
		text := fmt.Sprintf("round %d", round)
		release := s.a.holds()
		answered := make(chan answer, 1)
		go func() { answered <- speaking.next(thread, text) }()
		s.a.await(t, round+2)
		s.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		release()
		message := (<-answered).turn().Message.ID
		since := time.Now()
		if e := told(); e.part().turn.Message.ID != message {
			t.Errorf("%s: who watches is told %s: %s", text, e.name, e.data)
		}
		if took := time.Since(since); took > 10*time.Second {
			t.Errorf("%s: who watches is told after %v", text, took)
		}
	}
	seen.leave()
}
