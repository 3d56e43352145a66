package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// lines makes messages of words like "u#7:hello": the role, the vendor's id if there is
// one, the text. Each is a minute after the one before.
func lines(words ...string) []normalize.Message {
	list := make([]normalize.Message, len(words))
	for i, word := range words {
		head, text, _ := strings.Cut(word, ":")
		role, id, _ := strings.Cut(head, "#")
		m := normalize.Message{Role: normalize.RoleAssistant, Status: normalize.StatusComplete, RemoteID: id, Text: text, CreatedAt: time.Unix(int64(1000+60*i), 0)}
		switch role {
		case "u":
			m.Role, m.Status = normalize.RoleUser, normalize.StatusSent
		case "o":
			m.Role = normalize.RoleOperator
		case "cut":
			m.Status = normalize.StatusIncomplete
		case "failed":
			m.Role, m.Status = normalize.RoleUser, normalize.StatusFailed
		case "moved":
			m.Role, m.Notice = normalize.RoleSystem, noticeMoved
		}
		list[i] = m
	}
	return list
}

// asStored makes a transcript of one backend's; a text that begins with "elsewhere" is
// another one's.
func asStored(words ...string) []store.StoredMessage {
	var list []store.StoredMessage
	for i, m := range lines(words...) {
		m.ID, m.Backend = fmt.Sprint("m", i+1), "here"
		if strings.HasPrefix(m.Text, "elsewhere") {
			m.Backend = "there"
		}
		list = append(list, store.StoredMessage{Message: m, Seq: int64(i + 1)})
	}
	return list
}

func TestAListIsAlignedWithWhatIsStored(t *testing.T) {
	for _, tt := range []struct {
		name           string
		listed, stored []string
		fresh          []string // place, text, and what it replies to
		known          []string // id, vendor's id, text
	}{
		{"nothing is stored", []string{"u#1:hi", "a#2:hello"}, nil, []string{"0 hi", "0 hello <- new"}, nil},
		{"all is stored", []string{"u#1:hi", "a#2:hello"}, []string{"u#1:hi", "a#2:hello"}, nil, nil},
		{"what was said since", []string{"u#1:hi", "a#2:hello", "u#3:and?", "a#4:yes"}, []string{"u#1:hi", "a#2:hello"}, []string{"2 and?", "2 yes <- new"}, nil},
		{"in the middle", []string{"u#1:hi", "a#2:hello", "o#3:may I?", "u#4:bye"}, []string{"u#1:hi", "a#2:hello", "u#4:bye"}, []string{"2 may I? <- m1"}, nil},
		{"before all", []string{"a#0:welcome", "u#1:hi"}, []string{"u#1:hi"}, []string{"0 welcome"}, nil},
		{
			"ids are learned by texts",
			[]string{"u#1:ok", "a#2:fine", "u#3:ok", "a#4:fine"},
			[]string{"u:ok", "a:fine", "u:ok", "a:fine"},
			nil,
			[]string{"m1 1 ok", "m2 2 fine", "m3 3 ok", "m4 4 fine"},
		},
		{"one text said twice, once here", []string{"u#1:ok", "a#2:fine", "u#3:ok"}, []string{"u:ok", "a#2:fine"}, []string{"2 ok"}, []string{"m1 1 ok"}},
		{"behind a primer", []string{"u#1:[Context]" + primerEnd + "hi", "a#2:hello"}, []string{"u:hi", "a#2:hello"}, nil, []string{"m1 1 hi"}},
		{"other ids than in the answer", []string{"u#1:hi", "a#2:hello"}, []string{"u:hi", "a#x:hello"}, nil, []string{"m1 1 hi"}},
		{"an answer that was cut", []string{"u#1:hi", "a#2:hello you"}, []string{"u#1:hi", "cut:hello"}, nil, []string{"m2 2 hello you"}},
		{"what failed was not said", []string{"u#1:hi"}, []string{"failed:hi"}, []string{"1 hi"}, nil},
		{"another backend's is not it", []string{"u#1:elsewhere"}, []string{"u:elsewhere"}, []string{"1 elsewhere"}, nil},
		{
			"said before the thread moved",
			[]string{"u#1:hi", "a#2:hello", "u#3:late"},
			[]string{"u#1:hi", "a#2:hello", "moved:", "u:elsewhere"},
			[]string{"2 late"},
			nil,
		},
		{"not at the vendor any more", []string{"u#3:new"}, []string{"u#1:hi", "a#2:hello"}, []string{"1 new"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stored := asStored(tt.stored...)
			a := align(lines(tt.listed...), stored, "thr_1", "here")
			ids := make(map[string]bool)
			var fresh, known []string
			for _, f := range a.fresh {
				line := fmt.Sprint(f.After, " ", f.Message.Text)
				switch to := f.Message.InReplyTo; {
				case ids[to]:
					line += " <- new"
				case to != "":
					line += " <- " + to
				}
				if _, err := normalize.ParseID(normalize.PrefixMessage, f.Message.ID); err != nil || ids[f.Message.ID] || f.Message.Backend != "here" || f.Message.ThreadID != "thr_1" {
					t.Errorf("%+v", f.Message)
				}
				ids[f.Message.ID] = true
				fresh = append(fresh, line)
			}
			for _, m := range a.known {
				known = append(known, m.ID+" "+m.RemoteID+" "+m.Text)
				if m.Status == normalize.StatusIncomplete {
					t.Errorf("%+v", m)
				}
			}
			if !slices.Equal(fresh, tt.fresh) || !slices.Equal(known, tt.known) {
				t.Errorf("new %q, want %q; known %q, want %q", fresh, tt.fresh, known, tt.known)
			}
		})
	}
}

