//go:build linux

package catalogue

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// streamRows are answers that are told as they come.
var streamRows = []row{
	{id: "S01", promise: "what_dies_before_content_has_a_status_or_goes_elsewhere", run: s01},
	{id: "S02", promise: "a_stream_cut_in_mid_answer_is_not_whole", run: s02},
	{id: "S03", promise: "a_clean_end_of_the_connection_is_no_end_mark", run: s03},
	{id: "S04", promise: "silence_in_mid_answer_ends_at_idle", run: s04},
	{id: "S05", promise: "comments_alone_end_at_total", run: s05},
	{id: "S06", promise: "an_error_as_the_first_event_is_like_its_status", run: s06},
	{id: "S07", promise: "an_error_after_content_goes_nowhere_else", run: s07},
	{id: "S08", promise: "a_broken_event_ends_the_answer_and_a_word_does_not", run: s08},
	{id: "S09", promise: "characters_survive_every_cut", run: s09},
	{id: "S10", promise: "every_spelling_of_a_stream_says_the_same", run: s10},
	{id: "S11", promise: "long_lines_pass_and_too_long_ones_do_not", run: s11},
	{id: "S12", promise: "an_endless_answer_is_cut", run: s12},
	{id: "S13", promise: "a_cut_answer_has_no_end_in_another_dialect", run: s13},
	{id: "S14", promise: "a_compressed_stream_is_told_as_it_comes", run: s14},
	{id: "S15", promise: "a_plain_answer_to_a_stream_is_told_at_once", run: s15},
	{id: "S16", promise: "a_client_that_stops_reading_is_let_go", run: s16},
	{id: "S17", promise: "a_client_that_leaves_ends_the_answer_only_where_the_route_says_so", run: s17},
	{id: "S18", promise: "a_stream_goes_on_from_every_event", run: s18},
	{id: "S19", promise: "each_piece_leaves_as_it_comes", run: s19},
	{id: "S20", promise: "two_streams_of_one_thread_are_one", run: s20},
	{id: "S21", promise: "what_cannot_be_stored_is_not_done", run: s21, stores: postgresOnly},
	{id: "S22", promise: "a_drain_ends_a_stream_with_an_error", run: s22},
	{id: "S23", promise: "nothing_of_a_first_attempt_lives_on_in_the_second", run: s23},
	{id: "S24", promise: "an_end_mark_with_a_reset_is_an_end", run: s24},
	{id: "S25", promise: "two_answers_in_one_stream_are_never_mixed", run: s25},
}

func s01(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.b.plays("1x reset head")
	list := h.tell("pair", "hello").rest()
	if text := whole(t, list); text != answered("hello") {
		t.Errorf("told is %q", text)
	}
	if got := list[len(list)-2].part(); str(got.message.Backend) != "c" {
		t.Errorf("answered by %s", str(got.message.Backend))
	}
	h.stored(list[0].part().turn.Thread.ID, "user sent", "assistant complete")
	h.counted("b", 1, 0)
	h.counted("c", 0, 1)
	s.a.plays("1x reset head")
	p := h.tell("solo", "hello").refused(502, "backend_truncated")
	h.afterFault(p, plain{outcome: "done", failures: 1, stored: sent}, 1)
}

// cutAfter checks a stream of pair that ends after 40 tokens without its end mark.
func (s *scene) cutAfter(cut func(w http.ResponseWriter, pieces []string)) {
	t := s.t
	t.Helper()
	h := s.serve(s.usual())
	all := tokens(0, 40)
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) { cut(w, ofB.written(all)) })
	if text := h.broken(h.tell("pair", "hello").rest(), "backend_truncated"); text != strings.Join(all, "") {
		t.Errorf("told is %q", text)
	}
	s.c.got(t, 0)
	h.counted("b", 1, 0) // its first content was a success
}

func s02(_ testing.TB, s *scene) {
	s.cutAfter(func(w http.ResponseWriter, pieces []string) {
		tells(w, pieces...)
		panic(http.ErrAbortHandler)
	})
}

func s03(_ testing.TB, s *scene) {
	s.cutAfter(func(w http.ResponseWriter, pieces []string) {
		raw(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+strings.Join(pieces, ""), false)
	})
}

