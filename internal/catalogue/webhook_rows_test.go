//go:build linux

package catalogue

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// webhookRows are events out, and vendors' news in.
var webhookRows = []row{
	{id: "W01", promise: "each_event_is_delivered_once_and_verifies", tier: inside, because: "internal/app TestW01_each_event_is_delivered_once_and_verifies"},
	{id: "W02", promise: "a_failed_delivery_is_tried_again_under_its_id", tier: inside, because: "internal/app TestW02_a_failed_delivery_is_tried_again_under_its_id"},
	{
		id: "W03", promise: "a_receiver_that_hangs_is_cut_and_holds_up_no_other", tier: inside,
		because: "internal/app TestW03_a_receiver_that_hangs_is_cut_and_holds_up_no_other",
	},
	{id: "W04", promise: "a_wait_that_the_receiver_asks_for_is_kept", tier: inside, because: "internal/app TestW04_a_wait_that_the_receiver_asks_for_is_kept"},
	{id: "W05", promise: "a_bad_certificate_is_a_failure_that_says_so", tier: inside, because: "internal/app TestW05_a_bad_certificate_is_a_failure_that_says_so"},
	{
		id: "W06", promise: "a_receiver_that_never_comes_back_is_given_up", tier: inside,
		because: "internal/app TestW06_a_receiver_that_never_comes_back_is_given_up_and_can_be_told_later",
	},
	{id: "W07", promise: "a_crash_before_the_mark_delivers_again_under_the_same_id", tier: soak, run: w07},
	{id: "W08", promise: "two_replicas_never_deliver_one_event_at_once", tier: soak, run: w08, stores: postgresOnly},
	{id: "W09", promise: "the_late_mark_of_a_stalled_worker_is_refused", tier: soak, run: w09, stores: postgresOnly},
	{id: "W10", promise: "the_signed_bytes_are_the_sent_bytes", tier: inside, because: "internal/app TestW10_the_signed_bytes_are_the_sent_bytes"},
	{
		id: "W11", promise: "only_the_backends_own_secret_opens_its_webhook", tier: inside,
		because: "internal/app TestW11_only_the_backends_own_secret_opens_its_webhook",
	},
	{
		id: "W12", promise: "the_same_delivery_twenty_times_at_once_is_processed_once", tier: inside,
		because: "internal/app TestW12_the_same_delivery_twenty_times_at_once_is_processed_once",
	},
	{
		id: "W13", promise: "news_of_nothing_that_is_known_is_taken_counted_and_ignored", tier: inside,
		because: "internal/app TestW13_news_of_nothing_that_is_known_is_taken_counted_and_ignored",
	},
	{
		id: "W14", promise: "a_reply_that_is_faster_than_our_own_post_is_the_answer", tier: inside,
		because: "internal/app TestW14_a_reply_that_is_faster_than_our_own_post_is_the_answer",
	},
}

// leaseOver is how long a delivery may take to come again after its owner is gone: the
// lease, and a busy machine.
const leaseOver = 25*time.Second + patience

// receiver is a receiver of webhooks.
type receiver struct {
	mu     sync.Mutex
	times  map[string]int // by webhook-id
	open   map[string]bool
	met    []string // ids of which two deliveries were under way at once
	answer func(w http.ResponseWriter, r *http.Request, id string, time int)
}

// told starts a receiver, and has a config tell it of these events.
func (s *scene) told(c *configuration, events string, answer func(w http.ResponseWriter, r *http.Request, id string, time int)) *receiver {
	s.t.Helper()
	v := &receiver{times: make(map[string]int), open: make(map[string]bool), answer: answer}
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("hook-"+canary+"-91ab44e0"))
	c.rest += fmt.Sprintf("%swebhooks:\n  - {name: crm, url: %q, secret: %q, tenant: acme, events: [%s]}\n", sharing, s.shelf(v.receive), secret, events)
	return v
}

func (v *receiver) receive(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // before its end nobody notices that a sender is gone
	id := r.Header.Get("webhook-id")
	v.mu.Lock()
	if v.open[id] {
		v.met = append(v.met, id)
	}
	v.open[id] = true
	v.times[id]++
	time := v.times[id]
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.open, id)
	}()
	v.answer(w, r, id, time)
}

// received gives how often each event has come.
func (v *receiver) received() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	times := make(map[string]int, len(v.times))
	for id, n := range v.times {
		times[id] = n
	}
	return times
}

// deliveredAgain kills the program while it tells its receiver of an event.
func deliveredAgain(t testing.TB, s *scene) {
	c := s.usual()
	began := make(chan struct{})
	v := s.told(c, "message.created", func(w http.ResponseWriter, r *http.Request, _ string, time int) {
		if time == 1 {
			close(began)
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	h := s.serve(c)
	h.first("solo", "hello").turn()
	<-began
	h.kill()
	s.serve(c)
	eventuallyWithin(t, leaseOver, "it is delivered", func() bool { return s.count("SELECT COUNT(*) FROM deliveries WHERE status = 'delivered'") == 1 })
	if got := v.received(); len(got) != 1 || len(v.met) > 0 {
		t.Errorf("received %v, at once %v", got, v.met)
	}
}

func p05(t testing.TB, s *scene) { deliveredAgain(t, s) }

func w07(t testing.TB, s *scene) { deliveredAgain(t, s) }

func w08(t testing.TB, s *scene) {
	const messages, clients = 5000, 8
	c := s.usual()
	v := s.told(c, "message.created, reply.completed", func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		time.Sleep(time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	})
	f := s.sail(c, 2)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for n := range messages / clients {
				a, err := f.at(i%2).try("POST", "/v1/messages", object{"text": fmt.Sprintf("%d/%d", i, n), "metadata": object{"route": "pair"}})
				if err != nil || a.status != 200 {
					t.Errorf("%v %d %s", err, a.status, a.body)
					return
				}
			}
		})
	}
	all.Wait()
	eventuallyWithin(t, 2*time.Minute, "all is delivered", func() bool { return s.count("SELECT COUNT(*) FROM deliveries WHERE status <> 'delivered'") == 0 })
	got := v.received()
	if len(got) != 2*messages || len(v.met) > 0 {
		t.Errorf("%d events were delivered, want %d; at once %v", len(got), 2*messages, v.met)
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

func w09(t testing.TB, s *scene) {
	c := s.usual()
	began := make(chan struct{})
	v := s.told(c, "message.created", func(w http.ResponseWriter, r *http.Request, _ string, time int) {
		if time == 1 {
			close(began)
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	stalled := s.serve(c)
	stalled.first("solo", "hello").turn()
	<-began
	stalled.signal(syscall.SIGSTOP)
	s.serve(c)
	eventuallyWithin(t, leaseOver, "another worker delivers it", func() bool {
		return s.count("SELECT COUNT(*) FROM deliveries WHERE status = 'delivered'") == 1
	})
	stalled.signal(syscall.SIGCONT)
	stalled.log.awaits(t, "took longer than its lease", 1)
	if n := s.count("SELECT COUNT(*) FROM deliveries WHERE status = 'delivered' AND response = 204"); n != 1 {
		t.Error("the late mark was taken")
	}
	if got := v.received(); len(got) != 1 {
		t.Errorf("received %v", got)
	}
}
