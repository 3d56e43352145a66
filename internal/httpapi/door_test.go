package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

func jsonBody(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	webKey = "cmx_web_4f8a2b7d9e1c"
	crmKey = "cmx_crm_1a2b3c4d5e6f"
)

func twoCallers() []Caller {
	return []Caller{
		{Name: "web", Tenant: "acme", Key: normalize.NewSecret(webKey), Routes: []string{"support"}},
		{Name: "crm", KeySHA256: sha256.Sum256([]byte(crmKey))},
	}
}

func TestKeys(t *testing.T) {
	h := newHarness(t, Options{Callers: twoCallers()})
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			h.t = t
			test(t)
		})
	}
	run("A01_without_exactly_one_good_key_all_is_the_same_401", func(t *testing.T) {
		var first map[string]string
		for _, headers := range [][]string{
			{},
			{"Authorization", " "},
			{"Authorization", "Bearer"},
			{"Authorization", "Bearer "},
			{"Authorization", "Bearer  " + webKey},
			{"Authorization", webKey},
			{"Authorization", "Basic " + webKey},
			{"Authorization", "Bearer " + webKey + " x"},
			{"Authorization", "Bearer " + webKey + ", Bearer " + webKey},
			{"Authorization", "Bearer " + webKey, "Authorization", "Bearer " + webKey},
			{"Authorization", "Bearer " + webKey, "Authorization", "Bearer x"},
			{"Authorization", "Bearer unknown"},
			{"Authorization", "Bearer " + webKey[:len(webKey)-1] + "d"},
			{"Authorization", "Bearer " + strings.ToUpper(webKey)},
			{"Authorization", "Bearer " + strings.Repeat("k", 10_000)},
			{"X-Api-Key", webKey},
		} {
			for _, route := range h.api.Routes() {
				if !strings.HasPrefix(route.Path, "/v1/") {
					continue
				}
				path := requests[route.Method+" "+route.Path].path
				a := h.do(route.Method, path, requests[route.Method+" "+route.Path].body, headers...).want(t, 401, "unauthenticated")
				if a.header.Get("Www-Authenticate") != "Bearer" {
					t.Errorf("WWW-Authenticate is %q", a.header.Get("Www-Authenticate"))
				}
				got := withoutID(t, a)
				if first == nil {
					first = got
				}
				for k, v := range first {
					if got[k] != v {
						t.Errorf("%v: %s is %q, elsewhere %q", headers, k, got[k], v)
					}
				}
			}
		}
		h.get("/v1/threads?key="+webKey+"&access_token="+webKey).want(t, 401, "unauthenticated")
		h.nothing()
		for _, line := range h.log.All() {
			if s := line.Message + jsonBody(t, line.ContextMap()); strings.Contains(s, "cmx_") || strings.Contains(s, "access_token") {
				t.Errorf("the log has a query or a key: %s", s)
			}
		}
	})
	run("A02_a_known_key_names_its_caller", func(t *testing.T) {
		for key, want := range map[string]engine.Caller{
			webKey: {Name: "web", Tenant: "acme", Routes: []string{"support"}},
			crmKey: {Name: "crm", Tenant: "crm"},
		} {
			for _, scheme := range []string{"Bearer ", "bearer "} {
				h.get("/v1/threads", "Authorization", scheme+key).want(t, 200, "")
				if diff := cmp.Diff(want, h.engine.take()[0].(askedThreads).From.Caller); diff != "" {
					t.Error(diff)
				}
			}
		}
	})
	run("A04_what_the_engine_forbids_is_403", func(t *testing.T) {
		h.engine.err = normalize.Errorf(normalize.KindForbidden, "caller web may not use route vip")
		h.post("/v1/messages", `{"text":"a","route":"vip"}`, "Authorization", "Bearer "+webKey).want(t, 403, "forbidden")
		h.post("/v1/routes/explain", `{"route":"vip"}`, "Authorization", "Bearer "+webKey).want(t, 403, "forbidden")
		h.engine.err = nil
		h.engine.take()
		h.post("/v1/routes/explain", `{"caller":"crm"}`, "Authorization", "Bearer "+webKey).want(t, 403, "forbidden")
		h.nothing()
		h.post("/v1/routes/explain", `{"caller":"web"}`, "Authorization", "Bearer "+webKey).want(t, 200, "")
		if got := h.engine.take()[0].(askedExplain).From.Caller; got.Name != "web" || got.Tenant != "acme" || len(got.Routes) != 1 {
			t.Errorf("%+v", got)
		}
	})
	run("A17_no_other_origin_is_let_in", func(t *testing.T) {
		a := h.do("OPTIONS", "/v1/messages", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
		a.want(t, 405, "method_not_allowed")
		b := h.get("/v1/threads", "Authorization", "Bearer "+webKey, "Origin", "https://evil.example").want(t, 200, "")
		for _, header := range []http.Header{a.header, b.header} {
			for name := range header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s: %s", name, header.Get(name))
				}
			}
		}
		h.engine.take()
	})
	run("A05_a_caller_that_was_taken_out_is_401_and_its_running_send_ends", func(t *testing.T) {
		started, finish := make(chan struct{}), make(chan struct{})
		h.engine.onSend = func(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error) {
			close(started)
			<-finish
			return h.engine.turn(), nil
		}
		done := make(chan answer)
		go func() { done <- h.post("/v1/messages", `{"text":"a"}`, "Authorization", "Bearer "+webKey) }()
		<-started
		if err := h.api.SetCallers(twoCallers()[1:]); err != nil {
			t.Fatal(err)
		}
		h.get("/v1/threads", "Authorization", "Bearer "+webKey).want(t, 401, "unauthenticated")
		h.get("/v1/threads", "Authorization", "Bearer "+crmKey).want(t, 200, "")
		close(finish)
		(<-done).want(t, 200, "")
		h.engine.onSend = nil
	})
}

