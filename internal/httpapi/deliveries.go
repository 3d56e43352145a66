package httpapi

import (
	"net/http"
	"strconv"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// listDeliveries is GET /v1/webhooks/deliveries.
func (c *call) listDeliveries() error {
	var in input
	values := in.query(c.r, "endpoint", "status", "limit", "cursor", "order")
	filter := engine.DeliveryFilter{
		Endpoint: in.param(values, "endpoint", maxName),
		Status:   paramOf(&in, values, "status", "pending", "delivered", "dead"),
	}
	page := in.page(values, false)
	if err := in.err(); err != nil {
		return err
	}
	list, next, err := c.api.engine.Deliveries(c.r.Context(), c.origin(), filter, page)
	if err != nil {
		return err
	}
	return c.ok(func(b []byte) []byte {
		return appendPage(b, next, func(b []byte) []byte { return appendEach(b, list, appendDelivery) })
	})
}

// redeliver is POST /v1/webhooks/deliveries/{delivery}/redeliver.
func (c *call) redeliver() error {
	id, err := c.pathID("delivery", normalize.PrefixDelivery)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	v, err := c.optionalBody(buf)
	if err != nil {
		return err
	}
	var in input
	in.query(c.r)
	if v != nil {
		in.body(v, func(string, value) bool { return false })
	}
	if err := in.err(); err != nil {
		return err
	}
	d, err := c.api.engine.Redeliver(c.r.Context(), c.origin(), id)
	if err != nil {
		return err
	}
	return c.json(http.StatusAccepted, func(b []byte) []byte { return appendDelivery(b, &d) })
}

func appendDelivery(b []byte, d *engine.Delivery) []byte {
	b = append(b, `{"id":`...)
	b = normalize.AppendString(b, d.ID)
	b = append(b, `,"object":"webhook_delivery","endpoint":`...)
	b = normalize.AppendString(b, d.Endpoint)
	b = append(b, `,"type":`...)
	b = normalize.AppendString(b, d.Type)
	b = append(b, `,"thread_id":`...)
	b = normalize.AppendString(b, d.ThreadID)
	b = append(b, `,"message_id":`...)
	b = appendText(b, d.MessageID)
	b = append(b, `,"status":`...)
	b = normalize.AppendString(b, d.Status)
	b = append(b, `,"tries":`...)
	b = strconv.AppendInt(b, int64(d.Tries), 10)
	b = append(b, `,"response_status":`...)
	if d.Response != 0 {
		b = strconv.AppendInt(b, int64(d.Response), 10)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"failure":`...)
	b = appendText(b, d.Failure)
	b = append(b, `,"created_at":`...)
	b = normalize.AppendTime(b, d.CreatedAt)
	b = append(b, `,"tried_at":`...)
	b = normalize.AppendTime(b, d.TriedAt)
	b = append(b, `,"next_try_at":`...)
	b = normalize.AppendTime(b, d.NextAt)
	return append(b, '}')
}
