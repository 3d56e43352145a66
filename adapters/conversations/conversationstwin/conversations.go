package conversationstwin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmux/internal/sandbox/bot"
)

type conversation struct {
	id           string
	contactID    string
	created      int64
	autoReply    bool
	groupMention bool
	messages     []*message
	turns        int    // how often the person spoke
	first        string // what the person said first
}

type message struct {
	id           string
	conversation *conversation
	outgoing     bool
	content      string
	attachments  []attachment
	created      int64
	question     *message // what the bot answered here; nil for all that the bot did not say
	recordID     string   // of the bot's answers
}

type conversationJSON struct {
	ID                   string       `json:"id"`
	Contact              contactJSON  `json:"contact"`
	Inbox                inboxJSON    `json:"inbox"`
	Title                string       `json:"title"`
	LastMessage          *messageJSON `json:"lastMessage"`
	LastMessageCreatedAt string       `json:"lastMessageCreatedAt"`
	UnreadMessagesCount  int          `json:"unreadMessagesCount"`
	AutoReplyEnabled     bool         `json:"autoReplyEnabled"`
	IsAutoReplyNow       any          `json:"isAutoReplyNow"`     // a text in lists, a boolean else: the documents have both
	IsGroupChat          string       `json:"isGroupChat"`        // a text, as in the export
	EnableGroupMention   bool         `json:"enableGroupMention"` // a boolean, as it is stored
	LastReadAt           *string      `json:"lastReadAt"`
	CreatedAt            string       `json:"createdAt"`
}

type contactJSON struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Avatar    string `json:"avatar"`
	CreatedAt string `json:"createdAt"`
}

type inboxJSON struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	ChannelType string `json:"channelType"`
}

// messageJSON shows each of the types that the documents leave loose: the sender's
// id is a number for the person and a text for the vendor's side; feedback is null
// for one and empty for the other; lists are empty, null or absent.
type messageJSON struct {
	ID            string       `json:"id"`
	Conversation  string       `json:"conversation"`
	Sender        senderJSON   `json:"sender"`
	Type          string       `json:"type"`
	Content       string       `json:"content"`
	Feedback      *string      `json:"feedback"`
	CreatedAt     string       `json:"createdAt"`
	Attachments   []attachment `json:"attachments"`
	Citations     []any        `json:"citations"`
	CitationNodes []any        `json:"citationNodes,omitempty"`
}

type senderJSON struct {
	ID     any    `json:"id"`
	Name   string `json:"name"`
	Avatar string `json:"avatar"`
}

const avatars = "https://cdn.example.test/"

func (m *message) show() messageJSON {
	v := messageJSON{
		ID: m.id, Conversation: m.conversation.id, Type: "incoming", Content: m.content, CreatedAt: stamp(m.created),
		Sender:      senderJSON{ID: 41, Name: "guest", Avatar: avatars + "guest.png"},
		Attachments: m.attachments,
		Citations:   []any{},
	}
	if m.outgoing {
		blank := ""
		v.Type, v.Feedback, v.Citations = "outgoing", &blank, nil
		v.Sender = senderJSON{ID: "operator", Name: "operator", Avatar: avatars + "operator.png"}
		if m.question != nil {
			v.Sender = senderJSON{ID: "bot", Name: "bot", Avatar: avatars + "bot.png"}
		}
	}
	return v
}

func (t *Twin) show(c *conversation, inList bool) conversationJSON {
	v := conversationJSON{
		ID:      c.id,
		Contact: contactJSON{ID: c.contactID, Name: "guest", Avatar: avatars + "guest.png", CreatedAt: stamp(c.created)},
		Inbox:   inboxJSON{ID: t.inboxID, Name: "site", ChannelType: "web"},

		LastMessageCreatedAt: stamp(c.created),
		AutoReplyEnabled:     c.autoReply,
		IsAutoReplyNow:       c.autoReply,
		IsGroupChat:          "false",
		EnableGroupMention:   c.groupMention,
		CreatedAt:            stamp(c.created),
	}
	if inList {
		v.IsAutoReplyNow = strconv.FormatBool(c.autoReply)
	}
	if n := len(c.messages); n > 0 {
		last := c.messages[n-1].show()
		v.LastMessage, v.LastMessageCreatedAt = &last, last.CreatedAt
	}
	return v
}

// begin makes a conversation. Call it with the lock held.
func (t *Twin) begin() *conversation {
	c := &conversation{id: newID(), contactID: newID(), created: t.now(), autoReply: true}
	t.conversations = append(t.conversations, c)
	t.byID[c.id] = c
	return c
}

// find gives a conversation, nil where there is none. Call it with the lock held.
func (t *Twin) find(id string) *conversation { return t.byID[strings.ToLower(id)] }

// say adds a message. Call it with the lock held.
func (t *Twin) say(c *conversation, outgoing bool, content string, attachments []attachment) *message {
	m := &message{id: newID(), conversation: c, outgoing: outgoing, content: content, attachments: attachments, created: t.now()}
	if !outgoing {
		if c.turns++; c.turns == 1 {
			c.first = content
		}
	}
	c.messages = append(c.messages, m)
	t.messages[m.id] = m
	return m
}

