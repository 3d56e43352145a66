package openai

import (
	"context"
	"net/http"
	"strconv"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// adapter asks one model of one server.
type adapter struct {
	client *vendorhttp.Client
	key    normalize.Secret
	model  string
	system string
	limits adapters.HistoryLimits
}

// Send asks for the completion of the conversation: the system prompt, what was
// said before, and the message. An event stream that comes although none was asked
// for is read to its end and returned as one reply.
func (a *adapter) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return a.ask(ctx, turn, false, nil)
}

// Stream is Send with the completion in chunks.
func (a *adapter) Stream(ctx context.Context, turn adapters.Turn, emit func(adapters.Delta) error) (adapters.Reply, error) {
	return a.ask(ctx, turn, true, emit)
}

// ask asks for a completion, in chunks or whole, and reads it in whichever form it
// comes.
func (a *adapter) ask(ctx context.Context, turn adapters.Turn, streaming bool, emit func(adapters.Delta) error) (adapters.Reply, error) {
	call := vendorhttp.Call{Method: http.MethodPost, Path: "/chat/completions", Body: a.encode(turn, streaming)}
	if streaming {
		call.Accept = vendorhttp.AcceptStream
	}
	stream, err := a.client.Open(ctx, call)
	if err != nil {
		return adapters.Reply{}, err
	}
	defer stream.Close()
	if stream.EventStream() {
		head := vendorhttp.Answer{Status: stream.Status, Header: stream.Header}
		reply, err := collect(vendorhttp.NewTelling(stream, head, endWord, emit), head, a.key)
		if err == nil {
			stream.Drain()
		}
		return reply, err
	}
	answer, err := stream.Answer()
	if err != nil {
		return adapters.Reply{}, err
	}
	message, err := decode(answer, a.key)
	if err != nil {
		return adapters.Reply{}, err
	}
	return vendorhttp.ShowWhole(adapters.Reply{Messages: []normalize.Message{message}}, emit)
}

// HistoryLimits says how much of the past goes along.
func (a *adapter) HistoryLimits() adapters.HistoryLimits { return a.limits }

// Close lets go of the idle connections.
func (a *adapter) Close() error { return a.client.Close() }

// encode writes the request.
func (a *adapter) encode(turn adapters.Turn, streaming bool) []byte {
	size := 128 + len(a.model) + len(a.system) + len(turn.Message.Text)
	for i := range turn.History {
		size += 64 + len(turn.History[i].Text)
	}
	b := make([]byte, 0, size+size/8)
	b = append(b, `{"model":`...)
	b = normalize.AppendString(b, a.model)
	b = append(b, `,"messages":[`...)
	if a.system != "" {
		b = append(appendMessage(b, "system", a.system), ',')
	}
	for i := range turn.History {
		m := &turn.History[i]
		if role := roleOf(m); role != "" {
			b = append(appendMessage(b, role, m.Text), ',')
		}
	}
	b = appendMessage(b, "user", turn.Message.Text)
	b = append(b, `],"stream":`...)
	return append(strconv.AppendBool(b, streaming), '}')
}

// roleOf gives the role of an earlier message in the request, "" for one that
// does not go along: a notice, one without text, one that no vendor has taken,
// and half an answer.
func roleOf(m *normalize.Message) string {
	switch {
	case m.Text == "" || m.Status != normalize.StatusSent && m.Status != normalize.StatusComplete:
		return ""
	case m.Role == normalize.RoleUser:
		return "user"
	case m.Role == normalize.RoleAssistant || m.Role == normalize.RoleOperator:
		return "assistant"
	default:
		return ""
	}
}

func appendMessage(b []byte, role, text string) []byte {
	b = append(b, `{"role":"`...)
	b = append(b, role...)
	b = append(b, `","content":`...)
	b = normalize.AppendString(b, text)
	return append(b, '}')
}
