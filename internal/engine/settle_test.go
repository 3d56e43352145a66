package engine

import (
	"testing"

	"chatmux/normalize"
)

// listedAs makes a vendor's list: "u:" says a text of the person's, "a:" one of the bot's;
// "#7" behind it is the vendor's id.
func listedAs(lines ...string) []normalize.Message {
	list := make([]normalize.Message, len(lines))
	for i, line := range lines {
		list[i] = ourMessage(line[2:])
		list[i].Role = normalize.RoleUser
		if line[0] == 'a' {
			list[i].Role = normalize.RoleAssistant
		}
	}
	return list
}

func ourMessage(text string) normalize.Message {
	m := normalize.Message{Text: text}
	if n := len(text); n > 2 && text[n-2] == '#' {
		m.Text, m.RemoteID = text[:n-2], text[n-1:]
	}
	return m
}

// oursAs makes our side of it: "!" is certain, "?" is the unknown one that is looked for,
// "~" is one of which it is not sure that the vendor has it.
func oursAs(lines ...string) (list []said, looked normalize.Message) {
	for i, line := range lines {
		m := ourMessage(line[1:])
		m.ID = string(rune('A' + i))
		list = append(list, said{Message: m, certain: line[0] == '!'})
		if line[0] == '?' {
			looked = m
		}
	}
	return list, looked
}

func TestOnlyWhatIsCertainSettlesAnUnknownMessage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listed []normalize.Message
		ours   []string
		want   verdict
		at     int
	}{
		{"it is there, with its reply", listedAs("u:hi", "a:hello", "u:pay", "a:done"), []string{"!hi", "?pay"}, found, 2},
		{"it is not there", listedAs("u:hi", "a:hello"), []string{"!hi", "?pay"}, absent, -1},
		{"nothing is there", nil, []string{"?pay"}, absent, -1},
		{"the only one of its text belongs to another", listedAs("u:pay", "a:done"), []string{"!pay", "?pay"}, absent, -1},
		{"the same text twice, it is the second", listedAs("u:pay", "a:done", "u:pay"), []string{"!pay", "?pay"}, found, 2},
		{"the same text twice, it is the first", listedAs("u:pay", "u:pay", "a:done"), []string{"?pay", "!pay"}, found, 0},
		{"the same text, it was the first and is not there", listedAs("u:pay", "a:done"), []string{"?pay", "!pay"}, absent, -1},
		{"the vendor wrote it in other words", listedAs("u:hi", "a:hello", "u:pay now"), []string{"!hi", "? pay now "}, undecided, -1},
		{"somebody else spoke there too", listedAs("u:hi", "a:hello", "u:what?"), []string{"!hi", "?pay"}, undecided, -1},
		{"another one is not certain", listedAs("u:pay"), []string{"~pay", "?pay"}, undecided, -1},
		{"a known one is not in the list", listedAs("u:pay"), []string{"!hi", "?pay"}, undecided, -1},
		{"ids say which is which", listedAs("u:pay#1", "a:done", "u:pay#2"), []string{"!pay#1", "?pay"}, found, 2},
		{"ids say that it is not there", listedAs("u:pay#1", "a:done"), []string{"!pay#1", "?pay"}, absent, -1},
		{"an id that is not in the list is not looked for by its text", listedAs("u:pay#2"), []string{"!pay#1", "?pay"}, undecided, -1},
		{"behind a primer", listedAs("u:[Context]\n" + primerEnd + "pay"), []string{"?pay"}, found, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours, looked := oursAs(tt.ours...)
			if got, at := lookUp(tt.listed, ours, looked); got != tt.want || at != tt.at {
				t.Errorf("verdict %d at %d, want %d at %d", got, at, tt.want, tt.at)
			}
		})
	}
}
