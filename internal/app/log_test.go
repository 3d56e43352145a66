package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"chatmux/internal/config"
)

// jsonLog is the log of a config that says nothing else.
func jsonLog(t *testing.T, out io.Writer) (log *zap.Logger, closeLog func(), dropped *atomic.Int64) {
	t.Helper()
	dropped = new(atomic.Int64)
	log, closeLog, err := newLog(config.Log{Level: "info", Format: "json"}, out, func(lines int) { dropped.Add(int64(lines)) })
	if err != nil {
		t.Fatal(err)
	}
	return log, closeLog, dropped
}

func TestALogThatNobodyReadsStallsNobodyAndTellsWhatItDrops(t *testing.T) {
	reader, writer := io.Pipe()
	log, closeLog, dropped := jsonLog(t, writer)
	long := strings.Repeat("x", 1000)
	const lines = 3 * logBacklog / 1000
	for n := range lines { // each of these would wait for ever
		log.Info(long, zap.Int("n", n))
	}
	lost := dropped.Load()
	if lost == 0 {
		t.Fatalf("%d lines of 1,000 bytes are kept for a log that nobody reads", lines)
	}
	last, read := -1, int64(0)
	scanner := bufio.NewScanner(reader)
	for told := int64(0); told < lost; {
		if !scanner.Scan() {
			t.Fatalf("of %d lost lines the log tells %d: %v", lost, told, scanner.Err())
		}
		var line struct {
			Msg   string
			N     int
			Lines int64
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("%v in %s", err, scanner.Bytes())
		}
		if told += line.Lines; line.Msg != long {
			continue
		}
		if line.N <= last {
			t.Errorf("line %d comes after line %d", line.N, last)
		}
		last = line.N
		read++
	}
	if read+lost != lines {
		t.Errorf("%d lines are read and %d counted as dropped, of %d", read, lost, lines)
	}
	closeLog()
	log.Info("too late")
	if dropped.Load() != lost+1 {
		t.Errorf("a line after the end is not counted: %d, before %d", dropped.Load(), lost)
	}
}

func TestTheLogIsWrittenBeforeTheEnd(t *testing.T) {
	var out bytes.Buffer
	log, closeLog, dropped := jsonLog(t, &out)
	for range 100 {
		log.Warn("the last words")
	}
	closeLog()
	closeLog()
	if n := strings.Count(out.String(), "the last words"); n != 100 || dropped.Load() != 0 {
		t.Errorf("%d of 100 lines are written, %d dropped", n, dropped.Load())
	}
}

func TestALogThatNobodyReadsDoesNotHoldUpTheEnd(t *testing.T) {
	reader, writer := io.Pipe()
	log, closeLog, _ := jsonLog(t, writer)
	log.Info("who hears this?")
	closeLog() // for as long as it takes, and no longer
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestALogWhoseReaderIsGoneCountsItsLines(t *testing.T) {
	reader, writer := io.Pipe()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	log, closeLog, dropped := jsonLog(t, writer)
	log.Info("one")
	log.Info("two")
	closeLog()
	if dropped.Load() != 2 {
		t.Errorf("%d lines are counted as dropped, want 2", dropped.Load())
	}
}
