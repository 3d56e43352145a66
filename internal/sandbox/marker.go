package sandbox

import (
	"bytes"
	"encoding/json"
	"strings"
)

// marked looks for a fault that stands in a text of the request, as
// [[status 500]], so that a person can provoke it by what they write. What is in
// double brackets and does not begin with a fault's name is ordinary text; a
// fault that is written wrongly is an error.
//
// Where the request carries a conversation (an array called messages), only its
// last one counts: the others have had their effect.
func marked(body []byte) (Fault, bool, error) {
	if !bytes.Contains(body, []byte("[[")) {
		return Fault{}, false, nil
	}
	var conversation struct{ Messages []json.RawMessage }
	if err := json.Unmarshal(body, &conversation); err == nil && len(conversation.Messages) > 0 {
		body = conversation.Messages[len(conversation.Messages)-1]
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := decoder.Token()
		if err != nil {
			return Fault{}, false, nil // the end; or no JSON, which only the twin can judge
		}
		text, _ := token.(string)
		for {
			_, after, found := strings.Cut(text, "[[")
			inside, rest, closed := strings.Cut(after, "]]")
			if !found || !closed {
				break
			}
			name, _, _ := strings.Cut(strings.TrimSpace(inside), " ")
			if find(name) != nil {
				fault, err := ParseFault(inside)
				return fault, true, err
			}
			text = rest
		}
	}
}
