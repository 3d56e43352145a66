package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/sandbox"
)

func newSandbox(configFile *string) *cobra.Command {
	var listen, scripts map[string]string
	cmd := &cobra.Command{
		Use: "sandbox", Short: "Run the simulated vendors alone, to test your own clients against", Args: noArgs,
		Long: `Starts the built-in twin of every vendor in the config and prints where each
listens. A twin speaks its vendor's own API, accepts the key and the bot id that
the config gives, keeps conversations in memory, and shows every request that it
gets. Ctrl-C ends it.

Faults: a script for a backend (--script), or a marker in the text of a message,
as in "hello [[status 503 retry-after=7]]". The faults are:

` + indent(sandbox.Grammar()),
		Example: "  chatmux sandbox\n  chatmux sandbox --listen docs-bot=127.0.0.1:9001 --script 'docs-bot=2x status 503; ok'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSandbox(cmd, *configFile, listen, scripts)
		},
	}
	cmd.Flags().StringToStringVar(&listen, "listen", nil, "where a backend's twin listens, as backend=host:port (default: any free port)")
	cmd.Flags().StringToStringVar(&scripts, "script", nil, "what a backend's twin does, as backend=script")
	return cmd
}

func runSandbox(cmd *cobra.Command, configFile string, listen, scripts map[string]string) error {
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	specs := make(map[string]adapters.Spec)
	for _, s := range all.Adapters() {
		specs[s.Name] = s
	}
	out := cmd.OutOrStdout()
	twins := make(map[string]*sandbox.Server)
	defer func() {
		for _, t := range twins {
			_ = t.Close()
		}
	}()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKEND\tADAPTER\tBASE URL\tBOT")
	lines := make(chan string, 256)
	for _, b := range c.Backends {
		spec := specs[b.Adapter]
		if spec.Twin == nil {
			continue
		}
		twin, err := sandbox.Start(spec.Twin(b.Settings), sandbox.Options{
			Name: b.Name, Addr: listen[b.Name],
			OnRequest: func(e sandbox.Entry) {
				select {
				case lines <- fmt.Sprintf("%s  %-12s %d  %s %s", e.Time.Format("15:04:05.000"), b.Name, e.Status, e.Method, e.Path):
				default: // a terminal that does not keep up loses lines, never a request
				}
			},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		twins[b.Name] = twin
		bot := "-"
		if settings, ok := b.Settings.(adapters.Botted); ok {
			bot = orDash(settings.BotID())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", b.Name, b.Adapter, twin.URL()+spec.TwinPath, bot)
	}
	if len(twins) == 0 {
		return errors.New("no backend of the config has a twin: see chatmux backends")
	}
	for _, names := range []map[string]string{listen, scripts} {
		for name := range names {
			if twins[name] == nil {
				return &usageError{fmt.Errorf("no twin stands behind a backend %q: see chatmux backends", name)}
			}
		}
	}
	for name, text := range scripts {
		script, err := sandbox.ParseScript(text)
		if err != nil {
			return &usageError{fmt.Errorf("--script %s: %w", name, err)}
		}
		twins[name].Script(script...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\nThe keys are those of the config. Ctrl-C ends it.\n\n")
	return printUntilDone(cmd, out, lines)
}

func printUntilDone(cmd *cobra.Command, out io.Writer, lines <-chan string) error {
	for {
		select {
		case <-cmd.Context().Done():
			return nil
		case line := <-lines:
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
	}
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
