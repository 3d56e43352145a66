package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatmux/adapters"
	"chatmux/internal/config"
	"chatmux/internal/sandbox"
)

func newSandbox(configFile *string) *cobra.Command {
	listen, scripts := pairs{}, pairs{}
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
	cmd.Flags().Var(listen, "listen", "where a backend's twin listens, as backend=host:port (default: any free port); can be given again")
	cmd.Flags().Var(scripts, "script", "what a backend's twin does, as backend=script; can be given again")
	return cmd
}

func runSandbox(cmd *cobra.Command, configFile string, listen, scripts pairs) error {
	c, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	specs := specsByName()
	backends := slices.DeleteFunc(c.Backends, func(b config.Backend) bool { return specs[b.Adapter].Twin == nil })
	if len(backends) == 0 {
		return errors.New("no backend of the config has a twin: see chatmux backends")
	}
	steps, err := readScripts(backends, listen, scripts)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKEND\tADAPTER\tBASE URL\tBOT")
	lines := make(chan string, 256)
	for _, b := range backends {
		spec := specs[b.Adapter]
		twin, err := sandbox.Start(spec.Twin(b.Settings), sandbox.Options{
			Name: b.Name, Addr: listen[b.Name],
			OnRequest: func(e sandbox.Entry) {
				select {
				case lines <- requestLine(b.Name, e):
				default: // a terminal that does not keep up loses lines, never a request
				}
			},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		defer twin.Close()
		twin.Script(steps[b.Name]...)
		bot := "-"
		if settings, ok := b.Settings.(adapters.Botted); ok {
			bot = orDash(settings.BotID())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", b.Name, b.Adapter, twin.URL()+spec.TwinPath, bot)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\nThe keys are those of the config. Ctrl-C ends it.\n\n")
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

// readScripts reads the scripts, and refuses those and addresses for what is no
// backend with a twin.
func readScripts(backends []config.Backend, listen, scripts pairs) (map[string][]sandbox.Step, error) {
	var names []string
	for _, b := range backends {
		names = append(names, b.Name)
	}
	for _, given := range []pairs{listen, scripts} {
		for name := range given {
			if !slices.Contains(names, name) {
				return nil, &usageError{fmt.Errorf("no twin stands behind a backend %q: one stands behind %s", name, strings.Join(names, ", "))}
			}
		}
	}
	steps := make(map[string][]sandbox.Step)
	for name, text := range scripts {
		var err error
		if steps[name], err = sandbox.ParseScript(text); err != nil {
			return nil, &usageError{fmt.Errorf("--script %s: %w", name, err)}
		}
	}
	return steps, nil
}

// requestLine shows a request and how it was answered; a status of 0 means that
// none was sent.
func requestLine(backend string, e sandbox.Entry) string {
	line := fmt.Sprintf("%s  %-12s %d  %s %s", e.Time.Format("15:04:05.000"), backend, e.Status, e.Method, e.Path)
	if e.Fault != "ok" {
		line += "  [" + e.Fault + "]"
	}
	return visible(line)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
