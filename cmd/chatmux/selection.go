package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/engine"
	"chatmux/internal/store"
)

// selection are the flags that select threads by whose they are and when something
// last happened in them.
type selection struct {
	tenant, user, route string
	since, until        moment
	oneTenant           bool // --tenant was given, be it as the empty one
}

func (s *selection) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.tenant, "tenant", "", "only the threads of this tenant (default: of all)")
	flags.StringVar(&s.user, "user", "", "only the threads of the person with this id")
	flags.StringVar(&s.route, "route", "", "only the threads of this route")
	flags.Var(&s.since, "since", "only threads in which something happened at this moment or later: 2026-03-04, or 2026-03-04T10:15:00Z")
	flags.Var(&s.until, "until", "only threads in which nothing happened since this moment")
}

// check refuses what selects nothing; call it before the flags are used.
func (s *selection) check(cmd *cobra.Command) error {
	s.oneTenant = cmd.Flags().Changed("tenant")
	if !s.until.IsZero() && !s.since.Before(s.until.Time) {
		return &usageError{errors.New("--until must lie after --since")}
	}
	return nil
}

// tenants gives whose threads are selected.
func (s *selection) tenants(ctx context.Context, e *engine.Engine) ([]string, error) {
	if s.oneTenant {
		return []string{s.tenant}, nil
	}
	return e.Tenants(ctx)
}

// moment is a flag that takes a time, or a day, which is its first moment in UTC.
type moment struct{ time.Time }

// Set reads it.
func (m *moment) Set(text string) (err error) {
	if m.Time, err = time.Parse(time.RFC3339, text); err == nil {
		return nil
	}
	if m.Time, err = time.Parse(time.DateOnly, text); err != nil {
		return errors.New("write a day as 2026-03-04, or a time as 2026-03-04T10:15:00Z")
	}
	return nil
}

// String gives nothing where no time was given.
func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type is how the help calls a value.
func (m *moment) Type() string { return "time" }

// openEngine opens the engine of a config, for a command that works on the store
// itself. Where a running server has it, the error says what to do instead. A file
// whose threads are needed has to be there.
func openEngine(ctx context.Context, configFile string, c *config.Config, reading bool, instead string) (*engine.Engine, func() error, error) {
	if err := reachable(c, configFile, reading, instead); err != nil {
		return nil, nil, err
	}
	e, closeAll, err := app.OpenEngine(ctx, c, app.Options{Adapters: all.Adapters(), Log: zap.NewNop()})
	if errors.Is(err, store.ErrInUse) {
		return nil, nil, fmt.Errorf("%w.\nIf that is a running chatmux, %s", err, instead)
	}
	return e, closeAll, err
}

// backendNames are the backends of a config.
func backendNames(c *config.Config) []string {
	var names []string
	for _, b := range c.Backends {
		names = append(names, b.Name)
	}
	return names
}

// isBackend refuses a flag that names no backend.
func isBackend(flag, value string, names []string) error {
	switch {
	case value == "":
		return &usageError{fmt.Errorf("--%s is needed: the name of a backend", flag)}
	case !slices.Contains(names, value):
		return &usageError{fmt.Errorf("--%s: there is no backend %q: there are %s", flag, value, strings.Join(names, ", "))}
	}
	return nil
}

// fromAndTo refuses two flags that name no backends.
func fromAndTo(from, to string, names []string) error {
	if err := isBackend("from", from, names); err != nil {
		return err
	}
	return isBackend("to", to, names)
}
