package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chatmux/normalize"
)

// defaultLimit is the length of a page where the caller names none.
const defaultLimit = 50

// CreateThread stores a new thread with its bindings. MessageCount is not taken
// from it: the store counts. ErrChanged: there is a thread with this id already.
func (s *Store) CreateThread(ctx context.Context, t normalize.Thread) error {
	row := encodeThread(&t)
	return s.db.write(ctx, func(tx *session) error { return tx.createThread(&t, row) })
}

func (s *session) createThread(t *normalize.Thread, row threadRow) error {
	n, err := s.exec(insertThread, t.ID, t.Tenant, t.Backend, t.Route, t.User.ID, string(t.Mode), string(t.Status), t.Title,
		row.tags, row.doc, row.raw, millis(t.CreatedAt), millis(t.UpdatedAt), t.Asked)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrChanged
	}
	if err := s.saveTags(t, ""); err != nil {
		return err
	}
	if len(t.Bindings) == 0 {
		return nil
	}
	if err := s.addBindings(t.ID, 0, t.Bindings); err != nil {
		return err
	}
	return s.do(updateThreadBindings, t.ID, int64(len(t.Bindings)))
}

// Thread reads one thread, with the vendor's own object if raw. ErrNotFound.
func (s *Store) Thread(ctx context.Context, tenant, id string, raw bool) (t StoredThread, err error) {
	err = s.db.read(ctx, func(tx *session) error {
		t, err = tx.thread(tenant, id, raw)
		return err
	})
	if err != nil {
		return StoredThread{}, err
	}
	return t, nil
}

func (s *session) thread(tenant, id string, raw bool) (t StoredThread, err error) {
	found, bindings := false, 0
	err = s.each(selectThread, []any{id, tenant, flag(raw)}, func(row scanner) error {
		found = true
		t, bindings, err = scanThread(row)
		return err
	})
	if err != nil {
		return t, err
	}
	if !found {
		return t, ErrNotFound
	}
	return t, s.earlierBindings(&t, bindings)
}

