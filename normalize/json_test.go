package normalize_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/normalize"
)

var (
	yes  = true
	no   = false
	noon = time.Date(2026, 3, 4, 12, 0, 0, 480_999_999, time.FixedZone("", 3600))
)

func fullThread() normalize.Thread {
	return normalize.Thread{
		ID: "thr_1", Tenant: "acme-tenant", Backend: "docs-bot", Route: "default",
		User: normalize.User{ID: "u1", Name: "Jo <é> & \"co\"", Email: "jo@acme.example", Phone: "+49", Info: "a\nb"},
		Mode: normalize.ModeHuman, Status: normalize.ThreadBlocked, Title: "T",
		Tags:      []normalize.Tag{{ID: "1", Name: "vip", Color: "#fff"}, {}},
		Assignees: []normalize.Assignee{{ID: "2", Name: "Al", Email: "al@acme.example"}},
		Metadata:  map[string]string{"b": "", "a": "1"},
		Channel:   normalize.Channel{ID: "3", Name: "site", Type: "api"},
		Escalated: &no, MessageCount: 7,
		Bindings: []normalize.Binding{
			{Backend: "docs-bot", Vendor: "v", Bot: "b", Remote: normalize.Remote{ThreadID: "r", UserID: "hidden-user"}, Since: noon, Until: noon, Reason: "moved"},
			{Backend: "echo", Vendor: "echo", Since: noon},
		},
		CreatedAt: noon, UpdatedAt: noon, Raw: json.RawMessage(`{"x":1}`),
	}
}

func fullMessage() normalize.Message {
	return normalize.Message{
		ID: "msg_1", ThreadID: "thr_1", Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: " <b>早安</b> & 🧑‍🚀\r\n\t\u2028\x01 ",
		Attachments: []normalize.Attachment{{ID: "a", Type: normalize.TypeImage, URL: "https://x/?a=1&b=2", Filename: "f", ContentType: "image/png"}, {}},
		Author:      normalize.Author{ID: "1", Name: "Bot", Email: "e", AvatarURL: "u"},
		Status:      normalize.StatusIncomplete, Reason: "truncated", InReplyTo: "msg_0", Backend: "docs-bot", RemoteID: "r", Model: "gpt",
		Sources:     []normalize.Source{{Title: "t", URL: "u", Text: "x"}, {}},
		Suggestions: []normalize.Suggestion{{ID: "i", Title: "t", Text: "x", URL: "u"}, {}},
		Feedback:    normalize.FeedbackPositive, Read: &yes, Notice: "conversation_escalated",
		Metadata: map[string]string{"k": "v"}, CreatedAt: noon, Raw: json.RawMessage(`[1]`),
	}
}

func TestThreadAsTheAPIShowsIt(t *testing.T) {
	full, empty := fullThread(), normalize.Thread{}
	const fullJSON = `{"id":"thr_1","object":"thread","backend":"docs-bot","route":"default",` +
		`"user":{"id":"u1","name":"Jo <é> & \"co\"","email":"jo@acme.example","phone":"+49","info":"a\nb"},` +
		`"mode":"human","status":"blocked","title":"T","tags":[{"id":"1","name":"vip","color":"#fff"},{"id":null,"name":null,"color":null}],` +
		`"assignees":[{"id":"2","name":"Al","email":"al@acme.example"}],"metadata":{"a":"1","b":""},` +
		`"channel":{"id":"3","name":"site","type":"api"},"escalated":false,"message_count":7,"bindings":[` +
		`{"backend":"docs-bot","vendor":"v","bot":"b","remote_id":"r","since":"2026-03-04T11:00:00.480Z","until":"2026-03-04T11:00:00.480Z","reason":"moved"},` +
		`{"backend":"echo","vendor":"echo","bot":null,"remote_id":null,"since":"2026-03-04T11:00:00.480Z","until":null,"reason":null}],` +
		`"created_at":"2026-03-04T11:00:00.480Z","updated_at":"2026-03-04T11:00:00.480Z"`
	const emptyJSON = `{"id":null,"object":"thread","backend":null,"route":null,"user":{"id":null,"name":null,"email":null,"phone":null,"info":null},` +
		`"mode":null,"status":null,"title":null,"tags":[],"assignees":[],"metadata":{},"channel":{"id":null,"name":null,"type":null},` +
		`"escalated":null,"message_count":0,"bindings":[],"created_at":null,"updated_at":null`
	for _, tt := range []struct {
		thread normalize.Thread
		raw    bool
		want   string
	}{
		{full, false, fullJSON + `}`},
		{full, true, fullJSON + `,"raw":{"x":1}}`},
		{empty, false, emptyJSON + `}`},
		{empty, true, emptyJSON + `,"raw":null}`},
	} {
		if diff := cmp.Diff(tt.want, string(tt.thread.AppendJSON(nil, tt.raw))); diff != "" {
			t.Errorf("raw %v (-want +got):\n%s", tt.raw, diff)
		}
	}
}

