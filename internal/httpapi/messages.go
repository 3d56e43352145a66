package httpapi

import (
	"context"
	"crypto/sha256"
	"time"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// sendToThread is POST /v1/threads/{thread}/messages.
func (c *call) sendToThread() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
	if err != nil {
		return err
	}
	return c.sendBody(func(in *input, v value) message {
		m := in.message(v)
		m.ThreadID = id
		return m
	})
}

// sendFirst is POST /v1/messages.
func (c *call) sendFirst() error {
	return c.sendBody((*input).first)
}

func (c *call) sendBody(read func(*input, value) message) error {
	m, o, err := c.readSend(read)
	if err != nil {
		return err
	}
	m.Timeout, m.Key = o.timeout, o.key
	from := c.origin()
	return c.deliver(o, streaming(c.r.Header, m.stream), func(ctx context.Context, observe engine.Observer) (engine.Turn, error) {
		m.Observe = observe
		return c.api.engine.Send(ctx, from, m.SendRequest)
	})
}

// readSend reads a send's body, which is not kept: an answer can take long.
func (c *call) readSend(read func(*input, value) message) (m message, o sendOptions, err error) {
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.body(buf)
	if err != nil {
		return m, o, err
	}
	var in input
	o = c.sendOptions(&in, *buf)
	m = read(&in, v)
	return m, o, in.err()
}

// delivery is a send to be done; observe may be nil.
type delivery func(ctx context.Context, observe engine.Observer) (engine.Turn, error)

// deliver does a send in the manner that its client wants the answer: as a stream, later,
// or whole.
func (c *call) deliver(o sendOptions, stream bool, send delivery) error {
	c.asked = true
	switch {
	case stream:
		return c.stream(send)
	case o.async:
		return c.later(o, send)
	}
	turn, err := send(c.r.Context(), nil)
	return c.turn(turn, err, o.raw)
}

// resend is POST /v1/threads/{thread}/messages/{message}/resend.
func (c *call) resend() error {
	threadID, messageID, err := c.messageIDs()
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.optionalBody(buf)
	if err != nil {
		return err
	}
	var in input
	o := c.sendOptions(&in, *buf)
	var stream *bool
	if v != nil {
		in.body(v, func(name string, v value) bool {
			if name == "stream" {
				stream = in.flag(v)
			}
			return name == "stream"
		})
	}
	if err := in.err(); err != nil {
		return err
	}
	from := c.origin()
	return c.deliver(o, streaming(c.r.Header, stream), func(ctx context.Context, observe engine.Observer) (engine.Turn, error) {
		return c.api.engine.Resend(ctx, from, engine.ResendRequest{
			ThreadID: threadID, MessageID: messageID, Timeout: o.timeout, Key: o.key, Observe: observe,
		})
	})
}

// sendOptions is what a send takes from its query and headers.
type sendOptions struct {
	raw     bool
	async   bool // Prefer: respond-async
	timeout time.Duration
	key     *engine.Key
}

func (c *call) sendOptions(in *input, body []byte) (o sendOptions) {
	o.raw = in.raw(in.query(c.r, "include"))
	o.timeout = in.timeout(c.r.Header)
	o.async = respondAsync(c.r.Header)
	if key := in.key(c.r.Header); key != "" {
		o.key = &engine.Key{
			Key:      key,
			Path:     c.r.Method + " " + c.r.URL.Path,
			BodyHash: sha256.Sum256(body),
			Render:   renderer(c.id, o.raw),
		}
	}
	return o
}

// sentBy says in the head, and for the log, who answered a send.
func (c *call) sentBy(t *engine.Turn) {
	if t.Backend != "" {
		c.answeredBy(t.Backend, t.Route, t.Upstream)
	}
}

// turn answers a send: with what was said, with the stored answer of an earlier
// request, or with what went wrong.
func (c *call) turn(t engine.Turn, err error, raw bool) error {
	c.sentBy(&t)
	if err != nil {
		return err
	}
	if t.Replay != nil {
		c.Header().Set("Idempotency-Replayed", "true")
		c.setRetryAfter(t.Replay.Status, 0)
		c.answer(t.Replay.Status, t.Replay.Body)
		return nil
	}
	return c.ok(func(b []byte) []byte { return appendTurn(b, &t, raw) })
}

// answeredBy says in the head who answers, and how long it took so far.
func (c *call) answeredBy(backend, route string, upstream time.Duration) {
	c.backend = backend
	h := c.Header()
	h.Set("Chatmux-Backend", backend)
	if route != "" {
		h.Set("Chatmux-Route", route)
	}
	h.Set("Server-Timing", serverTiming(upstream, c.api.now().Sub(c.start)))
}

// listMessages is GET /v1/threads/{thread}/messages.
func (c *call) listMessages() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
	if err != nil {
		return err
	}
	var in input
	page := in.page(in.query(c.r, pageParams...), true)
	if err := in.err(); err != nil {
		return err
	}
	list, next, err := c.api.engine.Messages(c.r.Context(), c.origin(), id, page)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte {
		return appendPage(b, next, func(b []byte) []byte { return appendMessages(b, list, page.Raw) })
	})
}

// readMessage is GET /v1/threads/{thread}/messages/{message}.
func (c *call) readMessage() error {
	threadID, messageID, err := c.messageIDs()
	if err != nil {
		return err
	}
	var in input
	raw := in.raw(in.query(c.r, "include"))
	if err := in.err(); err != nil {
		return err
	}
	m, err := c.api.engine.Message(c.r.Context(), c.origin(), threadID, messageID, raw)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return m.AppendJSON(b, raw) })
}

// setFeedback is POST /v1/threads/{thread}/messages/{message}/feedback.
func (c *call) setFeedback() error {
	threadID, messageID, err := c.messageIDs()
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.body(buf)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	feedback := in.feedback(v)
	if err := in.err(); err != nil {
		return err
	}
	m, err := c.api.engine.SetFeedback(c.r.Context(), c.origin(), threadID, messageID, feedback)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return m.AppendJSON(b, false) })
}

// messageIDs reads the two ids of a message's path.
func (c *call) messageIDs() (threadID, messageID string, err error) {
	if threadID, err = c.pathID("thread", normalize.PrefixThread); err != nil {
		return "", "", err
	}
	messageID, err = c.pathID("message", normalize.PrefixMessage)
	return threadID, messageID, err
}
