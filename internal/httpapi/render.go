package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// appendProblem appends a problem object (RFC 9457). What is not found always
// reads the same, so that nothing tells another tenant's object from none.
func appendProblem(b []byte, e *normalize.Error, requestID string) []byte {
	policy := e.Kind.Policy()
	detail := e.Text()
	if e.Kind == normalize.KindNotFound {
		detail = policy.Detail
	}
	outcome := e.Outcome
	if outcome == "" {
		outcome = normalize.OutcomeNone
	}
	b = append(b, `{"type":"about:blank","title":`...)
	b = normalize.AppendString(b, http.StatusText(policy.Status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(policy.Status), 10)
	b = append(b, `,"code":`...)
	b = normalize.AppendString(b, policy.Code)
	b = append(b, `,"detail":`...)
	b = normalize.AppendString(b, detail)
	b = append(b, `,"request_id":`...)
	b = normalize.AppendString(b, requestID)
	b = append(b, `,"retryable":`...)
	b = strconv.AppendBool(b, e.Retryable())
	b = append(b, `,"outcome":`...)
	b = normalize.AppendString(b, string(outcome))
	if e.Backend != "" {
		b = append(b, `,"backend":`...)
		b = normalize.AppendString(b, e.Backend)
	}
	if e.ThreadID != "" {
		b = append(b, `,"thread_id":`...)
		b = normalize.AppendString(b, e.ThreadID)
	}
	if e.MessageID != "" {
		b = append(b, `,"message_id":`...)
		b = normalize.AppendString(b, e.MessageID)
	}
	if len(e.Fields) > 0 {
		b = append(b, `,"errors":`...)
		b = appendEach(b, e.Fields, func(b []byte, f *normalize.FieldError) []byte {
			b = append(b, `{"field":`...)
			b = normalize.AppendString(b, f.Field)
			b = append(b, `,"detail":`...)
			b = normalize.AppendString(b, f.Detail)
			return append(b, '}')
		})
	}
	if e.VendorStatus != 0 || e.VendorCode != "" {
		b = append(b, `,"vendor":{"status":`...)
		if e.VendorStatus != 0 {
			b = strconv.AppendInt(b, int64(e.VendorStatus), 10)
		} else {
			b = append(b, "null"...)
		}
		b = append(b, `,"code":`...)
		b = appendText(b, e.VendorCode)
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendTurn appends the answer to a send.
func appendTurn(b []byte, t *engine.Turn, raw bool) []byte {
	b = append(b, `{"thread":`...)
	b = t.Thread.AppendJSON(b, raw)
	b = append(b, `,"message":`...)
	b = t.Message.AppendJSON(b, raw)
	b = append(b, `,"replies":`...)
	b = appendMessages(b, t.Replies, raw)
	return append(b, '}')
}

// renderer gives the function that writes down the answer of a send: the same
// bytes for its client now and for a repeat of its key later.
func renderer(requestID string, raw bool) func(engine.Turn, *normalize.Error) (int, []byte) {
	return func(t engine.Turn, e *normalize.Error) (int, []byte) {
		if e != nil {
			return e.Kind.Policy().Status, appendProblem(nil, e, requestID)
		}
		return http.StatusOK, appendTurn(nil, &t, raw)
	}
}

func appendMessages(b []byte, list []normalize.Message, raw bool) []byte {
	return appendEach(b, list, func(b []byte, m *normalize.Message) []byte { return m.AppendJSON(b, raw) })
}

func appendThreads(b []byte, list []normalize.Thread, raw bool) []byte {
	return appendEach(b, list, func(b []byte, t *normalize.Thread) []byte { return t.AppendJSON(b, raw) })
}

// appendPage appends one page of a list, whose items are appended by items.
func appendPage(b []byte, next string, items func([]byte) []byte) []byte {
	b = append(b, `{"data":`...)
	b = items(b)
	b = append(b, `,"next_cursor":`...)
	b = appendText(b, next)
	return append(b, '}')
}

func appendErasures(b []byte, list []engine.Erasure) []byte {
	b = append(b, `{"deleted":true,"backends":`...)
	b = appendEach(b, list, func(b []byte, e *engine.Erasure) []byte {
		b = append(b, `{"backend":`...)
		b = appendText(b, e.Backend)
		b = append(b, `,"remote_id":`...)
		b = appendText(b, e.RemoteID)
		b = append(b, `,"outcome":`...)
		b = normalize.AppendString(b, e.Outcome)
		return append(b, '}')
	})
	return append(b, '}')
}

func appendBackend(b []byte, s *engine.BackendState) []byte {
	b = append(b, `{"name":`...)
	b = normalize.AppendString(b, s.Name)
	b = append(b, `,"adapter":`...)
	b = normalize.AppendString(b, s.Adapter)
	b = append(b, `,"stateful":`...)
	b = strconv.AppendBool(b, s.Stateful)
	b = append(b, `,"capabilities":`...)
	b = appendStrings(b, s.Capabilities)
	b = append(b, `,"breaker":{"state":`...)
	b = normalize.AppendString(b, s.Breaker.State)
	b = append(b, `,"since":`...)
	b = normalize.AppendTime(b, s.Breaker.Since)
	b = append(b, `,"cause":`...)
	b = appendText(b, s.Breaker.Cause)
	b = append(b, `,"consecutive_failures":`...)
	b = strconv.AppendInt(b, int64(s.Breaker.ConsecutiveFailures), 10)
	b = append(b, `,"successes":`...)
	b = strconv.AppendInt(b, int64(s.Breaker.Successes), 10)
	b = append(b, `,"failures":`...)
	b = strconv.AppendInt(b, int64(s.Breaker.Failures), 10)
	b = append(b, `,"open_until":`...)
	b = normalize.AppendTime(b, s.Breaker.OpenUntil)
	b = append(b, `},"cool_down_until":`...)
	b = normalize.AppendTime(b, s.CoolDownUntil)
	b = append(b, `,"in_flight":`...)
	b = strconv.AppendInt(b, int64(s.InFlight), 10)
	b = append(b, `,"max_in_flight":`...)
	b = strconv.AppendInt(b, int64(s.MaxInFlight), 10)
	return append(b, '}')
}

func appendExplanation(b []byte, e *engine.Explanation) []byte {
	b = append(b, `{"route":`...)
	b = appendText(b, e.Route)
	b = append(b, `,"backends":`...)
	b = appendStrings(b, e.Backends)
	b = append(b, `,"shadow":`...)
	b = appendText(b, e.Shadow)
	b = append(b, `,"reasons":`...)
	b = appendEach(b, e.Reasons, func(b []byte, r *engine.RouteReason) []byte {
		b = append(b, `{"route":`...)
		b = normalize.AppendString(b, r.Route)
		b = append(b, `,"matched":`...)
		b = strconv.AppendBool(b, r.Matched)
		b = append(b, `,"why":`...)
		b = normalize.AppendString(b, r.Why)
		return append(b, '}')
	})
	return append(b, '}')
}

// serverTiming says how much of a request's time the backends took.
func serverTiming(backend, whole time.Duration) string {
	b := make([]byte, 0, 64)
	b = append(b, "backend;dur="...)
	b = appendMilliseconds(b, backend)
	b = append(b, ", chatmux;dur="...)
	b = appendMilliseconds(b, max(0, whole-backend))
	return string(b)
}

func appendMilliseconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', -1, 64)
}

func appendStrings(b []byte, list []string) []byte {
	return appendEach(b, list, func(b []byte, s *string) []byte { return normalize.AppendString(b, *s) })
}

// appendText appends a string, null for the empty one.
func appendText(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return normalize.AppendString(b, s)
}

func appendEach[T any](b []byte, list []T, one func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &list[i])
	}
	return append(b, ']')
}
