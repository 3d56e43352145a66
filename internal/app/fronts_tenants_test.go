package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"chatmux/normalize"
)

// asked is how an endpoint of a dialect is asked for something of another tenant: what
// {…} in its path and ID in its body and query stand for.
type asked struct {
	of    string // thread, message, person; empty: it names none, and lists nothing of others
	body  object
	query string
	after string // a header that names the thread
}

// ofFronts says so for each endpoint of each dialect, written as its path and method
// without the version of the conversations platform. A new endpoint fails the test
// until it stands here. What makes something new, or knows no ids, is made as it is.
var ofFronts = map[string]asked{
	"POST /altur/api/v1.0/message":                                 {body: object{"agent_id": alturBot, "end_user_id": "another-person", "content": "what did I say?"}},
	"GET /altur/api/v1.0/message/{thread_id}":                      {of: "thread"},
	"GET /altur/api/v1.0/thread/{id}":                              {of: "thread"},
	"POST /altur/api/v1.0/enduser":                                 {body: object{}},
	"GET /altur/api/v1.0/enduser/{id}":                             {of: "person"},
	"PUT /altur/api/v1.0/enduser/{id}":                             {of: "person", body: object{"display_name": "stolen"}},
	"POST /sitegpt/api/v0/chatbots/B/message":                      {of: "thread", body: object{"message": "stolen", "threadId": "ID"}},
	"POST /sitegpt/api/v0/chatbots/B/threads":                      {body: object{}},
	"GET /sitegpt/api/v0/chatbots/B/threads":                       {},
	"GET /sitegpt/api/v0/chatbots/B/threads/T":                     {of: "thread"},
	"PATCH /sitegpt/api/v0/chatbots/B/threads/T":                   {of: "thread", body: object{"chatUser": object{"name": "stolen"}}},
	"POST /sitegpt/api/v2/chatbots/B/messages":                     {body: object{"message": "hello"}},
	"GET /sitegpt/api/v2/chatbots/B/conversations":                 {query: "?query=secret"},
	"GET /sitegpt/api/v2/chatbots/B/conversations/T":               {of: "thread"},
	"DELETE /sitegpt/api/v2/chatbots/B/conversations/T":            {of: "thread", query: "?confirm=true"},
	"POST /sitegpt/api/v2/chatbots/B/conversations/T/messages":     {of: "thread", body: object{"message": "stolen"}},
	"GET /sitegpt/api/v2/chatbots/B/conversations/T/messages":      {of: "thread"},
	"POST /sitegpt/api/v2/chatbots/B/conversations/T/escalate":     {of: "thread", body: object{}},
	"POST /sitegpt/api/v2/chatbots/B/conversations/T/take-over":    {of: "thread", body: object{}},
	"POST /sitegpt/api/v2/chatbots/B/conversations/T/switch-to-ai": {of: "thread", body: object{}},
	"POST /conversations/api/chatbots/{id}/completions/":           {of: "thread", body: object{"conversation": "ID", "message": object{"content": "stolen"}}},
	"GET /conversations/api/chatbots/{id}/records/":                {query: "?startDate=2020-01-01&endDate=2099-01-01"},
	"GET /conversations/api/chatbots/{id}/records/export-excel/":   {query: "?startDate=2020-01-01&endDate=2099-01-01"},
	"POST /conversations/api/messages/":                            {of: "thread", body: object{"conversation": "ID", "content": "stolen"}},
	"GET /conversations/api/messages/":                             {of: "thread", query: "?conversation=ID"},
	"GET /conversations/api/messages/{id}/":                        {of: "message", query: "?conversation=THREAD"},
	"POST /conversations/api/conversations/":                       {body: object{"webChat": platformBot}},
	"GET /conversations/api/conversations/":                        {query: "?keyword=secret"},
	"GET /conversations/api/conversations/{id}/":                   {of: "thread"},
	"POST /openai/v1/chat/completions":                             {of: "thread", after: "Chatmux-Thread", body: object{"model": "echo", "messages": []object{{"role": "user", "content": "stolen"}}}},
	"GET /openai/v1/models":                                        {},
	"GET /openai/v1/models/{model}":                                {},
}

const platformBot = "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"

// schemes are how each dialect's clients present a key.
var schemes = map[string]string{"altur": "api-key ", "sitegpt": "Bearer ", "conversations": "Api-Key ", "openai": "Bearer "}

