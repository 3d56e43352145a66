package normalize

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// CleanText makes a vendor's text fit to be shown and stored: NUL and every byte
// that is not valid UTF-8 become U+FFFD; all else stays byte for byte.
func CleanText(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for _, r := range s { // an invalid byte ranges as utf8.RuneError
		if r == 0 {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// CleanBytes is CleanText for a vendor's JSON text. What is valid JSON stays valid
// JSON: an invalid byte can only stand inside of a string there, and NUL nowhere.
func CleanBytes(b []byte) []byte {
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return b
	}
	return []byte(CleanText(string(b)))
}

// Excerpt shortens a text for an error's detail: cleaned, on one line, control
// characters, angle brackets and marks that turn the direction of writing taken
// out, at most limit characters. What was cut off leaves an ellipsis as the last of
// them.
func Excerpt(s string, limit int) string {
	var kept []rune
	space := false
	for _, r := range CleanText(s) {
		switch {
		case r <= ' ' || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029:
			space = len(kept) > 0
			continue
		case r == '<' || r == '>' || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			continue
		}
		if space {
			kept, space = append(kept, ' '), false
		}
		kept = append(kept, r)
		if len(kept) > limit {
			return strings.TrimRight(string(kept[:max(limit-1, 0)]), " ") + "…"
		}
	}
	return string(kept)
}

// ParseTime reads a time as vendors write it: RFC 3339 with any fraction (also
// with a space for the T, and without a zone, which is then UTC), 13 digits of
// milliseconds, or 10 digits of seconds since 1970. The result is in UTC.
// Anything else, also a year outside 1970 to 9999, gives false: a time that a
// vendor wrote badly is unknown, not an error.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		switch len(s) {
		case 13:
			return time.UnixMilli(int64(n)).UTC(), true
		case 10:
			return time.Unix(int64(n), 0).UTC(), true
		}
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t = t.UTC(); t.Year() >= 1970 && t.Year() <= 9999 {
				return t, true
			}
			return time.Time{}, false
		}
	}
	return time.Time{}, false
}

// UnquoteJSON reads a JSON string literal, quotes included, and cleans its text as
// CleanText does. Lone surrogates become U+FFFD, and nothing beside them is lost
// (gjson's own reading loses the character after one). What is no string literal
// gives the empty text.
func UnquoteJSON(literal string) string {
	if len(literal) < 2 || literal[0] != '"' {
		return ""
	}
	if strings.IndexByte(literal, '\\') < 0 {
		return CleanText(literal[1 : len(literal)-1])
	}
	var s string
	if json.Unmarshal([]byte(literal), &s) != nil {
		return ""
	}
	return CleanText(s)
}
