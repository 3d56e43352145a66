package sitegpt

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"

	"chatmux/adapters"
	"chatmux/normalize"
)

// pageField is where the page that a person writes from is kept among a message's
// metadata, as far as it fits there.
const pageField = "pageUrl"

// maxPageURL is how many characters of it that are.
const maxPageURL = 512

// The objects of v2.
type (
	shownConversationV2 struct {
		ThreadID       string            `json:"threadId"`
		ChatbotID      string            `json:"chatbotId"`
		Mode           string            `json:"mode"`
		StartedAt      string            `json:"startedAt"`
		UpdatedAt      string            `json:"updatedAt"`
		EndedAt        *string           `json:"endedAt"`
		Escalated      bool              `json:"escalated"`
		Important      bool              `json:"important"`
		Resolved       bool              `json:"resolved"`
		Title          *string           `json:"title"`
		TagIDs         []string          `json:"tagIds"`
		SessionID      *string           `json:"sessionId"`
		PageURL        *string           `json:"pageUrl"`
		ChatUserID     *string           `json:"chatUserId"`
		ChatUser       *shownUserV2      `json:"chatUser"`
		Lead           *struct{}         `json:"lead"`
		TotalMessages  int               `json:"totalMessages"`
		UnreadMessages int               `json:"unreadMessages"`
		LastMessage    *shownMessageV2   `json:"lastMessage"`
		Messages       *[]shownMessageV2 `json:"messages,omitempty"`
	}
	shownMessageV2 struct {
		MessageID         string     `json:"messageId"`
		MessageType       string     `json:"messageType"`
		SystemMessageType *string    `json:"systemMessageType"`
		Reaction          string     `json:"reaction"`
		GPTModel          *string    `json:"gptModel"`
		Sources           []string   `json:"sources"`
		AgentID           *string    `json:"agentId"`
		AgentName         *string    `json:"agentName"`
		IconURL           *string    `json:"iconUrl"`
		PageURL           *string    `json:"pageUrl"`
		CreatedAt         string     `json:"createdAt"`
		UpdatedAt         string     `json:"updatedAt"`
		Question          *shownHalf `json:"question"`
		Answer            *shownHalf `json:"answer"`
	}
	shownUserV2 struct {
		ID        string  `json:"id"`
		Name      *string `json:"name"`
		Email     *string `json:"email"`
		Phone     *string `json:"phone"`
		Verified  bool    `json:"verified"`
		CreatedAt string  `json:"createdAt"`
		UpdatedAt string  `json:"updatedAt"`
	}
	shownPaginationV2 struct {
		Limit       int     `json:"limit"`
		HasNextPage bool    `json:"hasNextPage"`
		NextCursor  *string `json:"nextCursor"`
	}
)

// readSendV2 reads the body of a send.
func readSendV2(d adapters.Desk) (adapters.SendRequest, error) {
	f, err := readForm(d)
	if err != nil {
		return adapters.SendRequest{}, err
	}
	send := adapters.SendRequest{Bot: d.Var("chatbotId"), Text: f.needed("message")}
	if page := f.url(pageField); page != "" && len(page) <= maxPageURL {
		send.Metadata = map[string]string{pageField: page}
	}
	return send, f.err()
}

// serveSendNewV2 is POST /messages.
func serveSendNewV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	send, err := readSendV2(d)
	if err != nil {
		return err
	}
	send.Opening = &adapters.Opening{Bot: send.Bot, Metadata: send.Metadata}
	said, err := d.Send(r.Context(), send)
	if err != nil {
		return inTheirWords(err)
	}
	p := pairOf(&said)
	conversation := showConversationV2(&said.Thread, adapters.CalledBy(dialectName, &said.Thread), send.Bot, tallyOf([]shownPair{p}))
	return sayV2(w, d, map[string]any{"conversation": conversation, "message": showMessageV2(&p)})
}

// serveSendV2 is POST /conversations/{threadId}/messages.
func serveSendV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	send, err := readSendV2(d)
	if err != nil {
		return err
	}
	t, err := findV2(r, d)
	if err != nil {
		return err
	}
	send.ThreadID = t.ID
	said, err := d.Send(r.Context(), send)
	if err != nil {
		return inTheirWords(err)
	}
	p := pairOf(&said)
	return sayV2(w, d, map[string]any{"message": showMessageV2(&p)})
}

// findV2 finds the conversation that the path names.
func findV2(r *http.Request, d adapters.Desk) (normalize.Thread, error) {
	t, err := d.Find(r.Context(), d.Var("chatbotId"), d.Var("threadId"))
	return t, notFound(err, true)
}

