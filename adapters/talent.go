package adapters

// Composed is implemented by an adapter whose talents follow from its settings: it
// has the talents of these values beside those of its own type. Each value has the
// methods of its talent and no other, so that nothing has to say "unsupported".
type Composed interface {
	Talents() []any
}

// As gives a talent of an adapter, and false where it has not got it. It is the one
// way to ask: a type assertion would miss the talents of a Composed adapter.
func As[Talent any](a Adapter) (Talent, bool) {
	if talent, ok := a.(Talent); ok {
		return talent, true
	}
	if composed, ok := a.(Composed); ok {
		for _, part := range composed.Talents() {
			if talent, ok := part.(Talent); ok {
				return talent, true
			}
		}
	}
	var none Talent
	return none, false
}

// Has reports whether an adapter has a talent.
func Has[Talent any](a Adapter) bool {
	_, ok := As[Talent](a)
	return ok
}
