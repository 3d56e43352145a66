package httpapi

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"chatmux/normalize"
)

// openAPIDocument describes the API. The tests hold the server's real answers
// against it.
//
//go:embed openapi.json
var openAPIDocument []byte

//go:embed docs
var docsFiles embed.FS

// openAPI is GET /openapi.json.
func (c *call) openAPI() error {
	c.answer(http.StatusOK, openAPIDocument)
	return nil
}

// docsPage is GET /docs: the OpenAPI document for people. The page is whole as it
// comes; its script only adds comfort, and nothing is loaded from elsewhere.
func (c *call) docsPage() error {
	page, err := renderedDocs()
	if err != nil {
		return err
	}
	h := c.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	return c.file("text/html; charset=utf-8", page)
}

// docsFile is GET /docs/{file}: the page's style and script.
func (c *call) docsFile() error {
	kind := map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}[c.pathPart("file")]
	if kind == "" {
		return &normalize.Error{Kind: normalize.KindNotFound}
	}
	content, err := docsFiles.ReadFile("docs/" + c.pathPart("file"))
	if err != nil {
		return err
	}
	return c.file(kind, content)
}

func (c *call) file(contentType string, content []byte) error {
	h := c.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	h.Set("Cache-Control", "no-cache")
	if _, err := c.Write(content); err != nil {
		c.left = true
	}
	return nil
}

var renderedDocs = sync.OnceValues(func() ([]byte, error) {
	page, err := template.ParseFS(docsFiles, "docs/page.html")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, newReference(value(bytes.TrimSpace(openAPIDocument))))
	return b.Bytes(), err
})

// reference is an OpenAPI document as the page shows it, in the document's order.
type reference struct {
	Title, Summary string
	Paragraphs     []string
	Groups         []*group
	Objects        []object
}

type group struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	ID, Method, Path, Summary, Description string
	Parameters, Body                       []field
	BodyName                               string // the object that the body is
	Curl                                   string
	Answers                                []response
}

type response struct {
	Status, Description string
	Object              string // name of an object of the page
	Codes               []string
	Headers             []string
	Example             string
}

type object struct {
	Name, Description string
	Fields            []field
}

type field struct {
	Name, Where string
	Needed      bool
	Type        string
	Object      string // the type is this object of the page, or a list of it
	Description string
}

func newReference(doc value) reference {
	info := doc.get("info")
	ref := reference{
		Title: info.get("title").word(), Summary: info.get("summary").word(),
		Paragraphs: strings.Split(info.get("description").word(), "\n\n"),
	}
	groups := make(map[string]*group)
	for _, tag := range doc.get("tags").items {
		g := &group{Name: tag.get("name").word(), Description: tag.get("description").word()}
		groups[g.Name] = g
		ref.Groups = append(ref.Groups, g)
	}
	for path, methods := range doc.get("paths").members {
		for method, op := range methods.members {
			for _, tag := range op.get("tags").items {
				g := groups[tag.word()]
				g.Operations = append(g.Operations, newOperation(doc, strings.ToUpper(method), path, op))
			}
		}
	}
	for name, schema := range doc.get("components", "schemas").members {
		ref.Objects = append(ref.Objects, object{Name: name, Description: schema.get("description").word(), Fields: fieldsOf(doc, "", schema)})
	}
	return ref
}

func newOperation(doc value, method, path string, op value) operation {
	o := operation{
		ID: op.get("operationId").word(), Method: method, Path: path,
		Summary: op.get("summary").word(), Description: op.get("description").word(),
	}
	example := path
	for _, p := range op.get("parameters").items {
		p = p.resolve(doc)
		f := newField(doc, p.get("name").word(), p.get("schema"))
		f.Where, f.Needed, f.Description = p.get("in").word(), p.get("required").word() == "true", p.get("description").word()
		o.Parameters = append(o.Parameters, f)
		if f.Where == "path" && p.get("example") != nil {
			example = strings.ReplaceAll(example, "{"+f.Name+"}", p.get("example").word())
		}
	}
	body := op.get("requestBody", "content", "application/json")
	if body != nil {
		o.BodyName = lastPart(body.get("schema", "$ref").word())
		o.Body = fieldsOf(doc, "", body.get("schema").resolve(doc))
	}
	o.Curl = curl(method, example, op.get("security") == nil, body.get("example"))
	for status, a := range op.get("responses").members {
		o.Answers = append(o.Answers, newResponse(doc, status, a.resolve(doc)))
	}
	return o
}

