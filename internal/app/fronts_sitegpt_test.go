package app_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"chatmux/adapters/adaptertest"
	"chatmux/internal/sandbox/bot"
)

// The API of the one bot, in both versions.
const (
	botV0 = "/sitegpt/api/v0/chatbots/" + sitegptBot
	botV2 = "/sitegpt/api/v2/chatbots/" + sitegptBot
)

var (
	text   = adaptertest.Text()
	orNull = adaptertest.OrNull
	number = adaptertest.Integer()
	flag   = adaptertest.Bool()
)

// halfShape is one side of a pair.
func halfShape(fraction int) adaptertest.Shape {
	return orNull(adaptertest.Object{"text": text, "timestamp": stampOf(fraction)})
}

var (
	pairKinds   = adaptertest.Is("NORMAL_MESSAGE", "USER_MESSAGE", "AGENT_MESSAGE", "SYSTEM_MESSAGE")
	systemKinds = adaptertest.Is(nil, "CONVERSATION_ESCALATED", "EXCEEDED_USAGE_LIMITS", "EMAIL_VERIFIED", "ENTERED_WRONG_OTP", "PROVIDED_EMAIL",
		"PERSONA_SELECTED", "PROBLEMS_WITH_UPSTREAM_PROVIDER")
	reactions = adaptertest.Is("POSITIVE", "NEGATIVE", "NEUTRAL")
)

// The objects of v0 as the vendor's documents have them.
func shapesV0() (sent, message, created, thread, summary adaptertest.Object) {
	prompt := adaptertest.Object{"id": text, "title": text, "description": text, "link": adaptertest.Optional(text)}
	message = adaptertest.Object{
		"messageId": text, "question": halfShape(6), "answer": halfShape(6), "sources": adaptertest.List(text), "gptModel": orNull(text),
		"reaction": reactions, "threadId": text, "messageType": pairKinds, "systemMessageType": adaptertest.Optional(systemKinds),
		"iconUrl": orNull(text), "agentName": orNull(text), "prompts": adaptertest.List(prompt), "chatbotId": text,
	}
	sent = with(message, adaptertest.Object{"id": text, "smartPrompts": adaptertest.List(text)})
	delete(sent, "messageId")
	user := orNull(adaptertest.Object{
		"id": text, "name": orNull(text), "email": orNull(text), "phoneNumber": orNull(text), "verified": flag, "createdAt": stampOf(6), "updatedAt": stampOf(6),
	})
	created = adaptertest.Object{
		"threadId": text, "mode": adaptertest.Is("AI", "AGENT"), "messages": adaptertest.List(message), "startedAt": stampOf(6), "updatedAt": stampOf(6),
		"chatUserId": orNull(text), "chatbotId": text, "chatUser": user,
	}
	thread = with(created, adaptertest.Object{
		"endedAt": orNull(stampOf(6)), "escalated": flag, "totalMessagesRead": number, "webhookUrl": orNull(text), "webhookToken": orNull(text),
	})
	summary = adaptertest.Object{
		"threadId": text, "startedAt": stampOf(6), "updatedAt": stampOf(6), "endedAt": orNull(stampOf(6)), "chatUser": user,
		"escalated": flag, "important": flag, "resolved": flag, "totalMessagesRead": number, "totalMessages": number, "totalPositiveMessages": number,
		"totalNegativeMessages": number, "totalGpt4MessagesCount": number, "lastMessage": orNull(message),
	}
	return sent, message, created, thread, summary
}

// with is an object with further fields.
func with(o, more adaptertest.Object) adaptertest.Object {
	sum := adaptertest.Object{}
	for _, fields := range []adaptertest.Object{o, more} {
		for name, shape := range fields {
			sum[name] = shape
		}
	}
	return sum
}

// The envelopes.
func doneV0(said string, data adaptertest.Shape) adaptertest.Shape {
	return adaptertest.Object{"success": adaptertest.Is(true), "message": adaptertest.Is(said), "data": data}
}

func doneV2(data adaptertest.Object) adaptertest.Shape {
	return adaptertest.Object{"ok": adaptertest.Is(true), "data": data, "meta": adaptertest.Object{"requestId": text}}
}

var problems = adaptertest.List(adaptertest.Object{"field": text, "message": text})

func failedV0(code string) adaptertest.Shape {
	return adaptertest.Object{
		"success": adaptertest.Is(false), "message": text, "data": adaptertest.Is(nil),
		"error": adaptertest.Object{"code": adaptertest.Is(code), "message": text, "details": orNull(problems)},
	}
}

