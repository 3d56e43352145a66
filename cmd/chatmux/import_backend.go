package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"chatmux/internal/archive"
	"chatmux/internal/engine"
	"chatmux/internal/migration"
	"chatmux/normalize"
)

const historyHelp = `With --backend, the conversations that the vendor keeps become threads that the
backend holds, with their messages, people and times: a person's next message
goes on in the same conversation at the vendor. Conversations that are here
already, by an earlier import or because chatmux began them, are completed and
never doubled, so the same import again changes nothing. How far it came is
stored page by page: if the command is cut off, give it again. It respects the
backend's pauses, breaker and limits, and waits for a vendor that cannot answer.
What could not be kept is counted by feature. A vendor that does not list its
conversations needs their ids, one a line, in a file: --threads. Where a vendor
lists no conversations of some time any more, but its record of questions and
answers, --records takes those, each as a thread of its own that has ended.`

// historyOptions say what of a vendor's history is imported.
type historyOptions struct {
	threads      string
	records      bool
	since, until moment
}

func (o *historyOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.threads, "threads", "", "a file with the vendor's ids of the conversations, one a line (default: all that the vendor lists)")
	flags.BoolVar(&o.records, "records", false, "the vendor's record of questions and answers instead of its conversations; needs --since")
	flags.Var(&o.since, "since", "only conversations in which something happened at this moment or later: 2026-03-04, or 2026-03-04T10:15:00Z")
	flags.Var(&o.until, "until", "only conversations that began before this moment")
}

func (o *historyOptions) given() bool {
	return o.threads != "" || o.records || !o.since.IsZero() || !o.until.IsZero()
}

// importHistory is chatmux import --backend, without a file.
func importHistory(cmd *cobra.Command, configFile string, o importOptions) error {
	h := o.history
	switch {
	case o.backend == "":
		return misuse(cmd, errors.New("a file is needed, or --backend: what to import"))
	case !h.until.IsZero() && !h.since.Before(h.until.Time):
		return &usageError{errors.New("--until must lie after --since")}
	case h.records && (h.since.IsZero() || h.threads != ""):
		return &usageError{errors.New("--records needs --since, and takes no --threads: records are listed by their days")}
	}
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	if err := isBackend("backend", o.backend, backendNames(c)); err != nil {
		return err
	}
	if o.tenant == "" {
		if o.tenant, err = onlyTenant(c); err != nil {
			return err
		}
	}
	req := engine.ImportRequest{Backend: o.backend, Since: h.since.Time, Until: h.until.Time, DryRun: o.dryRun}
	if h.threads != "" {
		if req.Threads, err = readIDs(h.threads); err != nil {
			return err
		}
	}
	e, closeAll, err := openEngine(cmd.Context(), configFile, c, false, "stop it for the time of the import.")
	if err != nil {
		return err
	}
	from := engine.Origin{Caller: engine.Caller{Tenant: o.tenant}}
	if h.records {
		result := importResult{File: "the records of " + o.backend, DryRun: o.dryRun, MappedIDs: []archive.Mapping{}}
		result.Report, err = e.ImportRecords(cmd.Context(), from, req)
		switch err = errors.Join(err, closeAll()); {
		case isUnsupported(err):
			return err
		case err != nil:
			return fmt.Errorf("%w\nGive the same command again: what is here already stays as it is", err)
		case o.json:
			return printJSON(cmd.OutOrStdout(), result)
		}
		return result.print(cmd.OutOrStdout())
	}
	meter := newMeter(cmd.ErrOrStderr(), o.json, "importing", int64(len(req.Threads)))
	defer meter.end()
	req.Progress = func(r migration.Import) {
		meter.say(int64(r.Conversations), int64(len(req.Threads)), "%d conversations read, %d threads new, %d completed", r.Conversations, r.Created, r.Completed)
	}
	report, err := e.Import(cmd.Context(), from, req)
	meter.end()
	switch err = errors.Join(err, closeAll()); {
	case isUnsupported(err):
		return err
	case err != nil:
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("%w\n%d conversations were read and %d threads made: give the same command again to go on", err, report.Conversations, report.Created)
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), report)
	}
	return report.PrintTable(cmd.OutOrStdout())
}

// isUnsupported says whether the vendor cannot do what was asked for: then asking again
// does not help.
func isUnsupported(err error) bool {
	return err != nil && normalize.AsError(err).Kind == normalize.KindUnsupported
}

// readIDs reads a file with one id a line; empty lines and those that begin with # are
// passed over.
func readIDs(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ids := []string{}
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			return ids, lines.Err()
		}
		if id := strings.TrimSpace(lines.Text()); id != "" && !strings.HasPrefix(id, "#") && !slices.Contains(ids[max(0, len(ids)-1):], id) {
			ids = append(ids, id)
		}
	}
}
