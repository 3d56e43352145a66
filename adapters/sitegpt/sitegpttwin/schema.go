package sitegpttwin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody is the largest request body that is read.
const maxBody = 4 << 20

// schema is the fields that a body may have.
type schema map[string]field

// field says what one field may hold: a string, or an object where there is one.
type field struct {
	required bool
	nullable bool
	oneOf    []string
	url      bool
	object   schema
}

// fields is a body that its schema accepts. Null and absent are the same.
type fields map[string]any

func (f fields) text(name string) string {
	s, _ := f[name].(string)
	return s
}

func (f fields) has(name string) bool { return f[name] != nil }

func (f fields) object(name string) fields {
	object, _ := f[name].(map[string]any)
	return object
}

// read reads a JSON body and checks it whole.
func (s schema) read(w http.ResponseWriter, r *http.Request) (fields, []fieldProblem) {
	if contentType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || contentType != "application/json" {
		return nil, []fieldProblem{{"Content-Type", "must be application/json"}}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, []fieldProblem{{"body", "is no JSON"}}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, []fieldProblem{{"body", "is more than one JSON value"}}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, []fieldProblem{{"body", "must be an object"}}
	}
	return object, s.check("", object)
}

// check returns what is wrong with an object, in the order of the fields' names.
func (s schema) check(path string, object map[string]any) []fieldProblem {
	var problems []fieldProblem
	for name, value := range object {
		if f, known := s[name]; known {
			problems = append(problems, f.check(path+name, value)...)
		} else {
			problems = append(problems, fieldProblem{path + name, "is not a field of this request"})
		}
	}
	for name, f := range s {
		if _, given := object[name]; f.required && !given {
			problems = append(problems, fieldProblem{path + name, "is required"})
		}
	}
	slices.SortFunc(problems, func(a, b fieldProblem) int { return strings.Compare(a.Field, b.Field) })
	return problems
}

func (f field) check(path string, value any) []fieldProblem {
	if value == nil {
		if f.nullable {
			return nil
		}
		return []fieldProblem{{path, "must not be null"}}
	}
	if f.object != nil {
		object, ok := value.(map[string]any)
		if !ok {
			return []fieldProblem{{path, "must be an object"}}
		}
		return f.object.check(path+".", object)
	}
	text, ok := value.(string)
	switch {
	case !ok:
		return []fieldProblem{{path, "must be a string"}}
	case f.required && text == "":
		return []fieldProblem{{path, "must not be empty"}}
	case f.oneOf != nil && !slices.Contains(f.oneOf, text):
		return []fieldProblem{{path, fmt.Sprintf("must be one of %s", strings.Join(f.oneOf, ", "))}}
	case f.url && !isURL(text):
		return []fieldProblem{{path, "must be a URL"}}
	}
	return nil
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
