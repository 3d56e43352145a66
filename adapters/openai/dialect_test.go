package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// desk is a house with the threads and answers that a test gives it. What a test does
// not expect to be asked panics.
type desk struct {
	adapters.Desk
	body     string
	model    string
	records  map[string][]byte
	messages map[string][]normalize.Message
	events   []normalize.Event
	replies  []normalize.Message
	failure  error
	sent     []adapters.SendRequest
}

func (d *desk) Var(string) string { return d.model }

func (d *desk) Body() ([]byte, error) { return []byte(d.body), nil }

func (d *desk) Choices() (routes, backends []string) {
	return []string{"default", "docs"}, []string{"helpdesk", "docs"}
}

func (d *desk) Find(_ context.Context, _, id string) (normalize.Thread, error) {
	if d.messages[id] == nil {
		return normalize.Thread{}, &normalize.Error{Kind: normalize.KindNotFound}
	}
	return normalize.Thread{ID: id}, nil
}

func (d *desk) Messages(_ context.Context, id string, q adapters.MessageQuery) ([]normalize.Message, int, error) {
	if d.messages[id] == nil {
		return nil, 0, &normalize.Error{Kind: normalize.KindNotFound}
	}
	list := slices.Clone(d.messages[id])
	slices.Reverse(list)
	return list[:min(q.Limit, len(list))], len(list), nil
}

func (d *desk) Record(_ context.Context, name, _ string, value []byte, _ bool) ([]byte, error) {
	d.records[name] = value
	return value, nil
}

func (d *desk) Recall(_ context.Context, name string) ([]byte, error) { return d.records[name], nil }

// Send answers in the thread that was asked for, else in a new one.
func (d *desk) Send(_ context.Context, r adapters.SendRequest) (adapters.SendAnswer, error) {
	d.sent = append(d.sent, r)
	if d.failure != nil {
		return adapters.SendAnswer{}, d.failure
	}
	id := r.ThreadID
	if id == "" {
		id = fmt.Sprintf("thr_%d", len(d.messages)+1)
	}
	m := normalize.Message{
		ID: fmt.Sprintf("msg_%d", len(d.sent)), Role: normalize.RoleUser, Text: r.Text, Status: normalize.StatusSent, CreatedAt: time.Unix(1772582400, 0),
	}
	d.messages[id] = append(d.messages[id], m)
	return adapters.SendAnswer{Thread: normalize.Thread{ID: id}, Message: m, Replies: d.replies}, nil
}

func (d *desk) Stream(_ context.Context, r adapters.SendRequest, emit func(normalize.Event) error) error {
	d.sent = append(d.sent, r)
	for _, e := range d.events {
		if err := emit(e); err != nil {
			return err
		}
	}
	return d.failure
}

func newDesk(replies ...normalize.Message) *desk {
	return &desk{records: map[string][]byte{}, messages: map[string][]normalize.Message{}, replies: replies}
}

// serve asks an endpoint of the dialect, as the house does. cut reports that the
// connection was broken off.
func serve(t *testing.T, method, path string, d *desk, headers ...string) (w *httptest.ResponseRecorder, cut bool) {
	t.Helper()
	served := dialect()
	i := slices.IndexFunc(served.Endpoints, func(e adapters.Endpoint) bool { return e.Method == method && e.Path == path })
	if i < 0 {
		t.Fatalf("no %s %s", method, path)
	}
	w = httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, "/openai"+path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	defer func() {
		if v := recover(); v != nil {
			err, _ := v.(error)
			if cut = errors.Is(err, http.ErrAbortHandler); !cut {
				panic(v)
			}
		}
	}()
	if err := served.Endpoints[i].Serve(w, r, d); err != nil {
		served.Fail(w, r, "req_1", normalize.AsError(err))
	}
	return w, false
}

const completions = "/v1/chat/completions"

// complete sends messages, written as role: text, and gives the thread of the answer.
func complete(t *testing.T, d *desk, more string, messages ...string) (thread string) {
	t.Helper()
	b := []byte(`{"model":"helpdesk"` + more + `,"messages":[`)
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		role, text, _ := strings.Cut(m, ": ")
		b = appendMessage(b, role, text)
	}
	d.body = string(append(b, "]}"...))
	w, _ := serve(t, "POST", completions, d)
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", d.body, w.Code, w.Body)
	}
	return w.Header().Get(threadHeader)
}

