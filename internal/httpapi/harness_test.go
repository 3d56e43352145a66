package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"chatmux/internal/engine"
	"chatmux/internal/migration"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

func TestMain(m *testing.M) {
	for _, kind := range []string{"text/html", "text/css", "text/javascript", "text/csv", "application/x-ndjson", exportTypes["xlsx"], "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
	goleak.VerifyTestMain(m)
}

var (
	threadID   = normalize.FormatID(normalize.PrefixThread, [16]byte{1, 2, 3})
	messageID  = normalize.FormatID(normalize.PrefixMessage, [16]byte{4, 5, 6})
	replyID    = normalize.FormatID(normalize.PrefixMessage, [16]byte{7, 8, 9})
	deliveryID = normalize.FormatID(normalize.PrefixDelivery, [16]byte{10, 11, 12})
	noon       = time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)
)

// fakeEngine answers every call with a plain success, or as its functions say,
// and notes what it was asked.
type fakeEngine struct {
	mu    sync.Mutex
	asked []any

	err         error // what every call answers, where it is set
	onSend      func(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error)
	onResend    func(key *engine.Key) (engine.Turn, error)
	onEvents    engine.Tell
	retold      []normalize.Event
	onExport    func(ctx context.Context, w io.Writer) error
	thread      normalize.Thread
	message     normalize.Message
	next        string
	erased      []engine.Erasure
	states      []engine.BackendState
	explanation engine.Explanation
}

// What the engine was asked, each with the origin.
type (
	askedCreate struct {
		From engine.Origin
		New  engine.NewThread
	}
	askedThreads struct {
		From   engine.Origin
		Filter engine.ThreadFilter
		Page   engine.Page
	}
	askedThread struct {
		ID  string
		Raw bool
	}
	askedUpdate struct {
		ID    string
		Patch engine.ThreadPatch
	}
	askedDelete struct{ ID string }
	askedSend   struct {
		From engine.Origin
		Send engine.SendRequest
	}
	askedEvents struct{ thread, after string }
	askedResend struct {
		Thread, Message string
		Timeout         time.Duration
		Key             *engine.Key
	}
	askedMessages struct {
		Thread string
		Page   engine.Page
	}
	askedMessage struct {
		Thread, Message string
		Raw             bool
	}
	askedReceive  struct{ Backend, Token, Body string }
	askedFeedback struct {
		Thread, Message string
		Feedback        normalize.Feedback
	}
	askedMove       struct{ Thread, Backend, Carry string }
	askedDeliveries struct {
		Filter engine.DeliveryFilter
		Page   engine.Page
	}
	askedRedeliver struct{ ID string }
	askedExport    struct {
		From   engine.Origin
		Export engine.ExportRequest
	}
	askedPlan struct {
		From engine.Origin
		Plan engine.PlanRequest
	}
	askedExplain struct {
		From engine.Origin
		Send engine.SendRequest
	}
)

func newFakeEngine() *fakeEngine {
	yes := true
	return &fakeEngine{
		thread: normalize.Thread{
			ID: threadID, Backend: "docs-bot", Route: "default", Mode: normalize.ModeAI, Status: normalize.ThreadOpen,
			User: normalize.User{ID: "u-1"}, Tags: []normalize.Tag{{ID: "1", Name: "vip"}}, Assignees: []normalize.Assignee{{Name: "Kim"}},
			Metadata: map[string]string{"plan": "gold"}, Escalated: &yes, MessageCount: 2,
			Bindings:  []normalize.Binding{{Backend: "docs-bot", Vendor: "sitegpt", Since: noon, Reason: "routed"}},
			CreatedAt: noon, UpdatedAt: noon, Raw: json.RawMessage(`{"vendor":1}`),
		},
		message: normalize.Message{
			ID: messageID, ThreadID: threadID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: "hello", Status: normalize.StatusSent,
			Attachments: []normalize.Attachment{{ID: "a", Type: normalize.TypeImage, URL: "https://example.org/a.png"}},
			Sources:     []normalize.Source{{Title: "t"}}, Suggestions: []normalize.Suggestion{{Text: "s"}},
			Feedback: normalize.FeedbackPositive, CreatedAt: noon, Raw: json.RawMessage(`{"vendor":2}`),
		},
		next:   "abc",
		erased: []engine.Erasure{{Backend: "docs-bot", RemoteID: "r", Outcome: "not_possible"}},
		states: []engine.BackendState{
			{
				Name: "docs-bot", Adapter: "sitegpt", Stateful: true, Capabilities: []string{"stream"}, MaxInFlight: 64,
				Breaker: engine.BreakerState{State: "open", Since: noon, Cause: "timeout", ConsecutiveFailures: 5, Failures: 5, OpenUntil: noon}, CoolDownUntil: noon,
			},
			{Name: "echo", Adapter: "echo", Breaker: engine.BreakerState{State: "closed"}},
		},
		explanation: engine.Explanation{Route: "default", Backends: []string{"docs-bot"}, Reasons: []engine.RouteReason{{Route: "vip", Why: "no"}}},
	}
}

