package store

import (
	"context"
	"errors"

	"chatmux/normalize"
)

// Entry is one event of a thread as it is recorded. What it shows is read anew
// whenever it is told: texts are stored once, with their messages.
type Entry struct {
	Type      normalize.EventType
	MessageID string           // the user's message of message, done and error; the reply of delta and reply
	Pieces    []int            // of delta: the bytes of the reply's text that each piece appended
	Replies   []string         // of done
	Failure   *normalize.Error // of error
	Moved     bool             // of thread: another backend has it now; not kept
}

// Recorded is an entry of a thread's log.
type Recorded struct {
	Entry
	Seq     int64              // its position: 1, 2, 3 …; a delta has none of its own, and shows the one before it
	Message *normalize.Message // that MessageID names, as it stands now; nil of thread events
}

// Log is a part of what happened in a thread.
type Log struct {
	Thread  StoredThread
	Entries []Recorded
	Last    int64    // position of the newest event of the whole log
	More    bool     // there are later entries than those that were read
	Sending string   // the message of the send in flight; empty where there is none
	Partial *Partial // of the send in flight: how far its answer has come, as of its last checkpoint; nil where there is none
}

// Partial is an answer that is being streamed, as far as it was saved.
type Partial struct {
	ReplyID string
	Backend string
	Text    string
	Pieces  []int // how many bytes each piece appended
}

// The stored shapes of the above.
type (
	entryDoc struct {
		Type    normalize.EventType `json:"t"`
		Message string              `json:"m,omitempty"`
		Pieces  []int               `json:"p,omitempty"`
		Replies []string            `json:"r,omitempty"`
		Failure *failureDoc         `json:"f,omitempty"`
	}

	failureDoc struct {
		Kind         string            `json:"kind"`
		Detail       string            `json:"detail,omitempty"`
		Backend      string            `json:"backend,omitempty"`
		Outcome      normalize.Outcome `json:"outcome,omitempty"`
		VendorStatus int               `json:"vendor_status,omitempty"`
		VendorCode   string            `json:"vendor_code,omitempty"`
	}

	partialDoc struct {
		ReplyID string `json:"id"`
		Backend string `json:"backend,omitempty"`
		Text    string `json:"text"`
		Pieces  []int  `json:"pieces"`
	}
)

// eventsBatch is how many rows of a log are read at once.
const eventsBatch = 100

func encodeEntries(entries []Entry) (doc string, positions int64) {
	docs := make([]entryDoc, len(entries))
	for i, e := range entries {
		docs[i] = entryDoc{Type: e.Type, Message: e.MessageID, Pieces: e.Pieces, Replies: e.Replies}
		if f := e.Failure; f != nil {
			docs[i].Failure = &failureDoc{
				Kind: f.Kind.String(), Detail: f.Detail, Backend: f.Backend, Outcome: f.Outcome,
				VendorStatus: f.VendorStatus, VendorCode: f.VendorCode,
			}
		}
		if e.Type != normalize.EventDelta {
			positions++
		}
	}
	return marshal(docs), positions
}

func (d entryDoc) entry(threadID string) Entry {
	e := Entry{Type: d.Type, MessageID: d.Message, Pieces: d.Pieces, Replies: d.Replies}
	if f := d.Failure; f != nil {
		e.Failure = &normalize.Error{
			Kind: normalize.KindNamed(f.Kind), Detail: f.Detail, Backend: f.Backend, Outcome: f.Outcome,
			VendorStatus: f.VendorStatus, VendorCode: f.VendorCode, ThreadID: threadID, MessageID: d.Message,
		}
	}
	return e
}

// record writes down what happened, after the events that state knows of, together with
// its deliveries, and moves state on.
func (s *session) record(threadID string, state *threadState, entries ...Entry) error {
	if len(entries) == 0 {
		return nil
	}
	doc, positions := encodeEntries(entries)
	state.lastEvent += positions
	s.tell(threadID)
	if err := s.do(insertEvents, threadID, state.lastEvent, doc); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.postEntry(state.tenant, threadID, e); err != nil {
			return err
		}
	}
	return nil
}

