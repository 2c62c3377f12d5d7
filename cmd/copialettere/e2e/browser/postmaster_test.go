package browser

import (
	"testing"
)

// testPostmaster goes with the postmaster through the mailboxes of the domain, without scripts: one is enabled, and another disabled, which takes its
// address typed.
func testPostmaster(t *testing.T, s *site) {
	x := s.newTab(t, look{noScript: true})
	x.signIn(postmaster)
	x.open("/domain/alpha.test/")
	x.see("Caselle di alpha.test", mario, dora)
	x.fill("Attivare l'archivio di un indirizzo", nuova)
	x.press("Attiva")
	x.see(nuova)
	s.deliver(t, "Benvenuta", nuova)
	if list := s.hook.List(t, nuova); len(list) != 1 {
		t.Errorf("%d messages of %s are archived", len(list), nuova)
	}

	x.open("/domain/alpha.test/")
	x.press(dora)
	x.see(dora)
	x.press("Disattiva")
	x.see("Disattivare l'archivio", "2 messaggi")
	x.fill("Per confermare", mario)
	x.press("Disattiva l'archivio")
	x.see("Per confermare")
	if list := s.hook.List(t, dora); len(list) != 2 {
		t.Errorf("with the wrong address typed, %s has %d messages", dora, len(list))
	}
	x.fill("Per confermare", dora)
	x.press("Disattiva l'archivio")
	if x.see("Ripristina"); !x.sees(dora) {
		t.Errorf("%s does not name %s", x.location(), dora)
	}
	y := s.newTab(t, look{})
	y.signIn(dora)
	y.see("si può ripristinare")
	if y.open("/mailbox/" + dora + "/messages"); y.sees("Ricetta della torta") {
		t.Error("dora still reads her archive")
	}

	x.open("/mailbox/" + mario + "/messages")
	if x.see("Accesso non consentito"); x.sees("Contratto") {
		t.Error("the postmaster reads mail")
	}
}
