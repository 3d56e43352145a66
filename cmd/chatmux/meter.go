package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// meter tells how far work has come whose amount is known in units of its own, or not at
// all: a bar on a terminal, lines in a pipe.
type meter struct {
	lines *progress // nil on a terminal
	bars  *mpb.Progress
	bar   *mpb.Bar
	text  atomic.Pointer[string]
	ended bool
}

// newMeter tells on the standard error. A total of 0 is unknown.
func newMeter(out io.Writer, silent bool, what string, total int64) *meter {
	if silent || !isTerminal(out) {
		return &meter{lines: newProgress(out, silent)}
	}
	m := &meter{bars: mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))}
	m.text.Store(new(string))
	said := decor.Any(func(decor.Statistics) string { return "  " + *m.text.Load() })
	style := mpb.BarFillerBuilder(mpb.BarStyle())
	after := []decor.Decorator{decor.Percentage(), said}
	if total == 0 {
		style, after = mpb.SpinnerStyle().PositionLeft(), after[1:]
	}
	// A total that a bar is made with cannot be changed: say gives it.
	m.bar = m.bars.New(0, style, mpb.PrependDecorators(decor.Name(what+"  ")), mpb.AppendDecorators(after...), mpb.BarRemoveOnComplete())
	return m
}

// say tells where things stand.
func (m *meter) say(done, total int64, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if m.lines != nil {
		if total > 0 {
			text = fmt.Sprintf("%s (%d %%)", text, 100*done/total)
		}
		m.lines.say("%s", text)
		return
	}
	m.text.Store(&text)
	if total > 0 {
		m.bar.SetTotal(total, false)
		m.bar.SetCurrent(min(done, total-1)) // the end is end's to tell
	}
}

// end makes room for what is printed next. A second one does nothing.
func (m *meter) end() {
	if m.ended {
		return
	}
	m.ended = true
	if m.lines != nil {
		m.lines.end()
		return
	}
	m.bar.Abort(true)
	m.bars.Wait()
}
