package archive

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// nasty are texts that a table must not change, beside the apostrophe before the first.
var nasty = []string{
	`=HYPERLINK("https://evil.example","click")`, "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1+1",
	"plain", " =not first", "'quoted", "line\r\nline\rline\n", `a,"b",c;d`, "<b>&amp;</b>", "_x0041_x0042_ _x000D_", "\u2028 🙂 \u00e9",
	"control \x01\x1f", strings.Repeat("long ", 3000),
}

func nastyStore(t *testing.T) *store.Store {
	t.Helper()
	s := sqlite(t)
	thread := newThread("acme")
	thread.Title, thread.User.Name = "=1+1", "@user"
	var messages []normalize.Message
	for _, text := range nasty {
		messages = append(messages, say(&thread, text))
	}
	last := everything(&thread)
	must(t, s.Import(t.Context(), []store.Arrival{{Thread: thread, Messages: append(messages, last)}}))
	return s
}

func checkTable(t *testing.T, rows [][]string) {
	t.Helper()
	names := rows[0]
	if !slices.Equal(names, header()) {
		t.Errorf("the columns are %q", names)
	}
	column := func(row []string, name string) string {
		if i := slices.Index(names, name); i < len(row) { // cells at the end that are empty may be missing
			return row[i]
		}
		return ""
	}
	if len(rows) != len(nasty)+2 {
		t.Fatalf("%d rows, want %d", len(rows), len(nasty)+2)
	}
	for i, text := range nasty {
		row := rows[i+1]
		want := text
		if i < 6 {
			want = "'" + text
		}
		if got := column(row, "text"); got != want {
			t.Errorf("%q has become %q", text, got)
		}
		for j, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("column %s has %q", names[j], cell)
			}
		}
	}
	last := rows[len(rows)-1]
	for name, want := range map[string]string{
		"role": "assistant", "created_at": "2026-03-04T10:16:31.480Z", "attachments": "a.png <https://x.example/a.png>",
		"author": "Kim <kim@example.org>", "read": "false", "metadata": `{"":"empty","a":"1 <","b":"2"}`, "thread_title": "'=1+1", "user_name": "'@user",
	} {
		if got := column(last, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestCSVIsOneHarmlessRowAMessage(t *testing.T) {
	text := exported(t, nastyStore(t), CSV, Filter{})
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	must(t, err)
	for i, row := range rows { // the reader takes the CR of a line's end away, the file has it
		for j := range row {
			if strings.Contains(row[j], "line\nline\rline\n") && strings.Contains(text, "line\r\nline\rline\n") {
				rows[i][j] = strings.Replace(row[j], "line\nline", "line\r\nline", 1)
			}
		}
	}
	checkTable(t, rows)
}

// TestAnIndependentReaderOpensTheWorkbook reads it with a library that had no part in
// writing it.
func TestAnIndependentReaderOpensTheWorkbook(t *testing.T) {
	book, err := excelize.OpenReader(strings.NewReader(exported(t, nastyStore(t), XLSX, Filter{})))
	must(t, err)
	defer book.Close()
	rows, err := book.GetRows("messages")
	must(t, err)
	checkTable(t, rows)
	for _, cell := range []string{"I2", "Z2"} {
		if formula, err := book.GetCellFormula("messages", cell); err != nil || formula != "" {
			t.Errorf("%s has the formula %q, %v", cell, formula, err)
		}
		if kind, err := book.GetCellType("messages", cell); err != nil || kind != excelize.CellTypeInlineString {
			t.Errorf("%s is of type %v, %v", cell, kind, err)
		}
	}
}

func TestWhatASheetCannotHoldGoesOnInTheNext(t *testing.T) {
	var out bytes.Buffer
	b := newWorkbook(&out)
	b.limit = 3
	must(t, b.begin(Filter{}, true))
	thread := newThread("acme")
	for i := range 5 {
		m := say(&thread, fmt.Sprint("m", i))
		must(t, b.message(&thread, &m))
	}
	must(t, b.end())
	book, err := excelize.OpenReader(&out)
	must(t, err)
	defer book.Close()
	var got []string
	for _, sheet := range book.GetSheetList() {
		rows, err := book.GetRows(sheet)
		must(t, err)
		for _, row := range rows {
			got = append(got, sheet+" "+row[8])
		}
	}
	same(t, "rows", got, []string{
		"messages text", "messages m0", "messages m1", "messages 2 text", "messages 2 m2", "messages 2 m3", "messages 3 text", "messages 3 m4",
	})
}

func TestACellIsNoLongerThanExcelTakes(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", maxCell), strings.Repeat("🙂", maxCell/2)} {
		if got := cellText(text); got != text {
			t.Errorf("a text that fits has %d bytes instead of %d", len(got), len(text))
		}
		long := text + "xy"
		got := cellText(long)
		units := len(utf16.Encode([]rune(got)))
		if !strings.HasSuffix(got, cut) || !strings.HasPrefix(long, strings.TrimSuffix(got, cut)) || units > maxCell || units < maxCell-2 {
			t.Errorf("a text that does not fit has %d units and ends with %q", units, got[len(got)-20:])
		}
	}
}

func TestColumnsAreNamedAsExcelNamesThem(t *testing.T) {
	for i, want := range map[int]string{0: "A", 25: "Z", 26: "AA", 51: "AZ", 52: "BA", 701: "ZZ", 702: "AAA"} {
		if got := columnName(i); got != want {
			t.Errorf("column %d is %s, want %s", i, got, want)
		}
	}
}
