package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters/altur/alturtwin"
	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/adapters/sitegpt/sitegpttwin"
	"chatmux/internal/engine"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

const (
	hookSecret = "c2VjcmV0LW9mLXRoZS1ob29r" // letters that are Base64 too, as Altur's signature needs them
	laterKey   = "k-later-canary"
	siteBot    = "365062873485935184"
	webChat    = conversationstwin.DefaultWebChatID
	chatbot    = conversationstwin.DefaultChatbotID
	agent      = alturtwin.DefaultAgentID
)

// desk is a vendor that answers later, a house in front of it, and who is told by
// webhooks what happens there.
type desk struct {
	*house
	twin *conversationstwin.Twin
	crm  *receiver
}

// The paces of a house: one that looks into lists all the time, and one that never does.
var (
	eager = engine.Settling{Every: 20 * time.Millisecond, Margin: 300 * time.Millisecond, Again: 50 * time.Millisecond, Look: 20 * time.Millisecond}
	deaf  = engine.Settling{Every: 20 * time.Millisecond, Margin: 300 * time.Millisecond, Again: 50 * time.Millisecond, Look: time.Hour, AwaitFor: time.Hour * 60}
)

// hookLine gives the secret to a backend that is to have a webhook.
func hookLine(hooked bool) string {
	if hooked {
		return "hook_secret: " + hookSecret
	}
	return "retry: {attempts: 2}"
}

func newDeskTwin(t *testing.T) (twin *conversationstwin.Twin, baseURL string) {
	t.Helper()
	twin = conversationstwin.New(conversationstwin.Options{Key: normalize.NewSecret(laterKey)})
	server := httptest.NewServer(twin)
	t.Cleanup(func() { twin.Wait(); server.Close() })
	return twin, server.URL + "/api"
}

func deskConfig(store, baseURL string, hooked bool, crm string) string {
	return fmt.Sprintf(`
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 100ms}}
backends:
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, api_key: k, chatbot_id: "%s"}}
  - {name: own-llm, adapter: openai, settings: {base_url: sandbox, api_key: k, model: m}}
  - name: desk
    adapter: conversations
    settings: {base_url: "%s", api_key: %s, chatbot_id: %s, web_chat: %s, style: messages}
    %s
routes:
  - {name: default, to: desk}
outbound: {allow_cidrs: [127.0.0.1/32]}
webhooks:
  - {name: crm, url: "%s", secret: %s, events: [reply.completed]}
`, store, siteBot, baseURL, laterKey, chatbot, webChat, hookLine(hooked), crm, signingSecret)
}

func startDesk(t *testing.T, store string, hooked bool, pace engine.Settling) *desk {
	t.Helper()
	twin, baseURL := newDeskTwin(t)
	crm := newReceiver(t, httptest.NewServer, signingSecret)
	return &desk{startHouseAt(t, deskConfig(store, baseURL, hooked, crm.URL), pace), twin, crm}
}

// hook is the address of a backend's webhook.
func (h *house) hook(backend string) string { return h.url + "/hooks/" + backend + "/" + hookSecret }

// conversation is the vendor's id of a thread's conversation.
func (h *house) conversation(threadID string) string {
	h.t.Helper()
	bindings := read[thread](h.t, h.call("GET", "/v1/threads/"+threadID, nil), 200).Bindings
	if len(bindings) == 0 {
		h.t.Fatal("the thread has no conversation")
	}
	return bindings[len(bindings)-1].RemoteID
}

