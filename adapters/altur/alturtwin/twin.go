// Package alturtwin is a simulated Altur: the chat part of its public API over
// conversations that are kept in memory, with a bot that shows that it remembers.
// It is strict where the vendor may be lenient, so that what passes here is right
// by the vendor's documents. It knows the vendor and not the adapter, with which
// it shares no code.
package alturtwin

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// Path is where the API lives, as in the vendor's own base URL.
const Path = "/api/v1.0"

// What a twin accepts where Options say nothing.
const (
	DefaultKey     = "altur-sandbox-key"
	DefaultAgentID = "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
)

// agentName is what the one agent is called.
const agentName = "Sandbox agent"

// maxBody bounds a request. 65,536 characters fit, escaped as they may be.
const maxBody = 1 << 20

// Options say what a twin accepts and how it answers.
type Options struct {
	Key     normalize.Secret // empty: DefaultKey
	AgentID string           // the one agent; empty: DefaultAgentID. Any id is taken here, a UUID or not
	// MixedShape answers a request with chatbot_id as the middle shape of the API
	// did: `chatbot` and `end_user`. Otherwise it is answered in the oldest one,
	// `chatbot` and `enduser`. A request with agent_id always gets `agent` and
	// `end_user`.
	MixedShape bool
	Now        func() time.Time // empty: time.Now
}

// Twin is a simulated Altur with one agent. It is an http.Handler, and safe for
// concurrent use.
type Twin struct {
	key     normalize.Secret
	agentID string
	mixed   bool
	now     func() time.Time
	routes  http.ServeMux

	mu      sync.Mutex
	users   map[string]*endUser
	threads map[string]*thread // by their ids
	byUser  map[string]*thread // by the end users' ids: there is one agent
}

// New makes a twin without end users and conversations.
func New(o Options) *Twin {
	t := &Twin{
		key: o.Key, agentID: o.AgentID, mixed: o.MixedShape, now: o.Now,
		users: map[string]*endUser{}, threads: map[string]*thread{}, byUser: map[string]*thread{},
	}
	if t.key.IsZero() {
		t.key = normalize.NewSecret(DefaultKey)
	}
	if t.agentID == "" {
		t.agentID = DefaultAgentID
	}
	if t.now == nil {
		t.now = time.Now
	}
	for pattern, serve := range map[string]func(*http.Request) (any, *failure){
		"POST " + Path + "/message":     t.sendMessage,
		"GET " + Path + "/message/{id}": t.listMessages,
		"GET " + Path + "/thread/{id}":  t.readThread,
		"POST " + Path + "/enduser":     t.createUser,
		"GET " + Path + "/enduser/{id}": t.readUser,
		"PUT " + Path + "/enduser/{id}": t.updateUser,
		"/":                             func(*http.Request) (any, *failure) { return nil, fail(http.StatusNotFound, "Not found") },
	} {
		t.routes.HandleFunc(pattern, t.authorized(serve))
	}
	return t
}

// ServeHTTP answers one request.
func (t *Twin) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.routes.ServeHTTP(w, r) }

// SetActive switches the automatic answers of a thread on or off, as a person does
// in the vendor's application. It reports whether there is such a thread.
func (t *Twin) SetActive(threadID string, active bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	th, ok := t.threads[threadID]
	if ok {
		th.active = active
	}
	return ok
}

// failure is the vendor's error body.
type failure struct {
	Status  int    `json:"error"`
	Message string `json:"message"`
}

func fail(status int, format string, args ...any) *failure {
	return &failure{status, fmt.Sprintf(format, args...)}
}

func (t *Twin) authorized(serve func(*http.Request) (any, *failure)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var answer any
		failed := fail(http.StatusUnauthorized, "Invalid API key")
		if r.Header.Get("Authorization") == "api-key "+t.key.Reveal() {
			answer, failed = serve(r)
		}
		status := http.StatusOK
		if failed != nil {
			answer, status = failed, failed.Status
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(answer) // the client has left if this fails
	}
}

// endUser is a person as the API shows one.
type endUser struct {
	ID              string `json:"id"`
	DisplayName     string `json:"display_name"`
	IntegrationType string `json:"integration_type"`
	Info            string `json:"info,omitempty"`
}

