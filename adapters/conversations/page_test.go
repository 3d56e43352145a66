package conversations

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

func TestNextIsReadAndItsHostNeverCalled(t *testing.T) {
	elsewhere := newVendor(t, jsonAnswer(200, `{"next":null,"results":[]}`))
	pageOf := func(next string) canned { return jsonAnswer(200, fmt.Sprintf(`{"next":%q,"results":[]}`, next)) }
	remote := normalize.Remote{ThreadID: conversationID}
	ctx := context.Background()
	for _, c := range []struct {
		name, next, want string
		list             func(a adapters.Adapter, cursor string) (string, error)
	}{
		{
			"conversations by cursor", elsewhere.url + "/api/conversations/?cursor=cD0xMjM%3D&pageSize=20", "cursor=cD0xMjM%3D&pageSize=20",
			func(a adapters.Adapter, cursor string) (string, error) {
				p, err := a.(adapters.ThreadLister).ListThreads(ctx, adapters.Page{Cursor: cursor, Limit: 20})
				return p.NextCursor, err
			},
		},
		{
			"messages by number", elsewhere.url + "/other/messages/?page=2&conversation=theirs&evil=1",
			"conversation=" + conversationID + "&page=2&pageSize=20",
			func(a adapters.Adapter, cursor string) (string, error) {
				p, err := a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{Cursor: cursor, Limit: 20})
				return p.NextCursor, err
			},
		},
		{
			"messages by cursor, plain http, no host", "/messages/?cursor=abc", "conversation=" + conversationID + "&cursor=abc&pageSize=20",
			func(a adapters.Adapter, cursor string) (string, error) {
				p, err := a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{Cursor: cursor, Limit: 20})
				return p.NextCursor, err
			},
		},
		{
			"contacts' way", elsewhere.url + "/x/?limit=5&offset=10", "limit=5&offset=10&pageSize=20",
			func(a adapters.Adapter, cursor string) (string, error) {
				p, err := a.(adapters.ThreadLister).ListThreads(ctx, adapters.Page{Cursor: cursor, Limit: 20})
				return p.NextCursor, err
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVendor(t, pageOf(c.next), jsonAnswer(200, `{"next":null,"results":null}`))
			a := openAt(t, v.url, nil)
			cursor, err := c.list(a, "")
			if err != nil || cursor == "" {
				t.Fatalf("cursor %q, error %v", cursor, err)
			}
			if last, err := c.list(a, cursor); err != nil || last != "" {
				t.Fatalf("second page: cursor %q, error %v", last, err)
			}
			if got := v.ledger()[1].query; got != c.want {
				t.Errorf("second query is %s, want %s", got, c.want)
			}
		})
	}
	if n := len(elsewhere.ledger()); n != 0 {
		t.Errorf("%d requests went to the host that next names", n)
	}
}

func TestAPageThatLeadsNowhereIsInvalid(t *testing.T) {
	for _, body := range []string{
		`{}`, `[]`, `{"next":null}`, `{"results":{}}`, `{"results":"none"}`, `{"results":[],"next":7}`,
		`{"results":[],"next":"https://x.example.test/?nothing=1"}`, `{"results":[],"next":"http://[::1"}`,
		`{"results":[],"next":"https://x.example.test/?cursor=same"}`, `{"results":[7]}`, `{"results":[{}]}`,
	} {
		a := openAt(t, newVendor(t, jsonAnswer(200, body)).url, nil)
		_, err := a.(adapters.ThreadLister).ListThreads(context.Background(), adapters.Page{Cursor: "cursor=same"})
		if e := normalize.AsError(err); e == nil || e.Kind != normalize.KindInvalidReply {
			t.Errorf("%s: error is %v, want %s", body, err, normalize.KindInvalidReply)
		}
	}
}

