package app_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"chatmux/internal/sandbox"
)

// movable are the backends of the config vendors that keep or take a past.
var movable = []string{"parcel-desk", "docs-bot", "helpdesk", "own-llm"}

// moved moves a thread with its transcript, and reports at which level it went along:
// the binding and the stored notice have to agree about it.
func (h *house) moved(id, to string) (level string) {
	h.t.Helper()
	got := read[thread](h.t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": to, "carry": "transcript"}), 200)
	last := got.Bindings[len(got.Bindings)-1]
	level = strings.TrimPrefix(last.Reason, "moved: ")
	stored := h.transcript(id)
	if notice := stored[len(stored)-1]; notice.Notice != "thread_moved" || notice.Role != "system" || !strings.HasSuffix(notice.Text, "(carried along: "+level+")") {
		h.t.Errorf("the binding says %q, the notice %+v", last.Reason, notice)
	}
	return level
}

// says sends a message in a thread and gives the bot's answer.
func (h *house) says(id, text string) string {
	h.t.Helper()
	got := read[turn](h.t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": text}), 200)
	if len(got.Replies) != 1 || got.Message.Text != text {
		h.t.Fatalf("sent %+v, replies %+v", got.Message, got.Replies)
	}
	return got.Replies[0].Text
}

func TestEachVendorsThreadMovesToEachOtherAndBack(t *testing.T) {
	onEachStore(t, testEachVendorsThreadMovesToEachOtherAndBack)
}

func testEachVendorsThreadMovesToEachOtherAndBack(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
	levels := map[string]string{"own-llm": "history"}
	for _, from := range movable {
		for _, to := range movable {
			if from == to {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				first := read[turn](t, h.call("POST", "/v1/messages", object{"text": "my name is Rosa", "backend": from}), 200)
				id := first.Thread.ID
				h.says(id, "my order is 4711")

				if got, want := h.moved(id, to), orElse(levels[to], "primer"); got != want {
					t.Errorf("moved at level %s, want %s", got, want)
				}
				answer := h.says(id, "what do you know?")
				if to != "own-llm" { // the twins repeat what they were told, and then quote the first of it
					told := answer[:strings.LastIndex(answer, "\n(turn 1; ")]
					for _, said := range []string{"\nUser: my name is Rosa\n", "\nUser: my order is 4711\n", "message.]\n\nwhat do you know?"} {
						if strings.Count(told, said) != 1 {
							t.Errorf("%q is not once in what %s was told: %q", said, to, told)
						}
					}
				} else if !strings.Contains(answer, "(turn 3; the first thing you said was: my name is Rosa)") {
					t.Errorf("%s does not know what was said: %q", to, answer)
				}
				if got := h.says(id, "plain again"); !strings.HasPrefix(got, "You said: plain again\n") {
					t.Errorf("the past was told twice: %q", got)
				}

				if got, want := h.moved(id, from), orElse(levels[from], "primer"); got != want {
					t.Errorf("moved back at level %s, want %s", got, want)
				}
				answer = h.says(id, "and you?")
				if !strings.Contains(answer, "the first thing you said was: my name is Rosa)") {
					t.Errorf("the old conversation was not taken up again: %q", answer)
				}
				unseen := "You said: [Context, for your information only. This conversation began elsewhere; what was said so far:]\nUser: what do you know?\n"
				if from != "own-llm" && (!strings.HasPrefix(answer, unseen) || strings.Count(answer, "User: plain again\n") != 1) {
					t.Errorf("%s was told something else than what it has not seen: %q", from, answer)
				}

				h.moved(id, to)
				if got := h.moved(id, from); got != orElse(levels[from], "none") {
					t.Errorf("with nothing new to tell the level is %s", got)
				}
				if got := h.says(id, "nothing new"); !strings.HasPrefix(got, "You said: nothing new\n") {
					t.Errorf("something was told twice: %q", got)
				}
			})
		}
	}
}

func TestABackendThatBeganWithNothingIsToldAllThatItLacksOnce(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(vendors, "sqlite:"+filepath.Join(t.TempDir(), "chatmux.db")))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "my name is Rosa", "backend": "docs-bot"}), 200).Thread.ID
	goTo := func(backend string) {
		read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": backend, "carry": "none"}), 200)
	}
	goTo("helpdesk")
	h.says(id, "said here")
	goTo("docs-bot")
	h.says(id, "said there")
	if level := h.moved(id, "helpdesk"); level != "primer" {
		t.Errorf("moved at level %s", level)
	}
	told := h.says(id, "and now?")
	for said, want := range map[string]int{"\nUser: my name is Rosa\n": 1, "\nUser: said there\n": 1, "\nUser: said here\n": 0} {
		if got := strings.Count(told, said); got != want {
			t.Errorf("%q is %d times in what it was told: %q", said, got, told)
		}
	}
	goTo("docs-bot")
	h.says(id, "the last")
	h.moved(id, "helpdesk")
	told = h.says(id, "and then?")
	if !strings.Contains(told, "elsewhere; what was said so far:]\nUser: the last\n") {
		t.Errorf("it was told something else than what it has not seen: %q", told)
	}
}

func orElse(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestAThreadThatMovesBecauseOfAnOutageSaysHowItsPastWentAlong(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(`
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: helpdesk, adapter: conversations, settings: {base_url: sandbox, api_key: k, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: docs-bot, adapter: sitegpt, settings: {base_url: sandbox, api_key: k, chatbot_id: "365062873485935184"}}
routes:
  - {name: default, to: helpdesk, fallback: [docs-bot], on_unavailable: move}
`, "sqlite::memory:"))
	id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "my name is Rosa"}), 200).Thread.ID
	h.twin("helpdesk").Script(sandbox.MustScript("always status 503 retry-after=1")...)
	if got := h.says(id, "hello?"); !strings.Contains(got, "User: my name is Rosa\n") {
		t.Errorf("the other bot was not told: %q", got)
	}
	th := read[thread](t, h.call("GET", "/v1/threads/"+id, nil), 200)
	if reason := th.Bindings[len(th.Bindings)-1].Reason; reason != "unavailable: primer" {
		t.Errorf("the binding's reason is %q", reason)
	}
	var notices []string
	for _, m := range h.transcript(id) {
		if m.Notice == "thread_moved" {
			notices = append(notices, m.Text)
		}
	}
	if want := "moved from helpdesk to docs-bot (carried along: primer)"; len(notices) != 1 || notices[0] != want {
		t.Errorf("notices %q, want %q", notices, want)
	}
}

func TestAfterAMoveTheNewBotAnswersWhoeverDidBefore(t *testing.T) {
	onEachStore(t, testAfterAMoveTheNewBotAnswers)
}

func testAfterAMoveTheNewBotAnswers(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(vendors, newStore(t)))
	for _, to := range []string{"own-llm", "helpdesk"} {
		id := read[turn](t, h.call("POST", "/v1/messages", object{"text": "hello", "backend": "docs-bot"}), 200).Thread.ID
		read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"mode": "human"}), 200)
		if got := read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": to}), 200); got.Mode != "ai" {
			t.Errorf("%s has the thread, and its mode is %s", to, got.Mode)
		}
		h.says(id, "who answers?")
		if got := read[thread](t, h.call("PATCH", "/v1/threads/"+id, object{"mode": "ai"}), 200); got.Mode != "ai" {
			t.Errorf("%s answers, and the mode is %s", to, got.Mode)
		}
		if got := read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": "docs-bot"}), 200); got.Backend != "docs-bot" {
			t.Errorf("moved back: %+v", got)
		}
	}
}
