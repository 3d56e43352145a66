package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

var (
	threadPath   = "/v1/threads/" + threadID
	messagesPath = threadPath + "/messages"
	messagePath  = messagesPath + "/" + messageID
)

// malformed are texts that are no JSON.
var malformed = []string{
	``, ` `, `{`, `}`, `[`, `]`, `"`, `'`, `,`, `:`, `{"text"}`, `{"text":}`, `{"text":"a"`, `{"text":"a",}`, `{,}`, `{"text":"a" "b":1}`,
	`{text:"a"}`, `{'text':'a'}`, `{"text":'a'}`, `{1:2}`, `{"a":1,,"b":2}`, `[1,]`, `[,1]`, `[1 2]`, `[1`, `nul`, `nulll`, `True`, `tru`, `fals`, `NaN`,
	`Infinity`, `-`, `+1`, `01`, `1.`, `.5`, `1e`, `1e+`, `0x10`, `1_000`, `--1`, `"\x"`, `"\u12"`,
	`"\u1`, "\xff", "{\"a\":\xff}", `"\u12g4"`, `"a`, "\"a\nb\"", "\"a\tb\"", "\"\x00\"",
	`{"text":"a"/*c*/}`, `// c`, "\x00", "\u00a0{}", "{\"text\":\"\xff\"}", "{\"text\":\"\xed\xa0\x80\"}", "{\"text\":\"\xc0\xaf\"}", `{"text":"\ud83d"}`,
	`{"text":"\ude00\ud83d"}`, `{"text":"\ud83dx"}`, `{"text":"\ud83d\n"}`, `{"text":"\ud83d\ud83d"}`, "{\"text\":\"a\"}\xff",
}

// sendPaths take a message.
var sendPaths = []string{"/v1/messages", messagesPath}

