package adaptertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"chatmux/adapters"
	"chatmux/internal/sandbox/bot"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

const plantedKey = "planted-key-of-the-model-vendor"

// modelVendor is an adapter that keeps every promise, unless a test changes it.
func modelVendor(change func(*model)) Vendor {
	return Vendor{
		Key: plantedKey,
		Spec: adapters.Spec{
			Name:     "model",
			Summary:  "a vendor that there is not",
			Settings: func() adapters.Settings { return new(modelSettings) },
			Open: func(s adapters.Settings, env adapters.Env) (adapters.Adapter, error) {
				settings := *s.(*modelSettings)
				m := &model{settings: settings, env: env}
				m.patience = time.Second
				m.text, m.remote = func(s string) string { return s }, func(r normalize.Remote) normalize.Remote { return r }
				m.outcome = func(r adapters.Reply, err error) (adapters.Reply, error) { return r, err }
				if change != nil {
					change(m)
				}
				var err error
				m.client, err = vendorhttp.New(vendorhttp.Options{
					BaseURL: settings.BaseURL, Auth: "Authorization", Scheme: "Bearer ", Key: settings.APIKey, Env: m.env,
				})
				return m, err
			},
			Twin:     func(s adapters.Settings) http.Handler { return newModelTwin(s.(*modelSettings).APIKey) },
			TwinPath: "/api",
		},
		Settings: func() adapters.Settings { return &modelSettings{APIKey: normalize.NewSecret(plantedKey)} },
		Webhook: Webhook{
			Examples: []WebhookExample{
				{Body: `{"id":"7","thread":"t","said":"hello"}`, Thread: "t", Says: []string{"assistant: hello"}},
				{Body: `{"call":"c"}`, Record: "c"},
			},
			Say:  func(text string) []byte { return encode(map[string]string{"thread": "c-1", "said": text}) },
			Sign: func(body []byte, secret string) http.Header { return http.Header{"X-Sum": {modelSum(body, secret)}} }, Covers: true, Demands: true,
		},
		StreamErrors: []StreamError{
			{Data: `{"error":429}`, Kind: normalize.KindRateLimited},
			{Data: `{"error":500,"because":"of ` + plantedKey + `"}`, Kind: normalize.KindVendorFault},
		},
		StreamStrays: []string{
			`{"thread":"another","piece":"` + Stray + `"}`,
			`{"aside":true,"piece":"` + Stray + `","end":true}`,
		},
	}
}

type modelSettings struct {
	BaseURL adapters.BaseURL `yaml:"base_url" doc:"where it lives"`
	APIKey  normalize.Secret `yaml:"api_key" doc:"the key"`
}

func (s *modelSettings) Endpoint() *adapters.BaseURL { return &s.BaseURL }

func (s *modelSettings) Check(report func(field, problem string)) {
	if s.BaseURL == "" {
		report("base_url", "is missing")
	}
	if s.APIKey.IsZero() {
		report("api_key", "is missing")
	}
}

// model is the adapter. Its function fields are where tests break it.
type model struct {
	settings modelSettings
	env      adapters.Env
	client   *vendorhttp.Client

	context func(context.Context) context.Context
	text    func(string) string                                      // on the way to the vendor
	remote  func(normalize.Remote) normalize.Remote                  // before it is used
	request func(context.Context, []byte) (vendorhttp.Answer, error) // in place of the client
	decode  func(vendorhttp.Answer) (modelAnswer, error)
	outcome func(adapters.Reply, error) (adapters.Reply, error) // what Send returns
	before  func(ctx context.Context, m *model)                 // before the request
	list    func(adapters.MessagePage) adapters.MessagePage
	deletes func() bool // false: it only says so
	mode    func(normalize.Mode) normalize.Mode

	source func(*vendorhttp.Stream) io.Reader                                     // of a stream's bytes
	next   func(told *vendorhttp.Telling, data []byte, err error) ([]byte, error) // after the next event
	say    func(told *vendorhttp.Telling, literal string) error                   // a piece of the text
	emit   func(func(adapters.Delta) error) func(adapters.Delta) error            // before it is called

	news func(d adapters.Delivery, told adapters.News, err error) (adapters.News, error) // what ReceiveWebhook returns

	patience time.Duration // for its webhook

	credulous bool   // it takes the answer of any conversation
	shy       bool   // it asks for no stream
	deaf      bool   // it hears no errors
	clinging  bool   // it does not let go of the connection
	plainKey  string // the key as a string
}

type modelAnswer struct {
	Thread *string `json:"thread"`
	Reply  *string `json:"reply"`
	Silent bool    `json:"silent"`
}

