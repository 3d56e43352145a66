package conversationstwin

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatmux/internal/sandbox/bot"
)

// client calls a twin as a program would that was written by the vendor's pages.
type client struct {
	t    *testing.T
	base string // ends in /api or /api/v1
}

func newClient(t *testing.T, path string) client {
	t.Helper()
	server := httptest.NewServer(New(Options{}))
	t.Cleanup(server.Close)
	return client{t, server.URL + path}
}

// do makes a call with the right key; header may name others, as "Name: value".
func (c client) do(method, path, body string, header ...string) (int, []byte) {
	c.t.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = c.base + path
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Api-Key "+DefaultKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Del(name)
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// object is do for a call that must give an object and a status.
func (c client) object(status int, method, path, body string, header ...string) map[string]any {
	c.t.Helper()
	got, answer := c.do(method, path, body, header...)
	if got != status {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, answer)
	}
	var v map[string]any
	if err := json.Unmarshal(answer, &v); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
	return v
}

func (c client) results(path string) (results []any, whole map[string]any) {
	c.t.Helper()
	whole = c.object(200, "GET", path, "")
	results, ok := whole["results"].([]any)
	if !ok {
		c.t.Fatalf("GET %s: no results in %v", path, whole)
	}
	return results, whole
}

const completionsPath = "/chatbots/" + DefaultChatbotID + "/completions/"

var millis = regexp.MustCompile(`^\d{13}$`)

func wantMillis(t *testing.T, object map[string]any, names ...string) {
	t.Helper()
	for _, name := range names {
		if s, _ := object[name].(string); !millis.MatchString(s) {
			t.Errorf("%s is %v, want a text of 13 digits", name, object[name])
		}
	}
}

// TestTheCallsOfTheReferencePage makes the eight calls that the vendor's page on
// conversations and messages documents, with every field and parameter it has.
func TestTheCallsOfTheReferencePage(t *testing.T) {
	for _, prefix := range []string{"/api", "/api/v1"} {
		t.Run(prefix, func(t *testing.T) {
			c := newClient(t, prefix)

			created := c.object(201, "POST", "/conversations/", `{"webChat": "`+DefaultWebChatID+`"}`)
			id, contact := created["id"].(string), created["contact"].(map[string]any)["id"].(string)
			wantMillis(t, created, "createdAt", "lastMessageCreatedAt")

			file := c.object(201, "POST", "/attachments/", `{"file": "`+c.store("label.png", "PNG")+`", "filename": "label.png", "type": "image"}`)
			attachment := fmt.Sprintf(`{"id": %q, "type": "image", "filename": "label.png", "file": %q}`, file["id"], file["file"])

			answer := c.object(200, "POST", completionsPath, `{
				"conversation": "`+id+`",
				"message": {
					"content": "Opening hours?",
					"contentPayload": {"any": ["thing"]},
					"queryMetadata": {"knowledge_base_id": "x"},
					"attachments": [`+attachment+`],
					"sender": "`+contact+`"
				},
				"isStreaming": false
			}`)
			if answer["conversationId"] != id || answer["content"] != bot.Answer(1, "Opening hours?", "Opening hours?") {
				t.Errorf("completion is %v", answer)
			}

			message := c.object(201, "POST", "/messages/", `{
				"conversation": "`+id+`", "type": "incoming", "content": "And on Sundays?", "contentPayload": {}, "queryMetadata": {},
				"attachments": [`+attachment+`],
				"canvas": {"name": "n", "canvasType": {"x": 1}, "title": "t", "content": "c"}
			}`)
			if message["type"] != "incoming" || message["content"] != "And on Sundays?" {
				t.Errorf("stored message is %v", message)
			}

			list, page := c.results("/messages/?conversation=" + id + "&pageSize=10")
			if page["count"] != 4.0 || len(list) != 4 {
				t.Fatalf("message list is %v", page)
			}
			last := list[3].(map[string]any)
			if last["type"] != "outgoing" || last["content"] != bot.Answer(2, "Opening hours?", "And on Sundays?") {
				t.Errorf("the bot's answer is %v", last)
			}
			wantMillis(t, last, "createdAt")
			if one := c.object(200, "GET", "/messages/"+last["id"].(string)+"/?conversation="+id, ""); one["content"] != last["content"] {
				t.Errorf("message read alone is %v", one)
			}

			conversations, page := c.results("/conversations/?inbox=" + created["inbox"].(map[string]any)["id"].(string) + "&keyword=Sundays&pageSize=5")
			if _, counted := page["count"]; counted || len(conversations) != 1 {
				t.Errorf("conversation list is %v", page)
			}
			read := c.object(200, "GET", "/conversations/"+id+"/", "")
			if read["lastMessage"].(map[string]any)["id"] != last["id"] {
				t.Errorf("conversation is %v", read)
			}

			records, _ := c.results("/chatbots/" + DefaultChatbotID + "/records/?" + days() + "&botMessage=turn&userMessage=Sundays&page=1&pageSize=5")
			if len(records) != 1 || records[0].(map[string]any)["inputMessage"] != "And on Sundays?" {
				t.Errorf("records are %v", records)
			}
			status, book := c.do("GET", "/chatbots/"+DefaultChatbotID+"/records/export-excel/?"+days()+"&botMessage=turn&userMessage=", "")
			if status != 200 || len(cells(t, book)) != 3 {
				t.Errorf("export has status %d and %d rows, want the head and two", status, len(cells(t, book)))
			}
		})
	}
}

