package httpapi

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// Sizes of what comes in, in characters unless said otherwise. The OpenAPI
// document names the same ones.
const (
	maxText          = 65536
	maxField         = 512  // a name, an id, a title, an address, a header
	maxQuery         = 1000 // text that is searched for
	maxInfo          = 4096
	maxURL           = 2048
	maxName          = 128 // of a backend, a route, a caller, a dialect
	maxMetadata      = 50  // keys
	maxMetadataKey   = 64
	maxMetadataValue = 512
	maxAttachments   = 10
	maxHeaders       = 50  // of an explanation
	maxKey           = 255 // bytes of an Idempotency-Key
	maxProblems      = 50  // told about one request

	defaultPage = 50
	maxPage     = 200
)

// input collects all that is wrong with a request's query, headers and body, so
// that it is told at once. Its methods return the zero value for what is absent,
// null or wrong.
type input struct {
	path     []string // where in the body we are
	problems []normalize.FieldError
	left     int  // problems beyond maxProblems
	plain    bool // a problem that is not about a URL's scheme
}

// wrong notes a problem with the value that the path leads to.
func (in *input) wrong(format string, args ...any) {
	in.plain = true
	in.note(format, args...)
}

func (in *input) note(format string, args ...any) {
	if len(in.problems) == maxProblems {
		in.left++
		return
	}
	var field strings.Builder
	for i, step := range in.path {
		if step = normalize.Excerpt(step, maxMetadataKey); step == "" { // a client may make up any name
			step = `""`
		}
		if i > 0 && step[0] != '[' {
			field.WriteByte('.')
		}
		field.WriteString(step)
	}
	in.problems = append(in.problems, normalize.FieldError{Field: field.String(), Detail: fmt.Sprintf(format, args...)})
}

// at runs fn with one more step on the path.
func (in *input) at(step string, fn func()) {
	in.path = append(in.path, step)
	fn()
	in.path = in.path[:len(in.path)-1]
}

// err gives one error for all problems; nil where there are none.
func (in *input) err() error {
	if len(in.problems) == 0 {
		return nil
	}
	e := &normalize.Error{Kind: normalize.KindInvalidRequest, Fields: in.problems}
	if !in.plain {
		e.Kind = normalize.KindURLNotAllowed
	}
	first := in.problems[0]
	e.Detail = first.Field + ": " + first.Detail
	if more := len(in.problems) - 1 + in.left; more > 0 {
		e.Detail += fmt.Sprintf(" (and %d more)", more)
	}
	return e
}

// object visits the members of an object. fn reports whether it knows the name.
func (in *input) object(v value, fn func(name string, v value) bool) {
	switch v.kind() {
	case 'n':
		return
	case '{':
	default:
		in.wrong("must be an object")
		return
	}
	for name, member := range v.members {
		in.at(name, func() {
			if !fn(name, member) {
				in.wrong("is not a field of this request")
			}
		})
	}
}

// text reads a string of up to limit characters.
func (in *input) text(v value, limit int) string {
	switch v.kind() {
	case 'n':
		return ""
	case '"':
	default:
		in.wrong("must be a string")
		return ""
	}
	s := v.str()
	if !in.fits(s, limit) {
		return ""
	}
	return s
}

// fits checks a text's length and characters.
func (in *input) fits(s string, limit int) bool {
	// What has no more bytes than that has no more characters either.
	if len(s) > limit && utf8.RuneCountInString(s) > limit {
		in.wrong("must have at most %d characters", limit)
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			in.wrong("must have no control characters but tab, LF and CR, and has U+%04X", c)
			return false
		}
	}
	return true
}

// flag reads a boolean; nil where it is absent.
func (in *input) flag(v value) *bool {
	switch v.kind() {
	case 't', 'f':
		b := v.kind() == 't'
		return &b
	case 'n':
	default:
		in.wrong("must be true or false")
	}
	return nil
}

// oneOf reads a string that is one of a few.
func oneOf[T ~string](in *input, v value, allowed ...T) T {
	if v.kind() == 'n' {
		return ""
	}
	if v.kind() == '"' {
		if s := T(v.str()); slices.Contains(allowed, s) {
			return s
		}
	}
	in.wrong("must be %s", choice(allowed))
	return ""
}

