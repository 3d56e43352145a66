package app_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"chatmux/adapters/adaptertest"
	"chatmux/internal/sandbox/bot"
)

// alturShapes are the vendor's objects as its documents have them, with the names of the
// bot and the person in a thread.
func alturShapes(agent, endUser string) (turn, thread, message, user adaptertest.Shape) {
	text, optional := adaptertest.Text(), adaptertest.Optional
	channel := adaptertest.Is("api", "whatsapp")
	user = adaptertest.Object{"id": text, "display_name": text, "integration_type": channel, "info": optional(text)}
	message = adaptertest.Object{
		"thread_id": text, "type": adaptertest.Is("text", "image", "audio", "video", "button", "template", "document"),
		"content": optional(text), "media": optional(text), "sent_by": adaptertest.Is("AI", "EU", "SYS"), "sent_by_user": optional(text),
		"sent_at": stampOf(3), "read": optional(adaptertest.Bool()),
	}
	thread = adaptertest.Object{
		"id": text, agent: adaptertest.Object{"id": text, "name": optional(text)}, endUser: user,
		"integration": optional(adaptertest.Object{"id": text, "type": channel}), "updated_at": stampOf(3),
		"active": adaptertest.Bool(), "blocked": adaptertest.Bool(),
		"tags": adaptertest.List(adaptertest.Object{
			"id": text, "name": text, "color": adaptertest.Is("blue", "green", "red", "pink", "purple", "orange", "yellow"),
		}),
		"assigned_to": adaptertest.List(adaptertest.Object{"id": text, "email": text, "first_name": optional(text), "last_name": optional(text)}),
	}
	return adaptertest.Object{"thread": thread, "messages": adaptertest.List(message), "in_response_to": message}, thread, message, user
}

// alturFailure is the vendor's error object of a status.
func alturFailure(status int) adaptertest.Shape {
	return adaptertest.Object{"error": adaptertest.Is(float64(status)), "message": adaptertest.Match("a text", ".+")}
}

// asDocumented holds an answer against a schema of the vendor's OpenAPI document.
func asDocumented(t *testing.T, schema string) func(*testing.T, any) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../../adapters/altur/testdata/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, answer any) {
		t.Helper()
		if err := doc.Components.Schemas[schema].Value.VisitJSON(answer); err != nil {
			t.Error(err)
		}
	}
}

func TestAltursCallsAreAnsweredAsDocumentedWhoeverIsBehind(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		for _, backend := range frontBackends {
			t.Run(backend, func(t *testing.T) { testAlturCalls(t, h, backend) })
		}
	})
}

