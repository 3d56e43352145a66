package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgStatements runs the statements of a call on its connection. pgx prepares each of
// them once for each connection. Those whose results nobody waits for go out together
// with one wait for the server.
type pgStatements struct {
	conn    *pgx.Conn
	texts   *[queryCount]string
	waiting pgx.Batch
}

func (p *pgStatements) later(_ context.Context, q query, args []any) error {
	p.waiting.Queue(p.texts[q], args...)
	return nil
}

// flush runs what waits.
func (p *pgStatements) flush(ctx context.Context) error {
	return p.conn.SendBatch(ctx, p.take()).Close()
}

func (p *pgStatements) take() *pgx.Batch {
	batch := p.waiting
	p.waiting = pgx.Batch{}
	return &batch
}

func (p *pgStatements) exec(ctx context.Context, q query, args []any) (int64, error) {
	found, err := p.run(ctx, p.texts[q], args)
	if err != nil {
		return 0, err
	}
	err = found.Close()
	return found.CommandTag().RowsAffected(), err
}

func (p *pgStatements) query(ctx context.Context, q query, args []any) (rows, error) {
	return p.run(ctx, p.texts[q], args)
}

func (p *pgStatements) queryText(ctx context.Context, text string, args []any) (rows, error) {
	return p.run(ctx, postgresDialect.Replace(text), args)
}

// run runs a statement behind those that wait.
func (p *pgStatements) run(ctx context.Context, text string, args []any) (*pgRows, error) {
	before := p.waiting.Len()
	if before == 0 {
		found, err := p.conn.Query(ctx, text, args...)
		return &pgRows{Rows: found}, err
	}
	p.waiting.Queue(text, args...)
	results := p.conn.SendBatch(ctx, p.take())
	for range before {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the same error
			return nil, err
		}
	}
	found, err := results.Query()
	return &pgRows{found, results}, err
}

type pgRows struct {
	pgx.Rows
	batch pgx.BatchResults // nil where the statement went out alone
}

func (r *pgRows) Close() error {
	r.Rows.Close()
	err := r.Err()
	if r.batch != nil {
		err = errors.Join(err, r.batch.Close())
	}
	return err
}

func (db *postgres) read(ctx context.Context, run func(*session) error) error {
	return db.call(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return run(&session{ctx: ctx, db: &pgStatements{conn: conn, texts: &db.texts}})
	})
}

// write gives every operation a transaction of its own; the server syncs the commits
// of several connections together. Repeatable read is what database asks for: a
// change by somebody else of a row that is written or locked here ends in a
// serialization failure, never in a write by what is not true any more.
func (db *postgres) write(ctx context.Context, run func(*session) error) error {
	return db.spread(run, func(run func(*session) error) error { return db.transact(ctx, run) })
}

func (db *postgres) transact(ctx context.Context, run func(*session) error) error {
	return db.call(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		sign := &doubt{connection: nameOf(conn), token: rand.Text()}
		statements := &pgStatements{conn: conn, texts: &db.texts}
		statements.waiting.Queue(`BEGIN ISOLATION LEVEL REPEATABLE READ`)
		err := run(&session{ctx: ctx, db: statements})
		if err == nil {
			statements.waiting.Queue(signText, sign.connection, sign.token)
			err = unavailable(statements.flush(ctx))
		}
		if err != nil {
			_, _ = conn.PgConn().Exec(ctx, `ROLLBACK`).ReadAll() // the connection goes where this fails
			return err
		}
		_, err = conn.PgConn().Exec(ctx, `COMMIT`).ReadAll()
		if err != nil && conn.IsClosed() {
			sign.error = unavailable(err)
			return sign
		}
		return unavailable(err)
	})
}

func nameOf(conn *pgx.Conn) string {
	name, _ := conn.PgConn().CustomData()[connectionName].(string)
	return name
}

// doubt is a commit whose answer was lost, and what its transaction has written to
// be known by.
type doubt struct {
	error
	connection, token string
}

func (d *doubt) Unwrap() error { return d.error }

// Both statements write the row of one connection, so that the second waits for the
// end of the first's transaction.
var (
	signText = postgresDialect.Replace(`INSERT INTO commits (connection, token, at) VALUES ($1, $2, {now})
		ON CONFLICT (connection) DO UPDATE SET token = EXCLUDED.token, at = EXCLUDED.at`)
	askText = postgresDialect.Replace(`INSERT INTO commits AS c (connection, token, at) VALUES ($1, '', {now})
		ON CONFLICT (connection) DO UPDATE SET token = c.token RETURNING token`)
)