func TestCallersThatCannotBeToldApartAreRefused(t *testing.T) {
	key := normalize.NewSecret("k1")
	for name, list := range map[string][]Caller{
		"no name":   {{Key: key}},
		"no key":    {{Name: "a"}},
		"same name": {{Name: "a", Key: key}, {Name: "a", Key: normalize.NewSecret("k2")}},
		"same key":  {{Name: "a", Key: key}, {Name: "b", KeySHA256: sha256.Sum256([]byte("k1"))}},
	} {
		if _, err := New(newFakeEngine(), Options{Callers: list}, nil, nil); err == nil || strings.Contains(err.Error(), "k1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(nil, Options{}, nil, nil); err == nil {
		t.Error("an API without an engine")
	}
	api, err := New(newFakeEngine(), Options{Callers: twoCallers()}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if api.SetCallers([]Caller{{Name: "a"}}) == nil || api.callers.Load().find(webKey) == nil {
		t.Error("callers that were refused have replaced the old ones")
	}
}

// held lets sends wait in the engine until the test ends.
func (h *harness) held(t *testing.T, n int, headers ...string) (release func()) {
	t.Helper()
	started, finish := make(chan struct{}), make(chan struct{})
	h.engine.onSend = func(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error) {
		started <- struct{}{}
		<-finish
		return h.engine.turn(), nil
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() { h.post("/v1/messages", `{"text":"a"}`, headers...).want(t, 200, "") })
		<-started
	}
	h.engine.take()
	return func() {
		close(finish)
		all.Wait()
		h.engine.onSend = nil
	}
}

// wantRetryAfter checks that an answer says when to come back.
func (a answer) wantRetryAfter(t *testing.T, from, to int) {
	t.Helper()
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < from || n > to {
		t.Errorf("Retry-After is %q, want %d to %d", a.header.Get("Retry-After"), from, to)
	}
}

func TestAFullServerRefusesSendsAndNothingElse(t *testing.T) {
	h := newHarness(t, Options{Limits: Limits{InFlight: 2}})
	release := h.held(t, 2)
	for _, path := range append(sendPaths, messagePath+"/resend") {
		a := h.post(path, `{`).want(t, 503, "overloaded")
		a.wantRetryAfter(t, 1, 5)
		if p := a.problem(t); !p.Retryable || p.Outcome != "none" {
			t.Errorf("%+v", p)
		}
	}
	h.nothing()
	h.get("/v1/threads").want(t, 200, "")
	h.post("/v1/threads", `{}`).want(t, 201, "")
	release()
	h.post("/v1/messages", `{"text":"a"}`).want(t, 200, "")
}

func TestACallersOwnLimits(t *testing.T) {
	now := time.Now()
	callers := twoCallers()
	callers[0].InFlight = 1
	callers[1].Rate = 2
	h := newHarness(t, Options{Callers: callers, Now: func() time.Time { return now }})
	web, crm := []string{"Authorization", "Bearer " + webKey}, []string{"Authorization", "Bearer " + crmKey}

	release := h.held(t, 1, web...)
	a := h.post("/v1/messages", `{`, web...).want(t, 429, "too_many_in_flight")
	a.wantRetryAfter(t, 1, 5)
	h.get("/v1/threads", web...).want(t, 200, "")
	if err := h.api.SetCallers(callers); err != nil { // a reload forgets nothing
		t.Fatal(err)
	}
	h.post("/v1/messages", `{"text":"a"}`, web...).want(t, 429, "too_many_in_flight")
	release()
	h.post("/v1/messages", `{"text":"a"}`, web...).want(t, 200, "")

	for range 4 { // the burst is twice the rate
		h.get("/v1/threads", crm...).want(t, 200, "")
	}
	h.engine.take()
	a = h.post("/v1/messages", `{`, crm...).want(t, 429, "rate_limited")
	a.wantRetryAfter(t, 1, 5)
	if err := h.api.SetCallers(callers); err != nil {
		t.Fatal(err)
	}
	h.get("/v1/threads", crm...).want(t, 429, "rate_limited")
	h.nothing()
	h.get("/v1/threads", web...).want(t, 200, "")
	now = now.Add(time.Second)
	h.get("/v1/threads", crm...).want(t, 200, "")
	h.get("/v1/threads", crm...).want(t, 200, "")
	h.get("/v1/threads", crm...).want(t, 429, "rate_limited")
}

func TestACallerOverItsRateIsToldWhenItMayComeBack(t *testing.T) {
	callers := twoCallers()[:1]
	callers[0].Rate, callers[0].Burst = 1.0/60, 1
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	h := newHarness(t, Options{Callers: callers, Now: func() time.Time { return now }})
	web := []string{"Authorization", "Bearer " + webKey}
	h.get("/v1/threads", web...).want(t, 200, "")
	now = now.Add(15 * time.Second)
	h.get("/v1/threads", web...).want(t, 429, "rate_limited").wantRetryAfter(t, 45, 46)
}

func TestTheDoorChecksInItsOrder(t *testing.T) {
	callers := twoCallers()[:1]
	callers[0].Rate, callers[0].Burst = 0.001, 1
	h := newHarness(t, Options{Callers: callers, Limits: Limits{InFlight: 1}})
	web := []string{"Authorization", "Bearer " + webKey}
	release := h.held(t, 1, web...)
	h.post("/v1/messages", `{`, "Authorization", "Bearer wrong").want(t, 503, "overloaded") // the place before the key
	release()
	h.post("/v1/messages", `{`, "Authorization", "Bearer wrong").want(t, 401, "unauthenticated") // the key before the rate
	h.post("/v1/messages", `{`, web...).want(t, 429, "rate_limited")                             // the rate before the body
	h.post("/v1/nothing", `{`).want(t, 404, "not_found")
	h.do("PUT", "/v1/messages", `{`).want(t, 405, "method_not_allowed")
	h.api.StopSends()
	h.post("/v1/messages", `{`).want(t, 503, "draining")
	h.nothing()
}

func TestDrainingIsToldFirstAndSendsAreRefusedLater(t *testing.T) {
	h := newHarness(t, Options{})
	h.get("/readyz").want(t, 200, "")
	h.api.Drain()
	h.get("/readyz").want(t, 503, "draining").wantRetryAfter(t, 1, 5)
	h.get("/healthz").want(t, 200, "")
	h.post("/v1/messages", `{"text":"a"}`).want(t, 200, "")
	release := h.held(t, 1)
	h.api.StopSends()
	for _, path := range append(sendPaths, messagePath+"/resend") {
		h.post(path, `{"text":"a"}`).want(t, 503, "draining").wantRetryAfter(t, 1, 5)
	}
	h.nothing()
	h.get("/v1/threads").want(t, 200, "")
	release()
}

func TestReadyFollowsTheStore(t *testing.T) {
	h := newHarness(t, Options{})
	for _, err := range []error{&normalize.Error{Kind: normalize.KindStorageUnavailable}, errors.New("no such file")} {
		h.engine.err = err
		h.get("/readyz").want(t, 503, "storage_unavailable").wantRetryAfter(t, 1, 5)
	}
	h.engine.err = nil
	h.get("/readyz").want(t, 200, "")
}

func TestAnswersOfABackendSayWhoAnsweredAndHowLong(t *testing.T) {
	h := newHarness(t, Options{})
	timing := regexp.MustCompile(`^backend;dur=3, chatmux;dur=[0-9.]+$`)
	check := func(a answer) {
		t.Helper()
		h := a.header
		if h.Get("Chatmux-Backend") != "docs-bot" || h.Get("Chatmux-Route") != "default" || !timing.MatchString(h.Get("Server-Timing")) {
			t.Errorf("%v", h)
		}
	}
	check(h.post("/v1/messages", `{"text":"a"}`).want(t, 200, ""))
	check(h.post(messagesPath, `{"text":"a"}`).want(t, 200, ""))
	check(h.post(messagePath+"/resend", ``).want(t, 200, ""))
	h.engine.err = &normalize.Error{
		Kind: normalize.KindVendorFault, Backend: "docs-bot", Outcome: normalize.OutcomeUnknown, MessageID: messageID, VendorStatus: 500,
	}
	a := h.post("/v1/messages", `{"text":"a"}`).want(t, 502, "backend_error")
	check(a)
	for _, part := range []string{`"vendor":{"status":500,"code":null}`, `"message_id":"` + messageID, `"outcome":"unknown"`} {
		if !strings.Contains(string(a.body), part) {
			t.Errorf("no %s in %s", part, a.body)
		}
	}
	h.engine.err = &normalize.Error{Kind: normalize.KindQuota, Backend: "docs-bot", VendorCode: "EXCEEDED"}
	a = h.post("/v1/messages", `{"text":"a"}`).want(t, 503, "backend_unavailable")
	if !strings.Contains(string(a.body), `"vendor":{"status":null,"code":"EXCEEDED"}`) {
		t.Errorf("%s", a.body)
	}
	h.engine.err = nil
	h.engine.onSend = func(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error) {
		return engine.Turn{}, &normalize.Error{Kind: normalize.KindBreakerOpen, Backend: "docs-bot", RetryAfter: 6100 * time.Millisecond}
	}
	a = h.post("/v1/messages", `{"text":"a"}`).want(t, 503, "breaker_open")
	a.wantRetryAfter(t, 7, 7)
	if a.header.Get("Chatmux-Backend") != "" {
		t.Error("nobody answered, and a header says who did")
	}
}

// wantReplayOf checks that an answer is the first one again.
func (a answer) wantReplayOf(t *testing.T, first answer) {
	t.Helper()
	if a.status != first.status || string(a.body) != string(first.body) || a.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("%d %v %s\nis not what was answered first: %d %s", a.status, a.header, a.body, first.status, first.body)
	}
	if a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v", a.header)
	}
}

