package conversations

import (
	"strings"
	"testing"

	"chatmux/internal/vendorhttp"
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
