package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Send gives the vendor one message. Where the description says so, the answer is
// then waited for in the vendor's list of messages; if it does not come in time
// there is no reply, and no failure either: the vendor has the message.
func (v *vendor) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return v.say(ctx, turn, v.send, nil)
}

// filer sends messages with files.
type filer struct{ vendor *vendor }

// SendAttachments is Send for a message that names files.
func (f filer) SendAttachments(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	return f.vendor.Send(ctx, turn)
}

// streamer tells the answer while the vendor makes it.
type streamer struct{ vendor *vendor }

// Stream is Send by the call that streams.
func (s streamer) Stream(ctx context.Context, turn adapters.Turn, emit func(adapters.Delta) error) (adapters.Reply, error) {
	return s.vendor.say(ctx, turn, s.vendor.stream, emit)
}

// say sends a message by a call, and reads the answer in whichever form it comes.
func (v *vendor) say(ctx context.Context, turn adapters.Turn, by *request, emit func(adapters.Delta) error) (adapters.Reply, error) {
	vals, asked := v.valuesOf(turn)
	if err := v.addFiles(vals, turn.Message.Attachments); err != nil {
		return adapters.Reply{}, err
	}
	if turn.Thread.Mode == normalize.ModeHuman && v.sendToHuman != nil {
		return v.store(ctx, v.sendToHuman, v.about.SendToHuman.Sent, vals, asked)
	}
	streaming := by == v.stream
	vals["stream"] = streaming
	call, err := by.with(vals, turn.Remote.ThreadID == "")
	if err != nil {
		return adapters.Reply{}, err
	}
	if streaming {
		call.Accept = vendorhttp.AcceptStream
	}
	stream, err := v.client.Open(ctx, call)
	if err != nil {
		return adapters.Reply{}, err
	}
	defer stream.Close()
	if v.about.Stream != nil && stream.EventStream() {
		head := vendorhttp.Answer{Status: stream.Status, Header: stream.Header}
		reply, err := v.collect(vendorhttp.NewTelling(stream, head, v.about.Stream.End, emit), head, asked)
		if err == nil {
			stream.Drain()
		}
		return reply, err
	}
	answer, err := stream.Answer()
	if err != nil {
		return adapters.Reply{}, err
	}
	reply, err := v.reply(answer, asked, turn.Thread.Mode)
	if err != nil {
		return reply, err
	}
	if v.about.Poll != nil && len(reply.Messages) == 0 && turn.Thread.Mode != normalize.ModeHuman {
		reply.Messages = v.await(ctx, reply.Remote, reply.Sent.RemoteID)
	}
	return shown(reply, emit)
}

// shown shows an answer that came in one piece: a delta for each message.
func shown(reply adapters.Reply, emit func(adapters.Delta) error) (adapters.Reply, error) {
	if emit == nil {
		return reply, nil
	}
	for i := range reply.Messages {
		if reply.Messages[i].Text == "" {
			continue
		}
		if err := emit(adapters.Delta{Text: reply.Messages[i].Text}); err != nil {
			reply.Messages = reply.Messages[:i+1]
			reply.Messages[i].Status = normalize.StatusIncomplete
			return reply, err
		}
	}
	return reply, nil
}

// valuesOf gives what templates know of a turn, and the remote ids that it is for:
// those that are known, else those that are ours to choose.
func (v *vendor) valuesOf(turn adapters.Turn) (values, normalize.Remote) {
	vals := v.valuesOfThread(turn.Thread)
	m := &turn.Message
	vals["text"], vals["message.id"], vals["message.uuid"] = m.Text, m.ID, normalize.UUIDForm(m.ID)
	vals["author.name"] = m.Author.Name
	for name, value := range m.Metadata {
		vals[metadata+name] = value
	}
	if v.history != nil {
		vals["history"] = v.past(turn.History)
	}
	asked := turn.Remote
	if asked.ThreadID == "" {
		asked.ThreadID, _ = v.remoteID.text(vals, asItIs)
	}
	if asked.UserID == "" {
		asked.UserID, _ = v.remoteUserID.text(vals, asItIs)
	}
	vals["remote_id"], vals["remote_user_id"] = asked.ThreadID, asked.UserID
	return vals, asked
}

// metadata stands before the name of a placeholder that is a caller's metadata.
const metadata = "metadata."

func (v *vendor) valuesOfThread(t normalize.Thread) values {
	vals := values{
		"bot":        v.about.Bot,
		"thread.id":  t.ID,
		"user.id":    t.User.ID,
		"user.name":  t.User.Name,
		"user.email": t.User.Email,
		"user.phone": t.User.Phone,
		"user.info":  t.User.Info,
	}
	if t.ID != "" {
		vals["thread.uuid"] = normalize.UUIDForm(t.ID)
	}
	for name, value := range t.Metadata {
		vals[metadata+name] = value
	}
	return vals
}

