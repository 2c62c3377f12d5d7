package preservation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/policy"
)

// books is a Ledger over settings in memory.
type books struct {
	t testing.TB
	*Ledger
}

func newBooks(t testing.TB) *books {
	t.Helper()
	engine := kvtest.NewMemory(kvtest.NoWeakness).Open(t)
	settings, err := engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return &books{t, New(settings)}
}

func (b *books) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// add adds a package of an archive and a day, named as the program names it.
func (b *books) add(archive, day string) Package {
	b.t.Helper()
	p := Package{Day: day, Name: day + "_" + archive + Extension, Messages: 2, Size: 4711, SHA256: "1a2b", Made: time.Date(2026, 11, 30, 1, 0, 0, 0, time.UTC), Folder: "/srv/drop"}
	b.must(b.Writing(func() error {
		return b.store.Update(b.t.Context(), []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error { return b.Add(tx, archive, p) })
	}))
	return p
}

// waits returns which packages wait for a receipt.
func (b *books) waits() (list []string) {
	b.t.Helper()
	for at, err := range b.Waiting(b.t.Context()) {
		b.must(err)
		list = append(list, at.Archive+" "+at.Day)
	}
	return list
}

// left returns the keys and values of the ledger that have a text.
func (b *books) left(text string) (list []string) {
	b.t.Helper()
	for pair, err := range b.store.Scan(b.t.Context(), []byte("v"), []byte("w")) {
		b.must(err)
		if one := fmt.Sprintf("%q %q", pair.Key, pair.Value); strings.Contains(one, text) {
			list = append(list, one)
		}
	}
	return list
}

const (
	anna  = "anna@alpha.test"
	bruno = "bruno@alpha.test"
)

// TestLedger adds packages, changes them, and forgets those of one archive.
func TestLedger(t *testing.T) {
	b := newBooks(t)
	first, second := b.add(anna, "2026-11-28"), b.add(anna, "2026-11-29")
	b.add(bruno, "2026-11-29")
	got, err := b.Get(t.Context(), anna, "2026-11-28")
	b.must(err)
	if got == nil || got.Name != first.Name || got.Folder != "/srv/drop" || !got.Made.Equal(first.Made) || got.SHA256 != "1a2b" {
		t.Errorf("%+v", got)
	}
	if got, err := b.Get(t.Context(), anna, "2026-11-30"); got != nil || err != nil {
		t.Errorf("a day without a package: %+v %v", got, err)
	}
	if at, err := b.Named(t.Context(), second.Name); err != nil || at != (Place{anna, "2026-11-29"}) {
		t.Errorf("%+v %v", at, err)
	}
	if want := []string{anna + " 2026-11-28", anna + " 2026-11-29", bruno + " 2026-11-29"}; !slices.Equal(b.waits(), want) {
		t.Errorf("waiting: %q, want %q", b.waits(), want)
	}

	receipt := Receipt{Name: first.Name + ".p7m", Time: first.Made, SHA256: "3c4d", Size: 5}
	b.must(b.Change(t.Context(), Place{anna, "2026-11-28"}, func(p *Package) { p.Receipts = append(p.Receipts, receipt) }))
	b.must(b.Change(t.Context(), Place{anna, "2026-12-24"}, func(*Package) { t.Error("a package that is not there is changed") }))
	if want := []string{anna + " 2026-11-29", bruno + " 2026-11-29"}; !slices.Equal(b.waits(), want) {
		t.Errorf("waiting after a receipt: %q, want %q", b.waits(), want)
	}
	var days []string
	for p, err := range b.Of(t.Context(), anna) {
		b.must(err)
		days = append(days, fmt.Sprint(p.Day, len(p.Receipts), p.Folder))
	}
	if want := []string{"2026-11-281/srv/drop", "2026-11-290/srv/drop"}; !slices.Equal(days, want) {
		t.Errorf("%q, want %q", days, want)
	}

	placed := first.Made.Add(time.Minute)
	b.must(b.Done(t.Context(), anna, "2026-11-29", func(p *Package) { p.Placed = &placed }))
	b.must(b.Done(t.Context(), bruno, "2026-11-30", nil))
	b.must(b.AllDone(t.Context(), "2026-11-29"))
	for archive, want := range map[string]string{anna: "2026-11-29", bruno: "2026-11-30", "carla@alpha.test": ""} {
		if day, err := b.Through(t.Context(), archive); err != nil || day != want {
			t.Errorf("%s: through %q %v, want %q", archive, day, err, want)
		}
	}
	if got, err := b.Get(t.Context(), anna, "2026-11-29"); err != nil || got.Placed == nil || !got.Placed.Equal(placed) {
		t.Errorf("%+v %v", got, err)
	}

	b.must(b.Forget(t.Context(), anna))
	b.must(b.Forget(t.Context(), anna))
	if left := b.left("anna"); left != nil {
		t.Errorf("left of an archive that is forgotten: %q", left)
	}
	if day, err := b.ThroughAll(t.Context()); err != nil || day != "2026-11-29" || len(b.left("bruno")) != 4 {
		t.Errorf("of the others: %q %v, %q", day, err, b.left(""))
	}
}

