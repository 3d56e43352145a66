package conversations

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// listing is one page of a list. Count is there only where the vendor has it.
type listing struct {
	Count    *int    `json:"count,omitempty"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []any   `json:"results"`
}

const (
	defaultPage = 20
	maxPage     = 100
)

// pageSize reads how much of a list is asked for. As in the vendor's framework, what is
// no number from 1 on is as if it had not been asked for.
func pageSize(query url.Values) int {
	n, err := strconv.Atoi(query.Get("pageSize"))
	if err != nil || n < 1 {
		return defaultPage
	}
	return min(n, maxPage)
}

// cursorAt names a place in a list, as placeOf reads it.
func cursorAt(place int) string {
	return base64.URLEncoding.EncodeToString([]byte("p=" + strconv.Itoa(place)))
}

// placeOf reads the place where a page begins: after a cursor, or by a page's number. The
// documents have the first for these lists, and links of the second form.
func placeOf(query url.Values, size int) (int, error) {
	if cursor := query.Get("cursor"); cursor != "" {
		told, err := base64.URLEncoding.DecodeString(cursor)
		digits, ok := strings.CutPrefix(string(told), "p=")
		place, notNumber := strconv.Atoi(digits)
		if err != nil || !ok || notNumber != nil || place < 0 {
			return 0, normalize.Errorf(normalize.KindNotFound, "Invalid cursor")
		}
		return place, nil
	}
	page, err := pageNumber(query)
	return (page - 1) * size, err
}

func pageNumber(query url.Values) (int, error) {
	const enough = 1 << 40 / maxPage
	if !query.Has("page") {
		return 1, nil
	}
	page, err := strconv.Atoi(query.Get("page"))
	if err != nil || page < 1 || page > enough {
		return 1, normalize.Errorf(normalize.KindNotFound, "Invalid page.")
	}
	return page, nil
}

// link is the request's own address with another page, absolute as the vendor's are.
func link(r *http.Request, name, value string) *string {
	query := r.URL.Query()
	query.Del("cursor")
	query.Del("page")
	query.Set(name, value)
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: query.Encode()}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		u.Scheme = "https"
	}
	return pointer(u.String())
}

// serveMessages lists what was said in a conversation, oldest first. Notices are left
// out: the vendor's format has no word for them.
func serveMessages(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	query := r.URL.Query()
	asked := query.Get("conversation")
	switch {
	case asked == "":
		return normalize.InvalidField("conversation", isRequired)
	case !isID(asked):
		return normalize.InvalidField("conversation", noUUID)
	}
	size := pageSize(query)
	from, err := placeOf(query, size)
	if err != nil {
		return err
	}
	t, err := findConversation(r, d, "", asked)
	if err != nil {
		return err
	}
	list, total, err := d.Messages(r.Context(), t.ID, adapters.MessageQuery{Spoken: true, Offset: from, Limit: size})
	if err != nil {
		return err
	}
	page := listing{Count: &total, Results: make([]any, 0, len(list))}
	for i := range list {
		page.Results = append(page.Results, showMessage(&list[i], asked))
	}
	if from+len(list) < total {
		page.Next = link(r, "cursor", cursorAt(from+len(list)))
	}
	if from > 0 {
		page.Previous = link(r, "cursor", cursorAt(max(0, from-size)))
	}
	return answer(w, http.StatusOK, page)
}

// serveMessage gives one message; with a conversation in the query, only one of it.
func serveMessage(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	asked := r.URL.Query().Get("conversation")
	var t normalize.Thread
	var err error
	if asked != "" { // it may be one from before, whose messages are known once it is taken up
		if t, err = findConversation(r, d, "", asked); err != nil {
			return err
		}
	}
	m, err := d.FindMessage(r.Context(), d.Var("id"))
	missing := err != nil && normalize.AsError(err).Kind == normalize.KindNotFound
	switch {
	case missing || err == nil && m.Role == normalize.RoleSystem:
		return notFound("Message")
	case err != nil:
		return err
	case asked == "":
		if t, err = findConversation(r, d, "", m.ThreadID); err != nil {
			return err
		}
	}
	if t.ID != m.ThreadID {
		return notFound("Message")
	}
	return answer(w, http.StatusOK, showMessage(&m, calledBy(asked, &t)))
}

// serveNewConversation makes an empty conversation. The web chat that the client names
// stands for the bot, since the call names no other: a route may look at it.
func serveNewConversation(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	webChat := f.uuid("webChat", true)
	if err := f.err(); err != nil {
		return err
	}
	t, err := d.Open(r.Context(), adapters.Opening{Bot: webChat, Metadata: map[string]string{webChatKey: webChat}})
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, showConversation(&t, calledBy("", &t), nil))
}

// serveConversations lists the conversations, those first in which something happened
// last. A cursor is a place in that order, so a conversation that moves to the front
// while a client turns pages may show up twice, and none is left out.
func serveConversations(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	query := r.URL.Query()
	inbox := query.Get("inbox")
	if inbox != "" && !isID(inbox) {
		return normalize.InvalidField("inbox", noUUID)
	}
	size := pageSize(query)
	from, err := placeOf(query, size)
	if err != nil {
		return err
	}
	page := listing{Results: []any{}}
	if from > 0 {
		page.Previous = link(r, "cursor", cursorAt(max(0, from-size)))
	}
	for at := from; ; {
		list, total, err := d.Threads(r.Context(), adapters.ThreadQuery{Text: query.Get("keyword"), Offset: at, Limit: maxPage})
		if err != nil {
			return err
		}
		for i := range list {
			t := &list[i]
			if inbox != "" && !strings.EqualFold(showInbox(t).ID, inbox) {
				at++
				continue
			}
			if len(page.Results) == size {
				page.Next = link(r, "cursor", cursorAt(at))
				return answer(w, http.StatusOK, page)
			}
			last, err := lastMessage(r, d, t.ID)
			if err != nil {
				return err
			}
			page.Results = append(page.Results, showConversation(t, calledBy("", t), last))
			at++
		}
		if len(list) == 0 || at >= total {
			return answer(w, http.StatusOK, page)
		}
	}
}

// serveConversation gives one conversation.
func serveConversation(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	asked := d.Var("id")
	t, err := findConversation(r, d, "", asked)
	if err != nil {
		return err
	}
	last, err := lastMessage(r, d, t.ID)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, showConversation(&t, asked, last))
}

// lastMessage gives what was said last in a thread, nil where nothing was.
func lastMessage(r *http.Request, d adapters.Desk, threadID string) (*normalize.Message, error) {
	list, _, err := d.Messages(r.Context(), threadID, adapters.MessageQuery{Spoken: true, Limit: 1, Descending: true})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}
