package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/normalize"
)

// library is a vendor that lists its conversations, two on a page, each with one
// question and its answer.
type library struct {
	began time.Time // the first conversation
	mu    sync.Mutex
	count int                       // of conversations
	turns int                       // of each of them beside its first, without ids of the vendor's
	asked []string                  // the cursors of the pages that were asked for
	fail  func(cursor string) error // what is answered instead of a page; nil, or for nil, the page

	sending chan struct{} // closed to let a send end; nil: at once
	got     chan struct{} // told that a send is there
}

func (l *library) spec() adapters.Spec {
	return adapters.Spec{
		Name: "library", Summary: "a test's", Settings: func() adapters.Settings { return new(struct{}) },
		Open: func(adapters.Settings, adapters.Env) (adapters.Adapter, error) { return l, nil },
	}
}

// march is when a library began of which nothing is new.
var march = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)

// begun is when a conversation began.
func (l *library) begun(n int) time.Time { return l.began.Add(time.Duration(n) * time.Minute) }

func (l *library) conversation(n int) adapters.RemoteThread {
	return adapters.RemoteThread{
		Remote: normalize.Remote{ThreadID: "c" + strconv.Itoa(n), UserID: "p" + strconv.Itoa(n)}, CreatedAt: l.begun(n), UpdatedAt: l.begun(n),
	}
}

func (l *library) ListThreads(_ context.Context, page adapters.Page) (adapters.ThreadPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, page.Cursor)
	if l.fail != nil {
		if err := l.fail(page.Cursor); err != nil {
			return adapters.ThreadPage{}, err
		}
	}
	begin, _ := strconv.Atoi(page.Cursor)
	var got adapters.ThreadPage
	for n := begin; n < min(begin+2, l.count); n++ {
		got.Threads = append(got.Threads, l.conversation(n))
	}
	if begin+2 < l.count {
		got.NextCursor = strconv.Itoa(begin + 2)
	}
	return got, nil
}

func (l *library) ListMessages(_ context.Context, remote normalize.Remote, _ adapters.Page) (adapters.MessagePage, error) {
	n, _ := strconv.Atoi(remote.ThreadID[1:])
	list := []normalize.Message{
		{Role: normalize.RoleUser, Text: "question " + remote.ThreadID, RemoteID: remote.ThreadID + "q", CreatedAt: l.begun(n)},
		{Role: normalize.RoleAssistant, Text: "answer " + remote.ThreadID, RemoteID: remote.ThreadID + "a", CreatedAt: l.begun(n)},
	}
	for range l.turns { // which agree in everything
		list = append(list, normalize.Message{Role: normalize.RoleUser, Text: "ok"}, normalize.Message{Role: normalize.RoleAssistant, Text: "fine"})
	}
	return adapters.MessagePage{Messages: list}, nil
}

// Send begins the next conversation, which is listed while its answer is still due.
func (l *library) Send(_ context.Context, turn adapters.Turn) (adapters.Reply, error) {
	l.mu.Lock()
	t := l.conversation(l.count)
	l.count++
	l.mu.Unlock()
	if l.sending != nil {
		l.got <- struct{}{}
		<-l.sending
	}
	return adapters.Reply{Remote: t.Remote, Sent: adapters.Sent{RemoteID: t.Remote.ThreadID + "q"}, Messages: []normalize.Message{
		{Text: "answer " + t.Remote.ThreadID, RemoteID: t.Remote.ThreadID + "a"},
	}}, nil
}

const libraryConfig = `
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: books, adapter: library, breaker: {failures: 100, open_for: 50ms}}
routes:
  - {name: default, to: books}
`

