package conversationstwin

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// storagePath is where the twin's own storage lives, outside of the API.
const storagePath = "/storage/"

// maxFile is the largest file that is taken.
const maxFile = 16 << 20

type attachment struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Filename string `json:"filename"`
	File     string `json:"file"`
}

// upload is a place in the storage; content is nil until it was stored.
type upload struct {
	fields  [][2]string // what a presigned upload must say, in this order
	stored  bool
	content []byte
}

// documentTypes are what the vendor documents for the one-step upload.
var documentTypes = []string{"doc", "docx", "txt", "pdf", "md", "xls", "xlsx", "csv", "ppt", "pptx", "json", "jsonl"}

var kinds = map[string]string{
	"png": "image", "jpg": "image", "jpeg": "image", "gif": "image", "webp": "image",
	"mp3": "audio", "wav": "audio", "ogg": "audio", "m4a": "audio",
	"mp4": "video", "mov": "video", "webm": "video",
}

func extension(filename string) string {
	return strings.ToLower(strings.TrimPrefix(path.Ext(filename), "."))
}

func kindOf(filename string) string {
	if kind := kinds[extension(filename)]; kind != "" {
		return kind
	}
	return "other"
}

// fileURL is where the storage serves a file.
func fileURL(r *http.Request, key string) string {
	return origin(r) + (&url.URL{Path: storagePath + key}).EscapedPath()
}

// keep makes an attachment. Call it with the lock held.
func (t *Twin) keep(kind, filename, file string) attachment {
	a := attachment{ID: newID(), Type: kind, Filename: filename, File: file}
	t.attachments = append(t.attachments, a)
	return a
}

// findAttachment gives nil where there is none. Call it with the lock held.
func (t *Twin) findAttachment(id string) *attachment {
	for i := range t.attachments {
		if strings.EqualFold(t.attachments[i].ID, id) {
			return &t.attachments[i]
		}
	}
	return nil
}

// uploadOneStep takes a document in the field `file` of a form.
func (t *Twin) uploadOneStep(w http.ResponseWriter, r *http.Request, _ string) {
	t.takeForm(w, r, documentTypes)
}

// createAttachment registers what the storage holds, or takes a form with the file
// itself.
func (t *Twin) createAttachment(w http.ResponseWriter, r *http.Request, _ string) {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "multipart/form-data" {
		t.takeForm(w, r, nil)
		return
	}
	t.register(w, r)
}

func (t *Twin) registerInConversation(w http.ResponseWriter, r *http.Request, id string) {
	t.mu.Lock()
	c := t.find(id)
	t.mu.Unlock()
	if c == nil {
		notFound(w)
		return
	}
	t.register(w, r)
}

func (t *Twin) takeForm(w http.ResponseWriter, r *http.Request, types []string) {
	parts, wrong, status := readForm(r)
	if status != 0 {
		fail(w, status, fmt.Sprintf("Unsupported media type %q in request.", r.Header.Get("Content-Type")))
		return
	}
	var file *formPart
	for i, p := range parts {
		switch {
		case p.name != "file":
			wrong.add(p.name, unknownField)
		case file != nil:
			wrong.add("file", "Given more than once.")
		default:
			file = &parts[i]
		}
	}
	switch {
	case file == nil || file.filename == "":
		wrong.add("file", "No file was submitted.")
	case len(file.content) == 0:
		wrong.add("file", "The submitted file is empty.")
	case types != nil && !slices.Contains(types, extension(file.filename)):
		wrong.add("file", fmt.Sprintf("File extension %q is not allowed.", extension(file.filename)))
	}
	if len(wrong) > 0 {
		answer(w, http.StatusBadRequest, wrong)
		return
	}
	key := newKey(file.filename)
	t.mu.Lock()
	t.uploads[key] = &upload{stored: true, content: file.content}
	made := t.keep(kindOf(file.filename), file.filename, fileURL(r, key))
	t.mu.Unlock()
	answer(w, http.StatusCreated, made)
}

func newKey(filename string) string { return "media/chat/attachment/" + newID() + "/" + filename }

