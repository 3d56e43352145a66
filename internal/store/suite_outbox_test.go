package store

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/normalize"
)

var everyTopic = []Topic{TopicMessageCreated, TopicReplyCompleted, TopicThreadUpdated, TopicThreadMoved}

func (f *fixture) deliveries(filter DeliveryFilter) []Delivery {
	f.t.Helper()
	list, more, err := f.Deliveries(f.t.Context(), filter, Range{Ascending: true, Limit: 200})
	f.must(err)
	if more {
		f.t.Fatal("more than 200 deliveries")
	}
	return list
}

func (f *fixture) claim(endpoint, owner string, lease time.Duration, limit int) []Delivery {
	f.t.Helper()
	list, err := f.ClaimDeliveries(f.t.Context(), endpoint, owner, lease, limit)
	f.must(err)
	return list
}

// overdue makes a delivery due that waits, or whose lease has not ended.
func (f *fixture) overdue(id string) {
	f.t.Helper()
	f.change("UPDATE deliveries SET due = 1 WHERE id = $1", id)
}

// eventsAreStoredWithTheirDeliveries: whoever is to be told of an event is known when
// it is durable; nobody is told of another tenant's, or of what it did not ask for.
func eventsAreStoredWithTheirDeliveries(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	var woken atomic.Int64
	f.SetOutbox([]Endpoint{
		{Name: "all", Tenant: "acme", Topics: everyTopic},
		{Name: "moves", Tenant: "acme", Topics: []Topic{TopicThreadMoved}},
		{Name: "others", Tenant: "other", Topics: everyTopic},
	}, func() { woken.Add(1) })
	thread := f.thread("acme")
	f.same("deliveries of a thread without a message", len(f.deliveries(DeliveryFilter{Tenant: "acme"})), 0)
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1")
	reply := replyTo(m, "hi")
	f.end(thread, m, "e1", normalize.StatusSent, func(fin *Finish) {
		fin.Replies = []normalize.Message{reply}
		fin.Events = []Entry{
			{Type: normalize.EventDelta, MessageID: reply.ID, Pieces: []int{2}},
			{Type: normalize.EventReply, MessageID: reply.ID},
			{Type: normalize.EventDone, MessageID: m.ID, Replies: []string{reply.ID}},
		}
	})
	change := func(change func(*StoredThread)) {
		_, err := f.UpdateThread(ctx, "acme", thread.ID, t0, func(t *StoredThread) error { change(t); return nil })
		f.must(err)
	}
	change(func(t *StoredThread) { t.Title = "new" })
	change(func(t *StoredThread) { t.Metadata = map[string]string{"a": "b"} }) // nobody is told of it
	change(func(t *StoredThread) { t.Backend = "desk" })
	f.same("woken", woken.Load(), int64(4))

	var told [][3]string
	for _, d := range f.deliveries(DeliveryFilter{Tenant: "acme"}) {
		told = append(told, [3]string{d.Endpoint, string(d.Topic), d.MessageID})
		if d.Status != DeliveryPending || d.Tries != 0 || d.ThreadID != thread.ID || d.CreatedAt.IsZero() || d.NextAt.IsZero() || !d.TriedAt.IsZero() {
			f.t.Errorf("delivery %+v", d)
		}
		if _, err := normalize.ParseID(normalize.PrefixDelivery, d.ID); err != nil {
			f.t.Error(err)
		}
	}
	f.same("told", told, [][3]string{
		{"all", "message.created", m.ID},
		{"all", "reply.completed", reply.ID},
		{"all", "thread.updated", ""},
		{"all", "thread.moved", ""},
		{"moves", "thread.moved", ""},
	})
	f.same("of another tenant", len(f.deliveries(DeliveryFilter{Tenant: "other"})), 0)

	again := userMessage(thread.ID, "again")
	f.begin(thread, again, "e2")
	f.end(thread, again, "e2", normalize.StatusFailed)
	before := len(f.deliveries(DeliveryFilter{Tenant: "acme"}))
	again.Status = normalize.StatusPending
	f.begin(thread, again, "e3", func(a *Acceptance) { a.Resend = true })
	f.same("deliveries after a message was sent again", len(f.deliveries(DeliveryFilter{Tenant: "acme"})), before)

	f.end(thread, again, "e3", normalize.StatusFailed)
	f.must(f.erase(ctx, "acme", thread.ID, t0))
	f.same("deliveries of an erased thread", len(f.deliveries(DeliveryFilter{Tenant: "acme"})), 0)
}

