//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// target is one way to the bot.
type target struct {
	name    string
	auth    string
	begin   func(poster) (request, error)
	process *process // what stands between the client and the twin; nil: nothing
	admin   string   // of chatmux: where it tells its profile
	addr    string
	clients []*client
}

// reading is one measurement of a target, with the CPU time that it took.
type reading struct {
	sample
	server, twin, load cpu // of what stands between, of the twin, and of this process
}

// perRequest spreads CPU time over the requests.
func (r reading) perRequest(c cpu) time.Duration { return c.total() / time.Duration(r.requests()) }

// bench is the whole arrangement for one vendor.
type bench struct {
	options
	vendor  vendor
	twin    *process
	targets []*target // direct, proxy, then chatmux with each store
}

// measure runs everything for one vendor and prints it.
func measure(ctx context.Context, o options, v vendor, withOpen bool, dir string, out io.Writer) error {
	b := &bench{options: o, vendor: v}
	defer b.stop()
	if err := b.start(ctx, dir); err != nil {
		return err
	}
	loads, err := b.closedRounds(ctx)
	if err != nil {
		return err
	}
	if err := b.printClosed(out, loads); err != nil {
		return err
	}
	if withOpen {
		for _, t := range b.targets[2:] {
			rate := median(loads[t], reading.rate) / 2
			latencies, err := b.openRounds(ctx, rate, []*target{b.targets[0], b.targets[1], t})
			if err != nil {
				return err
			}
			if err := b.printOpen(out, rate, t, latencies); err != nil {
				return err
			}
		}
	}
	if o.profiles == "" {
		return nil
	}
	return b.profile(ctx, out)
}

// start starts the twin and all that stands in front of it, and opens the
// connections.
func (b *bench) start(ctx context.Context, dir string) error {
	var err error
	if b.twin, err = startRole(ctx, roleTwin, b.vendor.name); err != nil {
		return err
	}
	direct := &target{name: "straight to the twin", auth: b.vendor.auth, begin: b.vendor.begin, addr: b.twin.addr}
	proxy := &target{name: "httputil.ReverseProxy", auth: b.vendor.auth, begin: b.vendor.begin}
	if proxy.process, err = startRole(ctx, roleProxy, "http://"+b.twin.addr); err != nil {
		return err
	}
	b.targets = append(b.targets, direct, proxy)
	for _, store := range []struct{ name, dsn string }{
		{"file", "sqlite:" + filepath.Join(dir, "file", "chatmux.db")},
		{"memory", "sqlite::memory:"},
	} {
		t := &target{name: "chatmux, store " + store.name, auth: "Bearer " + callerKey, begin: beginThread}
		t.process, t.admin, err = startChatmux(ctx, b.chatmux, filepath.Join(dir, store.name), store.dsn, b.vendor.defaults(b.twin.addr))
		if err != nil {
			return err
		}
		b.targets = append(b.targets, t)
	}
	for _, t := range b.targets {
		if t.process != nil {
			t.addr = t.process.addr
		}
		for range b.openers {
			c, err := newClient(t.addr, t.auth, t.begin, b.threads/b.openers)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.clients = append(t.clients, c)
		}
	}
	return nil
}

func (b *bench) stop() {
	for _, t := range b.targets {
		for _, c := range t.clients {
			_ = c.close()
		}
		if t.process != nil {
			t.process.stop()
		}
	}
	if b.twin != nil {
		b.twin.stop()
	}
}

// closedRounds measures all targets in turns.
func (b *bench) closedRounds(ctx context.Context) (map[*target][]reading, error) {
	all := make(map[*target][]reading)
	for range b.rounds {
		for _, t := range b.targets {
			r, err := b.read(t, func(t *target) (sample, error) { return closed(t.clients[:b.connections], b.duration) })
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			all[t] = append(all[t], r)
		}
	}
	return all, nil
}

// openRounds measures some targets in turns, at the same moments in each round.
func (b *bench) openRounds(ctx context.Context, rate float64, targets []*target) (map[*target][]reading, error) {
	all := make(map[*target][]reading)
	for round := range b.rounds {
		arrivals := poisson(rate, b.duration, uint64(round))
		for _, t := range targets {
			r, err := b.read(t, func(t *target) (sample, error) { return open(t.clients, arrivals) })
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			all[t] = append(all[t], r)
		}
	}
	return all, nil
}

// warmUp is what goes before each measurement and is not counted: connections that
// rested are there again on both sides, and nothing starts from an idle processor.
const warmUp = 250 * time.Millisecond

// read makes one measurement, between two looks at the clocks of all processes.
func (b *bench) read(t *target, load func(*target) (sample, error)) (reading, error) {
	if _, err := closed(t.clients, warmUp); err != nil {
		return reading{}, fmt.Errorf("%s: %w", t.name, err)
	}
	before, err := b.clocks(t)
	if err != nil {
		return reading{}, err
	}
	s, err := load(t)
	if err != nil {
		return reading{}, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := b.clocks(t)
	if err != nil {
		return reading{}, err
	}
	return reading{s, after[0].minus(before[0]), after[1].minus(before[1]), after[2].minus(before[2])}, nil
}

// clocks gives the CPU time of the target's process, of the twin, and of this one.
func (b *bench) clocks(t *target) (all [3]cpu, err error) {
	if t.process != nil {
		if all[0], err = cpuOf(t.process.pid); err != nil {
			return all, fmt.Errorf("%s is gone: %w", t.name, err)
		}
	}
	if all[1], err = cpuOf(b.twin.pid); err != nil {
		return all, fmt.Errorf("the twin is gone: %w", err)
	}
	all[2], err = ownCPU()
	return all, err
}

// profile takes a CPU profile of each chatmux under the closed loop.
func (b *bench) profile(ctx context.Context, out io.Writer) error {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	for i, t := range b.targets[2:] {
		if _, err := closed(t.clients, warmUp); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		seconds := max(b.rounds*int(b.duration/time.Second), 1) // all rounds at once
		file := filepath.Join(b.profiles, fmt.Sprintf("%s-%s.prof", b.vendor.name, []string{"file", "memory"}[i]))
		done := make(chan error, 1)
		go func() {
			done <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.admin, seconds), file)
		}()
		_, err := closed(t.clients[:b.connections], time.Duration(seconds)*time.Second)
		if err := errors.Join(err, <-done); err != nil {
			return err
		}
		fmt.Fprintf(out, "profile of %s: go tool pprof -top %s\n", t.name, file)
	}
	return nil
}

func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// median gives the middle one of what some readings show.
func median[T float64 | time.Duration](readings []reading, show func(reading) T) T {
	values := make([]T, len(readings))
	for i, r := range readings {
		values[i] = show(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
