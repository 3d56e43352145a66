package config_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatmux/internal/config"
	"chatmux/normalize"
)

const smallest = `
backends:
  - name: echo
    adapter: echo
routes:
  - name: default
    to: echo
`

func accept(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refuse(t *testing.T, text string) *config.Problems {
	t.Helper()
	_, err := config.Parse("config.yaml", []byte(text), options())
	problems, ok := errors.AsType[*config.Problems](err)
	if !ok {
		t.Fatalf("got %v, want *config.Problems", err)
	}
	return problems
}

func TestWhatIsLeftOutHasTheDocumentedDefault(t *testing.T) {
	c := accept(t, smallest)
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"listen", c.Listen, "127.0.0.1:8080"},
		{"admin", c.Admin, ""},
		{"store", c.Store.SQLite, "chatmux.db"},
		{"limits.body", c.Limits.Body, normalize.ByteSize(1 << 20)},
		{"limits.in_flight", c.Limits.InFlight, 512},
		{"limits.timeout", c.Limits.Timeout, 60 * time.Second},
		{"limits.drain", c.Limits.Drain, config.Drain{Delay: 3 * time.Second, Grace: 30 * time.Second}},
		{"limits.idempotency", c.Limits.Idempotency, config.Idempotency{Retention: 24 * time.Hour, Lease: 30 * time.Second}},
		{"limits.stream", c.Limits.Stream, config.Stream{HeadWait: 5 * time.Second, Heartbeat: 10 * time.Second, Write: 10 * time.Second}},
		{"limits.retention", c.Limits.Retention, time.Duration(0)},
		{"timeouts", c.Backends[0].Timeouts, config.Timeouts{
			Connect: 5 * time.Second, FirstByte: 30 * time.Second, Idle: 30 * time.Second, Total: 60 * time.Second,
		}},
		{"retry", c.Backends[0].Retry, config.Retry{Attempts: 2, Base: 200 * time.Millisecond, Cap: 5 * time.Second}},
		{"breaker", c.Backends[0].Breaker, config.Breaker{
			Failures: 5, Ratio: 0.5, MinRequests: 20, Interval: 120 * time.Second, OpenFor: 30 * time.Second, Probes: 2,
		}},
		{"max_in_flight", c.Backends[0].MaxInFlight, 64},
		{"on_unavailable", c.Routes[0].OnUnavailable, ""},
		{"on_disconnect", c.Routes[0].OnDisconnect, "finish"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestSettingsReachTheAdapterDecoded(t *testing.T) {
	c := accept(t, `
backends:
  - name: desk
    adapter: altur
    settings:
      base_url: https://api.altur.io/api/v1.0
      api_key: ${ALTUR_API_KEY}
      chatbot_id: 0365062873485935184
      history: {messages: 3}
      wait: 1500ms
routes:
  - name: default
    to: desk
`)
	s, ok := c.Backends[0].Settings.(*vendorSettings)
	if !ok {
		t.Fatalf("settings are a %T", c.Backends[0].Settings)
	}
	if s.APIKey.Reveal() != environment["ALTUR_API_KEY"] {
		t.Error("the key is not what the variable holds")
	}
	if s.ChatbotID != "0365062873485935184" {
		t.Errorf("an id of digits became %q: text must stay as written", s.ChatbotID)
	}
	if s.History != (history{Messages: 3, Bytes: 64 << 10}) || s.Shape != "agent" {
		t.Errorf("defaults beside what is set are lost: %+v, shape %q", s.History, s.Shape)
	}
	if *s.Wait != 1500*time.Millisecond {
		t.Errorf("wait is %v", *s.Wait)
	}
}

func TestBackendsOfOneAdapterDoNotShareSettings(t *testing.T) {
	c := accept(t, `
backends:
  - {name: a, adapter: altur, settings: {base_url: sandbox, api_key: ka}}
  - {name: b, adapter: altur, settings: {base_url: sandbox, api_key: kb}}
routes:
  - name: default
    to: a
`)
	a, b := c.Backends[0].Settings.(*vendorSettings), c.Backends[1].Settings.(*vendorSettings)
	if a.APIKey.Reveal() != "ka" || b.APIKey.Reveal() != "kb" {
		t.Error("the second backend changed the settings of the first")
	}
}

func TestVariableCannotBecomeYAML(t *testing.T) {
	c := accept(t, `
backends:
  - name: llm
    adapter: openai
    settings: {base_url: sandbox, api_key: k, system: "${INJECTION}", model: "${FILE}"}
routes:
  - name: default
    to: llm
`)
	s := c.Backends[0].Settings.(*vendorSettings)
	if s.System != environment["INJECTION"] || c.Listen != "127.0.0.1:8080" {
		t.Errorf("the variable did not stay one value: %q, listen %q", s.System, c.Listen)
	}
}

func TestVariableIsNotReadAsAFile(t *testing.T) {
	c := accept(t, "callers: [{name: web, key: \"${FILE}\"}]\n"+smallest)
	if got := c.Callers[0].Key.Reveal(); got != environment["FILE"] {
		t.Errorf("the key is not the variable's text, but has %d bytes", len(got))
	}
}

func TestSecretIsReadFromItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	for _, tt := range []struct{ content, want string }{
		{"hunter2", "hunter2"},
		{"hunter2\n", "hunter2"},
		{"hunter2\r\n", "hunter2"},
		{"${WEB_KEY}\n", "${WEB_KEY}"}, // what a file holds is not looked into
	} {
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		c := accept(t, "callers: [{name: web, key: 'file:"+file+"'}]\n"+smallest)
		if got := c.Callers[0].Key.Reveal(); got != tt.want {
			t.Errorf("a file of %q gives %q", tt.content, got)
		}
	}
}

func TestSecretFileThatIsNoKeyIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{"", "\n", canary + "\n" + canary, strings.Repeat(canary, 10_000)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		problems := refuse(t, "callers: [{name: web, key: 'file:"+file+"'}]\n"+smallest)
		if got := problems.List[0].Path; got != "callers[0].key" {
			t.Errorf("a file of %d bytes: the problem is at %s", len(content), got)
		}
		if strings.Contains(problems.Error(), canary) {
			t.Error("the secret is shown")
		}
	}
}

