package store

import (
	"bytes"
	"context"
	"errors"
	"time"

	"chatmux/normalize"
)

// AcceptResult is what Accept found and did.
type AcceptResult struct {
	// Accepted: the message is durable and the thread is held. False only where
	// the key was found and its answer, or its run, stands.
	Accepted bool
	// Key is what was known about the key before this call.
	Key KeyState
	// Version is the thread's version after the message was accepted; see
	// Finish.Version.
	Version int64
	// Seq is the position of the message in its thread; of a message that is sent
	// again it is 0.
	Seq int64
	// Event is the position of the event that tells of the message.
	Event int64
}

// reasonInterrupted is the reason of a message, and the kind of an attempt, whose
// run ended without a word.
const reasonInterrupted = "interrupted"

// Accept makes a user message durable and takes the thread for its send, with the
// first attempt and the key, all in one commit.
//
// With a key that is known, nothing is accepted and Key of the result tells all,
// except where the key's message has failed, nothing runs for it, path and body
// match, and the caller says Resend with this very message: then it is accepted
// again under the same ids, and the key belongs to the new run.
//
// A message whose run ended without a word (its lease is over) is settled by the
// way, as Recover does it.
//
// ErrBusy: another send holds the thread. ErrChanged: the thread's version is not
// a.Version, or a new thread exists already. ErrNotFound: no such thread, or no such
// message to resend.
func (s *Store) Accept(ctx context.Context, a Acceptance) (AcceptResult, error) {
	message := encodeMessage(a.Message)
	var thread threadRow
	if a.NewThread {
		thread = encodeThread(&a.Thread)
	}
	var result AcceptResult
	err := s.db.write(ctx, func(tx *session) (err error) {
		result, err = tx.accept(&a, thread, message)
		return err
	})
	if err != nil {
		return AcceptResult{}, err
	}
	return result, nil
}

func (s *session) accept(a *Acceptance, thread threadRow, message messageRow) (r AcceptResult, err error) {
	if a.Key != nil {
		if r.Key, err = s.key(*a.Key, a.Now); err != nil {
			return r, err
		}
		if r.Key.Found && !runsAgain(a, r.Key) {
			if r.Key.Status == 0 && !r.Key.Running && r.Key.Message == normalize.StatusPending {
				err = s.settleKey(a, &r.Key)
			}
			return r, err
		}
	}
	var state threadState
	if a.NewThread {
		if err := s.createThread(&a.Thread, thread); err != nil {
			return r, err
		}
		state.version, state.tenant = 1, a.Thread.Tenant
	} else {
		if state, err = s.state(a.Thread.Tenant, a.Thread.ID); err != nil {
			return r, err
		}
		if state.held() {
			return r, ErrBusy
		}
		if state.version != a.Version {
			return r, ErrChanged
		}
	}
	if state.epoch != "" { // its lease is over
		if _, _, err := s.settle(a.Thread.ID, state.messageID, state.attemptID, a.Now); err != nil {
			return r, err
		}
		if state, err = s.state(a.Thread.Tenant, a.Thread.ID); err != nil {
			return r, err
		}
	}
	state.version++
	if err := s.acceptMessage(a, &state, message); err != nil {
		return r, err
	}
	if err := s.record(a.Thread.ID, &state, Entry{Type: normalize.EventMessage, MessageID: a.Message.ID}); err != nil {
		return r, err
	}
	if !a.Resend {
		if err := s.post(state.tenant, a.Thread.ID, a.Message.ID, TopicMessageCreated); err != nil {
			return r, err
		}
	}
	if err := s.hold(a); err != nil {
		return r, err
	}
	if a.Key != nil {
		if err := s.holdKey(a, r.Key.Found); err != nil {
			return r, err
		}
	}
	r.Accepted, r.Version, r.Event = true, state.version, state.lastEvent
	if !a.Resend {
		r.Seq = state.lastSeq
	}
	return r, nil
}

// runsAgain reports whether a found key lets its message be sent again.
func runsAgain(a *Acceptance, k KeyState) bool {
	return a.Resend && k.Matches && !k.Running && k.Message == normalize.StatusFailed && k.MessageID == a.Message.ID
}

