package archive

import (
	"errors"
	"strings"
	"testing"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// TestTypesDamaged reads an archive of which an entry, and then a whole month, cannot be read: neither makes other messages vanish, nor vanishes itself.
func TestTypesDamaged(t *testing.T) {
	r := newTypeRig(t)
	r.arrive(journal.Received, string(pec.Accettazione), "")
	r.arrive(journal.Received, string(pec.Accettazione), "")
	r.arrive(journal.Sent, "", "certified")
	r.arrive(journal.Sent, "", "certified")
	r.clock("2026-02")
	r.arrive(journal.Received, "", "")
	s, err := r.engine.Volume(t.Context(), "2026-01", false)
	r.check(err)
	r.check(s.Update(t.Context(), nil, func(tx kv.Tx) error {
		for p, err := range s.Scan(t.Context(), []byte("e"), []byte("f")) {
			if err != nil {
				return err
			}
			if p.Key[len(p.Key)-1] == 1 { // the first of each folder
				tx.Put(p.Key, p.Value[:len(p.Value)-1])
			}
		}
		return nil
	}))
	// What cannot be read counts as what nothing is certain of.
	want := `INBOX
Posta inviata
Archiviati a mano
Cestino: [] of 0
2026
2026/01
2026/01/Posta non certificata ricevuta: [1] of 1
2026/01/Ricevute di accettazione: [2] of 1
2026/01/Inviati a destinatari certificati: [2] of 1
2026/01/Inviati a destinatari non certificati: [1] of 1
2026/02
2026/02/Posta non certificata ricevuta: [1] of 1`
	if got := r.names(); got != want {
		t.Errorf("the folders are\n%s", got)
	}
	f, err := r.reader.Folder(t.Context(), "2026/01/Posta non certificata ricevuta")
	r.check(err)
	for e, err := range r.reader.Heads(t.Context(), f, 1, 9) {
		if !errors.Is(err, journal.ErrDamaged) || e.UID != 1 {
			t.Errorf("%+v, %v", e, err)
		}
	}

	bad := kv.Month("2026-01")
	r.engine.bad.Store(&bad)
	want = `INBOX
Posta inviata
Archiviati a mano
Cestino: [] of 0
2026
2026/01: unread
2026/01/Posta certificata ricevuta: unread
2026/01/Posta non certificata ricevuta: unread
2026/01/Ricevute di accettazione: unread
2026/01/Ricevute di consegna: unread
2026/01/Inviati a destinatari certificati: unread
2026/01/Inviati a destinatari non certificati: unread
2026/02
2026/02/Posta non certificata ricevuta: [1] of 1`
	if got := r.names(); got != want {
		t.Errorf("the folders are\n%s", got)
	}
	for _, name := range []string{"2026/01", "2026/01/Ricevute di accettazione", "2026/01/Archiviati a mano"} {
		if _, err := r.reader.Folder(t.Context(), name); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.reader.Refresh(t.Context(), f); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("the folder that was open: %v", err)
	}
	r.engine.bad.Store(nil)
	if now, err := r.reader.Refresh(t.Context(), f); err != nil || now.Holds.Entries != 1 {
		t.Errorf("mended: %+v, %v", now.Holds, err)
	}
}

// TestLayoutTargets checks into which folders messages can be put by hand.
func TestLayoutTargets(t *testing.T) {
	for _, c := range []struct {
		name string
		kept string
		err  error
	}{
		{"INBOX", "INBOX", nil},
		{"inbox", "INBOX", nil},
		{"Posta inviata", "Sent", nil},
		{"Archiviati a mano", journal.Archived, nil},
		{"2026/11/Archiviati a mano", journal.Archived, nil},
		{"2026/10/Archiviati a mano", "", ErrOtherMonth},
		{"2026/11/Ricevute di consegna", "", ErrType},
		{"2025/11/Inviati a destinatari certificati", "", ErrType},
		{"2026/11", "", ErrTarget},
		{"Cestino", "", ErrTarget},
		{"2026", "", ErrTarget},
		{"2026/13", "", ErrNoFolder},
		{"2026/11/Sent", "", ErrNoFolder},
		{"2026/11/Ricevute di consegna/x", "", ErrNoFolder},
		{"INBOX/2026-11", "", ErrNoFolder},
		{"INBOX/", "", ErrNoFolder},
		{"", "", ErrNoFolder},
		{"/", "", ErrNoFolder},
	} {
		if kept, err := taker(c.name, "2026-11", policy.LayoutType, policy.Italian); kept != c.kept || !errors.Is(err, c.err) {
			t.Errorf("%q: %q, %v", c.name, kept, err)
		}
	}
}

// TestLayoutNotes changes settings that rename folders, and others.
func TestLayoutNotes(t *testing.T) {
	r := newTypeRig(t)
	for _, c := range []struct {
		set   string
		notes int
	}{
		{"layout=month", 1}, {"layout=month", 0}, {"language=en", 1}, {"retention=12", 0}, {"layout=type", 1}, {"imap=off", 0}, {"layout=month", 0},
	} {
		var about []string
		for _, n := range r.set(c.set) {
			if strings.Contains(n.Italian, "cartelle") && strings.Contains(n.English, "folders") {
				about = append(about, n.English)
			}
		}
		if len(about) != c.notes {
			t.Errorf("%s: notes %q", c.set, about)
		}
	}
}

// TestTypesOtherFolders files messages in folders of the journal that no type is of: each shows whole, also one that is called like a type.
func TestTypesOtherFolders(t *testing.T) {
	r := newTypeRig(t)
	for _, folder := range []string{"Ricevute di consegna", "Pratiche", journal.Trash} {
		in := journal.Intent{Direction: journal.Received, Class: string(pec.AvvenutaConsegna)}
		r.file(in)
		in.Folder, in.Import = folder, &journal.Import{Who: "test"}
		r.file(in)
	}
	want := `2026/01/Ricevute di consegna: [1 2 3] of 3
2026/01/Pratiche: [1] of 1
2026/01/Ricevute di consegna_: [1] of 1
2026/01/Cestino: [1] of 1`
	if got := r.names(); !strings.HasSuffix(got, want) {
		t.Errorf("the folders are\n%s", got)
	}
}

// TestTypesOfOthers has two mailboxes with layout=type. Neither reads the other's folders, by whatever was learnt of them.
func TestTypesOfOthers(t *testing.T) {
	r := newTypeRig(t)
	r.arrive(journal.Received, string(pec.Accettazione), "")
	annas, err := r.reader.Folder(t.Context(), "2026/01/Ricevute di accettazione")
	r.check(err)
	bruno, err := policy.ParseAddress("bruno@alpha.test")
	r.check(err)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	_, err = r.archive.Enable(t.Context(), root, bruno)
	r.check(err)
	_, err = r.archive.Set(t.Context(), root, bruno, []policy.Assignment{{Key: policy.KeyIMAP, Value: "on"}, {Key: policy.KeyLayout, Value: "type"}})
	r.check(err)
	reader := r.archive.Reader(policy.Actor{Role: policy.RoleOwner, Name: bruno.String()}, bruno)
	folders, err := reader.Folders(t.Context())
	r.check(err)
	for _, f := range folders {
		if strings.HasPrefix(f.Name, "20") {
			t.Errorf("bruno has %s", f.Name)
		}
	}
	if _, err := reader.Folder(t.Context(), annas.Name); !errors.Is(err, ErrNoFolder) {
		t.Errorf("by its name: %v", err)
	}
	if _, err := reader.Refresh(t.Context(), annas); !errors.Is(err, ErrNoFolder) {
		t.Errorf("refresh: %v", err)
	}
	if uids, err := reader.UIDs(t.Context(), annas, 1); !errors.Is(err, ErrNoFolder) {
		t.Errorf("UIDs: %v, %v", uids, err)
	}
}
