package openai

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// threadHeader names a thread: of a request, the one to go on in; of an answer, the one
// that it was given in.
const threadHeader = "Chatmux-Thread"

// serveCompletion sends the last message on and answers with what was said to it.
func serveCompletion(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	req, err := readRequest(d)
	if err != nil {
		return err
	}
	send := adapters.SendRequest{
		Bot: req.model, Choice: req.model, Text: req.last.text, Attachments: req.last.attachments(), Metadata: req.metadata,
	}
	known := slices.Contains(modelsOf(d), req.model)
	if send.ThreadID, err = req.thread(r.Context(), d, r.Header.Get(threadHeader)); err != nil {
		return err
	}
	if send.ThreadID == "" {
		send.Opening = &adapters.Opening{Bot: req.model, User: normalize.User{ID: req.user}}
		send.Earlier = req.earlier()
	} else if !known {
		return noModel(req.model)
	}
	c := &completion{w: w, d: d, req: req, out: adapters.NewEventStream(w)}
	if req.stream {
		err = c.stream(r, send)
	} else {
		err = c.complete(r.Context(), send)
	}
	if err == nil || known {
		return req.inTheirWords(err)
	}
	// A name that this caller may not use is forbidden; any other is nobody's.
	if kind := normalize.AsError(err).Kind; kind == normalize.KindInvalidRequest || kind == normalize.KindNotFound {
		return noModel(req.model)
	}
	return err
}

// point is where a client's conversation stands in one of ours: behind the answer to a
// message of a thread.
type point struct {
	Thread  string `json:"thread"`
	Message string `json:"message"`
}

// thread finds the thread that the client goes on in; empty: a new one.
func (r *completionRequest) thread(ctx context.Context, d adapters.Desk, named string) (string, error) {
	if named != "" {
		t, err := d.Find(ctx, r.model, named)
		if err != nil && normalize.AsError(err).Kind == normalize.KindNotFound {
			e := normalize.Errorf(normalize.KindNotFound, "No thread found with id '%s'.", normalize.Excerpt(named, 128))
			e.Cause = threadNotFound
			return "", e
		}
		return t.ID, err
	}
	if len(r.before) == 0 {
		return "", nil
	}
	value, err := d.Recall(ctx, r.point(r.before...))
	var p point
	if err != nil || value == nil || json.Unmarshal(value, &p) != nil {
		return "", err
	}
	at, err := standsAt(ctx, d, p)
	if err != nil || !at {
		return "", err
	}
	return p.Thread, nil
}

// standsAt reports whether nobody has said anything in a thread since a point was
// recorded. A message that certainly reached no bot was not said. That also parts two
// clients whose conversations happen to have begun with the same words.
func standsAt(ctx context.Context, d adapters.Desk, p point) (bool, error) {
	list, _, err := d.Messages(ctx, p.Thread, adapters.MessageQuery{Spoken: true, Limit: 50, Descending: true})
	if err != nil {
		if normalize.AsError(err).Kind == normalize.KindNotFound { // erased
			return false, nil
		}
		return false, err
	}
	for i := range list {
		if m := &list[i]; m.Role == normalize.RoleUser && m.Status != normalize.StatusFailed {
			return m.ID == p.Message, nil
		}
	}
	return false, nil
}

// inTheirWords gives a refusal of what was sent the names that the client wrote.
func (r *completionRequest) inTheirWords(err error) error {
	e := normalize.AsError(err)
	if e == nil || len(e.Fields) == 0 {
		return err
	}
	renamed := *e
	renamed.Fields = slices.Clone(e.Fields)
	for i := range renamed.Fields {
		switch p := &renamed.Fields[i]; {
		case p.Field == "text", strings.HasPrefix(p.Field, "attachments"):
			p.Field = r.last.at + ".content"
		case p.Field == "user.id":
			p.Field = "user"
		}
	}
	renamed.Detail = renamed.Fields[0].Field + ": " + renamed.Fields[0].Detail
	return &renamed
}

// completion is an answer on its way to the client.
type completion struct {
	w   http.ResponseWriter
	d   adapters.Desk
	req *completionRequest
	out *adapters.EventStream

	thread  string
	message normalize.Message // the user's
	said    adapters.JoinedReplies
	finish  string
	usage   struct{ prompt, completion, total int64 } // tokens
}

// take notes whose answer this is.
func (c *completion) take(t *normalize.Thread, m *normalize.Message) {
	c.thread, c.message = t.ID, *m
	c.finish = "stop"
	c.w.Header().Set(threadHeader, t.ID)
}

