package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/routing"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// maxReplans bounds how often a send begins anew because the thread changed between
// reading and accepting.
const maxReplans = 8

// sending is one send from its plan to its last commit.
type sending struct {
	engine  *Engine
	setup   *setup
	ctx     context.Context // ends with the budget, with the server, and where the route says so with the caller
	origin  Origin
	key     *Key
	timeout time.Duration
	observe Observer

	thread  store.StoredThread
	fresh   bool // the thread is made by this send
	message normalize.Message
	again   bool // the message is stored already: a resend

	route *routing.Route     // nil where no route leads to the backend that was asked for
	chain []*backend.Backend // who comes into question, in order

	epoch    string // names this run in the store
	accepted bool
	open     *store.AttemptEnd // the attempt that runs, as it will be written
	unsent   bool              // the attempt that runs has not come to the message itself
	attempts int
	upstream time.Duration
	status   normalize.MessageStatus // the gravest that any attempt left: failed, unknown, sent
	failures []*normalize.Error

	named   string                      // the backend that the caller asked for by name, as long as nobody holds the thread
	unheld  bool                        // nobody held the thread when this send began
	remotes map[string]normalize.Remote // what was made at vendors for this send, by backend
	told    normalize.ThreadUpdate      // what the vendor said of the conversation that it made for this send
	carried string                      // what of the past went along: history, primer, none
	files   []adapters.File             // the attachments that were fetched; nil as long as none were

	uploaded map[string][]normalize.Attachment // what the vendors made of them, by backend

	taken    []int64             // positions of the news that the replies are made of
	answered bool                // the backend answers later, and has answered
	chores   []store.Chore       // what is left to be done at the vendor
	before   []normalize.Binding // of the thread as this send met it; only where webhooks are registered

	event   int64    // position of the event that tells of the message
	telling *telling // the answer that is being told; nil where the backend shows nothing before its end
	left    bool     // the caller went away, and the route says that this ends the send
}

// errReplan says that the plan does not fit the thread any more.
var errReplan = errors.New("engine: plan again")

