// Package sandbox starts simulated vendors on loopback, makes them fail on
// purpose, and keeps a ledger of all that they received. It is there for the first
// run without an account, for the tests, and for people who test their own clients
// offline. It knows no vendor: what answers is the handler that it is given.
//
// How to fail is said in a script, by order or by path, or in the text of a
// message: [[status 503 retry-after=7]]. Grammar lists the faults.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody is the largest request that is taken.
const maxBody = 32 << 20

// Options say where a server listens.
type Options struct {
	Addr string // a loopback address with its port; 127.0.0.1:0 where empty
	Name string // for people

	// OnRequest is told of every request once it is answered; nil tells nobody. It
	// must not block.
	OnRequest func(Entry)
}

// Server is a simulated vendor that listens.
type Server struct {
	name    string
	handler http.Handler
	tell    func(Entry)
	server  *http.Server
	url     string
	stop    context.CancelFunc

	connections atomic.Int64

	mu         sync.Mutex
	steps      []Step            // by order
	pathSteps  map[string][]Step // by path; a star stands for anything
	ledger     []*Entry
	ledgerSize int
	requests   int
	changed    chan struct{} // closed when the ledger changes
	closed     bool
	hijacked   map[net.Conn]struct{}
	running    sync.WaitGroup // the accept loop and every request
}

type connectionKey struct{}

// Start listens and serves until Close. An address that is not a loopback
// address is refused: whoever can reach a sandbox can make it misbehave.
func Start(handler http.Handler, o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %q is not an address: write 127.0.0.1:9901", o.Name, o.Addr)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) {
		return nil, fmt.Errorf("sandbox %s: %s is not a loopback address: write 127.0.0.1:9901", o.Name, o.Addr)
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", o.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		name:      o.Name,
		handler:   handler,
		tell:      o.OnRequest,
		url:       "http://" + listener.Addr().String(),
		stop:      stop,
		pathSteps: map[string][]Step{},
		changed:   make(chan struct{}),
		hijacked:  map[net.Conn]struct{}{},
	}
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, s.connections.Add(1))
		},
	}
	s.running.Go(func() { _ = s.server.Serve(listener) }) // it ends when Close closes the listener
	return s, nil
}

// URL is where the server listens, as http://127.0.0.1:40123.
func (s *Server) URL() string { return s.url }

// Name is what the server was called.
func (s *Server) Name() string { return s.name }

// Close closes the listener and every connection, also those that a fault holds,
// and waits until no request is running.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	held := make([]net.Conn, 0, len(s.hijacked))
	for c := range s.hijacked {
		held = append(held, c)
	}
	s.mu.Unlock()
	s.stop()
	for _, c := range held {
		_ = c.Close()
	}
	err := s.server.Close()
	s.running.Wait()
	return err
}

// Script plays these steps for the next requests, whatever they are, in place of
// what is left of an earlier script. No steps: healthy again.
func (s *Server) Script(steps ...Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = steps
}

// ScriptPath plays these steps for the next requests of a path, in place of what
// is left of an earlier script for it. One * in the path stands for anything. A
// path's script goes before the general one.
func (s *Server) ScriptPath(path string, steps ...Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pathSteps[path] = steps
}

// scripted takes the fault that the scripts have for a path.
func (s *Server) scripted(path string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pattern, steps := range s.pathSteps {
		if len(steps) > 0 && matches(pattern, path) {
			fault, rest := take(steps)
			s.pathSteps[pattern] = rest
			return fault, true
		}
	}
	if len(s.steps) == 0 {
		return Fault{}, false
	}
	var fault Fault
	fault, s.steps = take(s.steps)
	return fault, true
}

// take gives the fault of the first step, and what is left to play after it.
func take(steps []Step) (Fault, []Step) {
	fault := steps[0].Fault
	switch {
	case steps[0].Times == 0:
		return fault, steps
	case steps[0].Times == 1:
		return fault, steps[1:]
	default:
		left := append([]Step(nil), steps...)
		left[0].Times--
		return fault, left
	}
}

func matches(pattern, path string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == path
	}
	return len(path) >= len(before)+len(after) && strings.HasPrefix(path, before) && strings.HasSuffix(path, after)
}

// serve takes one request: reads, records, answers.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()

	entry := &Entry{
		Time:       time.Now(),
		Connection: r.Context().Value(connectionKey{}).(int64),
		Method:     r.Method,
		Path:       r.URL.EscapedPath(),
		Query:      r.URL.RawQuery,
		Header:     r.Header.Clone(),
	}
	fault, scripted := s.scripted(entry.Path)
	p := &play{server: s, fault: fault, entry: entry, w: &countingWriter{ResponseWriter: w}, r: r}
	if fault.early() {
		entry.Body, _ = io.ReadAll(io.LimitReader(r.Body, fault.count)) // as far as it comes
	} else {
		p.readBody(scripted)
	}
	entry.Fault = p.fault.String()
	s.record(entry)
	defer p.end()
	p.run()
}

// hold keeps a connection that was taken from the HTTP server, so that Close
// closes it; false where Close was called already.
func (s *Server) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.hijacked[c] = struct{}{}
	return true
}

func (s *Server) letGo(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hijacked, c)
}

// countingWriter notes what was answered.
type countingWriter struct {
	http.ResponseWriter
	status int
	sent   int64
	failed bool
}

// Unwrap lets http.ResponseController reach the connection's own writer.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status; informational ones are passed on only.
func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.sent += int64(n)
	w.failed = w.failed || err != nil && !errors.Is(err, http.ErrContentLength) && !errors.Is(err, http.ErrBodyNotAllowed)
	return n, err
}

// Flush serves handlers that ask for an http.Flusher.
func (w *countingWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
