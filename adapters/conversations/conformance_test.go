package conversations

import (
	"fmt"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

// otherID is a conversation that is never spoken in.
const otherID = "00000000-0000-4000-8000-000000000000"

// replyWebhook is the vendor's own sample.
const replyWebhook = `{"id": "36f675cc-81e7-4ef5-a8e2-5d940ed90475", "conversation": "` + conversationID + `", "sender": {"id": 7, "name": "bot", "avatar": "https://cdn.example.test/b.png"},
 "type": "outgoing", "content": "We open at nine.", "feedback": null, "created_at": "1772619331000", "attachments": [],
 "citations": [{"id": "6b0d549b-6f03-475a-9600-a35a099950d8", "filename": "hours.jsonl", "file": "https://cdn.example.test/h", "fileType": "jsonl", "size": 120, "status": "done", "document": "8d116ece-1738-47d9-bd9c-172411e20b8f", "createdAt": "1772000000000"}]}`

func TestConformance(t *testing.T) {
	settings := func() *Settings {
		s := Spec.Settings().(*Settings)
		s.APIKey, s.ChatbotID = normalize.NewSecret(apiKey), chatbotID
		return s
	}
	for name, change := range map[string]func(*Settings){
		"completions": func(*Settings) {}, "web chat": withWebChat, "messages": styleMessages,
	} {
		t.Run(name, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec:      Spec,
				Settings:  func() adapters.Settings { s := settings(); change(s); return s },
				Key:       apiKey,
				NoReplies: name == "messages",
				Webhook: adaptertest.Webhook{
					Examples: []adaptertest.WebhookExample{
						{Body: replyWebhook, Thread: conversationID, Says: []string{"assistant: We open at nine."}},
						{ // as the vendor's sample proxy reads it
							Body:   `{"id":7,"conversation_id":"c","type":"outgoing","content":"x","createdAt":1772619331000}`,
							Thread: "c", Says: []string{"assistant: x"},
						},
						{
							Body:   `{"id":"m","conversation":"c","type":"outgoing","content":null,"attachments":[{"id":"a","type":"image","file":"https://x.test/a"}]}`,
							Thread: "c", Says: []string{"assistant: "},
						},
						{Body: `{"id":"m","conversation":"c","type":"incoming","content":"hello"}`, Thread: "c", Says: []string{"user: hello"}},
					},
					Say: func(text string) []byte {
						return fmt.Appendf(nil, `{"id":"m-1","conversation":"c-1","type":"outgoing","content":%s}`, normalize.AppendString(nil, text))
					},
					Strange: []string{`{"conversation":"c","content":7}`, `{"conversation":"c","content":""}`, `{"content":"x"}`},
				},
				StreamErrors: []adaptertest.StreamError{
					{Data: `{"detail":"Request was throttled. Expected available in 7 seconds."}`, Kind: normalize.KindRateLimited},
					{Data: `{"detail":"Invalid API key ` + apiKey + `."}`, Kind: normalize.KindUnauthorized},
					{Data: `{"error":{"code":"authentication_failed","detail":"` + apiKey + `"}}`, Kind: normalize.KindUnauthorized},
					{Data: `{"error":"` + apiKey + ` is odd"}`, Kind: normalize.KindVendorFault},
					{Data: `{"error":"Busy","status":503,"content":"","done":true}`, Kind: normalize.KindVendorFault},
					{Data: `{"error":"Slow down","status":"429"}`, Kind: normalize.KindRateLimited},
					{Data: `{"error":{"message":"No more","code":"quota_exceeded"}}`, Kind: normalize.KindQuota},
					{Data: `{"error":{"message":"No more","code":402}}`, Kind: normalize.KindQuota},
					{Data: `{"error":{"message":"Filtered","type":"content_filter"}}`, Kind: normalize.KindRejected},
					{Data: `{"error":{"code":"permission_denied","message":"Not this one."}}`, Kind: normalize.KindRejected},
					{Data: `{"error":{"code":"permission_denied","message":"This API key may not."}}`, Kind: normalize.KindUnauthorized},
					{Data: `{"error":{"a":1}}`, Kind: normalize.KindVendorFault},
				},
				StreamStrays: []string{
					`{"conversationId":"` + otherID + `","content":"` + adaptertest.Stray + `"}`,
					`{"conversation_id":"` + otherID + `","content":"` + adaptertest.Stray + `","done":true}`,
					`{"conversation":"` + otherID + `","content":"` + adaptertest.Stray + `"}`,
				},
			})
		})
	}
}
