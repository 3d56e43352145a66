package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// settleBatch is how much one round of book-keeping takes.
const settleBatch = 20

// Settling is the pace of the book-keeping. A zero field takes its default.
type Settling struct {
	Every time.Duration // between two rounds; default 2 s
	// Margin is how long after the end of an attempt's own time a message that the
	// vendor's list does not have is certainly absent; default 30 s.
	Margin time.Duration
	Again  time.Duration // until a message that could not be settled is looked for again; default 10 s
	// EraseAgain is how long after its first try an erasure that a vendor has failed is
	// tried again; the wait doubles up to 64 times that. Default 30 s.
	EraseAgain time.Duration
	EraseFor   time.Duration // until such an erasure is given up; default 7 days
	// Look is the first pause between two looks into a vendor's list for an answer that
	// comes later; they grow to 5 times that within the send. Default 1 s.
	Look     time.Duration
	AwaitFor time.Duration // until such an answer is not looked for any more; default 1 hour
}

func (s Settling) withDefaults() Settling {
	return Settling{
		Every: cmp.Or(s.Every, 2*time.Second), Margin: cmp.Or(s.Margin, 30*time.Second), Again: cmp.Or(s.Again, 10*time.Second),
		EraseAgain: cmp.Or(s.EraseAgain, 30*time.Second), EraseFor: cmp.Or(s.EraseFor, 7*24*time.Hour),
		Look: cmp.Or(s.Look, time.Second), AwaitFor: cmp.Or(s.AwaitFor, time.Hour),
	}
}

// Run does the engine's book-keeping until ctx ends: it renews the leases of the
// sends that run, settles sends whose owner died, and settles unknown messages by
// the vendors' own lists, tries erasures again that vendors have failed, sees to what
// comes later (answers, news, webhooks to register), and wakes watchers when another
// process has done something. No message is ever sent by it. Renewing waits for nothing else:
// a vendor that is slow to list must not cost a send its lease.
func (e *Engine) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { e.store.Follow(ctx, e.heard) })
	all.Go(func() { e.every(ctx, e.lease/3, func() { _ = e.renewLeases(ctx) }) })
	all.Go(func() { e.every(ctx, e.settling.Every, func() { e.settle(ctx) }) })
	all.Go(func() { e.every(ctx, e.settling.Every, func() { e.eraseDue(ctx) }) })
	all.Go(func() { e.every(ctx, e.settling.Every, func() { e.absorbNews(ctx) }) })
	all.Go(func() { e.every(ctx, e.settling.Every, func() { e.doChores(ctx) }) })
	all.Wait()
}

// every does a piece of book-keeping again and again. A panic in it is logged and
// ends that round only.
func (e *Engine) every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.guarded(do)
		}
	}
}

func (e *Engine) guarded(do func()) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("book-keeping panicked", zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	do()
}

func (e *Engine) renewLeases(ctx context.Context) error {
	e.mu.Lock()
	epochs := make([]string, 0, len(e.held))
	for epoch := range e.held {
		epochs = append(epochs, epoch)
	}
	e.mu.Unlock()
	if len(epochs) == 0 {
		return nil
	}
	lost, err := e.store.Renew(ctx, epochs, e.lease)
	if err != nil {
		e.log.Error("leases of running sends could not be renewed", zap.Int("sends", len(epochs)), zap.Error(err))
		return err
	}
	lost = slices.DeleteFunc(lost, func(epoch string) bool { return !e.holds(epoch) }) // those that ended meanwhile
	if len(lost) > 0 {
		e.log.Warn("running sends lost their lease; what they find out is not stored any more", zap.Strings("epochs", lost))
	}
	return nil
}

// settle does one round. What fails is tried again in a later one.
func (e *Engine) settle(ctx context.Context) {
	open, err := e.settleExpired(ctx)
	if err != nil {
		// Leases run out while the store is away, of which the owners live: they get the
		// time to renew them. The outage may last until the next round.
		e.patience = time.Now().Add(e.settling.Every + e.lease)
		return
	}
	for _, u := range open {
		if ctx.Err() != nil {
			return
		}
		if err := e.settleOne(ctx, u); err != nil && ctx.Err() == nil {
			e.log.Warn("an unknown message could not be settled", zap.String("thread", u.Message.ThreadID), zap.String("message", u.Message.ID), zap.Error(err))
		}
	}
}

