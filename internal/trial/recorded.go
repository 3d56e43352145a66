package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"chatmux/adapters"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// Recorded plays a sample: first as it is, then with the last answer broken in the
// ways in which answers break. Nobody is called but a server on loopback. The error
// says that the trial could not be made at all.
func Recorded(ctx context.Context, s Subject, sample *Sample, report func(Result)) error {
	t := &trial{Subject: s, report: report}
	if err := t.plays(ctx, sample); err != nil {
		return err
	}
	last := slices.IndexFunc(sample.steps, func(s step) bool { return s.do == "turn" && s.want["error"] == "" })
	t.breaks(ctx, sample, last, "")
	last = slices.IndexFunc(sample.steps, func(s step) bool { return s.do == "stream" && s.want["error"] == "" })
	t.breaks(ctx, sample, last, "_streamed")
	return ctx.Err()
}

// stage is a server that plays some steps of a sample, and an adapter for it.
type stage struct {
	*trial
	server *sandbox.Server
	player *player
	talk   *talk
}

// play opens a stage. The base path of the settings is kept: it is in the recorded
// paths.
func (t *trial) play(calls []call) (*stage, error) {
	settings := t.copied()
	remote, ok := settings.(adapters.Remote)
	if !ok {
		return nil, errors.New("this adapter talks to nobody: there is nothing to play")
	}
	base, err := url.Parse(string(*remote.Endpoint()))
	if err != nil {
		return nil, errors.New("base_url is not a URL")
	}
	s := &stage{player: &player{calls: calls}}
	if s.server, err = sandbox.Start(s.player, sandbox.Options{Name: t.Spec.Name}); err != nil {
		return nil, err
	}
	*remote.Endpoint() = adapters.BaseURL(s.server.URL() + strings.TrimRight(base.EscapedPath(), "/"))
	copied := *t
	s.trial = &copied
	if s.adapter, err = t.open(settings); err != nil {
		_ = s.server.Close()
		return nil, err
	}
	return s, nil
}

func (s *stage) close() {
	closeAdapter(s.adapter)
	_ = s.server.Close()
}

// perform does a step, the first of a conversation prepared as the engine does.
func (s *stage) perform(ctx context.Context, do step) (reply adapters.Reply, lines []string, err error) {
	if s.talk == nil {
		if s.talk, err = s.begin(ctx, 1); err != nil {
			return reply, nil, err
		}
	}
	switch do.do {
	case "list_messages":
		if !adapters.Has[adapters.MessageLister](s.adapter) {
			return reply, nil, errors.New("the adapter cannot list messages")
		}
		messages, err := s.messages(ctx, s.talk.remote)
		for _, m := range messages {
			lines = append(lines, string(m.Role)+": "+m.Text)
		}
		return reply, lines, err
	case "list_threads":
		if !adapters.Has[adapters.ThreadLister](s.adapter) {
			return reply, nil, errors.New("the adapter cannot list conversations")
		}
		lines, err = s.threads(ctx)
		return reply, lines, err
	case "delete_thread":
		deleter, ok := adapters.As[adapters.ThreadDeleter](s.adapter)
		if !ok {
			return reply, nil, errors.New("the adapter cannot delete conversations")
		}
		return reply, nil, deleter.DeleteThread(ctx, s.talk.remote)
	}
	reply, pieces, err := s.send(ctx, s.talk, do.text, do.do == "stream")
	if err == nil && do.do == "stream" && strings.Join(pieces, "") != said(reply) {
		err = errors.New("what was shown is not what is kept")
	}
	return reply, nil, err
}

// plays plays the whole sample, and reports what was asked and what came of it.
func (t *trial) plays(ctx context.Context, sample *Sample) error {
	s, err := t.play(callsOf(sample.steps))
	if err != nil {
		return err
	}
	defer s.close()
	var problems []error
	for _, do := range sample.steps {
		reply, lines, err := s.perform(ctx, do)
		if err := do.check(s.talk, reply, lines, err); err != nil {
			problems = append(problems, fmt.Errorf("line %d, %s: %w", do.line, do.do, err))
		}
	}
	t.say("requests_are_as_recorded", s.player.result(), "%d requests are those of the sample", len(s.player.calls))
	t.say("answers_are_read_as_recorded", errors.Join(problems...), "%d answers come out as the sample says", len(sample.steps))
	if len(secretsOf(t.Settings)) == 0 {
		t.notShown("key_is_sent_in_its_header_only", "the settings have no key")
		return nil
	}
	t.say("key_is_sent_in_its_header_only", t.onlyInHeader(s.server.Ledger()), "the key is in a header of each request, and nowhere else")
	return nil
}

