package migration

import (
	"slices"
	"time"

	"chatmux/normalize"
)

// Side is one of the two backends of a plan, as far as its capability table goes.
type Side struct {
	Name     string `json:"name"`
	Adapter  string `json:"adapter"`
	Stateful bool   `json:"stateful"`
	// Capabilities are what its vendor can be asked to do.
	Capabilities []string `json:"capabilities"`
	// Tells is what its vendor tells beside the text of its answers.
	Tells []string `json:"tells"`
	// PastMessages and PastBytes bound what of a thread's past can be told to it; zero of
	// both: nothing can.
	PastMessages int `json:"past_messages"`
	PastBytes    int `json:"past_bytes"`
}

func (s *Side) can(capability string) bool { return slices.Contains(s.Capabilities, capability) }
func (s *Side) tells(extra string) bool    { return slices.Contains(s.Tells, extra) }

// Verdict says what becomes of a feature in a move.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"
	Changed Verdict = "changed"
	Lost    Verdict = "lost"
)

// Row is one feature of a report: what becomes of it, and how many threads have it.
type Row struct {
	Feature  string   `json:"feature"`
	Verdict  Verdict  `json:"verdict"`
	Threads  int      `json:"threads"`
	Messages int      `json:"messages"` // of those threads that have it; 0 for a feature of threads
	Note     string   `json:"note"`
	Examples []string `json:"examples"` // ids of threads that have it
}

// Filter is what a report was asked for, for its reader; null selects all.
type Filter struct {
	Tenant *string `json:"tenant"`
	Route  *string `json:"route"`
	User   *string `json:"user"`
	Since  Stamp   `json:"since"`
	Until  Stamp   `json:"until"`
}

// Stamp is a time, written as the API writes times; the zero time is null.
type Stamp struct{ time.Time }

// MarshalJSON never fails.
func (s Stamp) MarshalJSON() ([]byte, error) { return normalize.AppendTime(nil, s.Time), nil }

// Report says what is kept, changed and lost where threads leave one backend for
// another.
type Report struct {
	Object    string `json:"object"` // "plan"
	From      Side   `json:"from"`
	To        Side   `json:"to"`
	Filter    Filter `json:"filter"`
	Threads   int    `json:"threads"`
	Messages  int    `json:"messages"`
	Features  []Row  `json:"features"`
	CreatedAt Stamp  `json:"created_at"`
}

// feature is one thing that a thread can have, and the rule by which it is judged.
type feature struct {
	name string
	// thread and message say whether one has it; nil: none has it by itself.
	thread  func(*normalize.Thread) bool
	message func(*normalize.Message) bool
	judge   func(from, to *Side) (Verdict, string)
}

// maxExamples is how many threads a row names.
const maxExamples = 5

// tellsToo judges what only a vendor can bring: it goes on where the new one tells it
// as well. What is stored stays in every case.
func tellsToo(extra, without string) func(from, to *Side) (Verdict, string) {
	return func(_, to *Side) (Verdict, string) {
		if to.tells(extra) {
			return Kept, "the new vendor tells them too"
		}
		return Lost, "those that are stored stay; " + without
	}
}

// canToo judges what a vendor has to be asked for.
func canToo(capability, with, without string) func(from, to *Side) (Verdict, string) {
	return func(_, to *Side) (Verdict, string) {
		if to.can(capability) {
			return Kept, with
		}
		return Lost, without
	}
}

// ofAll is what every thread has that could use it: who stays does not know whether it
// ever will.
func ofAll(capability, with, without string) func(from, to *Side) (Verdict, string) {
	return func(from, to *Side) (Verdict, string) {
		if !from.can(capability) && !to.can(capability) {
			return Kept, "neither vendor has it"
		}
		return canToo(capability, with, without)(from, to)
	}
}

// lateAnswers judges whether what a vendor says at other times than in an answer still
// comes by itself. Who does not take the address of our webhook by a call may still be
// given it by a person, and then tells what it tells.
func lateAnswers(from, to *Side) (Verdict, string) {
	switch {
	case to.can("receive_webhook") && to.can("register_webhook"):
		return Kept, "the new vendor can say by itself that an answer came later"
	case to.can("receive_webhook"):
		return Changed, "the new vendor says by itself only what its own webhook tells, which a person sets up there"
	case from.can("receive_webhook"):
		return Lost, "the new vendor cannot say by itself that an answer came later, as an operator's does"
	}
	return Kept, "neither vendor has it"
}

func hasType(types ...normalize.MessageType) func(*normalize.Message) bool {
	return func(m *normalize.Message) bool { return slices.Contains(types, m.Type) }
}

func anyThread(*normalize.Thread) bool { return true }

// The names of the two features that need a whole thread to be judged.
const (
	toldContext = "context"
	longContext = "context beyond the limit"
)

