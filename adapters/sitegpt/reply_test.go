package sitegpt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/normalize"
)

// answers returns the vendor's answers in the golden files, by file.
func answers(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	found := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range txtar.Parse(data).Files {
			if section.Name == "answer.json" {
				found[filepath.Base(file)] = string(section.Data)
			}
		}
	}
	return found
}

// Whatever a vendor answers, reading it ends, and gives replies with text or none.
func FuzzDecodeReply(f *testing.F) {
	for _, answer := range answers(f) {
		f.Add(answer, false)
		f.Add(answer, true)
	}
	for _, answer := range []string{
		``, `{}`, `[]`, `null`, `<html>`, `{"success":true,"data":null}`, `{"success":false,"error":{"code":7}}`,
		`{"data":{"message":{"answer":{"text":"\ud83d\u0000"},"threadId":1e400}}}`,
		`{"data":{"message":{"answer":"","threadId":"t","messageType":"USER_MESSAGE"}}}`,
		`{"data":{"message":{"answer":"a","answer":"","threadId":"t"},"conversation":{"webhookToken":"x","messages":[{}]}}}`,
	} {
		f.Add(answer, false)
	}
	f.Fuzz(func(t *testing.T, body string, human bool) {
		turn := toThread("")
		if human {
			turn.Thread.Mode = normalize.ModeHuman
		}
		for _, version := range versions {
			reply, err := decode(t, version, body, turn)
			if err != nil && len(reply.Messages) != 0 {
				t.Errorf("a failure brought replies: %v", err)
			}
			if err == nil && reply.Remote.ThreadID == "" {
				t.Error("a success named no conversation")
			}
			for _, message := range reply.Messages {
				if message.Text == "" || !utf8.ValidString(message.Text) || !json.Valid(message.Raw) {
					t.Errorf("not a reply: %+v", message)
				}
			}
			if raw := reply.Thread.Raw; raw != nil && !json.Valid(raw) {
				t.Errorf("not an object of the vendor's: %s", raw)
			}
		}
	})
}

func BenchmarkEncodeSend(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		encode(sendV0{Message: "Do you ship abroad?", From: fromUser, ThreadID: "06b3b43c-5651-49a2-b618-d7f24667c1b6"})
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	for name, version := range map[string]string{"v0_send.txtar": versionV0, "v2_send_new.txtar": versionV2} {
		answer := answers(b)[name]
		b.Run(version, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			for b.Loop() {
				if _, err := decode(b, version, answer, toThread("")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