func TestKeyHashIsTheSameInBothForms(t *testing.T) {
	sum := sha256.Sum256([]byte("k-1"))
	c := accept(t, fmt.Sprintf("callers: [{name: a, key: k-1}, {name: b, key_sha256: %X}]\n%s", sha256.Sum256([]byte("k-2")), smallest))
	if c.Callers[0].KeyHash() != sum {
		t.Error("the hash of a plain key is not its SHA-256")
	}
	if c.Callers[1].KeyHash() != sha256.Sum256([]byte("k-2")) {
		t.Error("a hash in the file is not taken as it is")
	}
}

func TestRateCountsPerSecondAndPerMinute(t *testing.T) {
	c := accept(t, "callers: [{name: a, key: ka, rate: 50/s}, {name: b, key: kb, rate: 600/m}, {name: c, key: kc}]\n"+smallest)
	for i, want := range []float64{50, 10, 0} {
		if got := c.Callers[i].Rate.PerSecond(); got != want {
			t.Errorf("callers[%d]: %v a second, want %v", i, got, want)
		}
	}
}

func TestMatchKeepsTheOrderOfTheFile(t *testing.T) {
	c := accept(t, `
backends: [{name: echo, adapter: echo}]
routes:
  - name: vip
    match: {metadata.Z: z, header.X-Y: y, bot: [b, a], caller: "*"}
    to: echo
  - {name: default, to: echo}
`)
	if got, want := fmt.Sprint(c.Routes[0].Match), "[{metadata.Z [z]} {header.x-y [y]} {bot [b a]} {caller [*]}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDialectsAreThoseOfTheAdaptersUnlessNamed(t *testing.T) {
	text := `
backends: [{name: echo, adapter: echo}]
routes:
  - {name: vip, match: {dialect: [native, echo]}, to: echo}
  - {name: default, to: echo}
`
	o := options()
	if _, err := config.Parse("config.yaml", []byte(text), o); err == nil || !strings.Contains(err.Error(), "routes[0].match.dialect[1]") {
		t.Errorf("a dialect that is not among the named ones: %v", err)
	}
	o.Dialects = nil
	if _, err := config.Parse("config.yaml", []byte(text), o); err != nil {
		t.Errorf("a dialect of the name of an adapter: %v", err)
	}
}

func TestStoreForms(t *testing.T) {
	for _, tt := range []struct{ written, sqlite, postgres, shown string }{
		{"sqlite:chatmux.db", "chatmux.db", "", "sqlite:chatmux.db"},
		{"sqlite:/var/lib/chat mux.db", "/var/lib/chat mux.db", "", "sqlite:/var/lib/chat mux.db"},
		{"sqlite::memory:", ":memory:", "", "sqlite::memory:"},
		{"postgres://chat:hunter2@db/chatmux?password=hunter2", "", "postgres://chat:hunter2@db/chatmux?password=hunter2", "postgres://chat@db/chatmux"},
		{"postgresql:///chatmux?host=/run/postgresql", "", "postgresql:///chatmux?host=/run/postgresql", "postgresql:///chatmux"},
	} {
		c := accept(t, "store: '"+tt.written+"'\n"+smallest)
		if c.Store.SQLite != tt.sqlite || c.Store.Postgres.Reveal() != tt.postgres {
			t.Errorf("%s is read as %q and %q", tt.written, c.Store.SQLite, c.Store.Postgres.Reveal())
		}
		if got := fmt.Sprint(c.Store); got != tt.shown {
			t.Errorf("%s is shown as %s", tt.written, got)
		}
	}
}

