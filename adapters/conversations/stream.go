package conversations

import (
	"context"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Stream is Send with the streaming switch on. The stream is whole with the frame
// that says done, and with nothing else: [DONE], on which one of the vendor's
// example clients stops, is passed over, since no document says that the server
// sends it. The text of the last frame counts, the conversation's id is read in all
// spellings, and citations are those of the last frame.
func (c *completions) Stream(ctx context.Context, turn adapters.Turn, emit func(adapters.Delta) error) (adapters.Reply, error) {
	return c.ask(ctx, turn, true, emit)
}

// collect reads an event stream to the frame that says done. asked is the
// conversation that was written to, empty for a new one.
func collect(told *vendorhttp.Telling, head vendorhttp.Answer, asked string, key normalize.Secret) (adapters.Reply, error) {
	remoteID := asked
	var last gjson.Result // of the frames that were taken
	failed := func(err error) (adapters.Reply, error) {
		reply := adapters.Reply{Remote: normalize.Remote{ThreadID: remoteID}, Skipped: told.Skipped()}
		if said := told.Text(); said != "" {
			m := assistantMessage(last, said)
			m.Status = normalize.StatusIncomplete
			reply.Messages = []normalize.Message{m}
		}
		return reply, told.Failure(err)
	}
	for done := false; !done; {
		data, err := told.Next()
		if err != nil {
			return failed(err)
		}
		frame := gjson.ParseBytes(data)
		switch id := conversationOf(frame); {
		case id == "" || strings.EqualFold(id, remoteID):
		case remoteID == "":
			remoteID = id
		case told.Shown():
			return failed(head.Invalid("the backend's answer goes on in another conversation"))
		default: // then nothing of it is certain
			return adapters.Reply{}, head.Invalid("the backend's answer belongs to another conversation")
		}
		if fault, found := faultIn(frame); found {
			return failed(head.Reported(fault, key))
		}
		switch content := frame.Get("content"); content.Type {
		case gjson.String:
			if err := told.Say(content.Raw); err != nil {
				return failed(err)
			}
		case gjson.Null: // also where there is none
		default:
			return failed(head.Invalid("the backend's stream holds a text that is not a text"))
		}
		last = frame
		done, _ = truth(frame.Get("done"))
	}
	if err := told.Finish(); err != nil {
		return failed(err)
	}
	switch {
	case remoteID == "":
		return failed(head.Invalid("the backend's answer names no conversation"))
	case told.Text() == "":
		return failed(head.Invalid("the backend's answer has no text"))
	}
	m := assistantMessage(last, told.Text())
	m.RemoteID = scalar(last.Get("id"))
	m.Raw = normalize.CleanBytes([]byte(last.Raw))
	return adapters.Reply{Remote: normalize.Remote{ThreadID: remoteID}, Messages: []normalize.Message{m}, Skipped: told.Skipped()}, nil
}
