//go:build linux && soak

package catalogue

import (
	"strings"
	"sync/atomic"
	"testing"
)

// TestSoakClientsThatLeave lets 10,000 clients leave in mid-answer, half of them on a
// route that finishes and half on one that cancels. Nothing of them is left: no place,
// no connection, no goroutine, and every message has its end.
func TestSoakClientsThatLeave(t *testing.T) {
	const clients, each = 50, 200
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			s := newScene(t, kind)
			c := s.usual()
			c.limits += ", stream: {write: 2s}"
			h := s.serve(c)
			s.a.plays("always drip 200 5ms")
			var left atomic.Int64
			together(clients, func(i int) {
				for n := range each {
					route := []string{"solo", "leaving"}[(i+n)%2]
					told := h.tell(route, strings.Repeat("a long story ", 20))
					for {
						e, ok := told.next()
						if !ok {
							t.Errorf("a stream of %s ended before anything was said", route)
							return
						}
						if e.name == "delta" {
							break
						}
					}
					told.leave()
					left.Add(1)
				}
			})
			eventually(t, "no place is taken", func() bool { return h.backend("a").InFlight == 0 })
			eventually(t, "nothing is pending", func() bool {
				return s.count("SELECT COUNT(*) FROM messages WHERE status = 'pending'") == 0 && s.count("SELECT COUNT(*) FROM sends") == 0
			})
			t.Logf("%d clients left; replies: %v", left.Load(),
				s.query("SELECT status, COUNT(*) FROM messages WHERE role = 'assistant' GROUP BY status ORDER BY status"))
		})
	}
}
