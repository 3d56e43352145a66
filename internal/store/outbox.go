package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"chatmux/normalize"
)

// Topic is what an event tells of, as receivers of webhooks know it.
type Topic string

// The topics.
const (
	TopicMessageCreated Topic = "message.created" // a user's message was stored
	TopicReplyCompleted Topic = "reply.completed" // a whole reply was stored
	TopicThreadUpdated  Topic = "thread.updated"  // mode, status or title changed
	TopicThreadMoved    Topic = "thread.moved"    // another backend has the thread
)

// Endpoint is a receiver of events, as far as the store has to know it.
type Endpoint struct {
	Name   string
	Tenant string // whose events
	Topics []Topic
}

// DeliveryStatus is where a delivery stands.
type DeliveryStatus string

// The states of a delivery. Only pending ones are tried.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryDead      DeliveryStatus = "dead" // not tried any more by itself
)

// Delivery is one event for one endpoint.
type Delivery struct {
	ID        string
	Tenant    string
	Endpoint  string
	Topic     Topic
	ThreadID  string
	MessageID string // empty where Topic is of the thread
	Status    DeliveryStatus
	Tries     int       // begun so far
	Response  int       // HTTP status of the last try's answer; 0 where there was none
	Failure   string    // why the last try failed
	CreatedAt time.Time // when the event happened
	TriedAt   time.Time // when the last try ended, or began if it has not ended
	NextAt    time.Time // when it is tried next; zero unless it is pending
}

// DeliveryFilter selects deliveries. Empty fields select all.
type DeliveryFilter struct {
	Tenant   string // always
	Endpoint string
	Status   DeliveryStatus
}

// DeliveryEnd is how a try of a delivery ended.
type DeliveryEnd struct {
	Status   DeliveryStatus
	Wait     time.Duration // of a pending one: until the next try
	Response int
	Failure  string
}

// Backlog is what one endpoint has not got.
type Backlog struct {
	Endpoint string
	Pending  int
	Oldest   time.Time // when the oldest pending event happened; zero where there is none
	Dead     int
}

// SetOutbox says who is told of what is stored from now on: an event becomes
// durable together with its deliveries. Where there is an event for somebody, wake is
// called after the commit, of another process's too if Follow runs; it must not wait.
// Deliveries to endpoints that are not named any more stay as they are.
func (s *Store) SetOutbox(endpoints []Endpoint, wake func()) {
	box := &receivers{wake: wake, of: make(map[string][]Endpoint)}
	for _, e := range endpoints {
		box.of[e.Tenant] = append(box.of[e.Tenant], e)
	}
	s.db.outbox().receivers.Store(box)
}

// Follow tells of what other processes do in the same store, until ctx ends: of the
// threads in which something has happened, or, with missed, that nobody knows in
// which. It is a hint, late or lost at times: whoever must not miss a thing also
// looks by itself. Where nobody else can have the store it only waits.
func (s *Store) Follow(ctx context.Context, told func(threadIDs []string, missed bool)) {
	s.db.follow(ctx, func(n tidings) {
		if n.posted || n.missed {
			s.db.outbox().rouse()
		}
		if len(n.threads) > 0 || n.missed {
			told(n.threads, n.missed)
		}
	})
}

// postbox is who has to know of what a database commits.
type postbox struct {
	receivers atomic.Pointer[receivers]
	announce  func(tidings) // tells other processes; nil where there is none
}

type receivers struct {
	of   map[string][]Endpoint // by tenant
	wake func()
}

// tidings are what a commit has brought.
type tidings struct {
	threads []string // in which something has happened
	posted  bool     // there is something to deliver
	missed  bool     // there may have been more
}

func (o *postbox) outbox() *postbox { return o }

// rouse wakes who delivers.
func (o *postbox) rouse() {
	if r := o.receivers.Load(); r != nil && r.wake != nil {
		r.wake()
	}
}

