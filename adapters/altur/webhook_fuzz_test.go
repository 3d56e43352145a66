package altur

import (
	"net/http"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

// FuzzReceiveWebhook: what is not signed is refused, whatever it is; what is signed is
// an error, nothing, or a call with an id; and never a panic.
func FuzzReceiveWebhook(f *testing.F) {
	for _, seed := range []string{
		callWebhook, `{"type":"on_call_end","id":7}`, `{"event_type":"on_call_end","id":"c","end_user":"x"}`, `{"event_type":{"a":"on_call_end"}}`,
		`[]`, `null`, ``, `{"a":[[[[`, "{\"event_type\":\"on_call_end\",\"id\":\"\xff\\u0000\"}",
	} {
		f.Add([]byte(seed), "00ff")
		f.Add([]byte(seed), "AAAA=")
	}
	const secret = "c2VjcmV0"
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		receive := func(h http.Header) (adapters.News, error) {
			return new(adapter).ReceiveWebhook(adapters.Delivery{Header: h, Body: body, Secret: normalize.NewSecret(secret)})
		}
		if news, err := receive(http.Header{signatureHeader: {signature}}); normalize.AsError(err) == nil || news.Record != nil {
			t.Errorf("the signature %q is taken: %+v", signature, news)
		}
		for shape, sign := range signers {
			news, err := receive(sign(body, secret))
			if e := normalize.AsError(err); e != nil && e.Kind != normalize.KindInvalidJSON {
				t.Errorf("%s: %v", shape, err)
			}
			if r := news.Record; r != nil && (r.ID == "" || r.Kind != eventCallEnd || len(r.Raw) == 0) {
				t.Errorf("%s: it keeps %+v", shape, r)
			}
		}
	})
}
