package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatmux/adapters"
	"chatmux/internal/archive"
	"chatmux/internal/config"
)

// importOptions say how a file, or a vendor's history, is imported.
type importOptions struct {
	dryRun, json    bool
	tenant, backend string // of a vendor's history or records
	history         historyOptions
}

func newImport(configFile *string) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use: "import [FILE]", Short: "Read threads and messages from a file, or a vendor's own history", Args: atMostOneFile,
		Long: `Reads an archive that chatmux export wrote as JSONL, or the Excel file of records
that the conversations platform exports, into the store. Without a file, and with
--backend, it reads what that backend's vendor keeps.

A FILE is checked first as a whole: if a line of it cannot be read, or something is
missing, nothing is imported. Ids and times are kept. A thread that is here
already is left alone, so the same file can be given again, also after an import
that was cut off. A thread whose ids stand for something else here gets new
ones, and is reported.

A record of the conversations platform says neither whose it is nor which
conversation it was part of: each becomes a thread of its own that has ended, of
the config's only tenant and only such backend, or of those that the flags name.

` + historyHelp + `

On PostgreSQL it works beside running servers. A SQLite file is one process's:
stop the server for the time of the import.`,
		Example: "  chatmux import chats.jsonl --dry-run\n  chatmux import chats.jsonl\n  chatmux import records.xlsx --tenant acme --backend helpdesk\n" +
			"  chatmux import --backend docs-bot --dry-run\n  chatmux import --backend docs-bot --since 2026-01-01\n" +
			"  chatmux import --backend parcel-desk --threads ids.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return importHistory(cmd, *configFile, o)
			}
			if o.history.given() {
				return &usageError{errors.New("--since, --until, --threads and --records are for a vendor's history: give no file with them")}
			}
			return importFile(cmd, *configFile, args[0], o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.dryRun, "dry-run", false, "read all of it and say what would happen, and change nothing")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON, and no progress")
	flags.StringVar(&o.tenant, "tenant", "", "whose the records, or the vendor's threads, become")
	flags.StringVar(&o.backend, "backend", "", "the backend that the records are of, or whose vendor's history is read")
	o.history.register(cmd)
	return cmd
}

// atMostOneFile wants the name of one file, or none.
func atMostOneFile(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return nil
	}
	return misuse(cmd, fmt.Errorf("one file at a time: %q is too much", args[1]))
}

// importResult is what --json prints.
type importResult struct {
	File   string `json:"file"`
	DryRun bool   `json:"dry_run"`
	archive.Report
	MappedIDs []archive.Mapping `json:"mapped_ids"` // the first thousand
}

// maxMappings is how many threads with new ids are named.
const maxMappings = 1000

func importFile(cmd *cobra.Command, configFile, name string, o importOptions) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &usageError{fmt.Errorf("%s is no ordinary file: it is read twice, so write what it gives into one", name)}
	}
	records, err := isWorkbook(file)
	if err != nil {
		return err
	}
	if !records && (o.tenant != "" || o.backend != "") {
		return &usageError{errors.New("--tenant and --backend are for the records of a vendor: an archive says itself whose its threads are")}
	}
	s, c, err := openStore(cmd.Context(), configFile, false, func(*config.Config) string { return "stop it for the time of the import." })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	result := importResult{File: name, DryRun: o.dryRun, MappedIDs: []archive.Mapping{}}
	meter := newMeter(cmd.ErrOrStderr(), o.json, "importing", 1)
	defer meter.end()
	options := archive.Options{
		DryRun: o.dryRun,
		Mapped: func(m archive.Mapping) {
			if len(result.MappedIDs) < maxMappings {
				result.MappedIDs = append(result.MappedIDs, m)
			}
		},
		Progress: func(done, total int64) {
			what := "checking the file"
			if 2*done > total {
				what = "storing"
			}
			meter.say(done, total, "%s", what)
		},
	}
	if records {
		result.Report, err = importRecords(cmd.Context(), s, c, file, o, options)
	} else {
		result.Report, err = archive.Import(cmd.Context(), s, file, options)
	}
	meter.end()
	done := result.Imported.Threads + result.Completed.Threads
	switch line := new(archive.LineError); {
	case errors.As(err, &line):
		return fmt.Errorf("%s: %w\nNothing was imported", name, err)
	case err != nil && done == 0:
		return fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return fmt.Errorf("%s: %w\n%d threads were on their way into the store: give the same command again to go on", name, err, done)
	case o.json:
		return printJSON(cmd.OutOrStdout(), result)
	}
	return result.print(cmd.OutOrStdout())
}

