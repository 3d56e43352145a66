package rest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

// The placeholders that the templates of a call may have.
var (
	ofBot      = []string{"bot"}
	ofRemote   = slices.Concat(ofBot, []string{"remote_id", "remote_user_id"})
	ofUser     = []string{"user.id", "user.name", "user.email", "user.phone", "user.info"}
	ofThread   = slices.Concat(ofUser, []string{"thread.id", "thread.uuid", metadata})
	ofStoring  = slices.Concat(ofRemote, ofThread, []string{"text", "attachments", "message.id", "message.uuid", "author.name"})
	ofSending  = slices.Concat(ofStoring, []string{"stream", "history"})
	ofPages    = []string{"page.limit", "page.cursor"}
	ofCreating = slices.Concat(ofRemote, ofThread)
)

// Check reports what is missing in a description and what does not fit together:
// calls without a path, placeholders that stand for nothing there, answers of which
// nothing is read.
func (s *Settings) Check(report func(field, problem string)) {
	c := checker{report}
	s.checkAccess(report)
	c.text("remote_id", s.RemoteID, slices.Concat(ofBot, ofThread))
	c.text("remote_user_id", s.RemoteUserID, slices.Concat(ofBot, ofThread))
	s.checkSend(c)
	s.checkStream(c)
	s.checkHistory(c)
	s.checkFiles(c)
	s.checkPoll(report)
	c.errors(&s.Errors)
	if o := s.SendToHuman; o != nil {
		c.call("send_to_human", o.Call, ofStoring, "text")
	}
	if o := s.SendAsOperator; o != nil {
		c.call("send_as_operator", o.Call, ofStoring, "text")
	}
	if u := s.CreateUser; u != nil {
		c.call("create_user", u.Call, slices.Concat(ofBot, ofUser))
		c.needs("create_user.id", u.ID, "where the id of the person is")
	}
	if t := s.CreateThread; t != nil {
		c.call("create_thread", t.Call, ofCreating)
		if s.RemoteID == "" {
			c.needs("create_thread.thread.remote_id", t.Thread.RemoteID, "where the id of the conversation is")
		}
	}
	if t := s.ReadThread; t != nil {
		c.ofThread("read_thread", t.Call)
	}
	if l := s.ListThreads; l != nil {
		c.call("list_threads", l.Call, slices.Concat(ofBot, ofPages))
		c.pages("list_threads", &l.Pages, l.Call)
		c.needs("list_threads.each.remote_id", l.Each.RemoteID, "where the id of a conversation is")
	}
	if l := s.ListMessages; l != nil {
		c.ofThread("list_messages", l.Call, ofPages...)
		c.pages("list_messages", &l.Pages, l.Call)
		c.readings("list_messages.each", l.Each)
		if len(l.Each) == 0 {
			report("list_messages.each", "is missing: how an item is read")
		}
	}
	if m := s.SwitchMode; m != nil {
		c.ofThread("switch_mode", m.Call, "mode")
		if !slices.Contains(c.templates("switch_mode", m.Call, slices.Concat(ofRemote, []string{"mode"})), "mode") {
			c.report("switch_mode", "has no {{mode}}")
		}
		c.modes("switch_mode.modes", m.Modes)
	}
	if d := s.DeleteThread; d != nil {
		c.ofThread("delete_thread", *d)
	}
	if e := s.Escalate; e != nil {
		c.ofThread("escalate", *e, "note")
	}
	if w := s.RegisterWebhook; w != nil {
		c.call("register_webhook", *w, slices.Concat(ofRemote, []string{"webhook.url", "webhook.token"}), "webhook.url")
	}
}

