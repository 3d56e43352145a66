package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

// What the engine was asked for a dialect.
type (
	askedFind struct {
		From         engine.Origin
		ID           string
		OnePerPerson bool
	}
	askedOpen struct {
		From    engine.Origin
		Opening engine.Opening
	}
	askedList struct {
		From   engine.Origin
		Filter engine.ThreadFilter
		Span   engine.Span
	}
	askedSpan struct {
		Thread string
		Spoken bool
		Span   engine.Span
	}
	askedEscalate struct{ ID, Note string }
	askedRecord   struct {
		From         engine.Origin
		Name, Thread string
		Value        string
		Fresh        bool
	}
)

// noHeader leaves out of an origin what cannot be compared.
func noHeader(o engine.Origin) engine.Origin {
	o.Header = nil
	return o
}

func (f *fakeEngine) FindThread(_ context.Context, from engine.Origin, id string, onePerPerson bool) (normalize.Thread, error) {
	return f.thread, f.note(askedFind{noHeader(from), id, onePerPerson})
}

func (f *fakeEngine) FindPerson(_ context.Context, from engine.Origin, id string) (normalize.User, error) {
	return f.thread.User, f.note(askedFind{noHeader(from), id, false})
}

func (f *fakeEngine) FindMessage(_ context.Context, from engine.Origin, id string) (normalize.Message, error) {
	return f.message, f.note(askedFind{noHeader(from), id, false})
}

func (f *fakeEngine) OpenThread(_ context.Context, from engine.Origin, opening engine.Opening) (normalize.Thread, error) {
	return f.thread, f.note(askedOpen{noHeader(from), opening})
}

func (f *fakeEngine) AskedThreads(
	_ context.Context, from engine.Origin, filter engine.ThreadFilter, span engine.Span,
) ([]normalize.Thread, int, error) {
	return []normalize.Thread{f.thread}, 7, f.note(askedList{noHeader(from), filter, span})
}

func (f *fakeEngine) MessagesAt(_ context.Context, _ engine.Origin, threadID string, spoken bool, span engine.Span) ([]normalize.Message, int, error) {
	return []normalize.Message{f.message}, 9, f.note(askedSpan{threadID, spoken, span})
}

func (f *fakeEngine) Escalate(_ context.Context, _ engine.Origin, id, note string) (normalize.Thread, error) {
	return f.thread, f.note(askedEscalate{id, note})
}

func (f *fakeEngine) Record(_ context.Context, from engine.Origin, name, threadID string, value []byte, fresh bool) ([]byte, error) {
	return []byte("kept"), f.note(askedRecord{noHeader(from), name, threadID, string(value), fresh})
}

func (f *fakeEngine) Recall(_ context.Context, from engine.Origin, name string) ([]byte, error) {
	return []byte("kept"), f.note(askedRecord{From: noHeader(from), Name: name})
}

func (f *fakeEngine) Choices(from engine.Origin) (routes, backends []string) {
	if from.Caller.Routes != nil {
		return nil, nil
	}
	return []string{"vip", "default"}, []string{"docs-bot"}
}

// toy is a dialect that shows what its desk gave it.
func toy(serve func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error) *adapters.Dialect {
	return &adapters.Dialect{
		Name: "toy",
		Endpoints: []adapters.Endpoint{
			{Method: http.MethodPost, Path: "/v7/bots/{bot}/say/", Send: true, Serve: serve},
			{Method: http.MethodGet, Path: "/v7/threads/{id}", Serve: serve},
			{Method: http.MethodDelete, Path: "/v7/threads/{id}", Serve: serve},
		},
		Key: func(h http.Header) string { return strings.TrimPrefix(h.Get("X-Toy"), "toy ") },
		Fail: func(w http.ResponseWriter, r *http.Request, requestID string, failure *normalize.Error) {
			w.WriteHeader(failure.Kind.Policy().Status)
			fmt.Fprintf(w, "toy %s %s %s", failure.Kind, r.Method, requestID)
		},
		OnePerPerson: true,
	}
}

