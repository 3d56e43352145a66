package clients_test

import (
	"strings"
	"testing"

	"chatmux/internal/sandbox/bot"
)

// request is what a test asks of a client, in OpenAI's own names.
type request struct {
	Op       string            `json:"op,omitempty"` // chat where empty; models, model
	Model    string            `json:"model"`
	Messages []said            `json:"messages"`
	User     string            `json:"user,omitempty"`
	Stream   bool              `json:"stream,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	N        int               `json:"n,omitempty"`
}

type said struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// result is what the client made of the answer.
type result struct {
	Text   string   `json:"text"`
	Finish string   `json:"finish"`
	Thread string   `json:"thread"`
	Total  int64    `json:"total"`
	Pieces int      `json:"pieces"`
	Models []string `json:"models"`
	Error  *failure `json:"error"`
}

// failure is what the client threw or returned.
type failure struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Param   string `json:"param"`
	Type    string `json:"type"`
}

// client is somebody else's client of OpenAI's API.
type client interface {
	do(t *testing.T, r request) result
}

// each runs a test with every client. The AI SDK knows only conversations.
func each(t *testing.T, run func(t *testing.T, h *house, c client)) {
	for name, start := range map[string]func(*testing.T, *house) client{
		"openai-go":  startGo,
		"openai-npm": func(t *testing.T, h *house) client { return startNode(t, h, "openai.mjs") },
		"ai-sdk":     func(t *testing.T, h *house) client { return startNode(t, h, "ai.mjs") },
	} {
		t.Run(name, func(t *testing.T) {
			h := startHouse(t)
			run(t, h, start(t, h))
		})
	}
}

// TestAClientThatKeepsTheConversationItselfMeetsABotThatRemembers talks three turns with
// each vendor, whole and in pieces: the bot's answer tells which turn it
// thinks this is and what was said first, so the vendor's own conversation went on.
func TestAClientThatKeepsTheConversationItselfMeetsABotThatRemembers(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		for _, model := range behind {
			for _, streaming := range []bool{false, true} {
				turns := []string{"My name is Rosa. 你好 \"<&>\" 🙂", "My parcel is late.", "Who am I?"}
				conversation := []said{{"system", "It is 10:15."}}
				thread := ""
				for i, text := range turns {
					conversation[0].Content += " And later."
					conversation = append(conversation, said{"user", text})
					got := c.do(t, request{Model: model, Messages: conversation, User: "rosa", Stream: streaming})
					want := bot.Answer(i+1, turns[0], text)
					if got.Error != nil || got.Text != want || got.Finish != "stop" {
						t.Fatalf("%s, stream %t, turn %d: %+v %+v, want %q", model, streaming, i+1, got, got.Error, want)
					}
					if streaming && model == "own-llm" && got.Pieces < 2 {
						t.Errorf("%s: the stream came in %d pieces", model, got.Pieces)
					}
					if i > 0 && got.Thread != thread || !strings.HasPrefix(got.Thread, "thr_") {
						t.Errorf("%s, stream %t, turn %d: thread %q after %q", model, streaming, i+1, got.Thread, thread)
					}
					thread = got.Thread
					conversation = append(conversation, said{"assistant", got.Text})
				}
			}
		}
	})
}

// TestAChangedPastGoesToAThreadOfItsOwn: a message edited, an answer asked for anew.
func TestAChangedPastGoesToAThreadOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		ask := func(messages ...said) result {
			t.Helper()
			got := c.do(t, request{Model: "helpdesk", Messages: messages})
			if got.Error != nil {
				t.Fatalf("%+v", got.Error)
			}
			return got
		}
		hello := said{"user", "I am Rosa."}
		first := ask(hello)
		second := ask(hello, said{"assistant", first.Text}, said{"user", "Where is my parcel?"})
		if second.Thread != first.Thread {
			t.Fatalf("the second turn is in %s, the first in %s", second.Thread, first.Thread)
		}
		again := ask(hello, said{"assistant", first.Text}, said{"user", "Where is my parcel?"})
		edited := ask(hello, said{"assistant", "Something else."}, said{"user", "Where is my parcel?"})
		other := ask(hello)
		threads := map[string]bool{first.Thread: true, again.Thread: true, edited.Thread: true, other.Thread: true}
		if len(threads) != 4 {
			t.Errorf("threads %v, want four", threads)
		}
		if !strings.Contains(edited.Text, "I am Rosa.") {
			t.Errorf("the bot was not told what was said before: %q", edited.Text)
		}
		on := ask(hello, said{"assistant", "Something else."}, said{"user", "Where is my parcel?"}, said{"assistant", edited.Text}, said{"user", "And now?"})
		if on.Thread != edited.Thread {
			t.Errorf("the fork goes on in %s, want %s", on.Thread, edited.Thread)
		}
	})
}

// TestAThreadCanBeNamed goes on in a thread without telling what was said in it.
func TestAThreadCanBeNamed(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		first := c.do(t, request{Model: "docs-bot", Messages: []said{{"user", "I am Rosa."}}})
		second := c.do(t, request{Model: "docs-bot", Messages: []said{{"user", "Who am I?"}}, Headers: map[string]string{"Chatmux-Thread": first.Thread}})
		if second.Error != nil || second.Thread != first.Thread || second.Text != bot.Answer(2, "I am Rosa.", "Who am I?") {
			t.Errorf("%+v %+v", second, second.Error)
		}
	})
}

// TestS13_a_cut_answer_is_noticed: the client must not take for whole what is not.
func TestS13_a_cut_answer_is_noticed(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		for model, fault := range map[string]string{"own-llm": "cut 600", "helpdesk": `sse 3 {"detail":"The bot is tired."}`} {
			got := c.do(t, request{Model: model, Messages: []said{{"user", "Tell me a long story. [[" + fault + "]]"}}, Stream: true})
			if got.Error == nil || got.Finish == "stop" {
				t.Errorf("%s: the client took this for whole: %+v", model, got)
			}
			if got.Text == "" {
				t.Errorf("%s: nothing was told before the cut: %+v", model, got.Error)
			}
		}
	})
}

// TestWhatABotMayHaveGotIsNotSentAgain: the connection breaks behind the request. The
// official clients try a 502 again by themselves, unless they are told not to.
func TestWhatABotMayHaveGotIsNotSentAgain(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		for _, streaming := range []bool{false, true} {
			twin := h.twin("helpdesk")
			before := twin.Requests()
			got := c.do(t, request{Model: "helpdesk", Messages: []said{{"user", "Hello? [[reset]]"}}, Stream: streaming})
			if got.Error == nil || got.Error.Status != 502 || got.Error.Code != "backend_error" {
				t.Errorf("stream %t: %+v %+v", streaming, got, got.Error)
			}
			if n := twin.Requests() - before; n != 1 {
				t.Errorf("stream %t: the vendor got the message %d times", streaming, n)
			}
		}
	})
}

// TestARefusalIsTheClientsOwnError: what the client's author wrote for OpenAI's errors
// goes on working.
func TestARefusalIsTheClientsOwnError(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		for _, test := range []struct {
			name string
			r    request
			want failure
		}{
			{
				"unknown model",
				request{Model: "gpt-none", Messages: []said{{"user", "Hello?"}}},
				failure{Status: 404, Code: "model_not_found", Param: "model", Type: "invalid_request_error"},
			},
			{
				"unknown thread",
				request{Model: "docs-bot", Messages: []said{{"user", "Hello?"}}, Headers: map[string]string{"Chatmux-Thread": "none"}},
				failure{Status: 404, Code: "thread_not_found", Type: "invalid_request_error"},
			},
			{
				"a text that is too long",
				request{Model: "docs-bot", Messages: []said{{"user", strings.Repeat("x", 70000)}}},
				failure{Status: 400, Code: "invalid_request", Param: "messages[0].content", Type: "invalid_request_error"},
			},
		} {
			got := c.do(t, test.r)
			if got.Error == nil {
				t.Errorf("%s: %+v", test.name, got)
				continue
			}
			is := *got.Error
			is.Name, is.Message = "", ""
			if is != test.want {
				t.Errorf("%s: %+v, want %+v", test.name, *got.Error, test.want)
			}
		}
	})
}

// TestOfficialClientsListAndRefuse: what only they have calls for.
func TestOfficialClientsListAndRefuse(t *testing.T) {
	each(t, func(t *testing.T, h *house, c client) {
		if strings.HasSuffix(t.Name(), "ai-sdk") {
			return // it has no call for models, and does not know n
		}
		want := append([]string{"default"}, behind...)
		if got := c.do(t, request{Op: "models"}); strings.Join(got.Models, " ") != strings.Join(want, " ") {
			t.Errorf("models %v, want %v (%+v)", got.Models, want, got.Error)
		}
		if got := c.do(t, request{Op: "model", Model: "helpdesk"}); got.Text != "helpdesk" {
			t.Errorf("model %+v %+v", got, got.Error)
		}
		if got := c.do(t, request{Op: "model", Model: "gpt-none"}); got.Error == nil || got.Error.Status != 404 {
			t.Errorf("a model that is none: %+v", got)
		}
		if got := c.do(t, request{Model: "helpdesk", Messages: []said{{"user", "Hello?"}}, N: 2}); got.Error == nil || got.Error.Param != "n" {
			t.Errorf("two answers: %+v %+v", got, got.Error)
		}
	})
}
