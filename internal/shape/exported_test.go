package shape

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExportedAPIHasNoInternalTypes: nobody outside this module can name a type of an internal
// package.
func TestExportedAPIHasNoInternalTypes(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.folder, "examples") || strings.Contains(p.folder+"/", "internal/") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, p.folder, "*.go"))
		require.NoError(t, err)
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
				require.NoError(t, err)
				for _, found := range internalTypes(f) {
					t.Errorf("%s exports %s", name, found)
				}
			}
		}
	}
}

func TestInternalTypesAreFound(t *testing.T) {
	const head = "package p\nimport \"" + module + "/internal/lab\"\n"
	for source, want := range map[string][]string{
		"type Flow = lab.Flow":                                 {"lab.Flow"},
		"type Flow struct { F []*lab.Flow; g lab.G }":          {"lab.Flow"},
		"type S interface { M(lab.A) lab.B }":                  {"lab.A", "lab.B"},
		"func F() (lab.A, error) { return lab.B{}, nil }":      {"lab.A"},
		"type T int; func (T) M(a lab.A) {}":                   {"lab.A"},
		"type t int; func (t) M(a lab.A) {}":                   nil,
		"func f(lab.A) {}; type g struct { lab.A }; var _ = 1": nil,
		"var V lab.A": {"lab.A"},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", head+source, parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Equal(t, want, internalTypes(f), source)
	}
}

// internalTypes lists what exported declarations name of internal packages.
func internalTypes(f *ast.File) (found []string) {
	internal := map[string]bool{}
	for _, imp := range f.Imports {
		if path := strings.Trim(imp.Path.Value, `"`); strings.Contains(path, "/internal/") {
			internal[filepath.Base(path)] = true
		}
	}
	var look func(n ast.Node) bool
	look = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field: // of a struct or an interface; parameters have no exported names, but are looked at by way of their list
			return len(n.Names) == 0 || n.Names[0].IsExported()
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{n.Params, n.Results} {
				if list != nil {
					for _, field := range list.List {
						ast.Inspect(field.Type, look)
					}
				}
			}
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && internal[x.Name] {
				found = append(found, x.Name+"."+n.Sel.Name)
			}
		}
		return true
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedType(d.Recv.List[0].Type)) {
				look(d.Type)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						ast.Inspect(s.Type, look)
					}
				case *ast.ValueSpec:
					if s.Names[0].IsExported() && s.Type != nil {
						ast.Inspect(s.Type, look)
					}
				}
			}
		}
	}
	return found
}

func exportedType(e ast.Expr) bool {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}
