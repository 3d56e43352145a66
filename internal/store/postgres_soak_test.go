//go:build soak

package store

import "testing"

func TestSoakM01SameKeyOnTwoReplicasRunsOnce(t *testing.T) { sameKeyRunsOnce(t, 10000) }
