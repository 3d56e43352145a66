package app_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"chatmux/adapters/adaptertest"
	"chatmux/internal/sandbox/bot"
)

// fronted is a config with every vendor behind: the bot that a client asks for says
// which of them answers.
const fronted = `
listen: 127.0.0.1:0
store: %s
log: {level: error}
limits: {drain: {delay: 0s, grace: 5s}}
callers:
  - {name: clients, key: key-of-the-clients}
  - {name: narrow, key: key-of-narrow, routes: [to-echo]}
backends:
  - {name: altur, adapter: altur, settings: {base_url: sandbox, api_key: k-altur, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30}}
  - {name: sitegpt-v0, adapter: sitegpt, settings: {base_url: sandbox, version: v0, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: sitegpt-v2, adapter: sitegpt, settings: {base_url: sandbox, version: v2, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: platform, adapter: conversations, settings: {base_url: sandbox, api_key: k-conversations, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: own-llm, adapter: openai, settings: {base_url: sandbox, api_key: k-openai, model: m}}
  - {name: echo, adapter: echo}
routes:
  - {name: to-altur, match: {bot: "*-0000000000a1"}, to: altur}
  - {name: to-sitegpt-v0, match: {bot: "*-0000000000a2"}, to: sitegpt-v0}
  - {name: to-sitegpt-v2, match: {bot: "*-0000000000a3"}, to: sitegpt-v2}
  - {name: to-platform, match: {bot: ["*-0000000000a4", 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55]}, to: platform}
  - {name: to-own-llm, match: {bot: "*-0000000000a5"}, to: own-llm}
  - {name: to-echo, match: {bot: "*-0000000000a6"}, to: echo}
  - {name: default, to: echo}
`

// behind are its backends, in the order of their routes.
var behind = []string{"altur", "sitegpt-v0", "sitegpt-v2", "platform", "own-llm", "echo"}

// botOf gives a bot that leads to a backend; there are several of them.
func botOf(backend string, which int) string {
	return fmt.Sprintf("00000000-0000-4000-800%d-0000000000a%d", which, slices.Index(behind, backend)+1)
}

// answerOf is what the twin behind a backend says.
func answerOf(backend string, turn int, first, text string) string {
	if backend == "echo" {
		return text
	}
	return bot.Answer(turn, first, text)
}