// deliveryIsOneOwnersAtATime: W09, and what follows from an end.
func deliveryIsOneOwnersAtATime(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	f.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: []Topic{TopicMessageCreated}}}, nil)
	thread := f.thread("acme")
	for _, text := range []string{"one", "two", "three"} {
		f.say(thread, text)
	}
	first := f.claim("crm", "a", time.Minute, 2)
	second := f.claim("crm", "b", time.Minute, 5)
	f.same("claims", []int{len(first), len(second), len(f.claim("crm", "c", time.Minute, 5)), len(f.claim("none", "c", time.Minute, 5))}, []int{2, 1, 0, 0})
	if first[0].Tries != 1 || first[0].ID == first[1].ID || first[1].ID == second[0].ID || first[0].Topic != TopicMessageCreated || first[0].Tenant != "acme" {
		f.t.Errorf("claimed %+v", first)
	}
	id := first[0].ID
	f.must(f.EndDelivery(ctx, id, "a", DeliveryEnd{Status: DeliveryPending, Wait: time.Hour, Response: 500, Failure: "no"}))
	f.same("claims while it waits", len(f.claim("crm", "b", time.Minute, 5)), 0)
	f.overdue(id)
	again := f.claim("crm", "b", time.Minute, 5)
	if len(again) != 1 || again[0].ID != id || again[0].Tries != 2 || again[0].Response != 500 || again[0].Failure != "no" {
		f.t.Fatalf("claimed again %+v", again)
	}
	f.overdue(id) // its lease ends
	if taken := f.claim("crm", "c", time.Minute, 5); len(taken) != 1 {
		f.t.Fatalf("taken over %+v", taken)
	}
	f.wantErr("W09: the end of one that was taken over", f.EndDelivery(ctx, id, "b", DeliveryEnd{Status: DeliveryDelivered, Response: 200}), ErrLost)
	f.must(f.EndDelivery(ctx, id, "c", DeliveryEnd{Status: DeliveryDelivered, Response: 204}))
	f.wantErr("a second end", f.EndDelivery(ctx, id, "c", DeliveryEnd{Status: DeliveryDead}), ErrLost)
	done := f.deliveries(DeliveryFilter{Tenant: "acme", Status: DeliveryDelivered})
	if len(done) != 1 || done[0].ID != id || done[0].Response != 204 || done[0].Failure != "" || !done[0].NextAt.IsZero() {
		f.t.Errorf("delivered %+v", done)
	}

	if !f.db.shared() { // whoever had the others is dead
		_, err := f.Recover(ctx, t0)
		f.must(err)
		f.same("claims after a restart", len(f.claim("crm", "d", time.Minute, 5)), 2)
	}
}

// deliveryIsMadeAgainOnAsking: whatever became of it, but not beside a try that runs.
func deliveryIsMadeAgainOnAsking(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	var woken atomic.Int64
	f.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: everyTopic}}, func() { woken.Add(1) })
	thread := f.thread("acme")
	f.begin(thread, userMessage(thread.ID, "hello"), "e1")
	id := f.claim("crm", "a", time.Minute, 1)[0].ID
	f.must(f.EndDelivery(ctx, id, "a", DeliveryEnd{Status: DeliveryDead, Failure: "no"}))
	f.same("claims of a dead one", len(f.claim("crm", "a", time.Minute, 1)), 0)
	list, err := f.Backlogs(ctx)
	f.must(err)
	f.same("backlog", list, []Backlog{{Endpoint: "crm", Dead: 1}})

	_, err = f.Redeliver(ctx, "other", id)
	f.wantErr("another tenant's", err, ErrNotFound)
	woken.Store(0)
	d, err := f.Redeliver(ctx, "acme", id)
	f.must(err)
	if d.Status != DeliveryPending || d.Tries != 0 || woken.Load() != 1 {
		f.t.Errorf("revived %+v, woken %d", d, woken.Load())
	}
	list, err = f.Backlogs(ctx)
	f.must(err)
	if len(list) != 1 || list[0].Pending != 1 || list[0].Dead != 0 || !list[0].Oldest.Equal(d.CreatedAt) {
		f.t.Errorf("backlog %+v", list)
	}
	if got := f.claim("crm", "b", time.Minute, 1); len(got) != 1 || got[0].Tries != 1 {
		f.t.Fatalf("claimed %+v", got)
	}
	d, err = f.Redeliver(ctx, "acme", id)
	f.must(err)
	if d.Tries != 1 || len(f.claim("crm", "c", time.Minute, 1)) != 0 {
		f.t.Errorf("one that is being tried was disturbed: %+v", d)
	}
	f.must(f.EndDelivery(ctx, id, "b", DeliveryEnd{Status: DeliveryDelivered, Response: 200}))
	_, err = f.Redeliver(ctx, "acme", id)
	f.must(err)
	f.same("claims of a delivered one", len(f.claim("crm", "c", time.Minute, 1)), 1)
}

