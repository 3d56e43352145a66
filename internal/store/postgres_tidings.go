package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// Processes that share a database tell each other what they have committed by its
// NOTIFY. A notification within the transaction that it is about would put all commits
// in one queue (PostgreSQL holds one lock of the whole server from there to the end of
// the commit), so each process tells of many of its commits together, afterwards, in a
// transaction of its own that waits for no disk. What is lost on the way is found by
// those who look by themselves.
const (
	noticeChannel = "chatmux"
	noticePause   = 5 * time.Millisecond // in which tidings are collected
	noticeLimit   = 7000                 // bytes of a notification; PostgreSQL takes fewer than 8000
	listenPause   = 500 * time.Millisecond
)

// notices is what a process is about to tell.
type notices struct {
	due chan struct{} // there is something

	mu      sync.Mutex
	waiting tidings
}

func (l *notices) add(n tidings) {
	l.mu.Lock()
	l.waiting.threads = append(l.waiting.threads, n.threads...)
	l.waiting.posted = l.waiting.posted || n.posted
	l.mu.Unlock()
	select {
	case l.due <- struct{}{}:
	default:
	}
}

func (l *notices) take() tidings {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.waiting
	l.waiting = tidings{}
	slices.Sort(n.threads)
	n.threads = slices.Compact(n.threads)
	return n
}

// publish tells what is committed until ctx ends, and then what is left.
func (db *postgres) publish(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-db.notices.due:
			pause(ctx, noticePause)
		}
		if letters := db.letters(db.notices.take()); len(letters) > 0 {
			if err := db.notify(context.WithoutCancel(ctx), letters); err != nil {
				db.log.Debug("store: other processes were not told of what happened; they find it by themselves", zap.Error(err))
			}
		}
	}
}

// letters writes tidings down: who tells, whether there is something to deliver, threads.
func (db *postgres) letters(n tidings) (letters []string) {
	if !n.posted && len(n.threads) == 0 {
		return nil
	}
	posted := "-"
	if n.posted {
		posted = "+"
	}
	var b strings.Builder
	begin := func() {
		b.Reset()
		b.WriteString(db.name + " " + posted)
	}
	begin()
	for _, id := range n.threads {
		if b.Len()+1+len(id) > noticeLimit {
			letters = append(letters, b.String())
			begin()
		}
		b.WriteString(" " + id)
	}
	return append(letters, b.String())
}

func (db *postgres) notify(ctx context.Context, letters []string) error {
	return db.call(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var batch pgx.Batch
		batch.Queue(`BEGIN`)
		batch.Queue(`SET LOCAL synchronous_commit = off`)
		for _, letter := range letters {
			batch.Queue(`SELECT pg_notify($1, $2)`, noticeChannel, letter)
		}
		batch.Queue(`COMMIT`)
		return unavailable(conn.SendBatch(ctx, &batch).Close())
	})
}

// follow listens on a connection of its own, which it makes anew when it breaks. What was
// told meanwhile is missed.
func (db *postgres) follow(ctx context.Context, told func(tidings)) {
	deaf := false
	for {
		err := db.listen(ctx, func(n tidings) {
			deaf = deaf && !n.missed
			told(n)
		})
		if ctx.Err() != nil {
			return
		}
		if !deaf && !errors.Is(db.usable(), errClosed) {
			deaf = true
			db.log.Warn("store: what other processes do is not heard until PostgreSQL can be listened to again; it is looked for meanwhile", zap.Error(err))
		}
		pause(ctx, listenPause)
	}
}

func (db *postgres) listen(ctx context.Context, told func(tidings)) error {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer db.discard(conn)
	if _, err := conn.Exec(ctx, `LISTEN `+noticeChannel); err != nil {
		return err
	}
	told(tidings{missed: true})
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		words := strings.Fields(n.Payload)
		if len(words) >= 2 && words[0] != db.name {
			told(tidings{posted: words[1] == "+", threads: words[2:]})
		}
	}
}
