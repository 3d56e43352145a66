//go:build linux

package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/internal/sandbox"
)

// killRounds is how many rounds a loop has: what CHATMUX_KILL_ROUNDS says, or so
// many.
func killRounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("CHATMUX_KILL_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return usual
}

// searchEvery is after how many rounds the whole store is searched for secrets: that
// takes longer with each.
const searchEvery = 10

// speakers is how many clients send at once.
const speakers = 16

// loop kills the program in the middle of traffic, starts it again on the same
// store, and judges what is left; then the next round begins.
type loop struct {
	t   testing.TB
	s   *scene
	how wrapped // what the program is started through
	rng *rand.Rand

	number  int
	clients []*speaker
	slowest time.Duration // from start to ready

	mu      sync.Mutex
	effects map[string]int // what vendors processed, by backend and text
	asked   map[string]int // requests, by the status of their answer
}

// speaker is one client: it says unique things under unique keys, in threads of its
// own.
type speaker struct {
	number  int
	rng     *rand.Rand
	said    []*saying
	threads []string
}

// saying is one message as its client knows it.
type saying struct {
	round      int
	path, body string
	text       string
	thread     string // empty until an answer has told
	resends    int

	cut     bool   // the last request had no answer
	good    []byte // the answer of a 200
	unknown bool   // an answer said so, or the last request was cut
}

// told is the answer of a 200.
func (s *saying) told() (told turn) {
	_ = json.Unmarshal(s.good, &told) // it was read before
	return told
}

// same reports whether two answers tell of one message and the same replies. Of the
// thread they tell what it was when they were made.
func (t turn) same(other turn) bool {
	return t.Thread.ID == other.Thread.ID && t.Message.ID == other.Message.ID && t.Message.Status == other.Message.Status &&
		slices.EqualFunc(t.Replies, other.Replies, func(a, b message) bool { return a.ID == b.ID && str(a.Text) == str(b.Text) && a.Status == b.Status })
}

func killLoop(t testing.TB, s *scene, rounds int) {
	k := newKillLoop(t, s)
	for range rounds {
		k.round(k.killer())
	}
	k.finish()
	said, resent := 0, 0
	for _, c := range k.clients {
		said += len(c.said)
		for _, s := range c.said {
			resent += s.resends
		}
	}
	outcome := "0 lost, 0 doubled, 0 stuck"
	if t.Failed() {
		outcome = "NOT all is as promised"
	}
	t.Logf("%d rounds: %d messages, %d sent again on a client's word, %d requests cut off by a kill; %s; ready after %v at most; requests by answer %v",
		rounds, said, resent, k.asked["0"], outcome, k.slowest.Round(time.Millisecond), k.asked)
	if k.asked["200"] < rounds || k.asked["0"] < rounds {
		t.Errorf("requests by answer are %v: the loop proves nothing", k.asked)
	}
}

func newKillLoop(t testing.TB, s *scene) *loop {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	k := &loop{t: t, s: s, rng: rand.New(rand.NewPCG(seed, 0)), effects: make(map[string]int), asked: make(map[string]int)}
	for n := range speakers {
		k.clients = append(k.clients, &speaker{number: n, rng: rand.New(rand.NewPCG(seed, uint64(n+1)))})
	}
	for _, v := range []*vendor{s.a, s.b, s.c} {
		v.answers(k.weather(v))
	}
	return k
}

// weather is a vendor that is slow at times, and at times breaks the connection,
// before or after it has processed the message.
func (k *loop) weather(v *vendor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text := textOf(r)
		process := func(w http.ResponseWriter) {
			k.mu.Lock()
			k.effects[v.name+" "+text]++
			k.mu.Unlock()
			v.twin.ServeHTTP(w, r)
		}
		time.Sleep(rand.N(15 * time.Millisecond))
		switch rand.IntN(50) {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			process(httptest.NewRecorder())
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(500)
		case 3:
			w.WriteHeader(400)
		default:
			process(w)
		}
	}
}

