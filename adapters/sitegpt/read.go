package sitegpt

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The vendor's types of a message. A type that is none of these, or missing, is
// read like a NORMAL_MESSAGE: a question and the bot's answer.
const (
	typeUser   = "USER_MESSAGE"   // a question that waits for a human
	typeAgent  = "AGENT_MESSAGE"  // the answer is a human's
	typeSystem = "SYSTEM_MESSAGE" // the answer, if any, is a notice
)

const noticeEscalated = "CONVERSATION_ESCALATED"

// pair is a message of the vendor's: a question and its answer under one id.
type pair struct {
	id        string
	threadID  string
	kind      string // messageType
	system    string // systemMessageType, of a SYSTEM_MESSAGE only: samples carry it on every message
	question  half
	answer    half
	author    normalize.Author // of the answer
	model     string
	sources   []normalize.Source
	prompts   []normalize.Suggestion // quick prompts, then smart prompts
	feedback  normalize.Feedback
	escalated bool
	createdAt time.Time
	raw       json.RawMessage
}

// half is one side of a pair. The API writes it as an object with text and
// timestamp, webhooks as a plain string; null, absent and without text are the
// same.
type half struct {
	text string
	at   time.Time
	odd  bool // there is something, and it is no text
}

func readPair(object gjson.Result) pair {
	p := pair{raw: json.RawMessage(object.Raw)}
	var messageID string
	object.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "messageId":
			messageID = identifier(value)
		case "id":
			p.id = identifier(value)
		case "threadId":
			p.threadID = identifier(value)
		case "messageType":
			p.kind = text(value)
		case "systemMessageType":
			p.system = text(value)
		case "question":
			p.question = readHalf(value)
		case "answer":
			p.answer = readHalf(value)
		case "agentId":
			p.author.ID = identifier(value)
		case "agentName":
			p.author.Name = text(value)
		case "iconUrl":
			p.author.AvatarURL = text(value)
		case "gptModel":
			p.model = text(value)
		case "sources":
			p.sources = readSources(value)
		case "prompts":
			p.prompts = append(readPrompts(value), p.prompts...)
		case "smartPrompts":
			p.prompts = append(p.prompts, readSmartPrompts(value)...)
		case "reaction":
			p.feedback = readFeedback(value)
		case "escalated":
			p.escalated = value.Type == gjson.True
		case "createdAt":
			p.createdAt = moment(value)
		}
		return true
	})
	if messageID != "" {
		p.id = messageID
	}
	if p.kind != typeSystem {
		p.system = ""
	}
	p.escalated = p.escalated || p.system == noticeEscalated
	return p
}

func readHalf(value gjson.Result) half {
	switch {
	case value.Type == gjson.Null:
		return half{}
	case value.Type == gjson.String:
		return half{text: text(value)}
	case !value.IsObject():
		return half{odd: true}
	}
	said := value.Get("text")
	return half{text: text(said), at: moment(value.Get("timestamp")), odd: said.Type != gjson.Null && said.Type != gjson.String}
}

// messages splits the pair, the question first: the timestamps of a pair are not
// in order. A notice is kept also where it has no text.
func (p *pair) messages() []normalize.Message {
	var list []normalize.Message
	if p.question.text != "" {
		list = append(list, normalize.Message{
			Role:      normalize.RoleUser,
			Type:      normalize.TypeText,
			Text:      p.question.text,
			Status:    normalize.StatusSent,
			RemoteID:  p.halfID("q"),
			CreatedAt: p.momentOf(p.question),
			Raw:       p.raw,
		})
	}
	if p.answer.text != "" || p.system != "" {
		list = append(list, p.reply())
	}
	return list
}

// reply is the answer of the pair with all that the vendor says about it.
func (p *pair) reply() normalize.Message {
	role := normalize.RoleAssistant
	switch p.kind {
	case typeAgent:
		role = normalize.RoleOperator
	case typeSystem:
		role = normalize.RoleSystem
	}
	return normalize.Message{
		Role:        role,
		Type:        normalize.TypeText,
		Text:        p.answer.text,
		Author:      p.author,
		Status:      normalize.StatusComplete,
		RemoteID:    p.halfID("a"),
		Model:       p.model,
		Sources:     p.sources,
		Suggestions: p.prompts,
		Feedback:    p.feedback,
		Notice:      strings.ToLower(p.system),
		CreatedAt:   p.momentOf(p.answer),
		Raw:         p.raw,
	}
}

// sent is what the pair tells about the message that was sent, which is its
// question, or its answer where we spoke as an operator.
func (p *pair) sent(side half, name string) adapters.Sent {
	s := adapters.Sent{CreatedAt: p.momentOf(side), Raw: p.raw}
	if side.text != "" {
		s.RemoteID = p.halfID(name)
	}
	return s
}

func (p *pair) halfID(name string) string {
	if p.id == "" {
		return ""
	}
	return p.id + ":" + name
}

