package engine

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"chatmux/internal/store"
	"chatmux/normalize"
)

// A cursor is a position in one list: the list's own mark (of the tenant, the
// filters and the order, so that it fits no other list), time, sequence number and
// id. It grants nothing: every query asks for the tenant by itself.
const markLength = 8

func listMark(parts ...string) [markLength]byte {
	h := sha256.New()
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint32(len(p)))
		h.Write([]byte(p))
	}
	return [markLength]byte(h.Sum(nil))
}

func writeCursor(mark [markLength]byte, p store.Position) string {
	b := append(make([]byte, 0, 64), mark[:]...)
	var millis int64
	if !p.Time.IsZero() {
		millis = p.Time.UnixMilli()
	}
	b = binary.AppendVarint(b, millis)
	b = binary.AppendVarint(b, p.Seq)
	b = append(b, p.ID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func readCursor(mark [markLength]byte, cursor string) (p store.Position, err error) {
	if cursor == "" {
		return p, nil
	}
	bad := normalize.InvalidField("cursor", "is not a cursor of this list")
	b, decodeErr := base64.RawURLEncoding.DecodeString(cursor)
	if decodeErr != nil || len(b) < markLength || [markLength]byte(b) != mark {
		return p, bad
	}
	b = b[markLength:]
	millis, n := binary.Varint(b)
	if n <= 0 {
		return p, bad
	}
	seq, m := binary.Varint(b[n:])
	if m <= 0 {
		return p, bad
	}
	if millis != 0 {
		p.Time = time.UnixMilli(millis).UTC()
	}
	p.Seq, p.ID = seq, string(b[n+m:])
	return p, nil
}
