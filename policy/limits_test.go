package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"copialettere/journal/kv"
)

// checkTallies compares the stored tallies with the settings of all mailboxes.
func checkTallies(t testing.TB, p *Policy, store kv.Store) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	want, err := p.tallies(ctx)
	if err != nil {
		t.Errorf("count: %v", err)
		return
	}
	stored := make(map[string]*tally)
	counted := false
	for pair, err := range store.Scan(ctx, []byte(tallyPrefix), []byte("e")) {
		if err != nil {
			t.Errorf("tallies: %v", err)
			return
		}
		if string(pair.Key) == tallyPrefix {
			counted = true
			continue
		}
		got := new(tally)
		if err := json.Unmarshal(pair.Value, got); err != nil {
			t.Errorf("tally %q: %v", pair.Value, err)
		}
		stored[string(pair.Key[1:])] = got
	}
	if !counted {
		return
	}
	for domain, one := range want {
		got := stored[domain]
		if got == nil {
			got = new(tally)
		}
		if !got.equal(one) {
			t.Errorf("tally of %s: %d archives, %d without quota, %s B; the settings say %d, %d, %s B", domain, got.Archives, got.NoQuota,
				got.Quota.String(), one.Archives, one.NoQuota, one.Quota.String())
		}
	}
	for domain, got := range stored {
		if want[domain] == nil && !got.equal(new(tally)) {
			t.Errorf("tally of %s, which has no mailbox: %d archives", domain, got.Archives)
		}
	}
}

// limitedConfig is a domain with those limits and defaults, beside one without any.
func limitedConfig(l Limits, defaults ...Assignment) Config {
	return Config{Domains: []Domain{{Name: "alpha.test", Limits: l, Defaults: defaults}, {Name: "beta.test"}}}
}

// TestLimits changes mailboxes under limits, step by step. A refused step changes nothing.
func TestLimits(t *testing.T) {
	const gb = 1_000_000_000
	for _, c := range []struct {
		name   string
		limits Limits
		steps  string // ACT NAME [KEY=VALUE]: what the error must say, or nothing
	}{
		{"number of archives", Limits{Archives: 2}, `
			enable a
			enable b
			enable c: over a limit of the domain: alpha.test has 2 archives, and max_mailboxes is 2: erase one, or raise max_mailboxes
			enable a
			set c language=en
			enable z@beta.test
			enable y@beta.test
			enable x@beta.test
			disable a
			enable c: over a limit of the domain: alpha.test has 2 archives
			restore a
			pause b
			enable c: over a limit of the domain: alpha.test has 2 archives
			disable a
			erase a
			enable c
			enable a: max_mailboxes is 2
			set b quota=none`},
		{"all quotas", Limits{QuotaTotal: 5 * gb}, `
			enable a
			set a quota=3GB
			enable b
			enable c
			enable d: the quotas of alpha.test would be 6000000000 B together, and quota_total is 5GB
			set c quota=1001MB: the quotas of alpha.test would be 5001000000 B
			set c quota=none: every archive needs a quota, and 1 would have none
			set a quota=2GB
			enable d
			set e quota=4GB
			enable e: would be 9000000000 B
			set d quota=500MB
			disable b
			enable e: quota_total
			erase b
			set e quota=1500MB
			enable e
			enable b: quota_total`},
		{"change of hands", Limits{Archives: 2, Quota: 2 * gb}, `
			enable a
			enable z@beta.test
			set z@beta.test quota=3GB
			rename z@beta.test z@alpha.test: quota=3GB: over a limit of the domain: quota_max of alpha.test is 2GB
			set z@beta.test quota=2GB
			rename z@beta.test z@alpha.test
			rename a y@alpha.test
			hand-over y: alpha.test has 2 archives
			enable a: alpha.test has 2 archives
			enable z@beta.test
			rename z@beta.test x@alpha.test: alpha.test has 2 archives
			rename z@alpha.test x@beta.test
			hand-over y
			hand-over y: alpha.test has 2 archives
			enable a: alpha.test has 2 archives`},
		{"greatest quota", Limits{Quota: 2 * gb}, `
			set a quota=2001MB: quota=2001MB: over a limit of the domain: quota_max of alpha.test is 2GB: write a lower quota
			enable a
			set a quota=none: quota=none: over a limit of the domain: quota_max
			set a quota=2GB
			set z@beta.test quota=none
			enable z@beta.test`},
		{"greatest retention", Limits{Retention: 24}, `
			enable a: retention=none: over a limit of the domain: retention_max of alpha.test is 24: write a lower retention
			set a retention=12
			enable a
			set a retention=24
			set a retention=30: retention=30: over a limit of the domain: retention_max
			set a retention=none: retention_max
			set a retention=6`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := limitedConfig(c.limits)
			if c.limits.Retention > 0 {
				config.Domains[0].Defaults = assignments(t, "retention=24")
			}
			p, store := openTest(t, config)
			if c.limits.Retention > 0 { // as set up before there was a limit
				unlimit(t, p, func() { must(t, p, "set a language=en") })
				if err := p.Reconfigure(config); err != nil {
					t.Fatal(err)
				}
			}
			for step := range strings.Lines(strings.TrimSpace(c.steps)) {
				act, want, _ := strings.Cut(strings.TrimSpace(step), ": ")
				before := slices.Clone(store.keys())
				err := do(t, p, act)
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", act, err)
				case want != "" && (!errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: %v, want %q", act, err, want)
				case want != "" && !slices.Equal(store.keys(), before):
					t.Errorf("%s was refused, and changed something", act)
				}
				checkTallies(t, p, store)
			}
		})
	}
}

