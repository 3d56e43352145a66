//go:build linux

package catalogue

import (
	"bytes"
	endian "encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
)

// gate stands before a PostgreSQL server: it lets everybody through, nobody, or cuts
// connections at the moment of a commit.
type gate struct {
	t        testing.TB
	listener net.Listener
	all      sync.WaitGroup

	mu     sync.Mutex
	server string
	shut   bool
	often  int // of so many commits one is cut; 0: none
	open   map[net.Conn]bool
	cuts   int
}

// gated puts a gate before a database.
func gated(t testing.TB, dsn string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, server: u.Host, open: make(map[net.Conn]bool)}
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.all.Go(g.serve)
	t.Cleanup(func() {
		g.close()
		_ = g.listener.Close()
		g.all.Wait()
	})
	u.Host = g.listener.Addr().String()
	return g, u.String()
}

// close cuts all connections and lets nobody through until pass.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for conn := range g.open {
		_ = conn.Close()
	}
}

// pass lets everybody through, and cuts one of so many commits; 0: none.
func (g *gate) pass(often int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.often = false, often
}

// leads makes the gate lead to another server.
func (g *gate) leads(server string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = server
}

func (g *gate) dial() (net.Conn, error) {
	g.mu.Lock()
	server := g.server
	g.mu.Unlock()
	return net.Dial("tcp", server)
}

// keep remembers a connection, as long as the gate is not shut.
func (g *gate) keep(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		_ = conn.Close()
		return false
	}
	g.open[conn] = true
	return true
}

func (g *gate) drop(conn net.Conn) {
	_ = conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, conn)
}

func (g *gate) serve() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		if !g.keep(client) {
			continue
		}
		server, err := g.dial()
		if err != nil { // the server is away: so is the gate
			g.drop(client)
			continue
		}
		if !g.keep(server) {
			g.drop(client)
			continue
		}
		g.all.Go(func() {
			_, _ = io.Copy(client, server)
			g.drop(client)
			_, _ = io.Copy(io.Discard, server) // an answer left unread would reset the connection, and what is on its way in it
		})
		g.all.Go(func() {
			g.forward(client, server)
			if half, ok := server.(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
			g.drop(client)
		})
	}
}

// forward passes whole messages of the client on: a length first, after the very
// first one behind a letter.
func (g *gate) forward(client io.Reader, server io.Writer) {
	for head := 0; ; head = 1 {
		message := make([]byte, head+4)
		if _, err := io.ReadFull(client, message); err != nil {
			return
		}
		rest := make([]byte, endian.BigEndian.Uint32(message[head:])-4)
		if _, err := io.ReadFull(client, rest); err != nil {
			return
		}
		cut := bytes.Equal(rest, []byte("COMMIT\x00")) && g.cut()
		if cut && rand.IntN(3) == 0 {
			return // the server does not get it
		}
		if _, err := server.Write(append(message, rest...)); err != nil || cut {
			return
		}
	}
}

// cut reports whether this commit is to be cut.
func (g *gate) cut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.often == 0 || rand.IntN(g.often) > 0 {
		return false
	}
	g.cuts++
	return true
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cuts
}
