package outbound

import "net"

// Dialer gives the dialer that requests of one scheme are made with.
func (g *Guard) Dialer(plain bool) *net.Dialer { return g.dialer(plain) }

// SetInterfaceAddrs says which addresses this machine has.
func (g *Guard) SetInterfaceAddrs(list func() ([]net.Addr, error)) { g.interfaceAddrs = list }
