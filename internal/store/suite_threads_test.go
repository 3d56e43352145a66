package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatmux/normalize"
)

func threadComesBackAsItWasStored(t *testing.T, f *fixture) {
	for name, want := range map[string]normalize.Thread{"full": fullThread("acme"), "bare": newThread("acme")} {
		f.must(f.CreateThread(t.Context(), want))
		f.same(name, f.read(want).Thread, want)
		plain, err := f.Thread(t.Context(), "acme", want.ID, false)
		f.must(err)
		want.Raw = nil
		f.same(name+" without raw", plain.Thread, want)
		list, _, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, Range{})
		f.must(err)
		i := slices.IndexFunc(list, func(l StoredThread) bool { return l.ID == want.ID })
		f.same(name+" in the list", list[i].Thread, want)
	}
}

func threadIsMadeOnce(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	again := thread
	again.Tenant, again.Title = "other", "stolen"
	f.wantErr("CreateThread", f.CreateThread(t.Context(), again), ErrChanged)
	_, err := f.Accept(t.Context(), Acceptance{
		Thread: again, NewThread: true, Message: userMessage(again.ID, "x"), Epoch: "e", Lease: time.Minute, Now: t0,
	})
	f.wantErr("Accept", err, ErrChanged)
	f.same("thread", f.read(thread).Thread, thread)
}

// page walks through a list by its own positions.
func (f *fixture) pages(filter ThreadFilter, r Range) (ids []string) {
	f.t.Helper()
	for {
		list, more, err := f.Threads(f.t.Context(), filter, r)
		f.must(err)
		for _, t := range list {
			ids = append(ids, t.ID)
		}
		if !more {
			return ids
		}
		if len(list) != r.Limit {
			f.t.Fatalf("a page of %d, want %d", len(list), r.Limit)
		}
		last := list[len(list)-1]
		r.After = Position{Time: last.UpdatedAt, ID: last.ID}
	}
}

func threadsAreListedInOrderAndPagesMeet(t *testing.T, f *fixture) {
	var want []string // last updated first; of the same time the greater id first
	for i := range 23 {
		thread := newThread("acme")
		thread.UpdatedAt = at(i / 5) // ties
		f.must(f.CreateThread(t.Context(), thread))
		want = append(want, thread.ID)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 5, 7, 22, 23, 24} {
		f.same(fmt.Sprint("newest first by ", limit), f.pages(ThreadFilter{Tenant: "acme"}, Range{Limit: limit}), want)
	}
	slices.Reverse(want)
	f.same("oldest first", f.pages(ThreadFilter{Tenant: "acme"}, Range{Limit: 4, Ascending: true}), want)
}

func pagesStayTrueWhileThreadsAreAdded(t *testing.T, f *fixture) {
	var want []string
	for i := range 12 {
		thread := newThread("acme")
		thread.UpdatedAt = at(i)
		f.must(f.CreateThread(t.Context(), thread))
		want = append([]string{thread.ID}, want...)
	}
	var got []string
	r := Range{Limit: 5}
	for more := true; more; {
		var list []StoredThread
		var err error
		list, more, err = f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, r)
		f.must(err)
		for _, thread := range list {
			got = append(got, thread.ID)
		}
		last := list[len(list)-1]
		r.After = Position{Time: last.UpdatedAt, ID: last.ID}
		fresh := newThread("acme") // newer than all: before the first page
		fresh.UpdatedAt = at(100)
		f.must(f.CreateThread(t.Context(), fresh))
	}
	f.same("pages", got, want)
}