// features are all that a report tells of, in its order.
func features() []feature {
	return []feature{
		{
			name: "transcript", thread: func(t *normalize.Thread) bool { return t.MessageCount > 0 },
			judge: func(_, _ *Side) (Verdict, string) {
				return Kept, "every message stays in its thread, under its id"
			},
		},
		{
			name: toldContext, thread: func(t *normalize.Thread) bool { return t.MessageCount > 0 },
			judge: func(_, to *Side) (Verdict, string) {
				switch {
				case to.PastMessages == 0:
					return Lost, "the new bot cannot be told what was said"
				case to.Stateful:
					return Changed, "the next message of each thread tells the new bot what was said (carry: transcript)"
				}
				return Kept, "the new bot is given what was said with each message (carry: transcript)"
			},
		},
		{
			name: longContext,
			judge: func(_, to *Side) (Verdict, string) {
				if to.PastMessages == 0 {
					return Lost, "the new bot is told nothing"
				}
				return Lost, "of these threads the new bot is told the newest turns only"
			},
		},
		{
			name:    "attachments from people",
			message: func(m *normalize.Message) bool { return m.Role == normalize.RoleUser && len(m.Attachments) > 0 },
			judge: canToo("attachments", "the new vendor takes them; those that are stored stay as links",
				"those that are stored stay as links; a new message with one is refused (422 unsupported)"),
		},
		{
			name:    "attachments in answers",
			message: func(m *normalize.Message) bool { return m.Role != normalize.RoleUser && len(m.Attachments) > 0 },
			judge:   tellsToo("attachments", "their links lead to the old vendor, and may end with the account; the new vendor sends none"),
		},
		{
			name: "buttons, templates and stickers", message: hasType(normalize.TypeButton, normalize.TypeTemplate, normalize.TypeSticker),
			judge: tellsToo("buttons", "the new vendor sends texts only"),
		},
		{
			name: "suggestions", message: func(m *normalize.Message) bool { return len(m.Suggestions) > 0 },
			judge: tellsToo("suggestions", "answers of the new vendor have none"),
		},
		{
			name: "sources", message: func(m *normalize.Message) bool { return len(m.Sources) > 0 },
			judge: tellsToo("sources", "answers of the new vendor name none"),
		},
		{
			name:    "feedback",
			message: func(m *normalize.Message) bool { return m.Feedback != "" && m.Feedback != normalize.FeedbackNeutral },
			judge: func(_, to *Side) (Verdict, string) {
				if to.tells("feedback") {
					return Kept, "it stays with its message; the new vendor tells it too"
				}
				return Changed, "it stays with its message; new feedback is stored by chatmux alone"
			},
		},
		{
			name: "notices of the vendor", message: func(m *normalize.Message) bool { return m.Role == normalize.RoleSystem && m.Notice != "thread_moved" },
			judge: tellsToo("notices", "the new vendor tells none"),
		},
		{
			name: "operator messages", message: func(m *normalize.Message) bool { return m.Role == normalize.RoleOperator },
			judge: canToo("operator", "they stay; a human can be spoken for there too",
				"they stay; a new message with the role operator is refused (422 unsupported)"),
		},
		{
			name: "operator mode", thread: func(t *normalize.Thread) bool { return t.Mode == normalize.ModeHuman },
			judge: func(_, to *Side) (Verdict, string) {
				if to.can("switch_mode") {
					return Changed, "the conversation begins with the bot there: switch its mode again after the move"
				}
				return Lost, "a human has these threads, and the new vendor cannot hand them over: its bot answers"
			},
		},
		{
			name: "escalation", thread: func(t *normalize.Thread) bool { return t.Escalated != nil && *t.Escalated },
			judge: canToo("escalate", "the mark stays; the new vendor can be asked to look at a thread, too",
				"the mark stays; nobody at the new vendor is asked to look at them"),
		},
		{
			name: "blocked threads", thread: func(t *normalize.Thread) bool { return t.Status == normalize.ThreadBlocked },
			judge: func(_, to *Side) (Verdict, string) {
				if to.tells("blocked") {
					return Changed, "the status stays until the new vendor tells another: block them there again"
				}
				return Changed, "the status stays here; the new vendor blocks nobody"
			},
		},
		{
			name: "tags", thread: func(t *normalize.Thread) bool { return len(t.Tags) > 0 },
			judge: func(_, to *Side) (Verdict, string) {
				if to.tells("tags") {
					return Changed, "they stay until the new vendor tells others; its people do not see the old ones"
				}
				return Changed, "they stay as they are; the new vendor's people do not see them"
			},
		},
		{
			name: "assignees", thread: func(t *normalize.Thread) bool { return len(t.Assignees) > 0 },
			judge: func(_, _ *Side) (Verdict, string) {
				return Lost, "the names stay; these people work at the old vendor, and nobody is assigned at the new one"
			},
		},
		{
			name: "titles", thread: func(t *normalize.Thread) bool { return t.Title != "" },
			judge: func(_, _ *Side) (Verdict, string) { return Kept, "they stay; the new vendor is not told them" },
		},
		{
			name: "metadata", thread: func(t *normalize.Thread) bool { return len(t.Metadata) > 0 },
			message: func(m *normalize.Message) bool { return len(m.Metadata) > 0 },
			judge:   func(_, _ *Side) (Verdict, string) { return Kept, "it is chatmux's own" },
		},
		{
			name: "what is known of people",
			thread: func(t *normalize.Thread) bool {
				return t.User.Name != "" || t.User.Email != "" || t.User.Phone != "" || t.User.Info != ""
			},
			judge: func(_, to *Side) (Verdict, string) {
				if to.can("create_user") || to.can("update_user") {
					return Kept, "it stays; the new vendor is told of a person where its API takes it"
				}
				return Changed, "it stays; the new vendor is not told"
			},
		},
		{
			name: "channels", thread: func(t *normalize.Thread) bool { return t.Channel.Type != "" && t.Channel.Type != "api" },
			judge: func(_, _ *Side) (Verdict, string) {
				return Lost, "these people write to the old vendor by a channel of its own, which does not move: connect it at the new vendor"
			},
		},
		{
			name: "streams", thread: anyThread,
			judge: func(from, to *Side) (Verdict, string) {
				switch {
				case to.can("stream"):
					return Kept, "the new vendor tells its answers while it makes them"
				case from.can("stream"):
					return Changed, "the new vendor answers in one piece: a stream has one delta"
				}
				return Kept, "neither vendor has it: a stream has one delta"
			},
		},
		{
			name: "late answers", thread: anyThread, judge: lateAnswers,
		},
		{
			name: "unknown outcomes", thread: anyThread,
			judge: ofAll("list_messages", "a message whose outcome is unknown is looked up in the new vendor's list",
				"a message whose outcome is unknown stays so: the new vendor has no list to look it up in"),
		},
		{
			name: "history import", thread: anyThread,
			judge: ofAll("list_threads", "what is said at the new vendor can be imported again",
				"conversations cannot be listed there: what others say to the new bot cannot be imported"),
		},
		{
			name: "deletion at the vendor", thread: anyThread,
			judge: ofAll("delete_thread", "a thread that is erased is erased at the new vendor too",
				"a thread that is erased here cannot be erased at the new vendor by its API"),
		},
	}
}

