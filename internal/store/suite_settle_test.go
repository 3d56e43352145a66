package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatmux/normalize"
)

func expiredSendsAreSettledAndOthersLeftAlone(t *testing.T, f *fixture) {
	var dead, alive []normalize.Thread
	for i := range 7 {
		thread := f.thread("acme")
		m := userMessage(thread.ID, "x")
		f.begin(thread, m, fmt.Sprint("e", i), func(a *Acceptance) {
			if i%2 == 0 {
				a.Attempt = newAttempt(m, a.Epoch)
			}
		})
		if i < 5 {
			f.expire(thread)
			dead = append(dead, thread)
		} else {
			alive = append(alive, thread)
		}
	}
	var total Recovered
	for i, want := range []int{2, 2, 1, 0} {
		r, err := f.SettleExpired(t.Context(), 2)
		f.must(err)
		if r.Failed+r.Unknown != want {
			t.Errorf("batch %d settled %+v, want %d", i, r, want)
		}
		total.Failed, total.Unknown = total.Failed+r.Failed, total.Unknown+r.Unknown
	}
	f.same("settled", total, Recovered{Failed: 2, Unknown: 3})
	for i, thread := range dead {
		want := []normalize.MessageStatus{normalize.StatusUnknown, normalize.StatusFailed}[i%2]
		if m := f.transcript(thread)[0]; m.Status != want || m.Reason == "" {
			t.Errorf("of a dead run: status %s, reason %q; want %s and a reason", m.Status, m.Reason, want)
		}
		f.say(thread, "next")
	}
	for i, thread := range alive {
		m := f.transcript(thread)[0]
		if m.Status != normalize.StatusPending || !f.read(thread).Busy {
			t.Errorf("of a living run: status %s, busy %v", m.Status, f.read(thread).Busy)
		}
		f.end(thread, m, fmt.Sprint("e", i+5), normalize.StatusSent)
	}
}

func renewedLeaseIsHeldAndALostOneTold(t *testing.T, f *fixture) {
	var epochs []string
	var threads []normalize.Thread
	for range renewBatch + 3 {
		thread := f.thread("acme")
		epoch := newID("run")
		f.begin(thread, userMessage(thread.ID, "x"), epoch, func(a *Acceptance) { a.Lease = time.Millisecond })
		threads, epochs = append(threads, thread), append(epochs, epoch)
	}
	f.expire(threads[0]) // over, but nobody has noticed yet
	f.end(threads[1], f.transcript(threads[1])[0], epochs[1], normalize.StatusSent)
	asked := append(slices.Clone(epochs), "none such")
	lost, err := f.Renew(t.Context(), asked, time.Minute)
	f.must(err)
	f.same("lost", lost, []string{epochs[1], "none such"})
	r, err := f.SettleExpired(t.Context(), 100)
	f.must(err)
	f.same("settled after it", r, Recovered{})
	for i, thread := range threads {
		if busy := f.read(thread).Busy; busy != (i != 1) {
			t.Errorf("thread %d: busy %v", i, busy)
		}
	}

	f.expire(threads[2])
	_, err = f.SettleExpired(t.Context(), 100)
	f.must(err)
	lost, err = f.Renew(t.Context(), epochs[2:4], time.Minute)
	f.must(err)
	f.same("lost to the sweep", lost, epochs[2:3])
	lost, err = f.Renew(t.Context(), nil, time.Minute)
	f.must(err)
	f.same("of none", lost, []string(nil))
}

// unknown makes a message whose vendor may have it, by a binding of its own.
func (f *fixture) unknown(t normalize.Thread, text string, more ...func(*Acceptance)) (normalize.Message, normalize.Binding) {
	f.t.Helper()
	m := userMessage(t.ID, text)
	attempt := newAttempt(m, m.ID)
	f.begin(t, m, m.ID, append(more, withAttempt(attempt))...)
	b := normalize.Binding{
		Backend: "desk", Vendor: "conversations", Bot: "b", Remote: normalize.Remote{ThreadID: newID("remote"), UserID: "p"}, Since: t0,
	}
	if known := f.read(t).Bindings; len(known) > 0 {
		b = known[len(known)-1]
	}
	f.must(f.SaveBinding(f.t.Context(), t.Tenant, t.ID, m.ID, b, t0))
	m.Status, m.Reason, m.Backend = normalize.StatusUnknown, "backend_timeout", "desk"
	f.end(t, m, m.ID, normalize.StatusUnknown, func(fin *Finish) {
		fin.Message, fin.Attempt = m, &AttemptEnd{ID: attempt.ID, Kind: "timeout", Phase: 1, EndedAt: t0}
	})
	return m, b
}

