package rest

import (
	"errors"
	"io"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// collect reads an event stream to the marks that say that the answer is whole.
func (v *vendor) collect(told *vendorhttp.Telling, head vendorhttp.Answer, asked normalize.Remote) (adapters.Reply, error) {
	t := telling{vendor: v, how: v.about.Stream, told: told, head: head, remote: asked}
	err := t.read()
	if err == nil {
		err = told.Finish()
	}
	switch {
	case err != nil:
	case told.Text() == "":
		err = head.Invalid("the backend's answer has no text")
	case t.remote.ThreadID == "" && v.history == nil:
		err = head.Invalid("the backend's answer names no conversation")
	}
	if t.foreign && !told.Shown() { // then nothing of it is certain
		return adapters.Reply{}, err
	}
	reply := adapters.Reply{Remote: t.remote, Skipped: told.Skipped()}
	if said := told.Text(); said != "" {
		t.message.Role, t.message.Type, t.message.Text = normalize.RoleAssistant, normalize.TypeText, said
		t.message.Status = normalize.StatusComplete
		if err != nil {
			t.message.Status = normalize.StatusIncomplete
		}
		reply.Messages = []normalize.Message{t.message}
	}
	return reply, told.Failure(err)
}

// telling is the one answer that is taken out of a stream.
type telling struct {
	vendor  *vendor
	how     *Stream
	told    *vendorhttp.Telling
	head    vendorhttp.Answer
	remote  normalize.Remote
	message normalize.Message // all but its text
	foreign bool              // an event named another conversation
}

// read reads to the end mark: the event that says so, the end word, or both.
func (t *telling) read() error {
	done := t.how.Done.Path == ""
	for {
		data, err := t.told.Next()
		switch {
		case errors.Is(err, io.EOF) && !done:
			return t.told.Truncated("the backend's stream ended without the event that says that the answer is whole")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		event := gjson.ParseBytes(data)
		if err := t.take(event); err != nil {
			return err
		}
		if t.how.Done.Path != "" && t.how.Done.holds(event) {
			done = true
			t.message.Raw = normalize.CleanBytes([]byte(event.Raw))
			if t.how.End == "" {
				return nil
			}
		}
	}
}

// take takes an event in, and shows its text.
func (t *telling) take(event gjson.Result) error {
	where := t.how.RemoteID
	if where == "" {
		where = t.vendor.about.Send.Reply.RemoteID
	}
	if err := tell(&t.remote.ThreadID, where.wordIn(event), t.head); err != nil {
		t.foreign = true
		return err
	}
	if failure := t.vendor.failure(event, t.head); failure != nil {
		return failure
	}
	id := t.how.ID.wordIn(event)
	if id != "" && t.message.RemoteID != "" && id != t.message.RemoteID {
		t.told.Skip() // another answer
		return nil
	}
	if id != "" {
		t.message.RemoteID = id
	}
	if at := t.how.CreatedAt.timeIn(event); t.message.CreatedAt.IsZero() {
		t.message.CreatedAt = at
	}
	if !t.how.When.holds(event) {
		return nil
	}
	switch piece := t.how.Delta.in(event); {
	case piece.Type == gjson.String:
		return t.told.Say(piece.Raw)
	case present(piece):
		return t.head.Invalid("the backend's stream holds a text that is not a text")
	}
	return nil
}
