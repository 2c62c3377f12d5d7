package policy

import (
	"testing"
)

// TestToldOfCertified judges a line to a mailbox whose owner wants to be told of certified messages: that holds for direct lines, in the filter or
// not, while the archive is on or paused.
func TestToldOfCertified(t *testing.T) {
	const direct, alias = "rfc822;anna@alpha.test", "rfc822;info@alpha.test"
	for _, c := range []struct {
		name, settings, orcpt string
		then                  act // before the message comes
		told                  bool
		reason                string
	}{
		{"direct", "notify_on=certified", direct, nil, true, ""},
		{"filtered", "notify_on=certified filter=other", direct, nil, true, ReasonFilter},
		{"paused", "notify_on=certified", direct, (*Policy).pause, true, ReasonPaused},
		{"paused and filtered", "notify_on=certified filter=other", direct, (*Policy).pause, true, ReasonPaused},
		{"by alias", "notify_on=certified", alias, nil, false, ReasonAlias},
		{"by alias, paused", "notify_on=certified", alias, (*Policy).pause, false, ReasonPaused},
		{"off", "notify_on=certified", direct, (*Policy).disable, false, ReasonDisabled},
		{"not wanted", "notify_on=full", direct, nil, false, ""},
		{"not wanted, paused", "notify_on=full", direct, (*Policy).pause, false, ReasonPaused},
		{"no address", "notify=none notify_on=certified", direct, nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := mustAddress(t, "anna@alpha.test")
			p, _ := openTest(t, testConfig(), "anna@alpha.test")
			if _, err := p.Set(t.Context(), a, operator(), assignments(t, "notify=anna@ext.test")); err != nil {
				t.Fatal(err)
			}
			if _, err := p.confirm(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Set(t.Context(), a, operator(), assignments(t, c.settings)); err != nil {
				t.Fatal(err)
			}
			if c.then != nil {
				if _, err := c.then(p, t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			v, err := p.Judge(t.Context(), Origin{Group: GroupCertified}, []Line{{RcptTo: "anna@alpha.test", ORCPT: c.orcpt}})
			if err != nil || v[0].Told != c.told || v[0].Reason != c.reason || v[0].Journal != (c.reason == "") {
				t.Errorf("%+v, %v, want told %v and reason %q", v, err, c.told, c.reason)
			}
		})
	}
}
