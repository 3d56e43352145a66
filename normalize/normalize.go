// Package normalize holds the nouns of chatmux and the rules that hold for
// every vendor: Thread, Message, Event and Error, ids, and the tolerant reading
// of times and text. It is pure: no clock, network, files or logger, and nothing
// but the standard library.
package normalize

import (
	"encoding/json"
	"time"
)

// Mode says who answers in a thread.
type Mode string

// The two modes. SiteGPT calls them AI and AGENT, Altur `active` true and false,
// the conversations platform `autoReplyEnabled` true and false.
const (
	ModeAI    Mode = "ai"
	ModeHuman Mode = "human"
)

// ThreadStatus is the state of a thread as a whole.
type ThreadStatus string

// The thread states. Blocked is Altur's `blocked`; ended is SiteGPT's `endedAt`
// or the caller's own word.
const (
	ThreadOpen    ThreadStatus = "open"
	ThreadBlocked ThreadStatus = "blocked"
	ThreadEnded   ThreadStatus = "ended"
)

// Role says who speaks in a message.
type Role string

// The roles: the person who chats, the bot, a human of the vendor's side, and a
// notice that nobody said.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleOperator  Role = "operator"
	RoleSystem    Role = "system"
)

// MessageType says what a message carries. A vendor's type that is none of these
// becomes TypeOther; the vendor's own word stays in Raw.
type MessageType string

// The message types.
const (
	TypeText     MessageType = "text"
	TypeImage    MessageType = "image"
	TypeAudio    MessageType = "audio"
	TypeVideo    MessageType = "video"
	TypeDocument MessageType = "document"
	TypeButton   MessageType = "button"
	TypeTemplate MessageType = "template"
	TypeSticker  MessageType = "sticker"
	TypeOther    MessageType = "other"
)

// MessageStatus is where a message stands. Pending, sent, failed and unknown
// belong to user messages; complete, incomplete and cancelled to replies.
type MessageStatus string

// The message states.
const (
	StatusPending MessageStatus = "pending" // stored, no vendor has it
	StatusSent    MessageStatus = "sent"    // a vendor accepted it
	StatusFailed  MessageStatus = "failed"  // certainly not processed, safe to send again
	StatusUnknown MessageStatus = "unknown" // a vendor may have processed it; never sent again by itself

	StatusComplete   MessageStatus = "complete"
	StatusIncomplete MessageStatus = "incomplete" // text exists, the end mark is missing
	StatusCancelled  MessageStatus = "cancelled"
)

// Feedback is a person's verdict on a reply; empty where none was given.
type Feedback string

// The verdicts.
const (
	FeedbackPositive Feedback = "positive"
	FeedbackNegative Feedback = "negative"
	FeedbackNeutral  Feedback = "neutral"
)

// User is the person who chats. ID is the caller's own id for that person. An
// empty field is unknown.
type User struct {
	ID    string
	Name  string
	Email string
	Phone string
	Info  string
}

// Tag is a label that the vendor's side put on a thread.
type Tag struct {
	ID    string
	Name  string
	Color string
}

// Assignee is a human of the vendor's side to whom a thread is assigned.
type Assignee struct {
	ID    string
	Name  string
	Email string
}

// Channel says how the person reaches the vendor: Altur's integration, the
// conversations platform's inbox.
type Channel struct {
	ID   string
	Name string
	Type string
}

// Binding links a thread to one vendor conversation. Bindings are append-only:
// Until is zero on the one that holds now.
type Binding struct {
	Backend string
	Vendor  string // the adapter's name
	Bot     string // the vendor's id of the bot; empty where it has none
	Remote  Remote
	Since   time.Time
	Until   time.Time
	Reason  string
}

// Remote names a conversation on the vendor's side. ThreadID is the vendor's id
// of the conversation, UserID its id of the person; either may be empty as long
// as it is not known.
type Remote struct {
	ThreadID string
	UserID   string
}

// Thread is one conversation between a person and whoever answers. Empty strings
// are unknown and shown as null; so is a nil Escalated.
type Thread struct {
	ID           string
	Tenant       string // whose thread it is; never shown
	Asked        string // the dialect and the bot that its client asked for, as sitegpt/365…; empty: our own API; never shown
	Called       string // what that client calls it, where the id is not ours: chosen by it, or from before; never shown
	Key          string // what that dialect finds it by, instead of Called; never shown
	Backend      string
	Route        string
	User         User
	Mode         Mode
	Status       ThreadStatus
	Title        string
	Tags         []Tag
	Assignees    []Assignee
	Metadata     map[string]string
	Channel      Channel
	Escalated    *bool
	MessageCount int
	Bindings     []Binding
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Raw          json.RawMessage // the vendor's own object as last seen
}

