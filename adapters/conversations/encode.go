package conversations

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"path"

	"chatmux/adapters"
	"chatmux/normalize"
)

// completionRequest is the body of POST /chatbots/{id}/completions/. A null
// conversation begins a new one. The switch stands in one or both of its
// spellings.
type completionRequest struct {
	Conversation     *string           `json:"conversation"`
	Message          completionMessage `json:"message"`
	IsStreaming      *bool             `json:"isStreaming,omitempty"`
	IsStreamingSnake *bool             `json:"is_streaming,omitempty"`
}

type completionMessage struct {
	Content     string       `json:"content"`
	Attachments []attachment `json:"attachments"`
}

// messageRequest is the body of POST /messages/ and POST /messages/outgoing/.
type messageRequest struct {
	Conversation string       `json:"conversation"`
	Content      string       `json:"content"`
	Attachments  []attachment `json:"attachments"`
}

// attachment is a file named by the id that an upload gave it, or by its URL.
type attachment struct {
	ID       string `json:"id,omitempty"`
	Type     string `json:"type"`
	Filename string `json:"filename,omitempty"`
	File     string `json:"file,omitempty"`
}

// encodeCompletion writes a turn as the body of a completion.
func encodeCompletion(turn adapters.Turn, streamField string, streaming bool) ([]byte, error) {
	files, err := encodeAttachments(turn.Message.Attachments)
	if err != nil {
		return nil, err
	}
	r := completionRequest{Message: completionMessage{Content: turn.Message.Text, Attachments: files}}
	if id := turn.Remote.ThreadID; id != "" {
		r.Conversation = &id
	}
	if streamField != StreamFieldSnake {
		r.IsStreaming = &streaming
	}
	if streamField != StreamFieldCamel {
		r.IsStreamingSnake = &streaming
	}
	return encode(r)
}

// encodeAttachments never gives nil: the vendor's examples write an empty list.
func encodeAttachments(list []normalize.Attachment) ([]attachment, error) {
	files := make([]attachment, 0, len(list))
	for i, a := range list {
		if a.ID == "" && a.URL == "" {
			return nil, normalize.InvalidField(fmt.Sprintf("attachments[%d]", i), "needs a url, or the id that an upload gave it")
		}
		if a.Filename == "" {
			a.Filename = filenameOf(a.URL)
		}
		files = append(files, attachment{ID: a.ID, Type: kindOf(a.Type), Filename: a.Filename, File: a.URL})
	}
	return files, nil
}

// filenameOf gives the last part of a URL's path, empty where there is none.
func filenameOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		return ""
	}
	return name
}

// kindOf gives the vendor's word for an attachment; it has no more than five.
func kindOf(t normalize.MessageType) string {
	switch t {
	case normalize.TypeImage, normalize.TypeVideo, normalize.TypeAudio, normalize.TypeSticker:
		return string(t)
	default:
		return "other"
	}
}

// encode writes JSON with < > & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, &normalize.Error{Kind: normalize.KindInternal, Cause: err}
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