// unlimit runs f without limits.
func unlimit(t *testing.T, p *Policy, f func()) {
	t.Helper()
	if err := p.Reconfigure(limitedConfig(Limits{})); err != nil {
		t.Fatal(err)
	}
	f()
}

// do carries out "ACT ADDR [KEY=VALUE]" by the operator; an address without a domain lies in alpha.test. To erase is to go all the way.
func do(t *testing.T, p *Policy, act string) error {
	t.Helper()
	words := strings.Fields(act)
	if !strings.Contains(words[1], "@") {
		words[1] += "@alpha.test"
	}
	a := mustAddress(t, words[1])
	var err error
	switch words[0] {
	case "enable":
		_, err = p.enable(t.Context(), a)
	case "disable":
		_, err = p.disable(t.Context(), a)
	case "pause":
		_, err = p.Pause(t.Context(), a, operator())
	case "restore":
		_, err = p.restore(t.Context(), a)
	case "rename":
		_, err = p.Rename(t.Context(), a, mustAddress(t, words[2]), operator())
	case "hand-over":
		_, err = p.HandOver(t.Context(), a, operator(), a.String())
	case "set":
		_, err = p.Set(t.Context(), a, operator(), assignments(t, words[2]))
	case "erase":
		if _, err = p.Disable(t.Context(), a, operator(), a.String(), 0); err == nil {
			if err = p.Erasing(t.Context(), a.String()); err == nil {
				err = p.Erased(t.Context(), a.String())
			}
		}
	default:
		t.Fatalf("no act %q", act)
	}
	return err
}

func must(t *testing.T, p *Policy, act string) {
	t.Helper()
	if err := do(t, p, act); err != nil {
		t.Fatalf("%s: %v", act, err)
	}
}

