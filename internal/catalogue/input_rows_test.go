//go:build linux

package catalogue

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// inputRows are what clients send.
var inputRows = []row{
	{id: "C01", promise: "malformed_json_is_400", run: c01},
	{id: "C02", promise: "a_second_value_and_a_bom_are_400", run: c02},
	{id: "C03", promise: "duplicate_names_are_400", run: c03},
	{id: "C04", promise: "an_unknown_field_is_422_with_its_path", run: c04},
	{id: "C05", promise: "control_characters_are_422", run: c05},
	{id: "C06", promise: "depth_is_bounded", run: c06},
	{id: "C07", promise: "text_is_counted_in_characters", run: c07},
	{id: "C08", promise: "a_large_body_is_413_before_it_is_read", run: c08},
	{id: "C09", promise: "another_media_type_is_415", run: c09},
	{id: "C10", promise: "a_compressed_request_is_415", run: c10},
	{id: "C11", promise: "a_wrong_method_is_405_with_allow", run: c11},
	{id: "C12", promise: "odd_paths_are_404_and_never_a_redirect", run: c12},
	{id: "C13", promise: "bad_limits_and_cursors_are_422", run: c13},
	{id: "C14", promise: "a_bad_timeout_is_422", run: c14},
	{id: "C15", promise: "roles_are_checked", run: c15},
	{id: "C16", promise: "attachments_are_checked", run: c16},
	{id: "C17", promise: "a_body_that_takes_too_long_is_408", tier: soak, run: c17},
	{id: "C18", promise: "a_client_that_closes_within_its_body_changes_nothing", run: c18},
	{id: "C19", promise: "pipelined_requests_are_answered_in_order", run: c19},
	{id: "C20", promise: "the_body_decides_about_streaming", run: c20},
	{id: "C21", promise: "a_thread_is_not_deleted_under_a_send", run: c21},
}

// size counts all that a request could have left behind.
func (s *scene) size() string {
	s.t.Helper()
	return strings.Join(s.query("SELECT (SELECT COUNT(*) FROM threads), (SELECT COUNT(*) FROM messages), "+
		"(SELECT COUNT(*) FROM idempotency_keys), (SELECT COUNT(*) FROM attempts), (SELECT COUNT(*) FROM sends)"), "")
}

// refuses checks that something leaves nothing in the store, and reaches no vendor.
func (s *scene) refuses(f func()) {
	s.t.Helper()
	size, asked := s.size(), s.a.Requests()+s.b.Requests()+s.c.Requests()
	f()
	if now := s.size(); now != size {
		s.t.Errorf("the store holds %s, before %s", now, size)
	}
	if now := s.a.Requests() + s.b.Requests() + s.c.Requests(); now != asked {
		s.t.Errorf("vendors got %d requests", now-asked)
	}
}

// posts gives every way to send JSON, each with a path.
func (h *house) posts() []string {
	thread := h.begin("solo", "hello")
	return []string{"/v1/messages", "/v1/threads", "/v1/threads/" + thread + "/messages", "/v1/threads/" + thread + "/move", "/v1/routes/explain"}
}

