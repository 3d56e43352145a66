package sandbox

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatmux/normalize"
)

// Fault is one way to answer a request. The zero Fault is the healthy answer.
type Fault struct {
	text   string // as it was written
	action *action
	delay  time.Duration // before anything is done
	status int
	count  int64         // bytes
	pause  time.Duration // between slices
	word   string        // one of action.words
	body   string
	header http.Header
}

// String gives the fault as it was written.
func (f Fault) String() string {
	if f.text == "" {
		return "ok"
	}
	return f.text
}

// early reports whether the fault comes before the request was read.
func (f Fault) early() bool {
	return f.action != nil && (f.action.name == "read" || f.word == "early")
}

// action is one row of the grammar.
type action struct {
	name  string
	args  string   // how its arguments are written, for people
	words []string // the words it may be given
	doc   string
	parse func(f *Fault, args []string) error
	play  func(p *play)
}

// actions is the grammar: a name, then what it takes. It is filled by init,
// because what plays a fault refers to it.
var actions []*action

func init() {
	actions = []*action{
		{name: "ok", doc: "the healthy answer", parse: noArgs, play: (*play).healthy},
		{name: "delay", args: "2s", doc: "the healthy answer, later", parse: parseDelay, play: (*play).healthy},
		{name: "status", args: "503", doc: "an error of that status", parse: parseStatus, play: (*play).fixed},
		{name: "json", args: `{"a":1}`, doc: "200 with that JSON text", parse: parseJSON, play: (*play).fixed},
		{name: "html", args: "[200]", doc: "a web page", parse: parseHTML, play: (*play).fixed},
		{name: "empty", args: "[200]", doc: "an answer without a body", parse: optionalStatus(200), play: (*play).fixed},
		{name: "redirect", args: "307 http://…", doc: "a redirect to that URL", parse: parseRedirect, play: (*play).fixed},
		{name: "echo_auth", args: "[401]", doc: "an error that repeats the Authorization header", parse: optionalStatus(401), play: (*play).echoAuth},
		{
			name: "cut", args: "100 [chunked|close]", words: []string{"chunked", "close"},
			doc: "the healthy answer, the connection closed after so many bytes of it", parse: parseCut, play: (*play).cut,
		},
		{name: "drip", args: "10 50ms", doc: "the healthy answer in slices, with pauses", parse: parseDrip, play: (*play).drip},
		{
			name: "oversize", args: "[50MiB] [chunked]", words: []string{"chunked"},
			doc: "200 with a JSON object of that size", parse: parseOversize, play: (*play).oversize,
		},
		{name: "tarpit", doc: "reads the request and never answers", parse: noArgs, play: (*play).tarpit},
		{name: "fin", doc: "reads the request and closes the connection", parse: noArgs, play: (*play).fin},
		{
			name: "reset", args: "[early|head|tail]", words: []string{"early", "head", "tail"},
			doc:   "a TCP reset: after the request, before its body is read, after the head of the answer, after all of it",
			parse: parseWord, play: (*play).reset,
		},
		{name: "read", args: "10", doc: "reads so many bytes of the body and closes the connection", parse: parseCount, play: (*play).read},
		{name: "gzip", doc: "the healthy answer, compressed", parse: noArgs, play: (*play).gzip},
		{
			name: "sse", args: `2 {"error":1}`, doc: "the healthy event stream with one event more after so many: that data",
			parse: parseInsert, play: (*play).insert,
		},
		{name: "stall", args: "2", doc: "so many events of the healthy stream, then silence", parse: parseCount, play: (*play).stall},
		{name: "loop", args: "2", doc: "so many events of the healthy stream, the last one again and again", parse: parseCount, play: (*play).loop},
		{name: "comments", args: "50ms", doc: "an event stream of comments alone, that far apart", parse: parsePause, play: (*play).comments},
		{name: "garbage", doc: "something that is not HTTP", parse: noArgs, play: (*play).garbage},
		{name: "1xx", doc: "informational answers without end", parse: noArgs, play: (*play).informational},
	}
}

