package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"chatmux/internal/sandbox"
	"chatmux/internal/sandbox/bot"
)

// quick is a config whose breaker opens and closes within a test: helpdesk is
// stateful, the two language models are not.
const quick = `
listen: 127.0.0.1:0
store: %s
limits: {drain: {delay: 0s, grace: 5s}, timeout: 10s}
backends:
  - name: helpdesk
    adapter: conversations
    settings: {base_url: sandbox, api_key: k-conversations-canary, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}
    timeouts: {connect: 1s, first_byte: 400ms, idle: 400ms, total: 1s}
    retry: {attempts: 2, base: 1ms, cap: 2ms}
    breaker: {failures: 5, open_for: 300ms, probes: 2, interval: 10s}
  - name: docs-bot
    adapter: sitegpt
    settings: {base_url: sandbox, api_key: k-sitegpt-canary, chatbot_id: "365062873485935184"}
  - name: llm-1
    adapter: openai
    settings: {base_url: sandbox, api_key: k-one-canary, model: m}
    timeouts: {first_byte: 400ms}
  - name: llm-2
    adapter: openai
    settings: {base_url: sandbox, api_key: k-two-canary, model: m}
routes:
  - {name: chain, match: {metadata.route: chain}, to: helpdesk, fallback: [llm-1]}
  - {name: bold, match: {metadata.route: bold}, to: helpdesk, fallback: [llm-1], fallback_on_unknown: true}
  - {name: moving, match: {metadata.route: moving}, to: helpdesk, fallback: [llm-1], on_unavailable: move}
  - {name: pair, match: {metadata.route: pair}, to: llm-1, fallback: [llm-2]}
  - {name: default, to: helpdesk}
`

func (h *house) send(route, text string, headers ...string) answer {
	h.t.Helper()
	return h.call("POST", "/v1/messages", object{"text": text, "thread_metadata": object{"route": route}}, headers...)
}

// sends counts the requests of a twin that carry a message.
func (h *house) sends(backend string) int {
	n := 0
	for _, e := range h.twin(backend).Ledger() {
		if e.Method == http.MethodPost && (strings.HasSuffix(e.Path, "/completions/") || strings.HasSuffix(e.Path, "/completions") || strings.HasSuffix(e.Path, "/message")) {
			n++
		}
	}
	return n
}

func TestWhatAVendorDoesDecidesAnswerAndStatus(t *testing.T) {
	onEachStore(t, testWhatAVendorDoesDecidesAnswerAndStatus)
}

