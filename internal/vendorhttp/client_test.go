package vendorhttp_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-test-0123456789"

// env has limits that no healthy answer of these tests comes near.
var env = adapters.Env{Connect: 10 * time.Second, FirstByte: 10 * time.Second, Idle: 10 * time.Second, MaxInFlight: 16}

func client(t testing.TB, base string, change func(*vendorhttp.Options)) *vendorhttp.Client {
	t.Helper()
	o := vendorhttp.Options{BaseURL: adapters.BaseURL(base), Auth: "Authorization", Scheme: "Bearer ", Key: normalize.NewSecret(key), Env: env}
	if change != nil {
		change(&o)
	}
	c, err := vendorhttp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// server serves HTTP until the test ends.
func server(t testing.TB, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

// raw serves each connection by hand until the test ends, and then closes it.
func raw(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// readRequest reads one whole request and returns its body.
func readRequest(conn net.Conn) (string, error) {
	return readFrom(bufio.NewReader(conn))
}

func readFrom(r *bufio.Reader) (string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(req.Body)
	return string(body), err
}

// answering reads a request and writes a text that may or may not be HTTP.
func answering(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := readRequest(conn); err == nil {
			_, _ = io.WriteString(conn, text)
		}
	}
}

// reset closes a connection so that the peer sees a reset.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// silence waits until the client is gone.
func silence(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

var send = vendorhttp.Call{Method: http.MethodPost, Path: "/message", Body: []byte(`{"message":"hello"}`)}

// fails makes a call that must fail, and checks what holds for every failure.
func fails(t testing.TB, c *vendorhttp.Client, call vendorhttp.Call) *normalize.Error {
	t.Helper()
	answer, err := c.Do(t.Context(), call)
	return failure(t, answer, err)
}

func failure(t testing.TB, answer vendorhttp.Answer, err error) *normalize.Error {
	t.Helper()
	var e *normalize.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *normalize.Error; answer %d %.100q", err, err, answer.Status, answer.Body)
	}
	if text := fmt.Sprintf("%v %+v %#v", e, *e, e.Cause); strings.Contains(text, key) {
		t.Errorf("the error holds the key: %s", text)
	}
	return e
}

func TestFailureHasItsKindAndPhase(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()

	short := func(o *vendorhttp.Options) {
		o.Env.FirstByte, o.Env.Connect = 100*time.Millisecond, 100*time.Millisecond
	}
	secure := func(base string) string { return strings.Replace(base, "http:", "https:", 1) }
	says := func(text string) string { return raw(t, answering(text)) }
	const (
		p0, p1, p2   = normalize.PhaseNone, normalize.PhaseWritten, normalize.PhaseStatus
		unreachable  = normalize.KindUnreachable
		disconnected = normalize.KindDisconnected
		timeout      = normalize.KindTimeout
		notHTTP      = normalize.KindNotHTTP
	)
	tests := []struct {
		name   string
		base   string
		change func(*vendorhttp.Options)
		kind   normalize.Kind
		phase  normalize.Phase
	}{
		{"U01 refused", closed, nil, unreachable, p0},
		{"TLS handshake never ends", secure(raw(t, silence)), short, unreachable, p0},
		{"no TLS at all", secure(says("HTTP/1.1 200 OK\r\n\r\n")), short, unreachable, p0},
		{"U05 closed inside the request", raw(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }), nil, disconnected, p1},
		{"U05 closed after the request", raw(t, func(conn net.Conn) { _, _ = readRequest(conn) }), nil, disconnected, p1},
		{"U06 reset after the request", raw(t, func(conn net.Conn) { _, _ = readRequest(conn); reset(conn) }), nil, disconnected, p1},
		{"closed inside the header", says("HTTP/1.1 200 OK\r\nContent-Type: app"), nil, disconnected, p1},
		{"U08 no status line", raw(t, silence), short, timeout, p1},
		{"U08 half a status line", raw(t, func(conn net.Conn) { answering("HTTP/1.1 2")(conn); silence(conn) }), short, timeout, p1},
		{"closed inside the status line", says("HTTP/1.1 20"), nil, notHTTP, p1},
		{"U23 garbage", says("\x00\x01garbage " + key + "\r\n\r\n"), nil, notHTTP, p1},
		{"U23 another protocol", says("SSH-2.0-OpenSSH_9.2 Bearer " + key + "\r\n"), nil, notHTTP, p1},
		{"bad header line", says("HTTP/1.1 200 OK\r\nAuthorization Bearer " + key + "\r\n\r\n"), nil, notHTTP, p1},
		{"bad Content-Length", says("HTTP/1.1 200 OK\r\nContent-Length: Bearer " + key + "\r\n\r\n"), nil, notHTTP, p1},
		{"endless header", says("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100)), nil, notHTTP, p1},
		{"switching protocols", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), nil, notHTTP, p2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := fails(t, client(t, tt.base, tt.change), send)
			if e.Kind != tt.kind || e.Phase != tt.phase {
				t.Errorf("%v in %v, want %v in %v: %v", e.Kind, e.Phase, tt.kind, tt.phase, e)
			}
		})
	}
}

func TestEndlessInformationalAnswersEnd(t *testing.T) { // U23
	base := raw(t, func(conn net.Conn) {
		if _, err := readRequest(conn); err != nil {
			return
		}
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"); err != nil {
				return
			}
		}
	})
	e := fails(t, client(t, base, func(o *vendorhttp.Options) { o.Env.FirstByte = time.Second }), send)
	if e.Kind != normalize.KindNotHTTP && e.Kind != normalize.KindTimeout {
		t.Errorf("kind %v: %v", e.Kind, e)
	}
}

