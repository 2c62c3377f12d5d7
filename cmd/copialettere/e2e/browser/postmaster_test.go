package browser

import (
	"testing"
)

// TestPostmaster goes with the postmaster through the mailboxes of the domain: one is enabled, and another disabled, which takes its address typed.
func TestPostmaster(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{})
	x.signIn(postmaster)
	x.open("/domain/alpha.test/")
	x.see("Caselle di alpha.test", mario, luisa)
	x.fill("Attivare l'archivio di un indirizzo", nuova)
	x.press("Attiva")
	x.see(nuova)
	s.deliver(t, nuova, "Benvenuta")
	if list := s.hook.List(t, nuova); len(list) != 1 {
		t.Errorf("%d messages of %s are archived", len(list), nuova)
	}

	x.open("/domain/alpha.test/")
	x.press(luisa)
	x.see(luisa)
	x.press("Disattiva")
	x.see("Disattivare l'archivio", "2 messaggi")
	x.fill("Per confermare", mario)
	x.press("Disattiva l'archivio")
	x.see("Per confermare")
	if list := s.hook.List(t, luisa); len(list) != 2 {
		t.Errorf("with the wrong address typed, %s has %d messages", luisa, len(list))
	}
	x.fill("Per confermare", luisa)
	x.press("Disattiva l'archivio")
	x.wait("the archive to be off", `!location.pathname.endsWith("/disable")`)
	x.settle()
	if x.see("Ripristina"); !x.sees(luisa) {
		t.Errorf("%s does not name %s", x.location(), luisa)
	}
	y := s.newTab(t, look{})
	y.signIn(luisa)
	if y.sees("Ricetta della torta") {
		t.Error("luisa still reads her archive")
	}

	x.open("/mailbox/" + mario + "/messages")
	if x.sees("Contratto") {
		t.Error("the postmaster reads mail")
	}
}
