package adaptertest

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Webhook says how the vendor calls webhooks.
type Webhook struct {
	// Examples are bodies as the vendor's documents have them, and what they tell.
	Examples []WebhookExample

	// Say makes a body by which the vendor tells that its side said a text in the
	// conversation "c-1"; nil where it tells nothing of that kind.
	Say func(text string) []byte

	// Strange are bodies of kinds that nobody knows, beside those that the suite has.
	Strange []string

	// Sign gives the headers that the vendor sends along with a body, which may depend
	// on the secret; nil where it signs nothing.
	Sign func(body []byte, secret string) http.Header

	// Covers says that a signature covers the body.
	Covers bool

	// Demands says that what comes without a signature is refused.
	Demands bool
}

// WebhookExample is what one body tells.
type WebhookExample struct {
	Body   string
	Thread string   // the vendor's id of the conversation
	Says   []string // "role: text" of each message
	Record string   // the id of what is kept as it is
}

// hookSecret is Base64 too, as some vendors need it.
const hookSecret = "cGxhbnRlZC1ob29r"

// delivery is what the vendor sends.
func (b *bench) delivery(body []byte) adapters.Delivery {
	d := adapters.Delivery{Header: http.Header{}, Body: body, Secret: normalize.NewSecret(hookSecret)}
	if b.Webhook.Sign != nil {
		d.Header = b.Webhook.Sign(body, hookSecret)
	}
	return d
}

func (b *bench) receive(d adapters.Delivery) (adapters.News, error) {
	return talent[adapters.WebhookReceiver](b.adapter).ReceiveWebhook(d)
}

var webhookCases = []promise{
	{
		name:    "webhook_examples",
		promise: "a webhook as the vendor documents it tells its conversation and what was said there, twice the same",
		because: "what nobody asked for has no other way to us, and a repeat has to be known by its ids",
		offline: true,
		talent:  adapters.Has[adapters.WebhookReceiver],
		test: func(b *bench) error {
			if len(b.Webhook.Examples) == 0 {
				return errors.New("the vendor has no examples: put those of its documents into Vendor.Webhook")
			}
			for _, e := range b.Webhook.Examples {
				news, err := b.receive(b.delivery([]byte(e.Body)))
				if err != nil {
					return fmt.Errorf("%s: %w", excerpt(e.Body), err)
				}
				if err := e.isToldBy(news); err != nil {
					return fmt.Errorf("%s: %w", excerpt(e.Body), err)
				}
				if again, err := b.receive(b.delivery([]byte(e.Body))); err != nil || !reflect.DeepEqual(again, news) {
					return fmt.Errorf("%s: the second time it tells %+v, %w", excerpt(e.Body), again, orNothing(err))
				}
			}
			return nil
		},
	},
	{
		name:    "webhook_text_is_intact",
		promise: "what the vendor's side says by webhook is stored byte for byte",
		because: "text is sacred, whichever way it came",
		offline: true,
		talent:  adapters.Has[adapters.WebhookReceiver],
		test: func(b *bench) error {
			if b.Webhook.Say == nil {
				return nil
			}
			for _, hard := range texts {
				news, err := b.receive(b.delivery(b.Webhook.Say(hard.text)))
				if err != nil {
					return fmt.Errorf("%s: %w", hard.name, err)
				}
				if n := len(news.Messages); news.Remote.ThreadID != "c-1" || n == 0 || news.Messages[n-1].Text != hard.text {
					return fmt.Errorf("%s: it tells %s", hard.name, excerpt(fmt.Sprintf("%+v", news)))
				}
				if m := news.Messages[len(news.Messages)-1]; m.Role == normalize.RoleUser || m.Status != normalize.StatusComplete || m.Type != normalize.TypeText {
					return fmt.Errorf("%s: the message is %s, %s, %s", hard.name, m.Role, m.Status, m.Type)
				}
			}
			return nil
		},
	},
	{
		name:    "webhook_is_the_vendors",
		promise: "a delivery whose signature is not the vendor's is KindUnauthenticated, whatever is in it",
		because: "anybody may learn the address, and what is taken stands in the transcript as the bot's word",
		offline: true,
		talent:  adapters.Has[adapters.WebhookReceiver],
		test: func(b *bench) error {
			if b.Webhook.Sign == nil {
				return nil
			}
			for _, body := range []string{b.Webhook.Examples[0].Body, "{}", "", "no JSON"} {
				for what, d := range b.forged([]byte(body)) {
					news, err := b.receive(d)
					if e := normalize.AsError(err); e == nil || e.Kind != normalize.KindUnauthenticated {
						return fmt.Errorf("%s, %s: %w", what, excerpt(body), orNothing(err))
					}
					if !reflect.DeepEqual(news, adapters.News{}) {
						return fmt.Errorf("%s: it tells %+v all the same", what, news)
					}
				}
			}
			return nil
		},
	},
	{
		name:    "webhook_strange_is_passed_over",
		promise: "a body of no kind that is known is no error, and tells nothing",
		because: "vendors add events; one that is refused comes again and again",
		offline: true,
		talent:  adapters.Has[adapters.WebhookReceiver],
		test: func(b *bench) error {
			strange := []string{`{}`, `[]`, `null`, `true`, `"x"`, `7`, `[{"a":1}]`, `{"data":[],"message":7}`, `{"event":"NEW","type":"new","event_type":"new"}`}
			for _, body := range append(strange, b.Webhook.Strange...) {
				news, err := b.receive(b.delivery([]byte(body)))
				if err != nil {
					return fmt.Errorf("%s: %w", body, err)
				}
				if len(news.Messages) > 0 || news.Record != nil || !reflect.DeepEqual(news.Update, normalize.ThreadUpdate{}) {
					return fmt.Errorf("%s tells %+v", body, news)
				}
			}
			return nil
		},
	},
	{
		name:    "webhook_broken_is_invalid_json",
		promise: "what is no JSON is KindInvalidJSON, however deep it goes",
		because: "a body that ends the process ends everybody's",
		offline: true,
		talent:  adapters.Has[adapters.WebhookReceiver],
		test: func(b *bench) error {
			for _, body := range []string{"", "{", `{"a":`, `{"a":1}}`, "<html>", strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 200_000)} {
				_, err := b.receive(b.delivery([]byte(body)))
				if e := normalize.AsError(err); e == nil || e.Kind != normalize.KindInvalidJSON {
					return fmt.Errorf("%s: %w", excerpt(body), orNothing(err))
				}
			}
			return nil
		},
	},
	{
		name:    "later_answers_can_be_looked_up",
		promise: "an adapter whose answers come later can list them",
		because: "a webhook gets lost, and not every account has one",
		offline: true,
		talent:  adapters.Has[adapters.LaterAnswerer],
		test: func(b *bench) error {
			if !adapters.Has[adapters.MessageLister](b.adapter) {
				return errors.New("it is no MessageLister")
			}
			if patience := talent[adapters.LaterAnswerer](b.adapter).AnswersLater(); patience <= 0 {
				return fmt.Errorf("its webhook is waited for %s", patience)
			}
			return nil
		},
	},
}