func (p *pair) momentOf(side half) time.Time {
	if side.at.IsZero() {
		return p.createdAt
	}
	return side.at
}

func readMessages(list []gjson.Result) []normalize.Message {
	var messages []normalize.Message
	for _, element := range list {
		p := readPair(element)
		messages = append(messages, p.messages()...)
	}
	return messages
}

// readThread reads a thread of v0 or a conversation of v2.
func readThread(object gjson.Result) adapters.RemoteThread {
	t := adapters.RemoteThread{Update: normalize.ThreadUpdate{Raw: withoutToken(object)}}
	var personID string
	object.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "threadId":
			t.Remote.ThreadID = identifier(value)
		case "chatUserId":
			t.Remote.UserID = identifier(value)
		case "chatUser":
			personID, t.Update.User = readPerson(value)
		case "mode":
			t.Update.Mode = readMode(value)
		case "title":
			if title := text(value); title != "" {
				t.Update.Title = &title
			}
		case "tagIds":
			t.Update.Tags = readTags(value)
		case "escalated":
			if value.IsBool() {
				escalated := value.Bool()
				t.Update.Escalated = &escalated
			}
		case "startedAt":
			t.CreatedAt = moment(value)
		case "updatedAt":
			t.UpdatedAt = moment(value)
		case "endedAt":
			if value.Type != gjson.Null {
				t.Update.Status = normalize.ThreadEnded
			}
		case "messages":
			if value.IsArray() {
				t.Messages = readMessages(value.Array())
			}
		}
		return true
	})
	if t.Remote.UserID == "" {
		t.Remote.UserID = personID
	}
	return t
}

func readThreads(list []gjson.Result) []adapters.RemoteThread {
	threads := make([]adapters.RemoteThread, 0, len(list))
	for _, element := range list {
		if t := readThread(element); t.Remote.ThreadID != "" {
			threads = append(threads, t)
		}
	}
	return threads
}

// thread reads the thread of that name in the data, which must be the one that
// was asked for.
func (e envelope) thread(name string, asked normalize.Remote) (adapters.RemoteThread, error) {
	object, err := e.object(name)
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	t := readThread(object)
	switch t.Remote.ThreadID {
	case "":
		t.Remote.ThreadID = asked.ThreadID
	case asked.ThreadID:
	default:
		return adapters.RemoteThread{}, e.Invalid("the backend's answer is another conversation")
	}
	return t, nil
}

// withoutToken returns the vendor's object as it is, but for the address and the token
// of a webhook, which v0 reads back: they are secrets, and this object is shown.
func withoutToken(object gjson.Result) json.RawMessage {
	hidden := false
	raw := []byte{'{'}
	object.ForEach(func(key, value gjson.Result) bool {
		if len(raw) > 1 {
			raw = append(raw, ',')
		}
		raw = append(raw, key.Raw...)
		raw = append(raw, ':')
		if (key.Str == "webhookToken" || key.Str == "webhookUrl") && value.Type != gjson.Null {
			hidden = true
			raw = normalize.AppendString(raw, normalize.NewSecret(value.Str).String())
			return true
		}
		raw = append(raw, value.Raw...)
		return true
	})
	if !hidden {
		return json.RawMessage(object.Raw)
	}
	return append(raw, '}')
}

func readMode(value gjson.Result) normalize.Mode {
	switch text(value) {
	case "AI":
		return normalize.ModeAI
	case "AGENT":
		return normalize.ModeHuman
	}
	return ""
}

// readPerson reads a chatUser. Which of the two names the phone number has in an
// answer of v0 is not documented.
func readPerson(object gjson.Result) (id string, user *normalize.User) {
	if !object.IsObject() {
		return "", nil
	}
	user = &normalize.User{
		Name:  text(object.Get("name")),
		Email: text(object.Get("email")),
		Phone: text(object.Get("phone")),
	}
	if user.Phone == "" {
		user.Phone = text(object.Get("phoneNumber"))
	}
	return identifier(object.Get("id")), user
}

func readTags(list gjson.Result) []normalize.Tag {
	if !list.IsArray() {
		return nil
	}
	tags := []normalize.Tag{}
	for _, id := range list.Array() {
		if id := identifier(id); id != "" {
			tags = append(tags, normalize.Tag{ID: id})
		}
	}
	return tags
}

// readSources reads the sources of an answer: URLs, names of documents, or
// objects.
func readSources(list gjson.Result) []normalize.Source {
	if !list.IsArray() {
		return nil
	}
	var sources []normalize.Source
	for _, element := range list.Array() {
		var source normalize.Source
		switch said := text(element); {
		case strings.HasPrefix(said, "https://"), strings.HasPrefix(said, "http://"):
			source.URL = said
		case said != "":
			source.Title = said
		case element.IsObject():
			source = normalize.Source{
				Title: text(element.Get("title")),
				URL:   text(element.Get("url")),
				Text:  text(element.Get("text")),
			}
		}
		if source != (normalize.Source{}) {
			sources = append(sources, source)
		}
	}
	return sources
}

