package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestNewKeyMatchesItsHashAndIsNeverTheSame(t *testing.T) {
	form := regexp.MustCompile(`^cmx_[A-Za-z0-9_-]{48}$`)
	seen := make(map[string]bool)
	for range 3 {
		got := runHere(t, t.TempDir(), "", "key", "new", "--name", "shop.web")
		key, lines, _ := strings.Cut(got.stdout, "\n")
		if got.status != 0 || !form.MatchString(key) || seen[key] {
			t.Fatalf("status %d, the key %q: want a new one of the form %s\n%s", got.status, key, form, got.stderr)
		}
		seen[key] = true
		var config struct {
			Callers []struct {
				Name string `yaml:"name"`
				Hash string `yaml:"key_sha256"`
			} `yaml:"callers"`
		}
		if err := yaml.Unmarshal([]byte(lines), &config); err != nil || len(config.Callers) != 1 {
			t.Fatalf("%v in %s", err, lines)
		}
		sum := sha256.Sum256([]byte(key))
		if c := config.Callers[0]; c.Name != "shop.web" || c.Hash != hex.EncodeToString(sum[:]) {
			t.Errorf("the config gets %+v for the key %s", c, key)
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(key, keyPrefix))
		if err != nil || len(raw) != 36 || crc32.ChecksumIEEE(raw[:32]) != binary.BigEndian.Uint32(raw[32:]) {
			t.Errorf("the checksum of %s does not hold: %v", key, err)
		}
	}
}

func TestKeyRefusesANameThatTheConfigWouldRefuse(t *testing.T) {
	for _, name := range []string{"", "two words", "-", "a\nb", strings.Repeat("x", 65)} {
		if got := runHere(t, t.TempDir(), "", "key", "new", "--name", name); got.status != exitRefused || got.stdout != "" {
			t.Errorf("%q: status %d, %s", name, got.status, got.stdout)
		}
	}
}
