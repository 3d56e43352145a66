package backend

import (
	"sync"
	"time"
)

// The retry budget: second tries may be a tenth of the requests of the last ten
// seconds, and at least three.
const (
	budgetSeconds = 10
	budgetShare   = 10
	budgetFloor   = 3
)

// retryBudget counts requests and second tries by the second. The zero value is
// ready.
type retryBudget struct {
	mu      sync.Mutex
	seconds [budgetSeconds]struct {
		at                int64
		requests, retries int
		awaited           int // of the retries: still to come as requests, and not to be counted as such
	}
}

func (r *retryBudget) request(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.slot(now)
	for i := range r.seconds {
		if s := &r.seconds[i]; s.awaited > 0 && now.Unix()-s.at < budgetSeconds {
			s.awaited--
			return
		}
	}
	r.seconds[current].requests++
}

// take reports whether one more second try is within the budget, and counts it.
func (r *retryBudget) take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.slot(now)
	var requests, retries int
	for _, s := range r.seconds {
		if now.Unix()-s.at < budgetSeconds {
			requests += s.requests
			retries += s.retries
		}
	}
	if retries >= max(requests/budgetShare, budgetFloor) {
		return false
	}
	r.seconds[current].retries++
	r.seconds[current].awaited++
	return true
}

// slot returns the index of the current second, emptied if it held an older one.
func (r *retryBudget) slot(now time.Time) int {
	i := int(now.Unix() % budgetSeconds)
	if s := &r.seconds[i]; s.at != now.Unix() {
		s.at, s.requests, s.retries, s.awaited = now.Unix(), 0, 0, 0
	}
	return i
}
