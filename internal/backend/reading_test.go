package backend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// lister lists as it is told to.
type lister struct {
	fake
	list func(context.Context) error
}

func (l lister) ListThreads(ctx context.Context, _ adapters.Page) (adapters.ThreadPage, error) {
	dirty := "a\x00"
	return adapters.ThreadPage{Threads: []adapters.RemoteThread{{
		Remote: normalize.Remote{ThreadID: dirty}, Update: normalize.ThreadUpdate{Title: &dirty}, Messages: []normalize.Message{{Text: dirty}},
	}}}, l.list(ctx)
}

func (l lister) ListMessages(ctx context.Context, _ normalize.Remote, _ adapters.Page) (adapters.MessagePage, error) {
	return adapters.MessagePage{Messages: []normalize.Message{{Text: "a\x00"}}}, l.list(ctx)
}

func (l lister) ListRecords(ctx context.Context, _ adapters.RecordQuery, _ adapters.Page) (adapters.RecordPage, error) {
	return adapters.RecordPage{Records: []adapters.Record{{Question: "a\x00", Raw: []byte("\"\xff\"")}}}, l.list(ctx)
}

func TestWhatIsReadOfAHistoryIsCleaned(t *testing.T) {
	b, _ := open(lister{ends(nil), func(context.Context) error { return nil }})
	threads, able, failure := b.ListThreads(t.Context(), adapters.Page{})
	const clean = "a\uFFFD"
	if got := threads.Threads[0]; !able || failure != nil || got.Remote.ThreadID != clean || *got.Update.Title != clean || got.Messages[0].Text != clean {
		t.Errorf("%+v, %v, %v", got, able, failure)
	}
	if messages, able, failure := b.ReadMessages(t.Context(), normalize.Remote{}, adapters.Page{}); !able || failure != nil || messages.Messages[0].Text != clean {
		t.Errorf("%+v, %v, %v", messages, able, failure)
	}
	records, able, failure := b.ListRecords(t.Context(), adapters.RecordQuery{}, adapters.Page{})
	if got := records.Records[0]; !able || failure != nil || got.Question != clean || string(got.Raw) != "\"\uFFFD\"" {
		t.Errorf("%+v, %v, %v", got, able, failure)
	}
}

func TestAVendorThatCannotListIsNotCalled(t *testing.T) {
	b, _ := open(ends(nil))
	if _, able, failure := b.ListThreads(t.Context(), adapters.Page{}); able || failure != nil {
		t.Errorf("threads: %v, %v", able, failure)
	}
	if _, able, failure := b.ReadMessages(t.Context(), normalize.Remote{}, adapters.Page{}); able || failure != nil {
		t.Errorf("messages: %v, %v", able, failure)
	}
	if _, able, failure := b.ListRecords(t.Context(), adapters.RecordQuery{}, adapters.Page{}); able || failure != nil {
		t.Errorf("records: %v, %v", able, failure)
	}
}

func TestReadingAHistoryKeepsTheVendorsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b, _ := open(lister{ends(nil), func(context.Context) error {
			calls++
			return &normalize.Error{Kind: normalize.KindRateLimited, Phase: normalize.PhaseStatus, VendorStatus: 429, RetryAfter: 7 * time.Second}
		}})
		for range 3 {
			if _, _, failure := b.ListThreads(t.Context(), adapters.Page{}); failure == nil || failure.RetryAfter != 7*time.Second {
				t.Errorf("failure %+v", failure)
			}
		}
		if calls != 1 {
			t.Errorf("%d calls during the pause", calls)
		}
		time.Sleep(7 * time.Second)
		_, _, _ = b.ListThreads(t.Context(), adapters.Page{})
		if calls != 2 {
			t.Errorf("%d calls after it", calls)
		}
	})
}

func TestReadingAHistoryTakesAPlaceAndHasABreakerOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		b, _ := open(lister{ends(nil), func(context.Context) error { <-hold; return nil }})
		for range cap(b.slots) {
			go func() { _, _, _ = b.ListThreads(t.Context(), adapters.Page{}) }()
		}
		synctest.Wait()
		if _, _, failure := b.ListThreads(t.Context(), adapters.Page{}); failure == nil || failure.Kind != normalize.KindBackendBusy {
			t.Errorf("failure %+v", failure)
		}
		close(hold)
		synctest.Wait()

		broken, _ := open(lister{ends(nil), func(context.Context) error { return &normalize.Error{Kind: normalize.KindVendorFault} }})
		for range 5 {
			_, _, _ = broken.ListThreads(t.Context(), adapters.Page{})
		}
		if _, _, failure := broken.ListThreads(t.Context(), adapters.Page{}); failure == nil || failure.Kind != normalize.KindBreakerOpen {
			t.Errorf("failure %+v", failure)
		}
		if failure := broken.try(t); failure != nil {
			t.Errorf("a broken list holds up sends: %v", failure)
		}
	})
}
