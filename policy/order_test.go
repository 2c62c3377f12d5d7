package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/kv"
)

// ordersFor returns an order for each line "ADDR [KEY=VALUE ...]".
func ordersFor(t *testing.T, enable bool, lines ...string) []Order {
	t.Helper()
	var list []Order
	for _, line := range lines {
		address, rest, _ := strings.Cut(line, " ")
		o := Order{Mailbox: mustAddress(t, address), Enable: enable}
		if rest != "" {
			o.Assignments = assignments(t, rest)
		}
		list = append(list, o)
	}
	return list
}

// TestTry tries orders, with somebody who takes part in every change. Nothing is written, and each order sees those before it.
func TestTry(t *testing.T) {
	p, store := openTest(t, limitedConfig(Limits{Archives: 2}), "a@alpha.test")
	p.OnRevision(func(tx kv.Tx, r Revision) error {
		tx.Delete([]byte("x" + r.Archive))
		tx.Put([]byte("y"+r.Archive), []byte("told"))
		if _, err := tx.Get([]byte("x" + r.Archive)); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("a deleted key can be read: %v", err)
		}
		return nil
	})
	store.put("xb@alpha.test", "before")
	before := maps.Clone(store.values)
	var got []string
	for o, err := range p.Try(t.Context(), operator(), ordersFor(t, true, "a@alpha.test", "b@alpha.test notify=b@ext.test", "c@alpha.test", "d@alpha.test notify=b@alpha.test")) {
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(o.Mailbox, " ", o.Settings.State(), " ", len(o.Changes))
		if o.Refused != nil {
			text = fmt.Sprint(o.Mailbox, ": ", o.Refused)
		}
		got = append(got, text)
	}
	if len(got) != 4 || got[0] != "a@alpha.test on 0" || !strings.HasPrefix(got[1], "b@alpha.test on ") || !strings.Contains(got[2], "max_mailboxes is 2") ||
		!strings.Contains(got[3], "b@alpha.test has an archive of its own here") {
		t.Errorf("tried\n%s", strings.Join(got, "\n"))
	}
	if !maps.Equal(store.values, before) {
		t.Errorf("stored %q, was %q", store.keys(), slices.Sorted(maps.Keys(before)))
	}
}

// TestTryFails has a store that cannot be read: that is no refusal of an order.
func TestTryFails(t *testing.T) {
	p, store := openTest(t, testConfig(), "a@alpha.test")
	store.fail = errors.New("no disk")
	n := 0
	for o, err := range p.Try(t.Context(), operator(), ordersFor(t, true, "b@alpha.test", "c@alpha.test")) {
		if n++; !errors.Is(err, store.fail) || o.Refused != nil {
			t.Errorf("%v, %v", o.Refused, err)
		}
	}
	if n != 1 {
		t.Errorf("%d outcomes", n)
	}
}

// TestCarryOut carries out more orders than one Update takes. The refusal of one leaves all of its Update undone, and says which it was.
func TestCarryOut(t *testing.T) {
	const orders = 2*maxOrders + 7
	for _, bad := range []int{-1, 0, maxOrders, orders - 1} {
		p, store := openTest(t, testConfig())
		told := 0
		p.OnChange(func() { told++ })
		var lines []string
		for i := range orders {
			line := fmt.Sprintf("m%03d@alpha.test language=en", i)
			if i == bad {
				line = "m000@gamma.test"
			}
			lines = append(lines, line)
		}
		done := 0
		var failed error
		for o, err := range p.CarryOut(t.Context(), operator(), ordersFor(t, true, lines...)) {
			if failed = err; err != nil {
				break
			}
			if done++; o.Settings.State() != StateOn || len(o.Changes) != 2 {
				t.Errorf("%s: %v", o.Mailbox, o.Changes)
			}
		}
		want := orders
		if bad >= 0 {
			want = bad / maxOrders * maxOrders
		}
		if done != want || (bad >= 0) != errors.Is(failed, ErrUnknownDomain) || bad >= 0 && !strings.Contains(failed.Error(), "enable m000@gamma.test: ") {
			t.Errorf("bad %d: %d done, %v; want %d", bad, done, failed, want)
		}
		stored := 0
		for m, err := range p.Mailboxes(t.Context()) {
			if err != nil || m.State() != StateOn {
				t.Errorf("%s: %v", m.Address, err)
			}
			stored++
		}
		if stored != want || told == 0 || told > orders/maxOrders+2 {
			t.Errorf("bad %d: %d stored, told %d times", bad, stored, told)
		}
		checkTallies(t, p, store)
	}
}
