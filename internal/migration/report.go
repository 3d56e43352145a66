package migration

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"text/tabwriter"
)

// PrintTable writes the report as a table for a terminal. Features that no thread has
// are named in one line.
func (r *Report) PrintTable(out io.Writer) error {
	fmt.Fprintf(out, "%d threads with %d messages would move from %s (%s) to %s (%s).\n\n",
		r.Threads, r.Messages, r.From.Name, r.From.Adapter, r.To.Name, r.To.Adapter)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FEATURE\tVERDICT\tTHREADS\tMESSAGES\tWHAT BECOMES OF IT")
	var unused []string
	for _, row := range r.Features {
		if row.Threads == 0 {
			unused = append(unused, row.Feature)
			continue
		}
		messages := "-"
		if row.Messages > 0 {
			messages = fmt.Sprint(row.Messages)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", row.Feature, row.Verdict, row.Threads, messages, row.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, row := range r.Features {
		if row.Verdict == Lost && row.Threads > 0 {
			fmt.Fprintf(out, "\n%s, for example: %s", row.Feature, strings.Join(row.Examples, " "))
		}
	}
	if len(unused) > 0 {
		fmt.Fprintf(out, "\nNo thread has: %s.", strings.Join(unused, "; "))
	}
	_, err := fmt.Fprintln(out)
	return err
}

//go:embed report.html
var page string

// PrintHTML writes the report as one page that needs nothing else.
func (r *Report) PrintHTML(out io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"join": func(list []string) string { return strings.Join(list, ", ") },
		"time": func(t Stamp) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"count": func(v Verdict) (n int) {
			for _, row := range r.Features {
				if row.Verdict == v && row.Threads > 0 {
					n++
				}
			}
			return n
		},
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(out, r)
}
