package normalize_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/normalize"
)

// kinds lists every kind there is: those whose policy is not the one that numbers
// out of range get.
func kinds(t *testing.T) (list []normalize.Kind) {
	for k := normalize.KindInternal; k == normalize.KindInternal || k.Policy().Name != "internal"; k++ {
		list = append(list, k)
	}
	if last := list[len(list)-1]; last != normalize.KindDraining {
		t.Fatalf("the kinds end with %v", last)
	}
	return list
}

// documented are the codes of the API, by status.
var documented = map[int][]string{
	400: {"invalid_json"},
	401: {"unauthenticated"},
	403: {"forbidden"},
	404: {"not_found"},
	405: {"method_not_allowed"},
	408: {"request_timeout"},
	409: {"idempotency_in_progress", "thread_busy"},
	413: {"body_too_large"},
	415: {"unsupported_media_type"},
	422: {"invalid_request", "idempotency_key_reused", "unsupported", "backend_rejected", "url_not_allowed"},
	429: {"rate_limited", "too_many_in_flight"},
	500: {"internal"},
	502: {"backend_error", "backend_invalid", "backend_truncated", "backend_unauthorized"},
	503: {"backend_unavailable", "breaker_open", "no_backend_available", "overloaded", "storage_unavailable", "draining"},
	504: {"backend_timeout", "deadline_exceeded"},
}

func TestEveryKindAnswersWithADocumentedCode(t *testing.T) {
	open := map[string]int{}
	for status, codes := range documented {
		for _, code := range codes {
			open[code] = status
		}
	}
	seen := map[string]normalize.Kind{}
	used := map[string]bool{}
	for _, k := range kinds(t) {
		p := k.Policy()
		if other, twice := seen[p.Name]; twice || p.Name == "" {
			t.Errorf("kind %d has the name %q, as kind %d", k, p.Name, other)
		}
		seen[p.Name] = k
		if open[p.Code] != p.Status {
			t.Errorf("%s answers %d %q, the API knows that code with status %d", p.Name, p.Status, p.Code, open[p.Code])
		}
		used[p.Code] = true
		if p.Detail == "" || strings.TrimSpace(p.Detail) != p.Detail || strings.HasSuffix(p.Detail, ".") {
			t.Errorf("%s has the detail %q: want a sentence without a stop", p.Name, p.Detail)
		}
		if k.String() != p.Name {
			t.Errorf("%s prints as %s", p.Name, k)
		}
	}
	for code := range open {
		if !used[code] {
			t.Errorf("no kind answers with %s", code)
		}
	}
}

// The table of the delivery contract, row by row.
func TestPoliciesAreTheDeliveryTable(t *testing.T) {
	type row struct {
		Status    int
		Code      string
		Count     normalize.Count
		Again     normalize.Again
		Elsewhere normalize.Elsewhere
		Message   normalize.MessageStatus
		CoolDown  time.Duration
	}
	const (
		none, failure, excluded               = normalize.CountNone, normalize.CountFailure, normalize.CountExcluded
		never, backedOff, waited, idempotent  = normalize.AgainNever, normalize.AgainBackedOff, normalize.AgainAfterWait, normalize.AgainIfIdempotent
		nowhere, atOnce, forgetful, stateless = normalize.ElsewhereNever, normalize.ElsewhereAtOnce, normalize.ElsewhereIfForgetful, normalize.ElsewhereIfStateless
		failed, unknown, sent                 = normalize.StatusFailed, normalize.StatusUnknown, normalize.StatusSent
		growing                               = time.Duration(-1)
	)
	want := map[normalize.Kind]row{
		normalize.KindUnreachable:  {503, "backend_unavailable", failure, backedOff, atOnce, failed, 0},
		normalize.KindBreakerOpen:  {503, "breaker_open", none, never, atOnce, failed, 0},
		normalize.KindCoolingDown:  {503, "backend_unavailable", none, never, atOnce, failed, 0},
		normalize.KindBackendBusy:  {503, "backend_unavailable", none, never, atOnce, failed, 0},
		normalize.KindDisconnected: {502, "backend_error", failure, idempotent, forgetful, unknown, 0},
		normalize.KindTimeout:      {504, "backend_timeout", failure, idempotent, forgetful, unknown, 0},
		normalize.KindRateLimited:  {503, "backend_unavailable", excluded, waited, atOnce, failed, growing},
		normalize.KindOverloaded:   {503, "backend_unavailable", failure, waited, atOnce, failed, growing},
		normalize.KindVendorFault:  {502, "backend_error", failure, idempotent, forgetful, unknown, 0},
		normalize.KindUnauthorized: {502, "backend_unauthorized", failure, never, atOnce, failed, 0},
		normalize.KindQuota:        {503, "backend_unavailable", excluded, never, atOnce, failed, 300 * time.Second},
		normalize.KindRejected:     {422, "backend_rejected", excluded, never, nowhere, failed, 0},
		normalize.KindRedirected:   {502, "backend_invalid", excluded, never, nowhere, unknown, 0},
		normalize.KindNotHTTP:      {502, "backend_invalid", failure, idempotent, forgetful, unknown, 0},
		normalize.KindInvalidReply: {502, "backend_invalid", failure, idempotent, stateless, sent, 0},
		normalize.KindTruncated:    {502, "backend_truncated", failure, idempotent, stateless, sent, 0},
		normalize.KindTooLarge:     {502, "backend_invalid", excluded, never, nowhere, sent, 0},
		normalize.KindCanceled:     {503, "draining", excluded, never, nowhere, "", 0},
		normalize.KindDeadline:     {504, "deadline_exceeded", excluded, never, nowhere, "", 0},
		normalize.KindNoBackend:    {503, "no_backend_available", none, never, nowhere, failed, 0},
		normalize.KindInternal:     {500, "internal", excluded, never, nowhere, unknown, 0},
	}
	for _, k := range kinds(t) {
		p := k.Policy()
		got := row{p.Status, p.Code, p.Count, p.Again, p.Elsewhere, p.Message, p.CoolDown}
		expected, attempt := want[k]
		if !attempt { // a refusal of our own says nothing about a backend
			expected = row{Status: p.Status, Code: p.Code}
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Name, diff)
		}
	}
}

