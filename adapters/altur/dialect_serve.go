package altur

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The names of fields that a thread is shown with: those of the request that made it.
const (
	bodyAgent   = "agent"
	bodyChatbot = "chatbot"
)

// serveSend is POST /message.
func serveSend(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	shape, bot := bodyAgent, f.text("agent_id")
	if old := f.text("chatbot_id"); old != nil {
		if bot != nil {
			f.refuse("chatbot_id", "and agent_id must not both be given")
		}
		shape, bot = bodyChatbot, old
	}
	switch {
	case len(f.wrong) > 0:
	case bot == nil:
		f.refuse("agent_id", "is required")
	case *bot == "":
		f.refuse(shape+"_id", "must not be empty")
	}
	userID, content := f.needed("end_user_id"), f.needed("content")
	if len(userID) > maxUserID {
		f.refuse("end_user_id", "is longer than an id can be")
	}
	if err := f.err(); err != nil {
		return err
	}
	p, err := recallUser(r, d, userID)
	if err == nil && p == nil {
		p, err = adoptUser(r, d, *bot, userID)
	}
	if err != nil {
		return err
	}
	if p == nil {
		p = &person{ID: userID}
	}
	opening := &adapters.Opening{Bot: *bot, Key: userID, User: p.user()}
	if p.Adopted {
		opening.Person = userID
	}
	said, err := d.Send(r.Context(), adapters.SendRequest{Bot: *bot, Opening: opening, Text: content})
	if err != nil {
		return inTheirWords(err)
	}
	// What cannot be kept is kept with the next message: the answer is there, and given.
	if first := said.Thread.MessageCount <= 1+len(said.Replies); first || !p.kept {
		p.Name, p.Info = cmp.Or(p.Name, said.Thread.User.Name), cmp.Or(p.Info, said.Thread.User.Info)
		_ = keepUser(r, d, p, said.Thread.ID)
		if shape == bodyChatbot {
			_, _ = d.Record(r.Context(), shapeRecord(said.Thread.ID), said.Thread.ID, []byte(shape), false)
		}
	}
	thread := showThread(&said.Thread, *bot, threadID(&said.Thread), shape, p)
	thread.nameBot(said.Replies)
	answer(w, http.StatusOK, shownTurn{
		Thread:       thread,
		Messages:     showMessages(said.Replies, thread.ID),
		InResponseTo: showMessage(&said.Message, thread.ID),
	})
	return nil
}

func shapeRecord(threadID string) string { return "shape:" + threadID }

// threadID is the id that a client knows a thread by. One whose person was adopted has
// the id that it had at the vendor.
func threadID(t *normalize.Thread) string {
	for _, b := range t.Bindings {
		if b.Vendor == dialectName && b.Reason == "adopted" && b.Remote.ThreadID != "" {
			return b.Remote.ThreadID
		}
	}
	return adapters.CalledBy(dialectName, t)
}

// serveThread is GET /thread/{id}.
func serveThread(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	t, err := findThread(r, d, d.Var("id"))
	if err != nil {
		return err
	}
	shape, err := d.Recall(r.Context(), shapeRecord(t.ID))
	if err != nil {
		return err
	}
	p := &person{ID: t.User.ID, Name: t.User.Name, Info: t.User.Info}
	if p.ID == "" {
		p.ID = remoteUser(&t)
	}
	kept, err := recallUser(r, d, p.ID)
	if err != nil {
		return err
	}
	if kept != nil {
		p = kept
	}
	last, _, err := d.Messages(r.Context(), t.ID, adapters.MessageQuery{Limit: 10, Descending: true})
	if err != nil {
		return err
	}
	thread := showThread(&t, botOf(&t), d.Var("id"), string(shape), p)
	thread.nameBot(last)
	answer(w, http.StatusOK, thread)
	return nil
}

func findThread(r *http.Request, d adapters.Desk, id string) (normalize.Thread, error) {
	t, err := d.Find(r.Context(), "", id)
	if isNotFound(err) {
		return t, normalize.Errorf(normalize.KindNotFound, "Thread not found")
	}
	return t, err
}

// page is how many messages are read at once.
const page = 200