func choice[T ~string](allowed []T) string {
	var b strings.Builder
	for i, a := range allowed {
		switch {
		case i == 0:
		case i == len(allowed)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(a))
	}
	return b.String()
}

// pairs reads an object of strings, and hands over each member, a null one with
// ok false.
func (in *input) pairs(v value, limit, limitKey, limitValue int, add func(name, text string, ok bool)) {
	n := 0
	in.object(v, func(name string, v value) bool {
		n++
		if name == "" {
			in.wrong("a name must not be empty")
			return true
		}
		if n > limit || !in.fits(name, limitKey) {
			return true
		}
		found := len(in.problems)
		text := in.text(v, limitValue)
		if found == len(in.problems) {
			add(name, text, v.kind() != 'n')
		}
		return true
	})
	if n > limit {
		in.wrong("must have at most %d names", limit)
	}
}

func (in *input) metadata(v value) (m map[string]string) {
	in.pairs(v, maxMetadata, maxMetadataKey, maxMetadataValue, func(name, text string, ok bool) {
		if !ok {
			return
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[name] = text
	})
	return m
}

func (in *input) metadataPatch(v value) (m map[string]*string) {
	in.pairs(v, maxMetadata, maxMetadataKey, maxMetadataValue, func(name, text string, ok bool) {
		if m == nil {
			m = make(map[string]*string)
		}
		if m[name] = nil; ok {
			m[name] = &text
		}
	})
	return m
}

func (in *input) user(v value) (u normalize.User) {
	in.object(v, func(name string, v value) bool {
		switch name {
		case "id":
			u.ID = in.text(v, maxField)
		case "name":
			u.Name = in.text(v, maxField)
		case "email":
			u.Email = in.text(v, maxField)
		case "phone":
			u.Phone = in.text(v, maxField)
		case "info":
			u.Info = in.text(v, maxInfo)
		default:
			return false
		}
		return true
	})
	return u
}

func (in *input) author(v value) (a normalize.Author) {
	in.object(v, func(name string, v value) bool {
		switch name {
		case "id":
			a.ID = in.text(v, maxField)
		case "name":
			a.Name = in.text(v, maxField)
		case "email":
			a.Email = in.text(v, maxField)
		case "avatar_url":
			a.AvatarURL = in.text(v, maxURL)
		default:
			return false
		}
		return true
	})
	return a
}

func (in *input) attachments(v value) (list []normalize.Attachment) {
	switch v.kind() {
	case 'n':
		return nil
	case '[':
	default:
		in.wrong("must be a list")
		return nil
	}
	for i, v := range v.elements {
		if i == maxAttachments {
			in.wrong("must have at most %d attachments", maxAttachments)
			break
		}
		in.at("["+strconv.Itoa(i)+"]", func() { list = append(list, in.attachment(v)) })
	}
	return list
}

func (in *input) attachment(v value) (a normalize.Attachment) {
	if v.kind() != '{' {
		in.wrong("must be an object")
		return a
	}
	given := false
	in.object(v, func(name string, v value) bool {
		switch name {
		case "type":
			a.Type = oneOf(in, v, normalize.TypeImage, normalize.TypeAudio, normalize.TypeVideo,
				normalize.TypeDocument, normalize.TypeSticker, normalize.TypeOther)
		case "url":
			given = v.kind() != 'n'
			a.URL = in.url(v)
		case "filename":
			a.Filename = in.text(v, maxField)
		case "content_type":
			a.ContentType = in.text(v, maxField)
		default:
			return false
		}
		return true
	})
	if !given {
		in.at("url", func() { in.wrong("is needed") })
	}
	if a.Type == "" {
		a.Type = typeOf(a.ContentType)
	}
	return a
}

// typeOf says what an attachment is when its sender does not.
func typeOf(contentType string) normalize.MessageType {
	switch kind, _, _ := strings.Cut(contentType, "/"); strings.ToLower(kind) {
	case "":
		return normalize.TypeOther
	case "image":
		return normalize.TypeImage
	case "audio":
		return normalize.TypeAudio
	case "video":
		return normalize.TypeVideo
	}
	return normalize.TypeDocument
}

// url reads an absolute URL that anybody could open: http or https.
func (in *input) url(v value) string {
	problems := len(in.problems)
	s := in.text(v, maxURL)
	if len(in.problems) > problems || v.kind() == 'n' || !in.leads(s) {
		return ""
	}
	return s
}

// leads checks that a text is such a URL.
func (in *input) leads(s string) bool {
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs():
		in.wrong("must be an absolute URL")
	case u.Scheme != "https" && u.Scheme != "http":
		in.note("must begin with https:// or http://")
	case u.Hostname() == "":
		in.wrong("must name a host")
	default:
		return true
	}
	return false
}

