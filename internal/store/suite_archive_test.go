package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chatmux/normalize"
)

func tenantsComeInOrder(t *testing.T, f *fixture) {
	for _, tenant := range []string{"b", "a", "c", "a"} {
		f.thread(tenant)
	}
	var got []string
	for tenant := ""; ; {
		next, found, err := f.NextTenant(t.Context(), tenant)
		f.must(err)
		if !found {
			break
		}
		got, tenant = append(got, next), next
	}
	f.same("tenants", got, []string{"a", "b", "c"})
}

// threadsByIDStandStill walks a tenant's threads by their ids while each page changes
// the order of their updates.
func threadsByIDStandStill(t *testing.T, f *fixture) {
	var want []string
	for range 7 {
		want = append(want, f.thread("acme").ID)
		f.thread("other")
	}
	slices.Sort(want)
	var got []string
	for r := (Range{Limit: 2, Ascending: true, ByID: true}); ; {
		page, more, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, r)
		f.must(err)
		for _, thread := range page {
			got = append(got, thread.ID)
		}
		_, err = f.UpdateThread(t.Context(), "acme", want[0], at(len(got)), func(t *StoredThread) error { t.Title += "x"; return nil })
		f.must(err)
		if !more {
			break
		}
		r.After.ID = got[len(got)-1]
	}
	f.same("ids", got, want)
}

func transcriptEndsAtEachBound(t *testing.T, f *fixture) {
	thread := newThread("acme")
	var messages []normalize.Message
	for i := range 6 {
		m := userMessage(thread.ID, strings.Repeat("x", 10))
		m.Status, m.CreatedAt = normalize.StatusSent, at(i)
		messages = append(messages, m)
	}
	f.must(f.Import(t.Context(), []Arrival{{Thread: StoredThread{Thread: thread}, Messages: messages}}))
	all := Stretch{To: 6, Limit: 100, Bytes: 1000}
	for name, c := range map[string]struct {
		change   func(*Stretch)
		from, to int
		more     bool
	}{
		"all":        {func(*Stretch) {}, 0, 6, false},
		"positions":  {func(s *Stretch) { s.After, s.To = 1, 4 }, 1, 4, false},
		"since":      {func(s *Stretch) { s.Since = at(2) }, 2, 6, false},
		"until":      {func(s *Stretch) { s.Until = at(2) }, 0, 2, false},
		"number":     {func(s *Stretch) { s.Limit = 4 }, 0, 4, true},
		"exactly":    {func(s *Stretch) { s.Limit = 6 }, 0, 6, false},
		"bytes":      {func(s *Stretch) { s.Bytes = 15 }, 0, 2, true},
		"first long": {func(s *Stretch) { s.Bytes = 1 }, 0, 1, true},
	} {
		part := all
		c.change(&part)
		got, err := f.Transcript(t.Context(), "acme", thread.ID, part)
		f.must(err)
		var texts, want []string
		for _, m := range got.Messages {
			texts = append(texts, m.ID)
		}
		for _, m := range messages[c.from:c.to] {
			want = append(want, m.ID)
		}
		f.same(name, texts, want)
		if got.More != c.more || got.Version != f.read(thread).Version {
			t.Errorf("%s: more %v, version %d", name, got.More, got.Version)
		}
	}
	foreign, err := f.Transcript(t.Context(), "other", thread.ID, all)
	f.must(err)
	f.same("another tenant's", foreign.Messages, []StoredMessage(nil))
}

