package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"chatmux/normalize"
)

// testStore holds every promise of a Store. A dialect calls it with a way to open
// an empty database of its own.
func testStore(t *testing.T, open func(t *testing.T) *Store) {
	promises := map[string]func(*testing.T, *fixture){
		"ThreadComesBackAsItWasStored":               threadComesBackAsItWasStored,
		"MessageComesBackAsItWasStored":              messageComesBackAsItWasStored,
		"TextComesBackByteForByte":                   textComesBackByteForByte,
		"ThreadIsMadeOnce":                           threadIsMadeOnce,
		"ThreadsAreListedInOrderAndPagesMeet":        threadsAreListedInOrderAndPagesMeet,
		"PagesStayTrueWhileThreadsAreAdded":          pagesStayTrueWhileThreadsAreAdded,
		"EachFilterSelects":                          eachFilterSelects,
		"SearchTakesItsTextLiterally":                searchTakesItsTextLiterally,
		"TagsAreFoundAsTheyAreNow":                   tagsAreFoundAsTheyAreNow,
		"AnotherTenantSeesAndChangesNothing":         anotherTenantSeesAndChangesNothing,
		"UpdateThreadIsWholeOrNothing":               updateThreadIsWholeOrNothing,
		"UpdateThreadAppendsNotices":                 updateThreadAppendsNotices,
		"DeletedThreadLeavesNothing":                 deletedThreadLeavesNothing,
		"SendIsStoredAsItGoes":                       sendIsStoredAsItGoes,
		"NewThreadIsMadeWithItsMessage":              newThreadIsMadeWithItsMessage,
		"OneSendHoldsAThread":                        oneSendHoldsAThread,
		"AcceptSeesThatTheThreadHasChanged":          acceptSeesThatTheThreadHasChanged,
		"LateWritesOfALostRunAreRefused":             lateWritesOfALostRunAreRefused,
		"TakingOverSettlesTheRunBefore":              takingOverSettlesTheRunBefore,
		"ChangeDuringASendIsNotLost":                 changeDuringASendIsNotLost,
		"BindingsAreAppendOnly":                      bindingsAreAppendOnly,
		"BindingIsDurableBeforeTheSend":              bindingIsDurableBeforeTheSend,
		"RepeatedKeyGetsTheStoredAnswer":             repeatedKeyGetsTheStoredAnswer,
		"KeyMatchesByPathAndBody":                    keyMatchesByPathAndBody,
		"KeyOfAFailedMessageRunsTheSameMessageAgain": keyOfAFailedMessageRunsTheSameMessageAgain,
		"KeyRunsNoOtherMessage":                      keyRunsNoOtherMessage,
		"KeyRunsWhileItsMessageIsSentAgain":          keyRunsWhileItsMessageIsSentAgain,
		"KeyOfADeadRunIsSettledByItsRepeat":          keyOfADeadRunIsSettledByItsRepeat,
		"ResendKeepsTheMessage":                      resendKeepsTheMessage,
		"SweepTakesOldKeysThatDoNotRun":              sweepTakesOldKeysThatDoNotRun,
		"SweepRacesARepeat":                          sweepRacesARepeat,
		"RecoverSettlesWhatACrashLeft":               recoverSettlesWhatACrashLeft,
		"RecoverWorksInBatches":                      recoverWorksInBatches,
		"HistoryIsWhatWasSaid":                       historyIsWhatWasSaid,
		"TranscriptPagesMeet":                        transcriptPagesMeet,
		"UpdateMessageKeepsItsIdentity":              updateMessageKeepsItsIdentity,
		"OneBadWriteHurtsNoOther":                    oneBadWriteHurtsNoOther,
		"PanicOfAChangeHurtsNoOther":                 panicOfAChangeHurtsNoOther,
		"GivenUpWriteNeverBegins":                    givenUpWriteNeverBegins,
		"OneKeyRunsOnce":                             oneKeyRunsOnce,
		"HundredGoroutinesAgree":                     hundredGoroutinesAgree,
		"PingWrites":                                 pingWrites,
		"ClosedStoreSaysSo":                          closedStoreSaysSo,
	}
	for _, name := range slices.Sorted(maps.Keys(promises)) {
		t.Run(name, func(t *testing.T) { promises[name](t, &fixture{Store: open(t), t: t}) })
	}
}

// fixture is a store with short ways to what the tests do most.
type fixture struct {
	*Store
	t *testing.T
}

// t0 is the time that the tests begin at.
var t0 = time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)

func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

var lastID atomic.Int64

func newID(prefix string) string { return fmt.Sprintf("%s_%026d", prefix, lastID.Add(1)) }

func newThread(tenant string) normalize.Thread {
	return normalize.Thread{
		ID: newID("thr"), Tenant: tenant, Mode: normalize.ModeAI, Status: normalize.ThreadOpen, CreatedAt: t0, UpdatedAt: t0,
	}
}

func userMessage(threadID, text string) normalize.Message {
	return normalize.Message{
		ID: newID("msg"), ThreadID: threadID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: text,
		Status: normalize.StatusPending, CreatedAt: t0,
	}
}

func replyTo(m normalize.Message, text string) normalize.Message {
	return normalize.Message{
		ID: newID("msg"), ThreadID: m.ThreadID, Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: text,
		Status: normalize.StatusComplete, InReplyTo: m.ID, CreatedAt: t0,
	}
}

func newKey(tenant, body string) *Key {
	k := &Key{Tenant: tenant, Key: newID("key"), Path: "POST /v1/messages"}
	copy(k.BodyHash[:], body)
	return k
}

