package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImportsPointOneWay reads the imports of all packages: each room knows only the rooms below it, and only journal/datafolder chooses an
// engine. Tests may import what they need.
func TestImportsPointOneWay(t *testing.T) {
	const module = "copialettere/"
	// The first rule whose room has a package says what the package must not import.
	rules := []struct {
		room string
		no   []string
	}{
		{"journal/kv", []string{"cmd", "lmtp", "policy", "journal", "journal/httpd", "journal/imapd", "journal/datafolder"}},
		{"journal/datafolder", []string{"cmd", "lmtp", "lmtp/nexthop", "policy", "journal/httpd", "journal/imapd"}},
		{"journal/httpd", []string{"cmd", "lmtp", "lmtp/nexthop", "journal/datafolder", "journal/imapd"}},
		{"journal/search", []string{"cmd", "lmtp", "lmtp/nexthop", "journal/datafolder", "journal/httpd", "journal/imapd"}},
		{"journal/imapd", []string{"cmd", "lmtp", "lmtp/nexthop", "journal/datafolder", "journal/httpd"}},
		{"journal/backup", []string{"cmd", "lmtp", "lmtp/nexthop", "policy", "journal/httpd", "journal/imapd"}},
		{"journal/doctor", []string{"cmd", "lmtp", "lmtp/nexthop", "policy", "journal/httpd", "journal/imapd"}},
		{"journal/export", []string{"cmd", "lmtp", "journal/datafolder", "journal/httpd", "journal/imapd"}},
		{"journal", []string{"cmd", "lmtp", "lmtp/nexthop", "policy", "journal/httpd", "journal/imapd", "journal/datafolder"}},
		{"lmtp/submission", []string{"cmd", "lmtp", "journal", "journal/httpd", "journal/imapd", "journal/datafolder", "journal/kv"}},
		{"lmtp/nexthop", []string{"cmd", "lmtp", "policy", "journal", "journal/httpd", "journal/imapd", "journal/datafolder"}},
		{"lmtp", []string{"cmd", "journal/httpd", "journal/imapd", "journal/datafolder"}},
		{"policy", []string{"cmd", "lmtp", "lmtp/nexthop", "journal/httpd", "journal/imapd", "journal/datafolder"}},
	}
	within := func(name, room string) bool { return name == room || strings.HasPrefix(name, room+"/") }
	root := filepath.Join("..", "..")
	read := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		folder = filepath.ToSlash(folder)
		read++
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			own, ok := strings.CutPrefix(name, module)
			if !ok {
				continue
			}
			for _, rule := range rules {
				if !within(folder, rule.room) {
					continue
				}
				for _, no := range rule.no {
					// A forbidden room is forbidden with all rooms inside it; only journal is forbidden without them.
					if own == no || no != "journal" && within(own, no) {
						t.Errorf("%s imports %s", path, own)
					}
				}
				break
			}
			if own == "journal/kv/level" && folder != "journal/datafolder" && !within(folder, "journal/kv/kvtest") {
				t.Errorf("%s names the engine, which journal/datafolder alone chooses", path)
			}
		}
		return nil
	})
	if err != nil || read < 100 {
		t.Fatalf("%d files read, %v", read, err)
	}
}
