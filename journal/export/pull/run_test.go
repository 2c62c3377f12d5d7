package pull

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestRun pulls a folder, and again as it grows and changes.
func TestRun(t *testing.T) {
	r := newRig(t, one(1), one(2))
	r.want("first", "imported 1, imported 2")
	if want := time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC); !r.shelf.date.Equal(want) {
		t.Errorf("date %s", r.shelf.date)
	}
	r.want("nothing new", "")
	r.mails = append(r.mails, one(5))
	r.want("one more", "imported 5")
	// The same UID, and another message: size and date tell.
	r.mails[0] = mail{uid: 1, text: "Subject: other\r\n\r\n"}
	r.mails[1].date = "12-Nov-2020 00:00:00 +0100"
	r.want("changed", "imported 1, duplicate 2")
	r.want("nothing new again", "")
	r.uidValidity = 8
	r.want("another UIDVALIDITY", "duplicate 1, duplicate 2, duplicate 5")
	r.uidNext = 50
	r.want("UIDNEXT went back", "duplicate 1, duplicate 2, duplicate 5")
	r.mails = r.mails[:1]
	r.want("deleted there", "")
	if n := len(r.sent("SELECT")) + len(r.sent("UID STORE")) + len(r.sent("EXPUNGE")) + len(r.sent("CLOSE")); n > 0 {
		t.Errorf("%d commands that change something", n)
	}
	for i, c := range r.sent("UID FETCH") {
		if strings.Contains(c, "BODY[") {
			t.Errorf("command %d marks messages as read: %s", i, c)
		}
	}
}

// TestDryRun keeps nothing, and the run after it takes all.
func TestDryRun(t *testing.T) {
	r := newRig(t, one(1), one(2))
	r.options.DryRun = true
	r.want("dry", "new 1, new 2")
	r.holdsOnly()
	if n := len(r.sent("UID FETCH")); n != 1 {
		t.Errorf("%d FETCHes", n)
	}
	r.options.DryRun = false
	r.want("wet", "imported 1, imported 2")
}

// TestMisbehaviour has servers that say OK to what they have not done. None of it is taken for a message; what is whole is taken.
func TestMisbehaviour(t *testing.T) {
	big := mail{uid: 2, text: "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcde\n", alone/16)}
	for _, test := range []struct {
		name  string
		mails []mail
		fetch func(w io.Writer, uids []uint32) (bool, error)
		noop  string
		want  string
		kept  int
	}{
		{"no body for one", []mail{one(1), one(2)}, func(w io.Writer, uids []uint32) (bool, error) {
			for _, uid := range uids {
				if uid != 2 {
					fmt.Fprintf(w, "* 1 FETCH (UID %d RFC822.SIZE 20 BODY[] {20}\r\n%s)\r\n", uid, one(uid).text)
				}
			}
			return true, nil
		}, "", "not-given 2, imported 1", 1},
		{"NIL", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE 0 BODY[] NIL)\r\n")
			return true, nil
		}, "", "not-given 1", 0},
		{"another size", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE 20 BODY[] {19}\r\nSubject: 1\r\n\r\nbody\r)\r\n")
			return true, nil
		}, "", "not-given 1", 0},
		{"sizes agree, and the list does not", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE 4 BODY[] {4}\r\nabcd)\r\n")
			return true, nil
		}, "", "not-given 1", 0},
		{"twice", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			for range 2 {
				fmt.Fprintf(w, "* 1 FETCH (UID 1 RFC822.SIZE 20 BODY[] {20}\r\n%s)\r\n", one(1).text)
			}
			return true, nil
		}, "", "not-given 1", 0},
		{"flags first, then the body before its UID", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			fmt.Fprintf(w, "* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 1 FETCH (BODY[] {20}\r\n%s RFC822.SIZE 20 UID 1)\r\n", one(1).text)
			return true, nil
		}, "", "imported 1", 1},
		{"a quoted string", []mail{{uid: 1, text: "Subject: x"}}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE 10 BODY[] \"Subject: x\")\r\n")
			return true, nil
		}, "", "imported 1", 1},
		{"the connection ends in each body", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE 20 BODY[] {20}\r\nSubject: 1\r\n")
			return false, errCut
		}, "", "not-given 1", 0},
		{"the connection ends in a large body", []mail{big}, func(w io.Writer, _ []uint32) (bool, error) {
			fmt.Fprintf(w, "* 1 FETCH (UID 2 RFC822.SIZE %d BODY[] {%d}\r\n%s", len(big.text), len(big.text), big.text[:len(big.text)-1])
			return false, errCut
		}, "", "not-given 2", 0},
		{"a large body of another size", []mail{big}, func(w io.Writer, _ []uint32) (bool, error) {
			fmt.Fprintf(w, "* 1 FETCH (UID 2 RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n", len(big.text), len(big.text)-1, big.text[:len(big.text)-1])
			return true, nil
		}, "", "not-given 2", 0},
		{"large", []mail{big}, nil, "", "imported 2", 1},
		{"one that ends every batch", []mail{one(1), one(2), one(3), one(4), one(5)}, func(w io.Writer, uids []uint32) (bool, error) {
			if contains(uids, 4) {
				io.WriteString(w, "* BYE FETCH failed\r\n")
				return false, errCut
			}
			return false, nil
		}, "", "imported 1, imported 2, imported 3, not-given 4, imported 5", 4},
		{"no IMAP", []mail{one(1)}, func(w io.Writer, _ []uint32) (bool, error) {
			io.WriteString(w, "* 1 FETCH (UID 1 RFC822.SIZE x)\r\n")
			return true, nil
		}, "", "not-given 1", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.mails...)
			r.fetch, r.noop = test.fetch, test.noop
			r.want("the first time", test.want)
			if len(r.shelf.has) != test.kept {
				t.Errorf("%d are kept, want %d", len(r.shelf.has), test.kept)
			}
			// What was not given is tried once more, alone, and comes when the server has come round.
			r.fetch = nil
			if _, err := r.run(); err != nil {
				t.Error(err)
			}
			var texts []string
			for _, m := range test.mails {
				texts = append(texts, m.text)
			}
			r.holdsOnly(texts...)
		})
	}
}