// threadField reads a member that describes a thread to be made.
func (in *input) threadField(name string, v value, t *engine.NewThread) bool {
	switch name {
	case "user":
		t.User = in.user(v)
	case "title":
		t.Title = in.text(v, maxField)
	case "backend":
		t.Backend = in.text(v, maxName)
	case "route":
		t.Route = in.text(v, maxName)
	default:
		return false
	}
	return true
}

// oneTarget checks that a new thread names a backend or a route, not both.
func (in *input) oneTarget(t engine.NewThread) {
	if t.Backend != "" && t.Route != "" {
		in.at("route", func() { in.wrong("give a backend or a route, not both") })
	}
}

// newThread reads the body of POST /v1/threads.
func (in *input) newThread(v value) (t engine.NewThread) {
	in.body(v, func(name string, v value) bool {
		switch name {
		case "metadata":
			t.Metadata = in.metadata(v)
		case "mode":
			t.Mode = oneOf(in, v, normalize.ModeAI, normalize.ModeHuman)
		default:
			return in.threadField(name, v, &t)
		}
		return true
	})
	in.oneTarget(t)
	return t
}

// patch reads the body of PATCH /v1/threads/{thread}.
func (in *input) patch(v value) (p engine.ThreadPatch) {
	in.body(v, func(name string, v value) bool {
		switch name {
		case "title":
			if title := in.text(v, maxField); v.kind() != 'n' {
				p.Title = &title
			}
		case "metadata":
			p.Metadata = in.metadataPatch(v)
		case "mode":
			if mode := oneOf(in, v, normalize.ModeAI, normalize.ModeHuman); mode != "" {
				p.Mode = &mode
			}
		case "status":
			if status := oneOf(in, v, normalize.ThreadOpen, normalize.ThreadBlocked, normalize.ThreadEnded); status != "" {
				p.Status = &status
			}
		default:
			return false
		}
		return true
	})
	return p
}

// message is the body of a send.
type message struct {
	engine.SendRequest
	stream *bool
	said   bool // something to say was given, be it right or wrong
}

// messageField reads a member of a send's body.
func (in *input) messageField(name string, v value, m *message) bool {
	switch name {
	case "text":
		if m.Text = in.text(v, maxText); string(v) == `""` {
			in.wrong("must not be empty")
		}
		m.said = m.said || v.kind() != 'n'
	case "attachments":
		m.Attachments = in.attachments(v)
		m.said = m.said || len(m.Attachments) > 0 || v.kind() != 'n' && v.kind() != '['
	case "metadata":
		m.Metadata = in.metadata(v)
	case "role":
		m.Role = oneOf(in, v, normalize.RoleUser, normalize.RoleOperator)
	case "author":
		m.Author = in.author(v)
	case "stream":
		m.stream = in.flag(v)
	default:
		return false
	}
	return true
}

// firstField reads a member of a send's body that may describe the thread too.
func (in *input) firstField(name string, v value, m *message) bool {
	if name == "thread_metadata" {
		m.New.Metadata = in.metadata(v)
		return true
	}
	return in.messageField(name, v, m) || in.threadField(name, v, m.New)
}

// send reads the body of a send.
func (in *input) send(v value, m *message, field func(name string, v value, m *message) bool) {
	if in.body(v, func(name string, v value) bool { return field(name, v, m) }) && !m.said {
		in.at("text", func() { in.wrong("is needed where there are no attachments") })
	}
}

