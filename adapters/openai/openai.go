// Package openai is the adapter for every server that speaks OpenAI's chat
// completions: OpenAI itself, and the many that took over its format.
//
// Such a server keeps no conversation. What was said before goes along with every
// message, within the limits of the settings, and nothing is left behind: a thread
// on such a backend can move on at any time.
//
// What the format leaves open, and how it is read:
//
//   - The content of an answer is a string, or a list of parts of which the text
//     is taken. A refusal is what the model said, so it is an answer, too.
//   - Of several choices the first is the answer.
//   - An answer that was cut by the model's own limit of length is complete: the
//     server said all that it is going to say. finish_reason is in the raw object.
//   - Some servers report an error with status 200, as the answer or within a stream.
//     It is treated as if the status had been the one that belongs to the error.
//   - A streamed answer is whole with [DONE] after a finish_reason, and with nothing
//     less. Of a server in between that lost its own backend, [DONE] alone proves
//     nothing; without [DONE] nothing says that what came was all.
//   - Of the chunks of a stream those count that have the first id that was told, and
//     of their choices the one of index 0. The others are passed over and counted.
//   - What a streamed model says first, content or refusal, is the answer; the other
//     is not mixed into it.
package openai

import (
	"net/http"
	"strings"

	"chatmux/adapters"
	"chatmux/adapters/openai/openaitwin"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Spec is the adapter's entry in the list of adapters.
var Spec = adapters.Spec{
	Name:    "openai",
	Summary: "any server that speaks OpenAI's chat completions; keeps no conversation, so the history goes along",
	Settings: func() adapters.Settings {
		return &Settings{History: History{Messages: 40, Bytes: 64 << 10}}
	},
	Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		return open(*s.(*Settings), env)
	},
	Twin: func(s adapters.Settings) http.Handler {
		settings := s.(*Settings)
		return openaitwin.New(openaitwin.Options{Key: settings.APIKey, Model: settings.Model})
	},
	TwinPath: openaitwin.Path,
	Dialect:  dialect(),
}

// Settings is the `settings` block of a backend with this adapter.
type Settings struct {
	BaseURL adapters.BaseURL `yaml:"base_url" doc:"where the API lives, with its version, as https://llm.example.com/v1; sandbox for the built-in twin"`
	APIKey  normalize.Secret `yaml:"api_key" doc:"the key; leave it out where the server takes none"`
	Model   string           `yaml:"model" doc:"the model that answers"`
	System  string           `yaml:"system" doc:"what the model is told before every conversation"`
	History History          `yaml:"history" doc:"how much of what was said before goes along with a message"`
}

// History says how much of the past goes along: at most so many messages and so
// many bytes of text, the newest kept.
type History struct {
	Messages int                `yaml:"messages" doc:"at most so many messages; 0 sends each message alone"`
	Bytes    normalize.ByteSize `yaml:"bytes" doc:"at most so many bytes of text, as 64KiB; 0 sends each message alone"`
}

// Check reports every field that is missing or wrong.
func (s *Settings) Check(report func(field, problem string)) {
	if s.BaseURL == "" {
		report("base_url", "is missing: write where the API lives, as https://llm.example.com/v1, or sandbox")
	}
	if strings.HasSuffix(string(s.BaseURL), "/chat/completions") {
		report("base_url", "ends before /chat/completions, which is added to it")
	}
	if s.Model == "" {
		report("model", "is missing: the name of the model that is to answer")
	}
	if s.History.Messages < 0 {
		report("history.messages", "must not be negative")
	}
}

// Endpoint gives the address that the sandbox may replace.
func (s *Settings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

func open(s Settings, env adapters.Env) (*adapter, error) {
	client, err := vendorhttp.New(vendorhttp.Options{
		BaseURL: s.BaseURL,
		Auth:    "Authorization",
		Scheme:  "Bearer ",
		Key:     s.APIKey,
		Explain: explain,
		Env:     env,
	})
	if err != nil {
		return nil, err
	}
	limits := adapters.HistoryLimits{Messages: s.History.Messages, Bytes: int(s.History.Bytes)}
	if limits.Messages == 0 || limits.Bytes == 0 {
		limits = adapters.HistoryLimits{}
	}
	return &adapter{client: client, key: s.APIKey, model: s.Model, system: s.System, limits: limits}, nil
}
