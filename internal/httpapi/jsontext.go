package httpapi

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"chatmux/normalize"
)

// maxDepth is how deep objects and arrays may stand in each other.
const maxDepth = 32

// checkJSON reads a request body once and reports whether it is acceptable JSON
// text: one value in UTF-8, without a byte order mark, without duplicate names in
// an object, without lone surrogates, and no more than 32 levels deep. The error
// is of KindInvalidJSON and says where it is.
//
// encoding/json takes duplicate names, invalid UTF-8 and lone surrogates, and
// makes of them what no two programs agree on; here they are refused.
func checkJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		return normalize.Errorf(normalize.KindInvalidJSON, "the body begins with a byte order mark")
	}
	s := scanner{text: text}
	s.space()
	if s.at == len(text) {
		return normalize.Errorf(normalize.KindInvalidJSON, "the body is empty, JSON is needed")
	}
	if err := s.value(); err != nil {
		return err
	}
	s.space()
	if s.at < len(text) {
		return s.fail("there is something after the end of the JSON value")
	}
	return nil
}

// scanner walks over JSON text. names holds the names of the objects it is
// inside of, innermost last.
type scanner struct {
	text  []byte
	at    int
	depth int
	names [][]byte
}

// fail says where the scanner stands and what is wrong there.
func (s *scanner) fail(format string, args ...any) error {
	before := s.text[:min(s.at, len(s.text))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return normalize.Errorf(normalize.KindInvalidJSON, "line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}

// unexpected is the error for a character that cannot stand here.
func (s *scanner) unexpected(wanted string) error {
	if s.at >= len(s.text) {
		return s.fail("the text ends where %s is needed", wanted)
	}
	if r, size := utf8.DecodeRune(s.text[s.at:]); r != utf8.RuneError || size > 1 {
		return s.fail("%q where %s is needed", r, wanted)
	}
	return s.fail("a byte that is not UTF-8 where %s is needed", wanted)
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next skips space and reports whether c comes then; if so, it is taken.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) value() error {
	s.space()
	if s.at == len(s.text) {
		return s.unexpected("a value")
	}
	switch c := s.text[s.at]; {
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if s.text[s.at] == word[0] {
			return s.literal(word)
		}
	}
	return s.unexpected("a value")
}

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if s.at >= len(s.text) || s.text[s.at] != word[i] {
			return s.unexpected(word)
		}
		s.at++
	}
	return nil
}

func (s *scanner) nested(inside func() error) error {
	if s.depth == maxDepth {
		return s.fail("more than %d levels of objects and arrays", maxDepth)
	}
	s.depth++
	s.at++
	err := inside()
	s.depth--
	return err
}

func (s *scanner) array() error {
	if s.next(']') {
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if s.next(']') {
			return nil
		}
		if !s.next(',') {
			return s.unexpected("a comma or the end of the array")
		}
	}
}

// fewNames is up to how many names of an object are compared one by one.
const fewNames = 16

func (s *scanner) object() error {
	if s.next('}') {
		return nil
	}
	first := len(s.names)
	defer func() { s.names = s.names[:first] }()
	var many map[string]struct{} // the names so far, once there are more than a few
	for {
		s.space()
		start := s.at
		if start == len(s.text) || s.text[start] != '"' {
			return s.unexpected("a name in quotes")
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		if many == nil && len(s.names)-first == fewNames {
			many = make(map[string]struct{}, 2*fewNames)
			for _, n := range s.names[first:] {
				many[string(n)] = struct{}{}
			}
		}
		if s.seen(name, first, many) {
			s.at = start
			return s.fail("the name %q stands twice in one object", normalize.Excerpt(string(name), 64))
		}
		if many == nil {
			s.names = append(s.names, name)
		} else {
			many[string(name)] = struct{}{}
		}
		if !s.next(':') {
			return s.unexpected("a colon")
		}
		if err := s.value(); err != nil {
			return err
		}
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return s.unexpected("a comma or the end of the object")
		}
	}
}

func (s *scanner) seen(name []byte, first int, many map[string]struct{}) bool {
	if many != nil {
		_, dup := many[string(name)]
		return dup
	}
	for _, n := range s.names[first:] {
		if bytes.Equal(n, name) {
			return true
		}
	}
	return false
}

// str reads a string and returns what it says, which shares the text's memory
// where nothing is escaped.
func (s *scanner) str() ([]byte, error) {
	s.at++
	start, escaped := s.at, false
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			raw := s.text[start:s.at]
			s.at++
			if escaped {
				return unescape(make([]byte, 0, len(raw)), raw), nil
			}
			return raw, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.fail("a control character in a string; write it as an escape")
		case c < utf8.RuneSelf:
			s.at++
		default:
			r, size := utf8.DecodeRune(s.text[s.at:])
			if r == utf8.RuneError && size == 1 {
				return nil, s.fail("a byte that is not UTF-8")
			}
			s.at += size
		}
	}
	return nil, s.fail("the text ends inside a string")
}

