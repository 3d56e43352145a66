package engine

import (
	"context"
	"strconv"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// Delivery is one event for one receiver of webhooks.
type Delivery struct {
	ID        string // the receiver knows the event by it
	Endpoint  string
	Type      string // of the event: message.created, …
	ThreadID  string
	MessageID string // empty where the event is of the thread
	Status    string // pending, delivered, dead
	Tries     int
	Response  int       // HTTP status of the last answer; 0 where there was none
	Failure   string    // why the last try failed
	CreatedAt time.Time // when the event happened
	TriedAt   time.Time
	NextAt    time.Time // when it is tried next; zero where it is not
}

// DeliveryFilter selects deliveries. Empty fields select all.
type DeliveryFilter struct {
	Endpoint string
	Status   string
}

// Deliveries lists the tenant's deliveries, the newest event first, and the cursor of the
// next page; empty on the last.
func (e *Engine) Deliveries(ctx context.Context, o Origin, f DeliveryFilter, page Page) ([]Delivery, string, error) {
	mark := listMark("deliveries", o.Caller.Tenant, f.Endpoint, f.Status, strconv.FormatBool(page.Ascending))
	after, err := readCursor(mark, page.Cursor)
	if err != nil {
		return nil, "", err
	}
	found, more, err := e.store.Deliveries(ctx,
		store.DeliveryFilter{Tenant: o.Caller.Tenant, Endpoint: f.Endpoint, Status: store.DeliveryStatus(f.Status)},
		store.Range{After: after, Limit: page.Limit, Ascending: page.Ascending})
	if err != nil {
		return nil, "", e.storeError(err)
	}
	list := make([]Delivery, len(found))
	for i, d := range found {
		list[i] = deliveryOf(d)
	}
	next := ""
	if more {
		next = writeCursor(mark, store.Position{ID: list[len(list)-1].ID})
	}
	return list, next, nil
}

// Redeliver has an event delivered once more, whatever became of it; with all its tries
// before it again. One that is being tried just now is left alone.
func (e *Engine) Redeliver(ctx context.Context, o Origin, id string) (Delivery, error) {
	if _, err := normalize.ParseID(normalize.PrefixDelivery, id); err != nil {
		return Delivery{}, &normalize.Error{Kind: normalize.KindNotFound}
	}
	d, err := e.store.Redeliver(ctx, o.Caller.Tenant, id)
	if err != nil {
		return Delivery{}, e.storeError(err)
	}
	return deliveryOf(d), nil
}

func deliveryOf(d store.Delivery) Delivery {
	return Delivery{
		ID: d.ID, Endpoint: d.Endpoint, Type: string(d.Topic), ThreadID: d.ThreadID, MessageID: d.MessageID, Status: string(d.Status),
		Tries: d.Tries, Response: d.Response, Failure: d.Failure, CreatedAt: d.CreatedAt, TriedAt: d.TriedAt, NextAt: d.NextAt,
	}
}
