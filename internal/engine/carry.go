package engine

import (
	"context"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/normalize"
)

// What of the past can go along to another backend.
const (
	CarryNone       = "none"
	CarryTranscript = "transcript"
)

// The levels of carrying that are really used; they stand in a binding's reason.
const (
	levelHistory = "history" // as such, exactly
	levelPrimer  = "primer"  // told in the first message, as context
	levelNone    = "none"
)

// movedBlank is the reason of a binding that began with nothing of the past.
const movedBlank = "moved: " + levelNone

// The primer's limits: the newest turns that fit are kept.
const (
	primerMessages = 100
	primerBytes    = 8 << 10
)

// turnFor makes what the adapter gets: the message, and of the past what the vendor
// does not know by itself.
func (s *sending) turnFor(b *backend.Backend, remote normalize.Remote) (adapters.Turn, error) {
	turn := adapters.Turn{Thread: s.thread.Thread, Remote: remote, Message: s.message}
	turn.Thread.Bindings, turn.Thread.Raw = nil, nil
	s.carried = levelNone
	switch holder, held := s.thread.Binding(); {
	case s.fresh:
	case !b.Stateful():
		limits := b.HistoryLimits()
		past, err := s.past(limits.Messages, limits.Bytes)
		if err != nil {
			return turn, err
		}
		if held && holder.Backend == b.Name() && holder.Reason == movedBlank {
			past = after(past, holder.Since)
		}
		turn.History, s.carried = past, levelHistory
	case s.message.Role != normalize.RoleUser: // a human does not tell the past
	case s.thread.Carry == CarryTranscript, held && holder.Backend != b.Name() && !s.unheld:
		past, err := s.past(primerMessages, primerBytes)
		if err != nil {
			return turn, err
		}
		if unseen := after(past, lastSeen(&s.thread.Thread, b.Name())); len(unseen) > 0 {
			turn.Message.Text, s.carried = primer(unseen, s.message.Text), levelPrimer
		}
	}
	return turn, nil
}

func (s *sending) past(messages, bytes int) ([]normalize.Message, error) {
	if messages == 0 || bytes == 0 {
		return nil, nil
	}
	past, err := s.engine.store.History(context.WithoutCancel(s.ctx), s.thread.Tenant, s.thread.ID, s.message.ID, messages, bytes)
	return past, err
}

// lastSeen is until when a backend held the thread before; zero where it never did.
func lastSeen(t *normalize.Thread, backendName string) time.Time {
	var seen time.Time
	for _, b := range t.Bindings {
		if b.Backend == backendName && b.Until.After(seen) {
			seen = b.Until
		}
	}
	return seen
}

// after gives the turns that began after a moment. Only what was said to us tells
// when: the time of a reply is the vendor's.
func after(messages []normalize.Message, moment time.Time) []normalize.Message {
	for i, m := range messages {
		if m.Role == normalize.RoleUser && m.CreatedAt.After(moment) {
			return messages[i:]
		}
	}
	return nil
}

// primerEnd stands between the past and the new message.
const primerEnd = "[End of the context. Answer only the following message.]\n\n"

// primer tells a bot that does not know the thread what was said in it, before the
// new message.
func primer(past []normalize.Message, text string) string {
	var b strings.Builder
	b.WriteString("[Context, for your information only. This conversation began elsewhere; what was said so far:]\n")
	for _, m := range past {
		switch m.Role {
		case normalize.RoleUser:
			b.WriteString("User: ")
		case normalize.RoleOperator:
			b.WriteString("Agent: ")
		default:
			b.WriteString("Assistant: ")
		}
		b.WriteString(m.Text)
		b.WriteByte('\n')
	}
	b.WriteString(primerEnd)
	b.WriteString(text)
	return b.String()
}

// movedNotice is what stands in the transcript where a thread went to another
// backend.
func movedNotice(threadID, from, to string, at time.Time) normalize.Message {
	return normalize.Message{
		ID: newID(normalize.PrefixMessage), ThreadID: threadID, Role: normalize.RoleSystem, Type: normalize.TypeText,
		Text: "moved from " + from + " to " + to, Status: normalize.StatusComplete, Notice: "thread_moved", Backend: to, CreatedAt: at,
	}
}
