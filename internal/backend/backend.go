// Package backend puts one configured adapter behind everything that makes it
// dependable: a deadline, a breaker, a bulkhead, the pauses that the vendor asks
// for, a budget for second tries, log and metrics. It is also the one place that
// asks an adapter for its talents.
package backend

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

// slotWait is how long a send waits for a place at a busy backend.
const slotWait = 100 * time.Millisecond

// The bounds of the pause that a vendor can ask for.
const (
	minCoolDown = time.Second
	maxCoolDown = 300 * time.Second
	// maxGrowing bounds the pauses that grow because the vendor named none.
	maxGrowing = 60 * time.Second
)

// Options make a Backend.
type Options struct {
	Name        string
	Vendor      string // the adapter's name
	Bot         string // the vendor's id of the bot, where settings name one
	Adapter     adapters.Adapter
	Tells       []adapters.Extra // what the vendor tells beside the text of its answers
	Total       time.Duration    // the longest that one call may take
	Breaker     BreakerOptions
	Retry       RetryOptions
	MaxInFlight int
	HookSecret  normalize.Secret // under which the vendor reaches us; zero: not at all
	Log         *zap.Logger
	Metrics     *telemetry.Metrics
}

// RetryOptions bound second tries at the same backend.
type RetryOptions struct {
	Attempts int // all tries of one message, the first included
	Base     time.Duration
	Cap      time.Duration // of the back-off, not of a wait that the vendor asked for
}

// Backend is one configured adapter, ready to be used. It is safe for concurrent
// use.
type Backend struct {
	name, vendor, bot string
	adapter           adapters.Adapter
	tells             []adapters.Extra
	total             time.Duration
	retry             RetryOptions
	hook              hook
	log               *zap.Logger
	metrics           *telemetry.Metrics

	sends   *breaker // for sends and what prepares them
	control *breaker // for what callers ask beside that: a mode, a deletion
	lists   *breaker // for what is read for our own books, so that a broken list stops nothing else
	slots   chan struct{}
	budget  retryBudget

	coolUntil atomic.Int64 // unix nanoseconds; only moves outward
	growing   atomic.Int64 // how many pauses in a row the vendor left to us
}

// New puts an adapter behind its guards.
func New(o Options) *Backend {
	b := &Backend{
		name: o.Name, vendor: o.Vendor, bot: o.Bot, adapter: o.Adapter, tells: o.Tells, total: o.Total, retry: o.Retry, hook: newHook(o.HookSecret),
		log: o.Log.With(zap.String("backend", o.Name)), metrics: o.Metrics, slots: make(chan struct{}, o.MaxInFlight),
	}
	b.sends = newBreaker(o.Breaker, func(c change) {
		b.metrics.BreakerChanged(b.name, c.to)
		b.log.Warn("breaker changed", zap.String("state", c.to), zap.Stringer("cause", c.cause))
	})
	beside := func(which string) func(change) {
		return func(c change) {
			b.log.Warn("breaker of "+which+" calls changed", zap.String("state", c.to), zap.Stringer("cause", c.cause))
		}
	}
	b.control, b.lists = newBreaker(o.Breaker, beside("control")), newBreaker(o.Breaker, beside("list"))
	return b
}

