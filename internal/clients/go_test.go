package clients_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// goClient is the official client for Go.
type goClient struct{ openai.Client }

func startGo(_ *testing.T, h *house) client {
	return goClient{openai.NewClient(option.WithBaseURL(h.url()), option.WithAPIKey(callersKey))}
}

func (c goClient) do(t *testing.T, r request) (got result) {
	t.Helper()
	switch r.Op {
	case "models":
		list := c.Models.ListAutoPaging(t.Context())
		for list.Next() {
			got.Models = append(got.Models, list.Current().ID)
		}
		return got.failed(list.Err())
	case "model":
		model, err := c.Models.Get(t.Context(), r.Model)
		if model != nil {
			got.Text = model.ID
		}
		return got.failed(err)
	}
	params := openai.ChatCompletionNewParams{Model: r.Model}
	for _, m := range r.Messages {
		switch m.Role {
		case "system":
			params.Messages = append(params.Messages, openai.SystemMessage(m.Content))
		case "user":
			params.Messages = append(params.Messages, openai.UserMessage(m.Content))
		case "assistant":
			params.Messages = append(params.Messages, openai.AssistantMessage(m.Content))
		}
	}
	if r.User != "" {
		params.User = openai.String(r.User)
	}
	if r.N > 0 {
		params.N = openai.Int(int64(r.N))
	}
	var response *http.Response
	options := []option.RequestOption{option.WithResponseInto(&response)}
	for name, value := range r.Headers {
		options = append(options, option.WithHeader(name, value))
	}
	defer func() {
		if response != nil {
			got.Thread = response.Header.Get("Chatmux-Thread")
		}
	}()
	if !r.Stream {
		answer, err := c.Chat.Completions.New(t.Context(), params, options...)
		if err == nil {
			got.Text, got.Finish, got.Total = answer.Choices[0].Message.Content, answer.Choices[0].FinishReason, answer.Usage.TotalTokens
		}
		return got.failed(err)
	}
	stream := c.Chat.Completions.NewStreaming(t.Context(), params, options...)
	defer stream.Close()
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		chunk := stream.Current()
		if !all.AddChunk(chunk) {
			t.Errorf("a chunk that does not belong to the answer: %s", chunk.RawJSON())
		}
		for _, choice := range chunk.Choices {
			if choice.Delta.Content != "" {
				got.Pieces++
			}
		}
	}
	if len(all.Choices) > 0 {
		got.Text, got.Finish = all.Choices[0].Message.Content, all.Choices[0].FinishReason
	}
	return got.failed(stream.Err())
}

// failed notes what the client says went wrong.
func (r result) failed(err error) result {
	if err == nil {
		return r
	}
	r.Error = &failure{Message: err.Error()}
	if e, ok := errors.AsType[*openai.Error](err); ok {
		r.Error = &failure{Name: "Error", Message: e.Message, Status: e.StatusCode, Code: e.Code, Param: e.Param, Type: e.Type}
	}
	return r
}
