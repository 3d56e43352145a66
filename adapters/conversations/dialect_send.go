package conversations

import (
	"net/http"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// shownCompletion is the answer of a completion that is not streamed.
type shownCompletion struct {
	ConversationID string              `json:"conversationId"`
	Content        string              `json:"content"`
	Done           bool                `json:"done"`
	Citations      []shownCitation     `json:"citations"`
	CitationNodes  []shownCitationNode `json:"citationNodes"`
}

// shownFrame is one event of a streamed completion: a new piece of the content. The last
// one is done and has no content.
type shownFrame struct {
	ConversationID string `json:"conversationId"`
	Content        string `json:"content"`
	Done           bool   `json:"done"`
}

// serveCompletion sends a message and answers with what was said to it.
func serveCompletion(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	send := adapters.SendRequest{Bot: d.Var("id")}
	asked := f.uuid("conversation", false)
	var person normalize.User
	if m, ok := f.object("message", true); ok {
		send.Attachments = m.attachments()
		send.Text = m.text("content", len(send.Attachments) == 0)
		if send.Text == "" && len(send.Attachments) == 0 && len(*f.wrong) == 0 {
			m.refuse("content", isBlank)
		}
		m.object("contentPayload", false)
		send.Metadata = m.metadata("metadata", "queryMetadata")
		person.ID = m.uuid("sender", false)
	}
	streaming := f.streaming()
	if err := f.err(); err != nil {
		return err
	}
	if asked == "" {
		send.Opening = &adapters.Opening{Bot: send.Bot, User: person}
	} else {
		t, err := findConversation(r, d, send.Bot, asked)
		if err != nil {
			return err
		}
		send.ThreadID = t.ID
	}
	if streaming {
		err = stream(w, r, d, send, asked)
	} else {
		err = complete(w, r, d, send, asked)
	}
	return inTheirWords(err, "message.")
}

func complete(w http.ResponseWriter, r *http.Request, d adapters.Desk, send adapters.SendRequest, asked string) error {
	said, err := d.Send(r.Context(), send)
	if err != nil {
		return err
	}
	v := shownCompletion{ConversationID: calledBy(asked, &said.Thread), Content: adapters.JoinReplies(said.Replies), Done: true}
	replies := make([]*normalize.Message, len(said.Replies))
	for i := range said.Replies {
		replies[i] = &said.Replies[i]
	}
	v.Citations, v.CitationNodes = showSources(replies...)
	return answer(w, http.StatusOK, v)
}

// stream answers with server-sent events. Only the frame that says done ends it well:
// where the answer fails after its begin, a last frame says why, and the connection is
// broken off, since the vendor's clients take any orderly end for a whole answer.
func stream(w http.ResponseWriter, r *http.Request, d adapters.Desk, send adapters.SendRequest, asked string) error {
	out := adapters.NewEventStream(w)
	var said adapters.JoinedReplies
	frame := shownFrame{ConversationID: asked}
	write := func(v any) error {
		event, err := encode(v)
		if err != nil {
			return err
		}
		return out.Data(event)
	}
	err := d.Stream(r.Context(), send, func(e normalize.Event) error {
		switch e.Type {
		case normalize.EventMessage:
			frame.ConversationID = calledBy(asked, e.Thread)
			return out.Begin()
		case normalize.EventDelta, normalize.EventReply:
			if frame.Content = said.Piece(e); frame.Content != "" {
				return write(frame)
			}
		case normalize.EventDone:
			frame.Content, frame.Done = "", true
			return write(frame)
		case normalize.EventError:
			_ = write(detail(e.Err.Text())) // the connection is broken off in any case
			out.Cut()
		case normalize.EventThread: // no word for it
		default:
			return out.Beat()
		}
		return nil
	})
	if err != nil && out.Begun() { // the client left
		out.Cut()
	}
	return err
}

// serveNewMessage stores a message. The vendor answers with the message itself, and
// tells the reply later; here the reply is in the list when the answer goes out. What a
// backend has accepted is stored, whatever became of its reply.
func serveNewMessage(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	send := adapters.SendRequest{Role: normalize.RoleUser, Attachments: f.attachments(), Text: f.text("content", false)}
	asked := f.uuid("conversation", true)
	switch f.text("type", false) {
	case "", "incoming":
	case "outgoing":
		send.Role = normalize.RoleOperator
	default:
		f.refuse("type", "Not a valid choice.")
	}
	f.object("contentPayload", false)
	send.Metadata = f.metadata("queryMetadata")
	if canvas, ok := f.object("canvas", false); ok {
		for _, name := range []string{"name", "title", "content"} {
			canvas.text(name, true)
		}
		canvas.value("canvasType", true) // typed as an object, and probably one of some words
	}
	if send.Text == "" && len(send.Attachments) == 0 && len(*f.wrong) == 0 {
		f.refuse("content", isBlank)
	}
	if err := f.err(); err != nil {
		return err
	}
	t, err := findConversation(r, d, "", asked)
	if err != nil {
		return err
	}
	send.ThreadID = t.ID
	if bot, ok := strings.CutPrefix(t.Asked, ownName+"/"); ok { // this call names none
		send.Bot = bot
	}
	said, err := d.Send(r.Context(), send)
	if failure := normalize.AsError(err); failure != nil {
		if failure.Outcome != normalize.OutcomeDone {
			return inTheirWords(err, "")
		}
		if said.Message, err = d.FindMessage(r.Context(), failure.MessageID); err != nil {
			return err
		}
	}
	return answer(w, http.StatusCreated, showMessage(&said.Message, asked))
}

// findConversation finds the thread that the client calls by an id.
func findConversation(r *http.Request, d adapters.Desk, bot, id string) (normalize.Thread, error) {
	t, err := d.Find(r.Context(), bot, id)
	if err != nil && normalize.AsError(err).Kind == normalize.KindNotFound {
		return t, notFound("Conversation")
	}
	return t, err
}

// calledBy gives the id that the client knows a thread by: the one that it asked with,
// else the one that it has called it by before, else the UUID form of ours.
func calledBy(asked string, t *normalize.Thread) string {
	if asked != "" {
		return asked
	}
	return adapters.CalledBy(ownName, t)
}
