package engine

import (
	"context"
	"errors"

	"chatmux/internal/store"
)

// Record keeps a small object of a dialect's own, by tenant and name; with a thread it
// is erased with that. With fresh, one that exists stays. It returns what is kept now.
func (e *Engine) Record(ctx context.Context, o Origin, name, threadID string, value []byte, fresh bool) ([]byte, error) {
	stored, err := e.store.SaveRecord(ctx, store.Record{
		Tenant: o.Caller.Tenant, Dialect: o.Dialect, Name: recordName(name), ThreadID: threadID, Value: value,
	}, fresh)
	if err != nil {
		return nil, e.storeError(err)
	}
	return stored.Value, nil
}

// Recall gives an object back that Record keeps; nil where there is none.
func (e *Engine) Recall(ctx context.Context, o Origin, name string) ([]byte, error) {
	if len(name) > 2*maxForeignID {
		return nil, nil
	}
	stored, err := e.store.ReadRecord(ctx, o.Caller.Tenant, o.Dialect, recordName(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, e.storeError(err)
	}
	return stored.Value, nil
}

// recordName keeps a dialect's own names apart from those of threads.
func recordName(name string) string { return "record:" + name }