// metric is the value of a metric, as it is written; empty where there is none yet.
func (h *house) metric(name string) string {
	h.t.Helper()
	for line := range strings.Lines(string(h.call("GET", "/metrics", nil).body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestEveryVendorStyleAnswersEveryCallerStyle(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		polled := startDesk(t, newStore(t), false, eager)
		polled.twin.Answer(conversationstwin.Answering{After: 60 * time.Millisecond})
		called := startDesk(t, newStore(t), true, deaf)
		called.twin.Answer(conversationstwin.Answering{After: 60 * time.Millisecond, Webhook: called.hook("desk")})
		vendors := []struct {
			style, backend string
			house          *desk
		}{
			{"sync", "docs-bot", polled},
			{"stream", "own-llm", polled},
			{"poll", "desk", polled},
			{"callback", "desk", called},
		}
		for _, v := range vendors {
			for caller, ask := range callerStyles {
				t.Run(v.style+"_vendor_"+caller+"_caller", func(t *testing.T) {
					inner := *v.house.house
					inner.t = t
					h := desk{&inner, v.house.twin, v.house.crm}
					threadID := ""
					for turn, text := range []string{"Where is my parcel? 🚚", "And <when> will it come?"} {
						id, replies := ask(t, &h, v.backend, threadID, text)
						threadID = id
						want := bot.Answer(turn+1, "Where is my parcel? 🚚", text)
						if len(replies) != 1 || replies[0].Text != want || replies[0].Status != "complete" || replies[0].Role != "assistant" {
							t.Fatalf("turn %d: replies %+v, want %q", turn+1, replies, want)
						}
					}
					stored := h.transcript(threadID)
					if len(stored) != 4 || stored[0].Status != "sent" || stored[1].InReplyTo != stored[0].ID || stored[3].InReplyTo != stored[2].ID {
						t.Errorf("stored: %+v", stored)
					}
				})
			}
		}
		if got := called.metric(`chatmux_later_answers_total{backend="desk",outcome="webhook"}`); got != "8" {
			t.Errorf("%s answers came by webhook, want 8", got)
		}
		if got := polled.metric(`chatmux_later_answers_total{backend="desk",outcome="list"}`); got != "8" {
			t.Errorf("%s answers came by list, want 8", got)
		}
	})
}

// callerStyles are the ways to get an answer: each says a text in a thread, or in a new
// one, and gives what was replied.
var callerStyles = map[string]func(t *testing.T, h *desk, backend, threadID, text string) (string, []message){
	"JSON": func(t *testing.T, h *desk, backend, threadID, text string) (string, []message) {
		t.Helper()
		got := read[turn](t, h.call("POST", sendPath(threadID), sendBody(backend, threadID, text)), 200)
		return got.Thread.ID, got.Replies
	},
	"SSE": func(t *testing.T, h *desk, backend, threadID, text string) (string, []message) {
		t.Helper()
		list := h.open(sendPath(threadID), sendBody(backend, threadID, text), "Accept", "text/event-stream").until("done", "error")
		if got := strings.ReplaceAll(names(list), "delta+", "delta"); got != "message delta reply done" {
			t.Fatalf("events: %s", got)
		}
		var end turnOfEvent
		var reply message
		decode(t, list[len(list)-1].Data, &end)
		decode(t, list[len(list)-2].Data, &reply)
		if said(list) != reply.Text || !slices.Equal(end.Replies, []string{reply.ID}) {
			t.Errorf("the deltas say %q, the reply is %+v, done names %v", said(list), reply, end.Replies)
		}
		return end.Thread.ID, []message{reply}
	},
	"poll": func(t *testing.T, h *desk, backend, threadID, text string) (string, []message) {
		t.Helper()
		accepted := read[turn](t, h.call("POST", sendPath(threadID), sendBody(backend, threadID, text), "Prefer", "respond-async"), 202)
		var replies []message
		h.eventually("the reply is in the list", func() bool {
			replies = slices.DeleteFunc(h.transcript(accepted.Thread.ID), func(m message) bool { return m.InReplyTo != accepted.Message.ID })
			return len(replies) > 0
		})
		h.eventually("the next message may be sent", func() bool {
			return read[message](t, h.call("GET", "/v1/threads/"+accepted.Thread.ID+"/messages/"+accepted.Message.ID, nil), 200).Status == "sent"
		})
		return accepted.Thread.ID, replies
	},
	"webhook": func(t *testing.T, h *desk, backend, threadID, text string) (string, []message) {
		t.Helper()
		accepted := read[turn](t, h.call("POST", sendPath(threadID), sendBody(backend, threadID, text), "Prefer", "respond-async"), 202)
		var replies []message
		h.eventually("the webhook was called", func() bool {
			for _, got := range h.crm.received() {
				var m message
				decode(t, string(got.Data.Message), &m)
				if m.InReplyTo == accepted.Message.ID {
					replies = append(replies, m)
				}
			}
			return len(replies) > 0
		})
		return accepted.Thread.ID, replies
	},
}

func sendPath(threadID string) string {
	if threadID == "" {
		return "/v1/messages"
	}
	return "/v1/threads/" + threadID + "/messages"
}

func sendBody(backend, threadID, text string) object {
	if threadID == "" {
		return object{"text": text, "backend": backend}
	}
	return object{"text": text}
}

func TestW14_a_reply_that_is_faster_than_our_own_post_is_the_answer(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		d := startDesk(t, newStore(t), true, deaf)
		d.twin.Answer(conversationstwin.Answering{Early: true, Webhook: d.hook("desk")})
		for i, want := range []string{bot.Answer(1, "hello", "hello"), bot.Answer(2, "hello", "hello")} {
			id := ""
			if i > 0 {
				id = read[struct{ Data []thread }](t, d.call("GET", "/v1/threads", nil), 200).Data[0].ID
			}
			got := read[turn](t, d.call("POST", sendPath(id), sendBody("desk", id, "hello")), 200)
			if len(got.Replies) != 1 || got.Replies[0].Text != want {
				t.Fatalf("replies: %+v, want %q", got.Replies, want)
			}
			if stored := d.transcript(got.Thread.ID); len(stored) != 2*(i+1) {
				t.Errorf("stored: %+v", stored)
			}
		}
	})
}

