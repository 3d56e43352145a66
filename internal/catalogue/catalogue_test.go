//go:build linux

package catalogue

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"chatmux/internal/pgtest"
)

// tier says when a row runs.
type tier int

const (
	check  tier = iota // in every run
	soak               // in long runs
	bench              // a figure that hangs on the machine: measured by the benchmarks, asserted nowhere
	inside             // needs the code: a test of the package that is named
	notYet             // what it is about does not exist yet
)

// row is one fault, and the promise that is kept all the same.
type row struct {
	id      string
	promise string // the subtest's name after the id
	tier    tier
	run     func(testing.TB, *scene) // of rows in check and soak
	because string                   // of the others: why, or package and test
	open    string                   // not kept yet, and why; the row runs, and has to fail
	stores  []string                 // the only stores that it is about; nil: all
}

// groups says how many rows each group has.
var groups = []struct {
	letter string
	rows   []row
	count  int
}{
	{"U", vendorRows, 32},
	{"S", streamRows, 25},
	{"R", breakerRows, 18},
	{"C", inputRows, 21},
	{"I", keyRows, 12},
	{"A", attackRows, 20},
	{"G", configRows, 15},
	{"D", storageRows, 15},
	{"O", overloadRows, 10},
	{"P", processRows, 11},
	{"W", webhookRows, 14},
	{"M", replicaRows, 7},
}

// parallel is how many rows run at once: they mostly wait.
const parallel = 6

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", fmt.Sprint(parallel))
	}
	code := pgtest.Main{M: m}.Run()
	removeBinary()
	os.Exit(code)
}

// TestFaults runs the rows that end within about two seconds.
func TestFaults(t *testing.T) {
	if soaking {
		t.Skip("these are the quick rows: run them without the tag soak")
	}
	runRows(t, check)
}

func runRows(t *testing.T, which tier) {
	for _, group := range groups {
		for _, r := range group.rows {
			if r.tier != which {
				continue
			}
			t.Run(r.id+"_"+r.promise, func(t *testing.T) {
				t.Parallel()
				for _, kind := range stores {
					if r.stores != nil && !slices.Contains(r.stores, kind.name) {
						continue
					}
					t.Run(kind.name, func(t *testing.T) {
						t.Parallel()
						runRow(t, r, kind)
					})
				}
			})
		}
	}
}

// TestEveryRowHasATestAndEveryTestARow counts both ways: ids without a gap, a
// function of the row's own name for each that runs, a reason or an existing test
// for each that does not, and no function of such a name beside them.
func TestEveryRowHasATestAndEveryTestARow(t *testing.T) {
	promise := regexp.MustCompile(`^[a-z0-9_]+$`)
	tested := make(map[string]bool)
	for _, group := range groups {
		byID := make(map[string]row)
		for _, r := range group.rows {
			if _, twice := byID[r.id]; twice {
				t.Errorf("%s stands twice in the table", r.id)
			}
			byID[r.id] = r
		}
		for n := 1; n <= group.count; n++ {
			id := fmt.Sprintf("%s%02d", group.letter, n)
			r, ok := byID[id]
			if !ok {
				t.Errorf("%s is not in the table", id)
				continue
			}
			delete(byID, id)
			if !promise.MatchString(r.promise) {
				t.Errorf("%s: %q is no promise that can be a test's name", id, r.promise)
			}
			switch r.tier {
			case check, soak:
				if r.run == nil {
					t.Errorf("%s has no test", id)
				} else if name := functionName(r.run); name != strings.ToLower(id) {
					t.Errorf("%s is tested by a function called %s", id, name)
				}
				tested[strings.ToLower(id)] = true
			case inside:
				dir, test, _ := strings.Cut(r.because, " ")
				if !slices.Contains(functions(t, filepath.Join("../..", dir)), test) {
					t.Errorf("%s: there is no %s in %s", id, test, dir)
				}
			case bench, notYet:
				if r.because == "" {
					t.Errorf("%s does not run, and nobody says why", id)
				}
			}
			if r.run != nil && r.tier != check && r.tier != soak {
				t.Errorf("%s has a test that never runs", id)
			}
		}
		for id := range byID {
			t.Errorf("%s is in the table, and group %s has %d rows", id, group.letter, group.count)
		}
	}
	ofRow := regexp.MustCompile(`^[usrciagdopwm][0-9][0-9]$`)
	for _, name := range functions(t, ".") {
		if ofRow.MatchString(name) && !tested[name] {
			t.Errorf("the function %s tests a row that is not in the table", name)
		}
	}
}

// functionName gives the last part of a function's name.
func functionName(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:]
}

// functions lists the functions of a folder's tests.
func functions(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
