package app_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"chatmux/internal/app"
	"chatmux/internal/sandbox"
	"chatmux/internal/webhook"
)

// hookPace is the timing of webhooks, scaled down.
var hookPace = webhook.Pace{
	Schedule: []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond},
	Poll:     10 * time.Millisecond,
}

const signingSecret = "whsec_aHVudGVyMi1jYW5hcnktaHVudGVyMi1jYW5hcnk="

// receiver is a receiver of webhooks that checks each delivery with a library that is not
// ours, and notes it.
type receiver struct {
	*httptest.Server
	t       *testing.T
	secrets []string

	mu     sync.Mutex
	answer http.HandlerFunc // nil: 204
	got    []hook
}

// hook is a delivery as it was received.
type hook struct {
	ID        string
	Timestamp string
	At        time.Time
	Body      string
	Type      string    `json:"type"`
	Happened  time.Time `json:"timestamp"`
	Data      struct {
		Thread  json.RawMessage `json:"thread"`
		Message json.RawMessage `json:"message"`
	} `json:"data"`
}

func newReceiver(t *testing.T, start func(http.Handler) *httptest.Server, secrets ...string) *receiver {
	r := &receiver{t: t, secrets: secrets}
	r.Server = start(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP receives.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	for _, secret := range r.secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = verifier.Verify(body, req.Header)
		}
		if err != nil {
			r.t.Errorf("the library does not accept the delivery: %v\n%v\n%s", err, req.Header, body)
		}
	}
	h := hook{ID: req.Header.Get("webhook-id"), Timestamp: req.Header.Get("webhook-timestamp"), At: time.Now(), Body: string(body)}
	if err := json.Unmarshal(body, &h); err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %v: %v\n%s", req.Method, req.Header, err, body)
	}
	r.mu.Lock()
	r.got = append(r.got, h)
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, req)
}

// answers sets what the receiver answers from now on.
func (r *receiver) answers(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// statuses answers with these in turn, the last one for ever.
func statuses(list ...int) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		status := list[0]
		if len(list) > 1 {
			list = list[1:]
		}
		mu.Unlock()
		w.WriteHeader(status)
	}
}

func (r *receiver) received() []hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) types() string {
	var list []string
	for _, h := range r.received() {
		list = append(list, h.Type)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// hooks is a config with receivers.
func hooks(store string, receivers ...string) string {
	var y strings.Builder
	fmt.Fprintf(&y, `
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
outbound: {allow_cidrs: [127.0.0.1/32]}
backends:
  - {name: echo, adapter: echo}
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, api_key: k-sitegpt-canary, chatbot_id: "365062873485935184"}}
routes:
  - {name: default, to: echo}
webhooks:
`, store)
	for i, url := range receivers {
		fmt.Fprintf(&y, "  - {name: hook-%d, url: %q, secret: %q}\n", i+1, url, signingSecret)
	}
	return y.String()
}

// told is a delivery as the API shows it.
type told struct {
	ID             string     `json:"id"`
	Endpoint       string     `json:"endpoint"`
	Type           string     `json:"type"`
	MessageID      string     `json:"message_id"`
	Status         string     `json:"status"`
	Tries          int        `json:"tries"`
	ResponseStatus int        `json:"response_status"`
	Failure        string     `json:"failure"`
	TriedAt        *time.Time `json:"tried_at"`
	NextTryAt      *time.Time `json:"next_try_at"`
}

func (h *house) deliveries(query string, headers ...string) []told {
	h.t.Helper()
	return read[struct{ Data []told }](h.t, h.call("GET", "/v1/webhooks/deliveries?limit=200&order=asc&"+query, nil, headers...), 200).Data
}

// standing counts an endpoint's deliveries by status.
func (h *house) standing(endpoint string) string {
	count := make(map[string]int)
	for _, d := range h.deliveries("endpoint=" + endpoint) {
		count[d.Status]++
	}
	var list []string
	for _, status := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%d %s", count[status], status))
	}
	return strings.Join(list, ", ")
}

// counted waits until a line stands in the metrics.
func (h *house) counted(line string) {
	h.t.Helper()
	h.eventually("the metrics have "+line, func() bool { return strings.Contains(string(h.call("GET", "/metrics", nil).body), line+"\n") })
}

func (h *house) settles(endpoint, want string) {
	h.t.Helper()
	h.eventually(endpoint+" stands at "+want, func() bool { return h.standing(endpoint) == want })
}

func TestW01_each_event_is_delivered_once_and_verifies(t *testing.T) { onEachStore(t, testW01) }

func testW01(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	h := startHouse(t, hooks(newStore(t), r.URL))
	first := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200)
	path := "/v1/threads/" + first.Thread.ID
	read[thread](t, h.call("PATCH", path, object{"title": "Shoes"}), 200)
	read[thread](t, h.call("PATCH", path, object{"metadata": object{"a": "b"}}), 200) // no event
	read[thread](t, h.call("POST", path+"/move", object{"backend": "docs-bot"}), 200)
	h.settles("hook-1", "4 delivered")
	if got := r.types(); got != "message.created reply.completed thread.moved thread.updated" {
		t.Errorf("told: %s", got)
	}
	for _, got := range r.received() {
		var th thread
		var m message
		if err := json.Unmarshal(got.Data.Thread, &th); err != nil || th.ID != first.Thread.ID {
			t.Errorf("%s tells of the thread %s", got.Type, got.Data.Thread)
		}
		if got.Happened.IsZero() || !strings.HasPrefix(got.ID, "evt_") {
			t.Errorf("delivery %+v", got)
		}
		if strings.HasPrefix(got.Type, "thread.") {
			if got.Data.Message != nil {
				t.Errorf("%s tells of a message: %s", got.Type, got.Data.Message)
			}
			continue
		}
		if err := json.Unmarshal(got.Data.Message, &m); err != nil {
			t.Errorf("%s tells of the message %s", got.Type, got.Data.Message)
		}
		want := first.Message
		if got.Type == "reply.completed" {
			want = first.Replies[0]
		}
		if m.ID != want.ID || m.Text != want.Text || m.Role != want.Role {
			t.Errorf("%s tells of %+v, want %+v", got.Type, m, want)
		}
	}
	list := h.deliveries("status=delivered")
	if d := list[0]; d.Type != "message.created" || d.MessageID != first.Message.ID || d.Tries != 1 || d.ResponseStatus != 204 || d.Failure != "" || d.NextTryAt != nil {
		t.Errorf("delivery %+v", d)
	}
	h.counted(`chatmux_webhook_tries_total{endpoint="hook-1",outcome="delivered"} 4`)
}

