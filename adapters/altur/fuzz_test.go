package altur

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// FuzzDecodeReply gives the reader whatever a vendor might answer. Nothing makes
// it panic, and what it accepts can be shown and stored: no text reply without
// text, nothing of another thread, no NUL, nothing but UTF-8.
func FuzzDecodeReply(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "answer" {
				_, body, _ := strings.Cut(string(part.Data), "\n")
				f.Add([]byte(body), "")
				f.Add([]byte(body), "thr-481")
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, threadID string) {
		threadID = normalize.CleanText(threadID)
		reply, err := decodeReply(vendorhttp.Answer{Status: 200, Body: body}, normalize.Remote{ThreadID: threadID, UserID: "u"})
		if threadID != "" && reply.Remote.ThreadID != threadID {
			t.Errorf("the thread became %q, was %q", reply.Remote.ThreadID, threadID)
		}
		if err != nil {
			if kind := normalize.AsError(err).Kind; kind != normalize.KindInvalidReply {
				t.Errorf("kind %s", kind)
			}
			if len(reply.Messages) > 0 {
				t.Error("messages beside an error")
			}
			return
		}
		ids := map[string]bool{}
		for _, m := range reply.Messages {
			if m.Type == normalize.TypeText && m.Text == "" && len(m.Attachments) == 0 {
				t.Error("a text without text")
			}
			if !utf8.ValidString(m.Text) || strings.ContainsRune(m.Text, 0) {
				t.Errorf("a text that cannot be stored: %q", m.Text)
			}
			if ids[m.RemoteID] {
				t.Errorf("%s is there twice", m.RemoteID)
			}
			ids[m.RemoteID] = true
		}
		// The same body on its own must be no less harmless to the other readers.
		_, _ = decodeRemoteThread(vendorhttp.Answer{Status: 200, Body: body}, normalize.Remote{ThreadID: threadID})
		_, _ = decodeList(vendorhttp.Answer{Status: 200, Body: body}, threadID)
		_, _ = decodeUser(vendorhttp.Answer{Status: 200, Body: body})
		_ = explain(429, body)
	})
}

func BenchmarkEncodeSend(b *testing.B) {
	a := &adapter{agentID: "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30", shape: ShapeAgent}
	text := strings.Repeat("Is my \"order\" on its way? 📦\n", 20)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		a.encodeSend("c1f7d1de-58d0-4a64-9f0b-5b8a4f9a1122", text)
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	answer := vendorhttp.Answer{Status: 200, Body: []byte(compact(b, fileOf(b, "send_first_message", "answer")))}
	asked := normalize.Remote{ThreadID: "thr-481", UserID: "c1f7d1de-58d0-4a64-9f0b-5b8a4f9a1122"}
	b.ReportAllocs()
	b.SetBytes(int64(len(answer.Body)))
	var reply adapters.Reply
	for b.Loop() {
		var err error
		if reply, err = decodeReply(answer, asked); err != nil {
			b.Fatal(err)
		}
	}
	if len(reply.Messages) != 1 {
		b.Fatal("no reply")
	}
}
