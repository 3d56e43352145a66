package backend

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"chatmux/adapters"
	"chatmux/internal/telemetry"
	"chatmux/normalize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an adapter that does what a test says.
type fake struct {
	send func(context.Context, adapters.Turn) (adapters.Reply, error)
}

func (f fake) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return f.send(ctx, turn)
}

// ends makes an adapter that always ends in the same way; nil is a success.
func ends(failure *normalize.Error) fake {
	return fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
		if failure == nil {
			return adapters.Reply{}, nil
		}
		return adapters.Reply{}, failure
	}}
}

func open(a adapters.Adapter) (*Backend, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return New(Options{
		Name: "b", Vendor: "v", Adapter: a, Total: time.Minute, MaxInFlight: 4,
		Breaker: BreakerOptions{Failures: 5, Ratio: 0.5, MinRequests: 20, Interval: 2 * time.Minute, OpenFor: 30 * time.Second, Probes: 2},
		Retry:   RetryOptions{Attempts: 2, Base: time.Millisecond, Cap: time.Second},
		Log:     zap.New(core), Metrics: telemetry.New(),
	}), logs
}

// try makes one send, admission and all.
func (b *Backend) try(t *testing.T) *normalize.Error {
	t.Helper()
	a, refusal := b.Admit(t.Context())
	if refusal != nil {
		return refusal
	}
	defer a.Release()
	_, failure := a.Send(t.Context(), adapters.Turn{})
	return failure
}

func (b *Backend) wants(t *testing.T, state string) {
	t.Helper()
	if s := b.State().Breaker; s.State != state {
		t.Fatalf("the breaker is %+v, want %s", s, state)
	}
}

func fault(k normalize.Kind) *normalize.Error { return &normalize.Error{Kind: k} }

func TestFailuresInARowOpenTheBreakerAndItRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, logs := open(ends(fault(normalize.KindVendorFault)))
		for range 5 {
			b.wants(t, "closed")
			b.try(t)
		}
		b.wants(t, "open")
		began := time.Now()
		refusal := b.try(t)
		if refusal.Kind != normalize.KindBreakerOpen || refusal.RetryAfter < time.Second || refusal.RetryAfter > 36*time.Second || refusal.Backend != "b" {
			t.Errorf("refusal %+v", refusal)
		}
		if time.Since(began) != 0 {
			t.Error("a refusal waited")
		}
		if s := b.State().Breaker; s.Cause != "vendor_fault" || s.ConsecutiveFailures != 5 || !s.OpenUntil.After(s.Since) {
			t.Errorf("state %+v", s)
		}
		if n := logs.FilterMessage("breaker changed").Len(); n != 1 {
			t.Errorf("%d lines in the log, want 1", n)
		}
	})
}

func TestASlowOutageOpensTheBreakerThoughItsWindowForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := open(fake{func(ctx context.Context, _ adapters.Turn) (adapters.Reply, error) {
			<-ctx.Done()
			return adapters.Reply{}, context.Cause(ctx)
		}})
		for range 5 {
			if failure := b.try(t); failure.Kind != normalize.KindTimeout {
				t.Fatalf("failure %+v", failure)
			}
			time.Sleep(3 * time.Minute) // longer than the window
		}
		b.wants(t, "half_open") // it opened, and its time is over by now
	})
}

func TestAShareOfFailuresOpensTheBreakerOnlyFromEnoughResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			failures int
			state    string
		}{{9, "closed"}, {10, "open"}} {
			fail := false
			b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
				if fail {
					return adapters.Reply{}, fault(normalize.KindVendorFault)
				}
				return adapters.Reply{}, nil
			}})
			for i := range 20 { // never five failures in a row; the last result is a failure
				fail = i >= 20-2*tt.failures && i%2 == 1
				b.try(t)
			}
			b.wants(t, tt.state)
		}
	})
}

