package rest

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestPathsFindWhatTheyName(t *testing.T) {
	const answer = `{
		"data": {"list": [{"id": 376290410396385873, "text": "one"}, {"id": "b", "text": "two", "kind": "x.y"}], "a.b": "dotted", "on": true, "none": null},
		"trap": "{\"text\":\"inside a text\"}"
	}`
	for path, want := range map[Path]string{
		"data.list.0.text":                   "one",
		"data.list.0.id":                     "376290410396385873",
		`data.list.#(id=="b").text`:          "two",
		`data.list.#(kind=="x.y").id`:        "b",
		"data.list.#":                        "2",
		`data.a\.b`:                          "dotted",
		"data.on":                            "true",
		"data.none":                          "",
		"data.missing.deep":                  "",
		"trap.text":                          "",
		"":                                   "",
		"data":                               "",
		`data.list.#(text=="(no) one").text`: "",
	} {
		var p Path
		if err := p.UnmarshalText([]byte(path)); err != nil {
			t.Errorf("%q is refused: %v", path, err)
			continue
		}
		if got := p.wordIn(gjson.Parse(answer)); got != want {
			t.Errorf("%q finds %q, want %q", path, got, want)
		}
	}
	if got := Path("text").wordIn(gjson.Parse(answer).Get("trap")); got != "" {
		t.Errorf("a path went into a text, and found %q", got)
	}
}

func TestPathsThatCouldMeanSomethingElseAreRefused(t *testing.T) {
	for _, path := range []string{
		".", "a.", ".a", "a..b", "a.*", "a?b", "a|b", "@pretty", "a.@reverse", "{a,b}", "[a]", "a.#(", "a.#()", `a.#(x=="1"`, `a.#(x=="1")b`,
		`a.#(x=="1)`, "a.#x", `a\`, "!a", "a(b)",
	} {
		var p Path
		if err := p.UnmarshalText([]byte(path)); err == nil || !strings.Contains(err.Error(), "is no path") {
			t.Errorf("%q: error %v, want one that says that it is no path", path, err)
		}
	}
}

func TestConditionIsAboutOneValue(t *testing.T) {
	event := gjson.Parse(`{"event":"message","done":false,"n":7,"error":{},"none":null,"empty":"","yes":true}`)
	for _, tt := range []struct {
		name string
		c    Condition
		want bool
	}{
		{"none at all", Condition{}, true},
		{"one of several", Condition{Path: "event", Is: []string{"agent_message", "message"}}, true},
		{"another one", Condition{Path: "event", Is: []string{"message_end"}}, false},
		{"a truth value", Condition{Path: "done", Is: []string{"false"}}, true},
		{"a number", Condition{Path: "n", Is: []string{"7"}}, true},
		{"anything", Condition{Path: "error"}, true},
		{"an object is no word", Condition{Path: "error", Is: []string{"{}"}}, false},
		{"null is nothing", Condition{Path: "none"}, false},
		{"null is no word", Condition{Path: "none", Is: []string{""}}, false},
		{"an empty text is nothing", Condition{Path: "empty"}, false},
		{"false is nothing", Condition{Path: "done"}, false},
		{"true is something", Condition{Path: "yes"}, true},
		{"missing", Condition{Path: "other"}, false},
	} {
		if got := tt.c.holds(event); got != tt.want {
			t.Errorf("%s: holds %t, want %t", tt.name, got, tt.want)
		}
	}
}

// Whatever a description holds, reading with it neither panics nor leaves the value.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a.b", `a.#(b=="c")#.d`, `a\.b.0`, "@this", "#", `a.#(b.#(c)>1)`} {
		f.Add(seed, `{"a":[{"b":"c","d":1}]}`)
	}
	f.Fuzz(func(t *testing.T, path, answer string) {
		var p Path
		if p.UnmarshalText([]byte(path)) != nil || !gjson.Valid(answer) || strings.Count(answer, "[")+strings.Count(answer, "{") > 1000 {
			return
		}
		p.wordIn(gjson.Parse(answer))
	})
}
