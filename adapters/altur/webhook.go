package altur

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// signatureHeader carries the signature of a webhook.
const signatureHeader = "X-Altur-Signature"

// eventCallEnd is the one event that Altur sends: a phone call has ended.
const eventCallEnd = "on_call_end"

// ReceiveWebhook checks the signature of a call's webhook and gives the call to be kept
// on record. It belongs to the conversation of its end user, if there is one. The
// secret is the one of the settings, else the backend's hook_secret.
func (a *adapter) ReceiveWebhook(d adapters.Delivery) (adapters.News, error) {
	secret := a.webhookSecret
	if secret.IsZero() {
		secret = d.Secret
	}
	signatures := d.Header.Values(signatureHeader)
	if len(signatures) != 1 || !signed(d.Body, signatures[0], secret.Reveal()) {
		return adapters.News{}, &normalize.Error{Kind: normalize.KindUnauthenticated}
	}
	if !json.Valid(d.Body) {
		return adapters.News{}, &normalize.Error{Kind: normalize.KindInvalidJSON}
	}
	root := gjson.ParseBytes(normalize.CleanBytes(d.Body))
	id := text(root.Get("id"))
	// An older form of the payload has the event's name in type.
	if word := cmp.Or(text(root.Get("event_type")), text(root.Get("type"))); !root.IsObject() || word != eventCallEnd || id == "" {
		return adapters.News{}, nil
	}
	return adapters.News{
		Remote: normalize.Remote{UserID: text(root.Get("end_user.id"))},
		Record: &adapters.VendorRecord{Kind: eventCallEnd, ID: id, Raw: []byte(root.Raw)},
	}, nil
}

// signed reports whether a body has this signature. Altur's documents tell it in two
// ways: the newer text says Base64 of an HMAC-SHA-256 whose key is the secret decoded
// from Base64, over the JSON without spaces; the older one says hexadecimal, with the
// secret as it is, over the payload. Neither is weaker than the other, and an account
// does not know which it has: both are taken, over the body as it came and without
// its spaces.
func signed(body []byte, signature, secret string) bool {
	if secret == "" {
		return false
	}
	bodies := [][]byte{body}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil && !bytes.Equal(compact.Bytes(), body) {
		bodies = append(bodies, compact.Bytes())
	}
	signature = strings.TrimSpace(signature)
	var ways []struct{ key, given []byte }
	if given, err := hex.DecodeString(signature); err == nil {
		ways = append(ways, struct{ key, given []byte }{[]byte(secret), given})
	}
	if given := unBase64(signature); given != nil {
		if key := unBase64(secret); key != nil {
			ways = append(ways, struct{ key, given []byte }{key, given})
		}
	}
	for _, way := range ways {
		for _, b := range bodies {
			mac := hmac.New(sha256.New, way.key)
			mac.Write(b)
			if hmac.Equal(mac.Sum(nil), way.given) {
				return true
			}
		}
	}
	return false
}

// unBase64 decodes either alphabet of Base64, with padding or without; nil where it is
// none.
func unBase64(s string) []byte {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil
	}
	return b
}