func newResponse(doc value, status string, v value) response {
	a := response{Status: status, Description: v.get("description").word()}
	for name := range v.get("headers").fields {
		a.Headers = append(a.Headers, name)
	}
	for _, media := range v.get("content").fields {
		schema := media.get("schema")
		a.Object = lastPart(schema.get("$ref").word())
		for _, part := range schema.get("allOf").items {
			if ref := part.get("$ref"); ref != nil {
				a.Object = lastPart(ref.word())
			}
			for _, code := range part.get("properties", "code", "enum").items {
				a.Codes = append(a.Codes, code.word())
			}
		}
		a.Example = pretty(media.get("example"))
		for _, one := range media.get("examples").fields {
			a.Example = pretty(one.resolve(doc).get("value"))
		}
	}
	return a
}

// fieldsOf lists the fields of an object, those of nested objects without a name
// of their own as a.b and a[].b.
func fieldsOf(doc value, prefix string, schema value) (list []field) {
	for name, v := range schema.get("properties").fields {
		f := newField(doc, prefix+name, v)
		for _, needed := range schema.get("required").items {
			f.Needed = f.Needed || needed.word() == name
		}
		list = append(list, f)
		list = append(list, fieldsOf(doc, prefix+name+".", v)...)
		list = append(list, fieldsOf(doc, prefix+name+"[].", v.get("items"))...)
	}
	return list
}

func newField(doc value, name string, schema value) field {
	f := field{Name: name, Description: schema.get("description").word()}
	if ref := schema.get("$ref"); ref != nil {
		f.Object, f.Type = lastPart(ref.word()), lastPart(ref.word())
		f.Description = schema.resolve(doc).get("description").word()
		return f
	}
	if ref := schema.get("items", "$ref"); ref != nil {
		f.Object = lastPart(ref.word())
	}
	f.Type = typeText(schema)
	return f
}

// typeText says in words what a schema takes.
func typeText(schema value) string {
	var words []string
	switch {
	case schema.get("const") != nil:
		return string(schema.get("const"))
	case schema.get("enum") != nil:
		for _, e := range schema.get("enum").items {
			words = append(words, e.word())
		}
		return strings.Join(words, " | ")
	}
	for _, t := range schema.get("type").items {
		words = append(words, t.word())
	}
	if len(words) == 0 {
		words = []string{schema.get("type").word()}
	}
	text := strings.Join(words, " or ")
	for _, one := range []struct{ key, format string }{
		{"format", ", %s"},
		{"maxLength", ", up to %s characters"},
		{"maxItems", ", up to %s"},
		{"maxProperties", ", up to %s names"},
		{"minimum", ", from %s"},
		{"maximum", " to %s"},
		{"default", ", default %s"},
	} {
		if v := schema.get(one.key); v != nil {
			text += fmt.Sprintf(one.format, v.word())
		}
	}
	return text
}

// curl writes a request as people type it.
func curl(method, path string, key bool, body value) string {
	lines := []string{"curl"}
	if method != http.MethodGet && (method != http.MethodPost || body == nil) {
		lines[0] += " -X " + method
	}
	lines[0] += " http://127.0.0.1:8080" + path
	if key {
		lines = append(lines, `-H "Authorization: Bearer $KEY"`)
	}
	if body != nil {
		lines = append(lines, "-H 'Content-Type: application/json'", "-d '"+strings.ReplaceAll(pretty(body), "\n", "\n  ")+"'")
	}
	return strings.Join(lines, " \\\n  ")
}

func pretty(v value) string {
	var b bytes.Buffer
	if v == nil || json.Indent(&b, v, "", "  ") != nil {
		return ""
	}
	return b.String()
}

// get walks down names of objects; nil where there is nothing of that name.
func (v value) get(names ...string) value {
	for _, name := range names {
		found := value(nil)
		for n, member := range v.fields {
			if n == name {
				found = member
				break
			}
		}
		v = found
	}
	return v
}

// fields is members, and nothing for what is no object.
func (v value) fields(yield func(string, value) bool) {
	if v != nil && v.kind() == '{' {
		v.members(yield)
	}
}

// items is elements, and nothing for what is no array.
func (v value) items(yield func(int, value) bool) {
	if v != nil && v.kind() == '[' {
		v.elements(yield)
	}
}

// word is what a string says, and any other value as it is written.
func (v value) word() string {
	if v != nil && v.kind() == '"' {
		return v.str()
	}
	return string(v)
}

// resolve follows a reference within the document.
func (v value) resolve(doc value) value {
	ref := v.get("$ref")
	if ref == nil {
		return v
	}
	return doc.get(strings.Split(strings.TrimPrefix(ref.word(), "#/"), "/")...)
}

func lastPart(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
