package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/normalize"
)

func sendIsStoredAsItGoes(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	first := newAttempt(m, "e1")
	r := f.begin(thread, m, "e1", withAttempt(first))
	f.same("result", r, AcceptResult{Accepted: true, Version: 2, Seq: 1, Event: 1})
	st := f.read(thread)
	if st.MessageCount != 1 || !st.Busy || st.Version != r.Version {
		t.Errorf("after Accept: %d messages, busy %v, version %d", st.MessageCount, st.Busy, st.Version)
	}
	f.same("accepted", f.transcript(thread), []normalize.Message{m})

	second := newAttempt(m, "e1")
	f.must(f.BeginAttempt(t.Context(), *second, &AttemptEnd{ID: first.ID, Kind: "unreachable", Phase: 0, EndedAt: at(1)}))
	ended := "SELECT COUNT(*) FROM attempts WHERE id = $1 AND kind = 'unreachable' AND ended_at = $2"
	if n := f.count(ended, first.ID, at(1).UnixMilli()); n != 1 {
		t.Error("the first attempt has not ended")
	}

	m.Status, m.Backend, m.RemoteID = normalize.StatusSent, "desk", "r"
	replies := []normalize.Message{replyTo(m, "one"), replyTo(m, "two")}
	want := st.Thread
	want.Backend, want.Route, want.Title, want.Status = "desk", "vip", "told", normalize.ThreadBlocked
	want.Bindings = []normalize.Binding{
		{Backend: "desk", Vendor: "altur", Since: at(1), Remote: normalize.Remote{ThreadID: "r"}, Reason: "routed"},
	}
	f.must(f.Finish(t.Context(), Finish{
		Thread: want, Version: r.Version, Carry: "transcript", Message: m, Replies: replies, Epoch: "e1", Now: at(2),
		Attempt: &AttemptEnd{ID: second.ID, Phase: 2, EndedAt: at(2)},
	}))
	f.same("transcript", f.transcript(thread), append([]normalize.Message{m}, replies...))
	want.MessageCount, want.UpdatedAt = 3, at(2)
	f.same("thread", f.read(thread), StoredThread{Thread: want, Version: 3, Carry: "transcript"})
	if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
		t.Errorf("%d attempts without an end", n)
	}
}

func newThreadIsMadeWithItsMessage(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	m := userMessage(thread.ID, "first")
	r, err := f.Accept(t.Context(), Acceptance{
		Thread: thread, NewThread: true, Message: m, Epoch: "e", Lease: time.Minute, Now: t0, Attempt: newAttempt(m, "e"),
	})
	f.must(err)
	thread.MessageCount = 1
	f.same("thread", f.read(thread), StoredThread{Thread: thread, Version: r.Version, Busy: true})
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Version = r.Version })
	if got := f.transcript(thread); len(got) != 2 {
		t.Errorf("%d messages, want 2", len(got))
	}
}

func oneSendHoldsAThread(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "one")
	f.begin(thread, m, "e1")
	second := Acceptance{
		Thread: thread, Version: f.read(thread).Version, Message: userMessage(thread.ID, "two"), Epoch: "e2", Lease: time.Minute, Now: at(0),
	}
	_, err := f.Accept(t.Context(), second)
	f.wantErr("a second send", err, ErrBusy)
	f.end(thread, m, "e1", normalize.StatusFailed)
	second.Version = f.read(thread).Version
	_, err = f.Accept(t.Context(), second)
	f.must(err)
	f.same("transcript", len(f.transcript(thread)), 2)
}

func acceptSeesThatTheThreadHasChanged(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	version := f.read(thread).Version
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { st.Mode = normalize.ModeHuman; return nil })
	f.must(err)
	a := Acceptance{
		Thread: thread, Version: version, Message: userMessage(thread.ID, "x"), Key: newKey("acme", "b"), Epoch: "e", Lease: time.Minute, Now: t0,
	}
	_, err = f.Accept(t.Context(), a)
	f.wantErr("Accept", err, ErrChanged)
	f.same("messages", len(f.transcript(thread)), 0)
	state, err := f.LookupKey(t.Context(), *a.Key, t0)
	f.must(err)
	if state.Found {
		t.Error("a refused request used up its key")
	}
	a.Thread.ID = newID("thr")
	_, err = f.Accept(t.Context(), a)
	f.wantErr("in no thread", err, ErrNotFound)
}