func TestUntrustedCertificateSeesNoRequest(t *testing.T) { // U04
	var requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	e := fails(t, client(t, s.URL, nil), send)
	if e.Kind != normalize.KindUnreachable || e.Phase != normalize.PhaseNone || requests.Load() != 0 {
		t.Errorf("%v in %v after %d requests: %v", e.Kind, e.Phase, requests.Load(), e)
	}
}

func TestEveryStatusHasItsKind(t *testing.T) {
	tests := []struct {
		status int
		header string // Retry-After
		kind   normalize.Kind
		wait   time.Duration
	}{
		{300, "", normalize.KindRedirected, 0},
		{304, "", normalize.KindRedirected, 0},
		{399, "", normalize.KindRedirected, 0},
		{400, "", normalize.KindRejected, 0},
		{401, "", normalize.KindUnauthorized, 0},
		{402, "", normalize.KindQuota, 0},
		{403, "", normalize.KindRejected, 0},
		{404, "", normalize.KindRejected, 0},
		{408, "", normalize.KindRejected, 0},
		{409, "", normalize.KindRejected, 0},
		{413, "", normalize.KindRejected, 0},
		{422, "", normalize.KindRejected, 0},
		{425, "", normalize.KindRejected, 0},
		{429, "", normalize.KindRateLimited, 0},
		{429, "3", normalize.KindRateLimited, 3 * time.Second},
		{429, "soon", normalize.KindRateLimited, 0},
		{499, "", normalize.KindRejected, 0},
		{500, "", normalize.KindVendorFault, 0},
		{500, "7", normalize.KindVendorFault, 7 * time.Second},
		{501, "", normalize.KindVendorFault, 0},
		{502, "", normalize.KindVendorFault, 0},
		{503, "", normalize.KindVendorFault, 0},
		{503, "7", normalize.KindOverloaded, 7 * time.Second},
		{503, "0", normalize.KindOverloaded, 0},
		{503, "junk", normalize.KindVendorFault, 0},
		{504, "", normalize.KindVendorFault, 0},
		{505, "", normalize.KindVendorFault, 0},
		{520, "", normalize.KindVendorFault, 0},
		{529, "", normalize.KindVendorFault, 0},
		{599, "", normalize.KindVendorFault, 0},
	}
	var now int // which test is being answered
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		if h := tests[now].header; h != "" {
			w.Header().Set("Retry-After", h)
		}
		w.WriteHeader(tests[now].status)
	})
	c := client(t, s.URL, nil)
	for i, tt := range tests {
		now = i
		e := fails(t, c, send)
		if e.Kind != tt.kind || e.Phase != normalize.PhaseStatus || e.VendorStatus != tt.status || e.RetryAfter != tt.wait {
			t.Errorf("status %d with Retry-After %q: %v in %v, status %d, wait %v; want %v and %v",
				tt.status, tt.header, e.Kind, e.Phase, e.VendorStatus, e.RetryAfter, tt.kind, tt.wait)
		}
		if want := fmt.Sprintf("%s (status %d)", tt.kind.Policy().Detail, tt.status); e.Text() != want {
			t.Errorf("status %d: detail %q, want %q", tt.status, e.Text(), want)
		}
	}
}

func TestRetryAfterAsADateIsTheTimeUntilThen(t *testing.T) { // U11
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	e := fails(t, client(t, s.URL, nil), send)
	if e.Kind != normalize.KindOverloaded || e.RetryAfter < 50*time.Minute || e.RetryAfter > time.Hour {
		t.Errorf("%v, wait %v", e.Kind, e.RetryAfter)
	}
}

