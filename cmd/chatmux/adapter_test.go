package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
)

const parrotConfig = `
backends:
  - name: parrot
    adapter: rest
    settings:
      base_url: http://127.0.0.1:1/v1
      api_key: ${PARROT_KEY}
      send:
        path: /chat
        body: {text: "{{text}}", conversation: "{{remote_id}}"}
        reply: {remote_id: conversation, each: [{role: assistant, text: answer}]}
routes:
  - {name: default, to: parrot}
`

const parrotSample = `A vendor that repeats.

-- turn --
hello
-- request --
POST /v1/chat
{ "text": "hello" }
-- answer --
200 application/json
{"conversation": "c-1", "answer": "hello yourself"}
-- reply --
hello yourself
-- remote --
c-1
`

func TestAdapterTestSaysWhichPromisesHold(t *testing.T) {
	t.Setenv("PARROT_KEY", "planted-key")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml":     parrotConfig,
		"twin.yaml":     strings.Replace(parrotConfig, "http://127.0.0.1:1/v1", "sandbox", 1),
		"unset.yaml":    strings.Replace(parrotConfig, "${PARROT_KEY}", "${PARROT_KEY_OF_NOBODY}", 1),
		"several.yaml":  strings.Replace(parrotConfig, "routes:", "  - {name: echo, adapter: echo}\nroutes:", 1),
		"good.txtar":    parrotSample,
		"other.txtar":   strings.NewReplacer(`"text": "hello"`, `"text": "good bye"`, "-- reply --\nhello yourself", "-- reply --\ngood bye").Replace(parrotSample),
		"cut.txtar":     strings.Replace(parrotSample, "-- request --\nPOST /v1/chat", "-- request --\nPOST", 1),
		"typo.txtar":    strings.Replace(parrotSample, "-- reply --", "-- repyl --", 1),
		"nothing.txtar": "hello\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args   string
		status int
		want   []string // expressions that fit somewhere in what is printed
	}{
		{"good.yaml --sample good.txtar", 0, []string{`(?m)^holds +answers_are_read_as_recorded `, `(?m)^holds +cut_answer_is_a_failure `}},
		{"unset.yaml --sample good.txtar", 0, []string{`(?m)^holds +key_is_in_no_error `}},
		{"several.yaml --backend parrot --sample good.txtar", 0, []string{`(?m)^holds +requests_are_as_recorded `}},
		{"good.yaml --sample other.txtar", 1, []string{
			`(?m)^BROKEN +requests_are_as_recorded +request 1: has the body .*hello.*, recorded was .*good bye`,
			`(?m)^BROKEN +answers_are_read_as_recorded +line 3, turn: the reply is "hello yourself", and should be "good bye"$`,
			`backend parrot: 2 promises are broken`,
		}},
		{"good.yaml", 1, []string{`(?m)^BROKEN +healthy_reply +unreachable`}},
		{"", 2, []string{`the config is missing: write chatmux adapter test FILE`}},
		{"several.yaml", 2, []string{`name one with --backend: parrot, echo`}},
		{"good.yaml --backend nix", 2, []string{`there is no backend nix: there are parrot`}},
		{"several.yaml --backend echo --sample good.txtar", 1, []string{`this adapter talks to nobody`}},
		{"twin.yaml --sample good.txtar", 2, []string{`twin.yaml:6:7: backends\[0\].settings.base_url: cannot be sandbox`}},
		{"good.yaml --sample missing.txtar", 1, []string{`missing.txtar: no such file`}},
		{"good.yaml --sample nothing.txtar", 1, []string{`nothing.txtar: there is no -- turn -- in the sample`}},
		{"good.yaml --sample cut.txtar", 1, []string{`cut.txtar: line 5: a request begins with its method and path`}},
		{"good.yaml --sample typo.txtar", 1, []string{`typo.txtar: line 11: -- repyl -- is not known: there are turn, `}},
	} {
		args := []string{"adapter", "test"}
		for _, word := range strings.Fields(tt.args) {
			if strings.Contains(word, ".") {
				word = filepath.Join(dir, word)
			}
			args = append(args, word)
		}
		var out strings.Builder
		if status := run(context.Background(), args, strings.NewReader(""), &out, &out); status != tt.status {
			t.Errorf("adapter test %s: status %d, want %d\n%s", tt.args, status, tt.status, &out)
		}
		for _, want := range tt.want {
			if !regexp.MustCompile(want).MatchString(out.String()) {
				t.Errorf("adapter test %s: nothing fits %s in\n%s", tt.args, want, &out)
			}
		}
		if tt.status == 0 && strings.Contains(out.String(), "BROKEN") || strings.Contains(out.String(), "planted-key") {
			t.Errorf("adapter test %s: it says\n%s", tt.args, &out)
		}
	}
}

// Every example is a whole config: it can be served, and its samples hold.
func TestEveryExampleCanBeServed(t *testing.T) {
	files, err := filepath.Glob("../../docs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	keys := func(name string) (string, bool) {
		if strings.HasSuffix(name, "_KEY") {
			return "a-key", true
		}
		return "", false
	}
	for _, file := range files {
		c, err := config.Load(file, config.Options{Settings: app.Settings(all.Adapters()), Getenv: keys})
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := abilitiesOf(c); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		sample := strings.TrimSuffix(file, ".yaml") + ".txtar"
		if _, err := os.Stat(sample); err != nil {
			continue
		}
		var out strings.Builder
		if status := run(context.Background(), []string{"adapter", "test", file, "--sample", sample}, strings.NewReader(""), &out, &out); status != 0 {
			t.Errorf("%s: status %d\n%s", sample, status, &out)
		}
	}
}