// TestOverLimit puts limits on a domain that is over them already: its mailboxes stay as they are, may shrink, and do not grow.
func TestOverLimit(t *testing.T) {
	p, store := openTest(t, limitedConfig(Limits{}))
	for _, act := range []string{"enable a", "enable b", "enable c", "set a quota=none", "set b quota=5GB", "set c retention=48"} {
		must(t, p, act)
	}
	limits := Limits{Archives: 2, QuotaTotal: 3_000_000_000, Quota: 2_000_000_000, Retention: 12}
	if err := p.Reconfigure(limitedConfig(limits, assignments(t, "retention=12")...)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		act     string
		refused bool
	}{
		{"set a language=en", false}, {"set b write=on", false}, {"disable a", false}, {"restore a", false}, {"enable b", false},
		{"set b quota=6GB", true}, {"set b quota=4GB", false}, {"set b quota=5GB", true}, {"set c retention=none", true}, {"set c retention=42", false},
		{"set c retention=48", true}, {"enable d", true}, {"set a quota=3GB", false}, {"set a quota=none", true}, {"set a quota=1GB", false},
		{"set b quota=1GB", false}, {"set c quota=1001MB", true}, {"set c quota=1GB", false}, {"enable d", true}, {"erase a", false}, {"erase b", false},
		{"enable d", false},
	} {
		if err := do(t, p, step.act); step.refused != errors.Is(err, ErrLimit) || !step.refused && err != nil {
			t.Errorf("%s: %v, want refused: %v", step.act, err, step.refused)
		}
		checkTallies(t, p, store)
	}
}

// TestCountDomains opens a store of a version without tallies: the first change counts all domains, whatever fails on the way.
func TestCountDomains(t *testing.T) {
	old := func() (*Policy, *memory) {
		p, store := openTest(t, limitedConfig(Limits{Archives: 3, QuotaTotal: 1 << 62}), "a@alpha.test", "b@alpha.test", "z@beta.test")
		must(t, p, "set b quota=7GB")
		must(t, p, "disable b")
		must(t, p, "set c language=en")
		for _, key := range store.keys() {
			if strings.HasPrefix(key, tallyPrefix) {
				delete(store.values, key)
			}
		}
		return p, store
	}
	t.Run("counted by the first change that needs it", func(t *testing.T) {
		p, store := old()
		must(t, p, "set a language=en")
		if slices.Contains(store.keys(), tallyPrefix) {
			t.Error("counted for a change that needs no tally")
		}
		must(t, p, "enable c")
		checkTallies(t, p, store)
		if err := do(t, p, "enable d"); !errors.Is(err, ErrLimit) {
			t.Errorf("a fourth archive: %v", err)
		}
		must(t, p, "erase b")
		must(t, p, "enable d")
	})
	t.Run("a store that fails", func(t *testing.T) {
		for fail := 1; ; fail++ {
			p, store := old()
			broken := &failing{memory: store, after: fail}
			p.store = broken
			err := do(t, p, "enable c")
			p.store = store
			if err == nil {
				if fail < 4 {
					t.Errorf("only %d updates", fail)
				}
				return
			}
			if !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("failing at %d: %v", fail, err)
			}
			must(t, p, "enable c")
			checkTallies(t, p, store)
		}
	})
	t.Run("settings that cannot be read", func(t *testing.T) {
		p, store := old()
		store.put("mx@alpha.test", "{")
		if err := do(t, p, "enable c"); err == nil || !strings.Contains(err.Error(), "count the archives of the domains: settings of x@alpha.test") {
			t.Errorf("enable: %v", err)
		}
		delete(store.values, "mx@alpha.test")
	})
	t.Run("a tally that cannot be read", func(t *testing.T) {
		p, store := openTest(t, limitedConfig(Limits{}), "a@alpha.test")
		good := store.values["dalpha.test"]
		store.put("dalpha.test", "?")
		if err := do(t, p, "enable c"); err == nil || !strings.Contains(err.Error(), "tally of alpha.test") {
			t.Errorf("enable: %v", err)
		}
		store.put("dalpha.test", good)
	})
}

// failing is a store whose Update number after and later ones fail.
type failing struct {
	*memory
	after, updates int
}

func (s *failing) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.updates++; s.updates >= s.after {
		return fmt.Errorf("update %d: %w", s.updates, kv.ErrUnavailable)
	}
	return s.memory.Update(ctx, locks, fn)
}

