//go:build linux

package catalogue

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"chatmux/internal/sandbox"
)

// record is what a vendor was sent and has answered, by text: the vendor's own
// ledger forgets.
type record struct {
	mu       sync.Mutex
	sent     map[string]int
	answered map[string]int
	seen     func() // called for each message, where it is set
}

// records counts what is sent to a vendor, which takes up to a pause to answer.
func (v *vendor) records(pause time.Duration) *record {
	r := &record{sent: make(map[string]int), answered: make(map[string]int)}
	v.answers(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // a client that died has sent nothing
		}
		text := said(sandbox.Entry{Body: body})
		r.mu.Lock()
		r.sent[text]++
		seen := r.seen
		r.mu.Unlock()
		if seen != nil {
			seen()
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-req.Context().Done():
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		v.twin.ServeHTTP(w, req)
		r.mu.Lock()
		r.answered[text]++
		r.mu.Unlock()
	})
	return r
}

// notify sets what is called for each message.
func (r *record) notify(seen func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = seen
}

// of tells how often a text was sent and answered.
func (r *record) of(text string) (sent, answered int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[text], r.answered[text]
}

// fleet is several programs on one database.
type fleet struct {
	scene  *scene
	config *configuration

	mu       sync.Mutex
	up       []*house
	boarding *house // started, and not yet known to be ready: nobody asks it
}

// sail starts a fleet. Its programs are killed at the end of the row, if they still
// run, and what they have written is searched.
func (s *scene) sail(c *configuration, replicas int) *fleet {
	s.t.Helper()
	f := &fleet{scene: s, config: c, up: make([]*house, replicas)}
	s.t.Cleanup(f.scuttle)
	for i := range replicas {
		f.replace(i)
	}
	return f
}

// replace starts a program in the place of one that has ended, and returns how long
// that took until it was ready.
func (f *fleet) replace(i int) time.Duration {
	f.scene.t.Helper()
	began := time.Now()
	h := f.scene.launch(nil, "serve", "--config", f.scene.write(f.config))
	f.mu.Lock()
	f.boarding = h
	f.mu.Unlock()
	h.awaitReady()
	f.mu.Lock()
	old := f.up[i]
	f.up[i], f.boarding = h, nil
	f.mu.Unlock()
	if old != nil {
		old.clean()
	}
	return time.Since(began)
}

// at is a program.
func (f *fleet) at(i int) *house {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.up[i]
}

// any is one of the programs.
func (f *fleet) any() *house { return f.at(rand.IntN(len(f.up))) }

// other is one of the programs, another one than that if there are several.
func (f *fleet) other(than *house) *house {
	for {
		if h := f.any(); h != than || len(f.up) == 1 {
			return h
		}
	}
}

func (f *fleet) scuttle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range append([]*house{f.boarding}, f.up...) {
		if h != nil {
			if !h.gone {
				h.kill()
			}
			h.clean()
		}
	}
}

// clean checks what a program that has ended has written.
func (h *house) clean() {
	h.client.close()
	for what, mark := range map[string]string{"a secret": canary, "a data race": "DATA RACE", "a crash": "fatal error: ", "a leak": "goroutine 1 ["} {
		if lines := h.log.lines(mark); len(lines) > 0 {
			h.scene.t.Errorf("%s is in the log: %s", what, lines[0])
		}
	}
}

// wish is one message of a client, and what it was told about it.
type wish struct {
	text, key, path string
	body            object

	asked   int    // how often
	acked   bool   // 200 was seen
	message string // its id, as soon as it was told
	reply   string // where it is acked
	unknown bool   // it was told that nobody knows
}

// verdict is what an answer says about a wish.
type verdict int

const (
	settled verdict = iota
	again           // ask again: nothing has happened yet, or it runs
	silent          // no answer: the program died
)

// tryAgain is how long a client waits before it asks again.
const tryAgain = 20 * time.Millisecond

// crowd is many clients that say each text once, as far as they know.
type crowd struct {
	scene *scene
	fleet *fleet

	mu     sync.Mutex
	wishes map[string]*wish
	counts map[string]int // of answers, by status and code
	silent int            // requests that got no answer
}

func newCrowd(f *fleet) *crowd {
	return &crowd{scene: f.scene, fleet: f, wishes: make(map[string]*wish), counts: make(map[string]int)}
}

