package policy

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestPerson asks what the settings hold of a person in each of the places where an address can stand.
func TestPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test", "carla@beta.test")
		anna, bruno, carla, giove := mustAddress(t, "anna@alpha.test"), mustAddress(t, "bruno@alpha.test"), mustAddress(t, "carla@beta.test"), mustAddress(t, "giove@ext.test")
		set := func(a Address, who Actor, text string) {
			t.Helper()
			time.Sleep(time.Hour)
			if _, err := p.Set(t.Context(), a, who, assignments(t, text)); err != nil {
				t.Fatal(err)
			}
		}
		first := time.Now().UTC().Add(time.Hour)
		set(anna, operator(), "notify=giove@ext.test")
		set(bruno, operator(), "notify=giove@ext.test")
		set(bruno, Actor{RolePostmaster, "postmaster@alpha.test"}, "notify=none")
		set(carla, Actor{RoleOperator, "giove@ext.test"}, "retention=12")
		last := time.Now().UTC()
		if err := p.Learn(t.Context(), time.Now(), []Recipient{{"giove@ext.test", true}}); err != nil {
			t.Fatal(err)
		}
		got, err := p.Person(t.Context(), giove)
		if err != nil || got.SetUp || !got.Certified || !got.Receipt.Equal(last) || got.Logged != 4 || !got.Oldest.Equal(first) || !got.Newest.Equal(last) ||
			!slices.Equal(got.Notified, []Address{anna}) || !slices.Equal(got.LoggedIn, []Address{anna, bruno, carla}) || got.Postmaster != nil {
			t.Errorf("%+v, %v", got, err)
		}
		// The own log of a mailbox is not counted here.
		if got, err := p.Person(t.Context(), anna); err != nil || !got.SetUp || got.Mailbox.Settings.NotifyPending.Address != giove || got.Logged != 0 || !got.Receipt.IsZero() {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := p.Person(t.Context(), mustAddress(t, "postmaster@alpha.test")); err != nil || !slices.Equal(got.Postmaster, []string{"alpha.test"}) || got.Logged != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		for text, want := range map[string]string{"anna+x@alpha.test": "anna@alpha.test", "anna-x@beta.test": "anna@beta.test", "anna-x@alpha.test": "anna-x@alpha.test"} {
			if got := p.WithoutExtension(mustAddress(t, text)); got.String() != want {
				t.Errorf("%s without its extension is %s", text, got)
			}
		}
		store.fail = kv.ErrUnavailable
		if _, err := p.Person(t.Context(), giove); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("a store that does not answer: %v", err)
		}
	})
}