func eachFilterSelects(t *testing.T, f *fixture) {
	full := fullThread("acme")
	full.UpdatedAt = at(10)
	f.must(f.CreateThread(t.Context(), full))
	bare := f.thread("acme")
	f.thread("other")
	f.say(bare, "Ein Paket mit Namen")
	for name, c := range map[string]struct {
		filter ThreadFilter
		want   []string
	}{
		"all":                  {ThreadFilter{}, []string{full.ID, bare.ID}},
		"backend":              {ThreadFilter{Backend: "desk"}, []string{full.ID}},
		"backend of none":      {ThreadFilter{Backend: "old"}, nil},
		"route":                {ThreadFilter{Route: "vip"}, []string{full.ID}},
		"user":                 {ThreadFilter{User: "u-1"}, []string{full.ID}},
		"status":               {ThreadFilter{Status: normalize.ThreadBlocked}, []string{full.ID}},
		"status open":          {ThreadFilter{Status: normalize.ThreadOpen}, []string{bare.ID}},
		"mode":                 {ThreadFilter{Mode: normalize.ModeHuman}, []string{full.ID}},
		"mode ai":              {ThreadFilter{Mode: normalize.ModeAI}, []string{bare.ID}},
		"tag id":               {ThreadFilter{Tag: "1"}, []string{full.ID}},
		"tag name":             {ThreadFilter{Tag: "vip"}, []string{full.ID}},
		"tag of none":          {ThreadFilter{Tag: "vi"}, nil},
		"updated after":        {ThreadFilter{UpdatedAfter: at(1)}, []string{full.ID}},
		"updated after itself": {ThreadFilter{UpdatedAfter: at(10)}, nil},
		"text":                 {ThreadFilter{Query: "paket MIT"}, []string{bare.ID}},
		"text of none":         {ThreadFilter{Query: "parcel"}, nil},
		"several":              {ThreadFilter{Backend: "desk", Status: normalize.ThreadBlocked, Tag: "vip", User: "u-1"}, []string{full.ID}},
		"several that differ":  {ThreadFilter{Backend: "desk", Status: normalize.ThreadOpen}, nil},
	} {
		c.filter.Tenant = "acme"
		f.same(name, f.pages(c.filter, Range{Limit: 1}), c.want)
	}
}

func searchTakesItsTextLiterally(_ *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, `50% off_now \o/ "x" 🙂`)
	for query, found := range map[string]bool{
		"50%": true, "5%f": false, "off_now": true, "offxnow": false, "f_n": true, `\o/`: true, `\\o`: false,
		`"X"`: true, "🙂": true, "%": true, "_": true, "%%": false,
	} {
		if got := len(f.pages(ThreadFilter{Tenant: "acme", Query: query}, Range{Limit: 10})) == 1; got != found {
			f.t.Errorf("q=%s: found %v, want %v", query, got, found)
		}
	}
}

func tagsAreFoundAsTheyAreNow(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	tagged := func(tag string) bool {
		return len(f.pages(ThreadFilter{Tenant: "acme", Tag: tag}, Range{Limit: 10})) == 1
	}
	for _, tags := range [][]normalize.Tag{{{ID: "1", Name: "a"}, {ID: "1", Name: "b"}}, {{ID: "b"}}, {}, {{Name: "a"}}} {
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { st.Tags = tags; return nil })
		f.must(err)
		for _, tag := range []string{"1", "a", "b"} {
			want := slices.ContainsFunc(tags, func(g normalize.Tag) bool { return g.ID == tag || g.Name == tag })
			if tagged(tag) != want {
				t.Errorf("with tags %v, the filter %q finds the thread: %v", tags, tag, !want)
			}
		}
	}
}

