package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/normalize"
)

// together makes writes begin at one moment; on SQLite they share one batch, in this
// order.
func (f *fixture) together(calls ...func() error) []error {
	f.t.Helper()
	errs := make([]error, len(calls))
	release := f.occupy()
	defer release()
	var wait sync.WaitGroup
	for i, call := range calls {
		wait.Go(func() { errs[i] = call() })
		f.queued(i + 1)
	}
	release()
	wait.Wait()
	return errs
}

func (f *fixture) eventually(what func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(4 * time.Second); !what(); {
		if time.Now().After(deadline) {
			f.t.Fatal("it never came true")
		}
		time.Sleep(100 * time.Microsecond) // between two looks
	}
}

func oneBadWriteHurtsNoOther(t *testing.T, f *fixture) {
	taken := f.say(f.thread("acme"), "has this id")
	var calls []func() error
	var threads []normalize.Thread
	for i := range 20 {
		thread := newThread("acme")
		m := userMessage(thread.ID, "x")
		if i == 7 || i == 13 {
			m.ID = taken.ID // breaks a constraint, after the thread was inserted
		}
		threads = append(threads, thread)
		calls = append(calls, func() error {
			_, err := f.Accept(t.Context(), Acceptance{Thread: thread, NewThread: true, Message: m, Epoch: "e", Lease: time.Minute, Now: t0})
			return err
		})
	}
	calls = append(calls, func() error { return f.erase(t.Context(), "acme", newID("thr"), t0) })
	for i, err := range f.together(calls...) {
		switch i {
		case 7, 13:
			f.wantErr("the bad write", err, ErrUnavailable)
			_, err := f.Thread(t.Context(), "acme", threads[i].ID, false)
			f.wantErr("its thread", err, ErrNotFound)
		case 20:
			f.wantErr("the refused write", err, ErrNotFound)
		default:
			f.must(err)
			f.same("messages", len(f.transcript(threads[i])), 1)
		}
	}
}

func panicOfAChangeHurtsNoOther(t *testing.T, f *fixture) {
	thread, other := f.thread("acme"), f.thread("acme")
	errs := f.together(
		func() error {
			_, err := f.UpdateThread(t.Context(), "acme", other.ID, at(3), func(st *StoredThread) error { st.Title = "fine"; return nil })
			return err
		},
		func() (err error) {
			defer func() { err = fmt.Errorf("panicked: %v", recover()) }()
			_, err = f.UpdateThread(t.Context(), "acme", thread.ID, at(3), func(*StoredThread) error { panic("a fault of ours") })
			return err
		},
	)
	f.must(errs[0])
	if got := fmt.Sprint(errs[1]); got != "panicked: a fault of ours" {
		t.Errorf("the caller got %q", got)
	}
	f.same("title", f.read(other).Title, "fine")
	f.say(thread, "goes on")
}

func givenUpWriteNeverBegins(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := f.occupy()
	defer release()
	result := make(chan error, 1)
	go func() {
		_, err := f.UpdateThread(ctx, "acme", thread.ID, at(1), func(st *StoredThread) error { st.Title = "too late"; return nil })
		result <- err
	}()
	f.queued(1)
	cancel()
	err := <-result
	f.wantErr("the caller", err, ErrUnavailable)
	f.wantErr("the caller", err, context.Canceled)
	release()
	f.say(thread, "after it")
	f.same("title", f.read(thread).Title, "")
}

func oneKeyRunsOnce(t *testing.T, f *fixture) {
	key := newKey("acme", "b")
	var accepted atomic.Int32
	var wait sync.WaitGroup
	for range 40 {
		wait.Go(func() {
			thread := newThread("acme")
			m := userMessage(thread.ID, "x")
			r, err := f.Accept(t.Context(), Acceptance{
				Thread: thread, NewThread: true, Message: m, Key: key, Epoch: m.ID, Lease: time.Minute, Now: t0,
			})
			if err != nil {
				t.Error(err)
			}
			if r.Accepted {
				accepted.Add(1)
			} else if !r.Key.Running {
				t.Errorf("neither accepted nor running: %+v", r)
			}
		})
	}
	wait.Wait()
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d of 40 were accepted, want 1", n)
	}
	list, _, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, Range{})
	f.must(err)
	f.same("threads", len(list), 1)
}

func hundredGoroutinesAgree(t *testing.T, f *fixture) {
	const turns = 3
	shared := f.thread("acme")
	var sharedSent atomic.Int32
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			ctx := t.Context()
			thread := newThread(fmt.Sprint("tenant-", i%7))
			if err := f.CreateThread(ctx, thread); err != nil {
				t.Error(err)
				return
			}
			for turn := range turns {
				m := userMessage(thread.ID, fmt.Sprint(i, " ", turn))
				st, err := f.Thread(ctx, thread.Tenant, thread.ID, false)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := f.Accept(ctx, Acceptance{
					Thread: thread, Version: st.Version, Message: m, Epoch: m.ID, Lease: time.Minute, Now: t0, Attempt: newAttempt(m, m.ID),
				})
				if err != nil {
					t.Error(err)
					return
				}
				m.Status = normalize.StatusSent
				err = f.Finish(ctx, Finish{
					Thread: st.Thread, Version: r.Version, Message: m, Replies: []normalize.Message{replyTo(m, m.Text)}, Epoch: m.ID, Now: t0,
				})
				if err != nil {
					t.Error(err)
				}
			}
			// And all fight for one thread: whoever gets in says one thing.
			m := userMessage(shared.ID, fmt.Sprint(i))
			st, err := f.Thread(ctx, "acme", shared.ID, false)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = f.Accept(ctx, Acceptance{Thread: shared, Version: st.Version, Message: m, Epoch: m.ID, Lease: time.Minute, Now: t0})
			switch {
			case err == nil:
				sharedSent.Add(1)
				if err := f.Finish(ctx, Finish{Thread: st.Thread, Message: m, Epoch: m.ID, Now: t0}); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrChanged):
				t.Error(err)
			}
			list, _, err := f.Messages(ctx, thread.Tenant, thread.ID, Range{Ascending: true})
			if err != nil || len(list) != 2*turns {
				t.Errorf("%d messages, error %v", len(list), err)
				return
			}
			for turn := range turns {
				if want := fmt.Sprint(i, " ", turn); list[2*turn].Text != want || list[2*turn+1].Text != want {
					t.Errorf("turn %d of %d reads %q, %q", turn, i, list[2*turn].Text, list[2*turn+1].Text)
				}
			}
		})
	}
	wait.Wait()
	if got := len(f.transcript(shared)); got != int(sharedSent.Load()) || got == 0 {
		t.Errorf("%d messages in the shared thread, %d were accepted", got, sharedSent.Load())
	}
}

func pingWrites(t *testing.T, f *fixture) {
	f.must(f.Ping(t.Context()))
	if n := f.count("SELECT COUNT(*) FROM probe WHERE at = $1", f.now().UnixMilli()); n != 1 {
		t.Error("nothing was written")
	}
}

func closedStoreSaysSo(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.must(f.Close())
	f.must(f.Close())
	_, err := f.Thread(t.Context(), "acme", thread.ID, false)
	f.wantErr("Thread", err, ErrUnavailable)
	f.wantErr("CreateThread", f.CreateThread(t.Context(), newThread("acme")), ErrUnavailable)
	f.wantErr("Ping", f.Ping(t.Context()), ErrUnavailable)
}
