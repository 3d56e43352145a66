package altur

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
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/normalize"
)

var update = flag.Bool("update", false, "write what the adapter gives into the golden files")

// situation is the input.json of a golden file: what is asked of the adapter.
type situation struct {
	Do       string `json:"do"` // send, read thread, list messages, create user, read user, update user
	Shape    string `json:"shape"`
	EndUsers string `json:"end_users"`
	AgentID  string `json:"agent_id"`
	Thread   string `json:"thread"`   // Remote.ThreadID
	EndUser  string `json:"end_user"` // Remote.UserID
	Text     string `json:"text"`
	User     struct {
		ID, Name, Email, Info string
	} `json:"user"`
	Cursor string `json:"cursor"`
	Limit  int    `json:"limit"`
}

// TestGolden runs every golden file: the situation goes in; the request that the
// vendor gets must be the one in the file; the vendor answers as the file says;
// and what the adapter makes of it is compared with the rest of the file.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var in situation
			given := txtar.Archive{Comment: archive.Comment}
			var request, answer string
			want := map[string]string{}
			for _, f := range archive.Files {
				switch f.Name {
				case "input.json":
					dec := json.NewDecoder(bytes.NewReader(f.Data))
					dec.DisallowUnknownFields()
					if err := dec.Decode(&in); err != nil {
						t.Fatalf("input.json: %v", err)
					}
				case "request":
					request = string(f.Data)
				case "answer":
					answer = string(f.Data)
				default:
					want[f.Name] = string(f.Data)
					continue
				}
				given.Files = append(given.Files, f)
			}

			result := run(t, in, request, answer)
			if *update {
				given.Files = append(given.Files, result...)
				if err := os.WriteFile(file, txtar.Format(&given), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			got := map[string]string{}
			for _, f := range result {
				got[f.Name] = string(f.Data)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got (-update writes it):\n%s", diff)
			}
		})
	}
}

