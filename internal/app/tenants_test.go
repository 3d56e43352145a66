package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tenants is a config with two tenants and a caller that may use one route only.
const tenants = `
listen: 127.0.0.1:0
store: %s
limits: {drain: {delay: 0s, grace: 5s}}
callers:
  - {name: one, key: key-of-one-canary, tenant: first}
  - {name: two, key: key-of-two-canary, tenant: second}
  - {name: narrow, key: key-of-narrow-canary, tenant: first, routes: [docs]}
backends:
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, version: v2, api_key: k-sitegpt-canary, chatbot_id: "365062873485935184"}}
  - {name: helpdesk, adapter: conversations, settings: {base_url: sandbox, api_key: k-conversations-canary, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: echo, adapter: echo}
routes:
  - {name: docs, match: {metadata.kind: docs}, to: docs-bot}
  - {name: default, to: helpdesk}
`

var (
	asOne    = []string{"Authorization", "Bearer key-of-one-canary"}
	asTwo    = []string{"Authorization", "Bearer key-of-two-canary"}
	asNarrow = []string{"Authorization", "Bearer key-of-narrow-canary"}
)

// ofThreads says what a request to each endpoint below a thread looks like. A new
// endpoint fails the test until it stands here.
var ofThreads = map[string]any{
	"GET /v1/threads/{thread}":                              nil,
	"PATCH /v1/threads/{thread}":                            object{"title": "stolen"},
	"DELETE /v1/threads/{thread}":                           nil,
	"POST /v1/threads/{thread}/messages":                    object{"text": "stolen"},
	"GET /v1/threads/{thread}/messages":                     nil,
	"GET /v1/threads/{thread}/messages/{message}":           nil,
	"POST /v1/threads/{thread}/messages/{message}/resend":   nil,
	"POST /v1/threads/{thread}/messages/{message}/feedback": object{"feedback": "negative"},
	"GET /v1/threads/{thread}/events":                       nil,
	"POST /v1/threads/{thread}/move":                        object{"backend": "docs-bot", "carry": "none"},
}

// TestA03_another_tenants_objects_are_like_none asks every endpoint for the
// objects of another tenant, and for objects that never were: the answers differ
// in nothing but the request's id.
func TestA03_another_tenants_objects_are_like_none(t *testing.T) {
	onEachStore(t, testA03)
}

func testA03(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(tenants, newStore(t)))
	theirs := read[turn](t, h.call("POST", "/v1/messages", object{"text": "a secret"}, asOne...), 200)
	const absentThread, absentMessage = "thr_01m7zsj4wne5f8v6d3q2c1b0a9", "msg_01m7zsj4wne5f8v6d3q2c1b0a9"
	listed := 0
	for _, route := range h.app.Routes() {
		if !strings.Contains(route.Path, "{thread}") {
			continue
		}
		name := route.Method + " " + route.Path
		body, known := ofThreads[name]
		if !known {
			t.Errorf("%s is not in the matrix: say how it is asked", name)
			continue
		}
		listed++
		at := func(thread, message string) answer {
			return h.call(route.Method, strings.NewReplacer("{thread}", thread, "{message}", message).Replace(route.Path), body, asTwo...)
		}
		absent := at(absentThread, absentMessage)
		for _, a := range []answer{at(theirs.Thread.ID, theirs.Message.ID), at(theirs.Thread.ID, theirs.Replies[0].ID), at(absentThread, theirs.Message.ID)} {
			if a.status != http.StatusNotFound || withoutID(a) != withoutID(absent) {
				t.Errorf("%s: %d %s, want what an absent id gets: %s", name, a.status, a.body, absent.body)
			}
		}
	}
	if listed != len(ofThreads) {
		t.Errorf("%d endpoints were asked, %d are listed", listed, len(ofThreads))
	}
	if list := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil, asTwo...), 200); len(list.Data) != 0 {
		t.Errorf("the list of the other tenant holds %+v", list.Data)
	}
	if list := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads?q=secret", nil, asTwo...), 200); len(list.Data) != 0 {
		t.Errorf("a search of the other tenant finds %+v", list.Data)
	}
	if got := h.transcript(theirs.Thread.ID, asOne...); len(got) != 2 || got[0].Text != "a secret" || got[1].Feedback != "" {
		t.Errorf("the owner's transcript is %+v", got)
	}
}

