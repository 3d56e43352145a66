package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// prepared runs statements over database/sql, prepared beforehand.
type prepared struct {
	db      querier
	stmts   [queryCount]*sql.Stmt
	dialect *strings.Replacer
}

// querier is what *sql.DB and *sql.Conn have in common.
type querier interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// prepare prepares the first n statements.
func prepare(ctx context.Context, db querier, dialect *strings.Replacer, n query) (*prepared, error) {
	p := &prepared{db: db, dialect: dialect}
	for q := range n {
		text := dialect.Replace(queries[q])
		stmt, err := db.PrepareContext(ctx, text)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("preparing %q: %w", text, err)
		}
		p.stmts[q] = stmt
	}
	return p, nil
}

func (p *prepared) close() {
	for _, stmt := range p.stmts {
		if stmt != nil {
			_ = stmt.Close() // the connection goes anyway
		}
	}
}

func (p *prepared) exec(ctx context.Context, q query, args []any) (int64, error) {
	result, err := p.stmts[q].ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (p *prepared) later(ctx context.Context, q query, args []any) error {
	_, err := p.stmts[q].ExecContext(ctx, args...)
	return err
}

func (p *prepared) query(ctx context.Context, q query, args []any) (rows, error) {
	return p.stmts[q].QueryContext(ctx, args...) //nolint:rowserrcheck // eachRow does
}

func (p *prepared) queryText(ctx context.Context, text string, args []any) (rows, error) {
	return p.db.QueryContext(ctx, p.dialect.Replace(text), args...) //nolint:rowserrcheck // eachRow does
}
