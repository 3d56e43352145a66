//go:build linux

package catalogue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// toll is what a kill loop has counted.
type toll struct {
	bill
	rounds   int
	repeated int           // wishes that were asked for again after a kill
	ready    time.Duration // the longest time until a program was ready
}

// String tells it for people.
func (l toll) String() string {
	return fmt.Sprintf("%d rounds: %d acknowledged, %d unknown, %d asked again after a kill; %d lost, %d doubled, %d stuck; ready within %v",
		l.rounds, l.acknowledged, l.unknown, l.repeated, l.lost, l.doubled, l.stuck, l.ready.Round(time.Millisecond))
}

// The pace.
const (
	fleetLease   = time.Second
	fleetClients = 16
)

// fleetKilled kills a program again and again while 16 clients talk to it, or to all
// programs of a fleet, and checks after each round what must hold:
//
//	K1 what a client saw answered is stored, complete, byte for byte
//	K2 the vendor got each text at most once
//	K3 each key has one message and one result
//	K4 nothing is pending, no attempt open, longer than its lease and a sweep
//	K5 no more is unknown than was in flight, and nothing that was answered
//	K6 no reply is complete that the vendor did not end
//	K7 the store is intact
//	K9 every thread that was touched takes a message
//	K10 the log holds no secret; how soon it is ready is counted
func fleetKilled(t testing.TB, s *scene, replicas, rounds int) toll {
	c := s.usual()
	c.limits = fmt.Sprintf("timeout: 10s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: %v}", fleetLease)
	vendor := s.a.records(10 * time.Millisecond)
	f := s.sail(c, replicas)
	crowd := newCrowd(f)
	var sum toll
	for n := range rounds {
		prefix := fmt.Sprintf("round-%d-", n)
		repeated, unknown := fleetRound(crowd, vendor, prefix)
		sum.repeated += repeated
		victim := -1
		for i := range replicas {
			if f.at(i).gone {
				victim = i
			}
		}
		sum.ready = max(sum.ready, f.replace(victim))
		for _, w := range unknown {
			if w.key != "" {
				crowd.insist(w)
			}
		}
		s.free(t, fleetLease+10*time.Second)
		b := crowd.audit(prefix, vendor)
		if b.unknown > len(unknown) {
			t.Errorf("%d are unknown, and %d were in flight", b.unknown, len(unknown))
		}
		sum.bill.add(b)
		sum.rounds++
		s.db.intact(t)
		for _, w := range unknown {
			for _, m := range s.said(w.text)[w.text] {
				f.any().next(m.thread, "after "+w.text).turn()
			}
		}
		if t.Failed() {
			break
		}
	}
	if all := crowd.audit("round-", vendor); all.acknowledged != sum.acknowledged {
		t.Errorf("%d are acknowledged at the end, %d were", all.acknowledged, sum.acknowledged)
	}
	t.Logf("%v; answers: %v", sum, crowd.counts)
	if sum.acknowledged == 0 || sum.repeated == 0 {
		t.Errorf("nothing was answered, or nothing was in flight: the loop proves nothing: %v", sum)
	}
	return sum
}

// fleetRound lets clients talk until a program is killed, and returns how many
// wishes were asked for again, and those that got no answer.
func fleetRound(c *crowd, vendor *record, prefix string) (repeated int, unanswered []*wish) {
	f := c.fleet
	victim := f.any()
	over := make(chan struct{})
	strike := sync.OnceFunc(func() {
		victim.kill()
		close(over)
	})
	// Half of the kills come at any time, half just as the vendor has got a message.
	var moment *time.Timer
	if rand.IntN(2) == 0 {
		moment = time.AfterFunc(50*time.Millisecond+rand.N(400*time.Millisecond), strike)
	} else {
		left := atomic.Int64{}
		left.Store(1 + rand.Int64N(100))
		vendor.notify(func() {
			if left.Add(-1) == 0 {
				go strike()
			}
		})
		defer vendor.notify(nil)
		moment = time.AfterFunc(5*time.Second, strike)
	}
	defer moment.Stop()
	var mu sync.Mutex
	together(fleetClients, func(n int) {
		thread := ""
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
			}
			if rand.IntN(3) > 0 {
				thread = ""
			}
			w := c.wish(fmt.Sprintf("%s%d-of-client-%d", prefix, i, n), "solo", thread, rand.IntN(10) > 0)
			h := f.any()
			v, in := c.ask(h, w)
			thread = in
			switch {
			case v == silent:
				mu.Lock()
				unanswered = append(unanswered, w)
				if w.key != "" {
					repeated++
				}
				mu.Unlock()
				return // or it would count what it asked of the dead as under way
			case v == settled && w.key != "" && rand.IntN(10) < 3: // the client did not listen
				_, _ = c.ask(f.other(h), w)
			}
		}
	})
	<-over
	return repeated, unanswered
}
