package alturtwin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters/altur/alturtwin"
	"chatmux/normalize"
)

const (
	agent   = alturtwin.DefaultAgentID
	nobody  = "0d3b2a0e-6c1b-4f0e-8d57-0a6a3f1f9c11" // a UUID v4 that names nothing
	version = "6ba7b810-9dad-11d1-80b4-00c04fd430c8" // a UUID, but of version 1
)

// client speaks plain HTTP to one twin.
type client struct {
	t    *testing.T
	base string
	auth string
	kind string // Content-Type
}

func start(t *testing.T, o alturtwin.Options) (*alturtwin.Twin, client) {
	t.Helper()
	twin := alturtwin.New(o)
	server := httptest.NewServer(twin)
	t.Cleanup(server.Close)
	return twin, client{t, server.URL + alturtwin.Path, "api-key " + alturtwin.DefaultKey, "application/json"}
}

// call makes one request; body "" sends none.
func (c client) call(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	status, text := c.raw(method, path, body)
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		c.t.Errorf("%s %s: not a JSON object: %s", method, path, text)
	}
	return status, answer
}

func (c client) raw(method, path, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	if body != "" && c.kind != "" {
		req.Header.Set("Content-Type", c.kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		c.t.Errorf("%s %s: Content-Type %q", method, path, got)
	}
	return resp.StatusCode, string(text)
}

func (c client) newUser() string {
	c.t.Helper()
	status, user := c.call("POST", "/enduser", `{"display_name": "Rosa", "info": "prefers Spanish"}`)
	if status != 200 {
		c.t.Fatalf("create an end user: %d %v", status, user)
	}
	return user["id"].(string)
}

// send writes the body by hand, as a client would.
func (c client) send(bot, user, text string) map[string]any {
	c.t.Helper()
	content, err := json.Marshal(text)
	if err != nil {
		c.t.Fatal(err)
	}
	status, answer := c.call("POST", "/message", fmt.Sprintf(`{%s, "end_user_id": %q, "content": %s}`, bot, user, content))
	if status != 200 {
		c.t.Fatalf("send: %d %v", status, answer)
	}
	return answer
}

const (
	asAgent   = `"agent_id": "` + agent + `"`
	asChatbot = `"chatbot_id": "` + agent + `"`
)

func clock() time.Time { return time.Date(2026, 3, 4, 10, 15, 28, 0, time.UTC) }

func TestAnswerHasTheShapeOfTheRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, request, bot, user string
		mixed                    bool
	}{
		{"current", asAgent, "agent", "end_user", false},
		{"oldest", asChatbot, "chatbot", "enduser", false},
		{"middle", asChatbot, "chatbot", "end_user", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, client := start(t, alturtwin.Options{MixedShape: c.mixed, Now: clock})
			user := client.newUser()
			got := client.send(c.request, user, "Is my order on its way?")
			id := got["thread"].(map[string]any)["id"].(string)
			thread := map[string]any{
				"id":          id,
				c.bot:         map[string]any{"id": agent, "name": "Sandbox agent"},
				c.user:        map[string]any{"id": user, "display_name": "Rosa", "integration_type": "api", "info": "prefers Spanish"},
				"integration": map[string]any{"id": "sandbox-api", "type": "api"},
				"updated_at":  "2026-03-04T10:15:28.001Z",
				"active":      true, "blocked": false, "tags": []any{}, "assigned_to": []any{},
			}
			sent := map[string]any{
				"thread_id": id, "type": "text", "sent_by": "EU", "sent_at": "2026-03-04T10:15:28.000Z", "read": true,
				"content": "Is my order on its way?",
			}
			reply := map[string]any{
				"thread_id": id, "type": "text", "sent_by": "AI", "sent_at": "2026-03-04T10:15:28.001Z", "read": false,
				"content": "You said: Is my order on its way?\n(turn 1; the first thing you said was: Is my order on its way?)",
			}
			want := map[string]any{"thread": thread, "messages": []any{reply}, "in_response_to": sent}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("send:\n%s", diff)
			}
			if _, read := client.call("GET", "/thread/"+id, ""); cmp.Diff(thread, read) != "" {
				t.Errorf("read:\n%s", cmp.Diff(thread, read))
			}
			_, text := client.raw("GET", "/message/"+id, "")
			var list []any
			if err := json.Unmarshal([]byte(text), &list); err != nil || cmp.Diff([]any{sent, reply}, list) != "" {
				t.Errorf("list: %v\n%s", err, cmp.Diff([]any{sent, reply}, list))
			}
		})
	}
}

