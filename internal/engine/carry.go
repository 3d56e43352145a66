package engine

import (
	"cmp"
	"context"
	"slices"
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

// The primer's limits: the newest turns that fit are kept. No vendor says how long a
// message may be; what a caller may send always goes through, so a primer and its
// message together are never longer than that.
const (
	primerMessages = 100
	primerBytes    = 8 << 10  // of the context, its marks included
	primedBytes    = 64 << 10 // of the context and the message
	primerReads    = 8 << 20  // of text that is read for it
)

// turnFor makes what the adapter gets: the message, and of the past what the vendor
// does not know by itself.
func (s *sending) turnFor(b *backend.Backend, remote normalize.Remote) (adapters.Turn, error) {
	turn := adapters.Turn{Thread: s.thread.Thread, Remote: remote, Message: s.message}
	turn.Thread.Bindings, turn.Thread.Raw = nil, nil
	s.carried = levelNone
	if s.fresh {
		return turn, nil
	}
	holder, held := s.thread.Binding()
	switch here := held && holder.Backend == b.Name(); {
	case !b.Stateful():
	case s.message.Role != normalize.RoleUser: // a human does not tell the past
		return turn, nil
	case s.thread.Carry == CarryTranscript, held && !here && !s.unheld:
	default:
		return turn, nil
	}
	past, level, err := s.engine.past(context.WithoutCancel(s.ctx), &s.thread.Thread, s.message.ID, b)
	if err != nil {
		return turn, err
	}
	if level == levelPrimer {
		if told, ok := primer(past, s.message.Text); ok {
			turn.Message.Text, s.carried = told, level
		}
		return turn, nil
	}
	if held && holder.Backend == b.Name() && holder.Reason == movedBlank {
		past = since(past, holder)
	}
	turn.History, s.carried = past, levelHistory
	return turn, nil
}

// past gives what was said in a thread before a message (empty: all of it) that a
// backend does not know by itself, oldest first, and how it can be told there. With
// nothing to tell the level is none.
func (e *Engine) past(ctx context.Context, t *normalize.Thread, before string, b *backend.Backend) ([]normalize.Message, string, error) {
	limits, level := adapters.HistoryLimits{Messages: primerMessages, Bytes: primerReads}, levelPrimer
	if !b.Stateful() {
		limits, level = b.HistoryLimits(), levelHistory
	}
	if limits == (adapters.HistoryLimits{}) {
		return nil, levelNone, nil
	}
	past, err := e.store.History(ctx, t.Tenant, t.ID, before, limits.Messages, limits.Bytes)
	if err != nil {
		return nil, levelNone, err
	}
	if level == levelPrimer {
		past = unseen(past, t, b)
	}
	if len(past) == 0 {
		level = levelNone
	}
	return past, level, nil
}

// unseen leaves out what a backend was told or said itself when it held the thread
// before. Up to the last message that it served, it lacks only what was said before it
// got the thread with nothing of the past.
func unseen(past []normalize.Message, t *normalize.Thread, b *backend.Backend) []normalize.Message {
	held := slices.DeleteFunc(slices.Clone(t.Bindings), func(held normalize.Binding) bool { return !isOf(held, b) })
	if !slices.ContainsFunc(held, func(held normalize.Binding) bool { return !held.Until.IsZero() }) {
		return past
	}
	var list []normalize.Message
	served, told := false, false
	for _, m := range slices.Backward(past) {
		switch {
		case m.Backend == b.Name():
			served = true
			told = told || m.Role == normalize.RoleUser && !blankAt(held, m.CreatedAt)
		case !served || !told:
			list = append(list, m)
		}
	}
	slices.Reverse(list)
	return list
}

// blankAt says whether of these bindings the one that held at a moment began with
// nothing of the past.
func blankAt(held []normalize.Binding, at time.Time) bool {
	for _, b := range slices.Backward(held) {
		if !b.Since.After(at) {
			return b.Reason == movedBlank
		}
	}
	return false
}

// since gives the turns that began since a binding did. A moment alone does not tell, as
// several things can happen in one millisecond: what another backend served was before.
// Only what was said to us tells when, as the time of a reply is the vendor's.
func since(past []normalize.Message, held normalize.Binding) []normalize.Message {
	begin := len(past)
	for i, m := range slices.Backward(past) {
		if m.Backend != held.Backend || m.Role == normalize.RoleUser && m.CreatedAt.Before(held.Since) {
			break
		}
		if m.Role == normalize.RoleUser {
			begin = i
		}
	}
	return past[begin:]
}

// The marks of a primer, around what was said and between it and the new message.
const (
	primerStart = "[Context, for your information only. This conversation began elsewhere; what was said so far:]\n"
	primerCut   = "[…]\n" // older turns are left out
	primerEnd   = "[End of the context. Answer only the following message.]\n\n"
)

// primer tells a bot that does not know a thread what was said in it, before the new
// message. Of more than its limits allow the newest turns are kept, the only one that
// is left cut where it has to be. False where there is no room for anything.
func primer(past []normalize.Message, text string) (string, bool) {
	room := min(primerBytes, primedBytes-len(text)) - len(primerStart) - len(primerCut) - len(primerEnd)
	var kept []string
	for _, m := range slices.Backward(past) {
		line := spoken(m)
		if len(line) > room && len(kept) == 0 && room > len(primerCut) {
			line = strings.ToValidUTF8(line[:room-len(primerCut)], "") + primerCut
		}
		if len(line) > room {
			break
		}
		room -= len(line)
		kept = append(kept, line)
	}
	if len(kept) == 0 {
		return "", false
	}
	slices.Reverse(kept)
	mark := ""
	if len(kept) < len(past) {
		mark = primerCut
	}
	return primerStart + mark + strings.Join(kept, "") + primerEnd + text, true
}

// spoken is one message as a line of a primer.
func spoken(m normalize.Message) string {
	who := "Assistant"
	switch m.Role {
	case normalize.RoleUser:
		who = "User"
	case normalize.RoleOperator:
		who = "Agent"
	case normalize.RoleAssistant, normalize.RoleSystem:
	}
	parts := []string{}
	if m.Text != "" {
		parts = append(parts, m.Text)
	}
	for _, a := range m.Attachments {
		parts = append(parts, "["+strings.TrimSpace(string(a.Type)+" "+cmp.Or(a.Filename, a.URL))+"]")
	}
	return who + ": " + strings.Join(parts, " ") + "\n"
}

// noticeMoved is the notice of a thread that went to another backend.
const noticeMoved = "thread_moved"

// movedNotice is what stands in the transcript where a thread went to another
// backend, and at which level its past went along.
func movedNotice(threadID, from, to, level string, at time.Time) normalize.Message {
	return normalize.Message{
		ID: newID(normalize.PrefixMessage), ThreadID: threadID, Role: normalize.RoleSystem, Type: normalize.TypeText,
		Text: "moved from " + from + " to " + to + " (carried along: " + level + ")", Status: normalize.StatusComplete, Notice: noticeMoved, Backend: to, CreatedAt: at,
	}
}
