package main

import (
	"strings"
	"testing"
	"time"

	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// TestTokenCommand makes, lists and revokes tokens. Only the answer to the first has the secret.
func TestTokenCommand(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	if code, _, _ := p.run("token", "list"); code != 1 {
		t.Errorf("none to list: exit status %d", code)
	}
	code, stdout, stderr := p.run("token", "add", "panel", "-domain", "alpha.test", "-scope", "write")
	secret := strings.TrimSpace(stdout)
	if code != 0 || len(secret) != 56 || !strings.HasPrefix(secret, "copialettere-") || !strings.Contains(stderr, `This is the token "panel" for alpha.test, with the scope write. It is not shown again.`) {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	day := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	made := lines[archive.Token](p, "token", "add", "shop", "-domain", "alpha.test", "-scope", "read", "-until", day)
	if len(made) != 1 || made[0].Scope != auth.ScopeRead || made[0].Domain != "alpha.test" || len(made[0].Secret) != 56 || made[0].Who != "operator "+whoami() {
		t.Errorf("made %+v", made)
	}
	list := p.must("token", "list")
	if strings.Count(list, "\n") != 2 || !strings.Contains(list, "never used, until "+day) || strings.Contains(list, "copialettere-") {
		t.Errorf("listed\n%s", list)
	}
	if list := lines[archive.Token](p, "token", "list", "-domain", "alpha.test"); len(list) != 2 || list[0].Secret != "" {
		t.Errorf("listed %+v", list)
	}
	if code, _, stderr := p.run("token", "add", "panel", "-domain", "alpha.test", "-scope", "read"); code != 2 || !strings.Contains(stderr, "revoke it first") {
		t.Errorf("the same name: %d, %s", code, stderr)
	}
	if code, _, stderr := p.run("token", "add", "x", "-domain", "gamma.test", "-scope", "read"); code != 2 || !strings.Contains(stderr, "no such [[domain]]") {
		t.Errorf("another domain: %d, %s", code, stderr)
	}
	if out := p.must("token", "revoke", "panel"); out != "the token \"panel\" is revoked\n" {
		t.Errorf("revoked: %s", out)
	}
	if code, _, stderr := p.run("token", "revoke", "panel"); code != 1 || !strings.Contains(stderr, "no such token") {
		t.Errorf("revoked again: %d, %s", code, stderr)
	}
	for _, args := range [][]string{
		{}, {"add"}, {"add", "x"}, {"add", "x", "-domain", "alpha.test"}, {"add", "x", "-scope", "read"}, {"list", "x"}, {"list", "-scope", "read"}, {"revoke"},
		{"revoke", "shop", "-domain", "alpha.test"}, {"make", "x"}, {"add", "x", "-domain", "alpha.test", "-scope", "all"},
		{"add", "x", "-domain", "alpha.test", "-scope", "read", "-until", "soon"},
	} {
		if code, _, _ := p.run(append([]string{"token"}, args...)...); code != 2 {
			t.Errorf("%q: exit status %d", args, code)
		}
	}
}
