//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/normalize"
)

// TestAKilledServerGoesOnWaitingForAnAnswer kills a server that waits for an answer. The
// vendor answers meanwhile, and the next server finds it.
func TestAKilledServerGoesOnWaitingForAnAnswer(t *testing.T) {
	twin := conversationstwin.New(conversationstwin.Options{Key: normalize.NewSecret("k")})
	twin.Answer(conversationstwin.Answering{Silent: true})
	vendor := httptest.NewServer(twin)
	defer vendor.Close()
	dir := folder(t, fmt.Sprintf(`
listen: 127.0.0.1:0
store: sqlite:chatmux.db
backends:
  - name: desk
    adapter: conversations
    settings: {base_url: "%s/api", api_key: k, chatbot_id: %s, web_chat: %s, style: messages}
routes:
  - {name: default, to: desk}
`, vendor.URL, conversationstwin.DefaultChatbotID, conversationstwin.DefaultWebChatID))

	server := start(t, dir)
	url := server.listening()
	_, body, err := fetch("POST", url+"/v1/messages", `{"text":"hello"}`, "Prefer", "respond-async")
	var accepted struct {
		Thread  struct{ ID string }
		Message struct{ ID string }
	}
	if bad := json.Unmarshal([]byte(body), &accepted); err != nil || bad != nil {
		t.Fatalf("%v %v: %s", err, bad, body)
	}
	thread := "/v1/threads/" + accepted.Thread.ID
	eventually(t, url+thread+"/messages", func(_ int, body string) bool { return strings.Contains(body, `"status":"sent"`) })
	var of struct {
		Bindings []struct {
			RemoteID string `json:"remote_id"`
		}
	}
	if err := json.Unmarshal([]byte(mustFetch(t, 200, "GET", url+thread, "")), &of); err != nil || len(of.Bindings) != 1 {
		t.Fatalf("%v: %+v", err, of)
	}
	server.signal(syscall.SIGKILL)
	server.wait()

	if !twin.SayAsOperator(of.Bindings[0].RemoteID, "You were away.") {
		t.Fatal("the vendor has no such conversation")
	}
	url = start(t, dir).listening()
	eventually(t, url+thread+"/messages", func(_ int, body string) bool {
		return strings.Contains(body, `"text":"You were away."`) && strings.Contains(body, `"in_reply_to":"`+accepted.Message.ID+`"`) &&
			!strings.Contains(body, "unknown") && !strings.Contains(body, "pending")
	})
	mustFetch(t, 200, "PATCH", url+thread, `{"title":"The thread is free."}`)
}
