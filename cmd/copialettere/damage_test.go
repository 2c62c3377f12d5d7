package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
)

// TestDamage damages an entry and a record. The commands show all others, and then name these.
func TestDamage(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	p.arrived(time.Now(), anna, 3)
	stop := p.daemon()
	p.deliver(message, anna, "info@alpha.test")
	p.deliver(strings.Replace(message, "Subject", "X-Number: 2\r\nSubject", 1), anna, "info@alpha.test")
	stop()
	for _, kind := range []string{"e", "g"} {
		p.damage(kind + anna)
	}
	for _, c := range []struct {
		command string
		want    int    // lines on standard output
		failed  string // on standard error
	}{
		{"list", 2, "left out: 1;"}, {"why", 3, "left out: 2;"}, {"gaps", 1, "left out: 1;"},
	} {
		code, stdout, stderr := p.run(c.command, anna)
		if code != 1 || strings.Count(stdout, "\n") != c.want || !strings.Contains(stderr, c.failed) {
			t.Errorf("%s: exit status %d\n%s%s", c.command, code, stdout, stderr)
		}
	}
}

// damage overwrites the value of the first key of the newest volume that begins with prefix.
func (p *place) damage(prefix string) {
	p.t.Helper()
	engine, err := level.Open(filepath.Join(p.dir, "data", "journal"), level.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer engine.Close()
	months, err := engine.Volumes(p.t.Context())
	if err != nil || len(months) == 0 {
		p.t.Fatal(months, err)
	}
	s, err := engine.Volume(p.t.Context(), months[len(months)-1], false)
	if err != nil {
		p.t.Fatal(err)
	}
	for pair, err := range s.Scan(p.t.Context(), []byte(prefix), nil) {
		if err != nil || !strings.HasPrefix(string(pair.Key), prefix) {
			p.t.Fatal("no such key", err)
		}
		err := s.Update(p.t.Context(), nil, func(tx kv.Tx) error {
			tx.Put(pair.Key, []byte{1, 2, 3})
			return nil
		})
		if err != nil {
			p.t.Fatal(err)
		}
		return
	}
}
