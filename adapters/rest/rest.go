// Package rest is the adapter for vendors that are described in YAML: their calls,
// where in the answers texts and ids are, how they stream and how they tell errors.
// A vendor whose API is JSON over HTTP needs no code.
//
// What the adapter can do beside sending follows from which calls are described. It
// promises what every adapter does: one request a message, each failure of its kind,
// no key in an error, an answer that is whole only where the vendor said so.
//
// How descriptions are read:
//
//   - A request is a template that was taken apart before any value is known. A value
//     is never looked at again: it stays one text of the body, one segment of the
//     path, one parameter.
//   - What cannot be found in an answer is missing, and an answer without text or
//     without the conversation's id is an invalid reply. There are no guesses.
//   - An empty list of replies is silence, and so is no text while a human has the
//     thread. A reply that is there and has neither text nor file is invalid.
//   - An answer that names another conversation than the one that was asked is
//     refused as a whole.
//   - Conversations are read without their raw object: it may hold secrets of the
//     vendor's side that nobody has described.
package rest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// Spec is the adapter's entry in the list of adapters. There is no twin: only the
// file knows the vendor.
var Spec = adapters.Spec{
	Name:     "rest",
	Summary:  "a vendor described in YAML: calls, paths, streams and errors, without code",
	Settings: func() adapters.Settings { return new(Settings) },
	Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
		return open(s.(*Settings), env)
	},
}

// Endpoint gives the address of the API.
func (s *Settings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

// BotID gives the vendor's id of the bot, empty where there is none.
func (s *Settings) BotID() string { return s.Bot }

// vendor is a described vendor, ready to be asked.
type vendor struct {
	client  *vendorhttp.Client
	key     normalize.Secret
	about   *Settings
	talents []any

	remoteID, remoteUserID template
	send, stream           *request
	sendToHuman            *request
	history                any // the template of one message
	file                   any // the template of one attachment
}

func open(s *Settings, env adapters.Env) (*vendor, error) {
	v := &vendor{about: s, key: s.APIKey, remoteID: s.RemoteID.must(), remoteUserID: s.RemoteUserID.must()}
	scheme := s.Auth.Scheme
	if scheme != "" {
		scheme += " "
	}
	header := make(http.Header, len(s.Headers))
	for name, value := range s.Headers {
		header.Set(name, value.Reveal())
	}
	var err error
	v.client, err = vendorhttp.New(vendorhttp.Options{
		BaseURL: s.BaseURL, Auth: s.Auth.Header, Scheme: scheme, Key: s.APIKey, Header: header, Explain: v.explain, Env: env,
	})
	if err != nil {
		return nil, err
	}
	v.send = prepare(s.Send.Call, http.MethodPost)
	v.send.first = s.Send.FirstPath.must()
	if s.Stream != nil {
		v.stream = v.streamRequest(s.Stream)
	}
	if s.SendToHuman != nil {
		v.sendToHuman = prepare(s.SendToHuman.Call, http.MethodPost)
	}
	if s.History != nil {
		v.history = compiled(s.History.Each)
	}
	if s.Attachments != nil {
		v.file = compiled(s.Attachments.Each)
	}
	v.talents = v.described()
	return v, nil
}

// streamRequest is the call that streams: that of send, where it is not described.
func (v *vendor) streamRequest(s *Stream) *request {
	r := prepare(s.after(v.about.Send.Call), http.MethodPost)
	r.first = s.FirstPath.must()
	if s.Path == "" && s.FirstPath == "" {
		r.first = v.send.first
	}
	return r
}

// described lists the talents of a vendor: those whose calls are there.
func (v *vendor) described() []any {
	s := v.about
	var list []any
	if s.Stream != nil {
		list = append(list, streamer{v})
	}
	if s.History != nil {
		list = append(list, rememberer{adapters.HistoryLimits{Messages: s.History.Messages, Bytes: int(s.History.Bytes)}})
	}
	if s.Attachments != nil {
		list = append(list, filer{v})
	}
	if s.SendAsOperator != nil {
		list = append(list, operator{v, prepare(s.SendAsOperator.Call, http.MethodPost)})
	}
	if s.CreateUser != nil {
		list = append(list, userCreator{v, prepare(s.CreateUser.Call, http.MethodPost)})
	}
	if s.CreateThread != nil {
		list = append(list, threadCreator{v, prepare(s.CreateThread.Call, http.MethodPost)})
	}
	if s.ReadThread != nil {
		list = append(list, threadReader{v, prepare(s.ReadThread.Call, http.MethodGet)})
	}
	if s.ListThreads != nil {
		list = append(list, threadLister{v, prepare(s.ListThreads.Call, http.MethodGet)})
	}
	if s.ListMessages != nil {
		list = append(list, messageLister{v, prepare(s.ListMessages.Call, http.MethodGet)})
	}
	if s.SwitchMode != nil {
		list = append(list, modeSwitcher{v, prepare(s.SwitchMode.Call, http.MethodPost)})
	}
	if s.DeleteThread != nil {
		list = append(list, threadDeleter{v, prepare(*s.DeleteThread, http.MethodDelete)})
	}
	if s.Escalate != nil {
		list = append(list, escalator{v, prepare(*s.Escalate, http.MethodPost)})
	}
	if s.RegisterWebhook != nil {
		list = append(list, registrar{v, prepare(*s.RegisterWebhook, http.MethodPost)})
	}
	return list
}

// Talents gives what the vendor can do beside sending.
func (v *vendor) Talents() []any { return v.talents }

// Close lets go of the idle connections.
func (v *vendor) Close() error { return v.client.Close() }

// request is a Call that was taken apart.
type request struct {
	method      string
	path, first template // first is empty where the first message has no path of its own
	query       []parameterTemplate
	body        any // nil: none
}

type parameterTemplate struct {
	name  string
	value template
}

// prepare takes a call apart. Its templates were checked when the file was read.
func prepare(c Call, method string) *request {
	r := &request{method: cmp.Or(c.Method, method), path: c.Path.must()}
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		r.query = append(r.query, parameterTemplate{name, c.Query[name].must()})
	}
	if c.Body != nil {
		r.body = compiled(c.Body)
	}
	return r
}

func compiled(tree map[string]any) any { return compileTree(tree, "", func(string, string) {}) }

// with fills the request in. A first message goes to the path of first messages.
func (r *request) with(v values, first bool) (vendorhttp.Call, error) {
	path := r.path
	if first && len(r.first) > 0 {
		path = r.first
	}
	filled, err := path.path(v)
	if err != nil {
		return vendorhttp.Call{}, err
	}
	call := vendorhttp.Call{Method: r.method, Path: filled}
	for _, p := range r.query {
		if value, whole := p.value.text(v, asItIs); whole {
			if call.Query == nil {
				call.Query = make(map[string][]string, len(r.query))
			}
			call.Query.Set(p.name, value)
		}
	}
	if r.body != nil {
		call.Body, _ = appendTree(nil, r.body, v)
	}
	return call, nil
}
