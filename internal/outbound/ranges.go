package outbound

import "net/netip"

// span is a range of addresses that are not public.
type span struct {
	prefix  netip.Prefix
	purpose string
}

// globalUnicast is all of IPv6 that is given to networks of the internet. What lies
// outside is special by that alone: loopback, mapped and compatible IPv4 (::/8),
// NAT64 (64:ff9b::/96, 64:ff9b:1::/48), discard-only (100::/64), segment routing
// (5f00::/16), unique local (fc00::/7), link-local (fe80::/10), site-local
// (fec0::/10), multicast (ff00::/8).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the ranges of IPv4, and those within globalUnicast, that are not
// public: what the IANA registries of special-purpose addresses do not call globally
// reachable, multicast, and whatever carries another address inside. Of a range
// that has reachable exceptions (192.0.0.9, 2001:4:112::/48) all is special: they
// are protocols, not servers.
//
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var special = []span{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a carrier's NAT (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927), as the metadata servers of clouds"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "for protocols (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private (RFC 1918)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or broadcast (RFC 1112, RFC 919)"},
	{netip.MustParsePrefix("2001::/23"), "for protocols (RFC 2928), as Teredo, benchmarks and ORCHID"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "6to4, which carries an IPv4 address (RFC 3056)"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation (RFC 9637)"},
}

// specialPurpose says what an unmapped address is for if it is not public, and is
// empty for a public one.
func specialPurpose(ip netip.Addr) string {
	if ip.Is6() && !globalUnicast.Contains(ip) {
		return "outside of the public range 2000::/3 (RFC 4291)"
	}
	for _, s := range special {
		if s.prefix.Contains(ip) {
			return s.purpose
		}
	}
	return ""
}
