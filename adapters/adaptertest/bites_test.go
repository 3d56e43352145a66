package adaptertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

func TestModelVendorKeepsEveryPromise(t *testing.T) { Run(t, modelVendor(nil)) }

// TestSuiteNamesThePromiseThatIsBroken breaks the model vendor in one way at a
// time, and looks whether the case that is there for it fails.
func TestSuiteNamesThePromiseThatIsBroken(t *testing.T) {
	forever := make(chan struct{})
	t.Cleanup(func(d time.Duration) func() {
		return func() { patience = d; close(forever) }
	}(patience))
	patience = 200 * time.Millisecond

	for _, mutant := range []struct {
		name   string
		breaks string // the cases that must fail, a space between them
		change func(*model)
		vendor func(*Vendor)
	}{
		{name: "tries a failed send again", breaks: "status_to_kind broken_connection wrong_answer_is_a_failure", change: func(m *model) {
			m.request = func(ctx context.Context, body []byte) (vendorhttp.Answer, error) {
				call := vendorhttp.Call{Method: http.MethodPost, Path: "/messages", Body: body}
				answer, err := m.client.Do(ctx, call)
				if err == nil {
					_, err = decodeModel(answer)
				}
				if err != nil && ctx.Err() == nil {
					answer, err = m.client.Do(ctx, call)
				}
				return answer, err
			}
		}},
		{name: "makes a second request", breaks: "one_request", change: func(m *model) {
			m.before = func(ctx context.Context, m *model) {
				_, _ = m.client.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/threads/x/mode/ai"})
			}
		}},
		{
			name: "takes HTML for silence", breaks: "wrong_answer_is_a_failure",
			change: onFailure(normalize.KindInvalidReply, func(*normalize.Error) error { return nil }),
		},
		{name: "takes an empty object for an empty reply", breaks: "wrong_answer_is_a_failure", change: func(m *model) {
			m.decode = func(a vendorhttp.Answer) (said modelAnswer, err error) {
				said, err = decodeModel(a)
				if err != nil && a.Object() == nil {
					nothing := ""
					return modelAnswer{Thread: &nothing, Reply: &nothing}, nil
				}
				return said, err
			}
		}},
		{name: "takes a cut text for a whole one", breaks: "cut_answer_is_a_failure", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil && e.Kind == normalize.KindTruncated {
					r.Messages = []normalize.Message{spoken("You sa")}
				}
				return r, err
			}
		}},
		{name: "marks a healthy reply incomplete", breaks: "healthy_reply", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				for i := range r.Messages {
					r.Messages[i].Status = normalize.StatusIncomplete
				}
				return r, err
			}
		}},
		{name: "trims the text", breaks: "text_is_intact", change: func(m *model) { m.text = strings.TrimSpace }},
		{name: "escapes HTML", breaks: "text_is_intact", change: func(m *model) { m.text = html.EscapeString }},
		{
			name: "makes CR LF to LF", breaks: "text_is_intact",
			change: func(m *model) { m.text = func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") } },
		},
		{
			name: "cuts long texts", breaks: "text_is_intact",
			change: func(m *model) { m.text = func(s string) string { return s[:min(len(s), 60000)] } },
		},
		{name: "loses the remote id", breaks: "remote_id_round_trip memory", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				r.Remote = normalize.Remote{}
				return r, err
			}
		}},
		{name: "does not use the remote id", breaks: "remote_id_round_trip memory", change: func(m *model) {
			m.remote = func(normalize.Remote) normalize.Remote { return normalize.Remote{} }
		}},
		{name: "remembers a conversation", breaks: "threads_are_apart", change: func(m *model) {
			var mu sync.Mutex
			var last normalize.Remote
			m.remote = func(r normalize.Remote) normalize.Remote {
				mu.Lock()
				defer mu.Unlock()
				if r.ThreadID == "" {
					return last
				}
				return r
			}
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				mu.Lock()
				defer mu.Unlock()
				last = r.Remote
				return r, err
			}
		}},
		{name: "takes the answer of any conversation", breaks: "foreign_answer_is_refused", change: func(m *model) { m.credulous = true }},
		{name: "lets broken text through", breaks: "broken_text_is_cleaned", change: func(m *model) {
			m.decode = func(a vendorhttp.Answer) (said modelAnswer, err error) {
				if err := json.Unmarshal(a.Body, &said); err != nil || said.Thread == nil || said.Reply == nil {
					return said, a.Invalid("no thread or no reply")
				}
				return said, nil
			}
		}},
		{name: "mixes up two answers", breaks: "concurrent_sends", change: func(m *model) {
			there, back := make(chan adapters.Reply), make(chan adapters.Reply)
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				select {
				case there <- r:
					r = <-back
				case other := <-there:
					back <- r
					r = other
				case <-time.After(100 * time.Millisecond): // alone
				}
				return r, err
			}
		}},
		{name: "refuses unknown fields", breaks: "unknown_fields_are_ignored", change: func(m *model) {
			m.decode = func(a vendorhttp.Answer) (modelAnswer, error) {
				dec := json.NewDecoder(strings.NewReader(string(a.Body)))
				dec.DisallowUnknownFields()
				if err := dec.Decode(new(modelAnswer)); err != nil {
					return modelAnswer{}, a.Invalid("unknown field")
				}
				return decodeModel(a)
			}
		}},
		{
			name: "takes 429 for a refusal", breaks: "status_to_kind",
			change: onFailure(normalize.KindRateLimited, withKind(normalize.KindRejected)),
		},
		{
			name: "takes 503 for any fault", breaks: "status_to_kind",
			change: onFailure(normalize.KindOverloaded, withKind(normalize.KindVendorFault)),
		},
		{
			name: "forgets how long to wait", breaks: "status_to_kind",
			change: onFailure(normalize.KindRateLimited, func(e *normalize.Error) error { e.RetryAfter = 0; return e }),
		},
		{
			name: "forgets the vendor's status", breaks: "status_to_kind",
			change: onFailure(normalize.KindRejected, func(e *normalize.Error) error { e.VendorStatus = 0; return e }),
		},
		{name: "returns errors without a kind", breaks: "status_to_kind refused_connection", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if err != nil {
					err = errors.New(err.Error())
				}
				return r, err
			}
		}},
		{
			name: "calls every broken connection unreachable", breaks: "broken_connection",
			change: onFailure(normalize.KindDisconnected, withKind(normalize.KindUnreachable)),
		},
		{name: "loses the phase", breaks: "broken_connection silence_is_a_timeout", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil {
					e.Phase = normalize.PhaseNone
				}
				return r, err
			}
		}},
		{
			name: "takes garbage for a broken connection", breaks: "garbage_is_not_HTTP",
			change: onFailure(normalize.KindNotHTTP, withKind(normalize.KindDisconnected)),
		},
		{
			name: "takes a reset in the answer for one before it", breaks: "reset_in_the_answer",
			change: onFailure(normalize.KindTruncated, withKind(normalize.KindDisconnected)),
		},
		{name: "waits for ever", breaks: "silence_is_a_timeout stalled_answer_is_a_timeout", change: func(m *model) {
			m.env.FirstByte, m.env.Idle = time.Hour, time.Hour
		}},
		{name: "does not look at the context", breaks: "caller_gone caller_gone_in_the_answer " +
			"cause_of_the_end_is_kept deadline_is_told cancelled_before", change: func(m *model) {
			m.context = context.WithoutCancel
		}},
		{name: "calls every end canceled", breaks: "cause_of_the_end_is_kept deadline_is_told", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil && e.Phase == normalize.PhaseWritten {
					e.Kind = normalize.KindCanceled
				}
				return r, err
			}
		}},
		{name: "follows redirects", breaks: "redirect_is_not_followed", change: func(m *model) { m.request = m.careless(nil) }},
		{name: "reads answers of any size", breaks: "oversize_answer_is_not_read", change: func(m *model) {
			m.request = m.careless(nil)
		}},
		{name: "shows the key in errors", breaks: "key_is_in_no_error", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil {
					e.Detail += " with the key " + m.settings.APIKey.Reveal()
				}
				return r, err
			}
		}},
		{name: "hides the key in a cause", breaks: "key_is_in_no_error", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil {
					e.Cause = opaque{m.settings.APIKey.Reveal()}
				}
				return r, err
			}
		}},
		{name: "puts the key into the URL", breaks: "key_is_sent_in_its_header_only", change: func(m *model) {
			m.request = m.careless(func(r *http.Request) { r.URL.RawQuery = "key=" + plantedKey })
		}},
		{name: "puts the key into a second header", breaks: "key_is_sent_in_its_header_only headers_are_the_adapters_own", change: func(m *model) {
			m.request = m.careless(func(r *http.Request) { r.Header.Set("X-Api-Key", plantedKey) })
		}},
		{name: "passes an Idempotency-Key on", breaks: "headers_are_the_adapters_own", change: func(m *model) {
			m.request = m.careless(func(r *http.Request) { r.Header.Set("Idempotency-Key", metadataCanary) })
		}},
		{
			name: "prints the key", breaks: "adapter_does_not_print_the_key",
			change: func(m *model) { m.plainKey = m.settings.APIKey.Reveal() },
		},
		{name: "dials for every message", breaks: "connection_is_used_again connection_is_used_again_streamed", change: func(m *model) {
			m.before = func(_ context.Context, m *model) { _ = m.client.Close() }
		}},
		{name: "leaves a goroutine behind", breaks: "nothing_keeps_running", change: func(m *model) {
			m.before = func(context.Context, *model) { go func() { <-forever }() }
		}},
		{name: "lists the newest first", breaks: "messages_are_listed_whole_and_in_order", change: func(m *model) {
			m.list = func(p adapters.MessagePage) adapters.MessagePage { slices.Reverse(p.Messages); return p }
		}},
		{name: "lists the first page only", breaks: "messages_are_listed_whole_and_in_order", change: func(m *model) {
			m.list = func(p adapters.MessagePage) adapters.MessagePage { p.NextCursor = ""; return p }
		}},
		{name: "lists without end", breaks: "messages_are_listed_whole_and_in_order", change: func(m *model) {
			m.list = func(p adapters.MessagePage) adapters.MessagePage { p.NextCursor = "x"; return p }
		}},
		{
			name: "only says that it deletes", breaks: "deleted_thread_is_gone",
			change: func(m *model) { m.deletes = func() bool { return false } },
		},
		{name: "never leaves mode ai", breaks: "human_mode_silences_the_bot", change: func(m *model) {
			m.mode = func(normalize.Mode) normalize.Mode { return normalize.ModeAI }
		}},
		{name: "streams another text than it sends", breaks: "stream_is_the_answer healthy_reply_streamed", change: func(m *model) {
			m.say = func(told *vendorhttp.Telling, literal string) error { return told.Say(strings.ToUpper(literal)) }
		}},
		{name: "asks for no stream", breaks: "stream_is_the_answer", change: func(m *model) { m.shy = true }},
		{name: "begins a conversation with every stream", breaks: "streams_and_sends_share_a_conversation", change: func(m *model) {
			m.before = func(_ context.Context, m *model) {
				m.remote = func(normalize.Remote) normalize.Remote { return normalize.Remote{} }
			}
		}},
		{name: "keeps the text to itself until it is whole", breaks: "deltas_come_as_they_are_told stream_is_the_answer", change: func(m *model) {
			var mu sync.Mutex
			kept := map[*vendorhttp.Telling][]string{}
			m.say = func(told *vendorhttp.Telling, literal string) error {
				mu.Lock()
				defer mu.Unlock()
				kept[told] = append(kept[told], normalize.UnquoteJSON(literal))
				return nil
			}
			m.next = func(told *vendorhttp.Telling, data []byte, err error) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil && !bytes.Contains(data, []byte(`"end":true`)) {
					return data, nil
				}
				text := strings.Join(kept[told], "")
				kept[told] = nil
				if refused := told.Add(text); refused != nil {
					return nil, refused
				}
				return data, err
			}
		}},
		{name: "waits for more than an event", breaks: "deltas_come_as_they_are_told", change: func(m *model) {
			m.source = func(s *vendorhttp.Stream) io.Reader { return &greedy{source: s} }
		}},
		{name: "takes the end of the body for the end mark", breaks: "cut_stream_is_never_whole", change: onEnd(func(*vendorhttp.Telling) error {
			return io.EOF
		})},
		{name: "takes the end of the body for the end mark once there is text", breaks: "cut_stream_is_never_whole", change: onEnd(
			func(told *vendorhttp.Telling) error {
				if told.Text() != "" {
					return io.EOF
				}
				return told.Truncated("")
			},
		)},
		{name: "calls what was kept complete", breaks: "cut_stream_is_never_whole stalled_stream_is_a_timeout", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				for i := range r.Messages {
					r.Messages[i].Status = normalize.StatusComplete
				}
				return r, err
			}
		}},
		{name: "throws away what was shown", breaks: "cut_stream_is_never_whole stalled_stream_is_a_timeout " +
			"refused_delta_ends_a_stream caller_gone_within_a_stream error_within_a_stream_has_its_kind", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if err != nil {
					r.Messages = nil
				}
				return r, err
			}
		}},
		{name: "forgets that something was shown", breaks: "cut_stream_is_never_whole stalled_stream_is_a_timeout", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				if e := normalize.AsError(err); e != nil && e.Phase == normalize.PhaseContent {
					late := *e
					late.Phase = normalize.PhaseStatus
					return r, &late
				}
				return r, err
			}
		}},
		{name: "decodes every piece alone", breaks: "characters_in_halves_are_joined", change: func(m *model) {
			m.say = func(told *vendorhttp.Telling, literal string) error { return told.Add(normalize.UnquoteJSON(literal)) }
		}},
		{name: "decodes UTF-8 in every reading", breaks: "stream_in_any_pieces", change: func(m *model) {
			m.source = func(s *vendorhttp.Stream) io.Reader {
				return reading(func(p []byte) (int, error) {
					b := make([]byte, len(p)/3) // a byte becomes three at most
					n, err := s.Read(b)
					return copy(p, strings.ToValidUTF8(string(b[:n]), "\ufffd")), err
				})
			}
		}},
		{name: "reads lines with a scanner", breaks: "stream_in_any_form long_lines_are_bounded", change: func(m *model) {
			m.source = func(s *vendorhttp.Stream) io.Reader {
				lines := bufio.NewScanner(s)
				return reading(func(p []byte) (int, error) {
					if !lines.Scan() {
						return 0, io.EOF
					}
					return copy(p, lines.Text()+"\n"), nil
				})
			}
		}},
		{name: "needs the space after the colon", breaks: "stream_in_any_form", change: func(m *model) {
			m.source = func(s *vendorhttp.Stream) io.Reader {
				return reading(func(p []byte) (int, error) {
					n, err := s.Read(p)
					return copy(p, bytes.ReplaceAll(p[:n], []byte("data:{"), []byte("atad:{"))), err
				})
			}
		}},
		{name: "waits for the end of the body", breaks: "end_mark_counts_however_it_ends", change: func(m *model) {
			m.source = func(s *vendorhttp.Stream) io.Reader {
				return &greedy{source: s}
			}
		}},
		{name: "takes comments for content", breaks: "comments_are_no_content", change: func(m *model) {
			m.emit = func(emit func(adapters.Delta) error) func(adapters.Delta) error {
				_ = emit(adapters.Delta{Text: " "})
				return emit
			}
		}},
		{name: "hears no errors", breaks: "error_within_a_stream_has_its_kind", change: func(m *model) { m.deaf = true }},
		{
			name: "takes every error within a stream for a cut", breaks: "error_within_a_stream_has_its_kind",
			change: onFailure(normalize.KindRateLimited, withKind(normalize.KindTruncated)),
		},
		{name: "passes broken events over", breaks: "broken_event_ends_a_stream", change: func(m *model) {
			m.next = func(told *vendorhttp.Telling, data []byte, err error) ([]byte, error) {
				for e := normalize.AsError(err); e != nil && e.Kind == normalize.KindInvalidReply; e = normalize.AsError(err) {
					data, err = told.Next()
				}
				return data, err
			}
		}},
		{name: "stops at what is no object", breaks: "words_in_a_stream_are_passed_over", change: func(m *model) {
			m.next = func(told *vendorhttp.Telling, data []byte, err error) ([]byte, error) {
				if told.Skipped() > 0 {
					return nil, &normalize.Error{Kind: normalize.KindInvalidReply, Phase: normalize.PhaseStatus}
				}
				return data, err
			}
		}},
		{name: "counts nothing", breaks: "words_in_a_stream_are_passed_over", change: func(m *model) {
			m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
				r.Skipped = 0
				return r, err
			}
		}},
		{name: "mixes answers", breaks: "another_answer_is_not_mixed_in", change: func(m *model) { m.credulous = true }},
		{name: "tells without end", breaks: "endless_answer_is_cut", change: func(m *model) {
			said := 0
			m.say = func(told *vendorhttp.Telling, literal string) error {
				if said += len(literal); said > 2<<20 { // it goes on, and shows no more
					return nil
				}
				return told.Say(literal)
			}
		}},
		{name: "does not look whether somebody watches", breaks: "refused_delta_ends_a_stream", change: func(m *model) {
			m.emit = func(emit func(adapters.Delta) error) func(adapters.Delta) error {
				return func(d adapters.Delta) error { _ = emit(d); return nil }
			}
		}},
		{name: "has its own error for a refused delta", breaks: "refused_delta_ends_a_stream", change: func(m *model) {
			m.emit = func(emit func(adapters.Delta) error) func(adapters.Delta) error {
				return func(d adapters.Delta) error {
					if emit(d) != nil {
						return errors.New("nobody watches")
					}
					return nil
				}
			}
		}},
		{name: "holds the connection", breaks: "refused_delta_ends_a_stream", change: func(m *model) { m.clinging = true }},
		{name: "streams on after the caller has left", breaks: "caller_gone_within_a_stream", change: func(m *model) {
			m.context = context.WithoutCancel
		}},
		{name: "takes no answer in one piece", breaks: "plain_answer_to_a_stream_request", change: func(m *model) {
			m.decode = func(a vendorhttp.Answer) (modelAnswer, error) { return modelAnswer{}, a.Invalid("no stream") }
		}},
		{name: "shows the key in an error within a stream", breaks: "error_within_a_stream_has_its_kind", change: onFailure(
			normalize.KindVendorFault, func(e *normalize.Error) error { e.Detail += plantedKey; return e },
		)},
		{name: "names no errors", breaks: "error_within_a_stream_has_its_kind", vendor: func(v *Vendor) { v.StreamErrors = nil }},
		{name: "has a bad name", breaks: "spec_is_complete", vendor: func(v *Vendor) { v.Spec.Name = "Model Vendor" }},
		{name: "shares its settings", breaks: "spec_is_complete", vendor: func(v *Vendor) {
			one := new(modelSettings)
			v.Spec.Settings = func() adapters.Settings { return one }
		}},
		{name: "has fields without a sentence", breaks: "settings_say_what_they_are_for", vendor: func(v *Vendor) {
			v.Spec.Settings = func() adapters.Settings {
				return &struct {
					Key string `yaml:"key"`
				}{}
			}
		}},
		{name: "checks nothing", breaks: "settings_are_checked", vendor: func(v *Vendor) {
			v.Spec.Settings = func() adapters.Settings { return &struct{}{} }
		}},
		{name: "has a twin that takes any key", breaks: "twin_refuses_a_wrong_key", vendor: func(v *Vendor) {
			v.Spec.Twin = func(adapters.Settings) http.Handler { return newModelTwin(normalize.Secret{}) }
		}},
		{name: "takes any signature", breaks: "webhook_is_the_vendors", change: func(m *model) {
			m.news = func(d adapters.Delivery, _ adapters.News, _ error) (adapters.News, error) {
				d.Header = http.Header{"X-Sum": {modelSum(d.Body, d.Secret.Reveal())}}
				return m.receive(d)
			}
		}},
		{name: "tells what it refuses", breaks: "webhook_is_the_vendors", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				news.Remote.ThreadID = "t"
				return news, err
			}
		}},
		{name: "makes ids up", breaks: "webhook_examples", change: func(m *model) {
			n := 0
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				for i := range news.Messages {
					n++
					news.Messages[i].RemoteID = strings.Repeat("x", n)
				}
				return news, err
			}
		}},
		{name: "tells another conversation", breaks: "webhook_examples webhook_text_is_intact", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				news.Remote.ThreadID += "x"
				return news, err
			}
		}},
		{name: "trims what comes by webhook", breaks: "webhook_text_is_intact", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				for i := range news.Messages {
					news.Messages[i].Text = strings.TrimSpace(news.Messages[i].Text)
				}
				return news, err
			}
		}},
		{name: "takes the bot for the person", breaks: "webhook_text_is_intact", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				for i := range news.Messages {
					news.Messages[i].Role = normalize.RoleUser
				}
				return news, err
			}
		}},
		{name: "refuses news that it does not know", breaks: "webhook_strange_is_passed_over", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				if err == nil && news.Record == nil && len(news.Messages) == 0 {
					err = &normalize.Error{Kind: normalize.KindInvalidRequest}
				}
				return news, err
			}
		}},
		{name: "takes broken JSON for nothing", breaks: "webhook_broken_is_invalid_json", change: func(m *model) {
			m.news = func(_ adapters.Delivery, news adapters.News, err error) (adapters.News, error) {
				if e := normalize.AsError(err); e != nil && e.Kind == normalize.KindInvalidJSON {
					return adapters.News{}, nil
				}
				return news, err
			}
		}},
		{name: "has no examples of webhooks", breaks: "webhook_examples", vendor: func(v *Vendor) { v.Webhook.Examples = nil }},
		{name: "waits for no webhook", breaks: "later_answers_can_be_looked_up", change: func(m *model) { m.patience = 0 }},
		{name: "answers what should come later", breaks: "healthy_reply", vendor: func(v *Vendor) { v.NoReplies = true }},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			t.Parallel()
			vendor := modelVendor(mutant.change)
			if mutant.vendor != nil {
				mutant.vendor(&vendor)
			}
			for name := range strings.FieldsSeq(mutant.breaks) {
				if err := runCase(vendor, caseOf(t, name)); err == nil {
					t.Errorf("an adapter that %s passes %s", mutant.name, name)
				}
			}
		})
	}
}