func TestACursorOfNobodysIsRefusedLocally(t *testing.T) {
	v := newVendor(t)
	_, err := openAt(t, v.url, nil).(adapters.ThreadLister).ListThreads(context.Background(), adapters.Page{Cursor: "%zz"})
	wantKind(t, err, normalize.KindInvalidRequest)
	if n := len(v.ledger()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestMessagesComeOldestFirstWhateverTheVendorsOrder(t *testing.T) {
	for _, c := range []struct{ name, times, want string }{
		{"oldest first", "m1@1 m2@2 m3@3", "m1 m2 m3"},
		{"newest first", "m3@3 m2@2 m1@1", "m1 m2 m3"},
		{"mixed", "m2@2 m1@1 m3@3", "m1 m2 m3"},
		{"same moment, oldest first", "m1@1 m2@2 m3@2 m4@3", "m1 m2 m3 m4"},
		{"same moment, newest first", "m4@3 m3@2 m2@2 m1@1", "m1 m2 m3 m4"},
		{"without times", "m1@ m2@ m3@", "m1 m2 m3"},
		{"some without a time", "m2@2 m3@ m1@1 m4@4", "m1 m2 m3 m4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var items []string
			for _, word := range strings.Fields(c.times) {
				id, at, _ := strings.Cut(word, "@")
				created := `null`
				if at != "" {
					created = `"177261932800` + at + `"`
				}
				items = append(items, fmt.Sprintf(`{"id":%q,"content":"x","createdAt":%s}`, id, created))
			}
			v := newVendor(t, jsonAnswer(200, `{"next":null,"results":[`+strings.Join(items, ",")+`]}`))
			remote := normalize.Remote{ThreadID: conversationID}
			page, err := openAt(t, v.url, nil).(adapters.MessageLister).ListMessages(context.Background(), remote, adapters.Page{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range page.Messages {
				got = append(got, m.RemoteID)
			}
			if want := strings.Fields(c.want); !slices.Equal(got, want) {
				t.Errorf("order is %v, want %v", got, want)
			}
		})
	}
}

func TestMessagesOfAnotherConversationAreNotListed(t *testing.T) {
	v := newVendor(t, jsonAnswer(200, `{"next":null,"results":[{"id":"m","conversation":"theirs","content":"a secret"}]}`))
	remote := normalize.Remote{ThreadID: "ours"}
	_, err := openAt(t, v.url, nil).(adapters.MessageLister).ListMessages(context.Background(), remote, adapters.Page{})
	wantKind(t, err, normalize.KindInvalidReply)
}

func TestAllPagesOfTheTwinAreReadOnce(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), nil)
	ctx := context.Background()
	var remote normalize.Remote
	threads := map[string]bool{}
	for i := range 5 {
		reply, err := send(t, a, turnOf(fmt.Sprint("first ", i), ""))
		if err != nil {
			t.Fatal(err)
		}
		remote = reply.Remote
		threads[remote.ThreadID] = true
	}
	for i := range 4 {
		if _, err := send(t, a, turnOf(fmt.Sprint("next ", i), remote.ThreadID)); err != nil {
			t.Fatal(err)
		}
	}
	seenMessages := map[string]bool{}
	var texts []string
	for page := (adapters.Page{Limit: 3}); ; {
		list, err := a.(adapters.MessageLister).ListMessages(ctx, remote, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Messages {
			seenMessages[m.RemoteID] = true
			if m.Role == normalize.RoleUser {
				texts = append(texts, m.Text)
			}
		}
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	if want := []string{"first 4", "next 0", "next 1", "next 2", "next 3"}; len(seenMessages) != 10 || !slices.Equal(texts, want) {
		t.Errorf("read %d messages, %q; want 10, %q", len(seenMessages), texts, want)
	}
	listed := map[string]bool{}
	for page := (adapters.Page{Limit: 2}); ; {
		list, err := a.(adapters.ThreadLister).ListThreads(ctx, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range list.Threads {
			if listed[thread.Remote.ThreadID] {
				t.Errorf("%s is listed twice", thread.Remote.ThreadID)
			}
			listed[thread.Remote.ThreadID] = true
		}
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	if len(listed) != len(threads) {
		t.Errorf("%d threads are listed, want %d", len(listed), len(threads))
	}
}

// TestPathsEndInASlash: a POST without the slash fails or is redirected at the
// vendor.
func TestPathsEndInASlash(t *testing.T) {
	v := newVendor(t, jsonAnswer(404, `{"detail":"Not found."}`))
	a := openAt(t, v.url, styleMessages)
	ctx, remote := context.Background(), normalize.Remote{ThreadID: "c/../x y"}
	everyCall(ctx, a, remote)
	everyCall(ctx, openAt(t, v.url, nil), remote)
	requests := v.ledger()
	if len(requests) < 16 {
		t.Fatalf("only %d requests were made", len(requests))
	}
	for _, r := range requests {
		if !strings.HasSuffix(r.path, "/") || strings.Contains(r.path, "..") && !strings.Contains(r.path, "c%2F..%2Fx%20y") {
			t.Errorf("%s %s: an id is not escaped, or the slash is missing", r.method, r.path)
		}
	}
}

// everyCall makes each call once; what comes of it is of no interest.
func everyCall(ctx context.Context, a adapters.Adapter, remote normalize.Remote) {
	turn := turnOf("hi", remote.ThreadID)
	query := adapters.RecordQuery{Since: march4, Until: march4}
	_, err := a.Send(ctx, turn)
	errs := []error{err}
	add := func(err error) { errs = append(errs, err) }
	_, err = a.(adapters.OperatorSender).SendAsOperator(ctx, turn)
	add(err)
	if c, ok := a.(adapters.ThreadCreator); ok {
		_, err = c.CreateThread(ctx, normalize.Thread{})
		add(err)
	}
	_, err = a.(adapters.ThreadReader).ReadThread(ctx, remote)
	add(err)
	_, err = a.(adapters.ThreadLister).ListThreads(ctx, adapters.Page{})
	add(err)
	_, err = a.(adapters.MessageLister).ListMessages(ctx, remote, adapters.Page{})
	add(err)
	_, err = a.(adapters.MessageReader).ReadMessage(ctx, remote, "m")
	add(err)
	add(a.(adapters.ModeSwitcher).SwitchMode(ctx, remote, normalize.ModeHuman))
	_, err = a.(adapters.Uploader).Upload(ctx, adapters.File{Name: "a.txt", Content: strings.NewReader("x")})
	add(err)
	_, err = a.(adapters.RecordLister).ListRecords(ctx, query, adapters.Page{})
	add(err)
	_, err = a.(adapters.RecordExporter).ExportRecords(ctx, query)
	add(err)
	_ = errors.Join(errs...)
}

func TestQueryOfTheFirstPageIsTheCallersLimit(t *testing.T) {
	query, err := pageQuery(adapters.Page{Limit: 7})
	if err != nil || query.Encode() != (url.Values{"pageSize": {"7"}}).Encode() {
		t.Errorf("query is %v (%v)", query, err)
	}
}
