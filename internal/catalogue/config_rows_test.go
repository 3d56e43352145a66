//go:build linux

package catalogue

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// configRows are the config: refused, reloaded, checked.
var configRows = []row{
	{id: "G01", promise: "all_mistakes_are_told_at_once_with_their_places", run: g01},
	{id: "G02", promise: "a_mistake_beside_a_secret_does_not_print_it", run: g02},
	{id: "G03", promise: "references_to_nothing_are_refused", run: g03},
	{id: "G04", promise: "a_missing_default_and_equal_names_are_refused", run: g04},
	{id: "G05", promise: "durations_that_make_no_sense_are_refused", run: g05},
	{id: "G06", promise: "a_breaker_that_makes_no_sense_is_refused", run: g06},
	{id: "G07", promise: "a_port_in_use_ends_the_start", run: g07},
	{id: "G08", promise: "a_file_has_one_process", run: g08, stores: sqliteOnly},
	{id: "G09", promise: "a_database_that_is_away_is_waited_for", run: g09, stores: postgresOnly},
	{id: "G10", promise: "a_bad_file_leaves_the_old_one_in_force", run: g10},
	{id: "G11", promise: "reloads_under_load_fail_nothing", run: g11},
	{id: "G12", promise: "a_probe_outlives_its_config", run: g12},
	{id: "G13", promise: "a_newer_schema_is_refused_and_untouched", run: g13},
	{id: "G14", promise: "check_gives_the_verdict_of_serve_and_dials_nobody", run: g14},
	{id: "G15", promise: "old_and_new_share_a_database", tier: notYet, because: "is about PostgreSQL, and a second release"},
}

// refused starts the program with a config that is wrong, and returns what it says.
// It ends with status 2, and check says the same.
func (s *scene) refused(c *configuration) string {
	s.t.Helper()
	file := s.write(c)
	began := time.Now()
	out, status := s.run("serve", "--config", file)
	if status != 2 {
		s.t.Errorf("serve ends with %d: %s", status, out)
	}
	if took := time.Since(began); took > 10*time.Second {
		s.t.Errorf("refused after %v", took)
	}
	if strings.Contains(out, "listens") {
		s.t.Errorf("it listened: %s", out)
	}
	if strings.Contains(out, canary) {
		s.t.Errorf("a secret is printed: %s", out)
	}
	checked, status := s.run("check", "--config", file)
	if status != 2 || checked != out {
		s.t.Errorf("check ends with %d and says %s; serve says %s", status, checked, out)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "chatmux.db*")); len(left) > 0 {
		s.t.Errorf("a refused start left %v", left)
	}
	return out
}

// changed is a config with a text in place of another.
func (s *scene) changed(old, text string) *configuration {
	c := s.usual()
	c.mark = func(yaml string) string {
		if !strings.Contains(yaml, old) {
			s.t.Fatalf("the config has no %q", old)
		}
		return strings.Replace(yaml, old, text, 1)
	}
	return c
}

func g01(t testing.TB, s *scene) {
	c := s.usual()
	c.mark = func(yaml string) string {
		yaml = strings.Replace(yaml, "chatbot_id:", "chatbtot_id:", 1)
		yaml = strings.Replace(yaml, "timeout: 30s", "timeout: soon", 1)
		return strings.Replace(yaml, "fallback: [c]", "fallback: [cc]", 1)
	}
	out := s.refused(c)
	for what, form := range map[string]string{
		"the unknown key":    `config\.yaml:\d+:\d+: backends\[0\]\.settings\.chatbtot_id:.*chatbot_id`,
		"the wrong type":     `config\.yaml:\d+:\d+: limits\.timeout:`,
		"the unknown target": `config\.yaml:\d+:\d+: routes\[\d\]\.fallback.*`,
	} {
		if !regexp.MustCompile(form).MatchString(out) {
			t.Errorf("%s is not told: %s", what, out)
		}
	}
}