func c01(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	samples := []string{
		``, ` `, "\n", `{`, `}`, `[`, `]`, `{]`, `[}`, `"`, `"a`, `{"text"`, `{"text":`, `{"text":"a"`, `{"text":"a",`, `{"text":"a",}`, `{,}`, `{"text" "a"}`,
		`{"text":"a" "role":"user"}`, `{text:"a"}`, `{'text':'a'}`, `{"text":'a'}`, `{"text":a}`, `{"text":tru}`, `{"text":True}`, `{"text":nul}`, `{"text":NaN}`,
		`{"text":Infinity}`, `{"text":-}`, `{"text":01}`, `{"text":1.}`, `{"text":.5}`, `{"text":1e}`, `{"text":+1}`, `{"text":0x1}`, `{"text":"\x"}`, `{"text":"\u12"}`,
		`{"text":"\u12g4"}`, "{\"text\":\"a\nb\"}", "{\"text\":\"a\tb\"}", "{\"text\":\"a\x00b\"}", "{\"text\":\"\xff\"}", "{\"text\":\"\xc3\"}", "{\"text\":\"\xed\xa0\x80\"}",
		"{\"text\":\"\xf5\x80\x80\x80\"}", "{\"text\":\"\xc0\xaf\"}", `{"text":"\ud800"}`, `{"text":"\udc00"}`, `{"text":"\ud800\ud800"}`, `{"text":"\ud800a"}`, `// x`,
		`{"text":"a"/*x*/}`, `{"text":"a";}`, `{"text"="a"}`, "\x00", "\x1f\x8b\x08\x00", `<text>a</text>`, `text=a`,
	}
	paths := h.posts()
	s.refuses(func() {
		for i, sample := range samples {
			if p := h.call("POST", paths[i%len(paths)], sample).problem(400, "invalid_json"); p.Detail == "" || p.Outcome != "none" {
				t.Errorf("%q: %+v", sample, p)
			}
		}
		p := h.call("POST", "/v1/messages", "{\"route\":\"solo\",\n \"text\":tru}").problem(400, "invalid_json")
		if !strings.ContainsAny(p.Detail, "0123456789") {
			t.Errorf("the detail does not say where: %q", p.Detail)
		}
	})
}

func c02(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	for _, path := range h.posts() {
		s.refuses(func() {
			for _, sample := range []string{`{"text":"a"}{"text":"b"}`, `{"text":"a"} x`, `{"text":"a"}]`, `{"text":"a"}null`, "\ufeff{\"text\":\"a\"}", "{\"text\":\"a\"}\x00"} {
				h.call("POST", path, sample).problem(400, "invalid_json")
			}
		})
	}
}

func c03(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, sample := range []string{
			`{"text":"a","text":"b"}`, `{"text":"a","text":"a"}`, `{"text":"a","\u0074ext":"b"}`, `{"text":"a","metadata":{"text":"1","te\u0078t":"2"}}`,
			`{"text":"a","user":{"id":"text","\u0069d":"text"},"text":"b"}`,
		} {
			p := h.call("POST", "/v1/messages", sample).problem(400, "invalid_json")
			if !strings.Contains(p.Detail, "text") && !strings.Contains(p.Detail, "id") {
				t.Errorf("%s: the detail does not name it: %q", sample, p.Detail)
			}
		}
	})
}

func c04(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for sample, field := range map[string]string{
			`{"text":"a","txet":"b"}`:                                 "txet",
			`{"text":"a","id":"msg_1"}`:                               "id",
			`{"text":"a","status":"sent"}`:                            "status",
			`{"text":"a","created_at":"2026-03-04T10:15:31.480Z"}`:    "created_at",
			`{"text":"a","user":{"id":"1","nmae":"x"}}`:               "user.nmae",
			`{"text":"a","attachments":[{"type":"image","uri":"x"}]}`: "attachments[0].uri",
			`{"text":"a","thread_metadata":{"a":{"b":"c"}}}`:          "thread_metadata.a",
			`{"text":7}`:                  "text",
			`{"text":"a","stream":"yes"}`: "stream",
			`{"text":"a","Text":"b"}`:     "Text",
		} {
			p := h.call("POST", "/v1/messages", sample).problem(422, "invalid_request")
			named := false
			for _, e := range p.Errors {
				named = named || e.Field == field && e.Detail != ""
			}
			if !named {
				t.Errorf("%s: %s is not among %+v", sample, field, p.Errors)
			}
		}
		for _, sample := range []string{`[]`, `"text"`, `7`, `null`, `true`} {
			h.call("POST", "/v1/messages", sample).problem(422, "invalid_request")
		}
	})
}