func TestAKeyBringsTheStoredAnswerAgain(t *testing.T) {
	h := newHarness(t, Options{})
	body := `{"text":"a"}`
	var stored engine.Replay
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		if send.Key == nil || send.Key.Key != "k-1" || send.Key.Path != "POST /v1/messages" || send.Key.BodyHash != sha256.Sum256([]byte(body)) {
			t.Errorf("%+v", send.Key)
		}
		turn := h.engine.turn()
		stored.Status, stored.Body = send.Key.Render(turn, nil)
		return turn, nil
	}
	first := h.post("/v1/messages", body, "Idempotency-Key", "k-1").want(t, 200, "")
	if stored.Status != 200 || string(stored.Body) != string(first.body) || first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("rendered %d %s\nanswered %s", stored.Status, stored.Body, first.body)
	}
	h.engine.onSend = func(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error) {
		return engine.Turn{Replay: &stored}, nil
	}
	again := h.post("/v1/messages", body, "Idempotency-Key", "k-1").want(t, 200, "")
	again.wantReplayOf(t, first)

	failure := &normalize.Error{Kind: normalize.KindDisconnected, Outcome: normalize.OutcomeUnknown, Backend: "docs-bot", MessageID: messageID}
	path := messagePath + "/resend"
	h.engine.onResend = func(key *engine.Key) (engine.Turn, error) {
		if key.Path != "POST "+path || key.BodyHash != sha256.Sum256(nil) {
			t.Errorf("%+v", key)
		}
		stored.Status, stored.Body = key.Render(engine.Turn{}, failure)
		return engine.Turn{}, failure
	}
	first = h.post(path, "", "Idempotency-Key", "k-2").want(t, 502, "backend_error")
	h.engine.onResend = func(*engine.Key) (engine.Turn, error) { return engine.Turn{Replay: &stored}, nil }
	again = h.post(path, "", "Idempotency-Key", "k-2").want(t, 502, "backend_error")
	again.wantReplayOf(t, first)
	stored.Status, stored.Body = renderer("req_1", false)(engine.Turn{}, &normalize.Error{Kind: normalize.KindNoBackend})
	h.post(path, "", "Idempotency-Key", "k-3").want(t, 503, "no_backend_available").wantRetryAfter(t, 1, 5)
}

