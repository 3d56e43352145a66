// Package webhook tells receivers of events, as https://www.standardwebhooks.com say. It
// takes deliveries that are due out of the store, signs what they tell, posts it by way of
// the outbound guard, and writes down what came of it. An event is told at least once.
//
// Each receiver has a queue and a few tries at once of its own: one that hangs holds up
// nobody else. Several processes may share a store; a delivery is tried by one of them at
// a time.
package webhook

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/outbound"
	"chatmux/internal/store"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

// Endpoint is a receiver.
type Endpoint struct {
	Name   string
	URL    string
	Secret normalize.Secret // whsec_ and base64; several, separated by spaces, all sign
}

// Pace is the timing of deliveries. A zero field takes its default.
type Pace struct {
	// Schedule is how long to wait after each failed try; a random part of up to a fifth
	// is added. After the last the delivery is dead. Default: 5 s, 20 s, 1 min, 5 min,
	// 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
	Schedule []time.Duration
	Timeout  time.Duration // of one try; default 15 s
	// Margin is for what else belongs to a try. A delivery that was taken for longer than
	// Timeout and Margin is anybody's. Default 10 s.
	Margin time.Duration
	Poll   time.Duration // how often to look for what is due; default 1 s
}

// The Standard Webhooks specification proposes this schedule from the second 5 on, with
// nothing between 5 s and 5 min; a receiver that is being deployed is back sooner.
var schedule = [...]time.Duration{
	5 * time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

func (p Pace) withDefaults() Pace {
	if p.Schedule == nil {
		p.Schedule = schedule[:]
	}
	return Pace{
		Schedule: p.Schedule, Timeout: cmp.Or(p.Timeout, 15*time.Second), Margin: cmp.Or(p.Margin, 10*time.Second), Poll: cmp.Or(p.Poll, time.Second),
	}
}

// atOnce is how many deliveries to one receiver run at once.
const atOnce = 10

// backlogEvery is how often what is not delivered is counted.
const backlogEvery = 10 * time.Second

// Options make a Dispatcher.
type Options struct {
	Store   *store.Store
	Guard   *outbound.Guard
	Pace    Pace
	Log     *zap.Logger
	Metrics *telemetry.Metrics
}

// Dispatcher delivers. It is safe for concurrent use.
type Dispatcher struct {
	store   *store.Store
	guard   *outbound.Guard
	pace    Pace
	log     *zap.Logger
	metrics *telemetry.Metrics

	work context.Context // ends when tries that run have to
	cut  context.CancelFunc

	mu     sync.Mutex
	lanes  map[string]*lane // by the receiver's name
	ran    bool             // Run was called
	ended  bool             // Drain was called
	active sync.WaitGroup   // lanes and their tries
}

// New makes a dispatcher. It delivers nothing before Run.
func New(o Options) *Dispatcher {
	d := &Dispatcher{
		store: o.Store, guard: o.Guard, pace: o.Pace.withDefaults(), log: o.Log, metrics: o.Metrics, lanes: make(map[string]*lane),
	}
	d.work, d.cut = context.WithCancel(context.Background())
	return d
}

// Use replaces the receivers. A try that runs ends as it began; what waits for a receiver
// that is not named any more waits until it is named again. The error says which secret
// cannot sign; nothing has changed then.
func (d *Dispatcher) Use(endpoints []Endpoint) error {
	targets := make(map[string]*target, len(endpoints))
	for _, e := range endpoints {
		keys, err := keysOf(e.Secret)
		if err != nil {
			return fmt.Errorf("webhook %s: %w", e.Name, err)
		}
		targets[e.Name] = &target{url: e.URL, keys: keys}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, l := range d.lanes {
		if targets[name] == nil {
			l.close()
			delete(d.lanes, name)
		}
	}
	for name, t := range targets {
		l := d.lanes[name]
		if l == nil {
			l = newLane(d, name)
			d.lanes[name] = l
			if d.ran && !d.ended {
				d.active.Go(l.run)
			}
		}
		l.target.Store(t)
	}
	return nil
}

// Wake has every receiver's queue looked at now.
func (d *Dispatcher) Wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		l.rouse()
	}
}

