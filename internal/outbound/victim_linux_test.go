package outbound_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/internal/outbound"
	"chatmux/normalize"
)

// These tests need several addresses of one machine, with the same port at each:
// only Linux has all of 127.0.0.0/8 without being told.

// allowed is the only address that the guards of this file may reach.
const allowed = "127.0.0.2"

// victims are the addresses that must not be reached.
var victims = []string{"127.0.0.9", "127.0.0.1", "::1"}

// victim is a listener at every address of victims. It takes every connection, and
// answers none.
type victim struct {
	at   []net.Listener
	came []chan string // from where, by listener; holds more than a test that fails lets through
}

// touched gives how many connections there were since it was last asked. A
// connection of its own goes to each listener: those that came before it are taken
// before it.
func (v *victim) touched(t *testing.T) int {
	t.Helper()
	count := 0
	for i, l := range v.at {
		marker, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for from := range v.came[i] {
			if from == marker.LocalAddr().String() {
				break
			}
			count++
		}
		marker.Close()
	}
	return count
}

func (v *victim) untouched(t *testing.T, by string) {
	t.Helper()
	if n := v.touched(t); n > 0 {
		t.Errorf("%s: %d connections to the victim", by, n)
	}
}

// place starts a server at the allowed address, with or without TLS, and a victim
// at the same port of every other.
func place(t *testing.T, handler http.HandlerFunc, tls bool) (s *httptest.Server, v *victim, port string) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", allowed+":0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err = net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if v = besiege(port); v == nil {
			l.Close()
			continue
		}
		var running sync.WaitGroup
		done := make(chan struct{})
		for i, at := range v.at {
			running.Go(func() {
				for {
					conn, err := at.Accept()
					if err != nil {
						return
					}
					conn.Close()
					select {
					case v.came[i] <- conn.RemoteAddr().String():
					case <-done:
					}
				}
			})
		}
		s = httptest.NewUnstartedServer(handler)
		s.Listener.Close()
		s.Listener = l
		if tls {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(func() {
			s.Close()
			close(done)
			for _, at := range v.at {
				at.Close()
			}
			running.Wait()
		})
		return s, v, port
	}
	t.Fatal("no port is free at all addresses")
	return nil, nil, ""
}

// besiege listens at a port of every victim's address; nil if one is taken. A
// machine without IPv6 has a victim less.
func besiege(port string) *victim {
	v := &victim{}
	for _, address := range victims {
		l, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil && strings.Contains(address, ":") {
			continue
		}
		if err != nil {
			for _, at := range v.at {
				at.Close()
			}
			return nil
		}
		v.at = append(v.at, l)
		v.came = append(v.came, make(chan string, 4096))
	}
	return v
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestA06A07_no_form_of_a_URL_reaches_the_victim(t *testing.T) {
	_, v, port := place(t, hello, false)
	// Whatever a resolver makes of the host, it leads to the victim.
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes(allowed + "/32"), Resolver: always(victims...)})
	for _, form := range append(forms, names...) {
		form = strings.ReplaceAll(form, "{port}", port)
		_, e := g.Fetch(t.Context(), form, limit)
		refused(t, form, e)
		if rest, plain := strings.CutPrefix(form, "http://"); plain {
			_, e := g.Fetch(t.Context(), "https://"+rest, limit)
			refused(t, "https://"+rest, e)
		}
		v.untouched(t, form)
	}
}

func TestA06_every_form_of_the_allowed_address_reaches_its_server(t *testing.T) {
	_, v, port := place(t, hello, false)
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes(allowed + "/32"), Resolver: always(allowed)})
	for _, form := range append([]string{
		"http://127.0.0.2:{port}/",
		"http://[::ffff:127.0.0.2]:{port}/",
		"http://[::ffff:7f00:2]:{port}/",
		"http://[0:0:0:0:0:ffff:127.0.0.2]:{port}/",
		"http://127.0.0.2:0{port}/",
	}, names...) {
		if !strings.Contains(form, "{port}") {
			continue // leads to port 80
		}
		form = strings.ReplaceAll(form, "{port}", port)
		if file, e := g.Fetch(t.Context(), form, limit); e != nil || string(file.Body) != "hello" {
			t.Errorf("%s: %q, %v", form, file.Body, e)
		}
	}
	v.untouched(t, "URLs to the allowed address")
}

