package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// FindThread finds a thread by what a dialect's client calls it: our id, in its UUID
// form or as it is; a name that a client chose; or the id of the dialect's own vendor.
// A conversation that the vendor has from before is adopted where the route of the
// bot leads there: a thread is made, bound to it, with what was said in it. Of many
// calls at once one does so, and a conversation of another tenant's is like none.
//
// OnePerPerson says that a person has only one conversation with a bot there.
func (e *Engine) FindThread(ctx context.Context, o Origin, id string, onePerPerson bool) (normalize.Thread, error) {
	none := &normalize.Error{Kind: normalize.KindNotFound}
	if id == "" || len(id) > maxForeignID || len(o.Bot) > maxForeignID {
		return normalize.Thread{}, none
	}
	if u, err := normalize.ParseUUID(id); err == nil {
		t, err := e.Thread(ctx, o, normalize.FormatID(normalize.PrefixThread, u), false)
		if err == nil || normalize.AsError(err).Kind != normalize.KindNotFound {
			return t, err
		}
	} else if _, err := normalize.ParseID(normalize.PrefixThread, id); err == nil {
		return e.Thread(ctx, o, id, false)
	}
	u := e.use()
	defer u.release()
	threadID, err := e.knownBy(ctx, u, o, id)
	switch {
	case err == nil:
		return e.Thread(ctx, o, threadID, false)
	case !errors.Is(err, store.ErrNotFound):
		return normalize.Thread{}, e.storeError(err)
	}
	return e.adopt(ctx, u, o, id, onePerPerson)
}

// knownBy finds the thread of a chosen name or of a vendor's id.
func (e *Engine) knownBy(ctx context.Context, u *setup, o Origin, id string) (threadID string, err error) {
	threadID, err = e.store.NamedThread(ctx, o.Caller.Tenant, store.FoundBy{Dialect: o.Dialect, Bot: o.Bot, Called: id})
	if !errors.Is(err, store.ErrNotFound) {
		return threadID, err
	}
	bots := []string{o.Bot}
	if o.Bot == "" {
		bots = u.botsOf(o.Dialect)
	}
	for _, bot := range bots {
		threadID, err := e.store.RemoteThread(ctx, o.Caller.Tenant, o.Dialect, bot, id)
		if !errors.Is(err, store.ErrNotFound) {
			return threadID, err
		}
	}
	return "", store.ErrNotFound
}

// botsOf lists the bots of a vendor that backends are configured for.
func (u *setup) botsOf(vendor string) (bots []string) {
	for _, b := range u.Backends {
		if b.Vendor() == vendor && !slices.Contains(bots, b.Bot()) {
			bots = append(bots, b.Bot())
		}
	}
	return bots
}

// adopt adopts a conversation that is with the bot that was asked for. A call that names
// none may mean any bot of the vendor's: the first that knows the conversation has it.
func (e *Engine) adopt(ctx context.Context, u *setup, o Origin, id string, onePerPerson bool) (normalize.Thread, error) {
	t, err := e.adoptFrom(ctx, u, o, id, onePerPerson)
	if o.Bot != "" {
		return t, err
	}
	for _, bot := range u.botsOf(o.Dialect) {
		if err == nil || normalize.AsError(err).Kind != normalize.KindNotFound {
			break
		}
		o.Bot = bot
		t, err = e.adoptFrom(ctx, u, o, id, onePerPerson)
	}
	return t, err
}

func (e *Engine) adoptFrom(ctx context.Context, u *setup, o Origin, id string, onePerPerson bool) (normalize.Thread, error) {
	none := &normalize.Error{Kind: normalize.KindNotFound}
	b, d, err := u.own(o)
	switch {
	case err != nil:
		return normalize.Thread{}, err
	case b == nil:
		return normalize.Thread{}, none
	}
	claims := []store.Claim{{Vendor: b.Vendor(), Bot: b.Bot(), Kind: store.ClaimThread, ID: id}}
	if _, err := e.store.Claimed(ctx, o.Caller.Tenant, claims[0]); errors.Is(err, store.ErrTaken) { // before the vendor is asked
		return normalize.Thread{}, none
	}
	read, messages, failure := e.readConversation(ctx, b, id)
	if failure != nil {
		return normalize.Thread{}, failure
	}
	if person := read.Remote.UserID; onePerPerson && person != "" {
		claims = append(claims, store.Claim{Vendor: b.Vendor(), Bot: b.Bot(), Kind: store.ClaimUser, ID: person})
	}
	at := now()
	t := newThread(o, NewThread{Route: routeName(d.Route)}, at)
	t.Called = id
	read.Update.Apply(&t)
	bind(&t, b, read.Remote, "adopted", at)
	for to, told := range map[*time.Time]time.Time{&t.CreatedAt: read.CreatedAt, &t.UpdatedAt: read.UpdatedAt} {
		if !told.IsZero() {
			*to = told.UTC().Truncate(time.Millisecond)
		}
	}
	stored, _, err := e.store.OpenThread(context.WithoutCancel(ctx), store.Opening{
		Thread: t, Claims: claims, Said: beforehand(messages, t.ID, b.Name(), t.CreatedAt),
	})
	switch {
	case errors.Is(err, store.ErrTaken):
		return normalize.Thread{}, none
	case err != nil:
		return normalize.Thread{}, e.storeError(err)
	}
	return stored.Thread, nil
}

