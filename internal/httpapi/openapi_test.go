package httpapi

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"chatmux/normalize"
)

var errUndocumented = errors.New("neither path nor method stands in the document")

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	if _, err := document(); err != nil {
		t.Fatal(err)
	}
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var served, described []string
	for _, r := range newHarness(t, Options{}).api.Routes() {
		served = append(served, r.Method+" "+r.Path)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
}

// requests has one good request for every route.
var requests = map[string]struct{ path, body string }{
	"GET /v1/threads/{thread}/messages":                     {"/v1/threads/" + threadID + "/messages?limit=200&order=desc&include=raw", ""},
	"POST /v1/threads/{thread}/messages":                    {"/v1/threads/" + threadID + "/messages?include=raw", `{"text":"hello"}`},
	"POST /v1/messages":                                     {"/v1/messages", `{"text":"hello","user":{"id":"u"}}`},
	"GET /v1/threads/{thread}":                              {"/v1/threads/" + threadID + "?include=raw", ""},
	"PATCH /v1/threads/{thread}":                            {"/v1/threads/" + threadID, `{"title":"t"}`},
	"DELETE /v1/threads/{thread}":                           {"/v1/threads/" + threadID, ""},
	"GET /v1/threads":                                       {"/v1/threads?status=open", ""},
	"POST /v1/threads":                                      {"/v1/threads", `{}`},
	"GET /v1/threads/{thread}/messages/{message}":           {"/v1/threads/" + threadID + "/messages/" + messageID, ""},
	"POST /v1/threads/{thread}/messages/{message}/resend":   {"/v1/threads/" + threadID + "/messages/" + messageID + "/resend", ""},
	"POST /v1/threads/{thread}/messages/{message}/feedback": {"/v1/threads/" + threadID + "/messages/" + messageID + "/feedback", `{"feedback":"neutral"}`},
	"POST /v1/threads/{thread}/move":                        {"/v1/threads/" + threadID + "/move", `{"backend":"echo"}`},
	"POST /v1/routes/explain":                               {"/v1/routes/explain", `{"text":"hello"}`},
	"GET /v1/plan":                                          {"/v1/plan?from=docs-bot&to=echo&since=2026-03-04T10:15:31Z", ""},
	"GET /v1/export":                                        {"/v1/export?format=csv", ""},
	"GET /v1/webhooks/deliveries":                           {"/v1/webhooks/deliveries?status=dead&endpoint=crm&limit=2", ""},
	"POST /v1/webhooks/deliveries/{delivery}/redeliver":     {"/v1/webhooks/deliveries/" + deliveryID + "/redeliver", ""},
	"GET /v1/backends":                                      {"/v1/backends", ""},
	"GET /v1/backends/{backend}":                            {"/v1/backends/docs-bot", ""},
	"GET /v1/threads/{thread}/events":                       {threadPath + "/events", ""},
	"POST /hooks/{backend}/{secret}":                        {"/hooks/docs-bot/hook-secret", `{"event":"ADD_MESSAGE"}`},
	"GET /healthz":                                          {"/healthz?probe=1", ""},
	"GET /readyz":                                           {"/readyz", ""},
	"GET /openapi.json":                                     {"/openapi.json", ""},
	"GET /docs":                                             {"/docs", ""},
	"GET /docs/{file}":                                      {"/docs/page.css", ""},
	"GET /metrics":                                          {"/metrics", ""},
}

// fallible are the routes that ask the engine, and so can answer with its errors.
func fallible(route string) bool {
	return strings.Contains(route, "/v1/") && route != "GET /v1/backends" || strings.Contains(route, "/hooks/")
}

func TestEveryRouteAnswersAsTheDocumentSays(t *testing.T) {
	h := newHarness(t, Options{})
	for _, r := range h.api.Routes() {
		name := r.Method + " " + r.Path
		t.Run(name, func(t *testing.T) {
			h.t = t
			request, ok := requests[name]
			if !ok {
				t.Fatal("no request for this route in the table")
			}
			want := 200
			switch name {
			case "POST /v1/threads":
				want = 201
			case "POST /v1/webhooks/deliveries/{delivery}/redeliver":
				want = 202
			}
			got := h.do(r.Method, request.path, request.body).want(t, want, "")
			if r.Method == "GET" {
				head := h.do("HEAD", request.path, "").want(t, want, "")
				if len(head.body) > 0 {
					t.Errorf("HEAD has a body: %s", head.body)
				}
				if r.Path != "/metrics" && head.header.Get("Content-Length") != got.header.Get("Content-Length") {
					t.Errorf("HEAD says %s bytes, GET %s", head.header.Get("Content-Length"), got.header.Get("Content-Length"))
				}
			}
			for _, method := range []string{"PUT", "OPTIONS", "TRACE"} {
				a := h.do(method, request.path, "").want(t, 405, "method_not_allowed")
				if !strings.Contains(a.header.Get("Allow"), r.Method) {
					t.Errorf("Allow is %q", a.header.Get("Allow"))
				}
			}
			if !fallible(name) {
				return
			}
			for _, kind := range []normalize.Kind{normalize.KindInternal, normalize.KindStorageUnavailable} {
				h.engine.err = &normalize.Error{Kind: kind}
				h.do(r.Method, request.path, request.body).want(t, kind.Policy().Status, kind.Policy().Code)
				h.engine.err = nil
			}
		})
	}
}

func TestEveryKindOfFailureIsAProblemObjectThatTheDocumentHas(t *testing.T) {
	h := newHarness(t, Options{})
	for kind := normalize.KindInternal; kind <= normalize.KindDraining; kind++ {
		if kind == normalize.KindMethodNotAllowed { // is the door's own word, with Allow
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			h.t = t
			h.engine.err = &normalize.Error{
				Kind: kind, Backend: "docs-bot", MessageID: messageID, Outcome: normalize.OutcomeUnknown,
				Fields: []normalize.FieldError{{Field: "text", Detail: "no"}}, VendorStatus: 500, VendorCode: "x",
			}
			a := h.post("/v1/messages", `{"text":"x"}`).want(t, kind.Policy().Status, kind.Policy().Code)
			if p := a.problem(t); p.RequestID != a.header.Get("Chatmux-Request-Id") || p.Outcome != "unknown" || p.Retryable {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestTheConformanceCheckBites(t *testing.T) {
	h := newHarness(t, Options{})
	good := h.get("/v1/threads/" + threadID)
	u := &url.URL{Path: "/v1/threads/" + threadID}
	for name, spoil := range map[string]func(*answer){
		"a field is missing": func(a *answer) { a.body = []byte(strings.Replace(string(a.body), `"mode":"ai",`, "", 1)) },
		"a field is unknown": func(a *answer) { a.body = []byte(strings.Replace(string(a.body), `{"id"`, `{"x":1,"id"`, 1)) },
		"a type is wrong": func(a *answer) {
			a.body = []byte(strings.Replace(string(a.body), `"message_count":2`, `"message_count":"2"`, 1))
		},
		"the status is undocumented": func(a *answer) { a.status = 418 },
		"no request id":              func(a *answer) { a.header = a.header.Clone(); a.header.Del("Chatmux-Request-Id") },
		"the content type is wrong":  func(a *answer) { a.header = a.header.Clone(); a.header.Set("Content-Type", "text/plain") },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			spoil(&bad)
			if conforms("GET", u, bad) == nil {
				t.Error("it passed")
			}
		})
	}
}
