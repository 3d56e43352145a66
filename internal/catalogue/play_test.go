//go:build linux

package catalogue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// times is how often something is done: in a check, in a long run.
func times(quick, long int) int {
	if soaking {
		return long
	}
	return quick
}

// together runs a function n times at once, and waits for all.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// file writes a file of the row's own and returns its path.
func (s *scene) file(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// stop ends the program as SIGTERM does, in the middle of a row.
func (h *house) stop() {
	h.scene.t.Helper()
	h.client.close()
	h.signal(syscall.SIGTERM)
	if status := h.end(patience); status != 0 {
		h.scene.t.Errorf("SIGTERM ended the program with status %d:\n%s", status, tail(h.log.String()))
	}
}

// serveHTTP runs a server beside the vendors, and returns its address.
func (s *scene) serveHTTP(server *http.Server) string {
	s.t.Helper()
	return s.serveAt("127.0.0.1:0", server)
}

// serveAt is serveHTTP at an address.
func (s *scene) serveAt(address string, server *http.Server) string {
	s.t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if server.TLSConfig != nil {
			_ = server.ServeTLS(l, "", "")
			return
		}
		_ = server.Serve(l)
	}()
	s.leave(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}

// certificate is what a TLS server shows.
type certificate = tls.Certificate

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test's authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue makes a certificate for a name or an address.
func (a *authority) issue(t testing.TB, name string, until time.Time) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// overTLS lets a vendor be reached by https, and returns where.
func (s *scene) overTLS(v *vendor, cert certificate) string {
	s.t.Helper()
	target, err := url.Parse(v.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	return "https://" + s.serveHTTP(&http.Server{
		Handler:   httputil.NewSingleHostReverseProxy(target),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		ErrorLog:  log.New(io.Discard, "", 0), // that a client hangs up is the row's purpose
	})
}
