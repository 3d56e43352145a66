package sandbox

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// play is one request on its way to an answer.
type play struct {
	server   *Server
	fault    Fault
	entry    *Entry
	w        *countingWriter
	r        *http.Request
	aborted  bool // the request did not arrive whole
	peerLeft bool // noticed by the fault itself
}

// run waits and plays the fault.
func (p *play) run() {
	if p.aborted {
		p.peerLeft = true
		panic(http.ErrAbortHandler)
	}
	p.wait(p.fault.delay)
	if p.fault.action == nil {
		p.healthy()
		return
	}
	p.fault.action.play(p)
}

// readBody reads the whole request, and finds the fault that its text asks for
// where no script has one.
func (p *play) readBody(scripted bool) {
	body, err := io.ReadAll(io.LimitReader(p.r.Body, maxBody+1))
	p.entry.Body = body
	p.r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case err != nil:
		p.aborted = true
	case len(body) > maxBody:
		p.fault = refusal(http.StatusRequestEntityTooLarge, "the sandbox takes no request of this size")
	case !scripted:
		fault, found, err := marked(body)
		if err != nil {
			fault = refusal(http.StatusBadRequest, "a fault in the text is not written as it should be: "+err.Error())
		}
		if found {
			p.fault = fault
		}
	}
}

// refusal is an answer of the sandbox's own.
func refusal(status int, message string) Fault {
	body, _ := json.Marshal(map[string]string{"message": message, "detail": message}) // a map of strings always encodes
	return Fault{
		text: fmt.Sprintf("refused %d", status), action: find("status"), status: status,
		header: http.Header{"Content-Type": {"application/json"}}, body: string(body),
	}
}

// end writes down what became of the request. It runs while a panic unwinds too:
// http.ErrAbortHandler is how net/http is told to close a connection.
func (p *play) end() {
	p.server.change(func() {
		p.entry.Status, p.entry.Sent, p.entry.Done = p.w.status, p.w.sent, true
		gone := p.w.failed || p.r.Context().Err() != nil
		p.entry.PeerLeft = p.peerLeft || gone && !p.server.closed
	})
	if p.server.tell != nil {
		p.server.tell(*p.entry)
	}
}

// wait pauses; it gives up the request where the peer leaves or the server closes.
func (p *play) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (p *play) healthy() { p.server.handler.ServeHTTP(p.w, p.r) }

func (p *play) fixed() {
	for name, values := range p.fault.header {
		p.w.Header()[name] = values
	}
	p.w.WriteHeader(p.fault.status)
	_, _ = io.WriteString(p.w, p.fault.body)
}

// echoAuth repeats the credential wherever vendors put their error texts.
func (p *play) echoAuth() {
	text := "not accepted: " + p.r.Header.Get("Authorization")
	body, _ := json.Marshal(map[string]any{ // strings and maps of them always encode
		"message": text, "detail": text, "error": map[string]string{"message": text, "code": text, "type": text},
	})
	p.w.Header().Set("Content-Type", "application/json")
	p.w.WriteHeader(p.fault.status)
	_, _ = p.w.Write(body)
}

// answer is the twin's whole healthy answer.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// Flush does nothing: the answer is sent when it is whole.
func (a *answer) Flush() {}

// whole lets the twin answer and keeps the answer back.
func (p *play) whole() *answer {
	a := &answer{header: http.Header{}}
	p.server.handler.ServeHTTP(a, p.r)
	a.WriteHeader(http.StatusOK)
	return a
}