func TestUnknownKindIsOurOwnFault(t *testing.T) {
	for _, k := range []normalize.Kind{-1, normalize.KindDraining + 1, 1000} {
		if k.String() != "internal" || k.Policy().Status != 500 {
			t.Errorf("kind %d is %s, status %d", int(k), k, k.Policy().Status)
		}
	}
}

// Retryable: the same request may succeed and cannot double anything.
func TestRetryableIsTrueOnlyWhereNothingCanDouble(t *testing.T) {
	for _, k := range kinds(t) {
		status := k.Policy().Status
		may := status == 408 || status == 409 || status == 429 || status == 503
		for outcome, want := range map[normalize.Outcome]bool{
			"": may, normalize.OutcomeNone: may, normalize.OutcomeUnknown: false, normalize.OutcomeDone: false,
		} {
			if got := (&normalize.Error{Kind: k, Outcome: outcome}).Retryable(); got != want {
				t.Errorf("%s with outcome %q: retryable %v, want %v", k, outcome, got, want)
			}
		}
	}
}

func TestMessageStatusFollowsTheKindAndElseThePhase(t *testing.T) {
	phases := []normalize.Phase{normalize.PhaseNone, normalize.PhaseWritten, normalize.PhaseStatus, normalize.PhaseContent}
	for _, k := range kinds(t) {
		for _, phase := range phases {
			want := k.Policy().Message
			switch {
			case phase == normalize.PhaseContent: // whoever was shown an answer knows that the vendor has the message
				want = normalize.StatusSent
			case want == "" && phase == normalize.PhaseNone:
				want = normalize.StatusFailed
			case want == "":
				want = normalize.StatusUnknown
			}
			if got := (&normalize.Error{Kind: k, Phase: phase}).MessageStatus(); got != want {
				t.Errorf("%s in %s: the message is %s, want %s", k, phase, got, want)
			}
		}
	}
	if got := fmt.Sprint(phases); got != "[P0 P1 P2 P3]" {
		t.Errorf("phases print as %s", got)
	}
}

func TestOutcomeFollowsTheMessageStatus(t *testing.T) {
	for status, want := range map[normalize.MessageStatus]normalize.Outcome{
		"": normalize.OutcomeNone, normalize.StatusPending: normalize.OutcomeNone, normalize.StatusFailed: normalize.OutcomeNone,
		normalize.StatusUnknown: normalize.OutcomeUnknown, normalize.StatusSent: normalize.OutcomeDone,
	} {
		if got := normalize.OutcomeOf(status); got != want {
			t.Errorf("%q: outcome %s, want %s", status, got, want)
		}
	}
}

func TestErrorSaysKindDetailAndCause(t *testing.T) {
	e := &normalize.Error{Kind: normalize.KindTimeout, Cause: io.EOF}
	if e.Text() != "the backend did not answer in time" || e.Error() != "timeout: the backend did not answer in time: EOF" || !errors.Is(e, io.EOF) {
		t.Errorf("text %q, error %q", e.Text(), e.Error())
	}
	e = normalize.InvalidField("limit", "must be 1 to %d", 200)
	want := &normalize.Error{
		Kind: normalize.KindInvalidRequest, Detail: "limit: must be 1 to 200",
		Fields: []normalize.FieldError{{Field: "limit", Detail: "must be 1 to 200"}},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("invalid field (-want +got):\n%s", diff)
	}
	if e := normalize.Errorf(normalize.KindForbidden, "not %s", "you"); e.Error() != "forbidden: not you" {
		t.Errorf("error %q", e)
	}
}

func TestAsErrorFindsOrMakesOne(t *testing.T) {
	known := normalize.Errorf(normalize.KindQuota, "x")
	if got := normalize.AsError(fmt.Errorf("a: %w", errors.Join(io.EOF, known))); got != known {
		t.Errorf("found %v", got)
	}
	if got := normalize.AsError(io.EOF); got.Kind != normalize.KindInternal || !errors.Is(got, io.EOF) || strings.Contains(got.Text(), "EOF") {
		t.Errorf("made %v", got)
	}
	if got := normalize.AsError(nil); got != nil {
		t.Errorf("made %v of no error", got)
	}
}
