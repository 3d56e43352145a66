package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"chatmux/normalize"
)

// fixture is a store with short ways to what the tests do most.
type fixture struct {
	*Store
	t *testing.T
}

// Finish is the store's, for tests that do not ask for positions.
func (f *fixture) Finish(ctx context.Context, fin Finish) error {
	_, err := f.Store.Finish(ctx, fin)
	return err
}

// t0 is the time that the tests begin at.
var t0 = time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)

func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

var lastID atomic.Int64

func newID(prefix string) string { return fmt.Sprintf("%s_%026d", prefix, lastID.Add(1)) }

func newThread(tenant string) normalize.Thread {
	return normalize.Thread{
		ID: newID("thr"), Tenant: tenant, Mode: normalize.ModeAI, Status: normalize.ThreadOpen, CreatedAt: t0, UpdatedAt: t0,
	}
}

func userMessage(threadID, text string) normalize.Message {
	return normalize.Message{
		ID: newID("msg"), ThreadID: threadID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: text,
		Status: normalize.StatusPending, CreatedAt: t0,
	}
}

func replyTo(m normalize.Message, text string) normalize.Message {
	return normalize.Message{
		ID: newID("msg"), ThreadID: m.ThreadID, Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: text,
		Status: normalize.StatusComplete, InReplyTo: m.ID, CreatedAt: t0,
	}
}

func newKey(tenant, body string) *Key {
	k := &Key{Tenant: tenant, Key: newID("key"), Path: "POST /v1/messages"}
	copy(k.BodyHash[:], body)
	return k
}

