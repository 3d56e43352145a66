package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters/sitegpt/sitegpttwin"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// keeper is a vendor that can erase conversations, but fails to as often as it is told.
type keeper struct {
	http.Handler
	fails, erased atomic.Int32
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		if k.fails.Add(-1) >= 0 {
			http.Error(w, `{"error": "no"}`, http.StatusInternalServerError)
			return
		}
		k.erased.Add(1)
	}
	k.Handler.ServeHTTP(w, r)
}

func startKeeper(t *testing.T, address, limits string) (*house, *keeper) {
	t.Helper()
	const key, chatbot = "k-sitegpt-canary", "365062873485935184"
	vendor := &keeper{Handler: sitegpttwin.New(sitegpttwin.Options{Key: normalize.NewSecret(key), ChatbotID: chatbot})}
	server := httptest.NewServer(vendor)
	t.Cleanup(server.Close)
	return startHouse(t, fmt.Sprintf(`
listen: 127.0.0.1:0
store: %s
limits: {drain: {delay: 0s, grace: 5s}%s}
backends:
  - name: docs-bot
    adapter: sitegpt
    settings: {base_url: "%s", version: v2, api_key: %s, chatbot_id: "%s"}
    breaker: {failures: 100, min_requests: 1000}
  - {name: echo, adapter: echo}
routes:
  - {name: default, to: docs-bot}
`, address, limits, server.URL, key, chatbot)), vendor
}

// erasures is what DELETE answers.
type erasures struct {
	Deleted  bool `json:"deleted"`
	Backends []struct {
		Backend  string `json:"backend"`
		RemoteID string `json:"remote_id"`
		Outcome  string `json:"outcome"`
	} `json:"backends"`
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not: " + what)
		}
	}
}

func (h *house) counts(metric string) bool {
	h.t.Helper()
	return strings.Contains(string(h.call("GET", "/metrics", nil).body), metric)
}

func TestAnErasureThatTheVendorFailedIsTriedAgain(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h, vendor := startKeeper(t, newStore(t), "")
		made := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread
		vendor.fails.Store(3)
		got := read[erasures](t, h.call("DELETE", "/v1/threads/"+made.ID, nil), 200)
		if len(got.Backends) != 1 || got.Backends[0].Outcome != "failed" || got.Backends[0].RemoteID != made.Bindings[0].RemoteID {
			t.Errorf("the answer is %+v", got)
		}
		read[problem](t, h.call("GET", "/v1/threads/"+made.ID, nil), 404)
		eventually(t, "the vendor has erased it", func() bool { return vendor.erased.Load() == 1 })
		eventually(t, "it is counted", func() bool {
			return h.counts(`chatmux_erasures_total{backend="docs-bot",outcome="deleted"} 1`) &&
				h.counts(`chatmux_erasures_total{backend="docs-bot",outcome="failed"} 3`)
		})
	})
}

func TestAnErasureThatIsNeverPossibleIsGivenUpOneDay(t *testing.T) {
	h, vendor := startKeeper(t, "sqlite::memory:", "")
	made := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread
	vendor.fails.Store(1 << 30)
	read[erasures](t, h.call("DELETE", "/v1/threads/"+made.ID, nil), 200)
	eventually(t, "it is given up", func() bool { return h.counts(`chatmux_erasures_total{backend="docs-bot",outcome="given_up"} 1`) })
}

// TestAnErasureOutlivesTheProcess leaves one on record, as a crash between our copy and
// the vendor's would.
func TestAnErasureOutlivesTheProcess(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		address := newStore(t)
		s, err := store.Open(t.Context(), address, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		leftOver(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, vendor := startKeeper(t, address, "")
		eventually(t, "the vendor was asked", func() bool { return vendor.erased.Load() == 1 })
	})
}

func leftOver(t *testing.T, s *store.Store) {
	t.Helper()
	at := time.Now()
	id := normalize.FormatID(normalize.PrefixThread, [16]byte{1})
	err := s.CreateThread(t.Context(), normalize.Thread{ID: id, Tenant: "default", CreatedAt: at, UpdatedAt: at, Bindings: []normalize.Binding{{
		Backend: "docs-bot", Vendor: "sitegpt", Bot: "365062873485935184", Remote: normalize.Remote{ThreadID: "a-conversation"}, Since: at,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.EraseThread(context.Background(), "default", id, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestThreadsThatNobodyTouchedAreErasedAfterTheirRetention(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h, vendor := startKeeper(t, newStore(t), ", retention: 1s")
		made := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello"}), 200).Thread
		eventually(t, "the thread is gone", func() bool { return h.call("GET", "/v1/threads/"+made.ID, nil).status == 404 })
		eventually(t, "the vendor's copy, too", func() bool { return vendor.erased.Load() == 1 })
	})
}