// Binding returns the binding that holds now, and false before the first one.
func (t *Thread) Binding() (Binding, bool) {
	if n := len(t.Bindings); n > 0 && t.Bindings[n-1].Until.IsZero() {
		return t.Bindings[n-1], true
	}
	return Binding{}, false
}

// ThreadUpdate is what a vendor told about a thread. A zero field was not told:
// empty Mode and Status, nil everything else. An empty but non-nil list was told
// to be empty.
type ThreadUpdate struct {
	Mode      Mode
	Status    ThreadStatus
	Title     *string
	Tags      []Tag
	Assignees []Assignee
	Channel   *Channel
	Escalated *bool
	User      *User // only fields that are not empty count; the caller's own ID is never replaced
	Raw       json.RawMessage
}

// Apply writes what the vendor told into the thread. What the caller chose stays:
// the user's id always, a title and the user's other fields where they are set,
// and that a thread has ended, which a vendor that only knows blocked or not
// blocked cannot take back.
func (u ThreadUpdate) Apply(t *Thread) {
	if u.Mode != "" {
		t.Mode = u.Mode
	}
	if u.Status != "" && (u.Status != ThreadOpen || t.Status != ThreadEnded) {
		t.Status = u.Status
	}
	if u.Title != nil && t.Title == "" {
		t.Title = *u.Title
	}
	if u.Tags != nil {
		t.Tags = u.Tags
	}
	if u.Assignees != nil {
		t.Assignees = u.Assignees
	}
	if u.Channel != nil {
		t.Channel = *u.Channel
	}
	if u.Escalated != nil {
		t.Escalated = u.Escalated
	}
	if u.User != nil {
		fill(&t.User.Name, u.User.Name)
		fill(&t.User.Email, u.User.Email)
		fill(&t.User.Phone, u.User.Phone)
		fill(&t.User.Info, u.User.Info)
	}
	if u.Raw != nil {
		t.Raw = u.Raw
	}
}

func fill(dst *string, value string) {
	if *dst == "" {
		*dst = value
	}
}

// Attachment is a file that goes with a message. ID is the vendor's.
type Attachment struct {
	ID          string
	Type        MessageType
	URL         string
	Filename    string
	ContentType string
}

// Author is who wrote a message, as far as it is known.
type Author struct {
	ID        string
	Name      string
	Email     string
	AvatarURL string
}

// Source is a document that the bot drew on: SiteGPT's sources, the conversations
// platform's citations.
type Source struct {
	Title string
	URL   string
	Text  string
}

// Suggestion is something that the person may say or open next: SiteGPT's prompts
// and smart prompts.
type Suggestion struct {
	ID    string
	Title string
	Text  string
	URL   string
}

// Message is one thing said in a thread. Empty strings are unknown and shown as
// null; so is a nil Read.
type Message struct {
	ID          string
	ThreadID    string
	Role        Role
	Type        MessageType
	Text        string
	Attachments []Attachment
	Author      Author
	Status      MessageStatus
	Reason      string // why failed, unknown or incomplete
	InReplyTo   string
	Backend     string
	RemoteID    string // the vendor's id of this message
	Model       string
	Sources     []Source
	Suggestions []Suggestion
	Feedback    Feedback
	Read        *bool
	Notice      string // lower-case system message code, as conversation_escalated
	Metadata    map[string]string
	CreatedAt   time.Time
	Raw         json.RawMessage
}

// EventType names an event of a thread.
type EventType string

// The events, as the streams of the API and the webhooks name them.
const (
	EventMessage EventType = "message" // the user's message, as stored
	EventDelta   EventType = "delta"   // text to append to a reply
	EventReply   EventType = "reply"   // a whole reply, as stored
	EventDone    EventType = "done"    // the only success end of a send
	EventError   EventType = "error"   // the only failure end of a send
	EventThread  EventType = "thread"  // mode, status or title changed, or the thread moved
)

// Event is one thing that happened in a thread. Which fields are set follows from
// Type: Thread and Message for message, MessageID and Text for delta, Message for
// reply, Thread, Message and Replies for done, Err for error, Thread for thread.
type Event struct {
	ID        string // where it stands among the thread's events; see Last-Event-ID
	Type      EventType
	Thread    *Thread
	Message   *Message
	MessageID string
	Text      string
	Replies   []string
	Err       *Error
}
