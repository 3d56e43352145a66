package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"chatmux/internal/pgtest"
	"chatmux/internal/store"
	"chatmux/normalize"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main{M: m}.Run()) }

// t0 is when everything in these tests was said, or later.
var t0 = time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)

func newID(prefix string) string { return normalize.FormatID(prefix, uuid.Must(uuid.NewV7())) }

// opened are the kinds of stores.
var opened = map[string]func(t *testing.T) *store.Store{
	"sqlite":   func(t *testing.T) *store.Store { return openAt(t, "sqlite:"+filepath.Join(t.TempDir(), "chat.db")) },
	"postgres": func(t *testing.T) *store.Store { return openAt(t, pgtest.Database(t)) },
}

func openAt(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func sqlite(t *testing.T) *store.Store { return opened["sqlite"](t) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newThread(tenant string) store.StoredThread {
	var t store.StoredThread
	t.ID, t.Tenant, t.Mode, t.Status, t.CreatedAt, t.UpdatedAt = newID("thr"), tenant, normalize.ModeAI, normalize.ThreadOpen, t0, t0
	return t
}

func message(t *store.StoredThread, role normalize.Role, status normalize.MessageStatus, text string) normalize.Message {
	return normalize.Message{
		ID: newID("msg"), ThreadID: t.ID, Role: role, Type: normalize.TypeText, Status: status, Text: text, CreatedAt: t0,
	}
}

func say(t *store.StoredThread, text string) normalize.Message {
	return message(t, normalize.RoleUser, normalize.StatusSent, text)
}

// everything is a message with all that a message can have.
func everything(t *store.StoredThread) normalize.Message {
	m := message(t, normalize.RoleAssistant, normalize.StatusComplete, "Hello <b>&amp;</b> \"Zoë\" 🙂\r\n\tline two \\u0000 \u2028")
	no := false
	m.Type = normalize.TypeTemplate
	m.Attachments = []normalize.Attachment{{ID: "a", Type: normalize.TypeImage, URL: "https://x.example/a.png", Filename: "a.png", ContentType: "image/png"}}
	m.Author = normalize.Author{ID: "7", Name: "Kim", Email: "kim@example.org", AvatarURL: "https://x.example/kim"}
	m.Reason, m.InReplyTo, m.Backend, m.RemoteID, m.Model = "why", newID("msg"), "desk", "r-1", "gpt-4"
	m.Sources = []normalize.Source{{Title: "t", URL: "u", Text: "x"}, {}}
	m.Suggestions = []normalize.Suggestion{{ID: "1", Title: "Prices", Text: "What?", URL: "https://x.example"}}
	m.Feedback, m.Read, m.Notice = normalize.FeedbackNegative, &no, "conversation_escalated"
	m.Metadata = map[string]string{"b": "2", "a": "1 <", "": "empty"}
	m.CreatedAt = t0.Add(time.Minute)
	m.Raw = json.RawMessage(`{"id": "r-1",  "n": 1.0, "u": "\u0000 <"}`)
	return m
}

// populate stores threads of two tenants that are as different as they can be.
func populate(t *testing.T, s *store.Store) (all []store.Arrival) {
	t.Helper()
	full := newThread("acme")
	yes := true
	full.Asked, full.Called, full.Key = "sitegpt/365062873485935184", "session-17", "a person"
	full.Backend, full.Route, full.Title, full.Carry = "desk", "vip", "Where is my parcel?", "transcript"
	full.User = normalize.User{ID: "u-1", Name: "Zoë", Email: "zoe@example.org", Phone: "+49 30 1", Info: "likes \"quotes\""}
	full.Mode, full.Status = normalize.ModeHuman, normalize.ThreadBlocked
	full.Tags = []normalize.Tag{{ID: "1", Name: "urgent", Color: "#f00"}, {Name: "vip"}}
	full.Assignees = []normalize.Assignee{{ID: "a1", Name: "Ana", Email: "ana@example.org"}}
	full.Metadata, full.Escalated = map[string]string{"plan": "gold", "empty": ""}, &yes
	full.Channel = normalize.Channel{ID: "c", Name: "web", Type: "api"}
	full.UpdatedAt = t0.Add(time.Hour)
	full.Bindings = []normalize.Binding{
		{Backend: "old", Vendor: "altur", Bot: "b0", Remote: normalize.Remote{ThreadID: "r0", UserID: "u0"}, Since: t0, Until: t0.Add(1), Reason: "moved"},
		{Backend: "desk", Vendor: "sitegpt", Remote: normalize.Remote{ThreadID: "r2"}, Since: t0.Add(time.Minute)},
	}
	full.Bindings[0].Until = t0.Add(time.Minute)
	full.Raw = json.RawMessage(`{"id": "r2",  "x": 1.0}`)
	add := func(thread store.StoredThread, messages ...normalize.Message) {
		for i := range messages {
			messages[i].ThreadID = thread.ID
		}
		all = append(all, store.Arrival{Thread: thread, Messages: messages})
	}
	var statuses []normalize.Message
	for _, status := range []normalize.MessageStatus{"sent", "failed", "unknown", "complete", "incomplete", "cancelled"} {
		statuses = append(statuses, message(&full, normalize.RoleUser, status, string(status)))
	}
	notice := message(&full, normalize.RoleSystem, normalize.StatusComplete, "moved")
	notice.Notice = "thread_moved"
	add(full, append(statuses, notice, everything(&full))...)
	add(newThread("acme"))
	for _, raw := range []string{"{\n  \"pretty\": true\n}", ` {"space": 1}`, `null`, `"text"`, `no JSON at all`, `{"a":1}{"b":2}`, "\"\u2028\""} {
		odd := newThread("other")
		odd.Raw = json.RawMessage(raw)
		m := say(&odd, raw)
		m.Raw = odd.Raw
		add(odd, m)
	}
	for range 120 { // more than a page
		thread := newThread("acme")
		thread.User.ID = "u-2"
		add(thread, say(&thread, "hello"), everything(&thread))
	}
	long := newThread("long")
	var messages []normalize.Message
	for i := range 2*stretchMessages + 7 {
		m := say(&long, fmt.Sprint("turn ", i))
		m.CreatedAt = t0.Add(time.Duration(i) * time.Second)
		messages = append(messages, m)
	}
	messages[3].Text = strings.Repeat("a large one ", stretchBytes/8)
	add(long, messages...)
	for batch := range slices.Chunk(all, 20) {
		must(t, s.Import(t.Context(), batch))
	}
	return all
}

// exported is an export as text.
func exported(t *testing.T, s Source, format Format, f Filter) string {
	t.Helper()
	var out bytes.Buffer
	counts, err := Export(t.Context(), s, f, format, &out, nil)
	must(t, err)
	if format == JSONL {
		if n := strings.Count(out.String(), `{"kind":"message"`); n != counts.Messages {
			t.Errorf("%d messages are told, %d are in the file", counts.Messages, n)
		}
	}
	return out.String()
}

// imported imports a file and wants it to go well.
func imported(t *testing.T, to Target, file string, o Options) Report {
	t.Helper()
	report, err := Import(t.Context(), to, strings.NewReader(file), o)
	must(t, err)
	return report
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAnArchiveComesBackByteForByteOnTheOtherStore(t *testing.T) {
	for from, to := range map[string]string{"sqlite": "postgres", "postgres": "sqlite"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			source, target := opened[from](t), opened[to](t)
			all := populate(t, source)
			file := exported(t, source, JSONL, Filter{})
			messages := 0
			for _, a := range all {
				messages += len(a.Messages)
			}
			want := Counts{len(all), messages}
			same(t, "dry run", imported(t, target, file, Options{DryRun: true}), Report{InFile: want, Imported: want})
			if again := exported(t, target, JSONL, Filter{}); strings.Count(again, "\n") != 1 {
				t.Fatalf("a dry run has stored %d lines", strings.Count(again, "\n"))
			}
			same(t, "import", imported(t, target, file, Options{}), Report{InFile: want, Imported: want})
			again := exported(t, target, JSONL, Filter{})
			if again != file {
				t.Error(firstDifference(again, file))
			}
			same(t, "second import", imported(t, target, file, Options{}), Report{InFile: want, Unchanged: want.Threads})
			if again = exported(t, target, JSONL, Filter{}); again != file {
				t.Error("the second import has changed something: " + firstDifference(again, file))
			}
		})
	}
}

// TestNothingOfAThreadIsLeftOut compares by way of the store, with a thread and a message
// that have a value in every field there is.
func TestNothingOfAThreadIsLeftOut(t *testing.T) {
	source, target := sqlite(t), sqlite(t)
	full := populate(t, source)[0]
	imported(t, target, exported(t, source, JSONL, Filter{}), Options{})
	got, err := target.Thread(t.Context(), "acme", full.Thread.ID, true)
	must(t, err)
	list, _, err := target.Messages(t.Context(), "acme", full.Thread.ID, store.Range{Ascending: true, Raw: true})
	must(t, err)
	full.Thread.MessageCount, full.Thread.Version = len(full.Messages), got.Version
	same(t, "thread", got, full.Thread)
	for i, m := range list {
		same(t, "message", m.Message, full.Messages[i])
	}
	for _, value := range []any{got.Thread, list[len(list)-1].Message} {
		v := reflect.ValueOf(value)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%T: %s is empty: this test must set it", value, v.Type().Field(i).Name)
			}
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is\n%.2000s\nand was\n%.2000s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, there were %d", len(g), len(w))
}

func TestEachFilterSelects(t *testing.T) {
	s := sqlite(t)
	all := populate(t, s)
	selected := func(f Filter) (got Counts) {
		got, err := Export(t.Context(), s, f, JSONL, &bytes.Buffer{}, nil)
		must(t, err)
		return got
	}
	first := all[0].Thread
	for name, c := range map[string]struct {
		filter Filter
		want   Counts
	}{
		"tenant":         {Filter{Tenant: "other"}, Counts{7, 7}},
		"no such tenant": {Filter{Tenant: "nobody"}, Counts{}},
		"backend":        {Filter{Backend: "desk"}, Counts{1, 8}},
		"user":           {Filter{User: "u-2"}, Counts{120, 240}},
		"both":           {Filter{User: first.User.ID, Backend: first.Backend, Tenant: first.Tenant}, Counts{1, 8}},
		"since":          {Filter{Tenant: "long", Since: t0.Add(10 * time.Second)}, Counts{1, 2*stretchMessages + 7 - 10}},
		"until":          {Filter{Tenant: "long", Until: t0.Add(10 * time.Second)}, Counts{1, 10}},
		"a part of many": {Filter{Tenant: "acme", Since: t0.Add(time.Minute)}, Counts{121, 121}},
		"nothing then":   {Filter{Until: t0}, Counts{}},
		"without words":  {Filter{Tenant: "acme", User: "", Since: t0, Until: t0.Add(1)}, Counts{122, 127}},
	} {
		if got := selected(c.filter); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	file := exported(t, s, JSONL, Filter{Tenant: "long", Since: t0.Add(10 * time.Second), Until: t0.Add(900 * time.Second)})
	if report := imported(t, sqlite(t), file, Options{}); report.Imported != (Counts{1, 890}) {
		t.Errorf("a part of a long thread comes back as %+v", report)
	}
}

// failing is a source that fails at its nth reading.
type failing struct {
	Source
	left int
}

var errFails = errors.New("the store is gone")

func (f *failing) Transcript(ctx context.Context, tenant, threadID string, part store.Stretch) (store.Stretched, error) {
	if f.left--; f.left < 0 {
		return store.Stretched{}, errFails
	}
	return f.Source.Transcript(ctx, tenant, threadID, part)
}

func TestNothingIsWrittenBeforeTheFirstReading(t *testing.T) {
	s := sqlite(t)
	populate(t, s)
	for _, format := range Formats {
		var out bytes.Buffer
		if _, err := Export(t.Context(), &failing{Source: s}, Filter{}, format, &out, nil); !errors.Is(err, errFails) || out.Len() > 0 {
			t.Errorf("%s: %d bytes and %v", format, out.Len(), err)
		}
		if _, err := Export(t.Context(), &failing{Source: s, left: 125}, Filter{}, format, &out, nil); !errors.Is(err, errFails) {
			t.Errorf("%s: in the middle: %v", format, err)
		}
	}
	if _, err := Export(t.Context(), s, Filter{}, "pdf", &bytes.Buffer{}, nil); err == nil {
		t.Error("there is a format pdf")
	}
}

// between is a source that somebody writes to after it has told of a thread.
type between struct {
	Source
	write func()
}

func (b *between) Threads(ctx context.Context, f store.ThreadFilter, r store.Range) ([]store.StoredThread, bool, error) {
	list, more, err := b.Source.Threads(ctx, f, r)
	if b.write != nil {
		b.write()
		b.write = nil
	}
	return list, more, err
}

func TestAThreadThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	for name, open := range opened {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			answered, erased := newThread("acme"), newThread("acme")
			must(t, s.Import(t.Context(), []store.Arrival{{Thread: answered}, {Thread: erased, Messages: []normalize.Message{say(&erased, "gone")}}}))
			finish, err := accept(t.Context(), s, answered.ID)
			must(t, err)
			file := exported(t, &between{Source: s, write: func() {
				must(t, finish())
				_, err := s.EraseThread(t.Context(), "acme", erased.ID, t0, t0)
				must(t, err)
			}}, JSONL, Filter{})
			if want := exported(t, s, JSONL, Filter{}); file != want {
				t.Error(firstDifference(file, want))
			}
		})
	}
}

