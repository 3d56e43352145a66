// Package app builds the house of a config: store, backends, engine, door. Nothing
// in it is global; two houses can run in one process.
package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/internal/httpapi"
	"chatmux/internal/outbound"
	"chatmux/internal/routing"
	"chatmux/internal/sandbox"
	"chatmux/internal/store"
	"chatmux/internal/telemetry"
	"chatmux/internal/webhook"
	"chatmux/normalize"
)

// sweepEvery is how often old Idempotency-Keys and old threads are swept out; where
// threads are kept for less than minutes, more often.
const sweepEvery = time.Minute

// sweepBatch is how many keys or threads one sweep takes.
const sweepBatch = 500

// How long what was delivered to webhooks stays on record, and what was not.
const (
	keepDelivered = 3 * 24 * time.Hour
	keepDead      = 30 * 24 * time.Hour
)

// Options are what a house needs beside its config.
type Options struct {
	Adapters []adapters.Spec
	Log      *zap.Logger // nil: built as the config says
	Settling engine.Settling
	Webhooks webhook.Pace
}

// App is a house that listens. Run it, or Close it.
type App struct {
	config   *config.Config
	specs    map[string]adapters.Spec
	dialects []*adapters.Dialect // of all linked adapters, whether or not a backend has them
	log      *zap.Logger
	closeLog func() // where the log is ours
	metrics  *telemetry.Metrics
	store    *store.Store
	engine   *engine.Engine
	api      *httpapi.API
	guard    *outbound.Guard
	webhooks *webhook.Dispatcher
	listener net.Listener
	admin    net.Listener

	mu      sync.Mutex // one reload at a time
	units   []*unit
	retired sync.WaitGroup
}

// Settings maps each adapter's name to its settings, for config.Options.
func Settings(specs []adapters.Spec) map[string]func() any {
	m := make(map[string]func() any, len(specs))
	for _, s := range specs {
		m[s.Name] = func() any { return s.Settings() }
	}
	return m
}

// Dialects names the vendors' APIs that are served at the front, for config.Options.
func Dialects(specs []adapters.Spec) []string {
	names := []string{}
	for _, s := range specs {
		if s.Dialect != nil {
			names = append(names, s.Dialect.Name)
		}
	}
	return names
}

