package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// version is the version of the JSONL that is written, and the newest that is read.
const version = 1

// The kinds of records.
const (
	kindArchive = "archive"
	kindThread  = "thread"
	kindMessage = "message"
	kindBinding = "binding"
)

// text is a string that is null where it is empty, as the API has it.
type text string

// MarshalJSON implements json.Marshaler.
func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return normalize.AppendString(nil, string(t)), nil
}

// moment is a time as the API has it, null where there is none.
type moment struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (m moment) MarshalJSON() ([]byte, error) { return normalize.AppendTime(nil, m.Time), nil }

var errTime = errors.New("a time has to be as 2026-03-04T10:15:31.480Z")

// UnmarshalJSON implements json.Unmarshaler. What is finer than a millisecond is cut off.
func (m *moment) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return errTime
	}
	m.Time = t.UTC().Truncate(time.Millisecond)
	return nil
}

type filterRecord struct {
	Since   *moment `json:"since,omitempty"`
	Until   *moment `json:"until,omitempty"`
	Backend string  `json:"backend,omitempty"`
	User    string  `json:"user,omitempty"`
}

type archiveRecord struct {
	Kind    string       `json:"kind"`
	Version int          `json:"version"`
	Program string       `json:"program"`
	Filter  filterRecord `json:"filter,omitzero"`
	More    *bool        `json:"more"`
}

type personRecord struct {
	ID        text `json:"id"`
	Name      text `json:"name"`
	Email     text `json:"email"`
	Phone     text `json:"phone"`
	Info      text `json:"info"`
	AvatarURL text `json:"avatar_url"`
}

type userRecord struct {
	ID    text `json:"id"`
	Name  text `json:"name"`
	Email text `json:"email"`
	Phone text `json:"phone"`
	Info  text `json:"info"`
}

type tagRecord struct {
	ID    text `json:"id"`
	Name  text `json:"name"`
	Color text `json:"color"`
}

type assigneeRecord struct {
	ID    text `json:"id"`
	Name  text `json:"name"`
	Email text `json:"email"`
}

type channelRecord struct {
	ID   text `json:"id"`
	Name text `json:"name"`
	Type text `json:"type"`
}

type threadRecord struct {
	Kind         string            `json:"kind"`
	Tenant       string            `json:"tenant"`
	ID           string            `json:"id"`
	Asked        text              `json:"asked"`
	Called       text              `json:"called"`
	Key          text              `json:"key"`
	Backend      text              `json:"backend"`
	Route        text              `json:"route"`
	User         userRecord        `json:"user"`
	Mode         text              `json:"mode"`
	Status       text              `json:"status"`
	Title        text              `json:"title"`
	Tags         []tagRecord       `json:"tags"`
	Assignees    []assigneeRecord  `json:"assignees"`
	Metadata     map[string]string `json:"metadata"`
	Channel      channelRecord     `json:"channel"`
	Escalated    *bool             `json:"escalated"`
	Carry        text              `json:"carry"`
	CreatedAt    moment            `json:"created_at"`
	UpdatedAt    moment            `json:"updated_at"`
	MessageCount *int              `json:"message_count"`
	More         *bool             `json:"more"`
	rawRecord
}

type bindingRecord struct {
	Kind       string `json:"kind"`
	ThreadID   string `json:"thread_id"`
	Backend    text   `json:"backend"`
	Vendor     text   `json:"vendor"`
	Bot        text   `json:"bot"`
	RemoteID   text   `json:"remote_id"`
	RemoteUser text   `json:"remote_user"`
	Since      moment `json:"since"`
	Until      moment `json:"until"`
	Reason     text   `json:"reason"`
}

type attachmentRecord struct {
	ID          string                `json:"id"`
	Type        normalize.MessageType `json:"type"`
	URL         string                `json:"url"`
	Filename    string                `json:"filename"`
	ContentType string                `json:"content_type"`
}

type sourceRecord struct {
	Title string `json:"title"`
	URL   string `json:"url"`
	Text  string `json:"text"`
}

type suggestionRecord struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
	URL   string `json:"url"`
}

// messageRecord is read only: a message is written as the API writes it.
type messageRecord struct {
	Kind        string                  `json:"kind"`
	ID          string                  `json:"id"`
	Object      string                  `json:"object"`
	ThreadID    string                  `json:"thread_id"`
	Role        normalize.Role          `json:"role"`
	Type        normalize.MessageType   `json:"type"`
	Text        string                  `json:"text"`
	Attachments []attachmentRecord      `json:"attachments"`
	Author      personRecord            `json:"author"`
	Status      normalize.MessageStatus `json:"status"`
	Reason      string                  `json:"reason"`
	InReplyTo   string                  `json:"in_reply_to"`
	Backend     string                  `json:"backend"`
	RemoteID    string                  `json:"remote_id"`
	Model       string                  `json:"model"`
	Sources     []sourceRecord          `json:"sources"`
	Suggestions []suggestionRecord      `json:"suggestions"`
	Feedback    normalize.Feedback      `json:"feedback"`
	Read        *bool                   `json:"read"`
	Notice      string                  `json:"notice"`
	Metadata    map[string]string       `json:"metadata"`
	CreatedAt   moment                  `json:"created_at"`
	rawRecord
}