// TestAnExportBesideWritesIsWhole exports while others talk, and imports what came: in no
// thread is a message sent whose reply is missing.
func TestAnExportBesideWritesIsWhole(t *testing.T) {
	for name, open := range opened {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			var threads []store.StoredThread
			for range 20 {
				thread := newThread("acme")
				must(t, s.Import(t.Context(), []store.Arrival{{Thread: thread}}))
				threads = append(threads, thread)
			}
			ctx, stop := context.WithCancel(t.Context())
			var talk sync.WaitGroup
			const workers = 2
			for worker := range workers {
				talk.Go(func() {
					for i := worker; ctx.Err() == nil && i < 400; i += workers {
						if err := turn(context.WithoutCancel(ctx), s, threads[i%len(threads)].ID); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for range 3 {
				file := exported(t, s, JSONL, Filter{})
				target := sqlite(t)
				if report := imported(t, target, file, Options{}); report.Imported.Threads != len(threads) {
					t.Errorf("the archive has %d threads, want %d", report.Imported.Threads, len(threads))
				}
				for _, thread := range threads {
					list, _, err := target.Messages(t.Context(), "acme", thread.ID, store.Range{Ascending: true, Limit: 1000})
					must(t, err)
					for i, m := range list {
						answered := i+1 < len(list) && list[i+1].InReplyTo == m.ID
						if m.Role == normalize.RoleUser && answered != (m.Status == normalize.StatusSent) {
							t.Fatalf("a thread of two moments: message %d of %d is %s", i+1, len(list), m.Status)
						}
					}
				}
			}
			stop()
			talk.Wait()
		})
	}
}

// turn sends a message as the engine does: accepted first, its outcome and its reply
// together.
func turn(ctx context.Context, s *store.Store, id string) error {
	finish, err := accept(ctx, s, id)
	if err != nil {
		return err
	}
	return finish()
}

func accept(ctx context.Context, s *store.Store, id string) (finish func() error, err error) {
	t, err := s.Thread(ctx, "acme", id, false)
	if err != nil {
		return nil, err
	}
	m := message(&t, normalize.RoleUser, normalize.StatusPending, "a question")
	r, err := s.Accept(ctx, store.Acceptance{Thread: t.Thread, Version: t.Version, Message: m, Epoch: m.ID, Lease: time.Minute, Now: t0})
	return func() error {
		sent, reply := m, message(&t, normalize.RoleAssistant, normalize.StatusComplete, "an answer")
		sent.Status, reply.InReplyTo = normalize.StatusSent, m.ID
		_, err := s.Finish(ctx, store.Finish{
			Thread: t.Thread, Version: r.Version, Message: sent, Replies: []normalize.Message{reply}, Epoch: m.ID, Now: t0,
		})
		return err
	}, err
}
