package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"copialettere/journal/kv"
)

// Limits bound what the archives of a domain may take. A field that is zero is no limit. They bind everybody, the operator included, who can
// change the configuration. An archive counts from when it is first enabled until it is erased: while it is paused, or closed in its grace, its
// messages still take room, and it can come back at any time.
//
// A mailbox that is over a limit already stays as it is, and may do everything but grow.
type Limits struct {
	Archives   int   // how many archives the domain may have
	QuotaTotal int64 // how many bytes the quotas of its archives may make together
	Quota      int64 // how many bytes the quota of a mailbox may be at most
	Retention  int   // how many months the retention of a mailbox may be at most
}

// Limits returns the limits of a canonical domain.
func (p *Policy) Limits(domain string) Limits { return p.rules().limits[domain] }

// ParseQuota reads a quota in the form of Set: bytes, or zero for none.
func ParseQuota(value string) (int64, error) {
	var s Settings
	err := s.setValue(KeyQuota, value)
	return s.Quota, err
}

// ParseRetention reads a retention in the form of Set: months, or zero for none.
func ParseRetention(value string) (int, error) {
	var s Settings
	err := s.setValue(KeyRetention, value)
	return s.Retention, err
}

// ErrLimit means that a change would exceed a limit of the domain. The error that wraps it names the limit, its value, and the remedy.
var ErrLimit = errors.New("over a limit of the domain")

// errNotCounted means that the archives of the domains were never counted. Policy.counted then counts them.
var errNotCounted = errors.New("the archives of the domains are not counted yet")

// validate returns all errors of the limits, and of the settings that a mailbox of the domain starts with under them.
func (l Limits) validate(defaults Settings) []error {
	var errs []error
	if l.Archives < 0 || l.QuotaTotal < 0 || l.Quota < 0 || l.Retention < 0 {
		errs = append(errs, errors.New("limits: want none below zero"))
	}
	if l.Quota > 0 && exceeds(defaults.Quota, l.Quota) {
		errs = append(errs, fmt.Errorf("limits: a mailbox starts with quota=%s, and the greatest is %s: give the domain a lower default",
			defaults.value(KeyQuota), formatSize(l.Quota)))
	}
	if l.QuotaTotal > 0 && exceeds(defaults.Quota, l.QuotaTotal) {
		errs = append(errs, fmt.Errorf("limits: a mailbox starts with quota=%s, and all quotas together may be %s: give the domain a lower default",
			defaults.value(KeyQuota), formatSize(l.QuotaTotal)))
	}
	if l.Retention > 0 && exceeds(defaults.Retention, l.Retention) {
		errs = append(errs, fmt.Errorf("limits: a mailbox starts with retention=%s, and the greatest is %d: give the domain a lower default",
			defaults.value(KeyRetention), l.Retention))
	}
	return errs
}

// exceeds reports whether a value is greater than another, where zero stands for no limit.
func exceeds[N int | int64](value, than N) bool {
	return than != 0 && (value == 0 || value > than)
}

// allowSettings refuses settings of a mailbox that grow over a limit, and those of an archive that begins over one.
func (l Limits) allowSettings(domain string, before, after Settings) error {
	begins := !before.archived() && after.archived()
	if l.Quota > 0 && exceeds(after.Quota, l.Quota) && (begins || exceeds(after.Quota, before.Quota)) {
		return fmt.Errorf("quota=%s: %w: quota_max of %s is %s: write a lower quota", after.value(KeyQuota), ErrLimit, domain, formatSize(l.Quota))
	}
	if l.Retention > 0 && exceeds(after.Retention, l.Retention) && (begins || exceeds(after.Retention, before.Retention)) {
		return fmt.Errorf("retention=%s: %w: retention_max of %s is %d: write a lower retention", after.value(KeyRetention), ErrLimit, domain,
			l.Retention)
	}
	return nil
}

// allowTotals refuses a domain whose archives grow over a limit. With is what they take after a change, without before it.
func (l Limits) allowTotals(domain string, without, with *tally) error {
	if l.Archives > 0 && with.Archives > l.Archives && with.Archives > without.Archives {
		return fmt.Errorf("%w: %s has %d archives, and max_mailboxes is %d: erase one, or raise max_mailboxes in the configuration", ErrLimit,
			domain, without.Archives, l.Archives)
	}
	grown := with.NoQuota > without.NoQuota || with.NoQuota == without.NoQuota && with.Quota.Cmp(&without.Quota) > 0
	if l.QuotaTotal == 0 || !grown {
		return nil
	}
	if with.NoQuota > 0 {
		return fmt.Errorf("%w: quota_total of %s is %s, so every archive needs a quota, and %d would have none: write a quota", ErrLimit, domain,
			formatSize(l.QuotaTotal), with.NoQuota)
	}
	if with.Quota.Cmp(big.NewInt(l.QuotaTotal)) > 0 {
		return fmt.Errorf("%w: the quotas of %s would be %s B together, and quota_total is %s: write a lower quota, erase an archive, or raise "+
			"quota_total in the configuration", ErrLimit, domain, with.Quota.String(), formatSize(l.QuotaTotal))
	}
	return nil
}

// archived reports whether there is an archive: on, paused, or closed and not erased yet.
func (s Settings) archived() bool { return !s.Since.IsZero() }

// tally is what the archives of a domain take together. It is stored, so that a change of one mailbox need not read all others.
type tally struct {
	Archives int `json:"archives"`
	// NoQuota is how many of them have quota=none.
	NoQuota int `json:"no_quota"`
	// Quota is the sum of the quotas of the others, in bytes. It can be larger than an int64.
	Quota big.Int `json:"quota"`
}

