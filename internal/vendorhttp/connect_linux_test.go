package vendorhttp_test

import (
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// A listener that nobody accepts from and whose backlog is full drops every
// further SYN: a black hole. U03
func TestBlackHoleIsGivenUpAfterConnect(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for full := false; !full; {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if full = err != nil; !full {
			defer conn.Close()
		}
	}
	c := client(t, "http://"+addr, func(o *vendorhttp.Options) { o.Env.Connect = 200 * time.Millisecond })
	start := time.Now()
	e := fails(t, c, vendorhttp.Call{Method: http.MethodPost, Path: "/", Body: []byte("{}")})
	if e.Kind != normalize.KindUnreachable || e.Phase != normalize.PhaseNone {
		t.Errorf("%v in %v: %v", e.Kind, e.Phase, e)
	}
	if took := time.Since(start); took > env.FirstByte {
		t.Errorf("given up after %v, as if no connect timeout were set", took)
	}
}
