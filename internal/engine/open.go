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
	ctx = context.WithoutCancel(ctx) // the vendor may have made the conversation: it is kept, whether or not the caller waits
	if failure != nil {
		if _, err := e.store.EraseThread(ctx, t.Tenant, t.ID, now(), now()); err != nil {
			return normalize.Thread{}, e.storeError(err)
		}
		return normalize.Thread{}, failure
	}
	stored, err := e.store.UpdateThread(ctx, t.Tenant, t.ID, t.UpdatedAt, func(st *store.StoredThread) error {
		if _, held := st.Binding(); !held { // nobody was quicker
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

// Span asks for a part of a list by its place.
type Span struct {
	Offset    int
	Limit     int // 1 to 200
	Ascending bool
}

// AskedThreads lists the threads of a dialect and bot: those that its clients made, and
// those that a conversation of the vendor of that name with that bot holds or held. An
// origin without a bot means all bots. Total is how many there are in all.
func (e *Engine) AskedThreads(ctx context.Context, o Origin, f ThreadFilter, span Span) (list []normalize.Thread, total int, err error) {
	filter := store.ThreadFilter{
		Tenant: o.Caller.Tenant, Backend: f.Backend, Route: f.Route, User: f.User, Status: f.Status, Mode: f.Mode, Tag: f.Tag,
		UpdatedAfter: f.UpdatedAfter, Query: f.Query, Dialect: o.Dialect, Bot: o.Bot,
	}
	found, more, err := e.store.Threads(ctx, filter, store.Range{Offset: span.Offset, Limit: span.Limit, Ascending: span.Ascending})
	if err != nil {
		return nil, 0, e.storeError(err)
	}
	for i := range found {
		list = append(list, found[i].Thread)
	}
	if total = span.Offset + len(found); more || len(found) == 0 && span.Offset > 0 {
		if total, err = e.store.CountThreads(ctx, filter); err != nil {
			return nil, 0, e.storeError(err)
		}
	}
	return list, total, nil
}

// MessagesAt lists a part of a thread's transcript, and how long it is in all. With
// spoken, notices are left out, and not counted.
func (e *Engine) MessagesAt(
	ctx context.Context, o Origin, threadID string, spoken bool, span Span,
) (list []normalize.Message, total int, err error) {
	if _, err := normalize.ParseID(normalize.PrefixThread, threadID); err != nil {
		return nil, 0, &normalize.Error{Kind: normalize.KindNotFound}
	}
	list, total, err = e.store.MessagesAt(ctx, o.Caller.Tenant, threadID, spoken, store.Range{Offset: span.Offset, Limit: span.Limit, Ascending: span.Ascending})
	if err != nil {
		return nil, 0, e.storeError(err)
	}
	return list, total, nil
}

// Record keeps a small object of a dialect's own, by tenant and name; with a thread it
// is erased with that. With fresh, one that exists stays. It returns what is kept now.
func (e *Engine) Record(ctx context.Context, o Origin, name, threadID string, value []byte, fresh bool) ([]byte, error) {
	stored, err := e.store.SaveRecord(ctx, store.Record{
		Tenant: o.Caller.Tenant, Dialect: o.Dialect, Name: recordName(name), ThreadID: threadID, Value: value,
	}, fresh)
	if err != nil {
		return nil, e.storeError(err)
	}
	return stored.Value, nil
}

// Recall gives an object back that Record keeps; nil where there is none.
func (e *Engine) Recall(ctx context.Context, o Origin, name string) ([]byte, error) {
	if len(name) > 2*maxForeignID {
		return nil, nil
	}
	stored, err := e.store.ReadRecord(ctx, o.Caller.Tenant, o.Dialect, recordName(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, e.storeError(err)
	}
	return stored.Value, nil
}

// recordName keeps a dialect's own names apart from those of threads.
func recordName(name string) string { return "record:" + name }

// Choices lists what a caller may name: routes, and backends that these lead to, in
// the order of the config.
func (e *Engine) Choices(o Origin) (routes, backends []string) {
	u := e.current.Load()
	reached := make(map[string]bool)
	for _, r := range u.Routes.All() {
		if o.Caller.Routes != nil && !slices.Contains(o.Caller.Routes, r.Name) {
			continue
		}
		routes = append(routes, r.Name)
		for _, to := range r.To {
			reached[to.Backend] = true
		}
		for _, name := range r.Fallback {
			reached[name] = true
		}
	}
	for _, b := range u.Backends {
		if o.Caller.Routes == nil || reached[b.Name()] {
			backends = append(backends, b.Name())
		}
	}
	return routes, backends
}

// Escalate asks the vendor's side of a thread to look at it. Where nobody can be asked,
// that is KindUnsupported and nothing changes.
func (e *Engine) Escalate(ctx context.Context, o Origin, id, note string) (normalize.Thread, error) {
	t, err := e.readThread(ctx, o, id, false)
	if err != nil {
		return normalize.Thread{}, err
	}
	u := e.use()
	defer u.release()
	b, remote, failure := u.holder(&t.Thread, (*backend.Backend).Escalates, "the backend cannot escalate")
	if failure == nil {
		failure = b.Escalate(ctx, remote, note)
	}
	if failure != nil {
		return normalize.Thread{}, failure
	}
	escalated := true
	t, err = e.changeThread(ctx, o, id, func(t *store.StoredThread) error {
		t.Escalated = &escalated
		return nil
	})
	if err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	return t.Thread, nil
}
