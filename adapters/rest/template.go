package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"chatmux/normalize"
)

// Text is a text with placeholders, {{name}} or {{name|default}}. They are replaced
// by values after the text was taken apart, so no value can be a placeholder, leave
// its JSON string or its segment of a path.
type Text string

// UnmarshalText checks that the placeholders are closed and named.
func (t *Text) UnmarshalText(text []byte) error {
	if _, err := compile(string(text)); err != nil {
		return err
	}
	*t = Text(text)
	return nil
}

// MarshalText gives the text as it was written.
func (t Text) MarshalText() ([]byte, error) { return []byte(t), nil }

// template is a text that was taken apart.
type template []piece

// piece is a literal, or a placeholder.
type piece struct {
	literal     string
	name        string // of the placeholder; empty for a literal
	fallback    string
	hasFallback bool
}

func compile(text string) (template, error) {
	var t template
	for {
		before, after, found := strings.Cut(text, "{{")
		if before != "" {
			t = append(t, piece{literal: before})
		}
		if !found {
			return t, nil
		}
		inside, rest, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, errors.New("holds {{ without a }}")
		}
		name, fallback, has := strings.Cut(inside, "|")
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, "{}\" ") {
			return nil, errors.New("holds a placeholder without a name: write {{text}} or {{text|default}}")
		}
		t = append(t, piece{name: name, fallback: fallback, hasFallback: has})
		text = rest
	}
}

// must compiles a text that was checked when it was read.
func (t Text) must() template {
	compiled, _ := compile(string(t))
	return compiled
}

// values are what the placeholders of one request stand for: string, bool, int64,
// float64, or list. An empty text is no value.
type values map[string]any

// list are elements that were written as JSON already.
type list [][]byte

func (v values) of(name string) (any, bool) {
	value, ok := v[name]
	if text, isText := value.(string); isText && text == "" {
		ok = false
	}
	return value, ok
}

// text puts the pieces together; false where a placeholder without a default has no
// value.
func (t template) text(v values, escape func(string) string) (string, bool) {
	var b strings.Builder
	whole := true
	for _, p := range t {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		value, ok := v.of(p.name)
		switch {
		case ok:
			b.WriteString(escape(plain(value)))
		case p.hasFallback:
			b.WriteString(escape(p.fallback))
		default:
			whole = false
		}
	}
	return b.String(), whole
}

func plain(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	return string(appendValue(nil, value))
}

func asItIs(s string) string { return s }

// path fills a path; what is put in stays one segment of it.
func (t template) path(v values) (string, error) {
	path, whole := t.text(v, url.PathEscape)
	if !whole {
		return "", normalize.Errorf(normalize.KindInvalidRequest, "the thread has no id at the backend yet")
	}
	return path, nil
}

// member is one line of an object template.
type member struct {
	key  string
	node any
}

// object is an object template, its keys in order.
type object []member

// compileTree takes the texts of a tree apart. Report gets what is wrong with one.
func compileTree(tree any, path string, report func(path, problem string)) any {
	switch t := tree.(type) {
	case string:
		compiled, err := compile(t)
		if err != nil {
			report(path, err.Error())
		}
		return compiled
	case map[string]any:
		o := make(object, 0, len(t))
		for _, key := range slices.Sorted(maps.Keys(t)) {
			o = append(o, member{key, compileTree(t[key], path+"."+key, report)})
		}
		return o
	case []any:
		items := make([]any, len(t))
		for i, item := range t {
			items[i] = compileTree(item, fmt.Sprintf("%s[%d]", path, i), report)
		}
		return items
	default:
		return t
	}
}

// names lists the placeholders of a compiled tree.
func names(node any) []string {
	var list []string
	switch n := node.(type) {
	case template:
		for _, p := range n {
			if p.name != "" {
				list = append(list, p.name)
			}
		}
	case object:
		for _, m := range n {
			list = append(list, names(m.node)...)
		}
	case []any:
		for _, item := range n {
			list = append(list, names(item)...)
		}
	}
	return list
}

// appendTree writes a filled template as JSON; false, and nothing, for one that is a
// placeholder without a value.
func appendTree(b []byte, node any, v values) ([]byte, bool) {
	switch n := node.(type) {
	case template:
		return n.appendTo(b, v)
	case object:
		b = append(b, '{')
		first := true
		for _, m := range n {
			before := len(b)
			if !first {
				b = append(b, ',')
			}
			b = append(normalize.AppendString(b, m.key), ':')
			var ok bool
			if b, ok = appendTree(b, m.node, v); !ok {
				b = b[:before]
				continue
			}
			first = false
		}
		return append(b, '}'), true
	case []any:
		b = append(b, '[')
		first := true
		for _, item := range n {
			for _, element := range elements(item, v) {
				if !first {
					b = append(b, ',')
				}
				b, first = append(b, element...), false
			}
		}
		return append(b, ']'), true
	default:
		return appendValue(b, n), true
	}
}

// elements gives what an item of a list template stands for: a list in the place of
// an item is all its elements.
func elements(item any, v values) list {
	if t, ok := item.(template); ok && len(t) == 1 && t[0].name != "" {
		if several, ok := v[t[0].name].(list); ok {
			return several
		}
	}
	if element, ok := appendTree(nil, item, v); ok {
		return list{element}
	}
	return nil
}

// appendTo writes a text. One that is a placeholder alone has the type of its value,
// and null where its default is the word null.
func (t template) appendTo(b []byte, v values) ([]byte, bool) {
	if len(t) == 1 && t[0].name != "" {
		value, ok := v.of(t[0].name)
		switch {
		case ok:
			return appendValue(b, value), true
		case !t[0].hasFallback:
			return b, false
		case t[0].fallback == "null":
			return append(b, "null"...), true
		}
		return normalize.AppendString(b, t[0].fallback), true
	}
	text, _ := t.text(v, asItIs)
	return normalize.AppendString(b, text), true
}

func appendValue(b []byte, value any) []byte {
	switch value := value.(type) {
	case string:
		return normalize.AppendString(b, value)
	case bool:
		return strconv.AppendBool(b, value)
	case list:
		b = append(b, '[')
		for i, element := range value {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, element...)
		}
		return append(b, ']')
	default:
		encoded, _ := json.Marshal(value) // nil and numbers always encode
		return append(b, encoded...)
	}
}
