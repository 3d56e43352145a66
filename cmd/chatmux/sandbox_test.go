package main

import (
	"os"
	"strings"
	"testing"
)

func TestSandboxServesTwinsShowsRequestsAndPlaysFaults(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	box := start(t, folder(t, shippedConfig(t)), "sandbox", "--listen", "own-llm="+addr,
		"--script", `own-llm=1x status 503 retry-after=7 body={"error": {"message": "a, b", "code": "busy"}}`)
	table := box.stdout.await(t, "the table", contains("Ctrl-C ends it."))
	base := ""
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "own-llm" {
			base = words[2]
		}
	}
	if base != "http://"+addr+"/v1" {
		t.Fatalf("the twin of own-llm is at %q:\n%s", base, table)
	}
	says(t, table, "parcel-desk", "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30", "docs-bot", "365062873485935184", "helpdesk")

	ask := func(text string) (int, string) {
		t.Helper()
		status, body, err := fetch("POST", base+"/chat/completions",
			`{"model": "sandbox-model", "messages": [{"role": "user", "content": "`+text+`"}]}`, "Authorization", "Bearer sandbox-key")
		if err != nil {
			t.Fatal(err)
		}
		return status, body
	}
	if status, body := ask("hello"); status != 503 || !strings.Contains(body, `"message": "a, b"`) {
		t.Errorf("the script is not played: %d, %s", status, body)
	}
	if status, body := ask("hello"); status != 200 || !strings.Contains(body, "You said: hello") {
		t.Errorf("after the script: %d, %s", status, body)
	}
	if status, body := ask("hello [[status 418]]"); status != 418 {
		t.Errorf("the marker is not played: %d, %s", status, body)
	}
	if status, body := ask("hello [[status teapot]]"); status != 400 || !strings.Contains(body, "not a status from 200 to 599") {
		t.Errorf("a marker with a typo: %d, %s", status, body)
	}
	if status, _, err := fetch("POST", base+"/chat/completions", "{}", "Authorization", "Bearer another-key"); err != nil || status != 401 {
		t.Errorf("another key: %d, %v", status, err)
	}
	shown := box.stdout.await(t, "the last request", contains(" 401  POST"))
	for _, want := range []string{"503  POST /v1/chat/completions  [status 503", "200  POST /v1/chat/completions\n", "418  POST /v1/chat/completions  [status 418]"} {
		says(t, shown, want)
	}

	box.signal(os.Interrupt)
	if state := box.wait(); state.ExitCode() != 0 {
		t.Errorf("Ctrl-C ended it with %s, want status 0", state)
	}
}