// message reads the body of a send into a thread.
func (in *input) message(v value) (m message) {
	in.send(v, &m, in.messageField)
	return m
}

// first reads the body of a send that makes its thread.
func (in *input) first(v value) (m message) {
	m.New = new(engine.NewThread)
	in.send(v, &m, in.firstField)
	in.oneTarget(*m.New)
	return m
}

// question is the body of an explanation: a message, and where it would come from.
type question struct {
	message
	dialect, bot, caller string
	headers              http.Header
}

// question reads the body of POST /v1/routes/explain. Nothing in it is needed.
func (in *input) question(v value) (q question) {
	q.New = new(engine.NewThread)
	q.headers = make(http.Header)
	in.body(v, func(name string, v value) bool {
		switch name {
		case "dialect":
			q.dialect = in.text(v, maxName)
		case "bot":
			q.bot = in.text(v, maxField)
		case "caller":
			q.caller = in.text(v, maxName)
		case "headers":
			in.pairs(v, maxHeaders, maxField, maxInfo, func(name, text string, ok bool) {
				if ok {
					q.headers.Set(name, text)
				}
			})
		default:
			return in.firstField(name, v, &q.message)
		}
		return true
	})
	in.oneTarget(*q.New)
	return q
}

// feedback reads the body of a feedback.
func (in *input) feedback(v value) (f normalize.Feedback) {
	given := false
	object := in.body(v, func(name string, v value) bool {
		if name != "feedback" {
			return false
		}
		given = v.kind() != 'n'
		f = oneOf(in, v, normalize.FeedbackPositive, normalize.FeedbackNegative, normalize.FeedbackNeutral)
		return true
	})
	if object && !given {
		in.at("feedback", func() { in.wrong("is needed: positive, negative or neutral") })
	}
	return f
}

// target reads the body of a move.
func (in *input) target(v value) (backend, carry string) {
	carry = "none"
	given := false
	object := in.body(v, func(name string, v value) bool {
		switch name {
		case "backend":
			given = v.kind() != 'n'
			if backend = in.text(v, maxName); string(v) == `""` {
				in.wrong("must not be empty")
			}
		case "carry":
			if c := oneOf(in, v, "none", "transcript"); c != "" {
				carry = c
			}
		default:
			return false
		}
		return true
	})
	if object && !given {
		in.at("backend", func() { in.wrong("is needed") })
	}
	return backend, carry
}

// body visits the members of a whole body, and reports whether it is an object.
func (in *input) body(v value, fn func(name string, v value) bool) bool {
	if v.kind() != '{' {
		in.at("body", func() { in.wrong("must be an object") })
		return false
	}
	in.object(v, fn)
	return true
}

// query reads the query string. Parameters that are not in known are problems,
// and so is one that stands there twice.
func (in *input) query(r *http.Request, known ...string) url.Values {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		in.at("query", func() { in.wrong("is not well-formed") })
		return nil
	}
	for name, list := range values {
		in.at(name, func() {
			switch {
			case !slices.Contains(known, name):
				in.wrong("is not a parameter of this request")
			case len(list) > 1:
				in.wrong("is given %d times", len(list))
			case !utf8.ValidString(list[0]):
				in.wrong("must be UTF-8")
			}
		})
	}
	slices.SortFunc(in.problems, func(a, b normalize.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return values
}

// param gives the one value of a parameter; an empty one counts as absent.
func (in *input) param(values url.Values, name string, limit int) (s string) {
	if list := values[name]; len(list) == 1 && utf8.ValidString(list[0]) {
		in.at(name, func() {
			if in.fits(list[0], limit) {
				s = list[0]
			}
		})
	}
	return s
}

func paramOf[T ~string](in *input, values url.Values, name string, allowed ...T) T {
	s := T(in.param(values, name, maxField))
	if s != "" && !slices.Contains(allowed, s) {
		in.at(name, func() { in.wrong("must be %s", choice(allowed)) })
		return ""
	}
	return s
}

// raw reads `include`.
func (in *input) raw(values url.Values) bool { return paramOf(in, values, "include", "raw") == "raw" }

// pageParams are what every list takes.
var pageParams = []string{"limit", "cursor", "order", "include"}

// page reads which page of a list is wanted.
func (in *input) page(values url.Values, ascending bool) engine.Page {
	p := engine.Page{Limit: defaultPage, Ascending: ascending, Raw: in.raw(values), Cursor: in.param(values, "cursor", maxURL)}
	if s := in.param(values, "limit", maxField); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPage || s[0] == '+' {
			in.at("limit", func() { in.wrong("must be a whole number from 1 to %d", maxPage) })
		}
		p.Limit = n
	}
	switch paramOf(in, values, "order", "asc", "desc") {
	case "asc":
		p.Ascending = true
	case "desc":
		p.Ascending = false
	}
	if !visibleASCII(p.Cursor) {
		in.at("cursor", func() { in.wrong("is none of ours") })
	}
	return p
}

