package vendorhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"chatmux/adapters"
	"chatmux/normalize"
)

// MaxText is the longest text that a streamed answer may have: 4 MiB.
const MaxText = 4 << 20

// Telling is a streamed answer while it is being told: events that are JSON
// objects, with the text in pieces. It keeps what the talent adapters.Streamer
// promises of every vendor; an adapter says where in an object the text stands,
// and what marks the end.
type Telling struct {
	head   Answer
	events *Events
	end    string
	emit   func(adapters.Delta) error

	objects int
	skipped int
	text    strings.Builder // what was said, all of it whole characters
	held    string          // as JSON: the beginning of a character whose rest is in the next piece
	shown   bool            // emit was called
	refused error           // what emit returned
}

// NewTelling reads the answer of which head is known and body is to come. End is
// the word that the vendor sends as its last event, as [DONE]; empty where the end
// mark stands in an object. A nil emit is not called: nobody watches.
func NewTelling(body io.Reader, head Answer, end string, emit func(adapters.Delta) error) *Telling {
	return &Telling{head: head, events: NewEvents(body), end: end, emit: emit}
}

// Next gives the next JSON object, good until the call after, and io.EOF for the
// vendor's end word. An event that is no JSON object is passed over and counted,
// one without data passed over. An object that does not parse is KindInvalidReply:
// a part of the answer was lost. A body that ends is KindTruncated, since only the
// vendor can say that its answer is whole; KindInvalidReply, where there was no
// object in it.
func (t *Telling) Next() ([]byte, error) {
	for {
		event, err := t.events.Next()
		if err != nil {
			return nil, t.ended(err)
		}
		data := bytes.TrimSpace(event.Data)
		switch {
		case len(data) == 0:
		case data[0] == '{' && json.Valid(data):
			t.objects++
			return data, nil
		case data[0] == '{':
			return nil, t.head.Invalid("the backend's stream holds a broken event")
		case t.end != "" && string(data) == t.end:
			return nil, io.EOF
		default:
			t.skipped++
		}
	}
}

// ended makes the failure of a body that gives no more events.
func (t *Telling) ended(err error) error {
	var failure *normalize.Error
	switch {
	case errors.Is(err, io.EOF) && t.objects == 0 && t.skipped > 0:
		return t.head.Invalid("the backend's stream holds no event that can be read")
	case errors.Is(err, io.EOF):
		return t.Truncated("")
	case errors.As(err, &failure):
		failure.VendorStatus = t.head.Status
	}
	return err
}

// Truncated makes the failure of an answer that ended without its end mark. An
// empty detail is the kind's own.
func (t *Telling) Truncated(detail string) *normalize.Error {
	return &normalize.Error{
		Kind: normalize.KindTruncated, Phase: normalize.PhaseStatus, VendorStatus: t.head.Status, Detail: detail,
	}
}

// Skip counts an object that Next gave and that does not belong to the answer.
func (t *Telling) Skip() { t.skipped++ }

// Skipped is how many events were passed over.
func (t *Telling) Skipped() int { return t.skipped }

// Say adds a piece of the answer's text: a JSON string, with its quotes. It is
// cleaned as normalize.UnquoteJSON does, shown at once, and held back only where it
// ends within a character: vendors cut their text between the halves of a surrogate
// pair, and between the bytes of a character. The error is emit's own, or
// KindTooLarge for a piece that would make the text longer than MaxText; such a
// piece is not shown.
func (t *Telling) Say(literal string) error {
	inside := literal[1 : len(literal)-1]
	if t.held != "" {
		inside = t.held + inside
		literal = quoted(inside)
	}
	if n := unfinished(inside); n > 0 {
		// The held part is cloned, so that it does not keep the whole piece alive.
		literal, t.held = quoted(inside[:len(inside)-n]), strings.Clone(inside[len(inside)-n:])
	} else {
		t.held = ""
	}
	return t.Add(normalize.UnquoteJSON(literal))
}

// Add is Say for a text that is whole and clean.
func (t *Telling) Add(text string) error {
	if text == "" {
		return nil
	}
	if t.text.Len()+len(text) > MaxText {
		return &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: t.head.Status}
	}
	t.text.WriteString(text)
	if t.emit == nil {
		return nil
	}
	t.shown = true
	t.refused = t.emit(adapters.Delta{Text: text})
	return t.refused
}

// Finish says that the end mark has come: a character whose rest did not is shown
// as U+FFFD. The errors are those of Say.
func (t *Telling) Finish() error {
	rest := normalize.UnquoteJSON(quoted(t.held))
	t.held = ""
	return t.Add(rest)
}

// Shown reports whether somebody has seen a piece of the text.
func (t *Telling) Shown() bool { return t.shown }

// Text is what was said so far: all that was shown, joined.
func (t *Telling) Text() string { return t.text.String() }

// Failure gives the error with which the answer ends. What emit returned stays as
// it is; every other failure is one of phase P3 once something was shown.
func (t *Telling) Failure(err error) error {
	var failure *normalize.Error
	if t.refused != nil {
		return t.refused
	}
	if !t.shown || !errors.As(err, &failure) {
		return err
	}
	late := *failure
	late.Phase = normalize.PhaseContent
	return &late
}

// ShowWhole is for the answer of a vendor that was asked for a stream and gave one
// message in one piece: it is shown as one delta. Where emit refuses it, the message
// is marked incomplete, as in every stream that was given up. A nil emit is not
// called.
func ShowWhole(reply adapters.Reply, emit func(adapters.Delta) error) (adapters.Reply, error) {
	if emit == nil {
		return reply, nil
	}
	answer := &reply.Messages[0]
	err := emit(adapters.Delta{Text: answer.Text})
	if err != nil {
		answer.Status = normalize.StatusIncomplete
	}
	return reply, err
}

func quoted(inside string) string { return `"` + inside + `"` }

// unfinished counts the bytes at the end of a JSON string's inside that may be the
// beginning of a character: the escape of a high surrogate, or the first bytes of
// what takes more of them in UTF-8.
func unfinished(inside string) int {
	const escape = len(`\ud83d`)
	if n := len(inside) - escape; n >= 0 && inside[n:n+2] == `\u` {
		before := inside[:n]
		backslashes := len(before) - len(strings.TrimRight(before, `\`))
		if high := strings.ToLower(inside[n+2 : n+4]); backslashes%2 == 0 && high >= "d8" && high <= "db" {
			return escape
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(inside); n++ {
		if tail := inside[len(inside)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRuneInString(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