func TestAReplyAfterOurAnswerIsStoredAndTold(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		for _, hooked := range []bool{true, false} {
			t.Run(fmt.Sprintf("hooked=%v", hooked), func(t *testing.T) {
				pace := eager
				if hooked {
					pace = deaf
				}
				d := startDesk(t, newStore(t), hooked, pace)
				silent := conversationstwin.Answering{Silent: true}
				if hooked {
					silent.Webhook = d.hook("desk")
				}
				d.twin.Answer(silent)
				got := read[turn](t, d.call("POST", "/v1/messages", object{"text": "hello"}, "Chatmux-Timeout", "1", "Idempotency-Key", "k"), 200)
				if len(got.Replies) != 0 || got.Message.Status != "sent" {
					t.Fatalf("answer: %+v", got)
				}
				s := d.open("/v1/threads/"+got.Thread.ID+"/events", nil, "Last-Event-ID", "0")
				if list := s.until("done"); names(list) != "message done" {
					t.Errorf("events: %s", names(list))
				}
				d.twin.SayAsOperator(d.conversation(got.Thread.ID), "At last: it is on its way.")
				var reply message
				decode(t, s.until("reply")[0].Data, &reply)
				if reply.Text != "At last: it is on its way." || reply.InReplyTo != got.Message.ID || reply.Backend != "desk" {
					t.Errorf("reply: %+v", reply)
				}
				if hooked { // nobody asked for more, and it comes all the same
					d.twin.SayAsOperator(d.conversation(got.Thread.ID), "Anything else?")
					var more message
					decode(t, s.until("reply")[0].Data, &more)
					if more.Text != "Anything else?" || more.InReplyTo != "" {
						t.Errorf("reply: %+v", more)
					}
				}
				if again := d.call("POST", "/v1/messages", object{"text": "hello"}, "Chatmux-Timeout", "1", "Idempotency-Key", "k"); again.header.Get("Idempotency-Replayed") != "true" {
					t.Errorf("the repeat: %d %v", again.status, again.header)
				}
				state := read[struct {
					InFlight int `json:"in_flight"`
				}](t, d.call("GET", "/v1/backends/desk", nil), 200)
				if state.InFlight != 0 {
					t.Errorf("%d in flight", state.InFlight)
				}
			})
		}
	})
}

