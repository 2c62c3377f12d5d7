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