func TestW02_a_failed_delivery_is_tried_again_under_its_id(t *testing.T) { onEachStore(t, testW02) }

func testW02(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	r.answers(statuses(500, 301, 503, 200))
	h := startHouse(t, hooks(newStore(t), r.URL))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.settles("hook-1", "1 delivered")
	got := r.received()
	if len(got) != 4 || h.deliveries("")[0].Tries != 4 {
		t.Fatalf("received %d times, counted %d", len(got), h.deliveries("")[0].Tries)
	}
	for i, one := range got {
		if one.ID != got[0].ID || one.Timestamp < got[0].Timestamp {
			t.Errorf("try %d: %+v", i+1, one)
		}
		if i > 0 && one.At.Sub(got[i-1].At) < hookPace.Schedule[i-1] {
			t.Errorf("try %d came after %v, before the schedule's %v", i+1, one.At.Sub(got[i-1].At), hookPace.Schedule[i-1])
		}
	}
}

// empty makes a thread without a message.
func (h *house) empty() string {
	h.t.Helper()
	return read[thread](h.t, h.call("POST", "/v1/threads", object{}), 201).ID
}

func TestW03_a_receiver_that_hangs_is_cut_and_holds_up_no_other(t *testing.T) {
	onEachStore(t, testW03)
}

func testW03(t *testing.T, newStore storeMaker) {
	slow, good := newReceiver(t, httptest.NewServer, signingSecret), newReceiver(t, httptest.NewServer, signingSecret)
	release := make(chan struct{})
	slow.answers(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	pace := hookPace
	pace.Timeout = time.Second
	h := startHouseWith(t, hooks(newStore(t), slow.URL, good.URL), app.Options{Settling: quickSettling, Webhooks: pace})
	id := h.empty()
	for i := range 25 { // more than may run at once
		read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"title": fmt.Sprint(i)}), 200)
	}
	h.settles("hook-2", "25 delivered")
	h.eventually("the cut is told", func() bool {
		return slices.ContainsFunc(h.deliveries("endpoint=hook-1"), func(d told) bool {
			return d.Status != "delivered" && strings.Contains(d.Failure, "did not answer within 1s")
		})
	})
}