func newAttempt(m normalize.Message, epoch string) *Attempt {
	return &Attempt{ID: newID("att"), ThreadID: m.ThreadID, MessageID: m.ID, Backend: "desk", Epoch: epoch, StartedAt: t0}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wantErr(what string, got, want error) {
	f.t.Helper()
	if !errors.Is(got, want) {
		f.t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// same compares what a reader gets with what it should get; an empty list is as good
// as none.
func (f *fixture) same(what string, got, want any) {
	f.t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (f *fixture) thread(tenant string) normalize.Thread {
	f.t.Helper()
	thread := newThread(tenant)
	f.must(f.CreateThread(f.t.Context(), thread))
	return thread
}

func (f *fixture) read(t normalize.Thread) StoredThread {
	f.t.Helper()
	got, err := f.Thread(f.t.Context(), t.Tenant, t.ID, true)
	f.must(err)
	return got
}

func (f *fixture) transcript(t normalize.Thread) []normalize.Message {
	f.t.Helper()
	list, more, err := f.Messages(f.t.Context(), t.Tenant, t.ID, Range{Ascending: true, Limit: 200, Raw: true})
	f.must(err)
	if more {
		f.t.Fatal("more than 200 messages")
	}
	messages := make([]normalize.Message, len(list))
	for i, m := range list {
		messages[i] = m.Message
		if m.Seq != int64(i+1) {
			f.t.Errorf("message %d has position %d", i+1, m.Seq)
		}
	}
	return messages
}

// begin accepts a message in a thread as it is now.
func (f *fixture) begin(t normalize.Thread, m normalize.Message, epoch string, more ...func(*Acceptance)) AcceptResult {
	f.t.Helper()
	a := Acceptance{Thread: t, Version: f.read(t).Version, Message: m, Epoch: epoch, Lease: time.Minute, Now: t0}
	for _, set := range more {
		set(&a)
	}
	r, err := f.Accept(f.t.Context(), a)
	f.must(err)
	return r
}

func withKey(k *Key) func(*Acceptance)          { return func(a *Acceptance) { a.Key = k } }
func withAttempt(at *Attempt) func(*Acceptance) { return func(a *Acceptance) { a.Attempt = at } }

// end finishes a send with a status and, where it was sent, one reply.
func (f *fixture) end(t normalize.Thread, m normalize.Message, epoch string, status normalize.MessageStatus, more ...func(*Finish)) {
	f.t.Helper()
	m.Status = status
	fin := Finish{Thread: f.read(t).Thread, Message: m, Epoch: epoch, Now: at(1)}
	if status == normalize.StatusSent {
		fin.Replies = []normalize.Message{replyTo(m, "reply to "+m.Text)}
	}
	for _, set := range more {
		set(&fin)
	}
	f.must(f.Finish(f.t.Context(), fin))
}

// say is a whole turn.
func (f *fixture) say(t normalize.Thread, text string) normalize.Message {
	f.t.Helper()
	m := userMessage(t.ID, text)
	f.begin(t, m, m.ID)
	f.end(t, m, m.ID, normalize.StatusSent)
	return m
}

func ptr[T any](v T) *T { return &v }

func fullThread(tenant string) normalize.Thread {
	t := newThread(tenant)
	t.Backend, t.Route, t.Title = "desk", "vip", "Where is my parcel? <b>&amp;</b>"
	t.User = normalize.User{ID: "u-1", Name: "Zoë 🙂", Email: "zoe@example.org", Phone: "+49 30 1", Info: "likes \"quotes\""}
	t.Mode, t.Status = normalize.ModeHuman, normalize.ThreadBlocked
	t.Tags = []normalize.Tag{{ID: "1", Name: "urgent", Color: "#f00"}, {Name: "vip"}}
	t.Assignees = []normalize.Assignee{{ID: "a1", Name: "Ana", Email: "ana@example.org"}}
	t.Metadata = map[string]string{"plan": "gold", "empty": ""}
	t.Channel = normalize.Channel{ID: "c", Name: "web", Type: "api"}
	t.Escalated = ptr(false)
	t.Bindings = []normalize.Binding{
		{Backend: "old", Vendor: "altur", Bot: "b0", Remote: normalize.Remote{ThreadID: "r0"}, Since: t0, Until: at(1), Reason: "moved"},
		{Backend: "older", Vendor: "sitegpt", Remote: normalize.Remote{ThreadID: "r1"}, Since: at(1), Until: at(2), Reason: "moved"},
		{Backend: "desk", Vendor: "altur", Bot: "b1", Remote: normalize.Remote{ThreadID: "r2", UserID: "u2"}, Since: at(2), Reason: "back"},
	}
	t.Raw = json.RawMessage(`{"id": "r2",  "x": 1.0}`)
	return t
}

func threadComesBackAsItWasStored(t *testing.T, f *fixture) {
	for name, want := range map[string]normalize.Thread{"full": fullThread("acme"), "bare": newThread("acme")} {
		f.must(f.CreateThread(t.Context(), want))
		f.same(name, f.read(want).Thread, want)
		plain, err := f.Thread(t.Context(), "acme", want.ID, false)
		f.must(err)
		want.Raw = nil
		f.same(name+" without raw", plain.Thread, want)
		list, _, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, Range{})
		f.must(err)
		i := slices.IndexFunc(list, func(l StoredThread) bool { return l.ID == want.ID })
		f.same(name+" in the list", list[i].Thread, want)
	}
}

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

func threadIsMadeOnce(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	again := thread
	again.Tenant, again.Title = "other", "stolen"
	f.wantErr("CreateThread", f.CreateThread(t.Context(), again), ErrChanged)
	_, err := f.Accept(t.Context(), Acceptance{
		Thread: again, NewThread: true, Message: userMessage(again.ID, "x"), Epoch: "e", Lease: time.Minute, Now: t0,
	})
	f.wantErr("Accept", err, ErrChanged)
	f.same("thread", f.read(thread).Thread, thread)
}

// page walks through a list by its own positions.
func (f *fixture) pages(filter ThreadFilter, r Range) (ids []string) {
	f.t.Helper()
	for {
		list, more, err := f.Threads(f.t.Context(), filter, r)
		f.must(err)
		for _, t := range list {
			ids = append(ids, t.ID)
		}
		if !more {
			return ids
		}
		if len(list) != r.Limit {
			f.t.Fatalf("a page of %d, want %d", len(list), r.Limit)
		}
		last := list[len(list)-1]
		r.After = Position{Time: last.UpdatedAt, ID: last.ID}
	}
}

func threadsAreListedInOrderAndPagesMeet(t *testing.T, f *fixture) {
	var want []string // last updated first; of the same time the greater id first
	for i := range 23 {
		thread := newThread("acme")
		thread.UpdatedAt = at(i / 5) // ties
		f.must(f.CreateThread(t.Context(), thread))
		want = append(want, thread.ID)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 5, 7, 22, 23, 24} {
		f.same(fmt.Sprint("newest first by ", limit), f.pages(ThreadFilter{Tenant: "acme"}, Range{Limit: limit}), want)
	}
	slices.Reverse(want)
	f.same("oldest first", f.pages(ThreadFilter{Tenant: "acme"}, Range{Limit: 4, Ascending: true}), want)
}

func pagesStayTrueWhileThreadsAreAdded(t *testing.T, f *fixture) {
	var want []string
	for i := range 12 {
		thread := newThread("acme")
		thread.UpdatedAt = at(i)
		f.must(f.CreateThread(t.Context(), thread))
		want = append([]string{thread.ID}, want...)
	}
	var got []string
	r := Range{Limit: 5}
	for more := true; more; {
		var list []StoredThread
		var err error
		list, more, err = f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, r)
		f.must(err)
		for _, thread := range list {
			got = append(got, thread.ID)
		}
		last := list[len(list)-1]
		r.After = Position{Time: last.UpdatedAt, ID: last.ID}
		fresh := newThread("acme") // newer than all: before the first page
		fresh.UpdatedAt = at(100)
		f.must(f.CreateThread(t.Context(), fresh))
	}
	f.same("pages", got, want)
}

func eachFilterSelects(t *testing.T, f *fixture) {
	full := fullThread("acme")
	full.UpdatedAt = at(10)
	f.must(f.CreateThread(t.Context(), full))
	bare := f.thread("acme")
	f.thread("other")
	f.say(bare, "Ein Paket mit Namen")
	for name, c := range map[string]struct {
		filter ThreadFilter
		want   []string
	}{
		"all":                  {ThreadFilter{}, []string{full.ID, bare.ID}},
		"backend":              {ThreadFilter{Backend: "desk"}, []string{full.ID}},
		"backend of none":      {ThreadFilter{Backend: "old"}, nil},
		"route":                {ThreadFilter{Route: "vip"}, []string{full.ID}},
		"user":                 {ThreadFilter{User: "u-1"}, []string{full.ID}},
		"status":               {ThreadFilter{Status: normalize.ThreadBlocked}, []string{full.ID}},
		"status open":          {ThreadFilter{Status: normalize.ThreadOpen}, []string{bare.ID}},
		"mode":                 {ThreadFilter{Mode: normalize.ModeHuman}, []string{full.ID}},
		"mode ai":              {ThreadFilter{Mode: normalize.ModeAI}, []string{bare.ID}},
		"tag id":               {ThreadFilter{Tag: "1"}, []string{full.ID}},
		"tag name":             {ThreadFilter{Tag: "vip"}, []string{full.ID}},
		"tag of none":          {ThreadFilter{Tag: "vi"}, nil},
		"updated after":        {ThreadFilter{UpdatedAfter: at(1)}, []string{full.ID}},
		"updated after itself": {ThreadFilter{UpdatedAfter: at(10)}, nil},
		"text":                 {ThreadFilter{Query: "paket MIT"}, []string{bare.ID}},
		"text of none":         {ThreadFilter{Query: "parcel"}, nil},
		"several":              {ThreadFilter{Backend: "desk", Status: normalize.ThreadBlocked, Tag: "vip", User: "u-1"}, []string{full.ID}},
		"several that differ":  {ThreadFilter{Backend: "desk", Status: normalize.ThreadOpen}, nil},
	} {
		c.filter.Tenant = "acme"
		f.same(name, f.pages(c.filter, Range{Limit: 1}), c.want)
	}
}

func searchTakesItsTextLiterally(_ *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, `50% off_now \o/ "x" 🙂`)
	for query, found := range map[string]bool{
		"50%": true, "5%f": false, "off_now": true, "offxnow": false, "f_n": true, `\o/`: true, `\\o`: false,
		`"X"`: true, "🙂": true, "%": true, "_": true, "%%": false,
	} {
		if got := len(f.pages(ThreadFilter{Tenant: "acme", Query: query}, Range{Limit: 10})) == 1; got != found {
			f.t.Errorf("q=%s: found %v, want %v", query, got, found)
		}
	}
}

func tagsAreFoundAsTheyAreNow(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	tagged := func(tag string) bool {
		return len(f.pages(ThreadFilter{Tenant: "acme", Tag: tag}, Range{Limit: 10})) == 1
	}
	for _, tags := range [][]normalize.Tag{{{ID: "1", Name: "a"}, {ID: "1", Name: "b"}}, {{ID: "b"}}, {}, {{Name: "a"}}} {
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { st.Tags = tags; return nil })
		f.must(err)
		for _, tag := range []string{"1", "a", "b"} {
			want := slices.ContainsFunc(tags, func(g normalize.Tag) bool { return g.ID == tag || g.Name == tag })
			if tagged(tag) != want {
				t.Errorf("with tags %v, the filter %q finds the thread: %v", tags, tag, !want)
			}
		}
	}
}

