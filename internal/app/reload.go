package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/internal/sandbox"
)

// settle is how long the file has to be left alone before it is read: an editor
// writes in several steps.
const settle = 200 * time.Millisecond

// unit is one backend of the config at work, with the twin behind it if it asked
// for the sandbox.
type unit struct {
	given   config.Backend // as the file says it: what a reload compares
	backend *backend.Backend
	twin    *sandbox.Server
}

func (a *App) openUnit(c config.Backend) (*unit, error) {
	spec := a.specs[c.Adapter]
	u := &unit{given: c}
	opened := c
	opened.Settings = copyOf(c.Settings) // the twin's address goes into the copy
	if remote, ok := opened.Settings.(adapters.Remote); ok && *remote.Endpoint() == adapters.Sandbox {
		if spec.Twin == nil {
			return nil, fmt.Errorf("backend %s: this adapter has no built-in twin: give a base_url", c.Name)
		}
		twin, err := sandbox.Start(spec.Twin(opened.Settings), sandbox.Options{Name: c.Name})
		if err != nil {
			return nil, fmt.Errorf("backend %s: %w", c.Name, err)
		}
		u.twin = twin
		*remote.Endpoint() = adapters.BaseURL(twin.URL() + spec.TwinPath)
		a.log.Info("the vendor's built-in twin answers for this backend", zap.String("backend", c.Name), zap.String("twin", twin.URL()))
	}
	b, err := OpenBackend(spec, opened, a.log, a.metrics)
	if err != nil {
		return nil, errors.Join(err, u.close())
	}
	u.backend = b
	return u, nil
}

// copyOf copies the struct that a pointer points to.
func copyOf(settings any) any {
	original := reflect.ValueOf(settings)
	if original.Kind() != reflect.Pointer {
		return settings
	}
	c := reflect.New(original.Type().Elem())
	c.Elem().Set(original.Elem())
	return c.Interface()
}

func (u *unit) close() error {
	var errs []error
	if u.backend != nil {
		errs = append(errs, u.backend.Close())
	}
	if u.twin != nil {
		errs = append(errs, u.twin.Close())
	}
	return errors.Join(errs...)
}

func setupOf(c *config.Config, units []*unit) (engine.Setup, error) {
	table, err := Table(c)
	if err != nil {
		return engine.Setup{}, err
	}
	setup := engine.Setup{Routes: table, Timeout: c.Limits.Timeout}
	for _, u := range units {
		setup.Backends = append(setup.Backends, u.backend)
	}
	return setup, nil
}

// Reload puts another config in force: callers, backends, routes, webhooks, and the
// budget of a send. A backend whose part of the file is unchanged goes on as it is, breaker
// and connections included. Running sends end on what they began with. On an error
// nothing has changed. What is opened once (listeners, store, log) and the other
// limits take effect at the next start; the log says so.
func (a *App) Reload(c *config.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := make(map[string]*unit, len(a.units))
	for _, u := range a.units {
		old[u.given.Name] = u
	}
	var units, opened []*unit
	undo := func(err error) error {
		for _, u := range opened {
			err = errors.Join(err, u.close())
		}
		return err
	}
	for _, b := range c.Backends {
		if kept := old[b.Name]; kept != nil && reflect.DeepEqual(kept.given, b) {
			units = append(units, kept)
			delete(old, b.Name)
			continue
		}
		u, err := a.openUnit(b)
		if err != nil {
			return undo(err)
		}
		units, opened = append(units, u), append(opened, u)
	}
	setup, err := setupOf(c, units)
	if err != nil {
		return undo(err)
	}
	if err := a.api.SetCallers(callersOf(c)); err != nil {
		return undo(err)
	}
	if err := a.useWebhooks(c); err != nil {
		return undo(err)
	}
	idle := a.engine.Use(setup)
	a.units = units
	for _, u := range old {
		a.retire(u, idle)
	}
	if next, now := atStart(c), atStart(a.config); !reflect.DeepEqual(next, now) {
		a.log.Warn("listen, admin, store, log, public_url, outbound and limits other than timeout take effect at the next start")
	}
	return nil
}

// atStart is what of a config only a start puts in force.
func atStart(c *config.Config) config.Config {
	fixed := *c
	fixed.Callers, fixed.Backends, fixed.Routes, fixed.Webhooks, fixed.Limits.Timeout = nil, nil, nil, nil, 0
	return fixed
}

// retire closes a unit once nothing runs on it any more.
func (a *App) retire(u *unit, idle func() bool) {
	a.retired.Go(func() {
		for !idle() { // at most as long as a send may take
			time.Sleep(50 * time.Millisecond)
		}
		if err := u.close(); err != nil {
			a.log.Warn("closing a retired backend failed", zap.String("backend", u.given.Name), zap.Error(err))
		}
	})
}

// Watch reloads the config when its file changes, and whenever again tells it to,
// until ctx ends. A file that is refused leaves the config in force that was; the
// log says what is wrong with it.
func (a *App) Watch(ctx context.Context, file string, load func() (*config.Config, error), again <-chan os.Signal) {
	var changed <-chan fsnotify.Event
	var failed <-chan error
	if watcher, err := fsnotify.NewWatcher(); err == nil {
		defer watcher.Close()
		changed, failed = watcher.Events, watcher.Errors
		// The folder, not the file: editors and mounted ConfigMaps replace the file.
		if err := watcher.Add(filepath.Dir(file)); err != nil {
			a.log.Warn("the config cannot be watched; SIGHUP still reloads it", zap.Error(err))
		}
	} else {
		a.log.Warn("the config cannot be watched; SIGHUP still reloads it", zap.Error(err))
	}
	seen := contentOf(file)
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			seen = contentOf(file)
			a.reload(load)
		case <-changed:
			due = time.After(settle)
		case err := <-failed:
			a.log.Warn("watching the config failed; SIGHUP still reloads it", zap.Error(err))
		case <-due:
			due = nil
			if content := contentOf(file); content != seen {
				seen = content
				a.reload(load)
			}
		}
	}
}

func (a *App) reload(load func() (*config.Config, error)) {
	c, err := load()
	if err == nil {
		err = a.Reload(c)
	}
	a.metrics.Reload(err == nil)
	if err != nil {
		a.log.Error("the config was not reloaded; the one before stays in force", zap.Error(err))
		return
	}
	a.log.Info("config reloaded")
}

// contentOf tells whether a file is the same as before; one that cannot be read is
// like an empty one.
func contentOf(file string) [sha256.Size]byte {
	b, _ := os.ReadFile(file)
	return sha256.Sum256(b)
}
