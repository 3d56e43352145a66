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

func configuredBackends(out io.Writer, configFile string) error {
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	specs := make(map[string]adapters.Spec)
	for _, s := range all.Adapters() {
		specs[s.Name] = s
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKEND\tADAPTER\tSTATEFUL\tCAN")
	metrics := telemetry.New()
	for _, b := range c.Backends {
		if remote, ok := b.Settings.(adapters.Remote); ok && *remote.Endpoint() == adapters.Sandbox {
			*remote.Endpoint() = "http://127.0.0.1" // nobody is called: only what it could do is asked
		}
		opened, err := app.OpenBackend(specs[b.Adapter], b, zap.NewNop(), metrics)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Name, b.Adapter, yesNo(opened.Stateful()), strings.Join(append([]string{"send"}, opened.Capabilities()...), " "))
		if err := opened.Close(); err != nil {
			return err
		}
	}
	return w.Flush()
}

func liveBackends(cmd *cobra.Command, server serverFlags) error {
	var list struct {
		Data []struct {
			Name          string   `json:"name"`
			Adapter       string   `json:"adapter"`
			Stateful      bool     `json:"stateful"`
			Capabilities  []string `json:"capabilities"`
			CoolDownUntil string   `json:"cool_down_until"`
			InFlight      int      `json:"in_flight"`
			MaxInFlight   int      `json:"max_in_flight"`
			Breaker       struct {
				State     string `json:"state"`
				Since     string `json:"since"`
				Cause     string `json:"cause"`
				Successes int    `json:"successes"`
				Failures  int    `json:"failures"`
			} `json:"breaker"`
		} `json:"data"`
	}
	if err := server.client().get(cmd.Context(), "/v1/backends", &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKEND\tADAPTER\tSTATEFUL\tBREAKER\tSINCE\tCAUSE\tOK/FAILED\tIN FLIGHT\tPAUSE UNTIL\tCAN")
	for _, b := range list.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%d/%d\t%s\t%s\n", b.Name, b.Adapter, yesNo(b.Stateful), b.Breaker.State, b.Breaker.Since,
			orDash(b.Breaker.Cause), b.Breaker.Successes, b.Breaker.Failures, b.InFlight, b.MaxInFlight, orDash(b.CoolDownUntil),
			strings.Join(append([]string{"send"}, b.Capabilities...), " "))
	}
	return w.Flush()
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
