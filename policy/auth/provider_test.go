package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

const elsewhere = "192.0.2.7"

// digest is that of a password, as a mail server sends it.
const digest = "a59fdc0b3b5a4d0f8a59fdc0b3b5a4d0f8a59fdc0b3b5a4d0f8a59fdc0b3b5a4"

func newProvider(r *rig) *Provider {
	return NewProvider(r.Authenticator, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/64")})
}

// TestProviderAllow asks for every service with every set of protocols, and for what must never be refused.
func TestProviderAllow(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	p := newProvider(r)
	services := []string{"imap", "pop3", "smtp", "submission", "sieve", "lmtp", "doveadm", "copialettere", ""}
	for _, c := range []struct {
		protocols string
		refused   string // the services
	}{
		{"imap,pop3,smtp", ""},
		{"pop3,smtp", "imap"},
		{"imap,smtp", "pop3"},
		{"imap,pop3", "smtp submission"},
		{"smtp", "imap pop3 sieve"},
		{"imap", "pop3 smtp submission"},
		{"none", "imap pop3 smtp submission sieve"},
	} {
		r.set(anna, "protocols="+c.protocols)
		var refused []string
		for _, service := range services {
			l := ProviderLogin{Login: anna, Protocol: service, Remote: elsewhere}
			if refusal := p.Allow(t.Context(), l); refusal != nil {
				refused = append(refused, service)
				if refusal.Reason != ErrClosed || refusal.Sentence.Italian == "" || refusal.Sentence.English == "" {
					t.Errorf("%s, %s: %+v", c.protocols, service, refusal)
				}
			}
			for what, other := range map[string]ProviderLogin{
				"webmail":        {Login: anna, Protocol: service, Remote: "127.0.0.1"},
				"webmail by v6":  {Login: anna, Protocol: service, Remote: "::ffff:127.0.0.1"},
				"no address":     {Login: anna, Protocol: service},
				"another one":    {Login: mario, Protocol: service, Remote: elsewhere},
				"not an address": {Login: "anna", Protocol: service, Remote: elsewhere},
			} {
				if refusal := p.Allow(t.Context(), other); refusal != nil {
					t.Errorf("%s, %s, %s: %v", c.protocols, service, what, refusal)
				}
			}
		}
		if got := strings.Join(refused, " "); got != c.refused {
			t.Errorf("%s: refused are %s, want %s", c.protocols, got, c.refused)
		}
	}
	if refusal := p.Allow(t.Context(), ProviderLogin{Login: "ANNA@Alpha.test", Protocol: "imap", Remote: elsewhere}); refusal == nil {
		t.Error("the login in capitals is allowed")
	}
}

// TestProviderSecondFactor refuses a password that was refused before, while mail programs need app passwords, and nothing else.
func TestProviderSecondFactor(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.enable(mario)
	p := newProvider(r)
	require := func(on bool) {
		t.Helper()
		if err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test", RequireSecondFactor: on}}}); err != nil {
			t.Fatal(err)
		}
	}
	failed := ProviderLogin{Login: anna, Protocol: "imap", Remote: elsewhere, Digest: digest}
	p.Report(t.Context(), failed)
	require(true)
	if refusal := p.Allow(t.Context(), failed); refusal != nil {
		t.Errorf("a failure from before the second factor: %v", refusal)
	}
	for what, l := range map[string]ProviderLogin{
		"by an Allow":    {Login: anna, Protocol: "imap", Remote: elsewhere, Digest: digest, Rejected: true},
		"from webmail":   {Login: anna, Protocol: "imap", Remote: "127.0.0.1", Digest: digest},
		"another mail":   {Login: mario, Protocol: "imap", Remote: elsewhere, Digest: digest},
		"a short digest": {Login: anna, Protocol: "imap", Remote: elsewhere, Digest: "0a59"},
		"a success":      {Login: anna, Protocol: "imap", Remote: elsewhere, Digest: digest, Success: true},
	} {
		p.Report(t.Context(), l)
		if refusal := p.Allow(t.Context(), failed); refusal != nil {
			t.Errorf("refused %s: %v", what, refusal)
		}
		l.Rejected, l.Success = false, false
		if what == "a short digest" && p.Allow(t.Context(), l) != nil {
			t.Error("a short digest, which other passwords have too, is refused")
		}
	}
	p.Report(t.Context(), failed)
	if refusal := p.Allow(t.Context(), failed); refusal == nil || refusal.Reason != ErrSecondFactor || refusal.Sentence != appPasswordOnly {
		t.Fatalf("the second time: %v", refusal)
	}
	for what, l := range map[string]ProviderLogin{
		"another password":         {Login: anna, Protocol: "imap", Remote: elsewhere, Digest: strings.ReplaceAll(digest, "a5", "5a")},
		"webmail":                  {Login: anna, Protocol: "imap", Remote: "127.0.0.1", Digest: digest},
		"after it was right":       {Login: anna, Protocol: "imap", Remote: elsewhere, Digest: digest, App: appID("phone")},
		"another mailbox":          {Login: "ugo@alpha.test", Protocol: "imap", Remote: elsewhere, Digest: digest},
		"a service that is no one": {Login: anna, Protocol: "copialettere", Remote: elsewhere, Digest: digest},
	} {
		if refusal := p.Allow(t.Context(), l); refusal != nil {
			t.Errorf("%s: %v", what, refusal)
		}
	}
	for i := range maxRefused + 100 { // many others do not fill the memory
		p.Report(t.Context(), ProviderLogin{Login: anna, Protocol: "imap", Remote: elsewhere, Digest: fmt.Sprintf("%064d", i)})
	}
	if len(p.refused) > maxRefused {
		t.Errorf("%d are remembered", len(p.refused))
	}
	require(false)
	for one := range p.refused {
		if refusal := p.Allow(t.Context(), ProviderLogin{Login: anna, Protocol: "imap", Remote: elsewhere, Digest: one.digest}); refusal != nil {
			t.Errorf("without a second factor: %v", refusal)
		}
		break
	}
}