func TestW04_a_wait_that_the_receiver_asks_for_is_kept(t *testing.T) { onEachStore(t, testW04) }

func testW04(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	h := startHouse(t, hooks(newStore(t), r.URL))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.eventually("it is put off", func() bool { return h.deliveries("")[0].ResponseStatus == 429 })
	d := h.deliveries("")[0]
	if d.Status != "pending" || d.Tries != 1 || d.NextTryAt.Sub(*d.TriedAt) < time.Minute {
		t.Errorf("delivery %+v", d)
	}
}

// quietTLS is a server whose certificate nobody knows, and which does not log that.
func quietTLS(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	return s
}

func TestW05_a_bad_certificate_is_a_failure_that_says_so(t *testing.T) { onEachStore(t, testW05) }

func testW05(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, quietTLS, signingSecret)
	h := startHouse(t, hooks(newStore(t), r.URL))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.eventually("the cause is shown", func() bool { return strings.Contains(h.deliveries("")[0].Failure, "certificate") })
	if n := len(r.received()); n != 0 {
		t.Errorf("%d deliveries went to a receiver that cannot prove who it is", n)
	}
}

func TestW06_a_receiver_that_never_comes_back_is_given_up_and_can_be_told_later(t *testing.T) {
	onEachStore(t, testW06)
}

func testW06(t *testing.T, newStore storeMaker) {
	dead, good := newReceiver(t, httptest.NewServer, signingSecret), newReceiver(t, httptest.NewServer, signingSecret)
	dead.answers(statuses(500))
	h := startHouse(t, hooks(newStore(t), dead.URL, good.URL))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.settles("hook-2", "1 delivered")
	h.settles("hook-1", "1 dead")
	d := h.deliveries("status=dead")[0]
	if d.Tries != len(hookPace.Schedule)+1 || d.Failure != "the receiver answers 500" || d.ResponseStatus != 500 || d.NextTryAt != nil {
		t.Errorf("given up: %+v", d)
	}
	h.counted(`chatmux_webhook_tries_total{endpoint="hook-1",outcome="dead"} 1`)
	dead.answers(nil)
	again := read[told](t, h.call("POST", "/v1/webhooks/deliveries/"+d.ID+"/redeliver", nil), 202)
	if again.ID != d.ID || again.Status == "dead" {
		t.Errorf("revived: %+v", again)
	}
	h.settles("hook-1", "1 delivered")
	got := dead.received()
	if last := got[len(got)-1]; last.ID != got[0].ID {
		t.Errorf("it came under another id: %s, then %s", got[0].ID, last.ID)
	}
}

func TestAReceiverThatIsGoneIsNotAskedAgain(t *testing.T) { onEachStore(t, testGone) }

