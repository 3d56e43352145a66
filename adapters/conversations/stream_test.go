package conversations

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

func frame(content string, done bool) string {
	return fmt.Sprintf("data: {\"conversationId\":%q,\"content\":%q,\"done\":%v}\n\n", conversationID, content, done)
}

// told reads a stream of a new conversation that nobody watches.
func told(body io.Reader) (adapters.Reply, error) {
	head := vendorhttp.Answer{Status: 200}
	return collect(vendorhttp.NewTelling(body, head, "", nil), head, "", normalize.Secret{})
}

// watched reads a stream of a new conversation, and gives what it shows.
func watched(body io.Reader) (shown []string, reply adapters.Reply, err error) {
	head := vendorhttp.Answer{Status: 200}
	reply, err = collect(vendorhttp.NewTelling(body, head, "", func(d adapters.Delta) error {
		shown = append(shown, d.Text)
		return nil
	}), head, "", normalize.NewSecret(apiKey))
	return shown, reply, err
}

func TestOnlyCompletionsAreStreamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		want   bool
	}{"completions": {nil, true}, "web chat": {withWebChat, true}, "messages": {styleMessages, false}} {
		if _, ok := openAt(t, "http://127.0.0.1:1", c.change).(adapters.Streamer); ok != c.want {
			t.Errorf("%s: streams %v, want %v", name, ok, c.want)
		}
	}
}

// U26: what was shown of our conversation is kept; nothing of the other one is.
func TestAStreamThatGoesOnInAnotherConversationEndsThere(t *testing.T) {
	foreign := "data: {\"conversationId\":\"theirs\",\"content\":\"a secret\",\"done\":true," +
		"\"citations\":[{\"filename\":\"secret.pdf\"}]}\n\n"
	shown, reply, err := watched(strings.NewReader(frame("We open ", false) + foreign))
	if e := wantKind(t, err, normalize.KindInvalidReply); e.Phase != normalize.PhaseContent {
		t.Errorf("phase %s, want %s", e.Phase, normalize.PhaseContent)
	}
	if diff := cmp.Diff([]string{"We open "}, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	want := adapters.Reply{Remote: normalize.Remote{ThreadID: conversationID}, Messages: []normalize.Message{
		{Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: "We open ", Status: normalize.StatusIncomplete},
	}}
	if diff := cmp.Diff(want, reply); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestAFrameThatIsNoErrorIsNone(t *testing.T) {
	for _, more := range []string{
		`"error":null`, `"error":""`, `"error":false`, `"error":{}`, `"error":[]`, `"error":0`, `"detail":"of the answer"`, `"detail":null`,
	} {
		body := fmt.Sprintf("data: {\"conversationId\":%q,\"content\":\"a\",%s}\n\n", conversationID, more) + frame("", true)
		if _, reply, err := watched(strings.NewReader(body)); err != nil || reply.Messages[0].Text != "a" {
			t.Errorf("%s: %v", more, err)
		}
	}
}

func TestAnErrorWithinAStreamSaysWhatIsKnown(t *testing.T) {
	_, reply, err := watched(strings.NewReader("data: {\"conversationId\":\"c\",\"error\":{\"code\":\"throttled\",\"message\":\"" + apiKey +
		" was throttled. Expected available in 7 seconds.\"}}\n\n"))
	if diff := cmp.Diff(adapters.Reply{Remote: normalize.Remote{ThreadID: "c"}}, reply); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	e := wantKind(t, err, normalize.KindRateLimited)
	if e.Phase != normalize.PhaseStatus || e.VendorStatus != 200 || e.VendorCode != "throttled" || e.RetryAfter != 7*time.Second ||
		!strings.Contains(e.Text(), "was throttled") || strings.Contains(e.Text(), apiKey) {
		t.Errorf("%+v", e)
	}
}

func TestUnaskedStreamIsCollected(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"as documented", frame("We open ", false) + frame("at nine.", false) + frame("", true), "We open at nine."},
		{"text in the last frame", frame("We open ", false) + frame("at nine.", true), "We open at nine."},
		{"nothing is read after the end mark", frame("a", true) + frame("b", true), "a"},
		{"CRLF", strings.ReplaceAll(frame("a", false)+frame("b", true), "\n", "\r\n"), "ab"},
		{"CR", strings.ReplaceAll(frame("a", false)+frame("b", true), "\n", "\r"), "ab"},
		{"byte order mark", "\ufeff" + frame("a", true), "a"},
		{"no space after the colon", strings.ReplaceAll(frame("a", true), "data: ", "data:"), "a"},
		{"other fields and comments", ": hb\n\nevent: message\nid: 1\nretry: 5\n" + frame("a", false) + ": hb\n" + frame("b", true), "ab"},
		{"one frame over several data lines", "data: {\"conversationId\":\"c\",\ndata: \"content\":\"a\",\ndata: \"done\":true}\n\n", "a"},
		{"the same with CRLF", "data: {\"conversationId\":\"c\",\r\ndata: \"content\":\"a\",\r\ndata: \"done\":true}\r\n\r\n", "a"},
		{"other spellings of the conversation", "data: {\"conversation_id\":\"c\",\"content\":\"a\"}\n\n" +
			"data: {\"conversation\":\"c\",\"content\":\"b\",\"done\":\"true\"}\n\n", "ab"},
		{"frames that are no JSON", "data: ping\n\ndata: [DONE]\n\ndata\n\ndata:\n\n" + frame("a", true), "a"},
		{"frame without text", "data: {\"conversationId\":\"c\",\"content\":null}\n\n" +
			"data: {\"conversationId\":\"c\"}\n\ndata: {\"content\":\"a\",\"done\":true}\n\n", "a"},
		{"broken UTF-8", "data: {\"conversationId\":\"c\",\"content\":\"a\xff\",\"done\":true}\n\n", "a\ufffd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, streamAnswer(c.body)).url, nil), turnOf("hi", ""))
			if err != nil {
				t.Fatal(err)
			}
			if len(reply.Messages) != 1 || reply.Messages[0].Text != c.want || reply.Messages[0].Status != normalize.StatusComplete {
				t.Errorf("replies are %+v, want one that says %q", reply.Messages, c.want)
			}
			if reply.Remote.ThreadID == "" {
				t.Error("the conversation is not known")
			}
		})
	}
}

