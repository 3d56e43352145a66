// Package sitegpt speaks to SiteGPT's chatbots over either of the vendor's two
// HTTP APIs: v0, which its documents call legacy, and v2. Both answer a message in
// the call that sends it.
//
// What SiteGPT calls a message is a question and its answer under one id. It
// becomes up to two messages of ours, whose remote ids are that id with ":q" and
// ":a" behind it.
package sitegpt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/adapters/sitegpt/sitegpttwin"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// The versions of the vendor's API.
const (
	versionV0 = "v0"
	versionV2 = "v2"
)

// Spec is the adapter for SiteGPT. Which talents an opened adapter has follows
// from the version: v0 creates threads, speaks as an operator, updates the person
// and registers webhooks; v2 deletes and escalates; both list, read and switch
// the mode.
var Spec = adapters.Spec{
	Name:    "sitegpt",
	Summary: "SiteGPT chatbots, over the vendor's API v0 or v2",
	Tells: []adapters.Extra{
		adapters.ExtraFeedback, adapters.ExtraNotices, adapters.ExtraOperators, adapters.ExtraSources, adapters.ExtraSuggestions,
		adapters.ExtraTags, adapters.ExtraTitles,
	},
	Settings: func() adapters.Settings {
		return &Settings{BaseURL: "https://sitegpt.ai", Version: versionV0}
	},
	Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		return open(s.(*Settings), env)
	},
	Twin: func(s adapters.Settings) http.Handler {
		settings := s.(*Settings)
		return sitegpttwin.New(sitegpttwin.Options{Key: settings.APIKey, ChatbotID: settings.ChatbotID})
	},
	Dialect: dialect(),
}

// Settings is the settings block of a SiteGPT backend.
type Settings struct {
	BaseURL   adapters.BaseURL `yaml:"base_url"   doc:"origin of the vendor, without /api; default https://sitegpt.ai"`
	Version   string           `yaml:"version"    doc:"which API the key is for: v0 (default) or v2"`
	APIKey    normalize.Secret `yaml:"api_key"    doc:"API key of the account (v0) or access token (v2)"`
	ChatbotID string           `yaml:"chatbot_id" doc:"id of the chatbot, a long decimal number in quotes"`
}

// Check reports what is missing or wrong.
func (s *Settings) Check(report func(field, problem string)) {
	switch at := string(s.BaseURL); {
	case at == "":
		report("base_url", "is missing: write https://sitegpt.ai, or sandbox")
	case strings.HasSuffix(at, "/api"), strings.HasSuffix(at, "/api/v0"), strings.HasSuffix(at, "/api/v2"):
		report("base_url", "is the origin alone, as https://sitegpt.ai: the path /api and the version are added to it")
	}
	if s.Version != versionV0 && s.Version != versionV2 {
		report("version", "must be v0 or v2")
	}
	if s.APIKey.IsZero() {
		report("api_key", "is missing: write the key of the SiteGPT account, as ${SITEGPT_API_KEY}")
	}
	if s.ChatbotID == "" {
		report("chatbot_id", "is missing: write the number of the chatbot, in quotes")
	}
}

