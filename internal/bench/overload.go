//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// What is aimed at when too much is asked.
const (
	aimGoodput     = .9                    // of its peak, at ten times what there is room for
	aimRefusal     = 10 * time.Millisecond // p99
	aimDials       = 1.1                   // a send, when nobody can be reached
	aimNeighbour   = 1.2                   // times as slow beside a backend that hangs
	aimStream      = 60 << 10              // bytes for each open stream
	room           = 64                    // sends at once
	roomOfHanging  = 16
	streams        = 2000
	manyClients    = 512
	outageRate     = 200 // sends a second
	streamPatience = 2 * time.Minute
)

// factors of capacity that are asked for.
var factors = []float64{.5, 1, 2, 5, 10}

// measureOverload asks for more than there is room for, and prints what becomes of it.
// The vendor takes 100 ms for an answer, so that there is no room long before the
// machine is full.
func measureOverload(ctx context.Context, o options, dir string, out io.Writer) error {
	v, err := vendorNamed("conversations")
	if err != nil {
		return err
	}
	slow, err := startRole(ctx, roleSlow, v.name)
	if err != nil {
		return err
	}
	defer slow.stop()
	hanging, err := hang()
	if err != nil {
		return err
	}
	defer hanging.release()
	nobody, err := freeAddr()
	if err != nil {
		return err
	}
	const patient = ", breaker: {failures: 1000000, min_requests: 1000000}"
	rest := fmt.Sprintf("limits: {in_flight: %d}\nbackends:\n  - %s, max_in_flight: %d}\n  - %s, max_in_flight: %d, timeouts: {first_byte: 60s, total: 60s}}\n"+
		"  - %s, retry: {attempts: 3, base: 1ms, cap: 10ms}%s}\nroutes:\n  - {name: hanging, match: {metadata.to: hanging}, to: hanging}\n"+
		"  - {name: gone, match: {metadata.to: gone}, to: gone}\n  - {name: default, to: bot}\n",
		room, v.backend("bot", slow.addr), room, v.backend("hanging", hanging.addr()), roomOfHanging, v.backend("gone", nobody), patient)
	server, admin, err := startChatmux(ctx, o.chatmux, dir, "sqlite:"+filepath.Join(dir, "chatmux.db"), rest)
	if err != nil {
		return err
	}
	defer server.stop()
	if err := measureGoodput(ctx, o, server.addr, out); err != nil {
		return err
	}
	if err := measureOutage(ctx, o, server.addr, admin, out); err != nil {
		return err
	}
	if err := measureNeighbour(o, server.addr, hanging, out); err != nil {
		return err
	}
	rest = fmt.Sprintf("limits: {in_flight: %d}\nbackends:\n  - %s, max_in_flight: %d}\nroutes:\n  - {name: default, to: bot}\n",
		2*streams, v.backend("bot", slow.addr), 2*streams)
	dir = filepath.Join(dir, "streams")
	roomy, _, err := startChatmux(ctx, o.chatmux, dir, "sqlite:"+filepath.Join(dir, "chatmux.db"), rest)
	if err != nil {
		return err
	}
	defer roomy.stop()
	return measureStreams(roomy, out)
}

