package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// forgetful is the conversations platform behind a line that breaks: the vendor
// takes the message, or does not, and in either case the answer never comes.
type forgetful struct {
	http.Handler
	breaks, drops atomic.Int32 // how many sends are processed and then cut; how many are cut before
	sends         atomic.Int32
}

func (f *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/completions/") {
		f.sends.Add(1)
		if f.drops.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		if f.breaks.Add(-1) >= 0 {
			f.Handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
	}
	f.Handler.ServeHTTP(w, r)
}

func startForgetful(t *testing.T, newStore storeMaker) (*house, *forgetful) {
	t.Helper()
	const key, chatbot = "k-conversations-canary", "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
	vendor := &forgetful{Handler: conversationstwin.New(conversationstwin.Options{Key: normalize.NewSecret(key), ChatbotID: chatbot})}
	server := httptest.NewServer(vendor)
	t.Cleanup(server.Close)
	return startHouse(t, fmt.Sprintf(`
listen: 127.0.0.1:0
store: %s
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - name: helpdesk
    adapter: conversations
    settings: {base_url: "%s/api", api_key: %s, chatbot_id: %s}
    timeouts: {total: 1s}
routes:
  - {name: default, to: helpdesk}
`, newStore(t), server.URL, key, chatbot)), vendor
}

// settled waits until a message is not unknown any more.
func (h *house) settled(threadID, messageID string) message {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if m := read[message](h.t, h.call("GET", "/v1/threads/"+threadID+"/messages/"+messageID, nil), 200); m.Status != "unknown" {
			return m
		}
		if time.Now().After(deadline) {
			h.t.Fatal("the message was not settled")
		}
	}
}

func TestAnUnknownMessageThatTheVendorHasIsSentAndItsReplyIsStored(t *testing.T) {
	onEachStore(t, testAnUnknownMessageThatTheVendorHasIsSentAndItsReplyIsStored)
}

func testAnUnknownMessageThatTheVendorHasIsSentAndItsReplyIsStored(t *testing.T, newStore storeMaker) {
	h, vendor := startForgetful(t, newStore)
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread.ID
	path := "/v1/threads/" + id + "/messages"
	for _, text := range []string{"hello", "and again"} { // the first one is a text that was said before
		vendor.breaks.Store(1)
		p := read[problem](t, h.call("POST", path, object{"text": text}, "Idempotency-Key", text[:3]+"1"), 502)
		if p.Outcome != "unknown" {
			t.Errorf("problem %+v", p)
		}
		if m := h.settled(id, p.MessageID); m.Status != "sent" || m.Reason != "" {
			t.Errorf("message %+v", m)
		}
	}
	var texts []string
	for _, m := range h.transcript(id) {
		texts = append(texts, m.Text)
	}
	want := []string{"hello", bot.Answer(1, "hello", "hello"), "hello", bot.Answer(2, "hello", "hello"), "and again", bot.Answer(3, "hello", "and again")}
	if strings.Join(texts, "\x00") != strings.Join(want, "\x00") {
		t.Errorf("transcript %q, want %q", texts, want)
	}
	again := read[turn](t, h.call("POST", path, object{"text": "and again"}, "Idempotency-Key", "and1"), 200)
	if again.Message.Status != "sent" || len(again.Replies) != 1 || again.Replies[0].Text != bot.Answer(3, "hello", "and again") {
		t.Errorf("a repeat of the key gets %+v", again)
	}
	told := h.open(path, object{"text": "and again"}, "Idempotency-Key", "and1", "Accept", "text/event-stream").until("done", "error")
	if names(told) != "message delta reply done" || said(told) != again.Replies[0].Text {
		t.Errorf("a repeat that wants a stream is told %s: %q", names(told), said(told))
	}
	if n := vendor.sends.Load(); n != 3 {
		t.Errorf("%d sends, want 3: nothing is sent to settle", n)
	}
}

func TestAnUnknownMessageThatTheVendorCertainlyDoesNotHaveIsFailed(t *testing.T) {
	onEachStore(t, testAnUnknownMessageThatTheVendorCertainlyDoesNotHaveIsFailed)
}

func testAnUnknownMessageThatTheVendorCertainlyDoesNotHaveIsFailed(t *testing.T, newStore storeMaker) {
	h, vendor := startForgetful(t, newStore)
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread.ID
	path := "/v1/threads/" + id + "/messages"
	vendor.drops.Store(1)
	p := read[problem](t, h.call("POST", path, object{"text": "lost"}, "Idempotency-Key", "k1"), 502)
	if m := h.settled(id, p.MessageID); m.Status != "failed" {
		t.Errorf("message %+v", m)
	}
	got := read[turn](t, h.call("POST", path, object{"text": "lost"}, "Idempotency-Key", "k1"), 200)
	if got.Message.ID != p.MessageID || got.Replies[0].Text != bot.Answer(2, "hello", "lost") {
		t.Errorf("a repeat of the key sends it under its own id; got %+v", got)
	}
}
