package rest

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"chatmux/normalize"
)

func filled(tree map[string]any, v values) string {
	b, _ := appendTree(nil, compiled(tree), v)
	return string(b)
}

func TestTemplatesAreFilledByTheTypeOfTheValue(t *testing.T) {
	v := values{
		"text": `She said "hi" {{thread.id}} ${HOME}`, "empty": "", "stream": true, "mode": int64(7),
		"history": list{[]byte(`{"a":1}`), []byte(`{"a":2}`)},
	}
	for _, tt := range []struct {
		name string
		tree map[string]any
		want string
	}{
		{"a text", map[string]any{"m": "{{text}}"}, `{"m":"She said \"hi\" {{thread.id}} ${HOME}"}`},
		{"within a text", map[string]any{"m": "[{{text}}]"}, `{"m":"[She said \"hi\" {{thread.id}} ${HOME}]"}`},
		{"spaces", map[string]any{"m": "{{ stream }}"}, `{"m":true}`},
		{"other types", map[string]any{"b": "{{stream}}", "n": "{{mode}}", "t": "is {{stream}} {{mode}}"}, `{"b":true,"n":7,"t":"is true 7"}`},
		{
			"as it stands",
			map[string]any{"a": nil, "b": false, "c": int64(-3), "d": 1.5, "e": "x", "f": []any{}, "g": map[string]any{}},
			`{"a":null,"b":false,"c":-3,"d":1.5,"e":"x","f":[],"g":{}}`,
		},
		{
			"without a value it is left out",
			map[string]any{"a": "{{empty}}", "b": "{{missing}}", "c": []any{"{{missing}}", "x"}, "d": map[string]any{"e": "{{missing}}"}},
			`{"c":["x"],"d":{}}`,
		},
		{
			"a default",
			map[string]any{"a": "{{empty|null}}", "b": "{{missing|}}", "c": "{{missing|some text}}", "d": "x{{missing|y}}z"},
			`{"a":null,"b":"","c":"some text","d":"xyz"}`,
		},
		{"a default that is not needed", map[string]any{"a": "{{stream|null}}"}, `{"a":true}`},
		{"a list", map[string]any{"m": "{{history}}"}, `{"m":[{"a":1},{"a":2}]}`},
		{"a list in a list", map[string]any{"m": []any{"x", "{{history}}", map[string]any{"a": "{{mode}}"}}}, `{"m":["x",{"a":1},{"a":2},{"a":7}]}`},
	} {
		if got := filled(tt.tree, v); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTemplatesThatAreNotClosedAreRefused(t *testing.T) {
	for _, text := range []string{"{{", "{{text", "{{text}", "a {{}} b", "{{ }}", "{{a b}}", "{{|x}}", `{{"a"}}`, "{{{text}}}"} {
		var got Text
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestPathsKeepAValueInItsSegment(t *testing.T) {
	template := Text("/bots/{{bot}}/say/{{remote_id}}").must()
	path, err := template.path(values{"bot": "a/b?c#d%2f", "remote_id": "../x y"})
	if want := "/bots/a%2Fb%3Fc%23d%252f/say/..%2Fx%20y"; err != nil || path != want {
		t.Errorf("the path is %q, error %v, want %q", path, err, want)
	}
	_, err = template.path(values{"bot": "b"})
	if failure := normalize.AsError(err); failure == nil || failure.Kind != normalize.KindInvalidRequest {
		t.Errorf("without an id: error %v, want invalid_request", err)
	}
}

// A value comes out of the request as it was put in, and nothing else changes: it
// cannot end its text, add a member or be taken for a placeholder.
func FuzzValuesStayValues(f *testing.F) {
	for _, seed := range []string{`"},"admin":true,{"x":"`, "{{secret}}", `\u0022`, "a\nb\x00c", "\u2028 </script>", "😀"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree := map[string]any{"alone": "{{text|d}}", "within": "<{{text}}>", "list": []any{map[string]any{"deep": "{{text|d}}"}}}
		var got map[string]any
		if err := json.Unmarshal([]byte(filled(tree, values{"text": text, "secret": "s"})), &got); err != nil {
			t.Fatalf("%q: the body is no JSON: %v", text, err)
		}
		if !utf8.ValidString(text) {
			return // bytes that are no text become U+FFFD, each of them
		}
		alone := text
		if alone == "" {
			alone = "d"
		}
		want := map[string]any{"alone": alone, "within": "<" + text + ">", "list": []any{map[string]any{"deep": alone}}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: the body is %v, want %v", text, got, want)
		}
	})
}