// beginners makes clients whose every message begins a thread.
func beginners(addr string, n int, body object) ([]*client, error) {
	clients := make([]*client, n)
	for i := range clients {
		var err error
		first := func(poster) (request, error) { return request{"/v1/messages", body}, nil }
		if clients[i], err = newClient(addr, "Bearer "+callerKey, first, 1); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

func leave(clients []*client) {
	for _, c := range clients {
		_ = c.close()
	}
}

// measureGoodput offers shares and multiples of what the server can do.
func measureGoodput(ctx context.Context, o options, addr string, out io.Writer) error {
	clients, err := beginners(addr, manyClients, object{"text": said})
	if err != nil {
		return err
	}
	defer leave(clients)
	alone, err := closed(clients[:room], o.duration)
	if err != nil {
		return err
	}
	capacity := alone.rate()
	fmt.Fprintf(out, "\noverload: room for %d sends, a vendor that takes %s: %.0f sends/s; open loop, %d connections\n\n", room, thinking, capacity, manyClients)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "asked for\tanswered\trefused\tother\tanswered/s\tof the peak\trefusal p99\t")
	peak := capacity
	var last tally
	for _, factor := range factors {
		t := offer(clients, poisson(factor*capacity, o.duration, uint64(factor*10)))
		if err := ctx.Err(); err != nil {
			return err
		}
		peak = max(peak, t.goodput())
		fmt.Fprintf(table, "%g x\t%d\t%d\t%d\t%.0f\t%.0f %%\t%s\t\n", factor, t.good, len(t.refusals), t.other, t.goodput(), 100*t.goodput()/peak,
			micro(t.worst()))
		last = t
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\ngoodput at %g x: %.0f %% of its peak, aim %.0f %%: %s; refusal p99 %s, aim %s: %s\n", factors[len(factors)-1],
		100*last.goodput()/peak, 100*aimGoodput, verdict(last.goodput() >= aimGoodput*peak), micro(last.worst()), aimRefusal, verdict(last.worst() <= aimRefusal))
	return nil
}

// tally counts what became of requests.
type tally struct {
	took        time.Duration
	good, other int
	refusals    []time.Duration // how long they took, ascending
}

func (t tally) goodput() float64 { return float64(t.good) / t.took.Seconds() }

// worst is the p99 of the refusals; 0 where there are none.
func (t tally) worst() time.Duration {
	if len(t.refusals) == 0 {
		return 0
	}
	return sample{latencies: t.refusals}.quantile(.99)
}

// offer is open for a server that may refuse: a 503 with a wait of 1 to 5 s. Refusals
// count from the moment at which the request went out.
func offer(clients []*client, arrivals []time.Duration) tally {
	start := time.Now()
	due := make(chan struct{}, len(arrivals))
	go func() {
		defer close(due)
		for _, at := range arrivals {
			sleep(time.Until(start.Add(at)))
			due <- struct{}{}
		}
	}()
	var mu sync.Mutex
	var all tally
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() {
			var own tally
			for range due {
				began := time.Now()
				status, header, err := c.ask(c.requests[0])
				switch {
				case err != nil:
					own.other++
					_ = c.close()
					c.conn = nil
				case status == http.StatusOK:
					own.good++
				case refuses(status, header):
					own.refusals = append(own.refusals, time.Since(began))
				default:
					own.other++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.good += own.good
			all.other += own.other
			all.refusals = append(all.refusals, own.refusals...)
		})
	}
	running.Wait()
	all.took = time.Since(start)
	slices.Sort(all.refusals)
	return all
}

func refuses(status int, header http.Header) bool {
	wait, err := strconv.Atoi(header.Get("Retry-After"))
	return status == http.StatusServiceUnavailable && err == nil && wait >= 1 && wait <= 5
}

// attemptsOfGone finds what the metrics count of one backend.
var attemptsOfGone = regexp.MustCompile(`(?m)^chatmux_attempts_total\{backend="gone",[^}]*\} (\d+)`)

// measureOutage sends to a vendor that cannot be reached, with a breaker that stays out
// of the way: what is left is the budget for second tries.
func measureOutage(ctx context.Context, o options, addr, admin string, out io.Writer) error {
	clients, err := beginners(addr, room/2, object{"text": said, "metadata": object{"to": "gone"}})
	if err != nil {
		return err
	}
	defer leave(clients)
	t := offer(clients, poisson(outageRate, max(o.duration, 10*time.Second), 1))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	attempts := 0
	for _, found := range attemptsOfGone.FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(found[1]))
		if err != nil {
			return err
		}
		attempts += n
	}
	sends := t.good + t.other + len(t.refusals)
	if attempts < sends {
		return fmt.Errorf("%d attempts are counted of %d sends", attempts, sends)
	}
	perSend := float64(attempts) / float64(sends)
	fmt.Fprintf(out, "\noutage: %d sends to a vendor that cannot be reached, %d dials, %.2f a send, aim %.1f: %s\n", sends, attempts, perSend, aimDials,
		verdict(perSend <= aimDials))
	return nil
}

