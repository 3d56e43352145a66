// Package adapters is the contract between chatmux and the code for one vendor's
// API. Every vendor can send: that is the one required method. What only some
// vendors can do are talents: optional interfaces of one method each, which an
// adapter has or has not. Nobody implements a talent to say "unsupported".
//
// An adapter sends once. It never retries, sleeps, logs or remembers: that is done
// in front of it, for all vendors alike. Its failures are *normalize.Error with a
// kind, and what follows from a kind stands in one table there.
package adapters

import (
	"context"
	"io"
	"net/http"
	"time"

	"chatmux/normalize"
)

// Adapter is what every vendor can do.
type Adapter interface {
	// Send gives the vendor one message and returns what the vendor said to it.
	// It makes exactly one request that can have an effect. Zero replies is a
	// success: the bot is switched off, a human has the thread, or the answer
	// comes later. On failure the error is a *normalize.Error; the Reply then
	// holds what is certain all the same (the remote ids, a cut text marked
	// incomplete) and is otherwise zero.
	Send(ctx context.Context, turn Turn) (Reply, error)
}

// Turn is one message on its way to a vendor.
type Turn struct {
	Thread  normalize.Thread    // ours; Bindings and Raw are not filled
	Remote  normalize.Remote    // the vendor's ids; ThreadID is empty on the first message where nothing created the conversation
	Message normalize.Message   // what to send; Text is not empty unless there are Attachments
	History []normalize.Message // what was said before, oldest first; only for adapters with the History talent
}

// Reply is what a vendor said.
type Reply struct {
	Remote   normalize.Remote       // the vendor's ids as far as it told them
	Thread   normalize.ThreadUpdate // what it told about the thread
	Sent     Sent                   // what it told about the message that was sent
	Messages []normalize.Message    // the answers, oldest first; ids of ours and thread ids are not filled
	Skipped  int                    // events of a stream that were passed over: no JSON, or of another answer
}

// Delta is a piece of an answer that is being told: text to append.
type Delta struct {
	Text string
}

// Sent is what a vendor told about the message it was sent.
type Sent struct {
	RemoteID  string
	Author    normalize.Author
	Read      *bool
	CreatedAt time.Time
	Raw       []byte
}

// RemoteThread is a vendor's conversation as it describes it.
type RemoteThread struct {
	Remote    normalize.Remote
	Update    normalize.ThreadUpdate
	CreatedAt time.Time
	UpdatedAt time.Time
	Messages  []normalize.Message // where the vendor gives them along with the thread, oldest first
}

// Page asks for one page of a vendor's list.
type Page struct {
	Cursor string // empty for the first page, else the NextCursor of the page before
	Limit  int    // 0 leaves it to the vendor
}

// MessagePage is one page of a conversation's messages, oldest first.
type MessagePage struct {
	Messages   []normalize.Message
	NextCursor string // empty on the last page
}

// ThreadPage is one page of a bot's conversations, in the vendor's order.
type ThreadPage struct {
	Threads    []RemoteThread
	NextCursor string // empty on the last page
}