// spread runs an operation by write, and then tells of what it has brought.
func (o *postbox) spread(run func(*session) error, write func(func(*session) error) error) error {
	var brought tidings
	err := write(func(tx *session) error {
		tx.receivers, tx.tidings = o.receivers.Load(), tidings{}
		err := run(tx)
		brought = tx.tidings
		return err
	})
	if err != nil {
		return err
	}
	if brought.posted {
		o.rouse()
	}
	if o.announce != nil && (brought.posted || len(brought.threads) > 0) {
		o.announce(brought)
	}
	return nil
}

// tell notes that something happened in a thread.
func (s *session) tell(threadID string) { s.tidings.threads = append(s.tidings.threads, threadID) }

// post stores the deliveries of an event.
func (s *session) post(tenant, threadID, messageID string, topic Topic) error {
	if s.receivers == nil {
		return nil
	}
	for _, e := range s.receivers.of[tenant] {
		if !slices.Contains(e.Topics, topic) {
			continue
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		if err := s.do(insertDelivery, normalize.FormatID(normalize.PrefixDelivery, id), tenant, e.Name, string(topic), threadID, messageID); err != nil {
			return err
		}
		s.tidings.posted = true
	}
	return nil
}

// postEntry stores the deliveries of what is recorded.
func (s *session) postEntry(tenant, threadID string, e Entry) error {
	switch e.Type { //nolint:exhaustive // the others are parts of a turn
	case normalize.EventReply:
		return s.post(tenant, threadID, e.MessageID, TopicReplyCompleted)
	case normalize.EventThread:
		topic := TopicThreadUpdated
		if e.Moved {
			topic = TopicThreadMoved
		}
		return s.post(tenant, threadID, "", topic)
	}
	return nil
}

// ClaimDeliveries takes up to limit deliveries of an endpoint that are due, oldest
// first, and counts a try of each. They are the owner's for the time of the lease, by
// the database's clock; then, if it has said nothing, they are due again.
func (s *Store) ClaimDeliveries(ctx context.Context, endpoint, owner string, lease time.Duration, limit int) ([]Delivery, error) {
	due := false
	err := s.db.read(ctx, func(tx *session) (err error) { // most of the time there is nothing to write
		var id string
		due, err = tx.one(selectDelivery, []any{endpoint}, &id)
		return err
	})
	if err != nil || !due {
		return nil, err
	}
	var list []Delivery
	err = s.db.write(ctx, func(tx *session) error {
		list = nil
		err := tx.each(claimDeliveries, []any{owner, lease.Milliseconds(), endpoint, int64(limit)}, func(row scanner) error {
			d, err := scanDelivery(row)
			list = append(list, d)
			return err
		})
		tx.wrote = tx.wrote || len(list) > 0
		return err
	})
	if err != nil { // the write may still be under way
		return nil, err
	}
	slices.SortFunc(list, func(a, b Delivery) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// EndDelivery writes down how a try ended. ErrLost: it is not the owner's any more, and
// somebody else may be trying it; nothing was written.
func (s *Store) EndDelivery(ctx context.Context, id, owner string, end DeliveryEnd) error {
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(endDelivery, id, owner, string(end.Status), end.Wait.Milliseconds(), int64(end.Response), end.Failure)
		if err == nil && n == 0 {
			err = ErrLost
		}
		return err
	})
}

// Deliveries returns one page of the deliveries that the filter selects, newest first
// unless the range says ascending, and whether there are more. A page begins after
// Range.After's id.
func (s *Store) Deliveries(ctx context.Context, f DeliveryFilter, r Range) (list []Delivery, more bool, err error) {
	if r.Limit <= 0 {
		r.Limit = defaultLimit
	}
	where, args := "d.tenant = $1", []any{f.Tenant}
	add := func(condition, value string) {
		args = append(args, value)
		where += fmt.Sprintf(" AND %s $%d", condition, len(args))
	}
	if f.Endpoint != "" {
		add("d.endpoint =", f.Endpoint)
	}
	if f.Status != "" {
		add("d.status =", string(f.Status))
	}
	if f.Status == DeliveryDead {
		where += " AND d.status = 'dead'" // the index's own condition
	}
	compare, order := "<", "DESC"
	if r.Ascending {
		compare, order = ">", "ASC"
	}
	if r.After.ID != "" {
		add("d.id "+compare, r.After.ID)
	}
	args = append(args, int64(r.Limit)+1)
	text := fmt.Sprintf("SELECT %s FROM deliveries d WHERE %s ORDER BY d.id %s LIMIT $%d", deliveryColumns, where, order, len(args))
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.eachOf(text, args, func(row scanner) error {
			d, err := scanDelivery(row)
			list = append(list, d)
			return err
		})
	})
	if err != nil {
		return nil, false, err
	}
	if more = len(list) > r.Limit; more {
		list = list[:r.Limit]
	}
	return list, more, nil
}

