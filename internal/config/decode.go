package config

import (
	"encoding"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"chatmux/normalize"
)

// decoder puts YAML nodes into Go values and collects what is wrong. It is not the
// YAML module's own decoder because variables are expanded on the way, a problem
// needs its path beside its place, and no message may repeat a value.
type decoder struct {
	getenv   func(string) (string, bool)
	dialects []string // what the match key dialect may be
	problems []Problem
	places   map[string]place      // where the key of each path stands; "" is the whole file
	settings map[string]*yaml.Node // blocks that are decoded later, by path
}

// place is where something stands in the file.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// report adds a problem at the key of a path or, if the file has no such key, at
// the nearest block around it.
func (d *decoder) report(path, format string, args ...any) {
	at, found := d.places[path]
	for p := path; !found; {
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
		at, found = d.places[p]
	}
	d.reportAt(at, path, format, args...)
}

func (d *decoder) reportAt(at place, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: at.line, Column: at.column, Path: path, Text: fmt.Sprintf(format, args...)})
}

// faulty tells whether something is wrong with a path already, or below it: what
// follows from that is not worth another line.
func (d *decoder) faulty(path string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool {
		rest, ok := strings.CutPrefix(p.Path, path)
		return ok && (rest == "" || path == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// given tells whether the file has a value at a path.
func (d *decoder) given(path string) bool {
	_, ok := d.places[path]
	return ok
}

// nodeDecoder is a type with a form of its own in the file.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[normalize.Secret]()
)

// decode puts a node into a value that can be set.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	if !d.plain(n, path) {
		return
	}
	if v.Kind() == reflect.Pointer {
		elem := reflect.New(v.Type().Elem())
		setDefaults(elem.Elem())
		d.decode(n, elem.Elem(), path)
		v.Set(elem)
		return
	}
	target := v.Addr().Interface()
	if own, ok := target.(nodeDecoder); ok {
		own.decodeNode(d, n, path)
		return
	}
	_, isText := target.(encoding.TextUnmarshaler)
	switch {
	case isText:
		d.decodeScalar(n, v, path)
	case v.Kind() == reflect.Interface:
		d.settings[path] = n
	case v.Type() == treeType:
		if n.Kind != yaml.MappingNode {
			d.report(path, "takes a block of keys, not %s", kindOf(n))
			return
		}
		tree, _ := d.decodeTree(n, path).(map[string]any)
		v.Set(reflect.ValueOf(tree))
	case v.Kind() == reflect.Struct:
		d.decodeStruct(n, v, path)
	case v.Kind() == reflect.Slice:
		d.decodeList(n, v, path)
	case v.Kind() == reflect.Map:
		d.decodeMap(n, v, path)
	default:
		d.decodeScalar(n, v, path)
	}
}

// plain refuses what makes a file hard to read without making it shorter.
func (d *decoder) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.report(path, "aliases are not used here: write the value out, and quote it if it begins with *")
	case n.Anchor != "":
		d.report(path, "anchors are not used here: write the value without, and quote it if it begins with &")
	case n.Style&yaml.TaggedStyle != 0:
		d.report(path, "tags are not used here: write the value without, and quote it if it begins with !")
	default:
		return true
	}
	return false
}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	pairs, ok := d.pairs(n, path, names)
	if !ok {
		return
	}
	for _, p := range pairs {
		i := slices.Index(names, p.key)
		if i < 0 {
			d.unknownKey(p, names)
			continue
		}
		target := v.FieldByIndex(fields[i].index)
		before := len(d.problems)
		d.decode(p.value, target, p.path)
		if len(d.problems) == before {
			d.checkRules(target, fields[i], p.path)
		}
	}
	for _, f := range fields {
		at := join(path, f.key)
		if !f.required || !isEmpty(v.FieldByIndex(f.index), d.given(at)) || d.faulty(at) {
			continue
		}
		if d.given(at) {
			d.report(at, "is empty")
		} else {
			d.report(at, "is missing")
		}
	}
}

