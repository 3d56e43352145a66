// Package app builds the house of a config: store, backends, engine, door. Nothing
// in it is global; two houses can run in one process.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/internal/httpapi"
	"chatmux/internal/routing"
	"chatmux/internal/sandbox"
	"chatmux/internal/store"
	"chatmux/internal/telemetry"
)

// sweepEvery is how often expired Idempotency-Keys are swept out.
const sweepEvery = time.Minute

// sweepBatch is how many of them one sweep takes.
const sweepBatch = 500

// Options are what a house needs beside its config.
type Options struct {
	Adapters []adapters.Spec
	Log      *zap.Logger // nil: built as the config says
}

// App is a house that listens. Run it, or Close it.
type App struct {
	config   *config.Config
	log      *zap.Logger
	metrics  *telemetry.Metrics
	store    *store.Store
	twins    []*sandbox.Server
	backends []*backend.Backend
	engine   *engine.Engine
	api      *httpapi.API
	listener net.Listener
	admin    net.Listener
}

// Settings maps each adapter's name to its settings, for config.Options.
func Settings(specs []adapters.Spec) map[string]func() any {
	m := make(map[string]func() any, len(specs))
	for _, s := range specs {
		m[s.Name] = func() any { return s.Settings() }
	}
	return m
}

// New builds a house and begins to listen; nothing is served before Run. On an
// error everything that was opened is closed again.
func New(ctx context.Context, c *config.Config, o Options) (_ *App, err error) {
	a := &App{config: c, log: o.Log, metrics: telemetry.New()}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if a.log == nil {
		if a.log, err = newLog(c.Log); err != nil {
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
	if a.store, err = store.Open(ctx, dsn(c.Store), store.Options{Log: a.log}); err != nil {
		return nil, err
	}
	if err := a.openBackends(o.Adapters); err != nil {
		return nil, err
	}
	table, err := Table(c)
	if err != nil {
		return nil, err
	}
	a.engine = engine.New(engine.Options{
		Store: a.store, Routes: table, Backends: a.backends, Timeout: c.Limits.Timeout, Lease: c.Limits.Idempotency.Lease,
		Log: a.log, Metrics: a.metrics,
	})
	if err := a.engine.Recover(ctx); err != nil {
		return nil, err
	}
	a.api, err = httpapi.New(a.engine, a.apiOptions(), a.log, a.metrics.Registerer())
	if err != nil {
		return nil, err
	}
	a.metrics.WatchBackends(a.samples)
	return a, nil
}

func dsn(s config.Store) string {
	if s.Postgres.IsZero() {
		return "sqlite:" + s.SQLite
	}
	return s.Postgres.Reveal()
}

// openBackends opens every backend, and before it the twin of its vendor where the
// config asks for the sandbox.
func (a *App) openBackends(specs []adapters.Spec) error {
	byName := make(map[string]adapters.Spec, len(specs))
	for _, s := range specs {
		byName[s.Name] = s
	}
	for _, c := range a.config.Backends {
		spec := byName[c.Adapter]
		if err := a.startTwin(spec, c); err != nil {
			return fmt.Errorf("backend %s: %w", c.Name, err)
		}
		b, err := OpenBackend(spec, c, a.log, a.metrics)
		if err != nil {
			return err
		}
		a.backends = append(a.backends, b)
	}
	return nil
}

func (a *App) startTwin(spec adapters.Spec, c config.Backend) error {
	remote, ok := c.Settings.(adapters.Remote)
	if !ok || *remote.Endpoint() != adapters.Sandbox {
		return nil
	}
	if spec.Twin == nil {
		return errors.New("this adapter has no built-in twin: give a base_url")
	}
	twin, err := sandbox.Start(spec.Twin(c.Settings), sandbox.Options{Name: c.Name})
	if err != nil {
		return err
	}
	a.twins = append(a.twins, twin)
	*remote.Endpoint() = adapters.BaseURL(twin.URL() + spec.TwinPath)
	a.log.Info("the vendor's built-in twin answers for this backend", zap.String("backend", c.Name), zap.String("twin", twin.URL()))
	return nil
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
		Name: c.Name, Vendor: spec.Name, Bot: bot, Adapter: adapter, Total: c.Timeouts.Total,
		Breaker: backend.BreakerOptions(c.Breaker), Retry: backend.RetryOptions(c.Retry),
		MaxInFlight: c.MaxInFlight, Log: log, Metrics: metrics,
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
	o := httpapi.Options{Limits: httpapi.Limits{Body: int64(a.config.Limits.Body), InFlight: a.config.Limits.InFlight}}
	if a.admin == nil {
		o.Metrics = a.metrics.Handler()
	}
	for _, c := range a.config.Callers {
		o.Callers = append(o.Callers, httpapi.Caller{
			Name: c.Name, Tenant: c.Tenant, KeySHA256: c.KeyHash(), Rate: c.Rate.PerSecond(), InFlight: c.InFlight, Routes: c.Routes,
		})
	}
	return o
}

func (a *App) samples() []telemetry.BackendSample {
	samples := make([]telemetry.BackendSample, len(a.backends))
	for i, b := range a.backends {
		s := b.State()
		samples[i] = telemetry.BackendSample{Name: b.Name(), Breaker: s.Breaker.State, InFlight: s.InFlight, CoolingDown: !s.CoolDownUntil.IsZero()}
	}
	return samples
}

// Addr is where the API listens, as host:port.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Routes lists every method and path that the API serves.
func (a *App) Routes() []httpapi.Route { return a.api.Routes() }

// Twins are the simulated vendors that were started, by the backends' names.
func (a *App) Twins() []*sandbox.Server { return a.twins }

// Run serves until ctx ends, then drains: /readyz says so at once, service goes on
// for limits.drain.delay, then new sends are refused and those that run have
// limits.drain.grace to end. It closes everything and returns nil after a drain.
func (a *App) Run(ctx context.Context) error {
	servers := []*http.Server{newServer(a.api, a.log)}
	failed := make(chan error, 2)
	go func() { failed <- servers[0].Serve(a.listener) }()
	if a.admin != nil {
		servers = append(servers, newServer(a.adminHandler(), a.log))
		go func() { failed <- servers[1].Serve(a.admin) }()
	}
	sweeping, stopSweeping := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() { defer close(swept); a.sweep(sweeping) }()
	a.log.Info("chatmux listens", zap.String("addr", a.Addr()))

	var err error
	select {
	case <-ctx.Done():
		a.drain()
	case err = <-failed:
	}
	stopSweeping()
	<-swept
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
}

// sweep forgets Idempotency-Keys whose time is over, in small batches.
func (a *App) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			n, err := a.store.Sweep(ctx, time.Now().Add(-a.config.Limits.Idempotency.Retention), sweepBatch)
			if err != nil && ctx.Err() == nil {
				a.log.Error("sweeping old keys failed", zap.Error(err))
			}
			if err != nil || n < sweepBatch {
				break
			}
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
	for _, b := range a.backends {
		errs = append(errs, b.Close())
	}
	for _, t := range a.twins {
		errs = append(errs, t.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
