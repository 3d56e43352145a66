package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
	modernc "modernc.org/sqlite" // the driver "sqlite"
)

const memoryPath = ":memory:"

// Pragmas of every connection. FULL makes a commit wait for the disk; group commit
// is what makes that affordable. The wait for a lock is shorter than writeTimeout,
// so that a caller learns for certain that nothing was written.
// What is deleted is overwritten with zeros by the same commit.
const sqlitePragmas = "_pragma=busy_timeout(4000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)&_pragma=secure_delete(1)&_txlock=immediate"

// sqliteDialect is what the statements leave open. Its clock is the machine's.
var sqliteDialect = strings.NewReplacer(
	"{begin}", "BEGIN IMMEDIATE",
	"{lock}", "", "{skip}", "", // one writer needs no locks
	"{now}", "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
)

// Deadlines of a call, where the caller's context has no shorter one.
const (
	writeTimeout = 5 * time.Second
	readTimeout  = 5 * time.Second
)

// sqlite is a database with one connection that writes, and several that read.
type sqlite struct {
	postbox
	file   *sqliteFile
	writer *writer
	reader *prepared // nil where reads go over the writer's connection
}

// sqliteFile is an open file, or a database in memory.
type sqliteFile struct {
	write  *sql.DB
	read   *sql.DB      // nil: the connection that writes is the only one
	reopen bool         // a connection in doubt may be closed and another one opened
	check  func() error // before each commit: is it still the file that was opened?
	unlock func() error // last of all
	log    *zap.Logger
	damage atomic.Pointer[error] // found while it was used; nothing is written any more
}

// openSQLite opens a file, or a database of its own in memory.
func openSQLite(ctx context.Context, path string, log *zap.Logger) (_ database, err error) {
	defer func() {
		if isDamage(err) {
			err = fmt.Errorf("the file is damaged, or none of SQLite's: %w: %s", err, damageAdvice)
		}
	}()
	file, err := openSQLiteAt(ctx, path, log)
	if err != nil {
		return nil, err
	}
	db := &sqlite{file: file}
	if file.read != nil {
		if db.reader, err = prepare(ctx, file.read, sqliteDialect, begin); err != nil {
			return nil, errors.Join(err, file.close())
		}
	}
	if db.writer, err = newWriter(ctx, file, log); err != nil {
		return nil, errors.Join(err, file.close())
	}
	return db, nil
}

func (f *sqliteFile) close() error {
	var err error
	if f.read != nil {
		err = f.read.Close()
	}
	return errors.Join(err, f.write.Close(), f.unlock())
}

func (db *sqlite) close() error {
	db.writer.close()
	if db.reader != nil {
		db.reader.close()
	}
	return db.file.close()
}

func (db *sqlite) shared() bool { return false }

func (db *sqlite) follow(ctx context.Context, _ func(tidings)) { <-ctx.Done() }

func (db *sqlite) scrub(ctx context.Context) (bool, error) {
	if db.reader == nil {
		return true, nil // no file
	}
	done, err := db.writer.emptyLog(ctx)
	return done, db.file.look(err)
}

func (db *sqlite) write(ctx context.Context, run func(*session) error) error {
	return db.spread(run, func(run func(*session) error) error { return db.file.look(db.writer.write(ctx, run)) })
}

func (db *sqlite) read(ctx context.Context, run func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if db.reader != nil {
		return db.file.look(run(&session{ctx: ctx, db: db.reader}))
	}
	db.writer.gate.Lock()
	defer db.writer.gate.Unlock()
	if db.writer.session == nil {
		return errClosed
	}
	return run(&session{ctx: ctx, db: db.writer.stmts})
}

// look looks at an error for what says that the file is damaged. Then nothing is
// written to it any more; what can be read still is.
func (f *sqliteFile) look(err error) error {
	if !isDamage(err) {
		return err
	}
	why := fmt.Errorf("the database file is damaged: %w; nothing is written to it any more: %s", err, damageAdvice)
	if f.damage.CompareAndSwap(nil, &why) {
		f.log.Error("store: the database file is damaged", zap.Error(why))
	}
	return why
}

// usable tells why nothing may be written any more; nil where all is well.
func (f *sqliteFile) usable() error {
	if why := f.damage.Load(); why != nil {
		return *why
	}
	return f.check()
}

const damageAdvice = "stop chatmux, restore the file from a backup (or save what sqlite3's .recover still reads into a new file), and start it again"

// isDamage reports whether an error says that a file is not what SQLite wrote.
// https://sqlite.org/rescode.html: the low byte is the primary code.
func isDamage(err error) bool {
	const corrupt, notADatabase = 11, 26
	var failure *modernc.Error
	if !errors.As(err, &failure) {
		return false
	}
	code := failure.Code() & 0xff
	return code == corrupt || code == notADatabase
}

func openSQLiteAt(ctx context.Context, path string, log *zap.Logger) (*sqliteFile, error) {
	if path == memoryPath {
		return openSQLiteMemory(ctx, log)
	}
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	unlock, err := lockSQLite(path)
	if err != nil {
		return nil, err
	}
	db, err := openSQLiteFile(ctx, path, log)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	db.unlock = unlock
	return db, nil
}

// openSQLiteMemory uses one connection for everything: the connection is the
// database.
func openSQLiteMemory(ctx context.Context, log *zap.Logger) (*sqliteFile, error) {
	write, err := sql.Open("sqlite", "file::memory:?"+sqlitePragmas)
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	if err := migrate(ctx, write, goose.DialectSQLite3, "migrations/sqlite", log); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &sqliteFile{
		write: write, log: log,
		check: func() error { return nil }, unlock: func() error { return nil },
	}, nil
}

