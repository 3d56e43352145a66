package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/internal/trial"
)

func newAdapter() *cobra.Command {
	cmd := &cobra.Command{Use: "adapter", Short: "Try out how a backend's vendor is spoken to", Args: noArgs, RunE: showHelp}
	cmd.AddCommand(newAdapterTest())
	return cmd
}

func newAdapterTest() *cobra.Command {
	var backend, sample string
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Find out which of an adapter's promises hold, at the vendor or with recorded traffic",
		Long: `Reads a config and tries one of its backends out: at the vendor itself, with two
conversations of a few messages, which are deleted at the end where the vendor can.
The bot answers each of them, and a vendor may charge for that.

With --sample nobody is called: recorded requests are compared with those that are
made, recorded answers are played, whole and broken, and variables that are not
set have the value "recorded". docs/rest-adapter.md says how a sample is written.

Exit status: 0 if no promise is broken, 1 if one is, 2 for a file that is refused.`,
		Example: `  chatmux adapter test config.yaml --backend docs-bot
  chatmux adapter test docs/examples/dify.yaml --sample docs/examples/dify.txtar`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse(cmd, errors.New("the config is missing: write chatmux adapter test FILE"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return tryAdapter(cmd.Context(), cmd.OutOrStdout(), args[0], backend, sample)
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "", "the backend to try; needed where the config has several")
	cmd.Flags().StringVar(&sample, "sample", "", "play the recorded traffic of this file, and call nobody")
	return cmd
}

// tryAdapter tries one backend of a config out and prints each promise as soon as it
// is known.
func tryAdapter(ctx context.Context, out io.Writer, file, name, sampleFile string) error {
	var recorded *trial.Sample
	options := config.Options{Settings: app.Settings(all.Adapters()), Dialects: app.Dialects(all.Adapters())}
	if sampleFile != "" {
		data, err := os.ReadFile(sampleFile)
		if err != nil {
			return err
		}
		if recorded, err = trial.ParseSample(data); err != nil {
			return fmt.Errorf("%s: %w", sampleFile, err)
		}
		text, _ := os.ReadFile(file) // Load says what is wrong with a file that cannot be read
		options.Getenv = func(name string) (string, bool) {
			value, set := os.LookupEnv(name)
			if !set && strings.Contains(string(text), "${"+name+"}") {
				return "recorded", true // where the file has no default, a key is meant
			}
			return value, set
		}
	}
	c, err := config.Load(file, options)
	if err != nil {
		return err
	}
	b, err := backendOf(c, name)
	if err != nil {
		return err
	}
	if remote, ok := b.Settings.(adapters.Remote); ok && recorded == nil && *remote.Endpoint() == adapters.Sandbox {
		return fmt.Errorf("backend %s: the base_url is sandbox: a simulated vendor shows nothing about the real one", b.Name)
	}
	subject := trial.Subject{
		Spec: specsByName()[b.Adapter], Settings: b.Settings, Total: b.Timeouts.Total,
		Env: adapters.Env{Connect: b.Timeouts.Connect, FirstByte: b.Timeouts.FirstByte, Idle: b.Timeouts.Idle, MaxInFlight: b.MaxInFlight},
	}
	broken := 0
	report := func(r trial.Result) {
		if r.Verdict == trial.Broken {
			broken++
		}
		fmt.Fprintf(out, "%-9s  %-38s  %s\n", r.Verdict, r.Promise, strings.ReplaceAll(r.Detail, "\n", "; "))
	}
	if recorded != nil {
		err = trial.Recorded(ctx, subject, recorded, report)
	} else {
		err = trial.Live(ctx, subject, report)
	}
	if err == nil && broken > 0 {
		err = fmt.Errorf("backend %s: %d promises are broken", b.Name, broken)
	}
	return err
}

// backendOf picks the backend of that name, or the only one.
func backendOf(c *config.Config, name string) (config.Backend, error) {
	var names []string
	for _, b := range c.Backends {
		if b.Name == name || name == "" && len(c.Backends) == 1 {
			return b, nil
		}
		names = append(names, b.Name)
	}
	if name == "" {
		return config.Backend{}, &usageError{fmt.Errorf("the config has several backends: name one with --backend: %s", strings.Join(names, ", "))}
	}
	return config.Backend{}, &usageError{fmt.Errorf("there is no backend %s: there are %s", name, strings.Join(names, ", "))}
}