func testAlturCalls(t *testing.T, h *house, backend string) {
	const api = "/altur/api/v1.0"
	const first, second = "I am Rosa. 你好 <&> 🙂", "Who am I?"
	turn, thread, message, user := alturShapes("agent", "end_user")
	oldTurn, oldThread, _, _ := alturShapes("chatbot", "enduser")
	documented, failed := asDocumented(t, "MessageResponse"), asDocumented(t, "Error")
	front := h.keyed("api-key ", backend)
	adaptertest.RunDialect(t, front, []adaptertest.DialectCall{
		{
			Name: "create an end user", Method: "POST", Path: api + "/enduser", Body: `{"display_name":"Rosa","info":"prefers Spanish"}`,
			Status: 200, Shape: user, Keep: map[string]string{"user": "id"},
			Also: each(has("display_name", "Rosa"), has("info", "prefers Spanish"), asDocumented(t, "EndUser")),
		},
		{Name: "get an end user", Method: "GET", Path: api + "/enduser/$user", Status: 200, Shape: user, Also: has("display_name", "Rosa")},
		{
			Name: "send a message, of the current shape", Method: "POST", Path: api + "/message", Status: 200, Shape: turn,
			Body: `{"agent_id":"` + alturBot + `","end_user_id":"$user","content":"` + first + `"}`, Keep: map[string]string{"thread": "thread.id"},
			Also: each(documented, has("messages.0.content", answerOf(backend, 1, first, first)), has("messages.0.sent_by", "AI"),
				has("in_response_to.content", first), has("in_response_to.sent_by", "EU"), has("thread.agent.id", alturBot), has("thread.end_user.info", "prefers Spanish")),
		},
		{
			Name: "send another, to a bot that remembers", Method: "POST", Path: api + "/message", Status: 200, Shape: turn,
			Body: `{"agent_id":"` + alturBot + `","end_user_id":"$user","content":"` + second + `"}`,
			Also: each(documented, has("messages.0.content", answerOf(backend, 2, first, second))),
		},
		{
			Name: "get the messages", Method: "GET", Path: api + "/message/$thread", Status: 200, Shape: adaptertest.List(message),
			Also: each(length("", 4), has("0.content", first), has("3.content", answerOf(backend, 2, first, second)), asDocumented(t, "Messages")),
		},
		{
			Name: "get the thread", Method: "GET", Path: api + "/thread/$thread", Status: 200, Shape: thread,
			Also: each(has("active", true), has("blocked", false), has("agent.id", alturBot), asDocumented(t, "Thread")),
		},
		{
			Name: "update an end user", Method: "PUT", Path: api + "/enduser/$user", Body: `{"display_name":"Rosa María"}`, Status: 200, Shape: user,
			Also: each(has("display_name", "Rosa María"), has("info", "prefers Spanish")),
		},
		{
			Name: "the thread has the new name", Method: "GET", Path: api + "/thread/$thread", Status: 200, Shape: thread,
			Also: has("end_user.display_name", "Rosa María"),
		},
		{
			Name: "send a message, as the oldest document has it, pasted", Method: "POST", Path: api + "/message", Status: 200, Shape: oldTurn,
			Body: "{\n\"chatbot_id\": \"<string>\",\n\"end_user_id\": \"<string>\",\n\"content\": \"<string>\"\n}", Keep: map[string]string{"old": "thread.id"},
			Also: has("thread.enduser.id", "<string>"),
		},
		{Name: "its thread keeps that shape", Method: "GET", Path: api + "/thread/$old", Status: 200, Shape: oldThread, Also: has("chatbot.id", "<string>")},

		{Name: "a thread that is none", Method: "GET", Path: api + "/thread/nobody", Status: 404, Shape: alturFailure(404), Also: failed},
		{Name: "messages of none", Method: "GET", Path: api + "/message/$user", Status: 404, Shape: alturFailure(404), Also: failed},
		{Name: "an end user that is none", Method: "GET", Path: api + "/enduser/d3b07384-d9a0-4c1d-8a57-1f1c0f5c0e11", Status: 404, Shape: alturFailure(404)},
		{Name: "changing none", Method: "PUT", Path: api + "/enduser/nobody", Body: `{}`, Status: 404, Shape: alturFailure(404)},
		{
			Name: "fields that are missing", Method: "POST", Path: api + "/message", Body: `{"agent_id":"a"}`, Status: 400, Shape: alturFailure(400),
			Also: has("message", "end_user_id is required; content is required"),
		},
		{
			Name: "both names of the bot", Method: "POST", Path: api + "/message", Status: 400, Shape: alturFailure(400),
			Body: `{"agent_id":"a","chatbot_id":"a","end_user_id":"u","content":"x"}`,
		},
		{Name: "a field of another type", Method: "POST", Path: api + "/message", Body: `{"agent_id":"a","end_user_id":1,"content":"x"}`, Status: 400, Shape: alturFailure(400)},
		{Name: "no object", Method: "POST", Path: api + "/message", Body: `[1]`, Status: 400, Shape: alturFailure(400)},
		{Name: "no JSON", Method: "POST", Path: api + "/message", Body: `{"agent_id":`, Status: 400, Shape: alturFailure(400)},
		{Name: "a path that is none", Method: "GET", Path: api + "/messages", Status: 404, Shape: alturFailure(404)},
		{Name: "a wrong method", Method: "DELETE", Path: api + "/thread/$thread", Status: 405, Shape: alturFailure(405)},
	})
	front.Header.Set("Authorization", "api-key nobodys")
	adaptertest.RunDialect(t, front, []adaptertest.DialectCall{
		{Name: "a wrong key", Method: "GET", Path: api + "/thread/x", Status: 401, Shape: alturFailure(401), Also: failed},
	})
}

