package store

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"chatmux/normalize"
)

// opening is what a dialect's client asks for.
func opening(tenant, name string, claims ...Claim) Opening {
	t := newThread(tenant)
	t.Asked, t.Called = "desk/7", name
	return Opening{Thread: t, Claims: claims}
}

func conversationAt(id string) Claim {
	return Claim{Vendor: "desk", Bot: "7", Kind: ClaimThread, ID: id}
}

func openedThreadIsWhole(t *testing.T, f *fixture) {
	o := opening("acme", "order-17", conversationAt("c1"))
	o.Thread.Bindings = []normalize.Binding{{Backend: "b", Vendor: "desk", Bot: "7", Remote: normalize.Remote{ThreadID: "c1"}, Since: t0}}
	said := userMessage(o.Thread.ID, "before")
	said.Status = normalize.StatusSent
	o.Said, o.Carry = []normalize.Message{said, replyTo(said, "yes")}, "transcript"
	got, made, err := f.OpenThread(t.Context(), o)
	f.must(err)
	want := o.Thread
	want.MessageCount = 2
	f.same("thread", got.Thread, want)
	f.same("made, carry", []any{made, got.Carry}, []any{true, "transcript"})
	f.same("as it is read", f.read(o.Thread).Thread, want)
	f.same("what was said", f.transcript(o.Thread), o.Said)
	f.say(o.Thread, "goes on")
}

func nameAndClaimStandForOneThread(t *testing.T, f *fixture) {
	ctx := t.Context()
	first := opening("acme", "order-17", conversationAt("c1"), Claim{Vendor: "desk", Bot: "7", Kind: ClaimUser, ID: "u1"})
	_, _, err := f.OpenThread(ctx, first)
	f.must(err)
	for what, o := range map[string]Opening{
		"the name":                  opening("acme", "order-17"),
		"the conversation":          opening("acme", "", conversationAt("c1")),
		"the person":                opening("acme", "", conversationAt("c2"), Claim{Vendor: "desk", Bot: "7", Kind: ClaimUser, ID: "u1"}),
		"a second name by a claim":  opening("acme", "order-18", conversationAt("c1")),
		"the second name by itself": opening("acme", "order-18"),
	} {
		if what == "the second name by itself" {
			_, _, err := f.OpenThread(ctx, opening("acme", "order-18", conversationAt("c1")))
			f.must(err)
		}
		got, made, err := f.OpenThread(ctx, o)
		f.must(err)
		f.same(what, []any{got.ID, made}, []any{first.Thread.ID, false})
		_, err = f.Thread(ctx, "acme", o.Thread.ID, false)
		f.wantErr(what+" made a thread", err, ErrNotFound)
	}
	otherDialect, keyed := opening("acme", "order-17"), opening("acme", "")
	otherDialect.Thread.Asked, keyed.Thread.Key = "other/7", "order-17"
	for what, o := range map[string]Opening{
		"another dialect's name": otherDialect,
		"a key, not a name":      keyed,
		"another tenant's name":  opening("other", "order-17"),
		"another bot's":          opening("acme", "", Claim{Vendor: "desk", Bot: "8", Kind: ClaimThread, ID: "c1"}),
	} {
		_, made, err := f.OpenThread(ctx, o)
		f.must(err)
		f.same(what, made, true)
	}
}

func anotherTenantsConversationIsTaken(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, _, err := f.OpenThread(ctx, opening("acme", "", conversationAt("c1")))
	f.must(err)
	bound := newThread("acme")
	bound.Bindings = []normalize.Binding{{Backend: "b", Vendor: "desk", Bot: "7", Remote: normalize.Remote{ThreadID: "c2"}, Since: t0, Until: at(1)}}
	f.must(f.CreateThread(ctx, bound))
	for _, id := range []string{"c1", "c2"} {
		_, _, err := f.OpenThread(ctx, opening("other", "mine", conversationAt(id)))
		f.wantErr("OpenThread "+id, err, ErrTaken)
		_, err = f.Claimed(ctx, "other", conversationAt(id))
		f.wantErr("Claimed "+id, err, ErrTaken)
		_, err = f.Claimed(ctx, "acme", conversationAt(id))
		f.must(err)
		_, err = f.RemoteThread(ctx, "other", "desk", "7", id)
		f.wantErr("RemoteThread "+id, err, ErrNotFound)
	}
	_, err = f.NamedThread(ctx, "other", FoundBy{Dialect: "desk", Bot: "7", Called: "mine"})
	f.wantErr("its name", err, ErrNotFound)
	id, err := f.RemoteThread(ctx, "acme", "desk", "7", "c2")
	f.must(err)
	f.same("RemoteThread", id, bound.ID)
	for what, c := range map[string]Claim{"no id": {Vendor: "desk", Bot: "7", Kind: ClaimThread}, "free": conversationAt("c3")} {
		id, err := f.Claimed(ctx, "other", c)
		f.must(err)
		f.same(what, id, "")
	}
}

