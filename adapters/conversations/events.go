package conversations

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// The limits of an event stream.
const (
	maxLine  = 256 << 10
	maxEvent = 1 << 20
	maxText  = 4 << 20
)

// collect reads an event stream to the frame that says done, and joins the text of
// all its frames, the last one included. A stream that ends before is
// KindTruncated; the reply beside any error then holds the conversation's id and
// the text so far, marked incomplete.
func collect(body io.Reader, a vendorhttp.Answer, asked string) (adapters.Reply, error) {
	var (
		events   = newEventReader(body)
		whole    strings.Builder
		last     gjson.Result
		valid    int
		skipped  int
		remoteID = asked
	)
	failed := func(err error) (adapters.Reply, error) {
		reply := adapters.Reply{Remote: normalize.Remote{ThreadID: remoteID}}
		if whole.Len() > 0 {
			m := assistantMessage(last, normalize.CleanText(whole.String()))
			m.Status = normalize.StatusIncomplete
			reply.Messages = []normalize.Message{m}
		}
		return reply, err
	}
	for {
		data, err := events.next()
		switch {
		case errors.Is(err, io.EOF) && valid == 0 && skipped > 0:
			return failed(a.Invalid("the backend's event stream holds no frame that can be read"))
		case errors.Is(err, io.EOF):
			return failed(&normalize.Error{Kind: normalize.KindTruncated, Phase: normalize.PhaseStatus, VendorStatus: a.Status})
		case errors.Is(err, errTooLong):
			return failed(&normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: a.Status, Cause: err})
		case err != nil:
			return failed(err)
		}
		if !bytes.HasPrefix(bytes.TrimLeft(data, " \t"), []byte{'{'}) {
			skipped++ // a keep-alive word, [DONE]: no frame of this API
			continue
		}
		if !json.Valid(data) {
			return failed(a.Invalid("the backend's event stream holds a broken frame"))
		}
		valid++
		frame := gjson.ParseBytes(data)
		if told := conversationOf(frame); told != "" {
			if remoteID != "" && !strings.EqualFold(told, remoteID) {
				return adapters.Reply{}, a.Invalid("the backend's answer belongs to another conversation")
			}
			remoteID = told
		}
		content := frame.Get("content")
		if content.Type != gjson.String && content.Type != gjson.Null {
			return failed(a.Invalid("the backend's event stream holds a text that is not a text"))
		}
		whole.WriteString(text(content))
		last = frame
		if whole.Len() > maxText {
			return failed(&normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: a.Status})
		}
		if done, _ := truth(frame.Get("done")); done {
			break
		}
	}
	if remoteID == "" {
		return failed(a.Invalid("the backend's answer names no conversation"))
	}
	if whole.Len() == 0 {
		return failed(a.Invalid("the backend's answer has no text"))
	}
	m := assistantMessage(last, whole.String())
	m.RemoteID = scalar(last.Get("id"))
	m.Raw = normalize.CleanBytes([]byte(last.Raw))
	return adapters.Reply{Remote: normalize.Remote{ThreadID: remoteID}, Messages: []normalize.Message{m}}, nil
}

var errTooLong = errors.New("an event of the stream is longer than we take")

// eventReader splits a byte stream into the data of server-sent events: lines end
// in LF, CRLF or CR; comments and all fields but data are passed over; an event
// without its blank line is not a whole one and is not given.
type eventReader struct {
	r       *bufio.Reader
	line    []byte
	data    []byte
	begun   bool // a line was read; only the first may begin with a byte order mark
	afterCR bool // a line feed that comes next belongs to the line before
}

func newEventReader(r io.Reader) *eventReader { return &eventReader{r: bufio.NewReader(r)} }

// next gives the data of the next event, good until the call after. It returns
// io.EOF at the end, errTooLong over the limits, and the reader's own errors.
func (e *eventReader) next() ([]byte, error) {
	e.data = e.data[:0]
	for {
		if err := e.readLine(); err != nil {
			return nil, err
		}
		if len(e.line) == 0 {
			if len(e.data) > 0 {
				return e.data[:len(e.data)-1], nil
			}
			continue
		}
		value, ok := bytes.CutPrefix(e.line, []byte("data"))
		if ok && len(value) > 0 && value[0] == ':' {
			value = bytes.TrimPrefix(value[1:], []byte{' '})
			if len(e.data)+len(value) > maxEvent {
				return nil, errTooLong
			}
			e.data = append(append(e.data, value...), '\n')
		}
	}
}

func (e *eventReader) readLine() error {
	e.line = e.line[:0]
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			return err
		}
		if b == '\n' && e.afterCR {
			e.afterCR = false
			continue
		}
		e.afterCR = b == '\r'
		if b == '\n' || b == '\r' {
			if !e.begun {
				e.line, e.begun = bytes.TrimPrefix(e.line, []byte("\xEF\xBB\xBF")), true
			}
			return nil
		}
		if len(e.line) == maxLine {
			return errTooLong
		}
		e.line = append(e.line, b)
	}
}
