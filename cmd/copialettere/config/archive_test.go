package config

import (
	"testing"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// TestDefaultRights compares the default of rights.owner with that of policy.
func TestDefaultRights(t *testing.T) {
	open := func(r policy.Rights) *policy.Policy {
		p, err := policy.Open(t.Context(), nil, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}, Rights: r})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ours, theirs := open(mustParse(t, minimal).Rights), open(policy.Rights{})
	a, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	who, allowed := policy.Actor{Role: policy.RoleOwner, Name: a.String()}, 0
	for _, key := range append(policy.Keys(), policy.KeyArchive, policy.KeyHold) {
		may := ours.May(who, a, key) == nil
		if may {
			allowed++
		}
		if may != (theirs.May(who, a, key) == nil) {
			t.Errorf("%s: allowed is %t", key, may)
		}
	}
	if allowed != 4 {
		t.Errorf("an owner may change %d settings", allowed)
	}
}

func TestWatermark(t *testing.T) {
	for _, test := range []struct {
		text           string
		capacity, want int64
	}{
		{"1%", 1000, 10}, {"90%", 1 << 62, 1 << 62 / 100 * 90}, {"3%", 0, 0}, {"1MB", 1000, 1e6}, {"50GiB", 1e12, 50 << 30},
	} {
		w, f := parseWatermark(test.text)
		if f != nil || w.Of(test.capacity) != test.want || w.String() != test.text {
			t.Errorf("%s: %+v of %d is %d, want %d; %v", test.text, w, test.capacity, w.Of(test.capacity), test.want, f)
		}
	}
	for _, s := range []string{"", "%", "0%", "91%", "-1%", "+1%", "1.5%", "10", "1 %", "10%%", "999kB", "1TB", "all", "99999999999999999999%"} {
		if w, f := parseWatermark(s); f == nil {
			t.Errorf("%q is %+v", s, w)
		}
	}
}

// checkArchive checks an accepted configuration for what its users rely on.
func checkArchive(t *testing.T, c *Config) {
	t.Helper()
	w, s := c.Disk.Warn, c.Disk.Stop
	for _, w := range []Watermark{w, s} {
		if again, f := parseWatermark(w.String()); f != nil || again != w {
			t.Errorf("watermark %+v, again %+v, %v", w, again, f)
		}
	}
	if (w.Percent > 0) == (s.Percent > 0) && w.Of(1e6) <= s.Of(1e6) {
		t.Errorf("disk %+v", c.Disk)
	}
	if r := c.Retention; r.Hour < 0 || r.Hour > 23 || r.Minute < 0 || r.Minute > 59 || r.MaxShare < 1 || r.MaxShare > 100 {
		t.Errorf("retention %+v", r)
	}
	if n := c.Notices; n != nil && (n.Relay.Scheme != nexthop.SMTP || n.From == "" || n.MaxPerDay < 1) {
		t.Errorf("notices %+v", *n)
	}
	if c.Erase.Grace < time.Hour || c.Rights.Owner == nil || c.PEC.Trust == pec.TrustSignature && c.PEC.TrustBundle == "" {
		t.Errorf("accepted %+v", c)
	}
	p := policy.Config{Rights: c.Rights}
	for _, d := range c.Domains {
		p.Domains = []policy.Domain{{Name: d.Name, RecipientDelimiter: d.RecipientDelimiter, Postmasters: d.Postmasters, Defaults: d.Defaults}}
		if err := p.Validate(); err != nil {
			t.Errorf("policy refuses what was accepted: %v", err)
		}
	}
}
