package sandbox_test

import (
	"strings"
	"testing"

	"chatmux/internal/sandbox"
)

func TestTypoInAScriptIsAnErrorThatSaysTheForm(t *testing.T) {
	for script, says := range map[string]string{
		"":                              "no fault: write one of ok, delay",
		"stauts 500":                    `no fault is called "stauts"`,
		"status":                        "takes one status",
		"status 99":                     "status from 200 to 599",
		"status 500 501":                "takes one status",
		"status 500 retry=7":            "takes no retry",
		"status 500 header=abc":         "not Name:value",
		"ok 1":                          `"1" is too much`,
		"ok body={}":                    "takes no body",
		"json":                          "JSON text is missing",
		"delay":                         "takes one duration",
		"delay 5":                       "not a duration",
		"delay -1s":                     "not a duration",
		"html 200 1":                    "too much",
		"redirect 307":                  "a status and a URL",
		"redirect 307 /here":            "not a URL with a host",
		"cut":                           "takes a number of bytes",
		"cut ten":                       "not a number of bytes",
		"cut 10 slowly":                 `not one of chunked, close`,
		"drip 10":                       "a number of bytes and a duration",
		"drip 0 1s":                     "at least one byte",
		"reset late":                    "not one of early, head, tail",
		"read":                          "takes one number",
		"stall two":                     "not a number of bytes",
		"loop":                          "takes one number",
		"comments":                      "takes one duration",
		"sse":                           "the number of events or the data is missing",
		"sse 2":                         "the number of events or the data is missing",
		"sse {}":                        "the number of events or the data is missing",
		"sse two {}":                    "not a number of bytes",
		"0x status 500":                 "not a number of times",
		"ax status 500":                 "not a number of times",
		"always ok; status 500":         "never reached",
		"status 500;; ok":               "no fault",
		"tarpit retry-after=7":          "takes no retry-after",
		"oversize 1MiB chunked chunked": "too much",
	} {
		if _, err := sandbox.ParseScript(script); err == nil {
			t.Errorf("%q was accepted", script)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want it to say %q", script, err, says)
		}
	}
}

func TestGrammarNamesEveryFaultAsItIsWritten(t *testing.T) {
	for line := range strings.SplitSeq(sandbox.Grammar(), "\n") {
		form, _, isFault := strings.Cut(line, "  ")
		if !isFault {
			continue
		}
		form, _, _ = strings.Cut(form, "[")
		form = strings.ReplaceAll(form, "http://…", "http://127.0.0.1:1/")
		if _, err := sandbox.ParseFault(form); err != nil {
			t.Errorf("%q: %v", form, err)
		}
	}
}

func TestFaultIsPrintedAsItWasWritten(t *testing.T) {
	for _, text := range []string{"status 503 retry-after=7", "cut 10 chunked", `sse 1 {"a": "b=c"}`, "1xx", "drip 1 2s delay=1s"} {
		f, err := sandbox.ParseFault(" " + text + " ")
		if err != nil || f.String() != text {
			t.Errorf("%q is printed as %q, %v", text, f, err)
		}
	}
	if text := (sandbox.Fault{}).String(); text != "ok" {
		t.Errorf("the zero fault is printed as %q, want ok", text)
	}
}

func FuzzParseScript(f *testing.F) {
	for _, seed := range []string{"2x status 503 retry-after=7; always ok", "json {}", "cut 1KiB close", "redirect 307 http://a/?b=c", "oversize chunked", `sse 1 {"a": "b=c"}`, "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := sandbox.ParseScript(text)
		if (err == nil) != (len(steps) > 0) {
			t.Errorf("%q: %d steps and error %v", text, len(steps), err)
		}
	})
}
