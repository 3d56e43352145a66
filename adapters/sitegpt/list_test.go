package sitegpt

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The documents do not say whether v0 pages its list: each thread comes once
// either way.
func TestThreadsOfV0ComeOnceWhetherOrNotTheVendorPages(t *testing.T) {
	paged := func(total int) func(page, limit int) (from, to int) {
		return func(page, limit int) (int, int) {
			from := min((page-1)*limit, total)
			return from, min(from+limit, total)
		}
	}
	unpaged := func(total int) func(page, limit int) (from, to int) {
		return func(int, int) (int, int) { return 0, total }
	}
	for _, test := range []struct {
		name     string
		limit    int
		total    int
		serve    func(page, limit int) (from, to int)
		requests []string
	}{
		{"empty", 2, 0, paged(0), []string{"limit=2&page=1"}},
		{"short page", 2, 3, paged(3), []string{"limit=2&page=1", "limit=2&page=2"}},
		{"empty last page", 2, 4, paged(4), []string{"limit=2&page=1", "limit=2&page=2", "limit=2&page=3"}},
		{"not paged, more than a page", 2, 5, unpaged(5), []string{"limit=2&page=1"}},
		{"not paged, exactly a page", 2, 2, unpaged(2), []string{"limit=2&page=1", "limit=2&page=2"}},
		{"not paged, less than a page", 2, 1, unpaged(1), []string{"limit=2&page=1"}},
		{"vendor's own limit", 0, 21, paged(21), []string{"limit=20&page=1", "limit=20&page=2"}},
		{"more than the vendor gives", 1000, 101, paged(101), []string{"limit=100&page=1", "limit=100&page=2"}},
	} {
		var requests []string
		adapter := openAt(t, versionV0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests = append(requests, r.URL.RawQuery)
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
			from, to := test.serve(page, limit)
			var items []string
			for i := from; i < to; i++ {
				items = append(items, fmt.Sprintf(`{"threadId":"t-%d"}`, i))
			}
			fmt.Fprintf(w, `{"success":true,"data":{"threads":[%s]}}`, strings.Join(items, ","))
		}))
		got := allThreads(t, adapter, test.limit)
		if diff := cmp.Diff(numbered(test.total), got); diff != "" {
			t.Errorf("%s: threads (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.requests, requests); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCursorThatWasNeverGivenIsRefused(t *testing.T) {
	for _, cursor := range []string{"x", "1:t-1", "0:", "-3:t", ":", "2.5:t"} {
		vendor := &stub{}
		_, err := vendor.open(t, versionV0).(adapters.ThreadLister).ListThreads(t.Context(), adapters.Page{Cursor: cursor})
		wantKind(t, cursor, err, normalize.KindInvalidRequest)
		if len(vendor.requests) != 0 {
			t.Errorf("%q went to the vendor", cursor)
		}
	}
}

func TestListsOfV2FollowTheCursorWhileThereIsAPage(t *testing.T) {
	pages := map[string]string{
		"":                     `[{"threadId":"t-0"},{"threadId":"t-1"}],"pagination":{"limit":2,"hasNextPage":true,"nextCursor":"c&1"}`,
		"c&1":                  `[{"threadId":"t-2"}],"pagination":{"limit":2,"hasNextPage":true,"nextCursor":12345678901234567890}`,
		"12345678901234567890": `[],"pagination":{"limit":2,"hasNextPage":true,"nextCursor":"c2"}`,
		"c2":                   `[{"threadId":"t-3"}],"pagination":{"limit":2,"hasNextPage":false,"nextCursor":"c3"}`,
	}
	adapter := openAt(t, versionV2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limit := r.URL.Query().Get("limit"); limit != "2" {
			t.Errorf("limit: %s", limit)
		}
		page, ok := pages[r.URL.Query().Get("cursor")]
		if !ok {
			t.Errorf("nobody gave the cursor in %s", r.URL.RawQuery)
		}
		fmt.Fprintf(w, `{"ok":true,"data":{"conversations":%s}}`, page)
	}))
	if diff := cmp.Diff(numbered(4), allThreads(t, adapter, 2)); diff != "" {
		t.Error(diff)
	}
}

func TestCursorThatLeadsBackEndsTheList(t *testing.T) {
	vendor := &stub{answer: `{"ok":true,"data":{"messages":[],"pagination":{"hasNextPage":true,"nextCursor":"c"}}}`}
	lister := vendor.open(t, versionV2).(adapters.MessageLister)
	page, err := lister.ListMessages(t.Context(), normalize.Remote{ThreadID: "t"}, adapters.Page{Cursor: "c"})
	if err != nil || page.NextCursor != "" {
		t.Errorf("got %q, %v", page.NextCursor, err)
	}
}