func importedThreadIsAsItWas(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	thread.UpdatedAt = at(90)
	first, second, third := userMessage(thread.ID, "one"), userMessage(thread.ID, "two"), userMessage(thread.ID, "three")
	f.must(f.Import(t.Context(), []Arrival{
		{Thread: StoredThread{Thread: thread, Carry: "transcript"}, Messages: []normalize.Message{first, second}},
		{Thread: StoredThread{Thread: newThread("acme")}},
	}))
	f.must(f.ImportMessages(t.Context(), "acme", thread.ID, 2, []normalize.Message{third}))
	f.wantErr("the same again", f.ImportMessages(t.Context(), "acme", thread.ID, 2, []normalize.Message{third}), ErrChanged)
	f.wantErr("another tenant's", f.ImportMessages(t.Context(), "other", thread.ID, 3, []normalize.Message{third}), ErrNotFound)
	got := f.read(thread)
	want := thread
	want.MessageCount = 3
	f.same("thread", got.Thread, want)
	if got.Carry != "transcript" {
		t.Errorf("carry is %q", got.Carry)
	}
	f.same("transcript", f.transcript(thread), []normalize.Message{first, second, third})
	f.say(thread, "and on")
}

func importIsWholeOrNothing(t *testing.T, f *fixture) {
	known, fresh := f.thread("other"), newThread("acme")
	clash := known
	clash.Tenant = "acme"
	f.wantErr("an id that is taken", f.Import(t.Context(), []Arrival{{Thread: StoredThread{Thread: fresh}}, {Thread: StoredThread{Thread: clash}}}), ErrChanged)
	_, err := f.Thread(t.Context(), "acme", fresh.ID, false)
	f.wantErr("the thread before it", err, ErrNotFound)
	said := f.say(known, "hello")
	for _, c := range []struct {
		thread string
		ids    []string
		want   bool
	}{
		{fresh.ID, nil, false},
		{known.ID, nil, true},
		{fresh.ID, []string{newID("msg")}, false},
		{fresh.ID, append(slices.Repeat([]string{newID("msg")}, takenBatch), said.ID), true},
	} {
		taken, err := f.Taken(t.Context(), c.thread, c.ids)
		f.must(err)
		if taken != c.want {
			t.Errorf("thread %s and %d messages: taken is %v", c.thread, len(c.ids), taken)
		}
	}
}

func erasedThreadLeavesItsConversationsToErase(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	again := thread.Bindings[2]
	again.Since, again.Reason = at(5), "again"
	thread.Bindings = append(thread.Bindings, normalize.Binding{Backend: "none yet", Vendor: "altur", Since: at(4), Until: at(5)}, again)
	f.must(f.CreateThread(t.Context(), thread))
	open, err := f.EraseThread(t.Context(), "acme", thread.ID, at(1), at(10))
	f.must(err)
	var remotes []string
	for _, e := range open {
		remotes = append(remotes, e.Binding.Remote.ThreadID)
	}
	f.same("conversations", remotes, []string{"r0", "r1", "r2"})
	due := func(minute int) []Erasure {
		list, err := f.DueErasures(t.Context(), at(minute), 10)
		f.must(err)
		return list
	}
	f.same("before their time", due(9), []Erasure(nil))
	f.same("at their time", due(10), open)
	f.must(f.PostponeErasure(t.Context(), open[0], at(20)))
	f.wantErr("somebody else's try", f.PostponeErasure(t.Context(), open[0], at(20)), ErrChanged)
	f.same("what is left", due(10), open[1:])
	f.must(f.EndErasures(t.Context(), open[1:]))
	postponed := open[0]
	postponed.Tries = 1
	f.same("what was postponed", due(20), []Erasure{postponed})
	f.must(f.EndErasures(t.Context(), due(20)))
	f.same("the end", due(1000), []Erasure(nil))
}