// forged are deliveries of a body that the vendor has not signed.
func (b *bench) forged(body []byte) map[string]adapters.Delivery {
	good := b.delivery(body)
	other := b.Webhook.Sign(body, "b3RoZXItaG9vaw==")
	list := map[string]adapters.Delivery{"another's secret": {Header: other, Body: body, Secret: good.Secret}}
	for name, values := range good.Header {
		for what, value := range map[string]string{"one character off": spoiled(values[0]), "an empty signature": "", "a part of it": values[0][:len(values[0])/2]} {
			header := good.Header.Clone()
			header[name] = []string{value}
			list[what] = adapters.Delivery{Header: header, Body: body, Secret: good.Secret}
		}
		header := good.Header.Clone()
		header[name] = append(slices.Clone(values), spoiled(values[0]))
		list["two signatures"] = adapters.Delivery{Header: header, Body: body, Secret: good.Secret}
	}
	if b.Webhook.Covers {
		list["another body"] = adapters.Delivery{Header: good.Header, Body: append(slices.Clone(body), 'x'), Secret: good.Secret}
	}
	if b.Webhook.Demands {
		list["no signature"] = adapters.Delivery{Header: http.Header{}, Body: body, Secret: good.Secret}
	}
	return list
}

// spoiled changes the first character.
func spoiled(s string) string {
	if strings.HasPrefix(s, "a") {
		return "b" + s[1:]
	}
	return "a" + s[1:]
}

// isToldBy compares what a body tells with what it should.
func (e WebhookExample) isToldBy(news adapters.News) error {
	var says []string
	for _, m := range news.Messages {
		says = append(says, string(m.Role)+": "+m.Text)
	}
	record := ""
	if news.Record != nil {
		record = news.Record.ID
		if len(news.Record.Raw) == 0 || news.Record.Kind == "" {
			return errors.New("of the record nothing is kept")
		}
	}
	if news.Remote.ThreadID != e.Thread || record != e.Record || !slices.Equal(says, e.Says) {
		return fmt.Errorf("it tells of %q: %q, and keeps %q", news.Remote.ThreadID, says, record)
	}
	return nil
}