// checkAccess checks where the vendor is and what every request carries.
func (s *Settings) checkAccess(report func(field, problem string)) {
	switch s.BaseURL {
	case "":
		report("base_url", "is missing: write where the API lives, as https://api.example.com/v1")
	case adapters.Sandbox:
		report("base_url", "cannot be sandbox: there is no simulated vendor of a description; write where the API lives, "+
			"or try recorded traffic with chatmux adapter test --sample")
	}
	if !s.APIKey.IsZero() && !isHeader(s.Auth.Header) {
		report("auth.header", "is no name of a header")
	}
	if strings.ContainsFunc(s.Auth.Scheme, func(r rune) bool { return r < ' ' || r > '~' }) {
		report("auth.scheme", "has signs that no header may have")
	}
	for name := range s.Headers {
		at := "headers." + name
		switch canonical := http.CanonicalHeaderKey(name); {
		case !isHeader(name):
			report(at, "is no name of a header")
		case canonical == http.CanonicalHeaderKey(s.Auth.Header):
			report(at, "is the header of the key: write api_key")
		case slices.Contains(ownHeaders, canonical):
			report(at, "is a header that chatmux writes itself")
		}
	}
}

// ownHeaders are written by the client and the HTTP transport. An Idempotency-Key
// would make net/http itself repeat a POST.
var ownHeaders = []string{
	"Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "Idempotency-Key", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "User-Agent", "X-Idempotency-Key",
}

func isHeader(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

func (s *Settings) checkSend(c checker) {
	c.call("send", s.Send.Call, ofSending, "text")
	c.firstPath("send", s.Send.FirstPath)
	r := &s.Send.Reply
	c.readings("send.reply.each", r.Each)
	stateless := s.History != nil
	switch {
	case !stateless && r.RemoteID == "" && s.RemoteID == "" && s.CreateThread == nil:
		c.report("send.reply.remote_id", "is missing: where the conversation's id is. Where it is ours to choose, write remote_id; "+
			"where the vendor keeps no conversation, history")
	case len(r.Each) == 0 && r.Items != "":
		c.report("send.reply.each", "is missing: how a reply is read")
	case len(r.Each) == 0 && r.Sent.ID == "":
		c.report("send.reply.each", "is missing: how the reply is read; or sent.id, where the answer comes later")
	}
}

func (s *Settings) checkStream(c checker) {
	t := s.Stream
	if t == nil {
		return
	}
	if t.Path != "" {
		c.call("stream", t.Call, ofSending)
	} else {
		c.templates("stream", t.Call, ofSending)
	}
	if t.Path != "" || t.Body != nil || t.Query != nil {
		s.checkStreamed(c, t.after(s.Send.Call))
	}
	c.firstPath("stream", t.FirstPath)
	c.needs("stream.delta", t.Delta, "where a piece of the text is")
	if t.Done.Path == "" && t.End == "" {
		c.report("stream.done", "is missing: by which event, or by which last word (end), the vendor says that its answer is whole")
	}
	c.condition("stream.done", t.Done)
	c.condition("stream.when", t.When)
}

// checkStreamed looks whether all that goes along with send does so in a stream.
func (s *Settings) checkStreamed(c checker, call Call) {
	silent := checker{func(string, string) {}} // what comes from send was reported there
	used := silent.templates("stream", call, ofSending)
	if !slices.Contains(used, "text") {
		c.report("stream", "has no {{text}}")
	}
	for _, name := range []string{"history", "attachments"} {
		if s.uses(name) && !slices.Contains(used, name) {
			c.report("stream.body", "has no {{"+name+"}}, which goes along with send")
		}
	}
}

func (s *Settings) checkHistory(c checker) {
	uses := s.uses("history")
	h := s.History
	switch {
	case h == nil && uses:
		c.report("history", "is missing: what {{history}} stands for")
	case h == nil:
		return
	case !uses:
		c.report("send.body", "has no {{history}}, so that what was said before would not go along")
	case s.RemoteID != "" || s.CreateThread != nil || s.Send.Reply.RemoteID != "":
		c.report("history", "is for a vendor that keeps no conversation, and here its id is described")
	}
	if h == nil {
		return
	}
	used := c.tree("history.each", h.Each, []string{"role", "text"})
	if !slices.Contains(used, "text") {
		c.report("history.each", "has no {{text}}")
	}
	for role := range h.Roles {
		if role != string(normalize.RoleUser) && role != string(normalize.RoleAssistant) && role != string(normalize.RoleOperator) {
			c.report("history.roles."+role, "is no role that goes along: write user, assistant, operator")
		}
	}
	if h.Roles[string(normalize.RoleUser)] == "" || h.Roles[string(normalize.RoleAssistant)] == "" {
		c.report("history.roles", "needs the vendor's words for user and for assistant")
	}
}

func (s *Settings) checkFiles(c checker) {
	uses := s.uses("attachments")
	f := s.Attachments
	switch {
	case f == nil && uses:
		c.report("attachments", "is missing: what {{attachments}} stands for")
	case f != nil && !uses:
		c.report("send.body", "has no {{attachments}}, so that files would not go along")
	}
	if f == nil {
		return
	}
	if !slices.Contains(c.tree("attachments.each", f.Each, []string{"url", "type", "filename", "content_type"}), "url") {
		c.report("attachments.each", "has no {{url}}")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Types)) {
		if !slices.Contains(fileKinds, normalize.MessageType(name)) {
			c.report("attachments.types."+name, "is no type of a file: write image, audio, video, document, sticker, other")
		}
	}
}

