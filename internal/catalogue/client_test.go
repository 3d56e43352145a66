//go:build linux

package catalogue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatmux/internal/sandbox/bot"
)

type object = map[string]any

// client speaks to the program as one caller.
type client struct {
	t    testing.TB
	url  string
	key  string
	http *http.Client
}

func newClient(t testing.TB, url, key string) *client {
	return &client{t, url, key, &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) at(url string) { c.url = url }

func (c *client) close() { c.http.CloseIdleConnections() }

// as is the same client with another key.
func (c *client) as(key string) *client {
	other := *c
	other.key = key
	return &other
}

// answer is what the program said.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

// call makes one request. The body is sent as it is if it is text, and as JSON
// otherwise. Headers come in pairs; an empty value removes one.
func (c *client) call(method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is call where the program may be gone.
func (c *client) try(method, path string, body any, headers ...string) (answer, error) {
	ctx, cancel := within(time.Minute)
	defer cancel()
	return c.tryIn(ctx, method, path, body, headers...)
}

func (c *client) tryIn(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(b); err != nil {
			return answer{}, err
		}
		reader = &buf
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Del(headers[i]); headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	a := answer{c.t, method + " " + path, resp.StatusCode, resp.Header, b}
	if err == nil {
		a.always()
	}
	return a, err
}

// first sends a message that begins a thread.
func (c *client) first(route, text string, headers ...string) answer {
	c.t.Helper()
	return c.call("POST", "/v1/messages", object{"route": route, "text": text}, headers...)
}

// next sends a message in a thread.
func (c *client) next(thread, text string, headers ...string) answer {
	c.t.Helper()
	return c.call("POST", "/v1/threads/"+thread+"/messages", object{"text": text}, headers...)
}

// begin sends a first message that is answered, and gives the thread's id.
func (c *client) begin(route, text string) string {
	c.t.Helper()
	return c.first(route, text).turn().Thread.ID
}

// thread, message, turn and problem are the parts of the API's objects that rows
// look at.
type thread struct {
	ID           string  `json:"id"`
	Backend      *string `json:"backend"`
	Route        *string `json:"route"`
	Title        *string `json:"title"`
	MessageCount int     `json:"message_count"`
	User         struct {
		Name *string `json:"name"`
	} `json:"user"`
	Metadata map[string]string `json:"metadata"`
	Bindings []struct {
		Backend  string  `json:"backend"`
		RemoteID *string `json:"remote_id"`
		Until    *string `json:"until"`
		Reason   *string `json:"reason"`
	} `json:"bindings"`
}

type message struct {
	ID        string  `json:"id"`
	Role      string  `json:"role"`
	Text      *string `json:"text"`
	Status    string  `json:"status"`
	Reason    *string `json:"reason"`
	Backend   *string `json:"backend"`
	InReplyTo *string `json:"in_reply_to"`
	Notice    *string `json:"notice"`
}

type turn struct {
	Thread  thread    `json:"thread"`
	Message message   `json:"message"`
	Replies []message `json:"replies"`
}

type problem struct {
	Status    int     `json:"status"`
	Code      string  `json:"code"`
	Detail    string  `json:"detail"`
	RequestID string  `json:"request_id"`
	Retryable *bool   `json:"retryable"`
	Outcome   string  `json:"outcome"`
	Backend   *string `json:"backend"`
	MessageID *string `json:"message_id"`
	Vendor    *struct {
		Status int     `json:"status"`
		Code   *string `json:"code"`
	} `json:"vendor"`
	Errors []struct{ Field, Detail string } `json:"errors"`
}

// always is what holds for every answer: a request id, a problem object for every
// failure, a Retry-After where it makes sense, no secret.
func (a answer) always() {
	if a.header.Get("Chatmux-Request-Id") == "" {
		a.t.Errorf("%s: no Chatmux-Request-Id with %d %s", a.asked, a.status, a.body)
	}
	if bytes.Contains(a.body, []byte(canary)) || strings.Contains(fmt.Sprint(a.header), canary) {
		a.t.Errorf("%s: a secret is in the answer: %v %s", a.asked, a.header, a.body)
	}
	if a.status < 400 || len(a.body) == 0 {
		return
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Errorf("%s: %d without a problem object: %s %s", a.asked, a.status, a.header.Get("Content-Type"), a.body)
		return
	}
	// A replayed problem is that of the request which was answered first.
	ours := p.RequestID == a.header.Get("Chatmux-Request-Id") || a.header.Get("Idempotency-Replayed") == "true" && p.RequestID != ""
	if p.Status != a.status || p.Code == "" || !ours || p.Retryable == nil {
		a.t.Errorf("%s: a problem object that is not whole: %d %v %s", a.asked, a.status, a.header, a.body)
		return
	}
	again := false
	switch a.status {
	case 408, 409, 429, 503:
		again = p.Outcome == "none"
	}
	if *p.Retryable != again {
		a.t.Errorf("%s: retryable is %v with outcome %s: %s", a.asked, *p.Retryable, p.Outcome, a.body)
	}
	switch a.status {
	case 409, 429, 503:
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
			a.t.Errorf("%s: %d with Retry-After %q", a.asked, a.status, a.header.Get("Retry-After"))
		}
	}
}

// read decodes an answer of the wanted status.
func read[T any](a answer, status int) (v T) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %s", a.asked, a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.asked, err, a.body)
	}
	return v
}

