// Package httpapi serves chatmux's own API under /v1: JSON in and out, callers
// with keys, and a problem object for everything that goes wrong. It checks what
// comes in, strictly and all at once, hands it to the engine, and writes down
// what the engine says. It decides nothing about delivery.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/internal/migration"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

// Engine is what the API speaks to. Every error is or wraps a *normalize.Error;
// any other error counts as a fault of ours.
type Engine interface {
	CreateThread(ctx context.Context, from engine.Origin, thread engine.NewThread) (normalize.Thread, error)
	// Threads returns one page and the cursor of the next one, empty on the last.
	Threads(ctx context.Context, from engine.Origin, filter engine.ThreadFilter, page engine.Page) ([]normalize.Thread, string, error)
	Thread(ctx context.Context, from engine.Origin, id string, raw bool) (normalize.Thread, error)
	UpdateThread(ctx context.Context, from engine.Origin, id string, patch engine.ThreadPatch) (normalize.Thread, error)
	DeleteThread(ctx context.Context, from engine.Origin, id string) ([]engine.Erasure, error)
	// Send and Resend fill the turn's Thread and Backend as far as they are known
	// also when they return an error.
	Send(ctx context.Context, from engine.Origin, send engine.SendRequest) (engine.Turn, error)
	Resend(ctx context.Context, from engine.Origin, resend engine.ResendRequest) (engine.Turn, error)
	// Events tells what happens in a thread after the event with this id; Retell how a
	// message was answered.
	Events(ctx context.Context, from engine.Origin, threadID, after string) (engine.Tell, error)
	Retell(ctx context.Context, from engine.Origin, threadID, messageID string, emit func(normalize.Event) error) error
	// Messages returns one page and the cursor of the next one, empty on the last.
	Messages(ctx context.Context, from engine.Origin, threadID string, page engine.Page) ([]normalize.Message, string, error)
	Message(ctx context.Context, from engine.Origin, threadID, messageID string, raw bool) (normalize.Message, error)
	SetFeedback(ctx context.Context, from engine.Origin, threadID, messageID string, feedback normalize.Feedback) (normalize.Message, error)
	Move(ctx context.Context, from engine.Origin, threadID, backend, carry string) (normalize.Thread, error)
	Plan(ctx context.Context, from engine.Origin, plan engine.PlanRequest) (migration.Report, error)
	// Export writes nothing before it knows that it can.
	Export(ctx context.Context, from engine.Origin, export engine.ExportRequest, w io.Writer) error
	// Deliveries returns one page and the cursor of the next one, empty on the last.
	Deliveries(ctx context.Context, from engine.Origin, filter engine.DeliveryFilter, page engine.Page) ([]engine.Delivery, string, error)
	Redeliver(ctx context.Context, from engine.Origin, id string) (engine.Delivery, error)
	Backends() []engine.BackendState
	Backend(name string) (engine.BackendState, error)
	Explain(from engine.Origin, send engine.SendRequest) (engine.Explanation, error)

	// What dialects ask beside that.
	FindThread(ctx context.Context, from engine.Origin, id string, onePerPerson bool) (normalize.Thread, error)
	FindPerson(ctx context.Context, from engine.Origin, id string) (normalize.User, error)
	FindMessage(ctx context.Context, from engine.Origin, id string) (normalize.Message, error)
	OpenThread(ctx context.Context, from engine.Origin, opening engine.Opening) (normalize.Thread, error)
	AskedThreads(ctx context.Context, from engine.Origin, filter engine.ThreadFilter, span engine.Span) ([]normalize.Thread, int, error)
	MessagesAt(ctx context.Context, from engine.Origin, threadID string, spoken bool, span engine.Span) ([]normalize.Message, int, error)
	Escalate(ctx context.Context, from engine.Origin, id, note string) (normalize.Thread, error)
	Record(ctx context.Context, from engine.Origin, name, threadID string, value []byte, fresh bool) ([]byte, error)
	Recall(ctx context.Context, from engine.Origin, name string) ([]byte, error)
	Choices(from engine.Origin) (routes, backends []string)

	// OpensHook reports whether a vendor may call us for a backend with this secret;
	// Receive takes what it then tells.
	OpensHook(backend, secret string) bool
	Receive(ctx context.Context, backend string, header http.Header, body []byte) error
	// Ready reports why no send could be served now; nil when it could.
	Ready(ctx context.Context) error
}