// serveConversationV2 is GET /conversations/{threadId}.
func serveConversationV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	t, err := findV2(r, d)
	if err != nil {
		return err
	}
	pairs, err := readPairs(r, d, t.ID)
	if err != nil {
		return err
	}
	shown := showConversationV2(&t, d.Var("threadId"), d.Var("chatbotId"), tallyOf(pairs))
	messages := showMessagesV2(pairs)
	shown.Messages = &messages
	return sayV2(w, d, map[string]any{"conversation": shown})
}

// serveMessagesV2 is GET /conversations/{threadId}/messages.
func serveMessagesV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	q := readQuery(r)
	limit, offset := q.number("limit", defaultLimit, maxLimit), q.cursor()
	if err := q.err(); err != nil {
		return err
	}
	t, err := findV2(r, d)
	if err != nil {
		return err
	}
	pairs, err := readPairs(r, d, t.ID)
	if err != nil {
		return err
	}
	pairs = pairs[min(offset, len(pairs)):]
	shown := pairs[:min(limit, len(pairs))]
	return sayV2(w, d, map[string]any{
		"messages": showMessagesV2(shown), "pagination": nextPage(limit, offset+len(shown), len(pairs) > len(shown)),
	})
}

// cursor reads where a page begins.
func (q *query) cursor() int {
	given := q.values.Get("cursor")
	if given == "" {
		return 0
	}
	text, err := base64.RawURLEncoding.DecodeString(given)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(string(text)); err == nil && n >= 0 && n <= 1<<30 {
			return n
		}
	}
	q.refuse("cursor", "is not one that this list returned")
	return 0
}

func nextPage(limit, next int, more bool) shownPaginationV2 {
	p := shownPaginationV2{Limit: limit, HasNextPage: more}
	if more {
		p.NextCursor = orNull(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(next))))
	}
	return p
}

// filtersV2 are the filters of the list of conversations. What nobody here marks
// (important, resolved, read, a lead) is never so.
type filtersV2 struct {
	query     adapters.ThreadQuery
	none      bool     // nothing can match
	tags      []string // of several, one is enough
	escalated string
	reaction  string
	model     string
	nonEmpty  bool
	scan      int               // how many conversations are looked at
	given     map[string]string // as the answer repeats them
}

func (q *query) filtersV2(bot string) filtersV2 {
	f := filtersV2{query: adapters.ThreadQuery{Bot: bot, Text: q.values.Get("query")}, tags: q.values["tagId"], given: map[string]string{}}
	for name := range q.values {
		if name != "limit" && name != "cursor" && name != "scanLimit" {
			f.given[name] = q.values.Get(name)
		}
	}
	if len(f.tags) == 1 { // which the list itself knows
		f.query.Tag = f.tags[0]
	}
	flag := func(name string) string { return q.oneOf(name, "true", "false") }
	f.query.Mode = modes[q.oneOf("mode", "AI", "AGENT")]
	f.escalated = flag("escalated")
	f.nonEmpty = flag("includeEmpty") == "false"
	f.reaction = q.oneOf("reaction", "POSITIVE", "NEGATIVE")
	f.model = q.oneOf("gptModel", "gpt-3.5", "gpt-4")
	f.none = q.oneOf("status", "all", "open", "resolved") == "resolved" || flag("important") == "true" || flag("read") == "false" || q.values.Get("leadId") != ""
	f.scan = q.number("scanLimit", 1000, 1000)
	if len([]rune(f.query.Text)) > 1000 {
		q.refuse("query", "must have at most 1000 characters")
	}
	return f
}

// keeps reports whether a conversation passes the filters that the list itself does not
// know.
func (f *filtersV2) keeps(t *normalize.Thread, n tally) bool {
	switch {
	case f.escalated != "" && f.escalated != strconv.FormatBool(isEscalated(t)),
		f.reaction == "POSITIVE" && n.positive == 0, f.reaction == "NEGATIVE" && n.negative == 0,
		f.model == "gpt-4" && n.gpt4 == 0, f.model == "gpt-3.5" && n.gpt35 == 0,
		f.nonEmpty && n.total == 0:
		return false
	}
	return len(f.tags) < 2 || slices.ContainsFunc(t.Tags, func(tag normalize.Tag) bool { return slices.Contains(f.tags, tag.ID) })
}

// serveConversationsV2 is GET /conversations.
func serveConversationsV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	q := readQuery(r)
	bot := d.Var("chatbotId")
	limit, offset, f := q.number("limit", defaultLimit, maxLimit), q.cursor(), q.filtersV2(bot)
	if err := q.err(); err != nil {
		return err
	}
	list, more := []shownConversationV2{}, !f.none
	for looked := 0; more && len(list) < limit && looked < f.scan; {
		f.query.Offset, f.query.Limit = offset, min(limit, f.scan-looked)
		threads, total, err := d.Threads(r.Context(), f.query)
		if err != nil {
			return err
		}
		for i := range threads {
			if len(list) == limit {
				break
			}
			offset++
			looked++
			pairs, err := readPairs(r, d, threads[i].ID)
			if err != nil {
				return err
			}
			if n := tallyOf(pairs); f.keeps(&threads[i], n) {
				list = append(list, showConversationV2(&threads[i], adapters.CalledBy(dialectName, &threads[i]), bot, n))
			}
		}
		more = offset < total && len(threads) > 0
	}
	return sayV2(w, d, map[string]any{"conversations": list, "filters": f.given, "pagination": nextPage(limit, offset, more)})
}

