package conversations

import (
	"chatmux/adapters"
	"chatmux/normalize"
)

// The styles of talking to the platform.
const (
	StyleCompletions = "completions" // the answer comes in the same call
	StyleMessages    = "messages"    // the message is stored, the answer comes later
)

// The spellings of the streaming switch. The API reference and the vendor's C#
// example have the first, its tutorials and its Python example the second.
const (
	StreamFieldCamel = "isStreaming"
	StreamFieldSnake = "is_streaming"
	StreamFieldBoth  = "both"
)

// Settings is the adapter's block of the config.
type Settings struct {
	BaseURL     adapters.BaseURL `yaml:"base_url" doc:"where the API lives, with or without /api or /api/v1, or sandbox"`
	APIKey      normalize.Secret `yaml:"api_key" doc:"the account's API key"`
	ChatbotID   string           `yaml:"chatbot_id" doc:"the chatbot that answers"`
	Style       string           `yaml:"style" doc:"completions: answer in the same call; messages: post, the answer comes later"`
	WebChat     string           `yaml:"web_chat" doc:"id of the web chat that conversations are created in; needed by style messages"`
	StreamField string           `yaml:"stream_field" doc:"how the streaming switch is spelled: isStreaming, is_streaming or both"`
}

// Check reports what is missing or not one of the known words.
func (s *Settings) Check(report func(field, problem string)) {
	if s.BaseURL == "" {
		report("base_url", "is missing: write https://api.maiagent.ai/api, or sandbox")
	}
	if s.APIKey.IsZero() {
		report("api_key", "is missing: write the account's API key")
	}
	if s.ChatbotID == "" {
		report("chatbot_id", "is missing: write the chatbot's id")
	}
	switch s.Style {
	case StyleCompletions:
	case StyleMessages:
		if s.WebChat == "" {
			report("web_chat", "is missing: style messages creates conversations in a web chat; its id stands at the bottom of the assistant's page")
		}
	default:
		report("style", "is not known: write completions or messages")
	}
	switch s.StreamField {
	case StreamFieldCamel, StreamFieldSnake, StreamFieldBoth:
	default:
		report("stream_field", "is not known: write isStreaming, is_streaming or both")
	}
}

// Endpoint gives the base URL, to be read or replaced.
func (s *Settings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

// BotID gives the chatbot's id.
func (s *Settings) BotID() string { return s.ChatbotID }
