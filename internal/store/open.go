package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Store is an open database. Its methods may be called from many goroutines.
//
// A method that writes returns nil only when what it wrote is durable. One that
// fails with ErrUnavailable promises nothing, except where its error says that the
// write never began.
//
// On SQLite every call ends within five seconds, or with its context if that is
// sooner; a write under way at that moment may still happen. On PostgreSQL every
// call ends within two seconds; its context counts until it has a connection.
type Store struct {
	db     database
	now    func() time.Time
	erased atomic.Bool // since the last Scrub

	closing sync.Once
	closed  error
}

// Options are what Open takes beside the address.
type Options struct {
	Now func() time.Time // of what the store does by itself; time.Now where nil
	Log *zap.Logger      // nothing is logged where nil
}

// database is what a dialect opens. The statements are the same for all dialects.
type database interface {
	// read runs an operation that changes nothing.
	read(ctx context.Context, run func(*session) error) error
	// write runs an operation in a transaction, and returns nil when it is durable.
	// It may run more than once: what it wrote before was rolled back then. It sees
	// one state of the database, and where something that it has read is changed by
	// somebody else before its end, it runs again.
	write(ctx context.Context, run func(*session) error) error
	// shared says that other processes may use the database too.
	shared() bool
	scrub(ctx context.Context) (bool, error) // see Store.Scrub
	// outbox is who has to know of what is written.
	outbox() *postbox
	// follow tells what others have written, until ctx ends.
	follow(ctx context.Context, told func(tidings))
	close() error
}

var errClosed = fmt.Errorf("%w: the store is closed", ErrUnavailable)

// Open opens the database that dsn names and brings its schema up to date:
//
//	sqlite:PATH      a file, made if it is not there; one process at a time
//	sqlite::memory:  a database of its own that ends with Close
//	postgres://…     a database of PostgreSQL 14 or later, shared by any number of processes
//
// A file that another process has open, that was written by a newer program, or
// that is not ours is refused, and left as it is; so is such a database of
// PostgreSQL. A PostgreSQL server that is away is no error: the store is open, all
// calls fail with ErrUnavailable, and it heals by itself within seconds of the
// server's return. The context is for opening only.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	db, err := openDatabase(ctx, dsn, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{db: db, now: opts.Now}, nil
}

// openDatabase chooses the dialect. Its errors never repeat the address, which can
// hold a password.
func openDatabase(ctx context.Context, dsn string, log *zap.Logger) (database, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		if rest == "" {
			return nil, errors.New("the address names no file: write sqlite:PATH or sqlite::memory:")
		}
		return openSQLite(ctx, rest, log)
	case "postgres", "postgresql":
		return openPostgres(ctx, dsn, log)
	default:
		return nil, errors.New("the address is of no kind that is known: write sqlite:PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE")
	}
}

// Close waits for the writes that were taken, closes the database and gives its
// lock back. Later calls of other methods fail with ErrUnavailable; a second Close
// returns what the first did.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.db.close() })
	return s.closed
}

// Ping reports whether the store can serve: it reads a row and makes a change of
// it durable.
func (s *Store) Ping(ctx context.Context) error {
	err := s.db.read(ctx, func(tx *session) error {
		var at int64
		_, err := tx.one(selectProbe, nil, &at)
		return err
	})
	if err != nil {
		return err
	}
	at := millis(s.now())
	return s.db.write(ctx, func(tx *session) error {
		return tx.do(updateProbe, at)
	})
}
