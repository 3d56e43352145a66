package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

func TestAnExportIsAFileWithAName(t *testing.T) {
	h := newHarness(t, Options{Now: func() time.Time { return noon }})
	for format, contentType := range exportTypes {
		for _, method := range []string{"GET", "HEAD"} {
			a := h.do(method, "/v1/export?format="+format, "").want(t, 200, "")
			for name, want := range map[string]string{
				"Content-Type": contentType, "Cache-Control": "no-store", "X-Accel-Buffering": "no",
				"Content-Disposition": `attachment; filename="chatmux-20260304T101531Z.` + format + `"`,
			} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s %s: %s is %q, want %q", method, format, name, got, want)
				}
			}
			if want := map[string]string{"GET": "a line\n"}[method]; string(a.body) != want {
				t.Errorf("%s %s: %q", method, format, a.body)
			}
		}
	}
}

func TestAnExportIsOfTheCallersOwnTenantAndFiltered(t *testing.T) {
	h := newHarness(t, Options{Callers: []Caller{{Name: "web", Tenant: "acme", KeySHA256: sha256.Sum256([]byte("k"))}}})
	auth := []string{"Authorization", "Bearer k"}
	h.get("/v1/export").want(t, 401, "unauthenticated")
	h.nothing()
	h.get("/v1/export?tenant=acme&format=jsonl&backend=desk&user=u-1&since=2026-03-04T10:15:31Z&until=2026-03-05T00:00:00Z", auth...).want(t, 200, "")
	want := engine.ExportRequest{
		Format: "jsonl", Backend: "desk", User: "u-1", Since: time.Date(2026, 3, 4, 10, 15, 31, 0, time.UTC), Until: time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC),
	}
	asked, ok := h.engine.take()[0].(askedExport)
	if !ok || asked.From.Caller.Tenant != "acme" || !cmp.Equal(asked.Export, want) {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	h.get("/v1/export", auth...).want(t, 200, "")
	if asked := h.engine.take()[0].(askedExport); asked.Export != (engine.ExportRequest{Format: "jsonl"}) {
		t.Errorf("without parameters: %+v", asked.Export)
	}
	h.get("/v1/export?tenant=other", auth...).want(t, 403, "forbidden")
	for query, field := range map[string]string{
		"format=pdf": "format", "since=yesterday": "since", "until=1": "until", "limit=3": "limit",
		"since=2026-03-04T10:15:31Z&until=2026-03-04T10:15:31Z": "until",
	} {
		h.get("/v1/export?"+query, auth...).wantField(t, field)
	}
	h.nothing()
}

func TestAnExportThatFailsIsNeverTakenForAWholeOne(t *testing.T) {
	h := newHarness(t, Options{})
	failure := &normalize.Error{Kind: normalize.KindStorageUnavailable, Cause: errors.New("gone")}
	h.engine.onExport = func(context.Context, io.Writer) error { return failure }
	if a := h.get("/v1/export?format=xlsx").want(t, 503, "storage_unavailable"); a.header.Get("Content-Disposition") != "" {
		t.Error("a problem object is no attachment")
	}
	for _, size := range []int{1, 1 << 20} {
		h.engine.onExport = func(_ context.Context, w io.Writer) error {
			if _, err := w.Write(bytes.Repeat([]byte("x"), size)); err != nil {
				return err
			}
			return failure
		}
		resp, err := h.client.Get("http://" + h.addr + "/v1/export")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || resp.StatusCode != http.StatusOK {
			t.Errorf("status %d and %d bytes end as if all were well", resp.StatusCode, len(got))
		}
	}
	if lines := h.log.FilterMessage("request").FilterField(zap.String("code", "storage_unavailable")).Len(); lines != 3 {
		t.Errorf("%d lines of the log tell, want 3", lines)
	}
}

func TestOnlySoManyExportsRunAtOnce(t *testing.T) {
	h := newHarness(t, Options{})
	begun, end := make(chan struct{}), make(chan struct{})
	h.engine.onExport = func(_ context.Context, w io.Writer) error {
		begun <- struct{}{}
		<-end
		_, err := io.WriteString(w, "done")
		return err
	}
	bodies := make(chan string)
	for range maxExports {
		go func() {
			resp, err := h.client.Get("http://" + h.addr + "/v1/export")
			if err != nil {
				bodies <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				b = []byte(err.Error())
			}
			bodies <- string(b)
		}()
	}
	for range maxExports {
		<-begun
	}
	if a := h.get("/v1/export").want(t, 503, "overloaded"); a.header.Get("Retry-After") == "" || !strings.Contains(a.problem(t).Detail, "exports") {
		t.Errorf("%v %s", a.header, a.body)
	}
	close(end)
	for range maxExports {
		if got := <-bodies; got != "done" {
			t.Errorf("an export that ran got %q", got)
		}
	}
	h.engine.onExport = nil
	h.get("/v1/export").want(t, 200, "")
}
