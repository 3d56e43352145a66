package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"chatmux/internal/sandbox"
)

func readText(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goesWell runs a command that has to.
func goesWell(t *testing.T, dir string, args ...string) result {
	t.Helper()
	got := runHere(t, dir, "", args...)
	if got.status != 0 {
		t.Fatalf("chatmux %s: %+v", strings.Join(args, " "), got)
	}
	return got
}

func TestAnExportIsTheSameFromTheStoreAndFromAServerAndComesBack(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(6)
	refused := runHere(t, w.dir, "", "export", "--out", "chats.jsonl")
	if refused.status != exitFailed {
		t.Errorf("status %d", refused.status)
	}
	says(t, refused.stderr, "in use by another process", "add --server "+w.url, "GET /v1/export")
	goesWell(t, w.dir, "export", "--out", "served.jsonl", "--server", w.url)
	w.stop()

	told := goesWell(t, w.dir, "export", "--out", "chats.jsonl")
	says(t, told.stdout, "chats.jsonl: 6 threads with 24 messages, ")
	file := readText(t, w.dir, "chats.jsonl")
	if served := readText(t, w.dir, "served.jsonl"); served != file {
		t.Errorf("the server's:\n%s\nthe store's:\n%s", served, file)
	}
	if piped := goesWell(t, w.dir, "export", "--out", "-"); piped.stdout != file {
		t.Error("on the standard output there is something else")
	}
	var result exportResult
	if err := json.Unmarshal([]byte(goesWell(t, w.dir, "export", "--out", "one.jsonl", "--json", "--user", "u-0").stdout), &result); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(w.dir, "one.jsonl")); err != nil || info.Size() != result.Bytes || info.Mode().Perm() != 0o600 {
		t.Errorf("%+v is told of %v, %v", result, info, err)
	}

	goesWell(t, w.dir, "export", "--out", "chats.csv")
	rows, err := csv.NewReader(strings.NewReader(readText(t, w.dir, "chats.csv"))).ReadAll()
	if err != nil || len(rows) != 25 {
		t.Errorf("%d rows of CSV, %v", len(rows), err)
	}
	goesWell(t, w.dir, "export", "--out", "book", "--format", "xlsx")
	book, err := excelize.OpenFile(filepath.Join(w.dir, "book"))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if rows, err := book.GetRows("messages"); err != nil || len(rows) != 25 {
		t.Errorf("%d rows of Excel, %v", len(rows), err)
	}

	other := newTown(t, "sqlite:chatmux.db")
	from := filepath.Join(w.dir, "chats.jsonl")
	says(t, goesWell(t, other.dir, "import", from, "--dry-run").stdout, "dry run", "to import", "6 threads, 24 messages")
	says(t, goesWell(t, other.dir, "import", from).stdout, "imported", "6 threads, 24 messages")
	says(t, goesWell(t, other.dir, "import", from).stdout, "unchanged", "6 threads that are here already")
	goesWell(t, other.dir, "export", "--out", "again.jsonl")
	if again := readText(t, other.dir, "again.jsonl"); again != file {
		t.Errorf("it came back as\n%s\nand was\n%s", again, file)
	}

	changed := strings.Replace(file, `"text":"`, `"text":"no: `, 1)
	if err := os.WriteFile(filepath.Join(other.dir, "changed.jsonl"), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	var report importResult
	if err := json.Unmarshal([]byte(goesWell(t, other.dir, "import", "changed.jsonl", "--json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Mapped != 1 || len(report.MappedIDs) != 1 || report.Unchanged != 5 || !strings.Contains(file, report.MappedIDs[0].From) {
		t.Errorf("%+v", report)
	}
	if err := os.WriteFile(filepath.Join(other.dir, "cut.jsonl"), []byte(file[:len(file)-40]), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := runHere(t, other.dir, "", "import", "cut.jsonl")
	says(t, cut.stderr, "cut.jsonl: line ", "it is cut short", "Nothing was imported")
	if cut.status != exitFailed {
		t.Errorf("status %d", cut.status)
	}
}

func TestARecordsFileOfTheConversationsPlatformIsImported(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.settle(8)
	twin := w.twins["helpdesk"]
	day := time.Now().UTC()
	req, err := http.NewRequest("GET", fmt.Sprintf("%s/api/chatbots/2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55/records/export-excel/?startDate=%s&endDate=%s",
		twin.URL(), day.AddDate(0, 0, -1).Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Api-Key k-conversations")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	book, err := os.Create(filepath.Join(w.dir, "records.xlsx"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := book.ReadFrom(resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	says(t, goesWell(t, w.dir, "import", "records.xlsx", "--dry-run").stdout, "4 threads, 8 messages")
	says(t, goesWell(t, w.dir, "import", "records.xlsx").stdout, "4 threads, 8 messages")
	says(t, goesWell(t, w.dir, "import", "records.xlsx").stdout, "unchanged", "4 threads")
	goesWell(t, w.dir, "export", "--out", "all.jsonl")
	says(t, readText(t, w.dir, "all.jsonl"), `"metadata":{"imported_from":"records","record_id":"`, `"status":"ended"`)
	goesWell(t, w.dir, "export", "--out", "book.xlsx")
	if got := runHere(t, w.dir, "", "import", "book.xlsx"); got.status != exitFailed || !strings.Contains(got.stderr, "the platform's records have inputMessage") {
		t.Errorf("an Excel file that is none of records: %+v", got)
	}
}

func TestErasingAPersonLeavesAReceipt(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	config := filepath.Join(w.dir, "config.yaml")
	text := strings.Replace(readText(t, config), `chatbot_id: "365062873485935184"`, `version: v2, chatbot_id: "365062873485935184"`, 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.serve()
	for _, backend := range []string{"docs-bot", "helpdesk"} {
		for _, user := range []string{"rosa", "kim"} {
			body := map[string]any{"text": "hello", "backend": backend, "user": map[string]any{"id": user}}
			var made struct{}
			if err := w.ask(&made, "POST", "/v1/messages", body); err != nil {
				t.Fatal(err)
			}
		}
	}
	says(t, runHere(t, w.dir, "", "erase", "--user", "rosa").stderr, "in use by another process", "add --server "+w.url)
	got := goesWell(t, w.dir, "erase", "--user", "rosa", "--server", w.url)
	says(t, got.stdout, "docs-bot", "deleted", "helpdesk", "not_possible")
	if again := goesWell(t, w.dir, "erase", "--user", "rosa", "--server", w.url); !strings.Contains(again.stdout, "no thread of the user rosa") {
		t.Errorf("again: %+v", again)
	}
	w.stop()

	steps, err := sandbox.ParseScript("always status 500")
	if err != nil {
		t.Fatal(err)
	}
	w.twins["docs-bot"].Script(steps...)
	failed := runHere(t, w.dir, "", "erase", "--user", "kim", "--json")
	var r receipt
	if err := json.Unmarshal([]byte(failed.stdout), &r); err != nil {
		t.Fatalf("%v: %+v", err, failed)
	}
	if failed.status != exitFailed || r.Erased != 2 || r.Queued != 1 || !strings.Contains(failed.stderr, "a running server tries them again") {
		t.Errorf("%+v says %+v", failed, r)
	}
	if rest := goesWell(t, w.dir, "export", "--out", "-"); strings.Contains(rest.stdout, "kim") || strings.Contains(rest.stdout, "hello") {
		t.Errorf("something is left:\n%s", rest.stdout)
	}
}

func TestArchiveCommandsRefuseWhatTheyCannotMean(t *testing.T) {
	dir := folder(t, shippedConfig(t))
	callers := folder(t, strings.Replace(shippedConfig(t), "\nbackends:", "\ncallers: [{name: a, key: k1}, {name: b, key: k2}]\nbackends:", 1))
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir  string
		args []string
		says string
	}{
		{dir, []string{"export"}, "--out is needed"},
		{dir, []string{"export", "--out", "x", "--format", "pdf"}, "--format must be"},
		{dir, []string{"export", "--out", "x", "--since", "2026-03-02", "--until", "2026-03-01"}, "--until must lie after --since"},
		{dir, []string{"export", "--out", "-", "--json"}, "both write"},
		{dir, []string{"import"}, "a file is needed"},
		{dir, []string{"import", "a", "b"}, "one file at a time"},
		{dir, []string{"import", "."}, "no ordinary file"},
		{dir, []string{"import", "x.jsonl", "--tenant", "a"}, "an archive says itself"},
		{dir, []string{"erase"}, "--user is needed"},
		{dir, []string{"erase", "--user", "u", "--tenant", "a", "--server", "http://127.0.0.1:1"}, "the key says whose"},
		{callers, []string{"erase", "--user", "u"}, "--tenant is needed, because the config has several: a, b"},
	} {
		got := runHere(t, tt.dir, "", tt.args...)
		if got.status != exitRefused || !strings.Contains(got.stderr, tt.says) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
	if got := runHere(t, dir, "", "export", "--out", "none.jsonl"); got.status != exitFailed || !strings.Contains(got.stderr, "cannot be read") {
		t.Errorf("a store that is not there: %+v", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*none*")); left != nil {
		t.Errorf("a failed export left %v", left)
	}
}