func (f *fakeEngine) note(what any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.err
}

// take gives what the engine was asked since the last take.
func (f *fakeEngine) take() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

func (f *fakeEngine) turn() engine.Turn {
	reply := f.message
	reply.ID, reply.Role, reply.Status, reply.InReplyTo, reply.Text = replyID, normalize.RoleAssistant, normalize.StatusComplete, messageID, "hello, too"
	return engine.Turn{Thread: f.thread, Message: f.message, Replies: []normalize.Message{reply}, Backend: "docs-bot", Route: f.thread.Route, Upstream: 3 * time.Millisecond}
}

func (f *fakeEngine) CreateThread(_ context.Context, from engine.Origin, thread engine.NewThread) (normalize.Thread, error) {
	return f.thread, f.note(askedCreate{from, thread})
}

func (f *fakeEngine) Threads(_ context.Context, from engine.Origin, filter engine.ThreadFilter, page engine.Page) ([]normalize.Thread, string, error) {
	return []normalize.Thread{f.thread}, f.next, f.note(askedThreads{from, filter, page})
}

func (f *fakeEngine) Thread(_ context.Context, _ engine.Origin, id string, raw bool) (normalize.Thread, error) {
	return f.thread, f.note(askedThread{id, raw})
}

func (f *fakeEngine) UpdateThread(_ context.Context, _ engine.Origin, id string, patch engine.ThreadPatch) (normalize.Thread, error) {
	return f.thread, f.note(askedUpdate{id, patch})
}

func (f *fakeEngine) DeleteThread(_ context.Context, _ engine.Origin, id string) ([]engine.Erasure, error) {
	return f.erased, f.note(askedDelete{id})
}

func (f *fakeEngine) Send(ctx context.Context, from engine.Origin, send engine.SendRequest) (engine.Turn, error) {
	err := f.note(askedSend{from, send})
	if f.onSend != nil {
		return f.onSend(ctx, from, send)
	}
	return f.turn(), err
}

func (f *fakeEngine) Resend(_ context.Context, _ engine.Origin, r engine.ResendRequest) (engine.Turn, error) {
	err := f.note(askedResend{r.ThreadID, r.MessageID, r.Timeout, r.Key})
	if f.onResend != nil {
		return f.onResend(r.Key)
	}
	return f.turn(), err
}

func (f *fakeEngine) Events(_ context.Context, _ engine.Origin, thread, after string) (engine.Tell, error) {
	if err := f.note(askedEvents{thread, after}); err != nil {
		return nil, err
	}
	if f.onEvents != nil {
		return f.onEvents, nil
	}
	return func(context.Context, func(normalize.Event) error) error { return nil }, nil
}

func (f *fakeEngine) Retell(_ context.Context, _ engine.Origin, thread, message string, emit func(normalize.Event) error) error {
	for _, e := range f.retold {
		if err := emit(e); err != nil {
			return err
		}
	}
	return f.note(askedMessage{thread, message, false})
}

func (f *fakeEngine) Messages(_ context.Context, _ engine.Origin, thread string, page engine.Page) ([]normalize.Message, string, error) {
	return []normalize.Message{f.message}, "", f.note(askedMessages{thread, page})
}

