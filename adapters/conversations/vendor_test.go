package conversations

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/normalize"
)

const (
	chatbotID      = "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
	webChatID      = "0f9a1e34-77f2-4f0e-8b55-6f3d2c1b0a99"
	conversationID = "5d0a6b0e-9f1c-4a7e-8a53-9e0c7c1d0b11"
	apiKey         = "planted-key-4711"
)

// canned is one answer of a vendor that says what it is told to say.
type canned struct {
	status int
	header http.Header
	body   string
}

func jsonAnswer(status int, body string) canned {
	return canned{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

func streamAnswer(body string) canned {
	return canned{status: 200, header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, body: body}
}

// seen is one request that the vendor got.
type seen struct {
	method, path, query, auth, contentType, body string
}

// vendor gives its answers in their order, the last one again and again, and
// remembers what it was asked.
type vendor struct {
	url string

	mu       sync.Mutex
	answers  []canned
	requests []seen
}

func newVendor(t testing.TB, answers ...canned) *vendor {
	t.Helper()
	v := &vendor{answers: answers}
	server := httptest.NewServer(http.HandlerFunc(v.serve))
	t.Cleanup(server.Close)
	v.url = server.URL
	return v
}

func (v *vendor) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	v.requests = append(v.requests, seen{
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body),
	})
	a := canned{status: 500}
	if len(v.answers) > 0 {
		a = v.answers[0]
	}
	if len(v.answers) > 1 {
		v.answers = v.answers[1:]
	}
	v.mu.Unlock()
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (v *vendor) ledger() []seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]seen(nil), v.requests...)
}

// openAt opens an adapter for a base URL; change may alter its settings.
func openAt(t testing.TB, baseURL string, change func(*Settings)) adapters.Adapter {
	t.Helper()
	s := Spec.Settings().(*Settings)
	s.BaseURL, s.APIKey, s.ChatbotID = adapters.BaseURL(baseURL), normalize.NewSecret(apiKey), chatbotID
	if change != nil {
		change(s)
	}
	s.Check(func(field, problem string) { t.Fatalf("settings: %s %s", field, problem) })
	a, err := Spec.Open(s, adapters.Env{Connect: 5 * time.Second, FirstByte: 10 * time.Second, Idle: 10 * time.Second, MaxInFlight: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.(io.Closer).Close() })
	return a
}

func styleMessages(s *Settings) { s.Style, s.WebChat = StyleMessages, webChatID }

func withWebChat(s *Settings) { s.WebChat = webChatID }

func turnOf(text, conversation string) adapters.Turn {
	return adapters.Turn{Message: normalize.Message{Role: normalize.RoleUser, Text: text}, Remote: normalize.Remote{ThreadID: conversation}}
}

func send(t testing.TB, a adapters.Adapter, turn adapters.Turn) (adapters.Reply, error) {
	t.Helper()
	return a.Send(context.Background(), turn)
}

func wantKind(t testing.TB, err error, kind normalize.Kind) *normalize.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", kind)
	}
	e := normalize.AsError(err)
	if e.Kind != kind {
		t.Fatalf("error is %v, want kind %s", err, kind)
	}
	return e
}

func newTwinServer(t testing.TB, twin http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(twin)
	t.Cleanup(server.Close)
	return server.URL
}

// openTwin opens an adapter for a twin that has its default account.
func openTwin(t testing.TB, url string, change func(*Settings)) adapters.Adapter {
	t.Helper()
	return openAt(t, url+Spec.TwinPath, func(s *Settings) {
		s.APIKey = normalize.NewSecret(conversationstwin.DefaultKey)
		if change != nil {
			change(s)
		}
	})
}
