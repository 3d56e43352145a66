package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tmaxmax/go-sse"

	"chatmux/internal/sandbox"
)

// event is one event of a stream, as a reader that is not ours understands it.
type event struct {
	ID, Name, Data string
}

// text is the text of a delta.
func (e event) text() string {
	var d struct{ Text string }
	_ = json.Unmarshal([]byte(e.Data), &d)
	return d.Text
}

// source is an open event stream.
type source struct {
	t      *testing.T
	status int
	header http.Header
	body   io.ReadCloser
	events chan event
	ended  chan struct{}
	leave  context.CancelFunc
}

// open asks for an event stream; a nil body makes it a GET.
func (h *house) open(path string, body any, headers ...string) *source {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	method, reader := "GET", io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		method, reader = "POST", bytes.NewReader(append(b, 0x0a)) // as call writes it
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, reader)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	s := &source{t: h.t, status: resp.StatusCode, header: resp.Header, body: resp.Body, events: make(chan event, 100_000), ended: make(chan struct{}), leave: cancel}
	h.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		close(s.ended)
		return s
	}
	go func() {
		defer close(s.ended)
		for e, err := range sse.Read(resp.Body, &sse.ReadConfig{MaxEventSize: 8 << 20}) {
			if err != nil {
				return
			}
			s.events <- event{e.LastEventID, e.Type, e.Data}
		}
	}()
	return s
}

// eventually waits until something holds.
func (h *house) eventually(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("still not so after 20 s: %s", what)
		}
	}
}

// next waits for the next event.
func (s *source) next() event {
	s.t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-s.ended:
		select {
		case e := <-s.events: // those before the end come first
			return e
		default:
			s.t.Fatalf("the stream ended where an event was due (status %d)", s.status)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatal("no event within 20 s")
	}
	return event{}
}

// until reads up to and with an event of one of these names.
func (s *source) until(names ...string) []event {
	s.t.Helper()
	var list []event
	for {
		e := s.next()
		list = append(list, e)
		if slices.Contains(names, e.Name) {
			return list
		}
	}
}

func names(list []event) string {
	var out []string
	for _, e := range list {
		if n := len(out); n > 0 && strings.TrimSuffix(out[n-1], "+") == e.Name {
			out[n-1] = e.Name + "+"
			continue
		}
		out = append(out, e.Name)
	}
	return strings.Join(out, " ")
}

func said(list []event) string {
	var b strings.Builder
	for _, e := range list {
		if e.Name == "delta" {
			b.WriteString(e.text())
		}
	}
	return b.String()
}

func TestEveryBackendStreamsItsAnswer(t *testing.T) {
	onEachStore(t, testEveryBackendStreams)
}

func testEveryBackendStreams(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
	for _, name := range []string{"parcel-desk", "docs-bot", "helpdesk", "own-llm", "echo"} {
		t.Run(name, func(t *testing.T) {
			s := h.open("/v1/messages", object{"text": "Where is my parcel? 🚚", "backend": name, "stream": true})
			if s.status != 200 || s.header.Get("Content-Type") != "text/event-stream" || s.header.Get("Cache-Control") != "no-store" ||
				s.header.Get("X-Accel-Buffering") != "no" || s.header.Get("Chatmux-Backend") != name || s.header.Get("Server-Timing") == "" {
				t.Fatalf("head: %d %v", s.status, s.header)
			}
			list := s.until("done", "error")
			if got := strings.ReplaceAll(names(list), "delta+", "delta"); got != "message delta reply done" {
				t.Fatalf("events: %s", names(list))
			}
			var first, last turnOfEvent
			var reply message
			decode(t, list[0].Data, &first)
			decode(t, list[len(list)-2].Data, &reply)
			decode(t, list[len(list)-1].Data, &last)
			if first.Message.Status != "pending" || last.Message.Status != "sent" || first.Message.ID != last.Message.ID {
				t.Errorf("message %+v, at the end %+v", first.Message, last.Message)
			}
			if said(list) != reply.Text || reply.Text == "" || reply.Status != "complete" {
				t.Errorf("the deltas say %q, the reply %+v", said(list), reply)
			}
			if !slices.Equal(last.Replies, []string{reply.ID}) {
				t.Errorf("done names %v, the reply is %s", last.Replies, reply.ID)
			}
			if streams := name == "helpdesk" || name == "own-llm"; streams != (len(list) > 4) {
				t.Errorf("%d deltas", len(list)-3)
			}
			<-s.ended
			stored := h.transcript(last.Thread.ID)
			if len(stored) != 2 || stored[1].Text != reply.Text || stored[1].ID != reply.ID {
				t.Errorf("stored: %+v", stored)
			}
			h.resumes(last.Thread.ID, list)
		})
	}
}

type turnOfEvent struct {
	Thread  thread   `json:"thread"`
	Message message  `json:"message"`
	Replies []string `json:"replies"`
}

