//go:build linux

package catalogue

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/adapters/altur"
	"chatmux/adapters/conversations"
	"chatmux/adapters/openai"
	"chatmux/adapters/sitegpt"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// canary stands in every secret, so that one search finds them all.
const canary = "c4n4ry"

// The callers' keys.
const (
	keyWeb   = "web-" + canary + "-5d1f0c77"
	keyOther = "other-" + canary + "-0b9e2a64"
)

// scene is where one row plays: a folder, a store, and the simulated vendors.
type scene struct {
	t       testing.TB
	dir     string
	db      database
	vendors []*vendor
	a, b, c *vendor // conversations, stateful; two of openai, stateless
	leaving []func()
}

// newScene starts the vendors. The program is started by the row.
func newScene(t testing.TB, kind storeKind) *scene {
	dir := t.TempDir()
	s := &scene{t: t, dir: dir, db: kind.create(t, dir)}
	s.a, s.b, s.c = s.hire("a", conversations.Spec), s.hire("b", openai.Spec), s.hire("c", openai.Spec)
	return s
}

// vendor is a simulated vendor behind a backend of the same name.
type vendor struct {
	*sandbox.Server
	name     string
	adapter  string
	settings string // the config's, without base_url
	base     string // the config's base_url

	twin  http.Handler
	front atomic.Pointer[http.HandlerFunc]
}

// hire starts the twin of an adapter's vendor, with a key of its own.
func (s *scene) hire(name string, spec adapters.Spec) *vendor {
	s.t.Helper()
	key := normalize.NewSecret("vendor-" + canary + "-" + name + "-7e3a91b2")
	v := &vendor{name: name, adapter: spec.Name}
	var settings adapters.Settings
	switch own := spec.Settings().(type) {
	case *conversations.Settings:
		own.APIKey, own.ChatbotID = key, "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
		settings, v.settings = own, "chatbot_id: "+own.ChatbotID
	case *openai.Settings:
		own.APIKey, own.Model = key, "m"
		settings, v.settings = own, "model: m"
	case *sitegpt.Settings:
		own.APIKey, own.ChatbotID = key, "365062873485935184"
		settings, v.settings = own, `chatbot_id: "365062873485935184"`
	case *altur.Settings:
		own.APIKey, own.AgentID = key, "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
		settings, v.settings = own, "agent_id: "+own.AgentID
	default:
		s.t.Fatalf("no vendor is known for %s", spec.Name)
	}
	v.settings += ", api_key: " + key.Reveal()
	v.twin = spec.Twin(settings)
	server, err := sandbox.Start(v, sandbox.Options{Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	s.leave(func() { _ = server.Close() })
	v.Server, v.base = server, server.URL()+spec.TwinPath
	s.vendors = append(s.vendors, v)
	return v
}

// ServeHTTP is the vendor's healthy answer: the twin's, or the one that a row has
// put in its place.
func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if front := v.front.Load(); front != nil {
		(*front)(w, r)
		return
	}
	v.twin.ServeHTTP(w, r)
}

// answers puts something in the twin's place for what is sent.
func (v *vendor) answers(f http.HandlerFunc) {
	var front http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		if isSend(sandbox.Entry{Method: r.Method, Path: r.URL.EscapedPath()}) {
			f(w, r)
			return
		}
		v.twin.ServeHTTP(w, r)
	}
	v.front.Store(&front)
}

// plays sets what the next sends meet: "2x status 503; delay 1s; always ok".
func (v *vendor) plays(script string) {
	for _, path := range sendPaths {
		v.ScriptPath("*"+path, sandbox.MustScript(script)...)
	}
}

// sendPaths are the ends of the paths that a person's message is sent to.
var sendPaths = []string{"/completions/", "/completions", "/message"}

