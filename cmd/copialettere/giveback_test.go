package main

import (
	"path/filepath"
	"strings"
	"testing"

	"copialettere/lmtp/nexthop/nexthoptest"
)

// TestGiveBack gives messages back to a mailstore that takes them, refuses, goes away and is not there.
func TestGiveBack(t *testing.T) {
	store := nexthoptest.Start(t, nexthoptest.Script{})
	p := newPlace(t)
	p.rewrite("maildir:"+filepath.Join(p.dir, "mail"), store.Spec())
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(message, anna, anna)
	p.deliver("X-Number: 2\r\n"+message, anna, anna)
	folder := p.entries(anna)[0].Folder
	dies := nexthoptest.Script{Die: nexthoptest.Dot}
	final := func(reply string) nexthoptest.Script {
		return nexthoptest.Script{Final: map[string][]string{anna: {reply}}}
	}
	for _, c := range []struct {
		name   string
		script nexthoptest.Script
		args   []string
		code   int
		says   []string // on standard output or standard error
		comes  int      // messages that the mailstore has then, dot and all
	}{
		{"no right form", final("250 ok"), []string{folder}, 2, []string{"UID"}, 0},
		{"nothing there", final("250 ok"), []string{folder, "9"}, 1, []string{folder + " 9: no such entry"}, 0},
		{"taken", final("250 2.0.0 anna saved"), []string{folder, "1"}, 0, []string{"given-back: " + anna + " " + folder + " 1: 250 2.0.0 anna saved"}, 1},
		{"a second time", final("250 ok"), []string{folder, "1-2"}, 1, []string{"given back before: " + folder + " 1 on 20", " by operator ", "with -again"}, 0},
		{"a second time, asked for", final("250 ok"), []string{folder, "1", "-again"}, 0, []string{"given-back: "}, 1},
		{"full", final("452 4.2.2 mailbox full"), []string{folder, "2"}, 1, []string{"refused: " + anna + " " + folder + " 2: 452 4.2.2 mailbox full"}, 1},
		{"refused before the message", nexthoptest.Script{Rcpt: map[string][]string{anna: {"550 5.1.1 nobody"}}}, []string{folder, "2"}, 1, []string{": 550 5.1.1 nobody"}, 0},
		{"gone before the dot", nexthoptest.Script{Die: nexthoptest.Data}, []string{folder, "2"}, 1, []string{"the mailstore does not answer now"}, 0},
		{"gone at the dot", dies, []string{folder, "2"}, 1, []string{"unknown: ", "look there"}, 1},
		{"after that", final("250 ok"), []string{folder, "2"}, 1, []string{"given back before: " + folder + " 2"}, 0},
		{"several, what is not there passed over", final("250 ok"), []string{folder, "1-9", "-again", "-json"}, 0,
			[]string{`"uid":1,"state":"given-back","reply":"250 ok"`, `"uid":2,"state":"given-back","reply":"250 ok"`}, 2},
	} {
		store.SetScript(c.script)
		before := len(store.Messages())
		code, stdout, stderr := p.run(append([]string{"give-back", anna}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: exit status %d, want %d\n%s%s", c.name, code, c.code, stdout, stderr)
		}
		for _, text := range c.says {
			if !strings.Contains(stdout+stderr, text) {
				t.Errorf("%s: %q is missing in\n%s%s", c.name, text, stdout, stderr)
			}
		}
		if n := len(store.Messages()) - before; n != c.comes {
			t.Errorf("%s: %d messages came, want %d", c.name, n, c.comes)
		}
	}
	given := store.Messages()[2]
	if given.From != "" || len(given.Recipients) != 1 || given.Recipients[0] != anna || string(given.Body) != message {
		t.Errorf("given back from %q to %q:\n%q", given.From, given.Recipients, given.Body)
	}
	if n := len(p.entries(anna)); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{
		"  give-back " + folder + " 1, by operator ", "  not-given-back " + folder + " 2: 452 4.2.2 mailbox full, by operator ",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "  give-back "); n != 6 {
		t.Errorf("%d times on record, want 6:\n%s", n, log)
	}
	store.Close()
	if code, _, stderr := p.run("give-back", anna, folder, "1", "-again"); code != 1 || !strings.Contains(stderr, "the mailstore does not answer now") || strings.Contains(stderr, "127.0.0.1") {
		t.Errorf("without a mailstore: exit status %d, %s", code, stderr)
	}
	stop()
	p.must("verify")
}
