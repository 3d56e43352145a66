package engine

import (
	"context"
	"time"

	"chatmux/internal/backend"
	"chatmux/normalize"
)

// CreateThread makes a thread without a message. Where the caller names a backend
// or a route, or wants a human from the start, the backend is chosen now, and its
// vendor makes the conversation if it can; else that waits for the first message.
func (e *Engine) CreateThread(ctx context.Context, o Origin, made NewThread) (normalize.Thread, error) {
	end, err := e.begin()
	if err != nil {
		return normalize.Thread{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	if err := u.known(made.Backend); err != nil {
		return normalize.Thread{}, err
	}
	t := newThread(o, made, now())
	f := facts(o, made.User, nil, made.Metadata, t.ID)
	f.Route, f.Backend = made.Route, made.Backend
	d, err := u.Routes.Decide(f) // also where the choice waits: a caller that no route takes hears it now
	if err != nil {
		return normalize.Thread{}, err
	}
	if made.Backend != "" || made.Route != "" || t.Mode == normalize.ModeHuman {
		t.Route = routeName(d.Route)
		if failure := createAt(ctx, &t, u.backendsOf(d.Backends), made.Backend != "", "", u.Timeout); failure != nil {
			return normalize.Thread{}, failure
		}
	}
	// The vendor may have made the conversation: it is kept, whether or not the caller waits.
	ctx = context.WithoutCancel(ctx)
	if err := e.store.CreateThread(ctx, t); err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	e.register(ctx, u, &t)
	return t, nil
}

// createAt makes the conversation of a new thread at the first backend that takes it,
// and binds it there. Where the vendor makes none, only a backend that was asked for
// by name gets the thread already; else the first message finds who takes it. The
// conversation's id is the chosen one, where there is one and the vendor takes it.
func createAt(
	ctx context.Context, t *normalize.Thread, chain []*backend.Backend, named bool, chosen string, timeout time.Duration,
) *normalize.Error {
	var last *normalize.Error
	for _, b := range chain {
		if t.Mode == normalize.ModeHuman && !b.CreatesThreads() {
			last = &normalize.Error{Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: "the backend cannot begin a thread in this mode"}
			continue
		}
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, &normalize.Error{Kind: normalize.KindDeadline})
		failure := createOne(ctx, t, b, named, chosen)
		cancel()
		if failure == nil {
			return nil
		}
		last = failure
	}
	return last
}

func createOne(ctx context.Context, t *normalize.Thread, b *backend.Backend, named bool, chosen string) *normalize.Error {
	wanted := t.Mode
	remote, able, failure := b.CreateThread(ctx, *t, chosen)
	if failure != nil {
		return failure
	}
	if able || named {
		remote.Update.Apply(t)
		bind(t, b, remote.Remote, "created", t.CreatedAt)
	}
	if t.Mode == wanted {
		return nil
	}
	// The vendor began it in its own mode.
	if failure := b.SwitchMode(ctx, remote.Remote, wanted); failure != nil {
		return failure
	}
	t.Mode = wanted
	return nil
}
