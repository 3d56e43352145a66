package store

import (
	"fmt"
	"testing"
	"time"

	"chatmux/normalize"
)

func mergedMessagesComeToTheirPlaces(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	var stored []normalize.Message
	for _, text := range []string{"one", "two"} {
		f.say(thread, text)
	}
	stored = f.transcript(thread) // four messages
	before := f.read(thread)
	insert := func(after int64, text string) Insertion {
		m := userMessage(thread.ID, text)
		m.Status, m.RemoteID = normalize.StatusSent, "r-"+text
		return Insertion{after, m}
	}
	known := stored[1]
	known.RemoteID, known.Feedback = "r-known", normalize.FeedbackPositive
	merge := Merge{Thread: before, Known: []normalize.Message{known}, New: []Insertion{
		insert(0, "a"), insert(4, "d"), insert(2, "b"), insert(2, "c"), insert(4, "e"),
	}}
	merge.Thread.Title, merge.Thread.UpdatedAt = "a title", at(7)
	f.must(f.Merge(t.Context(), merge))

	var texts []string
	for _, m := range f.transcript(thread) { // which checks that positions have no gap
		texts = append(texts, m.Text)
	}
	want := []string{"a", stored[0].Text, stored[1].Text, "b", "c", stored[2].Text, stored[3].Text, "d", "e"}
	f.same("the order", texts, want)
	f.same("the known message", f.transcript(thread)[2], known)
	after := f.read(thread)
	if after.Title != "a title" || !after.UpdatedAt.Equal(at(7)) || after.MessageCount != 9 || after.Version <= before.Version {
		t.Errorf("the thread is %+v", after)
	}
	f.say(thread, "and on") // goes to the end
	list := f.transcript(thread)
	if len(list) != 11 || list[9].Text != "and on" {
		t.Errorf("%d messages", len(list))
	}
}

func mergeIsWholeOrNothing(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, "one")
	before, said := f.read(thread), f.transcript(thread)
	fresh := userMessage(thread.ID, "new")
	merge := Merge{Thread: before, New: []Insertion{{1, fresh}}}

	foreign := merge
	foreign.Thread.Tenant = "other"
	f.wantErr("another tenant's", f.Merge(t.Context(), foreign), ErrNotFound)
	old := merge
	old.Thread.Version--
	f.wantErr("by what is not true any more", f.Merge(t.Context(), old), ErrChanged)
	m := userMessage(thread.ID, "in flight")
	f.begin(thread, m, "e")
	f.wantErr("while a send holds it", f.Merge(t.Context(), merge), ErrBusy)
	f.end(thread, m, "e", normalize.StatusFailed)

	twice := Merge{Thread: f.read(thread), New: []Insertion{{0, fresh}, {2, said[0]}}} // the second id is taken
	if f.Merge(t.Context(), twice) == nil {
		t.Error("one message was stored twice")
	}
	if got := f.transcript(thread); len(got) != len(said)+1 || got[0].ID != said[0].ID {
		t.Errorf("something was written: %+v", got)
	}
}

func conversationIsFoundWhoeverHasIt(t *testing.T, f *fixture) {
	thread := newThread("acme")
	thread.Bindings = []normalize.Binding{
		{Backend: "a", Vendor: "v", Bot: "b", Remote: normalize.Remote{ThreadID: "first"}, Since: t0, Until: at(1)},
		{Backend: "c", Vendor: "w", Remote: normalize.Remote{ThreadID: "second"}, Since: at(1)},
	}
	f.must(f.CreateThread(t.Context(), thread))
	for _, tt := range []struct {
		vendor, bot, remote string
		found               bool
	}{
		{"v", "b", "first", true}, {"w", "", "second", true}, {"v", "b", "second", false}, {"v", "x", "first", false}, {"w", "", "", false},
	} {
		tenant, id, found, err := f.Conversation(t.Context(), tt.vendor, tt.bot, tt.remote)
		f.must(err)
		if found != tt.found || found && (tenant != "acme" || id != thread.ID) {
			t.Errorf("%+v: %s %s %v", tt, tenant, id, found)
		}
	}
	running := func(backend string, before time.Time) bool {
		t.Helper()
		is, err := f.InFlight(t.Context(), backend, before)
		f.must(err)
		return is
	}
	m := userMessage(thread.ID, "x")
	f.begin(thread, m, "e", withAttempt(newAttempt(m, "e")))
	if !running("desk", t0) || running("desk", t0.Add(-time.Minute)) || running("another", t0) {
		t.Error("a send in flight is not told as it is")
	}
	f.end(thread, m, "e", normalize.StatusSent)
	if running("desk", t0) {
		t.Error("a send that is over is in flight")
	}
}

func importMarkIsKeptUntilTheEnd(t *testing.T, f *fixture) {
	_, found, err := f.ImportMark(t.Context(), "acme", "i")
	if f.must(err); found {
		t.Error("there is one")
	}
	for n := range 2 {
		mark := ImportMark{Tenant: "acme", ID: "i", Cursor: fmt.Sprint("page ", n), Report: []byte(`{"n":1}`), At: at(n)}
		f.must(f.SaveImportMark(t.Context(), mark))
		got, found, err := f.ImportMark(t.Context(), "acme", "i")
		f.must(err)
		f.same("the mark", got, mark)
		if _, other, _ := f.ImportMark(t.Context(), "other", "i"); !found || other {
			t.Errorf("found %v, by another tenant %v", found, other)
		}
	}
	f.must(f.EndImport(t.Context(), "other", "i"))
	if _, found, _ = f.ImportMark(t.Context(), "acme", "i"); !found {
		t.Error("another tenant's end ended it")
	}
	f.must(f.EndImport(t.Context(), "acme", "i"))
	if _, found, _ = f.ImportMark(t.Context(), "acme", "i"); found {
		t.Error("it did not end")
	}
}

func usesAreReadInPages(t *testing.T, f *fixture) {
	var ids []string
	for range 3 {
		thread := newThread("acme")
		thread.Backend = "desk"
		f.must(f.CreateThread(t.Context(), thread))
		ids = append(ids, thread.ID)
		f.say(thread, "é1")
		f.say(thread, "2")
	}
	stranger := newThread("other")
	stranger.Backend = "desk"
	f.must(f.CreateThread(t.Context(), stranger))
	f.say(stranger, "3")
	var got []string
	for after, more := (Position{}), true; more; {
		var page []Use
		var err error
		page, more, err = f.Uses(t.Context(), "acme", "desk", ids[0], ids[1], after, 3)
		f.must(err)
		for _, u := range page {
			after = Position{ID: u.Message.ThreadID, Seq: u.Seq}
			got = append(got, fmt.Sprint(u.Message.ThreadID, " ", u.Seq, " ", u.Message.Role == normalize.RoleUser, " ", u.Message.Text == "", " ", u.Bytes > 0))
		}
	}
	var want []string
	for _, id := range ids[:2] {
		for seq := 1; seq <= 4; seq++ {
			want = append(want, fmt.Sprint(id, " ", seq, " ", seq%2 == 1, " true true"))
		}
	}
	f.same("what was read", got, want)
	if none, _, err := f.Uses(t.Context(), "acme", "another", ids[0], ids[2], Position{}, 3); err != nil || len(none) != 0 {
		t.Errorf("of another backend: %v, %v", none, err)
	}
}
