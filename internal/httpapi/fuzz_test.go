package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatmux/internal/engine"
)

// FuzzCursorAndHeaders holds the checks of what stands outside of bodies against
// their definitions: accepted and handed on as it is, or 422, and never a failure
// of ours.
func FuzzCursorAndHeaders(f *testing.F) {
	for _, s := range []string{
		"", "1", "30", "2.5", "300", "300.1", "301", "0", "-1", "abc", "1e2", "999999999999", "0.999999999", "1.", ".5", "١", " 5", "5 ",
		"a b", "key-1", "ä", "\x7f", "%00", "a\tb", strings.Repeat("k", 255), strings.Repeat("k", 256), "text/event-stream", "Bearer x",
	} {
		f.Add(s, s, s, s)
	}
	fake := newFakeEngine()
	api, err := New(fake, Options{}, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	goodKey := regexp.MustCompile(`^[!-~]{1,255}$`)
	goodTimeout := regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
	goodCursor := regexp.MustCompile(`^[!-~]*$`)
	serve := func(method, target, body string, header http.Header) int {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		for name, values := range header {
			r.Header[name] = values
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		return w.Code
	}
	f.Fuzz(func(t *testing.T, key, timeout, cursor, limit string) {
		good := goodKey.MatchString(key)
		var budget time.Duration
		if seconds, err := strconv.ParseFloat(timeout, 64); goodTimeout.MatchString(timeout) && err == nil && seconds >= 1 && seconds <= 300 {
			budget, _ = time.ParseDuration(timeout + "s")
		} else {
			good = false
		}
		status := serve("POST", "/v1/messages", `{"text":"a"}`,
			http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {key}, "Chatmux-Timeout": {timeout}})
		asked := fake.take()
		if good && (status != 200 || len(asked) != 1) || !good && (status != 422 || len(asked) != 0) {
			t.Fatalf("key %q, timeout %q: %d, asked %v", key, timeout, status, asked)
		}
		if good {
			if send := asked[0].(askedSend).Send; send.Key.Key != key || send.Timeout != budget {
				t.Fatalf("key %q arrived as %q, timeout %q as %v", key, send.Key.Key, timeout, send.Timeout)
			}
		}

		n, err := strconv.Atoi(limit)
		good = len(cursor) <= 2048 && goodCursor.MatchString(cursor) && (limit == "" || err == nil && n >= 1 && n <= 200 && limit[0] != '+')
		if limit == "" {
			n = 50
		}
		status = serve("GET", "/v1/threads?cursor="+url.QueryEscape(cursor)+"&limit="+url.QueryEscape(limit), "", nil)
		asked = fake.take()
		if good && (status != 200 || len(asked) != 1) || !good && (status != 422 || len(asked) != 0) {
			t.Fatalf("cursor %q, limit %q: %d, asked %v", cursor, limit, status, asked)
		}
		if want := (engine.Page{Limit: n, Cursor: cursor}); good && asked[0].(askedThreads).Page != want {
			t.Fatalf("%+v, want %+v", asked[0], want)
		}
	})
}
