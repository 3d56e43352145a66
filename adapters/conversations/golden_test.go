package conversations

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/normalize"
)

var update = flag.Bool("update", false, "write what the adapter does into testdata as what it should do")

// call is the first file of a golden archive: what the adapter is asked to do.
type call struct {
	Do          string // a method of the adapter
	Style       string
	StreamField string
	Thread      string // the remote conversation
	Text        string
	RemoteID    string
	Mode        normalize.Mode
	Cursor      string
	Limit       int
	Attachments []normalize.Attachment
	Since       string
	Until       string
	BotText     string
	PersonText  string
}

// TestGolden holds each archive of testdata against the adapter: call.json is what
// it is asked, answer what the vendor says (a status and a content type, a blank
// line, the body), request what it must write, want.json what it must read.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			var c call
			decoder := json.NewDecoder(strings.NewReader(parts["call.json"]))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&c); err != nil {
				t.Fatalf("call.json: %v", err)
			}
			head, body, ok := strings.Cut(parts["answer"], "\n\n")
			if !ok {
				t.Fatal("answer: no blank line after its head")
			}
			status, contentType, _ := strings.Cut(head, " ")
			code, err := strconv.Atoi(status)
			if err != nil {
				t.Fatalf("answer: %v", err)
			}
			v := newVendor(t, canned{status: code, header: map[string][]string{"Content-Type": {contentType}}, body: body})
			got, raws := perform(t, openAt(t, v.url, func(s *Settings) {
				s.WebChat = webChatID
				if c.Style != "" {
					s.Style = c.Style
				}
				if c.StreamField != "" {
					s.StreamField = c.StreamField
				}
			}), c)
			request := describe(v.ledger())
			if *update {
				archive.Files = append(archive.Files[:2:2],
					txtar.File{Name: "request", Data: []byte(request)}, txtar.File{Name: "want.json", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(parts["request"], request); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(parts["want.json"], got); diff != "" {
				t.Errorf("what was read (-want +got):\n%s", diff)
			}
			if contentType == "application/json" {
				wantNothingLost(t, body, raws)
			}
		})
	}
}

// describe writes the one request as a person would.
func describe(requests []seen) string {
	if len(requests) != 1 {
		return fmt.Sprintf("%d requests\n", len(requests))
	}
	r := requests[0]
	line := r.method + " " + r.path
	if r.query != "" {
		line += "?" + r.query
	}
	return line + "\n" + r.auth + "\n" + indent([]byte(r.body))
}

func indent(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return string(b) + "\n"
	}
	return out.String() + "\n"
}

