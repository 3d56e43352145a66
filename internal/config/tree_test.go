package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chatmux/internal/config"
)

// described are settings with a block that is taken as it stands.
type described struct {
	Body map[string]any `yaml:"body" doc:"a template"`
}

func parseTree(block string) (*config.Config, error) {
	text := "backends:\n  - name: b\n    adapter: x\n    settings:\n      body:" + block + "\nroutes:\n  - {name: default, to: b}\n"
	return config.Parse("config.yaml", []byte(text), config.Options{
		Settings: map[string]func() any{"x": func() any { return new(described) }},
		Getenv: func(name string) (string, bool) {
			return map[string]string{"WORD": `a "quoted": {word}`, "NUMBER": "7"}[name], name != "UNSET"
		},
	})
}

func TestABlockThatIsTakenAsItStandsKeepsItsTypes(t *testing.T) {
	c, err := parseTree(`
        text: hello
        quoted: "7"
        number: 7
        fraction: -1.5
        "yes": true
        none: null
        empty: {}
        list: [a, 1, [], {b: "{{text}}"}]
        key with spaces: x
        word: ${WORD}
        from variable: ${NUMBER}
        dollar: $$5`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"text": "hello", "quoted": "7", "number": int64(7), "fraction": -1.5, "yes": true, "none": nil, "empty": map[string]any{},
		"list": []any{"a", int64(1), []any{}, map[string]any{"b": "{{text}}"}}, "key with spaces": "x",
		"word": `a "quoted": {word}`, "from variable": "7", "dollar": "$5",
	}
	if diff := cmp.Diff(want, c.Backends[0].Settings.(*described).Body); diff != "" {
		t.Errorf("the block (-want +got):\n%s", diff)
	}
	var shown bytes.Buffer
	if err := c.Describe(&shown); err != nil {
		t.Fatal(err)
	}
	if want := `body: {"dollar":"$5","empty":{},"fraction":-1.5,`; !strings.Contains(shown.String(), want) {
		t.Errorf("it is shown as\n%s", &shown)
	}
}

func TestWhatIsWrongInABlockThatIsTakenAsItStandsHasItsPlace(t *testing.T) {
	for block, want := range map[string]string{
		" hello":                            `config.yaml:5:7: backends[0].settings.body: takes a block of keys, not a single value`,
		" [a]":                              `config.yaml:5:7: backends[0].settings.body: takes a block of keys, not a list`,
		"\n        a: {b: {{text}}}":        `config.yaml:6:17: backends[0].settings.body.a.b: a key must be a word: quote a placeholder, as "{{text}}"`,
		"\n        a: 1\n        a: 2":      `config.yaml:7:9: backends[0].settings.body.a: stands twice in this block`,
		"\n        a: [x, \"${UNSET}\"]":    `config.yaml:6:16: backends[0].settings.body.a[1]: the variable UNSET is not set`,
		"\n        a: [.inf]":               `config.yaml:6:13: backends[0].settings.body.a[0]: can be read in more than one way`,
		"\n        a: 99999999999999999999": `config.yaml:6:9: backends[0].settings.body.a: can be read in more than one way`,
		"\n        a: &x b":                 `config.yaml:6:9: backends[0].settings.body.a: anchors are not used here`,
		"\n        a: !!str b":              `config.yaml:6:9: backends[0].settings.body.a: tags are not used here`,
		"\n        <<: {a: b}":              `config.yaml:6:9: backends[0].settings.body: a key must be a word`,
	} {
		_, err := parseTree(block)
		problems, ok := errors.AsType[*config.Problems](err)
		if !ok || len(problems.List) != 1 || !strings.HasPrefix(fmt.Sprint(problems), want) {
			t.Errorf("%s:\n got %v\nwant %s", block, err, want)
		}
	}
}
