package browser

import (
	"testing"
)

// TestSite runs the tests that share one daemon, side by side. Each changes only mailboxes of its own.
func TestSite(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *site)
	}{
		{"pages", testPages},
		{"hostile mail", testHostileMail},
		{"owner", testOwner},
		{"postmaster", testPostmaster},
		{"delete", testDelete},
		{"move", testMove},
		{"zip", testZIP},
		{"keyboard", testKeyboard},
		{"without script", testWithoutScript},
		{"time zones", testTimeZones},
		{"delegate", testDelegate},
		{"sign-in", testSignIn},
		{"languages", testLanguages},
		{"second factor", testSecondFactor},
		{"hand-over", testHandOver},
		{"app password", testAppPassword},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, s)
		})
	}
}
