package openaitwin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chatmux/adapters/openai/openaitwin"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// ask makes one request to a twin with a key and a model, straight.
func ask(t *testing.T, method, path, body string, header http.Header) (int, map[string]any) {
	t.Helper()
	twin := openaitwin.New(openaitwin.Options{Key: normalize.NewSecret("good-key"), Model: "good-model"})
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header = http.Header{"Authorization": {"Bearer good-key"}, "Content-Type": {"application/json"}}
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	twin.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("the answer is not JSON: %v: %s", err, w.Body)
	}
	return w.Code, answer
}

func TestWhatTheReferenceForbidsIsRefused(t *testing.T) {
	const good = `"model":"good-model","messages":[{"role":"user","content":"hi"}]`
	for _, c := range []struct {
		name, body string
		header     http.Header
		status     int
		code       any
	}{
		{"no key", "{" + good + "}", http.Header{"Authorization": nil}, 401, nil},
		{"other scheme", "{" + good + "}", http.Header{"Authorization": {"Basic good-key"}}, 401, nil},
		{"wrong key", "{" + good + "}", http.Header{"Authorization": {"Bearer bad-key"}}, 401, "invalid_api_key"},
		{"other content type", "{" + good + "}", http.Header{"Content-Type": {"text/plain"}}, 400, "unsupported_content_type"},
		{"no JSON", "{", nil, 400, nil},
		{"null", "null", nil, 400, nil},
		{"no model", `{"messages":[{"role":"user","content":"hi"}]}`, nil, 400, "missing_required_parameter"},
		{"other model", `{"model":"x","messages":[{"role":"user","content":"hi"}]}`, nil, 404, "model_not_found"},
		{"unknown parameter", "{" + good + `,"mesages":[]}`, nil, 400, "unknown_parameter"},
		{"stream is no boolean", "{" + good + `,"stream":"yes"}`, nil, 400, "invalid_value"},
		{"stream options are no object", "{" + good + `,"stream":true,"stream_options":1}`, nil, 400, "invalid_value"},
		{"stream options without a stream", "{" + good + `,"stream_options":{"include_usage":true}}`, nil, 400, "invalid_value"},
		{"no messages", `{"model":"good-model"}`, nil, 400, "invalid_value"},
		{"empty messages", `{"model":"good-model","messages":[]}`, nil, 400, "invalid_value"},
		{"unknown role", `{"model":"good-model","messages":[{"role":"bot","content":"hi"}]}`, nil, 400, "invalid_value"},
		{"no content", `{"model":"good-model","messages":[{"role":"user"}]}`, nil, 400, "invalid_value"},
		{"content is a number", `{"model":"good-model","messages":[{"role":"user","content":1}]}`, nil, 400, "invalid_value"},
		{"image part", `{"model":"good-model","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, nil, 400, "invalid_value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer := ask(t, http.MethodPost, "/v1/chat/completions", c.body, c.header)
			e, _ := answer["error"].(map[string]any)
			if status != c.status || e["code"] != c.code || e["message"] == "" || e["type"] == "" {
				t.Errorf("status %d, error %v; want %d and the code %v", status, e, c.status, c.code)
			}
		})
	}
}

func TestBotCountsTheTurnsThatItIsTold(t *testing.T) {
	status, answer := ask(t, http.MethodPost, "/v1/chat/completions", `{"model":"good-model","stream":false,"messages":[
		{"role":"system","content":"You are the help desk."},
		{"role":"user","content":"I am Rosa"},
		{"role":"assistant","content":"Hello"},
		{"role":"user","content":[{"type":"text","text":"Who "},{"type":"text","text":"am I?"}]}]}`, nil)
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, answer)
	}
	choice := answer["choices"].([]any)[0].(map[string]any)
	if text := choice["message"].(map[string]any)["content"]; text != bot.Answer(2, "I am Rosa", "Who am I?") {
		t.Errorf("the bot says %q", text)
	}
}

func TestStreamIsTheAnswerInChunks(t *testing.T) {
	for _, c := range []struct {
		name, more string
		usage      bool
	}{
		{"plain", `"stream":true`, false},
		{"no options", `"stream":true,"stream_options":null`, false},
		{"with usage", `"stream":true,"stream_options":{"include_usage":true}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			twin := openaitwin.New(openaitwin.Options{Model: "good-model"})
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions",
				strings.NewReader(`{"model":"good-model","messages":[{"role":"user","content":"<b> 🙂"}],`+c.more+`}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			twin.ServeHTTP(w, r)
			if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream; charset=utf-8" || !w.Flushed {
				t.Errorf("status %d, header %v, flushed %v", w.Code, w.Header(), w.Flushed)
			}
			events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
			text, reasons, usages := "", "", 0
			for i, event := range events {
				data, ok := strings.CutPrefix(event, "data: ")
				if last := i == len(events)-1; !ok || last != (data == "[DONE]") {
					t.Fatalf("event %d of %d is %q", i, len(events), event)
				}
				var chunk struct {
					ID, Object, Model string
					Created           int64
					Choices           []struct {
						Delta        struct{ Content string }
						FinishReason string `json:"finish_reason"`
					}
					Usage *struct{}
				}
				if data == "[DONE]" {
					break
				}
				if err := json.Unmarshal([]byte(data), &chunk); err != nil {
					t.Fatalf("%q: %v", data, err)
				}
				if chunk.ID != "chatcmpl-sandbox-1" || chunk.Object != "chat.completion.chunk" || chunk.Model != "good-model" || chunk.Created == 0 {
					t.Errorf("chunk %q", data)
				}
				for _, choice := range chunk.Choices {
					text += choice.Delta.Content
					reasons += choice.FinishReason
				}
				if chunk.Usage != nil {
					usages++
				}
			}
			if want := bot.Answer(1, "<b> 🙂", "<b> 🙂"); text != want || reasons != "stop" || len(events) < 6 {
				t.Errorf("%d events say %q and end with %q; want %q in pieces and one stop", len(events), text, reasons, want)
			}
			if (usages == 1) != c.usage {
				t.Errorf("%d chunks tell the usage", usages)
			}
		})
	}
}

func TestOtherPathsAreRefusedAndModelsAreListed(t *testing.T) {
	if status, _ := ask(t, http.MethodGet, "/v1/chat/completions", "", nil); status != http.StatusNotFound {
		t.Errorf("GET of the completions: %d, want 404", status)
	}
	if status, _ := ask(t, http.MethodPost, "/chat/completions", "{}", nil); status != http.StatusNotFound {
		t.Errorf("a path without the version: %d, want 404", status)
	}
	status, answer := ask(t, http.MethodGet, "/v1/models", "", nil)
	if status != http.StatusOK || answer["data"].([]any)[0].(map[string]any)["id"] != "good-model" {
		t.Errorf("models: %d %v", status, answer)
	}
}