func (v *vendor) valuesOfRemote(remote normalize.Remote) values {
	return values{"bot": v.about.Bot, "remote_id": remote.ThreadID, "remote_user_id": remote.UserID}
}

// past writes what was said before. A notice, a message that no vendor has taken and
// half an answer do not go along, nor does a role without a word.
func (v *vendor) past(said []normalize.Message) list {
	var past list
	for i := range said {
		m := &said[i]
		role := v.about.History.Roles[string(m.Role)]
		if role == "" || m.Text == "" || m.Status != normalize.StatusSent && m.Status != normalize.StatusComplete {
			continue
		}
		element, _ := appendTree(nil, v.history, values{"role": role, "text": m.Text}) // an object is always something
		past = append(past, element)
	}
	return past
}

// addFiles writes the files of a message, where they are described. A file that only
// another vendor knows, by its id, cannot be sent.
func (v *vendor) addFiles(vals values, files []normalize.Attachment) error {
	if v.file == nil {
		return nil
	}
	written := list{}
	for i, f := range files {
		if f.URL == "" {
			return normalize.InvalidField(fmt.Sprintf("attachments[%d]", i), "needs a url: this backend takes files by their URL")
		}
		word := cmp.Or(v.about.Attachments.Types[string(f.Type)], v.about.Attachments.Types[string(normalize.TypeOther)])
		element, _ := appendTree(nil, v.file, values{"url": f.URL, "type": word, "filename": f.Filename, "content_type": f.ContentType})
		written = append(written, element)
	}
	vals["attachments"] = written
	return nil
}

// rememberer is the talent of a vendor that keeps no conversation.
type rememberer struct{ limits adapters.HistoryLimits }

// HistoryLimits says how much of the past goes along.
func (r rememberer) HistoryLimits() adapters.HistoryLimits { return r.limits }

// reply reads the answer to a message.
func (v *vendor) reply(answer vendorhttp.Answer, asked normalize.Remote, mode normalize.Mode) (adapters.Reply, error) {
	how := &v.about.Send.Reply
	root, err := v.opened(answer, how.Items == whole)
	if err != nil {
		return adapters.Reply{}, err
	}
	reply := adapters.Reply{Remote: asked}
	if err := tell(&reply.Remote.ThreadID, how.RemoteID.wordIn(root), answer); err != nil {
		return adapters.Reply{}, err
	}
	if told := how.RemoteUserID.wordIn(root); told != "" {
		reply.Remote.UserID = told
	}
	if reply.Remote.ThreadID == "" && v.history == nil {
		return adapters.Reply{}, answer.Invalid("the backend's answer names no conversation")
	}
	if thread := how.Thread.Item.item(root); thread.IsObject() {
		reply.Thread = how.Thread.update(thread)
	}
	if reply.Sent, err = how.Sent.read(root, answer); err != nil {
		return adapters.Reply{Remote: reply.Remote}, err
	}
	if reply.Thread.Mode != "" {
		mode = reply.Thread.Mode
	}
	reply.Messages, err = v.replies(answer, how, root, mode == normalize.ModeHuman)
	return reply, err
}

// replies reads the messages of an answer. Only silence that can be meant is one.
func (v *vendor) replies(answer vendorhttp.Answer, how *Reply, root gjson.Result, silent bool) ([]normalize.Message, error) {
	if len(how.Each) == 0 {
		return nil, nil
	}
	found := how.Items.item(root)
	var messages []normalize.Message
	switch {
	case found.IsArray():
		for _, item := range found.Array() {
			read, fits, err := readItem(answer, item, how.Each)
			if err != nil {
				return nil, err
			}
			if fits && len(read) == 0 && !silent {
				return nil, answer.Invalid("a reply of the backend has no text")
			}
			messages = append(messages, read...)
		}
		return messages, nil
	case found.IsObject():
		read, _, err := readItem(answer, found, how.Each)
		if err == nil && len(read) == 0 && !silent {
			err = answer.Invalid("the backend's answer has no text")
		}
		return read, err
	case !present(found) && silent:
		return nil, nil
	}
	return nil, answer.Invalid("the backend's answer holds no reply")
}

// tell takes over the conversation's id that an answer told. It must be the one that
// is known already.
func tell(known *string, told string, answer vendorhttp.Answer) error {
	switch {
	case told == "" || strings.EqualFold(told, *known):
	case *known == "":
		*known = told
	default:
		return answer.Invalid("the backend's answer belongs to another conversation")
	}
	return nil
}

