package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

// dialectEndpoints are the paths of one dialect, below its name.
func dialectEndpoints(d *adapters.Dialect) []endpoint {
	var list []endpoint
	for _, e := range d.Endpoints {
		m := method{name: e.Method, gate: gateKey, serve: func(c *call) error { return e.Serve(c, c.r, &desk{c}) }}
		if e.Send {
			m.gate = gateSend
		}
		path := "/" + d.Name + e.Path
		i := slices.IndexFunc(list, func(known endpoint) bool { return known.path == path })
		if i < 0 {
			i, list = len(list), append(list, endpoint{path: path, tongue: d})
		}
		list[i].methods = append(list[i].methods, m)
	}
	return list
}

// dialectOf finds the dialect that a path belongs to, be there anything at that path
// or not; nil for none.
func (a *API) dialectOf(path string) *adapters.Dialect {
	for _, d := range a.dialects {
		if rest, below := strings.CutPrefix(path, "/"+d.Name); below && (rest == "" || rest[0] == '/') {
			return d
		}
	}
	return nil
}

// desk is the house, as one request of a dialect's client sees it.
type desk struct{ c *call }

var _ adapters.Desk = (*desk)(nil)

func (d *desk) RequestID() string { return d.c.id }

func (d *desk) Var(name string) string { return d.c.pathPart(name) }

func (d *desk) Body() ([]byte, error) {
	var body []byte // not of the pool: it is the dialect's to keep
	v, err := d.c.body(&body)
	if err == nil && writesNUL(v) {
		return nil, normalize.Errorf(normalize.KindInvalidRequest, "no text may have the character U+0000")
	}
	return v, err
}

