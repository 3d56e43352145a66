package vendorhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chatmux/normalize"
)

// Object checks that the answer is one JSON object and nothing else. HTML, an
// empty body, broken JSON and JSON of another shape are KindInvalidReply.
func (a Answer) Object() error { return a.shape('{', "object") }

// Array checks that the answer is one JSON array and nothing else.
func (a Answer) Array() error { return a.shape('[', "array") }

func (a Answer) shape(first byte, name string) error {
	trimmed := bytes.TrimLeft(a.Body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return a.Invalid("the backend's answer is empty")
	case trimmed[0] == '<':
		return a.Invalid("the backend answered with a web page")
	case !json.Valid(a.Body): // not gjson: it recurses without a limit, so a deep enough body would end the process
		return a.Invalid("the backend's answer is not valid JSON")
	case trimmed[0] != first:
		return a.Invalid("the backend's answer is not a JSON " + name)
	}
	return nil
}

// Invalid makes the failure of a 2xx answer that is not what the vendor's API
// promises. The detail must not repeat the vendor's text.
func (a Answer) Invalid(detail string) *normalize.Error {
	return &normalize.Error{Kind: normalize.KindInvalidReply, Phase: normalize.PhaseStatus, VendorStatus: a.Status, Detail: detail}
}

// Reported makes the failure of an error that the vendor told in an answer of
// status 2xx. A fault without a kind is KindVendorFault. The key is taken out of
// what is shown.
func (a Answer) Reported(fault Fault, key normalize.Secret) *normalize.Error {
	kind := fault.Kind
	if kind == normalize.KindInternal {
		kind = normalize.KindVendorFault
	}
	detail := fmt.Sprintf("%s (status %d, with an error", kind.Policy().Detail, a.Status)
	if text := normalize.Excerpt(key.Redact(fault.Message), excerptLength); text != "" {
		detail += ": " + text
	}
	return &normalize.Error{
		Kind:         kind,
		Phase:        normalize.PhaseStatus,
		VendorStatus: a.Status,
		VendorCode:   normalize.Excerpt(key.Redact(fault.Code), 64),
		RetryAfter:   fault.RetryAfter,
		Detail:       detail + ")",
	}
}

// ParseRetryAfter reads a Retry-After header: seconds, or an HTTP date as seen
// from now. False where there is none or it cannot be read; a date that has
// passed is zero and true.
func ParseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if n, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