// settleExpired settles sends whose lease has ended, and returns unknown messages that
// the vendors' lists may settle. An error is of the store.
func (e *Engine) settleExpired(ctx context.Context) ([]store.Unsettled, error) {
	// After an outage of the store our own leases may have run out: they come first.
	if err := e.renewLeases(ctx); err != nil {
		return nil, err
	}
	if time.Now().After(e.patience) {
		r, err := e.store.SettleExpired(ctx, settleBatch)
		if err != nil {
			e.log.Error("sends that their owner left could not be settled", zap.Error(err))
			return nil, err
		}
		if r.Failed+r.Unknown > 0 {
			e.log.Warn("sends settled that their owner left", zap.Int("failed", r.Failed), zap.Int("unknown", r.Unknown))
		}
	}
	open, err := e.store.Unsettled(ctx, now(), settleBatch)
	if err != nil {
		e.log.Error("unknown messages could not be listed", zap.Error(err))
	}
	return open, err
}

// settleOne looks an unknown message up in its vendor's list: found means sent, with
// the reply that follows it; certainly absent after all time has run out means failed.
// What is neither stays unknown.
func (e *Engine) settleOne(ctx context.Context, u store.Unsettled) error {
	use := e.use()
	defer use.release()
	b := use.byName[u.Backend]
	switch {
	case b == nil: // a reload may bring it back
		return e.postpone(ctx, u, 10*time.Minute, nil)
	case u.Message.Role != normalize.RoleUser || u.Binding.Remote.ThreadID == "" || !isOf(u.Binding, b):
		return e.postpone(ctx, u, 0, nil)
	}
	listed, able, failure := b.ListMessages(ctx, u.Binding.Remote)
	switch {
	case !able, failure != nil && failure.Kind.Policy().Count == normalize.CountExcluded && failure.VendorStatus != 0:
		return e.postpone(ctx, u, 0, nilIfNone(failure)) // the conversation is gone there, or too long to read
	case failure != nil:
		return e.postpone(ctx, u, e.settling.Again<<min(u.Tries, 6), failure)
	}
	ours, err := e.saidAt(ctx, u)
	if err != nil {
		return err
	}
	at := now()
	over := at.Sub(u.EndedAt) > e.settling.Margin
	s := store.Settlement{
		Tenant: u.Tenant, ThreadID: u.Message.ThreadID, MessageID: u.Message.ID, Attempts: u.Attempts, Now: at,
	}
	verdict, i := lookUp(listed, ours, u.Message)
	switch {
	case verdict == found:
		s.Status, s.RemoteID, s.Raw = normalize.StatusSent, listed[i].RemoteID, listed[i].Raw
		for _, m := range listed[i+1:] {
			if m.Role == normalize.RoleUser {
				break
			}
			if m.Text != "" || len(m.Attachments) > 0 {
				s.Replies = append(s.Replies, completed(m, s.ThreadID, s.MessageID, u.Backend, at))
			}
		}
		if len(s.Replies) == 0 && !over {
			return e.postpone(ctx, u, e.settling.Again, nil) // the bot may still be at it
		}
		if _, later := b.AnswersLater(); later && len(s.Replies) == 0 {
			s.Await = &store.Chore{
				Tenant: s.Tenant, ThreadID: s.ThreadID, Kind: store.ChoreAnswer, MessageID: s.MessageID, Backend: u.Backend, Due: at, CreatedAt: at,
			}
		}
	case !over:
		return e.postpone(ctx, u, e.settling.Again, nil)
	case verdict == absent:
		s.Status = normalize.StatusFailed
	default:
		return e.postpone(ctx, u, 0, nil)
	}
	err = e.store.Settle(ctx, s)
	switch {
	case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrChanged): // somebody is at it: another time, if it is needed then
		return nil
	case err != nil:
		return err
	}
	e.hub.wake(s.ThreadID)
	e.log.Info("unknown message settled by the vendor's list", zap.String("thread", s.ThreadID), zap.String("message", s.MessageID),
		zap.String("status", string(s.Status)), zap.Int("replies", len(s.Replies)))
	return nil
}

