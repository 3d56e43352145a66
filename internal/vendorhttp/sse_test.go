package vendorhttp_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

// events reads a stream to its end, and writes each event down.
func events(source io.Reader) (list []string, err error) {
	reader := vendorhttp.NewEvents(source)
	for {
		e, err := reader.Next()
		if err != nil {
			return list, err
		}
		if held := cap(e.Name) + cap(e.ID) + cap(e.Data); held > 4*vendorhttp.MaxEvent {
			return list, fmt.Errorf("%d bytes are held", held)
		}
		list = append(list, fmt.Sprintf("%s/%s/%s", e.Name, e.ID, e.Data))
	}
}

// expected reads whole streams in the plainest way there is.
func expected(stream string) (list []string) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n"), "\n")
	name, id := "", ""
	var data []string
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				list = append(list, name+"/"+id+"/"+strings.Join(data, "\n"))
			}
			name, data = "", nil
		case field == "data":
			data = append(data, value)
		case field == "event":
			name = value
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
	}
	return list
}

func TestEventsAreReadInEveryForm(t *testing.T) { // S10
	const plain = "data: one\n\ndata: two\n\n"
	for _, c := range []struct {
		name, stream string
		want         []string
	}{
		{"LF", plain, []string{"//one", "//two"}},
		{"CRLF", strings.ReplaceAll(plain, "\n", "\r\n"), []string{"//one", "//two"}},
		{"CR", strings.ReplaceAll(plain, "\n", "\r"), []string{"//one", "//two"}},
		{"mixed", "data: one\r\n\ndata: two\r\rdata: three\n\r\ndata: four\r\r\n", []string{"//one", "//two", "//three", "//four"}},
		{"LF and CR are two ends", "data: one\n\rdata: two\n\n", []string{"//one", "//two"}},
		{"byte order mark", "\ufeff" + plain, []string{"//one", "//two"}},
		{"byte order mark and CRLF", "\ufeff" + strings.ReplaceAll(plain, "\n", "\r\n"), []string{"//one", "//two"}},
		{"byte order mark before a blank line", "\ufeff\n" + plain, []string{"//one", "//two"}},
		{"a later byte order mark is text", "data: \ufeffone\n\n\ufeffdata: two\n\n", []string{"//\ufeffone"}},
		{"no space after the colon", "data:one\n\ndata:two\n\n", []string{"//one", "//two"}},
		{"one space belongs to the colon", "data:  one \n\n", []string{"// one "}},
		{"a tab does not", "data:\tone\n\n", []string{"//\tone"}},
		{"colons in the data", "data: a:b: c\n\n", []string{"//a:b: c"}},
		{"several data lines", "data: one\ndata: two\ndata:\ndata\ndata:three\n\n", []string{"//one\ntwo\n\n\nthree"}},
		{"several data lines with CRLF", "data: one\r\ndata: two\r\n\r\n", []string{"//one\ntwo"}},
		{"comments", ": hb\n\ndata: one\n: between\ndata: more\n\n:\n\n", []string{"//one\nmore"}},
		{"names and ids", "event: delta\nid: 7\ndata: one\n\ndata: two\n\nid\nevent:done\ndata: three\n\n", []string{"delta/7/one", "/7/two", "done//three"}},
		{"an id with NUL is none", "id: 1\nid: 2\x00\ndata: one\n\n", []string{"/1/one"}},
		{"retry and unknown fields", "retry: 5\nfoo: bar\nfoo\ndatax: no\ndat: no\nDATA: no\n data: no\ndata: one\n\n", []string{"//one"}},
		{"an event without data is none", "event: ping\n\nid: 3\n\ndata: one\n\n", []string{"/3/one"}},
		{"empty data is data", "data\n\ndata:\n\ndata: \n\n", []string{"//", "//", "//"}},
		{"blank lines", "\n\n\r\n\rdata: one\n\n\n\n", []string{"//one"}},
		{"an end without its blank line", plain + "data: three\n", []string{"//one", "//two"}},
		{"an end within a line", plain + "data: three", []string{"//one", "//two"}},
		{"nothing", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := events(strings.NewReader(c.stream))
			if !errors.Is(err, io.EOF) {
				t.Errorf("ends with %v, want EOF", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.want, expected(c.stream)); diff != "" {
				t.Errorf("the plainest reading (-want +got):\n%s", diff)
			}
		})
	}
}