func TestAPanicIsA500AndNobodyElsesBusiness(t *testing.T) {
	h := newHarness(t, Options{})
	h.engine.onSend = func(_ context.Context, _ engine.Origin, send engine.SendRequest) (engine.Turn, error) {
		if send.Text == "index" {
			var none []int
			return engine.Turn{}, errors.New(strconv.Itoa(none[len(send.Text)]))
		}
		panic("canary: " + send.Text)
	}
	for text, said := range map[string]string{"index": "index out of range", "my secret": "type string"} {
		a := h.post("/v1/messages", `{"text":"`+text+`"}`).want(t, 500, "internal")
		if p := a.problem(t); p.Outcome != "unknown" || p.Retryable {
			t.Errorf("%+v", p)
		}
		lines := slices.DeleteFunc(h.log.TakeAll(), func(e observer.LoggedEntry) bool { return e.Message != "panic" })
		if len(lines) != 1 {
			t.Fatalf("%d lines", len(lines))
		}
		fields := jsonBody(t, lines[0].ContextMap())
		if !strings.Contains(fields, "door_test.go") || !strings.Contains(fields, said) || strings.Contains(fields, "secret") {
			t.Error(fields)
		}
	}
	h.engine.onSend = nil
	h.post("/v1/messages", `{"text":"a"}`).want(t, 200, "")
}

