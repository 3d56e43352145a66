// Package config reads config.yaml into values that are typed, complete and
// checked. It knows no vendor: who builds the house tells it what settings each
// adapter takes, as a struct that holds the defaults.
//
// A file is refused as a whole, and all that is wrong with it is said at once,
// each problem with its place. Neither a problem nor Describe ever repeats a value
// that may hold a secret.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"

	"chatmux/normalize"
)

// Config is a whole file, with the defaults in place of what it leaves out.
//
// The tags are the rules that the decoder keeps and that the JSON Schema of the
// file repeats: yaml names the key (",required" where it must stand there),
// default and doc speak for themselves, enum lists the values that are allowed,
// min and max bound a number and over says what it must be above.
type Config struct {
	Listen    string    `yaml:"listen" default:"127.0.0.1:8080" doc:"Address of the API. Anything but a loopback address needs callers."`
	Admin     string    `yaml:"admin" doc:"Address of a second listener for /metrics and /debug/pprof. Without it, /metrics is on the first and pprof nowhere."`
	Store     Store     `yaml:"store" default:"sqlite:chatmux.db" doc:"Where threads are kept: sqlite:PATH, 'sqlite::memory:' or postgres://user@host:5432/database."`
	PublicURL PublicURL `yaml:"public_url" doc:"How vendors reach our webhooks: https, or http to a loopback address."`
	Log       Log       `yaml:"log" doc:"The log. Message text is never logged."`
	Limits    Limits    `yaml:"limits" doc:"Limits of the whole server."`
	Outbound  Outbound  `yaml:"outbound" doc:"Where URLs that callers give may lead."`
	Callers   []Caller  `yaml:"callers" doc:"Who may call. None: open, on a loopback address only."`
	Backends  []Backend `yaml:"backends,required" doc:"The vendors' bots that answer."`
	Routes    []Route   `yaml:"routes,required" doc:"Which message goes where: the first match wins. The last one has no match and is the default."`
	Webhooks  []Webhook `yaml:"webhooks" doc:"Who is told of events."`
}

// Log says how much is logged and in which form.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug|info|warn|error" doc:"The least level that is logged."`
	Format string `yaml:"format" default:"json" enum:"json|console" doc:"json for machines, console for people."`
}

// Limits bound what the whole server takes on.
type Limits struct {
	Body        normalize.ByteSize `yaml:"body" default:"1MiB" over:"0" doc:"The largest request body."`
	InFlight    int                `yaml:"in_flight" default:"512" min:"1" doc:"Sends at once; above it 503 overloaded."`
	Timeout     time.Duration      `yaml:"timeout" default:"60s" over:"0" doc:"The whole budget of a send."`
	Drain       Drain              `yaml:"drain" doc:"What happens after SIGTERM."`
	Idempotency Idempotency        `yaml:"idempotency" doc:"How long Idempotency-Keys hold."`
	Stream      Stream             `yaml:"stream" doc:"The timing of streams."`
	Retention   time.Duration      `yaml:"retention" default:"0" min:"0" doc:"Erase threads that were not touched for this long; 0 keeps them."`
}

// Drain is the end of a process: Delay of normal service, then Grace for the work
// that still runs.
type Drain struct {
	Delay time.Duration `yaml:"delay" default:"3s" min:"0" doc:"Normal service after SIGTERM, until load balancers have noticed."`
	Grace time.Duration `yaml:"grace" default:"30s" min:"0" doc:"Time for running work after that."`
}

// Idempotency says how long a key is remembered, and for how long its owner may be
// silent before another takes over.
type Idempotency struct {
	Retention time.Duration `yaml:"retention" default:"24h" over:"0" doc:"How long an answer is kept for repeats."`
	Lease     time.Duration `yaml:"lease" default:"30s" over:"0" doc:"How long a silent owner keeps a key."`
}

// Stream is the timing of streams to callers.
type Stream struct {
	HeadWait  time.Duration `yaml:"head_wait" default:"5s" over:"0" doc:"How long the response head waits for the first content."`
	Heartbeat time.Duration `yaml:"heartbeat" default:"10s" over:"0" doc:"How often a quiet stream shows that it lives."`
	Write     time.Duration `yaml:"write" default:"10s" over:"0" doc:"How long a caller may take to accept what is written."`
}

// Outbound guards the URLs that callers give.
type Outbound struct {
	AllowCIDRs []netip.Prefix `yaml:"allow_cidrs" doc:"Private ranges that URLs given by callers (webhooks, attachments) may reach, such as 10.1.0.0/16."`
}

// Caller is who may call, and how much.
type Caller struct {
	Name      string           `yaml:"name,required" doc:"The caller's name, as routes and logs know it."`
	Key       normalize.Secret `yaml:"key" doc:"The bearer token. Either this or key_sha256."`
	KeySHA256 normalize.Secret `yaml:"key_sha256" doc:"The token's SHA-256 in 64 hex digits, for files that must not hold the token."`
	Tenant    string           `yaml:"tenant" doc:"Whose threads the caller sees. Default: the name."`
	Rate      Rate             `yaml:"rate" doc:"Requests per second or minute: 50/s, 600/m. Default: no limit."`
	InFlight  int              `yaml:"in_flight" min:"1" doc:"Sends at once. Default: no limit of its own."`
	Routes    []string         `yaml:"routes" doc:"The only routes it may use. Default: all."`
}

