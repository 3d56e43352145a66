package openai_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/openai"
	"chatmux/adapters/openai/openaitwin"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

func TestEverythingWrongWithTheSettingsIsReported(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*openai.Settings)
		want   string // fields, a space between them
	}{
		{"nothing", func(*openai.Settings) {}, ""},
		{"no key is fine", func(s *openai.Settings) { s.APIKey = normalize.Secret{} }, ""},
		{"no history is fine", func(s *openai.Settings) { s.History = openai.History{} }, ""},
		{"empty", func(s *openai.Settings) { *s = openai.Settings{} }, "base_url model"},
		{"path of the call", func(s *openai.Settings) { s.BaseURL += "/chat/completions" }, "base_url"},
		{"negative", func(s *openai.Settings) { s.History.Messages = -1 }, "history.messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openai.Spec.Settings().(*openai.Settings)
			s.BaseURL, s.APIKey, s.Model = "https://llm.example.com/v1", normalize.NewSecret("k"), "m"
			c.change(s)
			var fields []string
			s.Check(func(field, problem string) {
				fields = append(fields, field)
				if problem == "" {
					t.Errorf("%s is reported without saying what is wrong", field)
				}
			})
			if got := strings.Join(fields, " "); got != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func TestHistoryLimitsAreTheSettings(t *testing.T) {
	for _, c := range []struct {
		messages int
		bytes    normalize.ByteSize
		want     adapters.HistoryLimits
	}{
		{40, 64 << 10, adapters.HistoryLimits{Messages: 40, Bytes: 64 << 10}},
		{0, 0, adapters.HistoryLimits{}},
		{0, 64 << 10, adapters.HistoryLimits{}}, // at most no message: nothing
		{40, 0, adapters.HistoryLimits{}},
	} {
		a := open(t, "http://127.0.0.1:1/v1", func(s *openai.Settings) { s.History = openai.History{Messages: c.messages, Bytes: c.bytes} })
		if got := a.(adapters.History).HistoryLimits(); got != c.want {
			t.Errorf("%d messages, %d bytes: %+v, want %+v", c.messages, c.bytes, got, c.want)
		}
	}
}

func TestServerWithoutAKeyGetsNoAuthorization(t *testing.T) {
	twin := httptest.NewServer(openaitwin.New(openaitwin.Options{Model: "some-model"}))
	defer twin.Close()
	a := open(t, twin.URL+openaitwin.Path, func(s *openai.Settings) { s.APIKey = normalize.Secret{} })
	reply, err := a.Send(context.Background(), adapters.Turn{Message: normalize.Message{Text: "hello"}})
	if err != nil || len(reply.Messages) != 1 || reply.Messages[0].Text != bot.Answer(1, "hello", "hello") {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestReplyTellsModelAndIDs(t *testing.T) {
	twin := httptest.NewServer(openaitwin.New(openaitwin.Options{Model: "some-model"}))
	defer twin.Close()
	reply, err := open(t, twin.URL+openaitwin.Path, nil).Send(context.Background(), adapters.Turn{Message: normalize.Message{Text: "hello"}})
	if err != nil {
		t.Fatal(err)
	}
	m := reply.Messages[0]
	if m.Model != "some-model" || m.RemoteID == "" || m.CreatedAt.IsZero() || !strings.Contains(string(m.Raw), `"finish_reason"`) {
		t.Errorf("model %q, id %q, time %s, raw %s", m.Model, m.RemoteID, m.CreatedAt, m.Raw)
	}
	if reply.Remote != (normalize.Remote{}) {
		t.Errorf("remote ids %+v: the server keeps no conversation", reply.Remote)
	}
}