func lateWritesOfALostRunAreRefused(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	old := userMessage(thread.ID, "stalled")
	key := newKey("acme", "b")
	f.begin(thread, old, "e1", withKey(key), withAttempt(newAttempt(old, "e1")))
	// The lease is over: another run takes the thread.
	young := userMessage(thread.ID, "young")
	f.expire(thread)
	f.begin(thread, young, "e2")
	before, text := f.read(thread), f.transcript(thread)

	old.Status = normalize.StatusSent
	fin := Finish{
		Thread: thread, Message: old, Replies: []normalize.Message{replyTo(old, "late")}, Key: key, Status: 200, Epoch: "e1", Now: at(3),
	}
	f.wantErr("Finish", f.Finish(t.Context(), fin), ErrLost)
	f.wantErr("BeginAttempt", f.BeginAttempt(t.Context(), *newAttempt(old, "e1"), nil), ErrLost)
	f.wantErr("SaveBinding", f.SaveBinding(t.Context(), "acme", thread.ID, "e1", normalize.Binding{Backend: "x"}, t0), ErrLost)
	f.same("thread", f.read(thread), before)
	f.same("transcript", f.transcript(thread), text)
	f.end(thread, young, "e2", normalize.StatusSent)
	f.wantErr("Finish of a free thread", f.Finish(t.Context(), fin), ErrLost)
	f.must(f.erase(t.Context(), "acme", thread.ID, at(3)))
	f.wantErr("Finish of a deleted thread", f.Finish(t.Context(), fin), ErrLost)
}

func takingOverSettlesTheRunBefore(_ *testing.T, f *fixture) {
	for _, c := range []struct {
		attempt bool
		want    normalize.MessageStatus
	}{{false, normalize.StatusFailed}, {true, normalize.StatusUnknown}} {
		thread := f.thread("acme")
		old := userMessage(thread.ID, "stalled")
		f.begin(thread, old, "e1", func(a *Acceptance) {
			if c.attempt {
				a.Attempt = newAttempt(old, "e1")
			}
		})
		young := userMessage(thread.ID, "young")
		f.expire(thread)
		r := f.begin(thread, young, "e2")
		f.end(thread, young, "e2", normalize.StatusSent, func(fin *Finish) { fin.Version = r.Version })
		list := f.transcript(thread)
		f.same("status", []normalize.MessageStatus{list[0].Status, list[1].Status}, []normalize.MessageStatus{c.want, normalize.StatusSent})
		if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
			f.t.Errorf("%d attempts without an end", n)
		}
	}
}

func changeDuringASendIsNotLost(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e")
	mine := f.read(thread)
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(1), func(st *StoredThread) error { st.Title = "patched"; return nil })
	f.must(err)
	mine.Backend, m.Status = "desk", normalize.StatusSent
	fin := Finish{Thread: mine.Thread, Version: r.Version, Message: m, Replies: []normalize.Message{replyTo(m, "hi")}, Epoch: "e", Now: at(2)}
	f.wantErr("Finish from the old thread", f.Finish(t.Context(), fin), ErrChanged)
	f.same("messages", len(f.transcript(thread)), 1)
	fresh := f.read(thread)
	fin.Thread, fin.Version = fresh.Thread, fresh.Version
	fin.Thread.Backend = "desk"
	f.must(f.Finish(t.Context(), fin))
	got := f.read(thread)
	f.same("title and backend", []string{got.Title, got.Backend}, []string{"patched", "desk"})
}

