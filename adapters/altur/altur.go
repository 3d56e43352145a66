// Package altur is the adapter for Altur, a platform of voice and WhatsApp
// agents, and its public API at api.altur.io.
//
// A conversation there is the pair of one agent and one end user. It is never
// created, listed or deleted by the API: the first message to a pair brings it
// into being, and its id comes with the answer. So that two threads never share
// one conversation, every thread has an end user of its own, unless the config
// says that the caller names them.
//
// Sending is one synchronous call that returns the conversation, the message as
// it was stored, and any number of answers, also none. Nothing streams, and media
// can be read but not sent.
//
// The documents leave some things open. What this adapter makes of them:
//
//   - The conversation object has come in three shapes: `chatbot` and `enduser`,
//     `chatbot` and `end_user`, `agent` and `end_user`. All are read, and
//     `assistant`, the name in other parts of the API, too. One is written.
//   - A message has no id. Its RemoteID is made of the conversation's id and a
//     digest of what does not change about the message; see remoteID.
//   - Whoever has `sent_by_user` set is a human of the vendor's side, whatever
//     `sent_by` says. An unknown `sent_by` is a notice.
//   - A message of type text must have content or media when it comes as an
//     answer. One of another type may have neither: it is passed on as it is.
//   - An answer that names another conversation than the one that was asked is
//     refused as a whole.
package altur

import (
	"net/http"

	"chatmux/adapters"
	"chatmux/adapters/altur/alturtwin"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Spec is the adapter's entry in the list of adapters.
var Spec = adapters.Spec{
	Name:    "altur",
	Summary: "Altur agents: one synchronous call a turn, conversations kept by Altur",
	Tells: []adapters.Extra{
		adapters.ExtraAttachments, adapters.ExtraAssignees, adapters.ExtraBlocked, adapters.ExtraButtons, adapters.ExtraNotices,
		adapters.ExtraOperators, adapters.ExtraTags,
	},
	Settings: func() adapters.Settings {
		return &Settings{BaseURL: "https://api.altur.io/api/v1.0", Shape: ShapeAgent, EndUsers: EndUsersCreate}
	},
	Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		return open(*s.(*Settings), env)
	},
	Twin: func(s adapters.Settings) http.Handler {
		settings := s.(*Settings)
		return alturtwin.New(alturtwin.Options{Key: settings.APIKey, AgentID: settings.AgentID})
	},
	TwinPath: alturtwin.Path,
	Dialect:  dialect(),
}

// The values of Settings.Shape: which field names are written. All are read.
const (
	ShapeAgent   = "agent"   // the current one
	ShapeChatbot = "chatbot" // the oldest one
)

// The values of Settings.EndUsers.
const (
	EndUsersCreate = "create" // every thread gets an end user of its own
	EndUsersGiven  = "given"  // the caller's user.id is Altur's id of the end user
)

// Settings is the `settings` block of a backend with this adapter.
type Settings struct {
	BaseURL  adapters.BaseURL `yaml:"base_url" doc:"where the API lives, with its version; sandbox for the built-in twin"`
	APIKey   normalize.Secret `yaml:"api_key" doc:"the secret key of the Altur organisation"`
	AgentID  string           `yaml:"agent_id" doc:"the id of the agent that answers"`
	Shape    string           `yaml:"shape" doc:"which field names to write: agent (current) or chatbot (older accounts)"`
	EndUsers string           `yaml:"end_users" doc:"create: a new end user for each thread; given: user.id is the id of an end user at Altur"`

	WebhookSecret normalize.Secret `yaml:"webhook_secret" doc:"the secret that Altur signs its call webhooks with; hook_secret where it is left out"`
}

// Check reports every field that is missing or wrong.
func (s *Settings) Check(report func(field, problem string)) {
	if s.BaseURL == "" {
		report("base_url", "is missing: leave it out for Altur's own address, or write https://host/path or sandbox")
	}
	if s.APIKey.IsZero() {
		report("api_key", "is missing: the secret key of your Altur organisation")
	}
	if s.AgentID == "" {
		report("agent_id", "is missing: the id of the agent that is to answer")
	}
	if s.Shape != ShapeAgent && s.Shape != ShapeChatbot {
		report("shape", "must be agent or chatbot")
	}
	if s.EndUsers != EndUsersCreate && s.EndUsers != EndUsersGiven {
		report("end_users", "must be create or given")
	}
}

// Endpoint gives the address that the sandbox may replace.
func (s *Settings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

// BotID gives the agent's id.
func (s *Settings) BotID() string { return s.AgentID }

// open makes an adapter. Whether it can create end users follows from the
// settings, and so does its type.
func open(s Settings, env adapters.Env) (adapters.Adapter, error) {
	client, err := vendorhttp.New(vendorhttp.Options{
		BaseURL: s.BaseURL,
		Auth:    "Authorization",
		Scheme:  "api-key ",
		Key:     s.APIKey,
		Explain: explain,
		Env:     env,
	})
	if err != nil {
		return nil, err
	}
	a := &adapter{client: client, agentID: s.AgentID, shape: s.Shape, webhookSecret: s.WebhookSecret}
	if s.EndUsers == EndUsersGiven {
		return a, nil
	}
	return &userCreator{a}, nil
}
