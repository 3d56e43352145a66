package sitegpt

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/normalize"
)

var update = flag.Bool("update", false, "rewrite the got.json of the golden files")

// goldenCall says what the adapter is asked to do.
type goldenCall struct {
	Version string         `json:"version"`
	Do      string         `json:"do"`
	Thread  string         `json:"thread"`
	Mode    normalize.Mode `json:"mode"`
	Email   string         `json:"email"`
	Remote  string         `json:"remote"`
	Text    string         `json:"text"`
	Name    string         `json:"name"`
	Avatar  string         `json:"avatar"`
}

// goldenGot is all that came of it.
type goldenGot struct {
	Remote   *normalize.Remote `json:"remote,omitempty"`
	Thread   json.RawMessage   `json:"thread,omitempty"`
	Sent     *goldenSent       `json:"sent,omitempty"`
	Threads  []json.RawMessage `json:"threads,omitempty"`
	Messages []json.RawMessage `json:"messages,omitempty"`
	Next     string            `json:"next_cursor,omitempty"`
}

type goldenSent struct {
	RemoteID  string          `json:"remote_id"`
	Author    string          `json:"author,omitempty"`
	CreatedAt json.RawMessage `json:"created_at"`
	Raw       json.RawMessage `json:"raw"`
}

// Each file holds a request as the vendor's documents show it, the answer as they
// show it, and what the adapter makes of it, the vendor's own objects included.
func TestVendorsExamplesPassThrough(t *testing.T) {
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
			section := func(name string) *txtar.File {
				for i := range archive.Files {
					if archive.Files[i].Name == name {
						return &archive.Files[i]
					}
				}
				t.Fatalf("%s has no section %s", file, name)
				return nil
			}
			var call goldenCall
			if err := json.Unmarshal(section("call.json").Data, &call); err != nil {
				t.Fatal(err)
			}
			vendor := &stub{answer: string(section("answer.json").Data)}
			got := doGolden(t, vendor.open(t, call.Version), call)

			line, wantBody, _ := strings.Cut(string(section("request").Data), "\n")
			request := vendor.only(t)
			if gotLine := request.method + " " + request.uri; gotLine != line {
				t.Errorf("request line: got %s, want %s", gotLine, line)
			}
			if diff := cmp.Diff(canonical(t, wantBody), canonical(t, request.body)); diff != "" {
				t.Errorf("request body (-want +got):\n%s", diff)
			}
			if *update {
				section("got.json").Data = got
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(section("got.json").Data), string(got)); diff != "" {
				t.Errorf("what came of it (-want +got):\n%s", diff)
			}
		})
	}
}

func doGolden(t *testing.T, adapter adapters.Adapter, call goldenCall) []byte {
	t.Helper()
	ctx := context.Background()
	remote := normalize.Remote{ThreadID: call.Remote}
	turn := adapters.Turn{
		Remote:  remote,
		Message: normalize.Message{Text: call.Text, Author: normalize.Author{Name: call.Name, AvatarURL: call.Avatar}},
	}
	var got goldenGot
	var err error
	switch call.Do {
	case "send":
		var reply adapters.Reply
		reply, err = adapter.Send(ctx, turn)
		got.reply(reply)
	case "operator":
		var reply adapters.Reply
		reply, err = adapter.(adapters.OperatorSender).SendAsOperator(ctx, turn)
		got.reply(reply)
	case "create":
		var thread adapters.RemoteThread
		thread, err = adapter.(adapters.ThreadCreator).CreateThread(ctx,
			normalize.Thread{ID: call.Thread, Mode: call.Mode, User: normalize.User{Email: call.Email}})
		got.thread(thread)
	case "read":
		var thread adapters.RemoteThread
		thread, err = adapter.(adapters.ThreadReader).ReadThread(ctx, remote)
		got.thread(thread)
	case "list":
		var page adapters.ThreadPage
		page, err = adapter.(adapters.ThreadLister).ListThreads(ctx, adapters.Page{})
		for _, thread := range page.Threads {
			got.Threads = append(got.Threads, threadJSON(thread))
		}
		got.Next = page.NextCursor
	case "messages":
		var page adapters.MessagePage
		page, err = adapter.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{})
		got.Messages, got.Next = messagesJSON(page.Messages), page.NextCursor
	default:
		t.Fatalf("nothing is called %q", call.Do)
	}
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	enc := json.NewEncoder(&indented)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	return indented.Bytes()
}

func (g *goldenGot) reply(reply adapters.Reply) {
	g.Remote = &reply.Remote
	g.Thread = threadJSON(adapters.RemoteThread{Remote: reply.Remote, Update: reply.Thread})
	g.Sent = &goldenSent{
		RemoteID:  reply.Sent.RemoteID,
		Author:    reply.Sent.Author.Name,
		CreatedAt: normalize.AppendTime(nil, reply.Sent.CreatedAt),
		Raw:       reply.Sent.Raw,
	}
	g.Messages = messagesJSON(reply.Messages)
}

