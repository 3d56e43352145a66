package sitegpt

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 120e6, time.UTC)

// said is a message at a minute past noon.
func said(id string, role normalize.Role, text, inReplyTo string, minute int) normalize.Message {
	return normalize.Message{ID: id, Role: role, Text: text, InReplyTo: inReplyTo, CreatedAt: noon.Add(time.Duration(minute) * time.Minute)}
}

func TestMessagesBecomePairsInTheOrderOfTheirQuestions(t *testing.T) {
	t.Parallel()
	failed := said("f", normalize.RoleUser, "never sent", "", 3)
	failed.Status = normalize.StatusFailed
	moved := said("m", normalize.RoleSystem, "moved from a to b", "", 4)
	moved.Notice = "thread_moved"
	escalated := said("e", normalize.RoleSystem, "A human was called.", "", 5)
	escalated.Notice = "conversation_escalated"
	strange := said("s", normalize.RoleSystem, "Somebody joined.", "", 6)
	strange.Notice = "joined"
	pairs := pairUp([]normalize.Message{
		said("1", normalize.RoleUser, "one?", "", 0),
		said("2", normalize.RoleUser, "two?", "", 1),
		said("1a", normalize.RoleAssistant, "one.", "1", 2),
		said("1b", normalize.RoleAssistant, "and more.", "1", 2),
		failed, moved, escalated, strange,
		said("o", normalize.RoleOperator, "I am Ana.", "", 7),
		said("3", normalize.RoleUser, "three?", "", 8),
		said("3a", normalize.RoleOperator, "three.", "3", 9),
	})
	type shown struct{ ID, Kind, System, Question, Answer string }
	var got []shown
	for _, p := range pairs {
		s := shown{ID: p.id, Kind: p.kind, System: p.system, Answer: p.answer}
		if p.question != nil {
			s.Question = p.question.Text
		}
		got = append(got, s)
	}
	want := []shown{
		{"1", typeNormal, "", "one?", "one.\n\nand more."},
		{"2", typeUser, "", "two?", ""},
		{"e", typeSystem, "CONVERSATION_ESCALATED", "", "A human was called."},
		{"s", typeSystem, "", "", "Somebody joined."},
		{"o", typeAgent, "", "", "I am Ana."},
		{"3", typeAgent, "", "three?", "three."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestANoticeIsTheAnswerOnlyWhereNothingElseWasSaid(t *testing.T) {
	t.Parallel()
	question, notice, reply := said("q", normalize.RoleUser, "?", "", 0), said("n", normalize.RoleSystem, "Wait.", "q", 1), said("r", normalize.RoleAssistant, "Yes.", "q", 2)
	for _, test := range []struct {
		replies []normalize.Message
		answer  string
		kind    string
		pairs   int
	}{
		{[]normalize.Message{notice}, "Wait.", typeSystem, 1},
		{[]normalize.Message{notice, reply}, "Yes.", typeNormal, 2},
		{[]normalize.Message{reply}, "Yes.", typeNormal, 1},
	} {
		sent := pairOf(&adapters.SendAnswer{Message: question, Replies: test.replies})
		listed := pairUp(append([]normalize.Message{question}, test.replies...))
		if sent.answer != test.answer || sent.kind != test.kind || len(listed) != test.pairs || listed[0].answer != sent.answer || listed[0].kind != sent.kind {
			t.Errorf("%+v: sent %+v, listed %+v", test, sent, listed)
		}
	}
}

func TestOfSeveralTagsOneIsEnough(t *testing.T) {
	t.Parallel()
	tagged := &normalize.Thread{Tags: []normalize.Tag{{ID: "b"}, {ID: "c"}}}
	for asked, want := range map[string]bool{"": true, "tagId=a&tagId=b": true, "tagId=c&tagId=b": true, "tagId=a&tagId=d": false} {
		q := readQuery(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+asked, nil))
		if f := q.filtersV2("bot"); f.keeps(tagged, tally{}) != want || f.query.Tag != "" {
			t.Errorf("%s: want %t, %+v", asked, want, f)
		}
	}
	if f := readQuery(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?tagId=a", nil)).filtersV2("bot"); f.query.Tag != "a" {
		t.Errorf("one tag: %+v", f)
	}
}

func TestAPairShowsAllThatAReplyTells(t *testing.T) {
	t.Parallel()
	question := said("q", normalize.RoleUser, "<b>?", "", 0)
	reply := said("r", normalize.RoleAssistant, "Yes.", "q", -1) // a vendor's clock is its own
	reply.Model, reply.Feedback = "gpt-4", normalize.FeedbackPositive
	reply.Author = normalize.Author{ID: "a", Name: "Ana", AvatarURL: "https://example.com/a.png"}
	reply.Sources = []normalize.Source{{URL: "https://example.com/x", Title: "X"}, {Title: "Y"}, {}}
	reply.Suggestions = []normalize.Suggestion{{ID: "1", Title: "T", Text: "D", URL: "https://example.com/p"}, {Text: "smart"}}
	p := pairOf(&adapters.SendAnswer{Message: question, Replies: []normalize.Message{reply}})
	const v0 = `{"messageId":"q","question":{"text":"<b>?","timestamp":"2026-03-04T12:00:00.120000Z"},"answer":{"text":"Yes.","timestamp":"2026-03-04T11:59:00.120000Z"},` +
		`"sources":["https://example.com/x","Y"],"gptModel":"gpt-4","reaction":"POSITIVE","threadId":"t","messageType":"NORMAL_MESSAGE",` +
		`"iconUrl":"https://example.com/a.png","agentName":"Ana","prompts":[{"id":"1","title":"T","description":"D","link":"https://example.com/p"}],"chatbotId":"b"}`
	if got := string(encode(showMessageV0(&p, "t", "b"))); got != v0 {
		t.Errorf("v0:\n%s, want\n%s", got, v0)
	}
	const v2 = `{"messageId":"q","messageType":"NORMAL_MESSAGE","systemMessageType":null,"reaction":"POSITIVE","gptModel":"gpt-4","sources":["https://example.com/x","Y"],` +
		`"agentId":"a","agentName":"Ana","iconUrl":"https://example.com/a.png","pageUrl":null,"createdAt":"2026-03-04T12:00:00.120Z","updatedAt":"2026-03-04T12:00:00.120Z",` +
		`"question":{"text":"<b>?","timestamp":"2026-03-04T12:00:00.120Z"},"answer":{"text":"Yes.","timestamp":"2026-03-04T11:59:00.120Z"}}`
	if got := string(encode(showMessageV2(&p))); got != v2 {
		t.Errorf("v2:\n%s, want\n%s", got, v2)
	}
	if n := tallyOf([]shownPair{p}); n.positive != 1 || n.gpt4 != 1 || n.last == nil {
		t.Errorf("%+v", n)
	}
	operator := said("o", normalize.RoleOperator, "Hello.", "", 0)
	if p := pairOf(&adapters.SendAnswer{Message: operator}); p.kind != typeAgent || p.question != nil || p.answer != "Hello." {
		t.Errorf("what an operator says is %+v", p)
	}
}

func TestAFailureHasTheEnvelopeAndTheCodeOfItsVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failure *normalize.Error
		v0, v2  int
		codes   [2]string
	}{
		{&normalize.Error{Kind: normalize.KindInvalidJSON}, 400, 400, [2]string{"REQUEST_VALIDATION_FAILED", "VALIDATION_FAILED"}},
		{&normalize.Error{Kind: normalize.KindUnauthenticated}, 401, 401, [2]string{"API_KEY_NOT_VALID", "AUTHORIZATION_HEADER_REQUIRED"}},
		{&normalize.Error{Kind: normalize.KindForbidden}, 403, 403, [2]string{"CHATBOT_FETCH_FORBIDDEN", "TOKEN_SCOPE_NOT_ALLOWED"}},
		{&normalize.Error{Kind: normalize.KindQuota}, 429, 429, [2]string{"MESSAGES_LIMIT_REACHED", "MESSAGES_LIMIT_REACHED"}},
		{&normalize.Error{Kind: normalize.KindRejected, VendorStatus: 403}, 403, 403, [2]string{"BACKEND_REJECTED", "BACKEND_REJECTED"}},
		{&normalize.Error{Kind: normalize.KindRejected, VendorStatus: 200}, 400, 400, [2]string{"BACKEND_REJECTED", "BACKEND_REJECTED"}},
		{&normalize.Error{Kind: normalize.KindTimeout}, 504, 504, [2]string{"BACKEND_TIMEOUT", "BACKEND_TIMEOUT"}},
	} {
		for i, path := range []string{"/sitegpt/api/v0/x", "/sitegpt/api/v2/x"} {
			w := httptest.NewRecorder()
			Spec.Dialect.Fail(w, httptest.NewRequest(http.MethodGet, path, nil), "req_1", c.failure)
			e := gjson.ParseBytes(w.Body.Bytes())
			if w.Code != [2]int{c.v0, c.v2}[i] || e.Get("error.code").Str != c.codes[i] || e.Get("error.message").Str == "" {
				t.Errorf("%v at %s: %d %s", c.failure.Kind, path, w.Code, w.Body)
			}
			if i == 1 && (e.Get("ok").Raw != "false" || e.Get("meta.requestId").Str != "req_1") || i == 0 && (e.Get("success").Raw != "false" || e.Get("data").Raw != "null") {
				t.Errorf("%v at %s: %s", c.failure.Kind, path, w.Body)
			}
		}
	}
}