// The objects of the conversations platform, as its documents have them.
func platformShapes() (completion, conversation, message, record adaptertest.Shape) {
	stamp := adaptertest.Match("13 digits", `\d{13}`)
	citation := adaptertest.Object{
		"id": adaptertest.UUID(), "filename": adaptertest.Text(), "file": adaptertest.Text(), "fileType": adaptertest.Text(),
		"size": adaptertest.Integer(), "status": adaptertest.Is("initial", "processing", "done", "deleting", "failed"),
		"document": adaptertest.UUID(), "parser": adaptertest.OrNull(adaptertest.Text()), "createdAt": stamp,
	}
	node := adaptertest.Object{
		"chatbotTextNode": adaptertest.Object{
			"id": adaptertest.UUID(), "charactersCount": adaptertest.Integer(), "hitsCount": adaptertest.Integer(),
			"text": adaptertest.Text(), "updatedAt": stamp, "filename": adaptertest.Text(),
		},
		"score": adaptertest.OrNull(adaptertest.Number()), "displayScore": adaptertest.Text(),
	}
	completion = adaptertest.Object{
		"conversationId": adaptertest.UUID(), "content": adaptertest.Text(), "done": adaptertest.Is(true),
		"citations": adaptertest.List(citation), "citationNodes": adaptertest.List(node),
	}
	message = adaptertest.Object{
		"id": adaptertest.UUID(), "conversation": adaptertest.UUID(),
		"sender": adaptertest.Object{"id": adaptertest.Integer(), "name": adaptertest.Text(), "avatar": adaptertest.Text()},
		"type":   adaptertest.Is("incoming", "outgoing"), "content": adaptertest.Text(), "feedback": adaptertest.Is(nil, "", "like", "dislike"),
		"createdAt": stamp,
		"attachments": adaptertest.List(adaptertest.Object{
			"id": adaptertest.UUID(), "filename": adaptertest.Text(), "file": adaptertest.Text(),
			"type": adaptertest.Is("image", "video", "audio", "sticker", "other"),
		}),
		"citations": adaptertest.List(citation), "citationNodes": adaptertest.List(node),
	}
	conversation = adaptertest.Object{
		"id":          adaptertest.UUID(),
		"contact":     adaptertest.Object{"id": adaptertest.UUID(), "name": adaptertest.Text(), "avatar": adaptertest.Optional(adaptertest.Text()), "createdAt": stamp},
		"inbox":       adaptertest.Object{"id": adaptertest.UUID(), "name": adaptertest.Text(), "channelType": adaptertest.Is("line", "telegram", "web", "messenger")},
		"title":       adaptertest.Text(),
		"lastMessage": adaptertest.OrNull(message), "lastMessageCreatedAt": stamp, "createdAt": stamp, "lastReadAt": adaptertest.OrNull(stamp),
		"unreadMessagesCount": adaptertest.Integer(), "autoReplyEnabled": adaptertest.Bool(), "isAutoReplyNow": adaptertest.Bool(),
		"isGroupChat": adaptertest.Bool(), "enableGroupMention": adaptertest.Bool(),
	}
	score, shown := adaptertest.OrNull(adaptertest.Number()), adaptertest.Text()
	record = adaptertest.Object{
		"id": adaptertest.UUID(), "inputMessage": adaptertest.Text(), "condenseMessage": adaptertest.Text(), "outputMessage": adaptertest.Text(),
		"context":           adaptertest.OrNull(adaptertest.Text()),
		"faithfulnessScore": score, "displayFaithfulnessScore": shown, "answerRelevancyScore": score, "displayAnswerRelevancyScore": shown,
		"contextPrecisionScore": score, "displayContextPrecisionScore": shown, "answerCorrectnessScore": score, "displayAnswerCorrectnessScore": shown,
		"answerSimilarityScore": score, "displayAnswerSimilarityScore": shown, "contextRecallScore": score, "displayContextRecallScore": shown,
		"replyTime": adaptertest.OrNull(adaptertest.Text()), "createdAt": stamp, "error": adaptertest.OrNull(adaptertest.Text()),
	}
	return completion, conversation, message, record
}

// TestThePlatformsDocumentedCallsAreAnsweredAsDocumented makes the eight calls of its
// document, under both versions of its path, with each vendor behind.
func TestThePlatformsDocumentedCallsAreAnsweredAsDocumented(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronted, newStore(t)))
		for _, backend := range behind {
			for i, version := range []string{"/conversations/api", "/conversations/api/v1"} {
				t.Run(backend+version, func(t *testing.T) { testPlatformCalls(t, h, version, backend, botOf(backend, i)) })
			}
		}
	})
}