func (g *goldenGot) thread(thread adapters.RemoteThread) {
	g.Remote = &thread.Remote
	g.Thread = threadJSON(thread)
	g.Messages = messagesJSON(thread.Messages)
}

func threadJSON(remote adapters.RemoteThread) json.RawMessage {
	thread := normalize.Thread{
		Bindings:  []normalize.Binding{{Vendor: Spec.Name, Remote: remote.Remote}},
		CreatedAt: remote.CreatedAt,
		UpdatedAt: remote.UpdatedAt,
	}
	remote.Update.Apply(&thread)
	return thread.AppendJSON(nil, true)
}

func messagesJSON(messages []normalize.Message) []json.RawMessage {
	var list []json.RawMessage
	for _, message := range messages {
		list = append(list, message.AppendJSON(nil, true))
	}
	return list
}

// canonical is the value of a JSON text; "" for no body.
func canonical(t *testing.T, text string) any {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return ""
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// Whatever a document shows has a place of its own in our objects, so that nobody
// needs the vendor's; what is not repeated is what our fields say by themselves.
func TestNoFieldOfTheSendExampleIsLost(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/v0_send.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var answer string
	for _, file := range archive.Files {
		if file.Name == "answer.json" {
			answer = string(file.Data)
		}
	}
	vendor := &stub{answer: answer}
	adapter := vendor.open(t, versionV0)
	reply, err := adapter.Send(context.Background(), adapters.Turn{Message: normalize.Message{Text: "What can you do ?"}})
	if err != nil {
		t.Fatal(err)
	}
	kept := fmt.Sprint(reply.Remote, reply.Sent.RemoteID)
	for _, message := range reply.Messages {
		kept += string(message.AppendJSON(nil, false))
	}
	kept += string(normalize.AppendTime(nil, reply.Sent.CreatedAt))
	var document struct {
		Data struct{ Message map[string]any }
	}
	if err := json.Unmarshal([]byte(answer), &document); err != nil {
		t.Fatal(err)
	}
	message := document.Data.Message
	for name, instead := range map[string]string{
		"messageType": `"role":"operator"`,
		"reaction":    `"feedback":"neutral"`,
		"chatbotId":   "",         // the settings name it
		"question":    "11:43:52", // its text is what we sent
	} {
		if !strings.Contains(kept, instead) {
			t.Errorf("%s is lost: nothing says %s", name, instead)
		}
		delete(message, name)
	}
	if len(message) != 9 {
		t.Errorf("the example has %d other fields, want 9: the document was cut", len(message))
	}
	leaves(message, func(value string) {
		value = strings.TrimSuffix(value, "469Z") // our times have milliseconds
		if !strings.Contains(kept, value) {
			t.Errorf("%q is lost", value)
		}
	})
}

func leaves(value any, visit func(string)) {
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			leaves(v, visit)
		}
	case []any:
		for _, v := range value {
			leaves(v, visit)
		}
	case string:
		visit(value)
	}
}

// stub is a vendor that gives one answer to everything, and remembers what it was
// asked.
type stub struct {
	status   int // 200 where zero
	header   http.Header
	answer   string
	requests []stubRequest
}

type stubRequest struct {
	method, uri, body, contentType, authorization string
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.requests = append(s.requests, stubRequest{
		method: r.Method, uri: r.RequestURI, body: string(body),
		contentType: r.Header.Get("Content-Type"), authorization: r.Header.Get("Authorization"),
	})
	for name, values := range s.header {
		w.Header()[name] = values
	}
	w.WriteHeader(max(s.status, http.StatusOK))
	_, _ = io.WriteString(w, s.answer)
}

// only returns the one request that there must have been.
func (s *stub) only(t *testing.T) stubRequest {
	t.Helper()
	if len(s.requests) != 1 {
		t.Fatalf("the vendor got %d requests, want 1: %v", len(s.requests), s.requests)
	}
	return s.requests[0]
}

func (s *stub) open(t *testing.T, version string) adapters.Adapter {
	t.Helper()
	return openAt(t, version, s)
}

const testKey = "test-key-8c1f"

// openAt opens an adapter whose vendor is the handler.
func openAt(t testing.TB, version string, vendor http.Handler) adapters.Adapter {
	t.Helper()
	return openWith(t, version, vendor, adapters.Env{})
}

func openWith(t testing.TB, version string, vendor http.Handler, env adapters.Env) adapters.Adapter {
	t.Helper()
	server := httptest.NewServer(vendor)
	t.Cleanup(server.Close)
	adapter, err := Spec.Open(&Settings{
		BaseURL:   adapters.BaseURL(server.URL),
		Version:   version,
		APIKey:    normalize.NewSecret(testKey),
		ChatbotID: "365062873485935184",
	}, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = adapter.(io.Closer).Close() })
	return adapter
}
