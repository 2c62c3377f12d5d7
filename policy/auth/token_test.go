package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// addToken makes a token of alpha.test and returns its secret.
func (r *rig) addToken(name string, scope Scope) string {
	r.t.Helper()
	_, secret, err := r.AddToken(r.t.Context(), operator, Token{Name: name, Domain: "alpha.test", Scope: scope})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

func TestToken(t *testing.T) {
	r := newRig(t)
	panel, shop := r.addToken("panel", ScopeWrite), r.addToken("shop", ScopeRead)
	for name, secret := range map[string]string{"panel": panel, "shop": shop} {
		who, err := r.Token(t.Context(), secret)
		if err != nil || who != (policy.Actor{Role: policy.RoleToken, Name: name}) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
	for name, secret := range map[string]string{
		"empty": "", "the prefix": tokenPrefix, "a name": "panel", "shorter": panel[:len(panel)-1], "longer": panel + "A", "without the prefix": strings.TrimPrefix(panel, tokenPrefix),
		"another": tokenPrefix + strings.Repeat("A", 43), "other case": strings.ToUpper(panel), "blank": " " + panel, "not base64": tokenPrefix + strings.Repeat("\xff", 43),
	} {
		if who, err := r.Token(t.Context(), secret); !errors.Is(err, ErrDenied) || who != (policy.Actor{}) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
	list, err := r.Tokens(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "panel" || list[1].Name != "shop" || list[0].Scope != ScopeWrite || list[0].Who != "operator root" ||
		time.Since(list[0].Used) > 2*time.Hour || list[0].Used.Minute() != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := r.RevokeToken(t.Context(), operator, "panel"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Token(t.Context(), panel); !errors.Is(err, ErrDenied) {
		t.Errorf("revoked: %v", err)
	}
	if err := r.RevokeToken(t.Context(), operator, "panel"); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked again: %v", err)
	}
	again := r.addToken("panel", ScopeRead)
	if _, err := r.Token(t.Context(), panel); !errors.Is(err, ErrDenied) {
		t.Errorf("another has the name of the one that was revoked: %v", err)
	}
	if g, err := r.Grant(t.Context(), "panel"); err != nil || g != (policy.Token{Domain: "alpha.test"}) {
		t.Errorf("%+v, %v", g, err)
	}
	if log := r.log.String(); strings.Contains(log, tokenPrefix) || !strings.Contains(log, `msg="token made" token=panel domain=alpha.test scope=write by="operator root"`) ||
		!strings.Contains(log, `msg="token revoked" token=panel by="operator root"`) {
		t.Errorf("the log says\n%s", log)
	}
	for pair, err := range r.store.Scan(t.Context(), []byte("i"), []byte("j")) {
		if err != nil || strings.Contains(string(pair.Key)+string(pair.Value), again) {
			t.Errorf("stored in clear under %q, %v", pair.Key, err)
		}
	}
	var none *Authenticator
	if who, err := none.Token(t.Context(), again); !errors.Is(err, ErrDenied) {
		t.Errorf("without an Authenticator: %v, %v", who, err)
	}
}

func TestTokensThatCannotBe(t *testing.T) {
	r := newRig(t)
	r.addToken("panel", ScopeRead)
	for name, token := range map[string]Token{
		"no name": {Domain: "alpha.test", Scope: ScopeRead}, "blanks": {Name: " x", Domain: "alpha.test", Scope: ScopeRead},
		"long":        {Name: strings.Repeat("x", maxTokenName+1), Domain: "alpha.test", Scope: ScopeRead},
		"line end":    {Name: "a\nb", Domain: "alpha.test", Scope: ScopeRead},
		"no scope":    {Name: "x", Domain: "alpha.test"},
		"other scope": {Name: "x", Domain: "alpha.test", Scope: "all"},
		"no domain":   {Name: "x", Scope: ScopeRead}, "other domain": {Name: "x", Domain: "beta.test", Scope: ScopeRead},
		"past":           {Name: "x", Domain: "alpha.test", Scope: ScopeRead, Until: time.Now().Add(-time.Minute)},
		"name that is":   {Name: "panel", Domain: "alpha.test", Scope: ScopeRead},
		"not UTF-8":      {Name: "\xff", Domain: "alpha.test", Scope: ScopeRead},
		"domain of none": {Name: "x", Domain: "alpha..test", Scope: ScopeRead},
	} {
		if made, secret, err := r.AddToken(t.Context(), operator, token); !errors.Is(err, ErrToken) || secret != "" || made != (Token{}) {
			t.Errorf("%s: %+v, %v", name, made, err)
		}
	}
	if made, _, err := r.AddToken(t.Context(), operator, Token{Name: "x", Domain: "ALPHA.Test.", Scope: ScopeRead}); err != nil || made.Domain != "alpha.test" {
		t.Errorf("in capitals: %+v, %v", made, err)
	}
}

// TestTokenEnds lets a token end by itself. What it may do ends with it.
func TestTokenEnds(t *testing.T) {
	r := newRig(t)
	now := time.Date(2026, 11, 15, 10, 20, 0, 0, time.UTC)
	a := New(Options{Source: r.source(), Policy: r.policy, Settings: r.store, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	defer a.Close()
	_, secret, err := a.AddToken(t.Context(), operator, Token{Name: "panel", Domain: "alpha.test", Scope: ScopeWrite, Until: now.AddDate(0, 0, 7)})
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Actor{Role: policy.RoleToken, Name: "panel"}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {7*24*time.Hour - time.Second, true}, {time.Second, false}, {time.Hour, false}} {
		now = now.Add(step.after)
		_, err := a.Token(t.Context(), secret)
		if (err == nil) != step.want || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("at %s: %v", now, err)
		}
		if err := r.policy.May(who, address(t, anna), policy.KeyQuota); (err == nil) != step.want || err != nil && !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("at %s: may: %v", now, err)
		}
	}
	if list, err := a.Tokens(t.Context()); err != nil || len(list) != 1 || !list[0].Used.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestTokensAtOnce makes, uses and revokes several at a time: none is lost, nor revived by a request that notes its use.
func TestTokensAtOnce(t *testing.T) {
	r := newRig(t)
	first := r.addToken("first", ScopeRead)
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			if _, _, err := r.AddToken(t.Context(), operator, Token{Name: fmt.Sprint("program ", n), Domain: "alpha.test", Scope: ScopeRead}); err != nil {
				t.Error(err)
			}
			if _, err := r.Token(t.Context(), first); err != nil && !errors.Is(err, ErrDenied) {
				t.Error(err)
			}
		})
	}
	wait.Go(func() {
		if err := r.RevokeToken(t.Context(), operator, "first"); err != nil {
			t.Error(err)
		}
	})
	wait.Wait()
	list, err := r.Tokens(t.Context())
	if err != nil || len(list) != 8 || slices.ContainsFunc(list, func(one Token) bool { return one.Name == "first" }) {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := r.Token(t.Context(), first); !errors.Is(err, ErrDenied) {
		t.Errorf("the first: %v", err)
	}
}

// TestTokenFaults fails the write of a token, of its end and of its use. It is there or not, both keys of it, and a use that is not noted keeps nobody out.
func TestTokenFaults(t *testing.T) {
	faulty := func(r *rig, after bool) *Authenticator {
		a := New(Options{Source: r.source(), Policy: r.policy, Settings: &failing{r.store, 1, after}, Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { a.Close() })
		return a
	}
	for _, after := range []bool{false, true} {
		r := newRig(t)
		if _, secret, err := faulty(r, after).AddToken(t.Context(), operator, Token{Name: "panel", Domain: "alpha.test", Scope: ScopeRead}); err == nil || secret != "" {
			t.Errorf("added: %q, %v", secret, err)
		}
		if got := keysOfTokens(t, r.store); (got == 2) != after || got != 0 && !after {
			t.Errorf("added, fails after the write %v: %d keys", after, got)
		}
		secret := r.addToken("shop", ScopeRead)
		if who, err := faulty(r, after).Token(t.Context(), secret); err != nil || who.Name != "shop" {
			t.Errorf("used: %v, %v", who, err)
		}
		before := keysOfTokens(t, r.store)
		if err := faulty(r, after).RevokeToken(t.Context(), operator, "shop"); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("revoked: %v", err)
		}
		if got := before - keysOfTokens(t, r.store); (got == 2) != after || got != 0 && !after {
			t.Errorf("revoked, fails after the write %v: %d keys have gone", after, got)
		}
		if _, err := r.Token(t.Context(), secret); errors.Is(err, ErrDenied) != after {
			t.Errorf("revoked, fails after the write %v: %v", after, err)
		}
	}
}

// TestTokenUnavailable asks a store that does not answer: nothing is allowed, and nothing is said to be forbidden.
func TestTokenUnavailable(t *testing.T) {
	r := newRig(t)
	secret := r.addToken("panel", ScopeWrite)
	a := New(Options{Source: r.source(), Policy: r.policy, Settings: unreadable{r.store}, Logger: slog.New(slog.DiscardHandler)})
	defer a.Close()
	if who, err := a.Token(t.Context(), secret); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, %v", who, err)
	}
	if err := r.policy.May(policy.Actor{Role: policy.RoleToken, Name: "panel"}, address(t, anna), policy.KeyQuota); err == nil || errors.Is(err, policy.ErrForbidden) {
		t.Errorf("may: %v", err)
	}
}

// unreadable is a store whose values cannot be read.
type unreadable struct{ kv.Store }

func (unreadable) Get(context.Context, []byte) ([]byte, error) { return nil, kv.ErrUnavailable }

// keysOfTokens returns how many keys the tokens have.
func keysOfTokens(t *testing.T, store kv.Store) (n int) {
	t.Helper()
	for _, prefix := range []string{"it", "ib"} {
		for _, err := range store.Scan(t.Context(), []byte(prefix), []byte{prefix[0], prefix[1] + 1}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}

// TestTokenReads has tokens read for days. The owner sees at once that one does, by name, and from where, and the log does not fill up.
func TestTokenReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		p, err := policy.Open(t.Context(), store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		a := New(Options{Policy: p, Settings: store, Logger: slog.New(slog.DiscardHandler)})
		mailbox := address(t, anna)
		seen := func() (list []string, stored int) {
			t.Helper()
			for one, err := range a.Accesses(t.Context(), mailbox) {
				if err != nil {
					t.Fatal(err)
				}
				if one.Role != policy.RoleToken || one.Protocol != ProtocolAPI || one.Result != ResultOK {
					t.Errorf("%+v", one)
				}
				list = append(list, fmt.Sprintf("%s %s %d", one.Login, one.Address, one.Count))
			}
			h, err := decodeHeadOf(t, a)
			if err != nil {
				t.Fatal(err)
			}
			return list, int(h.OK.Next)
		}
		read := func(name string, n byte) {
			t.Helper()
			if err := a.Reads(t.Context(), policy.Actor{Role: policy.RoleToken, Name: name}, mailbox, client(int(n))); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, wantStored int, want ...string) {
			t.Helper()
			if list, stored := seen(); !slices.Equal(list, want) || stored != wantStored {
				t.Errorf("%s: %q and %d stored, want %q and %d", when, list, stored, want, wantStored)
			}
		}
		read("panel", 1)
		time.Sleep(time.Second)
		check("the first", 1, "panel 192.0.2.1 1")
		for range 22 {
			read("panel", 1)
			time.Sleep(time.Hour)
		}
		check("of a day", 1, "panel 192.0.2.1 1", "panel 192.0.2.1 22")
		read("shop", 1)
		time.Sleep(time.Second) // what comes at the same instant has no order
		read("panel", 2)
		time.Sleep(time.Minute)
		check("others", 3, "panel 192.0.2.1 1", "panel 192.0.2.1 22", "shop 192.0.2.1 1", "panel 192.0.2.2 1")
		time.Sleep(2 * time.Hour)
		read("panel", 1)
		time.Sleep(time.Minute)
		check("the next day", 5, "panel 192.0.2.1 1", "panel 192.0.2.1 22", "shop 192.0.2.1 1", "panel 192.0.2.2 1", "panel 192.0.2.1 1")
		for n := range 200 {
			read("panel", byte(n))
		}
		time.Sleep(time.Minute)
		_, stored := seen()
		if stored > 5+maxSources {
			t.Errorf("from 200 addresses: %d stored", stored)
		}
		if err := a.Reads(t.Context(), policy.Actor{Role: policy.RoleToken, Name: "panel"}, mailbox, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		total := 0
		for one, err := range a.access.read(t.Context(), anna, kindOK) {
			if err != nil {
				t.Fatal(err)
			}
			total += int(one.Count)
		}
		if want := 1 + 22 + 1 + 1 + 1 + 200 + 1; total != want {
			t.Errorf("%d reads are on record, want %d", total, want)
		}
	})
}