// New builds a house and begins to listen; nothing is served before Run. On an
// error everything that was opened is closed again.
func New(ctx context.Context, c *config.Config, o Options) (_ *App, err error) {
	a := newApp(c, o)
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if a.log == nil {
		if a.log, a.closeLog, err = newLog(c.Log, os.Stderr, a.metrics.LogDropped); err != nil {
			return nil, err
		}
	}
	if a.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if c.Admin != "" {
		if a.admin, err = net.Listen("tcp", c.Admin); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	if err := a.open(ctx, o); err != nil {
		return nil, err
	}
	if err := a.engine.Recover(ctx); err != nil {
		if c.Store.Postgres.IsZero() {
			return nil, err
		}
		// A database that is away is waited for: the server runs and is not ready. What
		// an earlier run left open is settled once its leases have ended.
		a.log.Warn("the database cannot be reached yet; sends are refused until it can", zap.Error(err))
	}
	a.api, err = httpapi.New(a.engine, a.apiOptions(), a.log, a.metrics)
	if err != nil {
		return nil, err
	}
	a.metrics.WatchBackends(a.samples)
	return a, nil
}

// OpenEngine builds what is behind the door of a house, for work beside a server: it
// listens nowhere and does no book-keeping. A SQLite file that a server has open is
// store.ErrInUse; on PostgreSQL it works beside servers. Close lets go of everything.
func OpenEngine(ctx context.Context, c *config.Config, o Options) (_ *engine.Engine, closeAll func() error, err error) {
	a := newApp(c, o)
	if a.log == nil {
		a.log = zap.NewNop()
	}
	if err := a.open(ctx, o); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	if err := a.engine.Recover(ctx); err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return a.engine, a.Close, nil
}

// OpenStore opens the store of a config, for work on it that needs no backends. A SQLite
// file that a server has open is store.ErrInUse.
func OpenStore(ctx context.Context, c *config.Config, log *zap.Logger) (*store.Store, error) {
	return store.Open(ctx, dsn(c.Store), store.Options{Log: log})
}

func newApp(c *config.Config, o Options) *App {
	a := &App{config: c, specs: make(map[string]adapters.Spec, len(o.Adapters)), log: o.Log, metrics: telemetry.New()}
	for _, s := range o.Adapters {
		a.specs[s.Name] = s
		if s.Dialect != nil {
			a.dialects = append(a.dialects, s.Dialect)
		}
	}
	return a
}

// open opens the store and the backends, and joins them in the engine.
func (a *App) open(ctx context.Context, o Options) (err error) {
	if a.store, err = store.Open(ctx, dsn(a.config.Store), store.Options{Log: a.log}); err != nil {
		return err
	}
	a.guard = outbound.New(outbound.Options{AllowCIDRs: a.config.Outbound.AllowCIDRs, Own: a.ownAddresses()})
	for _, b := range a.config.Backends {
		u, err := a.openUnit(b)
		if err != nil {
			return err
		}
		a.units = append(a.units, u)
	}
	setup, err := setupOf(a.config, a.units)
	if err != nil {
		return err
	}
	a.engine = engine.New(engine.Options{
		Store: a.store, Setup: setup, Lease: a.config.Limits.Idempotency.Lease, Settle: o.Settling, CheckURL: a.guard.Check, Fetch: a.fetch,
		Poll: pollEvery(a.config.Store), PublicURL: string(a.config.PublicURL), Log: a.log, Metrics: a.metrics,
	})
	a.webhooks = webhook.New(webhook.Options{Store: a.store, Guard: a.guard, Pace: o.Webhooks, Log: a.log, Metrics: a.metrics})
	return a.useWebhooks(a.config)
}

// ownAddresses are where URLs that callers give may never lead: our listeners and
// our database.
func (a *App) ownAddresses() []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range []net.Listener{a.listener, a.admin} {
		if l == nil {
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			own = append(own, tcp.AddrPort())
		}
	}
	return append(own, databaseAddresses(a.config.Store)...)
}

// databaseAddresses looks the database's host up; one that cannot be found now, or
// that is no network address, has none.
func databaseAddresses(s config.Store) []netip.AddrPort {
	u, err := url.Parse(s.Postgres.Reveal())
	if err != nil || u.Hostname() == "" {
		return nil
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "5432"), 10, 16)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil
	}
	own := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		own[i] = netip.AddrPortFrom(ip, uint16(port))
	}
	return own
}

// fetch gets a file that a caller names by URL.
func (a *App) fetch(ctx context.Context, url string, limit int64) (adapters.File, *normalize.Error) {
	f, failure := a.guard.Fetch(ctx, url, limit)
	if failure != nil {
		return adapters.File{}, failure
	}
	return adapters.File{Name: f.Name, ContentType: f.ContentType, Size: int64(len(f.Body)), Content: bytes.NewReader(f.Body)}, nil
}

// pollEvery is how often the watchers of a thread look for what another process may
// have done. They are told of it; looking is for what was lost on the way.
func pollEvery(s config.Store) time.Duration {
	if s.Postgres.IsZero() {
		return 0 // nobody else has this store
	}
	return 3 * time.Second
}

func dsn(s config.Store) string {
	if s.Postgres.IsZero() {
		return "sqlite:" + s.SQLite
	}
	return s.Postgres.Reveal()
}

