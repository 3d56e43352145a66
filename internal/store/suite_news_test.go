package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"chatmux/normalize"
)

// said makes a message as a vendor tells it by itself, with an id of ours.
func said(t normalize.Thread, text, remoteID string) normalize.Message {
	return normalize.Message{
		ID: normalize.FormatID(normalize.PrefixMessage, uuid.Must(uuid.NewV7())), ThreadID: t.ID, Role: normalize.RoleAssistant, Type: normalize.TypeText,
		Text: text, Status: normalize.StatusComplete, Backend: "desk", RemoteID: remoteID, CreatedAt: t0,
		Author: normalize.Author{Name: "Ana"}, Raw: []byte(`{"text":"` + text + `"}`),
	}
}

func newsOf(t normalize.Thread, digest string, messages ...normalize.Message) News {
	return News{Tenant: t.Tenant, ThreadID: t.ID, Backend: "desk", Digest: digest, Messages: messages, Now: time.Now()}
}

func (f *fixture) hear(n News) Heard {
	f.t.Helper()
	heard, err := f.Hear(f.t.Context(), n)
	f.must(err)
	return heard
}

func newsIsStoredOnceHoweverOftenItIsTold(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, "hello")
	m := said(thread, "späte Antwort", "r-1")
	var all sync.WaitGroup
	heard := make([]Heard, 20)
	for i := range heard {
		all.Go(func() {
			again := m
			again.ID = said(thread, "", "").ID
			heard[i], _ = f.Hear(t.Context(), newsOf(thread, "d", again))
		})
	}
	all.Wait()
	added := 0
	for _, h := range heard {
		added += h.Added
		if h.Known == (h.Added > 0) || h.Kept {
			t.Errorf("heard %+v", h)
		}
	}
	if added != 1 {
		t.Errorf("%d messages were added", added)
	}
	list := f.transcript(thread)
	got := list[len(list)-1]
	m.ID = got.ID
	f.same("the message", got, m)
	f.same("known by its id", f.hear(newsOf(thread, "other", said(thread, "edited", "r-1"))), Heard{Known: true})
	f.same("known by its text", f.hear(newsOf(thread, "third", said(thread, "späte Antwort", ""))), Heard{Known: true})
	f.same("of another text", f.hear(newsOf(thread, "fourth", said(thread, "noch eine", ""))), Heard{Added: 1})
	log, err := f.Events(t.Context(), thread.Tenant, thread.ID, 0)
	f.must(err)
	if n := len(log.Entries); n != 3 || log.Entries[n-1].Type != normalize.EventReply || log.Entries[n-1].Message.Text != "noch eine" {
		t.Errorf("events: %+v", log.Entries)
	}
	if count := f.read(thread).MessageCount; count != len(f.transcript(thread)) {
		t.Errorf("the thread counts %d messages", count)
	}
	_, err = f.Hear(t.Context(), newsOf(normalize.Thread{ID: thread.ID, Tenant: "other"}, "d"))
	f.wantErr("another tenant's", err, ErrNotFound)
}

func newsWaitsForTheSendThatHoldsTheThread(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e", withAttempt(newAttempt(m, "e")))
	f.same("heard", f.hear(newsOf(thread, "a", said(thread, "answer", "r-1"))), Heard{Kept: true})
	f.same("again", f.hear(newsOf(thread, "a", said(thread, "answer", "r-1"))), Heard{Known: true})
	other := newsOf(thread, "b", said(thread, "a human speaks", "r-2"))
	other.Update = NewsUpdate{Mode: normalize.ModeHuman, Escalated: ptr(true)}
	thread.Backend = "desk"
	f.same("and more", f.hear(other), Heard{Kept: true})
	kept, err := f.KeptNews(t.Context(), thread.Tenant, thread.ID)
	f.must(err)
	if len(kept) != 2 || kept[0].Messages[0].Text != "answer" || kept[0].Messages[0].Author.Name != "Ana" || kept[1].Messages[0].RemoteID != "r-2" {
		t.Fatalf("kept: %+v", kept)
	}
	_, err = f.Absorb(t.Context(), ThreadRef{thread.Tenant, thread.ID}, time.Now())
	f.wantErr("while the send runs", err, ErrBusy)
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) {
		fin.Thread.Backend = "desk"
		fin.Replies = kept[0].Messages
		fin.Replies[0].InReplyTo = m.ID
		fin.Taken = []int64{kept[0].Position}
	})
	refs, err := f.TalkedOf(t.Context(), 10)
	f.must(err)
	f.same("threads with news", refs, []ThreadRef{{thread.Tenant, thread.ID}})
	heard, err := f.Absorb(t.Context(), refs[0], time.Now())
	f.must(err)
	list := f.transcript(thread)
	if heard.Added != 1 || heard.Answered || len(list) != 3 || list[1].Text != "answer" || list[2].Text != "a human speaks" || list[2].InReplyTo != "" {
		t.Errorf("%+v: %+v", heard, list)
	}
	if now := f.read(thread); now.Mode != normalize.ModeHuman || now.Escalated == nil || !*now.Escalated {
		t.Errorf("the thread is %+v", now)
	}
	refs, err = f.TalkedOf(t.Context(), 10)
	f.must(err)
	f.same("nothing is left", refs, []ThreadRef(nil))
}

