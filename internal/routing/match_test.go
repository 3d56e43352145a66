package routing

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPatternCoversTheWholeValue(t *testing.T) {
	tests := []struct {
		pattern, value string
		want           bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"**", "", true},
		{"?", "", false},
		{"?", "é", true},
		{"?", "éa", false},
		{"??", "€", false},
		{"*??", "€", false},
		{"*?", "€", true},
		{"eu-*", "eu-", true},
		{"eu-*", "eu", false},
		{"eu-*", "neu-1", false},
		{"*@acme.example", "@acme.example", true},
		{"*@acme.example", "a@acme.example.org", false},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxcyyb", false},
		{"*ab*ab", "abab", true},
		{"*ab*ab", "aab", false},
		{"a?c", "a*c", true},
		{"[a-z]", "b", false},
		{`\*`, "*", false},
		{"?", "\xff", true},
		{"??", "\xe2\x82", true}, // half a character counts byte by byte
		{"*line two", "line one\nline two", true},
	}
	for _, tt := range tests {
		if got := compilePattern(tt.pattern).matches(tt.value); got != tt.want {
			t.Errorf("%q on %q: %v, want %v", tt.pattern, tt.value, got, tt.want)
		}
	}
}

// reference matches by the definition: a table of which prefixes match.
func reference(pattern, value string) bool {
	units := func(s string) (list []string) {
		for len(s) > 0 {
			_, n := utf8.DecodeRuneInString(s)
			list, s = append(list, s[:n]), s[n:]
		}
		return list
	}
	p, v := units(pattern), units(value)
	matched := make([]bool, len(v)+1) // of the pattern so far, by length of the value
	matched[0] = true
	for _, c := range p {
		next := make([]bool, len(v)+1)
		for j := range next {
			switch {
			case c == "*":
				next[j] = matched[j] || j > 0 && next[j-1]
			case j > 0:
				next[j] = matched[j-1] && (c == "?" || c == v[j-1])
			}
		}
		matched = next
	}
	return matched[len(v)]
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"*a?b*", "xaybz"}, {"*??", "€"}, {"a*b*c", "abbc"}, {"é*", "é\xff"}, {"*ab*ab*", "aabab"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if !utf8.ValidString(pattern) || len(pattern) > 200 || len(value) > 2000 {
			return // a pattern comes out of a config file, which is UTF-8
		}
		if got, want := compilePattern(pattern).matches(value), reference(pattern, value); got != want {
			t.Errorf("%q on %q: %v, want %v", pattern, value, got, want)
		}
	})
}

func TestPatternAgreesWithItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// A small alphabet, so that near misses are common.
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab€*?")), 0, 12, -1).Draw(t, "pattern")
		value := rapid.StringOfN(rapid.SampledFrom([]rune("ab€")), 0, 16, -1).Draw(t, "value")
		if got, want := compilePattern(pattern).matches(value), reference(pattern, value); got != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, value, got, want)
		}
	})
}

// With a matcher that takes every star back this would outlast the test run.
func TestPatternOfManyStarsEnds(t *testing.T) {
	p := compilePattern(strings.Repeat("a*", 60) + "b")
	if p.matches(strings.Repeat("a", 4000)) {
		t.Error("matches a value that has no b")
	}
}

func BenchmarkPattern(b *testing.B) {
	value := strings.Repeat("ab", 250) + "@acme.example"
	for _, pattern := range []string{"*@acme.example", "ab*", "*a??b*@*.example"} {
		b.Run(pattern, func(b *testing.B) {
			p := compilePattern(pattern)
			for b.Loop() {
				if !p.matches(value) {
					b.Fatal("no match")
				}
			}
		})
	}
}
