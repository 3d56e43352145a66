package archive

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// Excel's own bounds.
// https://support.microsoft.com/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3
const (
	maxRows = 1_048_576 // of a sheet, the header included
	maxCell = 32_767    // UTF-16 units
)

// cut ends a text that is longer than a cell can be.
const cut = "… (cut: longer than a cell of Excel can be)"

// The names of Office Open XML (ECMA-376).
const (
	xmlHead  = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	mainXML  = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	relsXML  = "http://schemas.openxmlformats.org/package/2006/relationships"
	linksXML = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	typesXML = "http://schemas.openxmlformats.org/package/2006/content-types"
	sheetCT  = "application/vnd.openxmlformats-officedocument.spreadsheetml"
)

// workbook writes an Excel file as it goes: every cell is text, so that nothing is held
// back for a table of shared strings. What a sheet cannot hold goes on in the next one.
type workbook struct {
	zip    *zip.Writer
	sheet  io.Writer
	sheets int
	rows   int // of the sheet
	limit  int // rows of a sheet
	row    []string
	buf    bytes.Buffer
}

func newWorkbook(w io.Writer) *workbook {
	return &workbook{zip: zip.NewWriter(w), limit: maxRows, row: make([]string, len(columns))}
}

func (b *workbook) begin(Filter, bool) error { return b.openSheet() }

func (b *workbook) thread(*store.StoredThread, bool) error { return nil }

func (b *workbook) message(t *store.StoredThread, m *normalize.Message) error {
	if b.rows == b.limit {
		if err := b.closeSheet(); err != nil {
			return err
		}
		if err := b.openSheet(); err != nil {
			return err
		}
	}
	fill(b.row, t, m)
	return b.writeRow(b.row)
}

func (b *workbook) openSheet() (err error) {
	b.sheets++
	b.rows = 0
	if b.sheet, err = b.zip.Create(fmt.Sprintf("xl/worksheets/sheet%d.xml", b.sheets)); err != nil {
		return err
	}
	_, err = io.WriteString(b.sheet, xmlHead+`<worksheet xmlns="`+mainXML+`"><sheetViews><sheetView workbookViewId="0">`+
		`<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>`)
	if err != nil {
		return err
	}
	return b.writeRow(header())
}

func (b *workbook) closeSheet() error {
	_, err := io.WriteString(b.sheet, `</sheetData></worksheet>`)
	return err
}

func (b *workbook) writeRow(row []string) error {
	b.rows++
	number := strconv.Itoa(b.rows)
	b.buf.Reset()
	b.buf.WriteString(`<row r="` + number + `">`)
	for i, cell := range row {
		if cell == "" {
			continue
		}
		b.buf.WriteString(`<c r="` + columnName(i) + number + `" t="inlineStr"><is><t xml:space="preserve">`)
		_ = xml.EscapeText(&b.buf, []byte(cellText(cell))) // a buffer takes everything
		b.buf.WriteString(`</t></is></c>`)
	}
	b.buf.WriteString(`</row>`)
	_, err := b.sheet.Write(b.buf.Bytes())
	return err
}

// columnName gives A to Z, AA to AZ and so on.
func columnName(i int) string {
	name := string(rune('A' + i%26))
	if i >= 26 {
		name = columnName(i/26-1) + name
	}
	return name
}

// escape finds what Excel reads as the escape of a character (ECMA-376 part 1,
// 22.9.2.19), at the beginning of a text.
var escape = regexp.MustCompile(`^_x[0-9A-Fa-f]{4}_`)

// cellText gives a text as a cell holds it: cut where it is too long, and with the
// characters escaped that XML cannot have.
func cellText(s string) string {
	if len(s) > maxCell && len(utf16.Encode([]rune(s))) > maxCell {
		units, room := 0, maxCell-len(utf16.Encode([]rune(cut)))
		for i, r := range s {
			if units += utf16.RuneLen(r); units > room {
				s = s[:i] + cut
				break
			}
		}
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return r == '_' || xmlLacks(r) }) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		if xmlLacks(r) || r == '_' && escape.MatchString(s[i:]) {
			fmt.Fprintf(&out, "_x%04X_", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// xmlLacks reports whether a character cannot stand in XML, or would not come back as
// itself.
func xmlLacks(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' || r == '\ufffe' || r == '\uffff'
}

func (b *workbook) end() error {
	if err := b.closeSheet(); err != nil {
		return err
	}
	var types, sheets, links strings.Builder
	for i := range b.sheets {
		n, name := i+1, "messages"
		if i > 0 {
			name = fmt.Sprintf("messages %d", n)
		}
		fmt.Fprintf(&types, `<Override PartName="/xl/worksheets/sheet%d.xml" ContentType="%s.worksheet+xml"/>`, n, sheetCT)
		fmt.Fprintf(&sheets, `<sheet name="%s" sheetId="%d" r:id="rId%[2]d"/>`, name, n)
		fmt.Fprintf(&links, `<Relationship Id="rId%d" Type="%s/worksheet" Target="worksheets/sheet%[1]d.xml"/>`, n, linksXML)
	}
	for _, part := range []struct{ name, content string }{
		{"xl/workbook.xml", `<workbook xmlns="` + mainXML + `" xmlns:r="` + linksXML + `"><bookViews><workbookView/></bookViews>` +
			`<sheets>` + sheets.String() + `</sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + relsXML + `">` + links.String() + `</Relationships>`},
		{"_rels/.rels", `<Relationships xmlns="` + relsXML + `">` +
			`<Relationship Id="rId1" Type="` + linksXML + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"[Content_Types].xml", `<Types xmlns="` + typesXML + `">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Default Extension="xml" ContentType="application/xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + sheetCT + `.sheet.main+xml"/>` + types.String() + `</Types>`},
	} {
		w, err := b.zip.Create(part.name)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, xmlHead+part.content); err != nil {
			return err
		}
	}
	return b.zip.Close()
}
