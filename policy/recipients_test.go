package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

func TestSentTo(t *testing.T) {
	domains := func(domain string) (certified, known bool) {
		certified = domain == "pec.test" || domain == "città.test"
		return certified, certified || domain == "plain.test"
	}
	p, _ := openTest(t, testConfig())
	err := p.Learn(t.Context(), time.Now(), []Recipient{
		{"studio@ext.test", true}, {"carlo@ext.test", false}, {"wrong@pec.test", false}, {"wrong@plain.test", true}, {"no address", true}, {"postmaster", true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, recipients string
		want             SentTo
	}{
		{"none", "", SentToUnknown},
		{"by its domain", "ufficio@PEC.test", SentToCertified},
		{"by its domain in ASCII", "ufficio@xn--citt-3na.test", SentToCertified},
		{"by its domain in Unicode", "ufficio@Città.test", SentToCertified},
		{"by its domain, not", "ufficio@plain.test", SentToOther},
		{"learned", "<Studio@Ext.Test>", SentToCertified},
		{"learned, not", "carlo@ext.test", SentToOther},
		{"unknown", "nobody@ext.test", SentToUnknown},
		{"the domain before what was learned", "wrong@pec.test", SentToCertified},
		{"the domain before what was learned, not", "wrong@plain.test", SentToOther},
		{"one of many", "nobody@ext.test ( carlo@ext.test studio@ext.test", SentToCertified},
		{"none of many", "carlo@ext.test ufficio@plain.test", SentToOther},
		{"one unknown", "carlo@ext.test nobody@ext.test ufficio@plain.test", SentToUnknown},
		{"one is no address", "carlo@ext.test (", SentToUnknown},
		{"without a domain", "carlo@ext.test postmaster", SentToUnknown},
		{"an extension is another address", "studio+x@ext.test", SentToUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := p.SentTo(t.Context(), strings.Fields(c.recipients), domains); err != nil || got != c.want {
				t.Errorf("SentTo = %q, %v; want %q", got, err, c.want)
			}
		})
	}
	if got, err := p.SentTo(t.Context(), []string{"ufficio@pec.test"}, nil); err != nil || got != SentToUnknown {
		t.Errorf("without an index: %q, %v", got, err)
	}
}

// The newest receipt wins in whatever order they come, and one without news writes nothing.
func TestLearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		type receipt struct {
			day       int
			certified bool
		}
		receipts := []receipt{{1, true}, {3, false}, {5, true}, {7, true}, {9, false}}
		time.Sleep(20 * 24 * time.Hour)
		for seed := range uint64(30) {
			p, store := openTest(t, testConfig())
			learn := func(r receipt) {
				if err := p.Learn(t.Context(), start.Add(time.Duration(r.day)*24*time.Hour), []Recipient{{"studio@ext.test", r.certified}}); err != nil {
					t.Fatal(err)
				}
			}
			newest := 0
			for _, i := range rand.New(rand.NewPCG(seed, 9)).Perm(len(receipts)) {
				learn(receipts[i])
				newest = max(newest, i)
				want := SentToOther
				if receipts[newest].certified {
					want = SentToCertified
				}
				if got, err := p.SentTo(t.Context(), []string{"studio@ext.test"}, nil); err != nil || got != want {
					t.Fatalf("seed %d, newest %v: %q, %v", seed, receipts[newest], got, err)
				}
			}
			before := store.values["rstudio@ext.test"]
			for _, r := range receipts {
				learn(r)
			}
			if got := store.values["rstudio@ext.test"]; got != before || len(store.keys()) != 1 {
				t.Errorf("learned again: %s, was %s; keys %q", got, before, store.keys())
			}
		}
		p, store := openTest(t, testConfig())
		if err := p.Learn(t.Context(), time.Now().Add(time.Hour), []Recipient{{"studio@ext.test", true}}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"certified":true,"time":%q}`, time.Now().UTC().Format(time.RFC3339Nano))
		if got := store.values["rstudio@ext.test"]; got != want {
			t.Errorf("a time to come: %s, want %s", got, want)
		}
	})
}

func TestLearnMany(t *testing.T) {
	p, store := openTest(t, testConfig())
	many := make([]Recipient, 2*maxLearn+1)
	for i := range many {
		many[i] = Recipient{fmt.Sprintf("u%d@ext.test", i), i%2 == 0}
	}
	if err := p.Learn(t.Context(), time.Now(), many); err != nil || len(store.keys()) != len(many) {
		t.Errorf("%d learned, %v; want %d", len(store.keys()), err, len(many))
	}
	store.put("ru0@ext.test", "{")
	if err := p.Learn(t.Context(), time.Now(), many); err == nil {
		t.Error("what was learned cannot be read, and Learn is content")
	}
	if got, err := p.SentTo(t.Context(), []string{"u0@ext.test"}, nil); err == nil || got != SentToUnknown {
		t.Errorf("SentTo = %q, %v", got, err)
	}
	store.fail = kv.ErrUnavailable
	if err := p.Learn(t.Context(), time.Now(), many); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Learn on a failed store: %v", err)
	}
}

// Of receipts learned at the same time the newest counts; of two with the same time, the one that says certified.
func TestLearnAtOnce(t *testing.T) {
	p, err := Open(t.Context(), &locked{memory: newMemory()}, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for round := range 50 {
		address := fmt.Sprintf("u%d@ext.test", round)
		newest := round%2 == 0
		var wg sync.WaitGroup
		for days := range 6 {
			wg.Go(func() {
				certified := newest == (days == 0)
				if err := p.Learn(t.Context(), now.Add(-time.Duration(days)*24*time.Hour), []Recipient{{address, certified}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got, err := p.SentTo(t.Context(), []string{address}, nil); err != nil || (got == SentToCertified) != newest {
			t.Fatalf("round %d: %q, %v; the newest says %v", round, got, err, newest)
		}
	}
	for _, order := range [][]Recipient{{{"a@ext.test", true}, {"a@ext.test", false}}, {{"b@ext.test", false}, {"b@ext.test", true}}} {
		for _, r := range order {
			if err := p.Learn(t.Context(), now, []Recipient{r}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := p.SentTo(t.Context(), []string{order[0].Address}, nil); err != nil || got != SentToCertified {
			t.Errorf("%v: %q, %v", order, got, err)
		}
	}
}