// Close lets go of what the adapter holds.
func (b *Backend) Close() error {
	if c, ok := b.adapter.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Name is the backend's name in the config.
func (b *Backend) Name() string { return b.name }

// Vendor is the adapter's name.
func (b *Backend) Vendor() string { return b.vendor }

// Bot is the vendor's id of the bot; empty where there is none.
func (b *Backend) Bot() string { return b.bot }

// Total is the longest that one call may take.
func (b *Backend) Total() time.Duration { return b.total }

// Retry says how often and how fast a message may be tried again here.
func (b *Backend) Retry() RetryOptions { return b.retry }

// AllowRetry takes one second try from the budget: a tenth of the requests of the
// last ten seconds, at least three.
func (b *Backend) AllowRetry() bool {
	ok := b.budget.take(time.Now())
	b.metrics.Retry(b.name, ok)
	return ok
}

// Admission is the right to one send. Release it by defer; it reports to the
// breaker exactly once, whatever happens.
type Admission struct {
	backend *Backend
	ticket  *ticket
	once    sync.Once
}

// Admit asks whether the backend takes a send now: it is not cooling down, its
// breaker lets one through, and a place is free within 100 ms. The refusal is of
// KindCoolingDown, KindBreakerOpen or KindBackendBusy, with RetryAfter.
func (b *Backend) Admit(ctx context.Context) (*Admission, *normalize.Error) {
	if refusal := b.coolingDown(); refusal != nil {
		return nil, refusal
	}
	t, refusal := b.sends.allow()
	if refusal != nil {
		return nil, b.named(refusal)
	}
	if refusal := b.takeSlot(ctx); refusal != nil {
		t.release()
		return nil, b.named(refusal)
	}
	b.budget.request(time.Now())
	return &Admission{backend: b, ticket: t}, nil
}

// coolingDown is the refusal as long as the vendor's pause lasts; nil after it.
func (b *Backend) coolingDown() *normalize.Error {
	if rest := time.Until(time.Unix(0, b.coolUntil.Load())); rest > 0 {
		return b.named(&normalize.Error{Kind: normalize.KindCoolingDown, RetryAfter: rest})
	}
	return nil
}

func (b *Backend) takeSlot(ctx context.Context) *normalize.Error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(slotWait)
	defer wait.Stop()
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-wait.C:
		return &normalize.Error{Kind: normalize.KindBackendBusy, RetryAfter: time.Second}
	case <-ctx.Done():
		return &normalize.Error{Kind: normalize.KindBackendBusy, RetryAfter: time.Second, Cause: context.Cause(ctx)}
	}
}

// Release gives the place back. An admission that was never used counts neither as
// a success nor as a failure.
func (a *Admission) Release() {
	a.once.Do(func() {
		a.ticket.release()
		<-a.backend.slots
	})
}

// Prepare makes at the vendor what has to be there before the first message: the
// person, the conversation. It returns the remote ids, completed, and what the
// vendor told about the thread. A failure leaves the message certainly unsent.
func (a *Admission) Prepare(ctx context.Context, thread normalize.Thread, remote normalize.Remote) (normalize.Remote, normalize.ThreadUpdate, *normalize.Error) {
	b := a.backend
	var told normalize.ThreadUpdate
	if creator, ok := adapters.As[adapters.UserCreator](b.adapter); ok && remote.UserID == "" {
		failure := b.run(ctx, "create_user", a.reportFailure, func(ctx context.Context) error {
			id, err := creator.CreateUser(ctx, thread.User)
			if err == nil {
				remote.UserID = id
			}
			return err
		})
		if failure != nil {
			return remote, told, failure
		}
	}
	if creator, ok := adapters.As[adapters.ThreadCreator](b.adapter); ok && remote.ThreadID == "" {
		failure := b.run(ctx, "create_thread", a.reportFailure, func(ctx context.Context) error {
			made, err := creator.CreateThread(ctx, thread)
			if err == nil {
				remote, told = mergeRemote(remote, made.Remote), made.Update
			}
			return err
		})
		if failure != nil {
			return remote, told, failure
		}
	}
	cleanUpdate(&told)
	return remote, told, nil
}

// NeedsPreparing reports whether Prepare would call the vendor for a thread with
// these remote ids.
func (b *Backend) NeedsPreparing(remote normalize.Remote) bool {
	_, users := adapters.As[adapters.UserCreator](b.adapter)
	_, threads := adapters.As[adapters.ThreadCreator](b.adapter)
	return users && remote.UserID == "" || threads && remote.ThreadID == ""
}

// Upload gives the vendor a file and returns the vendor's id of it. A failure leaves
// the message certainly unsent.
func (a *Admission) Upload(ctx context.Context, file adapters.File) (id string, failure *normalize.Error) {
	uploader, ok := adapters.As[adapters.Uploader](a.backend.adapter)
	if !ok {
		return "", a.backend.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend takes no files"})
	}
	failure = a.backend.run(ctx, "upload", a.reportFailure, func(ctx context.Context) error {
		made, err := uploader.Upload(ctx, file)
		id = normalize.CleanText(made.ID)
		return err
	})
	return id, failure
}

// Send gives the vendor the message, once. The reply is cleaned: its text is fit to
// be shown and stored. Beside a failure it holds what is certain all the same.
func (a *Admission) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, *normalize.Error) {
	b := a.backend
	send := b.adapter.Send
	switch {
	case turn.Message.Role == normalize.RoleOperator:
		operator, ok := adapters.As[adapters.OperatorSender](b.adapter)
		if !ok {
			return adapters.Reply{}, b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend cannot speak as an operator"})
		}
		send = operator.SendAsOperator
	case len(turn.Message.Attachments) > 0:
		sender, ok := adapters.As[adapters.AttachmentSender](b.adapter)
		if !ok {
			return adapters.Reply{}, b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend takes no attachments"})
		}
		send = sender.SendAttachments
	default:
		if once, ok := adapters.As[adapters.IdempotentSender](b.adapter); ok {
			send = func(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
				return once.SendOnce(ctx, turn, turn.Message.ID)
			}
		}
	}
	var reply adapters.Reply
	failure := b.run(ctx, "send", a.ticket.report, func(ctx context.Context) (err error) {
		reply, err = send(ctx, turn)
		return err
	})
	cleanReply(&reply)
	return reply, failure
}

