package main

import (
	"strings"
	"testing"
	"time"
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
	p.tamper(func(month, _ tampering) {
		for pair, err := range month.store.Scan(p.t.Context(), []byte(prefix), nil) {
			if err != nil || !strings.HasPrefix(string(pair.Key), prefix) {
				p.t.Fatal("no such key", err)
			}
			month.put(pair.Key, []byte{1, 2, 3})
			return
		}
	})
}