// killer is a moment: any, or when a vendor has just received something.
func (k *loop) killer() func(*house) {
	if k.rng.IntN(2) == 0 {
		wait := time.Duration(k.rng.Int64N(int64(500 * time.Millisecond)))
		return func(h *house) {
			time.Sleep(wait)
			h.kill()
		}
	}
	v := []*vendor{k.s.a, k.s.b}[k.rng.IntN(2)]
	n := 1 + k.rng.IntN(60)
	return func(h *house) {
		ctx, cancel := within(3 * time.Second)
		defer cancel()
		_, _ = v.Await(ctx, func(all []sandbox.Entry) bool { return len(all) >= n }) // in time or not: it is killed
		h.kill()
	}
}

// configuration of the loop: breakers and pauses stay out of the way.
func (k *loop) configuration() *configuration {
	c := k.s.usual()
	c.limits = "timeout: 10s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: 2s}"
	for _, b := range c.backends {
		b.breaker = "failures: 1000, min_requests: 100000, open_for: 100ms, probes: 2, interval: 60s"
	}
	return c
}

// round starts the program, judges what the round before has left, lets the clients
// speak, and kills it.
func (k *loop) round(kill func(*house)) {
	k.t.Helper()
	h := k.start()
	k.number++
	for _, v := range k.s.vendors {
		v.ResetLedger()
	}
	var speaking sync.WaitGroup
	for _, c := range k.clients {
		speaking.Go(func() { k.speak(h, c) })
	}
	kill(h)
	h.gone = true
	<-h.ended
	speaking.Wait()
	k.judgeLedgers()
}

// finish judges the last round, and all of them together.
func (k *loop) finish() {
	k.t.Helper()
	for _, v := range k.s.vendors {
		v.front.Store(nil)
	}
	h := k.start()
	for _, c := range k.clients {
		k.judge(h, c.said)
	}
	k.search()
	h.stop()
}

func (k *loop) start() *house {
	k.t.Helper()
	began := time.Now()
	h := k.s.launch(k.how, "serve", "--config", k.s.write(k.configuration()))
	k.t.Cleanup(h.settle)
	h.awaitReady()
	took := time.Since(began)
	if k.slowest = max(k.slowest, took); took > 15*time.Second {
		k.t.Errorf("K10: ready after %v", took)
	}
	k.judgeAll(h)
	return h
}

// speak says things until the program is gone.
func (k *loop) speak(h *house, c *speaker) {
	// What was cut comes first: the key is asked what became of it.
	for _, s := range c.said {
		if s.cut && !k.ask(h, c, s) {
			return
		}
	}
	for {
		s := c.next(k.number)
		switch old := len(c.said) - 20; {
		case len(c.said) > 0 && c.rng.IntN(10) < 3:
			s = c.said[max(0, old)+c.rng.IntN(min(20, len(c.said)))]
		default:
			c.said = append(c.said, s)
		}
		if s.unknown && !s.cut && s.good == nil && s.thread != "" && c.rng.IntN(5) == 0 {
			if !k.again(h, s) {
				return
			}
			continue
		}
		if !k.ask(h, c, s) {
			return
		}
	}
}

// next makes something new to say: in a new thread, or in one that is known.
func (c *speaker) next(round int) *saying {
	s := &saying{round: round, path: "/v1/messages", text: fmt.Sprintf("round %d client %d number %d", round, c.number, len(c.said))}
	if len(c.threads) > 0 && c.rng.IntN(2) == 0 {
		s.thread = c.threads[len(c.threads)-1-c.rng.IntN(min(3, len(c.threads)))]
		s.path = "/v1/threads/" + s.thread + "/messages"
		s.body = fmt.Sprintf(`{"text":%q}`, s.text)
		return s
	}
	s.body = fmt.Sprintf(`{"text":%q,"route":%q}`, s.text, []string{"solo", "chain", "pair"}[c.rng.IntN(3)])
	return s
}

// ask sends a saying, or repeats it under its key. False where the program is gone.
func (k *loop) ask(h *house, c *speaker, s *saying) bool {
	a, err := h.try("POST", s.path, s.body, key, strings.ReplaceAll(s.text, " ", "-"))
	k.mu.Lock()
	k.asked[fmt.Sprint(a.status)]++
	k.mu.Unlock()
	if err != nil {
		s.cut = true
		return false
	}
	switch a.status {
	case 200:
		got := a.turn()
		if s.good != nil && !s.told().same(got) {
			k.t.Errorf("K3: %q was answered so, and later otherwise:\n%s\n%s", s.text, s.good, a.body)
		}
		if s.cut, s.unknown = false, false; s.thread == "" {
			c.threads = append(c.threads, got.Thread.ID)
		}
		s.good, s.thread = a.body, got.Thread.ID
	case 409: // the lease of the run that was killed
	default:
		p := read[problem](a, a.status)
		if s.good != nil {
			k.t.Errorf("K3: %q was answered, and now %d %s", s.text, a.status, a.body)
		}
		if p.Code != "backend_error" && p.Code != "backend_rejected" && p.Code != "backend_unavailable" {
			k.t.Errorf("%q is answered %d %s", s.text, a.status, a.body)
		}
		s.cut, s.unknown = false, p.Outcome == "unknown"
	}
	return true
}

