package bot_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"chatmux/internal/sandbox/bot"
)

func TestWebhooksAreToldToLoopbackAddressesOnly(t *testing.T) {
	got := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("X-Token") + " " + string(body)
		w.WriteHeader(202)
	}))
	defer server.Close()
	status, err := bot.Tell(server.URL+"/hook", http.Header{"x-token": {"t"}}, []byte(`{"a":1}`))
	if err != nil || status != 202 || got != `POST /hook t {"a":1}` {
		t.Errorf("%d, %v, %q", status, err, got)
	}
	for _, to := range []string{"http://example.com:80/", "https://127.0.0.1:1/", "http://10.0.0.1:80/", "http://localhost:1/", "127.0.0.1", "http://127.0.0.1/"} {
		if _, err := bot.Tell(to, nil, nil); err == nil {
			t.Errorf("%s was called", to)
		}
	}
}
