package sitegpt

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// v2 is a chatbot behind API v2.
type v2 struct{ bot }

// sendV2 is the body of a send. The vendor's own clients write null for a page
// that they do not know.
type sendV2 struct {
	Message string  `json:"message"`
	PageURL *string `json:"pageUrl"`
}

// noteV2 is the body of what is done to a conversation: an object, even an empty
// one, is obligatory.
type noteV2 struct {
	Message string `json:"message,omitempty"`
}

// Send asks the bot. Without a remote thread the vendor starts a conversation.
func (v *v2) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	path := "/messages"
	if turn.Remote.ThreadID != "" {
		id, err := segment(turn.Remote.ThreadID)
		if err != nil {
			return adapters.Reply{}, err
		}
		path = "/conversations/" + id + "/messages"
	}
	e, err := v.call(ctx, http.MethodPost, path, nil, sendV2{Message: turn.Message.Text})
	if err != nil {
		return adapters.Reply{}, err
	}
	return e.reply(turn)
}

// ReadThread reads a conversation, with its messages where the vendor gives them
// along.
func (v *v2) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	e, err := v.conversation(ctx, http.MethodGet, remote, "", nil, nil)
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return e.thread("conversation", remote)
}

// ListMessages lists the messages of a conversation. The limit counts the
// vendor's messages, each of which is up to two of ours.
func (v *v2) ListMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (adapters.MessagePage, error) {
	e, err := v.conversation(ctx, http.MethodGet, remote, "/messages", pageQuery(page), nil)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	list, err := e.array("messages")
	if err != nil {
		return adapters.MessagePage{}, err
	}
	return adapters.MessagePage{Messages: readMessages(list), NextCursor: e.nextCursor(page)}, nil
}

// ListThreads lists the conversations of the chatbot, newest first.
func (v *v2) ListThreads(ctx context.Context, page adapters.Page) (adapters.ThreadPage, error) {
	e, err := v.call(ctx, http.MethodGet, "/conversations", pageQuery(page), nil)
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	list, err := e.array("conversations")
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	return adapters.ThreadPage{Threads: readThreads(list), NextCursor: e.nextCursor(page)}, nil
}

// DeleteThread erases a conversation.
func (v *v2) DeleteThread(ctx context.Context, remote normalize.Remote) error {
	_, err := v.conversation(ctx, http.MethodDelete, remote, "", url.Values{"confirm": {"true"}}, nil)
	return err
}

// Escalate asks the vendor's side to look at a conversation.
func (v *v2) Escalate(ctx context.Context, remote normalize.Remote, note string) error {
	_, err := v.conversation(ctx, http.MethodPost, remote, "/escalate", nil, noteV2{Message: note})
	return err
}

// SwitchMode hands the conversation to a human, which stops a running answer, or
// back to the bot.
func (v *v2) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error {
	action := "/switch-to-ai"
	if mode == normalize.ModeHuman {
		action = "/take-over"
	}
	_, err := v.conversation(ctx, http.MethodPost, remote, action, nil, noteV2{})
	return err
}

// conversation calls what lies below a conversation.
func (v *v2) conversation(
	ctx context.Context, method string, remote normalize.Remote, below string, query url.Values, body any,
) (envelope, error) {
	id, err := segment(remote.ThreadID)
	if err != nil {
		return envelope{}, err
	}
	return v.call(ctx, method, "/conversations/"+id+below, query, body)
}

func pageQuery(page adapters.Page) url.Values {
	query := url.Values{}
	if page.Limit > 0 {
		query.Set("limit", strconv.Itoa(min(page.Limit, maxLimit)))
	}
	if page.Cursor != "" {
		query.Set("cursor", page.Cursor)
	}
	return query
}

// nextCursor returns the cursor of the next page. One that leads back to the page
// that was asked for ends the list, or it would never end.
func (e envelope) nextCursor(asked adapters.Page) string {
	pagination := member(e.data, "pagination")
	next := identifier(member(pagination, "nextCursor"))
	if member(pagination, "hasNextPage").Type == gjson.False || next == asked.Cursor {
		return ""
	}
	return next
}
