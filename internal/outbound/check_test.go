package outbound_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"chatmux/internal/outbound"
	"chatmux/normalize"
)

// Where a proxy was asked for, no request of these tests would arrive.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		os.Setenv(name, "http://127.0.0.1:9")
	}
	os.Unsetenv("NO_PROXY")
	goleak.VerifyTestMain(m)
}

func prefixes(list ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range list {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

func refused(t *testing.T, what string, e *normalize.Error) {
	t.Helper()
	if e == nil {
		t.Errorf("%s is admitted", what)
	} else if e.Kind != normalize.KindURLNotAllowed || e.MessageStatus() != normalize.StatusFailed {
		t.Errorf("%s is %v (%v), the message %s", what, e.Kind, e, e.MessageStatus())
	}
}

func TestA06A07_every_form_of_a_URL_to_ourselves_is_refused_before_a_look_up(t *testing.T) {
	if len(forms) < 80 {
		t.Errorf("%d forms", len(forms))
	}
	// With an allowed range, plain http alone is no reason to refuse.
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("127.0.0.2/32")})
	for _, form := range forms {
		form = strings.ReplaceAll(form, "{port}", "8080")
		refused(t, form, g.Check(form))
		if rest, plain := strings.CutPrefix(form, "http://"); plain {
			refused(t, "https://"+rest, g.Check("https://"+rest))
		}
	}
	for _, name := range names {
		name = strings.ReplaceAll(name, "{port}", "8080")
		if e := g.Check(name); e != nil {
			t.Errorf("%s is refused before it was looked up: %v", name, e)
		}
	}
}

func TestPublicURLsAreAdmitted(t *testing.T) {
	g := outbound.New(outbound.Options{})
	for _, good := range []string{
		"https://files.test",
		"https://files.test/",
		"HTTPS://files.test:8443/a/b%20c.png?sig=a%2Bb&x=#part",
		"https://files.test:443/http://127.0.0.1/",
		"https://files.test?url=http://127.0.0.1/&at=@",
		"https://1.1.1.1/",
		"https://1.1.1.1:8443/",
		"https://1.1.1.1:80/",
		"https://[2606:4700:4700::1111]/",
		"https://[2606:4700:4700::1111]:8443/",
		"https://[::ffff:1.1.1.1]/",
		"https://files.test/" + strings.Repeat("a", 8192-len("https://files.test/")),
	} {
		if e := g.Check(good); e != nil {
			t.Errorf("%.80s: %v", good, e)
		}
	}
	refused(t, "a URL of 8,193 bytes", g.Check("https://files.test/"+strings.Repeat("a", 8193-len("https://files.test/"))))
}

