package adaptertest

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"chatmux/internal/sandbox"
)

var resourceCases = []promise{
	{
		name:    "connection_is_used_again",
		promise: "sends one after the other share a connection",
		because: "a handshake for every message costs more than the message",
		twice:   true,
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			for i := range 20 {
				if _, err := b.send(ctx, c, fmt.Sprint("message ", i)); err != nil {
					return err
				}
			}
			limit := int64(2)
			if b.streams {
				limit = 10 // the end of a body is not waited for, so a slow machine may miss it
			}
			if n := b.server.Connections(); n > limit {
				return fmt.Errorf("20 sends took %d connections", n)
			}
			return nil
		},
	},
	{
		name:    "nothing_keeps_running",
		promise: "no goroutine is left once an adapter is closed and its vendor is gone, failed sends included",
		because: "an adapter lives as long as the config does not change, and then has to go",
		twice:   true,
		test: func(b *bench) error {
			label := fmt.Sprint("adaptertest-", labels.Add(1))
			done := make(chan error)
			go pprof.Do(context.Background(), pprof.Labels("started_by", label), func(context.Context) {
				other, err := newBench(b.Vendor, b.streams)
				if err == nil {
					err = other.mixedWeather()
				}
				other.close()
				done <- err
			})
			if err := <-done; err != nil {
				return err
			}
			return allEnded(label)
		},
	},
}

var labels atomic.Int64

// allEnded waits until no goroutine has a label, which a goroutine inherits from
// the one that starts it. So tests that run beside this one are not blamed on it.
func allEnded(label string) error {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		var profile strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			return err
		}
		var left []string
		for stack := range strings.SplitSeq(profile.String(), "\n\n") {
			if strings.Contains(stack, `"`+label+`"`) {
				left = append(left, stack)
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("still running:\n%s", strings.Join(left, "\n"))
		}
		time.Sleep(pause) // a poll with a deadline: goroutines end a moment after what they wait for
	}
}

// mixedWeather sends into every kind of answer, and looks at none of them.
func (b *bench) mixedWeather() error {
	ctx := context.Background()
	for _, fault := range []string{"ok", "status 500", "html", "cut 5", "oversize", "reset", "garbage", "empty"} {
		c, err := b.begin(ctx)
		if err != nil {
			return err
		}
		b.server.Script(sandbox.MustScript(fault)...)
		_, _ = b.give(ctx, b.turn(c, "hello")) // other cases judge how it ends
	}
	return nil
}
