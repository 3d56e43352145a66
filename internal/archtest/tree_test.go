package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of our module.
const module = "chatmux"

// tree is the source of a module.
type tree struct {
	fset    *token.FileSet
	folders []*folder // that hold Go files, in lexical order
}

// folder is one package with its tests.
type folder struct {
	path  string // below the module's root, with slashes; . for the root
	files []*file
}

// file is one Go file.
type file struct {
	path    string
	test    bool
	syntax  *ast.File
	imports []imported
}

// imported is one import of a file.
type imported struct {
	path string
	name string // what the file calls it: its name there, or the last element of the path
	pos  token.Pos
}

// room gives the path of one of our packages below the module's root, and false
// for a package of someone else.
func (i imported) room() (string, bool) {
	if i.path == module {
		return ".", true
	}
	return strings.CutPrefix(i.path, module+"/")
}

// standard reports whether the package is the standard library's.
func (i imported) standard() bool {
	_, ours := i.room()
	first, _, _ := strings.Cut(i.path, "/")
	return !ours && !strings.Contains(first, ".")
}

// read parses every Go file of a module. Left out are testdata, folders whose
// name begins with a dot or an underscore, node_modules, and other modules.
func read(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	byPath := make(map[string]*folder)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(t.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("cannot judge a file that does not parse: %w", err)
		}
		dir := path.Dir(name)
		if byPath[dir] == nil {
			byPath[dir] = &folder{path: dir}
			t.folders = append(t.folders, byPath[dir])
		}
		f := &file{path: name, test: strings.HasSuffix(name, "_test.go"), syntax: syntax}
		for _, spec := range syntax.Imports {
			f.imports = append(f.imports, readImport(spec))
		}
		byPath[dir].files = append(byPath[dir].files, f)
		return nil
	})
	return t, err
}

func skipped(root fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func readImport(spec *ast.ImportSpec) imported {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser let it pass
	i := imported{path: p, pos: spec.Pos()}
	if spec.Name != nil {
		i.name = spec.Name.Name
		return i
	}
	elements := strings.Split(p, "/")
	i.name = elements[len(elements)-1]
	if n := len(elements); n > 1 && len(i.name) > 1 && i.name[0] == 'v' && strings.Trim(i.name[1:], "0123456789") == "" {
		i.name = elements[n-2] // a major version is not the name
	}
	return i
}

// finding is one place where a rule is broken.
type finding struct {
	place string // file:line, or a folder
	what  string
}

func (t *tree) at(pos token.Pos, format string, args ...any) finding {
	p := t.fset.Position(pos)
	return finding{fmt.Sprintf("%s:%d", p.Filename, p.Line), fmt.Sprintf(format, args...)}
}

// production yields the files that are linked into a program.
func (t *tree) production(yield func(*folder, *file) bool) {
	for _, d := range t.folders {
		for _, f := range d.files {
			if !f.test && !yield(d, f) {
				return
			}
		}
	}
}

// within reports whether a room is one of the rooms of a list, or lies below one.
// A star in a listed room stands for one folder.
func within(room string, list ...string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		have, want := strings.Split(room, "/"), strings.Split(pattern, "/")
		if len(have) < len(want) {
			return false
		}
		for i, w := range want {
			if ok, _ := path.Match(w, have[i]); !ok {
				return false
			}
		}
		return true
	})
}

// suite reports whether a folder is a test suite: code that only tests import.
func suite(room string) bool { return strings.HasSuffix(path.Base(room), "test") }

// twin reports whether a folder is a simulated vendor.
func twin(room string) bool {
	return within(room, "adapters/*/*") && strings.HasSuffix(path.Base(room), "twin")
}
