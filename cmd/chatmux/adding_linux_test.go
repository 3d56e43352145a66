package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAVendorIsAddedByDoingWhatThePageSays follows docs/adding-an-adapter.md in a
// copy of the repository: it runs its commands, writes its files, applies its
// changes of the list of adapters, and compares what the chat with the new vendor shows.
func TestAVendorIsAddedByDoingWhatThePageSays(t *testing.T) {
	const name = "docs/adding-an-adapter.md"
	dir := copyOfTheRepository(t)
	place := regexp.MustCompile("(?:^|[ \n])`([a-z][a-z0-9_./]+)`:?\n\n$")
	blocks, text := readPage(t, name), readFile(t, name)
	lines := strings.SplitAfter(text, "\n")
	for i, b := range blocks {
		before := strings.Join(lines[:b.line-2], "")
		file := ""
		if m := place.FindStringSubmatch(before); m != nil {
			file = filepath.Join(dir, m[1])
		}
		var err error
		switch {
		case b.language == "diff":
			err = apply(filepath.Join(dir, "adapters/all/all.go"), b.text)
		case b.language == "sh":
			var got string
			if got, err = inCopy(dir, b.text); err == nil && i+1 < len(blocks) && blocks[i+1].language == "text" && blocks[i+1].line > b.line {
				err = sameLines(got, blocks[i+1].text)
			}
			if strings.HasPrefix(b.text, "cp ") && err == nil { // "rename, delete, and write in their place"
				folder := strings.Fields(b.text)[3]
				err = os.RemoveAll(filepath.Join(dir, folder))
			}
		case file != "" && (b.language == "go" || b.language == "text" || b.language == "yaml"):
			if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
				err = os.WriteFile(file, []byte(b.text), 0o600)
			}
		}
		if err != nil {
			t.Fatalf("%s:%d: %v", name, b.line, err)
		}
	}
}

// copyOfTheRepository copies what is in the repository's folder, but for what was
// built and for git's own.
func copyOfTheRepository(t *testing.T) string {
	t.Helper()
	dir, root := t.TempDir(), os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// inCopy runs commands of the page as they stand there.
func inCopy(dir, text string) (string, error) {
	cmd := exec.Command("bash", "--norc", "-e", "-c", text)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, out, &stderr)
	}
	return string(out), nil
}

// apply makes a change as a diff shows it, which must fit in exactly one place.
func apply(file, diff string) error {
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			before.WriteString(line[1:])
		}
		if line[0] != '-' {
			after.WriteString(line[1:])
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n := strings.Count(string(b), before.String()); n != 1 {
		return fmt.Errorf("the change fits in %d places of %s:\n%s", n, file, diff)
	}
	return os.WriteFile(file, []byte(strings.Replace(string(b), before.String(), after.String(), 1)), 0o600)
}
