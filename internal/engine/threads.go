package engine

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// maxMetadata is how many keys a thread's metadata may have.
const maxMetadata = 50

// Threads lists the tenant's threads, last updated first, and the cursor of the
// next page; empty on the last.
func (e *Engine) Threads(ctx context.Context, o Origin, f ThreadFilter, page Page) ([]normalize.Thread, string, error) {
	mark := listMark("threads", o.Caller.Tenant, f.Backend, f.Route, f.User, string(f.Status), string(f.Mode), f.Tag,
		f.UpdatedAfter.String(), f.Query, strconv.FormatBool(page.Ascending))
	after, err := readCursor(mark, page.Cursor)
	if err != nil {
		return nil, "", err
	}
	found, more, err := e.store.Threads(ctx, store.ThreadFilter{
		Tenant: o.Caller.Tenant, Backend: f.Backend, Route: f.Route, User: f.User, Status: f.Status, Mode: f.Mode, Tag: f.Tag,
		UpdatedAfter: f.UpdatedAfter, Query: f.Query,
	}, store.Range{After: after, Limit: page.Limit, Ascending: page.Ascending, Raw: page.Raw})
	if err != nil {
		return nil, "", e.storeError(err)
	}
	threads := make([]normalize.Thread, len(found))
	for i := range found {
		threads[i] = found[i].Thread
	}
	next := ""
	if more {
		last := &threads[len(threads)-1]
		next = writeCursor(mark, store.Position{Time: last.UpdatedAt, ID: last.ID})
	}
	return threads, next, nil
}

// Tenants lists whose threads there are: the tenants of all callers that ever made
// one. The empty tenant, of a server without callers, comes first and always.
func (e *Engine) Tenants(ctx context.Context) ([]string, error) {
	list := []string{""}
	for {
		next, found, err := e.store.NextTenant(ctx, list[len(list)-1])
		if err != nil {
			return nil, e.storeError(err)
		}
		if !found {
			return list, nil
		}
		list = append(list, next)
	}
}

// Thread reads one thread; raw asks for the vendor's own object too.
func (e *Engine) Thread(ctx context.Context, o Origin, id string, raw bool) (normalize.Thread, error) {
	t, err := e.readThread(ctx, o, id, raw)
	return t.Thread, err
}

func (e *Engine) readThread(ctx context.Context, o Origin, id string, raw bool) (store.StoredThread, error) {
	if _, err := normalize.ParseID(normalize.PrefixThread, id); err != nil {
		return store.StoredThread{}, &normalize.Error{Kind: normalize.KindNotFound}
	}
	t, err := e.store.Thread(ctx, o.Caller.Tenant, id, raw)
	if err != nil {
		return store.StoredThread{}, e.storeError(err)
	}
	return t, nil
}

// changeThread changes a thread as it is stored, and wakes who watches it.
func (e *Engine) changeThread(ctx context.Context, o Origin, id string, change func(*store.StoredThread) error) (store.StoredThread, error) {
	t, err := e.store.UpdateThread(ctx, o.Caller.Tenant, id, now(), change)
	if err == nil {
		e.hub.wake(id)
	}
	return t, err
}

// UpdateThread changes what a caller may change. The vendor is told of a changed
// mode first; where it cannot switch it, that is KindUnsupported and nothing
// changes. It is told of the person where it takes such a word.
func (e *Engine) UpdateThread(ctx context.Context, o Origin, id string, patch ThreadPatch) (normalize.Thread, error) {
	if patch.Mode != nil {
		if err := e.switchMode(ctx, o, id, *patch.Mode); err != nil {
			return normalize.Thread{}, err
		}
	}
	if patch.User != nil {
		if err := e.tellUser(ctx, o, id, *patch.User); err != nil {
			return normalize.Thread{}, err
		}
	}
	t, err := e.changeThread(ctx, o, id, func(t *store.StoredThread) error {
		if u := patch.User; u != nil {
			t.User.Name, t.User.Email = cmp.Or(u.Name, t.User.Name), cmp.Or(u.Email, t.User.Email)
			t.User.Phone, t.User.Info = cmp.Or(u.Phone, t.User.Phone), cmp.Or(u.Info, t.User.Info)
		}
		if patch.Title != nil {
			t.Title = *patch.Title
		}
		if patch.Mode != nil {
			t.Mode = *patch.Mode
		}
		if patch.Status != nil {
			t.Status = *patch.Status
		}
		for key, value := range patch.Metadata {
			if value == nil {
				delete(t.Metadata, key)
				continue
			}
			if t.Metadata == nil {
				t.Metadata = make(map[string]string)
			}
			t.Metadata[key] = *value
		}
		if len(t.Metadata) > maxMetadata {
			return normalize.InvalidField("metadata", "may have at most %d keys in all", maxMetadata)
		}
		return nil
	})
	if err != nil {
		return normalize.Thread{}, e.storeError(err)
	}
	return t.Thread, nil
}

