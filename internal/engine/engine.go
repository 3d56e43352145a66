package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/routing"
	"chatmux/internal/store"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

// maxFile is the largest file that is fetched to be uploaded: 32 MiB.
const maxFile = 32 << 20

// maxAttempts bounds the tries of one message over all backends.
const maxAttempts = 3

// Options make an Engine.
type Options struct {
	Store  *store.Store
	Setup  Setup
	Lease  time.Duration // how long a send holds its thread without renewing
	Settle Settling
	// CheckURL refuses URLs of attachments that would have to be fetched from where
	// nothing may be fetched; nil refuses none.
	CheckURL func(url string) *normalize.Error
	// Fetch gets a file of at most limit bytes from a URL that a caller gave; nil
	// leaves the files to the vendors.
	Fetch func(ctx context.Context, url string, limit int64) (adapters.File, *normalize.Error)
	// Poll is how often watchers look whether something has happened that nobody told
	// them of; default 1 minute. Where several processes share the store it is how long
	// an event of another may take.
	Poll time.Duration
	// PublicURL is how vendors reach this server; empty where they are not told.
	PublicURL string
	Log       *zap.Logger
	Metrics   *telemetry.Metrics
}

// Setup is what a reload of the config replaces, as a whole.
type Setup struct {
	Routes   *routing.Table
	Backends []*backend.Backend // in the order of the config
	Timeout  time.Duration      // the budget of a send that names none
}

// setup is a Setup at work. Every piece of work takes it once and ends on it.
type setup struct {
	Setup
	byName map[string]*backend.Backend
	users  atomic.Int64
}

// use takes the setup in force; release it when the work is done.
func (e *Engine) use() *setup {
	for {
		u := e.current.Load()
		u.users.Add(1)
		if e.current.Load() == u {
			return u
		}
		u.users.Add(-1) // replaced meanwhile: whoever replaced it may have seen nobody on it
	}
}

func (u *setup) release() { u.users.Add(-1) }

// Engine takes turns from accepted to answered. It is safe for concurrent use.
type Engine struct {
	store    *store.Store
	lease    time.Duration
	settling Settling
	checkURL func(url string) *normalize.Error
	fetch    func(ctx context.Context, url string, limit int64) (adapters.File, *normalize.Error)
	log      *zap.Logger
	metrics  *telemetry.Metrics
	current  atomic.Pointer[setup]
	hub      *hub
	poll     time.Duration
	public   string        // how vendors reach this server
	over     chan struct{} // closed when nothing runs any more

	patience time.Time // until then no send of another owner is settled; the book-keeping's own

	stop    context.Context // ends when running work has to
	endWork context.CancelCauseFunc

	mu       sync.Mutex
	held     map[string]struct{} // the epochs of the sends that run
	draining bool
	running  sync.WaitGroup
}

// New makes an engine.
func New(o Options) *Engine {
	e := &Engine{
		held: make(map[string]struct{}), hub: newHub(), poll: cmp.Or(o.Poll, time.Minute), public: o.PublicURL, over: make(chan struct{}), store: o.Store, lease: o.Lease, settling: o.Settle.withDefaults(), checkURL: o.CheckURL, fetch: o.Fetch, log: o.Log, metrics: o.Metrics,
	}
	e.Use(o.Setup)
	e.stop, e.endWork = context.WithCancelCause(context.Background())
	return e
}

// Use replaces routes and backends. Work that runs ends on those it began with; idle
// reports whether nothing runs any more on what was in force before.
func (e *Engine) Use(s Setup) (idle func() bool) {
	next := &setup{Setup: s, byName: make(map[string]*backend.Backend, len(s.Backends))}
	for _, b := range s.Backends {
		next.byName[b.Name()] = b
	}
	old := e.current.Swap(next)
	return func() bool { return old == nil || old.users.Load() == 0 }
}

// Recover does the book-keeping after a crash: what was never tried is failed, what
// was tried without an outcome is unknown. Nothing is sent. Call it before the
// first request.
func (e *Engine) Recover(ctx context.Context) error {
	r, err := e.store.Recover(ctx, now())
	if err != nil {
		return err
	}
	if r.Failed+r.Unknown > 0 {
		e.log.Warn("messages settled that an earlier run left open", zap.Int("failed", r.Failed), zap.Int("unknown", r.Unknown))
	}
	return nil
}

