package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// maxLine is the longest line that is read: 64 MiB, more than a message with its
// vendor's object can be.
const maxLine = 64 << 20

// LineError says which line of a file cannot be imported, and why.
type LineError struct {
	Line int
	Err  error
}

// Error names the line first.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap gives the reason.
func (e *LineError) Unwrap() error { return e.Err }

// place is where a line begins.
type place struct {
	offset int64
	line   int // lines before it
}

// reader reads an archive thread by thread, and holds it against the promises of the
// format: the head first, each thread followed by its bindings and its messages, as many
// of them as it says, and nothing missing at the end.
type reader struct {
	file   io.ReadSeeker
	buf    *bufio.Reader
	at     place // of the next line
	here   place // of the line that was read last
	begun  bool
	more   bool    // the file says that another thread follows
	peeked *record // read, and not yet used

	pending int // messages that became unknown by being read
}

func newReader(file io.ReadSeeker) *reader {
	return &reader{file: file, buf: bufio.NewReaderSize(file, 256<<10)}
}

// wrong is an error about the line that was read last.
func (r *reader) wrong(err error) error { return &LineError{r.here.line + 1, err} }

// line gives the next line without its end. Blank lines are passed over. io.EOF after
// the last.
func (r *reader) line() ([]byte, error) {
	for {
		r.here = r.at
		var line []byte
		for {
			part, err := r.buf.ReadSlice('\n')
			line = append(line, part...)
			r.at.offset += int64(len(part))
			if len(line) > maxLine {
				return nil, r.wrong(fmt.Errorf("it is longer than %d MiB", maxLine>>20))
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
				return nil, err
			}
			break
		}
		r.at.line++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// next gives the next record, io.EOF after the last.
func (r *reader) next() (record, error) {
	if r.peeked != nil {
		got := *r.peeked
		r.peeked = nil
		return got, nil
	}
	line, err := r.line()
	if err != nil {
		return record{}, err
	}
	got, err := decode(line)
	if err != nil {
		return record{}, r.wrong(err)
	}
	return got, nil
}

func (r *reader) unread(got record) { r.peeked = &got }

// seek goes back to where a line begins.
func (r *reader) seek(to place) error {
	if _, err := r.file.Seek(to.offset, io.SeekStart); err != nil {
		return err
	}
	r.buf.Reset(r.file)
	r.at, r.peeked = to, nil
	return nil
}

// head reads the first line.
func (r *reader) head() error {
	got, err := r.next()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty")
	case err != nil:
		return err
	case got.archive == nil:
		return r.wrong(errors.New(`the first line has to be the head of an archive: {"kind":"archive","version":1}`))
	}
	r.begun, r.more = true, got.archive.More != nil && *got.archive.More
	return nil
}

// section is a thread of an archive with its messages.
type section struct {
	store.StoredThread
	line  int // of the thread's own record
	count *int

	reader *reader
	first  []normalize.Message
	whole  bool  // first is all
	rest   place // after first
}

// thread reads the next thread with the beginning of its messages, io.EOF after the last.
func (r *reader) thread() (*section, error) {
	if !r.begun {
		if err := r.head(); err != nil {
			return nil, err
		}
	}
	got, err := r.next()
	switch {
	case errors.Is(err, io.EOF) && r.more:
		return nil, &LineError{r.at.line, errors.New("the file ends here, and another thread should follow: it was cut")}
	case err != nil:
		return nil, err
	case got.archive != nil:
		return nil, r.wrong(errors.New("a second head: archives cannot be joined into one file, import one after the other"))
	case got.binding != nil:
		return nil, r.wrong(fmt.Errorf("a binding of thread %s, which is not the thread before it", got.binding.ThreadID))
	case got.message != nil:
		return nil, r.wrong(fmt.Errorf("a message of thread %s, which is not the thread before it", got.message.ThreadID))
	}
	s := &section{reader: r, line: r.here.line + 1, count: got.thread.MessageCount}
	if s.StoredThread, err = got.thread.stored(); err != nil {
		return nil, r.wrong(err)
	}
	r.more = got.thread.More != nil && *got.thread.More
	for {
		got, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if got.binding == nil || got.binding.ThreadID != s.ID {
			r.unread(got)
			break
		}
		if err := s.bind(got.binding.stored()); err != nil {
			return nil, r.wrong(err)
		}
	}
	s.first, s.whole, err = r.messages(s.ID)
	s.rest = r.at
	if r.peeked != nil {
		s.rest = r.here
	}
	return s, err
}

// bind adds the next binding. Only the last can be open.
func (s *section) bind(b normalize.Binding) error {
	_, held := s.Binding()
	switch {
	case b.Backend == "":
		return errors.New("backend: is needed")
	case held:
		return errors.New("until: is needed in the binding before this one: a thread has one open binding, the last")
	}
	s.Bindings = append(s.Bindings, b)
	return nil
}

// messages reads the next stretch of a thread's messages, and whether it is the last.
func (r *reader) messages(threadID string) (list []normalize.Message, last bool, err error) {
	for size := 0; ; {
		got, err := r.next()
		if errors.Is(err, io.EOF) {
			return list, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if got.message == nil || got.message.ThreadID != threadID {
			r.unread(got)
			return list, true, nil
		}
		if len(list) == stretchMessages || size > stretchBytes {
			r.unread(got)
			return list, false, nil
		}
		m, err := got.message.stored()
		if err != nil {
			return nil, false, r.wrong(err)
		}
		if got.message.Status == normalize.StatusPending {
			r.pending++
		}
		size += len(m.Text) + len(m.Raw)
		list = append(list, m)
	}
}

// each goes through all messages of a section, from the first, and leaves the reader
// behind the last. It can be called again.
func (s *section) each(do func([]normalize.Message) error) error {
	if err := do(s.first); err != nil || s.whole {
		return err
	}
	if err := s.reader.seek(s.rest); err != nil {
		return err
	}
	for {
		part, last, err := s.reader.messages(s.ID)
		if err != nil {
			return err
		}
		if err := do(part); err != nil || last {
			return err
		}
	}
}

// check reads a section to its end and holds it against what its thread says.
func (s *section) check() (messages int, err error) {
	known := make(map[[16]byte]bool)
	err = s.each(func(part []normalize.Message) error {
		messages += len(part)
		for i := range part {
			id, err := normalize.ParseID(normalize.PrefixMessage, part[i].ID)
			if err != nil {
				return err
			}
			if known[id] {
				return &LineError{s.line, fmt.Errorf("thread %s has message %s twice", s.ID, part[i].ID)}
			}
			known[id] = true
		}
		return nil
	})
	if err == nil && s.count != nil && messages != *s.count {
		err = &LineError{s.line, fmt.Errorf("thread %s should have %d messages, and %d follow it", s.ID, *s.count, messages)}
	}
	return messages, err
}
