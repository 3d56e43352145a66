package adaptertest

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"chatmux/adapters"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// streamed gives the cases of Send that are cases of Stream, too: Stream promises
// all that Send does.
func streamed(cases []promise) []promise {
	var list []promise
	for _, c := range cases {
		if !c.twice {
			continue
		}
		talent := c.talent
		c.name += "_streamed"
		c.promise = "streamed, too: " + c.promise
		c.streams, c.offline = true, false
		c.talent = func(a adapters.Adapter) bool {
			return adapters.Has[adapters.Streamer](a) && (talent == nil || talent(a))
		}
		list = append(list, c)
	}
	return list
}

// give gives the adapter a turn: by Send, or by Stream, which is then held to what
// it promises of all that it shows.
func (b *bench) give(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	if !b.streams {
		return b.adapter.Send(ctx, turn)
	}
	reply, _, err := b.watch(ctx, turn, nil)
	return reply, err
}

// watch streams a turn and gives what was shown, piece by piece. Each may be nil;
// else it is told what was shown so far and may refuse it. Where the deltas do not
// fit the reply or the error, that is the error.
func (b *bench) watch(ctx context.Context, turn adapters.Turn, each func(shown []string) error) (adapters.Reply, []string, error) {
	var shown []string
	var busy atomic.Bool
	var broken, refused error
	reply, err := talent[adapters.Streamer](b.adapter).Stream(ctx, turn, func(d adapters.Delta) error {
		if !busy.CompareAndSwap(false, true) {
			return errors.New("two deltas at once")
		}
		defer busy.Store(false)
		switch {
		case refused != nil:
			broken = errors.New("a delta was shown after one was refused")
		case d.Text == "":
			broken = errors.New("an empty delta was shown")
		case !utf8.ValidString(d.Text) || strings.ContainsRune(d.Text, 0):
			broken = fmt.Errorf("a delta was shown that is not clean: %q", d.Text)
		}
		shown = append(shown, d.Text)
		if each != nil {
			refused = each(shown)
		}
		return refused
	})
	switch {
	case broken != nil:
		err = broken
	case refused != nil && err != refused: //nolint:errorlint // wrapped it would be another error
		err = fmt.Errorf("emit returned %v, and Stream %v", refused, err)
	default:
		if misfit := fits(shown, reply, err); misfit != nil {
			err = misfit
		}
	}
	return reply, shown, err
}

// fits compares what was shown with what Stream returned. What it returns does not
// wrap that error, which a case may be waiting for.
func fits(shown []string, reply adapters.Reply, err error) error {
	text := strings.Join(shown, "")
	var told string
	for _, m := range reply.Messages {
		told += m.Text
	}
	var failure *normalize.Error
	late := errors.As(err, &failure) && failure.Phase == normalize.PhaseContent
	switch {
	case told != text:
		return fmt.Errorf("what was shown is not what is kept (%v):\nshown %s\n kept %s", err, excerpt(text), excerpt(told))
	case len(reply.Messages) > 1 || len(reply.Messages) == 1 && text == "":
		return fmt.Errorf("%d deltas became %d messages (%v)", len(shown), len(reply.Messages), err)
	case failure != nil && late != (len(shown) > 0):
		return fmt.Errorf("after %d deltas the phase is %s (%v)", len(shown), failure.Phase, err)
	}
	return nil
}

// retelling stands before a twin, remembers what it streams, and may tell it in
// another way. The requests themselves reach the twin as they are.
type retelling struct {
	twin     http.Handler
	recorded atomic.Pointer[string]
	tell     atomic.Pointer[func(out *outlet, stream string)]
}

// outlet is where a retold stream goes.
type outlet struct {
	w http.ResponseWriter
	r *http.Request
}

// write sends bytes at once.
func (o *outlet) write(text string) {
	if _, err := io.WriteString(o.w, text); err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = http.NewResponseController(o.w).Flush()
}

