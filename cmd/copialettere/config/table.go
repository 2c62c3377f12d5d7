package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// table is one TOML table that is being read. The keys that its readers ask for are the known ones; any other is an error.
type table struct {
	reader *reader
	name   string // "received"; "" for the top of the file
	values map[string]any
	place  *place
	line   int      // of its header; 0 for the top of the file
	absent bool     // not in the file: read for its defaults and known keys only, so nothing is missing in it
	known  []string // the keys that were asked for

	missing map[string]*fault // by key; reported with the unknown keys, because one of them may be the missing one misspelt
}

// key returns the dotted name of a key, as errors show it.
func (t *table) key(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !isLetterDigit(r) && r != '_' && r != '-' }) {
		name = quote(name)
	}
	if t.name == "" {
		return name
	}
	return t.name + "." + name
}

func (t *table) has(name string) bool {
	_, ok := t.values[name]
	return ok
}

// lineOf returns the line of a key, or the line of the table if it has no such key.
func (t *table) lineOf(name string) int {
	if p := t.place.key(name); p != nil {
		return p.line
	}
	return t.line
}

func (t *table) fail(name string, f *fault) { t.reader.fail(t.lineOf(name), t.key(name), f) }

// check records a fault, and reports whether there was none.
func (t *table) check(name string, f *fault) bool {
	if f != nil {
		t.fail(name, f)
	}
	return f == nil
}

func (t *table) value(name string) (any, bool) {
	if !slices.Contains(t.known, name) {
		t.known = append(t.known, name)
	}
	v, ok := t.values[name]
	return v, ok
}

// require notes that a table lacks a key, if it does, and what to add.
func (t *table) require(name, remedy string) {
	if !t.absent && !t.has(name) {
		t.lacks(name, "it is missing", "add "+remedy)
	}
}

func (t *table) lacks(name, problem, remedy string) {
	if t.missing == nil {
		t.missing = make(map[string]*fault)
	}
	t.missing[name] = &fault{problem, remedy}
}

// text reads text. It returns false where the key is absent, or has another type, which it reports.
func (t *table) text(name, example string) (string, bool) {
	v, ok := t.value(name)
	if !ok {
		return "", false
	}
	s, ok := v.(string)
	if !ok {
		t.fail(name, faultf(fmt.Sprintf("write %s = %q", name, example), "it must be text in quotes, but is %s", describe(v)))
	}
	return s, ok
}

// choice reads one of several words. The first one is the default.
func choice[T ~string](t *table, name string, words ...T) T {
	s, ok := t.text(name, string(words[0]))
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, T(s)) {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = quote(string(w))
		}
		t.fail(name, faultf("write "+strings.Join(quoted[:len(quoted)-1], ", ")+" or "+quoted[len(quoted)-1], "%s is not one of its values", quote(s)))
	}
	return T(s)
}

// flag reads true or false. Without the key it is false.
func (t *table) flag(name string) bool {
	v, ok := t.value(name)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		t.fail(name, faultf("write true or false, without quotes", "it must be true or false, but is %s", describe(v)))
	}
	return b
}

// number reads a whole number.
func (t *table) number(name string, fallback, least, most int64) int {
	v, ok := t.value(name)
	if !ok {
		return int(fallback)
	}
	n, ok := v.(int64)
	switch {
	case !ok:
		t.fail(name, faultf(fmt.Sprintf("write %s = %d", name, fallback), "it must be a whole number, but is %s", describe(v)))
	case n < least || n > most:
		t.fail(name, faultf(fmt.Sprintf("write a number from %d to %d", least, most), "%d is out of range", n))
	}
	return int(n)
}

// duration reads a duration with its unit.
func (t *table) duration(name string, fallback, least, most time.Duration) time.Duration {
	return quantity(t, name, fallback, least, most, parseDuration, formatDuration, "s")
}

// size reads a size with its unit, in bytes.
func (t *table) size(name string, fallback, least, most int64) int64 {
	return quantity(t, name, fallback, least, most, parseSize, formatSize, "MB")
}

func quantity[T ~int64](t *table, name string, fallback, least, most T, parse func(string) (T, *fault), format func(T) string, unit string) T {
	v, ok := t.value(name)
	if !ok {
		return fallback
	}
	s, ok := v.(string)
	if n, bare := v.(int64); bare && n >= 0 {
		t.fail(name, faultf(fmt.Sprintf("write \"%d%s\"", n, unit), "%d has no unit", n))
		return fallback
	} else if !ok {
		t.fail(name, faultf(fmt.Sprintf("write %s = %q", name, format(fallback)), "it must be text with a unit, but is %s", describe(v)))
		return fallback
	}
	n, f := parse(s)
	if f == nil && (n < least || n > most) {
		f = faultf(fmt.Sprintf("write a value from %q to %q", format(least), format(most)), "%s is out of range", quote(s))
	}
	if !t.check(name, f) {
		// The default keeps this error from causing another, as in a sum.
		return fallback
	}
	return n
}

// items calls f for each text of a list, with its line.
func (t *table) items(name, example string, f func(s string, line int)) {
	v, ok := t.value(name)
	if !ok {
		return
	}
	values, ok := v.([]any)
	if !ok {
		if s, isText := v.(string); isText {
			example = s
		}
		t.fail(name, faultf(fmt.Sprintf("write %s = [%s]", name, quote(example)), "it must be a list, but is %s", describe(v)))
		return
	}
	for i, v := range values {
		line := t.lineOf(name)
		if p := t.place.key(name).item(i); p != nil {
			line = p.line
		}
		if s, ok := v.(string); ok {
			f(s, line)
		} else {
			t.reader.fail(line, t.key(name), faultf(fmt.Sprintf("write %s = [%q]", name, example),
				"its items must be text in quotes, but one is %s", describe(v)))
		}
	}
}

