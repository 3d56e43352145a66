package engine

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// checkpointEvery is how much of an answer that is being told can be lost at most
// with this process.
const checkpointEvery = 2 * time.Second

// stream sends the message, and tells the answer as it comes.
func (s *sending) stream(admission *backend.Admission, b *backend.Backend, turn adapters.Turn) (adapters.Reply, *normalize.Error) {
	stop := func() {}
	reply, failure := admission.Stream(s.ctx, turn, func(d adapters.Delta) error {
		if s.telling == nil {
			s.telling = &telling{at: s.event, replyID: newID(normalize.PrefixMessage), backend: b.Name()}
			stop = s.checkpoint(s.telling)
		}
		n := s.telling.say(d.Text)
		s.engine.hub.wake(s.thread.ID)
		s.tell(normalize.Event{
			ID: place{s.event, n}.String(), Type: normalize.EventDelta, MessageID: s.telling.replyID, Text: d.Text,
		}, b.Name())
		return nil
	})
	stop()
	s.left = failure != nil && context.Cause(s.ctx) == errCallerLeft //nolint:errorlint // the very cause
	return reply, failure
}

// checkpoint shows an answer to the watchers of its thread, and saves every now and
// then how far it has come, until stop is called. What cannot be saved is tried
// again: a stream does not end because of it.
func (s *sending) checkpoint(t *telling) (stop func()) {
	silence := s.engine.hub.tell(s.thread.ID, t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	var saving sync.Mutex
	saved := 0
	saving.Lock()
	defer saving.Unlock()
	var timer *time.Timer // between two of them nothing waits: many streams are open at once
	timer = time.AfterFunc(checkpointEvery, func() {
		saving.Lock()
		defer saving.Unlock()
		text, pieces := t.told()
		if ctx.Err() == nil && len(pieces) > saved {
			p := store.Partial{ReplyID: t.replyID, Backend: t.backend, Text: text, Pieces: pieces}
			if err := s.engine.store.SavePartial(ctx, s.thread.ID, s.epoch, p); err == nil {
				saved = len(pieces)
			} else if ctx.Err() == nil {
				s.engine.log.Warn("how far an answer has come could not be saved", zap.String("thread", s.thread.ID), zap.Error(err))
			}
		}
		if ctx.Err() == nil {
			timer.Reset(checkpointEvery)
		}
	})
	return func() {
		cancel()
		saving.Lock() // one that is being written ends before the outcome is
		defer saving.Unlock()
		timer.Stop()
		silence()
	}
}

// entries are the events of the end of a send.
func (s *sending) entries(turn *Turn, failure *normalize.Error) []store.Entry {
	var list []store.Entry
	was, is := &s.thread.Thread, &turn.Thread
	if holder, held := was.Binding(); held && !s.unheld && holder.Backend != is.Backend {
		list = append(list, store.Entry{Type: normalize.EventThread, Moved: true})
	}
	if was.Mode != is.Mode || was.Status != is.Status || was.Title != is.Title {
		list = append(list, store.Entry{Type: normalize.EventThread})
	}
	ids := make([]string, 0, len(turn.Replies))
	for i, r := range turn.Replies {
		if r.Text != "" {
			pieces := []int{len(r.Text)}
			if i == 0 && s.telling != nil {
				_, pieces = s.telling.told()
			}
			list = append(list, store.Entry{Type: normalize.EventDelta, MessageID: r.ID, Pieces: pieces})
		}
		if r.Status == normalize.StatusComplete {
			list = append(list, store.Entry{Type: normalize.EventReply, MessageID: r.ID})
			ids = append(ids, r.ID)
		}
	}
	if failure != nil {
		return append(list, store.Entry{Type: normalize.EventError, MessageID: s.message.ID, Failure: failure})
	}
	return append(list, store.Entry{Type: normalize.EventDone, MessageID: s.message.ID, Replies: ids})
}

// tellEnd tells the observer what it does not know yet of a send whose outcome is
// stored: last is the position of the last of its events.
func (s *sending) tellEnd(turn Turn, entries []store.Entry, last int64) {
	if s.observe == nil {
		return
	}
	at := place{seq: last}
	for _, e := range entries {
		if e.Type != normalize.EventDelta {
			at.seq--
		}
	}
	at.seq = max(at.seq, s.event)
	replies := make(map[string]*normalize.Message, len(turn.Replies))
	for i := range turn.Replies {
		replies[turn.Replies[i].ID] = &turn.Replies[i]
	}
	for _, e := range entries {
		event := normalize.Event{Type: e.Type}
		switch e.Type {
		case normalize.EventDelta:
			if s.telling != nil && e.MessageID == s.telling.replyID {
				at.pieces += len(e.Pieces)
				continue
			}
			at.pieces++
			event.MessageID, event.Text = e.MessageID, replies[e.MessageID].Text
		case normalize.EventThread: // for the watchers of the thread
			at.seq++
			continue
		case normalize.EventReply:
			at.seq++
			event.Message = replies[e.MessageID]
		default:
			at.seq++
			at.pieces = 0
			event.Thread, event.Message, event.Replies, event.Err = &turn.Thread, &turn.Message, e.Replies, e.Failure
		}
		event.ID = at.String()
		s.tell(event, turn.Backend)
	}
}

func (s *sending) tell(event normalize.Event, backendName string) {
	if s.observe != nil {
		s.observe(Observed{Event: event, Backend: backendName, Route: routeName(s.route)})
	}
}