// TestFailureStatesPromiseAndReason holds the suite to what it prints.
func TestFailureStatesPromiseAndReason(t *testing.T) {
	c := caseOf(t, "one_request")
	text := c.broken(errors.New("the first message made 2 such requests"))
	for _, part := range []string{"promise: " + c.promise, "because: " + c.because, "broken:  the first message made 2"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}

// TestEveryCaseHasItsOwnNameAndReason keeps the list of cases readable.
func TestEveryCaseHasItsOwnNameAndReason(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range everyCase() {
		if c.name == "" || c.promise == "" || c.because == "" || c.test == nil || seen[c.name] {
			t.Errorf("the case %q lacks a part, or comes twice", c.name)
		}
		seen[c.name] = true
	}
}

// TestCasesOfWhatAnAdapterCannotDoAreLeftOut selects for an adapter that can only
// send, with and without a vendor.
func TestCasesOfWhatAnAdapterCannotDoAreLeftOut(t *testing.T) {
	vendor := modelVendor(nil)
	open := vendor.Spec.Open
	vendor.Spec.Open = func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		a, err := open(s, env)
		return onlySender{a}, err
	}
	for _, c := range casesOf(vendor) {
		if c.talent != nil {
			t.Errorf("%s is run for an adapter that can only send", c.name)
		}
	}
	vendor.Spec.Twin = nil
	for _, c := range casesOf(vendor) {
		if !c.offline {
			t.Errorf("%s is run without a vendor", c.name)
		}
	}
}