func (m *model) Close() error { return m.client.Close() }

func (m *model) Send(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
	ctx, known, body := m.prepare(ctx, turn, false)
	answer, err := m.ask(ctx, body)
	if err != nil {
		return m.outcome(adapters.Reply{}, err)
	}
	return m.outcome(m.whole(answer, known))
}

// prepare gives the context of a call, the vendor's thread, and the request.
func (m *model) prepare(ctx context.Context, turn adapters.Turn, stream bool) (context.Context, string, []byte) {
	if m.context != nil {
		ctx = m.context(ctx)
	}
	if m.before != nil {
		m.before(ctx, m)
	}
	remote := m.remote(turn.Remote)
	return ctx, remote.ThreadID, encode(map[string]any{"thread": remote.ThreadID, "text": m.text(turn.Message.Text), "stream": stream})
}

// whole reads an answer in one piece.
func (m *model) whole(answer vendorhttp.Answer, known string) (adapters.Reply, error) {
	read := m.decode
	if read == nil {
		read = decodeModel
	}
	said, err := read(answer)
	if err != nil {
		return adapters.Reply{}, err
	}
	if known != "" && *said.Thread != known && !m.credulous {
		return adapters.Reply{}, answer.Invalid("another conversation")
	}
	reply := adapters.Reply{Remote: normalize.Remote{ThreadID: *said.Thread}}
	if !said.Silent {
		reply.Messages = []normalize.Message{spoken(*said.Reply)}
	}
	return reply, nil
}

// frame is an event of a stream.
type frame struct {
	Thread string
	Piece  json.RawMessage
	End    bool
	Error  int
	Aside  bool
}