// days is a period around now.
func days() string {
	now := time.Now().UTC()
	return "startDate=" + now.AddDate(0, 0, -1).Format(time.DateOnly) + "&endDate=" + now.AddDate(0, 0, 1).Format(time.DateOnly)
}

// cells reads a workbook's rows.
func cells(t *testing.T, book []byte) [][]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(book), int64(len(book)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var rows [][]string
	for _, f := range z.File {
		names = append(names, f.Name)
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var sheet struct {
			Rows []struct {
				Cells []struct {
					Ref  string `xml:"r,attr"`
					Text string `xml:"is>t"`
				} `xml:"c"`
			} `xml:"sheetData>row"`
		}
		if err := xml.NewDecoder(r).Decode(&sheet); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		for _, row := range sheet.Rows {
			var list []string
			for _, cell := range row.Cells {
				list = append(list, cell.Text)
			}
			rows = append(rows, list)
		}
	}
	want := []string{"[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"}
	if !slices.Equal(names, want) {
		t.Errorf("parts are %v, want %v", names, want)
	}
	return rows
}

// store puts a file into the storage the presigned way and gives its key.
func (c client) store(filename, content string) (key string) {
	c.t.Helper()
	body := fmt.Sprintf(`{"filename": %q, "modelName": "attachment", "fieldName": "file", "fileSize": %d}`, filename, len(content))
	_, answer := c.do("POST", "/upload-presigned-url/", body)
	var place struct {
		URL    string
		Fields json.RawMessage
	}
	if err := json.Unmarshal(answer, &place); err != nil {
		c.t.Fatalf("%v in %s", err, answer)
	}
	fields := ordered(c.t, place.Fields)
	form, contentType := formOf(c.t, append(fields, [3]string{"file", content, filename}))
	if status, text := c.do("POST", place.URL, form, "Authorization: ", "Content-Type: "+contentType); status != 204 {
		c.t.Fatalf("storage: status %d: %s", status, text)
	}
	return fields[0][1]
}

// ordered gives the members of an object in their order.
func ordered(t *testing.T, object json.RawMessage) (fields [][3]string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	_, _ = d.Token()
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		value, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		fields = append(fields, [3]string{name.(string), value.(string)})
	}
	return fields
}

