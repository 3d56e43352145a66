package sandbox_test

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatmux/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// healthyBody is what the twin of these tests answers.
const healthyBody = `{"answer":"0123456789 0123456789 0123456789"}`

func twin(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Twin", "yes")
	switch r.URL.Path {
	case "/stream":
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range healthyEvents {
			_, _ = io.WriteString(w, event)
			w.(http.Flusher).Flush()
		}
		return
	case "/refused":
		w.WriteHeader(http.StatusForbidden)
	}
	_, _ = io.WriteString(w, healthyBody)
}

// healthyEvents is what it streams to /stream.
var healthyEvents = []string{"data: one\n\n", "data: two\n\n", "data: three\n\n"}

func start(t *testing.T) *sandbox.Server {
	t.Helper()
	s, err := sandbox.Start(http.HandlerFunc(twin), sandbox.Options{Name: "twin"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// post makes one request on a connection of its own, without redirects. The
// context ends long after every fault but those that never end.
func post(t *testing.T, s *sandbox.Server, path, body string) (status int, header http.Header, text string, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer planted-key")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func await(t *testing.T, s *sandbox.Server, wanted func([]sandbox.Entry) bool) []sandbox.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	entries, err := s.Await(ctx, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// allDone is a ledger of n requests that are over.
func allDone(n int) func([]sandbox.Entry) bool {
	return func(entries []sandbox.Entry) bool {
		for _, e := range entries {
			if !e.Done {
				return false
			}
		}
		return len(entries) == n
	}
}

func TestLedgerHoldsWhatWasReceivedAndAnswered(t *testing.T) {
	s := start(t)
	if _, _, text, err := post(t, s, "/v1/send%2Fit?a=1&b=2", `{"text":"hi"}`); err != nil || text != healthyBody {
		t.Fatalf("answer %q, %v; want the twin's", text, err)
	}
	e := await(t, s, allDone(1))[0]
	got := fmt.Sprintf("%d %s %s ? %s | %s | %s | %s %d %d %v", e.Connection, e.Method, e.Path, e.Query, e.Header.Get("Authorization"), e.Body, e.Fault, e.Status, e.Sent, e.PeerLeft)
	want := fmt.Sprintf(`1 POST /v1/send%%2Fit ? a=1&b=2 | Bearer planted-key | {"text":"hi"} | ok 200 %d false`, len(healthyBody))
	if got != want {
		t.Errorf("entry\n got %s\nwant %s", got, want)
	}
	if e.Time.IsZero() {
		t.Error("the entry has no time")
	}
	s.ResetLedger()
	if n := len(s.Ledger()); n != 0 || s.Requests() != 0 {
		t.Errorf("after ResetLedger %d entries, %d requests", n, s.Requests())
	}
}

func TestEveryFaultShowsAtTheClient(t *testing.T) {
	for _, c := range []struct {
		fault  string
		status int    // 0: no answer
		body   string // exact, or prefix where it ends in …
		header string // "Name: value" that must be there
		broken func(error) bool
	}{
		{fault: "ok", status: 200, body: healthyBody},
		{fault: "delay 1ms", status: 200, body: healthyBody},
		{fault: "status 503 retry-after=7", status: 503, body: `{"message":…`, header: "Retry-After: 7"},
		{fault: `status 200 header=X-Odd:1 body={"a": "b c"}`, status: 200, body: `{"a": "b c"}`, header: "X-Odd: 1"},
		{fault: `json null`, status: 200, body: `null`, header: "Content-Type: application/json"},
		{fault: "html", status: 200, body: "<!doctype html>…", header: "Content-Type: text/html; charset=utf-8"},
		{fault: "html 502", status: 502, body: "<!doctype html>…"},
		{fault: "empty", status: 200, body: "", header: "Content-Length: 0"},
		{fault: "redirect 307 http://127.0.0.9:1/a?b=c", status: 307, header: "Location: http://127.0.0.9:1/a?b=c"},
		{fault: "echo_auth 400", status: 400, body: `{"detail":"not accepted: Bearer planted-key"…`},
		{fault: "echo_auth", status: 401, body: `{"detail":"not accepted: Bearer planted-key"…`},
		{fault: "cut 10", status: 200, body: healthyBody[:10], header: fmt.Sprint("Content-Length: ", len(healthyBody)), broken: unexpectedEOF},
		{fault: "cut 10 chunked", status: 200, body: healthyBody[:10], broken: unexpectedEOF},
		{fault: "cut 10 close", status: 200, body: healthyBody[:10], header: "X-Twin: yes"},
		{fault: "cut 100000", status: 200, body: healthyBody},
		{fault: "drip 7 1ms", status: 200, body: healthyBody, header: "X-Twin: yes"},
		{fault: "oversize 100KiB", status: 200, body: `{"padding":"` + strings.Repeat("x", 100<<10-14) + `"}`, header: fmt.Sprint("Content-Length: ", 100<<10)},
		{fault: "oversize 20 chunked", status: 200, body: `{"padding":"xxxxxx"}`},
		{fault: "fin", broken: eof},
		{fault: "read 3", broken: eof},
		{fault: "reset", broken: reset},
		{fault: "reset early", broken: reset},
		{fault: "reset head", status: 200, header: fmt.Sprint("Content-Length: ", len(healthyBody)), broken: reset},
		{fault: "garbage", broken: malformed},
		{fault: "1xx", broken: func(err error) bool {
			return strings.Contains(err.Error(), "1xx") || strings.Contains(err.Error(), "exceeded")
		}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := start(t)
			s.Script(sandbox.MustScript(c.fault)...)
			status, header, body, err := post(t, s, "/", `{"text":"hi"}`)
			if status != c.status {
				t.Errorf("status %d, want %d (%v)", status, c.status, err)
			}
			if c.broken == nil && err != nil || c.broken != nil && (err == nil || !c.broken(err)) {
				t.Errorf("unexpected error: %v", err)
			}
			if want, isPrefix := strings.CutSuffix(c.body, "…"); body != c.body && !(isPrefix && strings.HasPrefix(body, want)) {
				t.Errorf("body %.200q, want %.200q", body, c.body)
			}
			if name, value, ok := strings.Cut(c.header, ": "); ok && header.Get(name) != value {
				t.Errorf("header %s: %q, want %q", name, header.Get(name), value)
			}
			e := await(t, s, allDone(1))[0]
			if e.Fault != c.fault || e.Status != c.status {
				t.Errorf("ledger: fault %q, status %d; want %q, %d", e.Fault, e.Status, c.fault, c.status)
			}
			if _, _, body, err := post(t, s, "/", "{}"); body != healthyBody {
				t.Errorf("the request after the script: %q, %v; want a healthy answer", body, err)
			}
		})
	}
}

func TestEveryFaultOfAStreamShowsAtTheClient(t *testing.T) {
	one, two, three := healthyEvents[0], healthyEvents[1], healthyEvents[2]
	const more = "data: {\"a\": \"b=c\"}\n\n"
	for _, c := range []struct {
		fault, path string
		status      int
		body        string
		broken      func(error) bool
	}{
		{fault: "ok", body: one + two + three},
		{fault: `sse 0 {"a": "b=c"}`, body: more + one + two + three},
		{fault: `sse 2 {"a": "b=c"}`, body: one + two + more + three},
		{fault: `sse 9 {"a": "b=c"}`, body: one + two + three + more},
		{fault: "gzip", body: one + two + three},
		{fault: "drip 5 0s", body: one + two + three},
		{fault: "cut 12", body: one + two[:1], broken: unexpectedEOF},
		{fault: "cut 12 chunked", body: one + two[:1], broken: unexpectedEOF},
		{fault: "cut 12 close", body: one + two[:1]},
		{fault: "reset tail", body: one + two + three, broken: reset},
		{fault: "stall 1", path: "/", status: 400, body: `{"detail":"this fault needs an answer that is an event stream: ask for one",` +
			`"message":"this fault needs an answer that is an event stream: ask for one"}`},
		{fault: "loop 1", path: "/refused", status: 403, body: healthyBody},
		{fault: "comments 1s", path: "/refused", status: 403, body: healthyBody},
		{fault: "sse 1 x", path: "/refused", status: 403, body: healthyBody},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := start(t)
			s.Script(sandbox.MustScript(c.fault)...)
			status, header, body, err := post(t, s, cmp.Or(c.path, "/stream"), "{}")
			if want := cmp.Or(c.status, 200); status != want {
				t.Errorf("status %d, want %d (%v)", status, want, err)
			}
			if header.Get("Content-Encoding") == "gzip" {
				zip, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(zip)
				if body = string(plain); err != nil {
					t.Error(err)
				}
			}
			if c.broken == nil && err != nil || c.broken != nil && (err == nil || !c.broken(err)) {
				t.Errorf("unexpected error: %v", err)
			}
			if body != c.body {
				t.Errorf("body %q, want %q", body, c.body)
			}
		})
	}
}

// What never ends is read until it is clear, and then left.
func TestEndlessStreamsEndWhenThePeerLeaves(t *testing.T) {
	one, two := healthyEvents[0], healthyEvents[1]
	for fault, want := range map[string]string{
		"stall 2":      one + two,
		"stall 0":      "",
		"loop 2":       one + strings.Repeat(two, 50),
		"loop 0":       strings.Repeat(one, 50),
		"comments 1ms": strings.Repeat(": still here\n\n", 10),
	} {
		t.Run(fault, func(t *testing.T) {
			s := start(t)
			s.Script(sandbox.MustScript(fault)...)
			resp, err := http.Post(s.URL()+"/stream", "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Errorf("body begins with %q (%v), want %q", got, err, want)
			}
			resp.Body.Close()
			if e := await(t, s, allDone(1))[0]; !e.PeerLeft {
				t.Errorf("%+v: the peer left", e)
			}
		})
	}
}

func eof(err error) bool           { return errors.Is(err, io.EOF) }
func unexpectedEOF(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
func malformed(err error) bool { return strings.Contains(err.Error(), "malformed") }

func TestScriptPlaysInOrderThenIsHealthy(t *testing.T) {
	s := start(t)
	s.Script(sandbox.MustScript("2x status 500; status 429; ok; status 404")...)
	var got []int
	for range 6 {
		status, _, _, err := post(t, s, "/", "{}")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, status)
	}
	if want := "[500 500 429 200 404 200]"; fmt.Sprint(got) != want {
		t.Errorf("statuses %v, want %s", got, want)
	}
}

func TestAlwaysKeepsAFaultUntilTheNextScript(t *testing.T) {
	s := start(t)
	s.Script(sandbox.MustScript("ok; always status 500")...)
	for i, want := range []int{200, 500, 500, 500} {
		if status, _, _, _ := post(t, s, "/", "{}"); status != want {
			t.Errorf("request %d: %d, want %d", i, status, want)
		}
	}
	s.Script()
	if status, _, _, _ := post(t, s, "/", "{}"); status != 200 {
		t.Errorf("after an empty script: %d, want 200", status)
	}
}

func TestPathScriptGoesBeforeTheGeneralOneAndLeavesItAlone(t *testing.T) {
	s := start(t)
	s.ScriptPath("/threads/*/messages", sandbox.MustScript("status 404")...)
	s.Script(sandbox.MustScript("status 500")...)
	for _, c := range []struct {
		path string
		want int
	}{{"/threads/1/messages", 404}, {"/threads/1/messages", 500}, {"/threads/1/messages", 200}, {"/threads", 200}} {
		if status, _, _, _ := post(t, s, c.path, "{}"); status != c.want {
			t.Errorf("%s: %d, want %d", c.path, status, c.want)
		}
	}
}

func TestFaultInAMessageText(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		fault      string
	}{
		{"in a field", `{"text":"hello [[status 503 retry-after=7]] there"}`, 503, "status 503 retry-after=7"},
		{"deep", `{"a":[{"b":{"c":"[[status 418]]"}}]}`, 418, "status 418"},
		{"escaped", `{"text":"[[json {\"a\":[1]}]]"}`, 200, `json {"a":[1]}`},
		{"ordinary brackets", `{"text":"see [[the wiki]] and [[ ]] and [["}`, 200, "ok"},
		{"brackets before it", `{"text":"[[x]] [[status 500]]"}`, 500, "status 500"},
		{"not JSON", `text=[[status 500]]`, 200, "ok"},
		{"typo in what follows the name", `{"text":"[[status 5oo]]"}`, 400, "refused 400"},
		{"last of a conversation", `{"messages":[{"content":"hi"},{"content":"[[status 500]]"}]}`, 500, "status 500"},
		{"earlier in a conversation", `{"messages":[{"content":"[[status 500]]"},{"content":"hi"}]}`, 200, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			status, _, _, err := post(t, s, "/", c.body)
			if err != nil || status != c.status {
				t.Errorf("status %d, %v; want %d", status, err, c.status)
			}
			if e := await(t, s, allDone(1))[0]; e.Fault != c.fault {
				t.Errorf("fault %q, want %q", e.Fault, c.fault)
			}
		})
	}
}