// Grammar describes the faults for people, one line each.
func Grammar() string {
	var b strings.Builder
	for _, a := range actions {
		fmt.Fprintf(&b, "%-30s %s\n", strings.TrimSpace(a.name+" "+a.args), a.doc)
	}
	b.WriteString("Every fault also takes delay=2s. status takes retry-after=7, header=Name:value, and last body=….\n" +
		"A script is a list: 2x status 503; delay 1s; ok. The word always before the last one keeps it for good.\n")
	return b.String()
}

func find(name string) *action {
	for _, a := range actions {
		if a.name == name {
			return a
		}
	}
	return nil
}

// ParseFault reads a fault as the grammar says. An unknown name, a missing
// argument and a word too many are errors that say what the form is.
func ParseFault(text string) (Fault, error) {
	text = strings.TrimSpace(text)
	head, body, hasBody := text, "", false
	if name, rest, _ := strings.Cut(text, " "); name == "json" {
		head, body, hasBody = name, strings.TrimSpace(rest), true
	} else if name == "sse" {
		count, data, _ := strings.Cut(strings.TrimSpace(rest), " ")
		head, body, hasBody = name+" "+count, strings.TrimSpace(data), true
	} else if before, after, ok := strings.Cut(text, " body="); ok {
		head, body, hasBody = before, after, true
	}
	words := strings.Fields(head)
	if len(words) == 0 {
		return Fault{}, fmt.Errorf("no fault: write one of %s", names())
	}
	f := Fault{text: text, action: find(words[0]), header: http.Header{}}
	if f.action == nil {
		return Fault{}, fmt.Errorf("no fault is called %q: write one of %s", words[0], names())
	}
	wrong := func(problem string) (Fault, error) {
		return Fault{}, fmt.Errorf("%s: %s; write: %s", f.action.name, problem, strings.TrimSpace(f.action.name+" "+f.action.args))
	}
	args := words[1:]
	if f.action.name != "redirect" { // a URL may hold a =
		var options []string
		args = slices.DeleteFunc(args, func(w string) bool {
			isOption := strings.Contains(w, "=")
			if isOption {
				options = append(options, w)
			}
			return isOption
		})
		for _, option := range options {
			if err := f.option(option); err != nil {
				return wrong(err.Error())
			}
		}
	}
	if hasBody {
		switch f.action.name {
		case "status", "json":
			f.header.Set("Content-Type", "application/json")
		case "sse":
		default:
			return wrong("it takes no body")
		}
		f.body = body
	}
	if err := f.action.parse(&f, args); err != nil {
		return wrong(err.Error())
	}
	return f, nil
}

func names() string {
	list := make([]string, len(actions))
	for i, a := range actions {
		list[i] = a.name
	}
	return strings.Join(list, ", ")
}

// option reads name=value.
func (f *Fault) option(option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch {
	case name == "delay":
		return parseDuration(value, &f.delay)
	case f.action.name != "status":
	case name == "retry-after":
		f.header.Set("Retry-After", value)
		return nil
	case name == "header":
		key, v, ok := strings.Cut(value, ":")
		if !ok || key == "" {
			return fmt.Errorf("header=%s is not Name:value", value)
		}
		f.header.Add(key, v)
		return nil
	}
	return fmt.Errorf("it takes no %s", name)
}

func noArgs(_ *Fault, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much", args[0])
	}
	return nil
}

func parseDelay(f *Fault, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("it takes one duration")
	}
	return parseDuration(args[0], &f.delay)
}

func parseDuration(text string, d *time.Duration) error {
	var err error
	if *d, err = time.ParseDuration(text); err != nil || *d < 0 {
		return fmt.Errorf("%q is not a duration as 50ms or 2s", text)
	}
	return nil
}

func parseStatus(f *Fault, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("it takes one status")
	}
	if err := parseCode(args[0], f); err != nil {
		return err
	}
	if f.header.Get("Content-Type") == "" {
		f.header.Set("Content-Type", "application/json")
		f.body = fmt.Sprintf(`{"message":"the sandbox was told to answer %d"}`, f.status)
	}
	return nil
}

