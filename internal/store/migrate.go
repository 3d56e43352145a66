package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"go.uber.org/zap"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema up to date. Each step is one transaction with its
// version, so a step that was interrupted is as one that never began.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, dir string, log *zap.Logger, more ...goose.ProviderOption) error {
	steps, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	options := append(more, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	provider, err := goose.NewProvider(dialect, db, steps, options...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("bringing the schema up to date: %w", err)
	}
	for _, r := range results {
		log.Info("store: schema brought up to date", zap.Int64("version", r.Source.Version), zap.Duration("took", r.Duration))
	}
	return nil
}

// newestMigration is the schema version that this program knows.
func newestMigration(dir string) (int64, error) {
	names, err := fs.Glob(migrations, dir+"/*.sql")
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	return newest, nil
}
