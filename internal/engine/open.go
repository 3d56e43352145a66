package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"chatmux/internal/backend"
	"chatmux/internal/routing"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// maxForeignID is the longest id, of those that are not ours, that anything is asked
// or kept by.
const maxForeignID = 512

// Opening is a thread to be made for a client of a dialect.
type Opening struct {
	NewThread
	// Name is an id that the client chose. A thread that has it already is the one
	// that is given.
	Name string
	// Key is what a thread is found by again, instead of a Name, and shown nowhere.
	Key string
	// Person is the vendor's own id of the person, as FindPerson gave it: where the
	// route leads to the dialect's own vendor, the thread is that person's there.
	Person string
	// Earlier is what was said before. It is stored with the thread, and carried to
	// the vendor with the first message.
	Earlier []normalize.Message
}

// OpenThread makes a thread for a dialect's client. Where the route leads to the
// dialect's own vendor, and the vendor lets ids be chosen, a chosen one becomes the
// vendor's too, unless another tenant has that.
func (e *Engine) OpenThread(ctx context.Context, o Origin, made Opening) (normalize.Thread, error) {
	if made.Name == "" && made.Key == "" && made.Person == "" && len(made.Earlier) == 0 {
		return e.CreateThread(ctx, o, made.NewThread)
	}
	if max(len(made.Name), len(made.Key), len(o.Bot)) > maxForeignID {
		return normalize.Thread{}, normalize.Errorf(normalize.KindInvalidRequest, "an id may have at most %d bytes", maxForeignID)
	}
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
	t := newThread(o, made.NewThread, now())
	t.Called, t.Key = made.Name, made.Key
	f := facts(o, made.User, nil, made.Metadata, t.ID)
	f.Route, f.Backend = made.Route, made.Backend
	d, err := u.Routes.Decide(f)
	if err != nil {
		return normalize.Thread{}, err
	}
	opening := store.Opening{Thread: t, Said: beforehand(made.Earlier, t.ID, "", t.CreatedAt)}
	if len(opening.Said) > 0 {
		opening.Carry = CarryTranscript
	}
	own := u.ownBackend(d, o)
	if own != nil && made.Person != "" {
		t.Route = routeName(d.Route)
		bind(&t, own, normalize.Remote{UserID: made.Person}, "adopted", t.CreatedAt)
		opening.Thread = t
		opening.Claims = append(opening.Claims, store.Claim{Vendor: own.Vendor(), Bot: own.Bot(), Kind: store.ClaimUser, ID: made.Person})
	}
	chosen := ""
	if own != nil && made.Name != "" && own.Name() == d.Backends[0] && own.NamesThreads() {
		chosen = made.Name
		opening.Claims = append(opening.Claims, store.Claim{Vendor: own.Vendor(), Bot: own.Bot(), Kind: store.ClaimThread, ID: chosen})
	}
	stored, fresh, err := e.store.OpenThread(ctx, opening)
	if errors.Is(err, store.ErrTaken) && chosen != "" {
		opening.Claims, chosen = nil, "" // the vendor's is another tenant's, so this one gets an id of ours there
		stored, fresh, err = e.store.OpenThread(ctx, opening)
	}
	switch {
	case errors.Is(err, store.ErrTaken):
		return normalize.Thread{}, &normalize.Error{Kind: normalize.KindNotFound}
	case err != nil:
		return normalize.Thread{}, e.storeError(err)
	case !fresh || chosen == "" && made.Backend == "" && made.Route == "" && t.Mode != normalize.ModeHuman:
		return stored.Thread, nil
	}
	return e.createOpened(ctx, u, stored.Thread, d, made.Backend != "", chosen)
}

// createOpened makes the vendor's conversation of a thread that is stored already. A
// thread for which there can be none is gone again.
func (e *Engine) createOpened(
	ctx context.Context, u *setup, t normalize.Thread, d routing.Decision, named bool, chosen string,
) (normalize.Thread, error) {
	t.Route = routeName(d.Route)
	failure := createAt(ctx, &t, u.backendsOf(d.Backends), named, chosen, u.Timeout)
	if failure != nil && chosen != "" && failure.Kind == normalize.KindRejected {
		// It may be there from before. Then it is this tenant's: nobody else has claimed it.
		if read, _, there := e.readConversation(ctx, u.byName[d.Backends[0]], chosen); there == nil {
			read.Update.Apply(&t)
			bind(&t, u.byName[d.Backends[0]], read.Remote, "adopted", t.CreatedAt)
			failure = nil
		}
	}
	if failure != nil {
		if _, err := e.store.EraseThread(context.WithoutCancel(ctx), t.Tenant, t.ID, now(), now()); err != nil {
			return normalize.Thread{}, e.storeError(err)
		}
		return normalize.Thread{}, failure
	}
	return e.keepCreated(ctx, u, t)
}

// keepCreated stores that a vendor has made the conversation of a thread, unless somebody
// was quicker. It is kept, whether or not the caller waits.
func (e *Engine) keepCreated(ctx context.Context, u *setup, t normalize.Thread) (normalize.Thread, error) {
	ctx = context.WithoutCancel(ctx)
	stored, err := e.store.UpdateThread(ctx, t.Tenant, t.ID, t.UpdatedAt, func(st *store.StoredThread) error {
		if _, held := st.Binding(); !held {
			st.Thread = t
		}
		return nil
	})
	if err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	e.register(ctx, u, &stored.Thread)
	return stored.Thread, nil
}

// ownBackend is the backend of the dialect's own vendor and of the bot that was asked
// for, where the route leads there, be it with weight 0 or as a fallback; nil where it
// does not.
func (u *setup) ownBackend(d routing.Decision, o Origin) *backend.Backend {
	names := slices.Clone(d.Backends)
	if d.Route != nil {
		for _, to := range d.Route.To {
			names = append(names, to.Backend)
		}
		names = append(names, d.Route.Fallback...)
	}
	for _, b := range u.backendsOf(names) {
		if b.Vendor() == o.Dialect && (o.Bot == "" || b.Bot() == o.Bot) {
			return b
		}
	}
	return nil
}

// own is ownBackend of the route that serves this bot; nil where it leads elsewhere.
func (u *setup) own(o Origin) (*backend.Backend, routing.Decision, error) {
	d, err := u.Routes.Decide(facts(o, normalize.User{}, nil, nil, ""))
	if err != nil {
		return nil, d, err
	}
	return u.ownBackend(d, o), d, nil
}

// beforehand makes messages that were said before ready to be stored with a new thread.
func beforehand(messages []normalize.Message, threadID, backendName string, at time.Time) []normalize.Message {
	list := make([]normalize.Message, 0, len(messages))
	asked := "" // the message that the next replies belong to
	for _, m := range messages {
		given := m.Status
		m = completed(m, threadID, asked, cmp.Or(m.Backend, backendName), at)
		if m.Role == normalize.RoleUser {
			m.InReplyTo, m.Status, asked = "", normalize.StatusSent, m.ID
		} else if given == normalize.StatusIncomplete {
			m.Status = given
		}
		list = append(list, m)
	}
	return list
}
