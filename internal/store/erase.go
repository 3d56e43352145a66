package store

import (
	"context"
	"errors"
	"time"

	"chatmux/normalize"
)

// Erasure is a conversation that is still to be erased at its vendor: the thread that
// it belonged to is gone.
type Erasure struct {
	ThreadID  string
	Seq       int64 // of the binding
	Tenant    string
	Binding   normalize.Binding // without times and reason
	Tries     int               // how often it was postponed
	CreatedAt time.Time
}

// eraseBatch is how many messages, or events, of a thread are erased in one commit.
const eraseBatch = 2000

// EraseThread erases a thread with its messages, bindings, attempts and keys, and in
// the same commit notes the conversations that vendors have of it, each once: nothing
// is forgotten by a crash. They are due at a moment; whoever erases one at its vendor
// calls EndErasures. ErrNotFound; ErrBusy while a send holds the thread.
//
// Of a long thread, messages go in commits of their own before: nobody is held up, and
// where it is cut off in between, the rest of it is still there to be erased.
func (s *Store) EraseThread(ctx context.Context, tenant, id string, now, due time.Time) ([]Erasure, error) {
	return s.erase(ctx, tenant, id, time.Time{}, now, due)
}

// erase is EraseThread; where untouched is a moment, it is ErrChanged if something has
// changed the thread since.
func (s *Store) erase(ctx context.Context, tenant, id string, untouched, now, due time.Time) (open []Erasure, err error) {
	s.erased.Store(true)
	for {
		gone := 0
		err := s.db.write(ctx, func(tx *session) (err error) {
			if gone, err = tx.thin(tenant, id, untouched); err == nil && gone == 0 {
				open, err = tx.eraseThread(tenant, id, now, due)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if gone == 0 {
			return open, nil
		}
	}
}

// thin erases a part of a thread that is too long to be erased at once, and returns how
// many rows that were; 0 where the rest can go as a whole.
func (s *session) thin(tenant, id string, untouched time.Time) (int, error) {
	state, err := s.state(tenant, id)
	if err != nil {
		return 0, err
	}
	if state.held() {
		return 0, ErrBusy
	}
	t, err := s.thread(tenant, id, false)
	if err != nil {
		return 0, err
	}
	if !untouched.IsZero() && !t.UpdatedAt.Before(untouched) {
		return 0, ErrChanged
	}
	if t.MessageCount <= eraseBatch {
		return 0, nil
	}
	messages, err := s.exec(thinMessages, id, int64(eraseBatch))
	if err != nil {
		return 0, err
	}
	events, err := s.exec(thinEvents, id, int64(eraseBatch))
	return int(messages + events), err
}

func (s *session) eraseThread(tenant, id string, now, due time.Time) ([]Erasure, error) {
	t, err := s.thread(tenant, id, false)
	if err != nil {
		return nil, err
	}
	var open []Erasure
	seen := make(map[normalize.Binding]bool)
	for i, b := range t.Bindings {
		conversation := normalize.Binding{Backend: b.Backend, Vendor: b.Vendor, Bot: b.Bot, Remote: b.Remote}
		if b.Remote.ThreadID == "" || seen[conversation] {
			continue
		}
		seen[conversation] = true
		e := Erasure{ThreadID: id, Seq: int64(i + 1), Tenant: tenant, Binding: conversation, CreatedAt: now}
		err := s.do(insertErasure, e.ThreadID, e.Seq, e.Tenant, b.Backend, b.Vendor, b.Bot, b.Remote.ThreadID, b.Remote.UserID, millis(due), millis(now))
		if err != nil {
			return nil, err
		}
		open = append(open, e)
	}
	s.tell(id)
	if err := s.do(deleteThread, id, tenant); err != nil {
		return nil, err
	}
	for _, e := range open { // the vendor may have it still, and nobody may take it up again
		if b := e.Binding; len(b.Remote.ThreadID) <= maxClaim {
			if err := s.do(insertClaim, b.Vendor, b.Bot, ClaimThread, b.Remote.ThreadID, ""); err != nil {
				return nil, err
			}
		}
	}
	return open, nil
}

// maxClaim is the longest id that can be claimed, in bytes: what is longer cannot be
// asked for either, and an index of PostgreSQL would refuse it.
const maxClaim = 1024

// DueErasures lists up to limit conversations that are to be tried now, those first
// that have waited longest.
func (s *Store) DueErasures(ctx context.Context, now time.Time, limit int) (list []Erasure, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		list = nil
		return tx.each(selectErasures, []any{millis(now), int64(limit)}, func(row scanner) error {
			var e Erasure
			var created int64
			b := &e.Binding
			err := row.Scan(&e.ThreadID, &e.Seq, &e.Tenant, &b.Backend, &b.Vendor, &b.Bot, &b.Remote.ThreadID, &b.Remote.UserID, &e.Tries, &created)
			e.CreatedAt = timeOf(created)
			list = append(list, e)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// PostponeErasure keeps a conversation out of DueErasures until a moment and counts a
// try: call it before the try, so that no other process makes it too. ErrChanged:
// somebody else has it, or it is done.
func (s *Store) PostponeErasure(ctx context.Context, e Erasure, until time.Time) error {
	return s.db.write(ctx, func(tx *session) error {
		n, err := tx.exec(postponeErasure, e.ThreadID, e.Seq, e.Tenant, int64(e.Tries), millis(until))
		if err == nil && n == 0 {
			err = ErrChanged
		}
		return err
	})
}

// EndErasures forgets conversations that are erased at their vendors, or never will be.
func (s *Store) EndErasures(ctx context.Context, list []Erasure) error {
	if len(list) == 0 {
		return nil
	}
	return s.db.write(ctx, func(tx *session) error {
		for _, e := range list {
			if err := tx.do(deleteErasure, e.ThreadID, e.Seq, e.Tenant); err != nil {
				return err
			}
		}
		return nil
	})
}

// purgeBatch is how many threads are looked for at once when many are erased.
const purgeBatch = 20

// Purge erases up to limit threads of all tenants that nothing has changed since a
// moment, as EraseThread does, each in a commit of its own, and returns how many. A
// thread that a send holds stays; what vendors have of the others is due at once.
func (s *Store) Purge(ctx context.Context, before, now time.Time, limit int) (total int, err error) {
	for tenant := ""; total < limit; {
		next, found, err := s.NextTenant(ctx, tenant)
		if err != nil || !found {
			return total, err
		}
		tenant = next
		for total < limit {
			n, err := s.purgeTenant(ctx, tenant, before, now, min(purgeBatch, limit-total))
			total += n
			if err != nil {
				return total, err
			}
			if n == 0 {
				break
			}
		}
	}
	return total, nil
}

func (s *Store) purgeTenant(ctx context.Context, tenant string, before, now time.Time, limit int) (n int, err error) {
	var ids []string
	err = s.db.read(ctx, func(tx *session) error {
		ids, err = tx.untouched(tenant, before, limit)
		return err
	})
	for _, id := range ids {
		_, err := s.erase(ctx, tenant, id, before, now, now)
		switch {
		case errors.Is(err, ErrBusy), errors.Is(err, ErrChanged), errors.Is(err, ErrNotFound): // somebody was faster
		case err != nil:
			return n, err
		default:
			n++
		}
	}
	return n, err
}

func (s *session) untouched(tenant string, before time.Time, limit int) (ids []string, err error) {
	err = s.each(selectUntouched, []any{tenant, millis(before), int64(limit)}, func(row scanner) error {
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// Scrub takes what was erased out of the files that the database has beside its own.
// On SQLite it empties the write-ahead log, where nobody reads just then; false where
// somebody did, and it is to be tried again. In the file itself the erasing commit has
// overwritten the rows. On PostgreSQL there is nothing to do: its autovacuum does it, in
// its own time. Where nothing was erased since the last Scrub it costs nothing.
func (s *Store) Scrub(ctx context.Context) (bool, error) {
	if !s.erased.Swap(false) {
		return true, nil
	}
	done, err := s.db.scrub(ctx)
	if !done {
		s.erased.Store(true)
	}
	return done, err
}
