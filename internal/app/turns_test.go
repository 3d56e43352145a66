package app_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"chatmux/internal/sandbox/bot"
)

func TestThreeTurnsWithEachVendorShowItsMemory(t *testing.T) {
	onEachStore(t, testThreeTurnsWithEachVendorShowItsMemory)
}

func testThreeTurnsWithEachVendorShowItsMemory(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
	for _, backend := range []string{"parcel-desk", "docs-bot", "helpdesk", "own-llm"} {
		t.Run(backend, func(t *testing.T) {
			said := []string{"Is my order on its way?", "And when will it come?", "Thank you!"}
			first := read[turn](t, h.call("POST", "/v1/messages", object{"text": said[0], "backend": backend}), 200)
			turns := []turn{first}
			for _, text := range said[1:] {
				turns = append(turns, read[turn](t, h.call("POST", "/v1/threads/"+first.Thread.ID+"/messages", object{"text": text}), 200))
			}
			var want []string
			for i, got := range turns {
				answer := bot.Answer(i+1, said[0], said[i])
				want = append(want, said[i], answer)
				if len(got.Replies) != 1 || got.Replies[0].Text != answer {
					t.Fatalf("turn %d: replies %+v, want %q", i+1, got.Replies, answer)
				}
				if got.Message.Status != "sent" || got.Replies[0].Status != "complete" || got.Replies[0].InReplyTo != got.Message.ID {
					t.Errorf("turn %d: message %+v, reply %+v", i+1, got.Message, got.Replies[0])
				}
				if got.Thread.Backend != backend || got.Thread.MessageCount != 2*(i+1) {
					t.Errorf("turn %d: thread %+v", i+1, got.Thread)
				}
			}
			var stored []string
			for _, m := range h.transcript(first.Thread.ID) {
				stored = append(stored, m.Text)
			}
			if strings.Join(stored, "\x00") != strings.Join(want, "\x00") {
				t.Errorf("transcript %q, want %q", stored, want)
			}
			if n := len(turns[2].Thread.Bindings); n != 1 {
				t.Errorf("%d bindings, want 1: %+v", n, turns[2].Thread.Bindings)
			}
		})
	}
}

// TestTranscriptsOfManyLanguagesAreByteEqual sends the Universal Declaration of
// Human Rights in some forty languages, a thousand threads at once over all
// three vendors, and reads every transcript back.
func TestTranscriptsOfManyLanguagesAreByteEqual(t *testing.T) {
	onEachStore(t, testTranscriptsOfManyLanguagesAreByteEqual)
}

func testTranscriptsOfManyLanguagesAreByteEqual(t *testing.T, newStore storeMaker) {
	data, err := os.ReadFile("testdata/udhr.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for line := range strings.Lines(string(data)) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		texts = append(texts, text)
	}
	dsn := newStore(t)
	h := startHouse(t, fmt.Sprintf(vendors, dsn))
	backends := []string{"parcel-desk", "docs-bot", "helpdesk"}
	threads, workers := 1000, 24
	if !strings.HasPrefix(dsn, "sqlite:") {
		threads, workers = 200, 8 // what differs between the stores shows with fewer
	}
	talk := func(i int) error {
		first, second := texts[i%len(texts)], texts[(i*7+3)%len(texts)]+"\n"+texts[(i*13+5)%len(texts)]
		var opened turn
		if err := h.into(&opened, "POST", "/v1/messages", object{"text": first, "backend": backends[i%3], "user": object{"id": fmt.Sprint("u", i)}}); err != nil {
			return err
		}
		var next turn
		if err := h.into(&next, "POST", "/v1/threads/"+opened.Thread.ID+"/messages", object{"text": second}); err != nil {
			return err
		}
		var list struct{ Data []message }
		if err := h.into(&list, "GET", "/v1/threads/"+opened.Thread.ID+"/messages", nil); err != nil {
			return err
		}
		want := []string{first, bot.Answer(1, first, first), second, bot.Answer(2, first, second)}
		if len(list.Data) != len(want) {
			return fmt.Errorf("%d messages, want %d", len(list.Data), len(want))
		}
		for j, m := range list.Data {
			if m.Text != want[j] {
				return fmt.Errorf("message %d is %q, want %q", j, m.Text, want[j])
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	jobs := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range jobs {
				if err := talk(i); err != nil {
					t.Errorf("thread %d: %v", i, err)
				}
			}
		})
	}
	for i := range threads {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
}

// into makes one request and decodes its answer, which must be a success.
func (h *house) into(v any, method, path string, body any) error {
	a, err := h.try(method, path, body)
	if err != nil {
		return err
	}
	if a.status != 200 {
		return fmt.Errorf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}
