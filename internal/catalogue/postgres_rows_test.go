//go:build linux

package catalogue

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatmux/internal/pgtest"
)

// onServer gives a row a PostgreSQL server of its own.
func (s *scene) onServer() *pgtest.Server {
	s.t.Helper()
	server := pgtest.Start(s.t)
	s.db = postgresAt(server.Database())
	return server
}

// behindGate puts a gate between the program and its database; the row itself still
// looks into the database directly.
func (s *scene) behindGate() *gate {
	s.t.Helper()
	p := s.db.(*postgres)
	g, address := gated(s.t, p.address())
	s.db = &passedBy{p, address}
	return g
}

// passedBy is a database that the program reaches by another address.
type passedBy struct {
	*postgres
	by string
}

func (p *passedBy) address() string { return p.by }

// chat lets clients talk, each to the end of every message: a refusal is followed by
// another try. The function that is returned ends it.
func (c *crowd) chat(prefix string, clients int) (end func()) {
	over := make(chan struct{})
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				w := c.wish(fmt.Sprintf("%s%d-of-%d", prefix, i, n), "solo", "", true)
				for limit := time.Now().Add(time.Minute); ; {
					began := time.Now()
					v, _ := c.ask(c.fleet.any(), w)
					if took := time.Since(began); v == again && took > 5*time.Second {
						c.scene.t.Errorf("%s was refused after %v", w.text, took)
					}
					if v == settled {
						break
					}
					if time.Now().After(limit) {
						c.scene.t.Errorf("%s never ends", w.text)
						break
					}
					time.Sleep(tryAgain)
				}
			}
		})
	}
	return func() {
		close(over)
		all.Wait()
	}
}

