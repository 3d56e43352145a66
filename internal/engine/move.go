package engine

import (
	"context"
	"errors"

	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// Move gives a thread to another backend. The old binding is closed, not erased:
// moving back takes it up again. With CarryTranscript the next message tells the
// new backend what was said, by the best means it has. KindThreadBusy while a send
// runs.
func (e *Engine) Move(ctx context.Context, o Origin, threadID, backendName, carry string) (normalize.Thread, error) {
	if _, err := e.readThread(ctx, o, threadID, false); err != nil {
		return normalize.Thread{}, err
	}
	end, err := e.begin()
	if err != nil {
		return normalize.Thread{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	if err := u.known(backendName); err != nil {
		return normalize.Thread{}, err
	}
	f := facts(o, normalize.User{}, nil, nil, threadID)
	f.Backend = backendName
	d, err := u.Routes.Decide(f) // a caller with routes of its own may use no other backend
	if err != nil {
		return normalize.Thread{}, err
	}
	for range maxReplans {
		moved, err := e.moveOnce(ctx, o, threadID, u.byName[backendName], routeName(d.Route), carry)
		if !errors.Is(err, store.ErrChanged) { // else somebody spoke meanwhile: there may be more to carry
			return moved, err
		}
	}
	return normalize.Thread{}, busyWith(nil)
}

// moveOnce moves a thread as it is read now; store.ErrChanged where it changed
// before it could be moved.
func (e *Engine) moveOnce(ctx context.Context, o Origin, threadID string, b *backend.Backend, route, carry string) (normalize.Thread, error) {
	before, err := e.readThread(ctx, o, threadID, false)
	if err != nil {
		return normalize.Thread{}, err
	}
	level := levelNone
	if carry == CarryTranscript {
		if _, level, err = e.past(ctx, &before.Thread, "", b); err != nil {
			return normalize.Thread{}, e.storeError(err)
		}
	}
	t, err := e.changeThread(ctx, o, threadID, func(t *store.StoredThread) error {
		from := t.Backend
		switch holder, held := t.Binding(); {
		case t.Busy:
			return store.ErrBusy
		case held && holder.Backend == b.Name():
			return normalize.InvalidField("backend", "this backend has the thread already")
		case t.Version != before.Version:
			return store.ErrChanged
		}
		t.Carry = ""
		if level != levelNone {
			t.Carry = CarryTranscript
		}
		at := now()
		bind(&t.Thread, b, lastRemote(&t.Thread, b), "moved: "+level, at)
		t.Route = route
		if from != "" && from != b.Name() {
			t.Append = append(t.Append, movedNotice(t.ID, from, b.Name(), level, at))
		}
		return nil
	})
	if errors.Is(err, store.ErrChanged) {
		return normalize.Thread{}, err
	}
	if err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	return t.Thread, nil
}