// anotherTenantSeesAndChangesNothing is the matrix of every method that takes a
// tenant.
func anotherTenantSeesAndChangesNothing(t *testing.T, f *fixture) {
	ctx := t.Context()
	mine := fullThread("acme")
	f.must(f.CreateThread(ctx, mine))
	said := f.say(mine, "secret")
	key := newKey("acme", "b")
	running := userMessage(mine.ID, "on its way")
	f.begin(mine, running, "e", withKey(key))
	before, beforeText := f.read(mine), f.transcript(mine)

	foreign := mine
	foreign.Tenant = "other"
	for name, call := range map[string]func() error{
		"Thread": func() error { _, err := f.Thread(ctx, "other", mine.ID, true); return err },
		"UpdateThread": func() error {
			_, err := f.UpdateThread(ctx, "other", mine.ID, t0, func(*StoredThread) error { t.Error("change was called"); return nil })
			return err
		},
		"EraseThread": func() error { return f.erase(ctx, "other", mine.ID, at(60)) },
		"Accept": func() error {
			_, err := f.Accept(ctx, Acceptance{
				Thread: foreign, Version: before.Version, Message: userMessage(mine.ID, "x"), Epoch: "x", Lease: time.Minute, Now: at(60),
			})
			return err
		},
		"Accept to resend": func() error {
			_, err := f.Accept(ctx, Acceptance{
				Thread: foreign, Version: before.Version, Message: said, Resend: true, Epoch: "x", Lease: time.Minute, Now: at(60),
			})
			return err
		},
		"Message":  func() error { _, err := f.Message(ctx, "other", mine.ID, said.ID, true); return err },
		"Messages": func() error { _, _, err := f.Messages(ctx, "other", mine.ID, Range{}); return err },
		"UpdateMessage": func() error {
			_, err := f.UpdateMessage(ctx, "other", mine.ID, said.ID, func(*normalize.Message) error { t.Error("change was called"); return nil })
			return err
		},
		"History":        func() error { _, err := f.History(ctx, "other", mine.ID, "", 0, 0); return err },
		"History before": func() error { _, err := f.History(ctx, "other", mine.ID, running.ID, 0, 0); return err },
	} {
		f.wantErr(name, call(), ErrNotFound)
	}
	f.wantErr("Finish", f.Finish(ctx, Finish{Thread: foreign, Message: running, Epoch: "e", Now: t0}), ErrLost)
	f.wantErr("SaveBinding", f.SaveBinding(ctx, "other", mine.ID, "e", normalize.Binding{Backend: "x"}, t0), ErrLost)
	list, _, err := f.Threads(ctx, ThreadFilter{Tenant: "other", Query: "secret"}, Range{})
	f.must(err)
	f.same("Threads", list, []StoredThread(nil))
	list, _, err = f.Threads(ctx, ThreadFilter{Tenant: "other", Tag: "vip"}, Range{})
	f.must(err)
	f.same("Threads by tag", list, []StoredThread(nil))
	hidden := *key
	hidden.Tenant = "other"
	state, err := f.LookupKey(ctx, hidden, t0)
	f.must(err)
	f.same("LookupKey", state, KeyState{})

	// Another thread of the same tenant is no way in either.
	elsewhere := f.thread("acme")
	_, err = f.Message(ctx, "acme", elsewhere.ID, said.ID, true)
	f.wantErr("Message by another thread", err, ErrNotFound)
	_, err = f.Accept(ctx, Acceptance{Thread: elsewhere, Version: 1, Message: said, Resend: true, Epoch: "x", Lease: time.Minute, Now: t0})
	f.wantErr("resend by another thread", err, ErrNotFound)

	f.same("thread", f.read(mine), before)
	f.same("transcript", f.transcript(mine), beforeText)
}

func updateThreadIsWholeOrNothing(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	before := f.read(thread)
	refused := errors.New("not this one")
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(5), func(st *StoredThread) error {
		st.Title, st.Tags, st.Bindings = "half", nil, nil
		return refused
	})
	if err != refused { //nolint:errorlint // handed back as it is
		t.Errorf("error %v, want %v", err, refused)
	}
	f.same("after a refusal", f.read(thread), before)

	got, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(5), func(st *StoredThread) error {
		st.ID, st.Tenant, st.CreatedAt, st.MessageCount, st.Version = "thr_x", "other", at(9), 99, 99
		st.Title, st.Carry, st.Status, st.User.ID = "", "transcript", normalize.ThreadOpen, "u-2"
		st.Metadata = map[string]string{"new": "1"}
		return nil
	})
	f.must(err)
	want := before
	want.Title, want.Carry, want.Status, want.User.ID = "", "transcript", normalize.ThreadOpen, "u-2"
	want.Metadata = map[string]string{"new": "1"}
	want.UpdatedAt, want.Version = at(5), before.Version+1
	f.same("as stored", f.read(thread), want)
	want.Raw = nil
	f.same("as returned", got, want)
	_, err = f.UpdateThread(t.Context(), "acme", newID("thr"), t0, func(*StoredThread) error { return nil })
	f.wantErr("of none", err, ErrNotFound)
}

func updateThreadAppendsNotices(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, "hello")
	notice := normalize.Message{
		ID: newID("msg"), ThreadID: thread.ID, Role: normalize.RoleSystem, Type: normalize.TypeText, Text: "moved",
		Status: normalize.StatusComplete,
		Notice: "thread_moved", CreatedAt: at(2),
	}
	got, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(2), func(st *StoredThread) error {
		if st.Busy {
			t.Error("busy without a send")
		}
		st.Append = []normalize.Message{notice}
		return nil
	})
	f.must(err)
	f.same("as returned", got, f.read(thread))
	list := f.transcript(thread)
	if got.MessageCount != 3 || len(list) != 3 {
		t.Fatalf("%d messages counted, %d stored, want 3", got.MessageCount, len(list))
	}
	f.same("notice", list[2], notice)
	f.begin(thread, userMessage(thread.ID, "x"), "e")
	_, err = f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error {
		if !st.Busy {
			t.Error("not busy during a send")
		}
		return nil
	})
	f.must(err)
}

