package store

import (
	"context"
	"errors"
	"time"

	"chatmux/normalize"
)

// News is what a vendor told of a thread by itself.
type News struct {
	Tenant   string
	ThreadID string
	Backend  string              // whose conversation it is of
	Digest   string              // of what was told: the same one is told once
	Messages []normalize.Message // with ids of ours, oldest first
	Update   NewsUpdate
	Now      time.Time
}

// NewsUpdate is what a vendor told of a thread's state by itself. A zero field was not
// told.
type NewsUpdate struct {
	Mode      normalize.Mode `json:"mode,omitempty"`
	Escalated *bool          `json:"escalated,omitempty"`
}

// Heard says what became of News.
type Heard struct {
	Known    bool // all of it was known already: nothing was written
	Kept     bool // a send holds the thread: it is durable, and Waiting
	Added    int  // messages that were stored in the thread
	Answered bool // one of them is an answer that was waited for
}

// KeptNews is News that a send in flight may take for its answer.
type KeptNews struct {
	Position int64
	Messages []normalize.Message
}

// sameText is how long a message that has no id of the vendor's, or of which we have
// none, is the one that has the same text: the vendor may tell it by two ways, and
// repeat itself.
const sameText = 10 * time.Minute

// newestRead is how many of the newest messages of a thread are compared by text.
const newestRead = 50

// The stored shapes of News.
type (
	newsDoc struct {
		Backend  string        `json:"backend"`
		Messages []newsMessage `json:"messages,omitempty"`
		Update   NewsUpdate    `json:"update,omitzero"`
	}

	newsMessage struct {
		ID       string                  `json:"id"`
		Role     normalize.Role          `json:"role"`
		Type     normalize.MessageType   `json:"type"`
		Status   normalize.MessageStatus `json:"status"`
		Text     string                  `json:"text,omitempty"`
		RemoteID string                  `json:"remote_id,omitempty"`
		Doc      string                  `json:"doc,omitempty"`
		Raw      string                  `json:"raw,omitempty"`
		Created  int64                   `json:"created"`
	}
)

func (m newsMessage) row(threadID, backend string) messageRow {
	return messageRow{
		Message: normalize.Message{
			ID: m.ID, ThreadID: threadID, Role: m.Role, Type: m.Type, Status: m.Status, Text: m.Text, Backend: backend, RemoteID: m.RemoteID,
		},
		doc: m.Doc, raw: m.Raw, created: m.Created,
	}
}

// Hear makes what a vendor told durable: in the thread, with its events, or kept for
// the send that holds it, or until that has ended (Absorb). A message that the thread
// has is known: by the vendor's id of it; where one of the two has none, by who said
// it and its text, within ten minutes. A message of a bot or of an operator is the
// answer that is waited for, if one is. ErrNotFound: no such thread.
func (s *Store) Hear(ctx context.Context, n News) (Heard, error) {
	var heard Heard
	rows := convert(n.Messages, encodeMessage)
	err := s.db.write(ctx, func(tx *session) error {
		heard = Heard{}
		state, err := tx.state(n.Tenant, n.ThreadID)
		if err != nil {
			return err
		}
		doc := newsDoc{Backend: n.Backend, Update: n.Update}
		for _, m := range rows {
			known, err := tx.known(n.Tenant, m.Message, 0, n.Now)
			if err != nil {
				return err
			}
			if known == 0 {
				doc.Messages = append(doc.Messages, newsMessage{
					ID: m.ID, Role: m.Role, Type: m.Type, Status: m.Status, Text: m.Text, RemoteID: m.RemoteID, Doc: m.doc, Raw: m.raw, Created: m.created,
				})
			}
		}
		if len(doc.Messages) == 0 && doc.Update == (NewsUpdate{}) {
			heard.Known = true
			return nil
		}
		if added, err := tx.exec(insertNews, n.ThreadID, n.Digest, marshal(doc)); err != nil || added == 0 {
			heard.Known = true
			return err
		}
		if heard.Kept = state.epoch != ""; heard.Kept {
			tx.tell(n.ThreadID) // the send may be another process's
			return nil
		}
		heard, err = tx.absorb(n.Tenant, n.ThreadID, state, n.Now)
		return err
	})
	if err != nil { // the write may still be under way
		return Heard{}, err
	}
	return heard, nil
}