func parseCode(text string, f *Fault) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 || n > 599 {
		return fmt.Errorf("%q is not a status from 200 to 599", text)
	}
	f.status = n
	return nil
}

func optionalStatus(status int) func(*Fault, []string) error {
	return func(f *Fault, args []string) error {
		f.status = status
		if len(args) == 0 {
			return nil
		}
		if len(args) > 1 {
			return fmt.Errorf("%q is too much", args[1])
		}
		return parseCode(args[0], f)
	}
}

func parseJSON(f *Fault, args []string) error {
	if f.body == "" {
		return fmt.Errorf("the JSON text is missing")
	}
	f.status = http.StatusOK
	return noArgs(f, args)
}

func parseHTML(f *Fault, args []string) error {
	f.header.Set("Content-Type", "text/html; charset=utf-8")
	f.body = "<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Something is wrong</h1></body></html>"
	return optionalStatus(200)(f, args)
}

func parseRedirect(f *Fault, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("it takes a status and a URL")
	}
	if u, err := url.Parse(args[1]); err != nil || u.Host == "" {
		return fmt.Errorf("%q is not a URL with a host", args[1])
	}
	f.header.Set("Location", args[1])
	return parseCode(args[0], f)
}

func parseCount(f *Fault, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("it takes one number")
	}
	return f.size(args[0])
}

func parseInsert(f *Fault, args []string) error {
	if f.body == "" {
		return fmt.Errorf("the number of events or the data is missing")
	}
	return parseCount(f, args)
}

func parsePause(f *Fault, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("it takes one duration")
	}
	return parseDuration(args[0], &f.pause)
}

func (f *Fault) size(text string) error {
	var n normalize.ByteSize
	if err := n.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("%q is not a number of bytes", text)
	}
	f.count = int64(n)
	return nil
}

func parseWord(f *Fault, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if f.word = args[0]; !slices.Contains(f.action.words, f.word) {
		return fmt.Errorf("%q is not one of %s", f.word, strings.Join(f.action.words, ", "))
	}
	return noArgs(f, args[1:])
}

func parseCut(f *Fault, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("it takes a number of bytes")
	}
	if err := f.size(args[0]); err != nil {
		return err
	}
	return parseWord(f, args[1:])
}

func parseDrip(f *Fault, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("it takes a number of bytes and a duration")
	}
	if err := f.size(args[0]); err != nil {
		return err
	}
	if f.count == 0 {
		return fmt.Errorf("a slice has at least one byte")
	}
	return parseDuration(args[1], &f.pause)
}

func parseOversize(f *Fault, args []string) error {
	f.count = 50 << 20
	if len(args) > 0 && !slices.Contains(f.action.words, args[0]) {
		if err := f.size(args[0]); err != nil {
			return err
		}
		args = args[1:]
	}
	return parseWord(f, args)
}

// Step is a fault and how often it is played.
type Step struct {
	Fault Fault
	Times int // 0: from now on
}

// ParseScript reads a list of steps, semicolons between them: "2x status 503;
// delay 1s; always ok". A step without a number is played once. After the last
// one the answers are healthy.
func ParseScript(text string) ([]Step, error) {
	var steps []Step
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		step := Step{Times: 1}
		first, rest, _ := strings.Cut(part, " ")
		if first == "always" {
			step.Times, part = 0, rest
		} else if digits, ok := strings.CutSuffix(first, "x"); ok && find(first) == nil {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q is not a number of times: write 3x", first)
			}
			step.Times, part = n, rest
		}
		if len(steps) > 0 && steps[len(steps)-1].Times == 0 {
			return nil, fmt.Errorf("what follows always is never reached: %q", part)
		}
		var err error
		if step.Fault, err = ParseFault(part); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// MustScript is ParseScript for scripts that stand in code. It panics on a typo.
func MustScript(text string) []Step {
	steps, err := ParseScript(text)
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	return steps
}