func c05(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, escape := range []string{`\u0000`, `\u0001`, `\u0008`, `\u000b`, `\u000c`, `\u001b`, `\u001f`} {
			for _, sample := range []string{
				`{"text":"a` + escape + `b"}`, `{"text":"a","metadata":{"k` + escape + `":"v"}}`, `{"text":"a","metadata":{"k":"v` + escape + `"}}`,
				`{"text":"a","user":{"name":"n` + escape + `"}}`, `{"text":"a","title":"t` + escape + `"}`, `{"text":"a","thread_metadata":{"k":"` + escape + `"}}`,
			} {
				h.call("POST", "/v1/messages", sample).problem(422, "invalid_request")
			}
		}
	})
	answer := h.call("POST", "/v1/messages", `{"route":"solo","text":"a\tb\nc\rd","metadata":{"k":"\t\n\r"}}`).turn()
	if str(answer.Message.Text) != "a\tb\nc\rd" {
		t.Errorf("the text became %q", str(answer.Message.Text))
	}
}

func c06(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, depth := range []int{33, 1000, 100000} {
			h.call("POST", "/v1/messages", `{"text":`+strings.Repeat(`[`, depth-1)+strings.Repeat(`]`, depth-1)+`}`).problem(400, "invalid_json")
			h.call("POST", "/v1/messages", strings.Repeat(`{"a":`, depth)+`1`+strings.Repeat(`}`, depth)).problem(400, "invalid_json")
			h.call("POST", "/v1/messages", `{"text":`+strings.Repeat(`[`, depth)).problem(400, "invalid_json")
		}
		h.call("POST", "/v1/messages", `{"text":`+strings.Repeat(`[`, 31)+strings.Repeat(`]`, 31)+`}`).problem(422, "invalid_request")
	})
}

func c07(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, text := range []string{"", strings.Repeat("a", 65537), strings.Repeat("😀", 65537)} {
			h.first("solo", text).problem(422, "invalid_request")
		}
	})
	long := strings.Repeat("😀", 65536)
	answer := h.first("solo", long).turn()
	if str(answer.Message.Text) != long {
		t.Error("the text came back changed")
	}
	if rows := s.query("SELECT text FROM messages WHERE role = 'user'"); len(rows) != 1 || rows[0] != long {
		t.Error("the text is stored changed")
	}
	if sends := s.a.sends(); len(sends) != 1 || said(sends[0]) != long {
		t.Error("the text was sent changed")
	}
}

// wire is a bare connection to the program.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (h *house) dial() *wire {
	t := h.scene.t
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.t.Fatal(err)
	}
}

// read reads one answer.
func (w *wire) read(method string) answer {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{w.t, method + " by hand", resp.StatusCode, resp.Header, body}
}

// closed checks that the program closes the connection after what was read.
func (w *wire) closed() {
	w.t.Helper()
	if b, err := w.in.ReadByte(); err == nil {
		w.t.Errorf("the connection is open: %q", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Error("the connection stays open")
	}
	_ = w.conn.Close()
}

// head begins a send by hand.
func head(path string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + keyWeb + "\r\nContent-Type: application/json\r\n" +
		strings.Join(headers, "\r\n") + "\r\n\r\n"
}

func c08(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, expect := range []string{"", "\r\nExpect: 100-continue"} {
			w := h.dial()
			w.send(head("/v1/messages", "Content-Length: 1048577"+expect))
			a := w.read("POST")
			a.always()
			a.problem(413, "body_too_large")
			w.closed()
		}
		w := h.dial()
		w.send(head("/v1/messages", "Transfer-Encoding: chunked") + "100001\r\n" + strings.Repeat(" ", 1<<20) + "x")
		a := w.read("POST")
		a.always()
		a.problem(413, "body_too_large")
		w.closed()
	})
}

func c09(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	const body = `{"route":"solo","text":"a"}`
	s.refuses(func() {
		for _, media := range []string{"", "text/plain", "application/json; charset=latin1", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "application/problem+json", "json", "application/json, text/plain"} {
			h.call("POST", "/v1/messages", body, "Content-Type", media).problem(415, "unsupported_media_type")
		}
	})
	for _, media := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON; charset=\"UTF-8\""} {
		h.call("POST", "/v1/messages", body, "Content-Type", media).turn()
	}
}

