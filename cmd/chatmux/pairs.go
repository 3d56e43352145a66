package main

import (
	"errors"
	"strings"
)

// pairs are the values of a flag that is given as name=value, as often as needed.
// A value is taken as it is written: it may hold commas, quotes and further equals
// signs, which pflag's own map of strings would read as CSV.
type pairs map[string]string

// Set adds one pair.
func (p pairs) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("write name=value")
	}
	if _, twice := p[name]; twice {
		return errors.New(name + " is given twice")
	}
	p[name] = value
	return nil
}

// String gives nothing: no pair is a default.
func (p pairs) String() string { return "" }

// Type is how the help calls a value.
func (p pairs) Type() string { return "name=value" }
