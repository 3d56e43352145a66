package conversations

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// maxExport is the largest file of records that is passed on.
const maxExport = 64 << 20

// ListRecords lists the chatbot's questions and answers. Both dates are needed by
// the vendor; they are the days of Since and Until in those times' own zones.
func (p *platform) ListRecords(ctx context.Context, query adapters.RecordQuery, page adapters.Page) (adapters.RecordPage, error) {
	values, err := pageQuery(page)
	if err != nil {
		return adapters.RecordPage{}, err
	}
	if err := setRecordQuery(values, query); err != nil {
		return adapters.RecordPage{}, err
	}
	results, answer, next, err := p.list(ctx, "/chatbots/"+p.chatbot+"/records/", values, page.Cursor)
	if err != nil {
		return adapters.RecordPage{}, err
	}
	records := make([]adapters.Record, 0, len(results))
	for _, v := range results {
		if !v.IsObject() {
			return adapters.RecordPage{}, answer.Invalid("the backend's record is not a JSON object")
		}
		records = append(records, adapters.Record{
			RemoteID:  scalar(v.Get("id")),
			Question:  text(v.Get("inputMessage")),
			Answer:    text(v.Get("outputMessage")),
			Error:     text(v.Get("error")),
			CreatedAt: decodeTime(v),
			Raw:       normalize.CleanBytes([]byte(v.Raw)),
		})
	}
	return adapters.RecordPage{Records: records, NextCursor: next}, nil
}

// ExportRecords gives the records as the vendor's Excel file, byte for byte. A
// file over 64 MiB is KindTooLarge, at once where its length is told, else while
// it is read. The context must live until the file is closed.
func (p *platform) ExportRecords(ctx context.Context, query adapters.RecordQuery) (adapters.ExportedFile, error) {
	values := url.Values{}
	if err := setRecordQuery(values, query); err != nil {
		return adapters.ExportedFile{}, err
	}
	stream, err := p.client.Open(ctx, vendorhttp.Call{
		Method: http.MethodGet,
		Path:   "/chatbots/" + p.chatbot + "/records/export-excel/",
		Query:  values,
		Accept: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet, */*",
	})
	if err != nil {
		return adapters.ExportedFile{}, err
	}
	contentType := stream.Header.Get("Content-Type")
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "text/html" || media == "application/json" {
		_ = stream.Close()
		return adapters.ExportedFile{}, vendorhttp.Answer{Status: stream.Status}.Invalid("the backend answered with something that is not a file")
	}
	if length, err := strconv.ParseInt(stream.Header.Get("Content-Length"), 10, 64); err == nil && length > maxExport {
		_ = stream.Close()
		return adapters.ExportedFile{}, &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: stream.Status}
	}
	return adapters.ExportedFile{
		Filename:    exportName(stream.Header.Get("Content-Disposition")),
		ContentType: contentType,
		Content:     &cappedFile{stream: stream, left: maxExport},
	}, nil
}

// setRecordQuery checks what the vendor would refuse anyway, and says it in our
// words.
func setRecordQuery(values url.Values, query adapters.RecordQuery) error {
	switch {
	case query.Since.IsZero():
		return normalize.InvalidField("since", "is needed: the first day of the records")
	case query.Until.IsZero():
		return normalize.InvalidField("until", "is needed: the last day of the records")
	}
	since, until := query.Since.Format(time.DateOnly), query.Until.Format(time.DateOnly)
	if until < since {
		return normalize.InvalidField("until", "must not be before since")
	}
	values.Set("startDate", since)
	values.Set("endDate", until)
	if query.BotText != "" {
		values.Set("botMessage", query.BotText)
	}
	if query.PersonText != "" {
		values.Set("userMessage", query.PersonText)
	}
	return nil
}

// exportName reads the name of a file, and nothing but the name: a path in it is
// the vendor's and not ours.
func exportName(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	name := path.Base(strings.ReplaceAll(normalize.Excerpt(params["filename"], 200), `\`, "/"))
	if err != nil || name == "." || name == ".." || name == "/" {
		return "records.xlsx"
	}
	return name
}

// cappedFile fails where a file is longer than it may be, instead of ending as if
// it were whole.
type cappedFile struct {
	stream *vendorhttp.Stream
	left   int64
}

func (f *cappedFile) Read(p []byte) (int, error) {
	if int64(len(p)) > f.left+1 {
		p = p[:f.left+1]
	}
	n, err := f.stream.Read(p)
	if int64(n) > f.left {
		return int(f.left), &normalize.Error{Kind: normalize.KindTooLarge, Phase: normalize.PhaseStatus, VendorStatus: f.stream.Status}
	}
	f.left -= int64(n)
	return n, err
}

func (f *cappedFile) Close() error { return f.stream.Close() }