// count adds an archive n times; n is 1 or -1.
func (t *tally) count(s Settings, n int) {
	if !s.archived() {
		return
	}
	t.Archives += n
	if s.Quota == 0 {
		t.NoQuota += n
		return
	}
	t.Quota.Add(&t.Quota, big.NewInt(int64(n)*s.Quota))
}

// equal reports whether two tallies are the same.
func (t *tally) equal(other *tally) bool {
	return t.Archives == other.Archives && t.NoQuota == other.NoQuota && t.Quota.Cmp(&other.Quota) == 0
}

// tallyPrefix begins the keys of the tallies. Alone it is the key that says that all domains were counted.
const tallyPrefix = "d"

// tallyLock is the lock under which the archives of a canonical domain change, and the key of their tally.
func tallyLock(domain string) string { return tallyPrefix + domain }

// account keeps the limits and the tallies of the domain of a mailbox, and of the domain that it moves to. The caller holds the tallyLock of both.
// The error wraps ErrLimit, or is errNotCounted.
func (e *editing) account() error {
	p, before := e.policy, e.record.Settings
	now, err := e.record.mailbox(e.name)
	if err != nil {
		return err
	}
	if now.Address.Domain == e.address.Domain {
		return p.accountFor(e.tx, e.address.Domain, before, e.Settings)
	}
	if err := p.accountFor(e.tx, e.address.Domain, before, Settings{}); err != nil {
		return err
	}
	return p.accountFor(e.tx, now.Address.Domain, Settings{}, e.Settings)
}

// accountFor keeps the limits and the tally of one domain, for a mailbox that changes. For one that comes or goes, before or after is zero.
func (p *Policy) accountFor(tx kv.Tx, domain string, before, after Settings) error {
	limits := p.rules().limits[domain]
	if after != (Settings{}) {
		if err := limits.allowSettings(domain, before, after); err != nil {
			return err
		}
	}
	var difference tally
	difference.count(before, -1)
	difference.count(after, 1)
	if difference.equal(new(tally)) {
		return nil
	}
	without, err := readTally(tx, domain)
	if err != nil {
		return err
	}
	with := &tally{Archives: without.Archives + difference.Archives, NoQuota: without.NoQuota + difference.NoQuota}
	with.Quota.Add(&without.Quota, &difference.Quota)
	if err := limits.allowTotals(domain, without, with); err != nil {
		return err
	}
	return putTally(tx, domain, with)
}

// readTally reads the tally of a domain; errNotCounted if none of the domains was ever counted.
func readTally(view kv.View, domain string) (*tally, error) {
	stored, err := view.GetAll([][]byte{[]byte(tallyLock(domain)), []byte(tallyPrefix)})
	switch {
	case err != nil:
		return nil, err
	case stored[0] == nil && stored[1] == nil:
		return nil, errNotCounted
	case stored[0] == nil:
		return new(tally), nil
	}
	t := new(tally)
	if err := json.Unmarshal(stored[0], t); err != nil {
		return nil, fmt.Errorf("tally of %s: %w", domain, err)
	}
	return t, nil
}

func putTally(tx kv.Tx, domain string, t *tally) error {
	value, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("tally of %s: %w", domain, err)
	}
	tx.Put([]byte(tallyLock(domain)), value)
	return nil
}

// counted is Store.Update, which it repeats after counting the archives of the domains if they were never counted. That is so once in a store
// of an earlier version.
func (p *Policy) counted(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	err := p.store.Update(ctx, locks, fn)
	if !errors.Is(err, errNotCounted) {
		return err
	}
	if err := p.countDomains(ctx); err != nil {
		return err
	}
	return p.store.Update(ctx, locks, fn)
}

// maxTallies is how many tallies one Update writes at most.
const maxTallies = 1000

// countDomains counts the archives of each domain, and stores the tallies that are not there. No archive of a domain changes as long as it is not
// counted, so what was read is still true when it is stored, also while other processes count.
func (p *Policy) countDomains(ctx context.Context) error {
	tallies, err := p.tallies(ctx)
	if err != nil {
		return fmt.Errorf("count the archives of the domains: %w", err)
	}
	for domains := range slices.Chunk(slices.Sorted(maps.Keys(tallies)), maxTallies) {
		if err := p.storeTallies(ctx, domains, tallies); err != nil {
			return fmt.Errorf("count the archives of the domains: %w", err)
		}
	}
	err = p.store.Update(ctx, []string{tallyPrefix}, func(tx kv.Tx) error {
		tx.Put([]byte(tallyPrefix), []byte("{}"))
		return nil
	})
	if err != nil {
		return fmt.Errorf("count the archives of the domains: %w", err)
	}
	return nil
}

// storeTallies stores the tallies of some domains that are not there.
func (p *Policy) storeTallies(ctx context.Context, domains []string, tallies map[string]*tally) error {
	locks := make([]string, len(domains))
	for i, domain := range domains {
		locks[i] = tallyLock(domain)
	}
	return p.store.Update(ctx, locks, func(tx kv.Tx) error {
		for _, domain := range domains {
			switch _, err := tx.Get([]byte(tallyLock(domain))); {
			case err == nil:
			case !errors.Is(err, kv.ErrNotFound):
				return err
			default:
				if err := putTally(tx, domain, tallies[domain]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// tallies counts the archives of all domains that have a mailbox, by reading all settings.
func (p *Policy) tallies(ctx context.Context) (map[string]*tally, error) {
	tallies := make(map[string]*tally)
	for m, err := range p.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		t := tallies[m.Address.Domain]
		if t == nil {
			t = new(tally)
			tallies[m.Address.Domain] = t
		}
		t.count(m.Settings, 1)
	}
	return tallies, nil
}
