package httpapi

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// maxBacklog is how much text of an answer is kept for a client that does not read
// it as fast as it is made.
const maxBacklog = 256 << 10

// feed stands between who tells events and the client that reads them. A client that
// falls behind holds up who tells, as long as it reads at all: whoever does not take
// what is written within the time for it has left.
type feed struct {
	mu      sync.Mutex
	queue   []engine.Observed
	backlog int
	gone    bool          // nobody reads any more: what is told is thrown away
	woken   chan struct{} // there is something new
	drained chan struct{} // the queue was taken
	ended   chan struct{} // closed when nothing more is told

	turn engine.Turn // how it ended
	err  error
}

func newFeed() *feed {
	return &feed{woken: make(chan struct{}, 1), drained: make(chan struct{}, 1), ended: make(chan struct{})}
}

// run does the work that tells, in the goroutine that it is called in. A panic is
// logged and ends it as a fault of ours.
func (f *feed) run(log *zap.Logger, work func() (engine.Turn, error)) {
	defer close(f.ended)
	defer func() {
		if v := recover(); v != nil {
			log.Error("panic", zap.String("panic", panicText(v)), zap.ByteString("stack", debug.Stack()))
			f.err = &normalize.Error{Kind: normalize.KindInternal, Outcome: normalize.OutcomeUnknown}
		}
	}()
	f.turn, f.err = work()
}

// push adds an event.
func (f *feed) push(e engine.Observed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.gone && len(f.queue) > 0 && f.backlog+len(e.Text) > maxBacklog {
		f.mu.Unlock()
		<-f.drained
		f.mu.Lock()
	}
	if f.gone {
		return
	}
	f.queue, f.backlog = append(f.queue, e), f.backlog+len(e.Text)
	signal(f.woken)
}

// take gives what was told since the last time.
func (f *feed) take() []engine.Observed {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.queue
	f.queue, f.backlog = nil, 0
	signal(f.drained)
	return list
}

// leave says that nobody reads any more.
func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone, f.queue = true, nil
	signal(f.drained)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// isContent reports whether an event shows something of an answer, or its end: what
// the head of a stream waits for.
func isContent(e engine.Observed) bool { return e.Type != normalize.EventMessage }

// head waits for the first content of an answer, as long as a head waits, and gives
// what was told until then. Over says that the send has failed, or was answered before,
// and nothing was shown: it has a status of its own.
func (c *call) head(f *feed) (first []engine.Observed, over bool) {
	wait := time.NewTimer(c.api.limits.HeadWait)
	defer wait.Stop()
	for waiting := true; waiting; {
		select {
		case <-f.woken:
		case <-f.ended:
			if f.err != nil || f.turn.Replay != nil {
				return nil, true
			}
			waiting = false
		case <-wait.C:
			waiting = false
		}
		more := f.take()
		first = append(first, more...)
		if n := len(first); n > 0 && isContent(first[n-1]) {
			if first[n-1].Type == normalize.EventError && !slices.ContainsFunc(first[:n-1], isContent) {
				<-f.ended
				return nil, true
			}
			waiting = false
		}
	}
	c.answering(first)
	return first, false
}

// answering says in the head who answers, as soon as that is known.
func (c *call) answering(events []engine.Observed) {
	for _, e := range events {
		if e.Backend != "" {
			c.answeredBy(e.Backend, e.Route, c.api.now().Sub(c.start))
			return
		}
	}
}

// stream answers a send with events. The head waits for the first content, so that
// what fails before has a status of its own.
func (c *call) stream(send delivery) error {
	f := newFeed()
	go f.run(c.api.log, func() (engine.Turn, error) { return send(c.r.Context(), f.push) })
	defer func() { <-f.ended }() // what was accepted is seen through, and holds its place until then
	first, over := c.head(f)
	if over {
		return c.retell(f.turn, f.err)
	}
	w := c.openStream()
	defer w.close()
	w.write(first)
	w.follow(f)
	<-f.ended
	if !w.told && f.err != nil { // what the engine could not store it does not tell
		w.write([]engine.Observed{{Event: normalize.Event{Type: normalize.EventError, Err: normalize.AsError(f.err)}}})
	}
	return nil
}