func TestVendorsOwnWordsDecideAndAreShownShortened(t *testing.T) {
	var body atomic.Value
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, body.Load().(string))
	})
	var seen string
	c := client(t, s.URL, func(o *vendorhttp.Options) {
		o.Explain = func(status int, b []byte) vendorhttp.Fault {
			seen = fmt.Sprint(status, " ", string(b))
			switch string(b) {
			case "quota":
				return vendorhttp.Fault{Kind: normalize.KindQuota, Code: "OUT", RetryAfter: time.Minute}
			case "long":
				return vendorhttp.Fault{Code: strings.Repeat("C", 1000), Message: "<p>no\n" + strings.Repeat("way ", 1000)}
			}
			return vendorhttp.Fault{}
		}
	})
	body.Store("quota")
	e := fails(t, c, send)
	want := &normalize.Error{
		Kind: normalize.KindQuota, Phase: normalize.PhaseStatus, VendorStatus: 403, VendorCode: "OUT", RetryAfter: time.Minute,
		Detail: normalize.KindQuota.Policy().Detail + " (status 403)",
	}
	if diff := cmp.Diff(want, e); diff != "" || seen != "403 quota" {
		t.Errorf("saw %q (-want +got):\n%s", seen, diff)
	}
	body.Store("long")
	if e := fails(t, c, send); len(e.Detail) > 300 || len(e.VendorCode) > 100 || strings.ContainsAny(e.Detail, "<>\n") {
		t.Errorf("detail %q, code %q", e.Detail, e.VendorCode)
	}
	body.Store("neither")
	if e := fails(t, c, send); e.Kind != normalize.KindRejected {
		t.Errorf("kind %v", e.Kind)
	}
}

func TestErrorBodyIsReadToALimit(t *testing.T) {
	var got int
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for range 100 {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	})
	c := client(t, s.URL, func(o *vendorhttp.Options) {
		o.Explain = func(_ int, b []byte) vendorhttp.Fault { got = len(b); return vendorhttp.Fault{} }
	})
	if e := fails(t, c, send); e.Kind != normalize.KindVendorFault || got > 1<<20 {
		t.Errorf("%v, %d bytes explained", e.Kind, got)
	}
}

// A vendor that repeats our key, wherever it can, gets it into no error. U27
func TestKeyIsInNoError(t *testing.T) {
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			auth := r.Header.Get("Authorization")
			if auth != "Bearer "+key {
				t.Errorf("the vendor got %q for a key", auth)
			}
			w.Header().Set("Location", "https://elsewhere.example/?"+url.QueryEscape(auth))
			w.Header().Set("X-Auth", auth)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, auth)
		}
	}
	for _, status := range []int{302, 400, 401, 403, 429, 500, 503} {
		c := client(t, server(t, echo(status)).URL, func(o *vendorhttp.Options) {
			o.Explain = func(_ int, b []byte) vendorhttp.Fault {
				return vendorhttp.Fault{Code: string(b), Message: "said " + string(b)}
			}
		})
		e := fails(t, c, send) // looks for the key
		if !strings.Contains(e.Detail, "[secret]") {
			t.Errorf("status %d: the vendor's words are missing in %q", status, e.Detail)
		}
	}
	trailer := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n{}\r\n0\r\nBearer " + key + "\r\n\r\n"
	fails(t, client(t, raw(t, answering(trailer)), nil), send)
	c := client(t, "http://127.0.0.1:1", nil)
	if text := fmt.Sprintf("%v %+v %#v %v", c, c, c, *c); strings.Contains(text, key) {
		t.Errorf("the client prints its key: %s", text)
	}
}

func TestAnswerIsGivenAsItCame(t *testing.T) {
	for _, body := range []string{"", "{}", " {\"a\": \"\\u0000 \xff 早安 <b>&amp;\"}\r\n", strings.Repeat("x", 1<<20)} {
		for _, how := range []string{"length", "chunked", "gzip", "GZIP chunked"} {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Accept-Encoding") != "" {
					t.Errorf("asked for the encoding %q", r.Header.Get("Accept-Encoding"))
				}
				w.Header().Set("X-Seen", "yes")
				content := []byte(body)
				if strings.HasPrefix(strings.ToLower(how), "gzip") {
					w.Header().Set("Content-Encoding", strings.Fields(how)[0])
					content = zipped(body)
				}
				if strings.HasSuffix(how, "chunked") {
					w.WriteHeader(http.StatusCreated)
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					w.WriteHeader(http.StatusCreated)
				}
				_, _ = w.Write(content)
			})
			a, err := client(t, s.URL, nil).Do(t.Context(), send)
			if err != nil || a.Status != http.StatusCreated || a.Header.Get("X-Seen") != "yes" || string(a.Body) != body {
				t.Errorf("%s of %d bytes: status %d, %d bytes, error %v", how, len(body), a.Status, len(a.Body), err)
			}
		}
	}
}