func failedV2(code string) adaptertest.Shape {
	return adaptertest.Object{
		"ok": adaptertest.Is(false), "meta": adaptertest.Object{"requestId": text},
		"error": adaptertest.Object{"code": adaptertest.Is(code), "message": text, "details": adaptertest.Optional(problems)},
	}
}

func TestSiteGPTsCallsAreAnsweredAsDocumentedWhoeverIsBehind(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		for _, backend := range frontBackends {
			t.Run(backend+"/v0", func(t *testing.T) { testSiteGPTV0(t, h, backend) })
			t.Run(backend+"/v2", func(t *testing.T) { testSiteGPTV2(t, h, backend) })
		}
	})
}

func testSiteGPTV0(t *testing.T, h *house, backend string) {
	const first, second = "I am Rosa. 你好 <&> 🙂", "Who am I?"
	sent, _, created, thread, summary := shapesV0()
	aSent := doneV0("Sent the message successfully", adaptertest.Object{"message": sent})
	aCreated := doneV0("Created the chatbot thread successfully", adaptertest.Object{"thread": created})
	aThread := doneV0("Fetched the chatbot thread successfully", adaptertest.Object{"thread": thread})
	aList := doneV0("Fetched the chatbot threads successfully", adaptertest.Object{"threads": adaptertest.List(summary)})
	refused := failedV0("REQUEST_VALIDATION_FAILED")
	chosen := "order of " + backend + "/17g"
	front := h.keyed("Bearer ", backend)
	front.Kept = map[string]string{"chosen": strings.NewReplacer(" ", "%20", "/", "%2F").Replace(chosen)}
	adaptertest.RunDialect(t, front, []adaptertest.DialectCall{
		{
			Name: "send a message, pasted from the document", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent,
			Body: "{\n\"message\": \"What can you do ?\",\n\"from\": \"USER\"\n}", Keep: map[string]string{"thread": "data.message.threadId"},
			Also: each(has("data.message.question.text", "What can you do ?"), has("data.message.messageType", "NORMAL_MESSAGE"), has("data.message.chatbotId", sitegptBot),
				has("data.message.answer.text", answerOf(backend, 1, "What can you do ?", "What can you do ?"))),
		},
		{
			Name: "send another, to a bot that remembers", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent,
			Body: `{"message":"` + second + `","threadId":"$thread"}`,
			Also: each(has("data.message.answer.text", answerOf(backend, 2, "What can you do ?", second)), has("data.message.reaction", "NEUTRAL")),
		},
		{
			Name: "get the thread", Method: "GET", Path: botV0 + "/threads/$thread", Status: 200, Shape: aThread,
			Also: each(length("data.thread.messages", 2), has("data.thread.messages.0.question.text", "What can you do ?"), has("data.thread.mode", "AI")),
		},
		{
			Name: "create a thread under an id of the client's", Method: "POST", Path: botV0 + "/threads", Status: 200, Shape: aCreated,
			Body: `{"threadId":"` + chosen + `","mode":"AI","chatUserEmail":"rosa@example.test"}`,
			Also: each(has("data.thread.threadId", chosen), has("data.thread.chatUser.email", "rosa@example.test")),
		},
		{
			Name: "create it once more", Method: "POST", Path: botV0 + "/threads", Status: 200, Shape: aCreated,
			Body: `{"threadId":"` + chosen + `"}`, Also: has("data.thread.chatUser.email", "rosa@example.test"),
		},
		{
			Name: "send a message to it", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent,
			Body: `{"message":"` + first + `","threadId":"` + chosen + `","from":"USER"}`,
			Also: each(has("data.message.threadId", chosen), has("data.message.answer.text", answerOf(backend, 1, first, first))),
		},
		{
			Name: "tell who it is", Method: "PATCH", Path: botV0 + "/threads/$chosen", Status: 200,
			Shape: doneV0("Updated the chatbot thread successfully", adaptertest.Is(nil)),
			Body:  `{"chatUser":{"name":"Rosa","phoneNumber":"+15550101"}}`,
		},
		{
			Name: "get it", Method: "GET", Path: botV0 + "/threads/$chosen", Status: 200, Shape: aThread,
			Also: each(has("data.thread.threadId", chosen), length("data.thread.messages", 1), has("data.thread.chatUser.name", "Rosa"), has("data.thread.chatUser.email", "rosa@example.test")),
		},
		{
			Name: "create a thread, pasted from the document", Method: "POST", Path: botV0 + "/threads", Status: 200, Shape: aCreated,
			Body: `{}`, Also: each(has("data.thread.mode", "AI"), has("data.thread.chatUser", nil), length("data.thread.messages", 0)),
		},
		{
			Name: "list the threads", Method: "GET", Path: botV0 + "/threads", Status: 200, Shape: aList,
			Also: each(has("data.threads.1.threadId", chosen), has("data.threads.1.totalMessages", 1), has("data.threads.1.lastMessage.question.text", first)),
		},
		{Name: "list a page of them", Method: "GET", Path: botV0 + "/threads?page=2&limit=1", Status: 200, Shape: aList, Also: each(length("data.threads", 1), has("data.threads.0.threadId", chosen))},

		{Name: "a thread that is none", Method: "GET", Path: botV0 + "/threads/nobody", Status: 404, Shape: failedV0("THREAD_NOT_FOUND")},
		{Name: "a message to none", Method: "POST", Path: botV0 + "/message", Body: `{"message":"x","threadId":"nobody"}`, Status: 404, Shape: failedV0("THREAD_NOT_FOUND")},
		{Name: "changing none", Method: "PATCH", Path: botV0 + "/threads/nobody", Body: `{}`, Status: 404, Shape: failedV0("THREAD_NOT_FOUND")},
		{
			Name: "a message without text", Method: "POST", Path: botV0 + "/message", Body: `{"message":""}`, Status: 400, Shape: refused,
			Also: each(has("error.details.0.field", "message"), has("error.details.0.message", "is required")),
		},
		{Name: "an operator without a thread", Method: "POST", Path: botV0 + "/message", Body: `{"message":"x","from":"AGENT"}`, Status: 400, Shape: refused},
		{Name: "nobody", Method: "POST", Path: botV0 + "/message", Body: `{"message":"x","from":"BOT"}`, Status: 400, Shape: refused},
		{Name: "a webhook", Method: "PATCH", Path: botV0 + "/threads/$thread", Body: `{"webhookUrl":"https://example.com"}`, Status: 400, Shape: refused},
		{Name: "a page that is none", Method: "GET", Path: botV0 + "/threads?page=0&limit=101", Status: 400, Shape: refused, Also: length("error.details", 2)},
		{Name: "no JSON", Method: "POST", Path: botV0 + "/message", Body: `{"message"`, Status: 400, Shape: refused},
		{Name: "a path that is none", Method: "GET", Path: botV0 + "/nothing", Status: 404, Shape: failedV0("NOT_FOUND")},
		{Name: "a wrong method", Method: "DELETE", Path: botV0 + "/threads", Status: 405, Shape: failedV0("METHOD_NOT_ALLOWED")},
	})
	front.Header.Set("Authorization", "Bearer nobodys")
	adaptertest.RunDialect(t, front, []adaptertest.DialectCall{
		{Name: "a wrong key", Method: "GET", Path: botV0 + "/threads", Status: 401, Shape: failedV0("API_KEY_NOT_VALID"), Also: has("message", "Failed to authenticate")},
	})
}

