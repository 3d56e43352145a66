package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmux/internal/migration"
	"chatmux/internal/pgtest"
	"chatmux/internal/sandbox"
	"chatmux/internal/sandbox/bot"
)

// importArgs are how a vendor's history is imported: by the ids of conversations
// where the vendor does not list them.
func (w *town) importArgs(backend string, all []*resident) []string {
	w.t.Helper()
	args := []string{"--backend", backend}
	if backend != "parcel-desk" {
		return args
	}
	ids := "# the conversations of " + backend + "\n\n"
	for _, r := range all {
		if r.from == backend {
			ids += r.remote + "\n"
		}
	}
	file := filepath.Join(w.dir, "ids.txt")
	if err := os.WriteFile(file, []byte(ids), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return append(args, "--threads", file)
}

// imports runs chatmux import and gives its report.
func (w *town) imports(args ...string) migration.Import {
	w.t.Helper()
	got := runHere(w.t, w.dir, "", append([]string{"import", "--json"}, args...)...)
	var report migration.Import
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.status != 0 {
		w.t.Fatalf("import %v: %+v", args, got)
	}
	return report
}

// importKilled imports, killed at later and later moments until a run comes to its end.
func (w *town) importKilled(args ...string) (kills int) {
	w.t.Helper()
	for life := 10 * time.Millisecond; ; life *= 2 {
		ctx, cancel := context.WithTimeout(w.t.Context(), life)
		cmd := exec.CommandContext(ctx, "chatmux", append([]string{"import"}, args...)...)
		cmd.Dir, cmd.Env = w.dir, environ()
		out, err := cmd.CombinedOutput()
		killed := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
			return kills
		case !killed:
			w.t.Fatalf("import %v: %v\n%s", args, err, out)
		case life > patience:
			w.t.Fatalf("import %v does not end", args)
		}
		kills++
	}
}

// told is a thread of a server with its messages, as far as an import has to bring it
// along.
type told struct {
	ID       string `json:"id"`
	Backend  string `json:"backend"`
	Bindings []struct {
		Backend  string  `json:"backend"`
		RemoteID string  `json:"remote_id"`
		Until    *string `json:"until"`
		Reason   string  `json:"reason"`
	} `json:"bindings"`
	messages []toldMessage
}

type toldMessage struct {
	ID        string  `json:"id"`
	Role      string  `json:"role"`
	Text      string  `json:"text"`
	Status    string  `json:"status"`
	Backend   string  `json:"backend"`
	RemoteID  *string `json:"remote_id"`
	InReplyTo *string `json:"in_reply_to"`
	CreatedAt string  `json:"created_at"`
	Notice    *string `json:"notice"`
}

// tells reads all threads of a running server, by the vendors' ids of the conversation
// that each began with.
func (w *town) tells() map[string]*told {
	w.t.Helper()
	threads := make(map[string]*told)
	for cursor := ""; ; {
		var list struct {
			Data       []*told `json:"data"`
			NextCursor string  `json:"next_cursor"`
		}
		if err := w.ask(&list, "GET", "/v1/threads?limit=200&cursor="+cursor, nil); err != nil {
			w.t.Fatal(err)
		}
		for _, th := range list.Data {
			var messages struct {
				Data []toldMessage `json:"data"`
			}
			if err := w.ask(&messages, "GET", "/v1/threads/"+th.ID+"/messages?limit=200", nil); err != nil {
				w.t.Fatal(err)
			}
			th.messages = messages.Data
			if twice := threads[th.Bindings[0].RemoteID]; twice != nil {
				w.t.Errorf("%s and %s are one conversation", th.ID, twice.ID)
			}
			threads[th.Bindings[0].RemoteID] = th
		}
		if cursor = list.NextCursor; cursor == "" {
			return threads
		}
	}
}

// said is what a transcript holds, one line a message, notices left out.
func (th *told) said() []string {
	var lines []string
	for _, m := range th.messages {
		if m.Notice == nil {
			lines = append(lines, fmt.Sprintf("%s (%s, %s): %s", m.Role, m.Status, m.Backend, m.Text))
		}
	}
	return lines
}

func TestHistoryComesFromTheVendorsThoughKilledInTheMiddle(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testHistoryComesFromTheVendors(t, "sqlite:chatmux.db", "sqlite:chatmux.db") })
	t.Run("postgres", func(t *testing.T) { testHistoryComesFromTheVendors(t, pgtest.Database(t), pgtest.Database(t)) })
}

