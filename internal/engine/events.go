package engine

import (
	"context"
	"errors"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// Tell gives events to emit until its ctx ends, which is no error. An error of emit ends
// it and is returned.
type Tell func(ctx context.Context, emit func(normalize.Event) error) error

// Events gives what tells what happens in a thread: first what happened after the
// event with the id after ("0": from the beginning; empty: from now on, or from the
// beginning of the turn that runs), then everything as it happens. Whoever was told
// an id gets the rest by it, without a gap and without a repeat, from every replica
// and after a restart: deltas in the very same pieces, everything else as it is stored
// when it is told.
//
// KindNotFound: there is no such thread, or, told later, not any more. KindDraining,
// told later: the server shuts down.
func (e *Engine) Events(ctx context.Context, o Origin, threadID, after string) (Tell, error) {
	w := watcher{engine: e, tenant: o.Caller.Tenant, threadID: threadID}
	if err := w.begin(ctx, after); err != nil {
		return nil, err
	}
	return func(ctx context.Context, emit func(normalize.Event) error) error {
		w.emit = emit
		return w.follow(ctx)
	}, nil
}

// Retell tells again how a message was answered, with the ids that its events had, up
// to the end of the turn. Of a message that was sent several times it is the last
// time.
func (e *Engine) Retell(ctx context.Context, o Origin, threadID, messageID string, emit func(normalize.Event) error) error {
	begin, err := e.store.EventOf(ctx, o.Caller.Tenant, threadID, messageID)
	if err != nil {
		return e.storeError(err)
	}
	w := watcher{engine: e, tenant: o.Caller.Tenant, threadID: threadID, at: place{seq: begin - 1}}
	w.emit = func(event normalize.Event) error {
		if err := emit(event); err != nil {
			return err
		}
		if event.Type == normalize.EventDone || event.Type == normalize.EventError {
			return errTold
		}
		return nil
	}
	if err := w.look(ctx); err != nil && !errors.Is(err, errTold) {
		return err
	}
	return nil
}

// errTold says that all was told that was asked for.
var errTold = errors.New("engine: told")

// follow tells until ctx ends.
func (w *watcher) follow(ctx context.Context) error {
	e := w.engine
	woken, leave := e.hub.watch(w.threadID)
	defer leave()
	poll := time.NewTicker(e.poll)
	defer poll.Stop()
	for {
		if err := w.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.over:
			return &normalize.Error{Kind: normalize.KindDraining}
		case <-woken:
		case <-poll.C:
		}
	}
}

// heard wakes who watches threads in which another process has done something.
func (e *Engine) heard(threadIDs []string, missed bool) {
	if missed {
		e.hub.wakeAll()
	}
	for _, id := range threadIDs {
		e.hub.wake(id)
	}
}

// watcher is somebody who is told what happens in a thread.
type watcher struct {
	engine   *Engine
	tenant   string
	threadID string
	emit     func(normalize.Event) error
	at       place
}

func (w *watcher) log(ctx context.Context) (store.Log, error) {
	log, err := w.engine.store.Events(ctx, w.tenant, w.threadID, w.at.seq)
	if err != nil {
		return log, w.engine.storeError(err)
	}
	return log, nil
}

func (w *watcher) begin(ctx context.Context, after string) (err error) {
	if after != "" {
		if w.at, err = readPlace(after); err != nil {
			return err
		}
	}
	log, err := w.log(ctx)
	if err != nil || after != "" {
		return err
	}
	w.at.seq = log.Last
	if log.Sending == "" {
		return nil
	}
	position, err := w.engine.store.EventOf(ctx, w.tenant, w.threadID, log.Sending)
	if err != nil {
		return w.engine.storeError(err)
	}
	w.at.seq = position - 1
	return nil
}

// look tells everything that has happened since the last look.
func (w *watcher) look(ctx context.Context) error {
	for {
		log, err := w.log(ctx)
		if err != nil {
			return err
		}
		if w.at.seq > log.Last { // of a thread that was restored from an older copy
			w.at = place{seq: log.Last}
		}
		pieces := 0 // of the turn whose entries are read
		for _, entry := range log.Entries {
			if err := w.tell(&log.Thread.Thread, entry, &pieces); err != nil {
				return err
			}
		}
		if log.More {
			continue
		}
		if t := w.engine.hub.told(w.threadID); t != nil && t.at <= w.at.seq {
			return w.say(t.replyID, t.after(w.at.pieces))
		}
		if p := log.Partial; p != nil {
			return w.say(p.ReplyID, cut(p.Text, p.Pieces, w.at.pieces))
		}
		return nil
	}
}

// tell tells one entry, unless it was told before.
func (w *watcher) tell(thread *normalize.Thread, entry store.Recorded, pieces *int) error {
	if entry.Type == normalize.EventDelta {
		if entry.Message == nil {
			return nil
		}
		list := cut(entry.Message.Text, entry.Pieces, 0)
		for i, text := range list {
			if *pieces+i < w.at.pieces {
				continue
			}
			if err := w.say(entry.MessageID, []string{text}); err != nil {
				return err
			}
		}
		*pieces += len(list)
		return nil
	}
	if entry.Seq <= w.at.seq {
		return nil
	}
	w.at.seq = entry.Seq
	event := normalize.Event{Type: entry.Type, Err: entry.Failure, Replies: entry.Replies}
	switch entry.Type { //nolint:exhaustive // an error has what was set above; a delta is told above
	case normalize.EventMessage, normalize.EventDone:
		event.Thread, event.Message = thread, entry.Message
	case normalize.EventReply:
		event.Message = entry.Message
	case normalize.EventThread:
		event.Thread = thread
	}
	if ends(entry.Type) {
		w.at.pieces, *pieces = 0, 0
	}
	event.ID = w.at.String()
	return w.emit(event)
}

// ends reports whether an event ends what pieces are counted in.
func ends(t normalize.EventType) bool {
	return t == normalize.EventMessage || t == normalize.EventDone || t == normalize.EventError
}

// say tells pieces of a reply.
func (w *watcher) say(replyID string, texts []string) error {
	for _, text := range texts {
		w.at.pieces++
		if err := w.emit(normalize.Event{ID: w.at.String(), Type: normalize.EventDelta, MessageID: replyID, Text: text}); err != nil {
			return err
		}
	}
	return nil
}
