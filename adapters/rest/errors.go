package rest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// opened gives the JSON of a 2xx answer that tells no error: an object, or a list
// where the description says so.
func (v *vendor) opened(answer vendorhttp.Answer, isList bool) (gjson.Result, error) {
	shape := answer.Object
	if isList {
		shape = answer.Array
	}
	misshapen := shape()
	if misshapen != nil && (!isList || answer.Object() != nil) {
		return gjson.Result{}, misshapen
	}
	root := gjson.ParseBytes(normalize.CleanBytes(answer.Body))
	if failure := v.failure(root, answer); failure != nil {
		return gjson.Result{}, failure
	}
	return root, misshapen
}

// done checks the answer to a call of which nothing is read: it may be empty.
func (v *vendor) done(answer vendorhttp.Answer) error {
	if len(bytes.TrimSpace(answer.Body)) == 0 {
		return nil
	}
	_, err := v.opened(answer, false)
	return err
}

// failure makes the failure of an error that came with status 200, as an answer or
// as an event of a stream; nil where there is none.
func (v *vendor) failure(root gjson.Result, answer vendorhttp.Answer) error {
	e := &v.about.Errors
	if !slices.ContainsFunc(e.When, func(c Condition) bool { return c.holds(root) }) {
		return nil
	}
	status, told := answer.Status, false
	if n, err := strconv.Atoi(e.Status.wordIn(root)); err == nil && n >= 400 && n <= 599 {
		status, told = n, true
	}
	fault := e.fault(status, root)
	if fault.Kind == normalize.KindInternal && told {
		fault.Kind = vendorhttp.KindOfStatus(status, fault.RetryAfter > 0)
	}
	return answer.Reported(fault, v.key)
}

// explain reads the body of an answer that is not 2xx.
func (v *vendor) explain(status int, body []byte) vendorhttp.Fault {
	if !json.Valid(body) {
		return vendorhttp.Fault{}
	}
	return v.about.Errors.fault(status, gjson.ParseBytes(body))
}

// fault reads an error. Its kind is set where a rule decides it.
func (e *Errors) fault(status int, root gjson.Result) vendorhttp.Fault {
	fault := vendorhttp.Fault{Code: first(e.Code, root), Message: first(e.Message, root)}
	if seconds, err := strconv.ParseFloat(e.RetryAfter.wordIn(root), 64); err == nil && seconds > 0 && seconds < 1e9 {
		fault.RetryAfter = time.Duration(seconds * float64(time.Second))
	}
	for i := range e.Kinds {
		if k := &e.Kinds[i]; k.fits(status, fault) {
			fault.Kind = kinds[k.Kind]
			break
		}
	}
	return fault
}

// kinds are what an error can be called in a description.
var kinds = map[string]normalize.Kind{
	"unauthorized": normalize.KindUnauthorized,
	"quota":        normalize.KindQuota,
	"rate_limited": normalize.KindRateLimited,
	"overloaded":   normalize.KindOverloaded,
	"vendor_fault": normalize.KindVendorFault,
	"rejected":     normalize.KindRejected,
}

func (k *ErrorKind) fits(status int, fault vendorhttp.Fault) bool {
	return fitsAny(k.Code, fault.Code) && fitsAny(lower(k.Message), strings.ToLower(fault.Message)) &&
		(len(k.Status) == 0 || slices.Contains(k.Status, status))
}

func lower(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = strings.ToLower(t)
	}
	return out
}

// fitsAny reports whether a text fits one of the patterns; no patterns fit all.
func fitsAny(patterns []string, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return fits(p, text) })
}

// fits reports whether a text fits a pattern in which * stands for any text.
func fits(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}

// first gives what stands at the first of some paths that has something.
func first(paths []Path, root gjson.Result) string {
	for _, p := range paths {
		if text := p.wordIn(root); text != "" {
			return text
		}
	}
	return ""
}