func testHistoryComesFromTheVendors(t *testing.T, store, otherStore string) {
	w := newTown(t, store)
	w.serve()
	all := w.settle(24)
	before := w.tells()
	for remote, th := range before {
		for _, r := range all {
			if r.id == th.ID {
				r.remote = remote
			}
		}
	}
	w.stop()

	other := w.another(otherStore) // an empty store in front of the same vendors
	kills := 0
	for _, backend := range w.vendors {
		args := other.importArgs(backend, all)
		dry := other.imports(append(args, "--dry-run")...)
		if dry.Conversations != 6 || dry.Created != 6 || dry.Messages != 24 || len(dry.Skipped) != 0 {
			t.Errorf("%s: the dry run says %+v", backend, dry)
		}
		kills += other.importKilled(args...)
		if again := other.imports(args...); again.Unchanged != 6 || again.Created+again.Completed+again.Messages+len(again.Skipped) != 0 || again.Resumed {
			t.Errorf("%s: a second import says %+v", backend, again)
		}
	}
	t.Logf("killed %d times", kills)

	other.serve()
	imported := other.tells()
	if len(imported) != len(before) {
		t.Fatalf("%d threads were imported, want %d", len(imported), len(before))
	}
	for remote, want := range before {
		got := imported[remote]
		if got == nil {
			t.Fatalf("the conversation %s of %s was not imported", remote, want.Backend)
		}
		if !slices.Equal(got.said(), want.said()) {
			t.Errorf("imported of %s:\n%q\nwant\n%q", want.Backend, got.said(), want.said())
		}
		if b := got.Bindings; len(b) != 1 || b[0].Until != nil || b[0].Backend != want.Backend || b[0].Reason != "imported" {
			t.Errorf("the bindings are %+v", b)
		}
		for i, m := range got.messages {
			w := want.messages[i]
			if m.RemoteID == nil || w.RemoteID != nil && *w.RemoteID != *m.RemoteID {
				t.Errorf("the remote id of message %d at %s is %v, want %v", i, want.Backend, m.RemoteID, w.RemoteID)
			}
			if i > 0 && m.CreatedAt < got.messages[i-1].CreatedAt && want.Backend != "docs-bot" && want.Backend != "docs-v2" { // whose pairs are not in order
				t.Errorf("message %d of %s is older than the one before", i, want.Backend)
			}
			if m.Role == "assistant" && (m.InReplyTo == nil || *m.InReplyTo != got.messages[i-1].ID) {
				t.Errorf("the answer %d of %s is to %v", i, want.Backend, m.InReplyTo)
			}
		}
	}

	// What is said goes on in the same conversations, and the first house learns of it.
	byOther := make([]*resident, len(all))
	for i, r := range all {
		moved := *r
		moved.id = imported[r.remote].ID
		byOther[i] = &moved
	}
	other.each(byOther, func(r *resident) error {
		answer, err := other.say(r, "and now?")
		if want := bot.Answer(3, r.said[0], "and now?"); answer != want {
			err = errors.Join(err, fmt.Errorf("the answer is %q, want %q", answer, want))
		}
		return err
	})
	theirs := other.tells()
	other.stop()
	for _, backend := range w.vendors {
		args := w.importArgs(backend, all)
		if got := w.imports(args...); got.Completed != 6 || got.Messages != 12 || got.Created != 0 || len(got.Skipped) != 0 {
			t.Errorf("%s: what was said elsewhere: %+v", backend, got)
		}
		if again := w.imports(args...); again.Unchanged != 6 {
			t.Errorf("%s: again: %+v", backend, again)
		}
	}
	w.serve()
	after := w.tells()
	for remote, th := range after {
		if th.ID != before[remote].ID || len(after) != len(before) {
			t.Errorf("the conversation %s is another thread now", remote)
		}
		if !slices.Equal(th.said(), theirs[remote].said()) {
			t.Errorf("completed at %s:\n%q\nwant\n%q", th.Backend, th.said(), theirs[remote].said())
		}
	}

	// Also threads that moved, primers and all, are known again at both vendors.
	var moving []*resident
	for _, r := range all {
		if r.from == "helpdesk" && r.to == "docs-bot" || r.from == "docs-bot" && r.to == "helpdesk" {
			moving = append(moving, r)
		}
	}
	w.each(moving, func(r *resident) error {
		var th threadHead
		if err := w.ask(&th, "POST", "/v1/threads/"+r.id+"/move", map[string]any{"backend": r.to, "carry": "transcript"}); err != nil {
			return err
		}
		_, err := w.say(r, "what do you know?")
		return err
	})
	full := w.tells()
	w.stop()
	for _, backend := range []string{"helpdesk", "docs-bot"} {
		// The one conversation more that each has is known as part of a thread; of the
		// moved messages only what the vendor alone knows is added.
		if got := w.imports("--backend", backend); got.Created != 0 || got.Messages != 0 || got.Conversations != 6+len(moving)/2 {
			t.Errorf("%s: %+v", backend, got)
		}
	}
	w.serve()
	for remote, th := range w.tells() {
		if !slices.Equal(th.said(), full[remote].said()) {
			t.Errorf("after the import of moved threads:\n%q\nwant\n%q", th.said(), full[remote].said())
		}
	}
}

