package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// choreBatch is how many threads or chores one round of book-keeping takes.
const choreBatch = 50

// coarseClock is by how much two times of a vendor's may be off: it may tell one of
// them in whole seconds.
const coarseClock = time.Second

// What became of a request of a vendor to our webhook, and of an answer that comes
// later, as the metrics name it.
const (
	newsStored        = "stored"
	newsKept          = "kept"
	newsKnown         = "known"
	newsUnknownThread = "unknown_thread"
	newsUnknownKind   = "unknown_kind"
	newsRefused       = "refused"
	newsFailed        = "failed"

	answerByWebhook = "webhook"
	answerByList    = "list"
	answerAfter     = "later"
	outcomeGivenUp  = "given_up"
)

// await waits for the answer of a backend that has taken the message and answers later:
// for its webhook, here or at another process that shares the store, and for its list
// of messages. It waits as long as the send may last, and gives the reply with what
// came. That the vendor has the message is durable before, and so is that its answer
// is waited for: that goes on when the send has ended without it.
//
// The place at the backend is given back before: waiting costs the vendor nothing, and
// the looks into its list have a breaker of their own.
func (s *sending) await(b *backend.Backend, reply adapters.Reply) adapters.Reply {
	patience, later := b.AnswersLater()
	if !later || s.message.Role != normalize.RoleUser || len(reply.Messages) > 0 {
		return reply
	}
	began := time.Now()
	defer func() { s.upstream += time.Since(began) }()
	if s.takeNews(b, &reply) { // its webhook came before its own answer
		return reply
	}
	chore := store.Chore{
		Tenant: s.thread.Tenant, ThreadID: s.thread.ID, Kind: store.ChoreAnswer, MessageID: s.message.ID, Backend: b.Name(),
		Due: now(), CreatedAt: now(),
	}
	m := s.sent(b, reply)
	err := s.engine.store.Await(context.WithoutCancel(s.ctx), s.epoch, m, *s.open, chore)
	if errors.Is(err, store.ErrLost) {
		return reply // this run's outcome does not count any more
	}
	if err != nil {
		s.engine.log.Error("that an answer is waited for could not be stored", zap.String("thread", s.thread.ID), zap.Error(err))
		s.chores = append(s.chores, chore) // then the end of the send says it
	}
	if cmp.Or(reply.Thread.Mode, s.told.Mode, s.thread.Mode) == normalize.ModeHuman {
		return reply // nobody knows when a human answers
	}
	woken, leave := s.engine.hub.watch(s.thread.ID)
	defer leave()
	others := time.NewTicker(s.engine.poll)
	defer others.Stop()
	pause := s.engine.settling.Look
	list := time.NewTimer(patience + pause)
	defer list.Stop()
	for {
		if s.takeNews(b, &reply) {
			return reply
		}
		select {
		case <-s.ctx.Done():
			return reply
		case <-woken:
		case <-others.C:
		case <-list.C:
			found, wait := s.engine.look(s.ctx, b, s.remoteOf(b, reply), m.RemoteID)
			if len(found) > 0 {
				s.engine.metrics.LaterAnswer(b.Name(), answerByList)
				reply.Messages, s.answered = found, true
				return reply
			}
			pause = min(pause*3/2, 5*s.engine.settling.Look)
			list.Reset(max(pause, wait))
		}
	}
}

// sent is the message as the vendor has taken it.
func (s *sending) sent(b *backend.Backend, reply adapters.Reply) normalize.Message {
	m := s.message
	m.Status, m.Backend = normalize.StatusSent, b.Name()
	m.RemoteID, m.Read, m.Raw = reply.Sent.RemoteID, reply.Sent.Read, reply.Sent.Raw
	return m
}

// remoteOf is the conversation as the vendor's answer names it.
func (s *sending) remoteOf(b *backend.Backend, reply adapters.Reply) normalize.Remote {
	known := s.remoteAt(b)
	return normalize.Remote{ThreadID: cmp.Or(reply.Remote.ThreadID, known.ThreadID), UserID: cmp.Or(reply.Remote.UserID, known.UserID)}
}

