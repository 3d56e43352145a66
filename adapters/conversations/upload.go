package conversations

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path"
	"strings"

	"github.com/tidwall/gjson"

	"chatmux/adapters"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// maxUpload is the largest file that is taken; the vendor's own limit depends on
// the account's plan.
const maxUpload = 32 << 20

// oneStepTypes are the file types that the vendor documents for the one-step
// upload. Everything else, images above all, goes the presigned way, as in its
// examples.
var oneStepTypes = map[string]bool{
	".doc": true, ".docx": true, ".txt": true, ".pdf": true, ".md": true, ".xls": true, ".xlsx": true,
	".csv": true, ".ppt": true, ".pptx": true, ".json": true, ".jsonl": true,
}

// Upload gives the vendor a file of at most 32 MiB. Documents go in one step; if
// the vendor takes that without saying which attachment it made (one of its pages
// has an answer without a body), and for all other files, in three: a presigned
// URL, the storage, the registration. The storage never sees the key.
func (p *platform) Upload(ctx context.Context, file adapters.File) (normalize.Attachment, error) {
	content, err := io.ReadAll(io.LimitReader(file.Content, maxUpload+1))
	if err != nil {
		return normalize.Attachment{}, &normalize.Error{Kind: normalize.KindInternal, Cause: err}
	}
	if len(content) > maxUpload {
		return normalize.Attachment{}, normalize.Errorf(normalize.KindBodyTooLarge, "the file is larger than 32 MiB")
	}
	if file.Type == "" {
		file.Type = typeOf(beforeSlash(file.ContentType))
	}
	if oneStepTypes[strings.ToLower(path.Ext(file.Name))] {
		body, contentType, err := multipartBody(nil, file, content)
		if err != nil {
			return normalize.Attachment{}, err
		}
		answer, err := p.client.Do(ctx, vendorhttp.Call{
			Method: http.MethodPost, Path: "/attachments-upload/", Body: body, ContentType: contentType,
		})
		if err != nil {
			return normalize.Attachment{}, err
		}
		if len(bytes.TrimSpace(answer.Body)) > 0 {
			return decodeUpload(answer, file)
		}
	}
	return p.uploadPresigned(ctx, file, content)
}

func (p *platform) uploadPresigned(ctx context.Context, file adapters.File, content []byte) (normalize.Attachment, error) {
	answer, err := p.write(ctx, http.MethodPost, "/upload-presigned-url/", struct {
		Filename  string `json:"filename"`
		ModelName string `json:"modelName"`
		FieldName string `json:"fieldName"`
		FileSize  int    `json:"fileSize"`
	}{file.Name, "attachment", "file", len(content)})
	if err != nil {
		return normalize.Attachment{}, err
	}
	v := gjson.ParseBytes(answer.Body)
	storage, key := text(v.Get("url")), text(v.Get("fields.key"))
	if storage == "" || key == "" {
		return normalize.Attachment{}, answer.Invalid("the backend named no place to upload to")
	}
	var fields [][2]string
	v.Get("fields").ForEach(func(name, value gjson.Result) bool {
		fields = append(fields, [2]string{text(name), scalar(value)})
		return true
	})
	body, contentType, err := multipartBody(fields, file, content)
	if err != nil {
		return normalize.Attachment{}, err
	}
	if _, err := p.client.DoForeign(ctx, http.MethodPost, storage, contentType, body); err != nil {
		return normalize.Attachment{}, err
	}
	answer, err = p.write(ctx, http.MethodPost, "/attachments/", struct {
		File     string `json:"file"`
		Filename string `json:"filename"`
		Type     string `json:"type"`
	}{key, file.Name, kindOf(file.Type)})
	if err != nil {
		return normalize.Attachment{}, err
	}
	return decodeUpload(answer, file)
}

// multipartBody writes the fields in their order and the file last: storages
// ignore what comes after the file.
func multipartBody(fields [][2]string, file adapters.File, content []byte) (body []byte, contentType string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		if err == nil {
			err = w.WriteField(f[0], f[1])
		}
	}
	header := textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", file.Name)},
		"Content-Type":        {"application/octet-stream"},
	}
	if file.ContentType != "" {
		header.Set("Content-Type", file.ContentType)
	}
	var part io.Writer
	if err == nil {
		part, err = w.CreatePart(header)
	}
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, "", &normalize.Error{Kind: normalize.KindInternal, Cause: err}
	}
	return b.Bytes(), w.FormDataContentType(), nil
}

// decodeUpload reads the Attachment that an upload made.
func decodeUpload(a vendorhttp.Answer, file adapters.File) (normalize.Attachment, error) {
	if err := a.Object(); err != nil {
		return normalize.Attachment{}, err
	}
	v := gjson.ParseBytes(a.Body)
	made := normalize.Attachment{
		ID:          scalar(v.Get("id")),
		Type:        typeOf(v.Get("type").Str),
		URL:         text(v.Get("file")),
		Filename:    text(v.Get("filename")),
		ContentType: file.ContentType,
	}
	if made.ID == "" {
		return normalize.Attachment{}, a.Invalid("the backend's attachment has no id")
	}
	if made.Filename == "" {
		made.Filename = file.Name
	}
	return made, nil
}

func beforeSlash(contentType string) string {
	family, _, _ := strings.Cut(contentType, "/")
	return family
}