// TestInvented has a server invent a message in place of one that another session expunged, as Courier does. Sizes agree; only the NOOP shows it.
func TestInvented(t *testing.T) {
	for _, size := range []int{10, alone + 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			gone := mail{uid: 2, text: strings.Repeat("y", size)}
			r := newRig(t, one(1), gone)
			told := false
			r.fetch = func(w io.Writer, uids []uint32) (bool, error) {
				if !contains(uids, 2) {
					return false, nil
				}
				for _, uid := range uids {
					text := one(1).text
					if uid == 2 {
						text = strings.Repeat("x", size)
					}
					fmt.Fprintf(w, "* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n", uid, uid, len(text), len(text), text)
				}
				if !told {
					told = true
					r.mails, r.noop = r.mails[:1], "* 2 EXPUNGE\r\n"
				}
				return true, nil
			}
			r.once = true // an expunge is told once
			out, err := r.run()
			if err != nil || !strings.Contains(out, "gone 2") || !strings.Contains(out, "imported 1") {
				t.Errorf("%q, %v", out, err)
			}
			r.holdsOnly(one(1).text)
		})
	}
}

// TestFolders names each folder that does not open, decodes names, and leaves out what belongs to others.
func TestFolders(t *testing.T) {
	r := newRig(t, one(1))
	r.capability = "IMAP4rev1 NAMESPACE"
	r.folders = []string{`() "." INBOX`, `(\Noselect) "." INBOX.a`, `() "." "INBOX.Perch&AOk-"`, `() "." {9}` + "\r\nINBOX.a\"b", `() "." user.bruno`, `() "." INBOX.closed`}
	r.refuse = map[string]string{`EXAMINE "INBOX.closed"`: "NO [NOPERM] closed", `STATUS "INBOX.closed"`: "OK done"}
	var names []string
	told, err := r.run()
	if err != nil || told != "imported 1, duplicate 1, duplicate 1, not-opened 0" {
		t.Errorf("%q, %v", told, err)
	}
	names = append(names, r.sent("EXAMINE")...)
	if want := []string{`EXAMINE "INBOX"`, `EXAMINE "INBOX.Perch&AOk-"`, `EXAMINE "INBOX.a\"b"`, `EXAMINE "INBOX.closed"`}; fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("opened %q", names)
	}
	r.options.Folders = []string{"Perché"}
	r.want("one folder", "")
	r.options.Folders = []string{"nowhere"}
	if _, err := r.run(); !errors.Is(err, ErrNoFolder) || !errors.Is(err, ErrAccount) {
		t.Errorf("%v", err)
	}
}

