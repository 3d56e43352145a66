// Package openaitwin is a simulated server of OpenAI's chat completions: strict
// about the request as the vendor's reference describes it, stateless, and with a
// bot that shows that it was told what was said before. It shares no code with
// the adapter.
package openaitwin

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// Path is where the API lives.
const Path = "/v1"

// DefaultModel is the model of a twin whose Options name none.
const DefaultModel = "sandbox-model"

// maxBody bounds a request.
const maxBody = 8 << 20

// Options say what a twin accepts and how it answers.
type Options struct {
	Key   normalize.Secret // none: everybody may call
	Model string           // the one model; DefaultModel where empty
	Now   func() time.Time // time.Now where nil
}

// Twin is a simulated server with one model. It is an http.Handler, and safe for
// concurrent use.
type Twin struct {
	key    normalize.Secret
	model  string
	now    func() time.Time
	routes http.ServeMux
	count  atomic.Int64 // completions so far
}

// New makes a twin.
func New(o Options) *Twin {
	t := &Twin{key: o.Key, model: o.Model, now: o.Now}
	if t.model == "" {
		t.model = DefaultModel
	}
	if t.now == nil {
		t.now = time.Now
	}
	t.routes.HandleFunc("POST "+Path+"/chat/completions", t.complete)
	t.routes.HandleFunc("GET "+Path+"/models", t.models)
	t.routes.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "invalid_request_error", "unknown_url", "", fmt.Sprintf("Unknown request URL: %s %s", r.Method, r.URL.Path))
	})
	return t
}

// ServeHTTP checks the key and answers.
func (t *Twin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !t.key.IsZero() {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !bearer {
			refuse(w, http.StatusUnauthorized, "invalid_request_error", "", "", "You didn't provide an API key in an Authorization header using Bearer auth.")
			return
		}
		if subtle.ConstantTimeCompare([]byte(given), []byte(t.key.Reveal())) == 0 {
			refuse(w, http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "", "Incorrect API key provided.")
			return
		}
	}
	t.routes.ServeHTTP(w, r)
}

// parameters are the members that a request may have.
var parameters = []string{
	"model", "messages", "stream", "stream_options", "temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens",
	"presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user", "seed", "metadata", "store", "tools",
	"tool_choice", "parallel_tool_calls", "response_format", "service_tier", "reasoning_effort", "modalities",
}

// roles are who may speak in a request.
var roles = []string{"system", "developer", "user", "assistant", "tool"}

// said is one message of a request, its content as text.
type said struct{ role, text string }

func (t *Twin) complete(w http.ResponseWriter, r *http.Request) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "unsupported_content_type", "", "The Content-Type must be application/json.")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "invalid_request_error", "", "", "The request is too large.")
		return
	}
	var request map[string]json.RawMessage
	if err := json.Unmarshal(body, &request); err != nil || request == nil {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "", "", "We could not parse the JSON body of your request.")
		return
	}
	for name := range request {
		if !slices.Contains(parameters, name) {
			refuse(w, http.StatusBadRequest, "invalid_request_error", "unknown_parameter", name, "Unknown parameter: '"+name+"'.")
			return
		}
	}
	var model string
	if err := json.Unmarshal(request["model"], &model); err != nil || model == "" {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "missing_required_parameter", "model", "You must provide a model parameter.")
		return
	}
	if model != t.model {
		refuse(w, http.StatusNotFound, "invalid_request_error", "model_not_found", "model", "The model '"+model+"' does not exist.")
		return
	}
	streaming, usage, param, problem := readStreaming(request)
	if problem != "" {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "invalid_value", param, problem)
		return
	}
	conversation, param, problem := readMessages(request["messages"])
	if problem != "" {
		refuse(w, http.StatusBadRequest, "invalid_request_error", "invalid_value", param, problem)
		return
	}
	if streaming {
		t.stream(w, conversation, usage)
		return
	}
	t.answer(w, conversation)
}

// readStreaming reads whether the answer is to come in chunks, and whether one of
// them is to tell the usage.
func readStreaming(request map[string]json.RawMessage) (streaming, usage bool, param, problem string) {
	if raw := request["stream"]; len(raw) > 0 && json.Unmarshal(raw, &streaming) != nil {
		return false, false, "stream", "Invalid type for 'stream': expected a boolean."
	}
	var options *struct {
		IncludeUsage bool `json:"include_usage"`
	}
	if raw := request["stream_options"]; len(raw) > 0 && json.Unmarshal(raw, &options) != nil {
		return false, false, "stream_options", "Invalid type for 'stream_options': expected an object."
	}
	if options != nil && !streaming {
		return false, false, "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled."
	}
	return streaming, options != nil && options.IncludeUsage, "", ""
}

