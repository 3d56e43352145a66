package outbound_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/internal/outbound"
	"chatmux/normalize"
)

const limit = 1 << 20

// serve starts a server on the loopback address, which the guard that it gives is
// allowed to reach, by address and by every name. The URL has a name.
func serve(t *testing.T, handler http.HandlerFunc) (*outbound.Guard, string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("127.0.0.1/32"), Resolver: always("127.0.0.1")})
	return g, "http://files.test:" + port
}

func TestFetchGivesTheFile(t *testing.T) {
	png := []byte("\x89PNG\r\n\x1a\n")
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	long := strings.Repeat("ä", 127) + "a"
	tests := []struct {
		path, disposition, kind string // a kind of "-" is no header
		body                    []byte
		wantName, wantKind      string
	}{
		{"/a/photo.png?x=/y.gif#/z", "", "image/png", png, "photo.png", "image/png"},
		{"/a", "", `Text/CSV; Charset="utf-8"`, all, "a", "text/csv; charset=utf-8"},
		{"/", "", "x", png, "", "x"},
		{"", "", "-", png, "", "image/png"},
		{"/x", "", "a/b/c; =", nil, "x", "text/plain; charset=utf-8"},
		{"/x", "", "text/html", []byte("<p>"), "x", "text/html"},
		{"/x", `attachment; filename="order 7.pdf"`, "-", png, "order 7.pdf", "image/png"},
		{"/x", `inline; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt`, "-", png, "naïve €.txt", "image/png"},
		{"/x", `attachment; filename="../../etc/passwd"`, "-", png, "passwd", "image/png"},
		{"/x", `attachment; filename="C:\\temp\\a.txt"`, "-", png, "a.txt", "image/png"},
		{"/x", `attachment; filename*=UTF-8''a%0D%0AX%3A%20b%00%E2%80%AEgpj.exe`, "-", png, "aX: b\ufffdgpj.exe", "image/png"},
		{"/x.png", `attachment; filename=".."`, "-", png, "x.png", "image/png"},
		{"/x.png", `attachment; filename="a/"`, "-", png, "x.png", "image/png"},
		{"/x.png", `attachment; filename`, "-", png, "x.png", "image/png"},
		{"/a%2Fb%5Cc%0d%0ad%ff.png", "", "-", png, "cd\ufffd.png", "image/png"},
		{"/%2e%2e", "", "-", png, "", "image/png"},
		{"/" + long, "", "-", png, long, "image/png"},
		{"/" + long + "a", "", "-", png, "", "image/png"},
	}
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil {
			t.Error(err)
			return
		}
		if tests[n].disposition != "" {
			w.Header().Set("Content-Disposition", tests[n].disposition)
		}
		w.Header().Set("Content-Type", tests[n].kind)
		if tests[n].kind == "-" {
			w.Header()["Content-Type"] = nil
		}
		w.Header().Set("Content-Encoding", "identity")
		w.Write(tests[n].body)
	})
	for n, tt := range tests {
		path, fragment, _ := strings.Cut(tt.path, "#")
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path = strings.ReplaceAll(path, "ä", "%C3%A4")
		file, e := g.Fetch(t.Context(), fmt.Sprintf("%s%s%sn=%d#%s", base, path, sep, n, fragment), limit)
		if e != nil {
			t.Errorf("%s: %v", tt.path, e)
			continue
		}
		want := outbound.File{Name: tt.wantName, ContentType: tt.wantKind, Body: append([]byte{}, tt.body...)}
		if diff := cmp.Diff(want, file); diff != "" {
			t.Errorf("%s with %s: -want +got\n%s", tt.path, tt.disposition, diff)
		}
	}
}