func openSQLiteFile(ctx context.Context, path string, log *zap.Logger) (db *sqliteFile, err error) {
	// The file holds conversations: it is made for its owner alone, and SQLite
	// gives its companions the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w (the folder must exist, and this process must be allowed to write there)", path, cause(err))
	}
	opened, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := inspectSQLite(ctx, path, log); err != nil {
		return nil, err
	}

	write, err := sql.Open("sqlite", sqliteURI(path, sqlitePragmas+"&_pragma=journal_mode(WAL)&_pragma=journal_size_limit(67108864)"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			err = errors.Join(err, write.Close())
		}
	}()
	if err := checkPragmas(ctx, write, path); err != nil {
		return nil, err
	}
	if err := migrate(ctx, write, goose.DialectSQLite3, "migrations/sqlite", log); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	read, err := sql.Open("sqlite", sqliteURI(path, sqlitePragmas+"&_pragma=query_only(1)&_pragma=cache_size(-8192)"))
	if err != nil {
		return nil, err
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	return &sqliteFile{
		write: write, read: read, reopen: true, log: log,
		check: func() error {
			now, err := os.Stat(path)
			if err != nil {
				return fmt.Errorf("the database file is gone: %w; restart once it is back", cause(err))
			}
			if !os.SameFile(opened, now) {
				return fmt.Errorf("%s is not the file that was opened; restart to use the new one", path)
			}
			return nil
		},
	}, nil
}

// resolve follows links, so that one file has one lock.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) { // the file is still to be made
		var dir string
		if dir, err = filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
			real = filepath.Join(dir, filepath.Base(abs))
		}
	}
	if err != nil {
		return "", fmt.Errorf("opening %s: %w (make the folder first)", path, cause(err))
	}
	return real, nil
}

// cause takes the path out of an error that will be told with its own.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// sqliteURI writes a path as SQLite's URI, so that every character of it counts as
// itself.
func sqliteURI(path, query string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query
}

// lockSQLite keeps a second process away from the file, for as long as this one
// lives. SQLite's own locks would let both in, and each would take the other's sends
// for those of a dead run. The lock has a file of its own, which stays: closing
// any descriptor of the database itself would end SQLite's locks on it.
func lockSQLite(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path+"-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening %s-lock: %w (the folder must exist, and this process must be allowed to write there)", path, cause(err))
	}
	held, err := lockFile(f)
	if err == nil {
		return f.Close, nil
	}
	_ = f.Close()
	if held {
		return nil, &inUse{path}
	}
	return nil, fmt.Errorf("locking %s-lock: %w", path, err)
}

// inUse is ErrInUse with the file's name.
type inUse struct{ path string }

func (e *inUse) Error() string {
	return e.path + " is in use by another process: stop that one, or give this one a file of its own"
}

func (e *inUse) Unwrap() error { return ErrInUse }

// inspectSQLite refuses a file that is not ours, damaged, or newer than this program,
// before anything is written to it.
func inspectSQLite(ctx context.Context, path string, log *zap.Logger) (err error) {
	db, err := sql.Open("sqlite", sqliteURI(path, "_pragma=busy_timeout(4000)&_pragma=query_only(1)"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables, ours int
	row := db.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(name = 'goose_db_version'), 0) FROM sqlite_master WHERE type = 'table'`)
	if err := row.Scan(&tables, &ours); err != nil {
		return fmt.Errorf("%s cannot be read as a SQLite database: %w; nothing was changed", path, err)
	}
	switch {
	case tables == 0:
		return nil
	case ours == 0:
		return fmt.Errorf("%s is a database of another program; nothing was changed, name another file", path)
	}
	if err := checkPages(ctx, db, path, log); err != nil {
		return err
	}
	var version int64
	if err := db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`).Scan(&version); err != nil {
		return fmt.Errorf("reading the schema version of %s: %w", path, err)
	}
	newest, err := newestMigration("migrations/sqlite")
	if err != nil {
		return err
	}
	if version > newest {
		return fmt.Errorf("%s has schema version %d, and this program knows versions up to %d: use the newer program that wrote it; "+
			"nothing was changed", path, version, newest)
	}
	return nil
}

// pagesTime is how long a start looks for damaged pages. A file that takes longer is
// opened all the same: what is damaged in it is found when it is used.
const pagesTime = time.Second

// checkPages looks for damaged pages.
func checkPages(ctx context.Context, db *sql.DB, path string, log *zap.Logger) error {
	bounded, cancel := context.WithTimeout(ctx, pagesTime)
	defer cancel()
	var verdict string
	err := db.QueryRowContext(bounded, `PRAGMA quick_check(1)`).Scan(&verdict)
	switch {
	case err == nil && verdict == "ok":
		return nil
	case err == nil:
		return fmt.Errorf("%s is damaged: %s; nothing was changed: %s", path, verdict, damageAdvice)
	case bounded.Err() != nil && ctx.Err() == nil:
		log.Info("store: the file is too large to be looked through at the start; damage is found when it is used", zap.String("path", path))
		return nil
	default:
		return fmt.Errorf("looking through %s: %w", path, err)
	}
}

// checkPragmas reads back what durability hangs on.
func checkPragmas(ctx context.Context, db *sql.DB, path string) error {
	var mode string
	var synchronous int
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	if err := db.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	if mode != "wal" || synchronous != 2 {
		return fmt.Errorf("%s: this file system does not let SQLite keep a write-ahead log (journal mode %s, synchronous %d); use a local disk",
			path, mode, synchronous)
	}
	return nil
}
