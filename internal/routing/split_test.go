package routing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"chatmux/normalize"
)

// draws gives the backend of each of n threads.
func draws(t testing.TB, n int, targets ...Target) []string {
	t.Helper()
	tab := table(t, Route{Name: "split", To: targets})
	got := make([]string, n)
	for i := range got {
		d, err := tab.Decide(Facts{ThreadID: fmt.Sprintf("thr_%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		got[i] = d.Backends[0]
	}
	return got
}

// The hash decides where a person goes on after an update of chatmux, so it may
// never change: these are its answers of the first release.
func TestSplitNeverChangesBetweenReleases(t *testing.T) {
	got := draws(t, 12, Target{"docs-bot", 50}, Target{"helpdesk", 30}, Target{"parcel-desk", 20})
	want := []string{
		"docs-bot", "docs-bot", "docs-bot", "docs-bot", "docs-bot", "helpdesk",
		"helpdesk", "docs-bot", "parcel-desk", "docs-bot", "parcel-desk", "helpdesk",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// The numbers behind the draws, computed by another program.
func TestHashNeverChangesBetweenReleases(t *testing.T) {
	seed := hash(hash(offset, "split"), "docs-bot")
	for key, want := range map[string]float64{"": 3308683187594180, "thr_0": 4063171285836908, "早安": 661656858662101} {
		if got := unit(seed, key) * (1 << 53); got != want {
			t.Errorf("%q gives %.0f, want %.0f", key, got, want)
		}
	}
}

func TestSplitIsStickyByPersonAndElseByThread(t *testing.T) {
	tab := table(t, Route{Name: "split", To: []Target{{"a", 1}, {"b", 1}}})
	first := func(f Facts) string {
		d, err := tab.Decide(f)
		if err != nil {
			t.Fatal(err)
		}
		return d.Backends[0]
	}
	byThread := map[string]bool{}
	for i := range 64 {
		thread := fmt.Sprintf("thr_%d", i)
		byThread[first(Facts{ThreadID: thread})] = true
		if got, want := first(Facts{ThreadID: thread, User: normalize.User{ID: "jo"}}), first(Facts{User: normalize.User{ID: "jo"}}); got != want {
			t.Fatalf("the same person went to %s in thread %s, else to %s", got, thread, want)
		}
		if got, want := first(Facts{ThreadID: thread, User: normalize.User{Email: "x@y"}}), first(Facts{ThreadID: thread}); got != want {
			t.Fatalf("thread %s of a person without id went to %s, want %s", thread, got, want)
		}
	}
	if len(byThread) != 2 {
		t.Errorf("64 threads all went to %v", byThread)
	}
}

func TestRoutesSplitIndependently(t *testing.T) {
	one := table(t, Route{Name: "one", To: []Target{{"a", 1}, {"b", 1}}})
	two := table(t, Route{Name: "two", To: []Target{{"a", 1}, {"b", 1}}})
	same := 0
	for i := range 1000 {
		f := Facts{ThreadID: fmt.Sprint("t", i)}
		x, _ := one.Decide(f)
		y, _ := two.Decide(f)
		if x.Backends[0] == y.Backends[0] {
			same++
		}
	}
	if same < 400 || same > 600 {
		t.Errorf("two routes agree on %d of 1000 threads, want about half", same)
	}
}

func targetsOf(t *rapid.T) []Target {
	weights := rapid.SliceOfN(rapid.IntRange(0, 100), 1, 6).Draw(t, "weights")
	weights[0] = max(weights[0], 1)
	list := make([]Target, len(weights))
	for i, w := range weights {
		list[i] = Target{Backend: fmt.Sprintf("backend-%d", i), Weight: w}
	}
	return list
}

func TestSplitGivesEachItsShare(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const n = 2000
		targets := targetsOf(r)
		sum := 0
		for _, to := range targets {
			sum += to.Weight
		}
		counts := map[string]int{}
		for _, b := range draws(t, n, targets...) {
			counts[b]++
		}
		for _, to := range targets {
			p := float64(to.Weight) / float64(sum)
			// Six standard deviations: the keys are always the same, so this does not flicker.
			margin := 6 * math.Sqrt(n*p*(1-p))
			if got := float64(counts[to.Backend]); math.Abs(got-n*p) > margin {
				r.Errorf("%v: %s got %v of %d, want %v ± %v", targets, to.Backend, got, n, n*p, margin)
			}
		}
	})
}

func TestSplitDoesNotCareAboutOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		targets := targetsOf(r)
		shuffled := slices.Clone(targets)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !slices.Equal(draws(t, 200, targets...), draws(t, 200, shuffled...)) {
			r.Errorf("%v and %v draw differently", targets, shuffled)
		}
	})
}

