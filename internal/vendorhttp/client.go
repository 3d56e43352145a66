// Package vendorhttp is the HTTP client of all adapters. It bounds what is read,
// tells how far a request came, turns statuses and broken connections into kinds,
// follows no redirect, repeats nothing, and lets no secret into an error.
package vendorhttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// MaxBody is the largest answer that is read, decoded: 8 MiB.
const MaxBody = 8 << 20

// excerptLength is how many characters of a vendor's text an error may show.
const excerptLength = 160

// Options say how one vendor's API is reached.
type Options struct {
	BaseURL adapters.BaseURL
	Auth    string           // the header that carries the key, as "Authorization"
	Scheme  string           // what stands before the key, as "Bearer "
	Key     normalize.Secret // the key itself
	Explain Explain          // reads the vendor's own error bodies
	Env     adapters.Env
}

// Explain reads an error body in the vendor's own form. It returns the zero Fault
// for one that it does not understand.
type Explain func(status int, body []byte) Fault

// Fault is what a vendor says of an error.
type Fault struct {
	Kind       normalize.Kind // KindInternal, the zero value: decide by the status
	Code       string         // the vendor's code
	Message    string         // the vendor's sentence
	RetryAfter time.Duration  // where the body says it; the header wins
}

// Client talks to one vendor. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	header    http.Header // sent with every request to the vendor; never modified
	key       normalize.Secret
	explain   Explain
	idle      time.Duration
	transport *http.Transport
}

// New makes a client. The base URL was checked when the config was read.
func New(o Options) (*Client, error) {
	base, err := url.Parse(string(o.BaseURL))
	if err != nil || base.Host == "" {
		return nil, errors.New("base_url is missing or not a URL")
	}
	header := http.Header{"Accept": {"application/json"}, "User-Agent": {"chatmux"}}
	if o.Auth != "" && !o.Key.IsZero() {
		header.Set(o.Auth, o.Scheme+o.Key.Reveal())
	}
	conns := max(o.Env.MaxInFlight, 2)
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: o.Env.Connect, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    o.Env.Connect,
		ResponseHeaderTimeout:  o.Env.FirstByte,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:           conns,
		MaxIdleConnsPerHost:    conns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // identity is asked for; what comes gzipped all the same is decoded in body
	}
	explain := o.Explain
	if explain == nil {
		explain = func(int, []byte) Fault { return Fault{} }
	}
	return &Client{base: base, header: header, key: o.Key, explain: explain, idle: o.Env.Idle, transport: transport}, nil
}

// Close lets go of the idle connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Call is one request to the vendor.
type Call struct {
	Method      string
	Path        string // below the base URL, with a leading slash, escaped
	Query       url.Values
	Body        []byte
	ContentType string // of the body; application/json where empty
	Accept      string // application/json where empty
}

// Answer is a whole 2xx answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do makes one request and reads the whole answer. Everything but a complete 2xx
// answer of at most MaxBody bytes is a *normalize.Error. A body that was cut is
// returned beside the error of KindTruncated, for what can be saved of it.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	s, err := c.Open(ctx, call)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	return s.Answer()
}

// Stream is an answer whose body is still to be read. Reading gives a
// *normalize.Error for everything but the end. Close it.
type Stream struct {
	Status int
	Header http.Header

	client *Client
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser // the connection's
	reader io.Reader     // decoded
	idle   *time.Timer
	length int64
}

// Open makes one request and returns as soon as a 2xx status line was read.
func (c *Client) Open(ctx context.Context, call Call) (*Stream, error) {
	u := *c.base
	u.RawPath = ""
	u.Path = c.base.Path + call.Path
	if strings.Contains(call.Path, "%") {
		unescaped, err := url.PathUnescape(call.Path)
		if err != nil {
			return nil, &normalize.Error{Kind: normalize.KindInternal, Cause: fmt.Errorf("path of the call: %w", err)}
		}
		u.Path, u.RawPath = c.base.Path+unescaped, c.base.EscapedPath()+call.Path
	}
	u.RawQuery = call.Query.Encode()
	header := c.header
	if call.Body != nil || call.Accept != "" {
		header = header.Clone()
		if call.Body != nil {
			header["Content-Type"] = []string{"application/json"}
		}
		if call.ContentType != "" {
			header["Content-Type"] = []string{call.ContentType}
		}
		if call.Accept != "" {
			header["Accept"] = []string{call.Accept}
		}
	}
	return c.roundTrip(ctx, call.Method, &u, header, call.Body)
}