// anotherTenantSeesAndChangesNothing is the matrix of every method that takes a
// tenant.
func anotherTenantSeesAndChangesNothing(t *testing.T, f *fixture) {
	ctx := t.Context()
	mine := fullThread("acme")
	f.must(f.CreateThread(ctx, mine))
	said := f.say(mine, "secret")
	key := newKey("acme", "b")
	running := userMessage(mine.ID, "on its way")
	f.begin(mine, running, "e", withKey(key))
	before, beforeText := f.read(mine), f.transcript(mine)

	foreign := mine
	foreign.Tenant = "other"
	for name, call := range map[string]func() error{
		"Thread": func() error { _, err := f.Thread(ctx, "other", mine.ID, true); return err },
		"UpdateThread": func() error {
			_, err := f.UpdateThread(ctx, "other", mine.ID, t0, func(*StoredThread) error { t.Error("change was called"); return nil })
			return err
		},
		"DeleteThread": func() error { return f.DeleteThread(ctx, "other", mine.ID, at(60)) },
		"Accept": func() error {
			_, err := f.Accept(ctx, Acceptance{
				Thread: foreign, Version: before.Version, Message: userMessage(mine.ID, "x"), Epoch: "x", Lease: time.Minute, Now: at(60),
			})
			return err
		},
		"Accept to resend": func() error {
			_, err := f.Accept(ctx, Acceptance{
				Thread: foreign, Version: before.Version, Message: said, Resend: true, Epoch: "x", Lease: time.Minute, Now: at(60),
			})
			return err
		},
		"Message":  func() error { _, err := f.Message(ctx, "other", mine.ID, said.ID, true); return err },
		"Messages": func() error { _, _, err := f.Messages(ctx, "other", mine.ID, Range{}); return err },
		"UpdateMessage": func() error {
			_, err := f.UpdateMessage(ctx, "other", mine.ID, said.ID, func(*normalize.Message) error { t.Error("change was called"); return nil })
			return err
		},
		"History":        func() error { _, err := f.History(ctx, "other", mine.ID, "", 0, 0); return err },
		"History before": func() error { _, err := f.History(ctx, "other", mine.ID, running.ID, 0, 0); return err },
	} {
		f.wantErr(name, call(), ErrNotFound)
	}
	f.wantErr("Finish", f.Finish(ctx, Finish{Thread: foreign, Message: running, Epoch: "e", Now: t0}), ErrLost)
	f.wantErr("SaveBinding", f.SaveBinding(ctx, "other", mine.ID, "e", normalize.Binding{Backend: "x"}, t0), ErrLost)
	list, _, err := f.Threads(ctx, ThreadFilter{Tenant: "other", Query: "secret"}, Range{})
	f.must(err)
	f.same("Threads", list, []StoredThread(nil))
	list, _, err = f.Threads(ctx, ThreadFilter{Tenant: "other", Tag: "vip"}, Range{})
	f.must(err)
	f.same("Threads by tag", list, []StoredThread(nil))
	hidden := *key
	hidden.Tenant = "other"
	state, err := f.LookupKey(ctx, hidden, t0)
	f.must(err)
	f.same("LookupKey", state, KeyState{})

	// Another thread of the same tenant is no way in either.
	elsewhere := f.thread("acme")
	_, err = f.Message(ctx, "acme", elsewhere.ID, said.ID, true)
	f.wantErr("Message by another thread", err, ErrNotFound)
	_, err = f.Accept(ctx, Acceptance{Thread: elsewhere, Version: 1, Message: said, Resend: true, Epoch: "x", Lease: time.Minute, Now: t0})
	f.wantErr("resend by another thread", err, ErrNotFound)

	f.same("thread", f.read(mine), before)
	f.same("transcript", f.transcript(mine), beforeText)
}

