package store

import (
	"context"
	"errors"
	"strings"

	"chatmux/normalize"
)

// ErrTaken says that what is claimed at a vendor belongs to another tenant already, or
// was erased here.
var ErrTaken = errors.New("store: belongs to another tenant, or to nobody any more")

// The kinds of a Claim.
const (
	ClaimThread = "thread" // a conversation
	ClaimUser   = "user"   // a person, where they have one conversation only
)

// Claim says of something at a vendor, which was there before us or is to be made
// under a chosen id, that it belongs to one thread, and so to one tenant.
type Claim struct {
	Vendor, Bot, Kind, ID string
}

// Opening is a thread that is to be made, with what it is found by.
type Opening struct {
	Thread normalize.Thread    // with its bindings, and what it is Called or its Key; MessageCount is not taken from it
	Said   []normalize.Message // what was said before, stored with it, oldest first
	Carry  string              // see StoredThread
	Claims []Claim
}

// FoundBy is the name of a record that leads to a thread: its dialect, its bot, and
// either what the client calls it or the dialect's key.
type FoundBy struct {
	Dialect, Bot, Called, Key string
}

func (f FoundBy) record() string {
	if f.Called != "" {
		return "thread:" + f.Bot + ":" + f.Called
	}
	return "key:" + f.Bot + ":" + f.Key
}

// foundBy says what a thread is found by; false for nothing but its id.
func foundBy(t *normalize.Thread) (f FoundBy, named bool) {
	f.Dialect, f.Bot, named = strings.Cut(t.Asked, "/")
	f.Called, f.Key = t.Called, t.Key
	return f, named && (f.Called != "" || f.Key != "")
}

// OpenThread makes a thread, its name and its claims in one commit. Where the name
// stands for a thread of the tenant's already, or a claim is that thread's, nothing
// is made (save the name) and that thread is returned; so of many calls at once one
// makes it and all get it. ErrTaken.
func (s *Store) OpenThread(ctx context.Context, o Opening) (StoredThread, bool, error) {
	row := encodeThread(&o.Thread)
	said := make([]messageRow, len(o.Said))
	for i, m := range o.Said {
		said[i] = encodeMessage(m)
	}
	var t StoredThread // no named results: a write may go on when its caller has left
	made := false
	err := s.db.write(ctx, func(tx *session) error {
		t, made = StoredThread{}, false
		id, err := tx.opened(&o)
		if err != nil {
			return err
		}
		if id == "" {
			made, id = true, o.Thread.ID
			if err := tx.open(&o, row, said); err != nil {
				return err
			}
		}
		if err := tx.nameThread(&o.Thread, id); err != nil {
			return err
		}
		t, err = tx.thread(o.Thread.Tenant, id, false)
		return err
	})
	if err != nil {
		return StoredThread{}, false, err
	}
	return t, made, nil
}

// opened finds the thread that the name or a claim stands for; empty where there is
// none.
func (s *session) opened(o *Opening) (threadID string, err error) {
	if by, named := foundBy(&o.Thread); named {
		var value []byte
		found, err := s.one(selectRecord, []any{o.Thread.Tenant, by.Dialect, by.record()}, &value, &threadID)
		if err != nil || found {
			return threadID, err
		}
	}
	for _, c := range o.Claims {
		threadID, err := s.owned(c, o.Thread.Tenant)
		if err != nil || threadID != "" {
			return threadID, err
		}
	}
	return "", nil
}

// owned finds the tenant's thread that something at a vendor belongs to, by a claim or
// by a binding; empty where it is free. ErrTaken where it is not, and no such thread's.
func (s *session) owned(c Claim, tenant string) (threadID string, err error) {
	var owner string
	found, err := s.one(selectClaim, []any{c.Vendor, c.Bot, c.Kind, c.ID}, &threadID, &owner)
	if err == nil && !found && c.Kind == ClaimThread {
		found, err = s.one(selectRemoteThread, []any{c.Vendor, c.Bot, c.ID, ""}, &threadID, &owner)
	}
	switch {
	case err != nil || !found:
		return "", err
	case owner != tenant:
		return "", ErrTaken
	}
	return threadID, nil
}

// nameThread makes a thread be found by what t is. A name that leads to a thread
// already goes on to do so.
func (s *session) nameThread(t *normalize.Thread, id string) error {
	by, named := foundBy(t)
	if !named {
		return nil
	}
	return s.do(insertRecord, t.Tenant, by.Dialect, by.record(), id, []byte{})
}

