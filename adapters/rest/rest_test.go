package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/adapters/rest"
	"chatmux/internal/backend"
	"chatmux/internal/config"
	"chatmux/normalize"
)

// described opens an adapter of settings in YAML, at a server of the test's own.
func described(t *testing.T, settings string, serve http.HandlerFunc) adapters.Adapter {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	text := "backends:\n  - name: b\n    adapter: rest\n    settings:\n      base_url: " + server.URL + settings + "\nroutes:\n  - {name: default, to: b}\n"
	c, err := config.Parse("config.yaml", []byte(text), config.Options{
		Settings: map[string]func() any{rest.Spec.Name: func() any { return rest.Spec.Settings() }},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := rest.Spec.Open(c.Backends[0].Settings, adapters.Env{Idle: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.(io.Closer).Close() })
	return a
}

func turnOf(text string) adapters.Turn {
	return adapters.Turn{Thread: normalize.Thread{ID: "thr_x", Mode: normalize.ModeAI}, Message: normalize.Message{Text: text}}
}

const plain = `
      send:
        path: /chat
        body: {message: "{{text}}"}
        reply:
          remote_id: id
          each: [{role: assistant, text: text}]
`

func TestTalentsFollowFromTheDescription(t *testing.T) {
	for _, tt := range []struct {
		file, backend string
		want          []string
	}{
		{"altur.yaml", "parcel-desk", []string{"create_user", "read_thread", "list_messages"}},
		{"sitegpt.yaml", "docs-bot", []string{"read_thread", "list_threads", "list_messages", "switch_mode", "escalate", "delete_thread"}},
		{"sitegpt.yaml", "docs-bot-v0", []string{
			"operator", "create_thread", "read_thread", "list_threads", "list_messages", "switch_mode", "register_webhook",
		}},
		{"conversations.yaml", "helpdesk", []string{"stream", "attachments", "operator", "read_thread", "list_threads", "list_messages", "switch_mode"}},
		{"conversations.yaml", "helpdesk-inbox", []string{"create_thread", "list_messages", "switch_mode"}},
		{"openai.yaml", "own-llm", []string{"stream", "history"}},
		{"dify.yaml", "guide", []string{"stream", "attachments", "list_threads", "list_messages", "delete_thread"}},
	} {
		a, err := rest.Spec.Open(example(t, tt.file, tt.backend), adapters.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if got := backend.Capabilities(a); !slices.Equal(got, tt.want) {
			t.Errorf("%s %s can %q, want %q", tt.file, tt.backend, got, tt.want)
		}
	}
}

func TestFurtherHeadersAndParametersAreSent(t *testing.T) {
	a := described(t, `
      api_key: k
      auth: {header: X-Api-Key, scheme: ""}
      headers: {X-Api-Version: "2026-01"}
      send:
        method: PUT
        path: /chat
        query: {lang: "{{metadata.lang|en}}", who: "{{user.id}}", missing: "{{user.name}}"}
        body: {message: "{{text}}"}
        reply: {remote_id: id, each: [{role: assistant, text: text}]}
`, func(w http.ResponseWriter, r *http.Request) {
		got := fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("X-Api-Key"), " ", r.Header.Get("X-Api-Version"))
		fmt.Fprintf(w, `{"id":"c","text":%q}`, got)
	})
	turn := turnOf("hello")
	turn.Thread.User.ID, turn.Thread.Metadata = "u&1", map[string]string{"lang": "de"}
	reply, err := a.Send(context.Background(), turn)
	const want = "PUT /chat?lang=de&who=u%261 k 2026-01"
	if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != want {
		t.Errorf("the vendor got %+v, error %v, want %q", reply.Messages, err, want)
	}
}

func TestErrorsWithStatus200HaveTheKindOfTheirStatusOrCode(t *testing.T) {
	const errs = `
      errors:
        when: [{path: ok, is: ["false"]}]
        code: [error.code]
        message: [error.message, message]
        status: error.status
        retry_after: error.wait
        kinds:
          - {code: ["QUOTA_*"], kind: quota}
          - {message: ["*too fast*"], kind: rate_limited}
          - {status: [400], code: [BUSY], kind: overloaded}
`
	for answer, want := range map[string]normalize.Error{
		`{"ok":false,"error":{"code":"QUOTA_MONTH","status":429}}`:          {Kind: normalize.KindQuota, VendorCode: "QUOTA_MONTH"},
		`{"ok":false,"message":"You go TOO FAST today","error":{"wait":3}}`: {Kind: normalize.KindRateLimited, RetryAfter: 3 * time.Second},
		`{"ok":false,"error":{"code":"BUSY","status":400}}`:                 {Kind: normalize.KindOverloaded, VendorCode: "BUSY"},
		`{"ok":false,"error":{"code":"BUSY","status":401}}`:                 {Kind: normalize.KindUnauthorized, VendorCode: "BUSY"},
		`{"ok":false,"error":{"code":7,"status":"404"}}`:                    {Kind: normalize.KindRejected, VendorCode: "7"},
		`{"ok":false}`: {Kind: normalize.KindVendorFault},
		`{"ok":true}`:  {Kind: normalize.KindInvalidReply},
	} {
		a := described(t, plain+errs, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		_, err := a.Send(context.Background(), turnOf("hello"))
		got := normalize.AsError(err)
		if got == nil || got.Kind != want.Kind || got.VendorCode != want.VendorCode || got.RetryAfter != want.RetryAfter || got.VendorStatus != 200 {
			t.Errorf("%s: error %v (code %q, wait %v), want %s", answer, err, got.VendorCode, got.RetryAfter, want.Kind)
		}
	}
}

func TestPatternsOfErrorsStandForAnyText(t *testing.T) {
	a := described(t, plain+`
      errors:
        code: [code]
        kinds: [{code: ["A*B*C"], kind: quota}]
`, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusBadRequest)
		code := strings.TrimSuffix(strings.TrimPrefix(string(body), `{"message":"`), `"}`)
		fmt.Fprintf(w, `{"code":%q}`, code)
	})
	for code, want := range map[string]normalize.Kind{
		"ABC": normalize.KindQuota, "A-B-C": normalize.KindQuota, "ABBC": normalize.KindQuota,
		"AB": normalize.KindRejected, "ABCD": normalize.KindRejected, "ACB": normalize.KindRejected, "xABC": normalize.KindRejected,
	} {
		_, err := a.Send(context.Background(), turnOf(code))
		if got := normalize.AsError(err).Kind; got != want {
			t.Errorf("the code %s is %s, want %s", code, got, want)
		}
	}
}

func TestSilenceIsAReplyOnlyWhereItCanBeMeant(t *testing.T) {
	const list = `
      remote_id: "{{thread.id}}"
      send:
        path: /chat
        body: {message: "{{text}}"}
        reply:
          items: replies
          each: [{when: {path: kind, is: [text, image]}, role: assistant, text: text, attachment: image}]
`
	for _, tt := range []struct {
		answer string
		mode   normalize.Mode
		texts  []string
		fails  bool
	}{
		{answer: `{"replies":[]}`},
		{answer: `{"replies":[{"kind":"typing"}]}`},
		{answer: `{"replies":[{"kind":"text","text":"a"},{"kind":"typing"},{"kind":"image","image":"https://x.example/a.png"}]}`, texts: []string{"a", ""}},
		{answer: `{"replies":{"kind":"text","text":"a"}}`, texts: []string{"a"}},
		{answer: `{"replies":[{"kind":"text"}]}`, fails: true},
		{answer: `{"replies":[{"kind":"text"}]}`, mode: normalize.ModeHuman},
		{answer: `{"replies":{"kind":"typing"}}`, fails: true},
		{answer: `{"replies":[{"kind":"text","text":7}]}`, fails: true},
		{answer: `{}`, fails: true},
		{answer: `{}`, mode: normalize.ModeHuman},
		{answer: `{"replies":"a"}`, fails: true},
	} {
		a := described(t, list, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.answer) })
		turn := turnOf("hello")
		turn.Thread.Mode = tt.mode
		reply, err := a.Send(context.Background(), turn)
		var texts []string
		for _, m := range reply.Messages {
			texts = append(texts, m.Text)
		}
		failed := err != nil && normalize.AsError(err).Kind == normalize.KindInvalidReply
		if failed != tt.fails || err != nil && !failed || !slices.Equal(texts, tt.texts) {
			t.Errorf("%s in mode %q: replies %q, error %v; want %q, a failure: %t", tt.answer, tt.mode, texts, err, tt.texts, tt.fails)
		}
		if err == nil && reply.Remote.ThreadID != "thr_x" {
			t.Errorf("%s: the conversation is %q, want the one that was chosen", tt.answer, reply.Remote.ThreadID)
		}
	}
}

