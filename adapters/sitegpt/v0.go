package sitegpt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Who speaks in a message that v0 is sent.
const (
	fromUser  = "USER"
	fromAgent = "AGENT"
)

// The page sizes of v0's lists.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// v0 is a chatbot behind API v0.
type v0 struct{ bot }

// sendV0 is the body of a send. What is empty is left out.
type sendV0 struct {
	Message   string `json:"message"`
	From      string `json:"from"`
	ThreadID  string `json:"threadId,omitempty"`
	AgentName string `json:"agentName,omitempty"`
	IconURL   string `json:"iconUrl,omitempty"`
}

// Send asks the bot. Without a remote thread the vendor starts one.
func (v *v0) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	e, err := v.post(ctx, sendV0{Message: turn.Message.Text, From: fromUser, ThreadID: turn.Remote.ThreadID})
	if err != nil {
		return adapters.Reply{}, err
	}
	return e.reply(turn)
}

// SendAsOperator speaks as a human of the vendor's side, in a thread that exists.
// Nobody replies.
func (v *v0) SendAsOperator(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	if turn.Remote.ThreadID == "" {
		return adapters.Reply{}, normalize.Errorf(normalize.KindInvalidRequest,
			"an operator speaks in a conversation that exists: send a message of the user's first")
	}
	e, err := v.post(ctx, sendV0{
		Message:   turn.Message.Text,
		From:      fromAgent,
		ThreadID:  turn.Remote.ThreadID,
		AgentName: turn.Message.Author.Name,
		IconURL:   turn.Message.Author.AvatarURL,
	})
	if err != nil {
		return adapters.Reply{}, err
	}
	return e.sent(turn)
}

func (v *v0) post(ctx context.Context, body sendV0) (envelope, error) {
	return v.call(ctx, http.MethodPost, "/message", nil, body)
}

// createV0 is the body of a create. What is empty is left out.
type createV0 struct {
	ThreadID      string `json:"threadId,omitempty"`
	Mode          string `json:"mode,omitempty"`
	ChatUserEmail string `json:"chatUserEmail,omitempty"`
}

// CreateThread creates an empty thread under an id that is made of ours, so that a
// create whose answer was lost can be found again: then the thread is read, once,
// and the failure stands only if it is not there.
func (v *v0) CreateThread(ctx context.Context, thread normalize.Thread) (adapters.RemoteThread, error) {
	return v.CreateNamedThread(ctx, thread, normalize.UUIDForm(thread.ID))
}

// CreateNamedThread creates an empty thread under an id that somebody chose.
func (v *v0) CreateNamedThread(ctx context.Context, thread normalize.Thread, id string) (adapters.RemoteThread, error) {
	e, err := v.call(ctx, http.MethodPost, "/threads", nil, createV0{
		ThreadID:      id,
		Mode:          modeWord(thread.Mode),
		ChatUserEmail: thread.User.Email,
	})
	if err != nil {
		if found, ok := v.lookAfter(ctx, err, id); ok {
			return found, nil
		}
		return adapters.RemoteThread{}, err
	}
	object, err := e.object("thread")
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	created := readThread(object)
	if created.Remote.ThreadID == "" {
		created.Remote.ThreadID = id
	}
	return created, nil
}

// lookAfter reads the thread of a create that may have succeeded all the same.
func (v *v0) lookAfter(ctx context.Context, failure error, id string) (adapters.RemoteThread, bool) {
	if kind := normalize.AsError(failure).Kind; kind != normalize.KindDisconnected && kind != normalize.KindTimeout {
		return adapters.RemoteThread{}, false
	}
	found, err := v.ReadThread(ctx, normalize.Remote{ThreadID: id})
	return found, err == nil
}

// ReadThread reads a thread, its messages along.
func (v *v0) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	e, err := v.thread(ctx, http.MethodGet, remote, nil)
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	return e.thread("thread", remote)
}

