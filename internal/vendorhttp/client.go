// Package vendorhttp is the HTTP client of all adapters. It bounds what is read,
// tells how far a request came, turns statuses and broken connections into kinds,
// follows no redirect, repeats nothing that can have an effect, and lets no secret
// into an error.
package vendorhttp

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
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
	Header  http.Header      // further headers of every request; they may be secret
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
	header    http.Header // sent with every request to the vendor; never modified, and without the key
	auth      string      // the header that carries the key; empty: no key
	scheme    string
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
	for name, values := range o.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	auth := ""
	if !o.Key.IsZero() {
		auth = http.CanonicalHeaderKey(o.Auth)
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
	return &Client{
		base: base, header: header, auth: auth, scheme: o.Scheme, key: o.Key,
		explain: explain, idle: o.Env.Idle, transport: transport,
	}, nil
}

// Close lets go of the idle connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// AcceptStream is the Call.Accept of a request for an event stream. JSON is taken
// too: it is how errors come, and the answers of a server that cannot stream.
const AcceptStream = "text/event-stream, application/json"

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
	length int64         // as far as it is known before reading, else -1
}

// Open makes one request and returns as soon as a 2xx status line was read.
func (c *Client) Open(ctx context.Context, call Call) (*Stream, error) {
	path, err := url.PathUnescape(call.Path)
	if err != nil {
		return nil, &normalize.Error{Kind: normalize.KindInternal, Cause: fmt.Errorf("path of the call: %w", err)}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." { // an id that would lead to another resource of the vendor
			return nil, normalize.Errorf(normalize.KindInvalidRequest, "an id must not hold . or .. as a part of a path")
		}
	}
	u := *c.base
	u.Path, u.RawPath = c.base.Path+path, c.base.EscapedPath()+call.Path
	u.RawQuery = call.Query.Encode()
	header := c.header.Clone()
	if c.auth != "" {
		header[c.auth] = []string{c.scheme + c.key.Reveal()}
	}
	switch {
	case call.ContentType != "":
		header["Content-Type"] = []string{call.ContentType}
	case call.Body != nil:
		header["Content-Type"] = []string{"application/json"}
	}
	if call.Accept != "" {
		header["Accept"] = []string{call.Accept}
	}
	return c.roundTrip(ctx, call.Method, &u, header, call.Body)
}

// DoForeign makes one request to a URL that the vendor named, on whatever host,
// without the vendor's key. Plain http is only taken to a loopback address, and
// only from a vendor that is itself reached that way.
func (c *Client) DoForeign(ctx context.Context, method, rawURL, contentType string, body []byte) (Answer, error) {
	var checked adapters.BaseURL
	target, err := url.Parse(rawURL)
	if err == nil {
		err = checked.UnmarshalText([]byte(target.Scheme + "://" + target.Host))
	}
	if err != nil || target.User != nil || target.Scheme == "http" && c.base.Scheme != "http" {
		return Answer{}, &normalize.Error{Kind: normalize.KindInvalidReply, Detail: "the backend named a URL that may not be called"}
	}
	header := http.Header{"User-Agent": c.header["User-Agent"]}
	if contentType != "" {
		header["Content-Type"] = []string{contentType}
	}
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
	if len(body) > 0 {
		// No GetBody: net/http must not be able to send it a second time.
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	resp, err := c.transport.RoundTrip(req) //nolint:bodyclose // Stream.Close does
	if err != nil {
		failure := c.classify(ctx, err, wrote.Load(), answered.Load())
		cancel(nil)
		return nil, failure
	}
	s := &Stream{Status: resp.StatusCode, Header: resp.Header, client: c, ctx: ctx, cancel: cancel, body: resp.Body, length: resp.ContentLength}
	s.reader = resp.Body
	if c.idle > 0 {
		s.reader = &idleReader{source: resp.Body, idle: c.idle, cancel: cancel}
	}
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		s.reader, s.length = &gzipReader{source: s.reader}, -1
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
	if err == nil || err == io.EOF {
		return n, err
	}
	failure := &normalize.Error{Kind: normalize.KindTruncated, Phase: normalize.PhaseStatus, Cause: s.client.harmless(err)}
	var corrupt flate.CorruptInputError
	switch {
	case s.ctx.Err() != nil:
		failure = fromContext(s.ctx, normalize.PhaseStatus)
	case errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt):
		failure.Kind = normalize.KindInvalidReply
	}
	failure.VendorStatus = s.Status
	return n, failure
}

// Close ends the request. A connection whose body was read to its end is used
// again.
func (s *Stream) Close() error {
	err := s.body.Close()
	s.cancel(nil)
	return err
}

// EventStream reports whether the answer says that it is a stream of server-sent
// events.
func (s *Stream) EventStream() bool {
	media, _, err := mime.ParseMediaType(s.Header.Get("Content-Type"))
	return err == nil && media == "text/event-stream"
}

// Drain reads what follows an answer whose own end mark has come, and throws it
// away: mostly that is HTTP's last word alone, and the connection can then be used
// again. It takes no longer than 20 ms, and reads no more than 4 KiB.
func (s *Stream) Drain() {
	timer := time.AfterFunc(20*time.Millisecond, func() { s.cancel(nil) })
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, s, 4<<10) // how it ends says nothing about the answer
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
	var body []byte
	var err error
	if s.length > 0 {
		buf := bytes.NewBuffer(make([]byte, 0, s.length+bytes.MinRead))
		_, err = buf.ReadFrom(s)
		body = buf.Bytes()
	} else {
		body, err = io.ReadAll(io.LimitReader(s, limit+1))
	}
	if err == nil && int64(len(body)) > limit {
		return nil, &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: s.Status}
	}
	return body, err
}

// idleReader gives up when one read waits for too long. The time between reads,
// when it is we who are busy, does not count.
type idleReader struct {
	source io.Reader
	idle   time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (r *idleReader) Read(p []byte) (int, error) {
	if r.timer == nil {
		r.timer = time.AfterFunc(r.idle, func() { r.cancel(&normalize.Error{Kind: normalize.KindTimeout}) })
	} else {
		r.timer.Reset(r.idle)
	}
	defer r.timer.Stop()
	return r.source.Read(p)
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
			return 0, err // io.EOF where the body is empty
		}
		g.zr = zr
	}
	return g.zr.Read(p)
}

// classify tells a failure without an answer apart: by the phase, by who gave up,
// by the type of the error; never by its text.
func (c *Client) classify(ctx context.Context, err error, wrote, answered bool) *normalize.Error {
	phase := normalize.PhaseNone
	if wrote {
		phase = normalize.PhaseWritten
	}
	if ctx.Err() != nil {
		return fromContext(ctx, phase)
	}
	failure := &normalize.Error{Phase: phase, Cause: c.harmless(err)}
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

// harmless keeps of an error what may be logged. A broken connection speaks of
// addresses only, but the errors of net/http's parsers quote what the vendor sent,
// and that may be our own key.
func (c *Client) harmless(err error) error {
	if brokenConnection(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errors.New(normalize.Excerpt(c.key.Redact(err.Error()), excerptLength))
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