// DoForeign makes one request to a URL that the vendor named, on whatever host,
// without the vendor's key. Plain http is only taken to a loopback address.
func (c *Client) DoForeign(ctx context.Context, method, rawURL, contentType string, body []byte) (Answer, error) {
	var checked adapters.BaseURL
	target, err := url.Parse(rawURL)
	if err == nil {
		err = checked.UnmarshalText([]byte(target.Scheme + "://" + target.Host))
	}
	if err != nil || target.User != nil {
		return Answer{}, &normalize.Error{Kind: normalize.KindInvalidReply, Detail: "the backend named a URL that may not be called"}
	}
	header := http.Header{"User-Agent": c.header["User-Agent"], "Content-Type": {contentType}}
	s, err := c.roundTrip(ctx, method, target, header, body)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	return s.Answer()
}

func (c *Client) roundTrip(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wrote, answered atomic.Bool
	req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).
		WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteHeaders:         func() { wrote.Store(true) },
			GotFirstResponseByte: func() { answered.Store(true) },
		}))
	if body != nil {
		// No GetBody: net/http must not be able to send it a second time.
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		failure := classify(ctx, err, wrote.Load(), answered.Load())
		cancel(nil)
		return nil, failure
	}
	s := &Stream{Status: resp.StatusCode, Header: resp.Header, client: c, ctx: ctx, cancel: cancel, body: resp.Body, length: resp.ContentLength}
	if c.idle > 0 {
		s.idle = time.AfterFunc(c.idle, func() { cancel(&normalize.Error{Kind: normalize.KindTimeout}) })
	}
	s.reader = resp.Body
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		s.reader, s.length = &gzipReader{source: resp.Body}, -1
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer s.Close()
		return nil, c.statusError(s)
	}
	return s, nil
}

// Read reads the decoded body.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.reader.Read(p)
	if s.idle != nil && n > 0 {
		s.idle.Reset(s.client.idle)
	}
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, err
	}
	failure := &normalize.Error{Kind: normalize.KindTruncated, Phase: normalize.PhaseStatus, VendorStatus: s.Status, Cause: err}
	if cause := s.ctx.Err(); cause != nil {
		failure = fromContext(s.ctx, normalize.PhaseStatus)
		failure.VendorStatus = s.Status
	}
	return n, failure
}

// Close ends the request. A connection whose body was read to its end is used
// again.
func (s *Stream) Close() error {
	if s.idle != nil {
		s.idle.Stop()
	}
	err := s.body.Close()
	s.cancel(nil)
	return err
}

// Answer reads the whole body, for a caller that first had to see the header. It
// gives what Do gives.
func (s *Stream) Answer() (Answer, error) {
	body, err := s.readAll(MaxBody)
	return Answer{Status: s.Status, Header: s.Header, Body: body}, err
}

// readAll reads at most limit bytes; a longer body is KindTooLarge.
func (s *Stream) readAll(limit int64) ([]byte, error) {
	if s.length > limit {
		return nil, &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: s.Status}
	}
	var buf bytes.Buffer
	if s.length > 0 {
		buf.Grow(int(s.length) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(io.LimitReader(s, limit+1))
	if err == nil && int64(buf.Len()) > limit {
		return nil, &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: s.Status}
	}
	return buf.Bytes(), err
}

// gzipReader decodes as it comes; the header is read with the first bytes.
type gzipReader struct {
	source io.Reader
	zr     *gzip.Reader
}

