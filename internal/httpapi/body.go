package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"chatmux/normalize"
)

// body reads the request's body into buf and checks that it is acceptable JSON.
// The value and the raw bytes are good as long as buf is.
func (c *call) body(buf *[]byte) (value, error) {
	limit := c.api.limits.Body
	if c.r.ContentLength > limit {
		return nil, c.tooLarge(limit)
	}
	if err := mediaType(c.r.Header); err != nil {
		return nil, err
	}
	if err := c.readBody(buf, limit); err != nil {
		return nil, err
	}
	if err := checkJSON(*buf); err != nil {
		return nil, err
	}
	return value(bytes.Trim(*buf, " \t\n\r")), nil
}

// optionalBody is body for a request that needs none; then it gives no value.
func (c *call) optionalBody(buf *[]byte) (value, error) {
	if c.r.ContentLength == 0 {
		c.read = true
		*buf = (*buf)[:0]
		return nil, nil
	}
	return c.body(buf)
}

// tooLarge refuses a body, whose rest is not waited for.
func (c *call) tooLarge(limit int64) error {
	c.Header().Set("Connection", "close")
	return normalize.Errorf(normalize.KindBodyTooLarge, "the request body is larger than %s", normalize.ByteSize(limit))
}

// mediaType checks that a body says to be JSON in UTF-8, as it is.
func mediaType(h http.Header) error {
	refused := &normalize.Error{Kind: normalize.KindUnsupportedMediaType}
	if encodings := h.Values("Content-Encoding"); len(encodings) > 1 || len(encodings) == 1 && !strings.EqualFold(encodings[0], "identity") {
		return refused
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return refused
	}
	if types[0] == "application/json" { // nearly always
		return nil
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil || kind != "application/json" {
		return refused
	}
	if charset, given := params["charset"]; given && !strings.EqualFold(charset, "utf-8") {
		return refused
	}
	return nil
}

// readBody reads the body to its end, within the limits of size and time.
func (c *call) readBody(buf *[]byte, limit int64) error {
	// Where there is no connection (a recorder in a test) there is no deadline.
	conn := http.NewResponseController(c)
	_ = conn.SetReadDeadline(time.Now().Add(c.api.limits.BodyTimeout))
	b := slices.Grow((*buf)[:0], int(min(max(c.r.ContentLength, 0), maxPooled/2))+1) // one more, to see the end
	defer func() { *buf = b }()
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := c.r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return c.tooLarge(limit)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			// It was for the body: the connection is watched on, for a client that leaves.
			_ = conn.SetReadDeadline(time.Time{})
			c.read = true
			return nil
		}
		c.Header().Set("Connection", "close")
		c.read = true
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &normalize.Error{Kind: normalize.KindRequestTimeout}
		}
		c.left = true
		return normalize.Errorf(normalize.KindInvalidJSON, "the request body ends before its end")
	}
}
