//go:build linux

package catalogue

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gauges are what may not grow.
type gauges struct{ goroutines, descriptors int }

// metrics reads all metrics, over a connection of its own.
func (h *house) metrics() string {
	h.scene.t.Helper()
	if h.admin == "" {
		return string(h.call("GET", "/metrics", nil, "Connection", "close").body)
	}
	resp, err := h.http.Get("http://" + h.admin + "/metrics")
	if err != nil {
		h.scene.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.scene.t.Fatal(err)
	}
	return string(body)
}

// metric reads one metric, by its name with its labels; 0 where there is none.
func (h *house) metric(name string) int { return metricIn(h.metrics(), name) }

func metricIn(all, name string) int {
	for line := range strings.Lines(all) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return -1
			}
			return int(f)
		}
	}
	return 0
}

func (h *house) gauges() gauges {
	h.client.close()
	all := h.metrics()
	return gauges{metricIn(all, "go_goroutines"), metricIn(all, "process_open_fds")}
}

// warm opens what the program opens once and keeps: the connections to its store.
func (h *house) warm() {
	for range 4 {
		done := make(chan struct{}, 8)
		for range cap(done) {
			go func() {
				_, _ = h.try("GET", "/v1/threads", nil)
				done <- struct{}{}
			}()
		}
		for range cap(done) {
			<-done
		}
	}
}

// settle checks at the end of a row that nothing is left over: nothing in flight,
// no goroutine, no descriptor, no secret anywhere, and that the program ends well.
func (h *house) settle() {
	t, s := h.scene.t, h.scene
	defer h.client.close()
	if !h.gone {
		h.rest()
		h.signal(syscall.SIGTERM)
		if status := h.end(patience); status != 0 {
			t.Errorf("SIGTERM ended the program with status %d:\n%s", status, tail(h.log.String()))
		}
		if strings.Contains(string(s.db.contents(t)), canary) {
			t.Error("a secret is in the database")
		}
	}
	for what, mark := range map[string]string{"a secret": canary, "a data race": "DATA RACE", "a crash": "fatal error: ", "a leak": "goroutine 1 ["} {
		if lines := h.log.lines(mark); len(lines) > 0 {
			t.Errorf("%s is in the log: %s", what, lines[0])
		}
	}
}

// rest waits until the program is as it was before the row.
func (h *house) rest() {
	t := h.scene.t
	t.Helper()
	eventuallyWithin(t, 5*time.Second, "nothing in flight", func() bool {
		list := read[struct{ Data []backendState }](h.call("GET", "/v1/backends", nil), 200)
		for _, b := range list.Data {
			if b.InFlight > 0 {
				return false
			}
		}
		return true
	})
	h.scene.dismiss()
	var now gauges
	end := time.Now().Add(5 * time.Second)
	for {
		all := ""
		h.client.close()
		all = h.metrics()
		if strings.Contains(all, canary) {
			t.Error("a secret is in the metrics")
		}
		now = gauges{metricIn(all, "go_goroutines"), metricIn(all, "process_open_fds")}
		if now.goroutines <= h.base.goroutines+3 && now.descriptors <= h.base.descriptors {
			return
		}
		if time.Now().After(end) {
			t.Errorf("left over: %+v, at the start %+v", now, h.base)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail is the end of a long text.
func tail(text string) string {
	if len(text) > 4000 {
		return fmt.Sprintf("… %s", text[len(text)-4000:])
	}
	return text
}
