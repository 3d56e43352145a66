package altur

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"chatmux/normalize"
)

func TestTheDialectReadsTheKeyInItsVendorsForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{[]string{"api-key cmx_1"}, "cmx_1"},
		{[]string{"Api-Key cmx_1"}, "cmx_1"},
		{[]string{"cmx_1"}, "cmx_1"}, // as the oldest examples write it
		{[]string{"Bearer cmx_1"}, ""},
		{[]string{"api-key cmx_1", "api-key cmx_2"}, ""},
		{nil, ""},
	} {
		if got := Spec.Dialect.Key(http.Header{"Authorization": c.headers}); got != c.want {
			t.Errorf("%q: key %q, want %q", c.headers, got, c.want)
		}
	}
}

func TestEveryRoleAndTypeHasAWordOfTheVendors(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)
	yes := true
	for name, c := range map[string]struct {
		message normalize.Message
		want    string
	}{
		"a person": {
			normalize.Message{Role: normalize.RoleUser, Type: normalize.TypeText, Text: "<hi>", Read: &yes},
			`{"thread_id":"t","type":"text","content":"<hi>","sent_by":"EU","sent_at":"2026-03-04T10:15:31.480Z","read":true}`,
		},
		"the bot, with a picture": {
			normalize.Message{Role: normalize.RoleAssistant, Type: normalize.TypeImage, Attachments: []normalize.Attachment{{URL: "https://example.com/a.png"}}},
			`{"thread_id":"t","type":"image","media":"https://example.com/a.png","sent_by":"AI","sent_at":"2026-03-04T10:15:31.480Z"}`,
		},
		"a human": {
			normalize.Message{Role: normalize.RoleOperator, Type: normalize.TypeOther, Text: "I", Author: normalize.Author{Name: "Ana"}},
			`{"thread_id":"t","type":"text","content":"I","sent_by":"AI","sent_by_user":"Ana","sent_at":"2026-03-04T10:15:31.480Z"}`,
		},
		"a human without a name": {
			normalize.Message{Role: normalize.RoleOperator, Type: normalize.TypeSticker},
			`{"thread_id":"t","type":"image","sent_by":"AI","sent_by_user":"operator","sent_at":"2026-03-04T10:15:31.480Z"}`,
		},
		"nobody": {
			normalize.Message{Role: normalize.RoleSystem, Type: normalize.TypeTemplate, Text: "escalated"},
			`{"thread_id":"t","type":"template","content":"escalated","sent_by":"SYS","sent_at":"2026-03-04T10:15:31.480Z"}`,
		},
	} {
		c.message.CreatedAt = at
		if got := string(encode(showMessage(&c.message, "t"))); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
	never := []normalize.Message{{Role: normalize.RoleUser, Status: normalize.StatusFailed}, {Role: normalize.RoleSystem, Notice: "thread_moved"}}
	if shown := showMessages(never, "t"); len(shown) != 0 {
		t.Errorf("what was never said is shown: %+v", shown)
	}
}

func TestAThreadIsShownWithWhatIsKnownAndRequired(t *testing.T) {
	t.Parallel()
	thread := normalize.Thread{
		Mode: normalize.ModeHuman, Status: normalize.ThreadBlocked, UpdatedAt: time.Date(2026, 3, 4, 10, 15, 31, 0, time.UTC),
		Channel:   normalize.Channel{ID: "c", Type: "whatsapp"},
		Tags:      []normalize.Tag{{ID: "1"}, {ID: "2", Name: "vip", Color: "pink"}},
		Assignees: []normalize.Assignee{{ID: "u", Name: "Ana María Diaz"}},
	}
	const want = `{"id":"t","chatbot":{"id":"b"},"enduser":{"id":"p","display_name":"","integration_type":"whatsapp"},` +
		`"integration":{"id":"c","type":"whatsapp"},"updated_at":"2026-03-04T10:15:31.000Z","active":false,"blocked":true,` +
		`"tags":[{"id":"1","name":"1","color":"blue"},{"id":"2","name":"vip","color":"pink"}],` +
		`"assigned_to":[{"id":"u","email":"","first_name":"Ana","last_name":"María Diaz"}]}`
	if got := string(encode(showThread(&thread, "b", "t", bodyChatbot, &person{ID: "p"}))); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	thread.Channel.Type = "web" // no word of the vendor's
	if got := showThread(&thread, "", "t", bodyAgent, &person{}); got.Channel != nil || got.Agent != nil || got.EndUser != nil {
		t.Errorf("what is not known is shown: %+v", got)
	}
}

func TestAThreadFromBeforeKeepsItsVendorsId(t *testing.T) {
	t.Parallel()
	ours := normalize.FormatID(normalize.PrefixThread, [16]byte{1})
	held := normalize.Binding{Vendor: "altur", Reason: "adopted", Remote: normalize.Remote{ThreadID: "thr-481"}}
	for name, c := range map[string]struct {
		thread normalize.Thread
		want   string
	}{
		"ours":                   {normalize.Thread{ID: ours}, normalize.UUIDForm(ours)},
		"from before":            {normalize.Thread{ID: ours, Bindings: []normalize.Binding{held, {Vendor: "echo"}}}, "thr-481"},
		"made there by us":       {normalize.Thread{ID: ours, Bindings: []normalize.Binding{{Vendor: "altur", Reason: "routed", Remote: held.Remote}}}, normalize.UUIDForm(ours)},
		"called so by a dialect": {normalize.Thread{ID: ours, Asked: "altur/b", Called: "thr-9"}, "thr-9"},
		"by another dialect":     {normalize.Thread{ID: ours, Asked: "sitegpt/b", Called: "order-17"}, normalize.UUIDForm(ours)},
	} {
		if got := threadID(&c.thread); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAFailureHasAStatusThatTheVendorCouldGive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failure *normalize.Error
		status  int
		body    string
	}{
		{normalize.InvalidField("content", "is too long"), 400, `{"error":400,"message":"content: is too long"}`},
		{&normalize.Error{Kind: normalize.KindRejected, Detail: "no", VendorStatus: 404}, 404, `{"error":404,"message":"no"}`},
		{&normalize.Error{Kind: normalize.KindRejected, Detail: "no", VendorStatus: 403}, 400, `{"error":400,"message":"no"}`},
		{&normalize.Error{Kind: normalize.KindThreadBusy}, 409, `{"error":409,"message":"another message of this thread is being sent"}`},
		{&normalize.Error{Kind: normalize.KindTimeout}, 504, `{"error":504,"message":"the backend did not answer in time"}`},
	} {
		w := httptest.NewRecorder()
		Spec.Dialect.Fail(w, httptest.NewRequest(http.MethodGet, "/altur/x", nil), "req", c.failure)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: %d %s", c.failure, w.Code, w.Body)
		}
	}
}
