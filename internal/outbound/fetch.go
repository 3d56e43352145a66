package outbound

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"chatmux/normalize"
)

// maxName is the longest file name that is kept, in bytes: what file systems take.
const maxName = 255

// File is a file that was fetched.
type File struct {
	Name        string // as the server or else the URL says it, one line without folders; empty where neither does
	ContentType string // as the server says it, else by the first bytes; never empty
	Body        []byte
}

// Fetch gets the file that a URL leads to: the whole body of a 200, of at most
// limit bytes. A redirect is KindURLNotAllowed; any other status, and a body that is
// too large, too slow, cut short or encoded other than by gzip, is
// KindInvalidRequest. The rest is as with Do. Nothing of what the server wrote is
// in the error.
func (g *Guard) Fetch(ctx context.Context, rawURL string, limit int64) (File, *normalize.Error) {
	if refused := g.Check(rawURL); refused != nil {
		return File{}, refused
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return File{}, refuse("this is not a URL: write https://host/path")
	}
	req.Header.Set("User-Agent", "chatmux")
	resp, failure := g.Do(req)
	if failure != nil {
		return File{}, failure
	}
	defer resp.Body.Close()
	encoding := resp.Header.Get("Content-Encoding") // net/http has taken gzip away
	switch {
	case resp.StatusCode/100 == 3:
		return File{}, refuse("the URL answers with a redirect (status %d): give the URL that it leads to", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return File{}, normalize.Errorf(normalize.KindInvalidRequest, "the URL answers with status %d in place of a file", resp.StatusCode)
	case encoding != "" && encoding != "identity":
		return File{}, normalize.Errorf(normalize.KindInvalidRequest, "the URL answers with a Content-Encoding that was not asked for")
	}
	tooLarge := normalize.Errorf(normalize.KindInvalidRequest, "the file is larger than %d bytes", limit)
	if resp.ContentLength > limit {
		return File{}, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return File{}, g.failure(ctx, err, "the file was cut short, or is not what its header says")
	case int64(len(body)) > limit:
		return File{}, tooLarge
	}
	return File{Name: nameOf(resp.Header, req.URL), ContentType: contentType(resp.Header, body), Body: body}, nil
}

// nameOf gives the name of a fetched file.
func nameOf(header http.Header, u *url.URL) string {
	if _, params, err := mime.ParseMediaType(header.Get("Content-Disposition")); err == nil {
		if name := cleanName(params["filename"]); name != "" {
			return name
		}
	}
	return cleanName(u.Path)
}

// cleanName makes a name fit for a header and for a folder of whoever gets the
// file: the last part of a path, without control characters and marks that turn
// the direction of writing. What is then no name is empty.
func cleanName(name string) string {
	name = normalize.CleanText(name[strings.LastIndexAny(name, `/\`)+1:])
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, name)
	if strings.Trim(name, ". ") == "" || len(name) > maxName {
		return ""
	}
	return name
}

// contentType gives the type of a fetched file, with its parameters.
func contentType(header http.Header, body []byte) string {
	if media, params, err := mime.ParseMediaType(header.Get("Content-Type")); err == nil {
		if full := mime.FormatMediaType(media, params); full != "" {
			return full
		}
	}
	return http.DetectContentType(body)
}
