package archtest

import (
	"go/ast"
	"go/token"
	"strings"
)

// exportedNamesAreOurs looks at every exported declaration: what its type, its
// parameters and results, its exported fields and its embedded types mention. A
// *zap.Logger may be a parameter of a constructor (New… or Open…), or a field of
// a struct that such a constructor takes.
func exportedNamesAreOurs(t *tree) (found []finding) {
	for _, d := range t.folders {
		options := constructorOptions(d)
		for _, f := range d.files {
			if f.test || f.syntax.Name.Name == "main" {
				continue
			}
			for _, m := range f.mentions(options) {
				for _, u := range f.uses(m.part) {
					dependency := imported{path: u.pkg}
					if _, ours := dependency.room(); ours || dependency.standard() || m.mayLog && u.pkg == "go.uber.org/zap" && u.name == "Logger" {
						continue
					}
					found = append(found, t.at(u.pos, "%s mentions %s.%s of %s", m.name, lastElement(u.pkg), u.name, u.pkg))
				}
			}
		}
	}
	return found
}

func lastElement(pkg string) string {
	return readImport(&ast.ImportSpec{Path: &ast.BasicLit{Value: `"` + pkg + `"`}}).name
}

// mention is a part of an exported declaration that its users see.
type mention struct {
	name   string
	part   ast.Node
	mayLog bool
}

// mentions lists what the exported declarations of a file show.
func (f *file) mentions(options map[string]bool) (list []mention) {
	for _, decl := range f.syntax.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.IsExported() && (decl.Recv == nil || ast.IsExported(typeName(decl.Recv.List[0].Type))) {
				list = append(list, signature(decl.Name.Name, decl.Type, constructor(decl))...)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						list = append(list, shape(spec.Name.Name, spec.Type, options[spec.Name.Name])...)
					}
				case *ast.ValueSpec:
					list = append(list, values(decl.Tok, spec)...)
				}
			}
		}
	}
	return list
}

func signature(name string, fn *ast.FuncType, mayLog bool) (list []mention) {
	for _, p := range fn.Params.List {
		list = append(list, mention{name, p.Type, mayLog})
	}
	if fn.Results != nil {
		list = append(list, mention{name, fn.Results, false})
	}
	return list
}

// shape lists what a type shows: of a struct the exported and the embedded
// fields, of an interface all methods, of anything else all of it.
func shape(name string, typ ast.Expr, mayLog bool) (list []mention) {
	s, ok := typ.(*ast.StructType)
	if !ok {
		return []mention{{name, typ, mayLog}}
	}
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 {
			list = append(list, mention{name, field.Type, mayLog})
		}
		for _, n := range field.Names {
			if n.IsExported() {
				list = append(list, shape(name+"."+n.Name, field.Type, mayLog)...)
			}
		}
	}
	return list
}

// values lists what exported variables show: the type where it is written, else
// what the type of the value follows from. A constant is of no dependency's type
// unless it says so.
func values(tok token.Token, spec *ast.ValueSpec) (list []mention) {
	for i, n := range spec.Names {
		switch {
		case !n.IsExported():
		case spec.Type != nil:
			list = append(list, mention{n.Name, spec.Type, false})
		case i < len(spec.Values) && tok == token.VAR:
			if part := typeOrigin(spec.Values[i]); part != nil {
				list = append(list, mention{n.Name, part, false})
			}
		}
	}
	return list
}

// typeOrigin gives the part of an expression that its type follows from; nil where
// that takes a type checker.
func typeOrigin(value ast.Expr) ast.Node {
	switch value := value.(type) {
	case *ast.UnaryExpr:
		return typeOrigin(value.X)
	case *ast.CompositeLit:
		return value.Type
	case *ast.CallExpr:
		return value.Fun
	case *ast.SelectorExpr:
		return value
	case *ast.FuncLit:
		return value.Type
	}
	return nil
}

// constructor reports whether a function makes something of its package.
func constructor(fn *ast.FuncDecl) bool {
	return fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "New") || strings.HasPrefix(fn.Name.Name, "Open"))
}

// constructorOptions names the types of a package that its constructors take.
func constructorOptions(d *folder) map[string]bool {
	names := make(map[string]bool)
	for _, f := range d.files {
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && !f.test && constructor(fn) {
				for _, p := range fn.Type.Params.List {
					names[typeName(p.Type)] = true
				}
			}
		}
	}
	return names
}

// typeName gives the name of a package's own type, also behind a pointer or with
// type arguments; empty for any other expression.
func typeName(typ ast.Expr) string {
	switch typ := typ.(type) {
	case *ast.Ident:
		return typ.Name
	case *ast.StarExpr:
		return typeName(typ.X)
	case *ast.IndexExpr:
		return typeName(typ.X)
	case *ast.IndexListExpr:
		return typeName(typ.X)
	}
	return ""
}
