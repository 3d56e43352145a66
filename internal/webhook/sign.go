package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"chatmux/normalize"
)

// keysOf reads the secrets that sign: each is whsec_ and base64.
func keysOf(secret normalize.Secret) (keys [][]byte, err error) {
	for _, one := range strings.Fields(secret.Reveal()) {
		encoded, ok := strings.CutPrefix(one, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) == 0 {
			return nil, errors.New("the secret cannot sign: write whsec_ and base64")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no secret to sign by")
	}
	return keys, nil
}

// sign gives the value of webhook-signature, with one signature for each key: HMAC-SHA256
// of the id, the time and the very bytes that are sent, joined by dots.
func sign(keys [][]byte, id string, at time.Time, body []byte) string {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}