func s04(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].timeouts = "connect: 1s, first_byte: 4s, idle: 400ms, total: 8s"
	h := s.serve(c)
	all := tokens(0, 20)
	s.a.answers(func(w http.ResponseWriter, r *http.Request) {
		tells(w, ofA.written(all)...)
		<-r.Context().Done()
	})
	if text := h.broken(h.tell("solo", "hello").rest(), "backend_timeout"); text != strings.Join(all, "") {
		t.Errorf("told is %q", text)
	}
	eventuallyWithin(t, 3*time.Second, "the vendor sees the close", func() bool { return s.a.sends()[0].PeerLeft })
	h.counted("a", 1, 0)
}

func s05(t testing.TB, s *scene) {
	c := s.usual()
	for _, name := range []string{"a", "b"} {
		c.backends[name].timeouts = "connect: 500ms, first_byte: 1s, idle: 1s, total: 1s"
	}
	h := s.serve(c)
	s.a.plays("1x comments 50ms")
	p := h.tell("solo", "hello").refused(504, "backend_timeout")
	h.stored(h.threadOf(p.MessageID), unknown...)
	s.b.plays("1x comments 50ms")
	list := h.tell("pair", "hello").rest()
	if text := whole(t, list); text != answered("hello") {
		t.Errorf("told is %q", text)
	}
	s.c.got(t, 1)
}

// reported are errors that come within a stream of 200.
var reported = map[string]struct {
	status    int
	code      string
	elsewhere bool
}{
	`{"message":"try later","type":"requests","code":"rate_limit_exceeded"}`:                    {503, "backend_unavailable", true},
	`{"message":"no such key","type":"invalid_request_error","code":"invalid_api_key"}`:         {502, "backend_unauthorized", true},
	`{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}`:            {503, "backend_unavailable", true},
	`{"message":"not that","type":"invalid_request_error","code":"content_filter"}`:             {422, "backend_rejected", false},
	`{"message":"never heard of","type":"server_error","code":"something_that_nobody_has_met"}`: {502, "backend_error", true},
}

func s06(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["b"].retry = "attempts: 1, base: 5ms, cap: 20ms"
	for fault, want := range reported {
		s.c.ResetLedger()
		h := s.serve(c) // pauses of the one before are forgotten
		s.b.plays(`always sse 0 {"error":` + fault + `}`)
		if want.elsewhere {
			whole(t, h.tell("pair", "hello").rest())
			s.c.got(t, 1)
		} else {
			h.tell("pair", "hello").refused(want.status, want.code)
			s.c.got(t, 0)
		}
		p := h.follow("/v1/messages", object{"backend": "b", "text": "hello", "stream": true}).refused(want.status, want.code)
		if n := len(h.transcript(h.threadOf(p.MessageID))); n != 1 {
			t.Errorf("%s: %d messages are stored", fault, n)
		}
		h.stop()
	}
}

func s07(t testing.TB, s *scene) {
	for fault, want := range reported {
		h := s.serve(s.usual())
		s.b.plays(`1x sse 2 {"error":` + fault + `}`)
		if text := h.broken(h.tell("pair", "hello").rest(), want.code); !strings.HasPrefix(answered("hello"), text) {
			t.Errorf("told is %q", text)
		}
		s.c.got(t, 0)
		h.stop()
	}
}

func s08(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	three := ofB.written(tokens(0, 3))
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, three[0], three[1], "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"del\n\n", three[2], ofB.end)
	})
	if text := h.broken(h.tell("pair", "hello").rest(), "backend_invalid"); text != "token-0 token-1 " {
		t.Errorf("told is %q", text)
	}
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, three[0], "data: OPENROUTER PROCESSING\n\n", three[1], three[2], ofB.end)
	})
	if text := whole(t, h.tell("pair", "hello").rest()); text != "token-0 token-1 token-2 " {
		t.Errorf("told is %q", text)
	}
	s.c.got(t, 0)
	h.log.awaits(t, "events of a stream were passed over", 1)
}

func s09(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	const text = "aé包🙂z\u2028ü🏳️‍🌈"
	bytes := ofB.piece(text) + ofB.end
	var at atomic.Int64
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		n := at.Load()
		tells(w, bytes[:n])
		time.Sleep(2 * time.Millisecond) // the vendor's pace: what is read in one piece was not cut
		tells(w, bytes[n:])
	})
	for n := range len(bytes) { // within characters, too
		at.Store(int64(n))
		if told := whole(t, h.tell("pair", "hello").rest()); told != text {
			t.Fatalf("cut after %d bytes it is told as %q", n, told)
		}
	}
	for _, stored := range s.query("SELECT text FROM messages WHERE role = 'assistant'") {
		if stored != text {
			t.Errorf("stored is %q", stored)
		}
	}
	s.c.got(t, 0)
}