func TestFetchTakesNoMoreThanItsLimit(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1000)
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/length":
			w.Write(body)
		case "/chunked":
			w.Write(body[:500])
			w.(http.Flusher).Flush()
			w.Write(body[500:])
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(body)
			z.Close()
		case "/promised":
			w.Header().Set("Content-Length", "1000000")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/endless":
			for {
				if _, err := w.Write(body); err != nil {
					return
				}
			}
		}
	})
	for _, path := range []string{"/length", "/chunked", "/gzip"} {
		for _, limit := range []int64{1000, 1 << 40} {
			if file, e := g.Fetch(t.Context(), base+path, limit); e != nil || !bytes.Equal(file.Body, body) {
				t.Errorf("%s with a limit of %d: %d bytes, %v", path, limit, len(file.Body), e)
			}
		}
	}
	for _, path := range []string{"/length", "/chunked", "/gzip", "/promised", "/endless"} {
		for _, limit := range []int64{999, 1, 0} {
			file, e := g.Fetch(t.Context(), base+path, limit)
			if e == nil || e.Kind != normalize.KindInvalidRequest || !strings.Contains(e.Text(), fmt.Sprintf("larger than %d bytes", limit)) {
				t.Errorf("%s with a limit of %d: %d bytes, %v", path, limit, len(file.Body), e)
			}
		}
	}
}

func TestWhatIsNoFileIsNotTaken(t *testing.T) {
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscan(strings.TrimPrefix(r.URL.Path, "/"), &status)
		switch {
		case r.URL.Path == "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("half"))
		case r.URL.Path == "/br":
			w.Header().Set("Content-Encoding", "br")
			w.Write([]byte("half"))
		case r.URL.Path == "/notgzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("half"))
		case status == http.StatusNoContent:
			w.WriteHeader(status)
		default:
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<html>canary</html>")
		}
	})
	for path, detail := range map[string]string{
		"/201": "status 201", "/202": "status 202", "/204": "status 204", "/206": "status 206", "/400": "status 400", "/401": "status 401",
		"/403": "status 403", "/404": "status 404", "/429": "status 429", "/500": "status 500", "/503": "status 503", "/599": "status 599",
		"/cut": "cut short", "/br": "Content-Encoding", "/notgzip": "cut short",
	} {
		file, e := g.Fetch(t.Context(), base+path, limit)
		if e == nil || e.Kind != normalize.KindInvalidRequest || !strings.Contains(e.Text(), detail) || strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: %q, %v", path, file.Body, e)
		} else if e.MessageStatus() != normalize.StatusFailed || file.Body != nil {
			t.Errorf("%s leaves the message %s, and %q", path, e.MessageStatus(), file.Body)
		}
	}
}

func TestSlowServersAreGivenUp(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("127.0.0.1/32"), Timeout: 200 * time.Millisecond})
	for _, path := range []string{"/head", "/body"} {
		file, e := g.Fetch(t.Context(), s.URL+path, limit)
		if e == nil || e.Kind != normalize.KindInvalidRequest || !strings.Contains(e.Text(), "200ms") {
			t.Errorf("%s: %q, %v", path, file.Body, e)
		}
	}
}

func TestTheCallersContextEndsAFetch(t *testing.T) {
	inside := make(chan struct{}, 1)
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		inside <- struct{}{}
		<-r.Context().Done()
	})
	for cause, kind := range map[error]normalize.Kind{
		nil:                      normalize.KindCanceled,
		errors.New("gone"):       normalize.KindCanceled,
		context.DeadlineExceeded: normalize.KindDeadline,
		&normalize.Error{Kind: normalize.KindDraining}: normalize.KindDraining,
	} {
		for _, path := range []string{"/head", "/body"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-inside
				cancel(cause)
			}()
			if file, e := g.Fetch(ctx, base+path, limit); e == nil || e.Kind != kind {
				t.Errorf("%s given up for %v: %q, %v", path, cause, file.Body, e)
			}
		}
	}
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if file, e := g.Fetch(expired, base, limit); e == nil || e.Kind != normalize.KindDeadline {
		t.Errorf("after the deadline: %q, %v", file.Body, e)
	}
}

