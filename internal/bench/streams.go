//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// roleStreamer is the role of a vendor that tells its answer in pieces, at a pace.
const roleStreamer = "streamer"

// serveStreamer answers every chat completion with a stream of pieces; its argument is
// how many, and how far apart. Each piece is the moment at which it was said.
func serveStreamer(argument string) error {
	count, pause, ok := strings.Cut(argument, ",")
	n, err := strconv.Atoi(count)
	apart, err2 := time.ParseDuration(pause)
	if !ok || errors.Join(err, err2) != nil {
		return fmt.Errorf("a streamer needs a count and a pause, as 40,50ms; not %q", argument)
	}
	return serveUntilParentEnds(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		conn := http.NewResponseController(w)
		tick := time.NewTicker(apart)
		defer tick.Stop()
		for i := range n {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
			fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,"+
				"\"delta\":{\"content\":\"%d \"},\"finish_reason\":%s}]}\n\n", time.Now().UnixNano(), []string{"null", `"stop"`}[max(0, i-n+2)])
			if i == n-1 {
				_, _ = io.WriteString(w, "data: [DONE]\n\n")
			}
			if conn.Flush() != nil {
				return
			}
		}
	}))
}

// watched is what one client saw of a stream.
type watched struct {
	first  time.Duration // from the request to the first piece
	delays []time.Duration
	whole  bool
}

// watch asks for a stream and reads it to its end.
func watch(ctx context.Context, addr, auth string, r request, end string) (watched, error) {
	var w watched
	raw, err := encode(addr, auth, r)
	if err != nil {
		return w, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return w, err
	}
	defer conn.Close()
	began := time.Now()
	if _, err := conn.Write(raw); err != nil {
		return w, err
	}
	reader := bufio.NewReaderSize(conn, 1<<10)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return w, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return w, fmt.Errorf("%s: %s", resp.Status, text)
	}
	lines := bufio.NewReaderSize(resp.Body, 1<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue // a long one: a whole object
		}
		if err != nil {
			return w, nil //nolint:nilerr // a stream that broke is one that is not whole
		}
		if bytes.HasPrefix(line, []byte(end)) {
			w.whole = true
			return w, nil
		}
		if at, told := moment(line); told {
			now := time.Now()
			if len(w.delays) == 0 {
				w.first = now.Sub(began)
			}
			w.delays = append(w.delays, now.Sub(at))
		}
	}
}

// moment reads when a piece was said out of a line that holds one.
func moment(line []byte) (time.Time, bool) {
	for _, before := range []string{`"content":"`, `"text":"`} {
		if _, rest, found := bytes.Cut(line, []byte(before)); found {
			digits, _, _ := bytes.Cut(rest, []byte(" "))
			if n, err := strconv.ParseInt(string(digits), 10, 64); err == nil && len(digits) == 19 {
				return time.Unix(0, n), true
			}
		}
	}
	return time.Time{}, false
}

// crowd is what many clients saw at once.
type crowd struct {
	first, delays []time.Duration // ascending
	whole         int
	server        cpu
	held          memory // of the server, in mid-stream
}

// watchMany opens many streams at once.
func watchMany(ctx context.Context, n int, t *target, half time.Duration, profiles string) (crowd, error) {
	var c crowd
	var before cpu
	var err error
	if t.process != nil {
		if before, err = cpuOf(t.process.pid); err != nil {
			return c, err
		}
	}
	all, errs := make([]watched, n), make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			r, end := request{"/v1/chat/completions", object{"stream": true, "messages": []object{{"role": "user", "content": said}}}}, "data: [DONE]"
			if t.process != nil {
				r, end = request{"/v1/messages", object{"text": said, "stream": true}}, "event: done"
			}
			all[i], errs[i] = watch(ctx, t.addr, t.auth, r, end)
		})
	}
	if t.process != nil {
		time.Sleep(half)
		if c.held, err = memoryOf(t.process.pid); err != nil {
			errs = append(errs, err)
		}
		if profiles != "" {
			errs = append(errs, fetch(ctx, "http://"+t.admin+"/debug/pprof/heap", filepath.Join(profiles, fmt.Sprintf("streams-%d.heap", n))))
		}
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if t.process != nil {
		after, err := cpuOf(t.process.pid)
		if err != nil {
			return c, err
		}
		c.server = after.minus(before)
	}
	for _, w := range all {
		c.first, c.delays = append(c.first, w.first), append(c.delays, w.delays...)
		if w.whole {
			c.whole++
		}
	}
	slices.Sort(c.first)
	slices.Sort(c.delays)
	if len(c.delays) == 0 {
		return c, io.ErrNoProgress
	}
	return c, nil
}

// measurePieces measures what chatmux adds to a stream, and what an open one costs.
func measurePieces(ctx context.Context, o options, dir string, out io.Writer) error {
	for _, load := range []struct {
		streams, pieces int
		pause           time.Duration
	}{{20, 100, 20 * time.Millisecond}, {o.streams, 40, 500 * time.Millisecond}} {
		if err := measurePiecesOf(ctx, o, load.streams, load.pieces, load.pause, filepath.Join(dir, strconv.Itoa(load.streams)), out); err != nil {
			return err
		}
	}
	return nil
}

func measurePiecesOf(ctx context.Context, o options, streams, pieces int, pause time.Duration, dir string, out io.Writer) error {
	vendorProcess, err := startRole(ctx, roleStreamer, fmt.Sprintf("%d,%s", pieces, pause))
	if err != nil {
		return err
	}
	defer vendorProcess.stop()
	v := vendor{name: "openai", path: "/v1", settings: "api_key: k, model: m"}
	rest := fmt.Sprintf("limits: {in_flight: 10000}\nbackends:\n  - %s, max_in_flight: 10000}\nroutes:\n  - {name: default, to: bot}\n", v.backend("bot", vendorProcess.addr))
	p, admin, err := startChatmux(ctx, o.chatmux, dir, "sqlite:"+filepath.Join(dir, "chatmux.db"), rest)
	if err != nil {
		return err
	}
	defer p.stop()
	half := time.Duration(pieces) * pause / 2
	direct := &target{name: "straight from the vendor", auth: "Bearer k", addr: vendorProcess.addr}
	through := &target{name: "through chatmux, store file", auth: "Bearer " + callerKey, addr: p.addr, process: p, admin: admin}
	if _, err := watchMany(ctx, 5, through, 0, ""); err != nil { // so that all is there
		return err
	}
	before, err := memoryOf(p.pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nstreams: %d at once, %d pieces each, %s apart\n\n", streams, pieces, pause)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\twhole\tfirst piece p50\tp99\tdelay of a piece p50\tp99\tCPU/piece\tmemory/stream\t")
	for _, t := range []*target{direct, through} {
		c, err := watchMany(ctx, streams, t, half, o.profiles)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		cost, held := "-", "-"
		if t.process != nil {
			cost = micro(c.server.total() / time.Duration(len(c.delays)))
			held = fmt.Sprintf("%d KiB", (c.held.now-before.now)/int64(streams)>>10)
		}
		at := func(list []time.Duration, q float64) string { return micro(sample{latencies: list}.quantile(q)) }
		fmt.Fprintf(table, "%s\t%d of %d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.name, c.whole, streams,
			at(c.first, .5), at(c.first, .99), at(c.delays, .5), at(c.delays, .99), cost, held)
	}
	return table.Flush()
}
