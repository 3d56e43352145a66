// Package trial finds out which of an adapter's promises hold at the vendor that a
// config names: by talking to it, or by playing recorded traffic, whole and broken.
//
// The conformance suite of adapters proves more, but it needs a simulated vendor that
// can be stood on its head. What is proved here for the same reason has the same
// name.
package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Verdict says what was found out about a promise.
type Verdict string

// The verdicts.
const (
	Holds    Verdict = "holds"
	Broken   Verdict = "BROKEN"
	NotShown Verdict = "not shown" // the vendor gave no occasion to see it
)

// Result is a promise and what was found out about it.
type Result struct {
	Promise string
	Verdict Verdict
	Detail  string // what was seen, in one line
}

// Subject is an adapter under trial, with settings that were checked.
type Subject struct {
	Spec     adapters.Spec
	Settings adapters.Settings
	Env      adapters.Env
	Total    time.Duration // the longest that one call may take
}

// trial is one that runs.
type trial struct {
	Subject
	adapter adapters.Adapter
	report  func(Result)
}

func (s Subject) open(settings adapters.Settings) (adapters.Adapter, error) {
	return s.Spec.Open(settings, s.Env)
}

// copied gives settings that can be changed without changing those of the subject.
func (s Subject) copied() adapters.Settings {
	original := reflect.ValueOf(s.Settings)
	copied := reflect.New(original.Type().Elem())
	copied.Elem().Set(original.Elem())
	return copied.Interface()
}

func closeAdapter(a adapters.Adapter) {
	if c, ok := a.(io.Closer); ok {
		_ = c.Close() // connections of a trial
	}
}

// say reports a result: broken with an error, else as holding.
func (t *trial) say(promise string, err error, format string, args ...any) {
	r := Result{Promise: promise, Verdict: Holds, Detail: fmt.Sprintf(format, args...)}
	if err != nil {
		r.Verdict, r.Detail = Broken, err.Error()
	}
	t.report(r)
}

func (t *trial) notShown(promise, why string) { t.report(Result{promise, NotShown, why}) }

// talk is a conversation as the engine would keep it.
type talk struct {
	thread  normalize.Thread
	remote  normalize.Remote
	history []normalize.Message
}

// newTalk makes the thread of a number: its ids are the same in every trial, so that
// recorded requests can hold them.
func newTalk(n byte) *talk {
	return &talk{thread: normalize.Thread{
		ID:     normalize.FormatID(normalize.PrefixThread, [16]byte{6: 0x70, 8: 0x80, 15: n}),
		Tenant: "trial",
		User:   normalize.User{ID: fmt.Sprintf("trial-%d", n), Name: "Trial"},
		Mode:   normalize.ModeAI,
		Status: normalize.ThreadOpen,
	}}
}

func (c *talk) learn(told normalize.Remote) {
	if told.ThreadID != "" {
		c.remote.ThreadID = told.ThreadID
	}
	if told.UserID != "" {
		c.remote.UserID = told.UserID
	}
}

// begin prepares a conversation as the engine does before its first message.
func (t *trial) begin(ctx context.Context, n byte) (*talk, error) {
	c := newTalk(n)
	if creator, ok := adapters.As[adapters.UserCreator](t.adapter); ok {
		id, err := creator.CreateUser(ctx, c.thread.User)
		if err != nil {
			return nil, fmt.Errorf("creating the person: %w", err)
		}
		c.remote.UserID = id
	}
	if creator, ok := adapters.As[adapters.ThreadCreator](t.adapter); ok {
		made, err := creator.CreateThread(ctx, c.thread)
		if err != nil {
			return nil, fmt.Errorf("creating the conversation: %w", err)
		}
		c.learn(made.Remote)
	}
	return c, nil
}

