package echo_test

import (
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/adaptertest"
	"chatmux/adapters/echo"
)

func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Vendor{
		Spec:     echo.Spec,
		Settings: func() adapters.Settings { return new(echo.Settings) },
		Answer:   func(_ int, _, text string) string { return text },
	})
}