// TestRemove deletes at the source exactly what the archive holds.
func TestRemove(t *testing.T) {
	now, after := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), 30
	big := mail{uid: 9, text: strings.Repeat("z", alone+1)}
	r := newRig(t, one(1), one(2), one(3), big)
	r.options.DeleteAfter, r.options.Now = &after, func() time.Time { return now }
	r.want("imported", "imported 1, imported 2, imported 3, imported 9")
	now = now.AddDate(0, 0, 29)
	r.want("too early", "")
	now = now.AddDate(0, 0, 1)
	for digest := range r.shelf.has { // the archive has lost the second
		if digest == digestOf(one(2).text) {
			delete(r.shelf.has, digest)
		}
	}
	r.options.DryRun = true
	r.want("dry", "would-delete 1, would-delete 2, would-delete 3, would-delete 9")
	r.options.DryRun = false
	r.capability = "IMAP4rev1"
	r.want("without UIDPLUS", "not-deleted 0")
	r.capability = "IMAP4rev1 UIDPLUS"
	r.want("due", "not-deleted 2, deleted 1, deleted 3, deleted 9")
	if got := fmt.Sprint(r.sent("UID EXPUNGE")); got != "[UID EXPUNGE 1,3 UID EXPUNGE 9]" {
		t.Error(got)
	}
	if len(r.mails) != 1 || len(r.sent("EXPUNGE"))+len(r.sent("CLOSE")) > 0 {
		t.Errorf("%d are left", len(r.mails))
	}
}

// TestRemoveInVain has a server that says OK and deletes nothing.
func TestRemoveInVain(t *testing.T) {
	at := 0
	r := newRig(t, one(1))
	r.options.DeleteAfter = &at
	r.refuse = map[string]string{"UID EXPUNGE": "OK done"}
	r.want("in vain", "imported 1, not-deleted 1")
	if got := r.sent("UID STORE"); len(got) != 2 || got[1] != `UID STORE 1 -FLAGS.SILENT (\Deleted)` {
		t.Errorf("%q", got)
	}
}

// TestOwnFaults ends a run by faults of this side: what was kept is on record, and the next run goes on.
func TestOwnFaults(t *testing.T) {
	r := newRig(t, one(1), mail{uid: 2, text: strings.Repeat("q", 500)}, one(3))
	r.shelf.full = 100
	told, err := r.run()
	if !errors.Is(err, ErrFull) || told != "imported 1, full 2" {
		t.Errorf("%q, %v", told, err)
	}
	r.shelf.full, r.shelf.err = 0, errors.New("disk")
	if told, err := r.run(); err == nil || !strings.Contains(err.Error(), "disk") || errors.Is(err, ErrAccount) || told != "" {
		t.Errorf("%q, %v", told, err)
	}
	r.shelf.err = nil
	r.want("again", "imported 2, imported 3")
	r.options.MaxMessage = 100
	r.mails = append(r.mails, mail{uid: 4, text: strings.Repeat("p", 500)})
	r.want("too large", "too-large 4")
}

// TestSignIn refuses to send a password where it must not go.
func TestSignIn(t *testing.T) {
	r := newRig(t, one(1))
	r.capability = "IMAP4rev1 LOGINDISABLED"
	if _, err := r.run(); !errors.Is(err, ErrLogin) || len(r.sent("LOGIN")) > 0 {
		t.Errorf("%v, %q", err, r.sent("LOGIN"))
	}
	r.capability = "IMAP4rev1"
	r.refuse = map[string]string{"LOGIN": "NO wrong"}
	if _, err := r.run(); !errors.Is(err, ErrLogin) || !errors.Is(err, ErrAccount) {
		t.Error(err)
	}
	r.options.Reach.Public = true
	if _, err := r.run(); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// TestExpungedBefore has another session expunge a message of a later batch, which the server tells with the one before.
func TestExpungedBefore(t *testing.T) {
	r := newRig(t, mail{uid: 1, text: strings.Repeat("y", alone+1)}, one(2))
	r.fetch = func(_ io.Writer, uids []uint32) (bool, error) {
		if contains(uids, 1) {
			r.mails, r.noop, r.once = r.mails[:1], "* 2 EXPUNGE\r\n", true
		}
		return false, nil
	}
	r.want("expunged before", "imported 1, gone 2")
}
