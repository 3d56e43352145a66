//go:build linux

package catalogue

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// p11 writes down all that the program writes into its database and to its clients.
// For each answer it then makes files that a loss of power at that very moment could
// have left, and looks for what was acknowledged. That is as far as it goes: a disk that
// says it has what it has not is another matter.
func p11(t testing.TB, s *scene) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("writes and syncs are written down by strace: install it")
	}
	book := filepath.Join(s.dir, "trace")
	h := s.serveWrapped(wrapped{
		"strace", "-D", "-f", "--seccomp-bpf", "-q", "-y", "-xx", "-s", "80000", "-e", "trace=write,pwrite64,ftruncate,fsync,fdatasync", "-e", "signal=none", "-o", book,
	}, s.usual())
	const clients = 4
	together(clients, func(n int) {
		thread := ""
		for i := range times(8, 45) {
			text := fmt.Sprintf("%d of %d", i, n)
			if i%3 == 0 {
				thread = h.begin("solo", text)
			} else {
				h.next(thread, text).turn()
			}
		}
	})
	pid := h.cmd.Process.Pid
	h.stop()
	eventually(t, "the trace is whole", func() bool {
		text, err := os.ReadFile(book)
		return err == nil && strings.Contains(string(text), fmt.Sprintf("%-5d +++ exited", pid))
	})
	d := disk{files: make(map[string]*traced)}
	acknowledged, images := 0, 0
	syncs := d.play(t, book, func(ids []string) {
		acknowledged++
		for _, lost := range []func() int{func() int { return 0 }, func() int { return rand.IntN(2) }, func() int { return rand.IntN(3) }} {
			images++
			d.survives(t, ids, lost)
		}
	})
	t.Logf("%d answers, %d syncs, %d images", acknowledged, syncs, images)
	if want := clients * times(8, 45); acknowledged != want || syncs == 0 {
		t.Errorf("%d answers and %d syncs are in the trace, want %d answers: the row proves nothing", acknowledged, syncs, want)
	}
}

// disk is what a trace has done to files.
type disk struct{ files map[string]*traced }

// traced is a file: what has certainly reached the disk, and what may have.
type traced struct {
	synced  []byte
	pending []*written
}

type written struct {
	at    int64
	bytes []byte // nil: the file is cut here
	done  bool
}

// apply puts a write, or its first bytes, into a file.
func (w *written) apply(file []byte, bytes []byte) []byte {
	if w.bytes == nil {
		return append(file[:min(int64(len(file)), w.at)], make([]byte, max(0, w.at-int64(len(file))))...)
	}
	if end := w.at + int64(len(bytes)); end > int64(len(file)) {
		file = append(file, make([]byte, end-int64(len(file)))...)
	}
	copy(file[w.at:], bytes)
	return file
}

// call is a line of a trace: a whole call, its beginning, or its end.
var (
	call     = regexp.MustCompile(`^(\d+) +(\w+)\((.*?)(?:\) += (-?\d+).*| <unfinished \.\.\.>)$`)
	resumed  = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.*\) += (-?\d+)`)
	argument = regexp.MustCompile(`^\d+<([^>]*)>(?:, (?:"([^"]*)", (\d+)(?:, (\d+))?|(\d+)))?$`)
	sentID   = regexp.MustCompile(`"message":\{"id":"(msg_[0-9a-z]+)"`)
)

// play follows a trace, calls acknowledged before each answer with the ids of its
// message, and returns how many syncs there were.
func (d *disk) play(t testing.TB, book string, acknowledged func(ids []string)) (syncs int) {
	t.Helper()
	f, err := os.Open(book)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ends := make(map[string]func()) // of calls that have begun, by thread
	for lines := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return syncs
		}
		line = strings.TrimSuffix(line, "\n")
		if m := resumed.FindStringSubmatch(line); m != nil {
			if end := ends[m[1]]; end != nil {
				end()
			}
			delete(ends, m[1])
			continue
		}
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		arg := argument.FindStringSubmatch(m[3])
		if arg == nil {
			continue
		}
		path, data := unhex(t, arg[1]), unhex(t, arg[2])
		end := func() {}
		switch file := d.file(path); {
		case m[2] == "write" && strings.HasPrefix(data, "HTTP/1.1 200 OK"):
			if id := sentID.FindStringSubmatch(data); id != nil {
				acknowledged(id[1:])
			}
		case file == nil:
		case m[2] == "write":
			t.Fatalf("%s is written to without a place: %.100s", path, line)
		case m[2] == "pwrite64", m[2] == "ftruncate":
			w := &written{bytes: []byte(data)}
			place := arg[4]
			if m[2] == "ftruncate" {
				w.bytes, place = nil, arg[5]
			}
			if w.at, err = strconv.ParseInt(place, 10, 64); err != nil {
				t.Fatalf("%v in %.100s", err, line)
			}
			file.pending = append(file.pending, w)
			end = func() { w.done = true }
		default: // a sync covers what was written before it began, once it has ended
			syncs++
			covered := 0
			for covered < len(file.pending) && file.pending[covered].done {
				covered++
			}
			end = func() {
				for _, w := range file.pending[:covered] {
					file.synced = w.apply(file.synced, w.bytes)
				}
				file.pending = file.pending[covered:]
			}
		}
		if m[4] == "" {
			ends[m[1]] = end
		} else {
			end()
		}
	}
}

// file gives a file of the database; nil for every other one.
func (d *disk) file(path string) *traced {
	name := filepath.Base(path)
	if name != "chatmux.db" && name != "chatmux.db-wal" {
		return nil
	}
	if d.files[name] == nil {
		d.files[name] = &traced{}
	}
	return d.files[name]
}

// survives makes an image of the disk with that part of what was not synced which lost
// leaves (0: nothing of a write, 1: some sectors of it, more: all), and looks for a
// message and its reply.
func (d *disk) survives(t testing.TB, ids []string, left func() int) {
	t.Helper()
	const sector = 512
	image := &sqliteFile{filepath.Join(t.TempDir(), "chatmux.db")}
	for name, file := range d.files {
		bytes := append([]byte(nil), file.synced...)
		for _, w := range file.pending {
			switch part := w.bytes; left() {
			case 0:
			case 1:
				bytes = w.apply(bytes, part[:len(part)/sector/2*sector])
			default:
				bytes = w.apply(bytes, part)
			}
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(image.path), name), bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image.intact(t)
	db := image.connect(t)
	defer db.Close()
	for _, id := range ids {
		rows := texts(t, db, "SELECT status FROM messages WHERE id = ? OR in_reply_to = ? ORDER BY seq", id, id)
		if fmt.Sprint(rows) != "[sent complete]" {
			t.Errorf("%s was answered, and after the loss of power there is %v", id, rows)
		}
	}
}

// unhex reads a text that stands in a trace in hexadecimal: \x61\x62.
func unhex(t testing.TB, text string) string {
	t.Helper()
	if !strings.HasPrefix(text, `\x`) {
		return text
	}
	bytes, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes)
}