// retell answers a send that ended before anything was told: with its failure, or with
// the answer that its key has already.
func (c *call) retell(turn engine.Turn, err error) error {
	if err != nil || turn.Replay == nil || turn.Replay.Status != http.StatusOK {
		return c.turn(turn, err, false)
	}
	var events []engine.Observed
	if settled := turn.Replay.Settled; settled != nil {
		events = eventsOf(settled)
	} else if events, err = c.retold(turn.Replay); err != nil {
		return err
	}
	c.Header().Set("Idempotency-Replayed", "true")
	w := c.openStream()
	defer w.close()
	w.write(events)
	return nil
}

// eventsOf tells a turn whose events were never told; they have no ids.
func eventsOf(t *engine.Turn) []engine.Observed {
	list := []engine.Observed{{Event: normalize.Event{Type: normalize.EventMessage, Thread: &t.Thread, Message: &t.Message}}}
	ids := make([]string, len(t.Replies))
	for i := range t.Replies {
		r := &t.Replies[i]
		ids[i] = r.ID
		if r.Text != "" {
			list = append(list, engine.Observed{Event: normalize.Event{Type: normalize.EventDelta, MessageID: r.ID, Text: r.Text}})
		}
		list = append(list, engine.Observed{Event: normalize.Event{Type: normalize.EventReply, Message: r}})
	}
	return append(list, engine.Observed{Event: normalize.Event{Type: normalize.EventDone, Thread: &t.Thread, Message: &t.Message, Replies: ids}})
}

// retold tells again how a message was answered.
func (c *call) retold(replay *engine.Replay) (events []engine.Observed, err error) {
	err = c.api.engine.Retell(c.r.Context(), c.origin(), replay.ThreadID, replay.MessageID, func(e normalize.Event) error {
		events = append(events, engine.Observed{Event: e})
		return nil
	})
	return events, err
}

// later answers a send as soon as its message is stored; the send goes on without its
// client.
func (c *call) later(o sendOptions, send delivery) error {
	f := newFeed()
	leave, ctx, log := c.handOver(), context.WithoutCancel(c.r.Context()), c.api.log
	go func() {
		defer leave()
		f.run(log, func() (engine.Turn, error) { return send(ctx, f.push) })
	}()
	defer f.leave()
	select {
	case <-f.woken:
	case <-f.ended:
	}
	events := f.take()
	if len(events) == 0 {
		return c.turn(f.turn, f.err, o.raw)
	}
	accepted := engine.Turn{Thread: *events[0].Thread, Message: *events[0].Message} // the first event is message
	h := c.Header()
	h.Set("Preference-Applied", "respond-async")
	h.Set("Location", "/v1/threads/"+accepted.Thread.ID+"/messages/"+accepted.Message.ID)
	return c.json(http.StatusAccepted, func(b []byte) []byte { return appendTurn(b, &accepted, o.raw) })
}

// events is GET /v1/threads/{thread}/events.
func (c *call) events() error {
	id, err := c.pathID("thread", normalize.PrefixThread)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	after, _ := in.header(c.r.Header, "Last-Event-ID")
	if err := in.err(); err != nil {
		return err
	}
	tell, err := c.api.engine.Events(c.r.Context(), c.origin(), id, after)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		c.openStream().close()
		return nil
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	f := newFeed()
	go f.run(c.api.log, func() (engine.Turn, error) {
		return engine.Turn{}, tell(ctx, func(e normalize.Event) error {
			f.push(engine.Observed{Event: e})
			return nil
		})
	})
	w := c.openStream()
	defer w.close()
	w.follow(f)
	f.leave()
	cancel()
	<-f.ended
	if failure := normalize.AsError(f.err); failure != nil {
		w.write([]engine.Observed{{Event: normalize.Event{Type: normalize.EventError, Err: failure}}})
	}
	return nil
}

