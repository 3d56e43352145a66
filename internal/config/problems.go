package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	Line, Column int    // both from 1, the column in characters; 0 where the file could not be read
	Path         string // as backends[1].settings.chatbot_id; empty for the file as a whole
	Text         string // what is wrong and what to write; never a value of the file
}

// Problems is all that is wrong with a file, in the order of the file.
type Problems struct {
	File string
	List []Problem
}

// Error has one line for each problem: file:line:column: path: what is wrong.
func (p *Problems) Error() string {
	var b strings.Builder
	for i, problem := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.File)
		if problem.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", problem.Line, problem.Column)
		}
		if problem.Path != "" {
			b.WriteString(": " + problem.Path)
		}
		b.WriteString(": " + problem.Text)
	}
	return b.String()
}

// sorted returns the problems as an error, nil if there are none.
func sorted(file string, list []Problem) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return &Problems{File: file, List: list}
}

// didYouMean suggests the known name nearest to a word, or nothing where none is
// near.
func didYouMean(word string, known []string) string {
	if name := nearest(word, known); name != "" {
		return fmt.Sprintf(" (did you mean %q?)", name)
	}
	return ""
}

// nearest is the known name that takes the fewest changes, if no more than half of
// the longer word has to change.
func nearest(word string, known []string) string {
	best, bestChanges := "", 0
	for _, name := range known {
		longer := max(utf8.RuneCountInString(word), utf8.RuneCountInString(name))
		if longer > 64 {
			continue
		}
		changes := distance([]rune(strings.ToLower(word)), []rune(strings.ToLower(name)))
		if 2*changes <= longer && (best == "" || changes < bestChanges) {
			best, bestChanges = name, changes
		}
	}
	return best
}

// distance counts the changes that make a into b: a character put in, left out or
// replaced, or two neighbours swapped (optimal string alignment).
func distance(a, b []rune) int {
	// d[i][j] is the distance of the first i characters of a and j of b.
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range b {
		d[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d[i][j] = min(replaced, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