// measureNeighbour compares a backend with itself beside one that hangs with all its
// places.
func measureNeighbour(o options, addr string, hanging *hung, out io.Writer) error {
	clients, err := beginners(addr, 8, object{"text": said})
	if err != nil {
		return err
	}
	defer leave(clients)
	stuck, err := beginners(addr, 2*roomOfHanging, object{"text": said, "metadata": object{"to": "hanging"}})
	if err != nil {
		return err
	}
	defer leave(stuck)
	alone, err := closed(clients, o.duration)
	if err != nil {
		return err
	}
	var over atomic.Bool
	var all sync.WaitGroup
	for _, c := range stuck {
		all.Go(func() {
			for !over.Load() {
				if _, _, err := c.ask(c.requests[0]); err != nil {
					return
				}
			}
		})
	}
	for end := time.Now().Add(10 * time.Second); hanging.count() < roomOfHanging; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the backend that hangs does not fill up")
		}
	}
	beside, err := closed(clients, o.duration)
	over.Store(true)
	hanging.release()
	all.Wait()
	if err != nil {
		return err
	}
	ratio := float64(beside.quantile(.5)) / float64(alone.quantile(.5))
	fmt.Fprintf(out, "\na backend that hangs with %d sends: another one takes %s and not %s (p99 %s and %s), %.2f times, aim %.1f: %s\n", roomOfHanging,
		micro(beside.quantile(.5)), micro(alone.quantile(.5)), micro(beside.quantile(.99)), micro(alone.quantile(.99)), ratio, aimNeighbour,
		verdict(ratio <= aimNeighbour))
	return nil
}

// hung takes connections and never says anything.
type hung struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	over     bool
}

func hang() (*hung, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hung{listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			if h.over {
				_ = conn.Close()
			}
			h.conns = append(h.conns, conn)
			h.mu.Unlock()
		}
	}()
	return h, nil
}

func (h *hung) addr() string { return h.listener.Addr().String() }

func (h *hung) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// release hangs up on everybody.
func (h *hung) release() {
	_ = h.listener.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for _, conn := range h.conns {
		_ = conn.Close()
	}
}

// measureStreams holds many streams open at once.
func measureStreams(server *process, out io.Writer) error {
	before, err := memoryOf(server.pid)
	if err != nil {
		return err
	}
	clients, err := beginners(server.addr, streams, object{"text": said, "stream": true})
	if err != nil {
		return err
	}
	defer leave(clients)
	var whole, begun, ended atomic.Int64
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			defer ended.Add(1)
			if c.streams(func() { begun.Add(1) }) {
				whole.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	var most memory
	var open int64
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		case <-time.After(50 * time.Millisecond):
		}
		now, err := memoryOf(server.pid)
		if err != nil {
			return err
		}
		open = max(open, begun.Load()-ended.Load())
		most.now = max(most.now, now.now)
	}
	each := (most.now - before.now) / streams
	fmt.Fprintf(out, "\n%d streams, %d of them open at once: %d KiB a stream (%s before, %s at most), aim %d KiB: %s; %d of them whole: %s\n", streams, open, each>>10,
		mebi(before.now), mebi(most.now), aimStream>>10, verdict(each <= aimStream), whole.Load(), verdict(whole.Load() == streams))
	return nil
}

// streams sends a message, reads its answer as a stream, and reports whether it came to
// its end; begun is called when the first bytes have come.
func (c *client) streams(begun func()) bool {
	if err := c.connected(); err != nil {
		return false
	}
	if err := c.conn.SetDeadline(time.Now().Add(streamPatience)); err != nil {
		return false
	}
	if _, err := c.conn.Write(c.requests[0]); err != nil {
		return false
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	begun()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte("event: done"))
}
