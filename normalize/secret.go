package normalize

import (
	"fmt"
	"strconv"
	"strings"
	"unique"
)

// Secret holds a key, a token or a password. It cannot print: every way to
// format, marshal or log it gives [secret]. Reveal is the one way to its value.
// Two secrets are equal under == if their values are.
type Secret struct {
	// A handle and not the string itself: package fmt does not call the methods of
	// what stands in an unexported field of a struct, but prints its inside.
	value unique.Handle[string]
}

const masked = "[secret]"

// NewSecret wraps a value. An empty one gives the zero Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal returns the value. Call it only where it goes into a header or a
// comparison.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s == Secret{} }

// String gives the mask, never the value.
func (s Secret) String() string { return masked }

// GoString gives the mask, never the value.
func (s Secret) GoString() string { return masked }

// Format gives the mask for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalText gives the mask, for JSON, YAML and every other encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// UnmarshalText takes the value.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// Redact takes every occurrence of the secret out of a text. A secret of fewer
// than four characters is left alone: it would tear ordinary words apart.
func (s Secret) Redact(text string) string {
	value := s.Reveal()
	if len(value) < 4 {
		return text
	}
	return strings.ReplaceAll(text, value, masked)
}

// ByteSize is a number of bytes, written as 64KiB, 1MiB, 2GiB or a bare number.
type ByteSize int64

// UnmarshalText reads a size. Errors say what the form is.
func (b *ByteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	factor := uint64(1)
	for _, unit := range []struct {
		suffix string
		factor uint64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(s, unit.suffix); ok {
			s, factor = strings.TrimSpace(rest), unit.factor
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > (1<<62)/factor {
		return fmt.Errorf("not a size: write 64KiB, 1MiB or a number of bytes")
	}
	*b = ByteSize(n * factor)
	return nil
}

// MarshalText writes the size in the largest unit that divides it.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String writes the size in the largest unit that divides it.
func (b ByteSize) String() string {
	for _, unit := range []struct {
		suffix string
		factor ByteSize
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b != 0 && b%unit.factor == 0 {
			return strconv.FormatInt(int64(b/unit.factor), 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
