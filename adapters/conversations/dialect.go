package conversations

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// dialect is the platform's own API at the front, whoever answers behind. Every call is
// served under /api and /api/v1, with the trailing slash that the documents write
// and without it.
//
// Where the documents are silent: an unknown field of a request is passed over, as
// the framework of the vendor does; POST /messages/ answers 201 when the answer is
// there already, so that the next look at the list has it; several replies are one
// content, with an empty line between them.
func dialect() *adapters.Dialect {
	d := &adapters.Dialect{Name: ownName, Key: callerKey, Fail: writeFailure}
	for _, e := range []adapters.Endpoint{
		{Method: http.MethodPost, Path: "/chatbots/{id}/completions", Send: true, Serve: serveCompletion},
		{Method: http.MethodGet, Path: "/chatbots/{id}/records", Serve: serveRecords},
		{Method: http.MethodGet, Path: "/chatbots/{id}/records/export-excel", Serve: serveWorkbook},
		{Method: http.MethodPost, Path: "/messages", Send: true, Serve: serveNewMessage},
		{Method: http.MethodGet, Path: "/messages", Serve: serveMessages},
		{Method: http.MethodGet, Path: "/messages/{id}", Serve: serveMessage},
		{Method: http.MethodPost, Path: "/conversations", Serve: serveNewConversation},
		{Method: http.MethodGet, Path: "/conversations", Serve: serveConversations},
		{Method: http.MethodGet, Path: "/conversations/{id}", Serve: serveConversation},
	} {
		path := e.Path
		for _, version := range []string{"/api", "/api/v1"} {
			e.Path = version + path + "/"
			d.Endpoints = append(d.Endpoints, e)
		}
	}
	return d
}

const scheme = "Api-Key "

// callerKey reads Authorization: Api-Key <key>.
func callerKey(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 || len(values[0]) <= len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
		return ""
	}
	return values[0][len(scheme):]
}

// writeFailure answers {"detail": …}, or an object of field names to lists of texts
// where fields of the request are wrong.
func writeFailure(w http.ResponseWriter, r *http.Request, _ string, failure *normalize.Error) {
	status := failure.Kind.Policy().Status
	var body any
	switch {
	case status == http.StatusUnprocessableEntity && len(failure.Fields) > 0:
		status, body = http.StatusBadRequest, nest(failure.Fields)
	case status == http.StatusUnprocessableEntity:
		status, body = http.StatusBadRequest, detail(failure.Text())
	case status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", strings.TrimSpace(scheme))
		body = detail(unauthenticated(r.Header))
	case status == http.StatusMethodNotAllowed:
		body = detail(fmt.Sprintf("Method \"%s\" not allowed.", r.Method))
	default:
		body = detail(failure.Text())
	}
	_ = answer(w, status, body) // the client is gone where it fails
}

func unauthenticated(h http.Header) string {
	switch {
	case len(h.Values("Authorization")) == 0:
		return "Authentication credentials were not provided."
	case callerKey(h) == "":
		return "Invalid API key format."
	default:
		return "Invalid API key."
	}
}

func detail(text string) any {
	return struct {
		Detail string `json:"detail"`
	}{text}
}

// nest writes field errors as the vendor's framework does: names within names, the
// items of a list by their place.
func nest(problems []normalize.FieldError) any {
	var texts []string
	below := make(map[string][]normalize.FieldError)
	items := 0 // of a list
	for _, p := range problems {
		name, rest := step(p.Field)
		if name == "" {
			texts = append(texts, p.Detail)
			continue
		}
		if place, err := strconv.Atoi(name); err == nil {
			items = max(items, place+1)
		}
		below[name] = append(below[name], normalize.FieldError{Field: rest, Detail: p.Detail})
	}
	switch {
	case texts != nil:
		return texts
	case items > 0:
		list := make([]any, items)
		for i := range list {
			if list[i] = struct{}{}; below[strconv.Itoa(i)] != nil {
				list[i] = nest(below[strconv.Itoa(i)])
			}
		}
		return list
	}
	object := make(map[string]any, len(below))
	for name, inner := range below {
		object[name] = nest(inner)
	}
	return object
}

// step cuts the first name, or the place in a list, off a field's path.
func step(path string) (name, rest string) {
	if inner, ok := strings.CutPrefix(path, "["); ok {
		name, rest, _ = strings.Cut(inner, "]")
		return name, strings.TrimPrefix(rest, ".")
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return path, ""
	}
	return path[:end], strings.TrimPrefix(path[end:], ".")
}

// answer writes one JSON value.
func answer(w http.ResponseWriter, status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left is none of our failures
	return nil
}

func notFound(what string) error {
	return normalize.Errorf(normalize.KindNotFound, "No %s matches the given query.", what)
}