func TestAClientThatGoesOnWhereItWasFindsItsThread(t *testing.T) {
	d := newDesk(normalize.Message{ID: "r", Text: " At nine.\n"})
	first := complete(t, d, "", "system: It is ten.", "user: When do you open?")
	for what, c := range map[string]struct {
		more     string
		messages []string
		want     bool
	}{
		"the same":                       {"", []string{"user: When do you open?", "assistant:  At nine.\n", "user: And on Sunday?"}, true},
		"other instructions":             {"", []string{"developer: It is eleven.", "user: When do you open?", "assistant: At nine.", "user: x", "system: y"}, true},
		"an answer that was changed":     {"", []string{"user: When do you open?", "assistant: At ten.", "user: And on Sunday?"}, false},
		"a question that was changed":    {"", []string{"user: When do you close?", "assistant: At nine.", "user: And on Sunday?"}, false},
		"another user":                   {`,"user":"rosa"`, []string{"user: When do you open?", "assistant: At nine.", "user: And on Sunday?"}, false},
		"another order":                  {"", []string{"assistant: At nine.", "user: When do you open?", "user: And on Sunday?"}, false},
		"what a tool said in between":    {"", []string{"user: When do you open?", "tool: x", "assistant: At nine.", "user: And on Sunday?"}, false},
		"a message without text between": {"", []string{"user: When do you open?", "assistant: ", "assistant: At nine.", "user: And on Sunday?"}, true},
		"all over again":                 {"", []string{"user: When do you open?"}, false},
	} {
		copied := *d
		copied.messages = map[string][]normalize.Message{first: slices.Clone(d.messages[first])}
		copied.records = map[string][]byte{}
		for name, value := range d.records {
			copied.records[name] = value
		}
		if got := complete(t, &copied, c.more, c.messages...); (got == first) != c.want {
			t.Errorf("%s: thread %s, the first one was %s", what, got, first)
		}
	}
}

func TestAThreadThatWentOnIsNotGoneOnWithFromItsPast(t *testing.T) {
	point := []string{"user: Hello.", "assistant: Hi.", "user: Where is my parcel?"}
	for what, c := range map[string]struct {
		since normalize.Message
		want  bool
	}{
		"somebody said something":          {normalize.Message{Role: normalize.RoleUser, Status: normalize.StatusSent}, false},
		"somebody may have said something": {normalize.Message{Role: normalize.RoleUser, Status: normalize.StatusUnknown}, false},
		"what was said reached nobody":     {normalize.Message{Role: normalize.RoleUser, Status: normalize.StatusFailed}, true},
		"a human added something":          {normalize.Message{Role: normalize.RoleOperator, Status: normalize.StatusComplete}, true},
		"the bot added something":          {normalize.Message{Role: normalize.RoleAssistant, Status: normalize.StatusComplete}, true},
	} {
		d := newDesk(normalize.Message{ID: "r", Text: "Hi."})
		first := complete(t, d, "", point[:1]...)
		c.since.ID = "since"
		d.messages[first] = append(d.messages[first], c.since)
		got := complete(t, d, "", point...)
		if (got == first) != c.want {
			t.Errorf("%s: thread %s, the first one was %s", what, got, first)
		}
		if earlier := d.sent[1].Earlier; !c.want && (len(earlier) != 2 || earlier[0].Text != "Hello." || earlier[1].Role != normalize.RoleAssistant) {
			t.Errorf("%s: the new thread begins with %+v", what, earlier)
		}
	}
	d := newDesk(normalize.Message{ID: "r", Text: "Hi."})
	first := complete(t, d, "", point[:1]...)
	delete(d.messages, first)
	if complete(t, d, "", point...); d.sent[1].ThreadID != "" {
		t.Error("a thread that was erased is gone on with")
	}
}