func (g *gzipReader) Read(p []byte) (int, error) {
	if g.zr == nil {
		zr, err := gzip.NewReader(g.source)
		if err != nil {
			return 0, fmt.Errorf("gzip: %w", errors.Join(io.ErrUnexpectedEOF, err))
		}
		g.zr = zr
	}
	return g.zr.Read(p)
}

// classify tells a failure without an answer apart: by the phase, by who gave up,
// by the type of the error; never by its text.
func classify(ctx context.Context, err error, wrote, answered bool) *normalize.Error {
	phase := normalize.PhaseNone
	if wrote {
		phase = normalize.PhaseWritten
	}
	if ctx.Err() != nil {
		return fromContext(ctx, phase)
	}
	failure := &normalize.Error{Phase: phase, Cause: withoutURL(err)}
	var netErr net.Error
	switch {
	case phase == normalize.PhaseNone:
		failure.Kind = normalize.KindUnreachable
	case errors.As(err, &netErr) && netErr.Timeout():
		failure.Kind = normalize.KindTimeout
	case answered && !brokenConnection(err):
		failure.Kind = normalize.KindNotHTTP
	default:
		failure.Kind = normalize.KindDisconnected
	}
	return failure
}

// brokenConnection reports whether the transport, and not the parser, failed.
func brokenConnection(err error) bool {
	var opErr *net.OpError
	var errno syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &opErr) || errors.As(err, &errno)
}

// fromContext gives the failure that ended the context: the *normalize.Error that
// is its cause, or that our client left.
func fromContext(ctx context.Context, phase normalize.Phase) *normalize.Error {
	cause := context.Cause(ctx)
	failure := &normalize.Error{Kind: normalize.KindCanceled}
	var known *normalize.Error
	switch {
	case errors.As(cause, &known):
		*failure = *known
	case errors.Is(cause, context.DeadlineExceeded):
		failure.Kind = normalize.KindDeadline
	}
	if failure.Kind == normalize.KindTimeout && phase == normalize.PhaseNone {
		failure.Kind = normalize.KindUnreachable
	}
	failure.Phase = phase
	return failure
}

// withoutURL takes the wrapping off that repeats the URL.
func withoutURL(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// statusError makes the failure of an answer that is not 2xx.
func (c *Client) statusError(s *Stream) *normalize.Error {
	body, _ := s.readAll(64 << 10) // what cannot be read of an error changes nothing about its status
	fault := c.explain(s.Status, body)
	failure := &normalize.Error{
		Kind:         fault.Kind,
		Phase:        normalize.PhaseStatus,
		VendorStatus: s.Status,
		VendorCode:   normalize.Excerpt(c.key.Redact(fault.Code), 64),
	}
	var waits bool
	failure.RetryAfter, waits = ParseRetryAfter(s.Header.Get("Retry-After"), time.Now())
	if !waits && fault.RetryAfter > 0 {
		failure.RetryAfter, waits = fault.RetryAfter, true
	}
	if failure.Kind == normalize.KindInternal {
		failure.Kind = KindOfStatus(s.Status, waits)
	}
	failure.Detail = failure.Kind.Policy().Detail + fmt.Sprintf(" (status %d", s.Status)
	if text := normalize.Excerpt(c.key.Redact(fault.Message), excerptLength); text != "" {
		failure.Detail += ": " + text
	}
	failure.Detail += ")"
	return failure
}

// KindOfStatus gives the kind of a vendor's HTTP status other than 2xx; waits says
// whether the vendor named a time to wait.
func KindOfStatus(status int, waits bool) normalize.Kind {
	switch {
	case status == http.StatusUnauthorized:
		return normalize.KindUnauthorized
	case status == http.StatusPaymentRequired:
		return normalize.KindQuota
	case status == http.StatusTooManyRequests:
		return normalize.KindRateLimited
	case status == http.StatusServiceUnavailable && waits:
		return normalize.KindOverloaded
	case status >= 500:
		return normalize.KindVendorFault
	case status >= 400:
		return normalize.KindRejected
	case status >= 300:
		return normalize.KindRedirected
	default:
		return normalize.KindNotHTTP
	}
}
