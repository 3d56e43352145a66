package altur

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/adapters/altur/alturtwin"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// TestEveryFieldOfTheDocumentedAnswerIsKept gives each text of the vendor's
// example a value of its own and looks for it in what our API shows: all are in
// raw, and outside of it only those are missing that our nouns have no place for.
func TestEveryFieldOfTheDocumentedAnswerIsKept(t *testing.T) {
	t.Parallel()
	// Paths with the oldest shape's names of the bot and the end user.
	onlyRaw := []string{
		"thread.chatbot.id",        // the author of what the bot says; the example's
		"thread.chatbot.name",      // messages are an operator's
		"thread.enduser.id",        // the one that the request named
		"in_response_to.content",   // what we sent
		"in_response_to.media",     // we send none
		"messages.thread_id",       // thread.id again
		"in_response_to.thread_id", // thread.id again
	}
	names := strings.NewReplacer("end_user.", "enduser.", "agent.", "chatbot.")
	for _, name := range []string{"send_oldest_shape", "send_middle_shape", "send_current_shape"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var value any
			if err := json.Unmarshal([]byte(fileOf(t, name, "answer")), &value); err != nil {
				t.Fatal(err)
			}
			marks := map[string]string{}
			marked, err := json.Marshal(mark(value, "", marks))
			if err != nil {
				t.Fatal(err)
			}
			reply, err := decodeReply(vendorhttp.Answer{Status: 200, Body: marked}, normalize.Remote{})
			if err != nil {
				t.Fatal(err)
			}
			shown := func(raw bool) string {
				var thread normalize.Thread
				reply.Thread.Apply(&thread)
				sent := normalize.Message{Author: reply.Sent.Author, Read: reply.Sent.Read, CreatedAt: reply.Sent.CreatedAt, Raw: reply.Sent.Raw}
				b := fmt.Append(nil, reply.Remote)
				b = thread.AppendJSON(b, raw)
				b = sent.AppendJSON(b, raw)
				return string(reply.Messages[0].AppendJSON(b, raw))
			}
			if len(marks) < 20 {
				t.Fatalf("only %d texts in the example", len(marks))
			}
			for path, word := range marks {
				if !strings.Contains(shown(true), word) {
					t.Errorf("%s is lost, even from raw", path)
				}
				if !strings.Contains(shown(false), word) && !slices.Contains(onlyRaw, names.Replace(path)) {
					t.Errorf("%s is only in raw", path)
				}
			}
		})
	}
}

// mark replaces every "<string>" by a word of its own, which it notes with its
// path. The ids of the one conversation stay equal.
func mark(v any, path string, marks map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			v[name] = mark(field, strings.TrimPrefix(path+"."+name, "."), marks)
		}
	case []any:
		for i := range v {
			v[i] = mark(v[i], path, marks)
		}
	case string:
		if v != "<string>" {
			return v
		}
		word := fmt.Sprintf("mark%02d", len(marks))
		if path == "thread.id" || strings.HasSuffix(path, ".thread_id") {
			word = "the-thread"
		}
		marks[path] = word
		return word
	}
	return v
}

