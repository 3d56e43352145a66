package store

import (
	"context"
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
	recoverBatch = 500
	sweepBatch   = 500
)

// Recover settles the sends of runs that are dead: a pending message without an
// attempt becomes failed, one with an attempt that has no outcome unknown; their
// threads are free and their keys do not run any more. Nothing is sent.
//
// Call it before the first Accept. As a SQLite database is held by one process, all
// sends that are found in flight then are of dead runs.
func (s *Store) Recover(ctx context.Context, now time.Time) (Recovered, error) {
	var total Recovered
	for {
		var batch Recovered
		settled := 0
		err := s.writer.write(ctx, func(tx *session) error {
			batch, settled = Recovered{}, 0
			type send struct{ threadID, messageID, attemptID string }
			var sends []send
			err := tx.each(selectSends, []any{int64(recoverBatch)}, func(row scanner) error {
				var one send
				err := row.Scan(&one.threadID, &one.messageID, &one.attemptID)
				sends = append(sends, one)
				return err
			})
			if err != nil {
				return err
			}
			for _, one := range sends {
				status, changed, err := tx.settle(one.threadID, one.messageID, one.attemptID, now)
				if err != nil {
					return err
				}
				if _, err := tx.exec(updateThreadSettled, one.threadID, millis(now)); err != nil {
					return err
				}
				switch {
				case changed && status == normalize.StatusFailed:
					batch.Failed++
				case changed:
					batch.Unknown++
				}
			}
			settled = len(sends)
			return nil
		})
		if err != nil {
			return total, err
		}
		total.Failed += batch.Failed
		total.Unknown += batch.Unknown
		if settled < recoverBatch {
			return total, nil
		}
	}
}

// settle ends a send whose run is dead. It returns what its message is now, and
// whether that was still open.
func (s *session) settle(threadID, messageID, attemptID string, now time.Time) (status normalize.MessageStatus, changed bool, err error) {
	status = normalize.StatusFailed
	if attemptID != "" {
		status = normalize.StatusUnknown
		end := AttemptEnd{ID: attemptID, Kind: reasonInterrupted, Phase: int(normalize.PhaseWritten), EndedAt: now} // as far as it may have come
		if err := s.endAttempt(threadID, end); err != nil {
			return status, false, err
		}
	}
	n, err := s.exec(settleMessage, messageID, threadID, string(status), reasonInterrupted)
	if err != nil {
		return status, false, err
	}
	_, err = s.exec(deleteSend, threadID)
	return status, n > 0, err
}

// settleKey settles the send that a key stood for, if it is dead, and corrects what
// is known of the key.
func (s *session) settleKey(a *Acceptance, k *KeyState) error {
	state, err := s.state(a.Key.Tenant, k.ThreadID)
	if err != nil || state.messageID != k.MessageID || state.held(a.Now) {
		return err
	}
	if k.Message, _, err = s.settle(k.ThreadID, state.messageID, state.attemptID, a.Now); err != nil {
		return err
	}
	_, err = s.exec(updateThreadSettled, k.ThreadID, millis(a.Now))
	return err
}

// Sweep deletes up to limit idempotency keys that were made before a moment, oldest
// first, and returns how many. It works in small commits, so that it holds nobody
// up. Keys whose send still runs stay.
func (s *Store) Sweep(ctx context.Context, keysBefore time.Time, limit int) (int, error) {
	total := 0
	for total < limit {
		want := min(sweepBatch, limit-total)
		var n int64
		err := s.writer.write(ctx, func(tx *session) (err error) {
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
