package openai_test

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/adapters/openai"
	"chatmux/normalize"
)

func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Vendor{
		Spec: openai.Spec,
		Key:  "planted-openai-key",
		Settings: func() adapters.Settings {
			s := openai.Spec.Settings().(*openai.Settings)
			s.APIKey = normalize.NewSecret("planted-openai-key")
			s.Model = "some-model"
			s.System = "You are the help desk."
			return s
		},
	})
}