func TestSettingsHaveWorkingDefaults(t *testing.T) {
	t.Parallel()
	s := Spec.Settings().(*Settings)
	want := &Settings{BaseURL: "https://api.altur.io/api/v1.0", Shape: "agent", EndUsers: "create"}
	if diff := cmp.Diff(want, s, cmp.Comparer(func(a, b normalize.Secret) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	s.AgentID = "agent-1"
	if got := s.BotID(); got != "agent-1" {
		t.Errorf("BotID %q", got)
	}
	*s.Endpoint() = "http://127.0.0.1:1/x"
	if s.BaseURL != "http://127.0.0.1:1/x" {
		t.Error("Endpoint does not lead to base_url")
	}
}

func TestEveryWrongSettingIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	s := &Settings{Shape: "chat_bot", EndUsers: "yes"}
	var fields []string
	s.Check(func(field, problem string) {
		if problem == "" {
			t.Errorf("%s: nothing is said about it", field)
		}
		fields = append(fields, field)
	})
	want := []string{"base_url", "api_key", "agent_id", "shape", "end_users"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
}

// TestTalentsFollowFromTheSettings: what an account cannot do is not there, rather
// than there and refusing.
func TestTalentsFollowFromTheSettings(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{EndUsersCreate, EndUsersGiven} {
		a := openAt(t, "http://127.0.0.1:1", func(s *Settings) { s.EndUsers = mode })
		if _, creates := a.(adapters.UserCreator); creates != (mode == EndUsersCreate) {
			t.Errorf("end_users: %s: creates end users: %v", mode, creates)
		}
		_, readsUser := a.(adapters.UserReader)
		_, updatesUser := a.(adapters.UserUpdater)
		_, readsThread := a.(adapters.ThreadReader)
		_, lists := a.(adapters.MessageLister)
		if !readsUser || !updatesUser || !readsThread || !lists {
			t.Errorf("end_users: %s: a talent is missing", mode)
		}
		_, history := a.(adapters.History)
		_, deletes := a.(adapters.ThreadDeleter)
		_, createsThread := a.(adapters.ThreadCreator)
		_, switches := a.(adapters.ModeSwitcher)
		_, attaches := a.(adapters.AttachmentSender)
		if history || deletes || createsThread || switches || attaches {
			t.Errorf("end_users: %s: a talent that the vendor has no call for", mode)
		}
	}
}

// TestRetryAfterHeaderWinsOverTheText: the sentence is the poor man's header.
func TestRetryAfterHeaderWinsOverTheText(t *testing.T) {
	t.Parallel()
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"detail": "Request was throttled. Expected available in 7 seconds."}`)
	}))
	defer vendor.Close()
	_, err := send(openAt(t, vendor.URL, nil), normalize.Remote{UserID: "u"}, "hi")
	if got := normalize.AsError(err).RetryAfter.Seconds(); got != 3 {
		t.Errorf("Retry-After %v s, want 3", got)
	}
}

func TestWaitIsReadFromTheSentence(t *testing.T) {
	t.Parallel()
	for sentence, seconds := range map[string]float64{
		"Request was throttled. Expected available in 7 seconds.": 7,
		"Request was throttled. Expected available in 1 second.":  1,
		"available in 86400 seconds":                              86400,
		"available in 12":                                         12,
		"available in -5 seconds":                                 0,
		"available in 99999999999999999999 seconds":               0,
		"available in a moment":                                   0,
		"in 7 seconds":                                            0,
		"":                                                        0,
	} {
		if got := availableIn(sentence).Seconds(); got != seconds {
			t.Errorf("%q: %v s, want %v", sentence, got, seconds)
		}
	}
}

// TestKeyIsNeverInAnError: U27, a vendor that repeats the credential.
func TestKeyIsNeverInAnError(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"error": %q, "message": %q}`, `{"detail": %q, "error": %q}`, "%s %s"} {
		vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, body, r.Header.Get("Authorization"), r.Header.Get("Authorization"))
		}))
		_, err := send(openAt(t, vendor.URL, nil), normalize.Remote{UserID: "u"}, "hi")
		vendor.Close()
		failure := normalize.AsError(err)
		if failure.Kind != normalize.KindUnauthorized || strings.Contains(fmt.Sprintf("%v %+v", err, *failure), testKey) {
			t.Errorf("%v", err)
		}
	}
}

// The tests below talk to the vendor's twin.