func repeatedKeyGetsTheStoredAnswer(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("before", state, KeyState{})

	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e1", withKey(key))
	f.same("the first", r.Key, KeyState{})
	running := KeyState{
		Found: true, Matches: true, Running: true, LeaseEnds: at(1), ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusPending,
	}
	repeat := func() AcceptResult {
		return f.begin(thread, userMessage(thread.ID, "hello"), "e2", withKey(key))
	}
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("lookup while it runs", f.leased(state), running)
	again := repeat()
	again.Key = f.leased(again.Key)
	f.same("repeat while it runs", again, AcceptResult{Key: running})

	body := []byte(`{"thread": "…", "x": "` + strings.Repeat("🙂", 9000) + `"}`)
	f.end(thread, m, "e1", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 200, body })
	done := KeyState{Found: true, Matches: true, Status: 200, Body: body, ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusSent}
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("lookup after it", state, done)
	f.same("repeat after it", repeat(), AcceptResult{Key: done})
	f.same("messages", len(f.transcript(thread)), 2)

	// Another send of the thread does not make the key run again.
	f.begin(thread, userMessage(thread.ID, "next"), "e3")
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("during another send", state, done)
}

func keyMatchesByPathAndBody(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	path, body := *key, *key
	path.Path += "/other"
	body.BodyHash[31]++
	for name, k := range map[string]Key{"path": path, "body": body} {
		state, err := f.LookupKey(t.Context(), k, t0)
		f.must(err)
		if !state.Found || state.Matches {
			t.Errorf("another %s: %+v", name, state)
		}
		again := m
		again.Status = normalize.StatusPending
		r := f.begin(thread, again, "e2", withKey(&k), func(a *Acceptance) { a.Resend = true })
		if r.Accepted || !r.Key.Found || r.Key.Matches {
			t.Errorf("another %s was accepted: %+v", name, r)
		}
	}
	tenant := *key
	tenant.Tenant = "other"
	other := f.thread("other")
	r := f.begin(other, userMessage(other.ID, "hello"), "e3", withKey(&tenant))
	if !r.Accepted || r.Key.Found {
		t.Errorf("the same key of another tenant: %+v", r)
	}
}

func keyOfAFailedMessageRunsTheSameMessageAgain(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	m.Reason = "backend_unavailable"
	f.end(thread, m, "e1", normalize.StatusFailed, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 503, []byte("down") })

	other := userMessage(thread.ID, "hello")
	r := f.begin(thread, other, "e2", withKey(key))
	if r.Accepted || r.Key.Status != 503 || r.Key.Message != normalize.StatusFailed || r.Key.MessageID != m.ID {
		t.Fatalf("a repeat under a new id: %+v", r)
	}
	m.Status, m.Reason = normalize.StatusPending, ""
	again := func(a *Acceptance) { a.Resend = true }
	r = f.begin(thread, m, "e2", withKey(key), again)
	if !r.Accepted {
		t.Fatalf("a repeat under its own id: %+v", r)
	}
	f.same("again", f.transcript(thread), []normalize.Message{m})
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("running again", f.leased(state), KeyState{
		Found: true, Matches: true, Running: true, LeaseEnds: at(1), ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusPending,
	})
	f.end(thread, m, "e2", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 200, []byte("up") })
	r = f.begin(thread, m, "e3", withKey(key), again)
	if r.Accepted || r.Key.Status != 200 || string(r.Key.Body) != "up" || r.Key.Message != normalize.StatusSent {
		t.Errorf("after success: %+v", r)
	}
	f.same("messages", len(f.transcript(thread)), 2)
}

func keyRunsNoOtherMessage(_ *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m, other := userMessage(thread.ID, "hello"), userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	f.begin(thread, other, "e2")
	f.end(thread, other, "e2", normalize.StatusFailed)
	if r := f.begin(thread, other, "e3", withKey(key), func(a *Acceptance) { a.Resend = true }); r.Accepted {
		f.t.Errorf("another failed message was accepted by the key of the first: %+v", r)
	}
}