func (f *fakeEngine) Message(_ context.Context, _ engine.Origin, thread, message string, raw bool) (normalize.Message, error) {
	return f.message, f.note(askedMessage{thread, message, raw})
}

func (f *fakeEngine) SetFeedback(_ context.Context, _ engine.Origin, thread, message string, v normalize.Feedback) (normalize.Message, error) {
	return f.message, f.note(askedFeedback{thread, message, v})
}

func (f *fakeEngine) Move(_ context.Context, _ engine.Origin, thread, backend, carry string) (normalize.Thread, error) {
	return f.thread, f.note(askedMove{thread, backend, carry})
}

func (f *fakeEngine) Deliveries(_ context.Context, _ engine.Origin, filter engine.DeliveryFilter, page engine.Page) ([]engine.Delivery, string, error) {
	waiting, dead := f.delivery(), f.delivery()
	waiting.NextAt, dead.Status, dead.Response, dead.Failure, dead.MessageID = noon, "dead", 500, "no", ""
	return []engine.Delivery{waiting, dead}, f.next, f.note(askedDeliveries{filter, page})
}

func (f *fakeEngine) Redeliver(_ context.Context, _ engine.Origin, id string) (engine.Delivery, error) {
	return f.delivery(), f.note(askedRedeliver{id})
}

func (f *fakeEngine) delivery() engine.Delivery {
	return engine.Delivery{
		ID: deliveryID, Endpoint: "crm", Type: "reply.completed", ThreadID: threadID, MessageID: replyID, Status: "pending", Tries: 1, CreatedAt: noon, TriedAt: noon,
	}
}

func (f *fakeEngine) Backends() []engine.BackendState { return f.states }

func (f *fakeEngine) Backend(name string) (engine.BackendState, error) {
	for _, s := range f.states {
		if s.Name == name {
			return s, f.err
		}
	}
	return engine.BackendState{}, normalize.Errorf(normalize.KindNotFound, "no backend is named %q", name)
}

func (f *fakeEngine) Export(ctx context.Context, from engine.Origin, export engine.ExportRequest, w io.Writer) error {
	err := f.note(askedExport{from, export})
	switch {
	case err != nil:
	case f.onExport != nil:
		err = f.onExport(ctx, w)
	default:
		_, err = io.WriteString(w, "a line\n")
	}
	return err
}

func (f *fakeEngine) Plan(_ context.Context, from engine.Origin, plan engine.PlanRequest) (migration.Report, error) {
	survey := migration.NewSurvey(migration.Side{Name: plan.From, Capabilities: []string{}, Tells: []string{}}, migration.Side{Name: plan.To, Capabilities: []string{}, Tells: []string{}})
	return survey.Report(migration.Filter{Tenant: &from.Caller.Tenant}, time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)), f.note(askedPlan{from, plan})
}

func (f *fakeEngine) Explain(from engine.Origin, send engine.SendRequest) (engine.Explanation, error) {
	return f.explanation, f.note(askedExplain{from, send})
}

func (f *fakeEngine) Ready(context.Context) error { return f.err }

func (f *fakeEngine) OpensHook(backend, secret string) bool {
	return backend == "docs-bot" && secret == "hook-secret"
}

func (f *fakeEngine) Receive(_ context.Context, backend string, header http.Header, body []byte) error {
	return f.note(askedReceive{backend, header.Get("X-Webhook-Token"), string(body)})
}

// harness is an API behind a real server on loopback. Every answer that it gets
// is held against the OpenAPI document.
type harness struct {
	t      testing.TB
	engine *fakeEngine
	api    *API
	addr   string
	client *http.Client
	log    *observer.ObservedLogs
}