func decode(t *testing.T, data string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}

// resumes goes on behind every event of a stream and wants the rest of it: the same
// events, with the same ids.
func (h *house) resumes(threadID string, list []event) {
	h.t.Helper()
	for i := range list {
		want := list[i+1:]
		if len(want) == 0 {
			break
		}
		s := h.open("/v1/threads/"+threadID+"/events", nil, "Last-Event-ID", list[i].ID)
		if got := s.until("done", "error"); !sameEvents(got, want) {
			h.t.Errorf("behind %s: %s", list[i].ID, cmp.Diff(want, got))
		}
		s.leave()
	}
}

// sameEvents compares streams; the ids of requests in problems differ.
func sameEvents(a, b []event) bool {
	return slices.EqualFunc(a, b, func(a, b event) bool {
		return a.ID == b.ID && a.Name == b.Name && (a.Data == b.Data || a.Name == "error")
	})
}

func TestAWatcherSeesTheWholeConversationFromAnyEventAndAfterARestart(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		dsn := newStore(t)
		var all []event
		var id string
		t.Run("before", func(t *testing.T) {
			h := startHouse(t, fmt.Sprintf(vendors, dsn))
			id = read[turn](t, h.call("POST", "/v1/messages", object{"text": "one", "backend": "helpdesk"}), 200).Thread.ID
			s := h.open("/v1/threads/"+id+"/events", nil, "Last-Event-ID", "0")
			all = s.until("done")
			h.open("/v1/threads/"+id+"/messages", object{"text": "two"}, "Accept", "text/event-stream").until("done")
			all = append(all, s.until("done")...)
			h.call("PATCH", "/v1/threads/"+id, object{"title": "A title"})
			all = append(all, s.until("thread")...)
			h.twin("helpdesk").Script(sandbox.MustScript("status 500")...)
			h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "three"})
			all = append(all, s.until("error")...)
		})
		want := "message delta reply done message delta+ reply done thread message error"
		if names(all) != want {
			t.Fatalf("%s, want %s", names(all), want)
		}
		t.Run("after", func(t *testing.T) {
			h := startHouse(t, fmt.Sprintf(vendors, dsn))
			for i := range all[:len(all)-1] {
				s := h.open("/v1/threads/"+id+"/events", nil, "Last-Event-ID", all[i].ID)
				var got []string
				for range all[i+1:] {
					e := s.next()
					got = append(got, e.ID+" "+e.Name)
				}
				var rest []string
				for _, e := range all[i+1:] {
					rest = append(rest, e.ID+" "+e.Name)
				}
				if !slices.Equal(got, rest) {
					t.Errorf("behind %s: %s", all[i].ID, cmp.Diff(rest, got))
				}
				s.leave()
			}
		})
	})
}

func TestWhatIsNoEventIDIsRefused(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(vendors, "sqlite::memory:"))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "one"}), 200).Thread.ID
	for _, bad := range []string{"x", "-1", "1.", "01", "1.0", "1.2.3", "99999999999999999999", "1 "} {
		if a := h.call("GET", "/v1/threads/"+id+"/events", nil, "Last-Event-ID", bad+"x"); a.status != 422 {
			t.Errorf("%q: %d %s", bad, a.status, a.body)
		}
	}
	read[problem](t, h.call("GET", "/v1/threads/"+id+"/events?since=1", nil), 422)
}

func TestAWatcherIsToldThatItsThreadIsGone(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(vendors, "sqlite::memory:"))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "one"}), 200).Thread.ID
	s := h.open("/v1/threads/"+id+"/events", nil)
	h.call("DELETE", "/v1/threads/"+id, nil)
	if e := s.next(); e.Name != "error" || !strings.Contains(e.Data, `"not_found"`) {
		t.Errorf("told %+v", e)
	}
	<-s.ended
}

func TestS01_what_fails_before_content_has_its_own_status_or_goes_elsewhere_unseen(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
		h.twin("helpdesk").Script(sandbox.MustScript("reset head; status 503 retry-after=1")...)
		s := h.open("/v1/messages", object{"text": "x", "backend": "helpdesk", "stream": true})
		if s.status != 502 {
			t.Fatalf("status %d", s.status)
		}
		s = h.open("/v1/messages", object{"text": "x", "stream": true, "metadata": object{"route": "chain"}})
		list := s.until("done", "error")
		if names(list) != "message delta+ reply done" || s.header.Get("Chatmux-Backend") != "own-llm" {
			t.Fatalf("%s %v", names(list), s.header)
		}
	})
}

