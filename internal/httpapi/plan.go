package httpapi

import (
	"bytes"
	"encoding/json"

	"chatmux/internal/engine"
)

// plan is GET /v1/plan.
func (c *call) plan() error {
	var in input
	values := in.query(c.r, "from", "to", "route", "user", "since", "until")
	request := engine.PlanRequest{
		From: in.param(values, "from", maxName), To: in.param(values, "to", maxName),
		Route: in.param(values, "route", maxName), User: in.param(values, "user", maxField),
		Since: in.moment(values, "since"), Until: in.moment(values, "until"),
	}
	for name, value := range map[string]string{"from": request.From, "to": request.To} {
		if value == "" {
			in.at(name, func() { in.wrong("is needed: the name of a backend") })
		}
	}
	if !request.Until.IsZero() && !request.Since.Before(request.Until) {
		in.at("until", func() { in.wrong("must lie after since") })
	}
	if err := in.err(); err != nil {
		return err
	}
	report, err := c.api.engine.Plan(c.r.Context(), c.origin(), request)
	if err != nil {
		return err
	}
	report.Filter.Tenant = nil // it is the caller's own, and never shown
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(report); err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte { return append(b, bytes.TrimSuffix(out.Bytes(), []byte{'\n'})...) })
}
