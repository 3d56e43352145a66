package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/internal/config"
	"chatmux/normalize"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

// canary is what every secret of the tests contains.
const canary = "hunter2"

// environment has the variables of the test files.
var environment = map[string]string{
	"WEB_KEY":            "web-" + canary,
	"ALTUR_API_KEY":      "altur-" + canary,
	"SITEGPT_API_KEY":    "sitegpt-" + canary,
	"MAIAGENT_API_KEY":   "maiagent-" + canary,
	"LLM_KEY":            "llm-" + canary,
	"PARCEL_DESK_HOOK":   "hook-" + canary,
	"CRM_WEBHOOK_SECRET": "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=",
	"DATABASE_PASSWORD":  canary,
	"PORT":               "8081",
	"EMPTY":              "",
	"TWO_LINES":          canary + "\n" + canary,
	"INJECTION":          "x, api_key: y}\nlisten: 0.0.0.0:80",
	"FILE":               "file:/etc/hostname",
}

// vendorSettings stands for the settings of an adapter with a vendor.
type vendorSettings struct {
	BaseURL   baseURL           `yaml:"base_url"`
	APIKey    normalize.Secret  `yaml:"api_key"`
	AgentID   string            `yaml:"agent_id"`
	ChatbotID string            `yaml:"chatbot_id"`
	Shape     string            `yaml:"shape" enum:"agent|chatbot"`
	EndUsers  string            `yaml:"end_users" enum:"create|given"`
	Version   string            `yaml:"version" enum:"v0|v2"`
	Style     string            `yaml:"style" enum:"completions|messages"`
	WebChat   string            `yaml:"web_chat"`
	Stream    string            `yaml:"stream_field"`
	Model     string            `yaml:"model"`
	System    string            `yaml:"system"`
	History   history           `yaml:"history"`
	Wait      *time.Duration    `yaml:"wait" over:"0"`
	Warmth    float64           `yaml:"warmth" max:"2"`
	Beta      bool              `yaml:"beta"`
	Tags      []string          `yaml:"tags"`
	Headers   map[string]string `yaml:"headers"`
}

type history struct {
	Messages int                `yaml:"messages" default:"40"`
	Bytes    normalize.ByteSize `yaml:"bytes" default:"64KiB"`
}

type baseURL string

func (b *baseURL) UnmarshalText(text []byte) error {
	*b = baseURL(text)
	return nil
}

// Check asks for what every vendor needs.
func (s *vendorSettings) Check(report func(field, problem string)) {
	if s.BaseURL == "" {
		report("base_url", "is missing: write the vendor's URL, or sandbox")
	}
	if s.APIKey.IsZero() {
		report("api_key", "is missing")
	}
	if s.History.Messages > 100 {
		report("history.messages", "must not be more than 100")
	}
}

type noSettings struct{}

func options() config.Options {
	settings := map[string]func() any{"echo": func() any { return new(noSettings) }}
	for _, name := range []string{"altur", "sitegpt", "conversations", "openai"} {
		settings[name] = func() any { return &vendorSettings{Shape: "agent"} }
	}
	return config.Options{
		Settings: settings,
		Dialects: []string{"altur", "sitegpt", "conversations", "openai"},
		Getenv: func(name string) (string, bool) {
			value, ok := environment[name]
			return value, ok
		},
	}
}

// TestEachWayToBeWrongIsRefused has one file for each way; beside it stands what
// the operator is told.
func TestEachWayToBeWrongIsRefused(t *testing.T) {
	for _, file := range glob(t, "testdata/refused/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := config.Parse("config.yaml", read(t, file), options())
			if err == nil {
				t.Fatal("the file was accepted")
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("a secret is shown:\n%v", err)
			}
			compare(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// TestWhatIsAcceptedIsDescribedInFull compares what check prints: every effective
// value, and no secret.
func TestWhatIsAcceptedIsDescribedInFull(t *testing.T) {
	for _, file := range glob(t, "testdata/accepted/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := config.Parse("config.yaml", read(t, file), options())
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := c.Describe(&out); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), canary) {
				t.Errorf("a secret is shown:\n%s", out.String())
			}
			compare(t, strings.TrimSuffix(file, ".yaml")+".txt", out.String())
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files for %s: %v", pattern, err)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(read(t, file)), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}