func TestLedgerSaysThatThePeerLeft(t *testing.T) {
	for _, fault := range []string{"tarpit", "delay 1h", "drip 1 1h"} {
		t.Run(fault, func(t *testing.T) {
			s := start(t)
			s.Script(sandbox.MustScript(fault)...)
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: twin\r\nContent-Length: 2\r\n\r\n{}")
			await(t, s, func(entries []sandbox.Entry) bool { return len(entries) == 1 })
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			if e := await(t, s, allDone(1))[0]; !e.PeerLeft {
				t.Errorf("%+v: the peer left", e)
			}
		})
	}
}

func TestRequestThatBreaksOffIsInTheLedger(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: twin\r\nContent-Length: 10\r\n\r\nabc")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if e := await(t, s, allDone(1))[0]; string(e.Body) != "abc" || !e.PeerLeft || e.Status != 0 {
		t.Errorf("entry %q, status %d, peer left %v; want abc, 0, true", e.Body, e.Status, e.PeerLeft)
	}
}

func TestCloseEndsWhatAFaultHolds(t *testing.T) {
	for _, fault := range []string{"tarpit", "delay 1h", "drip 1 1h", "1xx", "read 1"} {
		t.Run(fault, func(t *testing.T) {
			s := start(t)
			s.Script(sandbox.MustScript(fault)...)
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: twin\r\nContent-Length: 2\r\n\r\n{}")
			await(t, s, func(entries []sandbox.Entry) bool { return len(entries) == 1 })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if e := s.Ledger()[0]; !e.Done {
				t.Errorf("Close returned while a request ran: %+v", e)
			}
			if _, err := bufio.NewReader(conn).WriteTo(io.Discard); err != nil && !reset(err) {
				t.Errorf("the connection is not closed: %v", err)
			}
		})
	}
}

