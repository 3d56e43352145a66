package normalize

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Phase says how far an attempt came before it ended.
type Phase int

// The phases. The phase comes from what the HTTP transport reported, never from
// the text of an error.
const (
	PhaseNone    Phase = iota // P0: nothing was written
	PhaseWritten              // P1: request bytes may have left, no response byte was read
	PhaseStatus               // P2: a status line was read
	PhaseContent              // P3: content was given to our client
)

// String gives P0 to P3.
func (p Phase) String() string { return fmt.Sprintf("P%d", int(p)) }

// Outcome says what became of the user's message in a failed request.
type Outcome string

// The outcomes.
const (
	OutcomeNone    Outcome = "none"    // certainly not processed, or never stored
	OutcomeUnknown Outcome = "unknown" // a vendor may have processed it
	OutcomeDone    Outcome = "done"    // a vendor accepted it
)

// OutcomeOf gives the outcome that follows from a user message's status.
func OutcomeOf(s MessageStatus) Outcome {
	switch s {
	case StatusSent:
		return OutcomeDone
	case StatusUnknown:
		return OutcomeUnknown
	default:
		return OutcomeNone
	}
}

// Kind is a class of failure. Every kind has one row in the table of policies.
type Kind int

// The kinds. Those of the first group end an attempt at a vendor, those of the
// second are refusals of our own.
const (
	KindInternal Kind = iota // a fault of ours, a panic included

	KindUnreachable  // nothing was written: refused, DNS, TLS, connect timeout
	KindBreakerOpen  // the breaker lets nothing through
	KindCoolingDown  // the vendor asked for a pause and it is not over
	KindBackendBusy  // the bulkhead is full
	KindDisconnected // reset or closed after bytes may have left, before a status line
	KindTimeout      // a timeout of the backend: first byte, idle, total
	KindRateLimited  // 429
	KindOverloaded   // 503 with Retry-After
	KindVendorFault  // any other 5xx
	KindUnauthorized // the vendor refuses our key
	KindQuota        // the account's quota is used up
	KindRejected     // any other 4xx: the vendor refuses this input
	KindRedirected   // 3xx, never followed
	KindNotHTTP      // what came is no HTTP
	KindInvalidReply // a 2xx that is not what the vendor's API promises
	KindTruncated    // a 2xx that was cut short
	KindTooLarge     // a reply over our limits
	KindCanceled     // our client left, or we are shutting down
	KindDeadline     // the budget of the send is used up
	KindNoBackend    // several backends came into question, none could be reached
	KindInvalidJSON  // 400
	KindUnauthenticated
	KindForbidden
	KindNotFound
	KindMethodNotAllowed
	KindRequestTimeout
	KindIdempotencyInProgress
	KindThreadBusy
	KindBodyTooLarge
	KindUnsupportedMediaType
	KindInvalidRequest
	KindIdempotencyKeyReused
	KindUnsupported
	KindURLNotAllowed
	KindCallerRateLimited
	KindTooManyInFlight
	KindServerOverloaded
	KindStorageUnavailable
	KindDraining

	kindCount
)

// Count says what a breaker makes of a failure.
type Count int

// The ways to count. A breaker answers "would the next ordinary request fail
// because of the backend?", so evidence about our client or about one input is
// excluded: neither failure nor success.
const (
	CountNone     Count = iota // the backend was not asked
	CountFailure               // the backend's fault
	CountExcluded              // neither failure nor success
)

// Again says whether the same backend may be asked once more for the same message.
type Again int

// The answers to "again?".
const (
	AgainNever        Again = iota
	AgainBackedOff          // yes, after a back-off
	AgainAfterWait          // yes, if the wait that the vendor asked for fits the budget
	AgainIfIdempotent       // only where the adapter declares that sends are idempotent
)

// Elsewhere says whether another backend may be asked for the same message.
type Elsewhere int

// The answers to "elsewhere?". A forgetful backend is one whose vendor keeps no
// conversation, so that nothing is left behind there.
const (
	ElsewhereNever       Elsewhere = iota
	ElsewhereAtOnce                // yes
	ElsewhereIfForgetful           // yes where this vendor is stateless; else only by fallback_on_unknown
	ElsewhereIfStateless           // yes where this vendor is stateless, else never
)

// Policy is what follows from a kind: everything that delivery depends on, in one
// row.
type Policy struct {
	Name      string // for logs and metrics
	Status    int    // HTTP status of the answer
	Code      string // code of the problem object
	Detail    string // the sentence for a person, where the error brings none
	Count     Count
	Again     Again
	Elsewhere Elsewhere
	Message   MessageStatus // what becomes of the user's message; empty: it follows from the phase
	CoolDown  time.Duration // pause for the backend where the vendor names none; zero: no pause. Negative: grows from 1 s to 60 s
}