// serveMessages is GET /message/{thread_id}: all of them, oldest first.
func serveMessages(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	asked := d.Var("thread_id")
	t, err := findThread(r, d, asked)
	if err != nil {
		return err
	}
	all := []shownMessage{}
	for offset := 0; ; offset += page {
		list, total, err := d.Messages(r.Context(), t.ID, adapters.MessageQuery{Offset: offset, Limit: page})
		if err != nil {
			return err
		}
		all = append(all, showMessages(list, asked)...)
		if offset+page >= total {
			answer(w, http.StatusOK, all)
			return nil
		}
	}
}

// readUser reads what a request says of an end user.
func readUser(d adapters.Desk) (name, info *string, err error) {
	f, err := readForm(d)
	if err != nil {
		return nil, nil, err
	}
	name, info = f.text("display_name"), f.text("info")
	for field, limit := range map[string]struct {
		text *string
		most int
	}{"display_name": {name, 512}, "info": {info, 4096}} {
		if limit.text != nil && len([]rune(*limit.text)) > limit.most {
			f.refuse(field, "is too long")
		}
	}
	return name, info, f.err()
}

// serveNewUser is POST /enduser.
func serveNewUser(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	name, info, err := readUser(d)
	if err != nil {
		return err
	}
	p := &person{ID: newUUID4()}
	p.change(name, info)
	if err := keepUser(r, d, p, ""); err != nil {
		return err
	}
	answer(w, http.StatusOK, showUser(p))
	return nil
}

// newUUID4 makes an id of an end user, which at the vendor is a UUID of version 4.
func newUUID4() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (p *person) change(name, info *string) {
	if name != nil {
		p.Name = *name
	}
	if info != nil {
		p.Info = *info
	}
}

// findUser finds an end user, be it one that only the vendor knows.
func findUser(r *http.Request, d adapters.Desk) (*person, error) {
	id := d.Var("id")
	p, err := recallUser(r, d, id)
	if err == nil && p == nil {
		p, err = adoptUser(r, d, "", id)
	}
	if err == nil && p == nil {
		p, err = userOfThreads(r, d, id)
	}
	if err == nil && p == nil {
		err = normalize.Errorf(normalize.KindNotFound, "EndUser not found")
	}
	return p, err
}

// userOfThreads finds an end user by a thread of theirs, which may have come from another
// chatmux without the end user; nil where there is none.
func userOfThreads(r *http.Request, d adapters.Desk, id string) (*person, error) {
	threads, _, err := d.Threads(r.Context(), adapters.ThreadQuery{User: id, Limit: 1})
	if err != nil || len(threads) == 0 {
		return nil, err
	}
	return &person{ID: id, Name: threads[0].User.Name, Info: threads[0].User.Info}, nil
}

// serveUser is GET /enduser/{id}.
func serveUser(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	p, err := findUser(r, d)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, showUser(p))
	return nil
}

// serveChangedUser is PUT /enduser/{id}. What is not given stays. The person's threads
// are told, and by them whoever answers.
func serveChangedUser(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	name, info, err := readUser(d)
	if err != nil {
		return err
	}
	p, err := findUser(r, d)
	if err != nil {
		return err
	}
	p.change(name, info)
	threadID := ""
	for offset := 0; ; offset += page {
		threads, total, err := d.Threads(r.Context(), adapters.ThreadQuery{User: p.ID, Offset: offset, Limit: page, Ascending: true})
		if err != nil {
			return err
		}
		for i := range threads {
			threadID = threads[i].ID
			user := p.user()
			if _, err := d.UpdateThread(r.Context(), threadID, adapters.ThreadChange{User: &user}); err != nil {
				return err
			}
		}
		if offset+page >= total {
			break
		}
	}
	if err := keepUser(r, d, p, threadID); err != nil {
		return err
	}
	answer(w, http.StatusOK, showUser(p))
	return nil
}

// botOf is the bot that a thread was asked for with, else that of its conversation at
// the vendor; empty where it has none.
func botOf(t *normalize.Thread) string {
	if bot, ours := cutAsked(t); ours && bot != "" {
		return bot
	}
	for _, b := range slices.Backward(t.Bindings) {
		if b.Vendor == dialectName {
			return b.Bot
		}
	}
	return ""
}

// remoteUser is the vendor's id of the person of an adopted thread.
func remoteUser(t *normalize.Thread) string {
	for _, b := range slices.Backward(t.Bindings) {
		if b.Vendor == dialectName && b.Remote.UserID != "" {
			return b.Remote.UserID
		}
	}
	return ""
}
