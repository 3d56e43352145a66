package conversations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/normalize"
)

func TestAnswerTextIsFoundWhereClientsLookForIt(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"content", `{"conversationId":"c","content":"a","message":{"content":"b"},"reply":"r"}`, "a"},
		{"message.content", `{"conversationId":"c","content":null,"message":{"content":"b"},"reply":"r"}`, "b"},
		{"reply", `{"conversationId":"c","reply":"r"}`, "r"},
		{"spaces are text", `{"conversationId":"c","content":" \n"}`, " \n"},
		{"NUL and broken UTF-8", "{\"conversationId\":\"c\",\"content\":\"a\\u0000b\xffc\"}", "a\ufffdb\ufffdc"},
		{"half a surrogate pair leaves its neighbour alone", `{"conversationId":"c","content":"\ud83d\u4f60\ud83d\ude00"}`, "\ufffd你😀"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, jsonAnswer(200, c.body)).url, nil), turnOf("hi", ""))
			if err != nil {
				t.Fatal(err)
			}
			if len(reply.Messages) != 1 || reply.Messages[0].Text != c.want {
				t.Errorf("replies are %+v, want one that says %q", reply.Messages, c.want)
			}
		})
	}
}

func TestAnAnswerWithoutTextIsInvalid(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"conversationId":"c"}`, `{"conversationId":"c","content":""}`, `{"conversationId":"c","content":null}`,
		`{"conversationId":"c","content":7}`, `{"conversationId":"c","content":true}`, `{"conversationId":"c","content":["a"]}`,
		`{"conversationId":"c","content":{"text":"a"}}`, `{"conversationId":"c","content":"","reply":"r"}`,
		`{"conversationId":"c","content":5,"reply":"r"}`, `{"conversationId":"c","message":{"content":""}}`,
		`{"conversationId":"c","message":"a"}`, ``, `null`, `"a"`, `[]`, `[{"content":"a"}]`, `<html>busy</html>`,
		`{"conversationId":"c","content":"a`, `{"conversationId":"c","content":"a"} {}`, "\xef\xbb\xbf{}",
		`{"a":` + strings.Repeat("[", 1<<20),
	} {
		t.Run(fmt.Sprintf("%.60q", body), func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, jsonAnswer(200, body)).url, nil), turnOf("hi", ""))
			wantKind(t, err, normalize.KindInvalidReply)
			if len(reply.Messages) != 0 {
				t.Errorf("replies beside the error: %+v", reply.Messages)
			}
		})
	}
}

func TestConversationIDIsReadInEverySpelling(t *testing.T) {
	for _, c := range []struct{ name, asked, body, want string }{
		{"camel", "", `{"content":"a","conversationId":"c1","conversation_id":"c2","conversation":"c3"}`, "c1"},
		{"snake", "", `{"content":"a","conversationId":null,"conversation_id":"c2","conversation":"c3"}`, "c2"},
		{"plain", "", `{"content":"a","conversation_id":"","conversation":"c3"}`, "c3"},
		{"not told again", "c0", `{"content":"a"}`, "c0"},
		{"told in another case", "c0", `{"content":"a","conversationId":"C0"}`, "c0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, jsonAnswer(200, c.body)).url, nil), turnOf("hi", c.asked))
			if err != nil || reply.Remote.ThreadID != c.want {
				t.Errorf("conversation is %q (%v), want %q", reply.Remote.ThreadID, err, c.want)
			}
		})
	}
}

func TestAnAnswerOfAnotherConversationIsInvalid(t *testing.T) {
	for name, a := range map[string]canned{
		"plain":  jsonAnswer(200, `{"conversationId":"theirs","content":"a secret of theirs"}`),
		"stream": streamAnswer("data: {\"conversationId\":\"theirs\",\"content\":\"a secret of theirs\",\"done\":true}\n\n"),
		"stream later": streamAnswer("data: {\"conversationId\":\"ours\",\"content\":\"a\"}\n\n" +
			"data: {\"conversationId\":\"theirs\",\"content\":\"b\",\"done\":true}\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, a).url, nil), turnOf("hi", "ours"))
			wantKind(t, err, normalize.KindInvalidReply)
			if diff := cmp.Diff(adapters.Reply{}, reply); diff != "" {
				t.Errorf("something of the other conversation came through:\n%s", diff)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats the text: %v", err)
			}
		})
	}
}

func TestANewConversationWithoutIDIsInvalid(t *testing.T) {
	_, err := send(t, openAt(t, newVendor(t, jsonAnswer(200, `{"content":"a"}`)).url, nil), turnOf("hi", ""))
	wantKind(t, err, normalize.KindInvalidReply)
}

func TestACutAnswerSavesTheConversation(t *testing.T) {
	cut := jsonAnswer(200, `{"conversationId": "`+conversationID+`", "content": "We op`)
	cut.header.Set("Content-Length", "5000")
	reply, err := send(t, openAt(t, newVendor(t, cut).url, nil), turnOf("hi", ""))
	wantKind(t, err, normalize.KindTruncated)
	if reply.Remote.ThreadID != conversationID || len(reply.Messages) != 0 {
		t.Errorf("kept %+v, want the conversation and no reply", reply)
	}

	cut.body = `{"conversationId": "` + conversationID[:20]
	reply, err = send(t, openAt(t, newVendor(t, cut).url, nil), turnOf("hi", ""))
	wantKind(t, err, normalize.KindTruncated)
	if reply.Remote.ThreadID != "" {
		t.Errorf("half an id was kept: %q", reply.Remote.ThreadID)
	}
}

