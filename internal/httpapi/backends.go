package httpapi

import (
	"slices"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

// listBackends is GET /v1/backends.
func (c *call) listBackends() error {
	var in input
	in.query(c.r)
	if err := in.err(); err != nil {
		return err
	}
	list := c.api.engine.Backends()
	return c.ok(func(b []byte) []byte {
		b = append(b, `{"data":`...)
		b = appendEach(b, list, appendBackend)
		return append(b, '}')
	})
}

// readBackend is GET /v1/backends/{backend}.
func (c *call) readBackend() error {
	var in input
	in.query(c.r)
	if err := in.err(); err != nil {
		return err
	}
	state, err := c.api.engine.Backend(c.pathPart("backend"))
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return appendBackend(b, &state) })
}

// explain is POST /v1/routes/explain. It answers as if the message had come from
// where the body says. A caller with a key sees only its own routes; without any
// callers the name of any may be tried.
func (c *call) explain() error {
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.body(buf)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	q := in.question(v)
	if err := in.err(); err != nil {
		return err
	}
	from := engine.Origin{Caller: c.who.Caller, Dialect: q.dialect, Bot: q.bot, Header: q.headers.Get}
	if from.Dialect == "" {
		from.Dialect = engine.Native
	}
	if from.Dialect != engine.Native && !slices.ContainsFunc(c.api.dialects, func(d *adapters.Dialect) bool { return d.Name == from.Dialect }) {
		return normalize.InvalidField("dialect", "there is no dialect of this name")
	}
	switch {
	case q.caller == "" || q.caller == from.Caller.Name:
	case from.Caller.Name == "":
		from.Caller.Name = q.caller
	default:
		return normalize.Errorf(normalize.KindForbidden, "a caller can ask for itself only")
	}
	explanation, err := c.api.engine.Explain(from, q.SendRequest)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return appendExplanation(b, &explanation) })
}
