package httpapi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestW11_a_webhook_without_the_right_secret_meets_the_same_404(t *testing.T) {
	h := newHarness(t, Options{Callers: twoCallers()})
	var first map[string]string
	for _, path := range []string{
		"/hooks", "/hooks/", "/hooks/docs-bot", "/hooks/docs-bot/", "/hooks/docs-bot/hook-secre", "/hooks/docs-bot/hook-secret2",
		"/hooks/docs-bot/HOOK-SECRET", "/hooks/docs-bot/hook-secret/", "/hooks/desk/hook-secret", "/hooks/none/hook-secret", "/hooks//hook-secret",
		"/hooks/docs-bot/%20hook-secret", "/hooks/DOCS-BOT/hook-secret", "/hooks/none/x",
	} {
		for _, body := range []string{`{"event":"ADD_MESSAGE"}`, "no JSON", strings.Repeat("x", 2<<20)} {
			got := withoutID(t, h.post(path, body).want(t, 404, "not_found"))
			if first == nil {
				first = got
			}
			if diff := cmp.Diff(first, got); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
	}
	h.nothing()
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
		for _, path := range []string{"/hooks/docs-bot/hook-secret", "/hooks/none/x"} {
			if a := h.do(method, path, "").want(t, 405, "method_not_allowed"); a.header.Get("Allow") != "POST" {
				t.Errorf("%s %s: Allow is %q", method, path, a.header.Get("Allow"))
			}
		}
	}
}

func TestAWebhookIsHandedOnAsItCame(t *testing.T) {
	h := newHarness(t, Options{Callers: twoCallers(), Limits: Limits{Body: 100}})
	body := `{"a": 1, "a": "\ud800", "text":"` + strings.Repeat("é", 1000) + `"}`
	h.do("POST", "/hooks/docs-bot/hook-secret", body, "Content-Type", "text/plain", "X-Webhook-Token", "tok").want(t, 200, "")
	if diff := cmp.Diff(askedReceive{"docs-bot", "tok", body}, h.engine.take()[0]); diff != "" {
		t.Error(diff)
	}
	h.post("/hooks/docs-bot/hook-secret", strings.Repeat("x", maxHook+1)).want(t, 413, "body_too_large")
	h.nothing()
	h.post("/hooks/docs-bot/hook-secret", strings.Repeat("x", maxHook)).want(t, 200, "")
	for _, line := range h.log.All() {
		if s := line.Message + jsonBody(t, line.ContextMap()); strings.Contains(s, "hook-secret") {
			t.Errorf("the log has the secret: %s", s)
		}
	}
}
