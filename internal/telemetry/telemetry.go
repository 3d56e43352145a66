// Package telemetry holds the metrics of the house, in one place and with stable
// names. It is the only home of the Prometheus client; the other rooms see plain
// methods.
package telemetry

import (
	"net/http"
	"strconv"
	"sync/atomic"
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
	skipped     *prometheus.CounterVec
	watchers    prometheus.Gauge
	retries     *prometheus.CounterVec
	sends       *prometheus.CounterVec
	reloads     *prometheus.CounterVec
	erasures    *prometheus.CounterVec
	received    *prometheus.CounterVec
	awaited     *prometheus.CounterVec
	registered  *prometheus.CounterVec
	webhooks    *prometheus.CounterVec
	backlog     atomic.Pointer[map[string]WebhookBacklog]

	requests    *prometheus.CounterVec
	requestTime *prometheus.HistogramVec
	problems    *prometheus.CounterVec
	inFlight    prometheus.Gauge
	clientsLeft prometheus.Counter

	logDropped prometheus.Counter
}

// BackendSample is the state of one backend at the moment of a scrape.
type BackendSample struct {
	Name        string
	Breaker     string // closed, open, half_open
	InFlight    int
	CoolingDown bool
}

// WebhookBacklog is what a receiver of webhooks has not got.
type WebhookBacklog struct {
	Pending int
	Oldest  time.Time // when the oldest pending event happened; zero where there is none
	Dead    int
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
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_stream_events_skipped_total", Help: "Events of vendors' streams that were passed over: no JSON, or of another answer.",
		}, []string{"backend"}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chatmux_streams_open", Help: "Event streams that clients are reading now, of sends and of threads.",
		}),
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
		erasures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_erasures_total",
			Help: "Conversations to be erased at their vendors, by what came of each try: deleted, not_possible, failed, given_up.",
		}, []string{"backend", "outcome"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_vendor_webhooks_total",
			Help: "Requests of vendors to our webhooks, by what became of them: stored, kept (for the send that holds the thread), known, " +
				"unknown_thread, unknown_kind, refused, failed. A refused one has no backend.",
		}, []string{"backend", "outcome"}),
		awaited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_later_answers_total",
			Help: "Messages whose answer comes later, by how it was got: webhook or list within the send, later after it, given_up.",
		}, []string{"backend", "outcome"}),
		registered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_webhook_registrations_total", Help: "Webhooks of ours told to vendors, by what came of each try: ok, failed, given_up.",
		}, []string{"backend", "outcome"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_webhook_tries_total",
			Help: "Tries to deliver an event, by receiver and by what came of each: delivered, failed, dead, or lost where the try outlasted its lease.",
		}, []string{"endpoint", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_http_requests_total",
			Help: "Requests answered, by path template, method and status; 499 is a failed one whose client was gone.",
		}, []string{"route", "method", "status"}),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chatmux_http_request_seconds", Help: "How long requests took, the backends' time included.", Buckets: seconds,
		}, []string{"route", "method"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_http_problems_total", Help: "Problem objects answered, by code.",
		}, []string{"code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chatmux_http_requests_in_flight", Help: "Requests that are being served.",
		}),
		clientsLeft: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatmux_http_clients_left_total", Help: "Clients that went away before their answer, or within their own request.",
		}),
		logDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatmux_log_lines_dropped_total", Help: "Log lines that were thrown away, because nobody took them from standard error in time.",
		}),
	}
	m.registry.MustRegister(m.attempts, m.attemptTime, m.transitions, m.retries, m.sends, m.reloads, m.erasures, m.webhooks, &webhookCollector{m},
		m.requests, m.requestTime, m.problems, m.inFlight, m.clientsLeft, m.logDropped, m.skipped, m.watchers,
		m.received, m.awaited, m.registered,
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

// Skipped counts events of a vendor's stream that were passed over.
func (m *Metrics) Skipped(backend string, events int) {
	m.skipped.WithLabelValues(backend).Add(float64(events))
}

// Watching counts a client that reads an event stream, until done.
func (m *Metrics) Watching() (done func()) {
	m.watchers.Inc()
	return m.watchers.Dec
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

// LogDropped counts lines of the log that were thrown away.
func (m *Metrics) LogDropped(lines int) { m.logDropped.Add(float64(lines)) }

// Erasure counts a try to erase a conversation at a backend's vendor.
func (m *Metrics) Erasure(backend, outcome string) {
	m.erasures.WithLabelValues(backend, outcome).Inc()
}

// VendorWebhook counts a request of a vendor to our webhook.
func (m *Metrics) VendorWebhook(backend, outcome string) {
	m.received.WithLabelValues(backend, outcome).Inc()
}

// LaterAnswer counts a message whose answer came later, or was given up.
func (m *Metrics) LaterAnswer(backend, outcome string) {
	m.awaited.WithLabelValues(backend, outcome).Inc()
}

// Registration counts a try to tell a vendor of our webhook.
func (m *Metrics) Registration(backend, outcome string) {
	m.registered.WithLabelValues(backend, outcome).Inc()
}

// WebhookTry counts a try to deliver an event to a receiver.
func (m *Metrics) WebhookTry(endpoint, outcome string) {
	m.webhooks.WithLabelValues(endpoint, outcome).Inc()
}

// WebhookBacklog says what each receiver has not got, by its name, until it is said anew.
func (m *Metrics) WebhookBacklog(of map[string]WebhookBacklog) { m.backlog.Store(&of) }

// RequestBegan counts a request as being served, until RequestEnded.
func (m *Metrics) RequestBegan() { m.inFlight.Inc() }

// RequestEnded counts an answered request. Route is the path's template, empty
// where there is no such path; code is that of the problem object, empty for a
// success. Give only values of closed sets.
func (m *Metrics) RequestEnded(route, method string, status int, code string, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.inFlight.Dec()
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.requestTime.WithLabelValues(route, method).Observe(took.Seconds())
	if code != "" {
		m.problems.WithLabelValues(code).Inc()
	}
}

// ClientLeft counts a client that went away before its answer.
func (m *Metrics) ClientLeft() { m.clientsLeft.Inc() }

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

var (
	pendingDesc = prometheus.NewDesc("chatmux_webhook_pending",
		"Events that a receiver has not got yet; the same on every replica.", []string{"endpoint"}, nil)
	oldestDesc = prometheus.NewDesc("chatmux_webhook_oldest_pending_seconds",
		"Age of the oldest of them; 0 where there is none.", []string{"endpoint"}, nil)
	deadDesc = prometheus.NewDesc("chatmux_webhook_dead",
		"Events that a receiver will not get by itself: all tries have failed.", []string{"endpoint"}, nil)
)

type webhookCollector struct{ metrics *Metrics }

// Describe implements prometheus.Collector.
func (c *webhookCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- pendingDesc
	ch <- oldestDesc
	ch <- deadDesc
}

// Collect implements prometheus.Collector.
func (c *webhookCollector) Collect(ch chan<- prometheus.Metric) {
	of := c.metrics.backlog.Load()
	if of == nil {
		return
	}
	for endpoint, b := range *of {
		age := 0.0
		if !b.Oldest.IsZero() {
			age = max(0, time.Since(b.Oldest).Seconds())
		}
		ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(b.Pending), endpoint)
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age, endpoint)
		ch <- prometheus.MustNewConstMetric(deadDesc, prometheus.GaugeValue, float64(b.Dead), endpoint)
	}
}
