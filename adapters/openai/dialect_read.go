package openai

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// completionRequest is what counts of the body of POST /chat/completions.
type completionRequest struct {
	model    string
	user     string
	stream   bool
	usage    bool // stream_options.include_usage
	metadata map[string]string
	before   []saying // what the client says was said before
	last     saying   // the user's message
}

// saying is one message of a request.
type saying struct {
	at     string // where it stands in the request
	role   string
	text   string
	images []string
}

// code is what OpenAI calls a refusal. It goes along as the refusal's cause.
type code string

// The codes of what is refused here.
const (
	modelNotFound    code = "model_not_found"
	threadNotFound   code = "thread_not_found" // a word of our own
	missingParameter code = "missing_required_parameter"
	invalidType      code = "invalid_type"
	invalidValue     code = "invalid_value"
	unsupportedValue code = "unsupported_value"
	unsupported      code = "unsupported_parameter"
)

func (c code) Error() string { return string(c) }

// refuse makes the error of a parameter that cannot be.
func refuse(param string, why code, format string, args ...any) error {
	e := normalize.Errorf(normalize.KindInvalidRequest, format, args...)
	e.Cause, e.Fields = why, []normalize.FieldError{{Field: param, Detail: e.Detail}}
	return e
}

// readRequest reads and judges the body. What would change the form or the meaning of
// the answer is refused, since it cannot be kept; what only tunes how a model samples is
// passed over, and so is what is unknown.
func readRequest(d adapters.Desk) (*completionRequest, error) {
	body, err := d.Body()
	if err != nil {
		return nil, err
	}
	v := gjson.ParseBytes(body)
	if !v.IsObject() {
		return nil, refuse("", invalidType, "the body must be a JSON object")
	}
	if err := refuseUnkept(v); err != nil {
		return nil, err
	}
	r := &completionRequest{}
	for _, one := range []struct {
		param string
		to    *string
	}{{"model", &r.model}, {"safety_identifier", &r.user}, {"user", &r.user}} {
		switch field := v.Get(one.param); field.Type {
		case gjson.String:
			*one.to = word(field)
		case gjson.Null:
		default:
			return nil, refuse(one.param, invalidType, "Invalid type for '%s': expected a string.", one.param)
		}
	}
	if r.model == "" {
		return nil, refuse("model", missingParameter, "you must provide a model parameter")
	}
	for _, one := range []struct {
		param string
		to    *bool
	}{{"stream", &r.stream}, {"stream_options.include_usage", &r.usage}} {
		switch field := v.Get(one.param); field.Type {
		case gjson.True, gjson.False:
			*one.to = field.Bool()
		case gjson.Null:
		default:
			return nil, refuse(one.param, invalidType, "Invalid type for '%s': expected a boolean.", one.param)
		}
	}
	v.Get("metadata").ForEach(func(key, value gjson.Result) bool {
		if r.metadata == nil {
			r.metadata = make(map[string]string)
		}
		if value.Type == gjson.String {
			r.metadata[word(key)] = word(value)
		}
		return true
	})
	return r, r.readMessages(v.Get("messages"))
}

// refuseUnkept refuses the parameters whose promise a bot behind us cannot keep.
func refuseUnkept(v gjson.Result) error {
	if n := v.Get("n"); n.Type != gjson.Null && (n.Type != gjson.Number || n.Num != 1) {
		return refuse("n", unsupportedValue, "Unsupported value: 'n' must be 1: a conversation has one answer.")
	}
	for _, param := range []string{"tools", "functions"} {
		if list := v.Get(param); list.Type != gjson.Null && (!list.IsArray() || len(list.Array()) > 0) {
			return refuse(param, unsupported, "Unsupported parameter: '%s': the bots behind this API call no tools of the client.", param)
		}
	}
	for _, param := range []string{"tool_choice", "function_call"} {
		if choice := v.Get(param); choice.Type != gjson.Null && choice.Str != "none" && choice.Str != "auto" {
			return refuse(param, unsupportedValue, "Unsupported value: '%s' can only be none or auto.", param)
		}
	}
	if format := v.Get("response_format"); format.Type != gjson.Null && format.Get("type").Str != "text" {
		return refuse("response_format", unsupportedValue, "Unsupported value: 'response_format.type' can only be text.")
	}
	for _, part := range v.Get("modalities").Array() {
		if part.Str != "text" {
			return refuse("modalities", unsupportedValue, "Unsupported value: 'modalities' can only be text.")
		}
	}
	for _, param := range []string{"audio", "web_search_options"} {
		if v.Get(param).Type != gjson.Null {
			return refuse(param, unsupported, "Unsupported parameter: '%s'.", param)
		}
	}
	if v.Get("logprobs").Type == gjson.True {
		return refuse("logprobs", unsupportedValue, "Unsupported value: 'logprobs' cannot be told.")
	}
	return nil
}

