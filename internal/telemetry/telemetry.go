// Package telemetry holds the metrics of the house, in one place and with stable
// names. It is the only home of the Prometheus client; the other rooms see plain
// methods.
package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is one registry with all that chatmux measures. It is safe for
// concurrent use. Two houses in one process have two of them.
type Metrics struct {
	registry *prometheus.Registry

	attempts    *prometheus.CounterVec
	attemptTime *prometheus.HistogramVec
	transitions *prometheus.CounterVec
	retries     *prometheus.CounterVec
	sends       *prometheus.CounterVec
	reloads     *prometheus.CounterVec
}

// BackendSample is the state of one backend at the moment of a scrape.
type BackendSample struct {
	Name        string
	Breaker     string // closed, open, half_open
	InFlight    int
	CoolingDown bool
}

// New makes an empty registry with the metrics of the process and the runtime.
func New() *Metrics {
	seconds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_attempts_total", Help: "Calls to backends, by how they ended: ok or the kind of failure.",
		}, []string{"backend", "outcome"}),
		attemptTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chatmux_attempt_duration_seconds", Help: "How long calls to backends took.", Buckets: seconds,
		}, []string{"backend"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_breaker_transitions_total", Help: "Changes of a breaker's state, by the state entered.",
		}, []string{"backend", "state"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_retries_total", Help: "Second tries of a message at the same backend, by what became of them: tried, or over_budget.",
		}, []string{"backend", "result"}),
		sends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_sends_total", Help: "User messages, by route and by the status they ended with.",
		}, []string{"route", "status"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_config_reloads_total", Help: "Reloads of the config, by result: ok or refused.",
		}, []string{"result"}),
	}
	m.registry.MustRegister(m.attempts, m.attemptTime, m.transitions, m.retries, m.sends, m.reloads,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// WatchBackends reads the state of all backends at every scrape. Call it once.
func (m *Metrics) WatchBackends(states func() []BackendSample) {
	m.registry.MustRegister(&backendCollector{states: states})
}

// Attempt counts a finished call to a backend; outcome is ok or a kind.
func (m *Metrics) Attempt(backend, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(backend, outcome).Inc()
	m.attemptTime.WithLabelValues(backend).Observe(took.Seconds())
}

// BreakerChanged counts a change of a breaker's state.
func (m *Metrics) BreakerChanged(backend, state string) {
	m.transitions.WithLabelValues(backend, state).Inc()
}

// Retry counts a second try at the same backend, or one that the retry budget
// forbade.
func (m *Metrics) Retry(backend string, allowed bool) {
	result := "tried"
	if !allowed {
		result = "over_budget"
	}
	m.retries.WithLabelValues(backend, result).Inc()
}

// Send counts a user message whose status is settled.
func (m *Metrics) Send(route, status string) {
	m.sends.WithLabelValues(route, status).Inc()
}

// Reload counts a reload of the config.
func (m *Metrics) Reload(ok bool) {
	result := "ok"
	if !ok {
		result = "refused"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// Registerer takes the metrics of other rooms.
func (m *Metrics) Registerer() prometheus.Registerer { return m.registry }

var (
	breakerDesc  = prometheus.NewDesc("chatmux_breaker_state", "1 for the state that a backend's breaker is in.", []string{"backend", "state"}, nil)
	inFlightDesc = prometheus.NewDesc("chatmux_backend_in_flight", "Calls running at a backend.", []string{"backend"}, nil)
	coolDownDesc = prometheus.NewDesc("chatmux_backend_cooling_down", "1 while a backend has asked for a pause.", []string{"backend"}, nil)
)

type backendCollector struct{ states func() []BackendSample }

// Describe implements prometheus.Collector.
func (c *backendCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- breakerDesc
	ch <- inFlightDesc
	ch <- coolDownDesc
}

// Collect implements prometheus.Collector.
func (c *backendCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.states() {
		for _, state := range []string{"closed", "open", "half_open"} {
			ch <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, oneIf(s.Breaker == state), s.Name, state)
		}
		ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(s.InFlight), s.Name)
		ch <- prometheus.MustNewConstMetric(coolDownDesc, prometheus.GaugeValue, oneIf(s.CoolingDown), s.Name)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
