package main

import (
	"bufio"
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
	keyboard, screen := in.(*os.File), out.(*os.File)
	before, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("taking the terminal over: %w", err)
	}
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keyboard, screen}, "")
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		editor.Escape = new(term.EscapeCodes)
	}
	editor.SetPrompt(string(editor.Escape.Cyan) + "you> " + string(editor.Escape.Reset))
	editor.SetBracketedPasteMode(true)
	t = &terminal{interactive: true, editor: editor, screen: screen, out: editor}
	return t, func() {
		editor.SetBracketedPasteMode(false)
		_ = term.Restore(int(keyboard.Fd()), before)
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
	t.speak(who, t.escape().Green, m)
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
func (t *terminal) recall(m said) { t.speak("you", t.escape().Cyan, m) }

func (t *terminal) speak(who string, colour []byte, m said) {
	mark := ">"
	if !t.interactive {
		mark = ":"
	}
	text := m.Text
	for _, a := range m.Attachments {
		text = strings.TrimPrefix(fmt.Sprintf("%s\n[%s %s]", text, a.Type, a.URL), "\n")
	}
	fmt.Fprintf(t.out, "%s%s%s%s %s\n", colour, visible(who), mark, t.escape().Reset, visible(text))
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
