package conversationstwin

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// maxCell is how many characters a cell of a workbook may hold.
const maxCell = 32767

// The parts of a workbook that are always the same.
const (
	xmlHead  = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	mainXML  = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	relsXML  = "http://schemas.openxmlformats.org/package/2006/relationships"
	linksXML = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	typesXML = "http://schemas.openxmlformats.org/package/2006/content-types"
	sheetCT  = "application/vnd.openxmlformats-officedocument.spreadsheetml"
)

var fixedParts = []struct{ name, content string }{
	{"[Content_Types].xml", `<Types xmlns="` + typesXML + `">` +
		`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
		`<Override PartName="/xl/workbook.xml" ContentType="` + sheetCT + `.sheet.main+xml"/>` +
		`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="` + sheetCT + `.worksheet+xml"/></Types>`},
	{"_rels/.rels", `<Relationships xmlns="` + relsXML + `">` +
		`<Relationship Id="rId1" Type="` + linksXML + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
	{"xl/workbook.xml", `<workbook xmlns="` + mainXML + `" xmlns:r="` + linksXML + `">` +
		`<sheets><sheet name="records" sheetId="1" r:id="rId1"/></sheets></workbook>`},
	{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + relsXML + `">` +
		`<Relationship Id="rId1" Type="` + linksXML + `/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`},
}

// workbook writes rows of text as an Excel file with one sheet.
func workbook(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, part := range fixedParts {
		w, err := z.Create(part.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(xmlHead + part.content)); err != nil {
			return nil, err
		}
	}
	w, err := z.Create("xl/worksheets/sheet1.xml")
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(sheet(rows)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func sheet(rows [][]string) []byte {
	var b bytes.Buffer
	b.WriteString(xmlHead + `<worksheet xmlns="` + mainXML + `"><sheetData>`)
	for i, row := range rows {
		fmt.Fprintf(&b, `<row r="%d">`, i+1)
		for j, cell := range row {
			fmt.Fprintf(&b, `<c r="%c%d" t="inlineStr"><is><t xml:space="preserve">`, 'A'+j, i+1)
			_ = xml.EscapeText(&b, []byte(cellText(cell))) // a buffer takes everything
			b.WriteString(`</t></is></c>`)
		}
		b.WriteString(`</row>`)
	}
	b.WriteString(`</sheetData></worksheet>`)
	return b.Bytes()
}

// cellText takes out what XML cannot hold, and the rest of what is too long.
func cellText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > maxCell {
		s = string(runes[:maxCell])
	}
	return s
}