func (s *session) open(o *Opening, row threadRow, said []messageRow) error {
	if err := s.createThread(&o.Thread, row); err != nil {
		return err
	}
	for i, m := range said {
		if err := s.addMessage(o.Thread.ID, int64(i+1), m); err != nil {
			return err
		}
	}
	if len(said) > 0 {
		err := s.do(updateThreadAppended, o.Thread.ID, int64(len(said)), int64(len(said)), int64(2), millis(o.Thread.UpdatedAt))
		if err != nil {
			return err
		}
	}
	for _, c := range o.Claims {
		if err := s.do(insertClaim, c.Vendor, c.Bot, c.Kind, c.ID, o.Thread.ID); err != nil {
			return err
		}
	}
	if o.Carry == "" {
		return nil
	}
	return s.do(updateCarry, o.Thread.ID, o.Carry)
}

// NamedThread returns the id of the tenant's thread that is found by a name. ErrNotFound.
func (s *Store) NamedThread(ctx context.Context, tenant string, by FoundBy) (threadID string, err error) {
	r, err := s.ReadRecord(ctx, tenant, by.Dialect, by.record())
	return r.ThreadID, err
}

// Claimed reports which thread of the tenant's something at a vendor belongs to; empty
// where it is free. ErrTaken.
func (s *Store) Claimed(ctx context.Context, tenant string, c Claim) (threadID string, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		threadID, err = tx.owned(c, tenant)
		return err
	})
	return threadID, err
}

// RemoteThread returns the id of the tenant's thread that holds or held a vendor's
// conversation. ErrNotFound.
func (s *Store) RemoteThread(ctx context.Context, tenant, vendor, bot, remoteID string) (threadID string, err error) {
	found := false
	err = s.db.read(ctx, func(tx *session) error {
		var owner string
		found, err = tx.one(selectRemoteThread, []any{vendor, bot, remoteID, tenant}, &threadID, &owner)
		return err
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return threadID, err
}

// FindMessage reads a message of any of the tenant's threads by our id, or by the
// vendor's. ErrNotFound.
func (s *Store) FindMessage(ctx context.Context, tenant, id, remoteID string) (m normalize.Message, err error) {
	var found []StoredMessage
	err = s.db.read(ctx, func(tx *session) error {
		if id != "" {
			found, err = tx.messages(selectAnyMessage, id, tenant)
		}
		if err == nil && len(found) == 0 {
			found, err = tx.messages(selectRemoteMessage, remoteID, tenant)
		}
		return err
	})
	switch {
	case err != nil:
		return normalize.Message{}, err
	case len(found) == 0:
		return normalize.Message{}, ErrNotFound
	}
	return found[0].Message, nil
}

// Record is a small object that a dialect keeps by a name of its own, of one tenant.
type Record struct {
	Tenant, Dialect, Name string
	ThreadID              string // the thread that it goes with, and is erased with; empty: none
	Value                 []byte
}

// SaveRecord stores a record and returns it as it is stored now: with fresh, one
// that is there already stays and comes back. ErrNotFound: no such thread of the
// tenant's.
func (s *Store) SaveRecord(ctx context.Context, r Record, fresh bool) (Record, error) {
	if r.Value == nil {
		r.Value = []byte{}
	}
	var stored Record
	err := s.db.write(ctx, func(tx *session) error {
		stored = r
		if r.ThreadID != "" {
			if _, err := tx.state(r.Tenant, r.ThreadID); err != nil {
				return err
			}
		}
		n, err := tx.exec(insertRecord, r.Tenant, r.Dialect, r.Name, r.ThreadID, r.Value)
		switch {
		case err != nil || n > 0:
			return err
		case fresh:
			_, err := tx.one(selectRecord, []any{r.Tenant, r.Dialect, r.Name}, &stored.Value, &stored.ThreadID)
			return err
		}
		return tx.do(updateRecord, r.Tenant, r.Dialect, r.Name, r.ThreadID, r.Value)
	})
	if err != nil {
		return Record{}, err
	}
	return stored, nil
}

// ReadRecord reads a record. ErrNotFound.
func (s *Store) ReadRecord(ctx context.Context, tenant, dialect, name string) (r Record, err error) {
	r = Record{Tenant: tenant, Dialect: dialect, Name: name}
	found := false
	err = s.db.read(ctx, func(tx *session) error {
		found, err = tx.one(selectRecord, []any{tenant, dialect, name}, &r.Value, &r.ThreadID)
		return err
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return r, err
}