func testPlatformCalls(t *testing.T, h *house, version, backend, chatbot string) {
	completion, conversation, message, record := platformShapes()
	today := time.Now().UTC().Format(time.DateOnly)
	list := func(item adaptertest.Shape, counted bool) adaptertest.Shape {
		o := adaptertest.Object{"next": adaptertest.OrNull(adaptertest.Text()), "previous": adaptertest.OrNull(adaptertest.Text()), "results": adaptertest.List(item)}
		if counted {
			o["count"] = adaptertest.Integer()
		}
		return o
	}
	says := func(path, want string) func(*testing.T, any) {
		return func(t *testing.T, answer any) {
			if got := fmt.Sprint(adaptertest.At(answer, path)); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
	}
	const first, second = "Opening hours? 你好 <&> 🙂", "And on Sunday?"
	days := "?startDate=" + today + "&endDate=" + today
	front := adaptertest.Front{URL: h.url, Header: http.Header{"Authorization": {"Api-Key key-of-the-clients"}}}
	bots := version + "/chatbots/" + chatbot
	adaptertest.RunDialect(t, front, []adaptertest.DialectCall{
		{
			Name: "send a message, in a new conversation", Method: "POST", Path: bots + "/completions/", Status: 200,
			Body:  `{"conversation":null,"message":{"content":"` + first + `","attachments":[]},"isStreaming":false}`,
			Shape: completion, Keep: map[string]string{"conversation": "conversationId"}, Also: says("content", answerOf(backend, 1, first, first)),
		},
		{
			Name: "send a message, in that conversation, without the last slash", Method: "POST", Path: bots + "/completions", Status: 200,
			Body: `{"conversation":"$conversation","message":{"content":"` + second + `"}}`,
			Also: says("content", answerOf(backend, 2, first, second)),
		},
		{
			Name: "create a conversation", Method: "POST", Path: version + "/conversations/", Status: 201,
			Body: `{"webChat":"` + chatbot + `"}`, Shape: conversation, Keep: map[string]string{"empty": "id"}, Also: says("lastMessage", "<nil>"),
		},
		{
			Name: "create a message", Method: "POST", Path: version + "/messages/", Status: 201,
			Body:  `{"conversation":"$empty","content":"` + first + `","attachments":[]}`,
			Shape: message, Keep: map[string]string{"message": "id"}, Also: says("content", first),
		},
		{
			Name: "list the messages", Method: "GET", Path: version + "/messages/?conversation=$empty&pageSize=1", Status: 200,
			Shape: list(message, true), Keep: map[string]string{"next": "next"}, Also: says("count", "2"),
		},
		{
			Name: "turn the page", Method: "GET", Path: "$next", Status: 200, Shape: list(message, true),
			Keep: map[string]string{"previous": "previous"}, Also: says("results.0.type", "outgoing"),
		},
		{
			Name: "and back", Method: "GET", Path: "$previous", Status: 200, Shape: list(message, true), Also: says("results.0.content", first),
		},
		{
			Name: "the answer is among them", Method: "GET", Path: version + "/messages/?conversation=$empty", Status: 200,
			Shape: list(message, true), Also: says("results.1.content", answerOf(backend, 1, first, first)),
		},
		{
			Name: "get a message", Method: "GET", Path: version + "/messages/$message/?conversation=$empty", Status: 200,
			Shape: message, Also: says("type", "incoming"),
		},
		{
			Name: "get a message, of another conversation", Method: "GET", Path: version + "/messages/$message/?conversation=$conversation", Status: 404,
			Shape: adaptertest.Object{"detail": adaptertest.Is("No Message matches the given query.")},
		},
		{
			Name: "list the conversations", Method: "GET", Path: version + "/conversations/?pageSize=1", Status: 200, Shape: list(conversation, false),
			Keep: map[string]string{"older": "next"}, Also: says("results.0.lastMessage.content", answerOf(backend, 1, first, first)),
		},
		{
			Name: "turn their page", Method: "GET", Path: "$older", Status: 200, Shape: list(conversation, false),
			Also: says("results.0.lastMessage.content", answerOf(backend, 2, first, second)),
		},
		{
			Name: "list the conversations of a channel, by a word", Method: "GET", Status: 200,
			Path:  version + "/conversations/?inbox=" + chatbot + "&keyword=Opening",
			Shape: list(conversation, false), Also: says("results.0.inbox.id", chatbot),
		},
		{
			Name: "get a conversation", Method: "GET", Path: version + "/conversations/$conversation/", Status: 200,
			Shape: conversation, Also: says("lastMessage.content", answerOf(backend, 2, first, second)),
		},
		{
			Name: "get a conversation that is none", Method: "GET", Path: version + "/conversations/$message/", Status: 404,
			Shape: adaptertest.Object{"detail": adaptertest.Is("No Conversation matches the given query.")},
		},
		{
			Name: "list the records", Method: "GET", Path: bots + "/records/" + days + "&userMessage=Sunday", Status: 200,
			Shape: list(record, true), Also: says("results.0.outputMessage", answerOf(backend, 2, first, second)),
		},
		{
			Name: "there is one for each question", Method: "GET", Path: bots + "/records/" + days, Status: 200,
			Shape: list(record, true), Also: says("count", "3"),
		},
		{
			Name: "a wrong request", Method: "POST", Path: bots + "/completions/", Status: 400, Body: `{"message":{}}`,
			Shape: adaptertest.Object{"message": adaptertest.Object{"content": adaptertest.List(adaptertest.Is("This field is required."))}},
		},
		{
			Name: "a path that is none", Method: "GET", Path: version + "/nothing/", Status: 404, Shape: adaptertest.Object{"detail": adaptertest.Text()},
		},
		{
			Name: "a wrong method", Method: "PUT", Path: version + "/messages/", Status: 405,
			Shape: adaptertest.Object{"detail": adaptertest.Is(`Method "PUT" not allowed.`)},
		},
	})

	file := h.call("GET", bots+"/records/export-excel/"+days, nil, "Authorization", "Api-Key key-of-the-clients")
	book, err := excelize.OpenReader(bytes.NewReader(file.body))
	if err != nil {
		t.Fatalf("%v in %d %s", err, file.status, file.header)
	}
	defer book.Close()
	if rows, err := book.GetRows(book.GetSheetName(0)); err != nil || len(rows) != 4 || rows[2][3] != answerOf(backend, 2, first, second) {
		t.Errorf("%v, rows %q", err, rows)
	}
}

// TestThePlatformsStreamIsWhatItsStrictestClientReads: only lines that begin with `data: `
// count, and each of them is an object with the conversation and a new piece.
func TestThePlatformsStreamIsWhatItsStrictestClientReads(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronted, newStore(t)))
		for _, backend := range behind {
			t.Run(backend, func(t *testing.T) {
				path := "/conversations/api/chatbots/" + botOf(backend, 0) + "/completions/"
				texts := []string{"I am Rosa. 你好 🙂", "Where is my parcel?", "Who am I?"}
				conversation := ""
				for i, text := range texts {
					body := object{"conversation": conversation, "message": object{"content": text}, "isStreaming": true}
					if i == 1 {
						body = object{"conversation": conversation, "message": object{"content": text}, "is_streaming": true}
					}
					got := h.call("POST", path, body, "Authorization", "Api-Key key-of-the-clients")
					content, id, done := readPlatform(t, got.body)
					if want := answerOf(backend, i+1, texts[0], text); content != want || !done || conversation != "" && id != conversation {
						t.Fatalf("turn %d: %q in %s, done %t, want %q in %s", i+1, content, id, done, want, conversation)
					}
					conversation = id
				}
			})
		}
	})
}