// Redeliver makes a delivery pending and due, with all its tries before it, whatever
// became of it; one that is being tried just now is left alone. It returns the delivery as
// it is then. ErrNotFound.
func (s *Store) Redeliver(ctx context.Context, tenant, id string) (Delivery, error) {
	var d Delivery
	err := s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(reviveDelivery, id, tenant)
		if err != nil {
			return err
		}
		tx.tidings.posted = n > 0
		found := false
		err = tx.each(selectDeliveryOf, []any{id, tenant}, func(row scanner) error {
			found = true
			d, err = scanDelivery(row)
			return err
		})
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return Delivery{}, err
	}
	return d, nil
}

// SweepDeliveries deletes up to limit deliveries that nobody needs any more, and returns
// how many: delivered ones last tried before a moment, and dead ones and those that
// no endpoint has taken since another.
func (s *Store) SweepDeliveries(ctx context.Context, deliveredBefore, othersBefore time.Time, limit int) (total int, err error) {
	for _, q := range []struct {
		query  query
		before time.Time
	}{{deleteDelivered, deliveredBefore}, {deleteDead, othersBefore}, {deleteOrphans, othersBefore}} {
		err := s.db.write(ctx, func(tx *session) error {
			n, err := tx.exec(q.query, millis(q.before), int64(limit-total))
			total += int(n)
			return err
		})
		if err != nil || total == limit {
			return total, err
		}
	}
	return total, nil
}

// Backlogs tells what endpoints of all tenants have not got, in the order of their names;
// those that have got everything are not among them.
func (s *Store) Backlogs(ctx context.Context) (list []Backlog, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		of := func(name string) *Backlog {
			i, found := slices.BinarySearchFunc(list, name, func(b Backlog, name string) int { return strings.Compare(b.Endpoint, name) })
			if !found {
				list = slices.Insert(list, i, Backlog{Endpoint: name})
			}
			return &list[i]
		}
		err := tx.each(countPending, nil, func(row scanner) error {
			var name string
			var n int
			var oldest int64
			err := row.Scan(&name, &n, &oldest)
			b := of(name)
			b.Pending, b.Oldest = n, timeOf(oldest)
			return err
		})
		if err != nil {
			return err
		}
		return tx.each(countDead, nil, func(row scanner) error {
			var name string
			var n int
			err := row.Scan(&name, &n)
			of(name).Dead = n
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// scanDelivery reads one row of deliveryColumns.
func scanDelivery(row scanner) (d Delivery, err error) {
	var due, tried, created int64
	err = row.Scan(&d.ID, &d.Tenant, &d.Endpoint, &d.Topic, &d.ThreadID, &d.MessageID, &d.Status, &d.Tries, &due, &d.Response, &d.Failure,
		&tried, &created)
	d.TriedAt, d.CreatedAt = timeOf(tried), timeOf(created)
	if d.Status == DeliveryPending {
		d.NextAt = timeOf(due)
	}
	return d, err
}
