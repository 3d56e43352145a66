//go:build linux

package catalogue

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// keyPhase is where a key stands.
type keyPhase int

const (
	keyNew keyPhase = iota
	keyRuns
	keyFailed  // nobody was asked: it may run again
	keyDone    // it has its answer
	keyUnknown // nobody knows what a vendor did
)

// keyModel is what a key may be to its clients: new, then running, then done or
// unknown for good; or failed, and then it may run again as the same message. A run
// belongs to one request.
type keyModel struct {
	phase   keyPhase
	run     int    // the request that runs; 0: one of those without an answer
	message string // its id, once somebody was told
}

// told is the state in which somebody was told a message's id; false where another
// one was told before.
func (k keyModel) told(message string) (keyModel, bool) {
	if message == "" || k.message == message {
		return k, true
	}
	was := k.message
	k.message = message
	return k, was == ""
}

// step is something that happens to a key at one moment between call and return of
// a request.
type step struct {
	what    stepKind
	key     string
	run     int
	message string
	may     []keyPhase // how a run may end
	sure    bool       // it did happen: the client was told so
}

type stepKind int

const (
	begins stepKind = iota
	ends
	shows // the key stands there, by what the client was told
)

// after gives the states that a key can be in after a step; none where the step
// cannot have happened.
func (k keyModel) after(s step) (states []any) {
	if !s.sure {
		states = append(states, k)
	}
	told, same := k.told(s.message)
	switch {
	case !same:
	case s.what == begins && (k.phase == keyNew || k.phase == keyFailed):
		told.phase, told.run = keyRuns, s.run
		states = append(states, told)
	case s.what == ends && k.phase == keyRuns && k.run == s.run:
		for _, phase := range s.may {
			told.phase, told.run = phase, 0
			states = append(states, told)
		}
	case s.what == shows && k.phase == s.may[0]:
		states = append(states, told)
	}
	return states
}

// oneKeyEach checks the history of each key by itself.
var oneKeyEach = func() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			place := make(map[string]int)
			for _, op := range history {
				key := op.Input.(step).key
				i, known := place[key]
				if !known {
					i = len(parts)
					place[key] = i
					parts = append(parts, nil)
				}
				parts[i] = append(parts[i], op)
			}
			return parts
		},
		Init: func() []any { return []any{keyModel{}} },
		Step: func(state, input, _ any) []any { return state.(keyModel).after(input.(step)) },
		DescribeOperation: func(input, _ any) string {
			return fmt.Sprintf("%+v", input.(step))
		},
	}
	return model.ToModel()
}()

// saw is what a request was told.
type saw int

const (
	sawNothing saw = iota // no answer, or one that tells nothing: it may still have its effect, at any time
	sawRunning
	sawDone    // by the request's own run
	sawAgain   // the answer of an earlier one
	sawUnknown // by its own run, or of an earlier one
)

// history is what all clients saw.
type history struct {
	began time.Time

	mu       sync.Mutex
	requests int
	ops      []porcupine.Operation
	silent   map[string][]int64 // by key, when requests without an answer were called
}

func newHistory() *history { return &history{began: time.Now(), silent: make(map[string][]int64)} }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add notes a request, with the moments of its call and its return.
func (h *history) add(client int, key string, called, returned int64, what saw, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	run := h.requests
	note := func(s step) {
		s.key, s.run, s.message = key, run, message
		h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: s, Call: called, Return: returned})
	}
	switch what {
	case sawRunning:
		note(step{what: shows, may: []keyPhase{keyRuns}, sure: true})
	case sawAgain:
		note(step{what: shows, may: []keyPhase{keyDone}, sure: true})
	case sawDone:
		note(step{what: begins, sure: true})
		note(step{what: ends, may: []keyPhase{keyDone}, sure: true})
	case sawUnknown:
		note(step{what: begins})
		note(step{what: ends, may: []keyPhase{keyUnknown}})
		note(step{what: shows, may: []keyPhase{keyUnknown}, sure: true})
	case sawNothing:
		h.silent[key] = append(h.silent[key], called)
	}
}

// silentRuns is how many runs of a key may have been those of requests without an
// answer. A second one needs a first that ended before a vendor was asked.
const silentRuns = 4