func s10(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	text := "one two\nthree \U0001f642"
	var pieces []string
	for _, piece := range []string{"one ", "two\n", "three ", "\U0001f642"} {
		pieces = append(pieces, ofB.piece(piece))
	}
	plainly := strings.Join(pieces, "") + ofB.end
	var spellings []func(string) string
	for _, end := range []string{"\n", "\r\n", "\r"} {
		for _, change := range []func(string) string{
			func(text string) string { return text },
			func(text string) string { return "\ufeff" + text },
			func(text string) string { return strings.ReplaceAll(text, "data: ", "data:") },
			func(text string) string { return strings.ReplaceAll(text, "data: ", ": a comment\ndata: ") },
			func(text string) string {
				return strings.ReplaceAll(text, "data: ", "id: 7\nevent: message\nretry: 10\ndata: ")
			},
			func(text string) string { return strings.ReplaceAll(text, `,"choices"`, ",\ndata: \"choices\"") },
		} {
			spellings = append(spellings, func(text string) string { return strings.ReplaceAll(change(text), "\n", end) })
		}
	}
	mixed := 0
	spellings = append(spellings, func(text string) string {
		parts := strings.SplitAfter(text, "\n\n")
		for i := range parts {
			mixed++
			parts[i] = strings.ReplaceAll(parts[i], "\n", []string{"\n", "\r\n", "\r"}[mixed%3])
		}
		return strings.Join(parts, "")
	}, func(text string) string { return "\n\n\n" + text })
	for i, spelling := range spellings {
		s.b.answers(func(w http.ResponseWriter, _ *http.Request) { tells(w, spelling(plainly)) })
		if told := whole(t, h.tell("pair", "hello").rest()); told != text {
			t.Errorf("spelling %d is told as %q", i, told)
		}
	}
	s.c.got(t, 0)
	h.counted("b", 0, len(spellings))
}

func s11(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	long, longer := strings.Repeat("x", 200<<10), strings.Repeat("x", 300<<10)
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) { tells(w, ofB.piece("short "), ofB.piece(long), ofB.end) })
	if told := whole(t, h.tell("pair", "hello").rest()); told != "short "+long {
		t.Errorf("told are %d characters", len(told))
	}
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, ofB.piece("short "), ofB.piece(longer), ofB.end)
	})
	if told := h.broken(h.tell("pair", "hello").rest(), "backend_invalid"); told != "short " {
		t.Errorf("told are %d characters", len(told))
	}
}

func s12(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	piece := ofB.piece(strings.Repeat("y", 16<<10))
	var left atomic.Bool
	s.b.answers(func(w http.ResponseWriter, r *http.Request) {
		for tells(w, piece); r.Context().Err() == nil; time.Sleep(time.Millisecond) { // no faster than a client reads
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
		left.Store(true)
	})
	text := h.broken(h.tell("pair", "hello").rest(), "backend_invalid")
	if len(text) > 4<<20 || len(text) < 3<<20 {
		t.Errorf("told are %d bytes", len(text))
	}
	eventually(t, "the vendor sees the close", left.Load)
	s.c.got(t, 0)
}

// s13 reads a cut answer as a client of another vendor does.
func s13(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	all := tokens(0, 20)
	s.a.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, ofA.written(all)...)
		panic(http.ErrAbortHandler)
	})
	f := h.follow("/openai/v1/chat/completions", object{"model": "solo", "stream": true, "messages": []object{{"role": "user", "content": "hello"}}})
	body, _ := io.ReadAll(f.body) // how it ends is for the text to tell
	text := string(body)
	if f.status != 200 || !strings.Contains(text, "token-19 ") {
		t.Fatalf("%d %s", f.status, text)
	}
	if strings.Contains(text, "[DONE]") || strings.Contains(text, `"finish_reason":"`) {
		t.Errorf("the answer looks whole: %s", text)
	}
}

// s14 holds the second piece back until the first has been told.
func s14(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	first := make(chan struct{})
	s.b.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		say := func(text string) {
			_, _ = io.WriteString(zip, text)
			_ = zip.Flush()
			_ = http.NewResponseController(w).Flush()
		}
		say(ofB.piece("one "))
		select {
		case <-first:
		case <-r.Context().Done():
		}
		say(ofB.piece("two") + ofB.end)
		_ = zip.Close()
	})
	f := h.tell("pair", "hello")
	f.lockStep("one ")
	close(first)
	f.lockStep("two")
}

