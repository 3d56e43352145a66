package sitegpt

import (
	"crypto/subtle"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// tokenHeader carries the webhook's token: a plain shared secret, no signature.
const tokenHeader = "X-Webhook-Token"

// eventAddMessage is the one event of a webhook whose payload is documented.
const eventAddMessage = "ADD_MESSAGE"

// ReceiveWebhook reads what the webhook of the chatbot, or of one thread, tells: a pair
// whose halves are plain strings or objects as in the API. The token must be the
// backend's hook_secret where the header is there; a webhook without a token sends
// none, and that of a thread may name it differently.
//
// The names of the other events are not documented. One that speaks of an escalation
// is taken for one; the rest is of no kind that we know, as is what belongs to another
// chatbot.
func (b *bot) ReceiveWebhook(d adapters.Delivery) (adapters.News, error) {
	for _, token := range d.Header.Values(tokenHeader) {
		if subtle.ConstantTimeCompare([]byte(token), []byte(d.Secret.Reveal())) != 1 {
			return adapters.News{}, &normalize.Error{Kind: normalize.KindUnauthenticated}
		}
	}
	if !json.Valid(d.Body) {
		return adapters.News{}, &normalize.Error{Kind: normalize.KindInvalidJSON}
	}
	root := gjson.ParseBytes(normalize.CleanBytes(d.Body))
	data := member(root, "data")
	if !data.IsObject() {
		data = root
	}
	pairObject := member(data, "message")
	if !pairObject.IsObject() {
		pairObject = data
	}
	p := readPair(pairObject)
	thread := readThread(data)
	news := adapters.News{Remote: normalize.Remote{ThreadID: thread.Remote.ThreadID}}
	if news.Remote.ThreadID == "" {
		news.Remote.ThreadID = p.threadID
	}
	if told := identifier(member(data, "chatbotId")); news.Remote.ThreadID == "" || told != "" && told != b.id {
		return adapters.News{}, nil
	}
	news.Update.Mode = thread.Update.Mode
	event := text(member(root, "event"))
	switch escalated := true; {
	case strings.Contains(strings.ToUpper(event), "ESCALAT"):
		news.Update.Escalated = &escalated
	case event != "" && event != eventAddMessage:
		return adapters.News{}, nil
	case p.escalated:
		news.Update.Escalated = &escalated
		fallthrough
	default:
		news.Messages = p.messages()
	}
	return news, nil
}
