package store

import (
	"encoding/json"
	"fmt"

	"chatmux/normalize"
)

// What no query asks for is one JSON text in its row, empty where there is nothing
// to say. The shapes below are stored: a name in them is as fixed as a column.

type tagDoc struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Color string `json:"color,omitempty"`
}

type personDoc struct {
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
	Info      string `json:"info,omitempty"`
	AvatarURL string `json:"avatar_url,omitempty"`
}

type channelDoc struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

type threadDoc struct {
	User      personDoc         `json:"user,omitzero"`
	Assignees []personDoc       `json:"assignees,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Channel   channelDoc        `json:"channel,omitzero"`
	Escalated *bool             `json:"escalated,omitempty"`
	Called    string            `json:"called,omitempty"`
	Key       string            `json:"key,omitempty"`
}

type attachmentDoc struct {
	ID          string                `json:"id,omitempty"`
	Type        normalize.MessageType `json:"type,omitempty"`
	URL         string                `json:"url,omitempty"`
	Filename    string                `json:"filename,omitempty"`
	ContentType string                `json:"content_type,omitempty"`
}

type sourceDoc struct {
	Title string `json:"title,omitempty"`
	URL   string `json:"url,omitempty"`
	Text  string `json:"text,omitempty"`
}

type suggestionDoc struct {
	ID    string `json:"id,omitempty"`
	Title string `json:"title,omitempty"`
	Text  string `json:"text,omitempty"`
	URL   string `json:"url,omitempty"`
}

type messageDoc struct {
	Attachments []attachmentDoc    `json:"attachments,omitempty"`
	Author      personDoc          `json:"author,omitzero"`
	Model       string             `json:"model,omitempty"`
	Sources     []sourceDoc        `json:"sources,omitempty"`
	Suggestions []suggestionDoc    `json:"suggestions,omitempty"`
	Feedback    normalize.Feedback `json:"feedback,omitempty"`
	Read        *bool              `json:"read,omitempty"`
	Notice      string             `json:"notice,omitempty"`
	Metadata    map[string]string  `json:"metadata,omitempty"`
}

// convert is f over a list; an empty list becomes nil.
func convert[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

// marshal writes a stored shape. Its values marshal without fail: strings, flags
// and lists of them.
func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if string(b) == "{}" {
		return ""
	}
	return string(b)
}

func unmarshal(text string, v any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("stored JSON: %w", err)
	}
	return nil
}

// threadRow is a thread as its row holds it.
type threadRow struct {
	tags, doc, raw string
}

func encodeThread(t *normalize.Thread) threadRow {
	row := threadRow{raw: string(t.Raw)}
	if len(t.Tags) > 0 {
		row.tags = marshal(convert(t.Tags, func(g normalize.Tag) tagDoc { return tagDoc(g) }))
	}
	row.doc = marshal(threadDoc{
		User: personDoc{Name: t.User.Name, Email: t.User.Email, Phone: t.User.Phone, Info: t.User.Info}, // its id is a column
		Assignees: convert(t.Assignees, func(a normalize.Assignee) personDoc {
			return personDoc{ID: a.ID, Name: a.Name, Email: a.Email}
		}),
		Metadata:  t.Metadata,
		Channel:   channelDoc(t.Channel),
		Escalated: t.Escalated,
		Called:    t.Called,
		Key:       t.Key,
	})
	return row
}

// scanThread reads one row of threadColumns and the raw column. Of several bindings
// only the newest is there; bindings is how many there are.
func scanThread(row scanner) (t StoredThread, bindings int, err error) {
	var tags, doc, raw string
	var created, updated, left int64
	var b bindingRow
	err = row.Scan(&t.ID, &t.Tenant, &t.Asked, &t.Backend, &t.Route, &t.User.ID, &t.Mode, &t.Status, &t.Title, &tags, &doc, &t.Carry,
		&t.MessageCount, &t.Version, &created, &updated, &left, &bindings,
		&b.Backend, &b.Vendor, &b.Bot, &b.Remote.ThreadID, &b.Remote.UserID, &b.since, &b.until, &b.Reason, &raw)
	if err != nil {
		return t, 0, err
	}
	t.CreatedAt, t.UpdatedAt, t.Busy = timeOf(created), timeOf(updated), left > 0
	if raw != "" {
		t.Raw = json.RawMessage(raw)
	}
	if bindings > 0 {
		t.Bindings = []normalize.Binding{b.binding()}
	}
	var d threadDoc
	var g []tagDoc
	if err := unmarshal(doc, &d); err != nil {
		return t, 0, err
	}
	if err := unmarshal(tags, &g); err != nil {
		return t, 0, err
	}
	t.User.Name, t.User.Email, t.User.Phone, t.User.Info = d.User.Name, d.User.Email, d.User.Phone, d.User.Info
	t.Tags = convert(g, func(g tagDoc) normalize.Tag { return normalize.Tag(g) })
	t.Assignees = convert(d.Assignees, func(a personDoc) normalize.Assignee {
		return normalize.Assignee{ID: a.ID, Name: a.Name, Email: a.Email}
	})
	t.Metadata, t.Channel, t.Escalated, t.Called, t.Key = d.Metadata, normalize.Channel(d.Channel), d.Escalated, d.Called, d.Key
	return t, bindings, nil
}

// bindingRow is a binding with its times as they are stored.
type bindingRow struct {
	normalize.Binding
	since, until int64
}

func (b bindingRow) binding() normalize.Binding {
	b.Since, b.Until = timeOf(b.since), timeOf(b.until)
	return b.Binding
}

// sameBinding compares what is stored of two bindings.
func sameBinding(a, b normalize.Binding) bool {
	return sameConversation(a, b) && a.Remote == b.Remote && a.Reason == b.Reason && millis(a.Until) == millis(b.Until)
}

// sameConversation compares what never changes in a binding.
func sameConversation(a, b normalize.Binding) bool {
	return a.Backend == b.Backend && a.Vendor == b.Vendor && a.Bot == b.Bot
}

// messageRow is a message as its row holds it.
type messageRow struct {
	normalize.Message
	doc, raw string
	created  int64
}

func encodeMessage(m normalize.Message) messageRow {
	row := messageRow{Message: m, raw: string(m.Raw), created: millis(m.CreatedAt)}
	if len(m.Attachments) == 0 && m.Author == (normalize.Author{}) && m.Model == "" && len(m.Sources) == 0 && len(m.Suggestions) == 0 &&
		m.Feedback == "" && m.Read == nil && m.Notice == "" && len(m.Metadata) == 0 {
		return row // most user messages
	}
	row.doc = marshal(messageDoc{
		Attachments: convert(m.Attachments, func(a normalize.Attachment) attachmentDoc { return attachmentDoc(a) }),
		Author:      personDoc{ID: m.Author.ID, Name: m.Author.Name, Email: m.Author.Email, AvatarURL: m.Author.AvatarURL},
		Model:       m.Model,
		Sources:     convert(m.Sources, func(s normalize.Source) sourceDoc { return sourceDoc(s) }),
		Suggestions: convert(m.Suggestions, func(s normalize.Suggestion) suggestionDoc { return suggestionDoc(s) }),
		Feedback:    m.Feedback,
		Read:        m.Read,
		Notice:      m.Notice,
		Metadata:    m.Metadata,
	})
	return row
}

// scanMessage reads one row of messageColumns and the raw column.
func scanMessage(row scanner) (StoredMessage, error) {
	var m StoredMessage
	var doc, raw string
	var created int64
	err := row.Scan(&m.Seq, &m.ID, &m.ThreadID, &m.Role, &m.Type, &m.Status, &m.Reason, &m.Text, &m.Backend, &m.RemoteID,
		&m.InReplyTo, &doc, &created, &raw)
	if err != nil {
		return m, err
	}
	return m, readDocument(&m.Message, doc, raw, created)
}

// readDocument reads what a message's row holds beside its columns.
func readDocument(m *normalize.Message, doc, raw string, created int64) error {
	m.CreatedAt = timeOf(created)
	if raw != "" {
		m.Raw = json.RawMessage(raw)
	}
	var d messageDoc
	if err := unmarshal(doc, &d); err != nil {
		return err
	}
	m.Attachments = convert(d.Attachments, func(a attachmentDoc) normalize.Attachment { return normalize.Attachment(a) })
	m.Author = normalize.Author{ID: d.Author.ID, Name: d.Author.Name, Email: d.Author.Email, AvatarURL: d.Author.AvatarURL}
	m.Model, m.Feedback, m.Read, m.Notice, m.Metadata = d.Model, d.Feedback, d.Read, d.Notice, d.Metadata
	m.Sources = convert(d.Sources, func(s sourceDoc) normalize.Source { return normalize.Source(s) })
	m.Suggestions = convert(d.Suggestions, func(s suggestionDoc) normalize.Suggestion { return normalize.Suggestion(s) })
	return nil
}