// Endpoint returns where the vendor is reached.
func (s *Settings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

// BotID returns the vendor's id of the chatbot.
func (s *Settings) BotID() string { return s.ChatbotID }

func open(s *Settings, env adapters.Env) (adapters.Adapter, error) {
	client, err := vendorhttp.New(vendorhttp.Options{
		BaseURL: s.BaseURL,
		Auth:    "Authorization",
		Scheme:  "Bearer ",
		Key:     s.APIKey,
		Explain: explain,
		Env:     env,
	})
	if err != nil {
		return nil, err
	}
	b := bot{http: client, path: "/api/" + s.Version + "/chatbots/" + url.PathEscape(s.ChatbotID), id: s.ChatbotID, key: s.APIKey}
	switch s.Version {
	case versionV0:
		b.flag = "success"
		return &v0{b}, nil
	case versionV2:
		b.flag = "ok"
		return &v2{b}, nil
	}
	return nil, fmt.Errorf("version %q: must be v0 or v2", s.Version)
}

// bot is one chatbot of an account, behind one version of the API.
type bot struct {
	http *vendorhttp.Client
	path string // of all that belongs to the chatbot, escaped
	id   string // the chatbot's
	flag string // the envelope's word for success
	key  normalize.Secret
}

// Close lets go of the idle connections.
func (b *bot) Close() error { return b.http.Close() }

// call makes one request. The path is below the chatbot; a nil body sends none.
func (b *bot) call(ctx context.Context, method, path string, query url.Values, body any) (envelope, error) {
	request := vendorhttp.Call{Method: method, Path: b.path + path, Query: query}
	if body != nil {
		request.Body = encode(body)
	}
	answer, err := b.http.Do(ctx, request)
	if err != nil {
		return envelope{}, err
	}
	return b.unwrap(answer)
}

// envelope is an answer that reports success, and what it holds.
type envelope struct {
	vendorhttp.Answer
	data gjson.Result
}

// unwrap opens the envelope of a 2xx answer. The flag of success counts where it
// is there; where it is not, an object in data is success too.
func (b *bot) unwrap(answer vendorhttp.Answer) (envelope, error) {
	if err := answer.Object(); err != nil {
		return envelope{}, err
	}
	root := gjson.ParseBytes(normalize.CleanBytes(answer.Body))
	e := envelope{Answer: answer, data: root.Get("data")}
	switch flag := root.Get(b.flag); {
	case flag.Type == gjson.False:
		return envelope{}, b.refusal(answer.Status, root)
	case flag.Type != gjson.True && !e.data.IsObject():
		return envelope{}, answer.Invalid("the backend's answer neither says that it succeeded nor holds any data")
	}
	return e, nil
}

// object returns the object of that name in the data.
func (e envelope) object(name string) (gjson.Result, error) {
	if object := member(e.data, name); object.IsObject() {
		return object, nil
	}
	return gjson.Result{}, e.Invalid("the backend's answer holds no " + name)
}

// array returns the elements of the list of that name in the data. A list that is
// missing is a failure: it must not be taken for an empty one.
func (e envelope) array(name string) ([]gjson.Result, error) {
	if list := member(e.data, name); list.IsArray() {
		return list.Array(), nil
	}
	return nil, e.Invalid("the backend's answer holds no list of " + name)
}

// The codes of the vendor that decide the kind of a failure, whatever the status.
const (
	codeMessagesLimit  = "MESSAGES_LIMIT_REACHED"
	codeChatbotLimit   = "CHATBOT_LIMIT_REACHED"
	codeUsageLimits    = "EXCEEDED_USAGE_LIMITS"
	codeUpstreamFailed = "PROBLEMS_WITH_UPSTREAM_PROVIDER"
	codeNoHeader       = "AUTHORIZATION_HEADER_REQUIRED"
)

// kindOf gives the kind that a code of the vendor stands for, and KindInternal
// where only the status says.
func kindOf(code string) normalize.Kind {
	switch {
	case code == codeMessagesLimit, code == codeChatbotLimit, code == codeUsageLimits:
		return normalize.KindQuota
	case code == codeUpstreamFailed:
		return normalize.KindVendorFault
	case code == codeNoHeader, strings.HasPrefix(code, "API_KEY_"), strings.HasPrefix(code, "TOKEN_"):
		return normalize.KindUnauthorized
	}
	return normalize.KindInternal
}

// explain reads the body of an answer that is not 2xx.
func explain(status int, body []byte) vendorhttp.Fault {
	if !json.Valid(body) {
		return vendorhttp.Fault{}
	}
	code, message := readError(gjson.ParseBytes(body))
	fault := vendorhttp.Fault{Code: code, Message: message}
	if status < http.StatusInternalServerError {
		fault.Kind = kindOf(code)
	}
	return fault
}

// refusal makes the failure of a 2xx answer whose envelope says that it failed.
func (b *bot) refusal(status int, root gjson.Result) *normalize.Error {
	code, message := readError(root)
	failure := &normalize.Error{
		Kind:         kindOf(code),
		Phase:        normalize.PhaseStatus,
		VendorStatus: status,
		VendorCode:   normalize.Excerpt(b.key.Redact(code), 64),
	}
	if failure.Kind == normalize.KindInternal {
		failure.Kind = normalize.KindRejected
	}
	failure.Detail = failure.Kind.Policy().Detail
	if said := normalize.Excerpt(b.key.Redact(message), 160); said != "" {
		failure.Detail += ": " + said
	}
	return failure
}

// readError reads the error of an envelope, which both versions write alike.
func readError(root gjson.Result) (code, message string) {
	object := member(root, "error")
	code, message = text(member(object, "code")), text(member(object, "message"))
	if message == "" {
		message = text(member(root, "message"))
	}
	return code, message
}

// segment writes the vendor's id of a thread as one segment of a path. It is a free
// string that a client may have chosen.
func segment(id string) (string, error) {
	if id == "" {
		return "", normalize.Errorf(normalize.KindInvalidRequest, "the vendor has no conversation for this thread yet: send a message first")
	}
	return url.PathEscape(id), nil
}

// encode writes a request body. People's text stays as it is: no HTML escapes.
func encode(body any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // structs of strings always encode
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})
}