// registry is what the IANA registries of special-purpose addresses, of multicast
// and of IPv6 address space say: each range with its first and last address, and
// the neighbours on both sides where these are public.
var registry = []struct{ name, before, first, last, after string }{
	{"this network", "", "0.0.0.0", "0.255.255.255", "1.0.0.0"},
	{"private", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
	{"carrier's NAT", "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
	{"loopback", "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
	{"link-local", "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
	{"metadata", "", "169.254.169.254", "169.254.169.254", ""},
	{"private", "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
	{"protocols", "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
	{"documentation", "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
	{"6to4 relays", "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
	{"private", "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
	{"benchmarks", "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
	{"documentation", "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
	{"documentation", "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
	{"multicast", "223.255.255.255", "224.0.0.0", "239.255.255.255", ""},
	{"reserved", "", "240.0.0.0", "255.255.255.254", ""},
	{"broadcast", "", "255.255.255.255", "255.255.255.255", ""},

	{"unspecified", "", "::", "::", ""},
	{"loopback", "", "::1", "::1", ""},
	{"compatible IPv4", "", "::2", "::ffff:ffff", ""},
	{"compatible IPv4, of a public address", "", "::1.1.1.1", "::1.1.1.1", ""},
	{"translated IPv4", "", "::ffff:0:0:0", "::ffff:0:ffff:ffff", ""},
	{"NAT64", "", "64:ff9b::", "64:ff9b::ffff:ffff", ""},
	{"NAT64 of one's own", "", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", ""},
	{"discard", "", "100::", "100::ffff:ffff:ffff:ffff", ""},
	{"dummy prefix", "", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", ""},
	{"below global unicast", "", "200::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
	{"protocols", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
	{"Teredo", "", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"benchmarks", "", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", ""},
	{"ORCHID", "", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"ORCHIDv2", "", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"drones", "", "2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"documentation", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
	{"6to4", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"},
	{"documentation", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"},
	{"above global unicast", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"segment routing", "", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"unique local", "", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"link-local", "", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"site-local", "", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"multicast", "", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
}

// inURLs gives the URLs that lead to an address: IPv4 also mapped into IPv6.
func inURLs(address string) []string {
	ip := netip.MustParseAddr(address)
	if ip.Is6() {
		return []string{"https://[" + address + "]/"}
	}
	expanded := netip.AddrFrom16(ip.As16()).StringExpanded()
	return []string{"https://" + address + "/", "https://[::ffff:" + address + "]/", "https://[" + expanded + "]/"}
}

func TestSpecialRangesAreRefusedFromTheirFirstToTheirLastAddress(t *testing.T) {
	g := outbound.New(outbound.Options{})
	for _, r := range registry {
		for _, address := range []string{r.first, r.last} {
			for _, u := range inURLs(address) {
				refused(t, r.name+" "+u, g.Check(u))
			}
		}
		for _, address := range []string{r.before, r.after} {
			if address == "" {
				continue
			}
			for _, u := range inURLs(address) {
				if e := g.Check(u); e != nil {
					t.Errorf("%s, next to %s: %v", u, r.name, e)
				}
			}
		}
	}
}

func TestAllowedRangesAdmitWhatIsNotPublic(t *testing.T) {
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("10.1.0.0/16", "fd00:1::/32", "127.0.0.2/32")})
	for u, admitted := range map[string]bool{
		"https://10.1.0.0/":              true,
		"https://10.1.255.255:22/":       true,
		"http://10.1.2.3/":               true,
		"http://10.1.2.3:25/":            true,
		"http://[::ffff:10.1.2.3]/":      true,
		"http://[fd00:1::5]:9000/":       true,
		"http://127.0.0.2:8080/":         true,
		"https://10.0.255.255/":          false,
		"https://10.2.0.0/":              false,
		"https://[::10.1.2.3]/":          false,
		"https://[64:ff9b::10.1.2.3]/":   false,
		"https://[2002:a01:203::]/":      false,
		"https://[fd00:2::5]/":           false,
		"https://[fd00:1::5%25eth0]/":    false,
		"https://127.0.0.1/":             false,
		"https://127.0.0.3/":             false,
		"https://1.1.1.1/":               true,
		"http://1.1.1.1/":                false,
		"http://[2606:4700:4700::1111]/": false,
		"https://1.1.1.1:6379/":          true,
		"https://1.1.1.1:443/":           true,
		"https://1.1.1.1:444/":           false,
		"https://1.1.1.1:1023/":          false,
		"https://1.1.1.1:1024/":          true,
	} {
		if e := g.Check(u); (e == nil) != admitted {
			t.Errorf("%s: %v", u, e)
		}
	}
}

func TestPlainHTTPNeedsAnAllowedRange(t *testing.T) {
	g := outbound.New(outbound.Options{})
	refused(t, "http to a name where nothing is allowed", g.Check("http://files.test/"))
	refused(t, "http to a public address", g.Check("http://1.1.1.1/"))
	g = outbound.New(outbound.Options{AllowCIDRs: prefixes("10.0.0.0/8")})
	if e := g.Check("http://files.test/"); e != nil {
		t.Errorf("http to a name that may lead to an allowed range: %v", e)
	}
}

func TestA10_our_own_ports_are_refused_within_allowed_ranges_too(t *testing.T) {
	everywhere := prefixes("0.0.0.0/0", "::/0")
	g := outbound.New(outbound.Options{AllowCIDRs: everywhere, Own: []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.5:5432"),
		netip.MustParseAddrPort("[::ffff:10.0.0.6]:8080"),
		netip.MustParseAddrPort("127.0.0.1:443"),
		netip.MustParseAddrPort("[fd00::7]:80"),
	}})
	for u, admitted := range map[string]bool{
		"https://10.0.0.5:5432/":                false,
		"http://10.0.0.5:5432/":                 false,
		"http://[::ffff:10.0.0.5]:5432/":        false,
		"http://[::ffff:a00:5]:5432/":           false,
		"http://10.0.0.5:05432/":                false,
		"http://10.0.0.6:8080/":                 false,
		"http://[::ffff:10.0.0.6]:8080/":        false,
		"https://127.0.0.1/":                    false,
		"https://127.0.0.1:/":                   false,
		"http://[fd00::7]/":                     false,
		"http://[fd00:0:0:0:0:0:0:7]:80/":       false,
		"http://0.0.0.0:9999/":                  false,
		"http://[::]:9999/":                     false,
		"http://10.0.0.5:5433/":                 true,
		"http://10.0.0.4:5432/":                 true,
		"http://127.0.0.1/":                     true,
		"https://[fd00::7]/":                    true,
		"http://169.254.169.254/latest/":        true,
		"https://[2606:4700:4700::1111]:22/":    true,
		"https://[64:ff9b::7f00:1]/admitted-ok": true,
	} {
		if e := g.Check(u); (e == nil) != admitted {
			t.Errorf("%s: %v", u, e)
		}
	}
}

func TestA10_a_wildcard_listener_is_at_every_address_of_this_machine(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"127.0.0.1", "127.0.0.2", "127.255.255.254", "::1"}
	for _, a := range addresses {
		ours = append(ours, netip.MustParsePrefix(a.String()).Addr().String())
	}
	for _, wildcard := range []string{"0.0.0.0:8080", "[::]:8080"} {
		g := outbound.New(outbound.Options{
			AllowCIDRs: prefixes("0.0.0.0/0", "::/0"),
			Own:        []netip.AddrPort{netip.MustParseAddrPort(wildcard)},
		})
		for _, address := range ours {
			at8080 := "http://" + net.JoinHostPort(address, "8080") + "/"
			refused(t, at8080+" with a listener at "+wildcard, g.Check(at8080))
			other := "http://" + net.JoinHostPort(address, "8081") + "/"
			if e := g.Check(other); e != nil {
				t.Errorf("%s, a port that is not ours: %v", other, e)
			}
		}
		if e := g.Check("http://10.99.99.99:8080/"); e != nil {
			t.Errorf("the same port of another machine: %v", e)
		}
	}
}

// What listens at a public address of this machine may be kept from others by a
// firewall that a connection from within never meets.
func TestPublicAddressesOfThisMachineAreNotPublic(t *testing.T) {
	ours := []net.Addr{
		&net.IPNet{IP: net.ParseIP("1.1.1.1"), Mask: net.CIDRMask(24, 32)},
		&net.IPNet{IP: net.ParseIP("2606:4700:4700::1111"), Mask: net.CIDRMask(64, 128)},
	}
	guard := func(allow []netip.Prefix, err error) *outbound.Guard {
		g := outbound.New(outbound.Options{AllowCIDRs: allow})
		g.SetInterfaceAddrs(func() ([]net.Addr, error) { return ours, err })
		return g
	}
	for u, own := range map[string]bool{
		"https://1.1.1.1/":                true,
		"https://[::ffff:1.1.1.1]/":       true,
		"https://[2606:4700:4700::1111]/": true,
		"https://1.1.1.2/":                false,
		"https://[2606:4700:4700::1112]/": false,
	} {
		if e := guard(nil, nil).Check(u); (e != nil) != own {
			t.Errorf("%s: %v", u, e)
		}
		refused(t, u+" where the system cannot say which addresses are ours", guard(nil, errors.New("no interfaces")).Check(u))
		if e := guard(prefixes("1.1.1.0/24", "2606:4700:4700::/64"), nil).Check(u); e != nil {
			t.Errorf("%s, which is allowed: %v", u, e)
		}
	}
}

func TestRefusalsRepeatNothingOfTheURL(t *testing.T) {
	g := outbound.New(outbound.Options{AllowCIDRs: prefixes("10.0.0.0/8")})
	for _, u := range []string{
		"https://canary:canary@files.test/?token=canary",
		"https://canary@127.0.0.1/",
		"http://127.0.0.1/canary?token=canary#canary",
		"ftp://files.test/?token=canary",
		"canary://files.test/",
		"https://[::1%25canary]/",
		"https://files.test:canary/",
		"https://files.test/%zzcanary",
		"https://files.test/\x00canary",
		"https://files.test/ canary",
		"https://canary.localhost/?canary",
		"https://canary..test/?canary",
		"https://0x7f.1/?canary",
		"https://files.test/" + strings.Repeat("canary", 2000),
	} {
		e := g.Check(u)
		refused(t, u, e)
		if e != nil && (strings.Contains(e.Error(), "canary") || strings.Contains(e.Text(), "127.0.0.1")) {
			t.Errorf("%.80s: %v", u, e)
		}
	}
}