// TestForgetMany forgets more packages than go in one update.
func TestForgetMany(t *testing.T) {
	b := newBooks(t)
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range 2*forgetStep + 3 {
		b.add(anna, day.AddDate(0, 0, n).Format(time.DateOnly))
	}
	b.must(b.Forget(t.Context(), anna))
	if left := b.left(""); left != nil {
		t.Errorf("%d left, such as %s", len(left), left[0])
	}
}

// TestDamaged meets a record that cannot be read: each of the methods says so, and of what.
func TestDamaged(t *testing.T) {
	b := newBooks(t)
	b.add(anna, "2026-11-29")
	b.must(b.store.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put(dayKey(packages, anna, "2026-11-29"), []byte("{"))
		return nil
	}))
	_, got := b.Get(t.Context(), anna, "2026-11-29")
	var listed error
	for _, err := range b.Of(t.Context(), anna) {
		listed = err
	}
	changed := b.Change(t.Context(), Place{anna, "2026-11-29"}, func(*Package) { t.Error("changed") })
	for what, err := range map[string]error{"Get": got, "Of": listed, "Change": changed, "Done": b.Done(t.Context(), anna, "2026-11-29", nil), "Forget": b.Forget(t.Context(), anna)} {
		if err == nil || !strings.Contains(err.Error(), anna) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if day, err := b.Through(t.Context(), anna); day != "" || err != nil {
		t.Errorf("noted as done: %q %v", day, err)
	}
}

// TestWriteFault has a write fail: nothing of it is there.
func TestWriteFault(t *testing.T) {
	b := newBooks(t)
	b.add(anna, "2026-11-28")
	broken := errors.New("no room")
	err := b.store.Update(t.Context(), nil, func(tx kv.Tx) error {
		return errors.Join(b.Add(tx, anna, Package{Day: "2026-11-29", Name: "x.zip"}), broken)
	})
	if !errors.Is(err, broken) || len(b.left("2026-11-29"))+len(b.left("x.zip")) != 0 {
		t.Errorf("%v, left %q", err, b.left(""))
	}
}

// TestState tells how far a package is.
func TestState(t *testing.T) {
	made := time.Date(2026, 11, 30, 1, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name     string
		receipts int
		after    time.Duration
		overdue  time.Duration
		want     State
	}{
		{"just made", 0, 0, time.Hour, StateHandedOver},
		{"in time", 0, time.Hour, time.Hour, StateHandedOver},
		{"too late", 0, time.Hour + 1, time.Hour, StateOverdue},
		{"none is awaited", 0, 1000 * time.Hour, 0, StateHandedOver},
		{"received late", 1, 1000 * time.Hour, time.Hour, StateReceived},
	} {
		p := Package{Made: made, Receipts: make([]Receipt, test.receipts)}
		if got := p.State(made.Add(test.after), test.overdue); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestSelects names mailboxes.
func TestSelects(t *testing.T) {
	s := Settings{Drop: "/srv/drop", Domains: []string{"alpha.test"}, Mailboxes: []string{"luca@beta.test"}}
	for address, want := range map[string]bool{"anna@alpha.test": true, "luca@beta.test": true, "anna@beta.test": false, "anna@sub.alpha.test": false} {
		a, err := policy.ParseMailbox(address)
		if err != nil || s.Selects(a) != want {
			t.Errorf("%s: %v, want %v, %v", address, !want, want, err)
		}
		if none := (&Settings{Domains: s.Domains, Mailboxes: s.Mailboxes}); none.Selects(a) {
			t.Errorf("%s without a folder", address)
		}
	}
}

// FuzzOfReceipt finds the package of a file of any name: it is the one whose name the file has, with nothing behind it but extensions of receipts.
func FuzzOfReceipt(f *testing.F) {
	archives := []string{"mario@alpha.it", "mario@alpha.it.example.org", "mario@alpha.it.xml", "mario@alpha"}
	const day = "2026-11-29"
	for _, name := range []string{
		"mario@alpha.it.xml", "mario@alpha.it", "mario@alpha.it.zip.xml.p7m", "mario@alpha.it.example.org.xml", "mario@alpha.it.example.org.zip", "mario@alpha.it.example.xml",
		"mario@alpha.it.org", "mario@alpha.xml", "mario@alpha.it.xml.xml", "mario@alpha.it.P7M", "....", "mario@alpha.zip.zip.zip", "mario@alpha.it.pdf.org.pdf", "mario@alpha.it.",
	} {
		f.Add(day + "_" + name)
	}
	f.Fuzz(func(t *testing.T, file string) {
		b := newBooks(t)
		for _, archive := range archives {
			b.add(archive, day)
		}
		at, err := b.OfReceipt(t.Context(), file)
		b.must(err)
		if at == (Place{}) {
			return
		}
		rest, ok := strings.CutPrefix(file, day+"_"+at.Archive)
		if !ok || at.Day != day {
			t.Fatalf("%q counts for %+v", file, at)
		}
		for rest != "" {
			extension := ReceiptExtension(rest)
			if extension == "" {
				t.Fatalf("%q counts for %+v", file, at)
			}
			rest = strings.TrimSuffix(rest, extension)
		}
	})
}
