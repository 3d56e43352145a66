package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"chatmux/internal/store"
	"chatmux/normalize"
)

const (
	maxAnswer     = 16 << 10       // bytes of an answer that are read before it is left
	maxRetryAfter = 24 * time.Hour // a longer wait that a receiver asks for is cut to this
)

// target is where a lane leads, and what signs.
type target struct {
	url  string
	keys [][]byte
}

// try is one try of a delivery.
type try struct {
	store.Delivery
	lane   *lane
	target *target
	owner  string
	until  time.Time // the end of the lease, or a little before
}

// outcome is what came of a try.
type outcome struct {
	status  int // of the answer; 0 where there was none
	failure string
	cause   error
	gone    bool          // the receiver wants nothing any more
	after   time.Duration // the receiver does not want to be asked sooner
}

func (o outcome) delivered() bool { return o.status/100 == 2 && o.failure == "" }

// make makes the try and writes down what came of it.
func (t try) make() {
	d := t.lane.d
	ctx, cancel := context.WithDeadline(d.work, t.until)
	defer cancel()
	body, err := t.body(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return // the thread was erased, and the delivery with it
	case err != nil:
		d.log.Error("what a webhook tells of could not be read; it is tried again", t.fields(zap.Error(err))...)
		return // it comes back when its lease is over
	}
	if time.Until(t.until) < d.pace.Timeout { // this process has stalled: another may have it soon
		return
	}
	o := t.post(ctx, body)
	end := t.end(o)
	err = d.store.EndDelivery(context.WithoutCancel(ctx), t.ID, t.owner, end)
	switch {
	case errors.Is(err, store.ErrLost):
		d.metrics.WebhookTry(t.Endpoint, "lost")
		d.log.Warn("a webhook took longer than its lease: another try of it counts", t.fields(zap.Int("status", o.status))...)
		return
	case err != nil:
		d.log.Error("what came of a webhook could not be stored; it may be delivered once more", t.fields(zap.Error(err))...)
	}
	t.tell(o, end)
}

// end says what follows from an outcome.
func (t try) end(o outcome) store.DeliveryEnd {
	end := store.DeliveryEnd{Status: store.DeliveryDelivered, Response: o.status, Failure: o.failure}
	steps := t.lane.d.pace.Schedule
	switch {
	case o.delivered():
	case o.gone, t.Tries > len(steps):
		end.Status = store.DeliveryDead
	default:
		end.Status = store.DeliveryPending
		wait := steps[t.Tries-1]
		end.Wait = max(wait+rand.N(wait/5+1), o.after)
	}
	return end
}

// tell counts and logs.
func (t try) tell(o outcome, end store.DeliveryEnd) {
	d := t.lane.d
	more := []zap.Field{zap.Int("try", t.Tries)}
	if o.status != 0 {
		more = append(more, zap.Int("status", o.status))
	}
	if o.failure != "" {
		more = append(more, zap.String("failure", o.failure))
	}
	if o.cause != nil {
		more = append(more, zap.NamedError("cause", o.cause))
	}
	switch end.Status {
	case store.DeliveryDelivered:
		d.metrics.WebhookTry(t.Endpoint, "delivered")
		d.log.Debug("webhook delivered", t.fields(more...)...)
	case store.DeliveryPending:
		d.metrics.WebhookTry(t.Endpoint, "failed")
		d.log.Warn("webhook failed; it is tried again", t.fields(append(more, zap.Duration("wait", end.Wait))...)...)
	case store.DeliveryDead:
		d.metrics.WebhookTry(t.Endpoint, "dead")
		d.log.Error("webhook given up: see chatmux webhooks list --status dead, and deliver it again by chatmux webhooks redeliver",
			t.fields(more...)...)
	}
}

func (t try) fields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{
		zap.String("endpoint", t.Endpoint), zap.String("delivery", t.ID), zap.String("type", string(t.Topic)), zap.String("thread", t.ThreadID),
	}, more...)
}

// body renders what the delivery tells, as it stands now. ErrNotFound: it does not stand
// any more.
func (t try) body(ctx context.Context) ([]byte, error) {
	thread, err := t.lane.d.store.Thread(ctx, t.Tenant, t.ThreadID, false)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 2<<10)
	b = append(b, `{"type":`...)
	b = normalize.AppendString(b, string(t.Topic))
	b = append(b, `,"timestamp":`...)
	b = normalize.AppendTime(b, t.CreatedAt)
	b = append(b, `,"data":{"thread":`...)
	b = thread.AppendJSON(b, false)
	if t.MessageID != "" {
		message, err := t.lane.d.store.Message(ctx, t.Tenant, t.ThreadID, t.MessageID, false)
		if err != nil {
			return nil, err
		}
		b = append(b, `,"message":`...)
		b = message.AppendJSON(b, false)
	}
	return append(b, "}}"...), nil
}

// post signs and posts. Only a status of 200 to 299 within the time is a success.
func (t try) post(ctx context.Context, body []byte) outcome {
	pace := t.lane.d.pace
	ctx, cancel := context.WithTimeout(ctx, pace.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.target.url, bytes.NewReader(body))
	if err != nil {
		return outcome{failure: "the URL is none"}
	}
	now := time.Now()
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "chatmux")
	h.Set("Webhook-Id", t.ID)
	h.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("Webhook-Signature", sign(t.target.keys, t.ID, now, body))
	resp, failure := t.lane.d.guard.Do(req)
	if failure != nil {
		return t.failed(failure)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the status has said it; a short answer keeps the receiver from an error of its own
	o := outcome{status: resp.StatusCode}
	switch {
	case o.status/100 == 2:
	case o.status/100 == 3:
		o.failure = "the receiver redirects, and redirects are not followed: configure the URL that it leads to"
	case o.status == http.StatusGone:
		o.gone = true
		o.failure = "the receiver wants no more events (410): take it out of the config"
	default:
		o.failure = "the receiver answers " + strconv.Itoa(o.status)
		o.after = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	return o
}

// failed tells why there was no answer. Addresses stay in the log.
func (t try) failed(failure *normalize.Error) outcome {
	o := outcome{failure: failure.Text(), cause: failure.Cause}
	if failure.Kind == normalize.KindDeadline || failure.Kind == normalize.KindCanceled {
		o.failure = "the receiver did not answer within " + t.lane.d.pace.Timeout.String()
		if t.lane.d.work.Err() != nil {
			o.failure = "the server stopped while the receiver was being told"
		}
		return o
	}
	if why := reason(failure.Cause); why != "" {
		o.failure += ": " + why
	}
	return o
}

// reason is what of a cause may be shown to a tenant.
func reason(cause error) string {
	var name *net.DNSError
	var op *net.OpError
	var alert tls.AlertError
	switch {
	case cause == nil:
		return ""
	case errors.As(cause, &name):
		return name.Err
	case errors.As(cause, &alert):
		return alert.Error()
	case errors.As(cause, &op):
		inner := op.Err.Error()
		return inner[strings.LastIndex(inner, "> ")+1:]
	case strings.HasPrefix(cause.Error(), "tls:"), strings.HasPrefix(cause.Error(), "x509:"):
		return cause.Error()
	}
	return ""
}

// retryAfter reads the header: seconds, or a date. 0 where it says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
