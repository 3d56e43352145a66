package backend

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"chatmux/normalize"
)

// probeDeadline is how long a probe may take before it counts as a failure.
// Without it one probe that never reports would keep a breaker half-open for ever.
const probeDeadline = 20 * time.Second

// BreakerOptions say when a breaker opens and closes.
type BreakerOptions struct {
	Failures    int           // opens after so many in a row
	Ratio       float64       // or when so large a share of the window's results failed
	MinRequests int           // of at least so many
	Interval    time.Duration // the window
	OpenFor     time.Duration // jittered by 20 % for each breaker, so that replicas do not probe in step
	Probes      int           // successes that close it again
}

// change is one transition of a breaker, as it goes to log and metrics.
type change struct {
	to    string
	cause normalize.Kind
}

// breaker is gobreaker in its two-step form, with what it lacks: its own count of
// failures in a row (gobreaker forgets requests that outlast the window), a
// deadline for probes, and a memory of since when and why.
type breaker struct {
	cb     *gobreaker.TwoStepCircuitBreaker[struct{}]
	opens  time.Duration
	inARow atomic.Int64

	// gobreaker calls onChange under its own lock, so nothing here may call back
	// into it or block: state is kept in mu, and the changes wait in pending until
	// the caller that caused them is out of the lock.
	mu        sync.Mutex
	changes   int // how often the state changed: a ticket from before says nothing about now
	state     gobreaker.State
	since     time.Time
	openUntil time.Time
	cause     normalize.Kind // of the last failure
	openedBy  normalize.Kind // the one that opened it
	pending   []change
	report    func(change)
}

func newBreaker(o BreakerOptions, report func(change)) *breaker {
	b := &breaker{since: time.Now(), report: report}
	b.opens = time.Duration(float64(o.OpenFor) * (0.8 + 0.4*rand.Float64()))
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(o.Probes),
		Interval:     o.Interval,
		BucketPeriod: o.Interval / 10,
		Timeout:      b.opens,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			if b.inARow.Load() >= int64(o.Failures) {
				return true
			}
			// Requests counts those in flight too: take results only.
			results := c.TotalSuccesses + c.TotalFailures
			return results >= uint32(o.MinRequests) && float64(c.TotalFailures) >= o.Ratio*float64(results)
		},
		IsExcluded: func(err error) bool {
			return err != nil && normalize.AsError(err).Kind.Policy().Count != normalize.CountFailure
		},
		OnStateChange: b.onChange,
	})
	return b
}

func (b *breaker) onChange(_ string, _, to gobreaker.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.since = to, time.Now()
	b.changes++
	switch to {
	case gobreaker.StateOpen:
		b.openUntil, b.openedBy = b.since.Add(b.opens), b.cause
	case gobreaker.StateClosed:
		b.openUntil, b.openedBy = time.Time{}, 0
		b.inARow.Store(0)
	case gobreaker.StateHalfOpen: // still for the reason that opened it
	}
	b.pending = append(b.pending, change{to: stateName(to), cause: b.openedBy})
}

// flush reports what changed, outside of every lock.
func (b *breaker) flush() {
	b.mu.Lock()
	changes := b.pending
	b.pending = nil
	b.mu.Unlock()
	for _, c := range changes {
		b.report(c)
	}
}

// allow gives a ticket for one request, or the refusal. Whoever takes a ticket
// reports once; release it by defer.
func (b *breaker) allow() (*ticket, *normalize.Error) {
	done, err := b.cb.Allow()
	b.flush()
	b.mu.Lock()
	state, openUntil, changes := b.state, b.openUntil, b.changes
	b.mu.Unlock()
	if err != nil {
		wait := time.Second
		if state == gobreaker.StateOpen {
			wait = max(time.Until(openUntil), wait)
		}
		return nil, &normalize.Error{Kind: normalize.KindBreakerOpen, RetryAfter: wait}
	}
	t := &ticket{breaker: b, done: done, changes: changes}
	if state == gobreaker.StateHalfOpen {
		t.deadline.Store(time.AfterFunc(probeDeadline, func() { t.report(&normalize.Error{Kind: normalize.KindTimeout}) }))
	}
	return t, nil
}

// ticket is the right to one request. It reports once; later reports change
// nothing.
type ticket struct {
	breaker  *breaker
	done     func(error)
	changes  int                        // the breaker's, when it was given
	deadline atomic.Pointer[time.Timer] // probes only
	reported atomic.Bool
}

// probes reports whether the request is a probe of a half-open breaker.
func (t *ticket) probes() bool { return t.deadline.Load() != nil }

// report tells the breaker how the request ended; nil is a success.
func (t *ticket) report(failure *normalize.Error) {
	if !t.reported.CompareAndSwap(false, true) {
		return
	}
	if timer := t.deadline.Load(); timer != nil {
		timer.Stop()
	}
	b := t.breaker
	var err error
	if failure != nil {
		err = failure
	}
	b.mu.Lock()
	if t.changes == b.changes {
		switch {
		case failure == nil:
			b.inARow.Store(0)
		case failure.Kind.Policy().Count == normalize.CountFailure:
			b.cause = failure.Kind
			b.inARow.Add(1)
		}
	}
	b.mu.Unlock()
	t.done(err)
	b.flush()
}

// release gives an unused ticket back without a verdict.
func (t *ticket) release() { t.report(&normalize.Error{Kind: normalize.KindCanceled}) }

// BreakerState is what a breaker knows.
type BreakerState struct {
	State               string // closed, open, half_open
	Since               time.Time
	Cause               string // kind of the failure that opened it; empty while closed
	ConsecutiveFailures int
	Successes, Failures int // in the window
	OpenUntil           time.Time
}

func (b *breaker) snapshot() BreakerState {
	_ = b.cb.State() // an open one whose time is over becomes half-open when it is asked
	b.flush()
	counts := b.cb.Counts()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerState{
		State:               stateName(b.state),
		Since:               b.since,
		ConsecutiveFailures: int(b.inARow.Load()),
		Successes:           int(counts.TotalSuccesses),
		Failures:            int(counts.TotalFailures),
		OpenUntil:           b.openUntil,
	}
	if b.state != gobreaker.StateClosed {
		s.Cause = b.openedBy.String()
	}
	return s
}

func stateName(s gobreaker.State) string {
	switch s {
	case gobreaker.StateOpen:
		return "open"
	case gobreaker.StateHalfOpen:
		return "half_open"
	default:
		return "closed"
	}
}
