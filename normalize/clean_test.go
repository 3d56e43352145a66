package normalize_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"chatmux/normalize"
)

func TestParseTimeReadsEveryFormThatVendorsWrite(t *testing.T) {
	const want = "2026-03-04T10:15:31Z"
	tests := []struct{ in, want string }{
		{"2026-03-04T10:15:31Z", want},                             // Altur
		{"2026-03-04T10:15:31.480Z", "2026-03-04T10:15:31.48Z"},    // SiteGPT v2
		{"2026-03-04T10:15:31.480000Z", "2026-03-04T10:15:31.48Z"}, // SiteGPT v0
		{"1772619331000", want},                                    // conversations
		{"1772619331480", "2026-03-04T10:15:31.48Z"},
		{"1772619331", want},
		{"2026-03-04T10:15:31.123456789Z", "2026-03-04T10:15:31.123456789Z"},
		{"2026-03-04T18:15:31+08:00", want},
		{"2026-03-04T05:15:31.0-05:00", want},
		{"2026-03-04T10:15:31", want}, // without a zone
		{"2026-03-04T10:15:31.480000", "2026-03-04T10:15:31.48Z"},
		{"2026-03-04 10:15:31", want}, // Altur's campaigns
		{"2026-03-04 10:15:31.480", "2026-03-04T10:15:31.48Z"},
		{"2026-03-04 10:15:31Z", want},
		{"2026-03-04 18:15:31+08:00", want},
		{" 2026-03-04T10:15:31Z\n", want},
		{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
		{"0000000000", "1970-01-01T00:00:00Z"},
		{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
	}
	for _, tt := range tests {
		got, ok := normalize.ParseTime(tt.in)
		if !ok || got.Format(time.RFC3339Nano) != tt.want || got.Location() != time.UTC {
			t.Errorf("%q reads as %v, %v, want %s", tt.in, got, ok, tt.want)
		}
	}
}

func TestParseTimeCallsTheRestUnknown(t *testing.T) {
	for _, in := range []string{
		"", " ", "null", "now", "0", "17726193310", "177261933148", "17726193314800", "-177261933", "+177261933", "-177261933100", "+177261933100",
		"1772619331.5", "1.7726193e9", "0x17726193", "1_772_619_331", "2026-03-04", "10:15:31", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z",
		"2026-13-01T00:00:00Z", "2026-03-04T24:00:00Z", "2026-03-04T10:15:61Z", "2026-03-04T10:15Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00",
		"0001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z", "Wed, 04 Mar 2026 10:15:31 GMT", "2026-03-04T10:15:31Z trailing",
		"１７７２６１９３３１",
	} {
		if got, ok := normalize.ParseTime(in); ok {
			t.Errorf("%q reads as %v", in, got)
		} else if !got.IsZero() {
			t.Errorf("%q is unknown and yet %v", in, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"2026-03-04T10:15:31.480000Z", "2026-03-04 10:15:31", "1772619331000", "1772619331", "9999-12-31T23:59:59-01:00", "+177261933"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := normalize.ParseTime(s)
		if !ok {
			return
		}
		if got.Location() != time.UTC || got.Year() < 1970 || got.Year() > 9999 {
			t.Errorf("%q reads as %v", s, got)
		}
		if again, ok := normalize.ParseTime(got.Format(time.RFC3339Nano)); !ok || !again.Equal(got) {
			t.Errorf("%q reads as %v, which reads as %v, %v", s, got, again, ok)
		}
	})
}

func TestCleanTextReplacesOnlyWhatCannotBeStored(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"  plain, <b>&amp; \"quoted\"\r\n\ttext  ", "  plain, <b>&amp; \"quoted\"\r\n\ttext  "},
		{"早安 🧑🏽‍🚀 שלום e\u0301", "早安 🧑🏽‍🚀 שלום e\u0301"},
		{"\ufeffbom \u2028 \x01 \x7f", "\ufeffbom \u2028 \x01 \x7f"},
		{"a\x00b", "a\ufffdb"},
		{"a\xffb\xc3", "a\ufffdb\ufffd"},
		{"\xed\xa0\x80", "\ufffd\ufffd\ufffd"}, // a surrogate written as UTF-8
		{"\ufffd", "\ufffd"},
	}
	for _, tt := range tests {
		if got := normalize.CleanText(tt.in); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
		if got := string(normalize.CleanBytes([]byte(tt.in))); got != tt.want {
			t.Errorf("bytes %q became %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestCleanTextProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		got := normalize.CleanText(in)
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("%q became %q", in, got)
		}
		if again := normalize.CleanText(got); again != got {
			t.Fatalf("cleaned twice %q became %q", got, again)
		}
		if utf8.ValidString(in) && !strings.ContainsRune(in, 0) && got != in {
			t.Fatalf("good text %q became %q", in, got)
		}
	})
}

func TestCleanBytesKeepsJSONValid(t *testing.T) {
	in := []byte("{\"text\":\"a\xff\xed\xa0\x80b\"}")
	if !json.Valid(in) {
		t.Fatal("the test's own text is not what json.Valid takes")
	}
	if got := normalize.CleanBytes(in); !json.Valid(got) || !utf8.Valid(got) {
		t.Errorf("became %q", got)
	}
}

func TestExcerptIsShortHarmlessAndOnOneLine(t *testing.T) {
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"short", 5, "short"},
		{"longer", 5, "long…"},
		{"one two", 4, "one…"},
		{"one two", 5, "one…"},
		{"  a \r\n\t b  ", 10, "a b"},
		{"<script>alert(1)</script>", 30, "scriptalert(1)/script"},
		{"a\x00b\x1b[31m\x9bc", 20, "a\ufffdb [31m\ufffdc"},
		{"a\u2028b\u2029c\u0085d\u00a0e", 20, "a b c d e"},
		{"pay\u202egpj.exe\u2066\u200f", 20, "paygpj.exe"},
		{"日本語のテキスト", 4, "日本語…"},
		{strings.Repeat(" ", 1000), 3, ""},
	}
	for _, tt := range tests {
		if got := normalize.Excerpt(tt.in, tt.limit); got != tt.want {
			t.Errorf("%q at most %d is %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		got := normalize.Excerpt(in, limit)
		if n := utf8.RuneCountInString(got); n > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "<>\n\r\t\x00") {
			t.Fatalf("%q at most %d is %q, of %d characters", in, limit, got, n)
		}
	})
}

func TestAJSONStringIsReadWholeAlsoBesideALoneSurrogate(t *testing.T) {
	for literal, want := range map[string]string{
		`"plain"`:             "plain",
		`""`:                  "",
		`"a\n\"b\"\u00e9 \\"`: "a\n\"b\"é \\",
		`"\ud83d\ude00"`:      "😀",
		`"\ud800\u0041B"`:     "\uFFFDAB",
		`"\udc00"`:            "\uFFFD",
		"\"a\xffb\"":          "a\uFFFDb",
		`"a\u0000b"`:          "a\uFFFDb",
		`12`:                  "",
		``:                    "",
		`"`:                   "",
		`"\x"`:                "",
	} {
		if got := normalize.UnquoteJSON(literal); got != want {
			t.Errorf("%s: %q, want %q", literal, got, want)
		}
	}
}