// fromBefore says something at the Altur twin itself, before chatmux is in front.
func fromBefore(t *testing.T, h *house, text string) (userID, threadID string) {
	t.Helper()
	vendor := &house{t: t, url: h.twin("altur").URL() + "/api/v1.0"}
	key := []string{"Authorization", "api-key k-altur"}
	userID = read[struct{ ID string }](t, vendor.call("POST", "/enduser", object{"display_name": "Rosa", "info": "old friend"}, key...), 200).ID
	said := read[struct{ Thread struct{ ID string } }](t, vendor.call("POST", "/message", object{"agent_id": alturBot, "end_user_id": userID, "content": text}, key...), 200)
	return userID, said.Thread.ID
}

func TestAnAlturClientGoesOnWithItsPersonsAndThreadsFromBefore(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		const api = "/altur/api/v1.0"
		for name, readFirst := range map[string]bool{"who sends first": false, "who reads first": true} {
			t.Run(name, func(t *testing.T) {
				before := h.ownThreads("altur")
				userID, threadID := fromBefore(t, h, "I am Rosa.")
				var calls []adaptertest.DialectCall
				if readFirst {
					calls = []adaptertest.DialectCall{
						{Name: "read", Method: "GET", Path: api + "/message/" + threadID, Status: 200, Also: each(length("", 2), has("0.content", "I am Rosa."))},
						{Name: "thread", Method: "GET", Path: api + "/thread/" + threadID, Status: 200, Also: each(has("id", threadID), has("end_user.id", userID))},
					}
				}
				calls = append(calls,
					adaptertest.DialectCall{
						Name: "send", Method: "POST", Path: api + "/message", Status: 200,
						Body: `{"agent_id":"` + alturBot + `","end_user_id":"` + userID + `","content":"Who am I?"}`,
						Also: each(has("messages.0.content", bot.Answer(2, "I am Rosa.", "Who am I?")), has("thread.id", threadID), has("thread.end_user.display_name", "Rosa")),
					},
					adaptertest.DialectCall{Name: "the person", Method: "GET", Path: api + "/enduser/" + userID, Status: 200, Also: has("info", "old friend")},
					adaptertest.DialectCall{Name: "the thread", Method: "GET", Path: api + "/thread/" + threadID, Status: 200, Also: has("id", threadID)},
				)
				adaptertest.RunDialect(t, h.keyed("api-key ", "altur"), calls)
				if made := h.ownThreads("altur") - before; made != 1 {
					t.Errorf("%d threads were made of one conversation", made)
				}
				other := []string{"Authorization", "api-key key-other-altur"}
				h.refused("GET", api+"/thread/"+threadID, nil, 404, `"error":404`, other...)
				h.refused("GET", api+"/message/"+threadID, nil, 404, `"error":404`, other...)
				h.refused("GET", api+"/enduser/"+userID, nil, 404, `"error":404`, other...)
				h.refused("GET", api+"/thread/"+threadID+"x", nil, 404, `"error":404`, "Authorization", "api-key key-altur")
			})
		}
		// To another tenant a person that is taken is a new one: nothing of the first shows.
		userID, _ := fromBefore(t, h, "A secret.")
		send := object{"agent_id": alturBot, "end_user_id": userID, "content": "What did I say?"}
		h.call("POST", api+"/message", send, "Authorization", "api-key key-altur")
		got := read[struct{ Messages []struct{ Content string } }](t, h.call("POST", api+"/message", send, "Authorization", "api-key key-other-altur"), 200)
		if want := bot.Answer(1, "What did I say?", "What did I say?"); len(got.Messages) != 1 || got.Messages[0].Content != want {
			t.Errorf("the other tenant hears %+v", got.Messages)
		}
	})
}

func TestManyFirstLooksAtAnOldThreadMakeOne(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		_, threadID := fromBefore(t, h, "I am Rosa.")
		var wait sync.WaitGroup
		for range 12 {
			wait.Go(func() {
				a, err := h.try("GET", "/altur/api/v1.0/thread/"+threadID, nil, "Authorization", "api-key key-altur")
				if err != nil || a.status != 200 {
					t.Errorf("%d %s %v", a.status, a.body, err)
				}
			})
		}
		wait.Wait()
		if n := h.ownThreads("altur"); n != 1 {
			t.Errorf("%d threads", n)
		}
	})
}
