package altur

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/normalize"
)

// Not parallel: the suite looks for goroutines that are left.
func TestConformance(t *testing.T) {
	for _, shape := range []string{ShapeAgent, ShapeChatbot} {
		t.Run(shape, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Vendor{
				Spec: Spec,
				Key:  testKey,
				Settings: func() adapters.Settings {
					s := Spec.Settings().(*Settings)
					s.APIKey = normalize.NewSecret(testKey)
					s.AgentID = "7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30"
					s.Shape = shape
					return s
				},
			})
		})
	}
}
