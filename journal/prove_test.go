package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"copialettere/journal/evidence"
)

// TestProver proves with one Prover what Prove proves alone, while the logs grow, entries are moved, and checkpoints are made.
func TestProver(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	p := f.NewProver()
	var refs []Ref
	compare := func() (proven int) {
		t.Helper()
		for _, r := range refs {
			got, err := p.Prove(f.ctx(), r)
			want, errAlone := f.Prove(f.ctx(), r)
			if fmt.Sprint(err) != fmt.Sprint(errAlone) || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s %s %d: %+v, %v, want %+v, %v", r.Mailbox, r.FolderName(), r.UID, got, err, want, errAlone)
			}
			if err != nil {
				if !errors.Is(err, ErrNoCheckpoint) && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
				continue
			}
			if _, err := got.Check(evidence.Hash(f.entry(r).SHA256), []string{s.verifier}); err != nil {
				t.Fatalf("%s %s %d: %v", r.Mailbox, r.FolderName(), r.UID, err)
			}
			proven++
		}
		return proven
	}
	for i := range 12 {
		for _, mailbox := range []string{mario, anna} {
			refs = append(refs, f.put(mailbox, letter(fmt.Sprint(mailbox, i))))
		}
		before := compare()
		if i%3 == 1 {
			f.checkpoint(s)
			if got := compare(); got < before+2 {
				t.Fatalf("%d proven after a checkpoint, %d before", got, before)
			}
		}
		if i%4 == 2 {
			done, err := f.Move(f.ctx(), refs[2*i].Only(), "Sent", "mario")
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, done.To)
		}
	}
	if got := compare(); got == 0 {
		t.Error("nothing is proven")
	}
}

// TestProveStamped proves entries by the first time stamp from their checkpoint on, whenever the authority came to it.
func TestProveStamped(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	s := newSigner(t)
	p := f.NewProver()
	var refs []Ref
	wants := func(what string, notes ...int64) { // of each entry, the number of the checkpoint whose note it has
		t.Helper()
		for i, note := range notes {
			got, err := p.Prove(f.ctx(), refs[i])
			if err != nil {
				t.Fatal(err)
			}
			if alone, err := f.Prove(f.ctx(), refs[i]); err != nil || !reflect.DeepEqual(got, alone) {
				t.Errorf("%s: entry %d: %+v, and alone %+v, %v", what, i, got, alone, err)
			}
			proved, err := got.Check(evidence.Hash(f.entry(refs[i]).SHA256), []string{s.verifier})
			if err != nil {
				t.Fatal(err)
			}
			stamp := ""
			if note == 1 || note == 3 {
				stamp = fmt.Sprint("stamp ", note)
			}
			if proved.Number != int64(i) || got.Checkpoint.Number != proved.Number || proved.Note.Size != note+1 || string(got.Stamp) != stamp {
				t.Errorf("%s: entry %d is proven for checkpoint %d by note %d with %q, want note %d with %q", what, i, proved.Number, proved.Note.Size-1, got.Stamp, note, stamp)
			}
		}
	}
	for i := range 5 {
		// The log of mario does not grow after its first entry: no later checkpoint has a head of it.
		mailbox := anna
		if i == 0 {
			mailbox = mario
		}
		refs = append(refs, f.put(mailbox, letter(fmt.Sprint(i))))
		made := f.checkpoint(s)
		switch i {
		case 0:
			wants("no authority yet", 0)
		case 1, 3:
			if err := f.Stamp(f.ctx(), made.Number, fmt.Appendf(nil, "stamp %d", i)); err != nil {
				t.Fatal(err)
			}
		case 2:
			wants("away for the last one", 1, 1, 2)
		}
	}
	wants("all", 1, 1, 3, 3, 4)
	settings, err := f.engine.Settings(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	stamped, err := settings.Get(f.ctx(), checkpointKey(1))
	if err != nil {
		t.Fatal(err)
	}
	p = f.NewProver()
	f.put1Settings(checkpointKey(1), []byte("{}"))
	wants("the stamped one is damaged", 0)
	f.put1Settings(checkpointKey(1), stamped)
}

// BenchmarkProve proves 300 entries of a log of 20,000 leaves: each alone, and together as those of one bundle.
func BenchmarkProve(b *testing.B) {
	f := openFixture(b)
	s := newSigner(b)
	var refs []Ref
	for i := range 20_000 {
		refs = append(refs, f.put(mario, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)))
		if i%1000 == 999 {
			f.checkpoint(s)
		}
	}
	prover := f.NewProver()
	for name, prove := range map[string]func(context.Context, Ref) (*Proof, error){"alone": f.Prove, "together": prover.Prove} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				*prover = *f.NewProver()
				for i := range 300 {
					if _, err := prove(f.ctx(), refs[i*66]); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
