package conversations

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

func TestErrorBodiesBecomeKinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		retry  string // the Retry-After header
		body   string
		kind   normalize.Kind
		says   string
		wait   time.Duration
	}{
		{
			"no key", 401, "",
			`{"detail":"Authentication credentials were not provided."}`, normalize.KindUnauthorized, "credentials were not provided", 0,
		},
		{"key of a wrong form", 401, "", `{"detail":"Invalid API key format."}`, normalize.KindUnauthorized, "Invalid API key format.", 0},
		{"403 about the key", 403, "", `{"detail":"This API Key is disabled."}`, normalize.KindUnauthorized, "disabled", 0},
		{"403 about credentials", 403, "", `{"detail":"Bad credentials."}`, normalize.KindUnauthorized, "Bad credentials", 0},
		{
			"403 about the object", 403, "",
			`{"detail":"You do not have permission to perform this action."}`, normalize.KindRejected, "permission", 0,
		},
		{"403 without a word", 403, "", ``, normalize.KindRejected, "status 403", 0},
		{"not found", 404, "", `{"detail":"Not found."}`, normalize.KindRejected, "Not found.", 0},
		{"field errors", 400, "", `{"message":["This field is required."]}`, normalize.KindRejected, "message: This field is required.", 0},
		{
			"nested field errors", 400, "",
			`{"message":{"content":["Too long.","Really."],"attachments":[{},{"id":["No."]}]},"non_field_errors":["All wrong."]}`,
			normalize.KindRejected, "message.content: Too long.; message.content: Really.; message.attachments.id: No.; All wrong.", 0,
		},
		{"nested non-field errors", 400, "", `{"canvas":{"non_field_errors":["No."]}}`, normalize.KindRejected, "canvas: No.", 0},
		{"a list of errors", 400, "", `["Bad."]`, normalize.KindRejected, "Bad.", 0},
		{
			"detail wins over fields", 400, "",
			`{"x":["y"],"detail":"Sender is not of the organization."}`, normalize.KindRejected, "(status 400: Sender is not of the organization.)", 0,
		},
		{
			"throttled, in the body", 429, "",
			`{"detail":"Request was throttled. Expected available in 17 seconds."}`, normalize.KindRateLimited, "throttled", 17 * time.Second,
		},
		{"throttled, one second", 429, "", `{"detail":"Expected available in 1 second."}`, normalize.KindRateLimited, "", time.Second},
		{
			"throttled, the header wins", 429, "3",
			`{"detail":"Expected available in 17 seconds."}`, normalize.KindRateLimited, "", 3 * time.Second,
		},
		{"throttled, no time", 429, "", `{"detail":"Slow down."}`, normalize.KindRateLimited, "", 0},
		{"throttled, absurd time", 429, "", `{"detail":"available in 99999999999999999999 seconds"}`, normalize.KindRateLimited, "", 0},
		{"fault in HTML", 500, "", `<html><h1>Server Error (500)</h1></html>`, normalize.KindVendorFault, "status 500", 0},
		{"fault with detail", 502, "", `{"detail":"upstream"}`, normalize.KindVendorFault, "upstream", 0},
		{"overloaded", 503, "7", `{}`, normalize.KindOverloaded, "status 503", 7 * time.Second},
		{"quota", 402, "", `{"detail":"No credit left."}`, normalize.KindQuota, "No credit left.", 0},
		{"odd detail", 400, "", `{"detail":{"code":["x"]}}`, normalize.KindRejected, "detail.code: x", 0},
		{
			"nested without end", 400, "",
			strings.Repeat(`{"a":`, 5000) + `["x"]` + strings.Repeat(`}`, 5000), normalize.KindRejected, "(status 400)", 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := jsonAnswer(c.status, c.body)
			if c.retry != "" {
				answer.header.Set("Retry-After", c.retry)
			}
			_, err := send(t, openAt(t, newVendor(t, answer).url, nil), turnOf("hi", ""))
			e := wantKind(t, err, c.kind)
			if !strings.Contains(e.Text(), c.says) {
				t.Errorf("says %q, want %q in it", e.Text(), c.says)
			}
			if strings.ContainsAny(e.Text(), "<>") {
				t.Errorf("HTML in %q", e.Text())
			}
			if e.RetryAfter != c.wait || e.VendorStatus != c.status || e.Phase != normalize.PhaseStatus {
				t.Errorf("error is %+v, want a wait of %v", e, c.wait)
			}
		})
	}
}

func TestAnErrorThatRepeatsTheKeyDoesNotPassItOn(t *testing.T) {
	for _, status := range []int{400, 401, 403, 500} {
		v := newVendor(t, jsonAnswer(status, `{"detail":"Api-Key `+apiKey+` is bad","`+apiKey+`":["`+apiKey+`"]}`))
		_, err := send(t, openAt(t, v.url, nil), turnOf("hi", ""))
		if err == nil || strings.Contains(err.Error(), apiKey) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestEveryCallCarriesTheKeyInItsHeaderOnly(t *testing.T) {
	v := newVendor(t, canned{status: http.StatusTeapot})
	everyCall(context.Background(), openAt(t, v.url, styleMessages), normalize.Remote{ThreadID: conversationID})
	for _, r := range v.ledger() {
		if r.auth != "Api-Key "+apiKey {
			t.Errorf("%s %s: Authorization is %q", r.method, r.path, r.auth)
		}
		if strings.Contains(r.path+r.query+r.body, apiKey) {
			t.Errorf("%s %s: the key is outside of its header", r.method, r.path)
		}
	}
}

func TestAnEmptyExplanationLeavesTheStatusToDecide(t *testing.T) {
	for _, body := range []string{``, `{`, `null`, `7`, `{"detail":null}`, `{"detail":7}`, `[[[]]]`} {
		if f := explain(400, []byte(body)); f.Message != "" || f.Kind != normalize.KindInternal {
			t.Errorf("%q: fault is %+v, want none", body, f)
		}
	}
}

var (
	_ adapters.Checker = (*Settings)(nil)
	_ adapters.Remote  = (*Settings)(nil)
	_ adapters.Botted  = (*Settings)(nil)
)
