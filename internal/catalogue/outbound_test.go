//go:build linux

package catalogue

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The addresses of the rows about URLs that callers give: all of 127.0.0.0/8 is ours.
const (
	allowedAddress = "127.0.0.2"
	victimAddress  = "127.0.0.9"
)

// sharing lets the program fetch from the allowed address.
const sharing = "outbound: {allow_cidrs: [" + allowedAddress + "/32]}\n"

// shelf serves files at the allowed address, and returns where.
func (s *scene) shelf(handler http.HandlerFunc) string {
	s.t.Helper()
	return "http://" + s.serveAt(allowedAddress+":0", &http.Server{Handler: handler})
}

// picture is a file that anybody may have.
func picture(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write([]byte("\x89PNG\r\n\x1a\n"))
}

// victim is a server that must not be reached.
type victim struct {
	port string

	mu      sync.Mutex
	reached []string
}

// besiege starts a victim at an address.
func (s *scene) besiege(address string) *victim {
	s.t.Helper()
	v := &victim{}
	addr := s.serveAt(address, &http.Server{
		Handler: http.HandlerFunc(picture),
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateNew {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.reached = append(v.reached, conn.RemoteAddr().String())
			}
		},
	})
	_, v.port, _ = net.SplitHostPort(addr)
	return v
}

// untouched checks that nobody has connected.
func (v *victim) untouched(t testing.TB) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.reached) > 0 {
		t.Errorf("the victim was reached %d times", len(v.reached))
	}
}

// fetched sends a message with an attachment at a URL.
func (c *client) fetched(url string) answer {
	c.t.Helper()
	return c.call("POST", "/v1/messages", object{"route": "solo", "text": "look", "attachments": []object{{"type": "image", "url": url}}})
}

// resolving makes what the program is started through so that it asks a DNS server
// of the row's own, which is served until its connection is closed.
func (s *scene) resolving(serve func(net.PacketConn)) wrapped {
	s.t.Helper()
	if syscall.Geteuid() != 0 {
		s.t.Skip("a resolv.conf of its own needs root")
	}
	var conn net.PacketConn
	var address string
	for range 20 { // others may have taken an address
		address = fmt.Sprintf("127.%d.%d.53", 1+rand.IntN(250), rand.IntN(250))
		var err error
		if conn, err = net.ListenPacket("udp", address+":53"); err == nil {
			break
		}
	}
	if conn == nil {
		s.t.Skip("port 53 cannot be bound")
	}
	var serving sync.WaitGroup
	s.t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	serving.Go(func() { serve(conn) })
	conf := s.file("resolv.conf", "nameserver "+address+"\n")
	return wrapped{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf}
}

// named is resolving with a function that gives the addresses of a name.
func (s *scene) named(lookup func(name string) []string) wrapped {
	s.t.Helper()
	return s.resolving(func(conn net.PacketConn) {
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(dnsAnswer(query[:n], lookup), from)
		}
	})
}

// dnsAnswer answers a query with a TTL of 0: a header of 12 bytes, the labels of the
// name, its type and its class (RFC 1035, 4.1).
func dnsAnswer(query []byte, lookup func(name string) []string) []byte {
	var labels []string
	end := 12
	for end < len(query) && query[end] != 0 {
		next := end + 1 + int(query[end])
		if next >= len(query) {
			return nil
		}
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	if end+5 > len(query) {
		return nil
	}
	answer := append([]byte(nil), query[:end+5]...)
	found := byte(0)
	if kind := query[end+2]; kind == 1 { // an IPv4 address is asked for
		for _, address := range lookup(strings.Join(labels, ".")) {
			found++
			// The name as a pointer to the question, type, class, TTL, length, address.
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			answer = append(answer, net.ParseIP(address).To4()...)
		}
	}
	copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0}) // an answer without error, to one question
	return answer
}

func a06(t testing.TB, s *scene) {
	c := s.usual()
	c.rest = sharing
	h := s.serve(c)
	v := s.besiege(victimAddress + ":0")
	ours := s.besiege("127.0.0.1:" + v.port)
	s.refuses(func() {
		for _, host := range []string{
			"127.0.0.1", "127.1", "127.9", "2130706433", "2130706441", "0x7f000001", "0x7f000009", "0177.0.0.1", "0177.0.0.011", "0.0.0.0", "0", "[::1]", "[::]", "127.0.0.9",
			"[::ffff:127.0.0.9]", "[::ffff:7f00:9]", "[::127.0.0.9]", "[fe80::1%25lo]", "[::1%25lo]", "localhost", "localhost.", "victim.localhost", "127.0.0.9.", "１２７.0.0.9",
			"127。0。0。9", "[64:ff9b::7f00:9]", "[2002:7f00:9::]", "user@127.0.0.9", allowedAddress + "@127.0.0.9",
		} {
			for _, scheme := range []string{"http", "https"} {
				a := h.fetched(fmt.Sprintf("%s://%s:%s/", scheme, host, v.port))
				if a.status != 422 {
					t.Errorf("%s://%s: %d %s", scheme, host, a.status, a.body)
					continue
				}
				a.problem(422, "url_not_allowed")
			}
		}
	})
	v.untouched(t)
	ours.untouched(t)
	h.fetched(s.shelf(picture) + "/a.png").turn()
}

