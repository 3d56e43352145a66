package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

// Deadlines of a call to PostgreSQL, of which the address may name others. The server's
// own are shorter than what the whole call has: an answer that says no leaves the
// connection whole.
const (
	connectTimeout = time.Second // for a free connection or a new one
	workTimeout    = time.Second // what the call has on top of it
)

var serverTimeouts = map[string]time.Duration{
	"statement_timeout":                   1800 * time.Millisecond,
	"lock_timeout":                        1500 * time.Millisecond, // longer than deadlock_timeout, so that a deadlock is told as one
	"idle_in_transaction_session_timeout": 5 * time.Second,         // whose owner has stalled
}

const (
	defaultConnections = 16
	reopenPause        = 500 * time.Millisecond // between two tries to reach a server that was away at the start
)

// postgresDialect is what the statements leave open. Its clock is the server's.
var postgresDialect = strings.NewReplacer(
	"{lock}", " FOR NO KEY UPDATE OF t", "{skip}", " FOR NO KEY UPDATE OF t SKIP LOCKED",
	"{now}", "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
)

// postgres is a database on a server, by way of a pool of connections.
type postgres struct {
	postbox
	name    string // of this process among those that share the database
	notices notices
	pool    *pgxpool.Pool
	log     *zap.Logger
	texts   [queryCount]string
	connect time.Duration // for a connection
	budget  time.Duration // for a call

	mu   sync.Mutex
	away error // why no call can be served at all; nil once the schema is known to be right

	stop       context.CancelFunc // ends the background
	background sync.WaitGroup     // bringing the schema up to date
	discarded  sync.WaitGroup     // connections that are being closed
}

// openPostgres returns a database that may still be away. It fails where waiting
// would not help: the address is wrong, the server refuses us, or the schema is not
// ours or newer.
func openPostgres(ctx context.Context, dsn string, log *zap.Logger) (database, error) {
	config, err := postgresConfig(dsn)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	pool, err := pgxpool.NewWithConfig(life, config)
	if err != nil {
		stop()
		return nil, err
	}
	connect := config.ConnConfig.ConnectTimeout
	db := &postgres{pool: pool, log: log, stop: stop, connect: connect, budget: connect + workTimeout, name: rand.Text()}
	db.notices.due = make(chan struct{}, 1)
	db.announce = db.notices.add
	db.background.Go(func() { db.publish(life) })
	for q, text := range queries {
		db.texts[q] = postgresDialect.Replace(text)
	}
	db.away = bringUp(ctx, config.ConnConfig, log)
	if refused := new(refusal); errors.As(db.away, &refused) {
		return nil, errors.Join(refused, db.close())
	}
	if db.away != nil {
		log.Warn("store: PostgreSQL is away; it is tried again until it is there", zap.Error(db.away))
		db.background.Go(func() { db.bringUpLater(life, config.ConnConfig) })
	}
	return db, nil
}

// postgresConfig reads the address. What it says itself about deadlines and the pool
// stands.
func postgresConfig(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil { // its text can repeat parts of the address
		return nil, errors.New("the address of PostgreSQL cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, " +
			"with %XX for what is special in a URL")
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = defaultConnections
	}
	// A connection that has died is found out by its first statement, and what was
	// to be done on it is done on another one: no need to ask before each call.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }

	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{
		Timeout:         c.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
	}
	c.DialFunc = dialer.DialContext
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "chatmux"
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	var set string
	for name, limit := range serverTimeouts {
		if _, said := c.RuntimeParams[name]; !said {
			set += fmt.Sprintf("SET %s = %d; ", name, limit.Milliseconds())
		}
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return welcome(ctx, conn, set) }
	return config, nil
}

// welcome prepares a new connection: the server's deadlines, a name by which the table
// commits knows it, and, as each connection leaves a row there, a sweep of that table.
func welcome(ctx context.Context, conn *pgx.Conn, set string) error {
	conn.PgConn().CustomData()[connectionName] = rand.Text()
	if _, err := conn.PgConn().Exec(ctx, set).ReadAll(); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, postgresDialect.Replace(`DELETE FROM commits WHERE at < {now} - 86400000`))
	if conn.IsClosed() {
		return err
	}
	return nil // what cannot be swept now is swept another day
}

// connectionName is where a connection keeps its name.
const connectionName = "chatmux"

func (db *postgres) shared() bool { return true }

func (db *postgres) scrub(context.Context) (bool, error) { return true, nil }

// usable says why no call can be served, if so.
func (db *postgres) usable() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return unavailable(db.away)
}

func (db *postgres) setAway(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !errors.Is(db.away, errClosed) {
		db.away = err
	}
}

// bringUpLater goes on until the schema is as it should be.
func (db *postgres) bringUpLater(ctx context.Context, config *pgx.ConnConfig) {
	said := db.away.Error()
	pause := time.NewTicker(reopenPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		err := bringUp(ctx, config, db.log)
		db.setAway(err)
		if err == nil {
			db.log.Info("store: PostgreSQL is there")
			return
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			db.log.Error("store: PostgreSQL cannot be used; it is tried again", zap.Error(err))
			said = text
		}
	}
}

func (db *postgres) close() error {
	db.stop()
	db.background.Wait()
	db.setAway(errClosed)
	db.discardIdle()
	db.pool.Close() // waits for the calls under way
	closed := make(chan struct{})
	go func() { defer close(closed); db.discarded.Wait() }()
	select {
	case <-closed:
	case <-time.After(db.budget): // a server that does not answer is not waited for
	}
	return nil
}

// discard closes a connection beside everything else: where the server does not
// answer this takes time, and the pool must not be short of a connection meanwhile.
func (db *postgres) discard(conn *pgx.Conn) {
	db.discarded.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = conn.Close(ctx) // it goes anyway
		<-conn.PgConn().CleanupDone()
	})
}

// discardIdle closes the connections that nobody uses.
func (db *postgres) discardIdle() {
	for _, idle := range db.pool.AcquireAllIdle(context.Background()) {
		db.discard(idle.Hijack())
	}
}