// Stream is Send for a vendor that tells its answer while it makes it: emit gets each
// piece as it comes. It reports at its end, but for a probe of a half-open breaker:
// there the first piece proves the backend's health, and what goes wrong later is one
// failure more. A backend for which Streams does not hold gives
// KindUnsupported.
func (a *Admission) Stream(ctx context.Context, turn adapters.Turn, emit func(adapters.Delta) error) (adapters.Reply, *normalize.Error) {
	b := a.backend
	streamer, ok := adapters.As[adapters.Streamer](b.adapter)
	if !ok {
		return adapters.Reply{}, b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend does not stream"})
	}
	proved := false
	report := func(failure *normalize.Error) {
		if proved && failure != nil {
			b.reportLate(failure)
			return
		}
		a.ticket.report(failure)
	}
	var reply adapters.Reply
	failure := b.run(ctx, "stream", report, func(ctx context.Context) (err error) {
		reply, err = streamer.Stream(ctx, turn, func(d adapters.Delta) error {
			if !proved && a.ticket.probes() {
				proved = true
				a.ticket.report(nil)
			}
			return emit(d)
		})
		return err
	})
	cleanReply(&reply)
	if reply.Skipped > 0 {
		b.metrics.Skipped(b.name, reply.Skipped)
		b.log.Warn("events of a stream were passed over", zap.Int("events", reply.Skipped))
	}
	return reply, failure
}

// reportLate counts a failure of a call that was a success so far.
func (b *Backend) reportLate(failure *normalize.Error) {
	if t, refusal := b.sends.allow(); refusal == nil {
		t.report(failure)
	}
}

// reportFailure tells the breaker of a failed preparation; a good one says nothing
// yet, since the send is still to come.
func (a *Admission) reportFailure(failure *normalize.Error) {
	if failure != nil {
		a.ticket.report(failure)
	}
}

// CreateThread makes an empty conversation at the vendor, under a chosen id where one
// is given and NamesThreads. False where it cannot: then nothing was called.
func (b *Backend) CreateThread(ctx context.Context, thread normalize.Thread, id string) (adapters.RemoteThread, bool, *normalize.Error) {
	creator, ok := adapters.As[adapters.ThreadCreator](b.adapter)
	if !ok {
		return adapters.RemoteThread{}, false, nil
	}
	create := creator.CreateThread
	if naming, ok := adapters.As[adapters.NamedThreadCreator](b.adapter); ok && id != "" {
		create = func(ctx context.Context, thread normalize.Thread) (adapters.RemoteThread, error) {
			return naming.CreateNamedThread(ctx, thread, id)
		}
	}
	admission, refusal := b.Admit(ctx)
	if refusal != nil {
		return adapters.RemoteThread{}, true, refusal
	}
	defer admission.Release()
	var made adapters.RemoteThread
	failure := b.run(ctx, "create_thread", admission.ticket.report, func(ctx context.Context) (err error) {
		made, err = create(ctx, thread)
		return err
	})
	cleanUpdate(&made.Update)
	return made, true, failure
}

// ReadThread reads a conversation as the vendor knows it, with its messages where it
// gives them along, cleaned. False where the vendor cannot tell: then nothing was
// called.
func (b *Backend) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, bool, *normalize.Error) {
	reader, ok := adapters.As[adapters.ThreadReader](b.adapter)
	if !ok {
		return adapters.RemoteThread{}, false, nil
	}
	var read adapters.RemoteThread
	failure := b.beside(ctx, b.lists, "read_thread", func(ctx context.Context) (err error) {
		read, err = reader.ReadThread(ctx, remote)
		return err
	})
	cleanUpdate(&read.Update)
	for i := range read.Messages {
		cleanMessage(&read.Messages[i])
	}
	return read, true, failure
}