func zipped(text string) []byte {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, _ = io.WriteString(zw, text)
	_ = zw.Close()
	return b.Bytes()
}

func TestBodyIsTakenUpToTheLimit(t *testing.T) { // U22
	spaces := func(n int) string { return strings.Repeat(" ", n) }
	bomb := zipped(spaces(vendorhttp.MaxBody + 1))
	exact := zipped(spaces(vendorhttp.MaxBody))
	tests := []struct {
		name  string
		write func(http.ResponseWriter)
		fits  bool
	}{
		{"exactly, by Content-Length", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(vendorhttp.MaxBody))
			_, _ = io.WriteString(w, spaces(vendorhttp.MaxBody))
		}, true},
		{"exactly, chunked", func(w http.ResponseWriter) { _, _ = io.WriteString(w, spaces(vendorhttp.MaxBody)) }, true},
		{"exactly, gzipped", func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); _, _ = w.Write(exact) }, true},
		{"one more, by Content-Length", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(vendorhttp.MaxBody+1))
			_, _ = io.WriteString(w, spaces(vendorhttp.MaxBody+1))
		}, false},
		{"one more, chunked", func(w http.ResponseWriter) { _, _ = io.WriteString(w, spaces(vendorhttp.MaxBody+1)) }, false},
		{"one more, gzipped", func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); _, _ = w.Write(bomb) }, false},
		{"without end", func(w http.ResponseWriter) {
			for {
				if _, err := io.WriteString(w, spaces(1<<16)); err != nil {
					return
				}
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, _ *http.Request) { tt.write(w) })
			a, err := client(t, s.URL, nil).Do(t.Context(), send)
			if tt.fits {
				if err != nil || len(a.Body) != vendorhttp.MaxBody {
					t.Errorf("%d bytes, error %v", len(a.Body), err)
				}
				return
			}
			if e := failure(t, a, err); e.Kind != normalize.KindTooLarge || e.VendorStatus != 200 || len(a.Body) != 0 {
				t.Errorf("%v, status %d, %d bytes", e.Kind, e.VendorStatus, len(a.Body))
			}
		})
	}
}

// What says that it is too large is refused before it is read.
func TestTooLargeByItsOwnWordIsNotAwaited(t *testing.T) {
	base := raw(t, func(conn net.Conn) {
		answering("HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n{")(conn)
		silence(conn)
	})
	if e := fails(t, client(t, base, nil), send); e.Kind != normalize.KindTooLarge {
		t.Errorf("%v: %v", e.Kind, e)
	}
}

// A gzip bomb of 1 GiB costs about what fits the limit, not what it unpacks to.
func TestGzipBombCostsNoMoreThanTheLimit(t *testing.T) {
	bomb := bytes.Repeat(zipped(strings.Repeat(" ", 1<<20)), 1<<10)
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb)
	})
	c := client(t, s.URL, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := fails(t, c, send)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; e.Kind != normalize.KindTooLarge || took > 48<<20 {
		t.Errorf("%v after %d MiB", e.Kind, took>>20)
	}
}

func TestCutBodyIsTruncatedAndKept(t *testing.T) { // U20
	text := strings.Repeat("text ", 100)
	whole := string(zipped(text))
	const (
		sized    = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
		chunked  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		encoded  = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
		checksum = 8 // bytes at the end of gzip, with the length
	)
	tests := []struct {
		name, answer string
		kind         normalize.Kind
		body         string
	}{
		{"shorter than its length", sized + `{"a":`, normalize.KindTruncated, `{"a":`},
		{"nothing of its length", sized, normalize.KindTruncated, ""},
		{"without the last chunk", chunked + "5\r\n{\"a\":\r\n", normalize.KindTruncated, `{"a":`},
		{"inside a chunk", chunked + "ff\r\n{\"a\":", normalize.KindTruncated, `{"a":`},
		{"no chunk", chunked, normalize.KindTruncated, ""},
		{"inside gzip", encoded + whole[:len(whole)-checksum], normalize.KindTruncated, text},
		{"inside the head of gzip", encoded + whole[:5], normalize.KindTruncated, ""},
		{"called gzip and is not", encoded + `{"a": "plain, and longer than a head"}`, normalize.KindInvalidReply, ""},
		{"gzip of other bytes", encoded + whole[:len(whole)-checksum] + "12345678", normalize.KindInvalidReply, text},
		{"gzip with rubbish inside", encoded + whole[:10] + strings.Repeat("\xff", 40), normalize.KindInvalidReply, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := client(t, raw(t, answering(tt.answer)), nil).Do(t.Context(), send)
			e := failure(t, a, err)
			if e.Kind != tt.kind || e.Phase != normalize.PhaseStatus || e.VendorStatus != 200 || string(a.Body) != tt.body {
				t.Errorf("%v in %v, status %d, body %q; want %v and %q: %v", e.Kind, e.Phase, e.VendorStatus, a.Body, tt.kind, tt.body, e)
			}
		})
	}
}

