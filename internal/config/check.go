package config

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// complete puts in the defaults that depend on other values.
func (d *decoder) complete(c *Config) {
	for i := range c.Callers {
		if caller := &c.Callers[i]; caller.Tenant == "" {
			caller.Tenant = caller.Name
		}
	}
	for i := range c.Backends {
		t, path := &c.Backends[i].Timeouts, fmt.Sprintf("backends[%d]", i)
		for _, part := range []struct {
			key   string
			value *time.Duration
		}{{"connect", &t.Connect}, {"first_byte", &t.FirstByte}, {"idle", &t.Idle}} {
			if !d.given(path + ".timeouts." + part.key) {
				*part.value = min(*part.value, t.Total)
			}
		}
		if b := &c.Backends[i].Breaker; !d.given(path + ".breaker.interval") {
			b.Interval = max(b.Interval, 2*t.Total)
		}
		if r := &c.Backends[i].Retry; !d.given(path + ".retry.cap") {
			r.Cap = max(r.Cap, r.Base)
		} else if !d.given(path + ".retry.base") {
			r.Base = min(r.Base, r.Cap)
		}
	}
	for i := range c.Webhooks {
		if path := fmt.Sprintf("webhooks[%d].events", i); !d.given(path) {
			c.Webhooks[i].Events = allEvents()
		}
	}
}

// allEvents are the events that a webhook may ask for.
func allEvents() []string {
	fields := fieldsOf(reflect.TypeFor[Webhook]())
	return fields[slices.IndexFunc(fields, func(f field) bool { return f.key == "events" })].enum
}

// check looks for what only several values together can tell.
func (d *decoder) check(c *Config) {
	d.checkListeners(c)
	d.checkOutbound(c)
	d.checkCallers(c)
	for i, b := range c.Backends {
		d.checkBackend(b, fmt.Sprintf("backends[%d]", i))
	}
	d.checkNames("backends", len(c.Backends), func(i int) string { return c.Backends[i].Name })
	d.checkRoutes(c)
	d.checkWebhooks(c)
}

// wrong reports a problem of a value, unless something else is wrong with it
// already.
func (d *decoder) wrong(path, format string, args ...any) {
	if !d.faulty(path) {
		d.report(path, format, args...)
	}
}

func (d *decoder) checkListeners(c *Config) {
	host, ok := d.checkAddress("listen", c.Listen)
	if ok && !isLoopback(host) && len(c.Callers) == 0 && !d.faulty("callers") {
		d.wrong("listen", "is no loopback address, so everybody could call: name the callers, or listen on 127.0.0.1")
	}
	if c.Admin == "" {
		if d.given("admin") {
			d.wrong("admin", "is empty")
		}
		return
	}
	if _, ok := d.checkAddress("admin", c.Admin); ok && c.Admin == c.Listen && !strings.HasSuffix(c.Admin, ":0") {
		d.wrong("admin", "is the same address as listen")
	}
}

func (d *decoder) checkOutbound(c *Config) {
	for i, prefix := range c.Outbound.AllowCIDRs {
		if prefix != prefix.Masked() {
			d.wrong(fmt.Sprintf("outbound.allow_cidrs[%d]", i),
				"has address bits beyond its length: write 10.0.0.0/8 for the whole range, 10.1.2.3/32 for one address")
		}
	}
}

func (d *decoder) checkAddress(path, address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.wrong(path, "is no address: write host:port, as 127.0.0.1:8080")
		return "", false
	}
	return host, true
}

// nameForm keeps names fit for headers, URLs, metrics and logs.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// checkNames refuses two of one name and names of the wrong form.
func (d *decoder) checkNames(list string, count int, name func(i int) string) {
	first := make(map[string]int)
	for i := range count {
		path := fmt.Sprintf("%s[%d].name", list, i)
		if name(i) == "" || d.faulty(path) {
			continue
		}
		if !nameForm.MatchString(name(i)) {
			d.report(path, "a name has at most 64 letters, digits, dots, dashes and underscores")
			continue
		}
		if before, twice := first[name(i)]; twice {
			d.report(path, "is the name of %s[%d] too, on line %d", list, before, d.places[fmt.Sprintf("%s[%d].name", list, before)].line)
			continue
		}
		first[name(i)] = i
	}
}

