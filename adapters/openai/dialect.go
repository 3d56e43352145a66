package openai

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// dialect is OpenAI's chat completions at the front, whoever answers behind.
//
// Its clients keep the conversation and send all of it every time; behind are bots that
// keep it, too. So of the messages only the last one is sent on, which is the user's,
// and those before it say in which thread: each answer is recorded under the hash of all
// that was said so far, with the model and the user. A client that goes on where it
// was finds its thread by that, and the vendor's conversation goes on. One that
// goes on from elsewhere (an answer made anew, a message changed, another model)
// gets a thread of its own, which takes the earlier messages along. The header Chatmux-Thread names a
// thread outright; then the earlier messages do not matter. Every answer has that
// header.
//
// Which messages count: user and assistant by their text, white space at its ends left
// aside, and the addresses of images; tool and function by theirs, so that
// such a history never passes for another. system and developer are
// instructions, not part of what was said: they are neither compared nor sent on (a
// backend has its instructions in its settings), and a client may put the time of
// day into them.
func dialect() *adapters.Dialect {
	return &adapters.Dialect{
		Name: "openai",
		Endpoints: []adapters.Endpoint{
			{Method: http.MethodPost, Path: "/v1/chat/completions", Send: true, Serve: serveCompletion},
			{Method: http.MethodGet, Path: "/v1/models", Serve: serveModels},
			{Method: http.MethodGet, Path: "/v1/models/{model}", Serve: serveModel},
		},
		Key:  callerKey,
		Fail: writeFailure,
	}
}

// callerKey reads Authorization: Bearer <key>.
func callerKey(h http.Header) string {
	const scheme = "Bearer "
	values := h.Values("Authorization")
	if len(values) != 1 || len(values[0]) <= len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
		return ""
	}
	return values[0][len(scheme):]
}

// writeFailure answers {"error": {message, type, code, param}}. The official clients try
// 408, 409, 429 and every 5xx again by themselves, twice; x-should-retry tells them
// not to where the message may have reached a bot, or where trying again cannot help.
func writeFailure(w http.ResponseWriter, r *http.Request, _ string, failure *normalize.Error) {
	if !failure.Retryable() {
		w.Header().Set("X-Should-Retry", "false")
	}
	if failure.ThreadID != "" {
		w.Header().Set(threadHeader, failure.ThreadID)
	}
	status := statusOf(failure)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	body := appendFailure(nil, r, failure)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone where it fails
}

// statusOf gives the status: ours, but 400 for a request that asks for something wrong.
func statusOf(failure *normalize.Error) int {
	if status := failure.Kind.Policy().Status; status != http.StatusUnprocessableEntity {
		return status
	}
	return http.StatusBadRequest
}

// appendFailure writes the error object. Its code is one of OpenAI's where they have
// one, else ours.
func appendFailure(b []byte, r *http.Request, failure *normalize.Error) []byte {
	policy := failure.Kind.Policy()
	message, kind, word, param := failure.Text(), "invalid_request_error", policy.Code, ""
	var own code
	if len(failure.Fields) > 0 {
		param = failure.Fields[0].Field
	}
	switch status := statusOf(failure); {
	case errors.As(failure.Cause, &own):
		word = string(own)
	case failure.Kind == normalize.KindUnauthenticated:
		message, word = "Incorrect API key provided: a caller's key is needed, as Authorization: Bearer <key>.", "invalid_api_key"
	case failure.Kind == normalize.KindNotFound && failure.Detail == "":
		message, word = "Invalid URL ("+r.Method+" "+r.URL.Path+")", "unknown_url"
	case status == http.StatusForbidden:
		kind = "permission_error"
	case failure.Kind == normalize.KindCallerRateLimited, failure.Kind == normalize.KindTooManyInFlight:
		kind, word = "requests", "rate_limit_exceeded"
	case status >= http.StatusInternalServerError:
		kind = "server_error"
	}
	b = append(b, `{"error":{"message":`...)
	b = normalize.AppendString(b, message)
	b = append(b, `,"type":`...)
	b = normalize.AppendString(b, kind)
	b = append(b, `,"param":`...)
	b = appendOrNull(b, param)
	b = append(b, `,"code":`...)
	b = appendOrNull(b, word)
	return append(b, "}}"...)
}

func appendOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return normalize.AppendString(b, s)
}

// serveModels lists what may stand in `model`: the routes and the backends that this
// caller may use.
func serveModels(w http.ResponseWriter, _ *http.Request, d adapters.Desk) error {
	b := []byte(`{"object":"list","data":[`)
	for i, name := range modelsOf(d) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, name)
	}
	return answer(w, append(b, "]}"...))
}

// serveModel gives one of them.
func serveModel(w http.ResponseWriter, _ *http.Request, d adapters.Desk) error {
	asked := d.Var("model")
	if !slices.Contains(modelsOf(d), asked) {
		return noModel(asked)
	}
	return answer(w, appendModel(nil, asked))
}

// modelsOf gives the names in the config's order, one that is a route and a backend
// once.
func modelsOf(d adapters.Desk) []string {
	routes, backends := d.Choices()
	var names []string
	seen := make(map[string]bool)
	for _, list := range [][]string{routes, backends} {
		for _, name := range list {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// appendModel writes a model. Nobody knows since when there is one.
func appendModel(b []byte, name string) []byte {
	b = append(b, `{"id":`...)
	b = normalize.AppendString(b, name)
	return append(b, `,"object":"model","created":0,"owned_by":"chatmux"}`...)
}

func noModel(name string) error {
	failure := normalize.Errorf(normalize.KindNotFound, "The model `%s` does not exist or you do not have access to it.", normalize.Excerpt(name, 128))
	failure.Cause, failure.Fields = modelNotFound, []normalize.FieldError{{Field: "model", Detail: failure.Detail}}
	return failure
}

func answer(w http.ResponseWriter, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that left is none of our failures
	return nil
}
