package conversations

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"chatmux/adapters"
	"chatmux/normalize"
)

// unknownScore is how the vendor displays a score that was not judged.
const unknownScore = "-"

// shownRecord is one question and its answer. Nobody judges answers here, so all scores
// are unknown.
type shownRecord struct {
	ID              string  `json:"id"`
	InputMessage    string  `json:"inputMessage"`
	CondenseMessage string  `json:"condenseMessage"`
	OutputMessage   string  `json:"outputMessage"`
	Context         *string `json:"context"`

	FaithfulnessScore             *float64 `json:"faithfulnessScore"`
	DisplayFaithfulnessScore      string   `json:"displayFaithfulnessScore"`
	AnswerRelevancyScore          *float64 `json:"answerRelevancyScore"`
	DisplayAnswerRelevancyScore   string   `json:"displayAnswerRelevancyScore"`
	ContextPrecisionScore         *float64 `json:"contextPrecisionScore"`
	DisplayContextPrecisionScore  string   `json:"displayContextPrecisionScore"`
	AnswerCorrectnessScore        *float64 `json:"answerCorrectnessScore"`
	DisplayAnswerCorrectnessScore string   `json:"displayAnswerCorrectnessScore"`
	AnswerSimilarityScore         *float64 `json:"answerSimilarityScore"`
	DisplayAnswerSimilarityScore  string   `json:"displayAnswerSimilarityScore"`
	ContextRecallScore            *float64 `json:"contextRecallScore"`
	DisplayContextRecallScore     string   `json:"displayContextRecallScore"`

	ReplyTime *string `json:"replyTime"`
	CreatedAt string  `json:"createdAt"`
	Error     *string `json:"error"`
}

// recordColumns are the columns of the workbook: the record's fields, in its order.
func recordColumns() []any {
	return []any{
		"id", "inputMessage", "condenseMessage", "outputMessage", "context",
		"faithfulnessScore", "displayFaithfulnessScore", "answerRelevancyScore", "displayAnswerRelevancyScore",
		"contextPrecisionScore", "displayContextPrecisionScore", "answerCorrectnessScore", "displayAnswerCorrectnessScore",
		"answerSimilarityScore", "displayAnswerSimilarityScore", "contextRecallScore", "displayContextRecallScore",
		"replyTime", "createdAt", "error",
	}
}

