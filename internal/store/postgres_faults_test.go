package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/internal/pgtest"
	"chatmux/normalize"
)

// consistent checks what must hold of a database whatever happened to its server:
// nothing is half-written.
func (f *fixture) consistent() {
	f.t.Helper()
	for what, text := range map[string]string{
		"threads that count other messages than they have": `SELECT COUNT(*) FROM threads t
			WHERE t.message_count <> (SELECT COUNT(*) FROM messages m WHERE m.thread_id = t.id)
			OR t.last_seq <> (SELECT COALESCE(MAX(m.seq), 0) FROM messages m WHERE m.thread_id = t.id)`,
		"threads that count other bindings than they have": `SELECT COUNT(*) FROM threads t
			WHERE t.binding_count <> (SELECT COUNT(*) FROM bindings b WHERE b.thread_id = t.id)`,
		"pending messages that nobody sends": `SELECT COUNT(*) FROM messages m WHERE m.status = 'pending'
			AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = m.thread_id AND s.message_id = m.id)`,
		"attempts without an end that nobody makes": `SELECT COUNT(*) FROM attempts a WHERE a.ended_at = 0
			AND NOT EXISTS (SELECT 1 FROM sends s WHERE s.thread_id = a.thread_id AND s.attempt_id = a.id)`,
		"replies to what was not sent": `SELECT COUNT(*) FROM messages r JOIN messages m ON m.id = r.in_reply_to WHERE m.status <> 'sent'`,
		"messages that were sent without a reply": `SELECT COUNT(*) FROM messages m WHERE m.role = 'user' AND m.status = 'sent'
			AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.in_reply_to = m.id)`,
	} {
		if n := f.count(text); n != 0 {
			f.t.Errorf("%d %s", n, what)
		}
	}
}

// traffic says one thing after the other, each in a thread of its own, and remembers
// what was acknowledged.
type traffic struct {
	f       *fixture
	turns   atomic.Int64
	refused atomic.Int64
	stop    chan struct{}
	wait    sync.WaitGroup

	mu   sync.Mutex
	said map[string]normalize.Message // by the id of their thread
}

func startTraffic(f *fixture, clients int) *traffic {
	tr := &traffic{f: f, stop: make(chan struct{}), said: make(map[string]normalize.Message)}
	for range clients {
		tr.wait.Go(tr.client)
	}
	return tr
}

func (tr *traffic) client() {
	for {
		select {
		case <-tr.stop:
			return
		default:
		}
		thread := newThread("acme")
		m := userMessage(thread.ID, "hello "+thread.ID)
		switch err := tr.turn(thread, m); {
		case err == nil:
			tr.turns.Add(1)
			tr.mu.Lock()
			tr.said[thread.ID] = m
			tr.mu.Unlock()
		case errors.Is(err, ErrUnavailable):
			tr.refused.Add(1)
		default:
			tr.f.t.Error(err)
			return
		}
	}
}

func (tr *traffic) turn(thread normalize.Thread, m normalize.Message) error {
	ctx := context.Background()
	attempt := newAttempt(m, m.ID)
	err := bounded(tr.f.t, "Accept", func() error {
		_, err := tr.f.Accept(ctx, Acceptance{
			Thread: thread, NewThread: true, Message: m, Attempt: attempt, Key: newKey("acme", "b"), Epoch: m.ID, Lease: time.Minute, Now: t0,
		})
		return err
	})
	if err != nil {
		return err
	}
	m.Status = normalize.StatusSent
	return bounded(tr.f.t, "Finish", func() error {
		return tr.f.Finish(ctx, Finish{
			Thread: thread, Message: m, Replies: []normalize.Message{replyTo(m, "reply to "+m.Text)}, Epoch: m.ID, Now: t0,
			Attempt: &AttemptEnd{ID: attempt.ID, EndedAt: t0},
		})
	})
}

// end stops the traffic and checks that what was acknowledged is there, once.
func (tr *traffic) end() {
	tr.f.t.Helper()
	close(tr.stop)
	tr.wait.Wait()
	tr.f.consistent()
	for id, m := range tr.said {
		list := tr.f.transcript(normalize.Thread{ID: id, Tenant: "acme"})
		if len(list) != 2 || list[0].ID != m.ID || list[0].Status != normalize.StatusSent || list[1].Text != "reply to "+m.Text {
			tr.f.t.Errorf("what was acknowledged in %s is stored as %+v", id, list)
		}
	}
}