// The talents. The engine asks for each of them in one place, internal/backend,
// which derives the capability table from them. They are asked for with As.
type (
	// Streamer is the talent of an adapter whose vendor tells its answer while it
	// makes it. Stream is Send that can be watched: the same one request, the same
	// reply, the same kinds of failure. Its turn has attachments only where the
	// adapter is an AttachmentSender.
	//
	// Each piece of the answer's text is given to emit as soon as it has arrived:
	// never empty, clean as stored text is, never with a part of a character, one
	// call after the other, and none after Stream has returned. Nothing else is
	// content: a vendor that only shows that it lives has shown nothing yet. A vendor
	// that answers in one piece all the same gives one delta; an answer without
	// messages gives none.
	//
	// There is no error only where the vendor's own mark said that the answer is
	// whole. The reply is then the one that Send gives, and its text is the deltas
	// joined; its Raw is the vendor's object that ended the answer. The end of the
	// body is no such mark, but KindTruncated.
	//
	// Beside an error the reply holds what is certain all the same: the remote ids,
	// and the deltas joined, if there were any, as one message of StatusIncomplete.
	// An error that the vendor tells within its stream is of the kind that it has as
	// a status. A text of more than 4 MiB is KindTooLarge, a broken piece of the
	// stream KindInvalidReply: text was lost. Once emit was called, every failure is
	// in PhaseContent. An error of emit ends the stream and is returned as it is.
	// Whatever ends the stream early, the vendor's connection is closed at once.
	Streamer interface {
		Stream(ctx context.Context, turn Turn, emit func(Delta) error) (Reply, error)
	}

	// History is the talent of an adapter whose vendor keeps no conversation: what
	// was said before goes along with every turn. The limits say how much of it.
	History interface {
		HistoryLimits() HistoryLimits
	}

	// IdempotentSender is the talent of an adapter whose vendor takes a key along with
	// a message and promises that the same key has one effect, however often it
	// comes. Only then may a send be tried again after bytes may have left. The key
	// is ours, never the caller's.
	IdempotentSender interface {
		SendOnce(ctx context.Context, turn Turn, key string) (Reply, error)
	}

	// AttachmentSender sends a message that has attachments.
	AttachmentSender interface {
		SendAttachments(ctx context.Context, turn Turn) (Reply, error)
	}

	// OperatorSender sends a message that a human of the vendor's side says
	// (role operator). The conversation exists already.
	OperatorSender interface {
		SendAsOperator(ctx context.Context, turn Turn) (Reply, error)
	}

	// ThreadCreator creates an empty conversation at the vendor.
	ThreadCreator interface {
		CreateThread(ctx context.Context, thread normalize.Thread) (RemoteThread, error)
	}

	// NamedThreadCreator creates an empty conversation under an id that the caller's
	// client chose. An id that is taken is KindRejected.
	NamedThreadCreator interface {
		CreateNamedThread(ctx context.Context, thread normalize.Thread, id string) (RemoteThread, error)
	}

	// UserCreator creates the person at the vendor before the first message of a
	// thread, where the vendor needs that; the returned id goes into
	// Remote.UserID. Empty means that no person had to be created.
	UserCreator interface {
		CreateUser(ctx context.Context, user normalize.User) (remoteUserID string, err error)
	}

	// UserReader reads a person as the vendor knows them. The ID of the result is
	// the vendor's.
	UserReader interface {
		ReadUser(ctx context.Context, remote normalize.Remote) (normalize.User, error)
	}

	// UserUpdater tells the vendor what is known about the person of a thread.
	UserUpdater interface {
		UpdateUser(ctx context.Context, remote normalize.Remote, user normalize.User) error
	}

	// ThreadReader reads a conversation as the vendor knows it.
	ThreadReader interface {
		ReadThread(ctx context.Context, remote normalize.Remote) (RemoteThread, error)
	}

	// ThreadLister lists the conversations of the bot.
	ThreadLister interface {
		ListThreads(ctx context.Context, page Page) (ThreadPage, error)
	}

	// MessageLister lists the messages of a conversation, oldest first.
	MessageLister interface {
		ListMessages(ctx context.Context, remote normalize.Remote, page Page) (MessagePage, error)
	}

	// MessageReader reads one message of a conversation by the vendor's id.
	MessageReader interface {
		ReadMessage(ctx context.Context, remote normalize.Remote, remoteID string) (normalize.Message, error)
	}

	// ModeSwitcher hands a conversation to a human or back to the bot.
	ModeSwitcher interface {
		SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error
	}

	// Escalator asks the vendor's side to look at a conversation. The note may be
	// empty.
	Escalator interface {
		Escalate(ctx context.Context, remote normalize.Remote, note string) error
	}

	// ThreadDeleter erases a conversation at the vendor.
	ThreadDeleter interface {
		DeleteThread(ctx context.Context, remote normalize.Remote) error
	}

	// LaterAnswerer is the talent of an adapter whose vendor only takes a message in
	// the call that sends it. The replies come later: by webhook, where the vendor has
	// our address, or in the list of messages, so the adapter is a MessageLister too.
	// The result is how long the webhook is waited for before the list is asked.
	LaterAnswerer interface {
		AnswersLater() time.Duration
	}

	// WebhookReceiver reads what the vendor sends us by itself, and checks that it is
	// the vendor who does, as far as the vendor signs what it sends: otherwise the
	// error is of KindUnauthenticated. What is no JSON is KindInvalidJSON. What is
	// read, and is of no kind that we know, is no error but no News.
	WebhookReceiver interface {
		ReceiveWebhook(d Delivery) (News, error)
	}

	// WebhookRegistrar tells the vendor where to send the messages of one
	// conversation, and the token to send along.
	WebhookRegistrar interface {
		RegisterWebhook(ctx context.Context, remote normalize.Remote, url string, token normalize.Secret) error
	}

	// Uploader gives the vendor a file that a later message can name by the
	// attachment's ID. The file is read once.
	Uploader interface {
		Upload(ctx context.Context, file File) (normalize.Attachment, error)
	}

	// RecordLister lists the vendor's own record of questions and answers.
	RecordLister interface {
		ListRecords(ctx context.Context, query RecordQuery, page Page) (RecordPage, error)
	}

	// RecordExporter gives that record as a file in the vendor's own form. The
	// caller closes the file.
	RecordExporter interface {
		ExportRecords(ctx context.Context, query RecordQuery) (ExportedFile, error)
	}
)

// Delivery is one request of a vendor to our webhook of it.
type Delivery struct {
	Header http.Header
	Body   []byte
	Secret normalize.Secret // the backend's hook_secret: what the vendor was given to sign with, where it has no other
}

