package sitegpt

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

func TestConformance(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec: Spec,
				Key:  testKey,
				Settings: func() adapters.Settings {
					s := Spec.Settings().(*Settings)
					s.Version, s.APIKey, s.ChatbotID = version, normalize.NewSecret(testKey), "365062873485935184"
					return s
				},
			})
		})
	}
}
