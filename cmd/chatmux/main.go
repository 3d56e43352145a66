// Command chatmux is one server in front of many hosted chatbots.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
)

// The exit statuses.
const (
	exitFailed  = 1 // whatever else ends a start: port in use, store not writable
	exitRefused = 2 // a config or a command line that is refused
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once: after the first, signals do again
	// what they do by themselves.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var problems *config.Problems
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems)
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "chatmux: %v\n", err)
		return exitRefused
	default:
		fmt.Fprintf(stderr, "chatmux: %v\n", err)
		return exitFailed
	}
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

// newRoot builds the tree of commands. Without a word, serve is meant.
func newRoot() *cobra.Command {
	var configFile string
	root := &cobra.Command{
		Use:   "chatmux",
		Short: "One server in front of many hosted chatbots",
		Long: `chatmux puts one HTTP API in front of hosted chatbots (Altur, SiteGPT, the
conversations platform, any OpenAI-compatible server) and keeps the transcript.

Without a command it serves what ./config.yaml says.`,
		Example: `  chatmux                                    serve ./config.yaml
  chatmux check                              is the file good, and what does it mean?
  chatmux chat --backend docs-bot            talk to a bot in the terminal
  chatmux explain --metadata shop=desk-1     where would this message go, and why?`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd, configFile) },
	}
	root.PersistentFlags().StringVarP(&configFile, "config", "c", "config.yaml", "the config file")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(cmd, err) })
	root.SetHelpCommand(newHelp())
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Serve the API (also without a command)", Args: noArgs,
			Long: `Serves the API of the config. The first SIGTERM or Ctrl-C drains: /readyz says
so, service goes on for limits.drain.delay, then new sends are refused and
running ones have limits.drain.grace to end. The second ends at once.

A change of the file, or SIGHUP, puts callers, backends, routes, webhooks and
limits.timeout in force anew. A file that is refused changes nothing; the log
says what is wrong with it.

Exit status: 0 after a drain, 2 for a config that is refused, 1 for anything else.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, configFile) },
		},
		&cobra.Command{
			Use: "check", Short: "Load the config exactly as serve would, and print what it means", Args: noArgs,
			Long: `Loads the config exactly as serve would and prints every value that is in force,
defaults included; secrets are masked. It calls nobody and opens nothing.
A file that is refused exits with 2, and all that is wrong with it is said at once.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return check(cmd.OutOrStdout(), configFile) },
		},
		newBackends(&configFile), newExplain(&configFile), newChat(&configFile), newPlan(&configFile), newMove(&configFile),
		newExport(&configFile), newImport(&configFile), newErase(&configFile), newWebhooks(&configFile),
		newAdapter(), newSandbox(&configFile), newKey(), newVersion(),
	)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noArgs, showHelp
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
	return root
}

// newHelp is cobra's help command, which must not praise a word that it does not
// know with status 0.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [command]", Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return misuse(cmd.Root(), err)
			}
			if err := noArgs(about, rest); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// showHelp is what a command does that is nothing without a further word.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// noArgs refuses words that no command knows, with the nearest ones.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if !cmd.HasAvailableSubCommands() {
		err = fmt.Errorf("%s takes no further word: %q is too much", cmd.CommandPath(), args[0])
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, near[0])
	}
	return misuse(cmd, err)
}

// misuse makes the error of a command line that cannot be understood.
func misuse(cmd *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%w\nSee: %s --help", err, cmd.CommandPath())}
}

func loadConfig(file string) (*config.Config, error) {
	return config.Load(file, config.Options{Settings: app.Settings(all.Adapters()), Dialects: app.Dialects(all.Adapters())})
}

// check comes to the verdict that serve would come to before it opens anything.
func check(out io.Writer, file string) error {
	c, err := loadConfig(file)
	if err != nil {
		return err
	}
	if _, err := app.Table(c); err != nil {
		return err
	}
	if _, err := abilitiesOf(c); err != nil {
		return err
	}
	return c.Describe(out)
}

func serve(cmd *cobra.Command, file string) error {
	ctx := cmd.Context()
	c, err := loadConfig(file)
	if err != nil {
		return err
	}
	// Whoever reads the log may end, and be started again: that must not end the server.
	signal.Ignore(syscall.SIGPIPE)
	house, err := app.New(ctx, c, app.Options{Adapters: all.Adapters()})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another program listens there, perhaps another chatmux: end it, or change the address in %s", err, file)
	}
	if err != nil {
		return err
	}
	if isTerminal(cmd.ErrOrStderr()) {
		fmt.Fprintf(cmd.ErrOrStderr(), "The API is at http://%s/v1, and described at http://%[1]s/docs. Ctrl-C ends chatmux.\n", house.Addr())
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	watching, stopWatching := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		house.Watch(watching, file, func() (*config.Config, error) { return loadConfig(file) }, hangup)
	})
	err = house.Run(ctx)
	stopWatching()
	watcher.Wait()
	return err
}