func TestOneThreadForEachEndUser(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{})
	rosa, ana := c.newUser(), c.newUser()
	first := c.send(asAgent, rosa, "I am Rosa")
	c.send(asAgent, ana, "I am Ana")
	again := c.send(asChatbot, rosa, "who am I?")
	if a, b := threadOf(first), threadOf(again); a != b {
		t.Errorf("the same pair has threads %s and %s", a, b)
	}
	if got, want := contentOf(again), "You said: who am I?\n(turn 2; the first thing you said was: I am Rosa)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBotThatIsSwitchedOffSaysNothing(t *testing.T) {
	t.Parallel()
	twin, c := start(t, alturtwin.Options{})
	user := c.newUser()
	id := threadOf(c.send(asAgent, user, "hello"))
	if !twin.SetActive(id, false) || twin.SetActive("another", false) {
		t.Error("SetActive does not tell whether there is such a thread")
	}
	answer := c.send(asAgent, user, "anyone?")
	if diff := cmp.Diff([]any{}, answer["messages"]); diff != "" {
		t.Error(diff)
	}
	if answer["thread"].(map[string]any)["active"] != false {
		t.Error("the thread is shown as active")
	}
	twin.SetActive(id, true)
	want := "You said: and now?\n(turn 3; the first thing you said was: hello)"
	if got := contentOf(c.send(asAgent, user, "and now?")); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEndUserIsCreatedReadAndChanged(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{})
	id := c.newUser()
	want := map[string]any{"id": id, "display_name": "Rosa", "integration_type": "api", "info": "prefers Spanish"}
	if _, got := c.call("GET", "/enduser/"+id, ""); cmp.Diff(want, got) != "" {
		t.Error(cmp.Diff(want, got))
	}
	want["display_name"] = "Rosa María"
	if _, got := c.call("PUT", "/enduser/"+id, `{"display_name": "Rosa María"}`); cmp.Diff(want, got) != "" {
		t.Error(cmp.Diff(want, got))
	}
	c.send(asAgent, id, "hello")
	want["info"] = "VIP"
	if _, got := c.call("PUT", "/enduser/"+id, `{"info": "VIP"}`); cmp.Diff(want, got) != "" {
		t.Error(cmp.Diff(want, got))
	}
	if got := c.send(asAgent, id, "again")["thread"].(map[string]any)["end_user"]; cmp.Diff(any(want), got) != "" {
		t.Errorf("the thread shows the end user as before:\n%s", cmp.Diff(any(want), got))
	}
	if status, got := c.call("POST", "/enduser", `{}`); status != 200 || got["display_name"] != "" {
		t.Errorf("no field is required: %d %v", status, got)
	}
}

func TestTextIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{})
	for name, text := range map[string]string{
		"64 KiB":             strings.Repeat("0123456789abcdef", 4096),
		"64 Ki astral runes": strings.Repeat("📦", 65536),
		"right-to-left":      "שלום \u202eمرحبا\u202c",
		"markup and quotes":  "<b>&amp;</b> \"x\" \\ \t\r\n",
		"spaces":             "  \n x \n ",
	} {
		answer := c.send(asAgent, c.newUser(), text)
		if answer["in_response_to"].(map[string]any)["content"] != text {
			t.Errorf("%s: stored otherwise", name)
		}
		if !strings.HasPrefix(contentOf(answer), "You said: "+text+"\n(turn 1;") {
			t.Errorf("%s: answered otherwise", name)
		}
	}
}

