package app_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// serveAt serves on a loopback address other than ours.
func serveAt(t *testing.T, host string, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("this machine has no address %s beside 127.0.0.1 (Linux has; on macOS: ifconfig lo0 alias %s)", host, host)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func TestAFileThatACallerNamesIsFetchedAndUploaded(t *testing.T) {
	onEachStore(t, testAFileThatACallerNamesIsFetchedAndUploaded)
}

func testAFileThatACallerNamesIsFetchedAndUploaded(t *testing.T, newStore storeMaker) {
	files := serveAt(t, "127.0.0.2", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/notes.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "the content of the file")
	}))
	var visits atomic.Int32
	victim := serveAt(t, "127.0.0.9", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	h := startHouse(t, fmt.Sprintf(strings.Replace(quick, "limits:", "outbound: {allow_cidrs: [127.0.0.2/32]}\nlimits:", 1), newStore(t)))
	with := func(url string) object {
		return object{"text": "see the file", "attachments": []object{{"type": "document", "url": url, "filename": "notes.txt"}}}
	}

	for what, url := range map[string]string{"a victim": victim + "/secret", "ourselves": h.url + "/v1/threads", "another form of ourselves": "http://2130706433/"} {
		p := read[problem](t, h.call("POST", "/v1/messages", with(url)), 422)
		if p.Code != "url_not_allowed" || p.MessageID != "" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if list := read[struct{ Data []thread }](t, h.call("GET", "/v1/threads", nil), 200); len(list.Data) != 0 {
		t.Errorf("a refusal stored %+v", list.Data)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the victim was visited %d times", n)
	}

	got := read[turn](t, h.call("POST", "/v1/messages", with(files+"/notes.txt")), 200)
	if len(got.Replies) != 1 {
		t.Fatalf("turn %+v", got)
	}
	var uploaded, named bool
	for _, e := range h.twin("helpdesk").Ledger() {
		uploaded = uploaded || strings.Contains(string(e.Body), "the content of the file")
		named = named || strings.HasSuffix(e.Path, "/completions/") && strings.Contains(string(e.Body), `"notes.txt"`) && strings.Contains(string(e.Body), `"id":"`)
	}
	if !uploaded || !named {
		t.Errorf("uploaded: %v, named in the message by its id: %v", uploaded, named)
	}

	gone := read[problem](t, h.call("POST", "/v1/messages", with(files+"/none")), 422)
	if gone.Outcome != "none" {
		t.Errorf("problem %+v", gone)
	}
}