// thread is the conversation of one end user with the agent.
type thread struct {
	id        string
	user      *endUser
	shape     shape // of the last request
	updatedAt time.Time
	active    bool
	messages  []message
	first     string // the first thing that the person said
	turns     int
}

// message is one thing said, as the API shows it.
type message struct {
	ThreadID string `json:"thread_id"`
	Type     string `json:"type"`
	Content  string `json:"content"`
	SentBy   string `json:"sent_by"`
	SentAt   string `json:"sent_at"`
	Read     bool   `json:"read"`
}

// shape is how a thread is shown.
type shape int

const (
	shapeAgent   shape = iota // agent, end_user
	shapeChatbot              // chatbot, enduser
	shapeMixed                // chatbot, end_user
)

// named is a thing with an id and a name.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// integration is a channel.
type integration struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// shownThread is a thread as the API shows it, in whichever shape.
type shownThread struct {
	ID         string      `json:"id"`
	Agent      *named      `json:"agent,omitempty"`
	Chatbot    *named      `json:"chatbot,omitempty"`
	EndUser    *endUser    `json:"end_user,omitempty"`
	OldEndUser *endUser    `json:"enduser,omitempty"`
	Channel    integration `json:"integration"`
	UpdatedAt  string      `json:"updated_at"`
	Active     bool        `json:"active"`
	Blocked    bool        `json:"blocked"`
	Tags       []any       `json:"tags"`
	AssignedTo []any       `json:"assigned_to"`
}

// show copies a thread, so that it can be written after the lock is given up.
func (t *Twin) show(th *thread) shownThread {
	agent, user := &named{t.agentID, agentName}, *th.user
	out := shownThread{
		ID:         th.id,
		Channel:    integration{ID: "sandbox-api", Type: "api"},
		UpdatedAt:  stamp(th.updatedAt),
		Active:     th.active,
		Tags:       []any{},
		AssignedTo: []any{},
	}
	switch th.shape {
	case shapeAgent:
		out.Agent, out.EndUser = agent, &user
	case shapeChatbot:
		out.Chatbot, out.OldEndUser = agent, &user
	case shapeMixed:
		out.Chatbot, out.EndUser = agent, &user
	}
	return out
}