// ending is how a run of a call ended.
type ending int

const (
	answered ending = iota // its error, or none, is the answer
	beaten                 // another transaction came in between: nothing has happened
	cutOff                 // the connection died, or is none to the primary: nothing has happened
)

// call runs do on a connection, until there is an answer or no time left. Where
// nothing has happened it runs again: beaten by another transaction as often as the
// time allows, cut off once for each connection that the pool may have, and once
// more on a new one.
//
// Once do has begun, the caller's context does not count any more: to end a
// statement by force costs its connection.
func (db *postgres) call(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	if err := db.usable(); err != nil {
		return err
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.budget)
	defer cancel()
	for beats, cuts := 0, int32(0); ; {
		conn, err := db.acquire(ctx, work)
		if err != nil {
			return err
		}
		how, err := db.run(work, conn, do)
		if unclear := new(doubt); errors.As(err, &unclear) {
			how, err = db.settleDoubt(work, unclear)
		}
		switch {
		case how == beaten && pause(work, backOff(beats)):
			beats++
		case how == cutOff && work.Err() == nil && cuts <= db.pool.Config().MaxConns:
			cuts++
		default:
			return err
		}
	}
}

// acquire takes a connection from the pool, or makes one.
func (db *postgres) acquire(ctx, work context.Context) (*pgxpool.Conn, error) {
	end, _ := work.Deadline()
	if soon := time.Now().Add(db.connect); soon.Before(end) {
		end = soon
	}
	ctx, cancel := context.WithDeadlineCause(ctx, end, errNoConnection)
	defer cancel()
	conn, err := db.pool.Acquire(ctx)
	if err == nil {
		return conn, nil
	}
	if usable := db.usable(); usable != nil { // closed meanwhile
		return nil, usable
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("%w: nothing was begun: %w", ErrUnavailable, err)
}

var errNoConnection = errors.New("no connection to PostgreSQL was free, or could be made, in time")

// run runs do once and gives the connection back, or closes it where it is of no use
// any more. One dead connection is seldom alone: the idle ones go with it.
func (db *postgres) run(ctx context.Context, conn *pgxpool.Conn, do func(context.Context, *pgx.Conn) error) (how ending, err error) {
	released := false
	defer func() {
		if !released {
			db.discard(conn.Hijack()) // also where do has panicked
		}
	}()
	err = do(ctx, conn.Conn())
	if errors.Is(err, ErrUnavailable) {
		how = judge(err, conn.Conn().IsClosed())
	}
	switch {
	case conn.Conn().IsClosed() || how == cutOff:
		db.discardIdle()
	case conn.Conn().PgConn().TxStatus() == 'I':
		conn.Release()
		released = true
	}
	return how, err
}

// judge tells errors of the database apart.
func judge(err error, dead bool) ending {
	var said *pgconn.PgError
	switch {
	case dead:
		return cutOff
	case !errors.As(err, &said):
		return answered
	case said.Code == "40001" || said.Code == "40P01": // serialization failure, deadlock
		return beaten
	case said.Code == "23505" && (said.ConstraintName == "sends_pkey" || said.ConstraintName == "idempotency_keys_pkey"):
		return beaten // to a thread or a key that was free when this transaction began
	case said.Code == "25006": // read only: a standby now
		return cutOff
	}
	return answered
}

// settleDoubt finds out what has become of a transaction whose connection died at the
// commit.
func (db *postgres) settleDoubt(ctx context.Context, d *doubt) (ending, error) {
	for {
		var token string
		conn, err := db.acquire(ctx, ctx)
		if err == nil {
			_, err = db.run(ctx, conn, func(ctx context.Context, conn *pgx.Conn) error {
				return unavailable(conn.QueryRow(ctx, askText, d.connection).Scan(&token))
			})
		}
		switch {
		case err == nil && token == d.token:
			return answered, nil
		case err == nil:
			return cutOff, d
		case !pause(ctx, settlePause):
			return answered, fmt.Errorf("%w: the connection was lost at the commit, the write may have happened: %w", ErrUnavailable, d.error)
		}
	}
}

const (
	settlePause = 20 * time.Millisecond
	firstPause  = 2 * time.Millisecond
	longPause   = 50 * time.Millisecond
)

// backOff is a random time, so that those who were in each other's way are not
// again.
func backOff(tries int) time.Duration {
	most := longPause
	if tries < 5 {
		most = firstPause << tries
	}
	return mathrand.N(most)
}

// pause waits, and reports whether there is time left.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
