package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// Caller is somebody who may call, and how much. Either Key or KeySHA256 is set.
type Caller struct {
	Name      string
	Tenant    string           // default: the name
	Key       normalize.Secret // as the caller presents it
	KeySHA256 [32]byte         // or only its SHA-256
	Rate      float64          // requests a second; 0: as many as it likes
	Burst     int              // default: twice the rate, at least 1
	InFlight  int              // sends at once; 0: as many as it likes
	Routes    []string         // the only routes it may use; none: all
}

// OpenTenant is whose threads there are where there are no callers.
const OpenTenant = "default"

// callers finds who presents a key. Without any, everybody is the zero caller of
// OpenTenant.
type callers struct {
	byKey map[[sha256.Size]byte]*caller
	open  *caller
}

// caller is a Caller at work.
type caller struct {
	engine.Caller
	hash     [sha256.Size]byte
	rate     float64
	burst    int
	tokens   *rate.Limiter // nil: no limit
	limit    int64
	inFlight *atomic.Int64
}

// newCallers builds the table. What runs under a name in old goes on under it.
func newCallers(list []Caller, old *callers) (*callers, error) {
	if len(list) == 0 {
		return &callers{open: &caller{Caller: engine.Caller{Tenant: OpenTenant}, inFlight: new(atomic.Int64)}}, nil
	}
	table := &callers{byKey: make(map[[sha256.Size]byte]*caller, len(list))}
	names := make(map[string]bool, len(list))
	for _, l := range list {
		c := &caller{
			Caller: engine.Caller{Name: l.Name, Tenant: l.Tenant, Routes: l.Routes},
			hash:   l.KeySHA256,
			rate:   l.Rate,
			burst:  l.Burst,
			limit:  int64(l.InFlight),
		}
		if !l.Key.IsZero() {
			c.hash = sha256.Sum256([]byte(l.Key.Reveal()))
		}
		switch {
		case c.Name == "":
			return nil, errors.New("httpapi: a caller needs a name")
		case names[c.Name]:
			return nil, fmt.Errorf("httpapi: two callers are named %q", c.Name)
		case c.hash == [sha256.Size]byte{}:
			return nil, fmt.Errorf("httpapi: caller %q needs a key", c.Name)
		case table.byKey[c.hash] != nil:
			return nil, fmt.Errorf("httpapi: callers %q and %q have the same key", table.byKey[c.hash].Name, c.Name)
		}
		if c.Tenant == "" {
			c.Tenant = c.Name
		}
		if c.rate > 0 && c.burst <= 0 {
			c.burst = max(1, int(math.Ceil(2*c.rate)))
		}
		c.inherit(old.named(c.Name))
		names[c.Name] = true
		table.byKey[c.hash] = c
	}
	return table, nil
}

func (t *callers) named(name string) *caller {
	if t != nil {
		for _, c := range t.byKey {
			if c.Name == name {
				return c
			}
		}
	}
	return nil
}

func (c *caller) inherit(old *caller) {
	if old != nil {
		c.inFlight = old.inFlight
	} else {
		c.inFlight = new(atomic.Int64)
	}
	switch {
	case c.rate <= 0:
	case old != nil && old.rate == c.rate && old.burst == c.burst:
		c.tokens = old.tokens
	default:
		c.tokens = rate.NewLimiter(rate.Limit(c.rate), c.burst)
	}
}

// find returns who presents this key, or nil. Whatever can be no key is nobody, and
// all of that looks the same from outside.
func (t *callers) find(key string) *caller {
	if t.open != nil {
		return t.open
	}
	if key == "" || !visibleASCII(key) {
		return nil
	}
	hash := sha256.Sum256([]byte(key))
	c := t.byKey[hash]
	if c == nil || subtle.ConstantTimeCompare(c.hash[:], hash[:]) != 1 {
		return nil
	}
	return c
}

// bearer returns the key of exactly one header with one Bearer key; else nothing.
func bearer(authorization []string) string {
	const scheme = "Bearer "
	if len(authorization) != 1 || len(authorization[0]) <= len(scheme) || !strings.EqualFold(authorization[0][:len(scheme)], scheme) {
		return ""
	}
	return authorization[0][len(scheme):]
}

// visibleASCII reports whether s has nothing but printable ASCII characters other
// than the space.
func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// admit takes one request out of the caller's rate.
func (c *caller) admit(now time.Time) bool { return c.tokens == nil || c.tokens.AllowN(now, 1) }

// wait is how long it takes until the caller's rate allows a request again.
func (c *caller) wait(now time.Time) time.Duration {
	missing := 1 - c.tokens.TokensAt(now)
	return time.Duration(max(0, missing) / c.rate * float64(time.Second))
}

// begin takes one of the caller's places for sends; where it gives true, end
// must follow.
func (c *caller) begin() bool {
	if n := c.inFlight.Add(1); c.limit > 0 && n > c.limit {
		c.inFlight.Add(-1)
		return false
	}
	return true
}

func (c *caller) end() { c.inFlight.Add(-1) }
