package engine

import (
	"context"
	"time"

	"chatmux/adapters"
	"chatmux/internal/archive"
	"chatmux/normalize"
)

// ImportRecords reads a vendor's own record of questions and answers into the store, of
// the request's time, which needs a Since; without Until it is all up to now. A
// record does not say which conversation it was part of, so each becomes a thread of its
// own that has ended. The same import again changes nothing. The records are read
// before the first is stored, and are in memory until then. It waits for the vendor as
// Import does. KindUnsupported where the vendor keeps no such record.
func (e *Engine) ImportRecords(ctx context.Context, o Origin, req ImportRequest) (archive.Report, error) {
	end, err := e.begin()
	if err != nil {
		return archive.Report{}, err
	}
	defer end()
	u := e.use()
	defer u.release()
	b := u.byName[req.Backend]
	if b == nil {
		return archive.Report{}, normalize.InvalidField("backend", "there is no backend of this name")
	}
	until := req.Until
	if until.IsZero() {
		until = now()
	}
	// The vendor counts whole days, both included.
	query := adapters.RecordQuery{Since: req.Since.UTC(), Until: until.Add(-time.Millisecond).UTC()}
	var records []adapters.Record
	for page := (adapters.Page{Limit: importPage}); ; {
		var got adapters.RecordPage
		failure := e.patiently(ctx, func() *normalize.Error {
			listed, able, failure := b.ListRecords(ctx, query, page)
			if !able {
				return &normalize.Error{Kind: normalize.KindUnsupported, Backend: b.Name(), Detail: "its vendor keeps no record that can be listed"}
			}
			got = listed
			return failure
		})
		if failure != nil {
			return archive.Report{}, failure
		}
		for _, r := range got.Records {
			if !r.CreatedAt.Before(req.Since) && (req.Until.IsZero() || r.CreatedAt.Before(req.Until)) {
				records = append(records, r)
			}
		}
		if got.NextCursor == "" || got.NextCursor == page.Cursor {
			break
		}
		page.Cursor = got.NextCursor
	}
	each := func(take func(int, adapters.Record) error) error {
		for i, r := range records {
			if err := take(i+1, r); err != nil {
				return err
			}
		}
		return nil
	}
	return archive.ImportRecords(ctx, e.store, archive.Destination{Tenant: o.Caller.Tenant, Backend: b.Name()}, each, archive.Options{DryRun: req.DryRun})
}
