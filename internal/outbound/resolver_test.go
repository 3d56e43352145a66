package outbound_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// resolver looks names up in a function, as at a DNS server that answers with a
// TTL of 0. The function is called once for the IPv4 addresses of a name and once
// for the IPv6 addresses; those of the other kind are left out.
func resolver(lookup func(name string, ipv6 bool) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return &dnsServer{lookup: lookup}, nil
	}}
}

// always is a resolver that gives the same addresses for every name.
func always(addresses ...string) *net.Resolver {
	return resolver(func(string, bool) []netip.Addr { return parsed(addresses...) })
}

func parsed(addresses ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range addresses {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

// dnsServer is both ends of a connection to a DNS server. It is a PacketConn so
// that the resolver talks to it as over UDP: one message a packet.
type dnsServer struct {
	net.PacketConn // of which nothing is called
	lookup         func(name string, ipv6 bool) []netip.Addr
	answer         []byte
}

// Write takes a query: a header of 12 bytes, the labels of the name, its type and
// its class (RFC 1035, 4.1).
func (s *dnsServer) Write(query []byte) (int, error) {
	const typeA, typeAAAA = 1, 28
	var labels []string
	end := 12
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	kind := query[end+2]
	s.answer = slices.Clone(query[:end+5])
	found := 0
	for _, ip := range s.lookup(strings.Join(labels, "."), kind == typeAAAA) {
		if ip.Is4() && kind == typeA || ip.Is6() && kind == typeAAAA {
			found++
			// The name as a pointer to the question, type, class, TTL 0, length, address.
			s.answer = append(s.answer, 0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, byte(ip.BitLen()/8))
			s.answer = append(s.answer, ip.AsSlice()...)
		}
	}
	copy(s.answer[2:], []byte{0x81, 0x80, 0, 1, 0, byte(found), 0, 0, 0, 0}) // an answer without error; one question
	return len(query), nil
}

func (s *dnsServer) Read(b []byte) (int, error)       { return copy(b, s.answer), nil }
func (s *dnsServer) Close() error                     { return nil }
func (s *dnsServer) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (s *dnsServer) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (s *dnsServer) SetDeadline(time.Time) error      { return nil }
func (s *dnsServer) SetReadDeadline(time.Time) error  { return nil }
func (s *dnsServer) SetWriteDeadline(time.Time) error { return nil }