func TestConversationWithTheTwin(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{ShapeAgent, ShapeChatbot} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			a, twin := openTwin(t, func(s *Settings) { s.Shape = shape })
			ctx := context.Background()
			userID, err := a.(adapters.UserCreator).CreateUser(ctx, normalize.User{ID: "u-1", Name: "Rosa", Info: "prefers Spanish"})
			if err != nil {
				t.Fatal(err)
			}
			remote := normalize.Remote{UserID: userID}
			var told []string // the remote ids, in the order of the conversation
			for turn, text := range []string{"my name is \"Rosa\" <b>", "ok", "ok"} {
				reply, err := send(a, remote, text)
				if err != nil {
					t.Fatal(err)
				}
				memory := fmt.Sprintf("(turn %d; the first thing you said was: my name is \"Rosa\" <b>)", turn+1)
				if len(reply.Messages) != 1 || !strings.HasSuffix(reply.Messages[0].Text, memory) {
					t.Fatalf("turn %d: %+v", turn+1, reply.Messages)
				}
				if remote.ThreadID != "" && reply.Remote != remote {
					t.Fatalf("turn %d: remote %+v, was %+v", turn+1, reply.Remote, remote)
				}
				remote = reply.Remote
				told = append(told, reply.Sent.RemoteID, reply.Messages[0].RemoteID)
			}

			list, err := a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{})
			if err != nil {
				t.Fatal(err)
			}
			var listed []string
			for _, m := range list.Messages {
				listed = append(listed, m.RemoteID)
			}
			if diff := cmp.Diff(told, listed); diff != "" {
				t.Errorf("ids in the replies and in the list differ:\n%s", diff)
			}
			var paged []string
			for cursor, more := "", true; more; {
				page, err := a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{Cursor: cursor, Limit: 4})
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range page.Messages {
					paged = append(paged, m.RemoteID)
				}
				cursor, more = page.NextCursor, page.NextCursor != ""
			}
			if diff := cmp.Diff(listed, paged); diff != "" {
				t.Errorf("pages and the whole list differ:\n%s", diff)
			}

			twin.SetActive(remote.ThreadID, false)
			reply, err := send(a, remote, "anyone there?")
			if err != nil || len(reply.Messages) != 0 || reply.Thread.Mode != normalize.ModeHuman {
				t.Errorf("a bot that is switched off: %+v, %v", reply, err)
			}
			thread, err := a.(adapters.ThreadReader).ReadThread(ctx, remote)
			if err != nil || thread.Remote != remote || thread.Update.Mode != normalize.ModeHuman || thread.UpdatedAt.IsZero() {
				t.Errorf("thread %+v, %v", thread, err)
			}

			if err := a.(adapters.UserUpdater).UpdateUser(ctx, remote, normalize.User{Name: "Rosa María"}); err != nil {
				t.Error(err)
			}
			user, err := a.(adapters.UserReader).ReadUser(ctx, remote)
			if want := (normalize.User{ID: userID, Name: "Rosa María", Info: "prefers Spanish"}); err != nil || user != want {
				t.Errorf("end user %+v, %v", user, err)
			}
		})
	}
}

