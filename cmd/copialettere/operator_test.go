package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/lmtp/nexthop/nexthoptest"
)

// TestOperatorToldOfRefusal has the daily run of the retention refused: the operator named in the configuration gets a notice, once.
func TestOperatorToldOfRefusal(t *testing.T) {
	for _, c := range []struct{ name, operator, want string }{
		{"named", "operator@ext.test", "a run of the retention was refused"},
		{"not named", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, relay := noticePlace(t, nexthoptest.Script{})
			if c.operator != "" {
				p.configure("operator = \"" + c.operator + "\"\n")
			}
			p.must("mailbox", "enable", anna)
			p.must("mailbox", "set", anna, "retention=6")
			p.arrived(time.Now().AddDate(0, -8, 0), anna, 1)
			p.retained(time.Now().AddDate(0, -2, 0))
			k, _ := keeperOf(t, p)
			for range 2 {
				k.house.Keep(t.Context(), time.Now().Add(48*time.Hour))
			}
			n := k.archive.notices
			n.Close()
			if err := n.Deliver(t.Context(), time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			messages := relay.Messages()
			switch {
			case c.want == "" && len(messages) == 0:
			case len(messages) != 1, !slices.Equal(messages[0].Recipients, []string{c.operator}), !strings.Contains(string(messages[0].Body), c.want):
				t.Errorf("sent %+v", messages)
			}
			verified(t, k)
		})
	}
}
