package alturtwin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"

	"chatmux/internal/sandbox/bot"
)

// Call is a phone call that has ended, as its webhook tells it.
type Call struct {
	ID        string
	EndUserID string
	Legacy    bool // told and signed as the older documents say
}

// EndCall tells a webhook that a call has ended, signed with the secret that was set
// for it in the dashboard, and returns the status of the answer.
func (t *Twin) EndCall(to, secret string, c Call) (status int, err error) {
	body := fmt.Appendf(nil, `{"event_type":"on_call_end","id":%q,"type":"outbound","status":"ended","answered_by":"human","duration":45,`+
		`"transcript":[{"sent_by":"assistant","sent_at":"2026-03-04T10:00:06Z","content":"Hello"}],"assistant":{"id":%q,"name":%q},`+
		`"end_user":{"id":%q,"display_name":"Rosa"}}`, c.ID, t.agentID, agentName, c.EndUserID)
	key := []byte(secret)
	if c.Legacy {
		body = fmt.Appendf(nil, `{"type": "on_call_end", "id": %q, "status": "ended", "end_user": {"id": %q}}`, c.ID, c.EndUserID)
	} else if key, err = base64.StdEncoding.DecodeString(secret); err != nil {
		return 0, fmt.Errorf("the secret of a webhook is Base64: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if c.Legacy {
		signature = hex.EncodeToString(mac.Sum(nil))
	}
	return bot.Tell(to, http.Header{"X-Altur-Signature": {signature}}, body)
}
