package store

import (
	"context"
	"errors"
	"math"
	"time"

	"chatmux/normalize"
)

// NextTenant gives the first tenant after another, in the order of their bytes, that
// has threads; "" asks for the first of all. False after the last.
func (s *Store) NextTenant(ctx context.Context, after string) (tenant string, found bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		found, err = tx.one(selectTenant, []any{after}, &tenant)
		return err
	})
	if err != nil {
		return "", false, err
	}
	return tenant, found, nil
}

// Stretch is a part of a transcript. It ends at the first of its bounds.
type Stretch struct {
	After, To int64     // positions: those after After, up to To
	Since     time.Time // said at this moment or later; zero: from the beginning
	Until     time.Time // said before this moment; zero: to the end
	Limit     int       // messages
	Bytes     int       // of text and vendors' objects; the message that goes beyond is the last
}

// Stretched is what Transcript read.
type Stretched struct {
	Messages []StoredMessage
	More     bool  // a limit ended it, and there may be more
	Version  int64 // of the thread at the moment of reading; 0 where there are no messages
}

// atOrAfter gives the first whole millisecond that is not before a moment.
func atOrAfter(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

var errEnough = errors.New("store: enough")

// Transcript reads a part of a thread's transcript, oldest first, with the vendors'
// own objects, all of it at one moment. A thread that is not there has no messages.
func (s *Store) Transcript(ctx context.Context, tenant, threadID string, part Stretch) (Stretched, error) {
	until := int64(math.MaxInt64)
	if !part.Until.IsZero() {
		until = atOrAfter(part.Until)
	}
	since := int64(math.MinInt64)
	if !part.Since.IsZero() {
		since = atOrAfter(part.Since)
	}
	var read Stretched
	err := s.db.read(ctx, func(tx *session) error {
		read = Stretched{}
		bytes := 0
		err := tx.each(selectTranscript, []any{threadID, tenant, part.After, part.To, since, until, int64(part.Limit) + 1}, func(row scanner) error {
			if len(read.Messages) == part.Limit || bytes > part.Bytes {
				read.More = true
				return errEnough
			}
			m, err := scanMessage(longerRow{row, []any{&read.Version}})
			bytes += len(m.Text) + len(m.Raw)
			read.Messages = append(read.Messages, m)
			return err
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return Stretched{}, err
	}
	return read, nil
}

// Arrival is a thread that comes from elsewhere, with the beginning of its transcript.
type Arrival struct {
	Thread   StoredThread // with its bindings; ids and times are kept, its Version and MessageCount are the store's
	Messages []normalize.Message
}

// Import stores threads that come from elsewhere under the ids and with the times that
// they have, all in one commit. ErrChanged: a thread with one of these ids is there
// already, this tenant's or another's; nothing was written. Ask Taken before.
func (s *Store) Import(ctx context.Context, arrivals []Arrival) error {
	threads := convert(arrivals, func(a Arrival) threadRow { return encodeThread(&a.Thread.Thread) })
	messages := convert(arrivals, func(a Arrival) []messageRow { return convert(a.Messages, encodeMessage) })
	return s.db.write(ctx, func(tx *session) error {
		for i := range arrivals {
			t := &arrivals[i].Thread
			if err := tx.createThread(&t.Thread, threads[i]); err != nil {
				return err
			}
			if err := tx.nameThread(&t.Thread, t.ID); err != nil {
				return err
			}
			if err := tx.append(t.ID, 0, messages[i]); err != nil {
				return err
			}
			if err := tx.do(updateThreadImported, t.ID, int64(len(messages[i])), t.Carry); err != nil {
				return err
			}
		}
		return nil
	})
}

// ImportMessages continues a thread that Import began: it has this many messages, and
// these come after them. ErrChanged: it has another number of them; ErrBusy: a send
// holds it; ErrNotFound.
func (s *Store) ImportMessages(ctx context.Context, tenant, threadID string, has int, messages []normalize.Message) error {
	rows := convert(messages, encodeMessage)
	return s.db.write(ctx, func(tx *session) error {
		state, err := tx.state(tenant, threadID)
		switch {
		case err != nil:
			return err
		case state.held():
			return ErrBusy
		case state.lastSeq != int64(has):
			return ErrChanged
		}
		if err := tx.append(threadID, state.lastSeq, rows); err != nil {
			return err
		}
		return tx.do(updateThreadContinued, threadID, int64(len(rows)))
	})
}

func (s *session) append(threadID string, last int64, rows []messageRow) error {
	for _, row := range rows {
		last++
		if err := s.addMessage(threadID, last, row); err != nil {
			return err
		}
	}
	return nil
}

// takenBatch is how many ids are looked for at once.
const takenBatch = 50

// Taken reports whether a thread or a message with one of these ids is there, whoever's
// it is: ids are everybody's. It tells nothing else.
func (s *Store) Taken(ctx context.Context, threadID string, messageIDs []string) (taken bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		var one int64
		if taken, err = tx.one(selectTakenThread, []any{threadID}, &one); err != nil {
			return err
		}
		for from := 0; from < len(messageIDs) && !taken; from += takenBatch {
			args := make([]any, takenBatch)
			for i := range args {
				args[i] = messageIDs[min(from+i, len(messageIDs)-1)]
			}
			if taken, err = tx.one(selectTaken, args, &one); err != nil {
				return err
			}
		}
		return nil
	})
	return taken, err
}
