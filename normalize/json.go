package normalize

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// TimeLayout is how the API writes times: RFC 3339 in UTC with milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// AppendJSON appends the thread as the API shows it: every documented field,
// null for unknown, [] for an empty list. The vendor's object goes along only
// where raw is true.
func (t *Thread) AppendJSON(b []byte, raw bool) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, t.ID)
	b = append(b, `,"object":"thread","backend":`...)
	b = appendText(b, t.Backend)
	b = append(b, `,"route":`...)
	b = appendText(b, t.Route)
	b = append(b, `,"user":{"id":`...)
	b = appendText(b, t.User.ID)
	b = append(b, `,"name":`...)
	b = appendText(b, t.User.Name)
	b = append(b, `,"email":`...)
	b = appendText(b, t.User.Email)
	b = append(b, `,"phone":`...)
	b = appendText(b, t.User.Phone)
	b = append(b, `,"info":`...)
	b = appendText(b, t.User.Info)
	b = append(b, `},"mode":`...)
	b = appendText(b, string(t.Mode))
	b = append(b, `,"status":`...)
	b = appendText(b, string(t.Status))
	b = append(b, `,"title":`...)
	b = appendText(b, t.Title)
	b = append(b, `,"tags":`...)
	b = appendList(b, t.Tags, func(b []byte, v *Tag) []byte {
		b = append(b, `{"id":`...)
		b = appendText(b, v.ID)
		b = append(b, `,"name":`...)
		b = appendText(b, v.Name)
		b = append(b, `,"color":`...)
		b = appendText(b, v.Color)
		return append(b, '}')
	})
	b = append(b, `,"assignees":`...)
	b = appendList(b, t.Assignees, func(b []byte, v *Assignee) []byte {
		b = append(b, `{"id":`...)
		b = appendText(b, v.ID)
		b = append(b, `,"name":`...)
		b = appendText(b, v.Name)
		b = append(b, `,"email":`...)
		b = appendText(b, v.Email)
		return append(b, '}')
	})
	b = append(b, `,"metadata":`...)
	b = appendMap(b, t.Metadata)
	b = append(b, `,"channel":{"id":`...)
	b = appendText(b, t.Channel.ID)
	b = append(b, `,"name":`...)
	b = appendText(b, t.Channel.Name)
	b = append(b, `,"type":`...)
	b = appendText(b, t.Channel.Type)
	b = append(b, `},"escalated":`...)
	b = appendBool(b, t.Escalated)
	b = append(b, `,"message_count":`...)
	b = strconv.AppendInt(b, int64(t.MessageCount), 10)
	b = append(b, `,"bindings":`...)
	b = appendList(b, t.Bindings, func(b []byte, v *Binding) []byte {
		b = append(b, `{"backend":`...)
		b = appendText(b, v.Backend)
		b = append(b, `,"vendor":`...)
		b = appendText(b, v.Vendor)
		b = append(b, `,"bot":`...)
		b = appendText(b, v.Bot)
		b = append(b, `,"remote_id":`...)
		b = appendText(b, v.Remote.ThreadID)
		b = append(b, `,"since":`...)
		b = AppendTime(b, v.Since)
		b = append(b, `,"until":`...)
		b = AppendTime(b, v.Until)
		b = append(b, `,"reason":`...)
		b = appendText(b, v.Reason)
		return append(b, '}')
	})
	b = append(b, `,"created_at":`...)
	b = AppendTime(b, t.CreatedAt)
	b = append(b, `,"updated_at":`...)
	b = AppendTime(b, t.UpdatedAt)
	if raw {
		b = append(b, `,"raw":`...)
		b = appendRaw(b, t.Raw)
	}
	return append(b, '}')
}

// MarshalJSON gives the thread as the API shows it, without the vendor's object.
// It is a method of the value, so that a copy too marshals without its tenant.
func (t Thread) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil, false), nil }