func (t *Twin) sendMessage(r *http.Request) (any, *failure) {
	fields, failed := readFields(r, "agent_id", "chatbot_id", "end_user_id", "content")
	if failed != nil {
		return nil, failed
	}
	shape, agentID := shapeAgent, fields["agent_id"]
	if chatbotID, ok := fields["chatbot_id"]; ok {
		if agentID != nil {
			return nil, fail(http.StatusBadRequest, "agent_id and chatbot_id must not both be given")
		}
		shape, agentID = shapeChatbot, chatbotID
		if t.mixed {
			shape = shapeMixed
		}
	}
	userID, content := fields["end_user_id"], fields["content"]
	switch {
	case agentID == nil:
		return nil, fail(http.StatusBadRequest, "agent_id is required")
	case userID == nil:
		return nil, fail(http.StatusBadRequest, "end_user_id is required")
	case content == nil || *content == "":
		return nil, fail(http.StatusBadRequest, "content is required")
	case *agentID != t.agentID && !isUUID4(*agentID):
		return nil, fail(http.StatusBadRequest, "agent_id must be a UUID")
	case !isUUID4(*userID):
		return nil, fail(http.StatusBadRequest, "end_user_id must be a UUID")
	case *agentID != t.agentID:
		return nil, fail(http.StatusNotFound, "Agent not found")
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	user, ok := t.users[*userID]
	if !ok {
		return nil, fail(http.StatusNotFound, "EndUser not found")
	}
	th := t.byUser[user.ID]
	if th == nil {
		th = &thread{id: uuid.NewString(), user: user, active: true, first: *content}
		t.byUser[user.ID], t.threads[th.id] = th, th
	}
	th.shape = shape
	th.turns++
	sent := t.say(th, "EU", *content, true)
	replies := []message{}
	if th.active {
		replies = append(replies, t.say(th, "AI", bot.Answer(th.turns, th.first, *content), false))
	}
	return struct {
		Thread       shownThread `json:"thread"`
		Messages     []message   `json:"messages"`
		InResponseTo message     `json:"in_response_to"`
	}{t.show(th), replies, sent}, nil
}

// say appends to a thread. No two messages of a thread have the same time.
func (t *Twin) say(th *thread, by, content string, read bool) message {
	at := t.now().UTC().Truncate(time.Millisecond)
	if !at.After(th.updatedAt) {
		at = th.updatedAt.Add(time.Millisecond)
	}
	th.updatedAt = at
	m := message{ThreadID: th.id, Type: "text", Content: content, SentBy: by, SentAt: stamp(at), Read: read}
	th.messages = append(th.messages, m)
	return m
}

func (t *Twin) listMessages(r *http.Request) (any, *failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	th, ok := t.threads[r.PathValue("id")]
	if !ok {
		return nil, fail(http.StatusNotFound, "Thread not found")
	}
	return slices.Clone(th.messages), nil
}

// readThread answers 400 for a thread that is not there: it is the only error that
// the vendor documents for this call.
func (t *Twin) readThread(r *http.Request) (any, *failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	th, ok := t.threads[r.PathValue("id")]
	if !ok {
		return nil, fail(http.StatusBadRequest, "Thread not found")
	}
	return t.show(th), nil
}

func (t *Twin) createUser(r *http.Request) (any, *failure) {
	fields, failed := readFields(r, "display_name", "info")
	if failed != nil {
		return nil, failed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	user := &endUser{ID: uuid.NewString(), IntegrationType: "api"}
	user.change(fields)
	t.users[user.ID] = user
	return *user, nil
}

func (t *Twin) readUser(r *http.Request) (any, *failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	user, failed := t.user(r.PathValue("id"))
	if failed != nil {
		return nil, failed
	}
	return *user, nil
}

func (t *Twin) updateUser(r *http.Request) (any, *failure) {
	fields, failed := readFields(r, "display_name", "info")
	if failed != nil {
		return nil, failed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	user, failed := t.user(r.PathValue("id"))
	if failed != nil {
		return nil, failed
	}
	user.change(fields)
	return *user, nil
}

// user finds an end user. The lock is held.
func (t *Twin) user(id string) (*endUser, *failure) {
	if !isUUID4(id) {
		return nil, fail(http.StatusBadRequest, "id must be a UUID")
	}
	user, ok := t.users[id]
	if !ok {
		return nil, fail(http.StatusNotFound, "EndUser not found")
	}
	return user, nil
}

// change writes the fields that were given.
func (u *endUser) change(fields map[string]*string) {
	if name := fields["display_name"]; name != nil {
		u.DisplayName = *name
	}
	if info := fields["info"]; info != nil {
		u.Info = *info
	}
}

// readFields reads a body that must be one JSON object in UTF-8 with no other
// fields than the known ones, each of them a string.
func readFields(r *http.Request, known ...string) (map[string]*string, *failure) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, fail(http.StatusBadRequest, "Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "the body could not be read: %v", err)
	}
	if !utf8.Valid(body) {
		return nil, fail(http.StatusBadRequest, "the body is not UTF-8")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || raw == nil {
		return nil, fail(http.StatusBadRequest, "the body is not a JSON object")
	}
	fields := make(map[string]*string, len(raw))
	for name, value := range raw {
		if !slices.Contains(known, name) {
			return nil, fail(http.StatusBadRequest, "%s is not a known field", name)
		}
		var s *string
		if err := json.Unmarshal(value, &s); err != nil || s == nil {
			return nil, fail(http.StatusBadRequest, "%s must be a string", name)
		}
		fields[name] = s
	}
	return fields, nil
}

// isUUID4 reports whether an id is a UUID of version 4 in its 36 characters.
func isUUID4(id string) bool {
	u, err := uuid.Parse(id)
	return err == nil && len(id) == 36 && u.Version() == 4 && u.Variant() == uuid.RFC4122
}

// stamp writes a time as the documents show it, in UTC and with a Z.
func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
