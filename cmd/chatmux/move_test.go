package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/adapters/altur"
	"chatmux/adapters/conversations"
	"chatmux/adapters/sitegpt"
	"chatmux/internal/pgtest"
	"chatmux/internal/sandbox"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// town is vendors that outlive the chatmux processes of a test, and the folder of
// those.
type town struct {
	t        *testing.T
	dir      string
	url      string // of the API, while a server runs
	postgres bool
	backends string   // of the config
	vendors  []string // the backends' names
	twins    map[string]*sandbox.Server
	stop     func()
}

// newTown starts the vendors.
func newTown(t *testing.T, store string) *town {
	t.Helper()
	w := &town{t: t, twins: make(map[string]*sandbox.Server)}
	for _, spec := range all.Adapters() {
		settings := spec.Settings()
		key := normalize.NewSecret("k-" + spec.Name)
		switch own := settings.(type) {
		case *altur.Settings:
			own.APIKey, own.AgentID = key, "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
			w.hire(spec, settings, "parcel-desk", "agent_id: "+own.AgentID)
		case *sitegpt.Settings:
			own.APIKey, own.ChatbotID = key, "365062873485935184"
			w.hire(spec, settings, "docs-bot", `chatbot_id: "365062873485935184"`)
			own.ChatbotID = "465062873485935184"
			w.hire(spec, settings, "docs-v2", `chatbot_id: "465062873485935184", version: v2`)
		case *conversations.Settings:
			own.APIKey, own.ChatbotID = key, "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
			w.hire(spec, settings, "helpdesk", "chatbot_id: "+own.ChatbotID)
		}
	}
	w.build(store)
	return w
}

// build makes a folder with a config whose vendors are the town's.
func (w *town) build(store string) {
	w.t.Helper()
	addr, err := freeAddr()
	if err != nil {
		w.t.Fatal(err)
	}
	w.url, w.postgres = "http://"+addr, strings.HasPrefix(store, "postgres")
	w.dir = folder(w.t, fmt.Sprintf("listen: %s\nstore: %s\nlog: {level: error}\nlimits: {drain: {delay: 0s, grace: 5s}}\nbackends:\n%s"+
		"routes:\n  - {name: default, to: docs-bot}\n", addr, store, w.backends))
}

// another is another chatmux in front of the same vendors.
func (w *town) another(store string) *town {
	w.t.Helper()
	other := *w
	other.build(store)
	return &other
}

// hire starts the twin of an adapter's vendor, as a backend of the config.
func (w *town) hire(spec adapters.Spec, settings adapters.Settings, name, lines string) {
	w.t.Helper()
	twin, err := sandbox.Start(spec.Twin(settings), sandbox.Options{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = twin.Close() })
	w.twins[name] = twin
	w.vendors = append(w.vendors, name)
	w.backends += fmt.Sprintf("  - {name: %s, adapter: %s, settings: {base_url: %s, api_key: k-%s, %s}}\n",
		name, spec.Name, twin.URL()+spec.TwinPath, spec.Name, lines)
}

// serve starts a server; stopServer ends it.
func (w *town) serve() {
	w.t.Helper()
	cmd := exec.Command("chatmux", "serve")
	cmd.Dir, cmd.Env = w.dir, environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("the server ended with %v: %s", err, &stderr)
			}
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			w.t.Error("the server did not end")
		}
		http.DefaultClient.CloseIdleConnections()
	}
	w.t.Cleanup(func() { w.stop() })
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(w.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		if time.Now().After(end) {
			w.t.Fatal("the server is not ready")
		}
	}
}

// ask makes one request, whose answer must be a success, and decodes it.
func (w *town) ask(into any, method, path string, body any) error {
	return (&client{url: w.url}).call(w.t.Context(), method, path, body, into)
}

// resident is one thread of a town, as its person knows it.
type resident struct {
	id       string
	from, to string
	remote   string   // the id of its conversation at from, where a test asks for it
	said     []string // by the person
	heard    []string // whole transcript, notices left out
}

// say says something, which must be answered.
func (w *town) say(r *resident, text string) (answer string, err error) {
	var turn struct {
		Thread  threadHead `json:"thread"`
		Replies []said     `json:"replies"`
	}
	path, body := "/v1/threads/"+r.id+"/messages", map[string]any{"text": text}
	if r.id == "" {
		path, body = "/v1/messages", map[string]any{"text": text, "backend": r.from, "user": map[string]any{"id": r.from + "-" + r.to}}
	}
	if err := w.ask(&turn, "POST", path, body); err != nil {
		return "", err
	}
	if len(turn.Replies) != 1 {
		return "", fmt.Errorf("%d replies", len(turn.Replies))
	}
	r.id = turn.Thread.ID
	r.said, r.heard = append(r.said, text), append(r.heard, text, turn.Replies[0].Text)
	return turn.Replies[0].Text, nil
}

