package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The colours of the prompt and of a reply, as a terminal gets them.
const (
	promptOnScreen = "\x1b[36myou> \x1b[0m"
	replyOnScreen  = "\x1b[32mecho>\x1b[0m "
)

// screen is a pseudo-terminal: what a person types on, and what they see.
type screen struct {
	t      *testing.T
	master *os.File
	tty    *os.File
	shown  *output
	seen   int // how much of it the test has looked at
	cmd    *exec.Cmd
	ended  chan struct{}
}

// startInTerminal runs chatmux in a terminal of its own.
func startInTerminal(t *testing.T, dir string, args ...string) *screen {
	t.Helper()
	return startProgramInTerminal(t, "chatmux", dir, args...)
}

func startProgramInTerminal(t *testing.T, program, dir string, args ...string) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, master: master, tty: tty, shown: newOutput(), ended: make(chan struct{})}
	s.cmd = exec.Command(program, args...)
	s.cmd.Dir, s.cmd.Env = dir, environ()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(s.shown, master) }() // until the master is closed
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // how it ended stands in ProcessState
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
	})
	return s
}

// types writes keys.
func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// sees waits until a text is shown after what was seen before.
func (s *screen) sees(text string) {
	s.t.Helper()
	all := s.shown.await(s.t, fmt.Sprintf("%q", text), func(all string) bool { return strings.Contains(all[s.seen:], text) })
	s.seen += strings.Index(all[s.seen:], text) + len(text)
}

// waits waits for the end and returns the status.
func (s *screen) waits() int {
	s.t.Helper()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		text, _ := s.shown.state()
		s.t.Fatalf("it did not end:\n%q", text)
		return -1
	}
}

// modes are the settings of the terminal.
func (s *screen) modes() unix.Termios {
	s.t.Helper()
	modes, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *modes
}

func TestChatInATerminalHasColoursHistoryAndGivesItBack(t *testing.T) {
	url := start(t, folder(t, echoConfig("127.0.0.1:0", `"sqlite::memory:"`, ""))).listening()
	s := startInTerminal(t, t.TempDir(), "chat", "--server", url)
	before := s.modes()
	s.sees("/help says more.")
	s.sees(promptOnScreen)
	if raw := s.modes(); raw == before {
		t.Error("the terminal was not taken over: keys would come line by line")
	}

	s.types("grüße 😀\r")
	s.sees(replyOnScreen + "grüße 😀\r\n")
	s.sees(promptOnScreen)
	s.types("\x1b[A\x1b[H1 \r") // up arrow, home: the line before, with something put in front
	s.sees(replyOnScreen + "1 grüße 😀\r\n")
	s.types("\x1b[200~first line\r\n/no command\n  third\x1b[201~\r") // pasted
	s.sees(replyOnScreen + "first line\r\n/no command\r\n  third\r\n")

	s.types("/thread\r")
	s.sees("thr_")
	s.sees(" is with echo")
	s.types("/new\r")
	s.sees("A new thread begins")
	s.types("/nope\r")
	s.sees("/help lists them")
	s.types("/help\r")
	s.sees("/quit")
	s.types(" /nope\r")
	s.sees(replyOnScreen + " /nope\r\n")

	s.types("\x04")
	s.sees("Go on with it: chatmux chat --server " + url + " --thread thr_")
	if status := s.waits(); status != 0 {
		t.Errorf("Ctrl-D ended it with status %d, want 0", status)
	}
	if after := s.modes(); after != before {
		t.Errorf("the terminal was not given back:\n%+v\n%+v", before, after)
	}
}

func TestChatInATerminalSaysWhatIsWrongAndGoesOn(t *testing.T) {
	url := start(t, folder(t, echoConfig("127.0.0.1:0", `"sqlite::memory:"`, ""))).listening()
	s := startInTerminal(t, t.TempDir(), "chat", "--server", url, "--backend", "llm")
	s.sees(promptOnScreen)
	s.types("hello [[status 400]]\r")
	s.sees("\x1b[31mthe backend refused this message")
	s.types("hello again\r")
	s.sees("You said: hello again")
	s.types("/quit\r")
	if status := s.waits(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}

func TestLeavingATerminalDoesNotWaitForAnAnswer(t *testing.T) {
	patient := strings.Replace(echoConfig("127.0.0.1:0", `"sqlite::memory:"`, "limits: {timeout: 10m}"),
		"adapter: openai,", "adapter: openai, timeouts: {first_byte: 10m, total: 10m},", 1)
	url := start(t, folder(t, patient)).listening()
	s := startInTerminal(t, t.TempDir(), "chat", "--server", url, "--backend", "llm")
	s.sees(promptOnScreen)
	s.types("are you there? [[tarpit]]\r")
	eventually(t, url+"/v1/backends/llm", func(_ int, body string) bool { return strings.Contains(body, `"in_flight":1`) })
	s.types("\x03")
	if status := s.waits(); status != 0 {
		t.Errorf("Ctrl-C ended it with status %d, want 0", status)
	}
}

func TestTerminalIsGivenBackOnSigterm(t *testing.T) {
	s := startInTerminal(t, folder(t, echoConfig("127.0.0.1:1", `"sqlite::memory:"`, "")), "chat")
	before := s.modes()
	s.sees("Nobody listens at 127.0.0.1:1")
	s.sees(promptOnScreen)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.waits(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if s.modes() != before {
		t.Error("the terminal was not given back")
	}
}

func TestServeInATerminalSaysWhereTheAPIIs(t *testing.T) {
	s := startInTerminal(t, folder(t, echoConfig("127.0.0.1:0", `"sqlite::memory:"`, "limits: {drain: {delay: 0s}}")))
	s.sees("The API is at http://127.0.0.1:")
	s.sees("/docs. Ctrl-C ends chatmux.")
	s.types("\x03")
	if status := s.waits(); status != 0 {
		t.Errorf("Ctrl-C ended it with status %d, want 0", status)
	}
}