func testGone(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	r.answers(statuses(410))
	h := startHouse(t, hooks(newStore(t), r.URL))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.settles("hook-1", "1 dead")
	if n := len(r.received()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestW10_the_signed_bytes_are_the_sent_bytes(t *testing.T) { onEachStore(t, testW10) }

func testW10(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	h := startHouse(t, hooks(newStore(t), r.URL))
	text := "\"quotes\" \\ / <b>&amp;</b> \t\n\r \u2028 \u2029 🚚👨‍👩‍👧 𝔘 é e\u0301 \ufffd {\"a\":123456789012345678901234567890, \"b\":1e400}"
	m := read[turn](t, h.call("POST", "/v1/messages", object{"text": text, "metadata": object{"n": "9007199254740993", "🚚": "\"<&>\""}}), 200)
	h.settles("hook-1", "2 delivered")
	for _, got := range r.received() {
		var stored message
		if err := json.Unmarshal(got.Data.Message, &stored); err != nil {
			t.Fatal(err)
		}
		if want := cmp.Or(map[string]string{"reply.completed": m.Replies[0].Text}[got.Type], text); stored.Text != want {
			t.Errorf("%s told %q, said was %q", got.Type, stored.Text, want)
		}
		if strings.Contains(got.Body, `\u003c`) || !strings.Contains(got.Body, "🚚") {
			t.Errorf("the text was rewritten: %s", got.Body)
		}
	}
}

func TestSeveralSecretsAllSign(t *testing.T) { onEachStore(t, testSeveralSecrets) }

func testSeveralSecrets(t *testing.T, newStore storeMaker) {
	const next = "whsec_bmV4dC1jYW5hcnktbmV4dC1jYW5hcnktbmV4dA=="
	r := newReceiver(t, httptest.NewServer, signingSecret, next)
	h := startHouse(t, strings.Replace(hooks(newStore(t), r.URL), signingSecret, signingSecret+" "+next, 1))
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.settles("hook-1", "1 delivered")
}

func TestA06_a_webhook_never_leads_inside(t *testing.T) { onEachStore(t, testA06Webhook) }

func testA06Webhook(t *testing.T, newStore storeMaker) {
	victim := newReceiver(t, httptest.NewServer, signingSecret)
	inside := strings.Replace(hooks(newStore(t), victim.URL), "outbound: {allow_cidrs: [127.0.0.1/32]}\n", "", 1)
	h := startHouse(t, inside)
	read[thread](t, h.call("PATCH", "/v1/threads/"+h.empty(), object{"title": "Shoes"}), 200)
	h.eventually("it fails", func() bool { return h.deliveries("")[0].Failure != "" })
	if d := h.deliveries("")[0]; strings.Contains(d.Failure, "127.0.0.1") || d.ResponseStatus != 0 {
		t.Errorf("delivery %+v", d)
	}
	if n := len(victim.received()); n != 0 {
		t.Errorf("the victim was reached %d times", n)
	}
}

func TestAReloadOfReceiversLosesNothing(t *testing.T) { onEachStore(t, testReloadOfReceivers) }

func testReloadOfReceivers(t *testing.T, newStore storeMaker) {
	one, two := newReceiver(t, httptest.NewServer, signingSecret), newReceiver(t, httptest.NewServer, signingSecret)
	one.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	store := newStore(t)
	h := startHouse(t, hooks(store, one.URL))
	id := h.empty()
	read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"title": "1"}), 200)
	h.eventually("the first was tried", func() bool { return len(one.received()) == 1 })
	reload := func(text string) {
		t.Helper()
		if err := h.app.Reload(parsed(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	without, _, _ := strings.Cut(hooks(store, one.URL), "webhooks:")
	reload(without)
	read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"title": "2"}), 200) // nobody is told
	reload(hooks(store, two.URL))                                                  // hook-1 leads elsewhere now
	read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"title": "3"}), 200)
	h.settles("hook-1", "2 delivered")
	if n := len(two.received()); n != 2 {
		t.Errorf("the new receiver got %d, want the one that waited and the new one", n)
	}
}

func TestATenantsDeliveriesAreItsOwn(t *testing.T) { onEachStore(t, testTenantsDeliveries) }

func testTenantsDeliveries(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	text := fmt.Sprintf(tenants, newStore(t)) + "outbound: {allow_cidrs: [127.0.0.1/32]}\nwebhooks:\n" +
		fmt.Sprintf("  - {name: hook-1, url: %q, secret: %q, tenant: first, events: [thread.updated]}\n", r.URL, signingSecret)
	h := startHouse(t, text)
	mine := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}, asOne...), 200)
	theirs := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}, asTwo...), 200)
	read[thread](t, h.call("PATCH", "/v1/threads/"+mine.Thread.ID, object{"title": "1"}, asOne...), 200)
	read[thread](t, h.call("PATCH", "/v1/threads/"+theirs.Thread.ID, object{"title": "2"}, asTwo...), 200)
	h.eventually("it is delivered", func() bool {
		list := h.deliveries("", asOne...)
		return len(list) == 1 && list[0].Status == "delivered"
	})
	if list := h.deliveries("", asTwo...); len(list) != 0 {
		t.Errorf("the other tenant sees %+v", list)
	}
	path := func(id string) string { return "/v1/webhooks/deliveries/" + id + "/redeliver" }
	absent := h.call("POST", path("evt_01m7zsj4wne5f8v6d3q2c1b0a9"), nil, asTwo...)
	stolen := h.call("POST", path(h.deliveries("", asOne...)[0].ID), nil, asTwo...)
	if stolen.status != 404 || withoutID(stolen) != withoutID(absent) {
		t.Errorf("another tenant's delivery is %d %s, an absent one %s", stolen.status, stolen.body, absent.body)
	}
	if got := r.types(); got != "thread.updated" {
		t.Errorf("told: %s", got)
	}
	page := read[struct {
		NextCursor string `json:"next_cursor"`
	}](t, h.call("GET", "/v1/threads?limit=1", nil, asOne...), 200)
	if page.NextCursor != "" {
		t.Fatal("there is one thread")
	}
	read[problem](t, h.call("GET", "/v1/webhooks/deliveries?cursor=abcd", nil, asOne...), 422)
}