func TestS02_a_stream_cut_in_mid_answer_is_never_told_as_whole(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
		h.twin("helpdesk").Script(sandbox.MustScript("cut 600 chunked")...)
		s := h.open("/v1/messages", object{"text": "tell me a long story please", "stream": true, "metadata": object{"route": "chain"}})
		list := s.until("done", "error")
		end := list[len(list)-1]
		var p problem
		decode(t, end.Data, &p)
		if end.Name != "error" || p.Code != "backend_truncated" || p.Outcome != "done" || said(list) == "" {
			t.Fatalf("%s: %s", names(list), end.Data)
		}
		if n := len(h.twin("own-llm").Ledger()); n != 0 {
			t.Errorf("another backend was asked %d times after content", n)
		}
		var first turnOfEvent
		decode(t, list[0].Data, &first)
		stored := h.transcript(first.Thread.ID)
		if len(stored) != 2 || stored[0].Status != "sent" || stored[1].Status != "incomplete" || stored[1].Text != said(list) {
			t.Errorf("stored: %+v", stored)
		}
		h.resumes(first.Thread.ID, list)
	})
}

func TestAStreamIsReplayedByItsKey(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
		ask := func() *source {
			return h.open("/v1/messages", object{"text": "x", "backend": "helpdesk", "stream": true}, "Idempotency-Key", "k")
		}
		first := ask().until("done")
		again := ask()
		if again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("head: %v", again.header)
		}
		got := again.until("done")
		got[0].Data, first[0].Data = "", "" // the message was pending then
		if !sameEvents(got, first) {
			t.Error(cmp.Diff(first, got))
		}
		if n := len(h.twin("helpdesk").Ledger()); n != 1 {
			t.Errorf("the vendor was asked %d times", n)
		}
	})
}

func TestS17_a_client_that_leaves_ends_the_answer_only_where_the_route_says_so(t *testing.T) {
	for _, mode := range []string{"finish", "cancel"} {
		t.Run(mode, func(t *testing.T) {
			text := strings.Replace(fmt.Sprintf(vendors, "sqlite::memory:"), "{name: default, to: docs-bot}", "{name: default, to: helpdesk, on_disconnect: "+mode+"}", 1)
			h := startHouse(t, text)
			h.twin("helpdesk").Script(sandbox.MustScript("drip 200 50ms")...)
			s := h.open("/v1/messages", object{"text": "tell me a long story please", "stream": true}, "Idempotency-Key", "k")
			list := s.until("delta")
			s.leave()
			var first turnOfEvent
			decode(t, list[0].Data, &first)
			want := map[string]string{"finish": "complete", "cancel": "cancelled"}[mode]
			h.eventually("the reply is "+want, func() bool {
				stored := h.transcript(first.Thread.ID)
				return len(stored) == 2 && stored[1].Status == want && stored[0].Status == "sent"
			})
			if reason := h.transcript(first.Thread.ID)[1].Reason; mode == "cancel" && reason != "deadline_exceeded" {
				t.Errorf("the caller left, and the reason is %q", reason)
			}
			if mode == "finish" {
				again := h.open("/v1/messages", object{"text": "tell me a long story please", "stream": true}, "Idempotency-Key", "k")
				if list := again.until("done", "error"); said(list) != h.transcript(first.Thread.ID)[1].Text {
					t.Errorf("the repeat says %q", said(list))
				}
			}
			state := read[struct {
				InFlight int `json:"in_flight"`
			}](t, h.call("GET", "/v1/backends/helpdesk", nil), 200)
			if state.InFlight != 0 {
				t.Errorf("%d in flight", state.InFlight)
			}
		})
	}
}

func TestRespondAsyncAnswersOnceTheMessageIsStored(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
		h.twin("helpdesk").Script(sandbox.MustScript("always ok delay=300ms")...)
		a := h.call("POST", "/v1/messages", object{"text": "x", "backend": "helpdesk"}, "Prefer", "respond-async", "Idempotency-Key", "k")
		accepted := read[turn](t, a, 202)
		if accepted.Message.Status != "pending" || len(accepted.Replies) != 0 || a.header.Get("Preference-Applied") != "respond-async" ||
			a.header.Get("Location") != "/v1/threads/"+accepted.Thread.ID+"/messages/"+accepted.Message.ID {
			t.Fatalf("%v %s", a.header, a.body)
		}
		read[problem](t, h.call("POST", "/v1/messages", object{"text": "x", "backend": "helpdesk"}, "Prefer", "respond-async", "Idempotency-Key", "k"), 409)
		list := h.open("/v1/threads/"+accepted.Thread.ID+"/events", nil).until("done")
		if names(list) != "message delta+ reply done" {
			t.Errorf("watched: %s", names(list))
		}
		read[turn](t, h.call("GET", a.header.Get("Location"), nil), 200)
		again := read[turn](t, h.call("POST", "/v1/messages", object{"text": "x", "backend": "helpdesk"}, "Prefer", "respond-async", "Idempotency-Key", "k"), 200)
		if len(again.Replies) != 1 || again.Message.ID != accepted.Message.ID {
			t.Errorf("the repeat: %+v", again)
		}
		read[problem](t, h.call("POST", "/v1/messages", object{"text": ""}, "Prefer", "respond-async"), 422)
	})
}
