// Package conversations speaks to MaiAgent, the conversations platform: a chatbot
// that answers in the call (style completions), or stores the message and answers
// later (style messages).
//
// What the vendor's documents leave open is decided here, once, and each decision
// is a test. In short: requests are written as the API reference spells them, with
// the trailing slash; answers are read in every spelling that the vendor's pages
// and its own example clients use.
package conversations

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"chatmux/adapters"
	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/internal/vendorhttp"
)

// ownName is what the adapter and the dialect are called.
const ownName = "conversations"

// Spec is the adapter as the rest of chatmux knows it.
var Spec = adapters.Spec{
	Name:    ownName,
	Summary: "MaiAgent, the conversations platform: completions, or messages that are answered later",
	Tells:   []adapters.Extra{adapters.ExtraAttachments, adapters.ExtraFeedback, adapters.ExtraSources, adapters.ExtraTitles},
	Settings: func() adapters.Settings {
		return &Settings{BaseURL: "https://api.maiagent.ai/api", Style: StyleCompletions, StreamField: StreamFieldCamel}
	},
	Open:     open,
	Twin:     twin,
	TwinPath: "/api",
	Dialect:  dialect(),

	ReadRecords: readRecords,
}

// platform is what every account can do, whatever its settings. What depends on
// them is added by the types that embed it, so that an adapter has no talent that
// its settings do not allow.
type platform struct {
	client  *vendorhttp.Client
	chatbot string // the bot's id, escaped for a path
}

// Close lets go of the idle connections.
func (p *platform) Close() error { return p.client.Close() }

// webChatCompletions answers in the call, and has a web chat to create
// conversations in.
type webChatCompletions struct {
	completions
	webChat
}

func open(settings adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
	s, ok := settings.(*Settings)
	if !ok {
		return nil, errors.New("conversations: not settings of this adapter")
	}
	client, err := vendorhttp.New(vendorhttp.Options{
		BaseURL: apiURL(s.BaseURL),
		Auth:    "Authorization",
		Scheme:  "Api-Key ",
		Key:     s.APIKey,
		Explain: explain,
		Env:     env,
	})
	if err != nil {
		return nil, err
	}
	p := &platform{client: client, chatbot: url.PathEscape(s.ChatbotID)}
	web := webChat{account: p, id: s.WebChat}
	answering := completions{platform: p, key: s.APIKey, streamField: s.StreamField}
	switch {
	case s.Style == StyleMessages:
		return &messages{platform: p, webChat: web}, nil
	case s.WebChat != "":
		return &webChatCompletions{completions: answering, webChat: web}, nil
	default:
		return &answering, nil
	}
}

// apiURL adds the path of the API to a base URL that leaves it out. The vendor
// serves the same under /api and /api/v1.
func apiURL(base adapters.BaseURL) adapters.BaseURL {
	trimmed := strings.TrimRight(string(base), "/")
	if !strings.HasSuffix(trimmed, "/api") && !strings.HasSuffix(trimmed, "/api/v1") {
		trimmed += "/api"
	}
	return adapters.BaseURL(trimmed)
}

func twin(settings adapters.Settings) http.Handler {
	var o conversationstwin.Options
	if s, ok := settings.(*Settings); ok {
		o = conversationstwin.Options{Key: s.APIKey, ChatbotID: s.ChatbotID, WebChatID: s.WebChat}
	}
	return conversationstwin.New(o)
}
