package httpapi

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the API's own metrics. Labels come from closed sets only.
type meters struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	problems *prometheus.CounterVec
	inFlight prometheus.Gauge
	left     prometheus.Counter
}

func newMeters() *meters {
	return &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_http_requests_total",
			Help: "Requests answered, by path template, method and status; 499 is a client that did not wait.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "chatmux_http_request_seconds",
			Help:    "How long requests took, the backends' time included.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		}, []string{"route", "method"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chatmux_http_problems_total",
			Help: "Problem objects answered, by code.",
		}, []string{"code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chatmux_http_requests_in_flight",
			Help: "Requests that are being served.",
		}),
		left: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chatmux_http_clients_left_total",
			Help: "Clients that went away before their answer, or in the middle of their own request.",
		}),
	}
}

func (m *meters) register(to prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.problems, m.inFlight, m.left} {
		if err := to.Register(c); err != nil {
			return fmt.Errorf("httpapi: %w", err)
		}
	}
	return nil
}

func (m *meters) observe(route, method string, status int, code string, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
	if code != "" {
		m.problems.WithLabelValues(code).Inc()
	}
}
