package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// heard is what Follow told.
type heard struct {
	mu      sync.Mutex
	threads []string
	missed  int
}

func (h *heard) told(threads []string, missed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.threads = append(h.threads, threads...)
	if missed {
		h.missed++
	}
}

func (h *heard) has(threads ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(threads, func(id string) bool { return !slices.Contains(h.threads, id) })
}

func (h *heard) misses() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// follow follows a store until the test ends.
func (f *fixture) follow() *heard {
	f.t.Helper()
	h := new(heard)
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { f.Follow(ctx, h.told) })
	f.t.Cleanup(func() { cancel(); following.Wait() })
	f.eventually(func() bool { return h.misses() > 0 }) // it listens
	return h
}

func TestWhatOneProcessCommitsIsToldToTheOthers(t *testing.T) {
	one, dsn := onPostgres(t)
	two := &fixture{Store: mustOpen(t, dsn), t: t}
	atOne, atTwo := one.follow(), two.follow()
	woken := make(chan struct{}, 100)
	two.SetOutbox(nil, func() { woken <- struct{}{} })
	one.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: everyTopic}}, nil)

	var ids []string
	for range 300 { // more than one notification holds
		thread := one.thread("acme")
		ids = append(ids, thread.ID)
	}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			_, err := one.UpdateThread(t.Context(), "acme", id, t0, func(t *StoredThread) error { t.Title = "new"; return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	two.eventually(func() bool { return atTwo.has(ids...) })
	select {
	case <-woken:
	case <-time.After(10 * time.Second):
		t.Error("nobody was woken to deliver what another process has stored")
	}
	if atOne.has(ids[0]) {
		t.Error("a process was told of what it did itself")
	}

	// A cut connection is made anew, and what was said meanwhile is missed.
	run(t, dsn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN chatmux' AND datname = current_database()`)
	two.eventually(func() bool { return atTwo.misses() > 1 })
	last := one.thread("acme")
	m := userMessage(last.ID, "hello")
	one.begin(last, m, "e1")
	two.eventually(func() bool { return atTwo.has(last.ID) })
}

func TestTidingsFillSeveralNotifications(t *testing.T) {
	db := &postgres{name: "me"}
	var n tidings
	for i := range 1000 {
		n.threads = append(n.threads, fmt.Sprintf("thr_%026d", i))
	}
	n.posted = true
	total := 0
	for _, letter := range db.letters(n) {
		if len(letter) > noticeLimit || letter[:5] != "me + " {
			t.Errorf("%d bytes: %.40q", len(letter), letter)
		}
		total += (len(letter) - len("me +")) / len(" thr_00000000000000000000000000")
	}
	if total != 1000 || db.letters(tidings{}) != nil {
		t.Errorf("%d threads, and of nothing %q", total, db.letters(tidings{}))
	}
}
