package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// TestDelegateCommand grants in the name of the owner, and by an operator and a postmaster together.
func TestDelegateCommand(t *testing.T) {
	const lawyer, post = "lawyer@beta.test", "post@alpha.test"
	p := newPlace(t)
	file := filepath.Join(p.dir, "passwd")
	const hash = ":{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a\n"
	if err := os.WriteFile(file, []byte(anna+hash+post+hash+"other@alpha.test"+hash), 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure("postmasters = [\"" + post + "\"]\n[auth]\nsource = \"file:" + file + "\"\n")
	p.must("init")
	p.must("mailbox", "enable", anna)
	day := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	later := time.Now().AddDate(0, 2, 0).Format(time.DateOnly)
	if code, _, _ := p.run("delegate", "list", anna); code != 1 {
		t.Errorf("nobody to list: exit status %d", code)
	}
	out, err := p.typed("cera-lacca\n", "delegate", "add", anna, lawyer, "-until", day, "-as", anna)
	if err != nil || !strings.Contains(out, anna+": "+lawyer+" may read until "+day+", by owner "+anna) {
		t.Errorf("by the owner: %s, %v", out, err)
	}
	for _, c := range []struct{ name, stdin, as, want string }{
		{"a wrong password", "wrong\n", anna, "wrong name or password"},
		{"nothing typed", "", anna, "standard input"},
		{"somebody else", "cera-lacca\n", "other@alpha.test", "wrong name or password"},
	} {
		if out, err := p.typed(c.stdin, "delegate", "add", anna, lawyer, "-until", day, "-as", c.as); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s, %v", c.name, out, err)
		}
	}
	const friend = "friend@beta.test"
	if out := p.must("delegate", "add", anna, friend, "-until", later); !strings.Contains(out, friend+" is asked for until "+later) || !strings.Contains(out, "the postmaster has until") {
		t.Errorf("by the operator alone: %s", out)
	}
	out, err = p.typed("cera-lacca\n\n", "delegate", "add", anna, friend, "-until", day, "-as", post)
	if err != nil || !strings.Contains(out, friend+" may read until "+day+", by operator ") || !strings.Contains(out, " and postmaster "+post) {
		t.Errorf("by both: %s, %v", out, err)
	}
	if list := lines[archive.Delegate](p, "delegate", "list", anna); len(list) != 2 || list[0].Person != lawyer || list[1].Person != friend || list[1].WaitsFor != "" {
		t.Errorf("%+v", list)
	}
	if out := p.must("privacy", anna); !strings.Contains(out, "who may read it beside its owner") {
		t.Errorf("the report is\n%s", out)
	}
	if out := p.must("delegate", "revoke", anna, friend); !strings.Contains(out, friend+" may not read it any more") {
		t.Errorf("revoked: %s", out)
	}
	if code, _, stderr := p.run("delegate", "revoke", anna, friend); code != 1 || !strings.Contains(stderr, "no such delegate") {
		t.Errorf("revoked again: %d, %s", code, stderr)
	}
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{
		"delegate from  to " + lawyer + " until ", ", by owner " + anna, ", waits for the postmaster, by operator ", "delegate from " + friend + " until ", ", by postmaster " + post,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "cera-lacca") {
		t.Error("the log has the password")
	}
	for _, args := range [][]string{
		{}, {"add"}, {"add", anna, lawyer}, {"add", anna, lawyer, "-until", "soon"}, {"list"}, {"list", anna, "-until", day}, {"revoke", anna, lawyer, "-as", anna}, {"make", anna, lawyer},
		{"add", anna, lawyer, "-until", "2020-01-31"}, {"add", anna, "nobody", "-until", day},
	} {
		if code, _, stderr := p.run(append([]string{"delegate"}, args...)...); code != 2 {
			t.Errorf("%q: exit status %d, %s", args, code, stderr)
		}
	}
	if _, err := p.typed("x\n", "delegate", "list", anna, lawyer); !errors.Is(err, errUsage) {
		t.Error(err)
	}
	p.must("verify")
}

// TestErasureEndsDelegates erases an archive: its delegates are not stored any more, and its log tells of them.
func TestErasureEndsDelegates(t *testing.T) {
	p, _ := noticePlace(t, nexthoptest.Script{})
	k, _ := keeperOf(t, p)
	address, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Actor{Role: policy.RoleOwner, Name: anna}
	operator := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	a := k.backend.Load().Archive
	if _, err := a.Enable(t.Context(), operator, address); err != nil {
		t.Fatal(err)
	}
	person := policy.Address{Local: "lawyer", Domain: "beta.test"}
	if _, err := a.AddDelegate(t.Context(), who, address, person, time.Now().AddDate(0, 1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, k.archive, anna); !slices.Contains(got, "settings i") {
		t.Errorf("before: %q", got)
	}
	if _, err := a.Disable(t.Context(), operator, address, anna, true); err != nil {
		t.Fatal(err)
	}
	k.house.Keep(t.Context(), time.Now())
	if got := keysOf(t, k.archive, anna); !slices.Equal(got, []string{"settings l", "settings m"}) {
		t.Errorf("left: %q", got)
	}
	told := false
	for c, err := range a.Log(t.Context(), address) {
		if err != nil {
			t.Fatal(err)
		}
		told = told || c.Key == auth.KeyDelegate && strings.HasPrefix(c.After, person.String()+" until ")
	}
	if !told {
		t.Error("the log does not tell of the delegate")
	}
}

// TestSecurityIsTold mails the owner what others could do, or have done, with the archive.
func TestSecurityIsTold(t *testing.T) {
	p, relay := noticePlace(t, nexthoptest.Script{})
	file := filepath.Join(p.dir, "passwd")
	if err := os.WriteFile(file, []byte(anna+":{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure("[auth]\nsource = \"file:" + file + "\"\n")
	k, _ := keeperOf(t, p)
	enableNotices(t, k)
	a, operator := k.backend.Load().Archive, policy.Actor{Role: policy.RoleOperator, Name: "test"}
	address, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Set(t.Context(), operator, address, []policy.Assignment{{Key: policy.KeyNotifyOn, Value: "security"}, {Key: policy.KeyLanguage, Value: "en"}}))
	must(a.AddAppPassword(t.Context(), operator, address, "tablet"))
	day := time.Now().AddDate(0, 1, 0)
	person := policy.Address{Local: "lawyer", Domain: "beta.test"}
	must(a.AddDelegate(t.Context(), operator, address, policy.Address{Local: "asked", Domain: "beta.test"}, day)) // waits, so nobody is told
	must(a.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna}, address, person, day))
	begun, err := a.BeginSecondFactor(t.Context(), operator, address, "")
	must(nil, err)
	on, err := a.ConfirmSecondFactor(t.Context(), operator, address, outsideCode(t, begun.New.Text))
	must(nil, err)
	must(k.archive.auth.Login(t.Context(), auth.Attempt{Login: anna, Password: "cera-lacca", Code: on.Codes[0], Protocol: auth.ProtocolWeb}))
	must(a.EndSecondFactor(t.Context(), operator, address, ""))
	must(nil, k.archive.notices.Deliver(t.Context(), time.Now()))
	want := []string{
		"New app password for the archive of " + anna, "Recovery code used for the archive of " + anna, "Second factor turned off for the archive of " + anna,
		"Somebody else may read the archive of " + anna,
	}
	if got := subjects(t, relay, len(want)); !slices.Equal(got, want) {
		t.Errorf("told: %q, want %q", got, want)
	}
}