// known gives the position of a message that a thread has already, 0 where it has not;
// one that is known by its text stands behind a position.
func (s *session) known(tenant string, m normalize.Message, behind int64, now time.Time) (seq int64, err error) {
	if m.RemoteID != "" {
		if found, err := s.one(selectToldBefore, []any{m.ThreadID, tenant, m.RemoteID}, &seq); err != nil || found {
			return seq, err
		}
	}
	newest, err := s.messages(selectNewest, m.ThreadID, tenant, int64(newestRead))
	for _, have := range newest {
		if have.Seq > behind && have.Role == m.Role && have.Text == m.Text && have.Notice == m.Notice &&
			(have.RemoteID == "" || m.RemoteID == "") && (have.Status == normalize.StatusComplete || have.Status == normalize.StatusSent) &&
			now.Sub(madeAt(have.Message)) < sameText {
			return have.Seq, err
		}
	}
	return 0, err
}

// madeAt is when a message got its id, by our clock.
func madeAt(m normalize.Message) time.Time {
	id, err := normalize.ParseID(normalize.PrefixMessage, m.ID)
	if err != nil {
		return m.CreatedAt
	}
	ms := int64(0)
	for _, b := range id[:6] { // of a UUIDv7
		ms = ms<<8 | int64(b)
	}
	return timeOf(ms)
}

