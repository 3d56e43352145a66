package conversations

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

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

// FuzzStreamReply: whatever the vendor streams, the reply is only complete where a
// frame said done; what was shown is what is kept; and in whatever pieces the bytes
// come, it is the same.
func FuzzStreamReply(f *testing.F) {
	for _, seed := range []string{
		"data: {\"conversationId\":\"c\",\"content\":\"a\",\"done\":false}\n\ndata: {\"content\":\"\",\"done\":true}\n\n",
		"\ufeff: hb\r\n\r\ndata:{\"conversation_id\":\"c\",\"content\":\"a\\ud83d\"}\r\rdata: [DONE]\r\n\r\ndata: {\"content\":\"\\ude00\",\"done\":\"True\"}\n\n",
		"data: {\"conversation\":\"c\",\"content\":\"\xf0\x9f\"}\n\ndata: {\"content\":\"\x98\x80\",\ndata: \"done\":true}\n\n",
		"data: {\"conversationId\":\"c\",\"content\":\"a\"}\n\ndata: {\"conversationId\":\"d\",\"content\":\"b\",\"done\":true}\n\n",
		"data: {\"error\":{\"code\":429,\"message\":\"" + apiKey + "\"}}\n\n", "data: {\"detail\":\"x\"}\n\n",
		"data: {\"conversationId\":\"c\",\"content\":7}\n\n", "data: {\"content\":\"a\",\"done\":true,\"done\":false}\n\n",
		"data: {\ndata: }\n\n", "data: ping\n\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		shown, reply, err := watched(bytes.NewReader(stream))
		wantWhole(t, reply, err)
		if err == nil && !saysDone(stream) {
			t.Errorf("complete, and no frame said done: %+v", reply)
		}
		kept := ""
		for _, m := range reply.Messages {
			kept += m.Text
		}
		if strings.Join(shown, "") != kept {
			t.Errorf("shown was %q, kept is %q", shown, kept)
		}
		for _, d := range shown {
			if d == "" || !utf8.ValidString(d) || strings.ContainsRune(d, 0) {
				t.Errorf("shown was %q", shown)
			}
		}
		var e *normalize.Error
		if err != nil && (!errors.As(err, &e) || e.Kind == normalize.KindInternal || (e.Phase == normalize.PhaseContent) != (len(shown) > 0)) {
			t.Errorf("after %d deltas: %+v", len(shown), err)
		}
		if err != nil && strings.Contains(err.Error(), apiKey) {
			t.Errorf("the key is in %v", err)
		}
		again, same, againErr := watched(iotest.OneByteReader(bytes.NewReader(stream)))
		if diff := cmp.Diff(shown, again) + cmp.Diff(reply, same); diff != "" || (err == nil) != (againErr == nil) {
			t.Errorf("byte by byte: %v in place of %v:\n%s", againErr, err, diff)
		}
	})
}

// saysDone reads the frames of a stream in another way than the adapter.
func saysDone(stream []byte) bool {
	events := vendorhttp.NewEvents(bytes.NewReader(stream))
	for {
		event, err := events.Next()
		if err != nil {
			return false
		}
		// Of a name that comes twice, any may count: gjson takes the first, this the last.
		for _, value := range bytes.Split(event.Data, []byte(`"done"`))[1:] {
			word := strings.ToLower(strings.Trim(string(value), " \t\r\n:\""))
			if strings.HasPrefix(word, "true") {
				return true
			}
		}
		var names map[string]any // the name may be written with escapes
		if json.Unmarshal(event.Data, &names) == nil && strings.EqualFold(fmt.Sprint(names["done"]), "true") {
			return true
		}
	}
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