// eventWriter writes the events of one stream.
type eventWriter struct {
	call *call
	conn *http.ResponseController
	done bool // nobody reads any more
	told bool // the last event that was written is the end of a send
	shut func()
}

// openStream writes the head of an event stream.
func (c *call) openStream() *eventWriter {
	h := c.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w := &eventWriter{call: c, conn: http.NewResponseController(c), shut: c.api.metrics.Watching()}
	c.WriteHeader(http.StatusOK)
	w.flush(nil)
	return w
}

func (w *eventWriter) close() { w.shut() }

// follow writes what a feed tells until it ends or nobody reads any more.
func (w *eventWriter) follow(f *feed) {
	heartbeat := w.call.api.limits.Heartbeat
	silence := time.NewTimer(heartbeat)
	defer silence.Stop()
	for over := false; !over && !w.done; {
		select {
		case <-f.woken:
		case <-f.ended:
			over = true
		case <-w.call.r.Context().Done():
			w.leave()
		case <-silence.C:
			w.flush([]byte(": hb\n\n"))
			silence.Reset(heartbeat)
			continue
		}
		if list := f.take(); len(list) > 0 {
			w.write(list)
			silence.Reset(heartbeat)
		}
	}
	f.leave()
}

// leave notes that the client does not read any more.
func (w *eventWriter) leave() { w.done, w.call.left = true, true }

// write writes events, all at once.
func (w *eventWriter) write(list []engine.Observed) {
	if w.done || len(list) == 0 {
		return
	}
	buf := getBuffer()
	defer putBuffer(buf)
	b := (*buf)[:0]
	for i := range list {
		b = appendEvent(b, &list[i].Event, w.call.id)
	}
	*buf = b
	w.flush(b)
	last := list[len(list)-1]
	w.told = last.Type == normalize.EventError || last.Type == normalize.EventDone
	if last.Type == normalize.EventError {
		w.call.code, w.call.cause = last.Err.Kind.Policy().Code, last.Err.Cause
	}
}

// flush writes bytes and sees that they leave, within the time that a client may take.
func (w *eventWriter) flush(b []byte) {
	if w.done {
		return
	}
	// Where there is no connection (a recorder in a test) there is no deadline.
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.call.api.limits.Write))
	_, err := w.call.Write(b)
	if err == nil {
		err = w.conn.Flush()
	}
	if err != nil {
		w.leave()
	}
}

// appendEvent appends one event as server-sent events have it: its data is one line.
func appendEvent(b []byte, e *normalize.Event, requestID string) []byte {
	if e.ID != "" {
		b = append(b, "id: "...)
		b = append(b, e.ID...)
		b = append(b, '\n')
	}
	b = append(b, "event: "...)
	b = append(b, e.Type...)
	b = append(b, "\ndata: "...)
	switch e.Type {
	case normalize.EventMessage:
		b = append(b, `{"thread":`...)
		b = e.Thread.AppendJSON(b, false)
		b = append(b, `,"message":`...)
		b = e.Message.AppendJSON(b, false)
		b = append(b, '}')
	case normalize.EventDelta:
		b = append(b, `{"message_id":`...)
		b = normalize.AppendString(b, e.MessageID)
		b = append(b, `,"text":`...)
		b = normalize.AppendString(b, e.Text)
		b = append(b, '}')
	case normalize.EventReply:
		b = e.Message.AppendJSON(b, false)
	case normalize.EventDone:
		b = append(b, `{"thread":`...)
		b = e.Thread.AppendJSON(b, false)
		b = append(b, `,"message":`...)
		b = e.Message.AppendJSON(b, false)
		b = append(b, `,"replies":`...)
		b = appendStrings(b, e.Replies)
		b = append(b, '}')
	case normalize.EventError:
		b = appendProblem(b, e.Err, requestID)
	case normalize.EventThread:
		b = e.Thread.AppendJSON(b, false)
	}
	return append(b, "\n\n"...)
}
