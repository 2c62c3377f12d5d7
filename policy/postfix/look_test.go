package postfix

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal"
	"copialettere/journal/metrics"
	"copialettere/policy"
)

// looking is a looker whose looks a test makes.
type looking struct {
	looker
	mailboxes mailboxes
	log       lockedLog
	notices   [][]string
}

func newLooking(t *testing.T, names ...string) *looking {
	t.Helper()
	l := new(looking)
	for _, name := range names {
		l.mailboxes.set(t, name, true)
	}
	l.looker = looker{
		Keeper: New(Options{
			Config: ours, Mailboxes: l.mailboxes.all, Logger: slog.New(slog.NewTextHandler(&l.log, nil)), Metrics: new(metrics.Registry),
			Unrouted: func(list []string) { l.notices = append(l.notices, list) },
		}),
		suspects: make(map[journal.Direction][]string), told: make(map[journal.Direction][]string),
	}
	return l
}

// TestLook follows the standing check: a mailbox is not routed when two looks in a row have found it so, and it is told once.
func TestLook(t *testing.T) {
	const anna, bruno = "anna@alpha.test", "bruno@alpha.test"
	l := newLooking(t, anna, bruno)
	l.mailboxes.set(t, "off@alpha.test", false)
	received := func(names ...string) string {
		text := ""
		for _, name := range names {
			text += name + "\t" + receivedSide + "\n"
		}
		return text
	}
	sent := anna + "\tcopialettere_sent\n" + bruno + "\tcopialettere_sent\n"
	folder := fakePostfix{
		main:      "transport_maps = hash:t\nvirtual_alias_maps =\n" + domains,
		master:    master,
		overrides: "submission/inet/smtpd_sasl_auth_enable = yes\nsubmission/inet/smtpd_data_restrictions = check_sasl_access hash:s\n",
		tables:    map[string]string{"t": "", "s": sent},
	}.install(t)
	for _, step := range []struct {
		name              string
		transport         string
		sure              bool
		unrouted, unknown int64
		states            [2]State // received, of anna and bruno
		notices, logged   int      // until now
	}{
		{"all routed", received(anna, bruno), true, 0, 0, [2]State{Routed, Routed}, 0, 0},
		{"one is gone", received(anna), false, 0, 0, [2]State{Routed, ""}, 0, 0},
		{"it was postmap", received(anna, bruno), true, 0, 0, [2]State{Routed, Routed}, 0, 0},
		{"one is gone again", received(anna), false, 0, 0, [2]State{Routed, ""}, 0, 0},
		{"and stays", received(anna), true, 1, 0, [2]State{Routed, NotRouted}, 1, 1},
		{"still", received(anna), true, 1, 0, [2]State{Routed, NotRouted}, 1, 1},
		{"the other one too", received(), false, 1, 0, [2]State{"", NotRouted}, 1, 1},
		{"and stays so", received(), true, 2, 0, [2]State{NotRouted, NotRouted}, 2, 2},
		{"one is back", received(bruno), true, 1, 0, [2]State{NotRouted, Routed}, 2, 2},
		{"both are", received(anna, bruno), true, 0, 0, [2]State{Routed, Routed}, 2, 2},
	} {
		writeFile(t, folder, "t", step.transport)
		if sure := l.look(t.Context()); sure != step.sure {
			t.Errorf("%s: sure %t", step.name, sure)
		}
		l.expect(t, step.name, step.unrouted, step.unknown)
		for i, name := range []string{anna, bruno} {
			routes := l.Routes(address(t, name))
			i2 := slices.IndexFunc(routes, func(r Route) bool { return r.Direction == "received" })
			if i2 < 0 != (step.states[i] == "") || i2 >= 0 && routes[i2].State != step.states[i] {
				t.Errorf("%s: the routes of %s are %+v", step.name, name, routes)
			}
		}
		if len(l.notices) != step.notices || l.log.count("level=ERROR") != step.logged {
			t.Errorf("%s: notices %v, and the log has:\n%s", step.name, l.notices, l.log.text.String())
		}
	}
	if want := []string{anna, bruno}; !slices.Equal(l.notices[1], want) || !slices.Equal(l.notices[0], want[1:]) {
		t.Errorf("notices of %v", l.notices)
	}
	if l.Routes(address(t, "off@alpha.test")) != nil {
		t.Error("a mailbox whose archive is off has a route")
	}
}

// TestLookUnknown has Postfix not answer: that is no alarm of mailboxes, and told once.
func TestLookUnknown(t *testing.T) {
	l := newLooking(t, "anna@alpha.test", "bruno@alpha.test")
	fakePostfix{main: "transport_maps = ldap:none\n" + domains, master: master}.install(t)
	for range 2 {
		l.look(t.Context())
	}
	l.expect(t, "a map that cannot be asked", 0, 2)
	if l.log.count("could not be asked") < 1 || l.log.count("level=WARN") != 1 {
		t.Errorf("the log has:\n%s", l.log.text.String())
	}
}

// expect compares the metrics of received mail.
func (l *looking) expect(t *testing.T, when string, unrouted, unknown int64) {
	t.Helper()
	if got := l.gauges.unrouted[journal.Received].Value(); got != unrouted {
		t.Errorf("%s: %d mailboxes are not routed, want %d", when, got, unrouted)
	}
	if got := l.gauges.unknown[journal.Received].Value(); got != unknown {
		t.Errorf("%s: of %d mailboxes nothing is known, want %d", when, got, unknown)
	}
}

// TestNoKeeper asks a Keeper that is not there.
func TestNoKeeper(t *testing.T) {
	var k *Keeper
	k.Changed()
	k.Configure(ours)
	k.Run(nil)
	if k.Routes(policy.Address{Local: "anna", Domain: "alpha.test"}) != nil {
		t.Error("there are routes")
	}
}

// TestKeepLooking counts the looks over time.
func TestKeepLooking(t *testing.T) {
	folder := fakePostfix{main: "transport_maps = hash:t\nvirtual_alias_maps =\n" + domains, tables: map[string]string{"t": "anna@alpha.test\t" + receivedSide + "\n"}}.install(t)
	synctest.Test(t, func(t *testing.T) {
		l := newLooking(t, "anna@alpha.test")
		l.config.Store(&Config{Folder: "/maps", Received: receivedSide})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.keepLooking(ctx) })
		looks := func(after time.Duration) int {
			time.Sleep(after)
			synctest.Wait()
			return asked(t, folder)["hash:t"]
		}
		if n := looks(postmapTime - time.Second); n != 0 {
			t.Errorf("%d looks before postmap had a moment", n)
		}
		if n := looks(2 * time.Second); n != 1 {
			t.Errorf("%d looks at the start", n)
		}
		wake(l.written)
		if n := looks(postmapTime + time.Second); n != 2 {
			t.Errorf("%d looks after a change", n)
		}
		for range 20 {
			wake(l.written)
			looks(3 * time.Second)
		}
		n := looks(0)
		if n < 5 || n > 8 {
			t.Errorf("%d looks in a minute with a change every three seconds", n-2)
		}
		n = looks(postmapTime)
		if again := looks(lookEvery); again != n+1 {
			t.Errorf("%d looks in an hour", again-n)
		}
		cancel()
		running.Wait()
	})
}