// hear notes what only a vendor of this format tells: that it cut its answer short
// itself, and what it counted. Of all others the count is 0, since nobody counted.
func (c *completion) hear(reply *normalize.Message) {
	switch reason := gjson.GetBytes(reply.Raw, "choices.0.finish_reason").Str; reason {
	case "length", "content_filter":
		c.finish = reason
	}
	usage := gjson.GetBytes(reply.Raw, "usage")
	c.usage.prompt += max(0, usage.Get("prompt_tokens").Int())
	c.usage.completion += max(0, usage.Get("completion_tokens").Int())
	c.usage.total += max(0, usage.Get("total_tokens").Int())
}

func (c *completion) appendUsage(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"prompt_tokens":`...), c.usage.prompt, 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), c.usage.completion, 10)
	return append(strconv.AppendInt(append(b, `,"total_tokens":`...), c.usage.total, 10), '}')
}

// record notes where the conversation stands now, for the client's next message. Where
// that fails the next message begins a thread that takes all this along, so the answer,
// which is there, is given all the same.
func (c *completion) record(ctx context.Context) {
	value, err := json.Marshal(point{Thread: c.thread, Message: c.message.ID})
	if err == nil {
		said := append(slices.Clone(c.req.before), c.req.last, saying{role: "assistant", text: c.said.Text()})
		_, _ = c.d.Record(ctx, c.req.point(said...), c.thread, value, false)
	}
}

func (c *completion) complete(ctx context.Context, send adapters.SendRequest) error {
	answered, err := c.d.Send(ctx, send)
	if err != nil {
		return err
	}
	c.take(&answered.Thread, &answered.Message)
	for i := range answered.Replies {
		c.said.Piece(normalize.Event{Type: normalize.EventReply, Message: &answered.Replies[i]})
		c.hear(&answered.Replies[i])
	}
	c.record(ctx)
	b := c.appendHead(nil, "chat.completion")
	b = append(b, `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	b = normalize.AppendString(b, c.said.Text())
	b = append(b, `,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":`...)
	b = normalize.AppendString(b, c.finish)
	b = append(b, `}],"usage":`...)
	return answer(c.w, append(c.appendUsage(b), '}'))
}

// stream answers in chunks. A finish_reason and [DONE] come only behind a whole answer.
// One that fails after its begin ends with an error object, which the official clients
// throw, and the connection is broken off for those that do not look.
func (c *completion) stream(r *http.Request, send adapters.SendRequest) error {
	ctx := r.Context()
	err := c.d.Stream(ctx, send, func(e normalize.Event) error {
		switch e.Type {
		case normalize.EventMessage:
			c.take(e.Thread, e.Message)
			if err := c.out.Begin(); err != nil {
				return err
			}
			return c.chunk(`{"role":"assistant","content":""}`, "")
		case normalize.EventDelta, normalize.EventReply:
			if e.Type == normalize.EventReply {
				c.hear(e.Message)
			}
			if piece := c.said.Piece(e); piece != "" {
				return c.chunk(string(append(normalize.AppendString([]byte(`{"content":`), piece), '}')), "")
			}
		case normalize.EventDone:
			c.record(ctx)
			return c.end()
		case normalize.EventError:
			if c.said.Text() != "" {
				c.record(ctx)
			}
			_ = c.out.Data(appendFailure(nil, r, e.Err)) // the connection is broken off in any case
			c.out.Cut()
		case normalize.EventThread: // no word for it
		default:
			return c.out.Beat()
		}
		return nil
	})
	if err != nil && c.out.Begun() { // the client left
		c.out.Cut()
	}
	return err
}

// end writes what stands behind a whole answer.
func (c *completion) end() error {
	if err := c.chunk("{}", c.finish); err != nil {
		return err
	}
	if c.req.usage {
		b := c.appendHead(nil, "chat.completion.chunk")
		b = append(b, `,"choices":[],"usage":`...)
		if err := c.out.Data(append(c.appendUsage(b), '}')); err != nil {
			return err
		}
	}
	return c.out.Data([]byte("[DONE]"))
}

// chunk writes one event with what is new; finish is empty for every one but the last.
func (c *completion) chunk(delta, finish string) error {
	b := c.appendHead(nil, "chat.completion.chunk")
	b = append(b, `,"choices":[{"index":0,"delta":`...)
	b = append(b, delta...)
	b = append(b, `,"logprobs":null,"finish_reason":`...)
	b = appendOrNull(b, finish)
	b = append(b, "}]"...)
	if c.req.usage {
		b = append(b, `,"usage":null`...)
	}
	return c.out.Data(append(b, '}'))
}

// appendHead writes what all objects of an answer have: the id is that of the user's
// message, in its UUID form.
func (c *completion) appendHead(b []byte, object string) []byte {
	b = append(b, `{"id":"chatcmpl-`...)
	b = append(b, normalize.UUIDForm(c.message.ID)...)
	b = append(b, `","object":"`...)
	b = append(b, object...)
	b = append(b, `","created":`...)
	b = strconv.AppendInt(b, c.message.CreatedAt.Unix(), 10)
	b = append(b, `,"model":`...)
	return normalize.AppendString(b, c.req.model)
}
