package conversationstwin

import (
	"net/http"
	"time"

	"chatmux/internal/sandbox/bot"
)

// Answering says how the bot answers messages that are posted. The zero Answering: at
// once, and nobody is told.
type Answering struct {
	After   time.Duration // how long it takes
	Webhook string        // which address is told, as the chatbot's webhookUrl; empty: none
	Early   bool          // it answers, and tells, before the post has its own answer
	Silent  bool          // it does not answer: a human will
}

// Answer sets how the bot answers from now on.
func (t *Twin) Answer(how Answering) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answering = how
}

// SayAsOperator says something in a conversation as a human of the vendor's side does
// in its application, and returns once the webhook was told. False: there is no such
// conversation.
func (t *Twin) SayAsOperator(conversationID, text string) bool {
	t.mu.Lock()
	c := t.find(conversationID)
	if c == nil {
		t.mu.Unlock()
		return false
	}
	m := t.say(c, true, text, nil)
	to := t.answering.Webhook
	t.mu.Unlock()
	t.tell(m, to)
	return true
}

// Wait returns once the bot has answered everything.
func (t *Twin) Wait() { t.telling.Wait() }

// answerPosted answers a posted message, and tells.
func (t *Twin) answerPosted(m *message, how Answering) {
	t.mu.Lock()
	reply := t.answerLocked(m)
	t.mu.Unlock()
	if reply == nil && m.outgoing {
		reply = m // an operator's own
	}
	if reply != nil {
		t.tell(reply, how.Webhook)
	}
}

// answerLocked answers a message of the person's, unless automatic reply is off. Call
// it with the lock held.
func (t *Twin) answerLocked(m *message) *message {
	if m.outgoing || t.answering.Silent || !m.conversation.autoReply {
		return nil
	}
	return t.reply(m)
}

// tell tells a webhook of a message. Its time has another name than in the API, as on
// the vendor's page.
func (t *Twin) tell(m *message, to string) {
	if to == "" {
		return
	}
	v := m.show()
	body := encode(struct {
		ID           string       `json:"id"`
		Conversation string       `json:"conversation"`
		Sender       senderJSON   `json:"sender"`
		Type         string       `json:"type"`
		Content      string       `json:"content"`
		Feedback     *string      `json:"feedback"`
		CreatedAt    string       `json:"created_at"`
		Attachments  []attachment `json:"attachments"`
		Citations    []any        `json:"citations"`
	}{v.ID, v.Conversation, v.Sender, v.Type, v.Content, v.Feedback, v.CreatedAt, v.Attachments, v.Citations})
	// Anything but 200 starts a retry; the schedule is not documented.
	for try := range 5 {
		if status, err := bot.Tell(to, nil, body); err == nil && status == http.StatusOK {
			return
		}
		time.Sleep(time.Duration(try+1) * 20 * time.Millisecond)
	}
}
