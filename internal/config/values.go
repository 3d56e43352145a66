package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chatmux/normalize"
)

// Store is where threads are kept. Either Postgres is set, or SQLite.
type Store struct {
	SQLite   string           // path of the file, or ":memory:"
	Postgres normalize.Secret // connection URL; it may hold a password
}

// UnmarshalText reads sqlite:PATH, sqlite::memory: or postgres://….
func (s *Store) UnmarshalText(text []byte) error {
	value := string(text)
	if path, ok := strings.CutPrefix(value, "sqlite:"); ok {
		if path == "" || strings.HasPrefix(path, "//") {
			return errors.New("names no file: write sqlite:PATH or \"sqlite::memory:\"")
		}
		*s = Store{SQLite: path}
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && u.RawQuery == "" {
		return errors.New("not a store: write sqlite:PATH, sqlite::memory: or postgres://user@host:5432/database")
	}
	*s = Store{Postgres: normalize.NewSecret(value)}
	return nil
}

// String names the store without password and parameters.
func (s Store) String() string {
	if s.Postgres.IsZero() {
		return "sqlite:" + s.SQLite
	}
	u, err := url.Parse(s.Postgres.Reveal())
	if err != nil {
		return s.Postgres.String()
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String()
}

// MarshalText gives what String does.
func (s Store) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Rate is so many requests in so much time. The zero Rate is no limit.
type Rate struct {
	Requests int
	Per      time.Duration // a second or a minute
}

// PerSecond is the rate as requests a second.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return float64(r.Requests) / r.Per.Seconds()
}

// UnmarshalText reads 50/s or 600/m.
func (r *Rate) UnmarshalText(text []byte) error {
	count, unit, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(count)
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute}[unit]
	if err != nil || per == 0 {
		return errors.New("not a rate: write requests per second as 50/s, or per minute as 600/m")
	}
	if n < 1 || n > 1_000_000 {
		return errors.New("the rate must be from 1 to 1000000")
	}
	*r = Rate{Requests: n, Per: per}
	return nil
}

// MarshalText writes the rate as it is read; the zero Rate is empty.
func (r Rate) MarshalText() ([]byte, error) {
	switch r.Per {
	case 0:
		return nil, nil
	case time.Second:
		return fmt.Appendf(nil, "%d/s", r.Requests), nil
	default:
		return fmt.Appendf(nil, "%d/m", r.Requests), nil
	}
}

// PublicURL is how others reach this server, without a final slash.
type PublicURL string

// UnmarshalText reads and checks the URL.
func (p *PublicURL) UnmarshalText(text []byte) error {
	u, err := webURL(string(text))
	if err != nil {
		return err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return errors.New("the URL must have no query")
	}
	*p = PublicURL(strings.TrimRight(string(text), "/"))
	return nil
}

// HookURL is where a webhook is posted. Path and query may hold a token, so it
// prints as its origin only; string(u) is all of it.
type HookURL string

// UnmarshalText reads and checks the URL.
func (h *HookURL) UnmarshalText(text []byte) error {
	if _, err := webURL(string(text)); err != nil {
		return err
	}
	*h = HookURL(text)
	return nil
}

// String gives scheme and host.
func (h HookURL) String() string {
	u, err := url.Parse(string(h))
	if err != nil || h == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/[secret]"
}

// MarshalText gives what String does.
func (h HookURL) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// webURL accepts https, and http to a loopback address. Its errors never repeat
// the value.
func webURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("not a URL: write https://host/path")
	case u.User != nil:
		return nil, errors.New("the URL must have no user name or password")
	case strings.Contains(text, "#"):
		return nil, errors.New("the URL must have no fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, errors.New("plain http is only for a loopback address: use https")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the URL must start with https://")
	}
	return u, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
