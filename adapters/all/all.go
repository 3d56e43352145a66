// Package all is the list of adapters that are linked into chatmux. It is the one
// shared file that a new vendor touches.
package all

import (
	"chatmux/adapters"
	"chatmux/adapters/altur"
	"chatmux/adapters/conversations"
	"chatmux/adapters/echo"
	"chatmux/adapters/openai"
	"chatmux/adapters/rest"
	"chatmux/adapters/sitegpt"
)

// Adapters lists every adapter, in the order in which people see them: the
// vendors, then what needs none.
func Adapters() []adapters.Spec {
	return []adapters.Spec{
		altur.Spec,
		sitegpt.Spec,
		conversations.Spec,
		openai.Spec,
		rest.Spec,
		echo.Spec,
	}
}
