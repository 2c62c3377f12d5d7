package config

import (
	"slices"

	"copialettere/policy"
)

// limits reads the keys of a [[domain]] that bound its archives, and the defaults that stand beside them. The table [domain.defaults] has been
// read: what it gave is in d.Defaults, which stays in the order of policy.Keys.
func (t *table) limits(d *Domain, defaults *table) {
	if n := t.number("max_mailboxes", 100, 1, 10_000_000); t.has("max_mailboxes") {
		d.Limits.Archives = n
	}
	d.Limits.QuotaTotal = limit(t, "quota_total", policy.KeyQuota, policy.ParseQuota)
	t.defaultBeside(d, defaults, "quota_default", policy.KeyQuota)
	d.Limits.Quota = limit(t, "quota_max", policy.KeyQuota, policy.ParseQuota)
	t.defaultBeside(d, defaults, "retention_default", policy.KeyRetention)
	d.Limits.Retention = limit(t, "retention_max", policy.KeyRetention, policy.ParseRetention)
	t.fits(d, defaults, "quota_default", policy.KeyQuota, "quota_max", policy.Limits{Quota: d.Limits.Quota})
	t.fits(d, defaults, "quota_default", policy.KeyQuota, "quota_total", policy.Limits{QuotaTotal: d.Limits.QuotaTotal})
	t.fits(d, defaults, "retention_default", policy.KeyRetention, "retention_max", policy.Limits{Retention: d.Limits.Retention})
}

// limit reads a limit that has the form of a setting; zero for none.
func limit[N int | int64](t *table, name, key string, parse func(string) (N, error)) N {
	s, ok := t.text(name, exampleOf(key, t.values[name]))
	if !ok {
		return 0
	}
	n, err := parse(s)
	if err != nil {
		t.fail(name, faultf(oneLine(err.Error()), "%s cannot be a limit", quote(s)))
	}
	return n
}

// defaultBeside reads a default that [domain.defaults] may have too.
func (t *table) defaultBeside(d *Domain, defaults *table, name, key string) {
	s, ok := t.text(name, exampleOf(key, t.values[name]))
	a := policy.Assignment{Key: key, Value: s}
	if !ok || !t.check(name, checkDefault(a)) {
		return
	}
	i := slices.IndexFunc(d.Defaults, func(other policy.Assignment) bool { return other.Key == key })
	switch {
	case i < 0:
		d.Defaults = append(d.Defaults, a)
		order := policy.Keys()
		slices.SortFunc(d.Defaults, func(a, b policy.Assignment) int { return slices.Index(order, a.Key) - slices.Index(order, b.Key) })
	case d.Defaults[i].Value != s:
		t.fail(name, faultf("remove one of the two", "%s in line %d says %s", defaults.key(key), defaults.lineOf(key), quote(d.Defaults[i].Value)))
	}
}

// fits reports a default above a limit, because then no mailbox could be enabled before its setting is lowered.
func (t *table) fits(d *Domain, defaults *table, name, key, limit string, l policy.Limits) {
	c := policy.Config{Domains: []policy.Domain{{Name: "alpha.test", Defaults: d.Defaults, Limits: l}}}
	if c.Validate() == nil {
		return
	}
	const remedy = "write a lower default, or a higher limit"
	for _, a := range d.Defaults {
		switch {
		case a.Key != key:
		case t.has(name):
			t.fail(name, faultf(remedy, "%s is above %s, so no mailbox could be enabled", quote(a.Value), t.key(limit)))
			return
		default:
			defaults.fail(key, faultf(remedy, "%s is above %s, so no mailbox could be enabled", quote(a.Value), t.key(limit)))
			return
		}
	}
	t.fail(limit, faultf("add "+name, "the default of the program for %s is above it, so no mailbox could be enabled", key))
}
