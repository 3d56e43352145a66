package httpapi

import (
	"context"
	"time"

	"chatmux/normalize"
)

// readyTimeout is how long the store may take to say that it is there.
const readyTimeout = 2 * time.Second

// health is GET /healthz: the process lives.
func (c *call) health() error {
	return c.ok(func(b []byte) []byte { return append(b, `{"status":"ok"}`...) })
}

// ready is GET /readyz: a send could be served.
func (c *call) ready() error {
	if c.api.unready.Load() {
		return &normalize.Error{Kind: normalize.KindDraining}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), readyTimeout)
	defer cancel()
	if err := c.api.engine.Ready(ctx); err != nil {
		if e := normalize.AsError(err); e.Kind != normalize.KindInternal {
			return e
		}
		return &normalize.Error{Kind: normalize.KindStorageUnavailable, Cause: err}
	}
	return c.ok(func(b []byte) []byte { return append(b, `{"status":"ready"}`...) })
}