var fileKinds = []normalize.MessageType{
	normalize.TypeImage, normalize.TypeAudio, normalize.TypeVideo, normalize.TypeDocument, normalize.TypeSticker, normalize.TypeOther,
}

// uses reports whether a body that sends a message has a placeholder.
func (s *Settings) uses(name string) bool {
	return slices.Contains(names(compiled(s.Send.Body)), name)
}

func (s *Settings) checkPoll(report func(field, problem string)) {
	switch {
	case s.Poll == nil:
	case s.ListMessages == nil:
		report("poll", "needs list_messages: that is what is asked for the answer")
	case s.Send.Reply.Sent.ID == "":
		report("poll", "needs send.reply.sent.id: the answer is what stands behind that message")
	case s.Stream != nil:
		report("poll", "is for answers that come later, and here they are streamed")
	}
}

// checker reports what is wrong with the parts of a description.
type checker struct{ report func(field, problem string) }

func (c checker) needs(field string, p Path, what string) {
	if p == "" {
		c.report(field, "is missing: "+what)
	}
}

// call checks a call that must be there, whose placeholders are known and among
// which are some that it must have.
func (c checker) call(field string, call Call, known []string, must ...string) {
	switch {
	case call.Path == "":
		c.report(field+".path", "is missing: the path below base_url")
	case !strings.HasPrefix(string(call.Path), "/") || strings.ContainsAny(string(call.Path), "?#"):
		c.report(field+".path", "begins with a slash and has no ? and no #: parameters go into query")
	}
	if call.Method == http.MethodGet && call.Body != nil {
		c.report(field+".body", "is not sent with GET")
	}
	used := c.templates(field, call, known)
	for _, name := range must {
		if !slices.Contains(used, name) {
			c.report(field, fmt.Sprintf("has no {{%s}}", name))
		}
	}
}

// ofThread checks a call about one conversation, which it must name.
func (c checker) ofThread(field string, call Call, more ...string) {
	known := slices.Concat(ofRemote, more)
	c.call(field, call, known)
	used := c.templates(field, call, known)
	if !slices.Contains(used, "remote_id") && !slices.Contains(used, "remote_user_id") {
		c.report(field, "has no {{remote_id}}, so that it is about no conversation")
	}
}

func (c checker) firstPath(field string, path Text) {
	if path != "" && !strings.HasPrefix(string(path), "/") {
		c.report(field+".first_path", "begins with a slash")
	}
	c.text(field+".first_path", path, slices.Concat(ofBot, ofThread))
}

// templates checks the placeholders of a call, and lists them.
func (c checker) templates(field string, call Call, known []string) []string {
	used := c.text(field+".path", call.Path, known)
	for _, name := range slices.Sorted(maps.Keys(call.Query)) {
		used = append(used, c.text(field+".query."+name, call.Query[name], known)...)
	}
	return append(used, c.tree(field+".body", call.Body, known)...)
}