// more waits until the counter has grown by n.
func (tr *traffic) more(counter *atomic.Int64, n int64) {
	tr.f.t.Helper()
	from := counter.Load()
	for deadline := time.Now().Add(20 * time.Second); counter.Load() < from+n; {
		if time.Now().After(deadline) {
			tr.f.t.Fatal("the traffic has come to a halt")
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// onServer opens a store on a server of the test's own.
func onServer(t *testing.T) (*fixture, *pgtest.Server, string) {
	t.Helper()
	server := pgtest.Start(t)
	dsn := server.Database()
	return &fixture{Store: mustOpen(t, dsn), t: t}, server, dsn
}

func TestD08ServerThatStopsAndComesBack(t *testing.T) {
	f, server, _ := onServer(t)
	tr := startTraffic(f, 6)
	tr.more(&tr.turns, 50)
	for range 2 {
		server.Stop()
		tr.more(&tr.refused, 50)
		server.Start()
		f.healed()
		tr.more(&tr.turns, 50)
	}
	tr.end()
}

func TestFrozenServerIsGivenUpAndHeals(t *testing.T) {
	f, server, _ := onServer(t)
	tr := startTraffic(f, 6)
	tr.more(&tr.turns, 50)
	server.Freeze()
	tr.more(&tr.refused, 12)
	server.Continue()
	f.healed()
	tr.more(&tr.turns, 50)
	tr.end()
}

// Connections that died while nobody used them are nobody's trouble.
func TestDeadPooledConnectionsAreUnseen(t *testing.T) {
	f, server, _ := onServer(t)
	pool := f.db.(*postgres).pool
	thread := f.thread("acme")
	for range 3 {
		f.occupy()() // all connections are open now, and idle
		if idle := pool.Stat().IdleConns(); idle != pool.Config().MaxConns {
			t.Fatalf("%d idle connections", idle)
		}
		server.Stop()
		server.Start()
		f.read(thread)
		f.say(thread, "hello")
	}
	f.consistent()
}

func TestD10ExhaustedPoolRefusesSoon(t *testing.T) {
	f := &fixture{Store: mustOpen(t, emptyPostgres(t)), t: t}
	thread := f.thread("acme")
	release := f.occupy()
	defer release()
	for what, call := range map[string]func() error{
		"a read":  func() error { _, err := f.Thread(t.Context(), "acme", thread.ID, false); return err },
		"a write": func() error { return f.CreateThread(t.Context(), newThread("acme")) },
	} {
		err := bounded(t, what, call)
		f.wantErr(what, err, ErrUnavailable)
		f.wantErr(what, err, errNoConnection)
	}
	release()
	f.say(thread, "hello")
	f.same("threads", f.count("SELECT COUNT(*) FROM threads"), 1)
}

// waitsForLock returns when a session of the database waits for a lock.
func waitsForLock(t *testing.T, dsn string) {
	t.Helper()
	conn := connect(t, dsn)
	for deadline := time.Now().Add(4 * time.Second); ; {
		var waiting bool
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for a lock")
		}
	}
}

func TestD11SerializationFailureIsUnseen(t *testing.T) {
	f, dsn := onPostgres(t)
	thread := f.thread("acme")
	other := connect(t, dsn)
	for i, change := range []string{
		`UPDATE threads SET version = version + 1, title = 'theirs' WHERE id = $1`,
		`INSERT INTO sends (thread_id, epoch, until, message_id, attempt_id) VALUES ($1, 'theirs', 9999999999999, 'm', '')`,
	} {
		tx, err := other.Begin(t.Context())
		f.must(err)
		// The thread is locked as any writer of ours locks it.
		_, err = tx.Exec(t.Context(), `SELECT 1 FROM threads WHERE id = $1 FOR NO KEY UPDATE`, thread.ID)
		f.must(err)
		_, err = tx.Exec(t.Context(), change, thread.ID)
		f.must(err)
		version := f.read(thread).Version
		calls := 0
		result := make(chan error, 1)
		go func() {
			if i == 0 {
				_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error {
					calls++
					st.Carry = st.Title
					return nil
				})
				result <- err
				return
			}
			_, err := f.Accept(t.Context(), Acceptance{
				Thread: thread, Version: version, Message: userMessage(thread.ID, "ours"), Epoch: "ours", Lease: time.Minute, Now: t0,
			})
			result <- err
		}()
		waitsForLock(t, dsn)
		f.must(tx.Commit(t.Context()))
		err = <-result
		if i == 1 {
			f.wantErr("Accept", err, ErrBusy)
			continue
		}
		f.must(err)
		if st := f.read(thread); calls != 1 || st.Carry != "theirs" || st.Version != version+2 {
			t.Errorf("after %d calls: carry %q, version %d", calls, st.Carry, st.Version)
		}
	}
	f.consistent()
}

func TestD11DeadlockIsUnseen(t *testing.T) {
	dsn := with(t, patient(t, emptyPostgres(t)), "deadlock_timeout", "50ms")
	one, two := &fixture{Store: mustOpen(t, dsn), t: t}, &fixture{Store: mustOpen(t, dsn), t: t}
	a, b := one.thread("acme"), one.thread("acme")
	var first sync.WaitGroup // of each the first half, so that both hold what the other wants
	first.Add(2)
	both := func(f *fixture, from, to normalize.Thread) error {
		halfway := sync.OnceFunc(func() { first.Done(); first.Wait() })
		return f.db.write(t.Context(), func(tx *session) error {
			if _, err := tx.exec(updateThreadSettled, from.ID, int64(1)); err != nil {
				return err
			}
			halfway()
			_, err := tx.exec(updateThreadSettled, to.ID, int64(1))
			return err
		})
	}
	errs := make([]error, 2)
	var wait sync.WaitGroup
	wait.Go(func() { errs[0] = both(one, a, b) })
	wait.Go(func() { errs[1] = both(two, b, a) })
	wait.Wait()
	one.must(errors.Join(errs...))
	for _, thread := range []normalize.Thread{a, b} {
		if v := one.read(thread).Version; v != 3 {
			t.Errorf("version %d after two changes of version 1", v)
		}
	}
}

// A new message and one that is sent again fight for a thread: one of them has it.
func TestResendAndSendOnTwoReplicasNeverBothHoldAThread(t *testing.T) {
	f, dsn := onPostgres(t)
	other := &fixture{Store: mustOpen(t, dsn), t: t}
	for range 50 {
		thread := f.thread("acme")
		failed := userMessage(thread.ID, "failed")
		f.begin(thread, failed, "e0")
		f.end(thread, failed, "e0", normalize.StatusFailed)
		version := f.read(thread).Version
		accept := func(f *fixture, m normalize.Message, resend bool) error {
			_, err := f.Accept(t.Context(), Acceptance{
				Thread: thread, Version: version, Message: m, Resend: resend, Epoch: newID("run"), Lease: time.Minute, Now: t0,
			})
			return err
		}
		errs := make([]error, 2)
		var wait sync.WaitGroup
		wait.Go(func() { errs[0] = accept(f, failed, true) })
		wait.Go(func() { errs[1] = accept(other, userMessage(thread.ID, "new"), false) })
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("the resend got %v, the send %v", errs[0], errs[1])
		}
		if err := errors.Join(errs...); !errors.Is(err, ErrBusy) && !errors.Is(err, ErrChanged) {
			t.Fatal(err)
		}
	}
	f.consistent()
}

