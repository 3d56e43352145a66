package engine

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// What a vendor did about a conversation that was to be erased.
const (
	erased      = "deleted"      // or it was not there any more
	notErasable = "not_possible" // the vendor has no call for it, or the backend is not what it was
	eraseFailed = "failed"       // tried again by Run
	eraseGaveUp = "given_up"     // in log and metric only
)

// eraseGrace is how long the first try of an erasure is left alone. Where its process
// dies before it knows, the next one tries again after that.
const eraseGrace = 10 * time.Minute

// DeleteThread erases our copy, then the conversation at every vendor that held the
// thread and can delete. What has failed there is kept on record and tried again by Run,
// a crash in between included. KindThreadBusy while a send runs.
func (e *Engine) DeleteThread(ctx context.Context, o Origin, id string) ([]Erasure, error) {
	end, err := e.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if _, err := normalize.ParseID(normalize.PrefixThread, id); err != nil {
		return nil, &normalize.Error{Kind: normalize.KindNotFound}
	}
	at := now()
	open, err := e.store.EraseThread(ctx, o.Caller.Tenant, id, at, at.Add(eraseGrace))
	if err != nil {
		return nil, e.storeError(err)
	}
	e.hub.wake(id)                   // whoever watches it learns that it is gone
	ctx = context.WithoutCancel(ctx) // ours is gone: the vendors' copies go too, whoever waits for the answer
	done := []Erasure{}
	var over []store.Erasure
	for _, conversation := range open {
		outcome := e.erase(ctx, conversation.Binding)
		done = append(done, Erasure{Backend: conversation.Binding.Backend, RemoteID: conversation.Binding.Remote.ThreadID, Outcome: outcome})
		if outcome != eraseFailed {
			over = append(over, conversation)
			continue
		}
		// Where this cannot be written down, the grace stands.
		if err := e.store.PostponeErasure(ctx, conversation, now().Add(e.settling.EraseAgain)); err != nil {
			e.log.Warn("the next try of an erasure could not be brought forward", zap.String("thread", id), zap.Error(err))
		}
	}
	if err := e.store.EndErasures(ctx, over); err != nil {
		e.log.Warn("finished erasures could not be put off the record; they are tried once more", zap.String("thread", id), zap.Error(err))
	}
	return done, nil
}

// erase erases one conversation at its vendor.
func (e *Engine) erase(ctx context.Context, binding normalize.Binding) (outcome string) {
	u := e.use()
	defer u.release()
	defer func() { e.metrics.Erasure(binding.Backend, outcome) }()
	b := u.byName[binding.Backend]
	if b == nil || !isOf(binding, b) {
		return notErasable
	}
	able, failure := b.DeleteThread(ctx, binding.Remote)
	switch {
	case !able:
		return notErasable
	case failure == nil, failure.VendorStatus == 404:
		return erased
	default:
		return eraseFailed
	}
}

// eraseDue does one round of the erasures that are on record. Each is postponed before it
// is tried, so that of several processes one tries it.
func (e *Engine) eraseDue(ctx context.Context) {
	due, err := e.store.DueErasures(ctx, now(), settleBatch)
	if err != nil {
		e.log.Error("erasures that are due could not be listed", zap.Error(err))
		return
	}
	for _, conversation := range due {
		if ctx.Err() != nil {
			return
		}
		if err := e.eraseAgain(ctx, conversation); err != nil && ctx.Err() == nil {
			e.log.Error("an erasure could not be kept on record", zap.String("thread", conversation.ThreadID), zap.Error(err))
			return
		}
	}
}

func (e *Engine) eraseAgain(ctx context.Context, c store.Erasure) error {
	err := e.store.PostponeErasure(ctx, c, now().Add(e.settling.EraseAgain<<min(c.Tries, 6)))
	if errors.Is(err, store.ErrChanged) { // somebody else's
		return nil
	}
	if err != nil {
		return err
	}
	outcome := e.erase(ctx, c.Binding)
	level, what := zap.InfoLevel, "a conversation was erased at its vendor"
	switch {
	case outcome == erased:
	case outcome == notErasable:
		what = "a conversation stays at its vendor, which cannot erase it"
	case now().Sub(c.CreatedAt) < e.settling.EraseFor:
		return nil // the backend has logged why
	default:
		outcome = eraseGaveUp
		e.metrics.Erasure(c.Binding.Backend, outcome)
		level, what = zap.ErrorLevel, "a conversation could not be erased at its vendor, and is not tried again: erase it there by hand"
	}
	e.log.Log(level, what, zap.String("backend", c.Binding.Backend), zap.String("remote_id", c.Binding.Remote.ThreadID),
		zap.String("thread", c.ThreadID), zap.Int("tries", c.Tries+1))
	return e.store.EndErasures(context.WithoutCancel(ctx), []store.Erasure{c})
}

// The waiting for threads of a user that are being answered.
const (
	busyTries = 20
	busyPause = 500 * time.Millisecond
)

// EraseUser erases every thread of a user, as DeleteThread does, and tells each one. A
// thread that a send holds is waited for, up to ten seconds; then it stays, and is told
// as such. It stops at an error of its own or of each.
func (e *Engine) EraseUser(ctx context.Context, o Origin, user string, each func(ErasedThread) error) error {
	if user == "" {
		return normalize.InvalidField("user", "is needed")
	}
	filter := store.ThreadFilter{Tenant: o.Caller.Tenant, User: user}
	for r := (store.Range{Limit: 50, Ascending: true, ByID: true}); ; {
		page, more, err := e.store.Threads(ctx, filter, r)
		if err != nil {
			return e.storeError(err)
		}
		for i := range page {
			t, err := e.eraseSoon(ctx, o, page[i].ID)
			if err != nil {
				return err
			}
			if err := each(t); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		r.After.ID = page[len(page)-1].ID
	}
}

func (e *Engine) eraseSoon(ctx context.Context, o Origin, id string) (ErasedThread, error) {
	for try := 1; ; try++ {
		backends, err := e.DeleteThread(ctx, o, id)
		failure := normalize.AsError(err)
		switch {
		case failure == nil, failure.Kind == normalize.KindNotFound: // somebody else was faster
			return ErasedThread{ID: id, Backends: backends}, nil
		case failure.Kind != normalize.KindThreadBusy:
			return ErasedThread{}, err
		case try == busyTries:
			return ErasedThread{ID: id, Busy: true}, nil
		}
		select {
		case <-ctx.Done():
			return ErasedThread{}, context.Cause(ctx)
		case <-time.After(busyPause):
		}
	}
}