// odd holds everything that can stand on the two sides of a cut.
const odd = "\ufeff: hb\r\n\r\nid: 1\revent: x\rdata: Grüß\r\rdata:你好\ndata: 🙂👩‍👩‍👧\n\n\ndata\n\r\nevent: y\ndata: {\"a\":\"\\n\"}\r\n\ndata: z\r\n\r\n"

func TestEventsAreTheSameInWhateverPiecesTheyCome(t *testing.T) {
	want := expected(odd)
	for one := range len(odd) + 1 {
		for other := one; other <= len(odd); other++ {
			pieces := io.MultiReader(strings.NewReader(odd[:one]), strings.NewReader(odd[one:other]), strings.NewReader(odd[other:]))
			got, err := events(pieces)
			if !errors.Is(err, io.EOF) {
				t.Fatalf("cut at %d and %d: %v, want EOF", one, other, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("cut at %d and %d (-want +got):\n%s", one, other, diff)
			}
		}
	}
	for name, source := range map[string]io.Reader{
		"byte by byte":        iotest.OneByteReader(strings.NewReader(odd)),
		"the end with data":   iotest.DataErrReader(strings.NewReader(odd)),
		"with empty readings": &hesitant{source: iotest.OneByteReader(strings.NewReader(odd))},
	} {
		got, err := events(source)
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// hesitant reads nothing every other time.
type hesitant struct {
	source io.Reader
	turn   bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.turn = !h.turn; h.turn {
		return 0, nil
	}
	return h.source.Read(p)
}

func TestHalfAnEventIsNone(t *testing.T) {
	want := expected(odd)
	for n := range odd {
		got, err := events(strings.NewReader(odd[:n]))
		if !errors.Is(err, io.EOF) || len(got) > len(want) || cmp.Diff(want[:len(got)], append([]string{}, got...)) != "" {
			t.Fatalf("cut at %d: %q, %v; want the first of %q", n, got, err, want)
		}
		if diff := cmp.Diff(expected(odd[:n]), got); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", n, diff)
		}
	}
}

func TestAnEventIsGivenWithItsLastByte(t *testing.T) {
	for _, stream := range []string{"data: one\n\n", "data: one\r\n\r", "data: one\r\r"} {
		// Whoever reads on after the last byte gets an error in place of the event.
		e, err := vendorhttp.NewEvents(io.MultiReader(strings.NewReader(stream), iotest.ErrReader(errors.New("read on")))).Next()
		if err != nil || string(e.Data) != "one" {
			t.Errorf("%q: %q, %v", stream, e.Data, err)
		}
	}
}

func TestLinesAndEventsAreTakenUpToTheLimit(t *testing.T) { // S11
	line := func(size int) string { return "data: " + strings.Repeat("x", size-len("data: ")) + "\n" }
	event := func(size int) string { // in lines of 1 KiB of data
		whole := strings.Repeat("data: "+strings.Repeat("x", 1023)+"\n", size/1024)
		return whole + "data: " + strings.Repeat("x", size%1024) + "\n"
	}
	for _, c := range []struct {
		name, stream string
		fits         bool
	}{
		{"a line of 200 KiB", line(200 << 10), true},
		{"a line of 300 KiB", line(300 << 10), false},
		{"a line of the limit", line(vendorhttp.MaxLine), true},
		{"a line over the limit", line(vendorhttp.MaxLine + 1), false},
		{"a comment over the limit", ":" + line(vendorhttp.MaxLine), false},
		{"a field over the limit", strings.Repeat("x", vendorhttp.MaxLine+1), false},
		{"an event of the limit", event(vendorhttp.MaxEvent), true},
		{"an event over the limit", event(vendorhttp.MaxEvent + 1), false},
	} {
		for _, end := range []string{"\n", "\r", "\r\n"} {
			stream := strings.ReplaceAll(c.stream, "\n", end) + end
			for way, source := range map[string]io.Reader{
				"at once": strings.NewReader(stream), "in halves": iotest.HalfReader(strings.NewReader(stream)),
			} {
				e, err := vendorhttp.NewEvents(source).Next()
				var tooLarge *normalize.Error
				switch {
				case c.fits && err != nil:
					t.Errorf("%s, %q, %s: %v", c.name, end, way, err)
				case c.fits:
				case !errors.As(err, &tooLarge) || tooLarge.Kind != normalize.KindTooLarge || tooLarge.Phase != normalize.PhaseStatus:
					t.Errorf("%s, %q, %s: %v, and %d bytes of data; want %v", c.name, end, way, err, len(e.Data), normalize.KindTooLarge)
				}
			}
		}
	}
}

func TestTheSourcesErrorComesAfterItsEvents(t *testing.T) {
	broken := errors.New("broken")
	got, err := events(io.MultiReader(strings.NewReader("data: one\n\ndata: two"), iotest.ErrReader(broken)))
	if diff := cmp.Diff([]string{"//one"}, got); diff != "" || !errors.Is(err, broken) {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := events(readerFunc(func([]byte) (int, error) { return 0, nil })); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v, want %v", err, io.ErrNoProgress)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// forever repeats a text without end.
func forever(text string) io.Reader {
	rest := ""
	return readerFunc(func(p []byte) (int, error) {
		if rest == "" {
			rest = text
		}
		n := copy(p, rest)
		rest = rest[n:]
		return n, nil
	})
}

func TestReadingOnTakesNoMemory(t *testing.T) {
	reader := vendorhttp.NewEvents(forever(": hb\n\nid: 12\nevent: delta\ndata: {\"content\":\"We open at nine. \",\"done\":false}\n\n"))
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := reader.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations an event", allocs)
	}
}

// FuzzSSE: in whatever pieces a stream comes, the events are the same, they are
// those of the plainest reading, and reading keeps no more than the limits.
func FuzzSSE(f *testing.F) {
	for _, stream := range []string{
		odd, "data: one\n\ndata: two\n\n", "data:\r\rdata\r\n\r\n", ":\n\n:\r\r", "\ufeff\ufeffdata: x\n\n",
		"data: " + strings.Repeat("x", 5000) + "\n\n", "id: \x00\ndata: \xff\xfe\n\n", "\r\n\r\n\n\r",
	} {
		f.Add([]byte(stream), uint64(1))
		f.Add([]byte(stream), uint64(0x1234567890abcdef))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole, wholeErr := events(strings.NewReader(string(stream)))
		pieces, piecesErr := events(&cutter{rest: stream, seed: seed})
		if !slices.Equal(whole, pieces) || wholeErr.Error() != piecesErr.Error() {
			t.Fatalf("at once it ends with %v, in pieces with %v (-at once +in pieces):\n%s", wholeErr, piecesErr, cmp.Diff(whole, pieces))
		}
		var tooLarge *normalize.Error
		switch want := expected(string(stream)); {
		case errors.As(wholeErr, &tooLarge) && tooLarge.Kind == normalize.KindTooLarge && len(stream) > vendorhttp.MaxLine:
		case !errors.Is(wholeErr, io.EOF) || !slices.Equal(want, whole):
			t.Fatalf("it ends with %v (-want +got):\n%s", wholeErr, cmp.Diff(want, whole))
		}
	})
}

// cutter reads a stream in pieces whose sizes follow from a seed.
type cutter struct {
	rest []byte
	seed uint64
}

func (c *cutter) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	c.seed = c.seed*6364136223846793005 + 1442695040888963407
	n := copy(p, c.rest[:min(len(c.rest), int(c.seed>>61))])
	c.rest = c.rest[n:]
	return n, nil
}

func BenchmarkEvents(b *testing.B) {
	const event = "data: {\"conversationId\": \"5d0a6b0e-9f1c-4a7e-8a53-9e0c7c1d0b11\", \"content\": \"We open \", \"done\": false}\n\n"
	reader := vendorhttp.NewEvents(forever(event))
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reader.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
