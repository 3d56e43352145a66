// Package echo is an adapter without a vendor: the bot says what it was told. It
// is there to try routes and callers without any account, and to be copied by
// whoever adds a vendor: docs/adding-an-adapter.md walks through it.
package echo

import (
	"context"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Spec is what adapters/all lists, and the only name of a vendor's package that
// the rest of chatmux uses.
//
// An adapter with a vendor also sets Twin and TwinPath: its simulated vendor, for
// `base_url: sandbox` and for the conformance suite.
var Spec = adapters.Spec{
	Name:     "echo",
	Summary:  "says what it was told; no vendor, no account",
	Settings: func() adapters.Settings { return new(Settings) },
	Open:     open,
}

// Settings is the `settings` block of a backend. Echo needs none.
//
// An adapter with a vendor has at least these fields, and the methods Check and
// Endpoint (see adapters.Checker and adapters.Remote):
//
//	BaseURL adapters.BaseURL `yaml:"base_url" doc:"where the vendor's API lives"`
//	APIKey  normalize.Secret `yaml:"api_key" doc:"the account's key"`
type Settings struct{}

// open makes the adapter. The settings have passed Check by now, so they are
// complete. An adapter with a vendor builds its one vendorhttp.Client here.
func open(adapters.Settings, adapters.Env) (adapters.Adapter, error) {
	return adapter{}, nil
}

type adapter struct{}

// Send answers with the text of the turn, byte for byte.
//
// An adapter with a vendor does three things here and no more: it writes the
// vendor's request, makes it once by vendorhttp, and reads the answer. It neither
// tries again nor logs. What it cannot read is a *normalize.Error, never an empty
// reply: adaptertest holds it to that.
func (adapter) Send(_ context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return adapters.Reply{
		Messages: []normalize.Message{{
			Role:   normalize.RoleAssistant,
			Type:   normalize.TypeText,
			Text:   turn.Message.Text,
			Status: normalize.StatusComplete,
		}},
	}, nil
}

// HistoryLimits is the talent of an adapter whose vendor keeps no conversation.
// Echo needs nothing of the past; that it has the talent says that it may be
// asked in place of any other, because nothing is left behind here.
//
// A talent is a method that is there or is not: see the list in package adapters.
// Leave out what the vendor cannot do.
func (adapter) HistoryLimits() adapters.HistoryLimits { return adapters.HistoryLimits{} }