var filterParams = append([]string{"backend", "route", "user", "status", "mode", "tag", "updated_after", "q"}, pageParams...)

// filter reads which threads are wanted.
func (in *input) filter(values url.Values) engine.ThreadFilter {
	f := engine.ThreadFilter{
		Backend: in.param(values, "backend", maxName),
		Route:   in.param(values, "route", maxName),
		User:    in.param(values, "user", maxField),
		Status:  paramOf(in, values, "status", normalize.ThreadOpen, normalize.ThreadBlocked, normalize.ThreadEnded),
		Mode:    paramOf(in, values, "mode", normalize.ModeAI, normalize.ModeHuman),
		Tag:     in.param(values, "tag", maxField),
		Query:   in.param(values, "q", maxQuery),
	}
	f.UpdatedAfter = in.moment(values, "updated_after")
	return f
}

// moment reads a time; zero where there is none.
func (in *input) moment(values url.Values, name string) (t time.Time) {
	s := in.param(values, name, maxField)
	if s == "" {
		return t
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		in.at(name, func() {
			in.wrong("must be a time as 2026-03-04T10:15:31Z; a + in a query has to be written %%2B")
		})
	}
	return t
}

// header gives the one value of a header, and whether it is there.
func (in *input) header(h http.Header, name string) (string, bool) {
	list := h.Values(name)
	if len(list) > 1 {
		in.at(name, func() { in.wrong("is given %d times", len(list)) })
		return "", false
	}
	if len(list) == 0 {
		return "", false
	}
	return list[0], true
}

// key reads Idempotency-Key; empty where there is none.
func (in *input) key(h http.Header) string {
	s, given := in.header(h, "Idempotency-Key")
	if given && (s == "" || len(s) > maxKey || !visibleASCII(s)) {
		in.at("Idempotency-Key", func() { in.wrong("must be 1 to %d visible ASCII characters", maxKey) })
		return ""
	}
	return s
}

// timeout reads Chatmux-Timeout; 0 where there is none.
func (in *input) timeout(h http.Header) time.Duration {
	s, given := in.header(h, "Chatmux-Timeout")
	if !given {
		return 0
	}
	d, ok := seconds(s)
	if !ok || d < time.Second || d > 300*time.Second {
		in.at("Chatmux-Timeout", func() { in.wrong("must be seconds from 1 to 300, as 30 or 2.5") })
		return 0
	}
	return d
}

// seconds reads a decimal number without sign or exponent.
func seconds(s string) (time.Duration, bool) {
	whole, fraction, dot := strings.Cut(s, ".")
	if whole == "" || len(whole) > 9 || len(fraction) > 9 || dot && fraction == "" {
		return 0, false
	}
	for _, c := range []byte(whole + fraction) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	d, err := time.ParseDuration(s + "s")
	return d, err == nil
}

// respondAsync says whether the client wants its answer later (RFC 7240).
func respondAsync(h http.Header) bool {
	for _, line := range h.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			token, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(token), "respond-async") {
				return true
			}
		}
	}
	return false
}

// streaming says whether the answer is to be an event stream. The body decides;
// where it says nothing, Accept does.
func streaming(h http.Header, body *bool) bool {
	if body != nil {
		return *body
	}
	for _, line := range h.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if q, qerr := strconv.ParseFloat(params["q"], 64); err == nil && kind == "text/event-stream" && (qerr != nil || q > 0) {
				return true
			}
		}
	}
	return false
}