func testWhatAVendorDoesDecidesAnswerAndStatus(t *testing.T, newStore storeMaker) {
	for _, tt := range []struct {
		row, route, fault string
		status            int
		code, outcome     string
		message           string // status of the user's message
		requests          int    // that helpdesk received
	}{
		{"U05 closed inside the request", "default", "read 1", 502, "backend_error", "unknown", "unknown", 1},
		{"U06 reset after the request", "default", "reset", 502, "backend_error", "unknown", "unknown", 1},
		{"U08 no status line", "default", "tarpit", 504, "backend_timeout", "unknown", "unknown", 1},
		{"U09 500", "default", "status 500 body={\"detail\":\"boom\"}", 502, "backend_error", "unknown", "unknown", 1},
		{"U10 503 with a wait beyond the budget", "default", "status 503 retry-after=60", 503, "backend_unavailable", "none", "failed", 1},
		{"U12 429 on a chain goes elsewhere", "chain", "status 429 retry-after=3", 200, "", "", "sent", 1},
		{"U13 400", "default", "status 400", 422, "backend_rejected", "none", "failed", 1},
		{"U14 401", "default", "status 401", 502, "backend_unauthorized", "none", "failed", 1},
		{"U14 401 on a chain goes elsewhere", "chain", "status 401", 200, "", "", "sent", 1},
		{"U15 402", "default", "status 402", 503, "backend_unavailable", "none", "failed", 1},
		{"U17 307", "default", "redirect 307 http://127.0.0.9:1/", 502, "backend_invalid", "unknown", "unknown", 1},
		{"U18 HTML", "default", "html", 502, "backend_invalid", "done", "sent", 1},
		{"U19 no text", "default", "json {}", 502, "backend_invalid", "done", "sent", 1},
		{"U20 cut before its length", "default", "cut 20", 502, "backend_truncated", "done", "sent", 1},
		{"U21 cut without a length", "default", "cut 20 close", 502, "backend_invalid", "done", "sent", 1},
		{"U22 50 MiB", "default", "oversize 50MiB", 502, "backend_invalid", "done", "sent", 1},
		{"U23 not HTTP", "default", "garbage", 502, "backend_invalid", "unknown", "unknown", 1},
		{"R11 unknown on a stateful backend stays", "chain", "reset", 502, "backend_error", "unknown", "unknown", 1},
		{"R11 unless the route says otherwise", "bold", "reset", 200, "", "", "sent", 1},
	} {
		t.Run(tt.row, func(t *testing.T) {
			t.Parallel()
			h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
			h.twin("helpdesk").Script(sandbox.MustScript("1x " + tt.fault)...)
			a := h.send(tt.route, "hello "+tt.row)
			if n := h.sends("helpdesk"); n != tt.requests {
				t.Errorf("the vendor got %d sends, want %d", n, tt.requests)
			}
			var stored []message
			if tt.status == 200 {
				got := read[turn](t, a, 200)
				if got.Thread.Backend != "llm-1" || len(got.Replies) != 1 {
					t.Errorf("turn %+v, want an answer of llm-1", got)
				}
				stored = h.transcript(got.Thread.ID)
			} else {
				p := read[problem](t, a, tt.status)
				if p.Code != tt.code || p.Outcome != tt.outcome || p.Retryable != (tt.status == 503) {
					t.Errorf("problem %+v", p)
				}
				if tt.status == 503 && a.header.Get("Retry-After") == "" {
					t.Error("a 503 without Retry-After")
				}
				list := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200)
				stored = h.transcript(list.Data[0].ID)
				if stored[0].ID != p.MessageID {
					t.Errorf("message %s is stored, the problem names %s", stored[0].ID, p.MessageID)
				}
			}
			if stored[0].Status != tt.message {
				t.Errorf("the message is %s, want %s", stored[0].Status, tt.message)
			}
			if tt.status != 200 && len(stored) != 1 {
				t.Errorf("%d messages are stored, want the user's alone: %+v", len(stored), stored)
			}
			if strings.Contains(string(a.body), "canary") {
				t.Errorf("a key is in the answer: %s", a.body)
			}
		})
	}
}

func TestABackendThatIsDownOpensItsBreakerIsLeftAloneAndComesBack(t *testing.T) {
	onEachStore(t, testABackendThatIsDownOpensItsBreakerIsLeftAloneAndComesBack)
}

