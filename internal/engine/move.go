package engine

import (
	"context"

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
	b := u.byName[backendName]
	t, err := e.store.UpdateThread(ctx, o.Caller.Tenant, threadID, now(), func(t *store.StoredThread) error {
		from := t.Backend
		switch holder, held := t.Binding(); {
		case t.Busy:
			return store.ErrBusy
		case held && holder.Backend == backendName:
			return normalize.InvalidField("backend", "this backend has the thread already")
		}
		level := levelNone
		t.Carry = ""
		if carry == CarryTranscript && t.MessageCount > 0 {
			level, t.Carry = levelPrimer, CarryTranscript
			if !b.Stateful() {
				level = levelHistory
			}
		}
		at := now()
		bind(&t.Thread, b, lastRemote(&t.Thread, b), "moved: "+level, at)
		t.Route = routeName(d.Route)
		if from != "" && from != backendName {
			notice := movedNotice(t.ID, from, backendName, at)
			notice.Text += " (carried along: " + level + ")"
			t.Append = append(t.Append, notice)
		}
		return nil
	})
	if err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	return t.Thread, nil
}
