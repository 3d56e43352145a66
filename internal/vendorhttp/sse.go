package vendorhttp

import (
	"bytes"
	"errors"
	"io"

	"chatmux/normalize"
)

// The limits of an event stream. No honest answer comes near them.
const (
	MaxLine  = 256 << 10 // bytes of one line, its end not counted
	MaxEvent = 1 << 20   // bytes of one event's data
)

// readAhead is how much of a stream is read at once. It is all that a stream of
// ordinary events needs, whatever its length.
const readAhead = 4 << 10

// Event is one server-sent event. Its fields are good until the next one is read.
type Event struct {
	Name []byte // what kind of event it is; empty for the ordinary one
	ID   []byte // the last id that the stream has told, of this event or one before
	Data []byte // its data lines, joined by line feeds
}

// Events reads server-sent events as the HTML standard defines them: lines end in
// LF, CRLF or CR, also mixed; a byte order mark may stand in front; the space
// after a colon may be missing; comments and unknown fields are passed over, retry
// among them. Only whole events are given: one whose blank line has not come is
// none, and so no character of it is ever seen half. In whatever pieces the bytes
// arrive, the events are the same, and each is given as soon as its last byte is
// there.
type Events struct {
	source  io.Reader
	err     error  // what ended the source, due when unread is used up
	buf     []byte // what unread is a part of
	unread  []byte
	line    []byte // the beginning of a line whose end has not been read
	event   Event
	begun   bool // a line was read; only the first may begin with a byte order mark
	afterCR bool // a line feed that comes next belongs to the line before
}

// NewEvents makes a reader of a stream.
func NewEvents(source io.Reader) *Events { return &Events{source: source} }

// Next gives the next event. At the end of the source it returns io.EOF, whatever
// is left of an event; for a line or an event over the limits a *normalize.Error
// of KindTooLarge; else the source's own error. After an error it is not called
// again.
func (e *Events) Next() (Event, error) {
	e.event.Name, e.event.Data = e.event.Name[:0], e.event.Data[:0]
	whole := false // the event has data
	for {
		line, err := e.nextLine()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			if whole {
				return e.event, nil
			}
			e.event.Name = e.event.Name[:0]
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if whole {
				e.event.Data = append(e.event.Data, '\n')
			}
			whole = true
			if len(e.event.Data)+len(value) > MaxEvent {
				return Event{}, tooLarge("an event of the stream is longer than 1 MiB")
			}
			e.event.Data = append(e.event.Data, value...)
		case "event":
			e.event.Name = append(e.event.Name[:0], value...)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				e.event.ID = append(e.event.ID[:0], value...)
			}
		}
	}
}

// nextLine gives the next whole line without its end, good until the call after.
func (e *Events) nextLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		if e.afterCR && len(e.unread) > 0 {
			e.afterCR = false
			e.unread = bytes.TrimPrefix(e.unread, []byte{'\n'})
		}
		end := lineEnd(e.unread)
		if len(e.line)+end > MaxLine {
			return nil, tooLarge("a line of the stream is longer than 256 KiB")
		}
		if end == len(e.unread) {
			e.line = append(e.line, e.unread...)
			if err := e.fill(); err != nil {
				return nil, err
			}
			continue
		}
		line := e.unread[:end]
		e.afterCR = e.unread[end] == '\r'
		e.unread = e.unread[end+1:]
		if len(e.line) > 0 {
			e.line = append(e.line, line...)
			line = e.line
		}
		if !e.begun {
			e.begun = true
			line = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
		}
		return line, nil
	}
}

// lineEnd gives the place of the first CR or LF, the length where there is none.
func lineEnd(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		end = len(b)
	}
	if cr := bytes.IndexByte(b[:end], '\r'); cr >= 0 {
		end = cr
	}
	return end
}

// fill reads on. What comes together with an error is read first.
func (e *Events) fill() error {
	if e.buf == nil {
		e.buf = make([]byte, readAhead)
	}
	for range 100 { // as bufio.Reader: a source that gives neither bytes nor an error is broken
		if e.err != nil {
			return e.err
		}
		var n int
		n, e.err = e.source.Read(e.buf)
		if e.unread = e.buf[:n]; n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

func tooLarge(what string) *normalize.Error {
	return &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, Cause: errors.New(what)}
}
