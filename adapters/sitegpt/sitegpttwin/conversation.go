package sitegpttwin

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmux/internal/sandbox/bot"
)

// The vendor's words.
const (
	modeAI    = "AI"
	modeAgent = "AGENT"

	normalMessage = "NORMAL_MESSAGE"
	userMessage   = "USER_MESSAGE"
	agentMessage  = "AGENT_MESSAGE"
	systemMessage = "SYSTEM_MESSAGE"

	escalatedNotice = "CONVERSATION_ESCALATED"
)

const (
	model  = "gpt-4"
	source = "https://docs.example.com/shipping"
)

var (
	quickPrompts = []prompt{
		{ID: "17e23880-386e-492f-960c-4394baec2977", Title: "Prices", Description: "What does shipping cost?"},
		{
			ID: "ab0ba301-90c9-4ef2-8ca8-fa579a104386", Title: "Returns", Description: "How do I send something back?",
			Link: "https://docs.example.com/returns",
		},
	}
	smartPrompts = []string{"How long does it take?", "Do you ship abroad?", "Can I talk to a person?"}
)

type prompt struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Link        string `json:"link,omitempty"`
}

// thread is one conversation. Both versions of the API show the same ones.
type thread struct {
	id           string
	mode         string
	escalated    bool
	person       *person
	webhookURL   string
	webhookToken string
	messages     []*message
	started      time.Time
	updated      time.Time
}

type person struct {
	id, name, email, phone string
	created, updated       time.Time
}

// message is a question, an answer, or both.
type message struct {
	id        string
	kind      string
	notice    string // of a system message
	question  *said
	answer    *said
	agentName string
	iconURL   string
	pageURL   string
	created   time.Time
	updated   time.Time
}

type said struct {
	text string
	at   time.Time
}

func (t *Twin) find(id string) *thread {
	i := slices.IndexFunc(t.threads, func(th *thread) bool { return th.id == id })
	if i < 0 {
		return nil
	}
	return t.threads[i]
}

// start begins a thread, under an id of its own where none is given.
func (t *Twin) start(id, mode string) *thread {
	if id == "" {
		id = newUUID()
	}
	now := time.Now().UTC()
	th := &thread{id: id, mode: mode, started: now, updated: now}
	t.threads = append(t.threads, th)
	return th
}

// ask takes a message of the person's. The bot answers it, unless a human has the
// thread.
func (t *Twin) ask(th *thread, text, pageURL string) *message {
	m := t.add(th, &message{kind: userMessage, question: &said{text: text}, pageURL: pageURL})
	if th.mode == modeAI {
		turn, first := th.asked()
		m.kind = normalMessage
		m.answer = &said{bot.Answer(turn, first, text), m.created}
	}
	t.tell(th, m)
	return m
}

// asked returns how often the person spoke, and what they said first.
func (th *thread) asked() (times int, first string) {
	for _, m := range th.messages {
		if m.question != nil {
			if times++; times == 1 {
				first = m.question.text
			}
		}
	}
	return times, first
}

// post adds a message that a human of the vendor's side says.
func (t *Twin) post(th *thread, text, agentName, iconURL string) *message {
	m := t.add(th, &message{kind: agentMessage, answer: &said{text: text}, agentName: agentName, iconURL: iconURL})
	t.tell(th, m)
	return m
}

// notify adds a notice.
func (t *Twin) notify(th *thread, notice, text string) *message {
	m := t.add(th, &message{kind: systemMessage, notice: notice, answer: &said{text: text}})
	t.tell(th, m)
	return m
}

func (t *Twin) add(th *thread, m *message) *message {
	now := time.Now().UTC()
	m.id, m.created, m.updated = t.nextID(), now, now
	for _, s := range []*said{m.question, m.answer} {
		if s != nil {
			s.at = now
		}
	}
	th.messages = append(th.messages, m)
	th.updated = now
	return m
}

// describe keeps what is told of the person; what is empty is not told.
func (t *Twin) describe(th *thread, name, email, phone string) {
	now := time.Now().UTC()
	if th.person == nil {
		th.person = &person{id: t.nextID(), created: now}
	}
	th.person.updated = now
	for _, f := range []struct {
		to    *string
		value string
	}{{&th.person.name, name}, {&th.person.email, email}, {&th.person.phone, phone}} {
		if f.value != "" {
			*f.to = f.value
		}
	}
}

func (t *Twin) nextID() string {
	t.lastID++
	return strconv.FormatInt(t.lastID, 10)
}

// newest returns the threads that a filter keeps, newest first.
func (t *Twin) newest(keep func(*thread) bool) []*thread {
	var list []*thread
	for _, th := range slices.Backward(t.threads) {
		if keep(th) {
			list = append(list, th)
		}
	}
	return list
}

// mentions reports whether a message of the thread contains a text; every thread
// mentions the empty one.
func (th *thread) mentions(text string) bool {
	return text == "" || slices.ContainsFunc(th.messages, func(m *message) bool {
		return m.question != nil && strings.Contains(m.question.text, text) || m.answer != nil && strings.Contains(m.answer.text, text)
	})
}

func (th *thread) last() *message {
	if len(th.messages) == 0 {
		return nil
	}
	return th.messages[len(th.messages)-1]
}

func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// orNull shows an empty string as null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