// readPlatform reads a stream as the strictest of the platform's example clients does.
func readPlatform(t *testing.T, body []byte) (content, conversation string, done bool) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var frame struct {
			ConversationID string `json:"conversationId"`
			Content        string `json:"content"`
			Done           bool   `json:"done"`
		}
		if err := json.Unmarshal([]byte(data), &frame); err != nil || frame.ConversationID == "" || done {
			t.Fatalf("the frame %q (%v)", data, err)
		}
		content, conversation, done = content+frame.Content, frame.ConversationID, frame.Done
	}
	return content, conversation, done
}

// TestABrokenAnswerBreaksThePlatformsStreamOff: the client that reads to the end of the
// body gets an error, and no frame says that the answer is whole.
func TestABrokenAnswerBreaksThePlatformsStreamOff(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(fronted, "sqlite:"+t.TempDir()+"/chatmux.db"))
	body := `{"message":{"content":"Tell me a story. [[cut 600]]"},"isStreaming":true}`
	path := "/conversations/api/chatbots/" + botOf("own-llm", 0) + "/completions/"
	request, err := http.NewRequestWithContext(t.Context(), "POST", h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Api-Key key-of-the-clients"}, "Content-Type": {"application/json"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err == nil || response.StatusCode != 200 {
		t.Errorf("the body of %d ended well: %s", response.StatusCode, text.String())
	}
	if got := text.String(); !strings.Contains(got, `"done":false`) || strings.Contains(got, `"done":true`) || !strings.Contains(got, `{"detail":`) {
		t.Errorf("the stream was\n%s", got)
	}
}

