package trial

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The texts that a live trial sends. Vendors charge for answers, so there are few.
const (
	firstText  = `Hello! This is a test of a connection. "Quotes", \backslashes\ and Grüße 😀 belong to it.`
	secondText = "This is the second message of the test."
	otherText  = "This is a test in another conversation."
)

// Live talks to the vendor that the settings name, in two conversations of a few
// messages, and reports each promise as soon as it is known. What it made it erases
// where the vendor can. The error says that the trial could not be made at all.
func Live(ctx context.Context, s Subject, report func(Result)) error {
	adapter, err := s.open(s.Settings)
	if err != nil {
		return err
	}
	defer closeAdapter(adapter)
	t := &trial{Subject: s, adapter: adapter, report: report}
	one := t.converse(ctx)
	if one == nil {
		return ctx.Err()
	}
	other := t.apart(ctx, one)
	t.streamed(ctx, other)
	t.read(ctx, one)
	t.refusesWrongKey(ctx, one)
	t.silenced(ctx, one)
	t.erased(ctx, one, other)
	return ctx.Err()
}

// converse speaks the two messages of the first conversation; nil where the first was
// not answered, so that nothing else can be shown.
func (t *trial) converse(ctx context.Context) *talk {
	const promise = "healthy_reply"
	c, err := t.begin(ctx, 1)
	if err != nil {
		t.say(promise, err, "")
		return nil
	}
	reply, _, err := t.send(ctx, c, firstText, false)
	if err == nil {
		err = whole(reply)
	}
	switch {
	case err != nil:
		t.say(promise, err, "")
		return nil
	case len(reply.Messages) == 0:
		t.notShown(promise, "the message was taken, and no answer came with it")
	default:
		t.say(promise, nil, "the bot says %s", excerpt(said(reply)))
	}
	known := c.remote
	reply, _, err = t.send(ctx, c, secondText, false)
	stateless := adapters.Has[adapters.History](t.adapter)
	switch {
	case err != nil:
	case stateless && known != normalize.Remote{}:
		err = errors.New("the history goes along, and yet the vendor tells an id")
	case !stateless && known.ThreadID == "":
		err = errors.New("the conversation has no id")
	case c.remote != known:
		err = fmt.Errorf("the conversation was %q and became %q", known.ThreadID, c.remote.ThreadID)
	}
	t.say("remote_id_round_trip", err, "the second message went to the same conversation, %q", known.ThreadID)
	return c
}

// apart begins a second conversation.
func (t *trial) apart(ctx context.Context, one *talk) *talk {
	c, err := t.begin(ctx, 2)
	if err == nil {
		_, _, err = t.send(ctx, c, otherText, false)
	}
	if err == nil && c.remote.ThreadID != "" && c.remote.ThreadID == one.remote.ThreadID {
		err = fmt.Errorf("both threads are the conversation %q", c.remote.ThreadID)
	}
	t.say("threads_are_apart", err, "another thread is another conversation")
	if err != nil {
		return nil
	}
	return c
}

func (t *trial) streamed(ctx context.Context, c *talk) {
	if c == nil || !adapters.Has[adapters.Streamer](t.adapter) {
		return
	}
	reply, pieces, err := t.send(ctx, c, secondText, true)
	if err == nil {
		err = whole(reply)
	}
	if err == nil && strings.Join(pieces, "") != said(reply) {
		err = errors.New("what was shown is not what is kept")
	}
	if err == nil && len(pieces) < 2 {
		t.notShown("stream_is_the_answer", fmt.Sprintf("the answer came in %d pieces", len(pieces)))
		return
	}
	t.say("stream_is_the_answer", err, "the answer came in %d pieces, with its end mark", len(pieces))
}

