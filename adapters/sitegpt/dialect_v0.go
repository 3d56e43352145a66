package sitegpt

import (
	"net/http"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The objects of v0. A thread that was just created shows fewer fields than one that is
// read, and a message in the answer to its send has its id under another name.
type (
	shownThreadV0 struct {
		ThreadID   string           `json:"threadId"`
		Mode       string           `json:"mode"`
		Messages   []shownMessageV0 `json:"messages"`
		StartedAt  string           `json:"startedAt"`
		UpdatedAt  string           `json:"updatedAt"`
		ChatUserID *string          `json:"chatUserId"`
		ChatbotID  string           `json:"chatbotId"`
		ChatUser   *shownUserV0     `json:"chatUser"`
		*readThreadV0
	}
	readThreadV0 struct {
		EndedAt           *string `json:"endedAt"`
		Escalated         bool    `json:"escalated"`
		TotalMessagesRead int     `json:"totalMessagesRead"`
		WebhookURL        *string `json:"webhookUrl"`
		WebhookToken      *string `json:"webhookToken"`
	}
	shownSummaryV0 struct {
		ThreadID               string          `json:"threadId"`
		StartedAt              string          `json:"startedAt"`
		UpdatedAt              string          `json:"updatedAt"`
		EndedAt                *string         `json:"endedAt"`
		ChatUser               *shownUserV0    `json:"chatUser"`
		Escalated              bool            `json:"escalated"`
		Important              bool            `json:"important"`
		Resolved               bool            `json:"resolved"`
		TotalMessagesRead      int             `json:"totalMessagesRead"`
		TotalMessages          int             `json:"totalMessages"`
		TotalPositiveMessages  int             `json:"totalPositiveMessages"`
		TotalNegativeMessages  int             `json:"totalNegativeMessages"`
		TotalGPT4MessagesCount int             `json:"totalGpt4MessagesCount"`
		LastMessage            *shownMessageV0 `json:"lastMessage"`
	}
	shownMessageV0 struct {
		ID                string        `json:"id,omitempty"`
		MessageID         string        `json:"messageId,omitempty"`
		Question          *shownHalf    `json:"question"`
		Answer            *shownHalf    `json:"answer"`
		Sources           []string      `json:"sources"`
		GPTModel          *string       `json:"gptModel"`
		Reaction          string        `json:"reaction"`
		ThreadID          string        `json:"threadId"`
		MessageType       string        `json:"messageType"`
		SystemMessageType *string       `json:"systemMessageType,omitempty"`
		IconURL           *string       `json:"iconUrl"`
		AgentName         *string       `json:"agentName"`
		Prompts           []shownPrompt `json:"prompts"`
		SmartPrompts      *[]string     `json:"smartPrompts,omitempty"`
		ChatbotID         string        `json:"chatbotId"`
	}
	shownUserV0 struct {
		ID          string  `json:"id"`
		Name        *string `json:"name"`
		Email       *string `json:"email"`
		PhoneNumber *string `json:"phoneNumber"`
		Verified    bool    `json:"verified"`
		CreatedAt   string  `json:"createdAt"`
		UpdatedAt   string  `json:"updatedAt"`
	}
)

// serveSendV0 is POST /message.
func serveSendV0(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	bot := d.Var("chatbotId")
	send := adapters.SendRequest{Bot: bot, Text: f.needed("message")}
	asked := f.text("threadId")
	name, icon := f.text("agentName"), f.url("iconUrl")
	if f.oneOf("from", fromUser, fromAgent) == fromAgent {
		send.Role, send.Author = normalize.RoleOperator, normalize.Author{Name: name, AvatarURL: icon}
		if asked == "" {
			f.refuse("threadId", "is required when from is AGENT")
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	if asked != "" {
		t, err := d.Find(r.Context(), bot, asked)
		if err != nil {
			return notFound(err, false)
		}
		send.ThreadID = t.ID
	} else {
		send.Opening = &adapters.Opening{Bot: bot}
	}
	said, err := d.Send(r.Context(), send)
	if err != nil {
		return inTheirWords(err)
	}
	if asked == "" {
		asked = adapters.CalledBy(dialectName, &said.Thread)
	}
	p := pairOf(&said)
	shown := showMessageV0(&p, asked, bot)
	shown.ID, shown.MessageID = shown.MessageID, ""
	_, smart := p.promptLists()
	shown.SmartPrompts = &smart
	return sayV0(w, "Sent the message successfully", map[string]any{"message": shown})
}

// inTheirWords names a field as the vendor's requests do.
func inTheirWords(err error) error {
	failure := normalize.AsError(err)
	if failure == nil {
		return nil
	}
	for i, f := range failure.Fields {
		switch f.Field {
		case "text":
			failure.Fields[i].Field = "message"
		case "author.name":
			failure.Fields[i].Field = "agentName"
		case "user.email":
			failure.Fields[i].Field = "chatUserEmail"
		}
	}
	if len(failure.Fields) > 0 {
		failure.Detail = notValid
	}
	return failure
}

// serveCreateV0 is POST /threads.
func serveCreateV0(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	bot := d.Var("chatbotId")
	opening := adapters.Opening{Bot: bot, Name: f.text("threadId"), User: normalize.User{Email: f.text("chatUserEmail")}}
	opening.Mode = modes[f.oneOf("mode", "AI", "AGENT")]
	if len(opening.Name) > maxThreadID {
		f.refuse("threadId", "is longer than an id can be")
	}
	if err := f.err(); err != nil {
		return err
	}
	t, err := d.Open(r.Context(), opening)
	if err != nil {
		return inTheirWords(err)
	}
	pairs, err := readPairs(r, d, t.ID)
	if err != nil {
		return err
	}
	asked := opening.Name
	if asked == "" {
		asked = adapters.CalledBy(dialectName, &t)
	}
	return sayV0(w, "Created the chatbot thread successfully", map[string]any{"thread": showThreadV0(&t, asked, bot, pairs)})
}

// maxThreadID is the longest id that a client may choose, in bytes.
const maxThreadID = 255

// modes are the vendor's words.
var modes = map[string]normalize.Mode{"AI": normalize.ModeAI, "AGENT": normalize.ModeHuman}

// serveThreadsV0 is GET /threads.
func serveThreadsV0(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	q := readQuery(r)
	number, limit := q.number("page", 1, 1<<20), q.number("limit", defaultLimit, maxLimit)
	if err := q.err(); err != nil {
		return err
	}
	bot := d.Var("chatbotId")
	threads, _, err := d.Threads(r.Context(), adapters.ThreadQuery{Bot: bot, Offset: (number - 1) * limit, Limit: limit})
	if err != nil {
		return err
	}
	list := make([]shownSummaryV0, len(threads))
	for i := range threads {
		pairs, err := readPairs(r, d, threads[i].ID)
		if err != nil {
			return err
		}
		list[i] = showSummaryV0(&threads[i], bot, tallyOf(pairs))
	}
	return sayV0(w, "Fetched the chatbot threads successfully", map[string]any{"threads": list})
}

// serveThreadV0 is GET /threads/{threadId}.
func serveThreadV0(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	bot, asked := d.Var("chatbotId"), d.Var("threadId")
	t, err := d.Find(r.Context(), bot, asked)
	if err != nil {
		return notFound(err, false)
	}
	pairs, err := readPairs(r, d, t.ID)
	if err != nil {
		return err
	}
	shown := showThreadV0(&t, asked, bot, pairs)
	shown.readThreadV0 = &readThreadV0{EndedAt: endedAt(&t, micros), Escalated: isEscalated(&t)}
	return sayV0(w, "Fetched the chatbot thread successfully", map[string]any{"thread": shown})
}

// serveUpdateV0 is PATCH /threads/{threadId}. The vendor's own webhooks would tell
// only what happens at the vendor; so they are refused rather than half kept.
func serveUpdateV0(w http.ResponseWriter, r *http.Request, d adapters.Desk) error {
	f, err := readForm(d)
	if err != nil {
		return err
	}
	var change adapters.ThreadChange
	if mode, given := modes[f.oneOf("mode", "AI", "AGENT")]; given {
		change.Mode = &mode
	}
	for _, name := range []string{"webhookUrl", "webhookToken"} {
		if f.text(name) != "" {
			f.refuse(name, "is not supported here: chatmux has webhooks of its own")
		}
	}
	if user, given := f.object("chatUser"); given {
		change.User = &normalize.User{Email: user.text("email"), Name: user.text("name"), Phone: user.text("phoneNumber")}
	}
	if err := f.err(); err != nil {
		return err
	}
	t, err := d.Find(r.Context(), d.Var("chatbotId"), d.Var("threadId"))
	if err != nil {
		return notFound(err, false)
	}
	if _, err := d.UpdateThread(r.Context(), t.ID, change); err != nil {
		failure := normalize.AsError(err)
		for i := range failure.Fields { // what the request calls them
			switch p := &failure.Fields[i]; p.Field {
			case "user.email", "user.name":
				p.Field = "chatUser." + strings.TrimPrefix(p.Field, "user.")
			case "user.phone":
				p.Field = "chatUser.phoneNumber"
			}
		}
		return inTheirWords(failure)
	}
	return sayV0(w, "Updated the chatbot thread successfully", nil)
}

func showThreadV0(t *normalize.Thread, id, bot string, pairs []shownPair) shownThreadV0 {
	shown := shownThreadV0{
		ThreadID: id, Mode: modeWord(t.Mode), Messages: []shownMessageV0{}, StartedAt: micros.of(t.CreatedAt), UpdatedAt: micros.of(t.UpdatedAt),
		ChatUserID: orNull(personID(t)), ChatbotID: bot, ChatUser: showUserV0(t),
	}
	for i := range pairs {
		shown.Messages = append(shown.Messages, showMessageV0(&pairs[i], id, bot))
	}
	return shown
}

func showSummaryV0(t *normalize.Thread, bot string, n tally) shownSummaryV0 {
	id := adapters.CalledBy(dialectName, t)
	shown := shownSummaryV0{
		ThreadID: id, StartedAt: micros.of(t.CreatedAt), UpdatedAt: micros.of(t.UpdatedAt), EndedAt: endedAt(t, micros),
		ChatUser: showUserV0(t), Escalated: isEscalated(t),
		TotalMessages: n.total, TotalPositiveMessages: n.positive, TotalNegativeMessages: n.negative, TotalGPT4MessagesCount: n.gpt4,
	}
	if n.last != nil {
		last := showMessageV0(n.last, id, bot)
		shown.LastMessage = &last
	}
	return shown
}

func showMessageV0(p *shownPair, threadID, bot string) shownMessageV0 {
	prompts, _ := p.promptLists()
	shown := shownMessageV0{
		MessageID: p.id, Sources: p.sourceTexts(), GPTModel: orNull(p.model), Reaction: p.reaction(), ThreadID: threadID,
		MessageType: p.kind, SystemMessageType: orNull(p.system), IconURL: orNull(p.author.AvatarURL), AgentName: orNull(p.author.Name),
		Prompts: prompts, ChatbotID: bot,
	}
	shown.Question, shown.Answer = p.halves(micros)
	return shown
}

func showUserV0(t *normalize.Thread) *shownUserV0 {
	id := personID(t)
	if id == "" {
		return nil
	}
	return &shownUserV0{
		ID: id, Name: orNull(t.User.Name), Email: orNull(t.User.Email), PhoneNumber: orNull(t.User.Phone),
		CreatedAt: micros.of(t.CreatedAt), UpdatedAt: micros.of(t.UpdatedAt),
	}
}
