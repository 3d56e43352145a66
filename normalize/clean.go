package normalize

import (
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

// CleanBytes is CleanText for a vendor's JSON text. A result that is valid JSON
// stays valid JSON, because neither NUL nor an invalid byte can stand outside of
// a string.
func CleanBytes(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(CleanText(string(b)))
}

// Excerpt shortens a text for an error's detail: cleaned, on one line, control
// characters and angle brackets taken out, at most limit characters.
func Excerpt(s string, limit int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range CleanText(s) {
		switch {
		case r <= ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 || r >= 0x80 && r <= 0xa0:
			space = b.Len() > 0
			continue
		case r == '<' || r == '>':
			continue
		}
		if space {
			b.WriteByte(' ')
			n++
			space = false
		}
		if n >= limit {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// ParseTime reads a time as vendors write it: RFC 3339 with any fraction (also
// with a space for the T, and without a zone, which is then UTC), 13 digits of
// milliseconds, or 10 digits of seconds since 1970. The result is in UTC.
// Anything else, also a year outside 1970 to 9999, gives false: a time that a
// vendor wrote badly is unknown, not an error.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		switch len(s) {
		case 13:
			return time.UnixMilli(n).UTC(), true
		case 10:
			return time.Unix(n, 0).UTC(), true
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
