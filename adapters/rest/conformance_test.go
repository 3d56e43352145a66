package rest_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/adapters/altur/alturtwin"
	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/adapters/openai/openaitwin"
	"chatmux/adapters/rest"
	"chatmux/adapters/sitegpt/sitegpttwin"
	"chatmux/internal/config"
	"chatmux/normalize"
)

// planted is the key of every example in the tests.
const planted = "planted-key-of-the-examples"

// example reads a backend out of a file of docs/examples, as serve would.
func example(t *testing.T, file, backend string) *rest.Settings {
	t.Helper()
	c, err := config.Load(filepath.Join("../../docs/examples", file), config.Options{
		Settings: map[string]func() any{rest.Spec.Name: func() any { return rest.Spec.Settings() }},
		Getenv:   func(string) (string, bool) { return planted, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Backends {
		if b.Name == backend {
			return b.Settings.(*rest.Settings)
		}
	}
	t.Fatalf("%s has no backend %s", file, backend)
	return nil
}

// The vendors that have an adapter in Go are described in YAML, too, and keep the
// same promises against the same twins.
func TestConformance(t *testing.T) {
	key := normalize.NewSecret(planted)
	const otherID = "00000000-0000-4000-8000-000000000000"
	for _, tt := range []struct {
		file, backend string
		path          string
		new           func(s *rest.Settings) http.Handler
		errors        []adaptertest.StreamError
		strays        []string
	}{
		{
			file: "altur.yaml", backend: "parcel-desk", path: alturtwin.Path,
			new: func(s *rest.Settings) http.Handler { return alturtwin.New(alturtwin.Options{Key: key, AgentID: s.Bot}) },
		},
		{
			file: "sitegpt.yaml", backend: "docs-bot", path: "/api/v2",
			new: func(s *rest.Settings) http.Handler {
				return sitegpttwin.New(sitegpttwin.Options{Key: key, ChatbotID: s.Bot})
			},
		},
		{
			file: "sitegpt.yaml", backend: "docs-bot-v0", path: "/api/v0",
			new: func(s *rest.Settings) http.Handler {
				return sitegpttwin.New(sitegpttwin.Options{Key: key, ChatbotID: s.Bot})
			},
		},
		{
			file: "conversations.yaml", backend: "helpdesk", path: "/api",
			new: func(s *rest.Settings) http.Handler {
				return conversationstwin.New(conversationstwin.Options{Key: key, ChatbotID: s.Bot})
			},
			errors: []adaptertest.StreamError{
				{Data: `{"detail":"Request was throttled. Expected available in 7 seconds."}`, Kind: normalize.KindRateLimited},
				{Data: `{"detail":"Invalid API key ` + planted + `."}`, Kind: normalize.KindUnauthorized},
				{Data: `{"error":"` + planted + ` is odd"}`, Kind: normalize.KindVendorFault},
				{Data: `{"error":{"message":"No more","code":"quota_exceeded"}}`, Kind: normalize.KindQuota},
				{Data: `{"error":{"message":"Not this one","status":400},"content":"","done":true}`, Kind: normalize.KindRejected},
			},
			strays: []string{`{"conversationId":"` + otherID + `","content":"` + adaptertest.Stray + `"}`},
		},
		{
			file: "conversations.yaml", backend: "helpdesk-inbox", path: "/api",
			new: func(s *rest.Settings) http.Handler {
				return conversationstwin.New(conversationstwin.Options{
					Key: key, ChatbotID: s.Bot, WebChatID: s.CreateThread.Body["webChat"].(string),
				})
			},
		},
		{
			file: "openai.yaml", backend: "own-llm", path: openaitwin.Path,
			new: func(s *rest.Settings) http.Handler { return openaitwin.New(openaitwin.Options{Key: key, Model: s.Bot}) },
			errors: []adaptertest.StreamError{
				{Data: `{"error":{"message":"Slow down","code":"rate_limit_exceeded"}}`, Kind: normalize.KindRateLimited},
				{Data: `{"error":"` + planted + ` is odd"}`, Kind: normalize.KindVendorFault},
			},
			strays: []string{`{"id":"another","choices":[{"index":0,"delta":{"content":"` + adaptertest.Stray + `"},"finish_reason":"stop"}]}`},
		},
	} {
		t.Run(tt.backend, func(t *testing.T) {
			read := example(t, tt.file, tt.backend)
			spec := rest.Spec
			spec.Twin = func(s adapters.Settings) http.Handler { return tt.new(s.(*rest.Settings)) }
			spec.TwinPath = tt.path
			adaptertest.Run(t, adaptertest.Vendor{
				Spec:         spec,
				Settings:     func() adapters.Settings { s := *read; return &s },
				Key:          planted,
				StreamErrors: tt.errors,
				StreamStrays: tt.strays,
			})
		})
	}
}