func manyOpeningsMakeOneThread(t *testing.T, f *fixture) {
	var made atomic.Int32
	var ids sync.Map
	var wait sync.WaitGroup
	for i := range 24 {
		wait.Go(func() {
			o := opening("acme", "", conversationAt("c1"))
			if i%2 == 0 {
				o = opening("acme", "order-17", conversationAt("c1"))
			}
			got, fresh, err := f.OpenThread(t.Context(), o)
			if err != nil {
				t.Error(err)
			}
			if fresh {
				made.Add(1)
			}
			ids.Store(got.ID, true)
		})
	}
	wait.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if made.Load() != 1 || n != 1 {
		t.Errorf("%d threads were made, %d are told", made.Load(), n)
	}
}

func whatAThreadIsFoundByGoesWithIt(t *testing.T, f *fixture) {
	ctx := t.Context()
	o := opening("acme", "order-17", conversationAt("c1"))
	_, _, err := f.OpenThread(ctx, o)
	f.must(err)
	_, err = f.SaveRecord(ctx, Record{Tenant: "acme", Dialect: "desk", Name: "chain", ThreadID: o.Thread.ID, Value: []byte("x")}, true)
	f.must(err)
	_, err = f.EraseThread(ctx, "acme", o.Thread.ID, t0, t0)
	f.must(err)
	_, err = f.ReadRecord(ctx, "acme", "desk", "chain")
	f.wantErr("its record", err, ErrNotFound)
	_, err = f.NamedThread(ctx, "acme", FoundBy{Dialect: "desk", Bot: "7", Called: "order-17"})
	f.wantErr("its name", err, ErrNotFound)
	_, made, err := f.OpenThread(ctx, opening("other", "order-17", conversationAt("c1")))
	f.must(err)
	f.same("name and conversation are free", made, true)
}

func erasedConversationIsNotTakenUpAgain(t *testing.T, f *fixture) {
	ctx := t.Context()
	o := opening("acme", "", conversationAt("c1"))
	o.Thread.Bindings = []normalize.Binding{
		{Backend: "b", Vendor: "desk", Bot: "7", Remote: normalize.Remote{ThreadID: "c1"}, Since: t0, Until: at(1)},
		{Backend: "b", Vendor: "desk", Bot: "7", Remote: normalize.Remote{ThreadID: strings.Repeat("long", 1000)}, Since: at(1)},
	}
	_, _, err := f.OpenThread(ctx, o)
	f.must(err)
	_, err = f.EraseThread(ctx, "acme", o.Thread.ID, t0, t0)
	f.must(err)
	for _, tenant := range []string{"acme", "other"} {
		_, _, err = f.OpenThread(ctx, opening(tenant, "", conversationAt("c1")))
		f.wantErr(tenant, err, ErrTaken)
		_, err = f.Claimed(ctx, tenant, conversationAt("c1"))
		f.wantErr(tenant, err, ErrTaken)
	}
}

func recordsAreKeptByTheirName(t *testing.T, f *fixture) {
	ctx := t.Context()
	r := Record{Tenant: "acme", Dialect: "desk", Name: "user", Value: []byte(`{"a":1}`)}
	save := func(value string, fresh bool) string {
		r.Value = []byte(value)
		stored, err := f.SaveRecord(ctx, r, fresh)
		f.must(err)
		return string(stored.Value)
	}
	f.same("first", save("1", true), "1")
	f.same("fresh once more", save("2", true), "1")
	f.same("again", save("3", false), "3")
	got, err := f.ReadRecord(ctx, "acme", "desk", "user")
	f.must(err)
	f.same("as it is read", string(got.Value), "3")
	for _, other := range []Record{{Tenant: "other", Dialect: "desk", Name: "user"}, {Tenant: "acme", Dialect: "x", Name: "user"}, {Tenant: "acme", Dialect: "desk", Name: "x"}} {
		_, err := f.ReadRecord(ctx, other.Tenant, other.Dialect, other.Name)
		f.wantErr("another", err, ErrNotFound)
	}
	r.Name, r.ThreadID = "with a thread", f.thread("other").ID
	_, err = f.SaveRecord(ctx, r, true)
	f.wantErr("another tenant's thread", err, ErrNotFound)
}

func messagesAreFoundWithoutTheirThread(t *testing.T, f *fixture) {
	ctx := t.Context()
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	m.RemoteID = "r1"
	_, err := f.UpdateThread(ctx, "acme", thread.ID, t0, func(st *StoredThread) error { st.Append = []normalize.Message{m}; return nil })
	f.must(err)
	for _, by := range [][2]string{{m.ID, "x"}, {"", "r1"}, {newID("msg"), "r1"}} {
		got, err := f.FindMessage(ctx, "acme", by[0], by[1])
		f.must(err)
		f.same("by "+by[0]+by[1], got, m)
		_, err = f.FindMessage(ctx, "other", by[0], by[1])
		f.wantErr("another tenant", err, ErrNotFound)
	}
	f.say(thread, "without a remote id")
	_, err = f.FindMessage(ctx, "acme", "", "")
	f.wantErr("by nothing", err, ErrNotFound)
}

