package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chatmux/normalize"
)

func messageComesBackAsItWasStored(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "look at this")
	m.Type = normalize.TypeImage
	m.Attachments = []normalize.Attachment{
		{ID: "1", Type: normalize.TypeImage, URL: "https://x.example/a?b=1&c=<2>", Filename: "ä.png", ContentType: "image/png"},
	}
	m.Author = normalize.Author{ID: "u", Name: "Zoë", Email: "z@example.org", AvatarURL: "https://x.example/z"}
	m.Metadata = map[string]string{"k": "v\u2028"}
	f.begin(thread, m, "e1")
	m.Status, m.Backend, m.RemoteID, m.Raw = normalize.StatusSent, "desk", "r-1", json.RawMessage(`{"ok": true}`)
	reply := replyTo(m, "a fine picture")
	reply.Author = normalize.Author{Name: "Bot"}
	reply.Model, reply.Backend, reply.RemoteID, reply.Notice = "gpt-x", "desk", "r-2", "conversation_escalated"
	reply.Sources = []normalize.Source{{Title: "t", URL: "u", Text: "x"}, {Text: "y"}}
	reply.Suggestions = []normalize.Suggestion{{ID: "1", Title: "t", Text: "x", URL: "u"}}
	reply.Feedback, reply.Read, reply.Raw = normalize.FeedbackPositive, ptr(true), json.RawMessage(`{"n": 12345678901234567890}`)
	f.end(thread, m, "e1", normalize.StatusSent, func(fin *Finish) { fin.Replies = []normalize.Message{reply} })
	f.same("transcript", f.transcript(thread), []normalize.Message{m, reply})
	one, err := f.Message(t.Context(), "acme", thread.ID, reply.ID, true)
	f.must(err)
	f.same("one message", one, reply)
	one, err = f.Message(t.Context(), "acme", thread.ID, reply.ID, false)
	f.must(err)
	if one.Raw != nil {
		t.Errorf("raw came without being asked for: %s", one.Raw)
	}
}

func textComesBackByteForByte(t *testing.T, f *fixture) {
	texts := []string{
		"", " ", "\n\t \r\n", "plain", `"quotes" 'single' \back\\slash; DROP TABLE threads; -- $1 ?`, "100% _under_ \\%",
		"e\u0301 \u00e9 \u1100\u1161", "🙂👩‍👩‍👧‍👦 𝒳 𐍈", "שלום \u202eabc\u202c العربية", "line\u2028separator\u2029paragraph",
		"<script>alert(1)</script> &amp; &", "\ufeffbom \ufffd \ufffe", "\u0001\u007f\u0085", "中文 日本語 한국어",
		strings.Repeat("é🙂\u2028", 65536/3), strings.Repeat("x", 65536),
	}
	thread := newThread("acme")
	thread.Title = strings.Join(texts[:14], "|")
	thread.Metadata = map[string]string{"all": thread.Title}
	thread.User.Info = thread.Title
	f.must(f.CreateThread(t.Context(), thread))
	f.same("thread", f.read(thread).Thread, thread)
	var want []normalize.Message
	for _, text := range texts {
		m := userMessage(thread.ID, text)
		m.Metadata = map[string]string{"text": text}
		f.begin(thread, m, "e")
		reply := replyTo(m, text+text)
		reply.Sources = []normalize.Source{{Text: text}}
		f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Replies = []normalize.Message{reply} })
		m.Status = normalize.StatusSent
		want = append(want, m, reply)
	}
	f.same("transcript", f.transcript(thread), want)
}

