package archtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// root is the module's root as seen from here.
const root = "../.."

func TestHouseKeepsItsRules(t *testing.T) {
	house, err := read(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, f := range r.check(house) {
				t.Errorf("%s: %s\n\tthe rule: %s\n\tbecause %s", f.place, f.what, r.name, r.because)
			}
		})
	}
}

// Every rule is broken on purpose in a small house, and must name exactly the
// broken places; what stands beside them must pass.
func TestRulesBite(t *testing.T) {
	bitten := make(map[string]bool)
	for _, tt := range bites {
		t.Run(tt.name, func(t *testing.T) {
			bitten[tt.rule] = true
			files := fstest.MapFS{}
			for _, f := range txtar.Parse([]byte(tt.house)).Files {
				files[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			house, err := read(files)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rules {
				if r.name != tt.rule {
					continue
				}
				for _, f := range r.check(house) {
					got = append(got, f.place+": "+f.what)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings of %q (-want +got):\n%s", tt.rule, diff)
			}
		})
	}
	for _, r := range rules {
		if !bitten[r.name] {
			t.Errorf("no case breaks the rule %q: without one nobody knows that it bites", r.name)
		}
	}
}

func TestUnreadableFileIsNotPassedOver(t *testing.T) {
	if _, err := read(fstest.MapFS{"a/a.go": {Data: []byte("package a\nfunc {")}}); err == nil {
		t.Error("a file that does not parse was passed over")
	}
}

func TestOtherModulesAndTestdataAreNotOurs(t *testing.T) {
	house, err := read(fstest.MapFS{
		"a/a.go":              {Data: []byte("package a")},
		"a/testdata/x.go":     {Data: []byte("no Go at all")},
		"tools/go.mod":        {Data: []byte("module tools")},
		"tools/tools.go":      {Data: []byte("no Go at all")},
		".hidden/x.go":        {Data: []byte("no Go at all")},
		"_off/x.go":           {Data: []byte("no Go at all")},
		"a/node_modules/x.go": {Data: []byte("no Go at all")},
	})
	if err != nil || len(house.folders) != 1 || house.folders[0].path != "a" {
		t.Errorf("folders %v, error %v, want a alone", house.folders, err)
	}
}

// SQLite's driver and its C library are one artefact in two modules: any other
// version of the library than the one that the driver asks for breaks it silently.
func TestSQLiteHasTheLibraryItAsksFor(t *testing.T) {
	var driver, library struct{ Version, GoMod string }
	goJSON(t, &driver, "list", "-m", "-json", "modernc.org/sqlite")
	goJSON(t, &library, "list", "-m", "-json", "modernc.org/libc")
	var asks struct {
		Require []struct{ Path, Version string }
	}
	goJSON(t, &asks, "mod", "edit", "-json", driver.GoMod)
	for _, r := range asks.Require {
		if r.Path == "modernc.org/libc" {
			if r.Version != library.Version {
				t.Errorf("modernc.org/sqlite %s asks for modernc.org/libc %s, go.mod has %s: pin that one", driver.Version, r.Version, library.Version)
			}
			return
		}
	}
	t.Errorf("modernc.org/sqlite %s does not ask for modernc.org/libc any more: this test has no use then", driver.Version)
}

func goJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %v: %v", args, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("go %v: %v", args, err)
	}
}