func updateThreadIsWholeOrNothing(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	before := f.read(thread)
	refused := errors.New("not this one")
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(5), func(st *StoredThread) error {
		st.Title, st.Tags, st.Bindings = "half", nil, nil
		return refused
	})
	if err != refused { //nolint:errorlint // handed back as it is
		t.Errorf("error %v, want %v", err, refused)
	}
	f.same("after a refusal", f.read(thread), before)

	got, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(5), func(st *StoredThread) error {
		st.ID, st.Tenant, st.CreatedAt, st.MessageCount, st.Version = "thr_x", "other", at(9), 99, 99
		st.Title, st.Carry, st.Status, st.User.ID = "", "transcript", normalize.ThreadOpen, "u-2"
		st.Metadata = map[string]string{"new": "1"}
		return nil
	})
	f.must(err)
	want := before
	want.Title, want.Carry, want.Status, want.User.ID, want.Metadata = "", "transcript", normalize.ThreadOpen, "u-2", map[string]string{"new": "1"}
	want.UpdatedAt, want.Version = at(5), before.Version+1
	f.same("as stored", f.read(thread), want)
	want.Raw = nil
	f.same("as returned", got, want)
	_, err = f.UpdateThread(t.Context(), "acme", newID("thr"), t0, func(*StoredThread) error { return nil })
	f.wantErr("of none", err, ErrNotFound)
}

func updateThreadAppendsNotices(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.say(thread, "hello")
	notice := normalize.Message{
		ID: newID("msg"), ThreadID: thread.ID, Role: normalize.RoleSystem, Type: normalize.TypeText, Text: "moved", Status: normalize.StatusComplete,
		Notice: "thread_moved", CreatedAt: at(2),
	}
	got, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(2), func(st *StoredThread) error {
		if st.Busy {
			t.Error("busy without a send")
		}
		st.Append = []normalize.Message{notice}
		return nil
	})
	f.must(err)
	f.same("as returned", got, f.read(thread))
	list := f.transcript(thread)
	if got.MessageCount != 3 || len(list) != 3 {
		t.Fatalf("%d messages counted, %d stored, want 3", got.MessageCount, len(list))
	}
	f.same("notice", list[2], notice)
	f.begin(thread, userMessage(thread.ID, "x"), "e")
	_, err = f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error {
		if !st.Busy {
			t.Error("not busy during a send")
		}
		return nil
	})
	f.must(err)
}

func deletedThreadLeavesNothing(t *testing.T, f *fixture) {
	thread, other := fullThread("acme"), f.thread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	kept := f.say(other, "kept")
	key := newKey("acme", "b")
	m := userMessage(thread.ID, "gone")
	f.begin(thread, m, "e", withKey(key), withAttempt(newAttempt(m, "e")))
	f.wantErr("while a send holds it", f.DeleteThread(t.Context(), "acme", thread.ID, t0), ErrBusy)
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
	f.must(f.DeleteThread(t.Context(), "acme", thread.ID, t0))
	f.wantErr("again", f.DeleteThread(t.Context(), "acme", thread.ID, t0), ErrNotFound)
	_, _, err := f.Messages(t.Context(), "acme", thread.ID, Range{})
	f.wantErr("its messages", err, ErrNotFound)
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if state.Found {
		t.Error("its key is still there")
	}
	for _, table := range []string{"thread_tags", "bindings", "messages", "sends", "attempts", "idempotency_keys"} {
		if n := f.count("SELECT COUNT(*) FROM "+table+" WHERE thread_id = $1", thread.ID); n != 0 {
			t.Errorf("%d rows left in %s", n, table)
		}
	}
	if got := f.transcript(other); len(got) != 2 || got[0].ID != kept.ID {
		t.Errorf("the other thread has %d messages now", len(got))
	}
}

// count asks the database itself.
func (f *fixture) count(text string, args ...any) (n int) {
	f.t.Helper()
	f.must(f.Store.read(f.t.Context(), func(tx *session) error {
		return tx.eachOf(text, args, func(row scanner) error { return row.Scan(&n) })
	}))
	return n
}

func sendIsStoredAsItGoes(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	first := newAttempt(m, "e1")
	r := f.begin(thread, m, "e1", withAttempt(first))
	f.same("result", r, AcceptResult{Accepted: true, Version: 2, Seq: 1})
	st := f.read(thread)
	if st.MessageCount != 1 || !st.Busy || st.Version != r.Version {
		t.Errorf("after Accept: %d messages, busy %v, version %d", st.MessageCount, st.Busy, st.Version)
	}
	f.same("accepted", f.transcript(thread), []normalize.Message{m})

	second := newAttempt(m, "e1")
	f.must(f.BeginAttempt(t.Context(), *second, &AttemptEnd{ID: first.ID, Kind: "unreachable", Phase: 0, EndedAt: at(1)}))
	ended := "SELECT COUNT(*) FROM attempts WHERE id = $1 AND kind = 'unreachable' AND ended_at = $2"
	if n := f.count(ended, first.ID, at(1).UnixMilli()); n != 1 {
		t.Error("the first attempt has not ended")
	}

	m.Status, m.Backend, m.RemoteID = normalize.StatusSent, "desk", "r"
	replies := []normalize.Message{replyTo(m, "one"), replyTo(m, "two")}
	want := st.Thread
	want.Backend, want.Route, want.Title, want.Status = "desk", "vip", "told", normalize.ThreadBlocked
	want.Bindings = []normalize.Binding{
		{Backend: "desk", Vendor: "altur", Since: at(1), Remote: normalize.Remote{ThreadID: "r"}, Reason: "routed"}}
	f.must(f.Finish(t.Context(), Finish{
		Thread: want, Version: r.Version, Carry: "transcript", Message: m, Replies: replies, Epoch: "e1", Now: at(2),
		Attempt: &AttemptEnd{ID: second.ID, Phase: 2, EndedAt: at(2)},
	}))
	f.same("transcript", f.transcript(thread), append([]normalize.Message{m}, replies...))
	want.MessageCount, want.UpdatedAt = 3, at(2)
	f.same("thread", f.read(thread), StoredThread{Thread: want, Version: 3, Carry: "transcript"})
	if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
		t.Errorf("%d attempts without an end", n)
	}
}

func newThreadIsMadeWithItsMessage(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	m := userMessage(thread.ID, "first")
	r, err := f.Accept(t.Context(), Acceptance{
		Thread: thread, NewThread: true, Message: m, Epoch: "e", Lease: time.Minute, Now: t0, Attempt: newAttempt(m, "e"),
	})
	f.must(err)
	thread.MessageCount = 1
	f.same("thread", f.read(thread), StoredThread{Thread: thread, Version: r.Version, Busy: true})
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Version = r.Version })
	if got := f.transcript(thread); len(got) != 2 {
		t.Errorf("%d messages, want 2", len(got))
	}
}

