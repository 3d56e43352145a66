package main

import (
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatmux/internal/app"
	"chatmux/internal/routing"
	"chatmux/normalize"
)

func newExplain(configFile *string) *cobra.Command {
	var f routing.Facts
	var metadata, headers map[string]string
	cmd := &cobra.Command{
		Use: "explain", Short: "Say which route and which backends a message would take, and why", Args: noArgs,
		Long: `Reads the config's routes and says which one a message would take, which backends
would be asked in which order, and why each route matched or did not. Nobody is
called. A running server answers the same at POST /v1/routes/explain.`,
		Example: "  chatmux explain --caller web --metadata plan=gold\n  chatmux explain --user-email rosa@acme.example --header x-region=eu",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(*configFile)
			if err != nil {
				return err
			}
			table, err := app.Table(c)
			if err != nil {
				return err
			}
			f.Metadata = metadata
			canonical := make(http.Header, len(headers))
			for name, value := range headers {
				canonical.Set(name, value)
			}
			f.Header = canonical.Get
			for _, caller := range c.Callers {
				if caller.Name == f.Caller && len(caller.Routes) > 0 {
					f.AllowedRoutes = caller.Routes
				}
			}
			d, err := table.Explain(f)
			if err != nil {
				return fmt.Errorf("%s", normalize.AsError(err).Text())
			}
			out := cmd.OutOrStdout()
			route := "none (the backend was asked for by name)"
			if d.Route != nil {
				route = d.Route.Name
			}
			fmt.Fprintf(out, "route     %s\nbackends  %s\n", route, strings.Join(d.Backends, ", then "))
			if d.Shadow != "" {
				fmt.Fprintf(out, "shadow    %s\n", d.Shadow)
			}
			fmt.Fprintln(out)
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ROUTE\tMATCHED\tWHY")
			for _, r := range d.Reasons {
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.Route, yesNo(r.Matched), r.Why)
			}
			return w.Flush()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Caller, "caller", "", "the caller's name")
	flags.StringVar(&f.User.ID, "user-id", "", "the user's id")
	flags.StringVar(&f.User.Email, "user-email", "", "the user's email")
	flags.StringVar(&f.User.Name, "user-name", "", "the user's name")
	flags.StringVar(&f.User.Phone, "user-phone", "", "the user's phone")
	flags.StringToStringVar(&metadata, "metadata", nil, "metadata, as name=value")
	flags.StringToStringVar(&headers, "header", nil, "a request header, as name=value")
	flags.StringVar(&f.Dialect, "dialect", "native", "native, altur, sitegpt, conversations or openai")
	flags.StringVar(&f.Bot, "bot", "", "the bot id that a dialect's client asks for")
	flags.StringVar(&f.Route, "route", "", "ask for a route by name")
	flags.StringVar(&f.Backend, "backend", "", "ask for a backend by name")
	flags.StringVar(&f.ThreadID, "thread", "", "the thread's id, which a split is drawn by where there is no user id")
	return cmd
}
