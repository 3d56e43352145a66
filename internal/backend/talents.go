package backend

import (
	"chatmux/adapters"
	"chatmux/normalize"
)

// talents is the capability table: what an adapter can do beside sending follows
// from the interfaces that it has, and from nothing else.
var talents = []struct {
	name string
	has  func(adapters.Adapter) bool
}{
	{"stream", adapters.Has[adapters.Streamer]},
	{"history", adapters.Has[adapters.History]},
	{"idempotent", adapters.Has[adapters.IdempotentSender]},
	{"attachments", adapters.Has[adapters.AttachmentSender]},
	{"operator", adapters.Has[adapters.OperatorSender]},
	{"create_thread", adapters.Has[adapters.ThreadCreator]},
	{"create_user", adapters.Has[adapters.UserCreator]},
	{"read_user", adapters.Has[adapters.UserReader]},
	{"update_user", adapters.Has[adapters.UserUpdater]},
	{"read_thread", adapters.Has[adapters.ThreadReader]},
	{"list_threads", adapters.Has[adapters.ThreadLister]},
	{"list_messages", adapters.Has[adapters.MessageLister]},
	{"read_message", adapters.Has[adapters.MessageReader]},
	{"switch_mode", adapters.Has[adapters.ModeSwitcher]},
	{"escalate", adapters.Has[adapters.Escalator]},
	{"delete_thread", adapters.Has[adapters.ThreadDeleter]},
	{"answers_later", adapters.Has[adapters.LaterAnswerer]},
	{"receive_webhook", adapters.Has[adapters.WebhookReceiver]},
	{"register_webhook", adapters.Has[adapters.WebhookRegistrar]},
	{"upload", adapters.Has[adapters.Uploader]},
	{"list_records", adapters.Has[adapters.RecordLister]},
	{"export_records", adapters.Has[adapters.RecordExporter]},
}

// Capabilities names what an adapter can do beside sending, in a fixed order.
func Capabilities(a adapters.Adapter) []string {
	names := []string{}
	for _, t := range talents {
		if t.has(a) {
			names = append(names, t.name)
		}
	}
	return names
}

// Capabilities names what the backend can do beside sending, in a fixed order.
func (b *Backend) Capabilities() []string { return Capabilities(b.adapter) }

// Tells names what the vendor tells beside the text of its answers.
func (b *Backend) Tells() []string {
	names := make([]string, len(b.tells))
	for i, extra := range b.tells {
		names[i] = string(extra)
	}
	return names
}

// Stateful reports whether the vendor keeps the conversation. One that does not is
// given what was said before with every message.
func (b *Backend) Stateful() bool { return !adapters.Has[adapters.History](b.adapter) }

// Idempotent reports whether a message may be sent again although the vendor may have
// it already.
func (b *Backend) Idempotent() bool { return adapters.Has[adapters.IdempotentSender](b.adapter) }

// HistoryLimits says how much of what was said before goes along with a message;
// zero for a stateful backend.
func (b *Backend) HistoryLimits() adapters.HistoryLimits {
	if h, ok := adapters.As[adapters.History](b.adapter); ok {
		return h.HistoryLimits()
	}
	return adapters.HistoryLimits{}
}

// TakesAttachments reports whether a message with attachments can be sent.
func (b *Backend) TakesAttachments() bool { return adapters.Has[adapters.AttachmentSender](b.adapter) }

// Uploads reports whether the vendor has to be given the files of a message before
// the message.
func (b *Backend) Uploads() bool {
	return adapters.Has[adapters.Uploader](b.adapter) && adapters.Has[adapters.AttachmentSender](b.adapter)
}

// Streams reports whether the answer to this message can be watched while it is made.
func (b *Backend) Streams(m normalize.Message) bool {
	return adapters.Has[adapters.Streamer](b.adapter) && m.Role == normalize.RoleUser && (len(m.Attachments) == 0 || b.TakesAttachments())
}

// TakesOperator reports whether a human of the vendor's side can be spoken for.
func (b *Backend) TakesOperator() bool { return adapters.Has[adapters.OperatorSender](b.adapter) }

// SwitchesMode reports whether the mode of a conversation can be switched.
func (b *Backend) SwitchesMode() bool { return adapters.Has[adapters.ModeSwitcher](b.adapter) }

// UpdatesUsers reports whether the vendor can be told about the person.
func (b *Backend) UpdatesUsers() bool { return adapters.Has[adapters.UserUpdater](b.adapter) }

// Escalates reports whether the vendor's side can be asked to look at a conversation.
func (b *Backend) Escalates() bool { return adapters.Has[adapters.Escalator](b.adapter) }

// NamesThreads reports whether a conversation can be created under a chosen id.
func (b *Backend) NamesThreads() bool { return adapters.Has[adapters.NamedThreadCreator](b.adapter) }

// CreatesThreads reports whether an empty conversation can be created.
func (b *Backend) CreatesThreads() bool { return adapters.Has[adapters.ThreadCreator](b.adapter) }