func newAttempt(m normalize.Message, epoch string) *Attempt {
	return &Attempt{ID: newID("att"), ThreadID: m.ThreadID, MessageID: m.ID, Backend: "desk", Epoch: epoch, StartedAt: t0}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wantErr(what string, got, want error) {
	f.t.Helper()
	if !errors.Is(got, want) {
		f.t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// same compares what a reader gets with what it should get; an empty list is as good
// as none.
func (f *fixture) same(what string, got, want any) {
	f.t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (f *fixture) thread(tenant string) normalize.Thread {
	f.t.Helper()
	thread := newThread(tenant)
	f.must(f.CreateThread(f.t.Context(), thread))
	return thread
}

func (f *fixture) read(t normalize.Thread) StoredThread {
	f.t.Helper()
	got, err := f.Thread(f.t.Context(), t.Tenant, t.ID, true)
	f.must(err)
	return got
}

func (f *fixture) transcript(t normalize.Thread) []normalize.Message {
	f.t.Helper()
	list, more, err := f.Messages(f.t.Context(), t.Tenant, t.ID, Range{Ascending: true, Limit: 200, Raw: true})
	f.must(err)
	if more {
		f.t.Fatal("more than 200 messages")
	}
	messages := make([]normalize.Message, len(list))
	for i, m := range list {
		messages[i] = m.Message
		if m.Seq != int64(i+1) {
			f.t.Errorf("message %d has position %d", i+1, m.Seq)
		}
	}
	return messages
}

// begin accepts a message in a thread as it is now.
func (f *fixture) begin(t normalize.Thread, m normalize.Message, epoch string, more ...func(*Acceptance)) AcceptResult {
	f.t.Helper()
	a := Acceptance{Thread: t, Version: f.read(t).Version, Message: m, Epoch: epoch, Lease: time.Minute, Now: t0}
	for _, set := range more {
		set(&a)
	}
	r, err := f.Accept(f.t.Context(), a)
	f.must(err)
	return r
}

func withKey(k *Key) func(*Acceptance)          { return func(a *Acceptance) { a.Key = k } }
func withAttempt(at *Attempt) func(*Acceptance) { return func(a *Acceptance) { a.Attempt = at } }

// end finishes a send with a status and, where it was sent, one reply.
func (f *fixture) end(t normalize.Thread, m normalize.Message, epoch string, status normalize.MessageStatus, more ...func(*Finish)) {
	f.t.Helper()
	m.Status = status
	fin := Finish{Thread: f.read(t).Thread, Message: m, Epoch: epoch, Now: at(1)}
	if status == normalize.StatusSent {
		fin.Replies = []normalize.Message{replyTo(m, "reply to "+m.Text)}
	}
	for _, set := range more {
		set(&fin)
	}
	f.must(f.Finish(f.t.Context(), fin))
}

func (f *fixture) erase(ctx context.Context, tenant, id string, now time.Time) error {
	_, err := f.EraseThread(ctx, tenant, id, now, now)
	return err
}

// say is a whole turn.
func (f *fixture) say(t normalize.Thread, text string) normalize.Message {
	f.t.Helper()
	m := userMessage(t.ID, text)
	f.begin(t, m, m.ID)
	f.end(t, m, m.ID, normalize.StatusSent)
	return m
}

// expire ends the lease of the send that holds a thread.
func (f *fixture) expire(t normalize.Thread) {
	f.t.Helper()
	f.change("UPDATE sends SET until = 1 WHERE thread_id = $1", t.ID)
}

// change goes to the database itself.
func (f *fixture) change(text string, args ...any) {
	f.t.Helper()
	f.must(f.db.write(f.t.Context(), func(tx *session) error {
		return tx.eachOf(text, args, func(scanner) error { return nil })
	}))
}

// leased is a key's state with the end of its lease as the database's clock would
// give it if no time passed: a minute after t0.
func (f *fixture) leased(k KeyState) KeyState {
	f.t.Helper()
	if left := k.LeaseEnds.Sub(t0); left <= 0 || left > time.Minute {
		f.t.Errorf("the lease has %v left, want a minute or a little less", left)
	}
	k.LeaseEnds = at(1)
	return k
}

func ptr[T any](v T) *T { return &v }

func fullThread(tenant string) normalize.Thread {
	t := newThread(tenant)
	t.Backend, t.Route, t.Title = "desk", "vip", "Where is my parcel? <b>&amp;</b>"
	t.User = normalize.User{ID: "u-1", Name: "Zoë 🙂", Email: "zoe@example.org", Phone: "+49 30 1", Info: "likes \"quotes\""}
	t.Mode, t.Status = normalize.ModeHuman, normalize.ThreadBlocked
	t.Tags = []normalize.Tag{{ID: "1", Name: "urgent", Color: "#f00"}, {Name: "vip"}}
	t.Assignees = []normalize.Assignee{{ID: "a1", Name: "Ana", Email: "ana@example.org"}}
	t.Metadata = map[string]string{"plan": "gold", "empty": ""}
	t.Channel = normalize.Channel{ID: "c", Name: "web", Type: "api"}
	t.Escalated = ptr(false)
	t.Asked, t.Called, t.Key = "desk/7", "order-17", "a person"
	t.Bindings = []normalize.Binding{
		{Backend: "old", Vendor: "altur", Bot: "b0", Remote: normalize.Remote{ThreadID: "r0"}, Since: t0, Until: at(1), Reason: "moved"},
		{Backend: "older", Vendor: "sitegpt", Remote: normalize.Remote{ThreadID: "r1"}, Since: at(1), Until: at(2), Reason: "moved"},
		{Backend: "desk", Vendor: "altur", Bot: "b1", Remote: normalize.Remote{ThreadID: "r2", UserID: "u2"}, Since: at(2), Reason: "back"},
	}
	t.Raw = json.RawMessage(`{"id": "r2",  "x": 1.0}`)
	return t
}

// count asks the database itself.
func (f *fixture) count(text string, args ...any) (n int) {
	f.t.Helper()
	f.must(f.db.read(f.t.Context(), func(tx *session) error {
		return tx.eachOf(text, args, func(row scanner) error { return row.Scan(&n) })
	}))
	return n
}

// writer is what writes to SQLite.
func (f *fixture) writer() *writer { return f.db.(*sqlite).writer }

// occupy keeps everybody from writing until release is called.
func (f *fixture) occupy() (release func()) {
	f.t.Helper()
	if db, ok := f.db.(*postgres); ok {
		return occupyPool(f.t, db)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = f.writer().write(context.Background(), func(*session) error { close(entered); <-leave; return nil })
	})
	<-entered
	return sync.OnceFunc(func() { close(leave); wait.Wait() })
}

// occupyPool takes every connection that there can be.
func occupyPool(t *testing.T, db *postgres) (release func()) {
	t.Helper()
	taken := make([]*pgxpool.Conn, db.pool.Config().MaxConns)
	for i := range taken {
		conn, err := db.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken[i] = conn
	}
	return sync.OnceFunc(func() {
		for _, conn := range taken {
			conn.Release()
		}
	})
}

// queued returns when n writes wait for the writer. On PostgreSQL there is none: they
// wait for a connection, and none of them has begun.
func (f *fixture) queued(n int) {
	f.t.Helper()
	if _, ok := f.db.(*sqlite); ok {
		f.eventually(func() bool { return len(f.writer().ops) == n })
	}
}
