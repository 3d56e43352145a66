package openai_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"chatmux/adapters"
	"chatmux/adapters/openai"
	"chatmux/normalize"
)

var update = flag.Bool("update", false, "write what the adapter gives into the golden files")

// situation is the input.json of a golden file.
type situation struct {
	System  string `json:"system"`
	History []struct {
		Role   normalize.Role          `json:"role"`
		Status normalize.MessageStatus `json:"status"`
		Text   string                  `json:"text"`
	} `json:"history"`
	Text   string `json:"text"`
	Stream bool   `json:"stream"`
}

// TestGolden runs every golden file: the situation goes in, the vendor must get
// the request and gives the answer, and the outcome is compared.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) *txtar.File {
				for i := range archive.Files {
					if archive.Files[i].Name == name {
						return &archive.Files[i]
					}
				}
				archive.Files = append(archive.Files, txtar.File{Name: name})
				return &archive.Files[len(archive.Files)-1]
			}
			var in situation
			dec := json.NewDecoder(bytes.NewReader(part("input.json").Data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&in); err != nil {
				t.Fatalf("input.json: %v", err)
			}
			request, outcome := run(t, in, string(part("answer").Data))
			for _, got := range []txtar.File{{Name: "request", Data: []byte(request)}, {Name: "outcome", Data: []byte(outcome)}} {
				if *update {
					part(got.Name).Data = got.Data
				} else if diff := cmp.Diff(string(part(got.Name).Data), string(got.Data)); diff != "" {
					t.Errorf("%s (-file +adapter):\n%s", got.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// run sends in a situation to a vendor that gives the answer, and describes the
// request and the outcome.
func run(t *testing.T, in situation, answer string) (request, outcome string) {
	head, body, _ := strings.Cut(answer, "\n")
	words := strings.Fields(head)
	status, err := strconv.Atoi(words[0])
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		request = fmt.Sprintf("%s %s\n%s\n", r.Method, r.URL.Path, sent)
		w.Header().Set("Content-Type", "application/json")
		for _, header := range words[1:] {
			name, value, _ := strings.Cut(header, "=")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.TrimSuffix(body, "\n"))
	}))
	defer vendor.Close()
	adapter := open(t, vendor.URL+"/v1", func(s *openai.Settings) { s.System = in.System })
	turn := adapters.Turn{Message: normalize.Message{Role: normalize.RoleUser, Type: normalize.TypeText, Text: in.Text}}
	for _, m := range in.History {
		turn.History = append(turn.History, normalize.Message{Role: m.Role, Status: m.Status, Text: m.Text})
	}
	give := adapter.Send
	if in.Stream {
		give = func(ctx context.Context, turn adapters.Turn) (adapters.Reply, error) {
			reply, err := adapter.(adapters.Streamer).Stream(ctx, turn, func(d adapters.Delta) error {
				outcome += fmt.Sprintf("delta %q\n", d.Text)
				return nil
			})
			outcome += fmt.Sprintf("%d passed over\n", reply.Skipped)
			return reply, err
		}
	}
	reply, err := give(context.Background(), turn)
	if err != nil {
		e := normalize.AsError(err)
		outcome += fmt.Sprintf("error %s %s, vendor %d %q, retry after %s\n%s\n", e.Kind, e.Phase, e.VendorStatus, e.VendorCode, e.RetryAfter, e.Text())
	}
	for i := range reply.Messages {
		outcome += string(reply.Messages[i].AppendJSON(nil, true)) + "\n"
	}
	return request, outcome
}

// open makes an adapter for tests.
func open(t testing.TB, baseURL string, change func(*openai.Settings)) adapters.Adapter {
	t.Helper()
	s := openai.Spec.Settings().(*openai.Settings)
	s.BaseURL, s.APIKey, s.Model = adapters.BaseURL(baseURL), normalize.NewSecret("planted-openai-key"), "some-model"
	if change != nil {
		change(s)
	}
	a, err := openai.Spec.Open(s, adapters.Env{Connect: 10 * time.Second, FirstByte: 10 * time.Second, Idle: 10 * time.Second, MaxInFlight: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.(io.Closer).Close() })
	return a
}
