package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"chatmux/internal/engine"
	"chatmux/normalize"
)

// quick is an engine that only answers sends, at once.
type quick struct {
	Engine
	answer engine.Turn
}

func (q *quick) Send(context.Context, engine.Origin, engine.SendRequest) (engine.Turn, error) {
	return q.answer, nil
}

func (q *quick) Messages(context.Context, engine.Origin, string, engine.Page) ([]normalize.Message, string, error) {
	return q.answer.Replies, "", nil
}

// discard is a response writer that keeps nothing but the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func benchmark(b *testing.B, status int, method, path, body string, headers ...string) {
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
	api, err := New(&quick{answer: newFakeEngine().turn()}, Options{Callers: twoCallers()}, log, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+webKey)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	text := strings.NewReader(body)
	r.Body, r.ContentLength = io.NopCloser(text), int64(len(body))
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		text.Reset(body)
		clear(w.header)
		api.ServeHTTP(w, r)
	}
	if w.status != status {
		b.Fatalf("status %d", w.status)
	}
}

func BenchmarkSend(b *testing.B) {
	benchmark(b, 200, "POST", messagesPath, `{"text":"Where is my parcel? ¿Dónde está?","metadata":{"plan":"gold","shop":"eu-1"}}`)
}

func BenchmarkSendWithKey(b *testing.B) {
	benchmark(b, 200, "POST", messagesPath, `{"text":"Where is my parcel?"}`, "Idempotency-Key", "k-1", "Chatmux-Timeout", "30")
}

func BenchmarkSend64KiB(b *testing.B) {
	benchmark(b, 200, "POST", messagesPath, `{"text":"`+strings.Repeat("Where is my parcel? ¿Dónde está? ", 1900)+`"}`)
}

func BenchmarkTranscript(b *testing.B) { benchmark(b, 200, "GET", messagesPath, "") }

func BenchmarkRefusal(b *testing.B) {
	benchmark(b, 401, "POST", messagesPath, `{"text":"a"}`, "Authorization", "Bearer wrong")
}

func BenchmarkJSONText(b *testing.B) {
	for name, text := range map[string]string{
		"message": `{"text":"Where is my parcel? ¿Dónde está?","metadata":{"plan":"gold","shop":"eu-1"},"user":{"id":"u-1042","name":"Ana"}}`,
		"64KiB":   `{"text":"` + strings.Repeat("Where is my parcel? ¿Dónde está? ", 2000) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := checkJSON([]byte(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
