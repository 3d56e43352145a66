//go:build linux

// Command bench measures what chatmux costs: the real binary in front of a vendor's
// twin, against the same call straight to the twin, and against a bare
// httputil.ReverseProxy. Each of them is a process of its own, so that the CPU time
// of each is known; all run in one go, in turns, so that what else the machine does
// hits them alike. docs/benchmarks.md says how to read the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	rounds      int
	duration    time.Duration // of one measurement
	connections int           // of the closed loop
	openers     int           // connections of the open loop
	threads     int           // per target
	vendors     []string
	dir         string
	chatmux     string
	open        bool
	overload    bool
	streams     int // at once
	profiles    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program. Its first argument can be a role: then it is a child of
// itself.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 {
		switch args[0] {
		case roleTwin:
			return serveTwin(args[1])
		case roleStreamer:
			return serveStreamer(args[1])
		case roleProxy:
			return serveProxy(args[1])
		case roleSlow:
			return serveSlow(args[1])
		}
	}
	o, err := readOptions(args)
	if err != nil {
		return err
	}
	// The open loop's pacer sleeps in the kernel and keeps a processor of the
	// runtime with it meanwhile.
	runtime.GOMAXPROCS(runtime.NumCPU() + 2)

	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.chatmux == "" {
		if o.chatmux, err = build(ctx, dir); err != nil {
			return err
		}
	}
	sync, err := syncTime(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", machine(sync))
	for i, name := range o.vendors {
		v, err := vendorNamed(name)
		if err != nil {
			return err
		}
		// The other vendors differ in the adapter alone: the open loop would say it twice.
		if err := measure(ctx, o, v, o.open && i == 0, filepath.Join(dir, name), out); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if o.streams > 0 {
		if err := measurePieces(ctx, o, filepath.Join(dir, "streams"), out); err != nil {
			return err
		}
	}
	if !o.overload {
		return nil
	}
	return measureOverload(ctx, o, filepath.Join(dir, "overload"), out)
}

func readOptions(args []string) (options, error) {
	var o options
	var names string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each target is measured; the result is the median")
	flags.DurationVar(&o.duration, "duration", 3*time.Second, "how long one measurement takes")
	flags.IntVar(&o.connections, "connections", 16, "connections of the closed loop")
	flags.IntVar(&o.openers, "open-connections", 64, "connections of the open loop")
	flags.IntVar(&o.threads, "threads", 512, "threads that the messages are spread over")
	flags.StringVar(&names, "vendors", "conversations,altur,sitegpt", "whose twins to measure with")
	flags.StringVar(&o.dir, "dir", "bin", "where the database is made: a folder on the disk that is meant, not in memory")
	flags.StringVar(&o.chatmux, "chatmux", "", "the chatmux binary; built when not given")
	flags.BoolVar(&o.open, "open", true, "measure latencies in an open loop too, with the first of the vendors")
	flags.BoolVar(&o.overload, "overload", true, "measure what happens when too much is asked, too")
	flags.IntVar(&o.streams, "streams", 2000, "streams that are open at once; 0 leaves streams out")
	flags.StringVar(&o.profiles, "profiles", "", "a folder for CPU profiles of chatmux under load, taken when all is measured")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if names != "" {
		o.vendors = strings.Split(names, ",")
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is no option", flags.Arg(0))
	case o.rounds < 1 || o.connections < 1 || o.duration < 100*time.Millisecond:
		return o, errors.New("at least one round, one connection and 100 ms are needed")
	case o.openers < o.connections || o.threads < o.openers:
		return o, errors.New("every connection needs a thread of its own: connections <= open-connections <= threads")
	}
	return o, nil
}
