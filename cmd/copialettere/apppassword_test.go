package main

import (
	"strings"
	"testing"

	"copialettere/policy/archive"
)

// TestAppPasswordCommand makes, lists and revokes app passwords. Only the answer to the first has the password.
func TestAppPasswordCommand(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	if code, _, _ := p.run("app-password", "list", anna); code != 1 {
		t.Errorf("none to list: exit status %d", code)
	}
	code, stdout, stderr := p.run("app-password", "add", anna, "new phone")
	password := strings.TrimSpace(stdout)
	if code != 0 || len(password) != 34 || !strings.Contains(stderr, "It is not shown again") {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "It opens no archive now: Access to the archive with a mail program is switched off") {
		t.Errorf("imap is off, and it says %q", stderr)
	}
	p.must("mailbox", "set", anna, "imap=on")
	made := lines[archive.AppPassword](p, "app-password", "add", anna, "tablet")
	if len(made) != 1 || made[0].Closed != nil || made[0].Name != "tablet" || len(made[0].Password) != 34 || made[0].Password == password {
		t.Errorf("made %+v", made)
	}
	list := p.must("app-password", "list", anna)
	if strings.Count(list, "\n") != 2 || !strings.Contains(list, "never used") || strings.Contains(list, password) {
		t.Errorf("listed\n%s", list)
	}
	for _, one := range lines[archive.AppPassword](p, "app-password", "list", anna) {
		if one.Password != "" || one.Who != "operator "+whoami() {
			t.Errorf("listed %+v", one)
		}
	}
	if code, _, stderr := p.run("app-password", "add", anna, "tablet"); code != 2 || !strings.Contains(stderr, "revoke it first") {
		t.Errorf("the same name: %d, %s", code, stderr)
	}
	if out := p.must("app-password", "revoke", anna, "new phone"); !strings.Contains(out, `the app password "new phone" is revoked`) {
		t.Errorf("revoked: %s", out)
	}
	if code, _, stderr := p.run("app-password", "revoke", anna, "new phone"); code != 1 || !strings.Contains(stderr, "no such app password") {
		t.Errorf("revoked again: %d, %s", code, stderr)
	}
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{`app-password from "" to "new phone"`, `app-password from "new phone" to ""`} {
		if !strings.Contains(log, want) && !strings.Contains(log, strings.ReplaceAll(want, `"`, "")) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if out := p.must("privacy", anna); !strings.Contains(out, "programs: names of app passwords, with the day of their last use: 1") {
		t.Errorf("the report is\n%s", out)
	}
	for _, args := range [][]string{{}, {"add"}, {"add", anna}, {"list"}, {"make", anna, "x"}} {
		if code, _, _ := p.run(append([]string{"app-password"}, args...)...); code != 2 {
			t.Errorf("%q: exit status %d", args, code)
		}
	}
	p.must("verify")
}
