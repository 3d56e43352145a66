package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"chatmux/normalize"
)

// maxURL is the longest URL that is taken, in bytes. Signed URLs of object stores
// have up to about 3,000.
const maxURL = 8192

// Check refuses a URL that cannot be admitted whatever its name leads to: nil, or
// an error of KindURLNotAllowed that says what to write instead and repeats nothing
// of the URL. It looks nothing up; a host that is given by its address is judged in
// full, a name again by each address that is dialled for it.
func (g *Guard) Check(rawURL string) *normalize.Error {
	switch {
	case len(rawURL) > maxURL:
		return refuse("the URL is longer than %d bytes", maxURL)
	case strings.ContainsFunc(rawURL, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		// Clients map digits, dots and letters of other scripts to ASCII, each in its
		// own way: １２７。１ is then 127.1.
		return refuse("a URL is ASCII without spaces and backslashes: write other characters with %%, and an international host name as xn--")
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return refuse("this is not a URL: write https://host/path")
	}
	plain := u.Scheme == "http"
	switch {
	case !plain && u.Scheme != "https":
		return refuse("a URL starts with https://")
	case plain && len(g.allow) == 0:
		return refusePlain(nil)
	case u.User != nil:
		return refuse("a URL holds no user name or password")
	}
	port, known := portOf(u)
	if !known {
		return refuse("the port of a URL is a number from 1 to 65535")
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.admit(netip.AddrPortFrom(ip, port), plain)
	}
	return checkName(host)
}

// portOf gives the port that a URL leads to; false where there is none.
func portOf(u *url.URL) (uint16, bool) {
	switch {
	case u.Port() != "":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		return uint16(port), err == nil && port != 0
	case u.Scheme == "http":
		return 80, true
	default:
		return 443, true
	}
}

// checkName refuses names that are no names of the internet: addresses in forms
// that some resolvers read, and this machine.
func checkName(host string) *normalize.Error {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return refuse("the host of the URL is neither a name nor an address")
		}
	}
	last := labels[len(labels)-1]
	if last == "localhost" {
		return refuse("localhost is no name of the internet: write the address")
	}
	// A name of the internet never ends in a number, so this is 127.1, 2130706433,
	// 0x7f000001 or 0177.0.0.1.
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return refuse("an address is written as four decimal numbers, or as IPv6 in brackets")
	}
	return nil
}

// admit judges an address that a URL leads to. It holds all that there is to be
// said about addresses: Check asks it about those that a caller wrote, the dialer
// about those that are dialled.
func (g *Guard) admit(target netip.AddrPort, plain bool) *normalize.Error {
	ip, port := target.Addr().Unmap(), target.Port()
	local := g.isLocal(ip)
	switch {
	case target.Addr().Zone() != "":
		return refuse("an address with a zone is not public")
	case ip.IsUnspecified(): // a connection to it ends at the loopback address
		return refuseAddress(ip, "unspecified")
	case g.isOwn(ip, port, local):
		return refuseAddress(ip, "a listener of ours, or the database")
	case g.isAllowed(ip):
		return nil
	}
	if purpose := specialPurpose(ip); purpose != "" {
		return refuseAddress(ip, purpose)
	}
	switch {
	case local:
		return refuseAddress(ip, "an address of this machine")
	case plain:
		return refusePlain(fmt.Errorf("%v is in no allowed range", ip))
	case port < 1024 && port != 443 && port != 80:
		return refuse("the port belongs to another protocol than HTTP")
	}
	return nil
}

func (g *Guard) isOwn(ip netip.Addr, port uint16, local bool) bool {
	for _, own := range g.own {
		if own.Port() == port && (own.Addr() == ip || own.Addr().IsUnspecified() && local) {
			return true
		}
	}
	return false
}

func (g *Guard) isAllowed(ip netip.Addr) bool {
	for _, prefix := range g.allow {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// isLocal reports whether this machine answers to an address: behind it are
// services that a firewall keeps from others. Addresses come and go, so the system
// is asked each time; one that cannot say counts as yes.
func (g *Guard) isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addresses, err := g.interfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == ip {
			return true
		}
	}
	return false
}

func refuse(format string, args ...any) *normalize.Error {
	return normalize.Errorf(normalize.KindURLNotAllowed, format, args...)
}

func refusePlain(cause error) *normalize.Error {
	return &normalize.Error{
		Kind: normalize.KindURLNotAllowed, Cause: cause,
		Detail: "plain http is only for addresses within outbound.allow_cidrs: use https",
	}
}

// refuseAddress keeps the address out of the detail: what a name of ours resolves
// to inside is not for callers.
func refuseAddress(ip netip.Addr, purpose string) *normalize.Error {
	return &normalize.Error{
		Kind: normalize.KindURLNotAllowed, Cause: errors.New(ip.String() + " is " + purpose),
		Detail: "the host of the URL is not a public address, nor one within outbound.allow_cidrs",
	}
}