// acceptMessage stores the message, or puts an existing one back to where its send
// begins.
func (s *session) acceptMessage(a *Acceptance, state *threadState, message messageRow) error {
	if a.Resend {
		n, err := s.exec(updateAgain, message.ID, a.Thread.ID, string(message.Status), message.Reason, message.Backend)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.do(updateThreadSettled, a.Thread.ID, millis(a.Now))
	}
	state.lastSeq++
	if err := s.addMessage(a.Thread.ID, state.lastSeq, message); err != nil {
		return err
	}
	return s.do(updateThreadCount, a.Thread.ID, state.lastSeq, state.version, millis(a.Now))
}

// hold takes the thread for a run, with its first attempt.
func (s *session) hold(a *Acceptance) error {
	attemptID := ""
	if a.Attempt != nil {
		attemptID = a.Attempt.ID
		if err := s.beginAttempt(*a.Attempt); err != nil {
			return err
		}
	}
	return s.do(insertSend, a.Thread.ID, a.Epoch, a.Lease.Milliseconds(), a.Message.ID, attemptID)
}

func (s *session) beginAttempt(a Attempt) error {
	return s.do(insertAttempt, a.ThreadID, a.ID, a.MessageID, a.Backend, a.Epoch, millis(a.StartedAt))
}

func (s *session) holdKey(a *Acceptance, found bool) error {
	k := a.Key
	if found {
		return s.do(updateKey, k.Tenant, k.Key, a.Message.ID, int64(0), []byte{})
	}
	return s.do(insertKey, k.Tenant, k.Key, k.Path, k.BodyHash[:], a.Thread.ID, a.Message.ID, []byte{}, millis(a.Now))
}

// LookupKey says what is known about a key; Found is false where nothing is. A key
// whose message is pending while nothing runs belongs to a run that ended without a
// word: Accept settles it.
func (s *Store) LookupKey(ctx context.Context, k Key, now time.Time) (state KeyState, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		state, err = tx.key(k, now)
		return err
	})
	if err != nil {
		return KeyState{}, err
	}
	return state, nil
}

func (s *session) key(k Key, now time.Time) (state KeyState, err error) {
	var path string
	var hash []byte
	var left int64
	state.Found, err = s.one(selectKey, []any{k.Tenant, k.Key}, &path, &hash, &state.ThreadID, &state.MessageID, &state.Status, &state.Body,
		&state.Message, &left)
	if err != nil || !state.Found {
		return KeyState{}, err
	}
	state.Matches = path == k.Path && bytes.Equal(hash, k.BodyHash[:])
	if state.Running = state.Status == 0 && left > 0; state.Running {
		state.LeaseEnds = timeOf(millis(now) + left)
	}
	return state, nil
}

// BeginAttempt makes the next attempt of a send durable, before the vendor is
// dialled, and ends the one before it (nil: there is none) in the same commit.
// ErrLost: the epoch does not hold the thread any more.
func (s *Store) BeginAttempt(ctx context.Context, a Attempt, ended *AttemptEnd) error {
	var end AttemptEnd
	if ended != nil {
		end = *ended
	}
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(updateSend, a.ThreadID, a.Epoch, a.ID)
		if err == nil && n == 0 {
			err = ErrLost
		}
		if err == nil && end.ID != "" {
			err = tx.endAttempt(a.ThreadID, end)
		}
		if err != nil {
			return err
		}
		return tx.beginAttempt(a)
	})
}

func (s *session) endAttempt(threadID string, end AttemptEnd) error {
	return s.do(updateAttempt, threadID, end.ID, end.Kind, int64(end.Phase), millis(end.EndedAt))
}