// KeptNews reads what vendors have told of a thread while a send holds it, in the order
// in which it came.
func (s *Store) KeptNews(ctx context.Context, tenant, threadID string) (list []KeptNews, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		kept, err := tx.news(tenant, threadID)
		list = nil
		for _, k := range kept {
			one := KeptNews{Position: k.position}
			for _, m := range k.doc.Messages {
				row := m.row(threadID, k.doc.Backend)
				if err := readDocument(&row.Message, row.doc, row.raw, row.created); err != nil {
					return err
				}
				one.Messages = append(one.Messages, row.Message)
			}
			list = append(list, one)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

type keptDoc struct {
	position int64
	doc      newsDoc
}

func (s *session) news(tenant, threadID string) (list []keptDoc, err error) {
	err = s.each(selectNews, []any{threadID, tenant}, func(row scanner) error {
		var k keptDoc
		var doc string
		err := row.Scan(&k.position, &doc)
		if err == nil {
			err = unmarshal(doc, &k.doc)
		}
		list = append(list, k)
		return err
	})
	return list, err
}

// ThreadRef names a thread of a tenant's.
type ThreadRef struct{ Tenant, ThreadID string }

// TalkedOf lists up to limit threads for which news is kept that no send can take any
// more.
func (s *Store) TalkedOf(ctx context.Context, limit int) (list []ThreadRef, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectToldThreads, []any{int64(limit)}, func(row scanner) error {
			var t ThreadRef
			err := row.Scan(&t.ThreadID, &t.Tenant)
			list = append(list, t)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Absorb stores the news that was kept for a thread in it, as Hear does. ErrBusy: a
// send holds the thread again.
func (s *Store) Absorb(ctx context.Context, t ThreadRef, now time.Time) (Heard, error) {
	var heard Heard
	err := s.db.write(ctx, func(tx *session) error {
		state, err := tx.state(t.Tenant, t.ThreadID)
		if err != nil {
			return err
		}
		if state.epoch != "" {
			return ErrBusy
		}
		heard, err = tx.absorb(t.Tenant, t.ThreadID, state, now)
		return err
	})
	if err != nil {
		return Heard{}, err
	}
	return heard, nil
}

// absorb stores all news of a thread in it.
func (s *session) absorb(tenant, threadID string, state threadState, now time.Time) (heard Heard, err error) {
	kept, err := s.news(tenant, threadID)
	if err != nil || len(kept) == 0 {
		return heard, err
	}
	thread, err := s.thread(tenant, threadID, false)
	if err != nil {
		return heard, err
	}
	was := thread.Thread
	var waited struct{ message, backend string }
	if _, err := s.one(selectChore, []any{threadID, ChoreAnswer}, &waited.message, &waited.backend); err != nil {
		return heard, err
	}
	var entries []Entry
	for _, k := range kept {
		if k.doc.Backend == thread.Backend {
			normalize.ThreadUpdate{Mode: k.doc.Update.Mode, Escalated: k.doc.Update.Escalated}.Apply(&thread.Thread)
		}
		for _, m := range k.doc.Messages {
			row := m.row(threadID, k.doc.Backend)
			known, err := s.known(tenant, row.Message, 0, now)
			if err != nil {
				return heard, err
			}
			if known > 0 {
				continue
			}
			if waited.message != "" && waited.backend == k.doc.Backend && row.Role != normalize.RoleSystem {
				row.InReplyTo, heard.Answered = waited.message, true
			}
			state.lastSeq++
			heard.Added++
			if err := s.addMessage(threadID, state.lastSeq, row); err != nil {
				return heard, err
			}
			entries = append(entries, Entry{Type: normalize.EventReply, MessageID: row.ID})
		}
		if err := s.do(deleteNews, threadID, k.position); err != nil {
			return heard, err
		}
	}
	if heard.Answered {
		if err := s.do(deleteChore, threadID, ChoreAnswer); err != nil {
			return heard, err
		}
	}
	if showsChange(&was, &thread.Thread) {
		entries = append(entries, Entry{Type: normalize.EventThread})
	}
	state.version++
	if err := s.record(threadID, &state, entries...); err != nil {
		return heard, err
	}
	return heard, s.saveThread(&thread.Thread, thread.Carry, encodeThread(&thread.Thread), state, heard.Added, now)
}

// finishNews is what the end of a send means for what vendors tell by themselves.
func (s *session) finishNews(f *Finish) error {
	for _, position := range f.Taken {
		if err := s.do(deleteNews, f.Thread.ID, position); err != nil {
			return err
		}
	}
	if len(f.Taken) > 0 || f.Answered {
		if err := s.do(deleteChore, f.Thread.ID, ChoreAnswer); err != nil {
			return err
		}
	}
	for _, c := range f.Chores {
		if err := s.addChore(c); err != nil {
			return err
		}
	}
	return nil
}

// The kinds of a Chore.
const (
	ChoreAnswer  = "answer"  // the answer to a message is waited for
	ChoreWebhook = "webhook" // the vendor is to be told where it can tell news
)

// Chore is something that is still to be done for a thread at its vendor. A thread has
// one of each kind.
type Chore struct {
	Tenant    string
	ThreadID  string
	Kind      string
	MessageID string // that the answer is for
	Backend   string
	Tries     int
	Due       time.Time
	CreatedAt time.Time // with Tries, what ClaimChore compares
}

// AddChore stores a chore in place of one of the same kind. ErrNotFound: no such thread.
func (s *Store) AddChore(ctx context.Context, c Chore) error {
	return s.db.write(ctx, func(tx *session) error {
		if _, err := tx.state(c.Tenant, c.ThreadID); err != nil {
			return err
		}
		return tx.addChore(c)
	})
}

func (s *session) addChore(c Chore) error {
	return s.do(insertChore, c.ThreadID, c.Kind, c.MessageID, c.Backend, millis(c.Due), millis(c.CreatedAt))
}

// DueChores lists up to limit chores that were due at a moment, of threads that no send
// holds, those first that are due the longest.
func (s *Store) DueChores(ctx context.Context, at time.Time, limit int) (list []Chore, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectChores, []any{millis(at), int64(limit)}, func(row scanner) error {
			var c Chore
			var due, created int64
			err := row.Scan(&c.ThreadID, &c.Tenant, &c.Kind, &c.MessageID, &c.Backend, &c.Tries, &due, &created)
			c.Due, c.CreatedAt = timeOf(due), timeOf(created)
			list = append(list, c)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ClaimChore counts a try of a chore and puts the next one off until a moment, so that
// of several processes one tries. ErrChanged: somebody else did, or it is no more.
func (s *Store) ClaimChore(ctx context.Context, c Chore, next time.Time) error {
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(claimChore, c.ThreadID, c.Kind, int64(c.Tries), millis(c.CreatedAt), millis(next), c.Tenant)
		if err == nil && n == 0 {
			err = ErrChanged
		}
		return err
	})
}

// EndChore takes a chore off the list; one that has taken its place stays.
func (s *Store) EndChore(ctx context.Context, c Chore) error {
	return s.db.write(ctx, func(tx *session) error {
		_, err := tx.exec(endChore, c.ThreadID, c.Kind, millis(c.CreatedAt), c.Tenant)
		return err
	})
}

// Await makes durable that a vendor has taken the message of a send, and that its
// answer is waited for; the send goes on. Of m, what an outcome changes is written.
// ErrLost: the epoch does not hold the thread any more.
func (s *Store) Await(ctx context.Context, epoch string, m normalize.Message, end AttemptEnd, c Chore) error {
	row := encodeMessage(m)
	return s.db.write(ctx, func(tx *session) error {
		state, err := tx.state(c.Tenant, c.ThreadID)
		if errors.Is(err, ErrNotFound) || err == nil && state.epoch != epoch {
			return ErrLost
		}
		if err != nil {
			return err
		}
		if err := tx.do(updateOutcome, row.ID, c.ThreadID, string(row.Status), row.Reason, row.Backend, row.RemoteID, row.doc, row.raw); err != nil {
			return err
		}
		if err := tx.endAttempt(c.ThreadID, end); err != nil {
			return err
		}
		return tx.addChore(c)
	})
}

// endAwaited tells the end of a dead send whose vendor had taken the message: its
// answer is waited for as if the send had ended without one.
func (s *session) endAwaited(threadID, messageID string) error {
	var waited, backend string
	found, err := s.one(selectChore, []any{threadID, ChoreAnswer}, &waited, &backend)
	if err != nil || !found || waited != messageID {
		return err
	}
	doc, positions := encodeEntries([]Entry{{Type: normalize.EventDone, MessageID: messageID}})
	s.tell(threadID)
	return s.do(appendEvents, threadID, positions, doc)
}

// PersonThread finds the thread of a person at a vendor, of whichever tenant; of several
// the last one. ErrNotFound.
func (s *Store) PersonThread(ctx context.Context, vendor, bot, remoteUser string) (t ThreadRef, err error) {
	found := false
	err = s.db.read(ctx, func(tx *session) error {
		found, err = tx.one(selectPersonThread, []any{vendor, bot, remoteUser}, &t.ThreadID, &t.Tenant)
		return err
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return t, err
}

// VendorRecord is something that a vendor told and that is no part of a thread.
type VendorRecord struct {
	Vendor, Bot, Kind, ID string
	ThreadID              string // of its person, and erased with it; empty: none
	Raw                   []byte
	ReceivedAt            time.Time
}

// KeepRecord stores a record; false where it is stored already.
func (s *Store) KeepRecord(ctx context.Context, r VendorRecord) (bool, error) {
	added := false
	err := s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(insertVendorRecord, r.Vendor, r.Bot, r.Kind, r.ID, r.ThreadID, string(r.Raw), millis(r.ReceivedAt))
		added = n > 0
		return err
	})
	if err != nil {
		return false, err
	}
	return added, nil
}

// VendorRecords lists up to limit records of one kind in the order of their ids, after
// an id.
func (s *Store) VendorRecords(ctx context.Context, vendor, bot, kind, after string, limit int) (list []VendorRecord, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectVendorRecords, []any{vendor, bot, kind, after, int64(limit)}, func(row scanner) error {
			r := VendorRecord{Vendor: vendor, Bot: bot, Kind: kind}
			var raw string
			var received int64
			err := row.Scan(&r.ID, &r.ThreadID, &raw, &received)
			r.Raw, r.ReceivedAt = []byte(raw), timeOf(received)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// SweepRecords erases the records that were received before a moment.
func (s *Store) SweepRecords(ctx context.Context, before time.Time) error {
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(deleteVendorRecords, millis(before))
		if n > 0 {
			s.erased.Store(true)
		}
		return err
	})
}