// earlierBindings completes the newest of n bindings, which came with its thread.
// The earlier ones do not change any more, so both reads agree.
func (s *session) earlierBindings(t *StoredThread, n int) error {
	if n < 2 {
		return nil
	}
	all := make([]normalize.Binding, 0, n)
	err := s.each(selectBindings, []any{t.ID, int64(n)}, func(row scanner) error {
		var b bindingRow
		err := row.Scan(&b.Backend, &b.Vendor, &b.Bot, &b.Remote.ThreadID, &b.Remote.UserID, &b.since, &b.until, &b.Reason)
		all = append(all, b.binding())
		return err
	})
	t.Bindings = append(all, t.Bindings...)
	return err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Threads returns one page of the threads that the filter selects, last updated
// first unless the range says ascending, and whether there are more. A page begins
// after the row that has Range.After's time and id; with Range.ByID they come in the
// order of their ids, which no update changes.
//
// Filter.Query ignores case, but of the letters of ASCII only: SQLite knows no others,
// and PostgreSQL compares as SQLite does.
func (s *Store) Threads(ctx context.Context, f ThreadFilter, r Range) (threads []StoredThread, more bool, err error) {
	if r.Limit <= 0 {
		r.Limit = defaultLimit
	}
	text, args := threadsQuery(f, r)
	err = s.db.read(ctx, func(tx *session) error {
		var counts []int
		threads = nil
		err := tx.eachOf(text, args, func(row scanner) error {
			t, bindings, err := scanThread(row)
			threads, counts = append(threads, t), append(counts, bindings)
			return err
		})
		if err != nil {
			return err
		}
		if more = len(threads) > r.Limit; more {
			threads = threads[:r.Limit]
		}
		for i := range threads {
			if err := tx.earlierBindings(&threads[i], counts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return threads, more, nil
}

// threadsWhere puts the condition of a list together. Only the values of a filter
// are the caller's, and they are all parameters.
func threadsWhere(f ThreadFilter) (text string, args []any) {
	where := []string{"t.tenant = $1"}
	args = []any{f.Tenant}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.Backend != "" {
		add("t.backend = ?", f.Backend)
	}
	if f.Route != "" {
		add("t.route = ?", f.Route)
	}
	if f.User != "" {
		add("t.user_id = ? AND t.user_id <> ''", f.User) // the second half is the index's own condition, as below
	}
	if f.Status != "" {
		add("t.status = ?", string(f.Status))
		if f.Status != normalize.ThreadOpen {
			add("t.status <> 'open'")
		}
	}
	if f.Mode != "" {
		add("t.mode = ?", string(f.Mode))
		if f.Mode != normalize.ModeAI {
			add("t.mode <> 'ai'")
		}
	}
	if f.Tag != "" {
		add("t.id IN (SELECT g.thread_id FROM thread_tags g WHERE g.tenant = $1 AND g.value = ?)", f.Tag)
	}
	if !f.UpdatedAfter.IsZero() {
		add("t.updated_at > ?", millis(f.UpdatedAfter))
	}
	if f.Query != "" {
		add(`EXISTS (SELECT 1 FROM messages m WHERE m.thread_id = t.id AND lower(m.text) LIKE ? ESCAPE '\')`,
			"%"+escapeLike.Replace(lowerASCII(f.Query))+"%")
	}
	if f.Dialect != "" && f.Bot != "" {
		add("(t.asked = ? OR EXISTS (SELECT 1 FROM bindings x WHERE x.thread_id = t.id AND x.vendor = ? AND x.bot = ?))",
			f.Dialect+"/"+f.Bot, f.Dialect, f.Bot)
	} else if f.Dialect != "" {
		add("(t.asked LIKE ? OR EXISTS (SELECT 1 FROM bindings x WHERE x.thread_id = t.id AND x.vendor = ?))", f.Dialect+"/%", f.Dialect)
	}
	return strings.Join(where, " AND "), args
}

// threadsQuery puts the statement of a list together.
func threadsQuery(f ThreadFilter, r Range) (text string, args []any) {
	where, args := threadsWhere(f)
	compare, order := "<", "DESC"
	if r.Ascending {
		compare, order = ">", "ASC"
	}
	key := "t.updated_at " + order + ", t.id"
	switch {
	case r.ByID:
		key = "t.id"
		if r.After.ID != "" {
			args = append(args, r.After.ID)
			where += fmt.Sprintf(" AND t.id %s $%d", compare, len(args))
		}
	case r.After != (Position{}):
		args = append(args, millis(r.After.Time), r.After.ID)
		where += fmt.Sprintf(" AND (t.updated_at, t.id) %s ($%d, $%d)", compare, len(args)-1, len(args))
	}
	raw := "''"
	if r.Raw {
		raw = "t.raw"
	}
	args = append(args, int64(r.Limit)+1)
	text = fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s ORDER BY %s %s LIMIT $%d",
		threadColumns, raw, threadTables, where, key, order, len(args))
	if r.Offset > 0 {
		args = append(args, int64(r.Offset))
		text += fmt.Sprintf(" OFFSET $%d", len(args))
	}
	return text, args
}

// CountThreads counts the threads that a filter selects.
func (s *Store) CountThreads(ctx context.Context, f ThreadFilter) (n int, err error) {
	where, args := threadsWhere(f)
	err = s.db.read(ctx, func(tx *session) error {
		return tx.eachOf("SELECT COUNT(*) FROM threads t WHERE "+where, args, func(row scanner) error { return row.Scan(&n) })
	})
	return n, err
}

func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
}

var escapeLike = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// UpdateThread reads a thread, lets change work on it, and writes the result, all
// in one transaction; it returns the thread as written. It works beside a send in
// flight, whose Finish then sees ErrChanged.
//
// Of what change does, all is kept except the ids, the tenant, CreatedAt, UpdatedAt,
// MessageCount, Version and Busy, which are the store's; Append's messages go to the
// end of the thread. Bindings are append-only, as in Finish. A nil Raw leaves the
// stored one. An error of change comes back as it is, and nothing is written. A
// change of mode, status, title or backend is recorded as an event.
//
// Change runs while other writes wait: it must be quick, must not call the
// store, may run more than once, and may run after the caller's context has ended.
func (s *Store) UpdateThread(
	ctx context.Context, tenant, id string, now time.Time, change func(*StoredThread) error,
) (StoredThread, error) {
	var result StoredThread
	err := s.db.write(ctx, func(tx *session) error {
		state, err := tx.state(tenant, id)
		if err != nil {
			return err
		}
		t, err := tx.thread(tenant, id, false)
		if err != nil {
			return err
		}
		kept := t
		if err := change(&t); err != nil {
			return err
		}
		added := t.Append
		t.ID, t.Tenant, t.CreatedAt, t.MessageCount = kept.ID, kept.Tenant, kept.CreatedAt, kept.MessageCount+len(added)
		t.Busy, t.Append = kept.Busy, nil
		for _, m := range added {
			state.lastSeq++
			if err := tx.addMessage(id, state.lastSeq, encodeMessage(m)); err != nil {
				return err
			}
		}
		state.version++
		state.touched = state.version
		t.Version, t.UpdatedAt = state.version, timeOf(millis(now))
		result = t
		if showsChange(&kept.Thread, &t.Thread) {
			if err := tx.record(id, &state, Entry{Type: normalize.EventThread, Moved: kept.Backend != t.Backend}); err != nil {
				return err
			}
		}
		return tx.saveThread(&t.Thread, t.Carry, encodeThread(&t.Thread), state, len(added), now)
	})
	if err != nil {
		return StoredThread{}, err
	}
	return result, nil
}

// showsChange reports whether a thread changed in what its watchers are told of: who
// answers, its state, its title, where it is.
func showsChange(was, is *normalize.Thread) bool {
	return was.Mode != is.Mode || was.Status != is.Status || was.Title != is.Title || was.Backend != is.Backend
}

// threadState is what a writer has to know of a thread before it writes: counters,
// what is compared, and the send that holds it.
type threadState struct {
	tenant                    string
	version, touched, lastSeq int64
	lastEvent                 int64 // position of the newest event
	tags                      string
	bindings                  int64
	newest                    normalize.Binding // where there are bindings

	epoch, messageID, attemptID string
	left                        int64 // of its lease, in milliseconds
}

// held reports whether a send has the thread.
func (st *threadState) held() bool { return st.epoch != "" && st.left > 0 }

func (s *session) state(tenant, id string) (st threadState, err error) {
	var b bindingRow
	found, err := s.one(selectState, []any{id, tenant}, &st.version, &st.touched, &st.lastSeq, &st.lastEvent, &st.tags, &st.bindings,
		&b.Backend, &b.Vendor, &b.Bot, &b.Remote.ThreadID, &b.Remote.UserID, &b.since, &b.until, &b.Reason,
		&st.epoch, &st.left, &st.messageID, &st.attemptID)
	if err == nil && !found {
		err = ErrNotFound
	}
	st.tenant, st.newest = tenant, b.binding()
	return st, err
}

// saveThread writes a thread over its row; state holds the new version and position,
// and what was stored of tags and bindings. added is how many messages it got.
func (s *session) saveThread(t *normalize.Thread, carry string, row threadRow, state threadState, added int, now time.Time) error {
	count := max(state.bindings, int64(len(t.Bindings)))
	unchanged := int64(len(t.Bindings)) == state.bindings && (state.bindings == 0 || sameBinding(t.Bindings[state.bindings-1], state.newest))
	if !unchanged {
		if err := s.saveBindings(t, state); err != nil {
			return err
		}
	}
	err := s.do(updateThread, t.ID, t.Backend, t.Route, t.User.ID, string(t.Mode), string(t.Status), t.Title, row.tags, row.doc, row.raw,
		carry, int64(added), state.lastSeq, count, state.version, state.touched, millis(now))
	if err != nil || row.tags == state.tags {
		return err
	}
	return s.saveTags(t, state.tags)
}

// maxTag is how many bytes a tag may have to be found by: more than a filter can ask
// for, and less than an index of PostgreSQL refuses.
const maxTag = 2048

// saveTags makes a thread findable by the ids and names of its tags.
func (s *session) saveTags(t *normalize.Thread, stored string) error {
	if stored != "" {
		if err := s.do(deleteTags, t.ID); err != nil {
			return err
		}
	}
	for _, tag := range t.Tags {
		for _, value := range []string{tag.ID, tag.Name} {
			if value == "" || len(value) > maxTag {
				continue
			}
			if err := s.do(insertTag, t.Tenant, value, t.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveBindings completes the stored bindings and adds the new ones.
func (s *session) saveBindings(t *normalize.Thread, state threadState) error {
	stored := StoredThread{Thread: normalize.Thread{ID: t.ID}}
	if state.bindings > 0 {
		stored.Bindings = []normalize.Binding{state.newest}
		if err := s.earlierBindings(&stored, int(state.bindings)); err != nil {
			return err
		}
	}
	known := min(len(stored.Bindings), len(t.Bindings))
	for i := range known {
		if !sameConversation(stored.Bindings[i], t.Bindings[i]) {
			return errBindings
		}
	}
	for i := range known {
		if sameBinding(stored.Bindings[i], t.Bindings[i]) {
			continue
		}
		if err := s.completeBinding(t.ID, i+1, t.Bindings[i]); err != nil {
			return err
		}
	}
	return s.addBindings(t.ID, len(stored.Bindings), t.Bindings[known:])
}

var errBindings = errors.Join(ErrChanged, errors.New("store: the bindings are not those that are stored"))

func (s *session) completeBinding(threadID string, seq int, b normalize.Binding) error {
	return s.do(updateBinding, threadID, int64(seq), b.Remote.ThreadID, b.Remote.UserID, millis(b.Until), b.Reason)
}

func (s *session) addBindings(threadID string, stored int, bindings []normalize.Binding) error {
	for i, b := range bindings {
		err := s.do(insertBinding, threadID, int64(stored+i+1), b.Backend, b.Vendor, b.Bot, b.Remote.ThreadID, b.Remote.UserID,
			millis(b.Since), millis(b.Until), b.Reason)
		if err != nil {
			return err
		}
	}
	return nil
}
