package sitegpt

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// dialectName stands in front of the dialect's paths.
const dialectName = "sitegpt"

// dialect is both versions of SiteGPT's own API at the front, whoever answers behind.
//
// Where the documents are silent: fields that a request has beside the known ones are
// passed over; a thread that is created under an id that the client gave to one
// before is that thread; messages to an unknown thread are refused with
// THREAD_NOT_FOUND (v0) or CONVERSATION_NOT_FOUND (v2).
func dialect() *adapters.Dialect {
	const v0Bot, v2Bot = "/api/v0/chatbots/{chatbotId}", "/api/v2/chatbots/{chatbotId}"
	const conversation = v2Bot + "/conversations/{threadId}"
	return &adapters.Dialect{
		Name: dialectName,
		Endpoints: []adapters.Endpoint{
			{Method: http.MethodPost, Path: v0Bot + "/message", Send: true, Serve: serveSendV0},
			{Method: http.MethodPost, Path: v0Bot + "/threads", Serve: serveCreateV0},
			{Method: http.MethodGet, Path: v0Bot + "/threads", Serve: serveThreadsV0},
			{Method: http.MethodGet, Path: v0Bot + "/threads/{threadId}", Serve: serveThreadV0},
			{Method: http.MethodPatch, Path: v0Bot + "/threads/{threadId}", Serve: serveUpdateV0},

			{Method: http.MethodPost, Path: v2Bot + "/messages", Send: true, Serve: serveSendNewV2},
			{Method: http.MethodGet, Path: v2Bot + "/conversations", Serve: serveConversationsV2},
			{Method: http.MethodGet, Path: conversation, Serve: serveConversationV2},
			{Method: http.MethodDelete, Path: conversation, Serve: serveDeleteV2},
			{Method: http.MethodPost, Path: conversation + "/messages", Send: true, Serve: serveSendV2},
			{Method: http.MethodGet, Path: conversation + "/messages", Serve: serveMessagesV2},
			{Method: http.MethodPost, Path: conversation + "/escalate", Serve: serveEscalateV2},
			{Method: http.MethodPost, Path: conversation + "/take-over", Serve: serveTakeOverV2},
			{Method: http.MethodPost, Path: conversation + "/switch-to-ai", Serve: serveSwitchToAIV2},
		},
		Key:  callerKey,
		Fail: writeFailure,
	}
}

const scheme = "Bearer "

// callerKey reads `Authorization: Bearer <key>`.
func callerKey(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 || len(values[0]) <= len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
		return ""
	}
	return values[0][len(scheme):]
}

// isV2 reports whether a request speaks v2; what is below neither version speaks v0.
func isV2(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/"+dialectName+"/api/v2") }

// The envelopes, and what stands in them for an error. V0 always has details.
type (
	envelopeV0 struct {
		Success bool     `json:"success"`
		Message string   `json:"message"`
		Data    any      `json:"data"`
		Error   *errorV0 `json:"error,omitempty"`
	}
	errorV0 struct {
		Code    string       `json:"code"`
		Message string       `json:"message"`
		Details []fieldError `json:"details"`
	}
	envelopeV2 struct {
		OK    bool     `json:"ok"`
		Data  any      `json:"data,omitempty"`
		Error *errorV2 `json:"error,omitempty"`
		Meta  metaV2   `json:"meta"`
	}
	errorV2 struct {
		Code    string       `json:"code"`
		Message string       `json:"message"`
		Details []fieldError `json:"details,omitempty"`
	}
	metaV2 struct {
		RequestID string `json:"requestId"`
	}
	fieldError struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	}
)

// writeFailure answers with the error envelope of the version that was called.
func writeFailure(w http.ResponseWriter, r *http.Request, requestID string, failure *normalize.Error) {
	second := isV2(r)
	status, code := refusalOf(failure, r, second)
	var details []fieldError
	for _, f := range failure.Fields {
		details = append(details, fieldError{f.Field, f.Detail})
	}
	text := failure.Text()
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", strings.TrimSpace(scheme))
		text = "Authorization header holds no valid key: send Authorization: Bearer <key>"
	}
	if second {
		answer(w, status, envelopeV2{Error: &errorV2{code, text, details}, Meta: metaV2{requestID}})
		return
	}
	said := "Failed to process the request"
	if status == http.StatusUnauthorized {
		said = "Failed to authenticate"
	}
	answer(w, status, envelopeV0{Message: said, Error: &errorV0{code, text, details}})
}

// refusalOf gives the status and the code of a failure: the vendor's where it has one,
// else ours in its way of writing.
func refusalOf(failure *normalize.Error, r *http.Request, second bool) (status int, code string) {
	policy := failure.Kind.Policy()
	status, code = policy.Status, strings.ToUpper(policy.Code)
	either := func(v0, v2 string) string {
		if second {
			return v2
		}
		return v0
	}
	switch {
	case status == http.StatusUnauthorized && second && len(r.Header.Values("Authorization")) == 0:
		code = codeNoHeader
	case status == http.StatusUnauthorized:
		code = either("API_KEY_NOT_VALID", "TOKEN_NOT_VALID")
	case status == http.StatusForbidden:
		code = either("CHATBOT_FETCH_FORBIDDEN", "TOKEN_SCOPE_NOT_ALLOWED")
	case failure.Kind == normalize.KindInvalidJSON, failure.Kind == normalize.KindInvalidRequest, failure.Kind == normalize.KindURLNotAllowed:
		status, code = http.StatusBadRequest, either("REQUEST_VALIDATION_FAILED", "VALIDATION_FAILED")
	case failure.Kind == normalize.KindQuota:
		status, code = http.StatusTooManyRequests, codeMessagesLimit
	case failure.Kind == normalize.KindNotFound && failure.VendorCode != "":
		code = failure.VendorCode
	case failure.Kind == normalize.KindRejected:
		if status = http.StatusBadRequest; failure.VendorStatus >= 400 && failure.VendorStatus < 500 {
			status = failure.VendorStatus
		}
	}
	return status, code
}