func a07(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	v := s.besiege(victimAddress + ":0")
	s.refuses(func() {
		for _, url := range []string{
			"file:///etc/passwd", "file://127.0.0.9/etc/passwd", "ftp://127.0.0.9:{port}/", "gopher://127.0.0.9:{port}/_GET", "data:text/plain,hello",
			"unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun/", "http://93.184.216.34/", "http://" + allowedAddress + "/", "//127.0.0.9:{port}/", "/etc/passwd", "javascript:alert(1)",
			"https://", "https:///", "HTTP://93.184.216.34/",
		} {
			a := h.fetched(strings.ReplaceAll(url, "{port}", v.port))
			if a.status != 422 {
				t.Errorf("%s: %d %s", url, a.status, a.body)
			}
		}
	})
	v.untouched(t)
}

// refusedFetch checks a send whose attachment was not to be had: nothing was sent.
func (h *house) refusedFetch(a answer, asked int) {
	t := h.scene.t
	t.Helper()
	p := read[problem](a, 422)
	if p.Outcome != "none" {
		t.Errorf("outcome %q", p.Outcome)
	}
	h.scene.a.got(t, asked)
	if p.MessageID != nil {
		h.stored(h.threadOf(p.MessageID), failed...)
	}
	h.counted("a", 0, asked)
}

func a08(t testing.TB, s *scene) {
	c := s.usual()
	c.rest = sharing
	h := s.serve(c)
	v := s.besiege(victimAddress + ":0")
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, target := range []string{"http://" + victimAddress + ":" + v.port + "/", "//" + victimAddress + ":" + v.port + "/", "http://localhost:" + v.port + "/"} {
			shelf := s.shelf(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", target)
				w.WriteHeader(status)
			})
			h.refusedFetch(h.fetched(shelf+"/a.png"), 0)
		}
	}
	v.untouched(t)
}

// a09 lets a name lead to the allowed address, and then to the victim.
func a09(t testing.TB, s *scene) {
	var mu sync.Mutex
	round, asked := 0, 0
	how := s.named(func(string) []string {
		mu.Lock()
		defer mu.Unlock()
		asked++
		switch {
		case round%3 == 0: // both in one answer
			return []string{allowedAddress, victimAddress}
		case round%3 == 1: // the victim first
			return []string{victimAddress, allowedAddress}
		case asked%2 == 1: // the allowed one first, the victim from then on
			return []string{allowedAddress}
		default:
			return []string{victimAddress}
		}
	})
	c := s.usual()
	c.rest = sharing
	h := s.serveWrapped(how, c)
	shelf := s.shelf(picture)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(shelf, "http://"))
	v := s.besiege(victimAddress + ":" + port)
	good := 0
	for range times(30, 1000) {
		mu.Lock()
		round++
		mu.Unlock()
		a := h.fetched("http://files.test:" + port + "/a.png")
		if a.status == 200 {
			good++
			continue
		}
		if a.status != 422 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	v.untouched(t)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d names asked, %d files fetched", asked, good)
	if asked == 0 {
		t.Error("nobody asked the resolver: the row proves nothing")
	}
}

// a10 allows the whole of this machine, and means its own ports all the same.
func a10(t testing.TB, s *scene) {
	c := s.usual()
	c.admin, c.rest = closedPort(t), "outbound: {allow_cidrs: [127.0.0.0/8]}\n"
	h := s.serve(c)
	ports := map[string]string{"the API": strings.TrimPrefix(h.url, "http://"), "the admin's": c.admin}
	if p, ok := s.db.(*postgres); ok {
		ports["the database"] = p.host()
	}
	for what, addr := range ports {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]"} {
			a := h.fetched("http://" + host + ":" + port + "/v1/threads")
			if a.status != 422 {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		}
	}
	s.a.got(t, 0)
	h.fetched(s.shelf(picture) + "/a.png").turn()
}