// isEmpty reports whether nothing was given that means something; a number that was
// given means something, also 0.
func isEmpty(v reflect.Value, given bool) bool {
	if given && (v.CanInt() || v.CanFloat()) {
		return false
	}
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// checkRules checks what the tags of a field say of its value.
func (d *decoder) checkRules(v reflect.Value, f field, path string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			d.checkRules(v.Index(i), f, fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		if f.enum != nil && !slices.Contains(f.enum, v.String()) {
			d.report(path, "must be one of %s%s", strings.Join(f.enum, ", "), didYouMean(v.String(), f.enum))
		}
	case reflect.Int, reflect.Int64, reflect.Float64:
		d.checkBounds(v, f, path)
	}
}

func (d *decoder) checkBounds(v reflect.Value, f field, path string) {
	var number float64
	if v.CanFloat() {
		number = v.Float()
	} else {
		number = float64(v.Int())
	}
	low, hasLow := parseBound(f.min)
	high, hasHigh := parseBound(f.max)
	over, hasOver := parseBound(f.over)
	switch {
	case hasOver && number <= over:
		d.report(path, "must be more than %s", f.over)
	case hasLow && hasHigh && (number < low || number > high):
		d.report(path, "must be from %s to %s", f.min, f.max)
	case hasLow && number < low:
		d.report(path, "must not be less than %s", f.min)
	case hasHigh && number > high:
		d.report(path, "must not be more than %s", f.max)
	}
}

func parseBound(tag string) (float64, bool) {
	n, err := strconv.ParseFloat(tag, 64)
	return n, err == nil
}

func (d *decoder) decodeList(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.report(path, "takes a list, not %s: write [a, b], or a line with a dash for each", kindOf(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.places[at] = placeOf(item)
		if isNull(item) {
			d.report(at, "has no value")
			continue
		}
		setDefaults(list.Index(i))
		d.decode(item, list.Index(i), at)
	}
	v.Set(list)
}

func (d *decoder) decodeMap(n *yaml.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(n, path, nil)
	if !ok {
		return
	}
	m := reflect.MakeMap(v.Type())
	for _, p := range pairs {
		elem := reflect.New(v.Type().Elem()).Elem()
		setDefaults(elem)
		d.decode(p.value, elem, p.path)
		m.SetMapIndex(reflect.ValueOf(p.key).Convert(v.Type().Key()), elem)
	}
	v.Set(m)
}

// pair is one line of a block.
type pair struct {
	key   string
	value *yaml.Node
	path  string
}

// pairs returns the lines of a block that have a value, and notes where they
// stand. Nulls are absent, but their keys must be known all the same; with no
// known names at all every key is.
func (d *decoder) pairs(n *yaml.Node, path string, known []string) ([]pair, bool) {
	if n.Kind != yaml.MappingNode {
		d.report(path, "takes a block of keys, not %s", kindOf(n))
		return nil, false
	}
	pairs := make([]pair, 0, len(n.Content)/2)
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := placeOf(key)
		switch {
		case key.Kind != yaml.ScalarNode:
			d.reportAt(at, path, "a key must be a word")
			continue
		case key.Tag == "!!merge":
			d.reportAt(at, path, "merge keys are not used here: write the keys out")
			continue
		case key.Anchor != "" || key.Style&yaml.TaggedStyle != 0:
			d.reportAt(at, path, "anchors and tags are not used here")
			continue
		}
		p := pair{key: key.Value, value: value, path: join(path, shownKey(n, key, value, known))}
		if line, twice := seen[p.key]; twice {
			d.reportAt(at, p.path, "stands twice in this block, first on line %d", line)
			continue
		}
		seen[p.key] = key.Line
		absent := isNull(value)
		if absent && (known == nil || slices.Contains(known, p.key)) {
			if known == nil {
				d.reportAt(at, p.path, "has no value")
			}
			continue
		}
		d.places[p.path] = at
		pairs = append(pairs, p)
	}
	return pairs, true
}

var keyWord = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// shownKey is a key as a path may show it. What looks like a key may be a value: in
// {api_key: a,b} and in {api_key:a} the YAML reader finds the keys "b" and
// "api_key:a", both without a value.
func shownKey(block, key, value *yaml.Node, known []string) string {
	suspect := block.Style&yaml.FlowStyle != 0 && isNull(value) && !slices.Contains(known, key.Value)
	if suspect || !keyWord.MatchString(key.Value) {
		return "?"
	}
	return key.Value
}

func (d *decoder) unknownKey(p pair, known []string) {
	switch {
	case strings.HasSuffix(p.path, "?"):
		d.report(p.path, "not a key: put a space after the colon, and quote a value that has commas or colons")
	case len(known) == 0:
		d.report(p.path, "unknown key: this block has no keys")
	default:
		hint := didYouMean(p.key, known)
		if hint == "" {
			hint = "; known here: " + strings.Join(known, ", ")
		}
		d.report(p.path, "unknown key%s", hint)
	}
}

// decodeScalar puts a single value, with its variables expanded, into v. A quoted
// value is text, unless it is made of variables: those need quotes in places.
func (d *decoder) decodeScalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.report(path, "takes a single value, not %s", kindOf(n))
		return
	}
	text, expanded, err := expand(n.Value, d.getenv)
	if err != nil {
		d.report(path, "%v", err)
		return
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if quoted && !expanded && needsPlain(v) {
		d.report(path, "is quoted, so it is text and not %s: write it without quotes", expected(v.Type()))
		return
	}
	if v.Type() == secretType {
		text, err = secretText(n.Value, text)
	}
	if err == nil {
		err = setText(v, text)
	}
	if err != nil {
		d.report(path, "%v", err)
	}
}

