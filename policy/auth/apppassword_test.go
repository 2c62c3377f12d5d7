package auth

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/policy"
)

func (r *rig) addAppPassword(mailbox, name string) string {
	r.t.Helper()
	password, err := r.AddAppPassword(r.t.Context(), operator, address(r.t, mailbox), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return password
}

func TestAppPassword(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.enable(mario)
	r.set(mario, "imap=on")
	phone, tablet := r.addAppPassword(anna, "phone"), r.addAppPassword(anna, "tablet, old")
	if !regexp.MustCompile(`^([a-km-np-z2-9]{4}-){6}[a-km-np-z2-9]{4}$`).MatchString(phone) || phone == tablet {
		t.Fatalf("%s, %s", phone, tablet)
	}
	for _, c := range []struct {
		name, login, password string
		protocol              Protocol
		want                  error
		app                   string
	}{
		{"as shown", anna, phone, ProtocolIMAP, nil, "phone"},
		{"another", anna, tablet, ProtocolIMAP, nil, "tablet, old"},
		{"outgoing server", anna, phone, ProtocolSubmission, nil, "phone"},
		{"capitals", anna, strings.ToUpper(phone), ProtocolIMAP, nil, "phone"},
		{"no hyphens", anna, strings.ReplaceAll(phone, "-", ""), ProtocolIMAP, nil, "phone"},
		{"blanks", anna, " " + strings.ReplaceAll(phone, "-", " ") + "\n", ProtocolIMAP, nil, "phone"},
		{"the main one", anna, password, ProtocolIMAP, nil, ""},
		{"pages", anna, phone, ProtocolWeb, ErrDenied, ""},
		{"cut", anna, phone[:len(phone)-1], ProtocolIMAP, ErrDenied, ""},
		{"somebody else's", mario, phone, ProtocolIMAP, ErrDenied, ""},
		{"nobody's", "ugo@alpha.test", phone, ProtocolIMAP, ErrDenied, ""},
	} {
		id, err := r.login(c.login, c.password, c.protocol)
		if !errors.Is(err, c.want) || id.AppPassword != c.app || c.want == nil && id.Mailbox.String() != anna {
			t.Errorf("%s: %+v, %v, want %q, %v", c.name, id, err, c.app, c.want)
		}
	}
	if got := r.accesses(anna)[0]; got.AppPassword != "phone" || got.Result != ResultOK {
		t.Errorf("the access log has %+v", got)
	}
	list, err := r.AppPasswords(t.Context(), address(t, anna))
	today := time.Now().UTC().Truncate(24 * time.Hour)
	if err != nil || len(list) != 2 || list[0].Name != "phone" || list[0].Who != "operator root" || time.Since(list[0].Created) > time.Minute || !list[0].Used.Equal(today) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := r.RevokeAppPassword(t.Context(), operator, address(t, anna), "phone"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.login(anna, phone, ProtocolIMAP); !errors.Is(err, ErrDenied) {
		t.Errorf("a revoked one: %v", err)
	}
	if err := r.RevokeAppPassword(t.Context(), operator, address(t, anna), "phone"); !errors.Is(err, ErrNoAppPassword) {
		t.Errorf("revoked again: %v", err)
	}
	if _, err := r.login(anna, tablet, ProtocolIMAP); err != nil {
		t.Errorf("the other: %v", err)
	}
	r.set(anna, "imap=off")
	if _, err := r.login(anna, tablet, ProtocolIMAP); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed mailbox: %v", err)
	}
	var log []string
	for c, err := range r.policy.Changes(t.Context(), address(t, anna)) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Key == KeyAppPassword {
			log = append(log, fmt.Sprintf("%s %s: %q to %q", c.Role, c.Who, c.Before, c.After))
		}
	}
	if want := []string{`operator root: "" to "phone"`, `operator root: "" to "tablet, old"`, `operator root: "phone" to ""`}; !slices.Equal(log, want) {
		t.Errorf("on record is %q, want %q", log, want)
	}
	if s, err := r.policy.Settings(t.Context(), address(t, anna)); err != nil || s.IMAP {
		t.Errorf("the settings are %+v, %v", s, err)
	}
	for _, pair := range r.stored() {
		if strings.Contains(pair, phone) || strings.Contains(pair, strings.ReplaceAll(tablet, "-", "")) {
			t.Error("the store has an app password")
		}
	}
}

// stored returns all that the settings store holds.
func (r *rig) stored() (list []string) {
	r.t.Helper()
	for pair, err := range r.store.Scan(r.t.Context(), nil, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, string(pair.Key)+string(pair.Value))
	}
	return list
}

