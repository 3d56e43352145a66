package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"chatmux/normalize"
)

// place is where a watcher stands in the events of a thread: after the event at seq,
// and after so many pieces of the answer that was being told then. Pieces are not
// recorded one by one, so they count by themselves.
type place struct {
	seq    int64
	pieces int
}

func (p place) String() string {
	if p.pieces == 0 {
		return strconv.FormatInt(p.seq, 10)
	}
	return fmt.Sprintf("%d.%d", p.seq, p.pieces)
}

// readPlace reads what String wrote.
func readPlace(id string) (place, error) {
	seq, pieces, told := strings.Cut(id, ".")
	var p place
	var err error
	if p.seq, err = strconv.ParseInt(seq, 10, 64); err == nil && told {
		p.pieces, err = strconv.Atoi(pieces)
	}
	if err != nil || p.seq < 0 || p.pieces < 0 || p.String() != id {
		return place{}, normalize.InvalidField("Last-Event-ID", "this is no id of an event of this thread")
	}
	return p, nil
}

// telling is an answer while it is being told: what its watchers have not seen yet.
type telling struct {
	mu      sync.Mutex
	at      int64 // the event of the message that it answers
	replyID string
	backend string
	text    []byte
	pieces  []int
}

// say adds a piece and returns how many there are.
func (t *telling) say(text string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.pieces = append(t.pieces, len(text))
	return len(t.pieces)
}

// told is what was said so far.
func (t *telling) told() (text string, pieces []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text), t.pieces[:len(t.pieces):len(t.pieces)]
}

// after gives the pieces behind the first n.
func (t *telling) after(n int) []string {
	text, pieces := t.told()
	return cut(text, pieces, n)
}

// cut gives a text in its pieces, without the first n. Where the pieces are not those
// of the text, it is one.
func cut(text string, pieces []int, n int) []string {
	sum := 0
	for _, length := range pieces {
		sum += length
	}
	if sum != len(text) {
		pieces = []int{len(text)}
	}
	var list []string
	at := 0
	for i, length := range pieces {
		if i >= n && length > 0 {
			list = append(list, text[at:at+length])
		}
		at += length
	}
	return list
}

// hub knows who watches which thread, and the answers that are being told in this
// process.
type hub struct {
	mu     sync.Mutex
	topics map[string]*topic
}

type topic struct {
	watchers map[chan struct{}]struct{}
	telling  *telling
}

func newHub() *hub { return &hub{topics: make(map[string]*topic)} }

// change works on a thread's topic, which goes when nobody needs it.
func (h *hub) change(threadID string, work func(*topic)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[threadID]
	if t == nil {
		t = &topic{watchers: make(map[chan struct{}]struct{})}
		h.topics[threadID] = t
	}
	work(t)
	if len(t.watchers) == 0 && t.telling == nil {
		delete(h.topics, threadID)
	}
}

// watch gives a channel that is woken whenever something happens in a thread.
func (h *hub) watch(threadID string) (woken <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	h.change(threadID, func(t *topic) { t.watchers[c] = struct{}{} })
	return c, func() { h.change(threadID, func(t *topic) { delete(t.watchers, c) }) }
}

// wake tells the watchers of a thread to look.
func (h *hub) wake(threadID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[threadID]; t != nil {
		for c := range t.watchers {
			select {
			case c <- struct{}{}:
			default: // it has not looked since the last time
			}
		}
	}
}

// wakeAll tells the watchers of all threads to look.
func (h *hub) wakeAll() {
	h.mu.Lock()
	threads := slices.Collect(maps.Keys(h.topics))
	h.mu.Unlock()
	for _, id := range threads {
		h.wake(id)
	}
}

// tell shows an answer that is being told to the watchers of its thread, until done.
func (h *hub) tell(threadID string, t *telling) (done func()) {
	h.change(threadID, func(topic *topic) { topic.telling = t })
	return func() {
		h.change(threadID, func(topic *topic) {
			if topic.telling == t {
				topic.telling = nil
			}
		})
	}
}

// told is the answer that is being told in a thread now; nil where there is none.
func (h *hub) told(threadID string) *telling {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[threadID]; t != nil {
		return t.telling
	}
	return nil
}