func TestLoopbackIsOpenWithoutCallers(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "localhost:80", `"[::1]:8080"`, "127.8.9.1:1"} {
		accept(t, "listen: "+address+"\n"+smallest)
	}
	for _, address := range []string{":80", "0.0.0.0:80", `"[::]:80"`, "192.168.1.1:80", "chat.example.com:80", "localhost.example.com:80"} {
		refuse(t, "listen: "+address+"\n"+smallest)
		accept(t, "listen: "+address+"\ncallers: [{name: a, key: k}]\n"+smallest)
	}
}

// TestSecretsPrintNowhere goes over every way to write a whole config out.
func TestSecretsPrintNowhere(t *testing.T) {
	c, err := config.Parse("config.yaml", read(t, "testdata/accepted/variables.yaml"), options())
	if err != nil {
		t.Fatal(err)
	}
	var described bytes.Buffer
	if err := c.Describe(&described); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []string{
		described.String(), string(asJSON), fmt.Sprintf("%v", c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c.Callers), fmt.Sprintf("%q", c.Store),
	} {
		if strings.Contains(written, canary) || strings.Contains(written, environment["CRM_WEBHOOK_SECRET"]) {
			t.Errorf("a secret is shown:\n%s", written)
		}
	}
}

func TestProblemsStandInTheOrderOfTheFile(t *testing.T) {
	problems := refuse(t, string(read(t, "testdata/refused/durations-of-a-backend.yaml"))+"listem: 1\n")
	if len(problems.List) != 5 {
		t.Fatalf("%d problems, want all 5:\n%v", len(problems.List), problems)
	}
	for i, p := range problems.List[1:] {
		before := problems.List[i]
		if p.Line < before.Line || p.Line == before.Line && p.Column < before.Column {
			t.Errorf("%d:%d stands after %d:%d", p.Line, p.Column, before.Line, before.Column)
		}
	}
}

func TestNearestNameIsNearEnough(t *testing.T) {
	for _, tt := range []struct{ written, suggested string }{
		{"listem", "listen"},
		{"LISTEN", "listen"},
		{"lsiten", "listen"},
		{"web-hooks", "webhooks"},
		{"backend", "backends"},
		{"x", ""},
		{"kubernetes", ""},
		{strings.Repeat("listen", 100), ""},
	} {
		text := refuse(t, tt.written+": 1\n"+smallest).List[0].Text
		if got := strings.Contains(text, "did you mean"); got != (tt.suggested != "") {
			t.Errorf("%.20s: %s", tt.written, text)
		}
		if !strings.Contains(text, tt.suggested) {
			t.Errorf("%.20s: %s, want %s", tt.written, text, tt.suggested)
		}
	}
}

func TestLoadSaysWhyAFileCannotBeRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	_, err := config.Load(file, options())
	if want := file + ": cannot be read: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.WriteFile(file, []byte("listem: x\n"+smallest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = config.Load(file, options()); err == nil || !strings.HasPrefix(err.Error(), file+":1:1: listem: ") {
		t.Errorf("got %v, want the file's name first", err)
	}
}

func TestEnvironmentOfTheProcessIsTheDefault(t *testing.T) {
	t.Setenv("CHATMUX_TEST_PORT", "8123")
	o := options()
	o.Getenv = nil
	c, err := config.Parse("config.yaml", []byte("listen: localhost:${CHATMUX_TEST_PORT}\n"+smallest), o)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "localhost:8123" {
		t.Errorf("listen is %s", c.Listen)
	}
}

// FuzzParse looks for a file that makes the reader panic, that is refused without a
// place inside it, or that gets the value of a secret shown.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/refused/*.yaml", "testdata/accepted/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	secret := "canary-" + strings.Repeat("7f3a", 8)
	o := options()
	o.Getenv = func(name string) (string, bool) { return secret, strings.HasSuffix(name, "_KEY") }
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("config.yaml", data, o)
		if err != nil {
			problems, ok := errors.AsType[*config.Problems](err)
			if !ok || len(problems.List) == 0 {
				t.Fatalf("refused without a problem: %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("a secret is shown: %v", err)
			}
			lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 2
			for _, p := range problems.List {
				if p.Line < 1 || p.Column < 1 || p.Line > lines || p.Text == "" {
					t.Fatalf("a problem without a place: %+v", p)
				}
			}
			return
		}
		var out bytes.Buffer
		if err := c.Describe(&out); err != nil {
			t.Fatal(err)
		}
	})
}