func TestAppPasswordNames(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	for n := range maxAppPasswords {
		r.addAppPassword(anna, fmt.Sprint("program ", n))
	}
	for _, name := range []string{"", " phone", "phone\t", "a\x00b", "\xff", strings.Repeat("x", maxAppName+1), "program 1", "one more"} {
		if _, err := r.AddAppPassword(t.Context(), operator, address(t, anna), name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestAppPasswordWithoutSource checks that an app password opens the archive while the source of passwords does not answer, and never without [auth].
func TestAppPasswordWithoutSource(t *testing.T) {
	r := newRig(t)
	phone := r.addAppPassword(anna, "phone")
	r.Authenticator.source.(*passwordFile).path = "/nonexistent"
	if _, err := r.login(anna, phone, ProtocolIMAP); err != nil {
		t.Errorf("the source is down: %v", err)
	}
	if _, err := r.login(anna, "wrong", ProtocolIMAP); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a wrong one: %v", err)
	}
	none := New(Options{Policy: r.policy, Settings: r.store})
	defer none.Close()
	if _, err := none.Login(t.Context(), Attempt{Login: anna, Password: phone, Protocol: ProtocolIMAP}); !errors.Is(err, ErrDenied) {
		t.Errorf("without [auth]: %v", err)
	}
}

// TestAppPasswordsFollowTheArchive renames a mailbox, and hands it over: its app passwords open the archive that they were made for, or nothing.
func TestAppPasswordsFollowTheArchive(t *testing.T) {
	const rossi = "anna.rossi@alpha.test"
	r := newRig(t, anna+":"+cheap, rossi+":"+cheap)
	phone := r.addAppPassword(anna, "phone")
	if _, err := r.policy.Rename(t.Context(), address(t, anna), address(t, rossi), operator); err != nil {
		t.Fatal(err)
	}
	if _, err := r.login(anna, phone, ProtocolIMAP); !errors.Is(err, ErrDenied) {
		t.Errorf("under the old address: %v", err)
	}
	if id, err := r.login(rossi, phone, ProtocolIMAP); err != nil || id.Mailbox.String() != rossi {
		t.Errorf("under the new address: %+v, %v", id, err)
	}
	closed, err := r.policy.HandOver(t.Context(), address(t, rossi), operator, rossi)
	if err != nil {
		t.Fatal(err)
	}
	r.set(rossi, "imap=on")
	for _, login := range []string{rossi, closed.String()} {
		if id, err := r.login(login, phone, ProtocolIMAP); !errors.Is(err, ErrDenied) {
			t.Errorf("after the hand-over, %s: %+v, %v", login, id, err)
		}
	}
	if list, err := r.AppPasswords(t.Context(), address(t, rossi)); err != nil || len(list) > 0 {
		t.Errorf("the next person has %+v, %v", list, err)
	}
	if made, err := r.AddAppPassword(t.Context(), operator, closed, "tablet"); !errors.Is(err, policy.ErrClosed) {
		t.Errorf("of the archive that was handed over: %q, %v", made, err)
	}
	if _, err := r.BeginSecondFactor(t.Context(), operator, closed, ""); !errors.Is(err, policy.ErrClosed) {
		t.Errorf("its second factor: %v", err)
	}
}

// TestArchiveNameIsNoLogin gives the name of an archive as an account of its own, for which the address stands: what somebody signs in by belongs to that.
func TestArchiveNameIsNoLogin(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	if err := r.policy.Reconfigure(policy.Config{ArchiveHost: "archivio.test", Domains: []policy.Domain{{Name: "alpha.test"}}}); err != nil {
		t.Fatal(err)
	}
	name := address(t, "anna_alpha.test@archivio.test")
	if made, err := r.AddAppPassword(t.Context(), operator, name, "tablet"); !errors.Is(err, policy.ErrAddress) {
		t.Errorf("%q, %v", made, err)
	}
	if _, err := r.BeginSecondFactor(t.Context(), operator, name, ""); !errors.Is(err, policy.ErrAddress) {
		t.Error(err)
	}
}

// TestAppPasswordsAtOnce makes and uses several at a time: none is lost, nor revived by a login that notes its use.
func TestAppPasswordsAtOnce(t *testing.T) {
	r := newRig(t)
	first := r.addAppPassword(anna, "first")
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			if _, err := r.AddAppPassword(t.Context(), operator, address(t, anna), fmt.Sprint("program ", n)); err != nil {
				t.Error(err)
			}
			r.login(anna, first, ProtocolIMAP)
		})
	}
	wait.Go(func() {
		if err := r.RevokeAppPassword(t.Context(), operator, address(t, anna), "first"); err != nil {
			t.Error(err)
		}
	})
	wait.Wait()
	list, err := r.AppPasswords(t.Context(), address(t, anna))
	if err != nil || len(list) != 8 || slices.ContainsFunc(list, func(one AppPassword) bool { return one.Name == "first" }) {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestAppPasswordFaults fails the write of a new app password: it is there and on record, or neither.
func TestAppPasswordFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t)
		store := &failing{r.store, 1, after}
		p, err := policy.Open(t.Context(), store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		a := New(Options{Source: r.source(), Policy: p, Settings: store})
		defer a.Close()
		if _, err := a.AddAppPassword(t.Context(), operator, address(t, anna), "phone"); err == nil {
			t.Error("no error")
		}
		list, err := r.AppPasswords(t.Context(), address(t, anna))
		onRecord := false
		for c := range r.policy.Changes(t.Context(), address(t, anna)) {
			onRecord = onRecord || c.Key == KeyAppPassword
		}
		if err != nil || (len(list) == 1) != after || onRecord != after {
			t.Errorf("fails after the write %v: %+v, on record %v, %v", after, list, onRecord, err)
		}
	}
}