func TestWaitingForAnAnswerTakesNoPlaceAtTheBackend(t *testing.T) {
	d := startDesk(t, "sqlite::memory:", true, deaf)
	d.twin.Answer(conversationstwin.Answering{Silent: true, Webhook: d.hook("desk")})
	accepted := read[turn](t, d.call("POST", "/v1/messages", object{"text": "hello"}, "Prefer", "respond-async"), 202)
	d.eventually("the vendor has the message", func() bool {
		return read[message](t, d.call("GET", "/v1/threads/"+accepted.Thread.ID+"/messages/"+accepted.Message.ID, nil), 200).Status == "sent"
	})
	state := read[struct {
		InFlight int `json:"in_flight"`
	}](t, d.call("GET", "/v1/backends/desk", nil), 200)
	if state.InFlight != 0 {
		t.Errorf("%d in flight", state.InFlight)
	}
	read[problem](t, d.call("POST", sendPath(accepted.Thread.ID), object{"text": "and?"}), 409) // one open request for each conversation
	d.twin.SayAsOperator(d.conversation(accepted.Thread.ID), "Here I am.")
	d.eventually("the reply is stored", func() bool { return len(d.transcript(accepted.Thread.ID)) == 2 })
}

func TestAnAnswerThatIsWaitedForComesAlsoAfterARestart(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		store := newStore(t)
		twin, baseURL := newDeskTwin(t)
		twin.Answer(conversationstwin.Answering{Silent: true})
		var accepted turn
		var conversation string
		t.Run("before", func(t *testing.T) {
			h := startHouseAt(t, deskConfig(store, baseURL, false, "http://127.0.0.1:1"), eager)
			accepted = read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}, "Prefer", "respond-async"), 202)
			h.eventually("the vendor has the message", func() bool {
				return h.transcript(accepted.Thread.ID)[0].Status == "sent"
			})
			conversation = h.conversation(accepted.Thread.ID)
		})
		twin.SayAsOperator(conversation, "You were away.")
		t.Run("after", func(t *testing.T) {
			h := startHouseAt(t, deskConfig(store, baseURL, false, "http://127.0.0.1:1"), eager)
			list := h.open("/v1/threads/"+accepted.Thread.ID+"/events", nil, "Last-Event-ID", "0").until("reply")
			if names(list) != "message done reply" {
				t.Errorf("events: %s", names(list))
			}
			stored := h.transcript(accepted.Thread.ID)
			if len(stored) != 2 || stored[0].Status != "sent" || stored[1].Text != "You were away." || stored[1].InReplyTo != accepted.Message.ID {
				t.Errorf("stored: %+v", stored)
			}
		})
	})
}

func TestAWebhookThatComesToAnotherReplicaAnswersTheSend(t *testing.T) {
	store := newDatabase(t)
	twin, baseURL := newDeskTwin(t)
	one := startHouseAt(t, deskConfig(store, baseURL, true, "http://127.0.0.1:1"), deaf)
	other := startHouseAt(t, deskConfig(store, baseURL, true, "http://127.0.0.1:1"), deaf)
	twin.Answer(conversationstwin.Answering{After: 50 * time.Millisecond, Webhook: other.hook("desk")})
	got := read[turn](t, one.call("POST", "/v1/messages", object{"text": "hello"}), 200)
	if len(got.Replies) != 1 || got.Replies[0].Text != bot.Answer(1, "hello", "hello") {
		t.Errorf("replies: %+v", got.Replies)
	}
}

