package openai

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// decode reads the answer of a completion. Without text of the right type it is a
// failure, never an empty message.
func decode(answer vendorhttp.Answer, key normalize.Secret) (normalize.Message, error) {
	if err := answer.Object(); err != nil {
		return normalize.Message{}, err
	}
	body := normalize.CleanBytes(answer.Body)
	root := gjson.ParseBytes(body)
	if failure := errorAt200(root, answer, key); failure != nil {
		return normalize.Message{}, failure
	}
	choices := root.Get("choices")
	if !choices.IsArray() {
		return normalize.Message{}, answer.Invalid("the backend's answer has no list of choices")
	}
	said := choices.Get("0.message")
	if !said.IsObject() {
		return normalize.Message{}, answer.Invalid("the backend's answer has no choice with a message")
	}
	text, ok := textOf(said)
	if !ok {
		return normalize.Message{}, answer.Invalid("the backend's answer has no text")
	}
	message := normalize.Message{
		Role:     normalize.RoleAssistant,
		Type:     normalize.TypeText,
		Text:     normalize.CleanText(text),
		Status:   normalize.StatusComplete,
		RemoteID: word(root.Get("id")),
		Model:    word(root.Get("model")),
		Raw:      body,
	}
	message.CreatedAt, _ = normalize.ParseTime(root.Get("created").String())
	return message, nil
}

// textOf gives what the model said: the content, a string or parts; else the
// refusal. False where there is none, or one of another type.
func textOf(message gjson.Result) (string, bool) {
	content := message.Get("content")
	switch {
	case content.Type == gjson.String && content.Str != "":
		return normalize.UnquoteJSON(content.Raw), true
	case content.IsArray():
		if text, ok := textOfParts(content); ok {
			return text, text != ""
		}
		return "", false
	case content.Type == gjson.String, content.Type == gjson.Null: // Null also where it is missing
		refusal := message.Get("refusal")
		return normalize.UnquoteJSON(refusal.Raw), refusal.Type == gjson.String && refusal.Str != ""
	default:
		return "", false
	}
}

// textOfParts joins the texts and refusals of a content in parts. Parts of other
// types are passed over; one whose text is no string spoils the whole.
func textOfParts(parts gjson.Result) (text string, ok bool) {
	var b strings.Builder
	ok = true
	parts.ForEach(func(_, part gjson.Result) bool {
		var piece gjson.Result
		switch part.Get("type").Str {
		case "text", "output_text":
			piece = part.Get("text")
		case "refusal":
			piece = part.Get("refusal")
		default:
			return true
		}
		ok = piece.Type == gjson.String
		b.WriteString(normalize.UnquoteJSON(piece.Raw))
		return ok
	})
	return b.String(), ok
}

// word gives a string, and "" for everything else.
func word(r gjson.Result) string {
	return normalize.UnquoteJSON(r.Raw)
}

// explain reads the error body of an answer that is not 2xx.
func explain(_ int, body []byte) vendorhttp.Fault {
	if !gjson.ValidBytes(body) {
		return vendorhttp.Fault{}
	}
	fault, _ := faultIn(gjson.ParseBytes(body))
	return fault
}

// faultIn reads an error object: {"error": {"message", "type", "code"}}, or the
// error as a bare string, as some servers write it. The kind is set where the code
// decides it, whatever the status. False where there is no error.
func faultIn(root gjson.Result) (vendorhttp.Fault, bool) {
	e := root.Get("error")
	if e.Type == gjson.String && e.Str != "" {
		return vendorhttp.Fault{Message: e.Str}, true
	}
	if !e.IsObject() || e.Raw == "{}" {
		return vendorhttp.Fault{}, false
	}
	fault := vendorhttp.Fault{Code: word(e.Get("code")), Message: word(e.Get("message"))}
	if code := e.Get("code"); code.Type == gjson.Number {
		fault.Code = code.Raw
	}
	if fault.Code == "" {
		fault.Code = word(e.Get("type"))
	}
	switch fault.Code {
	case "insufficient_quota", "billing_hard_limit_reached", "billing_not_active":
		fault.Kind = normalize.KindQuota
	case "invalid_api_key":
		fault.Kind = normalize.KindUnauthorized
	case "rate_limit_exceeded":
		fault.Kind = normalize.KindRateLimited
	case "content_filter", "content_policy_violation":
		fault.Kind = normalize.KindRejected
	}
	return fault, true
}

// errorAt200 makes the failure of an error that came with a status of success, as
// the whole answer or within a stream; nil where there is none. What the code does
// not say follows from a status that some servers put in its place, or from the
// error's type.
func errorAt200(root gjson.Result, answer vendorhttp.Answer, key normalize.Secret) error {
	fault, found := faultIn(root)
	if !found {
		return nil
	}
	if fault.Kind == normalize.KindInternal {
		fault.Kind = kindOfType(root.Get("error"))
	}
	return answer.Reported(fault, key)
}

// kindOfType gives the kind of an error whose code decides nothing.
func kindOfType(e gjson.Result) normalize.Kind {
	for _, field := range []string{"code", "status"} {
		if status, err := strconv.Atoi(e.Get(field).String()); err == nil && status >= 400 && status <= 599 {
			return vendorhttp.KindOfStatus(status, false)
		}
	}
	status := http.StatusInternalServerError
	switch e.Get("type").Str {
	case "invalid_request_error":
		status = http.StatusBadRequest
	case "authentication_error":
		status = http.StatusUnauthorized
	case "insufficient_quota":
		status = http.StatusPaymentRequired
	case "rate_limit_error", "requests", "tokens":
		status = http.StatusTooManyRequests
	}
	return vendorhttp.KindOfStatus(status, false)
}