// send sends one text, by Send or by Stream, and keeps what came of it. The pieces
// are those that Stream has shown.
func (t *trial) send(ctx context.Context, c *talk, text string, streamed bool) (reply adapters.Reply, pieces []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Total, &normalize.Error{Kind: normalize.KindTimeout})
	defer cancel()
	turn := adapters.Turn{Thread: c.thread, Remote: c.remote, Message: normalize.Message{
		ID:       normalize.FormatID(normalize.PrefixMessage, [16]byte{6: 0x70, 8: 0x80, 15: byte(len(c.history))}),
		ThreadID: c.thread.ID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: text, Status: normalize.StatusPending,
	}}
	if adapters.Has[adapters.History](t.adapter) {
		turn.History = c.history
	}
	streamer, streams := adapters.As[adapters.Streamer](t.adapter)
	switch {
	case !streamed:
		reply, err = t.adapter.Send(ctx, turn)
	case !streams:
		err = errors.New("the adapter does not stream")
	default:
		reply, err = streamer.Stream(ctx, turn, func(d adapters.Delta) error {
			pieces = append(pieces, d.Text)
			return nil
		})
	}
	if err != nil {
		return reply, pieces, err
	}
	c.learn(reply.Remote)
	turn.Message.Status = normalize.StatusSent
	c.history = append(append(c.history, turn.Message), reply.Messages...)
	return reply, pieces, nil
}

// said gives the texts of a reply as one.
func said(reply adapters.Reply) string {
	var b strings.Builder
	for _, m := range reply.Messages {
		b.WriteString(m.Text)
	}
	return b.String()
}

// whole checks that a reply holds complete messages with text or files, and nothing
// else.
func whole(reply adapters.Reply) error {
	for _, m := range reply.Messages {
		if m.Status != normalize.StatusComplete {
			return fmt.Errorf("a reply has the status %s", m.Status)
		}
		if m.Text == "" && len(m.Attachments) == 0 {
			return errors.New("a reply has neither text nor file")
		}
	}
	return nil
}

// leaks reports whether an error, or what it wraps, shows a secret.
func leaks(err error, key normalize.Secret) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if key.Redact(fmt.Sprintf("%v %+v", err, err)) != fmt.Sprintf("%v %+v", err, err) {
			return true
		}
	}
	return false
}

// secretsOf lists the secrets in settings.
func secretsOf(settings adapters.Settings) []normalize.Secret {
	var list []normalize.Secret
	eachSecret(reflect.ValueOf(settings).Elem(), func(v reflect.Value) {
		if secret, ok := v.Interface().(normalize.Secret); ok && !secret.IsZero() {
			list = append(list, secret)
		}
	})
	return list
}

// eachSecret visits the secrets of a struct and of the structs within it.
func eachSecret(v reflect.Value, visit func(reflect.Value)) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.Type() == reflect.TypeFor[normalize.Secret]():
			visit(f)
		case f.Kind() == reflect.Struct && f.CanInterface():
			eachSecret(f, visit)
		}
	}
}

// excerpt shows the beginning of a text on one line.
func excerpt(text string) string { return fmt.Sprintf("%q", normalize.Excerpt(text, 60)) }

// listed reads a list to its end, at most 20 pages of it.
func listed[T any](read func(adapters.Page) (items []T, next string, err error)) ([]T, error) {
	var all []T
	var page adapters.Page
	for range 20 {
		items, next, err := read(page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		page.Cursor = next
	}
	return all, nil
}

func (t *trial) messages(ctx context.Context, remote normalize.Remote) ([]normalize.Message, error) {
	lister, _ := adapters.As[adapters.MessageLister](t.adapter)
	all, err := listed(func(p adapters.Page) ([]normalize.Message, string, error) {
		page, err := lister.ListMessages(ctx, remote, p)
		return page.Messages, page.NextCursor, err
	})
	if err == nil && !slices.ContainsFunc(all, func(m normalize.Message) bool { return m.CreatedAt.IsZero() }) {
		slices.SortStableFunc(all, func(a, b normalize.Message) int { return a.CreatedAt.Compare(b.CreatedAt) })
	}
	return all, err
}

func (t *trial) threads(ctx context.Context) ([]string, error) {
	lister, _ := adapters.As[adapters.ThreadLister](t.adapter)
	return listed(func(p adapters.Page) (ids []string, next string, err error) {
		page, err := lister.ListThreads(ctx, p)
		for _, thread := range page.Threads {
			ids = append(ids, thread.Remote.ThreadID)
		}
		return ids, page.NextCursor, err
	})
}
