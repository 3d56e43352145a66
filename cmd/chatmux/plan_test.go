package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatmux/internal/migration"
)

func TestAPlanIsTheSameFromTheStoreAndFromAServer(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(8)
	refused := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk")
	if refused.status != exitFailed {
		t.Errorf("status %d", refused.status)
	}
	says(t, refused.stderr, "in use by another process", "add --server "+w.url)
	served := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk", "--server", w.url, "--json")
	table := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk", "--server", w.url)
	w.stop()

	stored := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk", "--json")
	var a, b migration.Report
	if err := json.Unmarshal([]byte(served.stdout), &a); err != nil {
		t.Fatalf("%v: %+v", err, served)
	}
	if err := json.Unmarshal([]byte(stored.stdout), &b); err != nil {
		t.Fatalf("%v: %+v", err, stored)
	}
	a.CreatedAt = b.CreatedAt
	one, _ := json.Marshal(a)
	other, _ := json.Marshal(b)
	if string(one) != string(other) || a.Threads != 2 || a.Messages != 8 {
		t.Errorf("from the server:\n%s\nfrom the store:\n%s", one, other)
	}
	if again := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk"); again.stdout != table.stdout || again.status != 0 {
		t.Errorf("the tables differ:\n%s\n%s", table.stdout, again.stdout)
	}
	says(t, table.stdout, "2 threads with 8 messages would move from docs-bot (sitegpt) to helpdesk (conversations).", "transcript ", "No thread has: ")

	file := filepath.Join(w.dir, "plan.html")
	if got := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk", "--html", file); got.status != 0 {
		t.Errorf("%+v", got)
	}
	if page, err := os.ReadFile(file); err != nil || !strings.Contains(string(page), "<title>From docs-bot to helpdesk</title>") {
		t.Errorf("%v: %s", err, page)
	}
	if got := runHere(t, w.dir, "", "plan", "--from", "docs-bot", "--to", "helpdesk", "--tenant", "nobody"); !strings.HasPrefix(got.stdout, "0 threads ") {
		t.Errorf("of a tenant without threads: %+v", got)
	}
}

func TestPlanRefusesWhatItCannotMean(t *testing.T) {
	dir := folder(t, shippedConfig(t))
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--from", "docs-bot"}, "--to is needed"},
		{[]string{"--from", "docs-bott", "--to", "helpdesk"}, `--from: there is no backend "docs-bott"`},
		{[]string{"--from", "docs-bot", "--to", "docs-bot"}, "the same backend"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--json", "--html", "x.html"}, "not both"},
		{[]string{"--from", "docs-bot", "--to", "helpdesk", "--tenant", "a", "--server", "http://127.0.0.1:1"}, "the key says whose"},
	} {
		got := runHere(t, dir, "", append([]string{"plan"}, tt.args...)...)
		if got.status != exitRefused || !strings.Contains(got.stderr, tt.says) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
}
