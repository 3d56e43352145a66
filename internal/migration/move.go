// Package migration holds what leaving a vendor is made of, beside the one move of one
// thread, which is the engine's: moving many threads, and saying beforehand what is
// lost. It speaks to threads through an interface, so that it works on a store
// that it has for itself and through a running server alike.
package migration

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Thread is what moving many needs to know of one.
type Thread struct {
	ID        string
	Tenant    string // empty where Threads is one tenant's anyway
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Threads lists and moves the threads of one order.
type Threads interface {
	// Page lists threads that are still to be moved, those first that were left alone
	// longest, and the cursor of the next page; empty on the last. The empty cursor
	// asks for the first page.
	Page(ctx context.Context, cursor string) (page []Thread, next string, err error)
	// Move moves one, and says at which level its past goes along. The error is a *Later
	// where it can be moved another time, ErrGone where there is nothing to be moved any
	// more, and anything else ends the whole order.
	Move(ctx context.Context, t Thread) (level string, err error)
}

// ErrGone says that a thread is not there any more, or is where it should be already:
// somebody else erased or moved it.
var ErrGone = errors.New("migration: nothing to move")

// Later says that a thread cannot be moved now: a send holds it, or the server asks for
// patience.
type Later struct {
	After time.Duration
	Cause error
}

func (l *Later) Error() string { return l.Cause.Error() }

// Unwrap gives the reason.
func (l *Later) Unwrap() error { return l.Cause }

// Moved is what became of one thread.
type Moved struct {
	Thread Thread
	Level  string // history, primer or none; empty where it was not moved
	Err    error  // why it was not: ErrGone, or a *Later
}

// Order says how threads are moved.
type Order struct {
	Workers  int           // how many at once
	Patience time.Duration // how long threads that cannot be moved are tried again while no other moves
}

// movePause is how long at least passes before threads that could not be moved are
// tried again.
const movePause = 500 * time.Millisecond

// Count counts the threads that there are to be moved.
func Count(ctx context.Context, threads Threads) (int, error) {
	n := 0
	err := eachPage(ctx, threads, func(page []Thread) (bool, error) {
		n += len(page)
		return true, nil
	})
	return n, err
}

// eachPage visits the pages until the last, or until one was enough.
func eachPage(ctx context.Context, threads Threads, visit func([]Thread) (more bool, err error)) error {
	for cursor := ""; ; {
		page, next, err := threads.Page(ctx, cursor)
		if err != nil {
			return err
		}
		more, err := visit(page)
		if err != nil || !more || next == "" {
			return err
		}
		cursor = next
	}
}

// Move moves all threads that there are, and tells of each when it is certain what
// became of it; each is called by one goroutine at a time. Every move is whole or not
// at all and moved threads are not listed again, so an order that was cut off goes on
// where it stopped when it is given again. Threads that are made meanwhile stay.
//
// Threads that a send holds are tried again until they move or Patience is over, and
// then told with their *Later.
func Move(ctx context.Context, threads Threads, o Order, each func(Moved)) error {
	began := time.Now()
	done := make(map[string]bool) // told already; only those that stay listed matter
	moving := time.Now()
	for {
		var left []Moved
		var wait time.Duration
		err := eachPage(ctx, threads, func(page []Thread) (bool, error) {
			var now []Thread
			for _, t := range page {
				if !done[t.ID] && !t.CreatedAt.After(began) {
					now = append(now, t)
				}
			}
			results, err := movePage(ctx, threads, o.Workers, now)
			for _, m := range results {
				var later *Later
				if errors.As(m.Err, &later) {
					left, wait = append(left, m), max(wait, later.After)
					continue
				}
				if m.Err != nil {
					done[m.Thread.ID] = true
				}
				moving = time.Now()
				each(m)
			}
			return true, err
		})
		if err != nil {
			return err
		}
		if len(left) > 0 && time.Since(moving) < o.Patience {
			if err := pause(ctx, max(wait, movePause)); err != nil {
				return err
			}
			continue
		}
		for _, m := range left {
			each(m)
		}
		return nil
	}
}

// movePage moves the threads of one page, some at once. An error is one that ends the
// order; what was moved before it is among the results.
func movePage(ctx context.Context, threads Threads, workers int, page []Thread) ([]Moved, error) {
	var mu sync.Mutex
	var results []Moved
	var fatal error
	var working sync.WaitGroup
	jobs := make(chan Thread)
	for range min(max(workers, 1), max(len(page), 1)) {
		working.Go(func() {
			for t := range jobs {
				level, err := threads.Move(ctx, t)
				var later *Later
				mu.Lock()
				if err == nil || errors.Is(err, ErrGone) || errors.As(err, &later) {
					results = append(results, Moved{Thread: t, Level: level, Err: err})
				} else if fatal == nil {
					fatal = err
				}
				mu.Unlock()
			}
		})
	}
	for _, t := range page {
		mu.Lock()
		over := fatal != nil
		mu.Unlock()
		if over || ctx.Err() != nil {
			break
		}
		jobs <- t
	}
	close(jobs)
	working.Wait()
	if fatal == nil {
		fatal = ctx.Err()
	}
	return results, fatal
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