// AppendJSON appends the message as the API shows it: every documented field,
// null for unknown, [] for an empty list. The vendor's object goes along only
// where raw is true.
func (m *Message) AppendJSON(b []byte, raw bool) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, m.ID)
	b = append(b, `,"object":"message","thread_id":`...)
	b = appendText(b, m.ThreadID)
	b = append(b, `,"role":`...)
	b = appendText(b, string(m.Role))
	b = append(b, `,"type":`...)
	b = appendText(b, string(m.Type))
	b = append(b, `,"text":`...)
	b = appendText(b, m.Text)
	b = append(b, `,"attachments":`...)
	b = appendList(b, m.Attachments, func(b []byte, v *Attachment) []byte {
		b = append(b, `{"id":`...)
		b = appendText(b, v.ID)
		b = append(b, `,"type":`...)
		b = appendText(b, string(v.Type))
		b = append(b, `,"url":`...)
		b = appendText(b, v.URL)
		b = append(b, `,"filename":`...)
		b = appendText(b, v.Filename)
		b = append(b, `,"content_type":`...)
		b = appendText(b, v.ContentType)
		return append(b, '}')
	})
	b = append(b, `,"author":{"id":`...)
	b = appendText(b, m.Author.ID)
	b = append(b, `,"name":`...)
	b = appendText(b, m.Author.Name)
	b = append(b, `,"email":`...)
	b = appendText(b, m.Author.Email)
	b = append(b, `,"avatar_url":`...)
	b = appendText(b, m.Author.AvatarURL)
	b = append(b, `},"status":`...)
	b = appendText(b, string(m.Status))
	b = append(b, `,"reason":`...)
	b = appendText(b, m.Reason)
	b = append(b, `,"in_reply_to":`...)
	b = appendText(b, m.InReplyTo)
	b = append(b, `,"backend":`...)
	b = appendText(b, m.Backend)
	b = append(b, `,"remote_id":`...)
	b = appendText(b, m.RemoteID)
	b = append(b, `,"model":`...)
	b = appendText(b, m.Model)
	b = append(b, `,"sources":`...)
	b = appendList(b, m.Sources, func(b []byte, v *Source) []byte {
		b = append(b, `{"title":`...)
		b = appendText(b, v.Title)
		b = append(b, `,"url":`...)
		b = appendText(b, v.URL)
		b = append(b, `,"text":`...)
		b = appendText(b, v.Text)
		return append(b, '}')
	})
	b = append(b, `,"suggestions":`...)
	b = appendList(b, m.Suggestions, func(b []byte, v *Suggestion) []byte {
		b = append(b, `{"id":`...)
		b = appendText(b, v.ID)
		b = append(b, `,"title":`...)
		b = appendText(b, v.Title)
		b = append(b, `,"text":`...)
		b = appendText(b, v.Text)
		b = append(b, `,"url":`...)
		b = appendText(b, v.URL)
		return append(b, '}')
	})
	b = append(b, `,"feedback":`...)
	b = appendText(b, string(m.Feedback))
	b = append(b, `,"read":`...)
	b = appendBool(b, m.Read)
	b = append(b, `,"notice":`...)
	b = appendText(b, m.Notice)
	b = append(b, `,"metadata":`...)
	b = appendMap(b, m.Metadata)
	b = append(b, `,"created_at":`...)
	b = AppendTime(b, m.CreatedAt)
	if raw {
		b = append(b, `,"raw":`...)
		b = appendRaw(b, m.Raw)
	}
	return append(b, '}')
}

// MarshalJSON gives the message as the API shows it, without the vendor's object.
func (m Message) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil, false), nil }

// AppendTime appends a time as the API writes it, in quotes; null for the zero
// time.
func AppendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, TimeLayout)
	return append(b, '"')
}

// AppendString appends a text as a JSON string. Nothing is escaped that need not
// be: people's text stays readable, and < > & are themselves. A byte that is not
// valid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0 // where the text begins that is not yet written
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += size
			continue
		}
		i++
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i-1]...)
		from = i
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}

func appendText(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return AppendString(b, s)
}

func appendBool(b []byte, v *bool) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return strconv.AppendBool(b, *v)
}

func appendList[T any](b []byte, list []T, one func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &list[i])
	}
	return append(b, ']')
}

func appendMap(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, k)
		b = append(b, ':')
		b = AppendString(b, m[k])
	}
	return append(b, '}')
}

func appendRaw(b []byte, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return append(b, "null"...)
	}
	return append(b, raw...)
}