func withoutID(a answer) string {
	return strings.ReplaceAll(string(a.body), a.header.Get("Chatmux-Request-Id"), "req")
}

func TestC13_a_cursor_of_another_tenant_or_list_is_refused(t *testing.T) {
	onEachStore(t, testC13)
}

func testC13(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(tenants, newStore(t)))
	for range 3 {
		read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}, asOne...), 200)
	}
	page := read[struct {
		NextCursor string `json:"next_cursor"`
	}](t, h.call("GET", "/v1/threads?limit=2", nil, asOne...), 200)
	if page.NextCursor == "" {
		t.Fatal("no cursor")
	}
	if n := len(read[struct{ Data []thread }](t, h.call("GET", "/v1/threads?limit=2&cursor="+page.NextCursor, nil, asOne...), 200).Data); n != 1 {
		t.Errorf("%d on the second page, want 1", n)
	}
	read[problem](t, h.call("GET", "/v1/threads?limit=2&cursor="+page.NextCursor, nil, asTwo...), 422)
	read[problem](t, h.call("GET", "/v1/threads?limit=2&status=open&cursor="+page.NextCursor, nil, asOne...), 422)
}

func TestA04_a_caller_stays_within_its_routes(t *testing.T) {
	onEachStore(t, testA04)
}

func testA04(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(tenants, newStore(t)))
	for what, a := range map[string]answer{
		"no route of its own matches":       h.call("POST", "/v1/messages", object{"text": "x"}, asNarrow...),
		"another route by name":             h.call("POST", "/v1/messages", object{"text": "x", "route": "default"}, asNarrow...),
		"a backend that no route leads to":  h.call("POST", "/v1/messages", object{"text": "x", "backend": "helpdesk"}, asNarrow...),
		"the same for an empty thread":      h.call("POST", "/v1/threads", object{"backend": "helpdesk"}, asNarrow...),
		"an explanation of another's route": h.call("POST", "/v1/routes/explain", object{"text": "x", "route": "default"}, asNarrow...),
	} {
		if p := read[problem](t, a, 403); p.Code != "forbidden" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	mine := read[turn](t, h.call("POST", "/v1/messages", object{"text": "x", "metadata": object{"kind": "docs"}}, asNarrow...), 200)
	if mine.Thread.Route != "docs" {
		t.Errorf("thread %+v", mine.Thread)
	}
	others := read[turn](t, h.call("POST", "/v1/messages", object{"text": "x"}, asOne...), 200)
	read[problem](t, h.call("POST", "/v1/threads/"+others.Thread.ID+"/messages", object{"text": "y"}, asNarrow...), 403)
	read[problem](t, h.call("POST", "/v1/threads/"+mine.Thread.ID+"/move", object{"backend": "helpdesk", "carry": "none"}, asNarrow...), 403)
}

func TestAThreadIsChangedSwitchedAndErasedAtItsVendorToo(t *testing.T) {
	onEachStore(t, testAThreadIsChangedSwitchedAndErasedAtItsVendorToo)
}