func historyIsWhatWasSaid(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, "one")
	failed := userMessage(thread.ID, "failed")
	f.begin(thread, failed, "e")
	f.end(thread, failed, "e", normalize.StatusFailed)
	cut := userMessage(thread.ID, "two")
	f.begin(thread, cut, "e")
	f.end(thread, cut, "e", normalize.StatusSent, func(fin *Finish) { fin.Replies[0].Status = normalize.StatusIncomplete })
	human := userMessage(thread.ID, "three")
	f.begin(thread, human, "e")
	f.end(thread, human, "e", normalize.StatusSent, func(fin *Finish) {
		notice := replyTo(human, "moved")
		notice.Role = normalize.RoleSystem
		fin.Replies[0].Role = normalize.RoleOperator
		fin.Replies = append(fin.Replies, notice)
	})
	now := userMessage(thread.ID, "now")
	f.begin(thread, now, "e")

	for name, c := range map[string]struct {
		before          string
		messages, bytes int
		want            []string
	}{
		"all":             {now.ID, 0, 0, []string{"one", "reply to one", "two", "three", "reply to three"}},
		"all of it":       {"", 10, 1000, []string{"one", "reply to one", "two", "three", "reply to three"}},
		"earlier":         {cut.ID, 10, 1000, []string{"one", "reply to one"}},
		"newest messages": {now.ID, 3, 0, []string{"two", "three", "reply to three"}},
		"newest bytes":    {now.ID, 0, len("threereply to three") + 3, []string{"two", "three", "reply to three"}},
		"a byte too few":  {now.ID, 0, len("threereply to three") + 2, []string{"three", "reply to three"}},
		"nothing fits":    {now.ID, 0, 1, nil},
	} {
		list, err := f.History(t.Context(), "acme", thread.ID, c.before, c.messages, c.bytes)
		f.must(err)
		var got []string
		for _, m := range list {
			got = append(got, m.Text)
		}
		f.same(name, got, c.want)
	}
	_, err := f.History(t.Context(), "acme", thread.ID, newID("msg"), 10, 10)
	f.wantErr("before no message", err, ErrNotFound)
	_, err = f.History(t.Context(), "acme", newID("thr"), "", 10, 10)
	f.wantErr("of no thread", err, ErrNotFound)
	empty, err := f.History(t.Context(), "acme", f.thread("acme").ID, "", 10, 10)
	f.must(err)
	f.same("of an empty thread", empty, []normalize.Message(nil))
}

func transcriptPagesMeet(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	for i := range 7 {
		f.say(thread, fmt.Sprint(i))
	}
	var want []string
	for _, m := range f.transcript(thread) {
		want = append(want, m.ID)
	}
	walk := func(r Range) (ids []string) {
		for {
			list, more, err := f.Messages(t.Context(), "acme", thread.ID, r)
			f.must(err)
			for _, m := range list {
				ids = append(ids, m.ID)
			}
			if !more {
				return ids
			}
			r.After.Seq = list[len(list)-1].Seq
			f.say(thread, "meanwhile")
		}
	}
	f.same("newest first", walk(Range{Limit: 4}), func() []string { r := slices.Clone(want); slices.Reverse(r); return r }())
	f.same("oldest first", walk(Range{Limit: 5, Ascending: true})[:len(want)], want)
	list, more, err := f.Messages(t.Context(), "acme", f.thread("acme").ID, Range{Limit: 5})
	f.must(err)
	if len(list) != 0 || more {
		t.Errorf("an empty thread has %d messages, more %v", len(list), more)
	}
}

func updateMessageKeepsItsIdentity(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := f.say(thread, "hello")
	before := f.transcript(thread)
	got, err := f.UpdateMessage(t.Context(), "acme", thread.ID, before[1].ID, func(m *normalize.Message) error {
		m.ID, m.ThreadID, m.CreatedAt = "x", "y", at(9)
		m.Feedback, m.Read, m.Raw = normalize.FeedbackNegative, ptr(true), json.RawMessage(`{"seen": 1}`)
		return nil
	})
	f.must(err)
	want := before[1]
	want.Feedback, want.Read, want.Raw = normalize.FeedbackNegative, ptr(true), json.RawMessage(`{"seen": 1}`)
	f.same("as returned", got, want)
	got, err = f.UpdateMessage(t.Context(), "acme", thread.ID, want.ID, func(m *normalize.Message) error { m.Text += "!"; return nil })
	f.must(err)
	want.Text += "!"
	f.same("as stored", f.transcript(thread), []normalize.Message{before[0], want})
	f.same("the second time", got.Text, want.Text)
	refused := errors.New("no")
	_, err = f.UpdateMessage(t.Context(), "acme", thread.ID, m.ID, func(m *normalize.Message) error { m.Text = "x"; return refused })
	f.wantErr("refusal", err, refused)
	f.same("after the refusal", f.transcript(thread)[0], before[0])
	_, err = f.UpdateMessage(t.Context(), "acme", thread.ID, newID("msg"), func(*normalize.Message) error { return nil })
	f.wantErr("of none", err, ErrNotFound)
}