// SaveBinding makes durable what a vendor's create call gave, before the message is
// sent there: after a crash the conversation is not lost. If the newest binding is
// open, of the same backend, vendor and bot, and its remote ids are not yet known or
// the same, it gets b's; otherwise it is closed and b is added. ErrLost: the epoch
// does not hold the thread any more.
func (s *Store) SaveBinding(ctx context.Context, tenant, threadID, epoch string, b normalize.Binding, now time.Time) error {
	if b.Since.IsZero() {
		b.Since = now
	}
	return s.db.write(ctx, func(tx *session) error {
		state, err := tx.state(tenant, threadID)
		if errors.Is(err, ErrNotFound) || err == nil && state.epoch != epoch {
			return ErrLost
		}
		if err != nil {
			return err
		}
		newest, count := state.newest, state.bindings
		open := count > 0 && newest.Until.IsZero()
		switch {
		case open && sameConversation(newest, b) && extends(newest.Remote, b.Remote):
			newest.Remote = b.Remote
			if b.Reason != "" {
				newest.Reason = b.Reason
			}
			err = tx.completeBinding(threadID, int(count), newest)
		default:
			if open {
				newest.Until = b.Since
				err = tx.completeBinding(threadID, int(count), newest)
			}
			if err == nil {
				err = tx.addBindings(threadID, int(count), []normalize.Binding{b})
			}
			count++
		}
		if err != nil {
			return err
		}
		return tx.do(updateThreadBindings, threadID, count)
	})
}

// extends reports whether a remote says nothing else than what was known.
func extends(known, told normalize.Remote) bool {
	return (known.ThreadID == "" || known.ThreadID == told.ThreadID) && (known.UserID == "" || known.UserID == told.UserID)
}

// Finish ends a send: outcome, replies, thread, bindings, the attempt's end and the
// key's answer become durable, and the thread is free, all in one commit.
//
// Of f.Thread, the ids, tenant, CreatedAt and MessageCount are not written: the
// store counts. UpdatedAt is f.Now. A nil Raw leaves the stored one. Of f.Message,
// only what an outcome changes is written: never its text.
//
// ErrLost: the epoch does not hold the thread any more. ErrChanged: somebody has
// changed the thread since f.Version (0 is not compared), or its bindings are not those that f.Thread
// continues; read it again and finish with what it is now. Nothing was written in
// either case.
//
// It returns the position of the last event of the thread.
func (s *Store) Finish(ctx context.Context, f Finish) (int64, error) {
	thread := encodeThread(&f.Thread)
	message := encodeMessage(f.Message)
	replies := convert(f.Replies, encodeMessage)
	if f.Body == nil {
		f.Body = []byte{}
	}
	var last int64 // no named result: a write may go on when its caller has left
	err := s.db.write(ctx, func(tx *session) (err error) {
		last, err = tx.finish(&f, thread, message, replies)
		return err
	})
	if err != nil {
		return 0, err
	}
	return last, nil
}

func (s *session) finish(f *Finish, thread threadRow, message messageRow, replies []messageRow) (int64, error) {
	state, err := s.state(f.Thread.Tenant, f.Thread.ID)
	if errors.Is(err, ErrNotFound) || err == nil && state.epoch != f.Epoch {
		return 0, ErrLost
	}
	if err != nil {
		return 0, err
	}
	if f.Version != 0 && state.touched > f.Version {
		return 0, ErrChanged
	}
	for _, reply := range replies {
		state.lastSeq++
		if err := s.addMessage(f.Thread.ID, state.lastSeq, reply); err != nil {
			return 0, err
		}
	}
	state.version++
	if err := s.saveThread(&f.Thread, f.Carry, thread, state, len(replies), f.Now); err != nil {
		return 0, err
	}
	if err := s.record(f.Thread.ID, &state, f.Events...); err != nil {
		return 0, err
	}
	if err := s.do(updateOutcome, message.ID, f.Thread.ID, string(message.Status), message.Reason, message.Backend,
		message.RemoteID, message.doc, message.raw); err != nil {
		return 0, err
	}
	if f.Attempt != nil {
		if err := s.endAttempt(f.Thread.ID, *f.Attempt); err != nil {
			return 0, err
		}
	}
	if f.Key != nil && f.Status != 0 {
		if err := s.do(updateKey, f.Key.Tenant, f.Key.Key, f.Message.ID, int64(f.Status), f.Body); err != nil {
			return 0, err
		}
	}
	if err := s.finishNews(f); err != nil {
		return 0, err
	}
	return state.lastEvent, s.do(deleteSend, f.Thread.ID)
}