// Events returns what happened in a thread after a position, oldest first, with the
// thread as it stands now. A row of the log is told whole, so some entries may have
// positions up to after. ErrNotFound: no such thread.
func (s *Store) Events(ctx context.Context, tenant, threadID string, after int64) (log Log, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		log = Log{}
		if log.Thread, err = tx.thread(tenant, threadID, false); err != nil {
			return err
		}
		partial := ""
		if _, err := tx.one(selectProgress, []any{threadID}, &log.Last, &log.Sending, &partial); err != nil {
			return err
		}
		if partial != "" {
			var p partialDoc
			if err := unmarshal(partial, &p); err != nil {
				return err
			}
			log.Partial = &Partial{ReplyID: p.ReplyID, Backend: p.Backend, Text: p.Text, Pieces: p.Pieces}
		}
		if err := tx.readLog(&log, tenant, after); err != nil || len(log.Entries) == 0 {
			return err
		}
		// What was committed since the thread was read may be among the entries.
		log.Thread, err = tx.thread(tenant, threadID, false)
		return err
	})
	if err != nil {
		return Log{}, err
	}
	return log, nil
}

// EventOf gives the position of the event that tells of a user's message; of one that
// was sent again, of the last time. ErrNotFound: there is none.
func (s *Store) EventOf(ctx context.Context, tenant, threadID, messageID string) (position int64, err error) {
	doc, _ := encodeEntries([]Entry{{Type: normalize.EventMessage, MessageID: messageID}})
	err = s.db.read(ctx, func(tx *session) error {
		_, err := tx.one(selectEventOf, []any{threadID, tenant, doc}, &position)
		return err
	})
	if err == nil && position == 0 {
		err = ErrNotFound
	}
	return position, err
}

func (s *session) readLog(log *Log, tenant string, after int64) error {
	type row struct {
		last int64
		docs []entryDoc
	}
	var found []row
	err := s.each(selectEvents, []any{log.Thread.ID, after, int64(eventsBatch) + 1}, func(r scanner) error {
		var one row
		var doc string
		err := r.Scan(&one.last, &doc)
		if err == nil {
			err = unmarshal(doc, &one.docs)
		}
		found = append(found, one)
		return err
	})
	if err != nil {
		return err
	}
	if log.More = len(found) > eventsBatch; log.More {
		found = found[:eventsBatch]
	}
	known := make(map[string]*normalize.Message)
	for _, one := range found {
		seq := one.last
		for _, d := range one.docs {
			if d.Type != normalize.EventDelta {
				seq--
			}
		}
		for _, d := range one.docs {
			if d.Type != normalize.EventDelta {
				seq++
			}
			r := Recorded{Entry: d.entry(log.Thread.ID), Seq: seq}
			if d.Message != "" {
				if known[d.Message] == nil {
					m, err := s.message(tenant, log.Thread.ID, d.Message, false)
					if err != nil && !errors.Is(err, ErrNotFound) {
						return err
					}
					known[d.Message] = &m
				}
				r.Message = known[d.Message]
			}
			log.Entries = append(log.Entries, r)
		}
	}
	return nil
}

// SavePartial makes durable how far an answer has come. ErrLost: the epoch does not
// hold the thread any more.
func (s *Store) SavePartial(ctx context.Context, threadID, epoch string, p Partial) error {
	doc := marshal(partialDoc(p))
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(updatePartial, threadID, epoch, doc)
		if err == nil && n == 0 {
			err = ErrLost
		}
		tx.tell(threadID)
		return err
	})
}

// keepPartial stores what a dead run saved of its answer as a reply that is
// incomplete, and gives its events.
func (s *session) keepPartial(threadID, messageID string, millisNow int64) ([]Entry, error) {
	text := ""
	if _, err := s.one(selectPartial, []any{threadID}, &text); err != nil || text == "" {
		return nil, err
	}
	var p partialDoc
	if err := unmarshal(text, &p); err != nil {
		return nil, err
	}
	row := encodeMessage(normalize.Message{
		ID: p.ReplyID, ThreadID: threadID, Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: p.Text,
		Status: normalize.StatusIncomplete, Reason: reasonInterrupted, InReplyTo: messageID, Backend: p.Backend, CreatedAt: timeOf(millisNow),
	})
	var seq int64
	if _, err := s.one(nextSeq, []any{threadID}, &seq); err != nil {
		return nil, err
	}
	s.wrote = true
	return []Entry{{Type: normalize.EventDelta, MessageID: p.ReplyID, Pieces: p.Pieces}}, s.addMessage(threadID, seq, row)
}

// interrupted is the failure that ends a send whose run ended without a word.
func interrupted(status normalize.MessageStatus) *normalize.Error {
	failure := &normalize.Error{
		Kind:   normalize.KindDisconnected,
		Detail: "the server stopped while this message was on its way; it may have been processed",
	}
	if status == normalize.StatusFailed {
		failure = &normalize.Error{Kind: normalize.KindDraining, Detail: "the server stopped before this message was sent"}
	}
	failure.Outcome = normalize.OutcomeOf(status)
	return failure
}