const polled = `
      send:
        path: /messages
        body: {message: "{{text}}"}
        reply: {remote_id: conversation, sent: {id: id}}
      poll: {every: 1ms, for: %s}
      list_messages:
        path: /messages
        query: {of: "{{remote_id}}"}
        items: "@this"
        each: [{role_path: by, roles: {bot: assistant, person: user}, text: text, id: id}]
`

func TestAnAnswerThatComesLaterIsWaitedFor(t *testing.T) {
	var lists atomic.Int64
	a := described(t, fmt.Sprintf(polled, "20s"), func(w http.ResponseWriter, r *http.Request) {
		const asked = `[{"id":"m0","by":"bot","text":"an earlier one"},{"id":"m1","by":"person","text":"hello"}`
		switch {
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, `{"id":"m1","conversation":"c"}`)
		case r.URL.Query().Get("of") != "c":
			t.Errorf("the list of %s is asked for", r.URL)
		case lists.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable) // the message is sent all the same
		case lists.Load() < 4:
			_, _ = io.WriteString(w, asked+`]`)
		default:
			_, _ = io.WriteString(w, asked+`,{"id":"m2","by":"bot","text":"hello yourself"}]`)
		}
	})
	reply, err := a.Send(context.Background(), turnOf("hello"))
	if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != "hello yourself" || reply.Sent.RemoteID != "m1" {
		t.Errorf("the reply is %+v, error %v, want the one behind the message", reply, err)
	}
}

