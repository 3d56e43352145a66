package sitegpttwin

import (
	"net/http"
	"strconv"
	"time"
)

// The page sizes of v0's lists.
const (
	defaultLimit = 20
	maxLimit     = 100
)

var modes = []string{modeAI, modeAgent}

func (t *Twin) routesV0(path string) {
	t.handle(path+"/message", map[string]operation{http.MethodPost: {
		body: schema{
			"message":   {required: true},
			"from":      {oneOf: []string{"USER", "AGENT"}},
			"threadId":  {},
			"agentName": {},
			"iconUrl":   {url: true},
		},
		do: t.sendV0,
	}})
	t.handle(path+"/threads", map[string]operation{
		http.MethodPost: {
			body: schema{"threadId": {nullable: true}, "mode": {oneOf: modes}, "chatUserEmail": {nullable: true}},
			do:   t.createV0,
		},
		http.MethodGet: {query: []string{"page", "limit"}, do: t.listV0},
	})
	t.handle(path+"/threads/{threadId}", map[string]operation{
		http.MethodGet: {do: t.getV0},
		http.MethodPatch: {
			body: schema{
				"mode":         {oneOf: modes},
				"webhookUrl":   {url: true},
				"webhookToken": {},
				"chatUser":     {object: schema{"email": {}, "name": {}, "phoneNumber": {}}},
			},
			do: t.updateV0,
		},
	})
}

func (t *Twin) sendV0(r *request) (success, *refusal) {
	id, asAgent := r.fields.text("threadId"), r.fields.text("from") == "AGENT"
	if asAgent && id == "" {
		return success{}, v0.invalid(fieldProblem{"threadId", "is required when from is AGENT"})
	}
	th := t.find(id)
	switch {
	case id == "":
		th = t.start("", modeAI)
	case th == nil:
		return success{}, refuse(http.StatusNotFound, "THREAD_NOT_FOUND", "No such thread")
	}
	var m *message
	if asAgent {
		m = t.post(th, r.fields.text("message"), r.fields.text("agentName"), r.fields.text("iconUrl"))
	} else {
		m = t.ask(th, r.fields.text("message"), "")
	}
	reply := t.messageV0(th, m)
	reply.ID, reply.MessageID = m.id, "" // the reply to a send says id where threads say messageId
	reply.SmartPrompts = smartPrompts
	return success{"Sent the message successfully", map[string]any{"message": reply}}, nil
}

func (t *Twin) createV0(r *request) (success, *refusal) {
	id := r.fields.text("threadId")
	if id != "" && t.find(id) != nil {
		return success{}, v0.invalid(fieldProblem{"threadId", "is taken"})
	}
	mode := r.fields.text("mode")
	if mode == "" {
		mode = modeAI
	}
	th := t.start(id, mode)
	if email := r.fields.text("chatUserEmail"); email != "" {
		t.describe(th, "", email, "")
	}
	created := threadV0{
		ThreadID: th.id, Mode: th.mode, Messages: []messageV0{},
		StartedAt: micros(th.started), UpdatedAt: micros(th.updated),
		ChatUserID: th.personID(), ChatbotID: t.chatbotID, ChatUser: userV0(th.person),
	}
	return success{"Created the chatbot thread successfully", map[string]any{"thread": created}}, nil
}

func (t *Twin) listV0(r *request) (success, *refusal) {
	page, limit := 1, defaultLimit
	for _, p := range []struct {
		name string
		to   *int
		most int
	}{{"page", &page, 1 << 30}, {"limit", &limit, maxLimit}} {
		if refused := r.number(p.name, p.to, p.most); refused != nil {
			return success{}, refused
		}
	}
	all := t.newest(func(*thread) bool { return true })
	all = all[min((page-1)*limit, len(all)):]
	list := []summaryV0{}
	for _, th := range all[:min(limit, len(all))] {
		list = append(list, t.summaryV0(th))
	}
	return success{"Fetched the chatbot threads successfully", map[string]any{"threads": list}}, nil
}