// ask sends one request to a path that is none of our own API's.
func (h *harness) ask(method, path, body string, headers ...string) (status int, text string, header http.Header) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(b), response.Header
}

func TestADialectsDoorIsTheHousesAndItsWordsAreItsOwn(t *testing.T) {
	served := 0
	h := newHarness(t, Options{
		Callers: []Caller{{Name: "web", Key: normalize.NewSecret("k1")}, {Name: "slow", Key: normalize.NewSecret("k2"), Rate: 0.001, Burst: 1}},
		Limits:  Limits{Body: 20},
		Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
			served++
			if r.Method == http.MethodPost {
				if _, err := d.Body(); err != nil {
					return err
				}
			}
			fmt.Fprintf(w, "%s%s %s", d.Var("bot"), d.Var("id"), d.RequestID())
			return nil
		})},
	})
	h.ask("GET", "/toy/v7/threads/x", "", "X-Toy", "toy k2")
	for _, c := range []struct {
		what, method, path, body, key string
		status                        int
		want                          string
	}{
		{"a part of the path, unescaped", "GET", "/toy/v7/threads/a%2Fb%20c", "", "toy k1", 200, "a/b c "},
		{"with the slash", "POST", "/toy/v7/bots/7/say/", "{}", "toy k1", 200, "7 "},
		{"without it", "POST", "/toy/v7/bots/7/say", "{}", "toy k1", 200, "7 "},
		{"no key", "GET", "/toy/v7/threads/x", "", "", 401, "toy unauthenticated GET"},
		{"a wrong key", "GET", "/toy/v7/threads/x", "", "toy k3", 401, "toy unauthenticated GET"},
		{"over the rate", "GET", "/toy/v7/threads/x", "", "toy k2", 429, "toy caller_rate_limited GET"},
		{"another method", "PUT", "/toy/v7/threads/x", "", "toy k1", 405, "toy method_not_allowed PUT"},
		{"another path", "GET", "/toy/v8", "", "toy k1", 404, "toy not_found GET"},
		{"a slash that its vendor does not have", "GET", "/toy/v7/threads/x/", "", "toy k1", 404, "toy not_found GET"},
		{"bad JSON", "POST", "/toy/v7/bots/7/say/", `{"a":1,"a":2}`, "toy k1", 400, "toy invalid_json POST"},
		{"a large body", "POST", "/toy/v7/bots/7/say/", `{"a":"0123456789012345"}`, "toy k1", 413, "toy body_too_large POST"},
	} {
		status, text, header := h.ask(c.method, c.path, c.body, "X-Toy", c.key)
		id := header.Get("Chatmux-Request-Id")
		if status != c.status || !strings.HasPrefix(text, c.want) || id == "" || !strings.HasSuffix(text, id) {
			t.Errorf("%s: %d %q, id %q", c.what, status, text, id)
		}
		if allow := header.Get("Allow"); (status == 405) != (allow == "GET, HEAD, DELETE") {
			t.Errorf("%s: Allow is %q", c.what, allow)
		}
		if retry := header.Get("Retry-After"); (status == 429) != (retry != "") {
			t.Errorf("%s: Retry-After is %q", c.what, retry)
		}
	}
	if status, text, header := h.ask("GET", "/toys", "", "X-Toy", "toy k1"); status != 404 || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a path that only begins like the dialect's: %d %s", status, text)
	}
	if served != 6 {
		t.Errorf("the dialect was asked %d times", served)
	}
	for _, line := range h.log.All() {
		if path := line.ContextMap()["route"]; path != "/toy/v7/threads/{id}" && path != "/toy/v7/bots/{bot}/say/" && path != "" {
			t.Errorf("the log names the path %v", path)
		}
	}
}

func TestWithoutCallersADialectNeedsNoKey(t *testing.T) {
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, _ *http.Request, _ adapters.Desk) error {
		fmt.Fprint(w, "open")
		return nil
	})}})
	if status, text, _ := h.ask("GET", "/toy/v7/threads/x", ""); status != 200 || text != "open" {
		t.Errorf("%d %s", status, text)
	}
}