func awaitedAnswerOutlivesItsSend(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	attempt := newAttempt(m, "e")
	f.begin(thread, m, "e", withAttempt(attempt))
	m.Status, m.Backend, m.RemoteID = normalize.StatusSent, "desk", "q-1"
	chore := Chore{Tenant: thread.Tenant, ThreadID: thread.ID, Kind: ChoreAnswer, MessageID: m.ID, Backend: "desk", Due: t0, CreatedAt: t0}
	end := AttemptEnd{ID: attempt.ID, EndedAt: t0}
	f.wantErr("of another run", f.Await(t.Context(), "x", m, end, chore), ErrLost)
	f.must(f.Await(t.Context(), "e", m, end, chore))
	due, err := f.DueChores(t.Context(), at(1), 10)
	f.must(err)
	f.same("while the send runs", due, []Chore(nil))
	f.expire(thread)
	r, err := f.SettleExpired(t.Context(), 10)
	f.must(err)
	f.same("a message that the vendor took is not unknown", r, Recovered{})
	if got := f.transcript(thread)[0]; got.Status != normalize.StatusSent || got.RemoteID != "q-1" {
		t.Errorf("message %+v", got)
	}
	due, err = f.DueChores(t.Context(), at(1), 10)
	f.must(err)
	f.same("after it", due, []Chore{chore})
	f.must(f.ClaimChore(t.Context(), chore, at(5)))
	f.wantErr("claimed twice", f.ClaimChore(t.Context(), chore, at(5)), ErrChanged)
	due, err = f.DueChores(t.Context(), at(1), 10)
	f.must(err)
	f.same("put off", due, []Chore(nil))
	f.same("the answer", f.hear(newsOf(thread, "a", said(thread, "answer", "r-1"))), Heard{Added: 1, Answered: true})
	if list := f.transcript(thread); list[1].InReplyTo != m.ID {
		t.Errorf("the answer is %+v", list[1])
	}
	due, err = f.DueChores(t.Context(), at(60), 10)
	f.must(err)
	f.same("answered", due, []Chore(nil))
	log, err := f.Events(t.Context(), thread.Tenant, thread.ID, 0)
	f.must(err)
	var types []normalize.EventType
	for _, e := range log.Entries {
		types = append(types, e.Type)
	}
	f.same("events", types, []normalize.EventType{normalize.EventMessage, normalize.EventDone, normalize.EventReply})
	f.must(f.AddChore(t.Context(), chore))
	newer := chore
	newer.CreatedAt = at(2)
	f.must(f.AddChore(t.Context(), newer))
	f.must(f.EndChore(t.Context(), chore))
	due, err = f.DueChores(t.Context(), at(60), 10)
	f.must(err)
	f.same("one that took its place stays", due, []Chore{newer})
}

func vendorRecordGoesWithItsThread(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	ref, err := f.PersonThread(t.Context(), "altur", "b1", "u2")
	f.must(err)
	f.same("the person's thread", ref, ThreadRef{"acme", thread.ID})
	_, err = f.PersonThread(t.Context(), "altur", "b0", "")
	f.wantErr("of nobody", err, ErrNotFound)
	list := func() []VendorRecord {
		list, err := f.VendorRecords(t.Context(), "altur", "b1", "call", "", 10)
		f.must(err)
		return list
	}
	var want []VendorRecord
	for i := range 3 {
		r := VendorRecord{Vendor: "altur", Bot: "b1", Kind: "call", ID: fmt.Sprint("c", i), Raw: []byte(`{"n": 1.0}`), ReceivedAt: at(i)}
		if i == 2 {
			r.ThreadID = thread.ID
		}
		for _, fresh := range []bool{true, false} {
			added, err := f.KeepRecord(t.Context(), r)
			f.must(err)
			f.same("added", added, fresh)
		}
		want = append(want, r)
	}
	f.same("all", list(), want)
	f.must(f.SweepRecords(t.Context(), at(1)))
	f.same("the old one is gone", list(), want[1:])
	f.must(f.erase(t.Context(), "acme", thread.ID, t0))
	f.same("and the one of the erased thread", list(), want[1:2])
}