// reply lets the bot answer what was just said. Call it with the lock held.
func (t *Twin) reply(question *message) *message {
	c := question.conversation
	m := t.say(c, true, bot.Answer(c.turns, c.first, question.content), nil)
	m.question, m.recordID = question, newID()
	return m
}

func (t *Twin) createConversation(w http.ResponseWriter, r *http.Request, _ string) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	webChat := f.text("webChat", true)
	if _, wrong := f.problems["webChat"]; !wrong && webChat != t.webChatID {
		if isUUID(webChat) {
			f.problems.add("webChat", fmt.Sprintf("Invalid pk %q - object does not exist.", webChat))
		} else {
			f.problems.add("webChat", notUUID)
		}
	}
	if !f.finish(w) {
		return
	}
	t.mu.Lock()
	v := t.show(t.begin(), false)
	t.mu.Unlock()
	answer(w, http.StatusCreated, v)
}

// listConversations pages by a cursor, newest first, without a count. The cursor
// is the place in the order of creation before which the page begins.
func (t *Twin) listConversations(w http.ResponseWriter, r *http.Request, _ string) {
	query, wrong := parameters(r, "cursor", "inbox", "keyword", "pageSize")
	size := min(number(query, wrong, "pageSize", defaultPageSize), maxPageSize)
	if inbox := query.Get("inbox"); inbox != "" && !isUUID(inbox) {
		wrong.add("inbox", notUUID)
	}
	if len(wrong) > 0 {
		answer(w, http.StatusBadRequest, wrong)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := len(t.conversations)
	if cursor := query.Get("cursor"); cursor != "" {
		if at = placeOf(cursor); at < 0 || at > len(t.conversations) {
			fail(w, http.StatusNotFound, "Invalid cursor")
			return
		}
	}
	p := page{Results: []any{}}
	for at--; at >= 0; at-- {
		c := t.conversations[at]
		if inbox := query.Get("inbox"); inbox != "" && inbox != t.inboxID || !c.contains(query.Get("keyword")) {
			continue
		}
		if len(p.Results) == size {
			p.Next = pageURL(r, query, "cursor", cursorOf(at+1))
			break
		}
		p.Results = append(p.Results, t.show(c, true))
	}
	answer(w, http.StatusOK, p)
}

func cursorOf(place int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "p=%d", place))
}

func placeOf(cursor string) int {
	text, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return -1
	}
	digits, ok := strings.CutPrefix(string(text), "p=")
	place, err := strconv.Atoi(digits)
	if err != nil || !ok {
		return -1
	}
	return place
}

func (c *conversation) contains(keyword string) bool {
	return keyword == "" || slices.ContainsFunc(c.messages, func(m *message) bool { return strings.Contains(m.content, keyword) })
}

func (t *Twin) readConversation(w http.ResponseWriter, _ *http.Request, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.find(id); c != nil {
		answer(w, http.StatusOK, t.show(c, false))
		return
	}
	notFound(w)
}

func (t *Twin) updateAutoReply(w http.ResponseWriter, r *http.Request, id string) {
	t.update(w, r, id, "autoReplyEnabled", func(c *conversation, on bool) { c.autoReply = on })
}

func (t *Twin) updateGroupMention(w http.ResponseWriter, r *http.Request, id string) {
	t.update(w, r, id, "enableGroupMention", func(c *conversation, on bool) { c.groupMention = on })
}

func (t *Twin) update(w http.ResponseWriter, r *http.Request, id, field string, set func(*conversation, bool)) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	on := f.flag(field, true)
	if !f.finish(w) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.find(id)
	if c == nil {
		notFound(w)
		return
	}
	set(c, *on)
	answer(w, http.StatusOK, t.show(c, false))
}

// createMessage stores a message. To one of the person's the bot answers, unless
// automatic reply is off; the answer is in the list, not in the response.
func (t *Twin) createMessage(w http.ResponseWriter, r *http.Request, _ string) {
	t.storeMessage(w, r, false)
}

// createOutgoing stores what an operator says.
func (t *Twin) createOutgoing(w http.ResponseWriter, r *http.Request, _ string) {
	t.storeMessage(w, r, true)
}

func (t *Twin) storeMessage(w http.ResponseWriter, r *http.Request, outgoing bool) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	m, how, ok := t.readMessageBody(w, f, outgoing)
	if !ok {
		return
	}
	if how.Early {
		t.answerPosted(m, how)
		answer(w, http.StatusCreated, m.show())
		return
	}
	answer(w, http.StatusCreated, m.show())
	if how.After > 0 || how.Webhook != "" {
		t.telling.Go(func() {
			time.Sleep(how.After)
			t.answerPosted(m, how)
		})
	}
}

