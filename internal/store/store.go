// Package store keeps threads, messages, bindings, attempts and idempotency keys
// in SQL. It decides nothing: what follows from an outcome is the engine's word,
// and the store makes it durable, whole or not at all.
//
// SQLite and PostgreSQL are two dialects of the same statements, not two stores: what
// is promised here holds for both, and one suite of tests runs on both.
package store

import (
	"errors"
	"time"

	"chatmux/normalize"
)

// The errors that callers tell apart. Everything else is ErrUnavailable, with the
// cause wrapped.
var (
	// ErrNotFound: no such row for this tenant. Another tenant's row is the same as
	// none.
	ErrNotFound = errors.New("store: not found")
	// ErrBusy: another send holds the thread.
	ErrBusy = errors.New("store: thread is busy")
	// ErrChanged: the thread is not as the caller read it. Read it again.
	ErrChanged = errors.New("store: thread has changed")
	// ErrLost: the lease ended and somebody else took over; nothing was written.
	ErrLost = errors.New("store: lease lost")
	// ErrInUse: another process has the database, and it is for one process only.
	ErrInUse = errors.New("store: in use")
	// ErrUnavailable: the store could not do it; nothing is promised about the write.
	ErrUnavailable = errors.New("store: unavailable")
)

// StoredThread is a thread with what only the store and the engine know of it.
type StoredThread struct {
	normalize.Thread
	Version int64  // grows with every change; Acceptance.Version compares it
	Carry   string // what of the past goes along with the next message after a move: "", "transcript"
	Busy    bool   // read only: a send holds the thread now (filled by Thread and inside UpdateThread)

	// Append is read by UpdateThread alone: messages (notices) that are stored at the
	// thread's end in the same commit. It is always empty on reading.
	Append []normalize.Message
}

// Acceptance is a user message that is about to be durable.
type Acceptance struct {
	Thread    normalize.Thread  // the thread; only ID and Tenant matter unless NewThread
	NewThread bool              // the thread is made in the same commit
	Version   int64             // the version that the caller decided by; not compared for a new thread
	Message   normalize.Message // the user's message, pending; of an existing message (Resend) only ID, Status, Reason and Backend are written
	Resend    bool              // the message exists already
	Attempt   *Attempt          // the first attempt, where it is known already which backend is asked
	Key       *Key              // the Idempotency-Key, where the client sent one
	Epoch     string            // names this run; later writes are refused unless it still holds the thread
	Lease     time.Duration     // how long it may hold the thread
	Now       time.Time
}

// Key is an Idempotency-Key and what it stood for.
type Key struct {
	Tenant   string
	Key      string
	Path     string   // the same key on another path is a mismatch
	BodyHash [32]byte // of the raw bytes
}

// KeyState says what is known about an Idempotency-Key.
type KeyState struct {
	Found     bool
	Matches   bool      // path and body are the same
	Running   bool      // the lease has not ended and there is no result
	LeaseEnds time.Time // while Running
	Status    int       // HTTP status of the stored answer; 0 where there is none
	Body      []byte    // the stored answer
	ThreadID  string    // the thread and the message that it made
	MessageID string
	Message   normalize.MessageStatus // where that message stands now
}

// Attempt is one try of one message at one backend.
type Attempt struct {
	ID        string
	ThreadID  string
	MessageID string
	Backend   string
	Epoch     string
	StartedAt time.Time
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	ID      string
	Kind    string // the kind's name; empty for a success
	Phase   int
	EndedAt time.Time
}

// Finish is the one commit at the end of a send: outcome, replies, binding, key
// result, unlock.
type Finish struct {
	Thread   normalize.Thread    // written as it stands; bindings are append-only: known ones get Until, Remote and Reason, new ones are added
	Version  int64               // what Thread was derived from (AcceptResult.Version, or read since); ErrChanged where others changed it since
	Carry    string              // see StoredThread
	Message  normalize.Message   // the user's message with its outcome
	Replies  []normalize.Message // stored after it, in this order
	Events   []Entry             // what happened, as its watchers are told
	Taken    []int64             // positions of the news that Replies were made of
	Answered bool                // an answer that is waited for is waited for no longer
	Chores   []Chore             // what is still to be done at the vendor
	Attempt  *AttemptEnd
	Key      *Key
	Status   int // the answer that a repeat of the key gets; 0 leaves the key without a result
	Body     []byte
	Epoch    string // must still hold the thread
	Now      time.Time
}

// ThreadFilter selects threads. Empty fields select all.
type ThreadFilter struct {
	Tenant       string // always
	Backend      string
	Route        string
	User         string
	Status       normalize.ThreadStatus
	Mode         normalize.Mode
	Tag          string // id or name
	UpdatedAfter time.Time
	Query        string // text that a message contains

	// Dialect selects the threads that clients of this dialect asked for, and those
	// that a conversation of the vendor of that name holds or held; Bot of those the
	// ones of that bot.
	Dialect, Bot string
}

// Position is where a page begins: after the row with this time and id. The zero
// Position is the beginning.
type Position struct {
	Time time.Time
	ID   string
	Seq  int64 // of messages
}

// Range asks for one page.
type Range struct {
	After     Position
	Offset    int // how many rows to pass over, beginning at After; not for Messages
	Limit     int
	Ascending bool
	Raw       bool // load the vendors' own objects too
	ByID      bool // of threads: in the order of their ids
}