// holds keeps every answer back until it is released, or the peer has left.
func (v *vendor) holds() (release func()) {
	open := make(chan struct{})
	v.answers(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-open:
			v.twin.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
	return sync.OnceFunc(func() { close(open) })
}

// isSend reports whether a request carries a person's message.
func isSend(e sandbox.Entry) bool {
	return e.Method == http.MethodPost && slices.ContainsFunc(sendPaths, func(end string) bool { return strings.HasSuffix(e.Path, end) })
}

// sends are the requests that carry a person's message.
func (v *vendor) sends() (list []sandbox.Entry) {
	for _, e := range v.Ledger() {
		if isSend(e) {
			list = append(list, e)
		}
	}
	return list
}

// got checks how many messages the vendor was sent.
func (v *vendor) got(t testing.TB, want int) {
	t.Helper()
	if got := len(v.sends()); got != want {
		t.Errorf("%s was sent %d messages, want %d", v.name, got, want)
	}
}

// await waits until the vendor has received so many messages.
func (v *vendor) await(t testing.TB, n int) {
	t.Helper()
	v.awaitThat(t, func(sends []sandbox.Entry) bool { return len(sends) >= n })
}

func (v *vendor) awaitThat(t testing.TB, wanted func([]sandbox.Entry) bool) {
	t.Helper()
	ctx, cancel := within(20 * time.Second)
	defer cancel()
	_, err := v.Await(ctx, func(all []sandbox.Entry) bool {
		return wanted(slices.DeleteFunc(all, func(e sandbox.Entry) bool { return !isSend(e) }))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// said is the text of the newest message in a vendor's request, as an ordinary JSON
// reader sees it.
func said(e sandbox.Entry) string {
	var body struct {
		Message  json.RawMessage
		Messages []struct{ Content string }
		Content  string
	}
	if json.Unmarshal(e.Body, &body) != nil {
		return ""
	}
	if n := len(body.Messages); n > 0 {
		return body.Messages[n-1].Content
	}
	var text string
	if json.Unmarshal(body.Message, &text) == nil && text != "" {
		return text
	}
	var message struct{ Content string }
	if json.Unmarshal(body.Message, &message) == nil && message.Content != "" {
		return message.Content
	}
	return body.Content
}

// leave says what closes something that the program is connected to.
func (s *scene) leave(f func()) {
	s.leaving = append(s.leaving, f)
	s.t.Cleanup(f)
}

// dismiss closes every vendor, and so every connection to them.
func (s *scene) dismiss() {
	for _, f := range s.leaving {
		f()
	}
}

// configuration is a config.yaml in the making. Empty fields are as usual.
type configuration struct {
	listen   string
	admin    string
	limits   string                   // the inside of limits: {…}
	callers  string                   // YAML, in place of the usual two
	backends map[string]*backend      // by name; those of the scene's vendors are there
	routes   string                   // YAML, before the usual ones
	rest     string                   // YAML at the end
	order    []string                 // of backends
	mark     func(yaml string) string // last changes; nil: none
}

// backend is how one backend differs from the usual.
type backend struct {
	adapter, base, settings string
	timeouts                string
	retry                   string
	breaker                 string
	more                    string // further YAML, after a comma
}

// usual is the config of a row that says nothing else: a is stateful, b and c are
// not; solo is a alone, chain a then b, pair b then c.
func (s *scene) usual() *configuration {
	c := &configuration{
		limits: "timeout: 30s, drain: {delay: 0s, grace: 5s}, idempotency: {lease: 2s}",
		callers: fmt.Sprintf("  - {name: web, key: %s, tenant: acme}\n  - {name: other, key: %s, tenant: rival}\n",
			keyWeb, keyOther),
		backends: make(map[string]*backend),
	}
	for _, v := range s.vendors {
		c.backends[v.name] = &backend{adapter: v.adapter, base: v.base, settings: v.settings}
		c.order = append(c.order, v.name)
	}
	return c
}

// yaml is the file.
func (c *configuration) yaml(store string) string {
	or := func(text, usual string) string {
		if text == "" {
			return usual
		}
		return text
	}
	var y strings.Builder
	fmt.Fprintf(&y, "listen: %s\nstore: %q\nlog: {level: debug}\n", or(c.listen, "127.0.0.1:0"), store)
	if c.admin != "" {
		fmt.Fprintf(&y, "admin: %s\n", c.admin)
	}
	fmt.Fprintf(&y, "limits: {%s}\n", c.limits)
	if c.callers != "" {
		fmt.Fprintf(&y, "callers:\n%s", c.callers)
	}
	y.WriteString("backends:\n")
	for _, name := range c.order {
		b := c.backends[name]
		fmt.Fprintf(&y, "  - name: %s\n    adapter: %s\n    settings: {base_url: %q, %s}\n", name, b.adapter, b.base, b.settings)
		fmt.Fprintf(&y, "    timeouts: {%s}\n", or(b.timeouts, "connect: 1s, first_byte: 15s, idle: 15s, total: 20s"))
		fmt.Fprintf(&y, "    retry: {%s}\n", or(b.retry, "attempts: 2, base: 5ms, cap: 20ms"))
		fmt.Fprintf(&y, "    breaker: {%s}\n", or(b.breaker, "failures: 5, open_for: 1s, probes: 2, interval: 60s"))
		y.WriteString(b.more)
	}
	fmt.Fprintf(&y, "routes:\n%s", c.routes)
	y.WriteString("  - {name: chain, match: {metadata.route: chain}, to: a, fallback: [b]}\n" +
		"  - {name: bold, match: {metadata.route: bold}, to: a, fallback: [b], fallback_on_unknown: true}\n" +
		"  - {name: moving, match: {metadata.route: moving}, to: a, fallback: [b], on_unavailable: move}\n" +
		"  - {name: pair, match: {metadata.route: pair}, to: b, fallback: [c]}\n" +
		"  - {name: leaving, match: {metadata.route: leaving}, to: a, on_disconnect: cancel}\n" +
		"  - {name: solo, to: a}\n")
	y.WriteString(c.rest)
	if c.mark != nil {
		return c.mark(y.String())
	}
	return y.String()
}

// write writes the config file and returns its path.
func (s *scene) write(c *configuration) string {
	s.t.Helper()
	file := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(c.yaml(s.db.address())), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}