func TestWhatSaysNothingAboutTheBackendNeitherOpensNorCloses(t *testing.T) {
	for _, kind := range []normalize.Kind{normalize.KindRejected, normalize.KindCanceled, normalize.KindDeadline, normalize.KindRedirected, normalize.KindTooLarge} {
		t.Run(kind.String(), func(t *testing.T) {
			failure := fault(normalize.KindVendorFault)
			b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) { return adapters.Reply{}, failure }})
			for range 4 {
				b.try(t)
			}
			failure = fault(kind)
			for range 30 {
				b.try(t)
			}
			b.wants(t, "closed")
			failure = fault(normalize.KindVendorFault)
			b.try(t)
			b.wants(t, "open") // it was no success either: the fifth in a row
		})
	}
}

func TestHalfOpenLetsOnlyProbesThroughUntilTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing, answered := true, make(chan struct{})
		b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
			if failing {
				return adapters.Reply{}, fault(normalize.KindDisconnected)
			}
			<-answered
			return adapters.Reply{}, nil
		}})
		for range 5 {
			b.try(t)
		}
		time.Sleep(37 * time.Second)
		failing = false
		var through, refused int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a, refusal := b.Admit(t.Context())
				mu.Lock()
				if refusal != nil {
					refused++
				} else {
					through++
				}
				mu.Unlock()
				if refusal == nil {
					defer a.Release()
					a.Send(t.Context(), adapters.Turn{})
				}
			})
		}
		synctest.Wait()
		if through != 2 || refused != 48 {
			t.Errorf("%d went through and %d were refused, want 2 and 48", through, refused)
		}
		close(answered)
		wg.Wait()
		b.wants(t, "closed")
		if s := b.State().Breaker; s.Cause != "" || s.ConsecutiveFailures != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestAProbeThatHangsCountsAsAFailureAndNothingIsWedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		failing := true
		b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
			if failing {
				return adapters.Reply{}, fault(normalize.KindDisconnected)
			}
			<-hang
			return adapters.Reply{}, nil
		}})
		for range 5 {
			b.try(t)
		}
		failing = false
		var wg sync.WaitGroup
		for range 3 { // fewer rounds than there are slots: a hung probe keeps its own
			time.Sleep(37 * time.Second)
			wg.Go(func() { b.try(t) })
			synctest.Wait()
			b.wants(t, "half_open")
			time.Sleep(probeDeadline + time.Millisecond)
			synctest.Wait()
			b.wants(t, "open")
		}
		close(hang)
		wg.Wait()
		time.Sleep(37 * time.Second)
		b.try(t)
		b.try(t)
		b.wants(t, "closed")
	})
}

func TestAnAdmissionThatIsNotUsedGivesItsProbeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := true
		b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
			if failing {
				return adapters.Reply{}, fault(normalize.KindDisconnected)
			}
			return adapters.Reply{}, nil
		}})
		for range 5 {
			b.try(t)
		}
		time.Sleep(37 * time.Second)
		failing = false
		for range 10 {
			a, refusal := b.Admit(t.Context())
			if refusal != nil {
				t.Fatal(refusal)
			}
			a.Release()
			a.Release()
		}
		b.wants(t, "half_open")
		b.try(t)
		b.try(t)
		b.wants(t, "closed")
		if s := b.State(); s.InFlight != 0 {
			t.Errorf("%d places are taken, want 0", s.InFlight)
		}
	})
}

func TestAPauseThatTheVendorAsksForIsKept(t *testing.T) {
	for _, tt := range []struct {
		name    string
		failure normalize.Error
		rest    time.Duration
	}{
		{"429 with a wait", normalize.Error{Kind: normalize.KindRateLimited, RetryAfter: 7 * time.Second}, 7 * time.Second},
		{"429 with too short a wait", normalize.Error{Kind: normalize.KindRateLimited, RetryAfter: time.Millisecond}, time.Second},
		{"429 with too long a wait", normalize.Error{Kind: normalize.KindRateLimited, RetryAfter: time.Hour}, 300 * time.Second},
		{"429 without a wait", normalize.Error{Kind: normalize.KindRateLimited}, time.Second},
		{"503 with a wait", normalize.Error{Kind: normalize.KindOverloaded, RetryAfter: 20 * time.Second}, 20 * time.Second},
		{"quota", normalize.Error{Kind: normalize.KindQuota}, 300 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
					calls++
					failure := tt.failure
					return adapters.Reply{}, &failure
				}})
				if failure := b.try(t); failure.RetryAfter != tt.rest {
					t.Errorf("the failure asks for %v, want %v", failure.RetryAfter, tt.rest)
				}
				time.Sleep(tt.rest - time.Millisecond)
				if refusal := b.try(t); refusal.Kind != normalize.KindCoolingDown || refusal.RetryAfter != time.Millisecond || calls != 1 {
					t.Errorf("refusal %+v after %d calls", refusal, calls)
				}
				if until := b.State().CoolDownUntil; !until.Equal(time.Now().Add(time.Millisecond)) {
					t.Errorf("cooling down until %v", until)
				}
				time.Sleep(time.Millisecond)
				b.try(t)
				if calls != 2 {
					t.Errorf("%d calls, want 2", calls)
				}
			})
		})
	}
}