func TestWhatADialectReturnsOrPanicsWithIsSaidInItsWords(t *testing.T) {
	var serve func(w http.ResponseWriter) error
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, _ *http.Request, _ adapters.Desk) error {
		return serve(w)
	})}})
	for what, c := range map[string]struct {
		serve  func(w http.ResponseWriter) error
		status int
		want   string
	}{
		"a failure":            {func(http.ResponseWriter) error { return &normalize.Error{Kind: normalize.KindThreadBusy} }, 409, "toy thread_busy"},
		"any other error":      {func(http.ResponseWriter) error { return errors.New("what") }, 500, "toy internal"},
		"a panic":              {func(http.ResponseWriter) error { panic("what") }, 500, "toy internal"},
		"a failure afterwards": {func(w http.ResponseWriter) error { fmt.Fprint(w, "said"); return errors.New("what") }, 200, "said"},
	} {
		serve = c.serve
		if status, text, _ := h.ask("GET", "/toy/v7/threads/x", ""); status != c.status || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
}

func TestTheDeskAsksTheEngineForTheDialectAndItsBot(t *testing.T) {
	var d adapters.Desk
	var ctx context.Context
	var run func() error
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(_ http.ResponseWriter, r *http.Request, desk adapters.Desk) error {
		d, ctx = desk, r.Context()
		return run()
	})}})
	from := engine.Origin{Caller: engine.Caller{Tenant: "default"}, Dialect: "toy", Bot: "7"}
	without := from
	without.Bot = ""
	title := "t"
	earlier := []normalize.Message{{Role: normalize.RoleUser, Text: "before"}}
	for what, c := range map[string]struct {
		call func() error
		want []any
	}{
		"Find":        {func() error { _, err := d.Find(ctx, "7", "x"); return err }, []any{askedFind{from, "x", true}}},
		"FindPerson":  {func() error { _, err := d.FindPerson(ctx, "7", "x"); return err }, []any{askedFind{from, "x", false}}},
		"FindMessage": {func() error { _, err := d.FindMessage(ctx, "x"); return err }, []any{askedFind{without, "x", false}}},
		"Open": {
			func() error { _, err := d.Open(ctx, adapters.Opening{Bot: "7", Name: "n", Title: "t"}); return err },
			[]any{askedOpen{from, engine.Opening{NewThread: engine.NewThread{Title: "t"}, Name: "n"}}},
		},
		"Threads": {
			func() error {
				_, total, err := d.Threads(ctx, adapters.ThreadQuery{Bot: "7", User: "u", Offset: 2, Limit: 3})
				if total != 7 {
					t.Errorf("total %d", total)
				}
				return err
			},
			[]any{askedList{from, engine.ThreadFilter{User: "u"}, engine.Span{Offset: 2, Limit: 3}}},
		},
		"Messages": {
			func() error {
				_, _, err := d.Messages(ctx, "thr", adapters.MessageQuery{Spoken: true, Limit: 3})
				return err
			},
			[]any{askedSpan{"thr", true, engine.Span{Limit: 3, Ascending: true}}},
		},
		"UpdateThread": {
			func() error { _, err := d.UpdateThread(ctx, "thr", adapters.ThreadChange{Title: &title}); return err },
			[]any{askedUpdate{"thr", engine.ThreadPatch{Title: &title}}},
		},
		"DeleteThread": {func() error { return d.DeleteThread(ctx, "thr") }, []any{askedDelete{"thr"}}},
		"Escalate":     {func() error { _, err := d.Escalate(ctx, "thr", "note"); return err }, []any{askedEscalate{"thr", "note"}}},
		"Record": {
			func() error { _, err := d.Record(ctx, "n", "thr", []byte("v"), true); return err },
			[]any{askedRecord{without, "n", "thr", "v", true}},
		},
		"Recall": {func() error { _, err := d.Recall(ctx, "n"); return err }, []any{askedRecord{From: without, Name: "n"}}},
		"Send to a thread": {
			func() error {
				a, err := d.Send(ctx, adapters.SendRequest{ThreadID: "thr", Bot: "7", Text: "hi"})
				if len(a.Replies) != 1 {
					t.Errorf("%d replies", len(a.Replies))
				}
				return err
			},
			[]any{askedSend{from, engine.SendRequest{ThreadID: "thr", Text: "hi"}}},
		},
		"Send to a new thread": {
			func() error {
				_, err := d.Send(ctx, adapters.SendRequest{Bot: "7", Text: "hi", Opening: &adapters.Opening{Title: "t"}, Choice: "vip"})
				return err
			},
			[]any{askedSend{from, engine.SendRequest{New: &engine.NewThread{Title: "t", Route: "vip"}, Text: "hi"}}},
		},
		"Send to a named thread with a past": {
			func() error {
				_, err := d.Send(ctx, adapters.SendRequest{Bot: "7", Text: "hi", Opening: &adapters.Opening{Name: "n"}, Choice: "docs-bot", Earlier: earlier})
				return err
			},
			[]any{
				askedOpen{from, engine.Opening{NewThread: engine.NewThread{Backend: "docs-bot"}, Name: "n", Earlier: earlier}},
				askedSend{from, engine.SendRequest{ThreadID: threadID, Text: "hi"}},
			},
		},
	} {
		run = c.call
		status, text, _ := h.ask("GET", "/toy/v7/threads/x", "")
		if status != 200 {
			t.Errorf("%s: %d %s", what, status, text)
		}
		asked := h.engine.take()
		for i := range asked {
			if s, ok := asked[i].(askedSend); ok {
				asked[i] = askedSend{noHeader(s.From), s.Send}
			}
		}
		if diff := cmp.Diff(c.want, asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	run = func() error {
		_, err := d.Send(ctx, adapters.SendRequest{Text: "hi", Choice: "nobody"})
		return err
	}
	if status, text, _ := h.ask("GET", "/toy/v7/threads/x", ""); status != 404 || len(h.engine.take()) > 0 {
		t.Errorf("a choice that is none: %d %s", status, text)
	}
}

func TestADeskChecksWhatOurOwnAPIChecks(t *testing.T) {
	var send adapters.SendRequest
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
		_, err := d.Send(r.Context(), send)
		if err == nil {
			return nil
		}
		for _, f := range normalize.AsError(err).Fields {
			fmt.Fprintln(w, f.Field)
		}
		return nil
	})}})
	for want, s := range map[string]adapters.SendRequest{
		"text":               {},
		"text ":              {Text: "a\x00b"},
		"text  ":             {Text: strings.Repeat("x", 65537)},
		"attachments[0].url": {Attachments: []normalize.Attachment{{URL: "ftp://x"}}},
		"attachments":        {Text: "x", Attachments: make([]normalize.Attachment, 11)},
		"metadata.a":         {Text: "x", Metadata: map[string]string{"a": strings.Repeat("x", 513)}},
		"author.name":        {Text: "x", Author: normalize.Author{Name: strings.Repeat("x", 513)}},
		"title":              {Text: "x", Opening: &adapters.Opening{Title: strings.Repeat("x", 513)}},
		"user.email":         {Text: "x", Opening: &adapters.Opening{User: normalize.User{Email: "\x01"}}},
	} {
		send = s
		_, text, _ := h.ask("GET", "/toy/v7/threads/x", "")
		if first, _, _ := strings.Cut(text, "\n"); first != strings.TrimSpace(want) {
			t.Errorf("%s: %q", want, text)
		}
	}
	if asked := h.engine.take(); len(asked) > 0 {
		t.Errorf("the engine was asked %v", asked)
	}
	send = adapters.SendRequest{Text: " a\r\n\tb ", Attachments: []normalize.Attachment{{ID: "given"}}}
	if _, text, _ := h.ask("GET", "/toy/v7/threads/x", ""); text != "" || len(h.engine.take()) != 1 {
		t.Errorf("what is right is refused for %q", text)
	}
}