// lockStep waits for the next delta, and checks what it says.
func (s *stream) lockStep(text string) {
	s.t.Helper()
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended before %q was told", text)
		}
		if e.name == "delta" {
			if got := str(e.part().message.Text); got != text {
				s.t.Errorf("told is %q, want %q", got, text)
			}
			return
		}
	}
}

func s15(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	s.a.plays(`1x json {"conversationId":"` + toldThread + `","content":"all at once","done":true}`)
	list := h.tell("solo", "hello").rest()
	if text := whole(t, list); text != "all at once" || len(list) != 4 {
		t.Errorf("told is %q in %d events", text, len(list))
	}
	s.a.plays(`1x json {"conversationId":"` + toldThread + `","done":true}`)
	p := h.tell("solo", "hello").refused(502, "backend_invalid")
	h.stored(h.threadOf(p.MessageID), sent...)
	h.counted("a", 1, 1)
}

// s16 has an answer that is larger than what all buffers between take.
func s16(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	const pieces = 240
	piece := strings.Repeat("z", 16<<10)
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, slices.Repeat([]string{ofB.piece(piece)}, pieces)...)
		tells(w, ofB.end)
	})
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"route":"pair","text":"hello","stream":true}`
	fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", keyWeb, len(body), body)
	s.b.await(t, 1)
	h.first("solo", "somebody else").turn()
	eventually(t, "the answer is stored", func() bool {
		return s.count("SELECT COUNT(*) FROM messages WHERE role = 'assistant' AND status = 'complete' AND backend = 'b'") == 1
	})
	h.first("solo", "somebody else").turn()
	eventually(t, "the client is let go", func() bool { return h.gauges().goroutines <= h.base.goroutines+3 })
	rows := s.query("SELECT text FROM messages WHERE backend = 'b' AND role = 'assistant'")
	if len(rows) != 1 || rows[0] != strings.Repeat(piece, pieces) {
		t.Error("what is stored is not the whole answer")
	}
}

func s17(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for _, route := range []string{"solo", "leaving"} {
		head, release := make(chan struct{}), make(chan struct{})
		var closed atomic.Bool
		s.a.answers(func(w http.ResponseWriter, r *http.Request) {
			tells(w)
			close(head)
			select {
			case <-release:
				tells(w, ofA.piece("after all"), ofA.end)
			case <-r.Context().Done():
				closed.Store(true)
			}
		})
		body := fmt.Sprintf(`{"route":%q,"text":"hello","stream":true}`, route)
		ctx, leave := within(patience)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = h.tryIn(ctx, "POST", "/v1/messages", body, key, route)
		}()
		<-head
		leave()
		<-gone
		if route == "leaving" {
			eventuallyWithin(t, 3*time.Second, "the vendor sees the close", closed.Load)
			eventually(t, "the send is over", func() bool { return s.count("SELECT COUNT(*) FROM sends") == 0 })
			if n := s.count("SELECT COUNT(*) FROM messages WHERE role = 'assistant'"); n != 1 {
				t.Errorf("%d replies are stored, want that of the first route", n)
			}
			h.counted("a", 0, 1)
			continue
		}
		close(release)
		eventually(t, "the answer is stored", func() bool {
			return s.count("SELECT COUNT(*) FROM messages WHERE role = 'assistant' AND status = 'complete'") == 1
		})
		again := h.follow("/v1/messages", json.RawMessage(body), key, route)
		if again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("the repeat has the headers %v", again.header)
		}
		if text := whole(t, again.rest()); text != "after all" {
			t.Errorf("the repeat is told %q", text)
		}
		s.a.got(t, 1)
	}
}

func s18(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	all := h.tell("solo", "hello").rest()
	thread := all[0].part().turn.Thread.ID
	all = append(all, h.follow("/v1/threads/"+thread+"/messages", object{"text": "and more", "stream": true}).rest()...)
	for i, e := range all {
		if e.id == "" {
			t.Fatalf("%s has no id", e.name)
		}
		f := h.follow("/v1/threads/"+thread+"/events", nil, "Last-Event-ID", e.id)
		for _, want := range all[i+1:] {
			got, ok := f.next()
			for ok && got.name == "thread" { // for those who watch
				got, ok = f.next()
			}
			if !ok || got.id != want.id || got.name != want.name {
				t.Fatalf("after %s comes %+v, want %+v", e.id, got, want)
			}
			if got.name == "delta" && str(got.part().message.Text) != str(want.part().message.Text) {
				t.Errorf("%s says %s, and said %s", got.id, got.data, want.data)
			}
		}
		f.leave()
	}
}

func s19(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	said := make(chan string)
	s.a.answers(func(w http.ResponseWriter, r *http.Request) {
		for tells(w); ; {
			select {
			case piece := <-said:
				tells(w, piece)
				if piece == ofA.end {
					return
				}
			case <-r.Context().Done():
				return
			}
		}
	})
	go func() { said <- ofA.piece("token-0 ") }()
	f := h.tell("solo", "hello")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Length": ""} {
		if got := f.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	f.lockStep("token-0 ")
	for _, token := range tokens(1, 20) {
		said <- ofA.piece(token)
		f.lockStep(token)
	}
	said <- ofA.end
	for e, ok := f.next(); ; e, ok = f.next() {
		if !ok {
			t.Fatal("the stream has no end")
		}
		if e.name == "done" {
			return
		}
	}
}

func s20(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	release := s.a.holds()
	path := "/v1/threads/" + thread + "/messages"
	first := make(chan []event, 1)
	go func() { first <- h.follow(path, object{"text": "one", "stream": true}).rest() }()
	s.a.await(t, 2)
	a := h.follow(path, object{"text": "two", "stream": true})
	if n := a.header.Get("Retry-After"); n == "" {
		t.Error("no Retry-After")
	}
	a.refused(409, "thread_busy")
	release()
	whole(t, <-first)
	h.stored(thread, "user sent", "assistant complete", "user sent", "assistant complete")
	s.a.got(t, 2)
}

func s21(t testing.TB, s *scene) {
	g := s.behindGate()
	h := s.serve(s.usual())
	ending := make(chan struct{})
	s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w, ofB.piece("the last "))
		<-ending
		tells(w, ofB.end)
	})
	f := h.tell("pair", "hello")
	message, _ := f.next()
	f.lockStep("the last ")
	g.close()
	close(ending)
	for {
		e, ok := f.next()
		if !ok {
			t.Fatal("the stream has no end")
		}
		if e.name == "done" || e.name == "reply" {
			t.Errorf("%s is told of what is not stored: %s", e.name, e.data)
		}
		if e.name == "error" {
			if p := e.part(); p.problem.Code != "storage_unavailable" || p.problem.Outcome != "unknown" {
				t.Errorf("the error is %s", e.data)
			}
			break
		}
	}
	g.pass(0)
	thread := message.part().turn.Thread.ID
	eventually(t, "the message is settled", func() bool {
		return s.count("SELECT COUNT(*) FROM messages WHERE thread_id = ? AND role = 'user' AND status = 'unknown'", thread) == 1
	})
	if n := s.count("SELECT COUNT(*) FROM messages WHERE thread_id = ? AND status = 'complete'", thread); n != 0 {
		t.Errorf("%d replies are complete", n)
	}
	s.free(t, 10*time.Second)
	s.c.got(t, 0)
}

func s22(t testing.TB, s *scene) {
	c := s.usual()
	c.limits = "timeout: 30s, drain: {delay: 0s, grace: 1s}"
	h := s.serve(c)
	s.a.answers(func(w http.ResponseWriter, r *http.Request) {
		for n := 0; r.Context().Err() == nil; n++ {
			tells(w, ofA.piece(fmt.Sprintf("token-%d ", n)))
			time.Sleep(20 * time.Millisecond)
		}
	})
	f := h.tell("solo", "hello")
	message, _ := f.next()
	f.lockStep("token-0 ")
	h.signal(syscall.SIGTERM)
	told := "token-0 "
	for {
		e, ok := f.next()
		if !ok {
			t.Fatal("the stream has no end")
		}
		if e.name == "delta" {
			told += str(e.part().message.Text)
			continue
		}
		if p := e.part(); e.name != "error" || p.problem.Code != "draining" {
			t.Errorf("%s: %s", e.name, e.data)
		}
		break
	}
	h.client.close()
	if status := h.end(35 * time.Second); status != 0 {
		t.Errorf("it ends with %d: %s", status, tail(h.log.String()))
	}
	if n := strings.Count(told, "token-"); n < 10 {
		t.Errorf("%d pieces were told: it did not go on", n)
	}
	rows := s.query("SELECT status, text FROM messages WHERE thread_id = ? AND role = 'assistant'", message.part().turn.Thread.ID)
	if len(rows) != 1 || rows[0] != "incomplete "+told {
		t.Errorf("stored is %q, told was %q", rows, told)
	}
}

func s23(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["b"].breaker = "failures: 100000, min_requests: 100000, open_for: 1s, interval: 60s"
	h := s.serve(c)
	s.b.plays(strings.Repeat("reset head; cut 0 chunked; fin; status 500; ", 300) + "always reset head")
	const clients = 8
	rounds := times(40, 1000) / clients
	together(clients, func(n int) {
		for i := range rounds {
			text := fmt.Sprintf("%d of %d", i, n)
			list := h.tell("pair", text).rest()
			if told := whole(t, list); told != answered(text) {
				t.Errorf("told is %q, want %q", told, answered(text))
			}
			reply := list[len(list)-2].part()
			if str(reply.message.Backend) != "c" {
				t.Errorf("answered by %s", str(reply.message.Backend))
			}
			for _, e := range list[1 : len(list)-2] {
				if id := e.data; !strings.Contains(id, reply.message.ID) {
					t.Errorf("a piece of another reply than %s: %s", reply.message.ID, e.data)
				}
			}
		}
	})
	h.counted("b", clients*rounds, 0)
	h.counted("c", 0, clients*rounds)
}

func s24(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for i, v := range []*vendor{s.a, s.b} {
		v.plays("always reset tail")
		route := []string{"solo", "pair"}[i]
		for range 20 {
			if text := whole(t, h.tell(route, "hello").rest()); text != answered("hello") {
				t.Errorf("told is %q", text)
			}
		}
		h.counted(v.name, 0, 20)
	}
	s.c.got(t, 0)
}

func s25(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	other := func(piece string) string { return strings.Replace(piece, `"index":0`, `"index":1`, 1) }
	another := func(piece string) string { return strings.Replace(piece, "chatcmpl-1", "chatcmpl-2", 1) }
	for _, foreign := range []func(string) string{other, another} {
		s.b.answers(func(w http.ResponseWriter, _ *http.Request) {
			var pieces []string
			for n, piece := range ofB.written(tokens(0, 10)) {
				pieces = append(pieces, piece, foreign(ofB.piece(fmt.Sprintf("foreign-%d ", n))))
			}
			tells(w, append(pieces, ofB.end)...)
		})
		if text := whole(t, h.tell("pair", "hello").rest()); text != strings.Join(tokens(0, 10), "") {
			t.Errorf("told is %q", text)
		}
	}
	h.log.awaits(t, "events of a stream were passed over", 2)
	if rows := s.query("SELECT id FROM messages WHERE text LIKE '%foreign%'"); len(rows) > 0 {
		t.Errorf("foreign text is stored in %v", rows)
	}
}

// r08 lets the probe be a stream that goes on.
func r08(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["a"].breaker = "failures: 5, open_for: 1s, probes: 1, interval: 60s"
	h := s.serve(c)
	h.opens(s.a)
	h.halfOpens("a")
	content, end := make(chan struct{}), make(chan struct{})
	s.a.answers(func(w http.ResponseWriter, _ *http.Request) {
		tells(w)
		<-content
		tells(w, ofA.piece("it lives "))
		<-end
		tells(w, ofA.piece("on"), ofA.end)
	})
	probe := make(chan *stream, 1)
	go func() { probe <- h.tell("solo", "hello") }()
	s.a.await(t, 6)
	h.first("solo", "meanwhile").problem(503, "breaker_open")
	close(content)
	f := <-probe
	f.lockStep("it lives ")
	h.breakerIs("a", "closed")
	s.a.front.Store(nil)
	h.first("solo", "and the others").turn()
	close(end)
	f.lockStep("on")
	if e, _ := f.next(); e.name != "reply" {
		t.Errorf("%s follows: %s", e.name, e.data)
	}
}

func c20(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	for _, accept := range []string{"application/json", "text/html", "*/*"} {
		whole(t, h.tell("solo", "hello", "Accept", accept).rest())
	}
	h.first("solo", "hello", "Accept", "application/json").turn()
}