// The objects of v2.
func shapesV2() (message, conversation adaptertest.Object) {
	message = adaptertest.Object{
		"messageId": text, "messageType": pairKinds, "systemMessageType": systemKinds, "reaction": reactions, "gptModel": orNull(text),
		"sources": adaptertest.List(text), "agentId": orNull(text), "agentName": orNull(text), "iconUrl": orNull(text), "pageUrl": orNull(text),
		"createdAt": stampOf(3), "updatedAt": stampOf(3), "question": halfShape(3), "answer": halfShape(3),
	}
	conversation = adaptertest.Object{
		"threadId": text, "chatbotId": text, "mode": adaptertest.Is("AI", "AGENT"), "startedAt": stampOf(3), "updatedAt": stampOf(3), "endedAt": orNull(stampOf(3)),
		"escalated": flag, "important": flag, "resolved": flag, "title": orNull(text), "tagIds": adaptertest.List(text),
		"sessionId": orNull(text), "pageUrl": orNull(text), "chatUserId": orNull(text), "lead": adaptertest.Is(nil),
		"chatUser": orNull(adaptertest.Object{
			"id": text, "name": orNull(text), "email": orNull(text), "phone": orNull(text), "verified": flag, "createdAt": stampOf(3), "updatedAt": stampOf(3),
		}),
		"totalMessages": number, "unreadMessages": number, "lastMessage": orNull(message), "messages": adaptertest.Optional(adaptertest.List(message)),
	}
	return message, conversation
}