func newHarness(t testing.TB, o Options) *harness {
	t.Helper()
	core, log := observer.New(zap.DebugLevel)
	h := &harness{t: t, engine: newFakeEngine(), log: log}
	metrics := telemetry.New()
	if o.Metrics == nil {
		o.Metrics = metrics.Handler()
	}
	api, err := New(h.engine, o, zap.New(core), metrics)
	if err != nil {
		t.Fatal(err)
	}
	h.api = api
	server := httptest.NewUnstartedServer(api)
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	h.addr = server.Listener.Addr().String()
	h.client = server.Client()
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(server.Close)
	return h
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem reads the answer as a problem object.
func (a answer) problem(t testing.TB) (p struct {
	Status    int
	Code      string
	Detail    string
	RequestID string `json:"request_id"`
	Retryable bool
	Outcome   string
	Errors    []normalize.FieldError
},
) {
	t.Helper()
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("not a problem object: %v\n%d %s", err, a.status, a.body)
	}
	return p
}

// want checks status and code.
func (a answer) want(t testing.TB, status int, code string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d %s: %s", a.status, status, code, a.body)
	}
	if code == "" {
		return a
	}
	if p := a.problem(t); p.Code != code || p.Status != status {
		t.Fatalf("problem %d %s, want %d %s", p.Status, p.Code, status, code)
	}
	return a
}

// wantField checks that a 422 names a field.
func (a answer) wantField(t testing.TB, field string) answer {
	t.Helper()
	a.want(t, 422, "invalid_request")
	for _, e := range a.problem(t).Errors {
		if e.Field == field {
			return a
		}
	}
	t.Fatalf("no problem with %q in %s", field, a.body)
	return a
}

// do sends a request; headers come in pairs, and a body is JSON unless they say
// otherwise.
func (h *harness) do(method, path, body string, headers ...string) answer {
	h.t.Helper()
	req, err := http.NewRequest(method, "http://"+h.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Del(headers[i])
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	return h.answer(req.Method, req.URL, resp)
}

// answer reads a response to its end and holds it against the document.
func (h *harness) answer(method string, u *url.URL, resp *http.Response) answer {
	h.t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, body}
	if err := conforms(method, u, a); err != nil {
		h.t.Fatalf("%s %s: the answer is not as the OpenAPI document has it: %v\n%d %v\n%s", method, u.Path, err, a.status, a.header, a.body)
	}
	return a
}

func (h *harness) post(path, body string, headers ...string) answer {
	h.t.Helper()
	return h.do("POST", path, body, headers...)
}

func (h *harness) get(path string, headers ...string) answer {
	h.t.Helper()
	return h.do("GET", path, "", headers...)
}

// nothing checks that the engine was not asked.
func (h *harness) nothing() {
	h.t.Helper()
	if asked := h.engine.take(); len(asked) > 0 {
		h.t.Fatalf("the engine was asked: %+v", asked)
	}
}

var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

var pathVariable = regexp.MustCompile(`\\\{[a-z]+\\\}`)

// documented finds the path of the document that a request's path is.
func documented(doc *openapi3.T, u *url.URL) (string, *openapi3.PathItem) {
	for template, item := range doc.Paths.Map() {
		pattern := "^" + pathVariable.ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`) + "$"
		if ok, _ := regexp.MatchString(pattern, u.EscapedPath()); ok {
			return template, item
		}
	}
	return "", nil
}

// conforms reports in what an answer is not as the document has it. A path or a
// method that the document does not know has to get a problem object.
func conforms(method string, u *url.URL, a answer) error {
	doc, err := document()
	if err != nil {
		return err
	}
	template, item := documented(doc, u)
	known := method
	if method == http.MethodHead {
		known = http.MethodGet
	}
	var op *openapi3.Operation
	if item != nil {
		op = item.GetOperation(known)
	}
	if op == nil {
		code := "NotFound"
		if item != nil {
			code = "MethodNotAllowed"
		}
		op = &openapi3.Operation{Responses: openapi3.NewResponses(openapi3.WithStatus(a.status, doc.Components.Responses[code]))}
		if a.status != 404 && a.status != 405 {
			return errUndocumented
		}
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: &http.Request{Method: known, URL: u},
			Route:   &routers.Route{Spec: doc, Path: template, PathItem: item, Method: known, Operation: op},
		},
		Status:  a.status,
		Header:  a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: method == http.MethodHead},
	}
	input.Body = io.NopCloser(bytes.NewReader(a.body))
	return openapi3filter.ValidateResponse(context.Background(), input)
}
