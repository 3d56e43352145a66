package bot

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// teller is how simulated vendors call webhooks: no connection outlives its call.
var teller = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Tell posts JSON to a webhook, as a vendor does, and returns the status. It calls
// nobody but loopback addresses: whoever can give a simulated vendor an address must
// not reach the world with it.
func Tell(to string, header http.Header, body []byte) (status int, err error) {
	u, err := url.Parse(to)
	if err != nil {
		return 0, err
	}
	host, _, err := net.SplitHostPort(u.Host)
	if ip, bad := netip.ParseAddr(host); err != nil || bad != nil || !ip.IsLoopback() || u.Scheme != "http" {
		return 0, fmt.Errorf("%s is not http to a loopback address with its port", u.Redacted())
	}
	r, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, err
	}
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := teller.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, nil
}
