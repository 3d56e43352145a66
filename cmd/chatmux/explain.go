package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/routing"
	"chatmux/normalize"
)

func newExplain(configFile *string) *cobra.Command {
	var f routing.Facts
	metadata, headers := pairs{}, pairs{}
	cmd := &cobra.Command{
		Use: "explain", Short: "Say which route and which backends a message would take, and why", Args: noArgs,
		Long: `Reads the config's routes and says which one a message would take, which backends
would be asked in which order, and why each route matched or did not. Nobody is
called. A running server answers the same at POST /v1/routes/explain.`,
		Example: "  chatmux explain --metadata shop=parcel-42\n" +
			"  chatmux explain --user-email rosa@acme.example --header x-region=eu --metadata plan=gold",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(*configFile)
			if err != nil {
				return err
			}
			f.Metadata = metadata
			header := make(http.Header, len(headers))
			for name, value := range headers {
				header.Set(name, value)
			}
			f.Header = header.Get
			return explain(cmd.OutOrStdout(), c, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Caller, "caller", "", "the caller's name")
	flags.StringVar(&f.User.ID, "user-id", "", "the user's id")
	flags.StringVar(&f.User.Email, "user-email", "", "the user's email")
	flags.StringVar(&f.User.Name, "user-name", "", "the user's name")
	flags.StringVar(&f.User.Phone, "user-phone", "", "the user's phone")
	flags.Var(metadata, "metadata", "metadata of the message or its thread; can be given again")
	flags.Var(headers, "header", "a request header; can be given again")
	flags.StringVar(&f.Dialect, "dialect", "native", "the API that the message comes in by: native, or a vendor's")
	flags.StringVar(&f.Bot, "bot", "", "the bot id that a dialect's client asks for")
	flags.StringVar(&f.Route, "route", "", "ask for a route by name")
	flags.StringVar(&f.Backend, "backend", "", "ask for a backend by name")
	flags.StringVar(&f.ThreadID, "thread", "", "the thread's id, which a split is drawn by where there is no user id")
	return cmd
}

// explain prints the decision and its reasons; the reasons also where the decision
// is a refusal.
func explain(out io.Writer, c *config.Config, f routing.Facts) error {
	if err := knowsAll(c, f); err != nil {
		return err
	}
	table, err := app.Table(c)
	if err != nil {
		return err
	}
	for _, caller := range c.Callers {
		if caller.Name == f.Caller && len(caller.Routes) > 0 {
			f.AllowedRoutes = caller.Routes
		}
	}
	d, refused := table.Explain(f)
	if refused == nil {
		route := "none: the backend was asked for by name"
		if d.Route != nil {
			route = d.Route.Name
		}
		fmt.Fprintf(out, "route     %s\nbackends  %s\n", route, strings.Join(d.Backends, ", then "))
		if d.Shadow != "" {
			fmt.Fprintf(out, "shadow    %s\n", d.Shadow)
		}
		fmt.Fprintln(out)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROUTE\tMATCHED\tWHY")
	for _, r := range d.Reasons {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Route, yesNo(r.Matched), r.Why)
	}
	if err := w.Flush(); err != nil || refused == nil {
		return err
	}
	return fmt.Errorf("such a message is refused: %s", normalize.AsError(refused).Text())
}

// knowsAll refuses names that stand nowhere in the config: a typo would otherwise
// be explained as if it were a fact.
func knowsAll(c *config.Config, f routing.Facts) error {
	var callers, backends, routes []string
	for _, caller := range c.Callers {
		callers = append(callers, caller.Name)
	}
	for _, b := range c.Backends {
		backends = append(backends, b.Name)
	}
	for _, r := range c.Routes {
		routes = append(routes, r.Name)
	}
	dialects := []string{"native"}
	for _, s := range all.Adapters() {
		dialects = append(dialects, s.Name)
	}
	for _, named := range []struct {
		flag, value string
		known       []string
	}{
		{"caller", f.Caller, callers},
		{"backend", f.Backend, backends},
		{"route", f.Route, routes},
		{"dialect", f.Dialect, dialects},
	} {
		if named.value != "" && !slices.Contains(named.known, named.value) {
			return noSuch(named.flag, named.value, named.known)
		}
	}
	return nil
}

// noSuch is the error of a flag whose value names nothing.
func noSuch(flag, value string, known []string) error {
	there := "there are none"
	if len(known) > 0 {
		there = "there are " + strings.Join(known, ", ")
	}
	return &usageError{fmt.Errorf("--%s: there is no %s %q: %s", flag, flag, value, there)}
}
