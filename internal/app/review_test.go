package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/internal/sandbox"
)

func TestAResendThatIsRefusedLeavesAnUnknownMessageUnknown(t *testing.T) {
	onEachStore(t, testAResendThatIsRefused)
}

func testAResendThatIsRefused(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	h.twin("llm-1").Script(sandbox.MustScript("1x reset; 1x status 400")...)
	p := read[problem](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "llm-1"}), 502)
	id := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200).Data[0].ID
	again := read[problem](t, h.call("POST", "/v1/threads/"+id+"/messages/"+p.MessageID+"/resend", nil), 422)
	if p.Outcome != "unknown" || again.Outcome != "unknown" {
		t.Errorf("first %+v, then %+v: the vendor may have the message still", p, again)
	}
	if m := h.transcript(id)[0]; m.Status != "unknown" {
		t.Errorf("the message is %s", m.Status)
	}
}

func TestABudgetThatEndsInPreparingLeavesNothingHalfDone(t *testing.T) {
	onEachStore(t, testABudgetThatEndsInPreparing)
}

func testABudgetThatEndsInPreparing(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	h.twin("docs-bot").ScriptPath("/api/v0/chatbots/*/threads", sandbox.MustScript("always tarpit")...)
	p := read[problem](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "docs-bot"}, "Chatmux-Timeout", "1"), 504)
	if p.Code != "deadline_exceeded" || p.Outcome != "none" {
		t.Errorf("problem %+v", p)
	}
	id := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200).Data[0].ID
	if m := h.transcript(id)[0]; m.Status != "failed" {
		t.Errorf("the message is %s", m.Status)
	}
	h.twin("docs-bot").ScriptPath("/api/v0/chatbots/*/threads")
	read[turn](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "and now?"}), 200)
}

func TestRepeatsOfAFailedKeyAtOnceSendItOnceMore(t *testing.T) {
	onEachStore(t, testRepeatsOfAFailedKeyAtOnce)
}

func testRepeatsOfAFailedKeyAtOnce(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	h.twin("helpdesk").Script(sandbox.MustScript("1x status 400")...)
	read[problem](t, h.send("default", "hello", "Idempotency-Key", "k"), 422)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a, err := h.try("POST", "/v1/messages", object{"text": "hello", "thread_metadata": object{"route": "default"}}, "Idempotency-Key", "k")
			if err != nil || a.status != http.StatusOK && !(a.status == 409 && strings.Contains(string(a.body), "idempotency_in_progress")) {
				t.Errorf("%v: %d %s", err, a.status, a.body)
			}
		})
	}
	wg.Wait()
	if n := h.sends("helpdesk"); n != 2 {
		t.Errorf("%d sends, want 2: the refused one, and one more", n)
	}
}

func TestAHumanDoesNotTellThePastOfAMovedThread(t *testing.T) {
	onEachStore(t, testAHumanDoesNotTellThePast)
}

func testAHumanDoesNotTellThePast(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	id := read[turn](t, h.send("default", "my name is Rosa"), 200).Thread.ID
	read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": "docs-bot", "carry": "transcript"}), 200)
	read[turn](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "Ana here, how can I help?", "role": "operator"}), 200)
	for _, e := range h.twin("docs-bot").Ledger() {
		if strings.Contains(string(e.Body), "AGENT") && strings.Contains(string(e.Body), "Context") {
			t.Errorf("the operator is made to say %s", e.Body)
		}
	}
	got := read[turn](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "what is my name?"}), 200)
	if len(got.Replies) != 1 || !strings.Contains(got.Replies[0].Text, "Rosa") {
		t.Errorf("the bot was not told: %+v", got.Replies)
	}
}

func TestAVendorThatIsSlowToListCostsNoSendItsLease(t *testing.T) {
	onEachStore(t, testAVendorThatIsSlowToList)
}

func testAVendorThatIsSlowToList(t *testing.T, newStore storeMaker) {
	text := strings.Replace(fmt.Sprintf(quick, newStore(t)), "limits: {", "limits: {idempotency: {lease: 900ms}, ", 1)
	text = strings.Replace(text, "first_byte: 400ms, idle: 400ms, total: 1s", "first_byte: 4s, idle: 4s, total: 5s", 1)
	text = strings.Replace(text, "interval: 10s", "interval: 20s", 1)
	h := startHouse(t, text)
	id := read[turn](t, h.send("default", "hello"), 200).Thread.ID
	h.twin("helpdesk").ScriptPath("/api/messages/", sandbox.MustScript("always tarpit")...)
	h.twin("helpdesk").Script(sandbox.MustScript("1x reset; 1x delay 2500ms")...)
	read[problem](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "lost"}), 502) // to be looked for, slowly
	for deadline := time.Now().Add(5 * time.Second); !h.asked("helpdesk", "/api/messages/"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the list was not asked for")
		}
	}
	if got := read[turn](t, h.send("default", "slow, beyond its lease"), 200); got.Message.Status != "sent" {
		t.Errorf("message %+v", got.Message)
	}
}

// asked reports whether a twin received a request for a path.
func (h *house) asked(backend, path string) bool {
	for _, e := range h.twin(backend).Ledger() {
		if e.Path == path {
			return true
		}
	}
	return false
}
