package rest

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/normalize"
)

// Path says where something is in a JSON value: names and numbers with dots between
// them, # for all elements of a list, #(key=="value") for the first that fits. It is
// a part of gjson's language; what else gjson knows (wildcards, modifiers, several
// paths at once) is refused, since a mistake would pass as a value that is not there.
type Path string

// whole is the path of the value itself.
const whole Path = "@this"

// UnmarshalText checks a path.
func (p *Path) UnmarshalText(text []byte) error {
	if err := checkPath(string(text)); err != nil {
		return err
	}
	*p = Path(text)
	return nil
}

// MarshalText gives the path.
func (p Path) MarshalText() ([]byte, error) { return []byte(p), nil }

func checkPath(text string) error {
	if text == "" || Path(text) == whole {
		return nil
	}
	for rest, more := text, true; more; {
		part, after, err := cutPart(rest)
		if err != nil {
			return err
		}
		if part == "" {
			return errors.New("is no path: a part of it is empty; write names with dots between them, as data.message.text")
		}
		more, rest = after != "", strings.TrimPrefix(after, ".")
	}
	return nil
}

// cutPart takes the first part off a path; after begins with the dot.
func cutPart(text string) (part, after string, err error) {
	if strings.HasPrefix(text, "#(") {
		end := closing(text)
		if end < 0 || strings.TrimSpace(text[2:end]) == "" {
			return "", "", errors.New(`is no path: write #(key=="value") with both parentheses`)
		}
		end++
		if strings.HasPrefix(text[end:], "#") {
			end++
		}
		if end < len(text) && text[end] != '.' {
			return "", "", errors.New("is no path: after #(…) comes a dot or nothing")
		}
		return text[:end], text[end:], nil
	}
	if text == "#" || strings.HasPrefix(text, "#.") {
		return "#", text[1:], nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
		case c == '.':
			return text[:i], text[i:], nil
		case strings.IndexByte(`*?|{}[]()@!#\`, c) >= 0:
			return "", "", fmt.Errorf(`is no path: %q is not used here; write names, numbers, # and #(key=="value"), and \ before a sign that belongs to a name`, c)
		}
	}
	return text, "", nil
}

// closing finds the parenthesis that ends a condition; -1 where there is none.
func closing(text string) int {
	quoted, depth := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// in finds the value in an object or a list; nothing in anything else: gjson would
// look into a text that holds braces. An empty path finds nothing.
func (p Path) in(value gjson.Result) gjson.Result {
	switch {
	case p == "" || !value.IsObject() && !value.IsArray():
		return gjson.Result{}
	case p == whole:
		return value
	}
	return value.Get(string(p))
}

// item is in, with the value itself for the empty path.
func (p Path) item(value gjson.Result) gjson.Result {
	if p == "" {
		return value
	}
	return p.in(value)
}

// textIn gives a text; empty for everything else.
func (p Path) textIn(value gjson.Result) string { return normalize.UnquoteJSON(p.in(value).Raw) }

// wordIn gives a text, a number or a truth value as it is written.
func (p Path) wordIn(value gjson.Result) string { return word(p.in(value)) }

func word(v gjson.Result) string {
	switch v.Type {
	case gjson.Number, gjson.True, gjson.False:
		return v.Raw
	default:
		return normalize.UnquoteJSON(v.Raw)
	}
}

func (p Path) timeIn(value gjson.Result) time.Time {
	t, _ := normalize.ParseTime(p.wordIn(value))
	return t
}

// holds reports whether the condition is met; none at all is.
func (c *Condition) holds(value gjson.Result) bool {
	if c.Path == "" {
		return true
	}
	found := c.Path.in(value)
	if !present(found) {
		return false
	}
	if len(c.Is) == 0 {
		return found.Type != gjson.False && found.Raw != `""`
	}
	return !found.IsObject() && !found.IsArray() && slices.Contains(c.Is, word(found))
}

// present reports whether a value is there and not null.
func present(v gjson.Result) bool { return v.Exists() && v.Type != gjson.Null }

// parameter gives a parameter of a URL; empty where there is none.
func parameter(rawURL, name string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}