// presign hands out a place in the storage, and the fields that its form must
// have.
func (t *Twin) presign(w http.ResponseWriter, r *http.Request, _ string) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	filename := f.text("filename", true)
	if filename == "" || strings.ContainsAny(filename, `/\`) {
		f.problems.add("filename", "Enter a valid file name.")
	}
	if model := f.text("modelName", true); model != "attachment" {
		f.problems.add("modelName", fmt.Sprintf("%q is not a valid choice.", model))
	}
	if field := f.text("fieldName", true); field != "file" {
		f.problems.add("fieldName", fmt.Sprintf("%q is not a valid choice.", field))
	}
	if f.number("fileSize", true) > maxFile {
		f.problems.add("fileSize", "The file is too large.")
	}
	if !f.finish(w) {
		return
	}
	key := newKey(filename)
	u := &upload{fields: [][2]string{
		{"key", key},
		{"x-amz-algorithm", "AWS4-HMAC-SHA256"},
		{"x-amz-credential", "sandbox/storage"},
		{"x-amz-date", "20260304T101500Z"},
		{"policy", newID()},
		{"x-amz-signature", newID()},
	}}
	t.mu.Lock()
	t.uploads[key] = u
	t.mu.Unlock()
	// The order of the fields is part of the answer, so it is written by hand.
	var b strings.Builder
	fmt.Fprintf(&b, `{"url":%s,"fields":{`, encode(origin(r)+storagePath))
	for i, field := range u.fields {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", encode(field[0]), encode(field[1]))
	}
	b.WriteString("}}")
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, b.String())
}

func (t *Twin) register(w http.ResponseWriter, r *http.Request) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := f.text("file", true)
	if u := t.uploads[key]; key != "" && (u == nil || !u.stored) {
		f.problems.add("file", "There is no such file in the storage.")
	}
	filename := f.text("filename", true)
	kind := f.choice("type", "other", "image", "video", "audio", "sticker")
	if !f.finish(w) {
		return
	}
	answer(w, http.StatusCreated, t.keep(kind, filename, fileURL(r, key)))
}

func (t *Twin) listAttachments(w http.ResponseWriter, r *http.Request, _ string) {
	query, wrong := parameters(r, "page", "pageSize")
	t.mu.Lock()
	defer t.mu.Unlock()
	answerByNumber(w, r, query, wrong, len(t.attachments), func(i int) any { return t.attachments[i] })
}

func (t *Twin) readAttachment(w http.ResponseWriter, _ *http.Request, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.findAttachment(id); a != nil {
		answer(w, http.StatusOK, *a)
		return
	}
	notFound(w)
}

// changeAttachment changes the name and the type; with PUT both must be there.
func (t *Twin) changeAttachment(w http.ResponseWriter, r *http.Request, id string) {
	f, ok := readFields(w, r)
	if !ok {
		return
	}
	whole := r.Method == http.MethodPut
	filename := f.text("filename", whole)
	_, typed := f.value("type", whole)
	kind := f.choice("type", "other", "image", "video", "audio", "sticker")
	if !f.finish(w) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.findAttachment(id)
	if a == nil {
		notFound(w)
		return
	}
	if filename != "" {
		a.Filename = filename
	}
	if typed {
		a.Type = kind
	}
	answer(w, http.StatusOK, *a)
}

func (t *Twin) deleteAttachment(w http.ResponseWriter, _ *http.Request, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, a := range t.attachments {
		if a.ID == id {
			t.attachments = slices.Delete(t.attachments, i, i+1)
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	notFound(w)
}

func (t *Twin) allowedFileTypes(w http.ResponseWriter, _ *http.Request, _ string) {
	answer(w, http.StatusOK, documentTypes)
}

// serveStorage plays the storage: it takes presigned forms and gives files back.
// It is nobody of the API's: a request that carries an API key is refused.
func (t *Twin) serveStorage(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		storageError(w, http.StatusBadRequest, "InvalidArgument", "Only one authentication mechanism is allowed.")
	case r.Method == http.MethodGet:
		u := t.uploads[strings.TrimPrefix(r.URL.Path, storagePath)]
		if u == nil || !u.stored {
			storageError(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(u.content)
	case r.Method == http.MethodPost && r.URL.Path == storagePath:
		t.store(w, r)
	default:
		storageError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed.")
	}
}

// store takes a form whose fields are those that were handed out, in their order,
// with the file as the last one.
func (t *Twin) store(w http.ResponseWriter, r *http.Request) {
	parts, wrong, status := readForm(r)
	if status != 0 || len(wrong) > 0 || len(parts) == 0 {
		storageError(w, http.StatusPreconditionFailed, "PreconditionFailed", "The body must be a form of multipart/form-data.")
		return
	}
	last := len(parts) - 1
	u := t.uploads[string(parts[0].content)]
	if u == nil || len(u.fields) != last || parts[last].name != "file" {
		storageError(w, http.StatusForbidden, "AccessDenied", "Invalid according to policy.")
		return
	}
	for i, field := range u.fields {
		if parts[i].name != field[0] || string(parts[i].content) != field[1] {
			storageError(w, http.StatusForbidden, "AccessDenied", "Invalid according to policy.")
			return
		}
	}
	u.stored, u.content = true, parts[last].content
	w.WriteHeader(http.StatusNoContent)
}

func storageError(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
}

type formPart struct {
	name     string
	filename string
	content  []byte
}

// readForm reads a form's parts in their order. The status is not 0 where the
// request is no form at all.
func readForm(r *http.Request) (parts []formPart, wrong problems, status int) {
	wrong = problems{}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		return nil, wrong, http.StatusUnsupportedMediaType
	}
	form := multipart.NewReader(r.Body, params["boundary"])
	for {
		p, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return parts, wrong, 0
		}
		if err == nil {
			part := formPart{name: p.FormName(), filename: p.FileName()}
			if part.content, err = io.ReadAll(io.LimitReader(p, maxFile+1)); err == nil && len(part.content) <= maxFile {
				parts = append(parts, part)
				continue
			}
		}
		wrong.add("non_field_errors", "The form could not be read.")
		return parts, wrong, 0
	}
}