func TestATextWithNULIsRefusedAndNotChanged(t *testing.T) {
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, _ *http.Request, d adapters.Desk) error {
		body, err := d.Body()
		if err == nil {
			_, err = w.Write(body)
		}
		return err
	})}})
	for body, want := range map[string]int{
		`{"a":"x\u0000y"}`: 422, `{"a":"\\\u0000"}`: 422, `["\\u0000 \u0000"]`: 422, `{"\u0000":1}`: 422,
		`{"a":"\\u0000"}`: 200, `{"a":"\u00001"}`: 422, `{"a":"\u0001\u000a"}`: 200, `{}`: 200,
	} {
		if status, text, _ := h.ask("POST", "/toy/v7/bots/b/say/", body); status != want || status == 200 && text != body {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}

func TestADialectsStreamTellsAnAnswerAsItComes(t *testing.T) {
	var told []string
	next := make(chan struct{})
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
		err := d.Stream(r.Context(), adapters.SendRequest{ThreadID: threadID, Text: "hi"}, func(e normalize.Event) error {
			if told = append(told, fmt.Sprint(e.Type, " ", e.Text)); e.Type == normalize.EventDelta {
				next <- struct{}{} // the engine has not told more than this
			}
			_, err := fmt.Fprint(w, ".")
			return err
		})
		return err
	})}})
	turn := h.engine.turn()
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		tell := func(e normalize.Event) {
			send.Observe(engine.Observed{Event: e, Backend: "docs-bot", Route: "default"})
		}
		tell(normalize.Event{Type: normalize.EventMessage, Thread: &turn.Thread, Message: &turn.Message})
		for _, piece := range []string{"hello", ", too"} {
			tell(normalize.Event{Type: normalize.EventDelta, Text: piece})
			<-next
		}
		tell(normalize.Event{Type: normalize.EventReply, Message: &turn.Replies[0]})
		tell(normalize.Event{Type: normalize.EventDone, Thread: &turn.Thread, Message: &turn.Message})
		return turn, nil
	}
	_, text, header := h.ask("GET", "/toy/v7/threads/x", "")
	want := []string{"message ", "delta hello", "delta , too", "reply ", "done "}
	if diff := cmp.Diff(want, told); diff != "" || text != "....." || header.Get("Chatmux-Backend") != "docs-bot" {
		t.Errorf("body %q, backend %q, events (-want +got):\n%s", text, header.Get("Chatmux-Backend"), diff)
	}
}