func TestMessageAsTheAPIShowsIt(t *testing.T) {
	full, empty := fullMessage(), normalize.Message{}
	const fullJSON = `{"id":"msg_1","object":"message","thread_id":"thr_1","role":"assistant","type":"text",` +
		`"text":" <b>早安</b> & 🧑‍🚀\r\n\t` + "\u2028" + `\u0001 ",` +
		`"attachments":[{"id":"a","type":"image","url":"https://x/?a=1&b=2","filename":"f","content_type":"image/png"},` +
		`{"id":null,"type":null,"url":null,"filename":null,"content_type":null}],` +
		`"author":{"id":"1","name":"Bot","email":"e","avatar_url":"u"},"status":"incomplete","reason":"truncated","in_reply_to":"msg_0",` +
		`"backend":"docs-bot","remote_id":"r","model":"gpt","sources":[{"title":"t","url":"u","text":"x"},{"title":null,"url":null,"text":null}],` +
		`"suggestions":[{"id":"i","title":"t","text":"x","url":"u"},{"id":null,"title":null,"text":null,"url":null}],` +
		`"feedback":"positive","read":true,"notice":"conversation_escalated","metadata":{"k":"v"},"created_at":"2026-03-04T11:00:00.480Z"`
	const emptyJSON = `{"id":null,"object":"message","thread_id":null,"role":null,"type":null,"text":null,"attachments":[],` +
		`"author":{"id":null,"name":null,"email":null,"avatar_url":null},"status":null,"reason":null,"in_reply_to":null,"backend":null,` +
		`"remote_id":null,"model":null,"sources":[],"suggestions":[],"feedback":null,"read":null,"notice":null,"metadata":{},"created_at":null`
	for _, tt := range []struct {
		message normalize.Message
		raw     bool
		want    string
	}{
		{full, false, fullJSON + `}`},
		{full, true, fullJSON + `,"raw":[1]}`},
		{empty, false, emptyJSON + `}`},
		{empty, true, emptyJSON + `,"raw":null}`},
	} {
		if diff := cmp.Diff(tt.want, string(tt.message.AppendJSON(nil, tt.raw))); diff != "" {
			t.Errorf("raw %v (-want +got):\n%s", tt.raw, diff)
		}
	}
}

func TestEveryDocumentedFieldIsThere(t *testing.T) {
	documentedThread := []string{
		"id", "object", "backend", "route", "user", "mode", "status", "title", "tags", "assignees", "metadata", "channel",
		"escalated", "message_count", "bindings", "created_at", "updated_at",
	}
	documentedMessage := []string{
		"id", "object", "thread_id", "role", "type", "text", "attachments", "author", "status", "reason", "in_reply_to",
		"backend", "remote_id", "model", "sources", "suggestions", "feedback", "read", "notice", "created_at", "metadata",
	}
	for _, tt := range []struct {
		value any
		want  []string
	}{{normalize.Thread{}, documentedThread}, {normalize.Message{}, documentedMessage}} {
		var got map[string]any
		b, err := json.Marshal(tt.value)
		if err == nil {
			err = json.Unmarshal(b, &got)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(tt.want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%T (-want +got):\n%s", tt.value, diff)
		}
	}
}

// Whoever marshals a thread, by value or by pointer, alone or in something else,
// shows what the API shows.
func TestMarshalNeverShowsTenantOrVendorsObject(t *testing.T) {
	thread, message := fullThread(), fullMessage()
	for _, v := range []any{thread, &thread, []normalize.Thread{thread}, map[string]any{"thread": thread}, message, &message, []normalize.Message{message}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, hidden := range []string{"acme-tenant", "hidden-user", "Tenant", "raw", "Raw"} {
			if bytes.Contains(b, []byte(hidden)) {
				t.Errorf("%T shows %s: %s", v, hidden, b)
			}
		}
	}
}

func TestAppendAppends(t *testing.T) {
	thread, message := fullThread(), fullMessage()
	for _, got := range [][]byte{
		thread.AppendJSON([]byte("x"), true), message.AppendJSON([]byte("x"), true), normalize.AppendTime([]byte("x"), noon), normalize.AppendString([]byte("x"), "\"\n"),
	} {
		if got[0] != 'x' || !json.Valid(got[1:]) {
			t.Errorf("appended to x: %s", got)
		}
	}
}

func TestAppendStringEscapesNothingThatNeedNotBe(t *testing.T) {
	for in, want := range map[string]string{
		"":                            `""`,
		"<script>alert('&')</script>": `"<script>alert('&')</script>"`,
		"早安 שלום 🧑🏽‍🚀":                `"早安 שלום 🧑🏽‍🚀"`,
		"a\"b\\c/d":                   `"a\"b\\c/d"`,
		"\r\n\t":                      `"\r\n\t"`,
		"\x00\x08\x0c\x1f\x7f":        `"\u0000\u0008\u000c\u001f` + "\x7f" + `"`,
		"\u2028\u2029\ufffd":          "\"\u2028\u2029\ufffd\"",
		"a\xffb\xed\xa0\x80c":         "\"a\ufffdb\ufffd\ufffd\ufffdc\"",
	} {
		if got := string(normalize.AppendString(nil, in)); got != want {
			t.Errorf("%q is written %s, want %s", in, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\"b\\c\n", "<>&\u2028", "\x00\x1f\x7f", "\xff\xed\xa0\x80", "早安 🧑🏽‍🚀", strings.Repeat("x", 100) + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := normalize.AppendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q is written %s: %v", s, got, err)
		}
		reference, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(reference, &want); err != nil {
			t.Fatal(err)
		}
		if back != want {
			t.Errorf("%q is written %s, which reads as %q, want %q", s, got, back, want)
		}
		if bytes.ContainsAny(got, "\n\r\x00") {
			t.Errorf("%q is written on more than one line: %q", s, got)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	m := fullMessage()
	m.Text = strings.Repeat("Line one, with \"quotes\" and 早安.\n", 20)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendJSON(buf[:0], false)
	}
}