func (e *Engine) tellUser(ctx context.Context, o Origin, id string, user normalize.User) error {
	t, err := e.readThread(ctx, o, id, false)
	if err != nil {
		return err
	}
	u := e.use()
	defer u.release()
	b, remote, nobody := u.holder(&t.Thread, (*backend.Backend).UpdatesUsers, "")
	if nobody != nil {
		return nil //nolint:nilerr // then only we know the person
	}
	if failure := b.UpdateUser(ctx, remote, user); failure != nil {
		return failure
	}
	return nil
}

func (e *Engine) switchMode(ctx context.Context, o Origin, id string, mode normalize.Mode) error {
	t, err := e.readThread(ctx, o, id, false)
	if err != nil {
		return err
	}
	if t.Mode == mode {
		return nil
	}
	u := e.use()
	defer u.release()
	if _, held := t.Binding(); !held && mode == normalize.ModeHuman {
		return e.beginHuman(ctx, u, o, t.Thread)
	}
	b, remote, failure := u.holder(&t.Thread, (*backend.Backend).SwitchesMode, "the backend cannot switch the mode")
	if failure == nil {
		failure = b.SwitchMode(ctx, remote, mode)
	}
	if failure != nil {
		return failure
	}
	return nil
}

// beginHuman gives a thread that no backend holds yet to a human: its conversation is made
// now, as that of a thread which is a human's from its creation.
func (e *Engine) beginHuman(ctx context.Context, u *setup, o Origin, t normalize.Thread) error {
	if bot, ours := strings.CutPrefix(t.Asked, o.Dialect+"/"); ours { // a change names none
		o.Bot = bot
	}
	f := facts(o, t.User, nil, t.Metadata, t.ID)
	f.Backend = t.Backend
	if u.Routes.Route(t.Route) != nil {
		f.Route = t.Route
	}
	d, err := u.Routes.Decide(f)
	if err != nil {
		return err
	}
	named := t.Backend != ""
	t.Mode, t.Route = normalize.ModeHuman, routeName(d.Route)
	if failure := createAt(ctx, &t, u.backendsOf(d.Backends), named, "", u.Timeout); failure != nil {
		return failure
	}
	_, err = e.keepCreated(ctx, u, t)
	return err
}

// holder gives the backend that has a thread's conversation, and its ids there, if it
// can do what is to be done; cannot says so where it cannot.
func (u *setup) holder(t *normalize.Thread, can func(*backend.Backend) bool, cannot string) (*backend.Backend, normalize.Remote, *normalize.Error) {
	b := u.byName[t.Backend]
	switch {
	case b == nil:
		return nil, normalize.Remote{}, normalize.Errorf(normalize.KindUnsupported, "no backend serves this thread yet, so there is nobody to tell")
	case !can(b):
		return nil, normalize.Remote{}, &normalize.Error{Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: cannot}
	}
	remote := lastRemote(t, b)
	if remote.ThreadID == "" {
		return nil, remote, &normalize.Error{
			Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: "the backend has no conversation for this thread yet",
		}
	}
	return b, remote, nil
}

// Messages lists a thread's transcript and the cursor of the next page; empty on
// the last.
func (e *Engine) Messages(ctx context.Context, o Origin, threadID string, page Page) ([]normalize.Message, string, error) {
	if _, err := normalize.ParseID(normalize.PrefixThread, threadID); err != nil {
		return nil, "", &normalize.Error{Kind: normalize.KindNotFound}
	}
	mark := listMark("messages", o.Caller.Tenant, threadID, strconv.FormatBool(page.Ascending))
	after, err := readCursor(mark, page.Cursor)
	if err != nil {
		return nil, "", err
	}
	found, more, err := e.store.Messages(ctx, o.Caller.Tenant, threadID, store.Range{After: after, Limit: page.Limit, Ascending: page.Ascending, Raw: page.Raw})
	if err != nil {
		return nil, "", e.storeError(err)
	}
	messages := make([]normalize.Message, len(found))
	for i := range found {
		messages[i] = found[i].Message
	}
	next := ""
	if more {
		next = writeCursor(mark, store.Position{Seq: found[len(found)-1].Seq})
	}
	return messages, next, nil
}

// Message reads one message; raw asks for the vendor's own object too.
func (e *Engine) Message(ctx context.Context, o Origin, threadID, messageID string, raw bool) (normalize.Message, error) {
	m, err := e.store.Message(ctx, o.Caller.Tenant, threadID, messageID, raw)
	if err != nil {
		return normalize.Message{}, e.storeError(err)
	}
	return m, nil
}

// SetFeedback stores a person's verdict on a reply.
func (e *Engine) SetFeedback(ctx context.Context, o Origin, threadID, messageID string, feedback normalize.Feedback) (normalize.Message, error) {
	m, err := e.store.UpdateMessage(ctx, o.Caller.Tenant, threadID, messageID, func(m *normalize.Message) error {
		if m.Role != normalize.RoleAssistant && m.Role != normalize.RoleOperator {
			return normalize.Errorf(normalize.KindInvalidRequest, "feedback is for replies; this message has the role %s", m.Role)
		}
		m.Feedback = feedback
		return nil
	})
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