// checkReference refuses a name that nothing of the known bears.
func (d *decoder) checkReference(path, what, name string, known []string) {
	if name != "" && !slices.Contains(known, name) {
		d.wrong(path, "there is no %s of this name%s", what, didYouMean(name, known))
	}
}

// checkOnce refuses a name that stands twice in a list.
func (d *decoder) checkOnce(path string, names []string) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			d.wrong(fmt.Sprintf("%s[%d]", path, i), "stands twice in the list")
		}
	}
}

func (d *decoder) checkCallers(c *Config) {
	routes := namesOf(c.Routes, func(r Route) string { return r.Name })
	keys := make(map[[32]byte]int)
	for i, caller := range c.Callers {
		path := fmt.Sprintf("callers[%d]", i)
		d.checkTenant(path+".tenant", caller.Tenant)
		for j, route := range caller.Routes {
			d.checkReference(fmt.Sprintf("%s.routes[%d]", path, j), "route", route, routes)
		}
		d.checkOnce(path+".routes", caller.Routes)
		if d.given(path+".routes") && len(caller.Routes) == 0 {
			d.wrong(path+".routes", "is empty, so the caller could use nothing: leave it out to allow all routes")
		}
		if !d.checkKey(caller, path) {
			continue
		}
		if before, twice := keys[caller.KeyHash()]; twice {
			d.report(path, "has the same key as callers[%d], on line %d", before, d.places[fmt.Sprintf("callers[%d]", before)].line)
			continue
		}
		keys[caller.KeyHash()] = i
	}
	d.checkNames("callers", len(c.Callers), func(i int) string { return c.Callers[i].Name })
}

// checkKey tells whether the caller has exactly one key, and that in good form.
func (d *decoder) checkKey(caller Caller, path string) bool {
	key, sum := path+".key", path+".key_sha256"
	switch {
	case d.faulty(key) || d.faulty(sum):
	case d.given(key) && d.given(sum):
		d.report(sum, "is given beside key: one of them is enough")
	case !d.given(key) && !d.given(sum):
		d.report(key, "is missing: write key or key_sha256")
	case d.given(key) && caller.Key.IsZero():
		d.report(key, "is empty")
	case d.given(key) && strings.ContainsFunc(caller.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		d.report(key, "a key has only visible ASCII characters and no spaces: it must fit into a header")
	case d.given(sum) && !isSHA256(caller.KeySHA256.Reveal()):
		d.report(sum, "is not the SHA-256 of a key: write 64 hex digits")
	default:
		return true
	}
	return false
}

func isSHA256(digits string) bool {
	sum, err := hex.DecodeString(digits)
	return err == nil && len(sum) == 32
}

func (d *decoder) checkTenant(path, tenant string) {
	if len(tenant) > 128 || strings.ContainsFunc(tenant, unicode.IsControl) {
		d.wrong(path, "a tenant has at most 128 characters and no control characters")
	}
}

var hookSecretForm = regexp.MustCompile(`^[A-Za-z0-9._~-]*$`)

func (d *decoder) checkBackend(b Backend, path string) {
	t := b.Timeouts
	for _, part := range []struct {
		key   string
		value time.Duration
	}{{"connect", t.Connect}, {"first_byte", t.FirstByte}, {"idle", t.Idle}} {
		if part.value > t.Total && !d.faulty(path+".timeouts.total") {
			d.wrong(path+".timeouts."+part.key, "is longer than total (%s)", shortDuration(t.Total))
		}
	}
	if b.Breaker.Interval < 2*t.Total && !d.faulty(path+".timeouts.total") {
		d.wrong(path+".breaker.interval", "must be at least twice timeouts.total (%s): a request that outlasts the window is not counted",
			shortDuration(t.Total))
	}
	if b.Retry.Base > b.Retry.Cap {
		d.wrong(path+".retry.base", "is longer than cap (%s)", shortDuration(b.Retry.Cap))
	}
	if secret := path + ".hook_secret"; d.given(secret) {
		switch {
		case b.HookSecret.IsZero():
			d.wrong(secret, "is empty")
		case !hookSecretForm.MatchString(b.HookSecret.Reveal()):
			d.wrong(secret, "is a part of a URL: use letters, digits, dots, dashes, underscores and tildes only")
		}
	}
}

func (d *decoder) checkRoutes(c *Config) {
	backends := namesOf(c.Backends, func(b Backend) string { return b.Name })
	if len(backends) == 0 {
		return // said already; every name would be unknown
	}
	callers := namesOf(c.Callers, func(c Caller) string { return c.Name })
	d.checkNames("routes", len(c.Routes), func(i int) string { return c.Routes[i].Name })
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		d.checkTargets(r, path, backends)
		for _, condition := range r.Match {
			d.checkCondition(condition, path+".match."+condition.Key, callers)
		}
		last := i == len(c.Routes)-1
		switch match := path + ".match"; {
		case last && len(r.Match) > 0:
			d.wrong(match, "the last route must have no match: it is the default, for messages that no other route takes")
		case !last && len(r.Match) == 0:
			d.wrong(match, "is missing: without it this route takes every message, and no later one is reached")
		}
	}
}

