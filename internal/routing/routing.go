// Package routing decides which route a message takes and which backends come
// into question, in order, and says why. It is pure: the same table and the same
// facts give the same decision in every process, today and after a restart.
package routing

import (
	"fmt"
	"slices"
	"strings"

	"chatmux/normalize"
)

// Condition is one line of a route's match: any of the patterns must match the
// value that the key names.
//
// The keys are caller, dialect, bot, user.id, user.email, user.name, user.phone,
// metadata.NAME and header.NAME. A metadata name is looked up in the message's
// metadata and, only where the message has no such name, in the thread's.
//
// A pattern covers the whole value: * stands for any run of characters, also
// none, and ? for exactly one; nothing escapes them. Case counts, except in email
// addresses and in the names of headers. A value that is absent matches no
// pattern, not even *; an empty one is absent too, except in metadata.
type Condition struct {
	Key      string
	Patterns []string
}

// Target is one backend of a split. Its share is its weight over the sum of all
// weights; a weight of 0 is never chosen.
type Target struct {
	Backend string
	Weight  int
}

// Shadow is a backend that gets a copy of some threads' messages: those of the
// share Sample, 0 to 1.
type Shadow struct {
	Backend string
	Sample  float64
}

// Route says where messages go for which every condition holds. A route without
// conditions takes every message.
type Route struct {
	Name     string
	Match    []Condition
	To       []Target
	Fallback []string // tried in this order after the chosen target
	Shadow   *Shadow  // nil: none

	// What delivery does on this route; handed through, not looked at here.
	OnUnavailable     string // fail or move; empty: by the kind of backend
	OnDisconnect      string // finish or cancel; empty: finish
	FallbackOnUnknown bool
}

// Facts are what a decision is made from.
type Facts struct {
	Caller         string
	AllowedRoutes  []string // the only routes that the caller may use; nil: all
	User           normalize.User
	Metadata       map[string]string // the message's
	ThreadMetadata map[string]string
	Header         func(name string) string // asked by canonical names, as X-Region; nil where there are none
	Dialect        string
	Bot            string // the bot id that a dialect's client asked for
	ThreadID       string
	Route          string // asked for by name; empty: the first that matches
	Backend        string // asked for by name; empty: the route decides
}

// Decision is where a message goes. What it points to belongs to the table and
// must not be changed.
type Decision struct {
	Route    *Route   // nil only where a backend was asked for by name and no route leads to it
	Backends []string // the first to be asked, then its fallbacks, each once; never empty
	Shadow   string   // who gets a copy; empty for nobody, and never the first of Backends
	Reasons  []Reason // only from Explain: the routes that were looked at, in order
}

// Reason says of one route why it was taken or passed over.
type Reason struct {
	Route   string
	Matched bool
	Why     string
}

// Table is a set of routes, ready to decide. It is safe for concurrent use.
type Table struct {
	routes []route
}

// route is a Route with its patterns compiled and its lists of backends laid out.
type route struct {
	Route
	conditions []condition
	targets    []target
	shadowSeed uint64
}

// target is a Target that can be drawn.
type target struct {
	weight   float64
	seed     uint64
	backends []string // this one, then the route's fallbacks
}

// New makes a table. The last route must have no conditions: it is the default,
// so that every message has a route. The error names everything that is wrong.
func New(routes []Route) (*Table, error) {
	t := &Table{routes: make([]route, 0, len(routes))}
	var wrong []string
	seen := make(map[string]bool)
	for i, r := range routes {
		name := r.Name
		if name == "" {
			name = fmt.Sprintf("number %d", i+1)
		}
		report := func(format string, args ...any) {
			wrong = append(wrong, "route "+name+": "+fmt.Sprintf(format, args...))
		}
		switch {
		case r.Name == "":
			report("has no name")
		case seen[r.Name]:
			report("there is another one of this name")
		}
		seen[r.Name] = true
		t.routes = append(t.routes, compile(r, report))
	}
	switch n := len(routes); {
	case n == 0:
		wrong = append(wrong, "there are no routes")
	case len(routes[n-1].Match) > 0:
		wrong = append(wrong, "route "+routes[n-1].Name+": the last route is the default and takes no match")
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("routes: %s", strings.Join(wrong, "; "))
	}
	return t, nil
}