func c10(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	var zipped strings.Builder
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, `{"text":"a"}`); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s.refuses(func() {
		for _, encoding := range []string{"gzip", "deflate", "br", "gzip, identity"} {
			h.call("POST", "/v1/messages", zipped.String(), "Content-Encoding", encoding).problem(415, "unsupported_media_type")
		}
	})
}

func c11(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	s.refuses(func() {
		for path, allowed := range map[string]string{
			"/v1/messages": "POST", "/v1/threads": "POST", "/v1/threads/" + thread: "PATCH", "/v1/threads/" + thread + "/messages": "POST", "/v1/backends": "GET",
			"/healthz": "GET",
		} {
			for _, method := range []string{"PUT", "TRACE", "OPTIONS", "BREW"} {
				a := h.call(method, path, nil)
				a.problem(405, "method_not_allowed")
				if allow := a.header.Get("Allow"); !strings.Contains(allow, allowed) {
					t.Errorf("%s %s: Allow is %q", method, path, allow)
				}
			}
		}
	})
}

func c12(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	s.refuses(func() {
		for _, path := range []string{
			"/", "/v1", "/v1/", "/v2/threads", "//v1/threads", "/v1//threads", "/v1/./threads", "/v1/../v1/threads", "/../v1/threads", "/v1/threads/",
			"/v1/threads//messages", "/v1/threads/" + thread + "/", "/v1/threads/" + thread + "/messages/", "/v1%2Fthreads", "/v1/threads%2F", "/v1/threads/" + thread + "%2Fmessages",
			"/v1/%2e%2e/healthz", "/V1/threads", "/v1/threads/" + thread + "/..", "/healthz/", "/metrics/", "/v1/threads%00", "/v1/backends/a%2Fb", "/v1/backends/%ff",
		} {
			w := h.dial()
			w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + keyWeb + "\r\n\r\n")
			a := w.read("GET")
			a.always()
			if a.status != 404 || a.header.Get("Location") != "" {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
			_ = w.conn.Close()
		}
	})
}

func c13(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	for range 3 {
		h.begin("solo", "hello")
	}
	thread := h.begin("solo", "hello")
	page := read[struct {
		NextCursor string `json:"next_cursor"`
	}](h.call("GET", "/v1/threads?limit=2", nil), 200)
	ofMessages := read[struct {
		NextCursor string `json:"next_cursor"`
	}](h.call("GET", "/v1/threads/"+thread+"/messages?limit=1", nil), 200)
	s.refuses(func() {
		for _, path := range []string{"/v1/threads", "/v1/threads/" + thread + "/messages"} {
			for _, query := range []string{
				"limit=0", "limit=-1", "limit=201", "limit=1000000000", "limit=99999999999999999999", "limit=a", "limit=1&limit=2", "limit=1.5",
				"cursor=garbage", "cursor=%00", "cursor=" + strings.Repeat("a", 4000), "order=up", "nonsense=1",
			} {
				h.call("GET", path+"?"+query, nil).problem(422, "invalid_request")
			}
		}
		h.as(keyOther).call("GET", "/v1/threads?limit=2&cursor="+page.NextCursor, nil).problem(422, "invalid_request")
		h.call("GET", "/v1/threads?limit=2&cursor="+ofMessages.NextCursor, nil).problem(422, "invalid_request")
		h.call("GET", "/v1/threads/"+thread+"/messages?cursor="+page.NextCursor, nil).problem(422, "invalid_request")
	})
	read[object](h.call("GET", "/v1/threads?limit=2&cursor="+page.NextCursor, nil), 200)
}

func c14(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, timeout := range []string{"abc", "0", "-1", "301", "1000000000", "1e2", "5s", " ", "1,2", "99999999999999999999"} {
			h.first("solo", "hello", "Chatmux-Timeout", timeout).problem(422, "invalid_request")
		}
	})
	h.first("solo", "hello", "Chatmux-Timeout", "300").turn()
}

