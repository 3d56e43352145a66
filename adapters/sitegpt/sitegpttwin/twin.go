// Package sitegpttwin is a simulated SiteGPT: an http.Handler that speaks API v0
// and API v2 about the same conversations, as the vendor's documents describe them.
// It is strict, so that what it accepts the vendor should accept: it checks the
// key, the content type and every field, and refuses what it does not know. Its
// conversations live in memory, and its bot shows that it remembers them.
//
// Where the documents are silent the twin decides: codes of errors that they do
// not list (THREAD_NOT_FOUND, CONVERSATION_NOT_FOUND, NOT_FOUND,
// METHOD_NOT_ALLOWED), that a thread id that is taken cannot be chosen again, and
// that messages to an unknown thread are refused.
package sitegpttwin

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"chatmux/normalize"
)

// What a twin has where its Options say nothing.
const (
	DefaultKey       = "sitegpt-twin-key"
	DefaultChatbotID = "365062873485935184"
)

// Options say whom a twin lets in and which chatbot it has.
type Options struct {
	Key       normalize.Secret // DefaultKey where empty
	ChatbotID string           // DefaultChatbotID where empty
}

// Twin is a simulated vendor with one chatbot. It is safe for concurrent use.
type Twin struct {
	key       normalize.Secret
	chatbotID string
	mux       *http.ServeMux

	telling sync.WaitGroup

	mu      sync.Mutex
	hook    webhook   // of the chatbot
	threads []*thread // oldest first
	lastID  int64     // of messages and persons
	lastReq int64
}

// firstID is what the twin's decimal ids start behind: like the vendor's, they do
// not fit into a float64.
const firstID = 376290410396385872

// New makes a twin without conversations.
func New(o Options) *Twin {
	t := &Twin{key: o.Key, chatbotID: o.ChatbotID, mux: http.NewServeMux(), lastID: firstID}
	if t.key.IsZero() {
		t.key = normalize.NewSecret(DefaultKey)
	}
	if t.chatbotID == "" {
		t.chatbotID = DefaultChatbotID
	}
	t.routesV0("/api/v0/chatbots/{chatbotId}")
	t.routesV2("/api/v2/chatbots/{chatbotId}")
	t.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.write(w, apiOf(r), nil, refuse(http.StatusNotFound, "NOT_FOUND", "There is nothing at this path"))
	})
	return t
}

// ServeHTTP answers as the vendor would.
func (t *Twin) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }

// api is one of the two versions: they differ in the envelope and in the codes.
type api int

const (
	v0 api = iota
	v2
)

func apiOf(r *http.Request) api {
	if strings.HasPrefix(r.URL.Path, "/api/v2/") {
		return v2
	}
	return v0
}

// success is what an operation did. Only v0 says it in a sentence too.
type success struct {
	said string
	data any
}

// refusal is an error of the vendor's.
type refusal struct {
	status  int
	code    string
	message string
	details []fieldProblem
}

type fieldProblem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message}
}

// invalid refuses a request for its fields.
func (a api) invalid(problems ...fieldProblem) *refusal {
	code := "REQUEST_VALIDATION_FAILED"
	if a == v2 {
		code = "VALIDATION_FAILED"
	}
	return &refusal{status: http.StatusBadRequest, code: code, message: "The request is not valid", details: problems}
}

// request is a request that was let in.
type request struct {
	*http.Request
	api    api
	fields fields // of the JSON body; nil for a method that has none
}

// operation is one thing the vendor can do. It runs under the twin's lock.
type operation struct {
	body  schema // nil: no body is read
	query []string
	do    func(r *request) (success, *refusal)
}

// handle serves the operations of one path, by method.
func (t *Twin) handle(path string, operations map[string]operation) {
	t.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		done, refused := t.serve(w, r, operations)
		t.write(w, apiOf(r), &done, refused)
	})
}

func (t *Twin) serve(w http.ResponseWriter, r *http.Request, operations map[string]operation) (success, *refusal) {
	a := apiOf(r)
	if refused := t.authenticate(a, r.Header.Get("Authorization")); refused != nil {
		return success{}, refused
	}
	op, ok := operations[r.Method]
	if !ok {
		var allowed []string
		for method := range operations {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return success{}, refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "This path does not take "+r.Method)
	}
	if r.PathValue("chatbotId") != t.chatbotID {
		return success{}, refuse(http.StatusNotFound, "CHATBOT_NOT_FOUND", "No such chatbot")
	}
	for name := range r.URL.Query() {
		if !slices.Contains(op.query, name) {
			return success{}, a.invalid(fieldProblem{name, "is no parameter of this operation"})
		}
	}
	req := &request{Request: r, api: a}
	if op.body != nil {
		var problems []fieldProblem
		if req.fields, problems = op.body.read(w, r); problems != nil {
			return success{}, a.invalid(problems...)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return op.do(req)
}

func (t *Twin) authenticate(a api, header string) *refusal {
	token, bearer := strings.CutPrefix(header, "Bearer ")
	switch {
	case bearer && subtle.ConstantTimeCompare([]byte(token), []byte(t.key.Reveal())) == 1:
		return nil
	case a == v0:
		return refuse(http.StatusUnauthorized, "API_KEY_NOT_VALID", "Authorization header holds no valid key")
	case header == "":
		return refuse(http.StatusUnauthorized, "AUTHORIZATION_HEADER_REQUIRED", "Send the token as Authorization: Bearer <token>")
	}
	return refuse(http.StatusUnauthorized, "TOKEN_NOT_VALID", "The token is not valid")
}

// The envelopes, with the error object of each.
type (
	envelopeV0 struct {
		Success bool     `json:"success"`
		Message string   `json:"message"`
		Data    any      `json:"data"`
		Error   *errorV0 `json:"error,omitempty"`
	}
	errorV0 struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details []fieldProblem `json:"details"`
	}
	envelopeV2 struct {
		OK    bool     `json:"ok"`
		Data  any      `json:"data,omitempty"`
		Error *errorV2 `json:"error,omitempty"`
		Meta  metaV2   `json:"meta"`
	}
	errorV2 struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details []fieldProblem `json:"details,omitempty"`
	}
	metaV2 struct {
		RequestID string `json:"requestId"`
	}
)

// write sends what an operation did, or why it did not, in the envelope of the
// version.
func (t *Twin) write(w http.ResponseWriter, a api, done *success, refused *refusal) {
	status := http.StatusOK
	var body any
	switch {
	case refused != nil && a == v0:
		status = refused.status
		said := "Failed to process the request"
		if status == http.StatusUnauthorized {
			said = "Failed to authenticate"
		}
		body = envelopeV0{Message: said, Error: &errorV0{refused.code, refused.message, refused.details}}
	case refused != nil:
		status = refused.status
		body = envelopeV2{Error: &errorV2{refused.code, refused.message, refused.details}, Meta: t.meta()}
	case a == v0:
		body = envelopeV0{Success: true, Message: done.said, Data: done.data}
	default:
		body = envelopeV2{OK: true, Data: done.data, Meta: t.meta()}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // a client that left is its own loss
}

func (t *Twin) meta() metaV2 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastReq++
	return metaV2{RequestID: "req-" + strconv.FormatInt(t.lastReq, 10)}
}
