package normalize_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatmux/normalize"
)

func TestApplyWritesWhatTheVendorTold(t *testing.T) {
	title := "Vendor's title"
	channel := normalize.Channel{ID: "c2", Type: "web"}
	told := normalize.ThreadUpdate{
		Mode: normalize.ModeHuman, Status: normalize.ThreadEnded, Title: &title,
		Tags: []normalize.Tag{{Name: "new"}}, Assignees: []normalize.Assignee{{Name: "Al"}}, Channel: &channel, Escalated: &yes,
		User: &normalize.User{ID: "vendor-id", Name: "Vendor's name", Email: "v@x", Phone: "+1", Info: "vip"}, Raw: json.RawMessage(`{}`),
	}
	empty := normalize.Thread{ID: "thr_1", User: normalize.User{ID: "u1"}}
	told.Apply(&empty)
	want := normalize.Thread{
		ID: "thr_1", Mode: normalize.ModeHuman, Status: normalize.ThreadEnded, Title: title,
		Tags: []normalize.Tag{{Name: "new"}}, Assignees: []normalize.Assignee{{Name: "Al"}}, Channel: channel, Escalated: &yes,
		User: normalize.User{ID: "u1", Name: "Vendor's name", Email: "v@x", Phone: "+1", Info: "vip"}, Raw: json.RawMessage(`{}`),
	}
	if diff := cmp.Diff(want, empty); diff != "" {
		t.Errorf("a thread that knew nothing (-want +got):\n%s", diff)
	}

	chosen := fullThread()
	told.Apply(&chosen)
	want = fullThread()
	want.Mode, want.Status, want.Tags, want.Assignees = told.Mode, told.Status, told.Tags, told.Assignees
	want.Channel, want.Escalated, want.Raw = channel, &yes, told.Raw
	if diff := cmp.Diff(want, chosen); diff != "" {
		t.Errorf("a thread of which the caller chose title and user (-want +got):\n%s", diff)
	}
}

func TestApplyLeavesWhatWasNotTold(t *testing.T) {
	got := fullThread()
	normalize.ThreadUpdate{}.Apply(&got)
	normalize.ThreadUpdate{User: &normalize.User{}}.Apply(&got)
	if diff := cmp.Diff(fullThread(), got); diff != "" {
		t.Errorf("nothing was told (-want +got):\n%s", diff)
	}
}

func TestApplyTakesAnEmptyListForTold(t *testing.T) {
	got := fullThread()
	normalize.ThreadUpdate{Tags: []normalize.Tag{}, Assignees: []normalize.Assignee{}}.Apply(&got)
	if len(got.Tags) != 0 || len(got.Assignees) != 0 {
		t.Errorf("told to have none, and has %v and %v", got.Tags, got.Assignees)
	}
}

func TestBindingIsTheOneThatHoldsNow(t *testing.T) {
	first := normalize.Binding{Backend: "a", Since: time.Unix(1, 0), Until: time.Unix(2, 0)}
	second := normalize.Binding{Backend: "b", Since: time.Unix(2, 0)}
	for _, tt := range []struct {
		bindings []normalize.Binding
		want     string
	}{{nil, ""}, {[]normalize.Binding{first}, ""}, {[]normalize.Binding{second}, "b"}, {[]normalize.Binding{first, second}, "b"}} {
		thread := normalize.Thread{Bindings: tt.bindings}
		if got, ok := thread.Binding(); got.Backend != tt.want || ok != (tt.want != "") {
			t.Errorf("of %v the binding %q holds, %v; want %q", tt.bindings, got.Backend, ok, tt.want)
		}
	}
}
