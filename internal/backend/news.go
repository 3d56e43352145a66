package backend

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// hook is the secret under which a vendor reaches us.
type hook struct {
	secret normalize.Secret
	hash   [sha256.Size]byte
}

func newHook(secret normalize.Secret) hook {
	return hook{secret: secret, hash: sha256.Sum256([]byte(secret.Reveal()))}
}

// OpensTo reports whether a secret is the one under which this backend's vendor reaches
// us. It takes the same time whatever the answer; the zero Backend opens to nobody.
func (b *Backend) OpensTo(secret string) bool {
	given := sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(given[:], b.hook.hash[:]) == 1
	return same && !b.hook.secret.IsZero() && adapters.Has[adapters.WebhookReceiver](b.adapter)
}

// Hooked reports whether this backend's vendor can reach us by webhook.
func (b *Backend) Hooked() bool {
	return !b.hook.secret.IsZero() && adapters.Has[adapters.WebhookReceiver](b.adapter)
}

// AnswersLater reports whether the answers of this backend come after the call that
// sends, and how long its webhook is waited for before its list is asked: not at all
// where it has none of ours.
func (b *Backend) AnswersLater() (patience time.Duration, later bool) {
	answerer, later := adapters.As[adapters.LaterAnswerer](b.adapter)
	if later && b.Hooked() {
		patience = answerer.AnswersLater()
	}
	return patience, later
}

// Receive reads what the vendor sent to our webhook, cleaned. The errors are those of
// adapters.WebhookReceiver.
func (b *Backend) Receive(ctx context.Context, header http.Header, body []byte) (news adapters.News, failure *normalize.Error) {
	receiver, ok := adapters.As[adapters.WebhookReceiver](b.adapter)
	if !ok {
		return news, b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend sends nothing by itself"})
	}
	failure = guarded(ctx, b.log, "receive_webhook", func(context.Context) (err error) {
		news, err = receiver.ReceiveWebhook(adapters.Delivery{Header: header, Body: body, Secret: b.hook.secret})
		return err
	})
	clean(&news.Remote.ThreadID, &news.Remote.UserID)
	cleanUpdate(&news.Update)
	for i := range news.Messages {
		cleanMessage(&news.Messages[i])
	}
	if r := news.Record; r != nil {
		clean(&r.Kind, &r.ID)
		r.Raw = normalize.CleanBytes(r.Raw)
	}
	return news, b.named(failure)
}

// Registers reports whether this backend's vendor is told, conversation by
// conversation, where to reach us.
func (b *Backend) Registers() bool {
	return b.Hooked() && adapters.Has[adapters.WebhookRegistrar](b.adapter)
}

// Register tells the vendor where to send the news of a conversation: to our webhook of
// this backend, under the public URL of this server. It is not called where Registers
// is false.
func (b *Backend) Register(ctx context.Context, remote normalize.Remote, publicURL string) *normalize.Error {
	registrar, ok := adapters.As[adapters.WebhookRegistrar](b.adapter)
	if !ok {
		return b.named(&normalize.Error{Kind: normalize.KindUnsupported, Detail: "the backend takes no address"})
	}
	url := publicURL + "/hooks/" + b.name + "/" + b.hook.secret.Reveal()
	return b.beside(ctx, b.control, "register_webhook", func(ctx context.Context) error {
		return registrar.RegisterWebhook(ctx, remote, url, b.hook.secret)
	})
}
