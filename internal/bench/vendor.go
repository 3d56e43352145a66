//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"chatmux/adapters/altur/alturtwin"
	"chatmux/adapters/conversations/conversationstwin"
	"chatmux/adapters/sitegpt/sitegpttwin"
)

// said is what every message says: as long as people's messages are, and with
// characters that JSON and UTF-8 have to work for.
const said = "Guten Tag! My parcel \"7731-B\" was sent a week ago — it should have come on Tuesday, and nobody has seen it since. 包裹在哪里? Where is it now?"

// vendor is a vendor as the benchmark needs one.
type vendor struct {
	name     string
	twin     func() http.Handler
	auth     string // the header's value for the twin's key
	path     string // of the API, below the twin's address
	settings string // the adapter's, without base_url

	// begin makes a conversation at the vendor and gives the request that says
	// something in it, as often as wanted.
	begin func(post poster) (request, error)
}

// request is the path and the body of a POST.
type request struct {
	path string
	body any
}

// poster makes one request and gives the body of its answer.
type poster func(request) ([]byte, error)

func vendorNamed(name string) (vendor, error) {
	var names []string
	for _, v := range vendors() {
		if v.name == name {
			return v, nil
		}
		names = append(names, v.name)
	}
	return vendor{}, fmt.Errorf("there is no vendor %q, only %s", name, strings.Join(names, ", "))
}

func vendors() []vendor {
	return []vendor{
		{
			name:     "conversations",
			twin:     func() http.Handler { return conversationstwin.New(conversationstwin.Options{}) },
			auth:     "Api-Key " + conversationstwin.DefaultKey,
			path:     "/api",
			settings: fmt.Sprintf("api_key: %s, chatbot_id: %q", conversationstwin.DefaultKey, conversationstwin.DefaultChatbotID),
			begin:    beginConversation,
		},
		{
			name:     "altur",
			twin:     func() http.Handler { return alturtwin.New(alturtwin.Options{}) },
			auth:     "api-key " + alturtwin.DefaultKey,
			path:     alturtwin.Path,
			settings: fmt.Sprintf("api_key: %s, agent_id: %q", alturtwin.DefaultKey, alturtwin.DefaultAgentID),
			begin:    beginEndUser,
		},
		{
			name:     "sitegpt",
			twin:     func() http.Handler { return sitegpttwin.New(sitegpttwin.Options{}) },
			auth:     "Bearer " + sitegpttwin.DefaultKey,
			settings: fmt.Sprintf("version: v0, api_key: %s, chatbot_id: %q", sitegpttwin.DefaultKey, sitegpttwin.DefaultChatbotID),
			begin:    beginSiteThread,
		},
	}
}

type object map[string]any

func beginConversation(post poster) (request, error) {
	path := "/api/chatbots/" + conversationstwin.DefaultChatbotID + "/completions/"
	body := func(conversation any) object {
		return object{"conversation": conversation, "message": object{"content": said, "attachments": []any{}}, "isStreaming": false}
	}
	var made struct{ ConversationID string }
	if err := postInto(post, request{path, body(nil)}, &made); err != nil {
		return request{}, err
	}
	return request{path, body(made.ConversationID)}, nil
}

func beginEndUser(post poster) (request, error) {
	var made struct{ ID string }
	if err := postInto(post, request{alturtwin.Path + "/enduser", object{"display_name": "Zoë"}}, &made); err != nil {
		return request{}, err
	}
	body := object{"agent_id": alturtwin.DefaultAgentID, "end_user_id": made.ID, "content": said}
	return request{alturtwin.Path + "/message", body}, nil
}

func beginSiteThread(post poster) (request, error) {
	path := "/api/v0/chatbots/" + sitegpttwin.DefaultChatbotID
	var made struct {
		Data struct {
			Thread struct{ ThreadID string }
		}
	}
	if err := postInto(post, request{path + "/threads", object{}}, &made); err != nil {
		return request{}, err
	}
	body := object{"message": said, "from": "USER", "threadId": made.Data.Thread.ThreadID}
	return request{path + "/message", body}, nil
}

// beginThread makes a thread of chatmux and says something in it, so that the
// vendor's conversation is there.
func beginThread(post poster) (request, error) {
	var made struct{ ID string }
	if err := postInto(post, request{"/v1/threads", object{"user": object{"id": "u-1", "name": "Zoë"}}}, &made); err != nil {
		return request{}, err
	}
	send := request{"/v1/threads/" + made.ID + "/messages", object{"text": said}}
	_, err := post(send)
	return send, err
}

func postInto(post poster, r request, into any) error {
	body, err := post(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("POST %s answered what is not JSON: %w", r.path, err)
	}
	return nil
}