func oneSendHoldsAThread(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "one")
	f.begin(thread, m, "e1")
	second := Acceptance{
		Thread: thread, Version: f.read(thread).Version, Message: userMessage(thread.ID, "two"), Epoch: "e2", Lease: time.Minute, Now: at(0),
	}
	_, err := f.Accept(t.Context(), second)
	f.wantErr("a second send", err, ErrBusy)
	f.end(thread, m, "e1", normalize.StatusFailed)
	second.Version = f.read(thread).Version
	_, err = f.Accept(t.Context(), second)
	f.must(err)
	f.same("transcript", len(f.transcript(thread)), 2)
}

func acceptSeesThatTheThreadHasChanged(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	version := f.read(thread).Version
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { st.Mode = normalize.ModeHuman; return nil })
	f.must(err)
	a := Acceptance{
		Thread: thread, Version: version, Message: userMessage(thread.ID, "x"), Key: newKey("acme", "b"), Epoch: "e", Lease: time.Minute, Now: t0,
	}
	_, err = f.Accept(t.Context(), a)
	f.wantErr("Accept", err, ErrChanged)
	f.same("messages", len(f.transcript(thread)), 0)
	state, err := f.LookupKey(t.Context(), *a.Key, t0)
	f.must(err)
	if state.Found {
		t.Error("a refused request used up its key")
	}
	a.Thread.ID = newID("thr")
	_, err = f.Accept(t.Context(), a)
	f.wantErr("in no thread", err, ErrNotFound)
}

func lateWritesOfALostRunAreRefused(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	old := userMessage(thread.ID, "stalled")
	key := newKey("acme", "b")
	f.begin(thread, old, "e1", withKey(key), withAttempt(newAttempt(old, "e1")))
	// The lease is over: another run takes the thread.
	young := userMessage(thread.ID, "young")
	f.begin(thread, young, "e2", func(a *Acceptance) { a.Now = at(2) })
	before, text := f.read(thread), f.transcript(thread)

	old.Status = normalize.StatusSent
	fin := Finish{Thread: thread, Message: old, Replies: []normalize.Message{replyTo(old, "late")}, Key: key, Status: 200, Epoch: "e1", Now: at(3)}
	f.wantErr("Finish", f.Finish(t.Context(), fin), ErrLost)
	f.wantErr("BeginAttempt", f.BeginAttempt(t.Context(), *newAttempt(old, "e1"), nil), ErrLost)
	f.wantErr("SaveBinding", f.SaveBinding(t.Context(), "acme", thread.ID, "e1", normalize.Binding{Backend: "x"}, t0), ErrLost)
	f.same("thread", f.read(thread), before)
	f.same("transcript", f.transcript(thread), text)
	f.end(thread, young, "e2", normalize.StatusSent)
	f.wantErr("Finish of a free thread", f.Finish(t.Context(), fin), ErrLost)
	f.must(f.DeleteThread(t.Context(), "acme", thread.ID, at(3)))
	f.wantErr("Finish of a deleted thread", f.Finish(t.Context(), fin), ErrLost)
}

func takingOverSettlesTheRunBefore(_ *testing.T, f *fixture) {
	for _, c := range []struct {
		attempt bool
		want    normalize.MessageStatus
	}{{false, normalize.StatusFailed}, {true, normalize.StatusUnknown}} {
		thread := f.thread("acme")
		old := userMessage(thread.ID, "stalled")
		f.begin(thread, old, "e1", func(a *Acceptance) {
			if c.attempt {
				a.Attempt = newAttempt(old, "e1")
			}
		})
		young := userMessage(thread.ID, "young")
		r := f.begin(thread, young, "e2", func(a *Acceptance) { a.Now = at(2) })
		f.end(thread, young, "e2", normalize.StatusSent, func(fin *Finish) { fin.Version = r.Version })
		list := f.transcript(thread)
		f.same("status", []normalize.MessageStatus{list[0].Status, list[1].Status}, []normalize.MessageStatus{c.want, normalize.StatusSent})
		if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
			f.t.Errorf("%d attempts without an end", n)
		}
	}
}

func changeDuringASendIsNotLost(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e")
	mine := f.read(thread)
	_, err := f.UpdateThread(t.Context(), "acme", thread.ID, at(1), func(st *StoredThread) error { st.Title = "patched"; return nil })
	f.must(err)
	mine.Backend, m.Status = "desk", normalize.StatusSent
	fin := Finish{Thread: mine.Thread, Version: r.Version, Message: m, Replies: []normalize.Message{replyTo(m, "hi")}, Epoch: "e", Now: at(2)}
	f.wantErr("Finish from the old thread", f.Finish(t.Context(), fin), ErrChanged)
	f.same("messages", len(f.transcript(thread)), 1)
	fresh := f.read(thread)
	fin.Thread, fin.Version = fresh.Thread, fresh.Version
	fin.Thread.Backend = "desk"
	f.must(f.Finish(t.Context(), fin))
	got := f.read(thread)
	f.same("title and backend", []string{got.Title, got.Backend}, []string{"patched", "desk"})
}

func bindingsAreAppendOnly(t *testing.T, f *fixture) {
	thread := fullThread("acme")
	f.must(f.CreateThread(t.Context(), thread))
	want := slices.Clone(thread.Bindings)
	update := func(change func(*StoredThread)) error {
		_, err := f.UpdateThread(t.Context(), "acme", thread.ID, t0, func(st *StoredThread) error { change(st); return nil })
		return err
	}
	f.must(update(func(st *StoredThread) { st.Bindings = nil }))
	f.same("left out", f.read(thread).Bindings, want)

	want[2].Until, want[2].Reason, want[2].Remote.UserID = at(5), "moved away", "u9"
	want = append(want, normalize.Binding{Backend: "new", Vendor: "echo", Since: at(5)})
	f.must(update(func(st *StoredThread) { st.Bindings = slices.Clone(want) }))
	f.same("completed and added", f.read(thread).Bindings, want)

	f.wantErr("another history", update(func(st *StoredThread) { st.Bindings[1].Backend = "forged"; st.Bindings[3].Reason = "x" }), ErrChanged)
	f.same("after the refusal", f.read(thread).Bindings, want)
}

func bindingIsDurableBeforeTheSend(t *testing.T, f *fixture) {
	ctx := t.Context()
	thread := f.thread("acme")
	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e")
	b := normalize.Binding{
		Backend: "desk", Vendor: "conversations", Bot: "b", Remote: normalize.Remote{UserID: "p1"}, Since: at(1), Reason: "routed",
	}
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", b, at(1)))
	f.same("person known", f.read(thread).Bindings, []normalize.Binding{b})
	b.Remote.ThreadID = "c1"
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", b, at(1)))
	f.same("conversation known", f.read(thread).Bindings, []normalize.Binding{b})

	other := normalize.Binding{Backend: "spare", Vendor: "altur", Remote: normalize.Remote{ThreadID: "a1"}, Since: at(2), Reason: "fallback"}
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", other, at(2)))
	b.Until = at(2)
	f.same("another backend", f.read(thread).Bindings, []normalize.Binding{b, other})
	anew := other
	anew.Remote.ThreadID, anew.Since = "a2", at(3)
	f.must(f.SaveBinding(ctx, "acme", thread.ID, "e", anew, at(3)))
	other.Until = at(3)
	want := []normalize.Binding{b, other, anew}
	f.same("another conversation", f.read(thread).Bindings, want)

	// The send ends with what it knows: no change of somebody else's, no repeat.
	f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Version, fin.Thread.Bindings = r.Version, slices.Clone(want) })
	f.same("after the send", f.read(thread).Bindings, want)
}

