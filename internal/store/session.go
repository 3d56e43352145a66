package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// session runs statements on one connection, or on any connection of a pool. Every
// error that comes out of it is ErrUnavailable with its cause.
//
// A text that no database could hold as text is made one on the way in: NUL and
// invalid UTF-8 become U+FFFD, on every store alike.
type session struct {
	ctx   context.Context
	db    statements
	wrote bool // a row was changed since the operation began

	receivers *receivers // who is told of events; nil: nobody
	tidings   tidings    // what the operation brings
}

// statements is what a dialect does for a session.
type statements interface {
	exec(ctx context.Context, q query, args []any) (int64, error)
	later(ctx context.Context, q query, args []any) error // before the next of the others, and before the commit
	query(ctx context.Context, q query, args []any) (rows, error)
	queryText(ctx context.Context, text string, args []any) (rows, error)
}

// scanner is what a row can be read by.
type scanner interface{ Scan(dest ...any) error }

type rows interface {
	scanner
	Next() bool
	Err() error
	Close() error
}

// unavailable wraps a cause of the database.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// exec returns how many rows it changed.
func (s *session) exec(q query, args ...any) (int64, error) {
	n, err := s.db.exec(s.ctx, q, storable(args))
	s.wrote = s.wrote || n > 0 || err != nil
	return n, unavailable(err)
}

// do is exec for a statement of which nobody asks how many rows it changed. Its error
// may come with a later statement's, or with the commit's.
func (s *session) do(q query, args ...any) error {
	s.wrote = true
	return unavailable(s.db.later(s.ctx, q, storable(args)))
}

// one reads at most one row and reports whether there was one.
func (s *session) one(q query, args []any, dest ...any) (bool, error) {
	found := false
	err := s.each(q, args, func(row scanner) error {
		found = true
		return row.Scan(dest...)
	})
	return found, err
}

// each calls row for every row of a statement.
func (s *session) each(q query, args []any, row func(scanner) error) error {
	found, err := s.db.query(s.ctx, q, storable(args))
	return eachRow(found, err, row)
}

// eachOf is each for a text that is put together.
func (s *session) eachOf(text string, args []any, row func(scanner) error) error {
	found, err := s.db.queryText(s.ctx, text, storable(args))
	return eachRow(found, err, row)
}

func eachRow(found rows, err error, row func(scanner) error) error {
	if err != nil {
		return unavailable(err)
	}
	defer found.Close()
	for found.Next() {
		if err := row(found); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(found.Err())
}

// storable is args with texts that can be stored.
func storable(args []any) []any {
	for i, arg := range args {
		if text, ok := arg.(string); ok && (!utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
		}
	}
	return args
}

// millis and timeOf are how times are stored: milliseconds, 0 for no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
