package shape

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path"
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
		names, err := filepath.Glob(filepath.Join(root, p.folder, "*.go"))
		require.NoError(t, err)
		fset, files := token.NewFileSet(), []*ast.File(nil)
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				f, err := parser.ParseFile(fset, name, nil, 0)
				require.NoError(t, err)
				files = append(files, f)
			}
		}
		require.Empty(t, internalTypes(t, fset, files...), p.folder)
	}
}

func TestInternalTypesAreFound(t *testing.T) {
	for source, want := range map[string]string{
		"type Flow = lab.A":                                      "lab.A",
		"type Flow struct { F []*lab.A; g lab.B }":               "lab.A",
		"type S interface { M(lab.A) }":                          "lab.A",
		"func F() (lab.A, error) { return lab.B{}, nil }":        "lab.A",
		"type T int; func (*T) M(a lab.A) {}":                    "lab.A",
		"var V lab.A":                                            "lab.A",
		"type t int; func (t) M(a lab.A) {}; func f(lab.A) {}":   "",
		"type t struct { lab.A }; var v lab.A; func F() { f() }": "",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "p.go", "package p; import \""+module+"/internal/test/lab\"; "+source, 0)
		require.NoError(t, err)
		require.Equal(t, want, strings.Join(internalTypes(t, fset, f), " "), source)
	}
}

// internalTypes lists what the exported declarations of a package name of internal packages.
func internalTypes(t *testing.T, fset *token.FileSet, files ...*ast.File) (found []string) {
	internal := map[string]bool{}
	for _, f := range files {
		for _, imp := range f.Imports {
			if p := strings.Trim(imp.Path.Value, `"`); strings.Contains(p, "/internal/") {
				internal[path.Base(p)] = true
			}
		}
	}
	p, err := doc.NewFromFiles(fset, files, "p") // leaves out what is not exported, and bodies
	require.NoError(t, err)
	values, funcs := append(p.Consts, p.Vars...), p.Funcs
	for _, typ := range p.Types {
		values = append(append(values, typ.Consts...), typ.Vars...)
		values = append(values, &doc.Value{Decl: typ.Decl})
		funcs = append(append(funcs, typ.Funcs...), typ.Methods...)
	}
	look := func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && internal[x.Name] {
				found = append(found, x.Name+"."+sel.Sel.Name)
			}
		}
		return true
	}
	for _, v := range values {
		ast.Inspect(v.Decl, look)
	}
	for _, f := range funcs {
		ast.Inspect(f.Decl, look)
	}
	return found
}