func TestAnAnswerThatDoesNotComeIsNoFailure(t *testing.T) {
	a := described(t, fmt.Sprintf(polled, "20ms"), func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, `{"id":"m1","conversation":"c"}`)
			return
		}
		_, _ = io.WriteString(w, `[{"id":"m1","by":"person","text":"hello"}]`)
	})
	reply, err := a.Send(context.Background(), turnOf("hello"))
	if err != nil || len(reply.Messages) != 0 || reply.Remote.ThreadID != "c" || reply.Sent.RemoteID != "m1" {
		t.Errorf("the reply is %+v, error %v, want the ids alone", reply, err)
	}
}

func TestListsEndWhateverTheVendorDoes(t *testing.T) {
	const numbered = plain + `
      list_threads: {path: /threads, query: {page: "{{page.cursor}}", limit: "{{page.limit}}"}, items: threads, numbered: true, each: {remote_id: id}}
`
	all := func(t *testing.T, a adapters.Adapter, limit int) (ids []string, pages int) {
		t.Helper()
		lister, _ := adapters.As[adapters.ThreadLister](a)
		page := adapters.Page{Limit: limit}
		for pages = 1; pages < 20; pages++ {
			got, err := lister.ListThreads(context.Background(), page)
			if err != nil {
				t.Fatal(err)
			}
			for _, thread := range got.Threads {
				ids = append(ids, thread.Remote.ThreadID)
			}
			if page.Cursor = got.NextCursor; page.Cursor == "" {
				return ids, pages
			}
		}
		t.Fatal("the list has no end")
		return nil, 0
	}
	honest := described(t, numbered, func(w http.ResponseWriter, r *http.Request) {
		pages := map[string]string{"1": `{"id":"a"},{"id":"b"}`, "2": `{"id":"c"},{"id":"d"}`, "3": `{"id":"e"}`}
		fmt.Fprintf(w, `{"threads":[%s]}`, pages[r.URL.Query().Get("page")])
	})
	if ids, _ := all(t, honest, 2); !slices.Equal(ids, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("listed are %q", ids)
	}
	if ids, pages := all(t, honest, 0); len(ids) != 5 || pages != 4 {
		t.Errorf("without a limit listed are %q in %d pages, want all, and an empty page for the end", ids, pages)
	}
	deaf := described(t, numbered, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"threads":[{"id":"a"},{"id":"b"}]}`)
	})
	if ids, _ := all(t, deaf, 2); !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("of a vendor that does not page listed are %q", ids)
	}
	circle := described(t, plain+`
      list_threads: {path: /threads, query: {c: "{{page.cursor}}"}, items: threads, next: next, each: {remote_id: id}}
`, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"threads":[{"id":"a"}],"next":"same"}`)
	})
	lister, _ := adapters.As[adapters.ThreadLister](circle)
	if _, err := lister.ListThreads(context.Background(), adapters.Page{Cursor: "same"}); err == nil || normalize.AsError(err).Kind != normalize.KindInvalidReply {
		t.Errorf("a page that names itself as the next: error %v, want invalid_reply", err)
	}
}

