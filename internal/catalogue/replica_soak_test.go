//go:build linux && soak

package catalogue

import (
	"fmt"
	"testing"
)

// TestSoakReplicas runs the rows about PostgreSQL again, and longer.
func TestSoakReplicas(t *testing.T) {
	for _, group := range groups {
		for _, r := range group.rows {
			if r.tier == check && len(r.stores) == 1 && r.stores[0] == postgresOnly[0] {
				t.Run(r.id+"_"+r.promise, func(t *testing.T) {
					t.Parallel()
					runRow(t, r, storeKind{"postgres", newPostgres})
				})
			}
		}
	}
}

// TestSoakKillFleet is the kill loop on PostgreSQL with one program and with two,
// CHATMUX_KILL_ROUNDS rounds each, or 300. Several loops share the rounds, each with a
// database of its own: they mostly wait for leases to end.
func TestSoakKillFleet(t *testing.T) {
	const loops = 3
	for replicas := 1; replicas <= 2; replicas++ {
		for n := range loops {
			t.Run(fmt.Sprintf("%d_replicas_%d", replicas, n), func(t *testing.T) {
				t.Parallel()
				fleetKilled(t, newScene(t, storeKind{"postgres", newPostgres}), replicas, killRounds(300)/loops)
			})
		}
	}
}