func TestEmptyGzippedAnswerIsEmpty(t *testing.T) {
	a, err := client(t, raw(t, answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n")), nil).Do(t.Context(), send)
	if err != nil || len(a.Body) != 0 {
		t.Errorf("body %q, error %v", a.Body, err)
	}
}

func TestResetInTheBodyIsTruncated(t *testing.T) {
	read := make(chan struct{})
	base := raw(t, func(conn net.Conn) {
		answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\":")(conn)
		<-read
		reset(conn)
	})
	s, err := client(t, base, nil).Open(t.Context(), send)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	close(read)
	_, err = io.ReadAll(s)
	if e := failure(t, vendorhttp.Answer{}, err); e.Kind != normalize.KindTruncated {
		t.Errorf("kind %v: %v", e.Kind, e)
	}
}

func TestSilenceInTheBodyIsATimeout(t *testing.T) {
	base := raw(t, func(conn net.Conn) {
		answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\":")(conn)
		silence(conn)
	})
	a, err := client(t, base, func(o *vendorhttp.Options) { o.Env.Idle = 100 * time.Millisecond }).Do(t.Context(), send)
	e := failure(t, a, err)
	if e.Kind != normalize.KindTimeout || e.Phase != normalize.PhaseStatus || e.VendorStatus != 200 || string(a.Body) != `{"a":` {
		t.Errorf("%v in %v, status %d, body %q", e.Kind, e.Phase, e.VendorStatus, a.Body)
	}
}

// Only a vendor that says nothing is idle: a reader that takes its time is not.
func TestTimeBetweenReadsIsNotTheVendors(t *testing.T) {
	read := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "0")
		w.(http.Flusher).Flush()
		select {
		case <-read:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "123456789")
	})
	stream, err := client(t, s.URL, func(o *vendorhttp.Options) { o.Env.Idle = 50 * time.Millisecond }).Open(t.Context(), send)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	one := make([]byte, 1)
	if _, err := io.ReadFull(stream, one); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond) // the thing under test: four times the idle limit passes here
	close(read)
	rest, err := io.ReadAll(stream)
	if err != nil || string(rest) != "123456789" {
		t.Errorf("rest %q, error %v", rest, err)
	}
}

func TestWhoGaveUpIsKnownByTheCause(t *testing.T) {
	ours := &normalize.Error{Kind: normalize.KindTimeout, Backend: "docs-bot", Detail: "no answer in 30s"}
	causes := []struct {
		name  string
		start func(context.Context) (context.Context, func())
		kind  normalize.Kind
	}{
		{"our timeout", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(ours) }
		}, normalize.KindTimeout},
		{"our timeout, wrapped", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(fmt.Errorf("total: %w", ours)) }
		}, normalize.KindTimeout},
		{"client gone", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, cancel
		}, normalize.KindCanceled},
		{"budget used up", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(context.DeadlineExceeded) }
		}, normalize.KindDeadline},
	}
	for _, tt := range causes {
		t.Run(tt.name+", before the status line", func(t *testing.T) {
			ctx, giveUp := tt.start(t.Context())
			base := raw(t, func(conn net.Conn) {
				_, _ = readRequest(conn)
				giveUp()
				silence(conn)
			})
			a, err := client(t, base, nil).Do(ctx, send)
			if e := failure(t, a, err); e.Kind != tt.kind || e.Phase != normalize.PhaseWritten {
				t.Errorf("%v in %v, want %v in P1: %v", e.Kind, e.Phase, tt.kind, e)
			}
		})
		t.Run(tt.name+", in the body", func(t *testing.T) {
			ctx, giveUp := tt.start(t.Context())
			base := raw(t, func(conn net.Conn) {
				answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")(conn)
				silence(conn)
			})
			s, err := client(t, base, nil).Open(ctx, send)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			giveUp()
			_, err = io.ReadAll(s)
			if e := failure(t, vendorhttp.Answer{}, err); e.Kind != tt.kind || e.Phase != normalize.PhaseStatus || e.VendorStatus != 200 {
				t.Errorf("%v in %v, status %d, want %v in P2: %v", e.Kind, e.Phase, e.VendorStatus, tt.kind, e)
			}
		})
		t.Run(tt.name+", before anything", func(t *testing.T) {
			ctx, giveUp := tt.start(t.Context())
			giveUp()
			a, err := client(t, raw(t, silence), nil).Do(ctx, send)
			want := tt.kind
			if want == normalize.KindTimeout { // nothing was written, so the backend was not reached
				want = normalize.KindUnreachable
			}
			if e := failure(t, a, err); e.Kind != want || e.Phase != normalize.PhaseNone {
				t.Errorf("%v in %v, want %v in P0: %v", e.Kind, e.Phase, want, e)
			}
		})
	}
	if ours.Phase != normalize.PhaseNone {
		t.Error("the cause itself was changed")
	}
}

