package store

import (
	"context"

	"chatmux/normalize"
)

// Use is what a message has beside its text.
type Use struct {
	Message normalize.Message // without Text and Raw
	Seq     int64
	Bytes   int // how long its text is
}

// Uses reads what the messages of the threads from one id to another have beside their
// texts, in the order of the threads' ids and of their positions, beginning after a
// position (of ID and Seq), and whether there are more. Of these threads only those
// are read that this backend has.
func (s *Store) Uses(ctx context.Context, tenant, backend, first, last string, after Position, limit int) (list []Use, more bool, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectUses, []any{tenant, backend, max(first, after.ID), last, after.ID, after.Seq, int64(limit) + 1}, func(row scanner) error {
			var u Use
			m, err := scanMessage(longerRow{row, []any{&u.Bytes}})
			u.Message, u.Seq = m.Message, m.Seq
			list = append(list, u)
			return err
		})
	})
	if err != nil {
		return nil, false, err
	}
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return list, more, nil
}
