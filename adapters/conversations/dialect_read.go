package conversations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// What the vendor's framework says of a field.
const (
	isRequired    = "This field is required."
	isNull        = "This field may not be null."
	isBlank       = "This field may not be blank."
	noString      = "Not a valid string."
	noBoolean     = "Must be a valid boolean."
	noUUID        = "Must be a valid UUID."
	noObject      = "Invalid data. Expected a dictionary."
	noList        = "Expected a list of items."
	contradictory = "isStreaming and is_streaming contradict each other."
)

// form is one JSON object of a request that is being read. All that is wrong with the
// whole request is collected, and told at once.
type form struct {
	v     gjson.Result
	path  string // of the object, with a dot at its end; empty for the outermost
	wrong *[]normalize.FieldError
}

// readForm reads the body of a request.
func readForm(d adapters.Desk) (form, error) {
	body, err := d.Body()
	if err != nil {
		return form{}, err
	}
	f := form{v: gjson.ParseBytes(body), wrong: new([]normalize.FieldError)}
	if !f.v.IsObject() {
		return form{}, normalize.InvalidField("non_field_errors", noObject)
	}
	return f, nil
}

// refuse notes what is wrong with a field.
func (f form) refuse(name, text string) {
	*f.wrong = append(*f.wrong, normalize.FieldError{Field: f.path + name, Detail: text})
}

// err gives one error for all that is wrong, nil where nothing is.
func (f form) err() error {
	if len(*f.wrong) == 0 {
		return nil
	}
	first := (*f.wrong)[0]
	return &normalize.Error{Kind: normalize.KindInvalidRequest, Detail: first.Field + ": " + first.Detail, Fields: *f.wrong}
}

// value gives a field that is there and not null.
func (f form) value(name string, must bool) (gjson.Result, bool) {
	v := f.v.Get(name)
	switch {
	case !v.Exists() && must:
		f.refuse(name, isRequired)
	case v.Type == gjson.Null && v.Exists() && must:
		f.refuse(name, isNull)
	}
	return v, v.Type != gjson.Null
}

func (f form) text(name string, must bool) string {
	v, ok := f.value(name, must)
	if !ok {
		return ""
	}
	if v.Type != gjson.String {
		f.refuse(name, noString)
		return ""
	}
	return text(v)
}

// uuid reads an id in the vendor's form; an empty one is no id.
func (f form) uuid(name string, must bool) string {
	before := len(*f.wrong)
	id := f.text(name, must)
	switch {
	case len(*f.wrong) > before:
	case id == "" && must:
		f.refuse(name, isBlank)
	case id != "" && !isID(id):
		f.refuse(name, noUUID)
	}
	return id
}

// isID reports whether a client may call a conversation so: a UUID, or our own form,
// in which the rest of our API tells it.
func isID(id string) bool {
	if strings.HasPrefix(id, normalize.PrefixThread+"_") {
		return true
	}
	_, err := normalize.ParseUUID(id)
	return err == nil
}

// flag reads a switch, in the vendor's loose ways to write one.
func (f form) flag(name string) (on, told bool) {
	v, ok := f.value(name, false)
	if !ok {
		return false, false
	}
	if on, told = truth(v); !told {
		f.refuse(name, noBoolean)
	}
	return on, told
}

// object reads an object; false where there is none.
func (f form) object(name string, must bool) (form, bool) {
	v, ok := f.value(name, must)
	if !ok {
		return form{}, false
	}
	if !v.IsObject() {
		f.refuse(name, noObject)
		return form{}, false
	}
	return form{v: v, path: f.path + name + ".", wrong: f.wrong}, true
}

// streaming reads the switch in both of its spellings.
func (f form) streaming() bool {
	camel, one := f.flag(StreamFieldCamel)
	snake, other := f.flag(StreamFieldSnake)
	if one && other && camel != snake {
		f.refuse(StreamFieldCamel, contradictory)
	}
	return camel || snake
}

// attachments reads a list whose items are objects or plain ids.
func (f form) attachments() []normalize.Attachment {
	v, ok := f.value("attachments", false)
	if !ok {
		return nil
	}
	if !v.IsArray() {
		f.refuse("attachments", noList)
		return nil
	}
	var list []normalize.Attachment
	for i, item := range v.Array() {
		field := fmt.Sprintf("attachments[%d]", i)
		if !item.IsObject() && item.Type != gjson.String {
			f.refuse(field, noObject)
			continue
		}
		read := decodeAttachments(gjson.Parse("[" + item.Raw + "]"))
		if len(read) == 0 {
			f.refuse(field+".file", isRequired)
		}
		list = append(list, read...)
	}
	return list
}

// metadata reads what is plain of the free objects of a request: texts, numbers and
// switches. It is kept with the message, and routes may look at it. What is nested, or
// longer than our metadata may be, is passed over: the vendor puts no limit to it.
func (f form) metadata(names ...string) map[string]string {
	const maxKeys, maxKey, maxValue = 50, 64, 512
	var kept map[string]string
	for _, name := range names {
		inner, ok := f.object(name, false)
		if !ok {
			continue
		}
		inner.v.ForEach(func(key, value gjson.Result) bool {
			k, s := text(key), text(value)
			if value.Type == gjson.Number || value.IsBool() {
				s = value.Raw
			}
			if k == "" || s == "" || len(k) > maxKey || len(s) > maxValue || hasControls(k) || hasControls(s) {
				return true
			}
			if kept == nil {
				kept = make(map[string]string)
			}
			kept[k] = s
			return len(kept) < maxKeys
		})
	}
	return kept
}

func hasControls(s string) bool {
	return slices.ContainsFunc([]byte(s), func(c byte) bool { return c < ' ' })
}

// inTheirWords gives a refusal of what was sent the names that the client wrote.
func inTheirWords(err error, path string) error {
	e := normalize.AsError(err)
	if e == nil || len(e.Fields) == 0 {
		return err
	}
	renamed := *e
	renamed.Fields = slices.Clone(e.Fields)
	for i := range renamed.Fields {
		p := &renamed.Fields[i]
		name, rest := step(p.Field)
		switch name {
		case "text":
			p.Field = path + "content"
		case "attachments":
			if strings.HasSuffix(rest, "url") {
				p.Field = strings.TrimSuffix(p.Field, "url") + "file"
			}
			p.Field = path + p.Field
		}
	}
	return &renamed
}
