package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestWebhooksAreListedAndToldAgain(t *testing.T) {
	var mu sync.Mutex // what a program of its own asks happens, for the race detector, at any time
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.String())
		mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer k":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":"unauthenticated","detail":"who are you?"}`)
		case strings.HasSuffix(r.URL.Path, "/evt_none/redeliver"):
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"not_found","detail":"there is no such object"}`)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"id":"evt_1"}`)
		default:
			id, next := "evt_1", `"more"`
			if r.URL.Query().Get("cursor") == "more" {
				id, next = "evt_2", "null"
			}
			_, _ = fmt.Fprintf(w, `{"data":[{"id":%q,"endpoint":"crm","type":"reply.completed","thread_id":"thr_1","status":"dead","tries":12,
				"failure":"the receiver answers 500","created_at":"2026-03-04T10:15:31.480Z","next_try_at":null}],"next_cursor":%s}`, id, next)
		}
	}))
	t.Cleanup(server.Close)
	var asked []string
	as := func(args ...string) result {
		got := runHere(t, t.TempDir(), "", append(args, "--server", server.URL, "--key", "k")...)
		mu.Lock()
		defer mu.Unlock()
		asked, requests = requests, nil
		return got
	}

	got := as("webhooks", "list", "--status", "dead", "--endpoint", "crm")
	if got.status != 0 || strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stdout, "evt_2") || !strings.Contains(got.stdout, "the receiver answers 500") {
		t.Errorf("list: %+v", got)
	}
	if want := "GET /v1/webhooks/deliveries?endpoint=crm&limit=200&order=asc&status=dead"; asked[0] != want {
		t.Errorf("asked %s, want %s", asked[0], want)
	}
	if got = as("webhooks", "redeliver", "--dead"); got.status != 0 || got.stdout != "2 due again\n" ||
		!slices.Equal(asked[2:], []string{"POST /v1/webhooks/deliveries/evt_1/redeliver", "POST /v1/webhooks/deliveries/evt_2/redeliver"}) {
		t.Errorf("redeliver: %+v, asked %q", got, asked)
	}
	if got = as("webhooks", "redeliver", "evt_none"); got.status != 1 || !strings.Contains(got.stderr, "evt_none: there is no such object") {
		t.Errorf("redeliver of nothing: %+v", got)
	}
	for _, args := range [][]string{{"webhooks", "redeliver"}, {"webhooks", "redeliver", "--dead", "evt_1"}, {"webhooks", "lst"}} {
		if got = as(args...); got.status != 2 || len(asked) > 0 {
			t.Errorf("%q: %+v, asked %q", args, got, asked)
		}
	}
}
