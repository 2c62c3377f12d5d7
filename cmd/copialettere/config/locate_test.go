package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// lines writes a tree of places in one line, as "key:line{keys}[items]".
func (p *place) lines() string {
	text := fmt.Sprint(p.line)
	if len(p.keys) > 0 {
		var keys []string
		for _, name := range slices.Sorted(maps.Keys(p.keys)) {
			keys = append(keys, name+":"+p.keys[name].lines())
		}
		text += "{" + strings.Join(keys, " ") + "}"
	}
	for _, item := range p.items {
		text += "[" + item.lines() + "]"
	}
	return text
}

func TestLocate(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "1"},
		{"keys", "a = 1\n\n# b = 2\nc=3 # d = 4\n", "a:1 c:4"},
		{"line ends of Windows", "a = 1\r\nb = \"x\"\r\nc = [\r\n1,\r\n2]\r\nd = 1", "a:1 b:2 c:3[4][5] d:6"},
		{"tables", "a = 1\n[ t ]\nb = 2\n[u.v]\nc = 3\n", "a:1 t:2{b:3} u:4{v:4{c:5}}"},
		{"lists of tables", "[[d]]\na = 1\n[[d]]\na = 2\n[d.x]\nb = 3\n[[d.y]]\n", "d:1[1{a:2}][3{a:4 x:5{b:6} y:7[7]}]"},
		{"table before its parent", "[a.b]\nx = 1\n[a]\ny = 2\n", "a:1{b:1{x:2} y:4}"},
		{"dotted keys", "a.b.c = 1\na . \"b\" . d = 2\n", "a:1{b:1{c:1 d:2}}"},
		{"quoted keys", "\"a b\" = 1\n'c.d' = 2\n\"e\\u0066\\\"\" = 3\n[\"t.u\"]\nx = 4\n", `a b:1 c.d:2 ef":3 t.u:4{x:5}`},
		{"texts with brackets and marks", "a = \"[ # ] \\\" =\"\nb = '\\'\nc = 1\n", "a:1 b:2 c:3"},
		{"long texts", "a = \"\"\"\nx = 1\n\\\"\"\" [y]\n\"\"\"\"\"\nb = '''\n\\'''\nc = ''''x''''\nd = \"\"\nz = ''\n", "a:1 b:5 c:7 d:8 z:9"},
		{"list over lines", "a = [ # one\n  1,\n  # two\n  \"]\", [\n 2 ], { x = 1 }\n]\nb = 1\n", "a:1[2][4][4[5]][5{x:5}] b:7"},
		{"inline tables", "a = { b = 1, c.d = [ 1,\n 2 ], 'e' = { f = {} } }\ng = 1\n", "a:1{b:1 c:1{d:1[1][2]} e:2{f:2}} g:3"},
		{"inline tables of TOML 1.1", "a = {\n  b = 1, # x\n  c = 2,\n}\nd = 1", "a:1{b:2 c:3} d:5"},
		{"scalars", "a = 1979-05-27 07:32:00\nb = -inf\nc = 0x_\nd=true\ne = [true,false]\nf=1", "a:1 b:2 c:3 d:4 e:5[5][5] f:6"},
		{"line continuation", "a = \"\"\"x \\\n   y\\\\\"\"\"\nb = 1\n", "a:1 b:3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root, deep := locate(test.text)
			got := strings.TrimSuffix(strings.TrimPrefix(root.lines(), "1{"), "}")
			if got != test.want || deep != 0 {
				t.Errorf("got  %s (deep %d)\nwant %s", got, deep, test.want)
			}
		})
	}
}

func TestLocateDeep(t *testing.T) {
	for name, nested := range map[string]func(levels int) string{
		"lists":         func(n int) string { return "\na = " + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) },
		"inline tables": func(n int) string { return "\na = " + strings.Repeat("{a=", n) + "1" + strings.Repeat("}", n) },
		"dotted key":    func(n int) string { return "\na" + strings.Repeat(".a", n-1) + " = 1" },
		"table name":    func(n int) string { return "\n[a" + strings.Repeat(".a", n-1) + "]" },
	} {
		t.Run(name, func(t *testing.T) {
			for levels, want := range map[int]int{maxDepth: 0, maxDepth + 1: 2} {
				if _, deep := locate(nested(levels)); deep != want {
					t.Errorf("%d levels: deep in line %d, want %d", levels, deep, want)
				}
			}
		})
	}
}

// FuzzLocate: locate ends, and in text that the TOML library accepts it finds every key and item that the library finds, on a
// line where the key can be read.
func FuzzLocate(f *testing.F) {
	for _, text := range []string{
		minimal, "[[d]]\na.b = [1, {c = '''\n'''}]\n[d.e]\n\"f\\n\" = \"\"\"\n\\\"\"\"\"\"\"\n", "a = {\n b = 1, # x\n}\r\n[a.c]\n", "a = [[1,[2]],\n[\n]]",
		"\"\\e\" = 1\n\"\\x41\".b = 2", "a=[{b=1},{b=2,\nc=3}]\n", "1.2 = 3.4\n-_- = 1e5\n", "a = ''''''\nb = \"\"\"\"\"\"\nc = 1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "\ufeff") || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return // read removes byte order marks first
		}
		root, deep := locate(text)
		if deep > 0 {
			return
		}
		values := make(map[string]any)
		if _, err := toml.Decode(text, &values); err != nil {
			return
		}
		checkPlaces(t, values, root, strings.Split(text, "\n"))
	})
}

func checkPlaces(t *testing.T, v any, p *place, lines []string) {
	if p == nil || p.line < 1 || p.line > len(lines) {
		t.Fatalf("%v has the place %+v", v, p)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			k := p.key(name)
			if k == nil {
				t.Fatalf("key %q has no place", name)
			}
			if bare := !strings.ContainsFunc(name, func(r rune) bool { return !isLetterDigit(r) }); bare && k.line >= 1 && k.line <= len(lines) {
				// A quoted key may write its letters as escapes.
				if line := lines[k.line-1]; !strings.Contains(line, name) && !strings.Contains(line, `\`) {
					t.Fatalf("key %q is not in its line %d: %q", name, k.line, line)
				}
			}
			checkPlaces(t, value, k, lines)
		}
	case []any:
		if len(v) != len(p.items) {
			t.Fatalf("%d items have %d places", len(v), len(p.items))
		}
		for i := range v {
			checkPlaces(t, v[i], p.item(i), lines)
		}
	case []map[string]any:
		if len(v) != len(p.items) {
			t.Fatalf("%d tables have %d places", len(v), len(p.items))
		}
		for i := range v {
			checkPlaces(t, v[i], p.item(i), lines)
		}
	}
}
