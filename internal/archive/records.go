package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"chatmux/adapters"
	"chatmux/normalize"
)

// Destination says whose the records of a vendor become.
type Destination struct {
	Tenant  string
	Backend string // the backend of that vendor
}

// ImportRecords stores a vendor's records of questions and answers: each becomes a thread
// of its own that has ended, because a record does not say which conversation it was part
// of. Their ids follow from the vendor's, so that the same records imported again change
// nothing. Records is called twice, the first time to check all of them: where that fails,
// nothing was imported.
func ImportRecords(
	ctx context.Context, to Target, d Destination, records func(each func(row int, r adapters.Record) error) error, o Options,
) (Report, error) {
	im := &importing{to: to, options: o}
	err := records(func(_ int, r adapters.Record) error {
		im.report.InFile.Threads++
		im.report.InFile.Messages += len(d.section(r).first)
		im.total += 2
		return context.Cause(ctx)
	})
	if err != nil {
		return Report{}, err
	}
	done := im.total / 2
	err = records(func(_ int, r adapters.Record) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if done++; o.Progress != nil {
			o.Progress(done, im.total)
		}
		return im.thread(ctx, d.section(r))
	})
	if err == nil {
		err = im.flush(ctx)
	}
	return im.report, err
}

// section makes a thread of a record.
func (d Destination) section(r adapters.Record) *section {
	at := r.CreatedAt.UTC().Truncate(time.Millisecond)
	id := func(prefix, what string) string {
		key := r.RemoteID
		if key == "" {
			key = fmt.Sprintf("%q %q", r.Question, r.Answer)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %s %d", d.Tenant, d.Backend, key, what, at.UnixMilli()))
		var bits [16]byte
		binary.BigEndian.PutUint64(bits[:8], uint64(at.UnixMilli())<<16)
		copy(bits[6:], sum[:])
		return ours(prefix, bits)
	}
	s := &section{whole: true}
	s.ID, s.Tenant, s.Backend = id(normalize.PrefixThread, "thread"), d.Tenant, d.Backend
	s.Mode, s.Status = normalize.ModeAI, normalize.ThreadEnded
	s.Metadata = map[string]string{"imported_from": "records"}
	if r.RemoteID != "" && len(r.RemoteID) <= 512 { // as long as metadata may be
		s.Metadata["record_id"] = r.RemoteID
	}
	s.CreatedAt, s.UpdatedAt = at, at
	question := normalize.Message{
		ID: id(normalize.PrefixMessage, "question"), ThreadID: s.ID, Role: normalize.RoleUser, Type: normalize.TypeText, Text: r.Question,
		Status: normalize.StatusSent, Backend: d.Backend, CreatedAt: at, Raw: r.Raw,
	}
	if r.Error != "" {
		question.Reason = "the vendor noted an error: " + normalize.Excerpt(r.Error, 200)
	}
	s.first = []normalize.Message{question}
	if r.Answer != "" {
		s.first = append(s.first, normalize.Message{
			ID: id(normalize.PrefixMessage, "answer"), ThreadID: s.ID, Role: normalize.RoleAssistant, Type: normalize.TypeText, Text: r.Answer,
			Status: normalize.StatusComplete, InReplyTo: question.ID, Backend: d.Backend, CreatedAt: at,
		})
	}
	return s
}
