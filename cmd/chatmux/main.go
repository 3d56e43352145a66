// Command chatmux is one server in front of many hosted chatbots.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	os.Exit(run(os.Args[1:]))
}

// run executes a command line and returns the exit status.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal ends the process at once: once the first has come, signals
	// do again what they do by themselves.
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var problems *config.Problems
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &problems):
		fmt.Fprintln(os.Stderr, problems)
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "chatmux: %v\n", err)
		return exitRefused
	default:
		fmt.Fprintf(os.Stderr, "chatmux: %v\n", err)
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
		Example:       "  chatmux                        # serve ./config.yaml\n  chatmux check                  # is the file good, and what does it mean?\n  chatmux chat --backend docs-bot",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), configFile) },
	}
	root.PersistentFlags().StringVarP(&configFile, "config", "c", "config.yaml", "the config file")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Serve the API (also without a command)", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), configFile) },
		},
		&cobra.Command{
			Use: "check", Short: "Load the config exactly as serve would, and print what it means", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := loadConfig(configFile)
				if err != nil {
					return err
				}
				return c.Describe(cmd.OutOrStdout())
			},
		},
	)
	return root
}

func loadConfig(file string) (*config.Config, error) {
	return config.Load(file, config.Options{Settings: app.Settings(all.Adapters())})
}

func serve(ctx context.Context, file string) error {
	c, err := loadConfig(file)
	if err != nil {
		return err
	}
	house, err := app.New(ctx, c, app.Options{Adapters: all.Adapters()})
	if err != nil {
		return err
	}
	return house.Run(ctx)
}