func TestCauseKeepsWhatItSays(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	base := raw(t, func(conn net.Conn) {
		_, _ = readRequest(conn)
		cancel(&normalize.Error{Kind: normalize.KindTimeout, Backend: "docs-bot", Detail: "no answer in 30s"})
		silence(conn)
	})
	a, err := client(t, base, nil).Do(ctx, send)
	want := &normalize.Error{Kind: normalize.KindTimeout, Phase: normalize.PhaseWritten, Backend: "docs-bot", Detail: "no answer in 30s"}
	if diff := cmp.Diff(want, failure(t, a, err)); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
}

func TestVendorSeesThatWeLeft(t *testing.T) { // U08: the connection is closed, not kept
	gone := make(chan struct{})
	base := raw(t, func(conn net.Conn) {
		_, _ = readRequest(conn)
		silence(conn)
		close(gone)
	})
	fails(t, client(t, base, func(o *vendorhttp.Options) { o.Env.FirstByte = 50 * time.Millisecond }), send)
	<-gone
}

func TestRedirectsAreNeverFollowed(t *testing.T) { // U17
	for _, status := range []int{301, 302, 303, 307, 308} {
		var reached atomic.Int64
		elsewhere := server(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
		s := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		c := client(t, s.URL, nil)
		for _, call := range []vendorhttp.Call{send, {Method: http.MethodGet, Path: "/x"}} {
			if e := fails(t, c, call); e.Kind != normalize.KindRedirected || e.VendorStatus != status {
				t.Errorf("status %d: %v, status %d", status, e.Kind, e.VendorStatus)
			}
		}
		if _, err := c.DoForeign(t.Context(), http.MethodPost, s.URL, "text/plain", []byte("x")); err == nil {
			t.Errorf("status %d: a foreign call followed or took it", status)
		}
		if n := reached.Load(); n != 0 {
			t.Errorf("status %d: the other host got %d requests", status, n)
		}
	}
}

// A vendor that closes idle connections just as they are used again sees no
// request twice: net/http itself repeats nothing of ours. U07
func TestNoRequestIsRepeatedOnADyingConnection(t *testing.T) {
	var mu sync.Mutex
	ledger := map[string]int{}
	base := raw(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for {
			body, err := readFrom(r)
			if err != nil {
				return
			}
			mu.Lock()
			ledger[body]++
			mu.Unlock()
			switch rand.IntN(4) {
			case 0: // the request was read, and gets no answer
				return
			case 1:
				reset(conn)
				return
			}
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
				return
			}
			if rand.IntN(3) == 0 { // answered, and closed while it lies idle
				return
			}
		}
	})
	c := client(t, base, nil)
	for i := range 1000 {
		call := send
		call.Body = fmt.Appendf(nil, "text %d", i)
		switch i % 3 {
		case 1:
			call.Method = http.MethodPatch
		case 2:
			call.Method = http.MethodPut
		}
		_, err := c.Do(t.Context(), call)
		mu.Lock()
		n := ledger[string(call.Body)]
		mu.Unlock()
		switch e := normalize.AsError(err); {
		case n > 1:
			t.Fatalf("request %d reached the vendor %d times", i, n)
		case err == nil && n != 1:
			t.Fatalf("request %d was answered and reached the vendor %d times", i, n)
		case err == nil:
		case e.Kind == normalize.KindUnreachable && n != 0:
			t.Fatalf("request %d counts as never written, and reached the vendor: %v", i, e)
		case e.Kind != normalize.KindUnreachable && e.Kind != normalize.KindDisconnected:
			t.Fatalf("request %d: %v", i, e)
		}
	}
}