func TestM01SameKeyOnTwoReplicasRunsOnce(t *testing.T) { sameKeyRunsOnce(t, 1000) }

// sameKeyRunsOnce lets two replicas accept each of n keys at one moment.
func sameKeyRunsOnce(t *testing.T, n int) {
	dsn := patient(t, emptyPostgres(t))
	replicas := []*Store{mustOpen(t, dsn), mustOpen(t, dsn)}
	const lanes = 8
	var wait sync.WaitGroup
	for lane := range lanes {
		wait.Go(func() {
			for i := lane; i < n; i += lanes {
				key := newKey("acme", "b")
				var runs, running atomic.Int32
				var pair sync.WaitGroup
				barrier := make(chan struct{})
				for _, s := range replicas {
					pair.Go(func() {
						thread := newThread("acme")
						m := userMessage(thread.ID, "x")
						<-barrier
						r, err := s.Accept(t.Context(), Acceptance{
							Thread: thread, NewThread: true, Message: m, Key: key, Epoch: m.ID, Lease: time.Minute, Now: t0,
						})
						switch {
						case err != nil:
							t.Error(err)
						case r.Accepted:
							runs.Add(1)
						case r.Key.Running:
							running.Add(1)
						}
					})
				}
				close(barrier)
				pair.Wait()
				if runs.Load() != 1 || running.Load() != 1 {
					t.Errorf("key %d: %d runs, %d told that it runs", i, runs.Load(), running.Load())
				}
			}
		})
	}
	wait.Wait()
	f := &fixture{Store: replicas[0], t: t}
	f.same("threads", f.count("SELECT COUNT(*) FROM threads"), n)
	f.same("messages", f.count("SELECT COUNT(*) FROM messages"), n)
	f.consistent()
}

