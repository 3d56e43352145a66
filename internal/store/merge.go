package store

import (
	"context"
	"slices"
	"time"

	"chatmux/normalize"
)

// Conversation gives the thread that has, or had, a vendor's conversation, and whose it
// is; false where nobody has it. It is the one question about bindings that is asked
// across tenants: a conversation belongs to one of them.
func (s *Store) Conversation(ctx context.Context, vendor, bot, remoteID string) (tenant, threadID string, found bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		found, err = tx.one(selectConversation, []any{vendor, bot, remoteID}, &tenant, &threadID)
		return err
	})
	if err != nil {
		return "", "", false, err
	}
	return tenant, threadID, found, nil
}

// InFlight reports whether a send that began before a moment still runs at a backend,
// whoever's it is.
func (s *Store) InFlight(ctx context.Context, backend string, before time.Time) (running bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		var n int
		_, err := tx.one(selectInFlight, []any{backend, millis(before)}, &n)
		running = n > 0
		return err
	})
	if err != nil {
		return false, err
	}
	return running, nil
}

// Merge is what a vendor's own list adds to a thread that is here already.
type Merge struct {
	Thread StoredThread // as it is to be, with the Version that this follows from; UpdatedAt is kept too
	Known  []normalize.Message
	New    []Insertion
}

// Insertion is a message that comes into a transcript behind the one at a position, 0
// for the beginning. Of those with one position, the order is the list's.
type Insertion struct {
	After   int64
	Message normalize.Message
}

// Merge writes what was found out about a thread, all in one commit: the thread, what
// the vendor tells of messages that are stored, and those that are not, each at its
// place. The positions of later messages move on. ErrChanged: the thread is not as
// it was read; ErrBusy: a send holds it; ErrNotFound. Nothing was written then.
func (s *Store) Merge(ctx context.Context, m Merge) error {
	row := encodeThread(&m.Thread.Thread)
	known := convert(m.Known, encodeMessage)
	return s.db.write(ctx, func(tx *session) error { return tx.merge(&m, row, known) })
}

func (s *session) merge(m *Merge, row threadRow, known []messageRow) error {
	t := &m.Thread
	state, err := s.state(t.Tenant, t.ID)
	switch {
	case err != nil:
		return err
	case state.held():
		return ErrBusy
	case state.version != t.Version:
		return ErrChanged
	}
	for _, k := range known {
		err := s.do(updateMessage, k.ID, t.ID, string(k.Role), string(k.Type), string(k.Status), k.Reason, k.Text, k.Backend, k.RemoteID,
			k.InReplyTo, k.doc, k.raw)
		if err != nil {
			return err
		}
	}
	var events []Entry
	place := slices.Clone(m.New)
	slices.SortStableFunc(place, func(a, b Insertion) int { return int(a.After - b.After) })
	// From the end, so that what is moved on is moved once.
	for end := len(place); end > 0; {
		after := place[end-1].After
		begin := end - 1
		for begin > 0 && place[begin-1].After == after {
			begin--
		}
		if err := s.insert(t.ID, after, state.lastSeq, place[begin:end]); err != nil {
			return err
		}
		state.lastSeq += int64(end - begin)
		end = begin
	}
	for _, p := range place {
		if p.Message.Role != normalize.RoleUser {
			events = append(events, Entry{Type: normalize.EventReply, MessageID: p.Message.ID})
		}
	}
	state.version++
	state.touched = state.version
	if err := s.record(t.ID, &state, append(events, Entry{Type: normalize.EventThread})...); err != nil {
		return err
	}
	return s.saveThread(&t.Thread, t.Carry, row, state, len(place), t.UpdatedAt)
}

// insert makes room behind a position and fills it. No two rows have one position at
// any moment, so what moves goes by way of negative ones.
func (s *session) insert(threadID string, after, last int64, list []Insertion) error {
	if after < last {
		if err := s.do(moveMessages, threadID, after, int64(len(list))); err != nil {
			return err
		}
		if err := s.do(settleMoved, threadID); err != nil {
			return err
		}
	}
	rows := convert(list, func(i Insertion) messageRow { return encodeMessage(i.Message) })
	return s.append(threadID, after, rows)
}

// ImportMark is how far an import has come.
type ImportMark struct {
	Tenant string
	ID     string // of what was asked for
	Cursor string // the vendor's, of the page to go on with
	Report []byte // what became of the pages before
	At     time.Time
}

// ImportMark reads how far an import has come; false where it has not begun, or is
// over.
func (s *Store) ImportMark(ctx context.Context, tenant, id string) (mark ImportMark, found bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		var report string
		var at int64
		found, err = tx.one(selectImport, []any{tenant, id}, &mark.Cursor, &report, &at)
		mark.Tenant, mark.ID, mark.Report, mark.At = tenant, id, []byte(report), timeOf(at)
		return err
	})
	if err != nil {
		return ImportMark{}, false, err
	}
	return mark, found, nil
}

// SaveImportMark writes down how far an import has come.
func (s *Store) SaveImportMark(ctx context.Context, mark ImportMark) error {
	return s.db.write(ctx, func(tx *session) error {
		return tx.do(saveImport, mark.Tenant, mark.ID, mark.Cursor, string(mark.Report), millis(mark.At))
	})
}

// EndImport forgets how far an import has come: the next one begins anew.
func (s *Store) EndImport(ctx context.Context, tenant, id string) error {
	return s.db.write(ctx, func(tx *session) error { return tx.do(deleteImport, tenant, id) })
}
