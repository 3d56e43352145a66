package sitegpt

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"chatmux/adapters"
	"chatmux/normalize"
)

// FuzzReceiveWebhook: whatever is posted to us, there is an error, nothing, or something
// about a conversation of this chatbot, fit to be stored; and never a panic. Without the
// right token there is nothing else than a refusal.
func FuzzReceiveWebhook(f *testing.F) {
	for _, seed := range []string{
		messageWebhook, `{"event":"ADD_MESSAGE","data":{"threadId":"t","question":{"text":7},"answer":{"text":"a\ud83d"}}}`,
		`{"threadId":7,"message":{"question":"q","answer":null},"mode":"AGENT"}`, `{"event":"x ESCALATED","data":{"threadId":"t"}}`,
		`{"event":"ADD_MESSAGE","data":{"threadId":"t","messageType":"SYSTEM_MESSAGE","systemMessageType":"CONVERSATION_ESCALATED"}}`,
		`{"data":"{\"threadId\":\"t\"}"}`, `{"data":{"threadId":"t","messages":[{"answer":"x"}],"webhookToken":"x"}}`, `[]`, `null`, ``, `{"a":[[[[`,
		"{\"data\":{\"threadId\":\"t\",\"answer\":\"\xff\\u0000\"}}",
	} {
		f.Add([]byte(seed), "tok")
		f.Add([]byte(seed), "to")
	}
	f.Fuzz(func(t *testing.T, body []byte, token string) {
		b := &bot{id: "365062873485935184"}
		news, err := b.ReceiveWebhook(adapters.Delivery{Header: http.Header{tokenHeader: {token}}, Body: body, Secret: normalize.NewSecret("tok")})
		if err != nil {
			kind := normalize.AsError(err).Kind
			if kind != normalize.KindInvalidJSON && kind != normalize.KindUnauthenticated || (kind == normalize.KindUnauthenticated) != (token != "tok") {
				t.Errorf("token %q: kind %s", token, kind)
			}
			return
		}
		if token != "tok" {
			t.Fatalf("token %q is taken", token)
		}
		if news.Remote.ThreadID == "" && (len(news.Messages) > 0 || news.Update.Mode != "" || news.Update.Escalated != nil) {
			t.Errorf("of no conversation: %+v", news)
		}
		for _, m := range news.Messages {
			if m.Text == "" && m.Notice == "" || m.Role == "" || !utf8.ValidString(m.Text) || strings.ContainsRune(m.Text, 0) {
				t.Errorf("it tells %+v", m)
			}
		}
	})
}
