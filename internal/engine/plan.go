package engine

import (
	"context"
	"time"

	"chatmux/internal/backend"
	"chatmux/internal/migration"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// How much a plan reads at once.
const (
	planThreads  = 200
	planMessages = 2000
)

// PlanRequest says which threads would leave which backend for which. Empty fields
// select all.
type PlanRequest struct {
	From, To     string
	AllTenants   bool // else the caller's
	Route, User  string
	Since, Until time.Time // something happened last at Since or later, and before Until
}

// Plan says what is kept, changed and lost if threads leave one backend for another,
// counted on those that there are. It calls no vendor and changes nothing; its memory
// does not grow with the threads.
func (e *Engine) Plan(ctx context.Context, o Origin, p PlanRequest) (migration.Report, error) {
	u := e.use()
	defer u.release()
	for field, name := range map[string]string{"from": p.From, "to": p.To} {
		if u.byName[name] == nil {
			return migration.Report{}, normalize.InvalidField(field, "there is no backend of this name")
		}
	}
	filter := migration.Filter{
		Tenant: given(o.Caller.Tenant), Route: given(p.Route), User: given(p.User), Since: migration.Stamp{Time: p.Since}, Until: migration.Stamp{Time: p.Until},
	}
	tenants := []string{o.Caller.Tenant}
	if p.AllTenants {
		var err error
		if tenants, err = e.Tenants(ctx); err != nil {
			return migration.Report{}, err
		}
		filter.Tenant = nil
	}
	survey := migration.NewSurvey(side(u.byName[p.From]), side(u.byName[p.To]))
	for _, tenant := range tenants {
		if err := e.survey(ctx, survey, tenant, p); err != nil {
			return migration.Report{}, e.storeError(err)
		}
	}
	return survey.Report(filter, now()), nil
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// side is what a plan needs to know of a backend.
func side(b *backend.Backend) migration.Side {
	limits := b.HistoryLimits()
	if b.Stateful() {
		limits.Messages, limits.Bytes = primerMessages, primerBytes
	}
	return migration.Side{
		Name: b.Name(), Adapter: b.Vendor(), Stateful: b.Stateful(), Capabilities: b.Capabilities(), Tells: b.Tells(),
		PastMessages: limits.Messages, PastBytes: limits.Bytes,
	}
}

// survey shows the threads of one tenant, in the order of their ids, which nothing that
// happens meanwhile changes.
func (e *Engine) survey(ctx context.Context, s *migration.Survey, tenant string, p PlanRequest) error {
	filter := store.ThreadFilter{Tenant: tenant, Backend: p.From, Route: p.Route, User: p.User}
	if !p.Since.IsZero() {
		filter.UpdatedAfter = p.Since.Add(-time.Millisecond)
	}
	r := store.Range{Limit: planThreads, Ascending: true, ByID: true}
	for {
		page, more, err := e.store.Threads(ctx, filter, r)
		if err != nil || len(page) == 0 {
			return err
		}
		r.After.ID = page[len(page)-1].ID
		selected := page[:0]
		for _, t := range page {
			if p.Until.IsZero() || t.UpdatedAt.Before(p.Until) {
				selected = append(selected, t)
			}
		}
		if err := e.surveyPage(ctx, s, tenant, p.From, selected); err != nil || !more {
			return err
		}
	}
}

// surveyPage shows threads, in the order of their ids, each with its messages.
func (e *Engine) surveyPage(ctx context.Context, s *migration.Survey, tenant, from string, threads []store.StoredThread) error {
	if len(threads) == 0 {
		return nil
	}
	first, last := threads[0].ID, threads[len(threads)-1].ID
	next := 0
	for after, more := (store.Position{}), true; more; {
		var uses []store.Use
		var err error
		if uses, more, err = e.store.Uses(ctx, tenant, from, first, last, after, planMessages); err != nil {
			return err
		}
		for i := range uses {
			m := &uses[i].Message
			after = store.Position{ID: m.ThreadID, Seq: uses[i].Seq}
			for next < len(threads) && threads[next].ID <= m.ThreadID {
				s.Thread(&threads[next].Thread)
				next++
			}
			if next > 0 && threads[next-1].ID == m.ThreadID { // else one that is not selected
				s.Message(m, uses[i].Bytes)
			}
		}
	}
	for ; next < len(threads); next++ {
		s.Thread(&threads[next].Thread)
	}
	return nil
}
