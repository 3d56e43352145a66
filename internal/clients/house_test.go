package clients_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/zap"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/sandbox"
)

// callersKey is the key that every client presents.
const callersKey = "cmx-key-of-the-clients"

// vendors is a config with every vendor's twin behind.
const vendors = `
listen: 127.0.0.1:0
store: sqlite:%s/chatmux.db
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
callers:
  - {name: clients, key: ` + callersKey + `}
backends:
  - {name: parcel-desk, adapter: altur, settings: {base_url: sandbox, api_key: k-altur, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30}}
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, version: v0, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: docs-bot-2, adapter: sitegpt, settings: {base_url: sandbox, version: v2, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: helpdesk, adapter: conversations, settings: {base_url: sandbox, api_key: k-conv, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: own-llm, adapter: openai, settings: {base_url: sandbox, api_key: k-openai, model: m}}
routes:
  - {name: default, to: docs-bot}
`

// stateful are the backends whose twins answer as a bot that remembers.
var behind = []string{"parcel-desk", "docs-bot", "docs-bot-2", "helpdesk", "own-llm"}

// house is a running chatmux.
type house struct {
	t   *testing.T
	app *app.App
}

func startHouse(t *testing.T) *house {
	t.Helper()
	specs := all.Adapters()
	text := fmt.Sprintf(vendors, t.TempDir())
	c, err := config.Parse("config.yaml", []byte(text), config.Options{Settings: app.Settings(specs), Getenv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), c, app.Options{Adapters: specs, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the house did not end well: %v", err)
		}
	})
	return &house{t: t, app: a}
}

// url is the one line that a client changes.
func (h *house) url() string { return "http://" + h.app.Addr() + "/openai/v1" }

// twin is the simulated vendor behind a backend.
func (h *house) twin(backend string) *sandbox.Server {
	h.t.Helper()
	for _, s := range h.app.Twins() {
		if s.Name() == backend {
			return s
		}
	}
	h.t.Fatalf("no twin behind %s", backend)
	return nil
}
