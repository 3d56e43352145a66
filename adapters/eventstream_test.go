package adapters_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

func TestAnEventStreamIsWrittenForTheStrictestReader(t *testing.T) {
	w := httptest.NewRecorder()
	s := adapters.NewEventStream(w)
	if s.Begun() {
		t.Error("a stream of which nothing is written has begun")
	}
	for range 2 {
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Begun() || !w.Flushed {
		t.Error("the head did not leave at once")
	}
	if err := s.Data([]byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Beat(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.Body.String(), "data: {\"a\":1}\n\n: hb\n\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if kind := w.Header().Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type %q", kind)
	}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("Cut panicked with %v", err)
		}
	}()
	s.Cut()
}

func TestSeveralRepliesAreOneAnswer(t *testing.T) {
	replies := []normalize.Message{{ID: "1", Text: "Hello."}, {ID: "2"}, {ID: "3", Text: "How are you?"}}
	const whole = "Hello.\n\nHow are you?"
	if got := adapters.JoinReplies(replies); got != whole {
		t.Errorf("%q, want %q", got, whole)
	}
	var j adapters.JoinedReplies
	var pieces []string
	for _, e := range []normalize.Event{
		{Type: normalize.EventMessage},
		{Type: normalize.EventDelta, MessageID: "1", Text: "Hel"},
		{Type: normalize.EventDelta, MessageID: "1", Text: "lo."},
		{Type: normalize.EventReply, Message: &replies[0]},
		{Type: normalize.EventReply, Message: &replies[1]},
		{Type: normalize.EventReply, Message: &replies[2]},
		{Type: normalize.EventDone},
	} {
		if piece := j.Piece(e); piece != "" {
			pieces = append(pieces, piece)
		}
	}
	if want := []string{"Hel", "lo.", "\n\nHow are you?"}; !slices.Equal(pieces, want) || j.Text() != whole {
		t.Errorf("pieces %q, text %q", pieces, j.Text())
	}
}
