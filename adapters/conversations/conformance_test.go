package conversations

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

func TestConformance(t *testing.T) {
	settings := func() *Settings {
		s := Spec.Settings().(*Settings)
		s.APIKey, s.ChatbotID = normalize.NewSecret(apiKey), chatbotID
		return s
	}
	for name, change := range map[string]func(*Settings){
		"completions": func(*Settings) {}, "web chat": withWebChat, "messages": styleMessages,
	} {
		t.Run(name, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec:      Spec,
				Settings:  func() adapters.Settings { s := settings(); change(s); return s },
				Key:       apiKey,
				NoReplies: name == "messages",
			})
		})
	}
}
