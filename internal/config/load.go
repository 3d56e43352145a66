package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Options is what a file cannot say of itself.
type Options struct {
	// Settings has, for each adapter by name, a function that returns a pointer to a
	// new struct with the defaults of its `settings` block. Its fields follow the
	// same tags as Config; their types may be strings, signed integers, booleans,
	// floats, time.Duration, normalize.Secret, anything with UnmarshalText, and
	// slices, maps by string, structs and pointers of them; map[string]any takes a
	// block as it stands, with texts, int64, float64, booleans and nil in it. If the struct has the
	// method Check(report func(field, problem string)), it is asked what else is
	// missing or wrong, also where the file has no settings block.
	Settings map[string]func() any

	// Dialects names the vendors' APIs that are served at the front, which with native
	// are what a route's match may name as dialect; nil: one for each adapter.
	Dialects []string

	// Getenv looks variables up; nil asks the environment of the process.
	Getenv func(name string) (string, bool)
}

// Load reads and checks a file. The error is a *Problems.
func Load(file string, opts Options) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return nil, &Problems{File: file, List: []Problem{{Text: "cannot be read: " + err.Error()}}}
	}
	return Parse(file, data, opts)
}

// Parse reads and checks what a file holds; the name is the one in the problems.
// The error is a *Problems.
func Parse(name string, data []byte, opts Options) (*Config, error) {
	root, problem := parseYAML(data)
	if problem != nil {
		return nil, &Problems{File: name, List: []Problem{*problem}}
	}
	d := &decoder{
		getenv:   opts.Getenv,
		places:   map[string]place{"": {1, 1}},
		settings: make(map[string]*yaml.Node),
	}
	if d.getenv == nil {
		d.getenv = os.LookupEnv
	}
	d.dialects = append([]string{"native"}, opts.Dialects...)
	if opts.Dialects == nil {
		d.dialects = append(d.dialects, slices.Sorted(maps.Keys(opts.Settings))...)
	}
	c := new(Config)
	v := reflect.ValueOf(c).Elem()
	setDefaults(v)
	d.decode(root, v, "")
	for i := range c.Backends {
		d.decodeSettings(&c.Backends[i], fmt.Sprintf("backends[%d]", i), opts.Settings)
	}
	d.complete(c)
	d.check(c)
	if err := sorted(name, d.problems); err != nil {
		return nil, err
	}
	return c, nil
}

// decodeSettings puts a backend's settings block into the struct of its adapter.
func (d *decoder) decodeSettings(b *Backend, path string, known map[string]func() any) {
	prototype := known[b.Adapter]
	if prototype == nil {
		if b.Adapter != "" {
			names := slices.Sorted(maps.Keys(known))
			d.report(path+".adapter", "there is no such adapter: there are %s%s", strings.Join(names, ", "), didYouMean(b.Adapter, names))
		}
		return
	}
	b.Settings = prototype()
	path += ".settings"
	v := reflect.ValueOf(b.Settings).Elem()
	setDefaults(v)
	if n := d.settings[path]; n != nil {
		d.decode(n, v, path)
		if n.Kind != yaml.MappingNode {
			return // the adapter would miss everything
		}
	}
	if checker, ok := b.Settings.(interface {
		Check(report func(field, problem string))
	}); ok {
		checker.Check(func(field, problem string) {
			if at := join(path, field); !d.faulty(at) {
				d.report(at, "%s", problem)
			}
		})
	}
}

const emptyFile = "there is nothing in the file: write at least backends and routes"

// memoryStore is the one value of ours that YAML wants quoted, because it ends in a
// colon. It is taken without quotes too.
var memoryStore = regexp.MustCompile(`(?m)^(store:[ \t]+)sqlite::memory:([ \t]*(?:[ \t]#.*)?\r?)$`)

// parseYAML returns the one document of a file. YAML that cannot be read is one
// problem: what comes after the place cannot be judged.
func parseYAML(data []byte) (*yaml.Node, *Problem) {
	data = memoryStore.ReplaceAll(data, []byte(`${1}"sqlite::memory:"$2`))
	if at := firstUnreadable(data); at != nil {
		return nil, at
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, syntaxProblem(err)
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &Problem{Line: 1, Column: 1, Text: emptyFile}
	case err != nil:
		return nil, syntaxProblem(err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &Problem{Line: second.Line, Column: second.Column, Text: "a second document begins here: the file must be one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblem(err)
	}
	root := &doc
	if doc.Kind == yaml.DocumentNode {
		root = doc.Content[0]
	}
	if isNull(root) {
		return nil, &Problem{Line: 1, Column: 1, Text: emptyFile}
	}
	return root, nil
}

// firstUnreadable finds bytes that no YAML text may have; the YAML reader refuses
// them without a place.
func firstUnreadable(data []byte) *Problem {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &Problem{Line: line, Column: column, Text: "the file is not UTF-8"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return &Problem{Line: line, Column: column, Text: "a control character stands here"}
		case r == '\n':
			line, column = line+1, 0
		}
		i, column = i+size, column+1
	}
	return nil
}

// syntaxProblem says what the YAML reader could not read. Its messages are fixed
// texts, but for a few that repeat a piece of the file.
func syntaxProblem(err error) *Problem {
	first, ok := errors.AsType[*yaml.LoadError](err)
	if all, many := errors.AsType[*yaml.LoadErrors](err); many && len(all.Errors) > 0 {
		first, ok = all.Errors[0], true
	}
	if !ok {
		return &Problem{Line: 1, Column: 1, Text: "cannot be read as YAML"}
	}
	text := first.Message
	switch {
	case strings.HasPrefix(text, "unknown anchor"):
		text = "a value that begins with * must be quoted"
	case strings.Contains(text, "cannot start any token"):
		text = "a value that begins with this character must be quoted, and a line must not begin with a tab"
	case strings.HasPrefix(text, "mapping values are not allowed"):
		text = `a colon before a space or the line end is not part of a value: quote the value, as "sqlite::memory:", or check the indentation`
	case first.Stage != yaml.ScannerStage && first.Stage != yaml.ParserStage || strings.Contains(text, "YAML tag"):
		text = "cannot be read as YAML"
	case first.ContextMark.Line > 0 && first.ContextMsg != "":
		text += fmt.Sprintf(" (%s that begins on line %d)", first.ContextMsg, first.ContextMark.Line)
	}
	return &Problem{Line: max(first.Mark.Line, 1), Column: max(first.Mark.Column, 1), Text: text}
}