// check compares what came of a step with what the sample says.
func (do *step) check(c *talk, reply adapters.Reply, lines []string, err error) error {
	if want := do.want["error"]; want != "" {
		if err == nil {
			return fmt.Errorf("it succeeded, and should be %s", want)
		}
		if kind := normalize.AsError(err).Kind.String(); kind != want {
			return fmt.Errorf("%w: should be %s", err, want)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if want, ok := do.want["reply"]; ok && said(reply) != want {
		return fmt.Errorf("the reply is %s, and should be %s", excerpt(said(reply)), excerpt(want))
	}
	if want, ok := do.want["remote"]; ok && c.remote.ThreadID != want {
		return fmt.Errorf("the conversation is %q, and should be %q", c.remote.ThreadID, want)
	}
	for _, name := range []string{"messages", "threads"} {
		if want, ok := do.want[name]; ok && strings.Join(lines, "\n") != want {
			return fmt.Errorf("listed are %q, and should be %q", lines, strings.Split(want, "\n"))
		}
	}
	return whole(reply)
}

// onlyInHeader looks for the secrets where they must not be.
func (t *trial) onlyInHeader(ledger []sandbox.Entry) error {
	for _, secret := range secretsOf(t.Settings) {
		key := []byte(secret.Reveal())
		for _, e := range ledger {
			found := false
			for _, values := range e.Header {
				found = found || strings.Contains(strings.Join(values, "\n"), secret.Reveal())
			}
			switch {
			case !found:
				return fmt.Errorf("%s %s goes without the key", e.Method, e.Path)
			case bytes.Contains(e.Body, key) || strings.Contains(e.Path+"?"+e.Query, secret.Reveal()):
				return fmt.Errorf("%s %s has the key in its URL or body", e.Method, e.Path)
			}
		}
	}
	return nil
}

// breakage is a way to break an answer, and what must come of it.
type breakage struct {
	fault string
	kinds []normalize.Kind
}

var statuses = []breakage{
	{"status 400 body={}", []normalize.Kind{normalize.KindRejected}},
	{"status 401 body={}", []normalize.Kind{normalize.KindUnauthorized}},
	{"status 429 retry-after=7 body={}", []normalize.Kind{normalize.KindRateLimited}},
	{"status 503 retry-after=7 body={}", []normalize.Kind{normalize.KindOverloaded}},
	{"status 500 body={}", []normalize.Kind{normalize.KindVendorFault}},
	{"redirect 307 http://127.0.0.9:9/", []normalize.Kind{normalize.KindRedirected}},
}

var wrong = []breakage{
	{"html", []normalize.Kind{normalize.KindInvalidReply}},
	{"empty", []normalize.Kind{normalize.KindInvalidReply}},
	{"json {}", []normalize.Kind{normalize.KindInvalidReply}},
	{`json "hello"`, []normalize.Kind{normalize.KindInvalidReply}},
	{`json {"a":`, []normalize.Kind{normalize.KindInvalidReply}},
}

var lost = []breakage{
	{"reset", []normalize.Kind{normalize.KindDisconnected}},
	{"garbage", []normalize.Kind{normalize.KindNotHTTP}},
}

// cutsOf cuts an answer at ten places.
func cutsOf(answer string) []breakage {
	var list []breakage
	for i := range 10 {
		list = append(list, breakage{
			fmt.Sprintf("cut %d chunked", i*(len(answer)-1)/10), []normalize.Kind{normalize.KindTruncated, normalize.KindInvalidReply},
		})
	}
	return list
}

// breaks plays the sample up to a step, again and again, with the step's last answer
// broken.
func (t *trial) breaks(ctx context.Context, sample *Sample, at int, suffix string) {
	if at < 0 || len(sample.steps[at].calls) == 0 {
		return
	}
	before, broken := sample.steps[:at], sample.steps[at]
	answer := broken.calls[len(broken.calls)-1].answer
	for _, group := range []struct {
		promise, seen string
		breakages     []breakage
	}{
		{"status_to_kind", "%d statuses become their kinds", statuses},
		{"wrong_answer_is_invalid", "%d answers that are none of the vendor's are refused", wrong},
		{"cut_answer_is_a_failure", "cut at %d places, the answer is never complete", cutsOf(answer)},
		{"lost_answer_is_told_apart", "%d ways of losing the answer are told apart", lost},
	} {
		var problems []error
		for _, b := range group.breakages {
			if err := t.breaksAs(ctx, before, broken, b); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", b.fault, err))
			}
		}
		t.say(group.promise+suffix, errors.Join(problems...), group.seen, len(group.breakages))
	}
	if len(secretsOf(t.Settings)) == 0 {
		return
	}
	t.say("key_is_in_no_error"+suffix, t.breaksAs(ctx, before, broken, breakage{"echo_auth 500", []normalize.Kind{normalize.KindVendorFault}}),
		"a vendor that repeats the key does not get it into an error")
}

func (t *trial) breaksAs(ctx context.Context, before []step, broken step, b breakage) error {
	played := append(slices.Clone(before), broken)
	s, err := t.play(callsOf(played))
	if err != nil {
		return err
	}
	defer s.close()
	// What comes before the broken answer is played as it is, and what a vendor is
	// asked behind it is of no importance.
	script := b.fault
	if healthy := len(callsOf(played)) - 1; healthy > 0 {
		script = fmt.Sprintf("%dx ok; %s", healthy, b.fault)
	}
	s.server.Script(sandbox.MustScript(script)...)
	for _, do := range before {
		_, _, _ = s.perform(ctx, do) // judged when the sample was played as it is
	}
	reply, _, err := s.perform(ctx, broken)
	if err == nil {
		return fmt.Errorf("no failure, and %d replies", len(reply.Messages))
	}
	for _, secret := range secretsOf(t.Settings) {
		if leaks(err, secret) {
			return errors.New("the error shows the key")
		}
	}
	for _, m := range reply.Messages {
		if m.Status != normalize.StatusIncomplete {
			return fmt.Errorf("beside the failure there is a reply of status %s", m.Status)
		}
	}
	if kind := normalize.AsError(err).Kind; !slices.Contains(b.kinds, kind) {
		return fmt.Errorf("%w: should be %s", err, b.kinds)
	}
	return nil
}
