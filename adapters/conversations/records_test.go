package conversations

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

var march4 = time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC)

func TestRecordDatesAreCheckedBeforeTheCall(t *testing.T) {
	v := newVendor(t, jsonAnswer(200, `{"count":0,"next":null,"results":[]}`))
	a := openAt(t, v.url, nil)
	for _, c := range []struct {
		name, field  string
		since, until time.Time
	}{
		{"no first day", "since", time.Time{}, march4},
		{"no last day", "until", march4, time.Time{}},
		{"the wrong way round", "until", march4, march4.AddDate(0, 0, -1)},
		{"one day", "", march4, march4.Add(-20 * time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			query := adapters.RecordQuery{Since: c.since, Until: c.until}
			_, listErr := a.(adapters.RecordLister).ListRecords(context.Background(), query, adapters.Page{})
			if c.field == "" {
				if listErr != nil {
					t.Error(listErr)
				}
				return
			}
			_, exportErr := a.(adapters.RecordExporter).ExportRecords(context.Background(), query)
			for _, err := range []error{listErr, exportErr} {
				if e := wantKind(t, err, normalize.KindInvalidRequest); len(e.Fields) != 1 || e.Fields[0].Field != c.field {
					t.Errorf("fields are %+v, want %s", e.Fields, c.field)
				}
			}
		})
	}
	if requests := v.ledger(); len(requests) != 1 || requests[0].query != "endDate=2026-03-04&startDate=2026-03-04" {
		t.Errorf("requests are %+v, want the good one alone", requests)
	}
}

func TestRecordsOfTheTwinAreItsTranscript(t *testing.T) {
	a := openTwin(t, newTwinServer(t, Spec.Twin(nil)), nil)
	for _, text := range []string{"Opening hours? <&>", "And on Sundays?", "Parking?"} {
		if _, err := send(t, a, turnOf(text, "")); err != nil {
			t.Fatal(err)
		}
	}
	// A day on either side: the test may run over midnight.
	query := adapters.RecordQuery{Since: time.Now().AddDate(0, 0, -1), Until: time.Now().AddDate(0, 0, 1)}
	var questions []string
	for page := (adapters.Page{Limit: 2}); ; {
		list, err := a.(adapters.RecordLister).ListRecords(context.Background(), query, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Records {
			questions = append(questions, r.Question)
			if r.RemoteID == "" || !strings.Contains(r.Answer, r.Question) || r.CreatedAt.IsZero() || len(r.Raw) == 0 {
				t.Errorf("record is %+v", r)
			}
		}
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	if got := strings.Join(questions, "|"); got != "Opening hours? <&>|And on Sundays?|Parking?" {
		t.Errorf("questions are %s", got)
	}
	query.PersonText = "Sundays"
	list, err := a.(adapters.RecordLister).ListRecords(context.Background(), query, adapters.Page{})
	if err != nil || len(list.Records) != 1 {
		t.Errorf("%d records (%v), want the one about Sundays", len(list.Records), err)
	}
	file, err := a.(adapters.RecordExporter).ExportRecords(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Content.Close()
	content, err := io.ReadAll(file.Content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zip.NewReader(bytes.NewReader(content), int64(len(content))); err != nil {
		t.Errorf("the file is no workbook: %v", err)
	}
	if !strings.HasPrefix(file.Filename, "records_") || !strings.HasSuffix(file.Filename, ".xlsx") ||
		!strings.Contains(file.ContentType, "spreadsheetml") {
		t.Errorf("file is %q of %q", file.Filename, file.ContentType)
	}
}

func exported(t *testing.T, a canned) (adapters.ExportedFile, error) {
	t.Helper()
	return openAt(t, newVendor(t, a).url, nil).(adapters.RecordExporter).
		ExportRecords(context.Background(), adapters.RecordQuery{Since: march4, Until: march4})
}

func TestExportedFileHasThePlainNameOfItsDisposition(t *testing.T) {
	for disposition, want := range map[string]string{
		`attachment; filename="records.xlsx"`:                        "records.xlsx",
		`attachment; filename=a.xlsx`:                                "a.xlsx",
		`attachment; filename*=UTF-8''%E7%B4%80%E9%8C%84%20%231.xls`: "紀錄 #1.xls",
		`attachment; filename="../../etc/passwd"`:                    "passwd",
		`attachment; filename="C:\\temp\\x.xlsx"`:                    "x.xlsx",
		`attachment; filename=".."`:                                  "records.xlsx",
		`attachment`:                                                 "records.xlsx",
		`;;`:                                                         "records.xlsx",
		``:                                                           "records.xlsx",
	} {
		header := http.Header{"Content-Disposition": {disposition}, "Content-Type": {"application/x"}}
		file, err := exported(t, canned{status: 200, header: header, body: "PK"})
		if err != nil {
			t.Fatal(err)
		}
		if file.Filename != want {
			t.Errorf("%s: name is %q, want %q", disposition, file.Filename, want)
		}
		_ = file.Content.Close()
	}
}

func TestAnExportThatIsNoFileIsInvalid(t *testing.T) {
	for _, contentType := range []string{"text/html; charset=utf-8", "application/json"} {
		_, err := exported(t, canned{status: 200, header: map[string][]string{"Content-Type": {contentType}}, body: "{}"})
		wantKind(t, err, normalize.KindInvalidReply)
	}
}

func TestAnExportOverTheLimitIsNeverCutSilently(t *testing.T) {
	big := canned{status: 200, header: map[string][]string{"Content-Length": {"70000000"}, "Content-Type": {"application/x"}}}
	_, err := exported(t, big)
	wantKind(t, err, normalize.KindTooLarge)

	for size, kind := range map[int]normalize.Kind{maxExport: normalize.KindInternal, maxExport + 1: normalize.KindTooLarge} {
		file, err := exported(t, canned{status: 200, header: map[string][]string{"Transfer-Encoding": {"chunked"}}, body: strings.Repeat("x", size)})
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, file.Content)
		_ = file.Content.Close()
		if n != maxExport {
			t.Errorf("read %d bytes of %d, want %d", n, size, maxExport)
		}
		if kind != normalize.KindInternal {
			wantKind(t, err, kind)
		} else if err != nil {
			t.Errorf("a file of the limit: %v", err)
		}
	}
}