// read reads what is told about the message that was sent. An id that is described
// must be there: without it nothing shows that the vendor has stored the message.
func (s *Sent) read(root gjson.Result, answer vendorhttp.Answer) (adapters.Sent, error) {
	sent := adapters.Sent{RemoteID: s.ID.wordIn(root), CreatedAt: s.CreatedAt.timeIn(root)}
	switch {
	case sent.RemoteID != "":
		sent.RemoteID += s.IDSuffix
	case s.ID != "":
		return sent, answer.Invalid("the backend's answer does not name the message that was sent")
	}
	return sent, nil
}

// readItem reads an item as the messages that it is. Fits says whether it should be
// any: a reading that has no text in this item gives none.
func readItem(answer vendorhttp.Answer, item gjson.Result, each []Reading) (messages []normalize.Message, fits bool, err error) {
	for i := range each {
		r := &each[i]
		if !r.When.holds(item) {
			continue
		}
		fits = true
		text := r.Text.in(item)
		if present(text) && text.Type != gjson.String {
			return nil, fits, answer.Invalid("a text of the backend is not a text")
		}
		m := normalize.Message{
			Role: r.role(item), Type: normalize.TypeText, Text: normalize.UnquoteJSON(text.Raw), Status: normalize.StatusComplete,
			RemoteID: r.ID.wordIn(item), CreatedAt: r.CreatedAt.timeIn(item), Author: normalize.Author{Name: r.Author.textIn(item)},
			Raw: json.RawMessage(item.Raw),
		}
		if file := r.Attachment.textIn(item); file != "" {
			m.Attachments = []normalize.Attachment{{Type: normalize.TypeOther, URL: file}}
			if m.Text == "" {
				m.Type = normalize.TypeOther
			}
		}
		if m.Text == "" && len(m.Attachments) == 0 {
			continue
		}
		if m.Role == normalize.RoleUser {
			m.Status = normalize.StatusSent
		}
		if m.RemoteID != "" {
			m.RemoteID += r.IDSuffix
		}
		messages = append(messages, m)
	}
	return messages, fits, nil
}

// role says who speaks: by the vendor's word, else as the reading says, else nobody.
func (r *Reading) role(item gjson.Result) normalize.Role {
	if known := r.Roles[r.RolePath.wordIn(item)]; known != "" {
		return normalize.Role(known)
	}
	if r.Role != "" {
		return normalize.Role(r.Role)
	}
	return normalize.RoleSystem
}

// operator speaks as a human of the vendor's side.
type operator struct {
	vendor *vendor
	by     *request
}

// SendAsOperator stores a message that nobody answers.
func (o operator) SendAsOperator(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	vals, asked := o.vendor.valuesOf(turn)
	if err := o.vendor.addFiles(vals, turn.Message.Attachments); err != nil {
		return adapters.Reply{}, err
	}
	return o.vendor.store(ctx, o.by, o.vendor.about.SendAsOperator.Sent, vals, asked)
}

// store makes a call that stores a message in a conversation that exists.
func (v *vendor) store(ctx context.Context, by *request, how Sent, vals values, asked normalize.Remote) (adapters.Reply, error) {
	answer, root, err := v.ask(ctx, by, vals)
	if err != nil {
		return adapters.Reply{}, err
	}
	sent, err := how.read(root, answer)
	return adapters.Reply{Remote: asked, Sent: sent}, err
}

// await lists the messages of a conversation until one stands behind the one that
// was sent, and gives those. A list that cannot be read is asked for again: the
// message is sent, whatever becomes of reading.
func (v *vendor) await(ctx context.Context, remote normalize.Remote, sent string) []normalize.Message {
	lister, ok := adapters.As[adapters.MessageLister](v)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.about.Poll.For)
	defer cancel()
	every := time.NewTicker(v.about.Poll.Every)
	defer every.Stop()
	for {
		if replies := behind(ctx, lister, remote, sent); len(replies) > 0 {
			return replies
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// maxPollPages bounds how much of a conversation is read to find its end.
const maxPollPages = 50

// behind gives what was said behind a message, by anybody but the person.
func behind(ctx context.Context, lister adapters.MessageLister, remote normalize.Remote, sent string) []normalize.Message {
	var replies []normalize.Message
	var page adapters.Page
	found := false
	for range maxPollPages {
		got, err := lister.ListMessages(ctx, remote, page)
		if err != nil {
			return nil
		}
		for _, m := range got.Messages {
			if found && (m.Role == normalize.RoleAssistant || m.Role == normalize.RoleOperator) {
				replies = append(replies, m)
			}
			found = found || m.RemoteID == sent
		}
		if page.Cursor = got.NextCursor; page.Cursor == "" {
			break
		}
	}
	return replies
}