// told tells how often an answer was given.
func (c *crowd) told(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

// hears waits until an answer was given so many times more.
func (c *crowd) hears(what string, n int) {
	c.scene.t.Helper()
	before := c.told(what)
	eventually(c.scene.t, fmt.Sprint(n, " times more ", what), func() bool { return c.told(what) >= before+n })
}

const away = "503 storage_unavailable"

func d08(t testing.TB, s *scene) {
	server := s.onServer()
	vendor := s.a.records(10 * time.Millisecond)
	f := s.sail(s.usual(), 1)
	h := f.at(0)
	crowd := newCrowd(f)
	end := crowd.chat("away-", 6)
	for range times(2, 20) {
		crowd.hears("200", 30)
		server.Stop()
		crowd.hears(away, 30)
		if a := h.call("GET", "/readyz", nil); a.status != http.StatusServiceUnavailable {
			t.Errorf("/readyz says %d while the server is away", a.status)
		}
		server.Start()
		eventuallyWithin(t, 5*time.Second, "ready", func() bool { return h.call("GET", "/readyz", nil).status == 200 })
		h.first("solo", "after the outage").turn()
	}
	crowd.hears("200", 30)
	end()
	t.Logf("answers: %v", crowd.counts)
	s.free(t, 10*time.Second)
	if b := crowd.audit("away-", vendor); b.acknowledged == 0 {
		t.Errorf("%+v", b)
	}
	s.db.intact(t)
	f.scuttle()
	s.outlasting(server)
}

// outlasting stops the server for longer than a lease, while a vendor works on the send
// of one of two programs. That one is also slow to come back: the other one does not take
// it for dead.
func (s *scene) outlasting(server *pgtest.Server) {
	s.t.Helper()
	const lease = 4 * time.Second
	c := s.usual()
	c.limits = fmt.Sprintf("timeout: 30s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: %v}", lease)
	f := s.sail(c, 2)
	owner, other := f.at(0), f.at(1)
	release := s.a.holds()
	asked := len(s.a.sends())
	late := make(chan answer, 1)
	go func() { late <- owner.first("solo", "for long", key, "for-long") }()
	s.a.await(s.t, asked+1)
	server.Stop()
	time.Sleep(lease + time.Second)
	owner.stall()
	server.Start()
	time.Sleep(2500 * time.Millisecond) // the other one looks for dead owners every 2s
	owner.signal(syscall.SIGCONT)
	eventually(s.t, "the owner is ready", func() bool { return owner.call("GET", "/readyz", nil).status == 200 })
	release()
	s.a.front.Store(nil)
	a := <-late
	other.stored(a.turn().Thread.ID, "user sent", "assistant complete")
	other.first("solo", "for long", key, "for-long").replayed(a)
	s.a.got(s.t, asked+1)
}

func d09(t testing.TB, s *scene) {
	g := s.behindGate()
	vendor := s.a.records(5 * time.Millisecond)
	f := s.sail(s.usual(), 1)
	crowd := newCrowd(f)
	g.pass(8)
	end := crowd.chat("cut-", 6)
	eventuallyWithin(t, 10*time.Minute, "commits are cut", func() bool { return g.count() >= times(150, 3000) })
	g.pass(0)
	end()
	t.Logf("%d commits cut; answers: %v", g.count(), crowd.counts)
	for what, n := range crowd.counts {
		if what != "200" && what != away && what != "409 idempotency_in_progress" {
			t.Errorf("%d times: %s", n, what)
		}
	}
	s.free(t, 10*time.Second)
	b := crowd.audit("cut-", vendor)
	if b.acknowledged == 0 || b.unknown > 0 {
		t.Errorf("%+v", b)
	}
	s.db.intact(t)
}

func d10(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	size := s.size()
	s.a.ResetLedger()
	release := s.db.lock(t) // whoever has a connection now waits on it
	together(24, func(i int) {
		began := time.Now()
		if i%3 == 0 {
			h.next(thread, "one more").problem(503, "storage_unavailable")
		} else {
			h.first("solo", "one more").problem(503, "storage_unavailable")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("refused after %v", took)
		}
	})
	release()
	s.a.got(t, 0)
	if now := s.size(); now != size {
		t.Errorf("the store holds %s, before %s", now, size)
	}
	h.next(thread, "and now?").turn()
	h.log.awaits(t, "no connection to PostgreSQL was free", 1) // or the row proves nothing
}

// d12 is a fail-over to a standby that lacks what came last.
func d12(t testing.TB, s *scene) {
	primary := s.onServer()
	standby := primary.Standby()
	there := &postgres{strings.Replace(s.db.(*postgres).dsn, primary.Addr(), standby.Addr(), 1)}
	g := s.behindGate()
	h := s.serve(s.usual())
	kept := h.first("solo", "kept", key, "kept")
	thread := kept.turn().Thread.ID
	written := s.query("SELECT pg_current_wal_lsn()")[0]
	eventually(t, "the standby has it", func() bool {
		db := there.connect(t)
		defer db.Close()
		return texts(t, db, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written)[0] == "true"
	})
	standby.Stop() // it gets no more
	lost := h.first("solo", "lost", key, "lost").turn()
	h.next(thread, "lost, too").turn()
	release := s.a.holds()
	late := make(chan answer, 1)
	go func() { late <- h.first("solo", "under way", key, "under-way") }()
	s.a.await(t, 4)
	g.close()
	primary.Stop()
	standby.Start()
	standby.Promote()
	s.db = &passedBy{there, s.db.address()}
	g.leads(standby.Addr())
	g.pass(0)
	release()
	if a := <-late; a.status < 500 {
		t.Errorf("what cannot be stored any more is answered: %d %s", a.status, a.body)
	}
	s.a.front.Store(nil)
	eventually(t, "ready", func() bool { return h.call("GET", "/readyz", nil).status == 200 })
	// What came last is gone, and nothing is said again because of that.
	h.first("solo", "kept", key, "kept").replayed(kept)
	h.stored(thread, "user sent", "assistant complete")
	h.call("GET", "/v1/threads/"+lost.Thread.ID, nil).problem(404, "not_found")
	h.next(thread, "hello").turn()
	s.a.got(t, 5)
	// A client that repeats says it again.
	if got := h.first("solo", "lost", key, "lost").turn(); got.Message.ID == lost.Message.ID {
		t.Errorf("the message that was lost is there: %+v", got)
	}
	h.first("solo", "under way", key, "under-way").turn()
	s.a.got(t, 7)
	s.free(t, 5*time.Second)
	s.db.intact(t)
}

// g09 starts the program before its server.
func g09(t testing.TB, s *scene) {
	server := s.onServer()
	server.Stop()
	h := s.launch(nil, "serve", "--config", s.write(s.usual()))
	t.Cleanup(h.settle)
	select {
	case addr := <-h.log.listens:
		h.at("http://" + addr)
	case <-h.ended:
		t.Fatalf("the program ended with status %d: %s", h.exit, h.log)
	case <-time.After(patience):
		t.Fatalf("the program does not say where it listens: %s", h.log)
	}
	read[object](h.call("GET", "/healthz", nil), 200)
	for range 3 {
		if a := h.call("GET", "/readyz", nil); a.status != http.StatusServiceUnavailable {
			t.Errorf("/readyz says %d", a.status)
		}
		h.first("solo", "hello").problem(503, "storage_unavailable")
		h.call("GET", "/v1/threads", nil).problem(503, "storage_unavailable")
	}
	s.a.got(t, 0)
	server.Start()
	eventuallyWithin(t, 5*time.Second, "ready", func() bool { return h.call("GET", "/readyz", nil).status == 200 })
	s.nothingStored()
	h.warm()
	h.base = h.gauges()
	thread := h.begin("solo", "hello")
	h.stored(thread, "user sent", "assistant complete")
}