// ReadUser reads a person as the vendor knows them. False where the vendor cannot
// tell: then nothing was called.
func (b *Backend) ReadUser(ctx context.Context, remote normalize.Remote) (normalize.User, bool, *normalize.Error) {
	reader, ok := adapters.As[adapters.UserReader](b.adapter)
	if !ok {
		return normalize.User{}, false, nil
	}
	var user normalize.User
	failure := b.beside(ctx, b.lists, "read_user", func(ctx context.Context) (err error) {
		user, err = reader.ReadUser(ctx, remote)
		return err
	})
	clean(&user.ID, &user.Name, &user.Email, &user.Phone, &user.Info)
	return user, true, failure
}

// UpdateUser tells the vendor what is known about the person of a thread. A backend
// that cannot gives KindUnsupported.
func (b *Backend) UpdateUser(ctx context.Context, remote normalize.Remote, user normalize.User) *normalize.Error {
	updater, ok := adapters.As[adapters.UserUpdater](b.adapter)
	if !ok {
		return b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend keeps nothing about a person"})
	}
	return b.beside(ctx, b.control, "update_user", func(ctx context.Context) error { return updater.UpdateUser(ctx, remote, user) })
}

// Escalate asks the vendor's side to look at a conversation. A backend that cannot
// gives KindUnsupported.
func (b *Backend) Escalate(ctx context.Context, remote normalize.Remote, note string) *normalize.Error {
	escalator, ok := adapters.As[adapters.Escalator](b.adapter)
	if !ok {
		return b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend cannot escalate"})
	}
	return b.beside(ctx, b.control, "escalate", func(ctx context.Context) error { return escalator.Escalate(ctx, remote, note) })
}

// SwitchMode hands a conversation to a human or back to the bot at the vendor. A
// backend that cannot gives KindUnsupported.
func (b *Backend) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) *normalize.Error {
	switcher, ok := adapters.As[adapters.ModeSwitcher](b.adapter)
	if !ok {
		return b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend cannot switch the mode"})
	}
	return b.beside(ctx, b.control, "switch_mode", func(ctx context.Context) error { return switcher.SwitchMode(ctx, remote, mode) })
}

// DeleteThread erases a conversation at the vendor. False where it cannot: then
// nothing was called.
func (b *Backend) DeleteThread(ctx context.Context, remote normalize.Remote) (bool, *normalize.Error) {
	deleter, ok := adapters.As[adapters.ThreadDeleter](b.adapter)
	if !ok {
		return false, nil
	}
	return true, b.beside(ctx, b.control, "delete_thread", func(ctx context.Context) error { return deleter.DeleteThread(ctx, remote) })
}

// maxListPages bounds how much of a vendor's list is read at once.
const maxListPages = 50

// listPage is how long a page of it is to be.
const listPage = 100

// ListMessages reads a conversation's messages at the vendor, oldest first, cleaned.
// False where the vendor cannot list: then nothing was called. It respects the pauses
// that the vendor asks for, but its own failures do not hold up sends.
func (b *Backend) ListMessages(ctx context.Context, remote normalize.Remote) ([]normalize.Message, bool, *normalize.Error) {
	lister, ok := adapters.As[adapters.MessageLister](b.adapter)
	if !ok {
		return nil, false, nil
	}
	var all []normalize.Message
	page := adapters.Page{Limit: listPage}
	for range maxListPages {
		if refusal := b.coolingDown(); refusal != nil {
			return nil, true, refusal
		}
		var got adapters.MessagePage
		failure := b.beside(ctx, b.lists, "list_messages", func(ctx context.Context) (err error) {
			got, err = lister.ListMessages(ctx, remote, page)
			return err
		})
		if failure != nil {
			return nil, true, failure
		}
		for i := range got.Messages {
			cleanMessage(&got.Messages[i])
		}
		all = append(all, got.Messages...)
		if page.Cursor = got.NextCursor; page.Cursor == "" {
			sortByTime(all)
			return all, true, nil
		}
	}
	return nil, true, b.named(&normalize.Error{Kind: normalize.KindTooLarge, Detail: "the backend's list of messages is longer than we read"})
}

// sortByTime puts pages in order whose order the vendor does not document. A list in
// which a time is missing stays as it came.
func sortByTime(messages []normalize.Message) {
	if slices.ContainsFunc(messages, func(m normalize.Message) bool { return m.CreatedAt.IsZero() }) {
		return
	}
	slices.SortStableFunc(messages, func(a, b normalize.Message) int { return a.CreatedAt.Compare(b.CreatedAt) })
}