// TestProviderWithoutMailbox has a login that was never set up as a mailbox: the files name it once its second factor is on, and for that alone.
func TestProviderWithoutMailbox(t *testing.T) {
	const chief = "postmaster@alpha.test"
	r := newRig(t, anna+":"+cheap)
	err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test", RequireSecondFactor: true, Defaults: []policy.Assignment{{Key: policy.KeyProtocols, Value: "smtp"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(r)
	l := ProviderLogin{Login: chief, Protocol: "imap", Remote: elsewhere, Digest: digest}
	for _, on := range []bool{false, true} {
		if on {
			r.secondFactorOn(chief)
		}
		p.Report(t.Context(), l)
		if refusal := p.Allow(t.Context(), l); (refusal != nil) != on || on && refusal.Reason != ErrSecondFactor {
			t.Errorf("second factor on %v: %v", on, refusal)
		}
	}
}

// TestProviderReport learns from reports when app passwords were used.
func TestProviderReport(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	p := newProvider(r)
	r.addAppPassword(anna, "phone")
	r.addAppPassword(anna, "old")
	for _, l := range []ProviderLogin{
		{Login: anna, Protocol: "imap", Remote: elsewhere, App: appID("old")}, // it failed
		{Login: anna, Protocol: "imap", Remote: elsewhere, App: "?", Success: true},
		{Login: anna, Protocol: "imap", Remote: elsewhere, App: appID("none"), Success: true},
		{Login: mario, Protocol: "imap", Remote: elsewhere, App: appID("old"), Success: true},
		{Login: anna, Protocol: "imap", Remote: "127.0.0.1", App: appID("phone"), Success: true},
	} {
		p.Report(t.Context(), l)
	}
	list, err := r.AppPasswords(t.Context(), address(t, anna))
	if err != nil || len(list) != 2 || list[0].Used.IsZero() || !list[1].Used.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

// silentStore is a store that does not answer.
type silentStore struct{ kv.Store }

func (silentStore) Get(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestProviderInDoubt asks over stores that do not answer: the mail server must not wait long, and decides alone.
func TestProviderInDoubt(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	silent, err := policy.Open(t.Context(), silentStore{r.store}, policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	other := New(Options{Policy: silent, Settings: silentStore{r.store}})
	defer other.Close()
	p := NewProvider(other, nil)
	began := time.Now()
	l := ProviderLogin{Login: anna, Protocol: "imap", Remote: elsewhere, Digest: digest}
	if refusal := p.Allow(t.Context(), l); refusal != nil {
		t.Errorf("refused: %v", refusal)
	}
	p.Report(t.Context(), l)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestReadProviderKey(t *testing.T) {
	const good = "0123456789abcdef"
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string // in the error, if there is one
	}{
		{"a line", good + "\n", 0o640, ""},
		{"without its end", good, 0o600, ""},
		{"of another system", good + "\r\n", 0o600, ""},
		{"readable by all", good + "\n", 0o644, "chmod 0640"},
		{"empty", "", 0o600, "openssl rand"},
		{"short", "short\n", 0o600, "openssl rand"},
		{"long", strings.Repeat("x", maxProviderKey+1), 0o600, "openssl rand"},
		{"two lines", good + "\n" + good + "\n", 0o600, "one line"},
		{"a blank", "0123456789 abcdef", 0o600, "one line"},
		{"an accent", "0123456789abcdefé", 0o600, "one line"},
		{"absent", "", 0, "openssl rand"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if c.mode != 0 {
			if err := errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
		}
		key, err := ReadProviderKey(path)
		switch {
		case c.want == "" && (err != nil || key != good):
			t.Errorf("%s: %q, %v", c.name, key, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %q, error %v", c.name, key, err)
		}
	}
}