// each does something for each resident, some at once.
func (w *town) each(list []*resident, do func(*resident) error) {
	w.t.Helper()
	var working sync.WaitGroup
	jobs := make(chan *resident)
	for range 8 {
		working.Go(func() {
			for r := range jobs {
				if err := do(r); err != nil {
					w.t.Errorf("%s, from %s to %s: %v", r.id, r.from, r.to, err)
				}
			}
		})
	}
	for _, r := range list {
		jobs <- r
	}
	close(jobs)
	working.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// settle makes threads at every vendor, with two turns each, that are to move to every
// other one.
func (w *town) settle(n int) []*resident {
	w.t.Helper()
	var list []*resident
	for i := range n {
		from := w.vendors[i%len(w.vendors)]
		to := w.vendors[(i+1+i/len(w.vendors)%(len(w.vendors)-1))%len(w.vendors)]
		list = append(list, &resident{from: from, to: to})
	}
	var number int
	var mu sync.Mutex
	w.each(list, func(r *resident) error {
		mu.Lock()
		number++
		name := fmt.Sprintf("number %d.", number)
		mu.Unlock()
		if _, err := w.say(r, "my name is "+name); err != nil {
			return err
		}
		_, err := w.say(r, "my order is "+name)
		return err
	})
	return list
}

// where checks that a thread is at one backend, with one binding that is open, and that
// its transcript is whole; it gives how often it moved.
func (w *town) where(r *resident, backend string) (moves int, err error) {
	var th struct {
		Backend  string `json:"backend"`
		Bindings []struct {
			Backend string  `json:"backend"`
			Until   *string `json:"until"`
		} `json:"bindings"`
	}
	var list struct {
		Data []said `json:"data"`
	}
	if err := errors.Join(w.ask(&th, "GET", "/v1/threads/"+r.id, nil), w.ask(&list, "GET", "/v1/threads/"+r.id+"/messages?limit=200", nil)); err != nil {
		return 0, err
	}
	open := 0
	for _, b := range th.Bindings {
		if b.Until == nil {
			open++
		}
	}
	if last := th.Bindings[len(th.Bindings)-1]; open != 1 || last.Until != nil || last.Backend != backend || th.Backend != backend {
		return 0, fmt.Errorf("want it at %s: %+v", backend, th)
	}
	var heard []string
	for _, m := range list.Data {
		if m.Notice == "thread_moved" {
			moves++
			continue
		}
		heard = append(heard, m.Text)
	}
	if !slices.Equal(heard, r.heard) {
		return moves, fmt.Errorf("the transcript is %q, want %q", heard, r.heard)
	}
	return moves, nil
}

// knows checks that the bot that has a thread now, asked, was told all that was said to
// the one before, once.
func (w *town) knows(r *resident) error {
	before := slices.Clone(r.said)
	answer, err := w.say(r, "what do you know?")
	if err != nil {
		return err
	}
	told, _, _ := strings.Cut(answer, "[End of the context.")
	for _, text := range before {
		if n := strings.Count(told, "\nUser: "+text+"\n"); n != 1 {
			return fmt.Errorf("it was told %d times that %q: %q", n, text, answer)
		}
	}
	answer, err = w.say(r, "plainly")
	if err == nil && !strings.HasPrefix(answer, "You said: plainly\n") {
		err = fmt.Errorf("the past was told again: %q", answer)
	}
	return err
}

// moveAll moves from one backend to another, killed at later and later moments until a
// run comes to its end. It gives how often it was killed.
func (w *town) moveAll(from, to string, more ...string) (kills int) {
	w.t.Helper()
	for life := 5 * time.Millisecond; ; life *= 2 {
		ctx, cancel := context.WithTimeout(w.t.Context(), life)
		cmd := exec.CommandContext(ctx, "chatmux", append([]string{"move", "--from", from, "--to", to}, more...)...)
		cmd.Dir, cmd.Env = w.dir, environ()
		out, err := cmd.CombinedOutput()
		killed := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			return kills
		case !killed:
			w.t.Fatalf("move from %s to %s: %v\n%s", from, to, err, out)
		case life > patience:
			w.t.Fatalf("move from %s to %s does not end", from, to)
		}
		kills++
	}
}

// testThreadsMoveBetweenAllVendors moves threads from each vendor to each other and back,
// killed again and again in the middle of it.
func testThreadsMoveBetweenAllVendors(t *testing.T, store string, n int) {
	w := newTown(t, store)
	w.serve()
	all := w.settle(n)
	if !w.postgres {
		w.stop() // a SQLite file is one process's
	}
	kills := 0
	for _, from := range w.vendors {
		for _, to := range w.vendors {
			if from != to {
				kills += w.moveAll(from, to, "--user", from+"-"+to)
			}
		}
	}
	t.Logf("killed %d times", kills)
	if !w.postgres {
		w.serve()
	}
	w.each(all, func(r *resident) error {
		moves, err := w.where(r, r.to)
		if err == nil && moves != 1 {
			err = fmt.Errorf("it moved %d times", moves)
		}
		return errors.Join(err, w.knows(r))
	})
	if !w.postgres {
		w.stop()
	}
	for _, from := range w.vendors {
		for _, to := range w.vendors {
			if from != to {
				goesWell(t, w.dir, "move", "--from", to, "--to", from, "--user", from+"-"+to)
			}
		}
	}
	if !w.postgres {
		w.serve()
	}
	w.each(all, func(r *resident) error {
		moves, err := w.where(r, r.from)
		if err == nil && moves != 2 {
			err = fmt.Errorf("it moved %d times", moves)
		}
		answer, askErr := w.say(r, "and you?")
		_, told, _ := strings.Cut(answer, ":]\n") // the turns that it has not seen
		if want := bot.Answer(3, r.said[0], ""); !strings.HasSuffix(answer, want[strings.Index(want, "\n"):]) || !strings.HasPrefix(told, "User: what do you know?\n") {
			err = errors.Join(err, fmt.Errorf("the old conversation was not taken up again: %q", answer))
		}
		return errors.Join(err, askErr)
	})
}

