package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
	"chatmux/normalize"
)

const chatHelp = `Write a message and press Enter. Lines that begin with a slash are for chatmux:
  /new           begin a new thread
  /thread        say which thread this is, and who has it
  /help          this text
  /quit          leave (also Ctrl-D)`

// chatOptions say whom to talk with.
type chatOptions struct {
	server         serverFlags
	backend, route string
	thread         string
	user           string
}

func newChat(configFile *string) *cobra.Command {
	var o chatOptions
	cmd := &cobra.Command{
		Use: "chat", Short: "Talk with a backend or a route in the terminal", Args: noArgs,
		Long: `Talks with a backend or a route. In a terminal there are colours and a history of
lines (arrow keys); in a pipe each line in is a message, each reply plain lines.

It talks to the chatmux server at --server, by default where the config listens.
If nobody listens there, it runs one from the config for as long as the chat
lasts, with its store in memory.

` + chatHelp,
		Example: "  chatmux chat --backend docs-bot\n  chatmux chat --thread thr_01m7…      go on with a thread\n  echo 'Do you ship abroad?' | chatmux chat --route default",
		RunE:    func(cmd *cobra.Command, _ []string) error { return chat(cmd, *configFile, o) },
	}
	o.server.register(cmd, "the chatmux server to talk to (default: where the config listens)")
	cmd.Flags().StringVar(&o.backend, "backend", "", "the backend to talk with")
	cmd.Flags().StringVar(&o.route, "route", "", "the route to take")
	cmd.Flags().StringVar(&o.thread, "thread", "", "go on with this thread, and show what was said in it")
	cmd.Flags().StringVar(&o.user, "user", "", "the user id to speak as")
	cmd.MarkFlagsMutuallyExclusive("backend", "thread")
	cmd.MarkFlagsMutuallyExclusive("route", "thread")
	return cmd
}

func chat(cmd *cobra.Command, configFile string, o chatOptions) error {
	ctx := cmd.Context()
	if o.server.url == "" {
		c, err := loadConfig(configFile)
		if err != nil {
			return err
		}
		if o.server.url = "http://" + c.Listen; !listens(c.Listen) {
			fmt.Fprintf(cmd.ErrOrStderr(), "Nobody listens at %s: this chat runs a chatmux of its own, which forgets everything at the end.\n", c.Listen)
			url, stop, err := runHouse(ctx, c)
			if err != nil {
				return err
			}
			defer stop()
			o.server.url, o.server.key = url, ""
		}
	}
	t, closeTerminal, err := openTerminal(cmd.InOrStdin(), cmd.OutOrStdout())
	if err != nil {
		return err
	}
	defer closeTerminal()
	s := &chatSession{client: o.server.client(), options: o, thread: o.thread, t: t}
	if s.thread != "" {
		if err := s.showTranscript(ctx); err != nil {
			return err
		}
	} else {
		t.note("Write a message and press Enter; /help says more.")
	}
	return s.loop(ctx)
}

func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// runHouse runs the config's house on a free port, open to this process's user
// alone, with its store in memory. Stop ends it.
func runHouse(ctx context.Context, c *config.Config) (url string, stop func(), err error) {
	c.Listen, c.Admin, c.Callers, c.Store = "127.0.0.1:0", "", nil, config.Store{SQLite: ":memory:"}
	c.Limits.Drain.Delay = 0
	house, err := app.New(ctx, c, app.Options{Adapters: all.Adapters(), Log: zap.NewNop()})
	if err != nil {
		return "", nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- house.Run(running) }()
	return "http://" + house.Addr(), func() { cancel(); <-done }, nil
}

// chatSession is one conversation with a server.
type chatSession struct {
	client  *client
	options chatOptions
	thread  string
	backend string
	t       *terminal
}

// said is a message as the API tells it, as far as a chat shows it.
type said struct {
	Role    string `json:"role"`
	Text    string `json:"text"`
	Backend string `json:"backend"`
	Notice  string `json:"notice"`
	Author  struct {
		Name string `json:"name"`
	} `json:"author"`
	Suggestions []struct {
		Title string `json:"title"`
		Text  string `json:"text"`
	} `json:"suggestions"`
}

func (s *chatSession) loop(ctx context.Context) error {
	lines := make(chan string)
	failed := make(chan error, 1)
	go func() { // reading cannot be interrupted; the process ends without waiting for it
		for {
			line, err := s.t.readLine()
			if err != nil {
				failed <- err
				return
			}
			lines <- line
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case line := <-lines:
			if strings.TrimSpace(line) == "" {
				continue
			}
			if strings.HasPrefix(line, "/") {
				if quit := s.command(line); quit {
					return nil
				}
				continue
			}
			if err := s.send(ctx, line); err != nil {
				var p *problem
				if !errors.As(err, &p) || !s.t.interactive {
					return err
				}
				s.t.complain(p.Error())
			}
		}
	}
}

func (s *chatSession) command(line string) (quit bool) {
	switch strings.TrimSpace(line) {
	case "/quit", "/exit":
		return true
	case "/new":
		s.thread, s.backend = "", ""
		s.t.note("A new thread begins with your next message.")
	case "/thread":
		if s.thread == "" {
			s.t.note("No thread yet: it begins with your first message.")
		} else {
			s.t.note(s.thread + " is with " + s.backend)
		}
	case "/help":
		s.t.note(chatHelp)
	default:
		s.t.complain("no such command: /help lists them. A message that begins with a slash can be sent with a space before it.")
	}
	return false
}

