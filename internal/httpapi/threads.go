package httpapi

import (
	"net/http"

	"chatmux/normalize"
)

// createThread is POST /v1/threads.
func (c *call) createThread() error {
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.body(buf)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	thread := in.newThread(v)
	if err := in.err(); err != nil {
		return err
	}
	t, err := c.api.engine.CreateThread(c.r.Context(), c.origin(), thread)
	if err != nil {
		return err
	}
	c.Header().Set("Location", "/v1/threads/"+t.ID)
	return c.json(http.StatusCreated, func(b []byte) []byte { return t.AppendJSON(b, false) })
}

// listThreads is GET /v1/threads.
func (c *call) listThreads() error {
	var in input
	values := in.query(c.r, filterParams...)
	filter := in.filter(values)
	page := in.page(values, false)
	if err := in.err(); err != nil {
		return err
	}
	list, next, err := c.api.engine.Threads(c.r.Context(), c.origin(), filter, page)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte {
		return appendPage(b, next, func(b []byte) []byte { return appendThreads(b, list, page.Raw) })
	})
}

// readThread is GET /v1/threads/{thread}.
func (c *call) readThread() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
	if err != nil {
		return err
	}
	var in input
	raw := in.raw(in.query(c.r, "include"))
	if err := in.err(); err != nil {
		return err
	}
	t, err := c.api.engine.Thread(c.r.Context(), c.origin(), id, raw)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return t.AppendJSON(b, raw) })
}

// updateThread is PATCH /v1/threads/{thread}.
func (c *call) updateThread() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
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
	patch := in.patch(v)
	if err := in.err(); err != nil {
		return err
	}
	t, err := c.api.engine.UpdateThread(c.r.Context(), c.origin(), id, patch)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return t.AppendJSON(b, false) })
}

// deleteThread is DELETE /v1/threads/{thread}.
func (c *call) deleteThread() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	if err := in.err(); err != nil {
		return err
	}
	list, err := c.api.engine.DeleteThread(c.r.Context(), c.origin(), id)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return appendErasures(b, list) })
}

// move is POST /v1/threads/{thread}/move.
func (c *call) move() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
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
	backend, carry := in.target(v)
	if err := in.err(); err != nil {
		return err
	}
	t, err := c.api.engine.Move(c.r.Context(), c.origin(), id, backend, carry)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return t.AppendJSON(b, false) })
}