func TestPausesThatNobodyNamedGrowToAMinuteAndASuccessForgetsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := true
		b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
			if failing {
				return adapters.Reply{}, fault(normalize.KindRateLimited)
			}
			return adapters.Reply{}, nil
		}})
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			failure := b.try(t)
			if failure.RetryAfter != want*time.Second {
				t.Fatalf("a pause of %v, want %d s", failure.RetryAfter, want)
			}
			time.Sleep(failure.RetryAfter)
		}
		failing = false
		b.try(t)
		failing = true
		if failure := b.try(t); failure.RetryAfter != time.Second {
			t.Errorf("after a success a pause of %v, want 1 s", failure.RetryAfter)
		}
		b.wants(t, "closed")
	})
}

func TestABusyBackendRefusesAfterAShortWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
			<-release
			return adapters.Reply{}, nil
		}})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { b.try(t) })
		}
		synctest.Wait()
		began := time.Now()
		if refusal := b.try(t); refusal.Kind != normalize.KindBackendBusy {
			t.Errorf("refusal %+v", refusal)
		}
		if waited := time.Since(began); waited != slotWait {
			t.Errorf("waited %v, want %v", waited, slotWait)
		}
		time.AfterFunc(slotWait/2, func() { close(release) })
		if refusal := b.try(t); refusal != nil {
			t.Errorf("a place that gets free in time is not used: %+v", refusal)
		}
		wg.Wait()
		if s := b.State(); s.InFlight != 0 || s.MaxInFlight != 4 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestAPanicOfAnAdapterIsAFaultOfOursAndIsLoggedWithItsStack(t *testing.T) {
	b, logs := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) { panic("odd shape") }})
	failure := b.try(t)
	if failure.Kind != normalize.KindInternal || failure.MessageStatus() != normalize.StatusUnknown || strings.Contains(failure.Text(), "odd") {
		t.Errorf("failure %+v", failure)
	}
	lines := logs.FilterMessage("adapter panicked").All()
	if len(lines) != 1 || !strings.Contains(string(lines[0].ContextMap()["stack"].(string)), "backend_test.go") {
		t.Errorf("log %+v", lines)
	}
	b.wants(t, "closed")
}

func TestTheShorterOfTwoDeadlinesNamesTheFailure(t *testing.T) {
	for _, tt := range []struct {
		name   string
		budget time.Duration
		want   normalize.Kind
	}{
		{"the send's budget", time.Second, normalize.KindDeadline},
		{"the backend's own", time.Hour, normalize.KindTimeout},
		{"a tie is the backend's", time.Minute, normalize.KindTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := open(fake{func(ctx context.Context, _ adapters.Turn) (adapters.Reply, error) {
					<-ctx.Done()
					var failure *normalize.Error
					errors.As(context.Cause(ctx), &failure)
					return adapters.Reply{}, failure
				}})
				ctx, cancel := context.WithTimeoutCause(t.Context(), tt.budget, fault(normalize.KindDeadline))
				defer cancel()
				a, refusal := b.Admit(ctx)
				if refusal != nil {
					t.Fatal(refusal)
				}
				defer a.Release()
				if _, failure := a.Send(ctx, adapters.Turn{}); failure.Kind != tt.want {
					t.Errorf("failure %v, want %v", failure.Kind, tt.want)
				}
			})
		})
	}
}