func testSiteGPTV2(t *testing.T, h *house, backend string) {
	const first, second = "I am Rosa. 你好 <&> 🙂", "Who am I?"
	message, conversation := shapesV2()
	page := adaptertest.Object{"limit": number, "hasNextPage": flag, "nextCursor": orNull(text)}
	aMessage, aConversation := doneV2(adaptertest.Object{"message": message}), doneV2(adaptertest.Object{"conversation": conversation})
	filters := adaptertest.Object{}
	for _, name := range []string{"status", "mode", "escalated", "includeEmpty", "query"} {
		filters[name] = adaptertest.Optional(text)
	}
	aList := doneV2(adaptertest.Object{"conversations": adaptertest.List(conversation), "filters": filters, "pagination": page})
	messages := doneV2(adaptertest.Object{"messages": adaptertest.List(message), "pagination": page})
	refused, missing := failedV2("VALIDATION_FAILED"), failedV2("CONVERSATION_NOT_FOUND")
	const one = botV2 + "/conversations/$thread"
	calls := []adaptertest.DialectCall{
		{
			Name: "send to a new conversation", Method: "POST", Path: botV2 + "/messages", Status: 200, Body: `{"message":"` + first + `","pageUrl":"https://shop.example.test/a?b=1"}`,
			Shape: doneV2(adaptertest.Object{"conversation": conversation, "message": message}), Keep: map[string]string{"thread": "data.conversation.threadId"},
			Also: each(has("data.message.question.text", first), has("data.message.answer.text", answerOf(backend, 1, first, first)),
				has("data.message.pageUrl", "https://shop.example.test/a?b=1"), has("data.conversation.totalMessages", 1)),
		},
		{
			Name: "send to a conversation", Method: "POST", Path: one + "/messages", Status: 200, Body: `{"message":"` + second + `","pageUrl":null}`, Shape: aMessage,
			Also: each(has("data.message.answer.text", answerOf(backend, 2, first, second)), has("data.message.pageUrl", nil)),
		},
		{
			Name: "list the messages", Method: "GET", Path: one + "/messages?limit=1", Status: 200, Shape: messages, Keep: map[string]string{"next": "data.pagination.nextCursor"},
			Also: each(length("data.messages", 1), has("data.messages.0.question.text", first), has("data.pagination.hasNextPage", true)),
		},
		{
			Name: "list the rest", Method: "GET", Path: one + "/messages?limit=1&cursor=$next", Status: 200, Shape: messages,
			Also: each(has("data.messages.0.question.text", second), has("data.pagination.hasNextPage", false), has("data.pagination.nextCursor", nil)),
		},
		{
			Name: "get the conversation", Method: "GET", Path: one, Status: 200, Shape: aConversation,
			Also: each(has("data.conversation.lastMessage.question.text", second), length("data.conversation.messages", 2)),
		},
		{
			Name: "list the conversations", Method: "GET", Path: botV2 + "/conversations?limit=1&status=open&mode=AI&escalated=false&includeEmpty=false", Status: 200, Shape: aList,
			Also: each(has("data.conversations.0.lastMessage.question.text", second), has("data.filters.mode", "AI"), length("data.conversations", 1)),
		},
		{
			Name: "list those that nobody marks", Method: "GET", Path: botV2 + "/conversations?status=resolved", Status: 200, Shape: aList,
			Also: each(length("data.conversations", 0), has("data.pagination.hasNextPage", false)),
		},
		{Name: "find a conversation by its text", Method: "GET", Path: botV2 + "/conversations?query=nobody%20said%20this", Status: 200, Shape: aList, Also: length("data.conversations", 0)},

		{Name: "a conversation that is none", Method: "GET", Path: botV2 + "/conversations/nobody", Status: 404, Shape: missing},
		{Name: "a message to none", Method: "POST", Path: botV2 + "/conversations/nobody/messages", Body: `{"message":"x"}`, Status: 404, Shape: missing},
		{Name: "escalating none", Method: "POST", Path: botV2 + "/conversations/nobody/escalate", Body: `{}`, Status: 404, Shape: missing},
		{Name: "a message without text", Method: "POST", Path: botV2 + "/messages", Body: `{"pageUrl":"x"}`, Status: 400, Shape: refused, Also: length("error.details", 2)},
		{Name: "filters that are none", Method: "GET", Path: botV2 + "/conversations?status=x&cursor=x&limit=0", Status: 400, Shape: refused, Also: length("error.details", 3)},
		{Name: "a note that is no object", Method: "POST", Path: one + "/escalate", Body: `"x"`, Status: 400, Shape: refused},
		{Name: "a wrong method", Method: "PUT", Path: one, Body: `{}`, Status: 405, Shape: failedV2("METHOD_NOT_ALLOWED")},
		{Name: "a path that is none", Method: "GET", Path: "/sitegpt/api/v2/me", Status: 404, Shape: failedV2("NOT_FOUND")},
	}
	switches, escalates := strings.HasPrefix(backend, "sitegpt"), backend == "sitegpt-v2"
	unable := failedV2("UNSUPPORTED")
	if switches {
		calls = append(calls,
			adaptertest.DialectCall{Name: "take over", Method: "POST", Path: one + "/take-over", Body: `{}`, Status: 200, Shape: aConversation, Also: has("data.conversation.mode", "AGENT")},
			adaptertest.DialectCall{
				Name: "the bot is quiet", Method: "POST", Path: one + "/messages", Body: `{"message":"Anybody?"}`, Status: 200, Shape: aMessage,
				Also: each(has("data.message.answer", nil), has("data.message.messageType", "USER_MESSAGE")),
			},
			adaptertest.DialectCall{Name: "switch back", Method: "POST", Path: one + "/switch-to-ai", Body: `{}`, Status: 200, Shape: aConversation, Also: has("data.conversation.mode", "AI")},
		)
	} else if backend != "platform" {
		calls = append(calls, adaptertest.DialectCall{Name: "take over where nobody can", Method: "POST", Path: one + "/take-over", Body: `{}`, Status: 422, Shape: unable})
	}
	if escalates {
		calls = append(calls, adaptertest.DialectCall{
			Name: "escalate", Method: "POST", Path: one + "/escalate", Body: `{"message":"help"}`, Status: 200, Shape: aConversation, Also: has("data.conversation.escalated", true),
		})
	} else {
		calls = append(calls, adaptertest.DialectCall{Name: "escalate where nobody can", Method: "POST", Path: one + "/escalate", Body: `{}`, Status: 422, Shape: unable})
	}
	calls = append(calls,
		adaptertest.DialectCall{Name: "delete without a word", Method: "DELETE", Path: one, Status: 400, Shape: refused},
		adaptertest.DialectCall{
			Name: "delete", Method: "DELETE", Path: one + "?confirm=true", Status: 200, Shape: doneV2(adaptertest.Object{"threadId": text, "deleted": adaptertest.Is(true)}),
		},
		adaptertest.DialectCall{Name: "it is gone", Method: "GET", Path: one, Status: 404, Shape: missing},
	)
	front := h.keyed("Bearer ", backend)
	adaptertest.RunDialect(t, front, calls)
	for name, c := range map[string]struct{ header, code string }{"no key": {"", "AUTHORIZATION_HEADER_REQUIRED"}, "a wrong key": {"Bearer nobodys", "TOKEN_NOT_VALID"}} {
		front.Header = http.Header{}
		if c.header != "" {
			front.Header.Set("Authorization", c.header)
		}
		adaptertest.RunDialect(t, front, []adaptertest.DialectCall{{Name: name, Method: "GET", Path: botV2 + "/conversations", Status: 401, Shape: failedV2(c.code)}})
	}
}