// turn is the answer to a send that was answered.
func (a answer) turn() turn {
	a.t.Helper()
	return read[turn](a, 200)
}

// problem is an answer that failed as it should.
func (a answer) problem(status int, code string) problem {
	a.t.Helper()
	p := read[problem](a, status)
	if p.Code != code {
		a.t.Fatalf("%s: code %q, want %q: %s", a.asked, p.Code, code, a.body)
	}
	return p
}

// retryAfter is the header, in seconds; 0 where there is none.
func (a answer) retryAfter() int {
	seconds, _ := strconv.Atoi(a.header.Get("Retry-After"))
	return seconds
}

// answered is what a twin says to the first message of a thread.
func answered(text string) string { return bot.Answer(1, text, text) }

// texts of a turn's replies.
func (t turn) said() string {
	var all []string
	for _, r := range t.Replies {
		all = append(all, str(r.Text))
	}
	return strings.Join(all, "\n")
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// transcript reads all messages of a thread.
func (c *client) transcript(threadID string) (all []message) {
	c.t.Helper()
	for cursor := ""; ; {
		page := read[struct {
			Data       []message `json:"data"`
			NextCursor *string   `json:"next_cursor"`
		}](c.call("GET", "/v1/threads/"+threadID+"/messages?limit=200&cursor="+cursor, nil), 200)
		all = append(all, page.Data...)
		if cursor = str(page.NextCursor); cursor == "" {
			return all
		}
	}
}

// stored checks what a thread holds, through the API and by SQL alike: each
// message as its role and status.
func (h *house) stored(threadID string, want ...string) {
	t := h.scene.t
	t.Helper()
	var told []string
	for _, m := range h.transcript(threadID) {
		told = append(told, m.Role+" "+m.Status)
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("the API shows %v, want %v", told, want)
	}
	rows := h.scene.query("SELECT role, status FROM messages WHERE thread_id = ? ORDER BY seq", threadID)
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("stored is %v, want %v", rows, want)
	}
}

// threadOf finds the thread that holds a message.
func (h *house) threadOf(messageID *string) string {
	h.scene.t.Helper()
	rows := h.scene.query("SELECT thread_id FROM messages WHERE id = ?", str(messageID))
	if len(rows) != 1 {
		h.scene.t.Fatalf("message %q is stored %d times", str(messageID), len(rows))
	}
	return rows[0]
}

// nothingStored checks that no thread and no message is there.
func (s *scene) nothingStored() {
	s.t.Helper()
	if n := s.count("SELECT (SELECT COUNT(*) FROM threads) + (SELECT COUNT(*) FROM messages) + (SELECT COUNT(*) FROM idempotency_keys)"); n != 0 {
		s.t.Errorf("%d rows are stored of what was refused", n)
	}
}

// backendState is one backend as the API tells it.
type backendState struct {
	Name          string  `json:"name"`
	InFlight      int     `json:"in_flight"`
	CoolDownUntil *string `json:"cool_down_until"`
	Breaker       struct {
		State               string  `json:"state"`
		Since               *string `json:"since"`
		Cause               *string `json:"cause"`
		ConsecutiveFailures int     `json:"consecutive_failures"`
		Successes           int     `json:"successes"`
		Failures            int     `json:"failures"`
		OpenUntil           *string `json:"open_until"`
	} `json:"breaker"`
}

func (c *client) backend(name string) backendState {
	c.t.Helper()
	return read[backendState](c.call("GET", "/v1/backends/"+name, nil), 200)
}

// counted checks what a breaker has counted.
func (c *client) counted(name string, failures, successes int) {
	c.t.Helper()
	if b := c.backend(name).Breaker; b.Failures != failures || b.Successes != successes {
		c.t.Errorf("the breaker of %s has counted %d failures and %d successes, want %d and %d", name, b.Failures, b.Successes, failures, successes)
	}
}

// breakerIs checks a breaker's state.
func (c *client) breakerIs(name, state string) {
	c.t.Helper()
	if b := c.backend(name).Breaker; b.State != state {
		c.t.Errorf("the breaker of %s is %s, want %s: %+v", name, b.State, state, b)
	}
}
