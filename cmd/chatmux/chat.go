package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

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
lines (arrow keys); what is pasted is one message, line ends included. In a pipe
each line is a message, whatever it begins with, empty ones are passed over, and
each reply is plain lines; the first failure ends it with status 1.

It talks to the chatmux server at --server, by default where the config listens.
If nobody listens there, it runs one from the config for as long as the chat
lasts, with its store in memory.

In a terminal:
` + chatHelp,
		Example: "  chatmux chat --backend docs-bot\n" +
			"  chatmux chat --thread thr_01m7zsj4wne5f8v6d3q2c1b0a9\n" +
			"  echo 'Do you ship abroad?' | chatmux chat --route default",
		RunE: func(cmd *cobra.Command, _ []string) error { return chat(cmd, *configFile, o) },
	}
	o.server.register(cmd, "the chatmux server to talk to (default: where the config listens)")
	cmd.Flags().StringVar(&o.backend, "backend", "", "the backend to talk with")
	cmd.Flags().StringVar(&o.route, "route", "", "the route to take")
	cmd.Flags().StringVar(&o.thread, "thread", "", "go on with this thread, and show what was said in it")
	cmd.Flags().StringVar(&o.user, "user", "", "the user id to speak as")
	return cmd
}

// check refuses options that contradict each other.
func (o *chatOptions) check() error {
	if o.thread == "" {
		return nil
	}
	if _, err := normalize.ParseID(normalize.PrefixThread, o.thread); err != nil {
		return &usageError{errors.New("--thread: not a thread id: one looks like thr_01m7zsj4wne5f8v6d3q2c1b0a9")}
	}
	if o.backend != "" || o.route != "" || o.user != "" {
		return &usageError{errors.New("a thread has its backend, route and user already: give --thread without --backend, --route and --user")}
	}
	return nil
}

func chat(cmd *cobra.Command, configFile string, o chatOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	again := "chatmux chat --thread " // how to go on with a thread of this chat
	if o.server.url != "" {
		again = "chatmux chat --server " + o.server.url + " --thread "
	}
	if o.server.url == "" {
		c, err := loadConfig(configFile)
		if err != nil {
			return err
		}
		o.server.url = "http://" + c.Listen
		if !listens(ctx, c.Listen) {
			if o.thread != "" {
				return fmt.Errorf("nobody listens at %s: start chatmux first, or say by --server where it runs", c.Listen)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Nobody listens at %s: this chat runs a chatmux of its own, which forgets everything at the end.\n", c.Listen)
			url, stop, err := runHouse(ctx, c)
			if err != nil {
				return err
			}
			defer stop()
			o.server.url, o.server.key, again = url, "", ""
		}
	}
	client, err := o.server.client()
	if err != nil {
		return err
	}
	if err := client.knows(ctx, o.backend); err != nil {
		return err
	}
	t, closeTerminal, err := openTerminal(cmd.InOrStdin(), cmd.OutOrStdout())
	if err != nil {
		return err
	}
	defer closeTerminal()
	s := &chatSession{client: client, options: o, thread: o.thread, t: t}
	if s.thread != "" {
		if err := s.showTranscript(ctx); err != nil {
			return err
		}
	}
	t.note("Write a message and press Enter; /help says more.")
	if err := s.loop(ctx); err != nil {
		return err
	}
	if again != "" && s.thread != "" {
		t.note("\nGo on with it: " + again + s.thread)
	}
	return nil
}

// knows refuses a backend that the server does not have; "" asks for none.
func (c *client) knows(ctx context.Context, backend string) error {
	if backend == "" {
		return nil
	}
	names, err := c.backendNames(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(names, backend) {
		return noSuch("backend", backend, names)
	}
	return nil
}

func listens(ctx context.Context, addr string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
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
	c.Limits.Drain.Delay, c.Limits.Drain.Grace = 0, 0
	house, err := app.New(ctx, c, app.Options{Adapters: all.Adapters(), Log: zap.NewNop()})
	if err != nil {
		return "", nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = house.Run(running) // the chat is over, and so is what it stored
	}()
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
	ID      string `json:"id"`
	Role    string `json:"role"`
	Text    string `json:"text"`
	Backend string `json:"backend"`
	Notice  string `json:"notice"`
	Author  struct {
		Name string `json:"name"`
	} `json:"author"`
	Attachments []struct {
		Type string `json:"type"`
		URL  string `json:"url"`
	} `json:"attachments"`
	Suggestions []struct {
		Title string `json:"title"`
		Text  string `json:"text"`
	} `json:"suggestions"`
}

// spoken is what was read: a message, or why there is none.
type spoken struct {
	text string
	err  error
}

// loop sends what is read until the end of the input. Whoever leaves a terminal
// does not wait for the answer that is due; a pipe is read to its end.
func (s *chatSession) loop(ctx context.Context) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	inputs, answered := make(chan spoken), make(chan struct{}, 1)
	go func() { // reading cannot be interrupted; the process ends without waiting for it
		for {
			text, err := s.t.readMessage()
			if err == nil || !s.t.interactive {
				inputs <- spoken{text, err}
			}
			if err == nil {
				err = s.t.watch(answered)
			}
			if err != nil {
				if s.t.interactive {
					leave(err)
				}
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return s.whyEnded(ctx)
		case in := <-inputs:
			if errors.Is(in.err, io.EOF) {
				return nil
			}
			if in.err != nil {
				return fmt.Errorf("reading the messages: %w", in.err)
			}
			quit, err := s.take(ctx, in.text)
			switch {
			case quit:
				return nil
			case ctx.Err() != nil:
				return s.whyEnded(ctx)
			case err != nil && !s.t.interactive:
				return err
			case err != nil:
				s.t.complain(err.Error())
			}
			answered <- struct{}{}
		}
	}
}

// whyEnded is nil where a person left, and an error where a pipe was interrupted.
func (s *chatSession) whyEnded(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, io.EOF):
		return nil
	case !errors.Is(cause, context.Canceled):
		return fmt.Errorf("reading from the terminal: %w", cause)
	case s.t.interactive:
		return nil
	default:
		return errors.New("interrupted: what was not answered yet may have been sent")
	}
}

// take sends a message, or obeys a command.
func (s *chatSession) take(ctx context.Context, text string) (quit bool, err error) {
	switch {
	case strings.TrimSpace(text) == "":
		return false, nil
	case s.t.interactive && strings.HasPrefix(text, "/"):
		return s.obey(strings.TrimSpace(text)), nil
	case !utf8.ValidString(text):
		return false, errors.New("this message is not UTF-8 and was not sent: convert the input, as with iconv")
	default:
		return false, s.send(ctx, text)
	}
}

func (s *chatSession) obey(command string) (quit bool) {
	switch command {
	case "/quit", "/exit":
		return true
	case "/new":
		s.thread, s.backend = "", ""
		s.t.note("A new thread begins with your next message.")
	case "/thread":
		if s.thread == "" {
			s.t.note("No thread yet: it begins with your first message.")
		} else {
			s.t.note(s.thread + " is with " + orDash(s.backend))
		}
	case "/help":
		s.t.note(chatHelp)
	default:
		s.t.complain("There is no such command: /help lists them. To send a message that begins with a slash, put a space before it.")
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
	body["stream"] = true
	a := answer{session: s}
	err := s.client.stream(ctx, path, body, a.take)
	a.close()
	if err == nil && !a.done {
		err = errors.New("the answer is not complete: the server's connection ended before its end. --thread goes on with what was stored")
	}
	if err == nil && a.replies == 0 {
		s.t.note("(no answer: the bot is switched off, a human has the thread, or the answer comes later)")
	}
	return err
}

// answer shows the answer to a message while it is told.
type answer struct {
	session *chatSession
	telling string // the reply whose text is on the screen, without its end
	replies int
	done    bool
}

// take shows one event.
func (a *answer) take(head http.Header, name string, data []byte) error {
	s := a.session
	switch name {
	case "message", "done":
		var turn struct {
			Thread threadHead `json:"thread"`
		}
		if err := json.Unmarshal(data, &turn); err != nil {
			return err
		}
		s.thread, s.backend = turn.Thread.ID, turn.Thread.Backend
		a.done = name == "done"
	case "delta":
		var d struct {
			MessageID string `json:"message_id"`
			Text      string `json:"text"`
		}
		if err := json.Unmarshal(data, &d); err != nil {
			return err
		}
		if a.telling != d.MessageID {
			a.close()
			a.telling = d.MessageID
			s.t.begin(cmp.Or(head.Get("Chatmux-Backend"), s.backend, s.options.backend, "answer"), s.t.escape().Green)
		}
		s.t.more(d.Text)
	case "reply":
		var m said
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		a.replies++
		if m.ID == a.telling {
			a.telling = ""
			s.t.end(m)
			return nil
		}
		a.close()
		s.t.say(m)
	case "error":
		var p problem
		if err := json.Unmarshal(data, &p); err != nil {
			return err
		}
		return &p
	}
	return nil // an event of a newer server's
}

// close ends the line of a reply that was not told to its end.
func (a *answer) close() {
	if a.telling != "" {
		a.telling = ""
		a.session.t.more("\n")
	}
}

// threadHead is what a chat needs to know of a thread.
type threadHead struct {
	ID      string `json:"id"`
	Backend string `json:"backend"`
}

// showTranscript shows what was said in the thread so far.
func (s *chatSession) showTranscript(ctx context.Context) error {
	var thread threadHead
	if err := s.client.get(ctx, "/v1/threads/"+s.thread, &thread); err != nil {
		return err
	}
	s.backend = thread.Backend
	for cursor := ""; ; {
		var page struct {
			Data       []said `json:"data"`
			NextCursor string `json:"next_cursor"`
		}
		if err := s.client.get(ctx, "/v1/threads/"+s.thread+"/messages?limit=200&cursor="+url.QueryEscape(cursor), &page); err != nil {
			return err
		}
		for _, m := range page.Data {
			if m.Role == "user" {
				s.t.recall(m)
			} else {
				s.t.say(m)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}