// readMessages reads what was said. After the user's last message only instructions may
// come: an answer that the client begins itself cannot be gone on with.
func (r *completionRequest) readMessages(list gjson.Result) error {
	switch {
	case !list.Exists():
		return refuse("messages", missingParameter, "Missing required parameter: 'messages'.")
	case !list.IsArray():
		return refuse("messages", invalidType, "Invalid type for 'messages': expected an array of objects.")
	}
	var all []saying
	for i, v := range list.Array() {
		at := fmt.Sprintf("messages[%d]", i)
		if !v.IsObject() {
			return refuse(at, invalidType, "Invalid type for '%s': expected an object.", at)
		}
		s := saying{at: at, role: word(v.Get("role"))}
		switch s.role {
		case "system", "developer":
			continue
		case "user", "assistant", "tool", "function":
		default:
			return refuse(at+".role", invalidValue, "Invalid value: '%s.role' must be system, developer, user, assistant or tool.", at)
		}
		if err := s.readContent(v.Get("content")); err != nil {
			return err
		}
		if refusal := v.Get("refusal"); s.text == "" && refusal.Type == gjson.String {
			s.text = word(refusal)
		}
		all = append(all, s)
	}
	if len(all) == 0 || all[len(all)-1].role != "user" {
		return refuse("messages", invalidValue, "Invalid value: the last of the 'messages' must be the user's.")
	}
	r.before, r.last = all[:len(all)-1], all[len(all)-1]
	if r.last.text == "" && len(r.last.images) == 0 {
		return refuse(r.last.at+".content", invalidValue, "Invalid value: '%s.content' must not be empty.", r.last.at)
	}
	return nil
}

// readContent reads a content: a string, or parts. Texts of several parts are lines of
// one text.
func (s *saying) readContent(v gjson.Result) error {
	at := s.at + ".content"
	switch {
	case v.Type == gjson.String:
		s.text = word(v)
		return nil
	case v.Type == gjson.Null && s.role != "user":
		return nil
	case !v.IsArray():
		return refuse(at, invalidType, "Invalid type for '%s': expected a string or an array of parts.", at)
	}
	var texts []string
	for i, part := range v.Array() {
		within := fmt.Sprintf("%s[%d]", at, i)
		kind := word(part.Get("type"))
		switch kind {
		case "text", "refusal":
			piece := part.Get(kind)
			if piece.Type != gjson.String {
				return refuse(within+"."+kind, invalidType, "Invalid type for '%s.%s': expected a string.", within, kind)
			}
			texts = append(texts, word(piece))
		case "image_url":
			url := word(part.Get("image_url.url"))
			if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
				return refuse(within+".image_url.url", unsupportedValue,
					"Unsupported value: '%s.image_url.url' must be the address of an image, not the image itself.", within)
			}
			s.images = append(s.images, url)
		default:
			return refuse(within+".type", unsupportedValue, "Unsupported value: '%s.type' can only be text or image_url.", within)
		}
	}
	s.text = strings.Join(texts, "\n")
	return nil
}

func (s *saying) attachments() []normalize.Attachment {
	var list []normalize.Attachment
	for _, url := range s.images {
		list = append(list, normalize.Attachment{Type: normalize.TypeImage, URL: url})
	}
	return list
}

// earlier gives what was said before as messages of a transcript. What tools said, and
// what has nothing in it, is left out.
func (r *completionRequest) earlier() []normalize.Message {
	var list []normalize.Message
	for _, s := range r.before {
		m := normalize.Message{Type: normalize.TypeText, Text: s.text, Attachments: s.attachments()}
		switch {
		case s.text == "" && len(s.images) == 0:
			continue
		case s.role == "user":
			m.Role, m.Status = normalize.RoleUser, normalize.StatusSent
		case s.role == "assistant":
			m.Role, m.Status = normalize.RoleAssistant, normalize.StatusComplete
		default:
			continue
		}
		if s.text == "" {
			m.Type = normalize.TypeImage
		}
		list = append(list, m)
	}
	return list
}

// point names the place in a conversation that lies behind these messages: the same for
// the same model, user and sayings, and for nothing else.
func (r *completionRequest) point(said ...saying) string {
	h := sha256.New()
	write := func(parts ...string) {
		for _, part := range parts {
			_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			_, _ = io.WriteString(h, part)
		}
	}
	write("1", r.model, r.user) // the first is the version of this form
	for _, s := range said {
		text := strings.TrimSpace(s.text)
		if text == "" && len(s.images) == 0 {
			continue // an answer without text may come back as one, or not at all
		}
		write(s.role, text, fmt.Sprint(len(s.images)))
		write(s.images...)
	}
	return "point:" + hex.EncodeToString(h.Sum(nil))
}