// checkTargets checks which backends a route leads to, and that it asks none of
// them twice. In a split, a fallback may also be one of the targets: it is left out
// where it came first.
func (d *decoder) checkTargets(r Route, path string, backends []string) {
	var targets []string
	drawn := 0
	for i, target := range r.To {
		drawn += target.Weight
		at := r.To.backendPath(path+".to", i, d)
		d.checkReference(at, "backend", target.Backend, backends)
		if slices.Contains(targets, target.Backend) {
			d.wrong(at, "stands twice in the split: give it one weight")
		}
		targets = append(targets, target.Backend)
	}
	if len(r.To) > 0 && drawn == 0 {
		d.wrong(path+".to", "leads nowhere: give one backend a weight above 0")
	}
	for i, name := range r.Fallback {
		at := fmt.Sprintf("%s.fallback[%d]", path, i)
		d.checkReference(at, "backend", name, backends)
		if len(targets) == 1 && name == targets[0] {
			d.wrong(at, "is where the route leads already: a backend stands once in a chain")
		}
	}
	d.checkOnce(path+".fallback", r.Fallback)
	if r.Shadow == nil {
		return
	}
	at := path + ".shadow.backend"
	d.checkReference(at, "backend", r.Shadow.Backend, backends)
	if len(targets) == 1 && r.Shadow.Backend == targets[0] {
		d.wrong(at, "is where the route leads already: it would get every message twice")
	}
}

// checkCondition checks the patterns of which it is known what they may be.
func (d *decoder) checkCondition(c Condition, path string, callers []string) {
	for i, pattern := range c.Patterns {
		at := path
		if item := fmt.Sprintf("%s[%d]", path, i); d.given(item) {
			at = item
		}
		switch wild := strings.ContainsAny(pattern, "*?"); {
		case wild:
		case c.Key == "dialect" && !slices.Contains(d.dialects, pattern):
			d.wrong(at, "must be one of %s%s", strings.Join(d.dialects, ", "), didYouMean(pattern, d.dialects))
		case c.Key == "caller":
			d.checkReference(at, "caller", pattern, callers)
		}
	}
}

func (d *decoder) checkWebhooks(c *Config) {
	d.checkNames("webhooks", len(c.Webhooks), func(i int) string { return c.Webhooks[i].Name })
	tenants := namesOf(c.Callers, func(c Caller) string { return c.Tenant })
	for i, w := range c.Webhooks {
		path := fmt.Sprintf("webhooks[%d]", i)
		if !w.Secret.IsZero() && !signs(w.Secret.Reveal()) {
			d.wrong(path+".secret", "is no signing secret: write whsec_ and base64; several, separated by spaces, all sign")
		}
		switch tenant := path + ".tenant"; {
		case len(c.Callers) == 0:
			d.checkTenant(tenant, w.Tenant)
		case w.Tenant == "":
			d.wrong(tenant, "is missing: with callers, a webhook is told of one tenant's events")
		default:
			d.checkReference(tenant, "tenant", w.Tenant, tenants)
		}
		d.checkOnce(path+".events", w.Events)
		if len(w.Events) == 0 {
			d.wrong(path+".events", "is empty: leave it out to be told of all events")
		}
	}
}

// signs reports whether every secret of a list can sign.
func signs(list string) bool {
	secrets := strings.Fields(list)
	return len(secrets) > 0 && !slices.ContainsFunc(secrets, func(secret string) bool {
		encoded, hasPrefix := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		return !hasPrefix || err != nil || len(key) == 0
	})
}

func namesOf[T any](list []T, name func(T) string) []string {
	names := make([]string, 0, len(list))
	for _, item := range list {
		if n := name(item); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
