package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"copialettere/journal/kv"
)

func linked(mailbox string, links ...string) Intent {
	in := received(mailbox)
	in.Links = links
	return in
}

func (f *fixture) wantLinked(mailbox, link string, want ...Ref) {
	f.t.Helper()
	var got []Ref
	for e, err := range f.Linked(f.ctx(), mailbox, link) {
		if err != nil {
			f.t.Fatal(err)
		}
		got = append(got, e.Ref)
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("%s finds %v by %q, want %v", mailbox, got, link, want)
	}
}

func (f *fixture) file(message []byte, intents ...Intent) []Placement {
	f.t.Helper()
	f.transactions++
	placed, err := f.try(message, fmt.Sprint("file ", f.transactions), intents...)
	if err != nil {
		f.t.Fatal(err)
	}
	return placed
}

func TestLinked(t *testing.T) {
	f := openFixture(t)
	one := f.file(letter("1"), linked(mario, "id", "id", "msg"), linked(anna, "id"))
	two := f.file(letter("2"), linked(mario, "i", "idx", "id\xff"))[0].Ref
	f.clock.set(november.AddDate(0, 1, 0))
	three := f.file(letter("3"), linked(mario, "id"))[0].Ref

	f.wantLinked(mario, "id", one[0].Ref, three)
	f.wantLinked(mario, "msg", one[0].Ref)
	f.wantLinked(mario, "i", two)
	f.wantLinked(mario, "id\xff", two)
	f.wantLinked(mario, "d")
	f.wantLinked(anna, "id", one[1].Ref)
	f.wantLinked(anna, "msg")
	f.wantLinked("mario", "id")
	if _, err := f.Withdraw(f.ctx(), one[0].Ref, "file 1", refusal("file 1")); err != nil {
		t.Fatal(err)
	}
	f.wantLinked(mario, "id", three)
	f.wantLinked(mario, "msg")

	for _, link := range []string{"", "a\x00b", strings.Repeat("x", MaxLink+1)} {
		for _, err := range f.Linked(f.ctx(), mario, link) {
			wantErr(t, fmt.Sprintf("link %q", link), err, ErrIntent)
		}
	}
	for _, err := range f.Linked(f.ctx(), "", "id") {
		wantErr(t, "no mailbox", err, ErrMailbox)
	}
}

func TestIntentLimits(t *testing.T) {
	f := openFixture(t)
	many := make([]string, MaxLinks)
	for i := range many {
		many[i] = fmt.Sprintf("%0*d", MaxLink, i)
	}
	largest := linked(mario, many...)
	largest.Certification = randomBytes(1, MaxCertification)
	largest.Class, largest.DeclaredClass, largest.Signature, largest.SentTo = "a", "b", "c", "d"
	r := f.file(enclosed(1, 900), largest)[0].Ref
	e, err := f.Entry(f.ctx(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.Links, many) || !bytes.Equal(e.Certification, largest.Certification) ||
		e.Class != "a" || e.DeclaredClass != "b" || e.Signature != "c" || e.SentTo != "d" {
		t.Error("the entry differs from its intent")
	}
	for name, in := range map[string]Intent{
		"too many links":      linked(mario, append(many, "x")...),
		"long link":           linked(mario, strings.Repeat("x", MaxLink+1)),
		"zero byte":           linked(mario, "a\x00"),
		"empty link":          linked(mario, ""),
		"large certification": {Mailbox: mario, Direction: Received, Certification: make([]byte, MaxCertification+1)},
	} {
		_, err := f.try(letter(name), name, in)
		wantErr(t, name, err, ErrIntent)
	}
	f.want(mario, "INBOX/2026-11 1 unknown")
}

func TestVerifyFindsLinkDamage(t *testing.T) {
	t.Parallel()
	ref := Ref{mario, "2026-11", "INBOX", 1}
	for _, c := range []struct {
		name  string
		key   []byte
		value []byte // nil: deleted
		want  string
	}{
		{"link missing", linkKey("id", ref), nil, `its link "id" does not lead to it`},
		{"link too many", linkKey("other", ref), []byte{}, "a link leads to mario@alpha.test INBOX/2026-11 1, which does not have it"},
		{"link to nothing", linkKey("id", Ref{mario, "2026-11", "INBOX", 9}), []byte{}, "a link leads to mario@alpha.test INBOX/2026-11 9, which is not there"},
		{"link cut short", []byte("pmario\x00id\x00INBOX\x00"), []byte{}, "malformed link key"},
		{"link of no mailbox", []byte("pmario"), []byte{}, "malformed link key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			f.file(letter("1"), linked(mario, "id"))
			f.verify()
			f.damaged()
			f.put1(c.key, c.value)
			f.wantFault(c.want)
		})
	}
}