func TestWhatCannotBeKeptIsRefusedWithItsParameter(t *testing.T) {
	const ok = `"model":"helpdesk","messages":[{"role":"user","content":"hi"}]`
	for _, test := range []struct{ body, code, param string }{
		{`[]`, "invalid_type", ""},
		{`{"messages":[]}`, "missing_required_parameter", "model"},
		{`{"model":7}`, "invalid_type", "model"},
		{`{"model":"helpdesk"}`, "missing_required_parameter", "messages"},
		{`{"model":"helpdesk","messages":{}}`, "invalid_type", "messages"},
		{`{"model":"helpdesk","messages":[]}`, "invalid_value", "messages"},
		{`{"model":"helpdesk","messages":[7]}`, "invalid_type", "messages[0]"},
		{`{"model":"helpdesk","messages":[{"role":"boss","content":"hi"}]}`, "invalid_value", "messages[0].role"},
		{`{"model":"helpdesk","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"It"}]}`, "invalid_value", "messages"},
		{`{"model":"helpdesk","messages":[{"role":"user","content":7}]}`, "invalid_type", "messages[0].content"},
		{`{"model":"helpdesk","messages":[{"role":"user"}]}`, "invalid_type", "messages[0].content"},
		{`{"model":"helpdesk","messages":[{"role":"system","content":"x"},{"role":"user","content":""}]}`, "invalid_value", "messages[1].content"},
		{`{"model":"helpdesk","messages":[{"role":"user","content":[{"type":"input_audio"}]}]}`, "unsupported_value", "messages[0].content[0].type"},
		{`{"model":"helpdesk","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}`, "invalid_type", "messages[0].content[0].text"},
		{
			`{"model":"helpdesk","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}`,
			"unsupported_value", "messages[0].content[0].image_url.url",
		},
		{`{` + ok + `,"stream":"yes"}`, "invalid_type", "stream"},
		{`{` + ok + `,"user":7}`, "invalid_type", "user"},
		{`{` + ok + `,"n":2}`, "unsupported_value", "n"},
		{`{` + ok + `,"tools":[{"type":"function"}]}`, "unsupported_parameter", "tools"},
		{`{` + ok + `,"functions":[{}]}`, "unsupported_parameter", "functions"},
		{`{` + ok + `,"tool_choice":"required"}`, "unsupported_value", "tool_choice"},
		{`{` + ok + `,"response_format":{"type":"json_object"}}`, "unsupported_value", "response_format"},
		{`{` + ok + `,"modalities":["text","audio"]}`, "unsupported_value", "modalities"},
		{`{` + ok + `,"audio":{}}`, "unsupported_parameter", "audio"},
		{`{` + ok + `,"logprobs":true}`, "unsupported_value", "logprobs"},
	} {
		d := newDesk()
		d.body = test.body
		w, _ := serve(t, "POST", completions, d)
		e := gjson.Get(w.Body.String(), "error")
		if w.Code != 400 || e.Get("code").Str != test.code || e.Get("param").Str != test.param || e.Get("type").Str != "invalid_request_error" || e.Get("message").Str == "" {
			t.Errorf("%s: %d %s, want %s of %q", test.body, w.Code, w.Body, test.code, test.param)
		}
		if len(d.sent) > 0 || w.Header().Get("X-Should-Retry") != "false" {
			t.Errorf("%s was sent", test.body)
		}
	}
	d := newDesk()
	d.body = `{` + ok + `,"n":1,"tools":[],"tool_choice":"auto","response_format":{"type":"text"},"modalities":["text"],"logprobs":false,"stream":null,` +
		`"temperature":0.1,"top_p":1,"max_tokens":7,"stop":["x"],"seed":1,"store":true,"unknown":{},"metadata":{"shop":"x"}}`
	if w, _ := serve(t, "POST", completions, d); w.Code != 200 || d.sent[0].Metadata["shop"] != "x" {
		t.Errorf("what only tunes the answer is refused: %d %s", w.Code, w.Body)
	}
}

