//go:build linux

package catalogue

import (
	"net"
	"sync"
)

// line stands between the program and a vendor.
type line struct {
	mu    sync.Mutex
	all   []net.Conn
	dials int
	dead  map[net.Conn]bool // nothing goes through, and nobody is told
}

// byLine puts a line before an address, and returns the address of its near end.
func (s *scene) byLine(address string) (*line, string) {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	l := &line{dead: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", address)
			if err != nil { // the vendor has left
				_ = near.Close()
				continue
			}
			l.mu.Lock()
			l.dials++
			l.all = append(l.all, near, far)
			l.mu.Unlock()
			running.Go(func() { l.pass(near, far) })
			running.Go(func() { l.pass(far, near) })
		}
	})
	s.leave(func() {
		_ = listener.Close()
		l.mu.Lock()
		for _, conn := range l.all {
			_ = conn.Close()
		}
		l.mu.Unlock()
		running.Wait()
	})
	return l, listener.Addr().String()
}

// pass passes on what comes from one end, as long as the line is not hushed.
func (l *line) pass(from, to net.Conn) {
	defer to.Close()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		dead := l.dead[from]
		l.mu.Unlock()
		if !dead {
			if _, failed := to.Write(b[:n]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hush lets the connections that there are fall silent.
func (l *line) hush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.all {
		l.dead[conn] = true
	}
}

// count tells how many connections there were.
func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials
}
