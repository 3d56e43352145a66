package routing

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"chatmux/normalize"
)

// to is a target list of one.
func to(backend string) []Target { return []Target{{Backend: backend, Weight: 1}} }

func table(t testing.TB, routes ...Route) *Table {
	t.Helper()
	tab, err := New(routes)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// when makes a table of one route with a condition, and a default.
func when(t testing.TB, key string, patterns ...string) *Table {
	t.Helper()
	return table(t,
		Route{Name: "hit", Match: []Condition{{Key: key, Patterns: patterns}}, To: to("a")},
		Route{Name: "default", To: to("b")})
}

func routeOf(t testing.TB, tab *Table, f Facts) string {
	t.Helper()
	d, err := tab.Decide(f)
	if err != nil {
		t.Fatal(err)
	}
	return d.Route.Name
}

func headers(pairs ...string) func(string) string {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h.Get
}

func TestEveryMatchKeySeesItsValue(t *testing.T) {
	meta := func(k, v string) map[string]string { return map[string]string{k: v} }
	tests := []struct {
		name     string
		key      string
		patterns []string
		facts    Facts
		hit      bool
	}{
		{"caller", "caller", []string{"web"}, Facts{Caller: "web"}, true},
		{"another caller", "caller", []string{"web"}, Facts{Caller: "app"}, false},
		{"user id", "user.id", []string{"u-*"}, Facts{User: normalize.User{ID: "u-1"}}, true},
		{"email", "user.email", []string{"*@acme.example"}, Facts{User: normalize.User{Email: "jo@acme.example"}}, true},
		{"email in other case", "user.email", []string{"*@Acme.example"}, Facts{User: normalize.User{Email: "Jo@ACME.example"}}, true},
		{"email of another host", "user.email", []string{"*@acme.example"}, Facts{User: normalize.User{Email: "jo@acme.example.org"}}, false},
		{"name", "user.name", []string{"Jo ?"}, Facts{User: normalize.User{Name: "Jo É"}}, true},
		{"name in other case", "user.name", []string{"jo"}, Facts{User: normalize.User{Name: "Jo"}}, false},
		{"phone", "user.phone", []string{"+49*"}, Facts{User: normalize.User{Phone: "+4930123"}}, true},
		{"dialect", "dialect", []string{"sitegpt"}, Facts{Dialect: "sitegpt"}, true},
		{"bot", "bot", []string{"365062873485935184"}, Facts{Bot: "365062873485935184"}, true},
		{"metadata", "metadata.plan", []string{"gold"}, Facts{Metadata: meta("plan", "gold")}, true},
		{"metadata in other case", "metadata.plan", []string{"gold"}, Facts{Metadata: meta("plan", "Gold")}, false},
		{"metadata name with dots", "metadata.shop.region", []string{"eu"}, Facts{Metadata: meta("shop.region", "eu")}, true},
		{"metadata of the thread", "metadata.plan", []string{"gold"}, Facts{ThreadMetadata: meta("plan", "gold")}, true},
		{"message before thread", "metadata.plan", []string{"gold"}, Facts{Metadata: meta("plan", "free"), ThreadMetadata: meta("plan", "gold")}, false},
		{"other names of the message leave the thread's", "metadata.plan", []string{"gold"}, Facts{Metadata: meta("x", "y"), ThreadMetadata: meta("plan", "gold")}, true},
		{"header", "header.X-Region", []string{"eu"}, Facts{Header: headers("X-Region", "eu")}, true},
		{"header name in other case", "header.x-region", []string{"eu"}, Facts{Header: headers("X-REGION", "eu")}, true},
		{"header value in other case", "header.x-region", []string{"eu"}, Facts{Header: headers("X-Region", "EU")}, false},
		{"any of a list", "caller", []string{"web", "app"}, Facts{Caller: "app"}, true},
		{"none of a list", "caller", []string{"web", "app"}, Facts{Caller: "till"}, false},
		{"no caller", "caller", []string{"*"}, Facts{}, false},
		{"no email", "user.email", []string{"*"}, Facts{}, false},
		{"no metadata", "metadata.plan", []string{"*"}, Facts{Metadata: meta("other", "gold")}, false},
		{"empty metadata is there", "metadata.plan", []string{"*"}, Facts{Metadata: meta("plan", "")}, true},
		{"no header", "header.x-region", []string{"*"}, Facts{Header: headers()}, false},
		{"no headers at all", "header.x-region", []string{"*"}, Facts{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := routeOf(t, when(t, tt.key, tt.patterns...), tt.facts)
			if want := map[bool]string{true: "hit", false: "default"}[tt.hit]; got != want {
				t.Errorf("%s with %q took the route %s, want %s", tt.key, tt.patterns, got, want)
			}
		})
	}
}

// A header is asked for by its canonical name, so that a plain map serves too.
func TestHeaderIsAskedForByItsCanonicalName(t *testing.T) {
	var asked string
	f := Facts{Header: func(name string) string { asked = name; return "eu" }}
	if got := routeOf(t, when(t, "header.x-reGION", "eu"), f); got != "hit" || asked != "X-Region" {
		t.Errorf("asked for %q and took the route %s, want X-Region and hit", asked, got)
	}
}

func TestEveryConditionMustHold(t *testing.T) {
	tab := table(t,
		Route{Name: "vip", To: to("a"), Match: []Condition{
			{Key: "caller", Patterns: []string{"web"}},
			{Key: "metadata.plan", Patterns: []string{"gold"}},
		}},
		Route{Name: "default", To: to("b")})
	gold := map[string]string{"plan": "gold"}
	for _, tt := range []struct {
		facts Facts
		want  string
	}{
		{Facts{Caller: "web", Metadata: gold}, "vip"},
		{Facts{Caller: "web"}, "default"},
		{Facts{Metadata: gold}, "default"},
	} {
		if got := routeOf(t, tab, tt.facts); got != tt.want {
			t.Errorf("%+v took the route %s, want %s", tt.facts, got, tt.want)
		}
	}
}

// three routes that lead to different places; the second one is also a fallback's.
func three(t testing.TB) *Table {
	return table(t,
		Route{Name: "first", Match: []Condition{{Key: "caller", Patterns: []string{"web"}}}, To: to("a"), Fallback: []string{"b", "c"}},
		Route{Name: "second", Match: []Condition{{Key: "caller", Patterns: []string{"*"}}}, To: to("b"), Fallback: []string{"c"}},
		Route{Name: "default", To: to("d"), Fallback: []string{"a", "d", "a"}})
}

func TestDecideTakesTheFirstRouteThatMatchesAndMayBeUsed(t *testing.T) {
	tests := []struct {
		name     string
		facts    Facts
		route    string
		backends []string
		fails    normalize.Kind // KindInternal: it does not
		field    string
	}{
		{name: "first match", facts: Facts{Caller: "web"}, route: "first", backends: []string{"a", "b", "c"}},
		{name: "second match", facts: Facts{Caller: "app"}, route: "second", backends: []string{"b", "c"}},
		{name: "default, each backend once", facts: Facts{}, route: "default", backends: []string{"d", "a"}},
		{name: "caller passes over", facts: Facts{Caller: "web", AllowedRoutes: []string{"second", "default"}}, route: "second", backends: []string{"b", "c"}},
		{name: "caller with none left", facts: Facts{AllowedRoutes: []string{"first", "second"}}, fails: normalize.KindForbidden},
		{name: "caller with no routes", facts: Facts{Caller: "web", AllowedRoutes: []string{}}, fails: normalize.KindForbidden},
		{name: "route by name, whether or not it matches", facts: Facts{Route: "first"}, route: "first", backends: []string{"a", "b", "c"}},
		{name: "unknown route", facts: Facts{Route: "nope"}, fails: normalize.KindInvalidRequest, field: "route"},
		{name: "route not for this caller", facts: Facts{Route: "first", AllowedRoutes: []string{"second"}}, fails: normalize.KindForbidden},
		{name: "backend by name is a target", facts: Facts{Backend: "d"}, route: "default", backends: []string{"d"}},
		{name: "backend by name is a fallback", facts: Facts{Backend: "c"}, route: "first", backends: []string{"c"}},
		{name: "backend by name, first allowed route", facts: Facts{Backend: "c", AllowedRoutes: []string{"second"}}, route: "second", backends: []string{"c"}},
		{name: "backend that no route leads to", facts: Facts{Backend: "z"}, backends: []string{"z"}},
		{name: "backend that no allowed route leads to", facts: Facts{Backend: "d", AllowedRoutes: []string{"first"}}, fails: normalize.KindForbidden},
		{name: "route and backend by name", facts: Facts{Route: "second", Backend: "c"}, route: "second", backends: []string{"c"}},
		{name: "route and backend that do not go together", facts: Facts{Route: "second", Backend: "a"}, fails: normalize.KindInvalidRequest, field: "backend"},
	}
	tab := three(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tab.Decide(tt.facts)
			if tt.fails != normalize.KindInternal {
				var e *normalize.Error
				if !errors.As(err, &e) || e.Kind != tt.fails {
					t.Fatalf("error %v, want kind %v", err, tt.fails)
				}
				if tt.field != "" && (len(e.Fields) != 1 || e.Fields[0].Field != tt.field) {
					t.Errorf("fields %v, want %s", e.Fields, tt.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			route := ""
			if d.Route != nil {
				route = d.Route.Name
			}
			if route != tt.route {
				t.Errorf("route %q, want %q", route, tt.route)
			}
			if diff := cmp.Diff(tt.backends, d.Backends); diff != "" {
				t.Errorf("backends (-want +got):\n%s", diff)
			}
			if d.Reasons != nil {
				t.Errorf("Decide gave reasons: %v", d.Reasons)
			}
		})
	}
}

func TestDecisionHandsTheRouteThrough(t *testing.T) {
	want := Route{
		Name: "only", To: []Target{{"a", 3}, {"b", 0}}, Fallback: []string{"c"}, Shadow: &Shadow{"s", 0.5},
		OnUnavailable: "move", OnDisconnect: "cancel", FallbackOnUnknown: true,
	}
	tab := table(t, want)
	d, err := tab.Decide(Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *d.Route); diff != "" {
		t.Errorf("route (-want +got):\n%s", diff)
	}
	if tab.Route("only") != d.Route || tab.Route("other") != nil {
		t.Error("Route by name is not the route that Decide returns")
	}
}

func TestAppendingToBackendsLeavesTheTableAlone(t *testing.T) {
	tab := three(t)
	d, err := tab.Decide(Facts{Caller: "web"})
	if err != nil {
		t.Fatal(err)
	}
	_ = append(d.Backends[:len(d.Backends):len(d.Backends)], "x")
	_ = append(d.Backends, "y")
	again, _ := tab.Decide(Facts{Caller: "web"})
	if diff := cmp.Diff([]string{"a", "b", "c"}, again.Backends); diff != "" || cap(again.Backends) != 3 {
		t.Errorf("backends (-want +got):\n%s\ncapacity %d", diff, cap(again.Backends))
	}
}

func TestShadowIsNeverWhoAnswers(t *testing.T) {
	shadow := &Shadow{Backend: "a", Sample: 1}
	tab := table(t, Route{Name: "default", To: []Target{{"a", 1}, {"b", 1}}, Fallback: []string{"c"}, Shadow: shadow})
	seen := map[string]bool{}
	for _, id := range []string{"t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"} {
		d, err := tab.Decide(Facts{ThreadID: id})
		if err != nil {
			t.Fatal(err)
		}
		seen[d.Backends[0]+" "+d.Shadow] = true
	}
	if diff := cmp.Diff(map[string]bool{"a ": true, "b a": true}, seen); diff != "" {
		t.Errorf("first backend and shadow (-want +got):\n%s", diff)
	}
	if d, err := tab.Decide(Facts{Backend: "b", ThreadID: "t1"}); err != nil || d.Shadow != "" {
		t.Errorf("a backend asked for by name has the shadow %q, error %v", d.Shadow, err)
	}
}

func TestNewRefusesWhatCannotRoute(t *testing.T) {
	any := Route{Name: "default", To: to("a")}
	cond := func(key string, patterns ...string) []Condition { return []Condition{{Key: key, Patterns: patterns}} }
	tests := []struct {
		name   string
		routes []Route
		want   string
	}{
		{"no routes", nil, "there are no routes"},
		{"no name", []Route{{To: to("a")}}, "route number 1: has no name"},
		{"name twice", []Route{any, any}, "route default: there is another one of this name"},
		{"no default", []Route{{Name: "vip", Match: cond("caller", "web"), To: to("a")}}, "the last route is the default"},
		{"unknown key", []Route{{Name: "x", Match: cond("callers", "web"), To: to("a")}, any}, `"callers" is not a key`},
		{"user field", []Route{{Name: "x", Match: cond("user.info", "web"), To: to("a")}, any}, `"user.info" is not a key`},
		{"metadata without a name", []Route{{Name: "x", Match: cond("metadata.", "web"), To: to("a")}, any}, `"metadata." is not a key`},
		{"header without a name", []Route{{Name: "x", Match: cond("header.", "web"), To: to("a")}, any}, `"header." is not a key`},
		{"no pattern", []Route{{Name: "x", Match: cond("caller"), To: to("a")}, any}, "caller has no pattern"},
		{"no target", []Route{{Name: "x"}}, "leads nowhere"},
		{"only weights of 0", []Route{{Name: "x", To: []Target{{"a", 0}}}}, "leads nowhere"},
		{"negative weight", []Route{{Name: "x", To: []Target{{"a", 1}, {"b", -1}}}}, "the weight of b is below 0"},
		{"target twice", []Route{{Name: "x", To: []Target{{"a", 1}, {"a", 2}}}}, "backend a stands twice"},
		{"target without a name", []Route{{Name: "x", To: []Target{{"", 1}}}}, "a target names no backend"},
		{"fallback without a name", []Route{{Name: "x", To: to("a"), Fallback: []string{""}}}, "a fallback names no backend"},
		{"shadow without a name", []Route{{Name: "x", To: to("a"), Shadow: &Shadow{"", 0.1}}}, "its shadow names no backend"},
		{"sample over 1", []Route{{Name: "x", To: to("a"), Shadow: &Shadow{"s", 1.1}}}, "the sample of its shadow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.routes); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestNewReportsEverythingAtOnce(t *testing.T) {
	_, err := New([]Route{
		{Name: "x", Match: []Condition{{Key: "colour", Patterns: []string{"red"}}}},
		{Name: "y", To: []Target{{"a", -1}}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`route x: match: "colour" is not a key`, "route x: leads nowhere", "route y: the weight of a", "route y: leads nowhere"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestExplainSaysWhy(t *testing.T) {
	tab := table(t,
		Route{Name: "vip", To: to("a"), Match: []Condition{
			{Key: "user.email", Patterns: []string{"*@acme.example", "*@example.org"}},
			{Key: "header.x-region", Patterns: []string{"eu"}},
		}},
		Route{Name: "till", Match: []Condition{{Key: "metadata.shop", Patterns: []string{"eu-*"}}}, To: to("b")},
		Route{Name: "default", To: []Target{{"a", 90}, {"b", 0}, {"c", 10}}, Fallback: []string{"d"}},
	)
	tests := []struct {
		name  string
		facts Facts
		want  []Reason
	}{
		{"absent and not matching", Facts{ThreadID: "t", Metadata: map[string]string{"shop": "us-1"}}, []Reason{
			{"vip", false, "user.email is absent"},
			{"till", false, `metadata.shop is "us-1", which does not match "eu-*"`},
			{"default", true, "takes every message; of a 90, c 10, the thread drew a"},
		}},
		{"header values are not repeated", Facts{
			User: normalize.User{Email: "jo@acme.example"}, Header: headers("X-Region", "s3cret"),
			Metadata: map[string]string{"shop": "eu-1"},
		}, []Reason{
			{"vip", false, `header.x-region does not match "eu"`},
			{"till", true, "every condition holds"},
		}},
		{"several patterns", Facts{User: normalize.User{Email: "jo@example.com"}, Metadata: map[string]string{"shop": "eu-1"}}, []Reason{
			{"vip", false, `user.email is "jo@example.com", which does not match "*@acme.example" or "*@example.org"`},
			{"till", true, "every condition holds"},
		}},
		{"caller's routes", Facts{AllowedRoutes: []string{"till"}}, []Reason{
			{"vip", false, "this caller may not use it"},
			{"till", false, "metadata.shop is absent"},
			{"default", false, "this caller may not use it"},
		}},
		{"route by name", Facts{Route: "till"}, []Reason{{"till", true, "asked for by name"}}},
		{"backend by name", Facts{Backend: "d", AllowedRoutes: []string{"till", "default"}}, []Reason{
			{"vip", false, "this caller may not use it"},
			{"till", false, "does not lead to the backend asked for"},
			{"default", true, "leads to the backend asked for"},
		}},
		{"unknown route", Facts{Route: "nope"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tab.Explain(tt.facts)
			if diff := cmp.Diff(tt.want, d.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			plain, plainErr := tab.Decide(tt.facts)
			if diff := cmp.Diff(plain, d, cmpopts.IgnoreFields(Decision{}, "Reasons")); diff != "" {
				t.Errorf("Explain decides otherwise than Decide (-Decide +Explain):\n%s", diff)
			}
			if (err == nil) != (plainErr == nil) {
				t.Errorf("Explain fails with %v, Decide with %v", err, plainErr)
			}
		})
	}
}

func TestExplainShowsLongValuesShortened(t *testing.T) {
	d, err := when(t, "metadata.note", "x").Explain(Facts{Metadata: map[string]string{"note": strings.Repeat("é", 500) + "\x00<b>"}})
	if err != nil {
		t.Fatal(err)
	}
	if why := d.Reasons[0].Why; len(why) > 300 || strings.ContainsAny(why, "\x00<") {
		t.Errorf("reason of %d bytes: %s", len(why), why)
	}
}

func BenchmarkDecide(b *testing.B) {
	routes := make([]Route, 0, 50)
	for i := range 49 {
		n := string(rune('a'+i%26)) + string(rune('a'+i/26))
		routes = append(routes, Route{Name: n, To: to(n), Match: []Condition{
			{Key: "metadata.shop", Patterns: []string{n + "-*"}},
			{Key: "user.email", Patterns: []string{"*@" + n + ".example"}},
		}})
	}
	routes = append(routes, Route{Name: "default", To: []Target{{"x", 90}, {"y", 10}}, Fallback: []string{"z"}, Shadow: &Shadow{"s", 0.1}})
	tab := table(b, routes...)
	f := Facts{
		Caller: "web", User: normalize.User{ID: "u-1", Email: "jo@acme.example"}, ThreadID: "thr_01jnq0000000000000000000000",
		Metadata: map[string]string{"shop": "zz-1"}, Dialect: "native",
	}
	b.Run("default of 50", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tab.Decide(f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("explain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tab.Explain(f); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	tab := table(t,
		Route{Name: "x", Match: []Condition{{Key: "user.email", Patterns: []string{"*@b.example"}}}, To: to("b")},
		Route{Name: "default", To: []Target{{"a", 90}, {"b", 10}}, Fallback: []string{"c"}, Shadow: &Shadow{"s", 0.5}})
	f := Facts{User: normalize.User{ID: "u", Email: "u@a.example"}, ThreadID: "t"}
	if n := testing.AllocsPerRun(100, func() { _, _ = tab.Decide(f) }); n != 0 {
		t.Errorf("Decide allocates %v times", n)
	}
}
