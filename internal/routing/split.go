package routing

import "math"

// A split draws by weighted rendezvous hashing: every target gets a number from
// the hash of route, backend and key, stretched by its weight, and the largest
// wins. So the order of the targets does not matter, and a changed weight, a new
// target or a removed one moves only the keys that it must. The hash is written
// out here because it may never change: it decides where a person's next thread
// goes, in every replica and after every restart.

// splitKey is what a split is sticky by: the person, or the thread where the
// person is not known.
func (f *Facts) splitKey() string {
	if f.User.ID != "" {
		return f.User.ID
	}
	return f.ThreadID
}

// draw chooses the target for a key.
func (r *route) draw(key string) *target {
	best := &r.targets[0]
	if len(r.targets) == 1 {
		return best
	}
	bestScore := math.Inf(-1)
	for i := range r.targets {
		t := &r.targets[i]
		// The logarithm of a uniform number over the weight: the largest of several
		// such scores belongs to each target as often as its weight says.
		if score := math.Log(unit(t.seed, key)) / t.weight; score > bestScore {
			best, bestScore = t, score
		}
	}
	return best
}

// sampled reports whether the shadow gets a copy of this thread. Without a thread
// that is certain only where it gets all.
func (r *route) sampled(threadID string) bool {
	return r.Shadow.Sample >= 1 || threadID != "" && unit(r.shadowSeed, threadID) <= r.Shadow.Sample
}

// unit gives a number above 0 and at most 1, uniform over the keys.
func unit(seed uint64, key string) float64 {
	x := hash(seed, key)
	// FNV leaves the high bits of short keys too much alike: splitmix64's finish.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11+1) / (1 << 53)
}

// offset is where a hash begins.
const offset = 14695981039346656037

// hash continues an FNV-1a hash with a text and a mark of its end.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return (h ^ 0xff) * 1099511628211
}
