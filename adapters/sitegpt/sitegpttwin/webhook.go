package sitegpttwin

import (
	"bytes"
	"encoding/json"
	"net/http"

	"chatmux/internal/sandbox/bot"
)

// webhook is an address that is told of messages, and the token that is sent along.
type webhook struct{ url, token string }

// SetWebhook sets the chatbot's own webhook, as its settings in the dashboard do.
func (t *Twin) SetWebhook(url, token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hook = webhook{url, token}
}

// SayAsOperator says something in a thread as a human does in the dashboard. False:
// there is no such thread.
func (t *Twin) SayAsOperator(threadID, text, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	th := t.find(threadID)
	if th == nil {
		return false
	}
	t.post(th, text, name, "")
	return true
}

// Wait returns once all webhooks were told.
func (t *Twin) Wait() { t.telling.Wait() }

// addMessageJSON is what a webhook is told: question and answer are plain texts, unlike
// in the API, and nothing has an id.
type addMessageJSON struct {
	Event string `json:"event"`
	Data  struct {
		ChatbotID         string   `json:"chatbotId"`
		ThreadID          string   `json:"threadId"`
		GPTModel          *string  `json:"gptModel"`
		Sources           []string `json:"sources"`
		Question          *string  `json:"question"`
		Answer            *string  `json:"answer"`
		MessageType       string   `json:"messageType"`
		AgentID           *string  `json:"agentId"`
		IconURL           *string  `json:"iconUrl"`
		AgentName         *string  `json:"agentName"`
		SystemMessageType *string  `json:"systemMessageType"`
	} `json:"data"`
}

// tell tells the webhooks of the thread and of the chatbot of a message, in the
// background. Call it with the lock held.
func (t *Twin) tell(th *thread, m *message) {
	hooks := []webhook{{th.webhookURL, th.webhookToken}, t.hook}
	if hooks[0].url == "" && hooks[1].url == "" {
		return
	}
	told := addMessageJSON{Event: "ADD_MESSAGE"}
	d := &told.Data
	d.ChatbotID, d.ThreadID, d.GPTModel, d.Sources, d.MessageType = t.chatbotID, th.id, m.model(), []string{}, m.kind
	if m.question != nil {
		d.Question = &m.question.text
	}
	if m.answer != nil {
		d.Answer = &m.answer.text
	}
	d.IconURL, d.AgentName, d.SystemMessageType = orNull(m.iconURL), orNull(m.agentName), orNull(m.notice)
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(told) // structs of strings always encode
	for _, hook := range hooks {
		if hook.url == "" {
			continue
		}
		header := http.Header{}
		if hook.token != "" {
			header.Set("X-Webhook-Token", hook.token)
		}
		t.telling.Go(func() { _, _ = bot.Tell(hook.url, header, body.Bytes()) }) // whether it is tried again is not documented
	}
}
