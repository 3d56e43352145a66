package conversations

import (
	"encoding/json"
	"time"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// webhookPatience is how long an answer's webhook is waited for before the list of
// messages is asked. The vendor names no time; its own example waits for minutes.
const webhookPatience = 5 * time.Second

// AnswersLater says that a message is only stored by the call that sends it.
func (*messages) AnswersLater() time.Duration { return webhookPatience }

// ReceiveWebhook reads a Message that the vendor's side said: the bot's answer to a
// stored message, or an operator's. The vendor signs nothing, so there is nothing to
// check. A body that names no conversation, or holds neither text nor files, is of no
// kind that we know.
func (*platform) ReceiveWebhook(d adapters.Delivery) (adapters.News, error) {
	if !json.Valid(d.Body) {
		return adapters.News{}, &normalize.Error{Kind: normalize.KindInvalidJSON}
	}
	v := gjson.ParseBytes(d.Body)
	conversation, content := conversationOf(v), v.Get("content")
	if !v.IsObject() || conversation == "" || content.Type != gjson.String && content.Type != gjson.Null {
		return adapters.News{}, nil
	}
	m := messageOf(v)
	if m.Text == "" && len(m.Attachments) == 0 {
		return adapters.News{}, nil
	}
	return adapters.News{Remote: normalize.Remote{ThreadID: conversation}, Messages: []normalize.Message{m}}, nil
}
