package altur

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// decodeReply reads the answer to a send. asked is the conversation as it was
// known before; its ThreadID is empty on the first message. The person stays the
// one that was asked for.
func decodeReply(answer vendorhttp.Answer, asked normalize.Remote) (adapters.Reply, error) {
	if err := answer.Object(); err != nil {
		return adapters.Reply{Remote: asked}, err
	}
	root := gjson.ParseBytes(normalize.CleanBytes(answer.Body))
	thread, sent, list := root.Get("thread"), root.Get("in_response_to"), root.Get("messages")
	switch {
	case present(thread) && !thread.IsObject():
		return adapters.Reply{Remote: asked}, answer.Invalid("the thread in the backend's answer is not an object")
	case present(sent) && !sent.IsObject():
		return adapters.Reply{Remote: asked}, answer.Invalid("the sent message in the backend's answer is not an object")
	case !list.IsArray():
		return adapters.Reply{Remote: asked}, answer.Invalid("the backend's answer has no list of messages")
	}
	r := reader{answer: answer, threadID: asked.ThreadID}
	reply, err := r.reply(thread, sent, list)
	if err != nil {
		reply = adapters.Reply{}
	}
	reply.Remote = normalize.Remote{ThreadID: r.threadID, UserID: asked.UserID}
	return reply, err
}

// decodeRemoteThread reads a conversation on its own.
func decodeRemoteThread(answer vendorhttp.Answer, asked normalize.Remote) (adapters.RemoteThread, error) {
	if err := answer.Object(); err != nil {
		return adapters.RemoteThread{}, err
	}
	thread := gjson.ParseBytes(normalize.CleanBytes(answer.Body))
	id := thread.Get("id")
	if text(id) == "" {
		return adapters.RemoteThread{}, answer.Invalid("the backend's thread has no id")
	}
	r := reader{answer: answer, threadID: asked.ThreadID}
	if err := r.sameThread(id); err != nil {
		return adapters.RemoteThread{}, err
	}
	update := r.thread(thread)
	return adapters.RemoteThread{
		Remote:    normalize.Remote{ThreadID: r.threadID, UserID: r.user.ID},
		Update:    update,
		UpdatedAt: instant(thread.Get("updated_at")),
	}, nil
}

// decodeList reads all messages of a conversation, oldest first.
func decodeList(answer vendorhttp.Answer, threadID string) ([]normalize.Message, error) {
	if err := answer.Array(); err != nil {
		return nil, err
	}
	r := reader{answer: answer, threadID: threadID}
	return r.messages(gjson.ParseBytes(normalize.CleanBytes(answer.Body)))
}

// decodeUser reads an end user. Without an id it is none.
func decodeUser(answer vendorhttp.Answer) (normalize.User, error) {
	if err := answer.Object(); err != nil {
		return normalize.User{}, err
	}
	root := gjson.ParseBytes(normalize.CleanBytes(answer.Body))
	user := normalize.User{ID: text(root.Get("id")), Name: text(root.Get("display_name")), Info: text(root.Get("info"))}
	if user.ID == "" {
		return normalize.User{}, answer.Invalid("the backend's end user has no id")
	}
	return user, nil
}

// reader reads one answer. It collects who is named in it, so that messages get
// the names of their authors.
type reader struct {
	answer    vendorhttp.Answer
	threadID  string // of the one conversation that all of the answer must be about; empty until it is known
	user, bot normalize.Author
	staff     []normalize.Assignee
	digests   map[string]int // how often each came so far
}

func (r *reader) reply(thread, sent, list gjson.Result) (adapters.Reply, error) {
	var reply adapters.Reply
	if thread.IsObject() {
		if err := r.sameThread(thread.Get("id")); err != nil {
			return reply, err
		}
		reply.Thread = r.thread(thread)
	}
	if sent.IsObject() {
		if err := r.sameThread(sent.Get("thread_id")); err != nil {
			return reply, err
		}
		reply.Sent = adapters.Sent{
			RemoteID:  r.remoteID(sent),
			Author:    r.author(sent),
			Read:      boolean(sent.Get("read")),
			CreatedAt: instant(sent.Get("sent_at")),
			Raw:       []byte(sent.Raw),
		}
	}
	messages, err := r.messages(list)
	if err != nil {
		return reply, err
	}
	for i := range messages {
		m := &messages[i]
		if m.Type == normalize.TypeText && m.Text == "" && len(m.Attachments) == 0 {
			return reply, r.answer.Invalid("a reply of the backend has no text")
		}
	}
	reply.Messages = messages
	return reply, nil
}