func TestTheRetryBudgetIsATenthOfTheLastRequestsAndAtLeastThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := open(ends(nil))
		granted := func() (n int) {
			for b.AllowRetry() {
				n++
			}
			return n
		}
		if n := granted(); n != 3 {
			t.Errorf("%d without any request, want 3", n)
		}
		time.Sleep(10 * time.Second)
		for range 100 {
			b.try(t)
		}
		if n := granted(); n != 10 {
			t.Errorf("%d after 100 requests, want 10", n)
		}
		for range 10 { // the second tries themselves earn none
			b.try(t)
		}
		if n := granted(); n != 0 {
			t.Errorf("%d more after the second tries, want 0", n)
		}
		time.Sleep(10 * time.Second)
		if n := granted(); n != 3 {
			t.Errorf("%d after ten quiet seconds, want 3", n)
		}
	})
}

func TestVendorTextIsCleanedBeforeAnybodySeesIt(t *testing.T) {
	dirty := "a\x00b\xffc"
	b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
		return adapters.Reply{
			Remote:   normalize.Remote{ThreadID: dirty},
			Thread:   normalize.ThreadUpdate{Title: &dirty, Tags: []normalize.Tag{{Name: dirty}}, User: &normalize.User{Name: dirty}, Raw: []byte(`{"a":"` + "\xff" + `"}`)},
			Sent:     adapters.Sent{Author: normalize.Author{Name: dirty}},
			Messages: []normalize.Message{{Text: dirty, Sources: []normalize.Source{{Title: dirty}}, Raw: []byte(`"` + "\xff" + `"`)}},
		}, nil
	}})
	a, _ := b.Admit(t.Context())
	defer a.Release()
	reply, _ := a.Send(t.Context(), adapters.Turn{})
	const clean = "a\uFFFDb\uFFFDc"
	for name, got := range map[string]string{
		"remote id": reply.Remote.ThreadID, "title": *reply.Thread.Title, "tag": reply.Thread.Tags[0].Name, "user": reply.Thread.User.Name,
		"author": reply.Sent.Author.Name, "text": reply.Messages[0].Text, "source": reply.Messages[0].Sources[0].Title,
	} {
		if got != clean {
			t.Errorf("%s is %q, want %q", name, got, clean)
		}
	}
	if got := string(reply.Messages[0].Raw); got != `"`+"\uFFFD"+`"` {
		t.Errorf("raw is %q", got)
	}
	if got := string(reply.Thread.Raw); got != `{"a":"`+"\uFFFD"+`"}` {
		t.Errorf("raw of the thread is %q", got)
	}
}

func TestCapabilitiesFollowFromTheInterfacesAlone(t *testing.T) {
	b, _ := open(ends(nil))
	if got := b.Capabilities(); len(got) != 0 || got == nil {
		t.Errorf("an adapter that can only send has %#v", got)
	}
	b, _ = open(struct {
		fake
		adapters.History
		adapters.ThreadDeleter
	}{})
	if got := strings.Join(b.Capabilities(), " "); got != "history delete_thread" || b.Stateful() {
		t.Errorf("capabilities %q, stateful %v", got, b.Stateful())
	}
}

func TestAMessageThatTheAdapterHasNoTalentForIsNotSent(t *testing.T) {
	b, _ := open(fake{func(context.Context, adapters.Turn) (adapters.Reply, error) {
		t.Error("sent")
		return adapters.Reply{}, nil
	}})
	for _, m := range []normalize.Message{
		{Role: normalize.RoleOperator, Text: "hi"},
		{Role: normalize.RoleUser, Text: "hi", Attachments: []normalize.Attachment{{URL: "https://example.com/a.png"}}},
	} {
		a, _ := b.Admit(t.Context())
		if _, failure := a.Send(t.Context(), adapters.Turn{Message: m}); failure == nil || failure.Kind != normalize.KindUnsupported {
			t.Errorf("failure %+v", failure)
		}
		a.Release()
	}
}
