package archive

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// columns are those of a table: one row a message.
var columns = []struct {
	name  string
	value func(t *store.StoredThread, m *normalize.Message) string
}{
	{"tenant", func(t *store.StoredThread, _ *normalize.Message) string { return t.Tenant }},
	{"thread_id", func(t *store.StoredThread, _ *normalize.Message) string { return t.ID }},
	{"message_id", func(_ *store.StoredThread, m *normalize.Message) string { return m.ID }},
	{"created_at", func(_ *store.StoredThread, m *normalize.Message) string { return timeCell(m.CreatedAt) }},
	{"role", func(_ *store.StoredThread, m *normalize.Message) string { return string(m.Role) }},
	{"type", func(_ *store.StoredThread, m *normalize.Message) string { return string(m.Type) }},
	{"status", func(_ *store.StoredThread, m *normalize.Message) string { return string(m.Status) }},
	{"reason", func(_ *store.StoredThread, m *normalize.Message) string { return m.Reason }},
	{"text", func(_ *store.StoredThread, m *normalize.Message) string { return m.Text }},
	{"attachments", func(_ *store.StoredThread, m *normalize.Message) string {
		return list(m.Attachments, func(a normalize.Attachment) string { return named(a.Filename, a.URL) })
	}},
	{"author", func(_ *store.StoredThread, m *normalize.Message) string { return named(m.Author.Name, m.Author.Email) }},
	{"backend", func(_ *store.StoredThread, m *normalize.Message) string { return m.Backend }},
	{"remote_id", func(_ *store.StoredThread, m *normalize.Message) string { return m.RemoteID }},
	{"in_reply_to", func(_ *store.StoredThread, m *normalize.Message) string { return m.InReplyTo }},
	{"model", func(_ *store.StoredThread, m *normalize.Message) string { return m.Model }},
	{"sources", func(_ *store.StoredThread, m *normalize.Message) string {
		return list(m.Sources, func(v normalize.Source) string { return named(v.Title, v.URL) })
	}},
	{"suggestions", func(_ *store.StoredThread, m *normalize.Message) string {
		return list(m.Suggestions, func(v normalize.Suggestion) string { return named(v.Title, v.Text) })
	}},
	{"feedback", func(_ *store.StoredThread, m *normalize.Message) string { return string(m.Feedback) }},
	{"read", func(_ *store.StoredThread, m *normalize.Message) string {
		if m.Read == nil {
			return ""
		}
		return strconv.FormatBool(*m.Read)
	}},
	{"notice", func(_ *store.StoredThread, m *normalize.Message) string { return m.Notice }},
	{"metadata", func(_ *store.StoredThread, m *normalize.Message) string { return mapCell(m.Metadata) }},
	{"user_id", func(t *store.StoredThread, _ *normalize.Message) string { return t.User.ID }},
	{"user_name", func(t *store.StoredThread, _ *normalize.Message) string { return t.User.Name }},
	{"user_email", func(t *store.StoredThread, _ *normalize.Message) string { return t.User.Email }},
	{"user_phone", func(t *store.StoredThread, _ *normalize.Message) string { return t.User.Phone }},
	{"thread_title", func(t *store.StoredThread, _ *normalize.Message) string { return t.Title }},
	{"thread_backend", func(t *store.StoredThread, _ *normalize.Message) string { return t.Backend }},
	{"thread_route", func(t *store.StoredThread, _ *normalize.Message) string { return t.Route }},
	{"thread_mode", func(t *store.StoredThread, _ *normalize.Message) string { return string(t.Mode) }},
	{"thread_status", func(t *store.StoredThread, _ *normalize.Message) string { return string(t.Status) }},
	{"thread_tags", func(t *store.StoredThread, _ *normalize.Message) string {
		return list(t.Tags, func(v normalize.Tag) string { return named(v.Name, v.ID) })
	}},
	{"thread_metadata", func(t *store.StoredThread, _ *normalize.Message) string { return mapCell(t.Metadata) }},
}

func timeCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(normalize.TimeLayout)
}

// list is one line for each element.
func list[T any](values []T, line func(T) string) string {
	return strings.Join(convert(values, line), "\n")
}

// named is a name and what it stands for, as far as there is either.
func named(name, value string) string {
	switch {
	case name == "" || name == value:
		return value
	case value == "":
		return name
	}
	return name + " <" + value + ">"
}

func mapCell(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	return string(appendRecord(nil, m))
}

// header gives the names of the columns.
func header() []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return names
}

// fill writes a message's cells into row, each harmless.
func fill(row []string, t *store.StoredThread, m *normalize.Message) {
	for i, c := range columns {
		row[i] = harmless(c.value(t, m))
	}
}

// harmless puts an apostrophe before a text that a spreadsheet would take for a formula:
// people write to a bot what they like, and somebody else opens the file.
// https://owasp.org/www-community/attacks/CSV_Injection
func harmless(cell string) string {
	if cell != "" && strings.IndexByte("=+-@\t\r", cell[0]) >= 0 {
		return "'" + cell
	}
	return cell
}

// csvFile writes CSV as RFC 4180 has it, in UTF-8, lines ending with LF.
type csvFile struct {
	w   *csv.Writer
	row []string
}

func newCSV(w io.Writer) *csvFile {
	return &csvFile{w: csv.NewWriter(w), row: make([]string, len(columns))}
}

func (f *csvFile) begin(Filter, bool) error { return f.w.Write(header()) }

func (f *csvFile) thread(*store.StoredThread, bool) error { return nil }

func (f *csvFile) message(t *store.StoredThread, m *normalize.Message) error {
	fill(f.row, t, m)
	return f.w.Write(f.row)
}

func (f *csvFile) end() error {
	f.w.Flush()
	return f.w.Error()
}
