package conversations

import (
	"context"
	"fmt"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

func readThread(t *testing.T, body string) (adapters.RemoteThread, error) {
	t.Helper()
	a := openAt(t, newVendor(t, jsonAnswer(200, body)).url, nil)
	return a.(adapters.ThreadReader).ReadThread(context.Background(), normalize.Remote{ThreadID: conversationID})
}

func TestModeIsReadFromABooleanOrAText(t *testing.T) {
	for written, want := range map[string]normalize.Mode{
		`true`: normalize.ModeAI, `"true"`: normalize.ModeAI, `"True"`: normalize.ModeAI,
		`false`: normalize.ModeHuman, `"false"`: normalize.ModeHuman, `"False"`: normalize.ModeHuman,
		`null`: "", `"maybe"`: "", `1`: "", `{}`: "",
	} {
		thread, err := readThread(t, fmt.Sprintf(`{"id":%q,"autoReplyEnabled":%s}`, conversationID, written))
		if err != nil || thread.Update.Mode != want {
			t.Errorf("%s: mode is %q (%v), want %q", written, thread.Update.Mode, err, want)
		}
	}
}

func TestAConversationMustBeTheOneAskedFor(t *testing.T) {
	for _, body := range []string{`{}`, `{"id":null}`, `{"id":"theirs"}`, `{"title":"x"}`, `[]`} {
		if _, err := readThread(t, body); normalize.AsError(err) == nil || normalize.AsError(err).Kind != normalize.KindInvalidReply {
			t.Errorf("%s: error is %v, want %s", body, err, normalize.KindInvalidReply)
		}
	}
}

func TestWhatAConversationDoesNotTellIsUnknown(t *testing.T) {
	thread, err := readThread(t, `{"id":"`+conversationID+`","contact":null,"inbox":null,"title":null}`)
	if err != nil {
		t.Fatal(err)
	}
	u := thread.Update
	if u.User != nil || u.Channel != nil || u.Title != nil || u.Mode != "" || u.Status != "" ||
		!thread.CreatedAt.IsZero() || !thread.UpdatedAt.IsZero() {
		t.Errorf("something was made up: %+v", thread)
	}
}

func TestAConversationWasUpdatedByItsLastMessage(t *testing.T) {
	for name, body := range map[string]string{
		"told":                `"lastMessageCreatedAt":"1772619331000","lastMessage":{"createdAt":"1772619300000"}`,
		"the message's own":   `"lastMessageCreatedAt":null,"lastMessage":{"createdAt":"1772619331000"}`,
		"in another spelling": `"lastMessage":{"created_at":1772619331}`,
	} {
		thread, err := readThread(t, `{"id":"`+conversationID+`",`+body+`}`)
		if err != nil || thread.UpdatedAt.UnixMilli() != 1772619331000 {
			t.Errorf("%s: updated at %v (%v)", name, thread.UpdatedAt, err)
		}
		if len(thread.Messages) != 0 {
			t.Errorf("%s: one message is shown as the transcript", name)
		}
	}
}

func TestASwitchWithoutEffectIsNoticed(t *testing.T) {
	v := newVendor(t, jsonAnswer(200, `{"id":"`+conversationID+`","autoReplyEnabled":true}`))
	s := openAt(t, v.url, nil).(adapters.ModeSwitcher)
	remote := normalize.Remote{ThreadID: conversationID}
	wantKind(t, s.SwitchMode(context.Background(), remote, normalize.ModeHuman), normalize.KindInvalidReply)
	if err := s.SwitchMode(context.Background(), remote, normalize.ModeAI); err != nil {
		t.Error(err)
	}
}

func TestModeIsSwitchedAtTheTwin(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), withWebChat)
	ctx := context.Background()
	thread, err := a.(adapters.ThreadCreator).CreateThread(ctx, normalize.Thread{})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []normalize.Mode{normalize.ModeHuman, normalize.ModeAI} {
		if err := a.(adapters.ModeSwitcher).SwitchMode(ctx, thread.Remote, mode); err != nil {
			t.Fatal(err)
		}
		read, err := a.(adapters.ThreadReader).ReadThread(ctx, thread.Remote)
		if err != nil || read.Update.Mode != mode {
			t.Errorf("mode is %q (%v), want %q", read.Update.Mode, err, mode)
		}
	}
}

func TestAnOperatorIsNotAnsweredByTheBot(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), nil)
	reply, err := send(t, a, turnOf("hi", ""))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	sent, err := a.(adapters.OperatorSender).SendAsOperator(ctx, turnOf("A human here.", reply.Remote.ThreadID))
	if err != nil {
		t.Fatal(err)
	}
	list, err := a.(adapters.MessageLister).ListMessages(ctx, reply.Remote, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	last := list.Messages[len(list.Messages)-1]
	if len(list.Messages) != 3 || last.RemoteID != sent.Sent.RemoteID || last.Text != "A human here." || last.Role != normalize.RoleAssistant {
		t.Errorf("the list ends with %+v of %d, want the operator's message as the third", last, len(list.Messages))
	}
	one, err := a.(adapters.MessageReader).ReadMessage(ctx, reply.Remote, last.RemoteID)
	if err != nil || one.Text != last.Text {
		t.Errorf("read alone it is %+v (%v)", one, err)
	}
}
