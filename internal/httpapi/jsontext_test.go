package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// depth is how deep objects and arrays stand in each other in valid JSON text.
func depth(text []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// plain gives a value as encoding/json would decode it.
func plain(v value) any {
	switch v.kind() {
	case '{':
		m := map[string]any{}
		for name, member := range v.members {
			m[name] = plain(member)
		}
		return m
	case '[':
		list := []any{}
		for _, element := range v.elements {
			list = append(list, plain(element))
		}
		return list
	case '"':
		return v.str()
	case 't', 'f':
		return v.kind() == 't'
	case 'n':
		return nil
	}
	return json.Number(v)
}

// FuzzJSONText holds the scanner against two others: it accepts what encoding/json
// accepts, less what jsontext refuses as ambiguous (duplicate names, invalid UTF-8,
// lone surrogates) and what is too deep; and what it accepts is read alike.
func FuzzJSONText(f *testing.F) {
	for _, text := range malformed {
		f.Add([]byte(text))
	}
	for _, text := range []string{
		`{"text":"a"}`, ` { "a" : [ 1 , -2.5e+10 , true , false , null , "\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t" ] , "b" : { } } `, `[]`, `0`, `-0`, `""`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `[{"a":1},{"a":1}]`, `{"":1,"":2}`, "\ufeff{}", `{} {}`,
		strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33),
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"r":1,"a":1}`,
		`{"` + "\xff" + `":1,"` + "\ufffd" + `":2}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := checkJSON(text)
		want := json.Valid(text) && jsontext.Value(text).IsValid() && depth(text) <= maxDepth
		if (err == nil) != want {
			t.Fatalf("%q: %v, want accepted: %v", text, err, want)
		}
		if err != nil {
			return
		}
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		var decoded any
		if err := decoder.Decode(&decoded); err != nil {
			t.Fatal(err)
		}
		if got := plain(value(bytes.Trim(text, " \t\n\r"))); !reflect.DeepEqual(got, decoded) {
			t.Errorf("%q is read as %v, encoding/json reads %v", text, got, decoded)
		}
	})
}
