package migration

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Import is what became of a vendor's history.
type Import struct {
	Object  string `json:"object"` // "import"
	Backend string `json:"backend"`
	Tenant  string `json:"tenant"`
	DryRun  bool   `json:"dry_run"`
	Resumed bool   `json:"resumed"` // an earlier run was cut off, and this one went on with it

	Conversations int `json:"conversations"` // that the vendor listed
	Created       int `json:"created"`       // threads that are new here
	Completed     int `json:"completed"`     // threads that were here, and lacked something
	Unchanged     int `json:"unchanged"`
	Messages      int `json:"messages"` // that are new here

	Skipped []Tally `json:"skipped"`  // conversations, by the reason
	NotKept []Tally `json:"not_kept"` // what could not be kept, by the feature
}

// Tally counts one thing and names some conversations, by the vendor's ids.
type Tally struct {
	What     string   `json:"what"`
	Count    int      `json:"count"`
	Note     string   `json:"note,omitempty"`
	Examples []string `json:"examples"`
}

// Skip counts a conversation that was not imported.
func (i *Import) Skip(reason, remoteID string) { i.Skipped = tally(i.Skipped, reason, "", remoteID, 1) }

// Lose counts what could not be kept of a conversation.
func (i *Import) Lose(feature, note, remoteID string, n int) {
	if n > 0 {
		i.NotKept = tally(i.NotKept, feature, note, remoteID, n)
	}
}

func tally(list []Tally, what, note, example string, n int) []Tally {
	at := slices.IndexFunc(list, func(t Tally) bool { return t.What == what })
	if at < 0 {
		at = len(list)
		list = append(list, Tally{What: what, Note: note, Examples: []string{}})
	}
	t := &list[at]
	if t.Count += n; len(t.Examples) < maxExamples && !slices.Contains(t.Examples, example) {
		t.Examples = append(t.Examples, example)
	}
	return list
}

// PrintTable writes what became of all for a terminal.
func (i *Import) PrintTable(out io.Writer) error {
	begin, created, completed, messages := "", "new threads", "threads that lacked something", "new messages"
	switch {
	case i.DryRun:
		begin = "Nothing was stored. It would be:\n"
	case i.Resumed:
		begin = "This went on where an earlier import was cut off. Both together:\n"
	}
	fmt.Fprintf(out, "%s%d conversations of %s:\n", begin, i.Conversations, i.Backend)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range []struct {
		n    int
		what string
	}{{i.Created, created}, {i.Completed, completed}, {i.Unchanged, "threads that had all of it"}, {i.Messages, messages}} {
		fmt.Fprintf(w, "  %d\t  %s\n", row.n, row.what)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		list  []Tally
	}{{"Skipped", i.Skipped}, {"Not kept", i.NotKept}} {
		if len(part.list) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s:\n", part.title)
		for _, t := range part.list {
			note := ""
			if t.Note != "" {
				note = ": " + t.Note
			}
			fmt.Fprintf(out, "  %d %s%s (for example %s)\n", t.Count, t.What, note, t.Examples[0])
		}
	}
	return nil
}
