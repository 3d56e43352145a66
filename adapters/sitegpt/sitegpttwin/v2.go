package sitegpttwin

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

func (t *Twin) routesV2(path string) {
	send := schema{"message": {required: true}, "pageUrl": {nullable: true, url: true}}
	note := schema{"message": {}}
	t.handle(path+"/messages", map[string]operation{http.MethodPost: {body: send, do: t.sendNewV2}})
	t.handle(path+"/conversations", map[string]operation{http.MethodGet: {
		query: []string{"limit", "cursor", "status", "mode", "escalated", "query"},
		do:    t.listV2,
	}})
	path += "/conversations/{threadId}"
	t.handle(path, map[string]operation{
		http.MethodGet:    {do: t.found(t.getV2)},
		http.MethodDelete: {query: []string{"confirm"}, do: t.found(t.deleteV2)},
	})
	t.handle(path+"/messages", map[string]operation{
		http.MethodPost: {body: send, do: t.found(t.sendV2)},
		http.MethodGet:  {query: []string{"limit", "cursor"}, do: t.found(t.messagesV2)},
	})
	t.handle(path+"/escalate", map[string]operation{http.MethodPost: {body: note, do: t.found(t.escalateV2)}})
	t.handle(path+"/take-over", map[string]operation{http.MethodPost: {body: note, do: t.found(t.takeOverV2)}})
	t.handle(path+"/switch-to-ai", map[string]operation{http.MethodPost: {body: note, do: t.found(t.switchToAIV2)}})
}

// found finds the conversation that the path names.
func (t *Twin) found(do func(*request, *thread) (success, *refusal)) func(*request) (success, *refusal) {
	return func(r *request) (success, *refusal) {
		th := t.find(r.PathValue("threadId"))
		if th == nil {
			return success{}, refuse(http.StatusNotFound, "CONVERSATION_NOT_FOUND", "No such conversation")
		}
		return do(r, th)
	}
}

func (t *Twin) sendNewV2(r *request) (success, *refusal) {
	th := t.start("", modeAI)
	m := t.ask(th, r.fields.text("message"), r.fields.text("pageUrl"))
	return success{data: map[string]any{"conversation": t.conversationV2(th, false), "message": showV2(m)}}, nil
}

func (t *Twin) sendV2(r *request, th *thread) (success, *refusal) {
	m := t.ask(th, r.fields.text("message"), r.fields.text("pageUrl"))
	return success{data: map[string]any{"message": showV2(m)}}, nil
}

func (t *Twin) getV2(_ *request, th *thread) (success, *refusal) {
	return success{data: map[string]any{"conversation": t.conversationV2(th, true)}}, nil
}

func (t *Twin) deleteV2(r *request, th *thread) (success, *refusal) {
	if r.URL.Query().Get("confirm") != "true" {
		return success{}, v2.invalid(fieldProblem{"confirm", "must be true"})
	}
	t.threads = slices.DeleteFunc(t.threads, func(other *thread) bool { return other == th })
	return success{data: map[string]any{"threadId": th.id, "deleted": true}}, nil
}

func (t *Twin) escalateV2(r *request, th *thread) (success, *refusal) {
	note := r.fields.text("message")
	if note == "" {
		note = "The conversation was escalated."
	}
	th.escalated = true
	t.notify(th, escalatedNotice, note)
	return success{data: map[string]any{"conversation": t.conversationV2(th, false)}}, nil
}

func (t *Twin) takeOverV2(r *request, th *thread) (success, *refusal) {
	return t.switchV2(r, th, modeAgent, "A human joined the conversation.")
}

func (t *Twin) switchToAIV2(r *request, th *thread) (success, *refusal) {
	return t.switchV2(r, th, modeAI, "The bot is back in the conversation.")
}

func (t *Twin) switchV2(r *request, th *thread, mode, note string) (success, *refusal) {
	if text := r.fields.text("message"); text != "" {
		note = text
	}
	th.mode = mode
	t.notify(th, "", note)
	return success{data: map[string]any{"conversation": t.conversationV2(th, false)}}, nil
}

// messagesV2 lists oldest first. A cursor is the id of the last message shown.
func (t *Twin) messagesV2(r *request, th *thread) (success, *refusal) {
	shown, next, refused := pageV2(r, th.messages, func(m *message) string { return m.id })
	if refused != nil {
		return success{}, refused
	}
	list := []messageV2{}
	for _, m := range shown {
		list = append(list, showV2(m))
	}
	return success{data: map[string]any{"messages": list, "pagination": next}}, nil
}

// listV2 lists newest first. A cursor is the id of the last conversation shown.
func (t *Twin) listV2(r *request) (success, *refusal) {
	query := r.URL.Query()
	for name, values := range map[string][]string{
		"status": {"all", "open", "resolved"}, "mode": modes, "escalated": {"true", "false"},
	} {
		if query.Has(name) && !slices.Contains(values, query.Get(name)) {
			return success{}, v2.invalid(fieldProblem{name, "is not one of the values of this filter"})
		}
	}
	all := t.newest(func(th *thread) bool {
		return query.Get("status") != "resolved" && // nothing here is ever resolved
			(!query.Has("mode") || query.Get("mode") == th.mode) &&
			(!query.Has("escalated") || query.Get("escalated") == strconv.FormatBool(th.escalated)) &&
			th.mentions(query.Get("query"))
	})
	shown, next, refused := pageV2(r, all, func(th *thread) string { return th.id })
	if refused != nil {
		return success{}, refused
	}
	list := []conversationV2{}
	for _, th := range shown {
		list = append(list, t.conversationV2(th, false))
	}
	filters := map[string]string{}
	for name := range query {
		if name != "limit" && name != "cursor" {
			filters[name] = query.Get(name)
		}
	}
	return success{data: map[string]any{"conversations": list, "filters": filters, "pagination": next}}, nil
}

