package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// setPassword runs "copialettere password" with something on standard input.
func (p *place) setPassword(stdin string, args ...string) (stdout string, err error) {
	p.t.Helper()
	return p.typed(stdin, "password", args...)
}

// typed runs a command with something on standard input, and returns what it prints.
func (p *place) typed(stdin, name string, args ...string) (stdout string, err error) {
	p.t.Helper()
	var out, errs bytes.Buffer
	in := &invocation{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	err = in.execute(p.t.Context(), name, commands()[name], append(args, "-config", filepath.Join(p.dir, "copialettere.toml")))
	return out.String() + errs.String(), err
}

func TestPassword(t *testing.T) {
	p := newPlace(t)
	file := filepath.Join(p.dir, "passwd")
	if _, err := p.setPassword("cera-lacca\n", anna); err == nil || !strings.Contains(err.Error(), "no section [auth]") {
		t.Errorf("without [auth]: %v", err)
	}
	p.configure("[auth]\nsource = \"file:" + file + "\"\narchive_host = \"archivio.test\"\n")
	p.must("init")
	if _, err := p.setPassword("cera-lacca\n", "anna_alpha.test@archivio.test"); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "give the address") {
		t.Errorf("for the name of an archive: %v", err)
	}
	if code, stdout, _ := p.run("check"); code != 1 || !strings.Contains(stdout, "FAIL  logins: ") {
		t.Errorf("check without the file: %d, %s", code, stdout)
	}
	for _, c := range []struct{ name, stdin, want string }{
		{"a line", "cera-lacca\n", ""},
		{"no line end", "cera-lacca", ""},
		{"CRLF", "cera-lacca\r\n", ""},
		{"more lines", "cera-lacca\nsigillo\n", ""},
		{"nothing", "", "standard input"},
		{"short", "cera\n", "fewer than 8 characters"},
	} {
		stdout, err := p.setPassword(c.stdin, "Anna@alpha.test")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err == nil && (!strings.Contains(stdout, anna+": the password is set in "+file) || strings.Contains(stdout, "cera")) {
			t.Errorf("%s: %s", c.name, stdout)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), anna+":{ARGON2ID}$argon2id$") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%s, %v", text, err)
	}
	if code, stdout, _ := p.run("check"); code != 0 || !strings.Contains(stdout, "ok    logins: "+file+", 1 logins") {
		t.Errorf("check: %d, %s", code, stdout)
	}
	for _, args := range [][]string{{}, {"anna"}, {anna, "cera-lacca"}} {
		if _, err := p.setPassword("cera-lacca\n", args...); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := os.WriteFile(file, append(text, "mario@alpha.test:{MD5}x\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := p.run("check"); code != 1 || !strings.Contains(stdout, `FAIL  logins: `+file+`:2: mario@alpha.test: the scheme "MD5" is not known`) {
		t.Errorf("check of an unknown scheme: %d, %s", code, stdout)
	}
}

func TestPasswordOfDovecot(t *testing.T) {
	p := newPlace(t)
	socket := filepath.Join(p.dir, "auth-client")
	p.configure("[auth]\nsource = \"dovecot:unix:" + socket + "\"\n")
	p.must("init")
	if _, err := p.setPassword("cera-lacca\n", anna); err == nil || !strings.Contains(err.Error(), "set the password there") {
		t.Errorf("%v", err)
	}
	if code, stdout, _ := p.run("check"); code != 1 || !strings.Contains(stdout, "FAIL  logins: ") || !strings.Contains(stdout, socket) {
		t.Errorf("check without Dovecot: %d, %s", code, stdout)
	}
}