func allThreads(t *testing.T, adapter adapters.Adapter, limit int) []string {
	t.Helper()
	got, cursor := []string{}, ""
	for range 20 {
		page, err := adapter.(adapters.ThreadLister).ListThreads(t.Context(), adapters.Page{Cursor: cursor, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range page.Threads {
			got = append(got, thread.Remote.ThreadID)
		}
		if cursor = page.NextCursor; cursor == "" {
			return got
		}
	}
	t.Fatal("the list does not end")
	return nil
}

func numbered(n int) []string {
	list := []string{}
	for i := range n {
		list = append(list, fmt.Sprintf("t-%d", i))
	}
	return list
}

// The id of a thread is ours, so a create whose answer is lost is looked after, with
// one read; it is never repeated.
func TestLostCreateIsLookedAfterAndNeverRepeated(t *testing.T) {
	const id = "order-help-17"
	stored := func(w http.ResponseWriter) {
		fmt.Fprintf(w, `{"success":true,"data":{"thread":{"threadId":%q,"mode":"AI"}}}`, id)
	}
	missing := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"success":false,"error":{"code":"THREAD_NOT_FOUND","message":"No such thread"}}`)
	}
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	fail := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	for _, test := range []struct {
		name   string
		create http.HandlerFunc
		read   func(http.ResponseWriter)
		want   normalize.Kind // of the error; 0 for success
		calls  string
	}{
		{"disconnected, but created", reset, stored, 0, "POST GET"},
		{"disconnected and not created", reset, missing, normalize.KindDisconnected, "POST GET"},
		{"no answer, but created", hang, stored, 0, "POST GET"},
		{"no answer and not created", hang, missing, normalize.KindTimeout, "POST GET"},
		{"failed", fail, stored, normalize.KindVendorFault, "POST"},
	} {
		calls := make(chan string, 10)
		vendor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls <- r.Method
			if r.Method == http.MethodPost {
				test.create(w, r)
				return
			}
			if !strings.HasSuffix(r.URL.Path, "/threads/"+id) {
				t.Errorf("%s: read %s", test.name, r.URL.Path)
			}
			test.read(w)
		})
		adapter := openWith(t, versionV0, vendor, adapters.Env{FirstByte: 200 * time.Millisecond})
		thread, err := adapter.(adapters.ThreadCreator).CreateThread(t.Context(), normalize.Thread{ID: id})
		if test.want != 0 {
			wantKind(t, test.name, err, test.want)
		} else if err != nil || thread.Remote.ThreadID != id || thread.Update.Mode != normalize.ModeAI {
			t.Errorf("%s: got %+v, %v", test.name, thread, err)
		}
		if got := received(calls); got != test.calls {
			t.Errorf("%s: the vendor got %s, want %s", test.name, got, test.calls)
		}
	}
}

// received lists the calls that a vendor has got so far.
func received(calls chan string) string {
	var list []string
	for range len(calls) {
		list = append(list, <-calls)
	}
	return strings.Join(list, " ")
}

// hang answers nothing until the client has left. A server notices that only once
// it has read the body.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// When the caller has left, or the time is over, nobody looks after anything.
func TestCreateThatWasGivenUpIsNotLookedAfter(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	calls := make(chan string, 10)
	vendor := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls <- r.Method
		cancel(&normalize.Error{Kind: normalize.KindTimeout})
		hang(nil, r)
	})
	_, err := openAt(t, versionV0, vendor).(adapters.ThreadCreator).CreateThread(ctx, normalize.Thread{ID: "order-help-17"})
	wantKind(t, "total timeout", err, normalize.KindTimeout)
	if got := received(calls); got != "POST" {
		t.Errorf("the vendor got %s", got)
	}
}

func TestCreatedThreadHasTheIDThatTheVendorGaveIt(t *testing.T) {
	for answer, want := range map[string]string{
		`{"success":true,"data":{"thread":{"threadId":"theirs"}}}`: "theirs",
		`{"success":true,"data":{"thread":{"mode":"AI"}}}`:         "ours",
	} {
		vendor := &stub{answer: answer}
		thread, err := vendor.open(t, versionV0).(adapters.ThreadCreator).CreateThread(t.Context(), normalize.Thread{ID: "ours"})
		if err != nil || thread.Remote.ThreadID != want {
			t.Errorf("%s: got %q, %v", answer, thread.Remote.ThreadID, err)
		}
	}
}
