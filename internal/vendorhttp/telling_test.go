package vendorhttp_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

var head = vendorhttp.Answer{Status: 200}

// tell shows the field "text" of every object of a stream, to its end word.
func tell(body io.Reader, emit func(adapters.Delta) error) (*vendorhttp.Telling, error) {
	told := vendorhttp.NewTelling(body, head, "[DONE]", emit)
	for {
		data, err := told.Next()
		if errors.Is(err, io.EOF) {
			return told, told.Finish()
		}
		if err != nil {
			return told, told.Failure(err)
		}
		var object struct{ Text json.RawMessage }
		if err := json.Unmarshal(data, &object); err != nil {
			return told, err
		}
		if object.Text == nil {
			continue
		}
		if err := told.Say(string(object.Text)); err != nil {
			return told, told.Failure(err)
		}
	}
}

// watch collects what is shown.
func watch(shown *[]string) func(adapters.Delta) error {
	return func(d adapters.Delta) error { *shown = append(*shown, d.Text); return nil }
}

func say(pieces ...string) string {
	var b strings.Builder
	for _, p := range pieces {
		fmt.Fprintf(&b, "data: {\"text\":\"%s\"}\n\n", p)
	}
	return b.String()
}

const done = "data: [DONE]\n\n"

func TestEveryPieceIsShownAsItComes(t *testing.T) {
	var shown []string
	stream := ": hb\n\ndata:\n\n" + say("We ", "", "open\\n", "at <nine> & \\\"a\\\"") + done + say("never read")
	told, err := tell(strings.NewReader(stream), watch(&shown))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"We ", "open\n", "at <nine> & \"a\""}, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	if got := told.Text(); got != strings.Join(shown, "") || told.Skipped() != 0 {
		t.Errorf("text %q, %d passed over", got, told.Skipped())
	}
}

func TestNobodyNeedsToWatch(t *testing.T) {
	told, err := tell(strings.NewReader(say("We ", "open")+done), nil)
	if err != nil || told.Text() != "We open" || told.Shown() {
		t.Errorf("%q, shown %v, %v", told.Text(), told.Shown(), err)
	}
}