func TestAPanicAfterTheHeadCutsTheConnection(t *testing.T) {
	h := newHarness(t, Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		if _, err := io.WriteString(w, "half"); err != nil {
			t.Error(err)
		}
		panic("broken")
	})})
	resp, err := h.client.Get("http://" + h.addr + "/metrics")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
	h.get("/healthz").want(t, 200, "")
	var panics, requests int
	for _, line := range h.log.All() {
		switch {
		case line.Message == "panic":
			panics++
		case line.ContextMap()["route"] == "/metrics":
			requests++
		}
	}
	if panics != 1 || requests != 1 {
		t.Errorf("%d lines about the panic, %d about the request", panics, requests)
	}
}

func TestALogLineHasNoWordOfTheRequest(t *testing.T) {
	h := newHarness(t, Options{Callers: twoCallers()})
	h.log.TakeAll()
	h.post(messagesPath+"?include=raw", `{"text":"canary-text"}`,
		"Authorization", "Bearer "+webKey, "Idempotency-Key", "canary-key", "X-Extra", "canary-header")
	h.get("/v1/threads?q=canary-query", "Authorization", "Bearer "+webKey)
	h.engine.err = &normalize.Error{Kind: normalize.KindStorageUnavailable, Cause: errors.New("disk is full")}
	h.get(threadPath, "Authorization", "Bearer "+webKey)
	lines := h.log.TakeAll()
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	send := lines[0].ContextMap()
	for field, want := range map[string]any{"route": "/v1/threads/{thread}/messages", "caller": "web", "backend": "docs-bot", "status": int64(200)} {
		if send[field] != want {
			t.Errorf("%s is %v, want %v", field, send[field], want)
		}
	}
	if lines[0].Level != zap.InfoLevel {
		t.Errorf("a send is logged at %v", lines[0].Level)
	}
	if lines[1].Level != zap.DebugLevel {
		t.Errorf("a read is logged at %v", lines[1].Level)
	}
	if fields := lines[2].ContextMap(); lines[2].Level != zap.ErrorLevel || fields["cause"] != "disk is full" || fields["code"] != "storage_unavailable" {
		t.Errorf("%v %v", lines[2].Level, fields)
	}
	for _, line := range lines {
		if s := jsonBody(t, line.ContextMap()); strings.Contains(s, "canary") || strings.Contains(s, "cmx_") || strings.Contains(s, threadID) {
			t.Error(s)
		}
	}
}