// atVendor is the SiteGPT twin behind a backend, as its clients see it.
func (h *house) atVendor(backend string) (*house, []string) {
	return &house{t: h.t, url: h.twin(backend).URL() + "/api/v0/chatbots/" + sitegptBot}, []string{"Authorization", "Bearer k-sitegpt"}
}

func TestASiteGPTClientGoesOnWithItsThreadsFromBefore(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		for _, backend := range []string{"sitegpt-v0", "sitegpt-v2"} {
			t.Run(backend, func(t *testing.T) {
				vendor, key := h.atVendor(backend)
				said := read[struct {
					Data struct{ Message struct{ ThreadID string } }
				}](t, vendor.call("POST", "/message", object{"message": "I am Rosa."}, key...), 200)
				before, id := h.ownThreads(backend), said.Data.Message.ThreadID
				var wait sync.WaitGroup
				for i := range 12 {
					wait.Go(func() {
						path := []string{botV0 + "/threads/", botV2 + "/conversations/"}[i%2]
						a, err := h.try("GET", path+id, nil, "Authorization", "Bearer key-"+backend)
						if err != nil || a.status != 200 {
							t.Errorf("%d %s %v", a.status, a.body, err)
						}
					})
				}
				wait.Wait()
				if made := h.ownThreads(backend) - before; made != 1 {
					t.Errorf("%d threads were made of one conversation", made)
				}
				adaptertest.RunDialect(t, h.keyed("Bearer ", backend), []adaptertest.DialectCall{
					{
						Name: "what was said before", Method: "GET", Path: botV0 + "/threads/" + id, Status: 200,
						Also: each(has("data.thread.threadId", id), length("data.thread.messages", 1), has("data.thread.messages.0.answer.text", bot.Answer(1, "I am Rosa.", "I am Rosa."))),
					},
					{
						Name: "going on", Method: "POST", Path: botV2 + "/conversations/" + id + "/messages", Body: `{"message":"Who am I?"}`, Status: 200,
						Also: has("data.message.answer.text", bot.Answer(2, "I am Rosa.", "Who am I?")),
					},
					{Name: "in the list", Method: "GET", Path: botV0 + "/threads", Status: 200, Also: each(has("data.threads.0.threadId", id), has("data.threads.0.totalMessages", 2))},
				})
				h.refused("GET", botV0+"/threads/"+id+"x", nil, 404, "THREAD_NOT_FOUND", "Authorization", "Bearer key-"+backend)
				h.refused("GET", botV0+"/threads/"+id, nil, 404, "THREAD_NOT_FOUND", "Authorization", "Bearer key-other-sitegpt")
				h.refused("GET", "/sitegpt/api/v0/chatbots/7/threads/never-seen", nil, 404, "THREAD_NOT_FOUND", "Authorization", "Bearer key-"+backend)
			})
		}
		// Where another vendor answers now, what only SiteGPT has is not there.
		vendor, key := h.atVendor("sitegpt-v0")
		said := read[struct {
			Data struct{ Message struct{ ThreadID string } }
		}](t, vendor.call("POST", "/message", object{"message": "Hello."}, key...), 200)
		h.refused("GET", botV0+"/threads/"+said.Data.Message.ThreadID, nil, 404, "THREAD_NOT_FOUND", "Authorization", "Bearer key-echo")
	})
}