// policies is the one table. Its rows for attempts are the table of the delivery
// contract, top to bottom.
var policies = [kindCount]Policy{
	KindInternal: {Name: "internal", Status: 500, Code: "internal", Detail: "something went wrong on our side", Count: CountExcluded, Message: StatusUnknown},

	KindUnreachable:  {Name: "unreachable", Status: 503, Code: "backend_unavailable", Detail: "the backend could not be reached", Count: CountFailure, Again: AgainBackedOff, Elsewhere: ElsewhereAtOnce, Message: StatusFailed},
	KindBreakerOpen:  {Name: "breaker_open", Status: 503, Code: "breaker_open", Detail: "the backend is not taking requests", Elsewhere: ElsewhereAtOnce, Message: StatusFailed},
	KindCoolingDown:  {Name: "cooling_down", Status: 503, Code: "backend_unavailable", Detail: "the backend asked for a pause", Elsewhere: ElsewhereAtOnce, Message: StatusFailed},
	KindBackendBusy:  {Name: "backend_busy", Status: 503, Code: "backend_unavailable", Detail: "the backend has as many requests in flight as it may", Elsewhere: ElsewhereAtOnce, Message: StatusFailed},
	KindDisconnected: {Name: "disconnected", Status: 502, Code: "backend_error", Detail: "the backend closed the connection before it answered", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfForgetful, Message: StatusUnknown},
	KindTimeout:      {Name: "timeout", Status: 504, Code: "backend_timeout", Detail: "the backend did not answer in time", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfForgetful, Message: StatusUnknown},
	KindRateLimited:  {Name: "rate_limited", Status: 503, Code: "backend_unavailable", Detail: "the backend takes no more requests for now", Count: CountExcluded, Again: AgainAfterWait, Elsewhere: ElsewhereAtOnce, Message: StatusFailed, CoolDown: -1},
	KindOverloaded:   {Name: "overloaded", Status: 503, Code: "backend_unavailable", Detail: "the backend takes no requests for now", Count: CountFailure, Again: AgainAfterWait, Elsewhere: ElsewhereAtOnce, Message: StatusFailed, CoolDown: -1},
	KindVendorFault:  {Name: "vendor_fault", Status: 502, Code: "backend_error", Detail: "the backend failed", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfForgetful, Message: StatusUnknown},
	KindUnauthorized: {Name: "unauthorized", Status: 502, Code: "backend_unauthorized", Detail: "the backend refused our credential", Count: CountFailure, Elsewhere: ElsewhereAtOnce, Message: StatusFailed},
	KindQuota:        {Name: "quota", Status: 503, Code: "backend_unavailable", Detail: "the account at the backend has used up its quota", Count: CountExcluded, Elsewhere: ElsewhereAtOnce, Message: StatusFailed, CoolDown: 300 * time.Second},
	KindRejected:     {Name: "rejected", Status: 422, Code: "backend_rejected", Detail: "the backend refused this message", Count: CountExcluded, Message: StatusFailed},
	KindRedirected:   {Name: "redirected", Status: 502, Code: "backend_invalid", Detail: "the backend answered with a redirect, which is never followed", Count: CountExcluded, Message: StatusUnknown},
	KindNotHTTP:      {Name: "not_http", Status: 502, Code: "backend_invalid", Detail: "what the backend answered is not HTTP", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfForgetful, Message: StatusUnknown},
	KindInvalidReply: {Name: "invalid_reply", Status: 502, Code: "backend_invalid", Detail: "the backend's answer is not what its API promises", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfStateless, Message: StatusSent},
	KindTruncated:    {Name: "truncated", Status: 502, Code: "backend_truncated", Detail: "the backend's answer was cut short", Count: CountFailure, Again: AgainIfIdempotent, Elsewhere: ElsewhereIfStateless, Message: StatusSent},
	KindTooLarge:     {Name: "too_large", Status: 502, Code: "backend_invalid", Detail: "the backend's answer is larger than we take", Count: CountExcluded, Message: StatusSent},
	KindCanceled:     {Name: "canceled", Status: 503, Code: "draining", Detail: "the request was given up", Count: CountExcluded},
	KindDeadline:     {Name: "deadline", Status: 504, Code: "deadline_exceeded", Detail: "the time for this request is used up", Count: CountExcluded},
	KindNoBackend:    {Name: "no_backend", Status: 503, Code: "no_backend_available", Detail: "no backend of this route can be reached", Message: StatusFailed},

	KindInvalidJSON:           {Name: "invalid_json", Status: 400, Code: "invalid_json", Detail: "the body is not acceptable JSON"},
	KindUnauthenticated:       {Name: "unauthenticated", Status: 401, Code: "unauthenticated", Detail: "a valid key is needed: Authorization: Bearer <key>"},
	KindForbidden:             {Name: "forbidden", Status: 403, Code: "forbidden", Detail: "this caller may not do that"},
	KindNotFound:              {Name: "not_found", Status: 404, Code: "not_found", Detail: "there is nothing here by that name"},
	KindMethodNotAllowed:      {Name: "method_not_allowed", Status: 405, Code: "method_not_allowed", Detail: "this path does not take that method"},
	KindRequestTimeout:        {Name: "request_timeout", Status: 408, Code: "request_timeout", Detail: "the request body did not arrive in time"},
	KindIdempotencyInProgress: {Name: "idempotency_in_progress", Status: 409, Code: "idempotency_in_progress", Detail: "a request with this Idempotency-Key is still running"},
	KindThreadBusy:            {Name: "thread_busy", Status: 409, Code: "thread_busy", Detail: "another message of this thread is being sent"},
	KindBodyTooLarge:          {Name: "body_too_large", Status: 413, Code: "body_too_large", Detail: "the request body is larger than we take"},
	KindUnsupportedMediaType:  {Name: "unsupported_media_type", Status: 415, Code: "unsupported_media_type", Detail: "the request body must be JSON in UTF-8, not compressed: send Content-Type: application/json"},
	KindInvalidRequest:        {Name: "invalid_request", Status: 422, Code: "invalid_request", Detail: "the request asks for something that cannot be"},
	KindIdempotencyKeyReused:  {Name: "idempotency_key_reused", Status: 422, Code: "idempotency_key_reused", Detail: "this Idempotency-Key was used for another request"},
	KindUnsupported:           {Name: "unsupported", Status: 422, Code: "unsupported", Detail: "the backend cannot do that"},
	KindURLNotAllowed:         {Name: "url_not_allowed", Status: 422, Code: "url_not_allowed", Detail: "this URL may not be used"},
	KindCallerRateLimited:     {Name: "caller_rate_limited", Status: 429, Code: "rate_limited", Detail: "this caller sends more requests than its rate allows"},
	KindTooManyInFlight:       {Name: "too_many_in_flight", Status: 429, Code: "too_many_in_flight", Detail: "this caller has as many requests in flight as it may"},
	KindServerOverloaded:      {Name: "server_overloaded", Status: 503, Code: "overloaded", Detail: "the server has as many sends in flight as it may"},
	KindStorageUnavailable:    {Name: "storage_unavailable", Status: 503, Code: "storage_unavailable", Detail: "the store cannot be reached"},
	KindDraining:              {Name: "draining", Status: 503, Code: "draining", Detail: "the server is shutting down"},
}

