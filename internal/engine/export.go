package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"chatmux/internal/archive"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// ExportRequest says what to export of the caller's own tenant. Empty fields select all.
type ExportRequest struct {
	Format       string // jsonl, csv or xlsx
	Since, Until time.Time
	Backend      string
	User         string
}

// Export writes the tenant's threads to w, as archive.Export does: nothing before the
// first reading has gone well; after an error what was written is not whole.
func (e *Engine) Export(ctx context.Context, o Origin, r ExportRequest, w io.Writer) error {
	_, err := archive.Export(ctx, e.store, archive.Filter{
		Tenant: o.Caller.Tenant, Since: r.Since, Until: r.Until, Backend: r.Backend, User: r.User,
	}, archive.Format(r.Format), w, nil)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return e.storeError(err)
	case err != nil:
		return &normalize.Error{Kind: normalize.KindInternal, Cause: err}
	}
	return nil
}
