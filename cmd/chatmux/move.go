package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"chatmux/internal/engine"
	"chatmux/internal/migration"
	"chatmux/normalize"
)

// How many threads are moved at once, and how long those are waited for that a send
// holds: longer than a send may take by its defaults.
const (
	moveWorkers  = 4
	movePatience = 90 * time.Second
)

// moveOptions say what is moved, and where to.
type moveOptions struct {
	selection
	server          serverFlags
	from, to, carry string
	dryRun, json    bool
}

func newMove(configFile *string) *cobra.Command {
	var o moveOptions
	cmd := &cobra.Command{
		Use: "move", Short: "Move threads from one backend to another, with their past", Args: noArgs,
		Long: `Moves all threads that a backend has, or those that the flags select, to another
backend. No vendor is called: the new bot is told what was said by the next
message of each thread, and a thread that moves back takes its old conversation
up again. It is the same move as POST /v1/threads/{thread}/move, one by one.

Each thread is moved whole or not at all, and one that has moved is not selected
again: if the command is cut off, give it again. Threads that a send holds are
waited for. On PostgreSQL it works beside running servers. A SQLite file is one
process's: where a server has it, move through the server with --server.

New threads still go where the routes say: change those first.

Exit status: 0 where all were moved, 1 where some are left.`,
		Example: "  chatmux move --from helpdesk --to docs-bot --dry-run\n" +
			"  chatmux move --from helpdesk --to docs-bot\n" +
			"  chatmux move --from helpdesk --to docs-bot --since 2026-01-01 --server http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error { return move(cmd, *configFile, o) },
	}
	o.server.register(cmd, "move through the chatmux that listens at this URL")
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "the backend that has the threads")
	flags.StringVar(&o.to, "to", "", "the backend that gets them")
	flags.StringVar(&o.carry, "carry", engine.CarryTranscript, "what of the past goes along: transcript or none")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only count them")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON, and no progress")
	return cmd
}

func move(cmd *cobra.Command, configFile string, o moveOptions) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	switch {
	case o.carry != engine.CarryTranscript && o.carry != engine.CarryNone:
		return &usageError{errors.New("--carry must be transcript or none")}
	case o.from == o.to && o.from != "":
		return &usageError{errors.New("--from and --to are the same backend")}
	}
	threads, closeAll, err := o.threads(cmd.Context(), configFile)
	if err != nil {
		return err
	}
	defer closeAll()
	summary := moveSummary{From: o.from, To: o.to, Carry: o.carry, DryRun: o.dryRun, Levels: map[string]int{}, Left: []leftThread{}}
	if summary.Selected, err = migration.Count(cmd.Context(), threads); err != nil {
		return err
	}
	if !o.dryRun {
		meter := newMeter(cmd.ErrOrStderr(), o.json, "moving", int64(summary.Selected))
		defer meter.end()
		err = migration.Move(cmd.Context(), threads, migration.Order{Workers: moveWorkers, Patience: movePatience}, func(m migration.Moved) {
			summary.add(m)
			meter.say(int64(summary.Moved), int64(summary.Selected), "%d of %d threads", summary.Moved, summary.Selected)
		})
		meter.end()
	}
	if err != nil {
		return fmt.Errorf("%w\n%d of %d threads have moved: give the same command again to go on with the others", err, summary.Moved, summary.Selected)
	}
	if err := summary.print(cmd.OutOrStdout(), o.json); err != nil {
		return err
	}
	if n := len(summary.Left); n > 0 {
		return fmt.Errorf("%d threads could not be moved now: give the same command again", n)
	}
	return nil
}

