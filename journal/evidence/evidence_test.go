package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

var then = time.Date(2026, 11, 30, 2, 0, 0, 5, time.UTC)

func TestLeaf(t *testing.T) {
	inbox, trash := Place{"INBOX", 7}, Place{"Trash", 1}
	for _, l := range []Leaf{
		{Kind: Opened, Time: then, Log: LogID{1, 2}, Mailbox: "mario@alpha.test", Month: "2026-11"},
		{Kind: Added, Time: then, Place: inbox, Message: Hash{1}, Entry: Hash{2}},
		{Kind: Amended, Time: then, Place: inbox, Message: Hash{1}, Entry: Hash{3}},
		{Kind: Moved, Time: then, Place: trash, From: inbox, Message: Hash{1}, Entry: Hash{3}},
		{Kind: PutAside, Time: then, Place: trash, Message: Hash{1}, Entry: Hash{3}},
		{Kind: BroughtBack, Time: then, Place: inbox, From: trash},
		{Kind: Removed, Time: then, Place: inbox, Message: Hash{1}, Reason: "retention"},
		{Kind: Adopted, Time: then, Place: Place{"Imported/Lavoro", 1}},
		{Kind: AdoptedAside, Time: then, Place: inbox},
	} {
		b := l.Append(nil)
		got, err := ParseLeaf(b)
		if err != nil || got != l {
			t.Errorf("%s: %+v, %v", l.Kind, got, err)
		}
		for n := range b {
			if cut, err := ParseLeaf(b[:n]); err == nil && (cut == l || l.Kind != Removed && l.Kind != Opened) {
				t.Errorf("%s: cut to %d bytes it is %+v", l.Kind, n, cut)
			}
		}
		if !strings.Contains(l.String(), l.Kind.String()) {
			t.Errorf("%s", l.String())
		}
	}
	if _, err := ParseLeaf(append([]byte{10}, make([]byte, 100)...)); !errors.Is(err, ErrLeaf) {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestTree compares trees of every size up to 300 with those of package tlog, and all their proofs.
func TestTree(t *testing.T) {
	var tree Tree
	var prover Prover
	for n := range int64(300) {
		leaf := TextHash(fmt.Sprint("leaf ", n))
		tree.Append(leaf)
		if err := prover.Append(leaf); err != nil {
			t.Fatal(err)
		}
		want, err := prover.Root(n + 1)
		if err != nil || tree.Root() != want || tree.Size != n+1 {
			t.Fatalf("%d leaves: root %s, want %s, %v", n+1, tree.Root(), want, err)
		}
		b, _ := tree.AppendBinary(nil)
		var again Tree
		if err := again.UnmarshalBinary(b); err != nil || again.Root() != want {
			t.Fatalf("%d leaves, stored: %v", n+1, err)
		}
		for i := int64(0); i <= n; i += 7 {
			path, err := prover.Prove(i, n+1)
			if err == nil {
				err = tlog.CheckRecord(path, n+1, want, i, TextHash(fmt.Sprint("leaf ", i)))
			}
			if err != nil {
				t.Fatalf("leaf %d of %d: %v", i, n+1, err)
			}
		}
	}
	var none Tree
	if none.Root() != sha256.Sum256(nil) {
		t.Error("the root of the empty tree")
	}
	for _, b := range [][]byte{nil, make([]byte, 7), append(make([]byte, 7), 1), append([]byte{0xff}, make([]byte, 7)...)} {
		if err := new(Tree).UnmarshalBinary(b); !errors.Is(err, ErrTree) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := prover.Prove(300, 300); err == nil {
		t.Error("a leaf that is not there was proved")
	}
}

func TestTexts(t *testing.T) {
	for _, h := range []Head{
		{LogID{0xab}, "2026-11", 7, Hash{1}, ""},
		{LogID{}, "2026-11", 0, Hash{}, EndedErased},
	} {
		if got, err := ParseHead(h.Text()); err != nil || got != h {
			t.Errorf("%q: %+v, %v", h.Text(), got, err)
		}
	}
	c := Checkpoint{12, then.Truncate(time.Second), 341, Hash{9}}
	if got, err := ParseCheckpoint(c.Text()); err != nil || got != c {
		t.Errorf("%q: %+v, %v", c.Text(), got, err)
	}
	head := Head{LogID{0xab}, "2026-11", 7, Hash{1}, ""}
	for _, bad := range []string{"", "a b c", strings.Replace(head.Text(), " 7 ", " 07 ", 1), strings.Replace(head.Text(), " 7 ", " -7 ", 1), head.Text() + " a b"} {
		if _, err := ParseHead(bad); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("head %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", c.Text() + "x", strings.Replace(c.Text(), "12", "+12", 1), strings.Replace(c.Text(), "heads", "head", 1), strings.Replace(c.Text(), "Z", "+00:00", 1)} {
		if _, err := ParseCheckpoint(bad); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("checkpoint %q: %v", bad, err)
		}
	}
}

func TestNote(t *testing.T) {
	signing, verifier, err := NewKey("archivio.alpha.test/ab12")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := VerifierKey(signing); err != nil || v != verifier {
		t.Errorf("verifier key %q, want %q, %v", v, verifier, err)
	}
	n := Note{"archivio.alpha.test/ab12", 3, Hash{5}}
	signed, err := n.Sign(signing)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(signed, []string{verifier}); err != nil || got != n {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Unsigned(signed); err != nil || got != n {
		t.Errorf("%+v, %v", got, err)
	}
	_, other, err := NewKey("other")
	if err != nil {
		t.Fatal(err)
	}
	var unsigned *SignedError
	if _, err := Open(signed, []string{other}); !errors.As(err, &unsigned) || len(unsigned.By) != 1 {
		t.Errorf("by another key: %v", err)
	}
	altered := []byte(strings.Replace(string(signed), "\n3\n", "\n4\n", 1))
	if _, err := Open(altered, []string{verifier}); !errors.As(err, &unsigned) {
		t.Errorf("altered: %v", err)
	}
	for _, name := range []string{"", "Archivio di sicurezza", "a+b", "a\nb", strings.Repeat("a", 101)} {
		if _, _, err := NewKey(name); err == nil {
			t.Errorf("key %q was made", name)
		}
	}
}

func FuzzLeaf(f *testing.F) {
	l := Leaf{Kind: Moved, Time: then, Place: Place{"Trash", 1}, From: Place{"INBOX", 7}}
	f.Add(l.Append(nil))
	f.Add((&Leaf{Kind: Opened, Time: then, Mailbox: "m", Month: "2026-11"}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseLeaf(b); err == nil && string(l.Append(nil)) != string(b) {
			t.Errorf("%x is read as %+v", b, l)
		}
	})
}

// FuzzTexts reads what comes from outside: notes, checkpoints, heads, answers of authorities.
func FuzzTexts(f *testing.F) {
	_, verifier, err := NewKey("a")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("a\n3\n" + Hash{}.String() + "\n\n— a AAAAAA==\n"))
	f.Add([]byte((&Checkpoint{Time: then}).Text()))
	f.Add([]byte((&Head{Month: "2026-11"}).Text()))
	f.Add([]byte{0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Open(b, []string{verifier}); err == nil {
			t.Errorf("%q is signed", b)
		}
		if _, err := CheckStamp(b, Hash{}, nil); err == nil {
			t.Errorf("%x is a time stamp", b)
		}
		if c, err := ParseCheckpoint(string(b)); err == nil && c.Text() != string(b) {
			t.Errorf("%q is read as %+v", b, c)
		}
		if h, err := ParseHead(string(b)); err == nil && h.Text() != string(b) {
			t.Errorf("%q is read as %+v", b, h)
		}
		_, _ = Unsigned(b)
	})
}