func TestAThreadIdThatTheClientChoseIsTheVendorsToo(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		vendor, key := h.atVendor("sitegpt-v0")
		mine, theirs := []string{"Authorization", "Bearer key-sitegpt-v0"}, []string{"Authorization", "Bearer key-other-sitegpt"}
		say := func(text string, who []string) string {
			t.Helper()
			a := h.call("POST", botV0+"/message", object{"message": text, "threadId": "order-17"}, who...)
			return read[struct {
				Data struct {
					Message struct{ Answer struct{ Text string } }
				}
			}](t, a, 200).Data.Message.Answer.Text
		}
		h.refused("POST", botV0+"/threads", object{"threadId": "order-17"}, 200, `"threadId":"order-17"`, mine...)
		vendor.refused("GET", "/threads/order-17", nil, 200, `"threadId":"order-17"`, key...)
		say("A secret.", mine)
		vendor.refused("GET", "/threads/order-17", nil, 200, "A secret.", key...)

		// Another tenant may call its own thread so, and shares nothing.
		h.refused("GET", botV0+"/threads/order-17", nil, 404, "THREAD_NOT_FOUND", theirs...)
		h.refused("POST", botV0+"/threads", object{"threadId": "order-17"}, 200, `"messages":[]`, theirs...)
		if got := say("What did I say?", theirs); got != bot.Answer(1, "What did I say?", "What did I say?") {
			t.Errorf("the other tenant hears %q", got)
		}
		if got := say("And I?", mine); got != bot.Answer(2, "A secret.", "And I?") {
			t.Errorf("the first tenant hears %q", got)
		}

		// One that the vendor has from before is taken up.
		vendor.refused("POST", "/threads", object{"threadId": "order-9"}, 200, "order-9", key...)
		vendor.refused("POST", "/message", object{"message": "From before.", "threadId": "order-9"}, 200, "order-9", key...)
		h.refused("POST", botV0+"/threads", object{"threadId": "order-9"}, 200, `"threadId":"order-9"`, mine...)
		h.refused("POST", botV0+"/message", object{"message": "Still me.", "threadId": "order-9"}, 200, "From before.", mine...)
	})
}