func TestTextIsWrittenByteForByte(t *testing.T) {
	text := " \t<b>&amp;</b> \"quoted\" \\ 'x'\r\n\u202eעברית العربية 你好 🙂👩‍👩‍👧 e\u0301 \u2028 " + strings.Repeat("長", 20000)
	twin := newTwinServer(t, Spec.Twin(nil))
	a := openTwin(t, twin, nil)
	reply, err := send(t, a, turnOf(text, ""))
	if err != nil {
		t.Fatal(err)
	}
	list, err := a.(adapters.MessageLister).ListMessages(context.Background(), reply.Remote, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if got := list.Messages[0].Text; got != text {
		t.Errorf("the vendor has %d bytes, want %d; they differ at %d", len(got), len(text), firstDifference(got, text))
	}
	if got := reply.Messages[0].Text; !strings.Contains(got, text) {
		t.Error("the answer does not repeat the text byte for byte")
	}
}

func firstDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestStyleMessagesAnswersLater(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), styleMessages)
	ctx := context.Background()
	thread, err := a.(adapters.ThreadCreator).CreateThread(ctx, normalize.Thread{})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := send(t, a, turnOf("Opening hours?", thread.Remote.ThreadID))
	if err != nil {
		t.Fatal(err)
	}
	if len(reply.Messages) != 0 || reply.Sent.RemoteID == "" || reply.Sent.CreatedAt.IsZero() {
		t.Errorf("reply is %+v, want no messages and what is known of the sent one", reply)
	}
	list, err := a.(adapters.MessageLister).ListMessages(ctx, thread.Remote, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Messages) != 2 ||
		list.Messages[0].RemoteID != reply.Sent.RemoteID || list.Messages[1].Role != normalize.RoleAssistant {
		t.Errorf("the list holds %+v, want the message and its answer", list.Messages)
	}
}

func TestStyleMessagesNeedsAConversation(t *testing.T) {
	v := newVendor(t, jsonAnswer(201, `{}`))
	for name, do := range map[string]func(context.Context, adapters.Turn) (adapters.Reply, error){
		"the person": openAt(t, v.url, styleMessages).Send,
		"operator":   openAt(t, v.url, nil).(adapters.OperatorSender).SendAsOperator,
	} {
		_, err := do(context.Background(), turnOf("hi", ""))
		if e := wantKind(t, err, normalize.KindUnsupported); e.MessageStatus() != normalize.StatusFailed {
			t.Errorf("%s: the message would be %s, want failed: nothing was sent", name, e.MessageStatus())
		}
	}
	if n := len(v.ledger()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestInAHumansThreadTheBotIsNotAsked(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), nil)
	ctx := context.Background()
	first, err := send(t, a, turnOf("hi", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.(adapters.ModeSwitcher).SwitchMode(ctx, first.Remote, normalize.ModeHuman); err != nil {
		t.Fatal(err)
	}
	turn := turnOf("is there a human?", first.Remote.ThreadID)
	turn.Thread.Mode = normalize.ModeHuman
	reply, err := send(t, a, turn)
	if err != nil || len(reply.Messages) != 0 || reply.Sent.RemoteID == "" || reply.Remote != first.Remote {
		t.Fatalf("reply is %+v (%v), want none, and the message stored in the conversation", reply, err)
	}
	list, err := a.(adapters.MessageLister).ListMessages(ctx, first.Remote, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if last := list.Messages[len(list.Messages)-1]; last.RemoteID != reply.Sent.RemoteID || last.Role != normalize.RoleUser {
		t.Errorf("the last message is %+v, want the person's", last)
	}
}

func TestAStoredMessageMustBeOne(t *testing.T) {
	for _, body := range []string{
		`{}`, ``, `[]`, `{"content":"hi"}`, `{"id":"m","content":{}}`, `{"id":"m","content":7}`,
		`{"id":"m","conversation":"theirs","content":"hi"}`, `<html>`,
	} {
		_, err := send(t, openAt(t, newVendor(t, jsonAnswer(201, body)).url, styleMessages), turnOf("hi", conversationID))
		if e := normalize.AsError(err); e == nil || e.Kind != normalize.KindInvalidReply {
			t.Errorf("%s: error is %v, want %s", body, err, normalize.KindInvalidReply)
		}
	}
}

func TestAnAttachmentNeedsAnIDOrAURL(t *testing.T) {
	v := newVendor(t, jsonAnswer(200, `{"conversationId":"c","content":"ok"}`))
	for _, change := range []func(*Settings){nil, styleMessages} {
		turn := turnOf("look", "c")
		turn.Message.Attachments = []normalize.Attachment{{Type: normalize.TypeImage, URL: "https://a.example.test/"}, {Filename: "x.png"}}
		_, err := openAt(t, v.url, change).(adapters.AttachmentSender).SendAttachments(context.Background(), turn)
		e := wantKind(t, err, normalize.KindInvalidRequest)
		if len(e.Fields) != 1 || e.Fields[0].Field != "attachments[1]" {
			t.Errorf("fields are %+v, want attachments[1]", e.Fields)
		}
	}
	if n := len(v.ledger()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := newVendor(t, jsonAnswer(200, `{"conversationId":"c","content":"stolen"}`))
	redirect := canned{status: 307, header: map[string][]string{"Location": {elsewhere.url + "/api/chatbots/" + chatbotID + "/completions/"}}}
	_, err := send(t, openAt(t, newVendor(t, redirect).url, nil), turnOf("hi", ""))
	wantKind(t, err, normalize.KindRedirected)
	if n := len(elsewhere.ledger()); n != 0 {
		t.Errorf("%d requests went to where the redirect points", n)
	}
}
