package conversationstwin

import (
	"fmt"
	"net/http"
	"strings"

	"chatmux/internal/sandbox/bot"
)

// completionJSON is a plain answer.
type completionJSON struct {
	ConversationID string `json:"conversationId"`
	Content        string `json:"content"`
	Done           bool   `json:"done"`
	Citations      []any  `json:"citations"`
	CitationNodes  []any  `json:"citationNodes"`
}

// frameJSON is one frame of a stream.
type frameJSON struct {
	ConversationID string `json:"conversationId"`
	Content        string `json:"content"`
	Done           bool   `json:"done"`
}

// complete answers in the call: as one object, or as an event stream where the
// switch is on, in either of its spellings.
func (t *Twin) complete(w http.ResponseWriter, r *http.Request) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	said, streaming, ok := t.converse(w, f)
	switch {
	case !ok:
	case streaming:
		stream(w, said)
	default:
		answer(w, http.StatusOK, completionJSON{
			ConversationID: said.conversation.id, Content: said.content, Done: true, Citations: []any{}, CitationNodes: []any{},
		})
	}
}

// converse takes what the person says and gives what the bot says to it. Where it
// cannot, the refusal is written and ok is false.
func (t *Twin) converse(w http.ResponseWriter, f *fields) (said *message, streaming, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := f.uuid("conversation", false)
	var content string
	var attachments []attachment
	if m := f.object("message", true); m != nil {
		content = m.text("content", true)
		m.object("contentPayload", false)
		m.object("queryMetadata", false)
		m.object("metadata", false)
		attachments = t.readAttachments(m)
		if sender := m.uuid("sender", false); isUUID(sender) && !t.isContact(sender) {
			m.problems.add("sender", "The contact does not belong to the organization.")
		}
		if content == "" && len(attachments) == 0 && len(m.problems) == 0 {
			m.problems.add("content", notBlank)
		}
		f.nest("message", m)
	}
	one, other := f.flag("isStreaming", false), f.flag("is_streaming", false)
	if one != nil && other != nil && *one != *other {
		f.problems.add("isStreaming", "isStreaming and is_streaming contradict each other.")
	}
	if !f.finish(w) {
		return nil, false, false
	}
	c := t.find(id)
	switch {
	case id == "":
		c = t.begin()
	case c == nil:
		fail(w, http.StatusNotFound, "No Conversation matches the given query.")
		return nil, false, false
	}
	streaming = one != nil && *one || other != nil && *other
	return t.reply(t.say(c, false, content, attachments)), streaming, true
}

// stream writes a message as server-sent events. The last one has no text.
func stream(w http.ResponseWriter, said *message) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	for _, piece := range append(bot.Pieces(said.content), "") {
		frame := frameJSON{ConversationID: said.conversation.id, Content: piece, Done: piece == ""}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", encode(frame)); err != nil {
			return
		}
		_ = flush.Flush() // a writer that cannot flush sends all at the end
	}
}

// isContact reports whether a person of ours has this id. Call it with the lock
// held.
func (t *Twin) isContact(id string) bool {
	for _, c := range t.conversations {
		if strings.EqualFold(c.contactID, id) {
			return true
		}
	}
	return false
}