func (t *table) length(name string) int {
	values, ok := t.values[name].([]any)
	if !ok {
		return -1
	}
	return len(values)
}

// list reads a list of texts through parse and refuses what appears twice.
func list[T any](t *table, name, example string, parse func(string) (T, *fault), identity func(T) string) []T {
	var all []T
	lines := make(map[string]int)
	t.items(name, example, func(s string, line int) {
		v, f := parse(s)
		if f == nil && lines[identity(v)] > 0 {
			f = faultf("remove one of the two", "%s appears twice", quote(s))
		}
		if f != nil {
			t.reader.fail(line, t.key(name), f)
			return
		}
		lines[identity(v)] = line
		all = append(all, v)
	})
	return all
}

// table returns a table inside this one. If the file lacks it, the table is absent, not nil.
func (t *table) table(name string) *table {
	sub := &table{reader: t.reader, name: t.key(name), line: t.lineOf(name)}
	t.reader.tables = append(t.reader.tables, sub)
	v, ok := t.value(name)
	if !ok {
		sub.absent = true
		return sub
	}
	if sub.values, ok = v.(map[string]any); !ok {
		// The error below is enough: report nothing as missing.
		sub.absent = true
		t.fail(name, faultf("write ["+sub.name+"] once, and its keys below", "it must be a table, but is %s", describe(v)))
		return sub
	}
	sub.place = t.place.key(name)
	return sub
}

// list returns the tables of a list of tables. If the file has none, it returns one that is absent.
func (t *table) list(name string) []*table {
	var tables []*table
	add := func(v any, p *place) {
		sub := &table{reader: t.reader, name: name, place: p, line: t.lineOf(name)}
		if p != nil {
			sub.line = p.line
		}
		var ok bool
		if sub.values, ok = v.(map[string]any); !ok {
			t.reader.fail(sub.line, name, faultf("write [["+name+"]]", "its items must be tables, but one is %s", describe(v)))
			sub.absent = true
		}
		tables = append(tables, sub)
	}
	v, _ := t.value(name)
	switch v := v.(type) {
	case nil:
	case []map[string]any:
		for i := range v {
			add(v[i], t.place.key(name).item(i))
		}
	case []any:
		for i := range v {
			add(v[i], t.place.key(name).item(i))
		}
	default:
		t.fail(name, faultf("write [["+name+"]] above each", "it must be a list of tables, but is %s", describe(v)))
	}
	if len(tables) == 0 {
		tables = []*table{{reader: t.reader, name: name, absent: true}}
	}
	t.reader.tables = append(t.reader.tables, tables...)
	return tables
}

// describe names a value of TOML. It does not show text, which may be a secret.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "text"
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %g", v)
	case bool:
		return fmt.Sprintf("%t", v)
	case time.Time:
		return "a date"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "something else"
}

// unknown reports every key that no reader asked for, and every key that is missing.
func (r *reader) unknown() {
	for _, t := range r.tables {
		for _, name := range slices.Sorted(maps.Keys(t.values)) {
			if slices.Contains(t.known, name) {
				continue
			}
			free := slices.DeleteFunc(slices.Clone(t.known), t.has)
			if home := r.home(name, t.values[name]); home != "" {
				t.fail(name, faultf(home, "unknown key"))
			} else if near := nearest(name, free); near != "" {
				delete(t.missing, near)
				t.fail(name, faultf("write "+quote(near), "unknown key"))
			} else if near := nearest(name, t.known); near != "" {
				t.fail(name, faultf("remove it; "+quote(near)+" is there", "unknown key"))
			} else {
				t.fail(name, faultf("remove it", "unknown key"))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(t.missing)) {
			t.fail(name, t.missing[name])
		}
	}
}

// home returns the remedy for an unknown key that belongs to other tables; "" where no table has such a key. A value that is a table belongs only where a table of that
// name does.
func (r *reader) home(name string, value any) string {
	_, isTable := value.(map[string]any)
	var homes []string
	for i, other := range r.tables {
		if i > 0 && other.name == r.tables[i-1].name {
			continue // all [[domain]] tables know the same keys
		}
		home := "[" + other.name + "]"
		switch other.name {
		case "":
			home = "the top of the file, above the first table"
		case "domain", "archive_host":
			home = "[[" + other.name + "]]"
		}
		wantsTable := slices.ContainsFunc(r.tables, func(t *table) bool { return t.name == other.key(name) })
		if slices.Contains(other.known, name) && wantsTable == isTable && !slices.Contains(homes, home) {
			homes = append(homes, home)
		}
	}
	if len(homes) > 0 {
		return "it belongs to " + strings.Join(homes, " or ")
	}
	return ""
}

// nearest returns the known key that name probably means, or "".
func nearest(name string, known []string) string {
	fold := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	if len(name) > 50 {
		return ""
	}
	best, limit := "", min(max(len(name)/3, 1), 3)
	for _, k := range known {
		if d := distance(fold(name), fold(k)); d <= limit {
			best, limit = k, d-1
		}
	}
	return best
}

// distance counts the edits between two keys (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
