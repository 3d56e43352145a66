package conversations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"chatmux/adapters"
	"chatmux/normalize"
)

// desk is a house whose threads and answers are given. What a test does not expect to
// be asked panics.
type desk struct {
	adapters.Desk
	vars     map[string]string
	body     string
	threads  []normalize.Thread // in the order of their last change
	messages map[string][]normalize.Message
	asked    func(adapters.ThreadQuery) // before a page of threads is given
	events   []normalize.Event
	failure  error
	sent     adapters.SendRequest
}

func (d *desk) Var(name string) string { return d.vars[name] }

func (d *desk) Body() ([]byte, error) { return []byte(d.body), nil }

func (d *desk) Threads(_ context.Context, q adapters.ThreadQuery) ([]normalize.Thread, int, error) {
	if d.asked != nil {
		d.asked(q)
	}
	var list []normalize.Thread
	for _, t := range d.threads {
		if t.UpdatedAt.After(q.UpdatedAfter) {
			list = append(list, t)
		}
	}
	if !q.Ascending {
		slices.Reverse(list)
	}
	total := len(list)
	list = list[min(q.Offset, total):]
	return list[:min(q.Limit, len(list))], total, nil
}

func (d *desk) Messages(_ context.Context, id string, q adapters.MessageQuery) ([]normalize.Message, int, error) {
	list := slices.Clone(d.messages[id])
	if q.Descending {
		slices.Reverse(list)
	}
	total := len(list)
	list = list[min(q.Offset, total):]
	return list[:min(q.Limit, len(list))], total, d.failure
}

func (d *desk) Stream(_ context.Context, r adapters.SendRequest, emit func(normalize.Event) error) error {
	d.sent = r
	for _, e := range d.events {
		if err := emit(e); err != nil {
			return err
		}
	}
	return d.failure
}

func (d *desk) Send(_ context.Context, r adapters.SendRequest) (adapters.SendAnswer, error) {
	d.sent = r
	return adapters.SendAnswer{}, d.failure
}

// serve asks an endpoint of the dialect, as the house does. cut reports that the
// connection was broken off.
func serve(t *testing.T, method, path, query string, d *desk) (w *httptest.ResponseRecorder, cut bool) {
	t.Helper()
	served := dialect()
	i := slices.IndexFunc(served.Endpoints, func(e adapters.Endpoint) bool { return e.Method == method && e.Path == "/api"+path })
	if i < 0 {
		t.Fatalf("no %s %s", method, path)
	}
	w = httptest.NewRecorder()
	url := "http://chat.example/conversations/api" + strings.ReplaceAll(path, "{id}", chatbotID) + "?" + query
	r := httptest.NewRequestWithContext(t.Context(), method, url, nil)
	defer func() {
		if v := recover(); v != nil {
			err, _ := v.(error)
			if cut = errors.Is(err, http.ErrAbortHandler); !cut {
				panic(v)
			}
		}
	}()
	if err := served.Endpoints[i].Serve(w, r, d); err != nil {
		served.Fail(w, r, "req_1", normalize.AsError(err))
	}
	return w, false
}

var day = time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)

// talk is a thread of one question and its answer, at a moment of the day.
func (d *desk) talk(at time.Duration, question, answer string) {
	id := fmt.Sprintf("thr_%d", len(d.threads))
	asked := day.Add(at)
	d.threads = append(d.threads, normalize.Thread{ID: id, CreatedAt: asked, UpdatedAt: asked.Add(2 * time.Second)})
	if d.messages == nil {
		d.messages = make(map[string][]normalize.Message)
	}
	d.messages[id] = []normalize.Message{
		{ID: "q" + id, Role: normalize.RoleUser, Text: question, Status: normalize.StatusSent, CreatedAt: asked},
		{ID: "a" + id, Role: normalize.RoleAssistant, Text: answer, InReplyTo: "q" + id, CreatedAt: asked.Add(2 * time.Second)},
	}
}

const recordsPath = "/chatbots/{id}/records/"

// records reads a page, and gives what was asked in it.
func records(t *testing.T, d *desk, query string) (questions []string, page map[string]any) {
	t.Helper()
	w, _ := serve(t, "GET", recordsPath, query, d)
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	for _, v := range page["results"].([]any) {
		questions = append(questions, v.(map[string]any)["inputMessage"].(string))
	}
	return questions, page
}