// readMessageBody reads a message that is to be stored, and stores it. Where it cannot,
// the refusal is written and ok is false.
func (t *Twin) readMessageBody(w http.ResponseWriter, f *fields, outgoing bool) (m *message, how Answering, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := f.uuid("conversation", true)
	c := t.find(id)
	if _, wrong := f.problems["conversation"]; !wrong && c == nil {
		f.problems.add("conversation", fmt.Sprintf("Invalid pk %q - object does not exist.", id))
	}
	content := f.text("content", false)
	kind := "outgoing"
	if outgoing {
		f.choice("type", "outgoing")
	} else {
		kind = f.choice("type", "incoming", "outgoing")
	}
	f.object("contentPayload", false)
	f.object("queryMetadata", false)
	attachments := t.readAttachments(f)
	if canvas := f.object("canvas", false); canvas != nil {
		canvas.text("name", true)
		canvas.value("canvasType", true) // typed as an object, though it is probably one of some words
		canvas.text("title", true)
		canvas.text("content", true)
		f.nest("canvas", canvas)
	}
	if content == "" && len(attachments) == 0 && len(f.problems) == 0 {
		f.problems.add("content", notBlank)
	}
	if !f.finish(w) {
		return nil, how, false
	}
	m = t.say(c, kind == "outgoing", content, attachments)
	how = t.answering
	if how == (Answering{}) { // then it stands in the list at once
		t.answerLocked(m)
	}
	return m, how, true
}

// listMessages pages by number, oldest first. It never gives a cursor, so it knows
// none.
func (t *Twin) listMessages(w http.ResponseWriter, r *http.Request, _ string) {
	query, wrong := parameters(r, "conversation", "cursor", "page", "pageSize")
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.ofConversation(query, wrong, true)
	switch {
	case len(wrong) > 0:
		answer(w, http.StatusBadRequest, wrong)
	case c == nil:
		notFound(w)
	case query.Get("cursor") != "":
		fail(w, http.StatusNotFound, "Invalid cursor")
	default:
		answerByNumber(w, r, query, wrong, len(c.messages), func(i int) any { return c.messages[i].show() })
	}
}

func (t *Twin) readMessage(w http.ResponseWriter, r *http.Request, id string) {
	query, wrong := parameters(r, "conversation")
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.ofConversation(query, wrong, false)
	m := t.messages[strings.ToLower(id)]
	switch {
	case len(wrong) > 0:
		answer(w, http.StatusBadRequest, wrong)
	case m == nil || query.Has("conversation") && m.conversation != c:
		notFound(w)
	default:
		answer(w, http.StatusOK, m.show())
	}
}

// ofConversation reads the parameter that names a conversation.
func (t *Twin) ofConversation(query url.Values, wrong problems, must bool) *conversation {
	id := query.Get("conversation")
	switch {
	case id == "" && must:
		wrong.add("conversation", required)
	case id != "" && !isUUID(id):
		wrong.add("conversation", notUUID)
	}
	return t.find(id)
}

// suggest proposes what an operator may say. The vendor documents neither what it
// takes nor what it answers: any object is taken, and an empty one answered.
func (t *Twin) suggest(w http.ResponseWriter, r *http.Request, _ string) {
	if _, ok := readFields(w, r); ok {
		answer(w, http.StatusOK, struct{}{})
	}
}

// readAttachments reads a list whose items are objects or plain ids. Call it with
// the lock held.
func (t *Twin) readAttachments(f *fields) []attachment {
	list := []attachment{}
	v, ok := f.value("attachments", false)
	if !ok {
		return list
	}
	var raw []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &raw) != nil {
		f.problems.add("attachments", notList)
		return list
	}
	var wrong []any
	for _, one := range raw {
		item, problem := t.readAttachmentItem(one)
		if len(problem) > 0 {
			wrong = append(wrong, problem)
		}
		list = append(list, item)
	}
	if wrong != nil {
		f.problems["attachments"] = wrong
	}
	return list
}

func (t *Twin) readAttachmentItem(v json.RawMessage) (attachment, problems) {
	if v[0] == '"' {
		v = fmt.Appendf(nil, `{"id":%s}`, v)
	}
	var values map[string]json.RawMessage
	if v[0] != '{' || json.Unmarshal(v, &values) != nil {
		return attachment{}, problems{"non_field_errors": []string{notDictionary}}
	}
	f := newFields(values)
	item := attachment{
		ID:       f.uuid("id", false),
		Type:     f.choice("type", "other", "image", "video", "audio", "sticker"),
		Filename: f.text("filename", false),
		File:     f.text("file", false),
	}
	f.refuseUnknown()
	if len(f.problems) > 0 {
		return item, f.problems
	}
	stored := t.findAttachment(item.ID)
	switch {
	case item.ID != "" && stored == nil:
		f.problems.add("id", fmt.Sprintf("Invalid pk %q - object does not exist.", item.ID))
	case stored != nil:
		item = *stored
	case item.File == "":
		f.problems.add("id", required)
	case !isURL(item.File):
		f.problems.add("file", notURL)
	default:
		item.ID = newID()
	}
	return item, f.problems
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
