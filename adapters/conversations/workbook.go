package conversations

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Bounds of reading a workbook: how large it may be unpacked, and from where on a part of
// it is unpacked to disk instead of memory.
const (
	maxUnpacked = 4 << 30
	maxInMemory = 16 << 20
)

// The columns of the records' workbook that are read by name; all others go into Raw.
const (
	columnID       = "id"
	columnQuestion = "inputmessage"
	columnAnswer   = "outputmessage"
	columnCreated  = "createdat"
	columnError    = "error"
)

// readRecords reads the Excel file that the vendor exports its records as, row by row.
// The vendor documents the fields of a record but not the headings of the file: they are
// taken to be the fields' names, in any case and with any blanks or underscores. What is
// in no field of a record stays in Raw, an object of heading and cell.
func readRecords(file io.Reader, each func(row int, r adapters.Record) error) (err error) {
	book, err := excelize.OpenReader(file, excelize.Options{UnzipSizeLimit: maxUnpacked, UnzipXMLSizeLimit: maxInMemory, RawCellValue: true})
	if err != nil {
		return fmt.Errorf("it cannot be read as an Excel file: %w", err)
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	for _, sheet := range book.GetSheetList() {
		if err := readSheet(book, sheet, each); err != nil {
			return fmt.Errorf("sheet %s: %w", sheet, err)
		}
	}
	return nil
}

func readSheet(book *excelize.File, sheet string, each func(row int, r adapters.Record) error) error {
	rows, err := book.Rows(sheet)
	if err != nil {
		return err
	}
	var names []string
	for number := 1; rows.Next(); number++ {
		cells, err := rows.Columns()
		if err != nil {
			return errors.Join(err, rows.Close())
		}
		switch {
		case len(cells) == 0:
		case names == nil:
			names = cells
			err = checkColumns(names)
		default:
			var r adapters.Record
			if r, err = recordOf(names, cells); err == nil {
				err = each(number, r)
			}
			if err != nil {
				err = fmt.Errorf("row %d: %w", number, err)
			}
		}
		if err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Error(), rows.Close())
}

// fold takes out of a heading what does not count.
func fold(heading string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "_", "").Replace(heading))
}

func checkColumns(names []string) error {
	for _, needed := range []string{columnQuestion, columnAnswer, columnCreated} {
		if !slices.ContainsFunc(names, func(name string) bool { return fold(name) == needed }) {
			return fmt.Errorf("its first row names %s: the platform's records have inputMessage, outputMessage and createdAt", strings.Join(names, ", "))
		}
	}
	return nil
}

func recordOf(names, cells []string) (r adapters.Record, err error) {
	raw := make(map[string]string, len(cells))
	for i, cell := range cells {
		if i >= len(names) {
			return r, fmt.Errorf("it has %d cells under %d headings", len(cells), len(names))
		}
		if cell != "" {
			raw[names[i]] = cell
		}
		switch fold(names[i]) {
		case columnID:
			r.RemoteID = normalize.CleanText(cell)
		case columnQuestion:
			r.Question = normalize.CleanText(cell)
		case columnAnswer:
			r.Answer = normalize.CleanText(cell)
		case columnError:
			r.Error = normalize.CleanText(cell)
		case columnCreated:
			if r.CreatedAt, err = cellTime(cell); err != nil {
				return r, fmt.Errorf("%s: %w", names[i], err)
			}
		}
	}
	if r.CreatedAt.IsZero() {
		return r, errors.New("it has no createdAt")
	}
	r.Raw, err = json.Marshal(raw)
	return r, err
}

// cellTime reads a moment: as the API writes it, or as Excel counts days.
func cellTime(cell string) (time.Time, error) {
	if n, err := strconv.ParseFloat(cell, 64); err == nil && n > 0 {
		if n < 1e6 {
			t, err := excelize.ExcelDateToTime(n, false)
			return t.UTC().Round(time.Millisecond), err
		}
		cell = strconv.FormatInt(int64(math.Round(n)), 10)
	}
	t, ok := normalize.ParseTime(cell)
	if !ok {
		return time.Time{}, errors.New("is no moment")
	}
	return t, nil
}
