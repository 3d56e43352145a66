package conversations

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

func upload(a adapters.Adapter, name, contentType, content string) (normalize.Attachment, error) {
	return a.(adapters.Uploader).Upload(context.Background(), adapters.File{
		Name: name, ContentType: contentType, Size: int64(len(content)), Content: strings.NewReader(content),
	})
}

// paths records which calls reach a handler.
func paths(h http.Handler, list *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*list = append(*list, r.Method+" "+r.URL.Path)
		h.ServeHTTP(w, r)
	})
}

func wantFile(t *testing.T, a normalize.Attachment, content string) {
	t.Helper()
	resp, err := http.Get(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != content {
		t.Errorf("the storage holds %q, want %q", got, content)
	}
}

func TestDocumentsAreUploadedInOneStep(t *testing.T) {
	var calls []string
	a := openTwin(t, newTwinServer(t, paths(Spec.Twin(nil), &calls)), nil)
	made, err := upload(a, `price "list".PDF`, "application/pdf", "%PDF")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(calls, ", "); got != "POST /api/attachments-upload/" {
		t.Errorf("calls are %s", got)
	}
	if made.ID == "" || made.Type != normalize.TypeOther || made.Filename != `price "list".PDF` || made.ContentType != "application/pdf" {
		t.Errorf("attachment is %+v", made)
	}
	wantFile(t, made, "%PDF")
}

func TestOtherFilesAreUploadedThePresignedWay(t *testing.T) {
	var calls []string
	a := openTwin(t, newTwinServer(t, paths(Spec.Twin(nil), &calls)), nil)
	made, err := upload(a, "label.png", "image/png", "\x89PNG")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(calls, ", "); got != "POST /api/upload-presigned-url/, POST /storage/, POST /api/attachments/" {
		t.Errorf("calls are %s", got)
	}
	if made.Type != normalize.TypeImage || made.Filename != "label.png" {
		t.Errorf("attachment is %+v", made)
	}
	wantFile(t, made, "\x89PNG")

	turn := turnOf("What is this?", "")
	turn.Message.Attachments = []normalize.Attachment{made}
	reply, err := a.(adapters.AttachmentSender).SendAttachments(context.Background(), turn)
	if err != nil {
		t.Fatal(err)
	}
	list, err := a.(adapters.MessageLister).ListMessages(context.Background(), reply.Remote, adapters.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if got := list.Messages[0].Attachments; len(got) != 1 || got[0].ID != made.ID || got[0].URL != made.URL {
		t.Errorf("the vendor's message has %+v, want the upload", got)
	}
}

func TestAnUploadWithoutABodyIsDoneAgainInThreeSteps(t *testing.T) {
	var calls []string
	twin := Spec.Twin(nil)
	silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/attachments-upload/" {
			w.WriteHeader(http.StatusOK)
			return
		}
		twin.ServeHTTP(w, r)
	})
	a := openTwin(t, newTwinServer(t, paths(silent, &calls)), nil)
	made, err := upload(a, "notes.txt", "", "hello")
	if err != nil {
		t.Fatal(err)
	}
	want := "POST /api/attachments-upload/, POST /api/upload-presigned-url/, POST /storage/, POST /api/attachments/"
	if got := strings.Join(calls, ", "); got != want {
		t.Errorf("calls are %s, want %s", got, want)
	}
	wantFile(t, made, "hello")
}

func TestTheStorageGetsTheFieldsInOrderAndNoKey(t *testing.T) {
	var got string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprint(r.Header) + string(body)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(storage.Close)
	v := newVendor(t,
		jsonAnswer(200, `{"url":"`+storage.URL+`/bucket?x=1","fields":{"key":"media/label.png","z-last":"1","a-first":"2","policy":"p"}}`),
		jsonAnswer(201, `{"id":"a170b338-3926-4059-b28c-105d1fb17c23","type":"image","filename":"label.png","file":"https://cdn.example.test/label.png"}`),
	)
	if _, err := upload(openAt(t, v.url, nil), "label.png", "image/png", "bytes"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, apiKey) || strings.Contains(got, "Authorization") {
		t.Error("the storage saw the key")
	}
	at := -1
	for _, field := range []string{`"key"`, `"z-last"`, `"a-first"`, `"policy"`, `"file"; filename="label.png"`} {
		next := strings.Index(got, "form-data; name="+field)
		if next <= at {
			t.Errorf("field %s is missing or out of order", field)
		}
		at = next
	}
	register := v.ledger()[1]
	want := `{"file":"media/label.png","filename":"label.png","type":"image"}`
	if register.path != "/api/attachments/" || register.body != want {
		t.Errorf("registered by %s %s, want %s", register.path, register.body, want)
	}
	if want := `{"filename":"label.png","modelName":"attachment","fieldName":"file","fileSize":5}`; v.ledger()[0].body != want {
		t.Errorf("presigned by %s, want %s", v.ledger()[0].body, want)
	}
}

func TestUploadFailures(t *testing.T) {
	for _, c := range []struct {
		name, file string
		answers    []canned
		kind       normalize.Kind
	}{
		{"refused", "a.txt", []canned{jsonAnswer(400, `{"file":["too big"]}`)}, normalize.KindRejected},
		{"no attachment", "a.txt", []canned{jsonAnswer(201, `{}`)}, normalize.KindInvalidReply},
		{"no JSON", "a.txt", []canned{jsonAnswer(201, `<html>`)}, normalize.KindInvalidReply},
		{"no place to upload to", "a.png", []canned{jsonAnswer(200, `{"fields":{"key":"k"}}`)}, normalize.KindInvalidReply},
		{"no key", "a.png", []canned{jsonAnswer(200, `{"url":"https://s.example.test/","fields":{}}`)}, normalize.KindInvalidReply},
		{"plain http elsewhere", "a.png", []canned{jsonAnswer(200, `{"url":"http://s.example.test/","fields":{"key":"k"}}`)}, normalize.KindInvalidReply},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := upload(openAt(t, newVendor(t, c.answers...).url, nil), c.file, "", "x")
			wantKind(t, err, c.kind)
		})
	}
}

func TestAFileOverTheLimitIsNotSent(t *testing.T) {
	v := newVendor(t)
	_, err := upload(openAt(t, v.url, nil), "a.txt", "", strings.Repeat("x", maxUpload+1))
	wantKind(t, err, normalize.KindBodyTooLarge)
	if n := len(v.ledger()); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}
