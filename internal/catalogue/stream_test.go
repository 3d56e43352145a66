//go:build linux

package catalogue

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// event is one event of a stream as its client sees it.
type event struct{ id, name, data string }

// part is what rows look at in the data of an event: each kind has one of them.
type part struct {
	turn    turn
	message message
	problem problem
}

func (e event) part() (p part) {
	for _, into := range []any{&p.turn, &p.message, &p.problem} {
		_ = json.Unmarshal([]byte(e.data), into) // what does not fit is not looked at
	}
	return p
}

// stream is an answer that is read as it comes.
type stream struct {
	t      testing.TB
	status int
	header http.Header
	body   *bufio.Reader
	leave  context.CancelFunc
}

// follow begins to read an answer that is a stream, or is none after all. A nil body
// makes it a GET.
func (c *client) follow(path string, body any, headers ...string) *stream {
	c.t.Helper()
	method, reader := "GET", io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		method, reader = "POST", bytes.NewReader(b)
	}
	ctx, leave := within(3 * patience)
	c.t.Cleanup(leave)
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	c.t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{c.t, resp.StatusCode, resp.Header, bufio.NewReader(resp.Body), leave}
}

// tell begins a message whose answer is to be told as it comes.
func (c *client) tell(route, text string, headers ...string) *stream {
	c.t.Helper()
	return c.follow("/v1/messages", object{"route": route, "text": text, "stream": true}, headers...)
}

// next reads an event; false where the stream has ended.
func (s *stream) next() (e event, ok bool) {
	s.t.Helper()
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			if err != io.EOF || line != "" {
				s.t.Fatalf("a stream ends with %q: %v", line, err)
			}
			return event{}, false
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, true
			}
		}
	}
}

// rest reads a stream to its end, which an event has to tell, and checks that no
// secret is in it.
func (s *stream) rest() (list []event) {
	s.t.Helper()
	if s.status != http.StatusOK || s.header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(s.body)
		s.t.Fatalf("no stream, but %d %s", s.status, body)
	}
	for e, ok := s.next(); ok; e, ok = s.next() {
		list = append(list, e)
		if strings.Contains(e.data, canary) {
			s.t.Errorf("a secret is in an event: %s", e.data)
		}
	}
	if n := len(list); n == 0 || list[0].name != "message" || list[n-1].name != "done" && list[n-1].name != "error" {
		s.t.Fatalf("a stream of %s", names(list))
	}
	return list
}

// refused reads an answer that is no stream.
func (s *stream) refused(status int, code string) problem {
	s.t.Helper()
	body, err := io.ReadAll(s.body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{s.t, "a stream", s.status, s.header, body}.problem(status, code)
}

// names are those of some events, several deltas as one.
func names(list []event) string {
	var all []string
	for _, e := range list {
		if n := len(all); n == 0 || e.name != "delta" || all[n-1] != "delta" {
			all = append(all, e.name)
		}
	}
	return strings.Join(all, " ")
}

// toldOf joins the texts of the deltas.
func toldOf(list []event) string {
	var all strings.Builder
	for _, e := range list {
		if e.name == "delta" {
			all.WriteString(str(e.part().message.Text))
		}
	}
	return all.String()
}

// whole checks that a stream has told a whole answer, and gives its text.
func whole(t testing.TB, list []event) string {
	t.Helper()
	if got := names(list); got != "message delta reply done" {
		t.Fatalf("events %s: %s", got, list[len(list)-1].data)
	}
	text := toldOf(list)
	if reply := list[len(list)-2].part(); str(reply.message.Text) != text || reply.message.Status != "complete" {
		t.Errorf("told was %q, and the reply is %s", text, list[len(list)-2].data)
	}
	return text
}

// broken checks that a stream has told a part of an answer and then what went wrong,
// and that this part is stored; it gives the text.
func (h *house) broken(list []event, code string) string {
	t := h.scene.t
	t.Helper()
	end := list[len(list)-1]
	if got := names(list); got != "message delta error" || end.part().problem.Code != code {
		t.Fatalf("events %s: %s, want a part of an answer and %s", got, end.data, code)
	}
	text := toldOf(list)
	thread := list[0].part().turn.Thread.ID
	h.stored(thread, "user sent", "assistant incomplete")
	if all := h.transcript(thread); str(all[1].Text) != text {
		t.Errorf("told was %q, and stored is %q", text, str(all[1].Text))
	}
	return text
}

// lines is how a vendor writes its stream: what each piece of text is, and its end.
type lines struct {
	piece func(text string) string
	end   string
}

// The two vendors that stream.
var (
	ofA = lines{
		func(text string) string {
			return fmt.Sprintf("data: {\"conversationId\":%q,\"content\":%s,\"done\":false}\n\n", toldThread, quoted(text))
		},
		fmt.Sprintf("data: {\"conversationId\":%q,\"content\":\"\",\"done\":true}\n\n", toldThread),
	}
	ofB = lines{
		func(text string) string {
			return "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":" + quoted(text) + "},\"finish_reason\":null}]}\n\n"
		},
		"data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
	}
)

// toldThread is the conversation of the vendor a in streams that rows write themselves.
const toldThread = "0b8b1a52-3c0e-4c0a-9a55-0f6f0c1d2e30"

func quoted(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a text always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// tokens is a number of pieces of text, from a number on.
func tokens(from, to int) (list []string) {
	for n := from; n < to; n++ {
		list = append(list, fmt.Sprintf("token-%d ", n))
	}
	return list
}

// tells writes the head of an event stream, and then pieces, each of which leaves at
// once.
func tells(w http.ResponseWriter, pieces ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	_ = flush.Flush() // what fails here fails below, too
	for _, p := range pieces {
		_, _ = io.WriteString(w, p)
		_ = flush.Flush()
	}
}

// written are pieces of text as a vendor writes them.
func (l lines) written(texts []string) (list []string) {
	for _, text := range texts {
		list = append(list, l.piece(text))
	}
	return list
}

// raw answers with bytes over a connection that is then closed, or reset.
func raw(w http.ResponseWriter, text string, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
}
