package backend

import (
	"context"

	"chatmux/adapters"
	"chatmux/normalize"
)

// What is read of a vendor's history. Each method reports false where the vendor cannot
// do that: then nothing was called. All respect the pauses that the vendor asks
// for, take a place among the requests in flight, and have a breaker of their own
// beside that of the sends. What they give is cleaned.

// ListThreads reads one page of the bot's conversations.
func (b *Backend) ListThreads(ctx context.Context, page adapters.Page) (got adapters.ThreadPage, able bool, failure *normalize.Error) {
	lister, ok := adapters.As[adapters.ThreadLister](b.adapter)
	if !ok {
		return got, false, nil
	}
	failure = b.reading(ctx, "list_threads", func(ctx context.Context) (err error) {
		got, err = lister.ListThreads(ctx, page)
		return err
	})
	for i := range got.Threads {
		t := &got.Threads[i]
		clean(&t.Remote.ThreadID, &t.Remote.UserID)
		cleanUpdate(&t.Update)
		for j := range t.Messages {
			cleanMessage(&t.Messages[j])
		}
	}
	return got, true, failure
}

// ReadMessages reads one page of a conversation's messages.
func (b *Backend) ReadMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (got adapters.MessagePage, able bool, failure *normalize.Error) {
	lister, ok := adapters.As[adapters.MessageLister](b.adapter)
	if !ok {
		return got, false, nil
	}
	failure = b.reading(ctx, "list_messages", func(ctx context.Context) (err error) {
		got, err = lister.ListMessages(ctx, remote, page)
		return err
	})
	for i := range got.Messages {
		cleanMessage(&got.Messages[i])
	}
	return got, true, failure
}

// ListRecords reads one page of the vendor's own record of questions and answers.
func (b *Backend) ListRecords(ctx context.Context, query adapters.RecordQuery, page adapters.Page) (got adapters.RecordPage, able bool, failure *normalize.Error) {
	lister, ok := adapters.As[adapters.RecordLister](b.adapter)
	if !ok {
		return got, false, nil
	}
	failure = b.reading(ctx, "list_records", func(ctx context.Context) (err error) {
		got, err = lister.ListRecords(ctx, query, page)
		return err
	})
	for i := range got.Records {
		r := &got.Records[i]
		clean(&r.RemoteID, &r.Question, &r.Answer, &r.Error)
		r.Raw = normalize.CleanBytes(r.Raw)
	}
	return got, true, failure
}

// reading makes one call that only reads.
func (b *Backend) reading(ctx context.Context, what string, call func(context.Context) error) *normalize.Error {
	if refusal := b.coolingDown(); refusal != nil {
		return refusal
	}
	t, refusal := b.lists.allow()
	if refusal != nil {
		return b.named(refusal)
	}
	defer t.release()
	if refusal := b.takeSlot(ctx); refusal != nil {
		return b.named(refusal)
	}
	defer func() { <-b.slots }()
	return b.run(ctx, what, t.report, call)
}