func compile(r Route, report func(format string, args ...any)) route {
	c := route{Route: r, shadowSeed: hash(hash(offset, r.Name), "shadow")}
	for _, cond := range r.Match {
		compiled, err := compileCondition(cond)
		if err != nil {
			report("%v", err)
			continue
		}
		c.conditions = append(c.conditions, compiled)
	}
	seen := make(map[string]bool)
	for _, to := range r.To {
		switch {
		case to.Backend == "":
			report("a target names no backend")
		case seen[to.Backend]:
			report("backend %s stands twice in its split", to.Backend)
		case to.Weight < 0:
			report("the weight of %s is below 0", to.Backend)
		}
		seen[to.Backend] = true
		if to.Weight > 0 {
			c.targets = append(c.targets, target{
				weight:   float64(to.Weight),
				seed:     hash(hash(offset, r.Name), to.Backend),
				backends: chain(to.Backend, r.Fallback),
			})
		}
	}
	if len(c.targets) == 0 {
		report("leads nowhere: give one target a weight above 0")
	}
	if slices.Contains(r.Fallback, "") {
		report("a fallback names no backend")
	}
	if s := r.Shadow; s != nil {
		switch {
		case s.Backend == "":
			report("its shadow names no backend")
		case !(s.Sample >= 0 && s.Sample <= 1):
			report("the sample of its shadow is not between 0 and 1")
		}
	}
	return c
}

// chain lists the first backend and then the fallbacks, each once. It has no
// spare capacity: appending to it copies.
func chain(first string, fallback []string) []string {
	list := []string{first}
	for _, b := range fallback {
		if !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	return slices.Clip(list)
}

// All returns the routes, in order. They belong to the table and must not be changed.
func (t *Table) All() []*Route {
	list := make([]*Route, len(t.routes))
	for i := range t.routes {
		list[i] = &t.routes[i].Route
	}
	return list
}

// Route returns the route of a name, nil where there is none: for a thread that
// was routed before.
func (t *Table) Route(name string) *Route {
	for i := range t.routes {
		if t.routes[i].Name == name {
			return &t.routes[i].Route
		}
	}
	return nil
}

// Decide finds the route and its backends: the route asked for by name, whether or
// not its conditions hold, else the first one whose conditions all hold, leaving
// out those that the caller may not use.
//
// A backend asked for by name is the only one in the list, without fallbacks and
// shadow; its route is the first one that leads to it, as target or as fallback,
// and that the caller may use.
//
// The error is a *normalize.Error: KindForbidden where the caller's routes leave
// none, KindInvalidRequest with the field route for a name that is no route, and
// with the field backend where the route asked for does not lead to the backend
// asked for.
func (t *Table) Decide(f Facts) (Decision, error) {
	d, _, err := t.decide(&f)
	return d, err
}

func (t *Table) decide(f *Facts) (Decision, *route, error) {
	switch {
	case f.Route != "":
		return t.byName(f)
	case f.Backend != "":
		return t.byBackend(f)
	}
	for i := range t.routes {
		r := &t.routes[i]
		if f.allowed(r.Name) && r.firstUnmet(f) == nil {
			return r.decision(f), r, nil
		}
	}
	return Decision{}, nil, normalize.Errorf(normalize.KindForbidden, "no route that this caller may use takes this message")
}

func (t *Table) byName(f *Facts) (Decision, *route, error) {
	i := slices.IndexFunc(t.routes, func(r route) bool { return r.Name == f.Route })
	if i < 0 {
		return Decision{}, nil, normalize.InvalidField("route", "there is no route of this name")
	}
	r := &t.routes[i]
	switch {
	case !f.allowed(r.Name):
		return Decision{}, nil, normalize.Errorf(normalize.KindForbidden, "this caller may not use the route %s", r.Name)
	case f.Backend == "":
		return r.decision(f), r, nil
	case !r.leadsTo(f.Backend):
		return Decision{}, nil, normalize.InvalidField("backend", "the route %s does not lead to this backend", r.Name)
	}
	return Decision{Route: &r.Route, Backends: []string{f.Backend}}, r, nil
}

func (t *Table) byBackend(f *Facts) (Decision, *route, error) {
	for i := range t.routes {
		if r := &t.routes[i]; f.allowed(r.Name) && r.leadsTo(f.Backend) {
			return Decision{Route: &r.Route, Backends: []string{f.Backend}}, r, nil
		}
	}
	if f.AllowedRoutes != nil {
		return Decision{}, nil, normalize.Errorf(normalize.KindForbidden, "no route that this caller may use leads to the backend asked for")
	}
	return Decision{Backends: []string{f.Backend}}, nil, nil
}

func (f *Facts) allowed(name string) bool {
	return f.AllowedRoutes == nil || slices.Contains(f.AllowedRoutes, name)
}

func (r *route) leadsTo(backend string) bool {
	return slices.ContainsFunc(r.To, func(t Target) bool { return t.Backend == backend }) || slices.Contains(r.Fallback, backend)
}

// firstUnmet returns the first condition that does not hold, nil if all do.
func (r *route) firstUnmet(f *Facts) *condition {
	for i := range r.conditions {
		if c := &r.conditions[i]; !c.holds(f) {
			return c
		}
	}
	return nil
}

func (r *route) decision(f *Facts) Decision {
	d := Decision{Route: &r.Route, Backends: r.draw(f.splitKey()).backends}
	if s := r.Shadow; s != nil && s.Backend != d.Backends[0] && r.sampled(f.ThreadID) {
		d.Shadow = s.Backend
	}
	return d
}
