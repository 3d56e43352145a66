package echo_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/adapters/echo"
	"chatmux/normalize"
)

// TestConformance is all that most of a vendor's promises take. A vendor also sets
// Key, the planted key that its Settings hold, and has no Answer of its own.
func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Vendor{
		Spec:     echo.Spec,
		Settings: func() adapters.Settings { return echo.Spec.Settings() },
		Answer:   func(_ int, _, text string) string { return text },
	})
}

// TestGolden plays sample traffic, one file a situation. For a vendor the files
// hold its documented requests and answers, word for word.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	adapter, err := echo.Spec.Open(echo.Spec.Settings(), adapters.Env{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil || len(archive.Files) != 2 {
			t.Fatalf("%s: want the files text and reply: %v", file, err)
		}
		text, want := string(archive.Files[0].Data), string(archive.Files[1].Data)
		reply, err := adapter.Send(context.Background(), adapters.Turn{Message: normalize.Message{Text: text}})
		if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != want {
			t.Errorf("%s: %+v, %v; want the reply %q", file, reply, err, want)
		}
	}
}
