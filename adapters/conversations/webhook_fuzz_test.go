package conversations

import (
	"strings"
	"testing"
	"unicode/utf8"

	"chatmux/adapters"
	"chatmux/normalize"
)

// FuzzReceiveWebhook: whatever is posted to us, there is an error, nothing, or something
// that was said in a conversation, fit to be stored; and never a panic.
func FuzzReceiveWebhook(f *testing.F) {
	for _, seed := range []string{
		replyWebhook, `{"id":7,"conversation_id":"c","type":"incoming","content":"a\ud83d\ude00\ud83d"}`,
		`{"conversationId":"c","attachments":["a",{"id":7,"type":"image","file":"u"},null],"type":"odd"}`,
		`{"conversation":{"id":"c"},"content":"x"}`, `{"conversation":"c","content":[1]}`, `[]`, `null`, ``, `{"a":[[[[`,
		"{\"conversation\":\"c\",\"content\":\"\xff\\u0000\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		news, err := new(platform).ReceiveWebhook(adapters.Delivery{Body: body})
		if err != nil {
			if kind := normalize.AsError(err).Kind; kind != normalize.KindInvalidJSON {
				t.Errorf("kind %s", kind)
			}
			return
		}
		for _, m := range news.Messages {
			if news.Remote.ThreadID == "" || m.Text == "" && len(m.Attachments) == 0 || m.Role == "" || m.Status == "" {
				t.Errorf("it tells %+v", news)
			}
			if !utf8.ValidString(m.Text) || strings.ContainsRune(m.Text, 0) {
				t.Errorf("the text is %q", m.Text)
			}
		}
	})
}
