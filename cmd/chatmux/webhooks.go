package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newWebhooks(configFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "webhooks", Short: "See what receivers of webhooks were told, and tell them again", Args: noArgs, RunE: showHelp,
		Long: `Shows and repeats the deliveries of a running server. Both go through its API, so
that the caller key decides whose deliveries they are, and a SQLite file can stay
with the server that has it.`,
	}
	cmd.AddCommand(newWebhooksList(configFile), newWebhooksRedeliver(configFile))
	return cmd
}

// delivery is a delivery as a server tells it.
type delivery struct {
	ID        string `json:"id"`
	Endpoint  string `json:"endpoint"`
	Type      string `json:"type"`
	ThreadID  string `json:"thread_id"`
	Status    string `json:"status"`
	Tries     int    `json:"tries"`
	Failure   string `json:"failure"`
	CreatedAt string `json:"created_at"`
	NextTryAt string `json:"next_try_at"`
}

// deliveryFlags select deliveries of a server.
type deliveryFlags struct {
	server           serverFlags
	endpoint, status string
}

func (f *deliveryFlags) register(cmd *cobra.Command) {
	f.server.register(cmd, "the chatmux server to ask (default: where the config listens)")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "only for this receiver, by its name in the config")
}

func (f *deliveryFlags) client(configFile string) (*client, error) {
	if f.server.url == "" {
		c, err := loadConfig(configFile)
		if err != nil {
			return nil, err
		}
		f.server.url = "http://" + c.Listen
	}
	return f.server.client()
}

// each calls one for every delivery that is selected, oldest first.
func (f *deliveryFlags) each(ctx context.Context, c *client, one func(delivery) error) error {
	query := url.Values{"order": {"asc"}, "limit": {"200"}}
	if f.endpoint != "" {
		query.Set("endpoint", f.endpoint)
	}
	if f.status != "" {
		query.Set("status", f.status)
	}
	for {
		var page struct {
			Data       []delivery `json:"data"`
			NextCursor string     `json:"next_cursor"`
		}
		if err := c.get(ctx, "/v1/webhooks/deliveries?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, d := range page.Data {
			if err := one(d); err != nil {
				return err
			}
		}
		if page.NextCursor == "" {
			return nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

func newWebhooksList(configFile *string) *cobra.Command {
	var f deliveryFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List deliveries, the oldest event first", Args: noArgs,
		Example: "  chatmux webhooks list --status dead\n  chatmux webhooks list --endpoint crm --server http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client(*configFile)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "DELIVERY\tENDPOINT\tTYPE\tTHREAD\tSTATUS\tTRIES\tEVENT\tNEXT TRY\tFAILURE")
			err = f.each(cmd.Context(), c, func(d delivery) error {
				_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", d.ID, visible(d.Endpoint), d.Type, d.ThreadID, d.Status, d.Tries, d.CreatedAt,
					orDash(d.NextTryAt), orDash(visible(d.Failure)))
				return err
			})
			return errors.Join(w.Flush(), err)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.status, "status", "", "only those that are pending, delivered or dead")
	return cmd
}

func newWebhooksRedeliver(configFile *string) *cobra.Command {
	f := deliveryFlags{status: "dead"}
	var dead bool
	cmd := &cobra.Command{
		Use: "redeliver [delivery...]", Short: "Deliver events once more",
		Long: `Makes deliveries due again, whatever became of them, with all their tries before
them. The receiver gets each under the id that it had before.`,
		Example: "  chatmux webhooks redeliver evt_01k9x3v8m4f6h8k0n2q4s6v8x0\n  chatmux webhooks redeliver --dead --endpoint crm",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if dead == (len(ids) > 0) {
				return misuse(cmd, errors.New("name the deliveries, or give --dead for all that were given up"))
			}
			c, err := f.client(*configFile)
			if err != nil {
				return err
			}
			if dead { // read to the end first: what is due again is not listed any more
				err := f.each(cmd.Context(), c, func(d delivery) error { ids = append(ids, d.ID); return nil })
				if err != nil {
					return err
				}
			}
			for _, id := range ids {
				var d delivery
				if err := c.call(cmd.Context(), http.MethodPost, "/v1/webhooks/deliveries/"+url.PathEscape(id)+"/redeliver", nil, &d); err != nil {
					return fmt.Errorf("%s: %w", visible(id), err)
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d due again\n", len(ids))
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&dead, "dead", false, "all that were given up")
	return cmd
}
