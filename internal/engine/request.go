// Package engine takes one turn from accepted to answered. It joins routing,
// backends and store, and is all that the doors speak to. It knows neither who
// calls nor which vendor answers.
package engine

import (
	"time"

	"chatmux/normalize"
)

// Caller is who calls us. The zero Routes allows every route.
type Caller struct {
	Name   string
	Tenant string
	Routes []string
}

// Origin is where a request comes from: what routes can match on beside the
// message itself.
type Origin struct {
	Caller  Caller
	Dialect string                   // native, altur, sitegpt, conversations, openai
	Bot     string                   // the bot id that a dialect's client asked for
	Header  func(name string) string // the request's headers; nil where there are none
}

// asked is what is kept of the origin with a thread: dialect and bot.
func (o Origin) asked() string {
	if o.Dialect == "" || o.Dialect == Native {
		return ""
	}
	return o.Dialect + "/" + o.Bot
}

// Native is the Dialect of our own API.
const Native = "native"

// NewThread is what a caller says of a thread to be made.
type NewThread struct {
	User     normalize.User
	Metadata map[string]string
	Title    string
	Mode     normalize.Mode // ai where empty
	Backend  string         // empty: the route decides
	Route    string         // empty: the first that matches
}

// ThreadPatch is what a caller changes. Nil leaves a field as it is.
type ThreadPatch struct {
	Title    *string            // empty removes it
	Metadata map[string]*string // merged; nil removes a key
	Mode     *normalize.Mode
	Status   *normalize.ThreadStatus
	User     *normalize.User // fields that are not empty replace; the ID stays
}

// SendRequest is one message to be sent.
type SendRequest struct {
	ThreadID    string     // empty: New says what thread to make first
	New         *NewThread // only where ThreadID is empty
	Text        string
	Attachments []normalize.Attachment
	Metadata    map[string]string
	Role        normalize.Role // user where empty, or operator
	Author      normalize.Author
	Timeout     time.Duration // the whole budget; 0: as configured
	Key         *Key          // nil without an Idempotency-Key
	Observe     Observer      // nil where nobody watches
}

// ResendRequest is a message to be sent again.
type ResendRequest struct {
	ThreadID  string
	MessageID string
	Timeout   time.Duration // the whole budget; 0: as configured
	Key       *Key          // nil without an Idempotency-Key
	Observe   Observer      // nil where nobody watches
}

// Observer is told what happens in a send as it happens: message once it is
// accepted, deltas while the backend tells its answer, replies once they are stored,
// and done or error last. It is called by one goroutine at a time, never after the
// send has returned. As long as it does not return, the backend is not read. Events of an accepted send that could not
// end (the store failed) lack their end.
type Observer func(Observed)

// Observed is an event of a send, and who answers.
type Observed struct {
	normalize.Event
	Backend string // of everything but message
	Route   string
}

// Key is an Idempotency-Key. The answer is rendered before the last commit, so
// that a repeat gets the very same bytes.
type Key struct {
	Key      string
	Path     string
	BodyHash [32]byte
	Render   func(Turn, *normalize.Error) (status int, body []byte)
}

// Turn is an answered send.
type Turn struct {
	Thread   normalize.Thread
	Message  normalize.Message
	Replies  []normalize.Message
	Backend  string        // who answered; empty where nobody did
	Route    string        // the route that the send took; empty where none leads to the backend asked for
	Upstream time.Duration // how long the backends took
	Replay   *Replay       // the stored answer of an earlier request with the same key; all else is zero then
}

// Replay is an answer that was given before.
type Replay struct {
	Status    int
	Body      []byte
	ThreadID  string
	MessageID string
	// Settled is the turn of a message that came through in another way than the
	// request itself: settled after a crash, or sent again by hand. Its events do not
	// tell it; nil otherwise.
	Settled *Turn
}

// Page asks for one page of a list. Limit is 1 to 200; Cursor is what an earlier
// page returned.
type Page struct {
	Limit     int
	Cursor    string
	Ascending bool
	Raw       bool // with the vendors' own objects
}

// ThreadFilter selects threads of the caller's tenant. Empty fields select all.
type ThreadFilter struct {
	Backend      string
	Route        string
	User         string
	Status       normalize.ThreadStatus
	Mode         normalize.Mode
	Tag          string // id or name
	UpdatedAfter time.Time
	Query        string // text that a message contains
}

// Erasure is what one vendor did about a deleted thread.
type Erasure struct {
	Backend  string
	RemoteID string
	Outcome  string // deleted, not_possible, failed
}

// ErasedThread is a thread of a user who was erased.
type ErasedThread struct {
	ID       string
	Busy     bool // a send held it: it is still there
	Backends []Erasure
}

// BackendState is one backend as operators see it.
type BackendState struct {
	Name          string
	Adapter       string
	Stateful      bool
	Capabilities  []string
	Breaker       BreakerState
	CoolDownUntil time.Time // zero: none
	InFlight      int
	MaxInFlight   int
}

// BreakerState is what a breaker knows.
type BreakerState struct {
	State               string // closed, open, half_open
	Since               time.Time
	Cause               string // kind of the failure that opened it; empty while closed
	ConsecutiveFailures int
	Successes           int // in the window
	Failures            int // in the window
	OpenUntil           time.Time
}

// Explanation says where a message would go, and why.
type Explanation struct {
	Route    string
	Backends []string // the first, then its fallbacks
	Shadow   string
	Reasons  []RouteReason
}

// RouteReason says of one route why it matched or did not.
type RouteReason struct {
	Route   string
	Matched bool
	Why     string
}
