package routing

import (
	"fmt"
	"strings"

	"chatmux/normalize"
)

// excerpt is how much of a value a reason shows, in characters.
const excerpt = 60

// Explain decides as Decide does and says why: a reason for every route that was
// looked at, the last one being the route that was taken. The reasons are there
// with an error too. They repeat no value of a header.
func (t *Table) Explain(f Facts) (Decision, error) {
	d, taken, err := t.decide(&f)
	for i := range t.routes {
		r := &t.routes[i]
		if f.Route != "" && r.Name != f.Route {
			continue
		}
		d.Reasons = append(d.Reasons, Reason{Route: r.Name, Matched: r == taken, Why: r.why(&f, r == taken)})
		if r == taken {
			break
		}
	}
	return d, err
}

func (r *route) why(f *Facts, taken bool) string {
	switch {
	case !f.allowed(r.Name):
		return "this caller may not use it"
	case f.Backend != "" && !r.leadsTo(f.Backend):
		return "does not lead to the backend asked for"
	case !taken:
		return r.firstUnmet(f).whyNot(f)
	}
	why := "every condition holds"
	switch {
	case f.Backend != "":
		return "leads to the backend asked for"
	case f.Route != "":
		why = "asked for by name"
	case len(r.conditions) == 0:
		why = "takes every message"
	}
	if len(r.targets) > 1 {
		why += "; " + r.whyDrawn(f)
	}
	return why
}

func (r *route) whyDrawn(f *Facts) string {
	by := "the user's id"
	if f.User.ID == "" {
		by = "the thread"
	}
	shares := make([]string, len(r.targets))
	for i, t := range r.targets {
		shares[i] = fmt.Sprintf("%s %g", t.backends[0], t.weight)
	}
	return fmt.Sprintf("of %s, %s drew %s", strings.Join(shares, ", "), by, r.draw(f.splitKey()).backends[0])
}

func (c *condition) whyNot(f *Facts) string {
	value, ok := c.value(f)
	if !ok {
		return c.Key + " is absent"
	}
	quoted := make([]string, len(c.Patterns))
	for i, p := range c.Patterns {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	if c.source == fromHeader {
		return fmt.Sprintf("%s does not match %s", c.Key, strings.Join(quoted, " or "))
	}
	return fmt.Sprintf("%s is %q, which does not match %s", c.Key, normalize.Excerpt(value, excerpt), strings.Join(quoted, " or "))
}