// ListMessages returns all messages of a thread as one page: v0 gives them with
// the thread only, and all at once.
func (v *v0) ListMessages(ctx context.Context, remote normalize.Remote, _ adapters.Page) (adapters.MessagePage, error) {
	e, err := v.thread(ctx, http.MethodGet, remote, nil)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	thread, err := e.thread("thread", remote)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	if !member(member(e.data, "thread"), "messages").IsArray() {
		return adapters.MessagePage{}, e.Invalid("the backend's answer holds no list of messages")
	}
	return adapters.MessagePage{Messages: thread.Messages}, nil
}

// ListThreads lists the threads of the chatbot. Whether v0 pages this list is not
// documented, so the list ends at a page that is not exactly full, which is the
// whole list where the vendor does not page, and at a page that begins like the
// one before.
func (v *v0) ListThreads(ctx context.Context, page adapters.Page) (adapters.ThreadPage, error) {
	number, firstBefore := 1, ""
	if page.Cursor != "" {
		digits, first, _ := strings.Cut(page.Cursor, ":")
		var err error
		if number, err = strconv.Atoi(digits); err != nil || number < 2 {
			return adapters.ThreadPage{}, normalize.InvalidField("cursor", "is not one that this list returned")
		}
		firstBefore = first
	}
	limit := page.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	query := url.Values{"page": {strconv.Itoa(number)}, "limit": {strconv.Itoa(limit)}}
	e, err := v.call(ctx, http.MethodGet, "/threads", query, nil)
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	list, err := e.array("threads")
	if err != nil {
		return adapters.ThreadPage{}, err
	}
	threads := readThreads(list)
	if len(threads) == 0 || number > 1 && threads[0].Remote.ThreadID == firstBefore {
		return adapters.ThreadPage{}, nil
	}
	next := ""
	if len(list) == limit {
		next = strconv.Itoa(number+1) + ":" + threads[0].Remote.ThreadID
	}
	return adapters.ThreadPage{Threads: threads, NextCursor: next}, nil
}

// SwitchMode hands the thread to a human or back to the bot.
func (v *v0) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error {
	return v.patch(ctx, remote, struct {
		Mode string `json:"mode"`
	}{modeWord(mode)})
}

// RegisterWebhook has all messages of the thread sent to a URL. The vendor sends
// the token along in a header.
func (v *v0) RegisterWebhook(ctx context.Context, remote normalize.Remote, url string, token normalize.Secret) error {
	err := v.patch(ctx, remote, struct {
		URL   string `json:"webhookUrl"`
		Token string `json:"webhookToken"`
	}{url, token.Reveal()})
	var failure *normalize.Error
	if errors.As(err, &failure) {
		failure.Detail = token.Redact(failure.Detail) // a refusal may repeat what it refuses
	}
	return err
}

// UpdateUser tells the vendor what is known of the person. Nothing known is
// nothing to tell, and no call.
func (v *v0) UpdateUser(ctx context.Context, remote normalize.Remote, user normalize.User) error {
	type chatUser struct {
		Email string `json:"email,omitempty"`
		Name  string `json:"name,omitempty"`
		Phone string `json:"phoneNumber,omitempty"`
	}
	known := chatUser{Email: user.Email, Name: user.Name, Phone: user.Phone}
	if known == (chatUser{}) {
		return nil
	}
	return v.patch(ctx, remote, struct {
		ChatUser chatUser `json:"chatUser"`
	}{known})
}

func (v *v0) patch(ctx context.Context, remote normalize.Remote, body any) error {
	_, err := v.thread(ctx, http.MethodPatch, remote, body)
	return err
}

func (v *v0) thread(ctx context.Context, method string, remote normalize.Remote, body any) (envelope, error) {
	id, err := segment(remote.ThreadID)
	if err != nil {
		return envelope{}, err
	}
	return v.call(ctx, method, "/threads/"+id, nil, body)
}

// modeWord is the vendor's word for a mode, "" for none.
func modeWord(mode normalize.Mode) string {
	switch mode {
	case normalize.ModeAI:
		return "AI"
	case normalize.ModeHuman:
		return "AGENT"
	}
	return ""
}