// sameThread checks an id of a conversation against the one that the answer must
// be about. The first id that is told settles it where it was not known.
func (r *reader) sameThread(told gjson.Result) error {
	switch id := text(told); {
	case id == "" || id == r.threadID:
		return nil
	case r.threadID == "":
		r.threadID = id
		return nil
	}
	return r.answer.Invalid("the backend's answer is about another thread")
}

func (r *reader) thread(t gjson.Result) normalize.ThreadUpdate {
	user := first(t, "end_user", "enduser")
	bot := first(t, "agent", "chatbot", "assistant")
	r.user = normalize.Author{ID: text(user.Get("id")), Name: text(user.Get("display_name"))}
	r.bot = normalize.Author{ID: text(bot.Get("id")), Name: text(bot.Get("name"))}

	update := normalize.ThreadUpdate{Raw: json.RawMessage(t.Raw)}
	if active := boolean(t.Get("active")); active != nil {
		update.Mode = normalize.ModeHuman
		if *active {
			update.Mode = normalize.ModeAI
		}
	}
	if blocked := boolean(t.Get("blocked")); blocked != nil {
		update.Status = normalize.ThreadOpen
		if *blocked {
			update.Status = normalize.ThreadBlocked
		}
	}
	if tags := t.Get("tags"); tags.IsArray() {
		update.Tags = []normalize.Tag{}
		tags.ForEach(func(_, tag gjson.Result) bool {
			update.Tags = append(update.Tags, normalize.Tag{ID: text(tag.Get("id")), Name: text(tag.Get("name")), Color: text(tag.Get("color"))})
			return true
		})
	}
	if staff := t.Get("assigned_to"); staff.IsArray() {
		update.Assignees = []normalize.Assignee{}
		staff.ForEach(func(_, person gjson.Result) bool {
			name := strings.TrimSpace(text(person.Get("first_name")) + " " + text(person.Get("last_name")))
			update.Assignees = append(update.Assignees, normalize.Assignee{ID: text(person.Get("id")), Name: name, Email: text(person.Get("email"))})
			return true
		})
		r.staff = update.Assignees
	}
	if channel := t.Get("integration"); channel.IsObject() {
		update.Channel = &normalize.Channel{ID: text(channel.Get("id")), Type: text(channel.Get("type"))}
	} else if kind := text(user.Get("integration_type")); kind != "" {
		update.Channel = &normalize.Channel{Type: kind}
	}
	if user.IsObject() {
		update.User = &normalize.User{Name: r.user.Name, Info: text(user.Get("info"))}
	}
	return update
}

func (r *reader) messages(list gjson.Result) ([]normalize.Message, error) {
	var (
		messages []normalize.Message
		err      error
	)
	list.ForEach(func(_, m gjson.Result) bool {
		var message normalize.Message
		if message, err = r.message(m); err == nil {
			messages = append(messages, message)
		}
		return err == nil
	})
	return messages, err
}

func (r *reader) message(m gjson.Result) (normalize.Message, error) {
	if !m.IsObject() {
		return normalize.Message{}, r.answer.Invalid("a message of the backend is not an object")
	}
	content := m.Get("content")
	if present(content) && content.Type != gjson.String {
		return normalize.Message{}, r.answer.Invalid("the content of a message of the backend is not a text")
	}
	if err := r.sameThread(m.Get("thread_id")); err != nil {
		return normalize.Message{}, err
	}
	message := normalize.Message{
		Role:      role(m),
		Type:      messageType(text(m.Get("type"))),
		Text:      text(content),
		Author:    r.author(m),
		Status:    normalize.StatusComplete,
		RemoteID:  r.remoteID(m),
		Read:      boolean(m.Get("read")),
		CreatedAt: instant(m.Get("sent_at")),
		Raw:       json.RawMessage(m.Raw),
	}
	if message.Role == normalize.RoleUser {
		message.Status = normalize.StatusSent
	}
	if media := text(m.Get("media")); media != "" {
		kind := message.Type
		if kind == normalize.TypeText {
			kind = normalize.TypeOther // the type speaks of the content then
		}
		message.Attachments = []normalize.Attachment{{Type: kind, URL: media}}
	}
	return message, nil
}

