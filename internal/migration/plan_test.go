package migration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmux/normalize"
)

// everything is a thread that has every feature, and its messages.
func everything() (*normalize.Thread, []normalize.Message) {
	yes := true
	t := &normalize.Thread{
		ID: "thr_all", Mode: normalize.ModeHuman, Status: normalize.ThreadBlocked, Title: "T", Tags: []normalize.Tag{{Name: "vip"}},
		Assignees: []normalize.Assignee{{Name: "Kim"}}, Metadata: map[string]string{"a": "b"}, Escalated: &yes, MessageCount: 3,
		User: normalize.User{Name: "Rosa"}, Channel: normalize.Channel{Type: "whatsapp"},
	}
	link := []normalize.Attachment{{URL: "https://example.com/a.png"}}
	return t, []normalize.Message{
		{Role: normalize.RoleUser, Status: normalize.StatusSent, Attachments: link},
		{
			Role: normalize.RoleAssistant, Status: normalize.StatusComplete, Type: normalize.TypeButton, Attachments: link,
			Suggestions: []normalize.Suggestion{{Text: "Yes"}}, Sources: []normalize.Source{{Title: "FAQ"}}, Feedback: normalize.FeedbackNegative,
		},
		{Role: normalize.RoleOperator, Status: normalize.StatusComplete},
		{Role: normalize.RoleSystem, Status: normalize.StatusComplete, Notice: "conversation_escalated"},
	}
}

// surveyed is the report of some threads like the one with everything, and of one that
// has nothing.
func surveyed(from, to Side, n int) Report {
	s := NewSurvey(from, to)
	for range n {
		t, messages := everything()
		s.Thread(t)
		for i := range messages {
			s.Message(&messages[i], 3000)
		}
	}
	s.Thread(&normalize.Thread{ID: "thr_empty", Status: normalize.ThreadOpen, Mode: normalize.ModeAI})
	return s.Report(Filter{}, time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC))
}

var (
	able = Side{
		Name: "old", Adapter: "all", Stateful: true, PastMessages: 100, PastBytes: 8 << 10,
		Capabilities: []string{
			"stream", "attachments", "operator", "create_user", "switch_mode", "escalate", "delete_thread", "receive_webhook",
			"register_webhook", "list_threads", "list_messages",
		},
		Tells: []string{"attachments", "blocked", "buttons", "feedback", "notices", "sources", "suggestions", "tags"},
	}
	bare = Side{Name: "new", Adapter: "nothing"}
)

func TestEachFeatureIsCountedAndJudgedByWhatTheNewBackendCan(t *testing.T) {
	down, up := surveyed(able, bare, 7), surveyed(able, able, 7)
	if down.Threads != 8 || down.Messages != 28 {
		t.Errorf("%d threads, %d messages", down.Threads, down.Messages)
	}
	kept := []string{"transcript", "titles", "metadata"}
	changed := []string{"feedback", "blocked threads", "tags", "what is known of people", "streams"}
	changedUp := []string{"context", "operator mode", "blocked threads", "tags"}
	lostUp := []string{"context beyond the limit", "assignees", "channels"}
	for i, row := range down.Features {
		all := slices.Contains([]string{"streams", "late answers", "unknown outcomes", "history import", "deletion at the vendor"}, row.Feature)
		if want := 7; row.Threads != want && (!all || row.Threads != 8) {
			t.Errorf("%s: %d threads", row.Feature, row.Threads)
		}
		if len(row.Examples) != maxExamples || row.Note == "" {
			t.Errorf("%s: %+v", row.Feature, row)
		}
		if want := verdictIn(row.Feature, Lost, Kept, kept, Changed, changed); row.Verdict != want {
			t.Errorf("to a backend that can nothing: %s is %s, want %s", row.Feature, row.Verdict, want)
		}
		row = up.Features[i]
		if want := verdictIn(row.Feature, Kept, Changed, changedUp, Lost, lostUp); row.Verdict != want {
			t.Errorf("to a backend that can all: %s is %s, want %s", row.Feature, row.Verdict, want)
		}
	}
}

