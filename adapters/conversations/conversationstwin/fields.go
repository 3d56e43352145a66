package conversationstwin

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The vendor's framework says what is wrong with a field in these words.
const (
	required      = "This field is required."
	notNull       = "This field may not be null."
	notBlank      = "This field may not be blank."
	notString     = "Not a valid string."
	notBoolean    = "Must be a valid boolean."
	notInteger    = "A valid integer is required."
	notUUID       = "Must be a valid UUID."
	notURL        = "Enter a valid URL."
	unknownField  = "Unexpected field."
	notDictionary = "Invalid data. Expected a dictionary."
	notList       = "Expected a list of items."
)

// problems are field errors: names to lists of texts, or to problems of what is
// nested there.
type problems map[string]any

func (p problems) add(field, text string) {
	list, _ := p[field].([]string)
	p[field] = append(list, text)
}

// fields is one JSON object that is being read. What was not asked for by the time
// of finish is unknown, and refused.
type fields struct {
	values   map[string]json.RawMessage
	known    map[string]bool
	problems problems
}

func newFields(values map[string]json.RawMessage) *fields {
	return &fields{values: values, known: map[string]bool{}, problems: problems{}}
}

// readFields reads a request's JSON object. Where that cannot be, the refusal is
// written and ok is false.
func readFields(w http.ResponseWriter, r *http.Request) (f *fields, ok bool) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, fmt.Sprintf("Unsupported media type %q in request.", r.Header.Get("Content-Type")))
		return nil, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "The body could not be read.")
		return nil, false
	}
	if !utf8.Valid(body) || !json.Valid(body) {
		fail(w, http.StatusBadRequest, "JSON parse error.")
		return nil, false
	}
	values := map[string]json.RawMessage{}
	if json.Unmarshal(body, &values) != nil || values == nil {
		answer(w, http.StatusBadRequest, problems{"non_field_errors": []string{notDictionary}})
		return nil, false
	}
	return newFields(values), true
}

// finish refuses what is unknown and reports whether all is well; the refusal is
// written if not.
func (f *fields) finish(w http.ResponseWriter) bool {
	f.refuseUnknown()
	if len(f.problems) > 0 {
		answer(w, http.StatusBadRequest, f.problems)
		return false
	}
	return true
}

func (f *fields) refuseUnknown() {
	for name := range f.values {
		if !f.known[name] {
			f.problems.add(name, unknownField)
		}
	}
}

// value gives a field that is there and not null.
func (f *fields) value(name string, must bool) (json.RawMessage, bool) {
	f.known[name] = true
	v, there := f.values[name]
	null := string(v) == "null"
	switch {
	case !there && must:
		f.problems.add(name, required)
	case null && must:
		f.problems.add(name, notNull)
	}
	return v, there && !null
}

func (f *fields) text(name string, must bool) string {
	v, ok := f.value(name, must)
	if !ok {
		return ""
	}
	var s string
	if v[0] != '"' || json.Unmarshal(v, &s) != nil {
		f.problems.add(name, notString)
	}
	return s
}

// choice reads one of some words; the first of them where there is none.
func (f *fields) choice(name string, words ...string) string {
	s := f.text(name, false)
	switch {
	case s == "":
		return words[0]
	case !slices.Contains(words, s):
		f.problems.add(name, fmt.Sprintf("%q is not a valid choice.", s))
	}
	return s
}

// uuid reads an id; a blank one is no id.
func (f *fields) uuid(name string, must bool) string {
	s := f.text(name, must)
	switch _, wrong := f.problems[name]; {
	case wrong:
	case s == "" && must:
		f.problems.add(name, notBlank)
	case s != "" && !isUUID(s):
		f.problems.add(name, notUUID)
	}
	return s
}

// flag reads a switch, nil where there is none.
func (f *fields) flag(name string, must bool) *bool {
	v, ok := f.value(name, must)
	if !ok {
		return nil
	}
	var on bool
	if json.Unmarshal(v, &on) != nil {
		f.problems.add(name, notBoolean)
		return nil
	}
	return &on
}

func (f *fields) number(name string, must bool) int {
	v, ok := f.value(name, must)
	if !ok {
		return 0
	}
	var n int
	if json.Unmarshal(v, &n) != nil || n < 0 {
		f.problems.add(name, notInteger)
	}
	return n
}

// object reads an object; nil where there is none.
func (f *fields) object(name string, must bool) *fields {
	v, ok := f.value(name, must)
	if !ok {
		return nil
	}
	var values map[string]json.RawMessage
	if v[0] != '{' || json.Unmarshal(v, &values) != nil {
		f.problems.add(name, notDictionary)
		return nil
	}
	return newFields(values)
}

// nest takes over the problems of an object that was read out of this one.
func (f *fields) nest(name string, inner *fields) {
	inner.refuseUnknown()
	if len(inner.problems) > 0 {
		f.problems[name] = inner.problems
	}
}

// parameters reads a query; what is not among the known names is refused.
func parameters(r *http.Request, known ...string) (url.Values, problems) {
	wrong := problems{}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		wrong.add("non_field_errors", "The query cannot be read.")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			wrong.add(name, "Unexpected parameter.")
		} else if len(values) > 1 {
			wrong.add(name, "Given more than once.")
		}
	}
	return query, wrong
}

// number reads a whole number from 1 on; fallback where it is not given.
func number(query url.Values, wrong problems, name string, fallback int) int {
	if !query.Has(name) {
		return fallback
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 1 {
		wrong.add(name, notInteger)
		return fallback
	}
	return n
}

// page is a part of a list. Count is there only where the list is paged by number.
type page struct {
	Count    *int    `json:"count,omitempty"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []any   `json:"results"`
}

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// answerByNumber writes one numbered page of n items.
func answerByNumber(w http.ResponseWriter, r *http.Request, query url.Values, wrong problems, n int, item func(i int) any) {
	size := min(number(query, wrong, "pageSize", defaultPageSize), maxPageSize)
	at := number(query, wrong, "page", 1)
	if len(wrong) > 0 {
		answer(w, http.StatusBadRequest, wrong)
		return
	}
	if at > max(1, (n+size-1)/size) {
		fail(w, http.StatusNotFound, "Invalid page.")
		return
	}
	p := page{Count: &n, Results: []any{}}
	for i := (at - 1) * size; i < min(at*size, n); i++ {
		p.Results = append(p.Results, item(i))
	}
	if at*size < n {
		p.Next = pageURL(r, query, "page", strconv.Itoa(at+1))
	}
	if at > 1 {
		p.Previous = pageURL(r, query, "page", strconv.Itoa(at-1))
	}
	answer(w, http.StatusOK, p)
}

// pageURL is the request's own URL, absolute, with another page.
func pageURL(r *http.Request, query url.Values, name, value string) *string {
	other := url.Values{}
	for k, v := range query {
		other[k] = v
	}
	other.Set(name, value)
	s := origin(r) + r.URL.Path + "?" + other.Encode()
	return &s
}