func TestAStreamIsTheSameInWhateverPiecesItComes(t *testing.T) {
	body := "\ufeff: hb\r\n\r\n" + frame("Grüß ", false) + strings.ReplaceAll(frame("你好 🙂", false), "\n", "\r\n") + frame("!", true)
	want, err := told(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := told(iotest.OneByteReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("byte by byte it reads differently:\n%s", diff)
	}
}

func TestACutStreamIsNeverComplete(t *testing.T) {
	body := frame("We open ", false) + frame("at nine 🙂.", false) + frame("", true)
	whole := len(body)
	for n := range whole {
		reply, err := told(strings.NewReader(body[:n]))
		if e := normalize.AsError(err); e == nil || e.Kind != normalize.KindTruncated {
			t.Fatalf("cut at %d of %d: error is %v, want %s", n, whole, err, normalize.KindTruncated)
		}
		for _, m := range reply.Messages {
			if m.Status != normalize.StatusIncomplete || m.Text == "" || reply.Remote.ThreadID != conversationID {
				t.Fatalf("cut at %d of %d: kept %+v, want incomplete text of the conversation", n, whole, reply)
			}
		}
	}
	if _, err := told(strings.NewReader(body)); err != nil {
		t.Fatalf("uncut: %v", err)
	}
}

func TestStreamFailures(t *testing.T) {
	for _, c := range []struct {
		name, body string
		kind       normalize.Kind
		kept       string
	}{
		{"no end mark", frame("half", false), normalize.KindTruncated, "half"},
		{"[DONE] is not the end mark", frame("half", false) + "data: [DONE]\n\n", normalize.KindTruncated, "half"},
		{"empty", "", normalize.KindTruncated, ""},
		{"no frame that can be read", "data: hello\n\n", normalize.KindInvalidReply, ""},
		{"broken frame", frame("half", false) + "data: {\"content\":\n\n" + frame("", true), normalize.KindInvalidReply, "half"},
		{"text that is no text", frame("half", false) + "data: {\"content\":7}\n\n", normalize.KindInvalidReply, "half"},
		{"no text at all", frame("", true), normalize.KindInvalidReply, ""},
		{"no conversation", "data: {\"content\":\"a\",\"done\":true}\n\n", normalize.KindInvalidReply, "a"},
		{"line too long", frame("half", false) + "data: " + strings.Repeat("x", vendorhttp.MaxLine) + "\n\n", normalize.KindTooLarge, "half"},
		{"event too long", frame("half", false) +
			strings.Repeat("data: "+strings.Repeat("x", vendorhttp.MaxLine-10)+"\n", 5) + "\n", normalize.KindTooLarge, "half"},
		{"nested too deeply", "data: {\"a\":" + strings.Repeat("[", 200_000) + "\n\n", normalize.KindInvalidReply, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := send(t, openAt(t, newVendor(t, streamAnswer(c.body)).url, nil), turnOf("hi", ""))
			wantKind(t, err, c.kind)
			kept := ""
			for _, m := range reply.Messages {
				kept += m.Text
				if m.Status != normalize.StatusIncomplete {
					t.Errorf("status is %s, want incomplete", m.Status)
				}
			}
			if kept != c.kept {
				t.Errorf("kept %q, want %q", kept, c.kept)
			}
		})
	}
}

func TestAStreamOverFourMiBOfTextIsTooLarge(t *testing.T) {
	piece := frame(strings.Repeat("x", 200<<10), false)
	_, err := told(strings.NewReader(strings.Repeat(piece, 21)))
	wantKind(t, err, normalize.KindTooLarge)
}
