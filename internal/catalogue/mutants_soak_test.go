//go:build linux && soak

package catalogue

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mutant is a mistake that somebody could make, and the row that has to notice it.
type mutant struct {
	mistake string
	row     string
	edits   []edit
}

// edit replaces a text that stands once in a file.
type edit struct{ file, old, now string }

var mutants = []mutant{
	{"a commit is acknowledged before it is synced", "P11", []edit{
		{"internal/store/sqlite.go", "synchronous(FULL)", "synchronous(NORMAL)"},
		{"internal/store/sqlite.go", "synchronous != 2 {", "synchronous != 1 {"},
	}},
	{"a late write is not held against its epoch", "I11", []edit{
		{"internal/store/sends.go", "err == nil && state.epoch != f.Epoch {", "err == nil && false {"},
	}},
	{"a lease of 1s", "M02", []edit{
		{"internal/app/app.go", "Lease: a.config.Limits.Idempotency.Lease,", "Lease: time.Second,"},
	}},
	{"the answer comes before the last commit", "P02", []edit{
		{
			"internal/engine/send.go", "last, err := e.store.Finish(ctx, f)",
			"last, err := int64(0), error(nil)\n\t\ttime.AfterFunc(20*time.Millisecond, func() { _, _ = e.store.Finish(ctx, f) })",
		},
	}},
	{"the attempt is written down when it is over", "P04", []edit{
		{"internal/engine/deliver.go", "if err := s.accept(&row); err != nil {", "if err := s.accept(nil); err != nil {"},
		{
			"internal/engine/deliver.go", "reply, failure, err := s.ask(admission, b)",
			"reply, failure, err := s.ask(admission, b)\n\tif s.attempts == 1 {\n\t\t_ = s.engine.store.BeginAttempt(context.WithoutCancel(s.ctx), row, nil)\n\t}",
		},
	}},
	{"a send is repeated after bytes of it may have left", "U06", []edit{
		{
			"normalize/error.go", `closed the connection before it answered", Count: CountFailure, Again: AgainIfIdempotent`,
			`closed the connection before it answered", Count: CountFailure, Again: AgainBackedOff`,
		},
	}},
	{"the phase is taken from the error's text", "U07", []edit{
		{"internal/vendorhttp/client.go", "phase := normalize.PhaseNone\n\tif wrote {", "phase := normalize.PhaseNone\n\tif wrote && !strings.Contains(err.Error(), \"connection\") && !strings.Contains(err.Error(), \"EOF\") {"},
	}},
	{"a request that net/http repeats by itself", "R17", []edit{
		{
			"internal/vendorhttp/client.go", "req.ContentLength = int64(len(body))",
			"req.ContentLength = int64(len(body))\n\t\treq.Header[\"Idempotency-Key\"] = []string{\"k\"}\n\t\treq.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }",
		},
	}},
	{"a 429 counts as a failure", "U12", []edit{
		{"normalize/error.go", `takes no more requests for now", Count: CountExcluded`, `takes no more requests for now", Count: CountFailure`},
	}},
	{"another 4xx counts as a failure", "U13", []edit{
		{"normalize/error.go", `refused this message", Count: CountExcluded`, `refused this message", Count: CountFailure`},
	}},
	{"another 4xx counts as a success", "U13", []edit{
		{"internal/backend/breaker.go", "\tif failure != nil {\n\t\terr = failure", "\tif failure != nil && failure.Kind != normalize.KindRejected {\n\t\terr = failure"},
	}},
	{"a breaker's ticket is not given back", "R06", []edit{
		{"internal/backend/breaker.go", "\tb := t.breaker\n\tvar err error", "\tb := t.breaker\n\tif failure != nil && failure.Kind == normalize.KindCanceled {\n\t\treturn\n\t}\n\tvar err error"},
	}},
	{"a probe has no deadline", "R05", []edit{
		{"internal/backend/breaker.go", "const probeDeadline = 20 * time.Second", "const probeDeadline = time.Hour"},
	}},
	{"failures in a row are not counted", "R03", []edit{
		{"internal/backend/breaker.go", "\t\t\tb.inARow.Add(1)\n", ""},
	}},
	{"a vendor's wish for a pause is ignored", "U10", []edit{
		{"internal/backend/backend.go", "time.Until(time.Unix(0, b.coolUntil.Load())); rest > 0 {", "time.Until(time.Unix(0, b.coolUntil.Load())); rest > time.Hour {"},
	}},
	{"an IPv4 address within an IPv6 one is not seen", "A06", []edit{
		{"internal/outbound/check.go", "ip, port := target.Addr().Unmap(), target.Port()", "ip, port := target.Addr(), target.Port()"},
		{"internal/outbound/check.go", "if purpose := specialPurpose(ip); purpose != \"\" {", "if purpose := specialPurpose(ip); purpose != \"\" && ip.Is4() {"},
	}},
	{"the guard judges the name and not the address that is dialled", "A09", []edit{
		{"internal/outbound/outbound.go", "if refused := g.admit(target, plain); refused != nil {", "if refused := g.admit(target, plain); refused != nil && false {"},
	}},
	{"redirects are followed", "U17", []edit{
		{"internal/vendorhttp/client.go", "c.transport.RoundTrip(req)", "(&http.Client{Transport: c.transport}).Do(req)"},
	}},
	{"a vendor's error is shown as it is", "U27", []edit{
		{"internal/vendorhttp/client.go", "failure.Detail += \")\"", "failure.Detail += string(body)"},
	}},
	{"a query does not ask for the tenant", "A03", []edit{
		{"internal/store/queries.go", "WHERE t.id = $1 AND t.tenant = $2`,\n\tselectBindings", "WHERE t.id = $1 AND t.tenant <> '' || $2`,\n\tselectBindings"},
	}},
	{"a name may stand twice in an object", "C03", []edit{
		{"internal/httpapi/jsontext.go", "if s.seen(name, first, many) {", "if s.seen(name, first, many) && false {"},
	}},
	{"the end of a connection is taken for the end mark", "S03", []edit{
		{"internal/vendorhttp/telling.go", "return t.Truncated(\"\")", "return io.EOF"},
		{"adapters/openai/stream.go", "return c.told.Truncated(\"the backend's stream ended without a finish_reason\")", "return nil"},
	}},
	{"lines as short as those of bufio.Scanner", "S11", []edit{
		{"internal/vendorhttp/sse.go", "MaxLine  = 256 << 10", "MaxLine  = 64 << 10"},
	}},
	{"characters are decoded as they arrive", "S09", []edit{
		{
			"internal/vendorhttp/client.go", "n, err := s.reader.Read(p)",
			"n, err := s.reader.Read(p)\n\tif n > 0 && !bytes.Equal(bytes.ToValidUTF8(p[:n], nil), p[:n]) {\n\t\tp[n-1] = '?'\n\t}",
		},
	}},
	{"the head of a stream does not wait for content", "S01", []edit{
		{"internal/httpapi/stream.go", "wait := time.NewTimer(c.api.limits.HeadWait)", "wait := time.NewTimer(0)"},
	}},
	{"another backend is asked after content", "S02", []edit{
		{"internal/engine/deliver.go", " || failure.Phase == normalize.PhaseContent {", " {"},
	}},
	{"a client that left counts as a failure", "S17", []edit{
		{"normalize/error.go", `the request was given up", Count: CountExcluded`, `the request was given up", Count: CountFailure`},
	}},
	{"an event may be written for ever", "S16", []edit{
		{"internal/httpapi/stream.go", "\t_ = w.conn.SetWriteDeadline(time.Now().Add(w.call.api.limits.Write))\n", ""},
	}},
	{"a reload makes every breaker anew", "G11", []edit{
		{"internal/app/reload.go", "kept != nil && reflect.DeepEqual(kept.given, b) {", "kept != nil && reflect.DeepEqual(kept, b) {"},
	}},
}