func TestManyCreationsUnderOneIdMakeOneThread(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		for _, backend := range []string{"sitegpt-v0", "echo"} {
			before := h.ownThreads(backend)
			var wait sync.WaitGroup
			for range 12 {
				wait.Go(func() {
					a, err := h.try("POST", botV0+"/threads", object{"threadId": "one of " + backend}, "Authorization", "Bearer key-"+backend)
					if err != nil || a.status != 200 {
						t.Errorf("%d %s %v", a.status, a.body, err)
					}
				})
			}
			wait.Wait()
			if made := h.ownThreads(backend) - before; made != 1 {
				t.Errorf("%s: %d threads", backend, made)
			}
		}
	})
}

func TestHumansSpeakInTheVendorsOwnThread(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		sent, _, created, _, _ := shapesV0()
		aSent := doneV0("Sent the message successfully", adaptertest.Object{"message": sent})
		adaptertest.RunDialect(t, h.keyed("Bearer ", "sitegpt-v0"), []adaptertest.DialectCall{
			{
				Name: "a thread that a human has from the start", Method: "POST", Path: botV0 + "/threads", Status: 200, Body: `{"mode":"AGENT"}`,
				Shape: doneV0("Created the chatbot thread successfully", adaptertest.Object{"thread": created}), Keep: map[string]string{"thread": "data.thread.threadId"},
				Also: has("data.thread.mode", "AGENT"),
			},
			{
				Name: "the bot is quiet", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent, Body: `{"message":"Anybody?","threadId":"$thread"}`,
				Also: each(has("data.message.answer", nil), has("data.message.messageType", "USER_MESSAGE")),
			},
			{
				Name: "a human speaks", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent,
				Body: `{"message":"I am here.","from":"AGENT","agentName":"Ana","iconUrl":"https://example.com/a.png","threadId":"$thread"}`,
				Also: each(has("data.message.question", nil), has("data.message.answer.text", "I am here."), has("data.message.messageType", "AGENT_MESSAGE"), has("data.message.agentName", "Ana")),
			},
			{
				Name: "back to the bot", Method: "PATCH", Path: botV0 + "/threads/$thread", Status: 200, Body: `{"mode":"AI"}`,
				Shape: doneV0("Updated the chatbot thread successfully", adaptertest.Is(nil)),
			},
			{
				Name: "it answers", Method: "POST", Path: botV0 + "/message", Status: 200, Shape: aSent, Body: `{"message":"And now?","threadId":"$thread"}`,
				Also: has("data.message.answer.text", bot.Answer(2, "Anybody?", "And now?")),
			},
			{Name: "all of it", Method: "GET", Path: botV0 + "/threads/$thread", Status: 200, Also: each(length("data.thread.messages", 3), has("data.thread.messages.1.answer.text", "I am here."))},
		})
	})
}

func TestAHumanTakesAThreadInWhichNothingWasSaid(t *testing.T) {
	h := startHouse(t, fmt.Sprintf(fronts, `"sqlite::memory:"`))
	adaptertest.RunDialect(t, h.keyed("Bearer ", "sitegpt-v0"), []adaptertest.DialectCall{
		{Name: "make it", Method: "POST", Path: botV0 + "/threads", Status: 200, Body: `{}`, Keep: map[string]string{"thread": "data.thread.threadId"}},
		{Name: "take it", Method: "PATCH", Path: botV0 + "/threads/$thread", Status: 200, Body: `{"mode":"AGENT"}`},
		{Name: "it is theirs", Method: "GET", Path: botV0 + "/threads/$thread", Status: 200, Also: has("data.thread.mode", "AGENT")},
		{
			Name: "the bot is quiet", Method: "POST", Path: botV0 + "/message", Status: 200, Body: `{"message":"Anybody?","threadId":"$thread"}`,
			Also: has("data.message.answer", nil),
		},
	})
	adaptertest.RunDialect(t, h.keyed("Bearer ", "altur"), []adaptertest.DialectCall{
		{Name: "where no human can", Method: "POST", Path: botV0 + "/threads", Status: 200, Body: `{}`, Keep: map[string]string{"thread": "data.thread.threadId"}},
		{Name: "it is said", Method: "PATCH", Path: botV0 + "/threads/$thread", Status: 422, Body: `{"mode":"AGENT"}`, Also: has("error.code", "UNSUPPORTED")},
		{Name: "and it stays", Method: "GET", Path: botV0 + "/threads/$thread", Status: 200, Also: has("data.thread.mode", "AI")},
	})
}

