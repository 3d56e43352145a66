package altur

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"chatmux/normalize"
)

// The objects as the vendor's OpenAPI document has them. What is optional there and not
// known is left out: it knows no null.
type (
	shownTurn struct {
		Thread       shownThread    `json:"thread"`
		Messages     []shownMessage `json:"messages"`
		InResponseTo shownMessage   `json:"in_response_to"`
	}

	shownThread struct {
		ID         string        `json:"id"`
		Agent      *shownBot     `json:"agent,omitempty"`
		Chatbot    *shownBot     `json:"chatbot,omitempty"`
		EndUser    *shownUser    `json:"end_user,omitempty"`
		OldEndUser *shownUser    `json:"enduser,omitempty"`
		Channel    *shownChannel `json:"integration,omitempty"`
		UpdatedAt  string        `json:"updated_at"`
		Active     bool          `json:"active"`
		Blocked    bool          `json:"blocked"`
		Tags       []shownTag    `json:"tags"`
		AssignedTo []shownStaff  `json:"assigned_to"`
	}

	shownBot struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
	}

	shownUser struct {
		ID              string `json:"id"`
		DisplayName     string `json:"display_name"`
		IntegrationType string `json:"integration_type"`
		Info            string `json:"info,omitempty"`
	}

	shownChannel struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}

	shownTag struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Color string `json:"color"`
	}

	shownStaff struct {
		ID        string `json:"id"`
		Email     string `json:"email"`
		FirstName string `json:"first_name,omitempty"`
		LastName  string `json:"last_name,omitempty"`
	}

	shownMessage struct {
		ThreadID   string `json:"thread_id"`
		Type       string `json:"type"`
		Content    string `json:"content,omitempty"`
		Media      string `json:"media,omitempty"`
		SentBy     string `json:"sent_by"`
		SentByUser string `json:"sent_by_user,omitempty"`
		SentAt     string `json:"sent_at"`
		Read       *bool  `json:"read,omitempty"`
	}
)

// The words of the vendor.
const (
	channelAPI = "api"

	byBot    = "AI"
	byUser   = "EU"
	bySystem = "SYS"
)

var (
	channels = []string{channelAPI, "whatsapp"}
	colors   = []string{"blue", "green", "red", "pink", "purple", "orange", "yellow"}
)

// showThread shows a thread under the id that the client knows it by.
func showThread(t *normalize.Thread, bot, id, shape string, p *person) shownThread {
	s := shownThread{
		ID: id, UpdatedAt: stamp(t.UpdatedAt), Active: t.Mode == normalize.ModeAI, Blocked: t.Status == normalize.ThreadBlocked,
		Tags: []shownTag{}, AssignedTo: []shownStaff{},
	}
	var named *shownBot
	if bot != "" {
		named = &shownBot{ID: bot}
	}
	var user *shownUser
	if p.ID != "" {
		shown := showUser(p)
		user = &shown
	}
	if shape == bodyChatbot {
		s.Chatbot, s.OldEndUser = named, user
	} else {
		s.Agent, s.EndUser = named, user
	}
	if t.Channel.ID != "" && slices.Contains(channels, t.Channel.Type) {
		s.Channel = &shownChannel{t.Channel.ID, t.Channel.Type}
		if user != nil {
			user.IntegrationType = t.Channel.Type
		}
	}
	for _, tag := range t.Tags {
		color := tag.Color
		if !slices.Contains(colors, color) {
			color = colors[0] // required, and one of these
		}
		s.Tags = append(s.Tags, shownTag{ID: tag.ID, Name: cmp.Or(tag.Name, tag.ID), Color: color})
	}
	for _, a := range t.Assignees {
		first, last, _ := strings.Cut(a.Name, " ")
		s.AssignedTo = append(s.AssignedTo, shownStaff{ID: a.ID, Email: a.Email, FirstName: first, LastName: last})
	}
	return s
}

// nameBot takes the bot's name from what it says.
func (s *shownThread) nameBot(messages []normalize.Message) {
	bot := cmp.Or(s.Agent, s.Chatbot)
	if bot == nil {
		return
	}
	for _, m := range messages {
		if m.Role == normalize.RoleAssistant && m.Author.Name != "" {
			bot.Name = m.Author.Name
			return
		}
	}
}

func showUser(p *person) shownUser {
	return shownUser{ID: p.ID, DisplayName: p.Name, IntegrationType: channelAPI, Info: p.Info}
}

// showMessages shows what was said. What was certainly never said, and our own notices
// of a move, are nothing to this vendor's clients.
func showMessages(list []normalize.Message, threadID string) []shownMessage {
	shown := make([]shownMessage, 0, len(list))
	for i := range list {
		if m := &list[i]; m.Status != normalize.StatusFailed && m.Notice != "thread_moved" {
			shown = append(shown, showMessage(m, threadID))
		}
	}
	return shown
}

func showMessage(m *normalize.Message, threadID string) shownMessage {
	s := shownMessage{ThreadID: threadID, Type: typeWord(m.Type), Content: m.Text, SentBy: bySystem, SentAt: stamp(m.CreatedAt), Read: m.Read}
	switch m.Role {
	case normalize.RoleUser:
		s.SentBy = byUser
	case normalize.RoleAssistant:
		s.SentBy = byBot
	case normalize.RoleOperator:
		s.SentBy, s.SentByUser = byBot, cmp.Or(m.Author.ID, m.Author.Email, m.Author.Name, "operator")
	case normalize.RoleSystem:
	}
	if len(m.Attachments) > 0 {
		s.Media = m.Attachments[0].URL
	}
	return s
}

// typeWord is the vendor's word for what a message carries.
func typeWord(t normalize.MessageType) string {
	switch t {
	case normalize.TypeSticker:
		return string(normalize.TypeImage)
	case normalize.TypeOther, "":
		return string(normalize.TypeText)
	default:
		return string(t)
	}
}

// stamp writes a time as the documents show it, in UTC and with a Z.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// cutAsked gives the bot that a client of this dialect asked for.
func cutAsked(t *normalize.Thread) (bot string, ours bool) {
	return strings.CutPrefix(t.Asked, dialectName+"/")
}
