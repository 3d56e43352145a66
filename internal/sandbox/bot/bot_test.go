package bot_test

import (
	"strings"
	"testing"

	"chatmux/internal/sandbox/bot"
)

func TestPiecesAreTheTextInAtMostEightWholeParts(t *testing.T) {
	for length := range 40 {
		text := strings.Repeat("🙂", length)
		list := bot.Pieces(text)
		if strings.Join(list, "") != text || len(list) > 8 || length >= 8 && len(list) < 4 {
			t.Errorf("%d characters became %d pieces: %q", length, len(list), list)
		}
		for _, piece := range list {
			if piece == "" || strings.Trim(piece, "🙂") != "" {
				t.Errorf("%d characters became %q", length, list)
			}
		}
	}
}