// takeNews makes replies of what the vendor has told by itself since the message was
// sent. What it had said before, by its own clock, is no answer to this message.
func (s *sending) takeNews(b *backend.Backend, reply *adapters.Reply) bool {
	kept, err := s.engine.store.KeptNews(context.WithoutCancel(s.ctx), s.thread.Tenant, s.thread.ID)
	if err != nil {
		s.engine.log.Warn("what a vendor told could not be read", zap.String("thread", s.thread.ID), zap.Error(err))
		return false
	}
	for _, news := range kept {
		earlier := func(m normalize.Message) bool {
			return m.Role == normalize.RoleSystem || m.Backend != b.Name() ||
				!m.CreatedAt.IsZero() && m.CreatedAt.Add(coarseClock).Before(reply.Sent.CreatedAt)
		}
		if len(news.Messages) == 0 || slices.ContainsFunc(news.Messages, earlier) {
			continue
		}
		reply.Messages = append(reply.Messages, news.Messages...)
		s.taken = append(s.taken, news.Position)
	}
	if s.answered = len(s.taken) > 0; s.answered {
		s.engine.metrics.LaterAnswer(b.Name(), answerByWebhook)
	}
	return s.answered
}

// look looks into a vendor's list for what was said to a message: up to the person's
// next one. It also gives how long the vendor wants to be left alone.
func (e *Engine) look(ctx context.Context, b *backend.Backend, remote normalize.Remote, messageID string) (found []normalize.Message, wait time.Duration) {
	listed, _, failure := b.ListMessages(ctx, remote)
	if failure != nil {
		return nil, failure.RetryAfter
	}
	at := slices.IndexFunc(listed, func(m normalize.Message) bool { return m.RemoteID != "" && m.RemoteID == messageID })
	if at < 0 {
		return nil, 0
	}
	for _, m := range listed[at+1:] {
		if m.Role == normalize.RoleUser {
			break
		}
		if m.Text != "" || len(m.Attachments) > 0 {
			found = append(found, m)
		}
	}
	return found, 0
}

// choresLeft is what is to be done at the vendor after this send. A conversation that
// began with it is to be told where its vendor reaches us.
func (s *sending) choresLeft(b *backend.Backend, t *normalize.Thread) []store.Chore {
	if s.engine.public == "" || b == nil || !b.Registers() {
		return s.chores
	}
	binding, held := t.Binding()
	if !held || !isOf(binding, b) || binding.Remote.ThreadID == "" || slices.ContainsFunc(s.before, func(known normalize.Binding) bool {
		return isOf(known, b) && known.Remote.ThreadID == binding.Remote.ThreadID
	}) {
		return s.chores
	}
	return append(s.chores[:len(s.chores):len(s.chores)], webhookChore(t, b))
}

func webhookChore(t *normalize.Thread, b *backend.Backend) store.Chore {
	return store.Chore{Tenant: t.Tenant, ThreadID: t.ID, Kind: store.ChoreWebhook, Backend: b.Name(), Due: now(), CreatedAt: now()}
}

// register sees to it that the vendor of a thread that was just made is told where it
// reaches us.
func (e *Engine) register(ctx context.Context, u *setup, t *normalize.Thread) {
	binding, held := t.Binding()
	b := u.byName[binding.Backend]
	if e.public == "" || !held || b == nil || !b.Registers() || binding.Remote.ThreadID == "" {
		return
	}
	if err := e.store.AddChore(ctx, webhookChore(t, b)); err != nil {
		e.log.Warn("the webhook of a thread will not be registered", zap.String("thread", t.ID), zap.Error(err))
	}
}

// nobody opens to no secret, in the time in which the others do.
var nobody = new(backend.Backend)

// OpensHook reports whether a vendor may call us for a backend with this secret. An
// unknown backend, one without a secret and a wrong secret are told in the same time.
func (e *Engine) OpensHook(backendName, secret string) bool {
	b := e.current.Load().byName[backendName]
	if b == nil {
		b = nobody
	}
	if b.OpensTo(secret) {
		return true
	}
	e.metrics.VendorWebhook("", newsRefused)
	return false
}

