package conversations

import (
	"strings"
	"testing"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

func BenchmarkEncodeSend(b *testing.B) {
	turn := turnOf(strings.Repeat("What are your opening hours on Sundays? ", 5), conversationID)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeCompletion(turn, StreamFieldCamel, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	body := `{"conversationId": "` + conversationID + `", "content": "` + strings.Repeat("We open at nine. ", 40) + `", "done": true,
 "citations": [{"id": "6b0d549b-6f03-475a-9600-a35a099950d8", "filename": "hours.jsonl", "file": "https://cdn.example.test/h", "size": 120}],
 "citationNodes": [{"chatbotTextNode": {"id": "n", "text": "Mo-Fr 9-17", "filename": "hours.jsonl"}, "score": 0.93}]}`
	a := vendorhttp.Answer{Status: 200, Body: []byte(body)}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeCompletion(a, conversationID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream is an answer of 1,000 deltas, from its bytes to whoever watches.
func BenchmarkStream(b *testing.B) {
	const deltas = 1000
	body := strings.Repeat(frame("We open ", false), deltas) + frame("", true)
	head := vendorhttp.Answer{Status: 200}
	emit := func(adapters.Delta) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		told := vendorhttp.NewTelling(strings.NewReader(body), head, "", emit)
		if _, err := collect(told, head, conversationID, normalize.Secret{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*deltas), "ns/delta")
}