func TestContentInPartsIsOneMessage(t *testing.T) {
	d := newDesk()
	d.body = `{"model":"helpdesk","user":"rosa","messages":[
		{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]},{"role":"assistant","content":null,"refusal":"No."},
		{"role":"user","content":[{"type":"text","text":" What is\n"},{"type":"text","text":"this? <&>"},{"type":"image_url","image_url":{"url":"https://x/b.png"}}]}]}`
	if w, _ := serve(t, "POST", completions, d); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := adapters.SendRequest{
		Bot: "helpdesk", Choice: "helpdesk", Opening: &adapters.Opening{Bot: "helpdesk", User: normalize.User{ID: "rosa"}},
		Text: " What is\n\nthis? <&>", Attachments: []normalize.Attachment{{Type: normalize.TypeImage, URL: "https://x/b.png"}},
		Earlier: []normalize.Message{
			{
				Role: normalize.RoleUser, Type: normalize.TypeImage, Status: normalize.StatusSent,
				Attachments: []normalize.Attachment{{Type: normalize.TypeImage, URL: "https://x/a.png"}},
			},
			{Role: normalize.RoleAssistant, Type: normalize.TypeText, Status: normalize.StatusComplete, Text: "No."},
		},
	}
	if diff := cmp.Diff([]adapters.SendRequest{want}, d.sent); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnAnswerIsACompletion(t *testing.T) {
	d := newDesk(
		normalize.Message{ID: "1", Text: "Hello \"<&>\" 你好", Raw: []byte(`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7},"choices":[{"finish_reason":"length"}]}`)},
		normalize.Message{ID: "2", Text: "How are you?"},
	)
	complete(t, d, "", "user: hi")
	w, _ := serve(t, "POST", completions, d)
	want := `{"id":"chatcmpl-msg_2","object":"chat.completion","created":1772582400,"model":"helpdesk","choices":[{"index":0,"message":` +
		`{"role":"assistant","content":"Hello \"<&>\" 你好\n\nHow are you?","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"length"}],` +
		`"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`
	if got := w.Body.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	d = newDesk() // a human has the thread
	complete(t, d, "", "user: hi")
	w, _ = serve(t, "POST", completions, d)
	if got := w.Body.String(); gjson.Get(got, "choices.0.message.content").Raw != `""` || gjson.Get(got, "usage.total_tokens").Raw != "0" {
		t.Errorf("without a reply: %s", got)
	}
}

// frames are the data of a stream's events.
func frames(t *testing.T, body string) (list []string) {
	t.Helper()
	for _, event := range strings.SplitAfter(body, "\n\n") {
		if event == "" {
			continue
		}
		data, ok := strings.CutPrefix(strings.TrimSuffix(event, "\n\n"), "data: ")
		if !ok || strings.Contains(data, "\n") {
			t.Errorf("the event %q", event)
		}
		list = append(list, data)
	}
	return list
}

func TestAStreamIsChunksAndItsEnd(t *testing.T) {
	message := normalize.Message{ID: "msg_1", CreatedAt: time.Unix(1772582400, 0)}
	reply := normalize.Message{ID: "r", Text: "Hello", Raw: []byte("{\"usage\":{\"prompt_tokens\":3,\n\"completion_tokens\":4,\"total_tokens\":7}}")}
	d := newDesk()
	d.messages["thr_1"] = []normalize.Message{{ID: "msg_1", Role: normalize.RoleUser, Status: normalize.StatusSent}}
	d.events = []normalize.Event{
		{Type: normalize.EventMessage, Thread: &normalize.Thread{ID: "thr_1"}, Message: &message},
		{Type: normalize.EventDelta, MessageID: "r", Text: "Hel"},
		{Type: normalize.EventDelta, MessageID: "r", Text: "lo"},
		{Type: normalize.EventReply, Message: &reply},
		{Type: normalize.EventDone},
	}
	d.body = `{"model":"helpdesk","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`
	w, cut := serve(t, "POST", completions, d)
	const head = `{"id":"chatcmpl-msg_1","object":"chat.completion.chunk","created":1772582400,"model":"helpdesk","choices":[`
	const tail = `,"logprobs":null,"finish_reason":null}],"usage":null}`
	want := []string{
		head + `{"index":0,"delta":{"role":"assistant","content":""}` + tail,
		head + `{"index":0,"delta":{"content":"Hel"}` + tail,
		head + `{"index":0,"delta":{"content":"lo"}` + tail,
		head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`,
		head + `],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`,
		"[DONE]",
	}
	if diff := cmp.Diff(want, frames(t, w.Body.String())); diff != "" || cut {
		t.Errorf("cut %t (-want +got):\n%s", cut, diff)
	}
	if w.Header().Get(threadHeader) != "thr_1" || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("the head is %v", w.Header())
	}
	if d.sent = nil; complete(t, d, "", "user: hi", "assistant: Hello", "user: And now?") != "thr_1" {
		t.Errorf("the next message went to %+v", d.sent)
	}
}

// TestS13_what_is_not_whole_has_no_end: neither a finish_reason nor [DONE], but an error
// and a connection that breaks.
func TestS13_what_is_not_whole_has_no_end(t *testing.T) {
	begun := []normalize.Event{
		{Type: normalize.EventMessage, Thread: &normalize.Thread{ID: "thr_1"}, Message: &normalize.Message{ID: "msg_1"}},
		{Type: normalize.EventDelta, MessageID: "r", Text: "Hel"},
	}
	for what, c := range map[string]struct {
		end     []normalize.Event
		failure error
	}{
		"the backend was cut": {[]normalize.Event{{Type: normalize.EventError, Err: &normalize.Error{Kind: normalize.KindTruncated, Outcome: normalize.OutcomeDone}}}, nil},
		"the client left":     {nil, context.Canceled},
	} {
		d := newDesk()
		d.body = `{"model":"helpdesk","stream":true,"messages":[{"role":"user","content":"hi"}]}`
		d.events, d.failure = append(slices.Clone(begun), c.end...), c.failure
		w, cut := serve(t, "POST", completions, d)
		body := w.Body.String()
		if !cut || strings.Contains(body, `"stop"`) || strings.Contains(body, "[DONE]") || !strings.Contains(body, "Hel") {
			t.Errorf("%s: cut %t\n%s", what, cut, body)
		}
		last := gjson.Get(frames(t, body)[len(frames(t, body))-1], "error")
		if c.end != nil && (last.Get("code").Str != "backend_truncated" || last.Get("type").Str != "server_error") {
			t.Errorf("%s: the last event is %s", what, last)
		}
	}
}

func TestTheOfficialClientsAreToldWhetherToTryAgain(t *testing.T) {
	for _, c := range []struct {
		failure normalize.Error
		status  int
		retry   string
		kind    string
		code    string
	}{
		{normalize.Error{Kind: normalize.KindDisconnected, Outcome: normalize.OutcomeUnknown, ThreadID: "thr_1"}, 502, "false", "server_error", "backend_error"},
		{normalize.Error{Kind: normalize.KindTruncated, Outcome: normalize.OutcomeDone}, 502, "false", "server_error", "backend_truncated"},
		{normalize.Error{Kind: normalize.KindUnreachable, Outcome: normalize.OutcomeUnknown}, 503, "false", "server_error", "backend_unavailable"},
		{normalize.Error{Kind: normalize.KindUnreachable, Outcome: normalize.OutcomeNone}, 503, "", "server_error", "backend_unavailable"},
		{normalize.Error{Kind: normalize.KindThreadBusy}, 409, "", "invalid_request_error", "thread_busy"},
		{normalize.Error{Kind: normalize.KindCallerRateLimited}, 429, "", "requests", "rate_limit_exceeded"},
		{normalize.Error{Kind: normalize.KindRejected, Outcome: normalize.OutcomeNone}, 400, "false", "invalid_request_error", "backend_rejected"},
		{normalize.Error{Kind: normalize.KindForbidden}, 403, "false", "permission_error", "forbidden"},
		{normalize.Error{Kind: normalize.KindUnauthenticated}, 401, "false", "invalid_request_error", "invalid_api_key"},
		{normalize.Error{Kind: normalize.KindNotFound}, 404, "false", "invalid_request_error", "unknown_url"},
		{normalize.Error{Kind: normalize.KindInternal}, 500, "false", "server_error", "internal"},
	} {
		d := newDesk()
		d.body, d.failure = `{"model":"helpdesk","messages":[{"role":"user","content":"hi"}]}`, &c.failure
		w, _ := serve(t, "POST", completions, d)
		e := gjson.Get(w.Body.String(), "error")
		if w.Code != c.status || w.Header().Get("X-Should-Retry") != c.retry || e.Get("type").Str != c.kind || e.Get("code").Str != c.code ||
			e.Get("param").Type != gjson.Null || w.Header().Get(threadHeader) != c.failure.ThreadID {
			t.Errorf("%v: %d %v %s", &c.failure, w.Code, w.Header(), w.Body)
		}
	}
}

func TestModelsAreTheRoutesAndBackendsOfTheCaller(t *testing.T) {
	w, _ := serve(t, "GET", "/v1/models", newDesk())
	const one = `{"id":"docs","object":"model","created":0,"owned_by":"chatmux"}`
	if got, want := w.Body.String(), `{"object":"list","data":[`+strings.Replace(one, "docs", "default", 1)+`,`+one+`,`+strings.Replace(one, "docs", "helpdesk", 1)+`]}`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if w, _ := serve(t, "GET", "/v1/models/{model}", &desk{model: "docs"}); w.Body.String() != one {
		t.Errorf("%s", w.Body)
	}
	for _, d := range []*desk{{model: "gpt-none"}, {body: `{"model":"gpt-none","messages":[{"role":"user","content":"hi"}]}`, failure: &normalize.Error{Kind: normalize.KindNotFound}}} {
		method, path := "GET", "/v1/models/{model}"
		if d.body != "" {
			method, path = "POST", completions
		}
		if w, _ := serve(t, method, path, d); w.Code != 404 || gjson.Get(w.Body.String(), "error.code").Str != "model_not_found" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	d := &desk{body: `{"model":"secret","messages":[{"role":"user","content":"hi"}]}`, failure: &normalize.Error{Kind: normalize.KindForbidden}}
	if w, _ := serve(t, "POST", completions, d); w.Code != 403 {
		t.Errorf("a model that this caller may not use: %d %s", w.Code, w.Body)
	}
}

func TestAThreadThatTheClientNamesIsGoneOnWith(t *testing.T) {
	d := newDesk()
	d.messages["thr_7"] = []normalize.Message{{ID: "msg_0"}}
	d.body = `{"model":"helpdesk","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":"hi"}]}`
	if w, _ := serve(t, "POST", completions, d, threadHeader, "thr_7"); w.Code != 200 || d.sent[0].ThreadID != "thr_7" || d.sent[0].Earlier != nil {
		t.Errorf("%d %s, %+v", w.Code, w.Body, d.sent)
	}
	if w, _ := serve(t, "POST", completions, d, threadHeader, "thr_8"); w.Code != 404 || gjson.Get(w.Body.String(), "error.code").Str != "thread_not_found" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	d.body = strings.Replace(d.body, "helpdesk", "gpt-none", 1)
	if w, _ := serve(t, "POST", completions, d, threadHeader, "thr_7"); w.Code != 404 || len(d.sent) != 1 {
		t.Errorf("with a model that is none: %d %s", w.Code, w.Body)
	}
}

func TestTheCallersKeyIsABearers(t *testing.T) {
	for value, want := range map[string]string{"Bearer k": "k", "bearer k": "k", "Api-Key k": "", "Bearer": "", "": ""} {
		if got := callerKey(http.Header{"Authorization": {value}}); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// FuzzCompletionRequest holds the reader to what it promises of any JSON: a message to
// send, or a refusal that names a code.
func FuzzCompletionRequest(f *testing.F) {
	f.Add(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"n":1}`)
	f.Add(`{"model":"m","messages":[{"role":"assistant","content":null},{"role":"user","content":"\ud800"}],"metadata":{"a":[]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		r, err := readRequest(&desk{body: body})
		if err != nil {
			var why code
			if e := normalize.AsError(err); e.Kind != normalize.KindInvalidRequest || !errors.As(e.Cause, &why) {
				t.Errorf("%s: %v", body, err)
			}
			return
		}
		if r.model == "" || r.last.role != "user" || r.last.text == "" && len(r.last.images) == 0 {
			t.Errorf("%s: %+v", body, r)
		}
		if here, next := r.point(r.before...), r.point(append(r.before, r.last)...); here == next && strings.TrimSpace(r.last.text) != "" {
			t.Errorf("%s: the message leads nowhere", body)
		}
	})
}