// A name that is looked up is judged by where it leads, in all the ways that an
// answer can be written too.
func TestA06_no_address_behind_a_name_reaches_the_victim(t *testing.T) {
	_, v, port := place(t, hello, false)
	var addresses []string
	for _, r := range registry {
		addresses = append(addresses, r.first, r.last)
	}
	addresses = append(addresses, victims...)
	addresses = append(addresses, "::ffff:127.0.0.9", "::ffff:0.0.0.0", "::127.0.0.9", "64:ff9b::7f00:9")
	for _, address := range addresses {
		for _, allow := range [][]netip.Prefix{nil, prefixes(allowed + "/32")} {
			g := outbound.New(outbound.Options{AllowCIDRs: allow, Resolver: always(address), Timeout: time.Second})
			for _, u := range []string{"http://files.test:" + port + "/", "https://files.test:" + port + "/", "https://files.test/"} {
				_, e := g.Fetch(t.Context(), u, limit)
				refused(t, u+" at "+address, e)
			}
		}
	}
	v.untouched(t, "addresses behind a name")
}

func TestA08_no_redirect_is_followed(t *testing.T) {
	for _, tls := range []bool{false, true} {
		var mu sync.Mutex
		var location string
		var status int
		var asked []string
		s, v, port := place(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, r.URL.Path)
			if r.URL.Path != "/from" {
				return
			}
			w.Header().Set("Location", location)
			w.Header().Set("Refresh", "0; url="+location)
			w.WriteHeader(status)
		}, tls)
		o := outbound.Options{AllowCIDRs: prefixes(allowed + "/32"), Resolver: always(allowed)}
		from := "http://example.com:" + port + "/from"
		if tls {
			o.RootCAs = x509.NewCertPool()
			o.RootCAs.AddCert(s.Certificate())
			from = "https://example.com:" + port + "/from"
		}
		g := outbound.New(o)
		requests := 0
		for _, to := range []string{
			"http://127.0.0.9:" + port + "/to", "https://127.0.0.9:" + port + "/to", "//127.0.0.9:" + port + "/to",
			"http://[::1]:" + port + "/to", "http://127.9:" + port + "/to",
			// These would be admitted, were they what the caller has given.
			"/to", from + "/to", "http://" + allowed + ":" + port + "/to", "file:///etc/passwd", "",
		} {
			for n := 300; n <= 308; n++ {
				mu.Lock()
				location, status = to, n
				mu.Unlock()
				file, e := g.Fetch(t.Context(), from, limit)
				refused(t, fmt.Sprintf("%d from %s to %s, which gave %q", n, from, to, file.Body), e)
				requests++
			}
		}
		v.untouched(t, "redirects from "+from)
		mu.Lock()
		if len(asked) != requests {
			t.Errorf("%d requests gave the server %d: %v", requests, len(asked), asked)
		}
		for _, path := range asked {
			if path != "/from" {
				t.Errorf("the server was asked for %s", path)
			}
		}
		mu.Unlock()
	}
}

// rebinding is a DNS server whose answers change: in its rounds a name leads to
// the allowed address, to the victim, or to both.
type rebinding struct {
	mu      sync.Mutex
	answers [][]netip.Addr // of this round: by look-up; the last stays
	lookups int
}

func (r *rebinding) begin(answers ...[]netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers, r.lookups = answers, 0
}

// lookup counts by the question for IPv4 addresses: answers that change hold no
// others.
func (r *rebinding) lookup(_ string, ipv6 bool) []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := r.answers[min(r.lookups, len(r.answers)-1)]
	if !ipv6 {
		r.lookups++
	}
	return answer
}

