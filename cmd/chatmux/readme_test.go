//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chatmux/adapters/all"
	"chatmux/internal/app"
	"chatmux/internal/config"
)

// How a page writes the program: alone it serves, with more words it is a command.
const (
	runsServer  = "go run ./cmd/chatmux"
	runsProgram = runsServer + " "
)

// TestEveryCommandOnThePagesDoesWhatThePageSays runs the sh blocks of the pages, one
// after the other in one shell, and compares what they print with the json or text
// block that follows. In both, … stands for any text; in JSON only the fields that
// the page shows are compared, and a last element "…" stands for any more. A text block that
// follows a lone chat is a conversation in a terminal.
func TestEveryCommandOnThePagesDoesWhatThePageSays(t *testing.T) {
	program := filepath.Join(t.TempDir(), "chatmux")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{"README.md", "docs/api.md", "docs/archive.md", "docs/dialects.md", "docs/leaving-a-vendor.md", "docs/rest-adapter.md"} {
		t.Run(name, func(t *testing.T) {
			p := &page{t: t, name: name, program: program, blocks: readPage(t, name)}
			p.run()
		})
	}
}

// TestYAMLOnThePagesIsAccepted loads the yaml blocks of the pages. One without routes
// is an addition to config.yaml.
func TestYAMLOnThePagesIsAccepted(t *testing.T) {
	for _, name := range []string{"README.md", "docs/api.md", "docs/archive.md", "docs/dialects.md", "docs/leaving-a-vendor.md", "docs/rest-adapter.md"} {
		for _, b := range readPage(t, name) {
			if b.language != "yaml" {
				continue
			}
			text := b.text
			if !strings.Contains(text, "\nroutes:") {
				text = shippedConfig(t) + text
			}
			keys := func(name string) (string, bool) {
				if strings.HasSuffix(name, "_KEY") {
					return "a-key", true
				}
				return "", false
			}
			if _, err := config.Parse(name, []byte(text), config.Options{Settings: app.Settings(all.Adapters()), Getenv: keys}); err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
			}
		}
	}
}