func TestI11StalledOwnerIsFencedOff(t *testing.T) {
	owner, dsn := onPostgres(t)
	other := &fixture{Store: mustOpen(t, dsn), t: t}
	thread := owner.thread("acme")
	key := newKey("acme", "b")
	m := userMessage(thread.ID, "stalled")
	owner.begin(thread, m, "e1", withKey(key), withAttempt(newAttempt(m, "e1")))
	r, err := other.SettleExpired(t.Context(), 100)
	other.must(err)
	other.same("while the lease lasts", r, Recovered{})
	other.expire(thread) // the owner stalls for longer than its lease
	r, err = other.SettleExpired(t.Context(), 100)
	other.must(err)
	other.same("after the lease", r, Recovered{Unknown: 1})
	young := userMessage(thread.ID, "young")
	other.begin(thread, young, "e2")

	before, text := other.read(thread), other.transcript(thread)
	lost, err := owner.Renew(t.Context(), []string{"e1"}, time.Minute)
	owner.must(err)
	owner.same("Renew", lost, []string{"e1"})
	owner.wantErr("BeginAttempt", owner.BeginAttempt(t.Context(), *newAttempt(m, "e1"), nil), ErrLost)
	owner.wantErr("SaveBinding", owner.SaveBinding(t.Context(), "acme", thread.ID, "e1", normalize.Binding{Backend: "x"}, t0), ErrLost)
	m.Status = normalize.StatusSent
	owner.wantErr("Finish", owner.Finish(t.Context(), Finish{
		Thread: thread, Message: m, Replies: []normalize.Message{replyTo(m, "late")}, Key: key, Status: 200, Epoch: "e1", Now: t0,
	}), ErrLost)
	owner.same("thread", owner.read(thread), before)
	owner.same("transcript", owner.transcript(thread), text)
	other.end(thread, young, "e2", normalize.StatusSent)
	owner.consistent()
}

func TestM04LeasesGoByTheDatabasesClock(t *testing.T) {
	f, dsn := onPostgres(t)
	for name, skew := range map[string]time.Duration{"ahead": 10 * time.Minute, "behind": -10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), dsn, Options{Now: func() time.Time { return time.Now().Add(skew) }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			other := &fixture{Store: s, t: t}
			now := time.Now().Add(skew)
			thread := f.thread("acme")
			key := newKey("acme", "b")
			m := userMessage(thread.ID, "x")
			f.begin(thread, m, "e1", withKey(key), func(a *Acceptance) { a.Now = time.Now() })

			r, err := other.SettleExpired(t.Context(), 100)
			f.must(err)
			f.same("settled by the other", r, Recovered{})
			r, err = other.Recover(t.Context(), now)
			f.must(err)
			f.same("recovered by the other", r, Recovered{})
			_, err = other.Accept(t.Context(), Acceptance{
				Thread: thread, Version: f.read(thread).Version, Message: userMessage(thread.ID, "y"), Epoch: "e2", Lease: time.Minute, Now: now,
			})
			f.wantErr("Accept", err, ErrBusy)
			f.wantErr("EraseThread", other.erase(t.Context(), "acme", thread.ID, now), ErrBusy)
			state, err := other.LookupKey(t.Context(), *key, now)
			f.must(err)
			if left := state.LeaseEnds.Sub(now); !state.Running || left <= 0 || left > time.Minute {
				t.Errorf("running %v, %v left of a minute", state.Running, left)
			}
			f.expire(thread)
			state, err = other.LookupKey(t.Context(), *key, now)
			f.must(err)
			if state.Running || other.read(thread).Busy {
				t.Error("held after the lease")
			}
			r, err = other.SettleExpired(t.Context(), 100)
			f.must(err)
			f.same("settled after the lease", r, Recovered{Failed: 1})
		})
	}
}

