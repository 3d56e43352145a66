package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"chatmux/adapters"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// patience is how long a case waits for what must happen. It is not a limit that
// an adapter has to keep: only a case that fails waits so long. It is a variable
// for the tests of the suite, in which cases fail on purpose.
var patience = 20 * time.Second

// roomy are limits that nothing healthy reaches, on the slowest machine.
var roomy = adapters.Env{Connect: 20 * time.Second, FirstByte: 20 * time.Second, Idle: 20 * time.Second, MaxInFlight: 64}

// bench is what one case works with: a twin on loopback and an adapter for it.
type bench struct {
	Vendor
	server  *sandbox.Server // nil where there is no vendor
	adapter adapters.Adapter
	opened  []adapters.Adapter
	threads int
	streams bool // what is sent is sent by Stream
}

func newBench(v Vendor, streams bool) (*bench, error) {
	b := &bench{Vendor: v, streams: streams}
	if v.Spec.Twin != nil {
		return b, b.serve(func(twin http.Handler) http.Handler { return twin })
	}
	var err error
	b.adapter, err = b.open(v.Settings(), roomy)
	return b, err
}

// serve starts the twin anew, behind a wrapper, and opens an adapter for it.
func (b *bench) serve(wrap func(twin http.Handler) http.Handler) error {
	if b.server != nil {
		_ = b.server.Close()
	}
	settings := b.Settings()
	server, err := sandbox.Start(wrap(b.Spec.Twin(settings)), sandbox.Options{Name: b.Spec.Name})
	if err != nil {
		return err
	}
	b.server = server
	b.adapter, err = b.openAt(server.URL()+b.Spec.TwinPath, roomy)
	return err
}

// openAt opens a further adapter, for a base URL and with limits of its own.
func (b *bench) openAt(baseURL string, env adapters.Env) (adapters.Adapter, error) {
	settings := b.Settings()
	remote, ok := settings.(adapters.Remote)
	if !ok {
		return nil, errors.New("the settings of an adapter that has a twin implement adapters.Remote")
	}
	*remote.Endpoint() = adapters.BaseURL(baseURL)
	return b.open(settings, env)
}

func (b *bench) open(settings adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
	a, err := b.Spec.Open(settings, env)
	if err != nil {
		return nil, fmt.Errorf("Open refuses good settings: %w", err)
	}
	b.opened = append(b.opened, a)
	return a, nil
}

// twinURL is the base URL of the twin.
func (b *bench) twinURL() string { return b.server.URL() + b.Spec.TwinPath }

// with makes the same bench with another adapter on the same twin.
func (b *bench) with(env adapters.Env) (*bench, error) {
	a, err := b.openAt(b.twinURL(), env)
	if err != nil {
		return nil, err
	}
	other := *b
	other.adapter = a
	return &other, nil
}

func (b *bench) close() {
	if b.server != nil {
		_ = b.server.Close()
	}
	for _, a := range b.opened {
		closeAdapter(a)
	}
	b.opened = nil
}

// closeAdapter lets go of an adapter's idle connections, where it has that to do.
func closeAdapter(a adapters.Adapter) {
	if c, ok := a.(io.Closer); ok {
		_ = c.Close()
	}
}

// conversation is what chatmux knows of a thread: what the engine would keep.
type conversation struct {
	thread  normalize.Thread
	remote  normalize.Remote
	history []normalize.Message
}

// begin makes a thread and prepares it as the engine does before its first
// message: the person, then the conversation, where the adapter can create them.
func (b *bench) begin(ctx context.Context) (*conversation, error) {
	b.threads++
	c := newConversation(b.threads)
	return c, b.prepare(ctx, c)
}

// newConversation makes a thread of its own, with a person of its own.
func newConversation(n int) *conversation {
	id := [16]byte{6: 0x70, 8: 0x80, 14: byte(n >> 8), 15: byte(n)}
	return &conversation{thread: normalize.Thread{
		ID:       normalize.FormatID(normalize.PrefixThread, id),
		Tenant:   "acme",
		User:     normalize.User{ID: fmt.Sprint("person-", n), Name: fmt.Sprintf("Rosa %d «Ñ»", n), Email: fmt.Sprintf("rosa%d@example.test", n)},
		Mode:     normalize.ModeAI,
		Status:   normalize.ThreadOpen,
		Metadata: map[string]string{"Idempotency-Key": metadataCanary},
	}}
}

// metadataCanary stands in the metadata of every thread and message.
const metadataCanary = "canary-of-the-metadata"

func (b *bench) prepare(ctx context.Context, c *conversation) error {
	if creator, ok := adapters.As[adapters.UserCreator](b.adapter); ok {
		id, err := creator.CreateUser(ctx, c.thread.User)
		if err != nil {
			return fmt.Errorf("CreateUser: %w", err)
		}
		c.remote.UserID = id
	}
	if creator, ok := adapters.As[adapters.ThreadCreator](b.adapter); ok {
		created, err := creator.CreateThread(ctx, c.thread)
		if err != nil {
			return fmt.Errorf("CreateThread: %w", err)
		}
		c.learn(created.Remote)
	}
	return nil
}

// learn keeps the vendor's ids as far as it told them.
func (c *conversation) learn(remote normalize.Remote) {
	if remote.ThreadID != "" {
		c.remote.ThreadID = remote.ThreadID
	}
	if remote.UserID != "" {
		c.remote.UserID = remote.UserID
	}
}

