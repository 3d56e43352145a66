package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"chatmux/adapters"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// refusal is what must follow from a vendor's status.
type refusal struct {
	fault      string
	status     int
	kind       normalize.Kind
	retryAfter time.Duration
}

// statuses are written down here once more, so that the suite does not believe the
// code that it tests.
var statuses = []refusal{
	{"status 300", 300, normalize.KindRedirected, 0},
	{"status 304", 304, normalize.KindRedirected, 0},
	{"status 400", 400, normalize.KindRejected, 0},
	{"status 401", 401, normalize.KindUnauthorized, 0},
	{"status 402", 402, normalize.KindQuota, 0},
	{"status 403", 403, normalize.KindRejected, 0},
	{"status 404", 404, normalize.KindRejected, 0},
	{"status 405", 405, normalize.KindRejected, 0},
	{"status 408", 408, normalize.KindRejected, 0},
	{"status 409", 409, normalize.KindRejected, 0},
	{"status 413", 413, normalize.KindRejected, 0},
	{"status 422", 422, normalize.KindRejected, 0},
	{"status 425", 425, normalize.KindRejected, 0},
	{"status 429", 429, normalize.KindRateLimited, 0},
	{"status 429 retry-after=7", 429, normalize.KindRateLimited, 7 * time.Second},
	{"status 500", 500, normalize.KindVendorFault, 0},
	{"status 501", 501, normalize.KindVendorFault, 0},
	{"status 502", 502, normalize.KindVendorFault, 0},
	{"status 503", 503, normalize.KindVendorFault, 0},
	{"status 503 retry-after=7", 503, normalize.KindOverloaded, 7 * time.Second},
	{"status 504", 504, normalize.KindVendorFault, 0},
	{"status 505", 505, normalize.KindVendorFault, 0},
	{"status 520", 520, normalize.KindVendorFault, 0},
	{"status 529", 529, normalize.KindVendorFault, 0},
	{"html 401", 401, normalize.KindUnauthorized, 0},
	{"html 404", 404, normalize.KindRejected, 0},
	{"html 502", 502, normalize.KindVendorFault, 0},
	{"empty 500", 500, normalize.KindVendorFault, 0},
	{"status 500 body={}", 500, normalize.KindVendorFault, 0},
	{"status 400 body=null", 400, normalize.KindRejected, 0},
	{"status 400 body=[]", 400, normalize.KindRejected, 0},
	{`status 429 body={"error":7,"message":[],"detail":{"a":null}}`, 429, normalize.KindRateLimited, 0},
}

// wrongAnswers are 2xx answers without any of what a vendor promises.
var wrongAnswers = []string{
	"html", "html 201", "empty", "empty 201", "empty 204",
	"json {}", "json null", "json []", `json "hello"`, "json 17", "json true",
	`json {"`, `json {"a":1`, `json {"a":1}}`, `json {} {}`, `json {'a':1}`, "json hello",
	`json {"error":null}`, `json {"data":null,"success":true}`, `json {"data":{}}`, `json {"messages":null}`, `json {"choices":[]}`,
	`json [{"content":"hello"}]`, `json {"message":{"text":"hello"}}`,
}