// author says who wrote a message, as far as the answer names them.
func (r *reader) author(m gjson.Result) normalize.Author {
	switch role(m) {
	case normalize.RoleUser:
		return r.user
	case normalize.RoleAssistant:
		return r.bot
	case normalize.RoleOperator:
		author := normalize.Author{ID: text(m.Get("sent_by_user"))}
		for _, person := range r.staff {
			if person.ID == author.ID {
				author.Name, author.Email = person.Name, person.Email
			}
		}
		return author
	case normalize.RoleSystem:
	}
	return normalize.Author{}
}

// remoteID names a message, which has no id of its own at this vendor: the id of
// the conversation, and a digest of what stays the same however and whenever the
// message is read. That leaves out its place in a list, `read`, and `media`, whose
// URL may be signed anew. Where several messages of one answer agree in all of
// it, the second and later ones get their number appended. So one id is one
// message, in a reply and in a later list alike. One case remains: two equal
// texts that one sender sent at the same moment by separate calls have the same
// id in their replies, and only the list tells them apart.
func (r *reader) remoteID(m gjson.Result) string {
	sentAt := text(m.Get("sent_at"))
	if t, ok := normalize.ParseTime(sentAt); ok {
		sentAt = t.Format(time.RFC3339Nano)
	}
	facts := strings.Join([]string{
		text(m.Get("sent_by")), text(m.Get("sent_by_user")), sentAt, text(m.Get("type")), text(m.Get("content")),
	}, "\x00") // no text holds NUL
	sum := sha256.Sum256([]byte(facts))
	digest := hex.EncodeToString(sum[:12])
	id := r.threadID + "-" + digest
	if r.digests == nil {
		r.digests = make(map[string]int)
	}
	r.digests[digest]++
	if n := r.digests[digest]; n > 1 {
		id += "-" + strconv.Itoa(n)
	}
	return id
}

// role says who speaks. A human of the vendor's side is known by the id alone.
func role(m gjson.Result) normalize.Role {
	if text(m.Get("sent_by_user")) != "" {
		return normalize.RoleOperator
	}
	switch text(m.Get("sent_by")) {
	case "AI":
		return normalize.RoleAssistant
	case "EU":
		return normalize.RoleUser
	default: // SYS, and what we do not know
		return normalize.RoleSystem
	}
}

// messageType maps the vendor's word. None at all means text.
func messageType(word string) normalize.MessageType {
	switch word {
	case "", "text":
		return normalize.TypeText
	case "image", "audio", "video", "button", "template", "document":
		return normalize.MessageType(word)
	default:
		return normalize.TypeOther
	}
}

// explain reads the two error bodies that are known: {error, message} as
// documented, and {detail} as the framework behind the API writes it, which names
// the seconds to wait on a 429.
func explain(status int, body []byte) vendorhttp.Fault {
	if !json.Valid(body) {
		return vendorhttp.Fault{}
	}
	root := gjson.ParseBytes(body)
	fault := vendorhttp.Fault{Code: text(root.Get("error")), Message: text(root.Get("message"))}
	if detail := text(root.Get("detail")); detail != "" {
		fault.Message = detail
		if status == http.StatusTooManyRequests {
			fault.RetryAfter = availableIn(detail)
		}
	}
	return fault
}

// availableIn finds "available in N seconds" in a sentence; 0 where it is not.
func availableIn(sentence string) time.Duration {
	_, rest, _ := strings.Cut(sentence, "available in ")
	digits, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// first returns the first of the fields that holds an object; names of fields
// have changed over the years.
func first(object gjson.Result, names ...string) gjson.Result {
	for _, name := range names {
		if v := object.Get(name); v.IsObject() {
			return v
		}
	}
	return gjson.Result{}
}

// present reports whether a field is there and not null, which is the same as
// absent.
func present(v gjson.Result) bool { return v.Exists() && v.Type != gjson.Null }

// text gives a string, or a number as it is written, fit to be shown and stored.
// Everything else is "".
func text(v gjson.Result) string {
	switch v.Type {
	case gjson.String:
		return normalize.UnquoteJSON(v.Raw)
	case gjson.Number:
		return v.Raw
	default:
		return ""
	}
}

func boolean(v gjson.Result) *bool {
	if !v.IsBool() {
		return nil
	}
	b := v.Bool()
	return &b
}

func instant(v gjson.Result) time.Time {
	t, _ := normalize.ParseTime(text(v))
	return t
}