// deliveryPagesMeet: in both orders, with each filter.
func deliveryPagesMeet(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	f.SetOutbox([]Endpoint{
		{Name: "one", Tenant: "acme", Topics: []Topic{TopicMessageCreated}}, {Name: "two", Tenant: "acme", Topics: []Topic{TopicMessageCreated}},
	}, nil)
	thread := f.thread("acme")
	for range 3 {
		f.say(thread, "hello")
	}
	for _, d := range f.claim("two", "a", time.Minute, 2) {
		f.must(f.EndDelivery(ctx, d.ID, "a", DeliveryEnd{Status: DeliveryDead}))
	}
	for want, filter := range map[int]DeliveryFilter{
		6: {Tenant: "acme"}, 3: {Tenant: "acme", Endpoint: "one"}, 2: {Tenant: "acme", Status: DeliveryDead}, 4: {Tenant: "acme", Status: DeliveryPending},
		1: {Tenant: "acme", Status: DeliveryPending, Endpoint: "two"},
	} {
		whole := f.deliveries(filter)
		f.same("selected", len(whole), want)
		for _, ascending := range []bool{true, false} {
			var got []Delivery
			for r := (Range{Limit: 2, Ascending: ascending}); ; {
				page, more, err := f.Deliveries(ctx, filter, r)
				f.must(err)
				got = append(got, page...)
				if !more {
					break
				}
				r.After.ID = page[len(page)-1].ID
			}
			if !ascending {
				slices.Reverse(got)
			}
			f.same("pages", got, whole)
		}
	}
}

// sweepTakesOldDeliveries that nobody needs any more.
func sweepTakesOldDeliveries(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	f.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: []Topic{TopicMessageCreated}}}, nil)
	thread := f.thread("acme")
	for range 6 {
		f.say(thread, "hello")
	}
	list := f.claim("crm", "a", time.Minute, 6)
	for i, status := range []DeliveryStatus{DeliveryDelivered, DeliveryDelivered, DeliveryDead, DeliveryDead, DeliveryPending, DeliveryPending} {
		f.must(f.EndDelivery(ctx, list[i].ID, "a", DeliveryEnd{Status: status, Wait: time.Hour}))
		if i%2 == 0 {
			f.change("UPDATE deliveries SET tried_at = $2, due = $2 WHERE id = $1", list[i].ID, millis(t0))
		}
	}
	n, err := f.SweepDeliveries(ctx, at(1), at(-1), 100)
	f.must(err)
	f.same("swept of those that were delivered", n, 1)
	n, err = f.SweepDeliveries(ctx, at(1), at(1), 1)
	f.must(err)
	f.same("swept at most", n, 1)
	n, err = f.SweepDeliveries(ctx, at(1), at(1), 100)
	f.must(err)
	f.same("swept of the others", n, 1)
	f.same("left", len(f.deliveries(DeliveryFilter{Tenant: "acme"})), 3)
}

// claimsNeverMeet: many owners at once never have the same delivery.
func claimsNeverMeet(t *testing.T, f *fixture) {
	f.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: []Topic{TopicMessageCreated}}}, nil)
	const events, owners = 40, 8
	for range events {
		thread := f.thread("acme")
		f.begin(thread, userMessage(thread.ID, "hello"), thread.ID)
	}
	type claimed struct {
		list []Delivery
		err  error
	}
	results := make(chan claimed, owners)
	for i := range owners {
		go func() {
			var all claimed
			for all.err == nil && len(all.list) < events {
				var list []Delivery
				list, all.err = f.ClaimDeliveries(t.Context(), "crm", string(rune('a'+i)), time.Minute, 3)
				if len(list) == 0 && all.err == nil {
					break
				}
				all.list = append(all.list, list...)
			}
			results <- all
		}()
	}
	seen := make(map[string]bool)
	for range owners {
		got := <-results
		f.must(got.err)
		for _, d := range got.list {
			if seen[d.ID] {
				t.Errorf("%s was claimed twice", d.ID)
			}
			seen[d.ID] = true
		}
	}
	for _, d := range f.claim("crm", "last", time.Minute, events) { // an owner that met others only may have stopped early
		if seen[d.ID] {
			t.Errorf("%s was claimed twice", d.ID)
		}
		seen[d.ID] = true
	}
	f.same("claimed", len(seen), events)
}

// failedWriteTellsNobody: what was rolled back is no news.
func failedWriteTellsNobody(_ *testing.T, f *fixture) {
	ctx := f.t.Context()
	var woken atomic.Int64
	f.SetOutbox([]Endpoint{{Name: "crm", Tenant: "acme", Topics: everyTopic}}, func() { woken.Add(1) })
	thread := f.thread("acme")
	refused := errors.New("refused")
	_, err := f.UpdateThread(ctx, "acme", thread.ID, t0, func(*StoredThread) error { return refused })
	f.wantErr("change", err, refused)
	f.same("woken", woken.Load(), int64(0))
	f.same("deliveries", len(f.deliveries(DeliveryFilter{Tenant: "acme"})), 0)
}