func longThreadIsErasedInSteps(t *testing.T, f *fixture) {
	thread, other := newThread("acme"), f.thread("acme")
	kept := f.say(other, "kept")
	var messages []normalize.Message
	for range 2*eraseBatch + 3 {
		messages = append(messages, userMessage(thread.ID, "word"))
	}
	f.must(f.Import(t.Context(), []Arrival{{Thread: StoredThread{Thread: thread}, Messages: messages}}))
	f.say(thread, "and one more")
	m := userMessage(thread.ID, "wait")
	f.begin(thread, m, "e")
	f.wantErr("while a send holds it", f.erase(t.Context(), "acme", thread.ID, t0), ErrBusy)
	if n := f.count("SELECT COUNT(*) FROM messages WHERE thread_id = $1", thread.ID); n != len(messages)+3 {
		t.Errorf("%d messages are left of a thread that is not erased", n)
	}
	f.end(thread, m, "e", normalize.StatusSent)
	f.must(f.erase(t.Context(), "acme", thread.ID, t0))
	for _, table := range []string{"threads", "messages", "events"} {
		if n := f.count("SELECT COUNT(*) FROM " + table); n != map[string]int{"threads": 1, "messages": 2, "events": f.count("SELECT COUNT(*) FROM events WHERE thread_id = $1", other.ID)}[table] {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
	if got := f.transcript(other); len(got) != 2 || got[0].ID != kept.ID {
		t.Errorf("the other thread has %d messages now", len(got))
	}
}

func purgeTakesOldThreadsThatNobodyHolds(t *testing.T, f *fixture) {
	var kept []normalize.Thread
	for _, tenant := range []string{"acme", "other"} {
		for i := range purgeBatch + 3 {
			thread := newThread(tenant)
			thread.UpdatedAt = at(-i - 1)
			thread.Bindings = []normalize.Binding{{Backend: "desk", Remote: normalize.Remote{ThreadID: thread.ID}, Since: t0}}
			f.must(f.CreateThread(t.Context(), thread))
		}
		held := newThread(tenant)
		held.UpdatedAt = at(-60)
		f.must(f.CreateThread(t.Context(), held))
		f.begin(held, userMessage(held.ID, "wait"), "e"+tenant)
		f.change("UPDATE threads SET updated_at = 1 WHERE id = $1", held.ID)
		kept = append(kept, f.thread(tenant), held)
	}
	n, err := f.Purge(t.Context(), t0, at(1), purgeBatch+1)
	f.must(err)
	if n != purgeBatch+1 {
		t.Errorf("%d threads, the limit was %d", n, purgeBatch+1)
	}
	n, err = f.Purge(t.Context(), t0, at(1), 1000)
	f.must(err)
	if want := 2*(purgeBatch+3) - (purgeBatch + 1); n != want {
		t.Errorf("then %d, want %d", n, want)
	}
	for _, thread := range kept {
		f.read(thread)
	}
	if n := f.count("SELECT COUNT(*) FROM threads"); n != len(kept) {
		t.Errorf("%d threads are left, want %d", n, len(kept))
	}
	if n := f.count("SELECT COUNT(*) FROM erasures"); n != 2*(purgeBatch+3) {
		t.Errorf("%d conversations are noted", n)
	}
}

// TestErasedTextIsNotInTheFiles looks for a text in the bytes of the database and of
// what SQLite keeps beside it.
func TestErasedTextIsNotInTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.db")
	f := &fixture{Store: mustOpen(t, "sqlite:"+path), t: t}
	const secret = "the words that nobody may read"
	thread := f.thread("acme")
	for i := range 20 {
		f.say(thread, fmt.Sprint(strings.Repeat(secret, 100*i), i))
	}
	f.say(f.thread("acme"), "something else")
	found := func() (in []string) {
		files, err := filepath.Glob(path + "*")
		f.must(err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			f.must(err)
			if strings.Contains(string(b), secret) {
				in = append(in, filepath.Base(file))
			}
		}
		return in
	}
	if len(found()) == 0 {
		t.Fatal("the text is nowhere before it is erased: this test finds nothing")
	}
	f.must(f.erase(t.Context(), "acme", thread.ID, t0))
	f.eventually(func() bool {
		done, err := f.Scrub(t.Context())
		f.must(err)
		return done
	})
	if in := found(); in != nil {
		t.Errorf("the erased text is still in %v", in)
	}
	f.say(f.thread("acme"), "the store goes on")
}
