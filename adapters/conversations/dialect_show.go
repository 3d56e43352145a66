package conversations

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chatmux/normalize"
)

// The objects as the vendor's documents have them. Fields that these leave loosely
// typed are written as its tutorials show them.
type (
	shownConversation struct {
		ID                   string        `json:"id"`
		Contact              shownContact  `json:"contact"`
		Inbox                shownInbox    `json:"inbox"`
		Title                string        `json:"title"`
		LastMessage          *shownMessage `json:"lastMessage"`
		LastMessageCreatedAt string        `json:"lastMessageCreatedAt"`
		UnreadMessagesCount  int           `json:"unreadMessagesCount"`
		AutoReplyEnabled     bool          `json:"autoReplyEnabled"`
		IsAutoReplyNow       bool          `json:"isAutoReplyNow"`
		LastReadAt           *string       `json:"lastReadAt"`
		CreatedAt            string        `json:"createdAt"`
		IsGroupChat          bool          `json:"isGroupChat"`
		EnableGroupMention   bool          `json:"enableGroupMention"`
	}

	shownContact struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		CreatedAt string `json:"createdAt"`
	}

	shownInbox struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		ChannelType string `json:"channelType"`
	}

	shownMessage struct {
		ID            string              `json:"id"`
		Conversation  string              `json:"conversation"`
		Sender        shownSender         `json:"sender"`
		Type          string              `json:"type"`
		Content       string              `json:"content"`
		Feedback      *string             `json:"feedback"`
		CreatedAt     string              `json:"createdAt"`
		Attachments   []shownAttachment   `json:"attachments"`
		Citations     []shownCitation     `json:"citations"`
		CitationNodes []shownCitationNode `json:"citationNodes"`
	}

	shownSender struct {
		ID     int64  `json:"id"`
		Name   string `json:"name"`
		Avatar string `json:"avatar"`
	}

	shownAttachment struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Filename string `json:"filename"`
		File     string `json:"file"`
	}

	shownCitation struct {
		ID        string  `json:"id"`
		Filename  string  `json:"filename"`
		File      string  `json:"file"`
		FileType  string  `json:"fileType"`
		Size      int     `json:"size"`
		Status    string  `json:"status"`
		Document  string  `json:"document"`
		Parser    *string `json:"parser"`
		CreatedAt string  `json:"createdAt"`
	}

	shownCitationNode struct {
		ChatbotTextNode shownTextNode `json:"chatbotTextNode"`
		Score           *float64      `json:"score"`
		DisplayScore    string        `json:"displayScore"`
	}

	shownTextNode struct {
		ID              string `json:"id"`
		CharactersCount int    `json:"charactersCount"`
		HitsCount       int    `json:"hitsCount"`
		Text            string `json:"text"`
		UpdatedAt       string `json:"updatedAt"`
		Filename        string `json:"filename"`
	}
)

// webChatKey is the metadata of a thread that was made in a web chat: its id.
const webChatKey = "web_chat"

// showConversation gives a thread under the id that its client calls it by. last is nil
// where nothing was said yet.
func showConversation(t *normalize.Thread, id string, last *normalize.Message) shownConversation {
	ai := t.Mode == normalize.ModeAI
	v := shownConversation{
		ID:                   id,
		Contact:              showContact(t),
		Inbox:                showInbox(t),
		Title:                t.Title,
		LastMessageCreatedAt: stamp(t.CreatedAt),
		AutoReplyEnabled:     ai,
		IsAutoReplyNow:       ai,
		CreatedAt:            stamp(t.CreatedAt),
	}
	if last != nil {
		m := showMessage(last, id)
		v.LastMessage, v.LastMessageCreatedAt = &m, m.CreatedAt
	}
	return v
}

// showContact gives the person under a UUID: the caller's own id where it is one, else
// always the same one for the same person.
func showContact(t *normalize.Thread) shownContact {
	c := shownContact{ID: t.User.ID, Name: t.User.Name, CreatedAt: stamp(t.CreatedAt)}
	if c.Name == "" {
		c.Name = "guest" // the vendor's own name for a person it does not know
	}
	switch _, err := normalize.ParseUUID(c.ID); {
	case c.ID == "":
		c.ID = derivedUUID("contact of", t.ID)
	case err != nil:
		c.ID = derivedUUID("contact", c.ID)
	}
	return c
}

