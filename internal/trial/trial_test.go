package trial_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/adapters/altur"
	"chatmux/adapters/conversations"
	"chatmux/adapters/echo"
	"chatmux/adapters/openai"
	"chatmux/adapters/rest"
	"chatmux/adapters/sitegpt"
	"chatmux/internal/sandbox"
	"chatmux/internal/trial"
	"chatmux/normalize"
)

const planted = "planted-key-of-the-trial"

// live tries an adapter out at a server, and gives the verdicts by promise.
func live(t *testing.T, spec adapters.Spec, settings adapters.Settings, vendor http.Handler) map[string]trial.Result {
	t.Helper()
	if vendor != nil {
		server, err := sandbox.Start(vendor, sandbox.Options{Name: spec.Name})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		*settings.(adapters.Remote).Endpoint() = adapters.BaseURL(server.URL() + spec.TwinPath)
	}
	results := map[string]trial.Result{}
	err := trial.Live(context.Background(), trial.Subject{
		Spec: spec, Settings: settings, Total: 20 * time.Second, Env: adapters.Env{Idle: 20 * time.Second, FirstByte: 20 * time.Second, Connect: 20 * time.Second},
	}, func(r trial.Result) {
		if strings.Contains(r.Detail, planted) {
			t.Errorf("%s shows the key: %s", r.Promise, r.Detail)
		}
		results[r.Promise] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestNothingIsBrokenAtTheSimulatedVendors(t *testing.T) {
	key := normalize.NewSecret(planted)
	for _, tt := range []struct {
		name     string
		spec     adapters.Spec
		settings func() adapters.Settings
		shown    int
	}{
		{"altur", altur.Spec, func() adapters.Settings {
			s := altur.Spec.Settings().(*altur.Settings)
			s.APIKey, s.AgentID = key, "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
			return s
		}, 6},
		{"sitegpt v0", sitegpt.Spec, func() adapters.Settings {
			s := sitegpt.Spec.Settings().(*sitegpt.Settings)
			s.APIKey, s.ChatbotID = key, "365062873485935184"
			return s
		}, 8},
		{"sitegpt v2", sitegpt.Spec, func() adapters.Settings {
			s := sitegpt.Spec.Settings().(*sitegpt.Settings)
			s.APIKey, s.ChatbotID, s.Version = key, "365062873485935184", "v2"
			return s
		}, 9},
		{"conversations", conversations.Spec, func() adapters.Settings {
			s := conversations.Spec.Settings().(*conversations.Settings)
			s.APIKey, s.ChatbotID = key, "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
			return s
		}, 9},
		{"openai", openai.Spec, func() adapters.Settings {
			s := openai.Spec.Settings().(*openai.Settings)
			s.APIKey, s.Model = key, "m"
			return s
		}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settings := tt.settings()
			results := live(t, tt.spec, settings, tt.spec.Twin(settings))
			for _, r := range results {
				if r.Verdict != trial.Holds {
					t.Errorf("%s: %s, %s", r.Promise, r.Verdict, r.Detail)
				}
			}
			if len(results) != tt.shown {
				t.Errorf("%d promises were shown, want %d: %v", len(results), tt.shown, results)
			}
		})
	}
}

func TestAnAdapterWithoutAVendorShowsWhatItCan(t *testing.T) {
	results := live(t, echo.Spec, echo.Spec.Settings(), nil)
	if r := results["healthy_reply"]; r.Verdict != trial.Holds {
		t.Errorf("healthy_reply: %+v", r)
	}
	if r := results["wrong_key_is_unauthorized"]; r.Verdict != trial.NotShown {
		t.Errorf("wrong_key_is_unauthorized: %+v", r)
	}
}

// bot is a vendor of the tests' own, whose habits are the test's to choose.
type bot struct {
	habit string
	mu    sync.Mutex
	said  map[string][]string
}

func (b *bot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := r.URL.Query().Get("id")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+planted && b.habit != "takes any key":
		w.WriteHeader(http.StatusUnauthorized)
		if b.habit == "wrong status" {
			_, _ = io.WriteString(w, `{"code":"odd"}`)
		}
		return
	case r.Method == http.MethodDelete:
		if b.habit != "deletes nothing" {
			delete(b.said, id)
		}
		return
	case r.Method == http.MethodGet && r.URL.Path == "/thread":
		if b.said[id] == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"id":%q}`, id)
		return
	case r.Method == http.MethodGet:
		items := []map[string]string{}
		for _, text := range b.said[id] {
			if b.habit == "trims" {
				text = strings.TrimSuffix(text, ".")
			}
			items = append(items, map[string]string{"text": text})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
		return
	}
	var ask struct{ Text, ID string }
	if json.NewDecoder(r.Body).Decode(&ask) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch {
	case b.habit == "one for all":
		ask.ID = "same"
	case ask.ID == "" || b.habit == "forgets":
		ask.ID = fmt.Sprint("c-", len(b.said)+1)
	}
	b.said[ask.ID] = append(b.said[ask.ID], ask.Text)
	answer := "You said: " + ask.Text
	if b.habit == "says nothing" {
		answer = ""
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"id": ask.ID, "answer": answer})
}

// described is the description of that vendor.
func described(habit string) *rest.Settings {
	s := &rest.Settings{
		APIKey: normalize.NewSecret(planted), Auth: rest.Auth{Header: "Authorization", Scheme: "Bearer"},
		Send: rest.Send{
			Call:  rest.Call{Path: "/say", Body: map[string]any{"text": "{{text}}", "id": "{{remote_id}}"}},
			Reply: rest.Reply{RemoteID: "id", Each: []rest.Reading{{Role: "assistant", Text: "answer"}}},
		},
		ReadThread:   &rest.ThreadCall{Call: rest.Call{Path: "/thread", Query: map[string]rest.Text{"id": "{{remote_id}}"}}, Thread: rest.Thread{RemoteID: "id"}},
		DeleteThread: &rest.Call{Path: "/thread", Query: map[string]rest.Text{"id": "{{remote_id}}"}},
		ListMessages: &rest.Messages{
			Call:  rest.Call{Path: "/messages", Query: map[string]rest.Text{"id": "{{remote_id}}"}},
			Pages: rest.Pages{Items: "items"}, Each: []rest.Reading{{Role: "user", Text: "text"}},
		},
	}
	if habit == "wrong status" {
		s.Errors = rest.Errors{Code: []rest.Path{"code"}, Kinds: []rest.ErrorKind{{Code: []string{"odd"}, Kind: "rejected"}}}
	}
	if habit == "forgets" {
		s.Send.Body = map[string]any{"text": "{{text}}"}
	}
	return s
}

func TestABrokenPromiseIsSeen(t *testing.T) {
	for habit, promise := range map[string]string{
		"":                "",
		"says nothing":    "healthy_reply",
		"forgets":         "remote_id_round_trip",
		"one for all":     "threads_are_apart",
		"takes any key":   "wrong_key_is_unauthorized",
		"wrong status":    "wrong_key_is_unauthorized",
		"deletes nothing": "deleted_thread_is_gone",
		"trims":           "messages_are_listed_whole_and_in_order",
	} {
		var broken []string
		for _, r := range live(t, rest.Spec, described(habit), &bot{habit: habit, said: map[string][]string{}}) {
			if r.Verdict == trial.Broken {
				broken = append(broken, r.Promise)
			}
		}
		if promise == "" && broken != nil || promise != "" && !slices.Contains(broken, promise) {
			t.Errorf("a vendor that %s: broken is %q, want %q", habit, broken, promise)
		}
	}
}

func TestASampleThatCannotBeReadSaysTheLine(t *testing.T) {
	const head = "A comment.\n-- turn --\nhello\n"
	for text, want := range map[string]string{
		"":                               "there is no -- turn --",
		"-- turn\nhello":                 "there is no -- turn --",
		"-- answer --\n200 x\n":          "line 1: -- answer -- stands before the first of turn",
		head + "-- nix --\n":             "line 4: -- nix -- is not known: there are turn",
		head + "-- request --\n":         "line 4: a request begins with its method and path",
		head + "-- request --\nPOST x\n": "line 4: a request begins with its method and path",
		head + "-- answer --\n200 application/json\n":                           "line 4: an answer follows its request",
		head + "-- request --\nPOST /x\n-- answer --\nOK\n":                     "line 6: an answer follows its request",
		head + "-- request --\nPOST /x\n-- answer --\n200\n-- answer --\n200\n": "line 8: an answer follows its request",
	} {
		if _, err := trial.ParseSample([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", text, err, want)
		}
	}
}

func TestATurnWithoutTrafficIsBroken(t *testing.T) {
	sample, err := trial.ParseSample([]byte("-- turn --\nhello\n-- reply --\nhello yourself\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings := described("")
	*settings.Endpoint() = "http://127.0.0.1:1"
	broken := 0
	if err := trial.Recorded(context.Background(), trial.Subject{Spec: rest.Spec, Settings: settings, Total: time.Second}, sample, func(r trial.Result) {
		if r.Verdict == trial.Broken {
			broken++
		}
	}); err != nil || broken == 0 {
		t.Errorf("error %v, %d promises are broken, want some", err, broken)
	}
}

func TestAStepWithoutTrafficIsJudgedAsItIs(t *testing.T) {
	sample, err := trial.ParseSample([]byte("-- list_threads --\n-- threads --\na\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings := described("")
	*settings.Endpoint() = "http://127.0.0.1:1"
	results := map[string]trial.Result{}
	if err := trial.Recorded(context.Background(), trial.Subject{Spec: rest.Spec, Settings: settings, Total: time.Second}, sample, func(r trial.Result) {
		results[r.Promise] = r
	}); err != nil {
		t.Fatal(err)
	}
	if r := results["answers_are_read_as_recorded"]; r.Verdict != trial.Broken || !strings.Contains(r.Detail, "the adapter cannot list conversations") {
		t.Errorf("a list that the adapter cannot make is %+v", r)
	}
}