// read reads back what was said, by the calls that are there.
func (t *trial) read(ctx context.Context, c *talk) {
	if reader, ok := adapters.As[adapters.ThreadReader](t.adapter); ok {
		thread, err := reader.ReadThread(ctx, c.remote)
		if err == nil && thread.Remote.ThreadID != c.remote.ThreadID {
			err = fmt.Errorf("the conversation that was read is %q", thread.Remote.ThreadID)
		}
		t.say("thread_is_read", err, "the conversation is read under its id")
	}
	if adapters.Has[adapters.MessageLister](t.adapter) {
		messages, err := t.messages(ctx, c.remote)
		if err == nil {
			err = contains(messages, firstText, secondText)
		}
		t.say("messages_are_listed_whole_and_in_order", err, "%d messages are listed, ours among them word for word", len(messages))
	}
	if adapters.Has[adapters.ThreadLister](t.adapter) {
		ids, err := t.threads(ctx)
		if err == nil && !slices.Contains(ids, c.remote.ThreadID) {
			err = fmt.Errorf("the conversation is not among the %d that are listed first", len(ids))
		}
		t.say("threads_are_listed_whole", err, "the conversation is among %d", len(ids))
	}
}

// contains checks that what the person said is listed, word for word and in order.
func contains(messages []normalize.Message, texts ...string) error {
	for _, m := range messages {
		if len(texts) > 0 && m.Role == normalize.RoleUser && m.Text == texts[0] {
			texts = texts[1:]
		}
	}
	if len(texts) > 0 {
		return fmt.Errorf("the list does not hold, word for word, %s", excerpt(texts[0]))
	}
	return nil
}

// refusesWrongKey sends with another key. A vendor that takes it was not protected.
func (t *trial) refusesWrongKey(ctx context.Context, c *talk) {
	const promise = "wrong_key_is_unauthorized"
	settings := t.copied()
	const wrong = "not-the-key-of-this-account"
	changed := 0
	eachSecret(reflect.ValueOf(settings).Elem(), func(v reflect.Value) {
		if !v.IsZero() {
			v.Set(reflect.ValueOf(normalize.NewSecret(wrong)))
			changed++
		}
	})
	if changed == 0 {
		t.notShown(promise, "the settings have no key")
		return
	}
	adapter, err := t.open(settings)
	if err != nil {
		t.say(promise, err, "")
		return
	}
	defer closeAdapter(adapter)
	other := &trial{Subject: t.Subject, adapter: adapter}
	visitor := *c
	_, _, err = other.send(ctx, &visitor, secondText, false)
	switch failure := normalize.AsError(err); {
	case err == nil:
		err = errors.New("the vendor takes a message with a wrong key")
	case failure.Kind != normalize.KindUnauthorized:
		err = fmt.Errorf("a wrong key is %s, which is not unauthorized", failure)
	case leaks(err, normalize.NewSecret(wrong)):
		err = errors.New("the error shows the key")
	default:
		err = nil
	}
	t.say(promise, err, "a wrong key is refused, and not shown in the error")
}

// silenced hands the conversation to a human and back.
func (t *trial) silenced(ctx context.Context, c *talk) {
	const promise = "human_mode_silences_the_bot"
	switcher, ok := adapters.As[adapters.ModeSwitcher](t.adapter)
	if !ok {
		return
	}
	err := switcher.SwitchMode(ctx, c.remote, normalize.ModeHuman)
	if err == nil {
		c.thread.Mode = normalize.ModeHuman
		var reply adapters.Reply
		reply, _, err = t.send(ctx, c, secondText, false)
		if err == nil && len(reply.Messages) > 0 {
			err = fmt.Errorf("the bot answers all the same: %s", excerpt(said(reply)))
		}
	}
	if back := switcher.SwitchMode(ctx, c.remote, normalize.ModeAI); err == nil {
		err = back
	}
	t.say(promise, err, "a conversation that a human has is taken without an answer, and handed back")
}

// erased deletes the conversations of the trial.
func (t *trial) erased(ctx context.Context, made ...*talk) {
	const promise = "deleted_thread_is_gone"
	deleter, ok := adapters.As[adapters.ThreadDeleter](t.adapter)
	if !ok {
		return
	}
	var errs []error
	for _, c := range made {
		if c != nil {
			errs = append(errs, deleter.DeleteThread(ctx, c.remote))
		}
	}
	err := errors.Join(errs...)
	if reader, ok := adapters.As[adapters.ThreadReader](t.adapter); ok && err == nil {
		if _, gone := reader.ReadThread(ctx, made[0].remote); gone == nil {
			err = errors.New("a conversation that was deleted is read all the same")
		}
	}
	t.say(promise, err, "the conversations of this trial are deleted")
}