// told posts a body to a webhook by hand.
func (h *house) told(backend, secret, body string, headers ...string) int {
	req, err := http.NewRequestWithContext(h.t.Context(), "POST", h.url+"/hooks/"+backend+"/"+secret, strings.NewReader(body))
	if err != nil {
		h.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Error(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestW11_only_the_backends_own_secret_opens_its_webhook(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(hookedVendors, "sqlite::memory:", "", "sandbox", "sandbox"))
	body := `{"event":"ADD_MESSAGE","data":{"threadId":"t","answer":"x"}}`
	for _, path := range [][2]string{
		{"docs-bot", ""},
		{"docs-bot", hookSecret[1:]},
		{"docs-bot", strings.ToUpper(hookSecret)},
		{"docs-bot", "the-other-secret"},
		{"none", hookSecret},
		{"echo", hookSecret},
		{"echo", ""},
	} {
		if status := h.told(path[0], path[1], body); status != 404 {
			t.Errorf("%v: %d", path, status)
		}
	}
	if status := h.told("docs-bot", hookSecret, body, "X-WEBHOOK-TOKEN", "another"); status != 404 {
		t.Errorf("a wrong token: %d", status)
	}
	if status := h.told("docs-bot", hookSecret, body, "X-WEBHOOK-TOKEN", hookSecret); status != 200 {
		t.Errorf("the right token: %d", status)
	}
}

func TestW12_the_same_delivery_twenty_times_at_once_is_processed_once(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(hookedVendors, newStore(t), "", "sandbox", "sandbox"))
		first := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "docs-bot"}), 200)
		remote := h.conversation(first.Thread.ID)
		for i, body := range []string{
			fmt.Sprintf(`{"event":"ADD_MESSAGE","data":{"chatbotId":"%s","threadId":"%s","question":null,"answer":"I am a human.","messageType":"AGENT_MESSAGE","agentName":"Ana"}}`, siteBot, remote),
			fmt.Sprintf(`{"event":"ADD_MESSAGE","data":{"messageId":"7","threadId":"%s","answer":{"text":"I am a human.","timestamp":"2026-03-04T10:15:31Z"},"messageType":"AGENT_MESSAGE"}}`, remote),
			fmt.Sprintf(`{"event":"ADD_MESSAGE","data":{"messageId":"8","threadId":"%s","answer":{"text":"Still here.","timestamp":null},"messageType":"AGENT_MESSAGE"}}`, remote),
		} {
			var bad atomic.Int32
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if h.told("docs-bot", hookSecret, body) != 200 {
						bad.Add(1)
					}
				})
			}
			all.Wait()
			if n := bad.Load(); n > 0 {
				t.Errorf("%d of 20 were not taken", n)
			}
			stored := h.transcript(first.Thread.ID)
			if want := []int{3, 3, 4}[i]; len(stored) != want || stored[2].Role != "operator" || stored[2].Text != "I am a human." {
				t.Fatalf("after delivery %d: %+v", i+1, stored)
			}
		}
	})
}

func TestW13_news_of_nothing_that_is_known_is_taken_counted_and_ignored(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(hookedVendors, "sqlite::memory:", "", "sandbox", "sandbox"))
	remote := h.conversation(read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "docs-bot"}), 200).Thread.ID)
	for _, body := range []string{
		`{"event":"ADD_MESSAGE","data":{"threadId":"not-ours","answer":"x"}}`,
		`{"event":"NEW_LEAD","data":{"threadId":"` + remote + `","answer":"x"}}`,
		`{"event":"ADD_MESSAGE","data":{"chatbotId":"another","threadId":"` + remote + `","answer":"x"}}`,
		`{}`, `[]`, `"x"`, `null`, `{"data":[]}`,
	} {
		if status := h.told("docs-bot", hookSecret, body); status != 200 {
			t.Errorf("%s: %d", body, status)
		}
	}
	for outcome, want := range map[string]string{"unknown_thread": "1", "unknown_kind": "7"} {
		if got := h.metric(`chatmux_vendor_webhooks_total{backend="docs-bot",outcome="` + outcome + `"}`); got != want {
			t.Errorf("%s: %s, want %s", outcome, got, want)
		}
	}
	if status := h.told("docs-bot", hookSecret, `{"event":`); status != 400 {
		t.Errorf("what is no JSON: %d", status)
	}
}

