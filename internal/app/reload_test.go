package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/sandbox"
)

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(text), config.Options{Settings: app.Settings(all.Adapters())})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) breaker(backend string) string {
	h.t.Helper()
	return read[struct{ Breaker struct{ State string } }](h.t, h.call("GET", "/v1/backends/"+backend, nil), 200).Breaker.State
}

func TestAReloadKeepsBreakersOfUnchangedBackendsAndReplacesTheOthers(t *testing.T) {
	onEachStore(t, testAReloadKeepsBreakersOfUnchangedBackendsAndReplacesTheOthers)
}

func testAReloadKeepsBreakersOfUnchangedBackendsAndReplacesTheOthers(t *testing.T, newStore storeMaker) {
	text := fmt.Sprintf(quick, newStore(t))
	h := startHouse(t, text)
	h.twin("helpdesk").Script(sandbox.MustScript("always status 500")...)
	for range 5 {
		h.send("default", "hello")
	}
	if s := h.breaker("helpdesk"); s != "open" {
		t.Fatalf("the breaker is %s", s)
	}
	kept := h.twin("helpdesk")
	changed := strings.Replace(text, "k-one-canary, model: m}", "k-one-canary, model: another}", 1)
	changed = strings.Replace(changed, "  - {name: default, to: helpdesk}", "  - {name: added, match: {metadata.route: added}, to: llm-1}\n  - {name: default, to: helpdesk}", 1)
	before := h.twin("llm-1")
	if err := h.app.Reload(parsed(t, changed)); err != nil {
		t.Fatal(err)
	}
	if s := h.breaker("helpdesk"); s == "closed" || h.twin("helpdesk") != kept {
		t.Errorf("an unchanged backend began anew: its breaker is %s", s)
	}
	if h.twin("llm-1") == before {
		t.Error("a changed backend goes on with what it was")
	}
	if got := read[turn](t, h.send("added", "hello"), 200); got.Thread.Route != "added" {
		t.Errorf("the new route is not taken: %+v", got.Thread)
	}
	// A breaker that is part of the change begins anew.
	if err := h.app.Reload(parsed(t, strings.Replace(changed, "open_for: 300ms", "open_for: 400ms", 1))); err != nil {
		t.Fatal(err)
	}
	if s := h.breaker("helpdesk"); s != "closed" {
		t.Errorf("a changed breaker is %s", s)
	}
}

func TestSendsRunOnThroughReloads(t *testing.T) { onEachStore(t, testSendsRunOnThroughReloads) }

func testSendsRunOnThroughReloads(t *testing.T, newStore storeMaker) {
	text := fmt.Sprintf(quick, newStore(t))
	h := startHouse(t, text)
	other := strings.Replace(text, "k-one-canary, model: m}", "k-one-canary, model: another}", 1)
	var stop atomic.Bool
	var sent, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				route := []string{"pair", "default", "chain"}[i%3]
				var got turn
				if err := h.into(&got, "POST", "/v1/messages", object{"text": fmt.Sprint(i, "/", n), "thread_metadata": object{"route": route}}); err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	for i := range 40 {
		c := parsed(t, []string{other, text}[i%2])
		if err := h.app.Reload(c); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	if sent.Load() == 0 || failed.Load() > 0 {
		t.Errorf("%d sends, %d failed", sent.Load(), failed.Load())
	}
}

func TestAFileThatIsRefusedLeavesTheConfigInForce(t *testing.T) {
	onEachStore(t, testAFileThatIsRefusedLeavesTheConfigInForce)
}

func testAFileThatIsRefusedLeavesTheConfigInForce(t *testing.T, newStore storeMaker) {
	text := fmt.Sprintf(quick, newStore(t))
	h := startHouse(t, text)
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	var loads atomic.Int64
	load := func() (*config.Config, error) {
		defer loads.Add(1)
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(b), "refused") {
			return nil, errors.New("refused")
		}
		return config.Parse(file, b, config.Options{Settings: app.Settings(all.Adapters())})
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangup := make(chan os.Signal, 1)
	var watched sync.WaitGroup
	watched.Go(func() { h.app.Watch(ctx, file, load, hangup) })
	reloaded := func(n int64) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); loads.Load() < n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d loads, want %d", loads.Load(), n)
			}
		}
	}
	hangup <- os.Interrupt // any signal that is passed on means: again
	reloaded(1)
	write("refused")
	reloaded(2)
	read[turn](t, h.send("pair", "the old one is in force"), 200)
	write(strings.Replace(text, "  - {name: default, to: helpdesk}", "  - {name: default, to: llm-2}", 1))
	reloaded(3)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got := read[turn](t, h.send("nothing", "hello"), 200); got.Thread.Backend == "llm-2" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new file is not in force")
		}
	}
	metrics := string(h.call("GET", "/metrics", nil).body)
	for _, want := range []string{`chatmux_config_reloads_total{result="ok"} 2`, `chatmux_config_reloads_total{result="refused"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	cancel()
	watched.Wait()
}