// readMessages reads the conversation; a problem comes with the parameter that it
// is about.
func readMessages(raw json.RawMessage) (conversation []said, param, problem string) {
	var messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(raw, &messages); err != nil {
		return nil, "messages", "Invalid type for 'messages': expected an array of objects."
	}
	if len(messages) == 0 {
		return nil, "messages", "Invalid 'messages': empty array. Expected an array with minimum length 1."
	}
	for i, m := range messages {
		param := fmt.Sprintf("messages[%d]", i)
		if !slices.Contains(roles, m.Role) {
			return nil, param + ".role", fmt.Sprintf("Invalid value: '%s'. Supported values are: '%s'.", m.Role, strings.Join(roles, "', '"))
		}
		text, ok := contentOf(m.Content)
		if !ok {
			return nil, param + ".content", "Invalid type for '" + param + ".content': expected a string or an array of text parts."
		}
		conversation = append(conversation, said{m.Role, text})
	}
	return conversation, "", ""
}

// contentOf reads a content that is a string or an array of text parts.
func contentOf(raw json.RawMessage) (string, bool) {
	var text string
	if len(raw) > 0 && raw[0] == '"' {
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) == 0 {
		return "", false
	}
	for _, p := range parts {
		if p.Type != "text" {
			return "", false
		}
		text += p.Text
	}
	return text, true
}

// speak lets the bot speak. It counts the turns of the conversation that it was
// given: it knows no other.
func speak(conversation []said) (text string, usage map[string]any) {
	var first, latest string
	turns, words := 0, 0
	for _, m := range conversation {
		words += len(strings.Fields(m.text))
		if m.role != "user" {
			continue
		}
		if turns++; turns == 1 {
			first = m.text
		}
		latest = m.text
	}
	text = bot.Answer(turns, first, latest)
	spoken := len(strings.Fields(text))
	return text, map[string]any{"prompt_tokens": words, "completion_tokens": spoken, "total_tokens": words + spoken}
}

// answer writes what the bot says as one object.
func (t *Twin) answer(w http.ResponseWriter, conversation []said) {
	text, usage := speak(conversation)
	write(w, http.StatusOK, map[string]any{
		"id":      t.newID(),
		"object":  "chat.completion",
		"created": t.now().Unix(),
		"model":   t.model,
		"choices": []any{map[string]any{
			"index":         0,
			"message":       map[string]any{"role": "assistant", "content": text, "refusal": nil, "annotations": []any{}},
			"logprobs":      nil,
			"finish_reason": "stop",
		}},
		"usage":              usage,
		"service_tier":       "default",
		"system_fingerprint": nil,
	})
}

func (t *Twin) newID() string { return fmt.Sprintf("chatcmpl-sandbox-%d", t.count.Add(1)) }

// stream writes what the bot says as chunks: one that begins the message, its text
// in pieces, one that says why it ends, the usage where it was asked for, and the
// end mark.
func (t *Twin) stream(w http.ResponseWriter, conversation []said, includeUsage bool) {
	text, usage := speak(conversation)
	chunk := map[string]any{
		"id":                 t.newID(),
		"object":             "chat.completion.chunk",
		"created":            t.now().Unix(),
		"model":              t.model,
		"service_tier":       "default",
		"system_fingerprint": nil,
	}
	if includeUsage {
		chunk["usage"] = nil
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	choice := func(delta map[string]any, reason any) {
		chunk["choices"] = []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": reason}}
		event(w, encode(chunk))
	}
	choice(map[string]any{"role": "assistant", "content": "", "refusal": nil}, nil)
	for _, piece := range bot.Pieces(text) {
		choice(map[string]any{"content": piece}, nil)
	}
	choice(map[string]any{}, "stop")
	if includeUsage {
		chunk["choices"], chunk["usage"] = []any{}, usage
		event(w, encode(chunk))
	}
	event(w, []byte("[DONE]"))
}

// event writes one server-sent event.
func event(w http.ResponseWriter, data []byte) {
	_, _ = fmt.Fprintf(w, "data: %s\n\n", data) // it fails only where the client has left
	_ = http.NewResponseController(w).Flush()   // a writer that cannot flush sends all at the end
}

func (t *Twin) models(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]any{
		"object": "list",
		"data":   []any{map[string]any{"id": t.model, "object": "model", "created": t.now().Unix(), "owned_by": "sandbox"}},
	})
}

// refuse answers an error as the vendor does; an empty code and an empty
// parameter are null.
func refuse(w http.ResponseWriter, status int, kind, code, param, message string) {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	write(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "param": orNull(param), "code": orNull(code)}})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(v), '\n')) // it fails only where the client has left
}

// encode writes JSON with < > & and all scripts as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("openaitwin: an answer of ours is no JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
