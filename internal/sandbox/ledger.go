package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// What the ledger keeps at most: so many entries, and of their bodies so many
// bytes together. The newest are kept.
const (
	ledgerEntries = 4096
	ledgerBytes   = 64 << 20
)

// Entry is one request that the server received, and what became of it.
type Entry struct {
	Time       time.Time
	Connection int64 // connections are counted from 1
	Method     string
	Path       string // as it was written, escapes kept
	Query      string // without the question mark
	Header     http.Header
	Body       []byte // as far as it was read
	Fault      string // how it was answered: a fault, or ok
	Status     int    // 0 where no status line was written
	Sent       int64  // bytes of the answer: of its body, or of all where the answer is no HTTP
	Done       bool   // nothing more will be written
	PeerLeft   bool   // the peer closed the connection before the answer was complete
}

// Ledger gives what was received since the start or the last reset, oldest first,
// each entry as it is now. Headers and bodies must not be changed.
func (s *Server) Ledger() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries()
}

func (s *Server) entries() []Entry {
	list := make([]Entry, len(s.ledger))
	for i, e := range s.ledger {
		list[i] = *e
	}
	return list
}

// ResetLedger forgets what was received, and starts counting anew.
func (s *Server) ResetLedger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger, s.ledgerSize, s.requests = nil, 0, 0
}

// Requests counts what was received since the start or the last reset, also what
// the ledger no longer keeps.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Connections counts the connections that were opened since the start.
func (s *Server) Connections() int64 { return s.connections.Load() }

// Await waits until the ledger is as wanted, and returns it; on the end of the
// context the error says what was there instead.
func (s *Server) Await(ctx context.Context, wanted func([]Entry) bool) ([]Entry, error) {
	for {
		s.mu.Lock()
		entries, changed := s.entries(), s.changed
		s.mu.Unlock()
		if wanted(entries) {
			return entries, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return entries, fmt.Errorf("sandbox: the ledger did not become as wanted, it holds %d requests: %w", len(entries), ctx.Err())
		}
	}
}

// record adds an entry and returns it; change alters it later.
func (s *Server) record(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.ledger = append(s.ledger, e)
	s.ledgerSize += len(e.Body)
	drop := 0
	for len(s.ledger)-drop > ledgerEntries || s.ledgerSize > ledgerBytes {
		s.ledgerSize -= len(s.ledger[drop].Body)
		drop++
	}
	s.ledger = slices.Delete(s.ledger, 0, drop)
	s.announce()
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.announce()
}

// announce wakes up those who wait for the ledger to change.
func (s *Server) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}