func readPrompts(list gjson.Result) []normalize.Suggestion {
	if !list.IsArray() {
		return nil
	}
	var prompts []normalize.Suggestion
	for _, element := range list.Array() {
		if element.IsObject() {
			prompts = append(prompts, normalize.Suggestion{
				ID:    identifier(element.Get("id")),
				Title: text(element.Get("title")),
				Text:  text(element.Get("description")),
				URL:   text(element.Get("link")),
			})
		}
	}
	return prompts
}

func readSmartPrompts(list gjson.Result) []normalize.Suggestion {
	if !list.IsArray() {
		return nil
	}
	var prompts []normalize.Suggestion
	for _, element := range list.Array() {
		if said := text(element); said != "" {
			prompts = append(prompts, normalize.Suggestion{Text: said})
		}
	}
	return prompts
}

func readFeedback(value gjson.Result) normalize.Feedback {
	switch feedback := normalize.Feedback(strings.ToLower(text(value))); feedback {
	case normalize.FeedbackPositive, normalize.FeedbackNegative, normalize.FeedbackNeutral:
		return feedback
	}
	return ""
}

// reply reads the answer to a message of the person's.
func (e envelope) reply(turn adapters.Turn) (adapters.Reply, error) {
	p, reply, err := e.exchange(turn.Remote)
	if err != nil {
		return adapters.Reply{}, err
	}
	reply.Sent = p.sent(p.question, "q")
	mode := turn.Thread.Mode
	if reply.Thread.Mode != "" {
		mode = reply.Thread.Mode
	}
	switch {
	case p.answer.text != "":
		reply.Messages = []normalize.Message{p.reply()}
	case p.system == codeUsageLimits, p.system == codeUpstreamFailed:
		return reply, &normalize.Error{Kind: kindOf(p.system), Phase: normalize.PhaseStatus, VendorStatus: e.Status, VendorCode: p.system}
	case p.answer.odd:
		return reply, e.Invalid("the answer that the backend gave is no text")
	case mode != normalize.ModeHuman && p.kind != typeUser && p.kind != typeSystem:
		return reply, e.Invalid("the backend gave no answer")
	}
	return reply, nil
}

// sent reads the answer to a message of an operator's: nobody replies to it.
func (e envelope) sent(turn adapters.Turn) (adapters.Reply, error) {
	p, reply, err := e.exchange(turn.Remote)
	if err != nil {
		return adapters.Reply{}, err
	}
	reply.Sent = p.sent(p.answer, "a")
	if p.answer.text == "" {
		reply.Sent = p.sent(p.question, "q")
	}
	reply.Sent.Author = p.author
	return reply, nil
}

// exchange reads the pair of an answer to a send, and what the answer tells about
// the conversation, which must be the one that was asked for.
func (e envelope) exchange(asked normalize.Remote) (pair, adapters.Reply, error) {
	object, err := e.object("message")
	if err != nil {
		return pair{}, adapters.Reply{}, err
	}
	p, reply := readPair(object), adapters.Reply{Remote: asked}
	told := p.threadID
	if told == "" {
		told = identifier(member(e.data, "threadId"))
	}
	if conversation := member(e.data, "conversation"); conversation.IsObject() {
		thread := readThread(conversation)
		reply.Thread = thread.Update
		if told == "" {
			told = thread.Remote.ThreadID
		}
		if thread.Remote.UserID != "" {
			reply.Remote.UserID = thread.Remote.UserID
		}
	}
	switch {
	case told == "" && asked.ThreadID == "":
		return pair{}, adapters.Reply{}, e.Invalid("the backend's answer does not name its conversation")
	case told != "" && asked.ThreadID != "" && told != asked.ThreadID:
		return pair{}, adapters.Reply{}, e.Invalid("the backend's answer belongs to another conversation")
	case told != "":
		reply.Remote.ThreadID = told
	}
	if escalated := true; p.escalated {
		reply.Thread.Escalated = &escalated
	}
	return p, reply, nil
}

// member returns the value of that name in an object, and nothing where value is
// no object: gjson would look into a string that holds braces.
func member(value gjson.Result, name string) gjson.Result {
	if !value.IsObject() {
		return gjson.Result{}
	}
	return value.Get(name)
}

// text returns a string of the vendor's, cleaned, and "" for anything else.
func text(value gjson.Result) string {
	if value.Type != gjson.String {
		return ""
	}
	return normalize.UnquoteJSON(value.Raw)
}

// identifier returns an id. The vendor's ids are longer than a float64 can hold,
// so one that is written as a number is taken by its digits.
func identifier(value gjson.Result) string {
	if value.Type == gjson.Number {
		return value.Raw
	}
	return text(value)
}

func moment(value gjson.Result) time.Time {
	t, _ := normalize.ParseTime(identifier(value))
	return t
}
