package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/internal/pgtest"
	"chatmux/internal/sandbox"
	"chatmux/internal/store"
)

func TestMain(m *testing.M) {
	code := pgtest.Main{M: m}.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "leaked:", err)
		code = 1
	}
	os.Exit(code)
}

// vendors is a config with the three vendors' twins, a stateless one and echo.
const vendors = `
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: parcel-desk, adapter: altur, settings: {base_url: sandbox, api_key: k-altur-canary, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30}}
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, api_key: k-sitegpt-canary, chatbot_id: "365062873485935184"}}
  - {name: helpdesk, adapter: conversations, settings: {base_url: sandbox, api_key: k-conversations-canary, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: own-llm, adapter: openai, settings: {base_url: sandbox, api_key: k-openai-canary, model: m}}
  - {name: echo, adapter: echo}
routes:
  - {name: chain, match: {metadata.route: chain}, to: helpdesk, fallback: [own-llm]}
  - {name: default, to: docs-bot}
`

// house is a running server under test.
type house struct {
	t   *testing.T
	app *app.App
	url string
}

// startHouse runs the house of a config, and drains it when the test ends.
// Without adapters it has all of ours.
func startHouse(t *testing.T, text string, specs ...adapters.Spec) *house {
	t.Helper()
	return startHouseAt(t, text, quickSettling, specs...)
}

// quickSettling is the book-keeping's usual pace, scaled down.
var quickSettling = engine.Settling{
	Every: 20 * time.Millisecond, Margin: 300 * time.Millisecond, Again: 50 * time.Millisecond, EraseAgain: 20 * time.Millisecond, EraseFor: time.Second,
}

// startHouseAt is startHouse with a pace of its own for the book-keeping.
func startHouseAt(t *testing.T, text string, pace engine.Settling, specs ...adapters.Spec) *house {
	t.Helper()
	return startHouseWith(t, text, app.Options{Adapters: specs, Settling: pace, Webhooks: hookPace})
}

func startHouseWith(t *testing.T, text string, options app.Options) *house {
	t.Helper()
	if options.Adapters == nil {
		options.Adapters = all.Adapters()
	}
	options.Log = zap.NewNop()
	c, err := config.Parse("config.yaml", []byte(text), config.Options{Settings: app.Settings(options.Adapters), Getenv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), c, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the house did not end well: %v", err)
		}
	})
	return &house{t: t, app: a, url: "http://" + a.Addr()}
}

// storeMaker makes a store of a test's own and returns its address.
type storeMaker func(t *testing.T) string

// onEachStore runs a test on SQLite and on PostgreSQL: the two behave the same.
func onEachStore(t *testing.T, run func(*testing.T, storeMaker)) {
	t.Run("sqlite", func(t *testing.T) {
		run(t, func(t *testing.T) string { return "sqlite:" + t.TempDir() + "/chatmux.db" })
	})
	t.Run("postgres", func(t *testing.T) { run(t, newDatabase) })
}

// newDatabase makes an empty database with our schema.
func newDatabase(t *testing.T) string {
	return pgtest.Copy(t, "migrated", func(dsn string) error {
		s, err := store.Open(context.Background(), dsn, store.Options{})
		if err != nil {
			return err
		}
		return errors.Join(s.Ping(context.Background()), s.Close())
	})
}

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

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call makes one request; a nil body sends none.
func (h *house) call(method, path string, body any, headers ...string) answer {
	h.t.Helper()
	a, err := h.try(method, path, body, headers...)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// try is call for goroutines of their own.
func (h *house) try(method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	if body != nil {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			return answer{}, err
		}
		reader = &buf
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

// thread, message, turn and problem are the parts of the API's objects that the
// tests look at, read by an ordinary JSON reader.
type thread struct {
	ID           string `json:"id"`
	Backend      string `json:"backend"`
	Route        string `json:"route"`
	Mode         string `json:"mode"`
	Title        string `json:"title"`
	MessageCount int    `json:"message_count"`
	Bindings     []struct {
		Backend  string `json:"backend"`
		RemoteID string `json:"remote_id"`
		Until    string `json:"until"`
		Reason   string `json:"reason"`
	} `json:"bindings"`
}

type message struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Text      string `json:"text"`
	Status    string `json:"status"`
	Reason    string `json:"reason"`
	Backend   string `json:"backend"`
	InReplyTo string `json:"in_reply_to"`
	Notice    string `json:"notice"`
	Feedback  string `json:"feedback"`
}

type turn struct {
	Thread  thread    `json:"thread"`
	Message message   `json:"message"`
	Replies []message `json:"replies"`
}

type problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
	Outcome   string `json:"outcome"`
	Backend   string `json:"backend"`
	MessageID string `json:"message_id"`
}

// read decodes an answer of the wanted status.
func read[T any](t *testing.T, a answer, status int) T {
	t.Helper()
	var v T
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// transcript reads all messages of a thread, page by page.
func (h *house) transcript(threadID string, headers ...string) []message {
	h.t.Helper()
	var all []message
	for cursor := ""; ; {
		page := read[struct {
			Data       []message `json:"data"`
			NextCursor string    `json:"next_cursor"`
		}](h.t, h.call("GET", fmt.Sprintf("/v1/threads/%s/messages?limit=200&cursor=%s", threadID, cursor), nil, headers...), 200)
		all = append(all, page.Data...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

type object = map[string]any
