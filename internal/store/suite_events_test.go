package store

import (
	"testing"
	"time"

	"chatmux/normalize"
)

func (f *fixture) events(tenant, threadID string, after int64) Log {
	f.t.Helper()
	log, err := f.Events(f.t.Context(), tenant, threadID, after)
	f.must(err)
	return log
}

// eventsAreRecordedWithWhatTheyTellOf: what happened in a thread is recorded in one order, with its send.
func eventsAreRecordedWithWhatTheyTellOf(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	r, err := f.Accept(ctx, Acceptance{Thread: thread, Version: 1, Message: m, Epoch: "e1", Lease: time.Minute, Now: t0})
	f.must(err)
	f.same("position of the message", r.Event, int64(1))
	partial := Partial{ReplyID: newID("msg"), Backend: "desk", Text: "It is", Pieces: []int{2, 3}}
	f.must(f.SavePartial(ctx, thread.ID, "e1", partial))
	f.wantErr("SavePartial of another run", f.SavePartial(ctx, thread.ID, "e2", partial), ErrLost)
	log := f.events("acme", thread.ID, 0)
	f.same("progress", *log.Partial, partial)
	f.same("sending", log.Sending, m.ID)
	_, err = f.Store.Events(ctx, "other", thread.ID, 0)
	f.wantErr("another tenant", err, ErrNotFound)

	_, err = f.UpdateThread(ctx, "acme", thread.ID, t0, func(t *StoredThread) error { t.Title = "new"; return nil })
	f.must(err)
	_, err = f.UpdateThread(ctx, "acme", thread.ID, t0, func(t *StoredThread) error { t.Metadata = map[string]string{"a": "b"}; return nil })
	f.must(err)
	reply := replyTo(m, "It is here.")
	m.Status = normalize.StatusSent
	st := f.read(thread)
	last, err := f.Store.Finish(ctx, Finish{
		Thread: st.Thread, Version: st.Version, Message: m, Replies: []normalize.Message{reply}, Epoch: "e1", Now: t0,
		Events: []Entry{
			{Type: normalize.EventDelta, MessageID: reply.ID, Pieces: []int{2, 9}},
			{Type: normalize.EventReply, MessageID: reply.ID},
			{Type: normalize.EventDone, MessageID: m.ID, Replies: []string{reply.ID}},
		},
	})
	f.must(err)
	f.same("last position", last, int64(4))

	told := func(after int64) (list []string) {
		for _, e := range f.events("acme", thread.ID, after).Entries {
			list = append(list, string(e.Type))
			if e.Message != nil && e.Message.ID != e.MessageID {
				f.t.Errorf("%s has the message %s, want %s", e.Type, e.Message.ID, e.MessageID)
			}
		}
		return list
	}
	f.same("all", told(0), []string{"message", "thread", "delta", "reply", "done"})
	f.same("behind the reply, whose row is told whole", told(3), []string{"delta", "reply", "done"})
	f.same("behind all", told(4), []string(nil))
	log = f.events("acme", thread.ID, 2)
	f.same("positions", []int64{log.Entries[0].Seq, log.Entries[1].Seq, log.Entries[2].Seq, log.Last}, []int64{2, 3, 4, 4})
	f.same("pieces", log.Entries[0].Pieces, []int{2, 9})
	at, err := f.EventOf(ctx, "acme", thread.ID, m.ID)
	f.must(err)
	f.same("where the message is told", at, int64(1))
	_, err = f.EventOf(ctx, "other", thread.ID, m.ID)
	f.wantErr("another tenant's", err, ErrNotFound)
}

// deadRunLeavesWhatItSaved: a run that died in mid-answer leaves an incomplete
// reply and an end for its watchers; settling completes that very reply.
func deadRunLeavesWhatItSaved(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	attempt := newAttempt(m, "e1")
	_, err := f.Accept(ctx, Acceptance{Thread: thread, Version: 1, Message: m, Attempt: attempt, Epoch: "e1", Now: t0})
	f.must(err)
	partial := Partial{ReplyID: newID("msg"), Backend: "desk", Text: "It is", Pieces: []int{2, 3}}
	f.must(f.SavePartial(ctx, thread.ID, "e1", partial))
	_, err = f.SettleExpired(ctx, 1000)
	f.must(err)

	list, _, err := f.Messages(ctx, "acme", thread.ID, Range{Ascending: true})
	f.must(err)
	if len(list) != 2 || list[0].Status != normalize.StatusUnknown || list[1].ID != partial.ReplyID || list[1].Text != "It is" ||
		list[1].Status != normalize.StatusIncomplete || list[1].InReplyTo != m.ID {
		f.t.Fatalf("left: %+v", list)
	}
	f.same("count", f.read(thread).MessageCount, 2)
	log := f.events("acme", thread.ID, 1)
	if len(log.Entries) != 2 || log.Entries[0].Type != normalize.EventDelta || log.Entries[1].Type != normalize.EventError ||
		log.Entries[1].Failure.Outcome != normalize.OutcomeUnknown || log.Partial != nil {
		f.t.Fatalf("told: %+v", log)
	}

	whole := replyTo(m, "It is here.")
	f.must(f.Settle(ctx, Settlement{
		Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 1, Status: normalize.StatusSent, Replies: []normalize.Message{whole}, Now: t0,
	}))
	list, _, err = f.Messages(ctx, "acme", thread.ID, Range{Ascending: true})
	f.must(err)
	if len(list) != 2 || list[1].ID != partial.ReplyID || list[1].Text != whole.Text || list[1].Status != normalize.StatusComplete || list[1].Reason != "" {
		f.t.Fatalf("settled: %+v", list)
	}
	log = f.events("acme", thread.ID, log.Last)
	if len(log.Entries) != 2 || log.Entries[0].Type != normalize.EventMessage || log.Entries[1].MessageID != partial.ReplyID {
		f.t.Fatalf("told of the settlement: %+v", log.Entries)
	}
}
