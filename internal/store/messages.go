package store

import (
	"context"
	"math"
	"slices"

	"chatmux/normalize"
)

// StoredMessage is a message with its position in its thread: 1, 2, 3 …
type StoredMessage struct {
	normalize.Message
	Seq int64
}

// Message reads one message, with the vendor's own object if raw. ErrNotFound.
func (s *Store) Message(ctx context.Context, tenant, threadID, id string, raw bool) (m normalize.Message, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		m, err = tx.message(tenant, threadID, id, raw)
		return err
	})
	if err != nil {
		return normalize.Message{}, err
	}
	return m, nil
}

func (s *session) message(tenant, threadID, id string, raw bool) (normalize.Message, error) {
	found, err := s.messages(selectMessage, id, threadID, tenant, flag(raw))
	if err != nil {
		return normalize.Message{}, err
	}
	if len(found) == 0 {
		return normalize.Message{}, ErrNotFound
	}
	return found[0].Message, nil
}

func (s *session) messages(q query, args ...any) (list []StoredMessage, err error) {
	err = s.each(q, args, func(row scanner) error {
		m, err := scanMessage(row)
		list = append(list, m)
		return err
	})
	return list, err
}

// Messages returns one page of a transcript, newest first unless the range says
// ascending, and whether there are more. A page begins after the message at
// Range.After.Seq. ErrNotFound: no such thread.
func (s *Store) Messages(ctx context.Context, tenant, threadID string, r Range) (list []StoredMessage, more bool, err error) {
	if r.Limit <= 0 {
		r.Limit = defaultLimit
	}
	q, after := selectMessagesUp, r.After.Seq
	if !r.Ascending {
		if q = selectMessagesDown; after == 0 {
			after = math.MaxInt64
		}
	}
	err = s.db.read(ctx, func(tx *session) error {
		list, err = tx.messages(q, threadID, tenant, after, int64(r.Limit)+1, flag(r.Raw))
		if err == nil && len(list) == 0 {
			_, err = tx.thread(tenant, threadID, false)
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if more = len(list) > r.Limit; more {
		list = list[:r.Limit]
	}
	return list, more, nil
}

// MessagesAt returns the part of a transcript at r.Offset, and how many messages there
// are in all; with spoken, notices (role system) are left out, and not counted.
// ErrNotFound: no such thread.
func (s *Store) MessagesAt(
	ctx context.Context, tenant, threadID string, spoken bool, r Range,
) (list []normalize.Message, total int, err error) {
	q := selectSpanDown
	if r.Ascending {
		q = selectSpanUp
	}
	err = s.db.read(ctx, func(tx *session) error {
		if _, err := tx.one(countMessages, []any{threadID, tenant, flag(spoken)}, &total); err != nil {
			return err
		}
		if total == 0 {
			_, err := tx.thread(tenant, threadID, false)
			return err
		}
		found, err := tx.messages(q, threadID, tenant, flag(spoken), int64(r.Limit), int64(r.Offset))
		for _, m := range found {
			list = append(list, m.Message)
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return list, total, nil
}

// UpdateMessage reads a message, lets change work on it, and writes the result, all
// in one transaction; it returns the message as written. Its ids and CreatedAt are
// kept; a nil Raw leaves the stored one. What UpdateThread says of change holds
// here. ErrNotFound.
func (s *Store) UpdateMessage(
	ctx context.Context, tenant, threadID, id string, change func(*normalize.Message) error,
) (normalize.Message, error) {
	var result normalize.Message
	err := s.db.write(ctx, func(tx *session) error {
		m, err := tx.message(tenant, threadID, id, false)
		if err != nil {
			return err
		}
		created := m.CreatedAt
		if err := change(&m); err != nil {
			return err
		}
		m.ID, m.ThreadID, m.CreatedAt = id, threadID, created
		result = m
		row := encodeMessage(m)
		return tx.do(updateMessage, id, threadID, string(m.Role), string(m.Type), string(m.Status), m.Reason, m.Text, m.Backend, m.RemoteID,
			m.InReplyTo, row.doc, row.raw)
	})
	if err != nil {
		return normalize.Message{}, err
	}
	return result, nil
}

// History returns what was said before a message (empty: all of the thread), oldest
// first: user messages that a vendor has, and complete replies; no notices. Of more
// than maxMessages, or more than maxBytes of text, the newest are kept; zero is no
// limit. ErrNotFound: no such thread or message.
func (s *Store) History(
	ctx context.Context, tenant, threadID, beforeMessageID string, maxMessages, maxBytes int,
) ([]normalize.Message, error) {
	if maxMessages <= 0 {
		maxMessages = math.MaxInt32
	}
	if maxBytes <= 0 {
		maxBytes = math.MaxInt
	}
	var history []normalize.Message
	err := s.db.read(ctx, func(tx *session) error {
		before, left := int64(math.MaxInt64), maxBytes
		history = nil
		if beforeMessageID == "" {
			if _, err := tx.thread(tenant, threadID, false); err != nil {
				return err
			}
		} else {
			found, err := tx.one(selectSeq, []any{beforeMessageID, threadID, tenant}, &before)
			if err != nil {
				return err
			}
			if !found {
				return ErrNotFound
			}
		}
		list, err := tx.messages(selectHistory, threadID, tenant, before, int64(maxMessages))
		for _, m := range list {
			if left -= len(m.Text); left < 0 {
				break
			}
			history = append(history, m.Message)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(history)
	return history, nil
}

func (s *session) addMessage(threadID string, seq int64, row messageRow) error {
	return s.do(insertMessage, threadID, seq, row.ID, string(row.Role), string(row.Type), string(row.Status), row.Reason, row.Text,
		row.Backend, row.RemoteID, row.InReplyTo, row.doc, row.raw, row.created)
}
