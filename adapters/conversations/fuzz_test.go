package conversations

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// FuzzDecodeReply: whatever the vendor sends, there is either an error or a reply
// with text and a conversation, and never a panic.
func FuzzDecodeReply(f *testing.F) {
	for _, seed := range []string{
		`{"conversationId": "5d0a6b0e-9f1c-4a7e-8a53-9e0c7c1d0b11", "content": "We open at nine.", "done": true, "citations": [], "citationNodes": []}`,
		`{"conversation_id":"c","message":{"id":1,"content":"a\ud83d\ude00\ud83d"}}`,
		`{"conversation":"c","reply":"r","citations":[{"filename":"a"},null,7],"citationNodes":[{"chatbotTextNode":{"filename":"a","text":"t"}},{}]}`,
		`{"conversationId":"c","content":"x","createdAt":"1772619331000","attachments":["id",{"id":7,"type":"image"},null]}`,
		`{"conversationId":7,"content":[1]}`, `{}`, `[]`, `null`, ``, `<html>`, `{"a":[[[[`, "{\"conversationId\":\"c\",\"content\":\"\xff\\u0000\"}",
		"data: {\"conversationId\":\"c\",\"content\":\"a\",\"done\":false}\n\ndata: {\"content\":\"\",\"done\":true}\n\n",
		"data:{\"conversation_id\":\"c\",\"content\":\"a\"}\r\rdata: [DONE]\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, known bool) {
		asked := ""
		if known {
			asked = "c"
		}
		a := vendorhttp.Answer{Status: 200, Body: body}
		reply, err := decodeCompletion(a, asked)
		wantWhole(t, reply, err)
		remoteOfCut(body)
		explain(400, body)
	})
}

func wantWhole(t *testing.T, reply adapters.Reply, err error) {
	t.Helper()
	for _, m := range reply.Messages {
		switch {
		case m.Text == "" || !utf8.ValidString(m.Text) || bytes.ContainsRune([]byte(m.Text), 0):
			t.Errorf("text is %q", m.Text)
		case err != nil && m.Status != normalize.StatusIncomplete:
			t.Errorf("beside an error the reply is %s", m.Status)
		}
	}
	if err == nil && (len(reply.Messages) != 1 || reply.Remote.ThreadID == "" || reply.Messages[0].Status != normalize.StatusComplete) {
		t.Errorf("no error, and the reply is %+v", reply)
	}
}
