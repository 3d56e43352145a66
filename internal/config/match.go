package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Match is the conditions of a route, in the order of the file; all must hold.
type Match []Condition

// Condition is one line of a match: any of the patterns must match the value that
// the key names. Header names are in lower case.
type Condition struct {
	Key      string
	Patterns []string
}

// MatchKeys are the keys of a match that stand for themselves. Beside them there
// are metadata.NAME and header.NAME.
var MatchKeys = []string{"caller", "user.id", "user.email", "user.name", "user.phone", "dialect", "bot"}

func (m *Match) decodeNode(d *decoder, n *yaml.Node, path string) {
	suggestions := append(slices.Clone(MatchKeys), "metadata.NAME", "header.NAME")
	pairs, ok := d.pairs(n, path, nil)
	if !ok {
		return
	}
	for _, p := range pairs {
		key, ok := matchKey(p.key)
		if !ok {
			d.unknownKey(p, suggestions)
			continue
		}
		if slices.ContainsFunc(*m, func(c Condition) bool { return c.Key == key }) {
			d.report(p.path, "stands twice in this match: case does not count in the names of headers")
			continue
		}
		c := Condition{Key: key}
		if p.value.Kind == yaml.SequenceNode {
			d.decode(p.value, reflect.ValueOf(&c.Patterns).Elem(), p.path)
		} else {
			c.Patterns = make([]string, 1)
			d.decode(p.value, reflect.ValueOf(&c.Patterns[0]).Elem(), p.path)
		}
		*m = append(*m, c)
		if d.faulty(p.path) {
			continue
		}
		switch {
		case len(c.Patterns) == 0:
			d.report(p.path, "names no pattern, so nothing would ever match")
		case slices.Contains(c.Patterns, ""):
			d.report(p.path, "an empty pattern matches nothing")
		}
	}
}

// matchKey tells whether a key may stand in a match, and returns it as Condition
// has it.
func matchKey(key string) (string, bool) {
	if name, ok := strings.CutPrefix(key, "metadata."); ok {
		return key, name != ""
	}
	if name, ok := strings.CutPrefix(strings.ToLower(key), "header."); ok {
		return "header." + name, name != "" && !strings.ContainsFunc(name, notInHeaderName)
	}
	return key, slices.Contains(MatchKeys, key)
}

// notInHeaderName follows the token rule of RFC 9110, section 5.6.2.
func notInHeaderName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// Targets are the backends that a route leads to, each with its weight.
type Targets []Target

// Target is one backend of a split.
type Target struct {
	Backend string `yaml:"backend,required" doc:"The backend's name."`
	Weight  int    `yaml:"weight,required" min:"0" max:"1000000" doc:"Its share is its weight over the sum of all."`
}

func (t *Targets) decodeNode(d *decoder, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.SequenceNode:
		d.decodeList(n, reflect.ValueOf((*[]Target)(t)).Elem(), path)
	case yaml.ScalarNode:
		only := Target{Weight: 1}
		d.decode(n, reflect.ValueOf(&only.Backend).Elem(), path)
		if only.Backend != "" {
			*t = Targets{only}
		}
	default:
		d.report(path, "takes the name of a backend, or a list of {backend: name, weight: number}")
	}
}

// backendPath is where the name of a target's backend stands.
func (t Targets) backendPath(path string, i int, d *decoder) string {
	if at := fmt.Sprintf("%s[%d].backend", path, i); d.given(at) {
		return at
	}
	return path
}
