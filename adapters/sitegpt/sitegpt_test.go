package sitegpt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

var versions = []string{versionV0, versionV2}

func TestTalentsFollowFromTheVersion(t *testing.T) {
	talents := map[string]func(any) bool{
		"operator": has[adapters.OperatorSender],
		"create":   has[adapters.ThreadCreator],
		"read":     has[adapters.ThreadReader],
		"list":     has[adapters.ThreadLister],
		"messages": has[adapters.MessageLister],
		"mode":     has[adapters.ModeSwitcher],
		"webhook":  has[adapters.WebhookRegistrar],
		"user":     has[adapters.UserUpdater],
		"delete":   has[adapters.ThreadDeleter],
		"escalate": has[adapters.Escalator],
		"history":  has[adapters.History],
		"upload":   has[adapters.Uploader],
	}
	for version, want := range map[string]string{
		versionV0: "create list messages mode operator read user webhook",
		versionV2: "delete escalate list messages mode read",
	} {
		adapter := (&stub{}).open(t, version)
		for name, has := range talents {
			if got, want := has(adapter), strings.Contains(" "+want+" ", " "+name+" "); got != want {
				t.Errorf("%s: talent %s: got %v, want %v", version, name, got, want)
			}
		}
	}
}

func has[T any](adapter any) bool {
	_, ok := adapter.(T)
	return ok
}