// cutter is a proxy that cuts a connection when the client says COMMIT.
type cutter struct {
	t        *testing.T
	listener net.Listener
	server   string
	mode     atomic.Int32
	cuts     atomic.Int32
	wait     sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

// What a cutter does with the next COMMIT.
const (
	pass       = iota
	afterwards // the server gets it, the client no answer
	before     // the server does not get it
	late       // the client is cut off, and the server gets it a while later
	forGood    // as afterwards, and nobody reaches the server any more
)

func startCutter(t *testing.T, dsn string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, server: u.Host, open: make(map[net.Conn]bool)}
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c.wait.Go(c.serve)
	t.Cleanup(func() {
		_ = c.listener.Close()
		c.mu.Lock()
		for conn := range c.open {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.wait.Wait()
	})
	u.Host = c.listener.Addr().String()
	return c, u.String()
}

func (c *cutter) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = true
}

func (c *cutter) serve() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.keep(client)
		if c.mode.Load() == forGood {
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil {
			c.t.Error(err)
			return
		}
		c.keep(server)
		c.wait.Go(func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
			_, _ = io.Copy(io.Discard, server) // an answer left unread would reset the connection, and what is on its way in it
		})
		c.wait.Go(func() {
			c.forward(client, server)
			_ = server.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it was dialled so
		})
	}
}

// forward passes whole messages of the client on: a length first, after the very
// first one behind a letter.
func (c *cutter) forward(client io.ReadCloser, server io.Writer) {
	for head := 0; ; head = 1 {
		message := make([]byte, head+4)
		if _, err := io.ReadFull(client, message); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(message[head:])-4)
		if _, err := io.ReadFull(client, rest); err != nil {
			return
		}
		mode := int32(pass)
		if bytes.Equal(rest, []byte("COMMIT\x00")) {
			if mode = c.mode.Load(); mode != pass {
				c.cuts.Add(1)
			}
			if mode != forGood {
				c.mode.CompareAndSwap(mode, pass)
			}
		}
		switch mode {
		case before:
			_ = client.Close()
			return
		case afterwards:
			_ = client.Close()
		case late:
			_ = client.Close()
			time.Sleep(200 * time.Millisecond) // for so long the server knows of no end
		case forGood:
			c.mu.Lock()
			for conn := range c.open {
				if conn != server {
					_ = conn.Close()
				}
			}
			c.mu.Unlock()
		}
		if _, err := server.Write(append(message, rest...)); err != nil || mode != pass {
			return
		}
	}
}