// metric gives the value of one line of /metrics, as it is written there.
func (h *harness) metric(name string) string {
	h.t.Helper()
	for line := range strings.Lines(string(h.get("/metrics").body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestMetricsCountRequestsAndProblems(t *testing.T) {
	h := newHarness(t, Options{})
	h.post(messagesPath, `{"text":"a"}`)
	h.post(messagesPath, `{`)
	h.get("/nowhere")
	h.do("BREW", "/v1/messages", "")
	for name, want := range map[string]string{
		`chatmux_http_requests_total{method="POST",route="/v1/threads/{thread}/messages",status="200"}`: "1",
		`chatmux_http_requests_total{method="POST",route="/v1/threads/{thread}/messages",status="400"}`: "1",
		`chatmux_http_requests_total{method="GET",route="none",status="404"}`:                           "1",
		`chatmux_http_requests_total{method="other",route="/v1/messages",status="405"}`:                 "1",
		`chatmux_http_problems_total{code="invalid_json"}`:                                              "1",
		`chatmux_http_request_seconds_count{method="POST",route="/v1/threads/{thread}/messages"}`:       "2",
		`chatmux_http_requests_in_flight`:                                                               "1", // this one
	} {
		if got := h.metric(name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
}

func TestWithoutMetricsThereIsNoSuchPath(t *testing.T) {
	api, err := New(newFakeEngine(), Options{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range api.Routes() {
		if r.Path == "/metrics" {
			t.Error("/metrics is served")
		}
	}
}

func TestAnswersAreSafeToShow(t *testing.T) {
	h := newHarness(t, Options{})
	t.Run("A16_a_vendors_HTML_stays_text", func(t *testing.T) {
		h.t = t
		h.engine.message.Text = `<script>alert("1")</script>&amp;</body>`
		for _, path := range []string{messagePath, messagesPath} {
			a := h.get(path, "Accept", "text/html").want(t, 200, "")
			var got struct {
				Text string
				Data []struct{ Text string }
			}
			if err := json.Unmarshal(a.body, &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Data) > 0 {
				got.Text = got.Data[0].Text
			}
			if got.Text != h.engine.message.Text || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v %s", a.header, a.body)
			}
		}
	})
	t.Run("A18_answers_are_not_compressed", func(t *testing.T) {
		h.t = t
		for name, request := range requests {
			if strings.Contains(name, "/v1/") {
				method, _, _ := strings.Cut(name, " ")
				if a := h.do(method, request.path, request.body, "Accept-Encoding", "gzip, br, deflate"); a.header.Get("Content-Encoding") != "" {
					t.Errorf("%s: %v", name, a.header)
				}
			}
		}
	})
	t.Run("transcripts_are_not_kept_by_caches", func(t *testing.T) {
		h.t = t
		if got := h.get(messagesPath).header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q", got)
		}
	})
}
