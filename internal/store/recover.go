package store

import (
	"context"
	"math"
	"slices"
	"time"

	"chatmux/normalize"
)

// Recovered counts what Recover settled.
type Recovered struct {
	Failed  int // messages that no vendor was asked about
	Unknown int // messages that a vendor may have processed
}

// Of long book-keeping, this many rows share a commit, so that others get their
// turn.
const (
	recoverBatch = 100
	sweepBatch   = 500
	renewBatch   = 50
)

// Recover settles the sends of runs that are dead: a pending message that no vendor
// can have becomes failed, one that a vendor may have unknown; their
// threads are free and their keys do not run any more, and deliveries that they were
// trying are due again. Nothing is sent.
//
// Call it before the first Accept. As a SQLite database is held by one process, all
// sends that are found in flight then are of dead runs. A PostgreSQL database may be
// shared: there only those are settled whose lease has ended, by the database's
// clock, and the others are left to SettleExpired.
func (s *Store) Recover(ctx context.Context, now time.Time) (Recovered, error) {
	if s.db.shared() {
		return s.settleDead(ctx, now, 0, math.MaxInt)
	}
	err := s.db.write(ctx, func(tx *session) error {
		_, err := tx.exec(freeDeliveries)
		return err
	})
	if err != nil {
		return Recovered{}, err
	}
	return s.settleDead(ctx, now, math.MaxInt64/2, math.MaxInt)
}

// SettleExpired does what Recover does for up to limit sends whose lease has ended
// by the database's clock: their run has stalled, or died with its process.
func (s *Store) SettleExpired(ctx context.Context, limit int) (Recovered, error) {
	return s.settleDead(ctx, s.now(), 0, limit)
}

// settleDead settles up to limit sends that have no more than this left of their
// lease.
func (s *Store) settleDead(ctx context.Context, now time.Time, left int64, limit int) (Recovered, error) {
	var total Recovered
	for done := 0; done < limit; {
		want := min(recoverBatch, limit-done)
		var batch Recovered
		settled := 0
		err := s.db.write(ctx, func(tx *session) (err error) {
			batch, settled, err = tx.settleBatch(now, left, want)
			return err
		})
		if err != nil {
			return total, err
		}
		total.Failed += batch.Failed
		total.Unknown += batch.Unknown
		if done += settled; settled < want {
			break
		}
	}
	return total, nil
}

func (s *session) settleBatch(now time.Time, left int64, limit int) (r Recovered, settled int, err error) {
	type send struct{ threadID, messageID, attemptID string }
	var sends []send
	err = s.each(selectDead, []any{left, int64(limit)}, func(row scanner) error {
		var one send
		err := row.Scan(&one.threadID, &one.messageID, &one.attemptID)
		sends = append(sends, one)
		return err
	})
	if err != nil {
		return r, 0, err
	}
	for _, one := range sends {
		status, changed, err := s.settle(one.threadID, one.messageID, one.attemptID, now)
		if err != nil {
			return r, 0, err
		}
		if err := s.do(updateThreadSettled, one.threadID, millis(now)); err != nil {
			return r, 0, err
		}
		switch {
		case changed && status == normalize.StatusFailed:
			r.Failed++
		case changed:
			r.Unknown++
		}
	}
	return r, len(sends), nil
}

// Renew gives the sends that these epochs hold a lease of this length from now, by
// the database's clock, and returns the epochs that hold nothing any more: somebody
// else has settled their sends, or they have ended.
func (s *Store) Renew(ctx context.Context, epochs []string, lease time.Duration) (lost []string, err error) {
	for batch := range slices.Chunk(epochs, renewBatch) {
		args := []any{lease.Milliseconds()}
		for i := range renewBatch {
			args = append(args, batch[min(i, len(batch)-1)])
		}
		held := make(map[string]bool, len(batch))
		err := s.db.write(ctx, func(tx *session) error {
			clear(held)
			return tx.each(renewSends, args, func(row scanner) error {
				var epoch string
				err := row.Scan(&epoch)
				held[epoch] = true
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		for _, epoch := range batch {
			if !held[epoch] {
				lost = append(lost, epoch)
			}
		}
	}
	return lost, nil
}

// settle ends a send whose run is dead; what it saved of an answer stays, as an
// incomplete reply. It returns what its message is now, and
// whether that was still open. An attempt of an earlier send counts too: a message
// that a vendor may have is not failed.
func (s *session) settle(threadID, messageID, attemptID string, now time.Time) (status normalize.MessageStatus, changed bool, err error) {
	status = normalize.StatusFailed
	if attemptID != "" {
		status = normalize.StatusUnknown
		end := AttemptEnd{ID: attemptID, Kind: reasonInterrupted, Phase: int(normalize.PhaseWritten), EndedAt: now} // as far as it may have come
		if err := s.endAttempt(threadID, end); err != nil {
			return status, false, err
		}
	}
	changed, err = s.one(settleMessage, []any{messageID, threadID, string(status), reasonInterrupted}, &status)
	if err != nil {
		return status, false, err
	}
	s.wrote = s.wrote || changed
	if changed {
		entries, err := s.keepPartial(threadID, messageID, millis(now))
		if err != nil {
			return status, false, err
		}
		doc, positions := encodeEntries(append(entries, Entry{Type: normalize.EventError, MessageID: messageID, Failure: interrupted(status)}))
		s.tell(threadID)
		if err := s.do(appendEvents, threadID, positions, doc); err != nil {
			return status, false, err
		}
	} else if err := s.endAwaited(threadID, messageID); err != nil {
		return status, false, err
	}
	err = s.do(deleteSend, threadID)
	return status, changed, err
}

// settleKey settles the send that a key stood for, if it is dead, and corrects what
// is known of the key.
func (s *session) settleKey(a *Acceptance, k *KeyState) error {
	state, err := s.state(a.Key.Tenant, k.ThreadID)
	if err != nil || state.messageID != k.MessageID || state.held() {
		return err
	}
	if k.Message, _, err = s.settle(k.ThreadID, state.messageID, state.attemptID, a.Now); err != nil {
		return err
	}
	return s.do(updateThreadSettled, k.ThreadID, millis(a.Now))
}

// Sweep deletes up to limit idempotency keys that were made before a moment, oldest
// first, and returns how many. It works in small commits, so that it holds nobody
// up. Keys whose send still runs stay.
func (s *Store) Sweep(ctx context.Context, keysBefore time.Time, limit int) (int, error) {
	total := 0
	for total < limit {
		want := min(sweepBatch, limit-total)
		var n int64
		err := s.db.write(ctx, func(tx *session) (err error) {
			n, err = tx.exec(deleteKeys, millis(keysBefore), int64(want))
			return err
		})
		if err != nil {
			return total, err
		}
		total += int(n)
		if n < int64(want) {
			break
		}
	}
	return total, nil
}
