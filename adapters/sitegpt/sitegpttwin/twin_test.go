package sitegpttwin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"chatmux/adapters/sitegpt/sitegpttwin"
	"chatmux/normalize"
)

const (
	apiV0 = "/api/v0/chatbots/" + sitegpttwin.DefaultChatbotID
	apiV2 = "/api/v2/chatbots/" + sitegpttwin.DefaultChatbotID
)

// client calls a twin as anybody would.
type client struct {
	t      *testing.T
	origin string
}

func start(t *testing.T) client {
	t.Helper()
	server := httptest.NewServer(sitegpttwin.New(sitegpttwin.Options{}))
	t.Cleanup(server.Close)
	return client{t, server.URL}
}

// do makes a request with the default key, and fails unless the answer is JSON of
// that status.
func (c client) do(method, path, body string, status int) gjson.Result {
	c.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + sitegpttwin.DefaultKey}}
	if body != "" {
		header.Set("Content-Type", "application/json")
	}
	_, answer := c.send(method, path, body, header, status)
	return answer
}

func (c client) send(method, path, body string, header http.Header, status int) (http.Header, gjson.Result) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.origin+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if response.StatusCode != status {
		c.t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, response.StatusCode, status, answer)
	}
	if contentType := response.Header.Get("Content-Type"); !strings.HasPrefix(contentType, "application/json") || !json.Valid(answer) {
		c.t.Fatalf("%s %s: not JSON: %s: %s", method, path, contentType, answer)
	}
	return response.Header, gjson.ParseBytes(answer)
}

// The curl lines of the vendor's pages, answered in the shape that the pages show.
func TestExamplesOfTheDocumentsAreAnsweredInTheirShape(t *testing.T) {
	c := start(t)
	created := c.do("POST", apiV0+"/threads", `{"threadId": "d2cd2d88-bac1-48de-a7b4-19797451f47g", "mode": "AI", "chatUserEmail": null}`, 200)
	wantShape(t, "create thread", created, `{"data":{"thread":{"chatUser":null,"chatUserId":null,"chatbotId":"","messages":[],"mode":"",`+
		`"startedAt":"","threadId":"","updatedAt":""}},"message":"","success":true}`)
	if got := created.Get("data.thread.threadId").Str; got != "d2cd2d88-bac1-48de-a7b4-19797451f47g" {
		t.Errorf("the caller's thread id became %s", got)
	}
	sent := c.do("POST", apiV0+"/message", "{\n\"message\": \"What can you do ?\",\n\"from\": \"USER\"\n}", 200)
	wantShape(t, "send message", sent, `{"data":{"message":{"agentName":null,"answer":{"text":"","timestamp":""},"chatbotId":"","gptModel":"",`+
		`"iconUrl":null,"id":"","messageType":"","prompts":[{"description":"","id":"","title":""}],"question":{"text":"","timestamp":""},`+
		`"reaction":"","smartPrompts":[""],"sources":[],"threadId":""}},"message":"","success":true}`)
	for path, form := range map[string]string{
		"data.message.id":                 `^\d{18}$`,
		"data.message.threadId":           `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		"data.message.question.text":      `^What can you do \?$`,
		"data.message.question.timestamp": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`,
		"data.message.answer.text":        `^You said: What can you do \?\n\(turn 1; the first thing you said was: What can you do \?\)$`,
		"data.message.messageType":        `^NORMAL_MESSAGE$`,
	} {
		if got := sent.Get(path).Str; !regexp.MustCompile(form).MatchString(got) {
			t.Errorf("%s is %q, want the form %s", path, got, form)
		}
	}

	sent = c.do("POST", apiV2+"/messages", `{"message": "Do you ship abroad?", "pageUrl": null}`, 200)
	const message = `{"agentId":null,"agentName":null,"answer":{"text":"","timestamp":""},"createdAt":"","gptModel":"","iconUrl":null,"messageId":"",` +
		`"messageType":"","pageUrl":null,"question":{"text":"","timestamp":""},"reaction":"","sources":[""],"systemMessageType":null,"updatedAt":""}`
	wantShape(t, "v2 send", sent, `{"data":{"conversation":{"chatUser":null,"chatUserId":null,"chatbotId":"","endedAt":null,"escalated":false,`+
		`"important":false,"lastMessage":`+message+`,"lead":null,"mode":"","pageUrl":null,"resolved":false,"sessionId":null,"startedAt":"",`+
		`"tagIds":[],"threadId":"","title":null,"totalMessages":0,"unreadMessages":0,"updatedAt":""},`+
		`"message":`+message+`},"meta":{"requestId":""},"ok":true}`)
	if at := sent.Get("data.message.createdAt").Str; !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(at) {
		t.Errorf("v2 time: %s", at)
	}
}