// again asks for a message that is unknown to be sent once more.
func (k *loop) again(h *house, s *saying) bool {
	list, err := h.try("GET", "/v1/threads/"+s.thread+"/messages?limit=200", nil)
	if err != nil || list.status != 200 {
		return err == nil
	}
	for _, m := range read[struct{ Data []message }](list, 200).Data {
		if str(m.Text) == s.text && m.Role == "user" && m.Status == "unknown" {
			s.resends++
			_, err = h.try("POST", "/v1/threads/"+s.thread+"/messages/"+m.ID+"/resend", nil)
		}
	}
	return err == nil
}

// judgeLedgers looks at what the vendors received in the round, once nothing moves
// any more. K2: nothing was sent twice that may have been processed.
func (k *loop) judgeLedgers() {
	k.t.Helper()
	resends := make(map[string]int)
	for _, c := range k.clients {
		for _, s := range c.said {
			resends[s.text] = s.resends
		}
	}
	for _, v := range k.s.vendors {
		ctx, cancel := within(patience)
		all, err := v.Await(ctx, func(all []sandbox.Entry) bool {
			return !slices.ContainsFunc(all, func(e sandbox.Entry) bool { return !e.Done })
		})
		if cancel(); err != nil {
			k.t.Fatal(err)
		}
		sends := make(map[string]int)
		for _, e := range all {
			if isSend(e) && e.Status != 400 {
				sends[said(e)]++
			}
		}
		for text, n := range sends {
			if text != "" && n > 1+resends[text] {
				k.t.Errorf("K2: %s was sent %q %d times in round %d, with %d resends", v.name, text, n, k.number, resends[text])
			}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, n := range k.effects {
		_, text, _ := strings.Cut(name, " ")
		if n > 1+resends[text] {
			k.t.Errorf("K2: %s was processed %d times, with %d resends", name, n, resends[text])
		}
	}
}

// judgeAll checks after a start what must hold before there is new traffic.
func (k *loop) judgeAll(h *house) {
	k.t.Helper()
	settled := func() bool {
		return k.s.count("SELECT (SELECT COUNT(*) FROM messages WHERE status = 'pending') + (SELECT COUNT(*) FROM attempts WHERE ended_at = 0) + (SELECT COUNT(*) FROM sends)") == 0
	}
	if !becomes(15*time.Second, settled) {
		k.t.Errorf("K4: still open: %v", k.s.query("SELECT thread_id, message_id, attempt_id FROM sends"))
	}
	k.s.db.intact(k.t)
	if twice := k.s.query("SELECT text, COUNT(*) FROM messages WHERE role = 'user' GROUP BY text HAVING COUNT(*) > 1"); len(twice) > 0 {
		k.t.Errorf("K3: stored twice: %v", twice)
	}
	if k.number%searchEvery == 0 {
		k.search()
	}
	if k.number == 0 {
		return
	}
	inFlight := 0
	var touched []*saying
	for _, c := range k.clients {
		for _, s := range c.said {
			if s.cut {
				inFlight++
			}
			if s.round == k.number || s.cut {
				touched = append(touched, s)
			}
		}
	}
	crashed := k.judge(h, touched)
	if crashed > inFlight {
		k.t.Errorf("K5: %d messages are unknown that no client was told of, %d were in flight", crashed, inFlight)
	}
	k.unstuck(h, touched)
}

func (k *loop) search() {
	k.t.Helper()
	if bytes.Contains(k.s.db.contents(k.t), []byte(canary)) {
		k.t.Error("K10: a secret is in the database")
	}
}

// judge holds what is stored of some sayings against what their clients know. It
// returns how many are unknown although nobody was told so.
func (k *loop) judge(h *house, list []*saying) (crashed int) {
	k.t.Helper()
	all := k.stored()
	for _, s := range list {
		is, there := all[s.text]
		if !there {
			if s.good != nil || s.unknown {
				k.t.Errorf("K1: %q was accepted and is gone", s.text)
			}
			continue
		}
		if s.good != nil {
			told := s.told()
			var want []string
			for _, r := range told.Replies {
				want = append(want, r.Status+" "+str(r.Text))
			}
			if is.status != "sent" || is.id != told.Message.ID || fmt.Sprint(is.replies) != fmt.Sprint(want) {
				k.t.Errorf("K1: %q was answered %q and is stored as %s with %q", s.text, want, is.status, is.replies)
			}
		}
		if len(is.replies) > 1 {
			k.t.Errorf("K3: %q has the replies %q", s.text, is.replies)
		}
		for _, r := range is.replies {
			if strings.HasPrefix(r, "complete ") && k.processed(s.text) == 0 {
				k.t.Errorf("K6: %q has a complete reply that no vendor has given", s.text)
			}
		}
		if is.status == "unknown" && !s.unknown {
			if crashed++; !s.cut {
				k.t.Errorf("K5: %q is unknown, and its client had an answer", s.text)
			}
		}
	}
	k.listed(h, list)
	return crashed
}

// kept is a message as it is stored, with its replies: the status of each, and its text.
type kept struct {
	id, status string
	replies    []string
}

// stored reads all messages of the clients, by their texts.
func (k *loop) stored() map[string]kept {
	k.t.Helper()
	db := k.s.db.connect(k.t)
	defer db.Close()
	replies := make(map[string][]string)
	for _, row := range texts(k.t, db, "SELECT in_reply_to, status, text FROM messages WHERE in_reply_to <> '' ORDER BY thread_id, seq") {
		to, reply, _ := strings.Cut(row, " ")
		replies[to] = append(replies[to], reply)
	}
	all := make(map[string]kept)
	for _, row := range texts(k.t, db, "SELECT id, status, text FROM messages WHERE role = 'user'") {
		parts := strings.SplitN(row, " ", 3)
		all[parts[2]] = kept{parts[0], parts[1], replies[parts[0]]}
	}
	return all
}

func (k *loop) processed(text string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range k.s.vendors {
		n += k.effects[v.name+" "+text]
	}
	return n
}

// listed looks at some threads through the API, which must show what was answered.
func (k *loop) listed(h *house, list []*saying) {
	k.t.Helper()
	left := 10
	for _, i := range k.rng.Perm(len(list)) {
		s := list[i]
		if s.good == nil {
			continue
		}
		if left--; left < 0 {
			return
		}
		told := s.told()
		shown := h.transcript(s.thread)
		for _, m := range append([]message{told.Message}, told.Replies...) {
			if !slices.ContainsFunc(shown, func(n message) bool { return n.ID == m.ID && str(n.Text) == str(m.Text) && n.Status == m.Status }) {
				k.t.Errorf("K1: %s was shown, and the transcript does not have it: %+v", m.ID, shown)
			}
		}
	}
}

// unstuck sends in threads that were touched: no lock, lease or slot is held. K9.
func (k *loop) unstuck(h *house, touched []*saying) {
	k.t.Helper()
	db := k.s.db.connect(k.t)
	defer db.Close()
	threads := make(map[string]bool)
	for _, s := range touched {
		if !s.cut {
			continue
		}
		for _, id := range texts(k.t, db, k.s.db.spelt("SELECT thread_id FROM messages WHERE text = ?"), s.text) {
			threads[id] = true
		}
	}
	for id := range threads {
		works := becomes(patience, func() bool {
			a, err := h.try("POST", "/v1/threads/"+id+"/messages", object{"text": fmt.Sprintf("unstuck %s %d", id, k.rng.Uint64())})
			if err != nil {
				k.t.Fatal(err)
			}
			return a.status == 200
		})
		if !works {
			k.t.Errorf("K9: no send works in %s", id)
		}
	}
}

// textOf reads the text of a send, and leaves the body to be read again.
func textOf(r *http.Request) string {
	body, _ := io.ReadAll(r.Body) // the sandbox has read it before
	r.Body = io.NopCloser(bytes.NewReader(body))
	return said(sandbox.Entry{Body: body})
}
