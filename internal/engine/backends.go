package engine

import (
	"slices"

	"chatmux/internal/backend"
	"chatmux/internal/routing"
	"chatmux/normalize"
)

// Backends tells how all backends stand, in the order of the config.
func (e *Engine) Backends() []BackendState {
	backends := e.current.Load().Backends
	states := make([]BackendState, len(backends))
	for i, b := range backends {
		states[i] = stateOf(b)
	}
	return states
}

// Backend tells how one backend stands.
func (e *Engine) Backend(name string) (BackendState, error) {
	b := e.current.Load().byName[name]
	if b == nil {
		return BackendState{}, &normalize.Error{Kind: normalize.KindNotFound}
	}
	return stateOf(b), nil
}

func stateOf(b *backend.Backend) BackendState {
	s := b.State()
	return BackendState{
		Name: b.Name(), Adapter: b.Vendor(), Stateful: b.Stateful(), Capabilities: b.Capabilities(),
		Breaker: BreakerState(s.Breaker), CoolDownUntil: s.CoolDownUntil, InFlight: s.InFlight, MaxInFlight: s.MaxInFlight,
	}
}

// Explain says which route and which backends would serve a message, and why. It
// calls nobody and stores nothing.
func (e *Engine) Explain(o Origin, req SendRequest) (Explanation, error) {
	made := NewThread{}
	if req.New != nil {
		made = *req.New
	}
	f := facts(o, made.User, req.Metadata, made.Metadata, req.ThreadID)
	f.Route, f.Backend = made.Route, made.Backend
	u := e.current.Load()
	if err := u.known(made.Backend); err != nil {
		return Explanation{}, err
	}
	d, err := u.Routes.Explain(f)
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{Backends: d.Backends, Shadow: d.Shadow}
	if d.Route != nil {
		x.Route = d.Route.Name
	}
	for _, r := range d.Reasons {
		if allowed := o.Caller.Routes; allowed == nil || slices.Contains(allowed, r.Route) { // the others are none of this caller's business
			x.Reasons = append(x.Reasons, RouteReason(r))
		}
	}
	return x, nil
}

// known refuses a name that is no backend's; empty is fine.
func (u *setup) known(backendName string) error {
	if backendName != "" && u.byName[backendName] == nil {
		return normalize.InvalidField("backend", "there is no backend of this name")
	}
	return nil
}

// routeName is the name of a decision's route; empty where there is none.
func routeName(r *routing.Route) string {
	if r == nil {
		return ""
	}
	return r.Name
}

// Choices lists what a caller may name: routes, and backends that these lead to, in
// the order of the config.
func (e *Engine) Choices(o Origin) (routes, backends []string) {
	u := e.current.Load()
	reached := make(map[string]bool)
	for _, r := range u.Routes.All() {
		if o.Caller.Routes != nil && !slices.Contains(o.Caller.Routes, r.Name) {
			continue
		}
		routes = append(routes, r.Name)
		for _, to := range r.To {
			reached[to.Backend] = true
		}
		for _, name := range r.Fallback {
			reached[name] = true
		}
	}
	for _, b := range u.Backends {
		if o.Caller.Routes == nil || reached[b.Name()] {
			backends = append(backends, b.Name())
		}
	}
	return routes, backends
}