// OpenBackend puts one configured adapter behind its guards. It dials nobody.
func OpenBackend(spec adapters.Spec, c config.Backend, log *zap.Logger, metrics *telemetry.Metrics) (*backend.Backend, error) {
	adapter, err := spec.Open(c.Settings, adapters.Env{
		Connect: c.Timeouts.Connect, FirstByte: c.Timeouts.FirstByte, Idle: c.Timeouts.Idle, MaxInFlight: c.MaxInFlight,
	})
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", c.Name, err)
	}
	bot := ""
	if b, ok := c.Settings.(adapters.Botted); ok {
		bot = b.BotID()
	}
	return backend.New(backend.Options{
		Name: c.Name, Vendor: spec.Name, Bot: bot, Adapter: adapter, Tells: spec.Tells, Total: c.Timeouts.Total,
		Breaker: backend.BreakerOptions(c.Breaker), Retry: backend.RetryOptions(c.Retry),
		MaxInFlight: c.MaxInFlight, HookSecret: c.HookSecret, Log: log, Metrics: metrics,
	}), nil
}

// Table makes the routing table of a config.
func Table(c *config.Config) (*routing.Table, error) {
	routes := make([]routing.Route, len(c.Routes))
	for i, r := range c.Routes {
		routes[i] = routing.Route{
			Name: r.Name, Fallback: r.Fallback, OnUnavailable: r.OnUnavailable, OnDisconnect: r.OnDisconnect, FallbackOnUnknown: r.FallbackOnUnknown,
		}
		for _, m := range r.Match {
			routes[i].Match = append(routes[i].Match, routing.Condition{Key: m.Key, Patterns: m.Patterns})
		}
		for _, t := range r.To {
			routes[i].To = append(routes[i].To, routing.Target{Backend: t.Backend, Weight: t.Weight})
		}
		if r.Shadow != nil {
			routes[i].Shadow = &routing.Shadow{Backend: r.Shadow.Backend, Sample: r.Shadow.Sample}
		}
	}
	return routing.New(routes)
}

func (a *App) apiOptions() httpapi.Options {
	limits := a.config.Limits
	o := httpapi.Options{Limits: httpapi.Limits{
		Body: int64(limits.Body), InFlight: limits.InFlight,
		HeadWait: limits.Stream.HeadWait, Heartbeat: limits.Stream.Heartbeat, Write: limits.Stream.Write,
	}, Dialects: a.dialects}
	if a.admin == nil {
		o.Metrics = a.metrics.Handler()
	}
	o.Callers = callersOf(a.config)
	return o
}

func callersOf(c *config.Config) []httpapi.Caller {
	var list []httpapi.Caller
	for _, c := range c.Callers {
		list = append(list, httpapi.Caller{
			Name: c.Name, Tenant: c.Tenant, KeySHA256: c.KeyHash(), Rate: c.Rate.PerSecond(), InFlight: c.InFlight, Routes: c.Routes,
		})
	}
	return list
}

func (a *App) samples() []telemetry.BackendSample {
	states := a.engine.Backends()
	samples := make([]telemetry.BackendSample, len(states))
	for i, s := range states {
		samples[i] = telemetry.BackendSample{Name: s.Name, Breaker: s.Breaker.State, InFlight: s.InFlight, CoolingDown: !s.CoolDownUntil.IsZero()}
	}
	return samples
}

// Addr is where the API listens, as host:port.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Routes lists every method and path that the API serves.
func (a *App) Routes() []httpapi.Route { return a.api.Routes() }

// Twins are the simulated vendors that run now; each has its backend's name.
func (a *App) Twins() []*sandbox.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	var twins []*sandbox.Server
	for _, u := range a.units {
		if u.twin != nil {
			twins = append(twins, u.twin)
		}
	}
	return twins
}