// A weight that grows only wins threads, one that shrinks only loses some; nobody
// else's thread moves. A removed target is one whose weight fell to 0.
func TestChangedWeightMovesOnlyWhatItMust(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		before := targetsOf(r)
		changed := rapid.IntRange(0, len(before)-1).Draw(r, "changed")
		after := slices.Clone(before)
		after[changed].Weight = rapid.IntRange(0, 200).Draw(r, "new weight")
		if !slices.ContainsFunc(after, func(to Target) bool { return to.Weight > 0 }) {
			return
		}
		name := before[changed].Backend
		was, is := draws(t, 500, before...), draws(t, 500, after...)
		for i := range was {
			if was[i] == is[i] {
				continue
			}
			grew := after[changed].Weight > before[changed].Weight
			if grew && is[i] != name || !grew && was[i] != name {
				r.Errorf("%s from %d to %d moved a thread from %s to %s", name, before[changed].Weight, after[changed].Weight, was[i], is[i])
			}
		}
	})
}

func TestRemovedTargetMovesOnlyItsOwn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		before := append(targetsOf(r), Target{Backend: "leaving", Weight: rapid.IntRange(1, 100).Draw(r, "weight")})
		was, is := draws(t, 500, before...), draws(t, 500, before[:len(before)-1]...)
		for i := range was {
			if was[i] != is[i] && was[i] != "leaving" {
				r.Errorf("a thread moved from %s to %s", was[i], is[i])
			}
		}
	})
}

func TestWeightOfZeroIsNeverChosen(t *testing.T) {
	if got := draws(t, 2000, Target{"a", 1}, Target{"off", 0}); slices.Contains(got, "off") {
		t.Error("a target of weight 0 was chosen")
	}
}

func TestShadowSeesItsShareOfThreads(t *testing.T) {
	shadowed := func(sample float64) map[string]bool {
		tab := table(t, Route{Name: "default", To: to("a"), Shadow: &Shadow{"s", sample}})
		got := map[string]bool{}
		for i := range 4000 {
			id := fmt.Sprint("thr_", i)
			d, err := tab.Decide(Facts{ThreadID: id})
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := tab.Decide(Facts{ThreadID: id, User: normalize.User{ID: fmt.Sprint(i)}}); again.Shadow != d.Shadow {
				t.Fatalf("thread %s: shadow %q, then %q", id, d.Shadow, again.Shadow)
			}
			if d.Shadow != "" {
				got[id] = true
			}
		}
		return got
	}
	none, tenth, half, all := shadowed(0), shadowed(0.1), shadowed(0.5), shadowed(1)
	if len(none) != 0 || len(all) != 4000 {
		t.Errorf("a sample of 0 took %d, a sample of 1 took %d of 4000", len(none), len(all))
	}
	if len(tenth) < 300 || len(tenth) > 500 || len(half) < 1850 || len(half) > 2150 {
		t.Errorf("0.1 took %d and 0.5 took %d of 4000", len(tenth), len(half))
	}
	for id := range tenth {
		if !half[id] {
			t.Fatalf("thread %s is in the tenth but not in the half: a larger sample must only add", id)
		}
	}
}

func TestShadowWithoutThreadOnlyWhereItSeesAll(t *testing.T) {
	for _, tt := range []struct {
		sample float64
		want   string
	}{{0.99, ""}, {1, "s"}} {
		d, err := table(t, Route{Name: "default", To: to("a"), Shadow: &Shadow{"s", tt.sample}}).Decide(Facts{})
		if err != nil || d.Shadow != tt.want {
			t.Errorf("sample %v: shadow %q, error %v, want %q", tt.sample, d.Shadow, err, tt.want)
		}
	}
}