// turn makes the next turn of a conversation.
func (b *bench) turn(c *conversation, text string) adapters.Turn {
	t := adapters.Turn{
		Thread: c.thread,
		Remote: c.remote,
		Message: normalize.Message{
			ID:       normalize.FormatID(normalize.PrefixMessage, [16]byte{6: 0x70, 8: 0x80, 15: byte(len(c.history))}),
			ThreadID: c.thread.ID,
			Role:     normalize.RoleUser,
			Type:     normalize.TypeText,
			Text:     text,
			Status:   normalize.StatusPending,
			Metadata: map[string]string{"Idempotency-Key": metadataCanary},
		},
	}
	if adapters.Has[adapters.History](b.adapter) {
		t.History = c.history
	}
	return t
}

// send sends one text and keeps what came of it, as the engine would.
func (b *bench) send(ctx context.Context, c *conversation, text string) (adapters.Reply, error) {
	turn := b.turn(c, text)
	reply, err := b.give(ctx, turn)
	if err != nil {
		return reply, err
	}
	c.learn(reply.Remote)
	turn.Message.Status = normalize.StatusSent
	c.history = append(append(c.history, turn.Message), reply.Messages...)
	return reply, nil
}

// talk begins a conversation and sends it texts, all of which must succeed.
func (b *bench) talk(ctx context.Context, texts ...string) (*conversation, error) {
	c, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if _, err := b.send(ctx, c, text); err != nil {
			return nil, fmt.Errorf("healthy send: %w", err)
		}
	}
	return c, nil
}

// said checks that a reply is exactly one complete answer with this text, or none
// where the vendor answers later.
func (b *bench) said(reply adapters.Reply, text string) error {
	if b.NoReplies {
		if len(reply.Messages) != 0 {
			return fmt.Errorf("%d replies; this vendor answers later", len(reply.Messages))
		}
		return nil
	}
	if len(reply.Messages) != 1 {
		return fmt.Errorf("%d replies, want one: %q", len(reply.Messages), text)
	}
	m := reply.Messages[0]
	if m.Text != text {
		return fmt.Errorf("the reply is not word for word what the vendor said:\n got %s\nwant %s", excerpt(m.Text), excerpt(text))
	}
	if m.Role != normalize.RoleAssistant || m.Type != normalize.TypeText || m.Status != normalize.StatusComplete {
		return fmt.Errorf("the reply has role %q, type %q, status %q; want assistant, text, complete", m.Role, m.Type, m.Status)
	}
	return nil
}

// anyPhase is a phase that is not compared.
const anyPhase normalize.Phase = -1

// wantError is a failure that is due. Kinds lists what is allowed; a zero status
// and retryAfter are not compared.
type wantError struct {
	kinds      []normalize.Kind
	phase      normalize.Phase
	status     int
	retryAfter time.Duration
}

// answered is a failure after a status line was read, of one of these kinds.
func answered(kinds ...normalize.Kind) wantError {
	return wantError{kinds: kinds, phase: normalize.PhaseStatus}
}

// unanswered is a failure after the request had left and before a status line.
func unanswered(kinds ...normalize.Kind) wantError {
	return wantError{kinds: kinds, phase: normalize.PhaseWritten}
}

// with adds what the failure must tell of the answer.
func (w wantError) with(status int, retryAfter time.Duration) wantError {
	w.status, w.retryAfter = status, retryAfter
	return w
}

// check judges what Send returned: beside the failure there may be a text that is
// marked incomplete, and no other reply.
func (w wantError) check(reply adapters.Reply, err error) error {
	if err == nil {
		return fmt.Errorf("no error, and %d replies; want %s", len(reply.Messages), w.kinds)
	}
	if err := w.checkError(err); err != nil {
		return err
	}
	for _, m := range reply.Messages {
		if m.Status != normalize.StatusIncomplete || m.Text == "" {
			return fmt.Errorf("beside the error %v there is a reply of status %q with the text %s", err, m.Status, excerpt(m.Text))
		}
	}
	return nil
}

func (w wantError) checkError(err error) error {
	var e *normalize.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("the error is no *normalize.Error: %w", err)
	}
	for _, kind := range w.kinds {
		if e.Kind != kind {
			continue
		}
		switch {
		case w.phase != anyPhase && e.Phase != w.phase:
			return fmt.Errorf("kind %s has phase %s, want %s (%w)", e.Kind, e.Phase, w.phase, err)
		case w.status != 0 && e.VendorStatus != w.status:
			return fmt.Errorf("VendorStatus is %d, want %d (%w)", e.VendorStatus, w.status, err)
		case w.retryAfter != 0 && e.RetryAfter != w.retryAfter:
			return fmt.Errorf("RetryAfter is %s, want %s (%w)", e.RetryAfter, w.retryAfter, err)
		}
		return nil
	}
	return fmt.Errorf("kind %s, want %s (%w)", e.Kind, w.kinds, err)
}

// effects counts the requests that can change something at the vendor.
func effects(ledger []sandbox.Entry) int {
	n := 0
	for _, e := range ledger {
		if hasEffect(e) {
			n++
		}
	}
	return n
}

func hasEffect(e sandbox.Entry) bool {
	return e.Method != http.MethodGet && e.Method != http.MethodHead
}

// lastSend is the last request that can change something: an answer that comes later
// is read behind it.
func lastSend(ledger []sandbox.Entry) sandbox.Entry {
	for _, e := range slices.Backward(ledger) {
		if hasEffect(e) {
			return e
		}
	}
	return sandbox.Entry{}
}

// within runs f, and fails where it does not return in time.
func within(what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("%s: still running after %s", what, patience)
	}
}

// excerpt quotes the beginning and the end of a text.
func excerpt(s string) string {
	if len(s) <= 200 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q … %q (%d bytes)", s[:100], s[len(s)-80:], len(s))
}

// each runs f for every item and joins the failures, each with the item's name.
func each[T any](items []T, name func(T) string, f func(T) error) error {
	var failures []error
	for _, item := range items {
		if err := f(item); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name(item), err))
		}
	}
	return errors.Join(failures...)
}

func itself(s string) string { return s }