// Send takes one message from accepted to answered. Every error is a
// *normalize.Error; its Outcome and MessageID say what became of the message. The
// Turn is filled as far as things came also beside an error.
//
// Once accepted, a message is seen through although the caller leaves, unless its
// route says on_disconnect: cancel.
func (e *Engine) Send(ctx context.Context, o Origin, req SendRequest) (Turn, error) {
	end, err := e.begin()
	if err != nil {
		return Turn{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	for range maxReplans {
		s := &sending{engine: e, setup: u, origin: o, key: req.Key, epoch: newID("run"), timeout: req.Timeout, observe: req.Observe}
		threadID, messageID, err := e.found(ctx, o, req.Key)
		switch {
		case err != nil:
			return answerOf(err)
		case messageID != "":
			if err = s.takeUp(ctx, threadID, messageID); errors.Is(err, errTaken) {
				continue // another repeat of the key was faster: ask for the key again
			}
		default:
			err = s.draft(ctx, req)
		}
		if err != nil {
			return Turn{}, err
		}
		turn, err := s.run(ctx)
		if !errors.Is(err, errReplan) {
			return turn, err
		}
	}
	return Turn{}, busyWith(req.Key)
}

// busyWith is the answer where others were faster again and again.
func busyWith(key *Key) *normalize.Error {
	if key != nil {
		return &normalize.Error{Kind: normalize.KindIdempotencyInProgress, RetryAfter: time.Second}
	}
	return &normalize.Error{Kind: normalize.KindThreadBusy, RetryAfter: time.Second}
}

// Resend sends a failed or unknown message again, on the caller's word.
func (e *Engine) Resend(ctx context.Context, o Origin, req ResendRequest) (Turn, error) {
	end, err := e.begin()
	if err != nil {
		return Turn{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	for range maxReplans {
		if _, _, err := e.found(ctx, o, req.Key); err != nil {
			return answerOf(err)
		}
		s := &sending{engine: e, setup: u, origin: o, key: req.Key, epoch: newID("run"), timeout: req.Timeout, observe: req.Observe}
		if err := s.takeUp(ctx, req.ThreadID, req.MessageID); errors.Is(err, errTaken) {
			if s.message.Status == normalize.StatusPending {
				return Turn{}, &normalize.Error{Kind: normalize.KindThreadBusy, RetryAfter: time.Second, ThreadID: req.ThreadID, MessageID: req.MessageID}
			}
			return Turn{}, normalize.Errorf(normalize.KindInvalidRequest,
				"only a failed or unknown user message can be sent again; this one is %s", s.message.Status)
		} else if err != nil {
			return Turn{}, err
		}
		turn, err := s.run(ctx)
		if !errors.Is(err, errReplan) {
			return turn, err
		}
	}
	return Turn{}, busyWith(req.Key)
}

// errTaken says that a message is not, or not any more, one to be sent again.
var errTaken = errors.New("engine: the message is taken")

// replayed carries a stored answer through an error return.
type replayed struct{ Replay }

func (*replayed) Error() string { return "engine: the key has an answer" }

func answerOf(err error) (Turn, error) {
	var r *replayed
	if errors.As(err, &r) {
		return Turn{Replay: &r.Replay}, nil
	}
	return Turn{}, err
}

// found looks an Idempotency-Key up. A message id is one that failed and is to be
// sent again under its own id; nothing means that the key is new.
func (e *Engine) found(ctx context.Context, o Origin, key *Key) (threadID, messageID string, err error) {
	if key == nil {
		return "", "", nil
	}
	state, err := e.store.LookupKey(ctx, store.Key{Tenant: o.Caller.Tenant, Key: key.Key, Path: key.Path, BodyHash: key.BodyHash}, now())
	if err != nil {
		return "", "", e.storeError(err)
	}
	switch {
	case !state.Found:
		return "", "", nil
	case !state.Matches:
		return "", "", &normalize.Error{Kind: normalize.KindIdempotencyKeyReused}
	case state.Running:
		wait := min(max(time.Until(state.LeaseEnds), time.Second), 5*time.Second)
		return "", "", &normalize.Error{Kind: normalize.KindIdempotencyInProgress, RetryAfter: wait, ThreadID: state.ThreadID, MessageID: state.MessageID}
	case state.Status != 0:
		return "", "", &replayed{Replay{Status: state.Status, Body: state.Body, ThreadID: state.ThreadID, MessageID: state.MessageID}}
	case state.Message == normalize.StatusFailed:
		return state.ThreadID, state.MessageID, nil
	case state.Message == normalize.StatusPending: // its run is dead, and about to be settled
		return "", "", &normalize.Error{Kind: normalize.KindIdempotencyInProgress, RetryAfter: time.Second, ThreadID: state.ThreadID, MessageID: state.MessageID}
	case state.Message == normalize.StatusSent:
		return "", "", e.answered(ctx, o, key, state)
	default: // a crash took the answer along: what is certain is that nothing may be sent by itself
		return "", "", &normalize.Error{
			Kind: normalize.KindDisconnected, Outcome: normalize.OutcomeOf(state.Message), ThreadID: state.ThreadID, MessageID: state.MessageID,
			Detail: "the server stopped while this message was on its way; it may have been processed",
		}
	}
}

// answered renders the answer of a key whose message came through in another way
// than its own request: settled after a crash, or sent again by hand. It comes as
// the error of found.
func (e *Engine) answered(ctx context.Context, o Origin, key *Key, state store.KeyState) error {
	t, err := e.readThread(ctx, o, state.ThreadID, false)
	if err != nil {
		return err
	}
	turn := Turn{Thread: t.Thread}
	for r := (store.Range{Limit: 200}); ; { // newest first: it is near the end
		list, more, err := e.store.Messages(ctx, o.Caller.Tenant, state.ThreadID, r)
		if err != nil {
			return e.storeError(err)
		}
		for _, m := range list {
			switch {
			case m.InReplyTo == state.MessageID:
				turn.Replies = append(turn.Replies, m.Message)
			case m.ID == state.MessageID:
				turn.Message = m.Message
				slices.Reverse(turn.Replies)
				status, body := key.Render(turn, nil)
				return &replayed{Replay{Status: status, Body: body, ThreadID: state.ThreadID, MessageID: state.MessageID, Settled: &turn}}
			}
		}
		if !more {
			return &normalize.Error{Kind: normalize.KindNotFound}
		}
		r.After.Seq = list[len(list)-1].Seq
	}
}

// draft makes a new message, in a thread that exists or in a new one.
func (s *sending) draft(ctx context.Context, req SendRequest) error {
	at := now()
	if req.ThreadID != "" {
		t, err := s.engine.readThread(ctx, s.origin, req.ThreadID, false)
		if err != nil {
			return err
		}
		s.thread = t
	} else {
		s.fresh = true
		var made NewThread
		if req.New != nil {
			made = *req.New
		}
		if err := s.setup.known(made.Backend); err != nil {
			return err
		}
		s.thread.Thread = newThread(s.origin, made, at)
	}
	role, author := req.Role, req.Author
	if role == "" {
		role = normalize.RoleUser
	}
	if role == normalize.RoleUser && author == (normalize.Author{}) {
		author = normalize.Author{ID: s.thread.User.ID, Name: s.thread.User.Name, Email: s.thread.User.Email}
	}
	kind := normalize.TypeText
	if req.Text == "" && len(req.Attachments) > 0 {
		kind = req.Attachments[0].Type
	}
	s.message = normalize.Message{
		ID: newID(normalize.PrefixMessage), ThreadID: s.thread.ID, Role: role, Type: kind, Text: req.Text, Attachments: req.Attachments,
		Author: author, Status: normalize.StatusPending, Metadata: req.Metadata, CreatedAt: at,
	}
	return s.plan()
}

// takeUp takes a stored message to be sent again; errTaken where it is not one that
// can be.
func (s *sending) takeUp(ctx context.Context, threadID, messageID string) error {
	t, err := s.engine.readThread(ctx, s.origin, threadID, false)
	if err != nil {
		return err
	}
	m, err := s.engine.store.Message(ctx, s.origin.Caller.Tenant, threadID, messageID, false)
	if err != nil {
		return s.engine.storeError(err)
	}
	s.thread, s.message, s.again = t, m, true
	if m.Role != normalize.RoleUser && m.Role != normalize.RoleOperator || m.Status != normalize.StatusFailed && m.Status != normalize.StatusUnknown {
		return errTaken
	}
	s.status = m.Status // what an earlier run left: a refusal now cannot make an unknown message failed
	s.message.Status, s.message.Reason, s.message.Backend = normalize.StatusPending, "", ""
	return s.plan()
}

func newThread(o Origin, made NewThread, at time.Time) normalize.Thread {
	mode := made.Mode
	if mode == "" {
		mode = normalize.ModeAI
	}
	return normalize.Thread{
		ID: newID(normalize.PrefixThread), Tenant: o.Caller.Tenant, Asked: o.asked(), Backend: made.Backend, Route: made.Route, User: made.User, Mode: mode,
		Status: normalize.ThreadOpen, Title: made.Title, Metadata: made.Metadata, CreatedAt: at, UpdatedAt: at,
	}
}

// plan finds out who comes into question. A thread that a backend holds stays
// there; where its route says on_unavailable: move (the default for a backend
// whose vendor keeps no conversation), the route's others come after it.
func (s *sending) plan() error {
	t := &s.thread
	if s.engine.public != "" {
		s.before = slices.Clone(t.Bindings)
	}
	f := facts(s.origin, t.User, s.message.Metadata, t.Metadata, t.ID)
	var holder *backend.Backend
	if binding, ok := t.Binding(); ok {
		holder = s.setup.byName[binding.Backend]
		if err := s.planBound(f, binding, holder); err != nil {
			return err
		}
	} else {
		s.unheld, s.named = true, t.Backend
		f.Route, f.Backend = t.Route, t.Backend
		if !s.fresh && s.setup.Routes.Route(t.Route) == nil {
			f.Route = "" // the route that the thread was made with is not configured any more
		}
		d, err := s.setup.Routes.Decide(f)
		if err != nil {
			return err
		}
		s.route, s.chain = d.Route, s.setup.backendsOf(d.Backends)
	}
	if holder != nil {
		if failure := s.refusedBy(holder); failure != nil {
			return failure
		}
	}
	if len(s.chain) == 0 {
		return &normalize.Error{
			Kind: normalize.KindUnreachable, Backend: t.Backend, RetryAfter: 5 * time.Second,
			Detail: "the backend of this thread is not configured any more: move the thread to another",
		}
	}
	able := slices.DeleteFunc(slices.Clone(s.chain), func(b *backend.Backend) bool { return s.refusedBy(b) != nil })
	if len(able) == 0 {
		return s.refusedBy(s.chain[0])
	}
	s.chain = able
	return s.checkURLs()
}

// checkURLs refuses, before anything is stored, what could not be fetched anyway.
func (s *sending) checkURLs() error {
	if s.engine.checkURL == nil || !slices.ContainsFunc(s.chain, (*backend.Backend).Uploads) {
		return nil
	}
	for i, a := range s.message.Attachments {
		if a.ID != "" {
			continue
		}
		if refused := s.engine.checkURL(a.URL); refused != nil {
			refused.Fields = []normalize.FieldError{{Field: fmt.Sprintf("attachments[%d].url", i), Detail: refused.Text()}}
			return refused
		}
	}
	return nil
}

func (s *sending) planBound(f routing.Facts, binding normalize.Binding, holder *backend.Backend) error {
	u := s.setup
	s.route = u.Routes.Route(s.thread.Route)
	if allowed := s.origin.Caller.Routes; allowed != nil && (s.route == nil || !slices.Contains(allowed, s.route.Name)) {
		f.Backend = binding.Backend
		d, err := u.Routes.Decide(f)
		if err != nil {
			return err
		}
		s.route = d.Route
	}
	mayMove := s.route != nil && (s.route.OnUnavailable == "move" || s.route.OnUnavailable == "" && holder != nil && !holder.Stateful())
	if holder != nil {
		s.chain = append(s.chain, holder)
	}
	if mayMove {
		f.Route, f.Backend = s.route.Name, ""
		d, err := u.Routes.Decide(f)
		if err != nil {
			return err
		}
		for _, b := range u.backendsOf(d.Backends) {
			if b != holder {
				s.chain = append(s.chain, b)
			}
		}
	}
	return nil
}

// refusedBy says why a backend cannot take this message at all; nil where it can.
func (s *sending) refusedBy(b *backend.Backend) *normalize.Error {
	switch {
	case s.message.Role == normalize.RoleOperator && !b.TakesOperator():
		return &normalize.Error{Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: "the backend cannot speak as an operator"}
	case len(s.message.Attachments) > 0 && !b.TakesAttachments():
		return &normalize.Error{Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: "the backend takes no attachments"}
	}
	return nil
}

// errCallerLeft is the cause of a send that ends with its caller.
var errCallerLeft = &normalize.Error{Kind: normalize.KindCanceled, Detail: "the caller left"}

// run accepts the message, delivers it and makes the outcome durable.
func (s *sending) run(caller context.Context) (Turn, error) {
	e := s.engine
	if s.timeout == 0 {
		s.timeout = s.setup.Timeout
	}
	ctx, cancelBudget := context.WithTimeoutCause(context.WithoutCancel(caller), s.timeout, &normalize.Error{Kind: normalize.KindDeadline})
	defer cancelBudget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.stop, func() { cancel(context.Cause(e.stop)) })()
	if s.route != nil && s.route.OnDisconnect == "cancel" {
		defer context.AfterFunc(caller, func() {
			cancel(errCallerLeft)
		})()
	}
	s.ctx = ctx
	if s.status == "" {
		s.status = normalize.StatusFailed
	}
	defer e.letGo(s.epoch)

	b, reply, failure, err := s.deliver()
	if failure != nil && failure.Kind == normalize.KindCanceled && context.Cause(s.ctx) == errCallerLeft { //nolint:errorlint // the very cause
		left := *failure // its code would tell the thread's watchers, and a repeat of the key, that we shut down
		left.Kind, failure = normalize.KindDeadline, &left
	}
	if err == nil && !s.accepted { // nobody takes requests: the message is stored all the same, as failed
		err = s.accept(nil)
	}
	switch {
	case err == nil:
		return s.finish(b, reply, failure)
	case !s.accepted:
		return Turn{}, err
	}
	// The store failed in mid-way. What is known is written if it can be, so that
	// nothing stays pending; the answer is the store's failure all the same.
	turn, _ := s.finish(nil, adapters.Reply{}, normalize.AsError(err))
	return turn, s.notStored(err)
}

// accept makes the message durable and takes the thread, together with the first
// attempt where there is one.
func (s *sending) accept(attempt *store.Attempt) error {
	a := store.Acceptance{
		Thread: s.thread.Thread, NewThread: s.fresh, Version: s.thread.Version, Message: s.message, Resend: s.again,
		Attempt: attempt, Key: s.storeKey(), Epoch: s.epoch, Lease: s.engine.lease, Now: now(),
	}
	result, err := s.engine.store.Accept(context.WithoutCancel(s.ctx), a)
	switch {
	case errors.Is(err, store.ErrChanged):
		return errReplan
	case err != nil:
		return s.engine.storeError(err)
	case !result.Accepted: // another request with this key came first
		return errReplan
	}
	s.accepted, s.thread.Version, s.event = true, result.Version, result.Event
	s.engine.hold(s.epoch)
	if !s.again {
		s.thread.MessageCount++
	}
	s.engine.hub.wake(s.thread.ID)
	if s.observe != nil {
		thread, message := s.thread.Thread, s.message
		thread.Bindings = slices.Clone(thread.Bindings)
		s.tell(normalize.Event{ID: place{seq: s.event}.String(), Type: normalize.EventMessage, Thread: &thread, Message: &message}, "")
	}
	return nil
}

func (s *sending) storeKey() *store.Key {
	if s.key == nil {
		return nil
	}
	return &store.Key{Tenant: s.origin.Caller.Tenant, Key: s.key.Key, Path: s.key.Path, BodyHash: s.key.BodyHash}
}

// finish makes the outcome durable, in one commit, and only then answers.
func (s *sending) finish(b *backend.Backend, reply adapters.Reply, failure *normalize.Error) (Turn, error) {
	e := s.engine
	ctx := context.WithoutCancel(s.ctx)
	for range maxReplans {
		turn, stored := s.outcome(b, reply, failure)
		f := store.Finish{
			Thread: turn.Thread, Version: s.thread.Version, Carry: s.thread.Carry, Message: turn.Message, Replies: stored,
			Attempt: s.open, Key: s.storeKey(), Epoch: s.epoch, Now: turn.Thread.UpdatedAt,
			Taken: s.taken, Answered: s.answered, Chores: s.choresLeft(b, &turn.Thread),
		}
		if b != nil && turn.Message.Status == normalize.StatusSent && s.carried != levelNone {
			f.Carry = "" // it went along, whatever became of the answer
		}
		if failure != nil {
			failure.Outcome, failure.ThreadID, failure.MessageID = normalize.OutcomeOf(turn.Message.Status), s.thread.ID, s.message.ID
		}
		if s.key != nil && turn.Message.Status != normalize.StatusFailed {
			f.Status, f.Body = s.key.Render(turn, failure)
		}
		f.Events = s.entries(&turn, failure)
		last, err := e.store.Finish(ctx, f)
		if errors.Is(err, store.ErrChanged) { // a title or some metadata was changed meanwhile: begin from that
			fresh, readErr := e.store.Thread(ctx, s.thread.Tenant, s.thread.ID, false)
			if readErr != nil {
				return Turn{}, s.notStored(readErr)
			}
			fresh.MessageCount, fresh.Bindings, fresh.Backend = s.thread.MessageCount, s.thread.Bindings, s.thread.Backend
			s.thread = fresh
			continue
		}
		if err != nil {
			return Turn{}, s.notStored(err)
		}
		e.hub.wake(s.thread.ID)
		s.tellEnd(turn, f.Events, last)
		e.metrics.Send(routeName(s.route), string(turn.Message.Status))
		if failure != nil {
			return turn, failure
		}
		return turn, nil
	}
	return Turn{}, s.notStored(store.ErrChanged)
}

// notStored is the answer where the outcome could not be made durable: what the
// vendor did is not known to anybody who asks later.
func (s *sending) notStored(err error) *normalize.Error {
	failure := s.engine.storeError(err)
	if failure.Kind != normalize.KindStorageUnavailable {
		failure = &normalize.Error{Kind: normalize.KindStorageUnavailable, Cause: err}
	}
	failure.ThreadID, failure.MessageID = s.thread.ID, s.message.ID
	if s.attempts > 0 {
		failure.Outcome = normalize.OutcomeUnknown
	}
	s.engine.log.Error("the outcome of a send could not be stored", zap.String("thread", s.thread.ID), zap.String("message", s.message.ID), zap.Error(err))
	return failure
}

// outcome says what the thread and its messages look like after the send: the turn
// for the caller, and the messages to be stored, notices included.
func (s *sending) outcome(b *backend.Backend, reply adapters.Reply, failure *normalize.Error) (Turn, []normalize.Message) {
	at := now()
	thread := s.thread.Thread
	thread.Bindings = slices.Clone(thread.Bindings)
	message := s.message
	turn := Turn{Upstream: s.upstream, Route: routeName(s.route)}
	var stored []normalize.Message
	message.Status = s.status
	switch {
	case failure == nil:
		message.Status = normalize.StatusSent
	case s.unheld && message.Status == normalize.StatusFailed:
		// Nothing was said there: the next message chooses freely. The remote ids stay known.
		if n := len(thread.Bindings); n > 0 && thread.Bindings[n-1].Until.IsZero() {
			thread.Bindings[n-1].Until, thread.Backend = at, s.named
		}
		fallthrough
	default:
		message.Reason = failure.Kind.Policy().Code
	}
	if b != nil {
		turn.Backend, message.Backend = b.Name(), b.Name()
	}
	if b != nil && message.Status == normalize.StatusSent {
		message.RemoteID, message.Read, message.Raw = reply.Sent.RemoteID, reply.Sent.Read, reply.Sent.Raw
		if message.Author == (normalize.Author{}) {
			message.Author = reply.Sent.Author
		}
		stored = s.bindAnswered(&thread, b, reply.Remote, at)
		s.told.Apply(&thread)
		reply.Thread.Apply(&thread)
		for _, m := range reply.Messages {
			if failure != nil && m.Text == "" {
				continue // what was cut before its text is nothing
			}
			m = completed(m, s.thread.ID, s.message.ID, b.Name(), at)
			if s.telling != nil && len(turn.Replies) == 0 {
				m.ID = s.telling.replyID
			}
			if failure != nil {
				m.Status, m.Reason = normalize.StatusIncomplete, failure.Kind.Policy().Code
				if s.left {
					m.Status = normalize.StatusCancelled
				}
			}
			stored, turn.Replies = append(stored, m), append(turn.Replies, m)
		}
	}
	thread.MessageCount += len(stored)
	thread.UpdatedAt = at
	turn.Thread, turn.Message = thread, message
	return turn, stored
}

// bindAnswered writes into the thread who has it now. Where that is somebody else
// than before, it returns a notice.
func (s *sending) bindAnswered(thread *normalize.Thread, b *backend.Backend, told normalize.Remote, at time.Time) []normalize.Message {
	before, held := thread.Binding()
	remote := s.remoteAt(b)
	if told.ThreadID != "" {
		remote.ThreadID = told.ThreadID
	}
	if told.UserID != "" {
		remote.UserID = told.UserID
	}
	thread.Route = routeName(s.route)
	if !held || before.Backend == b.Name() || s.unheld {
		bind(thread, b, remote, s.reason(), at)
		return nil
	}
	bind(thread, b, remote, "unavailable: "+s.carried, at)
	return []normalize.Message{movedNotice(thread.ID, before.Backend, b.Name(), s.carried, at)}
}

// completed fills in what is ours in a vendor's message.
func completed(m normalize.Message, threadID, inReplyTo, backendName string, at time.Time) normalize.Message {
	m.ID, m.ThreadID, m.InReplyTo, m.Backend = newID(normalize.PrefixMessage), threadID, inReplyTo, backendName
	m.Status = normalize.StatusComplete
	if m.Role == "" {
		m.Role = normalize.RoleAssistant
	}
	if m.Type == "" {
		m.Type = normalize.TypeText
	}
	if m.CreatedAt.IsZero() {
		m.CreatedAt = at
	}
	m.CreatedAt = m.CreatedAt.UTC().Truncate(time.Millisecond)
	return m
}
