package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Sample is recorded traffic: what is asked of an adapter, the requests that the
// vendor must get, what it answers, and what must come of it.
type Sample struct{ steps []step }

// step is one thing that is asked of the adapter.
type step struct {
	do    string // turn, stream, list_messages, list_threads, delete_thread
	text  string // of a turn
	line  int
	calls []call
	want  map[string]string // what must come of it, by section
}

// call is a request and its answer.
type call struct {
	method, target, body string
	status               int
	contentType, answer  string
}

// The sections of a sample: what is asked, the traffic, what must come of it.
var (
	steps = []string{"turn", "stream", "list_messages", "list_threads", "delete_thread"}
	wants = []string{"reply", "remote", "error", "messages", "threads"}
)

// ParseSample reads a sample: a comment, then sections that begin with a line like
// "-- turn --". Its errors name the line.
func ParseSample(data []byte) (*Sample, error) {
	s := new(Sample)
	for _, part := range sections(string(data)) {
		if err := s.add(part); err != nil {
			return nil, fmt.Errorf("line %d: %w", part.line, err)
		}
	}
	if len(s.steps) == 0 {
		return nil, fmt.Errorf("there is no -- turn -- in the sample")
	}
	return s, nil
}

// section is a part of a sample and the line of its head.
type section struct {
	name, text string
	line       int
}

func sections(data string) []section {
	var list []section
	for i, line := range strings.SplitAfter(data, "\n") {
		head := strings.TrimRight(line, "\r\n")
		name, ok := strings.CutPrefix(head, "-- ")
		if name, closed := strings.CutSuffix(name, " --"); ok && closed {
			list = append(list, section{name: name, line: i + 1})
			continue
		}
		if n := len(list) - 1; n >= 0 {
			list[n].text += line
		}
	}
	for i := range list {
		list[i].text = strings.TrimSuffix(list[i].text, "\n")
	}
	return list
}

func (s *Sample) add(part section) error {
	if slices.Contains(steps, part.name) {
		s.steps = append(s.steps, step{do: part.name, text: part.text, line: part.line, want: map[string]string{}})
		return nil
	}
	if len(s.steps) == 0 {
		return fmt.Errorf("-- %s -- stands before the first of %s", part.name, strings.Join(steps, ", "))
	}
	last := &s.steps[len(s.steps)-1]
	first, rest, _ := strings.Cut(part.text, "\n")
	switch part.name {
	case "request":
		method, target, ok := strings.Cut(first, " ")
		if !ok || !strings.HasPrefix(target, "/") {
			return fmt.Errorf("a request begins with its method and path, as POST /v1/chat")
		}
		last.calls = append(last.calls, call{method: method, target: target, body: rest})
	case "answer":
		status, contentType, _ := strings.Cut(first, " ")
		code, err := strconv.Atoi(status)
		if err != nil || len(last.calls) == 0 || last.calls[len(last.calls)-1].status != 0 {
			return fmt.Errorf("an answer follows its request, and begins with its status and type, as 200 application/json")
		}
		c := &last.calls[len(last.calls)-1]
		if strings.HasPrefix(contentType, "text/event-stream") {
			rest = strings.TrimRight(rest, "\n") + "\n\n" // the blank line that ends an event is hard to see at the end of a section
		}
		c.status, c.contentType, c.answer = code, contentType, rest
	default:
		if !slices.Contains(wants, part.name) {
			return fmt.Errorf("-- %s -- is not known: there are %s, request, answer, %s", part.name, strings.Join(steps, ", "), strings.Join(wants, ", "))
		}
		last.want[part.name] = part.text
	}
	return nil
}

// callsOf gives all requests of some steps, in order.
func callsOf(list []step) []call {
	var all []call
	for _, s := range list {
		all = append(all, s.calls...)
	}
	return all
}

// player answers requests as they were recorded, in their order, and remembers where
// they differ.
type player struct {
	mu       sync.Mutex
	calls    []call
	served   int
	mismatch error
}

func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body) // what cannot be read differs
	if p.served >= len(p.calls) {
		p.differs(fmt.Errorf("request %d, %s %s, is not in the sample", p.served+1, r.Method, r.URL.RequestURI()))
		http.Error(w, "{}", http.StatusInternalServerError)
		return
	}
	c := p.calls[p.served]
	p.served++
	if err := c.matches(r, body.Bytes()); err != nil {
		p.differs(fmt.Errorf("request %d: %w", p.served, err))
	}
	w.Header().Set("Content-Type", c.contentType)
	w.WriteHeader(c.status)
	_, _ = w.Write([]byte(c.answer)) // a client that left is its own loss
}

func (p *player) differs(err error) {
	if p.mismatch == nil {
		p.mismatch = err
	}
}

// result gives the first difference, or that requests are missing.
func (p *player) result() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mismatch == nil && p.served < len(p.calls) {
		return fmt.Errorf("only %d of %d requests were made", p.served, len(p.calls))
	}
	return p.mismatch
}

// matches compares a request with the recorded one: JSON by what it says, not by how
// it is written.
func (c *call) matches(r *http.Request, body []byte) error {
	want, err := url.Parse(c.target)
	if err != nil {
		return fmt.Errorf("the recorded path cannot be read: %w", err)
	}
	switch {
	case r.Method != c.method || r.URL.EscapedPath() != want.EscapedPath():
		return fmt.Errorf("is %s %s, recorded was %s %s", r.Method, r.URL.EscapedPath(), c.method, want.EscapedPath())
	case !reflect.DeepEqual(r.URL.Query(), want.Query()):
		return fmt.Errorf("has the parameters %q, recorded were %q", r.URL.RawQuery, want.RawQuery)
	case !sameJSON(body, []byte(c.body)):
		return fmt.Errorf("has the body %s, recorded was %s", excerpt(string(body)), excerpt(c.body))
	}
	return nil
}

func sameJSON(a, b []byte) bool {
	if a, b = bytes.TrimSpace(a), bytes.TrimSpace(b); bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return decode(a, &x) == nil && decode(b, &y) == nil && reflect.DeepEqual(x, y)
}

func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}