// readConversation reads a vendor's conversation with what was said in it, as far as
// the vendor tells. One that it refuses to know is KindNotFound.
func (e *Engine) readConversation(
	ctx context.Context, b *backend.Backend, id string,
) (conversation, []normalize.Message, *normalize.Error) {
	c := conversation{Remote: normalize.Remote{ThreadID: id}}
	read, able, failure := b.ReadThread(ctx, c.Remote)
	if failure != nil {
		return c, nil, unknownThere(failure)
	}
	if able {
		c = conversation{mergeRemote(c.Remote, read.Remote), read.Update, read.CreatedAt, read.UpdatedAt}
	}
	if len(read.Messages) > 0 {
		return c, read.Messages, nil
	}
	list, _, failure := b.ListMessages(ctx, c.Remote)
	switch {
	case failure == nil || failure.Kind == normalize.KindTooLarge: // a longer past than can be read stays where it is
		return c, list, nil
	default:
		return c, nil, unknownThere(failure)
	}
}

// conversation is what a vendor tells of one of its own.
type conversation struct {
	Remote               normalize.Remote
	Update               normalize.ThreadUpdate
	CreatedAt, UpdatedAt time.Time
}

func mergeRemote(asked, told normalize.Remote) normalize.Remote {
	return normalize.Remote{ThreadID: asked.ThreadID, UserID: cmp.Or(told.UserID, asked.UserID)}
}

// unknownThere makes KindNotFound of a vendor's refusal.
func unknownThere(failure *normalize.Error) *normalize.Error {
	if failure.Kind == normalize.KindRejected {
		return &normalize.Error{Kind: normalize.KindNotFound, Cause: failure}
	}
	return failure
}

// FindPerson reads a person that the dialect's own vendor knows from before by its id,
// where the route of the bot leads there. Another tenant's is like none.
func (e *Engine) FindPerson(ctx context.Context, o Origin, id string) (normalize.User, error) {
	none := &normalize.Error{Kind: normalize.KindNotFound}
	if id == "" || len(id) > maxForeignID {
		return normalize.User{}, none
	}
	u := e.use()
	defer u.release()
	b, _, err := u.own(o)
	switch {
	case err != nil:
		return normalize.User{}, err
	case b == nil:
		return normalize.User{}, none
	}
	_, err = e.store.Claimed(ctx, o.Caller.Tenant, store.Claim{Vendor: b.Vendor(), Bot: b.Bot(), Kind: store.ClaimUser, ID: id})
	switch {
	case errors.Is(err, store.ErrTaken):
		return normalize.User{}, none
	case err != nil:
		return normalize.User{}, e.storeError(err)
	}
	user, able, failure := b.ReadUser(ctx, normalize.Remote{UserID: id})
	switch {
	case failure != nil:
		return normalize.User{}, unknownThere(failure)
	case !able:
		return normalize.User{}, none
	}
	return user, nil
}

// FindMessage finds a message of the tenant's by our id, in its UUID form or as it is,
// or by the vendor's id.
func (e *Engine) FindMessage(ctx context.Context, o Origin, id string) (normalize.Message, error) {
	if id == "" || len(id) > maxForeignID {
		return normalize.Message{}, &normalize.Error{Kind: normalize.KindNotFound}
	}
	ours := ""
	if u, err := normalize.ParseUUID(id); err == nil {
		ours = normalize.FormatID(normalize.PrefixMessage, u)
	} else if _, err := normalize.ParseID(normalize.PrefixMessage, id); err == nil {
		ours = id
	}
	m, err := e.store.FindMessage(ctx, o.Caller.Tenant, ours, id)
	if err != nil {
		return normalize.Message{}, e.storeError(err)
	}
	return m, nil
}
