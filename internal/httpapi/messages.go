package httpapi

import (
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
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.body(buf)
	if err != nil {
		return err
	}
	var in input
	o := c.sendOptions(&in, *buf)
	m := read(&in, v)
	if err := in.err(); err != nil {
		return err
	}
	if streaming(c.r.Header, m.stream) {
		return c.stream(m.SendRequest)
	}
	m.Timeout, m.Key = o.timeout, o.key
	c.asked = true
	turn, err := c.api.engine.Send(c.r.Context(), c.origin(), m.SendRequest)
	return c.turn(turn, err, o.raw)
}

// stream answers a send with events.
func (c *call) stream(engine.SendRequest) error {
	return normalize.Errorf(normalize.KindUnsupported, "streams are not there yet: send without stream, and without Accept: text/event-stream")
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
	if streaming(c.r.Header, stream) {
		return c.stream(engine.SendRequest{ThreadID: threadID})
	}
	c.asked = true
	turn, err := c.api.engine.Resend(c.r.Context(), c.origin(), threadID, messageID, o.timeout, o.key)
	return c.turn(turn, err, o.raw)
}

// sendOptions is what a send takes from its query and headers.
type sendOptions struct {
	raw     bool
	timeout time.Duration
	key     *engine.Key
}

func (c *call) sendOptions(in *input, body []byte) (o sendOptions) {
	o.raw = in.raw(in.query(c.r, "include"))
	o.timeout = in.timeout(c.r.Header)
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

// turn answers a send: with what was said, with the stored answer of an earlier
// request, or with what went wrong.
func (c *call) turn(t engine.Turn, err error, raw bool) error {
	if t.Backend != "" {
		c.backend = t.Backend
		h := c.Header()
		h.Set("Chatmux-Backend", t.Backend)
		if t.Route != "" {
			h.Set("Chatmux-Route", t.Route)
		}
		h.Set("Server-Timing", serverTiming(t.Upstream, c.api.now().Sub(c.start)))
	}
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
