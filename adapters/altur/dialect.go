package altur

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/normalize"
)

// dialectName stands in front of the dialect's paths.
const dialectName = "altur"

// dialect is Altur's own API at the front, whoever answers behind.
//
// Where the documents are silent: fields that a request has beside the known ones are
// passed over; a person whom nobody knows is made under the id that the client gave,
// so that a client keeps its ids when its vendor changes; and a conversation is the
// pair of a bot and a person here too.
func dialect() *adapters.Dialect {
	const v1 = "/api/v1.0"
	return &adapters.Dialect{
		Name: dialectName,
		Endpoints: []adapters.Endpoint{
			{Method: http.MethodPost, Path: v1 + "/message", Send: true, Serve: serveSend},
			{Method: http.MethodGet, Path: v1 + "/message/{thread_id}", Serve: serveMessages},
			{Method: http.MethodGet, Path: v1 + "/thread/{id}", Serve: serveThread},
			{Method: http.MethodPost, Path: v1 + "/enduser", Serve: serveNewUser},
			{Method: http.MethodGet, Path: v1 + "/enduser/{id}", Serve: serveUser},
			{Method: http.MethodPut, Path: v1 + "/enduser/{id}", Serve: serveChangedUser},
		},
		Key:          callerKey,
		Fail:         writeFailure,
		OnePerPerson: true,
	}
}

// callerKey reads `Authorization: api-key <key>`, and the header of the oldest
// examples, which is the key alone.
func callerKey(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	if scheme, key, two := strings.Cut(values[0], " "); two {
		if !strings.EqualFold(scheme, "api-key") {
			return ""
		}
		return key
	}
	return values[0]
}

// shownFailure is the vendor's Error object.
type shownFailure struct {
	Status  int    `json:"error"`
	Message string `json:"message"`
}

// writeFailure answers with the vendor's Error. What it knows only 400 for is 400.
func writeFailure(w http.ResponseWriter, _ *http.Request, _ string, failure *normalize.Error) {
	status, message := failure.Kind.Policy().Status, failure.Text()
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "api-key")
		message = "a valid key is needed: Authorization: api-key <key>"
	case http.StatusUnprocessableEntity:
		if status = http.StatusBadRequest; failure.VendorStatus == http.StatusNotFound {
			status = http.StatusNotFound
		}
	}
	answer(w, status, shownFailure{status, message})
}

// answer writes a whole answer. A client that left is its own loss.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v))
}

// form is the JSON object of a request that is being read.
type form struct {
	v     gjson.Result
	wrong []normalize.FieldError
}

func readForm(d adapters.Desk) (*form, error) {
	body, err := d.Body()
	if err != nil {
		return nil, err
	}
	f := &form{v: gjson.ParseBytes(body)}
	if !f.v.IsObject() {
		return nil, normalize.Errorf(normalize.KindInvalidRequest, "the body must be a JSON object")
	}
	return f, nil
}

// text reads a string; nil where there is none.
func (f *form) text(name string) *string {
	switch v := f.v.Get(name); v.Type {
	case gjson.String:
		s := normalize.UnquoteJSON(v.Raw)
		return &s
	case gjson.Null: // absent too
	default:
		f.refuse(name, "must be a string")
	}
	return nil
}

// needed reads a string that must be there.
func (f *form) needed(name string) string {
	before := len(f.wrong)
	s := f.text(name)
	switch {
	case len(f.wrong) > before:
		return ""
	case s == nil:
		f.refuse(name, "is required")
		return ""
	case *s == "":
		f.refuse(name, "must not be empty")
	}
	return *s
}

func (f *form) refuse(name, problem string) {
	f.wrong = append(f.wrong, normalize.FieldError{Field: name, Detail: problem})
}

// err gives one failure for all that is wrong; nil where nothing is.
func (f *form) err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return &normalize.Error{Kind: normalize.KindInvalidRequest, Detail: told(f.wrong), Fields: f.wrong}
}

// told is all that is wrong as one text: the vendor's Error has no place for more.
func told(wrong []normalize.FieldError) string {
	texts := make([]string, len(wrong))
	for i, p := range wrong {
		texts[i] = p.Field + " " + p.Detail
	}
	return strings.Join(texts, "; ")
}

// inTheirWords gives a refusal of what was sent the names that the client wrote.
func inTheirWords(err error) error {
	failure := normalize.AsError(err)
	if failure == nil || len(failure.Fields) == 0 {
		return err
	}
	renamed := *failure
	renamed.Fields = slices.Clone(failure.Fields)
	for i := range renamed.Fields {
		switch p := &renamed.Fields[i]; p.Field {
		case "text":
			p.Field = "content"
		case "user.id":
			p.Field = "end_user_id"
		}
	}
	renamed.Detail = told(renamed.Fields)
	return &renamed
}

// person is an end user as the dialect keeps one.
type person struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Info    string `json:"info,omitempty"`
	Adopted bool   `json:"adopted,omitempty"` // the vendor has it under this id, from before
	kept    bool   // it was kept before
}

func (p *person) user() normalize.User { return normalize.User{ID: p.ID, Name: p.Name, Info: p.Info} }

func userRecord(id string) string { return "enduser:" + id }

// maxUserID is the longest id of an end user: no vendor's is as long.
const maxUserID = 255

// recallUser finds an end user that is kept here; nil where none is.
func recallUser(r *http.Request, d adapters.Desk, id string) (*person, error) {
	if len(id) > maxUserID {
		return nil, nil
	}
	kept, err := d.Recall(r.Context(), userRecord(id))
	if err != nil || kept == nil {
		return nil, err
	}
	p := &person{kept: true}
	if err := json.Unmarshal(kept, p); err != nil {
		return nil, &normalize.Error{Kind: normalize.KindInternal, Cause: err}
	}
	return p, nil
}

// keepUser keeps an end user, with a thread of theirs where there is one, so that
// whoever erases that erases them too.
func keepUser(r *http.Request, d adapters.Desk, p *person, threadID string) error {
	_, err := d.Record(r.Context(), userRecord(p.ID), threadID, encode(p), false)
	return err
}

// adoptUser finds an end user that the vendor has from before; nil where there is none.
func adoptUser(r *http.Request, d adapters.Desk, bot, id string) (*person, error) {
	known, err := d.FindPerson(r.Context(), bot, id)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &person{ID: id, Name: known.Name, Info: known.Info, Adopted: true}, nil
}

func isNotFound(err error) bool {
	var failure *normalize.Error
	return errors.As(err, &failure) && failure.Kind == normalize.KindNotFound
}