func TestTextArrivesIntactAtTheTwin(t *testing.T) {
	t.Parallel()
	a, _ := openTwin(t, nil)
	for name, text := range map[string]string{
		"64 KiB":        strings.Repeat("0123456789abcdef", 4096),
		"emoji, 64 Ki":  strings.Repeat("👩🏽‍🚀", 16384),
		"right-to-left": "שלום עולם \u202eمرحبا\u202c end",
		"markup":        "<b>&amp;</b> \"quoted\" \\n \u2028\u2029 \t\r\n",
		"spaces around": "  \n x \n ",
	} {
		remote := newUser(t, a)
		reply, err := send(a, remote, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := reply.Messages[0].Text; !strings.HasPrefix(got, "You said: "+text+"\n(turn 1;") {
			t.Errorf("%s: the text came back changed", name)
		}
	}
}

func TestConcurrentSendsDoNotMix(t *testing.T) {
	t.Parallel()
	a, _ := openTwin(t, nil)
	var wg sync.WaitGroup
	for i := range 32 {
		remote := newUser(t, a)
		wg.Go(func() {
			first := fmt.Sprintf("I am person %d", i)
			for turn := range 3 {
				reply, err := send(a, remote, first)
				if err != nil {
					t.Error(err)
					return
				}
				want := fmt.Sprintf("You said: %s\n(turn %d; the first thing you said was: %s)", first, turn+1, first)
				if got := reply.Messages[0].Text; got != want {
					t.Errorf("person %d got %q", i, got)
				}
				remote = reply.Remote
			}
		})
	}
	wg.Wait()
}

func TestUnknownThreadAtTheTwinIsARejection(t *testing.T) {
	t.Parallel()
	a, _ := openTwin(t, nil)
	remote := normalize.Remote{ThreadID: "nobody-knows-it", UserID: "u"}
	_, readErr := a.(adapters.ThreadReader).ReadThread(context.Background(), remote)
	_, listErr := a.(adapters.MessageLister).ListMessages(context.Background(), remote, adapters.Page{})
	for status, err := range map[int]error{http.StatusBadRequest: readErr, http.StatusNotFound: listErr} {
		var failure *normalize.Error
		if !errors.As(err, &failure) || failure.Kind != normalize.KindRejected || failure.VendorStatus != status ||
			!strings.Contains(failure.Detail, "does not know this thread") {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestIDCannotClimbOutOfTheAPI: an id can come from a client that was there before
// us.
func TestIDCannotClimbOutOfTheAPI(t *testing.T) {
	t.Parallel()
	a := openAt(t, "http://127.0.0.1:1", nil)
	for _, id := range []string{"..", ".", "../enduser/1"} {
		_, err := a.(adapters.MessageLister).ListMessages(context.Background(), normalize.Remote{ThreadID: id}, adapters.Page{})
		if kind := normalize.AsError(err).Kind; kind != normalize.KindInvalidRequest {
			t.Errorf("%q: kind %s", id, kind)
		}
	}
}

// openTwin opens the adapter on a twin made of its own settings.
func openTwin(t testing.TB, change func(*Settings)) (adapters.Adapter, *alturtwin.Twin) {
	t.Helper()
	settings := Spec.Settings().(*Settings)
	settings.APIKey = normalize.NewSecret(testKey)
	settings.AgentID = "an id that is no UUID"
	twin := Spec.Twin(settings).(*alturtwin.Twin)
	server := httptest.NewServer(twin)
	t.Cleanup(server.Close)
	return openAt(t, server.URL+Spec.TwinPath, func(s *Settings) {
		s.AgentID = settings.AgentID
		if change != nil {
			change(s)
		}
	}), twin
}

func newUser(t testing.TB, a adapters.Adapter) normalize.Remote {
	t.Helper()
	id, err := a.(adapters.UserCreator).CreateUser(context.Background(), normalize.User{})
	if err != nil {
		t.Fatal(err)
	}
	return normalize.Remote{UserID: id}
}

func send(a adapters.Adapter, remote normalize.Remote, text string) (adapters.Reply, error) {
	return a.Send(context.Background(), adapters.Turn{Remote: remote, Message: normalize.Message{Text: text}})
}

// fileOf reads the request or the answer of a golden file, without its first line.
func fileOf(t testing.TB, golden, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + golden + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse(data).Files {
		if f.Name == name {
			_, body, _ := bytes.Cut(f.Data, []byte{'\n'})
			return string(body)
		}
	}
	t.Fatalf("%s has no %s", golden, name)
	return ""
}

func TestANameThatWasMadeUpDoesNotComeBackAsThePersonsName(t *testing.T) {
	a, _ := openTwin(t, func(*Settings) {})
	for _, user := range []normalize.User{{}, {ID: "u-1"}, {ID: "u-1", Email: "rosa@example.test"}} {
		id, err := a.(adapters.UserCreator).CreateUser(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := a.Send(t.Context(), adapters.Turn{
			Thread: normalize.Thread{User: user}, Remote: normalize.Remote{UserID: id}, Message: normalize.Message{Text: "hello"},
		})
		if err != nil || reply.Thread.User.Name != "" || reply.Sent.Author.Name != "" {
			t.Errorf("%+v: user %+v, author %+v, %v", user, reply.Thread.User, reply.Sent.Author, err)
		}
	}
}
