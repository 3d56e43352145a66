package archive

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"chatmux/adapters"
	"chatmux/internal/store"
	"chatmux/normalize"
)

// small is an archive of two threads.
func small(t *testing.T) (file string, first, second store.Arrival) {
	t.Helper()
	s := sqlite(t)
	for _, a := range []*store.Arrival{&first, &second} {
		a.Thread = newThread("acme")
		a.Thread.Bindings = []normalize.Binding{{Backend: "desk", Vendor: "altur", Remote: normalize.Remote{ThreadID: "r"}, Since: t0}}
		one := say(&a.Thread, "one")
		two := message(&a.Thread, normalize.RoleAssistant, normalize.StatusComplete, "two")
		two.InReplyTo = one.ID
		a.Messages = []normalize.Message{one, two}
		must(t, s.Import(t.Context(), []store.Arrival{*a}))
	}
	return exported(t, s, JSONL, Filter{}), first, second
}

func TestABrokenFileIsRefusedWithItsLineAndAsAWhole(t *testing.T) {
	file, first, _ := small(t)
	lines := strings.SplitAfter(strings.TrimSuffix(file, "\n"), "\n")
	if len(lines) != 9 {
		t.Fatalf("%d lines:\n%s", len(lines), file)
	}
	idOf := func(line string) string { return regexp.MustCompile(`"id":"msg_[^"]*"`).FindString(line) }
	without := func(n int) string { return strings.Join(lines[:n-1], "") + strings.Join(lines[n:], "") }
	with := func(n int, old, new string) string {
		if !strings.Contains(lines[n-1], old) {
			t.Fatalf("line %d has no %s: %s", n, old, lines[n-1])
		}
		return strings.Join(lines[:n-1], "") + strings.Replace(lines[n-1], old, new, 1) + strings.Join(lines[n:], "")
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":                  {"", "the file is empty"},
		"no head":                {without(1), "line 1: the first line has to be the head"},
		"newer":                  {with(1, `"version":1`, `"version":2`), "line 1: this archive has version 2, and this chatmux reads versions up to 1"},
		"no version":             {with(1, `"version":1,`, ``), "line 1: it names no version"},
		"unknown kind":           {with(4, `"kind":"message"`, `"kind":"picture"`), `line 4: there is no kind "picture"`},
		"no kind":                {with(4, `"kind":"message",`, ``), `line 4: it has no "kind"`},
		"unknown field":          {with(4, `"role"`, `"rôle":1,"role"`), `line 4: "rôle" is not a field of this kind`},
		"wrong type":             {with(4, `"text":"one"`, `"text":1`), "line 4: text: a number cannot stand there"},
		"wrong role":             {with(4, `"role":"user"`, `"role":"pope"`), `line 4: role: there is no role "pope"`},
		"wrong status":           {with(4, `"status":"sent"`, `"status":"sentt"`), `line 4: status: there is no status "sentt"`},
		"wrong message type":     {with(4, `"type":"text"`, `"type":"song"`), `line 4: type: there is no type "song"`},
		"wrong id":               {with(4, `"id":"msg_`, `"id":"xyz_`), "line 4: id: is no id of a message"},
		"wrong thread id":        {with(2, `"id":"thr_`, `"id":"xyz_`), "line 2: id: is no id of a thread"},
		"wrong mode":             {with(2, `"mode":"ai"`, `"mode":"aj"`), `line 2: mode: there is no mode "aj"`},
		"wrong thread status":    {with(2, `"status":"open"`, `"status":"shut"`), `line 2: status: there is no status "shut"`},
		"no tenant":              {with(2, `"tenant":"acme"`, `"tenant":""`), "line 2: tenant: is needed"},
		"no time":                {with(2, `"updated_at":"2026`, `"updated_at":null,"route":"2026`), "line 2: created_at and updated_at are needed"},
		"wrong time":             {with(4, `"created_at":"2026-03-04T`, `"created_at":"2026-33-04T`), "line 4: a time has to be as 2026-03-04T10:15:31.480Z"},
		"NUL":                    {with(4, `"one"`, `"o\u0000"`), `line 4: a text has the character \u0000`},
		"not UTF-8":              {with(4, `"one"`, "\"o\xff\""), "line 4: it is not UTF-8"},
		"not JSON":               {with(4, `"text"`, `text`), "line 4: it is not JSON"},
		"not an object":          {with(4, lines[3], "17\n"), "line 4: it is not a JSON object"},
		"cut in a line":          {file[:len(file)-10], "line 9: it is cut short"},
		"cut after a message":    {strings.Join(lines[:8], ""), "line 6: thread "},
		"cut after a thread":     {strings.Join(lines[:5], ""), "line 5: the file ends here, and another thread should follow"},
		"only the head":          {lines[0], "line 1: the file ends here"},
		"a message is missing":   {without(4), "line 2: thread " + first.Thread.ID + " should have 2 messages, and 1 follow it"},
		"a thread is missing":    {without(6), "line 6: a binding of thread "},
		"a message out of place": {file + lines[3], "line 10: a message of thread " + first.Thread.ID + ", which is not the thread before it"},
		"two archives":           {file + file, "line 10: a second head"},
		"a message twice":        {with(5, idOf(lines[4]), idOf(lines[3])), "line 2: thread " + first.Thread.ID + " has message "},
		"wrong feedback":         {with(4, `"feedback":null`, `"feedback":"great"`), `line 4: feedback: there is no feedback "great"`},
		"wrong carry":            {with(2, `"carry":null`, `"carry":"all"`), `line 2: carry: there is no carry "all"`},
		"two open bindings":      {with(3, lines[2], lines[2]+lines[2]), "line 4: until: is needed in the binding before this one"},
		"a binding to nobody":    {with(3, `"backend":"desk"`, `"backend":null`), "line 3: backend: is needed"},
	} {
		target := sqlite(t)
		report, err := Import(t.Context(), target, strings.NewReader(c.file), Options{})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if line := new(LineError); strings.HasPrefix(c.want, "line ") && !errors.As(err, &line) {
			t.Errorf("%s: a %T names no line", name, err)
		}
		if report != (Report{}) {
			t.Errorf("%s: %+v", name, report)
		}
		if _, found, err := target.NextTenant(t.Context(), ""); found || err != nil {
			t.Errorf("%s: something was imported, or %v", name, err)
		}
	}
	for name, file := range map[string]string{"blank lines": "\n" + strings.ReplaceAll(file, "\n", "\n\r\n"), "no end of the last line": strings.TrimSuffix(file, "\n")} {
		if report := imported(t, sqlite(t), file, Options{}); report.Imported != (Counts{2, 4}) {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

// TestTakenIdsAreMappedOnceAndReported meets each way in which ids can be taken, twice.
func TestTakenIdsAreMappedOnceAndReported(t *testing.T) {
	for name, change := range map[string]func(a *store.Arrival){
		"another text":     func(a *store.Arrival) { a.Messages[0].Text = "something else" },
		"another tenant":   func(a *store.Arrival) { a.Thread.Tenant = "other" },
		"another title":    func(a *store.Arrival) { a.Thread.Title = "x" },
		"another binding":  func(a *store.Arrival) { a.Thread.Bindings[0].Backend = "x" },
		"an older state":   func(a *store.Arrival) { a.Thread.UpdatedAt, a.Messages = t0.Add(-time.Hour), a.Messages[:1] },
		"a message's only": func(a *store.Arrival) { a.Thread.ID, a.Messages = newID("thr"), a.Messages[1:] },
	} {
		for kind, open := range opened {
			t.Run(name+" on "+kind, func(t *testing.T) {
				file, first, second := small(t)
				target := open(t)
				there := first
				there.Thread.Bindings = append([]normalize.Binding(nil), there.Thread.Bindings...)
				there.Messages = append([]normalize.Message(nil), there.Messages...)
				change(&there)
				for i := range there.Messages {
					there.Messages[i].ThreadID = there.Thread.ID
				}
				must(t, target.Import(t.Context(), []store.Arrival{there}))
				before := exported(t, target, JSONL, Filter{Tenant: there.Thread.Tenant})
				var mapped []Mapping
				o := Options{Mapped: func(m Mapping) { mapped = append(mapped, m) }}
				report := imported(t, target, file, o)
				same(t, "report", report, Report{InFile: Counts{2, 4}, Imported: Counts{2, 4}, Mapped: 1})
				if len(mapped) != 1 || mapped[0].From != first.Thread.ID || mapped[0].Tenant != "acme" || mapped[0].Reason == "" {
					t.Fatalf("told: %+v", mapped)
				}
				got, err := target.Thread(t.Context(), "acme", mapped[0].To, false)
				must(t, err)
				if got.CreatedAt != first.Thread.CreatedAt || got.MessageCount != 2 || len(got.Bindings) != 1 {
					t.Errorf("the mapped thread is %+v", got.Thread)
				}
				list, _, err := target.Messages(t.Context(), "acme", got.ID, store.Range{Ascending: true})
				must(t, err)
				if len(list) != 2 || list[1].InReplyTo != list[0].ID || list[0].ID == first.Messages[0].ID || list[0].Text != "one" || list[0].ThreadID != got.ID {
					t.Errorf("its messages are %+v", list)
				}
				if _, err := target.Thread(t.Context(), "acme", second.Thread.ID, false); err != nil {
					t.Errorf("the other thread: %v", err)
				}
				if after := exported(t, target, JSONL, Filter{Tenant: there.Thread.Tenant}); there.Thread.Tenant != "acme" && after != before {
					t.Error("the other tenant's thread was changed")
				}
				whole := exported(t, target, JSONL, Filter{})
				same(t, "second report", imported(t, target, file, o), Report{InFile: Counts{2, 4}, Unchanged: 2})
				if again := exported(t, target, JSONL, Filter{}); again != whole {
					t.Error(firstDifference(again, whole))
				}
			})
		}
	}
}

func TestAThreadThatWentOnSinceIsLeftAlone(t *testing.T) {
	file, first, _ := small(t)
	target := sqlite(t)
	imported(t, target, file, Options{})
	_, err := target.UpdateThread(t.Context(), "acme", first.Thread.ID, t0.Add(time.Hour), func(t *store.StoredThread) error {
		t.Append = []normalize.Message{say(t, "and on")}
		t.Title = "renamed"
		return nil
	})
	must(t, err)
	_, err = target.UpdateMessage(t.Context(), "acme", first.Thread.ID, first.Messages[1].ID, func(m *normalize.Message) error {
		m.Feedback = normalize.FeedbackPositive
		return nil
	})
	must(t, err)
	before := exported(t, target, JSONL, Filter{})
	same(t, "report", imported(t, target, file, Options{}), Report{InFile: Counts{2, 4}, Unchanged: 2})
	if after := exported(t, target, JSONL, Filter{}); after != before {
		t.Error(firstDifference(after, before))
	}
}

// tearing is a target that fails at its nth writing.
type tearing struct {
	Target
	left int
}

func (f *tearing) Import(ctx context.Context, arrivals []store.Arrival) error {
	if f.left--; f.left < 0 {
		return errFails
	}
	return f.Target.Import(ctx, arrivals)
}

func (f *tearing) ImportMessages(ctx context.Context, tenant, threadID string, has int, messages []normalize.Message) error {
	if f.left--; f.left < 0 {
		return errFails
	}
	return f.Target.ImportMessages(ctx, tenant, threadID, has, messages)
}

func TestAnInterruptedImportIsCompletedByTheNext(t *testing.T) {
	source := sqlite(t)
	all := populate(t, source)
	file := exported(t, source, JSONL, Filter{})
	for name, open := range opened {
		t.Run(name, func(t *testing.T) {
			target := open(t)
			torn := 0
			for writes := 1; ; writes++ {
				report, err := Import(t.Context(), &tearing{Target: target, left: 1}, strings.NewReader(file), Options{})
				if err == nil {
					if report.Imported.Threads+report.Completed.Threads+report.Unchanged != len(all) {
						t.Errorf("the last report is %+v of %d threads", report, len(all))
					}
					break
				}
				if torn++; !errors.Is(err, errFails) || writes > 100 {
					t.Fatal(err)
				}
			}
			if torn < 4 {
				t.Errorf("it was torn %d times only", torn)
			}
			if got := exported(t, target, JSONL, Filter{}); got != file {
				t.Error(firstDifference(got, file))
			}
		})
	}
}

func TestAMessageThatWasBeingSentIsUnknownAfterwards(t *testing.T) {
	file, first, _ := small(t)
	file = strings.Replace(file, `"status":"sent"`, `"status":"pending"`, 1)
	target := sqlite(t)
	for _, want := range []Report{{InFile: Counts{2, 4}, Imported: Counts{2, 4}, Pending: 1}, {InFile: Counts{2, 4}, Unchanged: 2, Pending: 1}} {
		same(t, "report", imported(t, target, file, Options{}), want)
	}
	m, err := target.Message(t.Context(), "acme", first.Thread.ID, first.Messages[0].ID, false)
	must(t, err)
	if m.Status != normalize.StatusUnknown || m.Reason != "interrupted" {
		t.Errorf("the message is %s: %s", m.Status, m.Reason)
	}
}

func TestAnIdTwiceInOneFileIsMapped(t *testing.T) {
	file, first, second := small(t)
	for name, twice := range map[string]string{
		"a thread's":  strings.ReplaceAll(file, second.Thread.ID, first.Thread.ID),
		"a message's": strings.ReplaceAll(file, second.Messages[0].ID, first.Messages[0].ID),
	} {
		target := sqlite(t)
		if name == "a thread's" { // without the message count in between, all of it is one thread
			if _, err := Import(t.Context(), target, strings.NewReader(twice), Options{}); err != nil {
				t.Fatal(err)
			}
		}
		imported(t, target, twice, Options{})
		if got, err := Export(t.Context(), target, Filter{}, JSONL, &strings.Builder{}, nil); err != nil || got != (Counts{2, 4}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRecordsBecomeThreadsOnce(t *testing.T) {
	records := []adapters.Record{
		{RemoteID: "1", Question: "Opening hours?", Answer: "We open at nine.", CreatedAt: t0, Raw: []byte(`{"id":"1"}`)},
		{RemoteID: "2", Question: "And on Sunday?", Error: "model overloaded", CreatedAt: t0.Add(time.Minute)},
		{Question: "without an id", Answer: "yes", CreatedAt: t0},
	}
	read := func(each func(int, adapters.Record) error) error {
		for i, r := range records {
			if err := each(i+2, r); err != nil {
				return err
			}
		}
		return nil
	}
	target := sqlite(t)
	d := Destination{Tenant: "acme", Backend: "helpdesk"}
	for _, want := range []Report{{InFile: Counts{3, 5}, Imported: Counts{3, 5}}, {InFile: Counts{3, 5}, Unchanged: 3}} {
		report, err := ImportRecords(t.Context(), target, d, read, Options{})
		must(t, err)
		same(t, "report", report, want)
	}
	list, _, err := target.Threads(t.Context(), store.ThreadFilter{Tenant: "acme"}, store.Range{Ascending: true})
	must(t, err)
	var said []string
	for _, thread := range list {
		messages, _, err := target.Messages(t.Context(), "acme", thread.ID, store.Range{Ascending: true})
		must(t, err)
		for _, m := range messages {
			said = append(said, fmt.Sprintf("%s %s: %s %s", thread.Backend, m.Role, m.Text, m.Reason))
		}
	}
	for _, want := range []string{
		"helpdesk user: Opening hours? ", "helpdesk assistant: We open at nine. ",
		"helpdesk user: And on Sunday? the vendor noted an error: model overloaded", "helpdesk user: without an id ",
	} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("there is no %q in\n%s", want, strings.Join(said, "\n"))
		}
	}
	broken := func(each func(int, adapters.Record) error) error { return errors.Join(read(each), errFails) }
	if _, err := ImportRecords(t.Context(), sqlite(t), d, broken, Options{}); !errors.Is(err, errFails) {
		t.Errorf("a file that breaks off: %v", err)
	}
}
