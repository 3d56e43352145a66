package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

const plantedKey = "planted-openai-key"

// watched reads a stream, and gives what it shows.
func watched(body io.Reader) (shown []string, reply adapters.Reply, err error) {
	head := vendorhttp.Answer{Status: 200}
	reply, err = collect(vendorhttp.NewTelling(body, head, endWord, func(d adapters.Delta) error {
		shown = append(shown, d.Text)
		return nil
	}), head, normalize.NewSecret(plantedKey))
	return shown, reply, err
}

// streams are the bodies of the golden files that are streams.
func streams(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/stream_*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	list := map[string]string{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			if head, body, _ := strings.Cut(string(part.Data), "\n"); part.Name == "answer" && strings.Contains(head, "event-stream") {
				list[filepath.Base(file)] = strings.TrimSuffix(body, "\n")
			}
		}
	}
	return list
}

// S02, S03: of every stream that is whole, no beginning is.
func TestNoPartOfAStreamIsWhole(t *testing.T) {
	whole := 0
	for name, stream := range streams(t) {
		if _, _, err := watched(strings.NewReader(stream)); err != nil {
			continue
		}
		whole++
		for n := range stream {
			shown, reply, err := watched(strings.NewReader(stream[:n]))
			var e *normalize.Error
			if !errors.As(err, &e) || e.Kind != normalize.KindTruncated {
				// The words that are passed over are all that some beginnings hold.
				if e == nil || e.Kind != normalize.KindInvalidReply || reply.Skipped == 0 || len(shown) > 0 {
					t.Fatalf("%s, cut at %d of %d: %v, %+v", name, n, len(stream), err, reply)
				}
			}
		}
	}
	if whole < 10 {
		t.Errorf("only %d streams are whole", whole)
	}
}

// FuzzStreamReply: whatever the server streams, the reply is only complete with
// [DONE] after a finish_reason; what was shown is what is kept; and in whatever
// pieces the bytes come, it is the same.
func FuzzStreamReply(f *testing.F) {
	for _, stream := range streams(f) {
		f.Add([]byte(stream))
	}
	f.Add([]byte("data: {\"error\":\"" + plantedKey + "\"}\n\n"))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"\xf0\x9f\"}},{\"delta\":{\"content\":\"\x99\x82\"},\"finish_reason\":\"x\"}]}\n\ndata: [DONE]\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		shown, reply, err := watched(bytes.NewReader(stream))
		if err == nil && !saysDone(stream) {
			t.Errorf("complete, without [DONE] after a finish_reason: %+v", reply)
		}
		kept := ""
		for _, m := range reply.Messages {
			kept += m.Text
			if m.Text == "" || (err == nil) != (m.Status == normalize.StatusComplete) || m.Raw != nil && !json.Valid(m.Raw) {
				t.Errorf("beside %v there is %+v", err, m)
			}
		}
		if strings.Join(shown, "") != kept || err == nil && len(reply.Messages) != 1 {
			t.Errorf("shown was %q, kept is %q", shown, kept)
		}
		for _, d := range shown {
			if d == "" || !utf8.ValidString(d) || strings.ContainsRune(d, 0) {
				t.Errorf("shown was %q", shown)
			}
		}
		var e *normalize.Error
		if err != nil && (!errors.As(err, &e) || e.Kind == normalize.KindInternal || (e.Phase == normalize.PhaseContent) != (len(shown) > 0)) {
			t.Errorf("after %d deltas: %+v", len(shown), err)
		}
		if err != nil && strings.Contains(err.Error(), plantedKey) {
			t.Errorf("the key is in %v", err)
		}
		again, same, againErr := watched(iotest.OneByteReader(bytes.NewReader(stream)))
		if diff := cmp.Diff(shown, again) + cmp.Diff(reply, same); diff != "" || (err == nil) != (againErr == nil) {
			t.Errorf("byte by byte: %v in place of %v:\n%s", againErr, err, diff)
		}
	})
}

// saysDone looks for the two parts of the end mark, and no closer.
func saysDone(stream []byte) bool {
	events := vendorhttp.NewEvents(bytes.NewReader(stream))
	reason := false
	for {
		event, err := events.Next()
		if err != nil {
			return false
		}
		if reason && strings.TrimSpace(string(event.Data)) == "[DONE]" {
			return true
		}
		// The name may be written with escapes.
		reason = reason || bytes.Contains(event.Data, []byte("finish_reason")) || bytes.Contains(event.Data, []byte(`\u`))
	}
}

// BenchmarkStream is an answer of 1,000 deltas, from its bytes to whoever watches.
func BenchmarkStream(b *testing.B) {
	const deltas = 1000
	const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"some-model-2026-02-01",` +
		`"choices":[{"index":0,"delta":{"content":"We open "},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	body := strings.Repeat(chunk, deltas-1) + strings.Replace(chunk, `"finish_reason":null`, `"finish_reason":"stop"`, 1) + "data: [DONE]\n\n"
	head := vendorhttp.Answer{Status: 200}
	emit := func(adapters.Delta) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := collect(vendorhttp.NewTelling(strings.NewReader(body), head, endWord, emit), head, normalize.Secret{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*deltas), "ns/delta")
}