func threadsOfABotAreListedByOffset(t *testing.T, f *fixture) {
	ctx := t.Context()
	var want []string
	for i := range 5 {
		o := opening("acme", "")
		o.Thread.UpdatedAt = at(i)
		if i == 3 { // asked for otherwise, and with that bot all the same
			o.Thread.Asked = ""
			o.Thread.Bindings = []normalize.Binding{{Backend: "b", Vendor: "desk", Bot: "7", Since: t0, Until: at(1)}, {Backend: "x", Vendor: "y", Since: at(1)}}
		}
		_, _, err := f.OpenThread(ctx, o)
		f.must(err)
		want = append([]string{o.Thread.ID}, want...)
	}
	other := opening("acme", "")
	other.Thread.Asked, other.Thread.UpdatedAt = "desk/8", at(-1)
	_, _, err := f.OpenThread(ctx, other)
	f.must(err)
	f.thread("acme") // our own API's
	foreign := opening("other", "")
	_, _, err = f.OpenThread(ctx, foreign)
	f.must(err)
	for bot, ids := range map[string][]string{"7": want, "8": {other.Thread.ID}, "": append(want[:5:5], other.Thread.ID), "9": nil} {
		filter := ThreadFilter{Tenant: "acme", Dialect: "desk", Bot: bot}
		n, err := f.CountThreads(ctx, filter)
		f.must(err)
		f.same("count of bot "+bot, n, len(ids))
		var got []string
		for offset := 0; offset <= len(ids); offset += 2 {
			list, more, err := f.Threads(ctx, filter, Range{Offset: offset, Limit: 2})
			f.must(err)
			f.same("more", more, offset+2 < len(ids))
			for _, thread := range list {
				got = append(got, thread.ID)
			}
		}
		f.same("bot "+bot, got, ids)
	}
}

func transcriptIsReadByOffset(t *testing.T, f *fixture) {
	ctx := t.Context()
	thread := f.thread("acme")
	f.say(thread, "one")
	_, err := f.UpdateThread(ctx, "acme", thread.ID, t0, func(st *StoredThread) error {
		st.Append = []normalize.Message{{ID: newID("msg"), ThreadID: thread.ID, Role: normalize.RoleSystem, Type: normalize.TypeText, Text: "notice", CreatedAt: t0}}
		return nil
	})
	f.must(err)
	f.say(thread, "two")
	for _, c := range []struct {
		spoken bool
		r      Range
		want   string
		total  int
	}{
		{false, Range{Limit: 10, Ascending: true}, "one,reply to one,notice,two,reply to two", 5},
		{false, Range{Limit: 2, Offset: 2, Ascending: true}, "notice,two", 5},
		{true, Range{Limit: 2, Offset: 1, Ascending: true}, "reply to one,two", 4},
		{true, Range{Limit: 3}, "reply to two,two,reply to one", 4},
		{true, Range{Limit: 3, Offset: 3}, "one", 4},
		{true, Range{Limit: 3, Offset: 4}, "", 4},
	} {
		list, total, err := f.MessagesAt(ctx, "acme", thread.ID, c.spoken, c.r)
		f.must(err)
		var texts []string
		for _, m := range list {
			texts = append(texts, m.Text)
		}
		f.same("texts", strings.Join(texts, ","), c.want)
		f.same("total", total, c.total)
	}
	_, _, err = f.MessagesAt(ctx, "other", thread.ID, false, Range{Limit: 1})
	f.wantErr("another tenant", err, ErrNotFound)
	_, total, err := f.MessagesAt(ctx, "acme", f.thread("acme").ID, false, Range{Limit: 1})
	f.must(err)
	f.same("an empty thread", total, 0)
}

func importedThreadIsFoundByItsName(t *testing.T, f *fixture) {
	called, keyed := opening("acme", "order-17").Thread, opening("acme", "").Thread
	keyed.Key = "a person"
	f.must(f.Import(t.Context(), []Arrival{{Thread: StoredThread{Thread: called}}, {Thread: StoredThread{Thread: keyed}}}))
	for id, by := range map[string]FoundBy{
		called.ID: {Dialect: "desk", Bot: "7", Called: "order-17"},
		keyed.ID:  {Dialect: "desk", Bot: "7", Key: "a person"},
	} {
		got, err := f.NamedThread(t.Context(), "acme", by)
		f.must(err)
		f.same(by.record(), got, id)
		_, err = f.NamedThread(t.Context(), "other", by)
		f.wantErr("another tenant", err, ErrNotFound)
	}
}
