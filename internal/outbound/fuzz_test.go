package outbound_test

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"chatmux/internal/outbound"
)

// errStop keeps an admitted connection from being made.
var errStop = errors.New("admitted")

// public reports whether an address is one of the internet: by what the standard
// library knows, and by the first and last addresses of the registry.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, r := range registry {
		first, last := netip.MustParseAddr(r.first), netip.MustParseAddr(r.last)
		if first.BitLen() == ip.BitLen() && first.Compare(ip) <= 0 && ip.Compare(last) <= 0 {
			return false
		}
	}
	return true
}

// FuzzCheck holds the guard to its one promise: a URL that is accepted, and then
// dialled with whatever its host leads to, leads to a public address or to an
// allowed one, and never to a listener of ours.
func FuzzCheck(f *testing.F) {
	victim := netip.MustParseAddr("127.0.0.9").AsSlice()
	for _, list := range [][]string{forms, names} {
		for _, form := range list {
			form = strings.ReplaceAll(form, "{port}", "8080")
			f.Add(form, victim)
			f.Add(strings.Replace(form, "http", "https", 1), victim)
		}
	}
	for _, r := range registry {
		first := netip.MustParseAddr(r.first)
		f.Add("https://files.test/", first.AsSlice())
		f.Add(inURLs(r.first)[0], victim)
	}
	for _, u := range []string{
		"https://1.1.1.1/", "https://1.1.1.1:22/", "http://1.1.1.1/", "http://10.1.2.3/", "https://10.1.0.5:5432/", "http://10.1.0.5:5433/",
		"https://files.test:5432/", "http://files.test:5432/", "http://files.test:5433/",
	} {
		f.Add(u, netip.MustParseAddr("10.1.0.5").AsSlice())
	}
	allow := netip.MustParsePrefix("10.1.0.0/16")
	own := netip.MustParseAddrPort("10.1.0.5:5432")

	f.Fuzz(func(t *testing.T, rawURL string, answer []byte) {
		o := outbound.Options{AllowCIDRs: []netip.Prefix{allow}, Own: []netip.AddrPort{own}, Resolver: resolver(func(string, bool) []netip.Addr {
			if ip, ok := netip.AddrFromSlice(answer); ok {
				return []netip.Addr{ip}
			}
			return nil
		})}
		g := outbound.New(o)
		if e := g.Check(rawURL); e != nil {
			return
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
		if err != nil {
			t.Fatalf("%q is accepted and no request: %v", rawURL, err)
		}
		plain := req.URL.Scheme == "http"
		if !plain && req.URL.Scheme != "https" || req.URL.User != nil || req.Host == "" {
			t.Fatalf("%q is accepted", rawURL)
		}
		// As the guard's own client dials, but for the connection itself.
		dialer := g.Dialer(plain)
		judge := dialer.Control
		var dialled []netip.AddrPort
		dialer.Control = func(network, address string, conn syscall.RawConn) error {
			if err := judge(network, address, conn); err != nil {
				return err
			}
			dialled = append(dialled, netip.MustParseAddrPort(address))
			return errStop
		}
		transport := &http.Transport{DialContext: dialer.DialContext}
		if resp, err := transport.RoundTrip(req); err == nil {
			t.Fatalf("%q was answered: %v", rawURL, resp.Status)
		}
		for _, to := range dialled {
			inside := allow.Contains(to.Addr().Unmap())
			switch {
			case !inside && (plain || !public(to.Addr())):
				t.Errorf("%q with %v leads to %v", rawURL, net.IP(answer), to)
			case netip.AddrPortFrom(to.Addr().Unmap(), to.Port()) == own:
				t.Errorf("%q with %v leads to our own %v", rawURL, net.IP(answer), to)
			}
		}
	})
}