func TestStrictness(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{})
	user := c.newUser()
	id := threadOf(c.send(asAgent, user, "hello"))
	ok := fmt.Sprintf(`{%s, "end_user_id": %q, "content": "hi"}`, asAgent, user)
	type request struct {
		name, method, path, body string
		change                   func(*client)
		status                   int
	}
	requests := []request{
		{"no key", "POST", "/message", ok, func(c *client) { c.auth = "" }, 401},
		{"another key", "POST", "/message", ok, func(c *client) { c.auth = "api-key x" }, 401},
		{"the key alone", "POST", "/message", ok, func(c *client) { c.auth = alturtwin.DefaultKey }, 401},
		{"another scheme", "POST", "/message", ok, func(c *client) { c.auth = "Bearer " + alturtwin.DefaultKey }, 401},
		{"no key to read", "GET", "/thread/" + id, "", func(c *client) { c.auth = "" }, 401},
		{"no content type", "POST", "/message", ok, func(c *client) { c.kind = "" }, 400},
		{"a form", "POST", "/message", ok, func(c *client) { c.kind = "application/x-www-form-urlencoded" }, 400},
		{"content type with charset", "POST", "/message", ok, func(c *client) { c.kind = "application/json; charset=utf-8" }, 200},
		{"trailing slash", "POST", "/message/", ok, nil, 404},
		{"wrong method", "GET", "/message", "", nil, 404},
		{"unknown path", "GET", "/threads", "", nil, 404},
		{"no delete", "DELETE", "/thread/" + id, "", nil, 404},
		{"thread unknown to read", "GET", "/thread/" + nobody, "", nil, 400},
		{"thread unknown to list", "GET", "/message/" + nobody, "", nil, 404},
		{"end user unknown", "GET", "/enduser/" + nobody, "", nil, 404},
		{"end user unknown to change", "PUT", "/enduser/" + nobody, `{"info": "x"}`, nil, 404},
		{"end user id not a UUID", "GET", "/enduser/rosa", "", nil, 400},
		{"unknown field of an end user", "POST", "/enduser", `{"name": "Rosa"}`, nil, 400},
		{"unknown field of a change", "PUT", "/enduser/" + user, `{"name": "Rosa"}`, nil, 400},
		{"null for a name", "POST", "/enduser", `{"display_name": null}`, nil, 400},
	}
	for name, body := range map[string]string{
		"no JSON":               `agent_id=x`,
		"an array":              `[]`,
		"null":                  `null`,
		"two objects":           ok + ok,
		"cut":                   ok[:20],
		"invalid UTF-8":         strings.Replace(ok, "hi", "h\xff", 1),
		"too large":             strings.Replace(ok, "hi", strings.Repeat("x", 1<<20), 1),
		"unknown field":         strings.Replace(ok, "{", `{"stream": true, `, 1),
		"both names":            strings.Replace(ok, "{", "{"+asChatbot+", ", 1),
		"neither name":          fmt.Sprintf(`{"end_user_id": %q, "content": "hi"}`, user),
		"no end user":           `{` + asAgent + `, "content": "hi"}`,
		"no content":            fmt.Sprintf(`{%s, "end_user_id": %q}`, asAgent, user),
		"empty content":         strings.Replace(ok, `"hi"`, `""`, 1),
		"null content":          strings.Replace(ok, `"hi"`, `null`, 1),
		"number for content":    strings.Replace(ok, `"hi"`, `42`, 1),
		"object for content":    strings.Replace(ok, `"hi"`, `{"text": "hi"}`, 1),
		"agent id not a UUID":   strings.Replace(ok, agent, "agent-1", 1),
		"agent id of version 1": strings.Replace(ok, agent, version, 1),
		"agent id in braces":    strings.Replace(ok, agent, "{"+nobody+"}", 1),
		"end user not a UUID":   strings.Replace(ok, user, "rosa", 1),
		"end user of version 1": strings.Replace(ok, user, version, 1),
	} {
		requests = append(requests, request{name, "POST", "/message", body, nil, 400})
	}
	for name, body := range map[string]string{
		"agent unknown to send":    strings.Replace(ok, agent, nobody, 1),
		"end user unknown to send": strings.Replace(ok, user, nobody, 1),
	} {
		requests = append(requests, request{name, "POST", "/message", body, nil, 404})
	}
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			c := c
			c.t = t
			if r.change != nil {
				r.change(&c)
			}
			status, answer := c.call(r.method, r.path, r.body)
			if status != r.status {
				t.Fatalf("status %d, want %d: %v", status, r.status, answer)
			}
			if status != 200 && (answer["error"] != float64(status) || answer["message"] == "" || len(answer) != 2) {
				t.Errorf("not an error as the vendor writes it: %v", answer)
			}
		})
	}
}

func TestConfiguredKeyAndAgentAreTheOnlyOnes(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{Key: normalize.NewSecret("k-1"), AgentID: "agent-1"})
	if status, _ := c.call("POST", "/enduser", `{}`); status != 401 {
		t.Errorf("the default key: %d", status)
	}
	c.auth = "api-key k-1"
	c.send(`"agent_id": "agent-1"`, c.newUser(), "an id that is no UUID is taken where it was configured")
	if status, _ := c.call("POST", "/message", fmt.Sprintf(`{%s, "end_user_id": %q, "content": "hi"}`, asAgent, c.newUser())); status != 404 {
		t.Errorf("the default agent: %d", status)
	}
}

func TestConcurrentSendsToOneThreadAreAllKept(t *testing.T) {
	t.Parallel()
	_, c := start(t, alturtwin.Options{Now: clock})
	user := c.newUser()
	id := threadOf(c.send(asAgent, user, "first"))
	const senders = 32
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			c.raw("POST", "/message", fmt.Sprintf(`{%s, "end_user_id": %q, "content": "text %d"}`, asAgent, user, i))
		})
	}
	wg.Wait()
	_, text := c.raw("GET", "/message/"+id, "")
	var list []struct {
		Content string `json:"content"`
		SentAt  string `json:"sent_at"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2*(senders+1) {
		t.Errorf("%d messages, want %d", len(list), 2*(senders+1))
	}
	for i := 1; i < len(list); i++ {
		if list[i].SentAt <= list[i-1].SentAt {
			t.Errorf("message %d is not later than the one before it", i)
		}
		if i%2 == 1 && !strings.HasPrefix(list[i].Content, "You said: "+list[i-1].Content+"\n") {
			t.Errorf("message %d does not answer the one before it", i)
		}
	}
}

func threadOf(answer map[string]any) string {
	return answer["thread"].(map[string]any)["id"].(string)
}

func contentOf(answer map[string]any) string {
	return answer["messages"].([]any)[0].(map[string]any)["content"].(string)
}
