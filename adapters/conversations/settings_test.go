package conversations

import (
	"context"
	"io"
	"slices"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

func TestCheckNamesEveryFieldThatIsWrong(t *testing.T) {
	good := func() *Settings {
		s := Spec.Settings().(*Settings)
		s.APIKey, s.ChatbotID = normalize.NewSecret("k"), chatbotID
		return s
	}
	for _, c := range []struct {
		name   string
		change func(*Settings)
		want   []string
	}{
		{"complete", func(*Settings) {}, nil},
		{"sandbox", func(s *Settings) { s.BaseURL = adapters.Sandbox }, nil},
		{"style messages with a web chat", styleMessages, nil},
		{"style messages without one", func(s *Settings) { s.Style = StyleMessages }, []string{"web_chat"}},
		{"unknown style", func(s *Settings) { s.Style = "message" }, []string{"style"}},
		{"unknown spelling", func(s *Settings) { s.StreamField = "stream" }, []string{"stream_field"}},
		{"nothing at all", func(s *Settings) { *s = Settings{} }, []string{"base_url", "api_key", "chatbot_id", "style", "stream_field"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good()
			c.change(s)
			var got []string
			s.Check(func(field, _ string) { got = append(got, field) })
			if !slices.Equal(got, c.want) {
				t.Errorf("reported %v, want %v", got, c.want)
			}
		})
	}
}

func TestBaseURLIsTakenWithOrWithoutThePathOfTheAPI(t *testing.T) {
	for written, path := range map[string]string{
		"":             "/api",
		"/":            "/api",
		"/api":         "/api",
		"/api/":        "/api",
		"/api/v1":      "/api/v1",
		"/api/v1/":     "/api/v1",
		"/on-premises": "/on-premises/api",
	} {
		t.Run(written, func(t *testing.T) {
			v := newVendor(t, jsonAnswer(200, `{"conversationId":"c","content":"ok"}`))
			a := openAt(t, v.url+written, nil)
			if _, err := send(t, a, turnOf("hi", "")); err != nil {
				t.Fatal(err)
			}
			if got, want := v.ledger()[0].path, path+"/chatbots/"+chatbotID+"/completions/"; got != want {
				t.Errorf("path is %s, want %s", got, want)
			}
		})
	}
}

func TestTalentsFollowFromTheSettings(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Settings)
		creates bool
	}{
		{"completions", nil, false},
		{"completions with a web chat", withWebChat, true},
		{"messages", styleMessages, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openAt(t, "http://127.0.0.1:1", c.change)
			if _, ok := a.(adapters.ThreadCreator); ok != c.creates {
				t.Errorf("creates threads: %v, want %v", ok, c.creates)
			}
			for _, ok := range []bool{
				is[adapters.AttachmentSender](a), is[adapters.OperatorSender](a), is[adapters.ThreadReader](a), is[adapters.ThreadLister](a),
				is[adapters.MessageLister](a), is[adapters.MessageReader](a), is[adapters.ModeSwitcher](a), is[adapters.Uploader](a),
				is[adapters.RecordLister](a), is[adapters.RecordExporter](a), is[io.Closer](a),
			} {
				if !ok {
					t.Error("a talent that every account has is missing")
				}
			}
			for _, ok := range []bool{is[adapters.History](a), is[adapters.ThreadDeleter](a), is[adapters.Escalator](a), is[adapters.UserCreator](a)} {
				if ok {
					t.Error("a talent is claimed that the vendor does not have")
				}
			}
		})
	}
}

func is[T any](a adapters.Adapter) bool {
	_, ok := a.(T)
	return ok
}

func TestSettingsOfAnotherAdapterAreRefused(t *testing.T) {
	if _, err := Spec.Open(&struct{}{}, adapters.Env{}); err == nil {
		t.Error("opened with settings that are not this adapter's")
	}
}

func TestTheTwinTakesWhatTheSettingsSend(t *testing.T) {
	s := Spec.Settings().(*Settings)
	s.APIKey, s.ChatbotID, s.WebChat = normalize.NewSecret(apiKey), "bot of another form", "not-a-uuid"
	server := newTwinServer(t, Spec.Twin(s))
	*s.Endpoint() = adapters.BaseURL(server + Spec.TwinPath)
	a, err := Spec.Open(s, adapters.Env{})
	if err != nil {
		t.Fatal(err)
	}
	thread, err := a.(adapters.ThreadCreator).CreateThread(context.Background(), normalize.Thread{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(t, a, turnOf("hi", thread.Remote.ThreadID)); err != nil {
		t.Error(err)
	}
	if s.BotID() != "bot of another form" {
		t.Errorf("bot id is %q", s.BotID())
	}
}