// The same without a body, where net/http would repeat a GET, but nothing that
// can have an effect.
func TestNoBodylessPostIsRepeated(t *testing.T) {
	var requests atomic.Int64
	base := raw(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for answered := 0; ; answered++ {
			if _, err := readFrom(r); err != nil {
				return
			}
			requests.Add(1)
			if answered == 1 {
				return // the connection is a reused one now
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPatch} {
		c := client(t, base, nil)
		requests.Store(0)
		call := vendorhttp.Call{Method: method, Path: "/escalate"}
		if _, err := c.Do(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		if e := fails(t, c, call); e.Kind != normalize.KindDisconnected || requests.Load() != 2 {
			t.Errorf("%s: %v after %d requests, want disconnected after 2", method, e.Kind, requests.Load())
		}
	}
}

func TestPathReachesTheVendorAsGiven(t *testing.T) {
	var got atomic.Value
	s := server(t, func(w http.ResponseWriter, r *http.Request) { got.Store(r.RequestURI) })
	tests := []struct {
		base, path string
		query      url.Values
		want       string
	}{
		{"", "/message", nil, "/message"},
		{"/api/v1.0", "/message", nil, "/api/v1.0/message"},
		{"/api", "/c/" + url.PathEscape("a/b") + "/m", nil, "/api/c/a%2Fb/m"},
		{"/api", "/c/" + url.PathEscape("100% sure?#"), nil, "/api/c/100%25%20sure%3F%23"},
		{"/api", "/c/" + url.PathEscape("早安"), nil, "/api/c/%E6%97%A9%E5%AE%89"},
		{"/api", "/c/早安", nil, "/api/c/%E6%97%A9%E5%AE%89"},
		{"/api", "/c/a+b:c@d;e=f&g,$", nil, "/api/c/a+b:c@d;e=f&g,$"},
		{"/api", "/c/%2e%2e%2fadmin", nil, ""},
		{"/a%2Fb", "/message", nil, "/a%2Fb/message"},
		{"/a%2Fb", "/c%2Fd", nil, "/a%2Fb/c%2Fd"},
		{"/api", "/c//d/", nil, "/api/c//d/"},
		{"/api", "/c/...", nil, "/api/c/..."},
		{"/api", "/list", url.Values{"q": {"a b&c=d/é"}, "p": {""}}, "/api/list?p=&q=a+b%26c%3Dd%2F%C3%A9"},
	}
	for _, tt := range tests {
		got.Store("")
		_, err := client(t, s.URL+tt.base, nil).Do(t.Context(), vendorhttp.Call{Method: http.MethodGet, Path: tt.path, Query: tt.query})
		if (err != nil) != (tt.want == "") || got.Load() != tt.want {
			t.Errorf("%s + %s: the vendor got %q, want %q, error %v", tt.base, tt.path, got.Load(), tt.want, err)
		}
	}
}

func TestIDThatWouldLeadElsewhereIsRefused(t *testing.T) {
	var requests atomic.Int64
	s := server(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	c := client(t, s.URL, nil)
	for _, id := range []string{"..", ".", "../x", "x/..", "../../admin"} {
		for _, path := range []string{"/thread/" + id + "/message", "/thread/" + url.PathEscape(id), "/thread/" + strings.ReplaceAll(id, ".", "%2e")} {
			e := fails(t, c, vendorhttp.Call{Method: http.MethodGet, Path: path})
			if e.Kind != normalize.KindInvalidRequest || e.MessageStatus() != normalize.StatusFailed {
				t.Errorf("%s: %v", path, e)
			}
		}
	}
	if e := fails(t, c, vendorhttp.Call{Method: http.MethodGet, Path: "/bad%zz"}); e.Kind != normalize.KindInternal {
		t.Errorf("a path that is not escaped: %v", e)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestHeadersAreTheCallsOwn(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s|%s|%d", r.Header.Get("Authorization"), r.Header.Get("User-Agent"), r.Header.Get("Accept"),
			r.Header.Get("Content-Type"), body, r.ContentLength)
	})
	c := client(t, s.URL, nil)
	kinds := []struct {
		call vendorhttp.Call
		want string
	}{
		{vendorhttp.Call{Method: "GET", Path: "/"}, "Bearer " + key + "|chatmux|application/json|||0"},
		{vendorhttp.Call{Method: "POST", Path: "/", Body: []byte("{}")}, "Bearer " + key + "|chatmux|application/json|application/json|{}|2"},
		{vendorhttp.Call{Method: "POST", Path: "/", Body: []byte{}}, "Bearer " + key + "|chatmux|application/json|application/json||0"},
		{
			vendorhttp.Call{Method: "PUT", Path: "/", Body: []byte("x"), ContentType: "text/plain", Accept: "text/event-stream"},
			"Bearer " + key + "|chatmux|text/event-stream|text/plain|x|1",
		},
	}
	var all sync.WaitGroup
	for range 8 {
		for _, k := range kinds {
			all.Go(func() {
				for range 20 {
					if a, err := c.Do(t.Context(), k.call); err != nil || string(a.Body) != k.want {
						t.Errorf("got %s, error %v, want %s", a.Body, err, k.want)
					}
				}
			})
		}
	}
	all.Wait()
}

func TestKeyGoesIntoItsHeaderAlone(t *testing.T) {
	var got http.Header
	s := server(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	for _, tt := range []struct {
		auth, scheme, key string
		want              string
	}{{"X-Api-Key", "", key, key}, {"Authorization", "Api-Key ", key, "Api-Key " + key}, {"Authorization", "Bearer ", "", ""}, {"", "", key, ""}} {
		c := client(t, s.URL, func(o *vendorhttp.Options) {
			o.Auth, o.Scheme, o.Key = tt.auth, tt.scheme, normalize.NewSecret(tt.key)
		})
		if _, err := c.Do(t.Context(), vendorhttp.Call{Method: http.MethodGet, Path: "/"}); err != nil {
			t.Fatal(err)
		}
		if have := got.Get(tt.auth); have != tt.want {
			t.Errorf("%s holds %q, want %q", tt.auth, have, tt.want)
		}
		got.Del(tt.auth)
		if text := fmt.Sprint(got); strings.Contains(text, key) {
			t.Errorf("the key is in another header: %s", text)
		}
	}
}

func TestForeignCallCarriesNoKey(t *testing.T) {
	var got *http.Request
	var body []byte
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "stored")
	})
	c := client(t, "http://127.0.0.1:1", nil)
	a, err := c.DoForeign(t.Context(), http.MethodPost, s.URL+"/bucket/a%2Fb?sig=x%2By", "multipart/form-data; boundary=b", []byte("content"))
	if err != nil || string(a.Body) != "stored" {
		t.Fatalf("answer %q, error %v", a.Body, err)
	}
	if got.RequestURI != "/bucket/a%2Fb?sig=x%2By" || got.Header.Get("Content-Type") != "multipart/form-data; boundary=b" || string(body) != "content" {
		t.Errorf("the host got %s, %v, %q", got.RequestURI, got.Header, body)
	}
	if strings.Contains(fmt.Sprint(got.Header), key) || got.Header.Get("Authorization") != "" {
		t.Errorf("the foreign host got the key: %v", got.Header)
	}
	if _, err := c.DoForeign(t.Context(), http.MethodGet, s.URL, "", nil); err != nil || len(got.Header["Content-Type"]) != 0 {
		t.Errorf("a call without a body says its type: %v, error %v", got.Header, err)
	}
}

func TestForeignCallRefusesUnsafeURLs(t *testing.T) {
	plain, secure := client(t, "http://127.0.0.1:1", nil), client(t, "https://vendor.example", nil)
	s := server(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused URL was called") })
	loopback := strings.TrimPrefix(s.URL, "http://")
	refused := map[string]*vendorhttp.Client{
		"http://storage.example/x": plain,
		"http://10.0.0.1/x":        plain,
		"ftp://" + loopback + "/x": plain,
		"file:///etc/passwd":       plain,
		"//" + loopback + "/x":     plain,
		"/x":                       plain,
		"":                         plain,
		"http://user:password@" + loopback + "/x": plain,
		"http://%zz/": plain,
		"sandbox":     plain,
		s.URL:         secure,
	}
	for target, c := range refused {
		a, err := c.DoForeign(t.Context(), http.MethodPost, target, "text/plain", []byte("x"))
		if e := failure(t, a, err); e.Kind != normalize.KindInvalidReply || strings.Contains(fmt.Sprint(e), "password") {
			t.Errorf("%q: %v", target, e)
		}
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/error":
			w.WriteHeader(http.StatusBadRequest)
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped("{}"))
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := client(t, s.URL, nil)
	for range 20 {
		for _, path := range []string{"/", "/gzip"} {
			if _, err := c.Do(t.Context(), vendorhttp.Call{Method: http.MethodPost, Path: path, Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("40 calls in a row took %d connections", n)
	}
	var all sync.WaitGroup
	for range env.MaxInFlight {
		all.Go(func() {
			for range 20 {
				if _, err := c.Do(t.Context(), send); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := conns.Load(); n > int64(2*env.MaxInFlight) {
		t.Errorf("%d callers took %d connections", env.MaxInFlight, n)
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, base := range []adapters.BaseURL{"", "sandbox", "/path", "http://%zz", "https://"} {
		if _, err := vendorhttp.New(vendorhttp.Options{BaseURL: base}); err == nil {
			t.Errorf("%q was taken", base)
		}
	}
}
