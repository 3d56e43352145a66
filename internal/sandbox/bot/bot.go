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
