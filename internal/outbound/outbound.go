// Package outbound reaches the URLs that callers give: attachments that we fetch,
// receivers of webhooks. Its guard keeps them out of the networks that we stand in.
// It judges the address that is really dialled, so that neither a way to write an
// address, nor a name's second answer, nor a redirect leads past it.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"chatmux/normalize"
)

// defaultTimeout is how long a request may take where Options name no time.
const defaultTimeout = 15 * time.Second

// Options say where URLs may lead.
type Options struct {
	// AllowCIDRs are ranges that are admitted although they are not public. Only
	// there plain http is taken, and every port.
	AllowCIDRs []netip.Prefix

	// Own are the addresses of our listeners and of our database: never admitted,
	// not in AllowCIDRs either. An unspecified address (0.0.0.0, ::) stands for
	// every address of this machine.
	Own []netip.AddrPort

	Timeout  time.Duration  // for one request, from looking up the name to the last byte; 0: 15 s
	Resolver *net.Resolver  // looks up names; nil: the system's
	RootCAs  *x509.CertPool // signers of certificates; nil: the system's
}

// Guard makes requests to URLs that callers give, and refuses those that lead
// anywhere but to the public internet or to an allowed range. It is safe for
// concurrent use. It keeps no connection open: each request is judged anew.
type Guard struct {
	allow    []netip.Prefix
	own      []netip.AddrPort
	timeout  time.Duration
	resolver *net.Resolver
	plain    *http.Client
	secure   *http.Client

	interfaceAddrs func() ([]net.Addr, error) // net.InterfaceAddrs
}

// New makes a guard.
func New(o Options) *Guard {
	g := &Guard{allow: slices.Clone(o.AllowCIDRs), timeout: o.Timeout, resolver: o.Resolver, interfaceAddrs: net.InterfaceAddrs}
	for _, own := range o.Own {
		g.own = append(g.own, netip.AddrPortFrom(own.Addr().Unmap(), own.Port()))
	}
	if g.timeout <= 0 {
		g.timeout = defaultTimeout
	}
	g.plain = g.client(true, nil)
	g.secure = g.client(false, &tls.Config{RootCAs: o.RootCAs})
	return g
}

// client makes the client of one scheme: the dialer has to know it, because plain
// http is for the allowed ranges only.
func (g *Guard) client(plain bool, config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would be dialled in place of the address that is judged
			DialContext:            g.dialer(plain).DialContext,
			TLSClientConfig:        config,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       g.timeout,
	}
}

// dialer makes the dialer that every connection comes from. Control is called with
// each address that a name has led to, after it was looked up and before the
// connection is made.
func (g *Guard) dialer(plain bool) *net.Dialer {
	return &net.Dialer{
		Timeout:  g.timeout,
		Resolver: g.resolver,
		Control: func(_, address string, _ syscall.RawConn) error {
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return &normalize.Error{Kind: normalize.KindURLNotAllowed, Cause: err}
			}
			if refused := g.admit(target, plain); refused != nil {
				return refused
			}
			return nil
		},
	}
}

// Do makes one request to a URL that a caller gave. It gives the answer whatever
// its status, a redirect too: none is followed. The body is to be bounded and
// closed by whoever reads it; it arrives within the guard's timeout. No cookie and
// no credential is added to the request.
//
// A URL or address that is not admitted is KindURLNotAllowed; the request's
// context gives KindDeadline, KindCanceled, or the *normalize.Error that is its
// cause; everything else that goes wrong is KindInvalidRequest. No error repeats
// the URL.
func (g *Guard) Do(req *http.Request) (*http.Response, *normalize.Error) {
	if refused := g.Check(req.URL.String()); refused != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, refused
	}
	client := g.secure
	if req.URL.Scheme == "http" {
		client = g.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, g.failure(req.Context(), err, "the URL cannot be reached")
	}
	return resp, nil
}

// failure gives what a request or the reading of its answer has failed with. The
// detail is for what neither the guard, nor the context, nor the clock explains.
func (g *Guard) failure(ctx context.Context, err error, detail string) *normalize.Error {
	var known *normalize.Error
	if ctx.Err() != nil {
		failure := &normalize.Error{Kind: normalize.KindCanceled}
		switch cause := context.Cause(ctx); {
		case errors.As(cause, &known):
			failure = known
		case errors.Is(cause, context.DeadlineExceeded):
			failure.Kind = normalize.KindDeadline
		}
		return failure
	}
	if errors.As(err, &known) {
		return known
	}
	failure := &normalize.Error{Kind: normalize.KindInvalidRequest, Detail: detail, Cause: harmless(err)}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		failure.Detail = "the URL did not answer in full within " + g.timeout.String()
	}
	return failure
}

// harmless keeps of an error what may be logged. A broken connection, a failed
// look-up and a bad certificate speak of names and addresses. The errors around
// them hold the URL, and those of net/http's parsers quote what was answered,
// which may be the URL again.
func harmless(err error) error {
	var broken *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &broken):
		return broken
	case errors.As(err, &certificate):
		return errors.New(normalize.Excerpt(certificate.Error(), 200))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return errors.New("what was answered is not HTTP")
}
