package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"chatmux/normalize"
)

func TestAPrimerKeepsTheNewestTurnsWithinItsLimit(t *testing.T) {
	past := make([]normalize.Message, 0, 60)
	for i := range 60 {
		past = append(past, normalize.Message{Role: normalize.RoleUser, Text: strings.Repeat("ü", 200) + string(rune('A'+i%26))})
	}
	past[59].Text = "the newest"
	got, ok := primer(past, "and now?")
	if !ok || len(got) > primerBytes+len("and now?") || !utf8.ValidString(got) {
		t.Fatalf("a primer of %d bytes, %v", len(got), ok)
	}
	if !strings.HasPrefix(got, primerStart+primerCut) || !strings.HasSuffix(got, "User: the newest\n"+primerEnd+"and now?") {
		t.Errorf("the primer is %q", got)
	}
	if n := strings.Count(got, "User: "); n < 15 {
		t.Errorf("only %d turns are kept", n)
	}
}

func TestAPrimerCutsTheOnlyTurnThatItHas(t *testing.T) {
	long := normalize.Message{Role: normalize.RoleAssistant, Text: "It begins so. " + strings.Repeat("€", primerBytes)}
	got, ok := primer([]normalize.Message{{Role: normalize.RoleUser, Text: "older"}, long}, "and now?")
	if !ok || len(got) > primerBytes+len("and now?") || !utf8.ValidString(got) {
		t.Fatalf("a primer of %d bytes, %v", len(got), ok)
	}
	if !strings.Contains(got, "Assistant: It begins so. €") || strings.Contains(got, "older") {
		t.Errorf("the primer is %q", got[:200])
	}
}

func TestAPrimerLeavesALongMessageItsRoom(t *testing.T) {
	past := []normalize.Message{{Role: normalize.RoleUser, Text: strings.Repeat("a", 4000)}}
	text := strings.Repeat("b", primedBytes-1000)
	if got, ok := primer(past, text); !ok || len(got) > primedBytes {
		t.Errorf("a primer of %d bytes, %v", len(got), ok)
	}
	if got, ok := primer(past, strings.Repeat("b", primedBytes)); ok || got != "" {
		t.Errorf("a primer of %d bytes where there is no room for one", len(got))
	}
}

func TestAPrimerTellsWhoSpokeAndWhatWasSent(t *testing.T) {
	got, _ := primer([]normalize.Message{
		{Role: normalize.RoleUser, Text: "Look:", Attachments: []normalize.Attachment{{Type: normalize.TypeImage, Filename: "cat.png", URL: "https://x.example/1"}}},
		{Role: normalize.RoleAssistant, Text: "A cat."},
		{Role: normalize.RoleOperator, Text: "Indeed,\na cat."},
	}, "thanks")
	want := primerStart + "User: Look: [image cat.png]\nAssistant: A cat.\nAgent: Indeed,\na cat.\n" + primerEnd + "thanks"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
