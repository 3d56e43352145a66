package app_test

import (
	"fmt"
	"testing"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

type planned struct {
	Threads  int `json:"threads"`
	Messages int `json:"messages"`
	Features []struct {
		Feature  string   `json:"feature"`
		Verdict  string   `json:"verdict"`
		Threads  int      `json:"threads"`
		Messages int      `json:"messages"`
		Examples []string `json:"examples"`
	} `json:"features"`
}

// of says of a feature how it is judged and how many threads and messages have it.
func (p planned) of(feature string) string {
	for _, f := range p.Features {
		if f.Feature == feature {
			return fmt.Sprint(f.Verdict, " ", f.Threads, " ", f.Messages)
		}
	}
	return "no such feature"
}

func TestAPlanCountsTheThreadsThatThereAre(t *testing.T) {
	onEachStore(t, testAPlanCountsTheThreadsThatThereAre)
}

func testAPlanCountsTheThreadsThatThereAre(t *testing.T, newStore storeMaker) {
	dsn := newStore(t)
	s, err := store.Open(t.Context(), dsn, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const threads = 450 // more than are read at once
	begin := time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)
	number := 0
	id := func(prefix string) string {
		number++
		return normalize.FormatID(prefix, [16]byte{0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, byte(number >> 16), byte(number >> 8), byte(number)})
	}
	var batch []store.Arrival
	for i := range threads {
		at := begin.Add(time.Duration(i) * time.Minute)
		th := normalize.Thread{
			ID: id(normalize.PrefixThread), Tenant: "default", Backend: "docs-bot", Route: "default", Mode: normalize.ModeAI, Status: normalize.ThreadOpen,
			Bindings:  []normalize.Binding{{Backend: "docs-bot", Vendor: "sitegpt", Bot: "365062873485935184", Since: at, Reason: "routed"}},
			CreatedAt: at, UpdatedAt: at,
		}
		if i%10 == 0 {
			th.Backend, th.Bindings[0].Backend = "helpdesk", "helpdesk" // not of those that would move
		}
		if i%3 == 0 {
			th.Title = "a title"
		}
		if i == 5 {
			th.Tenant = "another"
		}
		messages := 2
		if i == 7 {
			messages = 2500 // more than are read at once
		}
		var said []normalize.Message
		for n := range messages {
			m := normalize.Message{ID: id(normalize.PrefixMessage), ThreadID: th.ID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: "hé", Status: normalize.StatusSent, Backend: th.Backend, CreatedAt: at}
			if n%2 == 1 {
				m.Role, m.Status, m.Suggestions = normalize.RoleAssistant, normalize.StatusComplete, []normalize.Suggestion{{Text: "more"}}
			}
			said = append(said, m)
		}
		batch = append(batch, store.Arrival{Thread: store.StoredThread{Thread: th}, Messages: said})
		if len(batch) == 50 {
			if err := s.Import(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	h := startHouse(t, fmt.Sprintf(vendors, dsn))
	ask := func(query string) planned {
		t.Helper()
		return read[planned](t, h.call("GET", "/v1/plan?from=docs-bot&to=own-llm"+query, nil), 200)
	}
	all := ask("")
	const theirs = threads - threads/10 - 1
	if all.Threads != theirs || all.Messages != theirs*2+2498 {
		t.Errorf("%d threads with %d messages, want %d with %d", all.Threads, all.Messages, theirs, theirs*2+2498)
	}
	for feature, want := range map[string]string{
		"transcript": fmt.Sprint("kept ", theirs, " 0"), "suggestions": fmt.Sprint("lost ", theirs, " ", theirs+1249),
		"titles": "kept 135 0", "context": fmt.Sprint("kept ", theirs, " 0"), "context beyond the limit": "lost 1 0",
	} {
		if got := all.of(feature); got != want {
			t.Errorf("%s: %s, want %s", feature, got, want)
		}
	}
	if some := ask("&since=2026-03-04T10:01:00Z&until=2026-03-04T10:05:00Z"); some.Threads != 4 || some.Messages != 8 {
		t.Errorf("of four minutes: %d threads with %d messages", some.Threads, some.Messages)
	}
	if none := ask("&route=chain"); none.Threads != 0 || len(none.Features) != len(all.Features) {
		t.Errorf("of another route: %+v", none)
	}
	for _, query := range []string{"", "?from=docs-bot", "?from=docs-bot&to=nobody", "?from=docs-bot&to=echo&since=2026-03-04", "?from=docs-bot&to=echo&since=2026-03-05T00:00:00Z&until=2026-03-04T00:00:00Z"} {
		if p := read[problem](t, h.call("GET", "/v1/plan"+query, nil), 422); p.Code != "invalid_request" {
			t.Errorf("%s: %+v", query, p)
		}
	}
}