func TestRecordsAreThoseOfTheDaysAskedFor(t *testing.T) {
	d := &desk{vars: map[string]string{"id": chatbotID}}
	d.talk(-3*time.Second, "the evening before", "a")
	d.talk(0, "midnight", "the word")
	d.talk(24*time.Hour-3*time.Second, "the last of the day", "a")
	d.talk(24*time.Hour-2*time.Second, "answered the next day", "a")
	d.asked = func(q adapters.ThreadQuery) {
		if q.Bot != chatbotID {
			t.Errorf("the bot %q was asked for", q.Bot)
		}
	}
	for query, want := range map[string][]string{
		"startDate=2026-03-04&endDate=2026-03-04":                         {"midnight", "the last of the day"},
		"startDate=2026-03-03&endDate=2026-03-04":                         {"the evening before", "midnight", "the last of the day"},
		"startDate=2026-03-04&endDate=2026-03-05&botMessage=word":         {"midnight"},
		"startDate=2026-03-01&endDate=2026-03-31&userMessage=day":         {"the last of the day", "answered the next day"},
		"startDate=2026-03-04&endDate=2026-03-04&pageSize=1&page=2":       {"the last of the day"},
		"startDate=2026-03-04&endDate=2026-03-04&botMessage=none":         nil,
		"startDate=2027-01-01&endDate=2027-01-01":                         nil,
		"startDate=2026-03-04&endDate=2026-03-04&pageSize=none&cursor=no": {"midnight", "the last of the day"},
	} {
		if got, _ := records(t, d, query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	_, page := records(t, d, "startDate=2026-03-04&endDate=2026-03-04&pageSize=1")
	if page["count"] != 2.0 || page["previous"] != nil ||
		page["next"] != "http://chat.example/conversations/api/chatbots/"+chatbotID+"/records/?endDate=2026-03-04&page=2&pageSize=1&startDate=2026-03-04" {
		t.Errorf("page %v", page)
	}
	for query, want := range map[string]string{
		"":                                      `{"endDate":["This field is required."],"startDate":["This field is required."]}`,
		"startDate=2026-03-04":                  `{"endDate":["This field is required."]}`,
		"startDate=2026-03-04&endDate=4.3.2026": `{"endDate":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."]}`,
		"startDate=2026-03-05&endDate=2026-03-04": `{"endDate":["Must not be before startDate."]}`,
	} {
		if w, _ := serve(t, "GET", recordsPath, query, d); w.Code != 400 || w.Body.String() != want {
			t.Errorf("%q: %d %s", query, w.Code, w.Body)
		}
	}
	if w, _ := serve(t, "GET", recordsPath, "startDate=2026-03-04&endDate=2026-03-04&page=2", d); w.Code != 404 || w.Body.String() != `{"detail":"Invalid page."}` {
		t.Errorf("behind the last page: %d %s", w.Code, w.Body)
	}
}

func TestARecordHasAllThatTheDocumentsName(t *testing.T) {
	d := &desk{vars: map[string]string{"id": chatbotID}}
	d.talk(time.Hour, "When do you open?", "At nine.")
	d.talk(2*time.Hour, "Hello?", "")
	d.messages["thr_1"] = d.messages["thr_1"][:1]
	d.messages["thr_1"][0].Reason = "backend_error"
	_, page := records(t, d, "startDate=2026-03-04&endDate=2026-03-04")
	got := page["results"].([]any)
	want := map[string]any{
		"id": "qthr_0", "inputMessage": "When do you open?", "condenseMessage": "When do you open?", "outputMessage": "At nine.", "context": nil,
		"faithfulnessScore": nil, "displayFaithfulnessScore": "-", "answerRelevancyScore": nil, "displayAnswerRelevancyScore": "-",
		"contextPrecisionScore": nil, "displayContextPrecisionScore": "-", "answerCorrectnessScore": nil, "displayAnswerCorrectnessScore": "-",
		"answerSimilarityScore": nil, "displayAnswerSimilarityScore": "-", "contextRecallScore": nil, "displayContextRecallScore": "-",
		"replyTime": "2.000", "createdAt": "1772586002000", "error": nil,
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	failed := got[1].(map[string]any)
	if failed["error"] != "backend_error" || failed["outputMessage"] != "" || failed["replyTime"] != nil {
		t.Errorf("the question that nobody answered is %v", failed)
	}
}

// TestNoRecordIsLostWhileThreadsChange lets the first thread of a page move to the end of
// the list while the list is read, and lets hundreds have changed in one moment.
func TestNoRecordIsLostWhileThreadsChange(t *testing.T) {
	d := &desk{vars: map[string]string{"id": chatbotID}}
	for i := range 700 {
		d.talk(time.Hour, fmt.Sprint("number ", i), "a")
	}
	moved := 0
	d.asked = func(q adapters.ThreadQuery) {
		if q.Offset == 0 && moved == 0 {
			return
		}
		if moved++; moved == 1 {
			first := d.threads[0]
			first.UpdatedAt = first.UpdatedAt.Add(time.Minute)
			d.threads = append(d.threads[1:], first)
		}
	}
	w, _ := serve(t, "GET", "/chatbots/{id}/records/export-excel/", "startDate=2026-03-04&endDate=2026-03-04", d)
	var all []string
	for _, row := range rowsOf(t, w.Body.Bytes())[1:] {
		all = append(all, row[1])
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != 700 || len(all) != 700 || moved == 0 {
		t.Errorf("%d records, %d of them different, want 700", len(all), n)
	}
}

// rowsOf reads the first sheet of a workbook.
func rowsOf(t *testing.T, file []byte) [][]string {
	t.Helper()
	book, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	rows, err := book.GetRows(book.GetSheetName(0))
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	return rows
}

func TestTheWorkbookIsRealAndItsCellsAreHarmless(t *testing.T) {
	d := &desk{vars: map[string]string{"id": chatbotID}}
	questions := []string{`=HYPERLINK("http://evil.example","x")`, "+1", "@SUM(A1)", " <&>\"' 你好 🙂\n\tx ", "_x0041_", "-2+3"}
	for i, q := range questions {
		d.talk(time.Duration(i)*time.Minute, q, "=1+1")
	}
	w, cut := serve(t, "GET", "/chatbots/{id}/records/export-excel/", "startDate=2026-03-04&endDate=2026-03-04", d)
	if w.Code != 200 || cut || w.Header().Get("Content-Type") != workbookType ||
		w.Header().Get("Content-Disposition") != `attachment; filename="records_2026-03-04_2026-03-04.xlsx"` {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	book, err := excelize.OpenReader(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	sheet, rows := book.GetSheetName(0), rowsOf(t, w.Body.Bytes())
	head := make([]string, 0, 20)
	fields := reflect.TypeFor[shownRecord]()
	for i := range fields.NumField() {
		head = append(head, fields.Field(i).Tag.Get("json"))
	}
	if len(rows) != len(questions)+1 || !slices.Equal(rows[0], head) {
		t.Fatalf("rows %q", rows)
	}
	for i, q := range questions {
		if rows[i+1][1] != q || rows[i+1][3] != "=1+1" {
			t.Errorf("row %d is %q, want %q", i+1, rows[i+1], q)
		}
		cell := fmt.Sprint("B", i+2)
		formula, _ := book.GetCellFormula(sheet, cell)
		kind, err := book.GetCellType(sheet, cell)
		if err != nil || formula != "" || kind != excelize.CellTypeInlineString && kind != excelize.CellTypeSharedString {
			t.Errorf("cell %s has the formula %q and the type %v, %v", cell, formula, kind, err)
		}
	}
}

func TestAFullSheetIsFollowedByAnother(t *testing.T) {
	b := newWorkbook()
	defer b.close()
	for i := range 3 {
		if i == 2 {
			b.rows = excelize.TotalRows
		}
		if err := b.add([]any{fmt.Sprint("row ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	if err := b.finish(); err != nil {
		t.Fatal(err)
	}
	if err := b.write(&file); err != nil {
		t.Fatal(err)
	}
	book, err := excelize.OpenReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	var got []string
	for _, name := range book.GetSheetList() {
		rows, err := book.GetRows(name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(name, rows))
	}
	if want := []string{"Sheet1[[row 0] [row 1]]", "Sheet2[[row 2]]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestAStreamIsWhatTheVendorsClientsRead: a line of exactly `data: ` and an object for
// each piece, the conversation on every one, the last one done and empty.
func TestAStreamIsWhatTheVendorsClientsRead(t *testing.T) {
	reply := &normalize.Message{ID: "r", Text: "Hello \"<&>\" 你好"}
	d := &desk{body: `{"conversation":null,"message":{"content":"hi"},"is_streaming":true}`, events: []normalize.Event{
		{Type: normalize.EventMessage, Thread: &normalize.Thread{ID: "thr_01m7zsj4wne5f8v6d3q2c1b0a9"}, Message: &normalize.Message{}},
		{Type: normalize.EventDelta, MessageID: "r", Text: `Hello "<&>" `},
		{Type: normalize.EventDelta, MessageID: "r", Text: "你好"},
		{Type: normalize.EventReply, Message: reply},
		{Type: normalize.EventDone},
	}}
	w, cut := serve(t, "POST", "/chatbots/{id}/completions/", "", d)
	id := normalize.UUIDForm("thr_01m7zsj4wne5f8v6d3q2c1b0a9")
	want := `data: {"conversationId":"` + id + `","content":"Hello \"<&>\" ","done":false}` + "\n\n" +
		`data: {"conversationId":"` + id + `","content":"你好","done":false}` + "\n\n" +
		`data: {"conversationId":"` + id + `","content":"","done":true}` + "\n\n"
	if cut || w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d, cut %t:\n%s\nwant\n%s", w.Code, cut, w.Body, want)
	}
}

func TestAFailureBehindTheFirstPieceBreaksTheStreamOff(t *testing.T) {
	begun := normalize.Event{Type: normalize.EventMessage, Thread: &normalize.Thread{ID: "thr_1"}, Message: &normalize.Message{}}
	failed := normalize.Event{Type: normalize.EventError, Err: &normalize.Error{Kind: normalize.KindTruncated}}
	for _, d := range []*desk{
		{events: []normalize.Event{begun, {Type: normalize.EventDelta, MessageID: "r", Text: "Hel"}, failed}},
		{events: []normalize.Event{begun, {Type: normalize.EventDelta, MessageID: "r", Text: "Hel"}}, failure: context.Canceled},
	} {
		d.body = `{"message":{"content":"hi"},"isStreaming":true}`
		w, cut := serve(t, "POST", "/chatbots/{id}/completions/", "", d)
		if text := w.Body.String(); !cut || !strings.Contains(text, "Hel") || strings.Contains(text, `"done":true`) {
			t.Errorf("cut %t: %s", cut, text)
		}
	}
	d := &desk{body: `{"message":{"content":"hi"},"isStreaming":true}`, failure: &normalize.Error{Kind: normalize.KindBreakerOpen}}
	if w, cut := serve(t, "POST", "/chatbots/{id}/completions/", "", d); cut || w.Code != 503 || w.Body.String() != `{"detail":"the backend is not taking requests"}` {
		t.Errorf("a failure before anything was said: cut %t, %d %s", cut, w.Code, w.Body)
	}
}

func TestWhatIsWrongWithARequestIsSaidAsTheVendorsFrameworkSaysIt(t *testing.T) {
	for _, test := range []struct{ path, body, want string }{
		{"/chatbots/{id}/completions/", `[]`, `{"non_field_errors":["Invalid data. Expected a dictionary."]}`},
		{"/chatbots/{id}/completions/", `{}`, `{"message":["This field is required."]}`},
		{"/chatbots/{id}/completions/", `{"message":null}`, `{"message":["This field may not be null."]}`},
		{"/chatbots/{id}/completions/", `{"message":"hi"}`, `{"message":["Invalid data. Expected a dictionary."]}`},
		{"/chatbots/{id}/completions/", `{"message":{}}`, `{"message":{"content":["This field is required."]}}`},
		{"/chatbots/{id}/completions/", `{"message":{"content":""}}`, `{"message":{"content":["This field may not be blank."]}}`},
		{"/chatbots/{id}/completions/", `{"message":{"content":7,"sender":"me"},"conversation":"x"}`, `{"conversation":["Must be a valid UUID."],` +
			`"message":{"content":["Not a valid string."],"sender":["Must be a valid UUID."]}}`},
		{
			"/chatbots/{id}/completions/", `{"message":{"content":"hi"},"isStreaming":true,"is_streaming":false}`,
			`{"isStreaming":["isStreaming and is_streaming contradict each other."]}`,
		},
		{"/chatbots/{id}/completions/", `{"message":{"content":"hi"},"isStreaming":7}`, `{"isStreaming":["Must be a valid boolean."]}`},
		{
			"/chatbots/{id}/completions/", `{"message":{"content":"hi","attachments":[{"file":"https://x"},{},7],"queryMetadata":7}}`,
			`{"message":{"attachments":[{},{"file":["This field is required."]},["Invalid data. Expected a dictionary."]],` +
				`"queryMetadata":["Invalid data. Expected a dictionary."]}}`,
		},
		{"/messages/", `{"content":"hi"}`, `{"conversation":["This field is required."]}`},
		{"/messages/", `{"conversation":"` + conversationID + `","type":"sideways","content":"hi"}`, `{"type":["Not a valid choice."]}`},
		{"/messages/", `{"conversation":"` + conversationID + `"}`, `{"content":["This field may not be blank."]}`},
		{
			"/messages/", `{"conversation":"` + conversationID + `","content":"hi","canvas":{"name":"n"}}`,
			`{"canvas":{"canvasType":["This field is required."],"content":["This field is required."],"title":["This field is required."]}}`,
		},
		{"/conversations/", `{"webChat":""}`, `{"webChat":["This field may not be blank."]}`},
	} {
		if w, _ := serve(t, "POST", test.path, "", &desk{body: test.body}); w.Code != 400 || w.Body.String() != test.want {
			t.Errorf("%s %s: %d\n%s\nwant\n%s", test.path, test.body, w.Code, w.Body, test.want)
		}
	}
	d := &desk{body: `{"message":{"content":"hi"}}`, failure: normalize.InvalidField("attachments[1].url", "is not reachable")}
	if w, _ := serve(t, "POST", "/chatbots/{id}/completions/", "", d); w.Code != 400 ||
		w.Body.String() != `{"message":{"attachments":[{},{"file":["is not reachable"]}]}}` {
		t.Errorf("a refusal of the house: %d %s", w.Code, w.Body)
	}
}

func TestARequestIsReadInEverySpellingOfTheVendorsPages(t *testing.T) {
	for body, want := range map[string]adapters.SendRequest{
		`{"conversation":"","message":{"content":" a\n"},"isStreaming":true,"unknown":1}`: {Text: " a\n", Opening: &adapters.Opening{}},
		`{"message":{"content":"a","sender":"` + webChatID + `","queryMetadata":{"shop":"x","n":7,"on":true,"deep":{}},"metadata":{"zone":"UTC"},` +
			`"attachments":["` + chatbotID + `",{"id":"","type":"image","file":"https://x/a.png","filename":"a.png"}]},"is_streaming":"true"}`: {
			Text: "a", Opening: &adapters.Opening{User: normalize.User{ID: webChatID}},
			Metadata: map[string]string{"shop": "x", "n": "7", "on": "true", "zone": "UTC"},
			Attachments: []normalize.Attachment{
				{ID: chatbotID, Type: normalize.TypeOther},
				{Type: normalize.TypeImage, URL: "https://x/a.png", Filename: "a.png"},
			},
		},
	} {
		d := &desk{body: body}
		if w, _ := serve(t, "POST", "/chatbots/{id}/completions/", "", d); w.Code != 200 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
		if diff := cmp.Diff(want, d.sent); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

func TestTheCallersKeyIsInTheVendorsHeader(t *testing.T) {
	for value, want := range map[string]string{"Api-Key k": "k", "api-key k": "k", "Bearer k": "", "Api-Key": "", "Api-Key ": "", "": ""} {
		if got := callerKey(http.Header{"Authorization": {value}}); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if got := callerKey(http.Header{"Authorization": {"Api-Key k", "Api-Key l"}}); got != "" {
		t.Errorf("two headers: %q", got)
	}
	for value, want := range map[string]string{
		"": "Authentication credentials were not provided.", "Bearer k": "Invalid API key format.", "Api-Key k": "Invalid API key.",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if value != "" {
			r.Header.Set("Authorization", value)
		}
		dialect().Fail(w, r, "", &normalize.Error{Kind: normalize.KindUnauthenticated})
		if w.Code != 401 || w.Body.String() != `{"detail":"`+want+`"}` || w.Header().Get("WWW-Authenticate") != "Api-Key" {
			t.Errorf("%q: %d %s", value, w.Code, w.Body)
		}
	}
}

// FuzzForm holds the reader to what it promises of any JSON: a message to send, or a
// refusal of fields that can be written in the vendor's form.
func FuzzForm(f *testing.F) {
	f.Add(`{"conversation":"","message":{"content":"a","attachments":["x",{"id":7}],"queryMetadata":{"a":1}},"isStreaming":true}`)
	f.Add(`{"message":{"attachments":[[]],"sender":{}},"is_streaming":"yes"}`)
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		d := &desk{body: body, vars: map[string]string{"id": chatbotID}}
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
		w := httptest.NewRecorder()
		err := serveCompletion(w, r, &found{d})
		switch e := normalize.AsError(err); {
		case e == nil && d.sent.Text == "" && len(d.sent.Attachments) == 0:
			t.Errorf("%s: nothing was sent", body)
		case e != nil && (e.Kind != normalize.KindInvalidRequest || len(e.Fields) == 0):
			t.Errorf("%s: %v", body, err)
		case e != nil:
			writeFailure(w, r, "", e)
			if w.Code != 400 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
		}
	})
}

// found is a house that has every conversation.
type found struct{ *desk }

func (found) Find(_ context.Context, _, id string) (normalize.Thread, error) {
	return normalize.Thread{ID: id}, nil
}
