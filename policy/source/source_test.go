package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/sealing"
	"copialettere/policy"
)

func newStore(t *testing.T) (*Store, kv.Store) {
	t.Helper()
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return New(settings, Sealer{Path: filepath.Join(t.TempDir(), "key")}), settings
}

var place = Place{"anna@alpha.test", "imaps://anna@ext.test", "INBOX"}

// all returns what is known of the messages of a place.
func all(t *testing.T, s *Store, p Place) (list []Message) {
	t.Helper()
	for m, err := range s.Messages(t.Context(), p) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// TestMessages keeps what became of messages, per folder, account and archive.
func TestMessages(t *testing.T) {
	s, _ := newStore(t)
	at := time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC)
	taken := Message{UID: 7, Size: 4711, Date: at, State: Taken, Imported: at.AddDate(1, 0, 0), In: "Imported/INBOX/2026-11", At: 12}
	taken.SHA256[0] = 9
	refused := Message{UID: 300, Size: 5, State: Refused}
	if err := s.Note(t.Context(), place, []Message{taken}, nil); !errors.Is(err, ErrForgotten) {
		t.Errorf("a folder that is not on record: %v", err)
	}
	other := Place{place.Archive, place.Account, "Sent"}
	for _, p := range []Place{place, other} {
		if err := s.SetFolder(t.Context(), p, 5, 20, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Note(t.Context(), place, []Message{refused, taken}, nil); err != nil {
		t.Fatal(err)
	}
	if got := all(t, s, place); len(got) != 2 || got[0] != taken || got[1] != refused {
		t.Errorf("%+v", got)
	}
	if got := all(t, s, other); got != nil {
		t.Errorf("in another folder: %+v", got)
	}
	if f, known, err := s.Folder(t.Context(), place); err != nil || !known || f != (Folder{place.Account, "INBOX", 5, 20}) {
		t.Errorf("%+v %v %v", f, known, err)
	}
	if err := s.Note(t.Context(), place, nil, []uint32{300, 301}); err != nil || len(all(t, s, place)) != 1 {
		t.Errorf("%v, %+v", err, all(t, s, place))
	}
	if err := s.SetFolder(t.Context(), place, 6, 1, true); err != nil || all(t, s, place) != nil {
		t.Errorf("anew: %v", err)
	}
	if err := s.KeepFolders(t.Context(), place.Archive, place.Account, func(name string) bool { return name == "Sent" }); err != nil {
		t.Fatal(err)
	}
	_, inbox, _ := s.Folder(t.Context(), place)
	_, sent, _ := s.Folder(t.Context(), other)
	if inbox || !sent {
		t.Errorf("INBOX %v, Sent %v", inbox, sent)
	}
}

// FuzzMessage decodes what may be stored of a message.
func FuzzMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(Message{State: Taken, Size: 1, In: "INBOX/2026-11", At: 3}.encode())
	f.Add(Message{State: Refused, Size: 1 << 40}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(5, b)
		if err != nil {
			return
		}
		if again, err := decode(5, m.encode()); err != nil || again != m {
			t.Errorf("%+v is %+v, %v", m, again, err)
		}
	})
}

// add keeps a profile, as package archive does.
func add(t *testing.T, s *Store, settings kv.Store, archive string, p Profile, password string) error {
	t.Helper()
	sealed, err := s.Seal(archive, p, password)
	if err != nil {
		return err
	}
	return settings.Update(t.Context(), []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error {
		_, err := s.Add(tx, archive, sealed)
		return err
	})
}