// Run serves until ctx ends, then drains: /readyz says so at once, service goes on
// for limits.drain.delay, then new sends are refused and those that run have
// limits.drain.grace to end. It closes everything and returns nil after a drain.
func (a *App) Run(ctx context.Context) error {
	var servers []*http.Server
	failed := make(chan error, 2)
	serve := func(l net.Listener, h http.Handler) {
		s := newServer(h, a.log)
		servers = append(servers, s)
		go func() { failed <- s.Serve(l) }()
	}
	serve(a.listener, a.api)
	if a.admin != nil {
		serve(a.admin, a.adminHandler())
	}
	keeping, stopKeeping := context.WithCancel(context.Background())
	var keepers sync.WaitGroup
	keepers.Go(func() { a.sweep(keeping) })
	keepers.Go(func() { a.engine.Run(keeping) })
	keepers.Go(func() { a.webhooks.Run(keeping) })
	a.log.Info("chatmux listens", zap.String("addr", a.Addr()))

	var err error
	select {
	case <-ctx.Done():
		a.drain()
	case err = <-failed:
		now, cancel := context.WithCancel(keeping)
		cancel()
		a.webhooks.Drain(now)
	}
	stopKeeping()
	keepers.Wait()
	ending, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(ending) != nil {
			_ = s.Close()
		}
	}
	return errors.Join(err, a.Close())
}

func (a *App) drain() {
	limits := a.config.Limits.Drain
	a.log.Info("draining", zap.Duration("delay", limits.Delay), zap.Duration("grace", limits.Grace))
	a.api.Drain()
	time.Sleep(limits.Delay) // normal service, until load balancers have noticed
	a.api.StopSends()
	grace, cancel := context.WithTimeout(context.Background(), limits.Grace)
	defer cancel()
	a.engine.Drain(grace)
	a.webhooks.Drain(grace)
}

// sweep forgets Idempotency-Keys whose time is over, and threads whose limits.retention
// is, in small batches; then it takes what was erased out of the store's files.
func (a *App) sweep(ctx context.Context) {
	limits := a.config.Limits
	every := sweepEvery
	if limits.Retention > 0 {
		every = min(every, max(limits.Retention/4, time.Second))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.sweepAll(ctx, "sweeping old keys", func() (int, error) {
			return a.store.Sweep(ctx, time.Now().Add(-limits.Idempotency.Retention), sweepBatch)
		})
		a.sweepAll(ctx, "sweeping old webhook deliveries", func() (int, error) {
			return a.store.SweepDeliveries(ctx, time.Now().Add(-keepDelivered), time.Now().Add(-keepDead), sweepBatch)
		})
		if limits.Retention > 0 {
			n := a.sweepAll(ctx, "erasing old threads", func() (int, error) {
				return a.store.Purge(ctx, time.Now().Add(-limits.Retention), time.Now(), sweepBatch)
			})
			if err := a.store.SweepRecords(ctx, time.Now().Add(-limits.Retention)); err != nil && ctx.Err() == nil {
				a.log.Error("erasing old records of vendors failed; it is tried again", zap.Error(err))
			}
			if n > 0 {
				a.log.Info("threads erased that were not touched for limits.retention", zap.Int("threads", n))
			}
		}
		if _, err := a.store.Scrub(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("what was erased is still in the store's log; it is tried again", zap.Error(err))
		}
	}
}

// sweepAll sweeps until a batch is not full, and returns how many it took.
func (a *App) sweepAll(ctx context.Context, what string, batch func() (int, error)) (total int) {
	for {
		n, err := batch()
		total += n
		if err != nil && ctx.Err() == nil {
			a.log.Error(what+" failed; it is tried again", zap.Error(err))
		}
		if err != nil || n < sweepBatch || ctx.Err() != nil {
			return total
		}
	}
}

func newServer(h http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		ErrorLog:                     zap.NewStdLog(log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
		DisableGeneralOptionsHandler: true,
	}
}

func (a *App) adminHandler() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", a.metrics.Handler())
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return m
}

// Close lets go of everything that New opened. Run does it by itself.
func (a *App) Close() error {
	var errs []error
	for _, l := range []net.Listener{a.listener, a.admin} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	for _, u := range a.units {
		errs = append(errs, u.close())
	}
	a.retired.Wait()
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	a.units, a.store = nil, nil
	if a.closeLog != nil {
		a.closeLog()
	}
	return errors.Join(errs...)
}
