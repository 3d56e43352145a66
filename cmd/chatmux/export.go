package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"chatmux/internal/app"
	"chatmux/internal/archive"
	"chatmux/internal/config"
	"chatmux/internal/store"
)

// exportOptions say what is exported, and where to.
type exportOptions struct {
	server       serverFlags
	format, out  string
	since, until moment
	filter       archive.Filter
	json         bool
}

func newExport(configFile *string) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use: "export", Short: "Write threads and messages into a file", Args: noArgs,
		Long: `Writes what the store holds into a file: as JSONL, which keeps everything and which
chatmux import reads back exactly as it was, or as CSV or Excel, one row a
message. However much there is, a few messages are in memory. The file gets its
name when it is whole; an export that fails leaves none.

On PostgreSQL it works beside running servers. A SQLite file is one process's:
where a server has it, ask the server with --server, which also answers at
GET /v1/export.`,
		Example: "  chatmux export --out chats.jsonl\n" +
			"  chatmux export --format xlsx --out march.xlsx --since 2026-03-01 --until 2026-04-01\n" +
			"  chatmux export --out chats.jsonl --server http://127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error { return export(cmd, *configFile, o) },
	}
	o.server.register(cmd, "ask the chatmux that listens at this URL")
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "jsonl, csv or xlsx (default: as the file's name ends, else jsonl)")
	flags.StringVarP(&o.out, "out", "o", "", "the file to write; - is the standard output")
	flags.Var(&o.since, "since", "only messages said at this moment or later: 2026-03-04, or 2026-03-04T10:15:00Z")
	flags.Var(&o.until, "until", "only messages said before this moment")
	flags.StringVar(&o.filter.Backend, "backend", "", "only threads that this backend serves now")
	flags.StringVar(&o.filter.Tenant, "tenant", "", "only threads of this tenant")
	flags.StringVar(&o.filter.User, "user", "", "only threads of the person with this id")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON, and no progress")
	return cmd
}

// exportResult is what --json prints.
type exportResult struct {
	File     string `json:"file"`
	Format   string `json:"format"`
	Bytes    int64  `json:"bytes"`
	Threads  *int   `json:"threads"` // null where a server was asked: it sends the file and no counts
	Messages *int   `json:"messages"`
}

func export(cmd *cobra.Command, configFile string, o exportOptions) error {
	if o.format == "" {
		o.format = strings.TrimPrefix(strings.ToLower(filepath.Ext(o.out)), ".")
		if !slices.Contains(archive.Formats, archive.Format(o.format)) {
			o.format = string(archive.JSONL)
		}
	}
	o.filter.Since, o.filter.Until = o.since.Time, o.until.Time
	switch {
	case o.out == "":
		return &usageError{errors.New("--out is needed: the file to write, or - for the standard output")}
	case !slices.Contains(archive.Formats, archive.Format(o.format)):
		return &usageError{errors.New("--format must be jsonl, csv or xlsx")}
	case !o.until.IsZero() && !o.since.Before(o.until.Time):
		return &usageError{errors.New("--until must lie after --since")}
	case o.json && o.out == "-":
		return &usageError{errors.New("--json and --out - would both write to the standard output")}
	}
	result := exportResult{File: o.out, Format: o.format}
	meter := newMeter(cmd.ErrOrStderr(), o.json, "exporting", 0)
	defer meter.end()
	write := func(w io.Writer) error { return o.fromStore(cmd.Context(), configFile, w, &result, meter) }
	if o.server.url != "" {
		write = func(w io.Writer) error { return o.fromServer(cmd.Context(), w, meter) }
	}
	if o.out == "-" {
		return write(cmd.OutOrStdout())
	}
	counted := &counter{}
	if err := writeWhole(o.out, func(f io.Writer) error { return write(io.MultiWriter(f, counted)) }); err != nil {
		return err
	}
	meter.end()
	result.Bytes = counted.n
	if o.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	what := ""
	if result.Threads != nil {
		what = fmt.Sprintf("%d threads with %d messages, ", *result.Threads, *result.Messages)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s%d bytes\n", o.out, what, result.Bytes)
	return err
}

func (o *exportOptions) fromStore(ctx context.Context, configFile string, w io.Writer, result *exportResult, meter *meter) (err error) {
	s, _, err := openStore(ctx, configFile, true, func(c *config.Config) string {
		return fmt.Sprintf("ask it: add --server http://%s, and the key of a caller by --key or $CHATMUX_KEY, or GET /v1/export.", c.Listen)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	counts, err := archive.Export(ctx, s, o.filter, archive.Format(o.format), w, func(c archive.Counts) {
		meter.say(0, 0, "%d threads, %d messages", c.Threads, c.Messages)
	})
	result.Threads, result.Messages = &counts.Threads, &counts.Messages
	return err
}

// fromServer copies what a running server exports of the key's tenant.
func (o *exportOptions) fromServer(ctx context.Context, w io.Writer, meter *meter) error {
	c, err := o.server.client()
	if err != nil {
		return err
	}
	query := url.Values{"format": {o.format}}
	for name, value := range map[string]string{
		"since": o.since.inUTC(), "until": o.until.inUTC(), "backend": o.filter.Backend, "tenant": o.filter.Tenant, "user": o.filter.User,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	total := int64(0)
	return c.download(ctx, "/v1/export?"+query.Encode(), func(part []byte) error {
		total += int64(len(part))
		meter.say(0, 0, "%d bytes", total)
		_, err := w.Write(part)
		return err
	})
}

// download gets what the server sends, part by part. A body that breaks off is an error.
func (c *client) download(ctx context.Context, path string, each func([]byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what is cut is no problem object, and told as none
		return c.refusal(resp, b)
	}
	part := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(part)
		if n > 0 {
			if err := each(part[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s broke off in the middle, so there is no file: %w; the server's log may say why", c.url, err)
		}
	}
}

// reachable refuses a store that another process cannot open, or that it must not make
// because it only reads.
func reachable(c *config.Config, configFile string, reading bool, instead string) error {
	if !c.Store.Postgres.IsZero() {
		return nil
	}
	if c.Store.SQLite == ":memory:" {
		return fmt.Errorf("the store of %s is in its server's memory. %s", configFile, instead)
	}
	if _, err := os.Stat(c.Store.SQLite); reading && err != nil {
		return fmt.Errorf("the store of %s cannot be read: %w", configFile, err)
	}
	return nil
}

// openStore opens the store of a config for a command that works on it alone. Where a
// running server has it, the error says what to do instead. A file that is only read has
// to be there.
func openStore(ctx context.Context, configFile string, reading bool, instead func(*config.Config) string) (*store.Store, *config.Config, error) {
	c, err := loadConfig(configFile)
	if err != nil {
		return nil, nil, err
	}
	if err := reachable(c, configFile, reading, instead(c)); err != nil {
		return nil, nil, err
	}
	s, err := app.OpenStore(ctx, c, zap.NewNop())
	if errors.Is(err, store.ErrInUse) {
		return nil, nil, fmt.Errorf("%w.\nIf that is a running chatmux, %s", err, instead(c))
	}
	return s, c, err
}

// counter counts what is written.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// writeWhole writes a file for its owner alone, and gives it its name once it is whole
// and on the disk. What is there and is no ordinary file, a pipe or a device, is written to
// as it is.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".part-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
