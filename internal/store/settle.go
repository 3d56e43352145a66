package store

import (
	"context"
	"math"
	"time"

	"chatmux/normalize"
)

// Unsettled is a user message of which nobody knows whether its vendor has it.
type Unsettled struct {
	Tenant    string
	Message   normalize.Message // without Raw
	Backend   string            // that the last attempt went to after which a vendor may have it
	Binding   normalize.Binding // the conversation there; zero where there was none, or where it is not certain which
	StartedAt time.Time         // when that attempt began
	EndedAt   time.Time         // and ended
	Attempts  int               // how many there were in all; Settlement.Attempts compares it
	Tries     int               // how often it was postponed
}

// Unsettled lists up to limit user messages that are unknown, that one backend alone
// may have, and whose last attempt there began before a moment, those first that have
// waited longest. Messages that were postponed are not among them until their time has
// come, nor are those of a thread that a send holds.
func (s *Store) Unsettled(ctx context.Context, startedBefore time.Time, limit int) (list []Unsettled, err error) {
	now := millis(s.now())
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectUnsettled, []any{now, millis(startedBefore), int64(limit)}, func(row scanner) error {
			var u Unsettled
			var b bindingRow
			var started, ended int64
			m, err := scanMessage(longerRow{row, []any{
				&u.Tenant, &u.Backend, &started, &ended, &u.Attempts, &u.Tries,
				&b.Backend, &b.Vendor, &b.Bot, &b.Remote.ThreadID, &b.Remote.UserID, &b.since, &b.until, &b.Reason,
			}})
			u.Message, u.Binding, u.StartedAt, u.EndedAt = m.Message, b.binding(), timeOf(started), timeOf(ended)
			list = append(list, u)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// longerRow is a row with more columns than its reader knows of.
type longerRow struct {
	scanner
	more []any
}

func (r longerRow) Scan(dest ...any) error { return r.scanner.Scan(append(dest, r.more...)...) }

// Settlement is what was found out about an unknown message.
type Settlement struct {
	Tenant    string
	ThreadID  string
	MessageID string
	Attempts  int                     // as Unsettled told it: what was found out is about these
	Status    normalize.MessageStatus // sent or failed
	RemoteID  string                  // the vendor's id of it; empty leaves the stored one
	Raw       []byte                  // the vendor's own object; nil leaves the stored one
	Replies   []normalize.Message     // stored at the thread's end, in this order, but for those that it has
	Await     *Chore                  // the answer is still waited for; nil where it is not
	Now       time.Time
}

// Settle gives an unknown message its outcome: the message, its replies and the
// thread become durable in one commit, and the stored answer of its key goes, so
// that a repeat of the key is answered from what is stored now. A reply of which a
// crash left a part is completed in its place. A message that was
// sent loses its reason; one that has failed keeps it.
//
// ErrChanged: the message is not unknown any more, or was sent again meanwhile.
// ErrBusy: a send holds the thread. ErrNotFound: no such message. Nothing was written
// in any of these cases.
func (s *Store) Settle(ctx context.Context, v Settlement) error {
	replies := convert(v.Replies, encodeMessage)
	return s.db.write(ctx, func(tx *session) error { return tx.settleUnknown(&v, replies) })
}

func (s *session) settleUnknown(v *Settlement, replies []messageRow) error {
	state, err := s.state(v.Tenant, v.ThreadID)
	if err != nil {
		return err
	}
	if state.held() {
		return ErrBusy
	}
	m, err := s.message(v.Tenant, v.ThreadID, v.MessageID, false)
	if err != nil {
		return err
	}
	var attempts int
	if _, err := s.one(countAttempts, []any{v.ThreadID, v.MessageID}, &attempts); err != nil {
		return err
	}
	if m.Status != normalize.StatusUnknown || attempts != v.Attempts {
		return ErrChanged
	}
	if v.Status == normalize.StatusSent {
		m.Reason = ""
	}
	if v.RemoteID != "" {
		m.RemoteID = v.RemoteID
	}
	if err := s.do(settleUnknown, m.ID, m.ThreadID, string(v.Status), m.Reason, m.RemoteID, string(v.Raw)); err != nil {
		return err
	}
	var asked int64
	if _, err := s.one(selectSeq, []any{v.MessageID, v.ThreadID, v.Tenant}, &asked); err != nil {
		return err
	}
	events := []Entry{{Type: normalize.EventMessage, MessageID: v.MessageID}}
	added := int64(0)
	for i, reply := range replies {
		known, err := s.known(v.Tenant, reply.Message, asked, v.Now)
		if err != nil {
			return err
		}
		if known > 0 { // its webhook was faster, and did not know what it answers
			if err := s.do(linkReply, v.ThreadID, known, v.MessageID); err != nil {
				return err
			}
			continue
		}
		completed := false
		if i == 0 { // a crash may have left a part of it
			args := []any{v.ThreadID, v.MessageID, string(reply.Type), reply.Text, reply.RemoteID, reply.doc, reply.raw}
			if completed, err = s.one(completeReply, args, &reply.ID); err != nil {
				return err
			}
			s.wrote = s.wrote || completed
		}
		if !completed {
			state.lastSeq++
			added++
			if err := s.addMessage(v.ThreadID, state.lastSeq, reply); err != nil {
				return err
			}
		}
		events = append(events, Entry{Type: normalize.EventReply, MessageID: reply.ID})
	}
	if err := s.record(v.ThreadID, &state, events...); err != nil {
		return err
	}
	err = s.do(updateThreadAppended, v.ThreadID, added, state.lastSeq, state.version+1, millis(v.Now))
	if err != nil {
		return err
	}
	if v.Await != nil {
		if err := s.addChore(*v.Await); err != nil {
			return err
		}
	}
	return s.do(clearKeys, v.ThreadID, v.MessageID, []byte{})
}

// PostponeSettling keeps an unknown message out of Unsettled until a moment, and
// counts a try; the zero time is for good. Sending the message again begins anew.
// ErrChanged: there is no such unknown message.
func (s *Store) PostponeSettling(ctx context.Context, tenant, threadID, messageID string, until time.Time) error {
	after := millis(until)
	if until.IsZero() {
		after = math.MaxInt64
	}
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(postponeMessage, messageID, threadID, tenant, after)
		if err == nil && n == 0 {
			err = ErrChanged
		}
		return err
	})
}