// zipped compresses what is written, and makes the end of it.
func (o *outlet) zipped() (write func(string), end func()) {
	o.w.Header().Set("Content-Encoding", "gzip")
	zip := gzip.NewWriter(o.w)
	return func(text string) {
		_, _ = io.WriteString(zip, text) // where the client has left, the next write of the outlet says so
		_ = zip.Flush()
		o.write("")
	}, func() { _ = zip.Close() }
}

// await waits until a moment has come, or the client has left.
func (o *outlet) await(moment <-chan struct{}) {
	select {
	case <-moment:
	case <-o.r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (t *retelling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	t.twin.ServeHTTP(recorder, r)
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	body := recorder.Body.String()
	tell := t.tell.Load()
	if !strings.HasPrefix(recorder.Header().Get("Content-Type"), "text/event-stream") {
		tell = nil
	} else {
		t.recorded.Store(&body)
	}
	if tell != nil {
		(*tell)(&outlet{w, r}, body)
		return
	}
	w.WriteHeader(recorder.Code)
	_, _ = io.WriteString(w, body)
}

// as tells all further streams so.
func (t *retelling) as(tell func(out *outlet, stream string)) { t.tell.Store(&tell) }

// retold starts the twin anew behind a retelling, lets a first text be streamed in
// a conversation, and gives what was streamed and shown. Told again, it is a good
// answer to any further text of that conversation.
func (b *bench) retold(text string) (t *retelling, c *conversation, stream string, shown []string, err error) {
	t = new(retelling)
	if err := b.serve(func(twin http.Handler) http.Handler { t.twin = twin; return t }); err != nil {
		return nil, nil, "", nil, err
	}
	ctx := context.Background()
	if c, err = b.begin(ctx); err != nil {
		return nil, nil, "", nil, err
	}
	reply, shown, err := b.watch(ctx, b.turn(c, text), nil)
	if err != nil {
		return nil, nil, "", nil, fmt.Errorf("healthy stream: %w", err)
	}
	c.learn(reply.Remote)
	if t.recorded.Load() == nil {
		return nil, nil, "", nil, errors.New("the vendor was not asked for a stream, or its twin has none")
	}
	return t, c, *t.recorded.Load(), shown, b.said(reply, b.Answer(1, text, text))
}

// hears streams a further text, whatever it is answered with.
func (b *bench) hears(c *conversation) (adapters.Reply, []string, error) {
	return b.watch(context.Background(), b.turn(c, "and now?"), nil)
}

// hearsAll does it and checks that the answer is whole, and as it was recorded.
func (b *bench) hearsAll(c *conversation, want []string) error {
	reply, shown, err := b.hears(c)
	switch {
	case err != nil:
		return err
	case !slices.Equal(shown, want):
		return fmt.Errorf("shown was %.300q, want %.300q", shown, want)
	}
	return b.said(reply, strings.Join(want, ""))
}

// hearsPart does it and checks that it fails as it should, with no more shown than
// the beginning of the answer.
func (b *bench) hearsPart(c *conversation, whole []string, want wantError) error {
	reply, shown, err := b.hears(c)
	if err := want.check(reply, err); err != nil {
		return err
	}
	if text := strings.Join(shown, ""); !strings.HasPrefix(strings.Join(whole, ""), text) {
		return fmt.Errorf("shown was %s, which is no part of the answer", excerpt(text))
	}
	return nil
}

// broke is a failure of a stream; fits has judged the phase.
func broke(kinds ...normalize.Kind) wantError { return wantError{kinds: kinds, phase: anyPhase} }

// eventsOf cuts a twin's stream into its events.
func eventsOf(stream string) []string {
	list := strings.SplitAfter(stream, "\n\n")
	return list[:len(list)-1]
}

// manyScripts is a text in which every character has another length.
const manyScripts = "Grüße 你好 😀👩‍👧 \"quoted\" \\ e\u0301"

// forms are ways to write an event stream down; each is the same stream.
var forms = []struct {
	name  string
	write func(stream string) string
}{
	{"as it is", func(s string) string { return s }},
	{"CRLF", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }},
	{"CR", func(s string) string { return strings.ReplaceAll(s, "\n", "\r") }},
	{"mixed ends", func(s string) string {
		ends := []string{"\n", "\r\n", "\r"}
		var b strings.Builder
		for i, line := range strings.SplitAfter(s, "\n") {
			b.WriteString(strings.ReplaceAll(line, "\n", ends[i/2%len(ends)]))
		}
		return b.String()
	}},
	{"byte order mark", func(s string) string { return "\ufeff" + s }},
	{"byte order mark and CRLF", func(s string) string { return "\ufeff" + strings.ReplaceAll(s, "\n", "\r\n") }},
	{"no space after the colon", func(s string) string { return strings.ReplaceAll(s, "data: ", "data:") }},
	{"several data lines", func(s string) string { return strings.ReplaceAll(s, "data: {", "data: {\ndata: \ndata:") }},
	{"several data lines with CRLF", func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "data: {", "data: {\ndata:"), "\n", "\r\n")
	}},
	{"comments", func(s string) string { return ": hello\n\n" + strings.ReplaceAll(s, "\n\n", "\n: hb\n\n: hb\n\n:\n") }},
	{"names, ids and retry", func(s string) string {
		return strings.ReplaceAll(s, "data:", "event: message\nid: 7\nretry: 10\ndata:")
	}},
	{"unknown fields", func(s string) string { return strings.ReplaceAll(s, "data:", "datas: {}\nfoo\nfoo: bar\ndata:") }},
	{"empty events", func(s string) string { return "\n\ndata:\n\n" + strings.ReplaceAll(s, "\n\n", "\n\ndata\n\n\n\n") }},
	{"a comment of 200 KiB", func(s string) string { return ": " + strings.Repeat("x", 200<<10) + "\n" + s }},
	{"spaces around", func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "data: ", "data:  \t"), "\n\n", " \n\n")
	}},
	{"all at once", func(s string) string {
		s = "\ufeff: hello\n\n" + strings.ReplaceAll(s, "data: {", "event: x\ndata:{\ndata:")
		return strings.ReplaceAll(s, "\n", "\r\n")
	}},
}