func keyRunsWhileItsMessageIsSentAgain(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	f.begin(thread, m, "e2", func(a *Acceptance) { a.Resend = true }) // by a request without the key
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if !state.Running {
		t.Errorf("while its message is sent: %+v", state)
	}
	f.end(thread, m, "e2", normalize.StatusFailed)
	other := userMessage(thread.ID, "another")
	f.begin(thread, other, "e3")
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if state.Running {
		t.Errorf("while another message is sent: %+v", state)
	}
	f.end(thread, other, "e3", normalize.StatusSent)
	f.begin(thread, m, "e2", func(a *Acceptance) { a.Resend = true })
	f.end(thread, m, "e2", normalize.StatusSent)
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if state.Running || state.Message != normalize.StatusSent {
		t.Errorf("after its message was sent: %+v", state)
	}
}

func keyOfADeadRunIsSettledByItsRepeat(t *testing.T, f *fixture) {
	for _, c := range []struct {
		attempt bool
		want    normalize.MessageStatus
	}{{false, normalize.StatusFailed}, {true, normalize.StatusUnknown}} {
		thread := f.thread("acme")
		key := newKey("acme", "body")
		m := userMessage(thread.ID, "hello")
		f.begin(thread, m, "e1", withKey(key), func(a *Acceptance) {
			if c.attempt {
				a.Attempt = newAttempt(m, "e1")
			}
		})
		repeat := m
		repeat.Status = normalize.StatusPending
		late := func(a *Acceptance) { a.Resend = true }
		f.expire(thread)
		r := f.begin(thread, repeat, "e2", withKey(key), late)
		if r.Accepted || r.Key.Running || r.Key.Message != c.want {
			t.Errorf("the first repeat after the lease: %+v, want status %s", r, c.want)
		}
		r = f.begin(thread, repeat, "e3", withKey(key), late)
		if r.Accepted != (c.want == normalize.StatusFailed) {
			t.Errorf("the second repeat after the lease, status %s: %+v", c.want, r)
		}
		f.same("messages", len(f.transcript(thread)), 1)
	}
}

func resendKeepsTheMessage(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "said once")
	m.Metadata = map[string]string{"k": "v"}
	f.begin(thread, m, "e1")
	m.Reason = "backend_timeout"
	f.end(thread, m, "e1", normalize.StatusUnknown)
	again := normalize.Message{ID: m.ID, Status: normalize.StatusPending, Backend: "desk", Text: "changed"}
	f.begin(thread, again, "e2", func(a *Acceptance) { a.Resend = true })
	want := m
	want.Status, want.Reason, want.Backend = normalize.StatusPending, "", "desk"
	f.same("transcript", f.transcript(thread), []normalize.Message{want})
	if got := f.read(thread).MessageCount; got != 1 {
		t.Errorf("%d messages counted, want 1", got)
	}
	_, err := f.Accept(t.Context(), Acceptance{
		Thread: thread, Version: f.read(thread).Version, Message: again, Resend: true, Epoch: "e3", Lease: time.Minute, Now: t0,
	})
	f.wantErr("while it is sent", err, ErrBusy)
}

func sweepTakesOldKeysThatDoNotRun(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	var keys []*Key
	for i := range 5 {
		key, m := newKey("acme", "b"), userMessage(thread.ID, "x")
		f.begin(thread, m, "e", withKey(key), func(a *Acceptance) { a.Now = at(i) })
		f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
		keys = append(keys, key)
	}
	running, m := newKey("acme", "b"), userMessage(thread.ID, "x")
	f.begin(thread, m, "e", withKey(running))
	left := func() (n int) {
		for _, key := range append(keys, running) {
			state, err := f.LookupKey(t.Context(), *key, t0)
			f.must(err)
			n += int(flag(state.Found))
		}
		return n
	}
	for _, c := range []struct {
		before            time.Time
		limit, want, left int
	}{{t0, 10, 0, 6}, {at(3), 2, 2, 4}, {at(3), 2, 1, 3}, {at(9), 10, 2, 1}, {at(9), 10, 0, 1}} {
		n, err := f.Sweep(t.Context(), c.before, c.limit)
		f.must(err)
		if n != c.want || left() != c.left {
			t.Errorf("swept %d, left %d; want %d and %d", n, left(), c.want, c.left)
		}
	}
	f.end(thread, m, "e", normalize.StatusSent)
	if n, err := f.Sweep(t.Context(), at(9), 10); err != nil || n != 1 {
		t.Errorf("swept %d after the end, error %v", n, err)
	}
}

