package auth

import (
	"errors"
	"strings"
	"testing"

	"copialettere/policy"
)

// newAccountRig is newRig with an archive host, and two mailboxes that share a name there. The second has a hash that no password of the test has.
func newAccountRig(t *testing.T) *rig {
	t.Helper()
	other := "{BLF-CRYPT}$2y$05$jvb5KMu4xEa8ohx2wUlGe.Q0pWJgJlGSzjZWx.DVmKRxIXCyFUoXm"
	r := newRig(t, anna+":"+cheap, "a_b@c.test:"+cheap, "a@b_c.test:"+other, "g_h@c.test:"+cheap)
	if err := r.policy.Reconfigure(policy.Config{ArchiveHost: "archivio.test", Domains: []policy.Domain{
		{Name: "alpha.test"}, {Name: "c.test"}, {Name: "b_c.test"},
	}}); err != nil {
		t.Fatal(err)
	}
	for _, mailbox := range []string{"a_b@c.test", "a@b_c.test"} {
		r.enable(mailbox)
		r.set(mailbox, "imap=on")
	}
	return r
}

// TestLoginByAccountName signs in by the names that archives have as accounts of their own.
func TestLoginByAccountName(t *testing.T) {
	r := newAccountRig(t)
	for _, c := range []struct {
		name, login, password, authorize string
		want                             error
		as                               string // of a login that succeeds; else what the sentence has
	}{
		{"account name", "anna_alpha.test@archivio.test", password, "", nil, anna},
		{"capitals", "Anna_Alpha.TEST@Archivio.test", password, "", nil, anna},
		{"authorization by the plain address", "anna_alpha.test@archivio.test", password, anna, nil, anna},
		{"authorization by the account name", anna, password, "anna_alpha.test@archivio.test", nil, anna},
		{"authorization by a shared name", anna, password, "a_b_c.test@archivio.test", ErrDenied, ""},
		{"wrong password", "anna_alpha.test@archivio.test", "x", "", ErrDenied, ""},
		{"no mailbox", "ugo_alpha.test@archivio.test", password, "", ErrDenied, ""},
		{"no archive", "g_h_c.test@archivio.test", password, "", ErrClosed, noArchive.Italian},
		{"a name without meaning", "anna@archivio.test", password, "", ErrDenied, ""},
		{"shared, the password of one", "a_b_c.test@archivio.test", password, "", ErrClosed, ": a_b@c.test"},
		{"shared, no password", "a_b_c.test@archivio.test", "x", "", ErrDenied, ""},
		{"the plain address of one of two", "a_b@c.test", password, "", nil, "a_b@c.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := r.Login(t.Context(), Attempt{Login: c.login, Password: c.password, Authorize: c.authorize, Remote: remote, Protocol: ProtocolIMAP})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want == nil && (id.Login.String() != c.as || id.Mailbox.String() != c.as) {
				t.Errorf("signed in as %+v", id)
			}
			if closed := new(Refusal); errors.As(err, &closed) && !strings.HasSuffix(closed.Sentence.Italian, c.as) {
				t.Errorf("the sentence: %s", closed)
			}
			if c.want != nil && id != (Identity{}) {
				t.Errorf("an identity with an error: %+v", id)
			}
		})
	}
	// Tries by either name count together, and what became of them is on record under the address.
	got := r.log.String()
	if strings.Contains(got, password) {
		t.Error("a password is in the log")
	}
	records := make(map[Result]uint64)
	for one, err := range r.Accesses(t.Context(), address(t, "a_b@c.test")) {
		if err != nil || one.Login != "a_b@c.test" {
			t.Errorf("%+v, %v", one, err)
		}
		records[one.Result] += one.Count
	}
	if records[ResultOK] != 1 || records[ResultClosed] != 1 || records[ResultDenied] != 1 {
		t.Errorf("on record: %v", records)
	}
}

// TestAccountNameIsThrottled guesses by two names of one mailbox: they count as one.
func TestAccountNameIsThrottled(t *testing.T) {
	r := newAccountRig(t)
	names := []string{anna, "anna_alpha.test@archivio.test"}
	for i := range 2 * limitBoth {
		_, err := r.login(names[i%2], strings.Repeat("x", i+1), ProtocolIMAP)
		want := ErrDenied
		if i >= limitBoth {
			want = ErrThrottled
		}
		if !errors.Is(err, want) {
			t.Fatalf("try %d: %v, want %v", i+1, err, want)
		}
	}
}