func (f *fixture) wantFault(want string) {
	f.t.Helper()
	r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if r.Faults == 0 || !strings.Contains(strings.Join(r.Details, "\n"), want) {
		f.t.Errorf("%d faults: %q, want %q", r.Faults, r.Details, want)
	}
}

// TestFinish reads each message from the draft, in several ways, and commits it after all.
func TestFinish(t *testing.T) {
	f := openFixture(t)
	for i, message := range [][]byte{
		{}, letter("short"), enclosed(1, 60), enclosing(enclosed(1, 60)), randomBytes(3, 3<<20), words(1, 300<<10), enclosed(1, 60),
	} {
		d := f.NewDraft(f.ctx())
		d.Write(message)
		table, r := d.Finish()
		if again, _ := d.Finish(); again != table || table.Parts[0].End != int64(len(message)) {
			t.Errorf("message %d: the table differs, or ends at %d", i, table.Parts[0].End)
		}
		if err := iotest.TestReader(io.NewSectionReader(r, 0, int64(len(message))), message); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
		backwards := make([]byte, len(message))
		for end := len(message); end > 0; end -= min(end, 5000) {
			start := max(0, end-5000)
			if n, err := r.ReadAt(backwards[start:end], int64(start)); n != end-start || err != nil {
				t.Fatalf("message %d: read %d bytes at %d: %v", i, n, start, err)
			}
		}
		if !bytes.Equal(backwards, message) {
			t.Errorf("message %d: other bytes", i)
		}
		if n, err := r.ReadAt(make([]byte, 1), int64(len(message))); n != 0 || err != io.EOF {
			t.Errorf("message %d: behind the end: %d, %v", i, n, err)
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
			t.Errorf("message %d: read before the start", i)
		}
		transaction := fmt.Sprint("t", i)
		placed, err := d.Commit(f.ctx(), Envelope{Transaction: transaction}, []Intent{received(mario)}, nil)
		d.Discard()
		if err != nil {
			t.Fatal(err)
		}
		f.wantBytes(placed[0].Ref, message)
	}
}

func TestFinishFails(t *testing.T) {
	f, h := hookedFixture(t)
	h.set(unavailable)
	d := f.NewDraft(f.ctx())
	message := randomBytes(1, 3<<20)
	d.Write(message)
	table, r := d.Finish()
	if table.Parts[0].End != int64(len(message)) {
		t.Errorf("the table ends at %d", table.Parts[0].End)
	}
	wantErr(t, "Err", d.Err(), kv.ErrUnavailable)
	// It can be read back all the same.
	if got, err := io.ReadAll(io.NewSectionReader(r, 0, d.Size())); err != nil || !bytes.Equal(got, message) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if d.waiting > flushSize || len(d.pending) > 50 {
		t.Errorf("the failed draft holds %d bytes", d.waiting)
	}
	d.Discard()
	h.set(nil)
	// Where there is no room for what the store did not take, reads say why the store did not.
	h.set(unavailable)
	t.Setenv("TMPDIR", "/nonexistent")
	d = f.NewDraft(f.ctx())
	d.Write(message)
	_, r = d.Finish()
	_, err := r.ReadAt(make([]byte, 1), 0)
	wantErr(t, "read", err, kv.ErrUnavailable)
	d.Discard()
	h.set(nil)

	d = f.NewDraft(f.ctx())
	defer d.Discard()
	d.Write(letter("1"))
	d.Finish()
	d.Write([]byte("more"))
	if _, err := d.Commit(f.ctx(), Envelope{}, []Intent{received(mario)}, nil); err == nil || errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("commit after a late write: %v", err)
	}
	f.want(mario)
}
