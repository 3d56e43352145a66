package rest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chatmux/adapters/rest"
	"chatmux/internal/config"
)

// good is a description that is complete; each case changes it in one place.
const good = `
      base_url: https://api.example.com/v1
      api_key: k
      send:
        path: /chat
        body: {message: "{{text}}", thread: "{{remote_id}}"}
        reply:
          remote_id: id
          each: [{role: assistant, text: text}]
`

func problemsOf(t *testing.T, settings string) []string {
	t.Helper()
	text := "backends:\n  - name: b\n    adapter: rest\n    settings:" + settings + "\nroutes:\n  - {name: default, to: b}\n"
	_, err := config.Parse("config.yaml", []byte(text), config.Options{
		Settings: map[string]func() any{rest.Spec.Name: func() any { return rest.Spec.Settings() }},
		Getenv:   func(string) (string, bool) { return "", false },
	})
	if err == nil {
		return nil
	}
	problems, ok := errors.AsType[*config.Problems](err)
	if !ok {
		t.Fatal(err)
	}
	var list []string
	for _, p := range problems.List {
		if p.Line == 0 || p.Column == 0 {
			t.Errorf("%s has no place", p.Path)
		}
		list = append(list, strings.TrimPrefix(p.Path, "backends[0].settings.")+": "+p.Text)
	}
	return list
}

func TestGoodDescriptionIsTaken(t *testing.T) {
	if list := problemsOf(t, good); list != nil {
		t.Errorf("refused: %q", list)
	}
}

