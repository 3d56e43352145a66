package conversations

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// webChat creates conversations; only an account with a web chat has it.
type webChat struct {
	account *platform
	id      string
}

// CreateThread creates an empty conversation in the web chat. The vendor takes
// nothing else along: no title, no person.
func (w *webChat) CreateThread(ctx context.Context, _ normalize.Thread) (adapters.RemoteThread, error) {
	answer, err := w.account.write(ctx, http.MethodPost, "/conversations/", struct {
		WebChat string `json:"webChat"`
	}{w.id})
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return decodeConversation(answer, gjson.ParseBytes(answer.Body), "")
}

// ReadThread reads a conversation. Its Messages are left out: the vendor gives the
// last one along, which is no transcript.
func (p *platform) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	answer, err := p.get(ctx, "/conversations/"+url.PathEscape(remote.ThreadID)+"/", nil)
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return decodeConversation(answer, gjson.ParseBytes(answer.Body), remote.ThreadID)
}

// ListThreads lists the account's conversations. The vendor has no filter by
// chatbot, so those of its other bots are among them.
func (p *platform) ListThreads(ctx context.Context, page adapters.Page) (adapters.ThreadPage, error) {
	query, err := pageQuery(page)
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	results, answer, next, err := p.list(ctx, "/conversations/", query, page.Cursor)
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	threads := make([]adapters.RemoteThread, 0, len(results))
	for _, v := range results {
		t, err := decodeConversation(answer, v, "")
		if err != nil {
			return adapters.ThreadPage{}, err
		}
		threads = append(threads, t)
	}
	return adapters.ThreadPage{Threads: threads, NextCursor: next}, nil
}

// SwitchMode turns the bot's automatic reply off for mode human, and on again. The
// vendor documents the call but not which field it heeds; an answer that still
// shows the other state is KindInvalidReply, so that a switch without effect is
// noticed.
func (p *platform) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error {
	path := "/conversations/" + url.PathEscape(remote.ThreadID) + "/update-auto-reply/"
	answer, err := p.write(ctx, http.MethodPatch, path, struct {
		AutoReplyEnabled bool `json:"autoReplyEnabled"`
	}{mode == normalize.ModeAI})
	if err != nil {
		return err
	}
	t, err := decodeConversation(answer, gjson.ParseBytes(answer.Body), remote.ThreadID)
	if err != nil {
		return err
	}
	if t.Update.Mode != "" && t.Update.Mode != mode {
		return answer.Invalid("the backend took the switch and did not change the mode")
	}
	return nil
}

// ListMessages lists one page of a conversation's messages, oldest first within
// the page; the pages come in the vendor's order, which it does not document.
func (p *platform) ListMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (adapters.MessagePage, error) {
	query, err := pageQuery(page)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	query.Set("conversation", remote.ThreadID)
	results, answer, next, err := p.list(ctx, "/messages/", query, page.Cursor)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	list := make([]normalize.Message, 0, len(results))
	for _, v := range results {
		m, err := decodeMessage(answer, v, remote.ThreadID)
		if err != nil {
			return adapters.MessagePage{}, err
		}
		list = append(list, m)
	}
	sortOldestFirst(list)
	return adapters.MessagePage{Messages: list, NextCursor: next}, nil
}

// ReadMessage reads one message of a conversation.
func (p *platform) ReadMessage(ctx context.Context, remote normalize.Remote, remoteID string) (normalize.Message, error) {
	answer, err := p.get(ctx, "/messages/"+url.PathEscape(remoteID)+"/", url.Values{"conversation": {remote.ThreadID}})
	if err != nil {
		return normalize.Message{}, err
	}
	return decodeMessage(answer, gjson.ParseBytes(answer.Body), remote.ThreadID)
}

// write sends one object and reads one.
func (p *platform) write(ctx context.Context, method, path string, v any) (vendorhttp.Answer, error) {
	body, err := encode(v)
	if err != nil {
		return vendorhttp.Answer{}, err
	}
	answer, err := p.client.Do(ctx, vendorhttp.Call{Method: method, Path: path, Body: body})
	if err != nil {
		return answer, err
	}
	return answer, answer.Object()
}

// get reads one object.
func (p *platform) get(ctx context.Context, path string, query url.Values) (vendorhttp.Answer, error) {
	answer, err := p.client.Do(ctx, vendorhttp.Call{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return answer, err
	}
	return answer, answer.Object()
}