// TestAnotherTenantsObjectsAreLikeNoneToEveryDialect is the matrix of the native API for
// the vendors' own.
func TestAnotherTenantsObjectsAreLikeNoneToEveryDialect(t *testing.T) {
	onEachStore(t, func(t *testing.T, newStore storeMaker) {
		h := startHouse(t, fmt.Sprintf(fronts, newStore(t)))
		theirs := read[turn](t, h.call("POST", "/v1/messages", object{"text": "a secret", "user": object{"id": "their-person"}}, "Authorization", "Bearer key-echo"), 200)
		h.call("POST", "/altur/api/v1.0/message", object{"agent_id": alturBot, "end_user_id": "their-person", "content": "a secret"}, "Authorization", "api-key key-echo")
		chosen := h.call("POST", botV0+"/threads", object{"threadId": "their-thread"}, "Authorization", "Bearer key-echo")
		h.call("POST", botV0+"/message", object{"threadId": "their-thread", "message": "a secret"}, "Authorization", "Bearer key-echo")
		if chosen.status != 200 {
			t.Fatalf("%d %s", chosen.status, chosen.body)
		}
		before := h.transcript(theirs.Thread.ID, "Authorization", "Bearer key-echo")
		ids := map[string][]string{
			"thread":  {normalize.UUIDForm(theirs.Thread.ID), theirs.Thread.ID},
			"message": {normalize.UUIDForm(theirs.Message.ID), theirs.Message.ID},
			"person":  {"their-person"},
		}
		const absent = "01a200c3-6d55-71ea-a9ee-0dccce1a1804"
		listed := 0
		for _, route := range h.app.Routes() {
			_, rest, _ := strings.Cut(route.Path, "/")
			name, _, _ := strings.Cut(rest, "/")
			if schemes[name] == "" || strings.Contains(route.Path, "/conversations/api/v1/") {
				continue
			}
			key := strings.NewReplacer("{chatbotId}", "B", "{threadId}", "T").Replace(route.Method + " " + route.Path)
			how, known := ofFronts[key]
			if !known {
				t.Errorf("%s is not in the matrix: say how it is asked", key)
				continue
			}
			listed++
			at := func(id, thread string) answer {
				path := strings.NewReplacer("{chatbotId}", sitegptBot, "{threadId}", id, "{thread_id}", id, "{model}", "echo").Replace(route.Path)
				bot := ""
				if strings.Contains(path, "/chatbots/{id}") {
					bot = platformBot
				}
				if path = strings.Replace(path, "/chatbots/{id}", "/chatbots/"+bot, 1); strings.Contains(path, "{id}") {
					path = strings.Replace(path, "{id}", id, 1)
				}
				fill := strings.NewReplacer("ID", id, "THREAD", thread)
				headers := []string{"Authorization", schemes[name] + "key-other-altur"}
				if how.after != "" {
					headers = append(headers, how.after, id)
				}
				var body any
				if how.body != nil {
					body = filled(how.body, fill)
				}
				return h.call(route.Method, path+fill.Replace(how.query), body, headers...)
			}
			none := at(absent, absent)
			if strings.Contains(string(none.body), "a secret") {
				t.Errorf("%s shows %s", key, none.body)
			}
			if how.of == "" {
				continue
			}
			names := ids[how.of]
			if name == "sitegpt" {
				names = append(slices.Clone(names), "their-thread")
			}
			for _, id := range names {
				got := at(id, normalize.UUIDForm(theirs.Thread.ID))
				if got.status != none.status || got.status < 400 || withoutID(got) != strings.ReplaceAll(withoutID(none), absent, id) {
					t.Errorf("%s with %s: %d %s, want what an absent id gets: %d %s", key, id, got.status, got.body, none.status, none.body)
				}
			}
		}
		if listed != len(ofFronts) {
			t.Errorf("%d endpoints were asked, %d are listed", listed, len(ofFronts))
		}
		if after := h.transcript(theirs.Thread.ID, "Authorization", "Bearer key-echo"); len(after) != len(before) {
			t.Errorf("the owner's transcript is %+v", after)
		}
		person := h.call("GET", "/altur/api/v1.0/enduser/their-person", nil, "Authorization", "api-key key-echo")
		if person.status != http.StatusOK || strings.Contains(string(person.body), "stolen") {
			t.Errorf("the owner's person is %s", person.body)
		}
	})
}

// filled replaces what stands for ids in the texts of a body.
func filled(v any, fill *strings.Replacer) any {
	switch v := v.(type) {
	case object:
		o := object{}
		for name, inner := range v {
			o[name] = filled(inner, fill)
		}
		return o
	case string:
		return fill.Replace(v)
	}
	return v
}
