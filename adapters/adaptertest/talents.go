package adaptertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"chatmux/adapters"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)

// manyPages is more pages than any list of these tests has.
const manyPages = 50

var talentCases = []promise{
	{
		name:    "history_has_limits",
		promise: "an adapter that takes the history along says how much, and does not change it",
		because: "the engine cuts the transcript by these limits, and shows it to others at the same time",
		offline: true,
		talent:  adapters.Has[adapters.History],
		test: func(b *bench) error {
			if l := talent[adapters.History](b.adapter).HistoryLimits(); l.Messages < 0 || l.Bytes < 0 {
				return fmt.Errorf("the limits are negative: %+v", l)
			}
			ctx := context.Background()
			c, err := b.talk(ctx, "one", "two")
			if err != nil {
				return err
			}
			before := slices.Clone(c.history)
			turn := b.turn(c, "three")
			if _, err := b.adapter.Send(ctx, turn); err != nil {
				return err
			}
			same := func(a, b normalize.Message) bool { return a.Role == b.Role && a.Text == b.Text && a.Status == b.Status }
			if !slices.EqualFunc(before, turn.History, same) {
				return errors.New("Send changed the history that it was given")
			}
			return nil
		},
	},
	{
		name:    "created_thread_is_the_one_that_is_spoken_in",
		promise: "a conversation that was created has an id, and the first message goes there",
		because: "the caller got the thread before the first message, and has its id",
		talent:  adapters.Has[adapters.ThreadCreator],
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.begin(ctx)
			if err != nil {
				return err
			}
			created := c.remote
			if created.ThreadID == "" {
				return errors.New("the conversation has no id")
			}
			reply, err := b.send(ctx, c, "hello")
			if err != nil {
				return err
			}
			if c.remote.ThreadID != created.ThreadID {
				return fmt.Errorf("created was %q, spoken in was %q", created.ThreadID, c.remote.ThreadID)
			}
			return b.said(reply, b.Answer(1, "hello", "hello"))
		},
	},
	{
		name:    "person_is_read_as_told",
		promise: "a person is read back with the name that was created or updated last",
		because: "a person's name is the caller's data",
		talent: func(a adapters.Adapter) bool {
			return adapters.Has[adapters.UserReader](a) && adapters.Has[adapters.UserUpdater](a)
		},
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "hello")
			if err != nil {
				return err
			}
			if adapters.Has[adapters.UserCreator](b.adapter) {
				if err := b.isPerson(ctx, c.remote, c.thread.User.Name); err != nil {
					return err
				}
			}
			user := c.thread.User
			user.Name = `Rosa "Ñ" <b> 😀`
			if err := talent[adapters.UserUpdater](b.adapter).UpdateUser(ctx, c.remote, user); err != nil {
				return fmt.Errorf("UpdateUser: %w", err)
			}
			return b.isPerson(ctx, c.remote, user.Name)
		},
	},
	{
		name:    "person_update_is_taken",
		promise: "what is known about a person is told to the vendor with one request",
		because: "an update that is refused or lost leaves two truths",
		talent:  adapters.Has[adapters.UserUpdater],
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "hello")
			if err != nil {
				return err
			}
			b.server.ResetLedger()
			user := c.thread.User
			user.Name = "Rosa the second"
			if err := talent[adapters.UserUpdater](b.adapter).UpdateUser(ctx, c.remote, user); err != nil {
				return err
			}
			ledger := b.server.Ledger()
			if !slices.ContainsFunc(ledger, func(e sandbox.Entry) bool { return bytes.Contains(e.Body, []byte(user.Name)) }) {
				return errors.New("the name did not reach the vendor")
			}
			return b.onlyOne()
		},
	},
	{
		name:    "thread_is_read",
		promise: "a conversation is read back under its id; of its messages it holds none, all or the newest, oldest first",
		because: "the vendor's view is what an operator compares with ours",
		talent:  adapters.Has[adapters.ThreadReader],
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "one", "two")
			if err != nil {
				return err
			}
			read, err := talent[adapters.ThreadReader](b.adapter).ReadThread(ctx, c.remote)
			if err != nil {
				return err
			}
			if read.Remote.ThreadID != c.remote.ThreadID {
				return fmt.Errorf("the id is %q, want %q", read.Remote.ThreadID, c.remote.ThreadID)
			}
			return b.isTail(read.Messages, c)
		},
	},
	{
		name:    "messages_are_listed_whole_and_in_order",
		promise: "listing gives every message once, oldest first, in pages of any size up to the last one",
		because: "an unknown send is settled by this list, and history is imported from it",
		talent:  adapters.Has[adapters.MessageLister],
		test: func(b *bench) error {
			ctx := context.Background()
			texts := []string{"first", `second "quoted"` + "\nline", "third 😀", "fourth", "fifth"}
			c, err := b.talk(ctx, texts...)
			if err != nil {
				return err
			}
			if _, err := b.talk(ctx, "somebody else"); err != nil {
				return err
			}
			for _, limit := range []int{0, 1, 2, 3, 100} {
				messages, err := b.listMessages(ctx, c.remote, limit)
				if err == nil {
					err = b.isTranscript(messages, c)
				}
				if err != nil {
					return fmt.Errorf("pages of %d: %w", limit, err)
				}
			}
			return nil
		},
	},
	{
		name:    "message_is_read_by_its_id",
		promise: "each listed message that has an id is read under it, the same",
		because: "the id is how a message is named in the vendor's support and webhooks",
		talent: func(a adapters.Adapter) bool {
			return adapters.Has[adapters.MessageReader](a) && adapters.Has[adapters.MessageLister](a)
		},
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "one", "two")
			if err != nil {
				return err
			}
			messages, err := b.listMessages(ctx, c.remote, 0)
			if err != nil {
				return err
			}
			for _, m := range messages {
				if m.RemoteID == "" {
					return fmt.Errorf("the message %s has no id", excerpt(m.Text))
				}
				read, err := talent[adapters.MessageReader](b.adapter).ReadMessage(ctx, c.remote, m.RemoteID)
				switch {
				case err != nil:
					return err
				case read.RemoteID != m.RemoteID || read.Role != m.Role || read.Text != m.Text:
					return fmt.Errorf("read %q %s %s, listed %q %s %s", read.RemoteID, read.Role, excerpt(read.Text), m.RemoteID, m.Role, excerpt(m.Text))
				}
			}
			return nil
		},
	},
	{
		name:    "threads_are_listed_whole",
		promise: "listing gives every conversation of the bot once, in pages of any size up to the last one",
		because: "what is not listed is not moved, exported or erased",
		talent:  adapters.Has[adapters.ThreadLister],
		test: func(b *bench) error {
			ctx := context.Background()
			var want []string
			for i := range 5 {
				c, err := b.talk(ctx, fmt.Sprint("thread ", i))
				if err != nil {
					return err
				}
				want = append(want, c.remote.ThreadID)
			}
			slices.Sort(want)
			for _, limit := range []int{0, 1, 2, 5, 100} {
				got, err := b.listThreads(ctx, limit)
				if err != nil {
					return fmt.Errorf("pages of %d: %w", limit, err)
				}
				if slices.Sort(got); !slices.Equal(got, want) {
					return fmt.Errorf("pages of %d: got the ids %q, want %q", limit, got, want)
				}
			}
			return nil
		},
	},
	{
		name:    "human_mode_silences_the_bot",
		promise: "a conversation that was handed to a human takes messages without a reply, and answers again when it is handed back",
		because: "a bot that talks over a human is the worst of a handover, and silence is no failure",
		twice:   true,
		talent:  adapters.Has[adapters.ModeSwitcher],
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "hello")
			if err != nil {
				return err
			}
			for _, mode := range []normalize.Mode{normalize.ModeHuman, normalize.ModeAI} {
				if err := talent[adapters.ModeSwitcher](b.adapter).SwitchMode(ctx, c.remote, mode); err != nil {
					return fmt.Errorf("SwitchMode to %s: %w", mode, err)
				}
				if err := b.tells(ctx, c, func(u normalize.ThreadUpdate) error {
					if u.Mode != mode {
						return fmt.Errorf("the mode that is read is %q, want %q", u.Mode, mode)
					}
					return nil
				}); err != nil {
					return err
				}
				c.thread.Mode = mode
				reply, err := b.send(ctx, c, "are you there?")
				switch {
				case err != nil:
					return fmt.Errorf("Send in mode %s: %w", mode, err)
				case mode == normalize.ModeHuman && len(reply.Messages) > 0:
					return fmt.Errorf("in mode human there are %d replies", len(reply.Messages))
				case mode == normalize.ModeAI && len(reply.Messages) == 0 && !b.NoReplies:
					return errors.New("back in mode ai there is no reply")
				}
			}
			return nil
		},
	},
	{
		name:    "escalation_is_taken",
		promise: "a conversation is escalated with a note and without one, and read as escalated where the vendor tells it",
		because: "somebody waits for help",
		talent:  adapters.Has[adapters.Escalator],
		test: func(b *bench) error {
			ctx := context.Background()
			for _, note := range []string{"", `she says "urgent" 😀`} {
				c, err := b.talk(ctx, "hello")
				if err != nil {
					return err
				}
				if err := talent[adapters.Escalator](b.adapter).Escalate(ctx, c.remote, note); err != nil {
					return fmt.Errorf("note %q: %w", note, err)
				}
				if err := b.tells(ctx, c, func(u normalize.ThreadUpdate) error {
					if u.Escalated != nil && !*u.Escalated {
						return fmt.Errorf("note %q: it is read as not escalated", note)
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name:    "deleted_thread_is_gone",
		promise: "a deleted conversation is neither read nor listed any more, and the others are",
		because: "the person asked for it, and the answer that we give is final",
		talent:  adapters.Has[adapters.ThreadDeleter],
		test: func(b *bench) error {
			ctx := context.Background()
			stays, err := b.talk(ctx, "stays")
			if err != nil {
				return err
			}
			goes, err := b.talk(ctx, "goes")
			if err != nil {
				return err
			}
			if err := talent[adapters.ThreadDeleter](b.adapter).DeleteThread(ctx, goes.remote); err != nil {
				return err
			}
			if reader, ok := adapters.As[adapters.ThreadReader](b.adapter); ok {
				_, err := reader.ReadThread(ctx, goes.remote)
				if err := notFound.checkError(orNothing(err)); err != nil {
					return fmt.Errorf("reading it: %w", err)
				}
				if _, err := reader.ReadThread(ctx, stays.remote); err != nil {
					return fmt.Errorf("reading the other one: %w", err)
				}
			}
			if adapters.Has[adapters.ThreadLister](b.adapter) {
				ids, err := b.listThreads(ctx, 0)
				if err != nil {
					return err
				}
				if slices.Contains(ids, goes.remote.ThreadID) || !slices.Contains(ids, stays.remote.ThreadID) {
					return fmt.Errorf("listed are %q, deleted was %q", ids, goes.remote.ThreadID)
				}
			}
			if err := talent[adapters.ThreadDeleter](b.adapter).DeleteThread(ctx, goes.remote); err != nil {
				return notFound.checkError(err)
			}
			return nil
		},
	},
	{
		name:    "webhook_is_registered",
		promise: "the vendor is told the URL and the token, the token nowhere but in the body",
		because: "the token is how we know the vendor when it calls",
		talent:  adapters.Has[adapters.WebhookRegistrar],
		test: func(b *bench) error {
			ctx := context.Background()
			const url, token = "https://chat.example.test/hooks/b/c?x=1&y=2", "planted-webhook-token"
			c, err := b.talk(ctx, "hello")
			if err != nil {
				return err
			}
			b.server.ResetLedger()
			if err := talent[adapters.WebhookRegistrar](b.adapter).RegisterWebhook(ctx, c.remote, url, normalize.NewSecret(token)); err != nil {
				return err
			}
			ledger := b.server.Ledger()
			if len(ledger) == 0 {
				return errors.New("no request was made")
			}
			body := ledger[len(ledger)-1].Body
			if err := errors.Join(arrived(body, url), arrived(body, token)); err != nil {
				return err
			}
			for _, e := range ledger {
				if strings.Contains(fmt.Sprint(e.Path, e.Query, e.Header), token) {
					return errors.New("the token is in the URL or in a header")
				}
			}
			return nil
		},
	},
	{
		name:    "uploaded_file_can_be_sent",
		promise: "a file reaches the vendor byte for byte, and a message can name it",
		because: "what arrives changed, or is not found, is as good as lost",
		talent:  adapters.Has[adapters.Uploader],
		test: func(b *bench) error {
			ctx := context.Background()
			content := append([]byte("%PDF-1.7\r\n\x00\xff\xfe--boundary\r\n"), bytes.Repeat([]byte{0, 1, 2, 253, 254, 255}, 3000)...)
			file := adapters.File{
				Name: `Grüße "1" 😀.pdf`, ContentType: "application/pdf", Type: normalize.TypeDocument,
				Size: int64(len(content)), Content: bytes.NewReader(content),
			}
			attachment, err := talent[adapters.Uploader](b.adapter).Upload(ctx, file)
			if err != nil {
				return err
			}
			if attachment.ID == "" && attachment.URL == "" {
				return errors.New("the attachment has neither id nor URL")
			}
			if attachment.Type == "" || attachment.Filename == "" {
				return fmt.Errorf("the attachment has type %q and name %q", attachment.Type, attachment.Filename)
			}
			if !slices.ContainsFunc(b.server.Ledger(), func(e sandbox.Entry) bool { return bytes.Contains(e.Body, content) }) {
				return errors.New("the content did not reach the vendor byte for byte")
			}
			if !adapters.Has[adapters.AttachmentSender](b.adapter) {
				return nil
			}
			return b.sendsAttachment(ctx, attachment)
		},
	},
	{
		name:    "attachment_by_url_is_sent",
		promise: "a message with an attachment that is a URL is sent with one request and answered like any other",
		because: "that is how most callers have their files",
		talent:  adapters.Has[adapters.AttachmentSender],
		test: func(b *bench) error {
			return b.sendsAttachment(context.Background(), normalize.Attachment{
				Type: normalize.TypeImage, URL: "https://files.example.test/a%20b.png?x=1&y=2", Filename: "a b.png", ContentType: "image/png",
			})
		},
	},
	{
		name:    "operator_message_is_sent",
		promise: "what a human of the vendor's side says is stored there, and the bot does not answer it",
		because: "the person shall read it, and not the bot's opinion of it",
		talent:  adapters.Has[adapters.OperatorSender],
		test: func(b *bench) error {
			ctx := context.Background()
			c, err := b.talk(ctx, "hello")
			if err != nil {
				return err
			}
			const text = "This is Ana, I take over. 😀"
			turn := b.turn(c, text)
			turn.Message.Role = normalize.RoleOperator
			turn.Message.Author = normalize.Author{Name: "Ana"}
			b.server.ResetLedger()
			reply, err := talent[adapters.OperatorSender](b.adapter).SendAsOperator(ctx, turn)
			if err != nil {
				return err
			}
			if len(reply.Messages) > 0 {
				return fmt.Errorf("%d replies, the first of %s: %s", len(reply.Messages), reply.Messages[0].Role, excerpt(reply.Messages[0].Text))
			}
			if err := b.onlyOne(); err != nil {
				return err
			}
			ledger := b.server.Ledger()
			if err := arrived(ledger[len(ledger)-1].Body, text); err != nil {
				return err
			}
			if !adapters.Has[adapters.MessageLister](b.adapter) {
				return nil
			}
			messages, err := b.listMessages(ctx, c.remote, 0)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(messages, func(m normalize.Message) bool { return m.Text == text })
			if i < 0 || messages[i].Role == normalize.RoleUser {
				return errors.New("it is not listed, or as the person's")
			}
			return nil
		},
	},
	{
		name:    "records_are_listed_whole",
		promise: "the vendor's record has every question with its answer once, in pages of any size up to the last one",
		because: "a report that leaves out turns is wrong",
		talent:  adapters.Has[adapters.RecordLister],
		test: func(b *bench) error {
			ctx := context.Background()
			texts := []string{"one", `two "quoted" 😀`, "three"}
			if _, err := b.talk(ctx, texts...); err != nil {
				return err
			}
			want := map[string]string{}
			for i, text := range texts {
				want[text] = b.Answer(i+1, texts[0], text)
			}
			for _, limit := range []int{0, 1, 2, 100} {
				records, err := b.listRecords(ctx, adapters.RecordQuery{}, limit)
				if err != nil {
					return fmt.Errorf("pages of %d: %w", limit, err)
				}
				for _, r := range records {
					if want[r.Question] != r.Answer {
						return fmt.Errorf("pages of %d: to %s the answer %s", limit, excerpt(r.Question), excerpt(r.Answer))
					}
				}
				if len(records) != len(want) {
					return fmt.Errorf("pages of %d: %d records, want %d", limit, len(records), len(want))
				}
			}
			records, err := b.listRecords(ctx, adapters.RecordQuery{PersonText: "quoted"}, 0)
			if err != nil {
				return err
			}
			if len(records) != 1 || records[0].Question != texts[1] {
				return fmt.Errorf("%d records of a question that contains \"quoted\", want that one", len(records))
			}
			return nil
		},
	},
	{
		name:    "records_are_exported",
		promise: "the export is a file with a name, a type and content, read to its end",
		because: "it is handed on to a person as it is",
		talent:  adapters.Has[adapters.RecordExporter],
		test: func(b *bench) error {
			ctx := context.Background()
			if _, err := b.talk(ctx, "one"); err != nil {
				return err
			}
			file, err := talent[adapters.RecordExporter](b.adapter).ExportRecords(ctx, period(adapters.RecordQuery{}))
			if err != nil {
				return err
			}
			content, err := io.ReadAll(file.Content)
			if err := errors.Join(err, file.Content.Close()); err != nil {
				return err
			}
			if len(content) == 0 || file.Filename == "" || file.ContentType == "" {
				return fmt.Errorf("the file %q of type %q has %d bytes", file.Filename, file.ContentType, len(content))
			}
			return nil
		},
	},
	{
		name:    "talents_fail_like_sends",
		promise: "whatever is asked of the vendor, a status, a redirect, a web page and a broken connection become the same kinds, without the key",
		because: "there is one table of failures, for all calls",
		talent:  func(a adapters.Adapter) bool { return len(callsOf(a)) > 0 },
		test: func(b *bench) error {
			return each(callsOf(b.adapter), func(c call) string { return c.name }, b.failsLikeSend)
		},
	},
	{
		name:    "talents_stop_when_told",
		promise: "whatever an adapter asks the vendor ends at once as canceled when its context does",
		because: "nobody waits for it any more",
		talent:  func(a adapters.Adapter) bool { return len(callsOf(a)) > 0 },
		test: func(b *bench) error {
			return each(callsOf(b.adapter), func(c call) string { return c.name }, b.stopsWhenTold)
		},
	},
}

// isPerson checks the person that the vendor knows by this name.
func (b *bench) isPerson(ctx context.Context, remote normalize.Remote, name string) error {
	user, err := talent[adapters.UserReader](b.adapter).ReadUser(ctx, remote)
	switch {
	case err != nil:
		return fmt.Errorf("ReadUser: %w", err)
	case user.Name != name:
		return fmt.Errorf("the name is %q, want %q", user.Name, name)
	case remote.UserID != "" && user.ID != remote.UserID:
		return fmt.Errorf("the id is %q, want the vendor's, %q", user.ID, remote.UserID)
	}
	return nil
}

// notFound is how a vendor says that there is no such thing.
var notFound = wantError{kinds: []normalize.Kind{normalize.KindRejected, normalize.KindNotFound}, phase: anyPhase}

// orNothing makes an error of there being none.
func orNothing(err error) error {
	if err == nil {
		return errors.New("it succeeded")
	}
	return err
}

// call is one thing that an adapter can ask the vendor beside Send.
type call struct {
	name   string
	effect bool // it changes something, so that it must not be made twice
	do     func(ctx context.Context, b *bench, c *conversation) error
}

// callsOf lists what an adapter can be asked.
func callsOf(a adapters.Adapter) []call {
	var calls []call
	if _, ok := adapters.As[adapters.UserCreator](a); ok {
		calls = append(calls, call{"CreateUser", true, func(ctx context.Context, b *bench, c *conversation) error {
			_, err := talent[adapters.UserCreator](b.adapter).CreateUser(ctx, c.thread.User)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.ThreadCreator](a); ok {
		calls = append(calls, call{"CreateThread", true, func(ctx context.Context, b *bench, _ *conversation) error {
			b.threads++
			_, err := talent[adapters.ThreadCreator](b.adapter).CreateThread(ctx, newConversation(b.threads).thread)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.UserReader](a); ok {
		calls = append(calls, call{"ReadUser", false, func(ctx context.Context, b *bench, c *conversation) error {
			_, err := talent[adapters.UserReader](b.adapter).ReadUser(ctx, c.remote)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.UserUpdater](a); ok {
		calls = append(calls, call{"UpdateUser", true, func(ctx context.Context, b *bench, c *conversation) error {
			return talent[adapters.UserUpdater](b.adapter).UpdateUser(ctx, c.remote, c.thread.User)
		}})
	}
	if _, ok := adapters.As[adapters.ThreadReader](a); ok {
		calls = append(calls, call{"ReadThread", false, func(ctx context.Context, b *bench, c *conversation) error {
			_, err := talent[adapters.ThreadReader](b.adapter).ReadThread(ctx, c.remote)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.ThreadLister](a); ok {
		calls = append(calls, call{"ListThreads", false, func(ctx context.Context, b *bench, _ *conversation) error {
			_, err := talent[adapters.ThreadLister](b.adapter).ListThreads(ctx, adapters.Page{})
			return err
		}})
	}
	if _, ok := adapters.As[adapters.MessageLister](a); ok {
		calls = append(calls, call{"ListMessages", false, func(ctx context.Context, b *bench, c *conversation) error {
			_, err := talent[adapters.MessageLister](b.adapter).ListMessages(ctx, c.remote, adapters.Page{})
			return err
		}})
	}
	if _, ok := adapters.As[adapters.MessageReader](a); ok {
		calls = append(calls, call{"ReadMessage", false, func(ctx context.Context, b *bench, c *conversation) error {
			_, err := talent[adapters.MessageReader](b.adapter).ReadMessage(ctx, c.remote, c.history[0].RemoteID)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.ModeSwitcher](a); ok {
		calls = append(calls, call{"SwitchMode", true, func(ctx context.Context, b *bench, c *conversation) error {
			return talent[adapters.ModeSwitcher](b.adapter).SwitchMode(ctx, c.remote, normalize.ModeHuman)
		}})
	}
	if _, ok := adapters.As[adapters.Escalator](a); ok {
		calls = append(calls, call{"Escalate", true, func(ctx context.Context, b *bench, c *conversation) error {
			return talent[adapters.Escalator](b.adapter).Escalate(ctx, c.remote, "")
		}})
	}
	if _, ok := adapters.As[adapters.WebhookRegistrar](a); ok {
		calls = append(calls, call{"RegisterWebhook", true, func(ctx context.Context, b *bench, c *conversation) error {
			return talent[adapters.WebhookRegistrar](b.adapter).RegisterWebhook(ctx, c.remote, "https://chat.example.test/h", normalize.NewSecret("t"))
		}})
	}
	if _, ok := adapters.As[adapters.Uploader](a); ok {
		calls = append(calls, call{"Upload", true, func(ctx context.Context, b *bench, _ *conversation) error {
			_, err := talent[adapters.Uploader](b.adapter).Upload(ctx, adapters.File{
				Name: "a.pdf", ContentType: "application/pdf", Type: normalize.TypeDocument, Size: 5, Content: strings.NewReader("%PDF-"),
			})
			return err
		}})
	}
	if _, ok := adapters.As[adapters.AttachmentSender](a); ok {
		calls = append(calls, call{"SendAttachments", true, func(ctx context.Context, b *bench, c *conversation) error {
			turn := b.turn(c, "look")
			turn.Message.Attachments = []normalize.Attachment{{Type: normalize.TypeImage, URL: "https://files.example.test/a.png", Filename: "a.png"}}
			_, err := talent[adapters.AttachmentSender](b.adapter).SendAttachments(ctx, turn)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.OperatorSender](a); ok {
		calls = append(calls, call{"SendAsOperator", true, func(ctx context.Context, b *bench, c *conversation) error {
			turn := b.turn(c, "I take over")
			turn.Message.Role = normalize.RoleOperator
			_, err := talent[adapters.OperatorSender](b.adapter).SendAsOperator(ctx, turn)
			return err
		}})
	}
	if _, ok := adapters.As[adapters.RecordLister](a); ok {
		calls = append(calls, call{"ListRecords", false, func(ctx context.Context, b *bench, _ *conversation) error {
			_, err := talent[adapters.RecordLister](b.adapter).ListRecords(ctx, period(adapters.RecordQuery{}), adapters.Page{})
			return err
		}})
	}
	if _, ok := adapters.As[adapters.RecordExporter](a); ok {
		calls = append(calls, call{"ExportRecords", false, func(ctx context.Context, b *bench, _ *conversation) error {
			file, err := talent[adapters.RecordExporter](b.adapter).ExportRecords(ctx, period(adapters.RecordQuery{}))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, file.Content)
			return errors.Join(err, file.Content.Close())
		}})
	}
	if _, ok := adapters.As[adapters.ThreadDeleter](a); ok {
		calls = append(calls, call{"DeleteThread", true, func(ctx context.Context, b *bench, c *conversation) error {
			return talent[adapters.ThreadDeleter](b.adapter).DeleteThread(ctx, c.remote)
		}})
	}
	return calls
}

// period completes a query with yesterday to tomorrow.
func period(q adapters.RecordQuery) adapters.RecordQuery {
	q.Since, q.Until = time.Now().AddDate(0, 0, -1), time.Now().AddDate(0, 0, 1)
	return q
}

// known makes a conversation of which all is known that a call can name, the
// vendor's id of its first message included.
func (b *bench) known(ctx context.Context) (*conversation, error) {
	c, err := b.talk(ctx, "hello")
	if err != nil || !adapters.Has[adapters.MessageLister](b.adapter) {
		return c, err
	}
	messages, err := b.listMessages(ctx, c.remote, 0)
	if err == nil && len(messages) > 0 {
		c.history[0].RemoteID = messages[0].RemoteID
	}
	return c, err
}

func (b *bench) failsLikeSend(c call) error {
	ctx := context.Background()
	conversation, err := b.known(ctx)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		fault string
		want  wantError
	}{
		{"status 400", answered(normalize.KindRejected).with(400, 0)},
		{"echo_auth 401", answered(normalize.KindUnauthorized).with(401, 0)},
		{"status 404", answered(normalize.KindRejected, normalize.KindNotFound).with(404, 0)},
		{"status 429 retry-after=7", answered(normalize.KindRateLimited).with(429, 7*time.Second)},
		{"echo_auth 500", answered(normalize.KindVendorFault).with(500, 0)},
		{"redirect 307 http://127.0.0.9:9/", answered(normalize.KindRedirected).with(307, 0)},
		{"html", answered(normalize.KindInvalidReply)},
		{"cut 1", answered(normalize.KindTruncated, normalize.KindInvalidReply)},
		{"reset", unanswered(normalize.KindDisconnected)},
		{"garbage", unanswered(normalize.KindNotHTTP)},
	} {
		b.server.ResetLedger()
		b.server.Script(sandbox.MustScript("always " + f.fault)...)
		err := within(c.name, func() error { return c.do(ctx, b, conversation) })
		b.server.Script()
		if err == nil {
			return fmt.Errorf("%s: no error", f.fault)
		}
		if err := f.want.checkError(err); err != nil {
			return fmt.Errorf("%s: %w", f.fault, err)
		}
		if where := leak(err, b.Key); where != "" {
			return fmt.Errorf("%s: the key is in %s of the error", f.fault, where)
		}
		if n := effects(b.server.Ledger()); c.effect && n != 1 {
			return fmt.Errorf("%s: %d requests that can have an effect, want one", f.fault, n)
		}
	}
	return nil
}

func (b *bench) stopsWhenTold(c call) error {
	conversation, err := b.known(context.Background())
	if err != nil {
		return err
	}
	b.server.ResetLedger()
	b.server.Script(sandbox.MustScript("tarpit")...)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		_, _ = b.await(func(ledger []sandbox.Entry) bool { return len(ledger) > 0 })
		cancel(errors.New("the client left"))
	}()
	err = within(c.name, func() error { return c.do(ctx, b, conversation) })
	return unanswered(normalize.KindCanceled).checkError(orNothing(err))
}

// tells checks what the vendor tells about a thread, where it can be read.
func (b *bench) tells(ctx context.Context, c *conversation, check func(normalize.ThreadUpdate) error) error {
	reader, ok := adapters.As[adapters.ThreadReader](b.adapter)
	if !ok {
		return nil
	}
	read, err := reader.ReadThread(ctx, c.remote)
	if err != nil {
		return fmt.Errorf("ReadThread: %w", err)
	}
	return check(read.Update)
}

// isTranscript checks that messages are what was said in a conversation. Of a
// vendor that answers later only what the person said is certain.
func (b *bench) isTranscript(messages []normalize.Message, c *conversation) error {
	got, want := b.lines(messages), b.lines(c.history)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the messages are\n%swant\n%s", excerptLines(got), excerptLines(want))
	}
	return nil
}

// isTail checks that messages are the end of what was said in a conversation.
func (b *bench) isTail(messages []normalize.Message, c *conversation) error {
	got, want := b.lines(messages), b.lines(c.history)
	if len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
		return fmt.Errorf("the messages are\n%sof\n%s", excerptLines(got), excerptLines(want))
	}
	return nil
}

func (b *bench) lines(messages []normalize.Message) []string {
	var lines []string
	for _, m := range messages {
		if m.Role == normalize.RoleUser || !b.NoReplies {
			lines = append(lines, string(m.Role)+": "+m.Text)
		}
	}
	return lines
}

func excerptLines(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("\t" + excerpt(line) + "\n")
	}
	return b.String()
}

// pages reads a list to its end. A cursor that comes twice would have no end.
func pages[T any](limit int, read func(adapters.Page) (items []T, next string, err error)) ([]T, error) {
	var all []T
	seen := map[string]bool{}
	page := adapters.Page{Limit: limit}
	for range manyPages {
		items, next, err := read(page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		switch {
		case next == "":
			return all, nil
		case seen[next]:
			return nil, fmt.Errorf("the cursor %q comes twice", next)
		}
		seen[next] = true
		page.Cursor = next
	}
	return nil, fmt.Errorf("no end after %d pages", manyPages)
}

func (b *bench) listMessages(ctx context.Context, remote normalize.Remote, limit int) ([]normalize.Message, error) {
	return pages(limit, func(p adapters.Page) ([]normalize.Message, string, error) {
		page, err := talent[adapters.MessageLister](b.adapter).ListMessages(ctx, remote, p)
		return page.Messages, page.NextCursor, err
	})
}

func (b *bench) listThreads(ctx context.Context, limit int) ([]string, error) {
	threads, err := pages(limit, func(p adapters.Page) ([]adapters.RemoteThread, string, error) {
		page, err := talent[adapters.ThreadLister](b.adapter).ListThreads(ctx, p)
		return page.Threads, page.NextCursor, err
	})
	var ids []string
	for _, t := range threads {
		ids = append(ids, t.Remote.ThreadID)
	}
	return ids, err
}

func (b *bench) listRecords(ctx context.Context, q adapters.RecordQuery, limit int) ([]adapters.Record, error) {
	return pages(limit, func(p adapters.Page) ([]adapters.Record, string, error) {
		page, err := talent[adapters.RecordLister](b.adapter).ListRecords(ctx, period(q), p)
		return page.Records, page.NextCursor, err
	})
}

// sendsAttachment sends a message with an attachment in a new conversation.
func (b *bench) sendsAttachment(ctx context.Context, attachment normalize.Attachment) error {
	c, err := b.begin(ctx)
	if err != nil {
		return err
	}
	turn := b.turn(c, "look at this")
	turn.Message.Attachments = []normalize.Attachment{attachment}
	b.server.ResetLedger()
	reply, err := talent[adapters.AttachmentSender](b.adapter).SendAttachments(ctx, turn)
	if err != nil {
		return fmt.Errorf("SendAttachments: %w", err)
	}
	if err := b.onlyOne(); err != nil {
		return err
	}
	ledger := b.server.Ledger()
	name := attachment.ID
	if name == "" {
		name = attachment.URL
	}
	if err := arrived(ledger[len(ledger)-1].Body, name); err != nil {
		return err
	}
	return b.said(reply, b.Answer(1, turn.Message.Text, turn.Message.Text))
}