// KeyHash is the SHA-256 of the caller's key, in whichever form the file gives it.
func (c Caller) KeyHash() [sha256.Size]byte {
	if c.KeySHA256.IsZero() {
		return sha256.Sum256([]byte(c.Key.Reveal()))
	}
	var sum [sha256.Size]byte
	_, _ = hex.Decode(sum[:], []byte(c.KeySHA256.Reveal())) // checked when it was read
	return sum
}

// Backend is one configured adapter.
type Backend struct {
	Name        string           `yaml:"name,required" doc:"The backend's name, as routes, logs and answers know it."`
	Adapter     string           `yaml:"adapter,required" doc:"The code that speaks the vendor's API."`
	Settings    any              `yaml:"settings" doc:"The adapter's own block."`
	Timeouts    Timeouts         `yaml:"timeouts" doc:"How long the vendor may take."`
	Retry       Retry            `yaml:"retry" doc:"Tries at this backend, only where a repeat is safe."`
	Breaker     Breaker          `yaml:"breaker" doc:"When to leave the backend alone."`
	MaxInFlight int              `yaml:"max_in_flight" default:"64" min:"1" doc:"Requests to the vendor at once."`
	HookSecret  normalize.Secret `yaml:"hook_secret" doc:"The last part of POST /hooks/NAME/SECRET, where the vendor calls us."`
}

// Timeouts bound one attempt. What the file leaves out is never longer than Total.
type Timeouts struct {
	Connect   time.Duration `yaml:"connect" default:"5s" over:"0" doc:"To dial and shake hands."`
	FirstByte time.Duration `yaml:"first_byte" default:"30s" over:"0" doc:"From the end of the request to the status line."`
	Idle      time.Duration `yaml:"idle" default:"30s" over:"0" doc:"Between two reads of an answer."`
	Total     time.Duration `yaml:"total" default:"60s" over:"0" doc:"The whole attempt."`
}

// Retry bounds the tries of one message at one backend.
type Retry struct {
	Attempts int           `yaml:"attempts" default:"2" min:"1" max:"3" doc:"All tries, the first included."`
	Base     time.Duration `yaml:"base" default:"200ms" over:"0" doc:"The first back-off."`
	Cap      time.Duration `yaml:"cap" default:"5s" over:"0" doc:"The longest back-off; a wait that the vendor asks for may be longer."`
}

// Breaker says when a backend is left alone, and for how long.
type Breaker struct {
	Failures    int           `yaml:"failures" default:"5" min:"1" doc:"Failures in a row that open it."`
	Ratio       float64       `yaml:"ratio" default:"0.5" min:"0" max:"1" doc:"Share of failures that opens it."`
	MinRequests int           `yaml:"min_requests" default:"20" min:"1" doc:"Results before the share counts."`
	Interval    time.Duration `yaml:"interval" default:"120s" over:"0" doc:"The window of the share, at least twice timeouts.total."`
	OpenFor     time.Duration `yaml:"open_for" default:"30s" over:"0" doc:"How long it stays open."`
	Probes      int           `yaml:"probes" default:"2" min:"1" doc:"Successes that close it again."`
}

// Route says where messages go for which every line of Match holds.
type Route struct {
	Name              string   `yaml:"name,required" doc:"The route's name, as callers, logs and answers know it."`
	Match             Match    `yaml:"match" doc:"Every line must hold. None: the route takes every message."`
	To                Targets  `yaml:"to,required" doc:"A backend, or a split by weight."`
	Fallback          []string `yaml:"fallback" doc:"Backends to ask when the first cannot serve, in this order."`
	Shadow            *Shadow  `yaml:"shadow" doc:"A backend that gets a copy of some threads' messages."`
	OnUnavailable     string   `yaml:"on_unavailable" enum:"fail|move" doc:"A thread that lives on a backend that cannot serve. Default: fail if stateful, else move."`
	OnDisconnect      string   `yaml:"on_disconnect" default:"finish" enum:"finish|cancel" doc:"What happens when the caller leaves in mid-answer."`
	FallbackOnUnknown bool     `yaml:"fallback_on_unknown" default:"false" doc:"Ask the next backend even if the first may have processed the message."`
}

// Shadow is a backend that gets a copy.
type Shadow struct {
	Backend string  `yaml:"backend,required" doc:"The backend's name."`
	Sample  float64 `yaml:"sample" default:"1" min:"0" max:"1" doc:"Share of the threads."`
}

// Webhook is who is told of events.
type Webhook struct {
	Name   string           `yaml:"name,required" doc:"The receiver's name, as logs know it."`
	URL    HookURL          `yaml:"url,required" doc:"Where events are posted: https, or http to a loopback address."`
	Secret normalize.Secret `yaml:"secret,required" doc:"Signs the events: whsec_ and base64; while you change it, the new one and the old one, separated by a space."`
	Tenant string           `yaml:"tenant" doc:"Whose events. Needed where there are callers."`
	Events []string         `yaml:"events" enum:"message.created|reply.completed|thread.updated|thread.moved" doc:"Which events. Default: all."`
}