func TestBodies(t *testing.T) {
	h := newHarness(t, Options{})
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			h.t = t
			test(t)
		})
	}
	// refused checks that every path answers 400, that the detail has all words, and
	// that nothing came through.
	refused := func(t *testing.T, body string, words ...string) {
		t.Helper()
		for _, path := range append(sendPaths, "/v1/threads", "/v1/routes/explain") {
			detail := h.post(path, body, "Content-Type", "application/json").want(t, 400, "invalid_json").problem(t).Detail
			for _, word := range words {
				if !strings.Contains(detail, word) {
					t.Errorf("%q: the detail %q does not say %q", body, detail, word)
				}
			}
		}
		h.nothing()
	}

	run("C01_malformed_JSON_is_400_and_says_where", func(t *testing.T) {
		for _, body := range malformed {
			if strings.TrimSpace(body) == "" {
				refused(t, body, "empty")
				continue
			}
			refused(t, body, "line ", "column ")
		}
		refused(t, "{\n  \"text\": \"żółć\" x}", "line 2, column 18", `'x'`)
	})
	run("C02_a_second_value_or_a_byte_order_mark_is_400", func(t *testing.T) {
		refused(t, `{"text":"a"}{"text":"b"}`, "after the end", "column 13")
		refused(t, `{"text":"a"} x`, "after the end")
		refused(t, `{"text":"a"},`, "after the end")
		refused(t, "\ufeff"+`{"text":"a"}`, "byte order mark")
	})
	run("C03_duplicate_names_are_400_and_named", func(t *testing.T) {
		refused(t, `{"text":"a","text":"a"}`, `"text"`, "twice", "column 13")
		refused(t, `{"text":"a","metadata":{"plan":"a","plan":"b"}}`, `"plan"`)
		refused(t, `{"text":"a","\u0074ext":"b"}`, `"text"`)
		refused(t, `{"text":"a","x":[[{"a":{"b":1,"b":2}}]]}`, `"b"`)
		many := strings.Builder{}
		for i := range 200 {
			fmt.Fprintf(&many, `"k%d":0,`, i)
		}
		refused(t, `{`+many.String()+`"k0":1}`, `"k0"`)
		refused(t, `{`+many.String()+`"k199":1}`, `"k199"`)
		h.post("/v1/messages", `{"text":"a","metadata":{"text":"b"},"user":{"name":"n"},"author":{"name":"n"}}`).want(t, 200, "")
		h.engine.take()
	})
	run("C04_fields_that_nobody_may_write_are_422_with_their_path", func(t *testing.T) {
		for _, name := range []string{"id", "status", "created_at", "object", "Text", "txt", "thread_id", "replies"} {
			for _, path := range sendPaths {
				h.post(path, `{"text":"a","`+name+`":"x"}`).wantField(t, name)
			}
			if name != "status" {
				h.do("PATCH", threadPath, `{"`+name+`":null}`).wantField(t, name)
			}
		}
		h.post("/v1/messages", `{"text":"a","user":{"nick":"x"}}`).wantField(t, "user.nick")
		h.post("/v1/messages", `{"text":"a","author":{"nick":"x"}}`).wantField(t, "author.nick")
		h.post(threadPath+"/move", `{"backend":"b","to":"x"}`).wantField(t, "to")
		h.post(messagePath+"/feedback", `{"feedback":"neutral","why":"x"}`).wantField(t, "why")
		h.post("/v1/messages", `{"text":"a","attachments":[{"url":"https://e.org/x"},{"url":"https://e.org/x","size":1}]}`).wantField(t, "attachments[1].size")
		h.post(messagesPath, `{"text":"a","user":{"id":"x"}}`).wantField(t, "user")
		h.post(messagesPath, `{"text":"a","thread_metadata":{}}`).wantField(t, "thread_metadata")
		h.nothing()
	})
	run("C05_control_characters_are_422_everywhere", func(t *testing.T) {
		for c := range 0x20 {
			escaped := fmt.Sprintf(`a\u%04xb`, c)
			shown := "a b" // as the path shows such a name
			if c == 0 {
				shown = "a\ufffdb"
			}
			bodies := map[string]string{
				"text":                    `{"text":"` + escaped + `"}`,
				"metadata." + shown:       `{"text":"a","metadata":{"` + escaped + `":"x"}}`,
				"metadata.x":              `{"text":"a","metadata":{"x":"` + escaped + `"}}`,
				"user.name":               `{"text":"a","user":{"name":"` + escaped + `"}}`,
				"title":                   `{"text":"a","title":"` + escaped + `"}`,
				"author.name":             `{"text":"a","author":{"name":"` + escaped + `"}}`,
				"backend":                 `{"text":"a","backend":"` + escaped + `"}`,
				"attachments[0].filename": `{"attachments":[{"url":"https://e.org/x","filename":"` + escaped + `"}]}`,
			}
			for field, body := range bodies {
				a := h.post("/v1/messages", body)
				if c == '\t' || c == '\n' || c == '\r' {
					a.want(t, 200, "")
					h.engine.take()
					continue
				}
				a.wantField(t, field)
			}
		}
		h.nothing()
		h.post("/v1/messages", `{"text":"\u007f\u0085\u2028"}`).want(t, 200, "")
		h.engine.take()
	})
	run("C06_depth_33_is_400_and_costs_nothing", func(t *testing.T) {
		nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
		refused(t, nested(33), "32 levels", "column 33")
		refused(t, `{"text":"a","x":`+nested(32)+`}`, "32 levels")
		refused(t, strings.Repeat(`{"a":`, 100_000), "32 levels")
		refused(t, strings.Repeat(`[`, 100_000), "32 levels")
		h.post("/v1/messages", nested(32)).want(t, 422, "invalid_request")
		for _, body := range []string{strings.Repeat(`{"a":`, 100_000), strings.Repeat(`[`, 100_000)} {
			text := []byte(body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := checkJSON(text)
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; err == nil || allocated > 1<<20 {
				t.Errorf("%v, %d bytes allocated", err, allocated)
			}
		}
	})
	run("C07_text_has_1_to_65536_characters", func(t *testing.T) {
		for _, path := range sendPaths {
			h.post(path, `{"text":""}`).wantField(t, "text")
			h.post(path, `{}`).wantField(t, "text")
			h.post(path, `{"text":null,"attachments":[ ]}`).wantField(t, "text")
			h.post(path, `{"text":"`+strings.Repeat("a", 65537)+`"}`).wantField(t, "text")
			h.post(path, `{"text":"`+strings.Repeat("😀", 65537)+`"}`).wantField(t, "text")
			h.nothing()
			for _, text := range []string{strings.Repeat("a", 65536), strings.Repeat("😀", 65536), "<b>\"&\u2028 \u202eمرحبا\n\t x ", " "} {
				h.post(path, jsonBody(t, map[string]any{"text": text})).want(t, 200, "")
				if asked := h.engine.take(); len(asked) != 1 || asked[0].(askedSend).Send.Text != text {
					t.Errorf("the text did not arrive as it was sent")
				}
			}
			h.post(path, `{"text":"`+strings.Repeat(`\ud83d\ude00`, 65536)+`"}`).want(t, 200, "")
			if got := h.engine.take()[0].(askedSend).Send.Text; got != strings.Repeat("😀", 65536) {
				t.Errorf("escaped characters arrived as something else")
			}
		}
	})
	run("C09_anything_but_JSON_in_UTF-8_is_415", func(t *testing.T) {
		for _, kind := range []string{
			"", "text/plain", "application/json; charset=latin1", "application/json; charset=utf-16", "application/x-www-form-urlencoded",
			"multipart/form-data; boundary=x", "application/problem+json", "json", "application/json;;", "application/json, text/plain",
		} {
			h.post("/v1/messages", `{"text":"a"}`, "Content-Type", kind).want(t, 415, "unsupported_media_type")
		}
		h.post("/v1/messages", `{"text":"a"}`, "Content-Type", "application/json", "Content-Type", "application/json").want(t, 415, "unsupported_media_type")
		h.nothing()
		for _, kind := range []string{"application/json", "application/json; charset=utf-8", `Application/JSON; charset="UTF-8"`, "application/json;charset=UTF-8"} {
			h.post("/v1/messages", `{"text":"a"}`, "Content-Type", kind).want(t, 200, "")
		}
		h.engine.take()
	})
	run("C10_a_compressed_body_is_415", func(t *testing.T) {
		for _, encoding := range []string{"gzip", "deflate", "br", "identity, gzip", "x"} {
			h.post("/v1/messages", `{"text":"a"}`, "Content-Encoding", encoding).want(t, 415, "unsupported_media_type")
		}
		h.nothing()
		h.post("/v1/messages", `{"text":"a"}`, "Content-Encoding", "identity").want(t, 200, "")
		h.engine.take()
	})
	run("C15_only_user_and_operator_may_be_written", func(t *testing.T) {
		for _, role := range []string{`"assistant"`, `"system"`, `""`, `"User"`, `1`, `[]`} {
			h.post("/v1/messages", `{"text":"a","role":`+role+`}`).wantField(t, "role")
		}
		h.nothing()
		for role, want := range map[string]normalize.Role{`"user"`: "user", `"operator"`: "operator", `null`: ""} {
			h.post("/v1/messages", `{"text":"a","role":`+role+`}`).want(t, 200, "")
			if got := h.engine.take()[0].(askedSend).Send.Role; got != want {
				t.Errorf("role %s arrived as %q", role, got)
			}
		}
		h.engine.err = normalize.Errorf(normalize.KindUnsupported, "backend docs-bot knows no operators")
		h.post("/v1/messages", `{"text":"a","role":"operator"}`).want(t, 422, "unsupported")
		h.engine.err = nil
		h.engine.take()
	})
	run("C16_attachments_are_checked_one_by_one", func(t *testing.T) {
		one := `{"url":"https://e.org/x"}`
		h.post("/v1/messages", `{"attachments":[`+strings.Repeat(one+",", 10)+one+`]}`).wantField(t, "attachments")
		h.post("/v1/messages", `{"attachments":[`+one+`,{"type":"image"}]}`).wantField(t, "attachments[1].url")
		h.post("/v1/messages", `{"attachments":[{"url":null}]}`).wantField(t, "attachments[0].url")
		h.post("/v1/messages", `{"attachments":[{"url":"https://e.org/x","type":"hologram"}]}`).wantField(t, "attachments[0].type")
		h.post("/v1/messages", `{"attachments":[null]}`).wantField(t, "attachments[0]")
		h.post("/v1/messages", `{"attachments":{}}`).wantField(t, "attachments")
		for _, u := range []string{"x", "", "/x", "//e.org/x", "https://", "http:///x", "https://e.org:port/", ":"} {
			h.post("/v1/messages", jsonBody(t, map[string]any{"attachments": []any{map[string]any{"url": u}}})).wantField(t, "attachments[0].url")
		}
		h.nothing()
		h.post("/v1/messages", `{"attachments":[`+strings.Repeat(one+",", 9)+one+`]}`).want(t, 200, "")
		got := h.engine.take()[0].(askedSend).Send.Attachments
		if len(got) != 10 || got[9].URL != "https://e.org/x" || got[9].Type != normalize.TypeOther {
			t.Errorf("%+v", got)
		}
		for kind, want := range map[string]normalize.MessageType{"image/png": "image", "AUDIO/ogg": "audio", "video/mp4": "video", "application/pdf": "document"} {
			h.post("/v1/messages", `{"attachments":[{"url":"https://e.org/x","content_type":"`+kind+`"}]}`).want(t, 200, "")
			if got := h.engine.take()[0].(askedSend).Send.Attachments[0]; got.Type != want || got.ContentType != kind {
				t.Errorf("%+v", got)
			}
		}
		h.engine.err = normalize.Errorf(normalize.KindUnsupported, "backend docs-bot takes no attachments")
		h.post("/v1/messages", `{"attachments":[`+one+`]}`).want(t, 422, "unsupported")
		h.engine.err = nil
		h.engine.take()
	})
	run("A07_a_URL_of_another_scheme_is_422_url_not_allowed", func(t *testing.T) {
		for _, u := range []string{"file:///etc/passwd", "ftp://e.org/x", "gopher://e.org/", "data:text/plain,x", "javascript:alert(1)", "unix:/x", "FILE:///x"} {
			body := jsonBody(t, map[string]any{"attachments": []any{map[string]any{"url": u}}})
			p := h.post("/v1/messages", body).want(t, 422, "url_not_allowed").problem(t)
			if len(p.Errors) != 1 || p.Errors[0].Field != "attachments[0].url" {
				t.Errorf("%+v", p)
			}
		}
		h.post("/v1/messages", `{"text":"","attachments":[{"url":"ftp://e.org/x"}]}`).wantField(t, "text").wantField(t, "attachments[0].url")
		h.nothing()
	})
}

