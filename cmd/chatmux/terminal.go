package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal is where a chat is read from and written to: a terminal with colours
// and a history of lines, or a pipe with plain lines.
type terminal struct {
	interactive bool
	keys        *keyboard
	editor      *term.Terminal
	screen      *os.File
	lines       *bufio.Reader
	out         io.Writer
}

// openTerminal takes the terminal over where both ends are one; closing gives it
// back as it was.
func openTerminal(in io.Reader, out io.Writer) (t *terminal, closeTerminal func(), err error) {
	if !isTerminal(in) || !isTerminal(out) {
		return &terminal{lines: bufio.NewReader(in), out: out}, func() {}, nil
	}
	typed, screen := in.(*os.File), out.(*os.File)
	before, err := term.MakeRaw(int(typed.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("taking the terminal over: %w", err)
	}
	keys := newKeyboard(typed)
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, screen}, "")
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		editor.Escape = new(term.EscapeCodes)
	}
	editor.SetPrompt(string(editor.Escape.Cyan) + "you> " + string(editor.Escape.Reset))
	editor.SetBracketedPasteMode(true)
	t = &terminal{interactive: true, keys: keys, editor: editor, screen: screen, out: editor}
	return t, func() {
		editor.SetBracketedPasteMode(false)
		_ = term.Restore(int(typed.Fd()), before)
		fmt.Fprint(screen, "\r\n") // the shell's prompt goes below ours
	}, nil
}

// isTerminal reports whether a person sits at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// readMessage reads one message: a line, without its end. In a terminal, lines that
// are pasted together are one message. The error is io.EOF at the end, which in a
// terminal is Ctrl-D or Ctrl-C.
func (t *terminal) readMessage() (string, error) {
	if !t.interactive {
		line, err := t.lines.ReadString('\n')
		if err != nil && line == "" {
			return "", err
		}
		line = strings.TrimSuffix(line, "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	var pasted strings.Builder
	for {
		if width, height, err := term.GetSize(int(t.screen.Fd())); err == nil && width > 0 {
			_ = t.editor.SetSize(width, height) // it may have changed since the last line
		}
		line, err := t.editor.ReadLine()
		pasted.WriteString(line)
		if !errors.Is(err, term.ErrPasteIndicator) {
			return pasted.String(), err
		}
		pasted.WriteByte('\n')
	}
}

// watch waits until an answer is done. In a terminal nobody reads a line meanwhile, so
// that the answer has the screen for itself: what is typed is kept for the next line.
// Ctrl-D and Ctrl-C end it with io.EOF.
func (t *terminal) watch(done <-chan struct{}) error {
	if !t.interactive {
		<-done
		return nil
	}
	return t.keys.watch(done)
}

// keyboard stands between the keys and who reads them.
type keyboard struct {
	typed chan []byte // closed at the end
	kept  []byte      // taken out, and not read yet
}

func newKeyboard(in io.Reader) *keyboard {
	k := &keyboard{typed: make(chan []byte)}
	go func() { // reading cannot be interrupted; the process ends without waiting for it
		defer close(k.typed)
		for {
			b := make([]byte, 256)
			n, err := in.Read(b)
			if n > 0 {
				k.typed <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// Read gives what was typed.
func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.kept) == 0 {
		k.kept = <-k.typed
	}
	if len(k.kept) == 0 {
		return 0, io.EOF
	}
	n := copy(p, k.kept)
	k.kept = k.kept[n:]
	return n, nil
}

// watch keeps what is typed until done; io.EOF where somebody leaves before.
func (k *keyboard) watch(done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		case b, open := <-k.typed:
			if !open || bytes.ContainsAny(b, "\x03\x04") {
				return io.EOF
			}
			k.kept = append(k.kept, b...)
		}
	}
}

// say shows a reply.
func (t *terminal) say(m said) {
	who := m.Backend
	switch {
	case m.Notice != "":
		t.note(m.Text)
		return
	case m.Role == "operator" && m.Author.Name != "":
		who = m.Author.Name
	}
	t.begin(who, t.escape().Green)
	t.more(m.Text)
	t.end(m)
}

// end ends a reply whose text is shown, with what it has beside that.
func (t *terminal) end(m said) {
	t.attached(m)
	var suggestions []string
	for _, s := range m.Suggestions {
		if s.Title == "" {
			s.Title = s.Text
		}
		suggestions = append(suggestions, s.Title)
	}
	if len(suggestions) > 0 {
		t.note("  suggested: " + strings.Join(suggestions, " · "))
	}
}

// recall shows what the person said before.
func (t *terminal) recall(m said) {
	t.begin("you", t.escape().Cyan)
	t.more(m.Text)
	t.attached(m)
}

// begin says who speaks; more, what; attached ends it.
func (t *terminal) begin(who string, colour []byte) {
	mark := ">"
	if !t.interactive {
		mark = ":"
	}
	fmt.Fprintf(t.out, "%s%s%s%s ", colour, visible(who), mark, t.escape().Reset)
}

func (t *terminal) more(text string) { fmt.Fprint(t.out, visible(text)) }

func (t *terminal) attached(m said) {
	var list []string
	if m.Text != "" {
		list = append(list, "")
	}
	for _, a := range m.Attachments {
		list = append(list, visible(fmt.Sprintf("[%s %s]", a.Type, a.URL)))
	}
	if len(m.Attachments) == 0 {
		list = nil
	}
	fmt.Fprint(t.out, strings.Join(list, "\n")+"\n")
}

// note shows what chatmux itself has to say; a pipe carries replies only.
func (t *terminal) note(text string) {
	if t.interactive {
		fmt.Fprintf(t.out, "%s%s%s\n", t.escape().Yellow, visible(text), t.escape().Reset)
	}
}

// complain shows what went wrong, where the chat goes on all the same.
func (t *terminal) complain(text string) {
	fmt.Fprintf(t.out, "%s%s%s\n", t.escape().Red, visible(text), t.escape().Reset)
}

// escape has the codes of the colours, none in a pipe.
func (t *terminal) escape() *term.EscapeCodes {
	if t.interactive {
		return t.editor.Escape
	}
	return new(term.EscapeCodes)
}

// visible takes out what would drive the terminal: a bot must not be able to.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}