// row is the record as a row of the workbook. What is null has an empty cell.
func (v *shownRecord) row() []any {
	return []any{
		v.ID, v.InputMessage, v.CondenseMessage, v.OutputMessage, nil,
		nil, v.DisplayFaithfulnessScore, nil, v.DisplayAnswerRelevancyScore,
		nil, v.DisplayContextPrecisionScore, nil, v.DisplayAnswerCorrectnessScore,
		nil, v.DisplayAnswerSimilarityScore, nil, v.DisplayContextRecallScore,
		orEmpty(v.ReplyTime), v.CreatedAt, orEmpty(v.Error),
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// exchange is a question with the replies to it.
type exchange struct {
	question normalize.Message
	replies  []normalize.Message
}

// at is when the record was made: with the first reply, else with the question.
func (x *exchange) at() time.Time {
	if len(x.replies) > 0 {
		return x.replies[0].CreatedAt
	}
	return x.question.CreatedAt
}

func (x *exchange) show() shownRecord {
	v := shownRecord{
		ID: normalize.UUIDForm(x.question.ID), InputMessage: x.question.Text, CondenseMessage: x.question.Text,
		OutputMessage:            adapters.JoinReplies(x.replies),
		DisplayFaithfulnessScore: unknownScore, DisplayAnswerRelevancyScore: unknownScore, DisplayContextPrecisionScore: unknownScore,
		DisplayAnswerCorrectnessScore: unknownScore, DisplayAnswerSimilarityScore: unknownScore, DisplayContextRecallScore: unknownScore,
		CreatedAt: stamp(x.at()),
	}
	if len(x.replies) > 0 {
		took := max(0, x.replies[0].CreatedAt.Sub(x.question.CreatedAt))
		v.ReplyTime = pointer(strconv.FormatFloat(took.Seconds(), 'f', 3, 64))
	}
	reason := x.question.Reason
	for _, m := range x.replies {
		if reason == "" {
			reason = m.Reason
		}
	}
	if reason != "" {
		v.Error = &reason
	}
	return v
}

// recordFilter is what a client asks of the records.
type recordFilter struct {
	bot         string
	from, until time.Time // until is the first moment that does not belong to them
	botText     string
	personText  string
}

// readRecordFilter reads the query. Both days are needed, are included, and are days of
// UTC: the documents name no zone.
func readRecordFilter(query url.Values, bot string) (recordFilter, error) {
	f := form{wrong: new([]normalize.FieldError)}
	day := func(name string) time.Time {
		value := query.Get(name)
		at, err := time.Parse(time.DateOnly, value)
		switch {
		case value == "":
			f.refuse(name, isRequired)
		case err != nil:
			f.refuse(name, "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.")
		}
		return at
	}
	filter := recordFilter{
		bot: bot, from: day("startDate"), until: day("endDate").AddDate(0, 0, 1),
		botText: query.Get("botMessage"), personText: query.Get("userMessage"),
	}
	if err := f.err(); err != nil {
		return recordFilter{}, err
	}
	if !filter.until.After(filter.from) {
		return recordFilter{}, normalize.InvalidField("endDate", "Must not be before startDate.")
	}
	return filter, nil
}

func (f *recordFilter) takes(x *exchange) bool {
	at := x.at()
	if at.Before(f.from) || !at.Before(f.until) || !strings.Contains(x.question.Text, f.personText) {
		return false
	}
	return f.botText == "" || strings.Contains(adapters.JoinReplies(x.replies), f.botText)
}

// eachRecord gives the records of a bot to yield, until that fails: conversation by
// conversation, oldest first within each. It reads our own transcripts, page by page.
func eachRecord(ctx context.Context, d adapters.Desk, f recordFilter, yield func(shownRecord) error) error {
	seen, last := make(map[string]bool), ""
	// A thread that changes meanwhile moves to the end of the list and is met again
	// there; the overlap of a millisecond is for those that changed in the same one.
	q := adapters.ThreadQuery{Bot: f.bot, UpdatedAfter: f.from.Add(-time.Millisecond), Limit: 200, Ascending: true}
	for {
		list, _, err := d.Threads(ctx, q)
		if err != nil {
			return err
		}
		if q.Offset > 0 && (len(list) == 0 || list[0].ID != last) { // one before this place moved away
			q.Offset = 0
			continue
		}
		for i := range list {
			if seen[list[i].ID] || !list[i].CreatedAt.Before(f.until) {
				continue
			}
			seen[list[i].ID] = true
			if err := eachExchange(ctx, d, list[i].ID, f, yield); err != nil {
				return err
			}
		}
		if len(list) < q.Limit {
			return nil
		}
		last = list[len(list)-1].ID
		if after := list[len(list)-1].UpdatedAt.Add(-time.Millisecond); after.After(q.UpdatedAfter) {
			q.UpdatedAfter, q.Offset = after, 0
		} else {
			q.Offset += len(list) - 1 // the last one shows whether the place is still the same
		}
	}
}

// eachExchange gives the records of one thread.
func eachExchange(ctx context.Context, d adapters.Desk, threadID string, f recordFilter, yield func(shownRecord) error) error {
	var exchanges []*exchange
	place := make(map[string]*exchange) // by the question's id
	for q := (adapters.MessageQuery{Spoken: true, Limit: 200}); ; {
		list, _, err := d.Messages(ctx, threadID, q)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Role == normalize.RoleUser {
				x := &exchange{question: m}
				exchanges, place[m.ID] = append(exchanges, x), x
				continue
			}
			x := place[m.InReplyTo]
			if n := len(exchanges); x == nil && n > 0 { // from before chatmux, or said by a human: to what was asked last
				x = exchanges[n-1]
			}
			if x != nil {
				x.replies = append(x.replies, m)
			}
		}
		if len(list) < q.Limit {
			break
		}
		q.Offset += len(list)
	}
	for _, x := range exchanges {
		if f.takes(x) {
			if err := yield(x.show()); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveRecords lists the questions to a bot and its answers.
func serveRecords(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	query := r.URL.Query()
	filter, err := readRecordFilter(query, d.Var("id"))
	if err != nil {
		return err
	}
	number, err := pageNumber(query)
	if err != nil {
		return err
	}
	size := pageSize(query)
	page, count := listing{Results: []any{}}, 0
	err = eachRecord(r.Context(), d, filter, func(v shownRecord) error {
		if count/size == number-1 {
			page.Results = append(page.Results, v)
		}
		count++
		return nil
	})
	switch {
	case err != nil:
		return err
	case number > max(1, (count+size-1)/size):
		return normalize.Errorf(normalize.KindNotFound, "Invalid page.")
	}
	page.Count = &count
	if number*size < count {
		page.Next = link(r, "page", strconv.Itoa(number+1))
	}
	if number > 1 {
		page.Previous = link(r, "page", strconv.Itoa(number-1))
	}
	return answer(w, http.StatusOK, page)
}

// workbookType is the media type of the Excel file.
const workbookType = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// serveWorkbook gives the records as an Excel file. Its rows wait on disk and not in
// memory, so that a failure to read them still has a status; the file then goes to the
// client as it is packed.
func serveWorkbook(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	query := r.URL.Query()
	filter, err := readRecordFilter(query, d.Var("id"))
	if err != nil {
		return err
	}
	book := newWorkbook()
	defer book.close()
	if err := book.add(recordColumns()); err != nil {
		return err
	}
	if err := eachRecord(r.Context(), d, filter, func(v shownRecord) error { return book.add(v.row()) }); err != nil {
		return err
	}
	if err := book.finish(); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", workbookType)
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="records_%s_%s.xlsx"`, query.Get("startDate"), query.Get("endDate")))
	w.WriteHeader(http.StatusOK)
	if err := book.write(w); err != nil {
		panic(http.ErrAbortHandler) // half a file must not look like a whole one
	}
	return nil
}

// workbook is an Excel file in the making. Every cell holds text, and text it stays:
// what begins like a formula is none.
type workbook struct {
	file  *excelize.File
	sheet *excelize.StreamWriter
	rows  int // of the sheet that is being written
	name  int // which sheet that is
}

func newWorkbook() *workbook { return &workbook{file: excelize.NewFile(), rows: excelize.TotalRows} }

// add appends a row, in a new sheet where the last one is full.
func (b *workbook) add(row []any) error {
	if b.rows == excelize.TotalRows {
		if err := b.turn(); err != nil {
			return err
		}
	}
	b.rows++
	return b.sheet.SetRow("A"+strconv.Itoa(b.rows), row)
}

// turn begins the next sheet.
func (b *workbook) turn() error {
	if err := b.finish(); err != nil {
		return err
	}
	b.name++
	name := "Sheet" + strconv.Itoa(b.name) // the file has the first of this name already
	if _, err := b.file.NewSheet(name); err != nil {
		return err
	}
	var err error
	b.sheet, err = b.file.NewStreamWriter(name)
	b.rows = 0
	return err
}

// finish ends the sheet that is being written.
func (b *workbook) finish() error {
	if b.sheet == nil {
		return nil
	}
	return b.sheet.Flush()
}

// write packs the file into w as it goes: by itself the library would pack it in memory.
func (b *workbook) write(w io.Writer) error {
	b.file.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(w) })
	return b.file.Write(io.Discard)
}

// close removes what waited on disk.
func (b *workbook) close() { _ = b.file.Close() }
