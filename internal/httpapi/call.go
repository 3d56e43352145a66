package httpapi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

// drainGrace is how long net/http may wait for the rest of a refused body, so that
// the connection can be used again, before the refusal goes out and the connection
// closes. Bodies that came with their head are there already.
const drainGrace = 200 * time.Millisecond

// statusClientLeft stands in log and metrics for requests that failed with their
// client already gone.
const statusClientLeft = 499

// call is one request on its way through the API, and what is noted about it for
// the log.
type call struct {
	http.ResponseWriter
	api    *API
	r      *http.Request
	id     string
	start  time.Time
	route  string // the path's template; empty: no such path
	send   bool
	tongue *adapters.Dialect // nil: our own API
	who    *caller
	asked  bool   // the engine was asked to send
	places func() // gives back the places that a send takes; nil where it has none
	read   bool   // the body was read to its end
	status int    // 0: the head is not out yet
	bytes  int64

	backend string
	code    string
	cause   error
	left    bool // the client went away
}

// ServeHTTP answers one request. Every answer has Chatmux-Request-Id, and every
// failure is a problem object, a panic's included.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{ResponseWriter: w, api: a, r: r, id: a.newID(), start: a.now()}
	h := w.Header()
	h.Set("Chatmux-Request-Id", c.id)
	h.Set("X-Content-Type-Options", "nosniff")
	a.metrics.RequestBegan()
	defer c.end()
	a.router.ServeHTTP(c, r)
}

// Unwrap gives http.ResponseController the connection's own writer.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader notes the status.
func (c *call) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (c *call) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// enter is the door, cheapest check first: a free place, the key, the rate. A
// refusal touches neither store nor body.
func (c *call) enter(e *endpoint) {
	m := e.method(c.r.Method)
	if m == nil {
		c.Header().Set("Allow", e.allow)
		c.fail(&normalize.Error{Kind: normalize.KindMethodNotAllowed})
		return
	}
	a := c.api
	if m.gate == gateSend {
		c.send = true
		if a.stopped.Load() {
			c.fail(&normalize.Error{Kind: normalize.KindDraining})
			return
		}
		c.places = func() { a.sends.Add(-1) }
		defer func() { c.handOver()() }()
		if a.sends.Add(1) > int64(a.limits.InFlight) {
			c.fail(&normalize.Error{Kind: normalize.KindServerOverloaded})
			return
		}
	}
	if m.gate == gateHook && !a.engine.OpensHook(c.pathPart("backend"), c.pathPart("secret")) {
		c.fail(&normalize.Error{Kind: normalize.KindNotFound})
		return
	}
	if m.gate == gateKey || m.gate == gateSend {
		c.Header().Set("Cache-Control", "no-store")
		if c.who = a.callers.Load().find(c.key()); c.who == nil {
			c.fail(&normalize.Error{Kind: normalize.KindUnauthenticated})
			return
		}
		if now := a.now(); !c.who.admit(now) {
			c.fail(&normalize.Error{Kind: normalize.KindCallerRateLimited, RetryAfter: c.who.wait(now)})
			return
		}
		if m.gate == gateSend {
			if !c.who.begin() {
				c.fail(&normalize.Error{Kind: normalize.KindTooManyInFlight})
				return
			}
			leave := c.places
			c.places = func() { c.who.end(); leave() }
		}
	}
	if err := m.serve(c); err != nil {
		c.fail(err)
	}
}

// handOver gives what gives back the places of this send, to be called once; the call
// itself has none any more.
func (c *call) handOver() func() {
	if c.places == nil {
		return func() {}
	}
	leave := c.places
	c.places = nil
	return leave
}

// key is what the caller presents; empty: nothing that could be a key.
func (c *call) key() string {
	if c.tongue != nil {
		return c.tongue.Key(c.r.Header)
	}
	return bearer(c.r.Header["Authorization"])
}

// origin says where this request comes from.
func (c *call) origin() engine.Origin {
	return engine.Origin{Caller: c.who.Caller, Dialect: engine.Native, Header: c.r.Header.Get}
}

// pathID reads one of our ids out of the path. What is no such id is answered
// like one that never existed, and nobody is asked.
func (c *call) pathID(name, prefix string) (string, error) {
	id := c.pathPart(name)
	if _, err := normalize.ParseID(prefix, id); err != nil {
		return "", &normalize.Error{Kind: normalize.KindNotFound}
	}
	return id, nil
}

// pathPart gives a variable part of the path; the router leaves it escaped.
func (c *call) pathPart(name string) string {
	part, _ := url.PathUnescape(mux.Vars(c.r)[name]) // net/http has refused what is not well-formed
	return part
}

