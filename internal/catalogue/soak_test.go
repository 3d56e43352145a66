//go:build linux && soak

package catalogue

import "testing"

// soaking reports whether this is the long run.
const soaking = true

// TestSoakFaults runs the rows that take longer than a check may.
func TestSoakFaults(t *testing.T) { runRows(t, soak) }
