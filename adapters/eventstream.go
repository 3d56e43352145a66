package adapters

import (
	"io"
	"net/http"
	"strings"

	"chatmux/normalize"
)

// EventStream writes a dialect's stream of server-sent events: each of them is one
// line `data: ` with the space that some clients insist on, and leaves at once.
type EventStream struct {
	w     http.ResponseWriter
	begun bool
}

// NewEventStream makes a stream of which nothing is written yet.
func NewEventStream(w http.ResponseWriter) *EventStream { return &EventStream{w: w} }

// Begun reports whether the head is out. From then on a failure has no status of its
// own.
func (s *EventStream) Begun() bool { return s.begun }

// Begin sends the head, once.
func (s *EventStream) Begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	return http.NewResponseController(s.w).Flush()
}

// Data sends one event, which has no line break in it.
func (s *EventStream) Data(event []byte) error {
	return s.write("data: " + string(event) + "\n\n")
}

func (s *EventStream) write(text string) error {
	if _, err := io.WriteString(s.w, text); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}

// Beat sends a comment, which every reader passes over: the connection is alive.
func (s *EventStream) Beat() error { return s.write(": hb\n\n") }

// Cut breaks the connection off, so that no client takes what it got for the whole:
// the body ends without its end. It does not return.
func (s *EventStream) Cut() { panic(http.ErrAbortHandler) }

// betweenReplies stands where a dialect that knows only one answer puts several
// replies into it.
const betweenReplies = "\n\n"

// JoinReplies gives several replies as the one answer of a dialect that knows no
// more. What has no text leaves nothing behind.
func JoinReplies(replies []normalize.Message) string {
	var j JoinedReplies
	for i := range replies {
		j.Piece(normalize.Event{Type: normalize.EventReply, Message: &replies[i]})
	}
	return j.Text()
}

// JoinedReplies is JoinReplies for a stream, piece by piece.
type JoinedReplies struct {
	said strings.Builder
	last string // the reply that was told last
	told map[string]bool
}

// Piece gives the text that an event adds to the answer: a delta's, or that of a reply
// of which no delta came before. It is empty for every other event.
func (j *JoinedReplies) Piece(e normalize.Event) string {
	id, text := e.MessageID, e.Text
	switch e.Type {
	case normalize.EventDelta:
	case normalize.EventReply:
		if id, text = e.Message.ID, e.Message.Text; j.told[id] {
			return ""
		}
	default:
		return ""
	}
	if text == "" {
		return ""
	}
	if j.said.Len() > 0 && j.last != id {
		text = betweenReplies + text
	}
	if j.told == nil {
		j.told = make(map[string]bool)
	}
	j.told[id], j.last = true, id
	j.said.WriteString(text)
	return text
}

// Text is the answer so far.
func (j *JoinedReplies) Text() string { return j.said.String() }
