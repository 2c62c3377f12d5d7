package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy"
)

func TestLoadDomains(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]bool
		errors     []string // the lines of the error, without the name of the file
	}{
		{"certified and others", "# PEC\nalpha.test\n\n  Beta.TEST  # by hand\r\n!ext.test\n! gmx.test\n", map[string]bool{
			"alpha.test": true, "beta.test": true, "ext.test": false, "gmx.test": false,
		}, nil},
		{"byte order mark, no last line end", "\ufeffalpha.test", map[string]bool{"alpha.test": true}, nil},
		{"in ASCII", "xn--perch-fsa.test", map[string]bool{"perché.test": true}, nil},
		{"in Unicode", "!PERCHÉ.test\n中国.test", map[string]bool{"perché.test": false, "中国.test": true}, nil},
		{"in both forms", "xn--perch-fsa.test\nperché.test\nXN--Perch-FSA.TEST", map[string]bool{"perché.test": true}, nil},
		{"only looks encoded", "xn--perch-fs.test", map[string]bool{"xn--perch-fs.test": true}, nil},
		{"contradiction in both forms", "xn--perch-fsa.test\n!perché.test", nil, []string{
			`:2: "perché.test" is certified in one line and not in another, line 1: remove one of the two`,
		}},
		{"the same twice", "alpha.test\nALPHA.test\n!beta.test\n!beta.test\n", map[string]bool{"alpha.test": true, "beta.test": false}, nil},
		{"contradiction", "alpha.test\nbeta.test\n!alpha.test\n", nil, []string{
			`:3: "alpha.test" is certified in one line and not in another, line 1: remove one of the two`,
		}},
		{"no domains", "@alpha.test\nperché test\n!\nalpha.test beta.test\n*.perché.test\nalpha.test\ncitt\xe0.test\n", nil, []string{
			`:1: "@alpha.test" is not a domain: write "alpha.test"`,
			`:2: "perché test" is not a domain: write a domain such as "alpha.test"`,
			`:3: "" is not a domain: write a domain such as "alpha.test"`,
			`:4: "alpha.test beta.test" is not a domain: write a domain such as "alpha.test"`,
			`:5: "*.perché.test" is not a domain: write a domain such as "alpha.test"`,
			`:7: "citt\xe0.test" is not a domain: write a domain such as "alpha.test"`,
		}},
		{"empty", "# nothing yet\n", nil, []string{": there is not a domain in it: write one domain on a line"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "domains")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadDomains(path)
			want := ""
			if test.errors != nil {
				want = path + strings.Join(test.errors, "\n"+path)
			}
			var all Errors
			if want == "" && err != nil || want != "" && (!errors.As(err, &all) || err.Error() != want) {
				t.Errorf("error\n%v\nwant\n%s", err, want)
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	t.Run("errors have an end", func(t *testing.T) {
		var all Errors
		if _, err := parseDomains("domains", strings.Repeat("?\n", maxDomainErrors+1)); !errors.As(err, &all) || len(all) != maxDomainErrors {
			t.Errorf("%d errors", len(all))
		}
	})
	t.Run("no file", func(t *testing.T) {
		if _, err := LoadDomains(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

// FuzzDomains: an accepted list has the form of policy, and a refused one has errors with a line.
func FuzzDomains(f *testing.F) {
	for _, s := range []string{"alpha.test\n!ext.test\n", "# x\n\n", "xn--perch-fsa.test", "xn--a.test\n!xn--a.test", "\ufeffA.test\r\n", "!", "a.test#b", "!perché.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		domains, err := parseDomains("domains", text)
		if err == nil && len(domains) == 0 {
			t.Error("accepted without a domain")
		}
		for domain := range domains {
			if a, err := policy.ParseAddress("anna@" + domain); err != nil || a.Domain != domain {
				t.Errorf("%q is not a domain of policy: %+v, %v", domain, a, err)
			}
		}
		var all Errors
		if err != nil && !errors.As(err, &all) {
			t.Fatalf("%T", err)
		}
		for _, e := range all {
			inside := 0 <= e.Line && e.Line <= strings.Count(text, "\n")+1
			if !inside || e.Problem == "" || e.Remedy == "" || strings.ContainsAny(e.Error(), "\n\r") {
				t.Errorf("%#v", e)
			}
		}
	})
}
