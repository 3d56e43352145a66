package altur

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// adapter talks to one agent. As it stands it serves accounts whose callers name
// the end users themselves.
type adapter struct {
	client  *vendorhttp.Client
	agentID string
	shape   string

	webhookSecret normalize.Secret
}

// userCreator is the adapter of accounts where each thread gets an end user of
// its own.
type userCreator struct{ *adapter }

// message is the body of a send. Exactly one of the agent's names is written.
type message struct {
	AgentID   string `json:"agent_id,omitempty"`
	ChatbotID string `json:"chatbot_id,omitempty"`
	EndUserID string `json:"end_user_id"`
	Content   string `json:"content"`
}

// endUser is the body that creates or changes an end user.
type endUser struct {
	DisplayName string `json:"display_name,omitempty"`
	Info        string `json:"info,omitempty"`
}

// Send posts one message. The end user is the one that the thread is bound to,
// else the one that the caller named; without a usable one nothing is sent.
func (a *adapter) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	userID := turn.Remote.UserID
	if userID == "" {
		userID = turn.Thread.User.ID
		if _, err := normalize.ParseUUID(userID); err != nil {
			return adapters.Reply{}, normalize.InvalidField("user.id", "must be the id of an end user at Altur, a UUID: this backend creates none")
		}
	}
	return a.send(ctx, turn, userID)
}

// Send posts one message for the end user that was created for the thread.
func (a *userCreator) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	if turn.Remote.UserID == "" {
		return adapters.Reply{}, normalize.Errorf(normalize.KindInvalidRequest, "the thread has no end user at the backend yet")
	}
	return a.send(ctx, turn, turn.Remote.UserID)
}

func (a *adapter) send(ctx context.Context, turn adapters.Turn, userID string) (adapters.Reply, error) {
	answer, err := a.client.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/message", Body: a.encodeSend(userID, turn.Message.Text)})
	if err != nil {
		return adapters.Reply{}, err
	}
	reply, err := decodeReply(answer, normalize.Remote{ThreadID: turn.Remote.ThreadID, UserID: userID})
	if made := madeUpName(turn.Thread.User); made != "" {
		forget(&reply.Sent.Author.Name, made)
		if user := reply.Thread.User; user != nil {
			forget(&user.Name, made)
		}
	}
	return reply, err
}

// madeUpName is the display name that an end user gets because the person's name is
// not known; empty where it is. It comes back in every answer, and is no name there.
func madeUpName(user normalize.User) string {
	if user.Name != "" {
		return ""
	}
	return cmp.Or(user.Email, user.ID, "chatmux user")
}

func forget(field *string, value string) {
	if *field == value {
		*field = ""
	}
}

func (a *adapter) encodeSend(userID, text string) []byte {
	m := message{EndUserID: userID, Content: text}
	if a.shape == ShapeChatbot {
		m.ChatbotID = a.agentID
	} else {
		m.AgentID = a.agentID
	}
	return encode(m)
}

// CreateUser makes an end user, by the best name that is known: the person's
// name, else the email address, else the caller's id.
func (a *userCreator) CreateUser(ctx context.Context, user normalize.User) (string, error) {
	answer, err := a.client.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/enduser", Body: encode(endUser{
		DisplayName: cmp.Or(user.Name, madeUpName(user)),
		Info:        user.Info,
	})})
	if err != nil {
		return "", err
	}
	created, err := decodeUser(answer)
	return created.ID, err
}

// ReadUser reads the end user: id, display name and info.
func (a *adapter) ReadUser(ctx context.Context, remote normalize.Remote) (normalize.User, error) {
	answer, err := a.get(ctx, "/enduser/", remote.UserID)
	if err != nil {
		return normalize.User{}, err
	}
	return decodeUser(answer)
}

// UpdateUser writes the name and the info of the end user. What is not known of
// the person is not written; if neither is known, nothing is asked.
func (a *adapter) UpdateUser(ctx context.Context, remote normalize.Remote, user normalize.User) error {
	body := endUser{DisplayName: user.Name, Info: user.Info}
	if body == (endUser{}) {
		return nil
	}
	path, err := pathTo("/enduser/", remote.UserID)
	if err != nil {
		return err
	}
	answer, err := a.client.Do(ctx, vendorhttp.Call{Method: http.MethodPut, Path: path, Body: encode(body)})
	if err != nil {
		return err
	}
	_, err = decodeUser(answer)
	return err
}

// ReadThread reads the conversation as it stands, without its messages.
func (a *adapter) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	answer, err := a.get(ctx, "/thread/", remote.ThreadID)
	if err != nil {
		// The one error that is documented for this call is 400.
		return adapters.RemoteThread{}, threadNotFound(err, http.StatusBadRequest, http.StatusNotFound)
	}
	return decodeRemoteThread(answer, remote)
}

// ListMessages lists the conversation. The vendor gives all of it at once; pages
// are cut here, and the cursor is the number of messages that came before.
func (a *adapter) ListMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (adapters.MessagePage, error) {
	start := 0
	if page.Cursor != "" {
		n, err := strconv.ParseUint(page.Cursor, 10, 31)
		if err != nil {
			return adapters.MessagePage{}, normalize.InvalidField("cursor", "is not one that an earlier page returned")
		}
		start = int(n)
	}
	answer, err := a.get(ctx, "/message/", remote.ThreadID)
	if err != nil {
		return adapters.MessagePage{}, threadNotFound(err, http.StatusNotFound)
	}
	all, err := decodeList(answer, remote.ThreadID)
	if err != nil {
		return adapters.MessagePage{}, err
	}
	start = min(start, len(all))
	end := len(all)
	if page.Limit > 0 {
		end = min(start+page.Limit, end)
	}
	out := adapters.MessagePage{Messages: all[start:end]}
	if end < len(all) {
		out.NextCursor = strconv.Itoa(end)
	}
	return out, nil
}

// Close lets go of the idle connections.
func (a *adapter) Close() error { return a.client.Close() }

func (a *adapter) get(ctx context.Context, path, id string) (vendorhttp.Answer, error) {
	path, err := pathTo(path, id)
	if err != nil {
		return vendorhttp.Answer{}, err
	}
	return a.client.Do(ctx, vendorhttp.Call{Method: http.MethodGet, Path: path})
}

// pathTo puts an id at the end of a path, where it stays one segment.
func pathTo(path, id string) (string, error) {
	if id == "" {
		return "", normalize.Errorf(normalize.KindInvalidRequest, "the thread has no id at the backend yet")
	}
	return path + url.PathEscape(id), nil
}

// threadNotFound rewords the refusals that mean that the conversation is not
// there. Kind and vendor status stay.
func threadNotFound(err error, statuses ...int) error {
	var failure *normalize.Error
	if errors.As(err, &failure) && failure.Kind == normalize.KindRejected {
		for _, status := range statuses {
			if failure.VendorStatus == status {
				failure.Detail = fmt.Sprintf("the backend does not know this thread (status %d)", status)
			}
		}
	}
	return err
}

// encode writes a body. Text goes out as people wrote it, not escaped for HTML.
func encode(body any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // structs of strings always encode
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
