package sitegpt

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The words of the vendor for what nothing else in this package needs to tell apart.
const (
	typeNormal      = "NORMAL_MESSAGE"
	reactionNeutral = "NEUTRAL"
)

// systemTypes are the notices that the vendor has a word for.
var systemTypes = []string{
	noticeEscalated, codeUsageLimits, "EMAIL_VERIFIED", "ENTERED_WRONG_OTP", "PROVIDED_EMAIL", "PERSONA_SELECTED", codeUpstreamFailed,
}

// shownPair is a message as the vendor's clients see it: a question and the answer to
// it, either of which may be missing.
type shownPair struct {
	id       string
	kind     string // messageType
	system   string // systemMessageType; empty: none
	question *normalize.Message
	answer   string
	answered time.Time // zero: no answer
	author   normalize.Author
	model    string
	feedback normalize.Feedback
	sources  []normalize.Source
	prompts  []normalize.Suggestion
	pageURL  string
	created  time.Time
	updated  time.Time
}

// pairUp builds the vendor's messages from ours, oldest first. What was certainly never
// said, and our own notices of a move, are nothing to this vendor's clients.
func pairUp(list []normalize.Message) []shownPair {
	var pairs []shownPair
	asked := make(map[string]int) // where the pair of a question stands
	replies := make(map[int][]normalize.Message)
	answered := make(map[string]bool) // questions to which more than a notice was said
	for _, m := range list {
		answered[m.InReplyTo] = answered[m.InReplyTo] || m.Role != normalize.RoleSystem
	}
	for _, m := range list {
		switch i, replied := asked[m.InReplyTo]; {
		case m.Status == normalize.StatusFailed, m.Notice == "thread_moved":
		case m.Role == normalize.RoleUser:
			asked[m.ID] = len(pairs)
			pairs = append(pairs, questionOf(&m))
		case replied && (m.Role != normalize.RoleSystem || !answered[m.InReplyTo]):
			replies[i] = append(replies[i], m)
		default:
			alone := shownPair{id: normalize.UUIDForm(m.ID), created: m.CreatedAt}
			alone.answerWith([]normalize.Message{m})
			pairs = append(pairs, alone)
		}
	}
	for i, said := range replies {
		pairs[i].answerWith(said)
	}
	return pairs
}

// pairOf is the pair of one send. A notice beside the answer is a message of its own in
// the thread; where there is nothing else, it is the answer.
func pairOf(a *adapters.SendAnswer) shownPair {
	if a.Message.Role != normalize.RoleUser {
		alone := shownPair{id: normalize.UUIDForm(a.Message.ID), created: a.Message.CreatedAt}
		alone.answerWith([]normalize.Message{a.Message})
		return alone
	}
	p := questionOf(&a.Message)
	said := slices.DeleteFunc(slices.Clone(a.Replies), func(m normalize.Message) bool { return m.Role == normalize.RoleSystem })
	if len(said) == 0 {
		said = a.Replies
	}
	p.answerWith(said)
	return p
}

func questionOf(m *normalize.Message) shownPair {
	return shownPair{
		id: normalize.UUIDForm(m.ID), kind: typeUser, question: m, pageURL: m.Metadata[pageField], created: m.CreatedAt, updated: m.CreatedAt,
	}
}

// answerWith completes a pair; nothing said leaves it as it is.
func (p *shownPair) answerWith(replies []normalize.Message) {
	if len(replies) == 0 {
		return
	}
	p.answer = adapters.JoinReplies(replies)
	p.kind = typeNormal
	for _, m := range replies {
		switch m.Role {
		case normalize.RoleOperator:
			p.kind = typeAgent
		case normalize.RoleSystem:
			p.kind = typeSystem
			if word := strings.ToUpper(m.Notice); slices.Contains(systemTypes, word) {
				p.system = word
			}
		case normalize.RoleAssistant, normalize.RoleUser:
		}
		p.answered = m.CreatedAt
		p.model, p.feedback = cmp.Or(m.Model, p.model), cmp.Or(m.Feedback, p.feedback)
		if m.Author != (normalize.Author{}) {
			p.author = m.Author
		}
		p.sources, p.prompts = append(p.sources, m.Sources...), append(p.prompts, m.Suggestions...)
	}
	if p.updated = p.answered; p.created.After(p.updated) { // some vendors tell whole seconds
		p.updated = p.created
	}
}

