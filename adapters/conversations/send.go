package conversations

import (
	"context"
	"net/http"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// completions answers in the call.
type completions struct {
	*platform
	key         normalize.Secret // never to be shown, should the vendor repeat it
	streamField string
}

// Send asks for an answer and returns it. Without a remote conversation the vendor
// begins one. An event stream that comes although none was asked for is read to
// its end mark and returned as one reply.
//
// In a thread that a human has, the message is stored for that human instead, and
// there are no replies: the documents do not say that a completion heeds the
// switch of the automatic reply, and a bot must not talk over a human.
func (c *completions) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return c.ask(ctx, turn, false, nil)
}

// ask asks for an answer, as a stream or whole, and reads it in whichever form it
// comes.
func (c *completions) ask(ctx context.Context, turn adapters.Turn, streaming bool, emit func(adapters.Delta) error) (adapters.Reply, error) {
	if turn.Thread.Mode == normalize.ModeHuman {
		return c.store(ctx, "/messages/", turn)
	}
	body, err := encodeCompletion(turn, c.streamField, streaming)
	if err != nil {
		return adapters.Reply{}, err
	}
	call := vendorhttp.Call{Method: http.MethodPost, Path: "/chatbots/" + c.chatbot + "/completions/", Body: body}
	if streaming {
		call.Accept = vendorhttp.AcceptStream
	}
	stream, err := c.client.Open(ctx, call)
	if err != nil {
		return adapters.Reply{}, err
	}
	defer stream.Close()
	asked := turn.Remote.ThreadID
	if stream.EventStream() {
		head := vendorhttp.Answer{Status: stream.Status, Header: stream.Header}
		reply, err := collect(vendorhttp.NewTelling(stream, head, "", emit), head, asked, c.key)
		if err == nil {
			stream.Drain()
		}
		return reply, err
	}
	answer, err := stream.Answer()
	if err != nil {
		return adapters.Reply{Remote: remoteOfCut(answer.Body)}, err
	}
	reply, err := decodeCompletion(answer, asked)
	if err != nil {
		return reply, err
	}
	return vendorhttp.ShowWhole(reply, emit)
}

// SendAttachments is Send for a message that names files.
func (c *completions) SendAttachments(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return c.Send(ctx, turn)
}

// remoteOfCut saves the conversation's id out of an answer that was cut short, so
// that the next message does not begin another conversation. Only a whole UUID
// counts: half an id is none.
func remoteOfCut(body []byte) normalize.Remote {
	id := conversationOf(gjson.ParseBytes(body))
	if _, err := normalize.ParseUUID(id); err != nil {
		return normalize.Remote{}
	}
	return normalize.Remote{ThreadID: id}
}

// messages stores a message; the answer comes later.
type messages struct {
	*platform
	webChat
}

// Send stores the person's message. It returns no replies: they come by webhook or
// stand in the message list later. The conversation must have been created.
func (m *messages) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return m.store(ctx, "/messages/", turn)
}

// SendAttachments is Send for a message that names files.
func (m *messages) SendAttachments(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return m.store(ctx, "/messages/", turn)
}

// SendAsOperator stores a message that the vendor's side says. The bot does not
// answer it.
func (p *platform) SendAsOperator(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return p.store(ctx, "/messages/outgoing/", turn)
}

func (p *platform) store(ctx context.Context, path string, turn adapters.Turn) (adapters.Reply, error) {
	conversation := turn.Remote.ThreadID
	if conversation == "" {
		return adapters.Reply{}, normalize.Errorf(normalize.KindUnsupported,
			"the backend stores messages only in a conversation that exists: it needs web_chat to create one")
	}
	files, err := encodeAttachments(turn.Message.Attachments)
	if err != nil {
		return adapters.Reply{}, err
	}
	answer, err := p.write(ctx, http.MethodPost, path, messageRequest{
		Conversation: conversation, Content: turn.Message.Text, Attachments: files,
	})
	if err != nil {
		return adapters.Reply{}, err
	}
	stored, err := decodeMessage(answer, gjson.ParseBytes(answer.Body), conversation)
	if err != nil {
		return adapters.Reply{}, err
	}
	return adapters.Reply{
		Remote: turn.Remote,
		Sent:   adapters.Sent{RemoteID: stored.RemoteID, Author: stored.Author, CreatedAt: stored.CreatedAt, Raw: stored.Raw},
	}, nil
}