func TestAnImportWaitsForAVendorThatCannotAnswerNow(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(8)
	w.stop()
	other := w.another("sqlite:other.db")
	w.twins["helpdesk"].Script(sandbox.MustScript("1x status 429 retry-after=1; 1x reset; 1x status 503; 2x ok; 1x status 500")...)
	got := other.imports("--backend", "helpdesk")
	if got.Created != 2 || got.Messages != 8 || len(got.Skipped) != 0 {
		t.Errorf("the report is %+v", got)
	}
	w.twins["docs-bot"].Script(sandbox.MustScript("always status 401")...)
	refused := runHere(t, other.dir, "", "import", "--backend", "docs-bot")
	if refused.status != exitFailed {
		t.Errorf("status %d", refused.status)
	}
	says(t, refused.stderr, "give the same command again to go on")
}

func TestAnImportTakesWhatWasAskedFor(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(8)
	w.stop()
	other := w.another("sqlite:other.db")
	if got := other.imports("--backend", "docs-bot", "--until", "2020-01-01"); got.Created != 0 || len(got.Skipped) != 1 || got.Skipped[0].Count != 2 {
		t.Errorf("before the first: %+v", got)
	}
	if got := other.imports("--backend", "docs-bot", "--since", "2020-01-01", "--tenant", "acme"); got.Created != 2 || got.Tenant != "acme" {
		t.Errorf("since then: %+v", got)
	}
	if got := other.imports("--backend", "docs-bot"); got.Created != 0 || len(got.Skipped) != 1 || got.Skipped[0].What != "another tenant has them" {
		t.Errorf("what another tenant has: %+v", got)
	}
	file := filepath.Join(other.dir, "ids.txt")
	if err := os.WriteFile(file, []byte("a1b2c3d4-0000-7000-8000-000000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := other.imports("--backend", "parcel-desk", "--threads", file); got.Created != 0 || len(got.Skipped) != 1 {
		t.Errorf("what the vendor does not know: %+v", got)
	}
	table := runHere(t, other.dir, "", "import", "--backend", "helpdesk")
	says(t, table.stdout, "2 conversations of helpdesk:\n", "2  new threads", "8  new messages", "Not kept:\n", "answers, whether a human's or the bot's: the vendor does not tell")
}

func TestRecordsAreImportedByTheirDays(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(8)
	w.stop()
	other := w.another("sqlite:other.db")
	args := []string{"import", "--backend", "helpdesk", "--records", "--since", time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)}
	w.twins["helpdesk"].Script(sandbox.MustScript("1x status 429 retry-after=1")...)
	first := runHere(t, other.dir, "", args...)
	says(t, first.stdout, "the records of helpdesk: 4 threads with 8 messages\n", "imported   4 threads, 8 messages")
	second := runHere(t, other.dir, "", append(args, "--json")...)
	says(t, second.stdout, `"unchanged": 4`)
	old := runHere(t, other.dir, "", append(args[:len(args)-1], "2020-01-01", "--until", "2020-01-02")...)
	says(t, old.stdout, "the records of helpdesk: 0 threads")
}

func TestImportRefusesWhatItCannotMean(t *testing.T) {
	dir := folder(t, shippedConfig(t))
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitRefused, "a file is needed, or --backend"},
		{[]string{"chats.jsonl", "--since", "2026-03-05"}, exitRefused, "give no file with them"},
		{[]string{"--backend", "doks-bot"}, exitRefused, `--backend: there is no backend "doks-bot"`},
		{[]string{"--backend", "docs-bot", "--since", "2026-03-05", "--until", "2026-03-04"}, exitRefused, "--until must lie after --since"},
		{[]string{"--backend", "docs-bot", "--threads", "nowhere.txt"}, exitFailed, "nowhere.txt"},
		{[]string{"--backend", "helpdesk", "--records"}, exitRefused, "--records needs --since"},
		{[]string{"--backend", "docs-bot", "--records", "--since", "2026-03-04"}, exitFailed, "keeps no record"},
		{[]string{"--backend", "own-llm"}, exitFailed, "does not list conversations"},
		{[]string{"--backend", "parcel-desk"}, exitFailed, "give their ids"},
	} {
		got := runHere(t, dir, "", append([]string{"import"}, tt.args...)...)
		if got.status != tt.status || !strings.Contains(got.stderr, tt.says) {
			t.Errorf("%v: %+v", tt.args, got)
		}
		if strings.Contains(got.stderr, "same command again") {
			t.Errorf("%v: asking again does not help, and it says so: %s", tt.args, got.stderr)
		}
	}
}