func c15(_ testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		for _, role := range []string{"assistant", "system", "User", "", "nobody"} {
			h.call("POST", "/v1/messages", object{"text": "a", "role": role}).problem(422, "invalid_request")
		}
		h.call("POST", "/v1/messages", object{"text": "a", "role": "operator", "backend": "b"}).problem(422, "unsupported")
	})
}

func c16(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	one := object{"type": "image", "url": "https://example.com/a.png"}
	s.refuses(func() {
		for _, c := range []struct {
			list  []object
			field string
		}{
			{[]object{one, one, one, one, one, one, one, one, one, one, one}, "attachments"},
			{[]object{one, {"type": "image"}}, "attachments[1].url"},
			{[]object{{"type": "hologram", "url": "https://example.com/a.png"}}, "attachments[0].type"},
		} {
			p := h.call("POST", "/v1/messages", object{"text": "a", "route": "solo", "attachments": c.list}).problem(422, "invalid_request")
			named := false
			for _, e := range p.Errors {
				named = named || e.Field == c.field
			}
			if !named {
				t.Errorf("%s is not among %+v", c.field, p.Errors)
			}
		}
		h.call("POST", "/v1/messages", object{"text": "a", "backend": "b", "attachments": []object{one}}).problem(422, "unsupported")
	})
}

// c17 waits out the clock at the door, which no config can shorten.
func c17(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.refuses(func() {
		w := h.dial()
		w.send(head("/v1/messages", "Content-Length: 100") + "{")
		began := time.Now()
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					_, _ = io.WriteString(w.conn, " ")
				}
			}
		}()
		a := w.read("POST")
		a.always()
		a.problem(408, "request_timeout")
		if took := time.Since(began); took < 25*time.Second || took > 45*time.Second {
			t.Errorf("refused after %v, want 30s", took)
		}
		w.closed()
		close(stop)
		<-done
	})
}

func c18(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	const left = "chatmux_http_clients_left_total"
	s.refuses(func() {
		before := h.metric(left)
		for _, start := range []string{head("/v1/messages", "Content-Length: 100") + `{"text":"a"`, head("/v1/messages", "Transfer-Encoding: chunked") + "5\r\n{\"tex"} {
			w := h.dial()
			w.send(start)
			_ = w.conn.Close()
		}
		eventually(t, "both are counted", func() bool { return h.metric(left) == before+2 })
	})
}

func c19(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	w := h.dial()
	defer w.conn.Close()
	var all strings.Builder
	for i := range 3 {
		body := fmt.Sprintf(`{"route":"solo","text":"number %d"}`, i)
		all.WriteString(head("/v1/messages", fmt.Sprintf("Content-Length: %d", len(body))) + body)
	}
	w.send(all.String())
	for i := range 3 {
		a := w.read("POST")
		a.always()
		if answer := a.turn(); str(answer.Message.Text) != fmt.Sprintf("number %d", i) {
			t.Errorf("answer %d is to %q", i, str(answer.Message.Text))
		}
	}
	s.a.got(t, 3)
}

func c21(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	release := s.a.holds()
	done := make(chan answer, 1)
	go func() { done <- h.next(thread, "slowly") }()
	s.a.await(t, 2)
	h.call("DELETE", "/v1/threads/"+thread, nil).problem(409, "thread_busy")
	h.call("POST", "/v1/threads/"+thread+"/move", object{"backend": "b", "carry": "none"}).problem(409, "thread_busy")
	release()
	(<-done).turn()
	h.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
	read[object](h.call("DELETE", "/v1/threads/"+thread, nil), 200)
	for _, table := range []string{"messages", "bindings", "attempts", "sends", "idempotency_keys"} {
		if n := s.count("SELECT COUNT(*) FROM " + table); n != 0 {
			t.Errorf("%d orphans in %s", n, table)
		}
	}
}
