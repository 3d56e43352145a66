package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/telemetry"
)

func newBackends(configFile *string) *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "backends", Short: "Show what each backend can do, and with --server how it stands", Args: noArgs,
		Long: `Lists the config's backends and what their vendors' APIs can do. Nobody is called.

With --server it asks a running chatmux instead, and also shows breakers, pauses
and what is in flight.`,
		Example: "  chatmux backends\n  chatmux backends --server http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server.url != "" {
				return liveBackends(cmd, server)
			}
			return configuredBackends(cmd.OutOrStdout(), *configFile)
		},
	}
	server.register(cmd, "ask the chatmux that listens at this URL")
	return cmd
}

// ability is a configured backend and what it can do.
type ability struct {
	name, adapter string
	stateful      bool
	capabilities  []string
}

// abilitiesOf opens every backend of a config as serve would, and closes it again.
// Nobody is dialled.
func abilitiesOf(c *config.Config) ([]ability, error) {
	specs := specsByName()
	metrics := telemetry.New()
	var list []ability
	for _, b := range c.Backends {
		if remote, ok := b.Settings.(adapters.Remote); ok && *remote.Endpoint() == adapters.Sandbox {
			if specs[b.Adapter].Twin == nil {
				return nil, fmt.Errorf("backend %s: this adapter has no built-in twin: give a base_url", b.Name)
			}
			*remote.Endpoint() = "http://127.0.0.1" // where a twin would be
			defer func() { *remote.Endpoint() = adapters.Sandbox }()
		}
		opened, err := app.OpenBackend(specs[b.Adapter], b, zap.NewNop(), metrics)
		if err != nil {
			return nil, err
		}
		list = append(list, ability{b.Name, b.Adapter, opened.Stateful(), opened.Capabilities()})
		if err := opened.Close(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func specsByName() map[string]adapters.Spec {
	specs := make(map[string]adapters.Spec)
	for _, s := range all.Adapters() {
		specs[s.Name] = s
	}
	return specs
}

func configuredBackends(out io.Writer, configFile string) error {
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	list, err := abilitiesOf(c)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKEND\tADAPTER\tSTATEFUL\tCAN")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.name, a.adapter, yesNo(a.stateful), can(a.capabilities))
	}
	return w.Flush()
}

func liveBackends(cmd *cobra.Command, server serverFlags) error {
	c, err := server.client()
	if err != nil {
		return err
	}
	list, err := c.backends(cmd.Context())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKEND\tADAPTER\tSTATEFUL\tBREAKER\tSINCE\tCAUSE\tOK/FAILED\tIN FLIGHT\tPAUSE UNTIL\tCAN")
	for _, b := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%d/%d\t%s\t%s\n", b.Name, b.Adapter, yesNo(b.Stateful), b.Breaker.State, b.Breaker.Since,
			orDash(b.Breaker.Cause), b.Breaker.Successes, b.Breaker.Failures, b.InFlight, b.MaxInFlight, orDash(b.CoolDownUntil), can(b.Capabilities))
	}
	return w.Flush()
}

// can lists what a backend can do: what every vendor can, then its talents.
func can(capabilities []string) string {
	return strings.Join(append([]string{"send"}, capabilities...), " ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