// TestConcurrentTallies changes many mailboxes of two domains at once, from two processes that both find the store uncounted.
func TestConcurrentTallies(t *testing.T) {
	store := &locked{memory: newMemory()}
	const limit = 12
	config := limitedConfig(Limits{Archives: limit, QuotaTotal: 40_000_000_000})
	var policies []*Policy
	for range 2 {
		p, err := Open(t.Context(), store, config)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			p, r := policies[i%2], rand.New(rand.NewPCG(uint64(i), 8))
			for range 60 {
				mailbox := fmt.Sprintf("m%d@%s.test", r.IntN(20), []string{"alpha", "beta"}[r.IntN(2)])
				act := []string{"enable " + mailbox, fmt.Sprintf("set %s quota=%dGB", mailbox, 1+r.IntN(9)), "set " + mailbox + " quota=none",
					"erase " + mailbox, fmt.Sprintf("rename %s m%d@alpha.test", mailbox, r.IntN(20)), "hand-over " + mailbox}[r.IntN(6)]
				err := do(t, p, act)
				expected := slices.ContainsFunc([]error{ErrLimit, ErrErasing, ErrNotClosing, ErrNoArchive, ErrTaken, ErrAddress, errMoved},
					func(target error) bool { return errors.Is(err, target) })
				if err != nil && !expected {
					t.Errorf("%s: %v", act, err)
				}
			}
		})
	}
	all.Wait()
	checkTallies(t, policies[0], store)
	tallies, err := policies[0].tallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := tallies["alpha.test"].Archives; got > limit {
		t.Errorf("%d archives, and the limit is %d", got, limit)
	}
	if got := tallies["alpha.test"].Quota; got.Cmp(&tallies["beta.test"].Quota) > 0 && got.Int64() > 40_000_000_000 {
		t.Errorf("quotas of %s B", got.String())
	}
}

// TestHugeQuotas sums quotas that an int64 does not hold.
func TestHugeQuotas(t *testing.T) {
	p, store := openTest(t, limitedConfig(Limits{}), "a@alpha.test", "b@alpha.test", "c@alpha.test")
	for _, name := range []string{"a", "b", "c"} {
		must(t, p, "set "+name+" quota=9223372036854775807B")
	}
	checkTallies(t, p, store)
	if err := p.Reconfigure(limitedConfig(Limits{QuotaTotal: 9_000_000_000_000_000_000})); err != nil {
		t.Fatal(err)
	}
	if err := do(t, p, "enable d"); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "27670116111564327421 B together") {
		t.Errorf("enable: %v", err)
	}
}

func TestLimitsValidate(t *testing.T) {
	for _, c := range []struct {
		name     string
		limits   Limits
		defaults string
		want     string // part of the error; "" for none
	}{
		{"none", Limits{}, "", ""},
		{"all", Limits{Archives: 1, QuotaTotal: 1e9, Quota: 1e9, Retention: 6}, "retention=6", ""},
		{"below zero", Limits{Archives: -1}, "", "limits: want none below zero"},
		{"the program's quota", Limits{Quota: 1e8}, "", "a mailbox starts with quota=1GB, and the greatest is 100MB"},
		{"quota=none", Limits{Quota: 1e12}, "quota=none", "a mailbox starts with quota=none"},
		{"quota over all", Limits{QuotaTotal: 1e9}, "quota=2GB", "a mailbox starts with quota=2GB, and all quotas together may be 1GB"},
		{"the program's retention", Limits{Retention: 48}, "", "a mailbox starts with retention=none, and the greatest is 48"},
		{"retention", Limits{Retention: 12}, "retention=18", "a mailbox starts with retention=18"},
	} {
		var defaults []Assignment
		if c.defaults != "" {
			defaults = assignments(t, c.defaults)
		}
		err := limitedConfig(c.limits, defaults...).Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
