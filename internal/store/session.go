package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// session runs the prepared statements on one connection, or on any connection of
// a pool. Every error that comes out of it is ErrUnavailable with its cause.
type session struct {
	ctx     context.Context
	db      querier
	stmts   *statements
	dialect *strings.Replacer
	wrote   bool // a row was changed since the operation began
}

type statements [queryCount]*sql.Stmt

// querier is what *sql.DB and *sql.Conn have in common.
type querier interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// prepare prepares the first n statements.
func prepare(ctx context.Context, db querier, dialect *strings.Replacer, n query) (*statements, error) {
	var all statements
	for q := range n {
		text := dialect.Replace(queries[q])
		stmt, err := db.PrepareContext(ctx, text)
		if err != nil {
			all.close()
			return nil, fmt.Errorf("preparing %q: %w", text, err)
		}
		all[q] = stmt
	}
	return &all, nil
}

func (all *statements) close() {
	for _, stmt := range all {
		if stmt != nil {
			_ = stmt.Close() // the connection goes anyway
		}
	}
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
	res, err := s.stmts[q].ExecContext(s.ctx, args...)
	if err != nil {
		return 0, unavailable(err)
	}
	n, err := res.RowsAffected()
	s.wrote = s.wrote || n > 0 || err != nil
	return n, unavailable(err)
}

// one reads at most one row and reports whether there was one.
func (s *session) one(q query, args []any, dest ...any) (bool, error) {
	err := s.stmts[q].QueryRowContext(s.ctx, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, unavailable(err)
}

// scanner is what a row can be read by.
type scanner interface{ Scan(dest ...any) error }

// each calls row for every row of a prepared statement.
func (s *session) each(q query, args []any, row func(scanner) error) error {
	rows, err := s.stmts[q].QueryContext(s.ctx, args...)
	return eachRow(rows, err, row)
}

// eachOf is each for a text that is put together.
func (s *session) eachOf(text string, args []any, row func(scanner) error) error {
	rows, err := s.db.QueryContext(s.ctx, s.dialect.Replace(text), args...)
	return eachRow(rows, err, row)
}

func eachRow(rows *sql.Rows, err error, row func(scanner) error) error {
	if err != nil {
		return unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(rows.Err())
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