// beside makes a call that is not on the way of a send.
func (b *Backend) beside(ctx context.Context, guard *breaker, what string, call func(context.Context) error) *normalize.Error {
	t, refusal := guard.allow()
	if refusal != nil {
		return b.named(refusal)
	}
	defer t.release()
	return b.timed(ctx, what, t.report, call)
}

// run makes one call on the way of a send: the vendor's wish for a pause is remembered
// for all sends.
func (b *Backend) run(ctx context.Context, what string, report func(*normalize.Error), call func(context.Context) error) *normalize.Error {
	failure := b.timed(ctx, what, report, call)
	if failure == nil {
		b.growing.Store(0)
	} else {
		b.coolDown(failure)
	}
	return failure
}

// timed makes one call: within the backend's own deadline, with panics caught,
// reported to the breaker, counted and logged.
func (b *Backend) timed(ctx context.Context, what string, report func(*normalize.Error), call func(context.Context) error) *normalize.Error {
	began := time.Now()
	deadline, tied := began.Add(b.total), false
	if budget, ok := ctx.Deadline(); ok && !budget.After(deadline) && deadline.Sub(budget) <= b.total/tieShare {
		// What the send has used up before is little: it is the backend that is too slow.
		deadline, tied = budget.Add(-tieMargin), true
	}
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, &normalize.Error{Kind: normalize.KindTimeout})
	defer cancel()
	failure := b.named(guarded(ctx, b.log, what, call))
	if tied && failure != nil && failure.Kind == normalize.KindDeadline { // the later of the two moments was seen first
		failure.Kind = normalize.KindTimeout
	}
	report(failure)
	took := time.Since(began)
	if failure == nil {
		b.metrics.Attempt(b.name, "ok", took)
		b.log.Debug("backend called", zap.String("call", what), zap.Duration("took", took))
		return nil
	}
	b.metrics.Attempt(b.name, failure.Kind.String(), took)
	b.log.Warn("backend call failed", zap.String("call", what), zap.Duration("took", took), zap.Stringer("kind", failure.Kind),
		zap.Stringer("phase", failure.Phase), zap.Int("vendor_status", failure.VendorStatus), zap.String("detail", failure.Text()), zap.Error(failure.Cause))
	return failure
}

// A send's budget and the backend's own time count as the same moment where they lie
// within a tenth of that time; then the backend's ends first, by the margin.
const (
	tieShare  = 10
	tieMargin = 5 * time.Millisecond
)

func guarded(ctx context.Context, log *zap.Logger, what string, call func(context.Context) error) (failure *normalize.Error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("adapter panicked", zap.String("call", what), zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
			failure = &normalize.Error{Kind: normalize.KindInternal, Phase: normalize.PhaseWritten}
		}
	}()
	return normalize.AsError(call(ctx))
}

// coolDown remembers the pause that a failure calls for, and writes it into the
// failure, so that the answer can pass it on.
func (b *Backend) coolDown(failure *normalize.Error) {
	pause := failure.Kind.Policy().CoolDown
	switch {
	case pause == 0:
		return
	case pause > 0: // a quota: as long as a pause can be
	case failure.RetryAfter > 0:
		pause = min(max(failure.RetryAfter, minCoolDown), maxCoolDown)
	default:
		pause = min(minCoolDown<<min(b.growing.Add(1)-1, 10), maxGrowing)
	}
	failure.RetryAfter = pause
	until := time.Now().Add(pause).UnixNano()
	for old := b.coolUntil.Load(); old < until && !b.coolUntil.CompareAndSwap(old, until); old = b.coolUntil.Load() {
	}
}

// named writes the backend's name into a failure. Nil stays nil.
func (b *Backend) named(failure *normalize.Error) *normalize.Error {
	if failure != nil {
		failure.Backend = b.name
	}
	return failure
}

// State is one backend as operators see it.
type State struct {
	Breaker       BreakerState
	CoolDownUntil time.Time // zero: none
	InFlight      int
	MaxInFlight   int
}

// State tells how the backend stands now.
func (b *Backend) State() State {
	s := State{Breaker: b.sends.snapshot(), InFlight: len(b.slots), MaxInFlight: cap(b.slots)}
	if until := time.Unix(0, b.coolUntil.Load()); time.Until(until) > 0 {
		s.CoolDownUntil = until
	}
	return s
}

func mergeRemote(old, told normalize.Remote) normalize.Remote {
	if told.ThreadID != "" {
		old.ThreadID = told.ThreadID
	}
	if told.UserID != "" {
		old.UserID = told.UserID
	}
	return old
}