// complete is the history with what requests without an answer may have done. As
// nobody can tell their runs apart, those that were called first stand for all: they
// can have begun whenever a later one can.
func (h *history) complete() []porcupine.Operation {
	ops := slices.Clone(h.ops)
	for key, calls := range h.silent {
		slices.Sort(calls)
		for _, called := range calls[:min(len(calls), silentRuns)] {
			for _, s := range []step{{what: begins}, {what: ends, may: []keyPhase{keyDone, keyUnknown, keyFailed}}} {
				s.key = key
				ops = append(ops, porcupine.Operation{Input: s, Call: called, Return: math.MaxInt64})
			}
		}
	}
	return ops
}

// check reports a history that no order explains.
func (h *history) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(oneKeyEach, h.complete(), 2*time.Minute)
}

// TestTheHistoryCheckBites: histories that must not be, beside those that may.
func TestTheHistoryCheckBites(t *testing.T) {
	type request struct {
		called, returned int64
		what             saw
		message          string
	}
	for name, c := range map[string]struct {
		history []request
		want    porcupine.CheckResult
	}{
		"a run and its repeats":              {[]request{{0, 9, sawDone, "m"}, {1, 3, sawRunning, "m"}, {10, 11, sawAgain, "m"}}, porcupine.Ok},
		"a repeat while the answer comes":    {[]request{{0, 9, sawDone, "m"}, {1, 12, sawAgain, "m"}}, porcupine.Ok},
		"a death, then unknown":              {[]request{{0, 2, sawNothing, ""}, {3, 4, sawRunning, "m"}, {5, 6, sawUnknown, "m"}}, porcupine.Ok},
		"a death before anybody was asked":   {[]request{{0, 2, sawNothing, ""}, {3, 4, sawRunning, "m"}, {5, 6, sawDone, "m"}}, porcupine.Ok},
		"a death that had its effect":        {[]request{{0, 2, sawNothing, ""}, {5, 6, sawAgain, "m"}}, porcupine.Ok},
		"many deaths of one key":             {slices.Concat(slices.Repeat([]request{{0, 2, sawNothing, ""}}, 40), []request{{3, 4, sawRunning, "m"}, {5, 6, sawUnknown, "m"}}), porcupine.Ok},
		"two runs":                           {[]request{{0, 9, sawDone, "m"}, {1, 8, sawDone, "n"}}, porcupine.Illegal},
		"two runs of one message":            {[]request{{0, 9, sawDone, "m"}, {10, 18, sawDone, "m"}}, porcupine.Illegal},
		"running after it was done":          {[]request{{0, 9, sawDone, "m"}, {10, 11, sawRunning, "m"}}, porcupine.Illegal},
		"running before it began":            {[]request{{0, 1, sawRunning, "m"}, {2, 9, sawDone, "m"}}, porcupine.Illegal},
		"an answer before there was a run":   {[]request{{0, 1, sawAgain, "m"}, {2, 9, sawDone, "m"}}, porcupine.Illegal},
		"another answer":                     {[]request{{0, 9, sawDone, "m"}, {10, 11, sawAgain, "n"}}, porcupine.Illegal},
		"unknown, and then run again":        {[]request{{0, 2, sawUnknown, "m"}, {3, 9, sawDone, "m"}}, porcupine.Illegal},
		"done, and then unknown":             {[]request{{0, 9, sawDone, "m"}, {10, 11, sawUnknown, "m"}}, porcupine.Illegal},
		"unknown, and then a late answer":    {[]request{{0, 30, sawNothing, ""}, {3, 4, sawUnknown, "m"}, {10, 11, sawAgain, "m"}}, porcupine.Illegal},
		"running again after it was unknown": {[]request{{0, 2, sawNothing, ""}, {3, 4, sawUnknown, "m"}, {5, 6, sawRunning, "m"}}, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			for i, r := range c.history {
				h.add(i, "k", r.called, r.returned, r.what, r.message)
			}
			if got := h.check(); got != c.want {
				t.Errorf("the history is %s, want %s", got, c.want)
			}
		})
	}
}