func (f *fixture) unsettled() []Unsettled {
	f.t.Helper()
	list, err := f.Unsettled(f.t.Context(), at(1), 100)
	f.must(err)
	return list
}

func unknownMessagesAreListedUntilTheyAreSettled(t *testing.T, f *fixture) {
	thread, other := f.thread("acme"), f.thread("other")
	m, b := f.unknown(thread, "who knows?")
	second, b2 := f.unknown(other, "and this?")
	f.say(thread, "all is well") // what is certain is not listed
	want := []Unsettled{
		{Tenant: "acme", Message: m, Backend: "desk", Binding: b, StartedAt: t0, EndedAt: t0, Attempts: 1},
		{Tenant: "other", Message: second, Backend: "desk", Binding: b2, StartedAt: t0, EndedAt: t0, Attempts: 1},
	}
	f.same("all", f.unsettled(), want)
	list, err := f.Unsettled(t.Context(), at(1), 1)
	f.must(err)
	f.same("one", list, want[:1])
	list, err = f.Unsettled(t.Context(), t0, 100)
	f.must(err)
	f.same("of attempts that began before the last", list, []Unsettled(nil))

	held := userMessage(other.ID, "held")
	f.begin(other, held, "e")
	f.same("while a send holds the other thread", f.unsettled(), want[:1])
	f.end(other, held, "e", normalize.StatusSent)

	replies := []normalize.Message{replyTo(m, "found"), replyTo(m, "and more")}
	f.must(f.Settle(t.Context(), Settlement{
		Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 1, Status: normalize.StatusSent, RemoteID: "r9",
		Raw: []byte(`{"id": "r9"}`), Replies: replies, Now: at(3),
	}))
	m.Status, m.Reason, m.RemoteID, m.Raw = normalize.StatusSent, "", "r9", json.RawMessage(`{"id": "r9"}`)
	got := f.transcript(thread)
	f.same("as sent", got[0], m)
	f.same("its replies", got[3:], replies)
	if st := f.read(thread); st.MessageCount != 5 || !st.UpdatedAt.Equal(at(3)) || st.Busy {
		t.Errorf("its thread: %d messages, updated at %v, busy %v", st.MessageCount, st.UpdatedAt, st.Busy)
	}
	f.must(f.Settle(t.Context(), Settlement{
		Tenant: "other", ThreadID: other.ID, MessageID: second.ID, Attempts: 1, Status: normalize.StatusFailed, Now: at(3),
	}))
	second.Status = normalize.StatusFailed
	f.same("as failed", f.transcript(other)[0], second)
	f.same("nothing is left", f.unsettled(), []Unsettled(nil))
	f.say(thread, "goes on")
}

func unsettledNamesOnlyACertainConversation(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m, b := f.unknown(thread, "before the moves")
	move := func(backend string, minute int) normalize.Binding {
		now := at(minute)
		next := normalize.Binding{Backend: backend, Vendor: b.Vendor, Remote: normalize.Remote{ThreadID: newID("remote")}, Since: now}
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, now, func(st *StoredThread) error {
			st.Bindings[len(st.Bindings)-1].Until = now
			st.Bindings = append(st.Bindings, next)
			return nil
		})
		f.must(err)
		return next
	}
	move("spare", 1)
	b.Until = at(1)
	want := []Unsettled{{Tenant: "acme", Message: m, Backend: "desk", Binding: b, StartedAt: t0, EndedAt: t0, Attempts: 1}}
	f.same("moved away", f.unsettled(), want)
	move("desk", 2)
	want[0].Binding = normalize.Binding{}
	f.same("and back", f.unsettled(), want)

	crashed := f.thread("acme")
	m = userMessage(crashed.ID, "before anything was known")
	f.begin(crashed, m, "e", withAttempt(newAttempt(m, "e")))
	f.expire(crashed)
	_, err := f.SettleExpired(t.Context(), 10)
	f.must(err)
	m.Status, m.Reason = normalize.StatusUnknown, reasonInterrupted
	want = append(want, Unsettled{Tenant: "acme", Message: m, Backend: "desk", StartedAt: t0, EndedAt: t0, Attempts: 1})
	f.same("without a conversation", f.unsettled(), want)
}