// showInbox gives the inbox that this vendor told, else the web chat that the thread was
// made in. What another vendor calls its channel is no inbox that the client knows.
func showInbox(t *normalize.Thread) shownInbox {
	inbox := shownInbox{ID: t.Metadata[webChatKey], Name: t.Channel.Name, ChannelType: t.Channel.Type}
	if held, ok := t.Binding(); ok && held.Vendor == ownName && t.Channel.ID != "" {
		inbox.ID = t.Channel.ID
	}
	if _, err := normalize.ParseUUID(inbox.ID); err != nil {
		inbox.ID = derivedUUID("inbox", inbox.ID)
	}
	switch inbox.ChannelType {
	case "line", "telegram", "messenger":
	default:
		inbox.ChannelType = "web"
	}
	return inbox
}

func showMessage(m *normalize.Message, conversation string) shownMessage {
	v := shownMessage{
		ID:           normalize.UUIDForm(m.ID),
		Conversation: conversation,
		Sender:       showSender(m),
		Type:         "outgoing",
		Content:      m.Text,
		CreatedAt:    stamp(m.CreatedAt),
		Attachments:  make([]shownAttachment, 0, len(m.Attachments)),
	}
	if m.Role == normalize.RoleUser {
		v.Type = "incoming"
	}
	switch m.Feedback {
	case normalize.FeedbackPositive:
		v.Feedback = pointer("like")
	case normalize.FeedbackNegative:
		v.Feedback = pointer("dislike")
	case normalize.FeedbackNeutral: // no word for it
	}
	for _, a := range m.Attachments {
		shown := shownAttachment{ID: a.ID, Type: kindOf(a.Type), Filename: a.Filename, File: a.URL}
		if shown.ID == "" {
			shown.ID = derivedUUID("attachment", m.ID, a.URL)
		}
		if shown.Filename == "" {
			shown.Filename = filenameOf(a.URL)
		}
		v.Attachments = append(v.Attachments, shown)
	}
	v.Citations, v.CitationNodes = showSources(m)
	return v
}

// showSender gives who wrote a message under a number, the vendor's form of that id: the
// author's own where it is one, else always the same for the same author.
func showSender(m *normalize.Message) shownSender {
	s := shownSender{Name: m.Author.Name, Avatar: m.Author.AvatarURL}
	if s.Name == "" {
		switch m.Role {
		case normalize.RoleUser:
			s.Name = "guest"
		case normalize.RoleOperator:
			s.Name = "operator"
		default:
			s.Name = "bot"
		}
	}
	id, err := strconv.ParseInt(m.Author.ID, 10, 64)
	if err != nil || id < 0 {
		sum := sha256.Sum256([]byte(string(m.Role) + "\x00" + m.Author.ID))
		id = int64(binary.BigEndian.Uint32(sum[:4]) >> 1)
	}
	s.ID = id
	return s
}

// showSources parts what a reply drew on into the vendor's two lists: the files, and
// the passages of them. Both are empty lists where there is nothing.
func showSources(messages ...*normalize.Message) ([]shownCitation, []shownCitationNode) {
	files, passages := []shownCitation{}, []shownCitationNode{}
	cited := make(map[string]bool)
	for _, m := range messages {
		for _, s := range m.Sources {
			file := derivedUUID("document", s.Title, s.URL)
			if !cited[file] {
				cited[file] = true
				files = append(files, shownCitation{
					ID: file, Filename: s.Title, File: s.URL, FileType: fileType(s), Status: "done", Document: file, CreatedAt: stamp(m.CreatedAt),
				})
			}
			if s.Text == "" {
				continue
			}
			passages = append(passages, shownCitationNode{
				ChatbotTextNode: shownTextNode{
					ID: derivedUUID("passage", s.Title, s.URL, s.Text), CharactersCount: utf8.RuneCountInString(s.Text), HitsCount: 1,
					Text: s.Text, UpdatedAt: stamp(m.CreatedAt), Filename: s.Title,
				},
				DisplayScore: unknownScore,
			})
		}
	}
	return files, passages
}

// fileType gives the ending of a source's name, or of its address.
func fileType(s normalize.Source) string {
	for _, name := range []string{s.Title, filenameOf(s.URL)} {
		if ending := strings.TrimPrefix(path.Ext(name), "."); ending != "" && !strings.ContainsAny(ending, " /") {
			return strings.ToLower(ending)
		}
	}
	return ""
}

// stamp writes a time as the vendor does: 13 digits of milliseconds, as a text.
func stamp(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func pointer[T any](v T) *T { return &v }

// derivedUUID gives a UUID for what has no id of that form: the same for the same parts,
// in every process. Its version is 8, which is for such ids.
func derivedUUID(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
