package normalize_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"chatmux/normalize"
)

// The vectors are those of the TypeID specification, version 0.3.
var typeIDs = []struct{ prefix, id, uuid string }{
	{"nil", "nil_00000000000000000000000000", "00000000-0000-0000-0000-000000000000"},
	{"one", "one_00000000000000000000000001", "00000000-0000-0000-0000-000000000001"},
	{"ten", "ten_0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"},
	{"sixteen", "sixteen_0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"},
	{"big", "big_00000000000000000000000010", "00000000-0000-0000-0000-000000000020"},
	{"max", "max_7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
	{"prefix", "prefix_0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"},
	{"prefix", "prefix_01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"},
}

func TestIDsAreTypeIDs(t *testing.T) {
	for _, tt := range typeIDs {
		bits, err := normalize.ParseUUID(tt.uuid)
		if err != nil {
			t.Fatal(err)
		}
		if got := normalize.FormatID(tt.prefix, bits); got != tt.id {
			t.Errorf("%s is written %s, want %s", tt.uuid, got, tt.id)
		}
		if got, err := normalize.ParseID(tt.prefix, tt.id); err != nil || got != bits {
			t.Errorf("%s reads as %x, error %v, want %x", tt.id, got, err, bits)
		}
		if got := normalize.UUIDForm(tt.id); got != tt.uuid {
			t.Errorf("%s as a UUID is %s, want %s", tt.id, got, tt.uuid)
		}
		if got, err := normalize.ParseUUID(strings.ToUpper(tt.uuid)); err != nil || got != bits {
			t.Errorf("%s in upper case reads as %x, error %v", tt.uuid, got, err)
		}
	}
}

func bits(t *rapid.T, label string) (u [16]byte) {
	copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
	return u
}

func TestEveryIDComesBackFromBothForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := bits(t, "bits")
		id := normalize.FormatID(normalize.PrefixThread, u)
		if got, err := normalize.ParseID(normalize.PrefixThread, id); err != nil || got != u {
			t.Fatalf("%x is written %s and read as %x, error %v", u, id, got, err)
		}
		if got, err := normalize.ParseUUID(normalize.UUIDForm(id)); err != nil || got != u {
			t.Fatalf("%x as a UUID is %s and read as %x, error %v", u, normalize.UUIDForm(id), got, err)
		}
	})
}

// UUIDv7 begins with the time, so ids sort by age as long as their text does.
func TestIDsSortAsTheirBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := bits(t, "a"), bits(t, "b")
		ids := strings.Compare(normalize.FormatID("msg", a), normalize.FormatID("msg", b))
		if raw := bytes.Compare(a[:], b[:]); ids != raw {
			t.Fatalf("%x and %x compare as %d, their ids as %d", a, b, raw, ids)
		}
	})
}

func TestParseIDRefusesAnythingElse(t *testing.T) {
	good := "thr_01h455vb4pex5vsknk084sn02q"
	for _, id := range []string{
		"", "thr", "thr_", "_01h455vb4pex5vsknk084sn02q", "01h455vb4pex5vsknk084sn02q",
		"msg_01h455vb4pex5vsknk084sn02q", "THR_01h455vb4pex5vsknk084sn02q", strings.ToUpper(good),
		good + "0", good[:len(good)-1], good + "\n", " " + good, good[:len(good)-1] + "é",
		"thr_81h455vb4pex5vsknk084sn02q", "thr_zzzzzzzzzzzzzzzzzzzzzzzzzz", // over 128 bits
		"thr_01h455vb4pex5vsknk084sn02i", "thr_01h455vb4pex5vsknk084sn02l", "thr_01h455vb4pex5vsknk084sn02o", "thr_01h455vb4pex5vsknk084sn02u",
		"thr-01h455vb4pex5vsknk084sn02q", "thr__1h455vb4pex5vsknk084sn02q", "thr_01890a5d-ac96-774b-bcce-b3",
	} {
		if u, err := normalize.ParseID("thr", id); err == nil {
			t.Errorf("%q reads as %x", id, u)
		}
	}
}

func TestParseUUIDRefusesAnythingElse(t *testing.T) {
	for _, s := range []string{
		"", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}", "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
		"01890a5d-ac96-774b-bcce-b302099a805", "01890a5d-ac96-774b-bcce-b302099a80577", "01890a5d-ac96-774b-bcce-b302099a805g",
		"01890a5dxac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce_b302099a8057",
	} {
		if u, err := normalize.ParseUUID(s); err == nil {
			t.Errorf("%q reads as %x", s, u)
		}
	}
}

func TestUUIDFormLeavesForeignIDsAlone(t *testing.T) {
	for _, id := range []string{"", "order-help-17", "thr_short", "400000000000000001", "a_b_c"} {
		if got := normalize.UUIDForm(id); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, tt := range typeIDs {
		f.Add(tt.prefix, tt.id)
	}
	f.Fuzz(func(t *testing.T, prefix, id string) {
		u, err := normalize.ParseID(prefix, id)
		if err != nil {
			return
		}
		if again := normalize.FormatID(prefix, u); again != id {
			t.Errorf("%q is accepted, but %x is written %q", id, u, again)
		}
	})
}