// News is what a vendor tells of one conversation by itself. The zero News tells
// nothing that we know.
type News struct {
	Remote   normalize.Remote       // the vendor's ids, as far as it told them
	Messages []normalize.Message    // oldest first; what the person said may be among them, and is passed over
	Update   normalize.ThreadUpdate // what it told about the thread
	Record   *VendorRecord          // what is kept as it is; nil where there is nothing of that kind
}

// VendorRecord is something that a vendor tells and that is no part of a conversation
// here, as a phone call that has ended.
type VendorRecord struct {
	Kind string // the vendor's word for it
	ID   string // the vendor's id of it
	Raw  []byte
}

// HistoryLimits bounds what goes along of the past: at most so many messages and
// so many bytes of text, the newest kept. Zero of both means nothing at all.
type HistoryLimits struct {
	Messages int
	Bytes    int
}

// File is something to upload.
type File struct {
	Name        string
	ContentType string
	Type        normalize.MessageType
	Size        int64
	Content     io.Reader
}

// ExportedFile is a file that a vendor made.
type ExportedFile struct {
	Filename    string
	ContentType string
	Content     io.ReadCloser
}

// RecordQuery selects records: from Since to Until, both days included, and by
// what the bot's or the person's text contains.
type RecordQuery struct {
	Since, Until        time.Time
	BotText, PersonText string
}

// Record is one question and its answer as the vendor recorded it.
type Record struct {
	RemoteID  string
	Question  string
	Answer    string
	Error     string
	CreatedAt time.Time
	Raw       []byte
}

// RecordPage is one page of records, in the vendor's order.
type RecordPage struct {
	Records    []Record
	NextCursor string
}

// Spec says all that the rest of chatmux needs to know about an adapter: one of
// them per vendor, listed in adapters/all.
type Spec struct {
	Name    string // as `adapter:` names it in the config
	Summary string // one line for people

	// Settings returns a pointer to a new settings struct that holds the defaults.
	Settings func() Settings

	// Open makes an adapter of checked settings.
	Open func(s Settings, env Env) (Adapter, error)

	// Twin makes a simulated vendor that accepts what these settings send: the
	// key, the bot's id. Nil where there is no vendor.
	Twin func(s Settings) http.Handler

	// TwinPath is the path that base_url has at the twin, "" for none.
	TwinPath string

	// Dialect is the vendor's own API for the front; nil where it is not spoken.
	Dialect *Dialect

	// Tells lists what the vendor tells in its threads and answers beside their text.
	// Who plans to leave for this vendor is told what goes on there, and what does not.
	Tells []Extra

	// ReadRecords reads the file that a RecordExporter gives, row by row, and stops at an
	// error of each; nil where the vendor has no such file.
	ReadRecords func(file io.Reader, each func(row int, r Record) error) error
}

// Extra is something that a vendor may tell beside the text of its answers.
type Extra string

// What vendors tell.
const (
	ExtraAttachments Extra = "attachments" // files in answers
	ExtraAssignees   Extra = "assignees"
	ExtraBlocked     Extra = "blocked" // that a thread is blocked
	ExtraButtons     Extra = "buttons" // answers that are buttons, templates or stickers
	ExtraFeedback    Extra = "feedback"
	ExtraNotices     Extra = "notices"   // messages of the system
	ExtraOperators   Extra = "operators" // which answers a human gave
	ExtraSources     Extra = "sources"
	ExtraSuggestions Extra = "suggestions"
	ExtraTags        Extra = "tags"
	ExtraTitles      Extra = "titles"
)

// Settings is a pointer to the struct that an adapter declares for its `settings`
// block. Its fields carry `yaml:"name"` tags, `doc:"…"` tags that say what they
// are for, and may be strings, integers, booleans, durations, slices, maps by string
// and structs of them, pointers to structs, normalize.Secret, normalize.ByteSize,
// BaseURL, any type with UnmarshalText, or map[string]any for a block that is taken
// as it stands. Unknown keys, wrong types and unset variables are reported with
// their place by the config loader; what only the adapter can judge is reported
// by a Checker.
type Settings any

// The optional methods of Settings.
type (
	// Checker reports every field that is missing or wrong; field is its yaml name,
	// dots between nested ones. Anything reported refuses the config.
	Checker interface {
		Check(report func(field, problem string))
	}

	// Remote is implemented by the settings of an adapter that talks to a vendor.
	Remote interface {
		Endpoint() *BaseURL
	}

	// Botted is implemented by settings that name one bot of the vendor.
	Botted interface {
		BotID() string
	}
)

// Env is what the house gives an adapter: limits that the vendorhttp client keeps.
type Env struct {
	Connect     time.Duration // to dial and shake hands
	FirstByte   time.Duration // from the request's end to the status line
	Idle        time.Duration // between two reads of a body
	MaxInFlight int           // how many requests may run at once, so how many connections are worth keeping
}