func TestLedgerKeepsTheNewestAndCountsAll(t *testing.T) {
	s := start(t)
	const n = 5000
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := range n {
		fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: twin\r\n\r\n", i)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	ledger := s.Ledger()
	if len(ledger) >= n || ledger[len(ledger)-1].Path != fmt.Sprint("/", n-1) {
		t.Errorf("%d entries, the last %s; want fewer than %d, the newest kept", len(ledger), ledger[len(ledger)-1].Path, n)
	}
	if s.Requests() != n || s.Connections() != 1 {
		t.Errorf("%d requests on %d connections, want %d on 1", s.Requests(), s.Connections(), n)
	}
}

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80", "127.0.0.1"} {
		if s, err := sandbox.Start(http.HandlerFunc(twin), sandbox.Options{Addr: addr}); err == nil {
			t.Errorf("%s: listening on %s, want a refusal", addr, s.URL())
			_ = s.Close()
		}
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	s := start(t)
	if _, err := sandbox.Start(http.HandlerFunc(twin), sandbox.Options{Addr: strings.TrimPrefix(s.URL(), "http://"), Name: "second"}); err == nil {
		t.Error("two servers on one port")
	} else if !strings.Contains(err.Error(), "second") {
		t.Errorf("%v: does not say which sandbox", err)
	}
}

func TestEveryAnsweredRequestIsTold(t *testing.T) {
	told := make(chan sandbox.Entry, 2)
	s, err := sandbox.Start(http.HandlerFunc(twin), sandbox.Options{OnRequest: func(e sandbox.Entry) { told <- e }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Script(sandbox.MustScript("status 503")...)
	for _, want := range []int{503, 200} {
		if _, _, _, err := post(t, s, "/told", "{}"); err != nil {
			t.Fatal(err)
		}
		if e := <-told; e.Path != "/told" || e.Status != want || !e.Done {
			t.Errorf("told of %s, status %d, done %v; want /told, %d, true", e.Path, e.Status, e.Done, want)
		}
	}
}