func TestAllProblemsOfABodyAreToldAtOnce(t *testing.T) {
	h := newHarness(t, Options{})
	a := h.post("/v1/messages?limit=3", `{"text":1,"metadata":{"plan":7,"":"x"},"user":{"email":false,"x":1},"stream":"yes","author":[],"backend":"a","route":"b"}`,
		"Chatmux-Timeout", "0", "Idempotency-Key", "a b").want(t, 422, "invalid_request")
	var got []string
	for _, e := range a.problem(t).Errors {
		if e.Detail == "" {
			t.Errorf("%s has no detail", e.Field)
		}
		got = append(got, e.Field)
	}
	slices.Sort(got)
	want := []string{"Chatmux-Timeout", "Idempotency-Key", "author", "limit", "metadata.\"\"", "metadata.plan", "route", "stream", "text", "user.email", "user.x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h.nothing()

	flood := strings.Builder{}
	for i := range 500 {
		fmt.Fprintf(&flood, `,"x%d":1`, i)
	}
	p := h.post("/v1/messages", `{"text":"a"`+flood.String()+`}`).want(t, 422, "invalid_request").problem(t)
	if len(p.Errors) != 50 || !strings.Contains(p.Detail, "and 499 more") {
		t.Errorf("%d problems told, and %q", len(p.Errors), p.Detail)
	}
}

func TestWhatIsNoObjectIs422(t *testing.T) {
	h := newHarness(t, Options{})
	for _, path := range []string{
		"/v1/messages", messagesPath, "/v1/threads", "/v1/routes/explain", messagePath + "/feedback", messagePath + "/resend", threadPath + "/move",
	} {
		for _, body := range []string{`null`, `[]`, `"x"`, `1`, `true`} {
			p := h.post(path, body).wantField(t, "body").problem(t)
			if len(p.Errors) != 1 {
				t.Errorf("%s %s: %+v", path, body, p.Errors)
			}
		}
	}
	h.do("PATCH", threadPath, `[]`).wantField(t, "body")
	h.nothing()
}

func TestMetadataKeepsItsLimits(t *testing.T) {
	h := newHarness(t, Options{})
	object := func(n int) string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("k%d", i)] = "v"
		}
		return jsonBody(t, map[string]any{"metadata": m})
	}
	h.post("/v1/threads", object(50)).want(t, 201, "")
	if got := h.engine.take()[0].(askedCreate).New.Metadata; len(got) != 50 {
		t.Errorf("%d keys arrived", len(got))
	}
	h.post("/v1/threads", object(51)).wantField(t, "metadata")
	long := func(key, val int) string {
		return jsonBody(t, map[string]any{"metadata": map[string]string{strings.Repeat("ä", key): strings.Repeat("😀", val)}})
	}
	h.post("/v1/threads", long(64, 512)).want(t, 201, "")
	h.engine.take()
	h.post("/v1/threads", long(65, 1)).want(t, 422, "invalid_request")
	h.post("/v1/threads", long(1, 513)).want(t, 422, "invalid_request")
	for _, bad := range []string{`[]`, `"x"`, `{"a":1}`, `{"a":{}}`, `{"a":true}`, `{"a":["x"]}`} {
		h.post("/v1/threads", `{"metadata":`+bad+`}`).want(t, 422, "invalid_request")
	}
	h.nothing()
	h.post("/v1/threads", `{"metadata":{"a":null,"b":""}}`).want(t, 201, "")
	if diff := cmp.Diff(map[string]string{"b": ""}, h.engine.take()[0].(askedCreate).New.Metadata); diff != "" {
		t.Error(diff)
	}
}