var streamCases = withTalent(adapters.Has[adapters.Streamer], []promise{
	{
		name:    "stream_is_the_answer",
		promise: "a stream ends in the reply that Send gives, and shows its text in more than one piece",
		because: "who watches must see what is stored, and see it before it is all there",
		test: func(b *bench) error {
			ctx := context.Background()
			sending, err := b.begin(ctx)
			if err != nil {
				return err
			}
			want, err := b.send(ctx, sending, manyScripts)
			if err != nil {
				return err
			}
			watching, err := b.begin(ctx)
			if err != nil {
				return err
			}
			got, shown, err := b.watch(ctx, b.turn(watching, manyScripts), nil)
			switch {
			case err != nil:
				return err
			case len(shown) < 2:
				return fmt.Errorf("%d deltas, want several", len(shown))
			case got.Skipped != 0:
				return fmt.Errorf("of a healthy stream %d events were passed over", got.Skipped)
			}
			for _, r := range []*adapters.Reply{&want, &got} { // what two conversations do not share
				r.Remote = normalize.Remote{}
				for i := range r.Messages {
					r.Messages[i].RemoteID, r.Messages[i].CreatedAt, r.Messages[i].Raw = "", time.Time{}, nil
				}
			}
			if !reflect.DeepEqual(want, got) {
				return fmt.Errorf("Send gives %+v, Stream %+v", want, got)
			}
			return b.said(got, b.Answer(1, manyScripts, manyScripts))
		},
	},
	{
		name:    "streams_and_sends_share_a_conversation",
		promise: "what is streamed and what is sent is one conversation",
		because: "a client may change from one to the other with every message",
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			for i, text := range []string{"I am Rosa.", "two", "three", "four"} {
				turn := b.turn(c, text)
				b.streams = i%2 == 0
				reply, err := b.send(ctx, c, text)
				if err == nil {
					err = b.said(reply, b.Answer(i+1, "I am Rosa.", text))
				}
				if err != nil {
					return fmt.Errorf("turn %d, streamed: %v: %w", i+1, b.streams, err)
				}
				if i > 0 && c.remote != turn.Remote {
					return fmt.Errorf("the remote ids were %+v and became %+v", turn.Remote, c.remote)
				}
			}
			return nil
		},
	},
	{
		name:    "deltas_come_as_they_are_told",
		promise: "each piece is shown when its last byte has arrived, also of a compressed stream",
		because: "a text that is shown when it is whole could as well have been sent whole",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold(manyScripts)
			if err != nil {
				return err
			}
			// How many deltas the vendor has told with so many events shows where it stops.
			list := eventsOf(stream)
			due := make([]int, len(list))
			for n := range due {
				told.as(func(out *outlet, _ string) { out.write(strings.Join(list[:n], "")) })
				_, shown, _ := b.hears(c) // another case judges how it ends
				due[n] = len(shown)
			}
			if last := due[len(due)-1]; last < len(whole)-1 {
				return fmt.Errorf("without its last event %d of %d deltas are shown", last, len(whole))
			}
			return each([]bool{false, true}, func(zipped bool) string { return fmt.Sprint("compressed: ", zipped) }, func(zipped bool) error {
				seen := make([]chan struct{}, len(whole)+1)
				for i := range seen {
					seen[i] = make(chan struct{})
				}
				close(seen[0])
				told.as(func(out *outlet, _ string) {
					send, end := out.write, func() {}
					if zipped {
						send, end = out.zipped()
					}
					for n, event := range list {
						out.await(seen[due[n]])
						send(event)
					}
					end()
				})
				return within("Stream", func() error {
					reply, _, err := b.watch(context.Background(), b.turn(c, "and now?"), func(shown []string) error {
						if len(shown) < len(seen) {
							close(seen[len(shown)])
						}
						return nil
					})
					if err != nil {
						return err
					}
					return b.said(reply, strings.Join(whole, ""))
				})
			})
		},
	},
	{
		name:    "stream_in_any_pieces",
		promise: "in whatever pieces the bytes of a stream come, the answer is the same, no character of it is broken, and so are its deltas",
		because: "TCP promises bytes, not packets, and a character can be longer than a packet's rest",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold(manyScripts)
			if err != nil {
				return err
			}
			// The pauses make it likely that the pieces are also read apart. Nothing
			// waits for that: an answer that is whole by chance is no failure.
			const pause = 50 * time.Microsecond
			told.as(func(out *outlet, _ string) {
				for i := range len(stream) {
					out.write(stream[i : i+1])
					time.Sleep(pause)
				}
			})
			if err := b.hearsAll(c, whole); err != nil {
				return fmt.Errorf("byte by byte: %w", err)
			}
			for n := range len(stream) {
				if n%8 != 0 && !delicate(stream, n) {
					continue
				}
				told.as(func(out *outlet, _ string) {
					out.write(stream[:n])
					time.Sleep(pause)
					out.write(stream[n:])
				})
				if err := b.hearsAll(c, whole); err != nil {
					return fmt.Errorf("cut at byte %d: %w", n, err)
				}
			}
			return nil
		},
	},
	{
		name:    "stream_in_any_form",
		promise: "in whatever form the standard of event streams allows, the answer is the same",
		because: "vendors use whatever server they use, and change it",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold(manyScripts)
			if err != nil {
				return err
			}
			for _, form := range forms {
				told.as(func(out *outlet, _ string) { out.write(form.write(stream)) })
				if err := b.hearsAll(c, whole); err != nil {
					return fmt.Errorf("%s: %w", form.name, err)
				}
			}
			return nil
		},
	},
	{
		name:    "cut_stream_is_never_whole",
		promise: "a stream that is cut anywhere, by a clean end or a broken one, is truncated, and what was shown is kept as incomplete",
		because: "half an answer that looks whole is worse than none",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			for n := range len(stream) {
				for _, clean := range []bool{true, false} {
					if !clean && n%7 != 0 { // costs a connection each
						continue
					}
					told.as(func(out *outlet, _ string) {
						out.write(stream[:n])
						if !clean {
							panic(http.ErrAbortHandler)
						}
					})
					if err := b.hearsPart(c, whole, broke(normalize.KindTruncated)); err != nil {
						return fmt.Errorf("cut at byte %d of %d, with a clean end: %v: %w", n, len(stream), clean, err)
					}
				}
			}
			told.as(func(out *outlet, _ string) { out.write(stream) })
			return b.hearsAll(c, whole)
		},
	},
	{
		name:    "end_mark_counts_however_it_ends",
		promise: "a stream with its end mark is whole, whether the connection is then reset, stays silent, or goes on",
		because: "the vendor has said that it is done, and nobody should wait for more",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			b.server.Script(sandbox.MustScript("reset tail")...)
			if err := within("Stream", func() error {
				_, _, err := b.hears(c) // the twin's own answer to the text
				return err
			}); err != nil {
				return fmt.Errorf("reset: %w", err)
			}
			for name, more := range map[string]func(*outlet){
				"silence":       func(out *outlet) { out.await(nil) },
				"the same":      func(out *outlet) { out.write(stream); out.await(nil) },
				"an object":     func(out *outlet) { out.write("data: {\"a\":1}\n\n"); out.await(nil) },
				"a broken one":  func(out *outlet) { out.write("data: {\"a\":\n\n"); panic(http.ErrAbortHandler) },
				"a broken body": func(*outlet) { panic(http.ErrAbortHandler) },
			} {
				told.as(func(out *outlet, _ string) {
					out.write(stream)
					more(out)
				})
				if err := within("Stream", func() error { return b.hearsAll(c, whole) }); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		},
	},
	{
		name:    "comments_are_no_content",
		promise: "of a stream of comments and empty events nothing is shown, and it ends with the deadline's cause",
		because: "what says nothing must not commit us to that vendor, nor hold us for ever",
		test: func(b *bench) error {
			told, c, _, _, err := b.retold("hello")
			if err != nil {
				return err
			}
			told.as(func(out *outlet, _ string) {
				for {
					out.write(": hb\n\ndata:\n\nevent: ping\n\n")
				}
			})
			ctx, cancel := context.WithTimeoutCause(context.Background(), 100*time.Millisecond, &normalize.Error{Kind: normalize.KindTimeout})
			defer cancel()
			err = within("Stream", func() error {
				reply, shown, err := b.watch(ctx, b.turn(c, "and now?"), nil)
				if len(shown) > 0 {
					return fmt.Errorf("shown was %q", shown)
				}
				return answered(normalize.KindTimeout).check(reply, err)
			})
			return errors.Join(err, b.peerLeft())
		},
	},
	{
		name:    "stalled_stream_is_a_timeout",
		promise: "a stream that stops coming is given up after the idle limit, what was shown is kept, and the vendor sees the connection close",
		because: "a stalled vendor would hold its callers for ever",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			hasty := roomy
			hasty.Idle = 50 * time.Millisecond
			impatient, err := b.with(hasty)
			if err != nil {
				return err
			}
			for n := range eventsOf(stream) {
				told.as(func(out *outlet, _ string) {
					out.write(strings.Join(eventsOf(stream)[:n], ""))
					out.await(nil)
				})
				if err := within("Stream", func() error { return impatient.hearsPart(c, whole, broke(normalize.KindTimeout)) }); err != nil {
					return fmt.Errorf("after %d events: %w", n, err)
				}
			}
			return b.peerLeft()
		},
	},
	{
		name:    "error_within_a_stream_has_its_kind",
		promise: "an error that the vendor tells in its stream is of its kind: before the content nothing was shown, after it that is kept",
		because: "an overloaded vendor is as overloaded with status 200",
		test: func(b *bench) error {
			if len(b.StreamErrors) == 0 {
				return errors.New("the vendor's test names no StreamErrors")
			}
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			for _, failure := range b.StreamErrors {
				for n := range eventsOf(stream) {
					told.as(func(out *outlet, _ string) {
						out.write(inserted(stream, n, "data: "+failure.Data+"\n\n"))
					})
					reply, shown, err := b.hears(c)
					switch {
					case n == 0 && len(shown) > 0:
						err = fmt.Errorf("shown was %q", shown)
					case err != nil && leak(err, b.Key) != "":
						err = fmt.Errorf("the key is in %s of the error", leak(err, b.Key))
					default:
						err = broke(failure.Kind).check(reply, err)
					}
					if err == nil && !strings.HasPrefix(strings.Join(whole, ""), strings.Join(shown, "")) {
						err = fmt.Errorf("shown was %q", shown)
					}
					if err != nil {
						return fmt.Errorf("%s after %d events: %w", failure.Data, n, err)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "broken_event_ends_a_stream",
		promise: "an event that begins as an object and does not parse is an invalid reply, whatever follows",
		because: "a piece of the text was lost, and nobody can see which",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			for n := range eventsOf(stream) {
				for _, data := range []string{`{`, `{"a":`, `{"a":1}}`, `{} {}`, `{'a':1}`, "{\ndata: ]", "{\"a\":" + strings.Repeat("[", 20_000)} {
					told.as(func(out *outlet, _ string) { out.write(inserted(stream, n, "data: "+data+"\n\n")) })
					if err := b.hearsPart(c, whole, broke(normalize.KindInvalidReply)); err != nil {
						return fmt.Errorf("%.20q after %d events: %w", data, n, err)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "words_in_a_stream_are_passed_over",
		promise: "an event that is no JSON object is passed over and counted, and the answer is whole",
		because: "servers in between write that they are alive",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			for n := range eventsOf(stream) {
				told.as(func(out *outlet, _ string) {
					out.write(inserted(stream, n, "data: ping\n\ndata: 17\n\ndata: \"x\"\n\ndata: still\ndata: here\n\n"))
				})
				reply, shown, err := b.hears(c)
				switch {
				case err != nil:
				case !slices.Equal(shown, whole):
					err = fmt.Errorf("shown was %q, want %q", shown, whole)
				case reply.Skipped != 4:
					err = fmt.Errorf("%d events were counted, want 4", reply.Skipped)
				}
				if err != nil {
					return fmt.Errorf("after %d events: %w", n, err)
				}
			}
			told.as(func(out *outlet, _ string) { out.write("data: hello\n\ndata: 17\n\n") })
			return b.hearsPart(c, whole, broke(normalize.KindInvalidReply))
		},
	},
	{
		name:    "another_answer_is_not_mixed_in",
		promise: "events of another answer, or of another conversation, are passed over and counted, or make an invalid reply; they are never shown",
		because: "two answers in one are none, and the other may be another person's",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			for _, data := range b.StreamStrays {
				if !strings.Contains(data, Stray) {
					return fmt.Errorf("%s does not say %s", data, Stray)
				}
				for n := 1; n < len(eventsOf(stream)); n++ {
					told.as(func(out *outlet, _ string) { out.write(inserted(stream, n, "data: "+data+"\n\n")) })
					reply, shown, err := b.hears(c)
					switch {
					case strings.Contains(fmt.Sprint(shown, reply.Messages), Stray):
						err = fmt.Errorf("shown was %q", shown)
					case err != nil:
						err = broke(normalize.KindInvalidReply).check(reply, err)
					case !slices.Equal(shown, whole) || reply.Skipped == 0:
						err = fmt.Errorf("shown was %q, %d events were counted", shown, reply.Skipped)
					}
					if err != nil {
						return fmt.Errorf("%s after %d events: %w", data, n, err)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "characters_in_halves_are_joined",
		promise: "a character whose halves come in two events is shown once it is whole",
		because: "a vendor that counts in UTF-16 or in bytes cuts between them",
		test: func(b *bench) error {
			const one, other = "§", "¤"
			for name, halves := range map[string][2]string{"a surrogate pair": {`\ud83d`, `\ude00`}, "bytes": {"\xf0\x9f", "\x98\x80"}} {
				err := b.serve(rewritten(func(body []byte) []byte {
					return []byte(strings.NewReplacer(one, halves[0], other, halves[1]).Replace(string(body)))
				}))
				if err != nil {
					return err
				}
				for before := range 12 { // where the vendor cuts depends on where they stand
					text := strings.Repeat("x", before) + one + other
					c, err := b.begin(context.Background())
					if err != nil {
						return err
					}
					reply, _, err := b.watch(context.Background(), b.turn(c, text), func(shown []string) error {
						if last := shown[len(shown)-1]; strings.ContainsRune(last, utf8.RuneError) {
							return fmt.Errorf("half a character was shown: %q", last)
						}
						return nil
					})
					if err == nil {
						err = b.said(reply, strings.ReplaceAll(b.Answer(1, text, text), one+other, "😀"))
					}
					if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "long_lines_are_bounded",
		promise: "a line of 200 KiB is read; one of 300 KiB, and an event of 2 MiB, are too large",
		because: "reading must neither stop at some buffer's size without a word nor go on for ever",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			line := func(size int) string { return "data: " + strings.Repeat("x", size) + "\n" }
			for n := range eventsOf(stream) {
				told.as(func(out *outlet, _ string) { out.write(inserted(stream, n, line(200<<10)+"\n")) })
				if reply, shown, err := b.hears(c); err != nil || !slices.Equal(shown, whole) || reply.Skipped != 1 {
					return fmt.Errorf("a line of 200 KiB after %d events: shown was %q, %d passed over, %w", n, shown, reply.Skipped, orNothing(err))
				}
				for name, long := range map[string]string{
					"a line": line(300 << 10), "a comment": ":" + line(300<<10), "an event": strings.Repeat(line(100<<10), 20),
				} {
					told.as(func(out *outlet, _ string) { out.write(inserted(stream, n, long+"\n")) })
					if err := b.hearsPart(c, whole, broke(normalize.KindTooLarge)); err != nil {
						return fmt.Errorf("%s after %d events: %w", name, n, err)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "endless_answer_is_cut",
		promise: "an answer without end is cut at 4 MiB of text: too large, all that was shown is kept, and the vendor sees the connection close",
		because: "one vendor gone wild must not eat the memory of all",
		test: func(b *bench) error {
			// The text is in the middle of the answer, so what is repeated has much of it.
			text := strings.Repeat("😀", 40<<10)
			told, c, stream, _, err := b.retold(text)
			if err != nil {
				return err
			}
			list := eventsOf(stream)
			longest := slices.MaxFunc(list, func(a, b string) int { return len(a) - len(b) })
			told.as(func(out *outlet, _ string) {
				for out.write(list[0]); ; {
					out.write(longest)
				}
			})
			return within("Stream", func() error {
				reply, shown, err := b.hears(c)
				if err := broke(normalize.KindTooLarge).check(reply, err); err != nil {
					return err
				}
				if size := len(strings.Join(shown, "")); size > 4<<20 || size < 3<<20 {
					return fmt.Errorf("%d bytes were shown, want nearly 4 MiB", size)
				}
				return b.peerLeft()
			})
		},
	},
	{
		name:    "plain_answer_to_a_stream_request",
		promise: "a vendor that answers in one piece although a stream was asked for gives one delta and the reply",
		because: "a server in between may not know streams",
		test: func(b *bench) error {
			var recorded atomic.Pointer[httptest.ResponseRecorder]
			var replay atomic.Bool
			err := b.serve(func(twin http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					answer := httptest.NewRecorder()
					twin.ServeHTTP(answer, r)
					if replay.Load() {
						answer = recorded.Load()
					}
					recorded.Store(answer)
					for name, values := range answer.Header() {
						w.Header()[name] = values
					}
					w.WriteHeader(answer.Code)
					_, _ = w.Write(answer.Body.Bytes())
				})
			})
			if err != nil {
				return err
			}
			c, err := b.talk(context.Background(), "hello")
			if err != nil {
				return err
			}
			replay.Store(true)
			reply, shown, err := b.hears(c)
			if err != nil {
				return err
			}
			if len(shown) != 1 {
				return fmt.Errorf("%d deltas, want one", len(shown))
			}
			return b.said(reply, b.Answer(1, "hello", "hello"))
		},
	},
	{
		name:    "refused_delta_ends_a_stream",
		promise: "an error of emit ends the stream with that error, what was shown is kept as incomplete, and the vendor sees the connection close",
		because: "whoever watched has left, and only who watches knows what that means",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			told.as(func(out *outlet, _ string) {
				out.write(strings.TrimSuffix(stream, "\n")) // all but its end
				out.await(nil)
			})
			for n := 1; n < len(whole); n++ {
				b.server.ResetLedger()
				left := errors.New("the client left")
				err := within("Stream", func() error {
					reply, shown, err := b.watch(context.Background(), b.turn(c, "and now?"), func(shown []string) error {
						if len(shown) == n {
							return left
						}
						return nil
					})
					switch {
					case !errors.Is(err, left):
						return fmt.Errorf("the error is another one: %w", orNothing(err))
					case len(shown) != n:
						return fmt.Errorf("%d deltas were shown", len(shown))
					case len(reply.Messages) != 1 || reply.Messages[0].Status != normalize.StatusIncomplete:
						return fmt.Errorf("kept is %+v, want one incomplete message", reply.Messages)
					}
					return b.peerLeft()
				})
				if err != nil {
					return fmt.Errorf("delta %d refused: %w", n, err)
				}
			}
			return nil
		},
	},
	{
		name:    "caller_gone_within_a_stream",
		promise: "a stream whose context is cancelled returns at once as canceled, what was shown is kept, and the vendor sees the connection close",
		because: "nobody waits for the rest any more, and the vendor should not go on for nobody",
		test: func(b *bench) error {
			told, c, stream, whole, err := b.retold("hello")
			if err != nil {
				return err
			}
			told.as(func(out *outlet, _ string) {
				out.write(strings.TrimSuffix(stream, "\n"))
				out.await(nil)
			})
			for n := 1; n < len(whole); n++ {
				b.server.ResetLedger()
				ctx, cancel := context.WithCancelCause(context.Background())
				err := within("Stream after its context ended", func() error {
					reply, shown, err := b.watch(ctx, b.turn(c, "and now?"), func(shown []string) error {
						if len(shown) == n {
							cancel(errors.New("the client left"))
						}
						return nil
					})
					if len(shown) < n {
						return fmt.Errorf("%d deltas were shown (%w)", len(shown), orNothing(err))
					}
					return errors.Join(broke(normalize.KindCanceled).check(reply, err), b.peerLeft())
				})
				cancel(nil)
				if err != nil {
					return fmt.Errorf("left at delta %d: %w", n, err)
				}
			}
			return nil
		},
	},
})

// delicate reports whether a cut at a byte is beside the end of a line, or within a
// character or beside one that has more than one byte.
func delicate(stream string, n int) bool {
	const around = 2
	return strings.ContainsFunc(stream[max(n-around, 0):min(n+around, len(stream))], func(r rune) bool { return r == '\n' || r >= utf8.RuneSelf })
}

// withTalent makes cases of a talent.
func withTalent(talent func(adapters.Adapter) bool, cases []promise) []promise {
	for i := range cases {
		cases[i].talent = talent
	}
	return cases
}

// inserted puts a piece into a stream, after n of its events.
func inserted(stream string, n int, piece string) string {
	list := eventsOf(stream)
	return strings.Join(list[:n], "") + piece + strings.Join(list[n:], "")
}