func repeatedKeyGetsTheStoredAnswer(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("before", state, KeyState{})

	m := userMessage(thread.ID, "hello")
	r := f.begin(thread, m, "e1", withKey(key))
	f.same("the first", r.Key, KeyState{})
	running := KeyState{
		Found: true, Matches: true, Running: true, LeaseEnds: at(1), ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusPending,
	}
	repeat := func() AcceptResult {
		return f.begin(thread, userMessage(thread.ID, "hello"), "e2", withKey(key))
	}
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("lookup while it runs", state, running)
	f.same("repeat while it runs", repeat(), AcceptResult{Key: running})

	body := []byte(`{"thread": "…", "x": "` + strings.Repeat("🙂", 9000) + `"}`)
	f.end(thread, m, "e1", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 200, body })
	done := KeyState{Found: true, Matches: true, Status: 200, Body: body, ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusSent}
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("lookup after it", state, done)
	f.same("repeat after it", repeat(), AcceptResult{Key: done})
	f.same("messages", len(f.transcript(thread)), 2)

	// Another send of the thread does not make the key run again.
	f.begin(thread, userMessage(thread.ID, "next"), "e3")
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("during another send", state, done)
}

func keyMatchesByPathAndBody(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	path, body := *key, *key
	path.Path += "/other"
	body.BodyHash[31]++
	for name, k := range map[string]Key{"path": path, "body": body} {
		state, err := f.LookupKey(t.Context(), k, t0)
		f.must(err)
		if !state.Found || state.Matches {
			t.Errorf("another %s: %+v", name, state)
		}
		again := m
		again.Status = normalize.StatusPending
		r := f.begin(thread, again, "e2", withKey(&k), func(a *Acceptance) { a.Resend = true })
		if r.Accepted || !r.Key.Found || r.Key.Matches {
			t.Errorf("another %s was accepted: %+v", name, r)
		}
	}
	tenant := *key
	tenant.Tenant = "other"
	other := f.thread("other")
	r := f.begin(other, userMessage(other.ID, "hello"), "e3", withKey(&tenant))
	if !r.Accepted || r.Key.Found {
		t.Errorf("the same key of another tenant: %+v", r)
	}
}

func keyOfAFailedMessageRunsTheSameMessageAgain(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	m.Reason = "backend_unavailable"
	f.end(thread, m, "e1", normalize.StatusFailed, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 503, []byte("down") })

	other := userMessage(thread.ID, "hello")
	r := f.begin(thread, other, "e2", withKey(key))
	if r.Accepted || r.Key.Status != 503 || r.Key.Message != normalize.StatusFailed || r.Key.MessageID != m.ID {
		t.Fatalf("a repeat under a new id: %+v", r)
	}
	m.Status, m.Reason = normalize.StatusPending, ""
	again := func(a *Acceptance) { a.Resend = true }
	r = f.begin(thread, m, "e2", withKey(key), again)
	if !r.Accepted {
		t.Fatalf("a repeat under its own id: %+v", r)
	}
	f.same("again", f.transcript(thread), []normalize.Message{m})
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	f.same("running again", state, KeyState{
		Found: true, Matches: true, Running: true, LeaseEnds: at(1), ThreadID: thread.ID, MessageID: m.ID, Message: normalize.StatusPending,
	})
	f.end(thread, m, "e2", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status, fin.Body = key, 200, []byte("up") })
	r = f.begin(thread, m, "e3", withKey(key), again)
	if r.Accepted || r.Key.Status != 200 || string(r.Key.Body) != "up" || r.Key.Message != normalize.StatusSent {
		t.Errorf("after success: %+v", r)
	}
	f.same("messages", len(f.transcript(thread)), 2)
}

func keyRunsNoOtherMessage(_ *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m, other := userMessage(thread.ID, "hello"), userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	f.begin(thread, other, "e2")
	f.end(thread, other, "e2", normalize.StatusFailed)
	if r := f.begin(thread, other, "e3", withKey(key), func(a *Acceptance) { a.Resend = true }); r.Accepted {
		f.t.Errorf("another failed message was accepted by the key of the first: %+v", r)
	}
}

func keyRunsWhileItsMessageIsSentAgain(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	key := newKey("acme", "body")
	m := userMessage(thread.ID, "hello")
	f.begin(thread, m, "e1", withKey(key))
	f.end(thread, m, "e1", normalize.StatusFailed)
	f.begin(thread, m, "e2", func(a *Acceptance) { a.Resend = true }) // by a request without the key
	state, err := f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if !state.Running {
		t.Errorf("while its message is sent: %+v", state)
	}
	f.end(thread, m, "e2", normalize.StatusSent)
	state, err = f.LookupKey(t.Context(), *key, t0)
	f.must(err)
	if state.Running || state.Message != normalize.StatusSent {
		t.Errorf("after its message was sent: %+v", state)
	}
}

func keyOfADeadRunIsSettledByItsRepeat(t *testing.T, f *fixture) {
	for _, c := range []struct {
		attempt bool
		want    normalize.MessageStatus
	}{{false, normalize.StatusFailed}, {true, normalize.StatusUnknown}} {
		thread := f.thread("acme")
		key := newKey("acme", "body")
		m := userMessage(thread.ID, "hello")
		f.begin(thread, m, "e1", withKey(key), func(a *Acceptance) {
			if c.attempt {
				a.Attempt = newAttempt(m, "e1")
			}
		})
		repeat := m
		repeat.Status = normalize.StatusPending
		late := func(a *Acceptance) { a.Now, a.Resend = at(5), true }
		r := f.begin(thread, repeat, "e2", withKey(key), late)
		if r.Accepted || r.Key.Running || r.Key.Message != c.want {
			t.Errorf("the first repeat after the lease: %+v, want status %s", r, c.want)
		}
		r = f.begin(thread, repeat, "e3", withKey(key), late)
		if r.Accepted != (c.want == normalize.StatusFailed) {
			t.Errorf("the second repeat after the lease, status %s: %+v", c.want, r)
		}
		f.same("messages", len(f.transcript(thread)), 1)
	}
}

