package altur

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

// callWebhook is the vendor's own sample.
const callWebhook = `{
  "event_type": "on_call_end", "id": "cll_AbCdEfGhIjKlMnOpQrSt", "type": "outbound", "status": "ended", "phone_number_from": "+15550100",
  "answered_by": "human", "created_at": "2026-03-04T10:00:00Z", "duration": 45, "billed_duration": 60,
  "transcript": [{"sent_by": "assistant", "sent_at": "2026-03-04T10:00:06Z", "content": "Hello"}],
  "assistant": {"id": "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30", "nickname": "desk", "name": "Parcel desk"},
  "end_user": {"id": "c1f7d1de-58d0-4a64-9f0b-5b8a4f9a1122", "status": "converted", "display_name": "Rosa", "extracted_data": {"pickup": "yes"}, "tags": ["shipping"]}
}`

// signers are the two ways in which the vendor's documents say that it signs.
var signers = map[string]func(body []byte, secret string) http.Header{
	ShapeAgent: func(body []byte, secret string) http.Header { // Base64, of the JSON without spaces
		key, _ := base64.StdEncoding.DecodeString(secret)
		var compact bytes.Buffer
		if json.Compact(&compact, body) == nil {
			body = compact.Bytes()
		}
		return http.Header{"X-Altur-Signature": {base64.StdEncoding.EncodeToString(sum(key, body))}}
	},
	ShapeChatbot: func(body []byte, secret string) http.Header { // hexadecimal, of the payload
		return http.Header{"X-Altur-Signature": {hex.EncodeToString(sum([]byte(secret), body))}}
	},
}

func sum(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}

// Not parallel: the suite looks for goroutines that are left.
func TestConformance(t *testing.T) {
	for _, shape := range []string{ShapeAgent, ShapeChatbot} {
		t.Run(shape, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec: Spec,
				Key:  testKey,
				Webhook: adaptertest.Webhook{
					Examples: []adaptertest.WebhookExample{
						{Body: callWebhook, Record: "cll_AbCdEfGhIjKlMnOpQrSt"},
						{Body: `{"type":"on_call_end","id":"cll_2","status":"ended"}`, Record: "cll_2"}, // the older payload
					},
					Strange: []string{`{"event_type":"on_call_start","id":"cll_3"}`, `{"event_type":"on_call_end"}`},
					Sign:    signers[shape],
					Covers:  true,
					Demands: true,
				},
				Settings: func() adapters.Settings {
					s := Spec.Settings().(*Settings)
					s.APIKey = normalize.NewSecret(testKey)
					s.AgentID = "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
					s.Shape = shape
					return s
				},
			})
		})
	}
}