// TestSoakMutants makes each mistake in a copy of the source, and runs the row that
// has to notice it.
func TestSoakMutants(t *testing.T) {
	tree := t.TempDir()
	copySource(t, tree)
	var quick []string
	for _, m := range mutants {
		if tierOf(t, m.row) == check && !slices.Contains(quick, m.row) {
			quick = append(quick, m.row)
		}
	}
	if said, failed := runIn(t, tree, "("+strings.Join(quick, "|")+")", check); failed {
		t.Fatalf("rows fail without a mistake, so they prove nothing:\n%s", said)
	}
	for _, m := range mutants {
		t.Run(m.row+"_"+strings.ReplaceAll(m.mistake, " ", "_"), func(t *testing.T) {
			for _, e := range m.edits {
				e.make(t, tree)
			}
			said, failed := runIn(t, tree, m.row, tierOf(t, m.row))
			switch {
			case strings.Contains(said, "building the program") || strings.Contains(said, "build failed"):
				t.Errorf("the mistake does not compile:\n%s", tail(said))
			case !failed:
				t.Errorf("%s does not notice that %s", m.row, m.mistake)
			case !strings.Contains(said, "Faults/"+m.row):
				t.Errorf("something else than %s failed:\n%s", m.row, tail(said))
			}
		})
	}
}

// copySource copies all that is needed to build and to test.
func copySource(t *testing.T, tree string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == ".git" || path == "bin"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(tree, path), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tree, path), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// make changes the file, until the end of the test.
func (e edit) make(t *testing.T, tree string) {
	t.Helper()
	file := filepath.Join(tree, e.file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(e.old)); n != 1 {
		t.Fatalf("%q stands %d times in %s: bring the mutant up to date", e.old, n, e.file)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(e.old), []byte(e.now), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// tierOf is the tier of a row that has a test.
func tierOf(t *testing.T, id string) tier {
	t.Helper()
	for _, group := range groups {
		for _, r := range group.rows {
			if r.id == id && r.run != nil {
				return r.tier
			}
		}
	}
	t.Fatalf("%s is no row with a test", id)
	return notYet
}

// runIn runs rows of a tier in a tree.
func runIn(t *testing.T, tree, rows string, which tier) (said string, failed bool) {
	t.Helper()
	args := []string{"test", "-count=1", "-timeout=10m", "-run", "^TestFaults$/^" + rows + "_"}
	if which == soak {
		args = []string{"test", "-count=1", "-timeout=10m", "-tags=soak", "-run", "^TestSoakFaults$/^" + rows + "_"}
	}
	cmd := exec.Command("go", append(args, "./internal/catalogue")...)
	cmd.Dir = tree
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CHATMUX_") }), "PWD="+tree)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}
