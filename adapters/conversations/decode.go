package conversations

import (
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// decodeCompletion reads the answer of a completion that did not come as a stream.
// asked is the conversation that was written to, empty for a new one. An answer
// without text, or of another conversation, is KindInvalidReply.
func decodeCompletion(a vendorhttp.Answer, asked string) (adapters.Reply, error) {
	if err := a.Object(); err != nil {
		return adapters.Reply{}, err
	}
	v := gjson.ParseBytes(a.Body)
	conversation, err := decodeConversationID(a, v, asked)
	if err != nil {
		return adapters.Reply{}, err
	}
	reply := adapters.Reply{Remote: normalize.Remote{ThreadID: conversation}}
	content := firstTold(v, "content", "message.content", "reply")
	if content.Type != gjson.String || content.Str == "" {
		return reply, a.Invalid("the backend's answer has no text")
	}
	m := assistantMessage(v, text(content))
	m.RemoteID = scalar(firstTold(v, "id", "message.id"))
	m.Raw = normalize.CleanBytes(a.Body)
	reply.Messages = []normalize.Message{m}
	return reply, nil
}

// assistantMessage makes the bot's message of a completion's answer or last frame.
func assistantMessage(v gjson.Result, content string) normalize.Message {
	return normalize.Message{
		Role:        normalize.RoleAssistant,
		Type:        normalize.TypeText,
		Text:        content,
		Status:      normalize.StatusComplete,
		Attachments: decodeAttachments(v.Get("attachments")),
		Sources:     decodeSources(v),
		CreatedAt:   decodeTime(v),
	}
}

// decodeConversationID reads which conversation an answer belongs to. The answer
// need not say it again where the conversation is known; of a new one it must.
func decodeConversationID(a vendorhttp.Answer, v gjson.Result, asked string) (string, error) {
	told := conversationOf(v)
	switch {
	case told == "" && asked == "":
		return "", a.Invalid("the backend's answer names no conversation")
	case told == "":
		return asked, nil
	case asked != "" && !strings.EqualFold(told, asked):
		return "", a.Invalid("the backend's answer belongs to another conversation")
	case asked != "":
		return asked, nil
	}
	return told, nil
}

// conversationOf reads the three spellings of the conversation's id: the first is
// the reference's, the second the tutorial's, the third a Message's own field.
func conversationOf(v gjson.Result) string {
	for _, name := range []string{"conversationId", "conversation_id", "conversation"} {
		if id := v.Get(name); id.Type == gjson.String && id.Str != "" {
			return text(id)
		}
	}
	return ""
}

// decodeMessage reads a Message. conversation is the one it must belong to.
func decodeMessage(a vendorhttp.Answer, v gjson.Result, conversation string) (normalize.Message, error) {
	if !v.IsObject() {
		return normalize.Message{}, a.Invalid("the backend's message is not a JSON object")
	}
	id, content := scalar(v.Get("id")), v.Get("content")
	if id == "" {
		return normalize.Message{}, a.Invalid("the backend's message has no id")
	}
	if content.Type != gjson.String && content.Type != gjson.Null {
		return normalize.Message{}, a.Invalid("the backend's message has a text that is not a text")
	}
	if told := conversationOf(v); told != "" && !strings.EqualFold(told, conversation) {
		return normalize.Message{}, a.Invalid("the backend's message belongs to another conversation")
	}
	return messageOf(v), nil
}

// messageOf reads what a Message tells.
func messageOf(v gjson.Result) normalize.Message {
	m := normalize.Message{
		RemoteID:    scalar(v.Get("id")),
		Text:        text(v.Get("content")),
		Type:        normalize.TypeText,
		Attachments: decodeAttachments(v.Get("attachments")),
		Author:      decodeAuthor(v.Get("sender")),
		Sources:     decodeSources(v),
		Feedback:    decodeFeedback(v.Get("feedback")),
		CreatedAt:   decodeTime(v),
		Raw:         normalize.CleanBytes([]byte(v.Raw)),
	}
	if m.Text == "" && len(m.Attachments) > 0 {
		m.Type = m.Attachments[0].Type
	}
	// An outgoing message is the bot's or an operator's, and nothing tells which.
	switch word := v.Get("type"); {
	case word.Str == "outgoing":
		m.Role, m.Status = normalize.RoleAssistant, normalize.StatusComplete
	case word.Str == "incoming", word.Type == gjson.Null: // incoming is the vendor's default
		m.Role, m.Status = normalize.RoleUser, normalize.StatusSent
	default:
		m.Role, m.Status = normalize.RoleSystem, normalize.StatusComplete
	}
	return m
}

// decodeConversation reads a Conversation. asked is the one that was asked for,
// empty where any will do.
func decodeConversation(a vendorhttp.Answer, v gjson.Result, asked string) (adapters.RemoteThread, error) {
	id := scalar(v.Get("id"))
	switch {
	case !v.IsObject():
		return adapters.RemoteThread{}, a.Invalid("the backend's conversation is not a JSON object")
	case id == "":
		return adapters.RemoteThread{}, a.Invalid("the backend's conversation has no id")
	case asked != "" && !strings.EqualFold(id, asked):
		return adapters.RemoteThread{}, a.Invalid("the backend answered with another conversation")
	}
	contact := v.Get("contact")
	t := adapters.RemoteThread{
		Remote:    normalize.Remote{ThreadID: id, UserID: scalar(contact.Get("id"))},
		CreatedAt: decodeTime(v),
	}
	t.Update.Raw = normalize.CleanBytes([]byte(v.Raw))
	if on, told := truth(v.Get("autoReplyEnabled")); told {
		t.Update.Mode = normalize.ModeHuman
		if on {
			t.Update.Mode = normalize.ModeAI
		}
	}
	if title := v.Get("title"); title.Type == gjson.String {
		s := text(title)
		t.Update.Title = &s
	}
	if contact.IsObject() {
		t.Update.User = &normalize.User{ID: t.Remote.UserID, Name: text(contact.Get("name"))}
	}
	if inbox := v.Get("inbox"); inbox.IsObject() {
		t.Update.Channel = &normalize.Channel{ID: scalar(inbox.Get("id")), Name: text(inbox.Get("name")), Type: text(inbox.Get("channelType"))}
	}
	// The last message is not a transcript, so it stays in Raw; only its time is read.
	if t.UpdatedAt = timeOf(firstTold(v, "lastMessageCreatedAt", "last_message_created_at")); t.UpdatedAt.IsZero() {
		t.UpdatedAt = decodeTime(v.Get("lastMessage"))
	}
	return t, nil
}

// decodeAttachments reads a list whose items are objects or plain ids.
func decodeAttachments(v gjson.Result) []normalize.Attachment {
	var list []normalize.Attachment
	for _, item := range items(v) {
		a := normalize.Attachment{ID: scalar(item), Type: normalize.TypeOther}
		if item.IsObject() {
			a = normalize.Attachment{
				ID:       scalar(item.Get("id")),
				Type:     typeOf(item.Get("type").Str),
				URL:      text(item.Get("file")),
				Filename: text(item.Get("filename")),
			}
		}
		if a.ID != "" || a.URL != "" {
			list = append(list, a)
		}
	}
	return list
}

func typeOf(kind string) normalize.MessageType {
	switch t := normalize.MessageType(kind); t {
	case normalize.TypeImage, normalize.TypeVideo, normalize.TypeAudio, normalize.TypeSticker:
		return t
	default:
		return normalize.TypeOther
	}
}

// decodeSources joins citations (the files) and citationNodes (the passages of
// them) by filename: one source a passage, and one for each file without any.
func decodeSources(v gjson.Result) []normalize.Source {
	nodes := items(v.Get("citationNodes"))
	used := make([]bool, len(nodes))
	var sources []normalize.Source
	for _, file := range items(v.Get("citations")) {
		s := normalize.Source{Title: text(file.Get("filename")), URL: text(file.Get("file"))}
		passages := 0
		for i, n := range nodes {
			node := n.Get("chatbotTextNode")
			if !used[i] && s.Title != "" && text(node.Get("filename")) == s.Title {
				used[i], passages = true, passages+1
				sources = append(sources, normalize.Source{Title: s.Title, URL: s.URL, Text: text(node.Get("text"))})
			}
		}
		if passages == 0 && s != (normalize.Source{}) {
			sources = append(sources, s)
		}
	}
	for i, n := range nodes {
		node := n.Get("chatbotTextNode")
		s := normalize.Source{Title: text(node.Get("filename")), Text: text(node.Get("text"))}
		if !used[i] && s != (normalize.Source{}) {
			sources = append(sources, s)
		}
	}
	return sources
}

// decodeAuthor reads a sender, whose id is a number in one document and a text in
// another.
func decodeAuthor(v gjson.Result) normalize.Author {
	if !v.IsObject() {
		return normalize.Author{ID: scalar(v)}
	}
	return normalize.Author{ID: scalar(v.Get("id")), Name: text(v.Get("name")), AvatarURL: text(v.Get("avatar"))}
}

// decodeFeedback reads like and dislike, plain or as the type of an object. Every
// other object says no verdict that we can read; it stays in Raw.
func decodeFeedback(v gjson.Result) normalize.Feedback {
	if v.IsObject() {
		v = v.Get("type")
	}
	switch v.Str {
	case "like":
		return normalize.FeedbackPositive
	case "dislike":
		return normalize.FeedbackNegative
	}
	return ""
}

// decodeTime reads when an object was made.
func decodeTime(v gjson.Result) time.Time { return timeOf(firstTold(v, "createdAt", "created_at")) }

// timeOf reads a time written as a text or a number; zero where it cannot.
func timeOf(v gjson.Result) time.Time {
	t, _ := normalize.ParseTime(scalar(v))
	return t
}

// truth reads a switch that the vendor writes as a boolean or as a text.
func truth(v gjson.Result) (on, told bool) {
	switch {
	case v.Type == gjson.True || v.Type == gjson.String && strings.EqualFold(v.Str, "true"):
		return true, true
	case v.Type == gjson.False || v.Type == gjson.String && strings.EqualFold(v.Str, "false"):
		return false, true
	}
	return false, false
}

// scalar reads a text or a number as text; empty for everything else.
func scalar(v gjson.Result) string {
	if v.Type == gjson.Number {
		return v.Raw
	}
	return text(v)
}

// text reads a text; empty for everything else. gjson swallows the escape that
// follows half of a surrogate pair, so escapes are left to encoding/json.
func text(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return normalize.UnquoteJSON(v.Raw)
}

// firstTold gives the first of some fields that is there and not null.
func firstTold(v gjson.Result, paths ...string) gjson.Result {
	for _, path := range paths {
		if field := v.Get(path); field.Type != gjson.Null {
			return field
		}
	}
	return gjson.Result{}
}

// items gives a list's items; none where the list is null, absent or no list.
func items(v gjson.Result) []gjson.Result {
	if !v.IsArray() {
		return nil
	}
	return v.Array()
}

// sortOldestFirst puts one page into the order of its times. The vendor does not
// say in which order it lists: a page that runs backwards is turned round first,
// so that messages of the same millisecond keep their order too. A message
// without a time stays behind the one it followed.
func sortOldestFirst(list []normalize.Message) {
	var known []time.Time
	for _, m := range list {
		if !m.CreatedAt.IsZero() {
			known = append(known, m.CreatedAt)
		}
	}
	if len(known) > 1 && known[0].After(known[len(known)-1]) {
		slices.Reverse(list)
	}
	type placed struct {
		at time.Time
		m  normalize.Message
	}
	order := make([]placed, len(list))
	var at time.Time
	for i, m := range list {
		if !m.CreatedAt.IsZero() {
			at = m.CreatedAt
		}
		order[i] = placed{at, m}
	}
	slices.SortStableFunc(order, func(a, b placed) int { return a.at.Compare(b.at) })
	for i := range order {
		list[i] = order[i].m
	}
}
