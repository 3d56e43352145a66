package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// serverFlags say which running server a command talks to.
type serverFlags struct{ url, key string }

func (f *serverFlags) register(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&f.url, "server", "", usage)
	cmd.Flags().StringVar(&f.key, "key", os.Getenv("CHATMUX_KEY"), "the caller key (default: $CHATMUX_KEY)")
	cmd.Flags().Lookup("key").DefValue = "" // never shown in the help
}

func (f *serverFlags) client() *client {
	return &client{url: strings.TrimRight(f.url, "/"), key: f.key}
}

// client calls a chatmux server's API.
type client struct{ url, key string }

// problem is what the server answers when it cannot do a thing.
type problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
	RequestID string `json:"request_id"`
}

// Error says it in the server's words, and what can be done about it.
func (p *problem) Error() string {
	s := fmt.Sprintf("%s (%s)", p.Detail, p.Code)
	switch p.Code {
	case "unauthenticated":
		s += ": give a caller key by --key or $CHATMUX_KEY"
	case "internal", "storage_unavailable":
		s += ": look for " + p.RequestID + " in the server's log"
	default:
		if p.Retryable {
			s += ": try again"
		}
	}
	return s
}

func (c *client) get(ctx context.Context, path string, into any) error {
	return c.call(ctx, http.MethodGet, path, nil, into)
}

func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, reader)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		var p problem
		if json.Unmarshal(b, &p) != nil || p.Code == "" {
			return fmt.Errorf("%s answered %s: is that a chatmux server?", c.url, resp.Status)
		}
		return &p
	}
	if err := json.Unmarshal(b, into); err != nil {
		return errors.Join(fmt.Errorf("%s answered something that is not chatmux's JSON", c.url), err)
	}
	return nil
}
