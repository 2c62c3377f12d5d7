package config

import (
	"slices"
	"testing"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// TestRights: without a list the rights are the default of policy, and those of a domain are those of the others.
func TestRights(t *testing.T) {
	for _, test := range []struct {
		name, file   string
		all, ofAlpha []string // nil for none
	}{
		{"none", minimal, policy.DefaultRights().Owner, nil},
		{"of all", minimal + "[rights]\nowner = [\"pause\", \"append\"]\n[[domain]]\nname = \"alpha.test\"\n", []string{"pause", "append"}, nil},
		{"of a domain", minimal + "[[domain]]\nname = \"alpha.test\"\n[domain.rights]\nowner = [\"archive\", \"filter\", \"manual_delete\", \"retention\"]\n",
			policy.DefaultRights().Owner, []string{"archive", "filter", "manual_delete", "retention"}},
		{"none in a domain", minimal + "[rights]\nowner = [\"pause\"]\n[[domain]]\nname = \"alpha.test\"\nrights = { owner = [] }\n", []string{"pause"}, []string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustParse(t, test.file)
			if !slices.Equal(c.Rights.Owner, test.all) {
				t.Errorf("rights %q, want %q", c.Rights.Owner, test.all)
			}
			for _, d := range c.Domains {
				if !slices.Equal(d.Rights.Owner, test.ofAlpha) || (d.Rights.Owner == nil) != (test.ofAlpha == nil) {
					t.Errorf("rights of the domain %#v, want %#v", d.Rights.Owner, test.ofAlpha)
				}
			}
		})
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