// Receive takes what a vendor tells by itself; OpensHook has let it in. It returns once
// that is durable: in its thread, as a reply that the thread's watchers are told of, or
// kept for the send that holds the thread. What is known already, and what is about
// nothing that we know, is no error. KindNotFound: it is not the vendor who tells.
// KindInvalidJSON.
func (e *Engine) Receive(ctx context.Context, backendName string, header http.Header, body []byte) error {
	u := e.use()
	defer u.release()
	b := u.byName[backendName]
	if b == nil {
		return &normalize.Error{Kind: normalize.KindNotFound}
	}
	outcome, err := e.receive(context.WithoutCancel(ctx), b, header, body)
	e.metrics.VendorWebhook(b.Name(), outcome)
	e.log.Debug("a vendor called", zap.String("backend", b.Name()), zap.String("outcome", outcome))
	return err
}

func (e *Engine) receive(ctx context.Context, b *backend.Backend, header http.Header, body []byte) (outcome string, err error) {
	news, failure := b.Receive(ctx, header, body)
	if failure != nil {
		if failure.Kind == normalize.KindUnauthenticated { // a secret is wrong: like one in the path
			return newsRefused, &normalize.Error{Kind: normalize.KindNotFound}
		}
		return newsFailed, failure
	}
	if news.Record != nil {
		return e.keepRecord(ctx, b, news)
	}
	update := store.NewsUpdate{Mode: news.Update.Mode, Escalated: news.Update.Escalated}
	if len(news.Messages) == 0 && update == (store.NewsUpdate{}) {
		return newsUnknownKind, nil
	}
	tenant, threadID, found, err := e.store.Conversation(ctx, b.Vendor(), b.Bot(), news.Remote.ThreadID)
	switch {
	case err != nil:
		return newsFailed, e.storeError(err)
	case !found:
		return newsUnknownThread, nil
	}
	sum := sha256.Sum256(body)
	return e.hear(ctx, b, store.ThreadRef{Tenant: tenant, ThreadID: threadID}, hex.EncodeToString(sum[:]), news.Messages, update)
}

// hear stores news of a thread.
func (e *Engine) hear(
	ctx context.Context, b *backend.Backend, ref store.ThreadRef, digest string, messages []normalize.Message, update store.NewsUpdate,
) (outcome string, err error) {
	n := store.News{Tenant: ref.Tenant, ThreadID: ref.ThreadID, Backend: b.Name(), Digest: digest, Update: update, Now: now()}
	for _, m := range messages {
		if m.Role != normalize.RoleUser { // what the person said came by us, or is not our business
			n.Messages = append(n.Messages, completed(m, ref.ThreadID, "", b.Name(), n.Now))
		}
	}
	heard, err := e.store.Hear(ctx, n)
	switch {
	case errors.Is(err, store.ErrNotFound): // erased meanwhile
		return newsUnknownThread, nil
	case err != nil:
		return newsFailed, e.storeError(err)
	case heard.Known:
		return newsKnown, nil
	}
	e.hub.wake(ref.ThreadID)
	if heard.Answered {
		e.metrics.LaterAnswer(b.Name(), answerAfter)
	}
	if heard.Kept {
		return newsKept, nil
	}
	return newsStored, nil
}

// keepRecord stores what is no part of a conversation, with the thread of its person if
// there is one.
func (e *Engine) keepRecord(ctx context.Context, b *backend.Backend, news adapters.News) (outcome string, err error) {
	ref, err := e.store.PersonThread(ctx, b.Vendor(), b.Bot(), news.Remote.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return newsFailed, e.storeError(err)
	}
	added, err := e.store.KeepRecord(ctx, store.VendorRecord{
		Vendor: b.Vendor(), Bot: b.Bot(), Kind: news.Record.Kind, ID: news.Record.ID, ThreadID: ref.ThreadID, Raw: news.Record.Raw, ReceivedAt: now(),
	})
	switch {
	case err != nil:
		return newsFailed, e.storeError(err)
	case !added:
		return newsKnown, nil
	}
	return newsStored, nil
}

// absorbNews stores what vendors have told of threads while sends held them.
func (e *Engine) absorbNews(ctx context.Context) {
	refs, err := e.store.TalkedOf(ctx, choreBatch)
	if err != nil {
		e.log.Error("what vendors have told could not be listed", zap.Error(err))
		return
	}
	for _, ref := range refs {
		_, err := e.store.Absorb(ctx, ref, now())
		switch {
		case err == nil:
			e.hub.wake(ref.ThreadID)
		case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrNotFound), ctx.Err() != nil:
		default:
			e.log.Error("what a vendor has told could not be stored in its thread", zap.String("thread", ref.ThreadID), zap.Error(err))
		}
	}
}

