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
	fault := vendorhttp.Fault{Message: detail}
	switch status {
	case http.StatusForbidden:
		if ourKey.MatchString(detail) {
			fault.Kind = normalize.KindUnauthorized
		}
	case http.StatusTooManyRequests:
		if found := throttled.FindStringSubmatch(detail); found != nil {
			seconds, _ := strconv.Atoi(found[1]) // nine digits always fit
			fault.RetryAfter = time.Duration(seconds) * time.Second
		}
	}
	return fault
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