func testABackendThatIsDownOpensItsBreakerIsLeftAloneAndComesBack(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	breaker := func() (b struct {
		Breaker struct {
			State, Since, Cause string
		}
	},
	) {
		return read[struct {
			Breaker struct {
				State, Since, Cause string
			}
		}](t, h.call("GET", "/v1/backends/helpdesk", nil), 200)
	}
	h.twin("helpdesk").Script(sandbox.MustScript("always status 500")...)
	for range 5 {
		read[problem](t, h.send("default", "anybody there?"), 502)
	}
	if b := breaker(); b.Breaker.State != "open" || b.Breaker.Cause != "vendor_fault" {
		t.Fatalf("after five failures the breaker is %+v", b)
	}
	before := h.sends("helpdesk")
	p := read[problem](t, h.send("default", "and now?"), 503)
	if p.Code != "breaker_open" || p.Outcome != "none" || !p.Retryable {
		t.Errorf("problem %+v", p)
	}
	read[turn](t, h.send("pair", "the others never notice"), 200)
	if got := read[turn](t, h.send("chain", "a new thread goes on"), 200); got.Thread.Backend != "llm-1" {
		t.Errorf("answered by %s", got.Thread.Backend)
	}
	if n := h.sends("helpdesk"); n != before {
		t.Errorf("an open breaker let %d sends through", n-before)
	}
	h.twin("helpdesk").Script()
	deadline := time.Now().Add(10 * time.Second)
	for good := 0; good < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("the backend did not come back: %+v", breaker())
		}
		if h.send("default", "hello again").status == 200 {
			good++
		} else {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if b := breaker(); b.Breaker.State != "closed" || b.Breaker.Cause != "" {
		t.Errorf("after two good probes the breaker is %+v", b)
	}
	metrics := string(h.call("GET", "/metrics", nil).body)
	for _, state := range []string{"open", "half_open", "closed"} {
		if want := fmt.Sprintf(`chatmux_breaker_transitions_total{backend="helpdesk",state=%q} 1`, state); !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestABoundThreadStaysUnlessItsRouteLetsItMove(t *testing.T) {
	onEachStore(t, testABoundThreadStaysUnlessItsRouteLetsItMove)
}

func testABoundThreadStaysUnlessItsRouteLetsItMove(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	stays := read[turn](t, h.send("chain", "first"), 200).Thread
	moves := read[turn](t, h.send("moving", "first"), 200).Thread
	h.twin("helpdesk").Script(sandbox.MustScript("always status 503 retry-after=1")...)

	p := read[problem](t, h.call("POST", "/v1/threads/"+stays.ID+"/messages", object{"text": "second"}, "Chatmux-Timeout", "1"), 503)
	if p.Backend != "helpdesk" || p.Code != "backend_unavailable" {
		t.Errorf("problem %+v", p)
	}
	got := read[turn](t, h.call("POST", "/v1/threads/"+moves.ID+"/messages", object{"text": "second"}), 200)
	if got.Thread.Backend != "llm-1" || len(got.Thread.Bindings) != 2 || got.Thread.Bindings[0].Until == "" {
		t.Errorf("thread %+v", got.Thread)
	}
	if want := bot.Answer(2, "first", "second"); got.Replies[0].Text != want {
		t.Errorf("reply %q, want %q: the stateless backend gets what was said before", got.Replies[0].Text, want)
	}
	var notices int
	for _, m := range h.transcript(moves.ID) {
		if m.Notice == "thread_moved" {
			notices++
		}
	}
	if notices != 1 {
		t.Errorf("%d notices, want 1", notices)
	}
	h.twin("helpdesk").Script()
	again := read[turn](t, h.call("POST", "/v1/threads/"+moves.ID+"/messages", object{"text": "third"}), 200)
	if again.Thread.Backend != "llm-1" {
		t.Errorf("moved back by itself to %s", again.Thread.Backend)
	}
}

func TestARefusedConnectionIsTriedAgainAndThenFailsForCertain(t *testing.T) {
	onEachStore(t, testARefusedConnectionIsTriedAgainAndThenFailsForCertain)
}

func testARefusedConnectionIsTriedAgainAndThenFailsForCertain(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	if err := h.twin("helpdesk").Close(); err != nil {
		t.Fatal(err)
	}
	p := read[problem](t, h.send("default", "hello"), 503)
	if p.Code != "backend_unavailable" || p.Outcome != "none" {
		t.Errorf("problem %+v", p)
	}
	metrics := string(h.call("GET", "/metrics", nil).body)
	if want := `chatmux_attempts_total{backend="helpdesk",outcome="unreachable"} 2`; !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}
	got := read[turn](t, h.send("chain", "hello"), 200)
	if got.Thread.Backend != "llm-1" || len(got.Thread.Bindings) != 1 {
		t.Errorf("a new thread takes the next backend of the chain freely; got %+v", got.Thread)
	}
}

func TestAFailedMessageIsSentAgainUnderItsOwnID(t *testing.T) {
	onEachStore(t, testAFailedMessageIsSentAgainUnderItsOwnID)
}

func testAFailedMessageIsSentAgainUnderItsOwnID(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	h.twin("helpdesk").Script(sandbox.MustScript("1x status 400; 1x reset")...)
	failed := read[problem](t, h.send("default", "hello", "Idempotency-Key", "k1"), 422)
	unknown := read[problem](t, h.send("default", "hello", "Idempotency-Key", "k1"), 502)
	if failed.MessageID != unknown.MessageID {
		t.Errorf("the repeat made another message: %s, %s", failed.MessageID, unknown.MessageID)
	}
	again := h.send("default", "hello", "Idempotency-Key", "k1")
	if p := read[problem](t, again, 502); p.MessageID != unknown.MessageID || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("an unknown outcome is not replayed: %+v", p)
	}
	if n := h.sends("helpdesk"); n != 2 {
		t.Errorf("%d sends, want 2", n)
	}
	list := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200)
	got := read[turn](t, h.call("POST", "/v1/threads/"+list.Data[0].ID+"/messages/"+unknown.MessageID+"/resend", nil), 200)
	if got.Message.ID != unknown.MessageID || got.Message.Status != "sent" || got.Message.Reason != "" {
		t.Errorf("message %+v", got.Message)
	}
	if stored := h.transcript(list.Data[0].ID); len(stored) != 2 {
		t.Errorf("transcript %+v", stored)
	}
	read[problem](t, h.call("POST", "/v1/threads/"+list.Data[0].ID+"/messages/"+unknown.MessageID+"/resend", nil), 422)
}

