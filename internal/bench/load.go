//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// client is one warm connection with threads of its own: a thread takes one send at
// a time. It writes requests that are ready beforehand, so that the load itself
// costs little.
type client struct {
	addr     string
	conn     net.Conn
	reader   *bufio.Reader
	used     time.Time // when the connection was used last
	requests [][]byte
	next     int
	body     bytes.Buffer
}

// newClient connects to a target and begins threads there. It talks HTTP by itself:
// one goroutine, no pool.
func newClient(addr, auth string, begin func(poster) (request, error), threads int) (*client, error) {
	c := &client{addr: addr}
	for range threads {
		r, err := begin(func(r request) ([]byte, error) {
			raw, err := encode(addr, auth, r)
			if err != nil {
				return nil, err
			}
			return c.exchange(raw)
		})
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		raw, err := encode(addr, auth, r)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.requests = append(c.requests, raw)
	}
	return c, nil
}

// maxIdleTime is how long a connection may rest. Servers close those that rest
// longer, chatmux after two minutes.
const maxIdleTime = 30 * time.Second

// connected sees to it that there is a connection that the server has not closed.
func (c *client) connected() error {
	if c.conn != nil && time.Since(c.used) < maxIdleTime {
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.addr)
	if err == nil {
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	return err
}

// encode writes down a request as it goes over the wire.
func encode(host, auth string, r request) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.body); err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(body.Bytes())
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		r.path, host, auth, len(text), text), nil
}

// exchange writes a request and reads the answer, which must be 2xx. The body is
// good until the next one.
func (c *client) exchange(raw []byte) ([]byte, error) {
	status, _, err := c.ask(raw)
	if err != nil {
		return nil, err
	}
	if status/100 != 2 {
		return nil, fmt.Errorf("%d %s: %s", status, http.StatusText(status), c.body.Bytes())
	}
	return c.body.Bytes(), nil
}

// ask is exchange for an answer of any status, whose body is then in c.body.
func (c *client) ask(raw []byte) (status int, header http.Header, err error) {
	if err := c.connected(); err != nil {
		return 0, nil, err
	}
	c.used = time.Now()
	if err := c.conn.SetDeadline(c.used.Add(30 * time.Second)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(raw); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, nil, err
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if resp.Close { // the server has closed, or will
		err = errors.Join(err, c.close())
		c.conn = nil
	}
	return resp.StatusCode, resp.Header, err
}

// answered is how the bot's answer to every message begins, as JSON writes it.
const answered = `You said: Guten Tag! My parcel \"7731-B\" was sent`

// send says something in the next of the client's threads.
func (c *client) send() error {
	raw := c.requests[c.next]
	c.next = (c.next + 1) % len(c.requests)
	body, err := c.exchange(raw)
	if err == nil && !bytes.Contains(body, []byte(answered)) {
		err = fmt.Errorf("an answer without the bot's words: %s", body)
	}
	return err
}

func (c *client) close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// sample is what one measurement saw.
type sample struct {
	took      time.Duration
	latencies []time.Duration // ascending
}

func (s sample) requests() int { return len(s.latencies) }

func (s sample) rate() float64 { return float64(s.requests()) / s.took.Seconds() }

// quantile gives the latency that a part of the requests stayed within.
func (s sample) quantile(q float64) time.Duration {
	return s.latencies[min(int(q*float64(len(s.latencies))), len(s.latencies)-1)]
}

// closed lets every client send again as soon as it has its answer.
func closed(clients []*client, duration time.Duration) (sample, error) {
	start := time.Now()
	return gather(clients, start, func(c *client, note func(time.Duration)) error {
		for began := start; began.Sub(start) < duration; {
			if err := c.send(); err != nil {
				return err
			}
			now := time.Now()
			note(now.Sub(began))
			began = now
		}
		return nil
	})
}

// open sends at moments that were fixed beforehand, whatever the answers do; the
// latency counts from that moment. So a server that stalls is charged for all who
// would have come meanwhile.
func open(clients []*client, arrivals []time.Duration) (sample, error) {
	start := time.Now()
	due := make(chan time.Time, len(arrivals))
	go func() {
		defer close(due)
		for _, at := range arrivals {
			moment := start.Add(at)
			sleep(time.Until(moment))
			due <- moment
		}
	}()
	return gather(clients, start, func(c *client, note func(time.Duration)) error {
		for moment := range due {
			if err := c.send(); err != nil {
				return err
			}
			note(time.Since(moment))
		}
		return nil
	})
}

// poisson gives the moments at which independent people would come, so many a
// second. The same seed gives the same moments.
func poisson(rate float64, duration time.Duration, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	var list []time.Duration
	for at := time.Duration(0); ; {
		at += time.Duration(random.ExpFloat64() / rate * float64(time.Second))
		if at >= duration {
			return list
		}
		list = append(list, at)
	}
}

// gather runs one loop for each client and joins what they saw.
func gather(clients []*client, start time.Time, loop func(*client, func(time.Duration)) error) (sample, error) {
	latencies, errs := make([][]time.Duration, len(clients)), make([]error, len(clients))
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() {
			errs[i] = loop(c, func(d time.Duration) { latencies[i] = append(latencies[i], d) })
		})
	}
	running.Wait()
	s := sample{took: time.Since(start), latencies: slices.Concat(latencies...)}
	slices.Sort(s.latencies)
	err := errors.Join(errs...)
	if err == nil && len(s.latencies) == 0 {
		err = io.ErrNoProgress
	}
	return s, err
}
