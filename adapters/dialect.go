package adapters

import (
	"context"
	"net/http"
	"strings"
	"time"

	"chatmux/normalize"
)

// Dialect is a vendor's own API, spoken at the front: paths, fields, envelopes,
// status codes and errors are the vendor's, whoever answers behind. Its Name stands in
// front of its paths (/altur/api/v1.0/message) and is what a route's match.dialect
// compares.
type Dialect struct {
	Name      string
	Endpoints []Endpoint

	// Key gives the caller's key out of the vendor's own header form; empty where there
	// is none, or more than one.
	Key func(h http.Header) string

	// Fail writes a failure in the vendor's shape: its head, its status, its body.
	// Retry-After is set already where it applies. The method and the path of r may
	// be none of the dialect's.
	Fail func(w http.ResponseWriter, r *http.Request, requestID string, failure *normalize.Error)

	// OnePerPerson says that a person has only one conversation with a bot at this
	// vendor, so that the two are adopted together.
	OnePerPerson bool
}

// Endpoint is one method of one path of a dialect.
type Endpoint struct {
	Method string
	Path   string // below /{dialect}, beginning with a slash; {name} stands for one part of it. One that ends in a slash is served without it too
	Send   bool   // it sends: it takes a place among the sends in flight

	// Serve answers. An error that it returns, nothing being written yet, is written
	// by Fail.
	Serve func(w http.ResponseWriter, r *http.Request, d Desk) error
}

// Desk is what a dialect speaks to: the house, as the caller of this one request sees
// it. Ids of threads and messages are ours (thr_…, msg_…). Every error is a
// *normalize.Error; what belongs to another tenant is KindNotFound.
type Desk interface {
	RequestID() string
	Var(name string) string               // a part of the path, unescaped
	Body() ([]byte, error)                // the whole body: one JSON text, checked as strictly as the native API's
	Choices() (routes, backends []string) // what this caller may name, in the config's order

	// Find gives the thread that the client calls by an id: one of ours in its UUID
	// form or as it is, a name that a client chose (Opening.Name), or the vendor's own
	// id of a conversation that we hold. A conversation from before chatmux was put
	// in front is adopted, if the route of this bot leads to the dialect's own vendor:
	// a thread is made, bound to it. Else KindNotFound.
	Find(ctx context.Context, bot, id string) (normalize.Thread, error)
	// FindPerson reads a person from before chatmux was put in front by the vendor's
	// own id, if the route of this bot leads to the dialect's own vendor. Else
	// KindNotFound.
	FindPerson(ctx context.Context, bot, id string) (normalize.User, error)
	// FindMessage gives a message by our id, in its UUID form or as it is, or by the
	// vendor's id.
	FindMessage(ctx context.Context, id string) (normalize.Message, error)

	// Open makes a thread; where one has its Name or Key, or is its Person's, it gives
	// that.
	Open(ctx context.Context, o Opening) (normalize.Thread, error)
	Threads(ctx context.Context, q ThreadQuery) (list []normalize.Thread, total int, err error)
	UpdateThread(ctx context.Context, threadID string, c ThreadChange) (normalize.Thread, error)
	Escalate(ctx context.Context, threadID, note string) (normalize.Thread, error)
	DeleteThread(ctx context.Context, threadID string) error
	Messages(ctx context.Context, threadID string, q MessageQuery) (list []normalize.Message, total int, err error)

	// Send sends one message and waits for its answer. A text, attachment or
	// metadata that the native API would refuse is KindInvalidRequest, and Fields name
	// it as that API does (text, attachments[0].url).
	Send(ctx context.Context, r SendRequest) (SendAnswer, error)
	// Stream sends one message and gives emit the events of its answer: message first,
	// at the first content or after limits.stream.head_wait; then deltas and replies;
	// done or error last. A failure before anything was emitted is returned and is
	// not an event. While nothing is said, an event without a type comes every
	// limits.stream.heartbeat, as a sign of life. An error of emit is returned as it is;
	// the answer is seen through all the same where the route says so.
	Stream(ctx context.Context, r SendRequest, emit func(normalize.Event) error) error

	// Record keeps a small object of the dialect's own (an end user, the thread of a
	// chain of messages), by tenant, dialect and name. Where it names a thread it is
	// erased with that. Recall gives it back, nil where there is none. With fresh, an
	// object that exists is left as it is and given back instead. A name may have
	// 1024 bytes.
	Record(ctx context.Context, name, threadID string, value []byte, fresh bool) ([]byte, error)
	Recall(ctx context.Context, name string) ([]byte, error)
}

// Opening is what a dialect's client says of a thread to be made.
type Opening struct {
	Bot      string // the bot that the client asked for: what match.bot compares
	Name     string // an id that the client chose for the thread, of at most 512 bytes; empty: ours will do
	Key      string // what the dialect finds the thread by again, instead of a Name, and shows nobody; of at most 512 bytes
	Person   string // the vendor's own id of the person, as FindPerson took it; empty: none
	User     normalize.User
	Title    string
	Metadata map[string]string
	Mode     normalize.Mode // ai where empty
}

// SendRequest is one message of a dialect's client.
type SendRequest struct {
	ThreadID    string   // ours; empty: Opening says what thread to make first
	Opening     *Opening // only where ThreadID is empty
	Bot         string   // the bot that the client asked for
	Choice      string   // a route or backend that the client named; empty: the routes decide
	Text        string
	Attachments []normalize.Attachment
	Metadata    map[string]string
	Role        normalize.Role // user where empty, or operator
	Author      normalize.Author
	// Earlier is what the client says was said before, in a thread that is made now:
	// stored with it, and carried along to the vendor as after a move. Role and Text
	// are enough.
	Earlier []normalize.Message
}

// SendAnswer is an answered send. Replies may be empty: the bot is switched off, a human
// has the thread, or the vendor answers later.
type SendAnswer struct {
	Thread  normalize.Thread
	Message normalize.Message
	Replies []normalize.Message
}

// CalledBy gives the id that a dialect's client knows a thread by: the one that it
// chose or that is from before chatmux was put in front, else the UUID form of ours.
func CalledBy(dialect string, t *normalize.Thread) string {
	if t.Called != "" && strings.HasPrefix(t.Asked, dialect+"/") {
		return t.Called
	}
	return normalize.UUIDForm(t.ID)
}

// ThreadChange is what a client changes of a thread. Nil leaves a field as it is.
type ThreadChange struct {
	Title  *string         // empty removes it
	User   *normalize.User // fields that are not empty replace; the ID stays
	Mode   *normalize.Mode
	Status *normalize.ThreadStatus
}

// ThreadQuery selects the threads of a bot: those that clients of the dialect made
// with it, and those that a conversation of the dialect's own vendor with that bot
// holds or held. Empty fields select all.
type ThreadQuery struct {
	Bot          string
	User         string // the caller's own id for the person
	Mode         normalize.Mode
	Tag          string // id or name
	Text         string // that one of the messages contains
	UpdatedAfter time.Time
	Offset       int
	Limit        int  // 1 to 200
	Ascending    bool // by the time of the last change; newest first otherwise
}

// MessageQuery selects a page of a transcript, oldest first unless Descending.
type MessageQuery struct {
	Spoken     bool // only what somebody said: notices (role system) are left out, and not counted
	Offset     int
	Limit      int // 1 to 200
	Descending bool
}
