// Package bot is the mind of every simulated vendor: a bot that shows that it
// remembers. It knows nothing of any vendor's format.
package bot

import "fmt"

// firstLength is how much of the first thing said is quoted back, in characters.
const firstLength = 120

// Answer gives what the bot says in a conversation: text word for word, which
// turn of the conversation this is (counted from 1), and the first thing that the
// person said in it.
func Answer(turn int, first, text string) string {
	if runes := []rune(first); len(runes) > firstLength {
		first = string(runes[:firstLength]) + "…"
	}
	return fmt.Sprintf("You said: %s\n(turn %d; the first thing you said was: %s)", text, turn, first)
}

// maxPieces is into how many pieces an answer is cut at most.
const maxPieces = 8

// Pieces cuts a text as a bot that streams it: into at most eight pieces, none of
// them empty and none cut within a character; joined they are the text.
func Pieces(text string) []string {
	runes := []rune(text)
	size := max(1, (len(runes)+maxPieces-1)/maxPieces)
	var list []string
	for from := 0; from < len(runes); from += size {
		list = append(list, string(runes[from:min(from+size, len(runes))]))
	}
	return list
}
