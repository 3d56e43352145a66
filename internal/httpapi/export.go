package httpapi

import (
	"net/http"
	"time"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// maxExports is how many exports run at once: each reads as fast as its client takes it.
const maxExports = 4

// exportWrite is how long a client may take to accept what is written, some 64 KiB.
const exportWrite = time.Minute

// exportTypes are the formats of an export and their media types.
var exportTypes = map[string]string{
	"jsonl": "application/x-ndjson",
	"csv":   "text/csv; charset=utf-8",
	"xlsx":  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// export is GET /v1/export. What goes wrong before the first byte is a problem object;
// after it the connection is cut, so that half a file never looks like a whole one.
func (c *call) export() error {
	var in input
	values := in.query(c.r, "format", "since", "until", "backend", "tenant", "user")
	format := paramOf(&in, values, "format", "jsonl", "csv", "xlsx")
	if format == "" {
		format = "jsonl"
	}
	request := engine.ExportRequest{
		Format: format, Backend: in.param(values, "backend", maxName), User: in.param(values, "user", maxField),
		Since: in.moment(values, "since"), Until: in.moment(values, "until"),
	}
	tenant := in.param(values, "tenant", maxField)
	if !request.Until.IsZero() && !request.Since.Before(request.Until) {
		in.at("until", func() { in.wrong("must lie after since") })
	}
	if err := in.err(); err != nil {
		return err
	}
	if tenant != "" && tenant != c.who.Tenant {
		return normalize.Errorf(normalize.KindForbidden, "a caller can export its own tenant only")
	}
	defer c.api.exports.Add(-1)
	if c.api.exports.Add(1) > maxExports {
		return normalize.Errorf(normalize.KindServerOverloaded, "the server has as many exports running as it may")
	}
	out := &exported{call: c, format: format}
	if c.r.Method == http.MethodHead {
		return out.begin()
	}
	err := c.api.engine.Export(c.r.Context(), c.origin(), request, out)
	switch {
	case err == nil && !out.begun:
		return out.begin()
	case err == nil:
		out.deadline(time.Time{}) // it is not for the connection's next answer
		return nil
	case !out.begun:
		return err
	}
	if c.r.Context().Err() == nil && !c.left { // our failure, not the client's
		failure := normalize.AsError(err)
		c.code, c.cause = failure.Kind.Policy().Code, failure.Cause
	}
	panic(http.ErrAbortHandler)
}

// exported writes an export: the head goes out with the first bytes.
type exported struct {
	*call
	format string
	begun  bool
}

func (x *exported) begin() error {
	x.begun = true
	h := x.Header()
	h.Set("Content-Type", exportTypes[x.format])
	h.Set("Content-Disposition", `attachment; filename="chatmux-`+x.api.now().UTC().Format("20060102T150405Z")+"."+x.format+`"`)
	h.Set("X-Accel-Buffering", "no")
	x.WriteHeader(http.StatusOK)
	return http.NewResponseController(x.call).Flush()
}

// deadline bounds the writes that follow; the zero time takes the bound away. Where there
// is no connection there is nothing to bound.
func (x *exported) deadline(at time.Time) {
	_ = http.NewResponseController(x.call).SetWriteDeadline(at)
}

// Write implements io.Writer.
func (x *exported) Write(b []byte) (int, error) {
	if !x.begun {
		if err := x.begin(); err != nil {
			return 0, err
		}
	}
	x.deadline(time.Now().Add(exportWrite))
	n, err := x.call.Write(b)
	if err != nil {
		x.left = true
	}
	return n, err
}
