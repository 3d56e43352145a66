//go:build linux && soak

package catalogue

import "testing"

// soaking reports whether this is the long run.
const soaking = true

// TestSoakFaults runs the rows that take longer than a check may.
func TestSoakFaults(t *testing.T) { runRows(t, soak) }

// TestSoakKillLoop is the long form of P01: CHATMUX_KILL_ROUNDS rounds, or 300.
func TestSoakKillLoop(t *testing.T) {
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			killLoop(t, newScene(t, kind), killRounds(300))
		})
	}
}