// TestEverythingThatIsSaidArrives holds what the engine is given against what
// was sent, field by field.
func TestEverythingThatIsSaidArrives(t *testing.T) {
	h := newHarness(t, Options{Dialects: []*adapters.Dialect{toy(nil)}})
	user := normalize.User{ID: "u", Name: "Ana", Email: "a@e.org", Phone: "+34", Info: "i"}
	userJSON := `{"id":"u","name":"Ana","email":"a@e.org","phone":"+34","info":"i"}`
	author := normalize.Author{ID: "x", Name: "n", Email: "e", AvatarURL: "https://e.org/a"}
	said := `"text":"hi","metadata":{"m":"1"},"role":"operator","author":{"id":"x","name":"n","email":"e","avatar_url":"https://e.org/a"},"stream":false,` +
		`"attachments":[{"type":"image","url":"https://e.org/x","filename":"f","content_type":"image/png"}]`
	sent := engine.SendRequest{
		Text: "hi", Metadata: map[string]string{"m": "1"}, Role: "operator", Author: author, Timeout: 2500 * time.Millisecond,
		Attachments: []normalize.Attachment{{Type: "image", URL: "https://e.org/x", Filename: "f", ContentType: "image/png"}},
	}
	first, into := sent, sent
	first.New = &engine.NewThread{User: user, Metadata: map[string]string{"t": "2"}, Title: "T", Route: "vip"}
	into.ThreadID = threadID
	human, ended, title, none := normalize.ModeHuman, normalize.ThreadEnded, "new", ""
	value := "1"
	after := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	open := engine.Origin{Caller: engine.Caller{Tenant: "default"}, Dialect: "native"}
	question := sent
	question.Timeout = 0
	question.New = &engine.NewThread{User: user, Metadata: map[string]string{"t": "2"}, Title: "T", Backend: "b"}

	for _, test := range []struct {
		name, method, path, body string
		want                     any
	}{
		{"first message", "POST", "/v1/messages", `{` + said + `,"user":` + userJSON + `,"title":"T","route":"vip","thread_metadata":{"t":"2"}}`, askedSend{open, first}},
		{"message", "POST", messagesPath, `{` + said + `}`, askedSend{open, into}},
		{"resend", "POST", messagePath + "/resend", ``, askedResend{Thread: threadID, Message: messageID, Timeout: sent.Timeout}},
		{"resend with a body", "POST", messagePath + "/resend", `{"stream":null}`, askedResend{Thread: threadID, Message: messageID, Timeout: sent.Timeout}},
		{
			"create", "POST", "/v1/threads", `{"user":` + userJSON + `,"title":"T","mode":"human","metadata":{"t":"2"},"backend":"b"}`,
			askedCreate{open, engine.NewThread{User: user, Title: "T", Mode: human, Metadata: map[string]string{"t": "2"}, Backend: "b"}},
		},
		{
			"create of nothing but nulls", "POST", "/v1/threads", `{"user":null,"title":null,"mode":null,"metadata":null,"backend":null,"route":null}`,
			askedCreate{open, engine.NewThread{}},
		},
		{
			"update", "PATCH", threadPath, `{"title":"new","mode":"human","status":"ended","metadata":{"a":"1","b":null}}`,
			askedUpdate{threadID, engine.ThreadPatch{Title: &title, Mode: &human, Status: &ended, Metadata: map[string]*string{"a": &value, "b": nil}}},
		},
		{"update without a title", "PATCH", threadPath, `{"title":""}`, askedUpdate{threadID, engine.ThreadPatch{Title: &none}}},
		{"update of nothing", "PATCH", threadPath, `{"title":null,"mode":null,"status":null,"metadata":null}`, askedUpdate{threadID, engine.ThreadPatch{}}},
		{"delete", "DELETE", threadPath, ``, askedDelete{threadID}},
		{"read", "GET", threadPath, ``, askedThread{threadID, false}},
		{"read with raw", "GET", threadPath + "?include=raw", ``, askedThread{threadID, true}},
		{"list", "GET", "/v1/threads", ``, askedThreads{open, engine.ThreadFilter{}, engine.Page{Limit: 50}}},
		{
			"list with everything", "GET", "/v1/threads?limit=7&cursor=abc&order=asc&include=raw&backend=b&route=r&user=u&status=blocked&mode=human&tag=vip&" +
				"updated_after=2026-01-02T04:04:05%2B01:00&q=hello+there", ``,
			askedThreads{
				open,
				engine.ThreadFilter{Backend: "b", Route: "r", User: "u", Status: "blocked", Mode: "human", Tag: "vip", UpdatedAfter: after, Query: "hello there"},
				engine.Page{Limit: 7, Cursor: "abc", Ascending: true, Raw: true},
			},
		},
		{
			"list with empty parameters", "GET", "/v1/threads?limit=&cursor=&order=&backend=&status=&updated_after=", ``,
			askedThreads{open, engine.ThreadFilter{}, engine.Page{Limit: 50}},
		},
		{"transcript", "GET", messagesPath, ``, askedMessages{threadID, engine.Page{Limit: 50, Ascending: true}}},
		{"transcript backwards", "GET", messagesPath + "?order=desc&limit=200", ``, askedMessages{threadID, engine.Page{Limit: 200}}},
		{"message read", "GET", messagePath + "?include=raw", ``, askedMessage{threadID, messageID, true}},
		{"feedback", "POST", messagePath + "/feedback", `{"feedback":"negative"}`, askedFeedback{threadID, messageID, normalize.FeedbackNegative}},
		{"move", "POST", threadPath + "/move", `{"backend":"b"}`, askedMove{threadID, "b", "none"}},
		{"move with its past", "POST", threadPath + "/move", `{"backend":"b","carry":"transcript"}`, askedMove{threadID, "b", "transcript"}},
		{
			"explain", "POST", "/v1/routes/explain", `{` + said + `,"user":` + userJSON + `,"title":"T","backend":"b","thread_metadata":{"t":"2"},` +
				`"dialect":"toy","bot":"7","caller":"web","headers":{"x-region":"eu"}}`,
			askedExplain{engine.Origin{Caller: engine.Caller{Name: "web", Tenant: "default"}, Dialect: "toy", Bot: "7"}, question},
		},
		{
			"deliveries", "GET", "/v1/webhooks/deliveries?limit=7&cursor=abc&order=asc&endpoint=crm&status=dead", ``,
			askedDeliveries{engine.DeliveryFilter{Endpoint: "crm", Status: "dead"}, engine.Page{Limit: 7, Cursor: "abc", Ascending: true}},
		},
		{"redeliver", "POST", "/v1/webhooks/deliveries/" + deliveryID + "/redeliver", `{}`, askedRedeliver{deliveryID}},
		{"explain of nothing", "POST", "/v1/routes/explain", `{}`, askedExplain{open, engine.SendRequest{New: &engine.NewThread{}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.t = t
			if a := h.do(test.method, test.path, test.body, "Chatmux-Timeout", "2.5"); a.status > 202 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			asked := h.engine.take()
			if e, ok := asked[0].(askedExplain); ok && test.name == "explain" && e.From.Header("X-Region") != "eu" {
				t.Errorf("the header x-region arrived as %q", e.From.Header("X-Region"))
			}
			if diff := cmp.Diff([]any{test.want}, asked, cmpopts.IgnoreFields(engine.Origin{}, "Header")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBodiesOfOneField(t *testing.T) {
	h := newHarness(t, Options{})
	for _, body := range []string{`{}`, `{"feedback":null}`, `{"feedback":"good"}`, `{"feedback":1}`} {
		h.post(messagePath+"/feedback", body).wantField(t, "feedback")
	}
	for _, body := range []string{`{}`, `{"backend":null}`, `{"backend":""}`, `{"backend":1}`} {
		h.post(threadPath+"/move", body).wantField(t, "backend")
	}
	h.post(threadPath+"/move", `{"backend":"b","carry":"summary"}`).wantField(t, "carry")
	h.post(messagePath+"/resend", `{"text":"x"}`).wantField(t, "text")
	h.post(messagePath+"/resend", `{`).want(t, 400, "invalid_json")
	h.do("PATCH", threadPath, `{"status":"closed"}`).wantField(t, "status")
	h.do("PATCH", threadPath, `{"mode":"robot"}`).wantField(t, "mode")
	h.do("PATCH", threadPath, ``, "Content-Type", "application/json").want(t, 400, "invalid_json")
	h.post("/v1/threads", `{"mode":"AI"}`).wantField(t, "mode")
	h.post("/v1/threads", `{"backend":"b","route":"r"}`).wantField(t, "route")
	h.post("/v1/threads", `{"user":{"info":"`+strings.Repeat("x", 4097)+`"}}`).wantField(t, "user.info")
	h.post("/v1/threads", `{"user":{"id":7}}`).wantField(t, "user.id")
	h.post("/v1/routes/explain", `{"headers":{"a":1}}`).wantField(t, "headers.a")
	h.post("/v1/routes/explain", `{"dialect":"klingon"}`).wantField(t, "dialect")
	h.nothing()
}

func TestParameters(t *testing.T) {
	h := newHarness(t, Options{})
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			h.t = t
			test(t)
			h.nothing()
		})
	}
	run("C13_limits_and_cursors_out_of_range_are_422", func(t *testing.T) {
		for _, path := range []string{"/v1/threads", messagesPath} {
			for _, limit := range []string{"0", "-1", "201", "1000000000", "99999999999999999999", "1.5", "abc", "+5", "%2B5", "0x10", "1e1", "%00"} {
				h.get(path+"?limit="+limit).wantField(t, "limit")
			}
			for _, cursor := range []string{"a%20b", "%00", "%ff", "%C3%A4", strings.Repeat("a", 3000)} {
				h.get(path+"?cursor="+cursor).wantField(t, "cursor")
			}
			h.engine.err = normalize.InvalidField("cursor", "is none of ours")
			h.get(path+"?cursor=garbage").wantField(t, "cursor")
			h.engine.err = nil
			h.engine.take()
			h.get(path+"?order=up").wantField(t, "order")
			h.get(path+"?include=everything").wantField(t, "include")
		}
		h.get("/v1/threads?status=closed").wantField(t, "status")
		h.get("/v1/threads?mode=robot").wantField(t, "mode")
		for _, at := range []string{"yesterday", "2026-01-02", "1767322800", "2026-01-02T04:04:05+01:00", "2026-13-02T04:04:05Z"} {
			h.get("/v1/threads?updated_after="+at).wantField(t, "updated_after")
		}
		h.get("/v1/threads?q=%00").wantField(t, "q")
		h.get("/v1/threads?q=%ff").wantField(t, "q")
		h.get("/v1/threads?q="+strings.Repeat("%C3%A4", 1001)).wantField(t, "q")
		h.get("/v1/threads?q="+strings.Repeat("%C3%A4", 1000)).want(t, 200, "")
		h.engine.take()
	})
	run("unknown_and_repeated_parameters_are_422", func(t *testing.T) {
		for _, path := range []string{"/v1/threads", messagesPath, threadPath, messagePath, "/v1/backends", "/v1/backends/echo"} {
			h.get(path+"?colour=red").wantField(t, "colour")
			h.get(path+"?a=%zz").wantField(t, "query")
			h.get(path+"?a;b").wantField(t, "query")
		}
		h.get("/v1/threads?limit=1&limit=2").wantField(t, "limit")
		h.get(messagesPath+"?status=open").wantField(t, "status")
		h.post("/v1/messages?dry_run=1", `{"text":"a"}`).wantField(t, "dry_run")
		h.post("/v1/threads?include=raw", `{}`).wantField(t, "include")
		h.do("DELETE", threadPath+"?force=1", "").wantField(t, "force")
	})
	run("C14_a_timeout_out_of_range_is_422", func(t *testing.T) {
		for _, timeout := range []string{
			"abc", "0", "-1", "301", "1000000000", "1e2", "+5", "5s", "0.9", "300.1", "1.", ".5", "NaN", "Inf", "0x10", "1_0", "1,5", strings.Repeat("9", 30),
		} {
			for _, path := range append(sendPaths, messagePath+"/resend") {
				h.post(path, `{"text":"a"}`, "Chatmux-Timeout", timeout).want(t, 422, "invalid_request")
			}
		}
		h.post("/v1/messages", `{"text":"a"}`, "Chatmux-Timeout", "5", "Chatmux-Timeout", "6").wantField(t, "Chatmux-Timeout")
	})
	run("an_Idempotency-Key_has_1_to_255_visible_characters", func(t *testing.T) {
		for _, key := range []string{"a b", "ä", strings.Repeat("k", 256), "a\tb"} {
			for _, path := range sendPaths {
				h.post(path, `{"text":"a"}`, "Idempotency-Key", key).wantField(t, "Idempotency-Key")
			}
		}
		h.post("/v1/messages", `{"text":"a"}`, "Idempotency-Key", "a", "Idempotency-Key", "b").wantField(t, "Idempotency-Key")
	})
}

func TestTheBodyAndElseAcceptChoosesAStream(t *testing.T) {
	h := newHarness(t, Options{})
	stream := func(path, body string, want bool, headers ...string) {
		t.Helper()
		got := h.post(path, body, headers...).want(t, 200, "").header.Get("Content-Type") == "text/event-stream"
		if got != want {
			t.Errorf("%s %s %v: a stream: %v", path, body, headers, got)
		}
	}
	for _, path := range sendPaths {
		stream(path, `{"text":"a","stream":true}`, true)
		stream(path, `{"text":"a","stream":true}`, true, "Accept", "application/json")
		stream(path, `{"text":"a"}`, true, "Accept", "application/json;q=0.5, text/event-stream")
		stream(path, `{"text":"a","stream":true}`, true, "Prefer", "respond-async")
	}
	stream(messagePath+"/resend", ``, true, "Accept", "text/event-stream")
	stream("/v1/messages", `{"text":"a","stream":false}`, false, "Accept", "text/event-stream")
	stream("/v1/messages", `{"text":"a"}`, false, "Accept", "text/event-stream;q=0, */*")
	stream("/v1/messages", `{"text":"a"}`, false, "Prefer", "return=minimal, wait=10")
}

func TestPaths(t *testing.T) {
	h := newHarness(t, Options{})
	t.Run("C11_a_wrong_method_is_405_with_Allow", func(t *testing.T) {
		h.t = t
		for path, allow := range map[string]string{
			"/v1/threads":                  "GET, HEAD, POST",
			threadPath:                     "GET, HEAD, PATCH, DELETE",
			messagesPath:                   "GET, HEAD, POST",
			"/v1/messages":                 "POST",
			messagePath + "/resend":        "POST",
			"/v1/backends":                 "GET, HEAD",
			"/healthz":                     "GET, HEAD",
			"/docs":                        "GET, HEAD",
			threadPath + "/move?x=%zz":     "POST",
			"/v1/threads/garbage/messages": "GET, HEAD, POST",
		} {
			for _, method := range []string{"PUT", "TRACE", "OPTIONS", "PROPFIND", "get"} {
				if got := h.do(method, path, "").want(t, 405, "method_not_allowed").header.Get("Allow"); got != allow {
					t.Errorf("%s %s: Allow is %q, want %q", method, path, got, allow)
				}
			}
		}
		h.nothing()
	})
	t.Run("A19_an_id_of_another_form_is_as_one_that_never_existed", func(t *testing.T) {
		h.t = t
		h.engine.err = normalize.Errorf(normalize.KindNotFound, "thread %s belongs to somebody else", threadID)
		absent := h.get(threadPath).want(t, 404, "not_found")
		h.engine.err = nil
		h.engine.take()
		for _, id := range []string{
			"x", strings.ToUpper(threadID), threadID + "0", messageID, "thr_", "..", "%2e%2e", "a%2Fb", "%00", "%ff", threadID + "%20",
			normalize.UUIDForm(threadID), "thr_81081g00000000000000000000",
		} {
			for _, path := range []string{"", "/messages", "/messages/" + messageID} {
				got := h.get("/v1/threads/" + id + path)
				got.want(t, 404, "not_found")
				if a, b := withoutID(t, absent), withoutID(t, got); !maps.Equal(a, b) {
					t.Errorf("%s: %v, an absent one is %v", id, b, a)
				}
			}
		}
		h.do("PATCH", "/v1/threads/x", `{}`).want(t, 404, "not_found")
		h.do("DELETE", "/v1/threads/x", ``).want(t, 404, "not_found")
		for _, path := range []string{"/v1/threads/x/move", "/v1/threads/x/messages", messagesPath + "/x/resend", messagesPath + "/x/feedback"} {
			h.post(path, `{}`).want(t, 404, "not_found")
		}
		h.get(messagesPath+"/"+threadID).want(t, 404, "not_found")
		h.get("/v1/backends/nobody").want(t, 404, "not_found")
		h.nothing()
		h.get("/v1/threads/"+strings.Replace(threadID, "_", "%5F", 1)).want(t, 200, "")
		h.engine.take()
	})
}

// withoutID is a problem object but for what names the request.
func withoutID(t *testing.T, a answer) map[string]string {
	t.Helper()
	p := a.problem(t)
	return map[string]string{
		"code": p.Code, "detail": p.Detail, "status": fmt.Sprint(p.Status), "bytes": fmt.Sprint(len(a.body)), "outcome": p.Outcome,
		"headers": strings.Join(slices.Sorted(maps.Keys(http.Header(a.header))), " "),
	}
}