func postponedMessageWaitsForItsTime(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m, b := f.unknown(thread, "who knows?")
	postpone := func(until time.Time) {
		t.Helper()
		f.must(f.PostponeSettling(t.Context(), "acme", thread.ID, m.ID, until))
	}
	postpone(t0.Add(time.Millisecond))
	f.same("postponed", f.unsettled(), []Unsettled(nil))
	postpone(t0)
	want := []Unsettled{{Tenant: "acme", Message: m, Backend: "desk", Binding: b, StartedAt: t0, EndedAt: t0, Attempts: 1, Tries: 2}}
	f.same("its time has come", f.unsettled(), want)
	postpone(time.Time{})
	f.same("given up", f.unsettled(), []Unsettled(nil))
	if list, err := f.Unsettled(t.Context(), at(1<<20), 100); err != nil || len(list) != 0 {
		t.Errorf("given up, and listed again: %v, error %v", list, err)
	}

	// Sent again, and unknown again: a new matter.
	again := m
	again.Status, again.Reason = normalize.StatusPending, ""
	attempt := newAttempt(m, "e2")
	attempt.StartedAt = t0.Add(time.Second)
	f.begin(thread, again, "e2", withAttempt(attempt), func(a *Acceptance) { a.Resend = true })
	f.end(thread, m, "e2", normalize.StatusUnknown, func(fin *Finish) {
		fin.Attempt = &AttemptEnd{ID: attempt.ID, Kind: "timeout", Phase: 1, EndedAt: at(2)}
	})
	want[0].Tries, want[0].Attempts, want[0].StartedAt, want[0].EndedAt = 0, 2, attempt.StartedAt, at(2)
	f.same("sent again", f.unsettled(), want)

	f.wantErr("another tenant's", f.PostponeSettling(t.Context(), "other", thread.ID, m.ID, t0), ErrChanged)
	f.must(f.Settle(t.Context(), Settlement{
		Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 2, Status: normalize.StatusSent, Now: at(3),
	}))
	f.wantErr("a settled one", f.PostponeSettling(t.Context(), "acme", thread.ID, m.ID, t0), ErrChanged)
}

func settledMessageAnswersItsKey(t *testing.T, f *fixture) {
	for _, status := range []normalize.MessageStatus{normalize.StatusSent, normalize.StatusFailed} {
		thread := f.thread("acme")
		key := newKey("acme", "b")
		m := userMessage(thread.ID, "who knows?")
		f.begin(thread, m, "e", withKey(key), withAttempt(newAttempt(m, "e")))
		f.end(thread, m, "e", normalize.StatusUnknown, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 504, []byte("nobody knows") })
		f.must(f.Settle(t.Context(), Settlement{
			Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 1, Status: status, Now: at(3),
		}))
		want := KeyState{Found: true, Matches: true, ThreadID: thread.ID, MessageID: m.ID, Message: status}
		state, err := f.LookupKey(t.Context(), *key, t0)
		f.must(err)
		f.same("the key of a message that is "+string(status), state, want)
		r := f.begin(thread, m, "e2", withKey(key), func(a *Acceptance) { a.Resend = true })
		if r.Accepted != (status == normalize.StatusFailed) {
			t.Errorf("its repeat, status %s: %+v", status, r)
		}
	}
}