func TestADialectsStreamThatFailsBeforeItsFirstContentHasAStatus(t *testing.T) {
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(_ http.ResponseWriter, r *http.Request, d adapters.Desk) error {
		return d.Stream(r.Context(), adapters.SendRequest{ThreadID: threadID, Text: "hi"}, func(e normalize.Event) error {
			t.Errorf("event %s", e.Type)
			return nil
		})
	})}})
	failure := &normalize.Error{Kind: normalize.KindTimeout}
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		turn := h.engine.turn()
		send.Observe(engine.Observed{Event: normalize.Event{Type: normalize.EventMessage, Thread: &turn.Thread, Message: &turn.Message}})
		send.Observe(engine.Observed{Event: normalize.Event{Type: normalize.EventError, Err: failure}, Backend: "docs-bot"})
		return turn, failure
	}
	if status, text, header := h.ask("GET", "/toy/v7/threads/x", ""); status != 504 || !strings.HasPrefix(text, "toy timeout") || header.Get("Chatmux-Backend") == "" {
		t.Errorf("%d %s", status, text)
	}
}

func TestADialectsClientThatLeavesDoesNotEndTheSend(t *testing.T) {
	seen := make(chan struct{})
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(func(_ http.ResponseWriter, r *http.Request, d adapters.Desk) error {
		return d.Stream(r.Context(), adapters.SendRequest{ThreadID: threadID, Text: "hi"}, func(normalize.Event) error {
			return errors.New("the client is gone")
		})
	})}})
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		turn := h.engine.turn()
		for range 100 {
			send.Observe(engine.Observed{Event: normalize.Event{Type: normalize.EventDelta, Text: "x"}})
		}
		close(seen)
		return turn, nil
	}
	h.ask("GET", "/toy/v7/threads/x", "")
	select {
	case <-seen:
	default:
		t.Error("the request has ended before its send")
	}
}

