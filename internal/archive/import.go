package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// Report is what an import found and did; of a dry run, what it would have done. Every
// thread of the file is in one of the counts beside InFile.
type Report struct {
	InFile    Counts `json:"in_file"`
	Imported  Counts `json:"imported"`  // new here
	Completed Counts `json:"completed"` // threads that an earlier import had left unfinished, and the messages that were missing
	Unchanged int    `json:"unchanged"` // threads that are here already, as in the file or as they went on since
	Mapped    int    `json:"mapped"`    // of the threads imported, those that got new ids
	Pending   int    `json:"pending"`   // messages in the file that were being sent when they were exported: they are unknown here
}

// Mapping is a thread whose ids were taken by something else: it has new ones here.
type Mapping struct {
	Tenant string `json:"tenant"`
	From   string `json:"from"` // the thread's id in the file
	To     string `json:"to"`   // its id here
	Reason string `json:"reason"`
}

// Options say how to import.
type Options struct {
	DryRun   bool
	Mapped   func(Mapping)           // called for every thread that gets new ids; nil is fine
	Progress func(done, total int64) // bytes of work, the file twice; nil is fine
}

// batchMessages and batchThreads bound how much of small threads shares a commit.
const (
	batchMessages = 500
	batchThreads  = 64
)

// Import reads an archive of JSONL into a store. First the whole file is read and
// checked: where a line cannot be read, or something is missing, that is a *LineError and
// nothing was imported.
//
// Ids and times are kept. A thread that is here already, as in the file or gone on since,
// is left alone; one whose ids are taken by something else gets new ids, which follow from
// the old ones and from what was said: the same file imported again changes nothing. An
// import that was interrupted is completed by the next one.
//
// The report tells how far it came where there is an error too.
func Import(ctx context.Context, to Target, file io.ReadSeeker, o Options) (Report, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return Report{}, err
	}
	im := &importing{to: to, options: o, total: 2 * size}
	if err := im.pass(ctx, file, 0, im.check); err != nil {
		return Report{}, err
	}
	err = im.pass(ctx, file, size, im.thread)
	if err == nil {
		err = im.flush(ctx)
	}
	return im.report, err
}

// importing is one import at work.
type importing struct {
	to      Target
	options Options
	total   int64
	report  Report

	batch    []store.Arrival
	messages int             // in the batch
	bytes    int             // in the batch
	ids      map[string]bool // in the batch
}

// pass reads the whole file once.
func (im *importing) pass(ctx context.Context, file io.ReadSeeker, done int64, each func(context.Context, *section) error) error {
	r := newReader(file)
	if err := r.seek(place{}); err != nil {
		return err
	}
	for {
		s, err := r.thread()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := each(ctx, s); err != nil {
			return err
		}
		if im.options.Progress != nil {
			im.options.Progress(done+r.at.offset, im.total)
		}
	}
}

func (im *importing) check(_ context.Context, s *section) error {
	n, err := s.check()
	im.report.InFile.Threads++
	im.report.InFile.Messages += n
	im.report.Pending = s.reader.pending
	return err
}

