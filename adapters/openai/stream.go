package openai

import (
	"errors"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// endWord is the data of the last event of a stream.
const endWord = "[DONE]"

// collect reads a completion that comes in chunks.
func collect(told *vendorhttp.Telling, head vendorhttp.Answer, key normalize.Secret) (adapters.Reply, error) {
	c := chunks{told: told, head: head}
	err := c.read(key)
	if err == nil {
		err = told.Finish()
	}
	if err == nil && told.Text() == "" {
		err = head.Invalid("the backend's answer has no text")
	}
	reply := adapters.Reply{Skipped: told.Skipped()}
	if said := told.Text(); said != "" {
		c.message.Role, c.message.Type, c.message.Text = normalize.RoleAssistant, normalize.TypeText, said
		c.message.Status = normalize.StatusComplete
		if err != nil {
			c.message.Status = normalize.StatusIncomplete
		}
		reply.Messages = []normalize.Message{c.message}
	}
	return reply, told.Failure(err)
}

// chunks is the one answer that is taken out of a stream of chunks.
type chunks struct {
	told     *vendorhttp.Telling
	head     vendorhttp.Answer
	message  normalize.Message // all but its text
	field    string            // of the delta, in which the text comes: content or refusal
	finished bool              // its finish_reason has come
}

// read reads to the end word. Without a finish_reason before it the answer is not
// whole: a server in between that has lost its own backend says [DONE] too.
func (c *chunks) read(key normalize.Secret) error {
	for {
		data, err := c.told.Next()
		switch {
		case errors.Is(err, io.EOF) && !c.finished:
			return c.told.Truncated("the backend's stream ended without a finish_reason")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		chunk := gjson.ParseBytes(data)
		if failure := errorAt200(chunk, c.head, key); failure != nil {
			return failure
		}
		id := word(chunk.Get("id"))
		if id != "" && c.message.RemoteID != "" && id != c.message.RemoteID {
			c.told.Skip() // another answer
			continue
		}
		if err := c.add(chunk); err != nil {
			return err
		}
		c.describe(chunk, id)
	}
}

// add takes the text out of a chunk's first choice. The others are other answers;
// a chunk without choices tells the usage, or what a filter thinks.
func (c *chunks) add(chunk gjson.Result) error {
	choices := chunk.Get("choices")
	if !choices.IsArray() && choices.Type != gjson.Null {
		return c.head.Invalid("the backend's stream has no list of choices")
	}
	var err error
	choices.ForEach(func(_, choice gjson.Result) bool {
		if choice.Get("index").Int() != 0 { // also where there is none
			c.told.Skip()
			return true
		}
		err = c.say(choice.Get("delta"))
		if reason := choice.Get("finish_reason"); reason.Type == gjson.String && reason.Str != "" {
			c.finished = true
			c.message.Raw = normalize.CleanBytes([]byte(chunk.Raw))
		}
		return err == nil
	})
	return err
}

// say shows the text of a delta. A model says something or refuses: whichever it
// does first is the answer, and the other is not mixed into it.
func (c *chunks) say(delta gjson.Result) error {
	for _, field := range []string{"content", "refusal"} {
		pieces := delta.Get(field)
		if pieces.Type == gjson.Null || pieces.Type == gjson.String && pieces.Str == "" || c.field != "" && field != c.field {
			continue
		}
		switch {
		case pieces.Type == gjson.String:
			c.field = field
			if err := c.told.Say(pieces.Raw); err != nil {
				return err
			}
		case pieces.IsArray():
			text, ok := textOfParts(pieces)
			if !ok {
				return c.head.Invalid("the backend's stream holds a text that is not a text")
			}
			c.field = field
			if err := c.told.Add(text); err != nil {
				return err
			}
		default:
			return c.head.Invalid("the backend's stream holds a text that is not a text")
		}
	}
	return nil
}

// describe keeps what a chunk tells about the answer, once.
func (c *chunks) describe(chunk gjson.Result, id string) {
	if c.message.RemoteID == "" {
		c.message.RemoteID = strings.Clone(id) // not the whole chunk with it
	}
	if c.message.Model == "" {
		c.message.Model = strings.Clone(word(chunk.Get("model")))
	}
	if c.message.CreatedAt.IsZero() {
		c.message.CreatedAt, _ = normalize.ParseTime(chunk.Get("created").String())
	}
}
