package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"go.uber.org/zap"
)

// oldestPostgres is the oldest version that its makers still mend.
const oldestPostgres = 14

// refusal is a reason that does not go away by waiting.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// bringUp looks whether the database is one for us, and brings its schema up to
// date. A refusal has written nothing.
func bringUp(ctx context.Context, config *pgx.ConnConfig, log *zap.Logger) error {
	behind, err := inspectPostgres(ctx, config, log)
	if err == nil && behind {
		err = migratePostgres(ctx, config, log)
	}
	if said := new(pgconn.PgError); errors.As(err, &said) && !passes(said.Code) {
		return refuse("PostgreSQL refuses: %s (SQLSTATE %s)", said.Message, said.Code)
	}
	return err
}

// passes reports whether a server that answers with this code may answer otherwise
// soon, by the code's class: connection, transaction, resources, not the primary,
// operator, system.
func passes(code string) bool {
	switch code[:2] {
	case "08", "25", "40", "53", "55", "57", "58", "XX":
		return true
	}
	return false
}

// inspectPostgres reports whether the schema is behind this program.
func inspectPostgres(ctx context.Context, config *pgx.ConnConfig, log *zap.Logger) (behind bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, config.ConnectTimeout+workTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	var number, tables, ours int
	var encoding, schema, synchronous string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('synchronous_commit'), COALESCE(current_schema(), ''), COUNT(*), COUNT(*) FILTER (WHERE tablename = 'goose_db_version')
		FROM pg_tables WHERE schemaname = current_schema()`).Scan(&number, &encoding, &synchronous, &schema, &tables, &ours)
	if err != nil {
		return false, err
	}
	switch {
	case number < oldestPostgres*10000:
		return false, refuse("this is PostgreSQL %d, and chatmux needs %d or later", number/10000, oldestPostgres)
	case encoding != "UTF8":
		return false, refuse("the database's encoding is %s: make one with ENCODING 'UTF8', so that every text can be stored", encoding)
	case schema == "":
		return false, refuse("there is no schema to keep tables in: make the one that search_path names")
	case ours == 0 && tables > 0:
		return false, refuse("schema %s holds the tables of another program; nothing was changed: name another database, "+
			"or another schema by ?search_path=… in the address", schema)
	}
	if synchronous == "off" {
		log.Warn("store: synchronous_commit is off, so a crash of the server takes back what callers saw as stored; switch it on")
	}
	if ours == 0 {
		return true, nil
	}
	var version int64
	if err := conn.QueryRow(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`).Scan(&version); err != nil {
		return false, err
	}
	newest, err := newestMigration("migrations/postgres")
	if err != nil {
		return false, err
	}
	if version > newest {
		return false, refuse("the database has schema version %d, and this program knows versions up to %d: use the newer program that "+
			"wrote it; nothing was changed", version, newest)
	}
	return version < newest, nil
}

// migratePostgres brings the schema up to date, one process at a time. Its
// statements may take as long as they need.
func migratePostgres(ctx context.Context, config *pgx.ConnConfig, log *zap.Logger) error {
	config = config.Copy()
	for name := range serverTimeouts {
		delete(config.RuntimeParams, name)
	}
	one, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 5))
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	err = migrate(ctx, db, goose.DialectPostgres, "migrations/postgres", log, goose.WithSessionLocker(one))
	return errors.Join(err, db.Close())
}
