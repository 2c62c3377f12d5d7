package main

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"copialettere/policy/archive"
)

// TestSecondFactorCommand turns the second factor of a mailbox on by the code that another program makes of the secret, and off again.
func TestSecondFactorCommand(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	show := func(want string) {
		t.Helper()
		if out := p.must("second-factor", "show", anna); !strings.Contains(out, want) {
			t.Errorf("shown: %s, want %s", out, want)
		}
	}
	show("the second factor is off\n")
	code, stdout, stderr := p.run("second-factor", "on", anna)
	text, uri, _ := strings.Cut(strings.TrimSpace(stdout), "\n")
	u, err := url.Parse(uri)
	if code != 0 || err != nil || u.Scheme != "otpauth" || u.Query().Get("secret") != text || !strings.Contains(stderr, "second-factor on "+anna+" CODE") {
		t.Fatalf("%d, %q, %q, %v", code, stdout, stderr, err)
	}
	show("off; a new secret waits for its code until ")
	if code, _, stderr := p.run("second-factor", "on", anna, "000000"); code != 1 || !strings.Contains(stderr, "wrong code") {
		t.Errorf("a wrong code: %d, %s", code, stderr)
	}
	p.must("mailbox", "set", anna, "protocols=none")
	code, stdout, stderr = p.run("second-factor", "on", anna, outsideCode(t, text))
	if code != 0 || len(strings.Fields(stdout)) != 10 {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	for _, want := range []string{"They are not shown again", "From now on mail programs must use app passwords", "at least one protocol must be on"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("said: %s, want %s", stderr, want)
		}
	}
	show("the second factor is on since ")
	show("recovery codes left: 10")
	if out := p.must("mailbox", "set", anna, "protocols=pop3"); strings.Contains(out, "at least one protocol") {
		t.Errorf("with a protocol: %s", out)
	}
	if out := p.must("mailbox", "set", anna, "protocols=none"); !strings.Contains(out, "at least one protocol must be on") {
		t.Errorf("without protocols: %s", out)
	}
	for _, one := range lines[archive.SecondFactor](p, "second-factor", "show", anna) {
		if !one.On || one.RecoveryCodes != 10 || one.New != nil || len(one.Codes) > 0 {
			t.Errorf("%+v", one)
		}
	}
	if out := p.must("privacy", anna); !strings.Contains(out, "second factor") {
		t.Errorf("the report is\n%s", out)
	}
	if out := p.must("second-factor", "off", anna); !strings.Contains(out, "the second factor is off") {
		t.Errorf("off: %s", out)
	}
	if code, _, stderr := p.run("second-factor", "off", anna); code != 1 || !strings.Contains(stderr, "no second factor is on") {
		t.Errorf("off again: %d, %s", code, stderr)
	}
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{"second-factor from off to on", "second-factor from on to off"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	for _, args := range [][]string{{}, {"on"}, {"show"}, {"off", anna, "1"}, {"on", anna, "1", "2"}, {"make", anna}} {
		if code, _, _ := p.run(append([]string{"second-factor"}, args...)...); code != 2 {
			t.Errorf("%q: exit status %d", args, code)
		}
	}
	p.must("verify")
}

// TestSecondFactorRequired has a domain that requires it: check says so, and the mailbox too.
func TestSecondFactorRequired(t *testing.T) {
	p := newPlace(t)
	p.configure("require_second_factor = true\n")
	p.must("init")
	p.must("mailbox", "enable", anna)
	if _, out, _ := p.run("check"); !strings.Contains(out, "require_second_factor of alpha.test has no effect: without [auth]") {
		t.Errorf("check without [auth]:\n%s", out)
	}
	p.configure("[auth]\nsource = \"dovecot:unix:" + p.dir + "/none\"\n")
	if _, out, _ := p.run("check"); !strings.Contains(out, "second factor: required of whoever signs in by an address of alpha.test") {
		t.Errorf("check:\n%s", out)
	}
	for _, args := range [][]string{{"second-factor", "show", anna}, {"mailbox", "show", anna}} {
		if out := p.must(args...); !strings.Contains(out, "off, and its domain requires it") {
			t.Errorf("%q:\n%s", args, out)
		}
	}
}

// outsideCode has Python's library make the code of a secret, as an authenticator app does (RFC 6238).
func outsideCode(t *testing.T, secret string) string {
	t.Helper()
	const program = `import sys, hmac, base64, struct, time
mac = hmac.new(base64.b32decode(sys.argv[1]), struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
print("%06d" % ((struct.unpack(">I", mac[mac[19] & 15:][:4])[0] & 0x7fffffff) % 1000000))`
	out, err := exec.CommandContext(t.Context(), "python3", "-c", program, secret).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
