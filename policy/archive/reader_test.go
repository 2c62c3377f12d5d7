package archive

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// file journals a message of a mailbox and returns its entry.
func file(t *testing.T, a *Archive, mailbox string, d journal.Direction) *journal.Entry {
	t.Helper()
	draft := a.journal.NewDraft(t.Context())
	defer draft.Discard()
	fmt.Fprint(draft, "Subject: x\r\n\r\nText\r\n")
	placed, err := draft.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: d}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := a.journal.Entry(t.Context(), placed[0].Ref)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestReader reads anna's archive as different people, under different settings, by each method of a Reader.
func TestReader(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	owner := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}
	anna, err := policy.ParseAddress(owner.Name)
	if err != nil {
		t.Fatal(err)
	}
	set := func(key, value string) {
		t.Helper()
		if _, err := a.policy.Set(t.Context(), anna, root, []policy.Assignment{{Key: key, Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	e := file(t, a, anna.String(), journal.Received)
	file(t, a, anna.String(), journal.Sent)
	foreign := file(t, a, "bruno@alpha.test", journal.Received)
	steps := []struct {
		name   string
		change func()
		who    policy.Actor
		want   error
	}{
		{"archive off", func() {}, owner, auth.ErrClosed},
		{"imap off", func() { _, err = a.policy.Enable(t.Context(), anna, root) }, owner, auth.ErrClosed},
		{"open", func() { set(policy.KeyIMAP, "on") }, owner, nil},
		{"another owner", func() {}, policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, policy.ErrForbidden},
		{"postmaster", func() {}, policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}, policy.ErrForbidden},
		{"paused", func() { _, err = a.policy.Pause(t.Context(), anna, root) }, owner, nil},
		{"protocol off", func() { set(policy.KeyProtocols, "pop3") }, owner, auth.ErrClosed},
	}
	for _, s := range steps {
		if s.change(); err != nil {
			t.Fatal(err)
		}
		r := a.Reader(s.who, anna)
		f := Folder{Kind: e.Folder, Holds: &journal.FolderStats{Mailbox: e.Mailbox, Month: e.Month, Folder: e.Folder, NextUID: 2, Entries: 1}}
		for name, try := range map[string]func() error{
			"access":  func() error { _, err := r.Access(t.Context()); return err },
			"folders": func() error { _, err := r.Folders(t.Context()); return err },
			"folder":  func() error { _, err := r.Folder(t.Context(), "inbox/"+string(e.Month)); return err },
			"refresh": func() error { _, err := r.Refresh(t.Context(), f); return err },
			"usage":   func() error { _, err := r.Usage(t.Context()); return err },
			"uids": func() error {
				uids, err := r.UIDs(t.Context(), f, 1)
				if err == nil && len(uids) != 1 {
					t.Errorf("%s: %d UIDs", s.name, len(uids))
				}
				return err
			},
			"entries": func() error {
				for _, err := range r.Entries(t.Context(), f, 1, 9) {
					return err
				}
				return errors.New("nothing")
			},
		} {
			if err := try(); !errors.Is(err, s.want) {
				t.Errorf("%s, %s: %v, want %v", s.name, name, err, s.want)
			}
		}
		if _, err := r.Body(t.Context(), foreign); !errors.Is(err, policy.ErrForbidden) && !errors.Is(err, auth.ErrClosed) {
			t.Errorf("%s: the message of another mailbox: %v", s.name, err)
		}
	}
}

// TestFolders checks the names of folders in both languages, with and without a trash.
func TestFolders(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.policy.Enable(t.Context(), anna, root); err != nil {
		t.Fatal(err)
	}
	e := file(t, a, anna.String(), journal.Received)
	file(t, a, anna.String(), journal.Sent)
	month := e.Time.Format("2006-01")
	for _, c := range []struct{ settings, want string }{
		{"imap=on", "INBOX INBOX/M Posta inviata Posta inviata/M"},
		{"language=en", "INBOX INBOX/M Sent Sent/M"},
		{"manual_delete=on", "INBOX INBOX/M Sent Sent/M Trash"},
		{"language=it", "INBOX INBOX/M Posta inviata Posta inviata/M Cestino"},
	} {
		key, value, _ := strings.Cut(c.settings, "=")
		if _, err := a.policy.Set(t.Context(), anna, root, []policy.Assignment{{Key: key, Value: value}}); err != nil {
			t.Fatal(err)
		}
		folders, err := a.Reader(policy.Actor{Role: policy.RoleOwner, Name: anna.String()}, anna).Folders(t.Context())
		var names []string
		for _, f := range folders {
			names = append(names, strings.Replace(f.Name, month, "M", 1))
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.settings, got, err, c.want)
		}
	}
	if _, err := a.Reader(root, anna).Folder(t.Context(), "INBOX/"+time.Now().AddDate(0, -1, 0).Format("2006-01")); !errors.Is(err, ErrNoFolder) {
		t.Errorf("a month without mail: %v", err)
	}
}

// TestReaderOfFormerOwner keeps a Reader open while the address comes to somebody else: nothing of the next archive shows, by any method.
func TestReaderOfFormerOwner(t *testing.T) {
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	owner := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}
	anna, err := policy.ParseAddress(owner.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(a *Archive) error
	}{
		{"handed over", func(a *Archive) error { _, err := a.HandOver(t.Context(), root, anna, owner.Name); return err }},
		{"renamed, and enabled anew", func(a *Archive) error {
			_, err := a.Rename(t.Context(), root, anna, policy.Address{Local: "rossi", Domain: "alpha.test"})
			return errors.Join(err, last(a.Enable(t.Context(), root, anna)))
		}},
	} {
		a := open(t)
		ons := []policy.Assignment{{Key: policy.KeyIMAP, Value: "on"}, {Key: policy.KeyAppend, Value: "on"}, {Key: policy.KeyWrite, Value: "on"}}
		err := errors.Join(last(a.Enable(t.Context(), root, anna)), last(a.policy.Set(t.Context(), anna, root, ons)))
		if err != nil {
			t.Fatal(err)
		}
		e := file(t, a, anna.String(), journal.Received)
		readers := map[string]*Reader{"mail program": a.Reader(owner, anna), "pages": a.WebReader(owner, anna)}
		for name, r := range readers {
			if _, err := r.Access(t.Context()); err != nil {
				t.Fatalf("%s, %s: %v", c.name, name, err)
			}
		}
		err = errors.Join(c.change(a), last(a.policy.Set(t.Context(), anna, root, ons)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.policy.Mailbox(t.Context(), anna)
		if err != nil {
			t.Fatal(err)
		}
		next := file(t, a, m.Archive, journal.Received)
		if next.UID != e.UID || next.Month != e.Month || m.Archive == e.Mailbox {
			t.Fatalf("the next archive has %+v", next)
		}
		f := Folder{Name: e.FolderName(), Kind: e.Folder, Holds: &journal.FolderStats{Mailbox: m.Archive, Month: e.Month, Folder: e.Folder, NextUID: 2, Entries: 1}}
		for name, r := range readers {
			for act, err := range map[string]error{
				"access": last(r.Access(t.Context())), "folders": last(r.Folders(t.Context())), "months": last(r.MonthFolders(t.Context())),
				"entry": last(r.Entry(t.Context(), e.Ref)), "UIDs": last(r.UIDs(t.Context(), f, 1)), "body": last(r.Body(t.Context(), next)),
				"message": func() error { _, _, err := r.Message(t.Context(), e.Ref); return err }(),
				"delete":  last(r.Delete(t.Context(), f, []uint32{1})), "append": r.MayAppend(t.Context(), "INBOX", 10), "held": last(r.IsHeld(t.Context(), e.Ref)), "usage": last(r.Usage(t.Context())),
			} {
				if !errors.Is(err, policy.ErrForbidden) {
					t.Errorf("%s, %s, %s: %v", c.name, name, act, err)
				}
			}
		}
	}
}

// last returns the error of what returns a value too.
func last[T any](_ T, err error) error { return err }