// postpone puts a message aside: for a while, or for good where the wait is 0.
func (e *Engine) postpone(ctx context.Context, u store.Unsettled, wait time.Duration, why error) error {
	var until time.Time
	if wait > 0 {
		until = now().Add(wait)
	}
	err := e.store.PostponeSettling(ctx, u.Tenant, u.Message.ThreadID, u.Message.ID, until)
	if errors.Is(err, store.ErrChanged) { // settled or sent again meanwhile
		err = nil
	}
	return errors.Join(why, err)
}

func nilIfNone(failure *normalize.Error) error {
	if failure == nil {
		return nil
	}
	return failure
}

// said is a message of the person's at one backend, as our transcript has it.
type said struct {
	normalize.Message
	certain bool // the vendor has it: it told its id of it, or answered it
}

// saidAt gives what the thread said at the backend of an unknown message, in order.
func (e *Engine) saidAt(ctx context.Context, u store.Unsettled) ([]said, error) {
	var list []said
	at := make(map[string]int)
	for r := (store.Range{Limit: 200, Ascending: true}); ; {
		page, more, err := e.store.Messages(ctx, u.Tenant, u.Message.ThreadID, r)
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			switch i, known := at[m.InReplyTo]; {
			case m.Role == normalize.RoleUser && m.Backend == u.Backend && m.Status == normalize.StatusSent, m.ID == u.Message.ID:
				at[m.ID] = len(list)
				list = append(list, said{Message: m.Message, certain: m.RemoteID != ""})
			case known && m.Status == normalize.StatusComplete:
				list[i].certain = true
			}
		}
		if !more {
			return list, nil
		}
		r.After.Seq = page[len(page)-1].Seq
	}
}

// verdict is what a vendor's list says about a message.
type verdict int

const (
	undecided verdict = iota
	found
	absent
)

// lookUp looks for a message of ours in a vendor's list. What is certainly there of the
// others is given its place first; the message is then looked for between its
// neighbours' places. Absent is said only where the list has no message of the person's
// left over that it could be, be it in other words.
func lookUp(listed []normalize.Message, ours []said, message normalize.Message) (verdict, int) {
	known := make(map[string]bool)
	for _, o := range ours {
		if o.RemoteID != "" && o.ID != message.ID {
			known[o.RemoteID] = true
		}
	}
	taken := make(map[int]bool)
	ids := false // the vendor tells ids, so what has one of them is not looked for by its text
	for i, m := range listed {
		ids = ids || m.Role == normalize.RoleUser && m.RemoteID != ""
		if m.Role != normalize.RoleUser || m.RemoteID != "" && known[m.RemoteID] {
			taken[i] = true
		}
	}
	before, after := -1, len(listed) // the places of the nearest neighbours
	place := func(o said, from, to, step int) int {
		for i := from; i != to; i += step {
			if o.RemoteID != "" && ids {
				if listed[i].RemoteID == o.RemoteID {
					return i
				}
			} else if !taken[i] && isSaid(listed[i], o.Text) {
				return i
			}
		}
		return -1
	}
	mine := slices.IndexFunc(ours, func(o said) bool { return o.ID == message.ID })
	doubtful := 0
	for _, o := range ours[:max(mine, 0)] { // in order, each at its earliest place
		if i := place(o, before+1, len(listed), 1); o.certain && i >= 0 {
			before, taken[i] = i, true
		} else {
			doubtful++
		}
	}
	for _, o := range slices.Backward(ours[mine+1:]) { // from the end, each at its latest place
		if i := place(o, after-1, before, -1); o.certain && i >= 0 {
			after, taken[i] = i, true
		} else {
			doubtful++
		}
	}
	left := 0
	for i := before + 1; i < after; i++ {
		if taken[i] {
			continue
		}
		if isSaid(listed[i], message.Text) && doubtful == 0 {
			return found, i
		}
		left++
	}
	if left == 0 && doubtful == 0 {
		return absent, -1
	}
	return undecided, -1
}

// isSaid reports whether a vendor's message is this text of the person's: word for
// word, or at the end of a primer.
func isSaid(m normalize.Message, text string) bool {
	return m.Role == normalize.RoleUser && (m.Text == text || strings.HasSuffix(m.Text, primerEnd+text))
}