func verdictIn(feature string, usual, a Verdict, ofA []string, b Verdict, ofB []string) Verdict {
	switch {
	case slices.Contains(ofA, feature):
		return a
	case slices.Contains(ofB, feature):
		return b
	}
	return usual
}

func TestLateAnswersAreJudgedByTheWebhooksOfBoth(t *testing.T) {
	registers := Side{Capabilities: []string{"receive_webhook", "register_webhook"}}
	receives := Side{Capabilities: []string{"receive_webhook"}}
	none := Side{}
	for _, c := range []struct {
		from, to Side
		want     Verdict
	}{
		{none, registers, Kept},
		{registers, receives, Changed},
		{none, receives, Changed},
		{receives, none, Lost},
		{registers, none, Lost},
		{none, none, Kept},
		{registers, Side{Capabilities: []string{"register_webhook"}}, Lost}, // nobody reads what it is told to send
	} {
		if got, note := lateAnswers(&c.from, &c.to); got != c.want || note == "" {
			t.Errorf("from %q to %q: %s (%s), want %s", c.from.Capabilities, c.to.Capabilities, got, note, c.want)
		}
	}
}

func TestWhatNobodyHasIsCountedAsNothing(t *testing.T) {
	s := NewSurvey(able, bare)
	s.Thread(&normalize.Thread{ID: "thr_1", Mode: normalize.ModeAI, Status: normalize.ThreadOpen, MessageCount: 1, Channel: normalize.Channel{Type: "api"}})
	s.Message(&normalize.Message{Role: normalize.RoleUser, Status: normalize.StatusFailed, Feedback: normalize.FeedbackNeutral}, 1<<20)
	s.Thread(&normalize.Thread{ID: "thr_2"}) // the second begins with nothing of the first
	for _, row := range s.Report(Filter{}, time.Now()).Features {
		switch row.Feature {
		case "transcript", "context":
			if row.Threads != 1 || !slices.Equal(row.Examples, []string{"thr_1"}) {
				t.Errorf("%+v", row)
			}
		case "streams", "late answers", "unknown outcomes", "history import", "deletion at the vendor":
		default:
			if row.Threads != 0 || len(row.Examples) != 0 {
				t.Errorf("%+v", row)
			}
		}
	}
}

func TestTheTableNamesWhatIsLostWithExamples(t *testing.T) {
	var b strings.Builder
	r := surveyed(able, bare, 1)
	if err := r.PrintTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 threads with 4 messages would move from old (all) to new (nothing).\n",
		"FEATURE ", "sources ", "channels, for example: thr_all\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	b.Reset()
	r = NewSurvey(able, bare).Report(Filter{}, time.Now())
	if err := r.PrintTable(&b); err != nil || !strings.Contains(b.String(), "No thread has: transcript; context; ") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}

func TestThePageNeedsNothingElseAndEscapes(t *testing.T) {
	evil := able
	evil.Name = "<script>alert(1)</script>"
	r := surveyed(evil, bare, 1)
	var b strings.Builder
	if err := r.PrintHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"<script", "<link", "src=", "href=", "url(", "@import"} {
		if strings.Contains(b.String(), never) {
			t.Errorf("the page has %q", never)
		}
	}
	if n := strings.Count(b.String(), "<tr"); n != len(r.Features)+1 || !strings.HasSuffix(b.String(), "</html>\n") {
		t.Errorf("%d rows: %s", n, b.String())
	}
}

func TestAReportReadsBackAsItWasWritten(t *testing.T) {
	tenant := "acme"
	r := surveyed(able, bare, 1)
	r.Filter = Filter{Tenant: &tenant, Since: Stamp{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"object":"plan"`, `"since":"2026-01-02T03:04:05.000Z","until":null`, `"route":null`, `"created_at":"2026-03-04T10:15:31.480Z"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("it lacks %s: %s", want, b)
		}
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(b) {
		t.Errorf("%v\n%s\n%s", err, b, again)
	}
}