func (m *model) Stream(ctx context.Context, turn adapters.Turn, emit func(adapters.Delta) error) (adapters.Reply, error) {
	if m.emit != nil {
		emit = m.emit(emit)
	}
	ctx, known, body := m.prepare(ctx, turn, !m.shy)
	stream, err := m.client.Open(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/messages", Body: body, Accept: vendorhttp.AcceptStream})
	if err != nil {
		return m.outcome(adapters.Reply{}, err)
	}
	if !m.clinging {
		defer stream.Close()
	}
	if !stream.EventStream() {
		answer, err := stream.Answer()
		if err != nil {
			return m.outcome(adapters.Reply{}, err)
		}
		reply, err := m.whole(answer, known)
		if err == nil && len(reply.Messages) > 0 {
			reply, err = vendorhttp.ShowWhole(reply, emit)
		}
		return m.outcome(reply, err)
	}
	head := vendorhttp.Answer{Status: stream.Status, Header: stream.Header}
	var source io.Reader = stream
	if m.source != nil {
		source = m.source(stream)
	}
	told := vendorhttp.NewTelling(source, head, "", emit)
	err = m.listen(told, head, &known)
	if err == nil {
		stream.Drain()
	}
	reply := adapters.Reply{Remote: normalize.Remote{ThreadID: known}, Skipped: told.Skipped()}
	if text := told.Text(); text != "" {
		reply.Messages = []normalize.Message{spoken(text)}
		if err != nil {
			reply.Messages[0].Status = normalize.StatusIncomplete
		}
	}
	return m.outcome(reply, told.Failure(err))
}

// listen reads a stream to its end.
func (m *model) listen(told *vendorhttp.Telling, head vendorhttp.Answer, thread *string) error {
	for {
		data, err := told.Next()
		if m.next != nil {
			data, err = m.next(told, data, err)
		}
		if errors.Is(err, io.EOF) { // only where a test makes it so
			return told.Finish()
		}
		if err != nil {
			return err
		}
		var f frame
		if err := json.Unmarshal(data, &f); err != nil {
			return head.Invalid("an odd event")
		}
		switch {
		case f.Error != 0 && !m.deaf:
			return head.Reported(vendorhttp.Fault{Kind: vendorhttp.KindOfStatus(f.Error, false), Message: "sorry"}, normalize.Secret{})
		case f.Aside && !m.credulous:
			told.Skip()
			continue
		case *thread != "" && f.Thread != "" && f.Thread != *thread && !m.credulous:
			return head.Invalid("another conversation")
		case *thread == "":
			*thread = f.Thread
		}
		if f.Piece != nil {
			say := told.Say
			if m.say != nil {
				say = func(literal string) error { return m.say(told, literal) }
			}
			if err := say(string(f.Piece)); err != nil {
				return err
			}
		}
		if f.End {
			return told.Finish()
		}
	}
}

func spoken(text string) normalize.Message {
	return normalize.Message{Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: text, Status: normalize.StatusComplete}
}

func (m *model) ask(ctx context.Context, body []byte) (vendorhttp.Answer, error) {
	if m.request != nil {
		return m.request(ctx, body)
	}
	return m.client.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/messages", Body: body})
}

func decodeModel(answer vendorhttp.Answer) (modelAnswer, error) {
	var said modelAnswer
	if err := answer.Object(); err != nil {
		return said, err
	}
	if err := json.Unmarshal(normalize.CleanBytes(answer.Body), &said); err != nil || said.Thread == nil || said.Reply == nil && !said.Silent {
		return said, answer.Invalid("no thread or no reply")
	}
	if said.Reply != nil {
		*said.Reply = normalize.CleanText(*said.Reply)
	}
	return said, nil
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return b.Bytes()
}

func modelSum(body []byte, secret string) string {
	return fmt.Sprintf("%x", sha256.Sum256(append([]byte(secret), body...)))
}

func (m *model) AnswersLater() time.Duration { return m.patience }

func (m *model) ReceiveWebhook(d adapters.Delivery) (adapters.News, error) {
	news, err := m.receive(d)
	if m.news != nil {
		return m.news(d, news, err)
	}
	return news, err
}

func (m *model) receive(d adapters.Delivery) (news adapters.News, err error) {
	if sums := d.Header["X-Sum"]; len(sums) != 1 || sums[0] != modelSum(d.Body, d.Secret.Reveal()) {
		return news, &normalize.Error{Kind: normalize.KindUnauthenticated}
	}
	if !json.Valid(d.Body) {
		return news, &normalize.Error{Kind: normalize.KindInvalidJSON}
	}
	var told struct{ ID, Thread, Said, Call string }
	switch err := json.Unmarshal(d.Body, &told); {
	case err != nil:
	case told.Call != "":
		news.Record = &adapters.VendorRecord{Kind: "call", ID: told.Call, Raw: d.Body}
	case told.Thread != "" && told.Said != "":
		news.Remote.ThreadID = told.Thread
		m := spoken(told.Said)
		m.RemoteID = told.ID
		news.Messages = []normalize.Message{m}
	}
	return news, nil
}

func (m *model) ListMessages(ctx context.Context, remote normalize.Remote, page adapters.Page) (adapters.MessagePage, error) {
	path := "/threads/" + remote.ThreadID + "/from/" + strconv.Itoa(len(page.Cursor)) + "/limit/" + strconv.Itoa(page.Limit)
	answer, err := m.client.Do(ctx, vendorhttp.Call{Method: http.MethodGet, Path: path})
	if err != nil {
		return adapters.MessagePage{}, err
	}
	var out adapters.MessagePage
	var list struct {
		Messages *[]struct{ Role, Text string }
		Next     int
	}
	if err := answer.Object(); err != nil {
		return out, err
	}
	if err := json.Unmarshal(answer.Body, &list); err != nil || list.Messages == nil {
		return out, answer.Invalid("no messages")
	}
	for _, line := range *list.Messages {
		out.Messages = append(out.Messages, normalize.Message{Role: normalize.Role(line.Role), Text: line.Text})
	}
	out.NextCursor = strings.Repeat("x", list.Next)
	if m.list != nil {
		out = m.list(out)
	}
	return out, nil
}

func (m *model) DeleteThread(ctx context.Context, remote normalize.Remote) error {
	if m.deletes != nil && !m.deletes() {
		return nil
	}
	answer, err := m.client.Do(ctx, vendorhttp.Call{Method: http.MethodDelete, Path: "/threads/" + remote.ThreadID})
	if err != nil {
		return err
	}
	return answer.Object()
}

func (m *model) ReadThread(ctx context.Context, remote normalize.Remote) (adapters.RemoteThread, error) {
	answer, err := m.client.Do(ctx, vendorhttp.Call{Method: http.MethodGet, Path: "/threads/" + remote.ThreadID})
	if err != nil {
		return adapters.RemoteThread{}, err
	}
	var thread struct{ Thread, Mode string }
	if err := answer.Object(); err != nil {
		return adapters.RemoteThread{}, err
	}
	if err := json.Unmarshal(answer.Body, &thread); err != nil || thread.Thread == "" {
		return adapters.RemoteThread{}, answer.Invalid("no thread")
	}
	return adapters.RemoteThread{
		Remote: normalize.Remote{ThreadID: thread.Thread}, Update: normalize.ThreadUpdate{Mode: normalize.Mode(thread.Mode)},
	}, nil
}

func (m *model) SwitchMode(ctx context.Context, remote normalize.Remote, mode normalize.Mode) error {
	if m.mode != nil {
		mode = m.mode(mode)
	}
	answer, err := m.client.Do(ctx, vendorhttp.Call{Method: http.MethodPost, Path: "/threads/" + remote.ThreadID + "/mode/" + string(mode)})
	if err != nil {
		return err
	}
	return answer.Object()
}

// modelTwin is the vendor.
type modelTwin struct {
	key     normalize.Secret
	mu      sync.Mutex
	threads map[string]*modelThread
	routes  http.ServeMux
}

type modelThread struct {
	lines []map[string]string
	texts []string
	mode  string
}

func newModelTwin(key normalize.Secret) *modelTwin {
	t := &modelTwin{key: key, threads: map[string]*modelThread{}}
	t.routes.HandleFunc("POST /api/messages", t.send)
	t.routes.HandleFunc("GET /api/threads/{id}/from/{from}/limit/{limit}", t.list)
	t.routes.HandleFunc("GET /api/threads/{id}", t.one(func(th *modelThread) any { return map[string]string{"mode": th.mode} }))
	t.routes.HandleFunc("POST /api/threads/{id}/mode/human", t.one(func(th *modelThread) any { th.mode = "human"; return nil }))
	t.routes.HandleFunc("POST /api/threads/{id}/mode/ai", t.one(func(th *modelThread) any { th.mode = "ai"; return nil }))
	t.routes.HandleFunc("DELETE /api/threads/{id}", func(w http.ResponseWriter, r *http.Request) {
		t.one(func(*modelThread) any { delete(t.threads, r.PathValue("id")); return nil })(w, r)
	})
	return t
}

func (t *modelTwin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !t.key.IsZero() && r.Header.Get("Authorization") != "Bearer "+t.key.Reveal() {
		http.Error(w, "key", http.StatusUnauthorized)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routes.ServeHTTP(w, r)
}

// one answers about one thread, with its id added.
func (t *modelTwin) one(f func(*modelThread) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		thread := t.threads[id]
		if thread == nil {
			http.Error(w, "no such thread", http.StatusNotFound)
			return
		}
		answer := map[string]any{"thread": id}
		if more, ok := f(thread).(map[string]string); ok {
			answer["mode"] = more["mode"]
		}
		_, _ = w.Write(encode(answer))
	}
}

func (t *modelTwin) send(w http.ResponseWriter, r *http.Request) {
	var said struct {
		Thread, Text string
		Stream       bool
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &said); err != nil {
		http.Error(w, "JSON", http.StatusBadRequest)
		return
	}
	if said.Thread == "" {
		said.Thread = fmt.Sprint("t-", len(t.threads)+1)
		t.threads[said.Thread] = &modelThread{mode: "ai"}
	}
	thread := t.threads[said.Thread]
	if thread == nil {
		http.Error(w, "no such thread", http.StatusNotFound)
		return
	}
	thread.texts = append(thread.texts, said.Text)
	thread.lines = append(thread.lines, map[string]string{"role": "user", "text": said.Text})
	if thread.mode == "human" {
		_, _ = w.Write(encode(map[string]any{"thread": said.Thread, "silent": true}))
		return
	}
	reply := bot.Answer(len(thread.texts), thread.texts[0], said.Text)
	thread.lines = append(thread.lines, map[string]string{"role": "assistant", "text": reply})
	if !said.Stream {
		_, _ = w.Write(encode(map[string]any{"thread": said.Thread, "reply": reply}))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, piece := range bot.Pieces(reply) {
		fmt.Fprintf(w, "data: %s\n\n", bytes.TrimSpace(encode(map[string]any{"thread": said.Thread, "piece": piece})))
		w.(http.Flusher).Flush()
	}
	fmt.Fprintf(w, "data: %s\n\n", bytes.TrimSpace(encode(map[string]any{"thread": said.Thread, "end": true})))
}

func (t *modelTwin) list(w http.ResponseWriter, r *http.Request) {
	thread := t.threads[r.PathValue("id")]
	if thread == nil {
		http.Error(w, "no such thread", http.StatusNotFound)
		return
	}
	from, _ := strconv.Atoi(r.PathValue("from"))
	limit, _ := strconv.Atoi(r.PathValue("limit"))
	lines := slices.Clone(thread.lines[min(from, len(thread.lines)):])
	answer := map[string]any{"messages": lines}
	if limit > 0 && limit < len(lines) {
		answer["messages"], answer["next"] = lines[:limit], from+limit
	}
	_, _ = w.Write(encode(answer))
}