// run plays one situation against a vendor that expects the request and gives the
// answer, and returns what came of it as files.
func run(t *testing.T, in situation, request, answer string) []txtar.File {
	t.Helper()
	calls := 0
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		line, wantBody, _ := strings.Cut(request, "\n")
		if got := r.Method + " " + r.URL.EscapedPath(); got != line {
			t.Errorf("request line %q, want %q", got, line)
		}
		if got, want := string(body), compact(t, wantBody); got != want {
			t.Errorf("request body\n%s\nwant\n%s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "api-key "+testKey {
			t.Errorf("Authorization %q", got)
		}
		if got := r.Header.Get("Content-Type"); len(body) > 0 && got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
		status, reply, _ := strings.Cut(answer, "\n")
		code, err := strconv.Atoi(status)
		if err != nil {
			t.Errorf("the first line of the answer is its status: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, reply)
	}))
	defer vendor.Close()

	ctx := context.Background()
	a := openAt(t, vendor.URL, func(s *Settings) {
		s.AgentID = in.AgentID
		if in.Shape != "" {
			s.Shape = in.Shape
		}
		if in.EndUsers != "" {
			s.EndUsers = in.EndUsers
		}
	})
	remote := normalize.Remote{ThreadID: in.Thread, UserID: in.EndUser}
	user := normalize.User{ID: in.User.ID, Name: in.User.Name, Email: in.User.Email, Info: in.User.Info}
	var files []txtar.File
	add := func(name, data string) {
		files = append(files, txtar.File{Name: name, Data: []byte(strings.TrimSuffix(data, "\n") + "\n")})
	}
	addThread := func(update normalize.ThreadUpdate) {
		thread := normalize.Thread{User: user, Mode: normalize.ModeAI, Status: normalize.ThreadOpen}
		update.Apply(&thread)
		add("thread.json", indent(t, thread.AppendJSON(nil, true)))
	}
	addMessages := func(messages []normalize.Message) {
		b := []byte{'['}
		for i := range messages {
			if i > 0 {
				b = append(b, ',')
			}
			b = messages[i].AppendJSON(b, true)
		}
		add("messages.json", indent(t, append(b, ']')))
	}

	var err error
	switch in.Do {
	case "send":
		var reply adapters.Reply
		reply, err = a.Send(ctx, adapters.Turn{Thread: normalize.Thread{User: user}, Remote: remote, Message: normalize.Message{Text: in.Text}})
		add("remote", fmt.Sprintf("thread %q, end user %q", reply.Remote.ThreadID, reply.Remote.UserID))
		if diff := cmp.Diff(adapters.Reply{Remote: reply.Remote}, reply); err != nil && diff != "" {
			t.Errorf("more than the remote ids beside an error:\n%s", diff)
		}
		if err == nil {
			addThread(reply.Thread)
			sent := normalize.Message{
				Role: normalize.RoleUser, Type: normalize.TypeText, Text: in.Text, Status: normalize.StatusSent,
				RemoteID: reply.Sent.RemoteID, Author: reply.Sent.Author, Read: reply.Sent.Read, CreatedAt: reply.Sent.CreatedAt, Raw: reply.Sent.Raw,
			}
			add("sent.json", indent(t, sent.AppendJSON(nil, true)))
			addMessages(reply.Messages)
		}
	case "read thread":
		var thread adapters.RemoteThread
		if thread, err = a.(adapters.ThreadReader).ReadThread(ctx, remote); err == nil {
			updated := thread.UpdatedAt.Format(normalize.TimeLayout)
			add("remote", fmt.Sprintf("thread %q, end user %q, updated %s", thread.Remote.ThreadID, thread.Remote.UserID, updated))
			addThread(thread.Update)
		}
	case "list messages":
		var page adapters.MessagePage
		if page, err = a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{Cursor: in.Cursor, Limit: in.Limit}); err == nil {
			add("next", page.NextCursor)
			addMessages(page.Messages)
		}
	case "create user":
		var id string
		if id, err = a.(adapters.UserCreator).CreateUser(ctx, user); err == nil {
			add("user", id)
		}
	case "read user":
		var read normalize.User
		if read, err = a.(adapters.UserReader).ReadUser(ctx, remote); err == nil {
			add("user", fmt.Sprintf("%+v", read))
		}
	case "update user":
		err = a.(adapters.UserUpdater).UpdateUser(ctx, remote, user)
	default:
		t.Fatalf("input.json: do what? %q", in.Do)
	}
	if err != nil {
		failure := normalize.AsError(err)
		add("error", fmt.Sprintf("kind %s, status %d, code %q, retry after %s\n%s",
			failure.Kind, failure.VendorStatus, failure.VendorCode, failure.RetryAfter, failure.Text()))
	}
	wantCalls := 1
	if request == "" {
		wantCalls = 0
	}
	if calls != wantCalls {
		t.Errorf("%d requests at the vendor, want %d", calls, wantCalls)
	}
	return files
}

const testKey = "key-of-the-organisation"

// openAt opens the adapter as the house does, on settings for a vendor elsewhere.
func openAt(t testing.TB, baseURL string, change func(*Settings)) adapters.Adapter {
	t.Helper()
	s := Spec.Settings().(*Settings)
	s.BaseURL = adapters.BaseURL(baseURL)
	s.APIKey = normalize.NewSecret(testKey)
	s.AgentID = "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
	if change != nil {
		change(s)
	}
	s.Check(func(field, problem string) { t.Errorf("settings: %s %s", field, problem) })
	a, err := Spec.Open(s, adapters.Env{MaxInFlight: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.(io.Closer).Close() })
	return a
}

func compact(t testing.TB, text string) string {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return ""
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("the request in the file is not JSON: %v", err)
	}
	return b.String()
}

func indent(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		t.Fatalf("what the adapter gives is not JSON: %v\n%s", err, text)
	}
	return b.String()
}