// TestOldConversationsStayWhereNewOnesDoNotGo: the way to leave a vendor without
// breaking anything off.
func TestOldConversationsStayWhereNewOnesDoNotGo(t *testing.T) {
	const leaving = `
listen: 127.0.0.1:0
store: "sqlite::memory:"
limits: {drain: {delay: 0s, grace: 5s}}
backends:
  - {name: old, adapter: sitegpt, settings: {base_url: sandbox, api_key: k-sitegpt, chatbot_id: "365062873485935184"}}
  - {name: new, adapter: conversations, settings: {base_url: sandbox, api_key: k, chatbot_id: 2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55}}
  - {name: echo, adapter: echo}
routes:
  - {name: leaving, match: {dialect: sitegpt}, to: [{backend: new, weight: 100}, {backend: old, weight: 0}]}
  - {name: default, to: echo}
`
	h := startHouse(t, leaving)
	vendor, key := h.atVendor("old")
	id := read[struct {
		Data struct{ Message struct{ ThreadID string } }
	}](t, vendor.call("POST", "/message", object{"message": "I am Rosa."}, key...), 200).Data.Message.ThreadID
	old := h.call("POST", botV0+"/message", object{"message": "Who am I?", "threadId": id})
	if old.header.Get("Chatmux-Backend") != "old" || !strings.Contains(string(old.body), "I am Rosa.") {
		t.Errorf("%s %s", old.header, old.body)
	}
	if fresh := h.call("POST", botV0+"/message", object{"message": "Hello."}); fresh.header.Get("Chatmux-Backend") != "new" || fresh.header.Get("Chatmux-Route") != "leaving" {
		t.Errorf("%s %s", fresh.header, fresh.body)
	}
	h.refused("GET", "/sitegpt/api/v0/chatbots/7/threads/"+id+"x", nil, 404, "THREAD_NOT_FOUND")
	// A vendor that cannot be asked is no vendor that says no.
	if err := h.twin("old").Close(); err != nil {
		t.Fatal(err)
	}
	a := h.call("GET", botV0+"/threads/from-before", nil)
	if a.status < 500 || !strings.Contains(string(a.body), `"code":"BACKEND_`) {
		t.Errorf("%d %s %s", a.status, a.header, a.body)
	}
}

// TestAThreadThatItsVendorCouldNotMakeIsNotThere: its id is free for the next try.
func TestAThreadThatItsVendorCouldNotMakeIsNotThere(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		mine := []string{"Authorization", "Bearer key-sitegpt-v0"}
		if err := h.twin("sitegpt-v0").Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			a := h.call("POST", botV0+"/threads", object{"threadId": "order-17"}, mine...)
			if a.status < 500 || !strings.Contains(string(a.body), `"code":"BACKEND_`) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if n := h.ownThreads("sitegpt-v0"); n != 0 {
				t.Errorf("%d threads are left", n)
			}
		}
	})
}

// TestAClientsIdIsNothingToAnotherBotOrDialect: an id that a client chose stands for a
// thread only where it was chosen.
func TestAClientsIdIsNothingToAnotherBotOrDialect(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		mine := []string{"Authorization", "Bearer key-echo"}
		h.refused("POST", botV0+"/threads", object{"threadId": "order-17"}, 200, "order-17", mine...)
		h.refused("GET", "/sitegpt/api/v0/chatbots/7/threads/order-17", nil, 404, "THREAD_NOT_FOUND", mine...)
		h.refused("GET", "/altur/api/v1.0/thread/order-17", nil, 404, `"error":404`, "Authorization", "api-key key-echo")
		h.refused("POST", botV0+"/threads", object{"threadId": strings.Repeat("x", 256)}, 400, "threadId", mine...)
		h.refused("GET", botV0+"/threads/"+strings.Repeat("x", 2000), nil, 404, "THREAD_NOT_FOUND", mine...)
		h.refused("POST", "/altur/api/v1.0/message", object{"agent_id": "a", "end_user_id": strings.Repeat("x", 256), "content": "x"}, 400, "end_user_id", "Authorization", "api-key key-echo")
		var long strings.Builder // that no index can make shorter
		for i := range 100 {
			fmt.Fprintf(&long, "%x", sha256.Sum256([]byte{byte(i)}))
		}
		send := object{"agent_id": long.String(), "end_user_id": "u", "content": "x"}
		h.refused("POST", "/altur/api/v1.0/message", send, 400, "512 bytes", "Authorization", "api-key key-echo")
		h.refused("GET", "/sitegpt/api/v0/chatbots/"+long.String()+"/threads/x", nil, 404, "THREAD_NOT_FOUND", mine...)
		h.refused("GET", "/sitegpt/api/v0/chatbots/"+long.String()+"/threads", nil, 200, `"threads":[]`, mine...)
	})
}