func testAThreadIsChangedSwitchedAndErasedAtItsVendorToo(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(tenants, newStore(t)))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "docs-bot", "thread_metadata": object{"a": "1", "b": "2"}}, asOne...), 200).Thread.ID
	path := "/v1/threads/" + id
	got := read[struct {
		thread
		Metadata map[string]string `json:"metadata"`
	}](t, h.call("PATCH", path, object{"title": "Shoes", "metadata": object{"a": nil, "c": "3"}, "mode": "human"}, asOne...), 200)
	if got.Title != "Shoes" || got.Mode != "human" || fmt.Sprint(got.Metadata) != "map[b:2 c:3]" {
		t.Errorf("thread %+v", got)
	}
	quiet := read[turn](t, h.call("POST", path+"/messages", object{"text": "is anybody there?"}, asOne...), 200)
	if len(quiet.Replies) != 0 || quiet.Message.Status != "sent" {
		t.Errorf("a human has the thread, and the bot says %+v", quiet.Replies)
	}
	read[thread](t, h.call("PATCH", path, object{"mode": "ai"}, asOne...), 200)
	talks := read[turn](t, h.call("POST", path+"/messages", object{"text": "and now?"}, asOne...), 200)
	if len(talks.Replies) != 1 {
		t.Fatalf("the bot is back, and says %+v", talks.Replies)
	}
	if m := read[message](t, h.call("POST", path+"/messages/"+talks.Replies[0].ID+"/feedback", object{"feedback": "positive"}, asOne...), 200); m.Feedback != "positive" {
		t.Errorf("message %+v", m)
	}
	read[problem](t, h.call("POST", path+"/messages/"+talks.Message.ID+"/feedback", object{"feedback": "positive"}, asOne...), 422)
	erased := read[struct {
		Deleted  bool
		Backends []struct {
			Backend  string `json:"backend"`
			RemoteID string `json:"remote_id"`
			Outcome  string `json:"outcome"`
		}
	}](t, h.call("DELETE", path, nil, asOne...), 200)
	if !erased.Deleted || len(erased.Backends) != 1 || erased.Backends[0].Outcome != "deleted" || erased.Backends[0].RemoteID == "" {
		t.Errorf("erased %+v", erased)
	}
	read[problem](t, h.call("GET", path, nil, asOne...), 404)
	if !strings.Contains(fmt.Sprint(h.deletes("docs-bot")), erased.Backends[0].RemoteID) {
		t.Error("the vendor was not asked to erase its copy")
	}
}

// deletes lists the paths that a twin was asked to delete.
func (h *house) deletes(backend string) (paths []string) {
	for _, e := range h.twin(backend).Ledger() {
		if e.Method == http.MethodDelete {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

func TestAModeThatTheBackendCannotSwitchIsUnsupported(t *testing.T) {
	onEachStore(t, testAModeThatTheBackendCannotSwitchIsUnsupported)
}

func testAModeThatTheBackendCannotSwitchIsUnsupported(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(tenants, newStore(t)))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "echo"}, asOne...), 200).Thread.ID
	for what, a := range map[string]answer{
		"patch":      h.call("PATCH", "/v1/threads/"+id, object{"mode": "human"}, asOne...),
		"create":     h.call("POST", "/v1/threads", object{"backend": "echo", "mode": "human"}, asOne...),
		"operator":   h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "x", "role": "operator"}, asOne...),
		"attachment": h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "x", "attachments": []object{{"type": "image", "url": "https://example.com/a.png"}}}, asOne...),
	} {
		if p := read[problem](t, a, 422); p.Code != "unsupported" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if got := read[thread](t, h.call("GET", "/v1/threads/"+id, nil, asOne...), 200); got.MessageCount != 2 || got.Mode != "ai" {
		t.Errorf("a refusal left its mark: %+v", got)
	}
}

func TestTwoHousesRunInOneProcess(t *testing.T) {
	one, two := startHouse(t, fmt.Sprintf(tenants, `"sqlite::memory:"`)), startHouse(t, fmt.Sprintf(tenants, `"sqlite::memory:"`))
	id := read[turn](t, one.call("POST", "/v1/messages", object{"text": "hello"}, asOne...), 200).Thread.ID
	read[problem](t, two.call("GET", "/v1/threads/"+id, nil, asOne...), 404)
}