var faultCases = []promise{
	{
		name:    "status_to_kind",
		promise: "each status of the vendor becomes its kind, in phase P2, with the status and the wait that the vendor asked for",
		because: "the kind decides alone what happens next: breaker, retry, another backend, the caller's answer",
		twice:   true,
		test: func(b *bench) error {
			return refusals(b, statuses, func(s refusal) (string, wantError) {
				return s.fault, answered(s.kind).with(s.status, s.retryAfter)
			})
		},
	},
	{
		name:    "wrong_answer_is_a_failure",
		promise: "a 2xx answer that is HTML, empty, broken, or without the vendor's own content is an invalid reply, never an empty success",
		because: "a bot that seems to say nothing is a fault that nobody sees",
		twice:   true,
		test: func(b *bench) error {
			return refusals(b, wrongAnswers, func(fault string) (string, wantError) {
				return fault, answered(normalize.KindInvalidReply)
			})
		},
	},
	{
		name:    "redirect_is_not_followed",
		promise: "a redirect is a failure, and nothing reaches the host that it names",
		because: "the message and the key would go to whoever the vendor, or somebody in between, names",
		twice:   true,
		test: func(b *bench) error {
			target, err := sandbox.Start(b.Spec.Twin(b.Settings()), sandbox.Options{Name: "target"})
			if err != nil {
				return err
			}
			defer target.Close()
			err = refusals(b, []int{301, 302, 303, 307, 308}, func(status int) (string, wantError) {
				return fmt.Sprintf("redirect %d %s%s", status, target.URL(), b.Spec.TwinPath),
					answered(normalize.KindRedirected).with(status, 0)
			})
			if n := target.Requests(); n > 0 {
				err = errors.Join(err, fmt.Errorf("%d requests reached the target", n))
			}
			return err
		},
	},
	{
		name:    "cut_answer_is_a_failure",
		promise: "an answer that is cut anywhere is truncated where HTTP can tell, an invalid reply where it cannot, and never complete",
		because: "half an answer that looks whole is worse than none",
		test: func(b *bench) error {
			for _, before := range [][]string{nil, {"hello"}} {
				length, err := b.healthyLength(before)
				if err != nil {
					return err
				}
				type cut struct {
					at   int64
					word string
				}
				var cuts []cut
				for i := range int64(12) {
					for _, word := range []string{"", " chunked", " close"} {
						cuts = append(cuts, cut{i * (length - 1) / 11, word})
					}
				}
				err = refusalsAfter(b, before, cuts, func(c cut) (string, wantError) {
					kind := normalize.KindTruncated
					if c.word == " close" {
						kind = normalize.KindInvalidReply
					}
					return fmt.Sprintf("cut %d%s", c.at, c.word), answered(kind)
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name:    "slow_answer_is_whole",
		promise: "an answer that comes in small pieces is read to its end",
		because: "TCP promises bytes, not packets",
		twice:   true,
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			b.server.Script(sandbox.MustScript("drip 40 0s")...)
			reply, err := b.send(ctx, c, "Grüße 😀")
			if err != nil {
				return err
			}
			return b.said(reply, b.Answer(1, "Grüße 😀", "Grüße 😀"))
		},
	},
	{
		name:    "oversize_answer_is_not_read",
		promise: "an answer of 50 MiB is too large, and reading stops early",
		because: "one vendor gone wild must not eat the memory of all",
		twice:   true,
		test: func(b *bench) error {
			return each([]string{"oversize 50MiB", "oversize 50MiB chunked"}, itself, func(fault string) error {
				err := refusals(b, []string{fault}, func(fault string) (string, wantError) {
					return fault, answered(normalize.KindTooLarge)
				})
				ledger, awaited := b.await(allDone)
				for _, e := range ledger {
					if e.Sent > 45<<20 {
						err = errors.Join(err, fmt.Errorf("the vendor got rid of %d MiB", e.Sent>>20))
					}
				}
				return errors.Join(err, awaited)
			})
		},
	},
	{
		name:    "refused_connection",
		promise: "a vendor that does not listen is unreachable, in phase P0",
		because: "nothing was written, so the message may safely go elsewhere at once",
		twice:   true,
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			gone, err := sandbox.Start(http.NotFoundHandler(), sandbox.Options{Name: "gone"})
			if err != nil {
				return err
			}
			_ = gone.Close()
			nobody, err := b.openAt(gone.URL()+b.Spec.TwinPath, roomy)
			if err != nil {
				return err
			}
			b.adapter = nobody
			reply, err := b.give(ctx, b.turn(c, "hello"))
			return wantError{kinds: []normalize.Kind{normalize.KindUnreachable}, phase: normalize.PhaseNone}.check(reply, err)
		},
	},
	{
		name:    "broken_connection",
		promise: "a connection that ends before the answer began is disconnected, in phase P1",
		because: "the vendor may have the message: it must neither be sent again nor be called failed",
		twice:   true,
		test: func(b *bench) error {
			return refusals(b, []string{"reset", "fin", "reset early", "read 5"}, func(fault string) (string, wantError) {
				return fault, unanswered(normalize.KindDisconnected)
			})
		},
	},
	{
		name:    "reset_in_the_answer",
		promise: "a connection that is reset after the head of the answer is a truncated answer",
		because: "the vendor has accepted the message, so it counts as sent",
		twice:   true,
		test: func(b *bench) error {
			return refusals(b, []string{"reset head"}, func(fault string) (string, wantError) {
				return fault, answered(normalize.KindTruncated)
			})
		},
	},
	{
		name:    "garbage_is_not_HTTP",
		promise: "what is no HTTP is told apart from a broken connection",
		because: "it says that something else listens there",
		twice:   true,
		test: func(b *bench) error {
			return refusals(b, []string{"garbage"}, func(fault string) (string, wantError) {
				return fault, unanswered(normalize.KindNotHTTP)
			})
		},
	},
	{
		name:    "silence_is_a_timeout",
		promise: "a vendor that takes the request and stays silent is given up after the first-byte limit, and sees the connection close",
		because: "a silent vendor would hold its callers for ever",
		twice:   true,
		test: func(b *bench) error {
			hasty := roomy
			hasty.FirstByte = 50 * time.Millisecond
			err := b.impatient(hasty, "tarpit", unanswered(normalize.KindTimeout))
			return errors.Join(err, b.peerLeft())
		},
	},
	{
		name:    "endless_1xx_is_given_up",
		promise: "informational answers without end do not hold a send longer than the first-byte limit",
		because: "they are no answer",
		twice:   true,
		test: func(b *bench) error {
			hasty := roomy
			hasty.FirstByte = 200 * time.Millisecond
			return b.impatient(hasty, "1xx", unanswered(normalize.KindTimeout, normalize.KindNotHTTP))
		},
	},
	{
		name:    "stalled_answer_is_a_timeout",
		promise: "an answer that stops coming is given up after the idle limit, and the vendor sees the connection close",
		because: "a stalled vendor would hold its callers for ever",
		twice:   true,
		test: func(b *bench) error {
			hasty := roomy
			hasty.Idle = 50 * time.Millisecond
			err := b.impatient(hasty, "drip 5 1h", answered(normalize.KindTimeout))
			return errors.Join(err, b.peerLeft())
		},
	},
	{
		name:    "caller_gone",
		promise: "a send whose context is cancelled returns at once as canceled, and the vendor sees the connection close",
		because: "that our client left is no fault of the vendor and must not open its breaker",
		twice:   true,
		test: func(b *bench) error {
			return b.cancelled("tarpit", errors.New("the client left"),
				unanswered(normalize.KindCanceled))
		},
	},
	{
		name:    "caller_gone_in_the_answer",
		promise: "a send whose context is cancelled while the answer comes returns at once as canceled",
		because: "nobody waits for the rest any more",
		twice:   true,
		test: func(b *bench) error {
			return b.cancelled("drip 5 1h", errors.New("the client left"),
				wantError{kinds: []normalize.Kind{normalize.KindCanceled}, phase: anyPhase})
		},
	},
	{
		name:    "cause_of_the_end_is_kept",
		promise: "a context that ends with a *normalize.Error as its cause gives a failure of that kind",
		because: "only who ended it knows whether the backend was slow, the budget used up, or the client gone",
		twice:   true,
		test: func(b *bench) error {
			kinds := []normalize.Kind{normalize.KindTimeout, normalize.KindDeadline, normalize.KindDraining}
			return each(kinds, normalize.Kind.String, func(kind normalize.Kind) error {
				want := unanswered(kind)
				return b.cancelled("tarpit", &normalize.Error{Kind: kind}, want)
			})
		},
	},
	{
		name:    "deadline_is_told",
		promise: "a context whose deadline passes gives deadline, or the kind of the deadline's cause",
		because: "the end of our own budget is no fault of the vendor, a backend's own timeout is",
		twice:   true,
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			b.server.Script(sandbox.MustScript("always tarpit")...)
			for _, d := range []struct {
				cause error
				kind  normalize.Kind
			}{{nil, normalize.KindDeadline}, {&normalize.Error{Kind: normalize.KindTimeout}, normalize.KindTimeout}} {
				short, cancel := context.WithTimeoutCause(ctx, 50*time.Millisecond, d.cause)
				err := within("Send", func() error {
					reply, err := b.give(short, b.turn(c, "hello"))
					return unanswered(d.kind).check(reply, err)
				})
				cancel()
				if err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name:    "cancelled_before",
		promise: "a context that has ended sends nothing",
		because: "the message is then certainly unsent, and may be called failed",
		twice:   true,
		test: func(b *bench) error {
			c, err := b.begin(context.Background())
			if err != nil {
				return err
			}
			b.server.ResetLedger()
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			reply, err := b.give(ctx, b.turn(c, "hello"))
			err = wantError{kinds: []normalize.Kind{normalize.KindCanceled}, phase: normalize.PhaseNone}.check(reply, err)
			if n := effects(b.server.Ledger()); n != 0 {
				err = errors.Join(err, fmt.Errorf("%d requests all the same", n))
			}
			return err
		},
	},
}

// refusals plays each item's fault for the first and for the second message of a
// thread, and checks that Send fails as it should, after one request.
func refusals[T any](b *bench, items []T, due func(T) (fault string, want wantError)) error {
	return errors.Join(refusalsAfter(b, nil, items, due), refusalsAfter(b, []string{"hello"}, items, due))
}

// refusalsAfter does it for the message after these.
func refusalsAfter[T any](b *bench, before []string, items []T, due func(T) (fault string, want wantError)) error {
	ctx := context.Background()
	var failures []error
	for _, item := range items {
		fault, want := due(item)
		c, err := b.talk(ctx, before...)
		if err != nil {
			return err
		}
		b.server.ResetLedger()
		b.server.Script(sandbox.MustScript(fault)...)
		err = within("Send", func() error {
			reply, err := b.give(ctx, b.turn(c, "hello again"))
			return want.check(reply, err)
		})
		b.server.Script()
		if err := errors.Join(err, b.onlyOne()); err != nil {
			failures = append(failures, fmt.Errorf("%s, message %d: %w", fault, len(before)+1, err))
		}
	}
	return errors.Join(failures...)
}

// healthyLength is about how long the body of the healthy answer is that is cut,
// and never longer than it.
func (b *bench) healthyLength(before []string) (int64, error) {
	if _, err := b.talk(context.Background(), slices.Concat(before, []string{"hello"})...); err != nil {
		return 0, err
	}
	ledger, err := b.await(allDone)
	if err != nil {
		return 0, err
	}
	return lastSend(ledger).Sent, nil
}

// impatient sends into a fault with limits that are soon reached. The thread is
// prepared with roomy ones.
func (b *bench) impatient(env adapters.Env, fault string, want wantError) error {
	ctx := context.Background()
	c, err := b.begin(ctx)
	if err != nil {
		return err
	}
	hasty, err := b.with(env)
	if err != nil {
		return err
	}
	b.server.ResetLedger()
	b.server.Script(sandbox.MustScript(fault)...)
	return within("Send", func() error {
		reply, err := hasty.give(ctx, hasty.turn(c, "hello"))
		return errors.Join(want.check(reply, err), b.onlyOne())
	})
}

// cancelled sends into a fault, and cancels when the vendor has the request.
func (b *bench) cancelled(fault string, cause error, want wantError) error {
	c, err := b.begin(context.Background())
	if err != nil {
		return err
	}
	b.server.ResetLedger()
	b.server.Script(sandbox.MustScript(fault)...)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		_, _ = b.await(func(ledger []sandbox.Entry) bool { return effects(ledger) > 0 })
		cancel(cause)
	}()
	err = within("Send after its context ended", func() error {
		reply, err := b.give(ctx, b.turn(c, "hello"))
		return want.check(reply, err)
	})
	return errors.Join(err, b.onlyOne(), b.peerLeft())
}

// onlyOne checks that one request with an effect is in the ledger.
func (b *bench) onlyOne() error {
	if n := effects(b.server.Ledger()); n != 1 {
		return fmt.Errorf("%d requests that can have an effect, want one: a failed send must not be repeated", n)
	}
	return nil
}

// peerLeft waits until the vendor has seen the connection close.
func (b *bench) peerLeft() error {
	_, err := b.await(func(ledger []sandbox.Entry) bool {
		return slices.ContainsFunc(ledger, func(e sandbox.Entry) bool { return e.Done && e.PeerLeft })
	})
	if err != nil {
		return fmt.Errorf("the vendor did not see the connection close: %w", err)
	}
	return nil
}

// await waits for the ledger of the twin.
func (b *bench) await(wanted func([]sandbox.Entry) bool) ([]sandbox.Entry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.server.Await(ctx, wanted)
}

// allDone is a ledger of requests that are over.
func allDone(ledger []sandbox.Entry) bool {
	return !slices.ContainsFunc(ledger, func(e sandbox.Entry) bool { return !e.Done })
}
