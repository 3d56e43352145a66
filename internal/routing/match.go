package routing

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

// condition is a Condition that can be asked.
type condition struct {
	Condition
	source   source
	name     string // what the value is looked up by in metadata and headers
	patterns []pattern
}

// source says where a condition's value comes from.
type source int

const (
	fromCaller source = iota
	fromDialect
	fromBot
	fromUserID
	fromUserEmail
	fromUserName
	fromUserPhone
	fromMetadata
	fromHeader
)

// sources are the keys that name one value.
var sources = map[string]source{
	"caller":     fromCaller,
	"dialect":    fromDialect,
	"bot":        fromBot,
	"user.id":    fromUserID,
	"user.email": fromUserEmail,
	"user.name":  fromUserName,
	"user.phone": fromUserPhone,
}

// value finds what the condition is about; false where it is absent.
func (c *condition) value(f *Facts) (string, bool) {
	var v string
	switch c.source {
	case fromMetadata:
		if v, ok := f.Metadata[c.name]; ok {
			return v, true
		}
		v, ok := f.ThreadMetadata[c.name]
		return v, ok
	case fromHeader:
		if f.Header != nil {
			v = f.Header(c.name)
		}
	case fromCaller:
		v = f.Caller
	case fromDialect:
		v = f.Dialect
	case fromBot:
		v = f.Bot
	case fromUserID:
		v = f.User.ID
	case fromUserEmail:
		v = f.User.Email
	case fromUserName:
		v = f.User.Name
	case fromUserPhone:
		v = f.User.Phone
	}
	return v, v != ""
}

func compileCondition(c Condition) (condition, error) {
	compiled := condition{Condition: c}
	metadata, isMetadata := strings.CutPrefix(c.Key, "metadata.")
	header, isHeader := strings.CutPrefix(c.Key, "header.")
	from, isFixed := sources[c.Key]
	switch {
	case isFixed:
		compiled.source = from
	case isMetadata && metadata != "":
		compiled.source, compiled.name = fromMetadata, metadata
	case isHeader && header != "":
		compiled.source, compiled.name = fromHeader, textproto.CanonicalMIMEHeaderKey(header)
	default:
		return condition{}, fmt.Errorf("match: %q is not a key: write caller, dialect, bot, user.id, user.email, user.name, user.phone, "+
			"metadata.NAME or header.NAME", c.Key)
	}
	if len(c.Patterns) == 0 {
		return condition{}, fmt.Errorf("match: %s has no pattern", c.Key)
	}
	for _, p := range c.Patterns {
		if compiled.source == fromUserEmail {
			p = strings.ToLower(p)
		}
		compiled.patterns = append(compiled.patterns, compilePattern(p))
	}
	return compiled, nil
}

// holds reports whether the value is there and one of the patterns matches it.
func (c *condition) holds(f *Facts) bool {
	value, ok := c.value(f)
	if !ok {
		return false
	}
	if c.source == fromUserEmail {
		value = strings.ToLower(value)
	}
	return slices.ContainsFunc(c.patterns, func(p pattern) bool { return p.matches(value) })
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
