package app

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"chatmux/internal/config"
)

// The bounds of a log whose reader is slow.
const (
	logBacklog = 1 << 20     // bytes of lines that wait to be written
	logFlush   = time.Second // that Close waits for them
)

// newLog builds the log that the config asks for. What it writes reaches out in the
// background; close waits for that, within bounds.
func newLog(c config.Log, out io.Writer, count func(lines int)) (log *zap.Logger, closeLog func(), err error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, nil, fmt.Errorf("log level: %w", err)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	if c.Format == "console" {
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	} else {
		encoder = zapcore.NewJSONEncoder(encoding)
	}
	lines := newLogLines(out, count)
	log = zap.New(zapcore.NewCore(encoder, lines, level))
	go lines.write(func(dropped int) {
		log.Warn("log lines were dropped: nobody took them in time", zap.Int("lines", dropped))
	})
	return log, lines.close, nil
}

// logLines stands between those who log and a pipe, a terminal or a file that may
// take nothing: no line that is logged waits for it. Up to logBacklog bytes of lines
// wait in its place; what comes on top is dropped and counted.
type logLines struct {
	out   io.Writer
	count func(lines int)

	mu      sync.Mutex
	waiting []byte
	dropped int // since the log has told it
	closed  bool

	some chan struct{} // holds a token while there may be something to do
	done chan struct{} // closed when nothing will be written any more
}

func newLogLines(out io.Writer, count func(lines int)) *logLines {
	return &logLines{out: out, count: count, some: make(chan struct{}, 1), done: make(chan struct{})}
}

// Write implements io.Writer: it takes one line, or drops it, and never fails.
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	room := !l.closed && len(l.waiting)+len(line) <= logBacklog
	if room {
		l.waiting = append(l.waiting, line...)
	} else {
		l.dropped++
	}
	l.mu.Unlock()
	if !room {
		l.count(1)
	}
	l.wake()
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer. Nobody waits for the lines but close.
func (l *logLines) Sync() error { return nil }

func (l *logLines) wake() {
	select {
	case l.some <- struct{}{}:
	default:
	}
}

// write writes what waits, until close; tell logs how many lines were dropped, as
// soon as there is room again.
func (l *logLines) write(tell func(dropped int)) {
	defer close(l.done)
	var writing []byte
	for range l.some {
		l.mu.Lock()
		writing, l.waiting = l.waiting, writing[:0]
		dropped, closed := l.dropped, l.closed
		l.dropped = 0
		l.mu.Unlock()
		if len(writing) > 0 {
			if n, err := l.out.Write(writing); err != nil {
				l.count(bytes.Count(writing[n:], []byte("\n")))
			}
		}
		if closed {
			return
		}
		if dropped > 0 {
			tell(dropped)
		}
	}
}

// close waits until the lines of before are written, or logFlush is over. Later lines
// are dropped.
func (l *logLines) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake()
	select {
	case <-l.done:
	case <-time.After(logFlush):
	}
}