// writesNUL reports whether a JSON text has a NUL in one of its strings, where it can
// only stand as an escape. The stores take none, and nothing is put in its place.
func writesNUL(body []byte) bool {
	const escape = `\u0000`
	for {
		i := bytes.Index(body, []byte(escape))
		if i < 0 {
			return false
		}
		before := body[:i]
		if (len(before)-len(bytes.TrimRight(before, `\`)))%2 == 0 { // else the backslash itself is what is escaped
			return true
		}
		body = body[i+len(escape):]
	}
}

// origin says where the request comes from, and which bot it asks for.
func (d *desk) origin(bot string) engine.Origin {
	o := d.c.origin()
	o.Dialect, o.Bot = d.c.tongue.Name, bot
	return o
}

func (d *desk) engine() Engine { return d.c.api.engine }

func (d *desk) Choices() (routes, backends []string) { return d.engine().Choices(d.origin("")) }

func (d *desk) Find(ctx context.Context, bot, id string) (normalize.Thread, error) {
	return d.engine().FindThread(ctx, d.origin(bot), id, d.c.tongue.OnePerPerson)
}

func (d *desk) FindPerson(ctx context.Context, bot, id string) (normalize.User, error) {
	return d.engine().FindPerson(ctx, d.origin(bot), id)
}

func (d *desk) FindMessage(ctx context.Context, id string) (normalize.Message, error) {
	return d.engine().FindMessage(ctx, d.origin(""), id)
}

func (d *desk) Open(ctx context.Context, o adapters.Opening) (normalize.Thread, error) {
	var in input
	in.checkOpening(&o)
	if err := in.err(); err != nil {
		return normalize.Thread{}, err
	}
	return d.engine().OpenThread(ctx, d.origin(o.Bot), openingOf(&o, nil))
}

func openingOf(o *adapters.Opening, earlier []normalize.Message) engine.Opening {
	if o == nil {
		o = new(adapters.Opening)
	}
	return engine.Opening{
		NewThread: engine.NewThread{User: o.User, Metadata: o.Metadata, Title: o.Title, Mode: o.Mode},
		Name:      o.Name, Key: o.Key, Person: o.Person, Earlier: earlier,
	}
}

func (d *desk) Threads(ctx context.Context, q adapters.ThreadQuery) (list []normalize.Thread, total int, err error) {
	return d.engine().AskedThreads(ctx, d.origin(q.Bot), engine.ThreadFilter{User: q.User, Mode: q.Mode, Tag: q.Tag, UpdatedAfter: q.UpdatedAfter, Query: q.Text},
		engine.Span{Offset: q.Offset, Limit: q.Limit, Ascending: q.Ascending})
}

func (d *desk) UpdateThread(ctx context.Context, threadID string, change adapters.ThreadChange) (normalize.Thread, error) {
	var in input
	if change.Title != nil {
		in.limited("title", *change.Title, maxField)
	}
	if change.User != nil {
		in.checkUser(change.User)
	}
	if err := in.err(); err != nil {
		return normalize.Thread{}, err
	}
	patch := engine.ThreadPatch{Title: change.Title, Mode: change.Mode, Status: change.Status, User: change.User}
	return d.engine().UpdateThread(ctx, d.origin(""), threadID, patch)
}

func (d *desk) Escalate(ctx context.Context, threadID, note string) (normalize.Thread, error) {
	return d.engine().Escalate(ctx, d.origin(""), threadID, note)
}

func (d *desk) DeleteThread(ctx context.Context, threadID string) error {
	_, err := d.engine().DeleteThread(ctx, d.origin(""), threadID)
	return err
}

func (d *desk) Messages(ctx context.Context, threadID string, q adapters.MessageQuery) (list []normalize.Message, total int, err error) {
	return d.engine().MessagesAt(ctx, d.origin(""), threadID, q.Spoken,
		engine.Span{Offset: q.Offset, Limit: q.Limit, Ascending: !q.Descending})
}

func (d *desk) Record(ctx context.Context, name, threadID string, value []byte, fresh bool) ([]byte, error) {
	return d.engine().Record(ctx, d.origin(""), name, threadID, value, fresh)
}

func (d *desk) Recall(ctx context.Context, name string) ([]byte, error) {
	return d.engine().Recall(ctx, d.origin(""), name)
}

func (d *desk) Send(ctx context.Context, r adapters.SendRequest) (adapters.SendAnswer, error) {
	turn, err := d.send(ctx, r)
	return adapters.SendAnswer{Thread: turn.Thread, Message: turn.Message, Replies: turn.Replies}, err
}

func (d *desk) send(ctx context.Context, r adapters.SendRequest) (engine.Turn, error) {
	send, err := d.sendRequest(ctx, r)
	if err != nil {
		return engine.Turn{}, err
	}
	d.c.asked = true
	turn, err := d.engine().Send(ctx, d.origin(r.Bot), send)
	d.c.sentBy(&turn)
	return turn, err
}

// sendRequest says to the engine what is to be sent. A thread that has to be found
// again by a name, or that begins with a past, is made before.
func (d *desk) sendRequest(ctx context.Context, r adapters.SendRequest) (engine.SendRequest, error) {
	var in input
	in.checkSend(&r)
	if err := in.err(); err != nil {
		return engine.SendRequest{}, err
	}
	send := engine.SendRequest{
		ThreadID: r.ThreadID, Text: r.Text, Attachments: r.Attachments, Metadata: r.Metadata, Role: r.Role, Author: r.Author,
	}
	if r.ThreadID != "" {
		return send, nil
	}
	opening := openingOf(r.Opening, r.Earlier)
	if err := d.choose(r.Choice, &opening.NewThread); err != nil {
		return send, err
	}
	if opening.Name == "" && opening.Key == "" && opening.Person == "" && len(opening.Earlier) == 0 {
		send.New = &opening.NewThread
		return send, nil
	}
	t, err := d.engine().OpenThread(ctx, d.origin(r.Bot), opening)
	send.ThreadID = t.ID
	return send, err
}

// choose takes the route or the backend that the client named.
func (d *desk) choose(choice string, made *engine.NewThread) error {
	if choice == "" {
		return nil
	}
	routes, backends := d.Choices()
	switch {
	case slices.Contains(routes, choice):
		made.Route = choice
	case slices.Contains(backends, choice):
		made.Backend = choice
	default:
		routes, backends = d.engine().Choices(engine.Origin{}) // of a caller who may use all
		if slices.Contains(routes, choice) || slices.Contains(backends, choice) {
			return normalize.Errorf(normalize.KindForbidden, "this caller may not use %s", choice)
		}
		return &normalize.Error{Kind: normalize.KindNotFound, Detail: "there is no route and no backend of this name"}
	}
	return nil
}

func (d *desk) Stream(ctx context.Context, r adapters.SendRequest, emit func(normalize.Event) error) error {
	send, err := d.sendRequest(ctx, r)
	if err != nil {
		return err
	}
	c, from, f := d.c, d.origin(r.Bot), newFeed()
	send.Observe = f.push
	c.asked = true
	go f.run(c.api.log, func() (engine.Turn, error) { return d.engine().Send(ctx, from, send) })
	defer func() { <-f.ended }() // as of our own streams
	defer f.leave()
	events, over := c.head(f)
	if over {
		c.sentBy(&f.turn)
		return f.err
	}
	defer c.api.metrics.Watching()()
	conn, ended := http.NewResponseController(c), false
	silence := time.NewTimer(c.api.limits.Heartbeat)
	defer silence.Stop()
	for last := false; ; {
		for _, e := range events {
			// Where there is no connection (a recorder in a test) there is no deadline.
			_ = conn.SetWriteDeadline(time.Now().Add(c.api.limits.Write))
			if err := emit(e.Event); err != nil {
				c.left = true
				return err
			}
			if ended = e.Type == normalize.EventDone || e.Type == normalize.EventError; e.Err != nil {
				c.code, c.cause = e.Err.Kind.Policy().Code, e.Err.Cause
			}
		}
		if last {
			break
		}
		silence.Reset(c.api.limits.Heartbeat)
		select {
		case <-f.woken:
		case <-f.ended:
			last = true
		case <-silence.C:
			events = []engine.Observed{{}}
			continue
		}
		events = f.take()
	}
	if !ended && f.err != nil { // the outcome could not be stored
		return emit(normalize.Event{Type: normalize.EventError, Err: normalize.AsError(f.err)})
	}
	return nil
}

// limited checks a text of a dialect's client as one of our own API's.
func (in *input) limited(field, text string, limit int) {
	in.at(field, func() { in.fits(text, limit) })
}

func (in *input) checkUser(u *normalize.User) {
	in.at("user", func() {
		in.limited("id", u.ID, maxField)
		in.limited("name", u.Name, maxField)
		in.limited("email", u.Email, maxField)
		in.limited("phone", u.Phone, maxField)
		in.limited("info", u.Info, maxInfo)
	})
}

func (in *input) checkMetadata(m map[string]string) {
	in.at("metadata", func() {
		if len(m) > maxMetadata {
			in.wrong("must have at most %d names", maxMetadata)
			return
		}
		for name, text := range m {
			in.at(name, func() {
				if in.fits(name, maxMetadataKey) {
					in.fits(text, maxMetadataValue)
				}
			})
		}
	})
}

// checkOpening checks what our own API checks of a thread to be made.
func (in *input) checkOpening(o *adapters.Opening) {
	in.limited("title", o.Title, maxField)
	in.checkUser(&o.User)
	in.checkMetadata(o.Metadata)
}

// checkSend checks what our own API checks of a send.
func (in *input) checkSend(r *adapters.SendRequest) {
	in.at("text", func() {
		if r.Text == "" && len(r.Attachments) == 0 {
			in.wrong("must not be empty")
		}
		in.fits(r.Text, maxText)
	})
	if len(r.Attachments) > maxAttachments {
		in.at("attachments", func() { in.wrong("must have at most %d attachments", maxAttachments) })
	}
	for i := range min(len(r.Attachments), maxAttachments) {
		in.at("attachments["+strconv.Itoa(i)+"]", func() { in.checkAttachment(&r.Attachments[i]) })
	}
	in.checkMetadata(r.Metadata)
	in.at("author", func() {
		in.limited("id", r.Author.ID, maxField)
		in.limited("name", r.Author.Name, maxField)
		in.limited("email", r.Author.Email, maxField)
		in.limited("avatar_url", r.Author.AvatarURL, maxURL)
	})
	if r.Opening != nil {
		in.checkOpening(r.Opening)
	}
}

func (in *input) checkAttachment(a *normalize.Attachment) {
	in.limited("id", a.ID, maxField)
	in.limited("filename", a.Filename, maxField)
	in.limited("content_type", a.ContentType, maxField)
	if a.ID == "" || a.URL != "" {
		in.at("url", func() {
			if in.fits(a.URL, maxURL) {
				in.leads(a.URL)
			}
		})
	}
}