// Run delivers, and counts what is not delivered, until ctx ends; what runs then, and
// what is due, is Drain's business.
func (d *Dispatcher) Run(ctx context.Context) {
	d.mu.Lock()
	if !d.ran && !d.ended {
		for _, l := range d.lanes {
			d.active.Go(l.run)
		}
	}
	d.ran = true
	d.mu.Unlock()
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for {
		d.count(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Drain takes nothing more and waits for the tries that run. When ctx ends before they do
// they are cut off, and count as failed. Then nothing runs any more.
func (d *Dispatcher) Drain(ctx context.Context) {
	d.mu.Lock()
	d.ended = true
	for _, l := range d.lanes {
		l.close()
	}
	d.mu.Unlock()
	defer context.AfterFunc(ctx, d.cut)()
	d.active.Wait()
	d.cut()
}

// count tells the metrics what is not delivered.
func (d *Dispatcher) count(ctx context.Context) {
	d.mu.Lock()
	names := make([]string, 0, len(d.lanes))
	for name := range d.lanes {
		names = append(names, name)
	}
	d.mu.Unlock()
	if len(names) == 0 {
		d.metrics.WebhookBacklog(nil)
		return
	}
	list, err := d.store.Backlogs(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("webhooks that wait could not be counted", zap.Error(err))
		}
		return
	}
	backlogs := make(map[string]telemetry.WebhookBacklog, len(list))
	for _, name := range names {
		backlogs[name] = telemetry.WebhookBacklog{}
	}
	for _, b := range list {
		backlogs[b.Endpoint] = telemetry.WebhookBacklog{Pending: b.Pending, Oldest: b.Oldest, Dead: b.Dead}
	}
	d.metrics.WebhookBacklog(backlogs)
}

// lane is the way to one receiver.
type lane struct {
	d      *Dispatcher
	name   string
	target atomic.Pointer[target]
	awake  chan struct{}
	places chan struct{} // taken by tries that run
	taking context.Context
	close  context.CancelFunc
	blind  bool // the store does not say what is due; said once
}

func newLane(d *Dispatcher, name string) *lane {
	l := &lane{d: d, name: name, awake: make(chan struct{}, 1), places: make(chan struct{}, atOnce)}
	l.taking, l.close = context.WithCancel(d.work)
	return l
}

// rouse has the queue looked at.
func (l *lane) rouse() {
	select {
	case l.awake <- struct{}{}:
	default: // it will be looked at anyway
	}
}

// run takes what is due as long as there is a free place, until the lane is closed.
func (l *lane) run() {
	poll := time.NewTicker(l.d.pace.Poll)
	defer poll.Stop()
	for l.taking.Err() == nil {
		l.take()
		select {
		case <-l.taking.Done():
		case <-l.awake:
		case <-poll.C:
		}
	}
}

// take begins as many tries as there are free places and deliveries that are due.
func (l *lane) take() {
	free := cap(l.places) - len(l.places)
	if free == 0 {
		return // the end of a try looks again
	}
	d := l.d
	lease, owner, began := d.pace.Timeout+d.pace.Margin, rand.Text(), time.Now()
	list, err := d.store.ClaimDeliveries(l.taking, l.name, owner, lease, free)
	if err != nil {
		if !l.blind && l.taking.Err() == nil {
			l.blind = true
			d.log.Error("webhooks that are due cannot be read; it is tried again until they can", zap.String("endpoint", l.name), zap.Error(err))
		}
		return
	}
	if l.blind {
		l.blind = false
		d.log.Info("webhooks that are due can be read again", zap.String("endpoint", l.name))
	}
	target := l.target.Load()
	for _, delivery := range list {
		t := try{Delivery: delivery, lane: l, target: target, owner: owner, until: began.Add(lease)}
		l.places <- struct{}{}
		d.active.Go(func() {
			defer func() { <-l.places; l.rouse() }()
			t.guarded()
		})
	}
}

// guarded makes a try. A panic in it is logged, and the delivery comes back when its lease
// is over.
func (t try) guarded() {
	defer func() {
		if p := recover(); p != nil {
			t.lane.d.log.Error("delivering a webhook panicked", zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	t.make()
}