// isWorkbook tells an Excel file, which is a zip file, from lines of JSON.
func isWorkbook(file io.ReaderAt) (bool, error) {
	head := make([]byte, 4)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return string(head[:n]) == "PK\x03\x04", nil
}

// importRecords imports a vendor's file of records.
func importRecords(
	ctx context.Context, to archive.Target, c *config.Config, file io.ReadSeeker, o importOptions, options archive.Options,
) (archive.Report, error) {
	d := archive.Destination{Tenant: o.tenant, Backend: o.backend}
	var err error
	if d.Tenant == "" {
		if d.Tenant, err = onlyTenant(c); err != nil {
			return archive.Report{}, err
		}
	}
	spec, err := recordsOf(c, &d.Backend)
	if err != nil {
		return archive.Report{}, err
	}
	return archive.ImportRecords(ctx, to, d, func(each func(int, adapters.Record) error) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return spec.ReadRecords(file, each)
	}, options)
}

// onlyTenant gives the tenant of a config that has one.
func onlyTenant(c *config.Config) (string, error) {
	tenants := []string{"default"}
	if len(c.Callers) > 0 {
		tenants = nil
		for _, caller := range c.Callers {
			tenants = append(tenants, cmp.Or(caller.Tenant, caller.Name))
		}
		slices.Sort(tenants)
		tenants = slices.Compact(tenants)
	}
	if len(tenants) > 1 {
		return "", &usageError{fmt.Errorf("--tenant is needed, because the config has several: %s", strings.Join(tenants, ", "))}
	}
	return tenants[0], nil
}

// recordsOf finds the backend that a file of records is of, and how to read it.
func recordsOf(c *config.Config, backend *string) (adapters.Spec, error) {
	specs := specsByName()
	adapterOf := make(map[string]string)
	var known []string
	for _, b := range c.Backends {
		adapterOf[b.Name] = b.Adapter
		if specs[b.Adapter].ReadRecords != nil && (*backend == "" || *backend == b.Name) {
			known = append(known, b.Name)
		}
	}
	switch {
	case len(known) == 1:
		*backend = known[0]
		return specs[adapterOf[known[0]]], nil
	case *backend != "":
		return adapters.Spec{}, &usageError{fmt.Errorf("--backend: %q is no backend whose vendor has a file of records", *backend)}
	case len(known) == 0:
		return adapters.Spec{}, errors.New("this is an Excel file, and the config has no backend whose vendor has a file of records: " +
			"what chatmux export writes as Excel is for people, import its JSONL")
	}
	return adapters.Spec{}, &usageError{fmt.Errorf("--backend is needed, because several can have such records: %s", strings.Join(known, ", "))}
}

func (r *importResult) print(out io.Writer) error {
	done := "imported"
	if r.DryRun {
		fmt.Fprintln(out, "Nothing was changed: this was a dry run.")
		done = "to import"
	}
	fmt.Fprintf(out, "%s: %d threads with %d messages\n", r.File, r.InFile.Threads, r.InFile.Messages)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  %s\t%d threads, %d messages\n", done, r.Imported.Threads, r.Imported.Messages)
	if r.Completed.Threads > 0 {
		fmt.Fprintf(w, "  completed\t%d threads that an import had left unfinished, by %d messages\n", r.Completed.Threads, r.Completed.Messages)
	}
	fmt.Fprintf(w, "  unchanged\t%d threads that are here already\n", r.Unchanged)
	if r.Mapped > 0 {
		fmt.Fprintf(w, "  new ids\t%d of those threads\n", r.Mapped)
	}
	if r.Pending > 0 {
		fmt.Fprintf(w, "  unknown\t%d messages that were being sent when they were exported\n", r.Pending)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, m := range r.MappedIDs {
		fmt.Fprintf(out, "%s of %s is now %s: %s\n", m.From, visible(m.Tenant), m.To, m.Reason)
	}
	if n := r.Mapped - len(r.MappedIDs); n > 0 {
		fmt.Fprintf(out, "and %d more\n", n)
	}
	return nil
}
