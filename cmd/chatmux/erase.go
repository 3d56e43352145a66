package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"chatmux/internal/engine"
)

// eraseOptions say who is erased.
type eraseOptions struct {
	server       serverFlags
	user, tenant string
	json         bool
}

func newErase(configFile *string) *cobra.Command {
	var o eraseOptions
	cmd := &cobra.Command{
		Use: "erase", Short: "Erase all that is known of a person, here and at the vendors", Args: noArgs,
		Long: `Erases every thread of a person: what chatmux has of it, then the conversation at
each vendor that held it. The receipt says of each conversation whether its
vendor deleted it, cannot (not_possible), or failed to; what failed is kept on
record, and a running server tries it again for a week.

On PostgreSQL it works beside running servers. A SQLite file is one process's:
where a server has it, erase through the server with --server.

Exit status: 0 where nothing is left to do, 1 where a vendor is still to be asked
again or a thread could not be erased because a message was being sent in it.`,
		Example: "  chatmux erase --user u-1042\n  chatmux erase --user u-1042 --server http://127.0.0.1:8080",
		RunE:    func(cmd *cobra.Command, _ []string) error { return erase(cmd, *configFile, o) },
	}
	o.server.register(cmd, "erase through the chatmux that listens at this URL")
	flags := cmd.Flags()
	flags.StringVar(&o.user, "user", "", "the person's id, as the callers give it")
	flags.StringVar(&o.tenant, "tenant", "", "whose user that is (default: the config's only tenant)")
	flags.BoolVar(&o.json, "json", false, "print the receipt as JSON")
	return cmd
}

// receipt says what became of a person's threads.
type receipt struct {
	User    string         `json:"user"`
	Threads []erasedThread `json:"threads"`
	Erased  int            `json:"erased"` // threads that are gone here
	Busy    int            `json:"busy"`   // threads that are still here: a message was being sent
	Queued  int            `json:"queued"` // conversations that vendors failed to delete; they are tried again
}

type erasedThread struct {
	Thread   string            `json:"thread"`
	Erased   bool              `json:"erased"`
	Backends []erasedAtBackend `json:"backends"`
}

type erasedAtBackend struct {
	Backend  string `json:"backend"`
	RemoteID string `json:"remote_id"`
	Outcome  string `json:"outcome"`
	Queued   bool   `json:"queued"` // tried again by a running server
}

// add notes one thread.
func (r *receipt) add(id string, busy bool, backends []erasedAtBackend) {
	for i := range backends {
		if backends[i].Outcome == "failed" {
			backends[i].Queued = true
			r.Queued++
		}
	}
	if busy {
		r.Busy++
	} else {
		r.Erased++
	}
	if backends == nil {
		backends = []erasedAtBackend{}
	}
	r.Threads = append(r.Threads, erasedThread{id, !busy, backends})
}

func erase(cmd *cobra.Command, configFile string, o eraseOptions) error {
	if o.user == "" {
		return &usageError{errors.New("--user is needed: the person's id")}
	}
	r := receipt{User: o.user, Threads: []erasedThread{}}
	var err error
	if o.server.url != "" {
		err = o.atServer(cmd.Context(), &r)
	} else {
		err = o.here(cmd.Context(), configFile, &r)
	}
	if err != nil && len(r.Threads) == 0 {
		return err
	}
	// What was erased is told also where the rest could not be.
	if o.json {
		err = errors.Join(err, printJSON(cmd.OutOrStdout(), r))
	} else {
		err = errors.Join(err, r.print(cmd.OutOrStdout()))
	}
	switch {
	case err != nil:
		return err
	case r.Busy > 0:
		return fmt.Errorf("%d threads are still here, because a message was being sent in them: give the same command again", r.Busy)
	case r.Queued > 0:
		return fmt.Errorf("vendors failed to delete %d conversations: a running server tries them again", r.Queued)
	}
	return nil
}

func (o *eraseOptions) here(ctx context.Context, configFile string, r *receipt) error {
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	if o.tenant == "" {
		if o.tenant, err = onlyTenant(c); err != nil {
			return err
		}
	}
	e, closeAll, err := openEngine(ctx, configFile, c, true, fmt.Sprintf("erase through it: add --server http://%s, and the key of a caller by --key or $CHATMUX_KEY.", c.Listen))
	if err != nil {
		return err
	}
	from := engine.Origin{Caller: engine.Caller{Tenant: o.tenant}}
	err = e.EraseUser(ctx, from, o.user, func(t engine.ErasedThread) error {
		backends := make([]erasedAtBackend, len(t.Backends))
		for i, b := range t.Backends {
			backends[i] = erasedAtBackend{Backend: b.Backend, RemoteID: b.RemoteID, Outcome: b.Outcome}
		}
		r.add(t.ID, t.Busy, backends)
		return nil
	})
	return errors.Join(err, closeAll())
}

// How often and how long a thread is waited for that a server is sending in.
const (
	eraseTries = 20
	erasePause = 500 * time.Millisecond
)

// atServer erases through a running server, whose key says which tenant's user it is.
func (o *eraseOptions) atServer(ctx context.Context, r *receipt) error {
	if o.tenant != "" {
		return &usageError{errors.New("--tenant cannot be given with --server: the key says whose user it is")}
	}
	c, err := o.server.client()
	if err != nil {
		return err
	}
	for cursor := ""; ; {
		var page struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
			NextCursor string `json:"next_cursor"`
		}
		query := url.Values{"user": {o.user}, "order": {"asc"}, "limit": {"200"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := c.get(ctx, "/v1/threads?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, t := range page.Data {
			if err := c.erase(ctx, t.ID, r); err != nil {
				return err
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}

func (c *client) erase(ctx context.Context, id string, r *receipt) error {
	for try := 1; ; try++ {
		var done struct {
			Backends []erasedAtBackend `json:"backends"`
		}
		err := c.call(ctx, http.MethodDelete, "/v1/threads/"+id, nil, &done)
		var refused *problem
		switch {
		case err == nil, errors.As(err, &refused) && refused.Code == "not_found": // somebody else was faster
			r.add(id, false, done.Backends)
			return nil
		case refused == nil || refused.Code != "thread_busy":
			return err
		case try == eraseTries:
			r.add(id, true, nil)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(erasePause):
		}
	}
}

func (r *receipt) print(out io.Writer) error {
	if len(r.Threads) == 0 {
		_, err := fmt.Fprintf(out, "There is no thread of the user %s.\n", visible(r.User))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "THREAD\tHERE\tBACKEND\tREMOTE ID\tTHERE")
	for _, t := range r.Threads {
		here := "deleted"
		if !t.Erased {
			here = "busy"
		}
		if len(t.Backends) == 0 {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t-\n", t.Thread, here)
		}
		for _, b := range t.Backends {
			outcome := b.Outcome
			if b.Queued {
				outcome += ", tried again"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Thread, here, b.Backend, visible(b.RemoteID), outcome)
		}
	}
	return w.Flush()
}
