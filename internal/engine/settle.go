package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// settleBatch is how much one round of book-keeping takes.
const settleBatch = 20

// settleNever puts a message aside for which there is nobody to ask.
const settleNever = 100 * 365 * 24 * time.Hour

// Settling is the pace of the book-keeping. A zero field takes its default.
type Settling struct {
	Every time.Duration // between two rounds; default 2 s
	// Margin is how long after the end of an attempt's own time a message that the
	// vendor's list does not have is certainly absent; default 30 s.
	Margin time.Duration
	Again  time.Duration // until a message that could not be settled is looked for again; default 10 s
}

func (s Settling) withDefaults() Settling {
	return Settling{
		Every: cmp.Or(s.Every, 2*time.Second), Margin: cmp.Or(s.Margin, 30*time.Second), Again: cmp.Or(s.Again, 10*time.Second),
	}
}

// Run does the engine's book-keeping until ctx ends: it renews the leases of the
// sends that run, settles sends whose owner died, and settles unknown messages by
// the vendors' own lists. Nothing is ever sent by it.
func (e *Engine) Run(ctx context.Context) {
	renew, settle := time.NewTicker(e.lease/3), time.NewTicker(e.settling.Every)
	defer renew.Stop()
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			e.renewLeases(ctx)
		case <-settle.C:
			e.settle(ctx)
		}
	}
}

func (e *Engine) renewLeases(ctx context.Context) {
	e.mu.Lock()
	epochs := make([]string, 0, len(e.held))
	for epoch := range e.held {
		epochs = append(epochs, epoch)
	}
	e.mu.Unlock()
	if len(epochs) == 0 {
		return
	}
	lost, err := e.store.Renew(ctx, epochs, e.lease)
	if err != nil {
		e.log.Error("leases of running sends could not be renewed", zap.Int("sends", len(epochs)), zap.Error(err))
	}
	if len(lost) > 0 {
		e.log.Warn("running sends lost their lease; what they find out is not stored any more", zap.Strings("epochs", lost))
	}
}

// settle does one round. What fails is tried again in a later one.
func (e *Engine) settle(ctx context.Context) {
	if r, err := e.store.SettleExpired(ctx, settleBatch); err != nil {
		e.log.Error("sends that their owner left could not be settled", zap.Error(err))
		return
	} else if r.Failed+r.Unknown > 0 {
		e.log.Warn("sends settled that their owner left", zap.Int("failed", r.Failed), zap.Int("unknown", r.Unknown))
	}
	open, err := e.store.Unsettled(ctx, now(), settleBatch)
	if err != nil {
		e.log.Error("unknown messages could not be listed", zap.Error(err))
		return
	}
	for _, u := range open {
		if ctx.Err() != nil {
			return
		}
		if err := e.settleOne(ctx, u); err != nil {
			e.log.Warn("an unknown message could not be settled", zap.String("thread", u.Message.ThreadID), zap.String("message", u.Message.ID), zap.Error(err))
		}
	}
}

// settleOne looks an unknown message up in its vendor's list: found means sent, with
// the reply that follows it; absent after all time has run out means failed.
func (e *Engine) settleOne(ctx context.Context, u store.Unsettled) error {
	message := u.Message
	postpone := func(wait time.Duration, why error) error {
		return errors.Join(why, e.store.PostponeSettling(ctx, u.Tenant, message.ThreadID, message.ID, now().Add(wait)))
	}
	b := e.current.Load().byName[u.Backend]
	if b == nil || u.Binding.Remote.ThreadID == "" {
		return postpone(settleNever, nil)
	}
	said, able, failure := b.ListMessages(ctx, u.Binding.Remote)
	switch {
	case !able:
		return postpone(settleNever, nil)
	case failure != nil:
		return postpone(e.settling.Again, failure)
	}
	known, err := e.sentTexts(ctx, u)
	if err != nil {
		return err
	}
	at := now()
	s := store.Settlement{Tenant: u.Tenant, ThreadID: message.ThreadID, MessageID: message.ID, Now: at}
	i := lastSaid(said, message.Text)
	switch {
	case i >= 0 && countSaid(said, message.Text) > known[message.Text]:
		s.Status, s.RemoteID, s.Raw = normalize.StatusSent, said[i].RemoteID, said[i].Raw
		for _, m := range said[i+1:] {
			if m.Role == normalize.RoleUser {
				break
			}
			if m.Text != "" || len(m.Attachments) > 0 {
				s.Replies = append(s.Replies, completed(m, message.ThreadID, message.ID, u.Backend, at))
			}
		}
	case at.Sub(u.StartedAt) > b.Total()+e.settling.Margin:
		s.Status = normalize.StatusFailed
	default:
		return postpone(e.settling.Again, nil)
	}
	err = e.store.Settle(ctx, s)
	switch {
	case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrChanged): // somebody is at it: another time
		return postpone(e.settling.Again, nil)
	case err != nil:
		return err
	}
	e.log.Info("unknown message settled by the vendor's list", zap.String("thread", u.Message.ThreadID), zap.String("message", u.Message.ID),
		zap.String("status", string(s.Status)), zap.Int("replies", len(s.Replies)))
	return nil
}

// sentTexts counts what the thread is known to have said at this backend, by text.
func (e *Engine) sentTexts(ctx context.Context, u store.Unsettled) (map[string]int, error) {
	known := make(map[string]int)
	for r := (store.Range{Limit: 200, Ascending: true}); ; {
		list, more, err := e.store.Messages(ctx, u.Tenant, u.Message.ThreadID, r)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			if m.Role == normalize.RoleUser && m.Status == normalize.StatusSent && m.Backend == u.Backend {
				known[m.Text]++
			}
		}
		if !more {
			return known, nil
		}
		r.After.Seq = list[len(list)-1].Seq
	}
}

// isSaid reports whether a vendor's message is this text of the person's: word for
// word, or at the end of a primer.
func isSaid(m normalize.Message, text string) bool {
	return m.Role == normalize.RoleUser && (m.Text == text || strings.HasSuffix(m.Text, primerEnd+text))
}

func countSaid(said []normalize.Message, text string) (n int) {
	for _, m := range said {
		if isSaid(m, text) {
			n++
		}
	}
	return n
}

func lastSaid(said []normalize.Message, text string) int {
	for i := range slices.Backward(said) {
		if isSaid(said[i], text) {
			return i
		}
	}
	return -1
}