// openLibrary opens an engine in front of the library, and gives it back at the end.
func openLibrary(t *testing.T, l *library, dsn string) (*engine.Engine, func()) {
	t.Helper()
	specs := []adapters.Spec{l.spec()}
	c, err := config.Parse("config.yaml", fmt.Appendf(nil, libraryConfig, dsn), config.Options{Settings: app.Settings(specs), Getenv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	e, closeAll, err := app.OpenEngine(t.Context(), c, app.Options{Adapters: specs})
	if err != nil {
		t.Fatal(err)
	}
	return e, func() {
		t.Helper()
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}
}

var nobody = engine.Origin{Caller: engine.Caller{Tenant: "default"}}

func TestAnImportGoesOnAtThePageWhereItStopped(t *testing.T) {
	onEachStore(t, testAnImportGoesOnAtThePageWhereItStopped)
}

func testAnImportGoesOnAtThePageWhereItStopped(t *testing.T, newStore storeMaker) {
	l := &library{began: march, count: 7, fail: failAt("4", normalize.KindUnauthorized, 401)}
	e, done := openLibrary(t, l, newStore(t))
	defer done()
	req := engine.ImportRequest{Backend: "books"}
	got, err := e.Import(t.Context(), nobody, req)
	if normalize.AsError(err).Kind != normalize.KindUnauthorized || got.Created != 4 || got.Resumed {
		t.Fatalf("%v, %+v", err, got)
	}
	l.fail, l.asked = nil, nil
	dry := req
	dry.DryRun = true
	if got, err = e.Import(t.Context(), nobody, dry); err != nil || got.Created != 3 || got.Unchanged != 4 {
		t.Errorf("the dry run: %v, %+v", err, got)
	}
	l.asked = nil
	other := req
	other.Since = march // another import has a mark of its own
	if got, err = e.Import(t.Context(), nobody, other); err != nil || got.Resumed || got.Conversations != 7 || got.Created != 3 {
		t.Errorf("another: %v, %+v", err, got)
	}
	l.asked = nil
	if got, err = e.Import(t.Context(), nobody, req); err != nil || !got.Resumed || got.Conversations != 7 || got.Created != 4 || got.Unchanged != 3 {
		t.Errorf("the second run: %v, %+v", err, got)
	}
	if !slices.Equal(l.asked, []string{"4", "6"}) {
		t.Errorf("it asked for the pages %q", l.asked)
	}
	l.asked = nil
	if got, err = e.Import(t.Context(), nobody, req); err != nil || got.Resumed || got.Unchanged != 7 || len(l.asked) != 4 {
		t.Errorf("the third run: %v, %+v", err, got)
	}
}

func TestALongConversationIsImportedWhole(t *testing.T) {
	onEachStore(t, testALongConversationIsImportedWhole)
}

func testALongConversationIsImportedWhole(t *testing.T, newStore storeMaker) {
	l := &library{began: march, count: 1, turns: 700} // more than share a commit
	e, done := openLibrary(t, l, newStore(t))
	defer done()
	got, err := e.Import(t.Context(), nobody, engine.ImportRequest{Backend: "books"})
	if err != nil || got.Created != 1 || got.Messages != 1402 {
		t.Fatalf("%v, %+v", err, got)
	}
	if again, err := e.Import(t.Context(), nobody, engine.ImportRequest{Backend: "books"}); err != nil || again.Unchanged != 1 || again.Messages != 0 {
		t.Errorf("%v, %+v", err, again)
	}
	list, _, err := e.Threads(t.Context(), nobody, engine.ThreadFilter{}, engine.Page{Limit: 10})
	if err != nil || len(list) != 1 || list[0].MessageCount != 1402 || list[0].User.ID != "p0" {
		t.Fatalf("%v, %+v", err, list)
	}
	var read int
	for page := (engine.Page{Limit: 200, Ascending: true}); ; {
		messages, next, err := e.Messages(t.Context(), nobody, list[0].ID, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if want := []normalize.Role{normalize.RoleUser, normalize.RoleAssistant}[read%2]; m.Role != want || m.CreatedAt.Before(march) {
				t.Fatalf("message %d is %+v", read, m)
			}
			read++
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	if read != 1402 {
		t.Errorf("%d messages", read)
	}
}

func TestAnImportBeginsAnewWhereTheVendorHasForgottenThePage(t *testing.T) {
	l := &library{began: march, count: 5, fail: failAt("2", normalize.KindUnauthorized, 401)}
	e, done := openLibrary(t, l, "sqlite::memory:")
	defer done()
	req := engine.ImportRequest{Backend: "books"}
	if _, err := e.Import(t.Context(), nobody, req); err == nil {
		t.Fatal("no error")
	}
	l.asked = nil
	l.fail = func(cursor string) error { // which is good again only once the list was read from its beginning
		if slices.Contains(l.asked, "") {
			return nil
		}
		return failAt("2", normalize.KindRejected, 400)(cursor)
	}
	got, err := e.Import(t.Context(), nobody, req)
	if err != nil || got.Resumed || got.Conversations != 5 || got.Created != 3 || got.Unchanged != 2 || !slices.Equal(l.asked, []string{"2", "", "2", "4"}) {
		t.Errorf("%v, %+v, asked %q", err, got, l.asked)
	}
}

// failAt answers one page with a status.
func failAt(page string, kind normalize.Kind, status int) func(string) error {
	return func(cursor string) error {
		if cursor != page {
			return nil
		}
		return &normalize.Error{Kind: kind, Phase: normalize.PhaseStatus, VendorStatus: status}
	}
}

func TestAConversationThatASendJustBeganIsNotImportedTwice(t *testing.T) {
	dsn := newDatabase(t) // on which an import runs beside servers
	l := &library{began: time.Now(), sending: make(chan struct{}), got: make(chan struct{})}
	server, stop := openLibrary(t, l, dsn)
	defer stop()
	beside, done := openLibrary(t, l, dsn)
	defer done()
	sent := make(chan error, 1)
	go func() {
		_, err := server.Send(t.Context(), nobody, engine.SendRequest{New: &engine.NewThread{}, Text: "question c0"})
		sent <- err
	}()
	<-l.got // the vendor has it and lists the conversation; whose it is nobody has stored
	imported := make(chan error, 1)
	var created, unchanged int
	go func() {
		got, err := beside.Import(t.Context(), nobody, engine.ImportRequest{Backend: "books"})
		created, unchanged = got.Created, got.Completed+got.Unchanged
		imported <- err
	}()
	select {
	case err := <-imported:
		t.Errorf("the import did not wait for the send: %v", err)
		imported <- err
	case <-time.After(300 * time.Millisecond): // it has nothing else to do than to ask the store again and again
	}
	close(l.sending)
	if err := errors.Join(<-sent, <-imported); err != nil || created != 0 || unchanged != 1 {
		t.Errorf("%v: created %d, found %d", err, created, unchanged)
	}
	list, _, err := server.Threads(t.Context(), nobody, engine.ThreadFilter{}, engine.Page{Limit: 10})
	if err != nil || len(list) != 1 || list[0].MessageCount != 2 {
		t.Errorf("%v: %+v", err, list)
	}
}
