package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// wire is a bare connection to the server.
type wire struct {
	h    *harness
	conn net.Conn
	in   *bufio.Reader
}

func (h *harness) dial() *wire {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	return &wire{h, conn, bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.h.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.h.t.Fatal(err)
	}
}

// read reads one answer, and holds it against the document.
func (w *wire) read(method, path string) answer {
	w.h.t.Helper()
	u, err := url.Parse("http://" + w.h.addr + path)
	if err != nil { // a path that no client library would send
		u = &url.URL{Path: "/?"}
	}
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	return w.h.answer(method, u, resp)
}

// closed checks that the server closes the connection after what was read.
func (w *wire) closed() {
	w.h.t.Helper()
	if b, err := w.in.ReadByte(); !errors.Is(err, io.EOF) {
		w.h.t.Errorf("the connection is open: %q, %v", b, err)
	}
}

func TestRawRequests(t *testing.T) {
	h := newHarness(t, Options{Limits: Limits{BodyTimeout: 50 * time.Millisecond}})
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			h.t = t
			test(t)
		})
	}
	const head = "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

	run("C08_a_body_over_the_limit_is_413_before_it_is_read", func(t *testing.T) {
		w := h.dial()
		w.send(head + "Content-Length: 1048577\r\n\r\n")
		w.read("POST", "/v1/messages").want(t, 413, "body_too_large")
		w.closed()
		w = h.dial()
		w.send(head + "Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n")
		w.read("POST", "/v1/messages").want(t, 413, "body_too_large")
		w.closed()
		h.nothing()
	})
	run("C08_a_chunked_body_is_cut_at_the_limit", func(t *testing.T) {
		w := h.dial()
		w.send(head + "Transfer-Encoding: chunked\r\n\r\n" + "100001\r\n" + strings.Repeat(" ", 1<<20) + "x")
		w.read("POST", "/v1/messages").want(t, 413, "body_too_large")
		h.nothing()
	})
	run("C12_odd_paths_are_404_and_never_a_redirect", func(t *testing.T) {
		for _, path := range []string{
			"/", "/v1", "/v1/", "/v2/threads", "/v1/thread", "//v1/threads", "/v1//threads", "/v1/./threads", "/v1/../v1/threads", "/../v1/threads", "/v1/threads/",
			"/v1/threads//messages", messagesPath + "/", "/v1%2Fthreads", "/v1/threads%2F", "/v1/threads/" + threadID + "%2Fmessages", "/v1/%2e%2e/healthz", "/V1/threads",
			"/v1/threads/" + threadID + "/..", "/healthz/", "/docs/", "/docs/page.html", "/docs/../openapi.json", "/docs/%2e%2e%2fpage.css", "/metrics/", "/v1/threads;x=1",
			"/v1/threads%00", "/v1/backends/a%2Fb", "/v1/backends/%ff",
		} {
			w := h.dial()
			w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
			w.read("GET", path).want(t, 404, "not_found")
		}
		w := h.dial()
		w.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
		w.read("OPTIONS", "*").want(t, 404, "not_found")
		h.nothing()
	})
	run("C17_a_body_that_takes_too_long_is_408", func(t *testing.T) {
		w := h.dial()
		w.send(head + "Content-Length: 100\r\n\r\n{\"te")
		w.read("POST", "/v1/messages").want(t, 408, "request_timeout")
		w.closed()
		h.nothing()
	})
	run("C17_only_the_body_is_timed_and_not_the_answer", func(t *testing.T) {
		h.engine.onSend = func(ctx context.Context, _ engine.Origin, _ engine.SendRequest) (engine.Turn, error) {
			select {
			case <-ctx.Done():
				return engine.Turn{}, &normalize.Error{Kind: normalize.KindCanceled}
			case <-time.After(3 * h.api.limits.BodyTimeout):
				return h.engine.turn(), nil
			}
		}
		h.post("/v1/messages", `{"text":"a"}`).want(t, 200, "")
		h.engine.onSend = nil
		h.engine.take()
	})
	run("C18_a_client_that_closes_within_its_body_changes_nothing", func(t *testing.T) {
		before := h.metric("chatmux_http_clients_left_total")
		w := h.dial()
		w.send(head + "Content-Length: 100\r\n\r\n{\"text\":\"a\"}")
		if err := w.conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w.read("POST", "/v1/messages").want(t, 400, "invalid_json")
		w.closed()
		h.nothing()
		if after := h.metric("chatmux_http_clients_left_total"); before != "0" || after != "1" {
			t.Errorf("clients that left: %s, then %s", before, after)
		}
		w = h.dial()
		w.send(head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"tex")
		w.conn.Close()
		for deadline := time.Now().Add(10 * time.Second); h.metric("chatmux_http_clients_left_total") != "2"; {
			if time.Now().After(deadline) {
				t.Fatal("the client that closed was not noticed")
			}
		}
		h.nothing()
	})
	run("C19_pipelined_requests_are_answered_in_order", func(t *testing.T) {
		w := h.dial()
		for _, text := range []string{"one", "two", "six"} {
			w.send(head + "Content-Length: 14\r\n\r\n{\"text\":\"" + text + "\"}")
		}
		w.send("GET /v1/backends HTTP/1.1\r\nHost: x\r\n\r\n")
		for range 3 {
			w.read("POST", "/v1/messages").want(t, 200, "")
		}
		w.read("GET", "/v1/backends").want(t, 200, "")
		var got []string
		for _, asked := range h.engine.take() {
			got = append(got, asked.(askedSend).Send.Text)
		}
		if strings.Join(got, " ") != "one two six" {
			t.Errorf("asked in the order %v", got)
		}
	})
	run("O10_a_refusal_does_not_wait_for_the_body", func(t *testing.T) {
		for _, length := range []string{"100", "900000"} {
			for _, path := range []string{"/nowhere", "/v1/backends"} {
				w := h.dial()
				w.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + "\r\n\r\n")
				if a := w.read("POST", path); a.status != 404 && a.status != 405 {
					t.Errorf("%d %s", a.status, a.body)
				}
				w.closed()
			}
		}
	})
	run("a_refusal_whose_body_is_there_keeps_the_connection", func(t *testing.T) {
		w := h.dial()
		for range 3 {
			w.send("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /")
			w.read("POST", "/nowhere").want(t, 404, "not_found")
		}
	})
}

func TestAClientThatLeavesCancelsTheEnginesContext(t *testing.T) {
	h := newHarness(t, Options{})
	started, canceled := make(chan struct{}), make(chan error, 1)
	h.engine.onSend = func(ctx context.Context, _ engine.Origin, _ engine.SendRequest) (engine.Turn, error) {
		close(started)
		<-ctx.Done()
		canceled <- ctx.Err()
		return engine.Turn{}, &normalize.Error{Kind: normalize.KindCanceled}
	}
	w := h.dial()
	w.send("POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"text\":\"a\"}")
	<-started
	w.conn.Close()
	if err := <-canceled; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for deadline := time.Now().Add(10 * time.Second); h.metric(`chatmux_http_requests_total{method="POST",route="/v1/messages",status="499"}`) != "1"; {
		if time.Now().After(deadline) {
			t.Fatal("the client that left was not counted")
		}
	}
}