// serveDeleteV2 is DELETE /conversations/{threadId}?confirm=true.
func serveDeleteV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	if r.URL.Query().Get("confirm") != "true" {
		return normalize.InvalidField("confirm", "must be true")
	}
	t, err := findV2(r, d)
	if err != nil {
		return err
	}
	if err := d.DeleteThread(r.Context(), t.ID); err != nil {
		return err
	}
	return sayV2(w, d, map[string]any{"threadId": d.Var("threadId"), "deleted": true})
}

// readNoteV2 reads the body of what is done to a conversation: an object, even an empty
// one, is obligatory.
func readNoteV2(d adapters.Desk) (string, error) {
	f, err := readForm(d)
	if err != nil {
		return "", err
	}
	return f.text("message"), f.err()
}

// serveEscalateV2 is POST /conversations/{threadId}/escalate.
func serveEscalateV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	note, err := readNoteV2(d)
	if err != nil {
		return err
	}
	t, err := findV2(r, d)
	if err == nil {
		t, err = d.Escalate(r.Context(), t.ID, note)
	}
	if err != nil {
		return err
	}
	return sayConversationV2(w, r, d, &t)
}

func serveTakeOverV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	return switchV2(w, r, d, normalize.ModeHuman)
}

func serveSwitchToAIV2(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	return switchV2(w, r, d, normalize.ModeAI)
}

func switchV2(w http.ResponseWriter, r *http.Request, d adapters.Desk, mode normalize.Mode) error {
	if _, err := readNoteV2(d); err != nil {
		return err
	}
	t, err := findV2(r, d)
	if err == nil {
		t, err = d.UpdateThread(r.Context(), t.ID, adapters.ThreadChange{Mode: &mode})
	}
	if err != nil {
		return err
	}
	return sayConversationV2(w, r, d, &t)
}

func sayConversationV2(w http.ResponseWriter, r *http.Request, d adapters.Desk, t *normalize.Thread) error {
	pairs, err := readPairs(r, d, t.ID)
	if err != nil {
		return err
	}
	return sayV2(w, d, map[string]any{"conversation": showConversationV2(t, d.Var("threadId"), d.Var("chatbotId"), tallyOf(pairs))})
}

func showConversationV2(t *normalize.Thread, id, bot string, n tally) shownConversationV2 {
	shown := shownConversationV2{
		ThreadID: id, ChatbotID: bot, Mode: modeWord(t.Mode), StartedAt: millis.of(t.CreatedAt), UpdatedAt: millis.of(t.UpdatedAt),
		EndedAt: endedAt(t, millis), Escalated: isEscalated(t), Title: orNull(t.Title), TagIDs: []string{}, PageURL: orNull(t.Metadata[pageField]),
		ChatUserID: orNull(personID(t)), TotalMessages: n.total,
	}
	for _, tag := range t.Tags {
		shown.TagIDs = append(shown.TagIDs, tag.ID)
	}
	if shown.ChatUserID != nil {
		shown.ChatUser = &shownUserV2{
			ID: *shown.ChatUserID, Name: orNull(t.User.Name), Email: orNull(t.User.Email), Phone: orNull(t.User.Phone),
			CreatedAt: millis.of(t.CreatedAt), UpdatedAt: millis.of(t.UpdatedAt),
		}
	}
	if n.last != nil {
		last := showMessageV2(n.last)
		shown.LastMessage = &last
	}
	return shown
}

func showMessagesV2(pairs []shownPair) []shownMessageV2 {
	list := make([]shownMessageV2, len(pairs))
	for i := range pairs {
		list[i] = showMessageV2(&pairs[i])
	}
	return list
}

func showMessageV2(p *shownPair) shownMessageV2 {
	shown := shownMessageV2{
		MessageID: p.id, MessageType: p.kind, SystemMessageType: orNull(p.system), Reaction: p.reaction(), GPTModel: orNull(p.model),
		Sources: p.sourceTexts(), AgentID: orNull(p.author.ID), AgentName: orNull(p.author.Name), IconURL: orNull(p.author.AvatarURL),
		PageURL: orNull(p.pageURL), CreatedAt: millis.of(p.created), UpdatedAt: millis.of(p.updated),
	}
	shown.Question, shown.Answer = p.halves(millis)
	return shown
}
