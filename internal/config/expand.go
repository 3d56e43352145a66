package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand puts variables into a text: ${NAME}, ${NAME:-default} for one that is
// unset or empty, and $$ for a dollar sign. It works on one value after the YAML
// has been read, so what a variable holds stays one value. The second result tells
// whether a variable stood there. Errors name variables, never what they hold.
func expand(text string, getenv func(string) (string, bool)) (string, bool, error) {
	var out strings.Builder
	var unset []string
	expanded := false
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			break
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			out.WriteByte('$')
			text = after
			continue
		}
		after, ok := strings.CutPrefix(rest, "{")
		if !ok {
			out.WriteByte('$')
			text = rest
			continue
		}
		inside, after, closed := strings.Cut(after, "}")
		if !closed {
			return "", false, errors.New("${ without a }: write ${NAME}, or $$ for a dollar sign")
		}
		name, fallback, hasFallback := strings.Cut(inside, ":-")
		if !variableName.MatchString(name) || strings.Contains(fallback, "${") {
			return "", false, errors.New("not a variable: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign")
		}
		value, set := getenv(name)
		switch {
		case hasFallback && value == "":
			value = fallback
		case !hasFallback && !set:
			unset = append(unset, name)
		}
		out.WriteString(value)
		expanded = true
		text = after
	}
	switch len(unset) {
	case 0:
		return out.String(), expanded, nil
	case 1:
		return "", false, errors.New("the variable " + unset[0] + " is not set")
	default:
		return "", false, errors.New("the variables " + strings.Join(unset, ", ") + " are not set")
	}
}

// maxSecretFile is far above any key; it keeps a wrong path from being read whole.
const maxSecretFile = 64 << 10

// readSecret reads a secret from a file and takes the line ends off its end. The
// error does not repeat the path: a key may have been written in its place.
func readSecret(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", errors.New("a secret's file needs an absolute path: write file:/run/secrets/name")
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil && info.Size() > maxSecretFile {
		err = errors.New("it is larger than 64KiB")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return "", errors.New("the secret's file cannot be read: " + err.Error())
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
