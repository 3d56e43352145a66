package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// maxBatch is how many operations share a commit at most.
const maxBatch = 64

// operation is one write: whole or not at all.
type operation struct {
	run   func(*session) error
	state atomic.Int32
	err   error
	panic any
	done  chan struct{} // closed when err is the result of what is durable
}

// The states of an operation. Only one of the writer and the caller moves it on
// from waiting.
const (
	waiting = iota
	begun   // the writer has it
	givenUp // the caller did not wait; the writer leaves it alone
)

// writer is the one connection that writes. It takes all operations that wait (up
// to maxBatch) into one transaction, so that they share one sync of the disk, and
// answers them after its commit.
type writer struct {
	db      *sqliteFile
	log     *zap.Logger
	ops     chan *operation
	quit    chan struct{} // closed to stop
	stopped chan struct{} // closed when nothing will be answered any more

	gate    sync.Mutex // held during a batch, and by readers where there is one connection for all
	conn    *sql.Conn
	stmts   *prepared
	session *session // nil while there is no connection
}

func newWriter(ctx context.Context, db *sqliteFile, log *zap.Logger) (*writer, error) {
	w := &writer{
		db: db, log: log,
		ops: make(chan *operation, maxBatch), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := w.connect(ctx); err != nil {
		return nil, err
	}
	go w.loop()
	return w, nil
}

// write runs an operation and returns when it is durable, or was refused, or the
// context ended. In the last case the error says whether it may still happen.
//
// An operation may run more than once: what it wrote before was rolled back then.
func (w *writer) write(ctx context.Context, run func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	op := &operation{run: run, done: make(chan struct{})}
	select {
	case w.ops <- op:
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: gave up before the write began: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case <-op.done:
	case <-w.stopped:
		select {
		case <-op.done:
		default:
			return errClosed
		}
	case <-ctx.Done():
		if op.state.CompareAndSwap(waiting, givenUp) {
			return fmt.Errorf("%w: gave up before the write began: %w", ErrUnavailable, context.Cause(ctx))
		}
		return fmt.Errorf("%w: gave up while the write was under way, it may still happen: %w", ErrUnavailable, context.Cause(ctx))
	}
	if op.panic != nil {
		panic(op.panic) // where the caller's own stack and recovery are
	}
	return op.err
}

func (w *writer) loop() {
	defer close(w.stopped)
	batch := make([]*operation, 0, maxBatch)
	for {
		select {
		case op := <-w.ops:
			batch = append(batch[:0], op)
		case <-w.quit:
			select {
			case op := <-w.ops: // accepted before the end: still done
				batch = append(batch[:0], op)
			default:
				return
			}
		}
	more:
		for len(batch) < maxBatch {
			select {
			case op := <-w.ops:
				batch = append(batch, op)
			default:
				break more
			}
		}
		w.commit(batch)
		clear(batch)
	}
}

// commit makes a batch durable and answers its callers. If one operation fails,
// each gets a transaction of its own, so that it fails alone.
func (w *writer) commit(batch []*operation) {
	w.gate.Lock()
	defer w.gate.Unlock()
	began, err := w.try(batch)
	if err != nil && began && len(batch) > 1 {
		w.log.Warn("store: a batch of writes failed, trying them one by one", zap.Int("writes", len(batch)), zap.Error(err))
		for i := range batch {
			if began, err = w.try(batch[i : i+1]); !began {
				batch = batch[i:]
				break
			}
			answer(batch[i:i+1], err)
		}
		if began {
			return
		}
	}
	answer(batch, err)
}

// answer ends the operations of one transaction. Of those that wrote nothing the
// own error stands.
func answer(batch []*operation, err error) {
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		close(op.done)
	}
}

// try runs a batch in one transaction. began is false where not even that could be
// had: then it makes no sense to try again at once. A refusal of an operation is its
// own result and no failure of the batch.
func (w *writer) try(batch []*operation) (began bool, err error) {
	if err := w.db.usable(); err != nil {
		return false, unavailable(err)
	}
	// No deadline here: the wait for a lock is bounded by the connection, the
	// caller has a deadline of its own, and a large deletion has to end some day.
	ctx := context.Background()
	if w.session == nil {
		if err := w.connect(ctx); err != nil {
			return false, unavailable(err)
		}
	}
	if _, err := w.session.exec(begin); err != nil {
		w.rollback()
		return false, err
	}
	for _, op := range batch {
		// Callers that left while the lock was waited for are left alone.
		if op.state.Load() != begun && !op.state.CompareAndSwap(waiting, begun) {
			continue
		}
		w.session.wrote = false
		op.panic, op.err = protect(op.run, w.session)
		if op.panic != nil {
			w.rollback()
			return true, fmt.Errorf("%w: a write panicked: %v", ErrUnavailable, op.panic)
		}
		if op.err != nil && (w.session.wrote || errors.Is(op.err, ErrUnavailable)) {
			err := op.err
			w.rollback()
			return true, err
		}
	}
	if _, err := w.session.exec(commit); err != nil {
		w.rollback()
		return true, err
	}
	return true, nil
}

// protect turns a panic of an operation into a value: the writer serves others.
func protect(run func(*session) error, tx *session) (panicked any, err error) {
	defer func() { panicked = recover() }()
	return nil, run(tx)
}

// rollback ends a transaction that failed. Where there is none to end (SQLite ends
// some by itself, at a full disk for one), the connection is in doubt and goes.
func (w *writer) rollback() {
	if _, err := w.session.exec(rollback); err != nil && w.db.reopen {
		w.disconnect()
	}
}

func (w *writer) connect(ctx context.Context) error {
	conn, err := w.db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the connection for writing: %w", err)
	}
	stmts, err := prepare(ctx, conn, sqliteDialect, queryCount)
	if err != nil {
		_ = conn.Close()
		return err
	}
	w.conn, w.stmts, w.session = conn, stmts, &session{ctx: context.Background(), db: stmts}
	return nil
}

// disconnect closes the connection for good instead of giving it back to its pool.
func (w *writer) disconnect() {
	if w.session == nil {
		return
	}
	w.stmts.close()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = w.conn.Close()
	w.conn, w.stmts, w.session = nil, nil, nil
}

// emptyLog moves all of the write-ahead log into the file and cuts it to nothing,
// between two batches. False where a reader stood in the way: nobody is waited for.
func (w *writer) emptyLog(ctx context.Context) (bool, error) {
	w.gate.Lock()
	defer w.gate.Unlock()
	if w.session == nil {
		return false, nil // the next write opens a connection
	}
	if err := w.db.usable(); err != nil {
		return false, unavailable(err)
	}
	var busy, frames, moved int
	if _, err := w.conn.ExecContext(ctx, `PRAGMA busy_timeout = 0`); err != nil {
		return false, unavailable(err)
	}
	err := w.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved)
	if _, again := w.conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA busy_timeout = 4000`); again != nil {
		w.disconnect() // the next write opens another
	}
	return busy == 0, unavailable(err)
}

// close ends the writer after the operations that it has taken.
func (w *writer) close() {
	close(w.quit)
	<-w.stopped
	w.gate.Lock()
	defer w.gate.Unlock()
	w.disconnect()
}