func TestThreadsMoveBetweenAllVendorsThoughKilledInTheMiddle(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		testThreadsMoveBetweenAllVendors(t, "sqlite:"+filepath.Join(t.TempDir(), "chatmux.db"), 48)
	})
	t.Run("postgres", func(t *testing.T) { testThreadsMoveBetweenAllVendors(t, pgtest.Database(t), 48) })
}

func TestAFileThatAServerHasIsMovedThroughTheServer(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	all := w.settle(8)
	refused := runHere(t, w.dir, "", "move", "--from", "docs-bot", "--to", "helpdesk")
	if refused.status != exitFailed {
		t.Errorf("status %d", refused.status)
	}
	says(t, refused.stderr, "in use by another process", "add --server "+w.url)

	dry := runHere(t, w.dir, "", "move", "--from", "docs-bot", "--to", "helpdesk", "--server", w.url, "--dry-run")
	if dry.status != 0 || dry.stdout != "2 threads would move from docs-bot to helpdesk.\n" {
		t.Errorf("dry run: %+v", dry)
	}
	for run, want := range []string{`"moved": 2`, `"moved": 0`} { // the second finds nothing to do
		got := runHere(t, w.dir, "", "move", "--from", "docs-bot", "--to", "helpdesk", "--server", w.url, "--json")
		if got.status != 0 || !strings.Contains(got.stdout, want) || run == 0 && !strings.Contains(got.stdout, `"primer": 2`) {
			t.Errorf("run %d: %+v", run+1, got)
		}
	}
	for _, r := range all {
		if r.from != "docs-bot" {
			continue
		}
		r.to = "helpdesk"
		if _, err := w.where(r, "helpdesk"); err != nil {
			t.Error(err)
		}
		if err := w.knows(r); err != nil {
			t.Error(err)
		}
	}
}

func TestThreadsMoveWhilePeopleTalk(t *testing.T) {
	w := newTown(t, pgtest.Database(t)) // on which it works beside servers
	w.serve()
	var list []*resident
	for range 24 {
		list = append(list, &resident{from: "helpdesk", to: "docs-bot"})
	}
	w.each(list, func(r *resident) error {
		_, err := w.say(r, "my name is Rosa")
		return err
	})
	moved := make(chan result, 1)
	go func() { moved <- runHere(t, w.dir, "", "move", "--from", "helpdesk", "--to", "docs-bot", "--json") }()
	w.each(list, func(r *resident) error {
		for n := range 8 {
			if err := w.saysAtLast(r, fmt.Sprint("message ", n)); err != nil {
				return err
			}
		}
		return nil
	})
	if got := <-moved; got.status != 0 || !strings.Contains(got.stdout, `"moved": 24`) {
		t.Errorf("%+v", got)
	}
	w.each(list, func(r *resident) error {
		moves, err := w.where(r, r.to)
		if err == nil && moves != 1 {
			err = fmt.Errorf("it moved %d times", moves)
		}
		return err
	})
}

// saysAtLast says something in a thread that may be about to move.
func (w *town) saysAtLast(r *resident, text string) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, err := w.say(r, text)
		var busy *problem
		if !errors.As(err, &busy) || busy.Code != "thread_busy" || time.Now().After(end) {
			return err
		}
	}
}

func TestMoveRefusesWhatItCannotMean(t *testing.T) {
	dir := folder(t, shippedConfig(t))
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--to", "docs-bot"}, "--from is needed"},
		{[]string{"--from", "docs-bot", "--to", "doks-bot"}, `--to: there is no backend "doks-bot": there are `},
		{[]string{"--from", "docs-bot", "--to", "docs-bot"}, "the same backend"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--carry", "all"}, "--carry must be transcript or none"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--since", "yesterday"}, "write a day as 2026-03-04"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--since", "2026-03-05", "--until", "2026-03-04"}, "--until must lie after --since"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--tenant", "a", "--server", "http://127.0.0.1:1"}, "the key says whose"},
	} {
		got := runHere(t, dir, "", append([]string{"move"}, tt.args...)...)
		if got.status != exitRefused || !strings.Contains(got.stderr, tt.says) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
	got := runHere(t, dir, "", "move", "--from", "docs-bot", "--to", "helpdesk")
	if got.status != exitFailed || !strings.Contains(got.stderr, "cannot be read") {
		t.Errorf("without a store: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "chatmux.db")); err == nil {
		t.Error("what is refused has made a store")
	}
}