// TestAFailureWithinADialectsStreamIsItsLastEvent, also one that the engine did not tell;
// and a dialect that cannot write gets its own error back, when the send is over.
func TestAFailureWithinADialectsStreamIsItsLastEvent(t *testing.T) {
	var last normalize.Event
	var refuse, got error
	shown := make(chan struct{}, 10)
	h := newHarness(t, Options{
		Limits: Limits{HeadWait: time.Minute, Heartbeat: time.Minute},
		Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
			got = d.Stream(r.Context(), adapters.SendRequest{ThreadID: threadID, Text: "hi"}, func(e normalize.Event) error {
				last = e
				shown <- struct{}{}
				return refuse
			})
			fmt.Fprint(w, "over")
			return nil
		})},
	})
	begun := normalize.Event{Type: normalize.EventDelta, Text: "begun"}
	for what, c := range map[string]struct {
		tell   []normalize.Event
		panics bool
		kind   normalize.Kind
	}{
		"told":   {[]normalize.Event{begun, {Type: normalize.EventError, Err: &normalize.Error{Kind: normalize.KindTruncated}}}, false, normalize.KindTruncated},
		"panics": {[]normalize.Event{begun}, true, normalize.KindInternal},
	} {
		h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
			for _, e := range c.tell {
				send.Observe(engine.Observed{Event: e})
				<-shown
			}
			if c.panics {
				panic("what")
			}
			return engine.Turn{}, normalize.AsError(c.tell[len(c.tell)-1].Err)
		}
		h.ask("GET", "/toy/v7/threads/x", "")
		for len(shown) > 0 {
			<-shown
		}
		if got != nil || last.Type != normalize.EventError || last.Err.Kind != c.kind {
			t.Errorf("%s: %v, the last event is %+v", what, got, last)
		}
	}
	refuse = errors.New("the client left")
	over := false
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		send.Observe(engine.Observed{Event: begun})
		over = true
		return engine.Turn{}, nil
	}
	if h.ask("GET", "/toy/v7/threads/x", ""); !errors.Is(got, refuse) || !over {
		t.Errorf("%v, the send is over: %t", got, over)
	}
}

// TestWhoMayNotUseAChoiceIsForbiddenIt, and what nobody may use is not there.
func TestWhoMayNotUseAChoiceIsForbiddenIt(t *testing.T) {
	choice := ""
	h := newHarness(t, Options{
		Callers: []Caller{{Name: "narrow", Key: normalize.NewSecret("k"), Routes: []string{"none"}}},
		Dialects: []*adapters.Dialect{toy(func(_ http.ResponseWriter, r *http.Request, d adapters.Desk) error {
			_, err := d.Send(r.Context(), adapters.SendRequest{Text: "hi", Choice: choice})
			return err
		})},
	})
	for name, want := range map[string]int{"vip": 403, "docs-bot": 403, "nobody": 404} {
		choice = name
		if status, text, _ := h.ask("GET", "/toy/v7/threads/x", "", "X-Toy", "toy k"); status != want || len(h.engine.take()) != 0 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
}

// TestADialectsStreamShowsThatItLives where the bot says nothing for a while.
func TestADialectsStreamShowsThatItLives(t *testing.T) {
	beaten := make(chan struct{})
	h := newHarness(t, Options{
		Limits: Limits{Heartbeat: time.Millisecond},
		Dialects: []*adapters.Dialect{toy(func(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
			beats := 0
			return d.Stream(r.Context(), adapters.SendRequest{ThreadID: threadID, Text: "hi"}, func(e normalize.Event) error {
				if e.Type == "" {
					if beats++; beats == 2 {
						close(beaten)
					}
					return nil
				}
				_, err := fmt.Fprint(w, e.Type, " ")
				return err
			})
		})},
	})
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		send.Observe(engine.Observed{Event: normalize.Event{Type: normalize.EventDelta, Text: "hel"}})
		<-beaten
		send.Observe(engine.Observed{Event: normalize.Event{Type: normalize.EventDone}})
		return engine.Turn{}, nil
	}
	if _, text, _ := h.ask("GET", "/toy/v7/threads/x", ""); text != "delta done " {
		t.Errorf("%q", text)
	}
}
