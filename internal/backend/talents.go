package backend

import "chatmux/adapters"

// talents is the capability table: what an adapter can do beside sending follows
// from the interfaces that it implements, and from nothing else.
var talents = []struct {
	name string
	has  func(adapters.Adapter) bool
}{
	{"stream", is[adapters.Streamer]},
	{"history", is[adapters.History]},
	{"idempotent", is[adapters.IdempotentSender]},
	{"attachments", is[adapters.AttachmentSender]},
	{"operator", is[adapters.OperatorSender]},
	{"create_thread", is[adapters.ThreadCreator]},
	{"create_user", is[adapters.UserCreator]},
	{"read_user", is[adapters.UserReader]},
	{"update_user", is[adapters.UserUpdater]},
	{"read_thread", is[adapters.ThreadReader]},
	{"list_threads", is[adapters.ThreadLister]},
	{"list_messages", is[adapters.MessageLister]},
	{"read_message", is[adapters.MessageReader]},
	{"switch_mode", is[adapters.ModeSwitcher]},
	{"escalate", is[adapters.Escalator]},
	{"delete_thread", is[adapters.ThreadDeleter]},
	{"register_webhook", is[adapters.WebhookRegistrar]},
	{"upload", is[adapters.Uploader]},
	{"list_records", is[adapters.RecordLister]},
	{"export_records", is[adapters.RecordExporter]},
}

func is[T any](a adapters.Adapter) bool {
	_, ok := a.(T)
	return ok
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

// Stateful reports whether the vendor keeps the conversation. One that does not is
// given what was said before with every message.
func (b *Backend) Stateful() bool { return !is[adapters.History](b.adapter) }

// Idempotent reports whether a message may be sent again although the vendor may have
// it already.
func (b *Backend) Idempotent() bool { return is[adapters.IdempotentSender](b.adapter) }

// HistoryLimits says how much of what was said before goes along with a message;
// zero for a stateful backend.
func (b *Backend) HistoryLimits() adapters.HistoryLimits {
	if h, ok := b.adapter.(adapters.History); ok {
		return h.HistoryLimits()
	}
	return adapters.HistoryLimits{}
}

// TakesAttachments reports whether a message with attachments can be sent.
func (b *Backend) TakesAttachments() bool { return is[adapters.AttachmentSender](b.adapter) }

// Uploads reports whether the vendor has to be given the files of a message before
// the message.
func (b *Backend) Uploads() bool {
	return is[adapters.Uploader](b.adapter) && is[adapters.AttachmentSender](b.adapter)
}

// TakesOperator reports whether a human of the vendor's side can be spoken for.
func (b *Backend) TakesOperator() bool { return is[adapters.OperatorSender](b.adapter) }

// SwitchesMode reports whether the mode of a conversation can be switched.
func (b *Backend) SwitchesMode() bool { return is[adapters.ModeSwitcher](b.adapter) }

// CreatesThreads reports whether an empty conversation can be created.
func (b *Backend) CreatesThreads() bool { return is[adapters.ThreadCreator](b.adapter) }