func TestDescriptionsAreRefusedWithTheirPlace(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old, new string // a change of the good one
		want     string // the beginning of the one problem
	}{
		{"no address", "https://api.example.com/v1", "", "base_url: is missing"},
		{"sandbox", "https://api.example.com/v1", "sandbox", "base_url: cannot be sandbox: there is no simulated vendor"},
		{"an unknown key", "send:", "sent: {}\n      send:", `sent: unknown key (did you mean "send"?)`},
		{"an unknown key deep inside", "remote_id: id", "remote_id: id\n          remote_idd: id", `send.reply.remote_idd: unknown key (did you mean "remote_id"?)`},
		{"no path", "path: /chat", "method: POST", "send.path: is missing"},
		{"a path without a slash", "path: /chat", "path: chat", "send.path: begins with a slash"},
		{"a path with parameters", "path: /chat", "path: /chat?a=1", "send.path: begins with a slash and has no ?"},
		{"a method that is none", "path: /chat", "path: /chat\n        method: SEND", "send.method: must be one of GET, POST"},
		{"the wrong type", "body: {message: \"{{text}}\", thread: \"{{remote_id}}\"}", "body: hello", "send.body: takes a block of keys"},
		{"an unquoted placeholder", `"{{text}}"`, "{{text}}", "send.body.message: a key must be a word: quote a placeholder"},
		{"a placeholder that is not closed", `"{{text}}"`, `"{{text}} {{"`, "send.body.message: holds {{ without a }}"},
		{"a placeholder that is none", `"{{text}}"`, `"{{text}} {{reply}}"`, "send.body: has a placeholder that stands for nothing here; known here: bot, remote_id"},
		{"no text", `"{{text}}"`, `"hello"`, "send: has no {{text}}"},
		{"a wild path", "text: text}", "text: data.*.text}", "send.reply.each[0].text: is no path"},
		{"a path with a hole", "remote_id: id", "remote_id: a..b", "send.reply.remote_id: is no path"},
		{"nobody speaks", "{role: assistant, text: text}", "{text: text}", "send.reply.each[0].role: is missing"},
		{"somebody unknown speaks", "role: assistant", "role: bot", "send.reply.each[0].role: must be one of user, assistant, operator, system"},
		{"words of nobody", "role: assistant", "role_path: by, roles: {AI: bot}", "send.reply.each[0].roles.AI: must be one of"},
		{"nothing is read", "each: [{role: assistant, text: text}]", "", "send.reply.each: is missing"},
		{"no conversation", "remote_id: id", "items: a", "send.reply.remote_id: is missing"},
		{"a header of ours", "api_key: k", "api_key: k\n      headers: {Idempotency-Key: x}", "headers.Idempotency-Key: is a header that chatmux writes itself"},
		{"the header of the key", "api_key: k", "api_key: k\n      headers: {authorization: x}", "headers.authorization: is the header of the key"},
		{"a header that is none", "api_key: k", "api_key: k\n      auth: {header: \"a b\"}", "auth.header: is no name of a header"},
		{"a stream without an end", "send:", "stream: {delta: text}\n      send:", "stream.done: is missing"},
		{"a stream without text", "send:", "stream: {end: \"[DONE]\"}\n      send:", "stream.delta: is missing"},
		{
			"a stream that does not say it", "send:", "stream: {path: /s, body: {thread: \"{{remote_id}}\"}, delta: text, end: END}\n      send:",
			"stream: has no {{text}}",
		},
		{
			"a stream by GET that does not say it", "send:", "stream: {method: GET, path: /s, delta: text, end: END}\n      send:",
			"stream: has no {{text}}",
		},
		{
			"a stream without the files", "      send:\n        path: /chat\n        body: {",
			"      attachments: {each: {u: \"{{url}}\"}}\n      stream: {body: {message: \"{{text}}\"}, delta: text, end: END}\n" +
				"      send:\n        path: /chat\n        body: {files: \"{{attachments}}\", ",
			"stream.body: has no {{attachments}}, which goes along with send",
		},
		{"polling nothing", "send:", "poll: {}\n      send:", "poll: needs list_messages"},
		{"a list without its place", "send:", "list_threads: {path: /t, each: {remote_id: id}}\n      send:", "list_threads.items: is missing"},
		{"a cursor that nobody reads", "send:", "list_threads: {path: /t, items: t, next: n, each: {remote_id: id}}\n      send:", "list_threads: has no {{page.cursor}}"},
		{
			"a cursor from nowhere", "send:", "list_threads: {path: /t, query: {c: \"{{page.cursor}}\"}, items: t, each: {remote_id: id}}\n      send:",
			"list_threads.next: is missing",
		},
		{
			"two ways of paging", "send:", "list_threads: {path: /t, query: {c: \"{{page.cursor}}\"}, numbered: true, next: n, items: t, each: {remote_id: id}}\n      send:",
			"list_threads.numbered: and next are two ways",
		},
		{"messages that are not read", "send:", "list_messages: {path: \"/m/{{remote_id}}\", items: m}\n      send:", "list_messages.each: is missing"},
		{"a list of one thread's", "send:", "read_thread: {path: /thread}\n      send:", "read_thread: has no {{remote_id}}"},
		{"a deletion of nobody's", "send:", "delete_thread: {path: /thread}\n      send:", "delete_thread: has no {{remote_id}}"},
		{"a note to a deletion", "send:", "delete_thread: {path: \"/{{remote_id}}\", body: {why: \"{{note}}\"}}\n      send:", "delete_thread.body: has a placeholder that stands for nothing"},
		{"half a switch", "send:", "switch_mode: {path: \"/{{remote_id}}/{{mode}}\", modes: {ai: a}}\n      send:", "switch_mode.modes: needs a value for ai and one for human"},
		{"a switch that says nothing", "send:", "switch_mode: {path: \"/m/{{remote_id}}\", modes: {ai: a, human: b}}\n      send:", "switch_mode: has no {{mode}}"},
		{"a person without an id", "send:", "create_user: {path: /u}\n      send:", "create_user.id: is missing"},
		{"a conversation without an id", "send:", "create_thread: {path: /t}\n      send:", "create_thread.thread.remote_id: is missing"},
		{"a body with GET", "send:", "delete_thread: {method: GET, path: \"/{{remote_id}}\", body: {a: b}}\n      send:", "delete_thread.body: is not sent with GET"},
		{"an error without a kind", "send:", "errors: {code: [c], kinds: [{code: [x]}]}\n      send:", "errors.kinds[0].kind: is missing"},
		{"an error of an unknown kind", "send:", "errors: {code: [c], kinds: [{code: [x], kind: odd}]}\n      send:", "errors.kinds[0].kind: must be one of unauthorized"},
		{"a rule for all errors", "send:", "errors: {kinds: [{kind: quota}]}\n      send:", "errors.kinds[0]: fits all errors"},
		{"a code from nowhere", "send:", "errors: {kinds: [{code: [x], kind: quota}]}\n      send:", "errors.kinds[0].code: needs errors.code"},
		{"a sentence from nowhere", "send:", "errors: {kinds: [{message: [x], kind: quota}]}\n      send:", "errors.kinds[0].message: needs errors.message"},
		{"a history that does not go along", "send:", "history: {each: {t: \"{{text}}\"}, roles: {user: u, assistant: a}}\n      send:", "send.body: has no {{history}}"},
		{"a history that is nothing", `{message: "{{text}}", thread: "{{remote_id}}"}`, `{message: "{{text}}", past: "{{history}}"}`, "history: is missing"},
		{"files that do not go along", "send:", "attachments: {each: {u: \"{{url}}\"}}\n      send:", "send.body: has no {{attachments}}"},
		{"files that are nothing", `thread: "{{remote_id}}"`, `files: "{{attachments}}"`, "attachments: is missing"},
		{"a webhook without its URL", "send:", "register_webhook: {path: \"/{{remote_id}}\"}\n      send:", "register_webhook: has no {{webhook.url}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(good, tt.old, tt.new, 1)
			if changed == good {
				t.Fatal("the case changes nothing")
			}
			list := problemsOf(t, changed)
			if len(list) != 1 || !strings.HasPrefix(list[0], tt.want) {
				t.Errorf("problems %q, want one that begins with %q", list, tt.want)
			}
		})
	}
}

func TestAStreamNamesOnlyWhatDiffersFromSend(t *testing.T) {
	for _, stream := range []string{"", "path: /stream, ", "query: {live: \"{{stream}}\"}, ", "method: GET, path: /stream, query: {q: \"{{text}}\"}, "} {
		if list := problemsOf(t, strings.Replace(good, "send:", "stream: {"+stream+"delta: text, end: END}\n      send:", 1)); list != nil {
			t.Errorf("%q: refused: %q", stream, list)
		}
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	list := problemsOf(t, `
      base_url: sandbox
      remote_id: "{{text}}"
      send: {path: chat, body: {a: "{{nothing}}"}, reply: {each: [{text: "a..b"}]}}
      stream: {}
      create_user: {path: /u, id: ""}
`)
	for _, want := range []string{
		"base_url", "remote_id", "send.path", "send.body", "send.reply.each[0].text", "send.reply.each[0].role", "stream.delta", "stream.done", "create_user.id",
	} {
		if !slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(p, want+":") }) {
			t.Errorf("nothing is said about %s: %s", want, fmt.Sprintf("%q", list))
		}
	}
}
