package openai

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// FuzzDecode holds the reader to what it promises of any answer: a message with
// text that can be shown, or a failure of a kind, and the key in neither.
func FuzzDecode(f *testing.F) {
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
				f.Add([]byte(body))
			}
		}
	}
	const secret = plantedKey
	f.Fuzz(func(t *testing.T, body []byte) {
		explain(500, body)
		m, err := decode(vendorhttp.Answer{Status: 200, Body: body}, normalize.NewSecret(secret))
		if err != nil {
			var e *normalize.Error
			if !errors.As(err, &e) || e.Kind == normalize.KindInternal || e.Phase != normalize.PhaseStatus {
				t.Errorf("the failure %v has no kind or phase", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the key is in %v", err)
			}
			return
		}
		if m.Text == "" || !utf8.ValidString(m.Text) || strings.ContainsRune(m.Text, 0) {
			t.Errorf("the text is %q", m.Text)
		}
		if m.Role != normalize.RoleAssistant || m.Status != normalize.StatusComplete || !gjson.ValidBytes(m.Raw) || !utf8.Valid(m.Raw) {
			t.Errorf("role %q, status %q, raw %q", m.Role, m.Status, m.Raw)
		}
	})
}

// FuzzEncode holds the writer to valid JSON that says what was said.
func FuzzEncode(f *testing.F) {
	f.Add("You are the help desk.", "hello", `a "b" <c> 😀`)
	f.Add("", "\x00\n\r\t", "\xff\xfe")
	f.Fuzz(func(t *testing.T, system, before, text string) {
		a := &adapter{model: "some-model", system: system}
		body := a.encode(adapters.Turn{
			History: []normalize.Message{{Role: normalize.RoleUser, Status: normalize.StatusSent, Text: before}},
			Message: normalize.Message{Text: text},
		}, false)
		if !gjson.ValidBytes(body) {
			t.Fatalf("no JSON: %q", body)
		}
		var want []string
		for _, s := range []string{system, before} {
			if s != "" {
				want = append(want, strings.ToValidUTF8(s, "\ufffd"))
			}
		}
		want = append(want, text)
		got := gjson.GetBytes(body, "messages.#.content").Array()
		if len(got) != len(want) {
			t.Fatalf("%d messages, want %d", len(got), len(want))
		}
		for i := range got {
			if utf8.ValidString(want[i]) && !strings.Contains(want[i], "\ufffd") && got[i].String() != want[i] {
				t.Errorf("content %d is %q, want %q", i, got[i].String(), want[i])
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{0, 40} {
		b.Run(strconv.Itoa(n)+"_earlier_messages", func(b *testing.B) {
			a := &adapter{model: "some-model", system: "You are the help desk."}
			turn := adapters.Turn{Message: normalize.Message{Text: strings.Repeat("Is my order on its way? ", 10)}}
			for i := range n {
				m := normalize.Message{Role: normalize.RoleUser, Status: normalize.StatusSent, Text: strings.Repeat("It is \"late\".\n", 20)}
				if i%2 == 1 {
					m.Role, m.Status = normalize.RoleAssistant, normalize.StatusComplete
				}
				turn.History = append(turn.History, m)
			}
			b.ReportAllocs()
			for b.Loop() {
				a.encode(turn, false)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	archive, err := txtar.ParseFile("testdata/send_plain.txtar")
	if err != nil {
		b.Fatal(err)
	}
	var answer vendorhttp.Answer
	for _, f := range archive.Files {
		if f.Name == "answer" {
			_, body, _ := strings.Cut(string(f.Data), "\n")
			answer = vendorhttp.Answer{Status: 200, Body: []byte(body)}
		}
	}
	b.SetBytes(int64(len(answer.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(answer, normalize.Secret{}); err != nil {
			b.Fatal(err)
		}
	}
}