const hookedVendors = `
listen: 127.0.0.1:0
store: %s
log: {level: error}
%s
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: "%s", api_key: k, chatbot_id: "365062873485935184"}, hook_secret: c2VjcmV0LW9mLXRoZS1ob29r}
  - {name: parcel-desk, adapter: altur, settings: {base_url: "%s", api_key: k, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30}, hook_secret: c2VjcmV0LW9mLXRoZS1ob29r}
  - {name: other, adapter: sitegpt, settings: {base_url: sandbox, api_key: k, chatbot_id: "1"}, hook_secret: the-other-secret}
  - {name: echo, adapter: echo, hook_secret: c2VjcmV0LW9mLXRoZS1ob29r}
routes:
  - {name: default, to: docs-bot}
`

func TestSiteGPTIsToldOfOurWebhookAndOperatorsAreHeard(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		var front atomic.Pointer[url.URL]
		proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(front.Load()) }, Transport: &http.Transport{DisableKeepAlives: true}})
		defer proxy.Close()
		twin := sitegpttwin.New(sitegpttwin.Options{Key: normalize.NewSecret("k")})
		vendor := httptest.NewServer(twin)
		defer func() { twin.Wait(); vendor.Close() }()
		h := startHouse(t, fmt.Sprintf(hookedVendors, newStore(t), "public_url: "+proxy.URL, vendor.URL, "sandbox"))
		at, err := url.Parse(h.url)
		if err != nil {
			t.Fatal(err)
		}
		front.Store(at)
		first := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200)
		made := read[thread](t, h.call("POST", "/v1/threads", object{"backend": "docs-bot"}), 201)
		for i, id := range []string{first.Thread.ID, made.ID} {
			remote := h.conversation(id)
			h.eventually("the vendor was told of our webhook", func() bool {
				return h.metric(`chatmux_webhook_registrations_total{backend="docs-bot",outcome="ok"}`) == "2"
			})
			s := h.open("/v1/threads/"+id+"/events", nil)
			if !twin.SayAsOperator(remote, "A human takes over.", "Ana") {
				t.Fatal("there is no such thread")
			}
			var reply message
			decode(t, s.until("reply")[0].Data, &reply)
			if reply.Role != "operator" || reply.Text != "A human takes over." {
				t.Errorf("reply: %+v", reply)
			}
			// The bot's own answer comes by webhook too, and is the same one.
			h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "thank you"})
			twin.SayAsOperator(remote, "You are welcome.", "Ana")
			h.eventually("the operator's second word is there", func() bool {
				stored := h.transcript(id)
				return stored[len(stored)-1].Text == "You are welcome."
			})
			stored := h.transcript(id)
			if want := []int{6, 4}[i]; len(stored) != want {
				t.Errorf("stored: %+v", stored)
			}
			s.leave()
		}
		whole := h.call("GET", "/v1/threads/"+first.Thread.ID+"?include=raw", nil)
		if strings.Contains(string(whole.body), hookSecret) {
			t.Errorf("the thread shows the secret: %s", whole.body)
		}
		body := fmt.Sprintf(`{"event":"ADD_MESSAGE","data":{"threadId":"%s","mode":"AGENT","messageType":"SYSTEM_MESSAGE","systemMessageType":"CONVERSATION_ESCALATED"}}`,
			h.conversation(first.Thread.ID))
		s := h.open("/v1/threads/"+first.Thread.ID+"/events", nil)
		if status := h.told("docs-bot", hookSecret, body); status != 200 {
			t.Errorf("an escalation: %d", status)
		}
		var changed thread
		list := s.until("thread")
		decode(t, list[len(list)-1].Data, &changed)
		if changed.Mode != "human" || !strings.Contains(list[len(list)-1].Data, `"escalated":true`) {
			t.Errorf("the thread: %s", list[len(list)-1].Data)
		}
	})
}