func TestEveryWrongSettingIsReported(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Settings)
		want   string
	}{
		{"right", func(*Settings) {}, ""},
		{"sandbox", func(s *Settings) { s.BaseURL = adapters.Sandbox }, ""},
		{"path before the origin's end", func(s *Settings) { s.BaseURL = "http://127.0.0.1:8080/sitegpt" }, ""},
		{"no base_url", func(s *Settings) { s.BaseURL = "" }, "base_url"},
		{"base_url with /api", func(s *Settings) { s.BaseURL = "https://sitegpt.ai/api" }, "base_url"},
		{"base_url with the version", func(s *Settings) { s.BaseURL = "https://sitegpt.ai/api/v0" }, "base_url"},
		{"version", func(s *Settings) { s.Version = "v1" }, "version"},
		{"no key", func(s *Settings) { s.APIKey = normalize.Secret{} }, "api_key"},
		{"no bot", func(s *Settings) { s.ChatbotID = "" }, "chatbot_id"},
		{"all", func(s *Settings) { *s = Settings{} }, "base_url version api_key chatbot_id"},
	} {
		settings := Spec.Settings().(*Settings)
		settings.APIKey, settings.ChatbotID = normalize.NewSecret(testKey), "365062873485935184"
		test.change(settings)
		var fields []string
		settings.Check(func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != test.want {
			t.Errorf("%s: reported %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSettingsSayWhereAndWhichBot(t *testing.T) {
	settings := Spec.Settings().(*Settings)
	if got := *settings.Endpoint(); got != "https://sitegpt.ai" {
		t.Errorf("default endpoint: %s", got)
	}
	if settings.Version != versionV0 {
		t.Errorf("default version: %s", settings.Version)
	}
	settings.ChatbotID = "1"
	if settings.BotID() != "1" {
		t.Errorf("bot: %s", settings.BotID())
	}
}

// The codes that the documents list, under each status they may come with.
func TestErrorsOfTheVendorBecomeKinds(t *testing.T) {
	v0Error := func(code string) string {
		return `{"success":false,"message":"Failed","data":null,"error":{"code":"` + code + `","message":"Why it failed","details":null}}`
	}
	v2Error := func(code string) string {
		return `{"ok":false,"error":{"code":"` + code + `","message":"Why it failed","hint":"h","details":{}},"meta":{"requestId":"r"}}`
	}
	for _, test := range []struct {
		status int
		code   string
		want   normalize.Kind
	}{
		{401, "API_KEY_NOT_VALID", normalize.KindUnauthorized},
		{403, "API_KEY_NOT_VALID", normalize.KindUnauthorized},
		{401, "TOKEN_NOT_VALID", normalize.KindUnauthorized},
		{403, "TOKEN_SCOPE_NOT_ALLOWED", normalize.KindUnauthorized},
		{400, "TOKEN_SCOPE_NOT_VALID", normalize.KindUnauthorized},
		{403, "AUTHORIZATION_HEADER_REQUIRED", normalize.KindUnauthorized},
		{401, "SOMETHING_NEW", normalize.KindUnauthorized},
		{403, "MESSAGES_LIMIT_REACHED", normalize.KindQuota},
		{429, "MESSAGES_LIMIT_REACHED", normalize.KindQuota},
		{400, "CHATBOT_LIMIT_REACHED", normalize.KindQuota},
		{402, "SOMETHING_NEW", normalize.KindQuota},
		{429, "TOO_MANY_REQUESTS", normalize.KindRateLimited},
		{400, "REQUEST_VALIDATION_FAILED", normalize.KindRejected},
		{400, "VALIDATION_FAILED", normalize.KindRejected},
		{403, "CHATBOT_FETCH_FORBIDDEN", normalize.KindRejected},
		{403, "ANALYTICS_LOCKED", normalize.KindRejected},
		{404, "CHATBOT_NOT_FOUND", normalize.KindRejected},
		{405, "METHOD_NOT_ALLOWED", normalize.KindRejected},
		{500, "INTERNAL_SERVER_ERROR", normalize.KindVendorFault},
		{500, "API_KEY_NOT_VALID", normalize.KindVendorFault}, // a server that fails knows nothing of our key
		{200, "API_KEY_NOT_VALID", normalize.KindUnauthorized},
		{200, "TOKEN_NOT_VALID", normalize.KindUnauthorized},
		{200, "MESSAGES_LIMIT_REACHED", normalize.KindQuota},
		{200, "REQUEST_VALIDATION_FAILED", normalize.KindRejected},
	} {
		for version, body := range map[string]string{versionV0: v0Error(test.code), versionV2: v2Error(test.code)} {
			vendor := &stub{status: test.status, answer: body}
			_, err := vendor.open(t, version).Send(t.Context(), toThread("t-1"))
			failure := wantKind(t, fmt.Sprintf("%s: %d %s", version, test.status, test.code), err, test.want)
			if failure.VendorStatus != test.status || failure.VendorCode != test.code || failure.Phase != normalize.PhaseStatus {
				t.Errorf("%s: %d %s: got status %d, code %s, phase %s",
					version, test.status, test.code, failure.VendorStatus, failure.VendorCode, failure.Phase)
			}
			if !strings.Contains(failure.Detail, "Why it failed") {
				t.Errorf("%s: %d %s: the vendor's sentence is not in %q", version, test.status, test.code, failure.Detail)
			}
			vendor.only(t)
		}
	}
}

// U27: a vendor that repeats our key in an error.
func TestKeyIsInNoError(t *testing.T) {
	for _, status := range []int{200, 400, 401, 500} {
		for _, version := range versions {
			vendor := &stub{status: status, answer: `{"success":false,"ok":false,"message":"` + testKey + `","error":{"code":"` + testKey +
				`","message":"the key ` + testKey + ` is bad"}}`}
			_, err := vendor.open(t, version).Send(t.Context(), toThread("t-1"))
			failure := normalize.AsError(err)
			if failure == nil || strings.Contains(fmt.Sprintf("%v %+v", err, *failure), testKey) {
				t.Errorf("%s: %d: the error holds the key: %v", version, status, err)
			}
		}
	}
}

// A 2xx is judged by its flag, and without a flag by its data.
func TestEnvelopeIsJudgedByItsFlagAndElseByItsData(t *testing.T) {
	const data = `{"message":{"id":"1","threadId":"t-1","messageType":"NORMAL_MESSAGE","answer":{"text":"Yes"}}}`
	flag := map[string]string{versionV0: "success", versionV2: "ok"}
	for _, version := range versions {
		for answer, want := range map[string]normalize.Kind{
			`{"` + flag[version] + `":true,"data":` + data + `}`:   0,
			`{"data":` + data + `}`:                                0,
			`{"` + flag[version] + `":null,"data":` + data + `}`:   0,
			`{"` + flag[version] + `":false,"data":` + data + `}`:  normalize.KindRejected,
			`{"` + flag[version] + `":false}`:                      normalize.KindRejected,
			`{}`:                                                   normalize.KindInvalidReply,
			`{"` + flag[version] + `":true}`:                       normalize.KindInvalidReply,
			`{"` + flag[version] + `":true,"data":null}`:           normalize.KindInvalidReply,
			`{"` + flag[version] + `":true,"data":{}}`:             normalize.KindInvalidReply,
			`{"` + flag[version] + `":true,"data":[` + data + `]}`: normalize.KindInvalidReply,
			`{"` + flag[version] + `":true,"data":{"message":"{\"id\":\"1\",\"answer\":\"Yes\"}"}}`: normalize.KindInvalidReply,
			`<html>Yes</html>`:        normalize.KindInvalidReply,
			``:                        normalize.KindInvalidReply,
			`{"data":` + data:         normalize.KindInvalidReply,
			`[{"data":` + data + `}]`: normalize.KindInvalidReply,
		} {
			reply, err := (&stub{answer: answer}).open(t, version).Send(t.Context(), toThread("t-1"))
			if want != 0 {
				wantKind(t, version+" "+answer, err, want)
				if len(reply.Messages) != 0 {
					t.Errorf("%s %s: a failure brought replies", version, answer)
				}
			} else if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != "Yes" {
				t.Errorf("%s %s: got %v, %v", version, answer, reply.Messages, err)
			}
		}
	}
}

// The documents write ids in several places; they are opaque strings, whatever
// their form.
func TestIDsAreReadWhereverTheVendorWritesThem(t *testing.T) {
	const answer = `"messageType":"NORMAL_MESSAGE","question":{"text":"q"},"answer":{"text":"a"}}`
	for _, test := range []struct {
		data, thread, sent, reply string
	}{
		{`{"message":{"id":"1","threadId":"x y/z",` + answer + `}`, "x y/z", "1:q", "1:a"},
		{`{"message":{"messageId":"2","id":"1","threadId":"t",` + answer + `}`, "t", "2:q", "2:a"},
		{`{"message":{"id":"1","messageId":"2","threadId":"t",` + answer + `}`, "t", "2:q", "2:a"},
		{`{"message":{"id":9007199254740993,"threadId":9007199254740995,` + answer + `}`, "9007199254740995", "9007199254740993:q", "9007199254740993:a"},
		{`{"threadId":"outer","message":{"id":"1",` + answer + `}`, "outer", "1:q", "1:a"},
		{`{"conversation":{"threadId":"c"},"message":{"id":"1",` + answer + `}`, "c", "1:q", "1:a"},
		{`{"conversation":{"threadId":"c"},"threadId":"outer","message":{"id":"1","threadId":"t",` + answer + `}`, "t", "1:q", "1:a"},
		{`{"message":{"threadId":"t",` + answer + `}`, "t", "", ""},
	} {
		reply, err := decode(t, versionV0, `{"success":true,"data":`+test.data+`}`, adapters.Turn{})
		if err != nil {
			t.Errorf("%s: %v", test.data, err)
			continue
		}
		if reply.Remote.ThreadID != test.thread || reply.Sent.RemoteID != test.sent || reply.Messages[0].RemoteID != test.reply {
			t.Errorf("%s: got %q, %q, %q", test.data, reply.Remote.ThreadID, reply.Sent.RemoteID, reply.Messages[0].RemoteID)
		}
	}
}

// U26: the text of another conversation is neither shown nor stored.
func TestReplyOfAnotherConversationIsInvalid(t *testing.T) {
	for _, version := range versions {
		vendor := &stub{answer: `{"data":{"message":{"id":"1","threadId":"t-2","answer":{"text":"secret of t-2"}}}}`}
		reply, err := vendor.open(t, version).Send(t.Context(), toThread("t-1"))
		wantKind(t, version, err, normalize.KindInvalidReply)
		if diff := cmp.Diff(adapters.Reply{}, reply); diff != "" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: something of it came through: %s, %v", version, diff, err)
		}
		vendor = &stub{answer: `{"data":{"thread":{"threadId":"t-2","messages":[]},"conversation":{"threadId":"t-2","messages":[]}}}`}
		_, err = vendor.open(t, version).(adapters.ThreadReader).ReadThread(t.Context(), normalize.Remote{ThreadID: "t-1"})
		wantKind(t, version+": read", err, normalize.KindInvalidReply)
	}
}

// A reply whose conversation has no name would be the bot's last memory of it.
func TestNewConversationWithoutANameIsInvalid(t *testing.T) {
	_, err := decode(t, versionV0, `{"success":true,"data":{"message":{"id":"1","answer":{"text":"a"}}}}`, adapters.Turn{})
	wantKind(t, "no thread id", err, normalize.KindInvalidReply)
}

// U15 and U19: no answer is right where a human has the thread, a failure where the
// vendor says so, and else not what the API promises.
func TestWhatBecomesOfASendWithoutAnAnswer(t *testing.T) {
	const (
		none   = -1
		system = `"messageType":"SYSTEM_MESSAGE","systemMessageType":`
	)
	for _, test := range []struct {
		name, message string
		mode          normalize.Mode
		want          normalize.Kind
		role          normalize.Role
	}{
		{"answer", `"messageType":"NORMAL_MESSAGE","answer":{"text":"a"}`, normalize.ModeAI, none, normalize.RoleAssistant},
		{"answer of a type that is new", `"messageType":"NEW_MESSAGE","answer":{"text":"a"}`, normalize.ModeAI, none, normalize.RoleAssistant},
		{"answer without a type", `"answer":{"text":"a"}`, normalize.ModeAI, none, normalize.RoleAssistant},
		{"answer of a human", `"messageType":"AGENT_MESSAGE","answer":{"text":"a"}`, normalize.ModeAI, none, normalize.RoleOperator},
		{"answer of spaces", `"messageType":"NORMAL_MESSAGE","answer":{"text":" \n"}`, normalize.ModeAI, none, normalize.RoleAssistant},
		{"null", `"messageType":"NORMAL_MESSAGE","answer":null`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"absent", `"messageType":"NORMAL_MESSAGE"`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"mode unknown", `"messageType":"NORMAL_MESSAGE"`, "", normalize.KindInvalidReply, ""},
		{"nothing of a human", `"messageType":"AGENT_MESSAGE","answer":null`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"number", `"messageType":"NORMAL_MESSAGE","answer":7`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"array", `"messageType":"NORMAL_MESSAGE","answer":["a"]`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"object", `"messageType":"NORMAL_MESSAGE","answer":{}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"text null", `"messageType":"NORMAL_MESSAGE","answer":{"text":null}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"text empty", `"messageType":"NORMAL_MESSAGE","answer":{"text":""}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"text a number", `"messageType":"NORMAL_MESSAGE","answer":{"text":7}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"text an array", `"messageType":"NORMAL_MESSAGE","answer":{"text":["a"]}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"text an object", `"messageType":"NORMAL_MESSAGE","answer":{"text":{"text":"a"}}`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"human has the thread, null", `"messageType":"NORMAL_MESSAGE","answer":null`, normalize.ModeHuman, none, ""},
		{"human has the thread, absent", `"messageType":"NORMAL_MESSAGE"`, normalize.ModeHuman, none, ""},
		{"human has the thread, empty", `"messageType":"NORMAL_MESSAGE","answer":{"text":""}`, normalize.ModeHuman, none, ""},
		{"human has the thread, number", `"messageType":"NORMAL_MESSAGE","answer":7`, normalize.ModeHuman, normalize.KindInvalidReply, ""},
		{"waits for a human, null", `"messageType":"USER_MESSAGE","answer":null`, normalize.ModeAI, none, ""},
		{"waits for a human, number", `"messageType":"USER_MESSAGE","answer":7`, normalize.ModeAI, normalize.KindInvalidReply, ""},
		{"quota", system + `"EXCEEDED_USAGE_LIMITS","answer":null`, normalize.ModeAI, normalize.KindQuota, ""},
		{"quota while a human has it", system + `"EXCEEDED_USAGE_LIMITS"`, normalize.ModeHuman, normalize.KindQuota, ""},
		{"quota, but an answer", system + `"EXCEEDED_USAGE_LIMITS","answer":{"text":"Full"}`, normalize.ModeAI, none, normalize.RoleSystem},
		{"upstream", system + `"PROBLEMS_WITH_UPSTREAM_PROVIDER","answer":{"text":""}`, normalize.ModeAI, normalize.KindVendorFault, ""},
		{"other notice", system + `"CONVERSATION_ESCALATED","answer":null`, normalize.ModeAI, none, ""},
		{
			"notice of no system message", `"messageType":"NORMAL_MESSAGE","systemMessageType":"EXCEEDED_USAGE_LIMITS","answer":null`,
			normalize.ModeAI, normalize.KindInvalidReply, "",
		},
	} {
		for version, flag := range map[string]string{versionV0: "success", versionV2: "ok"} {
			turn := toThread("t-1")
			turn.Thread.Mode = test.mode
			body := `{"` + flag + `":true,"data":{"message":{"id":"1","threadId":"t-1","question":{"text":"q"},` + test.message + `}}}`
			reply, err := decode(t, version, body, turn)
			name := version + ": " + test.name
			if reply.Remote.ThreadID != "t-1" || reply.Sent.RemoteID != "1:q" {
				t.Errorf("%s: what is certain is missing: %+v", name, reply)
			}
			switch {
			case test.want != none:
				if failure := wantKind(t, name, err, test.want); failure.VendorStatus != http.StatusOK || failure.Phase != normalize.PhaseStatus {
					t.Errorf("%s: got status %d in %s", name, failure.VendorStatus, failure.Phase)
				}
				if len(reply.Messages) != 0 {
					t.Errorf("%s: a failure brought replies", name)
				}
			case err != nil:
				t.Errorf("%s: %v", name, err)
			case test.role == "" && len(reply.Messages) != 0:
				t.Errorf("%s: got replies, want none", name)
			case test.role != "" && (len(reply.Messages) != 1 || reply.Messages[0].Role != test.role):
				t.Errorf("%s: got %+v, want one of role %s", name, reply.Messages, test.role)
			}
		}
	}
}

// Where the answer itself says that a human has the conversation, it is believed.
func TestModeInTheAnswerCountsMoreThanOurs(t *testing.T) {
	const body = `{"ok":true,"data":{"conversation":{"threadId":"t-1","mode":"%s"},
		"message":{"messageId":"1","messageType":"NORMAL_MESSAGE","answer":null}}}`
	turn := toThread("t-1")
	turn.Thread.Mode = normalize.ModeAI
	if reply, err := decode(t, versionV2, fmt.Sprintf(body, "AGENT"), turn); err != nil || reply.Thread.Mode != normalize.ModeHuman {
		t.Errorf("AGENT: got %q, %v", reply.Thread.Mode, err)
	}
	turn.Thread.Mode = normalize.ModeHuman
	_, err := decode(t, versionV2, fmt.Sprintf(body, "AI"), turn)
	wantKind(t, "AI", err, normalize.KindInvalidReply)
}

func TestEscalationInAReplyIsTold(t *testing.T) {
	for body, want := range map[string]bool{
		`"messageType":"SYSTEM_MESSAGE","systemMessageType":"CONVERSATION_ESCALATED"`:                       true,
		`"messageType":"NORMAL_MESSAGE","answer":{"text":"a"},"escalated":true`:                             true,
		`"messageType":"NORMAL_MESSAGE","answer":{"text":"a"},"escalated":false`:                            false,
		`"messageType":"NORMAL_MESSAGE","answer":{"text":"a"},"systemMessageType":"CONVERSATION_ESCALATED"`: false,
	} {
		reply, err := decode(t, versionV0, `{"success":true,"data":{"message":{"id":"1",`+body+`}}}`, toThread("t-1"))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		} else if got := reply.Thread.Escalated != nil && *reply.Thread.Escalated; got != want {
			t.Errorf("%s: escalated is %v, want %v", body, got, want)
		}
	}
}

// A pair is split by position: in the documents an answer is earlier than its
// question.
func TestQuestionComesBeforeItsAnswerWhateverTheirTimes(t *testing.T) {
	vendor := &stub{answer: `{"success":true,"data":{"thread":{"threadId":"t-1","messages":[
		{"messageId":"1","messageType":"NORMAL_MESSAGE","question":{"text":"q1","timestamp":"2026-03-04T10:00:09Z"},
			"answer":{"text":"a1","timestamp":"2026-03-04T10:00:01Z"}},
		{"messageId":"2","messageType":"USER_MESSAGE","question":{"text":"q2","timestamp":"2026-03-04T09:00:00Z"},"answer":null},
		{"messageId":"3","messageType":"AGENT_MESSAGE","answer":{"text":"a3"},"question":{"text":""}},
		{"messageId":"4","messageType":"NORMAL_MESSAGE","question":null,"answer":7},
		{"messageId":"5","messageType":"SYSTEM_MESSAGE","systemMessageType":"PROVIDED_EMAIL","question":{"text":"rosa@example.test"}},
		"odd", null]}}}`}
	page, err := vendor.open(t, versionV0).(adapters.MessageLister).ListMessages(t.Context(), normalize.Remote{ThreadID: "t-1"}, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range page.Messages {
		got = append(got, fmt.Sprintf("%s %s %s %s", m.RemoteID, m.Role, m.Text, m.Notice))
	}
	want := []string{
		"1:q user q1 ", "1:a assistant a1 ", "2:q user q2 ", "3:a operator a3 ", "5:q user rosa@example.test ", "5:a system  provided_email",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An answer without the list must not be taken for an empty conversation: on that
// it depends whether a message is sent a second time.
func TestMissingListIsNoEmptyList(t *testing.T) {
	for _, version := range versions {
		for _, answer := range []string{
			`{"data":{"thread":{"threadId":"t-1"},"pagination":{}}}`,
			`{"data":{"thread":{"threadId":"t-1","messages":null},"messages":null,"threads":null,"conversations":null}}`,
			`{"data":{"thread":{"threadId":"t-1","messages":{}},"messages":{},"threads":"[]","conversations":"[]"}}`,
		} {
			adapter := (&stub{answer: answer}).open(t, version)
			_, err := adapter.(adapters.MessageLister).ListMessages(t.Context(), normalize.Remote{ThreadID: "t-1"}, adapters.Page{})
			wantKind(t, version+": messages: "+answer, err, normalize.KindInvalidReply)
			_, err = adapter.(adapters.ThreadLister).ListThreads(t.Context(), adapters.Page{})
			wantKind(t, version+": threads: "+answer, err, normalize.KindInvalidReply)
		}
	}
}

// U24: what no text can hold becomes U+FFFD, and nothing beside it is lost.
func TestVendorsTextIsCleanedAndElseIntact(t *testing.T) {
	for answer, want := range map[string]string{
		`"a\u0000b"`:             "a\ufffdb",
		"\"a\xff\xfeb\"":         "a\ufffd\ufffdb",
		`"\ud83d"`:               "\ufffd",
		`"\ud83d\u0041 \uDE00b"`: "\ufffdA \ufffdb",
		`"\ud83d\ude00"`:         "😀",
		`"<b>&amp; \"quoted\"\\ \/ \u2028 שלום \n 你好 "`: "<b>&amp; \"quoted\"\\ / \u2028 שלום \n 你好 ",
	} {
		body := `{"success":true,"data":{"message":{"id":"1","threadId":"t-1","messageType":"NORMAL_MESSAGE","answer":{"text":` + answer + `}}}}`
		reply, err := decode(t, versionV0, body, toThread("t-1"))
		switch {
		case err != nil:
			t.Errorf("%s: %v", answer, err)
		case reply.Messages[0].Text != want:
			t.Errorf("%s: got %q, want %q", answer, reply.Messages[0].Text, want)
		case !json.Valid(reply.Messages[0].Raw):
			t.Errorf("%s: the vendor's object is no JSON any more", answer)
		}
	}
}

func TestSourcesAndSuggestionsAreReadInEveryForm(t *testing.T) {
	reply, err := decode(t, versionV0, `{"success":true,"data":{"message":{"id":"1","answer":{"text":"a"},
		"sources":["https://x.example/a","manual.pdf",{"title":"T","url":"https://x.example/b","text":"said there"},{"other":1},7,null,""],
		"smartPrompts":["next?",7,""],
		"prompts":[{"id":12345678901234567890,"title":"T","description":"D","link":null},"odd",null],
		"reaction":"NEGATIVE"}}}`, toThread("t-1"))
	if err != nil {
		t.Fatal(err)
	}
	got := reply.Messages[0]
	if diff := cmp.Diff([]normalize.Source{
		{URL: "https://x.example/a"},
		{Title: "manual.pdf"},
		{Title: "T", URL: "https://x.example/b", Text: "said there"},
	}, got.Sources); diff != "" {
		t.Errorf("sources: %s", diff)
	}
	if diff := cmp.Diff([]normalize.Suggestion{
		{ID: "12345678901234567890", Title: "T", Text: "D"},
		{Text: "next?"},
	}, got.Suggestions); diff != "" {
		t.Errorf("suggestions: %s", diff)
	}
	if got.Feedback != normalize.FeedbackNegative {
		t.Errorf("feedback: %q", got.Feedback)
	}
}

// What is not set is not written, but for the pageUrl of v2, which the vendor's own
// clients write as null.
func TestUnsetFieldsAreNotWritten(t *testing.T) {
	remote := normalize.Remote{ThreadID: "t-1"}
	for _, test := range []struct {
		name, version string
		do            func(adapters.Adapter) error
		want          string
	}{
		{"send", versionV0, send(toThread("")), `POST /message {"message":"hi <b>&","from":"USER"}`},
		{"send to a thread", versionV0, send(toThread("t-1")), `POST /message {"message":"hi <b>&","from":"USER","threadId":"t-1"}`},
		{"send", versionV2, send(toThread("")), `POST /messages {"message":"hi <b>&","pageUrl":null}`},
		{"send to a thread", versionV2, send(toThread("t-1")), `POST /conversations/t-1/messages {"message":"hi <b>&","pageUrl":null}`},
		{"operator", versionV0, func(a adapters.Adapter) error {
			_, err := a.(adapters.OperatorSender).SendAsOperator(t.Context(), toThread("t-1"))
			return err
		}, `POST /message {"message":"hi <b>&","from":"AGENT","threadId":"t-1"}`},
		{"create", versionV0, func(a adapters.Adapter) error {
			_, err := a.(adapters.ThreadCreator).CreateThread(t.Context(), normalize.Thread{ID: "thr_01kas4zcz4e6nvpk3nc1e6cgq1"})
			return err
		}, `POST /threads {"threadId":"019ab24f-b3e4-71ab-bb4c-75605c6642e1"}`},
		{"create for a human", versionV0, func(a adapters.Adapter) error {
			thread := normalize.Thread{ID: "own", Mode: normalize.ModeHuman, User: normalize.User{Name: "Rosa"}}
			_, err := a.(adapters.ThreadCreator).CreateThread(t.Context(), thread)
			return err
		}, `POST /threads {"threadId":"own","mode":"AGENT"}`},
		{"mode", versionV0, switchTo(remote, normalize.ModeHuman), `PATCH /threads/t-1 {"mode":"AGENT"}`},
		{"mode", versionV0, switchTo(remote, normalize.ModeAI), `PATCH /threads/t-1 {"mode":"AI"}`},
		{"mode", versionV2, switchTo(remote, normalize.ModeHuman), `POST /conversations/t-1/take-over {}`},
		{"mode", versionV2, switchTo(remote, normalize.ModeAI), `POST /conversations/t-1/switch-to-ai {}`},
		{"webhook", versionV0, func(a adapters.Adapter) error {
			return a.(adapters.WebhookRegistrar).RegisterWebhook(t.Context(), remote, "https://hooks.example.test/sg?a=1&b=2", normalize.NewSecret("tok-1"))
		}, `PATCH /threads/t-1 {"webhookUrl":"https://hooks.example.test/sg?a=1&b=2","webhookToken":"tok-1"}`},
		{"user", versionV0, func(a adapters.Adapter) error {
			user := normalize.User{ID: "u", Email: "rosa@example.test", Name: "Rosa", Phone: "+15550101"}
			return a.(adapters.UserUpdater).UpdateUser(t.Context(), remote, user)
		}, `PATCH /threads/t-1 {"chatUser":{"email":"rosa@example.test","name":"Rosa","phoneNumber":"+15550101"}}`},
		{"user, name alone", versionV0, func(a adapters.Adapter) error {
			return a.(adapters.UserUpdater).UpdateUser(t.Context(), remote, normalize.User{Name: "Rosa"})
		}, `PATCH /threads/t-1 {"chatUser":{"name":"Rosa"}}`},
		{"delete", versionV2, func(a adapters.Adapter) error {
			return a.(adapters.ThreadDeleter).DeleteThread(t.Context(), remote)
		}, `DELETE /conversations/t-1?confirm=true `},
		{"escalate", versionV2, func(a adapters.Adapter) error {
			return a.(adapters.Escalator).Escalate(t.Context(), remote, "")
		}, `POST /conversations/t-1/escalate {}`},
		{"escalate with a note", versionV2, func(a adapters.Adapter) error {
			return a.(adapters.Escalator).Escalate(t.Context(), remote, "angry")
		}, `POST /conversations/t-1/escalate {"message":"angry"}`},
	} {
		vendor := &stub{answer: `{"data":{"message":{"id":"1","threadId":"t-1","answer":{"text":"a"}},"thread":{"threadId":"t-1"}}}`}
		if err := test.do(vendor.open(t, test.version)); err != nil {
			t.Errorf("%s: %s: %v", test.version, test.name, err)
			continue
		}
		request := vendor.only(t)
		got := request.method + " " + strings.TrimPrefix(request.uri, "/api/"+test.version+"/chatbots/365062873485935184") + " " + request.body
		if got != test.want {
			t.Errorf("%s: %s:\n got %s\nwant %s", test.version, test.name, got, test.want)
		}
		if request.authorization != "Bearer "+testKey {
			t.Errorf("%s: %s: Authorization: %s", test.version, test.name, request.authorization)
		}
		if hasBody := request.body != ""; hasBody != (request.contentType == "application/json") {
			t.Errorf("%s: %s: Content-Type: %q", test.version, test.name, request.contentType)
		}
	}
}

func send(turn adapters.Turn) func(adapters.Adapter) error {
	return func(a adapters.Adapter) error {
		_, err := a.Send(context.Background(), turn)
		return err
	}
}

func switchTo(remote normalize.Remote, mode normalize.Mode) func(adapters.Adapter) error {
	return func(a adapters.Adapter) error {
		return a.(adapters.ModeSwitcher).SwitchMode(context.Background(), remote, mode)
	}
}

// v0 answers an update with data null.
func TestUpdateNeedsNoDataButTheFlag(t *testing.T) {
	remote := normalize.Remote{ThreadID: "t-1"}
	vendor := &stub{answer: `{"success":true,"message":"Updated the chatbot thread successfully","data":null}`}
	err := switchTo(remote, normalize.ModeAI)(vendor.open(t, versionV0))
	if err != nil {
		t.Error(err)
	}
	err = switchTo(remote, normalize.ModeAI)((&stub{answer: `{"message":"?"}`}).open(t, versionV0))
	wantKind(t, "no flag, no data", err, normalize.KindInvalidReply)
}

func TestNothingKnownOfAPersonIsNoCall(t *testing.T) {
	vendor := &stub{}
	user := normalize.User{ID: "u", Info: "i"}
	err := vendor.open(t, versionV0).(adapters.UserUpdater).UpdateUser(t.Context(), normalize.Remote{ThreadID: "t-1"}, user)
	if err != nil || len(vendor.requests) != 0 {
		t.Errorf("got %d calls, %v", len(vendor.requests), err)
	}
}

func TestWebhookTokenIsInNoError(t *testing.T) {
	vendor := &stub{status: 400, answer: `{"success":false,"error":{"code":"REQUEST_VALIDATION_FAILED","message":"tok-1-secret is too short"}}`}
	err := vendor.open(t, versionV0).(adapters.WebhookRegistrar).RegisterWebhook(t.Context(),
		normalize.Remote{ThreadID: "t-1"}, "https://hooks.example.test", normalize.NewSecret("tok-1-secret"))
	wantKind(t, "refused", err, normalize.KindRejected)
	if strings.Contains(err.Error(), "tok-1-secret") {
		t.Errorf("the error holds the token: %v", err)
	}
}

// Only a send of the user's starts a thread.
func TestOperatorWithoutAThreadIsRefusedBeforeTheCall(t *testing.T) {
	vendor := &stub{}
	_, err := vendor.open(t, versionV0).(adapters.OperatorSender).SendAsOperator(t.Context(), toThread(""))
	failure := wantKind(t, "no thread", err, normalize.KindInvalidRequest)
	if len(vendor.requests) != 0 || failure.MessageStatus() != normalize.StatusFailed {
		t.Errorf("got %d calls, message %s", len(vendor.requests), failure.MessageStatus())
	}
}

func TestOperatorsMessageIsTheAnswerOfItsPairAndGetsNoReply(t *testing.T) {
	vendor := &stub{answer: `{"success":true,"data":{"message":{"id":"9","threadId":"t-1","messageType":"AGENT_MESSAGE","question":null,
		"answer":{"text":"hi","timestamp":"2026-03-04T10:00:01Z"},"agentName":"Ana","iconUrl":"https://x.example/ana.png"}}}`}
	reply, err := vendor.open(t, versionV0).(adapters.OperatorSender).SendAsOperator(t.Context(), toThread("t-1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(reply.Messages) != 0 || reply.Sent.RemoteID != "9:a" ||
		reply.Sent.Author != (normalize.Author{Name: "Ana", AvatarURL: "https://x.example/ana.png"}) ||
		!reply.Sent.CreatedAt.Equal(time.Date(2026, 3, 4, 10, 0, 1, 0, time.UTC)) {
		t.Errorf("got %+v", reply)
	}
}

// Ids of threads are free strings. One that climbs out of its path would, in a
// delete, name the whole chatbot.
func TestThreadIDStaysOneSegmentOfThePath(t *testing.T) {
	for id, want := range map[string]string{
		"a b":      "a%20b",
		"a/b":      "a%2Fb",
		"a?b#c":    "a%3Fb%23c",
		"a%2Fb":    "a%252Fb",
		"你":        "%E4%BD%A0",
		"...":      "...",
		"-_.~:@&=": "-_.~:@&=",
	} {
		vendor := &stub{answer: `{"ok":true,"data":{}}`}
		if err := vendor.open(t, versionV2).(adapters.ThreadDeleter).DeleteThread(t.Context(), normalize.Remote{ThreadID: id}); err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if got, want := vendor.only(t).uri, "/api/v2/chatbots/365062873485935184/conversations/"+want+"?confirm=true"; got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
	for _, id := range []string{"", ".", "..", "a/../b"} {
		vendor := &stub{answer: `{"ok":true,"data":{}}`}
		err := vendor.open(t, versionV2).(adapters.ThreadDeleter).DeleteThread(t.Context(), normalize.Remote{ThreadID: id})
		wantKind(t, id, err, normalize.KindInvalidRequest)
		if len(vendor.requests) != 0 {
			t.Errorf("%q was sent: %v", id, vendor.requests)
		}
	}
}

// toThread is a turn to a remote thread.
func toThread(id string) adapters.Turn {
	return adapters.Turn{
		Thread:  normalize.Thread{Mode: normalize.ModeAI},
		Remote:  normalize.Remote{ThreadID: id},
		Message: normalize.Message{Text: "hi <b>&"},
	}
}

// decode reads an answer to a send without a network.
func decode(t testing.TB, version, body string, turn adapters.Turn) (adapters.Reply, error) {
	t.Helper()
	b := bot{flag: "success"}
	if version == versionV2 {
		b.flag = "ok"
	}
	e, err := b.unwrap(vendorhttp.Answer{Status: http.StatusOK, Body: []byte(body)})
	if err != nil {
		return adapters.Reply{}, err
	}
	return e.reply(turn)
}

func wantKind(t *testing.T, name string, err error, want normalize.Kind) *normalize.Error {
	t.Helper()
	var failure *normalize.Error
	if !errors.As(err, &failure) {
		t.Errorf("%s: got error %v, want %s", name, err, want)
		return &normalize.Error{}
	}
	if failure.Kind != want {
		t.Errorf("%s: got %v, want %s", name, err, want)
	}
	return failure
}