// page is how many messages are read at once.
const page = 200

// readPairs reads the whole of a thread.
func readPairs(r *http.Request, d adapters.Desk, threadID string) ([]shownPair, error) {
	var all []normalize.Message
	for offset := 0; ; offset += page {
		list, total, err := d.Messages(r.Context(), threadID, adapters.MessageQuery{Offset: offset, Limit: page})
		if err != nil {
			return nil, err
		}
		if all = append(all, list...); offset+page >= total {
			return pairUp(all), nil
		}
	}
}

// The parts that both versions show alike, but for how times are written.
type (
	shownHalf struct {
		Text      string `json:"text"`
		Timestamp string `json:"timestamp"`
	}
	shownPrompt struct {
		ID          string `json:"id"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Link        string `json:"link,omitempty"`
	}
)

// format writes a time as a version does.
type format string

const (
	micros format = "2006-01-02T15:04:05.000000Z"
	millis format = "2006-01-02T15:04:05.000Z"
)

func (f format) of(t time.Time) string { return t.UTC().Format(string(f)) }

// halves shows the two sides of a pair.
func (p *shownPair) halves(f format) (question, answer *shownHalf) {
	if p.question != nil {
		question = &shownHalf{p.question.Text, f.of(p.question.CreatedAt)}
	}
	if !p.answered.IsZero() {
		answer = &shownHalf{p.answer, f.of(p.answered)}
	}
	return question, answer
}

func (p *shownPair) reaction() string {
	return cmp.Or(strings.ToUpper(string(p.feedback)), reactionNeutral)
}

// sourceTexts shows sources as the vendor does, by their address or name.
func (p *shownPair) sourceTexts() []string {
	texts := []string{}
	for _, s := range p.sources {
		if text := cmp.Or(s.URL, s.Title, s.Text); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// promptLists tells the buttons from the plain suggestions.
func (p *shownPair) promptLists() (prompts []shownPrompt, smart []string) {
	prompts, smart = []shownPrompt{}, []string{}
	for _, s := range p.prompts {
		if s.ID == "" && s.Title == "" && s.URL == "" {
			smart = append(smart, s.Text)
			continue
		}
		prompts = append(prompts, shownPrompt{s.ID, s.Title, s.Text, s.URL})
	}
	return prompts, smart
}

// tally is what the lists say of a thread's messages.
type tally struct {
	total, positive, negative, gpt4, gpt35 int
	last                                   *shownPair // nil: none
}

func tallyOf(pairs []shownPair) tally {
	t := tally{total: len(pairs)}
	for i := range pairs {
		switch t.last = &pairs[i]; pairs[i].feedback {
		case normalize.FeedbackPositive:
			t.positive++
		case normalize.FeedbackNegative:
			t.negative++
		case normalize.FeedbackNeutral:
		}
		switch model := pairs[i].model; {
		case strings.HasPrefix(model, "gpt-4"):
			t.gpt4++
		case strings.HasPrefix(model, "gpt-3.5"):
			t.gpt35++
		}
	}
	return t
}

// orNull shows what is empty as null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// endedAt is when a thread ended, as far as is known; nil where it has not.
func endedAt(t *normalize.Thread, f format) *string {
	if t.Status != normalize.ThreadEnded {
		return nil
	}
	return orNull(f.of(t.UpdatedAt))
}

func isEscalated(t *normalize.Thread) bool { return t.Escalated != nil && *t.Escalated }

// personID is the id of the person who chats; empty where nothing is known of one.
func personID(t *normalize.Thread) string {
	if t.User == (normalize.User{}) {
		return ""
	}
	return cmp.Or(t.User.ID, normalize.UUIDForm(t.ID))
}