// TestAConversationFromBeforeGoesOnUnderItsOwnId: chatmux was put in front of the
// platform in mid-conversation.
func TestAConversationFromBeforeGoesOnUnderItsOwnId(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronted, newStore(t)))
		const chatbot = "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
		ask := func(url, key, conversation, text string) (said string, id string) {
			t.Helper()
			var got struct {
				ConversationID string `json:"conversationId"`
				Content        string `json:"content"`
			}
			front := &house{t: t, url: url}
			a := front.call("POST", "/chatbots/"+chatbot+"/completions/", object{"conversation": conversation, "message": object{"content": text}}, "Authorization", "Api-Key "+key)
			if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return got.Content, got.ConversationID
		}
		_, other := ask(h.twin("platform").URL()+"/api", "k-conversations", "", "I am Otto.")
		if a := h.call("GET", "/conversations/api/conversations/"+other+"/", nil, "Authorization", "Api-Key key-of-the-clients"); a.status != 200 ||
			!strings.Contains(string(a.body), bot.Answer(1, "I am Otto.", "I am Otto.")[:20]) {
			t.Errorf("a call that names no bot: %d %s", a.status, a.body)
		}
		if a := h.call("GET", "/conversations/api/conversations/", nil, "Authorization", "Api-Key key-of-the-clients"); !strings.Contains(string(a.body), other) {
			t.Errorf("the list does not call it %s: %s", other, a.body)
		}
		_, before := ask(h.twin("platform").URL()+"/api", "k-conversations", "", "I am Rosa.")
		said, id := ask(h.url+"/conversations/api", "key-of-the-clients", before, "Who am I?")
		if id != before || said != bot.Answer(2, "I am Rosa.", "Who am I?") {
			t.Errorf("%q in %s, want it in %s", said, id, before)
		}
		list := read[struct {
			Results []struct{ Content, Conversation string }
		}](t, h.call("GET", "/conversations/api/messages/?conversation="+before, nil, "Authorization", "Api-Key key-of-the-clients"), 200)
		if len(list.Results) != 4 || list.Results[0].Content != "I am Rosa." || list.Results[0].Conversation != before {
			t.Errorf("the transcript is %+v", list.Results)
		}
		vendor := &house{t: t, url: h.twin("platform").URL() + "/api"}
		_, unseen := ask(vendor.url, "k-conversations", "", "I am Ida.")
		known := read[struct{ Results []struct{ ID string } }](t, vendor.call("GET", "/messages/?conversation="+unseen, nil, "Authorization", "Api-Key k-conversations"), 200)
		h.refused("GET", "/conversations/api/messages/"+known.Results[0].ID+"/?conversation="+unseen, nil, 200, "I am Ida.", "Authorization", "Api-Key key-of-the-clients")
	})
}

// chat is a client of OpenAI's API that keeps the conversation itself, as all of them do.
type chat struct {
	h        *house
	model    string
	stream   bool
	messages []object
	thread   string // of the last answer
}

// say sends the conversation with one more message, and keeps the answer.
func (c *chat) say(text string) string {
	t := c.h.t
	t.Helper()
	c.messages = append(c.messages, object{"role": "user", "content": text})
	a := c.h.call("POST", "/openai/v1/chat/completions", object{"model": c.model, "messages": c.messages, "stream": c.stream}, asClients...)
	var said string
	if !c.stream {
		said = fmt.Sprint(adaptertest.At(read[any](t, a, 200), "choices.0.message.content"))
	} else if whole := false; a.status == 200 {
		for line := range strings.Lines(string(a.body)) {
			data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
			if whole = whole || data == "[DONE]"; !ok || data == "[DONE]" {
				continue
			}
			if piece, ok := adaptertest.At(read[any](t, answer{status: 200, body: []byte(data)}, 200), "choices.0.delta.content").(string); ok {
				said += piece
			}
		}
		if !whole {
			t.Fatalf("the stream has no end: %s", a.body)
		}
	} else {
		t.Fatalf("%d %s", a.status, a.body)
	}
	c.messages, c.thread = append(c.messages, object{"role": "assistant", "content": said}), a.header.Get("Chatmux-Thread")
	return said
}

