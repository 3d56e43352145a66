package sitegpt

import (
	"fmt"
	"net/http"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

// messageWebhook is the vendor's own sample.
const messageWebhook = `{"event": "ADD_MESSAGE", "data": {"chatbotId": "365062873485935184", "threadId": "order-help-17", "gptModel": "gpt-4",
  "sources": ["https://shop.example.test/shipping"], "question": "Do you ship abroad?", "answer": "Yes, to 30 countries.",
  "messageType": "NORMAL_MESSAGE", "agentId": null, "iconUrl": null, "agentName": null, "systemMessageType": null}}`

func TestConformance(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec: Spec,
				Key:  testKey,
				Webhook: adaptertest.Webhook{
					Examples: []adaptertest.WebhookExample{
						{Body: messageWebhook, Thread: "order-help-17", Says: []string{"user: Do you ship abroad?", "assistant: Yes, to 30 countries."}},
						{ // halves as in the API
							Body: `{"event":"ADD_MESSAGE","data":{"messageId":"7","threadId":"t","messageType":"AGENT_MESSAGE","agentName":"Ana",` +
								`"question":null,"answer":{"text":"I am here.","timestamp":"2026-03-04T10:15:31.480000Z"}}}`,
							Thread: "t", Says: []string{"operator: I am here."},
						},
						{ // of one thread: the payload is not shown; with the pair on its own, and without an envelope
							Body:   `{"threadId":"t","message":{"id":"7","question":"a","answer":{"text":"b"},"messageType":"NORMAL_MESSAGE"}}`,
							Thread: "t", Says: []string{"user: a", "assistant: b"},
						},
						{
							Body:   `{"event":"ADD_MESSAGE","data":{"threadId":"t","answer":null,"messageType":"SYSTEM_MESSAGE","systemMessageType":"EMAIL_VERIFIED"}}`,
							Thread: "t", Says: []string{"system: "},
						},
						{Body: `{"event":"CONVERSATION_ESCALATED","data":{"threadId":"t","answer":"x"}}`, Thread: "t"},
					},
					Say: func(text string) []byte {
						return fmt.Appendf(nil, `{"event":"ADD_MESSAGE","data":{"threadId":"c-1","answer":%s}}`, normalize.AppendString(nil, text))
					},
					Strange: []string{
						`{"event":"NEW_LEAD","data":{"threadId":"t","answer":"x"}}`, `{"event":"ADD_MESSAGE","data":{"answer":"x"}}`,
						`{"event":"ADD_MESSAGE","data":{"chatbotId":"1","threadId":"t","answer":"x"}}`,
					},
					Sign: func(_ []byte, secret string) http.Header { return http.Header{"X-Webhook-Token": {secret}} },
				},
				Settings: func() adapters.Settings {
					s := Spec.Settings().(*Settings)
					s.Version, s.APIKey, s.ChatbotID = version, normalize.NewSecret(testKey), "365062873485935184"
					return s
				},
			})
		})
	}
}