// formOf writes fields of name, value and filename.
func formOf(t *testing.T, fields [][3]string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		part, err := io.Writer(nil), error(nil)
		if f[2] != "" {
			part, err = w.CreateFormFile(f[0], f[2])
		} else {
			part, err = w.CreateFormField(f[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, f[1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestTheKeyIsAskedFor(t *testing.T) {
	c := newClient(t, "/api")
	for _, v := range []struct{ header, detail string }{
		{"Authorization: ", "Authentication credentials were not provided."},
		{"Authorization: Bearer " + DefaultKey, "Invalid API key format."},
		{"Authorization: " + DefaultKey, "Invalid API key format."},
		{"Authorization: Api-Key ", "Invalid API key format."},
		{"Authorization: Api-Key a b", "Invalid API key format."},
		{"Authorization: Api-Key wrong", "Invalid API key."},
	} {
		if got := c.object(401, "GET", "/conversations/", "", v.header); got["detail"] != v.detail {
			t.Errorf("%s: %v, want %s", v.header, got, v.detail)
		}
	}
}

func TestPathsMethodsAndSlashesAreStrict(t *testing.T) {
	c := newClient(t, "/api")
	for _, v := range []struct {
		status       int
		method, path string
	}{
		{404, "POST", "/messages"},
		{404, "POST", strings.TrimSuffix(completionsPath, "/")},
		{404, "GET", "/conversations"},
		{404, "GET", "/conversations//"},
		{404, "GET", "/nothing/"},
		{404, "GET", ""},
		{404, "POST", "/chatbots/00000000-0000-4000-8000-000000000000/completions/"},
		{404, "GET", "/conversations/00000000-0000-4000-8000-000000000000/"},
		{404, "GET", "/messages/00000000-0000-4000-8000-000000000000/"},
		{404, "GET", "/attachments/00000000-0000-4000-8000-000000000000/"},
		{405, "DELETE", "/conversations/00000000-0000-4000-8000-000000000000/"},
		{405, "PUT", "/messages/"},
		{404, "GET", "/messages/outgoing/"}, // it reads as a message of that id
	} {
		status, body := c.do(v.method, v.path, "")
		if status != v.status || !strings.Contains(string(body), `"detail"`) {
			t.Errorf("%s %s: %d %s, want %d with a detail", v.method, v.path, status, body, v.status)
		}
	}
}

func TestBodiesAreStrict(t *testing.T) {
	c := newClient(t, "/api")
	id := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	nobody := "00000000-0000-4000-8000-000000000000"
	for _, v := range []struct{ path, body, want string }{
		{completionsPath, `{}`, `{"message":["This field is required."]}`},
		{completionsPath, `{"message":null}`, `{"message":["This field may not be null."]}`},
		{completionsPath, `{"message":"hi"}`, `{"message":["Invalid data. Expected a dictionary."]}`},
		{completionsPath, `{"message":{}}`, `{"message":{"content":["This field is required."]}}`},
		{completionsPath, `{"message":{"content":""}}`, `{"message":{"content":["This field may not be blank."]}}`},
		{completionsPath, `{"message":{"content":7}}`, `{"message":{"content":["Not a valid string."]}}`},
		{completionsPath, `{"message":{"content":"a","metadata":[]}}`, `{"message":{"metadata":["Invalid data. Expected a dictionary."]}}`},
		{completionsPath, `{"message":{"content":"a","text":"b"}}`, `{"message":{"text":["Unexpected field."]}}`},
		{completionsPath, `{"message":{"content":"a"},"stream":false}`, `{"stream":["Unexpected field."]}`},
		{completionsPath, `{"message":{"content":"a"},"isStreaming":"no"}`, `{"isStreaming":["Must be a valid boolean."]}`},
		{completionsPath, `{"message":{"content":"a"},"is_streaming":0}`, `{"is_streaming":["Must be a valid boolean."]}`},
		{
			completionsPath, `{"message":{"content":"a"},"isStreaming":true,"is_streaming":false}`,
			`{"isStreaming":["isStreaming and is_streaming contradict each other."]}`,
		},
		{completionsPath, `{"message":{"content":"a"},"conversation":"x"}`, `{"conversation":["Must be a valid UUID."]}`},
		{completionsPath, `{"message":{"content":"a"},"conversation":7}`, `{"conversation":["Not a valid string."]}`},
		{
			completionsPath, `{"message":{"content":"a","sender":"` + nobody + `"}}`,
			`{"message":{"sender":["The contact does not belong to the organization."]}}`,
		},
		{completionsPath, `{"message":{"content":"a","attachments":{}}}`, `{"message":{"attachments":["Expected a list of items."]}}`},
		{
			completionsPath, `{"message":{"content":"a","attachments":[{"type":"pdf","file":"https://x.example.test/"}]}}`,
			`{"message":{"attachments":[{"type":["\"pdf\" is not a valid choice."]}]}}`,
		},
		{completionsPath, `{"message":{"content":"a","attachments":[{}]}}`, `{"message":{"attachments":[{"id":["This field is required."]}]}}`},
		{
			completionsPath, `{"message":{"content":"a","attachments":[{"file":"label.png"}]}}`,
			`{"message":{"attachments":[{"file":["Enter a valid URL."]}]}}`,
		},
		{
			completionsPath, `{"message":{"content":"a","attachments":["` + nobody + `"]}}`,
			`{"message":{"attachments":[{"id":["Invalid pk \"` + nobody + `\" - object does not exist."]}]}}`,
		},
		{
			completionsPath, `{"message":{"content":"a","attachments":[{"id":"` + nobody + `","url":"x"}]}}`,
			`{"message":{"attachments":[{"url":["Unexpected field."]}]}}`,
		},
		{completionsPath, `[]`, `{"non_field_errors":["Invalid data. Expected a dictionary."]}`},
		{completionsPath, `null`, `{"non_field_errors":["Invalid data. Expected a dictionary."]}`},
		{"/conversations/", `{}`, `{"webChat":["This field is required."]}`},
		{"/conversations/", `{"webChat":"x"}`, `{"webChat":["Must be a valid UUID."]}`},
		{"/conversations/", `{"webChat":"` + nobody + `"}`, `{"webChat":["Invalid pk \"` + nobody + `\" - object does not exist."]}`},
		{"/messages/", `{"content":"a"}`, `{"conversation":["This field is required."]}`},
		{"/messages/", `{"conversation":"","content":"a"}`, `{"conversation":["This field may not be blank."]}`},
		{
			"/messages/", `{"conversation":"` + nobody + `","content":"a"}`,
			`{"conversation":["Invalid pk \"` + nobody + `\" - object does not exist."]}`,
		},
		{"/messages/", `{"conversation":"` + id + `"}`, `{"content":["This field may not be blank."]}`},
		{"/messages/", `{"conversation":"` + id + `","content":"a","type":"note"}`, `{"type":["\"note\" is not a valid choice."]}`},
		{
			"/messages/", `{"conversation":"` + id + `","content":"a","canvas":{"name":"n"}}`,
			`{"canvas":{"canvasType":["This field is required."],"content":["This field is required."],"title":["This field is required."]}}`,
		},
		{
			"/messages/outgoing/", `{"conversation":"` + id + `","content":"a","type":"incoming"}`,
			`{"type":["\"incoming\" is not a valid choice."]}`,
		},
		{
			"/upload-presigned-url/", `{"filename":"a/b","modelName":"faq","fieldName":"x","fileSize":-1}`,
			`{"fieldName":["\"x\" is not a valid choice."],"fileSize":["A valid integer is required."],"filename":["Enter a valid file name."],"modelName":["\"faq\" is not a valid choice."]}`,
		},
		{"/attachments/", `{"file":"nowhere","filename":"a"}`, `{"file":["There is no such file in the storage."]}`},
	} {
		status, body := c.do("POST", v.path, v.body)
		if status != 400 || string(body) != v.want {
			t.Errorf("POST %s %s\n got %d %s\nwant 400 %s", v.path, v.body, status, body, v.want)
		}
	}
	for body, status := range map[string]int{`{`: 400, `{} {}`: 400, "{\"a\":\"\xff\"}": 400} {
		if v := c.object(status, "POST", completionsPath, body); v["detail"] != "JSON parse error." {
			t.Errorf("%q: %v", body, v)
		}
	}
	c.object(415, "POST", completionsPath, `{"message":{"content":"a"}}`, "Content-Type: text/plain")
	c.object(415, "POST", completionsPath, `{"message":{"content":"a"}}`, "Content-Type: ")
	c.object(404, "POST", completionsPath, `{"message":{"content":"a"},"conversation":"`+nobody+`"}`)
	if list, _ := c.results("/conversations/"); len(list) != 1 {
		t.Errorf("refused requests left %d conversations, want the first alone", len(list))
	}
}

func TestParametersAreStrict(t *testing.T) {
	c := newClient(t, "/api")
	id := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	records := "/chatbots/" + DefaultChatbotID + "/records/"
	for _, v := range []struct {
		path   string
		status int
		want   string
	}{
		{"/messages/", 400, `{"conversation":["This field is required."]}`},
		{"/messages/?conversation=x", 400, `{"conversation":["Must be a valid UUID."]}`},
		{"/messages/?conversation=00000000-0000-4000-8000-000000000000", 404, `{"detail":"Not found."}`},
		{"/messages/?conversation=" + id + "&cursor=x", 404, `{"detail":"Invalid cursor"}`},
		{"/messages/?conversation=" + id + "&page=2", 404, `{"detail":"Invalid page."}`},
		{"/messages/?conversation=" + id + "&page=0", 400, `{"page":["A valid integer is required."]}`},
		{"/messages/?conversation=" + id + "&page_size=1", 400, `{"page_size":["Unexpected parameter."]}`},
		{"/messages/?conversation=" + id + "&conversation=" + id, 400, `{"conversation":["Given more than once."]}`},
		{"/conversations/?cursor=x", 404, `{"detail":"Invalid cursor"}`},
		{"/conversations/?cursor=cD05OQ%3D%3D", 404, `{"detail":"Invalid cursor"}`},
		{"/conversations/?pageSize=x", 400, `{"pageSize":["A valid integer is required."]}`},
		{"/conversations/?inbox=x", 400, `{"inbox":["Must be a valid UUID."]}`},
		{records, 400, `{"endDate":["This field is required."],"startDate":["This field is required."]}`},
		{records + "?startDate=2026-3-4&endDate=2026-03-04", 400, `{"startDate":["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."]}`},
		{records + "?startDate=2026-03-05&endDate=2026-03-04", 400, `{"non_field_errors":["endDate must not be before startDate."]}`},
		{records + "export-excel/?startDate=2026-03-05", 400, `{"endDate":["This field is required."]}`},
		{records + "?startDate=2001-01-01&endDate=2001-01-02", 200, `{"count":0,"next":null,"previous":null,"results":[]}`},
	} {
		if status, body := c.do("GET", v.path, ""); status != v.status || string(body) != v.want {
			t.Errorf("GET %s\n got %d %s\nwant %d %s", v.path, status, body, v.status, v.want)
		}
	}
}

func TestAMessageIsOnlyReadInItsConversation(t *testing.T) {
	c := newClient(t, "/api")
	one := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	two := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	list, _ := c.results("/messages/?conversation=" + one)
	path := "/messages/" + list[0].(map[string]any)["id"].(string) + "/"
	c.object(200, "GET", path, "")
	c.object(200, "GET", path+"?conversation="+one, "")
	c.object(404, "GET", path+"?conversation="+two, "")
}

func TestTheBotRemembers(t *testing.T) {
	c := newClient(t, "/api/v1")
	id := "null"
	for turn, text := range []string{"I am Rosa.", "<b>&\"\\ 🙂\n", "And now?"} {
		said, _ := json.Marshal(text)
		answer := c.object(200, "POST", completionsPath, `{"conversation":`+id+`,"message":{"content":`+string(said)+`,"attachments":[]}}`)
		if want := bot.Answer(turn+1, "I am Rosa.", text); answer["content"] != want {
			t.Errorf("turn %d: %q, want %q", turn+1, answer["content"], want)
		}
		id = `"` + answer["conversationId"].(string) + `"`
	}
	if fresh := c.object(200, "POST", completionsPath, `{"conversation":"","message":{"content":"x"}}`); fresh["content"] != bot.Answer(1, "x", "x") {
		t.Errorf("a new conversation begins with %v", fresh["content"])
	}
}

func TestStreamIsProperServerSentEvents(t *testing.T) {
	for _, field := range []string{"isStreaming", "is_streaming"} {
		c := newClient(t, "/api")
		text := "Grüß 你好 🙂 " + strings.Repeat("x", 50)
		status, body := c.do("POST", completionsPath, `{"message":{"content":"`+text+`"},"`+field+`":true}`)
		if status != 200 {
			t.Fatalf("status %d: %s", status, body)
		}
		events := strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n")
		if len(events) < 3 {
			t.Fatalf("only %d events", len(events))
		}
		var whole, id string
		for i, event := range events {
			data, ok := strings.CutPrefix(event, "data: ")
			var frame struct {
				ConversationID, Content string
				Done                    bool
			}
			if !ok || json.Unmarshal([]byte(data), &frame) != nil {
				t.Fatalf("event %q", event)
			}
			if id == "" {
				id = frame.ConversationID
			}
			if last := i == len(events)-1; frame.Done != last || frame.ConversationID != id || id == "" || last && frame.Content != "" {
				t.Errorf("event %d of %d is %s", i+1, len(events), data)
			}
			whole += frame.Content
		}
		if whole != bot.Answer(1, text, text) {
			t.Errorf("the pieces are %q", whole)
		}
	}
}

func TestAnswersComeAsAnEventStreamOnlyWhenAsked(t *testing.T) {
	server := httptest.NewServer(New(Options{}))
	t.Cleanup(server.Close)
	for body, want := range map[string]string{
		`{"message":{"content":"a"}}`:                                          "application/json",
		`{"message":{"content":"a"},"isStreaming":null}`:                       "application/json",
		`{"message":{"content":"a"},"isStreaming":false,"is_streaming":false}`: "application/json",
		`{"message":{"content":"a"},"isStreaming":true,"is_streaming":true}`:   "text/event-stream",
	} {
		req, _ := http.NewRequest("POST", server.URL+"/api"+completionsPath, strings.NewReader(body))
		req.Header = http.Header{"Authorization": {"Api-Key " + DefaultKey}, "Content-Type": {"application/json; charset=utf-8"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestAutomaticReplyGovernsPostedMessages(t *testing.T) {
	c := newClient(t, "/api")
	id := c.object(201, "POST", "/conversations/", `{"webChat":"`+DefaultWebChatID+`"}`)["id"].(string)
	post := func(path, content string) {
		c.object(201, "POST", path, `{"conversation":"`+id+`","content":"`+content+`"}`)
	}
	count := func() int {
		list, _ := c.results("/messages/?conversation=" + id)
		return len(list)
	}
	post("/messages/", "answered")
	if n := count(); n != 2 {
		t.Errorf("%d messages, want the message and its answer", n)
	}
	off := c.object(200, "PATCH", "/conversations/"+id+"/update-auto-reply/", `{"autoReplyEnabled":false}`)
	if off["autoReplyEnabled"] != false || off["isAutoReplyNow"] != false {
		t.Errorf("conversation is %v", off)
	}
	post("/messages/", "not answered")
	post("/messages/outgoing/", "an operator")
	if n := count(); n != 4 {
		t.Errorf("%d messages, want 4: the bot is off", n)
	}
	c.object(200, "PATCH", "/conversations/"+id+"/update-auto-reply/", `{"autoReplyEnabled":true}`)
	post("/messages/", "answered again")
	c.object(201, "POST", "/messages/", `{"conversation":"`+id+`","content":"of the vendor's side","type":"outgoing"}`)
	if n := count(); n != 7 {
		t.Errorf("%d messages, want 7", n)
	}
	mention := c.object(200, "PATCH", "/conversations/"+id+"/update-enable-group-mention/", `{"enableGroupMention":true}`)
	if mention["enableGroupMention"] != true {
		t.Errorf("conversation is %v", mention)
	}
	c.object(400, "PATCH", "/conversations/"+id+"/update-auto-reply/", `{}`)
	c.object(400, "PATCH", "/conversations/"+id+"/update-auto-reply/", `{"autoReplyEnabled":"false"}`)
	c.object(404, "PATCH", "/conversations/00000000-0000-4000-8000-000000000000/update-auto-reply/", `{"autoReplyEnabled":true}`)
}

// TestEachLooseTypeIsShown: the vendor's documents disagree about these, so a
// client must read both.
func TestEachLooseTypeIsShown(t *testing.T) {
	c := newClient(t, "/api")
	id := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	messages, _ := c.results("/messages/?conversation=" + id)
	in, out := messages[0].(map[string]any), messages[1].(map[string]any)
	kind := func(v any) string { return fmt.Sprintf("%T", v) }
	conversations, _ := c.results("/conversations/")
	listed, read := conversations[0].(map[string]any), c.object(200, "GET", "/conversations/"+id+"/", "")
	for name, pair := range map[string][2]string{
		"sender.id":      {kind(in["sender"].(map[string]any)["id"]) + " " + kind(out["sender"].(map[string]any)["id"]), "float64 string"},
		"feedback":       {kind(in["feedback"]) + " " + kind(out["feedback"]), "<nil> string"},
		"attachments":    {kind(in["attachments"]) + " " + kind(out["attachments"]), "[]interface {} <nil>"},
		"citations":      {kind(in["citations"]) + " " + kind(out["citations"]), "[]interface {} <nil>"},
		"isAutoReplyNow": {kind(listed["isAutoReplyNow"]) + " " + kind(read["isAutoReplyNow"]), "string bool"},
		"group switches": {kind(read["isGroupChat"]) + " " + kind(read["enableGroupMention"]), "string bool"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, want %s", name, pair[0], pair[1])
		}
	}
	if _, there := in["citationNodes"]; there {
		t.Error("citationNodes is there, want it absent")
	}
}

func TestPagesNameTheirNextAbsolutely(t *testing.T) {
	c := newClient(t, "/api")
	var ids []string
	for i := range 5 {
		ids = append(ids, c.object(200, "POST", completionsPath, fmt.Sprintf(`{"message":{"content":"number %d"}}`, i))["conversationId"].(string))
	}
	var listed []string
	for next := c.base + "/conversations/?pageSize=2"; next != ""; {
		results, page := c.results(next)
		for _, v := range results {
			listed = append(listed, v.(map[string]any)["id"].(string))
		}
		next, _ = page["next"].(string)
		if next != "" && !strings.HasPrefix(next, c.base+"/conversations/?cursor=") {
			t.Errorf("next is %s", next)
		}
	}
	slices.Reverse(listed)
	if !slices.Equal(listed, ids) {
		t.Errorf("listed are %v, want %v newest first", listed, ids)
	}
	_, first := c.results("/messages/?conversation=" + ids[0] + "&pageSize=1")
	_, second := c.results(first["next"].(string))
	if first["previous"] != nil || second["next"] != nil || !strings.Contains(second["previous"].(string), "page=1") {
		t.Errorf("pages are %v and %v", first, second)
	}
	if found, _ := c.results("/conversations/?keyword=" + url.QueryEscape("number 3")); len(found) != 1 {
		t.Errorf("%d conversations have the keyword, want 1", len(found))
	}
	if found, _ := c.results("/conversations/?inbox=00000000-0000-4000-8000-000000000000"); len(found) != 0 {
		t.Errorf("%d conversations in an inbox that is not ours", len(found))
	}
}

func TestUploads(t *testing.T) {
	c := newClient(t, "/api")
	form := func(fields ...[3]string) (string, string) { return formOf(t, fields) }

	body, contentType := form([3]string{"file", "%PDF", "price list.pdf"})
	made := c.object(201, "POST", "/attachments-upload/", body, "Content-Type: "+contentType)
	if made["type"] != "other" || made["filename"] != "price list.pdf" || !isUUID(made["id"].(string)) {
		t.Errorf("attachment is %v", made)
	}
	if status, content := c.do("GET", made["file"].(string), "", "Authorization: "); status != 200 || string(content) != "%PDF" {
		t.Errorf("the file is %d %q", status, content)
	}
	body, contentType = form([3]string{"file", "PNG", "label.png"})
	if c.object(400, "POST", "/attachments-upload/", body, "Content-Type: "+contentType)["file"] == nil {
		t.Error("an image is refused for another reason")
	}
	if image := c.object(201, "POST", "/attachments/", body, "Content-Type: "+contentType); image["type"] != "image" {
		t.Errorf("attachment is %v", image)
	}
	for name, fields := range map[string][][3]string{
		"nothing":       {},
		"another field": {{"file", "x", "a.txt"}, {"name", "y", ""}},
		"no file":       {{"file", "x", ""}},
		"empty":         {{"file", "", "a.txt"}},
		"twice":         {{"file", "x", "a.txt"}, {"file", "x", "b.txt"}},
	} {
		body, contentType := form(fields...)
		if status, answer := c.do("POST", "/attachments-upload/", body, "Content-Type: "+contentType); status != 400 {
			t.Errorf("%s: %d %s, want 400", name, status, answer)
		}
	}
	c.object(415, "POST", "/attachments-upload/", `{"file":"x"}`)

	id := c.object(200, "POST", completionsPath, `{"message":{"content":"hi"}}`)["conversationId"].(string)
	key := c.store("voice.mp3", "ID3")
	registered := c.object(201, "POST", "/conversations/"+id+"/attachments/", `{"file":"`+key+`","filename":"voice.mp3","type":"audio"}`)
	path := "/attachments/" + registered["id"].(string) + "/"
	if got := c.object(200, "GET", path, ""); got["type"] != "audio" {
		t.Errorf("attachment is %v", got)
	}
	if got := c.object(200, "PATCH", path, `{"filename":"other.mp3"}`); got["filename"] != "other.mp3" || got["type"] != "audio" {
		t.Errorf("patched it is %v", got)
	}
	c.object(400, "PUT", path, `{"filename":"x"}`)
	if got := c.object(200, "PUT", path, `{"filename":"x","type":"other"}`); got["type"] != "other" {
		t.Errorf("put it is %v", got)
	}
	if list, _ := c.results("/attachments/"); len(list) != 3 {
		t.Errorf("%d attachments, want 3", len(list))
	}
	if status, answer := c.do("DELETE", path, ""); status != 204 || len(answer) != 0 {
		t.Errorf("delete: %d %s", status, answer)
	}
	c.object(404, "GET", path, "")
	c.object(404, "POST", "/conversations/00000000-0000-4000-8000-000000000000/attachments/", `{"file":"`+key+`","filename":"x"}`)
	if status, types := c.do("GET", "/allowed-file-types/", ""); status != 200 || !strings.Contains(string(types), `"pdf"`) {
		t.Errorf("allowed types: %d %s", status, types)
	}
}

func TestTheStorageTakesExactlyWhatWasHandedOut(t *testing.T) {
	c := newClient(t, "/api")
	place := c.object(200, "POST", "/upload-presigned-url/", `{"filename":"a.png","modelName":"attachment","fieldName":"file","fileSize":3}`)
	raw, _ := json.Marshal(place["fields"])
	_, answer := c.do("POST", "/upload-presigned-url/", `{"filename":"a.png","modelName":"attachment","fieldName":"file","fileSize":3}`)
	var second struct{ Fields json.RawMessage }
	if err := json.Unmarshal(answer, &second); err != nil {
		t.Fatal(err)
	}
	fields := ordered(t, second.Fields)
	file := [3]string{"file", "PNG", "a.png"}
	swapped := slices.Clone(fields)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	forged := slices.Clone(fields)
	forged[5][1] = "forged"
	for name, form := range map[string][][3]string{
		"out of order":       append(swapped, file),
		"another signature":  append(forged, file),
		"a field is missing": append(slices.Clone(fields[:5]), file),
		"file not last":      append([][3]string{fields[0], file}, fields[1:]...),
		"no file":            fields,
		"of another upload":  append(append([][3]string{ordered(t, raw)[0]}, fields[1:]...), file),
	} {
		body, contentType := formOf(t, form)
		if status, text := c.do("POST", place["url"].(string), body, "Authorization: ", "Content-Type: "+contentType); status != 403 {
			t.Errorf("%s: %d %s, want 403", name, status, text)
		}
	}
	body, contentType := formOf(t, append(slices.Clone(fields), file))
	if status, text := c.do("POST", place["url"].(string), body, "Content-Type: "+contentType); status != 400 || !strings.Contains(string(text), "authentication") {
		t.Errorf("with the API key: %d %s, want 400", status, text)
	}
	if status, _ := c.do("GET", place["url"].(string)+fields[0][1], "", "Authorization: "); status != 404 {
		t.Errorf("nothing was stored, and reading it is %d", status)
	}
}

func TestTheWorkbookHoldsTheText(t *testing.T) {
	text := " <&>\"' 你好 🙂\n\tx\x01 "
	long := strings.Repeat("長", maxCell+5)
	book, err := workbook([][]string{{"a", "b"}, {text, long}})
	if err != nil {
		t.Fatal(err)
	}
	rows := cells(t, book)
	if len(rows) != 2 || rows[1][0] != strings.ReplaceAll(text, "\x01", "") || rows[1][1] != long[:3*maxCell] {
		t.Errorf("rows are %.200q", rows)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	c := newClient(t, "/api")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			first := fmt.Sprintf("I am person %d", i)
			req, _ := http.NewRequest("POST", c.base+completionsPath, strings.NewReader(`{"message":{"content":"`+first+`"}}`))
			req.Header = http.Header{"Authorization": {"Api-Key " + DefaultKey}, "Content-Type": {"application/json"}}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var v completionJSON
			if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || v.Content != bot.Answer(1, first, first) {
				t.Errorf("person %d got %q (%v)", i, v.Content, err)
			}
		})
	}
	wg.Wait()
	if list, _ := c.results("/conversations/?pageSize=100"); len(list) != 16 {
		t.Errorf("%d conversations, want 16", len(list))
	}
}

func TestMomentsNeverRepeat(t *testing.T) {
	tw := New(Options{})
	for last, i := int64(0), 0; i < 1000; i++ {
		at := tw.now()
		if at <= last {
			t.Fatalf("%d after %d", at, last)
		}
		last = at
	}
}

func TestAnOperatorMayAskForASuggestion(t *testing.T) {
	c := newClient(t, "/api")
	c.object(200, "POST", "/generate-copilot-message/", `{"conversation":"x"}`)
	c.object(400, "POST", "/generate-copilot-message/", `[]`)
}
