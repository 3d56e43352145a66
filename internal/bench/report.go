//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// What is aimed at: CPU time per request in multiples of the bare proxy's, and how
// much later than straight from the vendor an answer may come at half load.
const (
	aimFile   = 2.5
	aimMemory = 2.0
	aimAdded  = time.Millisecond
)

// aims belong to the targets from the third on.
func aims() []float64 { return []float64{aimFile, aimMemory} }

// machine says what was measured on.
func machine(sync time.Duration) string {
	model := "unknown CPU"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %s, %d x %s, one sync of the disk %s, load before %s", time.Now().UTC().Format(time.DateOnly), runtime.Version(),
		runtime.NumCPU(), model, micro(sync), strings.Join(strings.Fields(string(load))[:2], " "))
}

// syncTime measures how long the disk takes to make one page durable.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	times := make([]time.Duration, 51)
	for i := range times {
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// printClosed prints what all cost while the machine is full.
func (b *bench) printClosed(out io.Writer, loads map[*target][]reading) error {
	fmt.Fprintf(out, "\n%s: closed loop, %d connections, %d threads, median of %d rounds of %s\n\n",
		b.vendor.name, b.connections, b.threads, b.rounds, b.duration)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tCPU/request\tof it system\tx proxy\taim\trequests/s\tp50\tp99\ttwin's CPU\tload's CPU\tmemory\tpeak\t")
	proxy := loads[b.targets[1]]
	for i, t := range b.targets {
		readings := loads[t]
		own := []string{"-", "-", "-", "-"}
		mem := []string{"-", "-"}
		if t.process != nil {
			own[0] = micro(median(readings, func(r reading) time.Duration { return r.perRequest(r.server) }))
			own[1] = micro(median(readings, func(r reading) time.Duration { return r.server.system / time.Duration(r.requests()) }))
			own[2] = fmt.Sprintf("%.2f", times(readings, proxy))
			m, err := memoryOf(t.process.pid)
			if err != nil {
				return err
			}
			mem = []string{mebi(m.now), mebi(m.peak)}
		}
		if i >= 2 {
			own[3] = fmt.Sprintf("%.1f %s", aims()[i-2], verdict(times(readings, proxy) <= aims()[i-2]))
		}
		fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t\n", t.name, strings.Join(own, "\t"), median(readings, reading.rate),
			micro(median(readings, func(r reading) time.Duration { return r.quantile(.5) })),
			micro(median(readings, func(r reading) time.Duration { return r.quantile(.99) })),
			micro(median(readings, func(r reading) time.Duration { return r.perRequest(r.twin) })),
			micro(median(readings, func(r reading) time.Duration { return r.perRequest(r.load) })),
			strings.Join(mem, "\t"))
	}
	return table.Flush()
}

// times is how many times the proxy's CPU time chatmux takes: the median over the
// rounds, each compared within itself.
func times(readings, proxy []reading) float64 {
	ratios := make([]float64, len(readings))
	for i, r := range readings {
		ratios[i] = float64(r.perRequest(r.server)) / float64(proxy[i].perRequest(proxy[i].server))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// printOpen prints what is added to the vendor's own latency at a rate.
func (b *bench) printOpen(out io.Writer, rate float64, t *target, latencies map[*target][]reading) error {
	fmt.Fprintf(out, "\n%s: open loop, %.0f requests/s at random moments (half of what %s can), %d connections\n\n",
		b.vendor.name, rate, t.name, b.openers)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tCPU/request\tp50\tadded\tp99\tadded\taim\tp99 of the best round\t")
	direct := latencies[b.targets[0]]
	for _, t := range []*target{b.targets[0], b.targets[1], t} {
		readings := latencies[t]
		cost, added50, added99, aim := "-", "-", "-", "-"
		if t.process != nil {
			late := added(readings, direct, .99)
			cost = micro(median(readings, func(r reading) time.Duration { return r.perRequest(r.server) }))
			added50, added99 = micro(added(readings, direct, .5)), micro(late)
			if t != b.targets[1] {
				aim = fmt.Sprintf("%s %s", aimAdded, verdict(late < aimAdded))
				if spread(direct, .99) > aimAdded {
					aim = fmt.Sprintf("%s unclear", aimAdded)
				}
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.name, cost,
			micro(median(readings, func(r reading) time.Duration { return r.quantile(.5) })), added50,
			micro(median(readings, func(r reading) time.Duration { return r.quantile(.99) })), added99, aim,
			micro(quantiles(readings, .99)[0]))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if between := spread(direct, .99); between > aimAdded {
		fmt.Fprintf(out, "\nunclear: the twin's own p99 differs by %s between the rounds, more than what is aimed at. The machine is busy with other things.\n",
			micro(between))
	}
	return nil
}

// added is how much later than straight from the vendor: the median over the
// rounds, each compared within itself.
func added(readings, direct []reading, q float64) time.Duration {
	list := make([]time.Duration, len(readings))
	for i, r := range readings {
		list[i] = r.quantile(q) - direct[i].quantile(q)
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// quantiles gives a quantile of each round, the best first.
func quantiles(readings []reading, q float64) []time.Duration {
	list := make([]time.Duration, len(readings))
	for i, r := range readings {
		list[i] = r.quantile(q)
	}
	slices.Sort(list)
	return list
}

// spread is how far the rounds are apart in a quantile.
func spread(readings []reading, q float64) time.Duration {
	list := quantiles(readings, q)
	return list[len(list)-1] - list[0]
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

func micro(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

func mebi(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
