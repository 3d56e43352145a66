package conversations

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

// otherID is a conversation that is never spoken in.
const otherID = "00000000-0000-4000-8000-000000000000"

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
