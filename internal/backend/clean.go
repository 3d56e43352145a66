package backend

import (
	"chatmux/adapters"
	"chatmux/normalize"
)

// cleanReply makes everything that a vendor said fit to be shown and stored. This
// is the one place where vendor text is cleaned.
func cleanReply(r *adapters.Reply) {
	clean(&r.Remote.ThreadID, &r.Remote.UserID, &r.Sent.RemoteID)
	cleanAuthor(&r.Sent.Author)
	r.Sent.Raw = normalize.CleanBytes(r.Sent.Raw)
	cleanUpdate(&r.Thread)
	for i := range r.Messages {
		cleanMessage(&r.Messages[i])
	}
}

func cleanMessage(m *normalize.Message) {
	clean(&m.Text, &m.RemoteID, &m.Model, &m.Notice)
	cleanAuthor(&m.Author)
	for i := range m.Attachments {
		a := &m.Attachments[i]
		clean(&a.ID, &a.URL, &a.Filename, &a.ContentType)
	}
	for i := range m.Sources {
		s := &m.Sources[i]
		clean(&s.Title, &s.URL, &s.Text)
	}
	for i := range m.Suggestions {
		s := &m.Suggestions[i]
		clean(&s.ID, &s.Title, &s.Text, &s.URL)
	}
	m.Raw = normalize.CleanBytes(m.Raw)
}

func cleanUpdate(u *normalize.ThreadUpdate) {
	if u.Title != nil {
		title := normalize.CleanText(*u.Title)
		u.Title = &title
	}
	for i := range u.Tags {
		clean(&u.Tags[i].ID, &u.Tags[i].Name, &u.Tags[i].Color)
	}
	for i := range u.Assignees {
		clean(&u.Assignees[i].ID, &u.Assignees[i].Name, &u.Assignees[i].Email)
	}
	if u.Channel != nil {
		clean(&u.Channel.ID, &u.Channel.Name, &u.Channel.Type)
	}
	if u.User != nil {
		clean(&u.User.ID, &u.User.Name, &u.User.Email, &u.User.Phone, &u.User.Info)
	}
	u.Raw = normalize.CleanBytes(u.Raw)
}

func cleanAuthor(a *normalize.Author) { clean(&a.ID, &a.Name, &a.Email, &a.AvatarURL) }

func clean(texts ...*string) {
	for _, t := range texts {
		*t = normalize.CleanText(*t)
	}
}