// doChores does what is due at the vendors, for each backend by itself: one that is
// slow holds up no other.
func (e *Engine) doChores(ctx context.Context) {
	due, err := e.store.DueChores(ctx, now(), choreBatch)
	if err != nil {
		e.log.Error("what is due at vendors could not be listed", zap.Error(err))
		return
	}
	of := make(map[string][]store.Chore)
	for _, c := range due {
		of[c.Backend] = append(of[c.Backend], c)
	}
	var all sync.WaitGroup
	for _, list := range of {
		all.Go(func() {
			for _, c := range list {
				e.guarded(func() {
					if err := e.do(ctx, c); err != nil && ctx.Err() == nil {
						e.log.Warn("what is due at a vendor could not be done", zap.String("thread", c.ThreadID), zap.String("chore", c.Kind), zap.Error(err))
					}
				})
			}
		})
	}
	all.Wait()
}

// do tries a chore once, unless another process does.
func (e *Engine) do(ctx context.Context, c store.Chore) error {
	at := now()
	age := at.Sub(c.CreatedAt)
	err := e.store.ClaimChore(ctx, c, at.Add(e.pauseOf(c.Tries, age)))
	if errors.Is(err, store.ErrChanged) {
		return nil
	}
	if err != nil {
		return err
	}
	u := e.use()
	defer u.release()
	b := u.byName[c.Backend]
	if age > e.settling.AwaitFor {
		return e.giveUp(ctx, c)
	}
	if b == nil { // a reload may bring it back
		return nil
	}
	t, err := e.store.Thread(ctx, c.Tenant, c.ThreadID, false)
	if err != nil {
		return err
	}
	remote := lastRemote(&t.Thread, b)
	if remote.ThreadID == "" {
		return e.store.EndChore(ctx, c)
	}
	if c.Kind == store.ChoreAnswer {
		return e.lookLater(ctx, b, c, remote)
	}
	if e.public == "" || !b.Registers() { // not any more
		return e.store.EndChore(ctx, c)
	}
	if failure := b.Register(ctx, remote, e.public); failure != nil {
		e.metrics.Registration(c.Backend, newsFailed)
		return nil // the backend has logged why
	}
	e.metrics.Registration(c.Backend, "ok")
	return e.store.EndChore(ctx, c)
}

// pauseOf is the pause after a try: it grows to a sixtieth of the whole time, and after
// a sixth of it to a twelfth.
func (e *Engine) pauseOf(tries int, age time.Duration) time.Duration {
	longest := e.settling.AwaitFor / 60
	if age > e.settling.AwaitFor/6 {
		longest = e.settling.AwaitFor / 12
	}
	pause := 5 * e.settling.Look
	for range min(tries, 20) {
		pause = min(pause*3/2, longest)
	}
	return min(pause, longest)
}

func (e *Engine) giveUp(ctx context.Context, c store.Chore) error {
	if c.Kind == store.ChoreAnswer {
		e.metrics.LaterAnswer(c.Backend, outcomeGivenUp)
		e.log.Info("an answer is not looked for any more", zap.String("backend", c.Backend), zap.String("thread", c.ThreadID), zap.String("message", c.MessageID))
	} else {
		e.metrics.Registration(c.Backend, outcomeGivenUp)
		e.log.Error("the webhook of a thread could not be registered at its vendor: what is said there by itself does not reach us",
			zap.String("backend", c.Backend), zap.String("thread", c.ThreadID))
	}
	return e.store.EndChore(ctx, c)
}

// lookLater looks for the answer to a message whose send has ended.
func (e *Engine) lookLater(ctx context.Context, b *backend.Backend, c store.Chore, remote normalize.Remote) error {
	m, err := e.store.Message(ctx, c.Tenant, c.ThreadID, c.MessageID, false)
	if errors.Is(err, store.ErrNotFound) {
		return e.store.EndChore(ctx, c)
	}
	if err != nil {
		return err
	}
	found, _ := e.look(ctx, b, remote, m.RemoteID)
	if len(found) == 0 {
		return nil
	}
	_, err = e.hear(ctx, b, store.ThreadRef{Tenant: c.Tenant, ThreadID: c.ThreadID}, "list:"+c.MessageID, found, store.NewsUpdate{})
	if err != nil {
		return err
	}
	return e.store.EndChore(ctx, c)
}