// thread imports one thread.
func (im *importing) thread(ctx context.Context, s *section) error {
	if im.inBatch(s.ID, s.first) { // the file has an id twice
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	v, err := im.compare(ctx, s, &renamed{})
	if err != nil {
		return err
	}
	if v.verdict != collides {
		return im.take(ctx, s, &renamed{}, v)
	}
	names, err := rename(s)
	if err != nil {
		return err
	}
	why := v.why
	if v, err = im.compare(ctx, s, names); err != nil {
		return err
	}
	if v.verdict == collides { // somebody went on with the copy, in ways of their own
		v.verdict = known
	}
	if v.verdict == fresh {
		im.report.Mapped++
		if im.options.Mapped != nil {
			im.options.Mapped(Mapping{Tenant: s.Tenant, From: s.ID, To: names.id(s.ID), Reason: why})
		}
	}
	return im.take(ctx, s, names, v)
}

// verdict is what the store has of a thread.
type verdict int

const (
	fresh      verdict = iota // nothing
	known                     // all of it
	unfinished                // the beginning: an import was interrupted
	collides                  // something else under its ids
)

// comparison is a verdict with what goes with it.
type comparison struct {
	verdict verdict
	has     int    // messages that the store has of an unfinished thread
	why     string // of a collision
}

// compare finds out what the store has of a section.
func (im *importing) compare(ctx context.Context, s *section, names *renamed) (comparison, error) {
	want := names.thread(s)
	stored, err := im.to.Thread(ctx, s.Tenant, want.ID, true)
	if errors.Is(err, store.ErrNotFound) {
		return im.compareIDs(ctx, s, names)
	}
	if err != nil {
		return comparison{}, err
	}
	// Of a thread that went on since, only what never changes is compared.
	sameHead := bytes.Equal(headOf(want), headOf(stored))
	exact, past, n := true, true, 0
	err = s.each(func(part []normalize.Message) error {
		for len(part) > 0 && past {
			here, err := im.to.Transcript(ctx, s.Tenant, want.ID, store.Stretch{
				After: int64(n), To: int64(n + len(part)), Limit: len(part), Bytes: stretchBytes,
			})
			if err != nil {
				return err
			}
			if len(here.Messages) == 0 {
				break
			}
			for i := range here.Messages {
				a, b := names.message(part[i]), here.Messages[i].Message
				exact = exact && bytes.Equal(appendMessage(nil, &a), appendMessage(nil, &b))
				past = past && a.ID == b.ID && a.Role == b.Role && a.Text == b.Text && a.CreatedAt.Equal(b.CreatedAt)
			}
			n += len(here.Messages)
			part = part[len(here.Messages):]
		}
		if len(part) > 0 {
			exact = exact && n == stored.MessageCount
			past = false
		}
		return nil
	})
	switch {
	case err != nil:
		return comparison{}, err
	case past && sameHead, past && stored.UpdatedAt.After(want.UpdatedAt):
		return comparison{verdict: known}, nil
	case exact && sameHead:
		return comparison{verdict: unfinished, has: stored.MessageCount}, nil
	}
	return comparison{verdict: collides, why: "a thread with this id is here, and is another one"}, nil
}

// compareIDs looks whether the ids of a thread that this tenant does not have are free.
func (im *importing) compareIDs(ctx context.Context, s *section, names *renamed) (comparison, error) {
	taken := false
	err := s.each(func(part []normalize.Message) error {
		if taken {
			return nil
		}
		var err error
		taken, err = im.to.Taken(ctx, names.id(s.ID), convert(part, func(m normalize.Message) string { return names.id(m.ID) }))
		return err
	})
	switch {
	case err != nil:
		return comparison{}, err
	case taken:
		return comparison{verdict: collides, why: "its id, or one of its messages' ids, belongs to another thread or tenant here"}, nil
	}
	return comparison{verdict: fresh}, nil
}

// headOf is what there is to compare of a thread beside its messages.
func headOf(t store.StoredThread) []byte {
	b := appendThread(nil, &t, nil, nil)
	for _, binding := range t.Bindings {
		b = appendBinding(b, t.ID, binding)
	}
	return b
}

// take does what follows from a verdict.
func (im *importing) take(ctx context.Context, s *section, names *renamed, v comparison) error {
	switch {
	case v.verdict == known:
		im.report.Unchanged++
		return nil
	case v.verdict == unfinished:
		im.report.Completed.Threads++
		return im.write(ctx, s, names, v.has, &im.report.Completed)
	}
	im.report.Imported.Threads++
	if !s.whole {
		return im.write(ctx, s, names, -1, &im.report.Imported)
	}
	if len(im.batch) > 0 && (len(im.batch) == batchThreads || im.messages+len(s.first) > batchMessages || im.bytes > stretchBytes) {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	a := store.Arrival{Thread: names.thread(s), Messages: convert(s.first, names.message)}
	if im.ids == nil {
		im.ids = make(map[string]bool)
	}
	im.ids[a.Thread.ID] = true
	for i := range a.Messages {
		im.ids[a.Messages[i].ID] = true
		im.bytes += len(a.Messages[i].Text) + len(a.Messages[i].Raw)
	}
	im.batch = append(im.batch, a)
	im.messages += len(a.Messages)
	im.report.Imported.Messages += len(a.Messages)
	return nil
}

func (im *importing) inBatch(id string, messages []normalize.Message) bool {
	taken := im.ids[id]
	for i := range messages {
		taken = taken || im.ids[messages[i].ID]
	}
	return taken
}

// flush stores the batch.
func (im *importing) flush(ctx context.Context) error {
	batch := im.batch
	im.batch, im.messages, im.bytes = nil, 0, 0
	clear(im.ids)
	if len(batch) == 0 || im.options.DryRun {
		return nil
	}
	return stored(im.to.Import(ctx, batch))
}

// stored explains why a thread could not be stored.
func stored(err error) error {
	switch {
	case errors.Is(err, store.ErrChanged), errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("somebody else changed what is being imported; import the file again: %w", err)
	}
	return err
}

// write stores a thread stretch by stretch, after the messages that the store has of it;
// with fewer than none the thread itself is new.
func (im *importing) write(ctx context.Context, s *section, names *renamed, has int, count *Counts) error {
	if err := im.flush(ctx); err != nil {
		return err
	}
	seen := 0
	return s.each(func(part []normalize.Message) error {
		from := min(max(has-seen, 0), len(part))
		seen += len(part)
		missing := convert(part[from:], names.message)
		count.Messages += len(missing)
		switch {
		case im.options.DryRun, len(missing) == 0 && has >= 0:
			return nil
		case has < 0:
			has = len(missing)
			return stored(im.to.Import(ctx, []store.Arrival{{Thread: names.thread(s), Messages: missing}}))
		}
		before := has
		has += len(missing)
		return stored(im.to.ImportMessages(ctx, s.Tenant, names.id(s.ID), before, missing))
	})
}

// renamed gives new ids to a thread and its messages; without a seed they keep theirs.
type renamed struct{ seed []byte }

// rename makes the new ids of a thread follow from its tenant, its ids and all that was
// said in it.
func rename(s *section) (*renamed, error) {
	sum := sha256.New()
	sum.Write(headOf(s.StoredThread))
	err := s.each(func(part []normalize.Message) error {
		for i := range part {
			sum.Write(appendMessage(nil, &part[i]))
		}
		return nil
	})
	return &renamed{seed: sum.Sum(nil)}, err
}

// id gives the new id for an old one: of the same kind, and of the same moment, which is
// the first 48 bits.
func (n *renamed) id(old string) string {
	if n.seed == nil {
		return old
	}
	for _, prefix := range []string{normalize.PrefixThread, normalize.PrefixMessage} {
		bits, err := normalize.ParseID(prefix, old)
		if err != nil {
			continue
		}
		sum := sha256.Sum256(append([]byte(old), n.seed...))
		copy(bits[6:], sum[:])
		return ours(prefix, bits)
	}
	return old
}

// ours makes an id of bits that are no clock's and no chance's: a UUIDv8 (RFC 9562, 5.8).
func ours(prefix string, bits [16]byte) string {
	bits[6], bits[8] = bits[6]&0x0f|0x80, bits[8]&0x3f|0x80
	return normalize.FormatID(prefix, bits)
}

func (n *renamed) thread(s *section) store.StoredThread {
	t := s.StoredThread
	t.ID = n.id(t.ID)
	return t
}

func (n *renamed) message(m normalize.Message) normalize.Message {
	m.ID, m.ThreadID, m.InReplyTo = n.id(m.ID), n.id(m.ThreadID), n.id(m.InReplyTo)
	return m
}
