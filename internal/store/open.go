package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Store is an open database. Its methods may be called from many goroutines.
//
// A method that writes returns nil only when what it wrote is durable. One that
// fails with ErrUnavailable promises nothing, except where its error says that the
// write never began. Every call ends within five seconds, or with its context if
// that is sooner; a write under way at that moment may still happen.
type Store struct {
	db     *database
	writer *writer
	reader *session // nil where reads go over the writer's connection
	now    func() time.Time

	closing sync.Once
	closed  error
}

// Options are what Open takes beside the address.
type Options struct {
	Now func() time.Time // time.Now where nil
	Log *zap.Logger      // nothing is logged where nil
}

// database is what a dialect opens, and all that it is asked for later. The
// statements are the same for all dialects.
type database struct {
	write   *sql.DB
	read    *sql.DB           // nil: the connection that writes is the only one
	dialect *strings.Replacer // what the statements leave open
	reopen  bool              // a connection in doubt may be closed and another one opened
	check   func() error      // before each commit: is it still the database that was opened?
	unlock  func() error      // last of all
}

var errClosed = fmt.Errorf("%w: the store is closed", ErrUnavailable)

// Open opens the database that dsn names and brings its schema up to date:
//
//	sqlite:PATH      a file, made if it is not there; one process at a time
//	sqlite::memory:  a database of its own that ends with Close
//
// A file that another process has open, that was written by a newer program, or
// that is not ours is refused, and left as it is. The context is for opening only.
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
	s := &Store{db: db, now: opts.Now}
	if db.read != nil {
		stmts, err := prepare(ctx, db.read, db.dialect, begin)
		if err != nil {
			return nil, fmt.Errorf("store: %w", errors.Join(err, db.close()))
		}
		s.reader = &session{db: db.read, stmts: stmts, dialect: db.dialect}
	}
	if s.writer, err = newWriter(ctx, db, opts.Log); err != nil {
		return nil, fmt.Errorf("store: %w", errors.Join(err, db.close()))
	}
	return s, nil
}

// openDatabase chooses the dialect. Its errors never repeat the address, which can
// hold a password.
func openDatabase(ctx context.Context, dsn string, log *zap.Logger) (*database, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		if rest == "" {
			return nil, errors.New("the address names no file: write sqlite:PATH or sqlite::memory:")
		}
		return openSQLite(ctx, rest, log)
	case "postgres", "postgresql":
		return nil, errors.New("PostgreSQL comes with a later release: write sqlite:PATH or sqlite::memory:")
	default:
		return nil, errors.New("the address is of no kind that is known: write sqlite:PATH or sqlite::memory:")
	}
}

func (db *database) close() error {
	var err error
	if db.read != nil {
		err = db.read.Close()
	}
	return errors.Join(err, db.write.Close(), db.unlock())
}

// Close waits for the writes that were taken, closes the database and gives its
// lock back. Later calls of other methods fail with ErrUnavailable; a second Close
// returns what the first did.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.writer.close()
		if s.reader != nil {
			s.reader.stmts.close()
		}
		s.closed = s.db.close()
	})
	return s.closed
}

// Ping reports whether the store can serve: it reads a row and makes a change of
// it durable.
func (s *Store) Ping(ctx context.Context) error {
	err := s.read(ctx, func(tx *session) error {
		var at int64
		_, err := tx.one(selectProbe, nil, &at)
		return err
	})
	if err != nil {
		return err
	}
	at := millis(s.now())
	return s.writer.write(ctx, func(tx *session) error {
		_, err := tx.exec(updateProbe, at)
		return err
	})
}

// read runs a reading operation, with a deadline.
func (s *Store) read(ctx context.Context, run func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if s.reader != nil {
		return run(&session{ctx: ctx, db: s.reader.db, stmts: s.reader.stmts, dialect: s.db.dialect})
	}
	s.writer.gate.Lock()
	defer s.writer.gate.Unlock()
	if s.writer.session == nil {
		return errClosed
	}
	return run(&session{ctx: ctx, db: s.writer.session.db, stmts: s.writer.session.stmts, dialect: s.db.dialect})
}
