package policy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"copialettere/journal/kv"
)

// memory is a kv.Store in memory. It runs every Update twice, as an engine may that saw an old state
// first, and fails when told to.
type memory struct {
	kv.Store // nil: policy does not call the other methods

	mu     sync.Mutex
	values map[string]string
	fail   error // if set, every method returns it
	// failUpdate, if set, is what Update returns.
	failUpdate error
	gets       int
}

func (s *memory) Get(_ context.Context, key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if s.fail != nil {
		return nil, s.fail
	}
	return memoryTx(s.values).Get(key)
}

func (s *memory) Scan(_ context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		s.mu.Lock()
		values, fail := maps.Clone(s.values), s.fail
		s.mu.Unlock()
		if fail != nil {
			yield(kv.Pair{}, fail)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if key < string(from) || to != nil && key >= string(to) {
				continue
			}
			if !yield(kv.Pair{Key: []byte(key), Value: []byte(values[key])}, nil) {
				return
			}
		}
	}
}

func (s *memory) Update(_ context.Context, locks []string, fn func(kv.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(locks) == 0 {
		return errors.New("update without a lock")
	}
	if err := cmp.Or(s.fail, s.failUpdate); err != nil {
		return err
	}
	fn(make(memoryTx)) // the result for the old state is discarded
	values := maps.Clone(s.values)
	if err := fn(memoryTx(values)); err != nil {
		return err
	}
	s.values = values
	return nil
}

func (s *memory) Purge(context.Context, []kv.Garbage, func([]kv.Garbage) error) error {
	return errors.New("settings are not purged")
}
func (s *memory) Lost(context.Context) ([]kv.Loss, error) { return nil, nil }
func (s *memory) put(key, value string)                   { s.values[key] = value }
func (s *memory) keys() []string                          { return slices.Sorted(maps.Keys(s.values)) }
func newMemory() *memory                                  { return &memory{values: make(map[string]string)} }
func (tx memoryTx) Put(key, value []byte)                 { tx[string(key)] = string(value) }
func (tx memoryTx) Delete(key []byte)                     { delete(tx, string(key)) }

type memoryTx map[string]string

func (tx memoryTx) In(kv.Month) (kv.View, error) { panic("policy reads no volume") }
func (tx memoryTx) Needs(kv.Staged)              { panic("policy stages nothing") }

func (tx memoryTx) GetAll(keys [][]byte) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if value, ok := tx[string(key)]; ok {
			values[i] = append([]byte{}, value...)
		}
	}
	return values, nil
}

func (tx memoryTx) Get(key []byte) ([]byte, error) {
	value, ok := tx[string(key)]
	if !ok {
		return nil, kv.ErrNotFound
	}
	return bytes.Clone([]byte(value)), nil
}

// testConfig is the configuration of the lab that recorded the cases of these tests.
func testConfig() Config {
	return Config{Domains: []Domain{
		{Name: "alpha.test", RecipientDelimiter: "+", Postmasters: []string{"postmaster@alpha.test"}},
		{Name: "beta.test", RecipientDelimiter: "+-"},
		{Name: "plain.test"},
	}}
}

func operator() Actor { return Actor{RoleOperator, "op"} }

// disable is Disable by the operator, confirmed, with the usual grace.
func (p *Policy) disable(ctx context.Context, a Address) (bool, error) {
	return p.Disable(ctx, a, operator(), a.String(), DefaultGrace)
}

func (p *Policy) enable(ctx context.Context, a Address) (bool, error) {
	return p.Enable(ctx, a, operator())
}
func (p *Policy) restore(ctx context.Context, a Address) (bool, error) {
	return p.Restore(ctx, a, operator())
}

func mustAddress(t testing.TB, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// openTest returns a policy with those mailboxes enabled.
func openTest(t testing.TB, c Config, enabled ...string) (*Policy, *memory) {
	t.Helper()
	store := newMemory()
	p, err := Open(t.Context(), store, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, mailbox := range enabled {
		if changed, err := p.Enable(t.Context(), mustAddress(t, mailbox), operator()); err != nil || !changed {
			t.Fatalf("Enable(%s) = %v, %v", mailbox, changed, err)
		}
	}
	t.Cleanup(func() {
		store.fail = nil
		if _, err := p.tallies(context.WithoutCancel(t.Context())); err == nil { // a test may leave what cannot be read
			checkTallies(t, p, store)
		}
	})
	return p, store
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		want   []string // parts of the error; nil for a valid configuration
	}{
		{"empty", Config{}, nil},
		{"lab", testConfig(), nil},
		{"everything", Config{Origin: OriginXOriginalTo, RedirectHeader: "X-Reinjected: k3y", LoginDomain: "alpha.test",
			RedirectFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, nil},
		{"origin", Config{Origin: "header"}, []string{`origin "header": want "orcpt", "x-original-to" or "none"`}},
		{"redirect header without value", Config{RedirectHeader: "X-Reinjected"}, []string{`want "Name: value"`}},
		{"redirect header with a line break", Config{RedirectHeader: "X: a\r\nY: b"}, []string{`want "Name: value"`}},
		{"zero prefix", Config{RedirectFrom: make([]netip.Prefix, 1)}, []string{"invalid address prefix"}},
		{"all at once", Config{LoginDomain: "a b", Domains: []Domain{
			{Name: "alpha..test"}, {Name: "beta.test"}, {Name: "BETA.test."}, {Name: "gamma.test", RecipientDelimiter: "+x"},
			{Name: "delta.test", Postmasters: []string{"who", "postmaster"}, Rights: Rights{Owner: []string{"erasure"}}},
			{Name: "epsilon.test", Defaults: []Assignment{{"retention", "7"}, {"colour", "red"}, {"write", "on"}, {"write", "on"}, {"notify", "a@ext.test"}}},
		}, Rights: Rights{Owner: []string{"language", "hold", "colour"}}}, []string{
			`domain "epsilon.test": default: retention="7": want none, or 6`, `domain "epsilon.test": default: "colour"="red": unknown key: the keys`,
			`domain "epsilon.test": default: write="on": given twice`, `domain "epsilon.test": default: notify="a@ext.test": an address belongs to one`,
			`rights of the owner: unknown key "hold": the keys are archive, pause, filter`, `unknown key "colour"`,
			`domain "delta.test": rights of the owner: unknown key "erasure"`,
			`login domain: domain "a b"`, `domain "alpha..test": not a mailbox address: empty label`, `domain "BETA.test." is given twice`,
			`recipient delimiter "+x"`, `postmaster: "who"`, `postmaster "postmaster": want an address with its domain`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.config.Validate()
			if (err == nil) != (c.want == nil) {
				t.Fatalf("Validate() = %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if _, opened := Open(t.Context(), newMemory(), c.config); (opened == nil) != (err == nil) {
				t.Errorf("Open: %v, Validate: %v", opened, err)
			}
		})
	}
}
