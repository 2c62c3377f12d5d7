package postfix

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// maxAnswerOfKey is how many bytes postmap may print for each key, in addition to maxAnswer.
const maxAnswerOfKey = 2 << 10

// table is a lookup table of Postfix. The first lookup asks it for all keys at once.
type table struct {
	name  string   // TYPE:PLACE, as in main.cf
	keys  []string // all keys that may be looked up
	asked sync.Once
	found map[string]string
	err   error
}

// lookup returns what the table has for one of its keys.
func (t *table) lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	t.asked.Do(func() { t.found, t.err = postmap(ctx, t.name, t.keys) })
	value, ok = t.found[key]
	return value, ok, t.err
}

// pattern reports whether a table holds patterns, which Postfix matches against whole addresses only.
func (t *table) pattern() bool {
	kind, _, _ := strings.Cut(direct(t.name), ":")
	switch kind {
	case "regexp", "pcre", "cidr", "tcp":
		return true
	}
	return false
}

// direct returns a table without its proxy: prefix. Only Postfix's own processes may use proxymap(8).
func direct(table string) string { return strings.TrimPrefix(table, "proxy:") }

// postmap asks a table for all keys at once.
func postmap(ctx context.Context, table string, keys []string) (map[string]string, error) {
	input := strings.Join(keys, "\n") + "\n"
	answer, err := run(ctx, []byte(input), maxAnswer+len(keys)*maxAnswerOfKey, "postmap", "-q", "-", direct(table))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", table, err)
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(answer)) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			found[key] = strings.TrimSpace(value)
		}
	}
	return found, nil
}

// tables are the tables of one parameter in the order of their lookup.
type tables []*table

// tablesOf returns the tables among the items of a list.
func tablesOf(list string, keys []string) tables {
	var all tables
	for _, item := range items(list) {
		item = strings.TrimPrefix(item, "!")
		if strings.Contains(item, ":") && !strings.HasPrefix(item, "/") && !strings.HasPrefix(item, "[") {
			all = append(all, &table{name: item, keys: keys})
		}
	}
	return all
}

// String returns the names of the tables for people.
func (t tables) String() string {
	if len(t) == 0 {
		return "empty"
	}
	var names []string
	for _, one := range t {
		names = append(names, one.name)
	}
	return strings.Join(names, ", ")
}

// lookedUp is the result of a search in tables.
type lookedUp struct{ key, value, table string }

// search looks up each key in all tables before the next key, as Postfix does. It returns nil if there is nothing. Tables of patterns are asked
// for the first "whole" keys only, and for "*".
func (t tables) search(ctx context.Context, keys []string, whole int) (*lookedUp, error) {
	for i, key := range keys {
		for _, one := range t {
			if i >= whole && key != "*" && one.pattern() {
				continue
			}
			value, ok, err := one.lookup(ctx, key)
			if err != nil {
				return nil, err
			}
			if ok {
				return &lookedUp{key, value, one.name}, nil
			}
		}
	}
	return nil, nil
}
