package main

import (
	"encoding/json"
	"strings"
	"testing"

	"chatmux/internal/sandbox/bot"
)

func TestChatSendsALineOfAPipeAsItIs(t *testing.T) {
	dir := folder(t, echoConfig("127.0.0.1:1", `"sqlite::memory:"`, ""))
	got := runHere(t, dir, "/help \n\n \n  <b>&amp;</b> \U0001F600\r\n\ttab, and a \\n that is none", "chat", "--user", "rosa")
	want := "echo: /help \necho:   <b>&amp;</b> \U0001F600\necho: \ttab, and a \\n that is none\n"
	if got.status != 0 || got.stdout != want {
		t.Errorf("status %d, %q\nwant %q\n%s", got.status, got.stdout, want, got.stderr)
	}
}

func TestChatSendsNothingThatIsNotUTF8(t *testing.T) {
	dir := folder(t, echoConfig("127.0.0.1:1", `"sqlite::memory:"`, ""))
	got := runHere(t, dir, "first\ngr\xfc\xdfe\nnot sent any more\n", "chat")
	if got.status != exitFailed || got.stdout != "echo: first\n" {
		t.Errorf("status %d: %q", got.status, got.stdout)
	}
	says(t, got.stderr, "this message is not UTF-8 and was not sent", "iconv")
}

func TestChatGoesOnWithAThreadOfARunningServer(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, strings.ReplaceAll(shippedConfig(t), shippedAddr, addr))
	server := start(t, dir)
	url := server.listening()

	got := runHere(t, dir, "My name is Rosa.\n", "chat", "--backend", "helpdesk")
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("status %d: %s", got.status, got.stderr)
	}
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(mustFetch(t, 200, "GET", url+"/v1/threads", "")), &list); err != nil || len(list.Data) != 1 {
		t.Fatalf("%v: %+v; want the one thread of the chat in the running server", err, list)
	}
	first := "helpdesk: " + bot.Answer(1, "My name is Rosa.", "My name is Rosa.") + "\n"
	second := "helpdesk: " + bot.Answer(2, "My name is Rosa.", "And now?") + "\n"
	thread := list.Data[0].ID
	if got := runHere(t, dir, "And now?\n", "chat", "--thread", thread); got.status != 0 || got.stdout != "you: My name is Rosa.\n"+first+second {
		t.Errorf("status %d: %s%s", got.status, got.stdout, got.stderr)
	}
	if got := runHere(t, t.TempDir(), "", "chat", "--server", url+"/", "--thread", thread); got.stdout != "you: My name is Rosa.\n"+first+"you: And now?\n"+second {
		t.Errorf("by --server, without a config: status %d: %s%s", got.status, got.stdout, got.stderr)
	}

	got = runHere(t, dir, "", "chat", "--thread", "thr_01m7zsj4wne5f8v6d3q2c1b0a9")
	if got.status != exitFailed {
		t.Errorf("a thread that does not exist: status %d", got.status)
	}
	says(t, got.stderr, "not_found")

	live := runHere(t, dir, "", "backends", "--server", url)
	for _, line := range strings.Split(live.stdout, "\n") {
		if strings.HasPrefix(line, "helpdesk") && !strings.Contains(line, "2/0") {
			t.Errorf("two good sends do not show: %s", line)
		}
	}
	says(t, live.stdout, "BREAKER", "parcel-desk", "closed")
}

func TestChatNeedsTheKeyThatTheServerAsksFor(t *testing.T) {
	made := runHere(t, t.TempDir(), "", "key", "new", "--name", "web")
	key, forConfig, _ := strings.Cut(made.stdout, "\n")
	dir := folder(t, echoConfig("127.0.0.1:0", `"sqlite::memory:"`, forConfig))
	url := start(t, dir).listening()

	got := runHere(t, dir, "hello\n", "chat", "--server", url)
	if got.status != exitFailed || got.stdout != "" {
		t.Errorf("without a key: status %d, %s", got.status, got.stdout)
	}
	says(t, got.stderr, "unauthenticated", "give a caller key by --key or $CHATMUX_KEY")
	if got := runHere(t, dir, "hello\n", "chat", "--server", url, "--key", key); got.status != 0 || got.stdout != "echo: hello\n" {
		t.Errorf("with the key: status %d: %s%s", got.status, got.stdout, got.stderr)
	}
	if got := runHere(t, dir, "", "backends", "--server", url, "--key", strings.ToUpper(key)); got.status != exitFailed {
		t.Errorf("with another key: status %d", got.status)
	}
}

func TestVisibleTakesOutWhatWouldDriveTheTerminal(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext":                 "plain\n\ttext",
		"\x1b[2Jgone\x07\r":             "[2Jgone",
		"\u009b31mC1\u0085 and \x7fdel": "31mC1 and del",
		"שלום 👩‍👩‍👧 e\u0301":            "שלום 👩‍👩‍👧 e\u0301",
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
