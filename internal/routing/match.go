package routing

import (
	"fmt"
	"net/textproto"
	"strings"
	"unicode/utf8"
)

// condition is a Condition that can be asked.
type condition struct {
	Condition
	lookup   lookup
	name     string // the part after the dot, where the value is looked up by name
	foldCase bool
	patterns []pattern
}

// lookup finds the value that a key names; false where it is absent.
type lookup func(f *Facts, name string) (string, bool)

// present makes a lookup of a field for which empty means absent.
func present(field func(f *Facts) string) lookup {
	return func(f *Facts, _ string) (string, bool) {
		v := field(f)
		return v, v != ""
	}
}

// fixed are the keys that name one value.
var fixed = map[string]lookup{
	"caller":     present(func(f *Facts) string { return f.Caller }),
	"dialect":    present(func(f *Facts) string { return f.Dialect }),
	"bot":        present(func(f *Facts) string { return f.Bot }),
	"user.id":    present(func(f *Facts) string { return f.User.ID }),
	"user.email": present(func(f *Facts) string { return f.User.Email }),
	"user.name":  present(func(f *Facts) string { return f.User.Name }),
	"user.phone": present(func(f *Facts) string { return f.User.Phone }),
}

func metadataValue(f *Facts, name string) (string, bool) {
	if v, ok := f.Metadata[name]; ok {
		return v, true
	}
	v, ok := f.ThreadMetadata[name]
	return v, ok
}

func headerValue(f *Facts, name string) (string, bool) {
	if f.Header == nil {
		return "", false
	}
	v := f.Header(name)
	return v, v != ""
}

func compileCondition(c Condition) (condition, error) {
	compiled := condition{Condition: c, foldCase: c.Key == "user.email"}
	metadata, isMetadata := strings.CutPrefix(c.Key, "metadata.")
	header, isHeader := strings.CutPrefix(c.Key, "header.")
	switch {
	case fixed[c.Key] != nil:
		compiled.lookup = fixed[c.Key]
	case isMetadata && metadata != "":
		compiled.lookup, compiled.name = metadataValue, metadata
	case isHeader && header != "":
		compiled.lookup, compiled.name = headerValue, textproto.CanonicalMIMEHeaderKey(header)
	default:
		return condition{}, fmt.Errorf("match: %q is not a key: write caller, dialect, bot, user.id, user.email, user.name, user.phone, "+
			"metadata.NAME or header.NAME", c.Key)
	}
	if len(c.Patterns) == 0 {
		return condition{}, fmt.Errorf("match: %s has no pattern", c.Key)
	}
	for _, p := range c.Patterns {
		if compiled.foldCase {
			p = strings.ToLower(p)
		}
		compiled.patterns = append(compiled.patterns, compilePattern(p))
	}
	return compiled, nil
}

// holds reports whether the value is there and one of the patterns matches it.
func (c *condition) holds(f *Facts) bool {
	value, ok := c.lookup(f, c.name)
	if !ok {
		return false
	}
	if c.foldCase {
		value = strings.ToLower(value)
	}
	for i := range c.patterns {
		if c.patterns[i].matches(value) {
			return true
		}
	}
	return false
}

// pattern is a text with wildcards.
type pattern struct {
	text    string
	literal bool // without wildcards
}

func compilePattern(text string) pattern {
	return pattern{text: text, literal: !strings.ContainsAny(text, "*?")}
}

// matches reports whether the pattern covers the whole value. Only the last star
// is ever taken back, one character at a time, so the time is at most the product
// of the two lengths, whatever the pattern. A byte that is not valid UTF-8 counts
// as one character.
func (p pattern) matches(value string) bool {
	if p.literal {
		return p.text == value
	}
	pat := p.text
	i, v := 0, 0          // where we are in the pattern and in the value
	star, resume := -1, 0 // the last star, and where in the value it ends for now
	for v < len(value) || i < len(pat) {
		if i < len(pat) {
			switch c := pat[i]; {
			case c == '*':
				star, resume = i, v
				i++
				continue
			case c == '?' && v < len(value):
				_, size := utf8.DecodeRuneInString(value[v:])
				i, v = i+1, v+size
				continue
			case c != '?' && v < len(value) && c == value[v]:
				i, v = i+1, v+1
				continue
			}
		}
		if star < 0 || resume >= len(value) {
			return false
		}
		_, size := utf8.DecodeRuneInString(value[resume:])
		resume += size
		i, v = star+1, resume
	}
	return true
}