func settleIsWholeOrNothing(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	said := f.say(thread, "certain")
	m, _ := f.unknown(thread, "who knows?")
	v := Settlement{
		Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 1, Status: normalize.StatusSent,
		Replies: []normalize.Message{replyTo(m, "found")}, Now: at(3),
	}
	running := userMessage(thread.ID, "meanwhile")
	f.begin(thread, running, "e")
	before := f.read(thread)
	f.wantErr("while a send holds the thread", f.Settle(t.Context(), v), ErrBusy)
	f.same("the thread", f.read(thread), before)
	f.end(thread, running, "e", normalize.StatusSent)

	before = f.read(thread)
	text := f.transcript(thread)
	for name, c := range map[string]struct {
		change func(*Settlement)
		want   error
	}{
		"another tenant's":    {func(v *Settlement) { v.Tenant = "other" }, ErrNotFound},
		"no such thread":      {func(v *Settlement) { v.ThreadID = newID("thr") }, ErrNotFound},
		"no such message":     {func(v *Settlement) { v.MessageID = newID("msg") }, ErrNotFound},
		"sent again since":    {func(v *Settlement) { v.Attempts = 2 }, ErrChanged},
		"a certain one":       {func(v *Settlement) { v.MessageID = said.ID }, ErrChanged},
		"a reply that cannot": {func(v *Settlement) { v.Replies = append(v.Replies, said) }, ErrUnavailable}, // its id is taken
	} {
		bad := v
		bad.Replies = slices.Clone(v.Replies)
		c.change(&bad)
		f.wantErr(name, f.Settle(t.Context(), bad), c.want)
		f.same(name+": the thread", f.read(thread), before)
		f.same(name+": the transcript", f.transcript(thread), text)
	}
	f.must(f.Settle(t.Context(), v))
	f.wantErr("a second time", f.Settle(t.Context(), v), ErrChanged)
}

// What matters are the attempts after which a vendor may have the message.
func unsettledIsWhatOneBackendAloneMayHave(t *testing.T, f *fixture) {
	unsent := AttemptEnd{Kind: "unreachable", EndedAt: t0}
	refused := AttemptEnd{Kind: "rate_limited", Phase: 2, EndedAt: t0}
	cut := AttemptEnd{Kind: "backend_error", Phase: 1, EndedAt: t0}
	silent := AttemptEnd{Kind: "timeout", Phase: 1, EndedAt: at(1)}
	for name, c := range map[string]struct {
		backends []string
		ends     []AttemptEnd
		want     string
	}{
		"the last":                {[]string{"spare", "desk"}, []AttemptEnd{unsent, silent}, "desk"},
		"the first":               {[]string{"desk", "spare"}, []AttemptEnd{silent, unsent}, "desk"},
		"one that was not turned": {[]string{"spare", "desk", "third"}, []AttemptEnd{refused, cut, unsent}, "desk"},
		"twice the same":          {[]string{"desk", "desk"}, []AttemptEnd{cut, silent}, "desk"},
		"two of them":             {[]string{"desk", "spare"}, []AttemptEnd{cut, silent}, ""},
	} {
		thread := f.thread("acme")
		m := userMessage(thread.ID, "x")
		f.begin(thread, m, m.ID)
		var last *AttemptEnd
		for i, backend := range c.backends {
			attempt := newAttempt(m, m.ID)
			attempt.Backend = backend
			f.must(f.BeginAttempt(t.Context(), *attempt, last))
			end := c.ends[i]
			end.ID, last = attempt.ID, &end
		}
		f.end(thread, m, m.ID, normalize.StatusUnknown, func(fin *Finish) { fin.Attempt = last })
		var got string
		for _, u := range f.unsettled() {
			if got = u.Backend; u.Message.ID != m.ID || u.Attempts != len(c.backends) {
				t.Errorf("%s: listed as %+v", name, u)
			}
		}
		if got != c.want {
			t.Errorf("%s: backend %q, want %q", name, got, c.want)
		}
		f.must(f.PostponeSettling(t.Context(), "acme", thread.ID, m.ID, time.Time{}))
	}
}

// A message that a vendor may have from before is not safe to send again because
// its resend died early.
func resendThatDiesLeavesItsMessageUnknown(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m, _ := f.unknown(thread, "who knows?")
	key := newKey("acme", "b")
	m.Status, m.Reason = normalize.StatusPending, ""
	again := func(a *Acceptance) { a.Resend = true }
	f.begin(thread, m, "e2", again, withKey(key))
	f.expire(thread)
	r := f.begin(thread, m, "e3", again, withKey(key))
	if r.Accepted || r.Key.Message != normalize.StatusUnknown {
		t.Errorf("its repeat after the lease: %+v", r)
	}
	f.begin(thread, m, "e4", again)
	f.expire(thread)
	settled, err := f.SettleExpired(t.Context(), 10)
	f.must(err)
	f.same("settled", settled, Recovered{Unknown: 1})
	f.same("status", f.transcript(thread)[0].Status, normalize.StatusUnknown)
}