func (c checker) text(field string, text Text, known []string) []string {
	used := names(text.must())
	c.known(field, used, known)
	return used
}

func (c checker) tree(field string, tree map[string]any, known []string) []string {
	if tree == nil {
		return nil
	}
	used := names(compileTree(tree, field, c.report))
	c.known(field, used, known)
	return used
}

// known reports placeholders that stand for nothing in this call.
func (c checker) known(field string, used, known []string) {
	for _, name := range used {
		if slices.Contains(known, name) || slices.Contains(known, metadata) && strings.HasPrefix(name, metadata) && name != metadata {
			continue
		}
		said := strings.Replace(strings.Join(known, ", "), metadata, metadata+"NAME", 1)
		c.report(field, "has a placeholder that stands for nothing here; known here: "+said)
		return
	}
}

func (c checker) readings(field string, each []Reading) {
	for i, r := range each {
		at := fmt.Sprintf("%s[%d]", field, i)
		if r.Text == "" && r.Attachment == "" {
			c.report(at+".text", "is missing: where the text is")
		}
		switch {
		case r.Role == "" && r.RolePath == "":
			c.report(at+".role", "is missing: who speaks, or role_path and roles")
		case r.RolePath != "" && len(r.Roles) == 0:
			c.report(at+".roles", "is missing: what the vendor's words at role_path mean")
		}
		c.words(at+".roles", r.Roles, "user", "assistant", "operator", "system")
		c.condition(at+".when", r.When)
	}
}

func (c checker) words(field string, words map[string]string, known ...string) {
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if !slices.Contains(known, words[word]) {
			c.report(field+"."+word, "must be one of "+strings.Join(known, ", "))
		}
	}
}

func (c checker) condition(field string, condition Condition) {
	if condition.Path == "" && len(condition.Is) > 0 {
		c.report(field+".path", "is missing: where the value is")
	}
}

func (c checker) modes(field string, modes map[string]any) {
	for _, mode := range []normalize.Mode{normalize.ModeAI, normalize.ModeHuman} {
		if modes[string(mode)] == nil {
			c.report(field, "needs a value for ai and one for human")
			return
		}
	}
	if len(modes) > 2 {
		c.report(field, "knows ai and human, and no other mode")
	}
}

func (c checker) pages(field string, p *Pages, call Call) {
	c.needs(field+".items", p.Items, "where the list is")
	var ways int
	for _, way := range []bool{p.Numbered, p.Next != ""} {
		if way {
			ways++
		}
	}
	used := c.templates(field, call, slices.Concat(ofRemote, ofPages))
	asks := slices.Contains(used, "page.cursor")
	switch {
	case ways == 2:
		c.report(field+".numbered", "and next are two ways: a list has pages by number or by cursor")
	case ways == 1 && !asks:
		c.report(field, "has no {{page.cursor}}, so that every page would be the first")
	case ways == 0 && asks:
		c.report(field+".next", "is missing: where the cursor of the next page is, or numbered: true")
	}
	if p.Next == "" && (p.NextParam != "" || p.More != "") {
		c.report(field+".next", "is missing: where the cursor of the next page is")
	}
}

func (c checker) errors(e *Errors) {
	for i, when := range e.When {
		c.needs(fmt.Sprintf("errors.when[%d].path", i), when.Path, "where the value is")
	}
	for i, k := range e.Kinds {
		at := fmt.Sprintf("errors.kinds[%d]", i)
		if k.Kind == "" {
			c.report(at+".kind", "is missing: what these errors are")
		}
		if len(k.Code) == 0 && len(k.Message) == 0 && len(k.Status) == 0 {
			c.report(at, "fits all errors: name codes, sentences or statuses")
		}
		if len(k.Code) > 0 && len(e.Code) == 0 {
			c.report(at+".code", "needs errors.code: where the vendor's code is")
		}
		if len(k.Message) > 0 && len(e.Message) == 0 {
			c.report(at+".message", "needs errors.message: where the vendor's sentence is")
		}
	}
}