// rawRecord is a vendor's own object: as it is where it fits one line, else as the text
// of it.
type rawRecord struct {
	Raw     json.RawMessage `json:"raw,omitempty"`
	RawText *string         `json:"raw_text,omitempty"`
}

func (r rawRecord) bytes() json.RawMessage {
	switch {
	case r.RawText != nil:
		return json.RawMessage(*r.RawText)
	case string(r.Raw) == "null":
		return nil
	}
	return r.Raw
}

// appendRaw adds a vendor's own object to a record that is otherwise done, byte for byte.
func appendRaw(b []byte, raw json.RawMessage) []byte {
	b = b[:len(b)-1] // the closing brace
	switch {
	case len(raw) == 0:
		b = append(b, `,"raw":null`...)
	case string(raw) != "null" && !bytes.ContainsAny(raw, "\n\r") && len(bytes.TrimSpace(raw)) == len(raw) && utf8.Valid(raw) && json.Valid(raw):
		b = append(append(b, `,"raw":`...), raw...)
	default:
		b = normalize.AppendString(append(b, `,"raw_text":`...), string(raw))
	}
	return append(b, '}')
}

// appendRecord adds a record that has no vendor's object.
func appendRecord(b []byte, record any) []byte {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(record); err != nil {
		panic(err) // texts, flags, numbers and lists of them
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// appendThread adds a thread's record, without its bindings. Count and more are left out
// where they are nil: they are about the file and not about the thread.
func appendThread(b []byte, t *store.StoredThread, count *int, more *bool) []byte {
	r := threadRecord{
		Kind: kindThread, Tenant: t.Tenant, ID: t.ID, Asked: text(t.Asked), Called: text(t.Called), Key: text(t.Key), Backend: text(t.Backend), Route: text(t.Route),
		User: userRecord{text(t.User.ID), text(t.User.Name), text(t.User.Email), text(t.User.Phone), text(t.User.Info)},
		Mode: text(t.Mode), Status: text(t.Status), Title: text(t.Title), Metadata: t.Metadata,
		Tags: convert(t.Tags, func(v normalize.Tag) tagRecord { return tagRecord{text(v.ID), text(v.Name), text(v.Color)} }),
		Assignees: convert(t.Assignees, func(v normalize.Assignee) assigneeRecord {
			return assigneeRecord{text(v.ID), text(v.Name), text(v.Email)}
		}),
		Channel:   channelRecord{text(t.Channel.ID), text(t.Channel.Name), text(t.Channel.Type)},
		Escalated: t.Escalated, Carry: text(t.Carry), CreatedAt: moment{t.CreatedAt}, UpdatedAt: moment{t.UpdatedAt},
		MessageCount: count, More: more,
	}
	if r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
	return appendRaw(appendRecord(b, r), t.Raw)
}

func appendBinding(b []byte, threadID string, v normalize.Binding) []byte {
	return appendRecord(b, bindingRecord{
		Kind: kindBinding, ThreadID: threadID, Backend: text(v.Backend), Vendor: text(v.Vendor), Bot: text(v.Bot),
		RemoteID: text(v.Remote.ThreadID), RemoteUser: text(v.Remote.UserID), Since: moment{v.Since}, Until: moment{v.Until}, Reason: text(v.Reason),
	})
}

func appendMessage(b []byte, m *normalize.Message) []byte {
	b = append(b, `{"kind":"message",`...)
	at := len(b)
	b = m.AppendJSON(b, false)
	return appendRaw(append(b[:at], b[at+1:]...), m.Raw) // its opening brace
}

// convert is f over a list, never nil.
func convert[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

// lines writes JSONL.
type lines struct {
	w   io.Writer
	buf []byte
}

func (l *lines) line(b []byte) error {
	l.buf = append(b, '\n')
	_, err := l.w.Write(l.buf)
	return err
}

func (l *lines) begin(f Filter, more bool) error {
	r := archiveRecord{Kind: kindArchive, Version: version, Program: "chatmux", More: &more}
	r.Filter = filterRecord{Backend: f.Backend, User: f.User} // whose the threads are, they say themselves
	if !f.Since.IsZero() {
		r.Filter.Since = &moment{f.Since}
	}
	if !f.Until.IsZero() {
		r.Filter.Until = &moment{f.Until}
	}
	return l.line(appendRecord(l.buf[:0], r))
}

func (l *lines) thread(t *store.StoredThread, more bool) error {
	if err := l.line(appendThread(l.buf[:0], t, &t.MessageCount, &more)); err != nil {
		return err
	}
	for _, b := range t.Bindings {
		if err := l.line(appendBinding(l.buf[:0], t.ID, b)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lines) message(_ *store.StoredThread, m *normalize.Message) error {
	return l.line(appendMessage(l.buf[:0], m))
}

func (l *lines) end() error { return nil }

// record is one line that was read; one of its fields is set.
type record struct {
	archive *archiveRecord
	thread  *threadRecord
	binding *bindingRecord
	message *messageRecord
}

// decode reads a line. Its error is for people, and does not say which line it is.
func decode(line []byte) (r record, err error) {
	if !utf8.Valid(line) {
		return r, errors.New("it is not UTF-8")
	}
	var first struct {
		Kind    *string `json:"kind"`
		Version *int    `json:"version"`
	}
	if err := json.Unmarshal(line, &first); err != nil {
		return r, notJSON(err)
	}
	if first.Kind == nil {
		return r, errors.New(`it has no "kind"`)
	}
	var into any
	switch *first.Kind {
	case kindArchive:
		switch v := first.Version; {
		case v == nil || *v < 1:
			return r, errors.New("it names no version of the archive")
		case *v > version:
			return r, fmt.Errorf("this archive has version %d, and this chatmux reads versions up to %d: import it with a chatmux as new as the one that wrote it",
				*v, version)
		}
		r.archive = new(archiveRecord)
		into = r.archive
	case kindThread:
		r.thread = new(threadRecord)
		into = r.thread
	case kindBinding:
		r.binding = new(bindingRecord)
		into = r.binding
	case kindMessage:
		r.message = new(messageRecord)
		into = r.message
	default:
		return r, fmt.Errorf("there is no kind %q: archive, thread, binding and message are known", *first.Kind)
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return r, notJSON(err)
	}
	return r, nil
}

// notJSON says what is wrong in our words where the library speaks of Go.
func notJSON(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch said := err.Error(); {
	case errors.Is(err, errTime):
		return errTime
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return errors.New("it is not a JSON object")
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: a %s cannot stand there", wrongType.Field, wrongType.Value)
	case strings.HasPrefix(said, "json: unknown field "):
		return fmt.Errorf("%s is not a field of this kind", strings.TrimPrefix(said, "json: unknown field "))
	case strings.Contains(said, "unexpected end of JSON input"), errors.Is(err, io.ErrUnexpectedEOF),
		strings.HasPrefix(said, "invalid character ' ' in literal"): // how the library calls an end within true, false and null
		return errors.New("it is cut short")
	default:
		return fmt.Errorf("it is not JSON: %s", said)
	}
}

// stored gives a thread as the store keeps it.
func (r *threadRecord) stored() (store.StoredThread, error) {
	if r.Tenant == "" {
		return store.StoredThread{}, errors.New("tenant: is needed")
	}
	if _, err := normalize.ParseID(normalize.PrefixThread, r.ID); err != nil {
		return store.StoredThread{}, errors.New("id: is no id of a thread")
	}
	t := store.StoredThread{Carry: string(r.Carry)}
	t.ID, t.Tenant, t.Asked, t.Backend, t.Route, t.Title = r.ID, r.Tenant, string(r.Asked), string(r.Backend), string(r.Route), string(r.Title)
	t.Called, t.Key = string(r.Called), string(r.Key)
	t.User = normalize.User{ID: string(r.User.ID), Name: string(r.User.Name), Email: string(r.User.Email), Phone: string(r.User.Phone), Info: string(r.User.Info)}
	t.Mode, t.Status = normalize.Mode(r.Mode), normalize.ThreadStatus(r.Status)
	t.Tags = convert(r.Tags, func(v tagRecord) normalize.Tag {
		return normalize.Tag{ID: string(v.ID), Name: string(v.Name), Color: string(v.Color)}
	})
	t.Assignees = convert(r.Assignees, func(v assigneeRecord) normalize.Assignee {
		return normalize.Assignee{ID: string(v.ID), Name: string(v.Name), Email: string(v.Email)}
	})
	t.Metadata = r.Metadata
	t.Channel = normalize.Channel{ID: string(r.Channel.ID), Name: string(r.Channel.Name), Type: string(r.Channel.Type)}
	t.Escalated, t.CreatedAt, t.UpdatedAt = r.Escalated, r.CreatedAt.Time, r.UpdatedAt.Time
	texts, raw := appendThread(nil, &t, nil, nil), r.bytes()
	t.Raw = raw
	switch {
	case !slices.Contains([]normalize.Mode{normalize.ModeAI, normalize.ModeHuman}, t.Mode):
		return t, fmt.Errorf("mode: there is no mode %q", t.Mode)
	case !slices.Contains([]normalize.ThreadStatus{normalize.ThreadOpen, normalize.ThreadBlocked, normalize.ThreadEnded}, t.Status):
		return t, fmt.Errorf("status: there is no status %q of threads", t.Status)
	case t.Carry != "" && t.Carry != "transcript":
		return t, fmt.Errorf("carry: there is no carry %q", t.Carry)
	case t.CreatedAt.IsZero() || t.UpdatedAt.IsZero():
		return t, errors.New("created_at and updated_at are needed")
	case holdsNUL(texts, raw):
		return t, errNUL
	}
	return t, nil
}

func (r *bindingRecord) stored() normalize.Binding {
	return normalize.Binding{
		Backend: string(r.Backend), Vendor: string(r.Vendor), Bot: string(r.Bot),
		Remote: normalize.Remote{ThreadID: string(r.RemoteID), UserID: string(r.RemoteUser)},
		Since:  r.Since.Time, Until: r.Until.Time, Reason: string(r.Reason),
	}
}

var (
	roles = []normalize.Role{normalize.RoleUser, normalize.RoleAssistant, normalize.RoleOperator, normalize.RoleSystem}
	types = []normalize.MessageType{
		normalize.TypeText, normalize.TypeImage, normalize.TypeAudio, normalize.TypeVideo, normalize.TypeDocument, normalize.TypeButton,
		normalize.TypeTemplate, normalize.TypeSticker, normalize.TypeOther,
	}
	statuses = []normalize.MessageStatus{
		normalize.StatusPending, normalize.StatusSent, normalize.StatusFailed, normalize.StatusUnknown, normalize.StatusComplete,
		normalize.StatusIncomplete, normalize.StatusCancelled,
	}
	feedbacks = []normalize.Feedback{normalize.FeedbackPositive, normalize.FeedbackNegative, normalize.FeedbackNeutral}
)

// interrupted is the reason of a message that was being sent when it was exported.
const interrupted = "interrupted"

// stored gives a message as the store keeps it. One that was being sent becomes unknown:
// nobody will ever end that send here, and a vendor may have the message.
func (r *messageRecord) stored() (normalize.Message, error) {
	if _, err := normalize.ParseID(normalize.PrefixMessage, r.ID); err != nil {
		return normalize.Message{}, errors.New("id: is no id of a message")
	}
	m := normalize.Message{
		ID: r.ID, ThreadID: r.ThreadID, Role: r.Role, Type: r.Type, Text: r.Text,
		Attachments: convert(r.Attachments, func(v attachmentRecord) normalize.Attachment { return normalize.Attachment(v) }),
		Author:      normalize.Author{ID: string(r.Author.ID), Name: string(r.Author.Name), Email: string(r.Author.Email), AvatarURL: string(r.Author.AvatarURL)},
		Status:      r.Status, Reason: r.Reason, InReplyTo: r.InReplyTo, Backend: r.Backend, RemoteID: r.RemoteID, Model: r.Model,
		Sources:     convert(r.Sources, func(v sourceRecord) normalize.Source { return normalize.Source(v) }),
		Suggestions: convert(r.Suggestions, func(v suggestionRecord) normalize.Suggestion { return normalize.Suggestion(v) }),
		Feedback:    r.Feedback, Read: r.Read, Notice: r.Notice, Metadata: r.Metadata, CreatedAt: r.CreatedAt.Time,
	}
	texts, raw := appendMessage(nil, &m), r.bytes()
	m.Raw = raw
	switch {
	case !slices.Contains(roles, m.Role):
		return m, fmt.Errorf("role: there is no role %q", m.Role)
	case !slices.Contains(types, m.Type):
		return m, fmt.Errorf("type: there is no type %q of messages", m.Type)
	case !slices.Contains(statuses, m.Status):
		return m, fmt.Errorf("status: there is no status %q of messages", m.Status)
	case m.Feedback != "" && !slices.Contains(feedbacks, m.Feedback):
		return m, fmt.Errorf("feedback: there is no feedback %q", m.Feedback)
	case holdsNUL(texts, raw):
		return m, errNUL
	}
	if m.Status == normalize.StatusPending {
		m.Status, m.Reason = normalize.StatusUnknown, interrupted
	}
	return m, nil
}

var errNUL = errors.New(`a text has the character \u0000, which no store can keep`)

// holdsNUL looks for a NUL among the texts of a record that we wrote without its vendor's
// object, and in that object itself.
func holdsNUL(line []byte, raw json.RawMessage) bool {
	if bytes.IndexByte(raw, 0) >= 0 {
		return true
	}
	const escape = `\u0000`
	for {
		at := bytes.Index(line, []byte(escape))
		if at < 0 {
			return false
		}
		backslashes := 0
		for backslashes < at && line[at-backslashes-1] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return true
		}
		line = line[at+len(escape):]
	}
}