type onlySender struct{ adapters.Adapter }

func caseOf(t *testing.T, name string) promise {
	t.Helper()
	for _, c := range everyCase() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("there is no case %s", name)
	return promise{}
}

// onEnd changes what follows from the end of a stream's body.
func onEnd(then func(*vendorhttp.Telling) error) func(*model) {
	return func(m *model) {
		m.next = func(told *vendorhttp.Telling, data []byte, err error) ([]byte, error) {
			if e := normalize.AsError(err); e != nil && e.Kind == normalize.KindTruncated {
				err = then(told)
			}
			return data, err
		}
	}
}

// greedy reads until what it was given to fill is full.
type greedy struct{ source io.Reader }

func (g *greedy) Read(p []byte) (int, error) {
	n, err := io.ReadFull(g.source, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// reading makes a reader of a function.
type reading func(p []byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }

// onFailure changes what Send returns for failures of a kind.
func onFailure(kind normalize.Kind, change func(*normalize.Error) error) func(*model) {
	return func(m *model) {
		m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) {
			if e := normalize.AsError(err); e != nil && e.Kind == kind {
				return r, change(e)
			}
			return r, err
		}
	}
}

func withKind(kind normalize.Kind) func(*normalize.Error) error {
	return func(e *normalize.Error) error { e.Kind = kind; return e }
}

// opaque is an error whose text is harmless and whose inside is not.
type opaque struct{ key string }

func (opaque) Error() string { return "something" }

// careless makes requests with http.Client, which follows redirects, and reads
// answers of any size.
func (m *model) careless(change func(*http.Request)) func(context.Context, []byte) (vendorhttp.Answer, error) {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	return func(ctx context.Context, body []byte) (vendorhttp.Answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(m.settings.BaseURL)+"/messages", bytes.NewReader(body))
		if err != nil {
			return vendorhttp.Answer{}, err
		}
		req.Header = http.Header{"Authorization": {"Bearer " + m.settings.APIKey.Reveal()}, "Content-Type": {"application/json"}}
		if change != nil {
			change(req)
		}
		resp, err := client.Do(req)
		if err != nil {
			return vendorhttp.Answer{}, &normalize.Error{Kind: normalize.KindDisconnected, Phase: normalize.PhaseWritten}
		}
		defer resp.Body.Close()
		answer := vendorhttp.Answer{Status: resp.StatusCode, Header: resp.Header}
		answer.Body, err = io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode > 299 {
			kind := vendorhttp.KindOfStatus(resp.StatusCode, false)
			return answer, &normalize.Error{Kind: kind, Phase: normalize.PhaseStatus, VendorStatus: resp.StatusCode}
		}
		return answer, nil
	}
}