// answer writes a whole answer. A client that left is its own loss.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v))
}

// sayV0 answers that something was done.
func sayV0(w http.ResponseWriter, said string, data any) error {
	answer(w, http.StatusOK, envelopeV0{Success: true, Message: said, Data: data})
	return nil
}

// sayV2 is sayV0 of v2.
func sayV2(w http.ResponseWriter, d adapters.Desk, data any) error {
	answer(w, http.StatusOK, envelopeV2{OK: true, Data: data, Meta: metaV2{d.RequestID()}})
	return nil
}

// form is one JSON object of a request that is being read. All that is wrong with the
// whole request is collected, and told at once.
type form struct {
	v     gjson.Result
	path  string // of the object, with a dot at its end; empty for the outermost
	wrong *[]normalize.FieldError
}

func readForm(d adapters.Desk) (form, error) {
	body, err := d.Body()
	if err != nil {
		return form{}, err
	}
	f := form{v: gjson.ParseBytes(body), wrong: new([]normalize.FieldError)}
	if !f.v.IsObject() {
		return form{}, normalize.InvalidField("body", "must be a JSON object")
	}
	return f, nil
}

func (f form) refuse(name, problem string) {
	*f.wrong = append(*f.wrong, normalize.FieldError{Field: f.path + name, Detail: problem})
}

// notValid says that something is wrong; the details say what.
const notValid = "The request is not valid"

// err gives one failure for all that is wrong; nil where nothing is.
func (f form) err() error {
	if len(*f.wrong) == 0 {
		return nil
	}
	return &normalize.Error{Kind: normalize.KindInvalidRequest, Detail: notValid, Fields: *f.wrong}
}

// text reads a string; empty where there is none, or null.
func (f form) text(name string) string {
	switch v := f.v.Get(name); v.Type {
	case gjson.String:
		return normalize.UnquoteJSON(v.Raw)
	case gjson.Null: // absent too
	default:
		f.refuse(name, "must be a string")
	}
	return ""
}

// needed reads a string that must be there and not empty.
func (f form) needed(name string) string {
	before := len(*f.wrong)
	s := f.text(name)
	if s == "" && len(*f.wrong) == before {
		f.refuse(name, "is required")
	}
	return s
}

// oneOf reads one of a few words; empty where there is none.
func (f form) oneOf(name string, words ...string) string {
	before := len(*f.wrong)
	s := f.text(name)
	if s == "" && f.v.Get(name).Type != gjson.String || len(*f.wrong) > before {
		return ""
	}
	for _, word := range words {
		if s == word {
			return s
		}
	}
	f.refuse(name, "must be one of "+strings.Join(words, ", "))
	return ""
}

// url reads the address of a page or a picture.
func (f form) url(name string) string {
	s := f.text(name)
	if s == "" {
		return ""
	}
	if u, err := url.Parse(s); err != nil || !u.IsAbs() || len(s) > 2048 {
		f.refuse(name, "must be a URL")
		return ""
	}
	return s
}

// object reads an object; false where there is none.
func (f form) object(name string) (form, bool) {
	v := f.v.Get(name)
	switch {
	case v.IsObject():
		return form{v, f.path + name + ".", f.wrong}, true
	case v.Type != gjson.Null:
		f.refuse(name, "must be an object")
	}
	return form{}, false
}

// query reads the parameters of a list.
type query struct {
	values url.Values
	wrong  []normalize.FieldError
}

func readQuery(r *http.Request) *query { return &query{values: r.URL.Query()} }

func (q *query) refuse(name, problem string) {
	q.wrong = append(q.wrong, normalize.FieldError{Field: name, Detail: problem})
}

func (q *query) err() error { return form{wrong: &q.wrong}.err() }

// number reads a number from 1 to most.
func (q *query) number(name string, absent, most int) int {
	if !q.values.Has(name) {
		return absent
	}
	n, err := strconv.Atoi(q.values.Get(name))
	if err != nil || n < 1 || n > most {
		q.refuse(name, "must be a number from 1 to "+strconv.Itoa(most))
		return absent
	}
	return n
}

// oneOf reads one of a few words; empty where there is none.
func (q *query) oneOf(name string, words ...string) string {
	if !q.values.Has(name) {
		return ""
	}
	for _, word := range words {
		if q.values.Get(name) == word {
			return word
		}
	}
	q.refuse(name, "must be one of "+strings.Join(words, ", "))
	return ""
}

// notFound is the failure where the vendor has a code of its own for what is not there.
func notFound(err error, second bool) error {
	failure := normalize.AsError(err)
	if failure == nil || failure.Kind != normalize.KindNotFound {
		return err
	}
	missing := &normalize.Error{Kind: normalize.KindNotFound, Detail: "No such thread", VendorCode: "THREAD_NOT_FOUND"}
	if second {
		missing.Detail, missing.VendorCode = "No such conversation", "CONVERSATION_NOT_FOUND"
	}
	return missing
}
