package conversations

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

var (
	// throttled is the sentence of the framework that the vendor is built on.
	throttled = regexp.MustCompile(`(?i)available in (\d{1,9}) seconds?`)
	// ourKey tells a 403 that refuses the key from one that refuses the input.
	ourKey = regexp.MustCompile(`(?i)api[ _-]?key|credential`)
)

// explain reads an error body: `detail`, else an object of field names to lists of
// texts, which may nest.
func explain(status int, body []byte) vendorhttp.Fault {
	if !json.Valid(body) {
		return vendorhttp.Fault{}
	}
	v := gjson.ParseBytes(body)
	detail := text(v.Get("detail"))
	if detail == "" {
		var problems []string
		collectProblems(v, "", 0, &problems)
		return vendorhttp.Fault{Message: strings.Join(problems, "; ")}
	}
	return faultOf(status, detail)
}

// faultOf makes the fault of a status and the sentence that came with it.
func faultOf(status int, sentence string) vendorhttp.Fault {
	fault := vendorhttp.Fault{Message: sentence}
	switch status {
	case http.StatusForbidden:
		if ourKey.MatchString(sentence) {
			fault.Kind = normalize.KindUnauthorized
		}
	case http.StatusTooManyRequests:
		if found := throttled.FindStringSubmatch(sentence); found != nil {
			seconds, _ := strconv.Atoi(found[1]) // nine digits always fit
			fault.RetryAfter = time.Duration(seconds) * time.Second
		}
	}
	return fault
}

// statusOfCode gives the statuses of the codes that errors have in the framework
// that the vendor is built on, and of those that chatbots in general have.
var statusOfCode = map[string]int{
	"invalid": 400, "parse_error": 400, "content_filter": 400,
	"not_authenticated": 401, "authentication_failed": 401, "invalid_api_key": 401,
	"quota_exceeded": 402, "insufficient_quota": 402,
	"permission_denied": 403,
	"not_found":         404,
	"throttled":         429, "rate_limit_exceeded": 429,
}

// faultIn reads a frame of a stream that tells an error; false for every other one.
// The documents know none. Taken for one is what such APIs write: an error, as an
// object or a sentence, or a detail in a frame that is no piece of an answer. Its
// status is one that stands in it, else that of its code, else what its sentence
// is about.
func faultIn(frame gjson.Result) (vendorhttp.Fault, bool) {
	e := frame.Get("error")
	var sentence string
	switch {
	case e.IsObject() && e.Raw != "{}":
		sentence = text(firstTold(e, "detail", "message"))
	case text(e) != "":
		sentence, e = text(e), frame
	case text(frame.Get("detail")) != "" && !frame.Get("content").Exists() && !frame.Get("done").Exists():
		sentence, e = text(frame.Get("detail")), frame
	default:
		return vendorhttp.Fault{}, false
	}
	code := scalar(firstTold(e, "code", "type"))
	status := 0
	for _, word := range []string{scalar(e.Get("status")), scalar(e.Get("status_code")), code} {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n <= 599 && status == 0 {
			status = n
		}
	}
	switch {
	case status != 0:
	case statusOfCode[code] != 0:
		status = statusOfCode[code]
	case throttled.MatchString(sentence):
		status = http.StatusTooManyRequests
	case ourKey.MatchString(sentence):
		status = http.StatusUnauthorized
	default:
		status = http.StatusInternalServerError
	}
	fault := faultOf(status, sentence)
	fault.Code = code
	if fault.Kind == normalize.KindInternal {
		fault.Kind = vendorhttp.KindOfStatus(status, false)
	}
	return fault, true
}

// The limits of what is read of the problems with a request: enough for a person.
const (
	maxProblems     = 8
	maxProblemDepth = 8
)

// collectProblems flattens field errors to `message.content: text`.
func collectProblems(v gjson.Result, field string, depth int, problems *[]string) {
	if depth > maxProblemDepth || len(*problems) >= maxProblems {
		return
	}
	switch {
	case v.IsObject():
		v.ForEach(func(name, value gjson.Result) bool {
			inner := text(name)
			switch {
			case inner == "non_field_errors" || inner == "nonFieldErrors":
				inner = field
			case field != "":
				inner = field + "." + inner
			}
			collectProblems(value, inner, depth+1, problems)
			return len(*problems) < maxProblems
		})
	case v.IsArray():
		v.ForEach(func(_, value gjson.Result) bool {
			collectProblems(value, field, depth+1, problems)
			return len(*problems) < maxProblems
		})
	case v.Type == gjson.String && field == "":
		*problems = append(*problems, text(v))
	case v.Type == gjson.String:
		*problems = append(*problems, field+": "+text(v))
	}
}