func deletedThreadLeavesNothing(t *testing.T, f *fixture) {
	thread, other := fullThread("acme"), f.thread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	kept := f.say(other, "kept")
	key := newKey("acme", "b")
	m := userMessage(thread.ID, "gone")
	f.begin(thread, m, "e", withKey(key), withAttempt(newAttempt(m, "e")))
	f.wantErr("while a send holds it", f.erase(t.Context(), "acme", thread.ID, t0), ErrBusy)
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
	f.must(f.erase(t.Context(), "acme", thread.ID, t0))
	f.wantErr("again", f.erase(t.Context(), "acme", thread.ID, t0), ErrNotFound)
	_, _, err := f.Messages(t.Context(), "acme", thread.ID, Range{})
	f.wantErr("its messages", err, ErrNotFound)
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if state.Found {
		t.Error("its key is still there")
	}
	for _, table := range []string{"thread_tags", "bindings", "messages", "sends", "attempts", "idempotency_keys", "records", "claims"} {
		if n := f.count("SELECT COUNT(*) FROM "+table+" WHERE thread_id = $1", thread.ID); n != 0 {
			t.Errorf("%d rows left in %s", n, table)
		}
	}
	if got := f.transcript(other); len(got) != 2 || got[0].ID != kept.ID {
		t.Errorf("the other thread has %d messages now", len(got))
	}
}

func bindingsAreAppendOnly(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	want := slices.Clone(thread.Bindings)
	update := func(change func(*StoredThread)) error {
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { change(st); return nil })
		return err
	}
	f.must(update(func(st *StoredThread) { st.Bindings = nil }))
	f.same("left out", f.read(thread).Bindings, want)

	want[2].Until, want[2].Reason, want[2].Remote.UserID = at(5), "moved away", "u9"
	want = append(want, normalize.Binding{Backend: "new", Vendor: "echo", Since: at(5)})
	f.must(update(func(st *StoredThread) { st.Bindings = slices.Clone(want) }))
	f.same("completed and added", f.read(thread).Bindings, want)

	f.wantErr("another history", update(func(st *StoredThread) {
		st.Bindings[1].Backend, st.Bindings[3].Reason = "forged", "x"
		st.Append = []normalize.Message{userMessage(thread.ID, "goes with it")}
	}), ErrChanged)
	f.same("after the refusal", f.read(thread).Bindings, want)
	f.same("messages", len(f.transcript(thread)), 0)
}

func bindingIsDurableBeforeTheSend(t *testing.T, f *fixture) {
	ctx := t.Context()
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e")
	b := normalize.Binding{
		Backend: "desk", Vendor: "conversations", Bot: "b", Remote: normalize.Remote{UserID: "p1"}, Since: at(1), Reason: "routed",
	}
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", b, at(1)))
	f.same("person known", f.read(thread).Bindings, []normalize.Binding{b})
	b.Remote.ThreadID = "c1"
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", b, at(1)))
	f.same("conversation known", f.read(thread).Bindings, []normalize.Binding{b})

	other := normalize.Binding{Backend: "spare", Vendor: "altur", Remote: normalize.Remote{ThreadID: "a1"}, Since: at(2), Reason: "fallback"}
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", other, at(9)))
	b.Until = at(2)
	f.same("another backend", f.read(thread).Bindings, []normalize.Binding{b, other})
	anew := other
	anew.Remote.ThreadID, anew.Since = "a2", at(3)
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", anew, at(3)))
	other.Until = at(3)
	want := []normalize.Binding{b, other, anew}
	f.same("another conversation", f.read(thread).Bindings, want)

	// The send ends with what it knows: no change of somebody else's, no repeat.
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Version, fin.Thread.Bindings = r.Version, slices.Clone(want) })
	f.same("after the send", f.read(thread).Bindings, want)
}
