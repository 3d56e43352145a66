package config

import (
	"bufio"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Describe writes what was understood, defaults included, in the form of the file.
// Secrets are masked; what is not set is left out.
func (c *Config) Describe(w io.Writer) error {
	out := bufio.NewWriter(w)
	describeBlock(out, linesOf(reflect.ValueOf(c).Elem()), "")
	return out.Flush()
}

// line is a key and its value in a described block.
type line struct {
	key   string
	value reflect.Value
}

// linesOf lists the keys of a struct, a map or a match that have something to show.
func linesOf(v reflect.Value) []line {
	var lines []line
	switch match, ok := v.Interface().(Match); {
	case ok:
		for _, c := range match {
			lines = append(lines, line{c.Key, reflect.ValueOf(c.Patterns)})
		}
	case v.Kind() == reflect.Map:
		for _, key := range v.MapKeys() {
			lines = append(lines, line{key.String(), v.MapIndex(key)})
		}
		slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.key, b.key) })
	default:
		for _, f := range fieldsOf(v.Type()) {
			value := v.FieldByIndex(f.index)
			if f.min != "" && !f.hasFallback && value.IsZero() {
				continue // a limit that is not set, and that could not be set to 0
			}
			lines = append(lines, line{f.key, value})
		}
	}
	shown := lines[:0]
	for _, l := range lines {
		for l.value.Kind() == reflect.Pointer || l.value.Kind() == reflect.Interface {
			l.value = l.value.Elem()
		}
		if l.value.IsValid() && !isUnset(l.value) {
			shown = append(shown, l)
		}
	}
	return shown
}

// isUnset tells whether a value says nothing: an empty text, list or block. Numbers
// and booleans always say something.
func isUnset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return v.IsZero() || !isText(v) && len(linesOf(v)) == 0
	default:
		return false
	}
}

func describeBlock(out *bufio.Writer, lines []line, indent string) {
	for _, l := range lines {
		fmt.Fprintf(out, "%s%s:", indent, l.key)
		describeValue(out, l.value, indent+"  ")
	}
}

// describeValue writes a value after its key, and the line end.
func describeValue(out *bufio.Writer, v reflect.Value, indent string) {
	_, isMatch := v.Interface().(Match)
	switch {
	case v.Type() == treeType:
		fmt.Fprintf(out, " %s\n", treeText(v.Interface()))
	case isMatch || !isText(v) && (v.Kind() == reflect.Struct || v.Kind() == reflect.Map):
		fmt.Fprintln(out)
		describeBlock(out, linesOf(v), indent)
	case v.Kind() == reflect.Slice && !allScalar(v):
		fmt.Fprintln(out)
		for i := range v.Len() {
			describeItem(out, v.Index(i), indent)
		}
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = scalarText(v.Index(i))
		}
		fmt.Fprintf(out, " [%s]\n", strings.Join(items, ", "))
	default:
		fmt.Fprintf(out, " %s\n", scalarText(v))
	}
}

// describeItem writes a block as an item of a list: its first line has the dash.
func describeItem(out *bufio.Writer, v reflect.Value, indent string) {
	var block strings.Builder
	inner := bufio.NewWriter(&block)
	describeBlock(inner, linesOf(v), indent+"  ")
	_ = inner.Flush() // a strings.Builder takes everything
	fmt.Fprintf(out, "%s- %s", indent, strings.TrimPrefix(block.String(), indent+"  "))
}

func allScalar(list reflect.Value) bool {
	for i := range list.Len() {
		if item := list.Index(i); item.Kind() == reflect.Struct && !isText(item) {
			return false
		}
	}
	return true
}

// isText tells whether a type writes itself as text.
func isText(v reflect.Value) bool {
	_, ok := v.Interface().(encoding.TextMarshaler)
	return ok
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9 ._@/:+-]*$`)

func scalarText(v reflect.Value) string {
	text := fmt.Sprint(v.Interface())
	switch value := v.Interface().(type) {
	case time.Duration:
		return shortDuration(value)
	case encoding.TextMarshaler:
		marshaled, err := value.MarshalText()
		if err != nil {
			return strconv.Quote(err.Error())
		}
		if text = string(marshaled); text == "[secret]" {
			return strconv.Quote(text) // unquoted it would be a list
		}
	}
	if v.Kind() == reflect.String && (!plainText.MatchString(text) || strings.Contains(text, ": ") || looksLikeNumber(text)) {
		return strconv.Quote(text)
	}
	return text
}

// looksLikeNumber tells whether YAML would read a text as something else.
func looksLikeNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil || slices.Contains([]string{"true", "false", "null"}, text)
}

// shortDuration writes 24h for what time.Duration calls 24h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
