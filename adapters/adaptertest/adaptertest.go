// Package adaptertest is the conformance suite of adapters: what every vendor's
// code must promise, tested once for all of them, over real HTTP on loopback
// against the vendor's own twin. A vendor's test file calls Run and is done.
//
// Each case states its promise and the reason for it, and prints both when it is
// broken. What an adapter cannot do is not tested: the cases of a talent run where
// the adapter has it.
package adaptertest

import (
	"fmt"
	"slices"
	"testing"

	"chatmux/adapters"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)

// Vendor is an adapter under test. Spec and Settings are needed; Key is, where
// there is a vendor. The other fields only say in what this vendor differs.
type Vendor struct {
	Spec adapters.Spec

	// Settings returns complete valid settings that hold the key. The suite puts
	// the address of the twin into them.
	Settings func() adapters.Settings

	// Key is the planted key: the suite looks for it where it must not be.
	Key string

	// AuthHeader is the header that may hold the key; Authorization where empty.
	AuthHeader string

	// Answer is what the bot says in a turn of a conversation, counted from 1, whose
	// first text and whose latest text are given; bot.Answer where nil.
	Answer func(turn int, first, text string) string

	// StreamErrors are errors as the vendor tells them within a stream: at least one,
	// where the adapter has the talent adapters.Streamer.
	StreamErrors []StreamError

	// StreamStrays are events of a stream, as their data, that belong to another
	// answer than the one that is being told. Their text is Stray.
	StreamStrays []string

	// NoReplies is for a vendor that only takes a message: its answer comes later,
	// by another way, and Send gives no replies.
	NoReplies bool

	// Webhook says how the vendor calls webhooks, where the adapter has the talent
	// adapters.WebhookReceiver.
	Webhook Webhook
}

// StreamError is an event that tells an error.
type StreamError struct {
	Data string         // the event's data
	Kind normalize.Kind // what it must become
}

// Stray is the text that must never be shown.
const Stray = "STRAY"

// Run tests every promise of an adapter, each as a subtest.
func Run(t *testing.T, v Vendor) {
	for _, c := range casesOf(v) {
		t.Run(c.name, func(t *testing.T) {
			if err := runCase(v, c); err != nil {
				t.Error(c.broken(err))
			}
		})
	}
}

// promise is one case of the suite.
type promise struct {
	name    string // of the subtest
	promise string
	because string
	offline bool                        // needs no vendor
	streams bool                        // what is sent is sent by Stream
	twice   bool                        // it is a case of Stream, too
	talent  func(adapters.Adapter) bool // the talent that it is about; nil for what all must do
	test    func(*bench) error
}

// broken is what is printed where a promise is.
func (p promise) broken(err error) string {
	return fmt.Sprintf("promise: %s\nbecause: %s\nbroken:  %v", p.promise, p.because, err)
}

// casesOf selects the cases that apply: those that need no vendor, the others
// where there is one, and those of the talents that the adapter has.
func casesOf(v Vendor) []promise {
	if v.AuthHeader == "" {
		v.AuthHeader = "Authorization"
	}
	settings := v.Settings()
	if remote, ok := settings.(adapters.Remote); ok {
		*remote.Endpoint() = "http://127.0.0.1:1" // nobody is called
	}
	probe, err := v.Spec.Open(settings, roomy)
	if err != nil {
		probe = nil // the first case reports it
	}
	defer closeAdapter(probe)
	return slices.DeleteFunc(everyCase(), func(c promise) bool {
		return v.Spec.Twin == nil && !c.offline || c.talent != nil && (probe == nil || !c.talent(probe))
	})
}

func everyCase() []promise {
	once := slices.Concat(specCases, sendCases, faultCases, secretCases, resourceCases, talentCases, webhookCases)
	return slices.Concat(once, streamed(once), streamCases)
}

// runCase runs one case on a twin and an adapter of its own.
func runCase(v Vendor, c promise) error {
	if v.AuthHeader == "" {
		v.AuthHeader = "Authorization"
	}
	if v.Answer == nil {
		v.Answer = bot.Answer
	}
	b, err := newBench(v, c.streams)
	if err != nil {
		return err
	}
	defer b.close()
	return c.test(b)
}

// talent gives a talent that the adapter has: the case runs for no other.
func talent[T any](a adapters.Adapter) T {
	t, _ := adapters.As[T](a)
	return t
}
