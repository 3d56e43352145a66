package adapters_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"chatmux/adapters"
)

func TestBaseURLTakesWhatIsSafe(t *testing.T) {
	for in, want := range map[string]adapters.BaseURL{
		"https://api.altur.io/api/v1.0":  "https://api.altur.io/api/v1.0",
		"https://sitegpt.ai":             "https://sitegpt.ai",
		"https://sitegpt.ai/":            "https://sitegpt.ai",
		"https://api.example/api//":      "https://api.example/api",
		"https://api.example:8443/a%2Fb": "https://api.example:8443/a%2Fb",
		"HTTPS://api.example":            "HTTPS://api.example",
		"https://10.0.0.1":               "https://10.0.0.1",
		"http://127.0.0.1:8080/api":      "http://127.0.0.1:8080/api",
		"http://127.9.9.9":               "http://127.9.9.9",
		"http://localhost:9000":          "http://localhost:9000",
		"http://[::1]:9000":              "http://[::1]:9000",
		"http://[::ffff:127.0.0.1]":      "http://[::ffff:127.0.0.1]",
		"sandbox":                        adapters.Sandbox,
	} {
		var b adapters.BaseURL
		if err := b.UnmarshalText([]byte(in)); err != nil || b != want {
			t.Errorf("%q reads as %q, error %v, want %q", in, b, err, want)
			continue
		}
		text, err := json.Marshal(b)
		if err != nil || string(text) != `"`+string(want)+`"` {
			t.Errorf("%q is written %s, error %v", b, text, err)
		}
	}
}

func TestBaseURLRefusesTheRestAndSaysWhy(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "write https://host/path, or sandbox",
		"api.altur.io":                          "write https://host/path, or sandbox",
		"/api":                                  "write https://host/path, or sandbox",
		"https://":                              "write https://host/path, or sandbox",
		"https:///path":                         "write https://host/path, or sandbox",
		"https://:443":                          "write https://host/path, or sandbox",
		"https:api.example":                     "write https://host/path, or sandbox",
		"https://api.example/\n":                "write https://host/path, or sandbox",
		"https://api.example/%zz":               "write https://host/path, or sandbox",
		"https://api.example:port":              "write https://host/path, or sandbox",
		"Sandbox":                               "write https://host/path, or sandbox",
		"https://user@api.example":              "no user name or password",
		"https://user:hunter2@api.example":      "no user name or password",
		"https://api.example?key=hunter2":       "no query and no fragment",
		"https://api.example/?":                 "no query and no fragment",
		"https://api.example/#hunter2":          "no query and no fragment",
		"https://api.example/#":                 "no query and no fragment",
		"http://api.example":                    "use https",
		"http://10.0.0.1":                       "use https",
		"http://0.0.0.0":                        "use https",
		"http://127.0.0.1.hunter2.example":      "use https",
		"http://localhost.hunter2.example":      "use https",
		"http://2130706433":                     "use https",
		"http://[::2]":                          "use https",
		"ftp://api.example":                     "starts with https://",
		"ws://127.0.0.1":                        "starts with https://",
		"postgres://user:hunter2@api.example":   "no user name or password",
		"https://user:hunter2@api example/\x7f": "write https://host/path, or sandbox",
	} {
		b := adapters.BaseURL("https://before.example")
		err := b.UnmarshalText([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", in, err, want)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats the value: %v", in, err)
		}
		if b != "https://before.example" {
			t.Errorf("%q: refused, and yet the value is %q", in, b)
		}
	}
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{"https://api.example/a%2Fb/", "http://[::1]:9000", "sandbox", "https://u:p@h", "http://127.0.0.1.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b adapters.BaseURL
		if b.UnmarshalText([]byte(s)) != nil {
			return
		}
		again := adapters.BaseURL("")
		if err := again.UnmarshalText([]byte(b)); err != nil || again != b {
			t.Errorf("%q reads as %q, which reads as %q, error %v", s, b, again, err)
		}
		u, err := url.Parse(string(b))
		if err != nil || b != adapters.Sandbox && (u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "") {
			t.Errorf("%q is taken as %q, error %v", s, b, err)
		}
	})
}
