//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestServeDrainsOnSigtermAndEndsWithStatus0(t *testing.T) {
	for name, args := range map[string][]string{"without a word": nil, "serve": {"serve"}} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, echoConfig("127.0.0.1:0", "sqlite:chatmux.db", "limits: {drain: {delay: 0s, grace: 20s}}"))
			server := start(t, dir, args...)
			url := server.listening()
			mustFetch(t, 200, "GET", url+"/healthz", "")

			type answer struct {
				status int
				body   string
				err    error
			}
			slow := make(chan answer, 1)
			go func() {
				var a answer
				a.status, a.body, a.err = fetch("POST", url+"/v1/messages", `{"backend": "llm", "text": "take your time [[delay 700ms]]"}`)
				slow <- a
			}()
			eventually(t, url+"/v1/backends/llm", func(_ int, body string) bool { return strings.Contains(body, `"in_flight":1`) })
			server.signal(syscall.SIGTERM)
			if a := <-slow; a.err != nil || a.status != 200 || !strings.Contains(a.body, "take your time") {
				t.Errorf("the running send was not let go on: %+v", a)
			}
			if state := server.wait(); state.ExitCode() != 0 {
				t.Errorf("ended with %s, want status 0", state)
			}
		})
	}
}

func TestSecondSigtermEndsAtOnce(t *testing.T) {
	server := start(t, folder(t, echoConfig("127.0.0.1:0", `"sqlite::memory:"`, "limits: {drain: {delay: 10m, grace: 10m}}")))
	url := server.listening()
	mustFetch(t, 200, "GET", url+"/readyz", "")
	server.signal(syscall.SIGTERM)
	eventually(t, url+"/readyz", func(status int, _ string) bool { return status == 503 })
	mustFetch(t, 200, "POST", url+"/v1/messages", `{"text": "the service is normal meanwhile"}`)
	server.signal(syscall.SIGTERM)
	if status, ok := server.wait().Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want the signal to end it", status)
	}
}

func TestServeRefusesABadConfigWithStatus2AndListensNowhere(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(echoConfig(addr, "sqlite:chatmux.db", "limits: {in_fligth: 5, timeout: 5}"), "to: echo", "to: ecco")
	dir := folder(t, config)
	for _, args := range [][]string{nil, {"serve"}, {"check"}} {
		got := runHere(t, dir, "", args...)
		if got.status != exitRefused {
			t.Errorf("%s: status %d, want %d", args, got.status, exitRefused)
		}
		says(t, got.stderr,
			"config.yaml:3:10: limits.in_fligth: unknown key (did you mean \"in_flight\"?)",
			"config.yaml:3:",
			"limits.timeout: ",
			"routes[0].to: there is no backend of this name (did you mean \"echo\"?)")
		if got.stdout != "" || strings.Contains(got.stderr, "chatmux listens") {
			t.Errorf("%s: it went on: %s%s", args, got.stdout, got.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "chatmux.db")); err == nil {
		t.Error("a refused config made a store")
	}
}

func TestServeEndsWithStatus1WhereItCannotStart(t *testing.T) {
	running := start(t, folder(t, echoConfig("127.0.0.1:0", "sqlite:chatmux.db", "")))
	addr := strings.TrimPrefix(running.listening(), "http://")
	for name, tt := range map[string]struct {
		config string
		says   []string
	}{
		"port in use":              {echoConfig(addr, `"sqlite::memory:"`, ""), []string{addr, "another program listens there", "change the address in config.yaml"}},
		"admin port in use":        {echoConfig("127.0.0.1:0", `"sqlite::memory:"`, "admin: "+addr), []string{"admin", "another program listens there"}},
		"store not writable":       {echoConfig("127.0.0.1:0", "sqlite:no/such/folder/chatmux.db", ""), []string{"no/such/folder"}},
		"store of another process": {echoConfig("127.0.0.1:0", "sqlite:"+filepath.Join(running.cmd.Dir, "chatmux.db"), ""), []string{"chatmux.db", "another"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := runHere(t, folder(t, tt.config), "")
			if got.status != exitFailed {
				t.Errorf("status %d, want %d", got.status, exitFailed)
			}
			says(t, got.stderr, tt.says...)
		})
	}
	mustFetch(t, 200, "GET", "http://"+addr+"/readyz", "")
}

func TestChangedConfigTakesEffectAndABadOneDoesNot(t *testing.T) {
	config := echoConfig("127.0.0.1:0", `"sqlite::memory:"`, "")
	dir := folder(t, config)
	server := start(t, dir)
	url := server.listening()
	routed := func(want string) {
		t.Helper()
		says(t, mustFetch(t, 200, "POST", url+"/v1/routes/explain", `{"metadata": {"plan": "gold"}}`), `"route":"`+want+`"`)
	}
	reloads := func(result, count string) {
		t.Helper()
		eventually(t, url+"/metrics", func(_ int, body string) bool {
			return strings.Contains(body, `chatmux_config_reloads_total{result="`+result+`"} `+count+"\n")
		})
	}
	replace := func(text string) {
		t.Helper()
		draft := filepath.Join(dir, "draft")
		if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(draft, filepath.Join(dir, "config.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	routed("default")

	server.signal(syscall.SIGHUP)
	reloads("ok", "1")

	gold := strings.Replace(config, "routes:\n", "routes:\n  - {name: gold, match: {metadata.plan: gold}, to: llm}\n", 1)
	replace(gold)
	reloads("ok", "2")
	routed("gold")

	replace(strings.Replace(gold, "to: llm", "to: lmm", 1))
	reloads("refused", "1")
	server.stderr.await(t, "the error in the log", contains(`config.yaml:8:`))
	log, _ := server.stderr.state()
	says(t, log, `"level":"error"`, "the one before stays in force", `did you mean \"llm\"?`)
	routed("gold")

	replace(config)
	reloads("ok", "3")
	routed("default")
}