// Whatever the sweeper takes away under it, a key never has two runs, and its
// repeat is answered by what is true.
func sweepRacesARepeat(t *testing.T, f *fixture) {
	stop := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := f.Sweep(context.Background(), at(1000), 100); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := range 30 {
		thread := f.thread("acme")
		key := newKey("acme", "b")
		m := userMessage(thread.ID, "x")
		epoch := fmt.Sprint("e", i)
		f.begin(thread, m, epoch, withKey(key))
		if r := f.begin(thread, userMessage(thread.ID, "x"), "repeat", withKey(key)); r.Accepted || !r.Key.Running {
			t.Fatalf("a repeat of a running key: %+v", r)
		}
		f.end(thread, m, epoch, normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
		r := f.begin(thread, userMessage(thread.ID, "x"), "after", withKey(key))
		if !r.Accepted && r.Key.Status != 200 {
			t.Fatalf("a repeat of a finished key: %+v", r)
		}
	}
	close(stop)
	sweeper.Wait()
}

func recoverSettlesWhatACrashLeft(t *testing.T, f *fixture) {
	none, some, done := f.thread("acme"), f.thread("acme"), f.thread("other")
	keyNone, keySome := newKey("acme", "n"), newKey("acme", "s")
	mNone, mSome := userMessage(none.ID, "no attempt"), userMessage(some.ID, "an attempt")
	f.begin(none, mNone, "e1", withKey(keyNone))
	f.begin(some, mSome, "e2", withKey(keySome))
	f.must(f.BeginAttempt(t.Context(), *newAttempt(mSome, "e2"), nil))
	f.say(done, "all said")
	before := f.transcript(done)
	f.expire(none)
	f.expire(some)

	r, err := f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("recovered", r, Recovered{Failed: 1, Unknown: 1})
	for _, c := range []struct {
		thread normalize.Thread
		key    *Key
		want   normalize.MessageStatus
	}{{none, keyNone, normalize.StatusFailed}, {some, keySome, normalize.StatusUnknown}} {
		m := f.transcript(c.thread)[0]
		if m.Status != c.want || m.Reason == "" {
			t.Errorf("status %s, reason %q; want %s and a reason", m.Status, m.Reason, c.want)
		}
		state, err := f.LookupKey(t.Context(), *c.key, t0)
		f.must(err)
		if state.Running || state.Status != 0 || state.Message != c.want {
			t.Errorf("its key: %+v", state)
		}
		if st := f.read(c.thread); st.Busy || !st.UpdatedAt.Equal(at(1)) {
			t.Errorf("its thread: busy %v, updated at %v", st.Busy, st.UpdatedAt)
		}
		f.say(c.thread, "next") // nothing is stuck
	}
	f.wantErr("Finish of the dead run", f.Finish(t.Context(), Finish{Thread: none, Message: mNone, Epoch: "e1", Now: t0}), ErrLost)
	if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
		t.Errorf("%d attempts without an end", n)
	}
	f.same("another transcript", f.transcript(done), before)
	r, err = f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("a second time", r, Recovered{})
}

func recoverWorksInBatches(t *testing.T, f *fixture) {
	const n = recoverBatch + 20
	var wait sync.WaitGroup
	for i := range n {
		thread := newThread("acme")
		a := Acceptance{Thread: thread, NewThread: true, Message: userMessage(thread.ID, "x"), Epoch: "e", Lease: time.Minute, Now: t0}
		if i%2 == 0 {
			a.Attempt = newAttempt(a.Message, "e")
		}
		wait.Go(func() {
			if _, err := f.Accept(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	f.change("UPDATE sends SET until = 1")
	r, err := f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("recovered", r, Recovered{Failed: n / 2, Unknown: n / 2})
	if left := f.count("SELECT COUNT(*) FROM messages WHERE status = 'pending'"); left != 0 {
		t.Errorf("%d still pending", left)
	}
}
