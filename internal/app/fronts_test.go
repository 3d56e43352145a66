package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"chatmux/adapters/adaptertest"
	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
)

// The bots of the twins.
const (
	alturBot   = "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
	sitegptBot = "365062873485935184"
)

// fronts is a config with every vendor behind: the caller says which of them answers,
// so that a vendor's documented calls can be made as they stand. Two callers are of
// another tenant.
const fronts = `
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
callers:
  - {name: altur, key: key-altur, tenant: shop}
  - {name: sitegpt-v0, key: key-sitegpt-v0, tenant: shop}
  - {name: sitegpt-v2, key: key-sitegpt-v2, tenant: shop}
  - {name: platform, key: key-platform, tenant: shop}
  - {name: own-llm, key: key-own-llm, tenant: shop}
  - {name: echo, key: key-echo, tenant: shop}
  - {name: other-altur, key: key-other-altur, tenant: other}
  - {name: other-sitegpt, key: key-other-sitegpt, tenant: other}
backends:
  - {name: altur, adapter: altur, settings: {base_url: sandbox, api_key: k-altur, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30}}
  - {name: sitegpt-v0, adapter: sitegpt, settings: {base_url: sandbox, version: v0, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: sitegpt-v2, adapter: sitegpt, settings: {base_url: sandbox, version: v2, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: platform, adapter: conversations, settings: {base_url: sandbox, api_key: k-conversations, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: own-llm, adapter: openai, settings: {base_url: sandbox, api_key: k-openai, model: m}}
  - {name: echo, adapter: echo}
routes:
  - {name: to-altur, match: {caller: [altur, other-altur]}, to: altur}
  - {name: to-sitegpt-v0, match: {caller: [sitegpt-v0, other-sitegpt]}, to: sitegpt-v0}
  - {name: to-sitegpt-v2, match: {caller: sitegpt-v2}, to: sitegpt-v2}
  - {name: to-platform, match: {caller: platform}, to: platform}
  - {name: to-own-llm, match: {caller: own-llm}, to: own-llm}
  - {name: default, to: echo}
`

// frontBackends are its backends, each with a caller of its name.
var frontBackends = []string{"altur", "sitegpt-v0", "sitegpt-v2", "platform", "own-llm", "echo"}