// threads opens what is moved: the store itself, or a running server.
func (o *moveOptions) threads(ctx context.Context, configFile string) (migration.Threads, func(), error) {
	if o.server.url != "" {
		if o.oneTenant {
			return nil, nil, &usageError{errors.New("--tenant cannot be given with --server: the key says whose threads it moves")}
		}
		c, err := o.server.client()
		if err != nil {
			return nil, nil, err
		}
		names, err := c.backendNames(ctx)
		if err != nil {
			return nil, nil, err
		}
		return &servedThreads{c, o}, func() {}, fromAndTo(o.from, o.to, names)
	}
	c, err := loadConfig(configFile)
	if err != nil {
		return nil, nil, err
	}
	if err := fromAndTo(o.from, o.to, backendNames(c)); err != nil {
		return nil, nil, err
	}
	e, closeAll, err := openEngine(ctx, configFile, c, true, fmt.Sprintf("move through it: add --server http://%s, and the key of a caller by --key or $CHATMUX_KEY.", c.Listen))
	if err != nil {
		return nil, nil, err
	}
	tenants, err := o.tenants(ctx, e)
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return &storedThreads{e, o, tenants}, func() { _ = closeAll() }, nil
}

// movePage is how many threads are listed at once.
const movePage = 200

// storedThreads are threads in a store that is ours to open. A cursor is a tenant's
// number and the cursor within its list.
type storedThreads struct {
	engine  *engine.Engine
	o       *moveOptions
	tenants []string
}

func (s *storedThreads) Page(ctx context.Context, cursor string) ([]migration.Thread, string, error) {
	number, within, _ := strings.Cut(cursor, " ")
	tenant, _ := strconv.Atoi(number) // of the first page: 0
	filter := engine.ThreadFilter{Backend: s.o.from, Route: s.o.route, User: s.o.user}
	if !s.o.since.IsZero() {
		filter.UpdatedAfter = s.o.since.Add(-time.Millisecond)
	}
	from := engine.Origin{Caller: engine.Caller{Tenant: s.tenants[tenant]}}
	list, next, err := s.engine.Threads(ctx, from, filter, engine.Page{Limit: movePage, Cursor: within, Ascending: true})
	if err != nil {
		return nil, "", err
	}
	var page []migration.Thread
	for _, t := range list {
		if !s.o.until.IsZero() && !t.UpdatedAt.Before(s.o.until.Time) {
			next = ""
			break
		}
		page = append(page, migration.Thread{ID: t.ID, Tenant: t.Tenant, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt})
	}
	switch {
	case next != "":
		return page, strconv.Itoa(tenant) + " " + next, nil
	case tenant+1 < len(s.tenants):
		return page, strconv.Itoa(tenant + 1), nil
	}
	return page, "", nil
}

func (s *storedThreads) Move(ctx context.Context, t migration.Thread) (string, error) {
	moved, err := s.engine.Move(ctx, engine.Origin{Caller: engine.Caller{Tenant: t.Tenant}}, t.ID, s.o.to, s.o.carry)
	if err == nil {
		return levelOf(moved.Bindings[len(moved.Bindings)-1].Reason), nil
	}
	switch failure := normalize.AsError(err); failure.Kind {
	case normalize.KindThreadBusy, normalize.KindStorageUnavailable:
		return "", &migration.Later{After: failure.RetryAfter, Cause: err}
	case normalize.KindNotFound, normalize.KindInvalidRequest: // erased meanwhile, or moved there by somebody else
		return "", migration.ErrGone
	default:
		return "", err
	}
}

// levelOf reads at which level the past went along from a binding's reason.
func levelOf(reason string) string { return strings.TrimPrefix(reason, "moved: ") }

// servedThreads are the threads of a running server, as the key sees them.
type servedThreads struct {
	client *client
	o      *moveOptions
}