func TestD09CommitWhoseAnswerIsLostIsSettled(t *testing.T) {
	for name, mode := range map[string]int32{"committed": afterwards, "not committed": before, "committed later": late} {
		t.Run(name, func(t *testing.T) {
			direct, dsn := onPostgres(t)
			proxy, address := startCutter(t, dsn)
			f := &fixture{Store: mustOpen(t, address), t: t}
			ctx := t.Context()
			var cuts int32
			cut := func(what string, call func() error) {
				t.Helper()
				cuts++
				proxy.mode.Store(mode)
				if err := bounded(t, what, call); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if n := proxy.cuts.Load(); n != cuts {
					t.Fatalf("%s: %d cuts, want %d", what, n, cuts)
				}
			}
			thread, key := newThread("acme"), newKey("acme", "b")
			cut("CreateThread", func() error { return f.CreateThread(ctx, thread) })
			m := userMessage(thread.ID, "hello")
			first, second := newAttempt(m, "e1"), newAttempt(m, "e1")
			var r AcceptResult
			cut("Accept", func() (err error) {
				r, err = f.Accept(ctx, Acceptance{
					Thread: thread, Version: 1, Message: m, Attempt: first, Key: key, Epoch: "e1", Lease: time.Minute, Now: t0,
				})
				return err
			})
			f.same("accepted", r, AcceptResult{Accepted: true, Version: 2, Seq: 1, Event: 1})
			cut("BeginAttempt", func() error {
				return f.BeginAttempt(ctx, *second, &AttemptEnd{ID: first.ID, Kind: "refused", EndedAt: t0})
			})
			b := normalize.Binding{Backend: "desk", Vendor: "altur", Remote: normalize.Remote{ThreadID: "r"}, Since: t0, Reason: "routed"}
			cut("SaveBinding", func() error { return f.SaveBinding(ctx, "acme", thread.ID, "e1", b, t0) })
			cut("Renew", func() error {
				lost, err := f.Renew(ctx, []string{"e1"}, time.Minute)
				f.same("lost", lost, []string(nil))
				return err
			})
			m.Status, m.Backend = normalize.StatusUnknown, "desk"
			thread.Bindings = []normalize.Binding{b}
			cut("Finish", func() error {
				return f.Finish(ctx, Finish{
					Thread: thread, Message: m, Epoch: "e1", Attempt: &AttemptEnd{ID: second.ID, Kind: "timeout", EndedAt: t0}, Key: key,
					Status: 504, Body: []byte("?"), Now: t0,
				})
			})
			found := replyTo(m, "found")
			cut("Settle", func() error {
				return f.Settle(ctx, Settlement{
					Tenant: "acme", ThreadID: thread.ID, MessageID: m.ID, Attempts: 2, Status: normalize.StatusSent,
					Replies: []normalize.Message{found}, Now: t0,
				})
			})
			notice := replyTo(m, "moved")
			cut("UpdateThread", func() error {
				st, err := f.UpdateThread(ctx, "acme", thread.ID, t0, func(st *StoredThread) error {
					st.Title, st.Append = "told "+st.Title, []normalize.Message{notice}
					return nil
				})
				f.same("title", st.Title, "told ")
				return err
			})
			cut("UpdateMessage", func() error {
				_, err := f.UpdateMessage(ctx, "acme", thread.ID, notice.ID, func(m *normalize.Message) error { m.Text += "!"; return nil })
				return err
			})
			m.Status, notice.Text = normalize.StatusSent, "moved!"
			f.same("transcript", direct.transcript(thread), []normalize.Message{m, found, notice})
			if st := direct.read(thread); st.Title != "told " || st.MessageCount != 3 || st.Busy {
				t.Errorf("the thread: title %q, %d messages, busy %v", st.Title, st.MessageCount, st.Busy)
			}
			direct.consistent()
			cut("EraseThread", func() error { return f.erase(ctx, "acme", thread.ID, t0) })
			_, err := direct.Thread(ctx, "acme", thread.ID, false)
			f.wantErr("deleted", err, ErrNotFound)
		})
	}
}

// Where the server cannot be asked any more, nobody claims to know.
func TestLostCommitIsDoubtfulWhereNobodyCanBeAsked(t *testing.T) {
	dsn := emptyPostgres(t)
	direct := &fixture{Store: mustOpen(t, patient(t, dsn)), t: t}
	proxy, address := startCutter(t, dsn)
	f := &fixture{Store: mustOpen(t, address), t: t}
	thread := newThread("acme")
	f.healed() // over a connection that is there
	proxy.mode.Store(forGood)
	err := bounded(t, "CreateThread", func() error { return f.CreateThread(t.Context(), thread) })
	f.wantErr("CreateThread", err, ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), "the write may have happened") {
		t.Errorf("error %v", err)
	}
	direct.eventually(func() bool { // it had
		_, err := direct.Thread(t.Context(), "acme", thread.ID, false)
		return err == nil
	})
	proxy.mode.Store(pass)
	f.healed()
}

func TestServerThatOnlyReadsIsRefusedAndHeals(t *testing.T) {
	f, dsn := onPostgres(t)
	u, err := url.Parse(dsn)
	f.must(err)
	database := "ALTER DATABASE " + u.Path[1:]
	thread := f.thread("acme")
	run(t, dsn, database+" SET default_transaction_read_only = on")
	f.db.(*postgres).pool.Reset() // those of before may write still
	f.wantErr("CreateThread", bounded(t, "CreateThread", func() error { return f.CreateThread(t.Context(), newThread("acme")) }), ErrUnavailable)
	f.read(thread)
	run(t, dsn, "SET default_transaction_read_only = off", database+" RESET default_transaction_read_only")
	f.healed()
	f.say(thread, "hello")
}