func TestWebhookTokenIsInNoError(t *testing.T) {
	a := described(t, plain+`
      register_webhook: {method: PATCH, path: "/threads/{{remote_id}}", body: {url: "{{webhook.url}}", token: "{{webhook.token}}"}}
      errors: {code: [code], message: [message]}
`, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":"planted-token","message":"planted-token is no token"}`)
	})
	registrar, _ := adapters.As[adapters.WebhookRegistrar](a)
	err := registrar.RegisterWebhook(context.Background(), normalize.Remote{ThreadID: "c"}, "https://us.example/h", normalize.NewSecret("planted-token"))
	failure := normalize.AsError(err)
	if failure == nil || failure.Kind != normalize.KindRejected || strings.Contains(failure.Error()+failure.VendorCode, "planted-token") {
		t.Errorf("error %v, code %q; want rejected, without the token", err, failure.VendorCode)
	}
}

func TestAThreadWithoutAnIDIsNotAskedFor(t *testing.T) {
	a := described(t, plain+`
      delete_thread: {path: "/threads/{{remote_id}}"}
`, func(http.ResponseWriter, *http.Request) { t.Error("the vendor was asked") })
	deleter, _ := adapters.As[adapters.ThreadDeleter](a)
	for _, id := range []string{"", ".", ".."} {
		if err := deleter.DeleteThread(context.Background(), normalize.Remote{ThreadID: id}); normalize.AsError(err).Kind != normalize.KindInvalidRequest {
			t.Errorf("the id %q: error %v, want invalid_request", id, err)
		}
	}
}

func TestFilesGoAlongByTheirURL(t *testing.T) {
	a := described(t, `
      send:
        path: /chat
        body: {message: "{{text}}", files: "{{attachments}}"}
        reply: {remote_id: id, each: [{role: assistant, text: text}]}
      attachments:
        each: {kind: "{{type}}", link: "{{url}}", name: "{{filename}}"}
        types: {image: PICTURE, other: FILE}
`, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"id":"c","text":%q}`, body)
	})
	sender, _ := adapters.As[adapters.AttachmentSender](a)
	turn := turnOf("")
	turn.Message.Attachments = []normalize.Attachment{
		{Type: normalize.TypeImage, URL: "https://x.example/a.png?x=1&y=2", Filename: `"a".png`}, {Type: normalize.TypeVideo, URL: "https://x.example/b"},
	}
	reply, err := sender.SendAttachments(context.Background(), turn)
	const want = `{"files":[{"kind":"PICTURE","link":"https://x.example/a.png?x=1&y=2","name":"\"a\".png"},{"kind":"FILE","link":"https://x.example/b"}]}`
	if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != want {
		t.Errorf("the vendor got %+v, error %v, want %s", reply.Messages, err, want)
	}
	turn.Message.Attachments = []normalize.Attachment{{Type: normalize.TypeImage, ID: "file-7"}}
	if _, err := sender.SendAttachments(context.Background(), turn); normalize.AsError(err).Kind != normalize.KindInvalidRequest {
		t.Errorf("a file without a URL: error %v, want invalid_request", err)
	}
}