func TestNothingGoesAlongWithARequest(t *testing.T) {
	var seen []http.Header
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Clone())
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		w.Write([]byte("x"))
	})
	for range 2 {
		if _, e := g.Fetch(t.Context(), base+"/", limit); e != nil {
			t.Fatal(e)
		}
	}
	want := http.Header{"User-Agent": {"chatmux"}, "Accept-Encoding": {"gzip"}, "Connection": {"close"}}
	if diff := cmp.Diff([]http.Header{want, want}, seen); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestHTTPSIsVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("x")) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	o := outbound.Options{AllowCIDRs: prefixes("127.0.0.1/32"), Resolver: always("127.0.0.1"), RootCAs: roots}
	trusting := outbound.New(o)
	o.RootCAs = nil
	strict := outbound.New(o)
	for u, g := range map[string]*outbound.Guard{
		"https://example.com:" + port + "/":        trusting,
		"https://files.example.com:" + port + "/":  trusting,
		"https://127.0.0.1:" + port + "/":          trusting,
		"https://[::ffff:127.0.0.1]:" + port + "/": trusting,
	} {
		if file, e := g.Fetch(t.Context(), u, limit); e != nil || string(file.Body) != "x" {
			t.Errorf("%s: %q, %v", u, file.Body, e)
		}
	}
	for u, g := range map[string]*outbound.Guard{
		"https://example.com:" + port + "/?canary": strict,
		"https://files.test:" + port + "/?canary":  trusting,
	} {
		file, e := g.Fetch(t.Context(), u, limit)
		if e == nil || e.Kind != normalize.KindInvalidRequest || e.Cause == nil || strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: %q, %v", u, file.Body, e)
		}
	}
}

// These addresses are public: they must not be reached from here, and are refused
// for the scheme and for the port.
func TestSchemeAndPortAreJudgedWithTheAddressBehindAName(t *testing.T) {
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("127.0.0.1/32"), Resolver: always("1.1.1.1", "2606:4700:4700::1111")})
	for u, reason := range map[string]string{
		"http://files.test/":      "plain http",
		"http://files.test:8080/": "plain http",
		"http://files.test:22/":   "plain http",
		"https://files.test:22/":  "another protocol",
		"https://files.test:25/":  "another protocol",
	} {
		_, e := g.Fetch(t.Context(), u, limit)
		refused(t, u, e)
		if e != nil && !strings.Contains(e.Text(), reason) {
			t.Errorf("%s is refused for another reason: %v", u, e)
		}
	}
}

func TestFailuresRepeatNothingOfTheURL(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, answer := range map[string]string{
		"nothing":         "",
		"a wrong status":  "%s\r\n\r\n",
		"a wrong version": "HTTP/%s 200 OK\r\n\r\n",
		"a wrong header":  "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"a wrong length":  "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"a wrong coding":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"a wrong chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
		"a redirect":      "HTTP/1.1 302 Found\r\nLocation: /%s\r\n\r\n",
		"a redirect 2":    "HTTP/1.1 302 Found\r\nLocation: http://%%zz/%s\r\n\r\n",
		"a status":        "HTTP/1.1 404 %s\r\nContent-Length: 0\r\n\r\n",
		"a long head":     "HTTP/1.1 200 OK\r\nX: %s" + strings.Repeat("canary", 20_000) + "\r\n\r\n",
	} {
		g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if answer != "" {
				fmt.Fprintf(conn, answer, r.URL.RawQuery)
			}
		})
		file, e := g.Fetch(t.Context(), base+"/?token=canary", limit)
		if e == nil {
			t.Errorf("%s: %q", name, file.Body)
		} else if strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: %v", name, e)
		}
	}
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("127.0.0.1/32")})
	file, e := g.Fetch(t.Context(), "http://"+closed.Addr().String()+"/?token=canary", limit)
	if e == nil || e.Kind != normalize.KindInvalidRequest || e.Cause == nil || strings.Contains(e.Error(), "canary") {
		t.Errorf("a closed port: %q, %v", file.Body, e)
	}
}

func TestDoGivesEveryAnswerAndFollowsNone(t *testing.T) {
	var got []string
	g, base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Signature")+" "+string(body))
		w.Header().Set("Location", "/other")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/hook", strings.NewReader("event"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Signature", "v1")
	resp, e := g.Do(req)
	if e != nil {
		t.Fatal(e)
	}
	resp.Body.Close()
	if diff := cmp.Diff([]string{"POST /hook v1 event"}, got); diff != "" || resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d, -want +got\n%s", resp.StatusCode, diff)
	}
}

// closing is a request body that knows whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestARefusedRequestIsReleased(t *testing.T) {
	g := outbound.New(outbound.Options{})
	body := &closing{Reader: strings.NewReader("event")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://127.0.0.1/hook", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, e := g.Do(req)
	refused(t, "a POST to the loopback address", e)
	if resp != nil || !body.closed {
		t.Errorf("answer %v, body closed: %v", resp, body.closed)
	}
}