func (s *scanner) escape() error {
	start := s.at
	s.at++
	if s.at == len(s.text) {
		return s.fail("the text ends inside a string")
	}
	switch s.text[s.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return nil
	case 'u':
	default:
		return s.unexpected("an escape")
	}
	unit, ok := hex4(s.text[s.at+1:])
	if !ok {
		s.at = start
		return s.fail(`\u without four hexadecimal digits`)
	}
	s.at += 5
	if !utf16.IsSurrogate(unit) {
		return nil
	}
	if bytes.HasPrefix(s.text[s.at:], []byte(`\u`)) {
		if low, ok := hex4(s.text[s.at+2:]); ok && utf16.DecodeRune(unit, low) != utf8.RuneError {
			s.at += 6
			return nil
		}
	}
	s.at = start
	return s.fail("half of a surrogate pair")
}

func (s *scanner) number() error {
	if s.text[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.text) && s.text[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return s.unexpected("a digit")
	}
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if s.at < len(s.text) && (s.text[s.at] == 'e' || s.text[s.at] == 'E') {
		s.at++
		if s.at < len(s.text) && (s.text[s.at] == '+' || s.text[s.at] == '-') {
			s.at++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends what the inside of a checked string says.
func unescape(dst, raw []byte) []byte {
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, _ := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[2:])
				r = utf16.DecodeRune(r, low)
				raw = raw[6:]
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// value is one value of a text that checkJSON accepted, without space around it.
// Its methods rely on that.
type value []byte

// kind is the value's first character: { [ " t f n, or a number's.
func (v value) kind() byte { return v[0] }

// str gives what a string says.
func (v value) str() string {
	raw := v[1 : len(v)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	return string(unescape(make([]byte, 0, len(raw)), raw))
}

// members yields the names and values of an object.
func (v value) members(yield func(string, value) bool) {
	for at := gap(v, 1); v[at] != '}'; at = gap(v, at) {
		colon := end(v, at)
		name := value(v[at:colon])
		at = gap(v, colon)
		stop := end(v, at)
		if !yield(name.str(), value(v[at:stop])) {
			return
		}
		at = stop
	}
}

// elements yields the values of an array.
func (v value) elements(yield func(int, value) bool) {
	n := 0
	for at := gap(v, 1); v[at] != ']'; n++ {
		stop := end(v, at)
		if !yield(n, value(v[at:stop])) {
			return
		}
		at = gap(v, stop)
	}
}

// gap skips what stands between values: space, commas and colons.
func gap(text []byte, at int) int {
	for {
		switch text[at] {
		case ' ', '\t', '\n', '\r', ',', ':':
			at++
		default:
			return at
		}
	}
}

// end is where the value that begins at at ends.
func end(text []byte, at int) int {
	switch text[at] {
	case '"':
		return endOfString(text, at)
	case '{', '[':
	default:
		for at < len(text) && bytes.IndexByte([]byte(",]} \t\n\r"), text[at]) < 0 {
			at++
		}
		return at
	}
	for depth := 0; ; {
		switch text[at] {
		case '"':
			at = endOfString(text, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		at++
		if depth == 0 {
			return at
		}
	}
}

func endOfString(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}