// wantShape compares names and types: of lists the first element, of values none.
func wantShape(t *testing.T, name string, got gjson.Result, want string) {
	t.Helper()
	shape, err := json.Marshal(shapeOf(got.Value()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(shape)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func shapeOf(value any) any {
	switch value := value.(type) {
	case map[string]any:
		shape := map[string]any{}
		for name, v := range value {
			shape[name] = shapeOf(v)
		}
		return shape
	case []any:
		if len(value) > 0 {
			return []any{shapeOf(value[0])}
		}
		return []any{}
	case string:
		return ""
	case float64:
		return 0
	}
	return value
}

func TestBotRemembersAndBothVersionsShowTheSameConversation(t *testing.T) {
	c := start(t)
	thread := c.do("POST", apiV0+"/message", `{"message":"first","from":"USER"}`, 200).Get("data.message.threadId").Str
	c.do("POST", apiV2+"/conversations/"+thread+"/messages", `{"message":"second","pageUrl":"https://shop.example.test"}`, 200)
	last := c.do("POST", apiV0+"/message", `{"message":"third","threadId":"`+thread+`"}`, 200)
	if got := last.Get("data.message.answer.text").Str; got != "You said: third\n(turn 3; the first thing you said was: first)" {
		t.Errorf("the bot forgot: %s", got)
	}
	inV0 := c.do("GET", apiV0+"/threads/"+thread, "", 200).Get("data.thread.messages.#.messageId").Raw
	inV2 := c.do("GET", apiV2+"/conversations/"+thread, "", 200).Get("data.conversation.messages.#.messageId").Raw
	if inV0 != inV2 || len(gjson.Parse(inV0).Array()) != 3 {
		t.Errorf("v0 shows %s, v2 %s", inV0, inV2)
	}
	if other := c.do("POST", apiV2+"/messages", `{"message":"new"}`, 200); !strings.Contains(other.Get("data.message.answer.text").Str, "turn 1;") {
		t.Errorf("a new conversation remembers another: %s", other.Get("data.message.answer.text"))
	}
}

func TestHumanModeStoresTheQuestionAndAnswersNull(t *testing.T) {
	c := start(t)
	c.do("POST", apiV0+"/threads", `{"threadId":"xyz","mode":"AGENT"}`, 200)
	for path, body := range map[string]string{
		apiV0 + "/message":                    `{"message":"hello","from":"USER","threadId":"xyz"}`,
		apiV2 + "/conversations/xyz/messages": `{"message":"hello","pageUrl":null}`,
	} {
		message := c.do("POST", path, body, 200).Get("data.message")
		if answer := message.Get("answer"); message.Get("messageType").Str != "USER_MESSAGE" || answer.Raw != "null" {
			t.Errorf("%s: got %s", path, message)
		}
	}
	operator := c.do("POST", apiV0+"/message",
		`{"message":"Ana here","from":"AGENT","threadId":"xyz","agentName":"Ana","iconUrl":"https://x.example/a.png"}`, 200)
	if m := operator.Get("data.message"); m.Get("messageType").Str != "AGENT_MESSAGE" || m.Get("question").Raw != "null" ||
		m.Get("answer.text").Str != "Ana here" || m.Get("agentName").Str != "Ana" || m.Get("iconUrl").Str != "https://x.example/a.png" {
		t.Errorf("operator: got %s", m)
	}
	c.do("PATCH", apiV0+"/threads/xyz", `{"mode":"AI"}`, 200)
	back := c.do("POST", apiV0+"/message", `{"message":"still there?","threadId":"xyz"}`, 200)
	if got := back.Get("data.message.answer.text").Str; !strings.Contains(got, "(turn 3; the first thing you said was: hello)") {
		t.Errorf("back to the bot: %s", got)
	}
}

func TestUpdateOfAThreadIsReadBack(t *testing.T) {
	c := start(t)
	c.do("POST", apiV0+"/threads", `{"threadId":"a/b c","chatUserEmail":"rosa@example.test"}`, 200)
	updated := c.do("PATCH", apiV0+"/threads/a%2Fb%20c",
		`{"mode":"AGENT","webhookUrl":"https://hooks.example.test/sg","webhookToken":"tok-1","chatUser":{"name":"Rosa","phoneNumber":"+15550101"}}`, 200)
	if updated.Get("data").Raw != "null" || !updated.Get("success").Bool() {
		t.Errorf("got %s", updated)
	}
	thread := c.do("GET", apiV0+"/threads/a%2Fb%20c", "", 200).Get("data.thread")
	for path, want := range map[string]string{
		"threadId": "a/b c", "mode": "AGENT", "webhookUrl": "https://hooks.example.test/sg", "webhookToken": "tok-1",
		"chatUser.name": "Rosa", "chatUser.email": "rosa@example.test", "chatUser.phoneNumber": "+15550101",
	} {
		if got := thread.Get(path).String(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if user := c.do("GET", apiV2+"/conversations/a%2Fb%20c", "", 200).Get("data.conversation.chatUser"); user.Get("phone").Str != "+15550101" {
		t.Errorf("v2 shows the phone as phone: %s", user)
	}
}

func TestConversationActionsLeaveNotices(t *testing.T) {
	c := start(t)
	c.do("POST", apiV0+"/threads", `{"threadId":"xyz"}`, 200)
	conversation := apiV2 + "/conversations/xyz"
	escalated := c.do("POST", conversation+"/escalate", `{"message":"The customer is angry."}`, 200)
	if !escalated.Get("data.conversation.escalated").Bool() {
		t.Errorf("escalate: %s", escalated)
	}
	if mode := c.do("POST", conversation+"/take-over", `{}`, 200).Get("data.conversation.mode").Str; mode != "AGENT" {
		t.Errorf("take-over: %s", mode)
	}
	if mode := c.do("POST", conversation+"/switch-to-ai", `{}`, 200).Get("data.conversation.mode").Str; mode != "AI" {
		t.Errorf("switch-to-ai: %s", mode)
	}
	var got []string
	for _, m := range c.do("GET", conversation+"/messages", "", 200).Get("data.messages").Array() {
		got = append(got, fmt.Sprintf("%s %s %s", m.Get("messageType").Str, m.Get("systemMessageType").Str, m.Get("answer.text").Str))
	}
	if diff := cmp.Diff([]string{
		"SYSTEM_MESSAGE CONVERSATION_ESCALATED The customer is angry.",
		"SYSTEM_MESSAGE  A human joined the conversation.",
		"SYSTEM_MESSAGE  The bot is back in the conversation.",
	}, got); diff != "" {
		t.Error(diff)
	}
	c.do("DELETE", conversation, "", 400)
	c.do("DELETE", conversation+"?confirm=yes", "", 400)
	c.do("DELETE", conversation+"?confirm=true", "", 200)
	c.do("GET", conversation, "", 404)
	c.do("GET", apiV0+"/threads/xyz", "", 404)
}

func TestListsArePaged(t *testing.T) {
	c := start(t)
	for i := range 5 {
		c.do("POST", apiV0+"/threads", fmt.Sprintf(`{"threadId":"t-%d","mode":%q}`, i, []string{"AI", "AGENT"}[i%2]), 200)
	}
	c.do("POST", apiV0+"/message", `{"message":"find me","threadId":"t-4"}`, 200)
	ids := func(path, list string) string {
		return c.do("GET", path, "", 200).Get("data." + list + ".#.threadId").Raw
	}
	for _, test := range []struct{ path, list, want string }{
		{apiV0 + "/threads", "threads", `["t-4","t-3","t-2","t-1","t-0"]`},
		{apiV0 + "/threads?page=2&limit=2", "threads", `["t-2","t-1"]`},
		{apiV0 + "/threads?page=3&limit=2", "threads", `["t-0"]`},
		{apiV0 + "/threads?page=4&limit=2", "threads", `[]`},
		{apiV2 + "/conversations?limit=2", "conversations", `["t-4","t-3"]`},
		{apiV2 + "/conversations?limit=2&cursor=t-3", "conversations", `["t-2","t-1"]`},
		{apiV2 + "/conversations?limit=2&cursor=t-1", "conversations", `["t-0"]`},
		{apiV2 + "/conversations?mode=AGENT", "conversations", `["t-3","t-1"]`},
		{apiV2 + "/conversations?query=find", "conversations", `["t-4"]`},
		{apiV2 + "/conversations?escalated=true", "conversations", `[]`},
		{apiV2 + "/conversations?status=resolved", "conversations", `[]`},
	} {
		if got := ids(test.path, test.list); got != test.want {
			t.Errorf("%s: got %s, want %s", test.path, got, test.want)
		}
	}
	page := c.do("GET", apiV2+"/conversations?limit=4&cursor=t-4", "", 200).Get("data.pagination")
	if page.Raw != `{"limit":4,"hasNextPage":false,"nextCursor":null}` {
		t.Errorf("last page: %s", page.Raw)
	}
	for _, path := range []string{
		apiV0 + "/threads?page=0", apiV0 + "/threads?limit=101", apiV0 + "/threads?limit=x", apiV0 + "/threads?cursor=t-1",
		apiV2 + "/conversations?cursor=t-9", apiV2 + "/conversations?limit=0", apiV2 + "/conversations?mode=ai", apiV2 + "/conversations?page=1",
	} {
		c.do("GET", path, "", 400)
	}
}

func TestWhoHasNoKeyIsToldSoAsTheVendorWould(t *testing.T) {
	c := start(t)
	for _, test := range []struct {
		path, authorization, code string
	}{
		{apiV0 + "/threads", "", "API_KEY_NOT_VALID"},
		{apiV0 + "/threads", "Bearer wrong", "API_KEY_NOT_VALID"},
		{apiV0 + "/threads", sitegpttwin.DefaultKey, "API_KEY_NOT_VALID"},
		{apiV2 + "/conversations", "", "AUTHORIZATION_HEADER_REQUIRED"},
		{apiV2 + "/conversations", "Bearer wrong", "TOKEN_NOT_VALID"},
		{apiV2 + "/conversations", "Token " + sitegpttwin.DefaultKey, "TOKEN_NOT_VALID"},
	} {
		header := http.Header{}
		if test.authorization != "" {
			header.Set("Authorization", test.authorization)
		}
		if _, answer := c.send("GET", test.path, "", header, 401); answer.Get("error.code").Str != test.code {
			t.Errorf("%s with %q: got %s", test.path, test.authorization, answer)
		}
	}
}

func TestErrorsHaveTheEnvelopeOfTheirVersion(t *testing.T) {
	c := start(t)
	wantShape(t, "v0", c.do("POST", apiV0+"/message", `{"message":7}`, 400),
		`{"data":null,"error":{"code":"","details":[{"field":"","message":""}],"message":""},"message":"","success":false}`)
	wantShape(t, "v0 without details", c.do("GET", apiV0+"/threads/none", "", 404),
		`{"data":null,"error":{"code":"","details":null,"message":""},"message":"","success":false}`)
	wantShape(t, "v2", c.do("GET", apiV2+"/conversations/none", "", 404),
		`{"error":{"code":"","message":""},"meta":{"requestId":""},"ok":false}`)
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/api/v0/chatbots/1/threads", 404, "CHATBOT_NOT_FOUND"},
		{"GET", "/api/v2/chatbots/1/conversations", 404, "CHATBOT_NOT_FOUND"},
		{"GET", apiV0 + "/threads/none", 404, "THREAD_NOT_FOUND"},
		{"GET", apiV2 + "/conversations/none/messages", 404, "CONVERSATION_NOT_FOUND"},
		{"GET", apiV0 + "/nothing", 404, "NOT_FOUND"},
		{"GET", apiV2 + "/nothing", 404, "NOT_FOUND"},
		{"GET", "/", 404, "NOT_FOUND"},
		{"GET", apiV0 + "/message", 405, "METHOD_NOT_ALLOWED"},
		{"PUT", apiV2 + "/conversations/none", 405, "METHOD_NOT_ALLOWED"},
	} {
		header, answer := c.send(test.method, test.path, "", http.Header{"Authorization": {"Bearer " + sitegpttwin.DefaultKey}}, test.status)
		if got := answer.Get("error.code").Str; got != test.code {
			t.Errorf("%s %s: got %s, want %s", test.method, test.path, got, test.code)
		}
		if test.status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", test.method, test.path)
		}
	}
}

func TestWhatIsNotDocumentedIsRefusedByName(t *testing.T) {
	c := start(t)
	c.do("POST", apiV0+"/threads", `{"threadId":"xyz"}`, 200)
	for _, test := range []struct {
		method, path, body, field string
	}{
		{"POST", apiV0 + "/message", `{}`, "message"},
		{"POST", apiV0 + "/message", `{"message":""}`, "message"},
		{"POST", apiV0 + "/message", `{"message":null}`, "message"},
		{"POST", apiV0 + "/message", `{"message":["a"]}`, "message"},
		{"POST", apiV0 + "/message", `{"message":"a","from":"user"}`, "from"},
		{"POST", apiV0 + "/message", `{"message":"a","from":"AGENT"}`, "threadId"},
		{"POST", apiV0 + "/message", `{"message":"a","threadId":null}`, "threadId"},
		{"POST", apiV0 + "/message", `{"message":"a","stream":false}`, "stream"},
		{"POST", apiV0 + "/message", `{"message":"a","iconUrl":"ana.png"}`, "iconUrl"},
		{"POST", apiV0 + "/message", `{"message":"a"`, "body"},
		{"POST", apiV0 + "/message", `{"message":"a"}{}`, "body"},
		{"POST", apiV0 + "/message", `["a"]`, "body"},
		{"POST", apiV0 + "/message?page=1", `{"message":"a"}`, "page"},
		{"POST", apiV0 + "/threads", `{"threadId":"xyz"}`, "threadId"},
		{"POST", apiV0 + "/threads", `{"threadId":7}`, "threadId"},
		{"POST", apiV0 + "/threads", `{"mode":"human"}`, "mode"},
		{"PATCH", apiV0 + "/threads/xyz", `{"chatUser":"Rosa"}`, "chatUser"},
		{"PATCH", apiV0 + "/threads/xyz", `{"chatUser":{"phone":"1"}}`, "chatUser.phone"},
		{"PATCH", apiV0 + "/threads/xyz", `{"webhookUrl":"hooks"}`, "webhookUrl"},
		{"POST", apiV2 + "/messages", `{"pageUrl":null}`, "message"},
		{"POST", apiV2 + "/messages", `{"message":"a","pageUrl":"page"}`, "pageUrl"},
		{"POST", apiV2 + "/messages", `{"message":"a","from":"USER"}`, "from"},
		{"POST", apiV2 + "/conversations/xyz/take-over", `null`, "body"},
	} {
		answer := c.do(test.method, test.path, test.body, 400).Get("error")
		code := "REQUEST_VALIDATION_FAILED"
		if strings.HasPrefix(test.path, "/api/v2") {
			code = "VALIDATION_FAILED"
		}
		if answer.Get("code").Str != code || answer.Get("details.0.field").Str != test.field {
			t.Errorf("%s %s %s: got %s", test.method, test.path, test.body, answer)
		}
	}
	header := http.Header{"Authorization": {"Bearer " + sitegpttwin.DefaultKey}, "Content-Type": {"text/plain"}}
	if _, answer := c.send("POST", apiV0+"/message", `{"message":"a"}`, header, 400); answer.Get("error.details.0.field").Str != "Content-Type" {
		t.Errorf("text/plain: got %s", answer)
	}
	if list := c.do("GET", apiV0+"/threads", "", 200).Get("data.threads.#").Int(); list != 1 {
		t.Errorf("a refused request left a thread: %d", list)
	}
}

func TestOptionsNameTheKeyAndTheChatbot(t *testing.T) {
	server := httptest.NewServer(sitegpttwin.New(sitegpttwin.Options{Key: normalize.NewSecret("k"), ChatbotID: "42"}))
	t.Cleanup(server.Close)
	c := client{t, server.URL}
	c.send("GET", "/api/v0/chatbots/42/threads", "", http.Header{"Authorization": {"Bearer k"}}, 200)
	c.send("GET", "/api/v0/chatbots/42/threads", "", http.Header{"Authorization": {"Bearer " + sitegpttwin.DefaultKey}}, 401)
	c.send("GET", apiV0+"/threads", "", http.Header{"Authorization": {"Bearer k"}}, 404)
}

func TestConversationsAtOnceKeepApart(t *testing.T) {
	origin := start(t).origin
	for i := range 16 {
		id := fmt.Sprintf("t-%d", i)
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			c := client{t, origin}
			c.do("POST", apiV0+"/threads", `{"threadId":"`+id+`"}`, 200)
			for turn := range 5 {
				text := fmt.Sprintf("%s says %d", id, turn)
				answer := c.do("POST", apiV2+"/conversations/"+id+"/messages", `{"message":"`+text+`"}`, 200)
				want := fmt.Sprintf("You said: %s\n(turn %d; the first thing you said was: %s says 0)", text, turn+1, id)
				if got := answer.Get("data.message.answer.text").Str; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if n := c.do("GET", apiV0+"/threads/"+id, "", 200).Get("data.thread.messages.#").Int(); n != 5 {
				t.Errorf("the thread has %d messages, want 5", n)
			}
		})
	}
}