// m05 lets 16 clients use the same few keys on two programs, while these are killed
// and stand still for longer than their leases, and looks for an order that explains
// what all clients saw. Messages go to a vendor without a list of messages: there
// what is unknown stays unknown.
func m05(t testing.TB, s *scene) {
	const lease = time.Second
	c := s.usual()
	c.limits = fmt.Sprintf("timeout: 5s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: %v}", lease)
	vendor := s.b.records(200 * time.Millisecond)
	f := s.sail(c, 2)
	past := newHistory()
	sayings := make(map[saw]int)
	ask := func(client int, h *house, text string, patience time.Duration) saw {
		ctx, cancel := within(patience)
		defer cancel()
		called := past.now()
		a, err := h.tryIn(ctx, "POST", "/v1/messages", object{"backend": "b", "text": text}, key, text)
		returned := past.now()
		what, message := sawNothing, ""
		if err == nil && a.status == 200 {
			if what = sawDone; a.header.Get("Idempotency-Replayed") == "true" {
				what = sawAgain
			}
			message = a.turn().Message.ID
		} else if err == nil {
			p := read[problem](a, a.status)
			message = str(p.MessageID)
			switch {
			case a.status == 409 && p.Code == "idempotency_in_progress":
				what = sawRunning
			case p.Outcome == "unknown":
				what = sawUnknown
			case a.status != 503 && a.status != 504:
				t.Errorf("%s: %d %s", text, a.status, a.body)
			}
		}
		past.add(client, text, called, returned, what, message)
		past.mu.Lock()
		defer past.mu.Unlock()
		sayings[what]++
		return what
	}
	text := func(n int64) string { return fmt.Sprintf("history-%d", n) }
	newest := func() int64 { return past.now() / int64(100*time.Millisecond) } // a new key every 100 ms
	over := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(rand.N(100 * time.Millisecond)):
					ask(n, f.any(), text(max(0, newest()-rand.Int64N(4))), 1500*time.Millisecond)
				}
			}
		})
	}
	for range times(1, 60) {
		time.Sleep(300*time.Millisecond + rand.N(300*time.Millisecond)) // of ordinary traffic
		one := rand.IntN(2)
		f.at(one).kill()
		f.replace(one)
		time.Sleep(300*time.Millisecond + rand.N(300*time.Millisecond))
		h := f.at(rand.IntN(2))
		h.stall()
		time.Sleep(lease + rand.N(time.Second)) // it may lose its leases to the other one
		h.signal(syscall.SIGCONT)
	}
	close(over)
	clients.Wait()
	// At the end every key has come to rest, and both say the same of it.
	last := newest()
	together(8, func(lane int) {
		for n := int64(lane); n <= last; n += 8 {
			for i := range f.up {
				eventually(t, text(n)+" comes to rest", func() bool {
					what := ask(100+lane, f.at(i), text(n), patience)
					return what != sawRunning && what != sawNothing
				})
			}
			if sent, _ := vendor.of(text(n)); sent > 1 {
				t.Errorf("%s was sent %d times", text(n), sent)
			}
		}
	})
	t.Logf("%d requests with %d keys: %d saw their run's answer, %d an earlier one's, %d a run, %d that nobody knows, %d nothing", past.requests, last+1,
		sayings[sawDone], sayings[sawAgain], sayings[sawRunning], sayings[sawUnknown], sayings[sawNothing])
	if sayings[sawDone] == 0 || sayings[sawRunning] == 0 {
		t.Errorf("too little happened: %v", sayings)
	}
	if verdict := past.check(); verdict != porcupine.Ok {
		t.Errorf("no order explains what the clients saw: %s\n%s", verdict, past)
	}
	s.free(t, 10*time.Second)
	s.db.intact(t)
}

// String is the history of the first key that cannot be explained.
func (h *history) String() string {
	for _, part := range oneKeyEach.Partition(h.complete()) {
		if porcupine.CheckOperationsTimeout(oneKeyEach, part, time.Minute) != porcupine.Ok {
			text := ""
			for _, op := range part {
				text += fmt.Sprintf("%12d %20d client %d: %+v\n", op.Call, op.Return, op.ClientId, op.Input)
			}
			return text
		}
	}
	return ""
}
