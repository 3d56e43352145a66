package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"chatmux/internal/store"
)

// How much is read at once. A stretch ends at either bound; of threads with large
// vendors' objects a page may be some megabytes.
const (
	pageThreads     = 50
	stretchMessages = 500
	stretchBytes    = 2 << 20
)

// steadyTries is how often a thread is read anew that changes while it is read.
const steadyTries = 5

// Export writes what the filter selects, tenant by tenant, each tenant's threads in the
// order of their ids, and tells how much it was. Nothing is written before the first
// reading has gone well. On an error the file is not whole and cannot pass for one.
//
// Others may write meanwhile. A thread that is there from the beginning of the export to
// its end is in it once; one that is made or erased meanwhile may be or not. Each thread is
// as it was at one moment, as long as its transcript fits one stretch (500 messages, 2
// MiB) and some moment leaves the time to read it; of longer ones the list of messages is
// that of one moment, but a message in it may be as it was later.
//
// Progress, where it is not nil, is called after every thread.
func Export(ctx context.Context, from Source, f Filter, format Format, w io.Writer, progress func(Counts)) (Counts, error) {
	buffered := bufio.NewWriterSize(w, 64<<10)
	out, err := newSink(format, buffered)
	if err != nil {
		return Counts{}, err
	}
	e := &export{from: from, filter: f, sink: out, progress: progress}
	if err := e.run(ctx); err != nil {
		return e.counts, err
	}
	return e.counts, buffered.Flush()
}

// export is one export at work. It is one thread behind its reading, because a thread's
// record says whether another follows.
type export struct {
	from     Source
	filter   Filter
	sink     sink
	progress func(Counts)

	begun  bool
	held   *loaded
	counts Counts
}

// loaded is a thread with the first stretch of its transcript.
type loaded struct {
	store.StoredThread
	to    int // position of the last message that belongs to it
	first store.Stretched
}

func (e *export) run(ctx context.Context) error {
	if e.filter.Tenant != "" {
		if err := e.tenant(ctx, e.filter.Tenant); err != nil {
			return err
		}
		return e.finish(ctx)
	}
	for tenant := ""; ; {
		next, found, err := e.from.NextTenant(ctx, tenant)
		if err != nil {
			return err
		}
		if !found {
			return e.finish(ctx)
		}
		if err := e.tenant(ctx, next); err != nil {
			return err
		}
		tenant = next
	}
}

func (e *export) finish(ctx context.Context) error {
	if err := e.write(ctx, nil); err != nil {
		return err
	}
	return e.sink.end()
}

func (e *export) tenant(ctx context.Context, tenant string) error {
	filter := store.ThreadFilter{Tenant: tenant, Backend: e.filter.Backend, User: e.filter.User}
	for r := (store.Range{Limit: pageThreads, Ascending: true, Raw: true, ByID: true}); ; {
		page, more, err := e.from.Threads(ctx, filter, r)
		if err != nil {
			return err
		}
		for _, t := range page {
			l, err := e.load(ctx, t)
			if err != nil {
				return err
			}
			if l == nil {
				continue
			}
			if err := e.write(ctx, l); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		r.After.ID = page[len(page)-1].ID
	}
}

// load reads a thread's first stretch, of the same moment as the thread. Nil: the thread
// does not belong into this archive, or is gone.
func (e *export) load(ctx context.Context, t store.StoredThread) (*loaded, error) {
	for try := 1; ; try++ {
		l := &loaded{StoredThread: t, to: t.MessageCount}
		if t.MessageCount == 0 {
			if !e.filter.within(t.CreatedAt) {
				return nil, nil
			}
			return l, nil
		}
		var err error
		if l.first, err = e.from.Transcript(ctx, t.Tenant, t.ID, e.stretch(0, l.to)); err != nil {
			return nil, err
		}
		switch {
		case len(l.first.Messages) == 0: // nothing of it was said in the period, or it is gone
			return nil, nil
		case l.first.Version == t.Version, try == steadyTries:
			return l, e.count(ctx, l)
		}
		t, err = e.from.Thread(ctx, t.Tenant, t.ID, true)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (e *export) stretch(after, to int) store.Stretch {
	return store.Stretch{
		After: int64(after), To: int64(to), Since: e.filter.Since, Until: e.filter.Until, Limit: stretchMessages, Bytes: stretchBytes,
	}
}

// count finds out how many messages of a thread fall into the period; the store knows
// it of a thread as a whole.
func (e *export) count(ctx context.Context, l *loaded) error {
	if e.filter.Since.IsZero() && e.filter.Until.IsZero() {
		return nil
	}
	l.MessageCount = 0
	return e.rest(ctx, l, func(part []store.StoredMessage) error {
		l.MessageCount += len(part)
		return nil
	})
}

// rest goes through the stretches of a thread, the first included.
func (e *export) rest(ctx context.Context, l *loaded, each func([]store.StoredMessage) error) error {
	for part := l.first; ; {
		if err := each(part.Messages); err != nil || !part.More {
			return err
		}
		var err error
		after := part.Messages[len(part.Messages)-1].Seq
		if part, err = e.from.Transcript(ctx, l.Tenant, l.ID, e.stretch(int(after), l.to)); err != nil {
			return err
		}
	}
}

// write writes the thread that was held back and holds this one.
func (e *export) write(ctx context.Context, next *loaded) error {
	if !e.begun {
		e.begun = true
		if err := e.sink.begin(e.filter, next != nil); err != nil {
			return err
		}
	}
	l := e.held
	e.held = next
	if l == nil {
		return nil
	}
	if err := e.sink.thread(&l.StoredThread, next != nil); err != nil {
		return err
	}
	written := 0
	err := e.rest(ctx, l, func(part []store.StoredMessage) error {
		for i := range part {
			if err := e.sink.message(&l.StoredThread, &part[i].Message); err != nil {
				return err
			}
		}
		written += len(part)
		return nil
	})
	if err != nil {
		return err
	}
	if written != l.MessageCount {
		return fmt.Errorf("thread %s was erased while it was exported: export again", l.ID)
	}
	e.counts.Threads++
	e.counts.Messages += written
	if e.progress != nil {
		e.progress(e.counts)
	}
	return nil
}
