package normalize_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"chatmux/normalize"
)

const value = "sk-Very-Secret-Value"

type exported struct {
	Key  normalize.Secret
	Next *normalize.Secret
	Any  any
	List []normalize.Secret
	Map  map[string]normalize.Secret
}

// unexported holds secrets where package fmt calls no methods.
type unexported struct {
	key  normalize.Secret
	next *normalize.Secret
	any  any
	list [2]normalize.Secret
	deep struct{ m map[string]normalize.Secret }
}

// holders are values that hold the secret in every way that Go has.
func holders() map[string]any {
	s := normalize.NewSecret(value)
	u := unexported{key: s, next: &s, any: s, list: [2]normalize.Secret{s, s}}
	u.deep.m = map[string]normalize.Secret{"k": s}
	return map[string]any{
		"secret":          s,
		"pointer":         &s,
		"exported fields": exported{s, &s, s, []normalize.Secret{s}, map[string]normalize.Secret{"k": s}},
		"pointer to them": &exported{s, &s, s, nil, nil},
		"unexported":      u,
		"pointer to it":   &u,
		"slice":           []any{s, &s, u},
		"map key":         map[normalize.Secret]int{s: 1},
		"map value":       map[string]any{"k": s},
		"error":           fmt.Errorf("wrapped %v: %w", s, errors.New(s.String())),
		"our error":       normalize.Errorf(normalize.KindInternal, "with %s and %v", s, u),
		"channel":         make(chan normalize.Secret),
		"func":            s.String,
	}
}

func leaks(t *testing.T, how string, text string) {
	t.Helper()
	if strings.Contains(text, value) || strings.Contains(text, "Very") || strings.Contains(text, fmt.Sprintf("%x", value)) {
		t.Errorf("%s shows the secret: %s", how, text)
	}
}

func TestSecretDoesNotPrintByAnyVerb(t *testing.T) {
	for name, holder := range holders() {
		for _, flags := range []string{"", "+", "#", "-40", "040", " ", "x"} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
				format := "%" + strings.TrimSuffix(flags, "x") + string(verb)
				leaks(t, name+" by "+format, fmt.Sprintf(format, holder))
			}
		}
		leaks(t, name+" by Sprint", fmt.Sprint(holder))
		leaks(t, name+" by Sprintln", fmt.Sprintln("x", holder))
	}
	if got := fmt.Sprintf("%s %v %q %d %#v %+v", normalize.NewSecret(value), normalize.NewSecret(value), normalize.NewSecret(value),
		normalize.NewSecret(value), normalize.NewSecret(value), normalize.NewSecret(value)); got != strings.TrimSpace(strings.Repeat("[secret] ", 6)) {
		t.Errorf("verbs print %q", got)
	}
}

func TestSecretDoesNotPrintByAnyEncoder(t *testing.T) {
	for name, holder := range holders() {
		if b, err := json.Marshal(holder); err == nil {
			leaks(t, name+" as JSON", string(b))
		} else {
			leaks(t, name+" as an error of JSON", err.Error())
		}
		if b, err := xml.Marshal(holder); err == nil {
			leaks(t, name+" as XML", string(b))
		}
		var buf bytes.Buffer
		if err := gob.NewEncoder(&buf).Encode(holder); err == nil {
			leaks(t, name+" as gob", buf.String())
		}
		buf.Reset()
		log.New(&buf, "", 0).Print(holder)
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "holder", holder)
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "holder", holder)
		if err := template.Must(template.New("").Parse("{{.}}")).Execute(&buf, holder); err != nil {
			leaks(t, name+" as an error of a template", err.Error())
		}
		leaks(t, name+" in a log", buf.String())
	}
	b, err := json.Marshal(exported{Key: normalize.NewSecret(value)})
	if err != nil || !strings.Contains(string(b), `"Key":"[secret]"`) {
		t.Errorf("JSON is %s, error %v", b, err)
	}
}

func TestSecretIsItsValue(t *testing.T) {
	s := normalize.NewSecret(value)
	if s.Reveal() != value || s.IsZero() {
		t.Errorf("reveals %q, zero %v", s.Reveal(), s.IsZero())
	}
	if s != normalize.NewSecret(strings.Clone(value)) || s == normalize.NewSecret("other") || !reflect.DeepEqual(s, normalize.NewSecret(value)) {
		t.Error("secrets are not equal exactly when their values are")
	}
	var read normalize.Secret
	if err := json.Unmarshal([]byte(`"`+value+`"`), &read); err != nil || read != s {
		t.Errorf("read as %q, error %v", read.Reveal(), err)
	}
	for _, zero := range []normalize.Secret{{}, normalize.NewSecret("")} {
		if zero.Reveal() != "" || !zero.IsZero() || zero.String() != "[secret]" || zero != (normalize.Secret{}) || zero.Redact("text") != "text" {
			t.Errorf("the empty secret reveals %q, zero %v, prints %s", zero.Reveal(), zero.IsZero(), zero)
		}
	}
}

func TestRedactTakesTheSecretOut(t *testing.T) {
	if got := normalize.NewSecret(value).Redact("a " + value + value + " b"); got != "a [secret][secret] b" {
		t.Errorf("redacted to %q", got)
	}
	if got := normalize.NewSecret("the").Redact("then other"); got != "then other" {
		t.Errorf("a secret of three characters tore the text apart: %q", got)
	}
}

func TestByteSizeReadsAndWritesItsForms(t *testing.T) {
	tests := []struct {
		in    string
		bytes normalize.ByteSize
		out   string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1500", 1500, "1500"},
		{"512B", 512, "512"},
		{"1024", 1024, "1KiB"},
		{"64KiB", 64 << 10, "64KiB"},
		{"1MiB", 1 << 20, "1MiB"},
		{"1536KiB", 1536 << 10, "1536KiB"},
		{"2GiB", 2 << 30, "2GiB"},
		{" 8 MiB ", 8 << 20, "8MiB"},
		{"4294967296GiB", 1 << 62, "4294967296GiB"},
	}
	for _, tt := range tests {
		var b normalize.ByteSize
		if err := b.UnmarshalText([]byte(tt.in)); err != nil || b != tt.bytes {
			t.Errorf("%q reads as %d, error %v, want %d", tt.in, b, err, tt.bytes)
		}
		if text, err := b.MarshalText(); err != nil || string(text) != tt.out || b.String() != tt.out {
			t.Errorf("%d is written %s, error %v, want %s", b, text, err, tt.out)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "-1KiB", "1.5MiB", "1MB", "1M", "1kib", "1KiBKiB", "9223372036854775808", "4294967297GiB", "1 0", "0x10", "1e3", "+1"} {
		b := normalize.ByteSize(7)
		if err := b.UnmarshalText([]byte(in)); err == nil || b != 7 {
			t.Errorf("%q reads as %d, error %v", in, b, err)
		} else if !strings.Contains(err.Error(), "64KiB") {
			t.Errorf("%q: the error does not show the form: %v", in, err)
		}
	}
}