func (s *servedThreads) Page(ctx context.Context, cursor string) ([]migration.Thread, string, error) {
	query := url.Values{"backend": {s.o.from}, "order": {"asc"}, "limit": {strconv.Itoa(movePage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	for name, value := range map[string]string{"route": s.o.route, "user": s.o.user} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if !s.o.since.IsZero() {
		query.Set("updated_after", s.o.since.Add(-time.Millisecond).UTC().Format(time.RFC3339Nano))
	}
	var list struct {
		Data []struct {
			ID        string    `json:"id"`
			CreatedAt time.Time `json:"created_at"`
			UpdatedAt time.Time `json:"updated_at"`
		} `json:"data"`
		NextCursor string `json:"next_cursor"`
	}
	if err := s.client.get(ctx, "/v1/threads?"+query.Encode(), &list); err != nil {
		return nil, "", err
	}
	var page []migration.Thread
	for _, t := range list.Data {
		if !s.o.until.IsZero() && !t.UpdatedAt.Before(s.o.until.Time) {
			return page, "", nil
		}
		page = append(page, migration.Thread{ID: t.ID, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt})
	}
	return page, list.NextCursor, nil
}

func (s *servedThreads) Move(ctx context.Context, t migration.Thread) (string, error) {
	var moved struct {
		Bindings []struct {
			Reason string `json:"reason"`
		} `json:"bindings"`
	}
	err := s.client.call(ctx, http.MethodPost, "/v1/threads/"+t.ID+"/move", map[string]any{"backend": s.o.to, "carry": s.o.carry}, &moved)
	var refused *problem
	switch {
	case err == nil && len(moved.Bindings) > 0:
		return levelOf(moved.Bindings[len(moved.Bindings)-1].Reason), nil
	case err == nil:
		return "", fmt.Errorf("%s moved %s and names no binding of it", s.client.url, t.ID)
	case !errors.As(err, &refused):
		return "", err
	case refused.Code == "not_found":
		return "", migration.ErrGone
	case refused.Retryable:
		wait, _ := time.ParseDuration(refused.retryAfter + "s")
		return "", &migration.Later{After: wait, Cause: err}
	case refused.Code == "invalid_request":
		var now threadHead
		if s.client.get(ctx, "/v1/threads/"+t.ID, &now) == nil && now.Backend == s.o.to {
			return "", migration.ErrGone
		}
	}
	return "", err
}

// moveSummary is what became of all.
type moveSummary struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Carry    string         `json:"carry"`
	DryRun   bool           `json:"dry_run"`
	Selected int            `json:"selected"`
	Moved    int            `json:"moved"`
	Levels   map[string]int `json:"levels"` // how many moved at each level of carrying
	Gone     int            `json:"gone"`
	Left     []leftThread   `json:"left"`
}

type leftThread struct {
	Thread string `json:"thread"`
	Reason string `json:"reason"`
}

func (s *moveSummary) add(m migration.Moved) {
	switch {
	case m.Err == nil:
		s.Moved++
		s.Levels[m.Level]++
	case errors.Is(m.Err, migration.ErrGone):
		s.Gone++
	default:
		s.Left = append(s.Left, leftThread{m.Thread.ID, m.Err.Error()})
	}
}

func (s *moveSummary) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, s)
	}
	if s.DryRun {
		_, err := fmt.Fprintf(out, "%d threads would move from %s to %s.\n", s.Selected, s.From, s.To)
		return err
	}
	fmt.Fprintf(out, "%d threads have moved from %s to %s.\n", s.Moved, s.From, s.To)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, level := range []struct{ name, means string }{
		{"history", "the new bot is given what was said with each message"},
		{"primer", "the next message tells the new bot what was said"},
		{"none", "nothing goes along"},
	} {
		if n := s.Levels[level.name]; n > 0 {
			fmt.Fprintf(w, "  %s\t%d\t%s\n", level.name, n, level.means)
		}
	}
	if s.Gone > 0 {
		fmt.Fprintf(w, "  gone\t%d\terased or moved by somebody else meanwhile\n", s.Gone)
	}
	for _, l := range s.Left {
		fmt.Fprintf(w, "  left\t%s\t%s\n", l.Thread, visible(l.Reason))
	}
	return w.Flush()
}

// printJSON prints a result for scripts.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
