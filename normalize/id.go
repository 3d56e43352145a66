package normalize

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// The prefixes of our ids.
const (
	PrefixThread    = "thr"
	PrefixMessage   = "msg"
	PrefixMigration = "mig"
	PrefixRequest   = "req"
	PrefixDelivery  = "evt" // of an event for one receiver: what the receiver knows it by
)

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

var crockfordValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(crockford) {
		t[crockford[i]] = byte(i)
	}
	return t
}()

// suffixLen is the number of base32 characters that hold 128 bits.
const suffixLen = 26

// FormatID writes 128 bits as one of our ids: the prefix, an underscore and 26
// characters of lower-case Crockford base32 (the TypeID form).
func FormatID(prefix string, u [16]byte) string {
	b := make([]byte, 0, len(prefix)+1+suffixLen)
	b = append(b, prefix...)
	b = append(b, '_')
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	for shift := 125; shift >= 0; shift -= 5 {
		var v uint64
		switch {
		case shift >= 64:
			v = hi >> (shift - 64)
		case shift > 59: // the five bits lie on both sides of the middle
			v = hi<<(64-shift) | lo>>shift
		default:
			v = lo >> shift
		}
		b = append(b, crockford[v&31])
	}
	return string(b)
}

// ParseID reads one of our ids and returns its 128 bits. Only the exact written
// form is accepted: lower case, the given prefix, no other characters.
func ParseID(prefix, id string) (u [16]byte, err error) {
	suffix, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(suffix) != suffixLen {
		return u, fmt.Errorf("not a %s id", prefix)
	}
	var hi, lo uint64
	for i := range len(suffix) {
		v := crockfordValue[suffix[i]]
		if v == 0xff || i == 0 && v > 7 {
			return u, fmt.Errorf("not a %s id", prefix)
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	binary.BigEndian.PutUint64(u[:8], hi)
	binary.BigEndian.PutUint64(u[8:], lo)
	return u, nil
}

// UUIDForm gives the same 128 bits of one of our ids written as a UUID, as a
// dialect shows them to a client that expects a UUID. An id of another form is
// returned as it is.
func UUIDForm(id string) string {
	prefix, _, ok := strings.Cut(id, "_")
	if !ok {
		return id
	}
	u, err := ParseID(prefix, id)
	if err != nil {
		return id
	}
	b := make([]byte, 36)
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b)
}

// ParseUUID reads a UUID in its 36-character form, in either case, and returns
// its 128 bits.
func ParseUUID(s string) (u [16]byte, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("not a UUID")
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return u, fmt.Errorf("not a UUID")
	}
	return u, nil
}
