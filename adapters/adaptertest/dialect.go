package adaptertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// DialectCall is one call as a vendor's documents have it, and what they say that it
// answers. $name in the path and the body stands for what an earlier call has kept.
type DialectCall struct {
	Name   string // the promise
	Method string
	Path   string // below the server's root, with its query; or a whole address, as a page names the next
	Body   string // JSON; empty for none
	Status int
	Shape  Shape             // of the whole answer; nil: none is looked at
	Keep   map[string]string // name → where it stands in the answer, as results.0.id
	Also   func(t *testing.T, answer any)
}

// Front is a running chatmux whose dialect is tested.
type Front struct {
	URL    string
	Header http.Header       // the caller's key, in the vendor's form
	Kept   map[string]string // what $name stands for at the beginning
}

// RunDialect makes the calls in their order. A client of the vendor was written against
// the vendor's documents, so every field, its type, and whether it may be null or
// missing, is as they have it: one more can break a strict reader as one less
// breaks any.
func RunDialect(t *testing.T, front Front, calls []DialectCall) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	kept := maps.Clone(front.Kept)
	if kept == nil {
		kept = make(map[string]string)
	}
	var names []string // the longest first, so that $a does not spoil $ab
	fill := func(s string) string {
		for _, name := range names {
			s = strings.ReplaceAll(s, "$"+name, kept[name])
		}
		return s
	}
	for _, c := range calls {
		names = slices.SortedFunc(maps.Keys(kept), func(a, b string) int { return len(b) - len(a) })
		ok := t.Run(c.Name, func(t *testing.T) {
			answer := front.call(t, client, c.Method, fill(c.Path), fill(c.Body), c.Status)
			if c.Shape != nil {
				for _, wrong := range c.Shape.wrong("", answer) {
					t.Error(wrong)
				}
			}
			for name, path := range c.Keep {
				value := At(answer, path)
				if value == nil {
					t.Fatalf("%s is missing", path)
				}
				kept[name] = fmt.Sprint(value)
			}
			if c.Also != nil {
				c.Also(t, answer)
			}
		})
		if !ok {
			return // the others build on it
		}
	}
}

// call makes one request and reads the JSON that it answers.
func (f Front) call(t *testing.T, client *http.Client, method, path, body string, status int) (v any) {
	t.Helper()
	if !strings.HasPrefix(path, f.URL) {
		path = f.URL + path
	}
	request, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, f.Header)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, response.StatusCode, status, text)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return v
}

// At gives what stands at a path of names and places, as results.0.id; nil where there
// is nothing.
func At(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch inner := v.(type) {
		case map[string]any:
			v = inner[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(inner) {
				return nil
			}
			v = inner[i]
		default:
			return nil
		}
	}
	return v
}

// Shape is what a JSON value must be. Kinds of values, lists and objects are made of
// each other.
type Shape interface {
	wrong(path string, v any) []string
}

// Object has exactly these fields. One that is Optional may be missing.
type Object map[string]Shape

func (o Object) wrong(path string, v any) (problems []string) {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %v, want an object", path, v)}
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		field, there := object[name]
		_, optional := o[name].(optional)
		switch {
		case there:
			problems = append(problems, o[name].wrong(path+"."+name, field)...)
		case !optional:
			problems = append(problems, path+"."+name+" is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if _, known := o[name]; !known {
			problems = append(problems, path+"."+name+" is not in the vendor's documents")
		}
	}
	return problems
}

// List is a list of items of one shape, which may be empty.
func List(item Shape) Shape { return list{item} }

type list struct{ item Shape }

func (l list) wrong(path string, v any) (problems []string) {
	items, ok := v.([]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %v, want a list", path, v)}
	}
	for i, item := range items {
		problems = append(problems, l.item.wrong(fmt.Sprintf("%s[%d]", path, i), item)...)
	}
	return problems
}

// OrNull is a shape, or null.
func OrNull(s Shape) Shape { return orNull{s} }

type orNull struct{ shape Shape }

func (o orNull) wrong(path string, v any) []string {
	if v == nil {
		return nil
	}
	return o.shape.wrong(path, v)
}

// Optional is the shape of a field that may be missing.
func Optional(s Shape) Shape { return optional{s} }

type optional struct{ shape Shape }

func (o optional) wrong(path string, v any) []string { return o.shape.wrong(path, v) }

// kind is a value that is no object and no list.
type kind struct {
	name string
	is   func(v any) bool
}

func (k kind) wrong(path string, v any) []string {
	if k.is(v) {
		return nil
	}
	return []string{fmt.Sprintf("%s is %#v, want %s", path, v, k.name)}
}

// Text is any text.
func Text() Shape {
	return kind{"a text", func(v any) bool { _, ok := v.(string); return ok }}
}

// Match is a text that matches a pattern as a whole.
func Match(name, pattern string) Shape {
	re := regexp.MustCompile("^(?:" + pattern + ")$")
	return kind{name, func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) }}
}

// UUID is a text of that form.
func UUID() Shape {
	return Match("a UUID", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
}

// Number is any number.
func Number() Shape {
	return kind{"a number", func(v any) bool { _, ok := v.(float64); return ok }}
}

// Integer is a whole number.
func Integer() Shape {
	return kind{"a whole number", func(v any) bool { f, ok := v.(float64); return ok && f == math.Trunc(f) }}
}

// Bool is true or false.
func Bool() Shape {
	return kind{"true or false", func(v any) bool { _, ok := v.(bool); return ok }}
}

// Is is one of some texts, numbers (as float64) or truth values; nil is null.
func Is(values ...any) Shape {
	return kind{fmt.Sprintf("one of %v", values), func(v any) bool {
		switch v.(type) {
		case map[string]any, []any:
			return false // they cannot be compared
		}
		return slices.Contains(values, v)
	}}
}
