// Package archive writes what the store holds into files and reads it back: JSONL,
// which keeps everything and comes back exactly as it was, and CSV and Excel, one row a
// message, for people. All of it streams: however many messages there are, a few are in
// memory.
//
// docs/archive.md describes the files and what they promise.
package archive

import (
	"context"
	"fmt"
	"io"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// Source is what an export reads from. Its methods are those of *store.Store.
type Source interface {
	NextTenant(ctx context.Context, after string) (string, bool, error)
	Threads(ctx context.Context, f store.ThreadFilter, r store.Range) ([]store.StoredThread, bool, error)
	Thread(ctx context.Context, tenant, id string, raw bool) (store.StoredThread, error)
	Transcript(ctx context.Context, tenant, threadID string, part store.Stretch) (store.Stretched, error)
}

// Target is what an import writes to.
type Target interface {
	Source
	Taken(ctx context.Context, threadID string, messageIDs []string) (bool, error)
	Import(ctx context.Context, arrivals []store.Arrival) error
	ImportMessages(ctx context.Context, tenant, threadID string, has int, messages []normalize.Message) error
}

// Filter selects what goes into an archive. Empty fields select all.
type Filter struct {
	Since   time.Time // messages said at this moment or later
	Until   time.Time // messages said before this moment
	Backend string    // threads that this backend serves now
	Tenant  string
	User    string // threads of the person with this id
}

// within reports whether a moment lies in the filter's period.
func (f Filter) within(at time.Time) bool {
	return (f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

// Format names a form of export.
type Format string

// The formats.
const (
	JSONL Format = "jsonl"
	CSV   Format = "csv"
	XLSX  Format = "xlsx"
)

// Formats are all of them.
var Formats = []Format{JSONL, CSV, XLSX}

// Counts is how much went by.
type Counts struct {
	Threads  int `json:"threads"`
	Messages int `json:"messages"`
}

// sink is a file that is being written.
type sink interface {
	begin(f Filter, more bool) error
	// thread is followed by the thread's messages, t.MessageCount of them.
	thread(t *store.StoredThread, more bool) error
	message(t *store.StoredThread, m *normalize.Message) error
	end() error
}

func newSink(format Format, w io.Writer) (sink, error) {
	switch format {
	case JSONL:
		return &lines{w: w}, nil
	case CSV:
		return newCSV(w), nil
	case XLSX:
		return newWorkbook(w), nil
	}
	return nil, fmt.Errorf("there is no format %q: choose jsonl, csv or xlsx", format)
}