// TestProfiles keeps profiles with sealed passwords.
func TestProfiles(t *testing.T) {
	s, settings := newStore(t)
	p := Profile{Name: "aruba", Account: "imaps://anna@ext.test", Every: 24 * time.Hour, Role: "owner", Who: "anna@alpha.test"}
	for name, change := range map[string]func(*Profile){
		"no name": func(p *Profile) { p.Name = "" }, "a slash": func(p *Profile) { p.Name = "a/b" }, "a dot": func(p *Profile) { p.Name = "." },
		"a line end": func(p *Profile) { p.Name = "a\nb" }, "too often": func(p *Profile) { p.Every = time.Minute }, "long": func(p *Profile) { p.Name = strings.Repeat("x", 65) },
		"negative days": func(p *Profile) { n := -1; p.DeleteAfter = &n },
	} {
		bad := p
		change(&bad)
		if err := add(t, s, settings, "anna@alpha.test", bad, "x"); !errors.Is(err, ErrProfile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := add(t, s, settings, "anna@alpha.test", p, ""); !errors.Is(err, ErrProfile) {
		t.Errorf("no password: %v", err)
	}
	if err := add(t, s, settings, "anna@alpha.test", p, "s3cret"); err != nil {
		t.Fatal(err)
	}
	other := p
	other.Account = "imaps://anna@other.test"
	if err := add(t, s, settings, "anna@alpha.test", other, "s3cret"); !errors.Is(err, ErrProfile) || !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), p.Account) {
		t.Errorf("another account of that name: %v", err)
	}
	if _, password, err := s.Password(t.Context(), "anna@alpha.test", "aruba"); err != nil || password != "s3cret" {
		t.Errorf("%q, %v", password, err)
	}
	// Nothing that is stored has the password, and a seal opens nothing elsewhere.
	var value []byte
	for pair, err := range settings.Scan(t.Context(), []byte("t"), nil) {
		if err != nil || strings.Contains(string(pair.Value), "s3cret") {
			t.Errorf("%q, %v", pair.Value, err)
		}
		value = pair.Value
	}
	if err := settings.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put(profileKey("bruno@alpha.test", "aruba"), value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, password, err := s.Password(t.Context(), "bruno@alpha.test", "aruba"); !errors.Is(err, ErrKey) {
		t.Errorf("a seal of another archive opens: %q, %v", password, err)
	}
	for i, fault := range []string{"refused", "refused", ""} {
		ran, err := s.Ran(t.Context(), "anna@alpha.test", "aruba", Run{Error: fault, Notes: make([]string, 50)})
		if want := []int{1, 2, 0}[i]; err != nil || ran.Failures != want {
			t.Errorf("run %d: %d failures, %v", i, ran.Failures, err)
		}
	}
	list, err := s.Profiles(t.Context(), "anna@alpha.test")
	if err != nil || len(list) != 1 || len(list[0].Last.Notes) != maxNotes {
		t.Errorf("%+v, %v", list, err)
	}
	if info, err := os.Stat(s.sealer.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if err := os.Remove(s.sealer.Path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Password(t.Context(), "anna@alpha.test", "aruba"); !errors.Is(err, ErrKey) {
		t.Errorf("without the key: %v", err)
	}
	if err := s.Forget(t.Context(), "anna@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Profile(t.Context(), "anna@alpha.test", "aruba"); !errors.Is(err, ErrNoProfile) {
		t.Errorf("after the erasure: %v", err)
	}
	if _, err := s.Profile(t.Context(), "bruno@alpha.test", "aruba"); err != nil {
		t.Errorf("of another archive: %v", err)
	}
}

// TestKey has the key of the passwords sealed where the journal is encrypted, also one from before, and changed keys of the operator's.
func TestKey(t *testing.T) {
	one, two := sealing.Key{ID: [8]byte{1}, Secret: [32]byte{1}}, sealing.Key{ID: [8]byte{2}, Secret: [32]byte{2}}
	plain := Sealer{Path: filepath.Join(t.TempDir(), "key")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(plain.Renew()) // there is none
	sealed, err := plain.seal("password", "use")
	must(err)
	key, err := os.ReadFile(plain.Path)
	must(err)
	for _, keys := range [][]sealing.Key{{one}, {one}, {two, one}, {two}} {
		s := Sealer{Path: plain.Path, Box: sealing.NewBox(keys)}
		must(s.Renew())
		now, err := os.ReadFile(plain.Path)
		must(err)
		if got, err := s.unseal(sealed, "use"); got != "password" || err != nil || bytes.Contains(now, key) {
			t.Errorf("%d keys: %q, %v; the file: %x", len(keys), got, err, now)
		}
	}
	for name, s := range map[string]Sealer{"another key": {plain.Path, sealing.NewBox([]sealing.Key{one})}, "no key": plain} {
		if _, err := s.unseal(sealed, "use"); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "name that key in [encryption]") {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Renew(); !errors.Is(err, ErrKey) {
			t.Errorf("%s: renewed: %v", name, err)
		}
	}
}

// TestReplace adds a profile once more: a new password and other settings, and what else is known stays.
func TestReplace(t *testing.T) {
	s, settings := newStore(t)
	const archive = "anna@alpha.test"
	days := 30
	p := Profile{Name: "aruba", Account: "imaps://anna@ext.test", Every: 24 * time.Hour, CA: "x", Private: true, DeleteAfter: &days, Role: "operator", Who: "root"}
	if err := add(t, s, settings, archive, p, "old"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetFolder(t.Context(), Place{archive, p.Account, "INBOX"}, 5, 20, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ran(t.Context(), archive, "aruba", Run{Error: "refused", End: time.Unix(99, 0)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Tell(t.Context(), archive, "aruba", true); err != nil {
		t.Fatal(err)
	}
	p = Profile{Name: "aruba", Account: p.Account, Every: time.Hour, Role: "owner", Who: archive}
	if err := add(t, s, settings, archive, p, "new"); err != nil {
		t.Fatal(err)
	}
	got, password, err := s.Password(t.Context(), archive, "aruba")
	if err != nil || password != "new" || got.Every != time.Hour || got.DeleteAfter != nil || got.Last != nil || got.Failures != 0 || got.Role != "owner" {
		t.Errorf("%+v, %q, %v", got, password, err)
	}
	if got.CA != "x" || !got.Private || !got.Told || !got.Failing.Equal(time.Unix(99, 0)) {
		t.Errorf("what was to stay: %+v", got)
	}
	if _, known, err := s.Folder(t.Context(), Place{archive, p.Account, "INBOX"}); err != nil || !known {
		t.Errorf("what is known of the folder: %v, %v", known, err)
	}
	p.CA = "y"
	if err := add(t, s, settings, archive, p, "new"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Profile(t.Context(), archive, "aruba"); err != nil || got.CA != "y" {
		t.Errorf("other certificates: %+v, %v", got, err)
	}
}

// TestFailing says since when runs do not go through, until the owner knows that they do.
func TestFailing(t *testing.T) {
	s, settings := newStore(t)
	const archive = "anna@alpha.test"
	if err := add(t, s, settings, archive, Profile{Name: "a", Account: "imaps://anna@ext.test"}, "x"); err != nil {
		t.Fatal(err)
	}
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	for i, step := range []struct {
		fault    string
		tell     string // what is told before the run
		failures int
		failing  time.Time
		told     bool
	}{
		{"refused", "", 1, at(1), false},
		{"refused", "", 2, at(1), false},
		{"", "", 0, time.Time{}, false},
		{"refused", "", 1, at(4), false},
		{"refused", "fails", 2, at(4), true},
		{"", "", 0, at(4), true},        // that it works again is still to be told
		{"refused", "", 1, at(4), true}, // and is not, where it fails at once
		{"", "", 0, at(4), true},
		{"", "works", 0, time.Time{}, false},
	} {
		if step.tell != "" {
			if err := s.Tell(t.Context(), archive, "a", step.tell == "fails"); err != nil {
				t.Fatal(err)
			}
		}
		p, err := s.Ran(t.Context(), archive, "a", Run{Error: step.fault, End: at(int64(i) + 1)})
		if err != nil || p.Failures != step.failures || !p.Failing.Equal(step.failing) || p.Told != step.told {
			t.Errorf("run %d: %+v, %v", i+1, p, err)
		}
	}
	if err := s.Tell(t.Context(), archive, "removed", true); err != nil {
		t.Error(err)
	}
	if p, err := s.Ran(t.Context(), archive, "removed", Run{}); err != nil || p.Name != "" {
		t.Errorf("%+v, %v", p, err)
	}
}