// secretText reads the file that a secret names. Only a file: that the config
// itself says does so, not one that comes out of a variable.
func secretText(written, text string) (string, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok && strings.HasPrefix(written, "file:") {
		var err error
		if text, err = readSecret(path); err != nil {
			return "", err
		}
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", fmt.Errorf("the secret holds a line end or another control character")
	}
	return text, nil
}

// needsPlain tells whether a value is a YAML number or boolean rather than text.
func needsPlain(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok || v.Type() == durationType {
		return false
	}
	return v.Kind() != reflect.String
}

// setText sets a value from its text. Its errors never repeat the text.
func setText(v reflect.Value, text string) error {
	wrong := fmt.Errorf("is not %s", expected(v.Type()))
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		err := u.UnmarshalText([]byte(text))
		if err != nil && !strings.HasPrefix(v.Type().PkgPath(), "chatmux/") {
			return wrong // types that are not ours put the value into their errors
		}
		return err
	}
	if v.Type() == durationType {
		duration, err := time.ParseDuration(text)
		if err != nil {
			return wrong
		}
		v.SetInt(int64(duration))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return wrong
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return wrong
		}
		v.SetInt(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return wrong
		}
		v.SetFloat(n)
	default:
		panic("config: there is no way to read a " + v.Type().String())
	}
	return nil
}

// expected says in words what a type takes.
func expected(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration: write a number and a unit, as 200ms, 30s, 5m or 24h"
	case t == reflect.TypeFor[netip.Prefix]():
		return "a range of addresses: write it as 10.1.0.0/16"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a value that can stand here"
}

// field is one key of a struct's block, as its tags describe it.
type field struct {
	key            string
	index          []int
	required       bool
	enum           []string
	min, max, over string
	fallback       string // what the default tag says
	hasFallback    bool
}

// fieldsOf lists the keys of a struct, in its order. Fields without a yaml tag have
// no key.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("yaml")
		key, options, _ := strings.Cut(tag, ",")
		if !ok || key == "-" || key == "" || !f.IsExported() {
			continue
		}
		known := field{
			key: key, index: f.Index, required: options == "required",
			min: f.Tag.Get("min"), max: f.Tag.Get("max"), over: f.Tag.Get("over"),
		}
		known.fallback, known.hasFallback = f.Tag.Lookup("default")
		if enum := f.Tag.Get("enum"); enum != "" {
			known.enum = strings.Split(enum, "|")
		}
		fields = append(fields, known)
	}
	return fields
}

// setDefaults sets what the default tags of a struct say, also in the structs
// within it. A default that does not fit its field is a mistake in the program.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		target := v.FieldByIndex(f.index)
		switch {
		case f.hasFallback && target.IsZero():
			if err := setText(target, f.fallback); err != nil {
				panic(fmt.Sprintf("config: default of %s.%s: %v", v.Type(), f.key, err))
			}
		case !f.hasFallback:
			setDefaults(target)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// isNull tells whether a value is left out: nothing, null or ~.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style&yaml.TaggedStyle == 0
}

// kindOf says in words what a node is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a block of keys"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}