// g02 relies on refused, which searches for every secret.
func g02(_ testing.TB, s *scene) {
	for old, text := range map[string]string{
		"key: " + keyWeb + ", tenant": "key: [" + keyWeb + "], tenant",
		"key: " + keyOther:            "kye: " + keyOther,
		"name: web, key: " + keyWeb:   "name: web, key: " + keyWeb + ", key: " + keyWeb,
		"tenant: acme}":               "tenant: acme, key_sha256: " + keyWeb + "}",
		"adapter: openai":             "adapter: openaai",
		"base_url: \"" + s.a.base:     "base_url: \"http://user:" + canary + "@vendor.example",
		"callers:\n":                  "callers:\n  - {name: x, key: \"" + keyWeb + "\n",
		"{name: other, key: ":         "{name: other, key: ${" + strings.ToUpper(canary) + "}",
	} {
		s.refused(s.changed(old, text))
	}
}

func g03(_ testing.TB, s *scene) {
	s.refused(s.changed("to: b, fallback: [c]", "to: nobody, fallback: [c]"))
	s.refused(s.changed("to: b, fallback: [c]", "to: b, fallback: [c, c]"))
	s.refused(s.changed("to: b, fallback: [c]", "to: b, fallback: [b]"))
	s.refused(s.changed("tenant: acme}", "tenant: acme, routes: [nowhere]}"))
	s.refused(s.changed("to: b, fallback: [c]", "to: [{backend: b, weight: 1}, {backend: b, weight: 2}]"))
}

func g04(_ testing.TB, s *scene) {
	s.refused(s.changed("{name: solo, to: a}", "{name: solo, match: {metadata.x: y}, to: a}"))
	s.refused(s.changed("name: pair", "name: chain"))
	s.refused(s.changed("name: b\n", "name: a\n"))
	c := s.changed("{metadata.route: pair}", "{metadata.route: chain}")
	h := s.serve(c)
	got := h.call("POST", "/v1/messages", object{"text": "hello", "metadata": object{"route": "chain"}}).turn()
	if str(got.Thread.Route) != "chain" {
		s.t.Errorf("the route is %s, want the first that matches", str(got.Thread.Route))
	}
}

func g05(_ testing.TB, s *scene) {
	for _, timeout := range []string{"0", "0s", "-1s", "5", "soon", "\"\""} {
		s.refused(s.changed("timeout: 30s", "timeout: "+timeout))
	}
	for _, timeouts := range []string{"first_byte: 9s, total: 8s", "idle: 9s, total: 8s", "connect: 0s, total: 8s", "total: -8s"} {
		c := s.usual()
		c.backends["a"].timeouts = timeouts
		s.refused(c)
	}
}

func g06(_ testing.TB, s *scene) {
	for _, breaker := range []string{"probes: 0", "failures: 0", "min_requests: 0", "ratio: 1.1", "ratio: -0.1", "interval: 35s", "open_for: 0s", "failures: many"} {
		c := s.usual()
		c.backends["a"].breaker = breaker
		s.refused(c)
	}
}

func g07(t testing.TB, s *scene) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := s.usual()
	c.listen = taken.Addr().String()
	began := time.Now()
	out, status := s.run("serve", "--config", s.write(c))
	if status != 1 || !strings.Contains(out, "address already in use") {
		t.Errorf("status %d: %s", status, out)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("refused after %v", took)
	}
	s.serve(s.usual()).begin("solo", "hello")
}

func g08(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	thread := h.begin("solo", "hello")
	out, status := s.run("serve", "--config", s.write(s.usual()))
	if status != 1 || !strings.Contains(out, "in use by another process") {
		t.Errorf("the second process: status %d: %s", status, out)
	}
	h.next(thread, "undisturbed?").turn()
	h.kill()
	again := s.serve(s.usual())
	again.next(thread, "and now?").turn()
	s.db.intact(t)
}

func g10(t testing.TB, s *scene) {
	c := s.usual()
	h := s.serve(c)
	const refused = `chatmux_config_reloads_total{result="refused"}`
	for i, bad := range []string{"", "{", "backends: []\n", c.yaml(s.db.address()) + "nonsense: 1\n", strings.Replace(c.yaml(s.db.address()), "to: a}", "to: nobody}", 1)} {
		before := h.metric(refused)
		s.file("config.yaml", bad)
		if i%2 == 0 { // the others are noticed by the watch
			h.signal(syscall.SIGHUP)
		}
		eventually(t, "the refusal is counted", func() bool { return h.metric(refused) > before })
		h.begin("solo", "still there?")
	}
	lines := h.log.awaits(t, "not reloaded", 5)
	if !strings.Contains(lines[len(lines)-1], "config.yaml:") {
		t.Errorf("the log says %v", lines)
	}
	h.reload(c)
	h.begin("solo", "as before")
}