// A vendor that counts in UTF-16 or in bytes cuts characters in two.
func TestNoDeltaHoldsAPartOfACharacter(t *testing.T) { // S09
	const text = "aß你🙂\U0001F469\u200D\U0001F467\\\"e\u0301\U0010FFFF"
	var units []string // of UTF-16, escaped
	for _, u := range utf16.Encode([]rune(text)) {
		units = append(units, fmt.Sprintf(`\u%04X`, u))
	}
	quotable := strings.ReplaceAll(strings.ReplaceAll(text, `\`, ""), `"`, "")
	for _, c := range []struct {
		name, want string
		pieces     []string
	}{
		{"UTF-16 escapes", text, units},
		{"bytes", quotable, bytesOf(quotable)},
	} {
		for size := 1; size <= len(c.pieces); size++ {
			for offset := range size {
				var frames []string
				for rest := c.pieces; len(rest) > 0; {
					n := min(size, len(rest))
					if len(frames) == 0 && offset > 0 {
						n = min(offset, len(rest))
					}
					frames = append(frames, strings.Join(rest[:n], ""))
					rest = rest[n:]
				}
				var shown []string
				told, err := tell(strings.NewReader(say(frames...)+done), watch(&shown))
				if err != nil || told.Text() != c.want || strings.Join(shown, "") != c.want {
					t.Fatalf("%s in pieces of %d: %q, shown %q, %v; want %q", c.name, size, told.Text(), shown, err, c.want)
				}
				for _, d := range shown {
					if d == "" || !utf8.ValidString(d) || strings.ContainsRune(d, utf8.RuneError) {
						t.Fatalf("%s in pieces of %d: the delta %q of %q", c.name, size, d, shown)
					}
				}
			}
		}
	}
}

// bytesOf gives the bytes of a text, each as a text of its own.
func bytesOf(s string) (list []string) {
	for i := range len(s) {
		list = append(list, s[i:i+1])
	}
	return list
}

func TestPiecesAreCleanedAsTheWholeWouldBe(t *testing.T) { // U24
	for _, c := range []struct {
		name   string
		pieces []string
		want   []string
	}{
		{"NUL", []string{`a\u0000`, `\u0000b`}, []string{"a\ufffd", "\ufffdb"}},
		{"no UTF-8", []string{"a\xff", "\xfeb"}, []string{"a\ufffd", "\ufffdb"}},
		{"a character that never goes on", []string{"a\xf0\x9f", "b"}, []string{"a", "\ufffd\ufffdb"}},
		{"a character that never goes on at all", []string{"a\xf0\x9f"}, []string{"a", "\ufffd\ufffd"}},
		{"a high surrogate alone", []string{`a\ud83d`, `b`}, []string{"a", "\ufffdb"}},
		{"a high surrogate alone at the end", []string{`a\uD83D`, ``}, []string{"a", "\ufffd"}},
		{"two high surrogates", []string{`\ud83d`, `\ud83d`, `\ude42`}, []string{"\ufffd", "🙂"}},
		{"a low surrogate alone", []string{`a\ude42`, `b`}, []string{"a\ufffd", "b"}},
		{"the second half of a pair over an empty piece", []string{`\ud83d`, ``, `\ude42`}, []string{"🙂"}},
		{"a backslash before what looks like one", []string{`a\\ud83d`, `\\ude42`}, []string{`a\ud83d`, `\ude42`}},
		{"two backslashes before one", []string{`a\\\ud83d`, `\ude42`}, []string{`a\`, `🙂`}},
		{"half by byte, half by escape", []string{"\xf0\x9f", `\ude42`}, []string{"\ufffd\ufffd\ufffd"}},
		{"the highest that is no surrogate", []string{`\ud7ff`, `\ue000`}, []string{"\ud7ff", "\ue000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var shown []string
			told, err := tell(strings.NewReader(say(c.pieces...)+done), watch(&shown))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, shown); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if whole := normalize.UnquoteJSON(`"` + strings.Join(c.pieces, "") + `"`); told.Text() != whole {
				t.Errorf("in pieces %q, as one %q", told.Text(), whole)
			}
		})
	}
}

// FuzzPieces: however a text is cut into pieces, they join to what the whole is.
func FuzzPieces(f *testing.F) {
	for _, text := range []string{"", "a\xf0\x9f\x99\x82\\ud83d\\ude42\"", "\\ud83d\\\\ud83d\\ude42", "\xed\xa0\xbd\xed\xb9\x82", "\xf0\x9f\\ude42"} {
		f.Add([]byte(text), uint64(1))
		f.Add([]byte(text), uint64(7))
	}
	f.Fuzz(func(t *testing.T, inside []byte, seed uint64) {
		whole := `"` + string(inside) + `"`
		if !json.Valid([]byte(whole)) {
			t.Skip("no JSON string")
		}
		var shown []string
		told := vendorhttp.NewTelling(strings.NewReader(""), head, "", watch(&shown))
		piece := ""
		for rest := string(inside); rest != ""; {
			n := 1 // a byte or an escape
			if rest[0] == '\\' {
				n = 2
				if rest[1] == 'u' {
					n = 6
				}
			}
			piece, rest = piece+rest[:n], rest[n:]
			if seed = seed*6364136223846793005 + 1442695040888963407; seed>>62 == 0 || rest == "" {
				if err := told.Say(`"` + piece + `"`); err != nil {
					t.Fatal(err)
				}
				piece = ""
			}
		}
		if err := told.Finish(); err != nil {
			t.Fatal(err)
		}
		if want := normalize.UnquoteJSON(whole); told.Text() != want || strings.Join(shown, "") != want {
			t.Errorf("in pieces %q, as one %q", shown, want)
		}
	})
}

func TestAnAnswerThatEndsWithoutItsMarkIsAFailure(t *testing.T) {
	reset := errors.New("reset")
	for _, c := range []struct {
		name  string
		body  io.Reader
		kind  normalize.Kind // KindInternal: the error is reset
		phase normalize.Phase
		text  string
	}{
		{"nothing", strings.NewReader(""), normalize.KindTruncated, normalize.PhaseStatus, ""},
		{"comments and empty events", strings.NewReader(": hb\n\ndata:\n\n: hb\n\n"), normalize.KindTruncated, normalize.PhaseStatus, ""},
		{"words", strings.NewReader("data: hello\n\ndata: 7\n\n"), normalize.KindInvalidReply, normalize.PhaseStatus, ""},
		{"objects without text", strings.NewReader("data: {}\n\n"), normalize.KindTruncated, normalize.PhaseStatus, ""},
		{"after text", strings.NewReader(say("We ", "open")), normalize.KindTruncated, normalize.PhaseContent, "We open"},
		{"within the mark", strings.NewReader(say("We ", "open") + done[:len(done)-1]), normalize.KindTruncated, normalize.PhaseContent, "We open"},
		{"within a character", strings.NewReader(say(`open \ud83d`)), normalize.KindTruncated, normalize.PhaseContent, "open "},
		{"a broken object", strings.NewReader(say("We ") + "data: {\"text\":\n\n" + say("open") + done), normalize.KindInvalidReply, normalize.PhaseContent, "We "},
		{"a broken object first", strings.NewReader("data: {]}\n\n" + done), normalize.KindInvalidReply, normalize.PhaseStatus, ""},
		{"two objects in one event", strings.NewReader("data: {}{}\n\n" + done), normalize.KindInvalidReply, normalize.PhaseStatus, ""},
		{"nested without end", strings.NewReader("data: {\"a\":" + strings.Repeat("[", 200_000) + "\n\n"), normalize.KindInvalidReply, normalize.PhaseStatus, ""},
		{"a line over the limit", strings.NewReader(say("We ") + strings.Repeat("x", vendorhttp.MaxLine+1)), normalize.KindTooLarge, normalize.PhaseContent, "We "},
		{"the connection's error", io.MultiReader(strings.NewReader(say("We ")), iotest.ErrReader(reset)), normalize.KindInternal, 0, "We "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var shown []string
			told, err := tell(c.body, watch(&shown))
			var e *normalize.Error
			switch {
			case c.kind == normalize.KindInternal:
				if !errors.Is(err, reset) {
					t.Errorf("%v, want %v", err, reset)
				}
			case !errors.As(err, &e) || e.Kind != c.kind || e.Phase != c.phase || e.VendorStatus != 200:
				t.Errorf("%v, want %v in %v with the vendor's status", err, c.kind, c.phase)
			}
			if told.Text() != c.text || strings.Join(shown, "") != c.text {
				t.Errorf("text %q, shown %q, want %q", told.Text(), shown, c.text)
			}
		})
	}
}

func TestWordsAreCounted(t *testing.T) { // S08
	told, err := tell(strings.NewReader("data: ping\n\n"+say("We ")+"data: [1]\n\ndata: null\n\n: hb\n\ndata:\n\n"+say("open")+"data:  [DONE] \n\n"), nil)
	if err != nil || told.Text() != "We open" || told.Skipped() != 3 {
		t.Errorf("%q, %d passed over, %v; want 3", told.Text(), told.Skipped(), err)
	}
}

func TestTextIsTakenUpToTheLimit(t *testing.T) { // S12
	piece := strings.Repeat("x", 64<<10)
	whole := strings.Repeat(say(piece), vendorhttp.MaxText/len(piece))
	told, err := tell(strings.NewReader(whole+done), nil)
	if err != nil || len(told.Text()) != vendorhttp.MaxText {
		t.Errorf("%d bytes of text, %v; want all %d", len(told.Text()), err, vendorhttp.MaxText)
	}
	shown := 0
	told, err = tell(strings.NewReader(whole+say("y")+done), func(d adapters.Delta) error { shown += len(d.Text); return nil })
	var e *normalize.Error
	if !errors.As(err, &e) || e.Kind != normalize.KindTooLarge || e.Phase != normalize.PhaseContent || e.VendorStatus != 200 {
		t.Errorf("one byte more: %v, want %v", err, normalize.KindTooLarge)
	}
	if len(told.Text()) != vendorhttp.MaxText || shown != vendorhttp.MaxText {
		t.Errorf("one byte more: %d bytes of text, %d shown, want both at the limit", len(told.Text()), shown)
	}
}

func TestARefusedDeltaEndsTheAnswerWithThatError(t *testing.T) {
	gone := &normalize.Error{Kind: normalize.KindCanceled, Phase: normalize.PhaseStatus}
	calls := 0
	told, err := tell(strings.NewReader(say("We ", "open ", "at nine")+done), func(adapters.Delta) error {
		if calls++; calls == 2 {
			return gone
		}
		return nil
	})
	var got *normalize.Error
	if !errors.As(err, &got) || got != gone || gone.Phase != normalize.PhaseStatus || calls != 2 || told.Text() != "We open " {
		t.Errorf("%v after %d deltas, text %q; want the error that emit gave, unchanged", err, calls, told.Text())
	}

	reply := adapters.Reply{Messages: []normalize.Message{{Text: "We open", Status: normalize.StatusComplete}}}
	kept, err := vendorhttp.ShowWhole(reply, func(adapters.Delta) error { return gone })
	if !errors.As(err, &got) || got != gone || kept.Messages[0].Status != normalize.StatusIncomplete {
		t.Errorf("%v and %s, want the error that emit gave and an incomplete message", err, kept.Messages[0].Status)
	}
}

func TestAnAnswerInOnePieceIsOneDelta(t *testing.T) { // S15
	reply := adapters.Reply{Messages: []normalize.Message{{Text: "We open", Status: normalize.StatusComplete}}}
	var shown []string
	for _, emit := range []func(adapters.Delta) error{nil, watch(&shown)} {
		got, err := vendorhttp.ShowWhole(reply, emit)
		if diff := cmp.Diff(reply, got); err != nil || diff != "" {
			t.Errorf("%v, and the reply changed:\n%s", err, diff)
		}
	}
	if diff := cmp.Diff([]string{"We open"}, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
}

// The vendor goes on only when its first event was read.
func TestAGzippedStreamIsDecodedAsItComes(t *testing.T) { // S14
	read := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		for _, event := range []string{say("We "), say("open") + done} {
			_, _ = io.WriteString(zip, event)
			_ = zip.Flush()
			w.(http.Flusher).Flush()
			select {
			case <-read:
			case <-r.Context().Done():
				return
			}
		}
		_ = zip.Close()
	})
	stream, err := client(t, s.URL, nil).Open(t.Context(), send)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.EventStream() {
		t.Error("the answer is not seen to be a stream")
	}
	told, err := tell(stream, func(d adapters.Delta) error {
		if d.Text == "We " {
			close(read)
		}
		return nil
	})
	if err != nil || told.Text() != "We open" {
		t.Errorf("%q, %v", told.Text(), err)
	}
}

func TestOnlyAnEventStreamIsOne(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/event-stream": true, "Text/Event-Stream;charset=UTF-8": true,
		"": false, "application/json": false, "text/html": false, "text/plain": false, "text/event-stream-like": false, ";": false,
	} {
		s := vendorhttp.Stream{Header: http.Header{"Content-Type": {contentType}}}
		if got := s.EventStream(); got != want {
			t.Errorf("%q: %v", contentType, got)
		}
	}
}

// The vendor ends the body when it has seen that its end mark was read.
func TestAConnectionIsUsedAgainAfterAStream(t *testing.T) {
	var conns atomic.Int64
	end := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, say("We open")+done)
		w.(http.Flusher).Flush()
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := client(t, s.URL, nil)
	const calls = 20
	for range calls {
		stream, err := c.Open(t.Context(), send)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tell(stream, nil); err != nil {
			t.Fatal(err)
		}
		end <- struct{}{}
		stream.Drain()
		stream.Close()
	}
	// Draining gives up on a vendor that is slow to end, and so it may on a slow machine.
	if n := conns.Load(); n > calls/2 {
		t.Errorf("%d streams in a row took %d connections", calls, n)
	}
}

func TestDrainingDoesNotWaitForAVendorThatGoesOn(t *testing.T) {
	for name, goOn := range map[string]func(net.Conn){
		"in silence": silence,
		"for ever": func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, ": hb\n\n"); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{})
			base := raw(t, func(conn net.Conn) {
				answering("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + say("We open") + done)(conn)
				goOn(conn)
				close(left)
			})
			stream, err := client(t, base, nil).Open(t.Context(), send)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tell(stream, nil); err != nil {
				t.Fatal(err)
			}
			stream.Drain()
			stream.Close()
			<-left
		})
	}
}

// BenchmarkTelling is one delta of a stream: read, parsed, cleaned, kept, shown.
func BenchmarkTelling(b *testing.B) {
	for name, piece := range map[string]string{"plain": "We open ", "escapes": `open\n\n`, "halves": `\ud83d`} {
		b.Run(name, func(b *testing.B) {
			literal := `"` + piece + `"`
			new := func() *vendorhttp.Telling {
				return vendorhttp.NewTelling(forever(say(piece)), head, "", func(adapters.Delta) error { return nil })
			}
			told := new()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := told.Next(); err != nil {
					b.Fatal(err)
				}
				if told.Say(literal) != nil { // the limit of the text: begin another answer
					told = new()
				}
			}
		})
	}
}