type paginationV2 struct {
	Limit       int     `json:"limit"`
	HasNextPage bool    `json:"hasNextPage"`
	NextCursor  *string `json:"nextCursor"`
}

// pageV2 cuts the page out of a list that a request asks for.
func pageV2[T any](r *request, all []T, id func(T) string) ([]T, paginationV2, *refusal) {
	p := paginationV2{Limit: defaultLimit}
	if refused := r.number("limit", &p.Limit, maxLimit); refused != nil {
		return nil, p, refused
	}
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		last := slices.IndexFunc(all, func(one T) bool { return id(one) == cursor })
		if last < 0 {
			return nil, p, v2.invalid(fieldProblem{"cursor", "is not one that this list returned"})
		}
		all = all[last+1:]
	}
	if p.HasNextPage = len(all) > p.Limit; p.HasNextPage {
		all = all[:p.Limit]
		p.NextCursor = orNull(id(all[len(all)-1]))
	}
	return all, p, nil
}

// The objects of v2.
type (
	conversationV2 struct {
		ThreadID       string      `json:"threadId"`
		ChatbotID      string      `json:"chatbotId"`
		Mode           string      `json:"mode"`
		StartedAt      string      `json:"startedAt"`
		UpdatedAt      string      `json:"updatedAt"`
		EndedAt        *string     `json:"endedAt"`
		Escalated      bool        `json:"escalated"`
		Important      bool        `json:"important"`
		Resolved       bool        `json:"resolved"`
		Title          *string     `json:"title"`
		TagIDs         []string    `json:"tagIds"`
		SessionID      *string     `json:"sessionId"`
		PageURL        *string     `json:"pageUrl"`
		ChatUserID     *string     `json:"chatUserId"`
		ChatUser       *chatUserV2 `json:"chatUser"`
		Lead           *struct{}   `json:"lead"`
		TotalMessages  int         `json:"totalMessages"`
		UnreadMessages int         `json:"unreadMessages"`
		LastMessage    *messageV2  `json:"lastMessage"`
		Messages       []messageV2 `json:"messages,omitempty"`
	}
	messageV2 struct {
		MessageID         string   `json:"messageId"`
		MessageType       string   `json:"messageType"`
		SystemMessageType *string  `json:"systemMessageType"`
		Reaction          string   `json:"reaction"`
		GPTModel          *string  `json:"gptModel"`
		Sources           []string `json:"sources"`
		AgentID           *string  `json:"agentId"`
		AgentName         *string  `json:"agentName"`
		IconURL           *string  `json:"iconUrl"`
		PageURL           *string  `json:"pageUrl"`
		CreatedAt         string   `json:"createdAt"`
		UpdatedAt         string   `json:"updatedAt"`
		Question          *saidAt  `json:"question"`
		Answer            *saidAt  `json:"answer"`
	}
	chatUserV2 struct {
		ID        string  `json:"id"`
		Name      *string `json:"name"`
		Email     *string `json:"email"`
		Phone     *string `json:"phone"`
		Verified  bool    `json:"verified"`
		CreatedAt string  `json:"createdAt"`
		UpdatedAt string  `json:"updatedAt"`
	}
)

func (t *Twin) conversationV2(th *thread, withMessages bool) conversationV2 {
	c := conversationV2{
		ThreadID: th.id, ChatbotID: t.chatbotID, Mode: th.mode, StartedAt: millis(th.started), UpdatedAt: millis(th.updated),
		Escalated: th.escalated, TagIDs: []string{}, ChatUserID: th.personID(), TotalMessages: len(th.messages),
	}
	if p := th.person; p != nil {
		c.ChatUser = &chatUserV2{
			ID: p.id, Name: orNull(p.name), Email: orNull(p.email), Phone: orNull(p.phone),
			CreatedAt: millis(p.created), UpdatedAt: millis(p.updated),
		}
	}
	if m := th.last(); m != nil {
		last := showV2(m)
		c.LastMessage = &last
	}
	if withMessages {
		for _, m := range th.messages {
			c.Messages = append(c.Messages, showV2(m))
		}
	}
	return c
}

func showV2(m *message) messageV2 {
	shown := messageV2{
		MessageID: m.id, MessageType: m.kind, SystemMessageType: orNull(m.notice), Reaction: "NEUTRAL",
		GPTModel: m.model(), Sources: []string{}, AgentName: orNull(m.agentName), IconURL: orNull(m.iconURL), PageURL: orNull(m.pageURL),
		CreatedAt: millis(m.created), UpdatedAt: millis(m.updated), Question: m.question.show(millis), Answer: m.answer.show(millis),
	}
	if m.kind == normalMessage {
		shown.Sources = []string{source}
	}
	return shown
}

func millis(at time.Time) string { return at.Format("2006-01-02T15:04:05.000Z") }
