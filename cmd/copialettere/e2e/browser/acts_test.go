package browser

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// places returns where the messages of a mailbox are and what they are: "INBOX/2026-11 SHA256". What is brought back has another UID.
func (s *site) places(t *testing.T, box string) (list []string) {
	t.Helper()
	for _, e := range s.hook.List(t, box) {
		list = append(list, e.Folder+" "+e.SHA256)
	}
	slices.Sort(list)
	return list
}

// testDelete deletes one message from its page and all others of a list of two pages at once, and brings first one of them back and then the others.
func testDelete(t *testing.T, s *site) {
	before := s.places(t, elisa)
	x := s.newTab(t, look{})
	x.signIn(elisa)
	x.open("/mailbox/" + elisa + "/messages")
	x.see(fmt.Sprintf("%d messaggi", manyLetters))
	x.press("Lettera 7")
	x.press("Elimina…")
	x.see("Eliminare un messaggio?", "72 ore")
	if now := s.places(t, elisa); !slices.Equal(now, before) {
		t.Errorf("before the confirmation there are %d messages of %d", len(now), len(before))
	}
	x.press("Elimina")
	x.see("Eliminati: un messaggio", fmt.Sprintf("%d messaggi", manyLetters-1))

	x.choose(fmt.Sprintf("Tutti e %d, in tutte le pagine", manyLetters-1))
	x.press("Elimina…")
	x.see(fmt.Sprintf("Eliminare %d messaggi?", manyLetters-1))
	x.press("Elimina")
	x.see(fmt.Sprintf("Eliminati: %d messaggi", manyLetters-1), "Qui non ci sono messaggi")
	if now := s.places(t, elisa); len(now) > 0 {
		t.Errorf("after all were deleted, there are\n%s", strings.Join(now, "\n"))
	}

	x.press("Eliminati")
	x.see(fmt.Sprintf("%d messaggi", manyLetters))
	x.choose("Scegli")
	x.press("Recupera i messaggi scelti")
	x.see("Recuperati: un messaggio")
	if now := s.places(t, elisa); len(now) != 1 || !slices.Contains(before, now[0]) {
		t.Errorf("brought back is %q", now)
	}
	x.choose(fmt.Sprintf("Tutti e %d", manyLetters-1))
	x.press("Recupera i messaggi scelti")
	x.see(fmt.Sprintf("Recuperati: %d messaggi", manyLetters-1))
	if now := s.places(t, elisa); !slices.Equal(now, before) {
		t.Errorf("after all were brought back, there are\n%s\nwant\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
}

// testMove moves two messages of a list into another folder of their month, and one of them on from its own page.
func testMove(t *testing.T, s *site) {
	folder, other := "INBOX/"+time.Now().UTC().Format("2006-01"), "Sent/"+time.Now().UTC().Format("2006-01")
	x := s.newTab(t, look{})
	x.signIn(franz)
	x.open("/mailbox/" + franz + "/messages")
	x.choose("Scegli " + folder + " 40")
	x.choose("Scegli " + folder + " 41")
	x.press("Sposta…")
	x.see("Spostare 2 messaggi?")
	x.choose("Inviati")
	x.press("Sposta")
	x.see("Spostati: 2 messaggi")
	moved := func(folder string) (subjects []string) {
		for _, e := range s.hook.List(t, franz) {
			if e.Folder == folder {
				subjects = append(subjects, e.Subject)
			}
		}
		return subjects
	}
	if got := moved(other); !slices.Equal(got, []string{"Lettera 40", "Lettera 41"}) || len(moved(folder)) != manyLetters-2 {
		t.Errorf("moved are %q", got)
	}
	x.open("/mailbox/" + franz + "/messages?folder=Sent")
	x.press("Lettera 41")
	x.press("Sposta…")
	x.choose("Ricevuti")
	x.press("Sposta")
	x.see("Spostati: un messaggio")
	if got := moved(other); !slices.Equal(got, []string{"Lettera 40"}) {
		t.Errorf("left are %q", got)
	}
}

// testZIP downloads two messages of a list, and then a whole month, and compares each byte.
func testZIP(t *testing.T, s *site) {
	month := time.Now().UTC().Format("2006-01")
	x := s.newTab(t, look{})
	x.signIn(zeno)
	entries := s.hook.List(t, zeno)
	received := slices.DeleteFunc(slices.Clone(entries), func(e rig.Entry) bool { return e.Folder != "INBOX/"+month })
	for _, c := range []struct {
		name string
		open func()
		want []rig.Entry
	}{
		{"a selection", func() {
			x.open("/mailbox/" + zeno + "/messages")
			for _, e := range received[3:5] {
				x.choose(fmt.Sprintf("Scegli %s %d", e.Folder, e.UID))
			}
			x.press("Scarica come ZIP")
			x.see("Scaricare 2 messaggi?")
		}, received[3:5]},
		{"a month", func() {
			x.open("/mailbox/" + zeno + "/messages?folder=INBOX/" + month)
			x.press("Scarica tutto questo elenco come ZIP")
			x.see(fmt.Sprintf("Scaricare %d messaggi?", len(received)))
		}, received},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.open()
			name, file := x.in(t).download("Scarica lo ZIP")
			if !strings.HasSuffix(name, ".zip") {
				t.Errorf("the file is %s", name)
			}
			s.compareZIP(t, file, c.want)
		})
	}
}

// compareZIP holds a ZIP to the messages that it is to have: each once, byte for byte, and in the manifest with its digest.
func (s *site) compareZIP(t *testing.T, packed []byte, want []rig.Entry) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[[sha256.Size]byte]int)
	for _, e := range want {
		left[sha256.Sum256(s.hook.Cat(t, e))]++
	}
	messages := make(map[string]string) // digest by name
	var index [][]string
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		switch {
		case strings.HasSuffix(f.Name, ".eml"):
			sum := sha256.Sum256(content)
			left[sum]--
			messages[f.Name] = fmt.Sprintf("%x", sum)
		case f.Name == "manifest.csv":
			if index, err = csv.NewReader(bytes.NewReader(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")))).ReadAll(); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		case f.Name != "gaps.csv" && f.Name != "SHA256SUMS":
			t.Errorf("the ZIP has %s", f.Name)
		}
	}
	for sum, n := range left {
		if n != 0 {
			t.Errorf("the message %x is %d times too few in the ZIP", sum, n)
		}
	}
	if len(index) != len(want)+1 {
		t.Fatalf("the manifest has %d lines for %d messages", len(index), len(want))
	}
	file, digest := slices.Index(index[0], "file"), slices.Index(index[0], "sha256")
	for _, line := range index[1:] {
		if messages[line[file]] != line[digest] {
			t.Errorf("the manifest has %s with the digest %s, and the message has %q", line[file], line[digest], messages[line[file]])
		}
	}
}