// Limits are what the door keeps by itself. A zero field takes its default.
type Limits struct {
	Body        int64         // bytes of a request body; default 1 MiB
	InFlight    int           // sends at once; default 512
	BodyTimeout time.Duration // how long a body may take to arrive; default 30 s
	HeadWait    time.Duration // how long the head of a stream waits for the first content; default 5 s
	Heartbeat   time.Duration // of a stream in which nothing is said; default 10 s
	Write       time.Duration // how long a client may take to read what it is sent of a stream; default 10 s
}

// Options say how an API behaves.
type Options struct {
	Callers      []Caller // none: everybody may call, as tenant "default"
	Limits       Limits
	Metrics      http.Handler     // what /metrics answers; nil: that path does not exist
	NewRequestID func() string    // default: req_ and a UUIDv7
	Now          func() time.Time // default: time.Now
	Dialects     []*adapters.Dialect
}

// API is the handler. It is meant for a server with ReadHeaderTimeout 10 s,
// WriteTimeout 0 and DisableGeneralOptionsHandler, so that `OPTIONS *` is answered
// here too.
type API struct {
	engine    Engine
	limits    Limits
	newID     func() string
	now       func() time.Time
	log       *zap.Logger
	metrics   *telemetry.Metrics
	callers   atomic.Pointer[callers]
	dialects  []*adapters.Dialect
	endpoints []endpoint
	router    *mux.Router

	unready atomic.Bool  // set by Drain
	stopped atomic.Bool  // set by StopSends
	sends   atomic.Int64 // in flight
	exports atomic.Int64 // in flight
}

// New builds the API. A nil log is silent, and without metrics nothing is counted
// anywhere. It fails for callers that cannot be told apart.
func New(e Engine, o Options, log *zap.Logger, metrics *telemetry.Metrics) (*API, error) {
	if e == nil {
		return nil, errors.New("httpapi: an engine is needed")
	}
	a := &API{engine: e, limits: o.Limits, newID: o.NewRequestID, now: o.Now, log: log, metrics: metrics}
	if a.limits.Body <= 0 {
		a.limits.Body = 1 << 20
	}
	if a.limits.InFlight <= 0 {
		a.limits.InFlight = 512
	}
	if a.limits.BodyTimeout <= 0 {
		a.limits.BodyTimeout = 30 * time.Second
	}
	a.limits.HeadWait = cmp.Or(a.limits.HeadWait, 5*time.Second)
	a.limits.Heartbeat = cmp.Or(a.limits.Heartbeat, 10*time.Second)
	a.limits.Write = cmp.Or(a.limits.Write, 10*time.Second)
	if a.newID == nil {
		a.newID = newRequestID
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = zap.NewNop()
	}
	if a.metrics == nil {
		a.metrics = telemetry.New()
	}
	if err := a.SetCallers(o.Callers); err != nil {
		return nil, err
	}
	a.dialects = o.Dialects
	a.endpoints = endpoints(o.Metrics, o.Dialects)
	a.router = a.newRouter()
	return a, nil
}

func newRequestID() string {
	return normalize.FormatID(normalize.PrefixRequest, uuid.Must(uuid.NewV7()))
}

// SetCallers replaces who may call. Requests that are already inside are not
// disturbed; a caller that stays keeps its count of requests in flight, and its
// rate where that is unchanged. On an error the old callers stay.
func (a *API) SetCallers(list []Caller) error {
	next, err := newCallers(list, a.callers.Load())
	if err != nil {
		return err
	}
	a.callers.Store(next)
	return nil
}

// Drain makes /readyz answer 503 `draining` from now on, so that nobody new is
// sent here. Requests are served as before.
func (a *API) Drain() { a.unready.Store(true) }

// StopSends drains, and refuses every send that has not begun with 503
// `draining`. Sends in flight go on.
func (a *API) StopSends() {
	a.unready.Store(true)
	a.stopped.Store(true)
}

// Route is one method of one path.
type Route struct {
	Method string
	Path   string // a template: /v1/threads/{thread}
}

// Routes lists every method of every path that the API serves, HEAD left out.
func (a *API) Routes() []Route {
	var list []Route
	for _, e := range a.endpoints {
		for _, m := range e.methods {
			list = append(list, Route{Method: m.name, Path: e.path})
		}
	}
	return list
}