// has checks what stands at a path of an answer.
func has(path string, want any) func(*testing.T, any) {
	return func(t *testing.T, answer any) {
		t.Helper()
		if got := fmt.Sprint(adaptertest.At(answer, path)); got != fmt.Sprint(want) {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// each makes all of the checks.
func each(checks ...func(*testing.T, any)) func(*testing.T, any) {
	return func(t *testing.T, answer any) {
		t.Helper()
		for _, check := range checks {
			check(t, answer)
		}
	}
}

// length checks how long a list is.
func length(path string, want int) func(*testing.T, any) {
	return func(t *testing.T, answer any) {
		t.Helper()
		if path != "" {
			answer = adaptertest.At(answer, path)
		}
		if list, ok := answer.([]any); !ok || len(list) != want {
			t.Errorf("%s is %v, want %d items", path, answer, want)
		}
	}
}

func stampOf(fraction int) adaptertest.Shape {
	return adaptertest.Match("a time", fmt.Sprintf(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{%d}Z`, fraction))
}

// keyed is a client of a running house with a key in its vendor's form.
func (h *house) keyed(scheme, caller string) adaptertest.Front {
	return adaptertest.Front{URL: h.url, Header: http.Header{"Authorization": {scheme + "key-" + caller}}}
}

// ownThreads counts the threads that a caller's tenant has.
func (h *house) ownThreads(caller string) int {
	h.t.Helper()
	return len(read[struct{ Data []thread }](h.t, h.call("GET", "/v1/threads?limit=200", nil, "Authorization", "Bearer key-"+caller), 200).Data)
}

// refused checks that a call is answered with a status and a text in its body.
func (h *house) refused(method, path string, body any, status int, text string, headers ...string) {
	h.t.Helper()
	a := h.call(method, path, body, headers...)
	if a.status != status || !strings.Contains(string(a.body), text) {
		h.t.Errorf("%s %s: %d %s, want %d with %s", method, path, a.status, a.body, status, text)
	}
}

func TestADialectThatARouteMayNameIsServed(t *testing.T) {
	names := app.Dialects(all.Adapters())
	if want := []string{"altur", "sitegpt", "conversations", "openai"}; !slices.Equal(names, want) {
		t.Errorf("dialects %v, want %v", names, want)
	}
	h := startHouse(t, fmt.Sprintf(fronts, `"sqlite::memory:"`))
	for _, name := range names {
		if a := h.call("GET", "/"+name+"/nothing", nil); a.status != 404 || a.header.Get("Content-Type") == "application/problem+json" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		c := "listen: 127.0.0.1:0\nstore: \"sqlite::memory:\"\nbackends: [{name: echo, adapter: echo}]\nroutes: [{name: a, match: {dialect: %s}, to: echo}, {name: default, to: echo}]\n"
		options := config.Options{Settings: app.Settings(all.Adapters()), Dialects: names}
		if _, err := config.Parse("config.yaml", fmt.Appendf(nil, c, name), options); err != nil {
			t.Error(err)
		}
		if _, err := config.Parse("config.yaml", fmt.Appendf(nil, c, "echo"), options); err == nil {
			t.Error("a route may name a dialect that nobody serves")
		}
	}
}

func TestATextThatIsRefusedIsCalledAsItsClientCallsIt(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(fronts, `"sqlite::memory:"`))
	long := strings.Repeat("x", 65537)
	for _, one := range []struct {
		path, auth string
		body       object
		want       string
	}{
		{
			"/altur/api/v1.0/message", "api-key key-echo",
			object{"agent_id": "a", "end_user_id": "b", "content": long},
			`{"error":400,"message":"content must have at most 65536 characters"}`,
		},
		{
			botV0 + "/message", "Bearer key-echo", object{"message": long}, `{"success":false,"message":"Failed to process the request","data":null,` +
				`"error":{"code":"REQUEST_VALIDATION_FAILED","message":"The request is not valid","details":[{"field":"message","message":"must have at most 65536 characters"}]}}`,
		},
		{
			"/conversations/api/chatbots/b/completions/", "Api-Key key-echo",
			object{"message": object{"content": long}},
			`{"message":{"content":["must have at most 65536 characters"]}}`,
		},
		{
			"/openai/v1/chat/completions", "Bearer key-echo",
			object{"model": "echo", "messages": []object{{"role": "user", "content": long}}},
			`{"error":{"message":"messages[0].content: must have at most 65536 characters","type":"invalid_request_error","param":"messages[0].content","code":"invalid_request"}}`,
		},
		{
			"/openai/v1/chat/completions", "Bearer key-echo",
			object{"model": "echo", "user": strings.Repeat("x", 513), "messages": []object{{"role": "user", "content": "x"}}},
			`{"error":{"message":"user: must have at most 512 characters","type":"invalid_request_error","param":"user","code":"invalid_request"}}`,
		},
	} {
		if a := h.call("POST", one.path, one.body, "Authorization", one.auth); a.status != 400 || string(a.body) != one.want {
			t.Errorf("%s: %d %s", one.path, a.status, a.body)
		}
	}
	made := botV0 + "/threads"
	h.refused("POST", made, object{"threadId": "own"}, 200, `"own"`, "Authorization", "Bearer key-echo")
	h.refused("PATCH", made+"/own", object{"chatUser": object{"phoneNumber": strings.Repeat("x", 513)}}, 400,
		`"details":[{"field":"chatUser.phoneNumber","message":"must have at most 512 characters"}]`, "Authorization", "Bearer key-echo")
}
