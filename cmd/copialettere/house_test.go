package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxFileLines is the most lines that a Go file may have. A longer one has two subjects.
const maxFileLines = 600

// TestHouse checks the rules that neither vet nor staticcheck knows: no Go file is longer than maxFileLines, and every package and every exported
// name outside of tests has a doc comment. A comment on a group of constants or variables counts for each of them.
func TestHouse(t *testing.T) {
	const top = "../.."
	packages := make(map[string]bool) // by folder: has a doc comment
	files := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, and may have %d", path, n, maxFileLines)
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, b, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		packages[folder] = packages[folder] || f.Doc != nil
		for _, name := range undocumented(f) {
			t.Errorf("%s: %s has no doc comment", set.Position(name.Pos()), name.Name)
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files, %v", files, err)
	}
	for folder, documented := range packages {
		if !documented {
			t.Errorf("the package in %s has no doc comment", folder)
		}
	}
}

// undocumented returns the exported names of a file that have no doc comment.
func undocumented(f *ast.File) (names []*ast.Ident) {
	need := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		for _, doc := range docs {
			if doc != nil {
				return
			}
		}
		if name.IsExported() {
			names = append(names, name)
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || exportedReceiver(d.Recv) {
				need(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					need(spec.Name, d.Doc, spec.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						need(name, d.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return names
}

// exportedReceiver reports whether a method belongs to an exported type.
func exportedReceiver(list *ast.FieldList) bool {
	t := list.List[0].Type
	for {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		case *ast.IndexListExpr:
			t = inner.X
		case *ast.Ident:
			return inner.IsExported()
		default:
			return false
		}
	}
}