// wish makes a message: in a thread, or in a new one where that is empty.
func (c *crowd) wish(text, route, thread string, keyed bool) *wish {
	w := &wish{text: text, path: "/v1/messages", body: object{"route": route, "text": text}}
	if thread != "" {
		w.path, w.body = "/v1/threads/"+thread+"/messages", object{"text": text}
	}
	if keyed {
		w.key = text
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wishes[text] = w
	return w
}

// ask asks once, and checks that the answer fits what was said before. The thread is
// that of a message that was answered.
func (c *crowd) ask(h *house, w *wish) (v verdict, thread string) {
	t := c.scene.t
	w.asked++
	a, err := h.try("POST", w.path, w.body, key, w.key)
	if err != nil {
		c.note("no answer")
		c.mu.Lock()
		defer c.mu.Unlock()
		c.silent++
		return silent, ""
	}
	if a.status == 200 {
		got := a.turn()
		c.note("200")
		if w.acked && (w.message != got.Message.ID || w.reply != got.said()) {
			t.Errorf("%s was answered as %s with %q, and then %s", w.text, w.message, w.reply, a.body)
		}
		if w.message != "" && w.message != got.Message.ID {
			t.Errorf("%s was message %s, and then %s", w.text, w.message, a.body)
		}
		w.acked, w.unknown, w.message, w.reply = true, false, got.Message.ID, got.said()
		return settled, got.Thread.ID
	}
	var p problem
	if a.status >= 400 {
		p = read[problem](a, a.status)
	}
	c.note(fmt.Sprint(a.status, " ", p.Code))
	if id := str(p.MessageID); id != "" {
		if w.message != "" && w.message != id {
			t.Errorf("%s was message %s, and then %s", w.text, w.message, a.body)
		}
		w.message = id
	}
	switch {
	case w.acked:
		t.Errorf("%s was answered, and then %d %s", w.text, a.status, a.body)
		return settled, ""
	case a.status == 409 && p.Outcome == "none", a.status == 503 && p.Outcome == "none":
		return again, ""
	case p.Outcome == "unknown":
		w.unknown = true
		return settled, ""
	}
	t.Errorf("%s: %d %s", w.text, a.status, a.body)
	return settled, ""
}

// insist asks until there is a final answer, of whoever answers.
func (c *crowd) insist(w *wish) {
	t := c.scene.t
	t.Helper()
	var last *house
	eventually(t, w.text+" is settled", func() bool {
		last = c.fleet.other(last)
		v, _ := c.ask(last, w)
		return v == settled
	})
}

func (c *crowd) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// stored is a person's message as it is in the store, with its reply.
type stored struct{ id, text, status, thread, replyStatus, reply string }

// said reads from the store what people have said whose texts begin so.
func (s *scene) said(prefix string) map[string][]stored {
	s.t.Helper()
	db := s.db.connect(s.t)
	defer db.Close()
	rows, err := db.Query(s.db.spelt(`SELECT m.id, m.text, m.status, m.thread_id, COALESCE(r.status, ''), COALESCE(r.text, '')
		FROM messages m LEFT JOIN messages r ON r.thread_id = m.thread_id AND r.in_reply_to = m.id
		WHERE m.role = 'user' AND m.text LIKE ?`), prefix+"%")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string][]stored)
	for rows.Next() {
		var m stored
		if err := rows.Scan(&m.id, &m.text, &m.status, &m.thread, &m.replyStatus, &m.reply); err != nil {
			s.t.Fatal(err)
		}
		all[m.text] = append(all[m.text], m)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// bill is what went wrong, counted.
type bill struct{ acknowledged, unknown, lost, doubled, stuck int }

func (b *bill) add(more bill) {
	b.acknowledged += more.acknowledged
	b.unknown += more.unknown
	b.lost += more.lost
	b.doubled += more.doubled
	b.stuck += more.stuck
}

// audit compares what the clients were told, what is stored, and what the vendor
// got, of all texts that begin so.
func (c *crowd) audit(prefix string, vendor *record) (b bill) {
	t := c.scene.t
	t.Helper()
	all := c.scene.said(prefix)
	c.mu.Lock()
	defer c.mu.Unlock()
	for text, w := range c.wishes {
		if len(text) < len(prefix) || text[:len(prefix)] != prefix {
			continue
		}
		rows := all[text]
		sent, answered := vendor.of(text)
		if w.acked {
			b.acknowledged++
			if len(rows) != 1 || rows[0].id != w.message || rows[0].status != "sent" || rows[0].replyStatus != "complete" || rows[0].reply != w.reply {
				b.lost++
				t.Errorf("%s was answered as %s with %q, and stored is %+v", text, w.message, w.reply, rows)
			}
		}
		if sent > 1 || len(rows) > 1 || w.key == "" && len(rows) > w.asked {
			b.doubled++
			t.Errorf("%s was sent to the vendor %d times, and is stored as %+v", text, sent, rows)
		}
		for _, m := range rows {
			switch m.status {
			case "unknown":
				b.unknown++
			case "pending":
				b.stuck++
				t.Errorf("%s is still pending", text)
			case "sent":
				if m.replyStatus == "complete" && answered == 0 {
					t.Errorf("%s has a reply, and the vendor did not end its answer: %+v", text, m)
				}
			}
		}
	}
	for text := range all {
		if c.wishes[text] == nil {
			t.Errorf("%s is stored, and nobody said it", text)
		}
	}
	return b
}

// free checks that nobody holds anything any more.
func (s *scene) free(t testing.TB, limit time.Duration) {
	t.Helper()
	held := `SELECT (SELECT COUNT(*) FROM messages WHERE status = 'pending') + (SELECT COUNT(*) FROM attempts WHERE ended_at = 0) + (SELECT COUNT(*) FROM sends)`
	if !becomes(limit, func() bool { return s.count(held) == 0 }) {
		t.Errorf("after %v there are still messages pending, attempts open or threads held: %v", limit,
			s.query("SELECT thread_id, message_id, attempt_id, until FROM sends"))
	}
}