// number reads a query parameter from 1 to most; an absent one leaves to as it is.
func (r *request) number(name string, to *int, most int) *refusal {
	query := r.URL.Query()
	if !query.Has(name) {
		return nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 1 || n > most {
		return r.api.invalid(fieldProblem{name, "must be a number from 1 to " + strconv.Itoa(most)})
	}
	*to = n
	return nil
}

func (t *Twin) getV0(r *request) (success, *refusal) {
	th := t.find(r.PathValue("threadId"))
	if th == nil {
		return success{}, refuse(http.StatusNotFound, "THREAD_NOT_FOUND", "No such thread")
	}
	escalated, read := th.escalated, 0
	shown := threadV0{
		ThreadID: th.id, Mode: th.mode, Messages: []messageV0{},
		StartedAt: micros(th.started), UpdatedAt: micros(th.updated),
		ChatUserID: th.personID(), ChatbotID: t.chatbotID, ChatUser: userV0(th.person),
		Escalated: &escalated, TotalMessagesRead: &read,
		WebhookURL: orNull(th.webhookURL), WebhookToken: orNull(th.webhookToken),
	}
	for _, m := range th.messages {
		shown.Messages = append(shown.Messages, t.messageV0(th, m))
	}
	return success{"Fetched the chatbot thread successfully", map[string]any{"thread": shown}}, nil
}

func (t *Twin) updateV0(r *request) (success, *refusal) {
	th := t.find(r.PathValue("threadId"))
	if th == nil {
		return success{}, refuse(http.StatusNotFound, "THREAD_NOT_FOUND", "No such thread")
	}
	for name, to := range map[string]*string{"mode": &th.mode, "webhookUrl": &th.webhookURL, "webhookToken": &th.webhookToken} {
		if r.fields.has(name) {
			*to = r.fields.text(name)
		}
	}
	if user := r.fields.object("chatUser"); user != nil {
		t.describe(th, user.text("name"), user.text("email"), user.text("phoneNumber"))
	}
	th.updated = time.Now().UTC()
	return success{said: "Updated the chatbot thread successfully"}, nil
}

// The objects of v0. A thread that was just created shows fewer fields than one
// that is read.
type (
	threadV0 struct {
		ThreadID          string      `json:"threadId"`
		Mode              string      `json:"mode"`
		Messages          []messageV0 `json:"messages"`
		StartedAt         string      `json:"startedAt"`
		UpdatedAt         string      `json:"updatedAt"`
		ChatUserID        *string     `json:"chatUserId"`
		ChatbotID         string      `json:"chatbotId"`
		ChatUser          *chatUserV0 `json:"chatUser"`
		Escalated         *bool       `json:"escalated,omitempty"`
		TotalMessagesRead *int        `json:"totalMessagesRead,omitempty"`
		WebhookURL        *string     `json:"webhookUrl,omitempty"`
		WebhookToken      *string     `json:"webhookToken,omitempty"`
	}
	summaryV0 struct {
		ThreadID               string      `json:"threadId"`
		StartedAt              string      `json:"startedAt"`
		UpdatedAt              string      `json:"updatedAt"`
		ChatUser               *chatUserV0 `json:"chatUser"`
		Escalated              bool        `json:"escalated"`
		Important              bool        `json:"important"`
		Resolved               bool        `json:"resolved"`
		TotalMessagesRead      int         `json:"totalMessagesRead"`
		TotalMessages          int         `json:"totalMessages"`
		TotalPositiveMessages  int         `json:"totalPositiveMessages"`
		TotalNegativeMessages  int         `json:"totalNegativeMessages"`
		TotalGPT4MessagesCount int         `json:"totalGpt4MessagesCount"`
		LastMessage            *messageV0  `json:"lastMessage"`
	}
	messageV0 struct {
		ID                string   `json:"id,omitempty"`
		MessageID         string   `json:"messageId,omitempty"`
		Question          *saidAt  `json:"question"`
		Answer            *saidAt  `json:"answer"`
		Sources           []string `json:"sources"`
		GPTModel          *string  `json:"gptModel"`
		Reaction          string   `json:"reaction"`
		ThreadID          string   `json:"threadId"`
		MessageType       string   `json:"messageType"`
		SystemMessageType *string  `json:"systemMessageType,omitempty"`
		IconURL           *string  `json:"iconUrl"`
		AgentName         *string  `json:"agentName"`
		Prompts           []prompt `json:"prompts"`
		SmartPrompts      []string `json:"smartPrompts,omitempty"`
		ChatbotID         string   `json:"chatbotId"`
	}
	chatUserV0 struct {
		ID          string  `json:"id"`
		Name        *string `json:"name"`
		Email       *string `json:"email"`
		PhoneNumber *string `json:"phoneNumber"`
		Verified    bool    `json:"verified"`
		CreatedAt   string  `json:"createdAt"`
		UpdatedAt   string  `json:"updatedAt"`
	}
	saidAt struct {
		Text      string `json:"text"`
		Timestamp string `json:"timestamp"`
	}
)

func (t *Twin) messageV0(th *thread, m *message) messageV0 {
	return messageV0{
		MessageID: m.id, Question: m.question.show(micros), Answer: m.answer.show(micros),
		Sources: []string{}, GPTModel: m.model(), Reaction: "NEUTRAL", ThreadID: th.id,
		MessageType: m.kind, SystemMessageType: orNull(m.notice),
		IconURL: orNull(m.iconURL), AgentName: orNull(m.agentName), Prompts: quickPrompts, ChatbotID: t.chatbotID,
	}
}

func (t *Twin) summaryV0(th *thread) summaryV0 {
	s := summaryV0{
		ThreadID: th.id, StartedAt: micros(th.started), UpdatedAt: micros(th.updated),
		ChatUser: userV0(th.person), Escalated: th.escalated, TotalMessages: len(th.messages),
	}
	for _, m := range th.messages {
		if m.model() != nil {
			s.TotalGPT4MessagesCount++
		}
	}
	if m := th.last(); m != nil {
		last := t.messageV0(th, m)
		s.LastMessage = &last
	}
	return s
}

func userV0(p *person) *chatUserV0 {
	if p == nil {
		return nil
	}
	return &chatUserV0{
		ID: p.id, Name: orNull(p.name), Email: orNull(p.email), PhoneNumber: orNull(p.phone),
		CreatedAt: micros(p.created), UpdatedAt: micros(p.updated),
	}
}

func (th *thread) personID() *string {
	if th.person == nil {
		return nil
	}
	return &th.person.id
}

// model is the model that answered; a human has none.
func (m *message) model() *string {
	if m.kind != normalMessage {
		return nil
	}
	return orNull(model)
}

func (s *said) show(format func(time.Time) string) *saidAt {
	if s == nil {
		return nil
	}
	return &saidAt{s.text, format(s.at)}
}

func micros(at time.Time) string { return at.Format("2006-01-02T15:04:05.000000Z") }
