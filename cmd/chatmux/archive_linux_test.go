package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestImportShowsABarOnATerminalAndLinesInAPipe imports as much as takes some time.
func TestImportShowsABarOnATerminalAndLinesInAPipe(t *testing.T) {
	dir := folder(t, echoConfig("127.0.0.1:0", "sqlite:chatmux.db", ""))
	var file strings.Builder
	const threads = 3000
	fmt.Fprintln(&file, `{"kind":"archive","version":1}`)
	for i := range threads {
		thread := fmt.Sprintf("thr_%026d", i)
		fmt.Fprintf(&file, `{"kind":"thread","tenant":"default","id":%q,"mode":"ai","status":"open","created_at":"2026-03-04T10:15:31Z","updated_at":"2026-03-04T10:15:31Z"}`+"\n", thread)
		fmt.Fprintf(&file, `{"kind":"message","id":"msg_%026d","thread_id":%q,"role":"user","type":"text","status":"sent","text":%q}`+"\n", i, thread, strings.Repeat("word ", 100))
	}
	if err := os.WriteFile(filepath.Join(dir, "big.jsonl"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startInTerminal(t, dir, "import", "big.jsonl")
	s.sees("importing")
	s.sees("%")
	s.sees("big.jsonl: 3000 threads with 3000 messages")
	if status := s.waits(); status != 0 {
		t.Errorf("status %d", status)
	}
	piped := goesWell(t, dir, "import", "big.jsonl")
	if strings.ContainsAny(piped.stdout+piped.stderr, "\r\x1b") || !strings.Contains(piped.stdout, "3000 threads that are here already") {
		t.Errorf("in a pipe: %+v", piped)
	}
}

func TestExportWritesToADeviceAsItIs(t *testing.T) {
	w := newTown(t, "sqlite:chatmux.db")
	w.serve()
	w.stop()
	pipe := filepath.Join(w.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(pipe)
		if err != nil {
			b = []byte(err.Error())
		}
		read <- string(b)
	}()
	goesWell(t, w.dir, "export", "--out", "pipe")
	if got := <-read; got != `{"kind":"archive","version":1,"program":"chatmux","more":false}`+"\n" {
		t.Errorf("the pipe gave %q", got)
	}
	if after, err := os.Stat(pipe); err != nil || after.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe is %v now, %v", after, err)
	}
}