// head sends the status and the headers of an answer. A negative length leaves
// Content-Length out, so that net/http sends chunks.
func (p *play) head(a *answer, length int) {
	for name, values := range a.header {
		p.w.Header()[name] = values
	}
	p.w.Header().Del("Content-Length")
	if length >= 0 {
		p.w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	p.w.WriteHeader(a.status)
}

func (p *play) cut() {
	a := p.whole()
	part := a.body.Bytes()[:min(p.fault.count, int64(a.body.Len()))]
	if p.fault.word == "close" {
		conn, _ := p.take()
		defer p.drop(conn)
		p.raw(conn, rawHead(a, -1))
		p.w.status, p.w.sent = a.status, 0
		p.raw(conn, string(part))
		return
	}
	length := a.body.Len()
	if p.fault.word == "chunked" {
		length = -1
	}
	p.head(a, length)
	_, _ = p.w.Write(part)
	p.w.Flush()
	panic(http.ErrAbortHandler)
}

func (p *play) drip() {
	a := p.whole()
	p.head(a, a.body.Len())
	for a.body.Len() > 0 {
		if _, err := p.w.Write(a.body.Next(int(p.fault.count))); err != nil {
			panic(http.ErrAbortHandler)
		}
		p.w.Flush()
		p.wait(p.fault.pause)
	}
}

func (p *play) oversize() {
	const before, after = `{"padding":"`, `"}`
	padding := max(p.fault.count-int64(len(before)+len(after)), 0)
	p.w.Header().Set("Content-Type", "application/json")
	if p.fault.word != "chunked" {
		p.w.Header().Set("Content-Length", strconv.FormatInt(padding+int64(len(before)+len(after)), 10))
	}
	_, _ = io.WriteString(p.w, before)
	if _, err := io.CopyN(onlyWriter{p.w}, endless('x'), padding); err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(p.w, after)
}

// endless is a reader that repeats one byte.
type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// onlyWriter hides every other method, so that bytes are counted as they leave.
type onlyWriter struct{ io.Writer }

func (p *play) tarpit() {
	<-p.r.Context().Done()
	panic(http.ErrAbortHandler)
}

func (p *play) fin() { panic(http.ErrAbortHandler) }

func (p *play) reset() {
	var a *answer
	if p.fault.word == "head" || p.fault.word == "tail" {
		a = p.whole()
	}
	conn, _ := p.take()
	defer p.drop(conn)
	switch p.fault.word {
	case "head":
		p.raw(conn, rawHead(a, a.body.Len()))
		p.w.status, p.w.sent = a.status, 0
	case "tail":
		p.raw(conn, rawHead(a, -1)+a.body.String())
		p.w.status, p.w.sent = a.status, int64(a.body.Len())
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// read sends a FIN after the part of the body that serve has read. The rest is read
// after it: closing a socket that holds unread bytes would reset the connection.
func (p *play) read() {
	conn, buffered := p.take()
	defer p.drop(conn)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(buffered, maxBody))
}

// gzip compresses the healthy answer, an event stream event by event.
func (p *play) gzip() {
	a := p.whole()
	a.header.Set("Content-Encoding", "gzip")
	p.head(a, -1)
	zip := gzip.NewWriter(p.w)
	for _, part := range strings.SplitAfter(a.body.String(), eventEnd) {
		_, _ = io.WriteString(zip, part)
		if zip.Flush() != nil {
			panic(http.ErrAbortHandler)
		}
		p.w.Flush()
	}
	_ = zip.Close()
}

// eventEnd ends an event of a twin.
const eventEnd = "\n\n"

// events lets the twin answer, sends the head of its event stream, and gives its
// events. With any other answer the fault cannot be played: it is refused, or the
// twin's own refusal is sent, and there are no events.
func (p *play) events() []string {
	a := p.whole()
	switch {
	case a.status > 299:
		p.head(a, a.body.Len())
		_, _ = p.w.Write(a.body.Bytes())
		return nil
	case !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream"):
		p.fault = refusal(http.StatusBadRequest, "this fault needs an answer that is an event stream: ask for one")
		p.fixed()
		return nil
	}
	p.head(a, -1)
	p.w.Flush()
	list := strings.SplitAfter(a.body.String(), eventEnd)
	return list[:len(list)-1]
}

// send sends a piece of a stream at once.
func (p *play) send(piece string) {
	if _, err := io.WriteString(p.w, piece); err != nil {
		panic(http.ErrAbortHandler)
	}
	p.w.Flush()
}

func (p *play) insert() {
	list := p.events()
	for i, event := range list {
		if int64(i) == p.fault.count {
			p.send("data: " + p.fault.body + eventEnd)
		}
		p.send(event)
	}
	if list != nil && p.fault.count >= int64(len(list)) {
		p.send("data: " + p.fault.body + eventEnd)
	}
}

func (p *play) stall() {
	if list := p.events(); list != nil {
		p.send(strings.Join(list[:min(p.fault.count, int64(len(list)))], ""))
		p.tarpit()
	}
}

func (p *play) loop() {
	list := p.events()
	if list == nil {
		return
	}
	n := min(max(p.fault.count, 1), int64(len(list)))
	for p.send(strings.Join(list[:n-1], "")); ; {
		p.send(list[n-1])
	}
}

func (p *play) comments() {
	if p.events() == nil {
		return
	}
	for {
		p.send(": still here" + eventEnd)
		p.wait(p.fault.pause)
	}
}

func (p *play) garbage() {
	conn, _ := p.take()
	defer p.drop(conn)
	p.raw(conn, "\x16\x03\x01 220 this is not the protocol that you are looking for\r\n\r\n")
}

func (p *play) informational() {
	conn, _ := p.take()
	defer p.drop(conn)
	for p.raw(conn, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n") {
	}
	p.peerLeft = true
}

// take takes the connection from the HTTP server. What the server has read of it
// beyond the head is in the reader.
func (p *play) take() (net.Conn, *bufio.Reader) {
	conn, rw, err := http.NewResponseController(p.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if !p.server.hold(conn) {
		_ = conn.Close()
		panic(http.ErrAbortHandler)
	}
	return conn, rw.Reader
}

func (p *play) drop(conn net.Conn) {
	p.server.letGo(conn)
	_ = conn.Close()
}

// raw writes bytes as they are.
func (p *play) raw(conn net.Conn, text string) bool {
	n, err := io.WriteString(conn, text)
	p.w.sent += int64(n)
	return err == nil
}

// rawHead writes the head of an answer; without a length its body ends where the
// connection does.
func rawHead(a *answer, length int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	header := a.header.Clone()
	header.Del("Content-Length")
	if length >= 0 {
		header.Set("Content-Length", strconv.Itoa(length))
	}
	header.Set("Connection", "close")
	_ = header.Write(&b) // a strings.Builder takes everything
	b.WriteString("\r\n")
	return b.String()
}
