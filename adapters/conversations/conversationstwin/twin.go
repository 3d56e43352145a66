// Package conversationstwin is a simulated MaiAgent, the conversations platform: a
// real HTTP handler that speaks the vendor's format as its documents say, under
// /api and /api/v1, keeps real conversations in memory, and whose bot shows that it
// remembers. It is stricter than the vendor may be: a field, a parameter or a
// content type that no document knows is refused, so that a client's mistake shows
// here and not at a customer's.
//
// It shares no code with the adapter of this vendor: what one misreads, the other
// does not.
//
// Where the documents are silent: the bot answers completions even while automatic
// reply is off, which only governs messages that are posted; an answer to a posted
// message stands in the list at once, unless Answer says otherwise; messages are listed oldest first,
// conversations newest first; every call needs the key, also those that the vendor
// opens to its web widget.
package conversationstwin

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"chatmux/normalize"
)

// What a twin takes where its options leave it out.
const (
	DefaultKey       = "sandbox-key"
	DefaultChatbotID = "2f3f0f7c-97c4-4b6e-a9f4-1d7a3a1b0c55"
	DefaultWebChatID = "0f9a1e34-77f2-4f0e-8b55-6f3d2c1b0a99"
)

// maxBody is the largest request that is read.
const maxBody = 32 << 20

// Options say which account the twin plays. A zero field is its default.
type Options struct {
	Key       normalize.Secret // the one API key that is accepted
	ChatbotID string           // the one chatbot there is
	WebChatID string           // the one web chat there is
}

// Twin is a simulated vendor. It is safe for concurrent use.
type Twin struct {
	key       normalize.Secret
	chatbotID string
	webChatID string
	inboxID   string
	routes    []route
	telling   sync.WaitGroup

	mu            sync.Mutex
	clock         int64           // milliseconds since 1970 of the newest object; no two share one
	conversations []*conversation // in the order of creation
	byID          map[string]*conversation
	messages      map[string]*message
	attachments   []attachment
	uploads       map[string]*upload // by key
	answering     Answering
}

// route is one call: its method, its path below the API with {} for an id, and
// what serves it.
type route struct {
	method  string
	pattern []string
	serve   func(w http.ResponseWriter, r *http.Request, id string)
}

// New makes a twin with no conversations.
func New(o Options) *Twin {
	if o.Key.IsZero() {
		o.Key = normalize.NewSecret(DefaultKey)
	}
	if o.ChatbotID == "" {
		o.ChatbotID = DefaultChatbotID
	}
	if o.WebChatID == "" {
		o.WebChatID = DefaultWebChatID
	}
	t := &Twin{
		key: o.Key, chatbotID: o.ChatbotID, webChatID: o.WebChatID, inboxID: newID(),
		byID:     map[string]*conversation{},
		messages: map[string]*message{},
		uploads:  map[string]*upload{},
	}
	for _, r := range []struct {
		method, path string
		serve        func(w http.ResponseWriter, r *http.Request, id string)
	}{
		{"POST", "chatbots/{}/completions/", t.ofChatbot(t.complete)},
		{"GET", "chatbots/{}/records/", t.ofChatbot(t.listRecords)},
		{"GET", "chatbots/{}/records/export-excel/", t.ofChatbot(t.exportRecords)},
		{"POST", "conversations/", t.createConversation},
		{"GET", "conversations/", t.listConversations},
		{"GET", "conversations/{}/", t.readConversation},
		{"PATCH", "conversations/{}/update-auto-reply/", t.updateAutoReply},
		{"PATCH", "conversations/{}/update-enable-group-mention/", t.updateGroupMention},
		{"POST", "conversations/{}/attachments/", t.registerInConversation},
		{"POST", "messages/", t.createMessage},
		{"GET", "messages/", t.listMessages},
		{"GET", "messages/{}/", t.readMessage},
		{"POST", "messages/outgoing/", t.createOutgoing},
		{"POST", "generate-copilot-message/", t.suggest},
		{"POST", "attachments-upload/", t.uploadOneStep},
		{"POST", "upload-presigned-url/", t.presign},
		{"POST", "attachments/", t.createAttachment},
		{"GET", "attachments/", t.listAttachments},
		{"GET", "attachments/{}/", t.readAttachment},
		{"PUT", "attachments/{}/", t.changeAttachment},
		{"PATCH", "attachments/{}/", t.changeAttachment},
		{"DELETE", "attachments/{}/", t.deleteAttachment},
		{"GET", "allowed-file-types/", t.allowedFileTypes},
	} {
		t.routes = append(t.routes, route{r.method, strings.Split(r.path, "/"), r.serve})
	}
	return t
}

// ServeHTTP serves one call.
func (t *Twin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if strings.HasPrefix(r.URL.Path, storagePath) {
		t.serveStorage(w, r)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !ok {
		if path, ok = strings.CutPrefix(r.URL.Path, "/api/"); !ok {
			notFound(w)
			return
		}
	}
	segments := strings.Split(path, "/")
	var allowed []string
	var serve func()
	for _, route := range t.routes {
		id, ok := route.match(segments)
		if !ok {
			continue
		}
		allowed = append(allowed, route.method)
		if route.method == r.Method && serve == nil {
			serve = func() { route.serve(w, r, id) }
		}
	}
	switch problem := t.authenticate(r); {
	case allowed == nil:
		notFound(w)
	case problem != "":
		w.Header().Set("WWW-Authenticate", "Api-Key")
		fail(w, http.StatusUnauthorized, problem)
	case serve == nil:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("Method \"%s\" not allowed.", r.Method))
	default:
		serve()
	}
}

// match compares a path that was split at its slashes; a path that ends in one has
// an empty last segment.
func (route *route) match(segments []string) (id string, ok bool) {
	if len(segments) != len(route.pattern) {
		return "", false
	}
	for i, want := range route.pattern {
		switch {
		case want == "{}" && segments[i] != "":
			id = segments[i]
		case want != segments[i]:
			return "", false
		}
	}
	return id, true
}

func (t *Twin) authenticate(r *http.Request) (problem string) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "Authentication credentials were not provided."
	}
	key, ok := strings.CutPrefix(values[0], "Api-Key ")
	switch {
	case !ok || len(values) > 1 || key == "" || strings.Contains(key, " "):
		return "Invalid API key format."
	case subtle.ConstantTimeCompare([]byte(key), []byte(t.key.Reveal())) != 1:
		return "Invalid API key."
	}
	return ""
}

// ofChatbot serves a call whose id is the chatbot's.
func (t *Twin) ofChatbot(serve func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, id string) {
		if id != t.chatbotID {
			fail(w, http.StatusNotFound, "No Chatbot matches the given query.")
			return
		}
		serve(w, r)
	}
}

// now gives the next moment, in milliseconds: never one that was given before, so
// that objects have an order. Call it with the lock held.
func (t *Twin) now() int64 {
	t.clock = max(t.clock+1, time.Now().UnixMilli())
	return t.clock
}

// stamp writes a moment as the vendor does: a text of 13 digits.
func stamp(ms int64) string { return strconv.FormatInt(ms, 10) }

// newID makes a random UUID.
func newID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }

// origin is where the client reached the twin; absolute URLs begin with it.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func notFound(w http.ResponseWriter) { fail(w, http.StatusNotFound, "Not found.") }

func fail(w http.ResponseWriter, status int, detail string) {
	answer(w, status, map[string]string{"detail": detail})
}

func answer(w http.ResponseWriter, status int, v any) {
	body := encode(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encode writes JSON with < > & and all scripts as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("conversationstwin: an answer of ours is no JSON: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