func TestARepeatedKeyGetsTheSameAnswerAndSendsNothing(t *testing.T) {
	onEachStore(t, testARepeatedKeyGetsTheSameAnswerAndSendsNothing)
}

func testARepeatedKeyGetsTheSameAnswerAndSendsNothing(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	first := h.send("default", "hello", "Idempotency-Key", "k1")
	second := h.send("default", "hello", "Idempotency-Key", "k1")
	if string(first.body) != string(second.body) || second.header.Get("Idempotency-Replayed") != "true" || first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("first %s\nsecond %s", first.body, second.body)
	}
	if p := read[problem](t, h.send("default", "something else", "Idempotency-Key", "k1"), 422); p.Code != "idempotency_key_reused" {
		t.Errorf("problem %+v", p)
	}
	if n := h.sends("helpdesk"); n != 1 {
		t.Errorf("%d sends, want 1", n)
	}
	for _, e := range h.twin("helpdesk").Ledger() {
		if e.Header.Get("Idempotency-Key") != "" {
			t.Error("the caller's key went to the vendor")
		}
	}
}

func TestAThreadTakesOneSendAtATime(t *testing.T) { onEachStore(t, testAThreadTakesOneSendAtATime) }

func testAThreadTakesOneSendAtATime(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	id := read[turn](t, h.send("default", "first"), 200).Thread.ID
	h.twin("helpdesk").Script(sandbox.MustScript("1x delay 300ms")...)
	slow := make(chan error, 1)
	seen := len(h.twin("helpdesk").Ledger())
	var second turn
	go func() { slow <- h.into(&second, "POST", "/v1/threads/"+id+"/messages", object{"text": "second"}) }()
	for deadline := time.Now().Add(5 * time.Second); h.twin("helpdesk").Requests() <= seen; {
		if time.Now().After(deadline) {
			t.Fatal("the slow send did not arrive")
		}
		time.Sleep(time.Millisecond)
	}
	for what, a := range map[string]answer{
		"send":   h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "third"}),
		"delete": h.call("DELETE", "/v1/threads/"+id, nil),
		"move":   h.call("POST", "/v1/threads/"+id+"/move", object{"backend": "llm-1", "carry": "none"}),
	} {
		if p := read[problem](t, a, 409); p.Code != "thread_busy" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if err := <-slow; err != nil || second.Message.Status != "sent" {
		t.Errorf("the running send: %v, %+v", err, second.Message)
	}
}

func TestAMovedThreadTellsTheNewBotWhatWasSaidWhereItIsAsked(t *testing.T) {
	onEachStore(t, testAMovedThreadTellsTheNewBotWhatWasSaidWhereItIsAsked)
}

func testAMovedThreadTellsTheNewBotWhatWasSaidWhereItIsAsked(t *testing.T, newStore storeMaker) {
	h := startHouse(t, fmt.Sprintf(quick, newStore(t)))
	for _, tt := range []struct {
		to, carry, reason string
		remembers         bool
	}{
		{"llm-1", "transcript", "moved: history", true},
		{"llm-1", "none", "moved: none", false},
		{"docs-bot", "transcript", "moved: primer", true},
		{"docs-bot", "none", "moved: none", false},
	} {
		t.Run(tt.to+" "+tt.carry, func(t *testing.T) {
			id := read[turn](t, h.send("default", "my name is Rosa"), 200).Thread.ID
			moved := read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": tt.to, "carry": tt.carry}), 200)
			if n := len(moved.Bindings); n != 2 || moved.Backend != tt.to || moved.Bindings[1].Reason != tt.reason || moved.Bindings[0].Until == "" {
				t.Errorf("thread %+v", moved)
			}
			got := read[turn](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "what is my name?"}), 200)
			if remembers := strings.Contains(got.Replies[0].Text, "Rosa"); remembers != tt.remembers {
				t.Errorf("reply %q", got.Replies[0].Text)
			}
			if got.Message.Text != "what is my name?" {
				t.Errorf("the stored message is %q", got.Message.Text)
			}
			read[thread](t, h.call("POST", "/v1/threads/"+id+"/move", object{"backend": "helpdesk", "carry": "none"}), 200)
			back := read[turn](t, h.call("POST", "/v1/threads/"+id+"/messages", object{"text": "and now?"}), 200)
			if want := bot.Answer(2, "my name is Rosa", "and now?"); back.Replies[0].Text != want {
				t.Errorf("moving back does not take the old conversation up: %q", back.Replies[0].Text)
			}
		})
	}
}
