package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"chatmux/normalize"
)

// FuzzAFileIsReadOrRefusedAndComesBack reads anything. What is accepted, written and read
// again, is the same.
func FuzzAFileIsReadOrRefusedAndComesBack(f *testing.F) {
	thread := newThread("acme")
	message := everything(&thread)
	var file []byte
	file = append(file, `{"kind":"archive","version":1}`+"\n"...)
	file = append(appendThread(file, &thread, nil, nil), '\n')
	file = append(appendBinding(file, thread.ID, normalize.Binding{Backend: "desk", Since: t0}), '\n')
	file = append(appendMessage(file, &message), '\n')
	f.Add(file)
	f.Add(bytes.ReplaceAll(file, []byte(`"raw":`), []byte(`"raw_text":`)))
	f.Add([]byte(strings.ReplaceAll(string(file), "Hello", `\u0000\\u0000\ud800`)))
	f.Fuzz(func(t *testing.T, file []byte) {
		once, err := rewritten(file)
		if line := new(LineError); err != nil {
			if len(bytes.TrimSpace(file)) > 0 && !errors.As(err, &line) {
				t.Fatalf("refused without a line: %v", err)
			}
			return
		}
		twice, err := rewritten(once)
		if err != nil {
			t.Fatalf("%v in what was written of\n%s\n%s", err, file, once)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("written\n%s\nit comes back as\n%s", once, twice)
		}
	})
}

// rewritten reads a file and writes what it has read.
func rewritten(file []byte) ([]byte, error) {
	out := []byte(`{"kind":"archive","version":1}` + "\n")
	r := newReader(bytes.NewReader(file))
	for {
		s, err := r.thread()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(appendThread(out, &s.StoredThread, nil, nil), '\n')
		for _, b := range s.Bindings {
			out = append(appendBinding(out, s.ID, b), '\n')
		}
		err = s.each(func(part []normalize.Message) error {
			for i := range part {
				out = append(appendMessage(out, &part[i]), '\n')
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if _, err := s.check(); err != nil {
			return nil, err
		}
	}
}
