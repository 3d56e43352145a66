package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"chatmux/internal/engine"
	"chatmux/internal/migration"
)

// planOptions say what would be moved, and how the report is written.
type planOptions struct {
	selection
	server   serverFlags
	from, to string
	json     bool
	html     string
}

func newPlan(configFile *string) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan", Short: "Say what is kept, changed and lost by leaving a backend for another", Args: noArgs,
		Long: `Looks at the threads that a backend has, or those that the flags select, and says of
each feature that they use whether another backend keeps it, changes it or loses
it, with counts and the ids of some threads. What backends can do is what
chatmux backends shows. No vendor is called and nothing is changed.

On PostgreSQL it works beside running servers. A SQLite file is one process's:
where a server has it, ask the server with --server, which also answers at
GET /v1/plan.`,
		Example: "  chatmux plan --from helpdesk --to docs-bot\n" +
			"  chatmux plan --from helpdesk --to docs-bot --since 2026-01-01 --html plan.html",
		RunE: func(cmd *cobra.Command, _ []string) error { return plan(cmd, *configFile, o) },
	}
	o.server.register(cmd, "ask the chatmux that listens at this URL")
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "the backend that has the threads")
	flags.StringVar(&o.to, "to", "", "the backend that would get them")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	flags.StringVar(&o.html, "html", "", "write the report to this file, as one page that needs nothing else")
	return cmd
}

func plan(cmd *cobra.Command, configFile string, o planOptions) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	switch {
	case o.json && o.html != "":
		return &usageError{errors.New("give --json or --html, not both")}
	case o.from == o.to && o.from != "":
		return &usageError{errors.New("--from and --to are the same backend")}
	}
	report, err := o.report(cmd.Context(), configFile)
	if err != nil {
		return err
	}
	switch {
	case o.json:
		return printJSON(cmd.OutOrStdout(), report)
	case o.html == "":
		return report.PrintTable(cmd.OutOrStdout())
	}
	if err := writeFile(o.html, report.PrintHTML); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "The report is in %s.\n", o.html)
	return err
}

// writeFile writes a new file, or over an old one.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func (o *planOptions) report(ctx context.Context, configFile string) (migration.Report, error) {
	if o.server.url != "" {
		return o.servedReport(ctx)
	}
	c, err := loadConfig(configFile)
	if err != nil {
		return migration.Report{}, err
	}
	if err := fromAndTo(o.from, o.to, backendNames(c)); err != nil {
		return migration.Report{}, err
	}
	e, closeAll, err := openEngine(ctx, configFile, c, true, fmt.Sprintf("ask it: add --server http://%s, and the key of a caller by --key or $CHATMUX_KEY.", c.Listen))
	if err != nil {
		return migration.Report{}, err
	}
	report, err := e.Plan(ctx, engine.Origin{Caller: engine.Caller{Tenant: o.tenant}}, engine.PlanRequest{
		From: o.from, To: o.to, AllTenants: !o.oneTenant, Route: o.route, User: o.user, Since: o.since.Time, Until: o.until.Time,
	})
	return report, errors.Join(err, closeAll())
}

// servedReport asks a running server, which knows the threads of the key's tenant.
func (o *planOptions) servedReport(ctx context.Context) (report migration.Report, err error) {
	if o.oneTenant {
		return report, &usageError{errors.New("--tenant cannot be given with --server: the key says whose threads it sees")}
	}
	c, err := o.server.client()
	if err != nil {
		return report, err
	}
	names, err := c.backendNames(ctx)
	if err != nil {
		return report, err
	}
	if err := fromAndTo(o.from, o.to, names); err != nil {
		return report, err
	}
	query := url.Values{"from": {o.from}, "to": {o.to}}
	for name, value := range map[string]string{"route": o.route, "user": o.user, "since": o.since.inUTC(), "until": o.until.inUTC()} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return report, c.get(ctx, "/v1/plan?"+query.Encode(), &report)
}

// inUTC writes the time for a query.
func (m *moment) inUTC() string {
	if m.IsZero() {
		return ""
	}
	return m.UTC().Format(time.RFC3339Nano)
}
