package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
)

// exampleAt gives a config of docs/examples, for a vendor at another address, with a
// port and a store of the test's own.
func exampleAt(t *testing.T, file, vendor, at, store string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/examples/" + file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(vendor, at, "127.0.0.1:8080", "127.0.0.1:0", "sqlite:chatmux.db", store).Replace(string(text))
	return changed + "limits: {drain: {delay: 0s, grace: 5s}}\nlog: {level: error}\n"
}

// guide is a vendor that no adapter in Go knows, as far as its documents describe it:
// one app that remembers what was said first. Some words make it fail.
type guide struct {
	mu    sync.Mutex
	first map[string]string
	turns map[string]int
}

func (g *guide) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Query, User  string
		Inputs       map[string]any
		Mode         string `json:"response_mode"`
		Conversation string `json:"conversation_id"`
	}
	err := json.NewDecoder(r.Body).Decode(&ask)
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"message":"no","status":%d}`, code, status)
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer planted-dify-key":
		refuse(401, "unauthorized")
	case r.URL.Path != "/v1/chat-messages" || r.Method != http.MethodPost:
		refuse(404, "not_found")
	case err != nil || ask.Inputs == nil || ask.User == "" || ask.Query == "":
		refuse(400, "invalid_param")
	case ask.Query == "too much":
		refuse(429, "too_many_requests")
	default:
		g.answer(w, ask.Query, ask.Conversation, ask.Mode == "streaming")
	}
}

func (g *guide) answer(w http.ResponseWriter, query, conversation string, streaming bool) {
	g.mu.Lock()
	if conversation == "" {
		conversation = fmt.Sprintf("45701982-8118-4bc5-8e9b-%012d", len(g.first)+1)
		g.first[conversation] = query
	}
	g.turns[conversation]++
	answer := fmt.Sprintf("turn %d, first: %s 😀", g.turns[conversation], g.first[conversation])
	message := fmt.Sprintf("%s-%d", conversation, g.turns[conversation])
	g.mu.Unlock()
	if !streaming {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object{
			"event": "message", "message_id": message, "conversation_id": conversation, "mode": "chat", "answer": answer, "created_at": 1705407629,
		})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	tell := func(event object) {
		event["message_id"], event["conversation_id"] = message, conversation
		data, _ := json.Marshal(event)
		fmt.Fprintf(w, "data: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
	}
	tell(object{"event": "workflow_started", "data": object{"id": "w"}})
	_, _ = io.WriteString(w, "event: ping\n\n")
	for _, piece := range strings.SplitAfter(answer, " ") {
		tell(object{"event": "agent_message", "answer": piece, "created_at": 1705407629})
	}
	if query == "use it up" {
		tell(object{"event": "error", "status": 400, "code": "provider_quota_exceeded", "message": "used up"})
		return
	}
	tell(object{"event": "message_end", "metadata": object{}})
}

// A vendor with streaming and errors of its own works by YAML alone, from the route to
// the stored answer.
func TestAVendorByYAMLIsServed(t *testing.T) {
	vendor := httptest.NewServer(&guide{first: map[string]string{}, turns: map[string]int{}})
	defer vendor.Close()
	t.Setenv("DIFY_API_KEY", "planted-dify-key")
	h := startHouse(t, exampleAt(t, "dify.yaml", "https://api.dify.ai", vendor.URL, "sqlite:"+t.TempDir()+"/chatmux.db"))

	begun := read[turn](t, h.call("POST", "/v1/messages", object{"text": "I am Rosa."}), 200)
	if len(begun.Replies) != 1 || begun.Replies[0].Text != "turn 1, first: I am Rosa. 😀" || begun.Thread.Backend != "guide" {
		t.Fatalf("the first turn is %+v", begun)
	}
	path := "/v1/threads/" + begun.Thread.ID + "/messages"
	list := h.open(path, object{"text": "Who am I?", "stream": true}).until("done", "error")
	if said(list) != "turn 2, first: I am Rosa. 😀" || !strings.Contains(names(list), "delta+") || list[len(list)-1].Name != "done" {
		t.Errorf("the second turn is streamed as %q: %s", said(list), names(list))
	}

	refused := read[problem](t, h.call("POST", "/v1/messages", object{"text": "too much"}), 503)
	if refused.Code != "backend_unavailable" || refused.Outcome != "none" || !refused.Retryable {
		t.Errorf("a vendor that takes no more for now: %+v", refused)
	}
	stored := h.transcript(begun.Thread.ID)
	if len(stored) != 4 || stored[3].Text != said(list) || stored[3].Status != "complete" {
		t.Errorf("stored is %+v", stored)
	}
}

// An error within the stream is of its kind, and what was told before it is kept.
func TestAVendorByYAMLFailsInItsStream(t *testing.T) {
	vendor := httptest.NewServer(&guide{first: map[string]string{}, turns: map[string]int{}})
	defer vendor.Close()
	t.Setenv("DIFY_API_KEY", "planted-dify-key")
	h := startHouse(t, exampleAt(t, "dify.yaml", "https://api.dify.ai", vendor.URL, "sqlite:"+t.TempDir()+"/chatmux.db"))
	list := h.open("/v1/messages", object{"text": "use it up", "stream": true}).until("done", "error")
	last := list[len(list)-1]
	if said(list) != "turn 1, first: use it up 😀" || last.Name != "error" || !strings.Contains(last.Data, "used up its quota") {
		t.Errorf("told was %q, and then %s %s", said(list), last.Name, last.Data)
	}
	if strings.Contains(fmt.Sprint(list), "planted-dify-key") {
		t.Error("the key is in the stream")
	}
}

// A vendor whose conversations have ids of our choice, and which answers with several
// messages or with none.
func TestAVendorByYAMLChoosesNoIDs(t *testing.T) {
	var senders sync.Map
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask struct{ Sender, Message string }
		if json.NewDecoder(r.Body).Decode(&ask) != nil || ask.Sender == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		senders.Store(ask.Sender, true)
		if ask.Message == "/silence" {
			_, _ = io.WriteString(w, "[]")
			return
		}
		fmt.Fprintf(w, `[{"recipient_id":%q,"text":"one"},{"recipient_id":%[1]q,"text":"two"}]`, ask.Sender)
	}))
	defer vendor.Close()
	h := startHouse(t, exampleAt(t, "rasa.yaml", "http://127.0.0.1:5005", vendor.URL, "sqlite:"+t.TempDir()+"/chatmux.db"))
	begun := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200)
	if len(begun.Replies) != 2 || begun.Replies[0].Text != "one" || begun.Replies[1].Text != "two" {
		t.Errorf("the replies are %+v, want both", begun.Replies)
	}
	silent := read[turn](t, h.call("POST", "/v1/threads/"+begun.Thread.ID+"/messages", object{"text": "/silence"}), 200)
	if len(silent.Replies) != 0 || silent.Message.Status != "sent" {
		t.Errorf("silence is %+v", silent)
	}
	n := 0
	senders.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one thread had %d conversations", n)
	}
}
