package journal

import (
	"errors"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// TestExpireActs has acts of a dropped month grow old, of two mailboxes of which one is held. Those in a volume stay, however old.
func TestExpireActs(t *testing.T) {
	f := openFixture(t)
	act := func(mailbox string) {
		t.Helper()
		r := f.put(mailbox, letter("x "+mailbox+f.clock.now().String()))
		for range maxExpiredActs/2 + 1 {
			if err := errors.Join(f.Hold(f.ctx(), r, "operator", "case 1"), f.Release(f.ctx(), r, "operator", "closed")); err != nil {
				t.Fatal(err)
			}
		}
	}
	act(mario)
	act(anna)
	f.clock.set(november.AddDate(0, 2, 0))
	act(mario)
	f.clock.set(november.AddDate(0, 8, 0))
	if r := f.expire(ExpireOptions{Mailboxes: keepFor(6)}); !slices.Equal(r.Dropped, []kv.Month{"2026-11"}) {
		t.Fatalf("dropped %v", r.Dropped)
	}
	one := maxExpiredActs + 2
	expire := func(months, want, ofMario, ofAnna int) {
		t.Helper()
		n, err := f.ExpireActs(f.ctx(), AddMonths(f.clock.now(), -months))
		if err != nil || n != want || len(f.acts(mario)) != ofMario || len(f.acts(anna)) != ofAnna {
			t.Errorf("before %d months ago: %d acts deleted, %v, want %d; mario has %d, anna %d", months, n, err, want, len(f.acts(mario)), len(f.acts(anna)))
		}
	}
	expire(9, 0, 2*one, one)
	if err := f.set(f.ctx(), "held", anna); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no answer")
	f.held = func(kv.View, ...string) (bool, error) { return false, failed }
	f.reopen()
	if _, err := f.ExpireActs(f.ctx(), AddMonths(f.clock.now(), -6)); !errors.Is(err, failed) {
		t.Errorf("a hold of which nobody knows: %v", err)
	}
	f.held = nil
	f.reopen()
	expire(6, one, one, one)
	expire(0, 0, one, one) // the rest is in a volume, or held
}

// TestExpireActsFaults fails each of the deletions in turn: the next call deletes the rest.
func TestExpireActsFaults(t *testing.T) {
	e := &spied{memory: new(memory)}
	f := fixtureOn(t, e)
	defer f.close()
	settings, err := e.Settings(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	const each = maxExpiredActs + 1
	for fail := 1; fail <= 4; fail++ {
		err := settings.Update(f.ctx(), nil, func(tx kv.Tx) error {
			for n := range each {
				for _, mailbox := range []string{mario, anna} {
					a := &Act{Mailbox: mailbox, Time: november, Kind: ActHold, Who: "operator", From: Ref{mailbox, "2026-11", "INBOX", 1}}
					tx.Put(actKey(mailbox, november, uint16(n)), a.encode())
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		updates := 0
		e.update = func() error {
			if updates++; updates == fail {
				return kv.ErrUnavailable
			}
			return nil
		}
		first, err := f.ExpireActs(f.ctx(), november.AddDate(0, 1, 0))
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Fatalf("deletion %d failed: %v", fail, err)
		}
		second, err := f.ExpireActs(f.ctx(), november.AddDate(0, 1, 0))
		if err != nil || first+second != 2*each || len(f.acts(mario))+len(f.acts(anna)) != 0 {
			t.Errorf("deletion %d failed: %d acts deleted, then %d, %v", fail, first, second, err)
		}
		e.update = nil
	}
}
