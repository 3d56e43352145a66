package adapters

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// BaseURL is where a vendor's API lives: https, or http to a loopback address; no
// user info, query or fragment. The word "sandbox" stands for the built-in twin
// of the vendor. A final slash is taken off.
type BaseURL string

// Sandbox is the BaseURL that asks for the built-in twin.
const Sandbox BaseURL = "sandbox"

// UnmarshalText reads and checks a base URL. The error never repeats the value:
// it might hold a password.
func (b *BaseURL) UnmarshalText(text []byte) error {
	s := string(text)
	if s == string(Sandbox) {
		*b = Sandbox
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return errors.New("not a URL: write https://host/path, or sandbox")
	case u.User != nil:
		return errors.New("a base URL holds no user name or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return errors.New("a base URL has no query and no fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("plain http is only for a loopback address: use https")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("a base URL starts with https://")
	}
	*b = BaseURL(strings.TrimRight(s, "/"))
	return nil
}

// MarshalText gives the URL.
func (b BaseURL) MarshalText() ([]byte, error) { return []byte(b), nil }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