func TestAnErasedThreadIsNotToldOf(t *testing.T) { onEachStore(t, testErasedThreadIsNotToldOf) }

func testErasedThreadIsNotToldOf(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	h := startHouse(t, hooks(newStore(t), r.URL))
	id := h.empty()
	read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"title": "a secret"}), 200)
	h.eventually("it was put off", func() bool { return h.deliveries("")[0].ResponseStatus == 503 })
	h.call("DELETE", "/v1/threads/"+id, nil)
	if list := h.deliveries(""); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

// TestAMoveInNeedIsTold: a thread that goes to another backend because its own cannot
// serve tells so, like one that is moved by hand.
func TestAMoveInNeedIsTold(t *testing.T) { onEachStore(t, testAMoveInNeedIsTold) }

func testAMoveInNeedIsTold(t *testing.T, newStore storeMaker) {
	r := newReceiver(t, httptest.NewServer, signingSecret)
	text := strings.Replace(hooks(newStore(t), r.URL), "  - {name: default, to: echo}\n",
		"  - {name: default, to: docs-bot, fallback: [echo], on_unavailable: move}\n", 1)
	h := startHouse(t, text)
	first := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200)
	got := read[turn](t, h.call("POST", "/v1/threads/"+first.Thread.ID+"/messages", object{"text": "hello? [[status 503 retry-after=7]]"}), 200)
	if got.Thread.Backend != "echo" {
		t.Fatalf("thread %+v", got.Thread)
	}
	h.settles("hook-1", "5 delivered")
	if got := r.types(); got != "message.created message.created reply.completed reply.completed thread.moved" {
		t.Errorf("told: %s", got)
	}
}

func TestW08_two_replicas_never_deliver_one_event_at_once(t *testing.T) {
	const events = 150
	r := newReceiver(t, httptest.NewServer, signingSecret)
	var open sync.Map // by id: it is being told now
	r.answers(func(w http.ResponseWriter, req *http.Request) {
		id := req.Header.Get("webhook-id")
		if _, twice := open.LoadOrStore(id, true); twice {
			t.Errorf("two deliveries of %s at once", id)
		}
		time.Sleep(2 * time.Millisecond) // so that two deliveries of one event would meet
		open.Delete(id)
		w.WriteHeader(http.StatusNoContent)
	})
	text := hooks(newDatabase(t), r.URL)
	one, two := startHouse(t, text), startHouse(t, text)
	var all sync.WaitGroup
	for i, h := range []*house{one, two} {
		all.Go(func() {
			for n := range events / 2 {
				if a, err := h.try("POST", "/v1/messages", object{"text": fmt.Sprint(i, "/", n)}); err != nil || a.status != 200 {
					t.Errorf("%d %v", a.status, err)
				}
			}
		})
	}
	all.Wait()
	one.eventually("all is delivered", func() bool { return len(one.deliveries("status=pending")) == 0 })
	times := make(map[string]int)
	for _, got := range r.received() {
		times[got.ID]++
	}
	if len(times) != 2*events {
		t.Errorf("%d events were delivered, want %d", len(times), 2*events)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
}

// TestAStreamIsWatchedOnAnotherReplica: what one replica does is told to who watches on
// the other, an answer that is still being written too.
func TestAStreamIsWatchedOnAnotherReplica(t *testing.T) {
	text := fmt.Sprintf(vendors, newDatabase(t))
	one, two := startHouse(t, text), startHouse(t, text)
	one.twin("helpdesk").Script(sandbox.MustScript("drip 30 150ms")...)
	id := read[thread](t, one.call("POST", "/v1/threads", object{"backend": "helpdesk"}), 201).ID
	watch := two.open("/v1/threads/"+id+"/events", nil)
	speak := one.open("/v1/threads/"+id+"/messages", object{"text": "Where is my parcel? Please say it slowly.", "stream": true})
	if e := watch.next(); e.Name != "message" {
		t.Fatalf("first %+v", e)
	}
	if e := watch.next(); e.Name != "delta" {
		t.Fatalf("then %+v", e)
	}
	select {
	case <-speak.ended:
		t.Error("the answer was whole before anything of it was seen on the other replica")
	default:
	}
	seen, told := watch.until("done", "error"), speak.until("done", "error")
	if got, want := seen[len(seen)-1], told[len(told)-1]; got != want {
		t.Errorf("the end is told as %+v, and was %+v", got, want)
	}
}