// Policy returns the row of a kind.
func (k Kind) Policy() Policy {
	if k < 0 || k >= kindCount {
		k = KindInternal
	}
	return policies[k]
}

// String gives the kind's name, as logs and metrics show it.
func (k Kind) String() string { return k.Policy().Name }

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error is a failure with a kind. Detail is for people: it never holds a secret,
// HTML, or more of a vendor's text than a short cleaned excerpt.
type Error struct {
	Kind         Kind
	Phase        Phase
	Detail       string
	Backend      string
	ThreadID     string // of the message, where it is stored
	MessageID    string
	Outcome      Outcome // set by the engine once the message's status is settled; empty counts as none
	Fields       []FieldError
	VendorStatus int           // the vendor's HTTP status; 0 where none was read
	VendorCode   string        // the vendor's own code, where it has one
	RetryAfter   time.Duration // what the vendor asked for, or when it makes sense to ask again; 0 where unknown
	Cause        error         // for logs only
}

// Errorf makes an error of a kind with a detail.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// InvalidField makes an invalid_request error about one field.
func InvalidField(field, format string, args ...any) *Error {
	detail := fmt.Sprintf(format, args...)
	return &Error{Kind: KindInvalidRequest, Detail: field + ": " + detail, Fields: []FieldError{{Field: field, Detail: detail}}}
}

// Error gives the kind and the detail.
func (e *Error) Error() string {
	s := e.Kind.String() + ": " + e.Text()
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Text is the sentence for a person.
func (e *Error) Text() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Kind.Policy().Detail
}

// MessageStatus says what becomes of the user's message after this failure. Whoever
// was shown a part of the answer knows that the vendor has the message.
func (e *Error) MessageStatus() MessageStatus {
	if e.Phase == PhaseContent {
		return StatusSent
	}
	if s := e.Kind.Policy().Message; s != "" {
		return s
	}
	if e.Phase == PhaseNone {
		return StatusFailed
	}
	return StatusUnknown
}

// Retryable reports whether the same request may succeed later and cannot double
// anything: 408, 409, 429 and 503 with outcome none.
func (e *Error) Retryable() bool {
	switch e.Kind.Policy().Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return e.Outcome == OutcomeNone || e.Outcome == ""
	}
	return false
}

// AsError returns err as an *Error: itself or the one it wraps, else a new one of
// KindInternal. A nil error gives nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: KindInternal, Cause: err}
}

// KindNamed gives the kind of a name, KindInternal for a name of none.
func KindNamed(name string) Kind {
	for k, p := range policies {
		if p.Name == name {
			return Kind(k)
		}
	}
	return KindInternal
}