var asClients = []string{"Authorization", "Bearer key-of-the-clients"}

// TestAConversationThatTheClientKeepsIsOneOfTheVendors: every turn is sent whole, and
// only what is new reaches the vendor, in its own conversation.
func TestAConversationThatTheClientKeepsIsOneOfTheVendors(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronted, newStore(t)))
		for _, backend := range behind {
			for _, streaming := range []bool{false, true} {
				t.Run(fmt.Sprint(backend, " stream ", streaming), func(t *testing.T) {
					c := &chat{h: &house{t: t, app: h.app, url: h.url}, model: backend, stream: streaming}
					texts := []string{"I am Rosa. 你好 \"<&>\" 🙂", "Where is my parcel?", "Who am I?"}
					threads := make(map[string]bool)
					for i, text := range texts {
						if got, want := c.say(text), answerOf(backend, i+1, texts[0], text); got != want {
							t.Fatalf("turn %d: %q, want %q", i+1, got, want)
						}
						threads[c.thread] = true
					}
					if n := len(h.transcript(c.thread, asClients...)); len(threads) != 1 || n != 6 {
						t.Errorf("threads %v, the last of %d messages", threads, n)
					}
				})
			}
		}
	})
}

// TestConversationsThatBeginAlikeStayApart: two people say hello, are answered alike, and
// then say who they are. Nothing parts their requests until then.
func TestConversationsThatBeginAlikeStayApart(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronted, newStore(t)))
		people := []*chat{{h: h, model: "platform"}, {h: h, model: "platform"}}
		for _, text := range []string{"Hello.", "I am %s.", "Who am I?"} {
			for i, c := range people {
				if strings.Contains(text, "%") {
					c.say(fmt.Sprintf(text, []string{"Rosa", "Otto"}[i]))
				} else {
					c.say(text)
				}
			}
		}
		if people[0].thread == people[1].thread {
			t.Fatalf("both are in %s", people[0].thread)
		}
		for i, c := range people {
			other := []string{"Otto", "Rosa"}[i]
			for _, m := range h.transcript(c.thread, asClients...) {
				if strings.Contains(m.Text, other) {
					t.Errorf("%s hears of %s: %q", []string{"Rosa", "Otto"}[i], other, m.Text)
				}
			}
		}
	})
}

// TestA04_a_caller_outside_its_routes asks for a model that is another caller's: it is
// forbidden, in no list, and what nobody has is not there.
func TestA04_a_caller_outside_its_routes(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(fronted, "sqlite:"+t.TempDir()+"/chatmux.db"))
	as := []string{"Authorization", "Bearer key-of-narrow"}
	for model, want := range map[string]int{"echo": 200, "to-echo": 200, "platform": 403, "to-platform": 403, "gpt-none": 404} {
		for _, streaming := range []bool{false, true} {
			body := object{"model": model, "stream": streaming, "messages": []object{{"role": "user", "content": "hi"}}}
			if a := h.call("POST", "/openai/v1/chat/completions", body, as...); a.status != want {
				t.Errorf("%s: %d %s, want %d", model, a.status, a.body, want)
			}
		}
	}
	list := read[struct{ Data []struct{ ID string } }](t, h.call("GET", "/openai/v1/models", nil, as...), 200)
	if len(list.Data) != 2 || list.Data[0].ID != "to-echo" || list.Data[1].ID != "echo" {
		t.Errorf("models %+v", list.Data)
	}
	if n := h.twin("platform").Requests(); n != 0 {
		t.Errorf("the vendor got %d requests", n)
	}
}
