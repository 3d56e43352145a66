package webhook

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"chatmux/internal/outbound"
	"chatmux/internal/store"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestASecretThatCannotSignIsRefused(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, " ": 0, "whsec_": 0, "whsec_!": 0, "c2VjcmV0": 0, "whsec_c2VjcmV0": 1, "whsec_c2VjcmV0 whsec_b3RoZXI=": 2, "whsec_c2VjcmV0 other": 0,
	} {
		keys, err := keysOf(normalize.NewSecret(text))
		if len(keys) != want && want > 0 || (err == nil) != (want > 0) {
			t.Errorf("%q: %d keys, %v", text, len(keys), err)
		}
	}
}

func TestAWaitIsReadAsSecondsAndAsADate(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 15, 31, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "60": time.Minute, "0": 0, "-5": 0, "soon": 0, "999999": maxRetryAfter, "1.5": 0,
		"Wed, 04 Mar 2026 10:16:01 GMT": 30 * time.Second, "Wed, 04 Mar 2026 10:15:01 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// bench is a dispatcher over a store of its own that never runs, and a receiver that
// counts.
func bench(t *testing.T) (d *Dispatcher, s *store.Store, received *atomic.Int64) {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite::memory:", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	received = new(atomic.Int64)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received.Add(1) }))
	t.Cleanup(func() {
		receiver.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	d = New(Options{
		Store: s, Log: zap.NewNop(), Metrics: telemetry.New(),
		Guard: outbound.New(outbound.Options{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}),
	})
	if err := d.Use([]Endpoint{{Name: "crm", URL: receiver.URL, Secret: normalize.NewSecret("whsec_c2VjcmV0")}}); err != nil {
		t.Fatal(err)
	}
	s.SetOutbox([]store.Endpoint{{Name: "crm", Tenant: "acme", Topics: []store.Topic{store.TopicThreadUpdated}}}, d.Wake)
	return d, s, received
}

// claimed makes an event, and takes its delivery as a lane does.
func claimed(t *testing.T, d *Dispatcher, s *store.Store, lease time.Duration) try {
	t.Helper()
	now := time.Now()
	thread := normalize.Thread{ID: "thr_1", Tenant: "acme", Mode: normalize.ModeAI, Status: normalize.ThreadOpen, CreatedAt: now, UpdatedAt: now}
	if err := s.CreateThread(t.Context(), thread); err != nil {
		t.Fatal(err)
	}
	_, err := s.UpdateThread(t.Context(), "acme", "thr_1", now, func(t *store.StoredThread) error { t.Title = "new"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.ClaimDeliveries(t.Context(), "crm", "me", time.Minute, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("claimed %+v, %v", list, err)
	}
	l := d.lanes["crm"]
	return try{Delivery: list[0], lane: l, target: l.target.Load(), owner: "me", until: now.Add(lease)}
}

func (t try) status(tb testing.TB) store.DeliveryStatus {
	tb.Helper()
	list, _, err := t.lane.d.store.Deliveries(tb.Context(), store.DeliveryFilter{Tenant: "acme"}, store.Range{})
	if err != nil || len(list) != 1 {
		tb.Fatalf("%+v, %v", list, err)
	}
	return list[0].Status
}

func TestATryIsMadeWithinItsLease(t *testing.T) {
	d, s, received := bench(t)
	one := claimed(t, d, s, time.Minute)
	one.make()
	if received.Load() != 1 || one.status(t) != store.DeliveryDelivered {
		t.Errorf("received %d times, %s", received.Load(), one.status(t))
	}
}

// A process that stalled after it took a delivery must not post it when it wakes up:
// another one may be at it.
func TestW08_a_try_whose_lease_is_nearly_over_is_not_begun(t *testing.T) {
	d, s, received := bench(t)
	one := claimed(t, d, s, d.pace.Timeout-time.Second)
	one.make()
	if received.Load() != 0 || one.status(t) != store.DeliveryPending {
		t.Errorf("received %d times, %s", received.Load(), one.status(t))
	}
}

func TestADrainedDispatcherTakesNothingMore(t *testing.T) {
	d, s, received := bench(t)
	d.Drain(t.Context())
	one := claimed(t, d, s, time.Minute)
	if err := d.Use([]Endpoint{{Name: "other", URL: "http://127.0.0.1", Secret: normalize.NewSecret("whsec_c2VjcmV0")}}); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	d.Drain(t.Context())
	if received.Load() != 0 || one.status(t) != store.DeliveryPending {
		t.Errorf("received %d times, %s", received.Load(), one.status(t))
	}
}