// Survey gathers what threads have, one after the other, in memory that does not grow
// with them.
type Survey struct {
	from, to Side
	features []feature
	rows     []Row
	threads  int
	messages int

	thread       *normalize.Thread // the one whose messages come now
	seen         []bool            // which features it has
	past, length int               // what its next message would have to tell: messages, bytes
}

// NewSurvey begins a survey of the threads that leave one side for the other.
func NewSurvey(from, to Side) *Survey {
	s := &Survey{from: from, to: to, features: features()}
	s.rows = make([]Row, len(s.features))
	for i, f := range s.features {
		verdict, note := f.judge(&s.from, &s.to)
		s.rows[i] = Row{Feature: f.name, Verdict: verdict, Note: note, Examples: []string{}}
	}
	s.seen = make([]bool, len(s.features))
	return s
}

// Thread begins with the next thread; its messages follow.
func (s *Survey) Thread(t *normalize.Thread) {
	s.endThread()
	s.thread = t
	s.threads++
	for i, f := range s.features {
		if f.thread != nil && f.thread(t) {
			s.mark(i)
		}
	}
}

// Message takes a message of the thread that was begun; bytes is how long its text is.
// The text itself is not needed.
func (s *Survey) Message(m *normalize.Message, bytes int) {
	s.messages++
	for i, f := range s.features {
		if f.message != nil && f.message(m) {
			s.rows[i].Messages++
			s.mark(i)
		}
	}
	if m.Role != normalize.RoleSystem && (m.Status == normalize.StatusSent || m.Status == normalize.StatusComplete) {
		s.past, s.length = s.past+1, s.length+bytes
	}
}

// mark counts the thread for a feature, once.
func (s *Survey) mark(i int) {
	if s.seen[i] {
		return
	}
	s.seen[i] = true
	row := &s.rows[i]
	if row.Threads++; len(row.Examples) < maxExamples {
		row.Examples = append(row.Examples, s.thread.ID)
	}
}

func (s *Survey) endThread() {
	if s.past > s.to.PastMessages || s.length > s.to.PastBytes {
		s.mark(slices.IndexFunc(s.features, func(f feature) bool { return f.name == longContext }))
	}
	s.thread, s.past, s.length = nil, 0, 0
	clear(s.seen)
}

// Report ends the survey.
func (s *Survey) Report(filter Filter, at time.Time) Report {
	s.endThread()
	return Report{
		Object: "plan", From: s.from, To: s.to, Filter: filter, Threads: s.threads, Messages: s.messages, Features: s.rows, CreatedAt: Stamp{at},
	}
}