func TestWhatAVendorTellsCompletesWhatIsStored(t *testing.T) {
	yes, no := true, false
	stored := normalize.Message{ID: "m1", Text: "hello", Status: normalize.StatusComplete, RemoteID: "1", Read: &no, Raw: []byte(`{"old":1}`)}
	told := normalize.Message{
		Text: "hello", RemoteID: "1", Read: &yes, Feedback: normalize.FeedbackNegative, Raw: []byte(`{"new":1}`), Sources: []normalize.Source{{Title: "FAQ"}},
	}
	got, changed := completedBy(stored, told)
	if !changed || !*got.Read || got.Feedback != normalize.FeedbackNegative || len(got.Sources) != 1 || got.Raw != nil {
		t.Errorf("%v %+v", changed, got)
	}
	if again, changed := completedBy(got, told); changed && again.Raw == nil {
		t.Errorf("the same changes it again: %+v", again)
	}
	mine := stored
	mine.Feedback = normalize.FeedbackPositive
	if got, _ := completedBy(mine, told); got.Feedback != normalize.FeedbackPositive {
		t.Error("a verdict that is stored was replaced")
	}
}

func TestImportedIDsFollowFromWhatTheyName(t *testing.T) {
	at := time.Date(2026, 3, 4, 10, 15, 31, 480e6, time.UTC)
	a, b := importedID(normalize.PrefixThread, at, "x", "yz"), importedID(normalize.PrefixThread, at, "xy", "z")
	if a == b || a != importedID(normalize.PrefixThread, at, "x", "yz") {
		t.Errorf("%s, %s", a, b)
	}
	u, err := normalize.ParseID(normalize.PrefixThread, a)
	if err != nil || u[6]>>4 != 7 || u[8]>>6 != 2 {
		t.Errorf("%s is no UUID of version 7: %v", a, err)
	}
	if early := importedID(normalize.PrefixThread, at.Add(-time.Hour), "z"); early >= a {
		t.Error("ids do not sort by their time")
	}
	if _, err := normalize.ParseID(normalize.PrefixThread, importedID(normalize.PrefixThread, time.Time{}, "x")); err != nil {
		t.Errorf("without a time: %v", err)
	}
}