func g11(t testing.TB, s *scene) {
	c := s.usual()
	c.backends["c"].breaker = "failures: 5, open_for: 600s, probes: 2, interval: 60s"
	h := s.serve(c)
	h.opens(s.c)
	since := str(h.backend("c").Breaker.Since)
	var stop atomic.Bool
	var sent atomic.Int64
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		together(4, func(int) {
			for !stop.Load() {
				if a := h.first([]string{"solo", "pair"}[sent.Add(1)%2], "hello"); a.status != 200 {
					t.Errorf("a send failed: %d %s", a.status, a.body)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}()
	for i := range times(15, 1000) {
		c.backends["b"].timeouts = fmt.Sprintf("connect: 1s, first_byte: 15s, idle: 15s, total: %dms", 20000+i)
		h.reload(c)
	}
	stop.Store(true)
	<-finished
	if b := h.backend("c").Breaker; b.State != "open" || str(b.Since) != since {
		t.Errorf("the breaker of an unchanged backend is %+v, it was open since %s", b, since)
	}
	t.Logf("%d sends", sent.Load())
}

func g12(t testing.TB, s *scene) {
	c := s.usual()
	h := s.serve(c)
	for i := range times(5, 200) {
		c.backends["a"].timeouts = fmt.Sprintf("connect: 1s, first_byte: 15s, idle: 15s, total: %dms", 20000+i)
		c.backends["a"].breaker = "failures: 5, open_for: 100ms, probes: 1, interval: 60s"
		h.reload(c)
		h.opens(s.a)
		h.halfOpens("a")
		release := make(chan struct{})
		s.a.answers(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			if i%2 == 0 {
				w.WriteHeader(500)
				return
			}
			s.a.twin.ServeHTTP(w, r)
		})
		asked := len(s.a.sends())
		done := make(chan answer, 1)
		go func() { done <- h.first("solo", "a probe") }()
		s.a.await(t, asked+1)
		c.backends["a"].timeouts = fmt.Sprintf("connect: 1s, first_byte: 15s, idle: 15s, total: %dms", 21000+i)
		h.reload(c)
		close(release)
		if a := <-done; a.status != []int{502, 200}[i%2] {
			t.Errorf("the probe is answered %d %s", a.status, a.body)
		}
		s.a.front.Store(nil)
		if b := h.backend("a").Breaker; b.State != "closed" || b.Failures != 0 || b.Successes != 0 {
			t.Errorf("the new breaker is %+v", b)
		}
		h.first("solo", "hello").turn()
		h.counted("a", 0, 1)
	}
}

func g13(t testing.TB, s *scene) {
	h := s.serve(s.usual())
	h.begin("solo", "hello")
	h.stop()
	s.change("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, TRUE)")
	s.db.rest(t)
	before := sha256.Sum256(s.db.contents(t))
	out, status := s.run("serve", "--config", s.write(s.usual()))
	if status != 1 || !strings.Contains(out, "99999") {
		t.Errorf("status %d: %s", status, out)
	}
	if sha256.Sum256(s.db.contents(t)) != before {
		t.Error("the database was changed")
	}
}

func g14(t testing.TB, s *scene) {
	out, status := s.run("check", "--config", s.write(s.usual()))
	if status != 0 || strings.Contains(out, canary) {
		t.Errorf("check ends with %d: %s", status, out)
	}
	for _, want := range []string{"conversations", "chain", "drain", "failures: 5", "retention: 24h"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not tell %q: %s", want, out)
		}
	}
	for _, v := range s.vendors {
		if n := v.Connections(); n != 0 {
			t.Errorf("%s was dialled %d times", v.name, n)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "chatmux.db")); err == nil {
		t.Error("check has made a database")
	}
	s.refused(s.changed("{name: solo, to: a}", "{name: solo, to: nobody}"))
	if out, status := s.run("check", "--config", filepath.Join(s.dir, "absent.yaml")); status == 0 {
		t.Errorf("a file that is not there is good: %s", out)
	}
}
