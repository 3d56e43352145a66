//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// A request that the twin refuses would measure refusals.
func TestVendorsAnswerWhatTheBenchmarkSends(t *testing.T) {
	for _, v := range vendors() {
		t.Run(v.name, func(t *testing.T) {
			server := httptest.NewServer(v.twin())
			defer server.Close()
			c, err := newClient(server.Listener.Addr().String(), v.auth, v.begin, 2)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			for range 3 {
				if err := c.send(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAnswerWithoutTheBotsWordsIsNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"replies":[]}`)
	}))
	defer server.Close()
	c, err := newClient(server.Listener.Addr().String(), "", func(poster) (request, error) { return request{"/", object{}}, nil }, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.send(); err == nil {
		t.Error("an empty answer was counted")
	}
}

// The second and the third request wait for the first: who comes while the server
// is busy waits too, and that wait belongs to the latency.
func TestOpenLoopCountsFromTheIntendedMoment(t *testing.T) {
	const slow = 20 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		time.Sleep(slow)
		_ = json.NewEncoder(w).Encode(object{"text": "You said: " + sent.Text})
	}))
	defer server.Close()
	begin := func(poster) (request, error) { return request{"/", object{"text": said}}, nil }
	c, err := newClient(server.Listener.Addr().String(), "", begin, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	s, err := open([]*client{c}, []time.Duration{0, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	for i, latency := range s.latencies {
		if least := time.Duration(i+1) * slow; latency < least {
			t.Errorf("request %d has a latency of %s, want at least %s", i+1, latency, least)
		}
	}
}

func TestQuantile(t *testing.T) {
	s := sample{latencies: make([]time.Duration, 200)}
	for i := range s.latencies {
		s.latencies[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0: 1, .5: 101, .99: 199, 1: 200} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile(%v) = %d, want %d", q, got, want)
		}
	}
}

func TestPoissonKeepsTheRate(t *testing.T) {
	list := poisson(1000, 10*time.Second, 1)
	if n := len(list); n < 9500 || n > 10500 { // five standard deviations; the seed is fixed
		t.Errorf("%d arrivals in 10 s at 1000 a second", n)
	}
	for i := 1; i < len(list); i++ {
		if list[i] < list[i-1] {
			t.Fatalf("arrival %d is before the one before it", i)
		}
	}
}

func TestCPUTimeIsReadBehindAnyProgramName(t *testing.T) {
	const numbers = " S 1 2 3 4 5 6 7 8 9 10 125 30 0 0 20 0 7 0 100 200 300"
	for _, name := range []string{"(chatmux)", "(a b)", "(odd) 99 (name)"} {
		got, err := parseStat("4242 " + name + numbers)
		want := cpu{user: 1250 * time.Millisecond, system: 300 * time.Millisecond}
		if err != nil || got != want {
			t.Errorf("parseStat(%s) = %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := parseStat("4242 (chatmux) S 1"); err == nil {
		t.Error("a line that is cut was read")
	}
}

func TestOwnMemoryIsSeen(t *testing.T) {
	m, err := memoryOf(os.Getpid())
	if err != nil || m.now < 1<<20 || m.peak < m.now {
		t.Errorf("memoryOf(self) = %+v, %v", m, err)
	}
}

func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	for _, line := range []string{"-rounds 0", "-duration 1ms", "-connections 0", "-connections 65", "-threads 63", "more"} {
		if _, err := readOptions(strings.Fields(line)); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}