func TestAnAnswerThatOnlyItsWebhookBroughtIsTheAnswerOfItsMessage(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		twin := sitegpttwin.New(sitegpttwin.Options{Key: normalize.NewSecret("k")})
		var breaks atomic.Bool
		vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/message") && breaks.Load() {
				twin.ServeHTTP(httptest.NewRecorder(), r) // the vendor has it, and its answer is lost
				twin.Wait()
				panic(http.ErrAbortHandler)
			}
			twin.ServeHTTP(w, r)
		}))
		defer func() { twin.Wait(); vendor.Close() }()
		h := startHouse(t, fmt.Sprintf(hookedVendors, newStore(t), "", vendor.URL, "sandbox"))
		twin.SetWebhook(h.hook("docs-bot"), hookSecret)
		id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread.ID
		breaks.Store(true)
		p := read[problem](t, h.call("POST", sendPath(id), object{"text": "and?"}, "Idempotency-Key", "k"), 502)
		if m := h.settled(id, p.MessageID); m.Status != "sent" {
			t.Errorf("message %+v", m)
		}
		breaks.Store(false)
		stored := h.transcript(id)
		if len(stored) != 4 || stored[3].Text != bot.Answer(2, "hello", "and?") || stored[3].InReplyTo != p.MessageID {
			t.Errorf("stored: %+v", stored)
		}
		again := read[turn](t, h.call("POST", sendPath(id), object{"text": "and?"}, "Idempotency-Key", "k"), 200)
		if len(again.Replies) != 1 || again.Replies[0].Text != bot.Answer(2, "hello", "and?") {
			t.Errorf("a repeat of the key gets %+v", again)
		}
	})
}

func TestARegistrationThatFailsIsTriedAgain(t *testing.T) {
	twin := sitegpttwin.New(sitegpttwin.Options{Key: normalize.NewSecret("k")})
	var failures atomic.Int32
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && failures.Add(1) < 3 {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		twin.ServeHTTP(w, r)
	}))
	defer func() { twin.Wait(); vendor.Close() }()
	pace := eager
	pace.Look = time.Millisecond
	h := startHouseAt(t, fmt.Sprintf(hookedVendors, "sqlite::memory:", "public_url: http://127.0.0.1:1", vendor.URL, "sandbox"), pace)
	if got := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200); len(got.Replies) != 1 {
		t.Errorf("replies: %+v", got.Replies)
	}
	h.eventually("it is registered", func() bool {
		return h.metric(`chatmux_webhook_registrations_total{backend="docs-bot",outcome="ok"}`) == "1"
	})
	if got := h.metric(`chatmux_webhook_registrations_total{backend="docs-bot",outcome="failed"}`); got != "2" {
		t.Errorf("%s tries failed, want 2", got)
	}
}

func TestAltursCallsAreVerifiedAndKept(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(hookedVendors, newStore(t), "", "sandbox", "sandbox"))
		twin := alturtwin.New(alturtwin.Options{})
		h.call("POST", "/v1/messages", object{"text": "hello", "backend": "parcel-desk"})
		for i, c := range []struct {
			call   alturtwin.Call
			secret string
			want   int
		}{
			{alturtwin.Call{ID: "cll_1", EndUserID: agent}, hookSecret, 200},
			{alturtwin.Call{ID: "cll_1", EndUserID: agent}, hookSecret, 200},
			{alturtwin.Call{ID: "cll_2", Legacy: true}, hookSecret, 200},
			{alturtwin.Call{ID: "cll_3"}, "YW5vdGhlcg==", 404},
			{alturtwin.Call{ID: "cll_3", Legacy: true}, "another", 404},
		} {
			status, err := twin.EndCall(h.hook("parcel-desk"), c.secret, c.call)
			if err != nil || status != c.want {
				t.Errorf("call %d: %d, %v; want %d", i, status, err, c.want)
			}
		}
		if status := h.told("parcel-desk", hookSecret, `{"event_type":"on_call_end","id":"cll_4"}`); status != 404 {
			t.Errorf("without a signature: %d", status)
		}
		for outcome, want := range map[string]string{"stored": "2", "known": "1", "refused": "3"} {
			if got := h.metric(`chatmux_vendor_webhooks_total{backend="parcel-desk",outcome="` + outcome + `"}`); got != want {
				t.Errorf("%s: %s, want %s", outcome, got, want)
			}
		}
	})
}