func TestA09_rebinding_a_name_does_not_reach_the_victim(t *testing.T) {
	_, v, port := place(t, hello, false)
	r := &rebinding{}
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes(allowed + "/32"), Resolver: resolver(r.lookup)})
	fetch := func(round int, reached bool) {
		t.Helper()
		file, e := g.Fetch(t.Context(), fmt.Sprintf("http://round%d.test:%s/", round, port), limit)
		if !reached {
			refused(t, fmt.Sprintf("round %d", round), e)
		} else if e != nil || string(file.Body) != "hello" {
			t.Errorf("round %d: %q, %v", round, file.Body, e)
		}
	}
	good, bad := parsed(allowed), parsed("127.0.0.9")
	for round := range 1000 {
		switch round % 5 {
		case 0: // whoever asks twice, to check and to dial, is given the victim for the second time
			r.begin(good, bad)
			fetch(round, true)
			fetch(round, false)
		case 1: // a name that was refused may lead elsewhere now
			r.begin(bad, good)
			fetch(round, false)
			fetch(round, true)
		case 2:
			r.begin(parsed(allowed, "127.0.0.9"))
			fetch(round, true)
		case 3:
			r.begin(parsed("127.0.0.9", "::1", "::ffff:127.0.0.9", allowed))
			fetch(round, true)
		case 4:
			r.begin(parsed("127.0.0.1", "::1", "127.0.0.9", "::ffff:127.0.0.9", "0.0.0.0", "::"))
			fetch(round, false)
		}
	}
	v.untouched(t, "1,000 rounds of rebinding")
}

// The allowed address is closed: the next of the same answer is the victim's.
func TestA09_a_dead_address_does_not_lead_to_the_next(t *testing.T) {
	s, v, port := place(t, hello, false)
	s.Close()
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes(allowed + "/32"), Resolver: always(allowed, "127.0.0.9", "::1")})
	for range 20 {
		if file, e := g.Fetch(t.Context(), "http://files.test:"+port+"/", limit); e == nil {
			t.Errorf("%q", file.Body)
		}
	}
	v.untouched(t, "an answer with a dead address")
}

func TestA10_our_own_listeners_are_not_reached_within_allowed_ranges(t *testing.T) {
	_, v, port := place(t, hello, false)
	open := prefixes("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128")
	own := func(addresses ...string) (list []netip.AddrPort) {
		for _, a := range addresses {
			list = append(list, netip.MustParseAddrPort(net.JoinHostPort(a, port)))
		}
		return list
	}
	var urls []string
	for _, host := range []string{"127.0.0.9", "[::ffff:127.0.0.9]", "127.0.0.1", "[::1]"} {
		urls = append(urls, "http://"+host+":"+port+"/")
	}
	for name, o := range map[string]outbound.Options{
		"each":     {AllowCIDRs: open, Own: own(victims...)},
		"IPv4 any": {AllowCIDRs: open, Own: own("0.0.0.0")},
		"IPv6 any": {AllowCIDRs: open, Own: own("::")},
	} {
		g := outbound.New(o)
		for _, u := range urls {
			_, e := g.Fetch(t.Context(), u, limit)
			refused(t, name+" "+u, e)
		}
		for _, address := range append(victims, "0.0.0.0", "::", "::ffff:127.0.0.9", "::ffff:127.0.0.1") {
			o.Resolver = always(address)
			_, e := outbound.New(o).Fetch(t.Context(), "http://files.test:"+port+"/", limit)
			refused(t, name+", a name that leads to "+address, e)
		}
	}
	v.untouched(t, "URLs to our own listeners")

	// The same guard reaches what is beside them, and without Own the victim: so it
	// is Own that has kept it away.
	g := outbound.New(outbound.Options{AllowCIDRs: open, Own: own(victims...)})
	if file, e := g.Fetch(t.Context(), "http://"+allowed+":"+port+"/", limit); e != nil || string(file.Body) != "hello" {
		t.Errorf("a server beside ours: %q, %v", file.Body, e)
	}
	g = outbound.New(outbound.Options{AllowCIDRs: open})
	if _, e := g.Fetch(t.Context(), urls[0], limit); e == nil || e.Kind != normalize.KindInvalidRequest {
		t.Errorf("a victim that is not ours: %v", e)
	}
	if v.touched(t) != 1 {
		t.Error("the victim cannot be reached at all: this test proves nothing")
	}
}
