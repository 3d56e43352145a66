package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// toldBy is a server that answers every message with these events.
func toldBy(t *testing.T, events string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.URL.Path != "/v1/messages" || !strings.Contains(string(body), `"stream":true`) {
			t.Errorf("%s %s", r.URL.Path, body)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Chatmux-Backend", "desk")
		_, _ = io.WriteString(w, events)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func event(name, data string) string {
	return fmt.Sprintf("id: 1\nevent: %s\ndata: %s\n\n", name, data)
}

var (
	begun   = event("message", `{"thread":{"id":"thr_1","backend":null},"message":{}}`)
	ended   = event("done", `{"thread":{"id":"thr_1","backend":"desk"},"message":{},"replies":["m1"]}`)
	piece   = event("delta", `{"message_id":"m1","text":"Hel"}`)
	another = event("delta", `{"message_id":"m1","text":"lo: \n😀"}`)
	reply   = event("reply", `{"id":"m1","role":"assistant","text":"Hello: \n😀","backend":"desk","attachments":[{"type":"image","url":"u"}]}`)
)

func TestChatShowsAnAnswerAsItIsTold(t *testing.T) {
	for name, c := range map[string]struct{ events, shown, complaint string }{
		"whole":      {begun + ": hb\n\n" + piece + ": hb\n\n" + another + reply + ended, "desk: Hello: \n😀\n[image u]\n", ""},
		"one piece":  {begun + reply + ended, "desk: Hello: \n😀\n[image u]\n", ""},
		"nothing":    {begun + event("done", `{"thread":{"id":"thr_1"},"message":{},"replies":[]}`), "", ""},
		"new events": {begun + event("later", `[1]`) + piece + another + reply + ended, "desk: Hello: \n😀\n[image u]\n", ""},
		"two replies": {
			begun + piece + event("delta", `{"message_id":"m2","text":"x"}`) + event("reply", `{"id":"m2","role":"operator","text":"x"}`) + ended,
			"desk: Hel\ndesk: x\n", "",
		},
		"failed": {
			begun + piece + event("error", `{"status":502,"code":"backend_truncated","detail":"the answer was cut","outcome":"done"}`),
			"desk: Hel\n", "the answer was cut (backend_truncated)",
		},
		"no end":      {begun + piece + another, "desk: Hello: \n😀\n", "not complete"},
		"half an end": {begun + piece + strings.TrimSuffix(ended, "\n"), "desk: Hel\n", "not complete"},
		"nothing yet": {begun, "", "not complete"},
	} {
		t.Run(name, func(t *testing.T) {
			got := runHere(t, t.TempDir(), "hello\n", "chat", "--server", toldBy(t, c.events))
			if got.stdout != c.shown {
				t.Errorf("shown: %q, want %q", got.stdout, c.shown)
			}
			if c.complaint == "" != (got.status == 0) || !strings.Contains(got.stderr, c.complaint) {
				t.Errorf("status %d: %s", got.status, got.stderr)
			}
		})
	}
}

func TestChatShowsEachPieceWhenItComes(t *testing.T) {
	shown := newOutput()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Chatmux-Backend", "desk")
		flush := http.NewResponseController(w)
		_, _ = io.WriteString(w, begun+piece)
		_ = flush.Flush()
		shown.await(t, "the first piece", func(all string) bool { return strings.Contains(all, "desk: Hel") })
		_, _ = io.WriteString(w, another+reply+ended)
	}))
	defer server.Close()
	root := newRoot()
	root.SetArgs([]string{"chat", "--server", server.URL})
	root.SetIn(strings.NewReader("hello\n"))
	root.SetOut(shown)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, _ := shown.state(); all != "desk: Hello: \n😀\n[image u]\n" {
		t.Errorf("shown: %q", all)
	}
}