func resendKeepsTheMessage(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	m := userMessage(thread.ID, "said once")
	m.Metadata = map[string]string{"k": "v"}
	f.begin(thread, m, "e1")
	m.Reason = "backend_timeout"
	f.end(thread, m, "e1", normalize.StatusUnknown)
	again := normalize.Message{ID: m.ID, Status: normalize.StatusPending, Backend: "desk", Text: "changed"}
	f.begin(thread, again, "e2", func(a *Acceptance) { a.Resend = true })
	want := m
	want.Status, want.Reason, want.Backend = normalize.StatusPending, "", "desk"
	f.same("transcript", f.transcript(thread), []normalize.Message{want})
	if got := f.read(thread).MessageCount; got != 1 {
		t.Errorf("%d messages counted, want 1", got)
	}
	_, err := f.Accept(t.Context(), Acceptance{
		Thread: thread, Version: f.read(thread).Version, Message: again, Resend: true, Epoch: "e3", Lease: time.Minute, Now: t0,
	})
	f.wantErr("while it is sent", err, ErrBusy)
}

func sweepTakesOldKeysThatDoNotRun(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	var keys []*Key
	for i := range 5 {
		key, m := newKey("acme", "b"), userMessage(thread.ID, "x")
		f.begin(thread, m, "e", withKey(key), func(a *Acceptance) { a.Now = at(i) })
		f.end(thread, m, "e", normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
		keys = append(keys, key)
	}
	running, m := newKey("acme", "b"), userMessage(thread.ID, "x")
	f.begin(thread, m, "e", withKey(running))
	left := func() (n int) {
		for _, key := range append(keys, running) {
			state, err := f.LookupKey(t.Context(), *key, t0)
			f.must(err)
			n += int(flag(state.Found))
		}
		return n
	}
	for _, c := range []struct {
		before            time.Time
		limit, want, left int
	}{{t0, 10, 0, 6}, {at(3), 2, 2, 4}, {at(3), 2, 1, 3}, {at(9), 10, 2, 1}, {at(9), 10, 0, 1}} {
		n, err := f.Sweep(t.Context(), c.before, c.limit)
		f.must(err)
		if n != c.want || left() != c.left {
			t.Errorf("swept %d, left %d; want %d and %d", n, left(), c.want, c.left)
		}
	}
	f.end(thread, m, "e", normalize.StatusSent)
	if n, err := f.Sweep(t.Context(), at(9), 10); err != nil || n != 1 {
		t.Errorf("swept %d after the end, error %v", n, err)
	}
}

// Whatever the sweeper takes away under it, a key never has two runs, and its
// repeat is answered by what is true.
func sweepRacesARepeat(t *testing.T, f *fixture) {
	stop := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := f.Sweep(context.Background(), at(1000), 100); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := range 30 {
		thread := f.thread("acme")
		key := newKey("acme", "b")
		m := userMessage(thread.ID, "x")
		epoch := fmt.Sprint("e", i)
		f.begin(thread, m, epoch, withKey(key))
		if r := f.begin(thread, userMessage(thread.ID, "x"), "repeat", withKey(key)); r.Accepted || !r.Key.Running {
			t.Fatalf("a repeat of a running key: %+v", r)
		}
		f.end(thread, m, epoch, normalize.StatusSent, func(fin *Finish) { fin.Key, fin.Status = key, 200 })
		r := f.begin(thread, userMessage(thread.ID, "x"), "after", withKey(key))
		if !r.Accepted && r.Key.Status != 200 {
			t.Fatalf("a repeat of a finished key: %+v", r)
		}
	}
	close(stop)
	sweeper.Wait()
}

func recoverSettlesWhatACrashLeft(t *testing.T, f *fixture) {
	none, some, done := f.thread("acme"), f.thread("acme"), f.thread("other")
	keyNone, keySome := newKey("acme", "n"), newKey("acme", "s")
	mNone, mSome := userMessage(none.ID, "no attempt"), userMessage(some.ID, "an attempt")
	f.begin(none, mNone, "e1", withKey(keyNone))
	f.begin(some, mSome, "e2", withKey(keySome))
	f.must(f.BeginAttempt(t.Context(), *newAttempt(mSome, "e2"), nil))
	f.say(done, "all said")
	before := f.transcript(done)

	r, err := f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("recovered", r, Recovered{Failed: 1, Unknown: 1})
	for _, c := range []struct {
		thread normalize.Thread
		key    *Key
		want   normalize.MessageStatus
	}{{none, keyNone, normalize.StatusFailed}, {some, keySome, normalize.StatusUnknown}} {
		m := f.transcript(c.thread)[0]
		if m.Status != c.want || m.Reason == "" {
			t.Errorf("status %s, reason %q; want %s and a reason", m.Status, m.Reason, c.want)
		}
		state, err := f.LookupKey(t.Context(), *c.key, t0)
		f.must(err)
		if state.Running || state.Status != 0 || state.Message != c.want {
			t.Errorf("its key: %+v", state)
		}
		if st := f.read(c.thread); st.Busy || !st.UpdatedAt.Equal(at(1)) {
			t.Errorf("its thread: busy %v, updated at %v", st.Busy, st.UpdatedAt)
		}
		f.say(c.thread, "next") // nothing is stuck
	}
	f.wantErr("Finish of the dead run", f.Finish(t.Context(), Finish{Thread: none, Message: mNone, Epoch: "e1", Now: t0}), ErrLost)
	if n := f.count("SELECT COUNT(*) FROM attempts WHERE ended_at = 0"); n != 0 {
		t.Errorf("%d attempts without an end", n)
	}
	f.same("another transcript", f.transcript(done), before)
	r, err = f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("a second time", r, Recovered{})
}

func recoverWorksInBatches(t *testing.T, f *fixture) {
	const n = recoverBatch + 20
	var wait sync.WaitGroup
	for i := range n {
		thread := newThread("acme")
		a := Acceptance{Thread: thread, NewThread: true, Message: userMessage(thread.ID, "x"), Epoch: "e", Lease: time.Minute, Now: t0}
		if i%2 == 0 {
			a.Attempt = newAttempt(a.Message, "e")
		}
		wait.Go(func() {
			if _, err := f.Accept(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	r, err := f.Recover(t.Context(), at(1))
	f.must(err)
	f.same("recovered", r, Recovered{Failed: n / 2, Unknown: n / 2})
	if left := f.count("SELECT COUNT(*) FROM messages WHERE status = 'pending'"); left != 0 {
		t.Errorf("%d still pending", left)
	}
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

// occupy keeps the writer busy until release is called.
func (f *fixture) occupy() (release func()) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = f.writer.write(context.Background(), func(*session) error { close(entered); <-leave; return nil })
	})
	<-entered
	return sync.OnceFunc(func() { close(leave); wait.Wait() })
}

// together makes writes share one batch, in this order.
func (f *fixture) together(calls ...func() error) []error {
	f.t.Helper()
	errs := make([]error, len(calls))
	release := f.occupy()
	defer release()
	var wait sync.WaitGroup
	for i, call := range calls {
		wait.Go(func() { errs[i] = call() })
		f.eventually(func() bool { return len(f.writer.ops) == i+1 })
	}
	release()
	wait.Wait()
	return errs
}

func (f *fixture) eventually(what func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(4 * time.Second); !what(); {
		if time.Now().After(deadline) {
			f.t.Fatal("it never came true")
		}
		time.Sleep(100 * time.Microsecond) // between two looks
	}
}

func oneBadWriteHurtsNoOther(t *testing.T, f *fixture) {
	taken := f.say(f.thread("acme"), "has this id")
	var calls []func() error
	var threads []normalize.Thread
	for i := range 20 {
		thread := newThread("acme")
		m := userMessage(thread.ID, "x")
		if i == 7 || i == 13 {
			m.ID = taken.ID // breaks a constraint, after the thread was inserted
		}
		threads = append(threads, thread)
		calls = append(calls, func() error {
			_, err := f.Accept(t.Context(), Acceptance{Thread: thread, NewThread: true, Message: m, Epoch: "e", Lease: time.Minute, Now: t0})
			return err
		})
	}
	calls = append(calls, func() error { return f.DeleteThread(t.Context(), "acme", newID("thr"), t0) })
	for i, err := range f.together(calls...) {
		switch i {
		case 7, 13:
			f.wantErr("the bad write", err, ErrUnavailable)
			_, err := f.Thread(t.Context(), "acme", threads[i].ID, false)
			f.wantErr("its thread", err, ErrNotFound)
		case 20:
			f.wantErr("the refused write", err, ErrNotFound)
		default:
			f.must(err)
			f.same("messages", len(f.transcript(threads[i])), 1)
		}
	}
}

func panicOfAChangeHurtsNoOther(t *testing.T, f *fixture) {
	thread, other := f.thread("acme"), f.thread("acme")
	errs := f.together(
		func() error {
			_, err := f.UpdateThread(t.Context(), "acme", other.ID, at(3), func(st *StoredThread) error { st.Title = "fine"; return nil })
			return err
		},
		func() (err error) {
			defer func() { err = fmt.Errorf("panicked: %v", recover()) }()
			_, err = f.UpdateThread(t.Context(), "acme", thread.ID, at(3), func(*StoredThread) error { panic("a fault of ours") })
			return err
		},
	)
	f.must(errs[0])
	if got := fmt.Sprint(errs[1]); got != "panicked: a fault of ours" {
		t.Errorf("the caller got %q", got)
	}
	f.same("title", f.read(other).Title, "fine")
	f.say(thread, "goes on")
}

func givenUpWriteNeverBegins(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := f.occupy()
	defer release()
	result := make(chan error, 1)
	go func() {
		_, err := f.UpdateThread(ctx, "acme", thread.ID, at(1), func(st *StoredThread) error { st.Title = "too late"; return nil })
		result <- err
	}()
	f.eventually(func() bool { return len(f.writer.ops) == 1 })
	cancel()
	err := <-result
	f.wantErr("the caller", err, ErrUnavailable)
	f.wantErr("the caller", err, context.Canceled)
	release()
	f.say(thread, "after it")
	f.same("title", f.read(thread).Title, "")
}

func oneKeyRunsOnce(t *testing.T, f *fixture) {
	key := newKey("acme", "b")
	var accepted atomic.Int32
	var wait sync.WaitGroup
	for range 40 {
		wait.Go(func() {
			thread := newThread("acme")
			m := userMessage(thread.ID, "x")
			r, err := f.Accept(t.Context(), Acceptance{
				Thread: thread, NewThread: true, Message: m, Key: key, Epoch: m.ID, Lease: time.Minute, Now: t0,
			})
			if err != nil {
				t.Error(err)
			}
			if r.Accepted {
				accepted.Add(1)
			} else if !r.Key.Running {
				t.Errorf("neither accepted nor running: %+v", r)
			}
		})
	}
	wait.Wait()
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d of 40 were accepted, want 1", n)
	}
	list, _, err := f.Threads(t.Context(), ThreadFilter{Tenant: "acme"}, Range{})
	f.must(err)
	f.same("threads", len(list), 1)
}

func hundredGoroutinesAgree(t *testing.T, f *fixture) {
	const turns = 3
	shared := f.thread("acme")
	var sharedSent atomic.Int32
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			ctx := t.Context()
			thread := newThread(fmt.Sprint("tenant-", i%7))
			if err := f.CreateThread(ctx, thread); err != nil {
				t.Error(err)
				return
			}
			for turn := range turns {
				m := userMessage(thread.ID, fmt.Sprint(i, " ", turn))
				st, err := f.Thread(ctx, thread.Tenant, thread.ID, false)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := f.Accept(ctx, Acceptance{
					Thread: thread, Version: st.Version, Message: m, Epoch: m.ID, Lease: time.Minute, Now: t0, Attempt: newAttempt(m, m.ID),
				})
				if err != nil {
					t.Error(err)
					return
				}
				m.Status = normalize.StatusSent
				if err := f.Finish(ctx, Finish{Thread: st.Thread, Version: r.Version, Message: m, Replies: []normalize.Message{replyTo(m, m.Text)}, Epoch: m.ID, Now: t0}); err != nil {
					t.Error(err)
				}
			}
			// And all fight for one thread: whoever gets in says one thing.
			m := userMessage(shared.ID, fmt.Sprint(i))
			st, err := f.Thread(ctx, "acme", shared.ID, false)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = f.Accept(ctx, Acceptance{Thread: shared, Version: st.Version, Message: m, Epoch: m.ID, Lease: time.Minute, Now: t0})
			switch {
			case err == nil:
				sharedSent.Add(1)
				if err := f.Finish(ctx, Finish{Thread: st.Thread, Message: m, Epoch: m.ID, Now: t0}); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrChanged):
				t.Error(err)
			}
			list, _, err := f.Messages(ctx, thread.Tenant, thread.ID, Range{Ascending: true})
			if err != nil || len(list) != 2*turns {
				t.Errorf("%d messages, error %v", len(list), err)
				return
			}
			for turn := range turns {
				if want := fmt.Sprint(i, " ", turn); list[2*turn].Text != want || list[2*turn+1].Text != want {
					t.Errorf("turn %d of %d reads %q, %q", turn, i, list[2*turn].Text, list[2*turn+1].Text)
				}
			}
		})
	}
	wait.Wait()
	if got := len(f.transcript(shared)); got != int(sharedSent.Load()) || got == 0 {
		t.Errorf("%d messages in the shared thread, %d were accepted", got, sharedSent.Load())
	}
}

func pingWrites(t *testing.T, f *fixture) {
	f.must(f.Ping(t.Context()))
	if n := f.count("SELECT COUNT(*) FROM probe WHERE at = $1", f.now().UnixMilli()); n != 1 {
		t.Error("nothing was written")
	}
}

func closedStoreSaysSo(t *testing.T, f *fixture) {
	thread := f.thread("acme")
	f.must(f.Close())
	f.must(f.Close())
	_, err := f.Thread(t.Context(), "acme", thread.ID, false)
	f.wantErr("Thread", err, ErrUnavailable)
	f.wantErr("CreateThread", f.CreateThread(t.Context(), newThread("acme")), ErrUnavailable)
	f.wantErr("Ping", f.Ping(t.Context()), ErrUnavailable)
}