// TestLinksOnThePagesLeadSomewhere follows the links within the repository.
func TestLinksOnThePagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, name := range []string{"README.md", "docs/api.md", "docs/archive.md", "docs/dialects.md", "docs/adding-an-adapter.md", "docs/leaving-a-vendor.md", "docs/rest-adapter.md"} {
		for _, m := range link.FindAllStringSubmatch(readFile(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// block is one fenced block of a page.
type block struct {
	language string
	text     string
	line     int // of its first line
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readPage(t *testing.T, name string) []block {
	t.Helper()
	var list []block
	var open *block
	for i, line := range strings.SplitAfter(readFile(t, name), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{language: strings.TrimSpace(language), line: i + 2}
		case fence:
			list, open = append(list, *open), nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil || len(list) == 0 {
		t.Fatalf("%s: the block of line %d does not end, or there is none", name, len(list))
	}
	return list
}

// page is a page whose commands are run.
type page struct {
	t       *testing.T
	name    string
	program string
	blocks  []block

	dir  string
	addr string
	sh   *shell
}

func (p *page) run() {
	var err error
	if p.addr, err = freeAddr(); err != nil {
		p.t.Fatal(err)
	}
	p.dir = folder(p.t, p.here(shippedConfig(p.t)))
	if err := os.CopyFS(filepath.Join(p.dir, "docs/examples"), os.DirFS("../../docs/examples")); err != nil {
		p.t.Fatal(err)
	}
	p.sh = startShell(p.t, p.dir)
	for i, b := range p.blocks {
		if b.language != "sh" {
			continue
		}
		var answer *block
		if i+1 < len(p.blocks) && (p.blocks[i+1].language == "json" || p.blocks[i+1].language == "text") {
			answer = &p.blocks[i+1]
		}
		if err := p.play(b, answer); err != nil {
			p.t.Fatalf("%s:%d: %v\n%s", p.name, b.line, err, b.text)
		}
	}
}

// here puts the address of this test's server into a text.
func (p *page) here(text string) string { return strings.ReplaceAll(text, shippedAddr, p.addr) }

func (p *page) play(b block, answer *block) error {
	command := strings.TrimSpace(b.text)
	words := strings.Fields(command)
	switch {
	case command == runsServer:
		startProgram(p.t, p.program, p.dir).listening()
		return nil
	case words[0] == "make" || words[0] == "git" || words[0] == "go" && words[1] != "run":
		return exists(p.t, words)
	case strings.HasPrefix(command, runsProgram+"chat") && !strings.ContainsAny(command, "|<\n"):
		return p.converse(words[3:], answer)
	}
	got, err := p.sh.run(strings.ReplaceAll(p.here(b.text), runsProgram, p.program+" "))
	if err != nil || answer == nil {
		return err
	}
	if answer.language == "json" {
		return sameJSON(got, p.here(answer.text))
	}
	return sameLines(got, p.here(answer.text))
}

// exists checks a command that would take too long here: what it names is there.
func exists(t *testing.T, words []string) error {
	switch {
	case words[0] == "make" && len(words) == 2:
		if !strings.Contains(readFile(t, "Makefile"), "\n"+words[1]+":") {
			return fmt.Errorf("the Makefile has no target %s", words[1])
		}
		return nil
	case words[0] == "go" && len(words) == 3 && (words[1] == "test" || words[1] == "vet"):
		_, err := os.Stat(filepath.Join("../..", strings.TrimSuffix(words[2], "...")))
		return err
	}
	return errors.New("this test does not know the command")
}

// converse holds a conversation of the page in a terminal.
func (p *page) converse(words []string, answer *block) error {
	if answer == nil {
		return errors.New("the page does not say what the chat shows")
	}
	s := startProgramInTerminal(p.t, p.program, p.dir, words...)
	s.sees("/help says more.")
	plain := regexp.MustCompile(`^(you|[a-z-]+)> `)
	for line := range strings.Lines(answer.text) {
		line = strings.TrimSuffix(line, "\n")
		if typed, ok := strings.CutPrefix(line, "you> "); ok {
			s.sees(promptOnScreen)
			s.types(typed + "\r")
			continue
		}
		if who := plain.FindString(line); who != "" {
			s.sees(strings.TrimSuffix(who, " ") + "\x1b[0m " + strings.TrimPrefix(line, who) + "\r\n")
			continue
		}
		s.sees(line + "\r\n")
	}
	s.types("\x04")
	if status := s.waits(); status != 0 {
		return fmt.Errorf("the chat ended with status %d", status)
	}
	return nil
}

// shell is a bash in which one block after the other is run, so that what one sets
// the next finds.
type shell struct {
	t      *testing.T
	dir    string
	in     io.Writer
	out    *output
	seen   int
	blocks int
}

// endOfBlock is what the shell prints after a block: its status.
var endOfBlock = regexp.MustCompile(`\x00([0-9]+)\x00`)

func startShell(t *testing.T, dir string) *shell {
	t.Helper()
	s := &shell{t: t, dir: dir, out: newOutput()}
	cmd := exec.Command("bash", "--norc")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environ(), s.out, s.out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // every block's status was looked at
	})
	return s
}

// run runs one block and returns what it prints; a status other than 0 is an error.
func (s *shell) run(text string) (string, error) {
	s.blocks++
	file := filepath.Join(s.dir, fmt.Sprint("block", s.blocks))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(s.in, ". %s < /dev/null; printf '\\0%%d\\0' $?\n", file); err != nil {
		return "", err
	}
	all := s.out.await(s.t, "the end of the block", func(all string) bool { return endOfBlock.MatchString(all[s.seen:]) })
	end := endOfBlock.FindStringSubmatchIndex(all[s.seen:])
	got, status := all[s.seen:s.seen+end[0]], all[s.seen+end[2]:s.seen+end[3]]
	s.seen += end[1]
	if status != "0" {
		return "", fmt.Errorf("the shell ended with status %s:\n%s", status, got)
	}
	return got, nil
}

// matches compares with a text of the page, in which … stands for any text.
func matches(got, want string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", `(?s:.*)`)
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

// sameLines compares line by line; a line that is only … stands for any number of
// them.
func sameLines(got, want string) error {
	if head, tail, some := strings.Cut(want, "\n…\n"); some {
		lines := strings.Split(strings.TrimSpace(got), "\n")
		before, after := strings.Count(strings.TrimSpace(head), "\n")+1, strings.Count(strings.TrimSpace(tail), "\n")+1
		if len(lines) < before+after {
			return fmt.Errorf("fewer lines than the page shows:\n%s", got)
		}
		return errors.Join(
			sameLines(strings.Join(lines[:before], "\n"), head), sameLines(strings.Join(lines[len(lines)-after:], "\n"), tail))
	}
	gotLines, wantLines := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	for i, line := range wantLines {
		if i >= len(gotLines) || !matches(gotLines[i], line) {
			return fmt.Errorf("line %d is not %q:\n%s", i+1, line, got)
		}
	}
	if len(gotLines) > len(wantLines) {
		return fmt.Errorf("there are %d lines more than the page shows:\n%s", len(gotLines)-len(wantLines), got)
	}
	return nil
}

// sameJSON compares one JSON text after the other.
func sameJSON(got, want string) error {
	gotTexts, wantTexts := json.NewDecoder(strings.NewReader(got)), json.NewDecoder(strings.NewReader(want))
	for {
		var g, w any
		wantErr, gotErr := wantTexts.Decode(&w), gotTexts.Decode(&g)
		wantEnds, gotEnds := errors.Is(wantErr, io.EOF), errors.Is(gotErr, io.EOF)
		switch {
		case wantEnds && gotEnds:
			return nil
		case wantErr != nil && !wantEnds:
			return fmt.Errorf("the page's JSON: %w", wantErr)
		case wantEnds || gotErr != nil:
			return fmt.Errorf("the page shows another number of answers, or this is no JSON:\n%s", got)
		}
		if err := within(g, w, "$"); err != nil {
			return fmt.Errorf("%w\n%s", err, got)
		}
	}
}

// within checks that all that the page shows is in what came.
func within(got, want any, at string) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, the page shows an object", at, got)
		}
		for name, w := range want {
			g, ok := object[name]
			if !ok {
				return fmt.Errorf("%s has no %s", at, name)
			}
			if err := within(g, w, at+"."+name); err != nil {
				return err
			}
		}
	case []any:
		list, ok := got.([]any)
		if ok && len(want) > 0 && want[len(want)-1] == "…" {
			want = want[:len(want)-1]
			list = list[:min(len(list), len(want))]
		}
		if !ok || len(list) != len(want) {
			return fmt.Errorf("%s is %v, the page shows %d elements", at, got, len(want))
		}
		for i := range want {
			if err := within(list[i], want[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case string:
		text, ok := got.(string)
		if !ok || !matches(text, want) {
			return fmt.Errorf("%s is %#v, the page shows %q", at, got, want)
		}
	default:
		if got != want {
			return fmt.Errorf("%s is %#v, the page shows %#v", at, got, want)
		}
	}
	return nil
}

func TestAPageThatSaysSomethingElseFails(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{`{"a": 1}`, `{"a": 2}`},
		{`{"a": 1}`, `{"b": 1}`},
		{`{"a": [1, 2]}`, `{"a": [1]}`},
		{`{"a": "xyz"}`, `{"a": "y…"}`},
		{`{"a": null}`, `{"a": "…"}`},
		{`{"a": 1}`, `{"a": 1} {"b": 2}`},
		{`not found`, `{"a": 1}`},
		{``, `{"a": 1}`},
	} {
		if sameJSON(tt.got, tt.want) == nil {
			t.Errorf("%s passes for %s", tt.got, tt.want)
		}
	}
	for _, tt := range []struct{ got, want string }{{"a\nb\n", "a\n"}, {"a\n", "a\nb\n"}, {"a b\n", "b…\n"}, {"a\nb\nc\n", "a\n…\nb\n"}, {"a\n", "a\n…\na\n"}} {
		if sameLines(tt.got, tt.want) == nil {
			t.Errorf("%q passes for %q", tt.got, tt.want)
		}
	}
	if err := errors.Join(sameJSON(`{"a": "xyz", "b": [1, 2, 3], "c": 0}`, `{"a": "x…", "b": [1, "…"]}`), sameLines("a 1\nb\n", "a …\nb\n"), sameLines("a\nx\ny\nb\n", "a\n…\nb\n")); err != nil {
		t.Error(err)
	}
}