// fail answers with a problem object, or in the words of the dialect. Where the head
// is out already nothing can be said any more.
func (c *call) fail(err error) {
	e := normalize.AsError(err)
	policy := e.Kind.Policy()
	c.code, c.cause = policy.Code, e.Cause
	if e.Backend != "" {
		c.backend = e.Backend
	}
	if c.status != 0 {
		return
	}
	if policy.Status == http.StatusUnauthorized && c.tongue == nil {
		c.Header().Set("WWW-Authenticate", "Bearer")
	}
	c.setRetryAfter(policy.Status, e.RetryAfter)
	if !c.read && c.r.Body != nil && c.r.Body != http.NoBody {
		// Without a deadline a slow body would hold up the refusal. It cannot be set
		// where there is no connection, and is not needed there.
		_ = http.NewResponseController(c).SetReadDeadline(time.Now().Add(drainGrace))
	}
	if c.tongue != nil {
		c.tongue.Fail(c, c.r, c.id, e)
		return
	}
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = appendProblem((*buf)[:0], e, c.id)
	c.answer(policy.Status, *buf)
}

// setRetryAfter says when to come back, on the answers that ask for it. Where
// nobody knows, it is 1 to 5 s, spread so that not all come back at once.
func (c *call) setRetryAfter(status int, after time.Duration) {
	switch status {
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds := int((after + time.Second - 1) / time.Second)
		if seconds < 1 {
			seconds = 1 + rand.IntN(5)
		}
		c.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
}

// answer writes a whole JSON answer.
func (c *call) answer(status int, body []byte) {
	h := c.Header()
	if status >= 400 {
		h.Set("Content-Type", "application/problem+json")
	} else {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(status)
	if _, err := c.Write(body); err != nil {
		c.left = true
	}
}

// ok answers 200 with what add appends.
func (c *call) ok(add func([]byte) []byte) error { return c.json(http.StatusOK, add) }

func (c *call) json(status int, add func([]byte) []byte) error {
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = add((*buf)[:0])
	c.answer(status, *buf)
	return nil
}

// end closes the books on a request: a panic becomes 500 `internal`, or a cut
// connection where the head is out already; then log and metrics.
func (c *call) end() {
	cut := false
	if v := recover(); v != nil {
		err, _ := v.(error)
		aborted := errors.Is(err, http.ErrAbortHandler)
		cut = aborted || c.status != 0
		if !aborted {
			c.api.log.Error("panic", zap.String("request_id", c.id), zap.String("route", c.route),
				zap.String("panic", panicText(v)), zap.ByteString("stack", debug.Stack()))
		}
		if !cut {
			e := &normalize.Error{Kind: normalize.KindInternal}
			if c.asked {
				e.Outcome = normalize.OutcomeUnknown
			}
			c.fail(e)
		}
	}
	c.note()
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// panicText says what a panic was about. Only the runtime's own words are taken:
// any other value could carry a person's text or a secret, and the stack says
// where to look.
func panicText(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", v)
}

// note writes the log line and counts. Neither has a query string, a header's
// value or a text.
func (c *call) note() {
	a := c.api
	took := a.now().Sub(c.start)
	// net/http ends the context after any failed read, a body's deadline included.
	if c.left || c.r.Context().Err() != nil && c.code != "request_timeout" {
		a.metrics.ClientLeft()
		if c.status >= 400 {
			c.status = statusClientLeft
		}
	}
	name := knownMethod(c.r.Method)
	a.metrics.RequestEnded(c.route, name, c.status, c.code, took)

	level := zap.DebugLevel
	switch {
	case c.code == "internal" || c.code == "storage_unavailable":
		level = zap.ErrorLevel
	case c.send:
		level = zap.InfoLevel
	}
	line := a.log.Check(level, "request")
	if line == nil {
		return
	}
	fields := make([]zap.Field, 0, 12)
	fields = append(fields, zap.String("method", name), zap.String("route", c.route), zap.Int("status", c.status),
		zap.Duration("duration", took), zap.Int64("bytes", c.bytes), zap.String("request_id", c.id))
	if c.who != nil {
		fields = append(fields, zap.String("caller", c.who.Name))
	}
	if c.backend != "" {
		fields = append(fields, zap.String("backend", c.backend))
	}
	if c.code != "" {
		fields = append(fields, zap.String("code", c.code))
	}
	if level == zap.ErrorLevel && c.cause != nil {
		fields = append(fields, zap.NamedError("cause", c.cause))
	}
	line.Write(fields...)
}

// knownMethod keeps what clients make up out of log and metrics.
func knownMethod(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "other"
}

// maxPooled is the largest buffer that is kept for the next request.
const maxPooled = 128 << 10

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		buffers.Put(b)
	}
}