// Drain refuses new sends from now on and waits for those that run. When ctx ends
// before they do, they are cut off, and Drain waits until they have stored how far
// they came. Call it once. Whoever watches a thread is let go last.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	stopCutting := context.AfterFunc(ctx, func() {
		e.endWork(&normalize.Error{Kind: normalize.KindCanceled, Detail: "the server is shutting down"})
	})
	e.running.Wait()
	stopCutting()
	e.endWork(nil)
	close(e.over)
}

// Ready reports whether sends can be served: not draining, and the store answers.
func (e *Engine) Ready(ctx context.Context) error {
	e.mu.Lock()
	draining := e.draining
	e.mu.Unlock()
	if draining {
		return &normalize.Error{Kind: normalize.KindDraining}
	}
	if err := e.store.Ping(ctx); err != nil {
		return e.storeError(err)
	}
	return nil
}

// begin counts a piece of work that Drain waits for.
func (e *Engine) begin() (end func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return nil, &normalize.Error{Kind: normalize.KindDraining}
	}
	e.running.Add(1)
	return e.running.Done, nil
}

// hold and letGo say whose leases are to be renewed.
func (e *Engine) hold(epoch string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held[epoch] = struct{}{}
}

func (e *Engine) holds(epoch string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.held[epoch]
	return ok
}

func (e *Engine) letGo(epoch string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.held, epoch)
}

// storeError gives the failure that a caller sees for a store's error.
func (e *Engine) storeError(err error) *normalize.Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return &normalize.Error{Kind: normalize.KindNotFound}
	case errors.Is(err, store.ErrBusy):
		return &normalize.Error{Kind: normalize.KindThreadBusy, RetryAfter: time.Second}
	}
	var ours *normalize.Error
	if errors.As(err, &ours) { // what a change function refused
		return ours
	}
	e.log.Error("store failed", zap.Error(err))
	return &normalize.Error{Kind: normalize.KindStorageUnavailable, Cause: err}
}

// now is the time as it is stored: UTC, whole milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// newID makes an id of ours.
func newID(prefix string) string { return normalize.FormatID(prefix, uuid.Must(uuid.NewV7())) }

// facts gathers what a route can match on.
func facts(o Origin, user normalize.User, message, thread map[string]string, threadID string) routing.Facts {
	return routing.Facts{
		Caller: o.Caller.Name, AllowedRoutes: o.Caller.Routes, User: user, Metadata: message, ThreadMetadata: thread,
		Header: o.Header, Dialect: o.Dialect, Bot: o.Bot, ThreadID: threadID,
	}
}

// backendsOf gives the configured backends of a list of names, in its order.
func (u *setup) backendsOf(names []string) []*backend.Backend {
	list := make([]*backend.Backend, 0, len(names))
	for _, name := range names {
		if b := u.byName[name]; b != nil {
			list = append(list, b)
		}
	}
	return list
}

// lastRemote gives the remote ids under which a backend last held the thread. Those of
// another vendor or bot that stood under the same name mean nothing to it.
func lastRemote(t *normalize.Thread, b *backend.Backend) normalize.Remote {
	for _, binding := range slices.Backward(t.Bindings) {
		if isOf(binding, b) {
			return binding.Remote
		}
	}
	return normalize.Remote{}
}

// isOf reports whether a binding is to this backend as it is configured now.
func isOf(binding normalize.Binding, b *backend.Backend) bool {
	return binding.Backend == b.Name() && binding.Vendor == b.Vendor() && binding.Bot == b.Bot()
}

// bind writes into the thread that a backend holds it under these remote ids: the
// binding that holds now gets the ids where it is that backend's, else it is
// closed and a new one added. In a conversation that begins with it, and where the mode
// cannot be switched, the bot answers, whoever did before.
func bind(t *normalize.Thread, b *backend.Backend, remote normalize.Remote, reason string, at time.Time) {
	t.Backend = b.Name()
	if n := len(t.Bindings); n > 0 && t.Bindings[n-1].Until.IsZero() {
		if last := &t.Bindings[n-1]; isOf(*last, b) {
			last.Remote = remote
			return
		}
		t.Bindings[n-1].Until = at
		if lastRemote(t, b).ThreadID == "" || !b.SwitchesMode() {
			t.Mode = normalize.ModeAI
		}
	}
	t.Bindings = append(t.Bindings, normalize.Binding{
		Backend: b.Name(), Vendor: b.Vendor(), Bot: b.Bot(), Remote: remote, Since: at, Reason: reason,
	})
}