// perform does what the call asks and gives what came of it, as JSON, and the
// vendor's own objects that were kept.
func perform(t *testing.T, a adapters.Adapter, c call) (got string, raws []json.RawMessage) {
	t.Helper()
	ctx := context.Background()
	turn := turnOf(c.Text, c.Thread)
	turn.Message.Attachments = c.Attachments
	remote := normalize.Remote{ThreadID: c.Thread}
	page := adapters.Page{Cursor: c.Cursor, Limit: c.Limit}
	var out bytes.Buffer
	reply := func(r adapters.Reply, err error) {
		fmt.Fprintf(&out, `{"remote":%s,"sent":{"remote_id":%q,"author":%q,"created_at":%s,"raw":%s},"replies":[`,
			jsonOf(t, r.Remote), r.Sent.RemoteID, r.Sent.Author.ID, normalize.AppendTime(nil, r.Sent.CreatedAt), orNull(r.Sent.Raw))
		raws = append(raws, r.Sent.Raw)
		messagesJSON(&out, r.Messages, &raws)
		fmt.Fprintf(&out, `],"error":%s}`, jsonOf(t, kindOfError(err)))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	switch c.Do {
	case "Send":
		reply(a.Send(ctx, turn))
	case "Stream":
		var shown []string
		r, err := a.(adapters.Streamer).Stream(ctx, turn, func(d adapters.Delta) error {
			shown = append(shown, d.Text)
			return nil
		})
		fmt.Fprintf(&out, `{"shown":%s,"reply":`, jsonOf(t, shown))
		reply(r, err)
		out.WriteByte('}')
	case "SendAttachments":
		reply(a.(adapters.AttachmentSender).SendAttachments(ctx, turn))
	case "SendAsOperator":
		reply(a.(adapters.OperatorSender).SendAsOperator(ctx, turn))
	case "CreateThread":
		thread, err := a.(adapters.ThreadCreator).CreateThread(ctx, normalize.Thread{})
		must(err)
		threadJSON(&out, thread, &raws)
	case "ReadThread":
		thread, err := a.(adapters.ThreadReader).ReadThread(ctx, remote)
		must(err)
		threadJSON(&out, thread, &raws)
	case "ListThreads":
		list, err := a.(adapters.ThreadLister).ListThreads(ctx, page)
		must(err)
		fmt.Fprintf(&out, `{"next_cursor":%q,"threads":[`, list.NextCursor)
		for i, thread := range list.Threads {
			if i > 0 {
				out.WriteByte(',')
			}
			threadJSON(&out, thread, &raws)
		}
		out.WriteString("]}")
	case "ListMessages":
		list, err := a.(adapters.MessageLister).ListMessages(ctx, remote, page)
		must(err)
		fmt.Fprintf(&out, `{"next_cursor":%q,"messages":[`, list.NextCursor)
		messagesJSON(&out, list.Messages, &raws)
		out.WriteString("]}")
	case "ReadMessage":
		m, err := a.(adapters.MessageReader).ReadMessage(ctx, remote, c.RemoteID)
		must(err)
		messagesJSON(&out, []normalize.Message{m}, &raws)
	case "SwitchMode":
		must(a.(adapters.ModeSwitcher).SwitchMode(ctx, remote, c.Mode))
		out.WriteString("null")
	case "ListRecords":
		since, _ := time.Parse(time.DateOnly, c.Since)
		until, _ := time.Parse(time.DateOnly, c.Until)
		query := adapters.RecordQuery{Since: since, Until: until, BotText: c.BotText, PersonText: c.PersonText}
		list, err := a.(adapters.RecordLister).ListRecords(ctx, query, page)
		must(err)
		fmt.Fprintf(&out, `{"next_cursor":%q,"records":[`, list.NextCursor)
		for i, r := range list.Records {
			if i > 0 {
				out.WriteByte(',')
			}
			fmt.Fprintf(&out, `{"remote_id":%q,"question":%q,"answer":%q,"error":%q,"created_at":%s,"raw":%s}`,
				r.RemoteID, r.Question, r.Answer, r.Error, normalize.AppendTime(nil, r.CreatedAt), r.Raw)
			raws = append(raws, r.Raw)
		}
		out.WriteString("]}")
	default:
		t.Fatalf("call.json: do %q is not known", c.Do)
	}
	return indent(out.Bytes()), raws
}

func threadJSON(out *bytes.Buffer, r adapters.RemoteThread, raws *[]json.RawMessage) {
	thread := normalize.Thread{
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Bindings: []normalize.Binding{{Remote: r.Remote, Since: r.CreatedAt}},
	}
	r.Update.Apply(&thread)
	if r.Update.User != nil {
		thread.User.ID = r.Update.User.ID
	}
	*raws = append(*raws, thread.Raw)
	fmt.Fprintf(out, `{"thread":%s,"messages":[`, thread.AppendJSON(nil, true))
	messagesJSON(out, r.Messages, nil)
	out.WriteString("]}")
}

func messagesJSON(out *bytes.Buffer, list []normalize.Message, raws *[]json.RawMessage) {
	for i := range list {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(list[i].AppendJSON(nil, true))
		if raws != nil {
			*raws = append(*raws, list[i].Raw)
		}
	}
}

func kindOfError(err error) any {
	if err == nil {
		return nil
	}
	return normalize.AsError(err).Kind.String()
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func orNull(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("null")
	}
	return raw
}

// wantNothingLost checks that every object of the vendor's answer was kept as it
// came: the answer itself, or the items of its list.
func wantNothingLost(t *testing.T, body string, raws []json.RawMessage) {
	t.Helper()
	var whole any
	if err := json.Unmarshal([]byte(body), &whole); err != nil {
		t.Fatalf("answer: %v", err)
	}
	objects := []any{whole}
	if m, ok := whole.(map[string]any); ok {
		if results, ok := m["results"].([]any); ok {
			objects = results
		}
	}
	for _, object := range objects {
		found := raws == nil
		for _, raw := range raws {
			var kept any
			found = found || json.Unmarshal(raw, &kept) == nil && reflect.DeepEqual(kept, object)
		}
		if !found {
			t.Errorf("this object of the vendor's was not kept: %v", object)
		}
	}
}