func (s *chatSession) send(ctx context.Context, text string) error {
	body := map[string]any{"text": text}
	path := "/v1/threads/" + s.thread + "/messages"
	if s.thread == "" {
		path = "/v1/messages"
		for name, value := range map[string]string{"backend": s.options.backend, "route": s.options.route} {
			if value != "" {
				body[name] = value
			}
		}
		if s.options.user != "" {
			body["user"] = map[string]any{"id": s.options.user}
		}
	}
	var turn struct {
		Thread struct {
			ID      string `json:"id"`
			Backend string `json:"backend"`
		} `json:"thread"`
		Replies []said `json:"replies"`
	}
	if err := s.client.call(ctx, "POST", path, body, &turn); err != nil {
		return err
	}
	s.thread, s.backend = turn.Thread.ID, turn.Thread.Backend
	for _, m := range turn.Replies {
		s.t.say(m)
	}
	if len(turn.Replies) == 0 {
		s.t.note("(no answer: the bot is switched off, a human has the thread, or the answer comes later)")
	}
	return nil
}

func (s *chatSession) showTranscript(ctx context.Context) error {
	if _, err := normalize.ParseID(normalize.PrefixThread, s.thread); err != nil {
		return &usageError{fmt.Errorf("--thread: %w: it looks like thr_01m7zsj4wne5f8v6d3q2c1b0a9", err)}
	}
	for cursor := ""; ; {
		var page struct {
			Data       []said `json:"data"`
			NextCursor string `json:"next_cursor"`
		}
		if err := s.client.get(ctx, "/v1/threads/"+s.thread+"/messages?limit=200&cursor="+cursor, &page); err != nil {
			return err
		}
		for _, m := range page.Data {
			if m.Backend != "" {
				s.backend = m.Backend
			}
			if m.Role == "user" {
				s.t.echo(m.Text)
			} else {
				s.t.say(m)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}

// terminal is where a chat is read from and written to: a terminal with colours
// and a history of lines, or a pipe with plain lines.
type terminal struct {
	interactive bool
	editor      *term.Terminal
	lines       *bufio.Reader
	out         io.Writer
}

// openTerminal takes the terminal over where both ends are one; closing gives it
// back as it was.
func openTerminal(in io.Reader, out io.Writer) (*terminal, func(), error) {
	inFile, inOK := in.(*os.File)
	outFile, outOK := out.(*os.File)
	if !inOK || !outOK || !term.IsTerminal(int(inFile.Fd())) || !term.IsTerminal(int(outFile.Fd())) {
		return &terminal{lines: bufio.NewReader(in), out: out}, func() {}, nil
	}
	before, err := term.MakeRaw(int(inFile.Fd()))
	if err != nil {
		return nil, nil, err
	}
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{inFile, outFile}, "")
	editor.SetPrompt(string(editor.Escape.Cyan) + "you> " + string(editor.Escape.Reset))
	if width, height, err := term.GetSize(int(outFile.Fd())); err == nil && width > 0 {
		_ = editor.SetSize(width, height)
	}
	t := &terminal{interactive: true, editor: editor, out: editor}
	return t, func() { _ = term.Restore(int(inFile.Fd()), before) }, nil
}

// readLine reads one message; io.EOF at the end.
func (t *terminal) readLine() (string, error) {
	if t.interactive {
		line, err := t.editor.ReadLine()
		if errors.Is(err, term.ErrPasteIndicator) {
			err = nil
		}
		return line, err
	}
	line, err := t.lines.ReadString('\n')
	if err != nil && line == "" {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
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
	text := visible(m.Text)
	if !t.interactive {
		fmt.Fprintf(t.out, "%s: %s\n", who, text)
		return
	}
	e := t.editor.Escape
	fmt.Fprintf(t.out, "%s%s>%s %s\n", e.Green, who, e.Reset, text)
	for _, suggestion := range m.Suggestions {
		title := suggestion.Title
		if title == "" {
			title = suggestion.Text
		}
		fmt.Fprintf(t.out, "      %s· %s%s\n", e.Yellow, visible(title), e.Reset)
	}
}

// echo shows what was said by the person before.
func (t *terminal) echo(text string) {
	if t.interactive {
		fmt.Fprintf(t.out, "%syou>%s %s\n", t.editor.Escape.Cyan, t.editor.Escape.Reset, visible(text))
		return
	}
	fmt.Fprintf(t.out, "you: %s\n", visible(text))
}

// note shows what chatmux itself has to say; a pipe carries replies only.
func (t *terminal) note(text string) {
	if t.interactive {
		fmt.Fprintf(t.out, "%s%s%s\n", t.editor.Escape.Yellow, visible(text), t.editor.Escape.Reset)
	}
}

func (t *terminal) complain(text string) {
	if t.interactive {
		fmt.Fprintf(t.out, "%s%s%s\n", t.editor.Escape.Red, visible(text), t.editor.Escape.Reset)
	}
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
