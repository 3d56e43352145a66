package main

import (
	"fmt"
	"io"
	"time"
)

// How often progress is told: a terminal's line is written anew, a pipe gets lines of
// its own.
const (
	terminalPace = 100 * time.Millisecond
	pipePace     = 2 * time.Second
)

// progress tells how far a long command has come, as lines on the standard error.
type progress struct {
	out    io.Writer // nil: tells nothing
	pace   time.Duration
	before string // what a line begins with
	after  string // and ends with
	last   time.Time
	wrote  bool
}

func newProgress(out io.Writer, silent bool) *progress {
	switch {
	case silent:
		return &progress{}
	case isTerminal(out):
		return &progress{out: out, pace: terminalPace, before: "\r\x1b[K"}
	default:
		return &progress{out: out, pace: pipePace, after: "\n", last: time.Now()}
	}
}

// say tells where things stand, unless it was told just before.
func (p *progress) say(format string, args ...any) {
	if p.out == nil || time.Since(p.last) < p.pace {
		return
	}
	p.last, p.wrote = time.Now(), true
	fmt.Fprintf(p.out, p.before+format+p.after, args...)
}

// end makes room for what is printed next.
func (p *progress) end() {
	if p.wrote && p.before != "" {
		fmt.Fprint(p.out, p.before)
	}
}
