package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"chatmux/normalize"
)

// maxAnswer bounds what is read of a server that may not be one of ours.
const maxAnswer = 64 << 20

// serverFlags say which running server a command talks to.
type serverFlags struct{ url, key string }

func (f *serverFlags) register(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&f.url, "server", "", usage)
	cmd.Flags().StringVar(&f.key, "key", os.Getenv("CHATMUX_KEY"), "the caller key (default: $CHATMUX_KEY)")
	cmd.Flags().Lookup("key").DefValue = "" // never shown in the help
}

func (f *serverFlags) client() (*client, error) {
	u, err := url.Parse(f.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &usageError{errors.New("--server is not a URL: write where a chatmux listens, as http://127.0.0.1:8080")}
	}
	return &client{url: strings.TrimRight(f.url, "/"), key: normalize.NewSecret(f.key)}, nil
}

// client calls a chatmux server's API.
type client struct {
	url string
	key normalize.Secret
}

// problem is what the server answers when it cannot do a thing.
type problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
	Outcome   string `json:"outcome"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`

	retryAfter string // the header, in seconds
}

// Error says it in the server's words, and what can be done about it.
func (p *problem) Error() string {
	s := fmt.Sprintf("%s (%s)", visible(p.Detail), p.Code)
	if len(p.Errors) > 1 || len(p.Errors) == 1 && !strings.Contains(p.Detail, p.Errors[0].Detail) {
		for _, e := range p.Errors {
			s += "\n  " + visible(e.Field+": "+e.Detail)
		}
	}
	switch {
	case p.Code == "unauthenticated":
		s += ": give a caller key by --key or $CHATMUX_KEY"
	case p.Code == "internal", p.Code == "storage_unavailable":
		s += ": look for " + p.RequestID + " in the server's log"
	case p.Code == "backend_unauthorized":
		s += ": look at this backend's key in the server's config"
	case p.Outcome == "unknown":
		s += ": the bot may have got the message, so chatmux does not send it again by itself"
	case p.Retryable && p.retryAfter != "":
		s += ": try again in " + p.retryAfter + " s"
	case p.Retryable:
		s += ": try again"
	}
	return s
}

// liveBackend is a backend as a running server tells it.
type liveBackend struct {
	Name          string   `json:"name"`
	Adapter       string   `json:"adapter"`
	Stateful      bool     `json:"stateful"`
	Capabilities  []string `json:"capabilities"`
	CoolDownUntil string   `json:"cool_down_until"`
	InFlight      int      `json:"in_flight"`
	MaxInFlight   int      `json:"max_in_flight"`
	Breaker       struct {
		State     string `json:"state"`
		Since     string `json:"since"`
		Cause     string `json:"cause"`
		Successes int    `json:"successes"`
		Failures  int    `json:"failures"`
	} `json:"breaker"`
}

func (c *client) backends(ctx context.Context) ([]liveBackend, error) {
	var list struct {
		Data []liveBackend `json:"data"`
	}
	err := c.get(ctx, "/v1/backends", &list)
	return list.Data, err
}

// backendNames are the backends of the server.
func (c *client) backendNames(ctx context.Context) ([]string, error) {
	list, err := c.backends(ctx)
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = b.Name
	}
	return names, err
}

func (c *client) get(ctx context.Context, path string, into any) error {
	return c.call(ctx, http.MethodGet, path, nil, into)
}

// call makes one request. A refusal of the server's is a *problem.
func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s was cut: %w", c.url, err)
	}
	if resp.StatusCode >= 400 {
		return c.refusal(resp, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s answered something that is not chatmux's JSON: is that a chatmux server? (%w)", c.url, err)
	}
	return nil
}

// stream makes one request and gives each event of the answer to take, with the head of
// the answer. It ends with the answer, whether or not that is whole, or with an error of
// take's. A refusal of the server's is a *problem.
func (c *client) stream(ctx context.Context, path string, body any, take func(head http.Header, name string, data []byte) error) error {
	req, err := c.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("the answer of %s was cut: %w", c.url, err)
		}
		return c.refusal(resp, b)
	}
	// The server writes an event as lines of name and data, one of each, and a blank one.
	lines := bufio.NewReader(io.LimitReader(resp.Body, maxAnswer))
	var name string
	var data []byte
	for {
		line, err := lines.ReadBytes('\n')
		switch field, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte(": ")); {
		case errors.Is(err, io.EOF): // what has no blank line behind it is no event
			return nil
		case err != nil:
			return fmt.Errorf("the answer of %s was cut: %w", c.url, err)
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			data = value
		case len(line) == 1 && data != nil: // not after a heartbeat
			if err := take(resp.Header, name, data); err != nil {
				return err
			}
			name, data = "", nil
		}
	}
}

// request makes a request with a JSON body, or with none.
func (c *client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, reader)
	if err == nil && body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// do sends a request with the key.
func (c *client) do(req *http.Request) (*http.Response, error) {
	if !c.key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: does chatmux run at %s?", err, c.url)
	}
	return resp, nil
}

// refusal is the error of an answer that is none.
func (c *client) refusal(resp *http.Response, body []byte) error {
	p := problem{retryAfter: resp.Header.Get("Retry-After")}
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return fmt.Errorf("%s answered %s: is that a chatmux server?", c.url, resp.Status)
	}
	return &p
}
